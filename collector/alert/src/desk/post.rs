//! The way to a receiver: what came of messages, and when it wants to be left alone.

use std::sync::Arc;
use std::time::Duration;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use super::Desk;
use super::Group;
use super::GroupId;
use super::Line;
use super::Outcome;
use super::Sent;
use super::SentLine;
use super::Style;
use crate::key::AlertId;

/// A message that nobody takes is put aside after a day: what it says is old by then, and what still
/// fires is told by the next one.
pub const GIVE_UP_SECS: i64 = 86_400;

/// Messages put aside that are kept for each receiver, the newest ones.
pub const MAX_DEAD: usize = 100;

/// A message put aside is kept for so long: who looks after a receiver has been at work by then.
pub const LETTER_KEPT_SECS: i64 = 7 * 86_400;

/// Ends of a message put aside that can be told again: as many as it showed. Each keeps its alert in
/// the book, which has room for the ends of all letters of a few receivers (200 x [`MAX_DEAD`]).
const MAX_REFUSED_ENDS: usize = crate::notice::MAX_NOTICED;

/// The way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Its name.
    pub receiver: Arc<str>,
    /// Not before then.
    #[serde(default)]
    pub not_before: Option<Moment>,
    /// When a message was taken last.
    #[serde(default)]
    pub delivered_at: Option<Moment>,
    /// What the last attempt came to, if it failed, and when.
    #[serde(default)]
    pub failed: Option<Failed>,
    /// Messages put aside.
    #[serde(default)]
    pub dead: Vec<DeadLetter>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When.
    pub at: Moment,
    /// Why.
    pub why: String,
}

/// A message that was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When.
    pub at: Moment,
    /// Which group.
    pub group: Arc<str>,
    /// Alerts in it; of one that was taken in part, those that were taken, too.
    pub alerts: usize,
    /// Why.
    pub why: String,
}

impl Post {
    /// Whether it wants to be left alone.
    #[must_use]
    pub fn is_left_alone(&self, now: Moment) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }
}

impl Line {
    /// A receiver knows this of it now.
    fn told_as(&mut self, sent: SentLine, style: Style, now: Moment) {
        (self.owed, self.is_given) = (None, false);
        (self.is_on_its_way, self.is_in_doubt) = (false, false);
        match sent {
            SentLine::Fires(severity) => {
                (self.told, self.is_rolled_up) = (Some(severity), false);
            }
            SentLine::RolledUp(severity) => {
                (self.told, self.is_rolled_up) = (Some(severity), true);
            }
            SentLine::Muted => self.told = None,
            SentLine::Ended => {
                let again = style == Style::Alertmanager && !self.is_rolled_up;
                self.ended = again.then(|| self.ended.unwrap_or(now));
                self.told = None;
            }
        }
    }
}

impl Group {
    /// What fires counts as untold from now on. Returns which lines are different.
    fn tell_anew(&mut self) -> Vec<AlertId> {
        self.told_at = None;
        // What is owed anyway goes with it: news of what was told, and ends.
        let told = self.lines.iter().filter(|(_, line)| line.owed.is_none());
        let ids: Vec<AlertId> = told.map(|(id, _)| *id).collect();
        let forget = |line: &mut Line| {
            // An end that was refused is owed again; of what fires, an earlier message may have told.
            if line.refused_at.take().is_none() {
                line.is_given |= line.told.take().is_some();
            }
        };
        ids.into_iter().filter_map(|id| self.change(id, forget)).collect()
    }
}

impl Desk {
    /// The way to a receiver, as far as something was sent.
    #[must_use]
    pub fn post(&self, receiver: &str) -> Option<&Post> {
        self.posts.get(receiver)
    }

    /// Ways that are different from what was kept.
    pub fn take_changed_posts(&mut self) -> std::collections::BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed_posts)
    }

    fn post_mut(&mut self, receiver: &Arc<str>) -> &mut Post {
        self.changed_posts.insert(Arc::clone(receiver));
        self.posts.entry(Arc::clone(receiver)).or_insert_with(|| Post {
            receiver: Arc::clone(receiver),
            not_before: None,
            delivered_at: None,
            failed: None,
            dead: Vec::new(),
        })
    }

    /// A message about a group is on its way. Its receiver may know of its alerts from now on, whatever
    /// becomes of the group, and of the answer. It goes once that is written.
    ///
    /// A process that ends before it has the answer would else go by what was told before: of an alert
    /// that turned back meanwhile there would seem to be nothing to say. Whoever hears of everything again
    /// within a minute is not written down for that; and of what was not told, or is told as it was, there
    /// is nothing to take back.
    pub fn given(&mut self, place: &GroupId, sent: &Sent) {
        let Some(group) = self.groups.get_mut(place) else { return };
        let mut given = Vec::new();
        for (id, sent) in &sent.lines {
            let Some(line) = group.lines.get_mut(id) else { continue };
            let before = *line;
            match line.told {
                Some(told) => {
                    let is_other = *sent != SentLine::Fires(told);
                    line.is_on_its_way = is_other && group.style == Style::Grouped;
                }
                None => line.is_given |= matches!(sent, SentLine::Ended | SentLine::Fires(_)),
            }
            if *line != before {
                given.push(*id);
            }
        }
        if !given.is_empty() {
            self.note(place.clone(), given);
        }
    }

    /// A message about a group was taken.
    pub fn delivered(&mut self, place: &GroupId, sent: &Sent, now: Moment) {
        let post = self.post_mut(&place.receiver);
        (post.not_before, post.delivered_at, post.failed) = (None, Some(now), None);
        self.told(place, sent, now);
    }

    /// Its receiver wants to hear of no ends, and a message would have nothing else that is new: they
    /// count as told, and nothing was sent.
    pub fn pass_over_ends(&mut self, place: &GroupId, sent: &Sent) {
        let Some(group) = self.groups.get_mut(place) else { return };
        let pass = |id| {
            group.change(id, |line| (line.told, line.owed, line.is_given) = (None, None, false))
        };
        let changed: Vec<AlertId> = sent.ends().filter_map(pass).collect();
        self.note(place.clone(), changed);
        self.dirty.insert(place.clone());
    }

    fn told(&mut self, place: &GroupId, sent: &Sent, now: Moment) {
        let Some(group) = self.groups.get_mut(place) else { return };
        let style = group.style;
        let tell = |(id, sent): (&AlertId, &SentLine)| {
            group.change(*id, |line| line.told_as(*sent, style, now))
        };
        let changed: Vec<AlertId> = sent.lines.iter().filter_map(tell).collect();
        (group.told_at, group.due_since) = (Some(now), None);
        (group.attempts, group.not_before) = (0, None);
        self.note(place.clone(), changed);
        self.dirty.insert(place.clone());
    }

    /// A message about a group was not taken. `pause` is how long to wait before the next attempt, if
    /// there is one.
    pub fn failed(
        &mut self,
        place: &GroupId,
        sent: &Sent,
        outcome: &Outcome,
        pause: Duration,
        now: Moment,
    ) {
        let is_lost = matches!(outcome, Outcome::Lost { .. });
        let (why, after) = match outcome {
            Outcome::Delivered => return self.delivered(place, sent, now),
            Outcome::Dead { why } => return self.put_aside(place, sent, why, now),
            Outcome::Lost { after, why } | Outcome::Retry { after, why } => (why.clone(), *after),
            Outcome::Partial { why } => return self.taken_in_part(place, sent, why, now),
            Outcome::TooLarge => ("it is too large for the receiver".to_owned(), None),
        };
        let Some(group) = self.groups.get_mut(place) else { return };
        let since = *group.due_since.get_or_insert(now);
        if now.since(since) >= GIVE_UP_SECS {
            let why = format!("given up after a day: {why}");
            return self.put_aside(place, sent, &why, now);
        }
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let gone = group.lines.iter().filter(|(_, line)| line.is_on_its_way);
        let gone: Vec<AlertId> = gone.map(|(id, _)| *id).collect();
        for id in &gone {
            group.change(*id, |line| {
                line.is_on_its_way = false;
                // As after a crash: of an alert that turns back meanwhile there would seem to be nothing to say.
                line.is_in_doubt |= is_lost;
            });
        }
        group.attempts = group.attempts.saturating_add(1);
        // Parts of a second round up: an answer that asks for one gets it.
        group.not_before = Some(now.plus(secs(pause).saturating_add(1)));
        self.note(place.clone(), gone);
        self.dirty.insert(place.clone());
        let post = self.post_mut(&place.receiver);
        post.failed = Some(Failed { at: now, why });
        if let Some(after) = after {
            post.not_before = Some(now.plus(secs(after)));
        }
    }

    /// Some of whom a message was for have it, or some of what it says is taken, and the rest is refused
    /// for good: people see the rest among what was put aside.
    fn taken_in_part(&mut self, place: &GroupId, sent: &Sent, why: &str, now: Moment) {
        self.delivered(place, sent, now);
        let post = self.post_mut(&place.receiver);
        let why = format!("refused in part: {why}");
        // Groups that went as one message are one letter.
        if let Some(last) = post.dead.last_mut()
            && last.at == now
            && last.why == why
        {
            last.alerts = last.alerts.saturating_add(sent.lines.len());
            return;
        }
        let group = Arc::clone(&place.key);
        let letter = DeadLetter { at: now, group, alerts: sent.lines.len(), why };
        self.keep_letter(&place.receiver, letter);
    }

    /// Keeps a letter, and forgets the oldest ones beyond [`MAX_DEAD`].
    fn keep_letter(&mut self, receiver: &Arc<str>, letter: DeadLetter) {
        let post = self.post_mut(receiver);
        post.dead.push(letter);
        let excess = post.dead.len().saturating_sub(MAX_DEAD);
        let old: Vec<DeadLetter> = post.dead.drain(..excess).collect();
        self.forget_ends(receiver, &old);
    }

    fn put_aside(&mut self, place: &GroupId, sent: &Sent, why: &str, now: Moment) {
        let rest = self.refuse_ends(place, sent, now);
        let letter = DeadLetter {
            at: now,
            group: Arc::clone(&place.key),
            alerts: sent.lines.len(),
            why: why.to_owned(),
        };
        let post = self.post_mut(&place.receiver);
        post.failed = Some(Failed { at: now, why: why.to_owned() });
        self.keep_letter(&place.receiver, letter);
        // The same would be refused again; news, or the next reminder, is another message.
        self.told(place, &rest, now);
    }

    /// Keeps ends that were refused, for as long as the letter that has them is. Returns what else was
    /// in the message. An Alertmanager ends by itself what it does not hear of again.
    fn refuse_ends(&mut self, place: &GroupId, sent: &Sent, now: Moment) -> Sent {
        let mut rest = sent.clone();
        let Some(group) = self.groups.get_mut(place) else { return rest };
        if group.style == Style::Alertmanager {
            return rest;
        }
        let refuse = |line: &mut Line| {
            (line.owed, line.refused_at) = (None, Some(now));
            (line.is_on_its_way, line.is_in_doubt) = (false, false);
            line.is_given |= line.told.is_none();
        };
        let mut refused = Vec::new();
        for id in sent.ends().take(MAX_REFUSED_ENDS) {
            if !group.lines.contains_key(&id) {
                continue;
            }
            refused.extend(group.change(id, refuse));
            rest.lines.remove(&id);
        }
        self.note(place.clone(), refused);
        rest
    }

    /// Forgets ends that were in these letters.
    fn forget_ends(&mut self, receiver: &Arc<str>, letters: &[DeadLetter]) {
        for letter in letters {
            let place = GroupId { receiver: Arc::clone(receiver), key: Arc::clone(&letter.group) };
            let Some(group) = self.groups.get_mut(&place) else { continue };
            let own = group.lines.iter().filter(|(_, it)| it.refused_at == Some(letter.at));
            let ids: Vec<AlertId> = own.map(|(id, _)| *id).collect();
            let forget = |line: &mut Line| {
                (line.told, line.is_given, line.refused_at) = (None, false, None);
            };
            let changed: Vec<AlertId> =
                ids.into_iter().filter_map(|id| group.change(id, forget)).collect();
            self.note(place.clone(), changed);
            self.dirty.insert(place);
        }
    }

    /// Forgets letters that are too old, and the ends in them.
    pub(super) fn forget_old_letters(&mut self, now: Moment) {
        let is_old = |letter: &DeadLetter| now.since(letter.at) >= LETTER_KEPT_SECS;
        let has_old = |post: &&Post| post.dead.iter().any(is_old);
        let names: Vec<Arc<str>> =
            self.posts.values().filter(has_old).map(|post| Arc::clone(&post.receiver)).collect();
        for name in names {
            let dead = std::mem::take(&mut self.post_mut(&name).dead);
            let (old, kept): (Vec<_>, Vec<_>) = dead.into_iter().partition(is_old);
            self.post_mut(&name).dead = kept;
            self.forget_ends(&name, &old);
        }
    }

    /// Sends again what was put aside, as far as it still fires, and ends. Returns how many groups that
    /// are. What waits for another attempt waits no more.
    pub fn replay(&mut self, receiver: &str) -> usize {
        let Some(post) = self.posts.get_mut(receiver) else { return 0 };
        post.failed = None;
        post.not_before = None;
        let letters = std::mem::take(&mut post.dead);
        let name = Arc::clone(&post.receiver);
        self.changed_posts.insert(Arc::clone(&name));
        for group in self.groups.values_mut().filter(|group| group.id.receiver == name) {
            if group.not_before.take().is_some() {
                self.changed.entry(group.id.clone()).or_default();
                self.dirty.insert(group.id.clone());
            }
        }
        let mut again = 0;
        let keys: std::collections::BTreeSet<Arc<str>> =
            letters.into_iter().map(|it| it.group).collect();
        for key in keys {
            let place = GroupId { receiver: Arc::clone(&name), key };
            let Some(group) = self.groups.get_mut(&place) else { continue };
            let changed = group.tell_anew();
            again += 1;
            self.note(place.clone(), changed);
            self.dirty.insert(place);
        }
        again
    }

    /// Tells a receiver everything that fires: what has its name is another one from now on. Whether it
    /// is one that was told before, under another address, is not known: it hears of ends, too.
    pub fn tell_anew(&mut self, receiver: &str) {
        self.replay(receiver);
        let own = self.groups.values_mut().filter(|group| &*group.id.receiver == receiver);
        for group in own {
            let mut changed = group.tell_anew();
            group.is_rolled_up = false;
            let ids: Vec<AlertId> = group.lines.keys().copied().collect();
            let part = |id| group.change(id, |line| line.is_rolled_up = false);
            changed.extend(ids.into_iter().filter_map(part));
            self.changed.entry(group.id.clone()).or_default().extend(changed);
            self.dirty.insert(group.id.clone());
        }
    }

    /// Groups that wait for a receiver to take a message, and since when the oldest does.
    #[must_use]
    pub fn waiting(&self, receiver: &str, now: Moment) -> (usize, Option<Moment>) {
        let own = self.groups.values().filter(|group| &*group.id.receiver == receiver);
        let since = own.filter_map(|group| group.due_since.filter(|since| *since <= now));
        let since: Vec<Moment> = since.collect();
        (since.len(), since.iter().min().copied())
    }
}
