//! Chats.

use super::ShoutrrrError;
use super::url::Address;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::Target;
use crate::render::component;
use crate::secret::Secret;

/// `slack://hook:A-B-C@webhook`, `slack://xoxb:1-2-c@CHANNEL`, `slack://[botname@]A/B/C`.
pub(super) fn slack(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    const TOKEN: &str = "the token is not hook:A-B-C, xoxb:1-2-c, or A/B/C";
    let malformed = || address.malformed(TOKEN);
    let mut username = address.first(&["botname", "username"])?.map(str::to_owned);
    let host = address.host().ok_or_else(|| address.missing("the token"))?;
    let segments = address.segments()?;
    if !segments.is_empty() {
        if username.is_none() {
            username = address.user()?;
        }
        let [second, third] = &segments[..] else { return Err(malformed()) };
        let url = hook(&[host, second, third]).ok_or_else(malformed)?;
        return Ok(Target::Slack { url, token: None, channel: None, username });
    }
    let user = address.user()?.ok_or_else(|| address.missing("the token"))?;
    let token = match address.password()? {
        Some(password) => format!("{user}-{password}"),
        None => user,
    };
    let parts: Vec<&str> = token.split(['-', '/', ',']).collect();
    match &parts[..] {
        ["hook", parts @ ..] => {
            let url = hook(parts).ok_or_else(malformed)?;
            Ok(Target::Slack { url, token: None, channel: None, username })
        }
        [kind, parts @ ..] if kind.len() == 4 && kind.starts_with("xox") => {
            if parts.is_empty() || !parts.iter().all(|it| is_word(it)) {
                return Err(malformed());
            }
            Ok(Target::Slack {
                url: Secret::new("https://slack.com/api/chat.postMessage"),
                token: Some(Secret::new(format!("{kind}-{}", parts.join("-")))),
                channel: Some(host.to_owned()),
                username,
            })
        }
        // Without a word before it, it is that of a webhook.
        parts => {
            let url = hook(parts).ok_or_else(malformed)?;
            Ok(Target::Slack { url, token: None, channel: None, username })
        }
    }
}

/// The address of a webhook from the three parts of its token.
fn hook(parts: &[&str]) -> Option<Secret> {
    let is_token = parts.len() == 3 && parts.iter().all(|it| is_word(it));
    is_token.then(|| Secret::new(format!("https://hooks.slack.com/services/{}", parts.join("/"))))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

/// Letters, digits, `-` and `_`: tokens of most services.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
}

/// `teams://?host=WORKFLOW`.
pub(super) fn teams(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    if address.host().is_some() || !address.path().trim_matches('/').is_empty() {
        return Err(address.unsupported(
            "connectors of Office 365 answer no more; make a workflow in Teams (\"when a Teams \
             webhook request is received\") and use teams://?host=ITS-ADDRESS, percent-encoded",
        ));
    }
    if address.has("sig") {
        return Err(
            address.malformed("the address of the workflow in host= is not percent-encoded")
        );
    }
    let workflow = address
        .parameter("host")?
        .ok_or_else(|| address.missing("host=, the workflow's address,"))?;
    let is_address =
        workflow.starts_with("https://") && workflow.bytes().all(|it| it.is_ascii_graphic());
    if !is_address {
        return Err(address.malformed("host= is no https address"));
    }
    Ok(Target::Teams { url: Secret::new(workflow) })
}

/// `discord://TOKEN@ID[?thread_id=ID]`.
pub(super) fn discord(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    if address.path().trim_matches('/') == "raw" || address.says_yes("json")? {
        return Err(address.unsupported("the body is ours; use a webhook with a body of your own"));
    }
    let id = address.host().ok_or_else(|| address.missing("the webhook's id"))?;
    let token = address.user()?.ok_or_else(|| address.missing("the webhook's token"))?;
    if !id.bytes().all(|it| it.is_ascii_digit()) || !is_token(&token) {
        return Err(address.malformed("expected TOKEN@ID, and the id is a number"));
    }
    let mut url = format!("https://discord.com/api/webhooks/{id}/{token}");
    if let Some(thread) = address.parameter("thread_id")? {
        url.push_str(&format!("?thread_id={}", component(thread.trim())));
    }
    Ok(Target::Discord { url: Secret::new(url) })
}

/// `telegram://TOKEN@telegram?chats=@a,-100123`.
pub(super) fn telegram(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let (id, token) =
        (address.user()?.unwrap_or_default(), address.password()?.unwrap_or_default());
    if id.is_empty() || !id.bytes().all(|it| it.is_ascii_digit()) || !is_token(&token) {
        return Err(address.malformed("the token is not NUMBER:LETTERS"));
    }
    let chats = address.first(&["chats", "channels"])?;
    let chats: Vec<String> = list(chats.unwrap_or_default());
    if chats.is_empty() {
        return Err(address.missing("chats="));
    }
    Ok(Target::Telegram {
        url: Secret::new("https://api.telegram.org"),
        token: Secret::new(format!("{id}:{token}")),
        chats,
    })
}

/// What stands between commas, without empty ones.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// `mattermost://[user@]host/TOKEN[/channel]`.
pub(super) fn mattermost(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let (host, scheme) = (address.host_port()?, address.web_scheme()?);
    let segments = address.segments()?;
    let (token, channel) = match &segments[..] {
        [token] => (token, None),
        [token, channel] => (token, Some(channel.clone())),
        [] => return Err(address.missing("the token")),
        _ => return Err(address.malformed("expected host/TOKEN or host/TOKEN/channel")),
    };
    let url = Secret::new(format!("{scheme}://{host}/hooks/{}", component(token)));
    Ok(Target::Mattermost { url, channel })
}

/// `rocketchat://[user@]host/A/B[/channel|/@recipient|#channel]`.
pub(super) fn rocket(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let (host, scheme) = (address.host_port()?, address.web_scheme()?);
    let segments = address.segments()?;
    let (first, second, channel) = match &segments[..] {
        [first, second] => (first, second, None),
        [first, second, channel] => (first, second, Some(channel.as_str())),
        [] | [_] => return Err(address.missing("the token, which has two parts,")),
        _ => return Err(address.malformed("expected host/A/B or host/A/B/channel")),
    };
    let channel = match (address.fragment()?, channel) {
        (Some(channel), _) => Some(format!("#{channel}")),
        (None, Some(channel)) if channel.starts_with(['@', '#']) => Some(channel.to_owned()),
        (None, Some(channel)) => Some(format!("#{channel}")),
        (None, None) => None,
    };
    let field = |name: &str, value: Option<String>| {
        value.map(|it| (name.to_owned(), Field::Text(Secret::new(it))))
    };
    let fields = [field("channel", channel), field("username", address.user()?)];
    let url = format!("{scheme}://{host}/hooks/{}/{}", component(first), component(second));
    Ok(json_webhook(url, "", "text", fields.into_iter().flatten().collect(), Vec::new()))
}

/// `googlechat://host/v1/spaces/SPACE/messages?key=K&token=T`.
pub(super) fn google(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let host = address.host().unwrap_or("chat.googleapis.com");
    let segments = address.segments()?;
    if segments.is_empty() {
        return Err(address.missing("the path of the space"));
    }
    let path: Vec<String> = segments.iter().map(|it| component(it)).collect();
    let key = address.parameter("key")?.ok_or_else(|| address.missing("key="))?;
    let token = address.parameter("token")?.ok_or_else(|| address.missing("token="))?;
    let query = format!("key={}&token={}", component(key), component(token));
    let port = address.port().map(|it| format!(":{it}")).unwrap_or_default();
    let url = format!("https://{host}{port}/{}?{query}", path.join("/"));
    Ok(json_webhook(url, "", "text", Vec::new(), Vec::new()))
}

/// `zulip://BOT-MAIL:KEY@host/?stream=S[&topic=T]`.
pub(super) fn zulip(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let host = address.host_port()?;
    let login = address.basic()?.ok_or_else(|| address.missing("the bot's mail address"))?;
    if address.password()?.is_none() {
        return Err(address.missing("the bot's key"));
    }
    let is_direct = address.parameter("type")?.is_some_and(|it| it.eq_ignore_ascii_case("direct"));
    let to = if is_direct { address.parameter("to")? } else { address.parameter("stream")? };
    let to = to.ok_or_else(|| address.missing("stream=, or type=direct and to=,"))?;
    let topic = address.parameter("topic")?.unwrap_or("palisade");
    let mut fields = vec![
        ("type".to_owned(), Secret::new(if is_direct { "direct" } else { "stream" })),
        ("to".to_owned(), Secret::new(to)),
    ];
    if !is_direct {
        fields.push(("topic".to_owned(), Secret::new(topic)));
    }
    Ok(Target::Webhook {
        url: Secret::new(format!("https://{host}/api/v1/messages")),
        hmac_key: None,
        headers: vec![login],
        body: Some(Body::Form { title: String::new(), message: "content".into(), fields }),
    })
}

/// A webhook with a JSON object.
pub(super) fn json_webhook(
    url: String,
    title: &str,
    message: &str,
    fields: Vec<(String, Field)>,
    headers: Vec<(String, Secret)>,
) -> Target {
    Target::Webhook {
        url: Secret::new(url),
        hmac_key: None,
        headers,
        body: Some(Body::Json {
            title: title.into(),
            message: message.into(),
            fields,
            content_type: None,
            method: "POST",
        }),
    }
}
