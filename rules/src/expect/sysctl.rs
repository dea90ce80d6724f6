//! `sysctl`: a kernel parameter now and after the next boot.
//!
//! A good value that a file replaces at the next boot is a failure that has not happened yet, so
//! both are judged. Where no file sets the key, the kernel's own default comes back, which is not
//! known here: a rule says with `unset` whether that is good enough.

use super::Looked;
use super::Outcome;
use super::Scene;
use super::Source;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::AbsentIs;
use crate::compare::Answer;
use crate::compare::Compare;
use crate::compare::show;
use crate::facts::FactPath;
use crate::interest::Interest;

/// A kernel parameter and what it must be.
#[derive(Clone, Debug)]
pub(crate) struct Sysctl {
    key: Box<str>,
    fact: Box<str>,
    running: Source,
    next_boot: Option<Source>,
    unset: Unset,
    compare: Compare,
}

/// Whether the value after the next boot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextBoot {
    Ignored,
    Judged,
}

/// What it means that nothing sets the key for the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unset {
    /// The running value was set by hand and is lost: the kernel's default would not do.
    Fail,
    /// The running value decides.
    Ignored,
}

impl Sysctl {
    /// Words: `key`, comparators, `next_boot` (`judged`, or `ignored` for keys that a service sets
    /// again whenever it starts), `unset` (`ignored`, or `fail` for keys whose default would not
    /// do, so that a good value that no file sets is lost at the next boot).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let key = body.required("key")?;
        let choices = [("ignored", NextBoot::Ignored), ("judged", NextBoot::Judged)];
        let next_boot = body.choice("next_boot", &choices, "judged or ignored")?;
        let fact = format!("sysctls.keys.{key}");
        let next_boot = match next_boot.unwrap_or(NextBoot::Judged) {
            NextBoot::Ignored => None,
            NextBoot::Judged => Some(Source::parse(&format!("{fact}.next_boot"))?),
        };
        let choices = [("fail", Unset::Fail), ("ignored", Unset::Ignored)];
        let unset = body.choice("unset", &choices, "fail or ignored")?;
        Ok(Self {
            key: key.into(),
            unset: unset.unwrap_or(Unset::Ignored),
            running: Source::parse(&format!("{fact}.running"))?,
            next_boot,
            compare: Compare::required(body)?,
            fact: fact.into(),
        })
    }

    pub(crate) fn subject(&self) -> &str {
        &self.key
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        let next_boot = self.next_boot.iter().map(|it| it.path().clone());
        std::iter::once(self.running.path().clone()).chain(next_boot).collect()
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        interest.sysctls.insert(self.key.to_string());
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        out.push(self.outcome(scene).about(&self.key));
    }

    fn outcome(&self, scene: &Scene<'_>) -> Outcome {
        let expected = self.compare.expected();
        let running = self.running.shown();
        let (value, origin) = match self.running.look(scene.facts) {
            Looked::Known(value, origin) => (value, origin),
            Looked::Unknown(why) => return Outcome::unknown_because(running, why, expected),
            Looked::Absent(origin) | Looked::NoKubelet(origin) => {
                return match self.compare.absent() {
                    AbsentIs::NotApplicable => Outcome::not_applicable(
                        running,
                        "this kernel has no such key, or its module is not loaded",
                        origin,
                    ),
                    AbsentIs::Fail => {
                        Outcome::seen(false, running, "no such key".into(), origin, expected)
                    }
                    AbsentIs::Pass => {
                        Outcome::seen(true, running, "no such key".into(), origin, expected)
                    }
                };
            }
        };
        match self.compare.answer(value) {
            Answer::Fails => {
                return Outcome::seen(false, running, show(value), origin, expected);
            }
            Answer::Mistyped(wanted) => {
                let reason = format!("expected {wanted}, found `{}`", show(value));
                return Outcome::unknown(running, reason, expected);
            }
            Answer::Holds => {}
        }
        let Some(next_boot) = &self.next_boot else {
            return Outcome::seen(true, running, show(value), origin, expected);
        };
        match next_boot.look(scene.facts) {
            Looked::Absent(later_origin) | Looked::NoKubelet(later_origin) => match self.unset {
                Unset::Ignored => Outcome::seen(true, running, show(value), origin, expected),
                Unset::Fail => Outcome::seen(
                    false,
                    &self.fact,
                    format!("{} now, the kernel's default after the next boot", show(value)),
                    later_origin,
                    expected,
                ),
            },
            Looked::Unknown(why) => Outcome::unknown_because(next_boot.shown(), why, expected),
            Looked::Known(later, later_origin) => match self.compare.answer(later) {
                Answer::Holds => Outcome::seen(true, running, show(value), origin, expected),
                Answer::Fails => Outcome::seen(
                    false,
                    &self.fact,
                    format!("{} now, {} after the next boot", show(value), show(later)),
                    later_origin,
                    expected,
                ),
                Answer::Mistyped(wanted) => {
                    let reason =
                        format!("expected {wanted} after the next boot, found `{}`", show(later));
                    Outcome::unknown(next_boot.shown(), reason, expected)
                }
            },
        }
    }
}
