//! What people want of the coordinator through the API: written into the request, as `kubectl` would,
//! so that there is one place where wishes are kept. What becomes of them is decided by the steps.
//! What is wanted of a pool has no request: it goes into the audit, like what failed there.

use std::collections::BTreeSet;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::plan::failures_of;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_plan::request::Intent;
use palisade_plan::request::Reason;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::request::Wish;
use palisade_plan::step::REQUESTED;
use palisade_plan::step::requested;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::bound::clean_text;
use palisade_report::canonical;
use serde_json::Value;
use serde_json::json;
use tokio::sync::oneshot;

use super::coordinator::Coordinator;
use super::past::History;
use super::past::Record;
use super::tell::recorded_about;
use crate::audit::Happening;
use crate::chain::Chain;
use crate::engine::Engine;
use crate::planned::Declined;
use crate::planned::Errand;
use crate::planned::NodeErrand;
use crate::planned::PoolErrand;
use crate::planned::Wanted;

impl Coordinator {
    /// Does what somebody wants, and answers.
    pub(super) async fn run_errand(&mut self, errand: Errand, fleet: &mut Fleet, epoch: u64) {
        let errand = match errand {
            Errand::Node(errand) => errand,
            Errand::Pool(PoolErrand { pool, wish, reply }) => {
                let outcome = self.release_pool(&pool, fleet).await;
                answer(&self.engine, PoolErrand::told(&wish, &outcome), reply, outcome);
                return;
            }
        };
        let NodeErrand { node, wanted, by, wish, reply } = errand;
        let outcome = match fleet.nodes.values().find(|it| it.name == node) {
            Some(node) => self.do_wanted(node, wanted, &clean_text(&by), fleet, epoch).await,
            None => Err(Declined::NoNode),
        };
        answer(&self.engine, NodeErrand::told(&wish, &outcome), reply, outcome);
    }

    /// Forgives what has failed in a pool until now, whether its nodes were released or not: those keep
    /// their places until they are. To repeat it changes nothing.
    async fn release_pool(
        &mut self,
        pool: &str,
        fleet: &mut Fleet,
    ) -> Result<BTreeSet<String>, Declined> {
        let Some(history) = &mut self.history else { return Err(Declined::NotNow) };
        let (policy, now) = (self.policy.policy(), self.clock.now());
        forgive(pool, &self.engine, history, policy, fleet, now).await
    }

    async fn do_wanted(
        &self,
        node: &Node,
        wanted: Wanted,
        by: &str,
        fleet: &Fleet,
        epoch: u64,
    ) -> Result<State, Declined> {
        let now = self.clock.now();
        let request = fleet.requests.get(&node.uid);
        match wanted {
            Wanted::Reboot { note, must_by } => match request {
                Some(request) if request.progress.state.is_terminal() => {
                    Err(Declined::WrongState(request.progress.state))
                }
                Some(request) => Ok(request.progress.state),
                None => {
                    let wish = asked(note, must_by, by, now);
                    Ok(self.make(node, wish, epoch, now).await?.progress.state)
                }
            },
            Wanted::Approve { digest, until } => {
                let made;
                let request = match (request, wish_of(node, by)) {
                    (Some(request), _) => request,
                    (None, Some(wish)) => {
                        made = self.make(node, wish, epoch, now).await?;
                        &made
                    }
                    (None, None) => return Err(Declined::NoRequest),
                };
                if digest.is_some_and(|digest| digest != request.wish.digest) {
                    return Err(Declined::OtherReasons);
                }
                let digest = format!("sha256:{}", request.wish.digest);
                let approval = json!({ "by": by, "at": now.to_string(),
                    "until": until.to_string(), "digest": digest });
                self.amend(request, json!({ "approval": approval })).await
            }
            Wanted::Cancel => {
                let request = request.ok_or(Declined::NoRequest)?;
                if !request.progress.state.may_cancel() {
                    return Err(Declined::WrongState(request.progress.state));
                }
                self.amend(request, json!({ "intent": "Cancel" })).await
            }
            Wanted::Release => {
                let request = request.ok_or(Declined::NoRequest)?;
                let state = request.progress.state;
                if !may_release(state) {
                    return Err(Declined::WrongState(state));
                }
                let at = request.release_said(now).to_string();
                let release = json!({ "by": by, "at": at, "reason": "by the API" });
                self.amend(request, json!({ "release": release })).await
            }
        }
    }

    async fn make(
        &self,
        node: &Node,
        wish: Wish,
        epoch: u64,
        now: Moment,
    ) -> Result<Request, Declined> {
        let request = requested(node.name.clone(), node.uid.clone(), wish, epoch, now);
        let made = self.requests.create(&request).await;
        let made = made.map_err(|error| Declined::Failed(Chain(&error).to_string()))?;
        self.book.wrote(made.clone());
        Ok(made)
    }

    async fn amend(&self, request: &Request, spec: Value) -> Result<State, Declined> {
        let written = self.requests.amend(request, spec).await;
        let written = written.map_err(|error| Declined::Failed(Chain(&error).to_string()))?;
        let state = written.progress.state;
        self.book.wrote(written);
        Ok(state)
    }
}

/// Tells whoever asked what came of a wish, and the audit, which has the wish itself and each step of the
/// request already.
pub(super) fn answer<T>(
    engine: &Engine,
    told: Happening,
    reply: oneshot::Sender<Result<T, Declined>>,
    outcome: Result<T, Declined>,
) {
    if let Err(refusal) = engine.audit(told) {
        tracing::warn!(cause = %refusal, "the outcome of a wish is not in the audit");
    }
    // Whoever asked may have gone; what was done stays done.
    drop(reply.send(outcome));
}

/// Tells whoever asked that nobody took it up. What waits when a term begins was asked of the term
/// before: what its askers looked at may be otherwise by now.
pub(super) fn decline(engine: &Engine, errand: Errand) {
    match errand {
        Errand::Pool(PoolErrand { wish, reply, .. }) => {
            let outcome = Err(Declined::NotNow);
            answer(engine, PoolErrand::told(&wish, &outcome), reply, outcome);
        }
        Errand::Node(NodeErrand { wish, reply, .. }) => {
            let outcome = Err(Declined::NotNow);
            answer(engine, NodeErrand::told(&wish, &outcome), reply, outcome);
        }
    }
}

/// Forgives what has failed in a pool until now, once that is in the audit for later terms. Returns the
/// nodes that had failed.
pub(super) async fn forgive(
    pool: &str,
    engine: &Engine,
    history: &mut History,
    policy: &Policy,
    fleet: &mut Fleet,
    now: Moment,
) -> Result<BTreeSet<String>, Declined> {
    let Some((record, nodes)) = forgiveness(pool, policy, fleet, now)? else {
        return Ok(BTreeSet::new());
    };
    if let Some(happening) = recorded_about(None, format!("pool {pool}"), &record) {
        let told = engine.audit_durably(happening).await;
        told.map_err(|refusal| Declined::Failed(refusal.to_string()))?;
    }
    tracing::info!(%pool, nodes = nodes.len(), "a person released a pool");
    history.add(record);
    fleet.past.released.clone_from(&history.past.released);
    Ok(nodes)
}

/// The word that forgives what has failed in a pool until now, and the names of the nodes that did, or
/// their UIDs if they are gone; `None` if nothing counts.
fn forgiveness(
    pool: &str,
    policy: &Policy,
    fleet: &Fleet,
    now: Moment,
) -> Result<Option<(Record, BTreeSet<String>)>, Declined> {
    if policy.pool(pool).is_none() {
        let known = policy.pools.iter().chain([&policy.unmatched]);
        let known: Vec<_> = known.map(|pool| pool.name.as_str()).collect();
        return Err(Declined::NoPool(known.join(", ")));
    }
    let failures = failures_of(pool, fleet, now);
    // One that comes after another release may be stamped a moment later than now.
    let Some(last) = failures.iter().map(|failure| failure.at).max() else { return Ok(None) };
    let record = Record::Released { pool: pool.to_owned(), at: last.max(now) };
    let name = |uid| fleet.nodes.get(uid).map(|node| node.name.to_string());
    let names = failures.iter().map(|it| name(&it.node).unwrap_or_else(|| it.node.to_string()));
    Ok(Some((record, names.collect())))
}

/// Whether there is something that a person could have looked at. The pool of a node that has got over
/// a failure may still wait for that word.
pub(super) const fn may_release(state: State) -> bool {
    !matches!(
        state,
        State::Claimed
            | State::Cordoning
            | State::Draining
            | State::Granted
            | State::Rebooting
            | State::RollingBack
    )
}

/// The wish of somebody who gives no reason that a detector could see.
pub(super) fn asked(note: Option<String>, must_by: Option<Moment>, by: &str, now: Moment) -> Wish {
    let subject = note.map_or_else(|| format!("asked for by {by}"), |note| clean_text(&note));
    let reason = Reason {
        source: REQUESTED.to_owned(),
        kind: "manual".to_owned(),
        subject: if subject.is_empty() { "asked for".to_owned() } else { subject },
        target: String::new(),
    };
    let reasons = [reason].into();
    let digest = Digest::of(&canonical::bytes(&reasons).unwrap_or_default());
    Wish {
        reasons,
        digest,
        since: now,
        requested_by: by.to_owned(),
        must_by,
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    }
}

/// The wish of a node that needs a reboot, with the moment by which its pool and its agent want it gone.
pub(super) fn wish_under(node: &Node, pool: &Pool, by: &str) -> Option<Wish> {
    let wish = wish_of(node, by)?;
    Some(Wish { must_by: Some(pool.must_by(wish.since, &node.agent)), ..wish })
}

/// The wish of a node that needs a reboot; `None` for one that does not, as far as known.
pub(super) fn wish_of(node: &Node, by: &str) -> Option<Wish> {
    let Need::Needed { reasons, digest, since } = &node.agent.need else { return None };
    Some(Wish {
        reasons: reasons.clone(),
        digest: *digest,
        since: *since,
        requested_by: by.to_owned(),
        must_by: None,
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Decision;
    use crate::audit::Kind;
    use crate::clock::SystemClock;
    use crate::engine::EngineSettings;
    use crate::judge::ProfileJudge;
    use crate::reboots::sample::fleet_of;
    use crate::store::AuditFilter;
    use crate::store::Store;
    use crate::testing::Scratch;

    #[test]
    fn a_wish_ends_by_the_policy_or_sooner_by_what_its_agent_tells_of() {
        let now = Moment::from_unix(1_800_000_000);
        let mut fleet = fleet_of(&["db-1"], now);
        let mut node = fleet.nodes.pop_first().unwrap().1;
        let pool = Pool { must_by_secs: 1_000, ..Pool::default() };
        assert_eq!(wish_under(&node, &pool, "anna"), None, "it needs none");
        let reasons = BTreeSet::new();
        node.agent.need = Need::Needed { reasons, digest: Digest::of(b"reasons"), since: now };
        let must_by = |node: &Node| wish_under(node, &pool, "anna").unwrap().must_by;
        assert_eq!(must_by(&node), Some(now.plus(1_000)));
        node.agent.due_by = Some(now.plus(400));
        assert_eq!(must_by(&node), Some(now.plus(400)));
    }

    #[tokio::test]
    async fn what_waits_when_a_term_begins_is_declined_and_the_audit_says_so() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0.join("palisade.db")).unwrap();
        let reader = store.reader().unwrap();
        let judge = std::sync::Arc::new(ProfileJudge::load(None, None).unwrap());
        let clock = std::sync::Arc::new(SystemClock::start());
        let (engine, thread) =
            Engine::start(store, EngineSettings::default(), judge, clock).unwrap();
        let (reply, outcome) = oneshot::channel();
        let wish =
            Box::new(Happening::own(Kind::Reboot, "node db-1", "a person wants it rebooted"));
        let wanted = Wanted::Reboot { note: None, must_by: None };
        let (node, by) = ("db-1".parse().unwrap(), "anna".to_owned());
        let late = NodeErrand { node, wanted, by, wish, reply };
        decline(&engine, Errand::Node(late));
        assert_eq!(outcome.await.unwrap(), Err(Declined::NotNow));
        engine.stop();
        thread.join();
        let filter = AuditFilter { kind: Some(Kind::Reboot), ..AuditFilter::default() };
        let rows = reader.audit(filter, None, 10).await.unwrap().rows;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.entry.decision, Decision::Refused);
        assert!(row.entry.reason.starts_with("a person wants it rebooted: "), "{row:?}");
    }
}
