//! The control plane: last, alone, with a quorum; and clusters too small for that.

use std::collections::BTreeMap;

use super::*;
use crate::fleet::Cordon;
use crate::fleet::Etcd;
use crate::fleet::Known;
use crate::fleet::Member;
use crate::fleet::Need;
use crate::fleet::Ready;
use crate::plan::sample::at;
use crate::plan::sample::blocker;
use crate::plan::sample::control_plane;
use crate::plan::sample::fleet;
use crate::plan::sample::node;
use crate::plan::sample::policy;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::workers;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::ControlPlanePolicy;
use crate::policy::Mode;
use crate::policy::Selector;
use crate::request::State;
use crate::seen::Count;

/// What is not well, what makes it so, the gate that it shuts and words of its value.
type Unwell = (&'static str, fn(&mut Fleet), Gate, &'static str);

/// Three nodes of the control plane with etcd, three workers; all want a reboot.
fn mixed() -> Fleet {
    let masters = ["m-0", "m-1", "m-2"].map(control_plane);
    let workers = ["w-0", "w-1", "w-2"].map(|name| node(name, "web", "a"));
    let mut fleet = fleet(masters.into_iter().chain(workers));
    fleet.etcd = Some(Known::Known(etcd(&[Member::Healthy; 3])));
    fleet
}

fn etcd(members: &[Member]) -> Etcd {
    let named = |(at, member): (usize, &Member)| (uid(&format!("m-{at}")), *member);
    Etcd { members: members.iter().enumerate().map(named).collect() }
}

fn both(count: u32) -> Policy {
    policy([pool("masters", Amount::Count(count)), pool("web", Amount::Count(count))])
}

fn calm(fleet: &mut Fleet, names: &[&str]) {
    for name in names {
        at(fleet, name).agent.need = Need::NotNeeded;
    }
}

/// Scenario 5, from the first worker to the last node of the control plane.
#[test]
fn workers_are_first_and_the_control_plane_goes_one_by_one() {
    let mut nodes = mixed();
    let mut rounds = Vec::new();
    for _ in 0..9 {
        let starts = started(&nodes, &both(2));
        if starts.is_empty() {
            break;
        }
        for name in &starts {
            put(&mut nodes, name, State::Rebooting);
        }
        assert_eq!(started(&nodes, &both(2)), Vec::<String>::new(), "beside {starts:?}");
        for name in &starts {
            nodes.requests.clear();
            calm(&mut nodes, &[name]);
        }
        rounds.push(starts.join(" "));
    }
    assert_eq!(rounds, ["w-0 w-1", "w-2", "m-0", "m-1", "m-2"]);
}

#[test]
fn a_worker_that_waits_for_its_turn_is_first_and_one_that_waits_itself_is_not() {
    let mut nodes = mixed();
    calm(&mut nodes, &["w-1", "w-2"]);
    at(&mut nodes, "w-1").ready = Ready::Unknown;
    assert_eq!(started(&nodes, &both(1)), Vec::<String>::new(), "w-0 waits for room");
    assert_eq!(shut_gates(&nodes, &both(1), "m-0"), [Gate::ControlPlane]);
    let stopped = policy([pool("masters", Amount::Count(1)), pool("web", Amount::Count(0))]);
    assert_eq!(started(&nodes, &stopped), ["m-0"], "a stopped pool holds nobody up");
    at(&mut nodes, "w-0").blockers.push(blocker(Gate::Certificate));
    assert_eq!(started(&nodes, &both(1)), ["m-0"]);
}

/// Law 2: nothing beside a node of the control plane, whatever its state is.
#[test]
fn nothing_goes_beside_a_node_of_the_control_plane() {
    for state in State::ALL.into_iter().filter(|state| state.holds_slot()) {
        let mut nodes = mixed();
        put(&mut nodes, "m-2", state);
        let mut policy = both(9);
        policy.pools[0].failure_budget.failures = 9;
        assert_eq!(started(&nodes, &policy), Vec::<String>::new(), "{state:?}");
        assert!(shut_gates(&nodes, &policy, "w-0").contains(&Gate::ControlPlane), "{state:?}");
        put(&mut nodes, "m-2", State::Needed);
        put(&mut nodes, "w-0", state);
        calm(&mut nodes, &["w-1", "w-2"]);
        assert_eq!(started(&nodes, &policy), Vec::<String>::new(), "{state:?}");
    }
}

#[test]
fn a_claim_beside_the_control_plane_does_not_stay() {
    let mut nodes = mixed();
    put(&mut nodes, "m-0", State::Claimed);
    assert_eq!(count(&nodes, &both(9), &uid("m-0")), Count::Within);
    put(&mut nodes, "w-0", State::Claimed);
    for name in ["m-0", "w-0"] {
        let Count::Above(blocker) = count(&nodes, &both(9), &uid(name)) else { panic!("{name}") };
        assert_eq!(blocker.gate, Gate::ControlPlane);
        let gates = grant_gates(&nodes, &both(9), &uid(name), NOW);
        assert!(gates.iter().any(|blocker| blocker.gate == Gate::ControlPlane), "{name}");
    }
}

/// Scenarios 6 and 8: refused with its reason while another one is not well.
#[test]
fn the_control_plane_waits_while_one_of_it_is_not_well() {
    let unwell: &[Unwell] = &[
        (
            "down",
            |f| at(f, "m-2").ready = Ready::NotSince(NOW),
            Gate::ControlPlane,
            "m-2 is not well",
        ),
        ("silent", |f| at(f, "m-2").ready = Ready::Unknown, Gate::ControlPlane, "not heard"),
        (
            "cordoned",
            |f| at(f, "m-2").cordon = Cordon::Foreign { by: None },
            Gate::ControlPlane,
            "takes no pods",
        ),
        (
            "a sick member",
            |f| {
                f.etcd =
                    Some(Known::Known(etcd(&[Member::Healthy, Member::Unhealthy, Member::Healthy])))
            },
            Gate::Etcd,
            "on m-1 is not healthy",
        ),
        (
            "a learner",
            |f| {
                f.etcd = Some(Known::Known(etcd(&[
                    Member::Healthy,
                    Member::Healthy,
                    Member::Healthy,
                    Member::Learner,
                ])))
            },
            Gate::Etcd,
            "still learning",
        ),
        (
            "two members",
            |f| f.etcd = Some(Known::Known(etcd(&[Member::Healthy; 2]))),
            Gate::Etcd,
            "2 members",
        ),
        (
            "one member",
            |f| f.etcd = Some(Known::Known(etcd(&[Member::Healthy]))),
            Gate::Etcd,
            "1 members",
        ),
        ("no members", |f| f.etcd = Some(Known::Known(etcd(&[]))), Gate::Etcd, "no members"),
        ("unknown", |f| f.etcd = Some(Known::Unknown("timeout".to_owned())), Gate::Etcd, "timeout"),
    ];
    for (what, makes, gate, words) in unwell {
        let mut nodes = mixed();
        calm(&mut nodes, &["w-0", "w-1", "w-2", "m-2"]);
        assert_eq!(started(&nodes, &both(2)), ["m-0"], "{what}");
        makes(&mut nodes);
        assert_eq!(started(&nodes, &both(2)), Vec::<String>::new(), "{what}");
        let found = first_blocker(&nodes, &both(2), "m-0");
        assert_eq!(found.gate, *gate, "{what}");
        assert!(found.value.contains(words), "{what}: {}", found.value);
        put(&mut nodes, "m-0", State::Draining);
        let gates = grant_gates(&nodes, &both(2), &uid("m-0"), NOW);
        assert!(gates.iter().any(|blocker| blocker.gate == *gate), "{what} at the grant");
    }
}

/// Scenario 6: a paused pool, too.
#[test]
fn a_paused_control_plane_does_not_hold_up_workers() {
    let mut policy = both(9);
    policy.pools[0].paused = Some("upgrade".to_owned());
    assert_eq!(started(&mixed(), &policy), ["w-0", "w-1", "w-2"]);
    let mut nodes = mixed();
    calm(&mut nodes, &["w-0", "w-1", "w-2"]);
    assert_eq!(started(&nodes, &policy), Vec::<String>::new());
    let blocker = first_blocker(&nodes, &policy, "m-0");
    assert_eq!((blocker.gate, blocker.value.as_str()), (Gate::Paused, "pool masters: upgrade"));
}

#[test]
fn a_policy_may_allow_a_small_etcd_and_name_the_control_plane() {
    let mut nodes = fleet([control_plane("m-0"), node("w-0", "web", "a")]);
    nodes.etcd = Some(Known::Known(etcd(&[Member::Healthy])));
    calm(&mut nodes, &["w-0"]);
    let with = |control_plane| {
        let max_unavailable = Amount::Percent(100);
        let cluster = ClusterPolicy { max_unavailable, control_plane, ..Default::default() };
        let pools = vec![pool("masters", Amount::Count(1)), pool("web", Amount::Count(1))];
        Policy::of(cluster, pools)
    };
    let usual = ControlPlanePolicy::default();
    assert_eq!(started(&nodes, &with(usual.clone())), Vec::<String>::new());
    let small = ControlPlanePolicy { allow_small_etcd: true, ..usual.clone() };
    assert_eq!(started(&nodes, &with(small)), ["m-0"]);

    let mut nodes = workers(2);
    let selector = Some(Selector::label("pool", "web"));
    let all_masters = ControlPlanePolicy { selector, ..usual };
    at(&mut nodes, "w-001").ready = Ready::Unknown;
    let mut policy = with(all_masters);
    policy.pools[1].max_unavailable = Amount::Count(2);
    assert_eq!(shut_gates(&nodes, &policy, "w-000"), [Gate::ControlPlane]);
}

/// Scenario 9: the collector's own node is the last of its pool, and goes.
#[test]
fn the_node_of_the_collector_is_the_last_worker_and_goes() {
    let mut nodes = workers(3);
    nodes.own_node = Some(uid("w-000"));
    let policy = policy([pool("web", Amount::Count(3))]);
    assert_eq!(started(&nodes, &policy), ["w-001", "w-002"]);
    assert_eq!(shut_gates(&nodes, &policy, "w-000"), [Gate::Order]);
    calm(&mut nodes, &["w-001"]);
    put(&mut nodes, "w-002", State::Rebooting);
    assert_eq!(shut_gates(&nodes, &policy, "w-000"), [Gate::Order]);
    nodes.requests.clear();
    calm(&mut nodes, &["w-002"]);
    assert_eq!(started(&nodes, &policy), ["w-000"]);
}

/// Scenario 10: refused with the word that allows it, and then done without a drain.
#[test]
fn the_only_node_goes_when_the_policy_says_so() {
    let mut nodes = fleet([control_plane("m-0")]);
    nodes.etcd = Some(Known::Known(etcd(&[Member::Healthy])));
    nodes.own_node = Some(uid("m-0"));
    nodes.pods = Known::Known(BTreeMap::new());
    let with = |single_node| {
        let cluster = ClusterPolicy { single_node, ..Default::default() };
        Policy::of(cluster, vec![pool("masters", Amount::Count(1))])
    };
    let blockers = &plan(&nodes, &with(false), NOW).places[&uid("m-0")].blockers;
    assert!(blockers.iter().any(|blocker| blocker.value.contains("singleNode")), "{blockers:?}");
    assert_eq!(started(&nodes, &with(true)), ["m-0"]);
    assert!(is_single(&nodes, &with(true)) && !is_single(&nodes, &with(false)));
    assert!(!is_single(&mixed(), &with(true)), "no drain is skipped where there is a choice");
    let mut policy = with(true);
    policy.pools[0].mode = Mode::Approve;
    assert_eq!(shut_gates(&nodes, &policy, "m-0"), [Gate::Approval], "approval applies");
}

/// Scenarios 7 and 39, law 22: above the limit nothing starts, at the limit it goes on.
#[test]
fn a_fleet_that_falls_silent_is_frozen() {
    for (silent, starts) in [(0, 1), (1, 1), (2, 1), (3, 0), (10, 0)] {
        let mut nodes = workers(10);
        for index in 0..silent {
            at(&mut nodes, &format!("w-{index:03}")).agent.heard_at = Some(NOW.plus(-181));
        }
        let policy = policy([pool("web", Amount::Count(1))]);
        assert_eq!(started(&nodes, &policy).len(), starts, "{silent} of 10");
        let view = view(&nodes, &policy, "w-009", Gate::DeadMan);
        assert_eq!(view.open, silent < 3, "{silent} of 10");
    }
    let mut nodes = workers(10);
    for index in 0..3 {
        let name = format!("w-{index:03}");
        put(&mut nodes, &name, State::Rebooting);
        at(&mut nodes, &name).agent.heard_at = None;
    }
    assert_eq!(started(&nodes, &policy([pool("web", Amount::Count(4))])).len(), 1, "because of us");
    let mut nodes = workers(10);
    for (secs, starts) in [(0, 0), (299, 0), (300, 1)] {
        nodes.frozen_at = Some(NOW.plus(-secs));
        let policy = policy([pool("web", Amount::Count(1))]);
        assert_eq!(started(&nodes, &policy).len(), starts, "{secs} s after a storm");
        let view = view(&nodes, &policy, "w-009", Gate::DeadMan);
        let next = (secs < 300).then(|| NOW.plus(300 - secs));
        assert_eq!((view.open, view.next_check), (starts > 0, next), "{secs} s after a storm");
        put(&mut nodes, "w-000", State::Draining);
        assert_eq!(grant_gates(&nodes, &policy, &uid("w-000"), NOW), [], "what began goes on");
        nodes.requests.clear();
    }
    let mut nodes = workers(2);
    at(&mut nodes, "w-000").agent.heard_at = None;
    assert_eq!(started(&nodes, &policy([pool("web", Amount::Count(1))])), ["w-001"]);
}
