//! Who is asked for which section, and when: each shared one from one node at a time, and only so
//! many uploads at once.
//!
//! Nothing in here is durable: after a restart every open question is simply asked again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::SectionName;

/// A section's address. The name belongs to it: equal bytes may stand for different sections.
pub(crate) type SectionId = (SectionName, Digest);

/// Time that an asked node has before the next one is asked.
const ANSWER_WITHIN_MS: i64 = 10_000;

/// Time after its deadline in which a node that did not send a section is not asked for it again
/// while others wait: those come back within twice the deadline. A node that promises what it never
/// sends must not keep a section from everybody who shares it.
const OTHERS_FIRST_MS: i64 = 20_000;

/// Open questions.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// Shared sections that a node was asked for, and until when it has time.
    asked: BTreeMap<SectionId, (NodeName, i64)>,
    /// Nodes that wait for a section that another one was asked for.
    waiting: BTreeMap<SectionId, BTreeSet<NodeName>>,
    /// Nodes that were asked for an upload, and until when they have time.
    uploads: BTreeMap<NodeName, i64>,
}

impl Asks {
    /// Whether `node` may be asked for a shared section: nobody is, or it is itself in time, or the
    /// one that was asked did not answer. That one has to let others try first.
    pub(crate) fn is_free(&self, id: SectionId, node: &NodeName, now_ms: i64) -> bool {
        let Some((asked, until)) = self.asked.get(&id) else { return true };
        let is_late = *until <= now_ms;
        if asked != node {
            return is_late;
        }
        let others_wait =
            self.waiting.get(&id).is_some_and(|waiting| waiting.iter().any(|it| it != node));
        !is_late || !others_wait || until.saturating_add(OTHERS_FIRST_MS) <= now_ms
    }

    /// Lets `node` upload, if not too many do already.
    pub(crate) fn admit(&mut self, node: &NodeName, max_uploads: usize, now_ms: i64) -> Admission {
        self.uploads.retain(|_, until| *until > now_ms);
        if !self.uploads.contains_key(node) && self.uploads.len() >= max_uploads {
            return Admission::Later;
        }
        // Asking again does not prolong: a node that never sends would hold its place for ever.
        self.uploads.entry(node.clone()).or_insert_with(|| now_ms.saturating_add(ANSWER_WITHIN_MS));
        Admission::Now
    }

    /// Notes that `node` is asked for a shared section. Asking it again does not prolong its time.
    pub(crate) fn ask(&mut self, id: SectionId, node: &NodeName, now_ms: i64) {
        let is_running =
            self.asked.get(&id).is_some_and(|(asked, until)| asked == node && *until > now_ms);
        if !is_running {
            self.asked.insert(id, (node.clone(), now_ms.saturating_add(ANSWER_WITHIN_MS)));
        }
    }

    /// Notes that `node` waits for a section from another one.
    pub(crate) fn wait(&mut self, id: SectionId, node: &NodeName) {
        self.waiting.entry(id).or_default().insert(node.clone());
    }

    /// A section is here: nobody is asked any more; returns who waited for it.
    pub(crate) fn arrived(&mut self, id: SectionId) -> BTreeSet<NodeName> {
        self.asked.remove(&id);
        self.waiting.remove(&id).unwrap_or_default()
    }

    /// Forgets questions whose time is over, and who waits for their answers: those nodes come back
    /// on their own and ask anew. So digests that a node makes up do not pile up.
    pub(crate) fn prune(&mut self, now_ms: i64) {
        self.asked.retain(|_, (_, until)| until.saturating_add(OTHERS_FIRST_MS) > now_ms);
        self.waiting.retain(|id, _| self.asked.contains_key(id));
        self.uploads.retain(|_, until| *until > now_ms);
    }

    /// `node` has sent what it was asked for, or its report is complete without it.
    pub(crate) fn finished(&mut self, node: &NodeName) {
        self.uploads.remove(node);
    }
}

/// Whether a node may upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Later,
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_without_an_answer_do_not_pile_up() {
        let mut asks = Asks::default();
        let node: NodeName = "a".parse().unwrap();
        for number in 0..100_u8 {
            let id = (SectionName::Kernel, Digest::of(&[number]));
            asks.ask(id, &node, 0);
            asks.wait(id, &node);
        }
        assert_eq!(asks.admit(&node, 1, 0), Admission::Now);
        asks.prune(ANSWER_WITHIN_MS - 1);
        assert_eq!((asks.asked.len(), asks.waiting.len(), asks.uploads.len()), (100, 100, 1));
        asks.prune(ANSWER_WITHIN_MS + OTHERS_FIRST_MS);
        assert_eq!((asks.asked.len(), asks.waiting.len(), asks.uploads.len()), (0, 0, 0));
    }

    #[test]
    fn a_node_that_never_sends_does_not_keep_a_section_from_those_who_would() {
        let mut asks = Asks::default();
        let id = (SectionName::Kernel, Digest::of(b"shared"));
        let [liar, honest] = ["liar", "honest"].map(|it| it.parse::<NodeName>().unwrap());
        asks.ask(id, &liar, 0);
        asks.wait(id, &honest);
        // It comes back just before its time is over, and at once after.
        assert!(asks.is_free(id, &liar, ANSWER_WITHIN_MS - 1));
        asks.ask(id, &liar, ANSWER_WITHIN_MS - 1);
        assert!(!asks.is_free(id, &liar, ANSWER_WITHIN_MS));
        assert!(asks.is_free(id, &honest, ANSWER_WITHIN_MS));
        // Nobody else wants it: it may try again.
        asks.waiting.clear();
        assert!(asks.is_free(id, &liar, ANSWER_WITHIN_MS));
    }

    #[test]
    fn a_place_to_upload_is_not_held_by_asking_for_it_again() {
        let mut asks = Asks::default();
        let [liar, honest] = ["liar", "honest"].map(|it| it.parse::<NodeName>().unwrap());
        assert_eq!(asks.admit(&liar, 1, 0), Admission::Now);
        assert_eq!(asks.admit(&liar, 1, ANSWER_WITHIN_MS - 1), Admission::Now);
        assert_eq!(asks.admit(&honest, 1, ANSWER_WITHIN_MS - 1), Admission::Later);
        assert_eq!(asks.admit(&honest, 1, ANSWER_WITHIN_MS), Admission::Now);
    }
}
