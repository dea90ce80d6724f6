//! What the API shows of alerts and receivers: read on the owner's thread, in one pass, bounded.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::sync::Arc;

use palisade_alert::book::End;
use palisade_alert::book::Record;
use palisade_alert::book::Stale;
use palisade_alert::book::State;
use palisade_alert::catalogue::Catalogue;
use palisade_alert::config::Config;
use palisade_alert::config::Receiver;
use palisade_alert::desk::DeadLetter;
use palisade_alert::key::AlertId;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::mute::Mute;
use palisade_alert::route;
use palisade_alert::route::Told;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Scope;
use palisade_alert::sighting::Values;
use palisade_report::Moment;
use palisade_report::NodeName;
use serde::Serialize;

use super::core::Core;
use super::dial::Times;

/// Alerts of which one page asks whether they are muted: each may have to be held against every
/// silence, and everybody waits for this thread.
const MAX_WEIGHED: usize = 2000;

/// Which alerts. What is not said fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Of this name.
    pub kind: Option<Kind>,
    /// As loud as this.
    pub severity: Option<Severity>,
    /// About this node.
    pub node: Option<NodeName>,
    /// Of this pool.
    pub pool: Option<String>,
    /// In this phase.
    pub phase: Option<&'static str>,
    /// Muted, or not.
    pub is_muted: Option<bool>,
    /// Of which this receiver is told.
    pub receiver: Option<String>,
}

/// Where an alert is in the list: the loudest first, then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) Reverse<Severity>, pub(crate) Moment, pub(crate) AlertId);

/// Part of the list.
#[derive(Debug)]
pub(crate) struct AlertsPage {
    pub(crate) alerts: Vec<Line>,
    pub(crate) next: Option<Place>,
}

/// An alert.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) id: AlertId,
    pub(crate) alert: Kind,
    pub(crate) severity: Severity,
    pub(crate) phase: &'static str,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) action: String,
    pub(crate) link: String,
    pub(crate) holds_from: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fired_at: Option<Moment>,
    /// Since when it does not hold, while that is not taken for its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gone_since: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolved: Option<Over>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale: Option<Stale>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) muted: Option<Mute>,
    pub(crate) told: Vec<Teller>,
}

/// The end of an alert.
#[derive(Debug, Serialize)]
pub(crate) struct Over {
    at: Moment,
    why: Arc<str>,
}

/// What a receiver knows of an alert.
#[derive(Debug, Serialize)]
pub(crate) struct Teller {
    receiver: Arc<str>,
    group: Arc<str>,
    /// The severity with which it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Severity>,
    /// Since when there is news that it was not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    owed_since: Option<Moment>,
    /// When the last message about the group was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_told_at: Option<Moment>,
    /// Attempts for the message that is due.
    attempts: u32,
    /// Whether it is told as one of many.
    rolled_up: bool,
}

/// An alert with everything.
#[derive(Debug, Serialize)]
pub(crate) struct Whole {
    #[serde(flatten)]
    line: Line,
    /// What fills its words.
    values: Values,
    /// Every severity with which it has fired, and when it was left for a milder one.
    reached: BTreeMap<Severity, Option<Moment>>,
    /// What each route says of it.
    routes: Vec<Verdict>,
}

/// What a route says of an alert.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// Which, counted from 0; null: the fallback.
    route: Option<usize>,
    matches: bool,
    /// For a person.
    says: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    mismatch: Option<route::Mismatch>,
    receivers: Vec<String>,
    /// Whether no other is looked at after it.
    is_last: bool,
}

impl From<Told> for Verdict {
    fn from(told: Told) -> Self {
        let Told { route, mismatch, receivers, is_last } = told;
        let says = match &mismatch {
            None => "it matches".to_owned(),
            Some(mismatch) => format!("it does not match: {mismatch}"),
        };
        Self { route, matches: mismatch.is_none(), says, mismatch, receivers, is_last }
    }
}

/// A receiver, and what became of messages to it.
#[derive(Debug, Serialize)]
pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// Its hosts; none while its address cannot be read.
    pub(crate) hosts: Vec<String>,
    /// Whether it hears of what is over.
    pub(crate) hears_of_ends: bool,
    /// How long it may take for one request.
    pub(crate) timeout_secs: u64,
    /// Groups that wait for it to take a message.
    pub(crate) waiting: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<Moment>,
    /// Not before then it is sent anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<palisade_alert::desk::Failed>,
    /// Messages that were put aside.
    pub(crate) dead: usize,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unusable: Option<String>,
}

/// What stands behind an alert that may not exist.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) config: Arc<Config>,
    pub(crate) catalogue: Catalogue,
    pub(crate) mute: Option<Mute>,
    /// What fills its words, if there is such an alert.
    pub(crate) values: Option<Values>,
    pub(crate) holds_from: Option<Moment>,
}

impl Core {
    /// The alerts that fit, the loudest first. A page may be shorter than `limit` and not be the last.
    pub(crate) fn page(
        &self,
        choice: &Choice,
        after: Option<Place>,
        limit: usize,
        now: Moment,
    ) -> AlertsPage {
        let most = if choice.is_muted.is_some() { MAX_WEIGHED.max(limit) } else { limit };
        let mut first: BinaryHeap<Place> = BinaryHeap::new();
        for (id, record) in self.book.records() {
            let place = Place(Reverse(record.severity), record.holds_from, *id);
            if after.is_some_and(|after| place <= after) || !self.fits(choice, *id, record) {
                continue;
            }
            let is_among_them = first.len() <= most || first.peek().is_some_and(|it| place < *it);
            if is_among_them {
                first.push(place);
                // One more than is looked at tells whether there is another page.
                if first.len() > most.saturating_add(1) {
                    first.pop();
                }
            }
        }
        let mut found = first.into_sorted_vec().into_iter().peekable();
        let (mut alerts, mut last) = (Vec::new(), None);
        for _ in 0..most {
            if alerts.len() >= limit {
                break;
            }
            let Some(place) = found.next() else { break };
            last = Some(place);
            let Place(_, _, id) = place;
            let Some(record) = self.book.record(id) else { continue };
            let muted = self.mute(id, now);
            if choice.is_muted.is_none_or(|wanted| wanted == muted.is_some()) {
                alerts.push(self.line(id, record, muted));
            }
        }
        let next = last.filter(|_| found.peek().is_some());
        AlertsPage { alerts, next }
    }

    fn fits(&self, choice: &Choice, id: AlertId, record: &Record) -> bool {
        let Choice { kind, severity, node, pool, phase, is_muted: _, receiver } = choice;
        let Record { key, .. } = record;
        kind.is_none_or(|it| it == key.kind)
            && severity.is_none_or(|it| it == record.severity)
            && node.as_ref().is_none_or(|it| key.node.as_ref() == Some(it))
            && pool.as_deref().is_none_or(|it| key.pool.as_deref() == Some(it))
            && phase.is_none_or(|it| it == record.phase())
            && receiver
                .as_deref()
                .is_none_or(|it| self.desk.of_alert(id).any(|group| *group.id.receiver == *it))
    }

    /// An alert with everything. `None`: there is none of this id.
    pub(crate) fn whole(&self, id: AlertId, now: Moment) -> Option<Whole> {
        let record = self.book.record(id)?;
        let line = self.line(id, record, self.mute(id, now));
        let Config { routes, fallback, .. } = &*self.config;
        let (key, severity) = (&record.key, record.severity);
        let routes = route::explain(routes, fallback, key, severity, &line.labels, now);
        Some(Whole {
            values: Arc::clone(&record.values),
            reached: record.reached.clone(),
            routes: routes.into_iter().map(Verdict::from).collect(),
            line,
        })
    }

    fn line(&self, id: AlertId, record: &Record, muted: Option<Mute>) -> Line {
        let Record { key, severity, state, holds_from, gone_since, stale, values, .. } = record;
        let cluster = &*self.config.cluster;
        let words = self.catalogue.words(key, cluster, values);
        let (fired_at, resolved) = match state {
            State::Pending => (None, None),
            State::Firing { fired_at } => (Some(*fired_at), None),
            State::Resolved(End { fired_at, at, settled_at: _, why }) => {
                (Some(*fired_at), Some(Over { at: *at, why: Arc::clone(why) }))
            }
        };
        let told = self.desk.of_alert(id).filter_map(|group| {
            let line = group.lines.get(&id)?;
            Some(Teller {
                receiver: Arc::clone(&group.id.receiver),
                group: Arc::clone(&group.id.key),
                told: line.told,
                owed_since: line.owed,
                last_told_at: group.told_at,
                attempts: group.attempts,
                rolled_up: line.is_rolled_up,
            })
        });
        Line {
            id,
            alert: key.kind,
            severity: *severity,
            phase: record.phase(),
            labels: key.labels(cluster, self.catalogue.component(key.kind), *severity),
            summary: words.summary,
            description: words.description,
            action: words.action,
            link: words.link,
            holds_from: *holds_from,
            fired_at,
            gone_since: gone_since.filter(|_| resolved.is_none()),
            resolved,
            stale: stale.clone(),
            muted: muted.filter(|_| record.is_firing()),
            told: told.collect(),
        }
    }

    /// All receivers, in the order of the file.
    pub(crate) fn ways(&self, now: Moment) -> Vec<Way> {
        self.config.receivers.iter().map(|receiver| self.way(receiver, now)).collect()
    }

    fn way(&self, receiver: &Receiver, now: Moment) -> Way {
        let name = &receiver.name;
        let post = self.desk.post(name);
        let (waiting, oldest) = self.desk.waiting(name, now);
        Way {
            name: name.clone(),
            kind: receiver.spec.as_str(),
            hosts: self.hosts.get(name).cloned().unwrap_or_default(),
            hears_of_ends: receiver.hears_of_ends,
            timeout_secs: Times::to(receiver).total.as_secs(),
            waiting,
            oldest,
            not_before: post.and_then(|post| post.not_before).filter(|at| *at > now),
            delivered_at: post.and_then(|post| post.delivered_at),
            failed: post.and_then(|post| post.failed.clone()),
            dead: post.map_or(0, |post| post.dead.len()),
            unusable: self.unusable.get(name).cloned(),
        }
    }

    /// One receiver and what was put aside, of which there is not much.
    pub(crate) fn way_of(&self, name: &str, now: Moment) -> Option<(Way, Vec<DeadLetter>)> {
        let receiver = self.config.receiver(name)?;
        let dead = self.desk.post(name).map(|post| post.dead.clone()).unwrap_or_default();
        Some((self.way(receiver, now), dead))
    }

    /// What stands behind an alert that may not exist, under other settings if there are some.
    pub(crate) fn stage(
        &self,
        key: &Key,
        severity: Severity,
        config: Option<Arc<Config>>,
        now: Moment,
    ) -> Stage {
        let config = config.unwrap_or_else(|| Arc::clone(&self.config));
        let known = self.book.record(key.id());
        let firing = Record {
            key: key.clone(),
            scope: Scope::Fleet,
            severity,
            milder: None,
            reached: BTreeMap::new(),
            state: State::Firing { fired_at: now },
            holds_from: now,
            gone_since: None,
            stale: None,
            values: Values::default(),
            ended: None,
        };
        Stage {
            mute: self.mute_under(&config, &firing, now),
            catalogue: self.catalogue.clone(),
            values: known.map(|it| Arc::clone(&it.values)),
            holds_from: known.map(|it| it.holds_from),
            config,
        }
    }
}
