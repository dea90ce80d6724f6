//! Cordon and its undoing: one write each, on condition that nobody wrote since the node was read.
//! Whether and when is decided in `palisade_plan`.
//!
//! ```text
//! GET node ─> is it this UID, whose marker? ─> PATCH with resourceVersion ─> 409: look again later
//! ```
//!
//! `spec.unschedulable` and the marker change together, so that no cordon of ours is ever without
//! its marker, whatever happens in between. So does what keeps cluster-autoscaler from removing a node
//! that was emptied: it says so for as long as the node bears our marker, unless somebody else already
//! says anything of it, which stays. What a person says meanwhile stays too, where it can be told from
//! ours: another value, or one that `managedFields` has another owner for.

use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use palisade_plan::fleet::Cordon;
use palisade_plan::request::Schedulability;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::conditions::MANAGER;
use super::nodes::LastReboot;
use super::nodes::NodeObject;
use super::nodes::Upkeep;
use super::nodes::last_reboot::LAST_REBOOT;
use super::nodes::upkeep::BEFORE_CORDON;
use super::nodes::upkeep::CORDONED_BY;
use super::nodes::upkeep::EXCLUDE;
use super::nodes::upkeep::EXCLUDED;
use super::nodes::upkeep::SCALE_DOWN_DISABLED;
use super::nodes::upkeep::SCALE_DOWN_DISABLED_BY;
use super::nodes::upkeep::Spared;

/// Why a node was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CordonError {
    /// The API server did not do it, or nobody can tell.
    #[error("failed to read or change the node")]
    Call(#[source] CallError),
    /// There is no node of that name, or it is another one. At fault: nobody.
    #[error("failed to change the node: it was deleted")]
    Gone,
    /// It was unschedulable and takes pods again. At fault: nobody.
    #[error("failed to cordon the node: somebody lets it take pods again")]
    Uncordoned,
    /// It bears the marker of another request, or somebody cordoned it meanwhile. At fault: nobody.
    #[error("failed to cordon the node: somebody else did, {by}")]
    Foreign {
        /// Who, as far as known.
        by: String,
    },
}

/// Cordons nodes and takes cordons back.
#[derive(Clone)]
pub struct Cordons {
    api: Api<NodeObject>,
}

impl std::fmt::Debug for Cordons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cordons")
    }
}

impl Cordons {
    /// By these clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self { api: Api::all(clients.acting.clone()) }
    }

    /// The node as the API server's quorum has it, and its version; `None` if it was deleted or its
    /// name belongs to another one.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn read(
        &self,
        name: &NodeName,
        uid: &NodeUid,
    ) -> Result<Option<(Upkeep, String)>, CallError> {
        let Some(object) = call(CALL_TIMEOUT, self.api.get_opt(name.as_str())).await? else {
            return Ok(None);
        };
        let version = kube::Resource::meta(&object).resource_version.clone().unwrap_or_default();
        let upkeep = object.upkeep().map(|(_, upkeep)| upkeep);
        Ok(upkeep.filter(|upkeep| upkeep.uid == *uid).map(|upkeep| (upkeep, version)))
    }

    /// Cordons a node for the request `marker`. `before` is what it was; a node that somebody cordoned
    /// since is left alone.
    ///
    /// # Errors
    /// [`CordonError`]; to repeat it changes nothing.
    pub async fn cordon(
        &self,
        name: &NodeName,
        uid: &NodeUid,
        marker: &str,
        before: Schedulability,
    ) -> Result<(), CordonError> {
        let (upkeep, version) = self.current(name, uid).await?;
        match &upkeep.cordon {
            Cordon::Ours { request } if request == marker => return Ok(()),
            Cordon::Ours { request } => {
                return Err(CordonError::Foreign { by: format!("request {request}") });
            }
            Cordon::Foreign { by } if before == Schedulability::Schedulable => {
                let by = by.clone().unwrap_or_else(|| "it is not known who".to_owned());
                return Err(CordonError::Foreign { by });
            }
            // To be undone to what is recorded, which is not what it is.
            Cordon::Schedulable if before == Schedulability::Unschedulable => {
                return Err(CordonError::Uncordoned);
            }
            Cordon::Foreign { .. } | Cordon::Schedulable => {}
        }
        let word = match before {
            Schedulability::Schedulable => "schedulable",
            Schedulability::Unschedulable => "unschedulable",
        };
        let mut annotations = json!({ CORDONED_BY: marker, BEFORE_CORDON: word });
        if let (Spared::No, Some(annotations)) = (upkeep.scale_down, annotations.as_object_mut()) {
            annotations.insert(SCALE_DOWN_DISABLED.to_owned(), "true".into());
            annotations.insert(SCALE_DOWN_DISABLED_BY.to_owned(), marker.into());
        }
        let patch = json!({
            "metadata": {
                "uid": uid.as_str(),
                "resourceVersion": version,
                "annotations": annotations,
            },
            "spec": { "unschedulable": true },
        });
        self.patch(name, patch).await
    }

    /// Takes everything of ours away from a node that bears this marker, and lets it take pods again
    /// if it is to and nobody cordoned it after us. A node with another marker or none is left as it is.
    /// If it rebooted, that is written down in the same patch.
    ///
    /// # Errors
    /// [`CordonError`]; to repeat it changes nothing.
    pub async fn uncordon(
        &self,
        name: &NodeName,
        uid: &NodeUid,
        marker: &str,
        restore: Schedulability,
        last: Option<&LastReboot>,
    ) -> Result<(), CordonError> {
        let (upkeep, version) = self.current(name, uid).await?;
        if upkeep.marker.as_deref() != Some(marker) {
            return Ok(());
        }
        let mut annotations = Map::new();
        for key in [CORDONED_BY, BEFORE_CORDON, EXCLUDED, SCALE_DOWN_DISABLED_BY] {
            annotations.insert(key.to_owned(), Value::Null);
        }
        if upkeep.scale_down == Spared::Ours {
            annotations.insert(SCALE_DOWN_DISABLED.to_owned(), Value::Null);
        }
        if let Some(text) = last.and_then(written) {
            annotations.insert(LAST_REBOOT.to_owned(), text);
        }
        let mut metadata = json!({
            "uid": uid.as_str(),
            "resourceVersion": version,
            "annotations": annotations,
        });
        if let (Spared::Ours, Some(metadata)) = (upkeep.excluded, metadata.as_object_mut()) {
            metadata.insert("labels".to_owned(), json!({ EXCLUDE: null }));
        }
        // Perhaps since the decision was made: a person wants it cordoned.
        let restore = match upkeep.unschedulable_by {
            Some(_) => Schedulability::Unschedulable,
            None => restore,
        };
        let mut patch = json!({ "metadata": metadata });
        if let (Schedulability::Schedulable, Some(patch)) = (restore, patch.as_object_mut()) {
            patch.insert("spec".to_owned(), json!({ "unschedulable": null }));
        }
        self.patch(name, patch).await
    }

    /// Labels a node that bears this marker so that external load balancers leave it alone, unless
    /// somebody else did.
    ///
    /// # Errors
    /// [`CordonError`]; to repeat it changes nothing.
    pub async fn leave_load_balancers(
        &self,
        name: &NodeName,
        uid: &NodeUid,
        marker: &str,
    ) -> Result<(), CordonError> {
        let (upkeep, version) = self.current(name, uid).await?;
        if upkeep.marker.as_deref() != Some(marker) || upkeep.excluded != Spared::No {
            return Ok(());
        }
        let patch = json!({ "metadata": {
            "uid": uid.as_str(),
            "resourceVersion": version,
            "annotations": { EXCLUDED: marker },
            "labels": { EXCLUDE: "" },
        } });
        self.patch(name, patch).await
    }

    /// Writes down the last reboot of a node that exists and does not say so yet.
    ///
    /// # Errors
    /// [`CordonError`]; to repeat it changes nothing.
    pub async fn keep_in_mind(
        &self,
        name: &NodeName,
        uid: &NodeUid,
        last: &LastReboot,
    ) -> Result<(), CordonError> {
        let (upkeep, _) = match self.current(name, uid).await {
            Err(CordonError::Gone) => return Ok(()),
            current => current?,
        };
        if upkeep.last_reboot.known() == Some(&Some(last.clone())) {
            return Ok(());
        }
        let patch = json!({ "metadata": {
            "uid": uid.as_str(),
            "annotations": { LAST_REBOOT: written(last) },
        } });
        self.patch(name, patch).await
    }

    async fn current(
        &self,
        name: &NodeName,
        uid: &NodeUid,
    ) -> Result<(Upkeep, String), CordonError> {
        let found = self.read(name, uid).await.map_err(CordonError::Call)?;
        found.ok_or(CordonError::Gone)
    }

    async fn patch(&self, name: &NodeName, patch: Value) -> Result<(), CordonError> {
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        let written = self.api.patch(name.as_str(), &parameters, &patch);
        match call(CALL_TIMEOUT, written).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(404) => Err(CordonError::Gone),
            Err(error) => Err(CordonError::Call(error)),
        }
    }
}

/// As the annotation has it; `None` does not happen to these fields.
fn written(last: &LastReboot) -> Option<Value> {
    serde_json::to_string(last).ok().map(Value::String)
}
