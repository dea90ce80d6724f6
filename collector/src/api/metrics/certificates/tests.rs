use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Certificate;
use palisade_report::section::certificates::Class;
use palisade_report::section::certificates::Key;
use palisade_rules::Evidence;
use palisade_rules::Severity;

use super::*;
use crate::snapshot::tests::found;
use crate::snapshot::tests::of;

fn row(node: &str, path: &str, entry: &str, body: &str, end: Option<i64>) -> CertificateRow {
    let origin = || Origin::words("test");
    let certificate = Certificate {
        fingerprint: Digest::of(body.as_bytes()),
        index: 0,
        entry: entry.to_owned(),
        subject: r"CN=system:node:a,O=system\,nodes".to_owned(),
        issuer: "CN=kubernetes".to_owned(),
        serial: "4711".to_owned(),
        names: Vec::new(),
        key: Key { kind: "ec".to_owned(), bits: 256 },
        signature: "x".to_owned(),
        not_before: Reading::known(Moment::from_unix(100), origin()),
        not_after: match end {
            Some(end) => Reading::known(Moment::from_unix(end), origin()),
            None => Reading::unknown(Why::new(WhyKind::Malformed, "x"), origin()),
        },
        class: Class::Leaf,
        usages: Vec::new(),
        key_match: Reading::absent(origin()),
        chain: Reading::absent(origin()),
    };
    CertificateRow {
        node: node.parse().unwrap(),
        path: path.to_owned(),
        not_after: end.map(Moment::from_unix),
        certificate: Box::new(certificate),
        watched: Vec::new(),
    }
}

fn finding(path: &str, verdict: Verdict, words: &str) -> Finding {
    Finding {
        rule: READABLE.parse().unwrap(),
        verdict,
        severity: Severity::Medium,
        subject: path.to_owned(),
        evidence: Evidence { reason: words.to_owned(), ..Evidence::default() },
        waiver: None,
    }
}

fn told(rows: &[CertificateRow], count: u64, snapshot: &Snapshot, tally: &mut Tally) -> String {
    let known = Certificates { rows, count, snapshot };
    text(Some(&known), tally, Moment::from_unix(1_000))
}

fn samples<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .collect()
}

#[test]
fn a_certificate_has_the_labels_of_that_exporter_and_its_node() {
    let rows = [
        row("a", "/etc/kubernetes/pki/apiserver.crt", "", "1", Some(999)),
        row("b", "/etc/kubernetes/admin.conf", "user kubernetes admin", "2", Some(1_001)),
    ];
    let text = told(&rows, 7, &of([]), &mut Tally::default());
    let names = r#"serial_number="4711",issuer_CN="kubernetes",subject_O="system,nodes",subject_CN="system:node:a"}"#;
    let first = format!(
        r#"{{node="a",filename="apiserver.crt",filepath="/etc/kubernetes/pki/apiserver.crt",{names}"#
    );
    let second = format!(
        r#"{{node="b",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",embedded_kind="user",embedded_key="kubernetes admin",{names}"#
    );
    for (name, values) in [
        ("x509_cert_not_after", [999, 1_001]),
        ("x509_cert_not_before", [100, 100]),
        ("x509_cert_expired", [1, 0]),
    ] {
        let [a, b] = values;
        let expected = [format!("{first} {a}"), format!("{second} {b}")];
        assert_eq!(samples(&text, name), expected, "{name}");
    }
    assert_eq!(samples(&text, "x509_cert_error"), [""; 0]);
    assert_eq!(samples(&text, "palisade_certificates_left_out"), [" 5"]);
}

#[test]
fn only_what_could_not_be_told_apart_has_a_discriminator() {
    let mut tally = Tally::default();
    let mut rows = vec![
        row("a", "/x.crt", "", "1", Some(10)),
        // The very same, twice in its file.
        row("a", "/x.crt", "", "1", Some(10)),
        row("a", "/y.crt", "", "1", Some(10)),
    ];
    let alone = told(&rows, 3, &of([]), &mut tally);
    assert_eq!(samples(&alone, "x509_cert_not_after").len(), 2, "{alone}");
    assert!(!alone.contains("discriminator="), "{alone}");
    rows.push(row("a", "/x.crt", "", "2", Some(11)));
    let both = told(&rows, 4, &of([]), &mut tally);
    let series = samples(&both, "x509_cert_not_after");
    let discriminated: Vec<_> =
        series.iter().filter_map(|it| it.split_once("discriminator=\"")).collect();
    assert_eq!((series.len(), discriminated.len()), (3, 2), "{both}");
    for (_, rest) in discriminated {
        let (digits, _) = rest.split_once('"').unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|it| it.is_ascii_hexdigit()), "{rest}");
    }
    let count = [r#"{source_kind="file"} 2"#];
    assert_eq!(samples(&both, "x509_cert_collision_total"), count);
    assert_eq!(samples(&told(&rows, 4, &of([]), &mut tally), "x509_cert_collision_total"), count);
}

#[test]
fn what_could_not_be_read_is_an_error_and_counted_once_with_its_reason() {
    let mut tally = Tally::default();
    let missing = || finding("/gone.crt", Verdict::Fail, "no such file");
    let denied = "cannot open /key.pem: Permission denied (needs uid 0)";
    let denied = || finding("/key.pem", Verdict::Unknown, denied);
    let read = || finding("/ok.crt", Verdict::Pass, "");
    let optional = || finding("/none.crt", Verdict::NotApplicable, "there is no such file");
    let first = of([found("a", vec![missing(), read(), optional()])]);
    let rows = [row("a", "/bad.crt", "", "1", None)];
    let text = told(&rows, 1, &first, &mut tally);
    let errors = samples(&text, "x509_cert_error");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with(r#"{node="a",filename="bad.crt""#), "{errors:?}");
    assert_eq!(errors[1], r#"{node="a",filename="gone.crt",filepath="/gone.crt"} 1"#);
    assert_eq!(samples(&text, "x509_cert_not_after"), [""; 0], "no end that nobody knows");
    assert_eq!(samples(&text, "x509_source_bundles").len(), 1);
    // All reasons from the start, and what was so when it was first looked is no news.
    let counted = samples(&text, "x509_source_errors_total");
    assert_eq!(counted.len(), REASONS.len());
    assert!(counted.iter().all(|it| it.ends_with("} 0")), "{counted:?}");

    let second = of([found("a", vec![missing(), denied()]), found("b", vec![denied()])]);
    for _ in 0..2 {
        let text = told(&rows, 1, &second, &mut tally);
        let counted: Vec<_> = samples(&text, "x509_source_errors_total");
        let some: Vec<_> = counted.into_iter().filter(|it| !it.ends_with("} 0")).collect();
        let expected = r#"{source_kind="file",source_name="nodes",reason="permission_denied"} 2"#;
        assert_eq!(some, [expected]);
    }
}

#[test]
fn a_node_that_is_silent_or_cannot_look_is_down() {
    let blind = finding("", Verdict::Unknown, "the area used up its time");
    let silent = Node { state: NodeState::Silent, ..found("c", Vec::new()) };
    let gone = Node { state: NodeState::Gone, ..found("d", Vec::new()) };
    let snapshot = of([found("a", Vec::new()), found("b", vec![blind]), silent, gone]);
    let text = told(&[], 0, &snapshot, &mut Tally::default());
    let up: Vec<_> = samples(&text, "x509_source_up");
    let expected: Vec<_> = [("a", 1), ("b", 0), ("c", 0)]
        .map(|(node, up)| {
            format!(r#"{{node="{node}",source_kind="file",source_name="{node}"}} {up}"#)
        })
        .into();
    assert_eq!(up, expected);
}

#[test]
fn every_family_is_described_by_whoever_knows_nothing() {
    let nothing = text(None, &mut Tally::default(), Moment::from_unix(0));
    let something = told(&[], 0, &of([]), &mut Tally::default());
    let described = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("# "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(described(&nothing), described(&something));
    assert_eq!(described(&nothing).iter().filter(|it| it.starts_with("# TYPE")).count(), 10);
}

#[test]
fn the_words_of_evidence_give_the_reason() {
    for (words, expected) in [
        ("no such file", "not_found"),
        ("2 unreadable blocks: block 1", "bad_pem"),
        ("cannot open /x: Operation not permitted", "permission_denied"),
        ("cannot open /x: Too many levels of symbolic links", "broken_symlink"),
        ("the file holds no certificate", "no_certificate_found"),
        ("no embedded certificate could be read", "decode_failed"),
        ("/x changed while it was read, twice", "read_failed"),
    ] {
        assert_eq!(reason(&finding("/x", Verdict::Unknown, words)), expected, "{words}");
    }
    for word in REASONS {
        assert!(REASONS.iter().filter(|it| **it == word).count() == 1, "{word}");
    }
}
