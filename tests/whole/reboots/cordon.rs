//! A cordon of ours that a person takes away while pods leave the node.

use hyper::Method;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::placed::FINALIZER;

#[test]
fn scenario_13_a_node_that_is_uncordoned_is_cordoned_again_and_late_pods_are_drained_too() {
    let bench = Bench::start(2);
    let proxy = bench.cluster.proxy();
    let collector = bench.collector_through(&proxy, "one", HURRIED);
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let first = bench.place("held-0", "node-0", &held);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    bench.until_evicted(&collector, "node-0", &first);

    // It takes pods and cannot be cordoned; then its last pod ends, which ends no drain.
    let writes = Rule::new("PATCH", "/api/v1/nodes/node-0", Fault::Status(500));
    let refused = proxy.inject(writes);
    bench.set_unschedulable("node-0", false);
    bench.let_go("held-0");
    wait::until("three cordons failed after the last pod had gone", WITHIN, || {
        if bench.pod(&first).is_null() { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    let enough = proxy.hits(refused) + 3;
    wait::until("the node cannot be cordoned again", WITHIN, || {
        let hits = proxy.hits(refused);
        if hits >= enough { Ok(()) } else { Err((hits, bench.summary(&collector))) }
    });
    let request = bench.request("node-0").unwrap_or_default();
    assert_eq!(request["status"]["state"], "Cordoning", "{request:#}");
    assert_eq!(request["status"]["drain"]["ended"], Value::Null, "{request:#}");
    assert_eq!(request["status"]["drain"]["recordons"], 1, "{request:#}");
    assert_eq!(agents.reboots(), <[String; 0]>::default());

    // A pod that came meanwhile goes too, after the node is cordoned.
    let late = bench.place("late", "node-0", &held);
    proxy.remove(refused);
    bench.until_evicted(&collector, "node-0", &late);
    assert!(bench.is_unschedulable("node-0"));
    assert_eq!(agents.reboots(), <[String; 0]>::default());
    bench.let_go("late");
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    let evicted: Vec<_> = bench.evictions();
    let expected = [("default/held-0".to_owned(), 201), ("default/late".to_owned(), 201)];
    assert_eq!(evicted, expected);
    bench.until_no_requests(&collector);

    again_and_again(&bench, &collector, &agents);
}

/// Whoever uncordons a fourth time gets their way: it is left to a person.
fn again_and_again(
    bench: &Bench,
    collector: &palisade_tests::process::Collector,
    agents: &super::life::Agents,
) {
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let pod = bench.place("held-1", "node-1", &held);
    agents.need_reboot("node-1");
    bench.until_evicted(collector, "node-1", &pod);
    for times in 1..=3 {
        bench.set_unschedulable("node-1", false);
        wait::until("it is cordoned again", WITHIN, || {
            let request = bench.request("node-1").unwrap_or_default();
            let status = &request["status"];
            let is_again = status["drain"]["recordons"] == times && status["state"] == "Draining";
            if is_again && bench.is_unschedulable("node-1") {
                Ok(())
            } else {
                Err(bench.summary(collector))
            }
        });
    }
    let changed = json!({ "spec": { "unschedulable": false } });
    let path = "/api/v1/nodes/node-1?fieldManager=impatient";
    bench.cluster.api().must(Call::merge(path, &changed));
    bench.until_state(collector, "node-1", "Quarantined");
    let node = bench.cluster.get("/api/v1/nodes/node-1");
    let request = bench.request("node-1").unwrap_or_default();
    println!("{}: {}", request["status"]["message"], node["metadata"]["managedFields"]);
    assert_eq!(request["status"]["fault"], "uncordoned", "{request:#}");
    assert_eq!(node["spec"]["unschedulable"], Value::Null);
    // The pod that is left ends, and the node is not rebooted for that.
    bench.let_go("held-1");
    bench.cluster.kubectl(&["annotate", "node", "node-1", "palisade.dev/hold=looking"]);
    let approver = bench.person("approver", collector);
    let answer = approver.says(Method::POST, "/v1/reboots/node-1/release", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    bench.until_no_requests(collector);
    let marker = bench.cluster.get("/api/v1/nodes/node-1")["metadata"]["annotations"].clone();
    assert_eq!(marker["palisade.dev/cordoned-by"], Value::Null, "{marker}");
    assert!(!bench.is_unschedulable("node-1"));
    assert_eq!(agents.reboots(), ["node-0"]);
}
