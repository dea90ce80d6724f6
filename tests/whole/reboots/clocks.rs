//! Clocks that are wrong, of agents and of the collector: a real step of the wall clock that this one
//! process sees, while the machine's own time since its boot goes on.

use std::process::Command;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use palisade_tests::directory::Directory;
use palisade_tests::process::Collector;
use palisade_tests::wait;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::life::Agents;
use super::life::Conduct;
use super::person::Person;

const HOUR: i64 = 3600;

/// A wall clock that a test steps.
struct Wall(Directory);

impl Wall {
    /// One that is right.
    fn start() -> Self {
        let directory = Directory::new("wall");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/stepped.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-Os", "-o"]).arg(directory.path().join("stepped")).arg(source);
        let output = compiler.output();
        let output = output.expect("run the compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let wall = Self(directory);
        wall.step(0);
        wall
    }

    /// Sets it ahead of the machine's by so many seconds.
    fn step(&self, ahead_secs: i64) {
        // In one step, so that nobody reads half of it.
        self.0.write("next", ahead_secs.to_string());
        std::fs::rename(self.0.path().join("next"), self.0.path().join("ahead")).expect("a step");
    }

    /// A collector that goes by this clock.
    fn collector(&self, bench: &Bench, policy: &str) -> Collector {
        let path = |name: &str| self.0.path().join(name).to_str().expect("UTF-8").to_owned();
        let (stepped, ahead) = (path("stepped"), path("ahead"));
        let kubeconfig = bench.cluster.collector_kubeconfig();
        bench.collector_with("one", policy, &kubeconfig, &[&stepped, &ahead])
    }
}

/// `HH:MM` in UTC, so many minutes from now.
fn time_of_day(ahead_minutes: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let minutes = now / 60 + ahead_minutes;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// Waits until the collector says that its wall clock was stepped by about so much.
fn until_stepped(person: &Person, node: &str, secs: i64) {
    let words = |secs: i64| format!("the wall clock was stepped by {secs} s");
    let words = [words(secs - 1), words(secs), words(secs + 1)];
    wait::until("the step is seen", WITHIN, || {
        let value = person.sees_shut(node, "cluster-stale")?;
        if words.iter().any(|it| value.contains(it)) { Ok(()) } else { Err(value) }
    });
}

#[test]
fn scenario_36_wrong_clocks_of_agents_and_collector_give_no_grant_early_and_free_no_place() {
    let bench = Bench::start(3);
    bench.web(1);
    let [first] = <[String; 1]>::try_from(bench.nodes_of("web")).expect("one node");
    let others: Vec<_> = bench.nodes.iter().filter(|it| **it != first).cloned().collect();
    let [second, later] = <[String; 2]>::try_from(others).expect("two nodes");
    // The window of one node opens in half an hour, for an hour.
    let windows = format!(
        "[{{days: [daily], start: \"{}\", end: \"{}\", zone: UTC}}]",
        time_of_day(30),
        time_of_day(90)
    );
    bench.label(&later, "tests/window=later");
    let policy = HURRIED.replace("maxUnavailable: 1}", "maxUnavailable: 2}").replace(
        "pools:\n",
        &format!(
            "pools:\n- name: later\n  selector: {{matchLabels: {{tests/window: later}}}}\n  \
             mode: auto\n  stable: 0s\n  soak: 0s\n  windows: {windows}\n"
        ),
    );
    // The drain of the first one lasts until somebody takes the pod away.
    let policy = format!("{policy}  drain: {{protected: [{{matchLabels: {{app: web}}}}]}}\n");
    let wall = Wall::start();
    let collector = wall.collector(&bench, &policy);
    let person = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    // All agents are wrong, in both directions; the one with a window is within it by its own clock.
    agents.set_clock(&first, HOUR);
    agents.set_clock(&second, -HOUR);
    agents.set_clock(&later, HOUR);
    agents.conduct(&first, Conduct::Vanishes);
    agents.need_reboot(&first);
    agents.need_reboot(&later);
    bench.until_state(&collector, &first, "Draining");

    // Stepped into the window, and while a drain ends: no grant until the clock is right again.
    wall.step(HOUR);
    until_stepped(&person, &later, HOUR);
    bench.cluster.kubectl(&["delete", "deployment", "web"]);
    wait::until("the drain waits for the clock", WITHIN, || {
        let status = bench.status(&first);
        let blockers = status["blockers"].as_array().cloned().unwrap_or_default();
        let is_empty = bench.pods_of("web").is_empty();
        let waits = blockers.iter().all(|it| it["gate"] == "cluster-stale");
        if is_empty && waits && !blockers.is_empty() { Ok(()) } else { Err(status) }
    });
    bench.until_looked(&collector, 2);
    assert_eq!(bench.state(&first).as_deref(), Some("Draining"));
    assert_eq!([&first, &second, &later].map(|it| agents.grants(it)), [0; 3]);
    wall.step(0);
    bench.until_state(&collector, &first, "Rebooting");

    // It is away. Whatever the clock shows, its place stays its own.
    agents.need_reboot(&second);
    let is_kept = |agents: &Agents, collector: &Collector| {
        bench.until_looked(collector, 3);
        let state = bench.state(&first);
        assert!(state.as_deref() == Some("Rebooting"), "{state:?}: {}", bench.summary(collector));
        assert_eq!([&second, &later].map(|it| agents.grants(it)), [0; 2]);
        assert!(![&second, &later].iter().any(|it| bench.is_unschedulable(it)));
    };
    for secs in [HOUR, -HOUR] {
        wall.step(secs);
        until_stepped(&person, &later, secs);
        is_kept(&agents, &collector);
    }
    // A collector that starts by a wrong clock knows no better, so that it may believe in a window; it
    // still frees nothing.
    bench.cluster.kubectl(&["annotate", "node", &later, "palisade.dev/hold=clocks"]);
    let mut collector = collector;
    for secs in [HOUR, -HOUR, 0] {
        wall.step(secs);
        collector.process.kill();
        collector = wall.collector(&bench, &policy);
        agents.talk_to(bench.cluster.server(collector.address));
        is_kept(&agents, &collector);
    }

    // By the right one it all goes on, but for what has a window.
    bench.cluster.kubectl(&["annotate", "node", &later, "palisade.dev/hold-"]);
    agents.conduct(&first, Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &[&first, &second]);
    bench.until_no_requests(&collector);
    assert_eq!([&first, &second, &later].map(|it| agents.grants(it)), [1, 1, 0]);
}
