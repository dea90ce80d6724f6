//! Webhooks of any sort.
//!
//! `generic://host/path?...` goes to `https://host/path`, or to `http` with `disabletls=yes`;
//! `generic+https://` and `generic+http://` say it themselves. Of the query, `template`, `titlekey`,
//! `messagekey`, `contenttype`, `method`, `disabletls` and `title` are taken; `@Header=value` becomes a
//! header and `$field=value` a field of the JSON object; the rest goes along. One or two underscores
//! before a name that is taken (the documentation has one, the program two) let it go along.

use super::ShoutrrrError;
use super::url::Address;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::Target;
use crate::render::component;
use crate::secret::Secret;

/// The names that are taken, in this case only.
const TAKEN: [&str; 7] =
    ["contenttype", "disabletls", "messagekey", "method", "template", "title", "titlekey"];

pub(super) fn plain(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    target(address, address.web_scheme()?)
}

pub(super) fn https(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    target(address, "https")
}

pub(super) fn http(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    target(address, "http")
}

fn target(address: &Address<'_>, scheme: &str) -> Result<Target, ShoutrrrError> {
    let host = address.host_port()?;
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let mut fields = Vec::new();
    let mut along = Vec::new();
    let mut content_type = None;
    for (name, value) in &address.query {
        if value.chars().chain(name.chars()).any(char::is_control) {
            return Err(address.malformed("a parameter has a control character in it"));
        }
        if let Some(header) = name.strip_prefix('@').filter(|it| !it.is_empty()) {
            let header = header_name(header)
                .ok_or_else(|| address.malformed("a header has no valid name"))?;
            if header.eq_ignore_ascii_case("Content-Type") {
                content_type = Some(value.clone());
            } else if OURS.iter().any(|it| header.eq_ignore_ascii_case(it)) {
                return Err(address.malformed("a header is one that the sender sets itself"));
            } else if value.bytes().all(|it| it == b' ' || it.is_ascii_graphic()) {
                headers.push((header, Secret::new(value.as_str())));
            } else {
                return Err(address.malformed("a header has other characters than ASCII"));
            }
        } else if let Some(field) = name.strip_prefix('$').filter(|it| !it.is_empty()) {
            fields.push((field.to_owned(), Field::Text(Secret::new(value.as_str()))));
        } else if !TAKEN.contains(&name.as_str()) {
            along.push(format!("{}={}", component(unescaped(name)), component(value)));
        }
    }
    let mut url = format!("{scheme}://{host}{}", path(address)?);
    if !along.is_empty() {
        url.push_str(&format!("?{}", along.join("&")));
    }
    let content_type = content_type.or_else(|| taken(address, "contenttype").map(str::to_owned));
    if content_type
        .as_ref()
        .is_some_and(|it| !it.bytes().all(|it| it == b' ' || it.is_ascii_graphic()))
    {
        return Err(address.malformed("the content type has other characters than ASCII"));
    }
    let method = method(address)?;
    let key = |name, own: &str| taken(address, name).unwrap_or(own).to_owned();
    let body = match taken(address, "template").map(str::to_ascii_lowercase).as_deref() {
        Some("json") => Body::Json {
            title: key("titlekey", "title"),
            message: key("messagekey", "message"),
            fields,
            content_type,
            method,
        },
        // Fields are of no use without a template, there as here.
        None => Body::Text {
            content_type: content_type.unwrap_or_else(|| "text/plain; charset=utf-8".into()),
            method,
        },
        Some(_) => return Err(address.unsupported("a template other than json")),
    };
    Ok(Target::Webhook { url: Secret::new(url), hmac_key: None, headers, body: Some(body) })
}

/// Headers that follow from the request.
const OURS: [&str; 6] =
    ["Connection", "Content-Length", "Host", "Transfer-Encoding", "TE", "Upgrade"];

/// The value of a name that is taken, in exactly this case: `Method=` is somebody else's.
fn taken<'a>(address: &'a Address<'_>, name: &str) -> Option<&'a str> {
    let found = address.query.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).filter(|it| !it.is_empty())
}

fn method(address: &Address<'_>) -> Result<&'static str, ShoutrrrError> {
    let method = taken(address, "method").unwrap_or("POST").to_ascii_uppercase();
    let known = ["PATCH", "POST", "PUT"].into_iter().find(|it| *it == method);
    known.ok_or_else(|| {
        address.unsupported("a method other than POST, PUT and PATCH carries no message")
    })
}

/// `_method` and `__method` are `method`; everything else is itself.
fn unescaped(name: &str) -> &str {
    let bare = name.strip_prefix("__").or_else(|| name.strip_prefix('_')).unwrap_or(name);
    if TAKEN.contains(&bare) { bare } else { name }
}

/// The path as it is, with what does not belong into one percent-encoded.
fn path(address: &Address<'_>) -> Result<String, ShoutrrrError> {
    let path = address.path();
    if path.chars().any(char::is_control) {
        return Err(address.malformed("the path has a control character in it"));
    }
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

/// `acceptLanguage` is `Accept-Language`; `None` if it is no token (RFC 9110, 5.6.2).
fn header_name(key: &str) -> Option<String> {
    let mut name = String::with_capacity(key.len() + 4);
    let mut before = '-';
    for character in key.chars() {
        if !character.is_ascii_alphanumeric() && !"-_.!#$%&'*+^`|~".contains(character) {
            return None;
        }
        if character.is_ascii_uppercase() && before != '-' && !before.is_ascii_uppercase() {
            name.push('-');
        }
        name.push(if before == '-' { character.to_ascii_uppercase() } else { character });
        before = character;
    }
    (name.len() <= 100).then_some(name)
}
