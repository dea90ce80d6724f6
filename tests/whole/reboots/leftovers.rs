//! What is left when all evictions were accepted: a pod that a finalizer keeps, a volume that nobody
//! detaches.

use hyper::Method;
use palisade_tests::cluster::api::Call;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::WITHIN;
use super::placed::FINALIZER;
use super::placed::one_pool_each;

const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";

#[test]
fn scenario_21_22_pods_and_volumes_that_stay_are_waited_for_as_the_policy_says() {
    let bench = Bench::start(5);
    let policy = one_pool_each(
        5,
        &[
            ("node-0", "drain: {slow: 1s, timeout: 8s}\n  backoff: {first: 1h}"),
            ("node-1", "drain: {skipStuckAfter: 2s}"),
            ("node-2", "drain: {volumes: 1h, onVolumes: roll-back}"),
            ("node-3", "drain: {volumes: 2s, onVolumes: continue}"),
            ("node-4", "drain: {volumes: 2s, onVolumes: roll-back}\n  backoff: {first: 1h}"),
        ],
    );
    let collector = bench.collector("one", &policy);
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let [waited, skipped] =
        ["node-0", "node-1"].map(|it| bench.place(&format!("held-{it}"), it, &held));
    let users = ["node-2", "node-3", "node-4"].map(|it| attach(&bench, it));
    let agents = bench.live(&collector);
    let rebooted = |node: &str| {
        wait::until(&format!("{node} has rebooted"), WITHIN, || {
            let is_done = agents.reboots().iter().any(|it| it == node) && bench.is_as_before(node);
            if is_done { Ok(()) } else { Err(bench.summary(&collector)) }
        });
    };
    for node in &bench.nodes {
        agents.need_reboot(node);
    }

    // Never detached: one goes on, one is given up.
    rebooted("node-3");
    assert_eq!(attached_to("node-3", &bench), ["pv-node-3"]);
    bench.until_state(&collector, "node-4", "Backoff");
    let request = bench.request("node-4").unwrap_or_default();
    let message = request["status"]["message"].as_str().expect("a message");
    assert_eq!(message, "volumes are still attached: pv-node-4");
    assert_eq!(request["status"]["fault"], "drain-failed");
    assert!(bench.is_as_before("node-4"), "{request:#}");
    assert!(bench.pod(&users[2]).is_null(), "what was evicted does not come back");

    // Detached late: waited for, by name.
    bench.until_waits(&collector, "node-2", "Draining", "volume pv-node-2 is attached");
    assert!(!agents.reboots().iter().any(|it| it == "node-2"));
    bench.cluster.api().must(Call::delete(format!("{ATTACHMENTS}/node-2")));
    rebooted("node-2");

    // Never gone: skipped where the policy says so, and not deleted by force; else given up in time.
    rebooted("node-1");
    bench.until_state(&collector, "node-0", "Backoff");
    let request = bench.request("node-0").unwrap_or_default();
    let message = request["status"]["message"].as_str().expect("a message");
    assert!(message.contains("default/held-node-0: terminating"), "{message}");
    assert!(bench.is_as_before("node-0"), "{request:#}");
    for pod in [&waited, &skipped] {
        let pod = bench.pod(pod);
        assert_eq!(pod["metadata"]["finalizers"], json!([FINALIZER]), "{pod:#}");
        assert!(!pod["metadata"]["deletionTimestamp"].is_null());
    }

    // When it should have ended for a minute, whoever looks is told who keeps it.
    let viewer = bench.person("viewer", &collector);
    wait::until("the finalizer is named", WITHIN, || {
        let path = "/v1/nodes/node-0/explain?format=text";
        let text = viewer.says(Method::GET, path, &Value::Null).text();
        let is_it = |it: &str| {
            it.starts_with("> drain") && it.contains("kept by finalizers example.com/hold")
        };
        if text.lines().any(is_it) { Ok(()) } else { Err(text) }
    });
    bench.let_go("held-node-0");
    let approver = bench.person("approver", &collector);
    let answer = approver.says(Method::POST, "/v1/reboots/node-0/release", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    rebooted("node-0");
    let mut evicted = bench.evictions();
    evicted.sort();
    let of_users = ["node-2", "node-3", "node-4"].map(|it| (format!("default/user-{it}"), 201));
    let of_held = ["node-0", "node-1"].map(|it| (format!("default/held-{it}"), 201));
    assert_eq!(evicted, [&of_held[..], &of_users].concat(), "each once");
}

/// A pod on a node with a volume that is attached to it, without a driver that would detach it; its UID.
fn attach(bench: &Bench, node: &str) -> String {
    let volume = format!("pv-{node}");
    bench.cluster.apply(&format!(
        "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: {volume}}}, spec: {{\
         capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], storageClassName: manual, \
         claimRef: {{namespace: default, name: claim-{node}}}, \
         csi: {{driver: example.com, volumeHandle: {volume}}}}}}}\n---\n\
         {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: claim-{node}}}, spec: {{\
         accessModes: [ReadWriteOnce], storageClassName: manual, volumeName: {volume}, \
         resources: {{requests: {{storage: 1Gi}}}}}}}}\n---\n\
         {{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {{name: {node}}}, \
         spec: {{attacher: example.com, nodeName: {node}, \
         source: {{persistentVolumeName: {volume}}}}}}}"
    ));
    let claim = json!({ "claimName": format!("claim-{node}") });
    let change =
        json!({ "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": claim }] } });
    bench.place(&format!("user-{node}"), node, &change)
}

fn attached_to(node: &str, bench: &Bench) -> Vec<String> {
    let all = bench.cluster.get(ATTACHMENTS);
    let all = all["items"].as_array().expect("a list").iter();
    let of_node = all.filter(|it| it["spec"]["nodeName"] == node);
    of_node
        .filter_map(|it| it["spec"]["source"]["persistentVolumeName"].as_str().map(str::to_owned))
        .collect()
}
