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
use super::clock::TermClock;
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

/// What is known of the room, and how many may be looked at from then on: however long it takes to be
/// read, somebody has a turn.
async fn room_first(
    rooms: impl Future<Output = Option<Rooms>>,
    clock: &TermClock,
) -> (Option<Rooms>, Allowance) {
    let rooms = tokio::time::timeout(ROOMS_WITHIN, rooms).await;
    let rooms = rooms.unwrap_or_else(|_| Some(Rooms::late(ROOMS_WITHIN)));
    (rooms, Allowance::of(MAX_CONFIRMED, CONFIRM_SECS, clock.now()))
}

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
            let rooms = self.rooms(&plan.start, fleet, policy);
            let (mut rooms, mut allowance) = room_first(rooms, &self.clock).await;
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

#[cfg(test)]
mod tests {
    use palisade_plan::policy::DrainPolicy;
    use palisade_report::Moment;

    use super::*;
    use crate::reboots::stand::Virtual;

    /// Virtual time moves on its own once everybody waits.
    #[tokio::test(start_paused = true)]
    async fn room_that_takes_longer_to_be_read_than_may_be_looked_costs_nobody_the_turn() {
        let virtual_time = Arc::new(Virtual::from(Moment::from_unix(1_800_000_000)));
        let clock = TermClock::start(Arc::clone(&virtual_time) as _, virtual_time);
        let longer = Duration::from_secs(CONFIRM_SECS.unsigned_abs() + 1);
        let slow = async {
            tokio::time::sleep(longer).await;
            None
        };
        let began = tokio::time::Instant::now();
        let (rooms, mut allowance) = room_first(slow, &clock).await;
        assert!(began.elapsed() >= longer && rooms.is_none());
        assert!(allowance.takes(clock.now()), "the first of them has a turn");
        let (rooms, mut allowance) = room_first(std::future::pending(), &clock).await;
        let said = rooms.unwrap().homeless(&[], &DrainPolicy::default()).unwrap();
        assert!(said.ends_with("not listed within 30 s"), "{said}");
        assert!(allowance.takes(clock.now()), "who is told why it waits has had a turn, too");
    }
}
