use super::*;
use crate::Evidence;
use crate::Severity;

fn finding(verdict: Verdict) -> Judgement {
    let finding = Finding {
        rule: "sysctl.kptr-restrict".parse().unwrap(),
        verdict,
        severity: Severity::Medium,
        subject: "kernel.kptr_restrict".to_owned(),
        evidence: Evidence::default(),
        waiver: None,
    };
    Judgement { findings: vec![finding], next_change_at: None }
}

const WAIVERS: &str = "
- rule: sysctl.*
  nodes: worker-*
  by: jane@example.org
  reason: profiling until the release
  until: 2027-01-31
";

fn judged(verdict: Verdict, node: Option<&str>, now: &str) -> Judgement {
    let node: Option<NodeName> = node.map(|node| node.parse().unwrap());
    let mut judgement = finding(verdict);
    Waivers::parse(WAIVERS).unwrap().apply(&mut judgement, node.as_ref(), end(now).unwrap());
    judgement
}

#[test]
fn a_live_waiver_excuses_and_keeps_the_verdict_that_it_excuses() {
    let judgement = judged(Verdict::Fail, Some("worker-7"), "2027-01-31T23:59:59Z");
    let waiver = judgement.findings[0].waiver.clone().unwrap();
    assert_eq!(judgement.findings[0].verdict, Verdict::Waived);
    assert_eq!(waiver.instead_of, Verdict::Fail);
    assert_eq!(waiver.by, "jane@example.org");
    assert_eq!(judgement.next_change_at.unwrap().to_string(), "2027-02-01T00:00:00Z");
}

#[test]
fn an_ended_waiver_or_one_for_other_nodes_excuses_nothing() {
    for (verdict, node, now) in [
        (Verdict::Fail, Some("worker-7"), "2027-02-01T00:00:00Z"),
        (Verdict::Fail, Some("control-1"), "2027-01-01T00:00:00Z"),
        (Verdict::Fail, None, "2027-01-01T00:00:00Z"),
        (Verdict::Pass, Some("worker-7"), "2027-01-01T00:00:00Z"),
    ] {
        let judgement = judged(verdict, node, now);
        assert_eq!(judgement, finding(verdict), "{node:?} {now}");
    }
}

#[test]
fn a_waiver_without_a_person_a_reason_or_an_end_is_refused() {
    let good = WaiverEntry {
        rule: "a.b".to_owned(),
        nodes: None,
        subject: None,
        by: "x".to_owned(),
        reason: "y".to_owned(),
        until: "2027-01-31T10:00:00Z".to_owned(),
    };
    assert_eq!(Waiver::new(&good).unwrap().until().to_string(), "2027-01-31T10:00:00Z");
    for bad in [
        WaiverEntry { rule: String::new(), ..good.clone() },
        WaiverEntry { by: " ".to_owned(), ..good.clone() },
        WaiverEntry { reason: "a\u{1b}".to_owned(), ..good.clone() },
        WaiverEntry { until: "2027-02-29".to_owned(), ..good.clone() },
        WaiverEntry { until: "never".to_owned(), ..good.clone() },
        WaiverEntry { until: "2027-01-31T24:00:00Z".to_owned(), ..good.clone() },
        WaiverEntry { until: "2027-01-31T10:00:00+02:00".to_owned(), ..good.clone() },
    ] {
        assert!(Waiver::new(&bad).is_err(), "{bad:?}");
    }
    assert!(Waivers::parse("- {rule: a.b, by: x, reason: y, until: 2027-01-31, for: z}").is_err());
    assert!(Waivers::parse("- {rule: a.b, by: x, reason: y}").is_err());
}

#[test]
fn days_are_counted_over_leap_years() {
    for (text, shown) in [
        ("1970-01-01", "1970-01-02T00:00:00Z"),
        ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
        ("2028-12-31T00:00:01Z", "2028-12-31T00:00:01Z"),
        ("9999-12-31", "10000-01-01T00:00:00Z"),
    ] {
        assert_eq!(end(text).unwrap().to_string(), shown);
    }
}

#[test]
fn only_nodes_that_a_pattern_singles_out_are_named() {
    let waivers = Waivers::parse(WAIVERS).unwrap();
    assert!(waivers.name_node(&"worker-7".parse().unwrap()));
    assert!(!waivers.name_node(&"control-1".parse().unwrap()));
    let everywhere = Waivers::parse(&WAIVERS.replace("  nodes: worker-*\n", "")).unwrap();
    assert!(!everywhere.name_node(&"worker-7".parse().unwrap()));
}
