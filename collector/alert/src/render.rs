//! A [`Notice`] in the shape of each receiver.
//!
//! ```text
//! Notice ──> words (plain, bounded) ──> escaped for the target ──> encoded ──> measured ──> Outgoing
//!                   ▲                                                             │ too large
//!                   └───────────── fewer alerts, shorter texts ◄──────────────────┘
//! ```
//!
//! What is left out is counted in the words. Names, texts and evidence come from nodes and tenants: in
//! no target do they become markup, a mention, a link or a header. Alertmanager is told of alerts, not
//! of groups: see [`alertmanager`].

pub mod alertmanager;

mod address;
mod annotation;
mod body;
mod discord;
mod email;
mod event;
mod fit;
mod json;
mod line;
mod markup;
mod mattermost;
mod opsgenie;
mod pagerduty;
mod slack;
mod teams;
mod telegram;
mod time;
mod webhook;
mod words;

use crate::notice::Notice;
use crate::outgoing::Outgoing;
use crate::receiver::Target;
use crate::receiver::TargetKind;
use crate::template::Templates;

pub(crate) use address::component;

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What the receiver is known to take.
    Full,
    /// A quarter of it, with few alerts in full: after the receiver said that it was too large.
    Shrunk,
}

/// A notice cannot be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Alertmanager takes alerts, not groups. At fault: us.
    #[error("failed to render a group for Alertmanager: it takes batches of alerts")]
    Batches,
    /// Not even the title alone fits: what else is in the message, the settings say. At fault:
    /// configuration.
    #[error("failed to fit even the title into what the receiver takes ({0:?})")]
    TooLarge(TargetKind),
}

/// What to send to `target` so that it says `notice`. More than one for targets that take one
/// recipient or one subject at a time; none if there is nothing to say to it (Events about no node).
///
/// # Errors
/// [`RenderError::Batches`] of an Alertmanager; [`RenderError::TooLarge`] if the fixed parts of the
/// message fill it.
pub fn render(
    target: &Target,
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Result<Vec<Outgoing>, RenderError> {
    let outgoing = match target {
        Target::Alertmanager { .. } => return Err(RenderError::Batches),
        Target::Discord { url } => discord::request(url, notice, templates, size).map(http),
        Target::Email { from, to, .. } => {
            email::email(from, to, notice, templates, size).map(|it| vec![Outgoing::Email(it)])
        }
        Target::KubernetesEvents => Some(event::events(notice)),
        Target::Mattermost { url, channel } => {
            mattermost::request(url, channel.as_deref(), notice, templates, size).map(http)
        }
        Target::Opsgenie { url, key } => {
            opsgenie::request(url, key, notice, templates, size).map(http)
        }
        Target::PagerDuty { url, routing_key } => {
            pagerduty::request(url, routing_key, notice, templates, size).map(http)
        }
        Target::Slack { url, token, channel, username } => {
            let sender = slack::Sender {
                url,
                token: token.as_ref(),
                channel: channel.as_deref(),
                username: username.as_deref(),
            };
            slack::request(&sender, notice, templates, size).map(http)
        }
        Target::Teams { url } => teams::request(url, notice, templates, size).map(http),
        Target::Telegram { url, token, chats } => {
            telegram::requests(url, token, chats, notice, templates, size)
        }
        Target::Webhook { url, hmac_key, headers, body } => {
            let request = match body {
                None => webhook::request(url, notice, size),
                Some(body) => body::request(url, body, notice, templates, size),
            };
            request.map(|request| {
                let headers = [request.headers, headers.clone()].concat();
                http(crate::outgoing::HttpRequest {
                    headers,
                    sign_with: hmac_key.clone(),
                    ..request
                })
            })
        }
    };
    outgoing.ok_or_else(|| RenderError::TooLarge(target.kind()))
}

/// A label, safe to show and bounded, in a field of its own.
fn safe_label(text: &str) -> String {
    palisade_report::bound::clean(text.as_bytes(), crate::key::MAX_LABEL)
}

fn http(request: crate::outgoing::HttpRequest) -> Vec<Outgoing> {
    vec![Outgoing::Http(request)]
}

#[cfg(test)]
mod tests;
