//! What is known about agents' tokens, by their digest: bounded, and short.
//!
//! A token that was accepted is fresh for a time that grows with the fleet, and overdue until it
//! ends; a refused one is remembered for ten seconds. `now` comes with each call, in milliseconds
//! of the monotonic hand. What an overdue token may still do is decided in `agents`.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::NodeUid;

use super::NodeIdentity;
use crate::http::limits::MAX_NODES;
use crate::kube::directory::PodUid;
use crate::kube::review::Unfit;

/// Between two reviews of one token in a small fleet.
const FRESH_SMALL_MS: u64 = 60_000;

/// The same in a large one: 10,000 nodes are then 33 reviews a second instead of 167.
const FRESH_LARGE_MS: u64 = 300_000;

/// Tokens from which on a fleet is large.
const LARGE_FLEET: usize = 1000;

/// How long a refusal is remembered: an agent that repeats itself costs one review in that time,
/// and a mistake of the API server's is corrected soon.
const REFUSED_MS: u64 = 10_000;

/// Accepted tokens that are kept: each node has one, and a second while it is replaced.
const MAX_ACCEPTED: usize = 2 * MAX_NODES;

/// Refused tokens that are kept: strangers must not fill the memory.
const MAX_REFUSED: usize = 8192;

/// What is known about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Accepted so lately that nobody is asked.
    Fresh(Arc<NodeIdentity>),
    /// Nothing, or nothing that still counts.
    Nothing,
    /// Accepted some time ago, and not at its end.
    Overdue(Arc<NodeIdentity>),
    /// Refused a moment ago.
    Refused(Unfit),
}

#[derive(Debug)]
struct Accepted {
    identity: Arc<NodeIdentity>,
    reviewed_ms: u64,
    /// `None`: it does not say.
    ends_ms: Option<u64>,
}

/// The tokens.
#[derive(Debug, Default)]
pub(super) struct Cache {
    accepted: BTreeMap<Digest, Accepted>,
    refused: BTreeMap<Digest, (Unfit, u64)>,
}

impl Cache {
    /// What is known about a token.
    pub(super) fn find(&self, key: &Digest, now_ms: u64) -> Found {
        if let Some(accepted) = self.accepted.get(key) {
            let Accepted { identity, reviewed_ms, ends_ms } = accepted;
            if ends_ms.is_some_and(|ends| ends <= now_ms) {
                return Found::Nothing;
            }
            let identity = Arc::clone(identity);
            return if now_ms < reviewed_ms.saturating_add(self.fresh_ms()) {
                Found::Fresh(identity)
            } else {
                Found::Overdue(identity)
            };
        }
        match self.refused.get(key) {
            Some((unfit, until)) if now_ms < *until => Found::Refused(*unfit),
            Some(_) | None => Found::Nothing,
        }
    }

    /// Keeps an identity until its token ends at `ends_ms`.
    pub(super) fn accept(
        &mut self,
        key: Digest,
        identity: Arc<NodeIdentity>,
        ends_ms: Option<u64>,
        now_ms: u64,
    ) {
        self.refused.remove(&key);
        if self.accepted.len() >= MAX_ACCEPTED {
            self.accepted.retain(|_, it| it.ends_ms.is_none_or(|ends| ends > now_ms));
        }
        if self.accepted.len() >= MAX_ACCEPTED {
            let oldest = self.accepted.iter().min_by_key(|(_, it)| it.reviewed_ms);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.accepted.remove(&oldest);
            }
        }
        self.accepted.insert(key, Accepted { identity, reviewed_ms: now_ms, ends_ms });
    }

    /// Keeps a refusal.
    pub(super) fn refuse(&mut self, key: Digest, unfit: Unfit, now_ms: u64) {
        self.accepted.remove(&key);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.retain(|_, (_, until)| *until > now_ms);
        }
        if self.refused.len() >= MAX_REFUSED {
            // Any of them may go: it costs its owner's next try one review.
            self.refused.pop_first();
        }
        self.refused.insert(key, (unfit, now_ms.saturating_add(REFUSED_MS)));
    }

    /// Forgets a token.
    pub(super) fn forget(&mut self, key: &Digest) {
        self.accepted.remove(key);
        self.refused.remove(key);
    }

    /// Forgets the tokens of a pod.
    pub(super) fn forget_pod(&mut self, pod: &PodUid) {
        self.accepted.retain(|_, it| it.identity.pod != *pod);
    }

    /// Forgets the tokens of a node.
    pub(super) fn forget_node(&mut self, node: &NodeUid) {
        self.accepted.retain(|_, it| it.identity.uid != *node);
    }

    /// Accepted tokens.
    pub(super) fn len(&self) -> usize {
        self.accepted.len()
    }

    fn fresh_ms(&self) -> u64 {
        if self.accepted.len() > LARGE_FLEET { FRESH_LARGE_MS } else { FRESH_SMALL_MS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: usize) -> Arc<NodeIdentity> {
        Arc::new(NodeIdentity {
            name: format!("worker-{number}").parse().unwrap(),
            uid: format!("node-{number}").parse().unwrap(),
            pod: format!("pod-{number}").parse().unwrap(),
            credential: None,
        })
    }

    fn key(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_token_is_fresh_then_overdue_then_nothing() {
        let mut cache = Cache::default();
        cache.accept(key(1), identity(1), Some(1_000_000), 0);
        assert_eq!(cache.find(&key(1), 0), Found::Fresh(identity(1)));
        assert_eq!(cache.find(&key(1), FRESH_SMALL_MS - 1), Found::Fresh(identity(1)));
        assert_eq!(cache.find(&key(1), FRESH_SMALL_MS), Found::Overdue(identity(1)));
        assert_eq!(cache.find(&key(1), 999_999), Found::Overdue(identity(1)));
        assert_eq!(cache.find(&key(1), 1_000_000), Found::Nothing);
        cache.accept(key(2), identity(2), Some(10), 0);
        assert_eq!(cache.find(&key(2), 10), Found::Nothing, "its end comes before its next review");
        cache.accept(key(3), identity(3), None, 0);
        assert_eq!(cache.find(&key(3), u64::MAX), Found::Overdue(identity(3)));
        assert_eq!(cache.find(&key(4), 0), Found::Nothing);
    }

    #[test]
    fn a_refusal_is_remembered_for_ten_seconds() {
        let mut cache = Cache::default();
        cache.accept(key(1), identity(1), None, 0);
        cache.refuse(key(1), Unfit::PodGone, 5);
        assert_eq!(cache.find(&key(1), 5), Found::Refused(Unfit::PodGone));
        assert_eq!(cache.find(&key(1), 5 + REFUSED_MS - 1), Found::Refused(Unfit::PodGone));
        assert_eq!(cache.find(&key(1), 5 + REFUSED_MS), Found::Nothing);
        cache.accept(key(1), identity(1), None, 20_000);
        assert_eq!(cache.find(&key(1), 20_000), Found::Fresh(identity(1)));
    }

    #[test]
    fn a_deleted_pod_or_node_is_forgotten_and_others_are_not() {
        let mut cache = Cache::default();
        (1..=3).for_each(|it| cache.accept(key(it), identity(it), None, 0));
        cache.accept(key(10), identity(1), None, 0);
        cache.forget_pod(&identity(1).pod);
        cache.forget_node(&identity(2).uid);
        for gone in [1, 10, 2] {
            assert_eq!(cache.find(&key(gone), 0), Found::Nothing, "{gone}");
        }
        assert_eq!(cache.find(&key(3), 0), Found::Fresh(identity(3)));
    }

    #[test]
    fn a_large_fleet_is_reviewed_less_often() {
        let mut cache = Cache::default();
        (0..=LARGE_FLEET).for_each(|it| cache.accept(key(it), identity(it), None, 0));
        assert_eq!(cache.find(&key(0), FRESH_LARGE_MS - 1), Found::Fresh(identity(0)));
        assert_eq!(cache.find(&key(0), FRESH_LARGE_MS), Found::Overdue(identity(0)));
    }

    #[test]
    fn strangers_do_not_fill_the_memory_and_do_not_push_agents_out() {
        let mut cache = Cache::default();
        cache.accept(key(1), identity(1), None, 0);
        for number in 2..MAX_REFUSED + 100 {
            cache.refuse(key(number), Unfit::Unauthenticated, 0);
        }
        assert_eq!((cache.refused.len(), cache.len()), (MAX_REFUSED, 1));
        assert_eq!(cache.find(&key(1), 0), Found::Fresh(identity(1)));
    }
}
