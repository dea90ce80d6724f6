//! What the API server refuses: said once, by the name of what is missing, and without harm to the
//! other outputs.

use super::*;

/// What a collector says about an output.
fn said(collector: &Collector, output: &str) -> Vec<Value> {
    let lines = collector.process.log();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["output"] == output).collect()
}

#[test]
fn a_missing_right_and_a_missing_kind_are_said_once_and_stop_nothing_else() {
    let bench = Bench::start();
    let binding = "palisade-collector-node-conditions";
    bench.cluster.kubectl(&["delete", "clusterrolebinding", binding]);
    let collector = bench.collector("state", &["--open-reports"]);
    let mut agents = bench.agents(&[report(Wrong::Nothing), report(Wrong::Nothing)]);
    let once = |output: &str, needs: &str| {
        let lines = wait::until("the refusal is said", WITHIN, || {
            let lines = said(&collector, output);
            if lines.is_empty() { Err(collector.process.log()) } else { Ok(lines) }
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_eq!(lines[0]["level"], "WARN", "{lines:#?}");
        assert!(lines[0]["needs"].as_str().is_some_and(|it| it.contains(needs)), "{lines:#?}");
    };
    once("conditions", "palisade-collector-node-conditions");
    once("reports", "clusterreports.openreports.io");

    // Events go on: they need another right.
    agents = bench.settle(&collector, agents);
    bench.quiet();
    agents[0].change(&report(Wrong::Reboot));
    bench.settle(&collector, agents);
    let warning = told(&[("Warning", "RebootRequired")]);
    wait::until("the turn is told", WITHIN, || {
        let events = bench.events("node-0");
        if events == warning { Ok(()) } else { Err(events) }
    });
    // Nor is anything asked for at every look.
    let start = bench.requests().len();
    bench.quiet();
    bench.quiet();
    let requests = bench.requests().split_off(start);
    let asked = |resource: &str| requests.iter().filter(|it| it.1 == resource).count();
    assert!(asked("nodes/status") <= 2, "{requests:?}");
    assert!(asked("clusterreports") <= 2, "{requests:?}");
    assert_eq!(asked("events"), 0, "{requests:?}");
    once("conditions", "palisade-collector-node-conditions");
    once("reports", "clusterreports.openreports.io");

    // The right comes: everything is there at last, and no Event twice.
    bench.cluster.install("base");
    bench.until("the conditions are written", "node-0", ["True", "False", "False"]);
    bench.until("those of the other, too", "node-1", ["False"; 3]);
    assert_eq!(bench.events("node-0"), warning);
    assert_eq!(said(&collector, "conditions").len(), 2, "refused, and taken again");
}
