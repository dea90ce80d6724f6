//! A node whose agent is silent.

use super::*;

/// Seconds after which a node is silent here: many heartbeats of the agent as long as it talks.
const SILENT_AFTER: &str = "20";

#[test]
fn of_a_silent_node_nothing_is_vouched_for() {
    let bench = Bench::start();
    let collector = bench.collector_every("5", "state", &["--silent-after", SILENT_AFTER]);
    let mut agents = bench.agents(&[report(Wrong::Everything)]);
    // It talks until its conditions are there, and never again.
    let failing = wait::until("the report is there", WITHIN, || {
        agents = bench.settle(&collector, std::mem::take(&mut agents));
        let is = bench.conditions("node-0");
        if is.iter().all(|it| it["status"] == "True") { Ok(is) } else { Err(is) }
    });
    let before = bench.events("node-0");
    let is = bench.until("the node is silent", "node-0", ["Unknown"; 3]);
    assert!(is.iter().all(|it| it["reason"] == "AgentSilent"), "{is:#?}");
    assert_ne!(is[0]["lastTransitionTime"], failing[0]["lastTransitionTime"]);
    assert_eq!(bench.events("node-0"), before, "silence is no turn");
}
