//! A node whose agent is silent.

use super::*;

/// A node is called silent after five minutes, and later on a busy machine.
const SILENT_WITHIN: Duration = Duration::from_secs(900);

#[test]
#[ignore = "takes the five minutes before which no node is called silent"]
fn of_a_silent_node_nothing_is_vouched_for() {
    let bench = Bench::start();
    let collector = bench.collector("state", &[]);
    let agents = bench.agents(&[report(Wrong::Everything)]);
    bench.settle(&collector, agents);
    let failing = bench.until("the report is there", "node-0", ["True"; 3]);
    let before = bench.events("node-0");
    let is = wait::until("the node is silent", SILENT_WITHIN, || {
        let is = [REBOOT, CERTIFICATE, DRIFT].map(|kind| bench.condition("node-0", kind));
        if is.iter().all(|it| it["status"] == "Unknown") { Ok(is) } else { Err(is) }
    });
    assert!(is.iter().all(|it| it["reason"] == "AgentSilent"), "{is:#?}");
    assert_ne!(is[0]["lastTransitionTime"], failing[0]["lastTransitionTime"]);
    assert_eq!(bench.events("node-0"), before, "silence is no turn");
}
