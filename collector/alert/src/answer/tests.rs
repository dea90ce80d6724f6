use proptest::prelude::*;

use super::*;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::secret::Secret;

/// 2026-11-23 02:10:00 UTC.
const NOW: Moment = Moment::from_unix(1_795_399_800);

fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Dead { .. } => "dead",
        Outcome::Delivered => "delivered",
        Outcome::Lost { .. } => "lost",
        Outcome::Partial { .. } => "partial",
        Outcome::Retry { .. } => "retry",
        Outcome::TooLarge => "too large",
    }
}

fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Dead { why }
        | Outcome::Lost { why, .. }
        | Outcome::Partial { why }
        | Outcome::Retry { why, .. } => why,
        Outcome::Delivered | Outcome::TooLarge => panic!("{outcome:?} says nothing"),
    }
}

#[test]
fn every_status_has_its_class() {
    for target in TargetKind::ALL {
        for status in 0..=u16::MAX {
            let expected = match status {
                200..=299 => "delivered",
                400 if target == TargetKind::Alertmanager => "partial",
                408 | 425 | 429 | 500..=599 => "retry",
                413 => "too large",
                _ => "dead",
            };
            let outcome = understand(target, status, None, b"", NOW);
            assert_eq!(class(&outcome), expected, "{target:?} {status}");
        }
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_and_is_clamped() {
    for (header, secs) in [
        ("0", Some(1)),
        ("1", Some(1)),
        (" 30 ", Some(30)),
        ("3600", Some(3600)),
        ("604800", Some(3600)),
        ("99999999999999999999999999", Some(3600)),
        ("Mon, 23 Nov 2026 02:12:00 GMT", Some(120)),
        ("Mon, 23 Nov 2026 02:09:00 GMT", Some(1)),
        ("Tue, 24 Nov 2026 02:09:00 GMT", Some(3600)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        let outcome = understand(TargetKind::Slack, 429, Some(header), b"", NOW);
        let Outcome::Retry { after, .. } = outcome else { panic!("{header}: {outcome:?}") };
        assert_eq!(after, secs.map(Duration::from_secs), "{header}");
    }
    let outcome = understand(TargetKind::Webhook, 503, Some("7"), b"", NOW);
    assert!(matches!(outcome, Outcome::Retry { after: Some(it), .. } if it.as_secs() == 7));
}

#[test]
fn what_receivers_say_is_told_with_what_to_do() {
    use TargetKind::*;
    for (target, status, body, words) in [
        (
            PagerDuty,
            400,
            r#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#,
            "answered 400: Event object is invalid; Length of 'routing_key' is incorrect (should be 32 \
             characters) (check the integration key)",
        ),
        (
            Slack,
            403,
            "invalid_token",
            "answered 403: invalid_token (the webhook address is wrong or was revoked)",
        ),
        (Slack, 400, "no_text", "answered 400: no_text"),
        (
            Slack,
            200,
            r#"{"ok":false,"error":"not_in_channel"}"#,
            "answered 200: not_in_channel (invite the bot to the channel)",
        ),
        (
            Telegram,
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            "answered 400: Bad Request: chat not found (the bot must be a member of the chat)",
        ),
        (
            Opsgenie,
            422,
            r#"{"message":"Request body is not processable. Check apiKey.","took":0.002}"#,
            "answered 422: Request body is not processable. Check apiKey. (check the API key and the \
             region of the address)",
        ),
        (
            Discord,
            404,
            r#"{"message": "Unknown Webhook", "code": 10015}"#,
            "answered 404: Unknown Webhook (the webhook was removed)",
        ),
        (
            Alertmanager,
            400,
            "\"invalid label set: empty\\n\"",
            "answered 400: invalid label set: empty",
        ),
        (
            Teams,
            400,
            r#"{"error":{"code":"InvalidRequest","message":"the card is broken"}}"#,
            "answered 400: the card is broken",
        ),
        (Webhook, 301, "", "answered 301 (redirects are not followed)"),
        (
            Webhook,
            502,
            "<html>\r\n<h1>Bad\u{7} Gateway",
            "answered 502: <html> <h1>Bad\\u{7} Gateway",
        ),
    ] {
        assert_eq!(why(understand(target, status, None, body.as_bytes(), NOW)), words);
    }
}

#[test]
fn slack_and_telegram_refuse_within_a_200() {
    for (body, expected) in [
        ("ok", "delivered"),
        (r#"{"ok":true}"#, "delivered"),
        (r#"{"ok":false,"error":"channel_not_found"}"#, "dead"),
        (r#"{"ok":false,"error":"ratelimited"}"#, "retry"),
        (r#"{"ok":false}"#, "dead"),
    ] {
        let outcome = understand(TargetKind::Slack, 200, None, body.as_bytes(), NOW);
        assert_eq!(class(&outcome), expected, "{body}");
    }
    // Others mean what they say by the status.
    let refusal = br#"{"ok":false}"#;
    assert_eq!(class(&understand(TargetKind::Webhook, 200, None, refusal, NOW)), "delivered");
}

fn webhook(body: Option<Body>) -> Target {
    let url = Secret::new("https://hooks.example/x");
    Target::Webhook { url, hmac_key: None, headers: Vec::new(), body }
}

#[test]
fn an_answer_that_repeats_a_key_or_a_login_shows_none() {
    let secret = |text: &str| Secret::new(text);
    let url = || secret("https://a.example/x");
    let fields = vec![("token".to_owned(), secret("s3 c\"t"))];
    let json = fields.iter().map(|(name, it)| (name.clone(), Field::Text(it.clone()))).collect();
    let form = Body::Form { title: String::new(), message: "m".to_owned(), fields };
    let json = Body::Json {
        title: String::new(),
        message: "m".to_owned(),
        fields: json,
        content_type: None,
        method: "POST",
    };
    for (target, body, words) in [
        (
            Target::PagerDuty { url: url(), routing_key: secret("abcdefghijklmno") },
            "no key abcdefghijklmno here",
            "no key *** here",
        ),
        (Target::Opsgenie { url: url(), key: secret("hunter2") }, "Key hunter2?", "Key ***?"),
        (
            Target::Telegram { url: url(), token: secret("12:ab/c"), chats: Vec::new() },
            "no bot12%3Aab%2Fc",
            "no bot***",
        ),
        (webhook(Some(form)), "token=s3%20c%22t&m=hello", "token=***&m=hello"),
        (webhook(Some(json)), r#"not JSON: "token": "s3 c\"t""#, r#"not JSON: "token": "***""#),
        // The user is no secret; that the login failed is for people to read.
        (webhook(None), "user me, password s3cr3t", "user me, password ***"),
    ] {
        let request = HttpRequest {
            method: "POST",
            url: url(),
            headers: vec![("Authorization".into(), secret("Basic bWU6czNjcjN0"))],
            content_type: "application/json".into(),
            body: Vec::new(),
            sign_with: None,
        };
        let outcome = understand_answer_to(&request, &target, 403, None, body.as_bytes(), NOW);
        assert_eq!(why(outcome), format!("answered 403: {words}"));
    }
}

#[test]
fn an_answer_that_repeats_the_request_shows_no_secret() {
    let request = HttpRequest {
        method: "POST",
        url: Secret::new(
            "https://me:pa55w0rd@hooks.example/services/T0KENT0KEN/x?sig=S1GNATURE%3D",
        ),
        headers: vec![("Authorization".into(), Secret::new("Bearer b34rer-t0ken"))],
        content_type: "application/json".into(),
        body: Vec::new(),
        sign_with: None,
    };
    let body = "no such services: /services/T0KENT0KEN/x?sig=S1GNATURE%3D pa55w0rd, \
                Authorization: Bearer b34rer-t0ken";
    let outcome = understand_answer_to(&request, &webhook(None), 404, None, body.as_bytes(), NOW);
    assert_eq!(
        why(outcome),
        "answered 404: no such services: /services/***/x?sig=*** ***, Authorization: ***"
    );
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_and_its_words_are_bounded(
        status: u16,
        target in proptest::sample::select(TargetKind::ALL.to_vec()),
        header in proptest::option::of("(?s).{0,80}|[0-9]{1,40}|[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} .{0,20}"),
        mut body in proptest::collection::vec(any::<u8>(), 0..400),
        repeat in 1_usize..200,
    ) {
        body = body.repeat(repeat);
        match understand(target, status, header.as_deref(), &body, NOW) {
            Outcome::Dead { why } | Outcome::Partial { why } => {
                prop_assert!(why.len() < MAX_WHY + 160);
                prop_assert!(!why.chars().any(char::is_control));
            }
            Outcome::Retry { why, after } => {
                prop_assert!(why.len() < MAX_WHY + 160);
                prop_assert!(!why.chars().any(char::is_control));
                prop_assert!(after.is_none_or(|it| it >= LEAST_RETRY && it <= MOST_RETRY));
            }
            lost @ Outcome::Lost { .. } => panic!("{lost:?}: there was an answer"),
            Outcome::Delivered | Outcome::TooLarge => {}
        }
    }
}
