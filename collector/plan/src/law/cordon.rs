//! Laws on what is done to nodes and pods: 9, 13, 15, 20.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a law speaks of some records and is mute on all others"
)]

use palisade_report::NodeUid;

use super::Author;
use super::LAG_SECS;
use super::Ledger;
use super::Record;
use super::Ruling;
use super::grant::must_go;
use super::record::What;
use crate::fleet::Cordon;
use crate::policy::ForeignCordon;
use crate::policy::Unmanaged;
use crate::request::Request;
use crate::request::Schedulability;
use crate::request::State;

/// What a collector did to a node's cordon: its node, what it was, what it is.
fn touched<'a>(
    ledger: &'a Ledger,
    record: &'a Record,
) -> Option<(&'a NodeUid, &'a Cordon, &'a Cordon)> {
    let What::Cordoned(uid, now) = &record.what else { return None };
    let Author::Collector { .. } = record.by else { return None };
    Some((uid, &ledger.node(uid)?.cordon.0, now))
}

/// Law 9: a cordon without our marker is never taken away, and what was there before comes back.
pub(super) fn nine(ledger: &Ledger, record: &Record) -> Ruling {
    let Some((uid, was, now)) = touched(ledger, record) else { return Ruling::Mute };
    let before = ledger.request(uid).and_then(|request| request.progress.before);
    let found = match (was, now) {
        (Cordon::Foreign { .. }, Cordon::Schedulable) => Some("a foreign cordon was taken away"),
        (Cordon::Foreign { .. }, Cordon::Ours { .. }) => {
            let may = ledger.policies(record.at).iter().any(|policy| {
                ledger.node(uid).is_some_and(|entry| {
                    policy.pool_of(&entry.node.labels).foreign_cordon == ForeignCordon::Include
                })
            });
            (!may && before != Some(Schedulability::Unschedulable))
                .then_some("a foreign cordon was made ours")
        }
        (Cordon::Ours { .. }, Cordon::Schedulable) => (before
            == Some(Schedulability::Unschedulable))
        .then_some("a node that was cordoned before takes pods"),
        (Cordon::Ours { .. } | Cordon::Schedulable, _) | (Cordon::Foreign { .. }, _) => None,
    };
    match found {
        None => Ruling::Kept,
        Some(how) => Ruling::Broken(format!("{uid}: {how}")),
    }
}

/// Law 13: the state that has an effect is stored before it.
pub(super) fn thirteen(ledger: &Ledger, record: &Record) -> Ruling {
    let Author::Collector { .. } = record.by else { return Ruling::Mute };
    let request = |uid: &NodeUid| ledger.acted_for(uid, record.at);
    let (uid, states, what): (_, &[State], _) = match &record.what {
        What::Cordoned(uid, Cordon::Ours { .. }) => (
            uid,
            &[State::Cordoning, State::Draining, State::Granted, State::Rebooting],
            "was cordoned",
        ),
        What::Cordoned(uid, Cordon::Schedulable | Cordon::Foreign { .. }) => {
            (uid, &[State::Uncordoning, State::RollingBack], "was uncordoned")
        }
        What::Evicted { node, .. } => (node, &[State::Draining], "lost a pod"),
        What::Handed { grant, .. } => {
            let known = request(&grant.node).and_then(|request| request.progress.grant.as_ref());
            let known = known.map(|known| known.id);
            if known != Some(grant.id) {
                return Ruling::Broken(format!("{} got a grant that is not stored", grant.node));
            }
            (&grant.node, &[State::Granted, State::Rebooting], "got a grant")
        }
        _ => return Ruling::Mute,
    };
    let state = request(uid).map(|request| request.progress.state);
    let stored = state.is_some_and(|state| states.contains(&state));
    Ruling::unless(!stored, || format!("{uid} {what} in {state:?}"))
}

/// Law 15: a request touches the node of its own UID and no namesake.
pub(super) fn fifteen(ledger: &Ledger, record: &Record) -> Ruling {
    let is_its = |uid: &NodeUid, marker: &str| {
        ledger.acted_for(uid, record.at).is_some_and(|request: &Request| {
            request.id == marker || request.progress.adopts.as_deref() == Some(marker)
        })
    };
    match &record.what {
        What::Handed { to, grant } => {
            Ruling::unless(*to != grant.node, || format!("{to} got the grant of {}", grant.node))
        }
        What::Evicted { node, pod } => {
            let Author::Collector { .. } = record.by else { return Ruling::Mute };
            let elsewhere = ledger
                .nodes
                .iter()
                .find(|(uid, entry)| *uid != node && entry.pods.contains_key(pod));
            Ruling::unless(elsewhere.is_some() || ledger.node(node).is_none(), || {
                format!("{pod} does not run on {node}")
            })
        }
        What::Cordoned(..) => {
            let Some((uid, was, now)) = touched(ledger, record) else { return Ruling::Mute };
            let foreign = match (was, now) {
                (_, Cordon::Ours { request }) | (Cordon::Ours { request }, _) => {
                    !is_its(uid, request)
                }
                (Cordon::Foreign { .. } | Cordon::Schedulable, _) => !ledger
                    .node(uid)
                    .and_then(|entry| entry.marker.as_ref())
                    .is_some_and(|marker| is_its(uid, marker)),
            };
            Ruling::unless(foreign, || format!("{uid} was touched by another request"))
        }
        _ => Ruling::Mute,
    }
}

/// Law 20: no eviction begins on a node that cannot be emptied, and each names its pod.
pub(super) fn twenty(ledger: &Ledger, record: &Record) -> Ruling {
    let What::Evicted { node, pod } = &record.what else { return Ruling::Mute };
    if pod.is_empty() {
        return Ruling::Broken(format!("an eviction on {node} names no pod"));
    }
    if ledger.draining.contains(node) {
        return Ruling::Kept;
    }
    let Some(entry) = ledger.node(node) else { return Ruling::Mute };
    if record.at.since(entry.pod_came) <= LAG_SECS {
        return Ruling::Mute;
    }
    let mut found = None;
    for policy in ledger.policies(record.at) {
        let pool = policy.pool_of(&entry.node.labels);
        let stops = entry.pods.values().filter(|pod| must_go(pod, pool, record.at)).find(|pod| {
            let unmanaged = pod.owner.is_none()
                && pool.drain.unmanaged == Unmanaged::Block
                && pod.wish.is_none()
                && pod.deleting.is_none();
            let spent = pod.ready
                && pod.deleting.is_none()
                && pod.budgets.iter().any(|name| {
                    ledger.spent.get(name).is_some_and(|at| record.at.since(*at) > LAG_SECS)
                });
            unmanaged || spent
        });
        match stops {
            None => return Ruling::Kept,
            Some(pod) => found = Some(pod.name.clone()),
        }
    }
    found.map_or(Ruling::Mute, |pod| {
        Ruling::Broken(format!("a pod of {node} was evicted while {pod} cannot be"))
    })
}
