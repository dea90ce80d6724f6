//! What an edit of rules made of a finding, and what its node made of it since. Pure.

use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_rules::Evidence;
use palisade_rules::Finding;
use palisade_rules::Severity;
use palisade_rules::Verdict;

use crate::engine::episode::settle;
use crate::snapshot::Edit;
use crate::snapshot::Episode;
use crate::snapshot::FindingKey;
use crate::snapshot::Judged;
use crate::snapshot::Opened;
use crate::snapshot::Standing;

use Opened::Report;
use Opened::Rules;
use Opened::Time;
use Severity::Critical;
use Severity::High;
use Severity::Medium;
use Verdict::Fail;
use Verdict::Pass;
use Verdict::Unknown;
use Verdict::Waived;

const fn standing(verdict: Verdict, severity: Severity) -> Standing {
    Standing { verdict, severity }
}

/// The one finding after these judgements, a second apart.
fn after(steps: &[(Opened, Verdict, Severity)]) -> Option<Episode> {
    let mut open: Vec<Episode> = Vec::new();
    for (at, (by, verdict, severity)) in (0_i64..).zip(steps) {
        let finding = Finding {
            rule: "file.passwd".parse().unwrap(),
            verdict: *verdict,
            severity: *severity,
            subject: String::new(),
            evidence: Evidence::default(),
            waiver: None,
        };
        let key = FindingKey { rule: finding.rule.clone(), subject: "".into() };
        let judged = Judged {
            key: Digest::of(b"judged"),
            group: 0,
            findings: vec![finding],
            next_change_at: None,
            keys: vec![Arc::new(key)],
        };
        open = settle(&open, &[Arc::new(judged)], *by, Moment::from_unix(at)).episodes;
    }
    open.pop()
}

/// How bad the node alone made it; outer `None`: it is not open.
fn own(steps: &[(Opened, Verdict, Severity)]) -> Option<Option<Standing>> {
    after(steps).map(|it| it.own())
}

#[test]
fn an_edit_leaves_what_the_node_made_of_a_finding_as_it_was() {
    let (medium, critical) = (standing(Fail, Medium), standing(Fail, Critical));
    assert_eq!(own(&[(Report, Pass, Medium), (Rules, Fail, Medium)]), Some(None));
    let raised = [(Report, Fail, Medium), (Rules, Fail, Critical)];
    assert_eq!(own(&raised), Some(Some(medium)));
    let edit = after(&raised).unwrap().edit().copied();
    let at = Moment::from_unix(1);
    assert_eq!(edit, Some(Edit { at, was: Some(medium), made: critical }));
    // A waiver that is taken away, and a rule that can tell now what it could not.
    for before in [Waived, Unknown] {
        let before = standing(before, Medium);
        let steps = [(Report, before.verdict, Medium), (Rules, Fail, Medium)];
        assert_eq!(own(&steps), Some(Some(before)));
    }
}

#[test]
fn an_edit_that_is_taken_back_or_makes_it_milder_leaves_nothing() {
    let medium = standing(Fail, Medium);
    let edits = |more: &[(Opened, Verdict, Severity)]| {
        let steps = [&[(Report, Fail, Medium)], more].concat();
        after(&steps).map(|it| (it.own(), it.edit().is_some()))
    };
    let as_it_was = Some((Some(medium), false));
    assert_eq!(edits(&[(Rules, Fail, Critical), (Rules, Fail, Medium)]), as_it_was);
    assert_eq!(edits(&[(Rules, Unknown, Medium), (Rules, Fail, Medium)]), as_it_was);
    let milder = Some((Some(standing(Fail, Severity::Low)), false));
    assert_eq!(edits(&[(Rules, Fail, Severity::Low)]), milder);
    // Two edits in a row: the node's own part stays, the moment is that of the later one.
    let twice = [(Report, Fail, Medium), (Rules, Fail, High), (Rules, Fail, Critical)];
    let edit = after(&twice).unwrap().edit().copied().unwrap();
    assert_eq!((edit.was, edit.at), (Some(medium), Moment::from_unix(2)));
}

#[test]
fn what_becomes_worse_after_an_edit_its_node_or_time_made_worse() {
    let edited = [(Report, Pass, High), (Rules, Fail, High)];
    let then = |by, verdict, severity| own(&[&edited[..], &[(by, verdict, severity)]].concat());
    assert_eq!(then(Time, Fail, Critical), Some(Some(standing(Fail, Critical))));
    assert_eq!(then(Report, Unknown, High), Some(Some(standing(Unknown, High))));
    assert_eq!(then(Report, Fail, Medium), Some(None), "milder, and there by the edit still");
    assert_eq!(then(Rules, Fail, High), Some(None), "judged again by other rules");
    // What passes by leaves the edit as it is; what ends is the node's own from then on.
    let steps = [&edited[..], &[(Report, Unknown, High), (Report, Fail, High)]].concat();
    assert_eq!(own(&steps), Some(None));
    let steps = [&edited[..], &[(Report, Pass, High), (Report, Fail, High)]].concat();
    assert_eq!(own(&steps), Some(Some(standing(Fail, High))));
}
