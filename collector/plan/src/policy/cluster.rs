//! What bounds the whole cluster, whatever its pools say.

use serde::Serialize;

use crate::policy::AlertSource;
use crate::policy::Amount;
use crate::policy::Selector;
use crate::window::Freeze;

/// What bounds the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPolicy {
    /// Nodes that may be away at once, of all nodes; whoever is away for another reason counts.
    pub max_unavailable: Amount,
    /// Why nothing starts at all; not paused without it.
    pub paused: Option<String>,
    /// When nothing starts anywhere; beats every window.
    pub freezes: Vec<Freeze>,
    /// The nodes of the control plane.
    pub control_plane: ControlPlanePolicy,
    /// From how many silent agents of a hundred on the fleet is frozen, because then the fault is
    /// more likely ours than theirs.
    pub dead_man_percent: u8,
    /// Seconds for which the fleet must have been free of that before anything starts again.
    pub calm_secs: i64,
    /// Whether a cluster of one node may reboot it, without a drain: there is nowhere to go.
    pub single_node: bool,
    /// The namespace of the Leases that node tools share; none are taken without it.
    pub node_lease: Option<String>,
    /// Where pools with `alerts` have alerts asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_source: Option<AlertSource>,
}

impl Default for ClusterPolicy {
    fn default() -> Self {
        Self {
            max_unavailable: Amount::Percent(10),
            paused: None,
            freezes: Vec::new(),
            control_plane: ControlPlanePolicy::default(),
            dead_man_percent: 20,
            calm_secs: 300,
            single_node: false,
            node_lease: None,
            alert_source: None,
        }
    }
}

/// How the control plane is told, and what it may dare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlanePolicy {
    /// Selects nodes that run the control plane although they lack the usual label.
    pub selector: Option<Selector>,
    /// Whether a member of an etcd of one or two may reboot, which stops the API meanwhile.
    pub allow_small_etcd: bool,
}
