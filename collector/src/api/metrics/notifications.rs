//! Figures of the notifier, as it shows them. Their labels are alerts, severities, and the names of
//! receivers in its settings: closed sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use palisade_alert::kind::Kind;
use palisade_alert::outgoing::Outcome;
use palisade_alert::severity::Severity;
use palisade_report::Moment;

use super::exposition::Exposition;
use super::exposition::Labels;
use super::exposition::Shape;

/// What became of attempts, for the label `class`.
pub const CLASSES: [&str; 5] = ["dead", "delivered", "partial", "retry", "too-large"];

/// Where the notifier shows its figures, and whoever scrapes sees them. Empty until it has looked.
#[derive(Debug, Default)]
pub struct Board(RwLock<Arc<Notifications>>);

/// The figures of one notifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// When it last looked at everything, and stored what came of it.
    pub evaluated_at: Option<Moment>,
    /// How often it means to, in seconds.
    pub interval_secs: u32,
    /// Alerts that fire.
    pub firing: BTreeMap<(Kind, Severity), u64>,
    /// Alerts for which there is no room: they are not told one by one.
    pub left_out: u64,
    /// Times since the process started that alerts could not be written down.
    pub failed_commits: u64,
    /// Times since then that working alerts out broke off by a slip of ours.
    pub panics: u64,
    /// Every receiver of its settings by name, those that were never told anything included.
    pub receivers: BTreeMap<String, Receiver>,
}

/// The figures of one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// Messages that wait.
    pub queued: u64,
    /// Since when the oldest of them waits.
    pub oldest_at: Option<Moment>,
    /// Messages that were put aside, for people to look at.
    pub dead: u64,
    /// What became of attempts since the process started, by [`CLASSES`].
    pub results: [u64; CLASSES.len()],
}

impl Board {
    /// Shows these from now on.
    pub fn show(&self, notifications: Notifications) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(notifications);
    }

    /// What was shown last.
    #[must_use]
    pub fn seen(&self) -> Arc<Notifications> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Receiver {
    /// Counts an attempt that ended so.
    pub fn count(&mut self, outcome: &Outcome) {
        let class = match outcome {
            Outcome::Dead { .. } => "dead",
            Outcome::Delivered => "delivered",
            Outcome::Partial { .. } => "partial",
            Outcome::Lost { .. } | Outcome::Retry { .. } => "retry",
            Outcome::TooLarge => "too-large",
        };
        let at = CLASSES.iter().position(|it| *it == class);
        if let Some(count) = at.and_then(|at| self.results.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }
}

/// Writes them. `now`: by which those that wait grow older.
pub(super) fn put(out: &mut Exposition, notifications: &Notifications, now: Option<Moment>) {
    let Notifications {
        evaluated_at,
        interval_secs,
        firing,
        left_out,
        failed_commits,
        panics,
        receivers,
    } = notifications;
    let none = Labels::default();
    let help = "When all alerts were last looked at and what came of it was stored, in Unix time";
    let name = "palisade_last_successful_evaluation_timestamp_seconds";
    let mut samples = out.family(name, Shape::Gauge, help);
    if let Some(at) = evaluated_at {
        samples.set(&none, at.unix());
    }
    let help = "How often alerts are meant to be looked at";
    let mut samples = out.family("palisade_evaluation_interval_seconds", Shape::Gauge, help);
    if evaluated_at.is_some() {
        samples.set(&none, i64::from(*interval_secs));
    }
    let help = "Alerts that fire, by name and severity";
    let mut samples = out.family("palisade_alerts_firing", Shape::Gauge, help);
    for ((kind, severity), count) in firing {
        let labels = Labels::default().with("alert", kind.as_str());
        samples.count(&labels.with("severity", severity.as_str()), *count);
    }
    let help = "Alerts for which the collector has no room, and of which nobody is told one by one";
    let mut samples = out.family("palisade_alerts_left_out", Shape::Gauge, help);
    if evaluated_at.is_some() {
        samples.count(&none, *left_out);
    }
    let help = "Times that alerts could not be written down: a crash would forget what was said";
    let mut samples = out.family("palisade_alert_failed_commits", Shape::Counter, help);
    samples.count(&none, *failed_commits);
    let help = "Times that working alerts out broke off and began again: please report it";
    let mut samples = out.family("palisade_alert_panics", Shape::Counter, help);
    samples.count(&none, *panics);
    let label = |name: &str| Labels::default().with("receiver", name);
    let help = "Messages that were put aside because the receiver refuses them";
    let mut samples = out.family("palisade_notifications_dead", Shape::Gauge, help);
    for (name, receiver) in receivers {
        samples.count(&label(name), receiver.dead);
    }
    let help = "Messages that wait for the receiver";
    let mut samples = out.family("palisade_notifications_queued", Shape::Gauge, help);
    for (name, receiver) in receivers {
        samples.count(&label(name), receiver.queued);
    }
    let help = "How long the oldest message has waited for the receiver; 0: none waits";
    let name = "palisade_notifications_oldest_age_seconds";
    let mut samples = out.family(name, Shape::Gauge, help);
    for (name, receiver) in receivers {
        let age = now.zip(receiver.oldest_at).map_or(0, |(now, oldest)| now.since(oldest));
        samples.set(&label(name), age.max(0));
    }
    let help = "Attempts to deliver to the receiver";
    let mut samples = out.family("palisade_notification_attempts", Shape::Counter, help);
    for (name, receiver) in receivers {
        let attempts = receiver.results.iter().fold(0_u64, |sum, it| sum.saturating_add(*it));
        samples.count(&label(name), attempts);
    }
    let help = "Attempts by what became of them";
    let mut samples = out.family("palisade_notification_results", Shape::Counter, help);
    for (name, receiver) in receivers {
        for (class, count) in CLASSES.iter().zip(receiver.results) {
            samples.count(&label(name).with("class", class), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_start_at_zero_and_the_age_is_that_of_the_oldest() {
        let at = Moment::from_unix;
        let mut failing =
            Receiver { queued: 3, oldest_at: Some(at(40)), dead: 1, ..Receiver::default() };
        failing.count(&Outcome::TooLarge);
        failing.count(&Outcome::Delivered);
        let notifications = Notifications {
            evaluated_at: Some(at(90)),
            interval_secs: 15,
            firing: [((Kind::AgentSilent, Severity::Warning), 2)].into(),
            left_out: 7,
            failed_commits: 4,
            panics: 1,
            receivers: [("a\"b".to_owned(), failing), ("idle".to_owned(), Receiver::default())]
                .into(),
        };
        let board = Board::default();
        board.show(notifications);
        let mut out = Exposition::default();
        put(&mut out, &board.seen(), Some(at(100)));
        let text = out.into_text();
        for line in [
            "palisade_last_successful_evaluation_timestamp_seconds 90",
            "palisade_evaluation_interval_seconds 15",
            r#"palisade_alerts_firing{alert="AgentSilent",severity="warning"} 2"#,
            "palisade_alerts_left_out 7",
            "palisade_alert_failed_commits_total 4",
            "palisade_alert_panics_total 1",
            r#"palisade_notifications_dead{receiver="a\"b"} 1"#,
            r#"palisade_notifications_oldest_age_seconds{receiver="a\"b"} 60"#,
            r#"palisade_notifications_oldest_age_seconds{receiver="idle"} 0"#,
            r#"palisade_notification_attempts_total{receiver="a\"b"} 2"#,
            r#"palisade_notification_results_total{receiver="a\"b",class="too-large"} 1"#,
            r#"palisade_notification_results_total{receiver="idle",class="dead"} 0"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }

    #[test]
    fn who_never_looked_has_no_time_that_would_look_old() {
        let mut out = Exposition::default();
        put(&mut out, &Notifications::default(), None);
        let text = out.into_text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            ["palisade_alert_failed_commits_total 0", "palisade_alert_panics_total 0"]
        );
        assert_eq!(text.matches("# TYPE").count(), 11);
    }
}
