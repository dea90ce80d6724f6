//! What the cluster knows of nodes: which exist, as what, and what else is said of them.
//!
//! ```text
//! Node object ──> no record: one that never reported
//!             ──> record of the same UID: its facts from the cluster
//!             ──> record of another UID: that one ends, and a clean one begins
//! ```
//!
//! A name is an attribute of a node, its UID is the node. None of this is stored but the UID: the
//! cluster says the rest again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::core::Core;
use super::core::Now;
use super::message::Cause;
use super::message::NodeEvent;
use super::message::Refusal;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::snapshot::ClusterNode;
use crate::snapshot::Counted;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Seen;
use crate::snapshot::VerdictCounts;
use crate::store::Write;

/// What changed in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNews {
    /// Node objects that are new or have changed.
    pub known: BTreeMap<NodeName, Arc<ClusterNode>>,
    /// Names of which there is no Node object any more. Their nodes are not retired by this.
    pub gone: Vec<NodeName>,
}

impl Core {
    /// Takes in what changed in the cluster.
    pub(crate) fn cluster(&mut self, news: ClusterNews, now: Now) {
        let ClusterNews { known, gone } = news;
        for name in gone {
            self.members.remove(&name);
            let Some(node) = self.nodes.get(name.as_str()).cloned() else { continue };
            if node.state == NodeState::NeverSeen {
                self.nodes.remove(name.as_str());
                self.counters().count_node(NodeState::NeverSeen, Counted::Went);
            } else {
                self.nodes.insert(Arc::new(Node { cluster: None, ..Node::clone(&node) }));
            }
            self.touch();
        }
        for (name, member) in known {
            self.members.insert(name.clone(), member);
            self.join(&name, now);
        }
    }

    /// Notes the epoch of a term.
    pub(crate) fn lead(&mut self, epoch: u64) {
        self.batch.lazy.push(Write::Epoch(epoch));
    }

    /// Holds the record of a name against what the cluster says of it.
    pub(super) fn join(&mut self, name: &NodeName, now: Now) {
        let Some(member) = self.members.get(name).cloned() else { return };
        self.touch();
        let Some(node) = self.nodes.get(name.as_str()).cloned() else {
            self.list_unseen(name, member, now);
            return;
        };
        if node.uid.as_ref().is_some_and(|uid| *uid != member.uid) {
            if node.state == NodeState::NeverSeen || node.state == NodeState::Gone {
                self.counters().count_node(node.state, Counted::Went);
            } else if self.is_durable(now) {
                self.end(&node, &member.uid, now);
                self.counters().count_node(NodeState::Gone, Counted::Went);
            } else {
                // The reload after the store has recovered comes here again.
                return;
            }
            self.list_unseen(name, member, now);
            return;
        }
        let uid = Some(member.uid.clone());
        let is_new = node.uid.is_none();
        self.nodes.insert(Arc::new(Node { uid, cluster: Some(member), ..Node::clone(&node) }));
        if is_new && node.state != NodeState::NeverSeen {
            self.write_node(name);
        }
    }

    /// Takes note of what a node is before its message is taken. `None` standalone, where a node is
    /// its name. The refusal, if the cluster says that this is another node.
    pub(super) fn recognise(
        &mut self,
        name: &NodeName,
        uid: Option<&NodeUid>,
        now: Now,
    ) -> Option<Refusal> {
        self.speaker = uid.cloned();
        let uid = uid?;
        if self.members.get(name).is_some_and(|member| member.uid != *uid) {
            return Some(Refusal::OtherNode);
        }
        let node = self.live(name)?.clone();
        match &node.uid {
            Some(known) if known == uid => {}
            Some(_) if !self.is_durable(now) => {}
            Some(_) => self.end(&node, uid, now),
            None => {
                let uid = Some(uid.clone());
                self.nodes.insert(Arc::new(Node { uid, ..Node::clone(&node) }));
                self.write_node(name);
            }
        }
        None
    }

    /// Ends the record of a node whose name another one has now: its findings end, its sections are
    /// released, its history stays.
    fn end(&mut self, node: &Arc<Node>, successor: &NodeUid, now: Now) {
        if let Some(from) = node.uid.clone() {
            let object = format!("node {}", node.name);
            let reason = "its Node object was made anew under its name";
            let happening = Happening::own(Kind::NodeRecreated, object, reason)
                .about(node.name.clone())
                .changing(from.as_str(), successor.as_str());
            self.note(happening, now);
            let event = NodeEvent::Recreated { from, to: successor.clone() };
            self.event(&node.name, event, now);
        }
        tracing::info!(node = %node.name, uid = %successor, "a node was made anew under its name");
        if let Some(row) = self.row(&node.name) {
            self.batch.writes.push(Write::Archive { at: now.at, row: Box::new(row) });
        }
        self.close(node, Cause::Replaced, now);
    }

    /// Lists a node that the cluster has and that has said nothing.
    fn list_unseen(&mut self, name: &NodeName, member: Arc<ClusterNode>, now: Now) {
        self.known.remove(name);
        let node = Node {
            name: name.clone(),
            uid: Some(member.uid.clone()),
            cluster: Some(member),
            state: NodeState::NeverSeen,
            state_since: now.at,
            first_seen_at: now.at,
            boot_id: None,
            agent: "".into(),
            report: None,
            pending: None,
            reported_at: None,
            sections: Arc::default(),
            judgements: Arc::default(),
            episodes: Arc::default(),
            counts: VerdictCounts::default(),
            seen: Arc::new(Seen::new(now.at, 0)),
        };
        self.counters().count_node(NodeState::NeverSeen, Counted::Came);
        self.nodes.insert(Arc::new(node));
    }
}
