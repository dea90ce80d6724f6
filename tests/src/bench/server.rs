//! A collector over a fresh store, with a token as long as a projected one, and a fleet in it.

use std::net::SocketAddr;
use std::time::Duration;

use palisade_agent::Inspector;
use palisade_agent::Tree;
use palisade_inspect::Interest;
use palisade_report::Report;
use palisade_rules::Profile;

use crate::directory::Directory;
use crate::fleet;
use crate::fleet::Node;
use crate::fleet::Talk;
use crate::http::Client;
use crate::process::Collector;

/// Bytes of a projected ServiceAccount token of Kubernetes, about.
const TOKEN_BYTES: usize = 1100;

/// The token of whoever asks.
pub(super) const VIEWER: &str = "viewer-token-0123456789";

/// Agents that enrol at once; the collector lets 20 upload.
const AT_ONCE: usize = 16;

/// A collector and the token that it takes from agents.
#[derive(Debug)]
pub(super) struct Server {
    /// The process.
    pub(super) collector: Collector,
    /// What agents present.
    pub(super) token: String,
    // Removed last.
    _state: Directory,
}

impl Server {
    /// Starts one that tells agents to come every `interval` seconds.
    pub(super) fn start(interval: u32) -> Self {
        let state = Directory::new("bench-collector");
        let token = "agent-".repeat(TOKEN_BYTES / 6);
        state.write("agent", &token);
        state.write("viewer", VIEWER);
        let path = |name| state.path().join(name).to_str().expect("UTF-8").to_owned();
        let interval = interval.to_string();
        let (agent, viewer) = (path("agent"), path("viewer"));
        let arguments = [
            "--agent-token-file",
            &agent,
            "--viewer-token-file",
            &viewer,
            "--max-unproven-per-address",
            "1024",
            "--interval",
            &interval,
        ];
        let collector = Collector::start(&state.path().join("state"), &arguments);
        Self { collector, token, _state: state }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.collector.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.collector.process.pid()
    }

    /// Lets every node send its whole report; what all share is brought by the first.
    pub(super) fn enrol(&self, nodes: Vec<Node>) -> (Vec<Node>, Talk) {
        let mut nodes = nodes;
        let others = nodes.split_off(1.min(nodes.len()));
        let (mut enrolled, _) = self.announce(nodes);
        let (others, talk) = self.announce(others);
        enrolled.extend(others);
        (enrolled, talk)
    }

    /// Lets all nodes speak at once until nothing is wanted of any; what they said together.
    pub(super) fn announce(&self, mut nodes: Vec<Node>) -> (Vec<Node>, Talk) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let share = nodes.len().div_ceil(AT_ONCE);
        runtime.block_on(async {
            let mut tasks = Vec::new();
            while !nodes.is_empty() {
                let mut some = nodes.split_off(nodes.len().saturating_sub(share));
                let (address, token) = (self.address(), self.token.clone());
                tasks.push(tokio::spawn(async move {
                    let talk = settle(address, &token, &mut some).await;
                    (some, talk)
                }));
            }
            let mut settled = Vec::new();
            let mut all = Talk::default();
            for task in tasks {
                let (nodes, talk) = task.await.expect("agents that did not panic");
                settled.extend(nodes);
                all.add(talk);
            }
            (settled, all)
        })
    }
}

/// How often a node may come back before it is given up.
const MAX_TRIES: u32 = 1000;

/// When a node comes back of which something is wanted later.
const BACK_AFTER: Duration = Duration::from_millis(20);

async fn settle(address: SocketAddr, token: &str, nodes: &mut [Node]) -> Talk {
    let mut client = Client::new(address).with_token(token);
    let mut all = Talk::default();
    for node in nodes {
        let mut tries = 0;
        loop {
            let talk = node.talk(&mut client).await;
            let settled = talk.settled > 0;
            all.add(talk);
            if settled {
                break;
            }
            tries += 1;
            assert!(tries < MAX_TRIES, "{} never gets its report through", node.name);
            tokio::time::sleep(BACK_AFTER).await;
        }
    }
    all
}

/// `count` nodes with the report of this machine; their names, boots and certificates differ.
pub(super) fn fleet(count: usize) -> Vec<Node> {
    fleet::nodes(&[own_report()], count)
}

/// The report of this machine.
pub(super) fn own_report() -> Report {
    let tree = Tree::open(std::path::Path::new("/")).expect("this machine");
    Inspector::new(tree, interest()).inspect()
}

/// What the built-in rules look at, as the agent hands it to its readers.
pub(super) fn interest() -> Interest {
    let profile = Profile::built_in();
    let palisade_rules::Interest { sysctls, files, modules, mounts } = profile.interest().clone();
    Interest { sysctls, files, modules, mounts, ..Interest::default() }
}

/// A request as bytes.
pub(super) fn request(method: &str, path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: palisade\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
