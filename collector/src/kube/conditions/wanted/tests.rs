//! The table of conditions, row by row.

use std::sync::Arc;

use palisade_report::Digest;
use palisade_rules::Evidence;
use palisade_rules::RuleId;
use palisade_rules::finding::AppliedWaiver;

use super::*;
use crate::snapshot::Judged;
use crate::snapshot::tests::node as bare;

const NOW: Moment = Moment::from_unix(1_800_000_000);

fn finding(rule: &str, verdict: Verdict, severity: Severity, subject: &str) -> Finding {
    let rule: RuleId = rule.parse().unwrap();
    let subject = subject.to_owned();
    Finding { rule, verdict, severity, subject, evidence: Evidence::default(), waiver: None }
}

fn node(findings: Vec<Finding>) -> Node {
    let judged =
        Judged { key: Digest::of(b""), group: 0, findings, next_change_at: None, keys: Vec::new() };
    let judgements = Arc::from([Arc::new(judged)]);
    Node { report: Some(Digest::of(b"")), judgements, ..Node::clone(&bare("worker")) }
}

fn of(kind: Kind, node: &Node) -> Wanted {
    wanted(node).into_iter().find(|it| it.kind == kind).unwrap()
}

#[test]
fn each_condition_follows_its_rules() {
    use Severity::Critical;
    use Severity::High;
    use Severity::Medium;
    use Status::False;
    use Status::True;
    use Status::Unknown;
    let rows = [
        (Kind::RebootRequired, "reboot.needed", Verdict::Fail, Medium, True),
        (Kind::RebootRequired, "reboot.needed", Verdict::Pass, Medium, False),
        (Kind::RebootRequired, "reboot.needed", Verdict::Unknown, Medium, Unknown),
        (Kind::RebootRequired, "reboot.needed", Verdict::NotApplicable, Medium, False),
        (Kind::RebootRequired, "reboot.services", Verdict::Fail, Medium, Unknown),
        (Kind::CertificateExpiring, "certificate.leaf-expiry", Verdict::Fail, Medium, True),
        (Kind::CertificateExpiring, "certificate.kubelet-expiry", Verdict::Fail, Critical, True),
        (Kind::CertificateExpiring, "certificate.authority-expiry", Verdict::Pass, High, False),
        (Kind::CertificateExpiring, "certificate.leaf-expiry", Verdict::Unknown, High, Unknown),
        (Kind::CertificateExpiring, "certificate.leaf-expiry", Verdict::Waived, High, False),
        (Kind::CertificateExpiring, "certificate.key-match", Verdict::Fail, High, Unknown),
        (Kind::HardeningDrift, "kubelet.anonymous-auth", Verdict::Fail, Critical, True),
        (Kind::HardeningDrift, "file.shadow", Verdict::Fail, High, True),
        (Kind::HardeningDrift, "file.shadow", Verdict::Waived, High, False),
        (Kind::HardeningDrift, "file.shadow", Verdict::Unknown, High, Unknown),
        (Kind::HardeningDrift, "file.group", Verdict::Fail, Medium, Unknown),
        (Kind::HardeningDrift, "certificate.key-match", Verdict::Fail, High, Unknown),
        (Kind::HardeningDrift, "reboot.package-manager", Verdict::Fail, High, Unknown),
    ];
    for (kind, rule, verdict, severity, status) in rows {
        let wanted = of(kind, &node(vec![finding(rule, verdict, severity, "")]));
        assert_eq!(wanted.status, status, "{kind:?} {rule} {verdict}");
        let camel = wanted.reason.starts_with(|it: char| it.is_ascii_uppercase())
            && wanted.reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(camel, "{}", wanted.reason);
        assert!(!wanted.message.is_empty());
    }
}

#[test]
fn a_failure_outweighs_what_cannot_be_told_and_that_outweighs_a_pass() {
    let pass = || finding("file.shadow", Verdict::Pass, Severity::High, "");
    let unknown = || finding("kubelet.client-ca", Verdict::Unknown, Severity::High, "");
    let fail = || finding("kubelet.anonymous-auth", Verdict::Fail, Severity::Critical, "");
    let status = |findings| of(Kind::HardeningDrift, &node(findings)).status;
    assert_eq!(status(vec![pass(), unknown(), fail()]), Status::True);
    assert_eq!(status(vec![pass(), unknown()]), Status::Unknown);
    assert_eq!(status(vec![pass()]), Status::False);
}

#[test]
fn a_waiver_does_not_undo_a_pending_reboot() {
    let waiver = AppliedWaiver {
        instead_of: Verdict::Fail,
        by: "ops".to_owned(),
        reason: "next week".to_owned(),
        until: NOW,
    };
    let waived = finding("reboot.needed", Verdict::Waived, Severity::Medium, "");
    let wanted = of(Kind::RebootRequired, &node(vec![Finding { waiver: Some(waiver), ..waived }]));
    assert_eq!(wanted.status, Status::True);
}

#[test]
fn nothing_is_told_of_a_node_that_is_silent_or_has_not_reported() {
    let fail = finding("reboot.needed", Verdict::Fail, Severity::Medium, "");
    for (state, status) in [
        (NodeState::Fresh, Status::True),
        (NodeState::Late, Status::True),
        (NodeState::Silent, Status::Unknown),
        (NodeState::Gone, Status::Unknown),
    ] {
        let node = Node { state, ..node(vec![fail.clone()]) };
        assert_eq!(of(Kind::RebootRequired, &node).status, status, "{state}");
    }
    let unreported = Node { report: None, ..node(vec![fail]) };
    assert!(wanted(&unreported).iter().all(|it| it.reason == "NoReport"));
    assert!(wanted(&node(Vec::new())).iter().all(|it| it.reason == "NotJudged"));
}

#[test]
fn a_message_names_a_few_and_stays_short_and_clean() {
    let hostile = "/etc/\u{1b}[31m\u{202e}".to_owned() + &"x".repeat(4000);
    let many: Vec<Finding> = (0..40)
        .map(|at| format!("{at:02}{hostile}"))
        .map(|it| finding("certificate.leaf-expiry", Verdict::Fail, Severity::High, &it))
        .collect();
    let wanted = of(Kind::CertificateExpiring, &node(many));
    assert!(wanted.message.len() <= MAX_MESSAGE, "{} bytes", wanted.message.len());
    assert!(wanted.message.ends_with("and 36 more"), "{}", wanted.message);
    assert!(!wanted.message.contains(['\u{1b}', '\u{202e}']), "{:?}", wanted.message);
}

#[test]
fn only_what_differs_is_due_and_time_stands_still_with_the_status() {
    let node = node(vec![
        finding("reboot.needed", Verdict::Fail, Severity::Medium, ""),
        finding("certificate.leaf-expiry", Verdict::Pass, Severity::Medium, ""),
        finding("file.shadow", Verdict::Pass, Severity::High, ""),
    ]);
    let wanted = wanted(&node);
    let first = due(&wanted, &[], &[], NOW);
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|it| it.transition.is_some_and(|it| it.from.is_none())));
    let present: Vec<Present> = wanted
        .iter()
        .map(|it| Present {
            kind: it.kind,
            status: Some(it.status),
            reason: it.reason.to_owned(),
            message: it.message.clone(),
            since: Some(NOW),
        })
        .collect();
    assert_eq!(due(&wanted, &present, &[], NOW.plus(60)), []);

    // Another message: written, and since when stays.
    let mut other = present.clone();
    other[0].message = "older words".to_owned();
    let later = NOW.plus(60);
    let words = due(&wanted, &other, &[], later);
    assert_eq!(words, [Due { wanted: wanted[0].clone(), since: NOW, transition: None }]);

    // Another status, also one that nobody knows: a transition.
    for status in [Some(Status::False), Some(Status::Unknown), None] {
        let mut other = present.clone();
        other[0].status = status;
        let turned = due(&wanted, &other, &[], later);
        let transition = Some(Transition { from: status, from_since: Some(NOW) });
        assert_eq!(turned, [Due { wanted: wanted[0].clone(), since: later, transition }]);
    }

    // Taken away, turned or dated otherwise by somebody: since when is what it was.
    let ours = present.clone();
    let back = Due { wanted: wanted[0].clone(), since: NOW, transition: None };
    let mut turned = present.clone();
    turned[0].status = Some(Status::False);
    turned[0].since = Some(later);
    let mut dated = present.clone();
    dated[0].since = Some(later);
    for altered in [&present[1..], &turned, &dated] {
        let due = due(&wanted, altered, &ours, later);
        let due: Vec<_> = due.into_iter().map(|it| Due { transition: None, ..it }).collect();
        assert_eq!(due, std::slice::from_ref(&back));
    }
}

#[test]
fn a_pending_reboot_says_for_what_whole_and_bounded() {
    let kernels = "6.1.119-129.201.amzn2023.x86_64 -> 6.1.129-138.220.amzn2023.x86_64";
    for (reasons, wanted) in [
        (kernels.to_owned(), format!("a reboot is pending: {kernels}")),
        (format!("libc6, {kernels}, a"), format!("a reboot is pending: libc6, {kernels}, a")),
        (String::new(), "a reboot is pending: reboot.needed".to_owned()),
    ] {
        let mut finding = finding("reboot.needed", Verdict::Fail, Severity::Medium, "");
        finding.evidence.reason = reasons;
        assert_eq!(of(Kind::RebootRequired, &node(vec![finding])).message, wanted);
    }
    let mut hostile = finding("reboot.needed", Verdict::Fail, Severity::Medium, "");
    hostile.evidence.reason = "\u{1b}[31m".to_owned() + &"x".repeat(4000);
    let message = of(Kind::RebootRequired, &node(vec![hostile])).message;
    assert!(message.len() <= MAX_MESSAGE && !message.contains('\u{1b}'), "{message}");
}
