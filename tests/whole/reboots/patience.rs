//! Drains that take longer than they may: what becomes of the node, of the others, and when it is
//! tried again.

use hyper::Method;
use palisade_tests::cluster::api::Call;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::WITHIN;
use super::placed::one_pool_each;

#[test]
fn scenario_18_19_a_drain_that_fails_is_undone_alone_and_tried_again_later_and_later() {
    let bench = Bench::start(2);
    // Both nodes have a pod that is waited for; one of them not for long.
    let protected = "protected: [{matchLabels: {app: batch}}]";
    let hasty = format!(
        "drain: {{slow: 1s, timeout: 2s, {protected}}}\n  backoff: {{first: 1h, longest: 3h}}"
    );
    let calm = format!("drain: {{{protected}}}");
    let policy = one_pool_each(2, &[("node-0", &hasty), ("node-1", &calm)]);
    let collector = bench.collector("one", &policy);
    let batch = json!({ "metadata": { "labels": { "app": "batch" } } });
    let pods = ["node-0", "node-1"].map(|it| bench.place(&format!("batch-{it}"), it, &batch));
    let agents = bench.live(&collector);
    agents.need_reboot("node-1");
    bench.until_waits(&collector, "node-1", "Draining", "batch-node-1: protected");
    agents.need_reboot("node-0");

    // The drain of one fails: its cordon is taken back, and the other one is as it was.
    let request = until_backoff(&bench, &collector, 1);
    let status = &request["status"];
    assert_eq!(status["fault"], "drain-failed", "{request:#}");
    let message = status["message"].as_str().expect("a message");
    assert!(message.contains("default/batch-node-0: protected"), "{message}");
    assert_eq!(waits_secs(&request), 3_600, "{request:#}");
    assert!(status["alerts"].to_string().contains("DrainFailed"), "{request:#}");
    assert!(bench.is_as_before("node-0"), "{}", bench.cluster.get("/api/v1/nodes/node-0"));
    assert_eq!(bench.state("node-1").as_deref(), Some("Draining"));
    let other = bench.cluster.get("/api/v1/nodes/node-1");
    let marker = &other["metadata"]["annotations"]["palisade.dev/cordoned-by"];
    assert_eq!(
        *marker,
        bench.request("node-1").unwrap_or_default()["metadata"]["uid"],
        "{other:#}"
    );
    assert_eq!(other["spec"]["unschedulable"], true);
    for pod in &pods {
        assert_eq!(bench.pod(pod)["metadata"]["deletionTimestamp"], Value::Null);
    }
    bench.complete("batch-node-1");
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    assert_eq!(bench.state("node-0").as_deref(), Some("Backoff"), "one reboot frees no other");

    // Twice as long each time, up to the longest; the third time its owner should hear of it.
    for (times, secs) in [(2, 7_200), (3, 10_800)] {
        let path = path_of(&request);
        let over = json!({ "status": { "deadline": status["since"] } });
        bench.cluster.api().must(Call::merge(&path, &over));
        let request = until_backoff(&bench, &collector, times);
        assert_eq!(waits_secs(&request), secs, "{request:#}");
        let alerts = request["status"]["alerts"].to_string();
        assert_eq!(alerts.contains("DrainBackoff"), times == 3, "{alerts}");
        assert!(bench.is_as_before("node-0"));
    }

    // A person says that it may be tried again: at once, and it counts from the beginning.
    let approver = bench.person("approver", &collector);
    let release = || {
        let answer = approver.says(Method::POST, "/v1/reboots/node-0/release", &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    release();
    let request = until_backoff(&bench, &collector, 1);
    assert_eq!(waits_secs(&request), 3_600, "{request:#}");
    bench.complete("batch-node-0");
    release();
    bench.until_rebooted(&collector, &agents, &["node-1", "node-0"]);
    assert_eq!(bench.evictions(), [], "what is protected is not evicted");
    let told = bench.events("node-0");
    println!("{told:?}");
}

fn path_of(request: &Value) -> String {
    let name = request["metadata"]["name"].as_str().expect("a name");
    format!("/apis/palisade.dev/v1alpha1/rebootrequests/{name}/status")
}

/// Waits until the drain of `node-0` was rolled back so many times.
fn until_backoff(bench: &Bench, collector: &Collector, times: u32) -> Value {
    wait::until("the drain was rolled back", WITHIN, || {
        let request = bench.request("node-0").unwrap_or_default();
        let status = &request["status"];
        if status["state"] == "Backoff" && status["rollbacks"] == times {
            Ok(request)
        } else {
            Err(bench.summary(collector))
        }
    })
}

/// Seconds from the beginning of a state to its end, which are less than a day.
fn waits_secs(request: &Value) -> i64 {
    let second_of_day = |key: &str| {
        let text = request["status"][key].as_str().expect("a time");
        let (_, time) = text.split_once('T').expect("RFC 3339");
        let parts = time.trim_end_matches('Z').split(':');
        parts.fold(0, |sum, part| sum * 60 + part.parse::<i64>().expect("a number"))
    };
    (second_of_day("deadline") - second_of_day("since")).rem_euclid(86_400)
}
