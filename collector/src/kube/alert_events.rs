//! Alerts as Events about nodes, and what else alerts need to know of a cluster.
//!
//! Told by the client behind the fence: a collector that does not lead tells nothing, and is asked
//! again. An Event is about a node that is there; of one that is gone nothing can be told, and nobody
//! would look for it. Beyond a node's budget Events are dropped and counted, because they end after an
//! hour anyway; beyond that of the fleet they wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::BoxFuture;
use palisade_alert::outgoing::Event;
use palisade_alert::outgoing::Outcome;
use palisade_report::NodeName;

use super::client::CallError;
use super::client::Clients;
use super::directory::NodeDirectory;
use super::directory::Sighting;
use super::fence::Fence;
use super::node_event::NodeEvent;
use super::node_event::Teller;
use super::node_event::Told;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::figures::Figures;
use crate::figures::Output;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_NODES;
use crate::notify::courier::TellEvents;

/// Events of the whole fleet over time, and at once.
const FLEET_BURST: u32 = 50;
const FLEET_GAIN: Duration = Duration::from_secs(1);

/// Events of one node: each alert of it comes and goes.
const NODE_BURST: u32 = 20;
const NODE_GAIN: Duration = Duration::from_secs(60);

/// How long, and of how many Events, it is known that they were told. A message of many alerts is
/// carried again as a whole; what was told of it takes nothing from a budget then.
const KNOWN_FOR: Duration = Duration::from_secs(1800);
/// See [`KNOWN_FOR`]: some twenty messages of the largest kind.
const MAX_KNOWN: usize = 4096;

/// What alerts need of a cluster.
#[derive(Debug, Default)]
pub(crate) struct AlertSide {
    /// Where Events are told.
    pub(crate) events: Option<Arc<dyn TellEvents>>,
    /// Addresses of its API server.
    pub(crate) api_server: Vec<IpAddr>,
    /// Open while this collector leads, and may send.
    pub(crate) fence: Option<Fence>,
}

/// Tells alerts as Events.
#[derive(Debug)]
pub(crate) struct AlertEvents {
    teller: Teller,
    directory: Arc<dyn NodeDirectory>,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
    /// By name: Events of which nothing is to be told any more.
    known: Mutex<BTreeMap<String, Instant>>,
}

impl AlertEvents {
    /// Events about nodes of `directory`, told by the collector `identity`.
    pub(crate) fn new(
        clients: &Clients,
        identity: &str,
        directory: Arc<dyn NodeDirectory>,
        clock: Arc<dyn Clock>,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            teller: Teller::new(clients, identity),
            directory,
            clock,
            figures,
            fleet: Buckets::new(FLEET_BURST, FLEET_GAIN, 1),
            each: Buckets::new(NODE_BURST, NODE_GAIN, MAX_NODES),
            known: Mutex::default(),
        }
    }

    async fn say(&self, event: &Event) -> Outcome {
        let Ok(node) = event.node.parse::<NodeName>() else {
            return Outcome::Dead { why: "it is about nothing that could be a node".to_owned() };
        };
        let uid = match self.directory.uid_of(&node) {
            Sighting::Known(uid) => uid,
            Sighting::Absent => {
                tracing::debug!(%node, reason = event.reason, "no Event: the node is gone");
                return Outcome::Delivered;
            }
            Sighting::NotYetKnown => return later("it is not known yet which nodes there are"),
        };
        let event = NodeEvent {
            node: &node,
            uid: &uid,
            action: "Alert",
            reason: &event.reason,
            type_: event.type_,
            note: &event.note,
            turn: &format!("{uid} {}", event.turn),
        };
        let (name, at) = (event.name(), Instant::now());
        if self.is_known(&name, at) {
            return Outcome::Delivered;
        }
        if let Err(wait) = self.fleet.take(&(), at) {
            let why = "too many Events at once".to_owned();
            return Outcome::Retry { after: Some(wait), why };
        }
        if self.each.take(&node, at).is_err() {
            self.figures.count_output(Output::EventDropped);
            self.know(name, at);
            return Outcome::Delivered;
        }
        match self.teller.tell(&event, self.clock.now()).await {
            Ok(told) => {
                if told == Told::Now {
                    self.figures.count_output(Output::EventWritten);
                }
                self.know(name, at);
                Outcome::Delivered
            }
            Err(error) => {
                if error != CallError::NotLeader {
                    self.figures.count_output(Output::Failed);
                }
                fate(&error)
            }
        }
    }

    fn is_known(&self, name: &str, now: Instant) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR)
    }

    fn know(&self, name: String, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, at| now.saturating_duration_since(*at) < KNOWN_FOR);
        }
        // Beyond that the API server says what it knows.
        if known.len() < MAX_KNOWN {
            known.insert(name, now);
        }
    }
}

impl TellEvents for AlertEvents {
    fn tell(&self, event: Event) -> BoxFuture<'_, Outcome> {
        Box::pin(async move { self.say(&event).await })
    }
}

fn later(why: &str) -> Outcome {
    Outcome::Retry { after: None, why: why.to_owned() }
}

/// What a failure means: a missing right and an Event that is none stay so until a person has changed
/// something. A token that is not believed (401) may be one that is about to be renewed, or an API server
/// that has just started.
fn fate(error: &CallError) -> Outcome {
    let why = Chain(error).to_string();
    match error {
        CallError::Refused { code: 400 | 403 | 404 | 413 | 422, .. } => Outcome::Dead { why },
        CallError::NotLeader
        | CallError::Refused { .. }
        | CallError::TimedOut(_)
        | CallError::Unreached { .. } => Outcome::Retry { after: None, why },
    }
}

#[cfg(test)]
mod tests;
