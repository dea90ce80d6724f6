//! Every gate of one node, open or shut, with what it saw.

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::GateView;
use super::census::Member;
use super::check::grant_gates;
use super::choose::Choice;
use super::choose::choose;
use super::choose::drain_value;
use super::gates::Shut;
use super::need::Wanted;
use super::need::Wants;
use super::pass::Pass;
use super::pass::pods_of;
use super::pass::role_word;
use super::pass::silent;
use super::pool::PoolView;
use super::pool::shut;
use crate::drain::Batch;
use crate::drain::Outlook;
use crate::fleet::Cordon;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::window::Opening;

/// All gates of a node in order; none for a node that does not exist.
///
/// For a node that is under way these are the gates of its grant. For one that needs no reboot they
/// are what would hold it if it needed one.
#[must_use]
pub fn explain(fleet: &Fleet, policy: &Policy, uid: &NodeUid, now: Moment) -> Vec<GateView> {
    let mut pass = Pass::of(fleet, policy, now);
    choose(&mut pass);
    let Some(member) = pass.census.members.iter().find(|member| member.uid == uid).copied() else {
        return Vec::new();
    };
    let Some(view) = pass.pools.get(member.pool) else { return Vec::new() };
    let place = pass.candidates.iter().position(|candidate| candidate.member.uid == uid);
    let candidate = place.and_then(|place| pass.candidates.get(place));
    let mut found = match candidate {
        Some(candidate) => candidate.shut.clone(),
        None if member.flight.is_some() => {
            Shut { blockers: grant_gates(fleet, policy, uid, now), passed: Vec::new() }
        }
        None => suppose(&member, view, &pass),
    };
    if member.flight.is_none() {
        look_at_room(
            &member,
            candidate.is_some_and(|one| one.choice != Choice::Waits),
            &pass,
            &mut found,
        );
    }
    let words = Words { member: &member, view, place, pass: &pass };
    Gate::ALL.iter().map(|gate| gate_view(*gate, &found, &words)).collect()
}

/// What would hold a node, were it to need a reboot.
fn suppose(member: &Member<'_>, view: &PoolView<'_>, pass: &Pass<'_>) -> Shut {
    let now = pass.now;
    let wants = Wants::of(member, view.pool, now);
    let wanted = match wants {
        Wants::Reboot(wanted) => wanted,
        Wants::Nothing | Wants::Unknown(_) => Wanted {
            digest: &pass.policy.digest,
            since: now,
            must_by: now.plus(view.pool.must_by_secs),
            asked_by: None,
            overriding: None,
            is_overdue: false,
            forced_by: None,
        },
    };
    let mut found = pass.own_gates(member, &wanted, view);
    if let Wants::Unknown(why) = wants {
        found.blockers.push(shut(Gate::NeedUnknown, why.to_owned(), now, None));
    }
    found
}

/// Caps and drain of a node, also where other gates keep it from being looked at in a plan.
fn look_at_room(member: &Member<'_>, starts: bool, pass: &Pass<'_>, found: &mut Shut) {
    if starts {
        return;
    }
    let has = |found: &Shut, gate| found.blockers.iter().any(|blocker| blocker.gate == gate);
    for full in pass.census.full(member) {
        if !has(found, full.gate) {
            found.blockers.push(shut(full.gate, full.value, pass.now, None));
        }
    }
    let Some(view) = pass.pools.get(member.pool) else { return };
    if has(found, Gate::Drain) || pass.is_single() {
        return;
    }
    let value = match pods_of(pass.fleet, member) {
        Ok(Some(pods)) => {
            drain_value(&Batch::new(&pass.fleet.budgets).at(pass.now).look(pods, &view.pool.drain))
        }
        Ok(None) => Some("its pods have not been read yet".to_owned()),
        Err(why) => Some(format!("its pods cannot be told: {why}")),
    };
    if let Some(value) = value {
        found.blockers.push(shut(Gate::Drain, value, pass.now, None));
    }
}

fn gate_view(gate: Gate, found: &Shut, words: &Words<'_>) -> GateView {
    let shut: Vec<&Blocker> =
        found.blockers.iter().filter(|blocker| blocker.gate == gate).collect();
    if let Some(since) = shut.iter().map(|blocker| blocker.since).min() {
        let values: Vec<&str> = shut.iter().map(|blocker| blocker.value.as_str()).collect();
        // It opens by itself only when the last of its causes does.
        let nexts: Option<Vec<Moment>> = shut.iter().map(|blocker| blocker.next_check).collect();
        let next_check = nexts.and_then(|nexts| nexts.into_iter().max());
        let value = values.join("; ");
        return GateView { gate, open: false, value, since: Some(since), next_check };
    }
    let passed = found.passed.iter().find(|(passed, _)| *passed == gate);
    let value = passed.map_or_else(|| words.of(gate), |(_, why)| why.clone());
    GateView { gate, open: true, value, since: None, next_check: None }
}

/// What the open gates of a node see.
struct Words<'w> {
    member: &'w Member<'w>,
    view: &'w PoolView<'w>,
    place: Option<usize>,
    pass: &'w Pass<'w>,
}

impl Words<'_> {
    fn of(&self, gate: Gate) -> String {
        let Self { member, view, place, pass } = self;
        let agent = &member.node.agent;
        match gate {
            Gate::Mode => mode_word(view.pool.mode).to_owned(),
            Gate::Policy => format!("in force: {}", pass.policy.digest.short()),
            Gate::DeadMan => {
                let (silent, all) = silent(&pass.census, pass.now);
                format!("{silent} of {all} agents are silent")
            }
            Gate::ClusterStale => "what the cluster says is fresh".to_owned(),
            Gate::OtherActor => "nobody else was seen".to_owned(),
            Gate::FailureBudget => {
                format!("{} of {}", view.failures, view.pool.failure_budget.failures)
            }
            Gate::Paused => "not paused".to_owned(),
            Gate::Freeze => "no freeze now".to_owned(),
            Gate::Hold => "not held".to_owned(),
            Gate::AlreadyRebooted | Gate::MinimumInterval => self.last_reboot(),
            Gate::NeedUnknown => self.need(),
            Gate::Unstable => match agent.stable_since {
                Some(since) => format!("stable since {since}"),
                None => "asked for by a person".to_owned(),
            },
            Gate::PackageManager => "idle".to_owned(),
            Gate::AgentSilent => match agent.heard_at {
                Some(at) => format!("heard at {at}"),
                None => "never heard".to_owned(),
            },
            Gate::RebootMethod => match &agent.reboot_method {
                Known::Known(method) => method.clone(),
                Known::Unknown(why) => why.clone(),
            },
            Gate::UnsafeToReboot => "nothing speaks against its return".to_owned(),
            Gate::Certificate => "none in the way".to_owned(),
            Gate::ForeignCordon => match &member.node.cordon {
                Cordon::Schedulable => "takes pods".to_owned(),
                Cordon::Ours { request } => format!("cordoned by request {request}"),
                Cordon::Foreign { .. } => "cordoned, and the pool takes such nodes too".to_owned(),
            },
            Gate::NodeLease => "nobody else was seen to hold it".to_owned(),
            Gate::Approval => self.approval(),
            Gate::Window => self.window(),
            Gate::Fit => self.fit(),
            Gate::Alert => "none fires".to_owned(),
            Gate::Pod => "none runs".to_owned(),
            Gate::Drain => self.drain(),
            Gate::Capacity => "nothing known against it".to_owned(),
            Gate::Etcd | Gate::ControlPlane => format!("it is a {}", role_word(member.role)),
            Gate::Wave => match view.pool.waves {
                Some(_) => "this wave has room".to_owned(),
                None => "the pool has no waves".to_owned(),
            },
            Gate::Backoff => "no drain was rolled back just now".to_owned(),
            Gate::ClusterBudget | Gate::PoolBudget | Gate::ZoneBudget | Gate::TopologyBudget => {
                pass.census.words(member, gate)
            }
            Gate::Order => match place {
                Some(place) => format!("position {place}"),
                None => "not in the order".to_owned(),
            },
        }
    }

    fn need(&self) -> String {
        match Wants::of(self.member, self.view.pool, self.pass.now) {
            Wants::Nothing => "no reboot is needed".to_owned(),
            Wants::Unknown(why) => why.to_owned(),
            Wants::Reboot(wanted) => {
                let by = wanted.asked_by.map(|by| format!(", asked for by {by}"));
                let Wanted { since, must_by, .. } = wanted;
                format!("needed since {since}, due by {must_by}{}", by.unwrap_or_default())
            }
        }
    }

    fn last_reboot(&self) -> String {
        let lasts = self.pass.fleet.past.last_reboots(self.member.uid);
        match lasts.max_by_key(|last| last.at) {
            Some(last) => format!("the last reboot was at {}", last.at),
            None => "no reboot of ours is known".to_owned(),
        }
    }

    fn approval(&self) -> String {
        let request = self.member.request;
        match request.and_then(|request| request.wish.approval.as_ref()) {
            Some(given) => format!("approved by {} until {}", given.by, given.until),
            None => "not asked for in this mode".to_owned(),
        }
    }

    fn window(&self) -> String {
        match self.view.opening {
            Opening::Open { until: Some(until) } => format!("open until {until}"),
            Opening::Open { until: None } => "open".to_owned(),
            Opening::Shut { .. } => "shut, and the pool lets grants overrun".to_owned(),
        }
    }

    fn fit(&self) -> String {
        let needed = self.view.takes.whole_secs();
        match (self.view.opening, self.view.remaining_secs) {
            (Opening::Shut { .. }, _) => "no window is open".to_owned(),
            (Opening::Open { .. }, Some(left)) => format!("{needed} s of {left} s"),
            (Opening::Open { .. }, None) => format!("{needed} s, and no end in sight"),
        }
    }

    fn drain(&self) -> String {
        if self.pass.is_single() {
            return "the only node: not drained".to_owned();
        }
        let Ok(Some(pods)) = pods_of(self.pass.fleet, self.member) else {
            return "not looked at".to_owned();
        };
        let outlook = Batch::new(&self.pass.fleet.budgets)
            .at(self.pass.now)
            .look(pods, &self.view.pool.drain);
        match outlook {
            Outlook::Serial { rounds, .. } => format!("in {rounds} rounds"),
            Outlook::Clear => "every pod may go".to_owned(),
            // The gate of the start was passed; what a drain waits for is in its request.
            Outlook::Blocked(lines) | Outlook::Impossible(lines) | Outlook::Unknown(lines) => {
                format!("under way, and waits: {}", lines.join("; "))
            }
        }
    }
}

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Report => "report",
        Mode::Plan => "plan",
        Mode::Approve => "approve",
        Mode::Auto => "auto",
    }
}
