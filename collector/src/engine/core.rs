//! The core: the whole state, changed by one event at a time, durable in batches.
//!
//! ```text
//! event ──> heartbeat / upload / retire / tick ──> memory + batch of writes + held replies
//!                                                        │ commit
//!                                   works: replies and changes leave
//!                                   fails: replies become refusals, memory is loaded again
//! ```
//!
//! No thread, no clock and no socket here: `now` comes with each call, so tests drive it directly.
//! While the store fails, only heartbeats without news are answered; once a second a probe tries
//! whether commits work again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::UploadReply;
use serde_json::Value;
use tokio::sync::oneshot;

use super::ask::Asks;
use super::ask::SectionId;
use super::audit::Audit;
use super::fleet::Known;
use super::judging::Judge;
use super::message::Change;
use super::message::EngineSettings;
use super::message::Refusal;
use super::shelf::Shelf;
use crate::audit::Happening;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::grants::OfferBook;
use crate::snapshot::ClusterNode;
use crate::snapshot::Counters;
use crate::snapshot::NodeTable;
use crate::snapshot::Readiness;
use crate::snapshot::Snapshot;
use crate::store::CommitError;
use crate::store::LoadError;
use crate::store::Store;
use crate::store::Write;

/// Time between two tries whether a failing store works again.
const PROBE_EVERY_MS: i64 = 1000;

/// When an agent comes back to a store that fails.
const FAILING_RETRY_SECS: u64 = 5;

/// The hands of the clock, read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Wall time.
    pub(crate) at: Moment,
    /// Wall time in milliseconds.
    pub(crate) unix_ms: i64,
    /// Monotonic milliseconds.
    pub(crate) ms: i64,
    /// Milliseconds since the machine's boot, by which permissions end.
    pub(crate) boot_ms: i64,
}

impl Now {
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        let unix_ms = clock.unix_ms();
        let ms = i64::try_from(clock.elapsed_ms()).unwrap_or(i64::MAX);
        let at = Moment::from_unix(unix_ms.div_euclid(1000));
        Self { at, unix_ms, ms, boot_ms: clock.boot_ms() }
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The stored state cannot be read. At fault: the disk, or a newer collector.
    #[error("failed to load the stored state")]
    Load(#[source] LoadError),
    /// What loading brought about cannot be stored. At fault: the disk.
    #[error("failed to store the first judgements")]
    Store(#[source] CommitError),
    /// The thread could not be made. At fault: the machine.
    #[error("failed to start the engine's thread")]
    Thread(#[source] std::io::Error),
}

/// The result of an event, and when it may leave.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// It rests on nothing that this event changed.
    AtOnce(Result<T, Refusal>),
    /// It says that something is durable.
    Durable(Result<T, Refusal>),
}

/// A reply that waits for the commit.
#[derive(Debug)]
pub(crate) enum Reply {
    Answered(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
    Heartbeat(oneshot::Sender<Result<HeartbeatReply, Refusal>>, Result<HeartbeatReply, Refusal>),
    Kept(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
    Retire(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
    Upload(oneshot::Sender<Result<UploadReply, Refusal>>, Result<UploadReply, Refusal>),
}

impl Reply {
    fn send(self, refusal: Option<&Refusal>) {
        fn give<T>(
            to: oneshot::Sender<Result<T, Refusal>>,
            result: Result<T, Refusal>,
            refusal: Option<&Refusal>,
        ) {
            // The peer may have gone away meanwhile, which changes nothing.
            drop(to.send(refusal.map_or(result, |refusal| Err(refusal.clone()))));
        }
        match self {
            Self::Answered(to, result) => give(to, result, refusal),
            Self::Heartbeat(to, result) => give(to, result, refusal),
            Self::Kept(to, result) => give(to, result, refusal),
            Self::Retire(to, result) => give(to, result, refusal),
            Self::Upload(to, result) => give(to, result, refusal),
        }
    }
}

/// A stored section.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) size: u64,
    /// How often nodes refer to it, by their report or by one that is on its way.
    pub(crate) refs: usize,
}

/// What the memory rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It could not be read back after a commit failed: some of it may be nowhere else.
    Doubtful,
    /// The store, and the running batch.
    Stored,
}

/// What the running batch has brought about and not yet made durable.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) writes: Vec<Write>,
    /// Writes that no reply waits for: states.
    pub(crate) lazy: Vec<Write>,
    pub(crate) changes: Vec<Change>,
    /// What the audit shall say of it.
    pub(super) done: Vec<(Moment, Happening)>,
    replies: Vec<Reply>,
    /// Parsed sections that the store does not have yet.
    pub(crate) values: BTreeMap<SectionId, Arc<Value>>,
    /// Sections and judgements that may be unreferenced by now.
    pub(crate) released: BTreeSet<SectionId>,
    pub(crate) unjudged: BTreeSet<Digest>,
    /// A read from the store that failed; the batch cannot be trusted.
    pub(crate) trouble: Option<LoadError>,
}

/// The whole state.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(super) settings: EngineSettings,
    pub(super) judge: Arc<dyn Judge>,
    pub(super) basis: Digest,
    pub(super) groups: Vec<Vec<SectionName>>,
    pub(super) nodes: NodeTable,
    pub(super) known: BTreeMap<NodeName, Known>,
    /// What the cluster says, by name; empty standalone.
    pub(super) members: BTreeMap<NodeName, Arc<ClusterNode>>,
    /// Who sent the message that is being taken.
    pub(super) speaker: Option<NodeUid>,
    /// When each node has to be looked at again because it may have become quiet.
    pub(super) quiet: BTreeSet<(i64, NodeName)>,
    pub(super) sections: BTreeMap<SectionId, Stored>,
    pub(super) shelf: Shelf,
    pub(super) asks: Asks,
    /// Sections that nobody is asked for, because their bytes cannot be taken.
    pub(super) unusable: BTreeSet<SectionId>,
    /// Parsed shared sections that were used lately.
    pub(super) values: BTreeMap<SectionId, Arc<Value>>,
    pub(super) counters: Arc<Counters>,
    pub(super) batch: Batch,
    pub(super) audit: Audit,
    /// What may be handed out; `None`: this collector grants nothing.
    pub(super) offers: Option<Arc<OfferBook>>,
    pub(super) last_history: i64,
    /// Entries up to this place are gone.
    pub(super) trimmed_history: i64,
    pub(super) readiness: Readiness,
    pub(super) memory: Memory,
    pub(super) probe_at_ms: i64,
    pub(super) seen_flush_at_ms: i64,
    pub(super) started_at: Moment,
    pub(super) started_ms: i64,
    dirty: bool,
    version: u64,
}

impl Core {
    /// Loads the stored state, and judges what these rules have not judged yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn start(
        store: Store,
        settings: EngineSettings,
        judge: Arc<dyn Judge>,
        now: Now,
    ) -> Result<Self, StartError> {
        let mut core = Self {
            store,
            settings,
            basis: basis(&*judge),
            groups: judge.groups(),
            judge,
            nodes: NodeTable::default(),
            known: BTreeMap::new(),
            members: BTreeMap::new(),
            speaker: None,
            quiet: BTreeSet::new(),
            sections: BTreeMap::new(),
            shelf: Shelf::default(),
            asks: Asks::default(),
            unusable: BTreeSet::new(),
            values: BTreeMap::new(),
            counters: Arc::default(),
            batch: Batch::default(),
            audit: Audit::new(),
            offers: None,
            last_history: 0,
            trimmed_history: 0,
            readiness: Readiness::Ready,
            memory: Memory::Stored,
            probe_at_ms: 0,
            seen_flush_at_ms: now.ms,
            started_at: now.at,
            started_ms: now.ms,
            dirty: true,
            version: 0,
        };
        core.load(now).map_err(StartError::Load)?;
        core.sweep();
        core.store.commit(&core.batch.writes).map_err(StartError::Store)?;
        core.batch = Batch::default();
        Ok(core)
    }

    /// Lets an outcome leave now, or holds it until the commit.
    pub(crate) fn answer<T>(
        &mut self,
        outcome: Outcome<T>,
        reply: impl FnOnce(Result<T, Refusal>) -> Reply,
    ) {
        match outcome {
            // What it rests on may have been changed by an event before it in this batch.
            Outcome::AtOnce(result) if self.batch.writes.is_empty() => reply(result).send(None),
            Outcome::AtOnce(result) | Outcome::Durable(result) => {
                self.batch.replies.push(reply(result));
            }
        }
    }

    /// Makes the batch durable and lets its replies go; returns the changes to announce.
    pub(crate) fn commit(&mut self, now: Now) -> Vec<Change> {
        self.sweep();
        let mut batch = std::mem::take(&mut self.batch);
        let (mut audit, ends) = self.audit_writes(std::mem::take(&mut batch.done));
        let failure: Option<Box<dyn Error>> = match batch.trouble.take() {
            Some(trouble) => Some(Box::new(trouble)),
            None => {
                batch.writes.append(&mut batch.lazy);
                batch.writes.append(&mut audit);
                if batch.writes.is_empty() {
                    None
                } else {
                    self.dirty = true;
                    self.store.commit(&batch.writes).err().map(|error| Box::new(error) as _)
                }
            }
        };
        let Some(failure) = failure else {
            self.audit_is_durable(ends);
            batch.replies.into_iter().for_each(|reply| reply.send(None));
            return batch.changes;
        };
        let refusal = Refusal::NotDurable { retry_after_secs: FAILING_RETRY_SECS };
        batch.replies.into_iter().for_each(|reply| reply.send(Some(&refusal)));
        self.fail(&*failure, now);
        Vec::new()
    }

    /// The store does not take writes: forget what is not in it.
    fn fail(&mut self, failure: &dyn Error, now: Now) {
        let reason = chain(failure);
        tracing::error!(%reason, "the store takes no writes; nothing new is acknowledged");
        Arc::make_mut(&mut self.counters).failed_commits += 1;
        self.readiness = Readiness::Failing { since: now.at, reason: reason.into() };
        self.probe_at_ms = now.ms.saturating_add(PROBE_EVERY_MS);
        self.reload(now);
    }

    /// Builds the memory anew from the store. If even that fails, it is tried with each probe; until
    /// then no heartbeat is answered, because what is left may never have been stored.
    fn reload(&mut self, now: Now) {
        self.memory = Memory::Doubtful;
        match self.load(now) {
            Ok(()) => self.memory = Memory::Stored,
            Err(error) => {
                tracing::error!(reason = chain(&error), "the stored state cannot be read again");
                self.readiness = Readiness::Failing { since: now.at, reason: chain(&error).into() };
            }
        }
        // What loading judged anew is judged again once the store works.
        self.batch = Batch::default();
        self.dirty = true;
    }

    /// Whether the store takes writes; tries it once a second while it does not.
    pub(super) fn is_durable(&mut self, now: Now) -> bool {
        if self.readiness == Readiness::Ready {
            return true;
        }
        if now.ms < self.probe_at_ms {
            return false;
        }
        self.probe_at_ms = now.ms.saturating_add(PROBE_EVERY_MS);
        if self.store.probe().is_err() {
            return false;
        }
        self.readiness = Readiness::Ready;
        self.dirty = true;
        // Who was refused meanwhile was not heard: nobody can be blamed for that silence.
        self.started_ms = now.ms;
        match self.load(now) {
            Ok(()) => {
                self.memory = Memory::Stored;
                tracing::info!("the store takes writes again");
            }
            Err(error) => self.fail(&error, now),
        }
        self.readiness == Readiness::Ready
    }

    /// The refusal of everything that needs the store while it fails.
    pub(super) const fn not_durable<T>() -> Outcome<T> {
        Outcome::AtOnce(Err(Refusal::NotDurable { retry_after_secs: FAILING_RETRY_SECS }))
    }

    /// Whether there is something to publish.
    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// A snapshot of now.
    pub(crate) fn publish(&mut self, now: Now) -> Arc<Snapshot> {
        self.dirty = false;
        self.version = self.version.saturating_add(1);
        Arc::new(Snapshot {
            version: self.version,
            started_at: self.started_at,
            published_at: now.at,
            profile: self.judge.profile(),
            readiness: self.readiness.clone(),
            nodes: self.nodes.clone(),
            counters: Arc::clone(&self.counters),
        })
    }

    /// Something is to be published.
    pub(super) const fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn counters(&mut self) -> &mut Counters {
        self.dirty = true;
        Arc::make_mut(&mut self.counters)
    }

    /// Removes sections and judgements that nothing refers to any more.
    fn sweep(&mut self) {
        for id in std::mem::take(&mut self.batch.released) {
            let Some(stored) = self.sections.get(&id) else { continue };
            if stored.refs > 0 {
                continue;
            }
            let size = stored.size;
            self.sections.remove(&id);
            self.values.remove(&id);
            let counters = self.counters();
            counters.sections = counters.sections.saturating_sub(1);
            counters.section_bytes = counters.section_bytes.saturating_sub(size);
            self.batch.writes.push(Write::DropSection { name: id.0, digest: id.1 });
        }
        for key in std::mem::take(&mut self.batch.unjudged) {
            if self.shelf.drop_unheld(key) == super::shelf::Kept::Dropped {
                self.batch.writes.push(Write::DropJudgement { key });
            }
        }
    }
}

/// What judgements depend on beside the facts: rules, waivers, and the code that applies them.
pub(super) fn basis(judge: &dyn Judge) -> Digest {
    Digest::of(format!("{} {}", judge.basis(), env!("CARGO_PKG_VERSION")).as_bytes())
}

/// An error with its causes, for the log and `/readyz`.
fn chain(error: &dyn Error) -> String {
    palisade_report::bound::clean_text(&Chain(error).to_string())
}
