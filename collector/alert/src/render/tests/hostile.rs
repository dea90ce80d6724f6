//! Whatever tenants write arrives as text, and nothing becomes too large by it.

use proptest::prelude::*;

use super::*;

/// Pieces of what people try.
const EVIL: [&str; 30] = [
    "<!channel>",
    "<!here|here>",
    "<@U012AB3CD>",
    "<https://evil.example|Sign in>",
    "<script>alert(1)</script>",
    "<at>everyone</at>",
    "@everyone",
    "@here @channel @all",
    "[click](https://evil.example)",
    "![](https://evil.example/x.png)",
    "**bold** __under__ ~~gone~~",
    "`code` ```\nblock\n```",
    "# heading",
    "> quote",
    "||spoiler||",
    "&lt;b&gt; &amp;amp;",
    "\r\nBcc: all@example.org\r\n\r\nhello",
    "\r\nX-Evil: 1",
    "\n\n\n",
    "\u{0}\u{1b}[2J\u{7f}",
    "\u{202e}gpj.exe\u{2066}",
    "\u{200b}\u{feff}\u{e0041}",
    "\"',;\\{}$(reboot)%0a%n%s{{ .Labels }}",
    "\u{85}\u{2028}\u{2029}",
    "tel:+1 http://evil.example mailto:a@b.c",
    "😀👩‍👩‍👧‍👦",
    "ＡＢＣ",
    "e\u{301}\u{301}\u{301}",
    ":boom: #ops ~town-square /quit",
    "javascript:alert(1)",
];

fn evil() -> impl Strategy<Value = String> {
    let pieces = || proptest::collection::vec(proptest::sample::select(EVIL.to_vec()), 1..8);
    prop_oneof![
        4 => pieces().prop_map(|it| it.concat()),
        2 => "(?s).{0,300}",
        1 => (pieces(), 1_usize..100_000).prop_map(|(it, least)| {
            let text = it.concat();
            text.repeat(least.div_ceil(text.len()))
        }),
    ]
}

/// Notices that are hostile wherever a text can be.
fn hostile() -> impl Strategy<Value = Notice> {
    let texts = || proptest::collection::vec(evil(), 12);
    let number = proptest::sample::select(vec![1_usize, 2, 10, 12]);
    let more = proptest::sample::select(vec![0, 0, 40]);
    let base = proptest::sample::select(vec!["https://palisade.example", ""]);
    (texts(), number, more, base, any::<bool>()).prop_map(|(texts, number, more, base, is_over)| {
        let of = |index: usize, turn: usize| texts[(index + turn) % texts.len()].clone();
        let alerts = (0..number).map(|turn| {
            let mut it =
                if is_over || turn % 3 == 2 { ended(turn as u64) } else { alert(turn as u64) };
            for (index, name) in ["node", "pool", "namespace", "subject"].into_iter().enumerate() {
                it.labels.insert(name, of(index, turn));
            }
            // An Event is about a node that there can be.
            if turn % 2 == 0 {
                it.labels.insert("node", format!("worker-{turn}"));
            }
            it.words = Words {
                summary: of(4, turn),
                description: of(5, turn),
                action: of(6, turn),
                link: format!("/v1/nodes/{}", of(7, turn)),
            };
            if let Some(ended) = &mut it.ended {
                ended.why = of(8, turn);
            }
            it.stale_since = Some(NOW);
            it
        });
        let mut notice = notice(alerts.collect(), if is_over { 0 } else { more });
        notice.group_key = of(9, 0);
        notice.cluster = of(10, 0);
        notice.receiver = of(11, 0);
        notice.group_labels.insert("pool", of(1, 0));
        notice.external_url = base.into();
        notice
    })
}

/// All texts of a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| [vec![name.clone()], texts(value)].concat())
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Nothing in it steers a terminal, a header or the direction of reading; our own line feeds may.
fn is_showable(text: &str) -> bool {
    !text.chars().any(|it| {
        (it.is_control() && it != '\n')
            || matches!(it, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}')
            || matches!(it, '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
    })
}

/// What is left of Markdown after all that is escaped, and our own bold and state, are taken out.
fn markdown_left(text: &str) -> String {
    let mut left = String::new();
    for line in text.lines() {
        let line = line.strip_prefix("**").and_then(|it| it.strip_suffix("**")).unwrap_or(line);
        let is_state = line.starts_with("[FIRING") || line.starts_with("[RESOLVED");
        let line = if is_state { line.split_once("] ").unwrap().1 } else { line };
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            if character == '\\' {
                characters.next();
            } else {
                left.push(character);
            }
        }
    }
    left
}

fn only_entities(text: &str) -> bool {
    let left = ["&amp;", "&lt;", "&gt;"]
        .into_iter()
        .fold(text.to_owned(), |it, entity| it.replace(entity, ""));
    !left.contains(['<', '>', '&'])
}

/// Asserts what holds for whatever goes out to a target of this kind.
fn check(kind: TargetKind, outgoing: &Outgoing) {
    match outgoing {
        Outgoing::Email(mail) => {
            assert!(mail.subject.len() <= 200 && is_showable(&mail.subject), "{:?}", mail.subject);
            assert!(!mail.subject.contains('\n'));
            assert!(mail.text.len() <= 65_536 && is_showable(&mail.text));
            assert!(mail.thread.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'@'));
        }
        Outgoing::Event(event) => {
            assert!(event.note.len() <= 1_024 && is_showable(&event.note), "{}", event.note);
            assert!(event.reason.len() <= 128);
            assert!(event.node.parse::<palisade_report::NodeName>().is_ok());
        }
        Outgoing::Http(request) => check_request(kind, request),
    }
}

fn check_request(kind: TargetKind, request: &HttpRequest) {
    assert!(
        request.url.reveal().bytes().all(|it| it.is_ascii_graphic()),
        "{}",
        request.url.reveal()
    );
    for (name, value) in &request.headers {
        assert!(!name.chars().chain(value.reveal().chars()).any(char::is_control));
    }
    let body = std::str::from_utf8(&request.body).unwrap();
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        assert_eq!(kind, TargetKind::Webhook);
        assert!(body.len() <= 16_000 && is_showable(body));
        assert!(!body.contains(['@', '<', '>']), "{body}");
        return;
    };
    let all = texts(&json);
    for text in &all {
        assert!(is_showable(text), "{text:?}");
    }
    let text_of = |name: &str| json[name].as_str().unwrap().to_owned();
    match kind {
        TargetKind::Discord => {
            assert!(text_of("content").chars().count() <= 2_000);
            assert_eq!(json["allowed_mentions"], json!({"parse": []}));
            let left = markdown_left(&text_of("content"));
            assert!(!left.contains(['*', '_', '[', '`', '~', '|', '<', '>', '@', '#']), "{left}");
        }
        TargetKind::Mattermost => {
            assert!(text_of("text").chars().count() <= 16_383);
            let left = markdown_left(&text_of("text"));
            assert!(!left.contains(['*', '_', '[', '`', '~', '|', '<', '>', '@', '#']), "{left}");
        }
        TargetKind::Opsgenie => {
            if json.get("message").is_some() {
                assert!(text_of("message").chars().count() <= 130);
                assert!(text_of("alias").len() <= 255);
                assert!(text_of("description").chars().count() <= 15_000);
            }
        }
        TargetKind::PagerDuty => {
            assert!(request.body.len() <= 512_000);
            assert!(text_of("dedup_key").chars().count() <= 255);
            assert!(json["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
        }
        TargetKind::Slack => {
            assert!(request.body.len() <= 12_000);
            assert!(only_entities(&text_of("text")));
            let blocks = json["blocks"].as_array().unwrap();
            assert!(blocks.len() <= 50);
            for block in blocks {
                assert_eq!(block["text"]["verbatim"], true);
                let text = block["text"]["text"].as_str().unwrap();
                assert!(!text.is_empty() && text.chars().count() <= 3_000);
                let own = text.strip_prefix("<https://palisade.example/v1/");
                let own = own.and_then(|it| it.strip_suffix("|Open in palisade>"));
                assert!(only_entities(own.unwrap_or(text)), "{text}");
            }
        }
        TargetKind::Teams => {
            assert!(request.body.len() <= 18 * 1024);
            let card = &json["attachments"][0]["content"];
            for block in card["body"].as_array().unwrap() {
                let text = block["text"].as_str().unwrap();
                assert!(only_entities(text), "{text}");
                let left = markdown_left(text);
                assert!(!left.contains(['*', '_', '[', ']', '`', '~', '|', '#']), "{left}");
            }
            for action in card["actions"].as_array().unwrap() {
                assert!(
                    action["url"].as_str().unwrap().starts_with("https://palisade.example/v1/")
                );
            }
        }
        TargetKind::Telegram => {
            assert!(text_of("text").encode_utf16().count() <= 4_096);
            assert!(!text_of("text").contains('@') && json.get("parse_mode").is_none());
        }
        TargetKind::Webhook => {
            assert!(request.body.len() <= 256 * 1024);
            let is_v4 = json.get("version").is_some();
            let said = if is_v4 { Vec::new() } else { texts(&json) };
            for line in said.iter().flat_map(|it| it.lines()) {
                let is_state = line.starts_with("[FIRING") || line.starts_with("[RESOLVED");
                let line = if is_state { line.split_once("] ").unwrap().1 } else { line };
                assert!(!line.contains(['@', '<', '>', '[', ']']), "{line}");
            }
        }
        TargetKind::Alertmanager | TargetKind::Email | TargetKind::KubernetesEvents => {
            panic!("{kind:?}")
        }
    }
}

proptest! {
    // Twelve hostile texts in each: more than a thousand.
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn hostile_texts_reach_every_target_escaped_and_bounded(
        notice in hostile(),
        size in proptest::sample::select(vec![Size::Full, Size::Full, Size::Shrunk]),
    ) {
        for target in targets() {
            let sent = render(&target, &notice, &Templates::default(), size).unwrap();
            sent.iter().for_each(|it| check(target.kind(), it));
            let is_events = target == Target::KubernetesEvents;
            prop_assert!(is_events || !sent.is_empty());
        }
    }
}

#[test]
fn the_longest_templates_fit_every_target() {
    let template = |text: String| Some(crate::template::Template::parse(&text).unwrap());
    let templates = Templates {
        title: template(format!("{}\n{{summary}}", "x".repeat(4_000))),
        message: template(format!("{}{{description}}{{link}}", "yé\n".repeat(1_000))),
    };
    for mut long in [notice((1..=10).map(alert).collect(), 0), many()] {
        for alert in &mut long.alerts {
            alert.words.description = EVIL.concat();
        }
        for target in targets() {
            for size in [Size::Full, Size::Shrunk] {
                let sent = render(&target, &long, &templates, size).unwrap();
                sent.iter().for_each(|it| check(target.kind(), it));
                assert!(!sent.is_empty());
            }
        }
    }
}

#[test]
fn a_shrunk_message_is_smaller_and_counts_what_it_leaves_out() {
    let mut large = notice((1..=10).map(alert).collect(), 0);
    for alert in &mut large.alerts {
        alert.words.description = "It runs a kernel with known holes. ".repeat(200);
    }
    for target in targets().iter().filter(|it| **it != Target::KubernetesEvents) {
        let size = |size| -> usize {
            let sent = render(target, &large, &Templates::default(), size).unwrap();
            let bytes = |it: &Outgoing| match it {
                Outgoing::Email(mail) => mail.text.len(),
                Outgoing::Event(event) => event.note.len(),
                Outgoing::Http(request) => request.body.len(),
            };
            sent.iter().map(bytes).sum()
        };
        let (full, shrunk) = (size(Size::Full), size(Size::Shrunk));
        // What is this small is never refused; a quarter of version 4 has room for ten alerts.
        let is_v4 = matches!(target, Target::Webhook { body: None, .. });
        assert!(shrunk < full || full <= 2_000 || is_v4, "{target:?}: {shrunk} of {full}");
    }
    let slack = &targets()[6];
    let sent = render(slack, &large, &Templates::default(), Size::Shrunk).unwrap();
    let [Outgoing::Http(request)] = &sent[..] else { panic!("{sent:?}") };
    let text = String::from_utf8_lossy(&request.body);
    assert!(
        text.contains("and 7 more: https://palisade.example/v1/alerts?alert=RebootOverdue"),
        "{text}"
    );
}
