use super::*;

const KEY: &str =
    "palisade/prod/{alertname=\"PalisadeRebootOverdue\", cluster=\"prod\", pool=\"web\"}";

fn pagerduty() -> Target {
    Target::PagerDuty {
        url: secret("https://events.pagerduty.com/v2/enqueue"),
        routing_key: secret("0123456789abcdef0123456789abcdef"),
    }
}

#[test]
fn pagerduty_opens_and_closes_an_incident_by_one_key() {
    for (notice, action, title, text, source, link) in [
        (firing(), "trigger", FIRING, FIRING_TEXT.to_owned(), "worker-7", EXPLAIN),
        (resolved(), "resolve", RESOLVED, RESOLVED_TEXT.to_owned(), "worker-7", EXPLAIN),
        (many(), "trigger", MANY, format!("{MANY_HEAD}\n{MANY_TEXT}\n\n{MANY_REST}"), "prod", LIST),
    ] {
        let mut payload = json!({
            "summary": title,
            "source": source,
            "severity": "warning",
            "timestamp": "2026-11-20T02:10:00Z",
            "group": "web",
            "class": "PalisadeRebootOverdue",
            "custom_details": {
                "cluster": "prod", "firing": notice.firing, "resolved": notice.resolved,
                "nodes": notice.nodes, "text": text
            }
        });
        // Of many, the component is not known to be one.
        if source == "worker-7" {
            payload["component"] = json!("reboots");
        }
        assert_eq!(
            body(&pagerduty(), &notice),
            json!({
                "routing_key": "0123456789abcdef0123456789abcdef",
                "event_action": action,
                "dedup_key": KEY,
                "payload": payload,
                "client": "palisade",
                "client_url": link,
                "links": [{"href": link, "text": "Open in palisade"}]
            })
        );
    }
}

#[test]
fn severities_have_their_words_in_pagerduty_and_opsgenie() {
    for (severity, word, priority) in [
        (Severity::None, "info", "P5"),
        (Severity::Info, "info", "P5"),
        (Severity::Warning, "warning", "P3"),
        (Severity::Critical, "critical", "P1"),
    ] {
        let notice = notice(vec![Noticed { severity, ..alert(7) }], 0);
        assert_eq!(body(&pagerduty(), &notice)["payload"]["severity"], word);
        assert_eq!(body(&opsgenie(), &notice)["priority"], priority);
    }
}

#[test]
fn a_long_key_is_a_digest_and_the_same_each_time() {
    let mut long = firing();
    long.group_key = "x".repeat(300);
    let key = body(&pagerduty(), &long)["dedup_key"].clone();
    assert_eq!(key.as_str().unwrap().len(), "palisade/".len() + 64);
    // It stays the same when the alert gets louder or ends, and another group has another.
    let mut later = resolved();
    later.group_key = long.group_key.clone();
    later.alerts[0].severity = Severity::Critical;
    assert_eq!(body(&pagerduty(), &later)["dedup_key"], key);
    later.group_key.push('y');
    assert_ne!(body(&pagerduty(), &later)["dedup_key"], key);
    // The same group of another cluster is another incident.
    long.cluster = "test".into();
    assert_ne!(body(&pagerduty(), &long)["dedup_key"], key);
}

fn opsgenie() -> Target {
    Target::Opsgenie { url: secret("https://api.opsgenie.com"), key: secret("k3y") }
}

#[test]
fn opsgenie_opens_an_alert_and_closes_it_by_its_alias() {
    for (notice, title, text, link) in [
        (firing(), FIRING, FIRING_TEXT.to_owned(), EXPLAIN),
        (many(), MANY, format!("{MANY_HEAD}\n{MANY_TEXT}\n\n{MANY_REST}"), LIST),
    ] {
        let sent = request(&opsgenie(), &notice);
        assert_eq!(sent.url.reveal(), "https://api.opsgenie.com/v2/alerts");
        assert_eq!(sent.headers, [("Authorization".into(), secret("GenieKey k3y"))]);
        let number = notice.firing.to_string();
        assert_eq!(
            body(&opsgenie(), &notice),
            json!({
                "message": title,
                "alias": KEY,
                "description": text,
                "priority": "P3",
                "source": "palisade",
                "entity": "prod",
                "tags": ["palisade", "warning"],
                "details": {"cluster": "prod", "firing": number, "link": link, "nodes": number}
            })
        );
    }
    let close = request(&opsgenie(), &resolved());
    assert_eq!(
        close.url.reveal(),
        "https://api.opsgenie.com/v2/alerts/palisade%2Fprod%2F%7Balertname%3D%22PalisadeRebootOverdue\
         %22%2C%20cluster%3D%22prod%22%2C%20pool%3D%22web%22%7D/close?identifierType=alias"
    );
    assert_eq!(
        body(&opsgenie(), &resolved()),
        json!({"source": "palisade", "note": format!("{RESOLVED}\n\n{RESOLVED_TEXT}")})
    );
}

#[test]
fn a_message_of_opsgenie_is_cut_to_its_130_characters() {
    let mut long = firing();
    long.alerts[0].words.summary = "ab ".repeat(100);
    let message = body(&opsgenie(), &long)["message"].clone();
    assert_eq!(message.as_str().unwrap().len(), 130);
    assert!(message.as_str().unwrap().ends_with('…'));
}
