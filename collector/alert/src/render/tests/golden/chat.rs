use super::*;

fn url() -> Secret {
    secret("https://chat.example/hooks/T0KEN")
}

/// Title and text of all three, with titles in bold.
fn bold() -> [(Notice, String); 3] {
    [
        (firing(), format!("**{FIRING}**\n\n{FIRING_TEXT}")),
        (resolved(), format!("**{RESOLVED}**\n\n{RESOLVED_TEXT}")),
        (many(), format!("**{MANY}**\n\n**{MANY_HEAD}**\n{MANY_TEXT}\n\n{MANY_REST}")),
    ]
}

#[test]
fn slack_is_sent_sections_and_a_link() {
    let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}});
    for (notice, title, sections) in [
        (firing(), FIRING, vec![FIRING_TEXT.into(), format!("<{EXPLAIN}|Open in palisade>")]),
        (resolved(), RESOLVED, vec![RESOLVED_TEXT.into(), format!("<{EXPLAIN}|Open in palisade>")]),
        (
            many(),
            MANY,
            vec![
                format!("*{MANY_HEAD}*\n{MANY_TEXT}"),
                MANY_REST.into(),
                format!("<{LIST}|Open in palisade>"),
            ],
        ),
    ] {
        let target = Target::Slack { url: url(), token: None, channel: None, username: None };
        let title_section = format!("*{title}*");
        let sections: Vec<Value> =
            std::iter::once(&title_section).chain(&sections).map(|it| section(it)).collect();
        assert_eq!(
            body(&target, &notice),
            json!({
                "text": title, "blocks": sections, "parse": "none", "link_names": false,
                "unfurl_links": false, "unfurl_media": false
            })
        );
    }
}

#[test]
fn a_bot_of_slack_has_its_token_in_a_header_and_its_channel_in_the_body() {
    let target = Target::Slack {
        url: secret("https://slack.com/api/chat.postMessage"),
        token: Some(secret("xoxb-1")),
        channel: Some("C001".into()),
        username: Some("palisade".into()),
    };
    let sent = request(&target, &firing());
    assert_eq!(sent.headers, [("Authorization".into(), secret("Bearer xoxb-1"))]);
    let body = body(&target, &firing());
    assert_eq!((&body["channel"], &body["username"]), (&json!("C001"), &json!("palisade")));
}

#[test]
fn slack_has_its_three_characters_escaped() {
    let mut hostile = firing();
    hostile.alerts[0].words.summary = "<!channel> & <@U1>".into();
    hostile.alerts[0].words.link = "/v1/nodes?a=1&b=<x>".into();
    let target = Target::Slack { url: url(), token: None, channel: None, username: None };
    let body = body(&target, &hostile);
    assert_eq!(body["text"], "[FIRING:1] warning: &lt;!channel&gt; &amp; &lt;@U1&gt; (prod)");
    assert_eq!(
        body["blocks"][2]["text"]["text"],
        "<https://palisade.example/v1/nodes?a=1&amp;b=%3Cx%3E|Open in palisade>"
    );
}

#[test]
fn teams_is_sent_one_card() {
    for (notice, title, color, texts, link) in [
        (firing(), FIRING, "Warning", vec![FIRING_TEXT.to_owned()], EXPLAIN),
        (resolved(), RESOLVED, "Good", vec![RESOLVED_TEXT.to_owned()], EXPLAIN),
        (
            many(),
            MANY,
            "Warning",
            vec![format!("**{MANY_HEAD}**\n{MANY_TEXT}"), MANY_REST.to_owned()],
            LIST,
        ),
    ] {
        let mut blocks = vec![json!({
            "type": "TextBlock", "text": title, "wrap": true, "weight": "Bolder",
            "size": "Medium", "color": color
        })];
        blocks.extend(texts.iter().map(|text| {
            let text = text.replace('\n', "\n\n");
            json!({"type": "TextBlock", "text": text, "wrap": true, "separator": true})
        }));
        assert_eq!(
            body(&Target::Teams { url: url() }, &notice),
            json!({
                "type": "message",
                "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "contentUrl": null,
                    "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "type": "AdaptiveCard",
                        "version": "1.2",
                        "msteams": {"width": "full"},
                        "body": blocks,
                        "actions": [{
                            "type": "Action.OpenUrl", "title": "Open in palisade", "url": link
                        }]
                    }
                }]
            })
        );
    }
}

#[test]
fn discord_mentions_nobody() {
    for (notice, text) in bold() {
        assert_eq!(
            body(&Target::Discord { url: url() }, &notice),
            json!({"content": text, "allowed_mentions": {"parse": []}, "flags": 4})
        );
    }
}

#[test]
fn mattermost_is_sent_markdown() {
    for (notice, text) in bold() {
        let target = Target::Mattermost { url: url(), channel: Some("ops".into()) };
        assert_eq!(body(&target, &notice), json!({"text": text, "channel": "ops"}));
    }
}

#[test]
fn telegram_is_sent_plain_text_once_for_each_chat() {
    let target = Target::Telegram {
        url: secret("https://api.telegram.org/"),
        token: secret("12:T0KEN"),
        chats: vec!["-100123".into(), "@ops".into(), "-100124:7".into()],
    };
    for (notice, text) in plain() {
        let sent = sent(&target, &notice);
        let chats = [json!("-100123"), json!("@ops"), json!("-100124")];
        assert_eq!(sent.len(), chats.len());
        for (index, (outgoing, chat)) in sent.iter().zip(chats).enumerate() {
            let Outgoing::Http(request) = outgoing else { panic!("{outgoing:?}") };
            assert_eq!(request.url.reveal(), "https://api.telegram.org/bot12:T0KEN/sendMessage");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let mut expected = json!({
                "chat_id": chat, "text": text, "link_preview_options": {"is_disabled": true}
            });
            if index == 2 {
                expected["message_thread_id"] = json!(7);
            }
            assert_eq!(body, expected);
        }
    }
}

#[test]
fn without_an_address_of_ours_there_is_a_path_and_no_button() {
    let mut unknown = firing();
    unknown.external_url = String::new();
    let teams = body(&Target::Teams { url: url() }, &unknown);
    assert_eq!(teams["attachments"][0]["content"]["actions"], json!([]));
    let text = teams["attachments"][0]["content"]["body"][1]["text"].as_str().unwrap();
    assert!(text.ends_with("More: /v1/nodes/worker-7/explain"), "{text}");
}
