//! The world: machines, their cluster, their people and what happens to them, one event after the
//! other. Time jumps from event to event.
//!
//! Everything that laws judge is recorded here, by whoever really did it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use super::Build;
use super::assertion::Watch;
use super::chance::Chance;
use super::collector::Collector;
use super::fault::Faults;
use super::fault::Trouble;
use super::machine::Machine;
use super::store::Store;
use super::tally::Fault;
use super::tally::Tally;
use super::timeline::Timeline;
use super::workload::Workload;
use crate::fleet::Need;
use crate::fleet::Past;
use crate::fleet::Pod;
use crate::law::Author;
use crate::law::Handed;
use crate::law::Laws;
use crate::law::Readiness;
use crate::law::Record;
use crate::law::What;
use crate::policy::Policy;
use crate::request::Answer;
use crate::seen::GrantAnswer;

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    /// The moment, on a clock that nobody in the world can see.
    pub(super) now: Moment,
    queue: BTreeMap<(Moment, u64), Event>,
    queued: u64,
    /// The API server.
    pub(super) store: Store,
    /// Machines by the UID of their node.
    pub(super) machines: BTreeMap<NodeUid, Machine>,
    /// Pods.
    pub(super) work: Workload,
    /// Collector processes; one is not here while it has its turn.
    pub(super) collectors: Vec<Option<Collector>>,
    /// What collectors share and keep over restarts: their store.
    pub(super) kept: Kept,
    /// Where every draw comes from.
    pub(super) chance: Chance,
    /// What goes wrong.
    pub(super) faults: Faults,
    /// The policy in force.
    pub(super) policy: Arc<Policy>,
    /// The judge.
    pub(super) laws: Laws,
    /// What people read afterwards.
    pub(super) timeline: Timeline,
    /// What users assert.
    pub(super) watch: Watch,
    /// Events that happened.
    pub(super) events: u64,
    /// What runs in collectors.
    pub(super) build: Build,
    /// Turns within turns.
    pub(super) depth: u8,
}

/// What collectors keep over restarts.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What agents said last, by node.
    pub(super) said: BTreeMap<NodeUid, Said>,
    /// What nodes said of grants.
    pub(super) answers: BTreeMap<NodeUid, Vec<GrantAnswer>>,
    /// The audit, as far as plans use it.
    pub(super) past: Past,
    /// How often `past` changed.
    pub(super) past_version: u64,
    /// Nodes whose agents said something else, in order.
    pub(super) journal: Vec<NodeUid>,
}

impl Kept {
    /// An agent was heard last then.
    pub(super) fn spoke_last(&mut self, uid: &NodeUid, at: Option<Moment>) {
        if let (Some(said), Some(at)) = (self.said.get_mut(uid), at) {
            said.heard_at = said.heard_at.max(at);
        }
    }
}

/// What an agent said last.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Of which boot.
    pub(super) boot: BootId,
    /// When it was heard.
    pub(super) heard_at: Moment,
    /// Which kernel runs.
    pub(super) kernel: String,
    /// Which would run.
    pub(super) next_kernel: String,
    /// Whether it needs a reboot.
    pub(super) need: Need,
    /// Since when it says so.
    pub(super) since: Moment,
    /// The file that holds the node.
    pub(super) hold_file: Option<String>,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A collector looks around.
    Turn(usize),
    /// A collector process starts.
    Start(usize),
    /// An agent sends a heartbeat.
    Heartbeat(NodeUid),
    /// A grant reaches a node, on time or late.
    Deliver(NodeUid, Box<Handed>),
    /// What a node says of a grant arrives, late.
    Answer(NodeUid, GrantId, Answer),
    /// A machine goes down.
    Down(NodeUid, Option<GrantId>),
    /// A machine comes up.
    Up(NodeUid, Option<GrantId>),
    /// A kubelet runs again.
    Kubelet(NodeUid),
    /// The cluster notices that a node is ready, or not.
    Notice(NodeUid, Readiness),
    /// A pod turns ready.
    PodReady(NodeUid, String),
    /// A pod is gone.
    PodGone(NodeUid, String),
    /// A controller makes a pod in the place of one that is gone.
    Replace(Option<usize>, Box<Pod>),
    /// A volume is detached.
    Detach(NodeUid, String),
    /// Something goes wrong.
    Trouble(Trouble),
}

impl World {
    /// A world in which nothing is planned yet.
    pub(super) fn new(
        now: Moment,
        policy: Arc<Policy>,
        faults: Faults,
        chance: Chance,
        timeline: Timeline,
        watch: Watch,
    ) -> Self {
        let mut world = Self {
            now,
            queue: BTreeMap::new(),
            queued: 0,
            store: Store::default(),
            machines: BTreeMap::new(),
            work: Workload::default(),
            collectors: Vec::new(),
            kept: Kept::default(),
            chance,
            faults,
            policy: Arc::clone(&policy),
            laws: Laws::default(),
            timeline,
            watch,
            events: 0,
            build: Build::SOUND,
            depth: 0,
        };
        world.record(Author::Person, What::Ruled(policy));
        world
    }

    /// Something happens later.
    pub(super) fn after(&mut self, secs: i64, event: Event) {
        self.at(self.now.plus(secs.max(0)), event);
    }

    /// Something happens then.
    pub(super) fn at(&mut self, at: Moment, event: Event) {
        self.queued = self.queued.saturating_add(1);
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Something happened: the judge hears of it, and whoever reads afterwards.
    pub(super) fn record(&mut self, by: Author, what: What) {
        let record = Record { at: self.now, by, what };
        self.timeline.note(&record, &self.laws);
        self.watch.note(&record);
        self.laws.enter(&record);
    }

    /// Lets things happen until `end`, that included.
    pub(super) fn run_until(&mut self, end: Moment) {
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.events = self.events.saturating_add(1);
            self.happen(event);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(id) => self.turn(id),
            Event::Start(id) => self.start(id),
            Event::Heartbeat(uid) => self.heartbeat(&uid),
            Event::Deliver(uid, grant) => self.deliver(&uid, &grant),
            Event::Answer(uid, id, answer) => self.answer(&uid, id, answer),
            Event::Down(uid, grant) => self.go_down(&uid, grant),
            Event::Up(uid, grant) => self.come_up(&uid, grant),
            Event::Kubelet(uid) => self.kubelet_runs(&uid),
            Event::Notice(uid, readiness) => self.notice(&uid, readiness),
            Event::PodReady(uid, pod) => self.pod_ready(&uid, &pod),
            Event::PodGone(uid, pod) => self.pod_gone(&uid, &pod),
            Event::Replace(app, pod) => self.replace(app, *pod),
            Event::Detach(uid, volume) => {
                if let Some(volumes) = self.work.attached.get_mut(&uid) {
                    volumes.remove(&volume);
                }
            }
            Event::Trouble(trouble) => self.trouble(trouble),
        }
    }

    /// A collector has its turn, unless it is dead or in the middle of one.
    fn turn(&mut self, id: usize) {
        let now = self.now;
        let due = |place: &mut Option<Collector>| {
            place.as_ref().is_some_and(|collector| collector.is_due(now)).then(|| place.take())
        };
        let Some(mut collector) = self.collectors.get_mut(id).and_then(due).flatten() else {
            return;
        };
        let Some(secs) = collector.turn(self) else {
            // What it had in memory, offers too, is gone with it.
            let secs = self.chance.secs(1, 120);
            self.timeline.say(self.now, &format!("collector {id} dies"));
            self.after(secs, Event::Start(id));
            return;
        };
        self.after(secs, Event::Turn(id));
        if let Some(place) = self.collectors.get_mut(id) {
            *place = Some(collector);
        }
    }

    /// A collector process starts with nothing but what is stored.
    fn start(&mut self, id: usize) {
        let offset = self.faults.clock_offset(id);
        if let Some(place) = self.collectors.get_mut(id) {
            *place = Some(Collector::new(id, offset, self.now));
        }
        self.after(0, Event::Turn(id));
    }

    /// What was done to it, with leaders that followed another.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.faults.tally.clone();
        tally.faults.insert(Fault::LeaderChanged, self.store.transitions);
        tally
    }

    /// Ids that exist, in order.
    pub(super) fn uids(&self) -> BTreeSet<NodeUid> {
        self.machines.keys().cloned().collect()
    }
}
