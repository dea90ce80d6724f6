//! What is seen of one node while its request is carried out: the second input of a step.
//!
//! Everything here is a fact that the shell read since the step before, or that it could not read
//! it. A fact that is missing holds the request where it is.

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::grant::GrantId;
use serde::Deserialize;
use serde::Serialize;

use crate::fleet::Known;
use crate::fleet::Node;
use crate::gate::Blocker;
use crate::request::Answer;
use crate::request::Schedulability;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The node of this UID. `Known(None)`: it was deleted, or its name belongs to another UID.
    pub node: Known<Option<Node>>,
    /// What is left of the drain; only read in states Draining and Granted, where nothing is handed
    /// out without it. Empty, without a look, where the cluster is a [single
    /// node](crate::plan::is_single): then nothing is evicted.
    pub drain: Known<DrainSeen>,
    /// The Lease of the node that tools share.
    pub lease: Known<LeaseSeen>,
    /// What the node said of a grant, newest last.
    pub answers: Vec<GrantAnswer>,
    /// Whether a count of all requests, made after the claim was written, allows the claim; only read
    /// in state Claimed.
    pub count: Known<Count>,
    /// Gates that would be shut for a grant of this very node right now, by the same policy as plans.
    pub gates: Vec<Blocker>,
    /// What the kubelet says of its boot.
    pub kubelet: Known<Kubelet>,
    /// Who wrote `spec.unschedulable` of the node last, where `managedFields` tells and it was not us.
    pub unschedulable_by: Option<String>,
    /// Our marker on the node, whether it is cordoned or not: it stays when somebody else uncordons.
    #[serde(default)]
    pub marker: Option<String>,
    /// What is written beside our marker about the time before the cordon; for a marker whose request
    /// is gone.
    pub marked_before: Option<Schedulability>,
    /// Seconds that the shutdown of this node may take by itself: the grace period of its kubelet,
    /// or the longest delay that logind grants; 0 where neither is known.
    pub shutdown_grace_secs: u32,
    /// How long the phases of its pool take, as learned.
    pub usual: Usual,
    /// Whether what comes from the API server, and the leadership, are young enough to act upon. Without
    /// it alerts are still raised and nodes still given back, which takes `node` and nothing else.
    pub fresh: bool,
    /// Epoch of this leader.
    pub epoch: u64,
    /// Since when this process leads, on the same clock as `now`, which does not jump meanwhile: a
    /// leader knows only for its own time what was handed out and who kept silent.
    pub leading_since: Moment,
    /// A fresh random id for the next grant, should one be given.
    pub next_grant: GrantId,
}

/// What is left of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainSeen {
    /// Pods that must go and are still there, in words with their cause: `default/web-1: budget
    /// default/web allows 0`. Empty: nothing that a drain takes is left.
    pub left: Vec<String>,
    /// Persistent volumes that pods which must go use.
    pub volumes: Vec<String>,
    /// Volumes of the record that are still attached.
    pub attached: Vec<String>,
    /// The disruption budget or pod that stops it altogether, in words: an eviction that the API
    /// server refused for good, or a dry run that failed.
    pub stuck: Vec<String>,
    /// Why it came to nothing, for certain, where somebody else empties the node and says so: it is not
    /// waited for any longer. Without it a drain fails by its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The Lease of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseSeen {
    /// Nobody holds it, or its holder's time is over.
    Free,
    /// We hold it.
    Ours,
    /// Somebody else does.
    Other {
        /// `spec.holderIdentity`.
        holder: String,
    },
    /// This cluster shares none.
    Unused,
}

/// The kubelet of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kubelet {
    /// There is none: palisade runs without a cluster.
    Unused,
    /// The boot that it last reported (`status.nodeInfo.bootID`), which it does after it and the
    /// container runtime have started; `None` as long as it names none.
    Speaks(Option<BootId>),
}

/// A word of the node about a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantAnswer {
    /// Which grant.
    pub id: GrantId,
    /// What of it.
    pub answer: Answer,
    /// When it arrived.
    pub at: Moment,
}

/// What a count of all requests says of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// No cap is exceeded.
    Within,
    /// This cap is: whoever finds that withdraws.
    Above(Blocker),
}

/// How long the phases of a pool usually take, in seconds; what is not known yet is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usual {
    /// 95th percentile of drains.
    pub drain_p95: Option<u32>,
    /// 95th percentile from grant to the first word of the new boot.
    pub reboot_p95: Option<u32>,
    /// 99th percentile of the same.
    pub reboot_p99: Option<u32>,
}
