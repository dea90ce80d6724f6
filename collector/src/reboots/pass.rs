//! What follows from a plan: verdicts written down, claims, and the steps of each request. What is
//! claimed is counted before it is acted upon.

use std::collections::BTreeMap;

use palisade_plan::fleet::Fleet;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::plan::Verdict;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_plan::request::Placement;
use palisade_plan::request::Progress;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::step;
use palisade_plan::step::Effect;
use palisade_plan::step::Step;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::allowance::Allowance;
use super::carry_out::Outcome;
use super::coordinator::Coordinator;
use super::errand::wish_under;
use super::refusals::Refusals;
use super::seen::Read;
use super::turns::behind;
use crate::chain::Chain;
use crate::kube::CallError;
use crate::kube::NotLeader;
use crate::kube::conditions::MANAGER;
use crate::kube::requests::RequestError;

/// Seconds after which what a look has seen is too old for another step: the steps of this look end. One
/// call to the API server may take that long by itself.
pub(super) const OLD_SECS: i64 = 10;

/// Steps of one request at one look: a reboot that goes well takes two at a time.
pub(super) const MAX_STEPS: usize = 8;

/// Waiting requests that are written at one look, and seconds within which the last of them begins. One
/// gate that opens or shuts for all of them changes thousands, and what is under way waits meanwhile.
pub(super) const MAX_JUDGED: usize = 64;
pub(super) const JUDGE_SECS: i64 = 5;

/// Seconds for which a marker of a request that is gone is left alone: the watches of nodes and of
/// requests are not one, and a request that has just ended takes its marker first. As long as that
/// its place seems to be free.
const ORPHAN_SECS: i64 = 30;

impl Coordinator {
    /// Writes into waiting requests what the plan says of them: so many at a look, and for so long. Who
    /// is not reached is first at the next one.
    pub(super) async fn judge(
        &mut self,
        plan: &Plan,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        let waiting = fleet.requests.values().filter(|it| {
            matches!(it.progress.state, State::Needed | State::Blocked | State::Ready)
        });
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
                break;
            }
            let mut request = request.clone();
            self.judged = Some(uid);
            if let Some(wish) = wish {
                request.wish = wish;
                match self.requests.restate(&request).await {
                    Ok(written) => request = written,
                    Err(error) => {
                        self.complain(&request, &error)?;
                        continue;
                    }
                }
                self.took(&request, fleet);
            }
            if let Some(next) = judged(&request) {
                self.write(&request, &next, fleet).await?;
            }
        }
        Ok(())
    }

    /// Claims what the plan starts. Returns how many claims were written, or may have been.
    pub(super) async fn claim(
        &mut self,
        plan: &Plan,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<usize, NotLeader> {
        let mut claims = 0;
        for uid in &plan.start {
            let (Some(node), Some(place)) = (fleet.nodes.get(uid).cloned(), plan.places.get(uid))
            else {
                continue;
            };
            if self.leaves_to_another(uid, plan, fleet).await {
                continue;
            }
            let pool = policy.pool(&place.pool).unwrap_or(&policy.unmatched);
            let now = self.clock.now();
            let request = match fleet.requests.get(uid) {
                Some(request) => match self.requests.keep(request).await {
                    Ok(kept) => kept,
                    Err(error) => {
                        let request = request.clone();
                        self.complain(&request, &error)?;
                        continue;
                    }
                },
                None => {
                    let Some(wish) = wish_under(&node, pool, MANAGER) else { continue };
                    let request = step::requested(node.name.clone(), uid.clone(), wish, epoch, now);
                    match self.requests.create(&request).await {
                        Ok(made) => {
                            self.took(&made, fleet);
                            made
                        }
                        Err(error) => {
                            self.complain(&request, &error)?;
                            continue;
                        }
                    }
                }
            };
            let placement = Placement {
                pool: place.pool.to_string(),
                zone: place.zone.to_string(),
                role: place.role,
            };
            match step::claim(&request, &node, placement, pool, epoch, now) {
                Ok(next) => {
                    claims += 1;
                    self.write(&request, &next, fleet).await?;
                }
                Err(error) => {
                    tracing::info!(node = %node.name, cause = %Chain(&error), "not claimed");
                }
            }
        }
        Ok(claims)
    }

    /// Steps each request that is under way, for as long as what the look that began then has seen is
    /// not too old. Whoever was last at the look before is last again, so that a look cut short starves
    /// nobody.
    pub(super) async fn drive_all(
        &mut self,
        began: Moment,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        for uid in behind(fleet.requests.keys(), self.driven.as_ref()) {
            self.drive(&uid, fleet, policy, epoch).await?;
            self.driven = Some(uid);
            if self.clock.now().since(began) > OLD_SECS {
                break;
            }
        }
        Ok(())
    }

    /// Steps what was claimed just now; who is not reached is stepped first thing at the next look.
    pub(super) async fn drive_claimed(
        &mut self,
        claimed: &[NodeUid],
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        let began = self.clock.now();
        for uid in claimed {
            let request = fleet.requests.get(uid);
            if request.is_some_and(|it| it.progress.state == State::Claimed) {
                self.drive(uid, fleet, policy, epoch).await?;
            }
            if self.clock.now().since(began) > OLD_SECS {
                break;
            }
        }
        Ok(())
    }

    /// Steps a request for as long as that leads somewhere.
    pub(super) async fn drive(
        &mut self,
        uid: &NodeUid,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        let mut read = Read::default();
        for number in 0..MAX_STEPS {
            let Some(request) = fleet.requests.get(uid).cloned() else { return Ok(()) };
            let pool = pool_of(&request, fleet, policy);
            if number == 0 && self.may_rest(&request, fleet, pool, epoch) {
                return Ok(());
            }
            let seen = self.see(&request, fleet, pool, epoch, &mut read).await?;
            // Nobody rests on what could not be read.
            let may_rest = seen.node.known().is_some();
            let outcome = match step::step(&request, &seen, pool, self.clock.now()) {
                Step::Persist(next) => {
                    // The answer may be lost, and the offer would outlive the state that it is for.
                    if next.progress.state != State::Granted {
                        self.offers.withdraw(uid);
                    }
                    if !self.write(&request, &next, fleet).await? {
                        return Ok(());
                    }
                    // What a permission stands on is read again before it is handed out.
                    if next.progress.state == State::Granted {
                        read = Read::default();
                    }
                    Outcome::Done
                }
                Step::Do(effects) => {
                    let mut effects = effects;
                    read = Read::default();
                    if plan::is_single(fleet, policy) {
                        // Its pods have nowhere to go, the collector's own included.
                        effects.retain(|effect| *effect != Effect::Drain);
                    }
                    self.carry_out_all(&effects, &request, pool, epoch).await?
                }
                Step::Wait => Outcome::UnderWay,
            };
            if outcome != Outcome::Done {
                self.rest(&request, may_rest && outcome == Outcome::UnderWay);
                return Ok(());
            }
        }
        Ok(())
    }

    /// [`Outcome::Done`]: the next step may be taken at once.
    async fn carry_out_all(
        &mut self,
        effects: &[Effect],
        request: &Request,
        pool: &Pool,
        epoch: u64,
    ) -> Result<Outcome, NotLeader> {
        let mut goes_on = false;
        for effect in effects {
            match self.carry_out(effect, request, pool, epoch).await? {
                // Kept for as long as the node is in flight, so it leads nowhere by itself.
                Outcome::Done => goes_on |= !matches!(effect, Effect::LeaveLoadBalancers),
                Outcome::UnderWay => {}
                Outcome::Failed(why) => {
                    self.say(request, &why);
                    return Ok(Outcome::Failed(why));
                }
            }
        }
        Ok(if goes_on { Outcome::Done } else { Outcome::UnderWay })
    }

    /// Writes the next record of a request; whether it is written.
    async fn write(
        &mut self,
        before: &Request,
        next: &Request,
        fleet: &mut Fleet,
    ) -> Result<bool, NotLeader> {
        match self.requests.write(next).await {
            Ok(written) => {
                self.took(&written, fleet);
                self.complaints.remove(&written.uid);
                // It was written over, so that the write before it came to nothing.
                self.doubtful.remove(&written.uid);
                let now = self.clock.now();
                let records = self.teller.transition(before, &written, now).await;
                if let Some(history) = &mut self.history {
                    records.into_iter().for_each(|record| history.add(record));
                }
                if before.progress.state != written.progress.state
                    && written.progress.state == State::Draining
                {
                    self.works.remove(&written.uid);
                }
                Ok(true)
            }
            Err(error) => {
                if !error.is(409) {
                    let doubt = (before.clone(), next.clone());
                    self.doubtful.insert(next.uid.clone(), doubt);
                }
                self.complain(next, &error)?;
                Ok(false)
            }
        }
    }

    fn took(&self, request: &Request, fleet: &mut Fleet) {
        self.book.wrote(request.clone());
        fleet.requests.insert(request.uid.clone(), request.clone());
    }

    /// A write that came to nothing, or nobody knows: the next look begins with a whole list.
    fn complain(&mut self, request: &Request, error: &RequestError) -> Result<(), NotLeader> {
        if matches!(error, RequestError::Call(CallError::NotLeader)) {
            return Err(NotLeader);
        }
        self.lost_track = true;
        // Somebody else wrote first, which happens.
        if !error.is(409) {
            self.say(request, &Chain(error).to_string());
        }
        Ok(())
    }

    fn say(&mut self, request: &Request, why: &str) {
        if self.complaints.get(&request.uid).is_none_or(|it| it != why) {
            tracing::warn!(
                node = %request.node, state = ?request.progress.state, cause = %why,
                "a step of a reboot could not be carried out; it is tried again"
            );
            self.complaints.insert(request.uid.clone(), why.to_owned());
        }
    }

    /// Forgets what is over, and finds cordons whose request somebody took away.
    pub(super) async fn tidy(
        &mut self,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        let draining = |uid: &NodeUid| {
            let request = fleet.requests.get(uid);
            request.is_some_and(|it| {
                matches!(it.progress.state, State::Draining | State::Granted | State::Cordoning)
            })
        };
        self.works.retain(|uid, _| draining(uid));
        self.rests.retain(|uid, _| fleet.requests.contains_key(uid));
        self.complaints.retain(|uid, _| fleet.requests.contains_key(uid));
        self.offers.keep(|uid| fleet.requests.contains_key(uid));
        let now = self.clock.now();
        if fleet.requests.values().all(|it| goes_by_no_clock(it, now)) {
            self.follow_wall();
        }
        let now = self.clock.now();
        let upkeep = self.directory.upkeep();
        let orphans: BTreeMap<NodeUid, String> = fleet
            .nodes
            .iter()
            .filter(|(uid, _)| self.is_fresh && !fleet.requests.contains_key(*uid))
            .filter_map(|(uid, node)| {
                let kept = upkeep.get(&node.name).filter(|kept| kept.uid == *uid)?;
                // The marker stays when somebody else uncordons, and so does our label.
                Some((uid.clone(), kept.marker.clone()?))
            })
            .collect();
        self.orphans.retain(|uid, _| orphans.contains_key(uid));
        for (uid, marker) in orphans {
            let since = *self.orphans.entry(uid.clone()).or_insert(now);
            if now.since(since) >= ORPHAN_SECS {
                self.adopt(&uid, &marker, fleet, policy, epoch).await?;
            }
        }
        Ok(())
    }

    /// Follows a wall clock that has stayed elsewhere. What is believed for a while is asked anew: its
    /// moments may lie hours ahead, and it would be believed for as long.
    fn follow_wall(&mut self) {
        if self.clock.follow_wall() {
            self.around_at = None;
            self.refused = Refusals::default();
            self.asked.clear();
            self.foreseen.clear();
            self.orphans.clear();
            self.forgetting.clear();
        }
    }

    /// Makes a request anew for a marker whose request is gone, so that what that one did is undone, or
    /// verified if the node boots by a permission of it. Called off from the beginning: whoever finds
    /// it without its progress reboots nothing.
    async fn adopt(
        &mut self,
        uid: &NodeUid,
        marker: &str,
        fleet: &mut Fleet,
        policy: &Policy,
        epoch: u64,
    ) -> Result<(), NotLeader> {
        let Some(node) = fleet.nodes.get(uid).cloned() else { return Ok(()) };
        let now = self.clock.now();
        let before = match self.cordons.read(&node.name, uid).await {
            Ok(Some((upkeep, _))) if upkeep.marker.as_deref() == Some(marker) => upkeep.before,
            Ok(_) | Err(_) => return Ok(()),
        };
        let note = "a cordon whose request was taken away is undone".to_owned();
        let wish = super::errand::asked(Some(note), None, MANAGER, now);
        let pool = policy.pool_of(&node.labels);
        let rebuilt = step::rebuilt(&node, marker, before, wish, pool, epoch, now);
        // As long as the node has not said in which boot it is, nobody knows what it may be doing.
        let Some(rebuilt) = rebuilt else { return Ok(()) };
        let made = match self.requests.create(&rebuilt).await {
            Ok(made) => made,
            Err(error) => return self.complain(&rebuilt, &error),
        };
        self.took(&made, fleet);
        let next = Request { progress: rebuilt.progress, ..made.clone() };
        self.write(&made, &next, fleet).await?;
        Ok(())
    }
}

/// Whether the clock may be set anew as far as this request goes. What waits for a person, for as long
/// as that takes, must not keep a wrong clock in force.
pub(super) fn goes_by_no_clock(request: &Request, now: Moment) -> bool {
    let Progress { state, grant, .. } = &request.progress;
    let waits = matches!(state, State::Quarantined | State::NotReturned);
    let is_void = grant.as_ref().is_none_or(|grant| now > grant.void_after);
    !state.holds_slot() || (waits && is_void)
}

/// A waiting request with what the plan says of it; `None` if it says so already.
pub(super) fn judged(
    request: &Request,
    plan: &Plan,
    policy: &Policy,
    epoch: u64,
    now: Moment,
) -> Option<Request> {
    let place = plan.places.get(&request.uid)?;
    let place = (place.verdict == Verdict::Waits).then_some(place)?;
    let pool = policy.pool(&place.pool).unwrap_or(&policy.unmatched);
    step::judged(request, place.blockers.clone(), pool, epoch, now)
}

/// The pool by which a request goes: that of its claim, or else that of its node.
pub(super) fn pool_of<'a>(request: &Request, fleet: &Fleet, policy: &'a Policy) -> &'a Pool {
    let claimed = policy.pool(&request.progress.placement.pool);
    let claimed = claimed.filter(|_| request.progress.state.holds_slot());
    claimed.unwrap_or_else(|| {
        let node = fleet.nodes.get(&request.uid);
        node.map_or(&policy.unmatched, |node| policy.pool_of(&node.labels))
    })
}

#[cfg(test)]
mod tests;
