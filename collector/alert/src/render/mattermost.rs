//! Mattermost, and what takes the same shape: a text of 16,383 characters.

use serde_json::json;

use super::Size;
use super::fit::fit;
use super::fit::limit;
use super::json;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;
use crate::template::Templates;

/// Bytes of the text: at least as many as characters.
const MAX_TEXT: usize = 16_383;

pub(super) fn request(
    url: &Secret,
    channel: Option<&str>,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let max = limit(size, MAX_TEXT);
    let text = fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Mattermost, level);
        Some(words.titled_text("**")).filter(|it| it.len() <= max)
    })?;
    let body = match channel {
        Some(channel) => json!({"text": text, "channel": channel}),
        None => json!({"text": text}),
    };
    json::post(url, &body, usize::MAX)
}
