//! What runs on nodes that are to reboot, read from the quorum when it is asked for: pods, disruption
//! budgets, DaemonSets, volumes. What it means for a drain is decided in `palisade_plan::drain`.
//!
//! ```text
//! pods of one node (spec.nodeName) ─┐
//! PodDisruptionBudgets, selectors ──┼─> plan's Pod and DisruptionBudget
//! DaemonSets (who still exists) ────┤
//! PersistentVolumeClaims ───────────┘        VolumeAttachments ─> what is still attached
//! ```
//!
//! Nothing is watched: only nodes in flight and the next ones are asked for, page by page, and a list
//! that ends early is no list. Pods that block are looked for by their labels, see [`Standing`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::Client;
use kube::Resource;
use kube::api::ListParams;
use kube::api::PartialObjectMeta;
use palisade_plan::fleet;
use palisade_plan::fleet::DisruptionBudget;
use palisade_report::NodeName;
use serde::de::DeserializeOwned;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;

mod blocking;
mod convert;
mod room;

pub use blocking::Standing;
pub use convert::Selector;
pub use room::Room;

/// Objects of one page.
const PAGE: u32 = 500;

/// Pages of one list: 100,000 objects, which is more budgets, DaemonSets or attachments than a cluster
/// of the largest supported size has.
const MAX_PAGES: usize = 200;

/// Annotation by which kured says that it reboots a node, or is about to: on its own DaemonSet.
const KURED_LOCK: &str = "weave.works/kured-node-lock";

/// Why a list is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The API server did not answer, or refused.
    #[error("failed to list {what}")]
    Call {
        /// Of what.
        what: &'static str,
        /// Why.
        source: CallError,
    },
    /// What came is no list. At fault: whatever answers there.
    #[error("failed to understand the list of {what}: {said}")]
    Answer {
        /// Of what.
        what: &'static str,
        /// What is wrong with it.
        said: String,
    },
    /// There are more than there can be. At fault: whoever made them.
    #[error("failed to list {what}: there are more than {}", MAX_PAGES.saturating_mul(PAGE as usize))]
    TooMany {
        /// Of what.
        what: &'static str,
    },
}

impl ListError {
    /// Whether another list would fail in the same way: the API server does not answer.
    #[must_use]
    pub const fn is_of_source(&self) -> bool {
        match self {
            Self::Call { source, .. } => match source {
                CallError::NotLeader | CallError::TimedOut(_) | CallError::Unreached { .. } => true,
                CallError::Refused { .. } => false,
            },
            Self::Answer { .. } | Self::TooMany { .. } => false,
        }
    }
}

/// A budget and the pods that it is for.
#[derive(Clone, Debug)]
pub struct Budget {
    /// `namespace/name`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Which pods.
    pub selector: Selector,
    /// What its controller last saw.
    pub state: DisruptionBudget,
}

/// The DaemonSets that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSets {
    /// Their UIDs.
    pub uids: BTreeSet<String>,
    /// A kured that holds its lock: `namespace/name` and the lock's value.
    pub kured: Option<(String, String)>,
}

/// What a cluster says around its pods.
#[derive(Clone, Debug)]
pub struct Around {
    /// All budgets.
    pub budgets: Vec<Budget>,
    /// All DaemonSets; an owner that is not among them is gone.
    pub daemon_sets: DaemonSets,
}

/// A collector that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its pod.
    pub pod: String,
    /// The node of that.
    pub node: String,
    /// The UID of the pod and how often it was started anew: no two processes have the same.
    pub run: String,
}

/// Reads workloads.
#[derive(Clone)]
pub struct Workloads {
    client: Client,
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Workloads")
    }
}

impl Workloads {
    /// By these clients; by the one that repeats nothing, as a coordinator comes back by itself.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self { client: clients.acting.clone() }
    }

    /// Budgets and DaemonSets of the whole cluster.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn around(&self) -> Result<Around, ListError> {
        let budgets: Vec<PodDisruptionBudget> =
            self.list("disruption budgets", &ListParams::default()).await?;
        Ok(Around {
            budgets: budgets.iter().filter_map(convert::budget).collect(),
            daemon_sets: self.daemon_sets().await?,
        })
    }

    /// The DaemonSets, by their metadata alone.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn daemon_sets(&self) -> Result<DaemonSets, ListError> {
        const WHAT: &str = "DaemonSets";
        let api: Api<DaemonSet> = Api::all(self.client.clone());
        let mut found = DaemonSets::default();
        let mut parameters = ListParams::default().limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, api.list_metadata(&parameters)).await;
            let page = page.map_err(|source| ListError::Call { what: WHAT, source })?;
            for PartialObjectMeta { metadata, .. } in page.items {
                found.uids.extend(metadata.uid);
                let lock = metadata.annotations.as_ref().and_then(|all| all.get(KURED_LOCK));
                if let Some(lock) = lock.filter(|it| !it.is_empty()) {
                    let name = format!(
                        "{}/{}",
                        metadata.namespace.unwrap_or_default(),
                        metadata.name.unwrap_or_default()
                    );
                    let lock = palisade_report::bound::clean_text(lock);
                    found.kured.get_or_insert((name, lock));
                }
            }
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
                Some(_) | None => return Ok(found),
            }
        }
        Err(ListError::TooMany { what: WHAT })
    }

    /// The pods of one node, with the budgets that select them and the volumes that they use.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn pods_of(
        &self,
        node: &NodeName,
        around: &Around,
    ) -> Result<Vec<fleet::Pod>, ListError> {
        let parameters = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods: Vec<Pod> = self.list("pods", &parameters).await?;
        let mut volumes = BTreeMap::new();
        for namespace in convert::namespaces_with_claims(&pods) {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
            let claims = self.pages("volume claims", &api, &ListParams::default()).await?;
            volumes.extend(claims.iter().filter_map(convert::volume_of));
        }
        Ok(pods.iter().filter_map(|pod| convert::pod(pod, around, &volumes)).collect())
    }

    /// Nodes with a static pod of etcd, as kubeadm makes it, and whether it is ready.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn etcd(&self) -> Result<BTreeMap<String, bool>, ListError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "kube-system");
        let parameters = ListParams::default().labels("component=etcd,tier=control-plane");
        let pods = self.pages("pods of etcd", &api, &parameters).await?;
        let member = |pod: Pod| {
            let conditions = pod.status.and_then(|it| it.conditions).unwrap_or_default();
            let is_ready = conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
            Some((pod.spec?.node_name?, is_ready))
        };
        Ok(pods.into_iter().filter_map(member).collect())
    }

    /// Collectors of this namespace that run and are not on their way out; whether one of them leads is
    /// another question, as is whether it is ready: only the leader ever is.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn collectors(&self, namespace: &str) -> Result<Vec<Running>, ListError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = ListParams::default().labels("app.kubernetes.io/name=palisade-collector");
        let pods = self.pages("collectors", &api, &parameters).await?;
        Ok(pods.into_iter().filter_map(convert::running).collect())
    }

    /// The node that a pod runs on; `None` if there is no such pod, or it is not scheduled.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn node_of(&self, namespace: &str, pod: &str) -> Result<Option<String>, CallError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = call(CALL_TIMEOUT, api.get_opt(pod)).await?;
        Ok(pod.and_then(|pod| pod.spec?.node_name))
    }

    /// Names of the persistent volumes that are attached, or being attached or detached, by node.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn attached(&self) -> Result<BTreeMap<String, BTreeSet<String>>, ListError> {
        let all: Vec<VolumeAttachment> =
            self.list("volume attachments", &ListParams::default()).await?;
        let mut by_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for attachment in all {
            let spec = attachment.spec;
            let volume = spec.source.persistent_volume_name;
            by_node.entry(spec.node_name).or_default().extend(volume);
        }
        Ok(by_node)
    }

    async fn list<K>(
        &self,
        what: &'static str,
        parameters: &ListParams,
    ) -> Result<Vec<K>, ListError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        self.pages(what, &api, parameters).await
    }

    async fn pages<K>(
        &self,
        what: &'static str,
        api: &Api<K>,
        parameters: &ListParams,
    ) -> Result<Vec<K>, ListError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut all = Vec::new();
        let mut parameters = parameters.clone().limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, api.list(&parameters)).await;
            let page = page.map_err(|source| ListError::Call { what, source })?;
            all.extend(page.items);
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
                Some(_) | None => return Ok(all),
            }
        }
        Err(ListError::TooMany { what })
    }
}
