use super::*;

fn webhook() -> Target {
    Target::Webhook {
        url: secret("https://hooks.example/T0KEN"),
        hmac_key: Some(secret("k3y")),
        headers: vec![("X-Team".into(), secret("web"))],
        body: None,
    }
}

#[test]
fn a_webhook_has_the_shape_of_alertmanager() {
    let request = request(&webhook(), &notice(vec![alert(7), ended(8)], 0));
    assert_eq!((request.method, &*request.content_type), ("POST", "application/json"));
    assert_eq!(request.headers, [("X-Team".into(), secret("web"))]);
    assert_eq!(request.sign_with, Some(secret("k3y")));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let labels = |node| {
        json!({
            "alertname": "PalisadeRebootOverdue", "cluster": "prod", "component": "reboots",
            "node": node, "pool": "web", "severity": "warning"
        })
    };
    assert_eq!(
        body,
        json!({
            "version": "4",
            "groupKey": "{alertname=\"PalisadeRebootOverdue\", cluster=\"prod\", pool=\"web\"}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "team-web",
            "groupLabels": {
                "alertname": "PalisadeRebootOverdue", "cluster": "prod", "pool": "web"
            },
            "commonLabels": {
                "alertname": "PalisadeRebootOverdue", "cluster": "prod", "component": "reboots",
                "pool": "web", "severity": "warning"
            },
            "commonAnnotations": {
                "action": "Open a window for the pool web, or approve the reboot.",
                "description": "It runs a kernel with known holes."
            },
            "externalURL": "https://palisade.example",
            "notification_reason": "first notification",
            "alerts": [
                {
                    "status": "firing",
                    "labels": labels("worker-7"),
                    "annotations": {
                        "action": "Open a window for the pool web, or approve the reboot.",
                        "description": "It runs a kernel with known holes.",
                        "link": "https://palisade.example/v1/nodes/worker-7/explain",
                        "summary": "worker-7 should have rebooted by 2026-11-20: kernel 6.1.0-56"
                    },
                    "startsAt": "2026-11-20T02:10:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "https://palisade.example/v1/nodes/worker-7/explain",
                    "fingerprint": "0000000000000007"
                },
                {
                    "status": "resolved",
                    "labels": labels("worker-8"),
                    "annotations": {
                        "action": "Open a window for the pool web, or approve the reboot.",
                        "description": "It runs a kernel with known holes.",
                        "link": "https://palisade.example/v1/nodes/worker-8/explain",
                        "resolved_by": "rebooted into kernel 6.1.0-56",
                        "summary": "worker-8 should have rebooted by 2026-11-20: kernel 6.1.0-56"
                    },
                    "startsAt": "2026-11-20T02:10:00Z",
                    "endsAt": "2026-11-23T02:10:00Z",
                    "generatorURL": "https://palisade.example/v1/nodes/worker-8/explain",
                    "fingerprint": "0000000000000008"
                }
            ]
        })
    );
}

#[test]
fn all_that_ended_is_resolved() {
    let body = body(&webhook(), &notice(vec![ended(7)], 0));
    assert_eq!(
        (&body["status"], &body["notification_reason"]),
        (&json!("resolved"), &json!("all alerts resolved"))
    );
}

#[test]
fn alerts_that_are_left_out_are_counted() {
    let whole = body(&webhook(), &many());
    assert_eq!(
        (whole["alerts"].as_array().unwrap().len(), &whole["truncatedAlerts"]),
        (200, &json!(4_800))
    );
    // Long words: fewer alerts, and all of the others are counted.
    let mut long = many();
    for alert in &mut long.alerts {
        alert.words.description = "x\"".repeat(50_000);
    }
    for (size, max) in [(Size::Full, 262_144), (Size::Shrunk, 65_536)] {
        let rendered = render(&webhook(), &long, &Templates::default(), size).unwrap();
        let [Outgoing::Http(request)] = &rendered[..] else { panic!("{rendered:?}") };
        assert!(
            request.body.len() <= max && request.body.len() > max / 2,
            "{}",
            request.body.len()
        );
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let kept = body["alerts"].as_array().unwrap().len() as u64;
        assert_eq!(kept + body["truncatedAlerts"].as_u64().unwrap(), 5_000);
        assert!((10..200).contains(&kept), "{kept}");
    }
}

fn custom(body: Body) -> HttpRequest {
    let url = secret("https://hooks.example/T0KEN");
    let target = Target::Webhook { url, hmac_key: None, headers: Vec::new(), body: Some(body) };
    request(&target, &firing())
}

#[test]
fn other_bodies_have_title_and_message_where_they_are_wanted() {
    let json_body = |title: &str| Body::Json {
        title: title.into(),
        message: "msg".into(),
        fields: vec![
            ("prio".into(), Field::Number(5)),
            ("room".into(), Field::Text(secret("ops"))),
            ("msg".into(), Field::Number(0)),
        ],
        content_type: Some("application/x+json".into()),
        method: "PUT",
    };
    let sent = custom(json_body("head"));
    assert_eq!((sent.method, &*sent.content_type), ("PUT", "application/x+json"));
    assert_eq!(
        serde_json::from_slice::<Value>(&sent.body).unwrap(),
        json!({"head": FIRING, "msg": FIRING_TEXT, "prio": 5, "room": "ops"})
    );
    let sent = custom(json_body(""));
    let whole = format!("{FIRING}\n\n{FIRING_TEXT}");
    assert_eq!(
        serde_json::from_slice::<Value>(&sent.body).unwrap(),
        json!({"msg": whole, "prio": 5, "room": "ops"})
    );
    let sent = custom(Body::Text { content_type: "text/plain".into(), method: "POST" });
    assert_eq!((&*sent.content_type, sent.body), ("text/plain", whole.into_bytes()));
    let fields = vec![("to".into(), secret("a&b=ü"))];
    let sent = custom(Body::Form { title: "t".into(), message: "m".into(), fields });
    let form = String::from_utf8(sent.body).unwrap();
    assert!(form.starts_with("to=a%26b%3D%C3%BC&t=%5BFIRING%3A1%5D%20warning%3A"), "{form}");
    assert!(form.contains("&m=warning%2C%20since%20"), "{form}");
}
