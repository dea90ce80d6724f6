//! The laws of a reboot, checked on the log of what happened: an implementation that breaks one is
//! found by what it did, whatever it thinks it did.
//!
//! ```text
//! world ──Record──> Laws ──> ledger (what the log adds up to)
//!                     └────> law 1 .. law 24 ──> Breach { law, at, what }
//! ```
//!
//! Laws read records and policies, and call nothing of the planner, the machine or the drain. What a
//! collector could not know yet is no breach: a change younger than [`LAG_SECS`] is judged either way.
//! Law 25, on windows, is a test of `window`, against another implementation.

use std::collections::BTreeMap;

use palisade_report::Moment;

mod budget;
mod cordon;
mod end;
mod grant;
mod ledger;
mod plan;
mod record;
#[cfg(test)]
mod tests;

pub use plan::planning;
pub use record::Author;
pub use record::Etcd;
pub use record::Handed;
pub use record::Readiness;
pub use record::Record;
pub use record::What;

pub(crate) use end::is_unended;
pub(crate) use ledger::Entry;
pub(crate) use ledger::Ledger;

/// How old a change must be before an act that ignores it breaks a law, in seconds: a view of the
/// cluster may be a minute old, a heartbeat another.
pub const LAG_SECS: i64 = 120;

/// One law.
#[derive(Clone, Copy, Debug)]
pub struct Law {
    /// Its number.
    pub number: u8,
    /// What it says, for people.
    pub title: &'static str,
    /// What it says of a record, given all before.
    judge: fn(&Ledger, &Record) -> Ruling,
}

/// What a law says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// Nothing: the record is none of its matter.
    Mute,
    /// It was kept where it could have been broken.
    Kept,
    /// It was broken, and how.
    Broken(String),
}

impl Ruling {
    /// Broken with this text if `breaks`, else kept.
    pub(crate) fn unless(breaks: bool, how: impl FnOnce() -> String) -> Self {
        if breaks { Self::Broken(how()) } else { Self::Kept }
    }
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub law: u8,
    /// When.
    pub at: Moment,
    /// How.
    pub what: String,
}

/// All of them, in order.
pub const LAWS: [Law; 24] = [
    Law { number: 1, title: "nodes away stay within every cap", judge: budget::one },
    Law { number: 2, title: "control-plane nodes go alone, with a quorum", judge: budget::two },
    Law { number: 3, title: "no grant unless cordoned and drained", judge: grant::three },
    Law { number: 4, title: "no grant when it is forbidden", judge: grant::four },
    Law { number: 5, title: "one reboot for a grant and an occurrence", judge: grant::five },
    Law { number: 6, title: "a grant is good for one node, boot and epoch", judge: grant::six },
    Law { number: 7, title: "only another boot id is a boot", judge: grant::seven },
    Law { number: 8, title: "done means proved", judge: end::eight },
    Law { number: 9, title: "foreign cordons stay", judge: cordon::nine },
    Law { number: 10, title: "our cordons end", judge: end::ten },
    Law { number: 11, title: "time frees no slot", judge: budget::eleven },
    Law { number: 12, title: "a slot is freed after the cordon", judge: budget::twelve },
    Law { number: 13, title: "a state is stored before its effect", judge: cordon::thirteen },
    Law { number: 14, title: "not knowing starts and ends nothing", judge: end::fourteen },
    Law { number: 15, title: "a request touches its own node", judge: cordon::fifteen },
    Law { number: 16, title: "every state has a deadline and an alert", judge: end::sixteen },
    Law { number: 17, title: "every request ends or says why not", judge: end::seventeen },
    Law { number: 18, title: "only the leader acts", judge: grant::eighteen },
    Law { number: 19, title: "a node speaks for itself alone", judge: grant::nineteen },
    Law { number: 20, title: "no eviction that cannot end well", judge: cordon::twenty },
    Law { number: 21, title: "failures halt a pool", judge: budget::twenty_one },
    Law { number: 22, title: "silence halts everything", judge: budget::twenty_two },
    Law { number: 23, title: "plans are the same, and gates only shut", judge: plan::mute },
    Law { number: 24, title: "a transition is told once", judge: end::twenty_four },
];

/// The judge of one log.
#[derive(Debug, Default)]
pub struct Laws {
    ledger: Ledger,
    kept: BTreeMap<u8, u64>,
    broken: Vec<Breach>,
}

/// Breaches that are kept; what is broken once is broken often.
const MAX_BREACHES: usize = 100;

impl Laws {
    /// Judges a record and takes it in.
    pub fn enter(&mut self, record: &Record) {
        for law in &LAWS {
            let ruling = (law.judge)(&self.ledger, record);
            self.rule(law.number, record.at, ruling);
        }
        self.ledger.enter(record);
    }

    /// Takes in what was found of plans, see [`planning`].
    pub fn enter_plan(&mut self, at: Moment, found: Result<(), String>) {
        let ruling = match found {
            Ok(()) => Ruling::Kept,
            Err(how) => Ruling::Broken(how),
        };
        self.rule(23, at, ruling);
    }

    fn rule(&mut self, law: u8, at: Moment, ruling: Ruling) {
        match ruling {
            Ruling::Mute => {}
            Ruling::Kept => {
                let times = self.kept.entry(law).or_default();
                *times = times.saturating_add(1);
            }
            Ruling::Broken(what) if self.broken.len() < MAX_BREACHES => {
                self.broken.push(Breach { law, at, what });
            }
            Ruling::Broken(_) => {}
        }
    }

    /// How often each law was kept where it could have been broken.
    #[must_use]
    pub const fn kept(&self) -> &BTreeMap<u8, u64> {
        &self.kept
    }

    /// What was broken, oldest first.
    #[must_use]
    pub fn broken(&self) -> &[Breach] {
        &self.broken
    }

    /// What the log adds up to.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
