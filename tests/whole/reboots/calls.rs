//! What one reboot costs the API server, by its own record, compared with the least that the laws allow:
//! each record is written before what follows from it, each change of the node takes the version that
//! was read, and what a decision stands on is read from the quorum in the same look.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::life::Conduct;

/// Renewals of the Lease, one each 0.8 s, for which the node is away.
const AWAY: usize = 25;

/// Requests in that time: one look at the quorum in half a minute, its record and its Event if it has
/// just begun.
const AWAY_MOST: usize = 5;

/// What is asked for whether or not anything reboots: the Lease of the collector, watches, who its
/// agents are, its own certificates, conditions of nodes.
fn is_standing(event: &Value) -> bool {
    let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
    let is_lease = resource == "leases" && event["objectRef"]["namespace"] == "palisade-system";
    let is_condition = event["objectRef"]["subresource"] == "status" && resource == "nodes";
    let is_own =
        matches!(resource, "tokenreviews" | "subjectaccessreviews" | "secrets" | "configmaps");
    is_lease || is_condition || is_own || event["verb"] == "watch"
}

/// What lies around all nodes, and is read every five seconds whether or not anything reboots.
const AROUND: [&str; 3] = ["list poddisruptionbudgets", "list daemonsets", "list pods of etcd"];

/// The least for one node, without and for each pod that is evicted from it, and what it is for.
const LEAST: [(&str, usize, usize, &str); 15] = [
    ("create rebootrequests", 1, 0, "what holds all that follows"),
    (
        "update rebootrequests/status",
        12,
        0,
        "Claimed, Cordoning, Draining, drain begun, drain ended, Granted, Rebooting, Booted, Verifying, \
         proofs, Uncordoning, Done: each is on record before anything follows from it",
    ),
    ("list rebootrequests", 1, 0, "the count after the claim"),
    (
        "get nodes",
        10,
        0,
        "one for each decision about the node: to cordon, to drain, that it is empty, that it may \
         reboot, that it does, that it booted, that it is as it should be, that it is done; and the \
         versions that cordon and uncordon compare",
    ),
    ("patch nodes", 2, 0, "cordon and uncordon"),
    ("list pods", 4, 0, "before the claim, after the cordon, that none is left, at the permission"),
    ("list poddisruptionbudgets", 1, 0, "before the claim"),
    ("list daemonsets", 1, 0, "before the claim: which pods may stay"),
    ("list pods of etcd", 1, 0, "before the claim: whether a member votes there"),
    ("create pods/eviction dry", 0, 2, "before the claim, and after the cordon"),
    ("create pods/eviction", 0, 1, "the drain"),
    ("create events", 5, 0, "cordon, drain, permission, boot, end"),
    ("delete rebootrequests", 1, 0, "the end"),
    ("get rebootrequests", 1, 0, "which version is freed of what kept it"),
    ("patch rebootrequests", 1, 0, "it is freed"),
];

/// The least for one node from which so many pods are evicted.
fn least(pods: usize) -> BTreeMap<&'static str, usize> {
    LEAST.into_iter().map(|(what, once, each, _)| (what, once + each * pods)).collect()
}

/// Looks while pods leave and while a permission is out: pods and node every two seconds. They come
/// with the time that others take.
fn waiting(time: Duration) -> usize {
    2 * (usize::try_from(time.as_secs()).expect("a time") + 1).div_ceil(2)
}

/// Rounds of what lies around in this time; one more begins anew, and one is under way.
fn rounds(time: Duration) -> usize {
    usize::try_from(time.as_secs()).expect("a time") / 5 + 2
}

/// The collector's requests since the event of this number, by what they ask for.
fn calls(bench: &Bench, from: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in bench.cluster.audit_log().iter().skip(from) {
        if event["user"]["username"] != COLLECTOR || is_standing(event) {
            continue;
        }
        let object = &event["objectRef"];
        let mut what = format!("{} {}", text(&event["verb"]), text(&object["resource"]));
        if let Some(sub) = object["subresource"].as_str() {
            what = format!("{what}/{sub}");
        }
        let uri = text(&event["requestURI"]);
        if uri.contains("dryRun") {
            what.push_str(" dry");
        }
        if uri.contains("component%3Detcd") {
            what.push_str(" of etcd");
        }
        *counts.entry(what).or_default() += 1;
    }
    counts
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_reboot_costs_the_api_server_hardly_more_than_it_must() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    bench.web(2);
    let node = bench.nodes_of("web")[0].clone();
    let agents = bench.live(&collector);
    wait::until("the agents are heard", WITHIN, || {
        let log = collector.process.log();
        if log.iter().any(|it| it.contains("another plan is followed")) { Ok(()) } else { Err(log) }
    });
    let pods = bench.pods_on(&node, "web").len();
    let from = bench.cluster.audit_log().len();
    agents.conduct(&node, Conduct::Vanishes);
    let began = Instant::now();
    agents.need_reboot(&node);
    bench.until_state(&collector, &node, "Rebooting");
    let before = began.elapsed();
    let until_away = without_rounds(calls(&bench, from));
    let until = bench.writes("leases", "update").len() + AWAY;
    wait::until("the node is away for a while", WITHIN, || {
        let renewals = bench.writes("leases", "update").len();
        if renewals >= until { Ok(()) } else { Err(renewals) }
    });
    // A node that is away costs next to nothing, however long it is.
    let away = without_rounds(calls(&bench, from)) - until_away;
    assert!(away <= AWAY_MOST, "{away} requests while it was away: {:?}", calls(&bench, from));
    agents.conduct(&node, Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &[&node]);
    bench.until_no_requests(&collector);
    let (time, calls) = (began.elapsed(), calls(&bench, from));
    let least = least(pods);
    // Rounds beyond the one that a claim asks for are made whether or not anything reboots.
    let around = AROUND.map(|what| calls.get(what).copied().unwrap_or_default());
    let is = without_rounds(calls.clone()) - away + AROUND.len();
    let must: usize = least.values().sum();
    let ratio = is as f64 / must as f64;
    println!(
        "{is} requests, at least {must}: {ratio:.2}; {away} while it was away, {around:?} rounds in \
         {} s; {pods} pods, {} s until it rebooted: {calls:?}",
        time.as_secs(),
        before.as_secs(),
    );
    let most = must * 13 / 10 + waiting(before);
    assert!(is <= most, "{is} of at most {most}, at least {must}: {calls:#?}");
    assert!(around.iter().all(|it| (1..=rounds(time) + 1).contains(it)), "{around:?}: {calls:#?}");
    for what in ["create rebootrequests", "patch nodes", "create pods/eviction"] {
        assert_eq!(calls[what], least[what], "{what}: {calls:#?}");
    }
}

/// The sum of what is counted, without what lies around.
fn without_rounds(calls: BTreeMap<String, usize>) -> usize {
    calls.into_iter().filter(|(what, _)| !AROUND.contains(&what.as_str())).map(|it| it.1).sum()
}
