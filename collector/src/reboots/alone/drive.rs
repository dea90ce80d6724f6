//! The steps of each request, and what follows from a plan: verdicts written down, and claims. As in a
//! cluster, what is claimed is counted before it is acted upon, and what only waits is bounded.

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_plan::request::Placement;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::seen::GrantAnswer;
use palisade_plan::seen::Kubelet;
use palisade_plan::seen::LeaseSeen;
use palisade_plan::seen::Seen;
use palisade_plan::step;
use palisade_plan::step::Step;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use super::errand::fresh;
use super::register::Entry;
use crate::audit::Happening;
use crate::chain::Chain;
use crate::kube::conditions::MANAGER;
use crate::reboots::allowance::Allowance;
use crate::reboots::carry_out::Outcome;
use crate::reboots::errand::wish_under;
use crate::reboots::pass::JUDGE_SECS;
use crate::reboots::pass::MAX_JUDGED;
use crate::reboots::pass::MAX_STEPS;
use crate::reboots::pass::OLD_SECS;
use crate::reboots::pass::judged;
use crate::reboots::pass::pool_of;
use crate::reboots::past::Record;
use crate::reboots::seen::gates;
use crate::reboots::seen::random_id;
use crate::reboots::tell;
use crate::reboots::turns::behind;

impl Coordinator {
    /// Writes into waiting requests what the plan says of them: so many at a look, and for so long. Who
    /// is not reached is first at the next one.
    pub(super) async fn judge(&mut self, plan: &Plan, fleet: &mut Fleet, policy: &Policy) {
        let waiting = fleet.requests.values().filter(|it| {
            matches!(it.progress.state, State::Needed | State::Blocked | State::Ready)
        });
        let epoch = self.epoch;
        let mut allowance = Allowance::of(MAX_JUDGED, JUDGE_SECS, self.clock.now());
        for uid in behind(waiting.map(|it| &it.uid), self.judged.as_ref()) {
            let (Some(request), Some(node)) = (fleet.requests.get(&uid), fleet.nodes.get(&uid))
            else {
                continue;
            };
            let now = self.clock.now();
            let judged = |request: &Request| judged(request, plan, policy, epoch, now);
            let wish = step::refreshed(request, node);
            if wish.is_none() && judged(request).is_none() {
                continue;
            }
            if !allowance.takes(now) {
                return;
            }
            let mut request = request.clone();
            self.judged = Some(uid);
            if let Some(wish) = wish {
                let next = Request { wish, ..request.clone() };
                match self.write(&request, next, fleet).await {
                    Some(written) => request = written,
                    None => return,
                }
            }
            if let Some(next) = judged(&request)
                && self.write(&request, next, fleet).await.is_none()
            {
                return;
            }
        }
    }

    /// Claims what the plan starts.
    pub(super) async fn claim(&mut self, plan: &Plan, fleet: &mut Fleet, policy: &Policy) {
        for uid in &plan.start {
            let (Some(node), Some(place)) = (fleet.nodes.get(uid).cloned(), plan.places.get(uid))
            else {
                continue;
            };
            let pool = policy.pool(&place.pool).unwrap_or(&policy.unmatched);
            let now = self.clock.now();
            let request = match fleet.requests.get(uid) {
                Some(request) => request.clone(),
                None => {
                    let Some(wish) = wish_under(&node, pool, MANAGER) else { continue };
                    let made = fresh(&node, wish, self.epoch, now);
                    match self.write(&made, made.clone(), fleet).await {
                        Some(written) => written,
                        None => return,
                    }
                }
            };
            let placement = Placement {
                pool: place.pool.to_string(),
                zone: place.zone.to_string(),
                role: place.role,
            };
            match step::claim(&request, &node, placement, pool, self.epoch, now) {
                Ok(next) => {
                    if self.write(&request, next, fleet).await.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::info!(node = %node.name, cause = %Chain(&error), "not claimed");
                }
            }
        }
    }

    /// Steps each request, for as long as what the look that began then has seen is not too old. Whoever
    /// was last at the look before is last again, so that a look cut short starves nobody.
    pub(super) async fn drive_all(&mut self, began: Moment, fleet: &mut Fleet, policy: &Policy) {
        for uid in behind(fleet.requests.keys(), self.driven.as_ref()) {
            // What was not answered may be otherwise: the rest waits until it is read again.
            if !self.register.is_known() {
                return;
            }
            self.drive(&uid, fleet, policy).await;
            self.driven = Some(uid);
            if self.clock.now().since(began) > OLD_SECS {
                return;
            }
        }
    }

    /// Steps what was claimed just now; who is not reached is stepped at the next look.
    pub(super) async fn drive_claimed(
        &mut self,
        claimed: &[NodeUid],
        fleet: &mut Fleet,
        policy: &Policy,
    ) {
        let began = self.clock.now();
        for uid in claimed {
            let is_old = self.clock.now().since(began) > OLD_SECS;
            if is_old || !self.register.is_known() {
                return;
            }
            let request = fleet.requests.get(uid);
            if request.is_some_and(|it| it.progress.state == State::Claimed) {
                self.drive(uid, fleet, policy).await;
            }
        }
    }

    /// Steps a request for as long as that leads somewhere.
    pub(super) async fn drive(&mut self, uid: &NodeUid, fleet: &mut Fleet, policy: &Policy) {
        for _ in 0..MAX_STEPS {
            let Some(request) = fleet.requests.get(uid).cloned() else { return };
            let pool = pool_of(&request, fleet, policy);
            let seen = self.see(&request, fleet, policy, pool);
            match step::step(&request, &seen, pool, self.clock.now()) {
                Step::Persist(next) => {
                    // Nobody may know whether it is written, and the offer would outlive its state.
                    if next.progress.state != State::Granted {
                        self.offers.withdraw(uid);
                    }
                    if self.write(&request, *next, fleet).await.is_none() {
                        return;
                    }
                }
                Step::Do(effects) => {
                    let mut goes_on = false;
                    for effect in &effects {
                        match self.carry_out(effect, &request).await {
                            Outcome::Done => goes_on = true,
                            Outcome::UnderWay => {}
                            Outcome::Failed(why) => {
                                self.say(&request, &why);
                                return;
                            }
                        }
                    }
                    self.follow_up(uid, fleet);
                    if !goes_on {
                        return;
                    }
                }
                Step::Wait => return,
            }
        }
    }

    /// Brings what the fleet says of a request up to what is written.
    fn follow_up(&self, uid: &NodeUid, fleet: &mut Fleet) {
        match self.register.find(uid) {
            Some(entry) => fleet.requests.insert(uid.clone(), entry.request.clone()),
            None => fleet.requests.remove(uid),
        };
    }

    /// Writes the next record of a request, with its words in the audit. `None`: nobody knows whether it
    /// is written, and all of them are read again before anything else happens.
    async fn write(
        &mut self,
        before: &Request,
        next: Request,
        fleet: &mut Fleet,
    ) -> Option<Request> {
        let now = self.clock.now();
        let from = before.progress.state;
        let (mut records, mut told) = (Vec::<Record>::new(), Vec::<Happening>::new());
        if from != next.progress.state {
            records.extend(tell::record(&next, now));
            records.extend(tell::released(before, &next, now));
            told.push(tell::stepped(from, &next));
            told.extend(records.iter().filter_map(|record| tell::recorded(&next, record)));
        }
        let trace = self.register.find(&next.uid).and_then(|it| it.trace.clone());
        match self.register.put(Entry { request: next, trace }, told).await {
            Ok(written) => {
                if from != written.progress.state {
                    tell::log(from, &written);
                }
                self.complaints.remove(&written.uid);
                if let Some(history) = &mut self.history {
                    records.into_iter().for_each(|record| history.add(record));
                }
                fleet.requests.insert(written.uid.clone(), written.clone());
                Some(written)
            }
            Err(refusal) => {
                self.say(before, &refusal.to_string());
                None
            }
        }
    }

    /// What is seen of the node of `request`.
    fn see(&self, request: &Request, fleet: &Fleet, policy: &Policy, pool: &Pool) -> Seen {
        let now = self.clock.now();
        let entry = self.register.find(&request.uid);
        let node = fleet.nodes.get(&request.uid).cloned().map(|mut node| {
            if let Some(entry) = entry {
                node.cordon = entry.cordon();
            }
            node
        });
        let trace = entry.and_then(|it| it.trace.as_ref());
        let count = if request.progress.state == State::Claimed {
            Known::Known(plan::count(fleet, policy, &request.uid))
        } else {
            Known::Unknown("not counted".to_owned())
        };
        let heard = self.seen.node(request.node.as_str()).map(|node| &**node);
        let arrived = self.offers.arrived(&request.uid).into_iter();
        Seen {
            node: Known::Known(node),
            drain: self.left(request),
            lease: Known::Known(LeaseSeen::Unused),
            answers: arrived
                .map(|it| GrantAnswer { at: self.clock.at(it.boot_ms), ..it.answer })
                .collect(),
            count,
            gates: gates(request, fleet, policy, now),
            kubelet: Known::Known(Kubelet::Unused),
            unschedulable_by: None,
            marker: trace.map(|_| request.id.clone()),
            marked_before: trace.map(|trace| trace.before),
            shutdown_grace_secs: self.facts.shutdown_grace_secs(heard),
            usual: plan::usual(&fleet.past, &pool.name),
            fresh: true,
            epoch: self.epoch,
            leading_since: self.clock.began_at(),
            next_grant: random_id(),
        }
    }

    /// Says once what could not be carried out.
    fn say(&mut self, request: &Request, why: &str) {
        if self.complaints.get(&request.uid).is_none_or(|it| it != why) {
            tracing::warn!(
                node = %request.node, state = ?request.progress.state, cause = %why,
                "a step of a reboot could not be carried out; it is tried again"
            );
            self.complaints.insert(request.uid.clone(), why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
