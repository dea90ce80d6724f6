//! Kubernetes Events: one for each alert about a node.
//!
//! Limits (`events.k8s.io/v1`): 128 bytes of `reason`, 1,024 of `note`. Events expire, and are no
//! record.

use palisade_report::NodeName;

use super::address::address;
use super::line::Line;
use super::markup::Markup;
use crate::notice::Notice;
use crate::notice::Noticed;
use crate::outgoing::Event;
use crate::outgoing::Outgoing;

/// Bytes of the note.
const MAX_NOTE: usize = 1_024;

pub(super) fn events(notice: &Notice) -> Vec<Outgoing> {
    notice.alerts.iter().filter_map(|it| event(notice, it)).map(Outgoing::Event).collect()
}

fn event(notice: &Notice, alert: &Noticed) -> Option<Event> {
    let node: NodeName = alert.labels.get("node")?.parse().ok()?;
    let state = if alert.is_firing() { "firing" } else { "resolved" };
    Some(Event {
        node: node.as_str().into(),
        reason: alert.kind.as_str().into(),
        note: note(notice, alert),
        type_: if alert.is_firing() { "Warning" } else { "Normal" },
        turn: format!("{}-{}-{state}", alert.id, alert.starts_at.unix()),
    })
}

/// What, why or by what it ended, what to do, and where to read more.
fn note(notice: &Notice, alert: &Noticed) -> String {
    let words = &alert.words;
    let link = address(&notice.external_url, &words.link);
    let link = Line::new(Markup::Plain, link.len() + 8).raw(" ").address(&link).end();
    let line = Line::new(Markup::Plain, MAX_NOTE.saturating_sub(link.len()));
    let line = match &alert.ended {
        None => {
            let line = line.raw(alert.severity.as_str()).raw(": ").value(&words.summary, 300);
            let line = line.raw(". ").value(&words.description, 300);
            if words.action.is_empty() { line } else { line.raw(" Do: ").value(&words.action, 300) }
        }
        Some(ended) => {
            let line = line.raw("Resolved: ").value(&words.summary, 400);
            line.raw(". Ended: ").value(&ended.why, 400)
        }
    };
    format!("{}{link}", line.end())
}
