//! More than one collector: stopped, cut off and continued while reboots are under way.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use palisade_tests::process::Collector;
use palisade_tests::wait;

use super::bench::ANEW_WITHIN;
use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Agents;
use super::life::Conduct;

/// Heartbeats that must have come to nothing before that is believed.
const ENOUGH: usize = 12;

fn signal(collector: &Collector, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(collector.process.pid()).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("signal a collector");
}

/// Waits until so many nodes are Granted, all of which have a grant in hand.
fn until_granted(
    bench: &Bench,
    collector: &Collector,
    agents: &Agents,
    count: usize,
) -> Vec<String> {
    let handed = agents.handed().len();
    wait::until(&format!("{count} nodes are granted"), ANEW_WITHIN, || {
        let granted = bench.in_state("Granted");
        let news = agents.handed().split_off(handed);
        let has_one = |node: &String| news.iter().any(|(to, _)| to == node);
        if granted.len() == count && granted.iter().all(has_one) {
            Ok(granted)
        } else {
            Err(bench.summary(collector))
        }
    })
}

/// Waits until a collector has taken no heartbeat for a while; no node got a grant from it.
fn until_nobody_listens(agents: &Agents, collector: &Collector) {
    let until_missed = |count: usize| {
        let unheard = agents.unheard();
        wait::until("nobody takes heartbeats", WITHIN, || {
            let missed = agents.unheard() - unheard;
            if missed >= count { Ok(()) } else { Err((missed, collector.process.log())) }
        });
    };
    // One heartbeat may have been under way to the collector before.
    until_missed(2);
    let handed = agents.handed().len();
    until_missed(ENOUGH);
    assert_eq!(agents.handed().len(), handed, "a grant from one that does not lead");
}

#[test]
fn scenario_37_leaders_that_are_stopped_or_cut_off_never_exceed_the_budget_together() {
    let bench = Bench::start(4);
    let policy = patient(2);
    let one = bench.collector("one", &policy);
    let proxy = bench.cluster.proxy();
    let two = bench.another("two", &bench.cluster.collector_kubeconfig_through(&proxy));
    let agents = bench.live(&one);
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Ignores);
        agents.need_reboot(node);
    }
    let first = until_granted(&bench, &one, &agents, 2);

    // Stopped for longer than its Lease; the other one goes on where it was, and continued it does
    // nothing.
    signal(&one, Signal::SIGSTOP);
    let server = bench.leads(&two);
    agents.talk_to(server);
    let still = until_granted(&bench, &two, &agents, 2);
    assert_eq!(still, first, "a new leader goes on with what is under way");
    agents.conduct(&first[0], Conduct::Reboots);
    wait::until("it has rebooted under the second leader", ANEW_WITHIN, || {
        if agents.reboots() == first[..1] { Ok(()) } else { Err(bench.summary(&two)) }
    });
    signal(&one, Signal::SIGCONT);
    agents.talk_to(bench.cluster.server(one.address));
    until_nobody_listens(&agents, &one);
    agents.talk_to(bench.cluster.server(two.address));
    let second = until_granted(&bench, &two, &agents, 2);
    assert!(second.contains(&first[1]), "{second:?} after {first:?}");

    // Cut off from the API server: it stops, and the first one goes on.
    proxy.partition();
    let server = bench.leads(&one);
    until_nobody_listens(&agents, &two);
    agents.talk_to(server);
    until_granted(&bench, &one, &agents, 2);
    proxy.heal();
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Reboots);
    }
    wait::until("all have rebooted", ANEW_WITHIN, || {
        let is_over = agents.reboots().len() == 4 && bench.requests().is_empty();
        if is_over { Ok(()) } else { Err(bench.summary(&one)) }
    });
    let mut rebooted = agents.reboots();
    rebooted.sort();
    assert_eq!(rebooted, bench.nodes, "each exactly once");

    // By the record of the API server and by the grants themselves, over the whole run.
    let ledger = bench.ledger();
    let epochs: Vec<u64> = agents.handed().iter().map(|(_, grant)| grant.epoch).collect();
    assert!(epochs.is_sorted(), "a grant of an earlier epoch: {epochs:?}");
    assert!(ledger.epochs.is_sorted(), "a change of an earlier epoch: {:?}", ledger.epochs);
    let distinct = |epochs: &[u64]| epochs.chunk_by(u64::eq).count();
    assert!(distinct(&epochs) >= 3 && distinct(&ledger.epochs) >= 3, "{:?}", ledger.epochs);
    assert_eq!((ledger.most_in_flight(), ledger.most_cordoned), (2, 2), "{:#?}", ledger.turns);
    println!(
        "{} grants in {} epochs, {} changes, at most {} in flight",
        epochs.len(),
        distinct(&epochs),
        ledger.epochs.len(),
        ledger.most_in_flight()
    );
}
