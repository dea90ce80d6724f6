//! The loop without a cluster: look, plan, claim, step. Everything that decides is in the store, so that
//! a process that is killed is followed by one that goes on where it stopped.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_plan::policy::compare::Judged;
use palisade_plan::policy::compare::compare;
use palisade_report::Moment;
use palisade_report::NodeUid;
use tokio::sync::Notify;

use super::hook::Calls;
use super::register::Register;
use super::roster::Roster;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::engine::Kept;
use crate::engine::Refusal;
use crate::grants::OfferBook;
use crate::grants::uid_of;
use crate::kube::fence::BootClock;
use crate::kube::fence::MachineClock;
use crate::planned::Errand;
use crate::planned::Planned;
use crate::planned::View;
use crate::reboots::answered::Answered;
use crate::reboots::answered::Leased;
use crate::reboots::clock::TermClock;
use crate::reboots::coordinator::SEEN_SECS;
use crate::reboots::coordinator::say_radius;
use crate::reboots::errand::decline;
use crate::reboots::facts::Facts;
use crate::reboots::fleet;
use crate::reboots::fleet::Certificates;
use crate::reboots::fleet::Materials;
use crate::reboots::fleet::shut;
use crate::reboots::objections::Objections;
use crate::reboots::objections::Wanted;
use crate::reboots::occurrence::Occurrences;
use crate::reboots::pass::goes_by_no_clock;
use crate::reboots::past::History;
use crate::reboots::policy::PolicyFile;
use crate::reboots::storm::Storm;
use crate::reboots::tell;
use crate::reboots::unplanned::Boots;
use crate::settings::RebootSettings;
use crate::snapshot::Readiness;
use crate::snapshot::Snapshot;
use crate::store::Reader;

/// Between two looks if nothing happens: a deadline is a matter of minutes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Between two looks however much happens.
const GATHER_FOR: Duration = Duration::from_millis(200);

/// What a coordinator stands on.
pub struct Ground {
    /// What is known of the nodes, and where requests are kept.
    pub engine: Engine,
    /// Sections and audit.
    pub reader: Reader,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Grants that may be handed out.
    pub offers: Arc<OfferBook>,
    /// Where the plan is shown.
    pub planned: Arc<Planned>,
    /// Policy and hooks.
    pub settings: RebootSettings,
    /// The highest epoch that the store knew when it was opened.
    pub last_epoch: u64,
    /// Where a hook is told what it is called for, beside the store.
    pub locks: PathBuf,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The coordinator of one process.
pub(super) struct Coordinator {
    pub(super) epoch: u64,
    pub(super) clock: TermClock,
    pub(super) offers: Arc<OfferBook>,
    pub(super) register: Register,
    pub(super) calls: Calls,
    pub(super) facts: Facts,
    pub(super) history: Option<History>,
    /// The snapshot of this look.
    pub(super) seen: Arc<Snapshot>,
    certificates: Certificates,
    /// What could not be carried out last, to be said once.
    pub(super) complaints: BTreeMap<NodeUid, String>,
    pub(super) engine: Engine,
    pub(super) policy: PolicyFile,
    reader: Reader,
    planned: Arc<Planned>,
    objections: Arc<Objections>,
    /// Who was judged last, and who was stepped last.
    pub(super) judged: Option<NodeUid>,
    pub(super) driven: Option<NodeUid>,
    occurrences: Occurrences,
    roster: Roster,
    boots: Boots,
    storm: Storm,
    /// Name of the host, which may be a node.
    host: Option<String>,
    /// Why nothing could be looked at last.
    blind: Option<String>,
}

/// Whoever coordinates no more offers nothing and shows nothing.
impl Drop for Coordinator {
    fn drop(&mut self) {
        self.offers.withdraw_all();
        self.planned.withdraw();
    }
}

/// Coordinates for as long as it is polled. The store's own lock keeps a second process from it.
pub async fn coordinate(ground: Ground) {
    let boot_clock: Arc<dyn BootClock> = Arc::new(MachineClock);
    let objections = Arc::new(Objections::new(Arc::clone(&boot_clock)));
    let epoch = ground.last_epoch.saturating_add(1);
    until_begun(&ground.engine, epoch).await;
    tracing::info!(epoch, policy = %ground.settings.policy.display(), "reboots are coordinated");
    let ended = Arc::new(Notify::new());
    let standing = (boot_clock, Arc::clone(&objections), Arc::clone(&ended));
    let coordinator = Coordinator::new(ground, standing, epoch);
    tokio::select! {
        () = objections.follow_alone() => {}
        () = coordinator.look_on(&ended) => {}
    }
}

/// Writes down that a term begins, before anything happens in it: agents refuse what is older.
async fn until_begun(engine: &Engine, epoch: u64) {
    let object = format!("store epoch {epoch}");
    loop {
        let told = Happening::own(Kind::Leadership, object.clone(), "it holds the store");
        match engine.keep(Kept::Epoch(epoch), vec![told]).await {
            Ok(()) => return,
            Err(Refusal::Stopped) => std::future::pending().await,
            Err(refusal) => {
                tracing::warn!(cause = %refusal, "no reboot is coordinated until the store takes it");
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Coordinator {
    /// A coordinator that has looked at nothing yet; what stands beside it is the clock of the machine,
    /// what others object, and who is told that a call has ended.
    pub(super) fn new(
        ground: Ground,
        (boot_clock, objections, ended): (Arc<dyn BootClock>, Arc<Objections>, Arc<Notify>),
        epoch: u64,
    ) -> Self {
        let Ground { engine, reader, clock, offers, planned, settings, last_epoch: _, locks } =
            ground;
        let RebootSettings { policy, hooks } = settings;
        Self {
            epoch,
            clock: TermClock::start(clock, boot_clock),
            offers,
            register: Register::new(engine.clone()),
            calls: Calls::new(hooks, locks, ended),
            facts: Facts::default(),
            history: None,
            certificates: Certificates::new(),
            seen: engine.snapshot(),
            complaints: BTreeMap::new(),
            engine,
            reader,
            planned,
            policy: PolicyFile::at(policy),
            objections,
            judged: None,
            driven: None,
            occurrences: Occurrences::default(),
            roster: Roster::default(),
            boots: Boots::default(),
            storm: Storm::default(),
            host: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
            blind: None,
        }
    }

    async fn look_on(mut self, ended: &Notify) {
        let planned = Arc::clone(&self.planned);
        let mut inbox = planned.inbox().await;
        while let Ok(errand) = inbox.try_recv() {
            decline(&self.engine, errand);
        }
        let mut answered = self.offers.answered();
        let mut errands = Vec::new();
        loop {
            let began = Instant::now();
            self.look(std::mem::take(&mut errands)).await;
            planned.looked(began.elapsed());
            tokio::time::sleep(GATHER_FOR).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = ended.notified() => {}
                _ = answered.changed() => {}
                errand = inbox.recv() => errands.extend(errand),
            }
        }
    }

    /// One look at everything, and what follows from it. Errands that come to nothing because nothing is
    /// known are declined.
    async fn look(&mut self, errands: Vec<Errand>) {
        let edited = self.policy.reload(self.clock.now()).await;
        if let Err(why) = self.recall().await {
            self.offers.withdraw_all();
            self.planned.withdraw();
            if self.blind.as_ref() != Some(&why) {
                tracing::warn!(cause = %why, "no reboot goes on");
                self.blind = Some(why);
            }
            errands.into_iter().for_each(|it| decline(&self.engine, it));
            return;
        }
        self.blind = None;
        let seen_at = self.clock.now();
        self.calls.hear(seen_at);
        let mut fleet = self.fleet().await;
        for boot in self.boots.follow(&fleet, seen_at) {
            if let Err(refusal) = self.engine.audit(tell::unasked(&boot)) {
                tracing::warn!(cause = %refusal, "a boot that nobody asked for is not in the audit");
            }
        }
        for errand in errands {
            self.run_errand(errand, &mut fleet).await;
        }
        let policy = Arc::clone(self.policy.policy());
        if let Some(before) = edited {
            let now = self.clock.now();
            let mut was = fleet.clone();
            self.answered().judge(&mut was, &before, now);
            let old = Judged { fleet: &was, policy: &before };
            say_radius(&compare(old, Judged { fleet: &fleet, policy: &policy }, now));
        }
        let plan = self.act(seen_at, &mut fleet, &policy).await;
        self.tidy(&fleet);
        let outlooks = plan::outlooks(&fleet, &policy, self.clock.now());
        let refused_policy = self.policy.refused().cloned();
        let alerts = self.boots.alerts(&fleet, &policy, &plan);
        let answered = Arc::new(self.answered());
        let view = View { fleet, policy, refused_policy, plan, alerts, outlooks, answered };
        self.planned.publish(Arc::new(view));
    }

    /// What follows from what was seen: first for what is under way, then for what waits.
    pub(super) async fn act(
        &mut self,
        seen_at: Moment,
        fleet: &mut Fleet,
        policy: &Policy,
    ) -> Plan {
        self.drive_all(seen_at, fleet, policy).await;
        if self.register.is_known() && self.clock.now().since(seen_at) > SEEN_SECS {
            *fleet = self.fleet().await;
        }
        let plan = plan::plan(fleet, policy, self.clock.now());
        self.objections.want(Wanted::of(policy, &plan));
        // As long as nobody knows what came of a step nothing begins.
        if self.register.is_known() {
            self.judge(&plan, fleet, policy).await;
            self.claim(&plan, fleet, policy).await;
            self.drive_claimed(&plan.start, fleet, policy).await;
        }
        plan
    }

    /// Reads what happened before, and where each request is.
    async fn recall(&mut self) -> Result<(), String> {
        if let Readiness::Failing { reason, .. } = &self.engine.snapshot().readiness {
            return Err(format!("the store takes no writes: {reason}"));
        }
        if self.history.is_none() {
            let history = History::read(&self.reader).await;
            self.history = Some(history.map_err(|error| Chain(&error).to_string())?);
        }
        self.register.load(&self.reader).await.map_err(|error| Chain(&error).to_string())
    }

    /// The fleet as it is known now.
    async fn fleet(&mut self) -> Fleet {
        let now = self.clock.now();
        let requests = self.register.requests();
        self.seen = self.roster.follow(&self.engine.snapshot());
        let requested: BTreeSet<NodeUid> = requests.keys().cloned().collect();
        self.facts.learn(&self.seen, &self.reader, &requested).await;
        let mut blockers: Vec<Blocker> = Vec::new();
        if let Some(secs) = self.clock.is_off_by() {
            let value = format!("the wall clock was stepped by {secs} s");
            blockers.push(shut(Gate::ClusterStale, value, now));
        }
        if let Some(since) = self.policy.gone_since() {
            let value = "its file is gone: nothing starts until there is one again".to_owned();
            blockers.push(shut(Gate::Policy, value, since));
        }
        let members = self.roster.members();
        let upkeep = self.roster.upkeep(&self.seen, &self.register);
        let policy = Arc::clone(self.policy.policy());
        let nothing = History::default();
        let nobody = Arc::from([]);
        let host = self.host.as_ref().and_then(|name| uid_of(&name.parse().ok()?));
        let materials = Materials {
            snapshot: &self.seen,
            members,
            upkeep: &upkeep,
            facts: &self.facts,
            clock: &self.clock,
            history: self.history.as_ref().unwrap_or(&nothing),
            requests,
            pods: Known::Known(
                members.values().map(|it| (it.uid.clone(), Arc::clone(&nobody))).collect(),
            ),
            budgets: Known::Known(BTreeMap::new()),
            blockers,
            own_node: host.filter(|uid| members.values().any(|it| it.uid == *uid)),
            can_grant: self.offers.key().is_some(),
        };
        let (mut fleet, certificates) = fleet::build(materials, &mut self.occurrences, now);
        self.certificates = certificates;
        self.answered().judge(&mut fleet, &policy, now);
        let term_secs = now.since(self.clock.began_at());
        fleet.frozen_at = self.storm.look(plan::is_frozen(&fleet, &policy, now), term_secs, now);
        fleet
    }

    /// What was asked so far: there are no Leases, and no etcd, without a cluster.
    fn answered(&self) -> Answered {
        Answered {
            members: Arc::new(self.roster.members().clone()),
            heard: self.objections.heard(&self.clock),
            // Nobody else holds a machine, whatever the policy asks for.
            leased: Leased {
                namespace: self.policy.policy().cluster.node_lease.clone(),
                holders: Some(Arc::new(Known::Known(BTreeMap::new()))),
            },
            certificates: self.certificates.clone(),
            ..Answered::default()
        }
    }

    /// Forgets what is over.
    fn tidy(&mut self, fleet: &Fleet) {
        self.complaints.retain(|uid, _| fleet.requests.contains_key(uid));
        self.offers.keep(|uid| fleet.requests.contains_key(uid));
        let now = self.clock.now();
        if fleet.requests.values().all(|it| goes_by_no_clock(it, now)) {
            self.clock.follow_wall();
        }
    }
}
