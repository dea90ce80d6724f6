//! The one owner of alerts: a thread that looks, works out, writes, and lets messages go.
//!
//! ```text
//! looker ──Seen──┐                    ┌─> courier of receiver A ──> ...
//! API ──ask()────┼─> Core ──commit──> │
//! couriers ──────┘                    └─> courier of receiver B ──> ...
//! ```
//!
//! Each receiver has one message on its way at most, and its outcome is written before the next one
//! goes: a crash repeats one message for each receiver, and loses none. Nobody waits for this thread
//! but those who ask it something.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use palisade_alert::book::Record;
use palisade_alert::catalogue::Catalogue;
use palisade_alert::catalogue::LoadCatalogueError;
use palisade_alert::config::Config;
use palisade_alert::config::Receiver;
use palisade_alert::desk::GroupId;
use palisade_alert::desk::Sent;
use palisade_alert::key::Key;
use palisade_alert::outgoing::Outcome;
use palisade_alert::sighting::Values;
use palisade_report::Moment;
use tokio::runtime::Handle;
use tokio::sync::mpsc as queue;
use tokio::sync::oneshot;

use super::core::Core;
use super::core::Seen;
use super::courier::Courier;
use super::courier::Load;
use super::courier::TellEvents;
use super::dial::Dialer;
use super::dial::Times;
use super::egress::Allowed;
use super::egress::Egress;
use super::file::ConfigFile;
use super::secrets::Secrets;
use super::secrets::Trouble;
use super::store;
use super::store::AlertStore;
use super::store::LoadAlertsError;
use super::store::OpenAlertsError;
use super::trust::Trust;
use crate::api::metrics::notifications;
use crate::api::metrics::notifications::Board;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::kube::Fence;

mod errand;
mod handle;
mod show;

pub use handle::ChangeError;
pub use handle::Notifier;
pub use handle::NotifierGone;

use errand::Errand;
use errand::chance;
use errand::serve;
use handle::Kept;

/// Time after which the thread looks at the clock although nothing arrives.
const IDLE: Duration = Duration::from_millis(200);

/// How long the end of the process waits for messages that are on their way.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Events that are taken before what they change is written.
const MAX_BATCH: usize = 256;

/// Time between two looks at the settings and at files of secrets.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Rest before it begins again after a panic, which may come again.
const AGAIN_AFTER: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });

/// A receiver whose secret or address cannot be used is tried again after so long.
const UNUSABLE_RETRY: Duration = Duration::from_secs(30);

/// Who sees what alerts are about.
pub(crate) trait Looker: Send + 'static {
    /// What an earlier process had seen, before the first look.
    fn remember(&mut self, records: &mut dyn Iterator<Item = &Record>);
    /// Lets the next look be at everything, changed or not.
    fn forget(&mut self);
    /// What may have changed since it looked last; `None`: it cannot look now.
    fn look(&mut self) -> Option<Seen>;
    /// By what something ended that is not there any more.
    fn ending(&self, key: &Key, values: &Values) -> String;
}

/// Why alerts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StartNotifierError {
    /// The catalogue that is compiled in cannot be used. At fault: us.
    #[error("failed to use the catalogue of alerts")]
    Catalogue(#[source] LoadCatalogueError),
    /// The file cannot be opened. At fault: configuration or the disk.
    #[error("failed to open the store of alerts")]
    Open(#[source] OpenAlertsError),
    /// The file cannot be read. At fault: the disk.
    #[error("failed to load alerts")]
    Load(#[source] LoadAlertsError),
    /// No thread can be made. At fault: the machine.
    #[error("failed to start the thread of alerts")]
    Thread(#[source] std::io::Error),
}

/// What the owner stands on.
pub(crate) struct Ground {
    /// The file.
    pub(crate) path: PathBuf,
    /// Who is told what.
    pub(crate) config: Arc<Config>,
    /// Where that is written; `None`: nowhere, and it does not change.
    pub(crate) file: Option<PathBuf>,
    /// Who looks, and how often.
    pub(crate) looker: Box<dyn Looker>,
    /// See [`Self::looker`].
    pub(crate) look_every: Duration,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where Events are told.
    pub(crate) events: Option<Arc<dyn TellEvents>>,
    /// Addresses of the API server, to which no receiver may lead.
    pub(crate) api_server: Vec<std::net::IpAddr>,
    /// Shut while somebody else may send what this one would; `None`: nobody else ever does.
    pub(crate) fence: Option<Fence>,
    /// Where its figures are shown to whoever asks.
    pub(crate) board: Arc<Board>,
}

type Act = Box<dyn FnOnce(&mut Core) + Send>;

enum Event {
    /// Does something to the state, and tries to write what it changes before `then` is done.
    Act {
        act: Act,
        then: oneshot::Sender<Kept>,
    },
    Done {
        receiver: Arc<str>,
        places: Vec<(GroupId, Sent)>,
        outcome: Outcome,
    },
    Stop,
    /// Sends a message that no alert is behind.
    Test {
        receiver: String,
        reply: oneshot::Sender<Outcome>,
    },
}

/// The thread; join it after [`Notifier::stop`].
#[derive(Debug)]
pub struct NotifierThread(JoinHandle<()>);

impl NotifierThread {
    /// Waits until what was taken is written.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of alerts panicked");
        }
    }
}

impl Notifier {
    /// Loads what was kept and starts the thread. Messages are sent by tasks of `runtime`.
    ///
    /// # Errors
    /// [`StartNotifierError`].
    pub(crate) fn start(
        mut ground: Ground,
        runtime: Handle,
    ) -> Result<(Self, NotifierThread), StartNotifierError> {
        let catalogue = Catalogue::built_in().map_err(StartNotifierError::Catalogue)?;
        let (store, kept) = match open(&ground.path) {
            Ok(opened) => opened,
            // Nothing about alerts keeps the fleet from being served.
            Err(error) => {
                tracing::error!(cause = %Chain(&error), "alerts are sent and not kept");
                (AlertStore::fleeting().map_err(StartNotifierError::Open)?, store::Kept::default())
            }
        };
        let now = ground.clock.now();
        let core = Core::new(store, kept, catalogue, Arc::clone(&ground.config), now);
        ground.looker.remember(&mut core.book.records().values());
        let (events, inbox) = mpsc::channel();
        let own = Self { events: events.clone(), board: Arc::clone(&ground.board) };
        let file = ground.file.clone().map(|file| ConfigFile::at(file, &ground.path));
        let mut owner = Owner {
            core,
            ground,
            inbox,
            events,
            runtime,
            ways: BTreeMap::new(),
            busy: BTreeSet::new(),
            secrets: Secrets::default(),
            trusts: Vec::new(),
            file,
            reloaded: None,
            looked: None,
            rest: BTreeMap::new(),
            results: BTreeMap::new(),
            evaluated_at: None,
            failed_commits: 0,
            panics: 0,
        };
        owner.lay_ways();
        let thread = thread::Builder::new().name("alerts".to_owned());
        let thread = thread.spawn(move || run(owner)).map_err(StartNotifierError::Thread)?;
        Ok((own, NotifierThread(thread)))
    }
}

/// Opens the store. One that is damaged is put aside: alerts follow from what the fleet shows, and
/// nobody should wait for a file while nodes fail. Silences in it are lost, which is said.
fn open(path: &Path) -> Result<(AlertStore, store::Kept), StartNotifierError> {
    let read = |path: &Path| {
        let store = AlertStore::open(path).map_err(StartNotifierError::Open)?;
        let kept = store.load().map_err(StartNotifierError::Load)?;
        Ok((store, kept))
    };
    let error = match read(path) {
        Err(
            error @ (StartNotifierError::Load(_)
            | StartNotifierError::Open(OpenAlertsError::Open { .. })),
        ) => error,
        outcome => return outcome,
    };
    let aside = path.with_extension("damaged");
    tracing::error!(
        cause = %Chain(&error), aside = %aside.display(),
        "the alerts that were kept are put aside, silences among them"
    );
    for suffix in ["db", "db-wal", "db-shm"] {
        let (from, to) =
            (path.with_extension(suffix), aside.with_extension(format!("damaged-{suffix}")));
        if let Err(source) = std::fs::rename(&from, &to)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    read(path)
}

/// A slip of ours must not keep people from being told until somebody looks at the log: it goes on from
/// what is written, as after a crash.
fn run(mut owner: Owner) {
    while catch_unwind(AssertUnwindSafe(|| owner.run())).is_err() {
        tracing::error!("working out alerts broke off, and begins again from what is written");
        thread::sleep(AGAIN_AFTER);
        owner = owner.again();
    }
}

struct Owner {
    core: Core,
    ground: Ground,
    inbox: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
    runtime: Handle,
    /// By receiver: what it is now, and its courier.
    ways: BTreeMap<Arc<str>, queue::UnboundedSender<Errand>>,
    /// Receivers to which a message is on its way.
    busy: BTreeSet<Arc<str>>,
    secrets: Secrets,
    trusts: Vec<Trust>,
    file: Option<ConfigFile>,
    reloaded: Option<Instant>,
    looked: Option<Instant>,
    /// Receivers that cannot be used, and when to try again.
    rest: BTreeMap<Arc<str>, Instant>,
    /// What became of attempts, by receiver.
    results: BTreeMap<String, notifications::Receiver>,
    /// When it last looked, and wrote down what came of it.
    evaluated_at: Option<Moment>,
    failed_commits: u64,
    panics: u64,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Out,
}

impl Owner {
    /// As a new process would: messages that are on their way stay so.
    fn again(mut self) -> Self {
        self.core = self.core.again(self.ground.clock.now());
        self.ground.looker.remember(&mut self.core.book.records().values());
        self.ground.looker.forget();
        self.looked = None;
        self.panics = self.panics.saturating_add(1);
        self
    }

    fn run(&mut self) {
        loop {
            let mut done: Vec<oneshot::Sender<Kept>> = Vec::new();
            let going = match self.inbox.recv_timeout(IDLE) {
                Ok(event) => self.batch(event, &mut done),
                Err(RecvTimeoutError::Timeout) => Going::On,
                Err(RecvTimeoutError::Disconnected) => Going::Out,
            };
            self.reload();
            let has_looked = self.turn();
            let parcels = if going == Going::On { self.due() } else { Vec::new() };
            let is_written = self.write();
            if has_looked {
                self.show(is_written);
            }
            let kept = if is_written { Kept::Written } else { Kept::NotWritten };
            for then in done {
                if then.send(kept).is_err() {
                    tracing::debug!("whoever asked waits no more");
                }
            }
            if going == Going::Out {
                self.finish();
                return;
            }
            self.send(parcels);
        }
    }

    /// Waits for what is on its way, so that a clean end repeats no message.
    fn finish(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        let mut unheard = Vec::new();
        while !self.busy.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.inbox.recv_timeout(left) else { break };
            // A second wish to stop changes nothing.
            if self.handle(event, &mut unheard) == Going::Out {
                continue;
            }
        }
        self.write();
    }

    fn batch(&mut self, first: Event, done: &mut Vec<oneshot::Sender<Kept>>) -> Going {
        let mut next = Some(first);
        for _ in 0..MAX_BATCH {
            let Some(event) = next.take() else { break };
            if self.handle(event, done) == Going::Out {
                return Going::Out;
            }
            next = self.inbox.try_recv().ok();
        }
        // The last one of a full batch is not lost.
        match next {
            Some(event) => self.handle(event, done),
            None => Going::On,
        }
    }

    fn handle(&mut self, event: Event, done: &mut Vec<oneshot::Sender<Kept>>) -> Going {
        match event {
            Event::Act { act, then } => {
                act(&mut self.core);
                done.push(then);
            }
            Event::Done { receiver, places, outcome } => {
                self.busy.remove(&receiver);
                self.results.entry(receiver.to_string()).or_default().count(&outcome);
                if let Outcome::Dead { why } = &outcome {
                    tracing::error!(%receiver, why, "a message about alerts was put aside");
                }
                self.core.done(&places, &outcome, chance(), self.ground.clock.now());
            }
            Event::Stop => return Going::Out,
            Event::Test { receiver, reply } => self.try_out(&receiver, reply),
        }
        Going::On
    }

    fn reload(&mut self) {
        if self.reloaded.is_some_and(|at| at.elapsed() < RELOAD_EVERY) {
            return;
        }
        self.reloaded = Some(Instant::now());
        let changed = self.secrets.reload();
        if !changed.is_empty() {
            self.rest.clear();
            self.core.try_again(&changed);
        }
        // What was read before stays in use; that it is no longer what the file says is told.
        let told = |it: Trouble| format!("{}: {}", it.file.display(), it.why);
        let secrets = self.secrets.troubles().into_iter();
        let authorities = self.trusts.iter().filter_map(Trust::trouble);
        self.core.troubles = secrets.chain(authorities).map(told).collect();
        let Some(file) = &mut self.file else { return };
        let config = file.reload();
        self.core.refused = file.refused().cloned();
        if let Some(config) = config {
            self.core.configure(config, self.ground.clock.now());
            self.lay_ways();
        }
    }

    /// Returns whether somebody looked.
    fn turn(&mut self) -> bool {
        let is_due = self.looked.is_none_or(|at| at.elapsed() >= self.ground.look_every);
        let now = self.ground.clock.now();
        if is_due && self.core.book.has_room_again(now) {
            self.ground.looker.forget();
        }
        let seen = if is_due { self.ground.looker.look() } else { None };
        let has_looked = seen.is_some();
        if has_looked {
            self.looked = Some(Instant::now());
        }
        let looker = &self.ground.looker;
        self.core.turn(seen, &|key, values| looker.ending(key, values), now);
        has_looked
    }

    /// A disk that takes no writes keeps nobody from being told: it only makes a crash forget.
    /// Returns whether it is written.
    fn write(&mut self) -> bool {
        let Err(error) = self.core.commit() else { return true };
        tracing::error!(cause = %Chain(&error), "alerts are sent and not kept");
        self.failed_commits = self.failed_commits.saturating_add(1);
        false
    }

    /// Couriers for the receivers of the settings, new ones each time: their ways may have changed.
    fn lay_ways(&mut self) {
        let config = Arc::clone(&self.core.config);
        let files = config.receivers.iter().flat_map(Receiver::files).map(PathBuf::from);
        drop(self.secrets.follow(files));
        self.rest.clear();
        let mut allowed = Vec::new();
        for text in &config.allowed_egress {
            match text.parse::<Allowed>() {
                Ok(it) => allowed.push(it),
                Err(error) => tracing::error!(text, cause = %error, "an address is not allowed"),
            }
        }
        self.trusts.clear();
        let trusts = &mut self.trusts;
        self.ways = config
            .receivers
            .iter()
            .map(|receiver| {
                let name: Arc<str> = receiver.name.as_str().into();
                let dialer = Dialer {
                    egress: Egress::new(allowed.clone(), self.ground.api_server.clone()),
                    trust: {
                        let trust = Trust::new(receiver.ca_file.clone());
                        trusts.push(trust.clone());
                        trust
                    },
                    times: Times::to(receiver),
                };
                let (clock, events) = (Arc::clone(&self.ground.clock), self.ground.events.clone());
                let courier = Courier::new(receiver.name.clone(), dialer, clock, events);
                let (way, errands) = queue::unbounded_channel();
                let outcomes = self.events.clone();
                self.runtime.spawn(serve(courier, errands, Arc::clone(&name), outcomes));
                (name, way)
            })
            .collect();
    }

    fn try_out(&self, name: &str, reply: oneshot::Sender<Outcome>) {
        let load = match self.core.config.receiver(name) {
            None => Err("there is no such receiver".to_owned()),
            Some(receiver) => receiver
                .target(&|file| self.secrets.secret(file).cloned())
                .map(|target| Load {
                    content: self.core.trial(receiver, self.ground.clock.now()),
                    target,
                    templates: receiver.templates.clone(),
                    external_url: self.core.config.external_url.clone(),
                    turn: None,
                })
                .map_err(|error| Chain(&error).to_string()),
        };
        match (load, self.ways.get(name)) {
            // Its task ends only with this thread.
            (Ok(load), Some(way)) => drop(way.send(Errand::Test { load, reply })),
            (Ok(_), None) => drop(reply.send(Outcome::Dead { why: "it has no way".to_owned() })),
            (Err(why), _) => drop(reply.send(Outcome::Dead { why })),
        }
    }

    fn may_send(&self) -> bool {
        self.ground.fence.as_ref().is_none_or(|fence| fence.check().is_ok())
    }

    /// What is due, to be sent once it is written that it is on its way.
    fn due(&mut self) -> Vec<(Arc<str>, Errand)> {
        let mut parcels = Vec::new();
        // What is owed stays so: to be sent once it leads again, or worked out by who leads next.
        if !self.may_send() {
            return parcels;
        }
        let now = self.ground.clock.now();
        for name in self.ways.keys() {
            let rests = self.rest.get(name).is_some_and(|until| Instant::now() < *until);
            if rests || self.busy.contains(name) {
                continue;
            }
            let config = Arc::clone(&self.core.config);
            let Some(receiver) = config.receiver(name) else { continue };
            let target = receiver.target(&|file| self.secrets.secret(file).cloned());
            let target = match target {
                Ok(target) => target,
                Err(error) => {
                    let why = Chain(&error).to_string();
                    tracing::error!(receiver = %name, why, "a receiver cannot be used");
                    self.core.unusable.insert(receiver.name.clone(), why);
                    self.rest.insert(Arc::clone(name), Instant::now() + UNUSABLE_RETRY);
                    continue;
                }
            };
            self.core.unusable.remove(&receiver.name);
            let hosts = target.hosts();
            if self.core.hosts.get(&receiver.name) != Some(&hosts) {
                self.core.hosts.insert(receiver.name.clone(), hosts);
            }
            let Some(parcel) = self.core.next(name, now) else { continue };
            let load = Load {
                content: parcel.content,
                target,
                templates: receiver.templates.clone(),
                external_url: config.external_url.clone(),
                turn: self.core.turn_of(&parcel.places),
            };
            parcels.push((Arc::clone(name), Errand::Parcel { load, places: parcel.places }));
        }
        parcels
    }

    fn send(&mut self, parcels: Vec<(Arc<str>, Errand)>) {
        for (name, errand) in parcels {
            // Writing may have taken long.
            let way = self.ways.get(&name).filter(|_| self.may_send());
            if way.is_some_and(|way| way.send(errand).is_ok()) {
                self.busy.insert(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
