//! B1, B1u, B2: what inspecting a host costs the host, against one scrape of node_exporter there.
//!
//! * full: a whole `palisade-agent report`, from the start of the process to its end, rules read
//!   and everything inspected.
//! * unchanged: one turn of `palisade-agent run` against a real collector, heartbeat included. It
//!   is held against a full inspection without the start of the process (taken with an empty root),
//!   which makes its ratio larger, not smaller.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::exporter::Exporter;
use super::fixture::Fixture;
use super::measure::Pairs;
use super::measure::Side;
use super::measure::Spread;
use super::measure::cpu_of;
use super::measure::cpu_of_ended_children;
use super::server::Server;
use super::table::Goal;
use super::table::Row;
use crate::directory::Directory;
use crate::process::Agent;
use crate::process::Process;

/// Full inspections, and scrapes, of which the mean is one figure.
const REPEATS: u32 = 50;

/// Unchanged turns of which the mean is one figure; one takes about a second.
const TURNS: u64 = 10;

/// Turns after which the agent's memory is looked at, at least.
const TURNS_FOR_MEMORY: u64 = 20;

/// How long turns may take until the run is given up.
const DEADLINE: Duration = Duration::from_secs(120);

/// Measures them on one fixture.
pub(super) fn run() -> Vec<Row> {
    let fixture = Fixture::new();
    let exporter = Exporter::start();
    let [scan] = Pairs::measure(|side| match side {
        Side::A => [report(fixture.root(), REPEATS)],
        Side::B => [exporter.scrape(REPEATS)],
    });
    let empty = Directory::new("bench-empty");
    let server = Server::start(1);
    let agent = run_agent(&server, &fixture);
    let turns = Turns { server: &server, agent: &agent };
    turns.wait_for(3);
    let [again] = Pairs::measure(|side| match side {
        Side::A => [turns.measure()],
        Side::B => {
            [report(fixture.root(), TURNS_AS_REPORTS) - report(empty.path(), TURNS_AS_REPORTS)]
        }
    });
    assert!(turns.count() >= TURNS_FOR_MEMORY, "too few turns");
    let (ours, theirs) = (agent.memory_kib("VmHWM") as f64, high_water(exporter.pid()));
    let millis = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    let kib = |kib: f64| format!("{:.1} MiB", kib / 1024.0);
    vec![
        Row {
            id: "B1",
            what: "CPU of a full inspection, process started for it / node_exporter scrape".into(),
            sides: Some((millis(scan.a().median), millis(scan.b().median))),
            ratio: Ok(scan.ratio()),
            goal: Goal::AtMost(3.0),
        },
        Row {
            id: "B1u",
            what: "CPU of an unchanged turn with its heartbeat / full inspection".into(),
            sides: Some((millis(again.a().median), millis(again.b().median))),
            ratio: Ok(again.ratio()),
            goal: Goal::AtMost(0.25),
        },
        Row {
            id: "B2",
            what: "peak memory of the agent after 20 turns / node_exporter after 20 scrapes".into(),
            sides: Some((kib(ours), kib(theirs))),
            ratio: Ok(Spread::fixed(ours / theirs)),
            goal: Goal::AtMost(0.40),
        },
    ]
}

/// Full inspections that one unchanged figure is held against.
const TURNS_AS_REPORTS: u32 = 20;

/// CPU seconds of one `report`, as the mean of `count` processes.
fn report(root: &Path, count: u32) -> f64 {
    let before = cpu_of_ended_children();
    for _ in 0..count {
        let status = Command::new(Agent::binary())
            .args(["report", "--root", root.to_str().expect("UTF-8")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("run the agent");
        assert!(status.success(), "{status}");
    }
    (cpu_of_ended_children() - before).as_secs_f64() / f64::from(count)
}

fn run_agent(server: &Server, fixture: &Fixture) -> Process {
    let token = fixture.root().join("token");
    std::fs::write(&token, &server.token).expect("a token file");
    let token = token.to_str().expect("UTF-8");
    Agent::run(server.address(), "bench", fixture.root(), &["--token-file", token])
}

/// Peak resident memory of a process, in KiB.
fn high_water(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The turns of one agent, counted by its collector.
struct Turns<'a> {
    server: &'a Server,
    agent: &'a Process,
}

impl Turns<'_> {
    /// CPU seconds of one turn.
    fn measure(&self) -> f64 {
        let first = self.wait_for(self.count() + 1);
        let before = cpu_of(self.agent.pid());
        let last = self.wait_for(first + TURNS);
        let spent = cpu_of(self.agent.pid()) - before;
        spent.as_secs_f64() / (last - first) as f64
    }

    /// Waits until so many heartbeats came, and until the agent is done with the last.
    fn wait_for(&self, wanted: u64) -> u64 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let count = self.count();
            if count >= wanted {
                // Reading the answer takes the agent some microseconds; its next turn is 0.8 s away.
                std::thread::sleep(Duration::from_millis(50));
                return count;
            }
            assert!(Instant::now() < deadline, "no heartbeat: {:#?}", self.agent.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Heartbeats that the collector has taken.
    fn count(&self) -> u64 {
        let mut stream = TcpStream::connect(self.server.address()).expect("connect");
        let request = "GET /metrics HTTP/1.1\r\nhost: palisade\r\nconnection: close\r\n";
        let token = format!("authorization: Bearer {}\r\n\r\n", super::server::VIEWER);
        stream.write_all(format!("{request}{token}").as_bytes()).expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("figures");
        let line = text.lines().find_map(|line| line.strip_prefix("palisade_heartbeats_total "));
        line.unwrap_or_else(|| panic!("no heartbeats in {text}")).parse().expect("a number")
    }
}
