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
//! that agents come back later.

use std::sync::Arc;
use std::time::Duration;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::UploadReply;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::snapshot::NodeState;
use crate::snapshot::Snapshot;
use crate::store::Store;

pub mod judging;

pub use judging::Judge;

/// What the engine keeps to; every number has a default that fits one machine and 100,000 nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Time between two heartbeats of a node.
    pub interval: Duration,
    /// Nodes that may be known at once, gone ones not counted.
    pub max_nodes: usize,
    /// Sections never seen before that one node may bring within an hour.
    pub max_new_sections_per_hour: u32,
    /// Uploads that may be asked for at once.
    pub max_uploads: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(palisade_report::wire::DEFAULT_INTERVAL_SECS),
            max_nodes: 120_000,
            max_new_sections_per_hour: 64,
            max_uploads: 20,
        }
    }
}

/// A section as the HTTP side hands it over: hashed, parsed as canonical, its facts' types checked.
#[derive(Clone, Debug)]
pub struct ReceivedSection {
    /// Its name.
    pub name: SectionName,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// The same, parsed.
    pub value: Arc<serde_json::Value>,
}

/// Why the engine refuses. Nothing of a refused call is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 503: the queue is full. At fault: us, or too many peers at once.
    #[error("the collector is busy; try again in {retry_after_secs} s")]
    Busy {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// 503: the store does not take writes, so nothing can be acknowledged. At fault: us.
    #[error("the collector cannot store anything now; try again in {retry_after_secs} s")]
    NotDurable {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// 400: the manifest's digest is not the report's. At fault: the peer.
    #[error("the manifest does not have the digest of the report")]
    ManifestMismatch,
    /// 409: this sequence number was used for another report. At fault: the peer, or two agents
    /// that speak for one node.
    #[error("the sequence number was already used for another report of this boot")]
    SequenceReused,
    /// 503: the engine has stopped. At fault: nobody.
    #[error("the collector is shutting down")]
    Stopped,
    /// 429: there is no room for another node. At fault: configuration.
    #[error("the collector knows as many nodes as it may")]
    TooManyNodes,
    /// 413: more sections than a report may have. At fault: the peer.
    #[error("more sections than a report may have")]
    TooManySections,
    /// 429: this node brought too many new sections within an hour. At fault: the peer.
    #[error("too many new sections from this node; try again in {retry_after_secs} s")]
    TooManyNewSections {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// 404: no such node. At fault: the peer.
    #[error("no node of that name is known")]
    UnknownNode,
}

/// Something that changed, for those who watch. Sent after it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the history, by which a watcher goes on; `None` for a change of state, which
    /// is not kept.
    pub id: Option<i64>,
    /// When.
    pub at: Moment,
    /// The node.
    pub node: NodeName,
    /// What.
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Findings opened, changed or ended.
    Findings {
        /// What brought the change about.
        cause: Cause,
        /// One for each finding.
        transitions: Arc<[Transition]>,
    },
    /// The node became fresh, late, silent or gone.
    State(NodeState),
    /// Something that a person should know and that is no finding.
    Event(NodeEvent),
}

/// What brought a change of findings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Other rules, other waivers; the node itself did not change.
    Rules,
    /// The node's facts changed.
    Report,
    /// The node was retired.
    Retired,
    /// Time passed a threshold.
    Time,
}

/// A finding that opened, changed or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The rule.
    pub rule: palisade_rules::RuleId,
    /// What it is about within the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The verdict before; `None`: there was no such finding.
    pub from: Option<Verdict>,
    /// The verdict now; `None`: there is no such finding any more.
    pub to: Option<Verdict>,
    /// The severity now, or the last one.
    pub severity: Severity,
    /// When the episode opened.
    pub first_seen_at: Moment,
}

/// Something about a node that is kept in its history and is no finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NodeEvent {
    /// Heard of for the first time, or again after it was retired.
    Enrolled,
    /// It runs in another boot than before.
    Rebooted {
        /// The boot before.
        from: BootId,
        /// The boot now.
        to: BootId,
    },
    /// Retired by a person or because its Node object was deleted.
    Retired,
    /// A sequence number came again with another report: two agents speak for one node, or a
    /// machine was cloned. A person should look.
    SequenceConflict {
        /// The number.
        sequence: u64,
        /// The report that had it first.
        first: Digest,
        /// The report that came with it now.
        second: Digest,
    },
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The stored state cannot be read. At fault: the disk, or a newer collector.
    #[error("failed to load the stored state")]
    Load(#[source] crate::store::LoadError),
    /// The thread could not be made. At fault: the machine.
    #[error("failed to start the engine's thread")]
    Thread(#[source] std::io::Error),
}

/// The handle: cheap to clone, safe to call from any task.
#[derive(Clone)]
pub struct Engine {
    snapshot: Arc<std::sync::RwLock<Arc<Snapshot>>>,
    changes: broadcast::Sender<Change>,
}

/// The engine's thread; join it after [`Engine::stop`].
#[derive(Debug)]
pub struct EngineThread(std::thread::JoinHandle<()>);

impl EngineThread {
    /// Waits until everything taken before [`Engine::stop`] is durable and answered.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the engine's thread panicked");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        drop((store, settings));
        let first = Snapshot {
            version: 1,
            started_at: clock.now(),
            published_at: clock.now(),
            profile: judge.profile(),
            readiness: crate::snapshot::Readiness::Ready,
            nodes: crate::snapshot::NodeTable::default(),
            counters: Arc::default(),
        };
        let engine = Self {
            snapshot: Arc::new(std::sync::RwLock::new(Arc::new(first))),
            changes: broadcast::channel(1024).0,
        };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(|| {})
            .map_err(StartError::Thread)?;
        Ok((engine, EngineThread(thread)))
    }

    /// A heartbeat of `node`, heard at `received_at`.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it was kept.
    pub async fn heartbeat(
        &self,
        _node: NodeName,
        _heartbeat: Heartbeat,
        _received_at: Moment,
    ) -> Result<HeartbeatReply, Refusal> {
        Err(Refusal::Stopped)
    }

    /// Sections of a report of `node`. The answer means that they are durable.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it was kept.
    pub async fn upload(
        &self,
        _node: NodeName,
        _report: Digest,
        _boot_id: BootId,
        _sections: Vec<ReceivedSection>,
    ) -> Result<UploadReply, Refusal> {
        Err(Refusal::Stopped)
    }

    /// Retires a node: its findings end, its sections are released, its history stays.
    ///
    /// # Errors
    /// [`Refusal::UnknownNode`], or that it could not be made durable.
    pub async fn retire(&self, _node: NodeName) -> Result<(), Refusal> {
        Err(Refusal::Stopped)
    }

    /// The newest picture of the fleet.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        match self.snapshot.read() {
            Ok(snapshot) => Arc::clone(&snapshot),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    /// Changes from now on. A receiver that falls 1,024 behind is told how many it missed.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Asks the thread to end once everything taken before is durable and answered.
    pub fn stop(&self) {}
}
