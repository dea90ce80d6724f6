//! Two real Alertmanagers that notify as one.

use std::time::Duration;

use palisade_tests::cluster::alertmanager::Alertmanager;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use serde_json::Value;
use serde_json::json;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(120);

/// Entries of the notification log that a member learned from the other one.
const HEARD: &str = "alertmanager_nflog_gossip_messages_propagated_total";

fn labels(name: &str) -> Value {
    json!({ "alertname": name })
}

/// How often people were told that this alert fires, and that it is over.
fn told(receiver: &Receiver, name: &str) -> (usize, usize) {
    let seen = receiver.seen();
    let alerts = seen.iter().flat_map(|it| it.webhook().alerts);
    let alerts: Vec<_> = alerts.filter(|it| it.label("alertname") == name).collect();
    let firing = alerts.iter().filter(|it| it.is_firing()).count();
    (firing, alerts.len() - firing)
}

fn until(receiver: &Receiver, name: &str, wanted: (usize, usize)) {
    palisade_tests::wait::until(name, WITHIN, || {
        let is = told(receiver, name);
        if is == wanted { Ok(()) } else { Err(is) }
    });
}

#[test]
fn each_alert_is_told_once_also_while_either_member_is_killed() {
    let receiver = Receiver::start(Plan::kind());
    let mut pair = Alertmanager::pair_telling(&receiver.url("/hook"));
    let everywhere = |pair: &[Alertmanager; 2], name: &str| {
        for member in pair {
            member.fire(&labels(name));
        }
    };
    everywhere(&pair, "Early");
    until(&receiver, "Early", (1, 0));
    // One that is killed before it could say whom it told: then people are told twice.
    palisade_tests::wait::until("gossip about it", WITHIN, || {
        let heard: f64 = pair.iter().map(|it| it.metric(HEARD)).sum();
        if heard >= 1.0 { Ok(()) } else { Err(heard) }
    });

    for killed in [0, 1] {
        let name = ["First", "Second"][killed];
        pair[killed].kill();
        let other = 1 - killed;
        // Machines send again what fires; the other one knows that people were told.
        pair[other].fire(&labels("Early"));
        pair[other].fire(&labels(name));
        until(&receiver, name, (1, 0));
        pair[killed].restart();
        for member in &pair {
            member.until_knows(1);
        }
        everywhere(&pair, "Early");
        everywhere(&pair, name);
    }
    for member in &pair {
        member.resolve(&labels("First"));
    }
    until(&receiver, "First", (1, 1));
    everywhere(&pair, "Late");
    until(&receiver, "Late", (1, 0));
    assert_eq!(told(&receiver, "Early"), (1, 0));
    assert_eq!(told(&receiver, "First"), (1, 1));
    assert_eq!(told(&receiver, "Second"), (1, 0));
}
