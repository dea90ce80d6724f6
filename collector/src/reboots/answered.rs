//! What was asked so far, and a fleet as it is judged by that under one policy.
//!
//! ```text
//! fleet (facts) ──┐
//! answers, Leases ├─> judge(policy) ─> labels and roles of nodes, objections to them
//! refused drains ─┘
//! ```
//!
//! The policy in force is judged so at each look, and so is one that somebody only thinks about. Nothing
//! is asked here: a question that nobody asked yet shuts its gate, and one that only another policy asks
//! is no objection.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Etcd;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Role;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::fleet::Certificates;
use super::fleet::role;
use super::fleet::shut;
use super::objections::Heard;
use super::objections::NOT_ASKED;
use super::refusals::Refused;
use super::returns;
use crate::kube::nodes::Members;
use crate::snapshot::HOSTNAME;

/// The Leases of nodes that other tools hold, as they were read last.
#[derive(Clone, Debug, Default)]
pub(super) struct Leased {
    /// Where they were looked for.
    pub(super) namespace: Option<String>,
    /// The holders by the node's name; or why they cannot be told.
    pub(super) holders: Option<Arc<Known<BTreeMap<String, String>>>>,
}

/// What was asked so far.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    pub(super) members: Members,
    /// The same with their hostnames, if the policy in force selects by those.
    pub(super) named: Option<Members>,
    pub(super) heard: Heard,
    pub(super) certificates: Certificates,
    pub(super) leased: Leased,
    pub(super) refused: Vec<Refused>,
    /// Members of etcd; nothing where there is none to ask for.
    pub(super) etcd: Option<Known<Etcd>>,
    /// Nodes that have a member of etcd: of the control plane whatever their labels say.
    pub(super) etcd_nodes: BTreeSet<NodeUid>,
}

impl Answered {
    /// Judges the nodes of a fleet anew, under this policy.
    pub fn judge(&self, fleet: &mut Fleet, policy: &Policy, now: Moment) {
        self.place(fleet, policy);
        let objections: Vec<Vec<Blocker>> = {
            let pools: Vec<&Pool> =
                fleet.nodes.values().map(|node| policy.pool_of(&node.labels)).collect();
            let names = fleet.nodes.values().map(|node| node.name.as_str());
            let by_name = names.zip(pools.iter().copied()).collect();
            let against = self.heard.against(policy, &by_name, now);
            let mut refused: BTreeMap<&NodeUid, Vec<Blocker>> = BTreeMap::new();
            for it in &self.refused {
                if let Some(pool) =
                    fleet.nodes.get(&it.uid).map(|node| policy.pool_of(&node.labels))
                {
                    refused.insert(&it.uid, it.under(&pool.drain, now));
                }
            }
            let of = |((uid, node), pool): ((&NodeUid, &Node), &Pool)| {
                let request = fleet.requests.get(uid);
                let is_in_flight = request.is_some_and(|it| it.progress.state.holds_slot());
                // What is in flight looks at its own.
                let leased = (!is_in_flight).then(|| self.leased.away(&node.name, policy, now));
                let against = against.get(&pool.name).into_iter();
                let against = against.flat_map(|it| it.of(node.name.as_str())).cloned();
                let refused = refused.remove(uid).unwrap_or_default();
                leased.flatten().into_iter().chain(against).chain(refused).collect()
            };
            fleet.nodes.iter().zip(pools).map(of).collect()
        };
        for ((uid, node), objections) in fleet.nodes.iter_mut().zip(objections) {
            node.objections = objections;
            let client = self.certificates.get(uid);
            let pool = policy.pool_of(&node.labels);
            let ends = client.and_then(|client| returns::runs_out(client, pool, now));
            let shut = |(value, since)| shut(Gate::Certificate, value, since);
            node.objections.extend(ends.map(shut));
            node.agent.due_by = client.and_then(|client| returns::due_by(client, pool));
        }
    }

    /// Gives nodes the labels and the roles that they have for this policy.
    fn place(&self, fleet: &mut Fleet, policy: &Policy) {
        let named = policy.selects_by(HOSTNAME).then(|| {
            let known = self.named.as_ref();
            known.map_or_else(|| with_hostnames(&self.members), Arc::clone)
        });
        for member in named.as_ref().unwrap_or(&self.members).values() {
            let Some(node) = fleet.nodes.get_mut(&member.uid) else { continue };
            node.labels = Arc::clone(&member.labels);
            node.role = role(&member.labels, policy);
        }
        for uid in &self.etcd_nodes {
            if let Some(node) = fleet.nodes.get_mut(uid) {
                node.role = Role::ControlPlane;
            }
        }
        if let Some(etcd) = &self.etcd {
            let is_hosted = fleet.nodes.values().any(|node| node.role == Role::ControlPlane);
            fleet.etcd = is_hosted.then(|| etcd.clone());
        }
    }
}

/// The same nodes with all their labels.
pub(super) fn with_hostnames(members: &Members) -> Members {
    let named = members.iter().map(|(name, it)| (name.clone(), Arc::new(it.with_hostname())));
    Arc::new(named.collect())
}

impl Leased {
    /// The gate that the Lease of this node shuts, if it does.
    fn away(
        &self,
        node: &palisade_report::NodeName,
        policy: &Policy,
        now: Moment,
    ) -> Option<Blocker> {
        let wanted = policy.cluster.node_lease.as_ref()?;
        let holders = self.holders.as_ref().filter(|_| self.namespace.as_ref() == Some(wanted));
        let value = match holders.map(AsRef::as_ref) {
            Some(Known::Known(holders)) => format!("held by {}", holders.get(node.as_str())?),
            Some(Known::Unknown(why)) => why.clone(),
            None => NOT_ASKED.to_owned(),
        };
        Some(shut(Gate::NodeLease, value, now))
    }
}

#[cfg(test)]
mod tests;
