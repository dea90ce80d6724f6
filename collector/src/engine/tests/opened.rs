//! What opened a finding: by it a node that changed is told from rules that did.

use super::*;
use crate::snapshot::Opened;
use crate::store::EpisodeRow;

fn opened(bench: &mut Bench, node: &str) -> Vec<Opened> {
    bench.node(node).episodes.iter().map(|episode| episode.opened).collect()
}

#[test]
fn a_first_report_a_later_one_rules_and_time_are_told_apart() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.report(&mut TestNode::new("first", &bad("k")));
    assert_eq!(opened(&mut bench, "first"), [Opened::FirstReport]);

    let mut later = TestNode::new("later", &unknown("good"));
    bench.report(&mut later);
    assert_eq!(opened(&mut bench, "later"), []);
    later.set(SectionName::Kernel, bad("k"));
    bench.report(&mut later);
    assert_eq!(opened(&mut bench, "later"), [Opened::Report]);

    let mut ends = TestNode::new("ends", &unknown("good"));
    let mut certificates = unknown("ends");
    certificates["ends"] = json!(1_800_000_100);
    ends.set(SectionName::Certificates, certificates);
    bench.report(&mut ends);
    bench.advance(100);
    assert_eq!(opened(&mut bench, "ends"), [Opened::Time]);

    let now = bench.now();
    bench.core.judge_by(Arc::new(TestJudge("other")), now);
    bench.turn();
    assert_eq!(opened(&mut bench, "first"), [Opened::Rules], "the finding of another rule");
    assert_eq!(opened(&mut bench, "later"), [Opened::Rules]);
}

#[test]
fn what_opened_a_finding_survives_a_restart_and_other_facts() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.report(&mut TestNode::new("first", &bad("k")));
    let mut later = TestNode::new("later", &unknown("good"));
    bench.report(&mut later);
    later.set(SectionName::Kernel, bad("k"));
    bench.report(&mut later);
    let mut bench = bench.crash(&scratch);
    assert_eq!(opened(&mut bench, "first"), [Opened::FirstReport]);
    assert_eq!(opened(&mut bench, "later"), [Opened::Report]);
    bench.advance(10);
    // Other facts, the same verdict: what opened it stays.
    let mut first = TestNode::new("first", &bad("k2"));
    first.sequence = 10;
    bench.report(&mut first);
    assert_eq!(opened(&mut bench, "first"), [Opened::FirstReport]);
}

#[test]
fn findings_under_rules_that_changed_over_a_restart_were_opened_by_rules() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.report(&mut TestNode::new("a", &bad("k")));
    let now = bench.now().at;
    drop(bench);
    let mut bench = Bench::with(&scratch, ManualClock::at(now), EngineSettings::default(), "other");
    assert_eq!(opened(&mut bench, "a"), [Opened::Rules]);
}

#[test]
fn what_an_older_version_kept_counts_as_of_a_first_report() {
    let row = json!({
        "rule": "kernel.rule", "subject": "", "verdict": "fail", "severity": "high",
        "first_seen_at": 1, "changed_at": 1,
    });
    let row: EpisodeRow = serde_json::from_value(row).unwrap();
    assert_eq!(row.opened, Opened::FirstReport);
}
