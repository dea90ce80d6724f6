//! The blast radius of a policy: what would be different if it were in force now.
//!
//! ```text
//! old, new ──> fields that differ
//! old, new, fleet ──> nodes that change pool or mode, caps in nodes
//!           └─ plan ─> nodes that would start at once, and those that no longer would
//! ```
//!
//! It is shown before a policy acts and changes nothing: requests that are in flight keep the place
//! in which they were claimed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde::Serialize;
use serde_json::Value;

use crate::fleet::Fleet;
use crate::plan::plan;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;

/// Fields that are listed; beyond that it is another policy, not an edit.
pub const MAX_FIELDS: usize = 500;

/// Nodes that are listed by name in each list; counts are always whole.
pub const MAX_NODES: usize = 100;

/// What would be different.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlastRadius {
    /// The policy in force.
    pub from: Digest,
    /// The other.
    pub to: Digest,
    /// Fields that differ, in order of their paths; at most [`MAX_FIELDS`].
    pub fields: Vec<FieldChange>,
    /// Each pool of either policy that has nodes or that differs, by its name.
    pub pools: BTreeMap<String, PoolChange>,
    /// Nodes of the cluster that may be away at once.
    pub cluster_cap: Change<usize>,
    /// Nodes that are in another pool.
    pub moved: Nodes<PoolMove>,
    /// Nodes that may be rebooted, with or without an approval, and could not be before.
    pub armed: Nodes<()>,
    /// Nodes that can no longer be.
    pub disarmed: Nodes<()>,
    /// Nodes that would be started at once, or whose pods would be looked at for that, and are not
    /// now.
    pub starting: Nodes<()>,
    /// Nodes that are about to be and would no longer.
    pub held_back: Nodes<()>,
}

/// Before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change<T> {
    /// Under the policy in force.
    pub from: T,
    /// Under the other.
    pub to: T,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where, such as `pools.web.maxUnavailable`; durations in seconds.
    pub path: String,
    /// What it was; absent where the field, or the whole pool, is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it would be; absent where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// A pool before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolChange {
    /// Its nodes.
    pub nodes: Change<usize>,
    /// Its mode; absent where there is no such pool.
    pub mode: Change<Option<Mode>>,
    /// How many of its nodes may be away at once; 0 where there is no such pool.
    pub cap: Change<usize>,
}

/// Nodes, all of them counted and the first of them listed by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nodes<T> {
    /// How many.
    pub count: usize,
    /// Who, in order of their names; at most [`MAX_NODES`].
    pub first: BTreeMap<NodeName, T>,
}

/// A node that is in another pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolMove {
    /// Its pool.
    pub pool: Change<String>,
    /// Its mode there.
    pub mode: Change<Mode>,
}

impl<T> Default for Nodes<T> {
    fn default() -> Self {
        Self { count: 0, first: BTreeMap::new() }
    }
}

impl<T> Nodes<T> {
    fn add(&mut self, name: &NodeName, what: T) {
        self.count = self.count.saturating_add(1);
        self.first.insert(name.clone(), what);
        if self.first.len() > MAX_NODES {
            self.first.pop_last();
        }
    }
}

/// A fleet as it is judged under one policy: roles and [`crate::fleet::Node::objections`] are those of
/// that policy, and labels by which it selects are there.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The nodes.
    pub fleet: &'a Fleet,
    /// The policy.
    pub policy: &'a Policy,
}

/// What would be different now if the policy of `new` were in force instead of that of `old`, for the
/// nodes that are in both.
pub fn compare(old: Judged<'_>, new: Judged<'_>, now: Moment) -> BlastRadius {
    let (was, would_be) = (old.fleet, new.fleet);
    let (old, new) = (old.policy, new.policy);
    let mut radius = BlastRadius {
        from: old.digest,
        to: new.digest,
        fields: fields(old, new),
        pools: BTreeMap::new(),
        cluster_cap: Change {
            from: old.cluster.max_unavailable.of(was.nodes.len()),
            to: new.cluster.max_unavailable.of(would_be.nodes.len()),
        },
        moved: Nodes::default(),
        armed: Nodes::default(),
        disarmed: Nodes::default(),
        starting: Nodes::default(),
        held_back: Nodes::default(),
    };
    for (uid, node) in &was.nodes {
        let Some(same) = would_be.nodes.get(uid) else { continue };
        let (before, after) = (old.pool_of(&node.labels), new.pool_of(&same.labels));
        radius.entry(before, old, new).nodes.from += 1;
        radius.entry(after, old, new).nodes.to += 1;
        if before.name != after.name {
            let pool = Change { from: before.name.clone(), to: after.name.clone() };
            let mode = Change { from: before.mode, to: after.mode };
            radius.moved.add(&node.name, PoolMove { pool, mode });
        }
        match (is_armed(before), is_armed(after)) {
            (false, true) => radius.armed.add(&node.name, ()),
            (true, false) => radius.disarmed.add(&node.name, ()),
            (false, false) | (true, true) => {}
        }
    }
    for (one, other) in [(old, new), (new, old)] {
        for pool in one.pools.iter().filter(|pool| other.pool(&pool.name) != Some(pool)) {
            radius.entry(pool, old, new);
        }
    }
    for (name, change) in &mut radius.pools {
        let cap = |policy: &Policy, nodes| {
            policy.pool(name).map_or(0, |pool| pool.max_unavailable.of(nodes))
        };
        change.cap = Change { from: cap(old, change.nodes.from), to: cap(new, change.nodes.to) };
    }
    let (before, after) = (going(was, old, now), going(would_be, new, now));
    let names = |uids: &BTreeSet<NodeUid>, others: &BTreeSet<NodeUid>| {
        let mut nodes = Nodes::default();
        for node in uids.difference(others).filter_map(|uid| was.nodes.get(uid)) {
            nodes.add(&node.name, ());
        }
        nodes
    };
    radius.starting = names(&after, &before);
    radius.held_back = names(&before, &after);
    radius
}

impl BlastRadius {
    fn entry(&mut self, pool: &Pool, old: &Policy, new: &Policy) -> &mut PoolChange {
        let mode = |policy: &Policy| policy.pool(&pool.name).map(|pool| pool.mode);
        self.pools.entry(pool.name.clone()).or_insert_with(|| PoolChange {
            nodes: Change { from: 0, to: 0 },
            mode: Change { from: mode(old), to: mode(new) },
            cap: Change { from: 0, to: 0 },
        })
    }
}

/// Whether nodes of the pool are ever rebooted.
const fn is_armed(pool: &Pool) -> bool {
    match pool.mode {
        Mode::Approve | Mode::Auto => true,
        Mode::Plan | Mode::Report => false,
    }
}

/// Nodes that would go now.
fn going(fleet: &Fleet, policy: &Policy, now: Moment) -> BTreeSet<NodeUid> {
    let plan = plan(fleet, policy, now);
    plan.start.into_iter().chain(plan.ask).collect()
}

/// Fields of two policies that differ. Pools are told apart by their names.
fn fields(old: &Policy, new: &Policy) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let whole = |policy: &Policy| {
        let mut parts = BTreeMap::from([("cluster".to_owned(), json(&policy.cluster))]);
        for pool in &policy.pools {
            parts.insert(format!("pools.{}", pool.name), json(pool));
        }
        let order: Vec<&str> = policy.pools.iter().map(|pool| pool.name.as_str()).collect();
        // Whom the pools select depends on their order, too.
        parts.insert("pools".to_owned(), order.into());
        parts
    };
    let (old, new) = (whole(old), whole(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths {
        differ(path, old.get(path), new.get(path), &mut changes);
    }
    changes.truncate(MAX_FIELDS);
    changes
}

fn json(part: &impl Serialize) -> Value {
    // Structs of strings, numbers and lists always have a JSON form.
    serde_json::to_value(part).unwrap_or_default()
}

fn differ(path: &str, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<FieldChange>) {
    if from == to {
        return;
    }
    // Only what both have is looked into: a new pool is one change, not thirty.
    if let (Some(Value::Object(from)), Some(Value::Object(to))) = (from, to) {
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for name in names {
            differ(&format!("{path}.{name}"), from.get(name), to.get(name), changes);
        }
        return;
    }
    let (from, to) = (from.cloned(), to.cloned());
    changes.push(FieldChange { path: path.to_owned(), from, to });
}

#[cfg(test)]
mod tests;
