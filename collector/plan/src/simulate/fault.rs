//! What goes wrong: how often calls and messages fail, and the troubles of a run.
//!
//! A trouble names no node: which it hits is drawn when it happens, half of the time among those that
//! are in flight, because that is where it hurts.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::chance::Chance;
use super::collector::Call;
use super::machine::Lie;
use super::tally::Fault;
use super::tally::Tally;
use super::world::Event;
use super::world::World;
use crate::request::State;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Nothing.
    None,
    /// What an ordinary month brings: restarts, lost messages, nodes that do not come back.
    Usual,
    /// Everything that this simulator knows.
    All,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    profile: Profile,
    active: bool,
    /// Until when the API server does not answer.
    pub(super) outage_until: Option<Moment>,
    /// Until when it answers many calls with an error.
    pub(super) storm_until: Option<Moment>,
    /// Until when the watches of a collector are silent, and nobody says so.
    gaps: BTreeMap<usize, Moment>,
    /// By how much the clock of a collector's machine is wrong, in seconds.
    offsets: BTreeMap<usize, i64>,
    /// What really went wrong.
    pub(super) tally: Tally,
}

/// Of 10,000 transitions of a reboot that goes well, how many a collector dies before, and as many
/// after; and of those that are seldom. So a campaign meets all of them.
const STEP_KILLS: u64 = 10;
const SELDOM_KILLS: u64 = 2_000;

/// Waits that a node is hardly ever deleted in by chance: they are short, or few are in them.
const LEFT_WAITING: [State; 3] = [State::Needed, State::Ready, State::Backoff];

/// In how many of a thousand runs a node is deleted in each of these. So a campaign meets collectors
/// that die around it, and most runs are none the poorer by a node.
const LEFT_PER_THOUSAND: u64 = 100;

/// Seconds until the next look for a node that waits so.
const LOOK_SECS: i64 = 15;

/// What becomes of a call to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    /// It is answered.
    Answered,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it, without the answer.
    DiesAfter,
    /// The process stands still for so long before it.
    Pauses(i64),
    /// It is refused for no reason of its own.
    Refused,
    /// It is carried out, and the answer never comes.
    Unanswered,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server is away for so long.
    Outage(i64),
    /// It answers many calls with errors for so long.
    Storm(i64),
    /// A collector's watches are silent for so long.
    Gap(usize, i64),
    /// The clock of a collector's machine is wrong by so much.
    Clock(usize, i64),
    /// A collector is restarted.
    Restart(usize),
    /// So many of a hundred agents are silent for so long.
    Silence(u64, i64),
    /// They are heard again.
    Heard,
    /// An agent begins to lie.
    Lie(Lie),
    /// A node is deleted.
    Delete,
    /// A node is deleted and made again under the same name.
    Recreate,
    /// A person cordons a node.
    Cordon,
    /// A person takes a cordon away.
    Uncordon,
    /// A person holds a node for so long.
    Hold(i64),
    /// A person puts a hold file on a node.
    HoldFile,
    /// A person calls a request off.
    Cancel,
    /// A person deletes a request.
    DeleteRequest,
    /// A person deletes a request and takes its finalizer away.
    ForceDelete,
    /// Another tool takes the shared Lease of a node for so long, if it is free.
    Lease(i64),
    /// A person releases what waits for one.
    Release,
    /// A person asks for a reboot.
    Ask,
    /// A disruption budget lets nothing go for so long.
    Spent(i64),
    /// They are as they were.
    BudgetsBack,
    /// The budgets of the policy are changed.
    Rules,
    /// A kubelet is silent for so long.
    NotReady(i64),
    /// A machine reboots by itself.
    Boot,
    /// A node whose request is in this state is deleted, as soon as there is one; which, of those that
    /// there are, goes by the number.
    Gone(State, u64),
    /// Nothing goes wrong from here on.
    End,
}

impl Faults {
    /// As much as `profile` says.
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            active: profile > Profile::None,
            outage_until: None,
            storm_until: None,
            gaps: BTreeMap::new(),
            offsets: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// What becomes of the next call.
    pub(super) fn luck(&mut self, chance: &mut Chance, call: Call, now: Moment) -> Luck {
        let luck = self.draw(chance, call, now);
        match luck {
            Luck::Answered => {}
            Luck::DiesBefore => self.tally.count(Fault::DiedBefore),
            Luck::DiesAfter => self.tally.count(Fault::DiedAfter),
            Luck::Pauses(_) => self.tally.count(Fault::Paused),
            Luck::Refused => self.tally.count(Fault::Refused),
            Luck::Unanswered => self.tally.count(Fault::Unanswered),
        }
        luck
    }

    fn draw(&self, chance: &mut Chance, call: Call, now: Moment) -> Luck {
        if self.outage_until.is_some_and(|until| now < until) {
            return Luck::Refused;
        }
        if !self.active {
            return Luck::Answered;
        }
        let storm = self.storm_until.is_some_and(|until| now < until);
        let refused = if storm { 4_000 } else { 40 };
        // A turn makes some hundred calls while much goes on: a process lives for some of them.
        let all = self.profile == Profile::All;
        if let Call::Step(from, to) = call
            && all
        {
            let kills = if is_seldom(from, to) { SELDOM_KILLS } else { STEP_KILLS };
            match chance.below(10_000) {
                draw if draw < kills => return Luck::DiesBefore,
                draw if draw < 2 * kills => return Luck::DiesAfter,
                _ => {}
            }
        }
        match chance.below(10_000) {
            0 | 1 => Luck::DiesBefore,
            2 | 3 => Luck::DiesAfter,
            4..=7 if all => Luck::DiesAfter,
            8..=11 if all => Luck::Pauses(chance.secs(5, 300)),
            12..=31 => Luck::Unanswered,
            draw if draw < 32 + refused => Luck::Refused,
            _ => Luck::Answered,
        }
    }

    fn hits(&mut self, chance: &mut Chance, per_thousand: u64, fault: Fault) -> bool {
        let hits = self.active && chance.in_thousand(per_thousand);
        if hits {
            self.tally.count(fault);
        }
        hits
    }

    /// Whether a heartbeat is lost.
    pub(super) fn loses_heartbeat(&mut self, chance: &mut Chance) -> bool {
        self.hits(chance, 50, Fault::HeartbeatLost)
    }

    /// When copies of a grant arrive, in seconds from now: of one that is lost none does.
    pub(super) fn grants(&mut self, chance: &mut Chance) -> Vec<i64> {
        self.copies(chance, [Fault::GrantLost, Fault::GrantTwice, Fault::GrantLate])
    }

    /// The same of what a node says of a grant.
    pub(super) fn answers(&mut self, chance: &mut Chance) -> Vec<i64> {
        self.copies(chance, [Fault::AnswerLost, Fault::AnswerTwice, Fault::AnswerLate])
    }

    fn copies(&mut self, chance: &mut Chance, [lost, twice, late]: [Fault; 3]) -> Vec<i64> {
        if self.hits(chance, 50, lost) {
            return Vec::new();
        }
        let copies = 1 + i64::from(self.hits(chance, 50, twice));
        let mut delay = |copy: i64| {
            if self.hits(chance, 50, late) { chance.secs(1, 100) } else { copy }
        };
        (0..copies).map(&mut delay).collect()
    }

    /// Whether a volume is never detached.
    pub(super) fn keeps_volume(&mut self, chance: &mut Chance) -> bool {
        self.hits(chance, 10, Fault::VolumeStays)
    }

    /// By how much a collector's clock is wrong.
    pub(super) fn clock_offset(&self, id: usize) -> i64 {
        self.offsets.get(&id).copied().unwrap_or(0)
    }

    /// Whether a collector's watches are silent.
    pub(super) fn is_blind(&self, id: usize, now: Moment) -> bool {
        self.gaps.get(&id).is_some_and(|until| now < *until)
    }

    /// Whether anything can still go wrong.
    pub(super) const fn are_active(&self) -> bool {
        self.active
    }

    /// The troubles of a run that lasts until `end`.
    pub(super) fn troubles(&self, chance: &mut Chance, secs: i64) -> Vec<(i64, Trouble)> {
        let (kinds, times): (&[Kind], u64) = match self.profile {
            Profile::None => (&[], 0),
            Profile::Usual => (USUAL, 12),
            Profile::All => (ALL, 40),
        };
        let mut troubles = Vec::new();
        for _ in 0..times {
            let at = chance.secs(0, secs);
            if let Some(kind) = chance.pick(kinds) {
                troubles.push((at, kind(chance)));
            }
        }
        if self.profile == Profile::All {
            // Drawn last: what else goes wrong in a run is the same with these and without them.
            for state in LEFT_WAITING {
                if chance.in_thousand(LEFT_PER_THOUSAND) {
                    troubles
                        .push((chance.secs(0, secs), Trouble::Gone(state, chance.below(1 << 32))));
                }
            }
        }
        troubles.push((secs, Trouble::End));
        troubles
    }
}

type Kind = fn(&mut Chance) -> Trouble;

const USUAL: &[Kind] = &[
    |_| Trouble::Restart(0),
    |chance| Trouble::Outage(chance.secs(10, 120)),
    |chance| Trouble::NotReady(chance.secs(60, 900)),
    |_| Trouble::Cordon,
    |_| Trouble::Uncordon,
    |chance| Trouble::Hold(chance.secs(600, 7200)),
    |_| Trouble::Boot,
];

const ALL: &[Kind] = &[
    |chance| Trouble::Restart(which(chance)),
    |chance| Trouble::Outage(chance.secs(10, 900)),
    |chance| Trouble::Storm(chance.secs(60, 900)),
    |chance| Trouble::Gap(which(chance), chance.secs(10, 60)),
    |chance| Trouble::Clock(which(chance), 3600),
    |chance| Trouble::Clock(which(chance), -3600),
    |chance| Trouble::Silence(chance.below(60), chance.secs(300, 2400)),
    |_| Trouble::Lie(Lie::AlwaysNeeded),
    |_| Trouble::Lie(Lie::NeverNeeded),
    |_| Trouble::Lie(Lie::Unsure),
    |_| Trouble::Lie(Lie::FalseBoot),
    |_| Trouble::Delete,
    |_| Trouble::Recreate,
    |_| Trouble::Cordon,
    |_| Trouble::Cordon,
    |_| Trouble::Uncordon,
    |_| Trouble::Uncordon,
    |chance| Trouble::Hold(chance.secs(60, 7200)),
    |_| Trouble::HoldFile,
    |_| Trouble::Cancel,
    |_| Trouble::DeleteRequest,
    |_| Trouble::ForceDelete,
    |_| Trouble::ForceDelete,
    |_| Trouble::Release,
    |chance| Trouble::Lease(chance.secs(60, 3600)),
    |_| Trouble::Ask,
    |chance| Trouble::Spent(chance.secs(60, 7200)),
    |_| Trouble::Rules,
    |chance| Trouble::NotReady(chance.secs(60, 1800)),
    |_| Trouble::Boot,
];

/// Whether a transition is none of those that every reboot makes which goes well.
const fn is_seldom(from: Option<State>, to: State) -> bool {
    !matches!(
        (from, to),
        (None | Some(State::Needed | State::Blocked), State::Claimed)
            | (Some(State::Needed), State::Blocked)
            | (Some(State::Claimed), State::Cordoning)
            | (Some(State::Cordoning), State::Draining)
            | (Some(State::Draining), State::Granted)
            | (Some(State::Granted), State::Rebooting)
            | (Some(State::Rebooting), State::Booted)
            | (Some(State::Booted), State::Verifying)
            | (Some(State::Verifying), State::Uncordoning)
            | (Some(State::Uncordoning), State::Done)
    )
}

fn which(chance: &mut Chance) -> usize {
    usize::from(chance.in_thousand(500))
}

impl World {
    /// Something goes wrong that has to do with machinery; what people do is beside it.
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        if let Trouble::Gone(state, number) = trouble
            && self.waiting(state, number).is_none()
        {
            if self.faults.active {
                self.after(LOOK_SECS, Event::Trouble(trouble));
            }
            return;
        }
        self.timeline.say(self.now, &format!("trouble: {trouble:?}"));
        match trouble {
            Trouble::Outage(secs) => {
                self.faults.tally.count(Fault::Outage);
                self.faults.outage_until = Some(self.now.plus(secs));
            }
            Trouble::Storm(secs) => {
                self.faults.tally.count(Fault::Storm);
                self.faults.storm_until = Some(self.now.plus(secs));
            }
            Trouble::Gap(id, secs) => {
                self.faults.tally.count(Fault::Gap);
                self.faults.gaps.insert(id, self.now.plus(secs));
            }
            Trouble::Clock(id, secs) => {
                self.faults.tally.count(Fault::ClockStepped);
                self.faults.offsets.insert(id, secs);
            }
            Trouble::Restart(id) => {
                self.restart(id, 300);
            }
            Trouble::Silence(percent, secs) => {
                self.faults.tally.count(Fault::AgentsSilent);
                for uid in self.uids() {
                    if self.chance.below(100) < percent {
                        self.silence(&uid);
                    }
                }
                self.after(secs, Event::Trouble(Trouble::Heard));
            }
            Trouble::Heard => self.hear_all(),
            Trouble::End => {
                self.faults.active = false;
                self.faults.outage_until = None;
                self.faults.gaps.clear();
                // Clocks are right again, which a process believes when it starts.
                self.faults.offsets.clear();
                for id in 0..self.collectors.len() {
                    self.restart(id, 60);
                }
                self.hear_all();
                self.budgets_back();
                self.record(crate::law::Author::Cluster, crate::law::What::FaultsEnded);
            }
            Trouble::Gone(state, number) => self.delete_waiting(state, number),
            Trouble::Lie(_)
            | Trouble::Delete
            | Trouble::Recreate
            | Trouble::Cordon
            | Trouble::Uncordon
            | Trouble::Hold(_)
            | Trouble::HoldFile
            | Trouble::Cancel
            | Trouble::DeleteRequest
            | Trouble::ForceDelete
            | Trouble::Lease(_)
            | Trouble::Release
            | Trouble::Ask
            | Trouble::Spent(_)
            | Trouble::BudgetsBack
            | Trouble::Rules
            | Trouble::NotReady(_)
            | Trouble::Boot => self.meddle(trouble),
        }
        self.wake();
    }

    /// A collector process ends, unless it is dead or in the middle of its turn, and starts again.
    fn restart(&mut self, id: usize, within_secs: i64) {
        if let Some(place) = self.collectors.get_mut(id)
            && place.take().is_some()
        {
            if self.faults.active {
                self.faults.tally.count(Fault::Restarted);
            }
            let secs = self.chance.secs(1, within_secs);
            self.after(secs, Event::Start(id));
        }
    }

    /// A node to be hit: half of the time one that is in flight.
    pub(super) fn victim(&mut self) -> Option<NodeUid> {
        let moving: Vec<&NodeUid> = self
            .store
            .requests
            .values()
            .filter(|request| request.progress.state.holds_slot())
            .map(|request| &request.uid)
            .filter(|uid| self.machines.contains_key(uid))
            .collect();
        if !moving.is_empty() && self.chance.in_thousand(500) {
            return self.chance.pick(&moving).map(|uid| NodeUid::clone(uid));
        }
        let all: Vec<&NodeUid> = self.machines.keys().collect();
        self.chance.pick(&all).map(|uid| NodeUid::clone(uid))
    }
}
