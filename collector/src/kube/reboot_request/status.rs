//! The status of a request: how far it has come, with all that must survive the collector.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

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
    /// When the blockers were last written down: their values may be that old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blockers_at: Option<Time>,
    /// What the cordon found, so that the end restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_cordon: Option<Schedulability>,
    /// The boot that ran when the node was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    pub boot_at_claim: Option<String>,
    /// The marker of a request that is gone, whose cordon this one found and undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub adopts: Option<String>,
    /// How the drain goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The permission to reboot that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantRecord>,
    /// What was seen after the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootRecord>,
    /// What was proved after the boot; one entry for each proof.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub proofs: Vec<Proved>,
    /// Since when all proofs hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound_since: Option<Time>,
    /// How often all proofs held and then one did not any more.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub relapses: i32,
    /// How often a drain was rolled back.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub rollbacks: i32,
    /// Where a roll-back leads when everything is restored.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub after_rollback: String,
    /// Why a person is needed, or what the last attempt failed at: the word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub fault: Option<String>,
    /// The same as a sentence, with values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Names of the alerts that were raised and not yet withdrawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub alerts: Vec<String>,
    /// States that were entered, oldest first; the newest 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub history: Vec<Entered>,
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
    /// The report that the decision was based on: SHA-256, hexadecimal.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub report: String,
    /// What the node said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<GrantAnswer>,
}

/// What a node said of a grant.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantAnswer {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused, or how it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// What became of a grant on its node.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
pub enum Outcome {
    /// It is used up and being acted upon.
    Executing,
    /// The reboot call failed.
    Failed,
    /// It was refused.
    Refused,
}

/// How a drain goes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// When the first eviction was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// When nothing was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Persistent volumes whose detaching is waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub volumes: Vec<String>,
    /// How often somebody uncordoned the node and it was cordoned again.
    #[serde(default)]
    #[schemars(range(min = 0, max = 255))]
    pub recordons: i32,
}

/// Something that was proved after the boot.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proved {
    /// What: `boot-id`, `report`, `reason-gone`, `kernel`, `ready`, `kubelet`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The value that proves it.
    #[schemars(length(max = 256))]
    pub value: String,
}

/// A state that was entered.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// Which.
    pub state: State,
    /// When.
    pub at: Time,
    /// What the release said then, if there was one. That word is about something else, whichever clocks
    /// stamped the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_release: Option<Time>,
}

/// A boot after a grant.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootRecord {
    /// The new boot id, other than the grant's: the only proof of a reboot.
    #[schemars(length(min = 36, max = 36))]
    pub boot_id: String,
    /// The kernel release that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub kernel: Option<String>,
    /// When the first report of this boot arrived.
    pub seen_at: Time,
}
