//! History: what changed, newest first, and the shape of one change on the wire.

use palisade_report::Moment;
use palisade_report::NodeName;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Refused;
use crate::engine::Cause;
use crate::engine::NodeEvent;
use crate::engine::Transition;
use crate::http::call::HistoryQuery;
use crate::store::HistoryBody;
use crate::store::HistoryEntry;
use crate::store::Page;
use crate::store::Reader;

/// One change, as lists and change feeds show it.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// Its place; none for changes that are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// When.
    pub at: Moment,
    /// The node.
    pub node: &'a NodeName,
    /// What brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Findings that opened, changed or ended.
    #[serde(skip_serializing_if = "<[Transition]>::is_empty")]
    pub transitions: &'a [Transition],
    /// Something that is no finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a NodeEvent>,
    /// The node's new state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
}

impl<'a> From<&'a HistoryEntry> for Entry<'a> {
    fn from(entry: &'a HistoryEntry) -> Self {
        let HistoryEntry { id, at, node, body } = entry;
        let (cause, transitions, event) = match body {
            HistoryBody::Findings { cause, transitions } => (Some(*cause), &**transitions, None),
            HistoryBody::Event(event) => (None, &[][..], Some(event)),
        };
        Self { id: Some(*id), at: *at, node, cause, transitions, event, state: None }
    }
}

/// The changes that fit, newest first.
///
/// # Errors
/// [`Refused`] if the store cannot be read.
pub async fn list(reader: &Reader, query: HistoryQuery) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        changes: Vec<Entry<'a>>,
        next: Option<String>,
    }
    let HistoryQuery { node, before, limit } = query;
    let Page { rows, next } =
        reader.history(node, before, limit).await.map_err(|error| super::read_failed(&error))?;
    Ok(Answer::json(&Body { changes: rows.iter().map(Entry::from).collect(), next }))
}
