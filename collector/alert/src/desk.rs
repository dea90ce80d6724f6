//! What each receiver has been told, what it is owed, and when it hears the next word.
//!
//! ```text
//! alert ──routes──> Group (receiver, labels) ── one Line for each alert: told? owed since?
//!                      │ due: wait, interval, repeat, back-off
//!                      └──> Notice ──sent──> delivered │ failed
//! ```
//!
//! A group is a row of the outbox: it is kept with the alert that it tells of, in one transaction, and
//! what is sent is made from what holds at that moment. So a newer state replaces one that was not
//! delivered, a firing never follows its own end, and a restart owes exactly what was owed before.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use crate::book::Book;
use crate::book::Record;
use crate::catalogue::Catalogue;
use crate::key::AlertId;
use crate::mute::Mute;
use crate::notice::Reason;
use crate::outgoing::Outcome;
use crate::route::Grouping;
use crate::severity::Severity;

mod compose;
mod post;
#[cfg(test)]
mod tests;

pub use compose::Sent;
pub use compose::SentLine;
pub use post::DeadLetter;
pub use post::Failed;
pub use post::GIVE_UP_SECS;
pub use post::LETTER_KEPT_SECS;
pub use post::MAX_DEAD;
pub use post::Post;

/// A group's place: who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId {
    /// The receiver's name.
    pub receiver: Arc<str>,
    /// The group, as a stable text: `{alertname="PalisadeX",pool="web"}`.
    pub key: Arc<str>,
}

/// How a receiver takes alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Each by itself, again and again: it groups and reminds by itself.
    Alertmanager,
    /// In messages about groups.
    Grouped,
}

/// Alertmanager hears of everything that fires each minute, and of what ended for five minutes more: a
/// member that restarts knows nothing (alerts.md A-6).
const AGAIN: Grouping = Grouping {
    by: BTreeSet::new(),
    wait: crate::span::Span::secs(2),
    interval: crate::span::Span::secs(5),
    repeat: crate::span::Span::secs(60),
};
/// See [`AGAIN`].
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
    /// Its alerts.
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
}

/// What a receiver knows of an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Whether that message is on its way now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_on_its_way: bool,
    /// Whether a crash hid what became of one: the receiver may know what it was told, or what was on its
    /// way. It has to be told how things are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_in_doubt: bool,
    /// When its end was refused, which is told again if somebody asks for it; the moment of the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Moment>,
}

/// What a group is made from.
pub struct World<'w> {
    /// The alerts.
    pub book: &'w Book,
    /// Their words.
    pub catalogue: &'w Catalogue,
    /// The cluster's name.
    pub cluster: &'w str,
    /// Where people reach the collector.
    pub external_url: &'w str,
    /// Whether an alert is muted, and by what.
    pub muted: &'w dyn Fn(AlertId, &Record) -> Option<Mute>,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A way to a receiver.
#[derive(Clone, Debug)]
pub struct Way<'c> {
    /// Its name.
    pub receiver: &'c str,
    /// How it takes alerts.
    pub style: Style,
    /// How they come together.
    pub grouping: &'c Grouping,
}

/// The group that an alert joins on a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The labels that the group's alerts share.
    pub labels: BTreeMap<&'static str, String>,
    /// See [`GroupId::key`].
    pub key: String,
    /// See [`Group::waits`].
    pub waits: [i64; 3],
}

impl Way<'_> {
    /// The group that an alert with these labels joins.
    #[must_use]
    pub fn joined(&self, labels: &BTreeMap<&'static str, String>) -> Joined {
        let by_itself = Grouping::default();
        let (grouping, waits) = match self.style {
            Style::Alertmanager => (&by_itself, &AGAIN),
            Style::Grouped => (self.grouping, self.grouping),
        };
        let own = grouping.of(labels);
        let key = group_key(&own);
        let waits = [waits.wait.as_secs(), waits.interval.as_secs(), waits.repeat.as_secs()];
        Joined { labels: own, key, waits }
    }
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    groups: BTreeMap<GroupId, Group>,
    of_alert: BTreeMap<AlertId, BTreeSet<GroupId>>,
    /// To be looked at again before the next message.
    dirty: BTreeSet<GroupId>,
    /// With alerts that are muted: what mutes them may end by itself.
    watched: BTreeSet<GroupId>,
    changed: BTreeSet<GroupId>,
    due: BTreeMap<GroupId, Moment>,
    /// The same for each receiver, in order.
    queues: BTreeMap<Arc<str>, BTreeSet<(Moment, GroupId)>>,
    posts: BTreeMap<Arc<str>, Post>,
    changed_posts: BTreeSet<Arc<str>>,
}

impl Desk {
    /// What was owed and told, as it was kept.
    #[must_use]
    pub fn restore(
        groups: impl IntoIterator<Item = Group>,
        posts: impl IntoIterator<Item = Post>,
    ) -> Self {
        let mut desk = Self::default();
        for mut group in groups {
            for (id, line) in &mut group.lines {
                line.is_in_doubt |= std::mem::take(&mut line.is_on_its_way);
                desk.of_alert.entry(*id).or_default().insert(group.id.clone());
            }
            desk.dirty.insert(group.id.clone());
            desk.groups.insert(group.id.clone(), group);
        }
        desk.posts = posts.into_iter().map(|it| (Arc::clone(&it.receiver), it)).collect();
        desk
    }

    /// All groups.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<GroupId, Group> {
        &self.groups
    }

    /// Groups in which an alert is.
    pub fn of_alert(&self, id: AlertId) -> impl Iterator<Item = &Group> {
        let ids = self.of_alert.get(&id).into_iter().flatten();
        ids.filter_map(|id| self.groups.get(id))
    }

    /// Groups that are different from what was kept; those that are none any more are gone.
    pub fn take_changed(&mut self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether somebody still has to hear of an alert.
    #[must_use]
    pub fn owes(&self, id: AlertId) -> bool {
        self.of_alert(id).any(|group| group.lines.contains_key(&id))
    }

    /// Says who is to be told of an alert from now on. Its groups are looked at again.
    pub fn route(
        &mut self,
        id: AlertId,
        record: &Record,
        ways: &[Way<'_>],
        labels: &BTreeMap<&'static str, String>,
    ) {
        let before = self.of_alert.get(&id).cloned().unwrap_or_default();
        let mut after = BTreeSet::new();
        if record.is_firing() {
            for way in ways {
                after.insert(self.join(id, way, labels));
            }
        }
        for place in before.iter().filter(|place| !after.contains(*place)) {
            if let Some(line) = self.groups.get_mut(place).and_then(|it| it.lines.get_mut(&id)) {
                line.is_routed = false;
            }
        }
        self.dirty.extend(before.iter().chain(&after).cloned());
        let all: BTreeSet<GroupId> = before.into_iter().chain(after).collect();
        if !all.is_empty() {
            self.of_alert.insert(id, all);
        }
    }

    fn join(
        &mut self,
        id: AlertId,
        way: &Way<'_>,
        labels: &BTreeMap<&'static str, String>,
    ) -> GroupId {
        let Joined { labels: own, key, waits } = way.joined(labels);
        let place = GroupId { receiver: way.receiver.into(), key: key.into() };
        let group = self.groups.entry(place.clone()).or_insert_with(|| Group {
            id: place.clone(),
            style: way.style,
            labels: own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            waits,
            lines: BTreeMap::new(),
            told_at: None,
            due_since: None,
            attempts: 0,
            not_before: None,
            is_rolled_up: false,
        });
        (group.waits, group.style) = (waits, way.style);
        group.lines.entry(id).or_default().is_routed = true;
        place
    }

    /// Forgets receivers that are no more, with all that they were owed.
    pub fn keep_receivers(&mut self, known: &dyn Fn(&str) -> bool) {
        let gone: Vec<GroupId> =
            self.groups.keys().filter(|id| !known(&id.receiver)).cloned().collect();
        for place in gone {
            self.drop_group(&place);
        }
        self.posts.retain(|name, _| known(name));
    }

    fn drop_group(&mut self, place: &GroupId) {
        for id in self.groups.remove(place).into_iter().flat_map(|it| it.lines.into_keys()) {
            self.leave(id, place);
        }
        self.changed.insert(place.clone());
        self.schedule(place, None);
        self.dirty.remove(place);
        self.watched.remove(place);
    }

    fn leave(&mut self, id: AlertId, place: &GroupId) {
        if let Some(places) = self.of_alert.get_mut(&id) {
            places.remove(place);
            if places.is_empty() {
                self.of_alert.remove(&id);
            }
        }
    }

    fn schedule(&mut self, place: &GroupId, at: Option<Moment>) {
        let queue = self.queues.entry(Arc::clone(&place.receiver)).or_default();
        if let Some(before) = self.due.remove(place) {
            queue.remove(&(before, place.clone()));
        }
        if let Some(at) = at {
            queue.insert((at, place.clone()));
            self.due.insert(place.clone(), at);
        }
    }

    /// Works out what each group that may have changed owes, and when.
    pub fn settle(&mut self, world: &World<'_>, now: Moment) {
        self.forget_old_letters(now);
        for place in std::mem::take(&mut self.dirty) {
            self.settle_group(&place, world, now);
        }
    }

    fn settle_group(&mut self, place: &GroupId, world: &World<'_>, now: Moment) {
        let Some(before) = self.groups.get(place) else { return };
        let mut group = before.clone();
        let settled = group.settle(world, now);
        let due = group.due(settled, now);
        let Settled { news, reminds, has_muted } = settled;
        // A reminder that nobody takes waits like news does.
        let [_, _, repeat] = group.waits;
        let is_late = reminds && group.told_at.is_some_and(|told| told.plus(repeat) <= now);
        if news.is_some() || is_late {
            group.due_since = group.due_since.or(due);
        } else {
            (group.due_since, group.attempts, group.not_before) = (None, 0, None);
        }
        let is_same = group == *before;
        let left: Vec<AlertId> =
            before.lines.keys().filter(|id| !group.lines.contains_key(*id)).copied().collect();
        left.into_iter().for_each(|id| self.leave(id, place));
        if group.lines.is_empty() {
            self.drop_group(place);
            return;
        }
        if has_muted {
            self.watched.insert(place.clone());
        }
        self.schedule(place, due);
        if !is_same {
            self.changed.insert(place.clone());
            self.groups.insert(place.clone(), group);
        }
    }

    /// Lets groups with muted alerts be looked at again: what mutes them may have ended by itself.
    pub fn recheck_muted(&mut self) {
        self.dirty.append(&mut self.watched);
    }

    /// The clock was ahead and shows `now` again: nothing that was noted is later than that, and nobody
    /// is left alone until then.
    pub fn set_back(&mut self, now: Moment) {
        let earlier = |at: Option<Moment>| at.map(|at| at.min(now));
        for group in self.groups.values_mut() {
            group.told_at = earlier(group.told_at);
            group.due_since = earlier(group.due_since);
            group.not_before = None;
            for line in group.lines.values_mut() {
                (line.owed, line.ended) = (earlier(line.owed), earlier(line.ended));
            }
        }
        for post in self.posts.values_mut() {
            (post.not_before, post.delivered_at) = (None, earlier(post.delivered_at));
        }
        self.changed.extend(self.groups.keys().cloned());
        self.changed_posts.extend(self.posts.keys().cloned());
        self.unsettle();
    }

    /// Lets every group be looked at again: what mutes, or the settings, have changed.
    pub fn unsettle(&mut self) {
        self.dirty.extend(self.groups.keys().cloned());
    }

    /// The group whose message to a receiver has been due for longest, if one is.
    pub fn next(&mut self, receiver: &str, world: &World<'_>, now: Moment) -> Option<GroupId> {
        if self.posts.get(receiver).is_some_and(|post| post.is_left_alone(now)) {
            return None;
        }
        loop {
            let (at, place) = self.queues.get(receiver)?.first().cloned()?;
            if at > now {
                return None;
            }
            // What time alone takes away must not keep a message due that has nothing to say.
            self.settle_group(&place, world, now);
            if self.due.get(&place) == Some(&at) {
                return Some(place);
            }
        }
    }

    /// Groups whose messages to a receiver are due at `now`, the one that has waited longest first.
    pub fn all_due(&mut self, receiver: &str, world: &World<'_>, now: Moment) -> Vec<GroupId> {
        if self.posts.get(receiver).is_some_and(|post| post.is_left_alone(now)) {
            return Vec::new();
        }
        let queue = self.queues.get(receiver).into_iter().flatten();
        let due: Vec<GroupId> =
            queue.take_while(|(at, _)| *at <= now).map(|(_, place)| place.clone()).collect();
        due.iter().for_each(|place| self.settle_group(place, world, now));
        due.into_iter().filter(|it| self.due.get(it).is_some_and(|at| *at <= now)).collect()
    }

    /// When the next message may be due, over all receivers.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.queues.values().filter_map(|queue| queue.first()).map(|(at, _)| *at).min()
    }
}

/// The news of a group, the most urgent of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// An alert ended.
    Ended,
    /// An alert fires, or fires louder.
    Fires,
    /// A critical one does.
    Critical,
}

/// What came of looking at a group.
#[derive(Clone, Copy, Debug)]
struct Settled {
    news: Option<News>,
    /// Whether something that was told is worth saying again.
    reminds: bool,
    has_muted: bool,
}

impl Group {
    /// Brings the lines up to what holds now.
    fn settle(&mut self, world: &World<'_>, now: Moment) -> Settled {
        let (style, due_since) = (self.style, self.due_since);
        let mut news = None;
        let (mut has_muted, mut reminds) = (false, false);
        self.lines.retain(|id, line| {
            let Some(record) = world.book.record(*id) else {
                // Nobody knows any more what it was: there are no words for it.
                return false;
            };
            if !record.is_firing() {
                let at = record.end().map(|end| end.settled_at);
                let kept = at.is_some_and(|at| line.end(style, at, due_since, now));
                if kept && line.owed.is_some() {
                    news = news.max(Some(News::Ended));
                }
                reminds |= kept && line.ended.is_some();
                return kept;
            }
            line.ended = None;
            if line.refused_at.take().is_some() {
                // It is another one than that whose end was refused, and news.
                (line.told, line.is_given) = (None, true);
            }
            let is_muted = (world.muted)(*id, record).is_some();
            has_muted |= is_muted;
            reminds |= line.goes_on(style) || (line.told.is_some() && line.is_routed && !is_muted);
            let is_told = line.told.is_some_and(|told| told >= record.severity);
            let is_known = is_told && !line.is_in_doubt;
            if is_muted || is_known || !line.is_routed {
                line.owed = None;
                // Told as louder than it is: from now on it may become louder again.
                line.told = line.told.map(|told| told.min(record.severity));
                return line.is_routed || line.is_known();
            }
            line.owed = line.owed.or(Some(now));
            let is_critical = record.severity == Severity::Critical;
            news = news.max(Some(if is_critical { News::Critical } else { News::Fires }));
            true
        });
        if style == Style::Alertmanager {
            let lasts = |it: &&Line| (it.is_routed || it.goes_on(style)) && it.ended.is_none();
            let firing = self.lines.values().filter(lasts).count();
            let limit = if self.is_rolled_up { ROLL_UP_ABOVE / 2 } else { ROLL_UP_ABOVE };
            self.is_rolled_up = firing > limit;
        }
        Settled { news, reminds, has_muted }
    }

    /// When a message is due. Critical news waits for company, and not for the interval.
    fn due(&self, settled: Settled, now: Moment) -> Option<Moment> {
        let [wait, interval, repeat] = self.waits;
        let owed = self.lines.values().filter_map(|line| line.owed).min();
        let due = match (settled.news, self.told_at) {
            (Some(_), None) | (Some(News::Critical), Some(_)) => owed.unwrap_or(now).plus(wait),
            (Some(News::Ended | News::Fires), Some(told)) => {
                owed.unwrap_or(now).plus(wait).max(told.plus(interval))
            }
            (None, Some(told)) if settled.reminds => told.plus(repeat),
            (None, Some(_) | None) => return None,
        };
        Some(self.not_before.map_or(due, |at| due.max(at)))
    }
}

impl Line {
    /// Alertmanager takes what it does not hear again for over: what it was told, it goes on hearing
    /// while it fires, although it is muted or routed elsewhere by now.
    const fn goes_on(&self, style: Style) -> bool {
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

/// As Alertmanager writes label sets.
fn group_key(labels: &BTreeMap<&'static str, String>) -> String {
    let parts: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", parts.join(","))
}
