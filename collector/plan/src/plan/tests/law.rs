//! Laws of the planner over random fleets: whatever is known, these hold.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fleet::Cordon;
use crate::fleet::Etcd;
use crate::fleet::Hold;
use crate::fleet::Known;
use crate::fleet::Member;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::plan::sample::blocker;
use crate::plan::sample::fleet;
use crate::plan::sample::guard;
use crate::plan::sample::needed;
use crate::plan::sample::node;
use crate::plan::sample::pod;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::run;
use crate::policy::Amount;
use crate::policy::Canary;
use crate::policy::ClusterPolicy;
use crate::policy::Mode;
use crate::policy::Pool;
use crate::policy::Waves;
use crate::request::State;
use crate::seen::Count;
use crate::window::Freeze;

/// What is random about one node.
#[derive(Clone, Debug)]
struct Draw {
    pool: usize,
    zone: usize,
    kind: u8,
    state: Option<State>,
    age: i64,
    pods: u8,
}

fn draw() -> impl Strategy<Value = Draw> {
    let state = prop_oneof![
        8 => Just(None),
        2 => proptest::sample::select(State::ALL.to_vec()).prop_map(Some),
    ];
    (0..3_usize, 0..3_usize, 0..40_u8, state, 0..100_000_i64, 0..5_u8).prop_map(
        |(pool, zone, kind, state, age, pods)| Draw { pool, zone, kind, state, age, pods },
    )
}

const POOLS: [&str; 3] = ["db", "masters", "web"];

fn random_node(index: usize, draw: &Draw) -> Node {
    let mut node = node(&format!("n-{index:03}"), POOLS[draw.pool], ["a", "b", "c"][draw.zone]);
    node.agent.need = needed(NOW.plus(-draw.age));
    match draw.kind {
        0 => node.ready = Ready::NotSince(NOW),
        1 => node.ready = Ready::Unknown,
        2 => node.cordon = Cordon::Foreign { by: None },
        3 => node.agent.need = Need::Unknown { why: "x".to_owned() },
        4 => node.agent.heard_at = None,
        5 => node.hold = Some(Hold { reason: "x".to_owned(), until: None }),
        6 => node.agent.stable_since = None,
        7 => node.cordon = Cordon::Ours { request: "x".to_owned() },
        8..=12 => node.agent.need = Need::NotNeeded,
        13 => node.blockers.push(blocker(Gate::Certificate)),
        _ => {}
    }
    if POOLS[draw.pool] == "masters" && draw.kind.is_multiple_of(3) {
        node.role = Role::ControlPlane;
    }
    node
}

fn random_fleet(draws: &[Draw]) -> Fleet {
    let nodes = draws.iter().enumerate().map(|(index, draw)| random_node(index, draw));
    let mut fleet = fleet(nodes);
    guard(&mut fleet, &[("default/one", 1), ("default/two", 2), ("default/none", 0)]);
    for (index, draw) in draws.iter().enumerate() {
        let name = format!("n-{index:03}");
        let budgets: &[&str] = match draw.pods {
            0 => &["default/one"],
            1 => &["default/two"],
            2 if draw.kind > 35 => &["default/none"],
            _ => &[],
        };
        run(&mut fleet, &name, vec![pod(&format!("p-{index}"), budgets)]);
        if let Some(state) = draw.state {
            put(&mut fleet, &name, state);
        }
    }
    let masters = fleet.nodes.values().filter(|node| node.role == Role::ControlPlane);
    let members = masters.map(|node| (node.uid.clone(), Member::Healthy)).collect();
    fleet.etcd = Some(Known::Known(Etcd { members }));
    fleet
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(0..6_u32).prop_map(Amount::Count), (0..=100_u8).prop_map(Amount::Percent)]
}

fn random_pool(name: &'static str) -> impl Strategy<Value = Pool> {
    let mode = proptest::sample::select(vec![
        Mode::Auto,
        Mode::Auto,
        Mode::Auto,
        Mode::Plan,
        Mode::Approve,
    ]);
    let waves = proptest::option::weighted(0.3, 1..4_u32);
    (amount(), proptest::option::of(amount()), 0..3_u32, mode, waves).prop_map(
        move |(max_unavailable, per_zone, zones_at_once, mode, waves)| {
            let waves =
                waves.map(|count| Waves { canary: Canary::Count(count), ..Waves::default() });
            let failure_budget = crate::policy::FailureBudget { failures: 3, within_secs: 86_400 };
            Pool {
                per_zone,
                zones_at_once,
                mode,
                waves,
                failure_budget,
                ..pool(name, max_unavailable)
            }
        },
    )
}

fn random_policy() -> impl Strategy<Value = Policy> {
    let pools = (random_pool("db"), random_pool("masters"), random_pool("web"));
    (amount(), pools).prop_map(|(max_unavailable, (db, masters, web))| {
        // A hundred percent: the dead man has tests of his own.
        let cluster =
            ClusterPolicy { max_unavailable, dead_man_percent: 100, ..Default::default() };
        Policy::of(cluster, vec![db, masters, web])
    })
}

fn world() -> impl Strategy<Value = (Fleet, Policy)> {
    let draws = proptest::collection::vec(draw(), 1..40);
    (draws, random_policy()).prop_map(|(draws, policy)| (random_fleet(&draws), policy))
}

fn starts(fleet: &Fleet, policy: &Policy) -> BTreeSet<NodeUid> {
    plan(fleet, policy, NOW).start.into_iter().collect()
}

/// Whether a node is away, told anew and without the census.
fn is_away(fleet: &Fleet, node: &Node) -> bool {
    let state = fleet.requests.get(&node.uid).map(|request| request.progress.state);
    state.is_some_and(State::holds_slot)
        || !matches!(node.ready, Ready::Since(_))
        || node.cordon != Cordon::Schedulable
}

/// The fleet after every start was claimed.
fn claimed(fleet: &Fleet, starts: &BTreeSet<NodeUid>) -> Fleet {
    let mut after = fleet.clone();
    for uid in starts {
        let name = after.nodes[uid].name.to_string();
        put(&mut after, &name, State::Claimed);
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Law 1: with all starts claimed no cap is exceeded that a start belongs to.
    #[test]
    fn no_start_takes_a_cap_above_its_bound((fleet, policy) in world()) {
        let starts = starts(&fleet, &policy);
        let after = claimed(&fleet, &starts);
        let away = |filter: &dyn Fn(&Node) -> bool| {
            let those: Vec<_> = after.nodes.values().filter(|node| filter(node)).collect();
            (those.iter().filter(|node| is_away(&after, node)).count(), those.len())
        };
        for uid in &starts {
            let node = &after.nodes[uid];
            let (name, zone) = (&node.labels["pool"], &node.labels["topology.kubernetes.io/zone"]);
            let pool = policy.pool_of(&node.labels);
            let (count, of) = away(&|_| true);
            prop_assert!(count <= policy.cluster.max_unavailable.of(of), "cluster: {count} of {of}");
            let (count, of) = away(&|node| node.labels["pool"] == *name);
            prop_assert!(count <= pool.max_unavailable.of(of), "pool {name}: {count} of {of}");
            if let Some(cap) = pool.per_zone {
                let in_zone = |node: &Node| {
                    node.labels["pool"] == *name
                        && node.labels["topology.kubernetes.io/zone"] == *zone
                };
                let (count, of) = away(&in_zone);
                prop_assert!(count <= cap.of(of), "zone {zone}: {count} of {of}");
            }
            prop_assert_eq!(count_of(&after, &policy, uid), Count::Within);
        }
    }

    /// Law 2: a node of the control plane starts alone, and nothing is under way beside it.
    #[test]
    fn a_node_of_the_control_plane_starts_alone((fleet, policy) in world()) {
        let starts = starts(&fleet, &policy);
        let role = |uid: &NodeUid| fleet.nodes[uid].role;
        let flying: Vec<&NodeUid> = fleet
            .requests
            .values()
            .filter(|request| request.progress.state.holds_slot())
            .map(|request| &request.uid)
            .collect();
        if starts.iter().any(|uid| role(uid) == Role::ControlPlane) {
            prop_assert_eq!(starts.len(), 1);
            prop_assert_eq!(flying.len(), 0);
        }
        if flying.iter().any(|uid| role(uid) == Role::ControlPlane) {
            prop_assert_eq!(starts.len(), 0);
        }
    }

    /// Laws 4 and 14: nothing starts in mode plan, unapproved, held, or with an unknown need.
    #[test]
    fn what_must_not_start_does_not((fleet, policy) in world()) {
        for uid in starts(&fleet, &policy) {
            let node = &fleet.nodes[&uid];
            prop_assert_eq!(policy.pool_of(&node.labels).mode, Mode::Auto);
            prop_assert!(node.hold.is_none());
            let is_needed = matches!(node.agent.need, Need::Needed { .. });
            prop_assert!(is_needed);
            prop_assert!(!is_away(&fleet, node) || !matches!(node.ready, Ready::Since(_)));
        }
    }

    /// Every node that waits has a named reason, and no node that starts has one.
    #[test]
    fn whoever_waits_knows_why((fleet, policy) in world()) {
        let plan = plan(&fleet, &policy, NOW);
        prop_assert_eq!(plan.places.len(), fleet.nodes.len());
        let mut waiting = 0;
        for (uid, place) in &plan.places {
            match place.verdict {
                Verdict::Waits => {
                    waiting += 1;
                    prop_assert!(!place.blockers.is_empty(), "{}", uid);
                }
                Verdict::Unknown => prop_assert!(!place.blockers.is_empty(), "{}", uid),
                Verdict::Start | Verdict::NotNeeded => prop_assert_eq!(&place.blockers, &[]),
                Verdict::InFlight(state) => prop_assert!(state.holds_slot()),
            }
            prop_assert!(place.blockers.is_sorted_by_key(|blocker| blocker.gate));
        }
        prop_assert_eq!(waiting + plan.start.len(), plan.order.len());
    }

    /// The views of a node agree with its place in the plan.
    #[test]
    fn explain_agrees_with_the_plan((fleet, policy) in world()) {
        let plan = plan(&fleet, &policy, NOW);
        for (uid, place) in plan.places.iter().take(10) {
            let views = explain(&fleet, &policy, uid, NOW);
            let shut: BTreeSet<Gate> =
                views.iter().filter(|view| !view.open).map(|view| view.gate).collect();
            match place.verdict {
                Verdict::Start => prop_assert_eq!(shut, BTreeSet::new()),
                Verdict::Waits | Verdict::Unknown => {
                    for blocker in &place.blockers {
                        prop_assert!(shut.contains(&blocker.gate), "{:?}", blocker);
                    }
                }
                Verdict::NotNeeded | Verdict::InFlight(_) => {}
            }
        }
    }

    /// Law 21: in a pool that failed too often nothing starts.
    #[test]
    fn a_pool_that_failed_too_often_stands_still((mut fleet, policy) in world()) {
        for _ in 0..3 {
            let what = "quarantined".to_owned();
            let failure = crate::fleet::Failure { at: NOW, pool: "web".to_owned(), node: uid("x"), what, entered: None };
            fleet.past.failures.push(failure);
        }
        for uid in starts(&fleet, &policy) {
            prop_assert_ne!(&fleet.nodes[&uid].labels["pool"], "web");
        }
    }

    /// Law 22: in a fleet of which too much is silent nothing starts.
    #[test]
    fn a_silent_fleet_stands_still((mut fleet, mut policy) in world(), silent in 21..=100_usize) {
        policy.cluster.dead_man_percent = 20;
        let count = (fleet.nodes.len() * silent).div_ceil(100).max(2);
        fleet.requests.clear();
        for node in fleet.nodes.values_mut().take(count) {
            node.agent.heard_at = Some(NOW.plus(-10_000));
        }
        prop_assert_eq!(starts(&fleet, &policy).len(), 0);
    }

    /// Law 23: the same input gives the same bytes.
    #[test]
    fn a_plan_is_deterministic((fleet, policy) in world()) {
        let first = serde_json::to_string(&plan(&fleet, &policy, NOW)).unwrap();
        let second = serde_json::to_string(&plan(&fleet.clone(), &policy.clone(), NOW)).unwrap();
        prop_assert_eq!(first, second);
    }

    /// Law 23: a gate, a hold or a freeze on a node never adds that node.
    #[test]
    fn a_gate_on_a_node_never_adds_it((fleet, policy) in world(), which in 0..40_usize, gate in 0..Gate::ALL.len()) {
        let Some(uid) = fleet.nodes.keys().nth(which % fleet.nodes.len()).cloned() else { return Ok(()) };
        let mut blocked = fleet.clone();
        blocked.nodes.get_mut(&uid).unwrap().blockers.push(blocker(Gate::ALL[gate]));
        let mut held = fleet.clone();
        held.nodes.get_mut(&uid).unwrap().hold = Some(Hold { reason: "x".to_owned(), until: None });
        let mut frozen = policy.clone();
        let name = fleet.nodes[&uid].labels["pool"].clone();
        for pool in frozen.pools.iter_mut().filter(|pool| pool.name == name) {
            let (from, to) = (NOW.plus(-1), NOW.plus(1));
            pool.freezes.push(Freeze { from, to, reason: "x".to_owned() });
        }
        prop_assert!(!starts(&blocked, &policy).contains(&uid));
        prop_assert!(!starts(&held, &policy).contains(&uid));
        prop_assert!(!starts(&fleet, &frozen).contains(&uid));
    }

    /// Law 23: lowering the cap of the cluster never adds a node.
    #[test]
    fn a_lower_cap_of_the_cluster_never_adds_a_node((fleet, policy) in world(), caps in (0..20_u32, 0..20_u32)) {
        let with = |count: u32| {
            let mut policy = policy.clone();
            policy.cluster.max_unavailable = Amount::Count(count);
            starts(&fleet, &policy)
        };
        let (less, more) = (with(caps.0.min(caps.1)), with(caps.0.max(caps.1)));
        prop_assert!(less.is_subset(&more), "{:?} is not in {:?}", less, more);
    }
}

fn count_of(fleet: &Fleet, policy: &Policy, uid: &NodeUid) -> Count {
    count(fleet, policy, uid)
}
