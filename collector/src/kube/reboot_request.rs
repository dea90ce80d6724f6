//! The custom resource `RebootRequest`: one per node that is asked to reboot, until it has.
//!
//! ```text
//! a person or the collector ──spec──> RebootRequest ──status──> the collector, state by state
//!                                     name = UID of the node, owner = the node
//! ```
//!
//! This file is the type and its schema; `manifests/crd/` is written from it, and a test compares the
//! two. What a state means, and which follows which, is decided elsewhere; the schema holds only what
//! must never happen whoever writes. Owners and callers, which a schema does not see, are checked by
//! the admission policy `palisade-reboot-requests`.
//!
//! Every text and list is bounded: the object lives in etcd, and the API server refuses rules over
//! what has no bound.

#![expect(unreachable_pub, reason = "KubeSchema repeats its type within a function, `pub` and all")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use kube::CustomResourceExt;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

mod status;

pub use status::*;

/// The definition that `manifests/crd/` holds.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    RebootRequest::crd()
}

/// What is asked: that this node reboots, for these reasons.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "palisade.dev",
    version = "v1alpha1",
    kind = "RebootRequest",
    plural = "rebootrequests",
    singular = "rebootrequest",
    shortname = "rr",
    category = "palisade",
    status = "RebootRequestStatus",
    derive = "PartialEq",
    doc = "Asks for one reboot of one node, and records how far it has come.",
    selectable = ".spec.node.name",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
    printcolumn(name = "Waits for", type_ = "string", json_path = ".status.blockers[0].gate"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reasons[0].subject"),
    printcolumn(
        name = "Requested by",
        type_ = "string",
        json_path = ".spec.requestedBy",
        priority = 1
    ),
    printcolumn(name = "Must by", type_ = "date", json_path = ".spec.mustBy", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == self.spec.node.uid")
        .message("a request is named by the UID of its node, so that there is one per node"),
)]
#[x_kube(
    validation = Rule::new("!has(self.approval) || self.approval.digest == self.digest")
        .message("an approval is for the reasons that were approved: other reasons need another"),
    validation = Rule::new("!has(self.override) || self.override.digest == self.digest")
        .message("an override is for the reasons that it was given for: other reasons need another"),
    validation = Rule::new("self.reasons == oldSelf.reasons || self.digest != oldSelf.digest")
        .message("other reasons have another digest"),
)]
pub struct RebootRequestSpec {
    /// The node, which never changes.
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("a request stays with its node"),
    )]
    pub node: NodeReference,
    /// Why, most important first; part of the digest.
    #[schemars(length(min = 1, max = 64))]
    pub reasons: Vec<RebootReason>,
    /// SHA-256 over the sorted reasons, `sha256:` and 64 hexadecimal digits. The same reasons have
    /// the same digest on every day and every node.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: String,
    /// Who asked: a user of the API server, or the collector's ServiceAccount.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("who asked does not change"),
    )]
    pub requested_by: String,
    /// What the requester wants others to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
    /// When it should have happened; later is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_by: Option<Time>,
    /// That somebody may let it happen, where the policy wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// That somebody takes the blame for passing gates that the policy lets people pass.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overriding: Option<Override>,
    /// Whether it goes on.
    #[serde(default)]
    pub intent: Intent,
    /// Since when these reasons are there; without it, since the request was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// That a person has looked at what waits for one, and lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// Which node: by name for people, by UID for everything else.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeReference {
    /// Name of the Node object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID: another node of the same name is another node.
    #[schemars(regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"), length(max = 36))]
    pub uid: String,
}

/// One reason for a reboot.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebootReason {
    /// Who says so: a reader of the agent, or `request`.
    #[schemars(length(min = 1, max = 64))]
    pub source: String,
    /// What kind of thing it is about, such as `kernel`, `package`, `certificate`.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// The thing itself.
    #[schemars(length(min = 1, max = 256))]
    pub subject: String,
    /// The version that runs after the reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub target_version: Option<String>,
}

/// An approval of these reasons by a person.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who approves.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// When.
    pub at: Time,
    /// The digest of what was approved.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: String,
    /// After this it is no approval any more.
    pub until: Time,
}

/// Gates that a person passes knowingly.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Who overrides.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// When.
    pub at: Time,
    /// Why; it ends up in the audit.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Names of the gates. Those that the policy calls hard stay shut whatever stands here.
    #[schemars(
        length(min = 1, max = 20),
        inner(length(min = 1, max = 64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub gates: Vec<String>,
    /// The digest of the reasons that it was given for.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: String,
    /// After this it passes no gate any more.
    pub until: Time,
}

/// The word of a person that ends a wait for a person.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Who.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// Why; it ends up in the audit.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// When. It counts only for a state that was entered before.
    pub at: Time,
}

/// Whether a request goes on.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
pub enum Intent {
    /// It ends: what was done is undone, as long as no reboot was granted.
    Cancel,
    /// It goes on.
    #[default]
    Reboot,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> serde_json::Value {
        let crd = serde_json::to_value(definition()).unwrap();
        crd["spec"]["versions"][0].clone()
    }

    /// Every text has an end, every list too: what has none is refused by the API server's cost
    /// limit, or fills etcd.
    #[test]
    fn every_text_and_list_has_a_bound() {
        fn walk(at: &str, schema: &serde_json::Value, without: &mut Vec<String>) {
            let bounded = match schema["type"].as_str() {
                Some("string") => {
                    !schema["maxLength"].is_null()
                        || !schema["enum"].is_null()
                        || schema["format"] == "date-time"
                }
                Some("array") => !schema["maxItems"].is_null(),
                _ => true,
            };
            if !bounded {
                without.push(at.to_owned());
            }
            if let Some(properties) = schema["properties"].as_object() {
                for (name, property) in properties {
                    walk(&format!("{at}.{name}"), property, without);
                }
            }
            if schema["items"].is_object() {
                walk(&format!("{at}[]"), &schema["items"], without);
            }
        }
        let schema = version()["schema"]["openAPIV3Schema"].clone();
        let mut without = Vec::new();
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part], &mut without);
        }
        // Condition is Kubernetes' own type; only the collector writes them, and 16 at most.
        without.retain(|path| !path.starts_with("status.conditions[]"));
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn it_is_cluster_wide_with_a_status_of_its_own() {
        let crd = serde_json::to_value(definition()).unwrap();
        assert_eq!(crd["spec"]["scope"], "Cluster");
        assert!(version()["subresources"]["status"].is_object());
    }

    #[test]
    fn a_request_that_says_nothing_of_intent_wants_a_reboot() {
        let spec = r#"{
            "node": {"name": "worker-7", "uid": "0b7c2a44-9d3e-4c59-8d4f-0a35b3f0d5a1"},
            "reasons": [{"source": "kernel", "kind": "kernel", "subject": "linux-image"}],
            "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "requestedBy": "anna"
        }"#;
        let spec: RebootRequestSpec = serde_json::from_str(spec).unwrap();
        assert_eq!(spec.intent, Intent::Reboot);
        let written = serde_json::to_value(&spec).unwrap();
        assert!(written.get("override").is_none(), "{written}");
    }
}
