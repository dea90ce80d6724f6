//! Laws on how many nodes are away: 1, 2, 11, 12, 21, 22. All judge the write that confirms a claim
//! or frees a place.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a law speaks of some records and is mute on all others"
)]

use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Author;
use super::Entry;
use super::LAG_SECS;
use super::Ledger;
use super::Record;
use super::Ruling;
use super::ledger::Failed;
use super::record::Etcd;
use super::record::Readiness;
use super::record::What;
use crate::fleet::Cordon;
use crate::fleet::Role;
use crate::policy::Policy;
use crate::request::Request;
use crate::request::State;

/// Label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// How long an agent may be silent before everybody must have noticed, in seconds: the gate shuts
/// after some missed heartbeats, and plans are as old as [`LAG_SECS`] beside it.
const SILENT_SECS: i64 = 900;

/// The write that changed a request's state: what it was, and what it became.
pub(super) fn changed<'a>(
    ledger: &'a Ledger,
    record: &'a Record,
) -> Option<(Option<&'a Request>, &'a Request)> {
    let What::Wrote(after) = &record.what else { return None };
    let before = ledger.request(&after.uid);
    (before.map(|before| before.progress.state) != Some(after.progress.state))
        .then_some((before, after))
}

/// The write that confirms a claim, from where on nothing withdraws it.
fn confirmed<'a>(ledger: &'a Ledger, record: &'a Record) -> Option<&'a Request> {
    let (before, after) = changed(ledger, record)?;
    let was = before.map(|before| before.progress.state);
    let new = was.is_none_or(|was| was == State::Claimed || !was.holds_slot());
    (after.progress.state == State::Cordoning && new).then_some(after)
}

/// Whether a request counts as away. A claim that is not confirmed does not: it counts all others
/// itself, and gives way.
fn is_away(state: State) -> bool {
    state.holds_slot() && state != State::Claimed
}

fn old(at: Moment, since: Moment) -> bool {
    at.since(since) > LAG_SECS
}

fn zone(entry: &Entry) -> &str {
    entry.node.labels.get(ZONE).map_or("", String::as_str)
}

/// Whether a node is away though no request of ours says so, for long enough to be known.
fn is_unavailable(entry: &Entry, at: Moment) -> bool {
    let not_ready = entry.ready.0 == Readiness::NotReady && old(at, entry.ready.1);
    let cordoned = match entry.cordon.0 {
        Cordon::Foreign { .. } => old(at, entry.cordon.1),
        Cordon::Ours { .. } | Cordon::Schedulable => false,
    };
    not_ready || cordoned
}

/// Nodes within something, and those of them that are away.
#[derive(Default)]
struct Tally {
    existing: usize,
    away: usize,
}

impl Tally {
    const fn count(&mut self, exists: bool, away: bool) {
        if exists {
            self.existing = self.existing.saturating_add(1);
        }
        if away {
            self.away = self.away.saturating_add(1);
        }
    }
}

/// Law 1: with this claim, nodes in flight and otherwise unavailable stay within the caps of cluster,
/// pool and zone.
pub(super) fn one(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = confirmed(ledger, record) else { return Ruling::Mute };
    let mut worst = None;
    for policy in ledger.policies(record.at) {
        match above(ledger, &policy, request, record.at) {
            None => return Ruling::Kept,
            Some(how) => worst = Some(how),
        }
    }
    worst.map_or(Ruling::Mute, Ruling::Broken)
}

fn above(ledger: &Ledger, policy: &Policy, request: &Request, at: Moment) -> Option<String> {
    let mine = &request.progress.placement;
    let (mut cluster, mut pool, mut in_zone) =
        (Tally::default(), Tally::default(), Tally::default());
    let mut tally = |entry: &Entry, exists: bool, away: bool| {
        cluster.count(exists, away);
        if policy.pool_of(&entry.node.labels).name != mine.pool {
            return;
        }
        pool.count(exists, away);
        if zone(entry) == mine.zone {
            in_zone.count(exists, away);
        }
    };
    for (uid, entry) in &ledger.nodes {
        let away = *uid == request.uid
            || ledger.state(uid).is_some_and(is_away)
            || is_unavailable(entry, at);
        tally(entry, true, away);
    }
    for (_, entry) in ledger.gone.iter().filter(|(left, _)| !old(at, *left)) {
        tally(entry, true, false);
    }
    let rules = policy.pool(&mine.pool)?;
    let caps = [
        ("the cluster", Some(policy.cluster.max_unavailable), &cluster),
        ("its pool", Some(rules.max_unavailable), &pool),
        ("its zone", rules.per_zone, &in_zone),
    ];
    caps.into_iter().find_map(|(what, amount, tally)| {
        let cap = amount?.of(tally.existing);
        (tally.away > cap).then(|| {
            format!(
                "{} goes and {} of {} nodes of {what} are away, at most {cap} may",
                request.node, tally.away, tally.existing
            )
        })
    })
}

/// Law 2: at most one control-plane node is in flight, never with a worker, never below the quorum of
/// etcd.
pub(super) fn two(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = confirmed(ledger, record) else { return Ruling::Mute };
    let role = request.progress.placement.role;
    let moves = |state| is_away(state) && !matches!(state, State::Quarantined | State::NotReturned);
    let with = ledger.requests.values().find(|other| {
        let roles = [role, other.progress.placement.role];
        other.uid != request.uid
            && moves(other.progress.state)
            && roles.contains(&Role::ControlPlane)
    });
    if let Some(other) = with {
        return Ruling::Broken(format!("{} goes together with {}", request.node, other.node));
    }
    let is_member = |uid| ledger.node(uid).is_some_and(|entry| entry.etcd == Etcd::Member);
    if !is_member(&request.uid) {
        return if role == Role::ControlPlane { Ruling::Kept } else { Ruling::Mute };
    }
    let members: Vec<(&NodeUid, &Entry)> =
        ledger.nodes.iter().filter(|(_, entry)| entry.etcd == Etcd::Member).collect();
    let healthy = members
        .iter()
        .filter(|(uid, entry)| {
            **uid != request.uid
                && !(entry.ready.0 == Readiness::NotReady && old(record.at, entry.ready.1))
        })
        .count();
    let small = ledger
        .policies(record.at)
        .iter()
        .any(|policy| policy.cluster.control_plane.allow_small_etcd);
    let quorum = members.len() / 2 + 1;
    Ruling::unless(healthy < quorum && !(small && members.len() <= 2), || {
        format!("{} goes and {healthy} of {} members of etcd stay", request.node, members.len())
    })
}

/// Law 11: a place is freed only by an end, a roll-back, a person or a node that is gone.
pub(super) fn eleven(ledger: &Ledger, record: &Record) -> Ruling {
    if let What::Removed(uid) = &record.what {
        let Some(state) = ledger.state(uid) else { return Ruling::Mute };
        let by_person = record.by == Author::Person;
        return Ruling::unless(state.holds_slot() && !by_person, || {
            format!("the request of {uid} was deleted in {state:?}")
        });
    }
    let Some((Some(before), after)) = changed(ledger, record) else { return Ruling::Mute };
    let (from, to) = (before.progress.state, after.progress.state);
    if !from.holds_slot() || to.holds_slot() {
        return Ruling::Mute;
    }
    let fair = match (from, to) {
        (_, State::NodeGone) => ledger.node(&after.uid).is_none(),
        (State::Uncordoning, State::Done)
        | (State::RollingBack, State::Backoff | State::Cancelled | State::Needed)
        | (
            State::Claimed,
            State::Needed | State::Blocked | State::Ready | State::Backoff | State::Cancelled,
        ) => true,
        _ => false,
    };
    Ruling::unless(!fair, || format!("{} went from {from:?} to {to:?}", after.node))
}

/// Law 12: place and shared Lease are given back after the cordon, never before.
pub(super) fn twelve(ledger: &Ledger, record: &Record) -> Ruling {
    let (uid, what) = match &record.what {
        What::LeaseReleased(uid) => (uid, "Lease"),
        What::Wrote(_) => match changed(ledger, record) {
            Some((Some(before), after))
                if before.progress.state.holds_slot() && !after.progress.state.holds_slot() =>
            {
                (&after.uid, "place")
            }
            Some(_) | None => return Ruling::Mute,
        },
        _ => return Ruling::Mute,
    };
    let Some(entry) = ledger.node(uid) else { return Ruling::Mute };
    let cordoned = match &entry.cordon.0 {
        Cordon::Ours { request } => ledger.request(uid).is_none_or(|known| known.id == *request),
        Cordon::Foreign { .. } | Cordon::Schedulable => false,
    };
    Ruling::unless(cordoned, || format!("{} lost its {what} under our cordon", entry.node.name))
}

/// Law 21: failures that reached the budget of a pool start nothing more there until a person says so, or
/// their time is over: by the world's clock, or by those of who saw it and who decides now. One that was an
/// hour off moves the end of it by an hour, and no collector can know.
pub(super) fn twenty_one(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = confirmed(ledger, record) else { return Ruling::Mute };
    let pool = &request.progress.placement.pool;
    let released = ledger.released.get(pool);
    let clock = match record.by {
        Author::Collector { clock, .. } => clock,
        Author::Cluster | Author::Node | Author::Person => record.at,
    };
    let mut least = None;
    for policy in ledger.policies(record.at) {
        let Some(rules) = policy.pool(pool) else { continue };
        let counts = ledger
            .failures
            .iter()
            .filter(|Failed { pool: of, node, at, stamp }| {
                of == pool
                    && *node != request.uid
                    && released.is_none_or(|released| at > released)
                    && old(record.at, *at)
                    && record.at.since(*at) < rules.failure_budget.within_secs
                    && clock.since(*stamp) < rules.failure_budget.within_secs
            })
            .count();
        let allowed = usize::try_from(rules.failure_budget.failures).unwrap_or(usize::MAX);
        if counts < allowed.max(1) {
            return if counts > 0 { Ruling::Kept } else { Ruling::Mute };
        }
        least = Some(counts);
    }
    least.map_or(Ruling::Mute, |counts| {
        Ruling::Broken(format!("{} goes after {counts} failures of pool {pool}", request.node))
    })
}

/// Law 22: nothing starts while too many agents are silent.
pub(super) fn twenty_two(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = confirmed(ledger, record) else { return Ruling::Mute };
    let silent = ledger
        .nodes
        .iter()
        .filter(|(uid, entry)| {
            entry.silent_since.is_some_and(|since| record.at.since(since) > SILENT_SECS)
                && !ledger.state(uid).is_some_and(is_away)
        })
        .count();
    if silent == 0 {
        return Ruling::Mute;
    }
    let percent = silent.saturating_mul(100) / ledger.nodes.len().max(1);
    let policies: Vec<Arc<Policy>> = ledger.policies(record.at);
    let most = policies.iter().map(|policy| policy.cluster.dead_man_percent).max().unwrap_or(0);
    Ruling::unless(percent > usize::from(most), || {
        format!("{} goes while {percent} % of the agents are silent", request.node)
    })
}
