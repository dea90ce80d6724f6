//! Who reboots and who comes next: budgets that others use up, zones and ages, silence, clusters of one
//! node, cordons of people.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::WITHIN;
use super::life::Agents;
use super::life::Conduct;
use super::person::Person;

/// A policy in which nothing waits but for what the test is about.
pub(super) fn policy(cluster: &str, pools: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\ncluster: {{{cluster}}}\npools:\n"
    );
    for pool in pools {
        text.push_str(&format!(
            "- {{mode: auto, stable: 0s, soak: 0s, minimumInterval: 1s, {pool}}}\n"
        ));
    }
    text
}

/// What the collector says of its steps, in order: node, from, to.
pub(super) fn steps(collector: &Collector) -> Vec<(String, String, String)> {
    let log = collector.process.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let steps = lines.filter(|line| line["message"] == "a reboot goes on").map(|line| {
        let word = |key: &str| line[key].as_str().expect("a word").to_owned();
        (word("node"), word("from"), word("to"))
    });
    steps.collect()
}

/// Who was in flight at each step, as the collector's own record has it.
pub(super) fn flights(steps: &[(String, String, String)]) -> Vec<BTreeSet<String>> {
    const PLACELESS: [&str; 6] = ["Needed", "Blocked", "Ready", "Done", "Backoff", "Cancelled"];
    let mut away = BTreeSet::new();
    let after = steps.iter().map(|(node, _, to)| {
        if PLACELESS.contains(&to.as_str()) {
            away.remove(node);
        } else {
            away.insert(node.clone());
        }
        away.clone()
    });
    after.collect()
}

/// The nodes in the order of their claims.
pub(super) fn claims(steps: &[(String, String, String)]) -> Vec<&str> {
    let claims = steps.iter().filter(|(_, _, to)| to == "Claimed");
    claims.map(|(node, _, _)| node.as_str()).collect()
}

fn most_at_once(steps: &[(String, String, String)]) -> usize {
    flights(steps).iter().map(BTreeSet::len).max().unwrap_or(0)
}

#[test]
fn scenario_03_a_node_that_is_not_ready_uses_up_its_budget_and_no_other() {
    let bench = Bench::start(3);
    for (node, pool) in [("node-0", "web"), ("node-1", "web"), ("node-2", "batch")] {
        bench.label(node, &format!("pool={pool}"));
    }
    let web = "name: web, selector: {matchLabels: {pool: web}}, maxUnavailable: 1";
    let rest = "name: rest, selector: {}, maxUnavailable: 1";
    let collector = bench.collector("one", &policy("maxUnavailable: 2", &[web, rest]));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    bench.fell("node-1");
    let words = "1 of 2 in pool web are away (1 not by us), 1 may be";
    viewer.until_shut("node-0", "pool-budget", words);
    // First in order, and held by nothing but its budget; the other pool goes on beside it.
    agents.need_reboot("node-0");
    viewer.until_planned(&["node-0"]);
    agents.need_reboot("node-2");
    bench.until_rebooted(&collector, &agents, &["node-2"]);
    bench.until_no_requests(&collector);
    viewer.until_shut("node-0", "pool-budget", words);
    assert_eq!(claims(&steps(&collector)), ["node-2"]);
    assert!(!bench.is_unschedulable("node-0"));
    bench.raise("node-1");
    bench.until_rebooted(&collector, &agents, &["node-2", "node-0"]);
}

/// Lets these nodes need a reboot, each a little later than the one before it.
fn need_in_turn(viewer: &Person, agents: &Agents, nodes: &[&str]) {
    let mut known = Vec::new();
    for node in nodes {
        agents.need_reboot(node);
        known.push(*node);
        known.sort_unstable();
        viewer.until_planned(&known);
        // Ages are counted in whole seconds.
        let known_at = Instant::now();
        wait::until("a second is over", WITHIN, || {
            if known_at.elapsed() > Duration::from_secs(1) { Ok(()) } else { Err(()) }
        });
    }
}

#[test]
fn scenario_04_zones_go_one_by_one_and_the_oldest_reason_first_for_each_amount() {
    let bench = Bench::start(8);
    let mut zones = BTreeMap::new();
    for (number, node) in bench.nodes.iter().enumerate() {
        let zone = if number % 2 == 0 { "b" } else { "a" };
        bench.label(node, &format!("topology.kubernetes.io/zone={zone}"));
        zones.insert(node.as_str(), zone);
    }
    let all = |amount: &str, more: &str| {
        let pool = format!("name: all, selector: {{}}, maxUnavailable: {amount}{more}");
        policy("maxUnavailable: 8", &[&pool])
    };
    let paused = all("1", ", paused: until all of them are known");
    let collector = bench.collector("one", &paused);
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);

    // The amount, who needs a reboot from the oldest reason on, in which order they are claimed, and
    // how many of them at once.
    let rounds: [(&str, &[&str], &[&str], usize); 3] = [
        (
            "1",
            &["node-4", "node-5", "node-0", "node-3"],
            &["node-5", "node-3", "node-4", "node-0"],
            1,
        ),
        (
            "3",
            &["node-6", "node-7", "node-1", "node-5", "node-3"],
            &["node-7", "node-1", "node-5", "node-3", "node-6"],
            3,
        ),
        (
            "25%",
            &["node-2", "node-7", "node-5", "node-1"],
            &["node-7", "node-5", "node-1", "node-2"],
            2,
        ),
    ];
    let mut reboots = 0;
    for (amount, ages, order, at_once) in rounds {
        let told = steps(&collector).len();
        bench.say_policy(&all(amount, ", paused: until all of them are known"));
        need_in_turn(&viewer, &agents, ages);
        bench.say_policy(&all(amount, ""));
        reboots += ages.len();
        bench.until_so_many(&collector, &agents, reboots);
        let steps = steps(&collector).split_off(told);
        assert_eq!(claims(&steps), order, "{amount}");
        assert_eq!(most_at_once(&steps), at_once, "{amount}: {steps:?}");
        for away in flights(&steps) {
            let zones: BTreeSet<_> = away.iter().map(|node| zones[node.as_str()]).collect();
            assert!(zones.len() <= 1, "{amount}: {away:?} are of two zones");
        }
    }
}

#[test]
fn scenario_07_too_many_silent_agents_freeze_the_fleet_and_as_many_as_may_be_do_not() {
    let bench = Bench::start(5);
    let pool = "name: all, selector: {}, maxUnavailable: 1";
    let policy = policy("maxUnavailable: 1, deadManPercent: 40", &[pool]);
    let collector = bench.collector("one", &policy);
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-1");
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    bench.until_no_requests(&collector);
    // They fall silent; the next collector hears none of them.
    for node in ["node-2", "node-3", "node-4"] {
        agents.conduct(node, Conduct::Gone);
    }
    let (collector, server) = bench.restart(collector, &policy);
    let viewer = viewer.at(server.clone());
    agents.talk_to(server);
    agents.need_reboot("node-0");
    viewer.until_planned(&["node-0"]);
    let words = "3 of 5 agents are silent, more than 40 % freeze the fleet";
    viewer.until_shut("node-0", "dead-man", words);
    assert_eq!(bench.requests(), <[Value; 0]>::default());
    assert!(!bench.is_unschedulable("node-0"));
    assert_eq!(agents.reboots(), ["node-1"]);
    // At the limit it goes on.
    agents.conduct("node-4", Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &["node-1", "node-0"]);
    assert!(viewer.sees_shut("node-2", "agent-silent").is_ok(), "and two are silent still");
}

#[test]
fn scenario_10_a_single_node_is_refused_or_rebooted_without_a_drain_as_the_policy_says() {
    let bench = Bench::start(1);
    bench.label("node-0", "node-role.kubernetes.io/control-plane=");
    bench.etcd(&["node-0"]);
    let pool = "name: all, selector: {}";
    let collector = bench.collector("one", &policy("", &[pool]));
    bench.web(2);
    let pods = bench.pods_of("web");
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    viewer.until_planned(&["node-0"]);
    viewer.until_shut("node-0", "control-plane", "say singleNode to reboot it without a drain");
    viewer.until_shut("node-0", "etcd", "1 members, 1 must stay: none can be spared");
    assert_eq!(bench.requests(), <[Value; 0]>::default());
    assert!(!bench.is_unschedulable("node-0"));
    // Said so, it goes, and nothing is evicted: there is nowhere to go.
    bench.say_policy(&policy("singleNode: true", &[pool]));
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);
    assert_eq!(bench.pods_of("web"), pods);
    assert_eq!(bench.writes("pods/eviction", "create"), <[&str; 0]>::default());
    assert_eq!(claims(&steps(&collector)), ["node-0"], "exactly once");
}

#[test]
fn scenario_11_cordons_of_people_outlive_a_reboot_where_the_policy_includes_them() {
    let bench = Bench::start(3);
    let all = |amount: u32| {
        let pool =
            format!("name: all, selector: {{}}, foreignCordon: include, maxUnavailable: {amount}");
        policy(&format!("maxUnavailable: {amount}"), &[&pool])
    };
    let collector = bench.collector("one", &all(1));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    bench.set_unschedulable("node-0", true);
    agents.need_reboot("node-1");
    // It is the one that may be away.
    viewer.until_shut(
        "node-1",
        "pool-budget",
        "1 of 3 in pool all are away (1 not by us), 1 may be",
    );
    agents.need_reboot("node-0");
    let is_left_alone = |node: &str| {
        let node = bench.cluster.get(&format!("/api/v1/nodes/{node}"));
        let marker = &node["metadata"]["annotations"]["palisade.dev/cordoned-by"];
        node["spec"]["unschedulable"] == true && marker.is_null()
    };
    bench.until_so_many(&collector, &agents, 1);
    assert_eq!(agents.reboots(), ["node-0"]);
    assert!(is_left_alone("node-0"), "still cordoned, and not by us");

    // With room for all: those that people cordoned and one that they did not.
    bench.set_unschedulable("node-2", true);
    agents.need_reboot("node-0");
    agents.need_reboot("node-2");
    viewer.until_planned(&["node-0", "node-1", "node-2"]);
    bench.say_policy(&all(3));
    bench.until_so_many(&collector, &agents, 4);
    let mut rebooted = agents.reboots().split_off(1);
    rebooted.sort();
    assert_eq!(rebooted, ["node-0", "node-1", "node-2"]);
    assert!(is_left_alone("node-0") && is_left_alone("node-2"));
    assert!(!bench.is_unschedulable("node-1"), "what was open is open again");
}
