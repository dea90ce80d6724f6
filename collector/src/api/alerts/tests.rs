//! Alerts over real sockets, with what a scripted eye would have seen put into the book.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_alert::key::Key;
use palisade_alert::sighting::Look;
use palisade_alert::sighting::Scope;
use palisade_alert::sighting::Sighting;
use palisade_alert::sighting::Values;
use palisade_alert::span::Span;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::notify::core::Core;
use crate::notify::core::Seen;
use crate::notify::store::AlertStore;
use crate::notify::store::Kept;
use crate::notify::view::Choice;
use crate::testing::Scratch;
use crate::testing::Served;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// A secret in an address, which no answer has.
const SETTINGS: &str = "
apiVersion: palisade.dev/v1alpha1
kind: AlertConfig
cluster: prod
receivers:
  - {name: chat, slack: {url: 'https://hooks.example.com/services/s3cret'}}
  - {name: page, pagerduty: {routingKeyFile: /nowhere/page}}
  - {name: lost, teams: {urlFile: /nowhere/teams}}
routes:
  - {match: {severities: [critical]}, receivers: [page], continue: true}
  - {match: {pools: ['web*']}, receivers: [chat]}
fallback: [lost]
";

fn sighting(kind: AlertKind, node: &str, severity: Severity, since: i64) -> Sighting {
    let key = Key::of_node(kind, node.parse().unwrap(), Some("web-1".into()));
    let since = Some(NOW.plus(since));
    Sighting { key, severity, since, values: Values::default() }
}

/// A core in which these fire.
fn core(scratch: &Scratch, seen: Vec<Sighting>) -> Core {
    let mut catalogue = Catalogue::built_in().unwrap();
    AlertKind::ALL.into_iter().for_each(|it| catalogue.retime(it, Some(Span::secs(0)), None));
    let store = AlertStore::open(&scratch.0.join("alerts.db")).unwrap();
    let config = Arc::new(Config::parse(SETTINGS).unwrap());
    let mut core = Core::new(store, Kept::default(), catalogue, config, NOW);
    let looks = vec![(Scope::Fleet, Look::Seen(seen))];
    let seen = Seen { looks, gone: Vec::new(), rebooting: BTreeSet::new() };
    core.turn(Some(seen), &|_, _| String::new(), NOW);
    core
}

fn three() -> Vec<Sighting> {
    vec![
        sighting(AlertKind::UnplannedReboot, "a", Severity::Warning, -10),
        sighting(AlertKind::UnplannedReboot, "b", Severity::Critical, -5),
        sighting(AlertKind::UnplannedReboot, "c", Severity::Warning, -20),
    ]
}

fn nodes(page: &AlertsPage) -> Vec<&str> {
    page.alerts.iter().map(|line| line.labels["node"].as_str()).collect()
}

#[test]
fn pages_have_the_loudest_first_then_the_oldest_and_each_once() {
    let scratch = Scratch::new();
    let core = core(&scratch, three());
    let choice = Choice::default();
    let all = core.page(&choice, None, 10, NOW);
    assert_eq!((nodes(&all), all.next), (vec!["b", "c", "a"], None));
    let mut after = None;
    let mut found = Vec::new();
    for _ in 0..3 {
        let page = core.page(&choice, after, 1, NOW);
        found.extend(nodes(&page).into_iter().map(str::to_owned));
        after = page.next.map(|next| place(&cursor(next)).unwrap());
    }
    assert_eq!((found, after), (vec!["b".to_owned(), "c".into(), "a".into()], None));
    for bad in ["", "zz", "61", &page::cursor("warning x 00"), &page::cursor("warning 1 0 0")] {
        assert!(place(bad).is_err(), "{bad}");
    }
}

#[test]
fn filters_leave_out_what_does_not_fit_and_muted_alerts_say_why() {
    let scratch = Scratch::new();
    let mut core = core(&scratch, three());
    let wanted = json!({"match": {"nodes": ["a"]}, "reason": "we know", "ends_at": NOW.plus(60)});
    core.silence(serde_json::from_value(wanted).unwrap(), "anna", NOW).unwrap();
    let ask = |choice| nodes(&core.page(&choice, None, 10, NOW)).join(" ");
    let any = Choice::default;
    assert_eq!(ask(Choice { is_muted: Some(true), ..any() }), "a");
    assert_eq!(ask(Choice { is_muted: Some(false), ..any() }), "b c");
    assert_eq!(ask(Choice { severity: Some(Severity::Critical), ..any() }), "b");
    assert_eq!(ask(Choice { node: Some("c".parse().unwrap()), ..any() }), "c");
    assert_eq!(ask(Choice { pool: Some("web".to_owned()), ..any() }), "");
    assert_eq!(ask(Choice { phase: Some("resolved"), ..any() }), "");
    assert_eq!(ask(Choice { receiver: Some("page".to_owned()), ..any() }), "b");
    assert_eq!(ask(Choice { kind: Some(AlertKind::Watchdog), ..any() }), "");
    let page = core.page(&Choice { is_muted: Some(true), ..any() }, None, 10, NOW);
    let text = table::of(&page.alerts, None, NOW);
    assert!(text.contains("nobody is told: silence 1 of anna until"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// A collector with settings, whose dead man's switch fires.
async fn ready() -> Served {
    let served = Served::start(|settings, scratch| {
        settings.alerts = Some(scratch.write("alerts.yaml", SETTINGS));
    })
    .await;
    served.ask_until("/v1/alerts?alert=Watchdog", |heard| heard.body().contains("Watchdog")).await;
    served
}

async fn tell(served: &Served, target: &str, body: &Value) -> crate::testing::Heard {
    served
        .tell("POST", target, "content-type: application/json\r\n", body.to_string().as_bytes())
        .await
}

#[tokio::test]
async fn a_rehearsal_says_who_and_why_and_no_secret() {
    let served = ready().await;
    let asked =
        json!({"alert": "RebootRequired", "severity": "critical", "node": "n", "pool": "web-7"});
    let heard = tell(&served, "/v1/alerts/route", &asked).await;
    assert_eq!(heard.status(), 200, "{heard:?}");
    let said = heard.json();
    let names: Vec<_> = said["told"].as_array().unwrap().iter().map(|it| &it["receiver"]).collect();
    assert_eq!(names, ["page", "chat"]);
    assert_eq!(said["told"][1]["wait_secs"], 30);
    let body = said["told"][0]["messages"][0]["body"].as_str().unwrap();
    assert!(body.contains("HIDDEN") && body.contains("RebootRequired"), "{body}");
    assert!(!heard.body().contains("s3cret"), "{heard:?}");
    let asked = json!({"alert": "RebootRequired", "severity": "info", "node": "n", "pool": "db"});
    let said = tell(&served, "/v1/alerts/route", &asked).await.json();
    assert_eq!(said["routes"][0]["because"], "severity");
    assert_eq!(said["routes"][1]["label"], "pool");
    assert_eq!(said["routes"][2]["route"], Value::Null);
    assert_eq!(said["told"][0]["receiver"], "lost");
    let other = json!({"alert": "RebootRequired", "severity": "info",
        "config": SETTINGS.replace("fallback: [lost]", "fallback: [nobody]")});
    let heard = tell(&served, "/v1/alerts/route", &other).await;
    assert_eq!((heard.status(), heard.kind()), (400, "malformed-body".into()));
    assert!(heard.body().contains("config: fallback: there is no receiver nobody"), "{heard:?}");
    let other = SETTINGS.replace("fallback: [lost]", "fallback: [chat]");
    let other = json!({"alert": "RebootRequired", "severity": "info", "config": other});
    let said = tell(&served, "/v1/alerts/route", &other).await.json();
    assert_eq!(said["told"][0]["receiver"], "chat");
    served.stop().await;
}

#[tokio::test]
async fn silences_are_checked_kept_audited_and_ended() {
    let served = ready().await;
    let until = 60
        + served.ask("GET", "/v1/alerts", "").await.json()["alerts"][0]["holds_from"]
            .as_i64()
            .unwrap()
            .max(0);
    let long = "x".repeat(200_000);
    let good = json!({"match": {"nodes": ["a"]}, "reason": long, "ends_at": until + 3600});
    let heard = tell(&served, "/v1/silences", &good).await;
    assert_eq!(heard.status(), 200, "{heard:?}");
    let silence = heard.json();
    assert!(silence["reason"].as_str().unwrap().len() <= 512);
    assert_eq!((&silence["active"], &silence["id"]), (&json!(true), &json!(1)));
    for (bad, status, words) in [
        (json!({"reason": "r", "ends_at": until + 3600}), 400, "say which alerts"),
        (
            json!({"match": {"nodes": ["a"]}, "reason": " ", "ends_at": until + 3600}),
            400,
            "say why",
        ),
        (json!({"match": {"nodes": ["a"]}, "reason": "r", "ends_at": 1}), 400, "in the future"),
        (json!({"match": {"moon": ["a"]}, "reason": "r", "ends_at": until + 3600}), 400, "moon"),
        (
            json!({"alert": "00000000000000ff", "reason": "r", "ends_at": until + 3600}),
            404,
            "fires",
        ),
    ] {
        let heard = tell(&served, "/v1/silences", &bad).await;
        assert_eq!(heard.status(), status, "{bad}: {heard:?}");
        assert!(heard.body().contains(words), "{heard:?}");
    }
    let listed = served.ask("GET", "/v1/silences", "").await.json();
    assert_eq!(listed["silences"].as_array().unwrap().len(), 1);
    assert_eq!(served.ask("DELETE", "/v1/silences/1", "").await.status(), 204);
    assert_eq!(served.ask("DELETE", "/v1/silences/1", "").await.status(), 404);
    let audit = served.ask("GET", "/v1/audit?kind=silence", "").await.json();
    let told: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|it| &it["entry"]["object"]).collect();
    assert_eq!(told, ["silence 1", "alerts {\"nodes\":[\"a\"]}"]);
    served.stop().await;
}

#[tokio::test]
async fn receivers_show_their_hosts_and_what_became_of_a_trial() {
    let served = ready().await;
    let heard =
        served.ask_until("/v1/receivers", |heard| heard.body().contains("hooks.example.com")).await;
    assert!(!heard.body().contains("s3cret") && !heard.body().contains("services"), "{heard:?}");
    let lost = served.ask("GET", "/v1/receivers/lost", "").await.json();
    assert_eq!((&lost["kind"], &lost["dead_letters"]), (&json!("teams"), &json!([])));
    let heard = served.ask("POST", "/v1/receivers/lost/test", "").await;
    assert_eq!((heard.status(), heard.kind()), (502, "receiver-failed".into()), "{heard:?}");
    assert!(heard.body().contains("is not there"), "{heard:?}");
    let heard = served.ask("POST", "/v1/receivers/lost/replay", "").await;
    assert_eq!(heard.json()["groups"], 0);
    for name in ["nobody", "..%2f..%2fetc%2fpasswd", "%1b%5b2J", "%00"] {
        for rest in ["", "/test", "/replay"] {
            let method = if rest.is_empty() { "GET" } else { "POST" };
            let heard = served.ask(method, &format!("/v1/receivers/{name}{rest}"), "").await;
            assert_eq!(heard.kind(), "not-found", "{name}{rest}: {heard:?}");
        }
    }
    let audit = served.ask("GET", "/v1/audit?kind=receiver", "").await.json();
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2, "{audit}");
    served.stop().await;
}

#[tokio::test]
async fn one_alert_has_everything_and_the_summary_counts() {
    let served = ready().await;
    let page = served.ask("GET", "/v1/alerts?alert=Watchdog", "").await.json();
    let id = page["alerts"][0]["id"].as_str().unwrap();
    let one = served.ask("GET", &format!("/v1/alerts/{id}"), "").await.json();
    assert_eq!(one["alert"], "Watchdog");
    assert_eq!(one["routes"][0]["because"], "unnamed", "{one}");
    assert_eq!(served.ask("GET", "/v1/alerts/00000000000000ff", "").await.status(), 404);
    let summary = served.ask("GET", "/v1/summary", "").await.json();
    assert!(summary["alerts"]["critical"].is_u64(), "{summary}");
    let documented = served.ask("GET", "/v1/alerts/catalogue", "").await.json();
    assert_eq!(documented["alerts"].as_array().unwrap().len(), AlertKind::ALL.len());
    let text = served.ask("GET", "/v1/alerts?format=text", "").await;
    assert!(text.body().contains("Watchdog"), "{text:?}");
    served.stop().await;
}
