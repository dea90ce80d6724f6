//! Opsgenie's alert API, and others of its shape: an alert for each group, closed by its alias.
//!
//! Limits (its reference): 130 characters of `message`, 512 of `alias`, 15,000 of `description`.

use serde_json::json;

use super::Size;
use super::address::component;
use super::address::key;
use super::fit::fit;
use super::fit::limit;
use super::json;
use super::line::Line;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;
use crate::severity::Severity;
use crate::template::Templates;

/// Bytes of the message: at least as many as characters.
const MAX_MESSAGE: usize = 130;

/// Bytes of the description: at least as many as characters.
const MAX_DESCRIPTION: usize = 15_000;

/// Bytes of a note that closes an alert: at least as many as characters, of 25,000.
const MAX_NOTE: usize = 15_000;

pub(super) fn request(
    url: &Secret,
    api_key: &Secret,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let base = url.reveal().trim_end_matches('/');
    let alias = key(notice);
    let request = fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Plain, level);
        let text = words.text();
        if text.len() > limit(size, MAX_DESCRIPTION.min(MAX_NOTE)) {
            return None;
        }
        if !notice.is_firing() {
            let alias = component(&alias);
            let close = format!("{base}/v2/alerts/{alias}/close?identifierType=alias");
            let note = format!("{}\n\n{text}", words.title);
            let body = json!({"source": "palisade", "note": note});
            return json::post(&Secret::new(close), &body, usize::MAX);
        }
        let body = json!({
            "message": Line::new(Markup::Plain, MAX_MESSAGE).raw(&words.title).end(),
            "alias": alias,
            "description": text,
            "priority": priority(notice.severity()),
            "source": "palisade",
            "entity": super::safe_label(&notice.cluster),
            "tags": ["palisade", notice.severity().as_str()],
            "details": {
                "cluster": super::safe_label(&notice.cluster),
                "firing": notice.firing.to_string(),
                "link": words.link,
                "nodes": notice.nodes.to_string(),
            },
        });
        json::post(&Secret::new(format!("{base}/v2/alerts")), &body, usize::MAX)
    })?;
    let header = Secret::new(format!("GenieKey {}", api_key.reveal()));
    Some(HttpRequest { headers: vec![("Authorization".into(), header)], ..request })
}

/// From the lowest of five to the highest.
const fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::Warning => "P3",
        Severity::Info | Severity::None => "P5",
    }
}
