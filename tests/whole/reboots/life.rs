//! The life of simulated nodes: each talks to the collector again and again, does what a grant says,
//! and comes back with another boot id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::Report;
use palisade_report::grant::Grant;
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
use palisade_tests::worker;
use serde_json::json;

/// Between two rounds of heartbeats.
const PACE: Duration = Duration::from_millis(400);

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
}

/// Simulated agents, one for each node; they end when this is dropped.
pub(super) struct Agents {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    server: Mutex<Server>,
    conduct: Mutex<BTreeMap<String, Conduct>>,
    wants: Mutex<BTreeMap<String, bool>>,
    reboots: Mutex<Vec<String>>,
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
        let [healthy, needy] = [false, true].map(report);
        let mut agents = fleet::nodes(std::slice::from_ref(&healthy), nodes.len());
        cluster.equip(&mut agents);
        for agent in &mut agents {
            agent.rebooter = Some(RebooterState { can: CanReboot::Signal, hold: HoldFile::Absent });
            let boot = agent.boot_id.clone();
            agent.reboot(boot, &healthy);
            say_boot(cluster, agent);
        }
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            conduct: Mutex::default(),
            wants: Mutex::default(),
            reboots: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let life =
            Life { cluster: Arc::clone(cluster), shared: Arc::clone(&shared), healthy, needy };
        let thread = std::thread::spawn(move || life.go_on(agents));
        Self { shared, thread: Some(thread) }
    }

    /// Lets a node need a reboot from now on.
    pub(super) fn need_reboot(&self, node: &str) {
        self.shared.wants.lock().expect("a sound lock").insert(node.to_owned(), true);
    }

    /// What a node does from now on.
    pub(super) fn conduct(&self, node: &str, conduct: Conduct) {
        self.shared.conduct.lock().expect("a sound lock").insert(node.to_owned(), conduct);
    }

    /// Where the agents talk to from now on.
    pub(super) fn talk_to(&self, server: Server) {
        *self.shared.server.lock().expect("a sound lock") = server;
    }

    /// The nodes that rebooted, in order.
    pub(super) fn reboots(&self) -> Vec<String> {
        self.shared.reboots.lock().expect("a sound lock").clone()
    }
}

struct Life {
    cluster: Arc<ControlPlane>,
    shared: Arc<Shared>,
    healthy: Report,
    needy: Report,
}

impl Life {
    fn go_on(&self, mut agents: Vec<Node>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut boots = 0;
        while !self.shared.is_over.load(Ordering::SeqCst) {
            for agent in &mut agents {
                let conduct = self.shared.conduct.lock().expect("a sound lock");
                let conduct = conduct.get(&agent.name).copied().unwrap_or_default();
                if conduct == Conduct::Gone {
                    continue;
                }
                let wants = self.shared.wants.lock().expect("a sound lock").remove(&agent.name);
                if let Some(wants) = wants {
                    let report = if wants { &self.needy } else { &self.healthy };
                    let only = Report { reboot: report.reboot.clone(), ..Report::default() };
                    agent.change(&only);
                }
                let server = self.shared.server.lock().expect("a sound lock").clone();
                let mut client = server.client(agent);
                if runtime.block_on(agent.try_talk(&mut client)).is_none() {
                    continue;
                }
                let Some(grant) = agent.grant.take() else { continue };
                let id = Grant::decode(grant.as_bytes()).expect("a grant").id;
                let answer = GrantWord::Executing;
                let said = GrantReport { answer, code: String::new(), words: String::new() };
                let path = format!("/v1/nodes/{}/grants/{id}", agent.name);
                let body = Bytes::from(serde_json::to_vec(&said).expect("JSON"));
                let json = [("content-type", "application/json")];
                // Nobody may be listening any more; the node acts all the same.
                drop(runtime.block_on(client.try_send(Method::POST, &path, &json, body)));
                boots += 1;
                let report = match conduct {
                    Conduct::Reboots => &self.healthy,
                    Conduct::KeepsReason | Conduct::Gone => &self.needy,
                };
                self.shared.reboots.lock().expect("a sound lock").push(agent.name.clone());
                let boot = format!("11111111-0000-4000-8000-{boots:012x}");
                agent.reboot(boot.parse().expect("a boot id"), report);
                say_boot(&self.cluster, agent);
            }
            std::thread::sleep(PACE);
        }
    }
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
