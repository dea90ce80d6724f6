use palisade_report::Moment;

use super::*;
use crate::Judgement;
use crate::Severity;

const DAY: i64 = 86_400;

/// Judges one certificate that starts and ends so many days from now.
fn expiry(words: &str, start: i64, end: i64, now: Moment) -> Judgement {
    let moment = |days: i64| NOW.plus(days * DAY).unix();
    let facts = format!(
        "certificates.files./c.pem: {{certificates: [{{not_before: {}, not_after: {}}}]}}",
        moment(start),
        moment(end)
    );
    let facts = Example::build(&crate::yaml::parse(&facts).unwrap()).unwrap().facts();
    judge_one(&rule(&format!("certificate: {{check: expiry, {words}}}")), &facts, now)
}

const BY_HAND: &str = "class: leaf, warning: {days: 30, life_percent: 25}, \
                       critical: {days: 14, life_percent: 10}";

#[test]
fn expiry_crosses_its_thresholds_one_by_one() {
    let mut now = NOW;
    let mut seen = Vec::new();
    // Each crossing is announced; judging again at that moment shows it.
    loop {
        let judgement = expiry(BY_HAND, -265, 100, now);
        let finding = &judgement.findings[0];
        let days = now.since(NOW) / DAY;
        seen.push((days, finding.verdict.as_str(), finding.severity));
        let Some(next) = judgement.next_change_at else { break };
        let before = expiry(BY_HAND, -265, 100, next.plus(-1));
        assert_eq!(before.findings[0].verdict, finding.verdict, "not before it was announced");
        assert_eq!(before.findings[0].severity, finding.severity);
        now = next;
    }
    assert_eq!(
        seen,
        [
            (0, "pass", Severity::Medium),
            (70, "fail", Severity::Medium),
            (86, "fail", Severity::Critical),
            (100, "fail", Severity::Critical),
        ]
    );
    let expired = expiry(BY_HAND, -265, 100, now).findings.remove(0);
    assert!(expired.evidence.observed.starts_with("expired 2027-04-25"), "{expired:?}");
}

#[test]
fn a_short_life_shrinks_the_threshold_and_none_means_never() {
    let verdict = |words: &str, start, end| {
        let judgement = expiry(words, start, end, NOW);
        (judgement.findings[0].verdict.as_str(), judgement.findings[0].severity)
    };
    // Ten days in all: a quarter is two and a half, a tenth is one.
    assert_eq!(verdict(BY_HAND, -5, 5).0, "pass");
    assert_eq!(verdict(BY_HAND, -8, 2), ("fail", Severity::Medium));
    let rotating = "warning: {life_percent: 10}, critical: {life_percent: 5}";
    assert_eq!(verdict(rotating, -85, 15).0, "pass");
    assert_eq!(verdict(rotating, -91, 9), ("fail", Severity::Medium));
    assert_eq!(verdict(rotating, -96, 4), ("fail", Severity::Critical));
    let never = expiry(BY_HAND, -1, 10_000_000, NOW);
    assert_eq!((never.findings[0].verdict.as_str(), never.next_change_at), ("pass", None));
}

fn found(words: &str, file: &str) -> Vec<String> {
    let facts = format!("certificates.files./c.pem: {file}");
    verdicts(&judged(&format!("certificate: {{{words}}}"), &facts))
}

#[test]
fn a_file_that_a_component_names_must_be_there_and_readable() {
    let readable = "check: readable";
    let why = "{kind: malformed, detail: no PEM}";
    for (file, verdict) in [
        ("{certificates: [{}]}".to_owned(), "pass /c.pem"),
        ("{expected: required}".into(), "fail /c.pem"),
        ("{expected: optional}".into(), "not-applicable /c.pem"),
        (format!("{{certificates: [{{}}], malformed: [{why}]}}"), "fail /c.pem"),
        (format!("{{certificates: {{state: unknown, why: {why}, origin: x}}}}"), "unknown /c.pem"),
    ] {
        assert_eq!(found(readable, &file), [verdict], "{file}");
    }
}

#[test]
fn what_was_not_looked_for_is_not_missing() {
    let left_out = "certificates.left_out: [{kind: permission-denied, detail: no processes}]";
    let expiry = "certificate: {check: expiry, warning: {days: 30}, critical: {days: 14}}";
    assert_eq!(verdicts(&judged(expiry, left_out)), ["unknown left out"]);
    let beside = format!("{{{left_out}, certificates.files./c.pem: {{certificates: [{{}}]}}}}");
    assert_eq!(verdicts(&judged("certificate: {check: validity}", &beside)), ["pass /c.pem"]);
    let readable = judged("certificate: {check: readable}", &beside);
    assert_eq!(verdicts(&readable), ["pass /c.pem", "unknown left out"]);
}

#[test]
fn each_certificate_is_held_to_the_check_of_its_class() {
    let two = "{certificates: [{class: leaf}, {class: authority, index: 1, chain: self-signed}]}";
    assert_eq!(found("check: chain, class: authority", two), ["pass /c.pem#1"]);
    assert_eq!(found("check: chain, class: leaf", two), ["pass /c.pem"]);
    let one = |fields: &str| format!("{{certificates: [{{{fields}}}]}}");
    let absent = "{state: absent, origin: x}";
    for (words, fields, wanted) in [
        ("check: chain", "chain: self-signed", "fail /c.pem"),
        ("check: chain, self_signed: pass", "chain: self-signed", "pass /c.pem"),
        ("check: chain", "chain: wrong-key", "fail /c.pem"),
        ("check: chain", &format!("chain: {absent}"), "not-applicable"),
        ("check: key-match", "key_match: mismatch, entry: user x", "fail /c.pem (user x)"),
        ("check: key-match", &format!("key_match: {absent}"), "not-applicable"),
        ("check: key-strength", "key: {kind: rsa, bits: 1024}", "fail /c.pem"),
        ("check: key-strength", "key: {kind: rsa, bits: 2048}", "pass /c.pem"),
        ("check: key-strength", "key: {kind: rsa, bits: 0}", "unknown /c.pem"),
        ("check: key-strength", "key: {kind: ed25519, bits: 256}", "pass /c.pem"),
        ("check: key-strength", "signature: sha1WithRSAEncryption", "fail /c.pem"),
        (
            "check: key-strength",
            "signature: sha1WithRSAEncryption, class: authority, subject: CN=a, issuer: CN=a",
            "pass /c.pem",
        ),
        ("check: validity", "not_before: 1800000300", "pass /c.pem"),
        ("check: validity", "not_before: 1800000301", "fail /c.pem"),
        ("check: validity", "not_before: 1900000001", "fail /c.pem"),
        ("check: validity, max_life_days: 365", "not_before: 1790000000", "fail /c.pem"),
    ] {
        assert_eq!(found(words, &one(fields)), [wanted], "{words}: {fields}");
    }
}

#[test]
fn a_rule_speaks_of_the_files_that_it_selects() {
    for (words, speaks) in [
        ("paths: ['/c*']", true),
        ("paths: ['/d*']", false),
        ("except_paths: ['*.pem']", false),
        ("watched: ['kubelet *']", true),
        ("watched: [setting]", false),
        ("except_watched: ['kubelet*']", false),
    ] {
        let file = "{watched: [kubelet --kubeconfig], certificates: [{}]}";
        let verdict = if speaks { "pass /c.pem" } else { "not-applicable" };
        assert_eq!(found(&format!("check: key-match, {words}"), file), [verdict], "{words}");
    }
}
