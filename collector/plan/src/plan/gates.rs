//! The gates that a node passes or not by itself, whoever else waits.

use palisade_report::Moment;

use super::census::Member;
use super::need::Wanted;
use super::pool::Purpose;
use super::pool::shut;
use crate::fleet::Cordon;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::LastReboot;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::ForeignCordon;
use crate::policy::Mode;
use crate::policy::Pool;
use crate::request::Intent;
use crate::request::State;

/// Silence of an agent after which it is not relied upon: three heartbeats of a minute.
pub const AGENT_SILENT_SECS: i64 = 180;

/// What the gates of one node are judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) pool: &'a Pool,
    pub(super) member: &'a Member<'a>,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) purpose: Purpose,
    pub(super) now: Moment,
}

/// Gates that are shut, without those that urgency or a person opens.
#[derive(Clone, Debug, Default)]
pub(super) struct Shut {
    pub(super) blockers: Vec<Blocker>,
    /// Gates that are passed although they are shut, and why.
    pub(super) passed: Vec<(Gate, String)>,
}

impl Shut {
    /// Adds a gate that is shut, unless this node passes it.
    pub(super) fn add(&mut self, mut blocker: Blocker, case: &Case<'_>) {
        if let Some(why) = case.wanted.passes(blocker.gate, case.pool) {
            self.passed.push((blocker.gate, format!("{}; {why}", blocker.value)));
            return;
        }
        // What was recorded knows better since when.
        let recorded = case.member.request.map(|request| request.progress.blockers.as_slice());
        let same = |earlier: &&Blocker| earlier.gate == blocker.gate;
        if let Some(earlier) = recorded.unwrap_or_default().iter().find(same) {
            blocker.since = blocker.since.min(earlier.since);
        }
        self.blockers.push(blocker);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.blockers.is_empty()
    }
}

/// Adds each gate of this node that is shut.
pub(super) fn look(case: &Case<'_>, found: &mut Shut) {
    let of_node = case.member.node.blockers.iter().chain(&case.member.node.objections);
    for blocker in case.fleet.blockers.iter().chain(of_node) {
        found.add(blocker.clone(), case);
    }
    look_at_hold(case, found);
    look_at_past(case, found);
    look_at_agent(case, found);
    look_at_cordon(case, found);
    look_at_approval(case, found);
    if case.purpose == Purpose::Start {
        look_at_backoff(case, found);
    }
}

fn look_at_hold(case: &Case<'_>, found: &mut Shut) {
    let Case { member, now, .. } = *case;
    let mut add = |value, next| found.add(shut(Gate::Hold, value, now, next), case);
    if let Some(hold) = &member.node.hold
        && hold.until.is_none_or(|until| now < until)
    {
        add(format!("annotation: {}", hold.reason), hold.until);
    }
    match &member.node.agent.hold_file {
        Known::Known(None) => {}
        Known::Known(Some(text)) => add(format!("file on the node: {text}"), None),
        Known::Unknown(why) => {
            add(format!("whether a hold file exists cannot be told: {why}"), None)
        }
    }
    if case.purpose == Purpose::Grant {
        return;
    }
    if let Some(request) = member.request {
        let state = request.progress.state;
        if request.wish.intent == Intent::Cancel {
            add(format!("its request is called off ({state:?})"), None);
        } else if state.is_terminal() {
            add(format!("its former request has ended ({state:?}) and is still there"), None);
        }
    }
}

fn look_at_past(case: &Case<'_>, found: &mut Shut) {
    let Case { member, wanted, pool, now, .. } = *case;
    let lasts = || case.fleet.past.last_reboots(member.uid);
    let is_for_these =
        |last: &&LastReboot| last.digest == *wanted.digest && wanted.since <= last.at;
    if let Some(last) = lasts().filter(is_for_these).max_by_key(|last| last.at) {
        let value = format!("rebooted at {} for the same reasons, which are still there", last.at);
        found.add(shut(Gate::AlreadyRebooted, value, last.at, None), case);
    }
    let Some(last) = lasts().max_by_key(|last| last.at) else { return };
    let until = last.at.plus(pool.minimum_interval_secs);
    if now < until {
        let value = format!("the last reboot was at {}", last.at);
        found.add(shut(Gate::MinimumInterval, value, last.at, Some(until)), case);
    }
}

fn look_at_agent(case: &Case<'_>, found: &mut Shut) {
    let Case { member, wanted, pool, now, .. } = *case;
    let agent = &member.node.agent;
    let silent_since = agent.heard_at.map(|at| at.plus(AGENT_SILENT_SECS));
    match (agent.heard_at, silent_since) {
        (Some(at), Some(since)) if since < now => {
            let value = format!("last heard at {at}");
            found.add(shut(Gate::AgentSilent, value, since, None), case);
        }
        (Some(_), _) => {}
        (None, _) => {
            let value = "never heard".to_owned();
            found.add(shut(Gate::AgentSilent, value, now, None), case);
        }
    }
    match &agent.package_manager {
        Known::Known(None) => {}
        Known::Known(Some(busy)) => {
            found.add(shut(Gate::PackageManager, busy.clone(), now, None), case);
        }
        Known::Unknown(why) => {
            let value = format!("cannot be told: {why}");
            found.add(shut(Gate::PackageManager, value, now, None), case);
        }
    }
    match (&agent.reboot_method, pool.reboot_method.word()) {
        (Known::Unknown(why), _) => {
            found.add(shut(Gate::RebootMethod, why.clone(), now, None), case);
        }
        (Known::Known(has), Some(wants)) if has != wants => {
            let value = format!("the node reboots by {has}, its pool wants {wants}");
            found.add(shut(Gate::RebootMethod, value, now, None), case);
        }
        (Known::Known(_), _) => {}
    }
    for why in &agent.unsafe_to_reboot {
        found.add(shut(Gate::UnsafeToReboot, why.clone(), now, None), case);
    }
    if case.purpose == Purpose::Start && wanted.asked_by.is_none() {
        look_at_stability(agent.stable_since, pool, case, found);
    }
}

/// What a person asks for does not change by itself.
fn look_at_stability(stable: Option<Moment>, pool: &Pool, case: &Case<'_>, found: &mut Shut) {
    let now = case.now;
    let Some(since) = stable else {
        let value = "the reasons still change, or packages are being installed".to_owned();
        found.add(shut(Gate::Unstable, value, now, None), case);
        return;
    };
    let until = since.plus(pool.stable_secs);
    if now < until {
        let value = format!("stable since {since}, {} s are asked for", pool.stable_secs);
        found.add(shut(Gate::Unstable, value, since, Some(until)), case);
    }
}

fn look_at_cordon(case: &Case<'_>, found: &mut Shut) {
    let Case { member, pool, purpose, now, .. } = *case;
    if purpose == Purpose::Grant {
        // Whether the cordon is ours is asked of the node itself, not of a policy.
        return;
    }
    match (&member.node.cordon, pool.foreign_cordon) {
        (Cordon::Schedulable, _) | (Cordon::Foreign { .. }, ForeignCordon::Include) => {}
        (Cordon::Foreign { by }, ForeignCordon::Skip) => {
            let value = match by {
                Some(manager) => format!("cordoned by {manager}"),
                None => "cordoned by somebody else".to_owned(),
            };
            found.add(shut(Gate::ForeignCordon, value, now, None), case);
        }
        (Cordon::Ours { request }, _) => {
            let value = format!("the cordon of request {request} has not been taken back");
            found.add(shut(Gate::ForeignCordon, value, now, None), case);
        }
    }
}

fn look_at_approval(case: &Case<'_>, found: &mut Shut) {
    let Case { member, wanted, pool, now, .. } = *case;
    match pool.mode {
        Mode::Approve => {}
        Mode::Report | Mode::Plan | Mode::Auto => return,
    }
    let approval = member.request.and_then(|request| request.wish.approval.as_ref());
    let value = match approval {
        None => "nobody has approved these reasons".to_owned(),
        Some(given) if given.digest != *wanted.digest => {
            format!("{} approved other reasons at {}", given.by, given.at)
        }
        Some(given) if given.until <= now => {
            format!("the approval of {} ended at {}", given.by, given.until)
        }
        Some(_) => return,
    };
    found.add(shut(Gate::Approval, value, wanted.since, None), case);
}

fn look_at_backoff(case: &Case<'_>, found: &mut Shut) {
    let Case { member, pool, now, .. } = *case;
    let Some(progress) = member.request.map(|request| &request.progress) else { return };
    if progress.state != State::Backoff {
        return;
    }
    let until = progress.deadline.unwrap_or_else(|| {
        let doublings = progress.rollbacks.saturating_sub(1).min(62);
        let wait = pool.backoff.first_secs.saturating_mul(1_i64 << doublings);
        progress.since.plus(wait.min(pool.backoff.longest_secs))
    });
    if now < until {
        let value = format!("rolled back {} times, tried again at {until}", progress.rollbacks);
        found.add(shut(Gate::Backoff, value, progress.since, Some(until)), case);
    }
}
