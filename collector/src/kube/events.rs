//! Events (`events.k8s.io/v1`) about nodes whose conditions turned. What an Event says and when there
//! is one is decided in [`event`], which is pure.
//!
//! An Event is told on a turn between known statuses only: the first sight of a node is no turn,
//! and neither is anything that cannot be told. Its name follows from the turn, so telling the same
//! one twice is refused by the API server. Beyond the budget Events are dropped and counted: they
//! end after an hour anyway and are never the only record.

use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::conditions::MANAGER;
use super::conditions::outlet::Outlet;
use super::conditions::wanted::Due;
use super::conditions::wanted::Kind;
use super::conditions::wanted::Status;
use super::conditions::wanted::Transition;
use super::fence::NotLeader;
use crate::figures::Figures;
use crate::figures::Output;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_NODES;
use crate::snapshot::Node;

/// Where Events of objects without a namespace live.
const NAMESPACE: &str = "default";

/// Bytes of the name of a node within the name of an Event, which may have 253.
const MAX_NAME: usize = 200;

/// Bytes that `reportingInstance` may have, by the API's own validation.
const MAX_INSTANCE: usize = 128;

/// Events of the whole fleet over time, and at once.
const FLEET_BURST: u32 = 50;
const FLEET_GAIN: Duration = Duration::from_secs(1);

/// Events of one node: a reboot turns three conditions at most, back and forth.
const NODE_BURST: u32 = 6;
const NODE_GAIN: Duration = Duration::from_secs(300);

/// Tells Events.
pub struct Events {
    api: Api<Event>,
    identity: String,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Events {
    /// Events told by the collector `identity`.
    #[must_use]
    pub fn new(clients: &Clients, identity: &str) -> Self {
        Self {
            api: Api::namespaced(clients.acting.clone(), NAMESPACE),
            identity: identity.chars().take(MAX_INSTANCE).collect(),
            fleet: Buckets::new(FLEET_BURST, FLEET_GAIN, 1),
            each: Buckets::new(NODE_BURST, NODE_GAIN, MAX_NODES),
        }
    }

    /// Tells of what is due, if it is a turn. One that cannot be told now is not told later.
    ///
    /// # Errors
    /// [`NotLeader`]; telling again does no harm.
    pub async fn tell(
        &self,
        node: &Node,
        uid: &NodeUid,
        due: &Due,
        now: Moment,
        outlet: &mut Outlet,
        figures: &Figures,
    ) -> Result<(), NotLeader> {
        let Some(event) = event(&node.name, uid, due, &self.identity, now) else { return Ok(()) };
        let at = Instant::now();
        let budget = || self.each.take(&node.name, at).and_then(|()| self.fleet.take(&(), at));
        if !outlet.is_open(at) || budget().is_err() {
            figures.count_output(Output::EventDropped);
            return Ok(());
        }
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        match call(CALL_TIMEOUT, self.api.create(&parameters, &event)).await {
            Ok(_) => {
                outlet.went();
                figures.count_output(Output::EventWritten);
            }
            // It was told before: by us, before a crash or an answer that was lost.
            Err(error) if error.is(409) => {}
            // No Event is worth holding a condition up, unless we may not act at all.
            Err(CallError::NotLeader) => return Err(NotLeader),
            Err(error) => {
                outlet.failed(&error, at);
                figures.count_output(Output::Failed);
            }
        }
        Ok(())
    }
}

/// The Event about a condition that turned; `None` if it is no turn.
#[must_use]
pub fn event(
    name: &NodeName,
    uid: &NodeUid,
    due: &Due,
    identity: &str,
    now: Moment,
) -> Option<Event> {
    let Transition { from, from_since } = due.transition?;
    let (from, wanted) = (from?, &due.wanted);
    let reason = reason(wanted.kind, from, wanted.status)?;
    let since = from_since.map_or(0, Moment::unix);
    let turn = format!("{uid} {} {from} {since} {}", wanted.kind.as_str(), wanted.status);
    let short = name.as_str().get(..MAX_NAME).unwrap_or(name.as_str());
    let short = short.trim_end_matches(['.', '-']);
    let object = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_string()),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    };
    Some(Event {
        action: Some("Judged".to_owned()),
        event_time: Some(MicroTime(Timestamp::from_second(now.unix()).unwrap_or_default())),
        metadata: ObjectMeta {
            name: Some(format!("{short}.{}", Digest::of(turn.as_bytes()).short())),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        note: Some(wanted.message.clone()),
        reason: Some(reason.to_owned()),
        regarding: Some(object),
        reporting_controller: Some(format!("palisade.dev/{MANAGER}")),
        reporting_instance: Some(identity.to_owned()),
        type_: Some(if wanted.status == Status::True { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    })
}

/// A word for a turn that people want to know of. The ones about certificates are those that k3s
/// uses.
const fn reason(kind: Kind, from: Status, to: Status) -> Option<&'static str> {
    match (kind, from, to) {
        (Kind::RebootRequired, _, Status::True) => Some("RebootRequired"),
        (Kind::RebootRequired, Status::True, Status::False) => Some("RebootNoLongerRequired"),
        (Kind::CertificateExpiring, _, Status::True) => Some("CertificateExpirationWarning"),
        (Kind::CertificateExpiring, Status::True, Status::False) => Some("CertificateExpirationOK"),
        (Kind::HardeningDrift, _, Status::True) => Some("HardeningDrift"),
        (Kind::HardeningDrift, Status::True, Status::False) => Some("HardeningRestored"),
        (_, Status::False | Status::Unknown, Status::False) | (_, _, Status::Unknown) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::wanted::Wanted;
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn due(kind: Kind, from: Option<Status>, to: Status) -> Due {
        let wanted = Wanted { kind, status: to, reason: "Because", message: "so".to_owned() };
        let transition = Some(Transition { from, from_since: Some(NOW) });
        Due { wanted, since: NOW.plus(60), transition }
    }

    fn told(due: &Due) -> Option<Event> {
        let uid = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap();
        event(&"worker-7".parse().unwrap(), &uid, due, "one", NOW.plus(60))
    }

    #[test]
    fn only_turns_between_known_statuses_are_told() {
        for kind in Kind::ALL {
            assert!(told(&due(kind, None, Status::True)).is_none(), "the first sight is no turn");
            assert!(told(&due(kind, Some(Status::True), Status::Unknown)).is_none());
            assert!(told(&due(kind, Some(Status::Unknown), Status::False)).is_none());
            let words = Due { transition: None, ..due(kind, Some(Status::True), Status::True) };
            assert!(told(&words).is_none(), "other words are no turn");
            for from in [Status::False, Status::Unknown] {
                let warning = told(&due(kind, Some(from), Status::True)).unwrap();
                assert_eq!(warning.type_.as_deref(), Some("Warning"));
            }
            let fine = told(&due(kind, Some(Status::True), Status::False)).unwrap();
            assert_eq!(fine.type_.as_deref(), Some("Normal"));
            assert_ne!(
                fine.reason,
                told(&due(kind, Some(Status::False), Status::True)).unwrap().reason
            );
        }
    }

    #[test]
    fn one_turn_has_one_name_and_another_turn_has_another() {
        let name = |due: &Due| told(due).unwrap().metadata.name.unwrap();
        let first = due(Kind::RebootRequired, Some(Status::False), Status::True);
        let again = Due { since: NOW.plus(3600), ..first.clone() };
        assert_eq!(name(&first), name(&again), "after a crash the same turn is told again");
        let later = Transition { from: Some(Status::False), from_since: Some(NOW.plus(1)) };
        assert_ne!(name(&first), name(&Due { transition: Some(later), ..first.clone() }));
        let other = due(Kind::HardeningDrift, Some(Status::False), Status::True);
        assert_ne!(name(&first), name(&other));
        assert!(name(&first).starts_with("worker-7."), "{}", name(&first));
    }
}
