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

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

pub use self::answer::Answer;
pub use self::answer::Reply;
pub use self::answer::Status;
pub use self::answer::interpret;
pub use self::budget::Batch;
pub use self::budget::Outlook;
pub use self::budget::impossible_budgets;
pub use self::budget::is_impossible;
pub use self::budget::simulate;
pub use self::capacity::homeless;
pub use self::capacity::settle;
pub use self::capacity::take_room;
pub use self::class::WISH_BLOCK;
pub use self::class::WISH_EVICT;
pub use self::class::WISH_SKIP;
pub use self::class::WISH_WAIT;
pub use self::class::classify;
pub use self::evict::Draining;
pub use self::evict::Round;
pub use self::evict::next_evictions;
pub use self::left::Returns;
pub use self::left::left;

mod answer;
mod budget;
mod capacity;
mod class;
mod evict;
mod left;

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

impl fmt::Display for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminating => "terminating",
            Self::Protected => "protected, waited for until it ends",
            Self::Wish => "waited for until it ends, as its owner wants",
        })
    }
}

impl fmt::Display for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmanaged => f.write_str("no controller would start it elsewhere"),
            Self::EmptyDir => f.write_str("its emptyDir would be lost"),
            Self::OwnerUnknown(why) => {
                write!(f, "whether its DaemonSet exists cannot be told: {why}")
            }
            Self::Wish(word) => write!(f, "its annotation says {word:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
