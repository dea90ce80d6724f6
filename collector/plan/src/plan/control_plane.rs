//! Gates of nodes that run the control plane: one by one, all others well, etcd with a quorum to spare.

use palisade_report::Moment;

use super::census::Census;
use super::census::Member;
use super::pool::shut;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Member as EtcdMember;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Policy;

/// What the control plane as a whole says of a reboot of one of its nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlPlane<'a> {
    /// Nodes of it that are not well, whoever is to blame.
    unwell: Vec<Member<'a>>,
    etcd: Option<String>,
    is_only_node: bool,
    is_single: bool,
}

impl<'a> ControlPlane<'a> {
    pub(super) fn of(census: &Census<'a>, fleet: &Fleet, policy: &Policy) -> Self {
        let nodes = census.members.iter().filter(|member| member.role == Role::ControlPlane);
        let unwell = nodes.filter(|member| member.is_away).copied().collect();
        let is_only_node = fleet.nodes.len() == 1;
        let is_single = is_only_node && policy.cluster.single_node;
        let small = policy.cluster.control_plane.allow_small_etcd || is_single;
        Self { unwell, etcd: etcd(fleet, small), is_only_node, is_single }
    }

    /// Gates that are shut for a node of the control plane, or for the only node.
    pub(super) fn shut(&self, member: &Member<'_>, now: Moment) -> Vec<Blocker> {
        let mut found = Vec::new();
        if self.is_only_node && !self.is_single {
            let value = "it is the only node: say singleNode to reboot it without a drain";
            found.push(shut(Gate::ControlPlane, value.to_owned(), now, None));
        }
        if member.role == Role::Worker {
            return found;
        }
        if let Some(why) = &self.etcd {
            found.push(shut(Gate::Etcd, why.clone(), now, None));
        }
        for other in self.unwell.iter().filter(|other| other.uid != member.uid) {
            let value = format!("{} is not well: {}", other.node.name, state(other));
            found.push(shut(Gate::ControlPlane, value, now, None));
        }
        found
    }
}

fn state(member: &Member<'_>) -> &'static str {
    match (member.flight, &member.node.ready) {
        (Some(_), _) => "its reboot is under way",
        (None, Ready::Since(_)) => "it takes no pods",
        (None, Ready::NotSince(_)) => "it is not ready",
        (None, Ready::Unknown) => "it is not heard",
    }
}

/// Why etcd cannot spare a member; nothing if the control plane does not keep it on its nodes.
fn etcd(fleet: &Fleet, allow_small: bool) -> Option<String> {
    let members = match fleet.etcd.as_ref()? {
        Known::Known(etcd) => &etcd.members,
        Known::Unknown(why) => return Some(format!("its members cannot be told: {why}")),
    };
    let named = |wanted: EtcdMember| {
        let (uid, _) = members.iter().find(|(_, member)| **member == wanted)?;
        Some(fleet.nodes.get(uid).map_or_else(|| uid.to_string(), |node| node.name.to_string()))
    };
    if let Some(node) = named(EtcdMember::Learner) {
        return Some(format!("the member on {node} is still learning"));
    }
    if let Some(node) = named(EtcdMember::Unhealthy) {
        return Some(format!("the member on {node} is not healthy"));
    }
    let healthy = members.len();
    let quorum = (healthy / 2).saturating_add(1);
    if healthy == 0 {
        return Some("no members are known".to_owned());
    }
    if healthy.saturating_sub(1) < quorum && !allow_small {
        return Some(format!("{healthy} members, {quorum} must stay: none can be spared"));
    }
    None
}
