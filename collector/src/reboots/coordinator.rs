//! The loop: look, plan, claim, count, step. One owner of all that is under way; what it knows beyond
//! the requests themselves is lost with it and costs a look.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Pod;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan;
use palisade_plan::policy::Policy;
use palisade_plan::policy::compare::BlastRadius;
use palisade_plan::policy::compare::Judged;
use palisade_plan::policy::compare::compare;
use palisade_plan::request::Alert;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::answered::Answered;
use super::answered::Leased;
use super::clock::TermClock;
use super::drain::Work;
use super::errand::decline;
use super::facts::Facts;
use super::fleet;
use super::fleet::Materials;
use super::fleet::shut;
use super::objections::Objections;
use super::objections::Wanted;
use super::occurrence::Occurrences;
use super::past::History;
use super::policy::PolicyFile;
use super::refusals::Refusals;
use super::rest::Rest;
use super::storm::Storm;
use super::tell::Teller;
use super::turns::Turns;
use super::unplanned::Boots;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::grants::OfferBook;
use crate::kube::Clients;
use crate::kube::Fence;
use crate::kube::NotLeader;
use crate::kube::cordon::Cordons;
use crate::kube::evict::Evictions;
use crate::kube::fence::BootClock;
use crate::kube::hand_over::HandOver;
use crate::kube::node_lease::NodeLeases;
use crate::kube::nodes::Directory;
use crate::kube::nodes::Members;
use crate::kube::nodes::View;
use crate::kube::requests::RequestBook;
use crate::kube::requests::Requests;
use crate::kube::workloads::Around;
use crate::kube::workloads::Workloads;
use crate::planned::Errand;
use crate::planned::Planned;
use crate::store::Reader;

/// Between two looks if nothing happens: a deadline is a matter of minutes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Between two looks however much happens.
const GATHER_FOR: Duration = Duration::from_millis(200);

/// Seconds for which pods that a plan asked for are believed. Before the first eviction all of them are
/// read and tried anew.
const ASKED_SECS: i64 = 15;

/// Seconds for which a plan goes by what the look has seen before its steps.
pub(super) const SEEN_SECS: i64 = 2;

/// Seconds after which somebody hears of a cordon whose request is gone and which is not undone, as no
/// agent says in which boot its node is; that of the state in which a node is uncordoned.
const ORPHANED_SECS: i64 = 300;

/// What a coordinator stands on.
pub struct Ground {
    /// The ways to the API server.
    pub clients: Clients,
    /// Whether this collector leads.
    pub fence: Fence,
    /// Time since the machine's boot.
    pub boot_clock: Arc<dyn BootClock>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Which nodes exist.
    pub directory: Arc<Directory>,
    /// What is known of them.
    pub engine: Engine,
    /// Sections and audit.
    pub reader: Reader,
    /// Grants that may be handed out.
    pub offers: Arc<OfferBook>,
    /// Where the plan is shown.
    pub planned: Arc<Planned>,
    /// Where another collector is asked to lead.
    pub hand_over: Arc<HandOver>,
    /// Name of this collector.
    pub identity: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether Events are told.
    pub events: bool,
    /// The policy's file.
    pub policy: PathBuf,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The coordinator of one term.
pub struct Coordinator {
    pub(super) clients: Clients,
    pub(super) fence: Fence,
    pub(super) clock: TermClock,
    pub(super) boot_clock: Arc<dyn BootClock>,
    pub(super) directory: Arc<Directory>,
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) offers: Arc<OfferBook>,
    pub(super) planned: Arc<Planned>,
    pub(super) hand_over: Arc<HandOver>,
    pub(super) policy: PolicyFile,
    pub(super) requests: Requests,
    pub(super) book: Arc<RequestBook>,
    pub(super) cordons: Cordons,
    pub(super) evictions: Evictions,
    pub(super) workloads: Workloads,
    pub(super) objections: Arc<Objections>,
    pub(super) leases: Option<NodeLeases>,
    pub(super) teller: Teller,
    pub(super) facts: Facts,
    pub(super) occurrences: Occurrences,
    pub(super) history: Option<History>,
    pub(super) works: BTreeMap<NodeUid, Work>,
    /// Requests for which there was nothing to do.
    pub(super) rests: BTreeMap<NodeUid, Rest>,
    /// Nodes that were looked at before a claim and may not go, and why.
    pub(super) refused: Refusals,
    pub(super) around: Option<Around>,
    pub(super) is_fresh: bool,
    /// Whether the requests of this look were listed after the last claim.
    pub(super) is_counted: bool,
    /// Namespace and name of the collector's own pod.
    pub(super) identity: (String, String),
    /// The node that it runs on; within it `None` if it is no pod of this cluster.
    pub(super) own_node: Option<Option<String>>,
    pub(super) around_at: Option<Moment>,
    /// Nodes whose Leases other tools hold.
    pub(super) leased: Leased,
    /// The nodes, and the same with their hostnames.
    pub(super) named: Option<(Members, Members)>,
    /// What the last fleet was judged by.
    pub(super) answered: Arc<Answered>,
    /// Pods of etcd by node, and whether they are ready.
    pub(super) etcd: Known<BTreeMap<String, bool>>,
    /// Nodes that have, or had in this term, a pod of etcd.
    pub(super) etcd_nodes: BTreeSet<NodeUid>,
    /// Pods of nodes that a plan asked for, and when they were read.
    pub(super) asked: BTreeMap<NodeUid, (Moment, Arc<[Pod]>)>,
    /// Pods of the nodes that are next, for people only, and when they were read.
    pub(super) foreseen: BTreeMap<NodeUid, (Moment, Arc<[Pod]>)>,
    /// What could not be carried out last, to be said once.
    pub(super) complaints: BTreeMap<NodeUid, String>,
    /// The node whose request was stepped last.
    pub(super) driven: Option<NodeUid>,
    /// Since when nodes have a cordon whose request is gone.
    pub(super) orphans: BTreeMap<NodeUid, Moment>,
    /// The node whose waiting request was written last.
    pub(super) judged: Option<NodeUid>,
    /// Nodes whose objects were told last that a failure is forgiven.
    pub(super) forgetting: Turns,
    /// Nodes whose failures under other collectors are known.
    pub(super) recalled: BTreeSet<NodeUid>,
    plan_digest: Option<palisade_report::Digest>,
    boots: Boots,
    /// Whether what is known of the requests may be wrong.
    pub(super) lost_track: bool,
    pub(super) storm: Storm,
    /// Transitions of which nobody knows whether they were written, from and to.
    pub(super) doubtful: BTreeMap<NodeUid, (Request, Request)>,
    /// Whether it was told where each request is that an earlier term left behind.
    is_told: bool,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coordinator")
    }
}

/// Whoever coordinates no more offers nothing and shows nothing.
impl Drop for Coordinator {
    fn drop(&mut self) {
        self.offers.withdraw_all();
        self.planned.withdraw();
    }
}

impl Coordinator {
    /// A coordinator for a term that begins now.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        let Ground {
            clients,
            fence,
            boot_clock,
            clock,
            directory,
            engine,
            reader,
            offers,
            planned,
            hand_over,
            identity,
            namespace,
            events,
            policy,
        } = ground;
        Self {
            requests: Requests::new(&clients),
            book: Arc::default(),
            cordons: Cordons::new(&clients),
            evictions: Evictions::new(&clients),
            workloads: Workloads::new(&clients),
            objections: Arc::new(Objections::new(Arc::clone(&boot_clock))),
            leases: None,
            teller: Teller::new(engine.clone(), &clients, &identity, events),
            facts: Facts::default(),
            occurrences: Occurrences::default(),
            history: None,
            works: BTreeMap::new(),
            rests: BTreeMap::new(),
            refused: Refusals::default(),
            around: None,
            is_fresh: false,
            is_counted: false,
            identity: (namespace, identity),
            own_node: None,
            around_at: None,
            leased: Leased::default(),
            named: None,
            answered: Arc::default(),
            etcd: Known::Unknown("not asked yet".to_owned()),
            etcd_nodes: BTreeSet::new(),
            asked: BTreeMap::new(),
            foreseen: BTreeMap::new(),
            complaints: BTreeMap::new(),
            orphans: BTreeMap::new(),
            driven: None,
            judged: None,
            forgetting: Turns::default(),
            recalled: BTreeSet::new(),
            plan_digest: None,
            boots: Boots::default(),
            lost_track: false,
            storm: Storm::default(),
            clock: TermClock::start(clock, Arc::clone(&boot_clock)),
            boot_clock,
            doubtful: BTreeMap::new(),
            is_told: false,
            policy: PolicyFile::at(policy),
            clients,
            fence,
            directory,
            engine,
            reader,
            offers,
            planned,
            hand_over,
        }
    }

    /// Coordinates for as long as it is polled, in the terms in which this collector leads.
    pub async fn run(self) {
        let (requests, book) = (self.requests.clone(), Arc::clone(&self.book));
        let (workloads, objections) = (self.workloads.clone(), Arc::clone(&self.objections));
        tokio::select! {
            () = requests.follow(&book) => {}
            () = objections.follow(&workloads) => {}
            () = self.look_on() => {}
        }
    }

    async fn look_on(mut self) {
        let planned = Arc::clone(&self.planned);
        let mut inbox = planned.inbox().await;
        while let Ok(errand) = inbox.try_recv() {
            decline(&self.engine, errand);
        }
        let mut changed = self.book.changed();
        let mut kept_up = self.directory.kept_up();
        let mut answered = self.offers.answered();
        let mut errands = Vec::new();
        loop {
            let began = Instant::now();
            if self.look(std::mem::take(&mut errands)).await.is_ok() {
                planned.looked(began.elapsed());
            } else {
                self.offers.withdraw_all();
                planned.withdraw();
            }
            tokio::time::sleep(GATHER_FOR).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = changed.changed() => {}
                _ = kept_up.changed() => {}
                _ = answered.changed() => {}
                errand = inbox.recv() => errands.extend(errand),
            }
        }
    }

    /// One look at everything, and what follows from it.
    async fn look(&mut self, errands: Vec<Errand>) -> Result<(), NotLeader> {
        let epoch = match self.fence.check() {
            Ok(epoch) => epoch.0,
            Err(not_leader) => {
                errands.into_iter().for_each(|it| decline(&self.engine, it));
                return Err(not_leader);
            }
        };
        let edited = self.follow_policy().await;
        if self.history.is_none() {
            match History::read(&self.reader).await {
                Ok(history) => {
                    tracing::info!(done = ?history.sizes(), "reboots of the past are known");
                    self.history = Some(history);
                }
                Err(error) => {
                    tracing::warn!(cause = %Chain(&error), "nothing is planned without the past");
                    errands.into_iter().for_each(|it| decline(&self.engine, it));
                    return Ok(());
                }
            }
        }
        self.is_counted = false;
        let is_claimed = |requests: &[crate::kube::requests::Requested]| {
            let states = requests.iter().filter_map(|it| it.request.as_ref().ok());
            states.into_iter().any(|it| it.progress.state == State::Claimed)
        };
        if self.lost_track || self.book.all().is_none_or(|all| is_claimed(&all)) {
            self.list().await;
        }
        let seen_at = self.clock.now();
        let mut fleet = self.fleet().await;
        self.recall_failures(&mut fleet);
        for boot in self.boots.follow(&fleet, seen_at) {
            self.teller.unplanned(&boot, seen_at).await;
        }
        if self.is_fresh {
            if !self.is_told {
                self.tell_left_behind(&fleet).await;
                self.is_told = true;
            }
            self.tell_doubtful(&fleet).await;
        }
        for errand in errands {
            self.run_errand(errand, &mut fleet, epoch).await;
            // The next errand may be about the same request, and so is the next step.
            fleet.requests = self.known_requests().0;
        }
        let policy = Arc::clone(self.policy.policy());
        if let Some(before) = edited {
            self.say_radius(&fleet, &before, &policy);
        }
        // What is under way is not kept waiting for what might begin.
        self.drive_all(seen_at, &mut fleet, &policy, epoch).await?;
        // As long as nobody knows what came of a step nothing begins.
        self.is_fresh &= !self.lost_track;
        let is_old = self.clock.now().since(seen_at) > SEEN_SECS;
        if self.is_fresh && (is_old || self.known_requests().0 != fleet.requests) {
            fleet = self.fleet().await;
        }
        let plan = plan::plan(&fleet, &policy, self.clock.now());
        self.objections.want(Wanted::of(&policy, &plan));
        let mut plan = self.read_on(plan, &mut fleet, &policy).await;
        if self.is_fresh {
            plan = self.confirm(plan, &mut fleet, &policy).await?;
        }
        self.log_plan(&plan);
        if self.is_fresh {
            self.judge(&plan, &mut fleet, &policy, epoch).await?;
            if self.claim(&plan, &mut fleet, &policy, epoch).await? > 0 {
                self.list().await;
                fleet.requests = self.known_requests().0;
                self.drive_claimed(&plan.start, &mut fleet, &policy, epoch).await?;
            }
        }
        self.tidy(&mut fleet, &policy, epoch).await?;
        self.forget_what_is_over(&fleet).await?;
        self.show(plan, fleet, policy).await;
        Ok(())
    }

    /// All alerts about nodes: of their requests, of nodes that wait without one, of their boots.
    pub(super) fn alerts(
        &self,
        fleet: &Fleet,
        policy: &Policy,
        plan: &plan::Plan,
    ) -> BTreeMap<NodeUid, BTreeSet<Alert>> {
        let mut alerts = self.boots.alerts(fleet, policy, plan);
        let now = self.clock.now();
        let orphans = self.orphans.iter().filter(|(_, since)| now.since(**since) >= ORPHANED_SECS);
        for (uid, _) in orphans {
            alerts.entry(uid.clone()).or_default().insert(Alert::UncordonFailed);
        }
        alerts
    }

    /// Says which plan is followed, when it is another one.
    fn log_plan(&mut self, plan: &plan::Plan) {
        if self.plan_digest == Some(plan.digest) {
            return;
        }
        self.plan_digest = Some(plan.digest);
        let waiting = plan.order.first().and_then(|uid| plan.places.get(uid));
        let waits_for = waiting.and_then(|it| it.blockers.first());
        let waits_for = waits_for.map(|it| format!("{}: {}", it.gate, it.value));
        let (waiting, starting) = (plan.order.len(), plan.start.len());
        tracing::info!(waiting, starting, first_waits_for = waits_for, "another plan is followed");
    }

    /// The policy that an edit has just replaced, if any.
    async fn follow_policy(&mut self) -> Option<Arc<Policy>> {
        let digest = self.policy.policy().digest;
        let edited = self.policy.reload(self.clock.now()).await;
        if self.policy.policy().digest != digest {
            self.refused.policy_changed();
        }
        let wanted = self.policy.policy().cluster.node_lease.clone();
        self.leases = wanted.map(|namespace| NodeLeases::new(&self.clients, &namespace));
        edited
    }

    /// Lists all requests from the quorum.
    async fn list(&mut self) {
        // One that fails leaves no count to go by, whatever was listed before.
        self.is_counted = false;
        self.book.expect();
        match self.requests.list().await {
            Ok(all) => {
                self.book.learn(all);
                self.is_counted = true;
                self.lost_track = false;
            }
            Err(error) => {
                self.lost_track = true;
                tracing::warn!(cause = %Chain(&error), "the requests cannot be listed");
            }
        }
    }

    /// The requests that can be read, and what those that cannot keep everybody from.
    fn known_requests(&self) -> (BTreeMap<NodeUid, Request>, Vec<String>) {
        let (mut known, mut unreadable) = (BTreeMap::new(), Vec::new());
        for requested in self.book.all().unwrap_or_default() {
            match requested.request {
                Ok(request) => {
                    known.insert(request.uid.clone(), request);
                }
                Err(error) if error.holds_slot => {
                    unreadable.push(format!("request {}: {}", requested.name, error.why));
                }
                // It holds no place, and whoever wrote it sees no status.
                Err(_) => {}
            }
        }
        (known, unreadable)
    }

    /// The fleet as it is known now.
    pub(super) async fn fleet(&mut self) -> Fleet {
        let now = self.clock.now();
        let (requests, unreadable) = self.known_requests();
        self.tell_untold(&requests);
        let (members, view) = self.directory.members();
        self.look_around(now).await;
        self.is_fresh = view == View::Whole
            && self.book.is_followed()
            && self.book.all().is_some()
            && !self.lost_track
            && self.around.is_some()
            && self.own_node.is_some();
        let mut blockers: Vec<Blocker> =
            unreadable.into_iter().map(|it| shut(Gate::ClusterStale, it, now)).collect();
        if let Some(secs) = self.clock.is_off_by() {
            let value = format!("the wall clock was stepped by {secs} s");
            blockers.push(shut(Gate::ClusterStale, value, now));
        }
        if let Some(since) = self.policy.gone_since() {
            let value = "its file is gone: nothing starts until there is one again".to_owned();
            blockers.push(shut(Gate::Policy, value, since));
        }
        if !self.is_fresh {
            let value = "nodes, requests or budgets are not followed at the moment".to_owned();
            blockers.push(shut(Gate::ClusterStale, value, now));
        }
        if let Some((name, lock)) =
            self.around.as_ref().and_then(|it| it.daemon_sets.kured.as_ref())
        {
            let value = format!("kured holds its lock at DaemonSet {name}: {lock}");
            blockers.push(shut(Gate::OtherActor, value, now));
        }
        let snapshot = self.engine.snapshot();
        let requested: BTreeSet<NodeUid> = requests.keys().cloned().collect();
        self.facts.learn(&snapshot, &self.reader, &requested).await;
        let upkeep = self.directory.upkeep();
        self.asked.retain(|_, (at, _)| now.since(*at) < ASKED_SECS);
        let asked = self.asked.iter().map(|(uid, (_, pods))| (uid.clone(), Arc::clone(pods)));
        let draining = self.works.iter().map(|(uid, work)| (uid.clone(), work.pods()));
        let pods = asked.chain(draining).collect();
        let policy = Arc::clone(self.policy.policy());
        let nothing = History::default();
        let own_node = self.own_node.as_ref().and_then(|it| it.as_ref());
        let own_node = own_node.and_then(|name| members.get(&name.parse().ok()?));
        let materials = Materials {
            snapshot: &snapshot,
            members: &members,
            upkeep: &upkeep,
            facts: &self.facts,
            clock: &self.clock,
            history: self.history.as_ref().unwrap_or(&nothing),
            requests,
            pods: Known::Known(pods),
            budgets: self.budgets(),
            blockers,
            own_node: own_node.map(|member| member.uid.clone()),
            can_grant: self.offers.key().is_some(),
        };
        let (mut fleet, certificates) = fleet::build(materials, &mut self.occurrences, now);
        let answered = Answered { certificates, ..self.answered(&fleet, members, now) };
        answered.judge(&mut fleet, &policy, now);
        self.answered = Arc::new(answered);
        self.recall_storm(&mut fleet, &policy, now);
        fleet
    }

    fn say_radius(&self, fleet: &Fleet, before: &Policy, policy: &Policy) {
        let now = self.clock.now();
        let mut was = fleet.clone();
        self.answered.judge(&mut was, before, now);
        let old = Judged { fleet: &was, policy: before };
        say_radius(&compare(old, Judged { fleet, policy }, now));
    }
}

/// Says what an edit of the policy means, before anything follows from it. The same, for an edit that
/// nobody has made yet, is in the answer of `POST /v1/plan`.
pub(super) fn say_radius(radius: &BlastRadius) {
    let BlastRadius { from, to, fields, moved, armed, disarmed, starting, held_back, .. } = radius;
    tracing::info!(
        from = %from.short(), to = %to.short(), fields = fields.len(), moved = moved.count,
        armed = armed.count, disarmed = disarmed.count, starting = starting.count,
        held_back = held_back.count, "the policy was edited"
    );
}
