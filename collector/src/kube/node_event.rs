//! An Event (`events.k8s.io/v1`) about a node: its shape, its bounds, and that telling the same one
//! twice tells it once. What is worth an Event is decided by those who tell it.

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
use palisade_report::bound::clean;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::conditions::MANAGER;

/// Where Events of objects without a namespace live.
const NAMESPACE: &str = "default";

/// Bytes of a note, by the API's own validation.
pub(crate) const MAX_NOTE: usize = 1024;

/// Bytes of a node's name within the name of an Event, which may have 253.
const MAX_NAME: usize = 200;

/// Bytes that `reportingInstance` may have, by the API's own validation.
const MAX_INSTANCE: usize = 128;

/// What an Event says, and about what.
#[derive(Clone, Debug)]
pub(crate) struct NodeEvent<'a> {
    /// The node.
    pub(crate) node: &'a NodeName,
    /// Which of those that had this name.
    pub(crate) uid: &'a NodeUid,
    /// What was done, in CamelCase.
    pub(crate) action: &'static str,
    /// Why, in CamelCase.
    pub(crate) reason: &'a str,
    /// `Normal` or `Warning`.
    pub(crate) type_: &'static str,
    /// In a sentence.
    pub(crate) note: &'a str,
    /// What happened only once: the Event's name follows from it, so that telling it twice is
    /// refused.
    pub(crate) turn: &'a str,
}

/// Whether an Event is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was told before: by us, before a crash or an answer that was lost.
    Before,
    /// It is.
    Now,
}

/// Who tells Events in the name of one collector.
pub(crate) struct Teller {
    api: Api<Event>,
    identity: String,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Teller {
    /// Events told by the collector `identity`.
    pub(crate) fn new(clients: &Clients, identity: &str) -> Self {
        Self {
            api: Api::namespaced(clients.acting.clone(), NAMESPACE),
            identity: identity.chars().take(MAX_INSTANCE).collect(),
        }
    }

    /// Tells one.
    ///
    /// # Errors
    /// [`CallError`]; telling again does no harm.
    pub(crate) async fn tell(&self, event: &NodeEvent<'_>, now: Moment) -> Result<Told, CallError> {
        let event = event.object(&self.identity, now);
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match call(CALL_TIMEOUT, self.api.create(&parameters, &event)).await {
            Ok(_) => Ok(Told::Now),
            Err(error) if error.is(409) => Ok(Told::Before),
            Err(error) => Err(error),
        }
    }
}

impl NodeEvent<'_> {
    /// Its name: that of the node, and a digest of the turn.
    pub(crate) fn name(&self) -> String {
        let node = self.node.as_str();
        let short = node.get(..MAX_NAME).unwrap_or(node).trim_end_matches(['.', '-']);
        format!("{short}.{}", Digest::of(self.turn.as_bytes()).short())
    }

    fn object(&self, identity: &str, now: Moment) -> Event {
        Event {
            action: Some(self.action.to_owned()),
            event_time: Some(MicroTime(Timestamp::from_second(now.unix()).unwrap_or_default())),
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            note: Some(clean(self.note.as_bytes(), MAX_NOTE)),
            reason: Some(self.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.node.to_string()),
                uid: Some(self.uid.to_string()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(format!("palisade.dev/{MANAGER}")),
            reporting_instance: Some(identity.to_owned()),
            type_: Some(self.type_.to_owned()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_within_the_bounds_of_the_api_whatever_it_says() {
        let long = "a".repeat(63);
        // Cut behind a dot.
        let node: NodeName = format!("{long}.{long}.{long}.aaaaaaa.example").parse().unwrap();
        let uid: NodeUid = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap();
        let note = "é\u{7}".repeat(1024);
        let event = NodeEvent {
            node: &node,
            uid: &uid,
            action: "Alert",
            reason: "PalisadeRebootRequired",
            type_: "Warning",
            note: &note,
            turn: "one",
        };
        let object = event.object("collector-1", Moment::from_unix(1_800_000_000));
        let name = object.metadata.name.unwrap();
        assert!(name.len() <= 253 && name.starts_with("aaa") && !name.contains(".."), "{name}");
        let note = object.note.unwrap();
        assert!(note.len() <= MAX_NOTE && !note.contains('\u{7}'), "{note}");
        let regarding = object.regarding.unwrap();
        assert_eq!(regarding.uid.as_deref(), Some("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11"));
        assert_ne!(name, NodeEvent { turn: "other", ..event }.name());
    }
}
