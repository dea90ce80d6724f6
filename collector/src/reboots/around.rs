//! What lies around all nodes: budgets, DaemonSets, Leases of other tools, the members of etcd, where
//! the collector runs.

use std::collections::BTreeMap;

use palisade_plan::fleet::DisruptionBudget;
use palisade_plan::fleet::Etcd;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Member;
use palisade_plan::fleet::Role;
use palisade_report::Moment;

use super::coordinator::Coordinator;
use crate::chain::Chain;

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
        self.leased = match &self.leases {
            None => Known::Known(BTreeMap::new()),
            Some(leases) => match leases.of_others(now).await {
                Ok(leased) => Known::Known(leased),
                Err(error) => Known::Unknown(Chain(&error).to_string()),
            },
        };
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

    /// The members of etcd, where the control plane is among the nodes: one for each of its static
    /// pods, well if the pod is ready. A control plane without such a pod has its etcd elsewhere, where
    /// nobody here can look.
    pub(super) fn etcd_of(&self, fleet: &Fleet) -> Option<Known<Etcd>> {
        let mut control_plane =
            fleet.nodes.values().filter(|node| node.role == Role::ControlPlane).peekable();
        control_plane.peek()?;
        let pods = match &self.etcd {
            Known::Known(pods) if !pods.is_empty() => pods,
            Known::Known(_) => {
                return Some(Known::Unknown("no pod of etcd was found in kube-system".to_owned()));
            }
            Known::Unknown(why) => return Some(Known::Unknown(why.clone())),
        };
        let member = |is_ready: bool| if is_ready { Member::Healthy } else { Member::Unhealthy };
        let members = control_plane
            .filter_map(|node| {
                let is_ready = pods.get(node.name.as_str())?;
                Some((node.uid.clone(), member(*is_ready)))
            })
            .collect();
        Some(Known::Known(Etcd { members }))
    }
}
