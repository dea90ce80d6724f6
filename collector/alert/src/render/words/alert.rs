//! One alert in full: what, where, since when, why it matters, what to do, where to read more.

use super::super::address;
use super::super::fit::Level;
use super::super::line::Line;
use super::super::markup::Markup;
use super::super::time::clock;
use super::super::time::span;
use super::place;
use crate::notice::Ended;
use crate::notice::Notice;
use crate::notice::Noticed;

/// Whether the title says already what an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The title is its summary.
    InTitle,
    /// It is one of several, or the title is a user's.
    Own,
}

/// The lines about an alert.
pub(super) fn lines(
    notice: &Notice,
    alert: &Noticed,
    head: Head,
    markup: Markup,
    level: Level,
) -> Vec<String> {
    let field = level.field;
    // Room for our own words beside the foreign ones.
    let line = || Line::new(markup, field.saturating_mul(2).saturating_add(200));
    let find = |label: &str| alert.labels.get(label).map(String::as_str);
    let place_of = |line| place(line, notice, find, field.min(120));
    let words = &alert.words;
    let own_head = |line: Line| {
        let line = if alert.is_firing() { line } else { line.raw("Resolved: ") };
        match words.summary.is_empty() {
            true => line.raw(alert.kind.as_str()),
            false => line.value(&words.summary, field),
        }
    };
    let mut lines = match head {
        Head::InTitle => Vec::new(),
        Head::Own => vec![line().bold(own_head).end()],
    };
    match &alert.ended {
        None => {
            let age = span(notice.at.since(alert.starts_at));
            let since =
                format!("{}, since {} (for {age}); ", alert.severity, clock(alert.starts_at));
            lines.push(place_of(line().raw(&since)).end());
            if let Some(since) = alert.stale_since {
                let stale = format!("Nothing is known since {}; taken to hold.", clock(since));
                lines.push(line().raw(&stale).end());
            }
            lines.extend(labelled(line(), "Why: ", &words.description, field));
            lines.extend(labelled(line(), "Do: ", &words.action, field));
        }
        Some(Ended { at, why }) => {
            let (from, to) = (clock(alert.starts_at), clock(*at));
            let lasted = span(at.since(alert.starts_at));
            let times = format!("{}, {from} to {to} ({lasted}); ", alert.severity);
            lines.push(place_of(line().raw(&times)).end());
            let why = if why.is_empty() { "what ended it was not recorded" } else { why };
            lines.extend(labelled(line(), "Ended: ", why, field));
        }
    }
    let link = address::address(&notice.external_url, &words.link);
    lines.push(Line::new(markup, link.len() + 16).raw("More: ").address(&link).end());
    lines
}

/// `label` and the text after it; nothing for no text.
pub(super) fn labelled(line: Line, label: &str, text: &str, max: usize) -> Option<String> {
    (!text.is_empty()).then(|| line.raw(label).value(text, max).end())
}
