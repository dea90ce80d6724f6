//! Events (`events.k8s.io/v1`) about nodes whose conditions turned. What an Event says and when there
//! is one is decided in [`turn`], which is pure.
//!
//! An Event is told on a turn between known statuses only: the first sight of a node is no turn,
//! and neither is anything that cannot be told. Its name follows from the turn, so telling the same
//! one twice is refused by the API server. Beyond the budget Events are dropped and counted: they
//! end after an hour anyway and are never the only record.

use std::time::Duration;
use std::time::Instant;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::client::CallError;
use super::client::Clients;
use super::conditions::outlet::Outlet;
use super::conditions::wanted::Due;
use super::conditions::wanted::Kind;
use super::conditions::wanted::Status;
use super::conditions::wanted::Transition;
use super::fence::NotLeader;
use super::node_event::NodeEvent;
use super::node_event::Teller;
use super::node_event::Told;
use crate::figures::Figures;
use crate::figures::Output;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_NODES;
use crate::snapshot::Node;

/// Events of the whole fleet over time, and at once.
const FLEET_BURST: u32 = 50;
const FLEET_GAIN: Duration = Duration::from_secs(1);

/// Events of one node: a reboot turns three conditions at most, back and forth.
const NODE_BURST: u32 = 6;
const NODE_GAIN: Duration = Duration::from_secs(300);

/// Tells Events.
pub struct Events {
    teller: Teller,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("teller", &self.teller).finish_non_exhaustive()
    }
}

impl Events {
    /// Events told by the collector `identity`.
    #[must_use]
    pub fn new(clients: &Clients, identity: &str) -> Self {
        Self {
            teller: Teller::new(clients, identity),
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
        let Some((reason, turn)) = turn(uid, due) else { return Ok(()) };
        let at = Instant::now();
        let budget = || self.each.take(&node.name, at).and_then(|()| self.fleet.take(&(), at));
        if !outlet.is_open(at) || budget().is_err() {
            figures.count_output(Output::EventDropped);
            return Ok(());
        }
        let event = NodeEvent {
            node: &node.name,
            uid,
            action: "Judged",
            reason,
            type_: if due.wanted.status == Status::True { "Warning" } else { "Normal" },
            note: &due.wanted.message,
            turn: &turn,
        };
        match self.teller.tell(&event, now).await {
            Ok(Told::Now) => {
                outlet.went();
                figures.count_output(Output::EventWritten);
            }
            Ok(Told::Before) => {}
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

/// The reason of the Event about a condition that turned, and what tells this turn from any other;
/// `None` if it is no turn.
#[must_use]
pub fn turn(uid: &NodeUid, due: &Due) -> Option<(&'static str, String)> {
    let Transition { from, from_since } = due.transition?;
    let (from, wanted) = (from?, &due.wanted);
    let reason = reason(wanted.kind, from, wanted.status)?;
    let since = from_since.map_or(0, Moment::unix);
    Some((reason, format!("{uid} {} {from} {since} {}", wanted.kind.as_str(), wanted.status)))
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

    fn told(due: &Due) -> Option<(&'static str, String)> {
        turn(&"0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(), due)
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
                let fine = told(&due(kind, Some(Status::True), Status::False)).unwrap();
                assert_ne!(fine.0, warning.0);
            }
        }
    }

    #[test]
    fn one_turn_is_told_once_and_another_turn_apart_from_it() {
        let turn = |due: &Due| told(due).unwrap().1;
        let first = due(Kind::RebootRequired, Some(Status::False), Status::True);
        let again = Due { since: NOW.plus(3600), ..first.clone() };
        assert_eq!(turn(&first), turn(&again), "after a crash the same turn is told again");
        let later = Transition { from: Some(Status::False), from_since: Some(NOW.plus(1)) };
        assert_ne!(turn(&first), turn(&Due { transition: Some(later), ..first.clone() }));
        let other = due(Kind::HardeningDrift, Some(Status::False), Status::True);
        assert_ne!(turn(&first), turn(&other));
    }
}
