//! When each state should have been left, and the alert if it was not.
//!
//! | state | entered by | left by | effects | deadline | alert |
//! |---|---|---|---|---|---|
//! | Needed | a wish; Backoff and RollingBack afterwards | the planner's verdict; reasons gone | - | 86400 s | RebootPending |
//! | Blocked | a verdict: a gate is shut | another verdict; reasons gone | - | 86400 s | RebootBlocked |
//! | Ready | a verdict: only others are first | `claim`; another verdict | - | 86400 s | RebootStarved |
//! | Claimed | `claim` | count within the caps and Lease ours; else, or late, withdrawn | TakeLease | 120 s | ClaimStuck |
//! | Cordoning | what the node was is recorded | our marker is on it; late: rolled back | TakeLease, Cordon | 300 s | CordonFailed |
//! | Draining | our marker is on it | empty, detached, all gates open; late: rolled back | TakeLease, LeaveLoadBalancers, Drain | 3600 s | DrainFailed |
//! | Granted | a grant is recorded | its use, silence, another boot; certainly unused: given anew, late: rolled back | TakeLease, Offer, Forget | 300 s | GrantNotConsumed |
//! | Rebooting | the grant is used, or may be unseen | another boot; certainly unused; the call failed; late | TakeLease, Forget | 1800 s | NodeNotReturned |
//! | Booted | another boot id | ready with a report of this boot | TakeLease | 600 s | NodeQuarantined |
//! | Verifying | ready with a report of this boot | all proofs for the soak time | TakeLease | 900 s | NodeQuarantined |
//! | Uncordoning | all proofs | our marker and our Lease are gone | Uncordon, ReleaseLease | 300 s | UncordonFailed |
//! | Done | nothing of ours is left on the node | - | ReleaseLease, Delete | - | - |
//! | RollingBack | whatever ends a request before its reboot | our marker and our Lease are gone | Forget, Uncordon, ReleaseLease | 300 s | RollbackFailed |
//! | Backoff | a roll-back after a failure | its time; a release | - | 300 s | DrainBackoff |
//! | NotReturned | late in Rebooting | another boot; a release | TakeLease | 0 s | NodeNotReturned |
//! | Quarantined | a proof that fails, a reboot that did | a release | TakeLease | 0 s | NodeQuarantined |
//! | NodeGone | no node of this UID | - | ReleaseLease, Delete | - | - |
//! | Cancelled | a cancellation, reasons gone, a release | - | ReleaseLease, Delete | - | - |
//!
//! Deadlines are those of the default policy. DrainSlow is raised 600 s after the drain began, and
//! DrainBackoff with the third roll-back: before, a back-off is nothing to be told. RebootOverdue is
//! raised when the wish, or else the policy, says so and the reboot has not happened; UnplannedReboot stays until the
//! request ends or is claimed again. No deadline frees a slot: those that lead on lead to a roll-back,
//! which frees it when it is done, or to a state that keeps it.

use std::collections::BTreeSet;

use palisade_report::Moment;

use crate::policy::Backoff;
use crate::policy::Pool;
use crate::request::AfterRollback;
use crate::request::Alert;
use crate::request::FaultKind;
use crate::request::Progress;
use crate::request::Request;
use crate::request::State;
use crate::seen::Usual;

/// For how long a request may wait before somebody should hear of it.
const WAIT_SECS: i64 = 86_400;

/// A back-off so often in a row is no accident.
const MANY_ROLLBACKS: u32 = 3;

/// When the state of `progress`, entered at `now`, should be left.
pub(super) fn of(progress: &Progress, pool: &Pool, usual: Usual, now: Moment) -> Option<Moment> {
    let limits = &pool.deadlines;
    let at = match progress.state {
        State::Needed | State::Blocked | State::Ready => now.plus(WAIT_SECS),
        State::Claimed => now.plus(limits.claim_secs),
        State::Cordoning => now.plus(limits.cordon_secs),
        // A node that had to be cordoned again does not get the time twice.
        State::Draining => progress.drain.began.unwrap_or(now).plus(pool.drain.timeout_secs),
        State::Granted => first_granted(progress).unwrap_or(now).plus(limits.grant_secs),
        State::Rebooting => now.plus(match usual.reboot_p99 {
            Some(p99) => limits.reboot_least_secs.max(i64::from(p99).saturating_mul(2)),
            None => limits.reboot_without_history_secs,
        }),
        State::Booted => now.plus(limits.ready_secs),
        State::Verifying => now.plus(limits.verify_secs),
        State::Uncordoning => now.plus(limits.uncordon_secs),
        State::RollingBack => now.plus(limits.roll_back_secs),
        State::Backoff => now.plus(back_off(&pool.backoff, progress.rollbacks)),
        State::NotReturned | State::Quarantined => now,
        State::Done | State::NodeGone | State::Cancelled => return None,
    };
    Some(at)
}

/// When the first of the grants was given that follow one another without a drain in between: a node
/// that falls silent again and again does not get the time again and again.
fn first_granted(progress: &Progress) -> Option<Moment> {
    let recent = progress.history.iter().rev();
    recent
        .take_while(|it| matches!(it.state, State::Granted | State::Rebooting))
        .filter(|it| it.state == State::Granted)
        .last()
        .map(|it| it.at)
}

/// Seconds of the back-off after so many roll-backs.
fn back_off(backoff: &Backoff, rollbacks: u32) -> i64 {
    let times = 1_i64.checked_shl(rollbacks.saturating_sub(1)).filter(|times| *times > 0);
    backoff.first_secs.saturating_mul(times.unwrap_or(i64::MAX)).min(backoff.longest_secs)
}

/// The alert of a state that is not left in time.
#[must_use]
pub const fn alert_of(state: State) -> Option<Alert> {
    match state {
        State::Needed => Some(Alert::RebootPending),
        State::Blocked => Some(Alert::RebootBlocked),
        State::Ready => Some(Alert::RebootStarved),
        State::Claimed => Some(Alert::ClaimStuck),
        State::Cordoning => Some(Alert::CordonFailed),
        State::Draining => Some(Alert::DrainFailed),
        State::Granted => Some(Alert::GrantNotConsumed),
        State::Rebooting | State::NotReturned => Some(Alert::NodeNotReturned),
        State::Booted | State::Verifying | State::Quarantined => Some(Alert::NodeQuarantined),
        State::Uncordoning => Some(Alert::UncordonFailed),
        State::RollingBack => Some(Alert::RollbackFailed),
        State::Backoff => Some(Alert::DrainBackoff),
        State::Done | State::NodeGone | State::Cancelled => None,
    }
}

/// All alerts that a request deserves at this moment.
pub(super) fn alerts(request: &Request, pool: &Pool, now: Moment) -> BTreeSet<Alert> {
    let progress = &request.progress;
    let state = progress.state;
    let mut alerts = BTreeSet::new();
    if state.is_terminal() {
        return alerts;
    }
    if progress.alerts.contains(&Alert::UnplannedReboot) && state != State::Claimed {
        alerts.insert(Alert::UnplannedReboot);
    }
    let due_at = request.wish.must_by;
    let due_at = due_at.unwrap_or_else(|| request.wish.since.plus(pool.must_by_secs));
    if now >= due_at && progress.boot.is_none() {
        alerts.insert(Alert::RebootOverdue);
    }
    let is_late = progress.deadline.is_some_and(|deadline| now >= deadline);
    let is_soaking = state == State::Verifying && progress.sound_since.is_some();
    if is_late && !is_soaking && state != State::Backoff {
        alerts.extend(alert_of(state));
    }
    let slow_at = progress.drain.began.unwrap_or(progress.since).plus(pool.drain.slow_secs);
    if state == State::Draining && now >= slow_at {
        alerts.insert(Alert::DrainSlow);
    }
    let is_undone = matches!(state, State::RollingBack | State::Backoff);
    let kind = progress.failure.as_ref().map(|failure| failure.kind);
    if is_undone {
        alerts.extend(kind.and_then(cause));
    }
    // Only a claim that was not confirmed in time is withdrawn with a back-off.
    let is_unconfirmed =
        kind == Some(FaultKind::Withdrawn) && progress.then == AfterRollback::Backoff;
    if is_undone && is_unconfirmed {
        alerts.insert(Alert::ClaimStuck);
    }
    if state == State::Quarantined && kind == Some(FaultKind::RebootCommandFailed) {
        alerts.insert(Alert::RebootCommandFailed);
    }
    if state == State::Backoff && progress.rollbacks >= MANY_ROLLBACKS {
        alerts.insert(Alert::DrainBackoff);
    }
    alerts
}

/// The alert of the failure that is being undone, as long as it is not tried again.
const fn cause(kind: FaultKind) -> Option<Alert> {
    match kind {
        FaultKind::CordonFailed => Some(Alert::CordonFailed),
        FaultKind::DrainFailed | FaultKind::Overrun => Some(Alert::DrainFailed),
        FaultKind::GrantNotConsumed => Some(Alert::GrantNotConsumed),
        FaultKind::Withdrawn
        | FaultKind::Changed
        | FaultKind::ReasonGone
        | FaultKind::TooLateToCancel
        | FaultKind::NotReadyAfterBoot
        | FaultKind::ReasonPersists
        | FaultKind::KernelOlder
        | FaultKind::Flapping
        | FaultKind::Unproven
        | FaultKind::RebootCommandFailed
        | FaultKind::Uncordoned => None,
    }
}
