//! Agents and collectors that end and start anew while nodes are in flight: killed, or asked to end.

use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::bench::for_many;
use super::life::Conduct;

/// What collectors do to a node: whether it takes pods, and what is marked on it.
fn schedulability(bench: &Bench, node: &str) -> Value {
    let node = bench.cluster.get(&format!("/api/v1/nodes/{node}"));
    let mut spec = node["spec"].clone();
    spec["marks"] = node["metadata"]["annotations"].clone();
    spec["labels"] = node["metadata"]["labels"].clone();
    spec
}

#[test]
fn scenario_25_26_who_starts_anew_has_not_rebooted_and_changes_no_node() {
    let bench = Bench::start(4);
    // The drain of a node with this pod lasts until somebody takes the pod away.
    let policy =
        format!("{}  drain: {{protected: [{{matchLabels: {{app: web}}}}]}}\n", for_many(3));
    bench.web(1);
    let [node] = <[String; 1]>::try_from(bench.nodes_of("web")).expect("one node");
    let [foreign, bad, other] = {
        let others: Vec<_> = bench.nodes.iter().filter(|it| **it != node).cloned().collect();
        <[String; 3]>::try_from(others).expect("three nodes")
    };
    bench.set_unschedulable(&foreign, true);
    let collector = bench.collector("one", &policy);
    let agents = bench.live(&collector);
    agents.conduct(&bad, Conduct::KeepsReason);
    agents.need_reboot(&bad);
    agents.need_reboot(&node);
    agents.need_reboot(&foreign);
    bench.until_state(&collector, &bad, "Quarantined");
    bench.until_state(&collector, &node, "Draining");

    // The agent is killed in the middle of the drain, and comes back in the same boot.
    let comes_back = || {
        agents.conduct(&node, Conduct::Gone);
        bench.until_looked(&collector, 1);
        agents.restart(&node);
        agents.conduct(&node, Conduct::Ignores);
        let heard = agents.heard(&node);
        wait::until("the agent is heard again", WITHIN, || {
            if agents.heard(&node) >= heard + 3 { Ok(()) } else { Err(agents.heard(&node)) }
        });
        bench.until_looked(&collector, 2);
    };
    comes_back();
    assert_eq!(bench.state(&node).as_deref(), Some("Draining"));
    assert_eq!(agents.grants(&node), 0);

    // The collector is killed: nothing on any node is another, by their objects and by the record of
    // the API server.
    let before: Vec<_> = bench.nodes.iter().map(|it| schedulability(&bench, it)).collect();
    let writes = || [bench.writes("nodes", "patch").len(), bench.writes("nodes", "update").len()];
    let written = writes();
    let (collector, server) = bench.restart(collector, &policy);
    agents.talk_to(server);
    let heard: Vec<_> = bench.nodes.iter().map(|it| agents.heard(it)).collect();
    wait::until("all agents have found the new one", WITHIN, || {
        let found = bench.nodes.iter().zip(&heard).all(|(node, heard)| agents.heard(node) > *heard);
        if found { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_looked(&collector, 3);
    let after: Vec<_> = bench.nodes.iter().map(|it| schedulability(&bench, it)).collect();
    assert_eq!(before, after);
    assert_eq!(writes(), written, "nodes were written");
    assert!(bench.is_unschedulable(&foreign) && !bench.is_unschedulable(&other));
    assert_eq!(bench.state(&node).as_deref(), Some("Draining"));
    assert_eq!(bench.state(&bad).as_deref(), Some("Quarantined"));

    // Killed once more with a grant in its hands.
    bench.cluster.kubectl(&["delete", "deployment", "web"]);
    wait::until("a grant is handed out", WITHIN, || {
        if agents.grants(&node) == 1 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    let comes_back = || {
        agents.conduct(&node, Conduct::Gone);
        bench.until_looked(&collector, 1);
        agents.restart(&node);
        agents.conduct(&node, Conduct::Ignores);
        bench.until_looked(&collector, 2);
    };
    comes_back();
    assert_eq!(bench.state(&node).as_deref(), Some("Granted"));
    let went = bench.history(&node);
    assert!(!went.iter().any(|it| it == "Rebooting" || it == "Booted"), "{went:?}");
    assert_eq!(agents.reboots(), std::slice::from_ref(&bad));

    // At last it reboots, once.
    agents.conduct(&node, Conduct::Reboots);
    wait::until("the node has rebooted and takes pods", WITHIN, || {
        let is_open = !bench.is_unschedulable(&node) && bench.state(&node).is_none();
        if is_open { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert_eq!(agents.reboots(), [bad, node.clone()]);
    assert_eq!(bench.told(&collector, &node).iter().filter(|it| *it == "Booted").count(), 1);
    assert!(bench.is_unschedulable(&foreign), "the cordon of a person stays");
}

/// Where a process that is asked to end is caught: in the middle of a call, before the API server has
/// heard of it or after it has done it.
const SECTIONS: [(&str, &str, Fault); 8] = [
    ("POST", "/apis/palisade.dev/v1alpha1/rebootrequests", Fault::HangAfter),
    ("PUT", "/apis/palisade.dev/v1alpha1/rebootrequests/*/status", Fault::Hang),
    ("PUT", "/apis/palisade.dev/v1alpha1/rebootrequests/*/status", Fault::HangAfter),
    ("PATCH", "/api/v1/nodes/NODE", Fault::Hang),
    ("PATCH", "/api/v1/nodes/NODE", Fault::HangAfter),
    ("POST", "/api/v1/namespaces/default/pods/*/eviction", Fault::HangAfter),
    ("DELETE", "/apis/palisade.dev/v1alpha1/rebootrequests/*", Fault::Hang),
    ("DELETE", "/apis/palisade.dev/v1alpha1/rebootrequests/*", Fault::HangAfter),
];

#[test]
fn scenario_34_a_collector_asked_to_end_in_a_critical_section_ends_well_and_the_next_goes_on() {
    let bench = Bench::start(2);
    bench.web(2);
    let proxy = bench.cluster.proxy();
    let mut collector = bench.collector_through(&proxy, "one", HURRIED);
    let agents = bench.live(&collector);
    let [node, other] = [&*bench.nodes[0], &*bench.nodes[1]];
    // One after the other in one reboot. Each is hit by whatever comes first of its kind, so that the
    // writes of the states are hit in turn.
    agents.need_reboot(node);
    let mut states = Vec::new();
    let mut sections = SECTIONS.to_vec();
    // Uncordoning is the second time that the node is written.
    sections.push(("PATCH", "/api/v1/nodes/NODE", Fault::HangAfter));
    let mut left: Vec<_> = sections
        .iter()
        .map(|(method, path, fault)| {
            Rule::new(method, &path.replace("NODE", node), *fault).times(1)
        })
        .collect();
    left.reverse();
    while let Some(rule) = left.pop() {
        let injected = proxy.inject(rule.clone());
        let outcome = wait::until("the section is entered, or the reboot is over", WITHIN, || {
            let is_over = agents.reboots() == [node] && bench.requests().is_empty();
            if proxy.hits(injected) > 0 {
                Ok(true)
            } else if is_over {
                Ok(false)
            } else {
                Err(bench.summary(&collector))
            }
        });
        proxy.remove(injected);
        if !outcome {
            continue;
        }
        states.push(format!("{:?} {:?}", bench.state(node), rule));
        assert_eq!(collector.process.terminate(), Some(0), "{states:#?}");
        collector = bench.collector_through(&proxy, "one", HURRIED);
        agents.talk_to(bench.cluster.server(collector.address));
    }
    println!("asked to end {} times: {states:#?}", states.len());
    assert!(states.len() >= 6, "{states:#?}");
    bench.until_rebooted(&collector, &agents, &[node]);
    bench.until_no_requests(&collector);
    // The next one finds nothing in its way.
    agents.need_reboot(other);
    bench.until_rebooted(&collector, &agents, &[node, other]);
    bench.until_no_requests(&collector);
}
