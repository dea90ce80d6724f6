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
//! `step` is called again and again with what is persisted and what is seen. It answers with one of
//! two things, never both: a next record to be persisted, or effects of the record that is persisted.
//! So an effect never comes before its record, a repeated effect is the same effect, and whoever stops
//! in between is followed by somebody who comes to the same answer.

use palisade_report::Moment;
use palisade_report::grant::GrantId;

use crate::request::GrantRecord;
use crate::request::Request;
use crate::request::Schedulability;

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
