//! A group of alerts for one receiver: what it knows of each, what it is owed, and when it hears of it.
//!
//! A line that may have changed is doubted: it counts for nothing until it is settled again. So a turn
//! costs what changed, however many alerts a group has. Before a message leaves the whole group is
//! doubted, because what mutes an alert may begin and end by itself.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use super::GroupId;
use super::World;
use super::tally::News;
use super::tally::Standing;
use super::tally::Tally;
use crate::book::Record;
use crate::key::AlertId;
use crate::severity::Severity;

/// How a receiver takes alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Each by itself, again and again: it groups and reminds by itself.
    Alertmanager,
    /// In messages about groups.
    Grouped,
}

/// For so long after it was told first an end is told to Alertmanager again: a member that restarts
/// knows nothing (alerts.md A-6).
const ENDED_AGAIN_SECS: i64 = 300;

/// A group is cut into individuals and a roll-up above so many alerts, and whole again below half of
/// them; only for those who take each by itself.
pub const ROLL_UP_ABOVE: usize = crate::notice::MAX_NOTICED;

/// A group of alerts for one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its place.
    pub id: GroupId,
    /// How its receiver takes alerts.
    pub style: Style,
    /// The labels that its alerts share.
    pub labels: BTreeMap<String, String>,
    /// Waits, in seconds: before the first message, between news, between reminders.
    pub waits: [i64; 3],
    /// Its alerts. Each is kept by itself: of a hundred thousand few change at a time.
    #[serde(skip)]
    pub lines: BTreeMap<AlertId, Line>,
    /// When the last message was taken.
    pub told_at: Option<Moment>,
    /// Since when a message is due that nobody has taken.
    pub due_since: Option<Moment>,
    /// Attempts for that message so far.
    pub attempts: u32,
    /// Not before then.
    pub not_before: Option<Moment>,
    /// Whether most of it is told as one.
    #[serde(default)]
    pub is_rolled_up: bool,
    #[serde(skip)]
    tally: Tally,
}

/// What a receiver knows of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The severity with which it was told; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Severity>,
    /// Since when there is news of it that was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<Moment>,
    /// When its end was told first, to those who want to hear it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// Whether it was told as one of many.
    #[serde(default)]
    pub is_rolled_up: bool,
    /// Whether it is routed here now; one that is not has only its end to be told.
    #[serde(default)]
    pub is_routed: bool,
    /// Whether it left in a message of which nobody knows yet whether it was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_given: bool,
    /// Whether a message is on its way now that tells of it otherwise than it was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_on_its_way: bool,
    /// Whether a crash hid what became of one: the receiver may know what it was told, or what was on its
    /// way. It has to be told how things are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_in_doubt: bool,
    /// When its end was refused, which is told again if somebody asks for it; the moment of the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Moment>,
    #[serde(skip)]
    standing: Standing,
}

/// What came of settling a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    /// Lines that are different from before, those that left among them.
    pub(super) changed: BTreeSet<AlertId>,
    /// Lines that have nothing more to tell.
    pub(super) left: Vec<AlertId>,
    /// When a message is due.
    pub(super) due: Option<Moment>,
    /// Whether anything but lines is different.
    pub(super) is_altered: bool,
}

impl Group {
    /// One without alerts.
    #[must_use]
    pub const fn new(
        id: GroupId,
        style: Style,
        labels: BTreeMap<String, String>,
        waits: [i64; 3],
    ) -> Self {
        Self {
            id,
            style,
            labels,
            waits,
            lines: BTreeMap::new(),
            told_at: None,
            due_since: None,
            attempts: 0,
            not_before: None,
            is_rolled_up: false,
            tally: Tally::new(),
        }
    }

    /// Whether some of its alerts are muted.
    pub(super) const fn has_muted(&self) -> bool {
        self.tally.has_muted()
    }

    /// Lets a line be looked at again.
    pub(super) fn doubt(&mut self, id: AlertId) {
        if let Some(line) = self.lines.get_mut(&id) {
            let standing = std::mem::take(&mut line.standing);
            self.tally.doubt(id, standing, line.owed);
        }
    }

    /// Lets every line be looked at again.
    pub(super) fn doubt_all(&mut self) {
        self.lines.values_mut().for_each(|line| line.standing = Standing::default());
        self.tally = Tally::doubting(self.lines.keys().copied());
    }

    /// Lets lines be looked at again whose alerts are muted.
    pub(super) fn doubt_muted(&mut self) {
        let muted = self.lines.iter().filter(|(_, line)| line.standing.is_muted);
        let muted: Vec<AlertId> = muted.map(|(id, _)| *id).collect();
        muted.into_iter().for_each(|id| self.doubt(id));
    }

    /// Changes a line, which is doubted then. Returns its id, if anything is different.
    pub(super) fn change(&mut self, id: AlertId, act: impl FnOnce(&mut Line)) -> Option<AlertId> {
        let mut line = *self.lines.get(&id)?;
        let before = line;
        act(&mut line);
        if line == before {
            return None;
        }
        self.doubt(id);
        self.lines.insert(id, Line { standing: Standing::default(), ..line });
        Some(id)
    }

    /// Brings the lines up to what holds now.
    pub(super) fn settle(&mut self, world: &World<'_>, now: Moment) -> Settled {
        let before = (self.due_since, self.attempts, self.not_before, self.is_rolled_up);
        let mut settled = Settled::default();
        let [_, _, repeat] = self.waits;
        let (style, due_since) = (self.style, self.due_since);
        for id in self.tally.take_doubted() {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            let was = *line;
            let Some(standing) = line.settle(id, style, due_since, world, now) else {
                self.lines.remove(&id);
                settled.changed.insert(id);
                settled.left.push(id);
                continue;
            };
            if *line != was {
                settled.changed.insert(id);
            }
            line.standing = standing;
            self.tally.count(standing, line.owed);
        }
        if style == Style::Alertmanager {
            let limit = if self.is_rolled_up { ROLL_UP_ABOVE / 2 } else { ROLL_UP_ABOVE };
            self.is_rolled_up = self.tally.lasting() > limit;
        }
        settled.due = self.due(now);
        // A reminder that nobody takes waits like news does.
        let is_late = self.tally.reminds() && self.told_at.is_some_and(|at| at.plus(repeat) <= now);
        if self.tally.news().is_some() || is_late {
            self.due_since = self.due_since.or(settled.due);
        } else {
            (self.due_since, self.attempts, self.not_before) = (None, 0, None);
        }
        let after = (self.due_since, self.attempts, self.not_before, self.is_rolled_up);
        settled.is_altered = before != after;
        settled
    }

    /// When a message is due. Critical news waits for company, and not for the interval.
    fn due(&self, now: Moment) -> Option<Moment> {
        let [wait, interval, repeat] = self.waits;
        let owed = self.tally.owed_since().unwrap_or(now);
        let due = match (self.tally.news(), self.told_at) {
            (Some(_), None) | (Some(News::Critical), Some(_)) => owed.plus(wait),
            (Some(News::Ended | News::Fires), Some(told)) => {
                owed.plus(wait).max(told.plus(interval))
            }
            (None, Some(told)) if self.tally.reminds() => told.plus(repeat),
            (None, Some(_) | None) => return None,
        };
        Some(self.not_before.map_or(due, |at| due.max(at)))
    }
}

impl Line {
    /// Brings it up to what holds now. `None`: there is nothing more to tell.
    fn settle(
        &mut self,
        id: AlertId,
        style: Style,
        due_since: Option<Moment>,
        world: &World<'_>,
        now: Moment,
    ) -> Option<Standing> {
        // Of what nobody knows any more there are no words.
        let record = world.book.record(id)?;
        let standing = if record.is_firing() {
            self.settle_firing(id, record, style, world, now)?
        } else {
            let at = record.end()?.settled_at;
            if !self.end(style, at, due_since, now) {
                return None;
            }
            let news = self.owed.map(|_| News::Ended);
            Standing { news, reminds: self.ended.is_some(), ..Standing::settled() }
        };
        let lasts = (self.is_routed || self.goes_on(style)) && self.ended.is_none();
        Some(Standing { lasts, ..standing })
    }

    fn settle_firing(
        &mut self,
        id: AlertId,
        record: &Record,
        style: Style,
        world: &World<'_>,
        now: Moment,
    ) -> Option<Standing> {
        self.ended = None;
        if self.refused_at.take().is_some() {
            // It is another one than that whose end was refused, and news.
            (self.told, self.is_given) = (None, true);
        }
        let is_muted = (world.muted)(id, record).is_some();
        let reminds = self.goes_on(style) || (self.told.is_some() && self.is_routed && !is_muted);
        let standing = Standing { reminds, is_muted, ..Standing::settled() };
        let is_told = self.told.is_some_and(|told| told >= record.severity);
        let is_known = is_told && !self.is_in_doubt;
        if is_muted || is_known || !self.is_routed {
            self.owed = None;
            // Told as louder than it is: from now on it may become louder again.
            self.told = self.told.map(|told| told.min(record.severity));
            return (self.is_routed || self.is_known()).then_some(standing);
        }
        self.owed = self.owed.or(Some(now));
        let is_critical = record.severity == Severity::Critical;
        let news = Some(if is_critical { News::Critical } else { News::Fires });
        Some(Standing { news, ..standing })
    }

    /// Alertmanager takes what it does not hear again for over: what it was told, it goes on hearing
    /// while it fires, although it is muted or routed elsewhere by now.
    pub(super) const fn goes_on(&self, style: Style) -> bool {
        matches!(style, Style::Alertmanager) && self.told.is_some()
    }

    /// Whether its receiver knows of it, or may do so.
    const fn is_known(&self) -> bool {
        self.told.is_some() || self.is_given
    }

    /// Its alert is over since `at`. Whether there is still something to tell in a group of which a
    /// message has been due since `due_since`.
    fn end(&mut self, style: Style, at: Moment, due_since: Option<Moment>, now: Moment) -> bool {
        if self.is_rolled_up {
            // It was never heard of by itself.
            return false;
        }
        if let Some(first) = self.ended {
            return style == Style::Alertmanager && now.since(first) < ENDED_AGAIN_SECS;
        }
        if self.refused_at.is_some() {
            // For as long as its letter is kept.
            return true;
        }
        if self.is_known() {
            self.owed = self.owed.or(Some(now));
            return true;
        }
        // Nothing of it can have left before a message was due: it was over before anybody would hear.
        self.owed.is_some() && due_since.is_some_and(|since| since <= at)
    }
}
