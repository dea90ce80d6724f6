//! B4: nodes with a section that nobody has ever seen, from the first heartbeat until all of it is
//! durable, against a bare echo of the same requests (a) and a push of as many series into a
//! Pushgateway (b). B4s: a thousand nodes that announce the same new section at once.

use std::time::Duration;

use palisade_report::Report;
use palisade_report::Section;
use palisade_report::section::SectionName;

use super::blast::Outcome;
use super::blast::Source;
use super::blast::blast;
use super::blast::find;
use super::echo::Echo;
use super::measure::Pairs;
use super::measure::Side;
use super::measure::Spread;
use super::measure::cpu_of;
use super::pushgateway;
use super::pushgateway::Pushgateway;
use super::server;
use super::server::Server;
use super::table::Goal;
use super::table::Row;
use super::table::grouped;
use crate::fleet::Node;

/// Nodes that change in one run.
const NODES: usize = 2048;

/// Connections that are kept; the collector lets 20 nodes upload at once.
const CONNECTIONS: usize = 16;

/// Bytes of the section that changes, about.
const SECTION_BYTES: usize = 12_600;

/// Nodes that announce the same section.
const SHARING: usize = 1000;

/// A run ends when every node is through; this long at most.
const TIME: Duration = Duration::from_secs(120);

/// Measures B4.
pub(super) fn run() -> Vec<Row> {
    let server = Server::start(60);
    let (mut nodes, _) = server.enrol(server::fleet(NODES));
    let echo = Echo::start();
    let mut round = 0;
    let mut bytes = 0;
    let [rates, _cpu] = Pairs::measure(|side| {
        if side == Side::A {
            round += 1;
            nodes.iter_mut().enumerate().for_each(|(index, node)| {
                node.change(&changed(&format!("{round}-{index}")));
            });
        }
        let (address, pid, checks) = match side {
            Side::A => (server.address(), server.pid(), Checks::Made),
            Side::B => (echo.address, echo.pid(), Checks::Left),
        };
        let mut lanes = lanes(&mut nodes, &server.token, checks);
        bytes = lanes[0].requests[2].0.len();
        let (outcome, cpu) = spent(pid, || blast(address, &mut lanes, TIME));
        assert_eq!(outcome.answers, 3 * NODES as u64, "not all were taken in time");
        [outcome.rate() / 3.0, cpu / NODES as f64]
    });
    let rate = |figure| format!("{} nodes/s", grouped(figure));
    let mut rows = vec![Row {
        id: "B4a",
        what: "nodes whose new 12.6 KB section is durable / bare hyper echo of the same requests"
            .to_owned(),
        sides: Some((rate(rates.a().median), rate(rates.b().median))),
        ratio: Ok(rates.ratio()),
        goal: Goal::AtLeast(0.22),
    }];
    rows.push(against_pushgateway(&server, &mut nodes));
    rows
}

const PUSH: &str = "CPU of a Pushgateway push of 120 series / of a changed node";

fn against_pushgateway(server: &Server, nodes: &mut [Node]) -> Row {
    let gateway = match Pushgateway::start() {
        Ok(gateway) => gateway,
        Err(why) => return Row::not_run("B4b", PUSH, why),
    };
    let mut round = 1000;
    let [cpu] = Pairs::measure(|side| match side {
        Side::A => {
            let mut lanes = pushgateway::lanes(nodes.len(), CONNECTIONS);
            let (outcome, cpu) = spent(gateway.pid(), || blast(gateway.address, &mut lanes, TIME));
            [cpu / outcome.answers as f64]
        }
        Side::B => {
            round += 1;
            for (index, node) in nodes.iter_mut().enumerate() {
                node.change(&changed(&format!("{round}-{index}")));
            }
            let mut lanes = lanes(nodes, &server.token, Checks::Made);
            let (outcome, cpu) = spent(server.pid(), || blast(server.address(), &mut lanes, TIME));
            [cpu * 3.0 / outcome.answers as f64]
        }
    });
    let micros = |seconds: f64| format!("{:.0} us", seconds * 1e6);
    Row {
        id: "B4b",
        what: PUSH.to_owned(),
        sides: Some((micros(cpu.a().median), micros(cpu.b().median))),
        ratio: Ok(cpu.ratio()),
        goal: Goal::AtLeast(8.0),
    }
}

/// Measures B4s.
pub(super) fn run_shared() -> Vec<Row> {
    let server = Server::start(60);
    let (mut nodes, _) = server.enrol(server::fleet(SHARING));
    let mut ratios = Vec::new();
    let mut uploads = 0;
    let mut all = Vec::new();
    for round in 0..super::measure::PAIRS {
        let report = changed(&format!("shared-{round}"));
        let size = size_of(&report);
        nodes.iter_mut().for_each(|node| node.change(&report));
        let (back, talk) = server.announce(nodes);
        nodes = back;
        uploads = talk.uploads();
        ratios.push((uploads * size) as f64 / (SHARING * size) as f64);
        all.push(talk.bytes as f64 / (talk.bytes + (SHARING - uploads) * size) as f64);
    }
    vec![
        Row {
            id: "B4s",
            what: "bytes of a new section of 1,000 nodes that arrive / had each sent it".to_owned(),
            sides: Some((format!("{uploads} uploads"), grouped(SHARING as f64))),
            ratio: Ok(Spread::of(ratios)),
            goal: Goal::AtMost(0.01),
        },
        Row {
            id: "B4s all",
            what: "the same with heartbeats and manifests on both sides".to_owned(),
            sides: None,
            ratio: Ok(Spread::of(all)),
            goal: Goal::None,
        },
    ]
}

/// A report of which only one section is there, unique by `mark`, of about [`SECTION_BYTES`].
fn changed(mark: &str) -> Report {
    thread_local! {
        static BASE: Report = base();
    }
    let mut report = BASE.with(Report::clone);
    if let Some(Section::Known(sysctls)) = &mut report.sysctls
        && let Some(sysctl) = sysctls.keys.get_mut("kernel.panic")
    {
        let origin = palisade_report::Origin::words("benchmark");
        sysctl.running = palisade_report::Reading::known(format!("1 {mark}"), origin);
    }
    report
}

/// The sysctls of this machine, as many as fit [`SECTION_BYTES`].
fn base() -> Report {
    let own = server::own_report();
    let mut report = Report { sysctls: own.sysctls, ..Report::default() };
    loop {
        if size_of(&report) <= SECTION_BYTES {
            return report;
        }
        let Some(Section::Known(sysctls)) = &mut report.sysctls else { return report };
        let last = sysctls.keys.keys().rfind(|key| *key != "kernel.panic").cloned();
        sysctls.keys.remove(&last.expect("a key"));
    }
}

fn size_of(report: &Report) -> usize {
    let sealed = report.seal().expect("canonical bytes");
    sealed.section(SectionName::Sysctls).expect("the section").get().len()
}

fn spent(pid: u32, run: impl FnOnce() -> Outcome) -> (Outcome, f64) {
    let before = cpu_of(pid);
    let outcome = run();
    (outcome, (cpu_of(pid) - before).as_secs_f64())
}

/// Whether answers are those of a collector.
#[derive(Clone, Copy, Debug)]
enum Checks {
    /// They are looked at.
    Made,
    /// They come from an echo.
    Left,
}

/// Three requests for each node: heartbeat, the same with a manifest, sections; and a word that the
/// collector's answer holds.
struct Lane {
    requests: Vec<(Vec<u8>, &'static [u8])>,
    at: usize,
    checks: Checks,
}

fn lanes(nodes: &mut [Node], token: &str, checks: Checks) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    lanes.resize_with(CONNECTIONS, || Lane { requests: Vec::new(), at: 0, checks });
    for (index, node) in nodes.iter_mut().enumerate() {
        let manifest = node.manifest().clone();
        let first = serde_json::to_vec(&node.heartbeat(None)).expect("JSON");
        let second = serde_json::to_vec(&node.heartbeat(Some(manifest))).expect("JSON");
        let upload = node.upload(&[SectionName::Sysctls]);
        let path = |what| format!("/v1/nodes/{}/{what}", node.name);
        let lane = &mut lanes[index % CONNECTIONS].requests;
        let heartbeat = |body: &[u8]| server::request("POST", &path("heartbeat"), token, body);
        lane.push((heartbeat(&first), b"\"manifest\""));
        lane.push((heartbeat(&second), b"\"sections\":[\"sysctls\"]"));
        lane.push((server::request("PUT", &path("sections"), token, &upload), b"\"stored\""));
    }
    lanes
}

impl Source for Lane {
    fn next(&mut self) -> Option<&[u8]> {
        let (request, _) = self.requests.get(self.at)?;
        self.at += 1;
        Some(request)
    }

    fn take(&mut self, answer: &[u8]) {
        let (_, wanted) = self.requests[self.at - 1];
        match self.checks {
            Checks::Made => assert!(
                find(answer, wanted).is_some(),
                "request {}: {}",
                self.at,
                String::from_utf8_lossy(answer)
            ),
            Checks::Left => {}
        }
    }
}
