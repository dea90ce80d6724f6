//! Who goes, one node after another in order: each choice sees those before it.
//!
//! A smaller cap of the cluster ends the same row of choices earlier and changes nothing before its
//! end: that is why lowering it never lets a node in. So who waits for room in the cluster is overtaken
//! by nobody, not even by a node that is away already and would take no more room.

use std::collections::BTreeSet;

use super::census::Full;
use super::census::Member;
use super::census::is_moving;
use super::gates::Case;
use super::gates::Shut;
use super::pass::Candidate;
use super::pass::Pass;
use super::pass::pods_of;
use super::pool::Purpose;
use super::pool::shut;
use super::wave::Rollout;
use crate::drain::Batch;
use crate::drain::Outlook;
use crate::fleet::Pod;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::request::State;

/// What was decided about a node that wants a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It is claimed now.
    Start,
    /// It would be, were its pods known.
    Ask,
    /// A gate is shut.
    Waits,
}

/// What was chosen so far.
#[derive(Debug)]
struct Chosen<'a> {
    batch: Batch<'a>,
    pools: Vec<PoolTurn<'a>>,
    /// Workers that go now, or would if there were room.
    workers: usize,
    /// Whether somebody waits for room in the cluster and for nothing else.
    is_full: bool,
}

/// What was chosen of one pool.
#[derive(Clone, Debug, Default)]
struct PoolTurn<'a> {
    zones: BTreeSet<&'a str>,
    /// Nodes that go now, or would if there were room.
    takes_turns: usize,
}

/// Decides about each candidate of the pass.
pub(super) fn choose(pass: &mut Pass<'_>) {
    let mut chosen = Chosen::of(pass);
    let mut candidates = std::mem::take(&mut pass.candidates);
    for candidate in &mut candidates {
        decide(candidate, pass, &mut chosen);
        candidate.shut.blockers.sort_by_key(|blocker| blocker.gate);
    }
    pass.candidates = candidates;
}

impl<'a> Chosen<'a> {
    fn of(pass: &Pass<'a>) -> Self {
        let mut chosen = Self {
            batch: Batch::new(&pass.fleet.budgets).at(pass.now),
            pools: vec![PoolTurn::default(); pass.pools.len()],
            workers: 0,
            is_full: false,
        };
        for member in &pass.census.members {
            let Some(state) = member.flight else { continue };
            if is_moving(state)
                && let Some(turn) = chosen.pools.get_mut(member.pool)
            {
                turn.zones.insert(member.zone);
            }
            // Their evictions are still to come, or are not in the budgets' status yet.
            if matches!(state, State::Claimed | State::Cordoning | State::Draining) {
                chosen.evict(member, pods_of(pass.fleet, member), pass);
            }
        }
        chosen
    }

    fn evict(
        &mut self,
        member: &Member<'a>,
        pods: Result<Option<&'a [Pod]>, &str>,
        pass: &Pass<'a>,
    ) {
        let Some(view) = pass.pools.get(member.pool) else { return };
        if let Ok(Some(pods)) = pods {
            self.batch.add(pods, &view.pool.drain);
        }
    }

    /// Remembers a node whose turn it is, or would be.
    fn take_turn(&mut self, member: &Member<'a>) {
        if let Some(turn) = self.pools.get_mut(member.pool) {
            turn.takes_turns = turn.takes_turns.saturating_add(1);
        }
        if member.role == Role::Worker {
            self.workers = self.workers.saturating_add(1);
        }
    }
}

fn decide<'a>(candidate: &mut Candidate<'a>, pass: &mut Pass<'a>, chosen: &mut Chosen<'a>) {
    let Some(view) = pass.pools.get(candidate.member.pool) else { return };
    if let Ok(Some(pods)) = candidate.pods
        && !pass.is_single()
    {
        candidate.outlook = Some(chosen.batch.look(pods, &view.pool.drain));
    }
    if !candidate.shut.is_empty() {
        return;
    }
    let Candidate { member, wanted, pods, shut: found, choice, outlook, .. } = candidate;
    let now = pass.now;
    let purpose = Purpose::Start;
    let case = Case { fleet: pass.fleet, pool: view.pool, member, wanted, purpose, now };

    for blocker in others_first(member, pass, chosen) {
        found.add(blocker, &case);
    }
    for Full { gate, value } in pass.census.full(member) {
        found.add(shut(gate, value, now, None), &case);
    }
    if let Some(blocker) = zone_first(member, pass, chosen) {
        found.add(blocker, &case);
    }
    let waits_for_room = |blocker: &Blocker| blocker.gate == Gate::ClusterBudget;
    if chosen.is_full && !found.blockers.iter().any(waits_for_room) {
        let value = "nodes before it wait for room in the cluster".to_owned();
        found.add(shut(Gate::ClusterBudget, value, now, None), &case);
    }
    chosen.is_full |= !found.is_empty() && found.blockers.iter().all(waits_for_room);
    if found.is_empty() {
        let (index, digest) = (member.pool, wanted.digest);
        let moving = pass.census.pools.get(index).map_or(0, |count| count.moving);
        let rollout = pass.rollouts.of(index, digest, &pass.census, &pass.fleet.past, now);
        if let Some(blocker) = rollout.and_then(|rollout| wave(&rollout, member, moving, &case)) {
            found.add(blocker, &case);
        }
    }
    if !found.is_empty() {
        if is_turn(found) && !pass.census.is_stopped(member) {
            chosen.take_turn(member);
        }
        return;
    }

    let drain = look_at_drain(*pods, pass, outlook.as_ref());
    *choice = match drain {
        Drains::Free => Choice::Start,
        Drains::NotRead => Choice::Ask,
        Drains::Shut(value) => {
            found.add(shut(Gate::Drain, value, now, None), &case);
            return;
        }
    };
    if *choice == Choice::Ask {
        let value = "its pods have not been read yet".to_owned();
        found.add(shut(Gate::Drain, value, now, Some(now)), &case);
    }
    chosen.take_turn(member);
    chosen.evict(member, *pods, pass);
    if let Some(turn) = chosen.pools.get_mut(member.pool) {
        turn.zones.insert(member.zone);
    }
    pass.census.claim(member);
}

/// Nodes that go before this one whatever the caps say.
fn others_first(member: &Member<'_>, pass: &Pass<'_>, chosen: &Chosen<'_>) -> Vec<Blocker> {
    let now = pass.now;
    let census = &pass.census;
    let mut found = Vec::new();
    let mut wait = |gate, value: String| found.push(shut(gate, value, now, None));
    if census.control_plane_flight > 0 {
        let value = "a node of the control plane is under way, and nothing beside it";
        wait(Gate::ControlPlane, value.to_owned());
    }
    if member.role == Role::ControlPlane {
        if census.worker_flight > 0 {
            wait(Gate::ControlPlane, format!("{} workers are under way", census.worker_flight));
        }
        if chosen.workers > 0 {
            wait(Gate::ControlPlane, format!("{} workers are first", chosen.workers));
        }
    }
    if pass.fleet.own_node.as_ref() == Some(member.uid) {
        let moving = census.pools.get(member.pool).map_or(0, |count| count.moving);
        let turns = chosen.pools.get(member.pool).map_or(0, |turn| turn.takes_turns);
        let first = moving.saturating_add(turns);
        if first > 0 {
            wait(
                Gate::Order,
                format!("the collector runs here: {first} nodes of the pool are first"),
            );
        }
    }
    found
}

fn wave(
    rollout: &Rollout<'_>,
    member: &Member<'_>,
    moving: usize,
    case: &Case<'_>,
) -> Option<Blocker> {
    if let Some(blocker) = &rollout.shut {
        return Some(blocker.clone());
    }
    if rollout.only.is_some_and(|only| !only.matches(&member.node.labels)) {
        let value = "the selected canaries are first".to_owned();
        return Some(shut(Gate::Wave, value, case.now, None));
    }
    let limit = rollout.limit?;
    let done = rollout.done;
    if done.saturating_add(moving) < limit {
        return None;
    }
    let value = format!("{done} nodes are done and {moving} under way, this wave has {limit}");
    Some(shut(Gate::Wave, value, case.now, None))
}

/// One zone after another, as many at once as the pool says.
fn zone_first(member: &Member<'_>, pass: &Pass<'_>, chosen: &Chosen<'_>) -> Option<Blocker> {
    let at_once = usize::try_from(pass.pools.get(member.pool)?.pool.zones_at_once).ok()?;
    let zones = &chosen.pools.get(member.pool)?.zones;
    let adds = usize::from(!zones.contains(member.zone));
    if at_once == 0 || zones.len().saturating_add(adds) <= at_once {
        return None;
    }
    let zones: Vec<&str> = zones.iter().copied().collect();
    let value = format!("zone {} is first", zones.join(", "));
    Some(shut(Gate::ZoneBudget, value, pass.now, None))
}

/// Whether only others keep a node from going.
fn is_turn(found: &Shut) -> bool {
    found.blockers.iter().all(|blocker| {
        matches!(
            blocker.gate,
            Gate::ClusterBudget
                | Gate::PoolBudget
                | Gate::ZoneBudget
                | Gate::TopologyBudget
                | Gate::Order
                | Gate::Wave
        )
    })
}

/// Whether a node could be emptied.
enum Drains {
    Free,
    NotRead,
    Shut(String),
}

fn look_at_drain(
    pods: Result<Option<&[Pod]>, &str>,
    pass: &Pass<'_>,
    outlook: Option<&Outlook>,
) -> Drains {
    if pass.is_single() {
        return Drains::Free;
    }
    match (pods, outlook) {
        (Err(why), _) => Drains::Shut(format!("its pods cannot be told: {why}")),
        (Ok(_), None) => Drains::NotRead,
        (Ok(_), Some(outlook)) => drain_value(outlook).map_or(Drains::Free, Drains::Shut),
    }
}

/// What keeps a node from being drained now, in words.
pub(super) fn drain_value(outlook: &Outlook) -> Option<String> {
    match outlook {
        Outlook::Clear => None,
        Outlook::Serial { shared, .. } if shared.is_empty() => None,
        Outlook::Serial { shared, .. } => {
            Some(format!("nodes that are drained now use up budget {}", shared.join(", ")))
        }
        Outlook::Blocked(lines) => Some(lines.join("; ")),
        Outlook::Impossible(lines) => Some(format!("never, as things are: {}", lines.join("; "))),
        Outlook::Unknown(lines) => Some(format!("cannot be told: {}", lines.join("; "))),
    }
}
