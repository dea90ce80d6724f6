//! The change feed: server-sent events, with resume and a bounded queue for each client.
//!
//! ```text
//! last id ─> history after it ─┐
//! engine's changes ────────────┴─> lines ─> queue of 64 ─> client
//! ```
//!
//! A client that falls behind is told by the event `lost` how much it missed and reads
//! `/v1/history` for it; nobody waits for a slow client.

use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::sync::watch;

use super::answer::Answer;
use super::history::Entry;
use crate::engine::Change;
use crate::engine::What;
use crate::store::Reader;

/// Events that wait for one client.
const QUEUE: usize = 64;

/// Entries of the history that are read at once for a client that comes back.
const REPLAY_PAGE: usize = 256;

/// Pages that such a client gets; who missed more reads the history.
const REPLAY_PAGES: usize = 16;

/// What a change feed runs on.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) changes: broadcast::Receiver<Change>,
    pub(super) reader: Reader,
    pub(super) keep_alive: Duration,
    pub(super) open: watch::Receiver<bool>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Starts a feed that goes on after the event `after`.
pub(super) fn start(feed: Feed, after: Option<i64>) -> Answer {
    let (client, events) = mpsc::channel(QUEUE);
    tokio::spawn(run(feed, after, client));
    Answer::Events(events)
}

async fn run(feed: Feed, after: Option<i64>, client: mpsc::Sender<Bytes>) {
    let Feed { mut changes, reader, keep_alive, mut open, permit } = feed;
    let feeding = async {
        send(&client, "retry: 3000\n\n".into()).await?;
        let last = match after {
            Some(after) => Some(replay(&reader, after, &client).await?),
            None => None,
        };
        loop {
            match tokio::time::timeout(keep_alive, changes.recv()).await {
                Err(_) => send(&client, ": still here\n\n".into()).await?,
                // Replayed already: it was committed before we asked and told after.
                Ok(Ok(change)) if change.id.is_some_and(|id| last.is_some_and(|it| id <= it)) => {}
                Ok(Ok(change)) => send(&client, event_of(&change)).await?,
                Ok(Err(RecvError::Lagged(missed))) => send(&client, lost(missed)).await?,
                Ok(Err(RecvError::Closed)) => return Err(Gone),
            }
        }
    };
    tokio::select! {
        _ = open.wait_for(|open| !open) => {}
        // Ends only when the client is gone.
        Err::<std::convert::Infallible, _>(Gone) = feeding => {}
    }
    drop(permit);
}

/// The client, or the engine, is gone.
#[derive(Debug)]
struct Gone;

async fn send(client: &mpsc::Sender<Bytes>, lines: String) -> Result<(), Gone> {
    client.send(lines.into()).await.map_err(|_| Gone)
}

async fn replay(reader: &Reader, after: i64, client: &mpsc::Sender<Bytes>) -> Result<i64, Gone> {
    let mut last = after;
    match reader.history_span().await {
        // From another history, or one that was restored: nothing of ours fits behind it.
        Ok(Some((_, newest))) if after > newest => {
            send(client, lost(0)).await?;
            return Ok(newest);
        }
        // What came in between is no longer kept.
        Ok(Some((oldest, _))) if after.saturating_add(1) < oldest => {
            send(client, lost(0)).await?;
        }
        Ok(Some(_)) => {}
        Ok(None) => return Ok(0),
        Err(error) => {
            tracing::error!(cause = %crate::chain::Chain(&error), "the history cannot be read");
            send(client, lost(0)).await?;
            return Ok(0);
        }
    }
    for _ in 0..REPLAY_PAGES {
        let entries = match reader.history_after(last, REPLAY_PAGE).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(cause = %crate::chain::Chain(&error), "the history cannot be read");
                send(client, lost(0)).await?;
                return Ok(last);
            }
        };
        for entry in &entries {
            let kind = if matches!(entry.body, crate::store::HistoryBody::Event(_)) {
                "node"
            } else {
                "findings"
            };
            send(client, lines(kind, Some(entry.id), &Entry::from(entry))).await?;
            last = last.max(entry.id);
        }
        if entries.len() < REPLAY_PAGE {
            return Ok(last);
        }
    }
    send(client, lost(0)).await?;
    Ok(last)
}

fn event_of(change: &Change) -> String {
    let Change { id, at, node, what } = change;
    let base =
        Entry { id: *id, at: *at, node, cause: None, transitions: &[], event: None, state: None };
    match what {
        What::Findings { cause, transitions } => {
            let entry = Entry { cause: Some(*cause), transitions, ..base };
            lines("findings", *id, &entry)
        }
        What::State(state) => lines("state", *id, &Entry { state: Some(state.as_str()), ..base }),
        What::Event(event) => lines("node", *id, &Entry { event: Some(event), ..base }),
    }
}

/// Events were missed: how many, as far as that is known.
fn lost(missed: u64) -> String {
    format!("event: lost\ndata: {{\"missed\":{missed}}}\n\n")
}

/// An event in the lines of the format; JSON has no line breaks of its own.
fn lines<T: Serialize>(kind: &str, id: Option<i64>, data: &T) -> String {
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n")
}
