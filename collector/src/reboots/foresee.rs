//! What is shown of a pass: the plan as it is followed, and what the drains of the next nodes would meet.
//!
//! Whoever approves a plan wants to know before that a budget lets pods go one after another only, or
//! not at all. So the pods of the nodes that are next are read although nothing is decided by them; what
//! is decided by pods is read when it is decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use crate::chain::Chain;
use crate::planned::View;

/// Nodes of the order that are looked at; a person plans with a handful.
const MAX_NODES: usize = 10;

/// Nodes of which the pods are read at one look: a list for each, and looks are seconds apart.
const MAX_READ: usize = 2;

/// Seconds for which pods are shown without being read again.
const SHOWN_SECS: i64 = 30;

impl Coordinator {
    /// Publishes what was decided.
    pub(super) async fn show(&mut self, plan: Plan, mut fleet: Fleet, policy: Arc<Policy>) {
        self.foresee(&plan, &fleet).await;
        if let Known::Known(pods) = &mut fleet.pods {
            for (uid, (_, foreseen)) in &self.foreseen {
                pods.entry(uid.clone()).or_insert_with(|| Arc::clone(foreseen));
            }
        }
        let outlooks = plan::outlooks(&fleet, &policy, self.clock.now());
        let refused_policy = self.policy.refused().cloned();
        let alerts = self.alerts(&fleet, &policy, &plan);
        let answered = Arc::clone(&self.answered);
        let view = View { fleet, policy, refused_policy, plan, alerts, outlooks, answered };
        self.planned.publish(Arc::new(view));
    }

    /// Reads pods of nodes that are next and of which nobody asked yet.
    async fn foresee(&mut self, plan: &Plan, fleet: &Fleet) {
        let next: BTreeSet<&NodeUid> = plan.order.iter().take(MAX_NODES).collect();
        self.foreseen.retain(|uid, _| next.contains(uid));
        let (Known::Known(known), Some(around)) = (&fleet.pods, &self.around) else { return };
        let now = self.clock.now();
        let is_due = |uid: &&NodeUid| {
            let read = self.foreseen.get(*uid);
            !known.contains_key(*uid) && read.is_none_or(|(at, _)| now.since(*at) >= SHOWN_SECS)
        };
        let due: Vec<&NodeUid> = next.into_iter().filter(is_due).take(MAX_READ).collect();
        for uid in due {
            let Some(node) = fleet.nodes.get(uid) else { continue };
            match self.workloads.pods_of(&node.name, around).await {
                Ok(pods) => {
                    self.foreseen.insert(uid.clone(), (now, Arc::from(pods)));
                }
                Err(error) => {
                    // What is old is not shown as if it were new.
                    self.foreseen.remove(uid);
                    tracing::debug!(node = %node.name, cause = %Chain(&error), "not foreseen");
                }
            }
        }
    }
}
