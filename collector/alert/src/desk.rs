//! What each receiver has been told, what it is owed, and when it hears the next word.
//!
//! ```text
//! alert ──routes──> Group (receiver, labels) ── one Line for each alert: told? owed since?
//!                      │ due: wait, interval, repeat, back-off
//!                      └──> Notice ──sent──> delivered │ failed
//! ```
//!
//! A group is a row of the outbox, and so is each of its lines: they are kept with the alerts that they
//! tell of, in one transaction, and what is sent is made from what holds at that moment. So a newer state
//! replaces one that was not delivered, a firing never follows its own end, and a restart owes exactly
//! what was owed before.

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

mod compose;
mod group;
mod post;
mod tally;
#[cfg(test)]
mod tests;

pub use compose::Sent;
pub use compose::SentLine;
pub use group::Group;
pub use group::Line;
pub use group::ROLL_UP_ABOVE;
pub use group::Style;
pub use post::DeadLetter;
pub use post::Failed;
pub use post::GIVE_UP_SECS;
pub use post::LETTER_KEPT_SECS;
pub use post::MAX_DEAD;
pub use post::Post;

use group::Settled;

/// A group's place: who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId {
    /// The receiver's name.
    pub receiver: Arc<str>,
    /// The group, as a stable text: `{alertname="PalisadeX",pool="web"}`.
    pub key: Arc<str>,
}

/// Alertmanager hears of everything that fires each minute (alerts.md A-6).
const AGAIN: Grouping = Grouping {
    by: BTreeSet::new(),
    wait: crate::span::Span::secs(2),
    interval: crate::span::Span::secs(5),
    repeat: crate::span::Span::secs(60),
};

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
    /// In order; few for each of many.
    of_alert: BTreeMap<AlertId, Vec<GroupId>>,
    /// To be looked at again before the next message.
    dirty: BTreeSet<GroupId>,
    /// With alerts that are muted: what mutes them may end by itself.
    watched: BTreeSet<GroupId>,
    /// Which lines of groups, if any.
    changed: BTreeMap<GroupId, BTreeSet<AlertId>>,
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
            group.doubt_all();
            for (id, line) in &mut group.lines {
                line.is_in_doubt |= std::mem::take(&mut line.is_on_its_way);
                desk.of_alert.entry(*id).or_default().push(group.id.clone());
            }
            desk.dirty.insert(group.id.clone());
            desk.groups.insert(group.id.clone(), group);
        }
        desk.of_alert.values_mut().for_each(|places| places.sort_unstable());
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

    /// Groups that are different from what was kept, each with the lines that are; those that are none
    /// any more are gone.
    pub fn take_changed(&mut self) -> BTreeMap<GroupId, BTreeSet<AlertId>> {
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
        let mut places = self.of_alert.remove(&id).unwrap_or_default();
        let mut joined: Vec<GroupId> = Vec::new();
        if record.is_firing() {
            joined.extend(ways.iter().map(|way| self.join(id, way, labels)));
        }
        for place in places.iter().filter(|place| !joined.contains(place)) {
            let Some(group) = self.groups.get_mut(place) else { continue };
            let left = group.change(id, |line| line.is_routed = false);
            // What became of the alert may be news nevertheless.
            group.doubt(id);
            if left.is_some() {
                self.note(place.clone(), left);
            }
        }
        places.extend(joined);
        places.sort_unstable();
        places.dedup();
        self.dirty.extend(places.iter().cloned());
        if !places.is_empty() {
            places.shrink_to_fit();
            self.of_alert.insert(id, places);
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
        let group = self.groups.entry(place).or_insert_with_key(|place| {
            let labels = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Group::new(place.clone(), way.style, labels, waits)
        });
        // The texts of its place are shared by all that are in it.
        let place = group.id.clone();
        let is_altered = (group.waits, group.style) != (waits, way.style);
        (group.waits, group.style) = (waits, way.style);
        group.lines.entry(id).or_default();
        let joined = group.change(id, |line| line.is_routed = true);
        // How loud it is may be news nevertheless.
        group.doubt(id);
        if is_altered || joined.is_some() {
            self.note(place.clone(), joined);
        }
        place
    }

    /// A group is different from what was kept, and so are these of its lines.
    fn note(&mut self, place: GroupId, lines: impl IntoIterator<Item = AlertId>) {
        self.changed.entry(place).or_default().extend(lines);
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
        let lines = self.groups.remove(place).map(|group| group.lines).unwrap_or_default();
        lines.keys().for_each(|id| self.leave(*id, place));
        self.note(place.clone(), lines.into_keys());
        self.schedule(place, None);
        self.dirty.remove(place);
        self.watched.remove(place);
    }

    fn leave(&mut self, id: AlertId, place: &GroupId) {
        if let Some(places) = self.of_alert.get_mut(&id) {
            places.retain(|it| it != place);
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
        let Some(group) = self.groups.get_mut(place) else { return };
        let Settled { changed, left, due, is_altered } = group.settle(world, now);
        let (is_empty, has_muted) = (group.lines.is_empty(), group.has_muted());
        left.into_iter().for_each(|id| self.leave(id, place));
        if is_altered || !changed.is_empty() {
            self.note(place.clone(), changed);
        }
        if is_empty {
            self.drop_group(place);
            return;
        }
        if has_muted {
            self.watched.insert(place.clone());
        }
        self.schedule(place, due);
    }

    /// Settles all of a group, of which a message is about to leave: what mutes an alert may have begun
    /// or ended, and what time alone takes away must not keep a message due that has nothing to say.
    fn settle_all(&mut self, place: &GroupId, world: &World<'_>, now: Moment) {
        if let Some(group) = self.groups.get_mut(place) {
            group.doubt_all();
        }
        self.settle_group(place, world, now);
    }

    /// Lets groups with muted alerts be looked at again: what mutes them may have ended by itself.
    pub fn recheck_muted(&mut self) {
        for place in std::mem::take(&mut self.watched) {
            if let Some(group) = self.groups.get_mut(&place) {
                group.doubt_muted();
                self.dirty.insert(place);
            }
        }
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
            self.changed.entry(group.id.clone()).or_default().extend(group.lines.keys());
        }
        for post in self.posts.values_mut() {
            (post.not_before, post.delivered_at) = (None, earlier(post.delivered_at));
        }
        self.changed_posts.extend(self.posts.keys().cloned());
        self.unsettle();
    }

    /// Lets every group be looked at again: what mutes, or the settings, have changed.
    pub fn unsettle(&mut self) {
        self.groups.values_mut().for_each(Group::doubt_all);
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
            self.settle_all(&place, world, now);
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
        due.iter().for_each(|place| self.settle_all(place, world, now));
        due.into_iter().filter(|it| self.due.get(it).is_some_and(|at| *at <= now)).collect()
    }

    /// When the next message may be due, over all receivers.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.queues.values().filter_map(|queue| queue.first()).map(|(at, _)| *at).min()
    }
}

/// As Alertmanager writes label sets.
fn group_key(labels: &BTreeMap<&'static str, String>) -> String {
    let parts: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", parts.join(","))
}
