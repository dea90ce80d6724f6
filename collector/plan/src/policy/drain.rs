//! How nodes of a pool are emptied.

use serde::Serialize;

use crate::policy::Selector;

/// How nodes are emptied. All durations are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainPolicy {
    /// Whether pods are left where they are until the shutdown ends them, but for those that are waited
    /// for.
    pub cordon_only: bool,
    /// Pods without a controller: nothing brings them back.
    pub unmanaged: Unmanaged,
    /// Pods with an emptyDir: what is in it is lost.
    pub empty_dir: EmptyDir,
    /// Pods that are waited for instead of evicted.
    pub protected: Vec<Selector>,
    /// Pods that are left where they are.
    pub skip: Vec<Selector>,
    /// Pods of DaemonSets that are evicted nevertheless.
    pub daemon_sets: Vec<Selector>,
    /// What follows a drain that does not end in time.
    pub on_failure: DrainFailure,
    /// After this the drain is slow, which is an alert.
    pub slow_secs: i64,
    /// After this it has failed.
    pub timeout_secs: i64,
    /// So long after its time is over a pod that does not go is left out of account; never without
    /// it.
    pub skip_stuck_after_secs: Option<i64>,
    /// Grace period of every pod; its own without it.
    pub grace_secs: Option<i64>,
    /// How long volumes may take to be detached.
    pub volumes_secs: i64,
    /// What follows if they take longer.
    pub on_volumes: StuckVolumes,
    /// Whether the node is first taken out of external load balancers, and how long that takes.
    pub load_balancer_secs: Option<i64>,
    /// What pods that fit on no other node mean.
    pub no_room: NoRoom,
    /// Evictions that go on at once on one node.
    pub parallel: u32,
}

impl Default for DrainPolicy {
    fn default() -> Self {
        Self {
            cordon_only: false,
            unmanaged: Unmanaged::Block,
            empty_dir: EmptyDir::Evict,
            protected: Vec::new(),
            skip: Vec::new(),
            daemon_sets: Vec::new(),
            on_failure: DrainFailure::RollBack,
            slow_secs: 600,
            timeout_secs: 3_600,
            skip_stuck_after_secs: None,
            grace_secs: None,
            // The attach-detach controller itself gives up waiting after six minutes.
            volumes_secs: 360,
            on_volumes: StuckVolumes::Continue,
            load_balancer_secs: None,
            no_room: NoRoom::Ignore,
            parallel: 5,
        }
    }
}

/// What becomes of pods without a controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unmanaged {
    /// They keep the node from being drained.
    #[default]
    Block,
    /// They are evicted, and are gone for good.
    Evict,
}

/// What becomes of pods with an emptyDir.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyDir {
    /// They keep the node from being drained.
    Block,
    /// They are evicted, and the directory is lost.
    #[default]
    Evict,
}

/// What follows a drain that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainFailure {
    /// The node is rebooted with what is left on it; audited, and never for the control plane.
    Reboot,
    /// Everything is undone, and the node is tried again later.
    #[default]
    RollBack,
}

/// What follows volumes that are not detached in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StuckVolumes {
    /// A warning.
    #[default]
    Continue,
    /// Everything is undone, and the node is tried again later.
    RollBack,
}

/// What pods that fit on no other node mean, by what they ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoRoom {
    /// Their node waits. To know it, all pods of the cluster are read before each claim.
    Block,
    /// Nothing: they wait until there is room, or the node is back.
    #[default]
    Ignore,
}
