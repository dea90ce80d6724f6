//! The last look before a claim: budgets and pods are read anew, and each pod is tried without being
//! evicted.
//!
//! A plan goes by what was read some seconds ago. A node whose drain would stop at once must not be
//! cordoned for that, nor hold a place: so what starts is looked at again, and only what starts still
//! is claimed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::NoRoom;
use palisade_plan::policy::Policy;
use palisade_report::NodeUid;

use super::allowance::Allowance;
use super::coordinator::Coordinator;
use super::drain::Work;
use super::fleet::shut;
use super::rooms::Rooms;
use crate::kube::fence::NotLeader;

/// Nodes that are looked at again at one look, and seconds within which the last of them begins. It costs
/// a request for each pod; who is not reached keeps the turn.
const MAX_CONFIRMED: usize = 5;
const CONFIRM_SECS: i64 = 5;

/// How long all pods of the cluster may take to be listed, for a pool that wants to know whether there is
/// room: 100,000 of them are 200 pages.
const ROOMS_WITHIN: Duration = Duration::from_secs(30);

impl Coordinator {
    /// The plan by what is true now, and the fleet that it goes by. It starts no node that `plan` did
    /// not start, and only those that were looked at again.
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
        let mut confirmed = BTreeSet::new();
        if self.around.is_some() {
            let is_single = plan::is_single(fleet, policy);
            let rooms = tokio::time::timeout(ROOMS_WITHIN, self.rooms(&plan.start, fleet, policy));
            let mut rooms = rooms.await.unwrap_or_else(|_| Some(Rooms::late(ROOMS_WITHIN)));
            // From here on: however long the room takes to be read, somebody has a turn.
            let mut allowance = Allowance::of(MAX_CONFIRMED, CONFIRM_SECS, self.clock.now());
            for uid in &plan.start {
                if !allowance.takes(self.clock.now()) {
                    break;
                }
                // The pods of a single node have nowhere to go.
                if is_single || self.may_go(uid, rooms.as_mut(), fleet, policy).await? {
                    confirmed.insert(uid.clone());
                }
            }
        }
        // All these questions took their time: what is claimed goes by what is known after them.
        *fleet = self.fleet().await;
        let mut plan = plan::plan(fleet, policy, self.clock.now());
        plan.start.retain(|uid| confirmed.contains(uid));
        Ok(plan)
    }

    /// Reads the pods of a node and tries each without evicting it; whether nothing stands against it.
    /// What the API server refuses shuts a gate, and so do pods that fit nowhere else.
    async fn may_go(
        &mut self,
        uid: &NodeUid,
        rooms: Option<&mut Rooms>,
        fleet: &mut Fleet,
        policy: &Policy,
    ) -> Result<bool, NotLeader> {
        if !self.read_pods(uid, fleet).await {
            return Ok(false);
        }
        let Known::Known(pods) = &fleet.pods else { return Ok(false) };
        let (Some(node), Some(pods)) = (fleet.nodes.get(uid), pods.get(uid)) else {
            return Ok(false);
        };
        let (now, drain) = (self.clock.now(), &policy.pool_of(&node.labels).drain);
        let stuck = Work::of(Arc::clone(pods)).try_all(&self.evictions, drain, now).await?;
        let mut blockers: Vec<Blocker> =
            stuck.into_iter().map(|why| shut(Gate::Drain, why, now)).collect();
        if let Some(rooms) = rooms.as_ref().filter(|_| drain.no_room == NoRoom::Block) {
            let why = rooms.homeless(pods, drain);
            blockers.extend(why.map(|why| shut(Gate::Capacity, why, now)));
        }
        let now = self.clock.now();
        if !blockers.is_empty() {
            self.refused.refuse(uid.clone(), blockers, drain, now);
            return Ok(false);
        }
        if let Some(rooms) = rooms {
            rooms.take(pods, drain);
        }
        // Trying them may have taken longer than they are believed.
        if let Some((read_at, _)) = self.asked.get_mut(uid) {
            *read_at = now;
        }
        Ok(true)
    }
}
