//! Slack: blocks, and a text for whatever shows none.
//!
//! Limits (Slack's reference of Block Kit): 3,000 characters in a section, 50 blocks. In practice
//! about 13,000 characters of blocks in all are taken. There is no state to resolve: the end of an
//! alert is a message of its own.

use serde::Serialize;
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
use crate::template::Templates;

/// Bytes of the whole, encoded.
const MAX_BODY: usize = 12_000;

/// Bytes of a section's text: at least as many as characters.
const MAX_SECTION: usize = 3_000;

/// Characters of a header. Longer titles are bold sections instead.
const MAX_BLOCKS: usize = 50;

/// Whom and as whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) url: &'a Secret,
    pub(super) token: Option<&'a Secret>,
    pub(super) channel: Option<&'a str>,
    pub(super) username: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    text: &'a str,
    blocks: Vec<Value>,
    // Nothing foreign becomes a link, a mention or a preview.
    parse: &'static str,
    link_names: bool,
    unfurl_links: bool,
    unfurl_media: bool,
}

pub(super) fn request(
    sender: &Sender<'_>,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<HttpRequest> {
    let max = limit(size, MAX_BODY);
    let request = fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Slack, level);
        let mut sections = vec![format!("*{}*", words.title)];
        sections.extend(words.parts.iter().map(|lines| lines.join("\n")));
        sections.extend(words.rest.clone());
        if sections.iter().any(|it| it.len() > MAX_SECTION) || sections.len() >= MAX_BLOCKS {
            return None;
        }
        let mut blocks: Vec<Value> = sections.iter().map(|it| section(it)).collect();
        if opens(&words.link) {
            // `&` is the only character of an address that Slack wants escaped.
            let link = words.link.replace('&', "&amp;");
            blocks.push(section(&format!("<{link}|Open in palisade>")));
        }
        let message = Message {
            channel: sender.channel,
            username: sender.username,
            text: &words.title,
            blocks,
            parse: "none",
            link_names: false,
            unfurl_links: false,
            unfurl_media: false,
        };
        json::post(sender.url, &message, max)
    })?;
    let token = sender.token.map(|it| Secret::new(format!("Bearer {}", it.reveal())));
    let headers = token.map(|it| ("Authorization".to_owned(), it)).into_iter().collect();
    Some(HttpRequest { headers, ..request })
}

/// `verbatim`: what looks like an address or a name stays text.
fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}
