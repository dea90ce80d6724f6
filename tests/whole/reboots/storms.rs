//! An API server that is away, or refuses, or does what it was asked and does not say so.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Injected;
use palisade_tests::cluster::proxy::Proxy;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::wait;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::life::Conduct;

const REQUESTS: &str = "/apis/palisade.dev/v1alpha1/rebootrequests";

/// How long the API server is away: longer than the Lease, and than the deadlines of the claim, the
/// roll-back and the uncordon, which have some seconds here and minutes by default.
const AWAY: Duration = Duration::from_secs(15);

/// A policy whose deadlines for what the collector does itself are shorter than the API is away.
fn short_deadlines() -> String {
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 10}");
    let policy = policy.replace(
        "deadlines: {verify: 10s}",
        "deadlines: {claim: 10s, uncordon: 10s, rollBack: 10s}\n  \
         backoff: {first: 1s, longest: 1s}\n  maxUnavailable: 10\n  \
         failureBudget: {failures: 9, within: 1d}",
    );
    format!("{policy}  drain: {{protected: [{{matchLabels: {{app: web}}}}]}}\n")
}

/// A node whose writes come to nothing, as long as this rule is in force.
fn shut(proxy: &Proxy, node: &str) -> Injected {
    proxy.inject(Rule::new("PATCH", &format!("/api/v1/nodes/{node}"), Fault::Status(500)))
}

#[test]
fn scenario_30_an_api_server_that_is_away_finds_each_state_as_it_left_it() {
    let bench = Bench::start(10);
    bench.web(2);
    let proxy = bench.cluster.proxy();
    let policy = short_deadlines();
    let collector = bench.collector_through(&proxy, "one", &policy);
    let agents = bench.live(&collector);
    let [drained, undone] = <[String; 2]>::try_from(bench.nodes_of("web")).expect("two nodes");
    let others: Vec<_> =
        bench.nodes.iter().filter(|it| **it != drained && **it != undone).cloned().collect();
    let [claimed, cordoned, granted, rebooting, booted, verified, opened, bad] =
        <[String; 8]>::try_from(others).expect("eight nodes");

    // One node in each state, kept there by what it does or by writes that fail.
    let held = [
        (&drained, None, "Draining"),
        (&undone, None, "Draining"),
        (&granted, Some(Conduct::Ignores), "Granted"),
        (&rebooting, Some(Conduct::Vanishes), "Rebooting"),
        (&booted, Some(Conduct::DeadKubelet), "Booted"),
        (&verified, Some(Conduct::MuteKubelet), "Verifying"),
        (&opened, Some(Conduct::Vanishes), "Rebooting"),
        (&bad, Some(Conduct::Fails), "Quarantined"),
    ];
    for (node, conduct, _) in &held {
        conduct.iter().for_each(|it| agents.conduct(node, *it));
        agents.need_reboot(node);
    }
    for (node, _, state) in &held {
        bench.until_state(&collector, node, state);
    }
    for node in [&undone, &opened, &cordoned] {
        shut(&proxy, node);
    }
    agents.need_no_reboot(&undone);
    agents.conduct(&opened, Conduct::Reboots);
    agents.need_reboot(&cordoned);
    bench.until_state(&collector, &undone, "RollingBack");
    bench.until_state(&collector, &opened, "Uncordoning");
    bench.until_state(&collector, &cordoned, "Cordoning");
    // A claim that nobody can count stays one.
    let uncounted = proxy.inject(Rule::new("GET", REQUESTS, Fault::Status(500)));
    agents.need_reboot(&claimed);
    bench.until_state(&collector, &claimed, "Claimed");

    let states = || -> BTreeMap<String, Option<String>> {
        bench.nodes.iter().map(|it| (it.clone(), bench.state(it))).collect()
    };
    let cordons = || bench.nodes.iter().map(|it| bench.is_unschedulable(it)).collect::<Vec<_>>();
    let grants = || bench.nodes.iter().map(|it| agents.grants(it)).collect::<Vec<_>>();
    proxy.partition();
    let (before, cordoned_before) = (states(), cordons());
    let in_states: BTreeSet<_> = before.values().flatten().map(String::as_str).collect();
    let all = [
        "Booted",
        "Claimed",
        "Cordoning",
        "Draining",
        "Granted",
        "Quarantined",
        "Rebooting",
        "RollingBack",
        "Uncordoning",
        "Verifying",
    ];
    assert_eq!(in_states, BTreeSet::from(all), "{before:?}");
    let since = Instant::now();
    wait::until("it leads no more", WITHIN, || {
        let log = collector.process.log();
        let has_lost = log.iter().any(|it| it.contains("this collector acts on nothing"));
        if has_lost { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    let handed_out = grants();
    wait::until("time passes", WITHIN, || {
        if since.elapsed() >= AWAY { Ok(()) } else { Err(since.elapsed()) }
    });
    assert_eq!((states(), cordons()), (before, cordoned_before), "nobody else may");
    assert_eq!(grants(), handed_out, "no grant without the API");

    // It is back, and every write passes.
    proxy.remove(uncounted);
    proxy.clear();
    proxy.heal();
    assert_eq!(bench.cluster.leading(&[&collector]), collector.address, "the same process");
    bench.cluster.kubectl(&["delete", "deployment", "web"]);
    agents.conduct(&granted, Conduct::Reboots);
    agents.conduct(&rebooting, Conduct::Reboots);
    agents.revive_kubelet(&booted);
    agents.revive_kubelet(&verified);
    let expected = {
        let mut all =
            [&claimed, &cordoned, &granted, &rebooting, &booted, &verified, &opened, &drained]
                .map(String::clone);
        all.sort();
        all
    };
    wait::until("all but two have rebooted, once, and take pods", WITHIN, || {
        let mut rebooted = agents.reboots();
        rebooted.sort();
        let left: Vec<_> =
            bench.nodes.iter().filter(|it| bench.is_unschedulable(it)).cloned().collect();
        if rebooted == expected && left == [bad.clone()] && bench.requests().len() == 1 {
            Ok(())
        } else {
            Err((rebooted, left, bench.summary(&collector)))
        }
    });
    assert_eq!(bench.state(&bad).as_deref(), Some("Quarantined"));
    assert_eq!((agents.grants(&bad), agents.grants(&undone)), (1, 0));
}

/// What the API server does to the writes of one node, again and again.
const STORMS: [Fault; 5] = [
    Fault::Status(500),
    Fault::StatusAfter(504),
    Fault::CutAfter,
    Fault::Status(409),
    Fault::Status(429),
];

#[test]
fn scenario_30_storms_of_refusals_and_lost_answers_are_weathered_with_one_reboot_each() {
    let bench = Bench::start(STORMS.len() + 1);
    bench.web(6);
    let generous = json!({ "spec": { "maxUnavailable": 6 } });
    let budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web";
    bench.cluster.api().must(Call::merge(budget, &generous));
    let proxy = bench.cluster.proxy();
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 5}");
    let policy = policy.replace("{verify: 10s}", "{verify: 10m}");
    let collector =
        bench.collector_through(&proxy, "one", &format!("{policy}  maxUnavailable: 5\n"));
    let agents = bench.live(&collector);
    let stormy = &bench.nodes[..STORMS.len()];
    for node in stormy {
        agents.need_reboot(node);
    }
    // Each record that is written lets the next write of every kind fail, in the way of its node. The
    // creation of requests names no node: it fails in all ways.
    let mut rules: BTreeMap<String, Vec<(&str, Injected)>> = BTreeMap::new();
    for fault in STORMS {
        let rule = Rule::new("POST", REQUESTS, fault).times(1);
        rules.entry("create".to_owned()).or_default().push(("POST", proxy.inject(rule)));
    }
    for (node, fault) in stormy.iter().zip(STORMS) {
        let uid = bench.cluster.get(&format!("/api/v1/nodes/{node}"));
        let uid = uid["metadata"]["uid"].as_str().expect("a UID");
        let path = format!("{REQUESTS}/{uid}*");
        for method in ["PUT", "PATCH", "DELETE"] {
            let rule = Rule::new(method, &path, fault).times(2);
            rules.entry(node.clone()).or_default().push((method, proxy.inject(rule)));
        }
    }
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut evicted = 0;
    let mut evictions = Vec::new();
    wait::until("all have rebooted, once, and take pods", WITHIN * 2, || {
        for request in bench.requests() {
            let version = request["metadata"]["resourceVersion"].to_string();
            let node = request["spec"]["node"]["name"].as_str().expect("a name").to_owned();
            let uid = request["metadata"]["name"].as_str().expect("a name");
            if seen.insert(node.clone(), version.clone()) == Some(version) {
                continue;
            }
            let at = stormy.iter().position(|it| *it == node).expect("one of the five");
            let state = request["status"]["state"].as_str().unwrap_or_default().to_owned();
            let own = format!("{REQUESTS}/{uid}*");
            let object = format!("/api/v1/nodes/{node}");
            for (method, path) in [("PUT", &own), ("DELETE", &own), ("PATCH", &object)] {
                let rule = Rule::new(method, path, STORMS[at]).times(1);
                rules.entry(node.clone()).or_default().push((method, proxy.inject(rule)));
            }
            if state == "Draining" {
                for pod in bench.pods_on(&node, "web") {
                    let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
                    let rule = Rule::new("POST", &path, STORMS[at]).times(2);
                    evictions.push(proxy.inject(rule));
                }
            }
        }
        let mut rebooted = agents.reboots();
        rebooted.sort();
        let is_open = !bench.nodes.iter().any(|it| bench.is_unschedulable(it));
        if rebooted == *stormy && is_open && bench.requests().is_empty() {
            Ok(())
        } else {
            Err((rebooted, bench.summary(&collector)))
        }
    });
    for injected in &evictions {
        evicted += proxy.hits(*injected);
    }
    let hits = |node: &str, method: &str| {
        let of_kind = rules[node].iter().filter(|(it, _)| *it == method);
        of_kind.map(|(_, injected)| proxy.hits(*injected)).sum::<u32>()
    };
    for node in stormy {
        let hits = ["PUT", "PATCH", "DELETE"].map(|it| (it, hits(node, it)));
        println!("{node}: {hits:?}");
        assert!(hits.iter().all(|(_, hits)| *hits > 0), "{node}: {hits:?}");
        assert_eq!(agents.grants(node), 1, "{node}");
    }
    println!("{} creations and {evicted} evictions were hit", hits("create", "POST"));
    assert!(hits("create", "POST") > 0 && evicted > 0);
}
