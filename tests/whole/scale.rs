//! Thousands of nodes in a cluster: enrolment, what quiet costs the API server, another leader, and a
//! tenth of the nodes that goes. `make test` takes three hundred, `make scale` five thousand.
//!
//! Nodes are KWOK's, agents are simulated and each has a token of its own, bound to its pod.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use hyper::StatusCode;
use palisade_report::Digest;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::fleet::Server;
use palisade_tests::fleet::Talk;
use palisade_tests::http::Client;
use palisade_tests::wait;
use palisade_tests::worker;
use serde_json::Value;

const CONFIGURATIONS: usize = 5;

/// As many as `PALISADE_NODES` says, else three hundred: a tenth of them goes at the end.
fn fleet_size() -> usize {
    std::env::var("PALISADE_NODES").map_or(300, |number| number.parse().expect("PALISADE_NODES"))
}

/// Rounds of talk until a collector that paces its uploads has everything.
const ROUNDS: usize = 1_000;

/// Renewals of the Lease that make up the quiet time: the collector's own clock, so that a slow
/// machine only makes the test longer.
const RENEWALS: usize = 6;

/// Requests that a collector may make for each renewal while nothing happens: the renewal itself,
/// a look at its Secret, a watch that ended and is opened again. Not one of them for a node.
const REQUESTS_PER_RENEWAL: usize = 4;

/// Reviews a second of tokens that are known, however many agents there are: `RENEWALS_PER_SECOND` of
/// the collector, and one for what is under way at either end.
const REVIEWS_PER_SECOND: f64 = 6.0;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(600);

/// The cluster, its agents and somebody who asks.
struct Scene {
    cluster: ControlPlane,
    runtime: tokio::runtime::Runtime,
    viewer: String,
}

impl Scene {
    fn new() -> Self {
        let cluster = ControlPlane::start();
        cluster.install("base");
        let viewer = cluster.person("somebody", "palisade-viewer");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self { cluster, runtime, viewer }
    }

    /// Agents on all of KWOK's nodes, each with the token of its own pod.
    fn agents(&self, names: &[String]) -> Vec<Node> {
        let mut agents = fleet::nodes(&worker::configurations(CONFIGURATIONS), names.len());
        for (agent, name) in agents.iter_mut().zip(names) {
            agent.name.clone_from(name);
        }
        self.cluster.equip(&mut agents);
        agents
    }

    fn settle(&self, server: &Server, agents: Vec<Node>) -> (Vec<Node>, Talk) {
        self.runtime.block_on(fleet::settle(server.clone(), agents, ROUNDS))
    }

    fn ask(&self, server: &Server, path: &str) -> Value {
        let Server { address, trust } = server;
        let trust = trust.as_ref().expect("TLS");
        let mut client = Client::new(*address).with_trust(trust).with_token(&self.viewer);
        self.runtime.block_on(client.get(path)).json()
    }

    /// The digest of every node's report, as the collector has it; gone nodes have none.
    fn digests(&self, server: &Server) -> BTreeMap<String, String> {
        let mut digests = BTreeMap::new();
        let mut path = "/v1/nodes?limit=1000".to_owned();
        loop {
            let page = self.ask(server, &path);
            let nodes = page["nodes"].as_array().expect("nodes").iter();
            for node in nodes.filter(|node| node["state"] != "gone") {
                digests.insert(text(&node["name"]), text(&node["report"]));
            }
            let Some(next) = page["next"].as_str() else { return digests };
            path = format!("/v1/nodes?limit=1000&after={next}");
        }
    }

    /// What the collector asked of the API server since `from`, by verb and resource.
    fn requests(&self, from: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in self.cluster.audit_log().iter().skip(from) {
            let is_watch_end = event["verb"] == "watch" && event["stage"] == "ResponseComplete";
            if event["user"]["username"] == COLLECTOR && !is_watch_end {
                let resource = event["objectRef"]["resource"].as_str().unwrap_or("-");
                let verb = event["verb"].as_str().unwrap_or("-");
                *counts.entry(format!("{verb} {resource}")).or_default() += 1;
            }
        }
        counts
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn expected(agents: &[Node]) -> BTreeMap<String, String> {
    let digest = |agent: &Node| -> Digest { agent.report() };
    agents.iter().map(|agent| (agent.name.clone(), digest(agent).to_string())).collect()
}

#[test]
fn thousands_of_nodes_cost_the_api_server_nothing_while_they_are_quiet() {
    let count = fleet_size();
    let scene = Scene::new();
    let kwok = scene.cluster.kwok_with_lease(3600);
    let names = kwok.nodes("pool", count);
    let agents = scene.agents(&names);

    let states = [Directory::new("one"), Directory::new("other")];
    let start = |index: usize| {
        let identity = ["one", "other"][index];
        scene.cluster.collector(
            identity,
            states[index].path(),
            // A fleet's first conditions take minutes by their budget; that nothing is written on quiet
            // nodes is shown by the tests of conditions.
            &["--interval", "600", "--gone-after", "5", "--no-node-conditions", "--no-events"],
        )
    };
    let (one, other) = (start(0), start(1));
    let leader = scene.cluster.leading(&[&one, &other]);
    let (leading, standing_by) = if leader == one.address { (one, other) } else { (other, one) };
    let server = scene.cluster.server(leader);

    // Enrolment: everything once, also what it costs the API server.
    let began = Instant::now();
    let before = scene.cluster.audit_log().len();
    let (agents, talk) = scene.settle(&server, agents);
    assert_eq!(talk.manifests, count);
    assert_eq!(scene.digests(&server), expected(&agents));
    println!("enrolment of {count} agents: {:?}, {} uploads", began.elapsed(), talk.uploads());
    println!("enrolment, requests by the collector: {:?}", scene.requests(before));

    // Quiet: agents go on talking; the API server hardly hears of it.
    let before = scene.cluster.audit_log().len();
    let began = Instant::now();
    let (agents, talk) = scene.settle(&server, agents);
    assert_eq!((talk.manifests, talk.uploads()), (0, 0), "nothing is asked for again");
    wait::until("renewals of the Lease", WITHIN, || {
        let renewed = scene.requests(before).get("update leases").copied().unwrap_or_default();
        if renewed >= RENEWALS { Ok(()) } else { Err(renewed) }
    });
    let mut requests = scene.requests(before);
    let seconds = began.elapsed().as_secs_f64();
    let total: usize = requests.values().sum();
    let per_minute = total as f64 * 60.0 / seconds;
    println!(
        "quiet: {count} heartbeats, {per_minute:.0} requests a minute by the collectors: {requests:?}"
    );
    let reviews = requests.remove("create tokenreviews").unwrap_or_default();
    assert!(reviews as f64 <= REVIEWS_PER_SECOND * seconds, "{reviews} reviews in {seconds} s");
    let others: usize = requests.values().sum();
    assert!(others <= REQUESTS_PER_RENEWAL * requests["update leases"], "{requests:?}");

    // Another leader: it has nobody's report yet, asks for what it lacks, and has all of it again.
    let began = Instant::now();
    leading.process.kill();
    let leader = scene.cluster.leading(&[&standing_by]);
    println!("failover: the other one leads after {:?}", began.elapsed());
    let server = scene.cluster.server(leader);
    let (agents, _) = scene.settle(&server, agents);
    assert_eq!(scene.digests(&server), expected(&agents));
    println!("failover: all reports are there again after {:?}", began.elapsed());

    // A tenth of the nodes goes: they are retired, and their agents turned away.
    let (gone, left) = names.split_at(count / 10);
    kwok.delete(gone);
    wait::until("gone nodes are retired", WITHIN, || {
        let known = scene.digests(&server);
        if known.len() == left.len() && left.iter().all(|name| known.contains_key(name)) {
            Ok(())
        } else {
            Err(known.len())
        }
    });
    let (mut of_gone, of_left): (Vec<_>, Vec<_>) =
        agents.into_iter().partition(|agent| gone.contains(&agent.name));
    scene.runtime.block_on(async {
        for agent in &mut of_gone {
            let body = serde_json::to_vec(&agent.heartbeat(None)).expect("JSON");
            let answer = agent.post(&mut server.client(agent), body).await;
            // They all come from one address, which soon has to wait between two wrong tokens.
            let is_refused = matches!(
                answer.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
            );
            assert!(is_refused, "{}: {} {}", agent.name, answer.status, answer.text());
        }
    });
    let (of_left, talk) = scene.settle(&server, of_left);
    assert_eq!((talk.manifests, talk.uploads()), (0, 0));
    assert_eq!(scene.digests(&server), expected(&of_left));
}
