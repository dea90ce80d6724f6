//! What has become of the parts of a message, so that another attempt asks nobody twice.
//!
//! Some receivers are told in parts, a request for each chat or an Event for each alert. What one part
//! comes to keeps the message from no other. This is kept for as long as the process and its settings
//! last: after that, those who took it may hear it once more.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_alert::desk::GroupId;
use palisade_alert::outgoing::Outcome;

/// Messages of which it is kept: more that fail at once are told again to everybody.
const MAX_KEPT: usize = 1024;

/// Which message it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The group that it is about.
    pub(crate) place: GroupId,
    /// What it tells, as a number: the same for the same alerts in the same states.
    pub(crate) print: u64,
    /// Attempts before this one; 0: it is a new message, whatever it tells.
    pub(crate) attempts: u32,
}

/// Messages that were not taken by all yet.
#[derive(Debug, Default)]
pub(super) struct Messages(BTreeMap<GroupId, (u64, Progress)>);

impl Messages {
    /// What has become of a message so far.
    pub(super) fn of(&mut self, turn: &Turn) -> &mut Progress {
        let Turn { place, print, attempts } = turn;
        if self.0.len() >= MAX_KEPT && !self.0.contains_key(place) {
            self.0.pop_first();
        }
        let (kept, progress) = self.0.entry(place.clone()).or_default();
        if *attempts == 0 || kept != print {
            (*kept, *progress) = (*print, Progress::default());
        }
        progress
    }

    /// Nothing is left to do for it.
    pub(super) fn forget(&mut self, turn: &Turn) {
        self.0.remove(&turn.place);
    }
}

/// What has become of the parts of one message, each by its name.
#[derive(Debug, Default)]
pub(super) struct Progress(BTreeMap<String, Part>);

#[derive(Debug, Default)]
struct Part {
    tries: u32,
    fate: Option<Fate>,
}

/// What has become of a part for good.
#[derive(Debug)]
enum Fate {
    Refused(String),
    Taken,
    TakenInPart(String),
}

/// What an attempt leaves to do.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Parts that are to be tried again.
    late: usize,
    retry: Option<(Option<Duration>, String)>,
    /// Whether one of them may have been taken.
    is_lost: bool,
    is_too_large: bool,
}

impl Left {
    /// Parts that were not taken in this attempt, and may be later.
    pub(super) const fn late(&self) -> usize {
        self.late
    }
}

impl Progress {
    /// How often a part was tried.
    pub(super) fn tries(&self, part: &str) -> u32 {
        self.0.get(part).map_or(0, |it| it.tries)
    }

    /// Whether there is nothing left to do for a part.
    pub(super) fn is_settled(&self, part: &str) -> bool {
        self.0.get(part).is_some_and(|it| it.fate.is_some())
    }

    /// A part is tried. Noted before it is, for the attempt may be broken off.
    pub(super) fn begin(&mut self, part: &str) {
        let part = self.0.entry(part.to_owned()).or_default();
        part.tries = part.tries.saturating_add(1);
    }

    /// What came of it.
    pub(super) fn end(&mut self, part: &str, outcome: Outcome, left: &mut Left) {
        let is_lost = matches!(outcome, Outcome::Lost { .. });
        let fate = match outcome {
            Outcome::Dead { why } => Fate::Refused(why),
            Outcome::Delivered => Fate::Taken,
            Outcome::Partial { why } => Fate::TakenInPart(why),
            Outcome::Lost { after, why } | Outcome::Retry { after, why } => {
                (left.late, left.is_lost) = (left.late + 1, left.is_lost || is_lost);
                let (longest, _) = left.retry.get_or_insert((None, why));
                *longest = after.max(*longest);
                return;
            }
            Outcome::TooLarge => {
                left.is_too_large = true;
                return;
            }
        };
        self.0.entry(part.to_owned()).or_default().fate = Some(fate);
    }

    /// What the message comes to, of which `left` is left.
    pub(super) fn outcome(&self, left: Left) -> Outcome {
        if left.is_too_large {
            return Outcome::TooLarge;
        }
        match left.retry {
            Some((after, why)) if left.is_lost => return Outcome::Lost { after, why },
            Some((after, why)) => return Outcome::Retry { after, why },
            None => {}
        }
        let mut refused = Vec::new();
        let mut taken = 0;
        for (name, part) in &self.0 {
            match &part.fate {
                Some(Fate::Refused(why)) => refused.push((name, why)),
                Some(Fate::TakenInPart(why)) => {
                    taken += 1;
                    refused.push((name, why));
                }
                Some(Fate::Taken) => taken += 1,
                None => {}
            }
        }
        match (&refused[..], self.0.len()) {
            ([], _) => Outcome::Delivered,
            ([(_, why), ..], _) if taken == 0 => Outcome::Dead { why: (*why).clone() },
            ([(_, why)], 1) => Outcome::Partial { why: (*why).clone() },
            ([(name, why), ..], all) => {
                Outcome::Partial { why: format!("{} of {all}: {name}: {why}", refused.len()) }
            }
        }
    }
}
