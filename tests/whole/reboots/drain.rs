//! What stands in the way of a drain: budgets, holds, nodes that go away meanwhile.

use palisade_tests::cluster::api::Call;
use palisade_tests::wait;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::bench::patient;

const BUDGET: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web";

#[test]
fn scenario_14_a_budget_that_allows_nothing_holds_its_nodes_and_no_other() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", HURRIED);
    bench.web(2);
    let never = json!({ "spec": { "maxUnavailable": 0 } });
    bench.cluster.api().must(Call::merge(BUDGET, &never));
    wait::until("the budget allows nothing", WITHIN, || {
        let status = bench.cluster.get(BUDGET)["status"].clone();
        if status["disruptionsAllowed"] == 0 && status["observedGeneration"] == 2 {
            Ok(())
        } else {
            Err(status)
        }
    });
    let with_pods = bench.nodes_of("web");
    let pods = bench.pods_of("web");
    let free: Vec<_> =
        bench.nodes.iter().filter(|it| !with_pods.contains(it)).map(String::as_str).collect();
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.need_reboot(node);
    }
    bench.until_rebooted(&collector, &agents, &free);
    bench.until_no_requests(&collector);
    // Tried before a claim, by a dry run, and not evicted.
    assert_eq!(bench.pods_of("web"), pods);
    let claimed = bench.writes("nodes", "patch");
    assert!(!claimed.iter().any(|it| with_pods.contains(it)), "cordoned: {claimed:?}");
    assert!(bench.nodes.iter().all(|it| !bench.is_unschedulable(it)), "nothing is cordoned");
    // The owner lets go of one pod at a time.
    let some = json!({ "spec": { "maxUnavailable": 1 } });
    bench.cluster.api().must(Call::merge(BUDGET, &some));
    wait::until("all nodes have rebooted", WITHIN, || {
        if agents.reboots().len() == 3 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert!(bench.pods_of("web").is_disjoint(&pods), "pods were evicted");
}

/// Refuses the eviction of pods `web-...`, as a webhook of their owner might: no budget tells of it.
const GUARDED: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: guarded}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction]}
  validations:
    - {expression: "!object.metadata.name.startsWith('web-')", message: the owner moves these}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: guarded}
spec: {policyName: guarded, validationActions: [Deny]}
"#;

#[test]
fn scenario_15_a_pod_that_fails_the_dry_run_keeps_its_node_whole_and_others_go_first() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    bench.web(1);
    bench.cluster.apply(GUARDED);
    let with_pod = bench.nodes_of("web");
    let pods = bench.pods_of("web");
    let free: Vec<_> =
        bench.nodes.iter().filter(|it| !with_pod.contains(it)).map(String::as_str).collect();
    let agents = bench.live(&collector);
    // First in order, by the age of its reason.
    agents.need_reboot(&with_pod[0]);
    let viewer = bench.person("viewer", &collector);
    viewer.until_shut(&with_pod[0], "drain", "the owner moves these");
    assert_eq!(bench.requests().len(), 0);
    agents.need_reboot(free[0]);
    bench.until_rebooted(&collector, &agents, &free);
    bench.until_no_requests(&collector);
    assert_eq!(bench.pods_of("web"), pods);
    let cordoned = bench.writes("nodes", "patch");
    assert!(!cordoned.contains(&with_pod[0]), "cordoned: {cordoned:?}");
}

#[test]
fn a_node_whose_pods_fit_nowhere_else_waits_until_there_is_room() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", &format!("{HURRIED}  drain: {{noRoom: block}}\n"));
    // KWOK's nodes have four cores: one pod each.
    let labels = "{app: web}";
    bench.cluster.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: 2, \
         selector: {{matchLabels: {labels}}}, template: {{metadata: {{labels: {labels}}}, spec: \
         {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: none, resources: \
         {{requests: {{cpu: 2500m}}}}}}]}}}}}}}}"
    ));
    wait::until("each node has a pod", WITHIN, || {
        let nodes = bench.nodes_of("web");
        if nodes.len() == 2 { Ok(()) } else { Err(nodes) }
    });
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    wait::until("it waits for room", WITHIN, || {
        let log = collector.process.log();
        let waits =
            log.iter().any(|it| it.contains("capacity: no other node has room for default/web-"));
        if waits { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert!(bench.requests().is_empty() && !bench.is_unschedulable("node-0"), "nothing is begun");
    bench.cluster.kubectl(&["scale", "deployment", "web", "--replicas=1"]);
    bench.until_rebooted(&collector, &agents, &["node-0"]);
}

#[test]
fn two_nodes_do_not_go_into_the_room_that_is_there_for_one() {
    let bench = Bench::start(3);
    let policy = format!("{}  drain: {{noRoom: block}}\n", patient(2));
    let collector = bench.collector("one", &policy);
    let labels = "{app: web}";
    // KWOK's nodes have four cores: one pod each, and room for one more on the third.
    let pods = |replicas: u32| {
        bench.cluster.apply(&format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: \
             {replicas}, selector: {{matchLabels: {labels}}}, template: {{metadata: {{labels: \
             {labels}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: \
             none, resources: {{requests: {{cpu: 2500m}}}}}}]}}}}}}}}"
        ));
    };
    pods(2);
    let mut nodes = Vec::new();
    wait::until("two nodes have a pod each", WITHIN, || {
        nodes = bench.nodes_of("web");
        if nodes.len() == 2 { Ok(()) } else { Err(nodes.clone()) }
    });
    let agents = bench.live(&collector);
    nodes.iter().for_each(|node| agents.need_reboot(node));
    let mut most = 0;
    wait::until("both were rebooted", WITHIN, || {
        let away = nodes.iter().filter(|node| bench.is_unschedulable(node)).count();
        most = most.max(away);
        let done = agents.reboots();
        if done.len() == 2 {
            Ok(())
        } else {
            Err(format!("{done:?} {}", bench.summary(&collector)))
        }
    });
    assert_eq!(most, 1, "one pod would have been left without a node");
}

#[test]
fn scenario_45_a_held_node_waits_and_the_others_go_on() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    bench.cluster.kubectl(&["annotate", "node", "node-0", "palisade.dev/hold=migration"]);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    agents.need_reboot("node-1");
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    bench.until_no_requests(&collector);
    assert!(!bench.is_unschedulable("node-0"));
    bench.cluster.kubectl(&["annotate", "node", "node-0", "palisade.dev/hold-"]);
    bench.until_rebooted(&collector, &agents, &["node-1", "node-0"]);
}
