//! Each gate of one node: what shuts it, what `explain` says of it, who may pass it.

use std::collections::BTreeSet;

use palisade_report::Digest;

use super::*;
use crate::fleet::Cordon;
use crate::fleet::Failure;
use crate::fleet::Hold;
use crate::fleet::Known;
use crate::fleet::LastReboot;
use crate::fleet::Need;
use crate::fleet::Owner;
use crate::fleet::Pod;
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
use crate::plan::sample::reason;
use crate::plan::sample::request;
use crate::plan::sample::run;
use crate::plan::sample::workers;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::ForeignCordon;
use crate::policy::Mode;
use crate::policy::Pool;
use crate::policy::RebootMethod;
use crate::request::Approval;
use crate::request::Intent;
use crate::request::Override;
use crate::request::State;
use crate::window::Freeze;
use crate::window::Window;
use crate::window::Windows;
use crate::window::Zone;

/// One node and its policy, before a gate is shut.
struct World {
    fleet: Fleet,
    pool: Pool,
    cluster: ClusterPolicy,
}

impl World {
    fn policy(&self) -> Policy {
        Policy::of(self.cluster.clone(), vec![self.pool.clone()])
    }

    fn agent(&mut self) -> &mut crate::fleet::Agent {
        &mut at(&mut self.fleet, "w-000").agent
    }
}

fn world() -> World {
    // A second, quiet node: a cluster of one has rules of its own.
    let mut fleet = workers(2);
    at(&mut fleet, "w-001").agent.need = Need::NotNeeded;
    let cluster = ClusterPolicy { max_unavailable: Amount::Percent(100), ..Default::default() };
    World { fleet, pool: pool("web", Amount::Count(1)), cluster }
}

fn rebooted(ago_secs: i64, digest: Digest) -> LastReboot {
    let at = NOW.plus(-ago_secs);
    LastReboot { at, digest, occurrence: at.plus(-3_600) }
}

fn last_reboot(world: &mut World, ago_secs: i64, digest: Digest) {
    world.fleet.past.reboots.insert(uid("w-000"), rebooted(ago_secs, digest));
}

/// What shuts a gate, and nothing else.
type Shuts = (&'static str, Gate, fn(&mut World));

/// What lets a node go, or nearly does not.
type Opens = (&'static str, fn(&mut World));

const SHUT: &[Shuts] = &[
    ("mode report", Gate::Mode, |world| world.pool.mode = Mode::Report),
    ("mode plan", Gate::Mode, |world| world.pool.mode = Mode::Plan),
    ("policy", Gate::Policy, |world| world.fleet.blockers.push(blocker(Gate::Policy))),
    ("stale", Gate::ClusterStale, |world| world.fleet.blockers.push(blocker(Gate::ClusterStale))),
    ("kured", Gate::OtherActor, |world| world.fleet.blockers.push(blocker(Gate::OtherActor))),
    ("failure", Gate::FailureBudget, |world| {
        let what = "quarantined".to_owned();
        let failure = Failure {
            at: NOW.plus(-60),
            pool: "web".to_owned(),
            node: uid("x"),
            what,
            entered: None,
        };
        world.fleet.past.failures.push(failure);
    }),
    ("pool paused", Gate::Paused, |world| world.pool.paused = Some("why".to_owned())),
    ("all paused", Gate::Paused, |world| world.cluster.paused = Some("why".to_owned())),
    ("freeze", Gate::Freeze, |world| world.pool.freezes.push(freeze(-60, 60))),
    ("all frozen", Gate::Freeze, |world| world.cluster.freezes.push(freeze(0, 1))),
    ("held", Gate::Hold, |world| hold(world, None)),
    ("held for a while", Gate::Hold, |world| hold(world, Some(1))),
    ("hold file", Gate::Hold, |world| world.agent().hold_file = Known::Known(Some("x".to_owned()))),
    ("unreadable hold file", Gate::Hold, |world| world.agent().hold_file = unknown()),
    ("called off", Gate::Hold, |world| {
        put(&mut world.fleet, "w-000", State::Needed);
        world.fleet.requests.get_mut(&uid("w-000")).unwrap().wish.intent = Intent::Cancel;
    }),
    ("ended and still there", Gate::Hold, |world| put(&mut world.fleet, "w-000", State::Done)),
    ("same reasons", Gate::AlreadyRebooted, |world| {
        last_reboot(world, 90_000, reason("linux-image").1);
        world.agent().need = needed(NOW.plus(-90_001));
        world.agent().stable_since = Some(NOW.plus(-90_001));
    }),
    ("same reasons, by the node object", Gate::AlreadyRebooted, |world| {
        last_reboot(world, 200_000, Digest::of(b"other"));
        let by_it = rebooted(90_000, reason("linux-image").1);
        world.fleet.past.annotated.insert(uid("w-000"), by_it);
        world.agent().need = needed(NOW.plus(-90_001));
        world.agent().stable_since = Some(NOW.plus(-90_001));
    }),
    ("just now, by the node object", Gate::MinimumInterval, |world| {
        last_reboot(world, 200_000, Digest::of(b"other"));
        let just_now = rebooted(86_399, Digest::of(b"another"));
        world.fleet.past.annotated.insert(uid("w-000"), just_now);
    }),
    ("just now, and a node object that says otherwise", Gate::MinimumInterval, |world| {
        last_reboot(world, 86_399, Digest::of(b"other"));
        let long_ago = rebooted(900_000, Digest::of(b"other"));
        world.fleet.past.annotated.insert(uid("w-000"), long_ago);
    }),
    ("just now", Gate::MinimumInterval, |world| last_reboot(world, 86_399, Digest::of(b"other"))),
    ("unstable", Gate::Unstable, |world| world.agent().stable_since = None),
    ("nearly stable", Gate::Unstable, |world| world.agent().stable_since = Some(NOW.plus(-599))),
    ("packages", Gate::PackageManager, |world| {
        world.agent().package_manager = Known::Known(Some("dpkg holds its lock".to_owned()));
    }),
    ("packages unknown", Gate::PackageManager, |world| world.agent().package_manager = unknown()),
    ("silent", Gate::AgentSilent, |world| world.agent().heard_at = Some(NOW.plus(-181))),
    ("never heard", Gate::AgentSilent, |world| world.agent().heard_at = None),
    ("no method", Gate::RebootMethod, |world| world.agent().reboot_method = unknown()),
    ("another method", Gate::RebootMethod, |world| {
        world.pool.reboot_method = RebootMethod::Signal;
    }),
    ("unsafe", Gate::UnsafeToReboot, |world| {
        world.agent().unsafe_to_reboot.push("/boot is full".to_owned());
    }),
    ("certificate", Gate::Certificate, |world| on_node(world, Gate::Certificate)),
    ("cordoned", Gate::ForeignCordon, |world| {
        at(&mut world.fleet, "w-000").cordon = Cordon::Foreign { by: Some("kubectl".to_owned()) };
        world.pool.max_unavailable = Amount::Count(2);
    }),
    ("our own old cordon", Gate::ForeignCordon, |world| {
        at(&mut world.fleet, "w-000").cordon = Cordon::Ours { request: "gone".to_owned() };
    }),
    ("lease", Gate::NodeLease, |world| on_node(world, Gate::NodeLease)),
    ("not approved", Gate::Approval, |world| world.pool.mode = Mode::Approve),
    ("approval over", Gate::Approval, |world| approve(world, reason("linux-image").1, 0)),
    ("other reasons approved", Gate::Approval, |world| approve(world, Digest::of(b"other"), 60)),
    ("window", Gate::Window, |world| world.pool.windows = window("09:00", "17:00")),
    ("too short", Gate::Fit, |world| world.pool.windows = window("07:00", "08:26")),
    ("freeze soon", Gate::Fit, |world| world.pool.freezes.push(freeze(1_619, 9_999))),
    ("alert", Gate::Alert, |world| world.fleet.blockers.push(blocker(Gate::Alert))),
    ("pod", Gate::Pod, |world| on_node(world, Gate::Pod)),
    ("budget of pods", Gate::Drain, |world| {
        guard(&mut world.fleet, &[("default/web", 0)]);
        run(&mut world.fleet, "w-000", vec![pod("a", &["default/web"])]);
    }),
    ("unmanaged pod", Gate::Drain, |world| {
        run(&mut world.fleet, "w-000", vec![Pod { owner: None, ..pod("a", &[]) }]);
    }),
    ("unknown owner", Gate::Drain, |world| {
        let owner = Owner { kind: "DaemonSet".to_owned(), name: "x".to_owned(), exists: unknown() };
        run(&mut world.fleet, "w-000", vec![Pod { owner: Some(owner), ..pod("a", &[]) }]);
    }),
    ("pods unknown", Gate::Drain, |world| world.fleet.pods = unknown()),
    ("budgets unknown", Gate::Drain, |world| world.fleet.budgets = unknown()),
    ("pods not read", Gate::Drain, |world| {
        let Known::Known(pods) = &mut world.fleet.pods else { panic!("known") };
        pods.remove(&uid("w-000"));
    }),
    ("capacity", Gate::Capacity, |world| on_node(world, Gate::Capacity)),
    ("back-off", Gate::Backoff, |world| put(&mut world.fleet, "w-000", State::Backoff)),
];

fn unknown<T>() -> Known<T> {
    Known::Unknown("permission denied".to_owned())
}

fn hold(world: &mut World, for_secs: Option<i64>) {
    let until = for_secs.map(|secs| NOW.plus(secs));
    at(&mut world.fleet, "w-000").hold = Some(Hold { reason: "mine".to_owned(), until });
}

fn on_node(world: &mut World, gate: Gate) {
    at(&mut world.fleet, "w-000").blockers.push(blocker(gate));
}

fn approve(world: &mut World, digest: Digest, for_secs: i64) {
    world.pool.mode = Mode::Approve;
    put(&mut world.fleet, "w-000", State::Needed);
    let request = world.fleet.requests.get_mut(&uid("w-000")).unwrap();
    let (by, until) = ("ann".to_owned(), NOW.plus(for_secs));
    request.wish.approval = Some(Approval { by, at: NOW.plus(-60), digest, until });
}

fn freeze(from_secs: i64, to_secs: i64) -> Freeze {
    Freeze { from: NOW.plus(from_secs), to: NOW.plus(to_secs), reason: "sales".to_owned() }
}

/// A window of each day, in UTC.
pub(super) fn window(start: &str, end: &str) -> Windows {
    Windows::new(vec![Window {
        days: crate::window::Weekday::ALL.to_vec(),
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
        zone: Zone::utc(),
    }])
}

#[test]
fn a_node_whose_gates_are_all_open_starts() {
    let world = world();
    let plan = plan(&world.fleet, &world.policy(), NOW);
    assert_eq!(names(&plan.start), ["w-000"]);
    assert_eq!(plan.places[&uid("w-000")].verdict, Verdict::Start);
    assert_eq!(plan.places[&uid("w-001")].verdict, Verdict::NotNeeded);
    assert_eq!(plan.places[&uid("w-000")].eta, Some(NOW));
    for view in explain(&world.fleet, &world.policy(), &uid("w-000"), NOW) {
        assert!(view.open, "{view:?}");
        assert!(!view.value.is_empty(), "{:?}", view.gate);
    }
}

/// Scenarios 6, 12, 42, 43 and 45 at the level of the plan, and every other gate of one node.
#[test]
fn each_gate_alone_keeps_its_node_from_starting_and_is_named() {
    for (what, gate, shuts) in SHUT {
        let mut world = world();
        shuts(&mut world);
        let policy = world.policy();
        let plan = plan(&world.fleet, &policy, NOW);
        assert_eq!(plan.start, [], "{what}");
        let place = &plan.places[&uid("w-000")];
        assert_eq!(place.verdict, Verdict::Waits, "{what}");
        let gates: Vec<Gate> = place.blockers.iter().map(|blocker| blocker.gate).collect();
        assert_eq!(gates, [*gate], "{what}");
        let shut: Vec<GateView> = explain(&world.fleet, &policy, &uid("w-000"), NOW)
            .into_iter()
            .filter(|view| !view.open)
            .collect();
        assert_eq!(shut.len(), 1, "{what}: {shut:?}");
        assert_eq!(shut[0].gate, *gate, "{what}");
        assert_eq!(shut[0].value, place.blockers[0].value, "{what}");
    }
}

#[test]
fn every_gate_that_one_node_has_for_itself_is_in_the_table() {
    let shown: BTreeSet<Gate> = SHUT.iter().map(|(_, gate, _)| *gate).collect();
    let of_others = [
        Gate::DeadMan,
        Gate::NeedUnknown,
        Gate::Etcd,
        Gate::ControlPlane,
        Gate::Wave,
        Gate::ClusterBudget,
        Gate::PoolBudget,
        Gate::ZoneBudget,
        Gate::TopologyBudget,
        Gate::Order,
    ];
    let all: BTreeSet<Gate> = shown.into_iter().chain(of_others).collect();
    assert_eq!(all, Gate::ALL.iter().copied().collect());
}

/// Scenario 45, and what opens again by itself.
#[test]
fn gates_open_when_their_cause_is_over() {
    let over: &[Opens] = &[
        ("freeze", |world| world.pool.freezes.push(freeze(-60, 0))),
        ("hold", |world| hold(world, Some(0))),
        ("interval", |world| last_reboot(world, 86_400, Digest::of(b"other"))),
        ("stable", |world| world.agent().stable_since = Some(NOW.plus(-600))),
        ("heard", |world| world.agent().heard_at = Some(NOW.plus(-180))),
        ("approved", |world| approve(world, reason("linux-image").1, 1)),
        ("window", |world| world.pool.windows = window("08:00", "17:00")),
        ("fits exactly", |world| world.pool.windows = window("07:00", "08:27")),
        ("freeze far away", |world| world.pool.freezes.push(freeze(1_620, 9_999))),
        ("a later occurrence", |world| {
            last_reboot(world, 90_000, reason("linux-image").1);
            world.agent().need = needed(NOW.plus(-89_999));
        }),
        ("cordoned, included", |world| {
            at(&mut world.fleet, "w-000").cordon = Cordon::Foreign { by: None };
            world.pool.foreign_cordon = ForeignCordon::Include;
        }),
        ("back-off over", |world| {
            put(&mut world.fleet, "w-000", State::Backoff);
            let request = world.fleet.requests.get_mut(&uid("w-000")).unwrap();
            request.progress.deadline = Some(NOW);
        }),
    ];
    for (what, opens) in over {
        let mut world = world();
        opens(&mut world);
        let policy = world.policy();
        assert_eq!(started(&world.fleet, &policy), ["w-000"], "{what}");
    }
}

/// Law 14: what cannot be told never starts.
#[test]
fn an_unknown_need_never_starts_and_says_why() {
    let mut world = world();
    world.agent().need = Need::Unknown { why: "no package database".to_owned() };
    let policy = world.policy();
    let plan = plan(&world.fleet, &policy, NOW);
    let place = &plan.places[&uid("w-000")];
    assert_eq!((place.verdict, plan.start.len(), plan.order.len()), (Verdict::Unknown, 0, 0));
    assert_eq!(place.blockers[0].gate, Gate::NeedUnknown);
    let view = view(&world.fleet, &policy, "w-000", Gate::NeedUnknown);
    assert_eq!((view.open, view.value.as_str()), (false, "no package database"));
}

#[test]
fn a_person_may_ask_for_a_reboot_that_no_detector_wants() {
    let mut world = world();
    world.agent().need = Need::NotNeeded;
    world.agent().stable_since = None;
    let mut asked = request(at(&mut world.fleet, "w-000"), State::Needed);
    let mut why = reason("asked").0;
    why.source = "request".to_owned();
    asked.wish.reasons = BTreeSet::from([why]);
    world.fleet.requests.insert(uid("w-000"), asked);
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
    world.fleet.requests.get_mut(&uid("w-000")).unwrap().wish.intent = Intent::Cancel;
    assert_eq!(started(&world.fleet, &world.policy()), Vec::<String>::new());
}

fn overriding(world: &mut World, gates: &[Gate], digest: Digest, for_secs: i64) {
    put(&mut world.fleet, "w-000", State::Blocked);
    let request = world.fleet.requests.get_mut(&uid("w-000")).unwrap();
    request.wish.overriding = Some(Override {
        by: "ann".to_owned(),
        reason: "now".to_owned(),
        gates: gates.iter().copied().collect(),
        digest,
        until: NOW.plus(for_secs),
    });
}

#[test]
fn a_person_passes_soft_gates_for_these_reasons_until_then_and_hard_gates_never() {
    let digest = reason("linux-image").1;
    let mut hard = 0;
    for (what, gate, shuts) in SHUT {
        if matches!(gate, Gate::Approval | Gate::Backoff | Gate::Hold) {
            // Those come with a request of their own.
            continue;
        }
        for (valid, digest, for_secs) in
            [(true, digest, 1), (false, Digest::of(b"other"), 1), (false, digest, 0)]
        {
            let mut world = world();
            shuts(&mut world);
            overriding(&mut world, Gate::ALL, digest, for_secs);
            let starts = started(&world.fleet, &world.policy()) == ["w-000"];
            assert_eq!(starts, valid && !gate.is_hard(), "{what}");
            hard += usize::from(gate.is_hard() && valid);
        }
    }
    assert!(hard > 15, "hard gates were tried: {hard}");
}

#[test]
fn an_override_is_told_where_the_gate_stands_open() {
    let mut world = world();
    world.pool.windows = window("09:00", "17:00");
    overriding(&mut world, &[Gate::Window], reason("linux-image").1, 60);
    let view = view(&world.fleet, &world.policy(), "w-000", Gate::Window);
    assert!(view.open && view.value.contains("passed by ann: now"), "{view:?}");
}

#[test]
fn an_overdue_node_passes_the_soft_gates_that_the_policy_names() {
    let overdue = |must_by: i64, passes: &[Gate]| {
        let mut world = world();
        world.pool.windows = window("09:00", "17:00");
        world.pool.must_by_secs = must_by;
        world.pool.past_must_by = passes.iter().copied().collect();
        started(&world.fleet, &world.policy()).len()
    };
    assert_eq!(overdue(3_599, &[Gate::Window]), 1);
    assert_eq!(overdue(3_600, &[Gate::Window]), 0, "due this very second");
    assert_eq!(overdue(3_599, &[Gate::Alert]), 0);
    let mut world = world();
    world.pool.paused = Some("x".to_owned());
    world.pool.must_by_secs = 0;
    world.pool.past_must_by = Gate::ALL.iter().copied().collect();
    assert_eq!(started(&world.fleet, &world.policy()).len(), 0, "no hard gate ever");
}

#[test]
fn a_moment_that_somebody_wrote_into_a_request_passes_no_gate() {
    let mut world = world();
    world.pool.windows = window("09:00", "17:00");
    world.pool.past_must_by = BTreeSet::from([Gate::Window]);
    put(&mut world.fleet, "w-000", State::Needed);
    let wish = &mut world.fleet.requests.get_mut(&uid("w-000")).unwrap().wish;
    wish.must_by = Some(NOW.plus(-1));
    wish.since = NOW.plus(-365 * 86_400);
    let mut manual = world.fleet.clone();
    assert_eq!(started(&world.fleet, &world.policy()).len(), 0);
    let wish = &mut manual.requests.get_mut(&uid("w-000")).unwrap().wish;
    let (mut why, _) = reason("by hand");
    why.source = "request".to_owned();
    wish.reasons = BTreeSet::from([why]);
    at(&mut manual, "w-000").agent.need = Need::NotNeeded;
    assert_eq!(started(&manual, &world.policy()).len(), 0);
    // The policy's own time, from the agent's own word, passes it.
    world.pool.must_by_secs = 3_599;
    assert_eq!(started(&world.fleet, &world.policy()).len(), 1);
}

#[test]
fn what_was_recorded_says_since_when_a_gate_is_shut() {
    let mut world = world();
    put(&mut world.fleet, "w-000", State::Blocked);
    let since = NOW.plus(-5_000);
    let recorded = Blocker { since, ..blocker(Gate::Alert) };
    world.fleet.requests.get_mut(&uid("w-000")).unwrap().progress.blockers.push(recorded);
    world.fleet.blockers.push(blocker(Gate::Alert));
    assert_eq!(first_blocker(&world.fleet, &world.policy(), "w-000").since, since);
}

/// Law 21: a halted pool stays halted, however long ago its failures were, until it is released.
#[test]
fn a_failure_budget_is_reached_once_and_released_by_a_person() {
    let failed = |budget: u32, ago: &[i64], released: Option<i64>| {
        let mut world = world();
        world.pool.failure_budget.failures = budget;
        for ago in ago {
            let what = "quarantined".to_owned();
            let (at, pool) = (NOW.plus(-ago), "web".to_owned());
            world.fleet.past.failures.push(Failure {
                at,
                pool,
                node: uid("x"),
                what,
                entered: None,
            });
        }
        if let Some(ago) = released {
            world.fleet.past.released.insert("web".to_owned(), NOW.plus(-ago));
        }
        started(&world.fleet, &world.policy()).is_empty()
    };
    let day = 86_400;
    assert!(!failed(1, &[], None));
    assert!(failed(1, &[30 * day], None), "a month ago, and nobody looked");
    assert!(!failed(1, &[30 * day], Some(29 * day)));
    assert!(failed(1, &[30 * day, 60], Some(29 * day)), "another one since");
    assert!(!failed(2, &[3 * day, day], None), "too far apart");
    assert!(failed(2, &[3 * day, 2 * day], None));
    assert!(failed(0, &[60], None), "a budget of none is one");

    let mut world = world();
    world.fleet = fleet([node("w-000", "web", "a"), node("w-001", "web", "a")]);
    world.pool.max_unavailable = Amount::Count(2);
    put(&mut world.fleet, "w-001", State::Quarantined);
    let gates = shut_gates(&world.fleet, &world.policy(), "w-000");
    assert_eq!(gates, [Gate::FailureBudget], "without a word of the audit");
    let what = "quarantined".to_owned();
    let (pool, node) = ("web".to_owned(), uid("w-001"));
    let request = world.fleet.requests.get_mut(&node).unwrap();
    let failed_at = request.progress.since;
    let (by, reason) = ("ann".to_owned(), "seen".to_owned());
    request.wish.release = Some(crate::request::Release { by, reason, at: failed_at });
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"], "who releases it forgives it");
    world.fleet.past.failures.push(Failure {
        at: failed_at,
        pool,
        node: node.clone(),
        what,
        entered: None,
    });
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
    let request = world.fleet.requests.get_mut(&node).unwrap();
    request.wish.release.as_mut().unwrap().at = failed_at.plus(-1);
    assert_eq!(shut_gates(&world.fleet, &world.policy(), "w-000"), [Gate::FailureBudget]);
}

/// Law 21: the word of a failure may be lost with the answer to its write; by the time that it is read
/// the node may have come back late.
#[test]
fn a_failure_counts_though_the_audit_was_not_told_and_the_node_came_back() {
    let mut world = world();
    world.fleet = fleet([node("w-000", "web", "a"), node("w-001", "web", "a")]);
    world.pool.max_unavailable = Amount::Count(2);
    put(&mut world.fleet, "w-001", State::Verifying);
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
    let node = uid("w-001");
    let (failed_at, state) = (NOW.plus(-300), State::Quarantined);
    let request = world.fleet.requests.get_mut(&node).unwrap();
    let entered = [(state, failed_at), (State::Booted, NOW), (State::Verifying, NOW)];
    let entered =
        entered.map(|(state, at)| crate::request::Entered { state, at, after_release: None });
    request.progress.history.extend(entered);
    let gates = |world: &World| shut_gates(&world.fleet, &world.policy(), "w-000");
    assert_eq!(gates(&world), [Gate::FailureBudget]);

    // Once told it is the same failure, and no second one.
    world.pool.failure_budget.failures = 2;
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
    let untold = world.fleet.past.untold(&world.fleet.requests[&node], NOW);
    assert_eq!(untold.len(), 1);
    untold.into_iter().for_each(|failure| world.fleet.past.fail(failure));
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
    world.pool.failure_budget.failures = 1;
    assert_eq!(gates(&world), [Gate::FailureBudget]);
    world.fleet.past.forgive("web".to_owned(), NOW.plus(-299));
    assert_eq!(started(&world.fleet, &world.policy()), ["w-000"]);
}

/// Law 21: who led when it failed had a clock that was an hour behind that of who had released before.
#[test]
fn a_failure_counts_that_came_after_the_release_whatever_the_clocks_say() {
    let mut world = world();
    world.fleet = fleet([node("w-000", "web", "a"), node("w-001", "web", "a")]);
    world.pool.max_unavailable = Amount::Count(2);
    put(&mut world.fleet, "w-001", State::Quarantined);
    let node = uid("w-001");
    let request = world.fleet.requests.get_mut(&node).unwrap();
    let (state, at) = (State::Quarantined, request.progress.since);
    let (by, reason, word) = ("ann".to_owned(), "seen".to_owned(), at.plus(60));
    request.wish.release = Some(crate::request::Release { by, reason, at: word });
    let entered = crate::request::Entered { state, at, after_release: Some(word) };
    request.progress.history.push(entered);
    let now = NOW.max(at.plus(200));
    let gates = |world: &World| {
        let plan = plan(&world.fleet, &world.policy(), now);
        plan.places[&uid("w-000")].blockers.iter().map(|it| it.gate).collect::<Vec<_>>()
    };
    assert_eq!(gates(&world), [Gate::FailureBudget], "of which only the request tells");
    let untold = world.fleet.past.untold(&world.fleet.requests[&node], now);
    untold.into_iter().for_each(|failure| world.fleet.past.fail(failure));
    assert_eq!(gates(&world), [Gate::FailureBudget], "of which the audit was told");
    let request = world.fleet.requests.get_mut(&node).unwrap();
    request.wish.release.as_mut().unwrap().at = word.plus(1);
    assert_eq!(gates(&world), [], "a word that came since");
}

#[test]
fn blockers_of_one_node_are_listed_up_to_twenty_and_the_most_important_stay() {
    let mut world = world();
    for _ in 0..50 {
        world.fleet.blockers.push(blocker(Gate::Alert));
    }
    world.pool.paused = Some("x".to_owned());
    let plan = plan(&world.fleet, &policy([world.pool.clone()]), NOW);
    let blockers = &plan.places[&uid("w-000")].blockers;
    assert_eq!((blockers.len(), blockers[0].gate), (MAX_BLOCKERS, Gate::Paused));
}
