//! The engine: the one owner of the collector's state, and the handle by which others reach it.
//!
//! ```text
//! HTTP ── Engine (handle) ──bounded queue──> one thread: Core ──commit──> Store
//!             │                                   │  replies leave after the commit
//!             └──── snapshot(), changes() <───────┘
//! ```
//!
//! The HTTP side has already limited, authenticated, hashed and parsed what arrives here. Nothing
//! is acknowledged before it is durable; a full queue or a failing store is said so at once, so
//! that agents come back later. Behaviour lives in [`core`]; here are only the queue, the thread
//! and the clock.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::Weak;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::TrySendError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_report::grant::GrantId;
use palisade_report::wire::GrantReport;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::UploadReply;
use tokio::sync::broadcast;
use tokio::sync::oneshot;

use crate::audit::Happening;
use crate::audit::Kind;
use crate::clock::Clock;
use crate::grants::OfferBook;
use crate::snapshot::Snapshot;
use crate::store::Store;

mod apply;
mod ask;
mod audit;
mod cluster;
mod core;
mod episode;
mod fleet;
mod grant;
mod heartbeat;
mod judging;
mod message;
mod quiet;
mod reboots;
mod shelf;
mod slot;
#[cfg(test)]
mod tests;
mod upload;

pub use self::core::StartError;
pub use cluster::ClusterNews;
pub use judging::Judge;
pub use message::*;
pub use reboots::Kept;

use self::core::Core;
use self::core::Now;
use self::core::Outcome;
use self::core::Reply;
use self::grant::Answered;
use self::upload::Upload;

/// Events that may wait. At 100,000 events a second a full queue is 80 ms of work, so a caller that
/// finds it full gains nothing by waiting in line.
const QUEUE: usize = 8192;

/// Events that one commit takes at most, so that a reply never waits for an endless batch.
const MAX_BATCH: usize = 1000;

/// Time after which a batch is closed even if more is waiting.
const MAX_BATCH_FOR: Duration = Duration::from_millis(50);

/// Time between two snapshots; the first after a pause is published at once.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Time after which the engine looks at the clock although nothing arrives.
const IDLE: Duration = Duration::from_millis(200);

/// Changes that a watcher may be behind before it is told that it missed some.
const CHANGES: usize = 1024;

/// When to come back to a full queue.
const BUSY_RETRY_SECS: u64 = 2;

enum Event {
    Answered {
        node: NodeName,
        uid: Option<NodeUid>,
        answered: Box<Answered>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Audit(Box<Happening>),
    Cluster(ClusterNews),
    Heartbeat {
        node: NodeName,
        uid: Option<NodeUid>,
        heartbeat: Box<Heartbeat>,
        received_at: Moment,
        reply: oneshot::Sender<Result<HeartbeatReply, Refusal>>,
    },
    Grant(Arc<OfferBook>),
    Keep {
        kept: Box<Kept>,
        told: Vec<Happening>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Lead(u64),
    Rules(Arc<dyn Judge>),
    Retire {
        node: NodeName,
        by: Box<Happening>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Stop,
    Told {
        happening: Box<Happening>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Upload {
        node: NodeName,
        uid: Option<NodeUid>,
        report: Digest,
        boot_id: BootId,
        sections: Vec<ReceivedSection>,
        unusable: Vec<(SectionName, Digest)>,
        reply: oneshot::Sender<Result<UploadReply, Refusal>>,
    },
}

/// The handle: cheap to clone, safe to call from any task.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::SyncSender<Event>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    changes: broadcast::Sender<Change>,
    /// Upgrades as long as the thread runs.
    life: Weak<()>,
}

/// The engine's thread; join it after [`Engine::stop`].
#[derive(Debug)]
pub struct EngineThread {
    handle: JoinHandle<()>,
    /// Its sender lives in the thread.
    ended: oneshot::Receiver<()>,
}

impl EngineThread {
    /// Waits until everything taken before [`Engine::stop`] is durable and answered.
    pub fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("the engine's thread panicked");
        }
    }

    /// Done when it has ended, by [`Engine::stop`] or by a panic. Once it was, do not ask again.
    pub async fn ended(&mut self) {
        // Nobody sends; the thread's end drops the sender.
        drop((&mut self.ended).await);
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Loads the stored state and starts the thread that owns it.
    ///
    /// # Errors
    /// [`StartError`] if the stored state cannot be read or the thread cannot be made.
    pub fn start(
        store: Store,
        settings: EngineSettings,
        judge: Arc<dyn Judge>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, EngineThread), StartError> {
        let mut core = Core::start(store, settings, judge, Now::read(&*clock))?;
        let snapshot = Arc::new(RwLock::new(core.publish(Now::read(&*clock))));
        let (queue, events) = mpsc::sync_channel(QUEUE);
        let (changes, _) = broadcast::channel(CHANGES);
        let alive = Arc::new(());
        let life = Arc::downgrade(&alive);
        let (ends, ended) = oneshot::channel::<()>();
        let engine =
            Self { queue, snapshot: Arc::clone(&snapshot), changes: changes.clone(), life };
        let owner = Owner { core, clock, events, snapshot, changes };
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Both are dropped whatever way the thread ends.
                let signs_of_life = (alive, ends);
                owner.run();
                drop(signs_of_life);
            })
            .map_err(StartError::Thread)?;
        Ok((engine, EngineThread { handle: thread, ended }))
    }

    /// A heartbeat of `node`, heard at `received_at`. `uid` is what it is in its cluster; `None`
    /// standalone.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it was kept.
    pub async fn heartbeat(
        &self,
        node: NodeName,
        uid: Option<NodeUid>,
        heartbeat: Heartbeat,
        received_at: Moment,
    ) -> Result<HeartbeatReply, Refusal> {
        let heartbeat = Box::new(heartbeat);
        self.ask(|reply| Event::Heartbeat { node, uid, heartbeat, received_at, reply }).await
    }

    /// Sections of a report of `node`. The answer means that they are durable. `unusable` are those
    /// that came too and cannot be taken by anybody: the report is complete without them.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it was kept.
    pub async fn upload(
        &self,
        node: NodeName,
        uid: Option<NodeUid>,
        report: Digest,
        boot_id: BootId,
        sections: Vec<ReceivedSection>,
        unusable: Vec<(SectionName, Digest)>,
    ) -> Result<UploadReply, Refusal> {
        self.ask(|reply| Event::Upload { node, uid, report, boot_id, sections, unusable, reply })
            .await
    }

    /// Retires a node: its findings end, its sections are released, its history stays. The audit
    /// says that this collector did it.
    ///
    /// # Errors
    /// [`Refusal::UnknownNode`], or that it could not be made durable.
    pub async fn retire(&self, node: NodeName) -> Result<(), Refusal> {
        let object = format!("node {node}");
        let by = Happening::own(Kind::NodeRetired, object, "its Node object is gone");
        self.retire_by(node, by).await
    }

    /// Retires a node, for what the audit shall say about it. What it was before is filled in.
    ///
    /// # Errors
    /// As [`Self::retire`].
    pub async fn retire_by(&self, node: NodeName, by: Happening) -> Result<(), Refusal> {
        let by = Box::new(by.about(node.clone()));
        self.ask(|reply| Event::Retire { node, by, reply }).await
    }

    /// Puts something into the audit, behind whatever was sent before. It is durable soon; nobody
    /// waits for it.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::Stopped`]: it is not kept.
    pub fn audit(&self, happening: Happening) -> Result<(), Refusal> {
        self.send(Event::Audit(Box::new(happening)))
    }

    /// Puts something into the audit that is to be there before anybody acts upon it. The answer means
    /// that it is durable.
    ///
    /// # Errors
    /// [`Refusal`]: it is not kept.
    pub async fn audit_durably(&self, happening: Happening) -> Result<(), Refusal> {
        let happening = Box::new(happening);
        self.ask(|reply| Event::Told { happening, reply }).await
    }

    /// Notes the epoch in which this collector leads, so that later terms are above it even if the
    /// Lease is deleted meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::Stopped`]: it is not kept.
    pub fn lead(&self, epoch: u64) -> Result<(), Refusal> {
        self.send(Event::Lead(epoch))
    }

    /// Keeps something of the coordinator without a cluster, and what the audit says of it. The answer
    /// means that both are durable.
    ///
    /// # Errors
    /// [`Refusal`]: neither is.
    pub async fn keep(&self, kept: Kept, told: Vec<Happening>) -> Result<(), Refusal> {
        let kept = Box::new(kept);
        self.ask(|reply| Event::Keep { kept, told, reply }).await
    }

    /// Takes in what changed in the cluster. Waits for room in the queue: news that is dropped would
    /// be missing for ever.
    ///
    /// # Errors
    /// [`Refusal::Stopped`].
    pub async fn cluster(&self, news: ClusterNews) -> Result<(), Refusal> {
        let mut event = Event::Cluster(news);
        loop {
            event = match self.queue.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(event)) => event,
                Err(TrySendError::Disconnected(_)) => return Err(Refusal::Stopped),
            };
            tokio::time::sleep(MAX_BATCH_FOR).await;
        }
    }

    /// Takes what `node` said of a grant. The answer means that it is in the audit; `by` is filled in.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it was kept.
    pub async fn grant_answered(
        &self,
        node: NodeName,
        uid: Option<NodeUid>,
        id: GrantId,
        report: GrantReport,
        by: Happening,
    ) -> Result<(), Refusal> {
        let by = by.about(node.clone());
        let answered = Box::new(Answered { id, report, by });
        self.ask(|reply| Event::Answered { node, uid, answered, reply }).await
    }

    /// Hands out what this book has from now on.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::Stopped`].
    pub fn grant_from(&self, offers: Arc<OfferBook>) -> Result<(), Refusal> {
        self.send(Event::Grant(offers))
    }

    /// Judges every node by other rules or waivers from now on.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::Stopped`].
    pub fn judge_by(&self, judge: Arc<dyn Judge>) -> Result<(), Refusal> {
        self.send(Event::Rules(judge))
    }

    /// Whether the thread still runs; without it nothing is taken and the picture stands still.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life.strong_count() > 0
    }

    /// The newest picture of the fleet.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes from now on. A receiver that falls 1,024 behind is told how many it missed.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Asks the thread to end once everything taken before is durable and answered. Waits for room
    /// in the queue if there is none.
    pub fn stop(&self) {
        // The thread has ended already: that is what was asked for.
        if self.queue.send(Event::Stop).is_err() {
            tracing::debug!("the engine had stopped already");
        }
    }

    async fn ask<T>(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Event,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(event(reply))?;
        answer.await.map_err(|_| Refusal::Stopped)?
    }

    fn send(&self, event: Event) -> Result<(), Refusal> {
        match self.queue.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Refusal::Busy { retry_after_secs: BUSY_RETRY_SECS }),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Stopped),
        }
    }
}

/// What the thread owns.
struct Owner {
    core: Core,
    clock: Arc<dyn Clock>,
    events: mpsc::Receiver<Event>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    changes: broadcast::Sender<Change>,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Out,
}

impl Owner {
    fn run(mut self) {
        let mut published = Instant::now();
        loop {
            let wait = if self.core.is_dirty() {
                PUBLISH_EVERY.saturating_sub(published.elapsed())
            } else {
                IDLE
            };
            let going = match self.events.recv_timeout(wait) {
                Ok(event) => self.batch(event),
                Err(RecvTimeoutError::Timeout) => Going::On,
                Err(RecvTimeoutError::Disconnected) => Going::Out,
            };
            let now = Now::read(&*self.clock);
            match going {
                Going::On => self.core.tick(now),
                Going::Out => self.core.flush_seen(now),
            }
            for change in self.core.commit(now) {
                // No watcher is listening, which is fine.
                drop(self.changes.send(change));
            }
            if self.core.is_dirty() && (published.elapsed() >= PUBLISH_EVERY || going == Going::Out)
            {
                let snapshot = self.core.publish(now);
                *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
                published = Instant::now();
            }
            if going == Going::Out {
                return;
            }
        }
    }

    /// Handles one event and those that are waiting behind it, within the bounds of a batch.
    fn batch(&mut self, first: Event) -> Going {
        let began = Instant::now();
        let mut event = first;
        for _ in 0..MAX_BATCH {
            if self.handle(event) == Going::Out {
                return Going::Out;
            }
            if began.elapsed() >= MAX_BATCH_FOR {
                break;
            }
            event = match self.events.try_recv() {
                Ok(event) => event,
                Err(_) => break,
            };
        }
        Going::On
    }

    fn handle(&mut self, event: Event) -> Going {
        let now = Now::read(&*self.clock);
        match event {
            Event::Answered { node, uid, answered, reply } => {
                let outcome = match self.core.recognise(&node, uid.as_ref(), now) {
                    Some(refusal) => Outcome::AtOnce(Err(refusal)),
                    None => self.core.grant_answered(&node, *answered, now),
                };
                self.core.answer(outcome, |result| Reply::Answered(reply, result));
            }
            Event::Audit(happening) => self.core.note(*happening, now),
            Event::Cluster(news) => self.core.cluster(news, now),
            Event::Heartbeat { node, uid, heartbeat, received_at, reply } => {
                let outcome = match self.core.recognise(&node, uid.as_ref(), now) {
                    Some(refusal) => Outcome::AtOnce(Err(refusal)),
                    None => {
                        let outcome = self.core.heartbeat(&node, &heartbeat, received_at, now);
                        self.core.with_grant(&node, &heartbeat, outcome, now)
                    }
                };
                self.core.answer(outcome, |result| Reply::Heartbeat(reply, result));
            }
            Event::Retire { node, by, reply } => {
                let outcome = self.core.retire(&node, *by, now);
                self.core.answer(outcome, |result| Reply::Retire(reply, result));
            }
            Event::Grant(offers) => self.core.grant_from(offers),
            Event::Keep { kept, told, reply } => {
                let outcome = self.core.keep(*kept, told, now);
                self.core.answer(outcome, |result| Reply::Kept(reply, result));
            }
            Event::Lead(epoch) => self.core.lead(epoch),
            Event::Rules(judge) => self.core.judge_by(judge, now),
            Event::Stop => return Going::Out,
            Event::Told { happening, reply } => {
                let outcome = self.core.told(*happening, now);
                self.core.answer(outcome, |result| Reply::Kept(reply, result));
            }
            Event::Upload { node, uid, report, boot_id, sections, unusable, reply } => {
                let upload = Upload { report, boot_id, sections, unusable };
                let outcome = match self.core.recognise(&node, uid.as_ref(), now) {
                    Some(refusal) => Outcome::AtOnce(Err(refusal)),
                    None => self.core.upload(&node, upload, now),
                };
                self.core.answer(outcome, |result| Reply::Upload(reply, result));
            }
        }
        Going::On
    }
}
