use std::sync::Arc;

use palisade_report::SectionName;
use serde_json::json;

use super::*;
use crate::Verdict;

#[test]
fn a_missing_section_is_unknown_and_findings_come_in_order() {
    let profile = Profile::built_in();
    let now = Moment::from_unix(0);
    let judgement = judge(&Facts::default(), &profile, &Waivers::default(), None, now);
    assert!(judgement.findings.len() >= profile.rules().len());
    for finding in &judgement.findings {
        assert_eq!(finding.verdict, Verdict::Unknown, "{}", finding.rule);
        assert!(finding.evidence.reason.contains("no section"), "{finding:?}");
    }
    let keys = |list: &[Finding]| -> Vec<_> {
        list.iter().map(|it| (it.rule.clone(), it.subject.clone())).collect()
    };
    let mut sorted = keys(&judgement.findings);
    sorted.sort();
    assert_eq!(keys(&judgement.findings), sorted);
    assert_eq!(judgement.next_change_at, None);
}

#[test]
fn the_nodes_own_reason_is_the_reason_of_an_unknown_verdict() {
    let mut facts = Facts::default();
    let why = json!({"kind": "crashed", "detail": "the reader panicked"});
    facts.insert(SectionName::Sysctls, Arc::new(json!({"state": "unknown", "why": why})));
    let profile = Profile::built_in();
    let group = profile
        .groups()
        .iter()
        .find(|group| group.sections().iter().eq([&SectionName::Sysctls]))
        .unwrap();
    let judgement = judge_group(&facts, group, &Waivers::default(), None, Moment::from_unix(0));
    assert_eq!(judgement.findings.len(), group.rules().len());
    for finding in judgement.findings {
        assert_eq!(finding.verdict, Verdict::Unknown);
        assert_eq!(finding.evidence.reason, "the reader panicked");
    }
}

#[test]
fn the_groups_together_judge_what_the_profile_judges() {
    let profile = Profile::built_in();
    let (facts, now) = (Facts::default(), Moment::from_unix(0));
    let whole = judge(&facts, &profile, &Waivers::default(), None, now);
    let mut parts: Vec<Finding> = profile
        .groups()
        .iter()
        .flat_map(|group| judge_group(&facts, group, &Waivers::default(), None, now).findings)
        .collect();
    parts.sort_by(|one, other| (&one.rule, &one.subject).cmp(&(&other.rule, &other.subject)));
    assert_eq!(whole.findings, parts);
}

#[test]
fn a_path_without_end_does_not_multiply() {
    let path = format!("/{}", "x".repeat(500_000));
    let certificate = |index: usize| json!({"index": index, "class": "leaf", "not_after": {"state": "unknown", "why": {"kind": "other", "detail": ""}}});
    let list: Vec<_> = (0..1000).map(certificate).collect();
    let file = json!({"watched": [], "expected": "required", "resolved": {"state": "absent"},
        "certificates": {"state": "known", "value": list}});
    let mut files = serde_json::Map::new();
    files.insert(path, file);
    let mut facts = Facts::default();
    facts.insert(SectionName::Certificates, Arc::new(json!({"state": "known", "files": files})));
    let profile = Profile::built_in();
    let judgement = judge(&facts, &profile, &Waivers::default(), None, Moment::from_unix(0));
    let about = judgement.findings.iter().filter(|it| it.rule.area() == "certificate");
    let bytes = serde_json::to_vec(&about.collect::<Vec<_>>()).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes of findings");
}
