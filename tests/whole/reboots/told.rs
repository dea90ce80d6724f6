//! What is told of a reboot: each transition once, whoever wrote it and whatever became of that one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::process::Collector;
use palisade_tests::wait;

use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Agents;
use super::person::Person;

/// Where what becomes of a request is written.
const STATUS: &str = "/apis/palisade.dev/v1alpha1/rebootrequests/*/status";

/// States whose transitions are Events, too.
const EVENTS: [(&str, &str); 5] = [
    ("Cordoning", "RebootCordon"),
    ("Draining", "RebootDrain"),
    ("Granted", "RebootGranted"),
    ("Booted", "RebootBooted"),
    ("Done", "RebootDone"),
];

/// Lets a node reboot, and `change` the collector in those of these states of its request that are
/// seen.
fn reboot(
    bench: &Bench,
    agents: &Agents,
    node: &str,
    first: Collector,
    states: &[&str],
    mut change: impl FnMut(Collector) -> Collector,
) -> Collector {
    let mut collector = Some(first);
    let mut changed_in = BTreeSet::new();
    agents.need_reboot(node);
    wait::until("it has rebooted", WITHIN * 4, || {
        if let Some(state) = bench.state(node)
            && states.contains(&&*state)
            && changed_in.insert(state)
        {
            let next = change(collector.take().expect("a collector"));
            agents.talk_to(bench.leads(&next));
            collector = Some(next);
        }
        let is_over = agents.reboots().iter().any(|it| it == node) && bench.requests().is_empty();
        if is_over { Ok(()) } else { Err(collector.as_ref().map(|it| bench.summary(it))) }
    });
    println!("{node}: the collector changed in {changed_in:?}");
    collector.expect("a collector")
}

/// How often the audit of a collector says that each node entered each state.
fn add_audit(person: &Person, told: &mut BTreeMap<(String, String), usize>) {
    let audit = person.sees("/v1/audit?kind=reboot&limit=1000");
    for entry in audit["entries"].as_array().expect("entries") {
        let entry = &entry["entry"];
        if let (Some(node), Some(state)) = (entry["node"].as_str(), entry["after"].as_str()) {
            *told.entry((node.to_owned(), state.to_owned())).or_default() += 1;
        }
    }
}

#[test]
fn scenario_46_each_transition_is_told_once_across_restarts_and_leader_changes() {
    let bench = Bench::start(2);
    bench.say_policy(&patient(1));
    let proxy = bench.cluster.proxy();
    let kubeconfig = bench.cluster.collector_kubeconfig_through(&proxy);
    let one = bench.another("one", &kubeconfig);
    bench.leads(&one);
    let operator = bench.person("operator", &one);
    let agents = bench.live(&one);
    // Killed, and started over the same store; what it writes next is written, and it does not hear so.
    let mut lost = Vec::new();
    let each = ["Cordoning", "Draining", "Granted", "Booted", "Verifying", "Done"];
    let one = reboot(&bench, &agents, "node-0", one, &each, |killed| {
        killed.process.kill();
        let rule = Rule::new("*", STATUS, Fault::StatusAfter(504)).times(1);
        lost.push(proxy.inject(rule));
        bench.another("one", &kubeconfig)
    });
    let lost = lost.into_iter().filter(|rule| proxy.hits(*rule) > 0).count();
    let mut told = BTreeMap::new();
    add_audit(&operator.at(bench.cluster.server(one.address)), &mut told);
    let ledger = bench.ledger();
    let mut wanted = BTreeMap::new();
    for turn in ledger.turns.iter().skip(1) {
        *wanted.entry((turn.node.clone(), turn.state.clone())).or_default() += 1;
    }
    println!("{} transitions under restarts, {lost} answers lost", wanted.len());
    assert!(lost > 0);
    assert_eq!(told, wanted, "once in the audit");

    // Ended while another one stands by, whose store is its own.
    let mut names = ["one", "two"].into_iter().cycle();
    let mut next = bench.another("two", &kubeconfig);
    let last = reboot(&bench, &agents, "node-1", one, &each, |ended| {
        assert_eq!(ended.process.terminate(), Some(0));
        bench.leads(&next);
        let name = names.next().expect("a cycle");
        std::mem::replace(&mut next, bench.another(name, &kubeconfig))
    });
    let mut told = BTreeMap::new();
    add_audit(&operator.at(bench.cluster.server(last.address)), &mut told);
    assert_eq!(last.process.terminate(), Some(0));
    let server = bench.leads(&next);
    add_audit(&operator.at(server), &mut told);
    let ledger = bench.ledger();
    for (state, reason) in EVENTS {
        for (node, entered) in ledger.entered(state) {
            let told_of = bench.events(node).iter().filter(|it| *it == reason).count();
            assert_eq!(told_of, entered, "{reason} of {node}");
        }
        assert_eq!(ledger.entered(state).len(), 2, "{state}: {:#?}", ledger.turns);
    }
    let of_last: Vec<_> = ledger.turns.iter().filter(|it| it.node == "node-1").skip(1).collect();
    for turn in &of_last {
        let entered = ledger.entered(&turn.state)[&*turn.node];
        let told_of = told.get(&(turn.node.clone(), turn.state.clone())).copied().unwrap_or(0);
        assert!(told_of <= entered, "{turn:?} is {told_of} times in the audits");
    }
    let told_of = told.iter().filter(|((node, _), _)| node == "node-1").count();
    println!("{told_of} of {} transitions under other leaders are in their audits", of_last.len());
}
