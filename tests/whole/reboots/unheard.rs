//! Whoever is not heard reboots nothing: agents that are all gone, an API server that is out of reach.

use palisade_tests::wait;

use super::bench::ANEW_WITHIN;
use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Conduct;

/// Heartbeats that must have brought no grant before that is believed.
const ENOUGH: usize = 12;

#[test]
fn scenario_39_without_its_agents_a_fleet_reboots_nothing_whatever_is_under_way() {
    let bench = Bench::start(5);
    let collector = bench.collector("one", &patient(1));
    let viewer = bench.person("viewer", &collector);
    bench.web(1);
    bench.pin("web");
    let draining = bench.nodes_of("web").pop().expect("a node with a pod");
    let waiting = bench.nodes.iter().find(|it| **it != draining).expect("another one").clone();
    let agents = bench.live(&collector);
    agents.need_reboot(&draining);
    bench.until_state(&collector, &draining, "Draining");
    agents.need_reboot(&waiting);
    viewer.until_shut(&waiting, "pool-budget", "");
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Gone);
    }
    // To a collector that has just begun nobody has spoken yet.
    let (collector, server) = bench.restart(collector, &patient(1));
    let viewer = viewer.at(server.clone());
    agents.talk_to(server);
    viewer.until_shut(&waiting, "dead-man", "silent");
    viewer.until_shut(&waiting, "agent-silent", "never heard");
    bench.unpin("web");
    let is_held = |gate: &str| {
        wait::until(&format!("its grant waits: {gate}"), WITHIN, || {
            let found = bench.request(&draining).expect("its request");
            let blockers = found["status"]["blockers"].as_array().cloned().unwrap_or_default();
            let is_drained = found["status"]["drain"]["ended"].is_string();
            let is_held = is_drained && blockers.iter().any(|it| it["gate"] == gate);
            if is_held { Ok(()) } else { Err(format!("{found:#}")) }
        });
    };
    is_held("dead-man");
    // The node itself is heard again, and would act at once; the fleet is not.
    let heard = agents.all_heard();
    agents.conduct(&draining, Conduct::Reboots);
    wait::until("it is heard again and again", WITHIN, || {
        let more = agents.all_heard() - heard;
        if more >= ENOUGH { Ok(()) } else { Err(more) }
    });
    is_held("dead-man");
    assert!(agents.handed().is_empty() && agents.reboots().is_empty());
    assert_eq!(bench.ledger().entered("Granted").len(), 0, "{}", bench.summary(&collector));
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Reboots);
    }
    bench.until_rebooted(&collector, &agents, &[&draining, &waiting]);
}

#[test]
fn scenario_39_without_the_api_server_nobody_is_let_go_and_afterwards_all_goes_on() {
    let bench = Bench::start(2);
    bench.say_policy(&patient(1));
    let proxy = bench.cluster.proxy();
    let collector = bench.another("one", &bench.cluster.collector_kubeconfig_through(&proxy));
    bench.leads(&collector);
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Ignores);
        agents.need_reboot(node);
    }
    wait::until("a node has its permission", WITHIN, || {
        if agents.handed().is_empty() { Err(bench.summary(&collector)) } else { Ok(()) }
    });
    proxy.partition();
    let until_missed = |count: usize| {
        let unheard = agents.unheard();
        wait::until("nobody takes heartbeats", WITHIN, || {
            let missed = agents.unheard() - unheard;
            if missed >= count { Ok(()) } else { Err((missed, collector.process.log())) }
        });
    };
    until_missed(ENOUGH / 2);
    // Whoever is let go from here on would reboot.
    let handed = agents.handed().len();
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Reboots);
    }
    until_missed(ENOUGH / 2);
    assert_eq!(agents.handed().len(), handed);
    assert!(agents.reboots().is_empty());
    proxy.heal();
    wait::until("both have rebooted", ANEW_WITHIN, || {
        let is_over = agents.reboots().len() == 2 && bench.requests().is_empty();
        if is_over { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert_eq!(bench.ledger().most_in_flight(), 1);
    assert_eq!(bench.ledger().entered("Done").values().sum::<usize>(), 2, "each exactly once");
}
