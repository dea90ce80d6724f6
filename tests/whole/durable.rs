//! `kill -9` at many moments, and a disk that is full: what was acknowledged is kept, what was not
//! is refused, and nobody is asked for what the collector has.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::SectionName;
use palisade_report::section::Sharing;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::UploadReply;
use palisade_report::wire::Want;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::process::Collector;
use palisade_tests::worker;
use serde_json::Value;

/// How often the collector is killed, each time at another moment of an enrolment.
const KILLS: usize = 64;

/// Milliseconds after its start within which it is killed: an enrolment takes some ten.
const KILLED_WITHIN: u64 = 40;

/// How long anything may take that must come in the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the collector said it has: by section and digest, and by node where it is the node's own.
type Acknowledged = Arc<Mutex<BTreeSet<(Option<String>, SectionName, Digest)>>>;

/// One exchange on a connection of its own; an error means that the collector is gone.
fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let body = answer.split_off(end + 4);
    if length.is_some_and(|it| it.parse() != Ok(body.len())) {
        return Err(cut());
    }
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(cut)?;
    Ok((status, body))
}

fn key(node: &Node, name: SectionName) -> (Option<String>, SectionName, Digest) {
    let owner = (name.sharing() == Sharing::PerNode).then(|| node.name.clone());
    (owner, name, node.manifest().get(name).expect("an announced section").digest)
}

/// Speaks for a node until the collector wants nothing of it, refuses, or is gone.
fn speak(address: SocketAddr, node: &mut Node, acknowledged: &Acknowledged) -> std::io::Result<()> {
    let mut manifest = None;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let body = serde_json::to_vec(&node.heartbeat(manifest.take())).expect("JSON");
        let path = format!("/v1/nodes/{}", node.name);
        let (status, answer) = ask(address, "POST", &format!("{path}/heartbeat"), &body)?;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        match serde_json::from_slice::<HeartbeatReply>(&answer).expect("a reply").want {
            Want::Manifest => manifest = Some(node.manifest().clone()),
            Want::Sections(names) => {
                for name in &names {
                    let had = acknowledged.lock().expect("a lock").contains(&key(node, *name));
                    assert!(!had, "{} is asked for {name}, which was acknowledged", node.name);
                }
                let (status, answer) =
                    ask(address, "PUT", &format!("{path}/sections"), &node.upload(&names))?;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
                let reply: UploadReply = serde_json::from_slice(&answer).expect("a reply");
                for name in reply.stored.keys() {
                    let key = key(node, name.parse().expect("a section"));
                    acknowledged.lock().expect("a lock").insert(key);
                }
            }
            Want::Nothing => {
                let (_, answer) = ask(address, "GET", &path, b"")?;
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                if answer["node"]["report"] == node.report().to_string() {
                    return Ok(());
                }
                // Another node was asked for what they share.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    panic!("{} is not settled after {PATIENCE:?}", node.name);
}

fn enrol(address: SocketAddr, nodes: Vec<Node>, acknowledged: &Acknowledged) -> EnrolThreads {
    nodes
        .into_iter()
        .map(|mut node| {
            let acknowledged = Arc::clone(acknowledged);
            std::thread::spawn(move || {
                let outcome = speak(address, &mut node, &acknowledged);
                (node, outcome.is_ok())
            })
        })
        .collect()
}

type EnrolThreads = Vec<std::thread::JoinHandle<(Node, bool)>>;

/// A number that looks random and is the same in every run (splitmix64).
fn seeded(round: usize) -> u64 {
    let mut it = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it ^ (it >> 31)
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_acknowledged_and_asks_for_nothing_twice() {
    let state = Directory::new("killed");
    let acknowledged = Acknowledged::default();
    let mut waiting = fleet::nodes(&worker::configurations(4), 2 * KILLS + 4);
    waiting.reverse();
    let (mut going, mut settled) = (Vec::new(), Vec::new());
    for round in 0..KILLS {
        let collector = Collector::start(state.path(), &[]);
        let room = 6_usize.saturating_sub(going.len()).min(2);
        going.extend((0..room).filter_map(|_| waiting.pop()));
        let threads = enrol(collector.address, std::mem::take(&mut going), &acknowledged);
        std::thread::sleep(Duration::from_micros(seeded(round) % (KILLED_WITHIN * 1000)));
        collector.process.kill();
        for thread in threads {
            let (node, is_settled) = thread.join().expect("an agent that did not panic");
            if is_settled { settled.push(node) } else { going.push(node) }
        }
    }
    // All nodes come at the same time now, and from one address.
    let collector = Collector::start(state.path(), &["--max-unproven-per-address", "1000"]);
    // Known at once, without a word of the agents.
    for node in &settled {
        holds(collector.address, node);
    }
    for thread in enrol(collector.address, going, &acknowledged) {
        let (node, is_settled) = thread.join().expect("an agent that did not panic");
        assert!(is_settled, "{}", node.name);
        settled.push(node);
    }
    let stored = acknowledged.lock().expect("a lock").len();
    for thread in enrol(collector.address, settled, &acknowledged) {
        let (node, is_settled) = thread.join().expect("an agent that did not panic");
        assert!(is_settled, "{}", node.name);
        holds(collector.address, &node);
    }
    assert_eq!(acknowledged.lock().expect("a lock").len(), stored, "nothing came twice");
}

/// The collector answers with the node's whole report.
fn holds(address: SocketAddr, node: &Node) {
    let (status, answer) =
        ask(address, "GET", &format!("/v1/nodes/{}?facts=all", node.name), b"").expect("an answer");
    assert_eq!(status, 200, "{}", node.name);
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["node"]["report"], node.report().to_string());
    for (name, entry) in &node.manifest().0 {
        let section = &answer["sections"][name];
        assert_eq!(section["digest"], entry.digest.to_string(), "{} {name}", node.name);
        assert!(section["facts"].is_object(), "{} {name} has no facts", node.name);
    }
}

fn ready(address: SocketAddr) -> u16 {
    ask(address, "GET", "/readyz", b"").expect("an answer").0
}

/// Waits for a status of `/readyz`.
fn until_ready_is(address: SocketAddr, wanted: u16) {
    let deadline = Instant::now() + PATIENCE;
    while ready(address) != wanted {
        assert!(Instant::now() < deadline, "/readyz is not {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_is_said_so_and_nothing_acknowledged_is_lost() {
    let state = Directory::new("full");
    let Some(collector) = Collector::start_on_small_disk(state.path(), 4) else {
        eprintln!("skipped: this machine does not let us mount a small disk");
        return;
    };
    let address = collector.address;
    let acknowledged = Acknowledged::default();
    let mut nodes = fleet::nodes(&worker::configurations(1), 400);
    nodes.reverse();
    let mut old = nodes.pop().expect("a node");
    speak(address, &mut old, &acknowledged).expect("it is enrolled");

    let ballast = collector.state_seen_from_here(state.path()).join("ballast");
    let mut file = std::fs::File::create(&ballast).expect("a file on the small disk");
    while file.write_all(&[7; 4096]).is_ok() {}
    // What the journal still has room for is taken; then new nodes are refused, in words.
    let refused = loop {
        let mut node = nodes.pop().expect("the disk is full before so many nodes");
        let manifest = node.manifest().clone();
        let body = serde_json::to_vec(&node.heartbeat(Some(manifest))).expect("JSON");
        let path = format!("/v1/nodes/{}/heartbeat", node.name);
        let (status, answer) = ask(address, "POST", &path, &body).expect("an answer");
        if status != 200 {
            let answer: BTreeMap<String, Value> = serde_json::from_slice(&answer).expect("JSON");
            assert_eq!((status, &answer["kind"]), (503, &"not-ready".into()), "{answer:?}");
            break node;
        }
    };
    until_ready_is(address, 503);
    holds(address, &old);
    // A heartbeat without news needs no disk.
    speak(address, &mut old, &acknowledged).expect("it is answered");

    drop(file);
    std::fs::remove_file(&ballast).expect("room again");
    until_ready_is(address, 200);
    let mut refused = refused;
    speak(address, &mut refused, &acknowledged).expect("it is enrolled now");
    holds(address, &refused);
    holds(address, &old);
}
