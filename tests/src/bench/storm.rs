//! B9b: how long an agent waits for the answer to its heartbeat while a fleet turns red, with
//! receivers that are told of it against without.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Report;
use tokio::runtime::Runtime;

use super::measure::Pairs;
use super::measure::Side;
use super::table::Goal;
use super::table::Row;
use crate::directory::Directory;
use crate::fleet;
use crate::fleet::Node;
use crate::fleet::Talk;
use crate::http::Client;
use crate::process::Collector;
use crate::receiver::Plan;
use crate::receiver::Receiver;
use crate::worker;

/// Nodes that turn red, and good again the next time.
const NODES: usize = 5000;

/// Rounds in which all of them have said so.
const ROUNDS: usize = 400;

/// One run: long enough for the messages after the last node has turned.
const TIME: Duration = Duration::from_secs(12);

/// Time between two heartbeats whose answers are waited for.
const BEAT_EVERY: Duration = Duration::from_millis(5);

/// What is bad on a red node; each is an alert.
const BAD: [&str; 3] = ["/etc/shadow", "/etc/passwd", "/etc/group"];

/// Measures it.
pub(super) fn run() -> Vec<Row> {
    let receivers = [(); 2].map(|()| Receiver::start(Plan::kind()));
    let reports = [&[][..], &BAD].map(report);
    let state = Directory::new("bench-storm");
    let settings = settings(&state, &receivers);
    let mut told = Fleet::start(&["--alerts", &settings], &reports[0]);
    let mut untold = Fleet::start(&[], &reports[0]);
    let mut turns = [0_usize; 2];
    let [median, slowest] = Pairs::measure(|side| {
        let (fleet, turn) = match side {
            Side::A => (&mut told, &mut turns[0]),
            Side::B => (&mut untold, &mut turns[1]),
        };
        *turn += 1;
        fleet.turn(&reports[*turn % 2])
    });
    let messages = receivers.iter().map(|it| it.taken().len()).collect::<Vec<_>>();
    assert!(messages.iter().all(|count| *count > 0), "nobody was told: {messages:?}");
    let shown = |figure: f64| format!("{:.2} ms", figure * 1e3);
    let row = |id, what: &str, pairs: &Pairs| Row {
        id,
        what: format!("{what} while {NODES} nodes turn, with receivers / without"),
        sides: Some((shown(pairs.a().median), shown(pairs.b().median))),
        ratio: Ok(pairs.ratio()),
        goal: Goal::None,
    };
    vec![
        row("B9b", "median answer to a heartbeat", &median),
        row("B9b p99", "99th percentile of the same", &slowest),
    ]
}

fn report(bad: &[&str]) -> Report {
    let root = Directory::new("bench-node");
    worker::write(&root, 0);
    bad.iter().for_each(|path| worker::set_mode(root.path(), path, 0o666));
    worker::inspect(root.path())
}

fn settings(state: &Directory, [hook, am]: &[Receiver; 2]) -> String {
    state.write(
        "alerts.yaml",
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n\
             egress: {{ allow: [127.0.0.0/8] }}\n\
             alerts: [{{ alert: HardeningRegressed, for: 0s, keep: 0s }}]\n\
             defaults: {{ groupWait: 1s, groupInterval: 2s, repeatInterval: 1d }}\n\
             receivers:\n  - {{ name: hook, webhook: {{ url: \"{}\" }} }}\n  \
             - {{ name: am, alertmanager: {{ urls: [\"{}\"] }} }}\nfallback: [hook, am]\n",
            hook.url("/hook"),
            am.url(""),
        ),
    );
    state.path().join("alerts.yaml").display().to_string()
}

/// A collector with its fleet, and one more node whose heartbeats are timed.
struct Fleet {
    collector: Collector,
    runtime: Runtime,
    nodes: Vec<Node>,
    // Removed last.
    _state: Directory,
}

impl Fleet {
    fn start(more: &[&str], good: &Report) -> Self {
        let state = Directory::new("bench-storm-collector");
        let rare = ["--interval", "3600", "--silent-after", "86400"];
        let more: Vec<&str> = more.iter().copied().chain(rare).collect();
        let collector = Collector::start(state.path(), &more);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let nodes = fleet::nodes(std::slice::from_ref(good), NODES + 1);
        let (nodes, _) = runtime.block_on(fleet::settle(collector.address, nodes, ROUNDS));
        Self { collector, runtime, nodes, _state: state }
    }

    /// Lets all nodes say this. Seconds of the median answer meanwhile, and of the slowest but one
    /// in a hundred.
    fn turn(&mut self, report: &Report) -> [f64; 2] {
        let began = Instant::now();
        let probe = self.nodes.pop().expect("a node to be timed");
        let probe = Probe::start(self.collector.address, probe);
        self.nodes.iter_mut().for_each(|node| node.change(report));
        let nodes = std::mem::take(&mut self.nodes);
        let settled = self.runtime.block_on(fleet::settle(self.collector.address, nodes, ROUNDS));
        self.nodes = settled.0;
        self.runtime.block_on(tokio::time::sleep(TIME.saturating_sub(began.elapsed())));
        let (probe, mut waits) = probe.stop();
        self.nodes.push(probe);
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64();
        [at(50), at(99)]
    }
}

/// A thread that sends the heartbeats of a node which does not change.
struct Probe {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<(Node, Vec<Duration>)>,
}

impl Probe {
    fn start(address: SocketAddr, mut node: Node) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let beat = async move {
            let mut client = Client::new(address);
            let mut pace = tokio::time::interval(BEAT_EVERY);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut waits = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                pace.tick().await;
                let sent = Instant::now();
                node.beat(&mut client, None, &mut Talk::default()).await;
                waits.push(sent.elapsed());
            }
            (node, waits)
        };
        let thread = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(beat)
        });
        Self { is_over, thread }
    }

    fn stop(self) -> (Node, Vec<Duration>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a thread that timed heartbeats")
    }
}
