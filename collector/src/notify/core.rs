//! The owner's state: the book of alerts, what receivers are owed, silences. What changes is written
//! before anything of it is sent.
//!
//! What an alert is, who is told and when is decided in `palisade-alert`; here the parts are joined,
//! and kept.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

use palisade_alert::answer;
use palisade_alert::book::Around;
use palisade_alert::book::Book;
use palisade_alert::book::Record;
use palisade_alert::catalogue::Catalogue;
use palisade_alert::config::Config;
use palisade_alert::config::Receiver;
use palisade_alert::config::Spec;
use palisade_alert::desk::Desk;
use palisade_alert::desk::GroupId;
use palisade_alert::desk::Sent;
use palisade_alert::desk::Style;
use palisade_alert::desk::Way;
use palisade_alert::desk::World;
use palisade_alert::key::AlertId;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::mute::Mute;
use palisade_alert::notice::Ended;
use palisade_alert::notice::Notice;
use palisade_alert::notice::Noticed;
use palisade_alert::notice::Reason;
use palisade_alert::notice::Words;
use palisade_alert::outgoing::Outcome;
use palisade_alert::quiet::Louder;
use palisade_alert::quiet::Quiet;
use palisade_alert::route;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Look;
use palisade_alert::sighting::Scope;
use palisade_alert::sighting::Values;
use palisade_alert::silence::MAX_SILENCES;
use palisade_alert::silence::RefusedSilence;
use palisade_alert::silence::Silence;
use palisade_alert::silence::Wanted;
use palisade_report::Moment;
use palisade_report::NodeName;

use super::courier::Turn;
use super::store::AlertStore;
use super::store::Change;
use super::store::CommitAlertsError;
use super::store::Kept;
use crate::chain::Chain;

mod failing;
mod mended;

/// How long Alertmanager is told that an alert is not as loud any more: as long as that one is over.
const LEFT_SHOWN_SECS: i64 = 300;

/// How often alerts are routed again although nothing happened to them: routes have hours.
const REROUTE_SECS: i64 = 60;

/// How often it is looked whether a silence has begun or ended; louder alerts and reboots are heeded at
/// once.
const RECHECK_SECS: i64 = 5;

/// A clock that is slewed or stepped by less costs less than to forget all that was put off.
const SET_BACK_SECS: i64 = 5;

/// What whoever looks at the world has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Scopes that may have changed, each as a whole.
    pub(crate) looks: Vec<(Scope, Look)>,
    /// Scopes that are no more, and why.
    pub(crate) gone: Vec<(Scope, String)>,
    /// Nodes whose planned reboot goes as it should.
    pub(crate) rebooting: BTreeSet<NodeName>,
}

/// Something to carry out.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The groups that it is about, and what their receiver knows once it is taken.
    pub(crate) places: Vec<(GroupId, Sent)>,
    /// What it says.
    pub(crate) content: Content,
}

/// What a parcel says.
#[derive(Debug)]
pub(crate) enum Content {
    /// Each alert by itself, with the severities in which it is told.
    Alerts(Vec<(Noticed, Vec<Severity>)>),
    /// A message about a group.
    Notice(Box<Notice>),
}

/// The state.
#[derive(Debug)]
pub(crate) struct Core {
    store: AlertStore,
    built_in: Catalogue,
    pub(crate) catalogue: Catalogue,
    pub(crate) config: Arc<Config>,
    pub(crate) book: Book,
    pub(crate) desk: Desk,
    pub(crate) silences: Vec<Silence>,
    changed_silences: BTreeSet<u64>,
    next_silence: u64,
    muted: BTreeSet<Kind>,
    rebooting: BTreeSet<NodeName>,
    louder: Louder,
    /// Changes that could not be written yet.
    owed: Owed,
    /// When it was looked last.
    now: Moment,
    rerouted_at: Moment,
    rechecked_at: Moment,
    /// Receivers that cannot be used for want of a secret, or by their address, and why.
    pub(crate) unusable: BTreeMap<String, String>,
    /// The hosts of receivers whose addresses could be read.
    pub(crate) hosts: BTreeMap<String, Vec<String>>,
    /// Why the newest settings are not followed.
    pub(crate) refused: Option<String>,
    /// Files of secrets and authorities that cannot be used as they are now, and why.
    pub(crate) troubles: Vec<String>,
}

#[derive(Debug, Default)]
struct Owed {
    alerts: BTreeSet<AlertId>,
    groups: BTreeMap<GroupId, BTreeSet<AlertId>>,
    posts: BTreeSet<Arc<str>>,
    silences: BTreeSet<u64>,
}

impl Core {
    /// The state as it was kept, under these settings.
    pub(crate) fn new(
        store: AlertStore,
        kept: Kept,
        catalogue: Catalogue,
        config: Arc<Config>,
        now: Moment,
    ) -> Self {
        let Kept { records, groups, posts, silences, unread: _ } = kept;
        let next_silence = silences.iter().map(|it| it.id).max().unwrap_or(0).saturating_add(1);
        let mut core = Self {
            store,
            built_in: catalogue.clone(),
            book: Book::restore(records, &catalogue),
            catalogue,
            config: Arc::clone(&config),
            desk: Desk::restore(groups, posts),
            silences,
            changed_silences: BTreeSet::new(),
            next_silence,
            muted: BTreeSet::new(),
            rebooting: BTreeSet::new(),
            louder: Louder::default(),
            owed: Owed::default(),
            now,
            rerouted_at: now,
            rechecked_at: now,
            unusable: BTreeMap::new(),
            hosts: BTreeMap::new(),
            refused: None,
            troubles: Vec::new(),
        };
        core.configure(config, now);
        core
    }

    /// The state as it is written; if it cannot be read, as it is.
    pub(crate) fn again(self, now: Moment) -> Self {
        match self.store.load() {
            Ok(kept) => Self::new(self.store, kept, self.built_in, self.config, now),
            Err(error) => {
                tracing::error!(cause = %Chain(&error), "alerts go on as they were left");
                self
            }
        }
    }

    /// Goes by other settings from now on. Alerts stay what they are: an edit is no news of them.
    pub(crate) fn configure(&mut self, config: Arc<Config>, now: Moment) {
        self.catalogue = self.built_in.clone();
        for (kind, change) in &config.changes {
            self.catalogue.retime(*kind, change.hold, change.keep);
        }
        self.muted =
            config.changes.iter().filter(|(_, it)| it.is_muted).map(|(kind, _)| *kind).collect();
        self.book.retime(&self.catalogue);
        let before = std::mem::replace(&mut self.config, config);
        self.heed_other_receivers(&before);
        let names: BTreeSet<&str> = self.config.receivers.iter().map(|it| &*it.name).collect();
        // Without any, the settings may be those of a start that could read none: what receivers were told
        // and are owed waits for them.
        if !names.is_empty() {
            self.desk.keep_receivers(&|name| names.contains(name));
        }
        self.unusable.retain(|name, _| names.contains(&**name));
        self.hosts.clear();
        self.reroute(now);
        self.desk.unsettle();
    }

    /// Takes in what was seen, if somebody looked, and lets time pass.
    pub(crate) fn turn(
        &mut self,
        seen: Option<Seen>,
        ending: &dyn Fn(&Key, &Values) -> String,
        now: Moment,
    ) {
        if self.now.since(now) >= SET_BACK_SECS {
            tracing::warn!(was = %self.now, %now, "the clock was set back");
            self.book.set_back(&self.catalogue, now);
            self.desk.set_back(now);
        }
        self.now = now;
        if seen.as_ref().is_some_and(|seen| seen.rebooting != self.rebooting) {
            self.desk.recheck_muted();
        }
        let around = Around { catalogue: &self.catalogue, ending, owed: &|id| self.desk.owes(id) };
        if let Some(Seen { looks, gone, rebooting }) = seen {
            self.rebooting = rebooting;
            for (scope, why) in gone {
                self.book.close(&scope, &why, &self.catalogue, now);
            }
            for (scope, look) in looks {
                self.book.look(&scope, look, &around, now);
            }
            let failing = self.failing(now);
            self.book.look(&Scope::Notifier, Look::Seen(failing), &around, now);
        } else {
            self.book.advance(&around, now);
        }
        let turns: BTreeSet<AlertId> =
            self.book.take_turns().into_iter().map(|(id, _)| id).collect();
        let has_hours = self.config.routes.iter().any(|it| it.matcher.has_hours());
        if has_hours && (now.since(self.rerouted_at) >= REROUTE_SECS || now < self.rerouted_at) {
            self.reroute(now);
        }
        let is_due = now.since(self.rechecked_at) >= RECHECK_SECS || now < self.rechecked_at;
        // One that is about to fire may be there, or gone, without a turn.
        if is_due || !turns.is_empty() {
            let louder = Louder::of(&self.book, &self.catalogue);
            if louder != self.louder {
                self.louder = louder;
                // What a milder one has been told stays; from now on it says nothing.
                self.desk.unsettle();
            }
        }
        turns.into_iter().for_each(|id| self.route(id, now));
        if is_due {
            self.rechecked_at = now;
            self.desk.recheck_muted();
        }
        self.end_silences(now);
        self.with_world(now, |desk, world| desk.settle(world, now));
    }

    /// Routes all that fires.
    fn reroute(&mut self, now: Moment) {
        self.rerouted_at = now;
        self.louder = Louder::of(&self.book, &self.catalogue);
        let firing = self.book.records().iter().filter(|(_, it)| it.is_firing());
        let firing: Vec<AlertId> = firing.map(|(id, _)| *id).collect();
        firing.into_iter().for_each(|id| self.route(id, now));
    }

    fn route(&mut self, id: AlertId, now: Moment) {
        let Some(record) = self.book.record(id) else { return };
        let component = self.catalogue.component(record.key.kind);
        let Config { cluster, routes, fallback, .. } = &*self.config;
        let labels = record.key.labels(cluster, component, record.severity);
        let told = route::receivers(routes, fallback, &record.key, record.severity, &labels, now);
        let ways: Vec<Way<'_>> = told
            .into_iter()
            .filter_map(|it| {
                let receiver = self.config.receiver(it.receiver)?;
                let is_each = matches!(receiver.spec, Spec::Alertmanager { .. });
                let style = if is_each { Style::Alertmanager } else { Style::Grouped };
                Some(Way { receiver: it.receiver, style, grouping: it.grouping })
            })
            .collect();
        self.desk.route(id, record, &ways, &labels);
    }

    fn with_world<T>(&mut self, now: Moment, act: impl FnOnce(&mut Desk, &World<'_>) -> T) -> T {
        let Self { book, catalogue, config, desk, silences, muted, rebooting, louder, .. } = self;
        let cluster = &*config.cluster;
        let quiet = Quiet { catalogue, muted, silences, rebooting, louder, cluster, now };
        let muted = |id: AlertId, record: &Record| quiet.mute(id, record);
        let external_url = &*config.external_url;
        let world = World { book, catalogue, cluster, external_url, muted: &muted };
        act(desk, &world)
    }

    /// What mutes an alert now.
    pub(crate) fn mute(&self, id: AlertId, now: Moment) -> Option<Mute> {
        let Self { catalogue, muted, silences, rebooting, louder, .. } = self;
        let cluster = &*self.config.cluster;
        let quiet = Quiet { catalogue, muted, silences, rebooting, louder, cluster, now };
        quiet.mute(id, self.book.record(id)?)
    }

    /// What would mute an alert under other settings.
    pub(crate) fn mute_under(&self, config: &Config, record: &Record, now: Moment) -> Option<Mute> {
        let Self { catalogue, silences, rebooting, louder, .. } = self;
        let muted =
            &config.changes.iter().filter(|(_, it)| it.is_muted).map(|(kind, _)| *kind).collect();
        let cluster = &*config.cluster;
        let quiet = Quiet { catalogue, muted, silences, rebooting, louder, cluster, now };
        quiet.mute(record.key.id(), record)
    }

    /// Adds a silence. It holds once it is written.
    pub(crate) fn silence(
        &mut self,
        wanted: Wanted,
        author: &str,
        now: Moment,
    ) -> Result<Silence, RefusedSilence> {
        if self.silences.len() >= MAX_SILENCES {
            return Err(RefusedSilence::TooMany);
        }
        let silence = Silence::check(wanted, author, self.next_silence, now)?;
        self.next_silence = self.next_silence.saturating_add(1);
        self.changed_silences.insert(silence.id);
        self.silences.push(silence.clone());
        self.desk.unsettle();
        Ok(silence)
    }

    /// Ends a silence. `None`: there is none of this number.
    pub(crate) fn end_silence(&mut self, id: u64) -> Option<Silence> {
        let at = self.silences.iter().position(|it| it.id == id)?;
        self.changed_silences.insert(id);
        self.desk.recheck_muted();
        Some(self.silences.remove(at))
    }

    /// Silences that are over, and acknowledgements of alerts that are, end by themselves.
    fn end_silences(&mut self, now: Moment) {
        let book = &self.book;
        let is_over = |silence: &Silence| {
            let alert = silence.alert.map(|id| book.record(id).is_some_and(Record::is_firing));
            silence.ends_at <= now || alert == Some(false)
        };
        let over: Vec<u64> =
            self.silences.iter().filter(|it| is_over(it)).map(|it| it.id).collect();
        for id in over {
            self.changed_silences.insert(id);
            self.silences.retain(|it| it.id != id);
        }
    }

    /// Writes what has changed. What cannot be written is tried again with the next call.
    pub(crate) fn commit(&mut self) -> Result<(), CommitAlertsError> {
        let Self { book, desk, owed, silences, .. } = self;
        owed.alerts.append(&mut book.take_changed());
        for (place, mut lines) in desk.take_changed() {
            owed.groups.entry(place).or_default().append(&mut lines);
        }
        owed.posts.append(&mut desk.take_changed_posts());
        owed.silences.append(&mut self.changed_silences);
        let silence = |id: u64| silences.iter().find(|it| it.id == id);
        let alerts = owed.alerts.iter().map(|id| Change::Alert(*id, book.record(*id)));
        let groups = owed.groups.iter();
        let groups = groups.map(|(id, lines)| Change::Group(id, lines, desk.groups().get(id)));
        let posts = owed.posts.iter().filter_map(|name| desk.post(name)).map(Change::Post);
        let silences = owed.silences.iter().map(|id| Change::Silence(*id, silence(*id)));
        let changes: Vec<Change<'_>> = alerts.chain(groups).chain(posts).chain(silences).collect();
        self.store.commit(&changes)?;
        self.owed = Owed::default();
        Ok(())
    }

    /// What is due for a receiver.
    pub(crate) fn next(&mut self, receiver: &str, now: Moment) -> Option<Parcel> {
        let spec = self.config.receiver(receiver)?;
        let (is_each, hears_of_ends) =
            (matches!(spec.spec, Spec::Alertmanager { .. }), spec.hears_of_ends);
        if is_each {
            return self.all_due(receiver, now);
        }
        loop {
            let (place, message) = self.with_world(now, |desk, world| {
                let place = desk.next(receiver, world, now)?;
                let message = desk.notice(&place, world, now);
                Some((place, message))
            })?;
            let (mut notice, sent) = message?;
            if !hears_of_ends {
                notice.alerts.retain(Noticed::is_firing);
                notice.resolved = 0;
                if matches!(notice.reason, Reason::AllResolved | Reason::SomeResolved) {
                    self.desk.pass_over_ends(&place, &sent);
                    self.with_world(now, |desk, world| desk.settle(world, now));
                    continue;
                }
            }
            self.desk.given(&place, &sent);
            let content = Content::Notice(Box::new(notice));
            return Some(Parcel { places: vec![(place, sent)], content });
        }
    }

    /// Which message it is, of one about a group.
    pub(crate) fn turn_of(&self, places: &[(GroupId, Sent)]) -> Option<Turn> {
        let [(place, sent)] = places else { return None };
        let mut print = DefaultHasher::new();
        sent.lines.hash(&mut print);
        let attempts = self.desk.groups().get(place).map_or(0, |group| group.attempts);
        Some(Turn { place: place.clone(), print: print.finish(), attempts })
    }

    /// A message that no alert is behind, to see whether a receiver takes one.
    pub(crate) fn trial(&self, receiver: &Receiver, now: Moment) -> Content {
        let Config { cluster, external_url, .. } = &*self.config;
        let key = Key::of(Kind::Watchdog).subject("test");
        let is_each = matches!(receiver.spec, Spec::Alertmanager { .. });
        // One that is over already leaves nothing behind where each alert lives by itself.
        let over = Ended { at: now, why: "it was a test".to_owned() };
        let words = Words {
            summary: format!("palisade of {cluster} reaches {}", receiver.name),
            description: "Somebody tries this receiver out. Nothing is wrong.".to_owned(),
            action: "Nothing.".to_owned(),
            link: format!("/v1/receivers/{}", receiver.name),
        };
        let noticed = Noticed {
            id: key.id(),
            kind: key.kind,
            severity: Severity::Info,
            ended: is_each.then_some(over),
            labels: key.labels(cluster, self.catalogue.component(key.kind), Severity::Info),
            starts_at: now,
            words,
            stale_since: None,
        };
        if is_each {
            return Content::Alerts(vec![(noticed, vec![Severity::Info])]);
        }
        Content::Notice(Box::new(Notice {
            receiver: receiver.name.clone(),
            group_key: format!("{{test={:?}}}", receiver.name),
            group_labels: BTreeMap::new(),
            cluster: cluster.clone(),
            external_url: external_url.clone(),
            reason: Reason::Test,
            alerts: vec![noticed],
            firing: 1,
            resolved: 0,
            nodes: 0,
            at: now,
        }))
    }

    fn all_due(&mut self, receiver: &str, now: Moment) -> Option<Parcel> {
        let due = self.with_world(now, |desk, world| {
            let places = desk.all_due(receiver, world, now).into_iter();
            let message = |place: GroupId| {
                let (notice, sent) = desk.notice(&place, world, now)?;
                Some((place, notice, sent))
            };
            places.filter_map(message).collect::<Vec<_>>()
        });
        let mut places = Vec::new();
        let mut alerts = Vec::new();
        for (place, notice, sent) in due {
            self.desk.given(&place, &sent);
            places.push((place, sent));
            for noticed in notice.alerts {
                let severities = self.severities(&noticed);
                alerts.extend(self.left(&noticed, now));
                alerts.push((noticed, severities));
            }
        }
        (!places.is_empty()).then_some(Parcel { places, content: Content::Alerts(alerts) })
    }

    /// An alert in the severities that it has left for a milder one: over, as far as they go.
    fn left(&self, noticed: &Noticed, now: Moment) -> Option<(Noticed, Vec<Severity>)> {
        let reached = &self.book.record(noticed.id).filter(|it| it.is_firing())?.reached;
        let is_fresh = |at: &Moment| now.since(*at) < LEFT_SHOWN_SECS;
        let left: Vec<(Severity, Moment)> = reached
            .iter()
            .filter_map(|(severity, at)| Some((*severity, at.filter(is_fresh)?)))
            .collect();
        let at = left.iter().map(|(_, at)| *at).max()?;
        let ended = Some(Ended { at, why: format!("it is of severity {} now", noticed.severity) });
        let severities = left.into_iter().map(|(severity, _)| severity).collect();
        Some((Noticed { ended, ..noticed.clone() }, severities))
    }

    /// The severities in which an alert is told to whoever takes a severity for an identity: the milder
    /// ones that it had go on beside the one that it has.
    fn severities(&self, noticed: &Noticed) -> Vec<Severity> {
        let reached = self.book.record(noticed.id).map(|record| &record.reached);
        let mut told: BTreeSet<Severity> = reached
            .into_iter()
            .flatten()
            .filter(|(severity, _)| !noticed.is_firing() || **severity <= noticed.severity)
            .map(|(severity, _)| *severity)
            .collect();
        told.insert(noticed.severity);
        told.into_iter().collect()
    }

    /// Takes in what came of a parcel.
    pub(crate) fn done(
        &mut self,
        places: &[(GroupId, Sent)],
        outcome: &Outcome,
        chance: u64,
        now: Moment,
    ) {
        for (place, sent) in places {
            let attempts = self.desk.groups().get(place).map_or(0, |group| group.attempts);
            let after = match outcome {
                Outcome::Lost { after, .. } | Outcome::Retry { after, .. } => *after,
                Outcome::Dead { .. }
                | Outcome::Delivered
                | Outcome::Partial { .. }
                | Outcome::TooLarge => None,
            };
            let pause: Duration = answer::delay(attempts.saturating_add(1), after, chance);
            self.desk.failed(place, sent, outcome, pause, now);
        }
    }
}

#[cfg(test)]
mod tests;
