//! One pass over the fleet: everything that is looked at once, then one node after another.

use palisade_report::Moment;

use super::census::Census;
use super::census::Member;
use super::census::is_moving;
use super::choose::Choice;
use super::control_plane::ControlPlane;
use super::gates::AGENT_SILENT_SECS;
use super::gates::Case;
use super::gates::Shut;
use super::gates::look;
use super::need::Wanted;
use super::need::Wants;
use super::pool::PoolView;
use super::pool::Purpose;
use super::pool::failed;
use super::pool::shut;
use super::wave::Rollouts;
use crate::drain::Class;
use crate::drain::Outlook;
use crate::drain::classify;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Pod;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::DrainPolicy;
use crate::policy::Policy;

/// A single silent agent is a node in trouble, not a mass.
const LEAST_MASS: usize = 2;

/// What moving a pod of a StatefulSet costs beside another: its successor waits for its end.
const STATEFUL_COST: u32 = 5;

/// What evicting a Job costs: its work is done again.
const JOB_COST: u32 = 3;

/// A node that needs a reboot and holds no place.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    /// Its index among the members.
    pub(super) index: usize,
    pub(super) member: Member<'a>,
    pub(super) wanted: Wanted<'a>,
    /// Its pods; nothing if nobody asked for them, or why they cannot be told.
    pub(super) pods: Result<Option<&'a [Pod]>, &'a str>,
    pub(super) shut: Shut,
    pub(super) choice: Choice,
    /// What its drain would meet beside those that go before it, where its pods are known.
    pub(super) outlook: Option<Outlook>,
    pub(super) eta: Option<Moment>,
}

/// Everything that one plan looks at.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) policy: &'a Policy,
    pub(super) now: Moment,
    pub(super) census: Census<'a>,
    pub(super) pools: Vec<PoolView<'a>>,
    pub(super) control_plane: ControlPlane<'a>,
    pub(super) rollouts: Rollouts<'a>,
    /// Why nothing starts anywhere.
    pub(super) dead_man: Option<Blocker>,
    /// In the order in which they are taken.
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Members by index of which it cannot be told whether they need a reboot, and why not.
    pub(super) unknown: Vec<(usize, &'a str)>,
}

impl<'a> Pass<'a> {
    /// Looks at everything that a node passes or not by itself; who goes is not decided yet.
    pub(super) fn of(fleet: &'a Fleet, policy: &'a Policy, now: Moment) -> Self {
        let census = Census::of(fleet, policy);
        let failed = failed(fleet);
        let view = |count| PoolView::of(count, fleet, &failed, policy, Purpose::Start, now);
        let mut pass = Self {
            fleet,
            policy,
            now,
            pools: census.pools.iter().map(view).collect(),
            control_plane: ControlPlane::of(&census, fleet, policy),
            dead_man: dead_man(&census, policy, now).or_else(|| after_storm(fleet, policy, now)),
            census,
            rollouts: Rollouts::default(),
            candidates: Vec::new(),
            unknown: Vec::new(),
        };
        pass.find_candidates();
        pass
    }

    fn find_candidates(&mut self) {
        let mut candidates = Vec::new();
        for (index, member) in self.census.members.iter().enumerate() {
            let Some(view) = self.pools.get(member.pool) else { continue };
            if member.flight.is_some() {
                continue;
            }
            let wanted = match Wants::of(member, view.pool, self.now) {
                Wants::Reboot(wanted) => wanted,
                Wants::Nothing => continue,
                Wants::Unknown(why) => {
                    self.unknown.push((index, why));
                    continue;
                }
            };
            self.rollouts.note(member.pool, wanted.digest, wanted.since);
            candidates.push(Candidate {
                index,
                member: *member,
                wanted,
                pods: pods_of(self.fleet, member),
                shut: self.own_gates(member, &wanted, view),
                choice: Choice::Waits,
                outlook: None,
                eta: None,
            });
        }
        let own = self.fleet.own_node.as_ref();
        candidates.sort_by_cached_key(|candidate| {
            let Candidate { member, wanted, pods, .. } = candidate;
            let drain = self.pools.get(member.pool).map(|view| &view.pool.drain);
            let cost = pods.ok().flatten().zip(drain).map_or(0, |(pods, drain)| cost(pods, drain));
            let is_last = own == Some(member.uid);
            let is_later = !wanted.is_first();
            (member.role, is_last, is_later, member.zone, wanted.since, cost, member.uid)
        });
        self.candidates = candidates;
    }

    /// Gates of the cluster, of the pool and of the node that are shut, whoever else waits.
    pub(super) fn own_gates(
        &self,
        member: &Member<'a>,
        wanted: &Wanted<'a>,
        view: &PoolView<'a>,
    ) -> Shut {
        let Self { fleet, now, .. } = *self;
        let purpose = Purpose::Start;
        let case = Case { fleet, pool: view.pool, member, wanted, purpose, now };
        let mut found = Shut::default();
        let of_cluster = self.dead_man.iter().chain(&view.shut).cloned();
        for blocker in of_cluster.chain(self.control_plane.shut(member, now)) {
            found.add(blocker, &case);
        }
        look(&case, &mut found);
        found
    }

    /// Whether the cluster is a single node that may be rebooted without a drain.
    pub(super) fn is_single(&self) -> bool {
        is_single(self.fleet, self.policy)
    }
}

/// Whether the cluster is a single node that may be rebooted without a drain: there is nowhere to go.
///
/// Such a node is started without a look at its pods, so whoever steps its request shows an empty
/// [`crate::seen::DrainSeen`] and reads no pods: an eviction would end the collector itself, whose
/// replacement finds the only node cordoned.
#[must_use]
pub fn is_single(fleet: &Fleet, policy: &Policy) -> bool {
    policy.cluster.single_node && fleet.nodes.len() == 1
}

/// Whether too much of the fleet is silent for anything to start. Whoever asks keeps the moment for
/// [`Fleet::frozen_at`].
#[must_use]
pub fn is_frozen(fleet: &Fleet, policy: &Policy, now: Moment) -> bool {
    dead_man(&Census::of(fleet, policy), policy, now).is_some()
}

/// Why nothing starts yet although the fleet is not frozen any more: what silenced it may come again,
/// and agents that have just come back tell of the time before.
fn after_storm(fleet: &Fleet, policy: &Policy, now: Moment) -> Option<Blocker> {
    let at = fleet.frozen_at?;
    let secs = policy.cluster.calm_secs;
    let until = at.plus(secs);
    (now < until).then(|| {
        let value =
            format!("too many agents were silent until {at}, {secs} s of calm are asked for");
        shut(Gate::DeadMan, value, at, Some(until))
    })
}

/// Why the fleet is frozen, if too much of it is silent. Nodes on their way through a reboot are silent
/// because of us.
pub(super) fn dead_man(census: &Census<'_>, policy: &Policy, now: Moment) -> Option<Blocker> {
    let (silent, all) = silent(census, now);
    let share = all.saturating_mul(usize::from(policy.cluster.dead_man_percent));
    if silent < LEAST_MASS || silent.saturating_mul(100) <= share {
        return None;
    }
    let percent = policy.cluster.dead_man_percent;
    let value =
        format!("{silent} of {all} agents are silent, more than {percent} % freeze the fleet");
    Some(shut(Gate::DeadMan, value, now, None))
}

/// Agents that are silent, and nodes.
pub(super) fn silent(census: &Census<'_>, now: Moment) -> (usize, usize) {
    let is_silent = |member: &&Member<'_>| {
        !member.flight.is_some_and(is_moving)
            && member.heard_at.is_none_or(|at| now.since(at) > AGENT_SILENT_SECS)
    };
    (census.members.iter().filter(is_silent).count(), census.members.len())
}

/// What a drain costs its pods: the cheaper node goes first.
fn cost(pods: &[Pod], policy: &DrainPolicy) -> u32 {
    let mut cost: u32 = 0;
    for pod in pods.iter().filter(|pod| classify(pod, policy) == Class::Evicted) {
        let kind = pod.owner.as_ref().map_or("", |owner| owner.kind.as_str());
        cost = cost.saturating_add(match kind {
            "StatefulSet" => STATEFUL_COST,
            "Job" => JOB_COST,
            _ => 1,
        });
    }
    cost
}

/// The pods of a node; nothing if nobody asked for them, or why they cannot be told.
pub(super) fn pods_of<'a>(
    fleet: &'a Fleet,
    member: &Member<'_>,
) -> Result<Option<&'a [Pod]>, &'a str> {
    match &fleet.pods {
        Known::Known(pods) => Ok(pods.get(member.uid).map(AsRef::as_ref)),
        Known::Unknown(why) => Err(why),
    }
}

/// The word of a role, for people.
pub(super) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::ControlPlane => "control-plane",
    }
}
