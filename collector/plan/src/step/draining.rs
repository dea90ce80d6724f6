//! Draining: pods leave, volumes are detached, and then all gates must be open in the same look.
//!
//! ```text
//! our marker ─> dry run clear? ─> volumes recorded ─> evictions ─> empty ─> detached ─> grant
//!    ^ gone: Cordoning, at most three times               └─ late: rolled back, or forced by policy
//! ```

use crate::fleet::Known;
use crate::fleet::Node;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::DrainFailure;
use crate::policy::StuckVolumes;
use crate::request::AfterRollback;
use crate::request::FaultKind;
use crate::request::Progress;
use crate::request::Schedulability;
use crate::seen::DrainSeen;
use crate::seen::LeaseSeen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::cordon;
use crate::step::grant;
use crate::step::grant::Emptied;
use crate::step::turn::Turn;

/// Volumes of a drain that are recorded: what a record holds of them. More are attached to no node, and
/// those beyond it are not waited for; the attach limits of nodes are smaller (`CSINode`).
const MAX_VOLUMES: usize = 256;

/// Draining.
pub(super) fn draining(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = turn.called_off(node) {
        return step;
    }
    if turn.marker(&node.cordon).is_none() {
        return cordon::lost(turn, node);
    }
    // A person cordoned it too, after us: that one stays.
    if turn.seen.unschedulable_by.is_some()
        && turn.progress().before == Some(Schedulability::Schedulable)
    {
        return turn.record(|progress| progress.before = Some(Schedulability::Unschedulable));
    }
    if let Some(LeaseSeen::Other { holder }) = turn.seen.lease.known() {
        return turn.withdraw(vec![turn.blocker(Gate::NodeLease, format!("held by {holder}"))]);
    }
    let window = turn.seen.gates.iter().find(|it| it.gate == Gate::Window);
    if let Some(window) = window.filter(|_| !turn.pool.allow_overrun) {
        return turn.roll_back(
            AfterRollback::Backoff,
            FaultKind::Overrun,
            format!("the window ended before the drain did: {}", window.value),
        );
    }
    let seen = match &turn.seen.drain {
        Known::Known(seen) => seen,
        Known::Unknown(why) if turn.is_late() => {
            return failed(turn, node, format!("what is left could not be told: {why}"));
        }
        Known::Unknown(why) => {
            let blocker = turn.blocker(Gate::Drain, why.clone());
            return turn.waiting_for(vec![blocker], turn.hold([]));
        }
    };
    if let Some(why) = &seen.failed {
        // It did not take too long, it went wrong: that is no reason to go with what is left.
        return turn.roll_back(AfterRollback::Backoff, FaultKind::DrainFailed, why.clone());
    }
    match turn.progress().drain.began {
        None => dry_run(turn, node, seen),
        Some(_) if seen.left.is_empty() && seen.stuck.is_empty() => empty(turn, node, seen),
        Some(began) => {
            if turn.progress().drain.ended.is_some() {
                return turn.record(|progress| progress.drain.ended = None);
            }
            if turn.is_late() {
                return failed(turn, node, words(seen));
            }
            let balanced_at = turn.pool.drain.load_balancer_secs.map(|secs| began.plus(secs));
            let leave = balanced_at.map(|_| Effect::LeaveLoadBalancers);
            // What has begun goes on with the pods that may go, whichever does not.
            let may_evict = stops(turn).is_empty() && balanced_at.is_none_or(|at| turn.now >= at);
            let known = &turn.progress().drain.volumes;
            let is_full = known.len() >= MAX_VOLUMES;
            if may_evict && !is_full && !seen.volumes.iter().all(|it| known.contains(it)) {
                return turn.record(|progress| remember(progress, seen));
            }
            let effects = leave.into_iter().chain(may_evict.then_some(Effect::Drain));
            turn.waiting_for(blockers(turn, seen), turn.hold(effects))
        }
    }
}

/// Before the first eviction: one pod that cannot be evicted keeps all of them.
fn dry_run(turn: Turn<'_>, node: &Node, seen: &DrainSeen) -> Step {
    if turn.is_late() {
        return failed(turn, node, words(seen));
    }
    if !seen.stuck.is_empty() || !stops(turn).is_empty() {
        return turn.waiting_for(blockers(turn, seen), turn.hold([]));
    }
    turn.record(|progress| {
        progress.drain.began = Some(turn.now);
        remember(progress, seen);
    })
}

/// Records the volumes of pods that must go.
fn remember(progress: &mut Progress, seen: &DrainSeen) {
    let volumes = &mut progress.drain.volumes;
    for volume in &seen.volumes {
        if volumes.len() < MAX_VOLUMES {
            volumes.insert(volume.clone());
        }
    }
}

/// Nothing is left: volumes, then the grant.
fn empty(turn: Turn<'_>, node: &Node, seen: &DrainSeen) -> Step {
    let Some(ended) = turn.progress().drain.ended else {
        return turn.record(|progress| progress.drain.ended = Some(turn.now));
    };
    let is_patient = turn.now.since(ended) < turn.pool.drain.volumes_secs;
    if !seen.attached.is_empty() {
        match turn.pool.drain.on_volumes {
            StuckVolumes::Continue if !is_patient => {}
            StuckVolumes::RollBack if !is_patient => {
                return turn.roll_back(
                    AfterRollback::Backoff,
                    FaultKind::DrainFailed,
                    format!("volumes are still attached: {}", seen.attached.join(", ")),
                );
            }
            StuckVolumes::Continue | StuckVolumes::RollBack if turn.is_late() => {
                return failed(turn, node, words(seen));
            }
            StuckVolumes::Continue | StuckVolumes::RollBack => {
                return turn.waiting_for(blockers(turn, seen), turn.hold([]));
            }
        }
    }
    match grant::may_grant(turn, node, Emptied::Wholly) {
        Ok(grant) => grant::give(turn, grant, None),
        Err(_) if turn.is_late() => failed(turn, node, words(seen)),
        Err(blockers) => turn.waiting_for(blockers, turn.hold([])),
    }
}

/// The drain did not end in time.
fn failed(turn: Turn<'_>, node: &Node, left: String) -> Step {
    let is_worker = node.role == Role::Worker && turn.progress().placement.role == Role::Worker;
    match turn.pool.drain.on_failure {
        DrainFailure::Reboot if is_worker => match grant::may_grant(turn, node, Emptied::ByForce) {
            Ok(grant) => {
                grant::give(turn, grant, Some(format!("rebooted although not empty: {left}")))
            }
            Err(_) => turn.roll_back(AfterRollback::Backoff, FaultKind::DrainFailed, left),
        },
        DrainFailure::Reboot | DrainFailure::RollBack => {
            turn.roll_back(AfterRollback::Backoff, FaultKind::DrainFailed, left)
        }
    }
}

/// Gates that keep further pods from being evicted. The rest of the window only matters for the
/// start, and what the drain itself is stopped by it knows better.
fn stops(turn: Turn<'_>) -> Vec<Blocker> {
    let of_drain = [Gate::Window, Gate::Fit, Gate::Drain];
    turn.seen.gates.iter().filter(|it| !of_drain.contains(&it.gate)).cloned().collect()
}

/// What the drain waits for, most important first.
fn blockers(turn: Turn<'_>, seen: &DrainSeen) -> Vec<Blocker> {
    let of_drain = lines(seen).into_iter().map(|value| turn.blocker(Gate::Drain, value));
    stops(turn).into_iter().chain(of_drain).collect()
}

/// The same for a message.
fn words(seen: &DrainSeen) -> String {
    let lines = lines(seen);
    if lines.is_empty() { "a gate stayed shut".to_owned() } else { lines.join("; ") }
}

/// What stops the drain, then what merely is left, each once.
fn lines(seen: &DrainSeen) -> Vec<String> {
    let left = seen.left.iter().filter(|line| !seen.stuck.contains(line));
    let attached = seen.attached.iter().map(|volume| format!("volume {volume} is attached"));
    seen.stuck.iter().chain(left).cloned().chain(attached).collect()
}
