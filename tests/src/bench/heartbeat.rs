//! B5: heartbeats of nodes whose report did not change, against a bare echo of the same bytes.

use std::time::Duration;

use super::blast::Source;
use super::blast::blast;
use super::blast::find;
use super::echo::Echo;
use super::measure::Pairs;
use super::measure::Side;
use super::measure::cpu_of;
use super::server;
use super::server::Server;
use super::table::Goal;
use super::table::Row;
use super::table::grouped;
use crate::fleet::Node;

/// Nodes that take turns.
const NODES: usize = 4096;

/// Connections that are kept.
const CONNECTIONS: usize = 64;

/// One run.
const TIME: Duration = Duration::from_secs(4);

/// Where sequence numbers start, so that all of them have as many digits.
const FIRST: u64 = 10_000_000_000;

/// Digits of [`FIRST`].
const DIGITS: usize = 11;

/// Measures it.
pub(super) fn run() -> Vec<Row> {
    let server = Server::start(60);
    let (nodes, _) = server.enrol(server::fleet(NODES));
    let mut lanes = lanes(nodes, &server.token);
    let echo = Echo::start();
    let [rates, cpu] = Pairs::measure(|side| {
        let (address, pid) = match side {
            Side::A => (server.address(), server.pid()),
            Side::B => (echo.address, echo.pid()),
        };
        let before = cpu_of(pid);
        let outcome = blast(address, &mut lanes, TIME);
        let spent = cpu_of(pid) - before;
        [outcome.rate(), spent.as_secs_f64() * 1e6 / outcome.answers as f64]
    });
    let rate = |figure| format!("{}/s", grouped(figure));
    let micros = |figure: f64| format!("{figure:.1} us");
    vec![
        Row {
            id: "B5",
            what: "unchanged heartbeats / bare hyper echo of the same bytes".to_owned(),
            sides: Some((rate(rates.a().median), rate(rates.b().median))),
            ratio: Ok(rates.ratio()),
            goal: Goal::AtLeast(0.65),
        },
        Row {
            id: "B5 CPU",
            what: "server CPU of a heartbeat / of its echo".to_owned(),
            sides: Some((micros(cpu.a().median), micros(cpu.b().median))),
            ratio: Ok(cpu.ratio()),
            goal: Goal::None,
        },
    ]
}

/// The next heartbeats of some nodes, in turn, without end.
struct Lane {
    heartbeats: Vec<Vec<u8>>,
    sequence_at: usize,
    at: usize,
    sequence: u64,
}

fn lanes(nodes: Vec<Node>, token: &str) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    lanes.resize_with(CONNECTIONS, || Lane {
        heartbeats: Vec::new(),
        sequence_at: 0,
        at: 0,
        sequence: FIRST,
    });
    for (index, mut node) in nodes.into_iter().enumerate() {
        node.sequence = FIRST;
        let body = serde_json::to_vec(&node.heartbeat(None)).expect("JSON");
        let path = format!("/v1/nodes/{}/heartbeat", node.name);
        lanes[index % CONNECTIONS].heartbeats.push(server::request("POST", &path, token, &body));
    }
    lanes
}

impl Source for Lane {
    fn next(&mut self) -> Option<&[u8]> {
        if self.at == self.heartbeats.len() {
            self.at = 0;
            self.sequence += 1;
        }
        let request = &mut self.heartbeats[self.at];
        self.at += 1;
        let key = b"\"sequence\":";
        // Requests differ in the length of a node's name only.
        let guess = self.sequence_at;
        let found = request[guess..].starts_with(key).then_some(guess);
        let start = found.or_else(|| find(request, key)).expect("a sequence number");
        self.sequence_at = start;
        let digits = start + key.len();
        let mut left = self.sequence;
        for byte in request[digits..digits + DIGITS].iter_mut().rev() {
            *byte = b'0' + u8::try_from(left % 10).expect("a digit");
            left /= 10;
        }
        Some(request)
    }

    fn take(&mut self, answer: &[u8]) {
        // The echo of a heartbeat does not hold this word either.
        assert!(find(answer, b"\"want\"").is_none(), "{}", String::from_utf8_lossy(answer));
    }
}
