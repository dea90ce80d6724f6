//! Uncordoning, RollingBack and what has ended: the node first, then its Lease, then the place.

use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::fleet::Node;
use crate::request::AfterRollback;
use crate::request::FaultKind;
use crate::request::Schedulability;
use crate::request::State;
use crate::seen::LeaseSeen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::boot;
use crate::step::grant;
use crate::step::turn::Turn;
use crate::step::turn::act;

/// Uncordoning.
pub(super) fn uncordoning(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = own_traces(turn, node) {
        return step;
    }
    turn.enter(State::Done, |progress| {
        progress.failure = None;
        progress.rollbacks = 0;
    })
}

/// RollingBack. It is only entered when no grant can be in use.
pub(super) fn rolling_back(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = grant::recall(turn).or_else(|| own_traces(turn, node)) {
        return step;
    }
    let blockers = turn.progress().blockers.clone();
    match turn.progress().then {
        AfterRollback::Backoff => turn.enter(State::Backoff, |progress| {
            progress.rollbacks = progress.rollbacks.saturating_add(1);
            progress.blockers = blockers;
        }),
        AfterRollback::Reconsider => turn.enter(State::Needed, |progress| {
            progress.blockers = blockers;
        }),
        AfterRollback::Cancelled => turn.enter(State::Cancelled, |_| {}),
    }
}

/// Takes back what is ours on the node, then the Lease; `None` when nothing of it is left. What bears
/// no marker of ours is not ours, whoever may have set it. The Lease is not needed to give a node back,
/// so that one that cannot be taken keeps no cordon, and one that cannot be read keeps no place.
fn own_traces(turn: Turn<'_>, node: &Node) -> Option<Step> {
    if let Some(marker) = turn.marker(&node.cordon) {
        let uncordon = Effect::Uncordon { marker: marker.to_owned(), restore: restored(turn) };
        return Some(act([uncordon]));
    }
    if let Some(marker) = turn.leftover(&node.cordon) {
        let restore = match node.cordon {
            Cordon::Schedulable => Schedulability::Schedulable,
            Cordon::Foreign { .. } | Cordon::Ours { .. } => Schedulability::Unschedulable,
        };
        let clean = Effect::Uncordon { marker: marker.to_owned(), restore };
        return Some(act([clean]));
    }
    match &turn.seen.lease {
        Known::Known(LeaseSeen::Ours) => Some(act([Effect::ReleaseLease])),
        Known::Known(LeaseSeen::Free | LeaseSeen::Other { .. } | LeaseSeen::Unused) => None,
        // It ends by itself when nobody renews it.
        Known::Unknown(_) if turn.is_late() => None,
        Known::Unknown(_) => Some(act([Effect::ReleaseLease])),
    }
}

/// What a node under our cordon is afterwards.
fn restored(turn: Turn<'_>) -> Schedulability {
    // A person who cordoned it after us wants it cordoned.
    if turn.seen.unschedulable_by.is_some() {
        return Schedulability::Unschedulable;
    }
    // Without a record of it, it stays as it is found: cordoned.
    let before = turn.progress().before.or(turn.seen.marked_before);
    before.unwrap_or(Schedulability::Unschedulable)
}

/// Quarantined: place and cordon stay until a person releases them, and a reboot that was thought to
/// have failed has come to nothing for certain. If it comes late, it is verified like any other.
pub(super) fn quarantined(turn: Turn<'_>, node: &Node) -> Step {
    let progress = turn.progress();
    let unused = progress.grant.as_ref().filter(|_| progress.boot.is_none());
    let kind = progress.failure.as_ref().map(|failure| failure.kind);
    let booted = unused
        .filter(|_| kind == Some(FaultKind::RebootCommandFailed))
        .and_then(|grant| boot::booted_since(turn, node, grant));
    if let Some(step) = booted {
        return step;
    }
    if turn.is_released() && unused.is_none_or(|grant| grant::is_spent(turn, node, grant)) {
        return turn.enter(State::RollingBack, |progress| progress.then = AfterRollback::Cancelled);
    }
    turn.hold(unused.and_then(|grant| grant::forget(turn, grant)))
}

/// Done, Cancelled and NodeGone: the record may go when nothing of ours is left.
pub(super) fn ended(turn: Turn<'_>) -> Step {
    let node = turn.seen.node.known().and_then(Option::as_ref);
    let node = node.filter(|node| node.uid == turn.request.uid);
    // Late, from a write that had been given up: undone like any other.
    if let Some(marker) = node.and_then(|node| turn.marker(&node.cordon)) {
        let restore = restored(turn);
        return act([Effect::Uncordon { marker: marker.to_owned(), restore }]);
    }
    let is_patient = turn.now.since(turn.progress().since) < turn.pool.deadlines.roll_back_secs;
    let release = match turn.seen.lease.known() {
        Some(LeaseSeen::Ours) => Some(Effect::ReleaseLease),
        // If it cannot be given back either, the record goes and the Lease ends by itself.
        None => is_patient.then_some(Effect::ReleaseLease),
        Some(LeaseSeen::Free | LeaseSeen::Other { .. } | LeaseSeen::Unused) => None,
    };
    act(release.into_iter().chain([Effect::Delete]))
}
