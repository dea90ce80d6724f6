//! Counts of what became of messages, and when alerts were last worked out; `/metrics` shows them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use palisade_alert::outgoing::Outcome;
use palisade_alert::severity::Severity;
use palisade_report::Moment;

/// What became of a message, for the label.
pub const RESULTS: [&str; 3] = ["dead", "delivered", "retry"];

/// Counts since the process started, and the state as of the last turn.
#[derive(Debug, Default)]
pub struct NotifyFigures(Mutex<NotifyCounts>);

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyCounts {
    /// By receiver.
    pub receivers: BTreeMap<String, ReceiverCounts>,
    /// Alerts by phase and severity.
    pub alerts: BTreeMap<(&'static str, Severity), u64>,
    /// Alerts that fire and of which nobody is told.
    pub muted: u64,
    /// Sightings that found no room.
    pub left_out: u64,
    /// When alerts were worked out last from what the fleet shows.
    pub evaluated_at: Option<Moment>,
    /// Commits that failed.
    pub failed_commits: u64,
}

/// The counts of one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Messages by [`RESULTS`].
    pub results: [u64; 3],
    /// Groups that wait for it to take a message.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Moment>,
    /// Messages put aside.
    pub dead: u64,
}

impl NotifyFigures {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> NotifyCounts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what became of a message.
    pub(super) fn count(&self, receiver: &str, outcome: &Outcome) {
        let at = match outcome {
            Outcome::Dead { .. } => 0,
            Outcome::Delivered => 1,
            Outcome::Partial { .. } | Outcome::Retry { .. } | Outcome::TooLarge => 2,
        };
        self.change(|counts| {
            let own = counts.receivers.entry(receiver.to_owned()).or_default();
            if let Some(count) = own.results.get_mut(at) {
                *count = count.saturating_add(1);
            }
        });
    }

    /// Changes the counts.
    pub(super) fn change(&self, act: impl FnOnce(&mut NotifyCounts)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
