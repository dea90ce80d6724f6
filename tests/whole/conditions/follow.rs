//! Conditions and Events follow the reports, once each, through restarts and through other hands.

use super::*;

/// Whether a condition is as the API conventions want it, and turned between these moments (RFC 3339
/// in UTC to the second, whose order is that of the text).
fn is_proper(condition: &Value, from: &str, to: &str) {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let reason = text("reason");
    let camel = reason.starts_with(|it: char| it.is_ascii_uppercase())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(camel, "{condition:#}");
    assert!((1..=512).contains(&text("message").len()), "{condition:#}");
    let since = text("lastTransitionTime");
    assert!(from <= since && since <= to, "not within {from} and {to}: {condition:#}");
}

fn now() -> String {
    let text = palisade_report::Moment::from_unix(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock past 1970")
            .as_secs()
            .try_into()
            .expect("seconds"),
    );
    text.to_string()
}

#[test]
fn conditions_and_events_follow_the_reports_and_nothing_else() {
    let bench = Bench::start();
    let before = now();
    let collector = bench.collector("state", &[]);
    let mut agents = bench.agents(&[report(Wrong::Everything), report(Wrong::Nothing)]);
    let (bad, good) = ("node-0", "node-1");
    bench.cluster.node("mute");
    for node in [bad, good, "mute"] {
        let unknown = bench.until("nothing is known yet", node, ["Unknown"; 3]);
        assert!(unknown.iter().all(|it| it["reason"] == "NeverReported"), "{unknown:#?}");
    }
    let foreign = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    let status = |node: &str| format!("/api/v1/nodes/{node}/status");
    bench.cluster.api().must(Call::strategic(status(bad), &foreign));
    let unasked = bench.writes("nodes/status");
    assert_eq!(unasked, 3, "one patch for each node");
    assert_eq!(bench.writes("events"), 0, "the first sight of a node is no turn");

    // The reports arrive.
    agents = bench.settle(&collector, agents);
    let failing = bench.until("the bad node's report", bad, ["True"; 3]);
    let fine = bench.until("the good node's report", good, ["False"; 3]);
    for condition in failing.iter().chain(&fine) {
        is_proper(condition, &before, &now());
    }
    assert_eq!(failing[0]["reason"], "RebootPending");
    assert_eq!(failing[0]["message"], "a reboot is pending: /run/reboot-required");
    assert_eq!(failing[1]["reason"], "CertificateEndsSoon");
    assert!(
        failing[1]["message"].as_str().is_some_and(|it| it.contains("kubelet-client-current.pem")),
        "{failing:#?}"
    );
    assert_eq!(failing[2]["reason"], "RulesFail");
    let warnings = told(&[
        ("Warning", "CertificateExpirationWarning"),
        ("Warning", "HardeningDrift"),
        ("Warning", "RebootRequired"),
    ]);
    assert_eq!(bench.events(bad), warnings);
    assert_eq!(bench.events(good), []);
    assert_eq!(bench.all_writes(), [0, unasked + 2, 3, 0]);

    // One thing changes on one node: one patch, one Event, and the others keep their time.
    agents[1].change(&report(Wrong::Reboot));
    agents = bench.settle(&collector, agents);
    let one = bench.until("the good node waits for a reboot", good, ["True", "False", "False"]);
    assert_eq!(one[1]["lastTransitionTime"], fine[1]["lastTransitionTime"]);
    assert_eq!(bench.events(good), told(&[("Warning", "RebootRequired")]));
    assert_eq!(bench.all_writes(), [0, unasked + 3, 4, 0]);

    // What cannot be told is neither, and no news.
    agents[1].change(&blind());
    agents = bench.settle(&collector, agents);
    let blind = bench.until("the kubelet cannot be read", good, ["True", "False", "Unknown"]);
    assert_eq!(blind[2]["reason"], "CannotTell");
    assert_eq!(bench.all_writes(), [0, unasked + 4, 4, 0]);

    // Nothing changes: nothing is written.
    bench.quiet();
    agents = bench.settle(&collector, agents);
    bench.quiet();
    assert_eq!(bench.all_writes(), [0, unasked + 4, 4, 0]);

    // Another process, with the same store and with an empty one.
    assert_eq!(collector.process.terminate(), Some(0));
    let collector = bench.collector("state", &[]);
    bench.quiet();
    agents = bench.settle(&collector, agents);
    bench.quiet();
    assert_eq!(bench.all_writes(), [0, unasked + 4, 4, 0], "the same store");
    assert_eq!(collector.process.terminate(), Some(0));
    let collector = bench.collector("empty", &[]);
    bench.quiet();
    agents = bench.settle(&collector, agents);
    bench.quiet();
    assert_eq!(bench.all_writes(), [0, unasked + 4, 4, 0], "an empty store");

    // Other hands: taken away, turned, reworded. All come back as they were, and nobody is told.
    let taken = json!({ "status": { "conditions": [{ "type": REBOOT, "$patch": "delete" }] } });
    let turned = json!({ "status": { "conditions": [
        { "type": CERTIFICATE, "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": DRIFT, "message": "all is well" },
    ] } });
    for patch in [&taken, &turned] {
        bench.cluster.api().must(Call::strategic(status(bad), patch));
        wait::until("what was altered comes back", WITHIN, || {
            let is = [REBOOT, CERTIFICATE, DRIFT].map(|kind| bench.condition(bad, kind));
            let same = is.iter().zip(&failing).all(|(is, was)| {
                let keys = ["status", "reason", "message", "lastTransitionTime"];
                keys.iter().all(|key| is[key] == was[key])
            });
            if same { Ok(()) } else { Err(is) }
        });
    }
    assert_eq!(bench.condition(bad, "Ready")["status"], "True", "another's condition");
    bench.quiet();
    assert_eq!(bench.all_writes(), [0, unasked + 6, 4, 0]);

    // All is mended.
    agents[0].change(&report(Wrong::Nothing));
    bench.settle(&collector, agents);
    let mended = bench.until("the bad node is mended", bad, ["False"; 3]);
    for condition in &mended {
        is_proper(condition, &before, &now());
    }
    let ends = told(&[
        ("Normal", "CertificateExpirationOK"),
        ("Normal", "HardeningRestored"),
        ("Normal", "RebootNoLongerRequired"),
    ]);
    assert_eq!(bench.events(bad), [ends, warnings].concat());
    assert_eq!(bench.all_writes(), [0, unasked + 7, 7, 0]);
}
