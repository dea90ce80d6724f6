//! What others see of our findings on the nodes themselves: Node conditions, Events about their
//! turns, and OpenReports if asked for. Written by the leader, when something changed, within a
//! budget; an unchanged fleet costs no request at all, however large it is.
//!
//! ```text
//! snapshot ──wanted()──> ┐
//!                        ├─ due() ──> Event (deterministic name) ──> patch of nodes/status
//! watch of the nodes ────┘              a crash in between repeats both, to no effect
//! ```
//!
//! What the nodes have is what the watch says, and between two of its words what we wrote: what
//! somebody takes away or alters comes back, at the pace of the budget. What should be is decided in
//! [`wanted`], what an Event says in [`super::events`], what a report holds in
//! [`super::open_reports`]; what the API server does not take is the matter of [`outlet`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
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
use super::events::Events;
use super::fence::Fence;
use super::fence::NotLeader;
use super::lease::Epoch;
use super::nodes::Directory;
use super::nodes::Worn;
use super::open_reports::OpenReports;
use super::open_reports::Published;
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

pub mod outlet;
pub mod wanted;

use outlet::AFTER_REFUSAL;
use outlet::Outlet;
use outlet::Scope;
use wanted::Due;
use wanted::Present;
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

/// How long a new leader leaves conditions alone that speak of a node of which it has no report yet:
/// its store may be empty, and the agent is about to say it all again.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is missing if conditions are refused.
const CONDITIONS_NEED: &str = "ClusterRole palisade-collector-node-conditions of manifests/base";

/// What is missing if Events are refused.
const EVENTS_NEED: &str = "Role palisade-collector-events in namespace default of manifests/base";

/// What is missing if reports are refused.
const REPORTS_NEED: &str =
    "the CRD clusterreports.openreports.io, and manifests/components/open-reports for the rights";

/// Everything that is written for others to see.
pub struct Publisher {
    nodes: Api<NodeObject>,
    events: Option<Events>,
    open_reports: Option<OpenReports>,
    outputs: Outputs,
    outlets: Outlets,
    fence: Fence,
    directory: Arc<Directory>,
    engine: Engine,
    clock: Arc<dyn Clock>,
    figures: Arc<Figures>,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
    term: Option<Term>,
    known: BTreeMap<NodeName, Known>,
    /// Where the next walk begins: behind the node that stopped the last one.
    behind: Option<NodeName>,
}

#[derive(Debug)]
struct Outlets {
    conditions: Outlet,
    events: Outlet,
    open_reports: Outlet,
}

/// The term in which something was learned.
#[derive(Debug)]
struct Term {
    epoch: Epoch,
    began_at: Instant,
}

/// What is known of one node object.
#[derive(Debug)]
struct Known {
    /// What the watch said last.
    seen: Worn,
    /// What the object has: what the watch said, or what we wrote after that.
    present: Vec<Present>,
    /// What we last wanted it to have.
    ours: Vec<Present>,
    /// What conditions and Events follow from; `None`: something is still due.
    settled: Option<Basis>,
    /// What the report follows from, likewise.
    reported: Option<Basis>,
    /// The API server refused this very object.
    not_before: Option<Instant>,
}

impl Known {
    fn new(seen: Worn) -> Self {
        let present = seen.conditions.to_vec();
        let ours = present.clone();
        Self { seen, present, ours, settled: None, reported: None, not_before: None }
    }

    /// Takes in what the watch says, if that is news.
    fn see(&mut self, worn: Worn) {
        if self.seen.uid != worn.uid {
            *self = Self::new(worn);
        } else if !Arc::ptr_eq(&self.seen.conditions, &worn.conditions) {
            self.present = worn.conditions.to_vec();
            self.settled = None;
            self.seen = worn;
        }
    }
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
    pub directory: Arc<Directory>,
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
            nodes: Api::all(clients.acting),
            events,
            open_reports,
            outputs,
            outlets: Outlets {
                conditions: Outlet::new("conditions", CONDITIONS_NEED),
                events: Outlet::new("events", EVENTS_NEED),
                open_reports: Outlet::new("reports", REPORTS_NEED),
            },
            fence,
            directory,
            engine,
            clock,
            figures,
            fleet: Buckets::new(FLEET_BURST, FLEET_GAIN, 1),
            each: Buckets::new(NODE_BURST, NODE_GAIN, MAX_NODES),
            term: None,
            known: BTreeMap::new(),
            behind: None,
        }
    }

    /// Publishes for ever, in the terms in which this collector leads.
    pub async fn run(mut self) {
        let Outputs { conditions, events, open_reports } = self.outputs;
        if !conditions && !events && !open_reports {
            return;
        }
        loop {
            // The only failure of a walk as a whole: what was learned in a term is worth nothing in
            // the next one.
            if self.round().await.is_err() {
                self.term = None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// One walk over the fleet.
    async fn round(&mut self) -> Result<(), NotLeader> {
        let epoch = self.fence.check()?;
        if self.term.as_ref().is_none_or(|term| term.epoch != epoch) {
            self.known = BTreeMap::new();
            if let Some(open_reports) = &mut self.open_reports {
                open_reports.forget();
            }
            self.term = Some(Term { epoch, began_at: Instant::now() });
        }
        self.learn_reports().await?;
        let snapshot = self.engine.snapshot();
        self.known.retain(|name, _| snapshot.node(name.as_str()).is_some());
        let behind = self.behind.take();
        let behind = behind.as_ref().map_or("", NodeName::as_str);
        let rest = snapshot.nodes.iter().take_while(|node| node.name.as_str() <= behind);
        let nodes = snapshot.nodes.after(behind).chain(rest);
        for node in nodes.filter(|node| node.state != NodeState::Gone) {
            // A node that is not watched yet, or is gone, has no object to write to.
            let Some(worn) = self.directory.worn(&node.name) else { continue };
            let mut known = match self.known.remove(&node.name) {
                Some(mut known) => {
                    known.see(worn);
                    known
                }
                None => Known::new(worn),
            };
            let done = self.publish(node, &mut known).await;
            self.known.insert(node.name.clone(), known);
            done?;
        }
        Ok(())
    }

    /// Reads which reports there are, once in a term.
    async fn learn_reports(&mut self) -> Result<(), NotLeader> {
        let at = Instant::now();
        let Some(open_reports) = &mut self.open_reports else { return Ok(()) };
        if open_reports.is_learned() || !self.outlets.open_reports.is_open(at) {
            return Ok(());
        }
        match open_reports.learn().await {
            Ok(()) => self.outlets.open_reports.went(),
            Err(CallError::NotLeader) => return Err(NotLeader),
            Err(error) => {
                self.figures.count_output(Output::Failed);
                self.outlets.open_reports.failed(&error, at);
            }
        }
        Ok(())
    }

    /// Writes what is due for one node.
    async fn publish(&mut self, node: &Node, known: &mut Known) -> Result<(), NotLeader> {
        let is_of = |basis: &Option<Basis>| basis.as_ref().is_some_and(|basis| basis.is_of(node));
        if !is_of(&known.reported) {
            let reported = self.report(node, &known.seen.uid).await?;
            known.reported = (reported == Settled::Yes).then(|| Basis::of(node));
        }
        if !is_of(&known.settled) {
            let settled = self.tell(node, known).await?;
            known.settled = (settled == Settled::Yes).then(|| Basis::of(node));
        }
        Ok(())
    }

    async fn report(&mut self, node: &Node, uid: &NodeUid) -> Result<Settled, NotLeader> {
        let at = Instant::now();
        let Some(open_reports) = &mut self.open_reports else { return Ok(Settled::Yes) };
        if !open_reports.is_learned() || !self.outlets.open_reports.is_open(at) {
            return Ok(Settled::No);
        }
        match open_reports.publish(node, uid, self.clock.now(), &self.figures).await {
            Ok(Published::Written) => self.outlets.open_reports.went(),
            Ok(Published::Unchanged) => {}
            Ok(Published::Later) => return Ok(Settled::No),
            Err(CallError::NotLeader) => return Err(NotLeader),
            Err(error) => {
                if self.outlets.open_reports.failed(&error, at) == Scope::All {
                    self.behind = Some(node.name.clone());
                }
                return Ok(Settled::No);
            }
        }
        Ok(Settled::Yes)
    }

    /// Conditions, and Events about their turns.
    async fn tell(&mut self, node: &Node, known: &mut Known) -> Result<Settled, NotLeader> {
        let Outputs { conditions, events, open_reports: _ } = self.outputs;
        if !conditions && !events {
            return Ok(Settled::Yes);
        }
        let at = Instant::now();
        let is_new_here =
            self.term.as_ref().is_some_and(|term| at.duration_since(term.began_at) < PATIENCE);
        if node.report.is_none() && is_new_here && !known.ours.is_empty() {
            return Ok(Settled::No);
        }
        let now = self.clock.now();
        let wanted = wanted::wanted(node);
        let turns = wanted::due(&wanted, &known.ours, &[], now);
        let mut ours = known.ours.clone();
        take_over(&mut ours, &turns);
        let due =
            if conditions { wanted::due(&wanted, &known.present, &ours, now) } else { Vec::new() };
        let is_waiting = known.not_before.is_some_and(|until| at < until);
        let may_patch = !due.is_empty() && !is_waiting && self.outlets.conditions.is_open(at);
        if turns.is_empty() && !may_patch {
            return Ok(if due.is_empty() { Settled::Yes } else { Settled::No });
        }
        if self.each.take(&node.name, at).is_err() {
            self.figures.count_output(Output::ConditionDeferred);
            return Ok(Settled::No);
        }
        let uid = known.seen.uid.clone();
        if let Some(events) = &self.events {
            for turn in &turns {
                let outlet = &mut self.outlets.events;
                events.tell(node, &uid, turn, now, outlet, &self.figures).await?;
            }
        }
        known.ours = ours;
        if may_patch {
            match self.patch(&node.name, &uid, &due, now).await {
                Ok(()) => {
                    self.outlets.conditions.went();
                    known.not_before = None;
                    take_over(&mut known.present, &due);
                    return Ok(Settled::Yes);
                }
                Err(CallError::NotLeader) => return Err(NotLeader),
                // Deleted, or made anew, since the watch has seen it: the watch will say.
                Err(error) if error.is(404) || error.is(409) => {
                    known.not_before = at.checked_add(AFTER_REFUSAL);
                }
                Err(error) => match self.outlets.conditions.failed(&error, at) {
                    Scope::All => self.behind = Some(node.name.clone()),
                    Scope::One => known.not_before = at.checked_add(AFTER_REFUSAL),
                },
            }
        }
        Ok(if due.is_empty() { Settled::Yes } else { Settled::No })
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
}

/// Whether everything that a node should have is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
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
