//! The spine: real agent, real collector, from a file on disk to an answer.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::directory::Directory;
use palisade_tests::http::Client;
use palisade_tests::process::Agent;
use palisade_tests::process::Collector;
use palisade_tests::process::Process;
use palisade_tests::worker;
use serde_json::Value;

/// How long a condition may take to come true; nothing here is fast on purpose.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds between heartbeats: the shortest that the collector accepts.
const INTERVAL: &str = "1";

async fn node(client: &mut Client, name: &str) -> Option<Value> {
    let path = format!("/v1/nodes/{name}");
    let answer = client.send(Method::GET, &path, &[], Bytes::new()).await.expect("an answer");
    answer.status.is_success().then(|| answer.json())
}

/// Asks again and again until `wanted` finds what it wants.
async fn until<T>(
    what: &str,
    client: &mut Client,
    agent: &Process,
    wanted: impl Fn(&Value) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = node(client, "worker").await;
        if let Some(found) = answer.as_ref().and_then(&wanted) {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: {answer:#?}\n{:#?}", agent.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn complete(answer: &Value) -> Option<Value> {
    let node = &answer["node"];
    (node["report"].is_string() && node["pending"].is_null()).then(|| answer.clone())
}

fn heartbeats(metrics: &str) -> u64 {
    counter(metrics, "palisade_heartbeats_total")
}

fn counter(metrics: &str, name: &str) -> u64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

async fn metrics(address: SocketAddr) -> String {
    Client::new(address).get("/metrics").await.text()
}

fn findings(answer: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = answer["findings"].as_array().expect("findings");
    list.iter().map(|it| (text(&it["rule"]), text(&it["subject"]), text(&it["verdict"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_changes_one_section_and_one_finding() {
    let (root, state) = (Directory::new("root"), Directory::new("state"));
    worker::write(&root, 0);
    let collector = Collector::start(state.path(), &["--interval", INTERVAL]);
    let agent = Agent::run(collector.address, "worker", root.path(), &[]);
    let mut client = Client::new(collector.address);
    let before = until("the first report", &mut client, &agent, complete).await;

    worker::set_mode(root.path(), "/etc/shadow", 0o666);
    let digest = before["node"]["report"].clone();
    let after = until("the changed report", &mut client, &agent, |answer| {
        complete(answer).filter(|answer| answer["node"]["report"] != digest)
    })
    .await;

    let sections = |answer: &Value| answer["sections"].as_object().expect("sections").clone();
    let (old, new) = (sections(&before), sections(&after));
    let changed: Vec<_> = new
        .iter()
        .filter(|(name, it)| old[*name]["digest"] != it["digest"])
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, ["files"]);
    let (old, new) = (findings(&before), findings(&after));
    let changed: Vec<_> = new.iter().filter(|it| !old.contains(it)).collect();
    let shadow = ("file.shadow".to_owned(), "/etc/shadow".to_owned(), "fail".to_owned());
    assert_eq!(changed, [&shadow]);
    assert_eq!(old.len(), new.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_host_sends_heartbeats_and_no_section() {
    let (root, state) = (Directory::new("root"), Directory::new("state"));
    worker::write(&root, 0);
    let collector = Collector::start(state.path(), &["--interval", INTERVAL]);
    let agent = Agent::run(collector.address, "worker", root.path(), &[]);
    let mut client = Client::new(collector.address);
    until("the first report", &mut client, &agent, complete).await;

    let uploaded = |text: &str| counter(text, "palisade_stored_sections_total");
    let first = metrics(collector.address).await;
    let deadline = Instant::now() + PATIENCE;
    let last = loop {
        let now = metrics(collector.address).await;
        if heartbeats(&now) >= heartbeats(&first) + 5 {
            break now;
        }
        assert!(Instant::now() < deadline, "no five heartbeats: {now}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(uploaded(&first) >= 10, "ten sections came up: {first}");
    assert_eq!(uploaded(&last), uploaded(&first), "an unchanged host uploads nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_was_killed_knows_everything_and_asks_for_nothing() {
    let (root, state) = (Directory::new("root"), Directory::new("state"));
    worker::write(&root, 0);
    let first = Collector::start(state.path(), &["--interval", INTERVAL]);
    let agent = Agent::run(first.address, "worker", root.path(), &[]);
    let mut client = Client::new(first.address);
    let before = until("the first report", &mut client, &agent, complete).await;
    let address = first.address.to_string();
    first.process.kill();

    // The same address, so that the agent finds it again.
    let second = Collector::start_at(&address, state.path(), &["--interval", INTERVAL]);
    let mut client = Client::new(second.address);
    let after = node(&mut client, "worker").await.expect("the node is known at once");
    assert_eq!(after["sections"], before["sections"]);
    assert_eq!(findings(&after), findings(&before));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = metrics(second.address).await;
        if heartbeats(&now) >= 2 {
            assert_eq!(counter(&now, "palisade_uploads_total"), 0, "{now}");
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the agent did not come back: {now}\n{:#?}",
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// On `/`, whatever this host is: the real amount of work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_stays_below_ten_mebibytes() {
    let state = Directory::new("state");
    let collector = Collector::start(state.path(), &["--interval", INTERVAL]);
    let agent = Agent::run_shipped(collector.address, "worker", Path::new("/"));
    let mut client = Client::new(collector.address);
    until("the first report", &mut client, &agent, complete).await;
    let first = heartbeats(&metrics(collector.address).await);
    let deadline = Instant::now() + PATIENCE;
    while heartbeats(&metrics(collector.address).await) < first + 5 {
        assert!(Instant::now() < deadline, "no five heartbeats: {:#?}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let peak = agent.memory_kib("VmHWM");
    assert!(peak < 10 * 1024, "{peak} KiB at its peak");
}
