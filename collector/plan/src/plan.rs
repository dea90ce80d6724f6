//! Who may reboot now, who comes next, and what everybody else waits for.
//!
//! ```text
//! Fleet ──┐   ┌─ census: who is away, in each pool, zone, domain ─┐
//!         ├──>├─ pools: window, freeze, fit, failures, wave       ├──> choose, one by one in order
//! Policy ─┘   └─ gates of each node that needs a reboot           ┘      │
//!                                                                        v
//!                                          Plan: start these, read the pods of those, why not yet
//! ```
//!
//! A plan is a value. It starts nothing, reads no clock and keeps nothing: the same fleet, policy and
//! moment give the same bytes. A node that waits always has a named reason, a node that starts has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;
use serde::Serialize;

use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::request::State;

/// What may happen at one moment.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The moment.
    pub at: Moment,
    /// The policy that it follows.
    pub policy: Digest,
    /// Every node that exists.
    pub places: BTreeMap<NodeUid, Place>,
    /// Nodes that need a reboot and are not in flight, in the order in which they would be taken.
    pub order: Vec<NodeUid>,
    /// Nodes to claim now, in order.
    pub start: Vec<NodeUid>,
    /// Nodes whose turn it is but whose pods are not in the fleet: read them and plan again. Each takes
    /// a place in this plan, so that no more pods are read than nodes could start.
    pub ask: Vec<NodeUid>,
    /// SHA-256 over the policy, the order with the reasons of each node, and `start`. The same plan a
    /// second later has the same digest.
    pub digest: Digest,
}

/// What a plan says of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its zone (`topology.kubernetes.io/zone`); empty without one.
    pub zone: Arc<str>,
    /// What it is for the cluster.
    pub role: Role,
    /// Whether it goes, and if not, of which kind that is.
    pub verdict: Verdict,
    /// Gates that are shut, most important first; at most [`MAX_BLOCKERS`]. Never empty where the
    /// verdict is [`Verdict::Waits`] or [`Verdict::Unknown`], always empty where it is
    /// [`Verdict::Start`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
    /// Its index in [`Plan::order`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// When it may be its turn, if all goes as usual; absent where something must happen first that
    /// time alone does not bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<Moment>,
}

/// Blockers that a place lists; what follows is less important than these.
pub const MAX_BLOCKERS: usize = 20;

/// Whether a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It needs no reboot.
    NotNeeded,
    /// Whether it needs one cannot be told.
    Unknown,
    /// It has a request that holds a place.
    InFlight(State),
    /// It is to be claimed now.
    Start,
    /// It needs a reboot, and a gate is shut.
    Waits,
}

/// One gate of one node, open or shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// Which.
    pub gate: Gate,
    /// Whether it lets the node pass.
    pub open: bool,
    /// What it saw, in words for a person.
    pub value: String,
    /// Since when it is shut, as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// When it may open by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Moment>,
}
