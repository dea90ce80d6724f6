//! Nodes that do not come back, come back late or wrong, or are somebody else by then.

use palisade_tests::cluster::api::Call;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::bench::for_many;
use super::life::Conduct;

fn alerts(bench: &Bench, node: &str) -> Vec<String> {
    let alerts = bench.status(node)["alerts"].as_array().cloned().unwrap_or_default();
    alerts.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

fn until_alert(bench: &Bench, collector: &Collector, node: &str, alert: &str) {
    wait::until(&format!("{node} raises {alert}"), WITHIN, || {
        if alerts(bench, node).iter().any(|it| it == alert) {
            Ok(())
        } else {
            Err((alerts(bench, node), bench.summary(collector)))
        }
    });
}

/// A collector takes a node for lost only after it has listened for two minutes itself: this takes as
/// long.
#[test]
fn scenario_27_a_node_that_does_not_return_keeps_its_place_and_is_welcome_late() {
    let bench = Bench::start(2);
    let policy = HURRIED.replace(
        "deadlines: {verify: 10s}",
        "deadlines: {verify: 10s, rebootWithoutHistory: 20s, rebootLeast: 20s}\n  \
         failureBudget: {failures: 9, within: 1d}",
    );
    let collector = bench.collector("one", &policy);
    let agents = bench.live(&collector);
    agents.conduct("node-0", Conduct::Vanishes);
    agents.need_reboot("node-0");
    bench.until_state(&collector, "node-0", "Rebooting");
    let deadline = bench.status("node-0")["deadline"].clone();
    assert!(deadline.is_string(), "{deadline}");
    agents.need_reboot("node-1");

    // The deadline is that of the record, whoever reads it.
    let (collector, server) = bench.restart(collector, &policy);
    agents.talk_to(server);
    bench.until_looked(&collector, 2);
    let status = bench.status("node-0");
    assert_eq!((&status["state"], &status["deadline"]), (&json!("Rebooting"), &deadline));
    until_alert(&bench, &collector, "node-0", "NodeNotReturned");
    bench.until_state(&collector, "node-0", "NotReturned");
    assert_eq!(bench.told(&collector, "node-0"), ["NotReturned"]);
    // Its place stays taken, its cordon too, also under yet another collector.
    let (collector, server) = bench.restart(collector, &policy);
    agents.talk_to(server);
    bench.until_looked(&collector, 3);
    assert_eq!(bench.state("node-0").as_deref(), Some("NotReturned"));
    assert!(bench.is_unschedulable("node-0"));
    assert_eq!(agents.grants("node-1"), 0);
    assert!(!bench.is_unschedulable("node-1"), "the place is not free");
    assert_eq!(alerts(&bench, "node-0"), ["NodeNotReturned"]);

    // It comes after all: verified and given back as usual, and only then the next one goes.
    agents.conduct("node-0", Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1"]);
    bench.until_no_requests(&collector);
    let went = bench.told(&collector, "node-0");
    assert_eq!(went, ["Booted", "Verifying", "Uncordoning", "Done"]);
    assert_eq!(agents.grants("node-0"), 1);
}

#[test]
fn scenario_28_a_node_that_is_deleted_in_flight_frees_its_place() {
    let bench = Bench::start(4);
    // The pod is waited for, so the drain lasts until the node is gone. Two nodes stay: one alone would
    // have no place for its pods.
    let policy = format!("{HURRIED}  drain: {{protected: [{{matchLabels: {{app: web}}}}]}}\n");
    let collector = bench.collector("one", &policy);
    bench.web(1);
    let [drained] = <[String; 1]>::try_from(bench.nodes_of("web")).expect("one node");
    let others: Vec<_> = bench.nodes.iter().filter(|it| **it != drained).cloned().collect();
    let [rebooting, last, _] = <[String; 3]>::try_from(others).expect("three nodes");
    let agents = bench.live(&collector);
    agents.need_reboot(&drained);
    bench.until_state(&collector, &drained, "Draining");
    agents.conduct(&rebooting, Conduct::Vanishes);
    agents.need_reboot(&rebooting);

    // While it drains. Its pod would come to another node, and be waited for there.
    agents.conduct(&drained, Conduct::Gone);
    bench.cluster.api().must(Call::delete(format!("/api/v1/nodes/{drained}")));
    bench.cluster.kubectl(&["delete", "deployment", "web"]);
    bench.until_state(&collector, &rebooting, "Rebooting");
    assert_eq!(bench.status(&drained), Value::Null);
    assert_eq!(bench.told(&collector, &drained).last().map(String::as_str), Some("NodeGone"));

    // While it reboots.
    agents.need_reboot(&last);
    bench.until_looked(&collector, 2);
    assert_eq!(bench.state(&rebooting).as_deref(), Some("Rebooting"));
    assert!(!bench.is_unschedulable(&last), "the place is taken");
    agents.conduct(&rebooting, Conduct::Gone);
    bench.cluster.api().must(Call::delete(format!("/api/v1/nodes/{rebooting}")));
    bench.until_rebooted(&collector, &agents, &[&last]);
    bench.until_no_requests(&collector);
    assert_eq!(bench.told(&collector, &rebooting).last().map(String::as_str), Some("NodeGone"));
    assert_eq!(bench.writes("pods/eviction", "create"), <[String; 0]>::default());
}

#[test]
fn scenario_29_a_request_never_applies_to_a_node_that_took_the_name() {
    let bench = Bench::start(3);
    let policy =
        format!("{}  drain: {{protected: [{{matchLabels: {{app: web}}}}]}}\n", for_many(2));
    let collector = bench.collector("one", &policy);
    bench.web(1);
    let [drained] = <[String; 1]>::try_from(bench.nodes_of("web")).expect("one node");
    let others: Vec<_> = bench.nodes.iter().filter(|it| **it != drained).cloned().collect();
    let [rebooting, last] = <[String; 2]>::try_from(others).expect("two nodes");
    let agents = bench.live(&collector);
    agents.need_reboot(&drained);
    bench.until_state(&collector, &drained, "Draining");
    agents.conduct(&rebooting, Conduct::Vanishes);
    agents.need_reboot(&rebooting);
    bench.until_state(&collector, &rebooting, "Rebooting");
    let old: Vec<_> = bench.requests().iter().map(|it| it["metadata"]["name"].clone()).collect();
    assert_eq!(old.len(), 2);

    // Both machines are installed anew; a person has cordoned the new nodes.
    agents.conduct(&drained, Conduct::Gone);
    for node in [&drained, &rebooting] {
        bench.cluster.api().must(Call::delete(format!("/api/v1/nodes/{node}")));
        let anew = bench.cluster.kwok().node("node", node);
        bench.set_unschedulable(node, true);
        assert!(!old.contains(&json!(anew)));
    }
    let written = bench.writes("nodes", "patch").len();
    // The agent of one of them speaks at once, of another boot.
    agents.reinstall(&rebooting);
    agents.conduct(&rebooting, Conduct::Reboots);
    wait::until("the requests of the old nodes are over", WITHIN, || {
        let names: Vec<_> =
            bench.requests().iter().map(|it| it["metadata"]["name"].clone()).collect();
        if names.iter().any(|it| old.contains(it)) {
            Err(bench.summary(&collector))
        } else {
            Ok(())
        }
    });
    for node in [&drained, &rebooting] {
        assert_eq!(bench.told(&collector, node).last().map(String::as_str), Some("NodeGone"));
    }
    let heard = agents.heard(&rebooting);
    wait::until("the new node is heard", WITHIN, || {
        if agents.heard(&rebooting) > heard + 2 { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_looked(&collector, 3);
    for node in [&drained, &rebooting] {
        let object = bench.cluster.get(&format!("/api/v1/nodes/{node}"));
        assert_eq!(object["spec"]["unschedulable"], true, "the cordon of a person: {object}");
        assert_eq!(object["metadata"]["annotations"]["palisade.dev/cordoned-by"], Value::Null);
    }
    assert_eq!(bench.writes("nodes", "patch").len(), written, "no node was touched");
    // Their places are free, as far as the two cordons of the person leave any.
    bench.set_unschedulable(&drained, false);
    bench.cluster.kubectl(&["delete", "deployment", "web"]);
    agents.need_reboot(&last);
    wait::until("the last one has rebooted", WITHIN, || {
        if agents.reboots().contains(&last) { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    bench.until_no_requests(&collector);
    assert!(bench.is_unschedulable(&rebooting));
    assert_eq!(agents.grants(&drained), 0);
}

#[test]
fn scenario_31_a_reboot_that_does_not_happen_is_one_attempt_and_an_alert() {
    let bench = Bench::start(2);
    let policy = for_many(2).replace(
        "deadlines: {verify: 10s}",
        "deadlines: {verify: 10s, rebootWithoutHistory: 5s, rebootLeast: 5s}",
    );
    let collector = bench.collector("one", &policy);
    let agents = bench.live(&collector);
    // One says that the call failed; the other one only never boots.
    agents.conduct("node-0", Conduct::Fails);
    agents.conduct("node-1", Conduct::Pretends);
    let nodes = ["node-0", "node-1"];
    for node in nodes {
        agents.need_reboot(node);
    }
    for node in nodes {
        bench.until_state(&collector, node, "Quarantined");
        until_alert(&bench, &collector, node, "RebootCommandFailed");
    }
    // Not again, not by the next collector either.
    let (collector, server) = bench.restart(collector, &policy);
    agents.talk_to(server);
    let heard = nodes.map(|it| agents.heard(it));
    wait::until("both are heard", WITHIN, || {
        let now = nodes.map(|it| agents.heard(it));
        if now.iter().zip(heard).all(|(now, before)| *now > before + 3) { Ok(()) } else { Err(now) }
    });
    bench.until_looked(&collector, 3);
    for node in nodes {
        let status = bench.status(node);
        assert_eq!(status["state"], "Quarantined");
        assert_eq!(status["fault"], "reboot-command-failed", "{status}");
        assert_eq!(status["boot"], Value::Null, "it has not rebooted");
        assert_eq!(agents.grants(node), 1, "one attempt");
        assert!(bench.is_unschedulable(node), "its place and cordon stay");
        let went = bench.history(node);
        assert!(!went.iter().any(|it| it == "Booted"), "{went:?}");
        assert!(!bench.events(node).iter().any(|it| it == "RebootBooted"));
    }
    assert_eq!(agents.reboots(), <[String; 0]>::default());
}

#[test]
fn scenario_32_a_node_that_boots_without_a_kubelet_is_quarantined_at_the_deadline() {
    let bench = Bench::start(2);
    let policy =
        for_many(2).replace("deadlines: {verify: 10s}", "deadlines: {verify: 10s, ready: 10s}");
    let collector = bench.collector("one", &policy);
    let agents = bench.live(&collector);
    // One is not ready any more; the object of the other one is as it was before the reboot.
    agents.conduct("node-0", Conduct::DeadKubelet);
    agents.conduct("node-1", Conduct::MuteKubelet);
    agents.need_reboot("node-0");
    agents.need_reboot("node-1");
    bench.until_state(&collector, "node-0", "Booted");
    let deadline = bench.status("node-0")["deadline"].clone();
    for node in ["node-0", "node-1"] {
        bench.until_state(&collector, node, "Quarantined");
        until_alert(&bench, &collector, node, "NodeQuarantined");
        let status = bench.status(node);
        assert_eq!(status["fault"], "not-ready-after-boot", "{status}");
        assert!(bench.is_unschedulable(node), "its cordon stays");
        assert_eq!(agents.grants(node), 1);
    }
    let dead = bench.status("node-0");
    assert!(dead["since"].as_str() >= deadline.as_str(), "not before {deadline}: {dead}");
    let went = bench.history("node-0");
    assert!(went.ends_with(&["Booted".to_owned(), "Quarantined".to_owned()]), "{went:?}");
    let mute = bench.status("node-1");
    assert!(mute["message"].as_str().is_some_and(|it| it.contains("kubelet")), "{mute}");
    let went = bench.history("node-1");
    assert!(went.ends_with(&["Verifying".to_owned(), "Quarantined".to_owned()]), "{went:?}");
    let mut reboots = agents.reboots();
    reboots.sort();
    assert_eq!(reboots, ["node-0", "node-1"]);
}
