//! Answers that repeat what they were asked.
//!
//! Pages of proxies show the address, some services the header or the key that they refuse, some the whole body. People
//! see these texts, so whatever of the request is a secret is taken out first, before anything is cut:
//! half a secret would not be found.

use crate::outgoing::HttpRequest;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::Target;
use crate::render::component;
use crate::secret::Secret;

/// The shortest that is taken for a secret. Shorter ones would tear words apart.
const LEAST: usize = 8;

/// The shortest of what the settings call a secret: that needs no guess, and only what is hardly more than
/// a sign would tear words apart.
const LEAST_NAMED: usize = 4;

/// `body` with `***` wherever it repeats a secret of the target, or a part of the request's address or
/// headers that may be one.
pub(super) fn hidden(request: &HttpRequest, target: &Target, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let mut all = secrets(request);
    all.extend(named(target).into_iter().flat_map(written));
    all.sort_by_key(|it| std::cmp::Reverse(it.len()));
    all.dedup();
    all.iter().fold(text, |text, secret| text.replace(secret, "***"))
}

/// What the settings have as secrets beside the address: they are in headers, in the path or in the body.
fn named(target: &Target) -> Vec<&str> {
    let secrets: Vec<&Secret> = match target {
        Target::Alertmanager { urls: _, token } => token.iter().collect(),
        Target::Discord { url: _ }
        | Target::KubernetesEvents
        | Target::Mattermost { .. }
        | Target::Teams { url: _ } => Vec::new(),
        Target::Email { server, .. } => server.password.iter().collect(),
        Target::Opsgenie { url: _, key } => vec![key],
        Target::PagerDuty { url: _, routing_key } => vec![routing_key],
        Target::Slack { token, .. } => token.iter().collect(),
        Target::Telegram { url: _, token, chats: _ } => vec![token],
        Target::Webhook { url: _, hmac_key, headers, body } => {
            let headers = headers.iter().map(|(_, value)| value);
            hmac_key.iter().chain(headers).chain(body.iter().flat_map(of_body)).collect()
        }
    };
    secrets.into_iter().map(Secret::reveal).filter(|it| it.len() >= LEAST_NAMED).collect()
}

fn of_body(body: &Body) -> Vec<&Secret> {
    match body {
        Body::Form { fields, .. } => fields.iter().map(|(_, value)| value).collect(),
        Body::Json { fields, .. } => fields.iter().filter_map(|(_, it)| of_field(it)).collect(),
        Body::Text { .. } => Vec::new(),
    }
}

const fn of_field(field: &Field) -> Option<&Secret> {
    match field {
        Field::Number(_) => None,
        Field::Text(text) => Some(text),
    }
}

/// A secret as it may stand in an answer: as it is, in a form or an address, and in JSON.
fn written(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned(), component(secret)];
    let quoted = serde_json::Value::from(secret).to_string();
    all.extend(quoted.strip_prefix('"').and_then(|it| it.strip_suffix('"')).map(str::to_owned));
    all
}

/// What may be secret in the request itself.
fn secrets(request: &HttpRequest) -> Vec<String> {
    let url = request.url.reveal();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, rest) = match after_scheme.find(['/', '?']) {
        Some(at) => after_scheme.split_at_checked(at).unwrap_or((after_scheme, "")),
        None => (after_scheme, ""),
    };
    let login = authority.rsplit_once('@').map(|(login, _)| login).unwrap_or_default();
    let of_url = login.split(':').chain(rest.split(['/', '?', '&', '=', '#']));
    let of_headers = request.headers.iter().flat_map(|(_, value)| {
        std::iter::once(value.reveal()).chain(value.reveal().split_whitespace())
    });
    let of_logins = request.headers.iter().filter_map(|(_, value)| login_of(value.reveal()));
    let of_logins: Vec<String> = of_logins.flat_map(|it| written(&it)).collect();
    let guessed = of_url.chain(of_headers).filter(|it| is_secret(it)).map(str::to_owned);
    guessed.chain(of_logins.into_iter().filter(|it| it.len() >= LEAST_NAMED)).collect()
}

/// Words of an address (`services`, `workflows`) are none: they have no digit and no capital.
fn is_secret(text: &str) -> bool {
    let is_mixed = text.bytes().any(|it| it.is_ascii_digit() || it.is_ascii_uppercase());
    text.len() >= LEAST && (is_mixed || text.len() >= 2 * LEAST)
}

/// The password in a header of the scheme `Basic` (RFC 7617).
fn login_of(header: &str) -> Option<String> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| decode(encoded.trim()))??;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

/// What base64 stands for (RFC 4648, 4), if it is a text.
fn decode(encoded: &str) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0_u32, Vec::new());
    for sign in encoded.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|it| *it == sign)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}
