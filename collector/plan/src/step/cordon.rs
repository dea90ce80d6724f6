//! Cordoning: the node gets our marker, and only if it is still what was recorded.

use crate::fleet::Cordon;
use crate::fleet::Node;
use crate::gate::Gate;
use crate::policy::ForeignCordon;
use crate::request::AfterRollback;
use crate::request::FaultKind;
use crate::request::Schedulability;
use crate::request::State;
use crate::seen::LeaseSeen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::claim;
use crate::step::turn::Turn;

/// How often a node that somebody uncordons is cordoned again.
const MAX_RECORDONS: u8 = 3;

/// Cordoning.
pub(super) fn cordoning(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = turn.called_off(node) {
        return step;
    }
    if turn.marker(&node.cordon).is_some() {
        return turn.enter(State::Draining, |_| {});
    }
    if let Some(step) = claim::orphaned(turn, node) {
        return step;
    }
    // Nothing has been evicted yet, so nothing is lost by giving way. Later the node is kept from
    // filling up again, whatever made it wait.
    if turn.progress().drain.began.is_none() && !turn.seen.gates.is_empty() {
        if !turn.is_early(node) {
            return turn.withdraw(turn.seen.gates.clone());
        }
        if !turn.is_late() {
            return turn.hold([]);
        }
    }
    if let Some(LeaseSeen::Other { holder }) = turn.seen.lease.known() {
        return turn.withdraw(vec![turn.blocker(Gate::NodeLease, format!("held by {holder}"))]);
    }
    if turn.is_late() {
        return turn.roll_back(
            AfterRollback::Backoff,
            FaultKind::CordonFailed,
            "the cordon could not be set".to_owned(),
        );
    }
    let is = match &node.cordon {
        Cordon::Schedulable => Schedulability::Schedulable,
        Cordon::Foreign { by } => match turn.pool.foreign_cordon {
            ForeignCordon::Include => Schedulability::Unschedulable,
            ForeignCordon::Skip => {
                return turn.withdraw(vec![claim::foreign(turn, by.as_deref())]);
            }
        },
        // With a marker of ours it has left above.
        Cordon::Ours { .. } => return Step::Wait,
    };
    if turn.progress().before != Some(is) {
        return turn.record(|progress| progress.before = Some(is));
    }
    turn.hold([Effect::Cordon { before: is }])
}

/// Somebody took our cordon away while the node is in our hands.
pub(super) fn lost(turn: Turn<'_>, node: &Node) -> Step {
    match &node.cordon {
        // It is somebody's now: theirs to take back.
        Cordon::Foreign { by } => {
            return turn.withdraw(vec![claim::foreign(turn, by.as_deref())]);
        }
        Cordon::Ours { .. } => {
            return claim::orphaned(turn, node).unwrap_or(Step::Wait);
        }
        Cordon::Schedulable => {}
    }
    if turn.progress().drain.recordons >= MAX_RECORDONS {
        // A field that is taken away has no owner in `managedFields`, so nobody here can tell.
        return turn.quarantine(
            FaultKind::Uncordoned,
            format!(
                "uncordoned again after {MAX_RECORDONS} times; a node does not tell who uncordons it, \
                 the audit log of the API server does"
            ),
        );
    }
    turn.enter(State::Cordoning, |progress| {
        progress.drain.recordons = progress.drain.recordons.saturating_add(1);
        progress.drain.ended = None;
    })
}
