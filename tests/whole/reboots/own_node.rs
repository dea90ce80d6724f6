//! The node that the collector runs on: the last of its pool. The collector's pods are those of the
//! manifests, in name only; each has a process here that goes by its name and ends with it.

use std::path::Path;

use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::WITHIN;
use super::decide::claims;
use super::decide::policy;
use super::decide::steps;

const PODS: &str = "/api/v1/namespaces/palisade-system/pods?labelSelector=\
    app.kubernetes.io%2Fname%3Dpalisade-collector";

/// A collector's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    name: String,
    node: String,
}

/// Applies the collector's Deployment and its budget.
fn deploy(bench: &Bench) -> Pod {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let base = root.join("manifests/base");
    let rendered = bench.cluster.kubectl(&["kustomize", base.to_str().expect("UTF-8")]);
    let is_wanted = |document: &&str| {
        let mut lines = document.lines();
        lines.any(|line| line == "kind: Deployment" || line == "kind: PodDisruptionBudget")
    };
    let wanted: Vec<_> = rendered.split("\n---\n").filter(is_wanted).collect();
    assert_eq!(wanted.len(), 2, "{wanted:#?}");
    bench.cluster.apply(&wanted.join("\n---\n"));
    wait::until("the collector's pod runs", WITHIN, || pods(bench).pop().ok_or("no pod yet"))
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
    let mut pod = deploy(&bench);
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
