//! What a policy allows and takes back while reboots are under way: budgets, modes, pauses, freezes.

use hyper::Method;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::ANEW_WITHIN;
use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Conduct;
use super::person::Person;

#[test]
fn scenario_38_a_budget_that_is_raised_and_lowered_stops_nobody_and_starts_nobody() {
    let bench = Bench::start(4);
    let collector = bench.collector("one", &patient(1));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.conduct(node, Conduct::Ignores);
        agents.need_reboot(node);
    }
    let until_granted = |count: usize| {
        wait::until(&format!("{count} nodes are granted"), WITHIN, || {
            let granted = bench.in_state("Granted");
            if granted.len() == count { Ok(granted) } else { Err(bench.summary(&collector)) }
        })
    };
    let waiting = |granted: &[String]| -> Vec<String> {
        bench.nodes.iter().filter(|it| !granted.contains(it)).cloned().collect()
    };
    let first = until_granted(1);
    for node in waiting(&first) {
        viewer.until_shut(&node, "pool-budget", "");
    }
    assert_eq!(bench.ledger().most_in_flight(), 1);

    viewer.edits(&bench, &patient(3));
    let three = until_granted(3);
    let last = waiting(&three).pop().expect("a node that waits");
    viewer.until_shut(&last, "pool-budget", "3");

    // Lowered: those three go on, one after another, and only then the last one begins.
    viewer.edits(&bench, &patient(1));
    viewer.until_looked();
    assert_eq!(bench.in_state("Granted"), three, "nobody is called back");
    for node in &three {
        assert!(viewer.shut(&last).contains_key("pool-budget"));
        agents.conduct(node, Conduct::Reboots);
        wait::until("it has rebooted and takes pods", ANEW_WITHIN, || {
            let is_done = bench.state(node).is_none() && !bench.is_unschedulable(node);
            let is_done = is_done && agents.reboots().contains(node);
            if is_done { Ok(()) } else { Err(bench.summary(&collector)) }
        });
    }
    agents.conduct(&last, Conduct::Reboots);
    let order: Vec<&str> = three.iter().chain([&last]).map(String::as_str).collect();
    bench.until_rebooted(&collector, &agents, &order);
    bench.until_no_requests(&collector);
    let ledger = bench.ledger();
    assert_eq!(ledger.most_in_flight(), 3);
    let begins = ledger.turns.iter().find(|it| it.node == last && it.state == "Claimed");
    let begins = begins.expect("the last one was claimed");
    assert!(begins.in_flight.is_empty(), "it began beside others: {begins:?}");
    assert_eq!(ledger.entered("RollingBack").len(), 0, "{:#?}", ledger.turns);
}

#[test]
fn scenario_44_dry_runs_change_nothing_cordons_may_be_all_and_who_cancels_has_the_node_back() {
    let bench = Bench::start(2);
    let plan = patient(1).replace("mode: auto", "mode: plan");
    let collector = bench.collector("one", &plan);
    let operator = bench.person("operator", &collector);
    bench.web(1);
    let with_pod = bench.nodes_of("web").pop().expect("a node with a pod");
    let free = bench.nodes.iter().find(|it| **it != with_pod).expect("a node without").clone();
    let agents = bench.live(&collector);
    agents.need_reboot(&free);
    operator.until_shut(&free, "mode", "plan");
    operator.until_looked();
    let seen = operator.sees("/v1/plan");
    assert_eq!(seen["order"], json!([free]), "{seen:#}");
    assert_eq!(bench.touched(), <[String; 0]>::default(), "nothing is touched");

    // The same facts under a policy that acts, and only cordons: whoever runs there stays.
    let stays = bench.place("stays", &free, &json!({ "metadata": { "annotations": null } }));
    operator.edits(&bench, &format!("{}  drain: {{cordonOnly: true}}\n", patient(1)));
    bench.until_rebooted(&collector, &agents, &[&free]);
    bench.until_no_requests(&collector);
    assert!(!bench.touched().is_empty());
    assert_eq!(bench.ledger().entered("Draining").get(&*free), Some(&1), "cordoned first");
    assert_eq!(bench.evictions().len(), 0);
    assert_eq!(bench.pod(&stays)["metadata"]["deletionTimestamp"], Value::Null);
    operator.edits(&bench, &patient(1));

    // A drain that does not end is called off: the node is as it was, and stays so.
    bench.pin("web");
    let pods = bench.pods_of("web");
    let wish = json!({ "node": with_pod, "note": "new firmware" });
    let asked = operator.says(Method::POST, "/v1/reboots", &wish);
    assert_eq!(asked.status, 200, "{}", asked.text());
    wait::until("its pod is on its way out", WITHIN, || {
        let is_leaving = bench.pods_of("web").is_disjoint(&pods);
        if is_leaving { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert_eq!(bench.state(&with_pod).as_deref(), Some("Draining"));
    assert!(bench.is_unschedulable(&with_pod));
    let path = format!("/v1/reboots/{with_pod}");
    let off = operator.says(Method::DELETE, &path, &Value::Null);
    assert_eq!(off.status, 200, "{}", off.text());
    bench.until_no_requests(&collector);
    operator.until_looked();
    let node = bench.cluster.get(&format!("/api/v1/nodes/{with_pod}"));
    assert_eq!(node["spec"]["unschedulable"], Value::Null, "{node}");
    assert_eq!(node["metadata"]["annotations"]["palisade.dev/cordoned-by"], Value::Null);
    assert_eq!(agents.reboots(), [free]);
    let ledger = bench.ledger();
    let ends: Vec<_> = ledger.turns.iter().filter(|it| it.node == with_pod).collect();
    assert_eq!(ends.last().map(|it| &*it.state), Some("Cancelled"), "{ends:#?}");
    assert!(!ends.iter().any(|it| it.state == "Granted"), "{ends:#?}");
}

#[test]
fn scenario_45_pauses_and_freezes_hold_and_a_release_lets_a_quarantined_node_and_its_pool_go() {
    let bench = Bench::start(2);
    // A reason that is still there fails its node at the end of this.
    let policy = patient(1).replace("verify: 10m", "verify: 20s");
    let paused = policy.replace("mode: auto", "mode: auto\n  paused: new disks");
    let collector = bench.collector("one", &paused);
    let [viewer, approver] = ["viewer", "approver"].map(|role| bench.person(role, &collector));
    let agents = bench.live(&collector);
    agents.conduct("node-0", Conduct::KeepsReason);
    agents.need_reboot("node-0");
    viewer.until_shut("node-0", "paused", "new disks");
    let whole = policy.replace("cluster: {", "cluster: {paused: nobody is there, ");
    viewer.edits(&bench, &whole);
    viewer.until_shut("node-0", "paused", "nobody is there");
    let freeze = "freezes: [{from: 2020-01-01, to: 2100-01-01, zone: UTC, reason: a sale}]";
    let frozen = policy.replace("mode: auto", &format!("mode: auto\n  {freeze}"));
    viewer.edits(&bench, &frozen);
    viewer.until_shut("node-0", "freeze", "a sale");
    bench.lose_policy();
    viewer.until_shut("node-0", "policy", "is gone");
    viewer.until_looked();
    assert_eq!(bench.touched(), <[String; 0]>::default(), "nothing is touched");

    viewer.edits(&bench, &policy);
    bench.until_state(&collector, "node-0", "Quarantined");
    agents.need_reboot("node-1");
    viewer.until_shut("node-1", "failure-budget", "");
    let (collector, server) = bench.restart(collector, &policy);
    let [viewer, approver] = [viewer, approver].map(|it| it.at(server.clone()));
    agents.talk_to(server);
    viewer.until_shut("node-1", "failure-budget", "POST /v1/pools/all/release");
    viewer.until_looked();
    assert_eq!(bench.state("node-0").as_deref(), Some("Quarantined"), "a restart forgives nothing");
    assert!(bench.is_unschedulable("node-0"));

    // The pool may go on without the node, which keeps its place.
    let release = |who: &Person, pool: &str| {
        let answer = who.says(Method::POST, &format!("/v1/pools/{pool}/release"), &Value::Null);
        (answer.status.as_u16(), answer.json())
    };
    assert_eq!(release(&viewer, "all").0, 403);
    let (status, unknown) = release(&approver, "web");
    assert_eq!(status, 404);
    assert!(unknown.to_string().contains("all, default"), "{unknown}");
    let answer = json!({ "pool": "all", "released": ["node-0"] });
    assert_eq!(release(&approver, "all"), (200, answer));
    viewer.until_open("node-1", "failure-budget");
    assert_eq!(release(&approver, "all"), (200, json!({ "pool": "all", "released": [] })));
    viewer.until_shut("node-1", "pool-budget", "");
    let (collector, server) = bench.restart(collector, &policy);
    let [viewer, approver] = [viewer, approver].map(|it| it.at(server.clone()));
    agents.talk_to(server);
    viewer.until_shut("node-1", "pool-budget", "");
    viewer.until_open("node-1", "failure-budget");
    assert_eq!(bench.state("node-0").as_deref(), Some("Quarantined"));

    let path = "/v1/reboots/node-0/release";
    let released = approver.says(Method::POST, path, &Value::Null);
    assert_eq!(released.status, 200, "{}", released.text());
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1"]);
    bench.until_no_requests(&collector);
    viewer.until_shut("node-0", "already-rebooted", "");
    assert_eq!(agents.reboots(), ["node-0", "node-1"], "each exactly once");
}
