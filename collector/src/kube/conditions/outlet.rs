//! One of the outputs, as the API server takes it or does not: each fails, waits and goes on apart
//! from the others, and says so once.

use std::time::Duration;
use std::time::Instant;

use crate::chain::Chain;
use crate::kube::client::CallError;

/// After a refusal for everything: a right or a kind is missing, and a person has to add it.
pub const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// After no answer, or one that tells nothing: the API server is busy or away.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing of this output can be written for now.
    All,
    /// This object was refused; others may be taken.
    One,
}

/// One of the outputs.
#[derive(Debug)]
pub struct Outlet {
    what: &'static str,
    needs: &'static str,
    shut_until: Option<Instant>,
    told: Option<String>,
}

impl Outlet {
    /// An output named `what`; `needs` says what to apply when it is refused.
    #[must_use]
    pub const fn new(what: &'static str, needs: &'static str) -> Self {
        Self { what, needs, shut_until: None, told: None }
    }

    /// Whether it may be tried.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        self.shut_until.is_none_or(|until| until <= now)
    }

    /// Something was written.
    pub fn went(&mut self) {
        self.shut_until = None;
        if self.told.take().is_some() {
            tracing::info!(output = self.what, "what could not be written is written again");
        }
    }

    /// Something was not written.
    pub fn failed(&mut self, error: &CallError, now: Instant) -> Scope {
        let (pause, scope) = match error {
            CallError::Refused { code: 403 | 404, .. } => (AFTER_REFUSAL, Scope::All),
            CallError::Refused { code: 400 | 409 | 413 | 422, .. } => (Duration::ZERO, Scope::One),
            CallError::Refused { .. }
            | CallError::TimedOut(_)
            | CallError::Unreached { .. }
            | CallError::NotLeader => (AFTER_FAILURE, Scope::All),
        };
        self.shut_until = now.checked_add(pause);
        // Words of a refusal name the object: the same trouble of many nodes is told once.
        let cause = Chain(error).to_string();
        let trouble = match error {
            CallError::Refused { code, .. } => code.to_string(),
            CallError::TimedOut(_) | CallError::Unreached { .. } | CallError::NotLeader => {
                cause.clone()
            }
        };
        if self.told.as_ref() != Some(&trouble) {
            let output = self.what;
            if matches!(error, CallError::Refused { code: 403 | 404, .. }) {
                let needs = self.needs;
                tracing::warn!(output, needs, %cause, "refused: nothing of this output is written");
            } else {
                tracing::warn!(output, %cause, "not written; it is tried again");
            }
            self.told = Some(trouble);
        }
        scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> CallError {
        CallError::Refused { code, reason: "Because".to_owned(), message: "no".to_owned() }
    }

    #[test]
    fn a_missing_right_shuts_the_output_for_a_while_and_an_odd_object_does_not() {
        let now = Instant::now();
        let mut outlet = Outlet::new("conditions", "rights");
        for (error, scope) in [
            (refused(403), Scope::All),
            (refused(404), Scope::All),
            (refused(422), Scope::One),
            (refused(500), Scope::All),
            (CallError::TimedOut(AFTER_FAILURE), Scope::All),
        ] {
            assert_eq!(outlet.failed(&error, now), scope, "{error}");
            assert_eq!(outlet.is_open(now), scope == Scope::One, "{error}");
            assert!(outlet.is_open(now + AFTER_REFUSAL), "{error}");
        }
        outlet.failed(&refused(403), now);
        assert!(!outlet.is_open(now + AFTER_FAILURE), "a person is waited for, not a machine");
        outlet.went();
        assert!(outlet.is_open(now));
    }
}
