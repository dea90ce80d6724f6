//! Teams, through a workflow: a message with one Adaptive Card 1.2.
//!
//! The documented limit is 28 KB; failures are seen from about 21 KB. There is no state to resolve.

use serde_json::Value;
use serde_json::json;

use super::Size;
use super::address::opens;
use super::fit::fit;
use super::fit::limit;
use super::json;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;
use crate::severity::Severity;
use crate::template::Templates;

/// Bytes of the whole, encoded.
const MAX_BODY: usize = 18 * 1024;

pub(super) fn request(
    url: &Secret,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let max = limit(size, MAX_BODY);
    fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Card, level);
        let mut title = block(&words.title);
        if let Value::Object(fields) = &mut title {
            fields.insert("weight".into(), "Bolder".into());
            fields.insert("size".into(), "Medium".into());
            fields.insert("color".into(), color(notice).into());
        }
        // A line feed is a space there; an empty line is a new one.
        let parts = words.parts.iter().map(|lines| lines.join("\n\n"));
        let blocks = parts.chain(words.rest.clone()).map(|text| {
            let mut block = block(&text);
            if let Value::Object(fields) = &mut block {
                fields.insert("separator".into(), true.into());
            }
            block
        });
        let body: Vec<Value> = std::iter::once(title).chain(blocks).collect();
        let actions = if opens(&words.link) {
            json!([{"type": "Action.OpenUrl", "title": "Open in palisade", "url": words.link}])
        } else {
            json!([])
        };
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "msteams": {"width": "full"},
            "body": body,
            "actions": actions,
        });
        let message = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        });
        json::post(url, &message, max)
    })
}

fn block(text: &str) -> Value {
    json!({"type": "TextBlock", "text": text, "wrap": true})
}

/// A colour of cards; never the only sign, the title says it in words.
fn color(notice: &Notice) -> &'static str {
    match (notice.is_firing(), notice.severity()) {
        (false, _) => "Good",
        (true, Severity::Critical) => "Attention",
        (true, Severity::Warning) => "Warning",
        (true, Severity::Info | Severity::None) => "Default",
    }
}
