//! Gates of a whole pool, looked at once for all of its nodes.

use std::sync::Arc;

use palisade_report::Moment;

use super::census::PoolCount;
use super::learned::Takes;
use crate::fleet::Failure;
use crate::fleet::Fleet;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::Request;
use crate::window::Opening;

/// A pool at one moment.
#[derive(Clone, Debug)]
pub(super) struct PoolView<'a> {
    pub(super) pool: &'a Pool,
    pub(super) name: Arc<str>,
    /// Gates of the pool that are shut.
    pub(super) shut: Vec<Blocker>,
    pub(super) takes: Takes,
    pub(super) opening: Opening,
    /// Seconds that are left of window and until the next freeze; `None` without an end in sight.
    pub(super) remaining_secs: Option<i64>,
    /// Failures that count.
    pub(super) failures: usize,
}

/// What a pool is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A node is to be claimed.
    Start,
    /// A node that was claimed and is empty is to be let go.
    Grant,
}

impl<'a> PoolView<'a> {
    pub(super) fn of(
        count: &PoolCount<'a>,
        fleet: &Fleet,
        failed: &[&Request],
        policy: &Policy,
        purpose: Purpose,
        now: Moment,
    ) -> Self {
        let pool = count.pool;
        let takes = Takes::of(pool, &fleet.past);
        let opening = pool.windows.opening(now);
        let failures: Vec<Moment> =
            unforgiven(&pool.name, fleet, failed, now).into_iter().map(|it| it.at).collect();
        let mut view = Self {
            pool,
            name: Arc::from(pool.name.as_str()),
            shut: Vec::new(),
            takes,
            opening,
            remaining_secs: remaining(pool, policy, opening, now),
            failures: failures.len(),
        };
        view.look_at_mode(now);
        view.look_at_failures(&failures);
        view.look_at_pause(policy, now);
        view.look_at_freezes(policy, now);
        view.look_at_window(purpose, now);
        view
    }

    fn look_at_mode(&mut self, now: Moment) {
        let value = match self.pool.mode {
            Mode::Report => "report: nothing is started",
            Mode::Plan => "plan: nothing is started",
            Mode::Approve | Mode::Auto => return,
        };
        self.shut.push(shut(Gate::Mode, value.to_owned(), now, None));
    }

    fn look_at_failures(&mut self, failures: &[Moment]) {
        self.shut.extend(over_budget(self.pool, failures));
    }

    fn look_at_pause(&mut self, policy: &Policy, now: Moment) {
        let name = &self.pool.name;
        if let Some(why) = &policy.cluster.paused {
            self.shut.push(shut(Gate::Paused, format!("the cluster: {why}"), now, None));
        }
        if let Some(why) = &self.pool.paused {
            self.shut.push(shut(Gate::Paused, format!("pool {name}: {why}"), now, None));
        }
    }

    fn look_at_freezes(&mut self, policy: &Policy, now: Moment) {
        for freeze in policy.cluster.freezes.iter().chain(&self.pool.freezes) {
            if freeze.covers(now) {
                let value = format!("{}, until {}", freeze.reason, freeze.to);
                self.shut.push(shut(Gate::Freeze, value, freeze.from, Some(freeze.to)));
            }
        }
    }

    fn look_at_window(&mut self, purpose: Purpose, now: Moment) {
        if purpose == Purpose::Grant && self.pool.allow_overrun {
            return;
        }
        let opens = match self.opening {
            Opening::Shut { opens_at } => {
                let value = opens_at.map_or_else(
                    || "no window opens in the coming weeks".to_owned(),
                    |at| format!("the next window opens at {at}"),
                );
                self.shut.push(shut(Gate::Window, value, now, opens_at));
                return;
            }
            Opening::Open { until } => until,
        };
        let needed = match purpose {
            Purpose::Start => self.takes.whole_secs(),
            Purpose::Grant => self.takes.after_drain_secs(),
        };
        if let Some(left) = self.remaining_secs.filter(|left| *left < needed) {
            let value = format!("{left} s are left, a reboot takes {needed} s");
            // The next window may be as short; when it opens this is looked at again.
            let next = opens.and_then(|until| self.pool.windows.next_open(until.plus(1)));
            self.shut.push(shut(Gate::Fit, value, now, next));
        }
    }
}

/// Requests that wait for a person, or did.
pub(super) fn failed(fleet: &Fleet) -> Vec<&Request> {
    fleet.requests.values().filter(|request| request.failed().next().is_some()).collect()
}

/// A gate that is shut.
pub(super) const fn shut(
    gate: Gate,
    value: String,
    since: Moment,
    next_check: Option<Moment>,
) -> Blocker {
    Blocker { gate, value, since, next_check }
}

/// A freeze that begins ends a window before its time.
fn remaining(pool: &Pool, policy: &Policy, opening: Opening, now: Moment) -> Option<i64> {
    let window = match opening {
        Opening::Shut { .. } => Some(now),
        Opening::Open { until } => until,
    };
    let freezes = policy.cluster.freezes.iter().chain(&pool.freezes);
    let begins = freezes.map(|freeze| freeze.from).filter(|from| *from > now);
    begins.chain(window).min().map(|end| end.since(now))
}

/// Failures of the pool of this name that no person has forgiven, oldest first: those by which its
/// failure budget goes.
#[must_use]
pub fn failures_of(pool: &str, fleet: &Fleet, now: Moment) -> Vec<Failure> {
    unforgiven(pool, fleet, &failed(fleet), now)
}

/// That the failures of a pool halt it; `None`: they do not.
#[must_use]
pub fn halted(pool: &Pool, fleet: &Fleet, now: Moment) -> Option<Blocker> {
    let failures = failures_of(&pool.name, fleet, now);
    over_budget(pool, &failures.iter().map(|it| it.at).collect::<Vec<_>>())
}

fn over_budget(pool: &Pool, failures: &[Moment]) -> Option<Blocker> {
    let budget = pool.failure_budget;
    let at = reached_at(failures, budget.failures, budget.within_secs)?;
    let value = format!(
        "{} within {} s, {} halt the pool: look at the nodes, release those that wait for it \
         (POST /v1/reboots/NODE/release), then the pool (POST /v1/pools/{}/release)",
        failures.len(),
        budget.within_secs,
        budget.failures.max(1),
        pool.name
    );
    Some(shut(Gate::FailureBudget, value, at, None))
}

/// Those that requests tell of count even if the audit does not.
fn unforgiven(pool: &str, fleet: &Fleet, failed: &[&Request], now: Moment) -> Vec<Failure> {
    let past = &fleet.past;
    let released = past.released.get(pool).copied();
    // Whoever releases what failed has looked at it.
    let looked_at = |failure: &Failure| {
        fleet.requests.get(&failure.node).is_some_and(|request| failure.is_released(request, now))
    };
    let counts = |failure: &Failure| {
        failure.pool == pool
            && released.is_none_or(|released| failure.at > released)
            && !looked_at(failure)
    };
    let told = past.failures.iter().filter(|failure| counts(failure)).cloned();
    let untold = failed.iter().flat_map(|request| past.untold(request, now)).filter(counts);
    let mut failures: Vec<Failure> = told.chain(untold).collect();
    failures.sort_by(|one, other| (one.at, &one.node).cmp(&(other.at, &other.node)));
    failures
}

/// When so many failures were within such a time, first. That halts a pool until it is released, so
/// the failures need not be recent.
fn reached_at(failures: &[Moment], budget: u32, within_secs: i64) -> Option<Moment> {
    // Not even a budget of 0 halts a pool that never failed; there is a mode for that.
    let budget = usize::try_from(budget.max(1)).unwrap_or(usize::MAX);
    let last_of = failures.windows(budget);
    last_of
        .filter_map(|group| Some((group.first()?, group.last()?)))
        .find(|(first, last)| last.since(**first) <= within_secs)
        .map(|(_, last)| *last)
}
