//! B10: one pass of the planner over a fleet, against one sort of their UIDs.
//!
//! A tenth of the nodes wants a reboot, in 20 pools with 50 windows between them. Nothing else runs: no
//! network, no disk, one thread. Figures are CPU time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use nix::time::ClockId;
use nix::time::clock_gettime;
use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Finished;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Ready;
use palisade_plan::fleet::Role;
use palisade_plan::plan::plan;
use palisade_plan::policy::Amount;
use palisade_plan::policy::ClusterPolicy;
use palisade_plan::policy::Mode;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_plan::policy::Selector;
use palisade_plan::request::Reason;
use palisade_plan::window::Weekday;
use palisade_plan::window::Window;
use palisade_plan::window::Windows;
use palisade_plan::window::Zone;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::measure::Pairs;
use super::measure::Side;
use super::table::Goal;
use super::table::Row;

/// 2027-01-15T08:00:00Z.
const NOW: Moment = Moment::from_unix(1_800_000_000);

const POOLS: usize = 20;

const WINDOWS: usize = 50;

/// One node in so many wants a reboot.
const NEEDY: usize = 10;

/// Measures it.
pub(super) fn run() -> Vec<Row> {
    let policy = policy();
    let (small, large) = (fleet(10_000), fleet(100_000));
    let keys = keys(&large);
    let [growth] = Pairs::measure(|side| match side {
        Side::A => [pass(&large, &policy)],
        Side::B => [pass(&small, &policy)],
    });
    let [sort] = Pairs::measure(|side| match side {
        Side::A => [pass(&large, &policy)],
        Side::B => [sorted(&keys)],
    });
    let millis = |secs: f64| format!("{:.1} ms", secs * 1e3);
    let row = |id, what: &str, pairs: &Pairs, goal| Row {
        id,
        what: what.to_owned(),
        sides: Some((millis(pairs.a().median), millis(pairs.b().median))),
        ratio: Ok(pairs.ratio()),
        goal: Goal::AtMost(goal),
    };
    vec![
        row("B10", "plan of 100,000 nodes / one sort of their UIDs", &sort, 10.0),
        row("B10 growth", "plan of 100,000 nodes / plan of 10,000", &growth, 11.0),
    ]
}

fn pass(fleet: &Fleet, policy: &Policy) -> f64 {
    let begin = cpu();
    let plan = plan(black_box(fleet), policy, NOW);
    let secs = (cpu() - begin).as_secs_f64();
    // Nodes start, others wait: it was no empty pass.
    assert!(!plan.start.is_empty() && plan.order.len() == fleet.nodes.len() / NEEDY);
    secs
}

fn sorted(keys: &[NodeUid]) -> f64 {
    let mut keys = keys.to_vec();
    let begin = cpu();
    keys.sort_unstable();
    let secs = (cpu() - begin).as_secs_f64();
    assert!(black_box(keys).is_sorted());
    secs
}

/// CPU time of this thread: what else the machine does is no part of it.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of this thread").into()
}

/// The UIDs of a fleet, in no order.
fn keys(fleet: &Fleet) -> Vec<NodeUid> {
    let mut keys: Vec<NodeUid> = fleet.nodes.keys().cloned().collect();
    keys.sort_by_cached_key(|uid| *Digest::of(uid.as_str().as_bytes()).as_bytes());
    keys
}

fn policy() -> Policy {
    let clocks = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    let window = |at: usize| Window {
        days: Weekday::ALL.to_vec(),
        // All are open at the moment of the plan: what is shut is told fast.
        start: "00:00".parse().expect("a time of day"),
        end: format!("23:{:02}", at % 60).parse().expect("a time of day"),
        zone: Zone::named(clocks[at % clocks.len()]).expect("a zone"),
    };
    let pool = |index: usize| Pool {
        name: format!("pool-{index:02}"),
        selector: Selector::label("pool", &format!("pool-{index:02}")),
        mode: Mode::Auto,
        max_unavailable: Amount::Percent(10),
        windows: Windows::new((index..WINDOWS).step_by(POOLS).map(window).collect()),
        ..Pool::default()
    };
    Policy::of(ClusterPolicy::default(), (0..POOLS).map(pool).collect())
}

fn fleet(count: usize) -> Fleet {
    let nodes: BTreeMap<NodeUid, Node> = (0..count)
        .map(|index| {
            let node = node(index);
            (node.uid.clone(), node)
        })
        .collect();
    let mut done: BTreeMap<String, Vec<Finished>> = BTreeMap::new();
    for (index, uid) in nodes.keys().take(1_000).enumerate() {
        let pool = format!("pool-{:02}", index % POOLS);
        let at = NOW.plus(-90_000);
        let finished = Finished { node: uid.clone(), at, drain_secs: 60, reboot_secs: 90 };
        done.entry(pool).or_default().push(finished);
    }
    let pods = nodes.keys().map(|uid| (uid.clone(), Arc::from([]))).collect();
    Fleet {
        nodes,
        requests: BTreeMap::new(),
        pods: Known::Known(pods),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past: Past { done, ..Past::default() },
        own_node: None,
        frozen_at: None,
    }
}

/// Labels as a cloud gives them; spread over pools and zones.
fn node(index: usize) -> Node {
    let text = |name: &str| name.to_owned();
    let labels = BTreeMap::from([
        (text("beta.kubernetes.io/arch"), text("amd64")),
        (text("kubernetes.io/hostname"), format!("node-{index}")),
        (text("kubernetes.io/os"), text("linux")),
        (text("node.kubernetes.io/instance-type"), text("m5.large")),
        (text("pool"), format!("pool-{:02}", index % POOLS)),
        (text("topology.kubernetes.io/region"), text("eu-central-1")),
        (
            text("topology.kubernetes.io/zone"),
            format!("eu-central-1{}", ["a", "b", "c"][index % 3]),
        ),
    ]);
    let scattered = Digest::of(&index.to_le_bytes()).to_string();
    Node {
        name: format!("node-{index}").parse().expect("a name"),
        uid: scattered[..36].parse().expect("a UID"),
        labels: Arc::new(labels),
        role: Role::Worker,
        ready: Ready::Since(NOW.plus(-86_400)),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW.plus(-10)),
            boot: None,
            kernel: None,
            next_kernel: None,
            need: need(index),
            stable_since: Some(NOW.plus(-7_200)),
            package_manager: Known::Known(None),
            reboot_method: Known::Known(text("logind")),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: None,
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

fn need(index: usize) -> Need {
    if !index.is_multiple_of(NEEDY) {
        return Need::NotNeeded;
    }
    let reason = Reason {
        source: "kernels".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux-image".to_owned(),
        target: "6.1.0-40".to_owned(),
    };
    let since = NOW.plus(-7_200 - i64::try_from(index % 5_000).expect("small"));
    Need::Needed { reasons: BTreeSet::from([reason]), digest: Digest::of(b"linux-image"), since }
}
