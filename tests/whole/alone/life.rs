//! Nodes of a fleet without a cluster: each talks to the collector again and again, and does what a grant
//! says. They speak the real protocol; the machine below them is left out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::BootId;
use palisade_report::Report;
use palisade_report::grant::Grant;
use palisade_report::grant::GrantId;
use palisade_report::wire::CanReboot;
use palisade_report::wire::GrantReport;
use palisade_report::wire::GrantWord;
use palisade_report::wire::HoldFile;
use palisade_report::wire::RebooterState;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::http::Client;
use palisade_tests::worker;
use tokio::task::JoinHandle;

/// Between two rounds of heartbeats.
const PACE: Duration = Duration::from_millis(400);

/// After which a collector that does not answer is left.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a node does with a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Conduct {
    /// It says that it reboots, and comes back without a reason.
    #[default]
    Reboots,
    /// It says that it reboots, then that the call failed.
    Fails,
}

/// What the nodes are told, and what they did.
#[derive(Default)]
struct Book {
    wants: BTreeSet<String>,
    /// Nodes that boot without a reason left, whatever they said.
    late: BTreeSet<String>,
    conduct: BTreeMap<String, Conduct>,
    /// How many grants each node was handed and acted upon.
    grants: BTreeMap<String, usize>,
    /// The nodes that rebooted, in order.
    boots: Vec<String>,
}

/// Simulated agents; they end when this is dropped.
pub(super) struct Life {
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Life {
    /// Agents that talk to a collector at this address, whether it is there or not.
    pub(super) fn start(address: SocketAddr, names: &[&str]) -> Self {
        let [healthy, needy] = [false, true].map(report);
        let mut nodes = fleet::nodes(std::slice::from_ref(&healthy), names.len());
        for (node, name) in nodes.iter_mut().zip(names) {
            (*name).clone_into(&mut node.name);
            node.rebooter = Some(RebooterState { can: CanReboot::Signal, hold: HoldFile::Absent });
            node.reboot(next_boot(), &healthy);
        }
        let book = Arc::<Mutex<Book>>::default();
        let task = tokio::spawn(live(nodes, address, Arc::clone(&book), healthy, needy));
        Self { book, task }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        assert!(!self.task.is_finished(), "the agents have ended");
        self.book.lock().expect("a sound lock")
    }

    /// Lets a node need a reboot from now on.
    pub(super) fn need_reboot(&self, node: &str) {
        self.book().wants.insert(node.to_owned());
    }

    /// Lets a node boot that had failed to, which ends its reasons.
    pub(super) fn boot_late(&self, node: &str) {
        self.book().late.insert(node.to_owned());
    }

    /// What a node does with grants from now on.
    pub(super) fn conduct(&self, node: &str, conduct: Conduct) {
        self.book().conduct.insert(node.to_owned(), conduct);
    }

    /// The nodes that rebooted, in order.
    pub(super) fn boots(&self) -> Vec<String> {
        self.book().boots.clone()
    }

    /// How many grants all nodes together have acted upon.
    pub(super) fn grants(&self) -> usize {
        self.book().grants.values().sum()
    }
}

async fn live(
    mut nodes: Vec<Node>,
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    healthy: Report,
    needy: Report,
) {
    let book = || book.lock().expect("a sound lock");
    loop {
        for node in &mut nodes {
            if book().wants.remove(&node.name) {
                node.change(&Report { reboot: needy.reboot.clone(), ..Report::default() });
            }
            if book().late.remove(&node.name) {
                node.reboot(next_boot(), &healthy);
            }
            let mut client = Client::new(address);
            let talk = tokio::time::timeout(PATIENCE, node.try_talk(&mut client)).await;
            if !matches!(talk, Ok(Some(_))) {
                continue;
            }
            let Some(grant) = node.grant.take() else { continue };
            let grant = Grant::decode(grant.as_bytes()).expect("a grant");
            *book().grants.entry(node.name.clone()).or_default() += 1;
            let conduct = book().conduct.get(&node.name).copied().unwrap_or_default();
            say(node, &mut client, grant.id, GrantWord::Executing).await;
            match conduct {
                Conduct::Reboots => {
                    book().boots.push(node.name.clone());
                    node.reboot(next_boot(), &healthy);
                }
                Conduct::Fails => say(node, &mut client, grant.id, GrantWord::Failed).await,
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Answers a grant. Nobody may be listening any more; the node acts all the same.
async fn say(node: &Node, client: &mut Client, id: GrantId, answer: GrantWord) {
    let said = GrantReport { answer, code: String::new(), words: String::new() };
    let path = format!("/v1/nodes/{}/grants/{id}", node.name);
    let body = Bytes::from(serde_json::to_vec(&said).expect("JSON"));
    let json = [("content-type", "application/json")];
    let told = client.try_send(Method::POST, &path, &json, body);
    drop(tokio::time::timeout(PATIENCE, told).await);
}

fn next_boot() -> BootId {
    static BOOTS: AtomicU64 = AtomicU64::new(1);
    let number = BOOTS.fetch_add(1, Ordering::SeqCst);
    format!("33333333-0000-4000-8000-{number:012x}").parse().expect("a boot id")
}

fn report(needs_reboot: bool) -> Report {
    let root = Directory::new("node");
    worker::write(&root, 0);
    if needs_reboot {
        root.write("/run/reboot-required", "");
    }
    worker::inspect(root.path())
}
