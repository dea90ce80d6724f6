//! Messages to telephones.

use super::ShoutrrrError;
use super::chat::json_webhook;
use super::url::Address;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::Target;
use crate::render::component;
use crate::secret::Secret;

/// `gotify://host[/path]/TOKEN`.
pub(super) fn gotify(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let (host, scheme) = (address.host_port()?, address.web_scheme()?);
    let mut path = address.segments()?;
    // The address of its API, as its own documentation writes it, has the token in the query.
    let token = match address.parameter("token")? {
        Some(token) => {
            path.pop_if(|it| it == "message");
            token.to_owned()
        }
        None => path.pop().ok_or_else(|| address.missing("the token"))?,
    };
    let path: String = path.iter().map(|it| format!("/{}", component(it))).collect();
    let mut fields = Vec::new();
    if let Some(priority) = address.parameter("priority")? {
        fields.push(("priority".to_owned(), Field::Number(number(address, priority, -2, 10)?)));
    }
    let url = format!("{scheme}://{host}{path}/message");
    let headers = vec![("X-Gotify-Key".to_owned(), header(address, token)?)];
    Ok(json_webhook(url, "title", "message", fields, headers))
}

/// `ntfy://[user:password@]host/TOPIC`.
pub(super) fn ntfy(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    const SCHEME: &str = "scheme= is neither http nor https";
    let host = address.host_port()?;
    let scheme = match address.parameter("scheme")? {
        None | Some("https") => address.web_scheme()?,
        Some("http") => "http",
        Some(_) => return Err(address.malformed(SCHEME)),
    };
    let segments = address.segments()?;
    let [topic] = &segments[..] else { return Err(address.missing("the topic")) };
    // Messages as JSON go to the root; the topic is in them.
    let mut fields = vec![("topic".to_owned(), Field::Text(Secret::new(topic.as_str())))];
    if let Some(priority) = address.parameter("priority")? {
        let number = match &*priority.to_ascii_lowercase() {
            "min" => 1,
            "low" => 2,
            "default" => 3,
            "high" => 4,
            "max" | "urgent" => 5,
            other => number(address, other, 1, 5)?,
        };
        fields.push(("priority".to_owned(), Field::Number(number)));
    }
    let headers = address.basic()?.into_iter().collect();
    Ok(json_webhook(format!("{scheme}://{host}/"), "title", "message", fields, headers))
}

/// `pushover://shoutrrr:TOKEN@USER/[?devices=a,b&priority=1]`.
pub(super) fn pushover(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    if address.has("encryptionkey") || address.has("key") {
        return Err(address.unsupported("messages encrypted by the sender; leave the key out"));
    }
    let user = address.host().ok_or_else(|| address.missing("the user's key"))?;
    let token = address.password()?.ok_or_else(|| address.missing("the application's token"))?;
    let mut fields =
        vec![("token".to_owned(), Secret::new(token)), ("user".to_owned(), Secret::new(user))];
    if let Some(devices) = address.parameter("devices")? {
        fields.push(("device".to_owned(), Secret::new(devices)));
    }
    if let Some(priority) = address.parameter("priority")? {
        // 2 repeats until somebody answers, which takes more parameters.
        let priority = number(address, priority, -2, 1)?;
        fields.push(("priority".to_owned(), Secret::new(priority.to_string())));
    }
    Ok(Target::Webhook {
        url: Secret::new("https://api.pushover.net/1/messages.json"),
        hmac_key: None,
        headers: Vec::new(),
        body: Some(Body::Form { title: "title".into(), message: "message".into(), fields }),
    })
}

fn number(address: &Address<'_>, text: &str, least: i64, most: i64) -> Result<i64, ShoutrrrError> {
    const PRIORITY: &str = "priority= is not a number that the service knows";
    let number = text.trim().parse().ok().filter(|it| (least..=most).contains(it));
    number.ok_or_else(|| address.malformed(PRIORITY))
}

fn header(address: &Address<'_>, value: String) -> Result<Secret, ShoutrrrError> {
    let is_plain = value.bytes().all(|it| it.is_ascii_graphic());
    is_plain
        .then(|| Secret::new(value))
        .ok_or_else(|| address.malformed("the token has other characters than ASCII"))
}
