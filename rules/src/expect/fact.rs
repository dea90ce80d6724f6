//! `fact`: any fact of a report by its path.

use super::Looked;
use super::Outcome;
use super::Scene;
use super::Source;
use super::because;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::AbsentIs;
use crate::compare::Answer;
use crate::compare::Compare;
use crate::compare::show;
use crate::facts::FactPath;
use crate::interest::Interest;
use crate::interest::note;

/// One fact and what it must be.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    source: Source,
    compare: Compare,
    /// Another fact that it must equal.
    same_as: Option<Source>,
    /// A fact without which a good value proves nothing.
    resting_on: Option<Source>,
    /// The reasons that a failure names.
    because: Option<Source>,
}

impl Fact {
    /// Words: `path`, comparators, `same_as` (another path), `resting_on` (the path of a fact that
    /// must be known for a pass: a list of complaints is empty as well where nothing was read),
    /// `because` (the path of a list in the same section, which a failure names).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let source = Source::parse(body.required("path")?)?;
        let same_as = body.text("same_as")?.map(Source::parse).transpose()?;
        let compare =
            if same_as.is_some() { Compare::take(body)? } else { Compare::required(body)? };
        let resting_on = body.text("resting_on")?.map(Source::parse).transpose()?;
        let because = body.text("because")?.map(Source::parse).transpose()?;
        if because.as_ref().is_some_and(|it| it.path().section() != source.path().section()) {
            let expected = "the path of a fact in the same section";
            return Err(MalformedBody::Value { word: "because", expected });
        }
        Ok(Self { resting_on, because, ..Self::new(source, compare, same_as) })
    }

    pub(super) const fn new(source: Source, compare: Compare, same_as: Option<Source>) -> Self {
        Self { source, compare, same_as, resting_on: None, because: None }
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        let others = self.same_as.iter().chain(&self.resting_on);
        let others = others.map(|it| it.path().clone());
        std::iter::once(self.source.path().clone()).chain(others).collect()
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        note(interest, self.source.shown());
        if let Some(other) = &self.same_as {
            note(interest, other.shown());
        }
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        out.push(self.outcome(scene));
    }

    pub(super) fn outcome(&self, scene: &Scene<'_>) -> Outcome {
        let fact = self.source.shown();
        let expected = self.compare.expected();
        let (value, origin) = match self.source.look(scene.facts) {
            Looked::Known(value, origin) => (value, origin),
            Looked::Unknown(why) => return Outcome::unknown_because(fact, why, expected),
            Looked::NoKubelet(origin) => {
                return Outcome::not_applicable(fact, "no kubelet runs here", origin);
            }
            Looked::Absent(origin) => {
                return match self.compare.absent() {
                    AbsentIs::Fail => {
                        Outcome::seen(false, fact, "not set".into(), origin, expected)
                    }
                    AbsentIs::NotApplicable => {
                        Outcome::not_applicable(fact, "this host does not have it", origin)
                    }
                    AbsentIs::Pass => Outcome::seen(true, fact, "not set".into(), origin, expected),
                };
            }
        };
        if self.compare.says_cannot_tell(value) {
            return Outcome::unknown(fact, self.source.said_about(value, scene.facts), expected);
        }
        let answer = self.compare.answer(value);
        if let (Answer::Holds, Some(ground)) = (answer, &self.resting_on)
            && let Looked::Unknown(why) = ground.look(scene.facts)
        {
            return Outcome::unknown_because(ground.shown(), why, expected);
        }
        match answer {
            Answer::Fails => {
                let mut outcome = Outcome::seen(false, fact, show(value), origin, expected);
                outcome.evidence.reason = self.reasons(scene);
                outcome
            }
            Answer::Mistyped(wanted) => Outcome::unknown(
                fact,
                format!("expected {wanted}, found `{}`", show(value)),
                expected,
            ),
            Answer::Holds => match &self.same_as {
                None => Outcome::seen(true, fact, show(value), origin, expected),
                Some(other) => match other.look(scene.facts) {
                    Looked::Known(wanted, _) => {
                        let expected = format!("{} as in {}", show(wanted), other.shown());
                        Outcome::seen(value == wanted, fact, show(value), origin, &expected)
                    }
                    Looked::Absent(origin) | Looked::NoKubelet(origin) => Outcome::not_applicable(
                        other.shown(),
                        "there is nothing to compare it with",
                        origin,
                    ),
                    Looked::Unknown(why) => Outcome::unknown_because(other.shown(), why, ""),
                },
            },
        }
    }

    /// What the failure comes from; empty where nothing says so. It adds to a verdict and decides
    /// none, so that a report without it is judged all the same.
    fn reasons(&self, scene: &Scene<'_>) -> String {
        match self.because.as_ref().map(|it| it.look(scene.facts)) {
            Some(Looked::Known(list, _)) => because::named(list),
            Some(Looked::Absent(_) | Looked::NoKubelet(_) | Looked::Unknown(_)) | None => {
                String::new()
            }
        }
    }
}
