//! What goes into the engine and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde::Deserialize;
use serde::Serialize;

use crate::snapshot::NodeState;

/// What the engine keeps to; every number has a default that fits one machine and 100,000 nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Time between two heartbeats of a node.
    pub interval: Duration,
    /// Time without a word after which a node is called silent, however short its interval; three
    /// intervals at least.
    pub silent_after: Duration,
    /// Nodes that may be known at once, gone ones not counted.
    pub max_nodes: usize,
    /// Sections never seen before that one node may bring within an hour.
    pub max_new_sections_per_hour: u32,
    /// Uploads that may be asked for at once.
    pub max_uploads: usize,
    /// Entries of the history that are kept, the newest ones. One entry holds all transitions of a
    /// node at one moment; a million of some 300 bytes are 300 MB.
    pub max_history: i64,
    /// Entries of the audit that are kept, the newest ones: some 500 bytes each.
    pub max_audit: i64,
    /// Entries of each kind that are kept beyond those, its newest ones, whatever came after them.
    pub audit_of_each: i64,
}

/// A node is never called silent before so many seconds unless told otherwise: a drained machine
/// that reboots is back within them.
pub const DEFAULT_SILENT_AFTER_SECS: u64 = 300;

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(palisade_report::wire::DEFAULT_INTERVAL_SECS),
            silent_after: Duration::from_secs(DEFAULT_SILENT_AFTER_SECS),
            max_nodes: 120_000,
            max_new_sections_per_hour: 64,
            max_uploads: 20,
            max_history: 1_000_000,
            max_audit: 200_000,
            audit_of_each: 10_000,
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
    /// 409: the sections belong to no report that this node announced. At fault: the peer, or a
    /// restart of ours in between; the next heartbeat settles it.
    #[error("the sections belong to no report that this node announced; send a heartbeat first")]
    NotAnnounced,
    /// 503: the store does not take writes, so nothing can be acknowledged. At fault: us.
    #[error("the collector cannot store anything now; try again in {retry_after_secs} s")]
    NotDurable {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// 400: the manifest's digest is not the report's. At fault: the peer.
    #[error("the manifest does not have the digest of the report")]
    ManifestMismatch,
    /// 403: the cluster has another node of this name. At fault: the peer, or a token that outlived
    /// its node.
    #[error("the cluster has another node of this name now")]
    OtherNode,
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
    /// 429: this node answers more grants than it can have got. At fault: the peer.
    #[error("too many answers to grants from this node; try again in {retry_after_secs} s")]
    TooManyAnswers {
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
    /// Another node has its name now.
    Replaced,
    /// The node was retired.
    Retired,
    /// Time passed a threshold.
    Time,
}

/// A finding that opened, changed or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The rule.
    pub rule: RuleId,
    /// What it is about within the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The open verdict before; `None`: it was not open.
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
    /// Heard from a boot that it has left: a machine was cloned, or two agents speak for one node.
    /// A person should look.
    FormerBoot {
        /// The boot that was left.
        former: BootId,
        /// The boot that it runs in.
        current: BootId,
    },
    /// Its Node object was deleted and made again: another node has its name now, and begins with
    /// nothing. What came before this in the history is the old one's.
    Recreated {
        /// The UID before.
        from: NodeUid,
        /// The UID now.
        to: NodeUid,
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
