//! What others see of our findings on the nodes themselves: Node conditions, Events about their
//! turns, and OpenReports if asked for. Written by the leader, when something changed, within a
//! budget; an unchanged fleet costs no request at all, however large it is.
//!
//! ```text
//! snapshot ──wanted()──> ┐
//!                        ├─ due() ──> Event (deterministic name) ──> patch of nodes/status
//! what the nodes have ──> ┘              a crash in between repeats both, to no effect
//! ```
//!
//! What the nodes have is listed once in each term and followed by our own writes; a node that was
//! made anew is known by its UID. What should be is decided in [`wanted`], what an Event says in
//! [`super::events`], what a report holds in [`super::open_reports`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::api::core::v1::NodeCondition;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde_json::json;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::directory::NodeDirectory;
use super::directory::Sighting;
use super::events::Events;
use super::fence::Fence;
use super::lease::Epoch;
use super::open_reports::OpenReports;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::figures::Output;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_NODES;
use crate::settings::Outputs;
use crate::snapshot::Judged;
use crate::snapshot::Node;
use crate::snapshot::NodeState;

pub mod wanted;

use wanted::Due;
use wanted::Kind;
use wanted::Present;
use wanted::Status;
use wanted::Wanted;

/// Who wrote it, in `managedFields` and as the reporting controller.
pub const MANAGER: &str = "palisade-collector";

/// Between two looks at the fleet: nobody waits for a condition by the second.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Patches of the whole fleet over time, and at once: 5,000 nodes get their first conditions in
/// eight minutes, and the API server does not notice.
const FLEET_BURST: u32 = 20;
const FLEET_GAIN: Duration = Duration::from_millis(100);

/// Patches of one node: one that flaps is written once a minute.
const NODE_BURST: u32 = 4;
const NODE_GAIN: Duration = Duration::from_secs(60);

/// Nodes in one page of the list at the start of a term.
const PAGE: u32 = 500;

/// Pages of a list: as many as there may be nodes.
const MAX_PAGES: usize = 300;

/// After a request that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Everything that is written for others to see.
pub struct Publisher {
    nodes: Api<NodeObject>,
    reading: Api<NodeObject>,
    events: Option<Events>,
    open_reports: Option<OpenReports>,
    outputs: Outputs,
    fence: Fence,
    directory: Arc<dyn NodeDirectory>,
    engine: Engine,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
    term: Option<Epoch>,
    known: BTreeMap<NodeName, Known>,
    complaint: Option<String>,
}

/// What is known of one node object.
#[derive(Debug, Default)]
struct Known {
    uid: Option<NodeUid>,
    present: Vec<Present>,
    /// What the present conditions follow from; `None`: something is still due.
    settled: Option<Basis>,
}

/// What the conditions of a node follow from, by identity: equal means that nothing is due.
#[derive(Debug)]
struct Basis {
    state: NodeState,
    reported: bool,
    judgements: Arc<[Arc<Judged>]>,
}

impl Basis {
    fn of(node: &Node) -> Self {
        Self {
            state: node.state,
            reported: node.report.is_some(),
            judgements: Arc::clone(&node.judgements),
        }
    }

    fn is_of(&self, node: &Node) -> bool {
        let Self { state, reported, judgements } = self;
        *state == node.state
            && *reported == node.report.is_some()
            && Arc::ptr_eq(judgements, &node.judgements)
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

/// What the publisher stands on.
#[derive(Debug)]
pub struct Ground {
    /// The ways to the API server.
    pub clients: Clients,
    /// Whether this collector leads.
    pub fence: Fence,
    /// Which nodes exist.
    pub directory: Arc<dyn NodeDirectory>,
    /// What is known of them.
    pub engine: Engine,
    /// Name of this collector.
    pub identity: String,
    /// Name of the profile by which nodes are judged.
    pub profile: String,
}

impl Publisher {
    /// A publisher of what `outputs` names.
    #[must_use]
    pub fn new(
        ground: Ground,
        outputs: Outputs,
        clock: Arc<dyn Clock>,
        figures: Arc<Figures>,
    ) -> Self {
        let Ground { clients, fence, directory, engine, identity, profile } = ground;
        let events = outputs.events.then(|| Events::new(&clients, &identity));
        let open_reports = outputs.open_reports.then(|| OpenReports::new(&clients, profile));
        Self {
            nodes: Api::all(clients.acting.clone()),
            reading: Api::all(clients.reading),
            events,
            open_reports,
            outputs,
            fence,
            directory,
            engine,
            clock,
            figures,
            fleet: Buckets::new(FLEET_BURST, FLEET_GAIN, 1),
            each: Buckets::new(NODE_BURST, NODE_GAIN, MAX_NODES),
            term: None,
            known: BTreeMap::new(),
            complaint: None,
        }
    }

    /// Publishes for ever, in the terms in which this collector leads.
    pub async fn run(mut self) {
        let Outputs { conditions, events, open_reports } = self.outputs;
        if !conditions && !events && !open_reports {
            return;
        }
        loop {
            let pause = match self.round().await {
                Ok(()) => {
                    self.complaint = None;
                    LOOK_EVERY
                }
                // What was learned in a term is worth nothing in the next one.
                Err(CallError::NotLeader) => {
                    self.term = None;
                    LOOK_EVERY
                }
                Err(error) => {
                    self.complain(&error);
                    AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One walk over the fleet.
    async fn round(&mut self) -> Result<(), CallError> {
        let epoch = self.fence.check().map_err(|_| CallError::NotLeader)?;
        if self.term != Some(epoch) {
            self.known = BTreeMap::new();
            if self.outputs.conditions {
                self.learn().await?;
            }
            if let Some(open_reports) = &mut self.open_reports {
                open_reports.learn().await?;
            }
            self.term = Some(epoch);
        }
        let snapshot = self.engine.snapshot();
        self.known.retain(|name, _| snapshot.node(name.as_str()).is_some());
        for node in snapshot.nodes.iter().filter(|node| node.state != NodeState::Gone) {
            if self.known.get(&node.name).is_some_and(|known| {
                known.settled.as_ref().is_some_and(|settled| settled.is_of(node))
            }) {
                continue;
            }
            // A node that is not watched yet, or is gone, has no object to write to.
            let Sighting::Known(uid) = self.directory.uid_of(&node.name) else { continue };
            match self.publish(node, &uid).await {
                Ok(()) => {}
                // Deleted, or made anew, since the watch has seen it: the watch will say.
                Err(error) if error.is(404) || error.is(409) => {
                    self.known.remove(&node.name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads which of our conditions the nodes have.
    async fn learn(&mut self) -> Result<(), CallError> {
        let mut parameters = ListParams::default().limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, self.reading.list(&parameters)).await?;
            for node in page.items {
                let Ok(name) = node.name_any().parse() else { continue };
                let uid = node.uid().and_then(|uid| uid.parse().ok());
                let present = present(&node);
                self.known.insert(name, Known { uid, present, settled: None });
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        Ok(())
    }

    /// Writes what is due for one node.
    async fn publish(&mut self, node: &Node, uid: &NodeUid) -> Result<(), CallError> {
        let now = self.clock.now();
        let mut known = self.known.remove(&node.name).unwrap_or_default();
        if known.uid.as_ref() != Some(uid) {
            known = Known { uid: Some(uid.clone()), ..Known::default() };
        }
        let wanted = wanted::wanted(node);
        let due = wanted::due(&wanted, &known.present, now);
        let reported = match &mut self.open_reports {
            Some(open_reports) => open_reports.publish(node, uid, now, &self.figures).await?,
            None => Settled::Yes,
        };
        let may_write = due.is_empty() || self.each.take(&node.name, Instant::now()).is_ok();
        if !may_write {
            self.figures.count_output(Output::ConditionDeferred);
        }
        if may_write && !due.is_empty() {
            if let Some(events) = &self.events {
                for due in &due {
                    events.tell(node, uid, due, now, &self.figures).await?;
                }
            }
            if self.outputs.conditions {
                self.patch(&node.name, uid, &due, now).await?;
            }
            take_over(&mut known.present, &due);
        }
        let settled = may_write && reported == Settled::Yes;
        known.settled = settled.then(|| Basis::of(node));
        self.known.insert(node.name.clone(), known);
        Ok(())
    }

    async fn patch(
        &self,
        name: &NodeName,
        uid: &NodeUid,
        due: &[Due],
        now: Moment,
    ) -> Result<(), CallError> {
        while let Err(wait) = self.fleet.take(&(), Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        let patch = Patch::Strategic(body(uid, due, now));
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let written = self.nodes.patch_status(name.as_str(), &parameters, &patch);
        match call(CALL_TIMEOUT, written).await {
            Ok(_) => {
                self.figures.count_output(Output::ConditionWritten);
                Ok(())
            }
            Err(error) => {
                self.figures.count_output(Output::Failed);
                Err(error)
            }
        }
    }

    fn complain(&mut self, error: &CallError) {
        let complaint = Chain(error).to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!(cause = %complaint, "conditions, events or reports cannot be written");
            self.complaint = Some(complaint);
        }
    }
}

/// Whether everything that a node should have is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Something has to wait for the budget.
    No,
    /// It is.
    Yes,
}

/// The strategic merge patch: the list of conditions is keyed by `type`, others are left alone, and
/// a node that was made anew refuses it by its UID.
fn body(uid: &NodeUid, due: &[Due], now: Moment) -> serde_json::Value {
    let conditions: Vec<_> = due
        .iter()
        .map(|Due { wanted, since, transition: _ }| {
            let Wanted { kind, status, reason, message } = wanted;
            json!({
                "type": kind.as_str(),
                "status": status.as_str(),
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now.to_string(),
                "lastTransitionTime": since.to_string(),
            })
        })
        .collect();
    json!({ "metadata": { "uid": uid.as_str() }, "status": { "conditions": conditions } })
}

/// Our conditions of a node object.
fn present(node: &NodeObject) -> Vec<Present> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter_map(present_one).collect()
}

fn present_one(condition: &NodeCondition) -> Option<Present> {
    let NodeCondition {
        last_heartbeat_time: _,
        last_transition_time,
        message,
        reason,
        status,
        type_,
    } = condition;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == type_)?;
    let status = [Status::False, Status::True, Status::Unknown]
        .into_iter()
        .find(|word| word.as_str() == status);
    Some(Present {
        kind,
        status,
        reason: reason.clone().unwrap_or_default(),
        message: message.clone().unwrap_or_default(),
        since: last_transition_time.as_ref().map(|time| moment(time.0)),
    })
}

fn moment(time: Timestamp) -> Moment {
    Moment::from_unix(time.as_second())
}

/// What was written is what is there.
fn take_over(present: &mut Vec<Present>, due: &[Due]) {
    for Due { wanted, since, transition: _ } in due {
        present.retain(|it| it.kind != wanted.kind);
        present.push(Present {
            kind: wanted.kind,
            status: Some(wanted.status),
            reason: wanted.reason.to_owned(),
            message: wanted.message.clone(),
            since: Some(*since),
        });
    }
}
