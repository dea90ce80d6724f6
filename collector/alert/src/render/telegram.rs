//! Telegram: plain text of 4,096 characters, one request for each chat.

use serde_json::json;

use super::Size;
use super::fit::fit;
use super::json;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::Outgoing;
use crate::secret::Secret;
use crate::template::Templates;

/// Bytes of the text: at least as many as UTF-16 units, which is what Telegram counts.
const MAX_TEXT: usize = 4_096;

pub(super) fn requests(
    url: &Secret,
    token: &Secret,
    chats: &[String],
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<Vec<Outgoing>> {
    let text = fit(size, |level| {
        let words = Words::of(notice, templates, Markup::PlainChat, level);
        Some(words.titled_text("")).filter(|it| it.len() <= MAX_TEXT)
    })?;
    let base = url.reveal().trim_end_matches('/');
    let method = Secret::new(format!("{base}/bot{}/sendMessage", token.reveal()));
    let requests = chats.iter().map(|chat| {
        let preview = json!({"is_disabled": true});
        // `CHAT:TOPIC` is a topic of a forum.
        let body = match chat.rsplit_once(':') {
            Some((chat, topic)) => match topic.parse::<u64>() {
                Ok(topic) => json!({
                    "chat_id": chat, "message_thread_id": topic, "text": text,
                    "link_preview_options": preview,
                }),
                Err(_) => json!({"chat_id": chat, "text": text, "link_preview_options": preview}),
            },
            None => json!({"chat_id": chat, "text": text, "link_preview_options": preview}),
        };
        json::post(&method, &body, usize::MAX).map(Outgoing::Http)
    });
    requests.collect()
}
