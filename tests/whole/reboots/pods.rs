//! What a drain does with each kind of pod: waited for, evicted, left, or in its way.

use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::proxy::Side;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::placed::one_pool_each;

/// A Job that ends when its pod is said to have ended, and a StatefulSet of one.
const WORK: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: batch}
spec:
  template:
    metadata: {labels: {app: batch}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: none}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: none}]}
"#;

#[test]
fn scenario_17_20_a_running_job_is_waited_for_and_no_namesake_is_touched() {
    let bench = Bench::start(2);
    let policy = format!("{HURRIED}  drain: {{protected: [{{matchLabels: {{app: batch}}}}]}}\n");
    let proxy = bench.cluster.proxy();
    let collector = bench.collector_through(&proxy, "one", &policy);
    bench.only(Some("node-0"));
    bench.cluster.apply(WORK);
    let [job, db] = ["batch", "db"].map(|app| running(&bench, app, "node-0"));
    bench.only(None);
    bench.cluster.namespace("other", &[]);
    wait::until("the namespace has its account", WITHIN, || {
        let account = "/api/v1/namespaces/other/serviceaccounts/default";
        let answer = bench.cluster.api().send(Call::get(account)).expect("an answer");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    let namesake = bench.place_in("other", "db-0", "node-1", &json!({}));

    // The Job holds the drain, and nothing else: its neighbour has gone elsewhere meanwhile.
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    let held = wait::until("only the Job is left", WITHIN, || {
        let request = bench.request("node-0").unwrap_or_default();
        let is_draining = request["status"]["state"] == "Draining";
        let waits = request["status"]["blockers"].to_string();
        if is_draining && waits.contains("protected") && bench.pod(&db).is_null() {
            Ok(waits)
        } else {
            Err(bench.summary(&collector))
        }
    });
    let name = bench.pod(&job)["metadata"]["name"].as_str().expect("its pod").to_owned();
    assert!(held.contains(&name), "{held}");
    let successor = running(&bench, "db", "node-1");
    assert_ne!(successor, db);
    assert_eq!(bench.state("node-0").as_deref(), Some("Draining"));
    assert_eq!(agents.reboots(), <[String; 0]>::default());
    bench.complete(&name);
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);
    wait::until("the Job is complete", WITHIN, || {
        let job = bench.cluster.get("/apis/batch/v1/namespaces/default/jobs/batch");
        if job["status"]["succeeded"] == 1 { Ok(()) } else { Err(job["status"].clone()) }
    });
    assert!(bench.pod(&job).is_object(), "its pod was not evicted");
    let of_db = ("default/db-0".to_owned(), 201);
    assert_eq!(bench.evictions(), std::slice::from_ref(&of_db));
    assert!(bench.pod(&successor)["metadata"]["deletionTimestamp"].is_null());

    // One eviction arrives so late that its pod has gone and a successor bears the name: that one is
    // left alone, and the drain does not wait for it.
    let caught = proxy.catch(|it| {
        let is_real = !it.query.contains("dryRun");
        (it.path.ends_with("/default/pods/db-0/eviction") && is_real).then_some(Side::Before)
    });
    agents.need_reboot("node-1");
    let held = caught.held(WITHIN).unwrap_or_else(|| panic!("{}", bench.summary(&collector)));
    let gone = Call::delete("/api/v1/namespaces/default/pods/db-0?gracePeriodSeconds=0");
    bench.cluster.api().must(gone);
    let newest = running(&bench, "db", "node-0");
    held.let_go();
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1"]);
    bench.until_no_requests(&collector);
    let evicted = bench.evictions();
    println!("{evicted:?}");
    assert_eq!(evicted[0], of_db);
    let of_namesake = ("other/db-0".to_owned(), 201);
    assert!(evicted.contains(&of_namesake), "the one on the node itself goes: {evicted:?}");
    let late = evicted[1..].iter().filter(|it| **it != of_namesake);
    let (what, refused) = ("default/db-0".to_owned(), 409);
    assert_eq!(late.collect::<Vec<_>>(), [&(what, refused)], "{evicted:?}");
    assert!(bench.pod(&newest)["metadata"]["deletionTimestamp"].is_null(), "left alone");
    assert_eq!(running(&bench, "db", "node-0"), newest);
    assert!(bench.pod(&namesake).is_null());
}

/// The UID of the running pod of this app, which must be on this node.
fn running(bench: &Bench, app: &str, node: &str) -> String {
    let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
    wait::until("a pod runs where it should", WITHIN, || {
        let pods = bench.cluster.get(&path);
        let pods = pods["items"].as_array().expect("a list").clone();
        let found = pods.iter().find(|it| {
            it["spec"]["nodeName"] == node
                && it["status"]["phase"] == "Running"
                && it["metadata"]["deletionTimestamp"].is_null()
        });
        found.and_then(|it| it["metadata"]["uid"].as_str().map(str::to_owned)).ok_or(pods)
    })
}

/// Something on every node that its controller would put back at once, and something of which the
/// controller is taken away.
const DAEMONS: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: none}]}
"#;

#[test]
fn scenario_23_each_kind_of_pod_is_left_evicted_or_in_the_way_as_the_policy_says() {
    let bench = Bench::start(3);
    let pools = |kept: &str| {
        let evicts = "drain: {unmanaged: evict, emptyDir: evict}";
        let keeps = format!("drain: {{unmanaged: evict, emptyDir: {kept}}}");
        let blocks = "drain: {unmanaged: block}";
        one_pool_each(3, &[("node-0", blocks), ("node-1", evicts), ("node-2", &keeps)])
    };
    let collector = bench.collector("one", &pools("block"));
    let viewer = bench.person("viewer", &collector);
    for name in ["stays", "orphan"] {
        bench.cluster.apply(&DAEMONS.replace("NAME", name));
    }
    let nodes = || bench.nodes.iter().map(String::as_str);
    let left: Vec<_> = nodes().map(|it| running(&bench, "stays", it)).collect();
    let orphans: Vec<_> = nodes().map(|it| running(&bench, "orphan", it)).collect();
    bench.cluster.kubectl(&["delete", "daemonset", "orphan", "--cascade=orphan"]);
    let bare = json!({ "metadata": { "annotations": null } });
    let mirror = json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } });
    let scratch = json!({ "metadata": { "annotations": null, "ownerReferences": [{
            "apiVersion": "example.com/v1", "kind": "Runner", "name": "r", "uid": "r-1",
            "controller": true }] },
        "spec": { "volumes": [{ "name": "scratch", "emptyDir": {} }] } });
    let mirror = bench.place("mirror", "node-1", &mirror);
    let done = bench.place("done", "node-1", &bare);
    bench.complete("done");
    let alone = bench.place("alone", "node-1", &bare);
    let data = bench.place("data-1", "node-1", &scratch);
    let kept = bench.place("data-2", "node-2", &scratch);
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.need_reboot(node);
    }

    // Where everything may go that must: what stays is still there afterwards.
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    for (what, pod) in [("DaemonSet", &left[1]), ("mirror", &mirror), ("completed", &done)] {
        let pod = bench.pod(pod);
        assert!(pod.is_object(), "{what} was left");
        assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null, "{what}");
    }
    for (what, pod) in [("orphan", &orphans[1]), ("unmanaged", &alone), ("emptyDir", &data)] {
        assert!(bench.pod(pod).is_null(), "{what} was evicted");
    }
    let mut evicted = bench.evictions();
    evicted.retain(|(name, code)| !name.starts_with("default/orphan-") && *code == 201);
    evicted.sort();
    let expected = ["default/alone", "default/data-1"].map(|it| (it.to_owned(), 201));
    assert_eq!(evicted, expected);

    // Where one pod must not go, nobody goes, and the pod is named.
    for (node, expected) in [
        ("node-0", "no controller would start it elsewhere"),
        ("node-2", "default/data-2: its emptyDir would be lost"),
    ] {
        let path = format!("/v1/nodes/{node}/explain");
        wait::until("it is said what is in the way", WITHIN, || {
            let explained = viewer.says(hyper::Method::GET, &path, &Value::Null).json();
            let gates = explained["gates"].as_array().cloned().unwrap_or_default();
            let gate = gates.iter().find(|it| it["gate"] == "drain").cloned().unwrap_or_default();
            let value = gate["value"].as_str().unwrap_or_default();
            let is_it = gate["open"] == false && value.contains(expected);
            if is_it { Ok(()) } else { Err(explained) }
        });
    }
    for pod in [&orphans[0], &orphans[2], &left[0], &left[2], &kept] {
        assert_eq!(bench.pod(pod)["metadata"]["deletionTimestamp"], Value::Null);
    }
    let cordoned = bench.writes("nodes", "patch");
    assert!(cordoned.iter().all(|it| it == "node-1"), "{cordoned:?}");

    // The owner of a pod may let it go, and so may the policy.
    let name = bench.pod(&orphans[0])["metadata"]["name"].as_str().expect("a name").to_owned();
    bench.cluster.kubectl(&["annotate", "pod", &name, "palisade.dev/drain=evict"]);
    bench.say_policy(&pools("evict"));
    wait::until("all nodes have rebooted", WITHIN, || {
        if agents.reboots().len() == 3 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_no_requests(&collector);
    assert!(bench.pod(&kept).is_null() && bench.pod(&orphans[0]).is_null());
    assert!(bench.pod(&left[0]).is_object() && bench.pod(&left[2]).is_object());
}
