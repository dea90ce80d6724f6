//! What a real Alertmanager does with what it is sent: the facts that the sender is built on.
//!
//! Seen with 0.31.1, which is built for the tests, and with Debian's 0.25.0 (`PALISADE_ALERTMANAGER`);
//! both do the same wherever no comment says otherwise. That nothing was notified is seen by what was
//! sent later and was: groups wait equally long. But a group does not wait for an alert that began
//! longer ago than it would wait.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use palisade_tests::cluster::alertmanager::Alertmanager;
use palisade_tests::cluster::alertmanager::SLOW_GROUP_WAIT;
use palisade_tests::cluster::alertmanager::after;
use palisade_tests::http::Answer;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::webhook::Alert;
use serde_json::Value;
use serde_json::json;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(120);

const JSON: &str = "application/json";

/// `resolve_timeout`, which nobody sets.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(300);

/// An Alertmanager and whom it tells.
struct Bench {
    alertmanager: Alertmanager,
    receiver: Receiver,
}

impl Bench {
    fn start() -> Self {
        let receiver = Receiver::start(Plan::kind());
        let alertmanager = Alertmanager::telling(&receiver.url("/hook"));
        Self { alertmanager, receiver }
    }

    fn post(&self, alerts: &Value) -> Answer {
        self.alertmanager.post(JSON, &alerts.to_string())
    }

    fn must(&self, alerts: &Value) {
        let answer = self.post(alerts);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The refusal of these alerts: its status and its words.
    fn refusal(&self, alerts: &Value) -> (u16, String) {
        let answer = self.post(alerts);
        (answer.status.as_u16(), answer.text())
    }

    /// Waits until the last that people were told of this alert is this.
    fn until_told(&self, name: &str, status: &str) -> Vec<Alert> {
        self.receiver.until(&format!("{name} is {status}"), WITHIN, |seen| {
            let told = told(seen, name);
            told.last().is_some_and(|it| it.status == status).then_some(told)
        })
    }

    /// Lets a group that begins now be told and be over: whatever was sent before has had its time.
    fn fence(&self, name: &str) {
        self.must(&begun_now(name));
        self.until_told(name, "firing");
        self.alertmanager.resolve(&json!({ "alertname": name }));
        self.until_told(name, "resolved");
    }

    fn statuses(&self, name: &str) -> Vec<String> {
        told(&self.receiver.seen(), name).into_iter().map(|it| it.status).collect()
    }
}

/// What people were told of the alerts of this name, in order.
fn told(seen: &[Request], name: &str) -> Vec<Alert> {
    let alerts = seen.iter().flat_map(|it| it.webhook().alerts);
    alerts.filter(|it| it.label("alertname") == name).collect()
}

fn alert(name: &str) -> Value {
    json!({ "labels": { "alertname": name } })
}

/// One for which its group waits.
fn begun_now(name: &str) -> Value {
    let [now, later] = [Duration::ZERO, RESOLVE_TIMEOUT].map(after);
    json!([{ "labels": { "alertname": name }, "startsAt": now, "endsAt": later }])
}

#[test]
fn what_is_refused_is_said_and_the_rest_of_its_batch_is_taken() {
    let bench = Bench::start();
    let bad = |labels: Value| json!({ "labels": labels });

    // A 400 is a partial acceptance. Since 0.27 every name in UTF-8 is one, `not-a-name` too.
    let nameless = bad(json!({ "alertname": "Batch", "": "x" }));
    let (status, why) = bench.refusal(&json!([alert("BatchGood"), nameless]));
    assert_eq!(status, 400, "{why}");
    assert!(why.contains("invalid name"), "{why}");
    assert_eq!(bench.alertmanager.alerts_called("BatchGood").len(), 1);
    assert!(bench.alertmanager.alerts_called("Batch").is_empty());

    let reversed = json!([{ "labels": { "alertname": "Reversed" },
        "startsAt": after(Duration::ZERO), "endsAt": "2020-01-01T00:00:00Z" }]);
    let (status, why) = bench.refusal(&reversed);
    assert_eq!(status, 400);
    assert!(why.contains("start time must be before end time"), "{why}");
    let (status, why) = bench.refusal(&json!([bad(json!({}))]));
    assert_eq!(status, 400);
    assert!(why.contains("at least one label pair required"), "{why}");

    // Not judged by the same code: a schema wants the key.
    let (status, why) = bench.refusal(&json!([{ "annotations": { "summary": "x" } }]));
    assert_eq!(status, 422);
    assert!(why.contains("602"), "{why}");

    assert_eq!(bench.refusal(&alert("Object")).0, 400);
    let text = bench.alertmanager.post("text/plain", &json!([alert("Text")]).to_string());
    assert_eq!(text.status, 415);
    let unknown = json!([{ "labels": { "alertname": "Unknown" }, "colour": "blue" }]);
    assert_eq!(bench.post(&unknown).status, 200);
    assert_eq!(bench.alertmanager.alerts_called("Unknown").len(), 1);
    assert_eq!(bench.post(&json!([])).status, 200);

    let known: Vec<_> = bench.alertmanager.alerts();
    assert_eq!(known.len(), 2, "{known:#?}");
}

#[test]
fn what_is_taken_is_grouped_by_what_it_has() {
    let bench = Bench::start();
    bench.must(&json!([{ "labels": { "node": "nameless" } }]));
    let nameless = bench.receiver.until("an alert without a name", WITHIN, |seen| {
        let webhooks = seen.iter().map(Request::webhook);
        webhooks.into_iter().find(|it| it.alerts[0].label("node") == "nameless")
    });
    assert!(nameless.group_labels.is_empty(), "{nameless:?}");

    // An empty value is no label, and so makes no other alert.
    bench.must(&json!([alert("Empty")]));
    bench.must(&json!([{ "labels": { "alertname": "Empty", "node": "" } }]));
    let known = bench.alertmanager.alerts_called("Empty");
    assert_eq!(known.len(), 1, "{known:#?}");
    assert!(known[0]["labels"].get("node").is_none(), "{known:#?}");

    // The louder one quiets the milder one of the same subject, and of no other.
    let labels = |severity: &str, subject: &str| {
        json!({ "alertname": "Louder", "cluster": "c", "node": "n", "severity": severity,
            "subject": subject })
    };
    for (severity, subject) in [("critical", "a"), ("warning", "a"), ("warning", "b")] {
        bench.alertmanager.fire(&labels(severity, subject));
    }
    bench.receiver.until("both that are loud enough", WITHIN, |seen| {
        let told = told(seen, "Louder");
        let is = |severity: &str, subject: &str| {
            told.iter().any(|it| it.label("severity") == severity && it.label("subject") == subject)
        };
        (is("critical", "a") && is("warning", "b")).then_some(())
    });
    let known = bench.alertmanager.alerts_called("Louder");
    let inhibited = known.iter().filter(|it| it["status"]["state"] == "suppressed");
    let inhibited: Vec<_> = inhibited.map(|it| it["labels"].clone()).collect();
    assert_eq!(inhibited, [labels("warning", "a")]);
}

/// A thousand is what palisade sends at once; here is why groups are not by the name alone.
#[test]
fn five_thousand_at_once_are_one_webhook_of_more_than_a_megabyte() {
    let bench = Bench::start();
    let summary = "worker needs a reboot: the running kernel is older than the installed one";
    let many: Vec<_> = (0..5_000)
        .map(|number| {
            json!({
                "labels": { "alertname": "Many", "cluster": "prod", "node": format!("worker-{number}"),
                    "severity": "warning" },
                "annotations": { "summary": summary, "description": summary.repeat(2) },
            })
        })
        .collect();
    let started = Instant::now();
    let body = Value::from(many).to_string();
    let answer = bench.alertmanager.post(JSON, &body);
    let took = started.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (alerts, bytes) = bench.receiver.until("the webhook", WITHIN, |seen| {
        let first = seen.first()?;
        Some((first.webhook().alerts.len(), first.body.len()))
    });
    assert_eq!(alerts, 5_000);
    assert!(bytes > 1_000_000, "{bytes} bytes");
    let memory = bench.alertmanager.memory_kib() / 1024;
    println!("{} bytes in {took:?}, {memory} MiB, a webhook of {bytes} bytes", body.len());
}

#[test]
fn an_end_is_when_it_was_said_to_be_or_when_its_sender_was_silent_too_long() {
    let bench = Bench::start();

    // One that ends by itself: nobody says so again.
    let end = after(Duration::from_secs(4));
    bench.must(&json!([{ "labels": { "alertname": "Ending" }, "endsAt": end }]));

    // One without an end has one: five minutes after it was last heard of.
    let unix = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let before = unix(SystemTime::now());
    bench.must(&json!([alert("Endless")]));
    let later = unix(SystemTime::now());
    let end_of = |it: Duration| {
        let secs = i64::try_from((it + RESOLVE_TIMEOUT).as_secs()).expect("a moment");
        palisade_report::Moment::from_unix(secs).to_string()[..19].to_owned()
    };
    let known = bench.alertmanager.alerts_called("Endless");
    let ends_at = known[0]["endsAt"].as_str().expect("an end")[..19].to_owned();
    assert!(end_of(before) <= ends_at && ends_at <= end_of(later), "{known:#?}");

    // Over before anybody heard of it: nobody hears of it. The same if it was over before its group
    // was told; the clock decides, so it is tried until it was.
    let over = json!([{ "labels": { "alertname": "Over" }, "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": after(Duration::ZERO) }]);
    bench.must(&over);
    let short = (0..10).map(|number| format!("Slow{number}")).find(|name| {
        let labels = json!({ "alertname": name });
        let started = Instant::now();
        bench.must(&begun_now(name));
        bench.alertmanager.resolve(&labels);
        started.elapsed() < SLOW_GROUP_WAIT
    });
    let short = short.expect("two requests within five seconds");

    let told = bench.until_told("Ending", "resolved");
    let statuses: Vec<_> = told.iter().map(|it| &*it.status).collect();
    assert_eq!(statuses, ["firing", "resolved"]);
    assert_eq!(told[1].ends_at[..19], end[..19]);
    bench.fence("SlowFence");
    assert_eq!(bench.statuses("Over"), [""; 0]);
    assert_eq!(bench.statuses(&short), [""; 0]);
    assert_eq!(bench.statuses("Endless"), ["firing"]);
}

#[test]
fn a_restart_forgets_the_alerts_and_not_what_it_told() {
    let mut bench = Bench::start();
    let [again, over, gone] = ["Again", "Over", "Gone"].map(|it| json!({ "alertname": it }));
    for labels in [&again, &over, &gone] {
        bench.alertmanager.fire(labels);
    }
    for name in ["Again", "Over", "Gone"] {
        bench.until_told(name, "firing");
    }
    bench.alertmanager.stop();
    bench.alertmanager.restart();
    assert!(bench.alertmanager.alerts().is_empty());
    bench.alertmanager.fire(&again);
    // It never heard that this one fired, and knows that people did.
    bench.alertmanager.resolve(&over);
    bench.until_told("Over", "resolved");
    bench.fence("FirstFence");
    assert_eq!(bench.statuses("Again"), ["firing"]);
    assert_eq!(bench.statuses("Over"), ["firing", "resolved"]);
    // Who is not told of again is not over either: people wait for ever.
    assert_eq!(bench.statuses("Gone"), ["firing"]);

    // Killed, it forgets what it told since it last wrote that down, every 15 minutes: one duplicate.
    let recent = json!({ "alertname": "Recent" });
    bench.alertmanager.fire(&recent);
    bench.until_told("Recent", "firing");
    bench.alertmanager.kill();
    bench.alertmanager.restart();
    bench.alertmanager.fire(&again);
    bench.alertmanager.fire(&recent);
    bench.fence("SecondFence");
    assert_eq!(bench.statuses("Again"), ["firing"]);
    assert_eq!(bench.statuses("Recent"), ["firing"; 2]);
}
