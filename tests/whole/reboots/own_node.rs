//! The node that the collector runs on: the last of its pool, and another collector's where there is
//! another one. The collectors' pods are those of the manifests, in name only; each has a process here
//! that goes by its name and ends with it.

use std::path::Path;

use hyper::Method;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::decide::claims;
use super::decide::policy;
use super::decide::steps;
use super::life::Conduct;

const PODS: &str = "/api/v1/namespaces/palisade-system/pods?labelSelector=\
    app.kubernetes.io%2Fname%3Dpalisade-collector";

/// A collector's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    name: String,
    node: String,
}

/// Applies the collector's Deployment and its budget; for two replicas, the component for that too.
fn deploy(bench: &Bench, replicas: usize) -> Vec<Pod> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let at = |path: &str| root.join("manifests").join(path).to_str().expect("UTF-8").to_owned();
    let rendered = bench.cluster.kubectl(&["kustomize", &at("base")]);
    let is_wanted = |document: &&str| {
        let mut lines = document.lines();
        lines.any(|line| line == "kind: Deployment" || line == "kind: PodDisruptionBudget")
    };
    let wanted: Vec<_> = rendered.split("\n---\n").filter(is_wanted).collect();
    assert_eq!(wanted.len(), 2, "{wanted:#?}");
    bench.cluster.apply(&wanted.join("\n---\n"));
    if replicas > 1 {
        let patch = at("components/standby/collector.yaml");
        let object = "deployment/palisade-collector";
        bench.cluster.kubectl(&["-n", "palisade-system", "patch", object, "--patch-file", &patch]);
    }
    // The ReplicaSet of a Deployment that was patched goes before the next one comes.
    wait::until("the collectors' pods run", WITHIN, || {
        let path = "/apis/apps/v1/namespaces/palisade-system/deployments/palisade-collector";
        let deployment = bench.cluster.get(path);
        let (status, pods) = (&deployment["status"], pods(bench));
        let is_settled = status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["replicas"] == replicas
            && status["updatedReplicas"] == replicas;
        if is_settled && pods.len() == replicas { Ok(pods) } else { Err((status.clone(), pods)) }
    })
}

/// The collectors' pods that run and stay.
fn pods(bench: &Bench) -> Vec<Pod> {
    let list = bench.cluster.get(PODS);
    let all = list["items"].as_array().expect("a list").iter();
    let stay = all.filter(|it| {
        it["metadata"]["deletionTimestamp"].is_null() && it["status"]["phase"] == "Running"
    });
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let pods = stay
        .map(|it| Pod { name: word(&it["metadata"]["name"]), node: word(&it["spec"]["nodeName"]) });
    pods.collect()
}

#[test]
fn scenario_09_the_node_of_the_collector_is_the_last_and_the_collector_goes_on_from_elsewhere() {
    let bench = Bench::start(3);
    let mut pod = deploy(&bench, 1).remove(0);
    let own = pod.node.clone();
    let others: Vec<_> = bench.nodes.iter().filter(|it| **it != own).cloned().collect();
    let all = |more: &str| {
        let pool = format!("name: all, selector: {{}}{more}");
        policy("maxUnavailable: 1", &[&pool])
    };
    let collector = bench.collector(&pod.name, &all(", paused: until all need it"));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    // By its age it would be the first.
    agents.need_reboot(&own);
    viewer.until_planned(&[&own]);
    for node in &others {
        agents.need_reboot(node);
    }
    viewer.until_planned(&["node-0", "node-1", "node-2"]);
    bench.say_policy(&all(""));
    let mut collector = Some(collector);
    let (mut moves, mut stepped) = (0, Vec::new());
    wait::until("all nodes have rebooted", WITHIN * 2, || {
        let now = pods(&bench);
        if !now.contains(&pod) {
            // Its kubelet ends the process; the next pod has one of its own, and an empty disk.
            if let Some(ended) = collector.take() {
                stepped.extend(steps(&ended));
                assert_eq!(ended.process.terminate(), Some(0));
            }
            let next = now.first().ok_or("no collector runs")?;
            pod = next.clone();
            let started = bench.replica(&pod.name, &all(""));
            bench.until_leading(&started);
            agents.talk_to(bench.cluster.server(started.address));
            collector = Some(started);
            moves += 1;
        }
        let said = collector.as_ref().map(|it| bench.summary(it)).unwrap_or_default();
        if agents.reboots().len() == 3 && bench.requests().is_empty() { Ok(()) } else { Err(said) }
    });
    stepped.extend(collector.iter().flat_map(steps));
    let order = agents.reboots();
    assert_eq!(order.last(), Some(&own), "the last of {order:?}");
    assert_eq!(claims(&stepped).last(), Some(&own.as_str()), "each exactly once: {stepped:#?}");
    assert_eq!(claims(&stepped).len(), 3);
    assert!(moves >= 1 && pod.node != own, "it moved {moves} times and is on {}", pod.node);
    assert!(bench.nodes.iter().all(|it| !bench.is_unschedulable(it)));
}

#[test]
fn scenario_09_a_collector_leaves_its_node_to_another_one_which_knows_what_was_before() {
    let bench = Bench::start(3);
    let both = deploy(&bench, 2);
    let policy = patient(1).replace("verify: 10m", "verify: 20s");
    let [first, second] = &both[..] else { panic!("two collectors") };
    assert_ne!(first.node, second.node);
    let is_third = |it: &&String| **it != first.node && **it != second.node;
    let third = bench.nodes.iter().find(is_third).expect("a node without a collector");
    let one = bench.collector(&first.name, &policy);
    let other = bench.replica(&second.name, &policy);
    let agents = bench.live(&one);
    let [viewer, approver] = ["viewer", "approver"].map(|role| bench.person(role, &one));

    // Its reasons outlive the reboot, and a person lets it go nevertheless.
    agents.conduct(third, Conduct::KeepsReason);
    agents.need_reboot(third);
    bench.until_state(&one, third, "Quarantined");
    let path = format!("/v1/reboots/{third}/release");
    let released = approver.says(Method::POST, &path, &Value::Null);
    assert_eq!(released.status, 200, "{}", released.text());
    bench.until_no_requests(&one);
    viewer.until_shut(third, "already-rebooted", "");
    let node = bench.cluster.get(&format!("/api/v1/nodes/{third}"));
    let last = node["metadata"]["annotations"]["palisade.dev/last-reboot"].as_str();
    let last: Value = serde_json::from_str(last.expect("its last reboot")).expect("JSON");
    assert_eq!(last["outcome"], "released", "{last}");

    agents.need_reboot(&first.node);
    let leads = |collector: &Collector| {
        let log = collector.process.log();
        log.iter().any(|line| line.contains("this collector leads"))
    };
    wait::until("the other one leads", WITHIN, || {
        if leads(&other) { Ok(()) } else { Err(bench.summary(&one)) }
    });
    let server = bench.leads(&other);
    agents.talk_to(server.clone());
    let viewer = viewer.at(server);
    viewer.until_shut(third, "already-rebooted", "");
    let mut one = Some(one);
    wait::until("the node has rebooted", WITHIN, || {
        if let Some(ended) = one.take_if(|_| !pods(&bench).contains(first)) {
            assert_eq!(claims(&steps(&ended)), [third.as_str()], "whoever made room");
            assert_eq!(ended.process.terminate(), Some(0));
        }
        let is_over = agents.reboots().contains(&first.node) && bench.requests().is_empty();
        if is_over { Ok(()) } else { Err(bench.summary(&other)) }
    });
    assert!(one.is_none(), "its pod was moved too");
    viewer.until_looked();
    viewer.until_shut(third, "already-rebooted", "");
    assert_eq!(claims(&steps(&other)), [first.node.as_str()], "the third one not again");
    assert_eq!(agents.reboots(), [third.clone(), first.node.clone()]);
    assert!(bench.nodes.iter().all(|it| !bench.is_unschedulable(it)));
}
