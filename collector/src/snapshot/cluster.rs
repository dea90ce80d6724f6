//! What the cluster says of a node, beside what the node says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::NodeUid;

/// The label that names the very node, see "Well-Known Labels" of the Kubernetes docs.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// A Node object, as far as it is used. Written by the API server, the node's own kubelet and
/// people: claims like a report, from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// `metadata.labels`, without those that name this very node, so that a pool shares one set.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its label [`HOSTNAME`], which every node has for itself.
    pub hostname: Option<Arc<str>>,
    /// The condition `Ready`.
    pub ready: Ready,
    /// `spec.unschedulable`.
    pub scheduling: Scheduling,
    /// `status.nodeInfo.bootID`; bounded.
    pub boot_id: Option<Arc<str>>,
    /// `status.nodeInfo.kernelVersion`; bounded.
    pub kernel: Option<Arc<str>>,
    /// `status.nodeInfo.kubeletVersion`; bounded.
    pub kubelet: Option<Arc<str>>,
    /// Keys of its taints that are ours, in order.
    pub taints: Vec<String>,
}

impl ClusterNode {
    /// The same with all its labels, for whoever selects nodes by name.
    #[must_use]
    pub fn with_hostname(&self) -> Self {
        let mut labels = BTreeMap::clone(&self.labels);
        labels.extend(self.hostname.iter().map(|it| (HOSTNAME.to_owned(), it.to_string())));
        Self { labels: Arc::new(labels), ..self.clone() }
    }
}

/// The status of the condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// `True`.
    Ready,
    /// `False`.
    NotReady,
    /// `Unknown`, absent, or another word: the cluster does not know either.
    Unknown,
}

impl Ready {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not-ready",
            Self::Ready => "ready",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether new pods may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// They may not: `spec.unschedulable` is true.
    Cordoned,
    /// They may.
    Open,
}
