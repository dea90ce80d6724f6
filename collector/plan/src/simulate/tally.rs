//! What was done to a run, counted where it was done: a fault that is drawn and then hits nothing is not
//! among these.
//!
//! ```text
//! Faults, World ──count──> Tally of a run ──add──> Tally of a campaign ──missing──> what was never tried
//! ```

use std::collections::BTreeMap;

use crate::request::State;

/// A record that is taken away in this state takes with it the word that its permission was used: a
/// collector that has not heard the new boot yet knows nothing of it, and reboots the node again for the
/// same reasons. Nobody takes one away then. In [`State::Granted`] the collector that gave the grant knows
/// of it, and writes a record anew: only law 5 is not held against a collector that dies before.
pub(super) const FORGOTTEN_WITH_IT: State = State::Rebooting;

/// What was done to a run, or to many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often each kind of fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Transitions that were written, and collectors that died around them.
    pub steps: BTreeMap<Move, Kills>,
    /// The same of every other call, by what it does.
    pub calls: BTreeMap<&'static str, Kills>,
    /// Requests whose record somebody took away with its finalizer, by their state.
    pub forced: BTreeMap<State, u64>,
}

/// A transition: from nothing, if the request is made, to a state.
pub type Move = (Option<State>, State);

/// A call that changes something, and collectors that died around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// How often it was carried out.
    pub done: u64,
    /// How often a collector died before it.
    pub before: u64,
    /// How often one died after it, without having heard of it.
    pub after: u64,
}

macro_rules! faults {
    ($($name:ident = $words:literal;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $words] $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it is, in words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

faults! {
    DiedBefore = "collector died before a call";
    DiedAfter = "collector died after a call";
    Restarted = "collector restarted";
    Paused = "collector stood still";
    LeaderChanged = "leader changed";
    ClockStepped = "clock stepped by an hour";
    LedByWrongClock = "term by a wrong clock";
    Outage = "API away";
    Storm = "API answers with errors";
    Refused = "call refused";
    Unanswered = "call carried out, answer lost";
    Gap = "watches silent";
    BlindTurn = "turn without watches";
    HeartbeatLost = "heartbeat lost";
    GrantLost = "grant lost";
    GrantLate = "grant late";
    GrantTwice = "grant twice";
    AnswerLost = "answer to a grant lost";
    AnswerLate = "answer to a grant late";
    AnswerTwice = "answer to a grant twice";
    AgentsSilent = "agents silent";
    LieNeeded = "agent lies: always needed";
    LieNotNeeded = "agent lies: never needed";
    LieUnsure = "agent cannot tell";
    LieBoot = "agent lies: a boot that never was";
    NeverReturns = "node never returns";
    ReturnsLate = "node returns after its time";
    SameKernel = "node returns with the old kernel";
    ReasonStays = "node returns with its reasons";
    NoKubelet = "node returns without kubelet";
    Flaps = "node returns and flaps";
    CallFails = "reboot call does nothing";
    CallSaysSo = "reboot call fails";
    BootsByItself = "node boots by itself";
    NotReady = "kubelet silent";
    Deleted = "node deleted";
    DeletedWaiting = "node deleted while its request waits";
    Recreated = "node made again under its name";
    Cordoned = "cordon by hand";
    Uncordoned = "uncordon by hand";
    Held = "node held";
    HoldFile = "hold file";
    Asked = "reboot asked for";
    Cancelled = "request called off";
    RequestDeleted = "request deleted";
    RequestForced = "request deleted with its finalizer";
    Released = "released";
    LeaseTaken = "Lease of a node taken by another tool";
    BudgetSpent = "disruption budget spent";
    VolumeStays = "volume never detached";
    PolicyChanged = "policy changed";
    LearnedDeadline = "deadline from learned durations";
}

impl Tally {
    /// A fault happened.
    pub(super) fn count(&mut self, fault: Fault) {
        let times = self.faults.entry(fault).or_default();
        *times = times.saturating_add(1);
    }

    /// Adds what was done to another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, times) in &other.faults {
            let sum = self.faults.entry(*fault).or_default();
            *sum = sum.saturating_add(*times);
        }
        for (state, times) in &other.forced {
            let sum = self.forced.entry(*state).or_default();
            *sum = sum.saturating_add(*times);
        }
        for (step, kills) in &other.steps {
            self.steps.entry(*step).or_default().add(*kills);
        }
        for (call, kills) in &other.calls {
            self.calls.entry(call).or_default().add(*kills);
        }
    }

    /// Transitions that were written.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.steps.values().fold(0, |sum, kills| sum.saturating_add(kills.done))
    }

    /// How often a fault of this kind happened.
    #[must_use]
    pub fn times(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// What a campaign is to try and did not: kinds of faults, kills around a transition or a call, and
    /// records taken away in a state in which something is under way.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|fault| self.times(**fault) == 0);
        let faults = faults.map(|fault| fault.words().to_owned());
        let steps = self.steps.iter().map(|(step, kills)| (words(*step), *kills));
        let calls = self.calls.iter().map(|(call, kills)| ((*call).to_owned(), *kills));
        let happened = steps.chain(calls).filter(|(_, kills)| kills.done > 0);
        let kills = happened.flat_map(|(what, Kills { before, after, .. })| {
            let before = (before == 0).then(|| format!("a kill before: {what}"));
            before.into_iter().chain((after == 0).then(|| format!("a kill after: {what}")))
        });
        let forced = State::ALL.iter().filter(|state| state.holds_slot());
        let forced = forced.filter(|state| **state != FORGOTTEN_WITH_IT);
        let forced = forced.filter(|state| !self.forced.contains_key(state));
        let forced = forced.map(|state| format!("a record taken away in {state:?}"));
        faults.chain(kills).chain(forced).collect()
    }
}

impl Kills {
    fn add(&mut self, other: Self) {
        self.done = self.done.saturating_add(other.done);
        self.before = self.before.saturating_add(other.before);
        self.after = self.after.saturating_add(other.after);
    }
}

/// A transition in words.
#[must_use]
pub fn words((from, to): Move) -> String {
    match from {
        Some(from) => format!("{from:?} -> {to:?}"),
        None => format!("(made) -> {to:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_tried_is_named_and_sums_are_of_all_runs() {
        let mut whole = Tally::default();
        for fault in Fault::ALL {
            whole.count(*fault);
        }
        for state in State::ALL {
            whole.forced.insert(state, 1);
        }
        let claimed = (None, State::Claimed);
        whole.steps.insert(claimed, Kills { done: 5, before: 1, after: 1 });
        whole.calls.insert("cordon", Kills { done: 9, before: 2, after: 1 });
        assert_eq!(whole.missing(), <[String; 0]>::default());

        let mut less = whole.clone();
        less.faults.remove(&Fault::NeverReturns);
        less.forced.remove(&State::Granted);
        less.forced.remove(&State::Needed);
        less.steps.insert(claimed, Kills { done: 5, before: 0, after: 1 });
        less.calls.insert("cordon", Kills { done: 9, before: 2, after: 0 });
        let missing = [
            "node never returns",
            "a kill before: (made) -> Claimed",
            "a kill after: cordon",
            "a record taken away in Granted",
        ];
        assert_eq!(less.missing(), missing);

        less.add(&whole);
        assert_eq!(less.missing(), <[String; 0]>::default());
        assert_eq!(less.transitions(), 10);
        assert_eq!(less.times(Fault::Gap), 2);
    }
}
