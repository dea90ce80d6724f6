//! Rules: what is expected of nodes, and why.

use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::SectionName;
use palisade_rules::Profile;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use serde::Serialize;

use super::answer::Answer;

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a RuleId,
    severity: Severity,
    title: &'a str,
    why: &'a str,
    fix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_break: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_covered: Option<&'a str>,
    references: &'a [String],
    sections: &'a BTreeSet<SectionName>,
}

/// All rules in force, in order of their ids.
#[must_use]
pub fn list(profile: &Profile) -> Answer {
    #[derive(Serialize)]
    struct Page<'a> {
        profile: &'a str,
        digest: Digest,
        rules: Vec<Entry<'a>>,
    }
    let rules = profile
        .rules()
        .iter()
        .map(|rule| Entry {
            id: rule.id(),
            severity: rule.severity(),
            title: rule.title(),
            why: rule.why(),
            fix: rule.fix(),
            may_break: rule.may_break(),
            not_covered: rule.not_covered(),
            references: rule.references(),
            sections: rule.sections(),
        })
        .collect();
    Answer::json(&Page { profile: profile.name(), digest: profile.digest(), rules })
}
