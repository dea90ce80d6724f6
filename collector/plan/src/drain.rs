//! Emptying a node: what becomes of each pod, which evictions come next, and what an answer means.
//!
//! ```text
//! Pod ── classify ──> Left | Awaited | Evicted | Blocked
//! pods of a batch + budgets ── Batch ──> Clear | Serial | Blocked | Impossible | Unknown
//! pods + in flight ── next_evictions ──> Eviction ── (API server) ──> Reply ── interpret ──> Answer
//! pods + now ── left ──> DrainSeen
//! ```
//!
//! Nothing is evicted here. A pod is its UID: a namesake or a replacement is another pod. Nothing is ever
//! deleted by force, because that may run a pod of a StatefulSet twice.

use serde::Deserialize;
use serde::Serialize;

/// What a drain does with a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It stays, and the node counts as empty.
    Left(Leaving),
    /// It is not evicted, and the drain waits until it is gone.
    Awaited(Awaiting),
    /// It is evicted.
    Evicted,
    /// It must go, and must not be evicted: no pod of the node is.
    Blocked(Blocking),
}

/// Why a pod stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// Its DaemonSet would put it back at once.
    DaemonSet,
    /// It is the mirror of a static pod, which only its kubelet ends.
    Mirror,
    /// It has ended.
    Finished,
    /// The policy says so.
    Skipped,
    /// It is the agent of this very node.
    Agent,
}

/// Why a pod is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Awaiting {
    /// It is being deleted already.
    Terminating,
    /// The policy protects it: it ends by itself.
    Protected,
    /// Its owner asked for that, by annotation.
    Wish,
}

/// Why a pod cannot be evicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocking {
    /// Nothing would start it elsewhere.
    Unmanaged,
    /// It has data in an emptyDir, and the policy keeps that.
    EmptyDir,
    /// Whether its DaemonSet still exists could not be told.
    OwnerUnknown(String),
    /// Its owner forbids it, or the annotation holds a word that nobody knows.
    Wish(String),
}

/// An eviction to ask for: `policy/v1` `Eviction`, with the UID as precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Its UID: `deleteOptions.preconditions.uid`.
    pub uid: String,
    /// `deleteOptions.gracePeriodSeconds`; the pod's own without it.
    pub grace_secs: Option<i64>,
}
