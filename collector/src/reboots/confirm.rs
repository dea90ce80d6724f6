//! The last look before a claim: budgets and pods are read anew, and each pod is tried without being
//! evicted.
//!
//! A plan goes by what was read some seconds ago. A node whose drain would stop at once must not be
//! cordoned for that, nor hold a place: so what starts is looked at again, and only what starts still
//! is claimed.

use std::sync::Arc;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::gate::Gate;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use super::drain::Work;
use super::fleet::shut;
use crate::kube::fence::NotLeader;

/// Seconds for which a node that could not be drained is not tried again: it costs a request for each
/// pod, and others are to have their turn meanwhile.
const REFUSED_SECS: i64 = 60;

impl Coordinator {
    /// Shuts the gates of nodes that were tried a moment ago and could not be drained.
    pub(super) fn recall_refusals(&mut self, fleet: &mut Fleet, now: Moment) {
        self.refused.retain(|_, (at, _)| now.since(*at) < REFUSED_SECS);
        for (uid, (at, stuck)) in &self.refused {
            let Some(node) = fleet.nodes.get_mut(uid) else { continue };
            node.blockers.extend(stuck.iter().map(|why| shut(Gate::Drain, why.clone(), *at)));
        }
    }

    /// The plan by what is true now. It starts no node that `plan` did not start.
    ///
    /// # Errors
    /// [`NotLeader`].
    pub(super) async fn confirm(
        &mut self,
        plan: Plan,
        fleet: &mut Fleet,
        policy: &Policy,
    ) -> Result<Plan, NotLeader> {
        if plan.start.is_empty() {
            return Ok(plan);
        }
        self.around_at = None;
        self.look_around(self.clock.now()).await;
        fleet.budgets = self.budgets();
        self.is_fresh &= self.around.is_some() && self.read_pods(&plan.start, fleet).await;
        if !plan::is_single(fleet, policy) {
            for uid in &plan.start {
                self.try_drain(uid, fleet, policy).await?;
            }
        }
        let mut confirmed = plan::plan(fleet, policy, self.clock.now());
        confirmed.start.retain(|uid| plan.start.contains(uid));
        Ok(confirmed)
    }

    /// Tries each pod of a node without evicting it. What the API server refuses shuts a gate.
    async fn try_drain(
        &mut self,
        uid: &NodeUid,
        fleet: &mut Fleet,
        policy: &Policy,
    ) -> Result<(), NotLeader> {
        let Known::Known(pods) = &fleet.pods else { return Ok(()) };
        let (Some(node), Some(pods)) = (fleet.nodes.get_mut(uid), pods.get(uid)) else {
            return Ok(());
        };
        let (now, drain) = (self.clock.now(), &policy.pool_of(&node.labels).drain);
        let stuck = Work::of(Arc::clone(pods)).try_all(&self.evictions, drain, now).await?;
        if !stuck.is_empty() {
            node.blockers.extend(stuck.iter().map(|why| shut(Gate::Drain, why.clone(), now)));
            self.refused.insert(uid.clone(), (now, stuck));
        }
        Ok(())
    }
}
