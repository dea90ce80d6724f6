//! A leader that wants another collector to lead: it reboots no node that it runs on itself as long as
//! somebody else can.
//!
//! ```text
//! coordinator ──ask──> HandOver ──asked──> the term ends ──> store closed ──> Lease let go, for two
//!      ^                                                                      durations nobody's rival
//!      └── within 10 minutes in the lead again: nobody took it, it goes alone <──┘
//! ```

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

/// Milliseconds for which a hand-over that nobody took is not tried again: the node is rebooted by the
/// collector that runs on it meanwhile, as where there is only one.
const TRIED_FOR_MS: i64 = 600_000;

/// The wish of a leader that another one may lead; of a whole process, not of a term.
#[derive(Debug, Default)]
pub struct HandOver {
    asked: watch::Sender<bool>,
    last_ms: Mutex<Option<i64>>,
}

impl HandOver {
    /// Asks for the end of this term. `now_ms`: `CLOCK_BOOTTIME`.
    pub fn ask(&self, now_ms: i64) {
        *self.last_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(now_ms);
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
        let last_ms = *self.last_ms.lock().unwrap_or_else(PoisonError::into_inner);
        last_ms.is_some_and(|at| now_ms.saturating_sub(at) < TRIED_FOR_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_asked_for_once_and_not_again_for_a_while() {
        let hand_over = HandOver::default();
        assert!(!hand_over.is_asked() && !hand_over.was_tried(0));
        hand_over.ask(1_000);
        hand_over.asked().await;
        hand_over.settle();
        assert!(!hand_over.is_asked(), "a later term does not end by the wish of this one");
        assert!(hand_over.was_tried(1_000 + TRIED_FOR_MS - 1));
        assert!(!hand_over.was_tried(1_000 + TRIED_FOR_MS));
    }
}
