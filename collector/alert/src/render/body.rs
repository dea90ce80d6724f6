//! A webhook with a body that is not Alertmanager's: what simple services take, and what generic
//! addresses of shoutrrr mean.

use serde_json::Map;
use serde_json::Value;

use super::Size;
use super::address::component;
use super::fit::fit;
use super::fit::limit;
use super::json::JSON;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::HttpRequest;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::secret::Secret;
use crate::template::Templates;

/// Bytes of title and message. Services behind such addresses keep a few kilobytes at most (ntfy
/// 4,096 bytes, Google Chat 4,096 characters, Rocket.Chat 5,000).
const MAX_TEXT: usize = 4_000;

/// The same of a form: Pushover keeps 1,024 characters of a message and 250 of a title.
const MAX_FORM: usize = 1_000;

pub(super) fn request(
    url: &Secret,
    body: &Body,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let max = match body {
        Body::Form { .. } => MAX_FORM,
        Body::Json { .. } | Body::Text { .. } => limit(size, MAX_TEXT),
    };
    fit(size, |level| {
        let words = Words::of(notice, templates, Markup::SimpleChat, level);
        let text = words.text();
        if words.title.len() + text.len() > max {
            return None;
        }
        let whole = || words.titled_text("");
        let (method, content_type, body) = match body {
            Body::Form { title, message, fields } => {
                let form = form(title, message, fields, &words);
                ("POST", "application/x-www-form-urlencoded", form.into_bytes())
            }
            Body::Json { title, message, fields, content_type, method } => {
                let mut object: Map<String, Value> =
                    fields.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
                if title.is_empty() {
                    object.insert(message.clone(), whole().into());
                } else {
                    object.insert(title.clone(), words.title.clone().into());
                    object.insert(message.clone(), text.into());
                }
                let encoded = serde_json::to_vec(&object).ok()?;
                (*method, content_type.as_deref().unwrap_or(JSON), encoded)
            }
            Body::Text { content_type, method } => (*method, &**content_type, whole().into_bytes()),
        };
        Some(HttpRequest {
            method,
            url: url.clone(),
            headers: Vec::new(),
            content_type: content_type.into(),
            body,
            sign_with: None,
        })
    })
}

fn value_of(field: &Field) -> Value {
    match field {
        Field::Number(number) => (*number).into(),
        Field::Text(text) => text.reveal().into(),
    }
}

/// `a=1&b=2`, each part encoded.
fn form(title: &str, message: &str, fields: &[(String, Secret)], words: &Words) -> String {
    let own = if title.is_empty() {
        vec![(message, words.titled_text(""))]
    } else {
        vec![(title, words.title.clone()), (message, words.text())]
    };
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let fixed = fields.iter().map(|(name, value)| (name.as_str(), value.reveal()));
    let pairs = fixed.chain(own);
    let pairs = pairs.map(|(name, value)| format!("{}={}", component(name), component(value)));
    pairs.collect::<Vec<_>>().join("&")
}
