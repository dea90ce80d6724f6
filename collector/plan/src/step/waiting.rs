//! Needed, Blocked, Ready and Backoff: no place is taken, and nothing of ours may be on the node.

use crate::fleet::Need;
use crate::fleet::Node;
use crate::request::AfterRollback;
use crate::request::Fault;
use crate::request::FaultKind;
use crate::request::Intent;
use crate::request::State;
use crate::seen::LeaseSeen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::claim;
use crate::step::turn::Turn;
use crate::step::turn::act;
use crate::step::turn::is_manual;

/// Needed, Blocked and Ready: the planner moves them on.
pub(super) fn waiting(turn: Turn<'_>, node: &Node) -> Step {
    traces(turn, node, AfterRollback::Reconsider)
        .or_else(|| claim::orphaned(turn, node))
        .or_else(|| ended(turn, node))
        .unwrap_or_else(|| lease_left(turn))
}

/// Backoff: until its time is over, or a person says so.
pub(super) fn backoff(turn: Turn<'_>, node: &Node) -> Step {
    // What comes late is part of the roll-back that was counted.
    let traces = traces(turn, node, AfterRollback::Backoff).map(|step| match step {
        Step::Persist(mut next) => {
            next.progress.rollbacks = next.progress.rollbacks.saturating_sub(1);
            Step::Persist(next)
        }
        Step::Do(_) | Step::Wait => step,
    });
    if let Some(step) = traces.or_else(|| ended(turn, node)) {
        return step;
    }
    if turn.is_released() {
        return turn.enter(State::Needed, |progress| progress.rollbacks = 0);
    }
    if turn.is_late() {
        return turn.enter(State::Needed, |_| {});
    }
    lease_left(turn)
}

/// A Lease that could not be read when everything else was undone.
fn lease_left(turn: Turn<'_>) -> Step {
    match turn.seen.lease.known() {
        Some(LeaseSeen::Ours) => act([Effect::ReleaseLease]),
        Some(LeaseSeen::Free | LeaseSeen::Other { .. } | LeaseSeen::Unused) | None => Step::Wait,
    }
}

/// A cordon that came late, from a write that had been given up.
fn traces(turn: Turn<'_>, node: &Node, then: AfterRollback) -> Option<Step> {
    turn.marker(&node.cordon).or_else(|| turn.leftover(&node.cordon))?;
    Some(turn.enter(State::RollingBack, |progress| progress.then = then))
}

/// Nobody wants it any more.
fn ended(turn: Turn<'_>, node: &Node) -> Option<Step> {
    if turn.request.wish.intent == Intent::Cancel {
        return Some(turn.enter(State::Cancelled, |_| {}));
    }
    if node.agent.need == Need::NotNeeded && !is_manual(&turn.request.wish) {
        return Some(turn.enter(State::Cancelled, |progress| {
            let message = "the node needs no reboot any more".to_owned();
            progress.failure = Some(Fault { kind: FaultKind::ReasonGone, message });
        }));
    }
    None
}
