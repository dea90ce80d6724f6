//! The life of each alert: pending, firing, resolving, resolved.
//!
//! ```text
//!            held for `for`               gone for `keep`
//!  pending ───────────────> firing ⇄ resolving ───────────────> resolved ──> forgotten
//!     └── gone for `keep`: forgotten              holds again: pending, a new life
//! ```
//!
//! Absence shorter than `keep` is none, before as after it fires: a source that flaps fires once and
//! ends once. While a scope cannot be looked at, its alerts stay what they are: unknown is not
//! resolved. Who is told of all this is decided elsewhere.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::key::AlertId;
use crate::key::Key;
use crate::severity::Severity;
use crate::sighting::Look;
use crate::sighting::Scope;
use crate::sighting::Sighting;
use crate::sighting::Values;

/// Alerts that are kept at once: two for each node of the largest fleet. Beyond it new ones are counted
/// and left out, because a collector that ends for want of memory tells nobody anything. Those of
/// [`Scope::Notifier`], which are few, always find room: one of them tells of the others.
pub const MAX_RECORDS: usize = 240_000;

/// Time after which sightings that found no room are looked for again: each time costs a look at every
/// node, and in a full book room comes and goes.
const ROOM_AGAIN_SECS: i64 = 60;

/// How long an alert that is over is kept, for those who still have to hear of it: longer than
/// Alertmanager waits for an alert that is not sent again.
pub const KEEP_RESOLVED_SECS: i64 = 3600;

/// An alert and its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is about.
    pub key: Key,
    /// Where it was seen.
    pub scope: Scope,
    /// How loud now, or last.
    pub severity: Severity,
    /// That it is seen milder than it is: it becomes so when that has lasted as long as an end must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milder: Option<Milder>,
    /// Every severity with which it has fired, and when it was left for a milder one.
    #[serde(default)]
    pub reached: BTreeMap<Severity, Option<Moment>>,
    /// Where in its life it is.
    pub state: State,
    /// Since when it holds. Does not move while it lives.
    pub holds_from: Moment,
    /// Since when it does not hold any more; `None`: it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Moment>,
    /// Since when, and why, it cannot be looked at; `None`: it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// What fills its words, as seen last.
    #[serde(default)]
    pub values: Values,
    /// How its life before this one ended, of which somebody may still have to hear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<End>,
}

/// An alert that gets milder. A severity that changes to and fro would page at each of its rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milder {
    /// Since when.
    pub since: Moment,
    /// How loud it is seen now.
    pub severity: Severity,
}

/// The end of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When it fired.
    pub fired_at: Moment,
    /// When it ceased to hold.
    pub at: Moment,
    /// When that was taken for its end.
    pub settled_at: Moment,
    /// What ended it.
    pub why: Arc<str>,
}

/// Where in its life an alert is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds, and not yet for long enough.
    Pending,
    /// It fires. Resolving, if it has been gone for a while.
    Firing {
        /// When that began.
        fired_at: Moment,
    },
    /// It is over.
    Resolved(End),
}

/// That nothing is known any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// Since when.
    pub since: Moment,
    /// Why.
    pub why: Arc<str>,
}

impl Record {
    /// Whether it fires, resolving included.
    #[must_use]
    pub const fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing { .. })
    }

    /// The word for where it is.
    #[must_use]
    pub const fn phase(&self) -> &'static str {
        match (&self.state, self.gone_since) {
            (State::Pending, _) => "pending",
            (State::Firing { .. }, None) => "firing",
            (State::Firing { .. }, Some(_)) => "resolving",
            (State::Resolved(_), _) => "resolved",
        }
    }

    /// How it ended last, unless it fires.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        match &self.state {
            State::Firing { .. } => None,
            State::Pending => self.ended.as_ref(),
            State::Resolved(end) => Some(end),
        }
    }

    /// When it is to be looked at again; `None`: time changes nothing.
    fn due(&self, catalogue: &Catalogue) -> Option<Moment> {
        let entry = catalogue.entry(self.key.kind)?;
        if let State::Resolved(End { settled_at, .. }) = &self.state {
            // Somebody who still has to hear of it may put this off.
            return Some(settled_at.plus(KEEP_RESOLVED_SECS));
        }
        if self.stale.is_some() {
            return None;
        }
        match (&self.state, self.gone_since) {
            (_, Some(gone)) => Some(gone.plus(entry.keep.as_secs())),
            (State::Pending, None) => Some(self.holds_from.plus(entry.hold.as_secs())),
            (State::Firing { .. }, None) => {
                self.milder.map(|milder| milder.since.plus(entry.keep.as_secs()))
            }
            (State::Resolved(_), None) => None,
        }
    }

    /// Fires as loud as this from now on.
    fn turn(&mut self, severity: Severity, now: Moment) {
        for (reached, left_at) in &mut self.reached {
            *left_at = if *reached > severity { Some(left_at.unwrap_or(now)) } else { None };
        }
        self.reached.insert(severity, None);
        (self.severity, self.milder) = (severity, None);
    }
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// It fires.
    Fired,
    /// It is over.
    Resolved,
    /// It fires louder or more quietly than before.
    Severity,
    /// It fires, and its node is in another pool than before.
    Moved,
}

/// What the book has to know of the world around it.
pub struct Around<'a> {
    /// How long alerts must hold and be gone.
    pub catalogue: &'a Catalogue,
    /// By what something ended that is not there any more.
    pub ending: &'a dyn Fn(&Key, &Values) -> String,
    /// Whether somebody still has to hear of an alert that is over.
    pub owed: &'a dyn Fn(AlertId) -> bool,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Around")
    }
}

/// All alerts.
#[derive(Clone, Debug, Default)]
pub struct Book {
    records: BTreeMap<AlertId, Record>,
    scopes: BTreeMap<Scope, BTreeSet<AlertId>>,
    due: BTreeSet<(Moment, AlertId)>,
    changed: BTreeSet<AlertId>,
    turns: Vec<(AlertId, Turn)>,
    left_out: u64,
    /// When a sighting found no room last, of those that were not looked for again.
    left_out_at: Option<Moment>,
}

impl Book {
    /// The alerts as they were kept.
    #[must_use]
    pub fn restore(records: impl IntoIterator<Item = Record>, catalogue: &Catalogue) -> Self {
        let mut book = Self::default();
        for record in records {
            let id = record.key.id();
            book.insert(id, record, catalogue);
        }
        book.changed.clear();
        book
    }

    /// All alerts, by their ids.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<AlertId, Record> {
        &self.records
    }

    /// One alert.
    #[must_use]
    pub fn record(&self, id: AlertId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// Scopes of which there are alerts.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.keys()
    }

    /// Whether there is no room for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.records.len() >= MAX_RECORDS
    }

    /// Sightings that found no room, ever.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether everything is to be looked at again, because sightings found no room and there is some
    /// now. It counts as done.
    pub fn has_room_again(&mut self, now: Moment) -> bool {
        let is_due = self.left_out_at.is_some_and(|at| now.since(at) >= ROOM_AGAIN_SECS);
        let has_room = is_due && !self.is_full();
        if has_room {
            self.left_out_at = None;
        }
        has_room
    }

    /// When time changes something next.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Alerts that are different from what was kept; those that are in none of the records are gone.
    pub fn take_changed(&mut self) -> BTreeSet<AlertId> {
        std::mem::take(&mut self.changed)
    }

    /// What happened to alerts since this was asked last, in order.
    pub fn take_turns(&mut self) -> Vec<(AlertId, Turn)> {
        std::mem::take(&mut self.turns)
    }

    /// Takes in what was seen in a scope.
    pub fn look(&mut self, scope: &Scope, look: Look, around: &Around<'_>, now: Moment) {
        match look {
            Look::Seen(sightings) => self.see(scope, sightings, around.catalogue, now),
            Look::Stale { since, why } => self.miss(scope, since, &why, around.catalogue),
        }
        self.advance(around, now);
    }

    /// Ends everything of a scope that is no more, at once.
    pub fn close(&mut self, scope: &Scope, why: &str, catalogue: &Catalogue, now: Moment) {
        for id in self.scopes.get(scope).cloned().unwrap_or_default() {
            let Some(mut record) = self.records.get(&id).cloned() else { continue };
            match record.state {
                State::Pending => self.drop_pending(id, record, catalogue),
                State::Firing { fired_at } => {
                    let at = record.gone_since.unwrap_or(now);
                    record.state =
                        State::Resolved(End { fired_at, at, settled_at: now, why: why.into() });
                    record.stale = None;
                    self.turns.push((id, Turn::Resolved));
                    self.insert(id, record, catalogue);
                }
                State::Resolved(_) => {}
            }
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, around: &Around<'_>, now: Moment) {
        let Around { catalogue, ending, owed } = around;
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                return;
            }
            self.due.pop_first();
            let Some(mut record) = self.records.get(&id).cloned() else { continue };
            // What was put off for somebody who had to hear of an end says nothing of a new life.
            if record.due(catalogue).is_none_or(|own| own > now) {
                continue;
            }
            match (record.state.clone(), record.gone_since) {
                (State::Resolved(_), _) if owed(id) => {
                    self.due.insert((now.plus(KEEP_RESOLVED_SECS), id));
                }
                (State::Resolved(_), _) => self.remove(id),
                (State::Pending, Some(_)) => self.drop_pending(id, record, catalogue),
                (State::Pending, None) => {
                    record.state = State::Firing { fired_at: now };
                    record.ended = None;
                    record.reached = BTreeMap::from([(record.severity, None)]);
                    self.turns.push((id, Turn::Fired));
                    self.insert(id, record, catalogue);
                }
                (State::Firing { fired_at }, Some(gone)) => {
                    let why = ending(&record.key, &record.values).into();
                    // A clock that was set back must not let it end before it began.
                    let at = gone.max(record.holds_from);
                    record.state = State::Resolved(End { fired_at, at, settled_at: now, why });
                    self.turns.push((id, Turn::Resolved));
                    self.insert(id, record, catalogue);
                }
                (State::Firing { .. }, None) => {
                    let Some(milder) = record.milder else { continue };
                    record.turn(milder.severity, now);
                    self.turns.push((id, Turn::Severity));
                    self.insert(id, record, catalogue);
                }
            }
        }
    }

    /// The clock was ahead and shows `now` again: nothing that was noted is later than that.
    pub fn set_back(&mut self, catalogue: &Catalogue, now: Moment) {
        for (id, record) in &mut self.records {
            record.holds_from = record.holds_from.min(now);
            record.gone_since = record.gone_since.map(|at| at.min(now));
            let early = |it: Milder| Milder { since: it.since.min(now), ..it };
            record.milder = record.milder.map(early);
            match &mut record.state {
                State::Pending => {}
                State::Firing { fired_at } => *fired_at = (*fired_at).min(now),
                State::Resolved(end) => end.settled_at = end.settled_at.min(now),
            }
            self.changed.insert(*id);
        }
        self.left_out_at = self.left_out_at.map(|at| at.min(now));
        self.retime(catalogue);
    }

    /// Goes by other times from now on.
    pub fn retime(&mut self, catalogue: &Catalogue) {
        let due = self.records.iter().filter_map(|(id, it)| Some((it.due(catalogue)?, *id)));
        self.due = due.collect();
    }

    fn see(&mut self, scope: &Scope, seen: Vec<Sighting>, catalogue: &Catalogue, now: Moment) {
        let mut missing = self.scopes.get(scope).cloned().unwrap_or_default();
        for sighting in seen {
            let id = sighting.key.id();
            missing.remove(&id);
            self.sight(id, scope, sighting, catalogue, now);
        }
        for id in missing {
            let Some(record) = self.records.get(&id) else { continue };
            let is_over = matches!(record.state, State::Resolved(_));
            if is_over || (record.gone_since.is_some() && record.stale.is_none()) {
                continue;
            }
            let gone_since = Some(record.gone_since.unwrap_or(now));
            let record = Record { gone_since, stale: None, ..record.clone() };
            self.insert(id, record, catalogue);
        }
    }

    fn sight(
        &mut self,
        id: AlertId,
        scope: &Scope,
        sighting: Sighting,
        catalogue: &Catalogue,
        now: Moment,
    ) {
        let Sighting { key, severity, since, values } = sighting;
        let lives = self.records.get(&id).filter(|it| !matches!(it.state, State::Resolved(_)));
        let Some(known) = lives else {
            let is_kept = *scope == Scope::Notifier || self.records.contains_key(&id);
            if self.is_full() && !is_kept {
                self.left_out = self.left_out.saturating_add(1);
                self.left_out_at = Some(now);
                return;
            }
            let ended = self.records.get(&id).and_then(Record::end).cloned();
            let record = Record {
                key,
                scope: scope.clone(),
                severity,
                milder: None,
                reached: BTreeMap::new(),
                state: State::Pending,
                // From the future it cannot hold: a clock was set back.
                holds_from: since.map_or(now, |since| since.min(now)),
                gone_since: None,
                stale: None,
                values,
                ended,
            };
            self.insert(id, record, catalogue);
            return;
        };
        let is_same = known.milder.map_or(known.severity, |it| it.severity) == severity
            && known.key == key
            && known.values == values
            && known.gone_since.is_none()
            && known.stale.is_none()
            && known.scope == *scope;
        if is_same {
            return;
        }
        let mut record = known.clone();
        if !record.is_firing() {
            record.severity = severity;
        } else if severity > record.severity {
            record.turn(severity, now);
            self.turns.push((id, Turn::Severity));
        } else {
            let since = record.milder.map_or(now, |it| it.since);
            record.milder = (severity < record.severity).then_some(Milder { since, severity });
        }
        if record.is_firing() && record.key != key {
            self.turns.push((id, Turn::Moved));
        }
        let record =
            Record { key, values, gone_since: None, stale: None, scope: scope.clone(), ..record };
        self.insert(id, record, catalogue);
    }

    fn miss(&mut self, scope: &Scope, since: Moment, why: &Arc<str>, catalogue: &Catalogue) {
        for id in self.scopes.get(scope).cloned().unwrap_or_default() {
            let Some(record) = self.records.get(&id) else { continue };
            let is_over = matches!(record.state, State::Resolved(_));
            if is_over || record.stale.is_some() {
                continue;
            }
            let stale = Some(Stale { since, why: Arc::clone(why) });
            let record = Record { stale, ..record.clone() };
            self.insert(id, record, catalogue);
        }
    }

    fn insert(&mut self, id: AlertId, record: Record, catalogue: &Catalogue) {
        self.unlist(id, catalogue);
        if let Some(due) = record.due(catalogue) {
            self.due.insert((due, id));
        }
        self.scopes.entry(record.scope.clone()).or_default().insert(id);
        self.records.insert(id, record);
        self.changed.insert(id);
    }

    /// It never came to fire. If it did in the life before, that is what is left of it.
    fn drop_pending(&mut self, id: AlertId, record: Record, catalogue: &Catalogue) {
        match record.ended.clone() {
            Some(end) => {
                let state = State::Resolved(end);
                let record = Record { state, ended: None, stale: None, ..record };
                self.insert(id, record, catalogue);
            }
            None => self.remove(id),
        }
    }

    fn remove(&mut self, id: AlertId) {
        if let Some(record) = self.records.remove(&id) {
            // Its moment was taken off the list, or is met there without a record.
            self.leave(id, &record.scope);
        }
        self.changed.insert(id);
    }

    fn unlist(&mut self, id: AlertId, catalogue: &Catalogue) {
        let Some(before) = self.records.get(&id) else { return };
        if let Some(due) = before.due(catalogue) {
            self.due.remove(&(due, id));
        }
        let scope = before.scope.clone();
        self.leave(id, &scope);
    }

    fn leave(&mut self, id: AlertId, scope: &Scope) {
        if let Some(ids) = self.scopes.get_mut(scope) {
            ids.remove(&id);
            if ids.is_empty() {
                self.scopes.remove(scope);
            }
        }
    }
}

#[cfg(test)]
mod tests;
