//! PagerDuty Events API v2: an incident for each group, opened and closed by the same key.
//!
//! Limits (its reference): 255 characters of `dedup_key`, 1,024 of `summary`, 512,000 bytes in all.
//! The details go first when it is too large: an incident without them still pages.

use serde_json::Value;
use serde_json::json;

use super::Size;
use super::address::key;
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

/// Bytes of an event, encoded.
const MAX_EVENT: usize = 512_000;

/// Bytes of the summary: at least as many as characters.
const MAX_SUMMARY: usize = 1_024;

pub(super) fn request(
    url: &Secret,
    routing_key: &Secret,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let max = limit(size, MAX_EVENT);
    fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Plain, level);
        if words.title.len() > MAX_SUMMARY {
            return None;
        }
        let mut event = json!({
            "routing_key": routing_key.reveal(),
            "event_action": if notice.is_firing() { "trigger" } else { "resolve" },
            "dedup_key": key(notice),
            "payload": payload(notice, &words),
            "client": "palisade",
        });
        if opens(&words.link)
            && let Value::Object(fields) = &mut event
        {
            fields.insert("client_url".into(), words.link.clone().into());
            fields
                .insert("links".into(), json!([{"href": words.link, "text": "Open in palisade"}]));
        }
        let whole = json::post(url, &event, max);
        whole.or_else(|| {
            let payload = event.get_mut("payload").and_then(Value::as_object_mut);
            payload.and_then(|it| it.remove("custom_details"));
            json::post(url, &event, max)
        })
    })
}

fn payload(notice: &Notice, words: &Words) -> Value {
    let first = notice.alerts.first();
    let label = |name: &str| first.and_then(|it| it.labels.get(name)).map(String::as_str);
    let shared = |name: &str| {
        let is_group = notice.group_labels.contains_key(name);
        let is_only = notice.alerts.len() == 1 && notice.left_out() == 0;
        label(name).filter(|_| is_group || is_only).map(super::safe_label)
    };
    // The oldest that fires: since when it is wrong.
    let since = notice.alerts.iter().map(|it| it.starts_at).min().unwrap_or(notice.at);
    let mut payload = json!({
        "summary": words.title,
        "source": shared("node").unwrap_or_else(|| super::safe_label(&notice.cluster)),
        "severity": severity(notice.severity()),
        "timestamp": since.to_string(),
        "custom_details": {
            "cluster": super::safe_label(&notice.cluster),
            "firing": notice.firing,
            "resolved": notice.resolved,
            "nodes": notice.nodes,
            "text": words.text(),
        },
    });
    for (field, label) in [("component", "component"), ("group", "pool"), ("class", "alertname")] {
        if let (Some(value), Value::Object(fields)) = (shared(label), &mut payload) {
            fields.insert(field.into(), value.into());
        }
    }
    payload
}

/// PagerDuty has no word for less than information.
const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Info | Severity::None => "info",
        Severity::Warning => "warning",
    }
}
