//! Rebooting, NotReturned, Booted: only another boot id is a boot.

use crate::fleet::Node;
use crate::fleet::Ready;
use crate::gate::Gate;
use crate::request::AfterRollback;
use crate::request::Alert;
use crate::request::Answer;
use crate::request::BootRecord;
use crate::request::FaultKind;
use crate::request::GrantRecord;
use crate::request::State;
use crate::step::Step;
use crate::step::grant;
use crate::step::turn::Turn;

/// From the word that the node acts until a node that still runs has failed to. Services get their time
/// to stop from systemd (90 s each, some one after another), and the kubelet its own beside it.
pub(super) const COMMAND_SECS: i64 = 300;

/// Rebooting.
pub(super) fn rebooting(turn: Turn<'_>, node: &Node) -> Step {
    let Some(grant) = &turn.progress().grant else {
        return without_grant(turn);
    };
    if let Some(step) = booted_since(turn, node, grant) {
        return step;
    }
    if let Some(step) = grant::answered(turn, grant) {
        return step;
    }
    let heard_at = node.agent.heard_at.filter(|_| node.agent.boot.as_ref() == Some(&grant.boot));
    if let (Some(Answer::Executing), Some(answered_at)) = (&grant.answer, grant.answered_at) {
        let grace = i64::from(turn.seen.shutdown_grace_secs);
        let began_at = turn.by_our_clock(answered_at);
        let over_at = began_at.plus(COMMAND_SECS.saturating_add(grace));
        let is_heard = !grant::is_silent(turn, node);
        // What goes down slowly has not failed to.
        let heard_at = heard_at.filter(|_| !grant::goes_down(node, grant));
        if heard_at
            .is_some_and(|at| at >= over_at || (turn.is_late_for_us() && is_heard && at > began_at))
        {
            return turn.quarantine(
                FaultKind::RebootCommandFailed,
                format!(
                    "said at {answered_at} that it reboots, and still runs boot {}",
                    grant.boot
                ),
            );
        }
    }
    if grant::is_over(turn, node, grant) {
        return turn.enter(State::Granted, |_| {});
    }
    // A leader that has just begun has not listened long enough to miss anybody.
    let has_listened = turn.now.since(turn.seen.leading_since) > grant::SILENT_SECS;
    if turn.is_late() && has_listened {
        return turn.enter(State::NotReturned, |progress| {
            let since = node.agent.heard_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            progress.blockers =
                vec![turn.blocker(Gate::AgentSilent, format!("heard last: {since}"))];
            progress.blockers_at = Some(turn.now);
        });
    }
    turn.hold(grant::forget(turn, grant))
}

/// The node runs under another boot id than the grant was for. If all that is known is a refusal, it is
/// verified like any other, and told as one that nobody planned.
pub(super) fn booted_since(turn: Turn<'_>, node: &Node, grant: &GrantRecord) -> Option<Step> {
    let boot = grant::other_boot(node, grant)?;
    let news = grant::news(turn, grant);
    let said = news.as_ref().map(|(answer, _)| answer).or(grant.answer.as_ref());
    let is_unplanned = matches!(said, Some(Answer::Refused(_)));
    let record = BootRecord {
        boot: boot.clone(),
        kernel: node.agent.kernel.clone(),
        seen_at: node.agent.heard_at.unwrap_or(turn.now),
    };
    Some(turn.enter(State::Booted, |progress| {
        if let (Some(grant), Some((answer, at))) = (&mut progress.grant, news) {
            grant.answer = Some(answer);
            grant.answered_at = Some(at);
        }
        progress.boot = Some(record);
        if is_unplanned {
            progress.alerts.insert(Alert::UnplannedReboot);
        }
    }))
}

/// The record of the grant is gone, so nobody knows what it may still do.
pub(super) fn without_grant(turn: Turn<'_>) -> Step {
    turn.quarantine(FaultKind::Unproven, "the record of the grant is missing".to_owned())
}

/// NotReturned: the place stays taken until the node boots, is gone, or a person says that it is over.
pub(super) fn not_returned(turn: Turn<'_>, node: &Node) -> Step {
    let Some(grant) = &turn.progress().grant else {
        return without_grant(turn);
    };
    if let Some(step) = booted_since(turn, node, grant) {
        return step;
    }
    if turn.is_released() && grant::is_spent(turn, node, grant) {
        return turn.enter(State::RollingBack, |progress| progress.then = AfterRollback::Cancelled);
    }
    turn.hold([])
}

/// Booted: ready, with a report of this boot.
pub(super) fn booted(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = again(turn, node) {
        return step;
    }
    let record = turn.progress().boot.as_ref();
    let is_reported = node.agent.report.is_some()
        && record.is_some_and(|record| node.agent.boot.as_ref() == Some(&record.boot));
    let is_ready = match node.ready {
        Ready::Since(_) => true,
        Ready::NotSince(_) | Ready::Unknown => false,
    };
    if is_reported && is_ready {
        return turn.enter(State::Verifying, |progress| {
            if let Some(boot) = &mut progress.boot {
                boot.kernel = node.agent.kernel.clone().or_else(|| boot.kernel.take());
            }
        });
    }
    if turn.is_late_for_us() {
        let what = if is_reported { "the node is not ready" } else { "no report of the new boot" };
        return turn.quarantine(FaultKind::NotReadyAfterBoot, what.to_owned());
    }
    turn.hold([])
}

/// Yet another boot, which nobody asked for: what was proved counts for nothing. The boot before the
/// grant is no other one, but an old word that arrives late.
pub(super) fn again(turn: Turn<'_>, node: &Node) -> Option<Step> {
    let progress = turn.progress();
    let (Some(grant), Some(record)) = (&progress.grant, &progress.boot) else {
        return Some(without_grant(turn));
    };
    let boot = grant::other_boot(node, grant).filter(|boot| **boot != record.boot)?;
    let record = BootRecord {
        boot: boot.clone(),
        kernel: node.agent.kernel.clone(),
        seen_at: node.agent.heard_at.unwrap_or(turn.now),
    };
    Some(turn.record(|progress| {
        progress.boot = Some(record);
        progress.proofs.clear();
        if progress.sound_since.take().is_some() {
            progress.relapses = progress.relapses.saturating_add(1);
        }
        progress.alerts.insert(Alert::UnplannedReboot);
    }))
}
