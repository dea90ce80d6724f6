//! What the log of a world holds: everything that laws are judged by, and nothing of the planner.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use crate::fleet::Cordon;
use crate::fleet::Hold;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Pod;
use crate::policy::Policy;
use crate::request::Alert;
use crate::request::Answer;
use crate::request::Request;
use crate::request::State;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// When, on a clock that never steps and that nobody in the world can see.
    pub at: Moment,
    /// Who did it.
    pub by: Author,
    /// What.
    pub what: What,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A collector.
    Collector {
        /// Which; a process that was killed and started again is the same.
        id: usize,
        /// The epoch that it believes to lead in.
        epoch: u64,
        /// What its own clock says.
        clock: Moment,
    },
    /// The cluster: its controllers and kubelets.
    Cluster,
    /// A node: its agent, its machine.
    Node,
    /// A person.
    Person,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// This policy is in force from now on.
    Ruled(Arc<Policy>),
    /// A node exists, with the pods that run on it.
    Joined {
        /// The node.
        node: Box<Node>,
        /// Whether it runs a member of etcd.
        etcd: Etcd,
    },
    /// A node does not exist any more.
    Left(NodeUid),
    /// The cluster finds a node ready, or does not.
    Readiness(NodeUid, Readiness),
    /// Whether a node takes pods was changed.
    Cordoned(NodeUid, Cordon),
    /// A node is held, or no longer.
    Held(NodeUid, Option<Hold>),
    /// A pod runs on a node, or changed there.
    PodCame(NodeUid, Box<Pod>),
    /// A pod is gone for good.
    PodWent(NodeUid, String),
    /// How many pods a disruption budget lets go.
    Budget(String, u32),
    /// A collector has the leadership until then, unless it renews it.
    Leads {
        /// Until when.
        until: Moment,
    },
    /// A request was stored.
    Wrote(Box<Request>),
    /// A request was deleted.
    Removed(NodeUid),
    /// A pod's eviction was asked for and not refused.
    Evicted {
        /// The node it runs on.
        node: NodeUid,
        /// Its UID.
        pod: String,
    },
    /// The shared Lease of a node was taken.
    LeaseTaken(NodeUid),
    /// The shared Lease of a node was given back.
    LeaseReleased(NodeUid),
    /// A grant reached a node.
    Handed {
        /// The node that it reached.
        to: NodeUid,
        /// The permission.
        grant: Handed,
    },
    /// A node used a grant up.
    Accepted {
        /// The node.
        node: NodeUid,
        /// The boot that runs.
        boot: BootId,
        /// The grant.
        grant: GrantId,
        /// Its epoch.
        epoch: u64,
    },
    /// A node runs under a new boot id.
    Booted {
        /// The node.
        node: NodeUid,
        /// The boot that ended.
        from: BootId,
        /// The boot that began.
        to: BootId,
        /// The grant that led to it, if one did.
        grant: Option<GrantId>,
    },
    /// What an agent says, from now on.
    Said {
        /// Of which node.
        node: NodeUid,
        /// Its boot.
        boot: BootId,
        /// Whether it needs a reboot.
        need: Need,
    },
    /// What an agent says of a grant.
    Answered(NodeUid, GrantId, Answer),
    /// An agent is not heard any more.
    Silent(NodeUid),
    /// An agent is heard again.
    Heard(NodeUid),
    /// A person was told of an alert that began.
    Notified {
        /// Of which node.
        node: NodeUid,
        /// Of which alert.
        alert: Alert,
        /// In which state.
        state: State,
        /// Which write of the request it belongs to.
        version: String,
    },
    /// A person forgave the failures of a pool.
    Released(String),
    /// No fault is injected from here on.
    FaultsEnded,
    /// The end of the log, with what the last plan says of each node that needs a reboot.
    Ended {
        /// Nodes for which the plan names no gate and nothing that happens, and what it says.
        unexplained: BTreeMap<NodeUid, String>,
        /// From when on nothing more is asked of requests: one that began later may be on its way.
        cut: Moment,
    },
}

/// Whether a node runs a member of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etcd {
    /// It does.
    Member,
    /// It does not.
    None,
}

/// Whether a node is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is.
    Ready,
    /// It is not, or that cannot be told.
    NotReady,
}

/// A grant as it was handed to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Its id.
    pub id: GrantId,
    /// The node that it is for.
    pub node: NodeUid,
    /// The boot that it may end.
    pub boot: BootId,
    /// The reasons that it is to end.
    pub digest: Digest,
    /// The epoch of its leader.
    pub epoch: u64,
    /// Until when it may be used, on the clock of the log.
    pub until: Moment,
}
