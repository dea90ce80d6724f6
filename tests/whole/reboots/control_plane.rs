//! The control plane: after the workers, one by one, and only while the rest of it is well.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bench::Bench;
use super::decide::claims;
use super::decide::flights;
use super::decide::policy;
use super::decide::steps;

/// Nodes that a control plane of kubeadm runs on.
fn control_plane(bench: &Bench, nodes: &[&str]) {
    for node in nodes {
        bench.label(node, "node-role.kubernetes.io/control-plane=");
    }
    bench.etcd(nodes);
}

#[test]
fn scenario_05_workers_are_first_and_the_control_plane_follows_node_by_node() {
    let bench = Bench::start(6);
    let masters = ["node-0", "node-1", "node-2"];
    control_plane(&bench, &masters);
    // No budget keeps them apart.
    let all = |more: &str| {
        let pool = format!("name: all, selector: {{}}, maxUnavailable: 6{more}");
        policy("maxUnavailable: 6", &[&pool])
    };
    let collector = bench.collector("one", &all(", paused: until all are asked for"));
    let operator = bench.person("operator", &collector);
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        operator.asks_for(node);
    }
    operator.until_planned(&["node-0", "node-1", "node-2", "node-3", "node-4", "node-5"]);
    bench.say_policy(&all(""));
    bench.until_no_requests(&collector);
    let steps = steps(&collector);
    let order = claims(&steps);
    let (workers, rest) = order.split_at(3);
    assert!(workers.iter().all(|it| !masters.contains(it)), "{order:?}");
    assert!(rest.iter().all(|it| masters.contains(it)), "{order:?}");
    let flights = flights(&steps);
    let is_alone = |node: &&str| flights.iter().all(|it| !it.contains(*node) || it.len() == 1);
    assert!(masters.iter().all(is_alone), "{flights:#?}");
    assert_eq!(flights.iter().map(BTreeSet::len).max(), Some(3), "the workers at once");
    let mut rebooted = agents.reboots();
    rebooted.sort();
    assert_eq!(rebooted, bench.nodes, "each exactly once");
}

#[test]
fn scenario_06_the_control_plane_waits_while_a_part_of_it_is_not_well_or_its_pool_is_paused() {
    let bench = Bench::start(3);
    control_plane(&bench, &["node-0", "node-1", "node-2"]);
    // No budget holds it.
    let all = |more: &str| {
        let pool = format!("name: all, selector: {{}}, maxUnavailable: 3{more}");
        policy("maxUnavailable: 3", &[&pool])
    };
    let collector = bench.collector("one", &all(""));
    let operator = bench.person("operator", &collector);
    let agents = bench.live(&collector);
    let nothing_began = || {
        assert_eq!(claims(&steps(&collector)), <[&str; 0]>::default());
        assert!(!bench.is_unschedulable("node-0"));
    };

    // One is down.
    bench.fell("node-1");
    let words = "node-1 is not well: it is not ready";
    operator.until_shut("node-0", "control-plane", words);
    agents.need_reboot("node-0");
    operator.until_planned(&["node-0"]);
    operator.until_shut("node-0", "control-plane", words);
    nothing_began();

    // It is up, but its etcd is not well.
    bench.say_etcd("node-1", Some(false));
    operator.until_shut("node-0", "etcd", "the member on node-1 is not healthy");
    bench.raise("node-1");
    operator.until_open("node-0", "control-plane");
    operator.until_shut("node-0", "etcd", "the member on node-1 is not healthy");
    nothing_began();

    // All is well, but the pool is paused.
    bench.say_policy(&all(", paused: until the upgrade is over"));
    operator.until_shut("node-0", "paused", "pool all: until the upgrade is over");
    bench.say_etcd("node-1", Some(true));
    operator.until_open("node-0", "etcd");
    operator.until_shut("node-0", "paused", "pool all: until the upgrade is over");
    nothing_began();

    bench.say_policy(&all(""));
    bench.until_rebooted(&collector, &agents, &["node-0"]);
}

#[test]
fn scenario_08_two_sick_nodes_of_the_control_plane_go_one_by_one_and_none_below_its_least_health() {
    let bench = Bench::start(4);
    control_plane(&bench, &["node-0", "node-1", "node-2"]);
    let pool = "name: all, selector: {}, maxUnavailable: 2";
    let all = |calm: &str| policy(&format!("maxUnavailable: 2, calm: {calm}"), &[pool]);
    let collector = bench.collector("one", &all("1h"));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    for node in ["node-0", "node-1"] {
        agents.need_reboot(node);
    }
    bench.until_so_many(&collector, &agents, 2);
    let two = steps(&collector);
    assert!(flights(&two).iter().all(|it| it.len() <= 1), "{two:#?}");

    // Two of three are down: neither the third nor a worker goes.
    bench.fell("node-1");
    bench.fell("node-2");
    agents.need_reboot("node-0");
    agents.need_reboot("node-3");
    viewer.until_planned(&["node-0", "node-3"]);
    viewer.until_shut("node-0", "control-plane", "node-1 is not well: it is not ready");
    viewer.until_shut("node-0", "control-plane", "node-2 is not well: it is not ready");
    viewer.until_shut("node-3", "cluster-budget", "2 of 4 in the cluster are away (2 not by us)");
    assert_eq!(bench.requests(), <[Value; 0]>::default());
    assert_eq!(agents.reboots().len(), 2);

    // One is back, which is room for the worker; the control plane waits for the other one.
    bench.raise("node-2");
    bench.until_so_many(&collector, &agents, 3);
    assert_eq!(agents.reboots().last().map(String::as_str), Some("node-3"));
    viewer.until_shut("node-0", "control-plane", "node-1 is not well: it is not ready");
    // A storm: too many that nobody hears. What it leaves behind is calm, and that is waited for.
    let late = bench.cluster.kwok().nodes("late", 3);
    viewer.until_shut("node-0", "dead-man", "3 of 7 agents are silent, more than 20 %");
    bench.raise("node-1");
    for node in ["node-1", "node-2"] {
        // Whoever finds a node down takes its pods for down too; its kubelet says otherwise.
        bench.say_etcd(node, Some(true));
    }
    viewer.until_open("node-0", "control-plane");
    viewer.until_open("node-0", "etcd");
    bench.cluster.kwok().delete(&late);
    viewer.until_shut("node-0", "dead-man", "3600 s of calm are asked for");
    assert_eq!(bench.requests(), <[Value; 0]>::default());
    bench.say_policy(&all("1s"));
    bench.until_so_many(&collector, &agents, 4);
    assert_eq!(agents.reboots().last().map(String::as_str), Some("node-0"));
}
