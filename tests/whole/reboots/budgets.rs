//! Disruption budgets that let one pod go at a time: what a plan says of them, and what happens.

use hyper::Method;
use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;

/// Two Deployments and their budgets. `two` never has two pods on one node, and runs on two nodes only:
/// what is evicted from one of them waits until it is back.
const APPS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: one}
spec:
  replicas: 2
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: none}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: one}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: one}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: two}
spec:
  replicas: 2
  selector: {matchLabels: {app: two}}
  template:
    metadata: {labels: {app: two}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: none}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: kubernetes.io/hostname, operator: In, values: [node-1, node-2]}
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: two}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: two}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: two}}}
"#;

#[test]
fn scenario_16_pods_of_one_budget_go_one_after_another_on_a_node_and_in_a_batch() {
    let bench = Bench::start(3);
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 3}");
    let policy = format!("{policy}  maxUnavailable: 3\n");
    let shown = policy.replace("mode: auto", "mode: plan");
    let collector = bench.collector("one", &shown);
    // Both pods of the first one on one node.
    bench.only(Some("node-0"));
    bench.cluster.apply(APPS);
    until_allowed(&bench, "one", 1);
    assert_eq!(bench.nodes_of("one"), ["node-0"]);
    bench.only(None);
    until_allowed(&bench, "two", 1);
    assert_eq!(bench.nodes_of("two"), ["node-1", "node-2"]);

    // A plan says it before anything happens.
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.need_reboot(node);
    }
    let plan = wait::until("the plan foresees the drains", WITHIN, || {
        let answer = viewer.says(Method::GET, "/v1/plan", &Value::Null);
        let plan = if answer.status == 200 { answer.json() } else { Value::Null };
        let nodes = plan["nodes"].as_array().cloned().unwrap_or_default();
        let is_whole = nodes.len() == 3 && nodes.iter().all(|it| it["drain"].is_object());
        if is_whole { Ok(plan) } else { Err(answer.text()) }
    });
    let drain = |name: &str| {
        let nodes = plan["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|it| it["name"] == name).expect("the node");
        node["drain"].clone()
    };
    let serial = serde_json::json!({ "outlook": "serial", "rounds": 2 });
    assert_eq!(drain("node-0"), serial, "{plan:#}");
    assert_eq!(drain("node-1"), serde_json::json!({ "outlook": "clear" }), "{plan:#}");
    let explained = viewer.says(Method::GET, "/v1/nodes/node-0/explain", &Value::Null).json();
    let gates = explained["gates"].as_array().expect("gates");
    let gate = gates.iter().find(|it| it["gate"] == "drain").expect("the gate");
    assert_eq!(gate["value"], "in 2 rounds", "{explained:#}");
    assert_eq!(bench.requests(), <[Value; 0]>::default());

    // All three may go at once; two of them share a budget, and do not.
    bench.say_policy(&policy);
    let second = wait::until("one of the two waits for the budget", WITHIN, || {
        for name in ["node-1", "node-2"] {
            let path = format!("/v1/nodes/{name}/explain?format=text");
            let text = viewer.says(Method::GET, &path, &Value::Null).text();
            let is_it = |it: &str| it.starts_with("> drain") && it.contains("budget default/two");
            if text.lines().any(is_it) {
                return Ok(name);
            }
        }
        Err(bench.summary(&collector))
    });
    let first = if second == "node-1" { "node-2" } else { "node-1" };
    wait::until("all nodes have rebooted", WITHIN, || {
        if agents.reboots().len() == 3 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_no_requests(&collector);
    let order = agents.reboots();
    let place = |name: &str| order.iter().position(|it| it == name);
    assert!(place(first) < place(second), "{order:?}");
    told_by_the_api_server(&bench, first, second);
}

/// No eviction was asked for that a budget refused; between two of one budget the pod of the first was
/// made anew, and the second node was cordoned only when the first one took pods again.
fn told_by_the_api_server(bench: &Bench, first: &str, second: &str) {
    let evicted = bench.evictions();
    assert!(evicted.iter().all(|(_, code)| *code == 201), "{evicted:?}");
    let events = bench.cluster.audit_log();
    let mut of_one = Vec::new();
    let mut of_nodes = Vec::new();
    for event in &events {
        let object = &event["objectRef"];
        let name = object["name"].as_str().unwrap_or_default();
        let is_dry = event["requestURI"].as_str().is_some_and(|it| it.contains("dryRun"));
        let verb = event["verb"].as_str().unwrap_or_default();
        let by = event["user"]["username"].as_str().unwrap_or_default();
        match (object["resource"].as_str(), object["subresource"].as_str(), verb) {
            (Some("pods"), Some("eviction"), "create") if !is_dry && name.starts_with("one-") => {
                of_one.push("evicted");
            }
            (Some("pods"), Some("binding"), "create") if name.starts_with("one-") => {
                of_one.push("scheduled");
            }
            (Some("nodes"), None, "patch") if by.ends_with("palisade-collector") => {
                of_nodes.push((name.to_owned(), event["responseStatus"]["code"].clone()));
            }
            _ => {}
        }
    }
    // Two pods were scheduled at the start; each eviction is followed by a successor.
    let expected = ["scheduled", "scheduled", "evicted", "scheduled", "evicted", "scheduled"];
    assert_eq!(&of_one[..6.min(of_one.len())], expected, "{of_one:?}");
    of_nodes.retain(|(name, _)| name == first || name == second);
    // One that the API server refuses, because the node has changed since it was read, changes nothing.
    let done = of_nodes.iter().filter(|(_, code)| *code == 200).map(|(name, _)| name);
    let expected = [first, first, second, second];
    assert!(done.eq(expected), "cordon and uncordon, one after another: {of_nodes:?}");
    assert!(of_nodes.iter().all(|(_, code)| *code == 200 || *code == 409), "{of_nodes:?}");
}

fn until_allowed(bench: &Bench, budget: &str, allowed: u32) {
    let path = format!("/apis/policy/v1/namespaces/default/poddisruptionbudgets/{budget}");
    wait::until("a budget knows its pods", WITHIN, || {
        let status = bench.cluster.get(&path)["status"].clone();
        let is_known = status["currentHealthy"] == 2 && status["disruptionsAllowed"] == allowed;
        if is_known { Ok(()) } else { Err(status) }
    });
}
