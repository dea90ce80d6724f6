//! Planning and claiming: what the real shell does between two looks at the cluster.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Call;
use super::Called;
use super::Collector;
use super::Died;
use super::Failed;
use super::ORPHAN_SECS;
use super::World;
use crate::fleet::Need;
use crate::law::What;
use crate::law::planning;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::Intent;
use crate::request::Placement;
use crate::request::Reason;
use crate::request::Request;
use crate::request::Wish;
use crate::simulate::machine::digest;
use crate::step::REQUESTED;
use crate::step::claim;
use crate::step::judged;
use crate::step::rebuilt;
use crate::step::refreshed;
use crate::step::requested;

/// Plans of one turn at most: each may ask for the pods of more nodes.
const MAX_ROUNDS: u8 = 16;

/// Seconds after which a plan is made again though nothing changed: windows open by time alone.
const REPLAN_SECS: i64 = 60;

/// Plans of which one is compared with others, by law 23.
const COMPARED: u64 = 40;

impl Collector {
    /// Makes a plan, claims what may start, and tells the others why not.
    pub(super) fn plan_and_claim(&mut self, world: &mut World, changed: bool) -> Result<(), Died> {
        let old = self.planned_at.is_none_or(|at| world.now.since(at) >= REPLAN_SECS);
        if !self.is_fresh(world) || !(changed || old) {
            return Ok(());
        }
        self.planned_at = Some(world.now);
        let policy = std::sync::Arc::clone(&world.policy);
        let now = self.clock(world.now);
        self.adopt(world, &policy, now)?;
        let planner = world.build.planner;
        let mut found = planner(&self.view.fleet, &policy, now);
        for _ in 1..MAX_ROUNDS {
            if found.ask.is_empty() {
                break;
            }
            self.view.read_pods(world, &found.ask);
            self.asked.extend(found.ask.iter().map(|uid| (uid.clone(), world.now)));
            found = planner(&self.view.fleet, &policy, now);
        }
        if world.chance.below(COMPARED) == 0 {
            let held = found.start.first().or_else(|| found.order.first());
            let kept = planning(&self.view.fleet, &policy, now, &found, held);
            world.laws.enter_plan(world.now, kept);
        }
        for uid in &found.start {
            if !self.claim(world, uid, &found, &policy, now)? {
                break;
            }
        }
        self.tell(world, &found, &policy, now)
    }

    /// A node that bears our marker and has no request: somebody took the record away. A new one, called
    /// off from the beginning, undoes what is left, or verifies what the other still brings about.
    fn adopt(&mut self, world: &mut World, policy: &Policy, now: Moment) -> Result<(), Died> {
        let fleet = &self.view.fleet;
        let marked = |uid: &NodeUid| {
            let object = world.store.nodes.get(uid)?;
            Some((object.marker.clone()?, object.before))
        };
        let found: BTreeMap<NodeUid, _> = fleet
            .nodes
            .keys()
            .filter(|uid| !fleet.requests.contains_key(*uid))
            .filter_map(|uid| Some((uid.clone(), marked(uid)?)))
            .collect();
        self.orphans.retain(|uid, _| found.contains_key(uid));
        for (uid, (marker, before)) in found {
            let since = *self.orphans.entry(uid.clone()).or_insert(world.now);
            let Some(node) = self.view.fleet.nodes.get(&uid).cloned() else { continue };
            if world.now.since(since) < ORPHAN_SECS {
                continue;
            }
            let pool = policy.pool_of(&node.labels);
            let next = rebuilt(&node, &marker, before, wish_of(now), pool, self.epoch, now);
            // As long as the node has not said in which boot it is, nobody knows what it may be doing.
            let Some(next) = next else { continue };
            // A record is made without its progress, which is written then.
            let (name, wish) = (node.name.clone(), next.wish.clone());
            let made = requested(name, uid.clone(), wish, self.epoch, now);
            let Ok(made) = self.create(world, made)? else { break };
            let next = Request { progress: next.progress, ..made };
            match self.write(world, next)? {
                Ok(stored) => {
                    self.view.fleet.requests.insert(uid, stored);
                }
                Err(_) => self.reread(world, &uid)?,
            }
        }
        Ok(())
    }

    /// Claims a node; whether the next one may be tried.
    fn claim(
        &mut self,
        world: &mut World,
        uid: &NodeUid,
        found: &Plan,
        policy: &Policy,
        now: Moment,
    ) -> Result<bool, Died> {
        let (Some(node), Some(place)) =
            (self.view.fleet.nodes.get(uid).cloned(), found.places.get(uid))
        else {
            return Ok(true);
        };
        let pool = policy.pool_of(&node.labels);
        let stored = self.view.fleet.requests.get(uid).cloned();
        let is_new = stored.is_none();
        let request = match stored {
            Some(mut request) => {
                if let Some(wish) = refreshed(&request, &node) {
                    request.wish = wish;
                }
                request
            }
            None => {
                let Some(wish) = wish(&node.agent.need, pool) else { return Ok(true) };
                requested(node.name.clone(), uid.clone(), wish, self.epoch, now)
            }
        };
        let placement = Placement {
            pool: place.pool.to_string(),
            zone: place.zone.to_string(),
            role: place.role,
        };
        let Ok(next) = claim(&request, &node, placement, pool, self.epoch, now) else {
            return Ok(true);
        };
        let written = if is_new { self.create(world, next)? } else { self.write(world, next)? };
        match written {
            Ok(stored) => {
                self.view.fleet.requests.insert(uid.clone(), stored);
                Ok(true)
            }
            // Somebody else wrote it: what is there is looked at in the next turn.
            Err(Failed::Refused(_)) => {
                self.reread(world, uid)?;
                Ok(true)
            }
            Err(Failed::Unanswered) => Ok(false),
        }
    }

    fn create(&mut self, world: &mut World, request: Request) -> Called<Request> {
        let id = world.request_id();
        let call = Call::Step(None, request.progress.state);
        let created = self.call(world, call, |world, author| {
            let stored = world.store.create(request, id)?;
            world.record(author, What::Wrote(Box::new(stored.clone())));
            Ok(stored)
        })?;
        if let Ok(stored) = &created {
            self.view.fleet.requests.insert(stored.uid.clone(), stored.clone());
        }
        Ok(created)
    }

    /// Writes the plan's verdict into requests that wait.
    fn tell(
        &mut self,
        world: &mut World,
        found: &Plan,
        policy: &Policy,
        now: Moment,
    ) -> Result<(), Died> {
        let waiting: Vec<Request> = self
            .view
            .fleet
            .requests
            .values()
            .filter(|request| !request.progress.state.holds_slot())
            .cloned()
            .collect();
        for request in waiting {
            let Some(node) = self.view.fleet.nodes.get(&request.uid) else { continue };
            let Some(place) = found.places.get(&request.uid) else { continue };
            let pool = policy.pool_of(&node.labels);
            let next = judged(&request, place.blockers.clone(), pool, self.epoch, now);
            if let Some(next) = next
                && let Ok(stored) = self.write(world, next)?
            {
                self.view.fleet.requests.insert(request.uid.clone(), stored);
            }
        }
        Ok(())
    }
}

/// The wish of the planner for a node that needs a reboot.
fn wish(need: &Need, pool: &Pool) -> Option<Wish> {
    let Need::Needed { reasons, digest, since } = need else { return None };
    Some(Wish {
        reasons: reasons.clone(),
        digest: *digest,
        since: *since,
        requested_by: String::from("planner"),
        must_by: Some(since.plus(pool.must_by_secs)),
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    })
}

/// The wish that stands for a marker whose request is gone.
fn wish_of(now: Moment) -> Wish {
    let reasons = std::collections::BTreeSet::from([Reason {
        source: String::from(REQUESTED),
        kind: String::from("manual"),
        subject: String::from("a cordon whose request was taken away is undone"),
        target: String::new(),
    }]);
    Wish {
        digest: digest(&reasons),
        reasons,
        since: now,
        requested_by: String::from("planner"),
        must_by: None,
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    }
}
