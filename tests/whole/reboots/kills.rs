//! A collector that is killed again and again, at chosen points: right before and right after the API
//! server executes one of its calls. `make test` kills it sixteen times, `make kills` five hundred;
//! `PALISADE_KILLS_IN=Rebooting,NotReturned` kills it in these states only, in turn.
//!
//! ```text
//! collector ──call──> proxy ──(before: never sent; after: executed)──> API server
//!     └── SIGKILL while it waits for the answer; the next one begins, over the same store or none
//! ```
//!
//! Whoever follows does not wait for the Lease of the dead to run out: it is written as a collector that
//! ends properly writes it, after the process is certainly gone.

mod points;
mod world;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::cluster::installation::collector_by;
use palisade_tests::cluster::proxy::Proxy;
use palisade_tests::cluster::proxy::Side;
use palisade_tests::directory::Directory;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::json;

use self::points::Points;
use self::points::Wanted;
use self::world::FOREIGN;
use self::world::KEPT;
use self::world::NODES;
use self::world::ORDINARY;
use self::world::POLICY;
use self::world::REBOOTING;
use self::world::World;
use super::bench::Bench;
use super::bench::WITHIN;
use super::life::Agents;
use super::life::Conduct;
use super::scale_down;

/// From so many on, states that need a patient collector are waited for as well.
const MANY: usize = 200;

/// Every so many kills the next collector finds an empty store, and a further node is to be deleted.
const EMPTY_EVERY: usize = 5;
const DELETE_EVERY: usize = 12;

/// Every so many kills it is said how far this is, and what has rebooted is judged.
const TELL_EVERY: usize = 25;

/// The states in which, or on whose entry, any long run kills.
const STATES: [&str; 15] = [
    "Backoff",
    "Booted",
    "Cancelled",
    "Claimed",
    "Cordoning",
    "Done",
    "Draining",
    "Granted",
    "Needed",
    "NodeGone",
    "NotReturned",
    "Quarantined",
    "Rebooting",
    "RollingBack",
    "Uncordoning",
];

/// How often the collector is killed.
fn kills() -> usize {
    std::env::var("PALISADE_KILLS").map_or(16, |number| number.parse().expect("PALISADE_KILLS"))
}

/// The states in which alone it is killed; none: in all.
fn only_in() -> Vec<&'static str> {
    let chosen = std::env::var("PALISADE_KILLS_IN").unwrap_or_default();
    let names = chosen.split(',').filter(|it| !it.is_empty());
    let known = |name| STATES.into_iter().find(|it| *it == name);
    names.map(|it| known(it).unwrap_or_else(|| panic!("PALISADE_KILLS_IN={chosen}"))).collect()
}

/// The collectors, one after the other.
struct Succession<'a> {
    bench: &'a Bench,
    proxy: Proxy,
    kubeconfig: std::path::PathBuf,
    files: Directory,
    stores: usize,
    collector: Option<Collector>,
    points: Arc<Mutex<Points>>,
    began: Instant,
}

impl<'a> Succession<'a> {
    fn new(bench: &'a Bench) -> Self {
        let proxy = bench.cluster.proxy();
        let kubeconfig = bench.cluster.collector_kubeconfig_through(&proxy);
        let files = Directory::new("kills");
        files.write("policy.yaml", POLICY);
        let points = Arc::default();
        let began = Instant::now();
        Self { bench, proxy, kubeconfig, files, stores: 0, collector: None, points, began }
    }

    /// Starts the next one and waits until it leads.
    fn crown(&mut self) -> &Collector {
        let policy = self.files.path().join("policy.yaml");
        let own = ["--identity", "one", "--serving-name", "127.0.0.1", "--lease-seconds", "6"];
        let more = ["--interval", "60", "--reboot-policy", policy.to_str().expect("UTF-8")];
        let state = self.files.path().join(format!("state-{}", self.stores));
        let collector = collector_by(&self.kubeconfig, &state, &[&own[..], &more].concat());
        assert_eq!(self.bench.cluster.leading(&[&collector]), collector.address);
        self.collector.insert(collector)
    }

    /// Kills the collector and gives its Lease back.
    fn kill(&mut self) {
        self.collector.take().expect("a collector").process.kill();
        let path =
            "/apis/coordination.k8s.io/v1/namespaces/palisade-system/leases/palisade-collector";
        let free = json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } });
        self.bench.cluster.api().must(Call::merge(path, &free));
    }

    /// The next one begins with nothing but what the API server has.
    fn forget(&mut self) {
        self.stores += 1;
    }

    fn points(&self) -> std::sync::MutexGuard<'_, Points> {
        self.points.lock().expect("a sound lock")
    }

    /// Kills the collector at the next point that is wanted, after so many calls; `meanwhile` runs until
    /// then.
    fn kill_at(&mut self, wanted: Wanted, let_pass: usize, mut meanwhile: impl FnMut()) {
        {
            let mut points = self.points();
            points.wanted = wanted;
            points.begin(let_pass);
        }
        let points = Arc::clone(&self.points);
        let caught = self.proxy.catch(move |it| points.lock().expect("a sound lock").judge(it));
        let deadline = Instant::now() + WITHIN * 2;
        while !caught.within(Duration::from_millis(150)) {
            meanwhile();
            let collector = self.collector.as_ref().expect("a collector");
            assert!(Instant::now() < deadline, "no point: {}", self.bench.summary(collector));
        }
        self.kill();
        let (point, side) = self.points().count();
        let points = self.points();
        let (number, secs) = (points.total(), self.began.elapsed().as_secs());
        println!("{number}: killed {side:?} {} in {}", point.call, point.state);
        if number.is_multiple_of(TELL_EVERY) {
            println!(
                "{number} kills in {secs} s, before and after by state: {:?}",
                points.by_state()
            );
        }
    }

    /// The same, and another one takes over.
    fn succeed_at(
        &mut self,
        wanted: Wanted,
        let_pass: usize,
        world: &mut World<'_>,
        rounds: usize,
    ) {
        self.kill_at(wanted, let_pass, || world.go_on(rounds));
        if self.points().total().is_multiple_of(TELL_EVERY) {
            nothing_twice_so_far(&world.agents);
        }
        let address = self.crown().address;
        world.talk_to(self.bench.cluster.server(address));
    }
}

#[test]
fn scenario_24_a_collector_killed_around_any_call_reboots_nothing_twice_and_loses_nothing() {
    let kills = kills();
    let bench = Bench::start(NODES);
    bench.cluster.namespace("medik8s-leases", &[]);
    let rights =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/components/node-leases/rbac.yaml");
    bench.cluster.kubectl(&["apply", "-f", rights]);
    let mut line = Succession::new(&bench);
    let first = line.crown().address;
    bench.settle_key();
    bench.web(2);
    let server = bench.cluster.server(first);
    let agents = Agents::start(&bench.cluster, &bench.nodes, server.clone());
    let mut world = World::new(&bench, agents, server);
    let only = only_in();
    let is_long = kills >= MANY && only.is_empty();
    for state in only.iter().cycle().take(kills.div_ceil(2)) {
        kill_around(state, &mut line, &mut world);
    }
    for number in 0..if only.is_empty() { kills } else { 0 } {
        // Some soon, some only after a while, so that chains of effects are cut everywhere.
        let let_pass = number * 7 % 11;
        if number % EMPTY_EVERY == EMPTY_EVERY - 1 {
            line.forget();
        }
        line.succeed_at(Wanted::Any, let_pass, &mut world, 1 + number / DELETE_EVERY);
    }
    if is_long {
        for state in ["NotReturned", "Booted", "Verifying"] {
            kill_around(state, &mut line, &mut world);
        }
    }
    // Nobody is killed any more, and nobody wants anything new.
    wait::until("all requests are over, and nobody needs another one", WITHIN * 2, || {
        world.calm_down();
        let collector = line.collector.as_ref().expect("a collector");
        let needy: Vec<_> = REBOOTING.iter().filter(|it| !world.agents.is_well(it)).collect();
        let is_over = bench.requests().is_empty() && needy.is_empty();
        if is_over { Ok(()) } else { Err(format!("{needy:?} {}", bench.summary(collector))) }
    });
    let points = line.points();
    let secs = line.began.elapsed().as_secs();
    println!("{points}\n{} boots, {}, {secs} s", world.agents.boots().len(), world.told());
    nothing_twice(&world.agents);
    nothing_lost(&bench);
    println!(
        "{} kills: 0 second reboots, 0 lost uncordons, 0 foreign cordons touched",
        points.total()
    );
    if is_long {
        let missing: Vec<_> = STATES.iter().filter(|it| !points.states().contains(it)).collect();
        assert!(missing.is_empty(), "never killed in {missing:?}");
    }
}

/// Kills the collector before and after a request is written into this state. Where that says that a
/// node did not return, the ordinary ones say that they reboot and are not heard of until then; that
/// takes two minutes each time, in which a new leader listens.
fn kill_around(state: &'static str, line: &mut Succession<'_>, world: &mut World<'_>) {
    let are_away = state == "NotReturned";
    for node in ORDINARY.into_iter().filter(|_| are_away) {
        world.agents.conduct(node, Conduct::Vanishes);
    }
    for _side in [Side::Before, Side::After] {
        // No further nodes come and go meanwhile.
        line.succeed_at(Wanted::State(state), 0, world, 0);
    }
    for node in ORDINARY.into_iter().filter(|_| are_away) {
        world.agents.conduct(node, Conduct::TakesTime);
    }
}

/// No node rebooted twice for one time that it needed to, nor without a cordon of ours, nor with pods.
/// How often each did.
fn nothing_twice_so_far(agents: &Agents) -> BTreeMap<String, u32> {
    let mut seen = BTreeSet::new();
    let mut by_node = BTreeMap::new();
    for boot in agents.boots() {
        assert!(boot.cordoned_by.is_some(), "rebooted without our cordon: {boot:?}");
        assert!(boot.pods.is_empty(), "rebooted with pods: {boot:?}");
        assert!(seen.insert((boot.node.clone(), boot.occurrence)), "rebooted twice: {boot:?}");
        *by_node.entry(boot.node).or_insert(0) += 1;
    }
    assert!(!by_node.contains_key(FOREIGN), "{by_node:?}");
    by_node
}

/// Each node rebooted once for each time that it needed to, under a cordon of ours, emptied.
fn nothing_twice(agents: &Agents) {
    let by_node = nothing_twice_so_far(agents);
    println!("boots by node: {by_node:?}");
    for node in REBOOTING {
        let boots = by_node.get(node).copied().unwrap_or(0);
        assert_eq!(boots, agents.occurrences(node), "{node} rebooted once for each reason");
    }
}

/// Every cordon of ours has ended, every Lease was given back, and those of people are as they were.
fn nothing_lost(bench: &Bench) {
    let nodes = bench.cluster.get("/api/v1/nodes");
    for node in nodes["items"].as_array().expect("a list") {
        let name = node["metadata"]["name"].as_str().expect("a name");
        let marker = &node["metadata"]["annotations"]["palisade.dev/cordoned-by"];
        assert!(marker.is_null(), "{name} bears a marker: {marker}");
        let (keeps, mark) = scale_down::of(node);
        assert_eq!(keeps.is_some(), name == KEPT, "{name} is kept from cluster-autoscaler");
        assert_eq!(mark, None, "{name}");
        let is_cordoned = node["spec"]["unschedulable"] == true;
        assert_eq!(is_cordoned, [FOREIGN, KEPT].contains(&name), "{name}");
    }
    let leases = bench.cluster.get("/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases");
    for lease in leases["items"].as_array().expect("a list") {
        let holder = &lease["spec"]["holderIdentity"];
        assert!(holder.is_null(), "{} is held by {holder}", lease["metadata"]["name"]);
    }
    // By the API server's own record nobody but its person ever wrote to the foreign node.
    let touched = bench.writes("nodes", "patch");
    assert!(
        !touched.is_empty() && !touched.iter().any(|it| it == FOREIGN),
        "{COLLECTOR} touched it"
    );
    let evicted = bench.writes("pods/eviction", "create");
    let is_ours = |it: &String| it.starts_with("web-") || it.starts_with("lingers-");
    assert!(evicted.iter().all(is_ours), "{evicted:?}");
}
