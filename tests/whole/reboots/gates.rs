//! What speaks against a reboot from outside of the node: alerts of a real Alertmanager, pods by label.

use palisade_tests::cluster::alertmanager::Alertmanager;
use palisade_tests::cluster::api::Call;
use palisade_tests::wait;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;

/// Reboots wait for critical alerts of this Alertmanager.
fn alerts_of(alertmanager: &Alertmanager) -> String {
    let source = format!("alertSource: {{alertmanager: \"{}\"}}", alertmanager.url());
    let cluster = format!("cluster: {{maxUnavailable: 1, {source}}}");
    let policy = HURRIED.replace("cluster: {maxUnavailable: 1}", &cluster);
    assert!(policy.contains(&source), "{policy}");
    format!("{policy}  alerts: {{matchers: ['severity=\"critical\"']}}\n")
}

#[test]
fn scenario_42_alerts_block_unless_silenced_or_inhibited_and_so_does_a_source_that_is_dead() {
    let bench = Bench::start(3);
    let alertmanager = Alertmanager::start();
    let alert = |name: &str, severity: &str| json!({ "alertname": name, "severity": severity });
    alertmanager.fire(&alert("DiskFails", "critical"));
    alertmanager.fire(&alert("EtcdSlow", "critical"));
    alertmanager.fire(&alert("Chatter", "warning"));
    let collector = bench.collector("one", &alerts_of(&alertmanager));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    // Both are named, with their labels; that of another severity is not asked for.
    viewer.until_planned(&["node-0"]);
    let both = "DiskFails{severity=\"critical\"}; EtcdSlow{severity=\"critical\"} (asked every";
    viewer.until_shut("node-0", "alert", both);
    assert!(bench.requests().is_empty(), "{}", bench.summary(&collector));
    assert_eq!(agents.reboots(), <[String; 0]>::default());

    // One is silenced, the other inhibited; both still fire.
    alertmanager.silence("DiskFails");
    alertmanager.fire(&alert("ClusterDown", "page"));
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);

    // A source that is dead says nothing, which is not that nothing fires.
    drop(alertmanager);
    let dead = "what fires cannot be told: failed to ask Alertmanager at http://127.0.0.1:";
    viewer.until_shut("node-1", "alert", dead);
    agents.need_reboot("node-1");
    viewer.until_planned(&["node-1"]);
    viewer.until_shut("node-1", "alert", dead);
    assert!(bench.requests().is_empty(), "{}", bench.summary(&collector));

    // Another one answers, where the policy says from now on.
    let alertmanager = Alertmanager::start();
    bench.say_policy(&alerts_of(&alertmanager));
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1"]);
}

/// A pod `app: backup` that is bound to this node, as an operator's Job would have made it.
fn backup(bench: &Bench, name: &str, node: &str) {
    bench.cluster.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: backup}}}}, spec: \
         {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{name: main, image: \
         none}}]}}}}"
    ));
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    wait::until("the backup runs", WITHIN, || {
        let status = bench.cluster.get(&path)["status"].clone();
        if status["phase"] == "Running" { Ok(()) } else { Err(status) }
    });
}

#[test]
fn scenario_43_a_pod_blocks_its_node_then_all_by_scope_until_it_has_ended_or_is_gone() {
    let bench = Bench::start(3);
    let gate = |scope: &str| {
        let gate = "{selector: {matchLabels: {app: backup}}, scope: ";
        format!("{HURRIED}  blockingPods: [{gate}{scope}}}]\n")
    };
    backup(&bench, "nightly", "node-0");
    let collector = bench.collector("one", &gate("node"));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    viewer.until_planned(&["node-0"]);
    let named = "default/nightly on node-0 (asked every";
    viewer.until_shut("node-0", "pod", named);
    // Its node alone: another one goes its way meanwhile.
    agents.need_reboot("node-1");
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    viewer.until_shut("node-0", "pod", named);
    assert_eq!(bench.state("node-0"), None, "{}", bench.summary(&collector));

    // Where the policy says that it blocks everybody, it does.
    bench.say_policy(&gate("cluster"));
    viewer.until_shut("node-2", "pod", named);
    agents.need_reboot("node-2");
    viewer.until_planned(&["node-0", "node-2"]);
    viewer.until_shut("node-2", "pod", named);

    // One that has ended blocks nobody; the other one is gone.
    backup(&bench, "weekly", "node-2");
    viewer.until_shut("node-2", "pod", "default/weekly on node-2");
    let weekly = "/api/v1/namespaces/default/pods/weekly";
    let ended = json!({ "status": { "phase": "Succeeded" } });
    bench.cluster.api().must(Call::strategic(format!("{weekly}/status"), &ended));
    bench.cluster.api().must(Call::delete("/api/v1/namespaces/default/pods/nightly"));
    wait::until("all nodes have rebooted", WITHIN, || {
        if agents.reboots().len() == 3 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_no_requests(&collector);
    let mut rebooted = agents.reboots();
    rebooted.sort();
    assert_eq!(rebooted, ["node-0", "node-1", "node-2"], "each exactly once");
    let phase = bench.cluster.get(weekly)["status"]["phase"].clone();
    assert_eq!(phase, "Succeeded", "it is still there");
}
