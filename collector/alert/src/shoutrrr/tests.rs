use proptest::prelude::*;

use super::*;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::MailServer;
use crate::receiver::MailTls;
use crate::secret::Secret;

mod refused;

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn slack(token: Option<&str>, channel: Option<&str>, username: Option<&str>) -> Target {
    let url = match token {
        None => "https://hooks.slack.com/services/WNA3PBYV6/F20DUQND3RQ/Webc4MAvoacrpPakR8phF0zi",
        Some(_) => "https://slack.com/api/chat.postMessage",
    };
    Target::Slack {
        url: secret(url),
        token: token.map(secret),
        channel: channel.map(str::to_owned),
        username: username.map(str::to_owned),
    }
}

#[test]
fn slack_has_three_ways_to_be_written() {
    for url in [
        "slack://hook:WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook",
        "slack://hook-WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook?color=%23ff8000",
        "slack://hook:WNA3PBYV6,F20DUQND3RQ,Webc4MAvoacrpPakR8phF0zi@webhook",
        "slack://WNA3PBYV6/F20DUQND3RQ/Webc4MAvoacrpPakR8phF0zi",
        "\"slack://WNA3PBYV6/F20DUQND3RQ/Webc4MAvoacrpPakR8phF0zi\"",
        " 'Slack://WNA3PBYV6/F20DUQND3RQ/Webc4MAvoacrpPakR8phF0zi/'\n",
    ] {
        assert_eq!(parse(url), Ok(slack(None, None, None)), "{url}");
    }
    let named =
        "slack://bot@WNA3PBYV6/F20DUQND3RQ/Webc4MAvoacrpPakR8phF0zi?title=Great+News&icon=x";
    let migrated = migrate(named).unwrap();
    assert_eq!(migrated.target, slack(None, None, Some("bot")));
    assert_eq!(migrated.ignored, ["icon", "title"]);
    assert_eq!(
        parse(
            "slack://xoxb:123456789012-1234567890123-4mt0t4l1YL3g1T5L4cK70k3N@C001CH4NN3L?botname=A+B"
        ),
        Ok(slack(
            Some("xoxb-123456789012-1234567890123-4mt0t4l1YL3g1T5L4cK70k3N"),
            Some("C001CH4NN3L"),
            Some("A B")
        ))
    );
}

#[test]
fn chats_are_reached_by_their_own_addresses() {
    let workflow = "https://prod-00.westus.logic.azure.com:443/workflows/abc/triggers/manual/paths/invoke?api-version=2016-06-00&sp=/triggers/manual/run&sv=1.0&sig=s1gn";
    let teams = "teams://?host=https%3A%2F%2Fprod-00.westus.logic.azure.com%3A443%2Fworkflows%2Fabc%2Ftriggers%2Fmanual%2Fpaths%2Finvoke%3Fapi-version%3D2016-06-00%26sp%3D%2Ftriggers%2Fmanual%2Frun%26sv%3D1.0%26sig%3Ds1gn&title=Alert";
    let discord = |tail: &str| Target::Discord {
        url: secret(&format!("https://discord.com/api/webhooks/693853386302554172/W3dE_2-x{tail}")),
    };
    let mattermost = |url, channel: Option<&str>| Target::Mattermost {
        url: secret(url),
        channel: channel.map(str::to_owned),
    };
    for (url, target) in [
        (teams, Target::Teams { url: secret(workflow) }),
        ("discord://W3dE_2-x@693853386302554172", discord("")),
        ("discord://W3dE_2-x@693853386302554172?thread_id=123", discord("?thread_id=123")),
        (
            "telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw@telegram?channels=@ops,-100123",
            Target::Telegram {
                url: secret("https://api.telegram.org"),
                token: secret("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
                chats: vec!["@ops".into(), "-100123".into()],
            },
        ),
        (
            "mattermost://user@chat.example:8065/bywsw8zt/town",
            mattermost("https://chat.example:8065/hooks/bywsw8zt", Some("town")),
        ),
        (
            "mattermost://chat.example/bywsw8zt?disabletls=yes",
            mattermost("http://chat.example/hooks/bywsw8zt", None),
        ),
    ] {
        assert_eq!(parse(url), Ok(target), "{url}");
    }
}

/// A webhook with a JSON object, as services of their own have it.
fn json(url: &str, title: &str, message: &str, fields: &[(&str, Field)]) -> Target {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    chat::json_webhook(url.into(), title, message, fields, Vec::new())
}

fn with_header(target: Target, name: &str, value: &str) -> Target {
    let Target::Webhook { url, hmac_key, body, .. } = target else { panic!("{target:?}") };
    Target::Webhook { url, hmac_key, headers: vec![(name.to_owned(), secret(value))], body }
}

#[test]
fn services_that_take_one_request_become_webhooks() {
    let text = |text: &str| Field::Text(secret(text));
    for (url, target) in [
        (
            "rocketchat://bot@chat.example/8eGd/2XYQ/@me",
            json(
                "https://chat.example/hooks/8eGd/2XYQ",
                "",
                "text",
                &[("channel", text("@me")), ("username", text("bot"))],
            ),
        ),
        (
            "rocketchat://chat.example:3000/8eGd/2XYQ/ops",
            json(
                "https://chat.example:3000/hooks/8eGd/2XYQ",
                "",
                "text",
                &[("channel", text("#ops"))],
            ),
        ),
        (
            "googlechat://chat.googleapis.com/v1/spaces/FOO/messages?key=bar&token=b%2Fz%3D",
            json(
                "https://chat.googleapis.com/v1/spaces/FOO/messages?key=bar&token=b%2Fz%3D",
                "",
                "text",
                &[],
            ),
        ),
        (
            "gotify://gotify.example:443/sub/AzyoeNS.D4iJLVa/?priority=5",
            with_header(
                json(
                    "https://gotify.example:443/sub/message",
                    "title",
                    "message",
                    &[("priority", Field::Number(5))],
                ),
                "X-Gotify-Key",
                "AzyoeNS.D4iJLVa",
            ),
        ),
        (
            "gotify://gotify.example/message?token=AzyoeNS.D4iJLVa&disabletls=yes",
            with_header(
                json("http://gotify.example/message", "title", "message", &[]),
                "X-Gotify-Key",
                "AzyoeNS.D4iJLVa",
            ),
        ),
        (
            "ntfy://me:s3cr3t@ntfy.example:8080/alerts?priority=high&tags=fire",
            with_header(
                json(
                    "https://ntfy.example:8080/",
                    "title",
                    "message",
                    &[("topic", text("alerts")), ("priority", Field::Number(4))],
                ),
                "Authorization",
                "Basic bWU6czNjcjN0",
            ),
        ),
    ] {
        assert_eq!(parse(url), Ok(target), "{url}");
    }
    let form = |url: &str, title: &str, message: &str, fields: &[(&str, &str)]| Target::Webhook {
        url: secret(url),
        hmac_key: None,
        headers: Vec::new(),
        body: Some(Body::Form {
            title: title.into(),
            message: message.into(),
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), secret(value)))
                .collect(),
        }),
    };
    assert_eq!(
        parse("pushover://shoutrrr:T0KEN@us3r/?devices=a,b&priority=1"),
        Ok(form(
            "https://api.pushover.net/1/messages.json",
            "title",
            "message",
            &[("token", "T0KEN"), ("user", "us3r"), ("device", "a,b"), ("priority", "1"),]
        ))
    );
    let zulip = form(
        "https://x.zulipchat.com/api/v1/messages",
        "",
        "content",
        &[("type", "stream"), ("to", "alerts"), ("topic", "palisade")],
    );
    assert_eq!(
        parse("zulip://bot%40x.com:k3y@x.zulipchat.com/?stream=alerts"),
        Ok(with_header(zulip, "Authorization", "Basic Ym90QHguY29tOmszeQ=="))
    );
}

#[test]
fn services_that_page_have_their_key_in_the_path() {
    let key = "eb243592faa24ba2a5511afdf565c889";
    for (url, address) in [
        (
            format!("pagerduty:///{key}?severity=critical"),
            "https://events.pagerduty.com/v2/enqueue",
        ),
        (
            format!("pagerduty://events.eu.pagerduty.com:443/{key}"),
            "https://events.eu.pagerduty.com:443/v2/enqueue",
        ),
    ] {
        let target = Target::PagerDuty { url: secret(address), routing_key: secret(key) };
        assert_eq!(parse(&url), Ok(target), "{url}");
    }
    let details = format!("pagerduty:///{key}?details={{\"component\": \"a b\"}}");
    assert_eq!(migrate(&details).unwrap().ignored, ["details"]);
    assert_eq!(
        parse("opsgenie://api.eu.opsgenie.com/eb243592-faa2-4ba2-a551q-1afdf565c889?priority=P1"),
        Ok(Target::Opsgenie {
            url: secret("https://api.eu.opsgenie.com"),
            key: secret("eb243592-faa2-4ba2-a551q-1afdf565c889"),
        })
    );
}

#[test]
fn a_mail_has_a_server_with_its_settings() {
    let mail = |port, tls, login: Option<(&str, &str)>| Target::Email {
        server: MailServer {
            host: "mail.example".into(),
            port,
            tls,
            user: login.map(|(user, _)| user.to_owned()),
            password: login.map(|(_, password)| secret(password)),
        },
        from: "a@example.org".into(),
        to: vec!["b@example.org".into(), "c@example.org".into()],
    };
    let login = Some(("me@example.org", "p:w@d/"));
    let to = "from=a@example.org&to=b@example.org,c@example.org";
    for (url, target) in [
        (
            "smtp://me%40example.org:p:w%40d%2F@mail.example:587/?fromaddress=a@example.org&toAddresses=b@example.org,c@example.org".to_owned(),
            mail(587, MailTls::StartTls, login),
        ),
        (format!("smtp://mail.example:465/?{to}"), mail(465, MailTls::Implicit, None)),
        (format!("smtp://mail.example/?{to}&usestarttls=no"), mail(25, MailTls::None, None)),
        (format!("smtp://mail.example:2525/?{to}&encryption=ImplicitTLS"), mail(2525, MailTls::Implicit, None)),
        (format!("smtp://me:pw@mail.example:25/?{to}&auth=None&encryption=None"), mail(25, MailTls::None, None)),
    ] {
        assert_eq!(parse(&url), Ok(target), "{url}");
    }
}

#[test]
fn a_generic_address_keeps_what_is_not_taken() {
    let webhook = |url: &str, headers: &[(&str, &str)], body| Target::Webhook {
        url: secret(url),
        hmac_key: None,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect(),
        body: Some(body),
    };
    let text =
        |content_type: &str, method| Body::Text { content_type: content_type.into(), method };
    let object = |title: &str,
                  message: &str,
                  fields: &[(&str, &str)],
                  content_type: Option<&str>,
                  method| {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), Field::Text(secret(value)));
        Body::Json {
            title: title.into(),
            message: message.into(),
            fields: fields.iter().map(field).collect(),
            content_type: content_type.map(str::to_owned),
            method,
        }
    };
    let plain = || text("text/plain; charset=utf-8", "POST");
    for (url, target) in [
        ("generic://h.example", webhook("https://h.example", &[], plain())),
        (
            "generic://h.example:8443/a/b%2Fc?disabletls=yes&x=1&y=a+b",
            webhook("http://h.example:8443/a/b%2Fc?x=1&y=a%20b", &[], plain()),
        ),
        (
            "generic+https://h.example/p?key=T0KEN",
            webhook("https://h.example/p?key=T0KEN", &[], plain()),
        ),
        ("generic+http://[::1]:80/p", webhook("http://[::1]:80/p", &[], plain())),
        (
            "generic://h.example/p?contenttype=text/html&method=put",
            webhook("https://h.example/p", &[], text("text/html", "PUT")),
        ),
        (
            "generic://h.example/p?_contenttype=a&__method=b&_x=c&Method=d",
            webhook("https://h.example/p?contenttype=a&method=b&_x=c&Method=d", &[], plain()),
        ),
        (
            "generic://h.example/p?template=json",
            webhook("https://h.example/p", &[], object("title", "message", &[], None, "POST")),
        ),
        (
            "generic://h.example/p?template=JSON&titlekey=t&messagekey=m&$source=x&contenttype=application/y",
            webhook(
                "https://h.example/p",
                &[],
                object("t", "m", &[("source", "x")], Some("application/y"), "POST"),
            ),
        ),
        (
            "generic://h.example/p?@acceptLanguage=tlh-Piqd&@Authorization=Bearer%20t0k3n&@X-API-Key=k&@content-type=a/b",
            webhook(
                "https://h.example/p",
                &[
                    ("Accept-Language", "tlh-Piqd"),
                    ("Authorization", "Bearer t0k3n"),
                    ("X-API-Key", "k"),
                ],
                text("a/b", "POST"),
            ),
        ),
    ] {
        assert_eq!(parse(url), Ok(target), "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_text_makes_it_panic_and_what_comes_of_it_can_be_sent(
        scheme in proptest::sample::select(
            SERVICES.iter().map(|it| it.scheme).chain(["x", ""]).collect::<Vec<_>>()
        ),
        rest in "(?s).{0,80}|[a-z0-9:@/?&=%#,.@$_\\[\\]-]{0,80}|[a-z]{1,9}(:[0-9a-zA-Z-]{1,9})?@[a-z.]{1,9}(/[a-zA-Z0-9%]{1,8}){0,3}\\?(host|to|from|stream|chats|template|@h|\\$f|key|token)=[^#]{0,20}",
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let _: Result<Target, ShoutrrrError> = parse(&String::from_utf8_lossy(&bytes));
        match parse(&format!("{scheme}://{rest}")) {
            Err(error) => prop_assert!(error.to_string().len() < 300),
            Ok(Target::Webhook { url, headers, .. }) => {
                prop_assert!(url.reveal().bytes().all(|it| it.is_ascii_graphic()), "{}", url.reveal());
                let all = headers.iter().flat_map(|(name, value)| [name.as_str(), value.reveal()]);
                for text in all {
                    prop_assert!(text.bytes().all(|it| it == b' ' || it.is_ascii_graphic()), "{text}");
                }
            }
            Ok(_) => {}
        }
    }
}
