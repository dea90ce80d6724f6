//! `when`: the conditions under which a rule says anything at all, each with its printed reason.

use serde_json::Map;
use serde_json::Value;

use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::Answer;
use crate::compare::Compare;
use crate::compare::show;
use crate::expect::Looked;
use crate::expect::Outcome;
use crate::expect::Source;
use crate::facts::FactPath;
use crate::facts::Facts;
use crate::interest::Interest;
use crate::interest::note;

/// Conditions that one rule may have.
pub(crate) const MAX_CONDITIONS: usize = 8;

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    source: Source,
    compare: Compare,
    reason: Box<str>,
}

impl Condition {
    /// Words: `fact` (a path), comparators, `reason` (why the rule does not apply without it).
    ///
    /// # Errors
    /// [`MalformedBody`], naming the word.
    pub(crate) fn parse(map: &Map<String, Value>) -> Result<Self, MalformedBody> {
        let body = Body::new(map);
        let source = Source::parse(body.required("fact")?)?;
        let compare = Compare::required(&body)?;
        let reason = body.required("reason")?.into();
        body.finish()?;
        Ok(Self { source, compare, reason })
    }

    pub(crate) const fn path(&self) -> &FactPath {
        self.source.path()
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        note(interest, self.source.shown());
    }

    /// What to say instead of a verdict if the condition does not hold (not applicable), or if
    /// that cannot be told (unknown); `None` if it holds.
    fn instead(&self, facts: &Facts) -> Option<Outcome> {
        let fact = self.source.shown();
        let expected = self.compare.expected();
        match self.source.look(facts) {
            Looked::Absent(origin) | Looked::NoKubelet(origin) => (!self.compare.met_by_absence())
                .then(|| Outcome::not_applicable(fact, &self.reason, origin)),
            Looked::Unknown(why) => Some(Outcome::unknown_because(fact, why, expected)),
            Looked::Known(value, _) if self.compare.says_cannot_tell(value) => {
                Some(Outcome::unknown(fact, self.source.said_about(value, facts), expected))
            }
            Looked::Known(value, origin) => match self.compare.answer(value) {
                Answer::Holds => None,
                Answer::Fails => {
                    let mut outcome = Outcome::not_applicable(fact, &self.reason, origin);
                    outcome.evidence.observed = show(value);
                    Some(outcome)
                }
                Answer::Mistyped(wanted) => {
                    let reason = format!("expected {wanted}, found `{}`", show(value));
                    Some(Outcome::unknown(fact, reason, expected))
                }
            },
        }
    }
}

/// What to say instead of a verdict; `None` if every condition holds. One that is proven false
/// settles it, whatever the others are.
pub(crate) fn instead(conditions: &[Condition], facts: &Facts) -> Option<Outcome> {
    let mut unknown = None;
    for condition in conditions {
        match condition.instead(facts) {
            None => {}
            Some(outcome) if outcome.verdict == crate::Verdict::NotApplicable => {
                return Some(outcome);
            }
            Some(outcome) => unknown = unknown.or(Some(outcome)),
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_test::example::Example;

    #[test]
    fn a_condition_that_cannot_be_told_says_why_in_the_words_of_the_node() {
        let words = "{fact: reboot.need.answer, one_of: [needed], cannot_tell: unknown, reason: x}";
        let words = crate::yaml::parse::<Map<String, Value>>(words).unwrap();
        let condition = Condition::parse(&words).unwrap();
        let said = |facts: &str| {
            let facts = Example::build(&crate::yaml::parse(facts).unwrap()).unwrap().facts();
            instead(std::slice::from_ref(&condition), &facts).map(|it| it.evidence.reason)
        };
        let unknown = "reboot.need: {answer: unknown, why: {kind: io, detail: no rpm database}}";
        assert_eq!(said(unknown).as_deref(), Some("no rpm database"));
        assert_eq!(said("reboot.need: {answer: needed}"), None);
        assert_eq!(said("reboot.need: {answer: not-needed}").as_deref(), Some("x"));
    }
}
