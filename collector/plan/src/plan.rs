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

use crate::drain::Outlook;
use crate::fleet::Fleet;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Policy;
use crate::request::State;

pub use self::alerts::alerts;
pub use self::check::count;
pub use self::check::grant_gates;
pub use self::explain::explain;
pub use self::gates::AGENT_SILENT_SECS;
pub use self::learned::usual;
pub use self::pass::is_frozen;
pub use self::pass::is_single;
pub use self::pool::failures_of;
pub use self::pool::halted;

use self::census::Census;
use self::choose::Choice;
use self::choose::choose;
use self::eta::foresee;
use self::pass::Candidate;
use self::pass::Pass;
use self::pool::shut;

mod alerts;
mod census;
mod check;
mod choose;
mod control_plane;
mod eta;
mod explain;
mod gates;
mod learned;
mod need;
mod pass;
mod pool;
#[cfg(test)]
pub(crate) mod sample;
mod wave;

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

/// What may happen now.
///
/// A node is started only if every gate is open and its pods are known; one whose turn it is and whose
/// pods nobody has read is in [`Plan::ask`].
pub fn plan(fleet: &Fleet, policy: &Policy, now: Moment) -> Plan {
    let mut pass = Pass::of(fleet, policy, now);
    choose(&mut pass);
    foresee(&mut pass);
    let digest = digest(&pass);
    let chosen = |choice| {
        let those = pass.candidates.iter().filter(move |candidate| candidate.choice == choice);
        those.map(|candidate| candidate.member.uid.clone()).collect()
    };
    let (start, ask) = (chosen(Choice::Start), chosen(Choice::Ask));
    let order = pass.candidates.iter().map(|candidate| candidate.member.uid.clone()).collect();
    let places = places(pass);
    Plan { at: now, policy: policy.digest, places, order, start, ask, digest }
}

/// What draining each node that needs a reboot would meet, as far as its pods are in the fleet: beside
/// the nodes that are drained now, and those that go before it. Nothing is decided by it.
#[must_use]
pub fn outlooks(fleet: &Fleet, policy: &Policy, now: Moment) -> BTreeMap<NodeUid, Outlook> {
    let mut pass = Pass::of(fleet, policy, now);
    choose(&mut pass);
    let candidates = pass.candidates.into_iter();
    candidates.filter_map(|it| Some((it.member.uid.clone(), it.outlook?))).collect()
}

/// The place of each node.
fn places(pass: Pass<'_>) -> BTreeMap<NodeUid, Place> {
    let Pass { census, pools, candidates, unknown, now, .. } = pass;
    let mut places = quiet_places(&census, &pools);
    for (index, why) in unknown {
        let Some((_, place)) = places.get_mut(index) else { continue };
        place.verdict = Verdict::Unknown;
        place.blockers.push(shut(Gate::NeedUnknown, why.to_owned(), now, None));
    }
    for (position, candidate) in candidates.into_iter().enumerate() {
        let Candidate { index, shut, choice, eta, .. } = candidate;
        let Some((_, place)) = places.get_mut(index) else { continue };
        place.verdict = match choice {
            Choice::Start => Verdict::Start,
            Choice::Ask | Choice::Waits => Verdict::Waits,
        };
        place.blockers = shut.blockers;
        place.blockers.truncate(MAX_BLOCKERS);
        place.position = u32::try_from(position).ok();
        place.eta = eta;
    }
    // Sorted already, so that this builds the tree in one go.
    places.into_iter().collect()
}

/// Places of all members, in their order, as if none of them wanted to go.
fn quiet_places(census: &Census<'_>, pools: &[pool::PoolView<'_>]) -> Vec<(NodeUid, Place)> {
    let mut zones: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let nowhere: Arc<str> = Arc::from("");
    let mut places = Vec::with_capacity(census.members.len());
    for member in &census.members {
        let pool = pools.get(member.pool).map_or(&nowhere, |view| &view.name);
        let zone = zones.entry(member.zone).or_insert_with(|| Arc::from(member.zone));
        let (verdict, blockers) = match (member.flight, member.request) {
            (Some(state), Some(request)) => {
                (Verdict::InFlight(state), request.progress.blockers.clone())
            }
            (Some(_) | None, _) => (Verdict::NotNeeded, Vec::new()),
        };
        let place = Place {
            pool: Arc::clone(pool),
            zone: Arc::clone(zone),
            role: member.role,
            verdict,
            blockers,
            position: None,
            eta: None,
        };
        places.push((member.uid.clone(), place));
    }
    places
}

/// What a plan is recognised by.
fn digest(pass: &Pass<'_>) -> Digest {
    let mut bytes = Vec::from(*pass.policy.digest.as_bytes());
    for candidate in &pass.candidates {
        bytes.extend_from_slice(candidate.member.uid.as_str().as_bytes());
        // No UID contains a zero byte, so two different lists never give the same bytes.
        bytes.push(0);
        bytes.extend_from_slice(candidate.wanted.digest.as_bytes());
        bytes.push(u8::from(candidate.choice == Choice::Start));
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests;
