//! Tables of the drain: classes, budgets, evictions, answers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::NodeUid;

use super::*;
use crate::fleet::Asks;
use crate::fleet::Deleting;
use crate::fleet::DisruptionBudget;
use crate::fleet::Known;
use crate::fleet::Owner;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::plan::sample::NOW;
use crate::plan::sample::budget;
use crate::plan::sample::pod;
use crate::plan::sample::uid;
use crate::policy::DrainPolicy;
use crate::policy::EmptyDir;
use crate::policy::Selector;
use crate::policy::Unmanaged;

fn owner(kind: &str, exists: Known<bool>) -> Option<Owner> {
    Some(Owner { kind: kind.to_owned(), name: "x".to_owned(), exists })
}

fn labelled(name: &str, key: &str, value: &str) -> Pod {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Pod { labels, ..pod(name, &[]) }
}

fn going(name: &str, ago_secs: i64, finalizers: &[&str]) -> Pod {
    let finalizers = finalizers.iter().map(|&name| name.to_owned()).collect();
    Pod { deleting: Some(Deleting { at: NOW.plus(-ago_secs), finalizers }), ..pod(name, &[]) }
}

fn budgets(all: &[(&str, u32)]) -> Known<BTreeMap<String, DisruptionBudget>> {
    Known::Known(all.iter().map(|&(name, allowed)| (name.to_owned(), budget(allowed))).collect())
}

/// Scenario 23, and every row of the table of classes.
#[test]
fn each_kind_of_pod_has_its_class() {
    let usual = DrainPolicy::default();
    let yes = || Known::Known(true);
    let app = |value| vec![Selector::label("app", value)];
    let db = || labelled("db-0", "app", "db");
    let daemon = || Pod { owner: owner("DaemonSet", yes()), ..db() };
    let agent = labelled("agent", "app.kubernetes.io/name", "palisade-agent");
    let blocked = |why| Class::Blocked(why);
    let table = [
        ("a replica", pod("a", &[]), usual.clone(), Class::Evicted),
        ("of a DaemonSet", daemon(), usual.clone(), Class::Left(Leaving::DaemonSet)),
        (
            "of a DaemonSet that is evicted",
            daemon(),
            DrainPolicy { daemon_sets: app("db"), ..usual.clone() },
            Class::Evicted,
        ),
        (
            "the agent, whatever DaemonSets are evicted",
            Pod { owner: owner("DaemonSet", yes()), ..agent },
            DrainPolicy { daemon_sets: vec![Selector::default()], ..usual.clone() },
            Class::Left(Leaving::Agent),
        ),
        (
            "orphan of a DaemonSet",
            Pod { owner: owner("DaemonSet", Known::Known(false)), ..pod("a", &[]) },
            usual.clone(),
            blocked(Blocking::Unmanaged),
        ),
        (
            "of a DaemonSet that cannot be looked up",
            Pod {
                owner: owner("DaemonSet", Known::Unknown("timeout".to_owned())),
                ..pod("a", &[])
            },
            usual.clone(),
            blocked(Blocking::OwnerUnknown("timeout".to_owned())),
        ),
        (
            "mirror",
            Pod { is_mirror: true, owner: None, ..pod("a", &[]) },
            usual.clone(),
            Class::Left(Leaving::Mirror),
        ),
        (
            "succeeded",
            Pod { phase: Phase::Succeeded, owner: None, ..pod("a", &[]) },
            usual.clone(),
            Class::Left(Leaving::Finished),
        ),
        (
            "failed",
            Pod { phase: Phase::Failed, ..pod("a", &[]) },
            usual.clone(),
            Class::Left(Leaving::Finished),
        ),
        ("pending", Pod { phase: Phase::Pending, ..pod("a", &[]) }, usual.clone(), Class::Evicted),
        (
            "unmanaged and terminating",
            Pod { owner: None, ..going("a", 0, &[]) },
            usual.clone(),
            Class::Awaited(Awaiting::Terminating),
        ),
        (
            "unmanaged",
            Pod { owner: None, ..pod("a", &[]) },
            usual.clone(),
            blocked(Blocking::Unmanaged),
        ),
        (
            "unmanaged, by policy",
            Pod { owner: None, ..pod("a", &[]) },
            DrainPolicy { unmanaged: Unmanaged::Evict, ..usual.clone() },
            Class::Evicted,
        ),
        (
            "unmanaged, by annotation",
            Pod { owner: None, wish: Some("evict".to_owned()), ..pod("a", &[]) },
            usual.clone(),
            Class::Evicted,
        ),
        (
            "with an emptyDir",
            Pod { has_empty_dir: true, ..pod("a", &[]) },
            usual.clone(),
            Class::Evicted,
        ),
        (
            "with an emptyDir that is kept",
            Pod { has_empty_dir: true, ..pod("a", &[]) },
            DrainPolicy { empty_dir: EmptyDir::Block, ..usual.clone() },
            blocked(Blocking::EmptyDir),
        ),
        ("a Job", Pod { owner: owner("Job", yes()), ..db() }, usual.clone(), Class::Evicted),
        (
            "a protected Job",
            Pod { owner: owner("Job", yes()), ..db() },
            DrainPolicy { protected: app("db"), ..usual.clone() },
            Class::Awaited(Awaiting::Protected),
        ),
        (
            "one that the policy skips",
            db(),
            DrainPolicy { skip: app("db"), ..usual.clone() },
            Class::Left(Leaving::Skipped),
        ),
        (
            "any where only the cordon is wanted",
            db(),
            DrainPolicy { cordon_only: true, ..usual.clone() },
            Class::Left(Leaving::Skipped),
        ),
        (
            "a protected one where only the cordon is wanted",
            Pod { owner: owner("Job", yes()), ..db() },
            DrainPolicy { cordon_only: true, protected: app("db"), ..usual.clone() },
            Class::Awaited(Awaiting::Protected),
        ),
        (
            "one whose owner blocks, where only the cordon is wanted",
            Pod { wish: Some("block".to_owned()), ..db() },
            DrainPolicy { cordon_only: true, ..usual.clone() },
            blocked(Blocking::Wish("block".to_owned())),
        ),
        (
            "with a word that nobody knows",
            Pod { wish: Some("evcit".to_owned()), ..pod("a", &[]) },
            usual,
            blocked(Blocking::Wish("evcit".to_owned())),
        ),
    ];
    for (what, pod, policy, class) in table {
        assert_eq!(classify(&pod, &policy), class, "{what}");
    }
}

/// Budgets, each with one node that runs `pods` pods of it.
#[test]
fn one_node_is_weighed_against_each_state_of_a_budget() {
    let blocked = |outlook: Outlook| matches!(outlook, Outlook::Blocked(_));
    let impossible = |outlook: Outlook| matches!(outlook, Outlook::Impossible(_));
    let unknown = |outlook: Outlook| matches!(outlook, Outlook::Unknown(_));
    let clear = |outlook: Outlook| outlook == Outlook::Clear;
    let serial = |wanted: u32| {
        move |outlook: Outlook| outlook == Outlook::Serial { rounds: wanted, shared: Vec::new() }
    };
    let unready = |pod: Pod| Pod { ready: false, ..pod };
    let one = || pod("a", &["default/web"]);
    let two = || vec![one(), pod("b", &["default/web"])];
    let sick = DisruptionBudget { current_healthy: 8, desired_healthy: 9, ..budget(0) };
    type Case = (&'static str, Vec<Pod>, DisruptionBudget, Box<dyn Fn(Outlook) -> bool>);
    let cases: Vec<Case> = vec![
        ("room for both", two(), budget(2), Box::new(clear)),
        ("room for one at a time", two(), budget(1), Box::new(serial(2))),
        ("no room now", vec![one()], budget(0), Box::new(blocked)),
        (
            "never any room",
            vec![one()],
            DisruptionBudget { desired_healthy: 11, ..budget(0) },
            Box::new(impossible),
        ),
        (
            "stale",
            vec![one()],
            DisruptionBudget { is_current: false, ..budget(2) },
            Box::new(unknown),
        ),
        (
            "pending pods are not asked about",
            vec![Pod { phase: Phase::Pending, ..one() }],
            budget(0),
            Box::new(clear),
        ),
        (
            "an unhealthy pod while enough are healthy",
            vec![unready(one())],
            budget(0),
            Box::new(clear),
        ),
        (
            "an unhealthy pod while too few are",
            vec![unready(one())],
            sick.clone(),
            Box::new(blocked),
        ),
        (
            "an unhealthy pod that may always go",
            vec![unready(one())],
            DisruptionBudget { always_allow_unhealthy: true, ..sick },
            Box::new(clear),
        ),
        (
            "two budgets for one pod",
            vec![pod("a", &["default/web", "default/x"])],
            budget(5),
            Box::new(blocked),
        ),
        (
            "a budget that nobody knows",
            vec![pod("a", &["default/y"])],
            budget(5),
            Box::new(unknown),
        ),
    ];
    for (what, pods, budget, fits) in cases {
        let both = [("default/web".to_owned(), budget.clone()), ("default/x".to_owned(), budget)];
        let known = Known::Known(BTreeMap::from(both));
        let outlook = Batch::new(&known).look(&pods, &DrainPolicy::default());
        assert!(fits(outlook.clone()), "{what}: {outlook:?}");
    }
    let known = Known::Unknown("forbidden".to_owned());
    assert!(unknown(Batch::new(&known).look(&[one()], &DrainPolicy::default())));
}

/// Scenario 16: each node alone is fine, both at once are not, and one that is blocked takes nothing.
#[test]
fn nodes_of_a_batch_share_their_budgets() {
    let policy = DrainPolicy::default();
    let known = budgets(&[("default/web", 1), ("default/zero", 0)]);
    let web = |name: &str| vec![pod(name, &["default/web"])];
    let stuck = vec![pod("s", &["default/zero"]), pod("t", &["default/web"])];
    let pods: BTreeMap<NodeUid, Vec<Pod>> =
        BTreeMap::from([(uid("1"), stuck), (uid("2"), web("a")), (uid("3"), web("b"))]);
    let batch = pods.iter().map(|(uid, pods)| (uid, pods.as_slice(), &policy));
    let outlooks = simulate(batch, &known);
    assert!(matches!(outlooks[&uid("1")], Outlook::Blocked(_)));
    assert_eq!(outlooks[&uid("2")], Outlook::Clear);
    let shared = vec!["default/web".to_owned()];
    assert_eq!(outlooks[&uid("3")], Outlook::Serial { rounds: 2, shared });
}

#[test]
fn budgets_that_never_let_go_are_found_before_a_drain_meets_them() {
    let all = BTreeMap::from([
        ("default/fine".to_owned(), budget(1)),
        ("default/never".to_owned(), DisruptionBudget { desired_healthy: 11, ..budget(0) }),
        ("default/now-not".to_owned(), budget(0)),
    ]);
    assert_eq!(impossible_budgets(&all), BTreeSet::from(["default/never".to_owned()]));
}

fn evictions(pods: &[Pod], known: &[(&str, u32)], in_flight: &[&str], round: Round) -> Vec<String> {
    let budgets = budgets(known);
    let in_flight = in_flight.iter().map(|&uid| uid.to_owned()).collect();
    let returns = Returns::default();
    let drain =
        Draining { pods, budgets: &budgets, in_flight: &in_flight, returns: &returns, round };
    let next = next_evictions(&drain, &DrainPolicy::default(), NOW);
    next.into_iter().map(|eviction| eviction.uid).collect()
}

/// Scenario 15.
#[test]
fn one_pod_that_cannot_go_keeps_all_of_them() {
    let bare = Pod { owner: None, ..pod("bare", &[]) };
    let pods = [pod("a", &[]), bare];
    assert_eq!(evictions(&pods, &[], &[], Round::First), Vec::<String>::new());
    let guarded = [pod("a", &[]), pod("b", &["default/web"])];
    assert_eq!(evictions(&guarded, &[("default/web", 0)], &[], Round::First), Vec::<String>::new());
    assert_eq!(evictions(&guarded, &[("default/web", 0)], &[], Round::Later), ["uid-of-a"]);
}

#[test]
fn five_pods_go_at_once_and_one_of_each_budget_and_a_collector_first() {
    let mut pods: Vec<Pod> = (0..9).map(|index| pod(&format!("p{index}"), &[])).collect();
    pods.push(labelled("z", "app.kubernetes.io/name", "palisade-collector"));
    let first = evictions(&pods, &[], &[], Round::First);
    assert_eq!(first, ["uid-of-z", "uid-of-p0", "uid-of-p1", "uid-of-p2", "uid-of-p3"]);
    let more = evictions(&pods, &[], &["uid-of-p0", "uid-of-p1", "uid-of-z"], Round::Later);
    assert_eq!(more, ["uid-of-p2", "uid-of-p3"]);

    let guarded = ["a", "b", "c"].map(|name| pod(name, &["default/web"]));
    let known = [("default/web", 2)];
    assert_eq!(evictions(&guarded, &known, &[], Round::First), ["uid-of-a"]);
    assert_eq!(evictions(&guarded, &known, &["uid-of-a"], Round::Later), Vec::<String>::new());
}

/// Scenario 20: a pod is its UID, so what is in flight or gone says nothing about a namesake.
#[test]
fn a_namesake_is_another_pod() {
    let replacement = Pod { uid: "another".to_owned(), ..pod("web-0", &[]) };
    let next = evictions(&[replacement], &[], &["uid-of-web-0"], Round::Later);
    assert_eq!(next, ["another"]);
}

fn answered(code: u16, message: &str, causes: &[(&str, &str)], after: Option<u32>) -> Answer {
    let causes = causes.iter().map(|&(reason, text)| (reason.to_owned(), text.to_owned()));
    interpret(&Reply::Answered(Status {
        code,
        reason: String::new(),
        message: message.to_owned(),
        causes: causes.collect(),
        retry_after: after,
    }))
}

#[test]
fn each_answer_to_an_eviction_has_its_meaning() {
    let web = "The disruption budget web needs 2 healthy pods and has 2 currently";
    let precondition = "Precondition failed: UID in precondition: a, UID in object meta: b";
    let other_pod = "the UID in the precondition (a) does not match the UID in record (b).";
    let name = Some("web".to_owned());
    let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    let failed = |message: &str| Answer::Failed { message: message.to_owned(), retry_secs: 5 };
    let refused = |message: &str| Answer::Refused { message: message.to_owned() };
    let budget = [("DisruptionBudget", web)];
    for (answer, expected) in [
        (answered(201, "", &[], None), Answer::Accepted),
        (answered(200, "", &[], None), Answer::Accepted),
        (answered(404, "pods \"a\" not found", &[], None), Answer::Gone),
        (answered(409, precondition, &[], None), Answer::Gone),
        (answered(409, other_pod, &[], None), Answer::Gone),
        (
            answered(409, "the object has been modified", &[], None),
            failed("the object has been modified"),
        ),
        (
            answered(429, "Cannot evict", &budget, Some(10)),
            Answer::Budget { name: name.clone(), retry_secs: 10 },
        ),
        (answered(429, "Cannot evict", &budget, None), Answer::Budget { name, retry_secs: 5 }),
        (answered(429, "too many requests", &[], Some(1)), Answer::Throttled { retry_secs: 1 }),
        (answered(429, "", &[], Some(86_400)), Answer::Throttled { retry_secs: 600 }),
        (answered(403, "", &[("NamespaceTerminating", "")], None), Answer::Wait),
        (answered(403, "forbidden", &[], None), refused("forbidden")),
        (answered(422, "bad", &[], None), refused("bad")),
        (answered(500, two, &[], None), Answer::TwoBudgets),
        (answered(500, "etcd", &[], None), failed("etcd")),
        (answered(503, "away", &[], None), failed("away")),
        (answered(504, "timeout", &[], None), Answer::UnknownOutcome),
        (interpret(&Reply::Silence), Answer::UnknownOutcome),
    ] {
        assert_eq!(answer, expected);
    }
}

#[test]
fn no_answer_of_a_hostile_server_is_taken_at_its_length() {
    let long = "\u{1b}é".repeat(100_000);
    let Answer::Refused { message } = answered(418, &long, &[], None) else { panic!("refused") };
    assert!(message.len() <= 256 && !message.contains('\u{1b}'), "{message}");
    let named =
        answered(429, "", &[("DisruptionBudget", &format!("disruption budget {long}"))], None);
    assert_eq!(named, Answer::Budget { name: None, retry_secs: 5 });
}

/// Scenario 21.
#[test]
fn a_pod_that_does_not_go_is_named_and_left_out_of_account_only_by_policy() {
    let pods =
        [going("fin", 61, &["example.com/keep"]), going("slow", 61, &[]), going("new", 60, &[])];
    let usual = DrainPolicy::default();
    let known = budgets(&[]);
    let seen = left(&pods, &known, &Returns::default(), &usual, NOW);
    assert_eq!(seen.left.len(), 3);
    assert_eq!(seen.stuck.len(), 2, "{:?}", seen.stuck);
    assert!(seen.stuck[0].contains("finalizers example.com/keep"), "{:?}", seen.stuck);
    assert!(seen.stuck[1].contains("kubelet"), "{:?}", seen.stuck);
    let skipping = DrainPolicy { skip_stuck_after_secs: Some(60), ..usual };
    let seen = left(&pods, &known, &Returns::default(), &skipping, NOW);
    assert_eq!(seen.left, ["default/new: terminating"]);
}

#[test]
fn a_node_whose_pod_does_not_end_is_not_begun() {
    let known = budgets(&[]);
    let pods = [going("fin", 61, &["example.com/keep"]), going("new", 60, &[])];
    let usual = DrainPolicy::default();
    let Outlook::Blocked(lines) = Batch::new(&known).at(NOW).look(&pods, &usual) else {
        panic!("not blocked")
    };
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("finalizers example.com/keep"), "{lines:?}");
    let skipping = DrainPolicy { skip_stuck_after_secs: Some(60), ..usual };
    assert_eq!(Batch::new(&known).at(NOW).look(&pods, &skipping), Outlook::Clear);
}

/// Scenarios 14 and 17: what holds a drain is named, with its budget.
#[test]
fn what_is_left_says_what_it_waits_for() {
    let volumes = BTreeSet::from(["pv-1".to_owned()]);
    let web = Pod { volumes, ..pod("web", &["default/web"]) };
    let job = Pod { labels: labelled("", "app", "job").labels, ..pod("job", &[]) };
    let done = Pod { phase: Phase::Succeeded, ..pod("done", &[]) };
    let policy =
        DrainPolicy { protected: vec![Selector::label("app", "job")], ..DrainPolicy::default() };
    let seen =
        left(&[web, job, done], &budgets(&[("default/web", 0)]), &Returns::default(), &policy, NOW);
    assert_eq!(
        seen.left,
        [
            "default/web: budget default/web allows 0",
            "default/job: protected, waited for until it ends"
        ]
    );
    assert_eq!(seen.volumes, ["pv-1"]);
    assert_eq!(seen.stuck, Vec::<String>::new(), "both may end by themselves");
}

#[test]
fn a_workload_that_returns_twice_is_named_instead_of_evicted() {
    let back = |uid: &str| Pod { uid: uid.to_owned(), tolerates_cordon: true, ..pod("web", &[]) };
    let known = budgets(&[]);
    let policy = DrainPolicy::default();
    let mut returns = Returns::default();
    for (uid, is_stuck) in [("1", false), ("1", false), ("2", false), ("3", true)] {
        let pods = [back(uid)];
        returns.note(&pods);
        let in_flight = BTreeSet::new();
        let round = Round::Later;
        let drain = Draining {
            pods: &pods,
            budgets: &known,
            in_flight: &in_flight,
            returns: &returns,
            round,
        };
        assert_eq!(next_evictions(&drain, &policy, NOW).is_empty(), is_stuck, "{uid}");
        let seen = left(&pods, &known, &returns, &policy, NOW);
        let named = seen.stuck.iter().any(|line| line.contains("returns-to-cordoned-node"));
        assert_eq!(named, is_stuck, "{uid}");
    }
    let intolerant = Pod { tolerates_cordon: false, ..back("4") };
    assert!(!returns.is_stuck(&intolerant));
}

#[test]
fn pods_that_fit_nowhere_are_named() {
    let asking =
        |name: &str, memory| Pod { asks: Asks { milli_cpu: 100, memory }, ..pod(name, &[]) };
    let free = |rooms: &[u64]| -> BTreeMap<NodeUid, Asks> {
        let room = |(at, memory): (usize, &u64)| {
            (uid(&at.to_string()), Asks { milli_cpu: 250, memory: *memory })
        };
        rooms.iter().enumerate().map(room).collect()
    };
    let pods = [asking("small", 1), asking("large", 8), asking("middle", 4)];
    let policy = DrainPolicy::default();
    assert_eq!(homeless(&pods, &policy, &free(&[8, 5])), Vec::<&str>::new());
    assert_eq!(homeless(&pods, &policy, &free(&[7, 7])), ["default/large"]);
    assert_eq!(homeless(&pods, &policy, &free(&[100])), ["default/small"], "no CPU for a third");
    assert_eq!(homeless(&pods, &policy, &free(&[])).len(), 3);
}

#[test]
fn pods_of_one_node_leave_less_room_for_those_of_the_next() {
    let asking = |name: &str| Pod { asks: Asks { milli_cpu: 0, memory: 8 }, ..pod(name, &[]) };
    let room = |memory| Asks { milli_cpu: 1_000, memory };
    let mut free = BTreeMap::from([(uid("0"), room(10)), (uid("1"), room(3))]);
    let policy = DrainPolicy::default();
    assert_eq!(settle(&[asking("first")], &policy, &mut free), Vec::<&str>::new());
    assert_eq!(free.values().map(|it| it.memory).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(settle(&[asking("second")], &policy, &mut free), ["default/second"]);
    assert!(take_room(&Asks { milli_cpu: 0, memory: 3 }, &mut free), "a pod that waits for a node");
    assert_eq!(free.values().map(|it| it.memory).collect::<Vec<_>>(), [2, 0]);
}
