//! What survives a change of the store: the last reboot of each node, and whether it failed, in an
//! annotation of the node. The store decides; what a node object says on top of it only shuts gates.
//!
//! ```text
//! request ──uncordon, or its end──> annotation ──another collector leads──> gates, failures of a pool
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_plan::fleet;
use palisade_plan::fleet::Failure;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Past;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use super::past::Record;
use super::tell;
use crate::chain::Chain;
use crate::kube::CallError;
use crate::kube::cordon::CordonError;
use crate::kube::fence::NotLeader;
use crate::kube::nodes::LastReboot;
use crate::kube::nodes::last_reboot::Outcome;

impl LastReboot {
    /// As the planner takes it.
    pub(super) fn for_plans(&self) -> fleet::LastReboot {
        fleet::LastReboot { at: self.at, digest: self.digest, occurrence: self.occurrence }
    }
}

/// What the node is to say of the reboot of a request; `None` if it has not rebooted by it. `before` is
/// what the node says now, `are_gone` whether it has no reasons any more.
pub(super) fn reboot_of(
    request: &Request,
    before: Option<&LastReboot>,
    past: &Past,
    are_gone: bool,
    now: Moment,
) -> Option<LastReboot> {
    let fleet::LastReboot { at, digest, occurrence } = tell::rebooted(request)?;
    let Request { uid, id, progress, .. } = request;
    let failed = request.failed().filter(|entered| !request.has_released(entered, now));
    let failed = failed.map(|entered| entered.at).max();
    // One of an earlier reboot counts as long as nobody has forgiven it.
    let failed = failed.or_else(|| before?.failed_at);
    Some(LastReboot {
        at,
        digest,
        // Whoever led before may have had another clock.
        occurrence: occurrence.min(at),
        outcome: if are_gone || is_proved(progress.state) {
            Outcome::Done
        } else {
            Outcome::Released
        },
        failed_at: failed.filter(|at| !is_forgiven(past, uid, *at)),
        boot: progress.boot.as_ref().map(|boot| boot.boot.clone()),
        grant: progress.grant.as_ref().filter(|it| !it.is_presumed()).map(|it| it.id),
        request: id.clone(),
    })
}

/// Whether a request in this state has ended as it should.
const fn is_proved(state: State) -> bool {
    match state {
        State::Uncordoning | State::Done => true,
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Claimed
        | State::Cordoning
        | State::Draining
        | State::Granted
        | State::Rebooting
        | State::NotReturned
        | State::Booted
        | State::Verifying
        | State::Quarantined
        | State::RollingBack
        | State::Backoff
        | State::NodeGone
        | State::Cancelled => false,
    }
}

/// Whether a person has let the pool go since a node failed then, by the history.
fn is_forgiven(past: &Past, node: &NodeUid, entered: Moment) -> bool {
    let found = past.failures.iter().find(|it| it.node == *node && it.entered == Some(entered));
    found.is_some_and(|failure| {
        past.released.get(&failure.pool).is_some_and(|released| *released >= failure.at)
    })
}

/// What a node is to say of its last reboot instead: without a failure that is forgiven, and without
/// reasons that have gone.
fn without_what_is_over(
    last: &LastReboot,
    node: &NodeUid,
    past: &Past,
    are_gone: bool,
) -> LastReboot {
    LastReboot {
        failed_at: last.failed_at.filter(|at| !is_forgiven(past, node, *at)),
        outcome: if are_gone { Outcome::Done } else { last.outcome },
        ..last.clone()
    }
}

/// The failure that a node object tells and the history does not. It counts for the pool that the node
/// is in now, so that a node which lies speaks for no other one, and not from later than now, so that
/// whoever releases the pool has released it.
fn untold(
    last: &LastReboot,
    node: &NodeUid,
    pool: &str,
    past: &Past,
    now: Moment,
) -> Option<Failure> {
    let failed_at = last.failed_at?;
    let is_told = past.failures.iter().filter(|it| it.node == *node).any(|it| match it.entered {
        Some(entered) => entered == failed_at,
        None => it.at >= failed_at,
    });
    (!is_told).then(|| Failure {
        at: failed_at.min(now),
        pool: pool.to_owned(),
        node: node.clone(),
        what: "the node object says so".to_owned(),
        entered: Some(failed_at),
    })
}

impl Coordinator {
    /// What the node object says of its last reboot; `None` if it says nothing, or nothing readable.
    fn annotated(&self, name: &NodeName, uid: &NodeUid) -> Option<LastReboot> {
        let kept = self.directory.upkeep_of(name).filter(|kept| kept.uid == *uid)?;
        kept.last_reboot.known()?.clone()
    }

    /// What the node of a request is to say of its reboot, if it had one.
    pub(super) fn reboot_of(&self, request: &Request) -> Option<LastReboot> {
        let before = self.annotated(&request.node, &request.uid);
        let past = &self.history.as_ref()?.past;
        let are_gone = self.occurrences.are_gone(&request.uid);
        reboot_of(request, before.as_ref(), past, are_gone, self.clock.now())
    }

    /// Has the node of a request say that it rebooted, before the request goes; it may have been
    /// uncordoned by somebody else.
    ///
    /// # Errors
    /// In words, if the node says it not yet; [`NotLeader`].
    pub(super) async fn keep_in_mind(
        &self,
        request: &Request,
    ) -> Result<Result<(), String>, NotLeader> {
        let Some(last) = self.reboot_of(request) else { return Ok(Ok(())) };
        if self.annotated(&request.node, &request.uid).as_ref() == Some(&last) {
            return Ok(Ok(()));
        }
        match self.cordons.keep_in_mind(&request.node, &request.uid, &last).await {
            Ok(()) => Ok(Ok(())),
            Err(CordonError::Call(CallError::NotLeader)) => Err(NotLeader),
            Err(error) => Ok(Err(Chain(&error).to_string())),
        }
    }

    /// Takes failures into the history that only the node objects tell of: another collector saw them.
    /// Each node is asked once in a term; what happens in the term itself is known.
    pub(super) fn recall_failures(&mut self, fleet: &mut Fleet) {
        let now = self.clock.now();
        let policy = Arc::clone(self.policy.policy());
        self.recalled.retain(|uid| fleet.nodes.contains_key(uid));
        for (uid, node) in &fleet.nodes {
            if self.recalled.contains(uid) {
                continue;
            }
            let kept = self.directory.upkeep_of(&node.name).filter(|kept| kept.uid == *uid);
            let Some(Known::Known(last)) = kept.as_ref().map(|it| &it.last_reboot) else {
                continue;
            };
            let Some(history) = &mut self.history else { return };
            self.recalled.insert(uid.clone());
            let pool = &policy.pool_of(&node.labels).name;
            let failure = last.as_ref().and_then(|it| untold(it, uid, pool, &history.past, now));
            if let Some(failure) = failure {
                tracing::info!(node = %node.name, %pool, "another collector saw it fail");
                let record = Record::Failed(failure);
                self.teller.keep_about(Some(&node.name), format!("node {}", node.name), &record);
                history.add(record);
                fleet.past.failures.clone_from(&history.past.failures);
            }
        }
    }

    /// Takes out of a node object what is over: a failure that is forgiven, and reasons that outlived a
    /// reboot and have gone since. A collector with another store does not know that. One at a time, as
    /// nothing waits for it.
    pub(super) async fn forget_what_is_over(&mut self, fleet: &Fleet) -> Result<(), NotLeader> {
        let Some(history) = self.history.as_ref().filter(|_| self.is_fresh) else { return Ok(()) };
        let (past, now) = (&history.past, self.clock.now());
        // Only who failed can be forgiven, and those are few, as are those whose reasons outlive a reboot.
        let failed = past.failures.iter().map(|it| &it.node);
        let idle = failed.chain(self.occurrences.denied()).filter_map(|uid| {
            let (uid, node) = fleet.nodes.get_key_value(uid)?;
            (!fleet.requests.contains_key(uid)).then_some((uid, node))
        });
        let forgiven: BTreeMap<&NodeUid, (&Node, LastReboot)> = idle
            .filter_map(|(uid, node)| {
                let kept = self.directory.upkeep_of(&node.name).filter(|kept| kept.uid == *uid)?;
                let last = kept.last_reboot.known()?.as_ref()?;
                let next = without_what_is_over(last, uid, past, self.occurrences.are_gone(uid));
                (next != *last).then_some((uid, (node, next)))
            })
            .collect();
        self.forgetting.retain(|uid| forgiven.contains_key(uid));
        let next = self.forgetting.next(forgiven.keys().copied(), now);
        let Some((uid, (node, last))) = next.and_then(|uid| forgiven.get_key_value(uid)) else {
            return Ok(());
        };
        match self.cordons.keep_in_mind(&node.name, uid, last).await {
            Ok(()) => Ok(()),
            Err(CordonError::Call(CallError::NotLeader)) => Err(NotLeader),
            Err(error) => {
                // It is tried again, and shuts what a person has opened until then only where another
                // collector leads meanwhile.
                tracing::debug!(node = %node.name, cause = %Chain(&error), "not forgotten yet");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use palisade_plan::request::BootRecord;
    use palisade_plan::request::Entered;
    use palisade_plan::request::Release;
    use palisade_plan::step;

    use super::*;
    use crate::reboots::errand;
    use crate::reboots::past::History;
    use crate::reboots::sample::fleet_of;
    use crate::reboots::stand::Stand;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    /// Rebooted, came back late, and is about to be uncordoned.
    fn late() -> Request {
        let wish = errand::asked(None, None, "anna", NOW);
        let (node, uid) = ("worker-1".parse().unwrap(), "u-1".parse().unwrap());
        let mut request = step::requested(node, uid, wish, 1, NOW);
        request.id = "r-1".to_owned();
        let progress = &mut request.progress;
        progress.placement.pool = "workers".to_owned();
        progress.boot = Some(BootRecord {
            boot: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
            kernel: None,
            seen_at: NOW.plus(100),
        });
        progress.history = vec![
            Entered { state: State::NotReturned, at: NOW.plus(90), after_release: None },
            Entered { state: State::Uncordoning, at: NOW.plus(120), after_release: None },
        ];
        (progress.state, progress.since) = (State::Uncordoning, NOW.plus(120));
        request
    }

    #[test]
    fn who_has_not_rebooted_says_nothing_and_who_came_back_late_says_that_it_failed() {
        let past = Past::default();
        let mut request = late();
        let last = reboot_of(&request, None, &past, false, NOW.plus(130)).unwrap();
        assert_eq!((last.at, last.outcome), (NOW.plus(100), Outcome::Done));
        assert_eq!(last.failed_at, Some(NOW.plus(90)));
        request.progress.state = State::RollingBack;
        let (by, reason) = ("anna".to_owned(), "seen".to_owned());
        request.wish.release = Some(Release { by, reason, at: NOW.plus(125) });
        let released = reboot_of(&request, None, &past, false, NOW.plus(130)).unwrap();
        assert_eq!((released.outcome, released.failed_at), (Outcome::Released, None));
        // Its reasons have gone meanwhile: the same ones are new when they come back, whoever leads.
        let gone = reboot_of(&request, None, &past, true, NOW.plus(130)).unwrap();
        assert_eq!(gone, LastReboot { outcome: Outcome::Done, ..released.clone() });
        let over = |are_gone| without_what_is_over(&released, &request.uid, &past, are_gone);
        assert_eq!((over(true), over(false)), (gone, released.clone()));
        // A word from before the failure, though it bears a later time.
        let mut request_before = request.clone();
        request_before.progress.history[0].after_release = Some(NOW.plus(125));
        let kept = reboot_of(&request_before, None, &past, false, NOW.plus(130)).unwrap();
        assert_eq!(kept.failed_at, Some(NOW.plus(90)));
        // A failure of an earlier reboot that nobody has looked at is not written over.
        let before = LastReboot { failed_at: Some(NOW.plus(-5)), ..released };
        let kept = reboot_of(&request, Some(&before), &past, false, NOW.plus(130)).unwrap();
        assert_eq!(kept.failed_at, before.failed_at);
        (request.progress.boot, request.progress.grant) = (None, None);
        assert_eq!(reboot_of(&request, Some(&before), &past, false, NOW), None);
    }

    #[test]
    fn a_store_that_is_empty_learns_a_failure_once_and_the_word_of_the_pool_ends_it() {
        let request = late();
        let node = &request.uid;
        let mut history = History::default();
        let last = reboot_of(&request, None, &history.past, false, NOW.plus(130)).unwrap();
        let failure = untold(&last, node, "workers", &history.past, NOW.plus(900)).unwrap();
        assert_eq!((failure.at, &*failure.pool), (NOW.plus(90), "workers"));
        history.add(Record::Failed(failure));
        assert_eq!(untold(&last, node, "workers", &history.past, NOW.plus(901)), None);
        assert!(!is_forgiven(&history.past, node, NOW.plus(90)));
        history.add(Record::Released { pool: "workers".to_owned(), at: NOW.plus(902) });
        assert!(is_forgiven(&history.past, node, NOW.plus(90)));
        assert_eq!(untold(&last, node, "workers", &history.past, NOW.plus(903)), None);
        let again = reboot_of(&request, Some(&last), &history.past, false, NOW.plus(904)).unwrap();
        assert_eq!(again.failed_at, None, "taken out with the next patch");
        // The collector that saw it itself knows it already.
        let mut own = History::default();
        own.untold(&request, NOW).into_iter().for_each(|record| own.add(record));
        assert_eq!(untold(&last, node, "workers", &own.past, NOW.plus(900)), None);
    }

    #[test]
    fn a_failure_of_the_future_is_over_when_its_pool_is_released() {
        let last = reboot_of(&late(), None, &Past::default(), false, NOW.plus(130)).unwrap();
        let last = LastReboot { failed_at: Some(NOW.plus(1_000_000_000)), ..last };
        let node = late().uid;
        let failure = untold(&last, &node, "workers", &Past::default(), NOW).unwrap();
        assert_eq!(failure.at, NOW);
    }

    /// A node whose failure a person has forgiven, and which says it still.
    fn failed(name: &str) -> serde_json::Value {
        let last = reboot_of(&late(), None, &Past::default(), false, NOW.plus(130)).unwrap();
        serde_json::json!({ "metadata": {
            "name": name, "uid": name, "resourceVersion": "1",
            "annotations": { crate::kube::nodes::last_reboot::LAST_REBOOT:
                serde_json::to_string(&last).unwrap() },
        } })
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_cannot_be_told_that_it_is_forgiven_keeps_no_other_from_being_told() {
        let names = ["worker-1", "worker-2", "worker-3"];
        let nodes = names.iter().map(|it| failed(it)).collect();
        let mut stand = Stand::start(NOW.plus(1_000), nodes, Duration::ZERO);
        let fleet = fleet_of(&names, NOW);
        let mut history = History::default();
        // The third has not failed as far as the store knows, so that nobody has forgiven it.
        for node in ["worker-1", "worker-2"].map(|it| it.parse().unwrap()) {
            let (pool, what) = ("workers".to_owned(), "late".to_owned());
            let (at, entered) = (NOW.plus(90), Some(NOW.plus(90)));
            history.add(Record::Failed(Failure { at, pool, node, what, entered }));
        }
        history.add(Record::Released { pool: "workers".to_owned(), at: NOW.plus(902) });
        (stand.coordinator.history, stand.coordinator.is_fresh) = (Some(history), true);
        let one = |name| [(format!("GET /api/v1/nodes/{name}"), 1)].into();
        for expected in [one("worker-1"), one("worker-2"), BTreeMap::new()] {
            stand.coordinator.forget_what_is_over(&fleet).await.unwrap();
            assert_eq!(stand.asked(), expected);
        }
        tokio::time::advance(Duration::from_secs(120)).await;
        stand.coordinator.forget_what_is_over(&fleet).await.unwrap();
        assert_eq!(stand.asked(), one("worker-1"), "tried again");
    }
}
