//! Peers that mean harm: bodies, tokens, names, questions and connections of all kinds. Each is
//! told what was wrong, and honest peers notice nothing.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::StatusCode;
use hyper::body::Bytes;
use palisade_report::Sequence;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::http::Answer;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::worker;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Bytes of a bomb once unpacked.
const BOMB: usize = 64 << 20;

/// Bombs at once.
const BOMBS: usize = 100;

/// KiB by which they may make the collector grow: it unpacks 4 MiB at a time, some at once, and
/// each body as sent is taken whole.
const MAY_GROW_KIB: u64 = 64 * 1024;

/// Connections that say nothing.
const SILENT: usize = 2000;

/// An honest request takes less, whatever else is going on.
const PROMPT: Duration = Duration::from_secs(5);

async fn enrolled(collector: &Collector) -> (Node, Client) {
    let mut node = fleet::nodes(&worker::configurations(1), 1).remove(0);
    let mut client = Client::new(collector.address);
    while node.talk(&mut client).await.settled == 0 {}
    (node, client)
}

/// The node's heartbeat is answered promptly.
async fn honest(node: &mut Node, client: &mut Client) {
    let began = Instant::now();
    let body = serde_json::to_vec(&node.heartbeat(None)).expect("JSON");
    let answer = node.post(client, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
}

async fn ask(client: &mut Client, method: Method, path: &str, body: &[u8]) -> Answer {
    let body = Bytes::copy_from_slice(body);
    let fields = [("content-type", "application/json")];
    client.send(method, path, &fields, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..BOMB / 4096 {
        encoder.write_all(&[b' '; 4096]).expect("memory");
    }
    encoder.finish().expect("memory")
}

fn zstd_bomb() -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
    for _ in 0..BOMB / 4096 {
        encoder.write_all(&[b' '; 4096]).expect("memory");
    }
    encoder.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bombs_at_once_are_refused_in_little_memory() {
    let state = Directory::new("bombs");
    let collector = Collector::start(state.path(), &["--max-unproven-per-address", "1000"]);
    let (mut node, mut client) = enrolled(&collector).await;
    let before = collector.process.memory_kib("VmRSS");
    let bombs = [("gzip", Bytes::from(gzip_bomb())), ("zstd", Bytes::from(zstd_bomb()))];
    let mut tasks = JoinSet::new();
    for at in 0..BOMBS {
        let (encoding, body) = bombs[at % 2].clone();
        let mut client = Client::new(collector.address);
        tasks.spawn(async move {
            let fields = [("content-encoding", encoding)];
            client.send(Method::PUT, "/v1/nodes/node-0/sections", &fields, body).await
        });
    }
    honest(&mut node, &mut client).await;
    let mut refused = 0;
    while let Some(done) = tasks.join_next().await {
        let answer = done.expect("a client that did not panic").expect("an answer");
        match answer.status {
            StatusCode::PAYLOAD_TOO_LARGE => refused += 1,
            StatusCode::SERVICE_UNAVAILABLE => assert_eq!(answer.problem(), "busy"),
            other => panic!("{other} {}", answer.text()),
        }
    }
    assert!(refused > 0);
    let grown = collector.process.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more");
    honest(&mut node, &mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_message_are_refused_and_change_nothing() {
    let state = Directory::new("bodies");
    let collector = Collector::start(state.path(), &[]);
    let (mut node, mut client) = enrolled(&collector).await;
    let heartbeat = serde_json::to_string(&node.heartbeat(None)).expect("JSON");
    let twice = heartbeat.replacen('{', "{\"wire\":1,", 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!("{{\"report\":\"{}\"}}", "x".repeat(20_000));
    let path = "/v1/nodes/node-0/heartbeat";
    for (body, status) in [
        (&heartbeat[..heartbeat.len() - 1], 400),
        (&*twice, 400),
        (&deep[..30_000], 400),
        (&*long, 400),
        ("", 400),
        ("7", 400),
        ("{\"wire\":1}", 400),
        (&*deep, 413),
    ] {
        let answer = ask(&mut client, Method::POST, path, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{} {}", &body[..body.len().min(40)], answer.text());
        assert!(answer.body.len() < 1024, "the answer does not repeat the question");
        assert!(!answer.problem().is_empty());
    }
    // The same number for another report.
    let mut other = fleet::nodes(&worker::configurations(2), 2).remove(1);
    other.name.clone_from(&node.name);
    other.boot_id = node.boot_id.clone();
    let mut used = other.heartbeat(None);
    used.sequence = Sequence(node.sequence - 2);
    honest(&mut node, &mut client).await;
    used.sequence = Sequence(node.sequence - 1);
    let answer =
        ask(&mut client, Method::POST, path, &serde_json::to_vec(&used).expect("JSON")).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::CONFLICT, "conflict".to_owned()));
    let answer = client.get("/v1/nodes/node-0").await.json();
    assert_eq!(answer["node"]["report"], node.report().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_questions_are_the_askers_fault_and_never_ours() {
    let state = Directory::new("questions");
    let collector = Collector::start(state.path(), &[]);
    let (mut node, mut client) = enrolled(&collector).await;
    for path in [
        "/v1/nodes/%00",
        "/v1/nodes/a%0ab",
        "/v1/nodes/%1b%5b31m",
        "/v1/nodes/..%2f..%2fetc%2fpasswd",
        "/v1/nodes/a%e2%80%aeb",
        "/v1/nodes/%ff",
        "/v1/nodes?state=moon",
        "/v1/nodes?limit=0",
        "/v1/nodes?limit=-1",
        "/v1/nodes?limit=99999999999999999999999",
        "/v1/nodes?limit=1&limit=2",
        "/v1/nodes?name=%zz",
        "/v1/nodes/node-0?facts=moon",
        "/v1/findings?severity=%27%3b%20DROP%20TABLE%20nodes%3b--",
        "/v1/findings?rule=%27",
        "/v1/findings?after=zz",
        "/v1/findings?by=node&after=61",
        "/v1/findings?format=exe",
        "/v1/certificates?after=61",
        "/v1/certificates?after=313a6d6f6f6e",
        "/v1/certificates?node=%27%20OR%201%3d1--",
        "/v1/certificates?within=-1d",
        "/v1/certificates?within=99999999999999999999w",
        "/v1/history?before=x",
        "/v1/history?node=%00",
        "/v1/facts/moon.phase",
        "/v1/facts/%00",
        "/v1/summary?x=1",
        "/v1/watch?after=x",
    ] {
        let answer = ask(&mut client, Method::GET, path, b"").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text());
        assert!(!answer.text().chars().any(char::is_control), "{path}: {}", answer.text());
    }
    for (method, path, status) in [
        (Method::GET, "/v1/nodes/", 404),
        (Method::GET, "/v1/nodes/a/../b", 404),
        (Method::GET, "/v1/nodes/unknown", 404),
        (Method::DELETE, "/v1/nodes/unknown", 404),
        (Method::PATCH, "/v1/nodes/a", 405),
        (Method::TRACE, "/", 405),
        (Method::POST, "/v1/summary", 405),
    ] {
        let answer = ask(&mut client, method.clone(), path, b"").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
    }
    for path in ["/v1/history?before=-9223372036854775808", "/v1/certificates?within=0s"] {
        client.get(path).await;
    }
    for line in collector.process.log() {
        assert!(!line.contains("\"ERROR\""), "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
    honest(&mut node, &mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_their_own_doors_and_never_reach_the_log() {
    let state = Directory::new("tokens");
    let (agent, viewer) = ("agent-token-0123456789", "viewer-token-0123456789");
    state.write("agent", agent);
    state.write("viewer", viewer);
    let file = |name: &str| state.path().join(name).to_str().expect("UTF-8").to_owned();
    let collector = Collector::start(
        &state.path().join("state"),
        &["--agent-token-file", &file("agent"), "--viewer-token-file", &file("viewer")],
    );
    let wrong = "wrong-token-0123456789";
    for (token, method, path, status) in [
        (viewer, Method::GET, "/v1/nodes", 200),
        (agent, Method::GET, "/v1/nodes", 403),
        (agent, Method::DELETE, "/v1/nodes/a", 403),
        (viewer, Method::DELETE, "/v1/nodes/a", 403),
        (viewer, Method::POST, "/v1/nodes/a/heartbeat", 403),
        (viewer, Method::PUT, "/v1/nodes/a/sections", 403),
        (agent, Method::POST, "/v1/nodes/a/heartbeat", 400),
        (wrong, Method::GET, "/v1/nodes", 401),
        (wrong, Method::POST, "/v1/nodes/a/heartbeat", 401),
        (wrong, Method::GET, "/readyz", 200),
        ("", Method::GET, "/v1/nodes", 401),
    ] {
        let mut client = Client::new(collector.address).with_token(token);
        let answer = ask(&mut client, method.clone(), path, b"").await;
        assert_eq!(answer.status.as_u16(), status, "{token} {method} {path}: {}", answer.text());
        assert!(!answer.text().contains(wrong));
    }
    for token in [agent, viewer, wrong] {
        assert!(!collector.process.log().iter().any(|line| line.contains(token)));
    }
}

/// What a change feed says first to a client that resumes after `id`.
async fn feed(address: SocketAddr, id: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!("GET /v1/watch HTTP/1.1\r\nhost: {address}\r\nlast-event-id: {id}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut heard = Vec::new();
    let listening = async {
        while !String::from_utf8_lossy(&heard).contains(until) {
            let mut some = [0; 4096];
            match stream.read(&mut some).await.expect("a feed") {
                0 => break,
                read => heard.extend_from_slice(&some[..read]),
            }
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(10), listening).await;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(within.is_ok(), "no {until} in {heard}");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_resumed_from_a_history_that_is_gone_says_so() {
    let state = Directory::new("feed");
    let collector = Collector::start(state.path(), &[]);
    enrolled(&collector).await;
    let heard = feed(collector.address, "1", "id: 2\n").await;
    assert!(!heard.contains("event: lost"), "{heard}");
    feed(collector.address, "999999", "event: lost\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_and_a_flood_of_heartbeats_hold_nobody_up() {
    let state = Directory::new("silent");
    let collector = Collector::start(state.path(), &[]);
    let (mut node, mut client) = enrolled(&collector).await;
    let before = collector.process.memory_kib("VmRSS");
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        // Our own descriptors may end before the collector's patience does.
        let Ok(stream) = TcpStream::connect(collector.address).await else { break };
        silent.push(stream);
    }
    honest(&mut node, &mut client).await;
    let grown = collector.process.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more");
    for _ in 0..500 {
        honest(&mut node, &mut client).await;
    }
    // All of them are closed in the end, without a word of theirs.
    let closing = async {
        for stream in &mut silent {
            let mut byte = [0];
            // Closed or reset, both are an end.
            if let Ok(read) = stream.read(&mut byte).await {
                assert_eq!(read, 0);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closing).await.expect("closed within 10 s");
    let mut late = Client::new(collector.address);
    honest(&mut node, &mut late).await;
}

#[test]
fn a_second_collector_on_the_same_state_ends_with_a_clear_error() {
    let state = Directory::new("second");
    let first = Collector::start(state.path(), &[]);
    let link = Directory::new("link");
    let alias = link.path().join("alias");
    std::os::unix::fs::symlink(state.path(), &alias).expect("a link");
    for path in [state.path(), &alias] {
        let (code, error) = Collector::fails(path);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("another collector has it open"), "{error}");
    }
    assert_eq!(first.process.terminate(), Some(0));
}
