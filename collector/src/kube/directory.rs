//! Which nodes and which of our own agents' pods exist: what identity asks, and what the watches
//! answer from memory.
//!
//! ```text
//! watch of nodes, watch of our pods ──> NodeDirectory <── identity: is this still the node?
//!                                          (never asks the API server)
//! ```
//!
//! Only the questions are here. "Not there" and "not known yet" are different answers: before a
//! watch has its first complete list, and when it lost its place, nothing is absent.

use std::fmt;
use std::str::FromStr;

use palisade_report::NodeName;
use palisade_report::NodeUid;

/// What a watch says about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting<T> {
    /// The watch is complete and has no such object.
    Absent,
    /// The watch has it.
    Known(T),
    /// The watch cannot tell: its first list is not complete, or it lost its place.
    NotYetKnown,
}

/// The identity of one pod.
///
/// Shape: 1 to 64 bytes of ASCII letters, digits and `-`. Source: `metadata.uid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(Box<str>);

/// The text cannot be the UID of a pod. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pod UID: expected 1 to 64 letters, digits and '-'")]
pub struct MalformedPodUid;

impl PodUid {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodUid {
    type Err = MalformedPodUid;

    fn from_str(text: &str) -> Result<Self, MalformedPodUid> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.into())) } else { Err(MalformedPodUid) }
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod of our own agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// Where it runs: `spec.nodeName`; `None` as long as it is not scheduled, or if only metadata is
    /// watched.
    pub node: Option<NodeName>,
}

/// What exists, from memory: every method answers at once and on any thread.
pub trait NodeDirectory: fmt::Debug + Send + Sync + 'static {
    /// The UID of the Node object of this name: `metadata.uid`.
    fn uid_of(&self, node: &NodeName) -> Sighting<NodeUid>;

    /// Our agents' pod with this UID.
    fn agent_pod(&self, pod: &PodUid) -> Sighting<AgentPod>;
}

/// Nothing is watched: every answer is [`Sighting::NotYetKnown`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl NodeDirectory for Unwatched {
    fn uid_of(&self, _node: &NodeName) -> Sighting<NodeUid> {
        Sighting::NotYetKnown
    }

    fn agent_pod(&self, _pod: &PodUid) -> Sighting<AgentPod> {
        Sighting::NotYetKnown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_uids_are_short_and_plain() {
        assert!("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse::<PodUid>().is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"a".repeat(65)] {
            assert_eq!(bad.parse::<PodUid>(), Err(MalformedPodUid), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_watched_is_not_absent() {
        let node = "a".parse().unwrap();
        assert_eq!(Unwatched.uid_of(&node), Sighting::NotYetKnown);
        assert_eq!(Unwatched.agent_pod(&"a".parse().unwrap()), Sighting::NotYetKnown);
    }
}
