//! The nodes of a collector without a cluster, in the form in which a cluster has them: whoever reports
//! is a node, for as long as nobody retires it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Ready;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::register::Register;
use crate::grants::uid_of;
use crate::kube::nodes::Upkeep;
use crate::kube::nodes::upkeep::Spared;
use crate::snapshot;
use crate::snapshot::ClusterNode;
use crate::snapshot::HOSTNAME;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::NodeTable;
use crate::snapshot::Snapshot;

/// The nodes of one snapshot.
#[derive(Default)]
pub(super) struct Roster {
    of: Option<Arc<Snapshot>>,
    known: Option<Arc<Snapshot>>,
    members: BTreeMap<NodeName, Arc<ClusterNode>>,
}

impl Roster {
    /// Takes a snapshot in, unless it is the one before. Returns it with the UIDs of its nodes, by which
    /// whatever is about reboots goes.
    pub(super) fn follow(&mut self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        if let (Some(of), Some(known)) = (&self.of, &self.known)
            && Arc::ptr_eq(of, snapshot)
        {
            return Arc::clone(known);
        }
        self.members.clear();
        let mut nodes = NodeTable::default();
        for node in snapshot.nodes.iter().filter(|node| node.state.is_live()) {
            // A name that has a node's shape always gives one.
            let Some(uid) = uid_of(&node.name) else { continue };
            self.members.insert(node.name.clone(), Arc::new(member(node, uid.clone())));
            nodes.insert(Arc::new(Node { uid: Some(uid), ..Node::clone(node) }));
        }
        let known = Arc::new(Snapshot { nodes, ..Snapshot::clone(snapshot) });
        self.of = Some(Arc::clone(snapshot));
        self.known = Some(Arc::clone(&known));
        known
    }

    /// The nodes.
    pub(super) const fn members(&self) -> &BTreeMap<NodeName, Arc<ClusterNode>> {
        &self.members
    }

    /// What a reboot goes by, beside what the agents say.
    pub(super) fn upkeep(
        &self,
        snapshot: &Snapshot,
        register: &Register,
    ) -> BTreeMap<NodeName, Arc<Upkeep>> {
        let nodes = snapshot.nodes.iter();
        let kept = nodes.filter_map(|node| {
            let uid = node.uid.clone()?;
            Some((node.name.clone(), Arc::new(upkeep(node, uid, register))))
        });
        kept.collect()
    }
}

fn member(node: &Node, uid: NodeUid) -> ClusterNode {
    let name = node.name.as_str();
    let labels = BTreeMap::from([(HOSTNAME.to_owned(), name.to_owned())]);
    ClusterNode {
        uid,
        labels: Arc::new(labels),
        hostname: Some(name.into()),
        ready: snapshot::Ready::Unknown,
        scheduling: snapshot::Scheduling::Open,
        boot_id: None,
        kernel: None,
        kubelet: None,
        taints: Vec::new(),
    }
}

fn upkeep(node: &Node, uid: NodeUid, register: &Register) -> Upkeep {
    let entry = register.find(&uid);
    let cordon = entry.map_or(Cordon::Schedulable, super::register::Entry::cordon);
    Upkeep {
        ready: ready(node),
        marker: match &cordon {
            Cordon::Ours { request } => Some(request.clone()),
            Cordon::Schedulable | Cordon::Foreign { .. } => None,
        },
        cordon,
        before: entry.and_then(|it| it.trace.as_ref()).map(|trace| trace.before),
        unschedulable_by: None,
        hold: None,
        taints: BTreeSet::new(),
        boot: node.boot_id.clone(),
        excluded: Spared::No,
        scale_down: Spared::No,
        // The store of this collector knows it.
        last_reboot: Known::Known(None),
        uid,
    }
}

/// Whether a node works, as far as anybody can tell: its agent is heard.
fn ready(node: &Node) -> Ready {
    match node.state {
        NodeState::Fresh => Ready::Since(node.state_since),
        NodeState::Silent => Ready::NotSince(node.state_since),
        NodeState::Late | NodeState::NeverSeen | NodeState::Gone => Ready::Unknown,
    }
}
