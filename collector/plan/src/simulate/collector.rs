//! A collector process: it leads or waits, looks, plans, and drives each request through the same
//! `plan`, `step` and `drain` as the real one. What it decides lives there; here is only the order in
//! which things are read and written, which is the order of the real shell.
//!
//! ```text
//! turn: lead ─> sync the view ─> plan ─> claim each start ─> for each request: step until it waits
//! step: Persist -> write with its resource version | Do -> effects in order | Wait
//! ```
//!
//! Each call to the API server may fail, end the process, or find that minutes went by.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Flaw;
use super::fault::Luck;
use super::store::Refusal;
use super::tally::Fault;
use super::tally::Kills;
use super::tally::Tally;
use super::view::View;
use super::world::World;
use crate::drain::Returns;
use crate::law::Author;
use crate::law::Handed;
use crate::law::What;
use crate::request::GrantRecord;
use crate::request::State;

mod drive;
mod effect;
mod plan;

/// Seconds between two turns while something goes on.
const BUSY_SECS: i64 = 15;

/// Seconds between two turns while nothing does.
const IDLE_SECS: i64 = 60;

/// Seconds between two turns when nothing can go wrong any more and nothing goes on.
const QUIET_SECS: i64 = 300;

/// Seconds before the end of its Lease from which on a leader sends nothing any more: what is on its
/// way then still arrives in time.
const MARGIN_SECS: i64 = 10;

/// How old a view may be to be acted upon, in seconds.
const FRESH_SECS: i64 = 30;

/// Seconds for which the marker of a request that is gone is left alone, as in the shell.
const ORPHAN_SECS: i64 = 30;

/// A collector process.
#[derive(Debug)]
pub(super) struct Collector {
    id: usize,
    offset: i64,
    view: View,
    /// Until when it leads, on the clock that does not step; `None`: it does not.
    lease_until: Option<Moment>,
    epoch: u64,
    leading_since: Moment,
    offers: BTreeMap<NodeUid, Offer>,
    drains: BTreeMap<NodeUid, Returns>,
    begun: BTreeSet<NodeUid>,
    /// Nodes that bear the marker of a request that is gone, and since when that is seen.
    orphans: BTreeMap<NodeUid, Moment>,
    /// Nodes whose pods a plan asked for, and when.
    asked: BTreeMap<NodeUid, Moment>,
    next_turn: Moment,
    sleeps: bool,
    planned_at: Option<Moment>,
    turns: u64,
}

/// A grant that may be handed out.
#[derive(Clone, Debug)]
struct Offer {
    grant: GrantRecord,
    until: Moment,
    handed: Handed,
}

/// The process ended in the middle of what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Died;

/// A result that may be missing, unless the process is dead.
type Called<T> = Result<Result<T, Failed>, Died>;

/// A call that did not do what was asked, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The API server refused it.
    Refused(Refusal),
    /// Whether it was carried out is not known.
    Unanswered,
}

/// Whether a call changes something, which only the leader may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It does not.
    Read,
    /// It does, and what it does in words.
    Write(&'static str),
    /// It writes a request into another state, or makes it in one.
    Step(Option<State>, State),
}

impl Call {
    /// Where it is counted who died around it.
    fn kills(self, tally: &mut Tally) -> Option<&mut Kills> {
        match self {
            Self::Read => None,
            Self::Write(what) => Some(tally.calls.entry(what).or_default()),
            Self::Step(from, to) => Some(tally.steps.entry((from, to)).or_default()),
        }
    }
}

impl Collector {
    /// A process that just started; its clock is wrong by `offset` seconds.
    pub(super) fn new(id: usize, offset: i64, now: Moment) -> Self {
        Self {
            id,
            offset,
            view: View::new(),
            lease_until: None,
            epoch: 0,
            leading_since: now,
            offers: BTreeMap::new(),
            drains: BTreeMap::new(),
            begun: BTreeSet::new(),
            orphans: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_turn: now,
            sleeps: false,
            planned_at: None,
            turns: 0,
        }
    }

    /// What its clock says.
    const fn clock(&self, now: Moment) -> Moment {
        now.plus(self.offset)
    }

    /// As the author of what it does now.
    pub(super) const fn author(&self, now: Moment) -> Author {
        Author::Collector { id: self.id, epoch: self.epoch, clock: self.clock(now) }
    }

    /// Whether its next turn is far away.
    pub(super) const fn sleeps(&self) -> bool {
        self.sleeps
    }

    /// Its next turn is at `at`.
    pub(super) const fn rouse(&mut self, at: Moment) {
        self.sleeps = false;
        self.next_turn = at;
    }

    /// Whether it is its turn.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.next_turn == now
    }

    /// The grant that it hands to a node which sends a heartbeat now.
    pub(super) fn offer(&self, uid: &NodeUid, now: Moment) -> Option<Handed> {
        let leads = self.lease_until.is_some_and(|until| now.plus(MARGIN_SECS) < until);
        let offer = self.offers.get(uid).filter(|_| leads)?;
        (self.clock(now) < offer.until).then(|| Handed {
            until: now.plus(super::machine::HEARTBEAT_SECS),
            ..offer.handed.clone()
        })
    }

    /// One look around; when the next one is, or that the process died.
    pub(super) fn turn(&mut self, world: &mut World) -> Option<i64> {
        self.turns = self.turns.saturating_add(1);
        match self.look_around(world) {
            Err(Died) => None,
            Ok(pace) => {
                self.next_turn = world.now.plus(pace);
                self.sleeps = pace > BUSY_SECS;
                Some(pace)
            }
        }
    }

    fn look_around(&mut self, world: &mut World) -> Result<i64, Died> {
        if !self.lead(world)? && !world.build.has(Flaw::ActsForever) {
            self.offers.clear();
            return Ok(BUSY_SECS);
        }
        let blind = world.faults.is_blind(self.id, world.now) || !self.reads(world)?;
        if blind {
            world.faults.tally.count(Fault::BlindTurn);
        }
        let changed = self.view.sync(world, blind, self.offset);
        self.plan_and_claim(world, changed)?;
        let busy = self.drive_all(world)?;
        Ok(match (busy, world.faults.are_active()) {
            (true, _) => BUSY_SECS,
            (false, true) => IDLE_SECS,
            (false, false) => QUIET_SECS.min(super::store::LEASE_SECS.saturating_sub(15)),
        })
    }

    /// Whether the API server can be read.
    fn reads(&self, world: &mut World) -> Result<bool, Died> {
        Ok(self.call(world, Call::Read, |_, _| Ok(()))?.is_ok())
    }

    /// Takes or renews the leadership.
    fn lead(&mut self, world: &mut World) -> Result<bool, Died> {
        let id = self.id;
        let asked_at = world.now;
        let led = self.call(world, Call::Read, |world, _| Ok(world.store.lead(id, world.now)))?;
        let Ok(led) = led else {
            return Ok(self.lease_until.is_some_and(|until| world.now.plus(MARGIN_SECS) < until));
        };
        let Some((until, transitions)) = led else {
            self.lease_until = None;
            return Ok(false);
        };
        // The answer may be late: what counts is when the question was asked.
        let until = until.min(asked_at.plus(super::store::LEASE_SECS));
        let anew = self.lease_until.is_none_or(|old| old < asked_at);
        if anew {
            let highest = world
                .store
                .requests
                .values()
                .map(|request| request.progress.epoch)
                .chain(world.machines.values().map(|machine| machine.epoch))
                .max();
            self.epoch = transitions.max(highest.unwrap_or(0).saturating_add(1));
            self.offset = world.faults.clock_offset(id);
            if self.offset != 0 {
                world.faults.tally.count(Fault::LedByWrongClock);
            }
            self.leading_since = self.clock(world.now);
            self.offers.clear();
            self.view = View::new();
            self.audit_all(world);
            world.timeline.say(world.now, &format!("collector {id} leads, epoch {}", self.epoch));
        }
        self.lease_until = Some(until);
        let author = self.author(world.now);
        world.record(author, What::Leads { until });
        Ok(true)
    }

    /// One call to the API server, with everything that may happen to it.
    fn call<T>(
        &self,
        world: &mut World,
        call: Call,
        act: impl FnOnce(&mut World, Author) -> Result<T, Refusal>,
    ) -> Called<T> {
        let mut luck = world.faults.luck(&mut world.chance, call, world.now);
        if let Luck::Pauses(secs) = luck {
            luck = Luck::Answered;
            if world.depth == 0 {
                world.depth = 1;
                world.timeline.say(world.now, &format!("collector {} stands still", self.id));
                world.run_until(world.now.plus(secs));
                world.depth = 0;
            }
        }
        let leads = self.lease_until.is_some_and(|until| world.now.plus(MARGIN_SECS) < until);
        if call != Call::Read && !leads && !world.build.has(Flaw::ActsForever) {
            return Ok(Err(Failed::Unanswered));
        }
        let author = self.author(world.now);
        let result = match luck {
            Luck::DiesBefore | Luck::Refused => None,
            Luck::Answered | Luck::Pauses(_) | Luck::DiesAfter | Luck::Unanswered => {
                Some(act(world, author))
            }
        };
        if let Some(kills) = call.kills(&mut world.faults.tally) {
            let done = u64::from(matches!(result, Some(Ok(_))));
            kills.done = kills.done.saturating_add(done);
            kills.before = kills.before.saturating_add(u64::from(luck == Luck::DiesBefore));
            if luck == Luck::DiesAfter {
                kills.after = kills.after.saturating_add(done);
            }
        }
        match (luck, result) {
            (Luck::DiesBefore | Luck::DiesAfter, _) => Err(Died),
            (Luck::Answered | Luck::Pauses(_), Some(result)) => Ok(result.map_err(Failed::Refused)),
            (Luck::Refused | Luck::Unanswered | Luck::Answered | Luck::Pauses(_), _) => {
                Ok(Err(Failed::Unanswered))
            }
        }
    }
}
