//! Granted: the one permission, from the look at all gates to its use or its certain end.
//!
//! What counts is when a grant can start nothing any more. It is handed out until `until`; the node
//! takes it for at most [`MAX_AHEAD`] after that; so after a margin it is void, if the leader that
//! handed it out was this one, or one whose time ended before ours began. And only a node that is heard
//! in the same boot after that did not use it: silence proves nothing. Nor does a refusal: each reply
//! holds a copy of its own, and the node may refuse one and take the next.

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::grant::MAX_AHEAD;

use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::request::AfterRollback;
use crate::request::Answer;
use crate::request::Fault;
use crate::request::FaultKind;
use crate::request::GrantRecord;
use crate::request::Intent;
use crate::request::Progress;
use crate::request::State;
use crate::seen::LeaseSeen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::boot;
use crate::step::cordon;
use crate::step::turn::Turn;
use crate::step::turn::is_manual;

/// For how long a grant is handed out. Longer than one heartbeat with its jitter, so that a lost reply
/// has a second chance; short, because nothing can be undone for so long.
pub const OFFER_SECS: i64 = 100;

/// What is added before a grant counts as void: a reply on its way, and clocks that count differently.
pub const MARGIN_SECS: i64 = 20;

/// A node that was not heard for two heartbeats is silent.
pub const SILENT_SECS: i64 = 120;

/// A node that reboots may be heard for so long at least: what systemd gives a service to stop, if
/// nothing else is set (`DefaultTimeoutStopSec` of systemd-system.conf(5)).
const SHUTDOWN_SECS: i64 = 90;

/// For so long a node that is heard and not ready may still be shutting down: the kubelet gives its pods
/// what it was told to, which the collector may not know (`shutdownGracePeriod` of
/// KubeletConfiguration). As long as a reboot may take of which nothing is known.
const LONGEST_SHUTDOWN_SECS: i64 = 1_800;

/// Seconds that a grant can live, from its first offer on.
pub(super) const LONGEST_SECS: i64 = OFFER_SECS + spent_secs();

/// Seconds from the end of the offer to the end of the grant.
const fn spent_secs() -> i64 {
    MAX_AHEAD.as_secs().cast_signed().saturating_add(MARGIN_SECS)
}

/// How a node was emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptied {
    /// Nothing that a drain takes is left.
    Wholly,
    /// Something is, and the policy reboots nevertheless.
    ByForce,
}

/// All that must be true at once, in this very look, for a grant to be given or handed out.
pub(super) fn may_grant(
    turn: Turn<'_>,
    node: &Node,
    emptied: Emptied,
) -> Result<GrantRecord, Vec<Blocker>> {
    let seen = turn.seen;
    let progress = turn.progress();
    let overruns = turn.pool.allow_overrun && progress.drain.began.is_some();
    let mut shut: Vec<Blocker> = seen.gates.clone();
    shut.retain(|it| !(overruns && matches!(it.gate, Gate::Window | Gate::Fit)));
    shut.retain(|it| !(emptied == Emptied::ByForce && it.gate == Gate::Drain));
    let mut close = |gate: Gate, value: String| shut.push(turn.blocker(gate, value));
    let hold = node.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| turn.now < until));
    if let Some(hold) = hold {
        close(Gate::Hold, hold.reason.clone());
    }
    match &node.agent.hold_file {
        Known::Known(None) => {}
        Known::Known(Some(says)) => close(Gate::Hold, format!("hold file: {says}")),
        Known::Unknown(why) => close(Gate::Hold, format!("the hold file could not be read: {why}")),
    }
    if turn.marker(&node.cordon).is_none() {
        close(Gate::ForeignCordon, "the cordon is not ours".to_owned());
    }
    match &seen.drain {
        Known::Known(drain) if drain.left.is_empty() && drain.stuck.is_empty() => {}
        Known::Known(_) if emptied == Emptied::ByForce => {}
        Known::Known(_) => close(Gate::Drain, "pods are left".to_owned()),
        Known::Unknown(why) => close(Gate::Drain, why.clone()),
    }
    match &seen.lease {
        Known::Known(LeaseSeen::Ours | LeaseSeen::Unused) => {}
        Known::Known(LeaseSeen::Free) => close(Gate::NodeLease, "not held yet".to_owned()),
        Known::Known(LeaseSeen::Other { holder }) => {
            close(Gate::NodeLease, format!("held by {holder}"));
        }
        Known::Unknown(why) => close(Gate::NodeLease, why.clone()),
    }
    match &node.agent.need {
        Need::Needed { digest, .. } if *digest == turn.request.wish.digest => {}
        Need::Needed { .. } | Need::NotNeeded | Need::Unknown { .. }
            if is_manual(&turn.request.wish) => {}
        Need::Needed { .. } | Need::NotNeeded => {
            close(Gate::NeedUnknown, "the reasons are others by now".to_owned());
        }
        Need::Unknown { why } => close(Gate::NeedUnknown, why.clone()),
    }
    if let Known::Unknown(why) = &node.agent.reboot_method {
        close(Gate::RebootMethod, why.clone());
    }
    if node.agent.heard_at.is_none_or(|at| turn.now.since(at) > SILENT_SECS) {
        close(Gate::AgentSilent, format!("for more than {SILENT_SECS} s"));
    }
    if let Some(at) = node.agent.heard_at.filter(|at| is_ahead(turn, *at)) {
        close(Gate::AgentSilent, format!("heard at {at}, which is still to come: clocks differ"));
    }
    if turn.request.wish.intent == Intent::Cancel {
        close(Gate::Hold, "called off".to_owned());
    }
    if progress.boot.is_some() {
        close(Gate::AlreadyRebooted, "this request had its boot".to_owned());
    }
    let is_used = progress.grant.as_ref().is_some_and(|grant| grant.id == seen.next_grant);
    if is_used && progress.state != State::Granted {
        close(Gate::Policy, "no fresh id for a grant".to_owned());
    }
    let (Some(boot), Some(report)) = (&node.agent.boot, node.agent.report) else {
        close(Gate::AgentSilent, "no report of this boot".to_owned());
        return Err(shut);
    };
    if progress.boot_at_claim.as_ref().is_some_and(|was| was != boot) {
        close(Gate::AlreadyRebooted, "it booted since it was claimed".to_owned());
    }
    if !shut.is_empty() {
        return Err(shut);
    }
    Ok(GrantRecord {
        id: seen.next_grant,
        boot: boot.clone(),
        report,
        expected_kernel: node.agent.next_kernel.clone(),
        at: turn.now,
        void_after: turn.now.plus(LONGEST_SECS),
        answer: None,
        answered_at: None,
    })
}

/// Enters Granted with this grant; `forced` says what is left on the node.
pub(super) fn give(turn: Turn<'_>, grant: GrantRecord, forced: Option<String>) -> Step {
    turn.enter(State::Granted, |progress| {
        progress.grant = Some(grant);
        progress.failure = forced.map(|message| Fault { kind: FaultKind::DrainFailed, message });
    })
}

/// Granted.
pub(super) fn granted(turn: Turn<'_>, node: &Node) -> Step {
    let Some(grant) = &turn.progress().grant else {
        return boot::without_grant(turn);
    };
    if let Some(step) = boot::booted_since(turn, node, grant) {
        return step;
    }
    if let Some(step) = answered(turn, grant) {
        return step;
    }
    if is_over(turn, node, grant) {
        return again(turn, node);
    }
    if is_silent(turn, node) || goes_down(node, grant) {
        return turn.enter(State::Rebooting, |_| {});
    }
    let forget = forget(turn, grant);
    if turn.request.wish.intent == Intent::Cancel || turn.progress().adopts.is_some() {
        return turn.hold(forget);
    }
    let until = until(grant);
    match may_grant(turn, node, emptied(turn)) {
        Ok(_) if turn.now < until && grant.answer.is_none() => {
            turn.waiting_for(Vec::new(), turn.hold([Effect::Offer { grant: grant.clone(), until }]))
        }
        Ok(_) => turn.waiting_for(Vec::new(), turn.hold(forget)),
        Err(blockers) => turn.waiting_for(blockers, turn.hold(forget)),
    }
}

/// From when on a grant is handed out no more.
fn until(grant: &GrantRecord) -> Moment {
    grant.void_after.plus(spent_secs().saturating_neg())
}

/// Takes an offer back that may still be out.
pub(super) fn forget(turn: Turn<'_>, grant: &GrantRecord) -> Option<Effect> {
    (turn.now < until(grant)).then_some(Effect::Forget(grant.id))
}

/// The grant came to nothing, for certain.
fn again(turn: Turn<'_>, node: &Node) -> Step {
    if turn.request.wish.intent == Intent::Cancel {
        return turn.enter(State::RollingBack, |progress| progress.then = AfterRollback::Cancelled);
    }
    // Not given by this request, which goes on when what the other one did is undone.
    if turn.progress().adopts.is_some() {
        return turn
            .enter(State::RollingBack, |progress| progress.then = AfterRollback::Reconsider);
    }
    if turn.is_late() {
        let grant = turn.progress().grant.as_ref();
        let why = match grant.and_then(|grant| grant.answer.as_ref()) {
            Some(Answer::Refused(why)) => format!("refused: {why}"),
            Some(Answer::Executing | Answer::Failed(_)) | None => {
                "the node did not use its permission".to_owned()
            }
        };
        return turn.roll_back(AfterRollback::Backoff, FaultKind::GrantNotConsumed, why);
    }
    if turn.marker(&node.cordon).is_none() {
        return cordon::lost(turn, node);
    }
    let emptied = emptied(turn);
    let is_filled = turn.seen.drain.known().is_some_and(|it| !it.left.is_empty());
    if emptied == Emptied::Wholly && is_filled {
        return turn.enter(State::Draining, |progress| progress.drain.ended = None);
    }
    match may_grant(turn, node, emptied) {
        Ok(grant) if turn.progress().grant.as_ref().is_some_and(|old| old.id == grant.id) => {
            turn.hold([])
        }
        Ok(grant) => turn.record(|progress| progress.grant = Some(grant)),
        Err(blockers) => turn.waiting_for(blockers, turn.hold([])),
    }
}

/// In which way the node was emptied for the grant that is recorded.
fn emptied(turn: Turn<'_>) -> Emptied {
    match turn.progress().failure.as_ref().map(|failure| failure.kind) {
        Some(FaultKind::DrainFailed) => Emptied::ByForce,
        Some(_) | None => Emptied::Wholly,
    }
}

/// Says once that a cancellation came too late.
pub(super) fn too_late(turn: Turn<'_>) -> Option<Step> {
    let progress = turn.progress();
    let is_too_late = progress.state.holds_slot() && progress.grant.is_some();
    let is_told = progress.failure.is_some() || progress.state == State::RollingBack;
    if turn.request.wish.intent == Intent::Reboot || !is_too_late || is_told {
        return None;
    }
    Some(turn.record(|progress| {
        progress.failure = Some(Fault {
            kind: FaultKind::TooLateToCancel,
            message:
                "too late to cancel: the permission was given and may be in use; it is undone \
                      only if the node certainly does not use it"
                    .to_owned(),
        });
    }))
}

/// What the node said of this grant and is not recorded yet. Once used, a grant stays used: what is
/// refused afterwards is its repetition.
pub(super) fn news(turn: Turn<'_>, grant: &GrantRecord) -> Option<(Answer, Moment)> {
    let rank = |answer: &Answer| match answer {
        Answer::Refused(_) => 1,
        Answer::Executing => 2,
        Answer::Failed(_) => 3,
    };
    let said = turn.seen.answers.iter().filter(|said| said.id == grant.id);
    let weightiest = said.max_by_key(|said| rank(&said.answer))?;
    let is_new = grant.answer.as_ref().is_none_or(|old| rank(&weightiest.answer) > rank(old));
    is_new.then(|| (weightiest.answer.clone(), weightiest.at))
}

/// The step that an answer of the node asks for, if it is a new one.
pub(super) fn answered(turn: Turn<'_>, grant: &GrantRecord) -> Option<Step> {
    let (answer, at) = news(turn, grant)?;
    let state = match &answer {
        Answer::Executing => State::Rebooting,
        Answer::Refused(_) => turn.progress().state,
        Answer::Failed(_) => State::Quarantined,
    };
    let failure = match &answer {
        Answer::Failed(how) => Some(Fault {
            kind: FaultKind::RebootCommandFailed,
            message: format!("the call that should have rebooted failed: {how}"),
        }),
        Answer::Executing | Answer::Refused(_) => None,
    };
    let change = |progress: &mut Progress| {
        if let Some(grant) = &mut progress.grant {
            grant.answer = Some(answer);
            grant.answered_at = Some(at);
        }
        if failure.is_some() {
            progress.failure = failure;
        }
    };
    let is_same = state == turn.progress().state;
    Some(if is_same { turn.record(change) } else { turn.enter(state, change) })
}

/// Whether the grant can start nothing any more, and did not.
pub(super) fn is_over(turn: Turn<'_>, node: &Node, grant: &GrantRecord) -> bool {
    if matches!(grant.answer, Some(Answer::Executing | Answer::Failed(_))) {
        return false;
    }
    // A kubelet that shuts down says so at once, and its node is heard until the end.
    if goes_down(node, grant) {
        return false;
    }
    let heard_at = node.agent.heard_at.filter(|_| node.agent.boot.as_ref() == Some(&grant.boot));
    // Its word that it acts may be lost, and a slow shutdown is still heard for a while.
    let shutdown_secs = i64::from(turn.seen.shutdown_grace_secs).max(SHUTDOWN_SECS);
    let certain_at = void_at(turn, grant).plus(shutdown_secs);
    heard_at.is_some_and(|at| at > certain_at && !is_ahead(turn, at)) && turn.now > certain_at
}

/// Whether the node has not been ready since a moment after the grant: it may be on its way down.
pub(super) fn goes_down(node: &Node, grant: &GrantRecord) -> bool {
    matches!(node.ready, Ready::NotSince(at) if at >= grant.at)
}

/// Whether a person may say that this grant comes to nothing, used or not: it is void, the time of a
/// shutdown that it began is over, and the node either runs on in its boot, or is silent, of which the
/// person knows more.
pub(super) fn is_spent(turn: Turn<'_>, node: &Node, grant: &GrantRecord) -> bool {
    let shutdown_secs = boot::COMMAND_SECS.saturating_add(turn.seen.shutdown_grace_secs.into());
    let began_at = turn.by_our_clock(grant.answered_at.unwrap_or(grant.at));
    let spent_at = void_at(turn, grant).max(began_at.plus(shutdown_secs));
    if turn.now <= spent_at {
        return false;
    }
    if is_silent(turn, node) {
        return true;
    }
    let is_patient = turn.now.since(began_at) < LONGEST_SHUTDOWN_SECS;
    let heard_at = node.agent.heard_at.filter(|_| node.agent.boot.as_ref() == Some(&grant.boot));
    heard_at.is_some_and(|at| at > spent_at) && !(is_patient && goes_down(node, grant))
}

/// Whether a word of the node bears a time that is still to come. Then the clock that stamped it is
/// another one than that of the void, and says nothing about it.
fn is_ahead(turn: Turn<'_>, at: Moment) -> bool {
    at > turn.now.plus(MARGIN_SECS)
}

/// Takes the offer back before anything is undone, and keeps what would be undone until the grant can
/// start nothing any more: however the roll-back was entered. `None` once that is so.
pub(super) fn recall(turn: Turn<'_>) -> Option<Step> {
    let progress = turn.progress();
    let grant = progress.grant.as_ref().filter(|_| progress.boot.is_none())?;
    (!is_void(turn, grant)).then(|| turn.hold([Effect::Forget(grant.id)]))
}

/// Whether the grant can start nothing any more; perhaps it did.
pub(super) fn is_void(turn: Turn<'_>, grant: &GrantRecord) -> bool {
    turn.now > void_at(turn, grant)
}

/// When the last of its copies ended: by its own record, and whoever led before us.
fn void_at(turn: Turn<'_>, grant: &GrantRecord) -> Moment {
    grant.void_after.max(turn.seen.leading_since.plus(spent_secs()))
}

/// Whether the node was not heard for so long that it may be down. A leader that has just begun has
/// not listened for so long.
pub(super) fn is_silent(turn: Turn<'_>, node: &Node) -> bool {
    let listened_since = turn.seen.leading_since;
    let heard_at = node.agent.heard_at.map_or(listened_since, |at| at.max(listened_since));
    turn.now.since(heard_at) > SILENT_SECS
}

/// The boot of the node, if it is another one than that of the grant.
pub(super) fn other_boot<'n>(node: &'n Node, grant: &GrantRecord) -> Option<&'n BootId> {
    node.agent.boot.as_ref().filter(|boot| **boot != grant.boot)
}
