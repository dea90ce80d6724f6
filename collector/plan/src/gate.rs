//! The gates between a node and its reboot: one name for each reason to wait.
//!
//! A gate that cannot be looked at is shut, and says so: not knowing never opens one.

use std::fmt;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

/// A gate that is shut: what `explain` prints, what stands in the status of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// Which gate.
    pub gate: Gate,
    /// What it saw, in words for a person: the pod, the budget, the window. At most 1,024 bytes.
    pub value: String,
    /// Since when it is shut, as far as known.
    pub since: Moment,
    /// When it may open by itself: a window that begins, a hold that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Moment>,
}

macro_rules! gates {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $hard:literal;)*) => {
        /// Each reason for which a node waits, in the order in which a person wants to hear them.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum Gate {
            $($(#[$doc])* $name,)*
        }

        impl Gate {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word of it in answers, metrics and status.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whether no urgency and no override opens it.
            #[must_use]
            pub const fn is_hard(self) -> bool {
                match self { $(Self::$name => $hard,)* }
            }
        }
    };
}

gates! {
    /// The pool is in mode report or plan: nothing is ever started.
    Mode = "mode", true;
    /// The policy in force cannot be told.
    Policy = "policy", true;
    /// The whole fleet is frozen: too many agents or the API are silent.
    DeadMan = "dead-man", true;
    /// What the cluster says is too old to act upon.
    ClusterStale = "cluster-stale", true;
    /// Somebody else reboots nodes: a kured lock is held.
    OtherActor = "other-actor", true;
    /// The failure budget of the pool is used up; a person releases it.
    FailureBudget = "failure-budget", true;
    /// The pool, or everything, is paused.
    Paused = "paused", true;
    /// A freeze covers this moment.
    Freeze = "freeze", true;
    /// The node is held: by annotation, by the API or by a file on it.
    Hold = "hold", true;
    /// These reasons were booted for already and are still there.
    AlreadyRebooted = "already-rebooted", true;
    /// Less than the least time since the last reboot has gone by.
    MinimumInterval = "minimum-interval", true;
    /// Whether a reboot is needed cannot be told.
    NeedUnknown = "need-unknown", true;
    /// The reasons still change, or the package manager works.
    Unstable = "unstable", false;
    /// The package manager holds its lock, or was interrupted.
    PackageManager = "package-manager", true;
    /// Nothing was heard from the agent for too long.
    AgentSilent = "agent-silent", true;
    /// The agent could not reboot the node.
    RebootMethod = "reboot-method-unavailable", true;
    /// The node would not come back: boot entry, certificate, file systems.
    UnsafeToReboot = "unsafe-to-reboot", true;
    /// A certificate would not live through the reboot.
    Certificate = "certificate", true;
    /// Somebody else cordoned the node.
    ForeignCordon = "foreign-cordon", true;
    /// Another tool holds the Lease of the node.
    NodeLease = "node-lease", true;
    /// Nobody has approved these reasons.
    Approval = "approval", true;
    /// No window is open.
    Window = "window", false;
    /// The rest of the window is shorter than this reboot takes.
    Fit = "fit", false;
    /// An alert that speaks against it fires, or cannot be asked for.
    Alert = "alert", false;
    /// A pod that speaks against it runs.
    Pod = "pod", false;
    /// A pod cannot be evicted: its disruption budget, or that it has no owner.
    Drain = "drain", true;
    /// Its pods fit nowhere else.
    Capacity = "capacity", false;
    /// etcd would lose its quorum, or its members cannot be told.
    Etcd = "etcd", true;
    /// Other nodes of the control plane are not well, or workers are first.
    ControlPlane = "control-plane", true;
    /// An earlier wave has not passed.
    Wave = "wave", true;
    /// Its last drain was rolled back not long ago.
    Backoff = "backoff", false;
    /// No place is left in the cluster.
    ClusterBudget = "cluster-budget", true;
    /// No place is left in the pool.
    PoolBudget = "pool-budget", true;
    /// No place is left in the zone, or another zone is first.
    ZoneBudget = "zone-budget", true;
    /// No place is left in another topology domain of the policy.
    TopologyBudget = "topology-budget", true;
    /// Others are first in this pass.
    Order = "order", false;
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
