//! Caps, zones, order, and what a count and a grant make of them.

use super::*;
use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Ready;
use crate::plan::sample::at;
use crate::plan::sample::blocker;
use crate::plan::sample::fleet;
use crate::plan::sample::guard;
use crate::plan::sample::needed;
use crate::plan::sample::node;
use crate::plan::sample::pod;
use crate::plan::sample::policy;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::run;
use crate::plan::sample::workers;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::policy::TopologyCap;
use crate::request::State;
use crate::seen::Count;

/// What makes something so.
type Makes = (&'static str, fn(&mut Fleet));

/// What shuts a gate after a claim.
type Shuts = (Gate, fn(&mut Fleet, &mut Pool));

/// Nodes of these samples are named for their zone.
fn zone_of(name: &str) -> &str {
    name.trim_end_matches(char::is_numeric)
}

fn web(max_unavailable: u32) -> Pool {
    pool("web", Amount::Count(max_unavailable))
}

/// Scenario 2 at the level of the plan: with those in flight, never more than the budget.
#[test]
fn a_budget_of_two_of_five_is_never_exceeded() {
    for flying in 0..=5_usize {
        let mut fleet = workers(5);
        for index in 0..flying {
            put(&mut fleet, &format!("w-{index:03}"), State::ALL[3 + index]);
        }
        let starts = started(&fleet, &policy([web(2)])).len();
        assert_eq!(starts, 2_usize.saturating_sub(flying), "{flying} under way");
    }
}

/// Every state that holds a place counts, and each node once, however much is wrong with it.
#[test]
fn each_state_counts_as_it_holds_a_place() {
    for state in State::ALL {
        let mut fleet = workers(2);
        put(&mut fleet, "w-001", state);
        at(&mut fleet, "w-001").agent.need = Need::NotNeeded;
        let mut policy = web(1);
        policy.failure_budget.failures = 9;
        let starts = started(&fleet, &self::policy([policy])) == ["w-000"];
        assert_eq!(starts, !state.holds_slot(), "{state:?}");
    }
    let mut fleet = workers(2);
    put(&mut fleet, "w-001", State::Draining);
    at(&mut fleet, "w-001").ready = Ready::Unknown;
    at(&mut fleet, "w-001").cordon = Cordon::Ours { request: "request-w-001".to_owned() };
    assert_eq!(started(&fleet, &policy([web(2)])), ["w-000"], "counted once");
}

/// Scenarios 3 and 12: whoever is away counts, and pools do not hold each other up.
#[test]
fn a_node_that_is_away_takes_a_place_of_its_pool_alone() {
    let away: &[Makes] = &[
        ("not ready", |fleet| at(fleet, "w-001").ready = Ready::NotSince(NOW)),
        ("not heard", |fleet| at(fleet, "w-001").ready = Ready::Unknown),
        ("cordoned", |fleet| at(fleet, "w-001").cordon = Cordon::Foreign { by: None }),
        ("marked by us", |fleet| {
            at(fleet, "w-001").cordon = Cordon::Ours { request: "gone".to_owned() };
        }),
    ];
    for (what, makes) in away {
        let mut nodes = workers(3);
        nodes.nodes.extend(fleet([node("db-0", "db", "a")]).nodes);
        let Known::Known(pods) = &mut nodes.pods else { panic!("known") };
        pods.extend([(uid("db-0"), Arc::from([]))]);
        at(&mut nodes, "w-001").agent.need = Need::NotNeeded;
        makes(&mut nodes);
        let both = policy([web(1), pool("db", Amount::Count(1))]);
        assert_eq!(started(&nodes, &both), ["db-0"], "{what}");
        assert_eq!(shut_gates(&nodes, &both, "w-000"), [Gate::PoolBudget], "{what}");
        let value = first_blocker(&nodes, &both, "w-000").value;
        assert_eq!(value, "1 of 3 in pool web are away (1 not by us), 1 may be", "{what}");
    }
}

/// Scenario 38: whatever the budget was, what is under way counts against what it is now.
#[test]
fn a_budget_that_changes_while_nodes_are_under_way_counts_them() {
    for (budget, starts) in [(1, 0), (4, 2), (1, 0)] {
        let mut fleet = workers(6);
        put(&mut fleet, "w-000", State::Rebooting);
        put(&mut fleet, "w-001", State::Draining);
        assert_eq!(started(&fleet, &policy([web(budget)])).len(), starts, "{budget}");
        assert_eq!(grant_gates(&fleet, &policy([web(budget)]), &uid("w-001"), NOW), []);
    }
}

#[test]
fn caps_of_cluster_zone_and_topology_are_counted_each_for_itself() {
    let racked = |name: &str, zone: &str, rack: &str| {
        let mut node = node(name, "web", zone);
        Arc::make_mut(&mut node.labels).insert("rack".to_owned(), rack.to_owned());
        node
    };
    let nodes = fleet([
        racked("a1", "a", "r1"),
        racked("a2", "a", "r1"),
        racked("a3", "a", "r2"),
        racked("b1", "b", "r1"),
    ]);
    let zone = Pool { per_zone: Some(Amount::Count(1)), ..web(9) };
    let rack = TopologyCap { key: "rack".to_owned(), max_unavailable: Amount::Count(1) };
    let rack = Pool { topology: vec![rack], ..web(9) };
    let cluster = |count| {
        let max_unavailable = Amount::Count(count);
        Policy::of(ClusterPolicy { max_unavailable, ..Default::default() }, vec![web(9)])
    };
    for (what, policy, starts, gate) in [
        ("cluster", cluster(2), vec!["a1", "a2"], Gate::ClusterBudget),
        ("pool", policy([web(3)]), vec!["a1", "a2", "a3"], Gate::PoolBudget),
        ("zone", policy([zone]), vec!["a1", "b1"], Gate::ZoneBudget),
        ("rack", policy([rack]), vec!["a1", "a3"], Gate::TopologyBudget),
        ("stop", policy([web(0)]), vec![], Gate::PoolBudget),
        ("stop all", cluster(0), vec![], Gate::ClusterBudget),
    ] {
        assert_eq!(started(&nodes, &policy), starts, "{what}");
        for (uid, place) in plan(&nodes, &policy, NOW).places {
            let gates: Vec<Gate> = place.blockers.iter().map(|blocker| blocker.gate).collect();
            let expected = if place.verdict == Verdict::Start { vec![] } else { vec![gate] };
            assert_eq!(gates, expected, "{what}: {uid}");
        }
    }
}

/// Scenario 4: zone, then oldest reason, for a budget of 1, 3 and 25 %.
#[test]
fn the_order_is_zone_then_oldest_reason_then_uid() {
    let aged = |name: &str, zone: &str, age: i64| {
        let mut node = node(name, "web", zone);
        node.agent.need = needed(NOW.plus(-age));
        node
    };
    let nodes = || {
        fleet([
            aged("1", "b", 9_000),
            aged("2", "a", 3_600),
            aged("3", "a", 7_200),
            aged("4", "a", 3_600),
            aged("5", "b", 1_000),
            aged("6", "c", 9_999),
            aged("7", "c", 9_998),
            aged("8", "", 700),
        ])
    };
    let order = ["8", "3", "2", "4", "1", "5", "6", "7"];
    for (amount, starts) in [(Amount::Count(1), 1), (Amount::Count(3), 3), (Amount::Percent(25), 2)]
    {
        let plan = plan(&nodes(), &policy([pool("web", amount)]), NOW);
        assert_eq!(names(&plan.order), order);
        assert_eq!(names(&plan.start), order[..starts], "{amount}");
        assert_eq!(plan.places[&uid("2")].position, Some(2));
    }
}

#[test]
fn overdue_nodes_come_first_and_cheaper_drains_before_dearer_ones() {
    let mut nodes = workers(4);
    at(&mut nodes, "w-003").agent.need = needed(NOW.plus(-31 * 86_400));
    let stateful = |name: &str| {
        let mut pod = pod(name, &[]);
        pod.owner.as_mut().unwrap().kind = "StatefulSet".to_owned();
        pod
    };
    run(&mut nodes, "w-000", vec![stateful("db-0")]);
    run(&mut nodes, "w-001", vec![pod("a", &[]), pod("b", &[])]);
    let order = names(&plan(&nodes, &policy([web(1)]), NOW).order);
    assert_eq!(order, ["w-003", "w-002", "w-001", "w-000"]);
}

#[test]
fn a_node_whose_certificate_presses_comes_first_and_opens_no_gate_by_it() {
    let mut nodes = workers(3);
    at(&mut nodes, "w-002").agent.due_by = Some(NOW.plus(-60));
    let order = names(&plan(&nodes, &policy([web(1)]), NOW).order);
    assert_eq!(order, ["w-002", "w-000", "w-001"]);
    let mut pool = Pool { paused: None, ..web(1) };
    pool.past_must_by = [Gate::Alert].into();
    let uid = nodes.nodes.values().find(|it| it.name.as_str() == "w-002").unwrap().uid.clone();
    let node = nodes.nodes.get_mut(&uid).unwrap();
    let value = "an alert".to_owned();
    node.blockers.push(Blocker { gate: Gate::Alert, value, since: NOW, next_check: None });
    assert_eq!(started(&nodes, &policy([pool])), ["w-000"]);
    at(&mut nodes, "w-001").agent.due_by = Some(NOW.plus(60));
    let since = NOW.plus(-3600);
    let agent = |name: &str| nodes.nodes.values().find(|it| it.name.as_str() == name).unwrap();
    assert_eq!(web(1).must_by(since, &agent("w-001").agent), NOW.plus(60));
    assert_eq!(web(1).must_by(since, &agent("w-000").agent), since.plus(web(1).must_by_secs));
}

#[test]
fn one_zone_is_finished_before_the_next() {
    let nodes = || fleet(["a1", "a2", "b1", "c1"].map(|name| node(name, "web", zone_of(name))));
    let at_once = |zones_at_once| policy([Pool { zones_at_once, ..web(4) }]);
    assert_eq!(started(&nodes(), &at_once(1)), ["a1", "a2"]);
    assert_eq!(started(&nodes(), &at_once(2)), ["a1", "a2", "b1"]);
    assert_eq!(started(&nodes(), &at_once(0)), ["a1", "a2", "b1", "c1"]);
    assert_eq!(shut_gates(&nodes(), &at_once(1), "c1"), [Gate::ZoneBudget]);
    let mut flying = nodes();
    put(&mut flying, "b1", State::Rebooting);
    assert_eq!(started(&flying, &at_once(1)), Vec::<String>::new(), "b is under way");
    let mut held = nodes();
    at(&mut held, "a1").blockers.push(blocker(Gate::Certificate));
    at(&mut held, "a2").agent.need = Need::NotNeeded;
    assert_eq!(started(&held, &at_once(1)), ["b1"], "nobody waits for a node that waits itself");
}

/// Scenario 16: two pods of one budget on a node are serial, on two nodes they are not for one pass.
#[test]
fn two_nodes_of_one_disruption_budget_do_not_start_together() {
    let mut nodes = workers(3);
    guard(&mut nodes, &[("default/web", 1)]);
    run(&mut nodes, "w-000", vec![pod("a", &["default/web"]), pod("b", &["default/web"])]);
    run(&mut nodes, "w-001", vec![pod("c", &["default/web"])]);
    at(&mut nodes, "w-000").agent.need = needed(NOW.plus(-7_200));
    assert_eq!(started(&nodes, &policy([web(3)])), ["w-000", "w-002"]);
    assert_eq!(view(&nodes, &policy([web(3)]), "w-000", Gate::Drain).value, "in 2 rounds");
    let blocker = first_blocker(&nodes, &policy([web(3)]), "w-001");
    assert_eq!(blocker.gate, Gate::Drain);
    assert!(blocker.value.contains("default/web"), "{}", blocker.value);

    put(&mut nodes, "w-000", State::Draining);
    assert_eq!(started(&nodes, &policy([web(3)])), ["w-002"], "evictions still to come count");
}

/// Scenario 14 at the level of the plan: the blocked node is named with its budget, another goes.
#[test]
fn a_node_that_cannot_be_drained_takes_no_place() {
    let mut nodes = workers(2);
    guard(&mut nodes, &[("default/web", 0)]);
    run(&mut nodes, "w-000", vec![pod("a", &["default/web"])]);
    assert_eq!(started(&nodes, &policy([web(1)])), ["w-001"]);
    let blocker = first_blocker(&nodes, &policy([web(2)]), "w-000");
    assert!(blocker.value.contains("budget default/web allows 0"), "{}", blocker.value);
}

#[test]
fn pods_are_asked_for_only_of_nodes_that_could_start() {
    let mut nodes = workers(5);
    nodes.pods = Known::Known(BTreeMap::new());
    at(&mut nodes, "w-000").blockers.push(blocker(Gate::Certificate));
    let plan = plan(&nodes, &policy([web(2)]), NOW);
    assert_eq!((names(&plan.ask), plan.start.len()), (vec!["w-001".into(), "w-002".into()], 0));
    assert_eq!(plan.places[&uid("w-001")].blockers[0].gate, Gate::Drain);
}

#[test]
fn a_request_of_a_node_that_is_gone_still_takes_its_place() {
    let mut nodes = workers(3);
    put(&mut nodes, "w-002", State::Rebooting);
    nodes.nodes.remove(&uid("w-002"));
    assert_eq!(started(&nodes, &policy([web(1)])), Vec::<String>::new());
    assert_eq!(started(&nodes, &policy([web(2)])), ["w-000"]);
}

#[test]
fn a_node_that_moves_to_another_pool_counts_in_both() {
    let mut nodes =
        fleet([node("w-0", "web", "a"), node("w-1", "web", "a"), node("d-0", "db", "a")]);
    put(&mut nodes, "w-1", State::Rebooting);
    let labels = node("x", "db", "a").labels;
    at(&mut nodes, "w-1").labels = labels;
    let both = policy([web(1), pool("db", Amount::Count(1))]);
    assert_eq!(started(&nodes, &both), Vec::<String>::new());
}

/// Law 23 by example: a lower cap of the cluster would let `b1` in, were it not for the order.
#[test]
fn who_waits_for_room_in_the_cluster_is_not_overtaken() {
    let nodes = || {
        let mut nodes = fleet(["a1", "b1"].map(|name| node(name, "web", zone_of(name))));
        at(&mut nodes, "b1").ready = Ready::NotSince(NOW);
        nodes
    };
    let with = |count| {
        let max_unavailable = Amount::Count(count);
        let web = Pool { zones_at_once: 1, ..web(9) };
        Policy::of(ClusterPolicy { max_unavailable, ..Default::default() }, vec![web])
    };
    assert_eq!(started(&nodes(), &with(2)), ["a1"]);
    assert_eq!(started(&nodes(), &with(1)), Vec::<String>::new());
    assert_eq!(shut_gates(&nodes(), &with(1), "b1"), [Gate::ClusterBudget]);
}

#[test]
fn the_first_pool_that_selects_a_node_has_it_whatever_its_selector_asks_for() {
    let exists = crate::policy::Requirement {
        key: "pool".to_owned(),
        operator: crate::policy::Operator::Exists,
        values: std::collections::BTreeSet::new(),
    };
    let mut both = Selector::label("pool", "web");
    both.match_labels.insert("topology.kubernetes.io/zone".to_owned(), "b".to_owned());
    let any = Selector { match_expressions: vec![exists], ..Selector::default() };
    let zoned = Selector::label("topology.kubernetes.io/zone", "b");
    let named = |name: &str, selector: &Selector| Pool {
        selector: selector.clone(),
        ..pool(name, Amount::Count(1))
    };
    let pools = [
        named("both", &both),
        named("web", &Selector::label("pool", "web")),
        named("zoned", &zoned),
        named("any", &any),
    ];
    let nodes = fleet(
        [("1", "web", "a"), ("2", "web", "b"), ("3", "db", "b"), ("4", "db", "a")]
            .map(|(name, pool, zone)| node(name, pool, zone)),
    );
    for turn in 0..4 {
        let mut pools = pools.clone();
        pools.rotate_left(turn);
        let policy = policy(pools);
        for (uid, place) in plan(&nodes, &policy, NOW).places {
            assert_eq!(*place.pool, *policy.pool_of(&nodes.nodes[&uid].labels).name, "{uid}");
        }
    }
}

/// A claim stays only if no cap is exceeded with it, and both of two leaders may find that it is.
#[test]
fn a_count_above_a_cap_lets_nobody_stay() {
    let mut nodes = workers(3);
    put(&mut nodes, "w-000", State::Claimed);
    assert_eq!(count(&nodes, &policy([web(1)]), &uid("w-000")), Count::Within);
    put(&mut nodes, "w-001", State::Claimed);
    for name in ["w-000", "w-001"] {
        let counted = count(&nodes, &policy([web(1)]), &uid(name));
        let Count::Above(blocker) = counted else { panic!("{counted:?}") };
        assert_eq!(blocker.gate, Gate::PoolBudget);
        assert_eq!(count(&nodes, &policy([web(2)]), &uid(name)), Count::Within);
    }
    at(&mut nodes, "w-002").ready = Ready::Unknown;
    assert!(matches!(count(&nodes, &policy([web(2)]), &uid("w-000")), Count::Above(_)));
    let unclaimed = count(&nodes, &policy([web(9)]), &uid("w-002"));
    assert!(matches!(unclaimed, Count::Above(_)), "a claim that is not there does not stay");
    assert!(matches!(count(&nodes, &policy([web(9)]), &uid("gone")), Count::Above(_)));
}

#[test]
fn claims_in_two_zones_at_once_do_not_stay() {
    let mut nodes = fleet(["a1", "b1"].map(|name| node(name, "web", zone_of(name))));
    put(&mut nodes, "a1", State::Claimed);
    put(&mut nodes, "b1", State::Claimed);
    let at_once = |zones_at_once| policy([Pool { zones_at_once, ..web(4) }]);
    assert!(matches!(count(&nodes, &at_once(1), &uid("b1")), Count::Above(_)));
    assert_eq!(count(&nodes, &at_once(2), &uid("b1")), Count::Within);
}

#[test]
fn trouble_elsewhere_stops_a_grant_and_a_lowered_budget_does_not() {
    let mut nodes = workers(5);
    put(&mut nodes, "w-000", State::Draining);
    put(&mut nodes, "w-001", State::Rebooting);
    let gates = |nodes: &Fleet, budget| {
        let blockers = grant_gates(nodes, &policy([web(budget)]), &uid("w-000"), NOW);
        blockers.iter().map(|blocker| blocker.gate).collect::<Vec<_>>()
    };
    assert_eq!(gates(&nodes, 1), []);
    at(&mut nodes, "w-004").ready = Ready::NotSince(NOW);
    assert_eq!(gates(&nodes, 1), [Gate::PoolBudget]);
    assert_eq!(gates(&nodes, 3), []);
}

#[test]
fn gates_that_shut_after_the_claim_are_shut_for_the_grant() {
    let shuts: &[Shuts] = &[
        (Gate::Mode, |_, pool| pool.mode = crate::policy::Mode::Plan),
        (Gate::Paused, |_, pool| pool.paused = Some("x".to_owned())),
        (Gate::Window, |_, pool| pool.windows = gates::window("09:00", "17:00")),
        (Gate::Fit, |_, pool| pool.windows = gates::window("07:00", "08:11")),
        (Gate::Approval, |_, pool| pool.mode = crate::policy::Mode::Approve),
        (Gate::AgentSilent, |fleet, _| at(fleet, "w-000").agent.heard_at = None),
        (Gate::Alert, |fleet, _| fleet.blockers.push(blocker(Gate::Alert))),
        (Gate::Certificate, |fleet, _| {
            at(fleet, "w-000").blockers.push(blocker(Gate::Certificate))
        }),
        (Gate::Hold, |fleet, _| {
            let hold_file = Known::Known(Some("x".to_owned()));
            at(fleet, "w-000").agent.hold_file = hold_file;
        }),
        (Gate::NeedUnknown, |fleet, _| at(fleet, "w-000").agent.need = Need::NotNeeded),
        (Gate::NeedUnknown, |fleet, _| {
            at(fleet, "w-000").agent.need = Need::Unknown { why: "x".to_owned() };
        }),
        (Gate::NeedUnknown, |fleet, _| {
            let request = fleet.requests.get_mut(&uid("w-000")).unwrap();
            request.wish.digest = Digest::of(b"what was claimed");
        }),
    ];
    for (gate, shut) in shuts {
        let mut nodes = workers(3);
        put(&mut nodes, "w-000", State::Draining);
        at(&mut nodes, "w-000").cordon = Cordon::Ours { request: "request-w-000".to_owned() };
        let mut pool = web(1);
        assert_eq!(grant_gates(&nodes, &policy([pool.clone()]), &uid("w-000"), NOW), []);
        shut(&mut nodes, &mut pool);
        let found = grant_gates(&nodes, &policy([pool]), &uid("w-000"), NOW);
        assert_eq!(found.iter().map(|b| b.gate).collect::<Vec<_>>(), [*gate]);
    }
    let overrun = Pool { windows: gates::window("09:00", "17:00"), allow_overrun: true, ..web(1) };
    let mut nodes = workers(3);
    put(&mut nodes, "w-000", State::Draining);
    assert_eq!(grant_gates(&nodes, &policy([overrun]), &uid("w-000"), NOW), []);
    assert_eq!(grant_gates(&nodes, &policy([web(1)]), &uid("gone"), NOW).len(), 1);
}
