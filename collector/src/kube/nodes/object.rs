//! A Node object, read no further than it is used: its images, addresses and capacities are never
//! kept, not even for a moment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::api::ObjectMeta;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean;
use palisade_report::wire::PREFIX;
use serde::Deserialize;
use serde::Serialize;

use super::upkeep::Parts;
use super::upkeep::Upkeep;
use crate::kube::conditions::wanted::Kind;
use crate::kube::conditions::wanted::MAX_MESSAGE;
use crate::kube::conditions::wanted::Present;
use crate::kube::conditions::wanted::Status as Word;
use crate::snapshot::ClusterNode;
use crate::snapshot::HOSTNAME;
use crate::snapshot::Ready;
use crate::snapshot::Scheduling;

/// Labels of one node that are kept. Clouds set some 30.
const MAX_LABELS: usize = 64;

/// Bytes of a label's key, prefix included, see "Labels and Selectors" of the Kubernetes docs.
const MAX_LABEL_KEY: usize = 253 + 1 + 63;

/// Bytes of a label's value, see there.
const MAX_LABEL_VALUE: usize = 63;

/// Taints of ours that are kept; we set two.
const MAX_TAINTS: usize = 8;

/// Bytes of a version or boot id that are kept.
const MAX_WORD: usize = 128;

/// A Node object.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NodeObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Spec {
    #[serde(default)]
    unschedulable: bool,
    #[serde(default)]
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Taint {
    key: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    node_info: Info,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    last_transition_time: Option<String>,
}

/// The conditions of ours that a node object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worn {
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// Kept as long as they are the same, so that comparing pointers tells a change.
    pub conditions: Arc<[Present]>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(default, rename = "bootID")]
    boot_id: String,
    #[serde(default)]
    kernel_version: String,
    #[serde(default)]
    kubelet_version: String,
}

impl Resource for NodeObject {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        Node::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        Node::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        Node::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        Node::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl NodeObject {
    /// Which conditions of ours it has, whoever wrote them last; `None` as with [`Self::member`].
    pub(super) fn worn(&self) -> Option<(NodeName, Worn)> {
        let name: NodeName = self.metadata.name.as_ref()?.parse().ok()?;
        let uid: NodeUid = self.metadata.uid.as_ref()?.parse().ok()?;
        let conditions = self.status.conditions.iter().filter_map(present).collect();
        Some((name, Worn { uid, conditions }))
    }

    /// What of it a reboot goes by; `None` as with [`Self::member`].
    pub(in crate::kube) fn upkeep(&self) -> Option<(NodeName, Upkeep)> {
        let name: NodeName = self.metadata.name.as_ref()?.parse().ok()?;
        let ready = self.status.conditions.iter().find(|condition| condition.kind == "Ready");
        let parts = Parts {
            metadata: &self.metadata,
            is_unschedulable: self.spec.unschedulable,
            taints: self.spec.taints.iter().map(|taint| taint.key.as_str()).collect(),
            ready: ready.map(|it| (it.status.as_str(), it.last_transition_time.as_deref())),
            boot: &self.status.node_info.boot_id,
        };
        Some((name, Upkeep::of(&parts)?))
    }

    /// What is kept of it; sets of labels that are in `shared` are not kept twice. `None` if it has
    /// no usable name or UID, which no API server lets happen.
    pub(super) fn member(
        self,
        shared: &mut BTreeSet<Arc<BTreeMap<String, String>>>,
    ) -> Option<(NodeName, Arc<ClusterNode>)> {
        let Self { metadata, spec, status } = self;
        let name: NodeName = metadata.name?.parse().ok()?;
        let uid: NodeUid = metadata.uid?.parse().ok()?;
        let fits = |(key, value): &(String, String)| {
            key.len() <= MAX_LABEL_KEY && value.len() <= MAX_LABEL_VALUE
        };
        let mut labels = metadata.labels.unwrap_or_default();
        // No two nodes would share a set of labels with it.
        let hostname = labels.remove_entry(HOSTNAME).filter(fits).map(|(_, value)| value.into());
        let labels: BTreeMap<String, String> =
            labels.into_iter().filter(fits).take(MAX_LABELS).collect();
        let labels = match shared.get(&labels) {
            Some(labels) => Arc::clone(labels),
            None => {
                let labels = Arc::new(labels);
                shared.insert(Arc::clone(&labels));
                labels
            }
        };
        let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
        let ours = |key: &String| {
            key.split_once('/').is_some_and(|(prefix, _)| prefix == format!("{PREFIX}.dev"))
        };
        let mut taints: Vec<String> = spec
            .taints
            .into_iter()
            .map(|taint| taint.key)
            .filter(|key| key.len() <= MAX_LABEL_KEY && ours(key))
            .take(MAX_TAINTS)
            .collect();
        taints.sort();
        let Info { boot_id, kernel_version, kubelet_version } = status.node_info;
        let member = ClusterNode {
            uid,
            labels,
            hostname,
            ready: match ready.map(|condition| condition.status.as_str()) {
                Some("True") => Ready::Ready,
                Some("False") => Ready::NotReady,
                Some(_) | None => Ready::Unknown,
            },
            scheduling: if spec.unschedulable { Scheduling::Cordoned } else { Scheduling::Open },
            boot_id: word(&boot_id),
            kernel: word(&kernel_version),
            kubelet: word(&kubelet_version),
            taints,
        };
        Some((name, Arc::new(member)))
    }
}

fn present(condition: &Condition) -> Option<Present> {
    let Condition { kind, status, reason, message, last_transition_time } = condition;
    // One that is longer than ours can be stays different from ours when it is cut.
    let cut = |text: &str| text.chars().take(MAX_MESSAGE + 1).collect();
    let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind)?;
    let since = last_transition_time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
    Some(Present {
        kind,
        status: [Word::False, Word::True, Word::Unknown]
            .into_iter()
            .find(|word| word.as_str() == status),
        reason: cut(reason),
        message: cut(message),
        since: since.map(|time| Moment::from_unix(time.as_second())),
    })
}

fn word(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| clean(text.as_bytes(), MAX_WORD).into())
}
