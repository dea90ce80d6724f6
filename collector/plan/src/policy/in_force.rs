//! Which policy is in force, and which was refused.
//!
//! ```text
//! text ── load ──> parses ──> in force from now on
//!              └─> does not ──> refused; what was in force stays so
//! ```
//!
//! Before the first good text the default is in force, which reboots nothing.

use std::sync::Arc;

use palisade_report::Moment;
use serde::Serialize;

use crate::policy::Policy;
use crate::policy::PolicyError;

/// The last good policy, and the problem of the last bad one.
#[derive(Clone, Debug)]
pub struct PolicyInForce {
    policy: Arc<Policy>,
    source: Source,
    refused: Option<Refused>,
}

/// Where the policy in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Nobody has written one, or none that parses: nothing is rebooted.
    Default,
    /// A text that was loaded at this moment.
    Text {
        /// When.
        since: Moment,
    },
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong with it.
    pub error: PolicyError,
    /// Since when it is there.
    pub since: Moment,
}

/// What came of a text.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in force; this one was before.
    Changed {
        /// The policy until now.
        before: Arc<Policy>,
    },
    /// It is refused, and nothing has changed.
    Refused,
    /// It says what is in force already.
    Same,
}

impl Default for PolicyInForce {
    fn default() -> Self {
        Self { policy: Arc::new(Policy::default()), source: Source::Default, refused: None }
    }
}

impl PolicyInForce {
    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Where it comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The text that was refused, until a good one follows it.
    #[must_use]
    pub const fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Takes a text as the policy if it is one, else keeps what is in force.
    pub fn load(&mut self, text: &str, now: Moment) -> Loaded {
        let policy = match Policy::parse(text) {
            Ok(policy) => policy,
            Err(error) => {
                // The same text again is the same problem since then.
                let is_known = |refused: &&Refused| refused.error == error;
                let since =
                    self.refused.as_ref().filter(is_known).map_or(now, |refused| refused.since);
                self.refused = Some(Refused { error, since });
                return Loaded::Refused;
            }
        };
        self.refused = None;
        if policy == *self.policy && self.source != Source::Default {
            return Loaded::Same;
        }
        self.source = Source::Text { since: now };
        let before = std::mem::replace(&mut self.policy, Arc::new(policy));
        Loaded::Changed { before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
                        cluster: {maxUnavailable: 7}\n";

    #[test]
    fn a_refused_policy_leaves_the_old_one_in_force_and_is_told_until_it_is_mended() {
        let at = Moment::from_unix;
        let mut held = PolicyInForce::default();
        assert_eq!((held.source(), held.policy().pools.len()), (Source::Default, 0));
        assert_eq!(held.load("nonsense", at(1)), Loaded::Refused);
        assert_eq!(held.source(), Source::Default, "the default stays, and reboots nothing");

        assert!(matches!(held.load(GOOD, at(2)), Loaded::Changed { .. }));
        assert_eq!((held.source(), held.refused()), (Source::Text { since: at(2) }, None));
        let good = Arc::clone(held.policy());

        let bad = GOOD.replace("7}", "700%}");
        assert_eq!(held.load(&bad, at(3)), Loaded::Refused);
        assert_eq!(held.load(&bad, at(4)), Loaded::Refused);
        assert_eq!(*held.policy(), good);
        let refused = held.refused().unwrap();
        assert_eq!((refused.since, refused.error.line), (at(3), 3));

        assert_eq!(held.load(&format!("# mended\n{GOOD}"), at(5)), Loaded::Same);
        assert_eq!((held.source(), held.refused()), (Source::Text { since: at(2) }, None));
    }
}
