//! What people want of this coordinator through the API: written into the request, whose steps decide
//! what becomes of it. The rules are those of a cluster.

use std::collections::BTreeSet;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Node;
use palisade_plan::request::Approval;
use palisade_plan::request::Intent;
use palisade_plan::request::Release;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::step::requested;
use palisade_report::Moment;
use palisade_report::bound::clean_text;

use super::coordinator::Coordinator;
use super::register::Entry;
use crate::planned::Declined;
use crate::planned::Errand;
use crate::planned::NodeErrand;
use crate::planned::PoolErrand;
use crate::planned::Wanted;
use crate::reboots::errand::answer;
use crate::reboots::errand::asked;
use crate::reboots::errand::forgive;
use crate::reboots::errand::may_release;
use crate::reboots::errand::wish_of;
use crate::reboots::seen::random_id;

impl Coordinator {
    /// Does what somebody wants, and answers.
    pub(super) async fn run_errand(&mut self, errand: Errand, fleet: &mut Fleet) {
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
            Some(node) => {
                let (request, now) = (fleet.requests.get(&node.uid), self.clock.now());
                amended(node, request, wanted, &clean_text(&by), self.epoch, now)
            }
            None => Err(Declined::NoNode),
        };
        let outcome = match outcome {
            Ok(Some(request)) => self.keep_wish(request, fleet).await,
            Ok(None) => {
                let request = fleet.requests.values().find(|it| it.node == node);
                request.map(|it| it.progress.state).ok_or(Declined::NoRequest)
            }
            Err(declined) => Err(declined),
        };
        answer(&self.engine, NodeErrand::told(&wish, &outcome), reply, outcome);
    }

    /// Forgives what has failed in a pool until now, as in a cluster.
    async fn release_pool(
        &mut self,
        pool: &str,
        fleet: &mut Fleet,
    ) -> Result<BTreeSet<String>, Declined> {
        let Some(history) = &mut self.history else { return Err(Declined::NotNow) };
        let (policy, now) = (self.policy.policy(), self.clock.now());
        forgive(pool, &self.engine, history, policy, fleet, now).await
    }

    async fn keep_wish(&mut self, request: Request, fleet: &mut Fleet) -> Result<State, Declined> {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.clone());
        let written = self.register.put(Entry { request, trace }, Vec::new()).await;
        let written = written.map_err(|refusal| Declined::Failed(refusal.to_string()))?;
        let state = written.progress.state;
        fleet.requests.insert(written.uid.clone(), written);
        Ok(state)
    }
}

/// A request for a node, which nobody has written yet.
pub(super) fn fresh(
    node: &Node,
    wish: palisade_plan::request::Wish,
    epoch: u64,
    now: Moment,
) -> Request {
    let request = requested(node.name.clone(), node.uid.clone(), wish, epoch, now);
    Request { id: random_id().to_string(), ..request }
}

/// The request as somebody wants it; `None` if it is so already.
fn amended(
    node: &Node,
    request: Option<&Request>,
    wanted: Wanted,
    by: &str,
    epoch: u64,
    now: Moment,
) -> Result<Option<Request>, Declined> {
    let state = request.map(|it| it.progress.state);
    match wanted {
        Wanted::Reboot { note, must_by } => match state {
            Some(state) if state.is_terminal() => Err(Declined::WrongState(state)),
            Some(_) => Ok(None),
            None => Ok(Some(fresh(node, asked(note, must_by, by, now), epoch, now))),
        },
        Wanted::Approve { digest, until } => {
            let made = || wish_of(node, by).map(|wish| fresh(node, wish, epoch, now));
            let mut request = request.cloned().or_else(made).ok_or(Declined::NoRequest)?;
            if digest.is_some_and(|digest| digest != request.wish.digest) {
                return Err(Declined::OtherReasons);
            }
            let digest = request.wish.digest;
            request.wish.approval = Some(Approval { by: by.to_owned(), at: now, digest, until });
            Ok(Some(request))
        }
        Wanted::Cancel => {
            let mut request = request.cloned().ok_or(Declined::NoRequest)?;
            if !request.progress.state.may_cancel() {
                return Err(Declined::WrongState(request.progress.state));
            }
            request.wish.intent = Intent::Cancel;
            Ok(Some(request))
        }
        Wanted::Release => {
            let mut request = request.cloned().ok_or(Declined::NoRequest)?;
            if !may_release(request.progress.state) {
                return Err(Declined::WrongState(request.progress.state));
            }
            let reason = "by the API".to_owned();
            let at = request.release_said(now);
            request.wish.release = Some(Release { by: by.to_owned(), reason, at });
            Ok(Some(request))
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_plan::fleet::Agent;
    use palisade_plan::fleet::Cordon;
    use palisade_plan::fleet::Known;
    use palisade_plan::fleet::Need;
    use palisade_plan::fleet::Ready;
    use palisade_plan::fleet::Role;
    use palisade_report::Digest;

    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn node(need: Need) -> Node {
        let unknown = || Known::Unknown("not asked".to_owned());
        Node {
            name: "db-1".parse().unwrap(),
            uid: "db-1".parse().unwrap(),
            labels: std::sync::Arc::default(),
            role: Role::Worker,
            ready: Ready::Unknown,
            cordon: Cordon::Schedulable,
            taints: BTreeSet::new(),
            hold: None,
            agent: Agent {
                heard_at: Some(NOW),
                boot: None,
                kernel: None,
                next_kernel: None,
                need,
                stable_since: None,
                package_manager: unknown(),
                reboot_method: Known::Unknown("not asked".to_owned()),
                hold_file: unknown(),
                unsafe_to_reboot: Vec::new(),
                due_by: None,
                report: None,
            },
            blockers: Vec::new(),
            objections: Vec::new(),
        }
    }

    fn reboot() -> Wanted {
        Wanted::Reboot { note: None, must_by: None }
    }

    #[test]
    fn a_wish_makes_a_request_of_its_own_and_the_same_wish_no_second_one() {
        let node = node(Need::NotNeeded);
        let ask = |request, wanted| amended(&node, request, wanted, "anna", 7, NOW);
        let made = ask(None, reboot()).unwrap().unwrap();
        assert_eq!((made.wish.requested_by.as_str(), made.progress.epoch), ("anna", 7));
        assert_ne!(ask(None, reboot()).unwrap().unwrap().id, made.id);
        assert_eq!(ask(Some(&made), reboot()), Ok(None));
        let mut ended = made.clone();
        ended.progress.state = State::Done;
        assert_eq!(ask(Some(&ended), reboot()), Err(Declined::WrongState(State::Done)));
        assert_eq!(ask(None, Wanted::Cancel), Err(Declined::NoRequest));
        let cancelled = ask(Some(&made), Wanted::Cancel).unwrap().unwrap();
        assert_eq!(cancelled.wish.intent, Intent::Cancel);
        let mut away = made.clone();
        away.progress.state = State::Rebooting;
        for wanted in [Wanted::Cancel, Wanted::Release] {
            assert_eq!(ask(Some(&away), wanted), Err(Declined::WrongState(State::Rebooting)));
        }
        let mut failed = made.clone();
        failed.progress.state = State::Quarantined;
        let released = ask(Some(&failed), Wanted::Release).unwrap().unwrap();
        assert_eq!(released.wish.release.map(|it| it.at), Some(NOW));
    }

    #[test]
    fn only_reasons_that_were_seen_are_approved() {
        let digest = Digest::of(b"reasons");
        let needed = Need::Needed { reasons: BTreeSet::new(), digest, since: NOW };
        let until = NOW.plus(60);
        let approve = |node: &Node, digest| {
            amended(node, None, Wanted::Approve { digest, until }, "anna", 7, NOW)
        };
        let approved = approve(&node(needed.clone()), Some(digest)).unwrap().unwrap();
        assert_eq!(approved.wish.approval.map(|it| (it.digest, it.until)), Some((digest, until)));
        let other = Some(Digest::of(b"others"));
        assert_eq!(approve(&node(needed), other), Err(Declined::OtherReasons));
        assert_eq!(approve(&node(Need::NotNeeded), None), Err(Declined::NoRequest));
    }
}
