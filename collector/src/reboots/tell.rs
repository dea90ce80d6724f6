//! What others hear of a request: an entry in the audit for each transition, an Event on the node for
//! those that people look for. Told after the record is written; what bounds later reboots is read
//! from the requests too, so that a word that is lost loses nothing.

use std::collections::BTreeMap;

use palisade_plan::fleet::Failure;
use palisade_plan::fleet::Finished;
use palisade_plan::fleet::LastReboot;
use palisade_plan::request::Answer;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use super::past::Record;
use super::unplanned::Unplanned;
use super::untold::word;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::engine::Engine;
use crate::kube::Clients;
use crate::kube::node_event;
use crate::kube::node_event::NodeEvent;

/// Tells.
pub(super) struct Teller {
    engine: Engine,
    events: Option<node_event::Teller>,
}

impl Teller {
    /// Tells the audit of `engine`, and the cluster if asked to.
    pub(super) fn new(engine: Engine, clients: &Clients, identity: &str, events: bool) -> Self {
        let events = events.then(|| node_event::Teller::new(clients, identity));
        Self { engine, events }
    }

    /// Tells that a request went from one state to another. Returns what that adds to the history.
    pub(super) async fn transition(
        &self,
        before: &Request,
        after: &Request,
        now: Moment,
    ) -> Vec<Record> {
        let (from, to) = (before.progress.state, after.progress.state);
        if from == to {
            return Vec::new();
        }
        log(from, after);
        self.step(from, after);
        self.event(after, now).await;
        let mut records: Vec<Record> = record(after, now).into_iter().collect();
        records.extend(released(before, after, now));
        for record in &records {
            self.keep(after, record);
        }
        records
    }

    /// Puts into the audit that a request came from this state to where it is.
    pub(super) fn step(&self, from: State, after: &Request) {
        self.note(stepped(from, after));
    }

    /// Puts a record into the audit.
    pub(super) fn keep(&self, request: &Request, record: &Record) {
        if let Some(happening) = recorded(request, record) {
            self.note(happening);
        }
    }

    /// Puts a record into the audit that no request tells of.
    pub(super) fn keep_about(&self, node: Option<&NodeName>, object: String, record: &Record) {
        if let Some(happening) = recorded_about(node, object, record) {
            self.note(happening);
        }
    }

    fn note(&self, happening: Happening) {
        if let Err(refusal) = self.engine.audit(happening) {
            tracing::warn!(cause = %refusal, "a step of a reboot is not in the audit");
        }
    }

    /// Tells an Event about where a request is. Telling it again does nothing.
    pub(super) async fn event(&self, request: &Request, now: Moment) {
        let Some((headline, type_)) = headline(request.progress.state) else { return };
        let progress = &request.progress;
        let event = NodeEvent {
            node: &request.node,
            uid: &request.uid,
            action: ACTION,
            reason: headline,
            type_,
            note: &reason(request),
            turn: &format!("{} {:?} {}", request.id, progress.state, progress.since),
        };
        self.send(&event, now).await;
    }

    /// Tells of a boot that nobody here asked for.
    pub(super) async fn unplanned(&self, boot: &Unplanned, now: Moment) {
        let Unplanned { node, uid, from, to } = boot;
        self.note(unasked(boot));
        let event = NodeEvent {
            node,
            uid,
            action: ACTION,
            reason: "UnplannedReboot",
            type_: "Warning",
            note: &format!("{UNASKED}: boot {from} ended, {to} runs"),
            turn: &to.to_string(),
        };
        self.send(&event, now).await;
    }

    async fn send(&self, event: &NodeEvent<'_>, now: Moment) {
        let Some(teller) = &self.events else { return };
        if let Err(error) = teller.tell(event, now).await {
            tracing::debug!(%error, "an Event could not be told");
        }
    }
}

impl Coordinator {
    /// Puts failures into the audit that requests tell of and the audit does not: the answer to the
    /// write may have been lost, or whoever wrote. They bound what starts, as long as nobody releases.
    pub(super) fn tell_untold(&mut self, requests: &BTreeMap<NodeUid, Request>) {
        let now = self.clock.now();
        let Some(history) = &mut self.history else { return };
        for request in requests.values() {
            for record in history.untold(request, now) {
                self.teller.keep(request, &record);
                history.add(record);
            }
        }
    }
}

/// What Events of reboots say was done.
const ACTION: &str = "Reboot";

/// A boot that nobody here asked for, in words.
pub(crate) const UNASKED: &str = "it rebooted without a grant";

/// Says in the log that a request came from this state to where it is.
pub(super) fn log(from: State, after: &Request) {
    let (to, why) = (after.progress.state, reason(after));
    tracing::info!(node = %after.node, ?from, ?to, %why, "a reboot goes on");
}

/// The entry of the audit that a request came from this state to where it is.
pub(super) fn stepped(from: State, after: &Request) -> Happening {
    let object = format!("rebootrequest {} of node {}", after.uid, after.node);
    Happening::own(Kind::Reboot, object, reason(after))
        .about(after.node.clone())
        .changing(word(from), word(after.progress.state))
}

/// The entry of the audit that holds a record; `None` for one that has no text, which none is.
pub(super) fn recorded(request: &Request, record: &Record) -> Option<Happening> {
    let object = format!("rebootrequest {} of node {}", request.uid, request.node);
    recorded_about(Some(&request.node), object, record)
}

/// The same for a record that no request tells of.
pub(super) fn recorded_about(
    node: Option<&NodeName>,
    object: String,
    record: &Record,
) -> Option<Happening> {
    let text = serde_json::to_string(record).ok()?;
    let happening = Happening::own(Kind::RebootRecord, object, "for later plans");
    Some(Happening { node: node.cloned(), after: Some(text), ..happening })
}

/// The entry of the audit about a boot that nobody here asked for; said in the log too.
pub(super) fn unasked(boot: &Unplanned) -> Happening {
    let Unplanned { node, uid: _, from, to } = boot;
    tracing::warn!(%node, %from, %to, "a node rebooted without a grant");
    Happening::own(Kind::Reboot, format!("node {node}"), UNASKED)
        .about(node.clone())
        .changing(from.to_string(), to.to_string())
}

/// Why a request is where it is, in a sentence.
fn reason(request: &Request) -> String {
    let progress = &request.progress;
    if let Some(fault) = &progress.failure {
        return fault.message.clone();
    }
    match progress.blockers.first() {
        Some(blocker) => format!("{}: {}", blocker.gate, blocker.value),
        None => {
            let subjects: Vec<_> =
                request.wish.reasons.iter().take(3).map(|it| it.subject.as_str()).collect();
            format!("reboot for {}", subjects.join(", "))
        }
    }
}

/// That a person let a failed node go: that is the word that its pool waits for too.
pub(super) fn released(before: &Request, after: &Request, now: Moment) -> Option<Record> {
    let failed = matches!(before.progress.state, State::Quarantined | State::NotReturned);
    let let_go = failed && after.progress.state == State::RollingBack;
    let pool = || before.progress.placement.pool.clone();
    let_go.then(|| Record::Released { pool: pool(), at: now })
}

/// The reboot of a request as far as it is known: its boot, or that the node said that it begins.
pub(super) fn rebooted(request: &Request) -> Option<LastReboot> {
    let Request { wish, progress, .. } = request;
    let began = progress.grant.as_ref().filter(|it| it.answer == Some(Answer::Executing));
    let began_at = began.and_then(|it| it.answered_at);
    let at = progress.boot.as_ref().map(|boot| boot.seen_at).or(began_at)?;
    Some(LastReboot { at, digest: wish.digest, occurrence: wish.since })
}

/// What a state adds to the history.
pub(super) fn record(request: &Request, now: Moment) -> Option<Record> {
    let Request { uid, progress, .. } = request;
    let pool = progress.placement.pool.clone();
    let secs = |from: Option<Moment>, to: Option<Moment>| {
        let secs = from.zip(to).map_or(0, |(from, to)| to.since(from));
        u32::try_from(secs).unwrap_or(0)
    };
    match progress.state {
        // That it begins counts: what becomes of it may never be heard.
        State::Rebooting | State::Booted => {
            rebooted(request).map(|last| Record::Booted { node: uid.clone(), last })
        }
        State::Done => Some(Record::Done {
            pool,
            finished: Finished {
                node: uid.clone(),
                at: now,
                drain_secs: secs(progress.drain.began, progress.drain.ended),
                reboot_secs: secs(
                    progress.grant.as_ref().map(|it| it.at),
                    progress.boot.as_ref().map(|it| it.seen_at),
                ),
            },
        }),
        State::Quarantined | State::NotReturned => {
            let what = progress.failure.as_ref().map(|it| format!("{:?}", it.kind));
            let what = what.unwrap_or_else(|| format!("{:?}", progress.state));
            let (node, entered) = (uid.clone(), Some(progress.since));
            Some(Record::Failed(Failure { at: now, pool, node, what, entered }))
        }
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Claimed
        | State::Cordoning
        | State::Draining
        | State::Granted
        | State::Verifying
        | State::Uncordoning
        | State::RollingBack
        | State::Backoff
        | State::NodeGone
        | State::Cancelled => None,
    }
}

/// Reason and type of the Event about a state; `None` where nobody waits for one.
const fn headline(state: State) -> Option<(&'static str, &'static str)> {
    match state {
        State::Cordoning => Some(("RebootCordon", "Normal")),
        State::Draining => Some(("RebootDrain", "Normal")),
        State::Granted => Some(("RebootGranted", "Normal")),
        State::Booted => Some(("RebootBooted", "Normal")),
        State::Done => Some(("RebootDone", "Normal")),
        State::RollingBack => Some(("RebootRollBack", "Warning")),
        State::Quarantined => Some(("RebootQuarantined", "Warning")),
        State::NotReturned => Some(("RebootNotReturned", "Warning")),
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Claimed
        | State::Rebooting
        | State::Verifying
        | State::Uncordoning
        | State::Backoff
        | State::NodeGone
        | State::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use palisade_plan::request::GrantRecord;
    use palisade_plan::step;
    use palisade_report::Digest;
    use palisade_report::grant::GrantId;

    use super::*;
    use crate::reboots::errand;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn request(state: State, answer: Option<Answer>) -> Request {
        let wish = errand::asked(None, None, "anna", NOW);
        let (node, uid) = ("worker-1".parse().unwrap(), "u-1".parse().unwrap());
        let mut request = step::requested(node, uid, wish, 1, NOW);
        request.progress.state = state;
        request.progress.placement.pool = "workers".to_owned();
        request.progress.grant = Some(GrantRecord {
            id: GrantId::from_bytes([1; 16]),
            boot: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
            report: Digest::of(b"report"),
            expected_kernel: None,
            at: NOW,
            void_after: NOW.plus(100),
            answered_at: answer.is_some().then(|| NOW.plus(5)),
            answer,
        });
        request
    }

    #[test]
    fn a_reboot_counts_from_the_word_that_it_begins() {
        let begun = request(State::Rebooting, Some(Answer::Executing));
        assert_eq!(rebooted(&begun).unwrap().at, NOW.plus(5));
        assert!(matches!(record(&begun, NOW.plus(9)), Some(Record::Booted { .. })));
        let refused = Answer::Refused("another report".to_owned());
        for answer in [None, Some(refused)] {
            assert_eq!(record(&request(State::Rebooting, answer), NOW.plus(9)), None);
        }
    }

    #[test]
    fn to_release_a_failed_node_forgives_its_pool() {
        let at = NOW.plus(50);
        let after = request(State::RollingBack, None);
        for state in [State::Quarantined, State::NotReturned] {
            let forgiven = released(&request(state, None), &after, at);
            assert_eq!(forgiven, Some(Record::Released { pool: "workers".to_owned(), at }));
        }
        assert_eq!(released(&request(State::Draining, None), &after, at), None);
        let gone = request(State::NodeGone, None);
        assert_eq!(released(&request(State::Quarantined, None), &gone, at), None);
    }
}
