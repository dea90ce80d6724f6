//! What lies around all nodes: budgets, DaemonSets, Leases of other tools, the members of etcd, where
//! the collector runs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::DisruptionBudget;
use palisade_plan::fleet::Etcd;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Member;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::answered::Answered;
use super::answered::Leased;
use super::answered::with_hostnames;
use super::coordinator::Coordinator;
use super::fleet::Certificates;
use crate::chain::Chain;
use crate::kube::nodes::Members;
use crate::snapshot::HOSTNAME;

/// Seconds for which budgets and DaemonSets are believed. The API server itself has the last word on
/// each eviction.
const AROUND_SECS: i64 = 5;

impl Coordinator {
    /// Reads budgets, DaemonSets and etcd's pods, if what is known of them is old.
    pub(super) async fn look_around(&mut self, now: Moment) {
        if self.around_at.is_some_and(|at| now.since(at) < AROUND_SECS) {
            return;
        }
        match self.workloads.around().await {
            Ok(around) => {
                self.around = Some(around);
                self.around_at = Some(now);
            }
            Err(error) => {
                if self.around.take().is_some() {
                    tracing::warn!(cause = %Chain(&error), "no reboot goes on without these");
                }
                self.around_at = None;
            }
        }
        let holders = match &self.leases {
            None => None,
            Some(leases) => Some(Arc::new(match leases.of_others(now).await {
                Ok(leased) => Known::Known(leased),
                Err(error) => Known::Unknown(Chain(&error).to_string()),
            })),
        };
        let namespace = self.policy.policy().cluster.node_lease.clone();
        self.leased = Leased { namespace, holders };
        self.etcd = match self.workloads.etcd().await {
            Ok(members) => Known::Known(members),
            Err(error) => Known::Unknown(Chain(&error).to_string()),
        };
        if self.own_node.is_none() {
            let (namespace, pod) = &self.identity;
            if let Ok(node) = self.workloads.node_of(namespace, pod).await {
                self.own_node = Some(node);
            }
        }
    }

    /// The disruption budgets by name, as they were listed last.
    pub(super) fn budgets(&self) -> Known<BTreeMap<String, DisruptionBudget>> {
        match &self.around {
            Some(around) => {
                let budgets = around.budgets.iter();
                Known::Known(budgets.map(|it| (it.name.clone(), it.state.clone())).collect())
            }
            None => Known::Unknown("the disruption budgets could not be listed".to_owned()),
        }
    }

    /// What was asked so far, for whoever judges this fleet.
    pub(super) fn answered(&mut self, fleet: &Fleet, members: Members, now: Moment) -> Answered {
        let etcd = self.members_of_etcd(fleet);
        self.refused.keep(|uid| fleet.nodes.contains_key(uid));
        Answered {
            named: self.named(&members),
            certificates: Certificates::new(),
            members,
            heard: self.objections.heard(&self.clock),
            leased: self.leased.clone(),
            refused: self.refused.recall(now),
            etcd: Some(etcd),
            etcd_nodes: self.etcd_nodes.clone(),
        }
    }

    /// The nodes with their hostnames, made anew only when they are others.
    fn named(&mut self, members: &Members) -> Option<Members> {
        if !self.policy.policy().selects_by(HOSTNAME) {
            self.named = None;
            return None;
        }
        let known = self.named.take().filter(|(of, _)| Arc::ptr_eq(of, members));
        let named = known.map_or_else(|| with_hostnames(members), |(_, named)| named);
        self.named = Some((Arc::clone(members), Arc::clone(&named)));
        Some(named)
    }

    /// The members of etcd. A node that has one is one of the control plane whatever its labels say.
    fn members_of_etcd(&mut self, fleet: &Fleet) -> Known<Etcd> {
        let names: BTreeMap<&str, &NodeUid> =
            fleet.nodes.iter().map(|(uid, node)| (node.name.as_str(), uid)).collect();
        if let Known::Known(pods) = &self.etcd {
            let found = pods.keys().filter_map(|name| names.get(name.as_str()));
            self.etcd_nodes.extend(found.map(|uid| (*uid).clone()));
        }
        self.etcd_nodes.retain(|uid| fleet.nodes.contains_key(uid));
        match &self.etcd {
            Known::Known(pods) => members(pods, &names, &self.etcd_nodes),
            Known::Unknown(why) => Known::Unknown(why.clone()),
        }
    }
}

/// The members of etcd: one for each static pod, well if the pod is ready. A node that had one and has
/// it no more keeps its member, which is not well: nobody tells whether it still votes. A control plane
/// without such a pod has its etcd elsewhere, where nobody here can look.
fn members(
    pods: &BTreeMap<String, bool>,
    names: &BTreeMap<&str, &NodeUid>,
    had_one: &BTreeSet<NodeUid>,
) -> Known<Etcd> {
    let mut members: BTreeMap<NodeUid, Member> =
        had_one.iter().map(|uid| (uid.clone(), Member::Unhealthy)).collect();
    for (name, is_ready) in pods {
        let Some(uid) = names.get(name.as_str()) else {
            return Known::Unknown(format!("one runs on {name}, which is no node"));
        };
        let member = if *is_ready { Member::Healthy } else { Member::Unhealthy };
        members.insert((*uid).clone(), member);
    }
    if members.is_empty() {
        return Known::Unknown("no pod of etcd was found in kube-system".to_owned());
    }
    Known::Known(Etcd { members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_whose_pod_is_gone_still_counts_and_one_elsewhere_cannot_be_told() {
        let uids: Vec<NodeUid> = ["u-0", "u-1", "u-2"].map(|it| it.parse().unwrap()).to_vec();
        let names: BTreeMap<&str, &NodeUid> = ["a", "b", "c"].into_iter().zip(&uids).collect();
        let pods =
            |all: &[(&str, bool)]| all.iter().map(|(at, is)| ((*at).to_owned(), *is)).collect();
        let nobody = BTreeSet::new();
        let told = |known: &Known<Etcd>| known.known().unwrap().members.values().copied().collect();

        let all: Vec<Member> = told(&members(&pods(&[("a", true), ("c", false)]), &names, &nobody));
        assert_eq!(all, [Member::Healthy, Member::Unhealthy]);
        let had: BTreeSet<NodeUid> = uids.iter().cloned().collect();
        let all: Vec<Member> = told(&members(&pods(&[("a", true), ("c", true)]), &names, &had));
        assert_eq!(all, [Member::Healthy, Member::Unhealthy, Member::Healthy]);
        assert!(members(&pods(&[]), &names, &nobody).known().is_none());
        assert!(members(&pods(&[("a", true), ("x", true)]), &names, &had).known().is_none());
    }
}
