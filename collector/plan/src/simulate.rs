//! The simulator: the same `plan`, `step` and `drain` as in the collector, against a fleet that exists
//! only in memory, with everything that goes wrong in a year within some hours.
//!
//! ```text
//! snapshot, policy, seed ──> World: machines, API server, pods, people, faults
//!                              │  ^ calls that fail, processes that die
//!                              v  │
//!                            Collector (one or two): look, plan, claim, step, effects
//!                              │
//!                              └── Record ──> Laws 1-24, assertions, timeline ──> Outcome
//! ```
//!
//! Time jumps from event to event. The same seed gives the same bytes. What it does not model: network
//! latency below a second, the scheduler's choice of nodes, and what a pod does.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeUid;

pub use assertion::Assertion;
pub use assertion::MalformedAssertion;
pub use assertion::MalformedDuration;
pub use assertion::MalformedLabels;
pub use assertion::Violation;
pub use assertion::duration_secs;
pub use assertion::labels;
pub use build::START;
pub use fault::Profile;
pub use invent::invent;
pub use snapshot::Snapshot;
pub use snapshot::SnapshotError;
pub use tally::Fault;
pub use tally::Kills;
pub use tally::Move;
pub use tally::Tally;
pub use tally::words;

use self::assertion::Watch;
use self::chance::Chance;
use self::collector::Collector;
use self::fault::Faults;
use self::timeline::Timeline;
use self::view::View;
use self::world::Event;
use self::world::World;
use crate::fleet::Fleet;
use crate::fleet::Need;
use crate::law::Author;
use crate::law::Breach;
use crate::law::What;
use crate::law::is_unended;
use crate::plan::Plan;
use crate::plan::Verdict;
use crate::plan::plan;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::Request;
use crate::request::State;
use crate::seen::Seen;
use crate::step::Step;
use crate::step::step;

mod assertion;
mod build;
mod chance;
mod collector;
mod fault;
mod invent;
mod machine;
mod nature;
mod people;
mod snapshot;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod timeline;
mod view;
mod workload;
mod world;

/// What a run is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where every draw comes from.
    pub seed: u64,
    /// How much goes wrong.
    pub faults: Profile,
    /// For how long things go wrong, in seconds.
    pub fault_secs: i64,
    /// For how long it may go on after that, in seconds.
    pub rest_secs: i64,
    /// Whether the timeline is kept.
    pub timeline: bool,
    /// What must hold.
    pub assertions: Vec<Assertion>,
}

/// Three hours of faults, and two days to recover from them.
impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            faults: Profile::None,
            fault_secs: 3 * 3600,
            rest_secs: 48 * 3600,
            timeline: false,
            assertions: Vec::new(),
        }
    }
}

/// What came of a run.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it began.
    pub start: Moment,
    /// When it ended.
    pub end: Moment,
    /// When the last node was done, if one was.
    pub finished_at: Option<Moment>,
    /// Nodes at its begin.
    pub nodes: usize,
    /// Events that happened.
    pub events: u64,
    /// Reboots that a grant led to.
    pub reboots: u64,
    /// What was done to it.
    pub tally: Tally,
    /// How often each law was kept where it could have been broken.
    pub kept: BTreeMap<u8, u64>,
    /// Laws that were broken, oldest first.
    pub broken: Vec<Breach>,
    /// Assertions that did not hold.
    pub violated: Vec<Violation>,
    /// Nodes that still need a reboot, by name, and what they wait for.
    pub waiting: BTreeMap<String, String>,
    /// What happened, line by line.
    pub timeline: Vec<String>,
}

/// Seconds between two looks at whether it is over.
const LOOK_SECS: i64 = 300;

/// Nothing is written for so long: it is over. Longer than any bake time of a default policy.
const QUIET_SECS: i64 = 2 * 3600;

/// What decides about a request.
pub(crate) type Decide = fn(&Request, &Seen, &Pool, Moment) -> Step;

/// What decides who goes.
pub(crate) type Planner = fn(&Fleet, &Policy, Moment) -> Plan;

/// What runs in a collector: [`plan`] and [`step`] in a shell as it should be, or in tests something
/// that breaks a law.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    /// What decides about a request.
    pub(crate) decide: Decide,
    /// What decides who goes.
    pub(crate) planner: Planner,
    /// What is wrong with the shell, if something is.
    pub(crate) flaw: Option<Flaw>,
}

/// What is wrong with a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It acts without leading.
    ActsForever,
    /// It marks nodes by their name instead of by the request.
    MarksByName,
    /// It evicts what it can, whatever cannot be evicted beside it.
    EvictsAnyway,
    /// It tells every alert with every write.
    TellsAgain,
}

impl Build {
    /// As it should be.
    pub(crate) const SOUND: Self = Self { decide: step, planner: plan, flaw: None };

    /// Whether the shell has this flaw.
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// For how long what is on its way at the end is followed, in seconds: longer than any way from a claim
/// to its end, with a drain of an hour and a reboot of half an hour.
const SETTLE_SECS: i64 = 6 * 3600;

/// Runs a fleet under a policy.
pub fn simulate(fleet: &Fleet, policy: &Policy, start: Moment, options: &Options) -> Outcome {
    simulate_with(fleet, policy, start, options, Build::SOUND)
}

fn simulate_with(
    fleet: &Fleet,
    policy: &Policy,
    start: Moment,
    options: &Options,
    build: Build,
) -> Outcome {
    let mut chance = Chance::new(options.seed);
    let faults = Faults::new(options.faults);
    let mut world = World::new(
        start,
        Arc::new(policy.clone()),
        faults,
        chance.split(),
        Timeline::new(start, options.timeline),
        Watch::new(&options.assertions),
    );
    world.build = build;
    world.fill(fleet, options.faults);
    let collectors = if options.faults == Profile::All { 2 } else { 1 };
    for id in 0..collectors {
        world.collectors.push(Some(Collector::new(id, 0, start)));
        let secs = i64::try_from(id).unwrap_or(0);
        world.at(start.plus(secs), Event::Start(id));
    }
    let fault_secs = if options.faults == Profile::None { 0 } else { options.fault_secs };
    let troubles = world.faults.troubles(&mut chance, fault_secs);
    for (secs, trouble) in troubles {
        world.after(secs, Event::Trouble(trouble));
    }
    let faults_end = start.plus(fault_secs);
    world.run_until(faults_end);
    let latest = faults_end.plus(options.rest_secs);
    while world.now < latest && !is_over(&world, faults_end) {
        let next = world.now.plus(LOOK_SECS).min(latest);
        world.run_until(next);
    }
    let cut = world.now;
    settle(&mut world, cut);
    end(world, fleet, start, cut, options)
}

/// Gives what is on its way at the cut its time: where nodes go one after the other for days, some of them
/// always is.
fn settle(world: &mut World, cut: Moment) {
    let latest = cut.plus(SETTLE_SECS);
    let is_open = |world: &World| world.store.requests.values().any(|it| is_unended(it, cut));
    while world.now < latest && is_open(world) {
        world.run_until(world.now.plus(LOOK_SECS));
    }
}

/// Whether nothing is on its way any more.
fn is_over(world: &World, faults_end: Moment) -> bool {
    let moves = world.store.requests.values().any(|request| {
        let state = request.progress.state;
        let stays = matches!(state, State::Quarantined | State::NotReturned);
        (state.holds_slot() && !stays) || state.is_terminal() || state == State::Backoff
    });
    // What the last of the troubles kept from going on has its time from their end.
    !moves && world.now.since(world.timeline.moved_at.max(faults_end)) > QUIET_SECS
}

fn end(mut world: World, fleet: &Fleet, start: Moment, cut: Moment, options: &Options) -> Outcome {
    let (mut waiting, mut unexplained) = last_plan(&mut world);
    if !unexplained.is_empty() {
        // Its turn may have come this very second.
        world.run_until(world.now.plus(LOOK_SECS));
        let (later, still) = last_plan(&mut world);
        unexplained.retain(|uid, _| still.contains_key(uid));
        waiting = later;
    }
    world.record(Author::Cluster, What::Ended { unexplained, cut });
    let mut violated = std::mem::take(&mut world.watch.broken);
    for assertion in &options.assertions {
        let Assertion::FinishWithin(secs) = assertion else { continue };
        let what = match (waiting.iter().next(), world.timeline.finished_at) {
            (Some((node, why)), _) => Some(format!("{node} still waits: {why}")),
            (None, Some(at)) if at.since(start) > *secs => {
                Some(format!("the last node was done after {} s", at.since(start)))
            }
            (None, Some(_) | None) => None,
        };
        let at = world.now;
        let assertion = assertion.clone();
        violated.extend(what.map(|what| Violation { assertion, at, what }));
    }
    Outcome {
        start,
        end: world.now,
        finished_at: world.timeline.finished_at,
        nodes: fleet.nodes.len(),
        events: world.events,
        reboots: world.timeline.reboots,
        tally: world.tally(),
        kept: world.laws.kept().clone(),
        broken: world.laws.broken().to_vec(),
        violated,
        waiting,
        timeline: world.timeline.lines(),
    }
}

/// What everybody who still needs a reboot waits for, and who does without a reason.
fn last_plan(world: &mut World) -> (BTreeMap<String, String>, BTreeMap<NodeUid, String>) {
    let mut view = View::new();
    view.sync(world, false, 0);
    let policy = Arc::clone(&world.policy);
    let mut found = plan(&view.fleet, &policy, world.now);
    while !found.ask.is_empty() {
        view.read_pods(world, &found.ask);
        let next = plan(&view.fleet, &policy, world.now);
        if next.ask == found.ask {
            break;
        }
        found = next;
    }
    let (mut waiting, mut unexplained) = (BTreeMap::new(), BTreeMap::new());
    for (uid, place) in &found.places {
        let Some(node) = view.fleet.nodes.get(uid) else { continue };
        let why = match place.verdict {
            Verdict::NotNeeded => continue,
            Verdict::InFlight(state) => format!("{state:?}"),
            Verdict::Start => {
                let request = view.fleet.requests.get(uid).map(|request| request.progress.state);
                unexplained.insert(uid.clone(), format!("start, request {request:?}"));
                String::from("its turn")
            }
            Verdict::Unknown | Verdict::Waits => match place.blockers.first() {
                Some(blocker) => format!("{}: {}", blocker.gate, blocker.value),
                None => {
                    unexplained.insert(uid.clone(), String::from("it waits"));
                    String::from("nothing")
                }
            },
        };
        if matches!(node.agent.need, Need::Needed { .. }) {
            waiting.insert(node.name.to_string(), why);
        }
    }
    (waiting, unexplained)
}
