//! What is known of the fleet when a plan is made. Facts only: what they mean for a reboot is decided
//! by the planner, under a policy.
//!
//! Absent and unknown are different words here too: a list that could not be read is not empty.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde::Deserialize;
use serde::Serialize;

use crate::gate::Blocker;
use crate::request::Entered;
use crate::request::Reason;
use crate::request::Request;

/// Something that was looked at, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Known<T> {
    /// It was read.
    Known(T),
    /// It could not be told: the operation that failed and its cause, for a person.
    Unknown(String),
}

impl<T> Known<T> {
    /// What was read, if it was.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// The fleet at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Every node that exists, by UID.
    pub nodes: BTreeMap<NodeUid, Node>,
    /// Every request that exists, by the UID of its node; also those of nodes that are gone.
    pub requests: BTreeMap<NodeUid, Request>,
    /// Pods by the UID of their node; of nodes whose pods were not asked for, nothing.
    pub pods: Known<BTreeMap<NodeUid, Arc<[Pod]>>>,
    /// Pod disruption budgets, by `namespace/name`.
    pub budgets: Known<BTreeMap<String, DisruptionBudget>>,
    /// Gates that are shut for everybody, as the shell found them: alerts, a kured lock, an API whose
    /// answers are too old.
    pub blockers: Vec<Blocker>,
    /// Members of etcd, where the control plane runs it on its nodes; `None` in clusters whose
    /// control plane is not among the nodes.
    pub etcd: Option<Known<Etcd>>,
    /// Starts, ends and failures of former reboots, as the audit has them.
    pub past: Past,
    /// The node that the collector itself runs on.
    pub own_node: Option<NodeUid>,
    /// The last moment at which too much of the fleet was silent; none, if that is not known of this
    /// term.
    pub frozen_at: Option<Moment>,
}

/// A node that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name, for people.
    pub name: NodeName,
    /// Its UID, which is the node.
    pub uid: NodeUid,
    /// Labels, by which pools and topology are told.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Whether it runs the control plane.
    pub role: Role,
    /// Whether the cluster finds it ready.
    pub ready: Ready,
    /// Whether it takes pods.
    pub cordon: Cordon,
    /// Keys of its taints.
    pub taints: BTreeSet<String>,
    /// `palisade.dev/hold`: why, and until when. A value that cannot be read holds as well.
    pub hold: Option<Hold>,
    /// What its agent says.
    pub agent: Agent,
    /// Gates that are shut for this node alone whatever the policy, as the shell found them:
    /// certificates, tools that take the node away.
    pub blockers: Vec<Blocker>,
    /// Gates that are shut for it by what a policy has asked for: alerts, blocking pods, another
    /// tool's Lease, drains that were tried. Under another policy they are others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<Blocker>,
}

/// What a node is for its cluster.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It runs pods.
    #[default]
    Worker,
    /// It runs the API server, or etcd.
    ControlPlane,
}

/// The condition `Ready` of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// `True`, since.
    Since(Moment),
    /// `False`, since.
    NotSince(Moment),
    /// `Unknown`, or not there at all.
    Unknown,
}

/// Whether a node takes pods, and by whom not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cordon {
    /// It takes pods.
    Schedulable,
    /// It does not, and bears our marker with the UID of this request.
    Ours {
        /// Value of `palisade.dev/cordoned-by`.
        request: String,
    },
    /// It does not, and the marker is not there.
    Foreign {
        /// The field manager that set it, where `managedFields` tells.
        by: Option<String>,
    },
}

/// A node that must not be touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why, in the words of whoever holds it.
    pub reason: String,
    /// Until when; without it, until it is taken away.
    pub until: Option<Moment>,
}

/// What an agent says of its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// When it was heard last, on the collector's clock; never, if it was not heard in this life of
    /// the node.
    pub heard_at: Option<Moment>,
    /// The boot that it speaks of.
    pub boot: Option<BootId>,
    /// The kernel release that runs.
    pub kernel: Option<String>,
    /// The kernel release that the boot loader would start, where that can be told.
    pub next_kernel: Option<String>,
    /// Whether a reboot is needed.
    pub need: Need,
    /// Since when the same digest, and an idle package manager, are reported without a break.
    pub stable_since: Option<Moment>,
    /// What the package manager does; in words, when it is not idle.
    pub package_manager: Known<Option<String>>,
    /// Whether the rebooter could reboot: the means, or why none.
    pub reboot_method: Known<String>,
    /// Whether a hold file lies on the node, and what it says.
    pub hold_file: Known<Option<String>>,
    /// What would keep the node from coming back, in words.
    pub unsafe_to_reboot: Vec<String>,
    /// Until when it may go, if something on the node bounds that: a certificate without which it would
    /// not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_by: Option<Moment>,
    /// The digest of the report that all of this was read from.
    pub report: Option<Digest>,
}

/// Whether a reboot is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// It is.
    Needed {
        /// Why.
        reasons: BTreeSet<Reason>,
        /// SHA-256 over the reasons.
        digest: Digest,
        /// Since when this digest is reported: the occurrence.
        since: Moment,
    },
    /// It is not.
    NotNeeded,
    /// That cannot be told; never starts anything, never ends anything.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// A pod, as far as a drain cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// `namespace/name`.
    pub name: String,
    /// `metadata.uid`: the pod.
    pub uid: String,
    /// Labels, by which policies select it.
    pub labels: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: Phase,
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// Its controlling owner.
    pub owner: Option<Owner>,
    /// Whether it is the mirror of a static pod (`kubernetes.io/config.mirror`).
    pub is_mirror: bool,
    /// Whether it has an emptyDir volume.
    pub has_empty_dir: bool,
    /// Since when it is being deleted, its grace period and what holds it.
    pub deleting: Option<Deleting>,
    /// Annotation `palisade.dev/drain`: what its owner wants.
    pub wish: Option<String>,
    /// Whether it tolerates the taint of unschedulable nodes.
    pub tolerates_cordon: bool,
    /// Disruption budgets that select it, `namespace/name`.
    pub budgets: BTreeSet<String>,
    /// Names of the persistent volumes that it uses.
    pub volumes: BTreeSet<String>,
    /// What it asks for, for the question whether it fits elsewhere.
    pub asks: Asks,
}

/// Phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not running yet.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// The node is not heard.
    Unknown,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Its kind: `ReplicaSet`, `DaemonSet`, `Job`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it still exists; only asked for DaemonSets.
    pub exists: Known<bool>,
}

/// A pod on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleting {
    /// `metadata.deletionTimestamp`, which already contains the grace period.
    pub at: Moment,
    /// Finalizers that keep the object.
    pub finalizers: BTreeSet<String>,
}

/// Requests of a pod that decide where it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asks {
    /// CPU in thousandths of a core.
    pub milli_cpu: u64,
    /// Memory in bytes.
    pub memory: u64,
}

/// A PodDisruptionBudget, as its controller last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// `status.disruptionsAllowed`.
    pub allowed: u32,
    /// `status.currentHealthy`.
    pub current_healthy: u32,
    /// `status.desiredHealthy`.
    pub desired_healthy: u32,
    /// `status.expectedPods`.
    pub expected: u32,
    /// Whether `status.observedGeneration` is that of the object; if not, the rest is stale.
    pub is_current: bool,
    /// Whether unhealthy pods may always be evicted (`unhealthyPodEvictionPolicy: AlwaysAllow`).
    pub always_allow_unhealthy: bool,
}

/// The members of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// Each member by the node it runs on, and whether it is well.
    pub members: BTreeMap<NodeUid, Member>,
}

/// A member of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Member {
    /// It votes and answers.
    Healthy,
    /// It votes and does not answer.
    Unhealthy,
    /// It does not vote yet.
    Learner,
}

/// What happened before, as far as it bounds what happens next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The last proven boot of ours, by node.
    pub reboots: BTreeMap<NodeUid, LastReboot>,
    /// The same as the node objects say, which whoever may edit them may say too: this shuts gates that
    /// the rest leaves open, and never the other way round.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotated: BTreeMap<NodeUid, LastReboot>,
    /// Failures, oldest first: quarantines, nodes that did not return, reboot calls that failed.
    pub failures: Vec<Failure>,
    /// When the failures of a pool were forgiven by a person.
    pub released: BTreeMap<String, Moment>,
    /// Ends of reboots by pool, newest last: for bake times and waves.
    pub done: BTreeMap<String, Vec<Finished>>,
}

/// The last reboot of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReboot {
    /// When its boot was seen.
    pub at: Moment,
    /// The reasons that it was to end.
    pub digest: Digest,
    /// Since when they had been there: the occurrence.
    pub occurrence: Moment,
}

/// A reboot that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When.
    pub at: Moment,
    /// In which pool.
    pub pool: String,
    /// Which node.
    pub node: NodeUid,
    /// What, in words.
    pub what: String,
    /// When its request entered the state that says so, as the request has it: by this the two are
    /// known for one. Absent in a word of which nobody wrote that down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<Moment>,
}

impl Failure {
    /// Whether a person has released the request that failed since it did.
    #[must_use]
    pub fn is_released(&self, request: &Request, now: Moment) -> bool {
        let is_this = |entered: &Entered| Some(entered.at) == self.entered;
        request.uid == self.node
            && request.released_at(now).is_some_and(|released| released >= self.at)
            && request.failed().filter(is_this).all(|entered| request.has_released(&entered, now))
    }
}

impl Past {
    /// The last reboots of a node, by all that is known.
    pub fn last_reboots(&self, node: &NodeUid) -> impl Iterator<Item = &LastReboot> {
        [&self.reboots, &self.annotated].into_iter().filter_map(|all| all.get(node))
    }

    /// Failures of this request that are not among these. Who wrote the request may have ended before
    /// the word of it, or may never have learned that it was written; and what failed and came back
    /// late has failed nevertheless. What a person has looked at by now needs no word any more.
    #[must_use]
    pub fn untold(&self, request: &Request, now: Moment) -> Vec<Failure> {
        let Request { uid, progress, .. } = request;
        if request.failed().next().is_none() {
            return Vec::new();
        }
        let told: Vec<&Failure> =
            self.failures.iter().filter(|failure| failure.node == *uid).collect();
        let is_told = |at: Moment| {
            told.iter().any(|failure| match failure.entered {
                Some(entered) => entered == at,
                None => failure.at >= at,
            })
        };
        request
            .failed()
            .filter(|entered| !is_told(entered.at) && !request.has_released(entered, now))
            .map(|Entered { state, at, .. }| Failure {
                at,
                pool: progress.placement.pool.clone(),
                node: uid.clone(),
                what: format!("{state:?}"),
                entered: Some(at),
            })
            .collect()
    }

    /// Adds a failure. It counts from after whatever a person has forgiven by now, whichever clocks
    /// stamped the two.
    pub fn fail(&mut self, mut failure: Failure) {
        if let Some(released) = self.released.get(&failure.pool) {
            failure.at = failure.at.max(released.plus(1));
        }
        self.failures.push(failure);
    }

    /// A person forgives what failed in a pool until then. The word may come late: what failed since
    /// stays.
    pub fn forgive(&mut self, pool: String, at: Moment) {
        let released = self.released.entry(pool).or_insert(at);
        *released = at.max(*released);
    }
}

/// A reboot that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finished {
    /// Which node.
    pub node: NodeUid,
    /// When it was uncordoned.
    pub at: Moment,
    /// Seconds from the first eviction to the empty node.
    pub drain_secs: u32,
    /// Seconds from the grant to the new boot's first report.
    pub reboot_secs: u32,
}
