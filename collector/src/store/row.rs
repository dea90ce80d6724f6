//! The shapes of stored values. Fields are only ever added, with a default.

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Manifest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_report::section::certificates::Certificate;
use palisade_rules::Finding;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde::Deserialize;
use serde::Serialize;

use crate::engine::Cause;
use crate::engine::Transition;
use crate::snapshot::Edit;
use crate::snapshot::NodeState;
use crate::snapshot::Opened;

/// A node, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRow {
    pub(crate) name: NodeName,
    pub(crate) state: NodeState,
    pub(crate) state_since: Moment,
    pub(crate) seen_at: Moment,
    pub(crate) skew_secs: i64,
    pub(crate) sequence: u64,
    pub(crate) body: NodeBody,
}

/// What of a node is read and written as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeBody {
    /// What it is in its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<NodeUid>,
    pub(crate) first_seen_at: Moment,
    pub(crate) boot_id: BootId,
    pub(crate) agent: String,
    /// The report that came with the highest sequence number.
    pub(crate) announced: Digest,
    pub(crate) report: Option<Digest>,
    pub(crate) reported_at: Option<Moment>,
    pub(crate) sections: Vec<(SectionName, Digest)>,
    pub(crate) pending: Option<PendingRow>,
    /// Announced sections that cannot be taken.
    #[serde(default)]
    pub(crate) left_out: Vec<(SectionName, Digest)>,
    pub(crate) episodes: Vec<EpisodeRow>,
}

/// A report of which something is still missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingRow {
    pub(crate) report: Digest,
    pub(crate) boot_id: BootId,
    pub(crate) manifest: Manifest,
    /// Sections that this node sent for it.
    pub(crate) received: Vec<(SectionName, Digest)>,
}

/// An open finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpisodeRow {
    pub(crate) rule: RuleId,
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    pub(crate) severity: Severity,
    pub(crate) first_seen_at: Moment,
    #[serde(default)]
    pub(crate) opened: Opened,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edited: Option<Box<Edit>>,
    pub(crate) changed_at: Moment,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JudgedRow {
    pub(crate) group: usize,
    pub(crate) inputs: Vec<(SectionName, Digest)>,
    pub(crate) node: Option<NodeName>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) next_change_at: Option<Moment>,
}

/// A set of transitions in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransitionsRow {
    pub(crate) cause: Cause,
    pub(crate) transitions: Vec<Transition>,
}

/// A certificate of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateBody {
    pub(crate) certificate: Certificate,
    pub(crate) watched: Vec<String>,
}

/// Words of the `kind` column of the history.
pub(crate) const KIND_FINDINGS: &str = "findings";
/// See [`KIND_FINDINGS`].
pub(crate) const KIND_EVENT: &str = "event";

/// The row of `marks` that holds the highest epoch in which this store's collector led.
pub(crate) const MARK_EPOCH: &str = "epoch";

/// Moments of the end of certificates that could not be told sort last.
pub(crate) const UNKNOWN_END: i64 = i64::MAX;
