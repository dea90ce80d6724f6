//! Collectors that end and start anew while nodes are in flight.

use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::wait;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;

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
