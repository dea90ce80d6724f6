//! The life of simulated nodes: each talks to the collector again and again, does what a grant says,
//! and comes back with another boot id.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::Report;
use palisade_report::grant::Grant;
use palisade_report::grant::GrantId;
use palisade_report::wire::CanReboot;
use palisade_report::wire::GrantReport;
use palisade_report::wire::GrantWord;
use palisade_report::wire::HoldFile;
use palisade_report::wire::RebooterState;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::fleet::Server;
use palisade_tests::http::Client;
use palisade_tests::wait;
use palisade_tests::worker;
use serde_json::json;

use super::bench::WITHIN;

/// Between two rounds of heartbeats.
const PACE: Duration = Duration::from_millis(400);

/// For how long a node that takes its time is not heard of: several looks of the collector.
const AWAY_FOR: Duration = Duration::from_secs(3);

/// After which a collector that does not answer is left: one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a node does with a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Conduct {
    /// It says that it reboots, and comes back without a reason.
    #[default]
    Reboots,
    /// It reboots, and the reason is still there.
    KeepsReason,
    /// Nothing, and it says nothing either: the machine or its agent is gone.
    Gone,
    /// It says that it reboots and is not heard any more, until it conducts itself otherwise: then it
    /// has booted.
    Vanishes,
    /// It reboots like the first, and is not heard of for some seconds.
    TakesTime,
    /// It is heard as before, but neither uses its grants nor speaks of them.
    Ignores,
    /// It says that it reboots, then that the call failed.
    Fails,
    /// It says that it reboots, and is heard of the same boot for ever.
    Pretends,
    /// It reboots, and the kubelet of the new boot never speaks: the node object is as before.
    MuteKubelet,
    /// The same, until the node is not ready any more.
    DeadKubelet,
}

/// What a test does to an agent.
type Change = Box<dyn FnOnce(&mut Node) + Send>;

/// A reboot, as the node saw it: what was true of its object at that moment.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) node: String,
    /// How often it had begun to need a reboot by then.
    pub(super) occurrence: u32,
    /// Whose marker its cordon bore; `None`: it was not cordoned, or by a person.
    pub(super) cordoned_by: Option<String>,
    /// Names of the pods in the namespace `default` that were still on it and not on their way out.
    pub(super) pods: Vec<String>,
}

/// What a node knows of its own reasons.
#[derive(Clone, Copy, Debug, Default)]
struct Reasons {
    are_there: bool,
    occurrence: u32,
}

/// No two boots of any node have one id.
static BOOTS: AtomicU64 = AtomicU64::new(1);

/// Simulated agents, one for each node; they end when this is dropped.
pub(super) struct Agents {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    cluster: Arc<ControlPlane>,
    healthy: Report,
    server: Mutex<Server>,
    conduct: Mutex<BTreeMap<String, Conduct>>,
    wants: Mutex<BTreeMap<String, bool>>,
    changes: Mutex<Vec<(String, Change)>>,
    clocks: Mutex<BTreeMap<String, i64>>,
    heard: Mutex<BTreeMap<String, usize>>,
    grants: Mutex<BTreeMap<String, BTreeSet<GrantId>>>,
    handed: Mutex<Vec<(String, Grant)>>,
    unheard: AtomicUsize,
    reasons: Mutex<BTreeMap<String, Reasons>>,
    reboots: Mutex<Vec<Boot>>,
    is_over: AtomicBool,
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the agents panicked");
        }
    }
}

impl Agents {
    pub(super) fn start(cluster: &Arc<ControlPlane>, nodes: &[String], server: Server) -> Self {
        Self::start_at_pace(cluster, nodes, server, PACE)
    }

    /// The same with another time between two rounds of heartbeats.
    pub(super) fn start_at_pace(
        cluster: &Arc<ControlPlane>,
        nodes: &[String],
        server: Server,
        pace: Duration,
    ) -> Self {
        let [healthy, needy] = [false, true].map(report);
        let mut agents = fleet::nodes(std::slice::from_ref(&healthy), nodes.len());
        for (agent, name) in agents.iter_mut().zip(nodes) {
            agent.name.clone_from(name);
        }
        cluster.equip(&mut agents);
        for agent in &mut agents {
            agent.rebooter = Some(RebooterState { can: CanReboot::Signal, hold: HoldFile::Absent });
            agent.reboot(next_boot(), &healthy);
            say_boot(cluster, agent);
        }
        let shared = Arc::new(Shared {
            cluster: Arc::clone(cluster),
            healthy: healthy.clone(),
            server: Mutex::new(server),
            conduct: Mutex::default(),
            wants: Mutex::default(),
            changes: Mutex::default(),
            clocks: Mutex::default(),
            heard: Mutex::default(),
            grants: Mutex::default(),
            handed: Mutex::default(),
            unheard: AtomicUsize::new(0),
            reasons: Mutex::default(),
            reboots: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let life = Life { shared: Arc::clone(&shared), needy, pace };
        let thread = std::thread::spawn(move || life.go_on(agents));
        Self { shared, thread: Some(thread) }
    }

    /// Lets a node need a reboot from now on.
    pub(super) fn need_reboot(&self, node: &str) {
        self.shared.wants.lock().expect("a sound lock").insert(node.to_owned(), true);
    }

    /// Lets a node need no reboot any more.
    pub(super) fn need_no_reboot(&self, node: &str) {
        self.shared.wants.lock().expect("a sound lock").insert(node.to_owned(), false);
    }

    /// Has the kubelet of a node speak again, of the boot in which the agent is.
    pub(super) fn revive_kubelet(&self, node: &str) {
        let cluster = Arc::clone(&self.shared.cluster);
        let path = format!("/api/v1/nodes/{node}");
        let keep = json!({ "metadata": { "annotations": { "kwok.x-k8s.io/node": "fake" } } });
        cluster.api().must(Call::merge(&path, &keep));
        wait::until("the node is ready", WITHIN, || {
            let node = cluster.get(&path);
            let conditions = node["status"]["conditions"].as_array().expect("conditions").iter();
            let mut ready = conditions.filter(|it| it["type"] == "Ready");
            if ready.any(|it| it["status"] == "True") { Ok(()) } else { Err(node) }
        });
        // KWOK has a boot id of its own for nodes that become ready.
        self.change(node, move |agent| say_boot(&cluster, agent));
    }

    /// Whether a node needs no reboot, and none is to come.
    pub(super) fn is_well(&self, node: &str) -> bool {
        let is_settled = !self.shared.wants.lock().expect("a sound lock").contains_key(node);
        let reasons = self.shared.reasons.lock().expect("a sound lock");
        is_settled && !reasons.get(node).is_some_and(|it| it.are_there)
    }

    /// Whether they still live: they end only by a panic.
    pub(super) fn are_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| !it.is_finished())
    }

    /// How often a node has begun to need a reboot.
    pub(super) fn occurrences(&self, node: &str) -> u32 {
        let reasons = self.shared.reasons.lock().expect("a sound lock");
        reasons.get(node).map_or(0, |it| it.occurrence)
    }

    /// What a node does from now on.
    pub(super) fn conduct(&self, node: &str, conduct: Conduct) {
        self.shared.conduct.lock().expect("a sound lock").insert(node.to_owned(), conduct);
    }

    /// Ends the agent of a node and starts it anew in the same boot.
    pub(super) fn restart(&self, node: &str) {
        self.change(node, |agent| {
            agent.sequence = 1;
            agent.grant = None;
        });
    }

    /// Gives the agent of a node that was made anew a pod and a token there, and another boot.
    pub(super) fn reinstall(&self, node: &str) {
        let pod = format!("/api/v1/namespaces/palisade-system/pods/{node}");
        let cluster = &self.shared.cluster;
        let at_once = format!("{pod}?gracePeriodSeconds=0");
        // The pod collector may have been faster.
        drop(cluster.api().send(Call::delete(at_once)));
        wait::until("the pod of the old node is gone", WITHIN, || {
            let found = cluster.api().send(Call::get(&pod)).expect("an answer");
            if found.status == 404 { Ok(()) } else { Err(found.text()) }
        });
        let healthy = self.shared.healthy.clone();
        let mut anew = fleet::nodes(std::slice::from_ref(&healthy), 1);
        node.clone_into(&mut anew[0].name);
        cluster.equip(&mut anew);
        let token = anew[0].token.clone();
        self.change(node, move |agent| {
            agent.token = token;
            let boot = format!("22222222-0000-4000-8000-{:012x}", agent.sequence);
            agent.reboot(boot.parse().expect("a boot id"), &healthy);
        });
    }

    /// Does this to the agent of a node before it talks again.
    pub(super) fn change(&self, node: &str, change: impl FnOnce(&mut Node) + Send + 'static) {
        let change: Change = Box::new(change);
        self.shared.changes.lock().expect("a sound lock").push((node.to_owned(), change));
    }

    /// By how many seconds the clock of a node is ahead from now on.
    pub(super) fn set_clock(&self, node: &str, ahead_secs: i64) {
        self.shared.clocks.lock().expect("a sound lock").insert(node.to_owned(), ahead_secs);
    }

    /// How often a collector has answered the agent of a node.
    pub(super) fn heard(&self, node: &str) -> usize {
        self.shared.heard.lock().expect("a sound lock").get(node).copied().unwrap_or_default()
    }

    /// How many different grants a node was handed.
    pub(super) fn grants(&self, node: &str) -> usize {
        self.shared.grants.lock().expect("a sound lock").get(node).map_or(0, BTreeSet::len)
    }

    /// Each grant that a node was handed, as often as it was, and which node.
    pub(super) fn handed(&self) -> Vec<(String, Grant)> {
        self.shared.handed.lock().expect("a sound lock").clone()
    }

    /// How often a collector has answered any agent.
    pub(super) fn all_heard(&self) -> usize {
        self.shared.heard.lock().expect("a sound lock").values().sum()
    }

    /// Heartbeats that nobody took so far.
    pub(super) fn unheard(&self) -> usize {
        self.shared.unheard.load(Ordering::SeqCst)
    }

    /// Where the agents talk to from now on.
    pub(super) fn talk_to(&self, server: Server) {
        *self.shared.server.lock().expect("a sound lock") = server;
    }

    /// The nodes that rebooted, in order.
    pub(super) fn reboots(&self) -> Vec<String> {
        self.boots().into_iter().map(|it| it.node).collect()
    }

    /// The same with what was true at the moment.
    pub(super) fn boots(&self) -> Vec<Boot> {
        self.shared.reboots.lock().expect("a sound lock").clone()
    }
}

struct Life {
    shared: Arc<Shared>,
    needy: Report,
    pace: Duration,
}

impl Life {
    fn go_on(&self, mut agents: Vec<Node>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut away: BTreeMap<String, Instant> = BTreeMap::new();
        while !self.shared.is_over.load(Ordering::SeqCst) {
            for agent in &mut agents {
                let conduct = self.shared.conduct.lock().expect("a sound lock");
                let conduct = conduct.get(&agent.name).copied().unwrap_or_default();
                if conduct == Conduct::Gone {
                    continue;
                }
                if let Some(since) = away.get(&agent.name) {
                    let is_short = since.elapsed() < AWAY_FOR;
                    if conduct == Conduct::Vanishes || (conduct == Conduct::TakesTime && is_short) {
                        continue;
                    }
                    away.remove(&agent.name);
                    self.boot(agent, conduct);
                }
                self.prepare(agent);
                let server = self.shared.server.lock().expect("a sound lock").clone();
                let mut client = server.client(agent);
                let talk =
                    async { tokio::time::timeout(PATIENCE, agent.try_talk(&mut client)).await };
                if !matches!(runtime.block_on(talk), Ok(Some(_))) {
                    self.shared.unheard.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let mut heard = self.shared.heard.lock().expect("a sound lock");
                *heard.entry(agent.name.clone()).or_default() += 1;
                drop(heard);
                let Some(grant) = agent.grant.take() else { continue };
                let grant = Grant::decode(grant.as_bytes()).expect("a grant");
                let (name, id) = (agent.name.clone(), grant.id);
                self.shared.handed.lock().expect("a sound lock").push((name, grant));
                self.shared
                    .grants
                    .lock()
                    .expect("a sound lock")
                    .entry(agent.name.clone())
                    .or_default()
                    .insert(id);
                let words = match conduct {
                    Conduct::Gone | Conduct::Ignores => &[][..],
                    Conduct::Fails => &[GrantWord::Executing, GrantWord::Failed],
                    Conduct::Reboots
                    | Conduct::KeepsReason
                    | Conduct::Vanishes
                    | Conduct::TakesTime
                    | Conduct::Pretends
                    | Conduct::MuteKubelet
                    | Conduct::DeadKubelet => &[GrantWord::Executing],
                };
                for answer in words {
                    runtime.block_on(say(agent, &mut client, id, *answer));
                }
                match conduct {
                    Conduct::Reboots
                    | Conduct::KeepsReason
                    | Conduct::MuteKubelet
                    | Conduct::DeadKubelet => {
                        self.boot(agent, conduct);
                    }
                    Conduct::Vanishes | Conduct::TakesTime => {
                        away.insert(agent.name.clone(), Instant::now());
                    }
                    Conduct::Gone | Conduct::Ignores | Conduct::Fails | Conduct::Pretends => {}
                }
            }
            std::thread::sleep(self.pace);
        }
    }

    /// What a test wants of an agent before its next word.
    fn prepare(&self, agent: &mut Node) {
        let changes = std::mem::take(&mut *self.shared.changes.lock().expect("a sound lock"));
        let (own, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(name, _)| *name == agent.name);
        self.shared.changes.lock().expect("a sound lock").splice(..0, others);
        for (_, change) in own {
            change(agent);
        }
        let wants = self.shared.wants.lock().expect("a sound lock").remove(&agent.name);
        if let Some(wants) = wants {
            let report = if wants { &self.needy } else { &self.shared.healthy };
            let only = Report { reboot: report.reboot.clone(), ..Report::default() };
            agent.change(&only);
            self.set_reasons(&agent.name, wants);
        }
        let ahead = self.shared.clocks.lock().expect("a sound lock").get(&agent.name).copied();
        if let Some(secs) = ahead {
            agent.sent_at = now().plus(secs);
        }
    }

    /// Another boot of a node, with what its kubelet says of it.
    fn boot(&self, agent: &mut Node, conduct: Conduct) {
        let report = match conduct {
            Conduct::KeepsReason => &self.needy,
            Conduct::Reboots
            | Conduct::Gone
            | Conduct::Vanishes
            | Conduct::TakesTime
            | Conduct::Ignores
            | Conduct::Fails
            | Conduct::Pretends
            | Conduct::MuteKubelet
            | Conduct::DeadKubelet => &self.shared.healthy,
        };
        self.witness(&agent.name);
        agent.reboot(next_boot(), report);
        self.set_reasons(&agent.name, conduct == Conduct::KeepsReason);
        match conduct {
            Conduct::MuteKubelet => {}
            Conduct::DeadKubelet => lose_kubelet(&self.shared.cluster, &agent.name),
            Conduct::Reboots
            | Conduct::KeepsReason
            | Conduct::Gone
            | Conduct::Vanishes
            | Conduct::TakesTime
            | Conduct::Ignores
            | Conduct::Fails
            | Conduct::Pretends => say_boot(&self.shared.cluster, agent),
        }
    }

    fn set_reasons(&self, node: &str, are_there: bool) {
        let mut reasons = self.shared.reasons.lock().expect("a sound lock");
        let reasons = reasons.entry(node.to_owned()).or_default();
        reasons.occurrence += u32::from(are_there && !reasons.are_there);
        reasons.are_there = are_there;
    }

    /// Notes what is true of a node at the moment in which it boots.
    fn witness(&self, name: &str) {
        let cluster = &self.shared.cluster;
        let node = cluster.get(&format!("/api/v1/nodes/{name}"));
        let marker = node["metadata"]["annotations"]["palisade.dev/cordoned-by"].as_str();
        let marker = marker.filter(|_| node["spec"]["unschedulable"] == true);
        let path = format!("/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3D{name}");
        let pods = cluster.get(&path);
        let stay = pods["items"].as_array().expect("a list").iter();
        let stay = stay.filter(|it| it["metadata"]["deletionTimestamp"].is_null());
        let reasons = self.shared.reasons.lock().expect("a sound lock").get(name).copied();
        self.shared.reboots.lock().expect("a sound lock").push(Boot {
            node: name.to_owned(),
            occurrence: reasons.unwrap_or_default().occurrence,
            cordoned_by: marker.map(str::to_owned),
            pods: stay
                .filter_map(|it| it["metadata"]["name"].as_str().map(str::to_owned))
                .collect(),
        });
    }
}

fn next_boot() -> BootId {
    let number = BOOTS.fetch_add(1, Ordering::SeqCst);
    format!("11111111-0000-4000-8000-{number:012x}").parse().expect("a boot id")
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Moment::from_unix(since.as_secs().cast_signed())
}

/// Answers a grant. Nobody may be listening any more; the node acts all the same.
async fn say(agent: &Node, client: &mut Client, id: GrantId, answer: GrantWord) {
    let said = GrantReport { answer, code: String::new(), words: String::new() };
    let path = format!("/v1/nodes/{}/grants/{id}", agent.name);
    let body = Bytes::from(serde_json::to_vec(&said).expect("JSON"));
    let json = [("content-type", "application/json")];
    let told = client.try_send(Method::POST, &path, &json, body);
    drop(tokio::time::timeout(PATIENCE, told).await);
}

/// As the node controller leaves a node whose kubelet is dead: KWOK lets go of it, and it is not ready.
fn lose_kubelet(cluster: &ControlPlane, node: &str) {
    let path = format!("/api/v1/nodes/{node}");
    let let_go = json!({ "metadata": { "annotations": { "kwok.x-k8s.io/node": null } } });
    cluster.api().must(Call::merge(&path, &let_go));
    let conditions = json!([{
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": now().to_string(),
    }]);
    let status = json!({ "status": { "conditions": conditions } });
    cluster.api().must(Call::strategic(format!("{path}/status"), &status));
}

/// What the kubelet says of its boot.
fn say_boot(cluster: &ControlPlane, agent: &Node) {
    let status = json!({ "status": { "nodeInfo": { "bootID": agent.boot_id.to_string() } } });
    let path = format!("/api/v1/nodes/{}/status", agent.name);
    cluster.api().must(Call::strategic(path, &status));
}

fn report(needs_reboot: bool) -> Report {
    let root = Directory::new("node");
    worker::write(&root, 0);
    if needs_reboot {
        root.write("/run/reboot-required", "");
    }
    worker::inspect(root.path())
}
