//! When it may be the turn of each node, if all goes as usual.
//!
//! As many nodes at a time as the caps allow, each for as long as reboots of its pool take, inside the
//! windows. A guess for people: nothing is decided by it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use palisade_report::Moment;

use super::choose::Choice;
use super::pass::Candidate;
use super::pass::Pass;
use super::pool::PoolView;
use crate::drain::Outlook;
use crate::fleet::Role;
use crate::gate::Gate;
use crate::policy::Pool;
use crate::window::Opening;

/// Windows of a pool that are looked ahead for: beyond them a guess is worth nothing.
const MAX_WINDOWS: usize = 16;

/// Nodes at a time that are told apart; with more the end differs by minutes.
const MAX_LANES: usize = 256;

/// The lanes of one pool.
struct Lanes<'a> {
    pool: &'a Pool,
    /// When each lane is free, the first one on top.
    free: BinaryHeap<Reverse<Moment>>,
    /// From and until when starts are possible; without end in the last one.
    openings: Vec<(Moment, Option<Moment>)>,
    needed_secs: i64,
    drain_secs: i64,
}

/// Gives each candidate its time, in order.
pub(super) fn foresee(pass: &mut Pass<'_>) {
    let cap = pass.policy.cluster.max_unavailable.of(pass.census.cluster.members);
    let mut lanes: Vec<Lanes<'_>> = Vec::with_capacity(pass.pools.len());
    for (view, count) in pass.pools.iter().zip(&pass.census.pools) {
        let of_pool = view.pool.max_unavailable.of(count.whole.members);
        // Nodes that go now are counted as moving by the choice already.
        let going = pass.candidates.iter().filter(|candidate| candidate.choice != Choice::Waits);
        let going = going.filter(|candidate| candidate.member.pool == lanes.len()).count();
        let moving = count.moving.saturating_sub(going);
        lanes.push(Lanes::of(view, of_pool.min(cap).clamp(1, MAX_LANES), moving, pass.now));
    }
    let mut workers_end = pass.now;
    let now = pass.now;
    for candidate in &mut pass.candidates {
        let Some(earliest) = earliest(candidate, now) else { continue };
        let Some(lanes) = lanes.get_mut(candidate.member.pool) else { continue };
        let is_control_plane = candidate.member.role == Role::ControlPlane;
        let from = if is_control_plane { earliest.max(workers_end) } else { earliest };
        let needed_secs = lanes.needed_secs(candidate.outlook.as_ref());
        let eta = lanes.take(from, needed_secs);
        let end = eta.map(|eta| eta.plus(needed_secs));
        workers_end = end.map_or(workers_end, |end| end.max(workers_end));
        candidate.eta = eta;
    }
}

/// From when on only others keep a node from going; nothing if more than time must pass.
fn earliest(candidate: &Candidate<'_>, now: Moment) -> Option<Moment> {
    let mut from = now;
    for blocker in &candidate.shut.blockers {
        let waits_for_others = matches!(
            blocker.gate,
            Gate::ClusterBudget
                | Gate::PoolBudget
                | Gate::ZoneBudget
                | Gate::TopologyBudget
                | Gate::ControlPlane
                | Gate::Order
                | Gate::Wave
        );
        match blocker.next_check {
            Some(next) => from = from.max(next),
            None if waits_for_others => {}
            None => return None,
        }
    }
    Some(from)
}

impl<'a> Lanes<'a> {
    fn of(view: &PoolView<'a>, width: usize, moving: usize, now: Moment) -> Self {
        let needed_secs = view.takes.whole_secs().max(1);
        let busy = now.plus(needed_secs);
        let free = (0..width).map(|lane| Reverse(if lane < moving { busy } else { now })).collect();
        let openings = match view.opening {
            Opening::Open { until } => vec![(now, until)],
            Opening::Shut { opens_at: None } => Vec::new(),
            Opening::Shut { opens_at: Some(at) } => vec![opening(view.pool, at)],
        };
        let drain_secs = view.takes.drain_secs;
        Self { pool: view.pool, free, openings, needed_secs, drain_secs }
    }

    /// Seconds that a node takes. What is usual is a drain in one round; each further one takes as long
    /// again.
    fn needed_secs(&self, outlook: Option<&Outlook>) -> i64 {
        let further = match outlook {
            Some(Outlook::Serial { rounds, .. }) => i64::from(rounds.saturating_sub(1)),
            Some(
                Outlook::Clear | Outlook::Blocked(_) | Outlook::Impossible(_) | Outlook::Unknown(_),
            )
            | None => 0,
        };
        self.needed_secs.saturating_add(self.drain_secs.saturating_mul(further))
    }

    /// The time of the next node, not before `from`.
    fn take(&mut self, from: Moment, needed_secs: i64) -> Option<Moment> {
        let Reverse(free) = *self.free.peek()?;
        let eta = self.fit(from.max(free))?;
        self.free.pop();
        self.free.push(Reverse(eta.plus(needed_secs)));
        Some(eta)
    }

    /// The first moment from `from` on at which the rest of a window is long enough.
    fn fit(&mut self, from: Moment) -> Option<Moment> {
        for index in 0..MAX_WINDOWS {
            let (open, until) = match self.openings.get(index) {
                Some(opening) => *opening,
                None => self.look_further()?,
            };
            let start = from.max(open);
            if until.is_none_or(|until| until.since(start) >= self.needed_secs) {
                return Some(start);
            }
        }
        None
    }

    fn look_further(&mut self) -> Option<(Moment, Option<Moment>)> {
        let (_, until) = *self.openings.last()?;
        let at = self.pool.windows.next_open(until?.plus(1))?;
        let next = opening(self.pool, at);
        self.openings.push(next);
        Some(next)
    }
}

fn opening(pool: &Pool, at: Moment) -> (Moment, Option<Moment>) {
    match pool.windows.opening(at) {
        Opening::Open { until } => (at, until),
        // It said that it opens now; a window of no length serves nobody.
        Opening::Shut { .. } => (at, Some(at)),
    }
}
