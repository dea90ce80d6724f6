//! The judge: facts and expectations in, findings out.
//!
//! ```text
//! rule ──when──> not applicable, unknown
//!        └─────> expect ──> outcome for each subject ──waivers──> finding
//! ```
//!
//! Does not decide what a verdict leads to: alerts and reboots are decided elsewhere.

use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::clean;

use crate::expect::MAX_SUBJECTS;
use crate::expect::Outcome;
use crate::expect::Scene;
use crate::facts::Facts;
use crate::finding::Evidence;
use crate::finding::Finding;
use crate::finding::Judgement;
use crate::group::Group;
use crate::profile::Profile;
use crate::rule::Rule;
use crate::waiver::Waivers;
use crate::when;

/// Judges facts by every rule of a profile. `node` is for waivers that name nodes; without it only
/// those for every node count.
#[must_use]
pub fn judge(
    facts: &Facts,
    profile: &Profile,
    waivers: &Waivers,
    node: Option<&NodeName>,
    now: Moment,
) -> Judgement {
    judge_rules(profile.rules(), facts, waivers, node, now)
}

/// Judges facts by the rules of one group; the sections that it reads are enough.
#[must_use]
pub fn judge_group(
    facts: &Facts,
    group: &Group,
    waivers: &Waivers,
    node: Option<&NodeName>,
    now: Moment,
) -> Judgement {
    judge_rules(group.rules(), facts, waivers, node, now)
}

/// What one rule says without waivers.
#[cfg(test)]
pub(crate) fn judge_one(rule: &Rule, facts: &Facts, now: Moment) -> Judgement {
    let rules = [Arc::new(rule.clone())];
    judge_rules(&rules, facts, &Waivers::default(), None, now)
}

fn judge_rules(
    rules: &[Arc<Rule>],
    facts: &Facts,
    waivers: &Waivers,
    node: Option<&NodeName>,
    now: Moment,
) -> Judgement {
    let scene = Scene { facts, now };
    let mut judgement =
        Judgement { findings: Vec::with_capacity(rules.len()), next_change_at: None };
    let mut outcomes = Vec::new();
    for rule in rules {
        judge_rule(rule, &scene, &mut outcomes);
        for outcome in outcomes.drain(..) {
            let Outcome { subject, verdict, severity, evidence, changes_at } = outcome;
            let finding = Finding {
                rule: rule.id().clone(),
                verdict,
                severity: severity.unwrap_or_else(|| rule.severity()),
                subject,
                evidence: bounded(evidence),
                waiver: None,
            };
            judgement.next_change_at = earlier(judgement.next_change_at, changes_at);
            judgement.findings.push(finding);
        }
    }
    waivers.apply(&mut judgement, node, now);
    judgement
}

/// Fills `out` with what one rule says, in order of subjects, each subject once.
fn judge_rule(rule: &Rule, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
    if let Some(outcome) = when::instead(rule.conditions(), scene.facts) {
        return out.push(outcome.about(rule.expect().subject()));
    }
    rule.expect().judge(scene, out);
    if out.len() < 2 {
        return;
    }
    // Verdicts are ordered worst first, so the worst of equal subjects stays.
    out.sort_by(|one, other| (&one.subject, one.verdict).cmp(&(&other.subject, other.verdict)));
    out.dedup_by(|one, other| one.subject == other.subject);
    if out.len() > MAX_SUBJECTS {
        out.truncate(MAX_SUBJECTS);
        let reason = format!("more than {MAX_SUBJECTS} subjects; the rest was not judged");
        out.push(Outcome::unknown("", reason, "").about("~"));
    }
}

/// Evidence that is kept once for each finding must not hold whatever length a report made of a
/// path: one section of a mebibyte would become gigabytes of findings.
fn bounded(mut evidence: Evidence) -> Evidence {
    let Evidence { fact, observed, expected, origin, reason } = &mut evidence;
    for text in [fact, observed, expected, origin, reason] {
        if text.len() > MAX_LONG_TEXT {
            *text = clean(text.as_bytes(), MAX_LONG_TEXT);
        }
    }
    evidence
}

/// The earlier of two moments that may not come.
pub(crate) fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests;
