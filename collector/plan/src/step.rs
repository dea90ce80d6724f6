//! What one reboot does next: the state machine of a request.
//!
//! ```text
//!                    ┌──────────── Reconsider ─────────────┐
//! Needed, Blocked, Ready ──claim──> Claimed ──> Cordoning <─> Draining ──> Granted ──> Rebooting
//!       ^                              │            │            │           │  ^────────┤    │
//!     Backoff <──────── RollingBack <──┴────────────┴────────────┴───────────┘           │    v
//!    Cancelled <────────────┘ ^                                                          │ NotReturned
//!                             └── release ── Quarantined <── Verifying <── Booted <──────┴────┘
//!                                                                └──> Uncordoning ──> Done
//! any state whose node is gone ──> NodeGone
//! ```
//!
//! [`step`] is called again and again with what is persisted and what is seen. It answers with one of
//! two things, never both: a next record to be persisted, or effects of the record that is persisted.
//! So an effect never comes before its record, a repeated effect is the same effect, and whoever stops
//! in between is followed by somebody who comes to the same answer.

mod boot;
mod claim;
mod cordon;
mod deadline;
mod draining;
mod grant;
mod restore;
#[cfg(test)]
mod tests;
mod turn;
mod verify;
mod waiting;

use palisade_report::Moment;
use palisade_report::grant::GrantId;

pub use self::claim::ClaimError;
pub use self::claim::claim;
pub use self::claim::judged;
pub use self::claim::rebuilt;
pub use self::claim::refreshed;
pub use self::claim::requested;
pub use self::deadline::alert_of;
pub use self::grant::MARGIN_SECS;
pub use self::grant::OFFER_SECS;
pub use self::grant::SILENT_SECS;
pub use self::turn::REQUESTED;
use self::turn::Turn;
use self::turn::act;
use crate::fleet::Known;
use crate::policy::Pool;
use crate::request::GrantRecord;
use crate::request::Request;
use crate::request::Schedulability;
use crate::request::State;
use crate::seen::Seen;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// This record is written in place of the one that was read, on condition that nobody else wrote
    /// meanwhile; then the next step is asked for.
    Persist(Box<Request>),
    /// These effects of the persisted record are carried out, in this order, the later ones only if the
    /// earlier ones succeeded. Each may be repeated at any time; what is not among them any more is not
    /// wanted any more.
    Do(Vec<Effect>),
    /// Nothing, until something else is seen.
    Wait,
}

/// What the shell does for a request. All are idempotent, and all of them are on condition that the
/// node is the one of the request's UID and that this process still leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take the Lease of the node that tools share, or renew it if less than a third of its time is
    /// left. Never takes it from a holder whose time is not over.
    TakeLease,
    /// Give the Lease of the node back, if we hold it.
    ReleaseLease,
    /// Set `spec.unschedulable`, the marker with the id of the request, `before` beside it, and what
    /// else says that the node is in our hands (no scale-down), in one write with the resource version
    /// that was seen.
    Cordon {
        /// What the node was before, as recorded.
        before: Schedulability,
    },
    /// Take marker, taints, labels and annotations of ours away, and `spec.unschedulable` too if the
    /// node was schedulable before; in one write with the resource version that was seen, and only if
    /// the marker is this one.
    Uncordon {
        /// The marker that must be there.
        marker: String,
        /// What the node is afterwards.
        restore: Schedulability,
    },
    /// Label the node so that external load balancers leave it alone, unless it bears the label.
    LeaveLoadBalancers,
    /// Evict the next pods that the policy lets go, each by its UID.
    Drain,
    /// Hand this grant out with heartbeats of the node that speak of the boot of the grant.
    Offer {
        /// The record of it.
        grant: GrantRecord,
        /// From then on it is handed out no more.
        until: Moment,
    },
    /// Do not hand this grant out any more. Needs no leadership and no API: it only takes back.
    Forget(GrantId),
    /// Write the end into the audit, then take the finalizer away and delete the record.
    Delete,
}

/// What comes next for `request`, when this is what is seen of its node.
pub fn step(request: &Request, seen: &Seen, pool: &Pool, now: Moment) -> Step {
    let turn = Turn { request, seen, pool, now };
    let progress = &request.progress;
    // Who leads no more, or may be mistaken about the cluster, hands nothing out and touches nothing.
    let forgets = || act(progress.grant.as_ref().and_then(|grant| grant::forget(turn, grant)));
    if progress.epoch > seen.epoch {
        return forgets();
    }
    // To give a node back takes no more than a look at that node, which the step has or waits for.
    let gives_back = matches!(progress.state, State::Uncordoning | State::RollingBack);
    let next = if seen.fresh || gives_back {
        decide(turn)
    } else {
        // What is out is taken back before anything is told: that may fail.
        match forgets() {
            Step::Wait => Step::Wait,
            forgets @ (Step::Do(_) | Step::Persist(_)) => return forgets,
        }
    };
    match next {
        Step::Persist(_) => next,
        Step::Do(_) | Step::Wait => {
            let alerts = deadline::alerts(request, pool, now);
            if alerts == progress.alerts { next } else { turn.record(|_| {}) }
        }
    }
}

fn decide(turn: Turn<'_>) -> Step {
    let state = turn.progress().state;
    if state.is_terminal() {
        return restore::ended(turn);
    }
    let node = match &turn.seen.node {
        Known::Known(Some(node)) if node.uid == turn.request.uid => node,
        Known::Known(None) => return turn.enter(State::NodeGone, |_| {}),
        // Another node says nothing about this one, and one that cannot be read neither.
        Known::Known(Some(_)) | Known::Unknown(_) => return Step::Wait,
    };
    // Whoever led before must find the record changed before it is acted upon.
    if state.holds_slot() && turn.progress().epoch < turn.seen.epoch {
        return turn.record(|_| {});
    }
    if let Some(step) = grant::too_late(turn) {
        return step;
    }
    match state {
        State::Needed | State::Blocked | State::Ready => waiting::waiting(turn, node),
        State::Claimed => claim::claimed(turn, node),
        State::Cordoning => cordon::cordoning(turn, node),
        State::Draining => draining::draining(turn, node),
        State::Granted => grant::granted(turn, node),
        State::Rebooting => boot::rebooting(turn, node),
        State::Booted => boot::booted(turn, node),
        State::Verifying => verify::verifying(turn, node),
        State::Uncordoning => restore::uncordoning(turn, node),
        State::RollingBack => restore::rolling_back(turn, node),
        State::Backoff => waiting::backoff(turn, node),
        State::NotReturned => boot::not_returned(turn, node),
        State::Quarantined => restore::quarantined(turn, node),
        State::Done | State::NodeGone | State::Cancelled => restore::ended(turn),
    }
}
