//! Who leads: a pure state machine over what a Lease shows and how long it has shown it.
//!
//! ```text
//!              unchanged for its whole duration, or free        written
//! Standby ───────────────────────────────────────────> write ─────────> Leading(epoch)
//!    ^  ^                                                                │   ^
//!    │  └──── somebody else's name in it ────────── Suspended <── late ──┘   │ written
//!    └─────── out of touch for too long ───────────────┘  └──────────────────┘
//! ```
//!
//! * Every write carries the `resourceVersion` that it was decided on, so of two writers one wins.
//! * Nobody's wall clock is believed, not even our own: a version of the Lease is old when *this*
//!   process has seen it unchanged for the Lease's duration. `now` is `CLOCK_BOOTTIME`, which goes
//!   on while a process is stopped or a machine sleeps.
//! * A term counts from the moment when its last confirmed write was *sent* and ends well before
//!   the Lease's duration is over, which others count from when they *saw* that write. So a leader
//!   has stopped before anybody else may begin; [`Timing`] says by how much clocks may differ in
//!   pace.
//! * A Lease that is not there is made free first, and taken when it has been seen free for its
//!   duration: whoever led by one that was deleted has stopped by then.
//! * A term has an epoch: `leaseTransitions`, grown with every term, not only with every holder.
//!   A Lease that was deleted starts again below epochs that were used; whoever knows a higher one
//!   says so by [`Election::raise`].
//!
//! No I/O and no clock: [`super::leader`] carries out what [`Election::step`] says.

use std::fmt;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How long, in milliseconds, a leader that cannot reach the API server goes on answering agents
/// and people at most, acting on nothing. While the API server is away for everybody nobody else can
/// lead, and short outages are better not felt; a leader that is cut off alone must let its agents go.
pub const MAX_SUSPENDED_MS: i64 = 120_000;

/// The same in durations of the Lease: with the usual one of 15 seconds it is the limit above.
const SUSPENDED_LEASES: i64 = 8;

/// The longest duration of a Lease that is believed; a longer one was not written by us and would
/// leave the fleet without a leader.
const MAX_BELIEVED_MS: i64 = 300_000;

/// What a released Lease says of its duration: whoever sees it waits no longer than this.
const RELEASED_MS: i64 = 1_000;

/// For how many durations of the Lease a collector that made room is nobody's rival: others look every
/// seventh of one, and take what is free after a second.
const BACK_LEASES: i64 = 2;

/// The number of a term of leadership: of two, the higher one is the newer one. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The durations of an election.
///
/// The distance between `lease` and `renew_within` is what clocks may differ by in pace over one
/// lease: a third of it, where real ones differ by thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after the last change that they saw.
    pub lease: Duration,
    /// How long a term goes on after its last confirmed write was sent.
    pub renew_within: Duration,
    /// Between two looks at, or renewals of, the Lease.
    pub retry: Duration,
}

impl Timing {
    /// The usual proportions for a Lease of this duration: 15, 10 and 2 seconds.
    #[must_use]
    pub fn of(lease: Duration) -> Self {
        Self { lease, renew_within: lease * 2 / 3, retry: lease * 2 / 15 }
    }

    /// How long one request may take: two fit into the time in which a term must be renewed.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.renew_within / 2
    }
}

/// A Lease as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`; compared for equality only.
    pub version: String,
    /// `spec.holderIdentity`; empty is nobody.
    pub holder: Option<String>,
    /// `spec.leaseTransitions`.
    pub transitions: u64,
    /// `spec.leaseDurationSeconds` in milliseconds.
    pub lasts_ms: Option<i64>,
}

/// What to write into the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The holder; `None`: nobody.
    pub holder: Option<String>,
    /// `spec.leaseTransitions`.
    pub transitions: u64,
    /// `spec.leaseDurationSeconds`, in milliseconds.
    pub lasts_ms: i64,
    /// Whether a term begins with it.
    pub begins: Begins,
}

/// Whether a write begins a term or goes on with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Nothing begins: the term goes on, or ends.
    Nothing,
    /// A new term.
    Term,
}

/// What came of the last [`Action`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// 409: the write was decided on a version that is no more.
    Conflict,
    /// No answer, or one that does not tell whether the write was carried out.
    Failed,
    /// The Lease was read.
    Found(Record),
    /// There is no Lease.
    Missing,
    /// Time passed.
    Nothing,
    /// The write was carried out, and this is the Lease now.
    Written(Record),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the Lease, free; fails if there is one.
    Create(Draft),
    /// Read the Lease.
    Read,
    /// Write the Lease if it still has this version.
    Replace(String, Draft),
    /// Do nothing until this time.
    WaitUntil(i64),
}

/// What a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It acts, until `until_ms` unless renewed.
    Leading {
        /// Its term.
        epoch: Epoch,
        /// `CLOCK_BOOTTIME` in milliseconds.
        until_ms: i64,
    },
    /// Its term was not renewed in time: it does not act, and nobody else is known to lead.
    Suspended {
        /// The term that may still go on.
        epoch: Epoch,
    },
    /// Somebody else leads, or nobody.
    Standby {
        /// Who, if anybody.
        leader: Option<String>,
    },
}

/// A term of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    epoch: u64,
    /// When the last confirmed write was sent.
    confirmed_ms: i64,
}

/// The Lease as last seen, and since when it is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    Held {
        record: Record,
        since_ms: i64,
    },
    Missing,
    /// Not read yet.
    Unknown,
}

/// Whether what was seen may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The API said so, and we have sent nothing since that may have changed it.
    Current,
    /// It has to be read again first. How long it is unchanged still counts: the version tells.
    Outdated,
}

/// A write on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    epoch: u64,
    at_ms: i64,
}

/// The election as one collector sees it.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    lease_ms: i64,
    renew_ms: i64,
    retry_ms: i64,
    /// The highest epoch that was ever heard of.
    highest: u64,
    sight: Sight,
    trust: Trust,
    term: Option<Term>,
    sent: Option<Sent>,
    /// When the API is asked again.
    next_ms: i64,
    /// Until when the Lease is left to others.
    back_ms: i64,
    /// Whether the last write that was answered met a conflict.
    conflicted: Conflicted,
}

/// Whether a conflict is the first one in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflicted {
    Again,
    Not,
}

impl Election {
    /// An election in which this process is called `me`: a name that no other process has, not even
    /// this one after a restart.
    #[must_use]
    pub fn new(me: String, timing: Timing, now_ms: i64) -> Self {
        Self {
            me,
            lease_ms: ms(timing.lease),
            renew_ms: ms(timing.renew_within),
            retry_ms: ms(timing.retry).max(1),
            highest: 0,
            sight: Sight::Unknown,
            trust: Trust::Outdated,
            term: None,
            sent: None,
            next_ms: now_ms,
            back_ms: now_ms,
            conflicted: Conflicted::Not,
        }
    }

    /// Says that this epoch was used somewhere, so that later terms are above it. A running term
    /// that is not above it becomes a new one with its next renewal.
    pub fn raise(&mut self, epoch: u64) {
        self.highest = self.highest.max(epoch);
    }

    /// What this process is at `now_ms`.
    #[must_use]
    pub fn standing(&self, now_ms: i64) -> Standing {
        match self.term {
            Some(Term { epoch, confirmed_ms }) => {
                let until_ms = confirmed_ms.saturating_add(self.renew_ms);
                let epoch = Epoch(epoch);
                if now_ms < until_ms {
                    Standing::Leading { epoch, until_ms }
                } else {
                    Standing::Suspended { epoch }
                }
            }
            None => Standing::Standby { leader: self.leader().map(str::to_owned) },
        }
    }

    /// Takes in what came of the last action and says the next one.
    #[must_use]
    pub fn step(&mut self, observation: Observation, now_ms: i64) -> Action {
        self.absorb(observation, now_ms);
        if let Some(term) = self.term
            && now_ms >= self.suspended_until(term)
        {
            self.term = None;
        }
        self.decide(now_ms)
    }

    /// Ends the term, at once, and says what to write so that others need not wait; `None` if the
    /// Lease is not known to be ours.
    #[must_use]
    pub fn release(&mut self) -> Option<Action> {
        self.term = None;
        let Sight::Held { record, .. } = &self.sight else { return None };
        if record.holder.as_deref() != Some(&*self.me) {
            return None;
        }
        Some(free(record))
    }

    /// Ends the term, at once, and leaves the Lease to others for [`BACK_LEASES`] of its durations: it
    /// is let go by the next step, and taken again only if nobody wanted it.
    pub fn stand_back(&mut self, now_ms: i64) {
        self.term = None;
        self.back_ms = now_ms.saturating_add(self.lease_ms.saturating_mul(BACK_LEASES));
        self.next_ms = now_ms;
    }

    fn absorb(&mut self, observation: Observation, now_ms: i64) {
        let sent = self.sent.take();
        match observation {
            Observation::Nothing => self.sent = sent,
            // Somebody else wrote, and reading tells who. One after the other are something else, an
            // admission plugin or a namespace that is not there: no reason to ask without a pause.
            Observation::Conflict => {
                self.trust = Trust::Outdated;
                self.next_ms = match self.conflicted {
                    Conflicted::Again => now_ms.saturating_add(self.retry_ms),
                    Conflicted::Not => now_ms,
                };
                self.conflicted = Conflicted::Again;
            }
            // Whether a lost write was carried out is for the next reading to say.
            Observation::Failed => {
                self.trust = Trust::Outdated;
                self.next_ms = now_ms.saturating_add(self.retry_ms);
            }
            Observation::Missing => {
                self.sight = Sight::Missing;
                self.trust = Trust::Current;
                self.next_ms = now_ms;
            }
            Observation::Found(record) => {
                self.next_ms = now_ms.saturating_add(self.retry_ms);
                if record.holder.as_deref() != Some(&*self.me) {
                    self.term = None;
                } else {
                    // Ours, and confirmed only by a write of ours that is answered.
                    self.next_ms = now_ms;
                }
                self.see(record, now_ms);
            }
            Observation::Written(record) => {
                if let Some(Sent { epoch, at_ms }) = sent {
                    self.term = Some(Term { epoch, confirmed_ms: at_ms });
                    self.next_ms = at_ms.saturating_add(self.retry_ms);
                }
                self.conflicted = Conflicted::Not;
                self.see(record, now_ms);
            }
        }
    }

    fn see(&mut self, record: Record, now_ms: i64) {
        self.highest = self.highest.max(record.transitions);
        self.trust = Trust::Current;
        let since_ms = match &self.sight {
            Sight::Held { record: old, since_ms } if old.version == record.version => *since_ms,
            Sight::Held { .. } | Sight::Missing | Sight::Unknown => now_ms,
        };
        self.sight = Sight::Held { record, since_ms };
    }

    fn decide(&mut self, now_ms: i64) -> Action {
        let (write_at_ms, write) = self.write(now_ms);
        if self.trust == Trust::Current && now_ms >= write_at_ms {
            if let Action::Replace(_, draft) = &write
                && draft.holder.is_some()
            {
                self.sent = Some(Sent { epoch: draft.transitions, at_ms: now_ms });
            }
            return write;
        }
        if now_ms >= self.next_ms {
            // The next look is due whatever comes of this one.
            self.next_ms = now_ms.saturating_add(self.retry_ms);
            return Action::Read;
        }
        let write_at_ms = if self.trust == Trust::Current { write_at_ms } else { i64::MAX };
        let ends_ms = match self.term {
            Some(term) => {
                let renewed_by_ms = term.confirmed_ms.saturating_add(self.renew_ms);
                if now_ms < renewed_by_ms { renewed_by_ms } else { self.suspended_until(term) }
            }
            None => i64::MAX,
        };
        Action::WaitUntil(self.next_ms.min(write_at_ms).min(ends_ms))
    }

    /// What would be written by what was seen, and when.
    fn write(&self, now_ms: i64) -> (i64, Action) {
        let draft = |epoch, begins| Draft {
            holder: Some(self.me.clone()),
            transitions: epoch,
            lasts_ms: self.lease_ms,
            begins,
        };
        let fresh = || draft(self.highest.saturating_add(1), Begins::Term);
        match &self.sight {
            Sight::Unknown => (i64::MAX, Action::Read),
            // Made free and taken later: two absences have no version to tell them apart, while a
            // free Lease can be watched for as long as a leader of a deleted one may go on.
            Sight::Missing => {
                let free = Draft {
                    holder: None,
                    transitions: self.highest,
                    lasts_ms: self.lease_ms,
                    begins: Begins::Nothing,
                };
                (self.next_ms, Action::Create(free))
            }
            Sight::Held { record, since_ms } => {
                let is_mine = record.holder.as_deref() == Some(&*self.me);
                if is_mine && now_ms < self.back_ms {
                    return (self.next_ms, free(record));
                }
                let draft = match self.term {
                    Some(term) if is_mine && term.epoch >= self.highest => {
                        draft(term.epoch, Begins::Nothing)
                    }
                    Some(_) | None => fresh(),
                };
                let at_ms = if is_mine { self.next_ms } else { self.free_at(record, *since_ms) };
                let at_ms = at_ms.max(self.back_ms);
                (at_ms, Action::Replace(record.version.clone(), draft))
            }
        }
    }

    /// When a Lease that is not ours may be taken.
    fn free_at(&self, record: &Record, since_ms: i64) -> i64 {
        let lasts_ms = record.lasts_ms.unwrap_or(self.lease_ms);
        let wait_ms = match record.holder {
            // Released, which is said by a short duration; or made anew, or taken from its holder
            // by hand, which says nothing about when that one stops.
            None => lasts_ms.max(0),
            Some(_) => lasts_ms.max(self.lease_ms),
        };
        since_ms.saturating_add(wait_ms.min(MAX_BELIEVED_MS))
    }

    const fn suspended_until(&self, term: Term) -> i64 {
        let leases_ms = self.lease_ms.saturating_mul(SUSPENDED_LEASES);
        let most_ms = if leases_ms < MAX_SUSPENDED_MS { leases_ms } else { MAX_SUSPENDED_MS };
        term.confirmed_ms.saturating_add(self.renew_ms).saturating_add(most_ms)
    }

    fn leader(&self) -> Option<&str> {
        match &self.sight {
            Sight::Held { record, .. } => record.holder.as_deref().filter(|it| *it != self.me),
            Sight::Missing | Sight::Unknown => None,
        }
    }
}

/// A write that lets a Lease of ours go.
fn free(record: &Record) -> Action {
    let draft = Draft {
        holder: None,
        transitions: record.transitions,
        lasts_ms: RELEASED_MS,
        begins: Begins::Nothing,
    };
    Action::Replace(record.version.clone(), draft)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
