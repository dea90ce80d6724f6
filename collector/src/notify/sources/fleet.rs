//! Who is heard, what edits brought about, and what looks like an attack: looked at each time,
//! because time alone changes it.

use std::sync::Arc;

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_report::NodeName;

use super::Memo;
use super::RETURN_SECS;
use super::Seen;
use super::World;
use super::add;
use super::edits;
use super::of_node;
use super::security;
use super::words::Shared;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Ready;

/// Silence after which it is critical.
const CRITICAL_SILENCE_SECS: i64 = 3600;

/// Silent nodes up to which it is those nodes, and not what they all have in common.
const FEW_SILENT: u64 = 5;

/// The same as a share of all live nodes: one in so many.
const ONE_IN: u64 = 20;

/// Offset of a clock from which on TLS and tokens are at risk.
const SKEW_SECS: u64 = 60;

/// Steps in which an offset is told, so that its words do not change with each heartbeat.
const SKEWS: [(u64, &str); 6] = [
    (86_400, "more than a day"),
    (3600, "more than an hour"),
    (1800, "more than 30 minutes"),
    (600, "more than 10 minutes"),
    (180, "more than 3 minutes"),
    (SKEW_SECS, "more than a minute"),
];

/// Minor versions behind the collector from which on an agent is outdated.
const MINORS_BEHIND: u64 = 2;

pub(super) fn look(
    world: &World<'_>,
    memos: &[Memo],
    reboots: &Seen,
    before: &Seen,
    shared: &mut Shared,
) -> Seen {
    let mut found = Seen::new();
    for memo in memos.iter().filter(|memo| !memo.is_waiting) {
        let (node, pool) = (&*memo.node, memo.pool.as_ref());
        match node.state {
            NodeState::Fresh | NodeState::Late => heard(world, node, pool, &mut found, shared),
            NodeState::Silent => {
                silent(world, node, pool, before, &mut found, shared);
                heard(world, node, pool, &mut found, shared);
            }
            NodeState::NeverSeen => {
                let key = of_node(Kind::NodeUnmonitored, node, pool);
                let (severity, since) = (Severity::Warning, Some(node.state_since));
                add(&mut found, Sighting { key, severity, since, values: shared.of([]) });
            }
            NodeState::Gone => {}
        }
    }
    many_silent(world, &mut found, shared);
    edits::sum_up(world, memos, reboots, &mut found, shared);
    security::look(world, memos, &mut found, shared);
    if memos.iter().any(|memo| memo.is_waiting) {
        // Not looked at yet, so nothing about them is over.
        let waiting = |name: &NodeName| {
            let at = memos.binary_search_by(|memo| memo.node.name.cmp(name)).ok();
            at.and_then(|at| memos.get(at)).is_some_and(|memo| memo.is_waiting)
        };
        let waiting = before.values().filter(|it| {
            it.key.node.as_ref().is_some_and(waiting) || edits::SUMMARIES.contains(&it.key.kind)
        });
        waiting.for_each(|it| add(&mut found, it.clone()));
    }
    if world.now.since(world.started_at) < RETURN_SECS {
        // The list of the cluster may not be here yet: who is not in it now is not monitored by that.
        let absent = before.values().filter(|it| {
            let name = it.key.node.as_ref();
            it.key.kind == Kind::NodeUnmonitored
                && name.is_some_and(|name| world.snapshot.node(name.as_str()).is_none())
        });
        absent.for_each(|it| add(&mut found, it.clone()));
    }
    found
}

fn silent(
    world: &World<'_>,
    node: &Node,
    pool: Option<&Arc<str>>,
    before: &Seen,
    found: &mut Seen,
    shared: &mut Shared,
) {
    let key = of_node(Kind::AgentSilent, node, pool);
    let since = node.seen.at();
    let is_long = world.now.since(since) >= CRITICAL_SILENCE_SECS;
    // One that the cluster has lost too is dead, and others say so.
    let severity = match &node.cluster {
        Some(cluster) if cluster.ready != Ready::Ready => Severity::Warning,
        // What the cluster says of it is not known yet.
        None if node.uid.is_some() && is_long => {
            before.get(&key).map_or(Severity::Warning, |it| it.severity)
        }
        Some(_) | None if is_long => Severity::Critical,
        Some(_) | None => Severity::Warning,
    };
    // When a whole fleet is silent, its words are not made anew at each look.
    let known = before.get(&key).filter(|it| it.since == Some(since) && !it.values.is_empty());
    let values = match known {
        Some(known) => Arc::clone(&known.values),
        None => shared.of([("since", &*since.to_string())]),
    };
    add(found, Sighting { key, severity, since: Some(since), values });
}

/// What is known by what was heard last.
fn heard(
    world: &World<'_>,
    node: &Node,
    pool: Option<&Arc<str>>,
    found: &mut Seen,
    shared: &mut Shared,
) {
    if is_outdated(&node.agent, world.version) {
        let values = shared.of([("version", &*node.agent), ("collector", world.version)]);
        let (key, severity) = (of_node(Kind::AgentOutdated, node, pool), Severity::Info);
        add(found, Sighting { key, severity, since: None, values });
    }
    let skew = node.seen.skew_secs();
    let step = SKEWS.iter().find(|(secs, _)| skew.unsigned_abs() > *secs);
    if let Some((_, words)) = step {
        let way = if skew > 0 { "ahead" } else { "behind" };
        let values = shared.of([("skew", &*format!("{words} ({way})"))]);
        let (key, severity) = (of_node(Kind::ClockSkew, node, pool), Severity::Warning);
        add(found, Sighting { key, severity, since: None, values });
    }
}

/// Two or more minor versions behind. What is no version is not older than anything.
fn is_outdated(agent: &str, collector: &str) -> bool {
    let parse = |text: &str| -> Option<(u64, u64)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let (Some((major, minor)), Some((newest, newest_minor))) = (parse(agent), parse(collector))
    else {
        return false;
    };
    major < newest || (major == newest && minor.saturating_add(MINORS_BEHIND) <= newest_minor)
}

/// Silent and live nodes, and how many are too many.
pub(super) fn silent_of(world: &World<'_>) -> (u64, u64, u64) {
    let counters = &world.snapshot.counters;
    let live = NodeState::ALL.iter().filter(|it| it.is_live());
    let live = live.map(|it| counters.nodes(*it)).fold(0, u64::saturating_add);
    (counters.nodes(NodeState::Silent), live, FEW_SILENT.max(live / ONE_IN))
}

fn many_silent(world: &World<'_>, found: &mut Seen, shared: &mut Shared) {
    let (silent, live, bound) = silent_of(world);
    if silent <= bound {
        return;
    }
    let values = shared.of([("count", &*silent.to_string()), ("nodes", &*live.to_string())]);
    let (key, severity) = (Key::of(Kind::ManyAgentsSilent), Severity::Critical);
    add(found, Sighting { key, severity, since: None, values });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_two_minor_versions_behind_is_outdated() {
        for (agent, collector, expected) in [
            ("0.1.0", "0.3.0", true),
            ("0.2.9", "0.3.0", false),
            ("0.3.0", "0.1.0", false),
            ("1.9.0", "2.0.0", true),
            ("", "0.9.0", false),
            ("dev", "0.9.0", false),
        ] {
            assert_eq!(is_outdated(agent, collector), expected, "{agent} {collector}");
        }
    }
}
