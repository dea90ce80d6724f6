//! What holds in the fleet that is worth an alert: a picture of it goes in, sightings come out.
//!
//! ```text
//! Snapshot ─┬─> node: reboots, certificates, hardening ─┐
//!           ├─> fleet: who is heard, what edits did     ├─> (Scope, Look) ──> the book of alerts
//! View ─────┼─> reboots: what the coordinator raised    │
//! own ──────┴─> collector: store, certificates          ┘
//! ```
//!
//! Without I/O and without a clock. What cannot be looked at is not looked at, or is stale; what cannot
//! be told any more stays seen as it was: neither ends an alert. How long something must hold, and who
//! hears of it, is decided in `palisade-alert`.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::sighting::Look;
use palisade_alert::sighting::Scope;
use palisade_alert::sighting::Sighting;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_rules::Profile;

use self::words::Shared;
use crate::figures::OwnCertificates;
use crate::grants::uid_of;
use crate::planned::View;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Snapshot;

pub use self::ending::ending;
pub use self::reboots::rebooting;
pub use self::reboots::rebooting_now;
pub use self::security::Boot;
pub use self::security::Incident;
pub use self::security::IncidentKind;
pub use self::security::KINDS as INCIDENT_KINDS;
pub use self::security::MAX_ROWS as MAX_INCIDENTS;
pub use self::security::WITHIN_SECS as INCIDENTS_WITHIN_SECS;
pub use self::security::boots;
pub use self::security::incidents;
pub use self::security::oddities;

mod edits;
mod ending;
mod fleet;
mod node;
mod own;
mod reboots;
mod security;
mod words;

/// Seconds after the start in which the pools of a cluster's nodes may not be known yet. A node is not
/// looked at without its pool until then, because an alert with another pool is another alert.
const SETTLE_SECS: i64 = 60;

/// The same without a cluster, where the coordinator has nothing to wait for.
const SETTLE_ALONE_SECS: i64 = 10;

/// Seconds after the start in which nodes that there were before may still be absent: agents of a
/// collector that took over are asked for their reports bit by bit.
const RETURN_SECS: i64 = 900;

/// What there is to look at.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The fleet.
    pub snapshot: &'a Snapshot,
    /// What the coordinator saw and decided; `None`: none runs, or not yet.
    pub view: Option<&'a View>,
    /// Whether there may be a coordinator, by the settings.
    pub coordinator: Coordinator,
    /// The collector's own certificates.
    pub own: OwnCertificates,
    /// The rules in force: their titles, why they matter, what mends them.
    pub rules: &'a Profile,
    /// What looks like an attack: [`incidents`] and [`oddities`].
    pub incidents: &'a [Incident],
    /// Boots that nobody here asked for: [`boots`].
    pub boots: &'a [Boot],
    /// The version of this collector.
    pub version: &'a str,
    /// When this process started.
    pub started_at: Moment,
    /// Now.
    pub now: Moment,
}

/// Whether reboots are coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinator {
    /// The settings have a policy: one runs, here or elsewhere, or will.
    Expected,
    /// Without a policy none ever runs.
    None,
}

impl World<'_> {
    const fn is_within(&self, secs: i64) -> bool {
        self.now.since(self.started_at) < secs
    }
}

/// What was looked at last, so that a node that did not change costs the comparison of a pointer.
#[derive(Debug, Default)]
pub struct Sources {
    /// In order of names.
    memos: Vec<Memo>,
    shared: Shared,
    fleet: Seen,
    reboots: Seen,
    paused: BTreeMap<String, Moment>,
    /// The policy by which the pools of nodes are known, and reboots were looked at last.
    policy: Option<Digest>,
    /// When the coordinator's view was there last.
    viewed_at: Option<Moment>,
    /// What fired when the process before this one ended, of nodes that were not met yet.
    restored: BTreeMap<NodeName, Vec<Sighting>>,
    /// The pools of nodes then, of those that were not met yet.
    pools: BTreeMap<NodeName, Arc<str>>,
    gone: Vec<(Scope, String)>,
}

/// What holds in a scope, by its identity.
type Seen = BTreeMap<Key, Sighting>;

/// A node as it was looked at last.
#[derive(Debug)]
struct Memo {
    node: Arc<Node>,
    pool: Option<Arc<str>>,
    /// Whether it was looked at as it is.
    is_done: bool,
    /// Whether it is not spoken of yet, because its pool may become known.
    is_waiting: bool,
    seen: Vec<Sighting>,
    /// Whether an edit has left marks in it.
    is_edited: bool,
    /// When an edit last made checks of it fail.
    checks_edited_at: Option<Moment>,
}

impl Memo {
    /// Notes what edits have made of it.
    fn note_edits(&mut self) {
        self.is_edited = self.seen.iter().any(edits::is_marked);
        self.checks_edited_at = edits::last(&self.node);
    }
}

impl Sources {
    /// Takes over what the book has of an earlier process: what holds as far as known. Without it what
    /// cannot be told after a restart would seem to be over.
    pub fn remember(&mut self, records: impl IntoIterator<Item = (Scope, Sighting)>) {
        for (scope, sighting) in records {
            if let (Some(node), Some(pool)) = (&sighting.key.node, &sighting.key.pool) {
                self.pools.insert(node.clone(), Arc::clone(pool));
            }
            match scope {
                Scope::Fleet => {
                    self.fleet.insert(sighting.key.clone(), sighting);
                }
                Scope::Node(name) => self.restored.entry(name).or_default().push(sighting),
                Scope::Reboots => {
                    self.reboots.insert(sighting.key.clone(), sighting);
                }
                Scope::Collector => {
                    let policy = sighting.values.get(own::POLICY).and_then(|it| it.parse().ok());
                    self.policy = policy.or(self.policy);
                }
                Scope::Notifier => {}
            }
        }
    }

    /// What holds now in the scopes that may have changed since the last look, and in all whose contents
    /// move with time. [`Self::gone`] is to be asked afterwards and heeded first: the node that has a
    /// name now may be another one than before.
    pub fn look(&mut self, world: &World<'_>) -> Vec<(Scope, Look)> {
        let mut looks = Vec::new();
        let policy = world.view.map(|view| view.plan.policy);
        // The first one that is ever seen is no edit.
        let is_edited = policy.is_some() && self.policy.is_some() && policy != self.policy;
        let is_new_policy = policy.is_some() && policy != self.policy;
        self.policy = policy.or(self.policy);
        self.look_at_nodes(is_new_policy, world, &mut looks);
        looks.extend(self.look_at_reboots(is_edited.then_some(world.now), world));
        let fleet = fleet::look(world, &self.memos, &self.reboots, &self.fleet, &mut self.shared);
        looks.push((Scope::Fleet, seen(&fleet)));
        self.fleet = fleet;
        let own = own::look(world, self.policy, &mut self.shared);
        looks.push((Scope::Collector, Look::Seen(own)));
        looks
    }

    /// Lets every node be looked at again with the next look, although it did not change: what holds of
    /// some may have found no room.
    pub fn forget(&mut self) {
        self.memos.iter_mut().for_each(|memo| memo.is_done = false);
    }

    fn look_at_reboots(
        &mut self,
        edited_at: Option<Moment>,
        world: &World<'_>,
    ) -> Option<(Scope, Look)> {
        if let Some(view) = world.view {
            let paused = &mut self.paused;
            let mut found = reboots::look(world, view, &self.reboots, paused, &mut self.shared);
            reboots::mark(&mut found, &self.reboots, edited_at, &mut self.shared);
            let look = seen(&found);
            self.reboots = found;
            self.viewed_at = Some(world.now);
            return Some((Scope::Reboots, look));
        }
        if self.reboots.is_empty() {
            return None;
        }
        if world.coordinator == Coordinator::None {
            self.reboots.clear();
            self.gone.push((Scope::Reboots, "nothing coordinates reboots any more".to_owned()));
            return None;
        }
        let since = self.viewed_at.unwrap_or(world.started_at);
        Some((Scope::Reboots, Look::Stale { since, why: "no coordinator shows its plan".into() }))
    }

    /// Scopes that are no more since the last call, and why: everything in them ends at once.
    pub fn gone(&mut self) -> Vec<(Scope, String)> {
        std::mem::take(&mut self.gone)
    }

    fn look_at_nodes(
        &mut self,
        is_new_policy: bool,
        world: &World<'_>,
        looks: &mut Vec<(Scope, Look)>,
    ) {
        let mut before = std::mem::take(&mut self.memos).into_iter().peekable();
        let mut memos = Vec::with_capacity(world.snapshot.nodes.len());
        for node in world.snapshot.nodes.iter() {
            while let Some(memo) = before.next_if(|it| it.node.name < node.name) {
                self.lose(&memo.node, NO_MORE);
            }
            let memo = before.next_if(|it| it.node.name == node.name);
            memos.push(self.look_at(node, memo, is_new_policy, world, looks));
        }
        before.for_each(|memo| self.lose(&memo.node, NO_MORE));
        self.memos = memos;
        if !world.is_within(RETURN_SECS) {
            let absent = std::mem::take(&mut self.restored);
            self.pools.clear();
            self.gone.extend(absent.into_keys().map(|it| (Scope::Node(it), NO_MORE.to_owned())));
        }
    }

    fn look_at(
        &mut self,
        node: &Arc<Node>,
        memo: Option<Memo>,
        is_new_policy: bool,
        world: &World<'_>,
        looks: &mut Vec<(Scope, Look)>,
    ) -> Memo {
        let mut memo = memo.unwrap_or_else(|| {
            let seen = self.restored.remove(&node.name).unwrap_or_default();
            let (node, pool) = (Arc::clone(node), self.pools.remove(&node.name));
            let (is_done, is_waiting, is_edited) = (false, false, false);
            Memo { node, pool, is_done, is_waiting, seen, is_edited, checks_edited_at: None }
        });
        if !Arc::ptr_eq(&memo.node, node) {
            if memo.node.uid.is_some() && node.uid.is_some() && memo.node.uid != node.uid {
                self.lose(node, "another node has this name now");
                memo.seen.clear();
                memo.pool = None;
            }
            memo.node = Arc::clone(node);
            memo.is_done = false;
        }
        let is_known = memo.pool.is_some() && memo.is_done && !is_new_policy;
        let pool = if is_known { None } else { pool(node, world.view) };
        if pool.is_some() && pool != memo.pool {
            memo.pool = pool;
            memo.is_done = false;
        }
        let settles = if node.uid.is_some() { SETTLE_SECS } else { SETTLE_ALONE_SECS };
        memo.is_waiting = memo.pool.is_none() && world.view.is_none() && world.is_within(settles);
        if memo.is_done || (memo.is_waiting && node.state != NodeState::Gone) {
            return memo;
        }
        let scope = Scope::Node(node.name.clone());
        match node.state {
            NodeState::Fresh | NodeState::Late => {
                if node.report.is_none() {
                    return memo;
                }
                let found =
                    node::look(node, memo.pool.as_ref(), &memo.seen, world, &mut self.shared);
                looks.push((scope, seen(&found)));
                memo.seen = found.into_values().collect();
                memo.note_edits();
            }
            NodeState::Silent => {
                memo.note_edits();
                looks.push((scope, Look::Stale { since: node.seen.at(), why: "no report".into() }));
            }
            NodeState::NeverSeen => {}
            NodeState::Gone => {
                self.lose(node, "the node was retired");
                memo.seen.clear();
                memo.note_edits();
            }
        }
        memo.is_done = true;
        memo
    }

    fn lose(&mut self, node: &Node, why: &str) {
        self.gone.push((Scope::Node(node.name.clone()), why.to_owned()));
    }
}

/// Of a node that is not in the snapshot any more.
const NO_MORE: &str = "there is no such node any more";

/// What a node is for the coordinator.
fn uid(node: &Node) -> Option<NodeUid> {
    node.uid.clone().or_else(|| uid_of(&node.name))
}

/// The pool that the coordinator counts a node in.
fn pool(node: &Node, view: Option<&View>) -> Option<Arc<str>> {
    let place = view?.plan.places.get(&uid(node)?)?;
    Some(Arc::clone(&place.pool))
}

fn seen(found: &Seen) -> Look {
    Look::Seen(found.values().cloned().collect())
}

/// Adds a sighting; of two of one identity the louder one counts.
fn add(found: &mut Seen, sighting: Sighting) {
    let louder = found.get(&sighting.key).is_some_and(|it| it.severity >= sighting.severity);
    if !louder {
        found.insert(sighting.key.clone(), sighting);
    }
}

/// An alert about a node.
fn of_node(kind: Kind, node: &Node, pool: Option<&Arc<str>>) -> Key {
    Key::of_node(kind, node.name.clone(), pool.cloned())
}

#[cfg(test)]
mod tests;
