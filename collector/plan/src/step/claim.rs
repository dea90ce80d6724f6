//! The ways into the machine: a wish, the planner's verdict, a claim; and the claim that is counted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use crate::fleet::Cordon;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::ForeignCordon;
use crate::policy::Pool;
use crate::request::AfterRollback;
use crate::request::Answer;
use crate::request::Drain;
use crate::request::FaultKind;
use crate::request::GrantRecord;
use crate::request::Intent;
use crate::request::Placement;
use crate::request::Progress;
use crate::request::Request;
use crate::request::Schedulability;
use crate::request::State;
use crate::request::Wish;
use crate::seen::Count;
use crate::seen::LeaseSeen;
use crate::seen::Usual;
use crate::step::Effect;
use crate::step::Step;
use crate::step::deadline;
use crate::step::grant;
use crate::step::turn::Turn;
use crate::step::turn::act;
use crate::step::turn::begin;
use crate::step::turn::is_manual;
use crate::step::turn::is_news;
use crate::step::turn::merge;

/// Why a node cannot be claimed by this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It does not wait, or has ended. At fault: whoever planned with an older record.
    #[error("failed to claim a node: its request is in state {state:?}")]
    NotWaiting {
        /// The state.
        state: State,
    },
    /// A newer leader wrote it. At fault: nobody; this process leads no more.
    #[error("failed to claim a node: epoch {written} wrote its request, this is {ours}")]
    Superseded {
        /// Epoch in the record.
        written: u64,
        /// Epoch of the caller.
        ours: u64,
    },
    /// It was called off.
    #[error("failed to claim a node: its request was called off")]
    CalledOff,
    /// The node is another one, though its name may be the same. At fault: the caller.
    #[error("failed to claim a node: the request is for node {wanted}, not {found}")]
    OtherNode {
        /// UID of the request.
        wanted: NodeUid,
        /// UID of the node.
        found: NodeUid,
    },
    /// The detector has other reasons by now: the wish must be brought up to date first.
    #[error("failed to claim a node: its reasons are not those of the request any more")]
    OtherReasons,
}

/// A request that nobody has decided about, for a wish of a person or of the planner.
#[must_use]
pub fn requested(name: NodeName, uid: NodeUid, wish: Wish, epoch: u64, now: Moment) -> Request {
    let mut progress = Progress {
        state: State::Needed,
        since: now,
        deadline: None,
        epoch,
        placement: Placement::default(),
        blockers: Vec::new(),
        blockers_at: None,
        boot_at_claim: None,
        before: None,
        adopts: None,
        drain: Drain::default(),
        grant: None,
        boot: None,
        proofs: BTreeMap::new(),
        sound_since: None,
        relapses: 0,
        rollbacks: 0,
        then: AfterRollback::default(),
        failure: None,
        alerts: BTreeSet::new(),
        history: Vec::new(),
    };
    begin(&mut progress, State::Needed, now);
    progress.deadline = deadline::of(&progress, &Pool::default(), Usual::default(), now);
    Request { node: name, uid, id: String::new(), version: String::new(), wish, progress }
}

/// The wish of `request` as the node has it by now, if that is another one: the same person or planner
/// asks, for the reasons of today. Approval and override were for others, so they end. A wish of a
/// person keeps its reasons.
#[must_use]
pub fn refreshed(request: &Request, node: &Node) -> Option<Wish> {
    let wish = &request.wish;
    let Need::Needed { reasons, digest, since } = &node.agent.need else { return None };
    if node.uid != request.uid || is_manual(wish) || *digest == wish.digest {
        return None;
    }
    Some(Wish {
        reasons: reasons.clone(),
        digest: *digest,
        since: *since,
        approval: None,
        overriding: None,
        ..wish.clone()
    })
}

/// Writes the planner's verdict down: a waiting request is Blocked, or Ready when only others are
/// first. `None` if the record says so already.
#[must_use]
pub fn judged(
    request: &Request,
    blockers: Vec<Blocker>,
    pool: &Pool,
    epoch: u64,
    now: Moment,
) -> Option<Request> {
    let progress = &request.progress;
    if !is_waiting(progress.state) || progress.epoch > epoch {
        return None;
    }
    let is_turn_missing = blockers.iter().all(|it| it.gate == Gate::Order);
    let state = if is_turn_missing { State::Ready } else { State::Blocked };
    let blockers = merge(&progress.blockers, blockers);
    if state == progress.state && !is_news(progress, &blockers, now) {
        return None;
    }
    let mut next = request.clone();
    next.progress.blockers = blockers;
    next.progress.blockers_at = Some(now);
    next.progress.epoch = epoch;
    if state != progress.state {
        begin(&mut next.progress, state, now);
        next.progress.deadline = deadline::of(&next.progress, pool, Usual::default(), now);
    }
    next.progress.alerts = deadline::alerts(&next, pool, now);
    Some(next)
}

/// Takes a place in the budget for a waiting request. It counts as soon as it is written, and is
/// withdrawn if a count afterwards finds too many.
///
/// # Errors
/// [`ClaimError`] if this request cannot claim this node.
pub fn claim(
    request: &Request,
    node: &Node,
    placement: Placement,
    pool: &Pool,
    epoch: u64,
    now: Moment,
) -> Result<Request, ClaimError> {
    let progress = &request.progress;
    if !is_waiting(progress.state) {
        return Err(ClaimError::NotWaiting { state: progress.state });
    }
    if progress.epoch > epoch {
        return Err(ClaimError::Superseded { written: progress.epoch, ours: epoch });
    }
    if request.wish.intent == Intent::Cancel {
        return Err(ClaimError::CalledOff);
    }
    if node.uid != request.uid {
        let (wanted, found) = (request.uid.clone(), node.uid.clone());
        return Err(ClaimError::OtherNode { wanted, found });
    }
    let is_current = match &node.agent.need {
        Need::Needed { digest, .. } => *digest == request.wish.digest,
        Need::NotNeeded | Need::Unknown { .. } => false,
    };
    if !is_current && !is_manual(&request.wish) {
        return Err(ClaimError::OtherReasons);
    }
    let mut next = request.clone();
    next.progress = Progress {
        epoch,
        placement,
        blockers: Vec::new(),
        blockers_at: None,
        boot_at_claim: node.agent.boot.clone(),
        before: None,
        adopts: None,
        drain: Drain::default(),
        grant: None,
        boot: None,
        proofs: BTreeMap::new(),
        sound_since: None,
        relapses: 0,
        then: AfterRollback::default(),
        failure: None,
        ..next.progress
    };
    begin(&mut next.progress, State::Claimed, now);
    next.progress.deadline = deadline::of(&next.progress, pool, Usual::default(), now);
    next.progress.alerts = deadline::alerts(&next, pool, now);
    Ok(next)
}

/// A request for a node that bears the marker of a request that is gone, deleted by hand: it undoes what
/// that one did, or verifies what it still brings about.
///
/// Nobody knows whether that request had given a permission. So this one begins as if it had given one
/// that was refused and is called off: undone when the node is certainly not using it, verified if it
/// boots. `wish` is what is known of the other's. `None` as long as the node does not say in which boot
/// it is.
#[must_use]
pub fn rebuilt(
    node: &Node,
    marker: &str,
    before: Option<Schedulability>,
    wish: Wish,
    pool: &Pool,
    epoch: u64,
    now: Moment,
) -> Option<Request> {
    let boot = node.agent.boot.clone()?;
    let wish = Wish { intent: Intent::Cancel, ..wish };
    let mut next = requested(node.name.clone(), node.uid.clone(), wish, epoch, now);
    let progress = &mut next.progress;
    progress.adopts = Some(marker.to_owned());
    progress.before = before;
    progress.placement.role = node.role;
    progress.placement.pool.clone_from(&pool.name);
    progress.grant = Some(presumed(marker, boot, now));
    begin(progress, State::Granted, now);
    progress.deadline = deadline::of(progress, pool, Usual::default(), now);
    next.progress.alerts = deadline::alerts(&next, pool, now);
    Some(next)
}

/// The permission that a request which is gone may have given, refused as far as anybody knows.
fn presumed(marker: &str, boot: BootId, now: Moment) -> GrantRecord {
    GrantRecord {
        // It is never offered, as its answer is known, so that it needs no id of its own.
        id: GrantRecord::PRESUMED,
        boot,
        report: Digest::of(marker.as_bytes()),
        expected_kernel: None,
        at: now,
        void_after: now.plus(grant::LONGEST_SECS),
        answer: Some(Answer::Refused("given by a request that is gone, if at all".to_owned())),
        answered_at: Some(now),
    }
}

const fn is_waiting(state: State) -> bool {
    matches!(state, State::Needed | State::Blocked | State::Ready)
}

/// Claimed: counted, then the Lease, then what the node is before our cordon.
pub(super) fn claimed(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = turn.called_off(node) {
        return step;
    }
    match turn.seen.count.known() {
        None => return unconfirmed(turn, Step::Wait),
        Some(Count::Above(blocker)) => return turn.withdraw(vec![blocker.clone()]),
        Some(Count::Within) => {}
    }
    if !turn.seen.gates.is_empty() {
        // Late, what is shut is named, and not what the claim does not wait for.
        if turn.is_early(node) && !turn.is_late() {
            return Step::Wait;
        }
        return turn.withdraw(turn.seen.gates.clone());
    }
    if let Some(step) = orphaned(turn, node) {
        return step;
    }
    let before = match &node.cordon {
        Cordon::Schedulable => Schedulability::Schedulable,
        // Our own marker before our own cordon: a record that was put back. What it was before is
        // written beside the marker, or not known; then the node is left as it is found.
        Cordon::Ours { .. } => turn.seen.marked_before.unwrap_or(Schedulability::Unschedulable),
        Cordon::Foreign { by } => match turn.pool.foreign_cordon {
            ForeignCordon::Include => Schedulability::Unschedulable,
            ForeignCordon::Skip => return turn.withdraw(vec![foreign(turn, by.as_deref())]),
        },
    };
    if turn.request.id.is_empty() {
        return Step::Wait;
    }
    match turn.seen.lease.known() {
        None => unconfirmed(turn, Step::Wait),
        Some(LeaseSeen::Other { holder }) => {
            turn.withdraw(vec![turn.blocker(Gate::NodeLease, format!("held by {holder}"))])
        }
        Some(LeaseSeen::Free) => unconfirmed(turn, act([Effect::TakeLease])),
        Some(LeaseSeen::Ours | LeaseSeen::Unused) => {
            turn.enter(State::Cordoning, |progress| progress.before = Some(before))
        }
    }
}

/// A claim that neither its count nor its Lease confirms; nothing was done yet, so late it is given
/// back instead of keeping others from the place.
fn unconfirmed(turn: Turn<'_>, otherwise: Step) -> Step {
    if !turn.is_late() {
        return otherwise;
    }
    let message = "neither the count nor the Lease of the node confirmed the claim in time";
    turn.roll_back(AfterRollback::Backoff, FaultKind::Withdrawn, message.to_owned())
}

/// The marker of a request that is gone: undone first, as its own record would have. That request may
/// have given a permission, which is waited for like one of this request: see [`rebuilt`].
pub(super) fn orphaned(turn: Turn<'_>, node: &Node) -> Option<Step> {
    let Cordon::Ours { request } = &node.cordon else { return None };
    if turn.marker(&node.cordon).is_some() {
        return None;
    }
    // As long as nobody knows in which boot it is, nobody could tell that it did not reboot.
    let Some(boot) = node.agent.boot.clone() else { return Some(Step::Wait) };
    Some(turn.enter(State::Granted, |progress| {
        if progress.placement.pool.is_empty() {
            progress.placement.pool.clone_from(&turn.pool.name);
            progress.placement.role = node.role;
        }
        progress.adopts = Some(request.clone());
        // Where that is not known yet, it is read with the node when it is undone.
        progress.before = turn.seen.marked_before;
        progress.grant = Some(presumed(request, boot, turn.now));
        progress.boot = None;
        progress.failure = None;
    }))
}

/// The gate of a cordon that is not ours.
pub(super) fn foreign(turn: Turn<'_>, by: Option<&str>) -> Blocker {
    turn.blocker(Gate::ForeignCordon, format!("cordoned by {}", by.unwrap_or("somebody unnamed")))
}
