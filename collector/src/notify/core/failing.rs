//! What is wrong with telling people of alerts, which is an alert itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_alert::book::MAX_RECORDS;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_report::Moment;

use super::Core;

/// A message that nobody takes for so long is an alert of its own (alerts.md, NotificationsFailing).
const FAILING_AFTER_SECS: i64 = 900;

/// A message that was put aside is an alert for so long.
const DEAD_SHOWN_SECS: i64 = 3600;

impl Core {
    /// Receivers that get nothing, settings that are not followed, and alerts that found no room.
    pub(super) fn failing(&self, now: Moment) -> Vec<Sighting> {
        let refused = self.refused.iter().map(|it| ("configuration", it));
        let troubles = self.troubles.iter().take(1).map(|it| ("secret", it));
        let mut failing: Vec<Sighting> =
            refused.chain(troubles).map(|(what, why)| refusal(what, why)).collect();
        let mut say = |subject: &str, problem: &str, queued: usize, since: Option<Moment>| {
            let values = BTreeMap::from([
                ("problem".to_owned(), palisade_report::bound::clean_text(problem)),
                ("queued".to_owned(), queued.to_string()),
            ]);
            failing.push(Sighting {
                key: Key::of(Kind::NotifierFailing).subject(subject),
                severity: Severity::Critical,
                since,
                values: Arc::new(values),
            });
        };
        let left_out = self.book.left_out();
        if self.book.is_full() && left_out > 0 {
            let problem =
                format!("there is room for {MAX_RECORDS} alerts, and {left_out} were not taken");
            say("alert-book", &problem, 0, None);
        }
        for receiver in &self.config.receivers {
            let (waiting, since) = self.desk.waiting(&receiver.name, now);
            let post = self.desk.post(&receiver.name);
            let dead = post.map_or(0, |post| {
                post.dead.iter().filter(|it| now.since(it.at) < DEAD_SHOWN_SECS).count()
            });
            let is_late = since.is_some_and(|since| now.since(since) >= FAILING_AFTER_SECS);
            let unusable = self.unusable.get(&receiver.name);
            if !is_late && dead == 0 && unusable.is_none() {
                continue;
            }
            // What was refused in part failed nothing.
            let last = post.and_then(|post| {
                let letter = || post.dead.last().map(|it| &it.why);
                post.failed.as_ref().map(|it| &it.why).or_else(letter).cloned()
            });
            let problem = unusable.cloned().or(last).unwrap_or_else(|| "no answer".to_owned());
            say(&receiver.name, &problem, waiting.saturating_add(dead), since);
        }
        failing
    }
}

fn refusal(what: &str, problem: &str) -> Sighting {
    let problem = palisade_report::bound::clean_text(problem);
    Sighting {
        key: Key::of(Kind::AlertConfigRefused).subject(what),
        severity: Severity::Warning,
        since: None,
        values: Arc::new(BTreeMap::from([("problem".to_owned(), problem)])),
    }
}
