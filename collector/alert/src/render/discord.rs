//! Discord: a message of 2,000 characters that mentions nobody.

use serde_json::json;

use super::Size;
use super::fit::fit;
use super::json;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;
use crate::template::Templates;

/// Bytes of the text: at least as many as characters.
const MAX_CONTENT: usize = 2_000;

/// `SUPPRESS_EMBEDS`: no previews of addresses.
const FLAGS: u32 = 1 << 2;

pub(super) fn request(
    url: &Secret,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let content = fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Discord, level);
        Some(words.titled_text("**")).filter(|it| it.len() <= MAX_CONTENT)
    })?;
    let body = json!({"content": content, "allowed_mentions": {"parse": []}, "flags": FLAGS});
    json::post(url, &body, usize::MAX)
}
