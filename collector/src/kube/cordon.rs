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
//!
//! No cordon and no uncordon hangs on it: where a policy of the cluster refuses either with it, it is
//! done without.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

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
use super::nodes::upkeep::SCALE_DOWN_LEFT;
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
    told: Arc<Told>,
}

/// What was refused, and said once.
#[derive(Default)]
struct Told {
    cordon: AtomicBool,
    uncordon: AtomicBool,
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
        Self { api: Api::all(clients.acting.clone()), told: Arc::default() }
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
        let patch = |spared: Value| {
            let mut annotations =
                json!({ CORDONED_BY: marker, BEFORE_CORDON: word, SCALE_DOWN_LEFT: null });
            add(&mut annotations, spared);
            json!({
                "metadata": {
                    "uid": uid.as_str(),
                    "resourceVersion": version,
                    "annotations": annotations,
                },
                "spec": { "unschedulable": true },
            })
        };
        match upkeep.scale_down {
            Spared::Foreign => return self.patch(name, patch(json!({}))).await,
            // Left from another request, perhaps: this one takes it away.
            Spared::Ours => {
                return self.patch(name, patch(json!({ SCALE_DOWN_DISABLED_BY: marker }))).await;
            }
            Spared::No => {}
        }
        let spared = json!({ SCALE_DOWN_DISABLED: "true", SCALE_DOWN_DISABLED_BY: marker });
        let refused = match self.patch(name, patch(spared)).await {
            Err(CordonError::Call(refused)) if is_forbidden(&refused) => refused,
            done => return done,
        };
        self.patch(name, patch(json!({}))).await?;
        if !self.told.cordon.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                node = %name, cause = %refused,
                "nodes are cordoned without {SCALE_DOWN_DISABLED}, which a policy of the cluster \
                 refuses: apply palisade-node-writes of this version",
            );
        }
        Ok(())
    }

    /// Takes everything of ours away from a node that bears this marker, and lets it take pods again
    /// if it is to and nobody cordoned it after us. A node with another marker or none is left as it is.
    /// What is said to cluster-autoscaler stays where a policy of the cluster keeps us from taking it.
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
        for key in [CORDONED_BY, BEFORE_CORDON, EXCLUDED] {
            annotations.insert(key.to_owned(), Value::Null);
        }
        if let Some(text) = last.and_then(written) {
            annotations.insert(LAST_REBOOT.to_owned(), text);
        }
        let annotations = Value::Object(annotations);
        // Perhaps since the decision was made: a person wants it cordoned.
        let restore = match upkeep.unschedulable_by {
            Some(_) => Schedulability::Unschedulable,
            None => restore,
        };
        let patch = |spared: Value| {
            let mut annotations = annotations.clone();
            add(&mut annotations, spared);
            let mut metadata = json!({
                "uid": uid.as_str(),
                "resourceVersion": version,
                "annotations": annotations,
            });
            if upkeep.excluded == Spared::Ours {
                add(&mut metadata, json!({ "labels": { EXCLUDE: null } }));
            }
            let mut patch = json!({ "metadata": metadata });
            if restore == Schedulability::Schedulable {
                add(&mut patch, json!({ "spec": { "unschedulable": null } }));
            }
            patch
        };
        let unmarked = json!({ SCALE_DOWN_DISABLED_BY: null, SCALE_DOWN_LEFT: null });
        if upkeep.scale_down != Spared::Ours {
            return self.patch(name, patch(unmarked)).await;
        }
        let mut spared = unmarked;
        add(&mut spared, json!({ SCALE_DOWN_DISABLED: null }));
        let refused = match self.patch(name, patch(spared)).await {
            Err(CordonError::Call(refused)) if is_forbidden(&refused) => refused,
            done => return done,
        };
        // With its mark, so that the uncordon after the next reboot finds it.
        self.patch(name, patch(json!({ SCALE_DOWN_LEFT: marker }))).await?;
        if !self.told.uncordon.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                node = %name, cause = %refused,
                "uncordoned nodes keep {SCALE_DOWN_DISABLED}, as a policy of the cluster refuses to \
                 take it away: apply palisade-node-writes of this version; those that keep it bear \
                 {SCALE_DOWN_LEFT}",
            );
        }
        Ok(())
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

/// Whether a policy, a webhook or the API server's rules do not allow what was asked for.
const fn is_forbidden(refused: &CallError) -> bool {
    refused.is(403) || refused.is(422)
}

/// Adds members to an object.
fn add(into: &mut Value, members: Value) {
    if let (Some(into), Value::Object(members)) = (into.as_object_mut(), members) {
        into.extend(members);
    }
}

/// As the annotation has it; `None` does not happen to these fields.
fn written(last: &LastReboot) -> Option<Value> {
    serde_json::to_string(last).ok().map(Value::String)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::Context;
    use std::task::Poll;

    use http_body_util::BodyExt;
    use hyper::Method;
    use hyper::Request;
    use hyper::Response;
    use kube::Client;
    use kube::client::Body;
    use tower::Service;

    use super::*;

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    /// An API server with one node, which answers patches so: with and without what is said to
    /// cluster-autoscaler.
    #[derive(Clone)]
    struct Server {
        node: Value,
        answers: (u16, u16),
        patches: Arc<Mutex<Vec<Value>>>,
    }

    impl Service<Request<Body>> for Server {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let Self { node, answers, patches } = self.clone();
            Box::pin(async move {
                let mut code = 200;
                if request.method() == Method::PATCH {
                    let bytes = request.into_body().collect().await?.to_bytes();
                    let patch: Value = serde_json::from_slice(&bytes)?;
                    let annotations = &patch["metadata"]["annotations"];
                    let says = annotations.get(SCALE_DOWN_DISABLED).is_some();
                    code = if says { answers.0 } else { answers.1 };
                    patches.lock().unwrap().push(patch);
                }
                let refusal =
                    json!({ "code": code, "reason": "Refused", "message": "by a policy" });
                let body = if code == 200 { &node } else { &refusal };
                Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(body)?))?)
            })
        }
    }

    fn node(annotations: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "worker-1", "uid": "u-1", "resourceVersion": "7", "annotations": annotations,
            },
            "spec": { "unschedulable": annotations.get(CORDONED_BY).is_some() },
        })
    }

    /// What came of a cordon or an uncordon on an API server that answers so, and the patches.
    async fn came_of(
        annotations: Value,
        answers: (u16, u16),
    ) -> (Result<(), CordonError>, Vec<Value>) {
        let patches = Arc::default();
        let server = Server { node: node(&annotations), answers, patches: Arc::clone(&patches) };
        let clients = Clients::by(|| Client::new(server.clone(), "default"));
        let cordons = Cordons::new(&clients);
        let (name, uid) = ("worker-1".parse().unwrap(), "u-1".parse().unwrap());
        let open = Schedulability::Schedulable;
        let result = if annotations.get(CORDONED_BY).is_some() {
            cordons.uncordon(&name, &uid, "r-1", open, None).await
        } else {
            cordons.cordon(&name, &uid, "r-1", open).await
        };
        let patches = patches.lock().unwrap().clone();
        (result, patches)
    }

    #[tokio::test]
    async fn what_is_refused_for_its_annotation_is_done_once_more_without_and_nothing_else_is() {
        let ours = json!({
            CORDONED_BY: "r-1", BEFORE_CORDON: "schedulable",
            SCALE_DOWN_DISABLED: "true", SCALE_DOWN_DISABLED_BY: "r-1",
        });
        for annotations in [json!({}), ours] {
            for code in [403, 422] {
                let (result, patches) = came_of(annotations.clone(), (code, 200)).await;
                assert_eq!(result, Ok(()), "{code}");
                let [first, second] = &*patches else { panic!("{patches:?}") };
                for key in [SCALE_DOWN_DISABLED, SCALE_DOWN_DISABLED_BY] {
                    assert!(first["metadata"]["annotations"].get(key).is_some(), "{first}");
                    assert_eq!(second["metadata"]["annotations"].get(key), None, "{second}");
                }
                assert_eq!(first["spec"], second["spec"]);
                for patch in &patches {
                    assert_eq!(patch["metadata"]["resourceVersion"], "7", "{patch}");
                }
                // Refused for another reason: that is said, and by the last answer.
                for last in [403, 409, 422] {
                    let (result, patches) = came_of(annotations.clone(), (code, last)).await;
                    let Err(CordonError::Call(error)) = result else { panic!("{result:?}") };
                    assert!(error.is(last), "{error}");
                    assert_eq!(patches.len(), 2);
                }
            }
            for code in [409, 429, 500] {
                let (result, patches) = came_of(annotations.clone(), (code, 200)).await;
                let Err(CordonError::Call(error)) = result else { panic!("{result:?}") };
                assert!(error.is(code), "{error}");
                assert_eq!(patches.len(), 1, "{code}");
            }
        }
    }
}
