//! A leader that wants another collector to lead: it reboots no node that it runs on itself as long as
//! somebody else can.
//!
//! ```text
//! coordinator ──ask──> HandOver ──asked──> the term ends ──> store closed ──> Lease let go, for two
//!      ^                                                                      durations nobody's rival
//!      └── in the lead again: nobody took it, it goes alone <─────────────────────┘
//! ```
//!
//! Each time that nobody takes it costs the fleet half a minute without a leader and all that a term
//! has learned. So it is not tried again for an hour, which is longer than what a new term waits for
//! before it starts anything, and for a day not for the sake of a collector that did not take it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

/// Milliseconds for which a hand-over is not tried again, whoever could lead: a node is not started
/// before it was stable for ten minutes in one term, by the default policy.
const TRIED_FOR_MS: i64 = 60 * 60 * 1000;

/// Milliseconds for which a collector that did not take it is not made room for again, unless it was
/// started anew: what keeps it from leading may have been mended around it.
const PASSED_FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// Collectors that are remembered; a cluster has two.
const MAX_TRIED: usize = 16;

/// The wish of a leader that another one may lead; of a whole process, not of a term.
#[derive(Debug, Default)]
pub struct HandOver {
    asked: watch::Sender<bool>,
    /// For whose sake it was asked, and when.
    tried: Mutex<BTreeMap<String, i64>>,
}

impl HandOver {
    /// Asks for the end of this term, so that this run of a collector may lead. `now_ms`:
    /// `CLOCK_BOOTTIME`.
    pub fn ask(&self, run: &str, now_ms: i64) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, at| now_ms.saturating_sub(*at) < PASSED_FOR_MS);
        while tried.len() >= MAX_TRIED {
            let oldest = tried.iter().min_by_key(|(_, at)| **at).map(|(run, _)| run.clone());
            let Some(oldest) = oldest else { break };
            tried.remove(&oldest);
        }
        tried.insert(run.to_owned(), now_ms);
        self.asked.send_replace(true);
    }

    /// Whether it is asked for and has not happened yet.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Until it is asked for.
    pub async fn asked(&self) {
        // It ends with its sender, which is here.
        if self.asked.subscribe().wait_for(|is_asked| *is_asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What was asked for has happened, or another term begins.
    pub fn settle(&self) {
        self.asked.send_replace(false);
    }

    /// Whether it was tried a short while ago. `now_ms`: `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn was_tried(&self, now_ms: i64) -> bool {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.values().any(|at| now_ms.saturating_sub(*at) < TRIED_FOR_MS)
    }

    /// Whether this run of a collector was made room for, and this one leads again. `now_ms`:
    /// `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn has_passed(&self, run: &str, now_ms: i64) -> bool {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.get(run).is_some_and(|at| now_ms.saturating_sub(*at) < PASSED_FOR_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_asked_for_once_and_not_again_for_a_while() {
        let hand_over = HandOver::default();
        assert!(!hand_over.is_asked() && !hand_over.was_tried(0));
        hand_over.ask("u-1 0", 1_000);
        hand_over.asked().await;
        hand_over.settle();
        assert!(!hand_over.is_asked(), "a later term does not end by the wish of this one");
        assert!(hand_over.was_tried(1_000 + TRIED_FOR_MS - 1));
        assert!(!hand_over.was_tried(1_000 + TRIED_FOR_MS));
    }

    #[test]
    fn who_did_not_take_it_is_not_made_room_for_again_until_it_is_started_anew() {
        let hand_over = HandOver::default();
        hand_over.ask("u-1 0", 1_000);
        assert!(hand_over.has_passed("u-1 0", 1_000 + PASSED_FOR_MS - 1));
        assert!(!hand_over.has_passed("u-1 0", 1_000 + PASSED_FOR_MS));
        for other in ["u-1 1", "u-2 0"] {
            assert!(!hand_over.has_passed(other, 2_000), "{other}");
        }
        for run in 0..100 {
            hand_over.ask(&format!("u-9 {run}"), 2_000 + run);
        }
        assert!(!hand_over.has_passed("u-1 0", 3_000), "the oldest is forgotten");
        assert!(hand_over.has_passed("u-9 99", 3_000));
        assert_eq!(hand_over.tried.lock().unwrap().len(), MAX_TRIED);
    }
}
