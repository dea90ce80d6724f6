//! Driving requests: what is seen of each, one step after the other, until it waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use super::Call;
use super::Called;
use super::Collector;
use super::Died;
use super::FRESH_SECS;
use super::World;
use crate::drain::left;
use crate::fleet::Finished;
use crate::fleet::Known;
use crate::fleet::LastReboot;
use crate::fleet::Pod;
use crate::law::What;
use crate::plan::count;
use crate::plan::grant_gates;
use crate::plan::usual;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::Answer;
use crate::request::Request;
use crate::request::State;
use crate::seen::Count;
use crate::seen::DrainSeen;
use crate::seen::GrantAnswer;
use crate::seen::Kubelet;
use crate::seen::LeaseSeen;
use crate::seen::Seen;
use crate::simulate::Flaw;
use crate::simulate::store::Holder;
use crate::simulate::tally::Fault;
use crate::simulate::view;
use crate::step::Effect;
use crate::step::Step;

/// Steps of one request in one turn: more than any chain of states that does not wait.
const MAX_STEPS: u8 = 24;

/// Seconds for which pods that a plan asked for are kept.
const ASKED_SECS: i64 = 1800;

/// Seconds that a machine may need to shut down.
const SHUTDOWN_SECS: u32 = 90;

impl Collector {
    /// Whether what it knows is young enough to act upon.
    pub(super) fn is_fresh(&self, world: &World) -> bool {
        self.view.synced_at.is_some_and(|at| world.now.since(at) <= FRESH_SECS)
    }

    /// Steps every request; whether something goes on.
    pub(super) fn drive_all(&mut self, world: &mut World) -> Result<bool, Died> {
        let uids: Vec<NodeUid> = self.view.fleet.requests.keys().cloned().collect();
        let mut busy = false;
        for uid in &uids {
            let Some(request) = self.view.fleet.requests.get(uid) else { continue };
            let state = request.progress.state;
            let stays = matches!(state, State::Quarantined | State::NotReturned);
            busy |= (state.holds_slot() && !stays) || state.is_terminal();
            self.drive(world, uid)?;
        }
        let moving: BTreeMap<NodeUid, State> = self
            .view
            .fleet
            .requests
            .iter()
            .map(|(uid, request)| (uid.clone(), request.progress.state))
            .collect();
        let keeps = |uid: &NodeUid| moving.get(uid).is_some_and(|state| state.holds_slot());
        self.offers.retain(|uid, _| keeps(uid));
        self.drains.retain(|uid, _| keeps(uid));
        self.begun.retain(|uid| keeps(uid));
        // Those of nodes that turned out to be blocked stay for a while: who asked for them anew in
        // each turn would never come to the nodes behind them.
        self.asked.retain(|_, at| world.now.since(*at) < ASKED_SECS);
        let asked = &self.asked;
        self.view.keep_pods_of(|uid| keeps(uid) || asked.contains_key(uid));
        Ok(busy)
    }

    fn drive(&mut self, world: &mut World, uid: &NodeUid) -> Result<(), Died> {
        for _ in 0..MAX_STEPS {
            let Some(request) = self.view.fleet.requests.get(uid).cloned() else { return Ok(()) };
            let state = request.progress.state;
            let policy = Arc::clone(&world.policy);
            let pool = self.pool(&policy, &request);
            let seen = self.look(world, &policy, pool, &request)?;
            let now = self.clock(world.now);
            match (world.build.decide)(&request, &seen, pool, now) {
                Step::Wait => {
                    self.offers.remove(uid);
                    return Ok(());
                }
                Step::Persist(next) => {
                    let begins =
                        state != State::Rebooting && next.progress.state == State::Rebooting;
                    if begins && seen.usual.reboot_p99.is_some() {
                        world.faults.tally.count(Fault::LearnedDeadline);
                    }
                    // The answer may be lost, and the offer would outlive the state that it is for.
                    if next.progress.state != State::Granted {
                        self.offers.remove(uid);
                    }
                    match self.write(world, *next)? {
                        Ok(stored) => {
                            self.view.fleet.requests.insert(uid.clone(), stored);
                        }
                        Err(_) => return self.reread(world, uid),
                    }
                }
                Step::Do(effects) => {
                    // What is not wanted any more is not handed out any more.
                    if !effects.iter().any(|effect| matches!(effect, Effect::Offer { .. })) {
                        self.offers.remove(uid);
                    }
                    for effect in effects {
                        if !self.carry_out(world, &request, &seen, pool, effect)? {
                            break;
                        }
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn pool<'a>(&self, policy: &'a Policy, request: &Request) -> &'a Pool {
        let by_name = policy.pool(&request.progress.placement.pool);
        match (request.progress.state.holds_slot(), by_name) {
            (true, Some(pool)) => pool,
            (_, _) => match self.view.fleet.nodes.get(&request.uid) {
                Some(node) => policy.pool_of(&node.labels),
                None => by_name.unwrap_or(&policy.unmatched),
            },
        }
    }

    /// What is seen of a node: read anew, as far as its state asks for it.
    fn look(
        &mut self,
        world: &mut World,
        policy: &Policy,
        pool: &Pool,
        request: &Request,
    ) -> Result<Seen, Died> {
        let uid = &request.uid;
        let state = request.progress.state;
        let moves = state.holds_slot();
        let offset = self.offset;
        let now = self.clock(world.now);
        let read = if moves {
            self.call(world, Call::Read, |world, _| Ok(view::node(world, uid, offset)))?
        } else {
            Ok(view::node(world, uid, offset))
        };
        let node = match read {
            Ok(node) => Known::Known(node),
            Err(_) => Known::Unknown(String::from("the API server did not answer")),
        };
        let drain = if matches!(state, State::Draining | State::Granted) {
            self.look_at_pods(world, pool, request)?
        } else {
            Known::Unknown(String::from("nobody asked"))
        };
        let count = if state == State::Claimed {
            self.count(world, policy, uid)?
        } else {
            Known::Unknown(String::from("nobody asked"))
        };
        let before_boot =
            matches!(state, State::Claimed | State::Cordoning | State::Draining | State::Granted);
        let gates =
            if before_boot { grant_gates(&self.view.fleet, policy, uid, now) } else { Vec::new() };
        let object = world.store.nodes.get(uid);
        let lease = match (&policy.cluster.node_lease, world.store.leases.get(uid)) {
            (None, _) => LeaseSeen::Unused,
            (Some(_), None) => LeaseSeen::Free,
            (Some(_), Some(Holder::Us)) => LeaseSeen::Ours,
            (Some(_), Some(Holder::Other(until))) if *until <= world.now => LeaseSeen::Free,
            (Some(_), Some(Holder::Other(_))) => LeaseSeen::Other { holder: String::from("nhc") },
        };
        Ok(Seen {
            node,
            drain,
            lease: Known::Known(lease),
            answers: self.answers(world, uid),
            count,
            gates,
            kubelet: Known::Known(Kubelet::Speaks(object.map(|object| object.boot.clone()))),
            marker: object.and_then(|object| object.marker.clone()),
            unschedulable_by: object.and_then(|object| object.cordoned_by.clone()),
            marked_before: object.and_then(|object| object.before),
            shutdown_grace_secs: SHUTDOWN_SECS,
            usual: usual(&self.view.fleet.past, &pool.name),
            fresh: self.is_fresh(world) && self.lease_until.is_some(),
            epoch: self.epoch,
            leading_since: self.leading_since,
            next_grant: GrantId::from_bytes(world.chance.bytes()),
        })
    }

    /// What the node said of grants, by the clock of the term.
    fn answers(&self, world: &World, uid: &NodeUid) -> Vec<GrantAnswer> {
        let answers = world.kept.answers.get(uid).into_iter().flatten().cloned();
        answers.map(|it| GrantAnswer { at: it.at.plus(self.offset), ..it }).collect()
    }

    /// Counts all requests, read anew.
    fn count(
        &mut self,
        world: &mut World,
        policy: &Policy,
        uid: &NodeUid,
    ) -> Result<Known<Count>, Died> {
        let listed = self.call(world, Call::Read, |world, _| Ok(world.store.requests.clone()))?;
        let Ok(listed) = listed else {
            return Ok(Known::Unknown(String::from("the API server did not answer")));
        };
        self.view.fleet.requests = listed;
        Ok(Known::Known(count(&self.view.fleet, policy, uid)))
    }

    fn look_at_pods(
        &mut self,
        world: &mut World,
        pool: &Pool,
        request: &Request,
    ) -> Result<Known<DrainSeen>, Died> {
        let uid = &request.uid;
        let unread = || Known::Unknown(String::from("the API server did not answer"));
        let Ok(pods) = self.list_pods(world, uid)? else { return Ok(unread()) };
        let returns = self.drains.entry(uid.clone()).or_default();
        returns.note(&pods);
        let budgets = Known::Known(world.work.budgets());
        let now = world.now.plus(self.offset);
        let mut seen = left(&pods, &budgets, returns, &pool.drain, now);
        let attached = world.work.attached.get(uid);
        seen.attached = request
            .progress
            .drain
            .volumes
            .iter()
            .filter(|volume| attached.is_some_and(|attached| attached.contains(*volume)))
            .cloned()
            .collect();
        Ok(Known::Known(seen))
    }

    pub(super) fn list_pods(&self, world: &mut World, uid: &NodeUid) -> Called<Arc<[Pod]>> {
        self.call(world, Call::Read, |world, _| Ok(world.work.list(uid)))
    }

    /// Writes a request over the version that it was read at; who must hear of it does.
    pub(super) fn write(&self, world: &mut World, next: Request) -> Called<Request> {
        let before = world.store.requests.get(&next.uid).map(|old| old.progress.alerts.clone());
        let was = world.store.requests.get(&next.uid).map(|old| old.progress.state);
        let call = match next.progress.state {
            state if was == Some(state) => Call::Write("write record"),
            state => Call::Step(was, state),
        };
        let written = self.call(world, call, |world, author| {
            let stored = world.store.replace(next)?;
            world.record(author, What::Wrote(Box::new(stored.clone())));
            Ok(stored)
        })?;
        let Ok(stored) = written else { return Ok(written) };
        self.audit(world, &stored);
        let is_told = before.filter(|_| !world.build.has(Flaw::TellsAgain));
        let before = is_told.unwrap_or_default();
        for alert in stored.progress.alerts.difference(&before) {
            let notified = What::Notified {
                node: stored.uid.clone(),
                alert: *alert,
                state: stored.progress.state,
                version: stored.version.clone(),
            };
            world.record(self.author(world.now), notified);
        }
        Ok(Ok(stored))
    }

    /// Reads a request again that somebody else wrote, or that may be written.
    pub(super) fn reread(&mut self, world: &mut World, uid: &NodeUid) -> Result<(), Died> {
        let read =
            self.call(world, Call::Read, |world, _| Ok(world.store.requests.get(uid).cloned()))?;
        match read {
            Ok(Some(request)) => {
                self.view.fleet.requests.insert(uid.clone(), request);
            }
            Ok(None) => {
                self.view.fleet.requests.remove(uid);
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Brings the audit up to date with what is stored: what was written last may be missing.
    pub(super) fn audit_all(&self, world: &mut World) {
        let stored: Vec<Request> = world.store.requests.values().cloned().collect();
        for request in stored {
            self.audit(world, &request);
        }
    }

    /// Writes into the audit what plans ask it for. Writing it twice changes nothing.
    pub(super) fn audit(&self, world: &mut World, request: &Request) {
        let progress = &request.progress;
        let (uid, pool) = (&request.uid, &progress.placement.pool);
        let now = self.clock(world.now);
        let past = &mut world.kept.past;
        let mut changed = false;
        if let Some(boot) = &progress.boot {
            let last = LastReboot {
                at: boot.seen_at,
                digest: request.wish.digest,
                occurrence: request.wish.since,
            };
            if past.reboots.get(uid) != Some(&last) {
                past.reboots.insert(uid.clone(), last);
                changed = true;
            }
        }
        // A grant that was used counts like the boot that should follow: nobody gives another one for
        // the same reasons, even if the record is taken away.
        let used = progress.grant.as_ref().filter(|grant| grant.answer == Some(Answer::Executing));
        if let Some(at) = used.filter(|_| progress.boot.is_none()).and_then(|it| it.answered_at) {
            let (digest, occurrence) = (request.wish.digest, request.wish.since);
            let last = LastReboot { at, digest, occurrence };
            if past.reboots.get(uid) != Some(&last) {
                past.reboots.insert(uid.clone(), last);
                changed = true;
            }
        }
        for failure in past.untold(request, now) {
            past.fail(failure);
            changed = true;
        }
        if progress.state == State::Done {
            let (at, node) = (progress.since, uid.clone());
            let done = past.done.entry(pool.clone()).or_default();
            if !done.iter().any(|it| it.node == *uid && it.at == at) {
                let secs = |from: Option<Moment>, to: Option<Moment>| {
                    let secs = from.zip(to).map_or(0, |(from, to)| to.since(from));
                    u32::try_from(secs).unwrap_or(0)
                };
                let granted = progress.grant.as_ref().map(|it| it.at);
                let booted = progress.boot.as_ref().map(|it| it.seen_at);
                let drain_secs = secs(progress.drain.began, progress.drain.ended);
                done.push(Finished { node, at, drain_secs, reboot_secs: secs(granted, booted) });
                changed = true;
            }
        }
        if changed {
            world.kept.past_version = world.kept.past_version.saturating_add(1);
        }
    }
}
