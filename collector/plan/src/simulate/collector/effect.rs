//! Carrying out what a step wants: one call each, and no decision.

use std::collections::BTreeSet;

use super::Call;
use super::Collector;
use super::Died;
use super::Offer;
use super::World;
use crate::drain::Draining;
use crate::drain::Round;
use crate::drain::next_evictions;
use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::law::Handed;
use crate::law::What;
use crate::policy::Pool;
use crate::request::Request;
use crate::request::Schedulability;
use crate::seen::Seen;
use crate::simulate::Flaw;
use crate::simulate::store::Holder;
use crate::simulate::store::Refusal;
use crate::simulate::workload::Evicted;
use crate::simulate::world::Event;
use crate::step::Effect;

impl Collector {
    /// Carries an effect out; whether the next one may follow.
    pub(super) fn carry_out(
        &mut self,
        world: &mut World,
        request: &Request,
        seen: &Seen,
        pool: &Pool,
        effect: Effect,
    ) -> Result<bool, Died> {
        let uid = request.uid.clone();
        let version = seen
            .node
            .known()
            .and_then(Option::as_ref)
            .and_then(|node| world.store.nodes.get(&node.uid))
            .map(|object| object.version);
        match effect {
            Effect::TakeLease => {
                let taken = self.call(world, Call::Write("take Lease"), |world, author| {
                    match world.store.leases.get(&uid) {
                        Some(Holder::Us) => return Ok(()),
                        Some(Holder::Other(until)) if *until > world.now => {
                            return Err(Refusal::Conflict);
                        }
                        Some(Holder::Other(_)) | None => {}
                    }
                    world.store.leases.insert(uid.clone(), Holder::Us);
                    world.record(author, What::LeaseTaken(uid));
                    Ok(())
                })?;
                Ok(taken.is_ok())
            }
            Effect::ReleaseLease => {
                let given = self.call(world, Call::Write("give Lease back"), |world, author| {
                    if world.store.leases.get(&uid) == Some(&Holder::Us) {
                        world.store.leases.remove(&uid);
                        world.record(author, What::LeaseReleased(uid));
                    }
                    Ok(())
                })?;
                Ok(given.is_ok())
            }
            Effect::Cordon { before } => {
                let marker = match world.build.has(Flaw::MarksByName) {
                    true => request.node.to_string(),
                    false => request.id.clone(),
                };
                let set = self.call(world, Call::Write("cordon"), |world, author| {
                    let version = version.ok_or(Refusal::NotFound)?;
                    let cordon = Cordon::Ours { request: marker.clone() };
                    world.store.patch(&uid, version, |object| {
                        object.cordon = cordon.clone();
                        object.marker = Some(marker);
                        object.cordoned_by = None;
                        object.before = Some(before);
                    })?;
                    world.record(author, What::Cordoned(uid, cordon));
                    Ok(())
                })?;
                Ok(set.is_ok())
            }
            Effect::Uncordon { marker, restore } => {
                let set = self.call(world, Call::Write("uncordon"), |world, author| {
                    let version = version.ok_or(Refusal::NotFound)?;
                    let object = world.store.nodes.get(&uid).ok_or(Refusal::NotFound)?;
                    if object.marker.as_ref() != Some(&marker) {
                        return Err(Refusal::Conflict);
                    }
                    let free = object.cordon == Cordon::Schedulable;
                    let cordon = match restore {
                        Schedulability::Schedulable => Cordon::Schedulable,
                        Schedulability::Unschedulable if free => Cordon::Schedulable,
                        Schedulability::Unschedulable => Cordon::Foreign { by: None },
                    };
                    world.store.patch(&uid, version, |object| {
                        object.cordon = cordon.clone();
                        object.marker = None;
                        object.cordoned_by = None;
                        object.before = None;
                    })?;
                    world.record(author, What::Cordoned(uid, cordon));
                    Ok(())
                })?;
                Ok(set.is_ok())
            }
            Effect::LeaveLoadBalancers => Ok(true),
            Effect::Drain => self.evict_next(world, request, pool),
            Effect::Offer { grant, until } => {
                let fresh = self.offers.get(&uid).is_none_or(|old| old.grant.id != grant.id);
                let handed = Handed {
                    id: grant.id,
                    node: uid.clone(),
                    boot: grant.boot.clone(),
                    digest: request.wish.digest,
                    epoch: self.epoch,
                    until,
                };
                self.offers.insert(uid.clone(), Offer { grant, until, handed });
                if let Some(machine) = world.machines.get(&uid).filter(|_| fresh) {
                    let next = machine.next_heartbeat(world.now);
                    world.at(next, Event::Heartbeat(uid));
                }
                Ok(true)
            }
            Effect::Forget(id) => {
                self.offers.retain(|_, offer| offer.grant.id != id);
                Ok(true)
            }
            Effect::Delete => {
                self.audit(world, request);
                let id = request.id.clone();
                let deleted = self.call(world, Call::Write("delete record"), |world, author| {
                    let stored = world.store.requests.get(&uid).ok_or(Refusal::NotFound)?;
                    if stored.id != id {
                        return Err(Refusal::Conflict);
                    }
                    world.store.delete(&uid)?;
                    world.record(author, What::Removed(uid));
                    Ok(())
                })?;
                self.reread(world, &request.uid)?;
                Ok(deleted.is_ok())
            }
        }
    }

    fn evict_next(
        &mut self,
        world: &mut World,
        request: &Request,
        pool: &Pool,
    ) -> Result<bool, Died> {
        let uid = &request.uid;
        let Ok(pods) = self.list_pods(world, uid)? else { return Ok(false) };
        let budgets = Known::Known(world.work.budgets());
        let now = self.clock(world.now);
        let returns = self.drains.entry(uid.clone()).or_default();
        // Whoever leads now does not know what another one began; pods that go tell it.
        let going = pods.iter().any(|pod| pod.deleting.is_some());
        let goes_on = world.build.has(Flaw::EvictsAnyway);
        let round =
            if goes_on || going || self.begun.contains(uid) { Round::Later } else { Round::First };
        let in_flight = BTreeSet::new();
        let draining =
            Draining { pods: &pods, budgets: &budgets, in_flight: &in_flight, returns, round };
        for eviction in next_evictions(&draining, &pool.drain, now) {
            let pod = eviction.uid;
            let evicted = self.call(world, Call::Write("evict"), |world, author| {
                let (now, mut chance) = (world.now, world.chance.split());
                let evicted = world.work.evict(uid, &pod, now, &mut chance);
                if let Evicted::Going(secs) = evicted {
                    let what = What::Evicted { node: uid.clone(), pod: pod.clone() };
                    world.record(author, what);
                    world.after(secs, Event::PodGone(uid.clone(), pod.clone()));
                    world.pods_changed(uid);
                }
                Ok(evicted)
            })?;
            match evicted {
                Ok(Evicted::Going(_)) => {
                    self.begun.insert(uid.clone());
                }
                Ok(Evicted::Gone | Evicted::Refused) => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}
