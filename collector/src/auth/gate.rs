//! Whether the API server answers: nobody waits in line for one that does not.
//!
//! ```text
//! answers ──a question fails──> silent ──one try a second──> an answer: answers again
//! ```
//!
//! While it is silent, a fleet that comes back at once must not hang, one timeout each, and must
//! not be the first thing that a recovering API server meets.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Between two tries while the API server is silent.
const TRY_EVERY_MS: u64 = 1000;

/// The state of the API server as the last questions showed it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answered_ms: Option<u64>,
    /// When the next try may be made; `None`: it answers.
    next_try_ms: Option<u64>,
}

/// What changed by the outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    None,
    /// It had answered before, or never been asked, and does not now.
    WentSilent,
    /// It had been silent, and answers now.
    CameBack,
}

impl Gate {
    /// Whether a question may be asked now; while the API server is silent, one a second may.
    pub(super) fn may_ask(&self, now_ms: u64) -> bool {
        let mut state = self.lock();
        match state.next_try_ms {
            None => true,
            Some(next) if now_ms < next => false,
            Some(_) => {
                state.next_try_ms = Some(now_ms.saturating_add(TRY_EVERY_MS));
                true
            }
        }
    }

    /// Whether the last question was not answered.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().next_try_ms.is_some()
    }

    /// A question was answered.
    pub(super) fn answered(&self, now_ms: u64) -> Turn {
        let mut state = self.lock();
        state.answered_ms = Some(now_ms);
        if state.next_try_ms.take().is_some() { Turn::CameBack } else { Turn::None }
    }

    /// A question was not answered.
    pub(super) fn failed(&self, now_ms: u64) -> Turn {
        let mut state = self.lock();
        let was = state.next_try_ms.replace(now_ms.saturating_add(TRY_EVERY_MS));
        if was.is_none() { Turn::WentSilent } else { Turn::None }
    }

    /// When the last answer came.
    pub(super) fn answered_ms(&self) -> Option<u64> {
        self.lock().answered_ms
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_tried_once_a_second() {
        let gate = Gate::default();
        assert!(gate.may_ask(0) && gate.may_ask(0));
        assert_eq!(gate.failed(0), Turn::WentSilent);
        assert!(gate.is_silent());
        assert!(!gate.may_ask(TRY_EVERY_MS - 1));
        assert!(gate.may_ask(TRY_EVERY_MS));
        assert!(!gate.may_ask(TRY_EVERY_MS), "one try, not all at once");
        assert_eq!(gate.failed(TRY_EVERY_MS), Turn::None);
        assert!(gate.may_ask(2 * TRY_EVERY_MS));
        assert_eq!(gate.answered(2 * TRY_EVERY_MS), Turn::CameBack);
        assert!(gate.may_ask(2 * TRY_EVERY_MS) && gate.may_ask(2 * TRY_EVERY_MS));
        assert_eq!(gate.answered(3000), Turn::None);
        assert_eq!(gate.answered_ms(), Some(3000));
    }
}
