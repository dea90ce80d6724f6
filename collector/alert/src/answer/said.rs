//! What receivers say in the body of an answer.

use palisade_report::bound::clean;
use serde_json::Value;

use super::MAX_WHY;
use crate::receiver::TargetKind;

/// A refusal inside an answer that looks like success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It will be refused again.
    Final,
    /// It may be taken later.
    Passing,
}

/// Slack's Web API and Telegram answer 200 with `ok: false`; an incoming webhook of Slack answers the
/// plain word `ok`.
pub(super) fn inner_refusal(target: TargetKind, body: &[u8]) -> Option<Refusal> {
    if !matches!(target, TargetKind::Slack | TargetKind::Telegram) {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    if answer.get("ok")?.as_bool()? {
        return None;
    }
    /// What Slack says of itself rather than of the message.
    const PASSING: [&str; 6] = [
        "fatal_error",
        "internal_error",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
    ];
    let error = answer.get("error").and_then(Value::as_str).unwrap_or_default();
    Some(if PASSING.contains(&error) { Refusal::Passing } else { Refusal::Final })
}

/// `answered 400: Event object is invalid; 'routing_key' is missing`. Safe to show, bounded.
pub(super) fn why(target: TargetKind, status: u16, body: &[u8]) -> String {
    let said = said(target, body);
    // Line feeds are common in pages of proxies, and no harm; shown as escapes they are noise.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let redirect = if (300..400).contains(&status) { " (redirects are not followed)" } else { "" };
    let hint = hint(target, &said).map(|it| format!(" ({it})")).unwrap_or_default();
    let colon = if said.is_empty() { "" } else { ": " };
    let said = clean(said.as_bytes(), MAX_WHY);
    format!("answered {status}{redirect}{colon}{said}{hint}")
}

/// What the answer says, by the shape that this sort of receiver uses; else its text.
fn said(target: TargetKind, body: &[u8]) -> String {
    let text = || String::from_utf8_lossy(body).into_owned();
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return text() };
    let field = |name| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let known = match target {
        TargetKind::PagerDuty => {
            let errors = answer.get("errors").and_then(Value::as_array);
            let errors = errors.into_iter().flatten().filter_map(Value::as_str);
            let words: Vec<_> =
                field("message").into_iter().chain(errors.map(str::to_owned)).collect();
            (!words.is_empty()).then(|| words.join("; "))
        }
        TargetKind::Slack => field("error"),
        TargetKind::Telegram => field("description"),
        TargetKind::Alertmanager => answer.as_str().map(str::to_owned).or_else(|| field("message")),
        TargetKind::Discord | TargetKind::Mattermost | TargetKind::Opsgenie => field("message"),
        TargetKind::Email | TargetKind::KubernetesEvents => None,
        TargetKind::Teams | TargetKind::Webhook => {
            let inner =
                answer.get("error").and_then(|it| it.get("message")).and_then(Value::as_str);
            inner.map(str::to_owned).or_else(|| field("message")).or_else(|| field("error"))
        }
    };
    known.unwrap_or_else(text)
}

/// What to do about words that receivers are known to say.
fn hint(target: TargetKind, said: &str) -> Option<&'static str> {
    /// Receiver, its word, what to do. Source: the error tables of their API references.
    const HINTS: [(TargetKind, &str, &str); 14] = [
        (TargetKind::Slack, "action_prohibited", "an admin of the workspace forbids this webhook"),
        (TargetKind::Slack, "channel_is_archived", "unarchive the channel or name another"),
        (TargetKind::Slack, "channel_not_found", "the channel is not there, or not for this app"),
        (TargetKind::Slack, "invalid_auth", "the bot's token is wrong"),
        (TargetKind::Slack, "invalid_token", "the webhook address is wrong or was revoked"),
        (TargetKind::Slack, "no_service", "the webhook was removed or disabled"),
        (TargetKind::Slack, "not_in_channel", "invite the bot to the channel"),
        (TargetKind::Slack, "token_revoked", "make a new token for the bot"),
        (TargetKind::PagerDuty, "routing_key", "check the integration key"),
        (TargetKind::Opsgenie, "apiKey", "check the API key and the region of the address"),
        (TargetKind::Discord, "Unknown Webhook", "the webhook was removed"),
        (TargetKind::Telegram, "chat not found", "the bot must be a member of the chat"),
        (TargetKind::Telegram, "Unauthorized", "the bot's token is wrong"),
        (TargetKind::Mattermost, "Invalid webhook", "the webhook was removed or disabled"),
    ];
    let found = HINTS.iter().find(|(of, word, _)| *of == target && said.contains(word));
    found.map(|(.., hint)| *hint)
}
