//! Reboots end to end against the real API server: nodes that only KWOK keeps, agents that are
//! simulated and speak the real protocol, everything else real. Scenario numbers are those of the
//! specification.

mod bench;
mod budgets;
mod calls;
mod clocks;
mod control_plane;
mod cordon;
mod decide;
mod drain;
mod gates;
mod kills;
mod leaders;
mod leases;
mod ledger;
mod leftovers;
mod life;
mod limits;
mod lost;
mod lying;
mod own_node;
mod patience;
mod person;
mod placed;
mod pods;
mod prometheus;
mod restarts;
mod scale_down;
mod storms;
mod strangers;
mod told;
mod unheard;
mod windows;
mod wishes;

use bench::Bench;
use bench::HURRIED;
use bench::WITHIN;
use life::Conduct;
use palisade_tests::wait;
use serde_json::Value;

#[test]
fn scenario_01_a_node_with_a_reason_reboots_exactly_once_and_ends_schedulable() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", HURRIED);
    bench.web(2);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    let node = bench.cluster.get("/api/v1/nodes/node-0");
    assert_eq!(node["spec"]["unschedulable"], Value::Null, "{node}");
    assert_eq!(node["metadata"]["annotations"]["palisade.dev/cordoned-by"], Value::Null);
    bench.until_no_requests(&collector);
    assert_eq!(agents.reboots(), ["node-0"]);
    let told = bench.events("node-0");
    for expected in ["RebootCordon", "RebootDrain", "RebootGranted", "RebootBooted", "RebootDone"] {
        assert!(told.iter().any(|it| it == expected), "{expected}: {told:?}");
    }
    // The other nodes were not touched, by the API server's own record.
    let touched = bench.writes("nodes", "patch");
    assert!(touched.iter().all(|it| it == "node-0"), "{touched:?}");
    let evicted = bench.writes("pods/eviction", "create");
    assert!(evicted.iter().all(|it| it.starts_with("web-")), "{evicted:?}");
}

#[test]
fn scenario_02_a_budget_of_one_is_never_exceeded_and_all_nodes_reboot() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", HURRIED);
    let agents = bench.live(&collector);
    for node in ["node-0", "node-1", "node-2"] {
        agents.need_reboot(node);
    }
    wait::until("all nodes have rebooted", WITHIN, || {
        let away = ["node-0", "node-1", "node-2"].map(|it| bench.is_unschedulable(it));
        assert!(away.iter().filter(|it| **it).count() <= 1, "{}", bench.summary(&collector));
        if agents.reboots().len() == 3 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_no_requests(&collector);
    let mut rebooted = agents.reboots();
    rebooted.sort();
    assert_eq!(rebooted, ["node-0", "node-1", "node-2"], "each exactly once");
}

#[test]
fn scenario_12_a_node_that_a_person_cordoned_is_skipped_until_it_is_uncordoned() {
    let bench = Bench::start(2);
    // The cordoned node counts as away, so there must be room for another one.
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 2}");
    let policy = format!("{policy}  maxUnavailable: 2\n");
    let collector = bench.collector("one", &policy);
    bench.set_unschedulable("node-0", true);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    agents.need_reboot("node-1");
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    assert!(bench.is_unschedulable("node-0"), "the cordon of a person stays");
    bench.set_unschedulable("node-0", false);
    bench.until_rebooted(&collector, &agents, &["node-1", "node-0"]);
}

#[test]
fn scenario_33_a_reason_that_persists_is_quarantined_after_exactly_one_reboot() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    let agents = bench.live(&collector);
    agents.conduct("node-0", Conduct::KeepsReason);
    agents.need_reboot("node-0");
    bench.until_state(&collector, "node-0", "Quarantined");
    // The place stays taken and the cordon stays; neither goes on, not even under a new leader.
    agents.need_reboot("node-1");
    collector.process.kill();
    let collector = bench.collector("two", HURRIED);
    agents.talk_to(bench.cluster.server(collector.address));
    let looks = bench.writes("leases", "update").len() + 8;
    wait::until("the new leader looks around", WITHIN, || {
        let renewals = bench.writes("leases", "update").len();
        if renewals >= looks { Ok(()) } else { Err(renewals) }
    });
    assert_eq!(bench.state("node-0").as_deref(), Some("Quarantined"));
    assert!(bench.is_unschedulable("node-0"));
    assert_eq!(agents.reboots(), ["node-0"], "{}", bench.summary(&collector));
}

#[test]
fn scenario_24_a_collector_that_is_killed_again_and_again_loses_nothing() {
    let bench = Bench::start(4);
    bench.set_unschedulable("node-3", true);
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 2}");
    let policy = format!("{policy}  maxUnavailable: 2\n");
    let mut collector = Some(bench.collector("one", &policy));
    bench.web(2);
    let agents = bench.live(collector.as_ref().expect("a collector"));
    for node in ["node-0", "node-1", "node-2", "node-3"] {
        agents.need_reboot(node);
    }
    let mut killed_in = std::collections::BTreeSet::new();
    let mut kills = 0;
    wait::until("three nodes have rebooted", WITHIN * 4, || {
        // At each state that was not killed in before; the last ones pass.
        let states: Vec<_> =
            bench.requests().iter().map(|it| it["status"]["state"].clone()).collect();
        let news = states.iter().filter_map(Value::as_str).find(|it| !killed_in.contains(*it));
        if let Some(state) = news {
            killed_in.insert(state.to_owned());
            kills += 1;
            let killed = collector.take().expect("a collector");
            let (next, server) = bench.restart(killed, &policy);
            agents.talk_to(server);
            collector = Some(next);
        }
        if agents.reboots().len() >= 3 && bench.requests().is_empty() {
            Ok(())
        } else {
            Err(collector.as_ref().map(|it| bench.summary(it)))
        }
    });
    println!("{kills} kills, in {killed_in:?}");
    let mut rebooted = agents.reboots();
    rebooted.sort();
    assert_eq!(rebooted, ["node-0", "node-1", "node-2"], "each exactly once");
    let cordoned: Vec<_> = bench.nodes.iter().filter(|it| bench.is_unschedulable(it)).collect();
    assert_eq!(cordoned, ["node-3"], "no uncordon is lost, and the cordon of a person stays");
}
