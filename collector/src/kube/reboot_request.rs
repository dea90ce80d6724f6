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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use kube::CustomResourceExt;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

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

/// How far a request has come; written by the collector that leads, and by nobody else.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RebootRequestStatus {
    /// The state.
    #[x_kube(
        validation = Rule::new(
            "!(oldSelf in ['Cancelled', 'Done', 'NodeGone']) || self == oldSelf",
        )
        .message("what has ended stays ended"),
    )]
    pub state: State,
    /// When the state was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the state should have been left; later is an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// The epoch of the collector that wrote this; agents and API refuse an older one.
    #[serde(default)]
    #[schemars(range(min = 0))]
    #[x_kube(
        validation = Rule::new("self >= oldSelf").message("a leader of the past writes nothing"),
    )]
    pub epoch: i64,
    /// The generation of the spec that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where the node counts, as when it was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What it waits for, most important first; cut at 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub blockers: Vec<Blocker>,
    /// What the cordon found, so that the end restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_cordon: Option<Schedulability>,
    /// The permission to reboot that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantRecord>,
    /// What was seen after the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootRecord>,
    /// How often a drain was rolled back.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub rollbacks: i32,
    /// Why a person is needed, or what the last attempt failed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The same for tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// The states of a request.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
pub enum State {
    /// A drain was rolled back; it is tried again later.
    Backoff,
    /// A gate is shut.
    Blocked,
    /// The node runs under another boot id.
    Booted,
    /// It was called off before a reboot was granted, and everything restored.
    Cancelled,
    /// It has a place in the budget.
    Claimed,
    /// The node is being cordoned.
    Cordoning,
    /// The node rebooted, was verified and takes pods as before.
    Done,
    /// Its pods are being evicted.
    Draining,
    /// The node was given the permission to reboot.
    Granted,
    /// Asked for; nothing has been decided.
    #[default]
    Needed,
    /// The node was deleted.
    NodeGone,
    /// The node did not come back in time; its place stays taken.
    NotReturned,
    /// The boot did not bring what it should have; a person is needed.
    Quarantined,
    /// All gates are open and others are first.
    Ready,
    /// The node used its permission.
    Rebooting,
    /// What was done is being undone.
    RollingBack,
    /// The cordon is being taken back.
    Uncordoning,
    /// Whether the boot brought what it should is being looked at.
    Verifying,
}

/// Where a node counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Its pool.
    #[schemars(length(max = 63))]
    pub pool: String,
    /// Its zone; empty without one.
    #[schemars(length(max = 63))]
    pub zone: String,
    /// What it is for the cluster.
    pub role: Role,
}

/// What a node is for its cluster.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
pub enum Role {
    /// It runs the API server, or etcd.
    ControlPlane,
    /// It runs pods.
    #[default]
    Worker,
}

/// Whether a node took pods.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
pub enum Schedulability {
    /// It took pods.
    Schedulable,
    /// Somebody had cordoned it.
    Unschedulable,
}

/// A gate that is shut.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub gate: String,
    /// What it saw: the pod, the budget, the window.
    #[schemars(length(max = 1024))]
    pub value: String,
    /// Since when it is shut.
    pub since: Time,
    /// When it is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
}

/// A permission to reboot once; the permission itself is nowhere but in the reply to the agent.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantRecord {
    /// Its id.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The boot that it is for: `/proc/sys/kernel/random/boot_id` of the node.
    #[schemars(length(min = 36, max = 36))]
    pub boot_id: String,
    /// The kernel release that should run afterwards, where that could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub expected_kernel: Option<String>,
    /// When it was given.
    pub at: Time,
    /// From when on the collector knows that it can no longer be used.
    pub void_after: Time,
}

/// A boot after a grant.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootRecord {
    /// The new boot id, other than the grant's: the only proof of a reboot.
    #[schemars(length(min = 36, max = 36))]
    pub boot_id: String,
    /// The kernel release that runs.
    #[schemars(length(max = 256))]
    pub kernel: String,
    /// When the first report of this boot arrived.
    pub seen_at: Time,
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
