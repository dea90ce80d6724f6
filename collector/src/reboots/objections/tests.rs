//! What answers mean for nodes, without anybody who is asked.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use palisade_plan::gate::Blocker;
use palisade_plan::policy::Pool;
use palisade_report::Moment;
use palisade_report::NodeName;

use super::*;
use crate::clock::Clock;
use crate::snapshot::ClusterNode;
use crate::snapshot::Ready;
use crate::snapshot::Scheduling;

/// A clock that somebody moves.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn elapsed_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst).unsigned_abs()
    }
}

impl BootClock for Hand {
    fn boot_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct World {
    hand: Arc<Hand>,
    clock: TermClock,
    objections: Objections,
    members: BTreeMap<NodeName, Arc<ClusterNode>>,
    policy: Policy,
}

impl World {
    /// Two nodes `db-0`, `db-1` in the pool `db` with this gate, and `web-0` in `web`.
    fn of(gate: &str) -> Self {
        let policy = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\npools:\n  - name: db\n    \
             selector: {{matchLabels: {{tier: db}}}}\n    mode: auto\n    {gate}\n  - name: web\n    \
             selector: {{matchLabels: {{tier: web}}}}\n    mode: auto\n"
        );
        let policy = Policy::parse(&policy).unwrap_or_else(|error| panic!("{error}"));
        let hand: Arc<Hand> = Arc::default();
        let clock = TermClock::start(Arc::clone(&hand) as _, Arc::clone(&hand) as _);
        let objections = Objections::new(Arc::clone(&hand) as _);
        let members = [("db-0", "db"), ("db-1", "db"), ("web-0", "web")];
        let members =
            members.map(|(name, tier)| (name.parse().unwrap(), Arc::new(node(name, tier))));
        Self { hand, clock, objections, members: members.into(), policy }
    }

    fn at(&self, secs: i64) {
        self.hand.0.store(secs * 1000, Ordering::SeqCst);
    }

    fn answered(&self, selector: &str, found: Result<Vec<Standing>, &str>) {
        let (now, found) = (self.hand.boot_ms(), found.map_err(str::to_owned));
        remember(&mut self.objections.answers().pods, &selector.to_owned(), now, found);
    }

    /// The values of the gates that are shut for a node.
    fn shut(&self, node: &str) -> Vec<String> {
        self.blockers(node).into_iter().map(|it| it.value).collect()
    }

    fn blockers(&self, node: &str) -> Vec<Blocker> {
        let pools: BTreeMap<&str, &Pool> = self
            .members
            .iter()
            .map(|(name, member)| (name.as_str(), self.policy.pool_of(&member.labels)))
            .collect();
        let heard = self.objections.heard(&self.clock);
        let against = heard.against(&self.policy, &pools, self.clock.now());
        let against = against.get(&pools.get(node).unwrap().name);
        against.into_iter().flat_map(|it| it.of(node)).cloned().collect()
    }
}

fn node(name: &str, tier: &str) -> ClusterNode {
    ClusterNode {
        uid: name.parse().unwrap(),
        labels: Arc::new(BTreeMap::from([("tier".to_owned(), tier.to_owned())])),
        hostname: None,
        ready: Ready::Ready,
        scheduling: Scheduling::Open,
        boot_id: None,
        kernel: None,
        kubelet: None,
        taints: Vec::new(),
    }
}

fn pod(name: &str, node: &str) -> Standing {
    let node = (!node.is_empty()).then(|| node.to_owned());
    Standing { name: name.to_owned(), node, since: Some(Moment::from_unix(5)) }
}

fn gate(scope: &str) -> String {
    format!("blockingPods: [{{selector: {{matchLabels: {{app: backup}}}}, scope: {scope}}}]")
}

#[test]
fn a_pod_blocks_its_node_its_pool_or_all_by_the_scope_of_its_gate() {
    let asked = "(asked every 10 s)";
    for (scope, pod, [first, second]) in [
        ("node", pod("a/b", "db-0"), ["a/b on db-0", ""]),
        ("node", pod("a/b", "web-0"), ["", ""]),
        ("node", pod("a/b", ""), ["", ""]),
        ("pool", pod("a/b", "db-1"), ["a/b on db-1", "a/b on db-1"]),
        ("pool", pod("a/b", "web-0"), ["", ""]),
        ("pool", pod("a/b", "nowhere"), ["", ""]),
        ("cluster", pod("a/b", "web-0"), ["a/b on web-0", "a/b on web-0"]),
        ("cluster", pod("a/b", ""), ["a/b, which waits for a node"; 2]),
    ] {
        let world = World::of(&gate(scope));
        world.at(10);
        let shown = format!("{scope} {pod:?}");
        world.answered("app=backup", Ok(vec![pod]));
        for (node, value) in [("db-0", first), ("db-1", second), ("web-0", "")] {
            let expected = if value.is_empty() { vec![] } else { vec![format!("{value} {asked}")] };
            assert_eq!(world.shut(node), expected, "{shown}: {node}");
        }
    }
}

#[test]
fn nobody_asked_an_error_and_an_old_answer_keep_the_gate_shut_and_say_so() {
    let world = World::of(&gate("node"));
    world.at(100);
    let unknown = |why: &str| vec![format!("pods with app=backup cannot be told: {why}")];
    assert_eq!(world.shut("db-1"), unknown(NOT_ASKED));
    world.answered("app=backup", Err("the API server is away"));
    assert_eq!(world.shut("db-1"), unknown("the API server is away"));
    assert_eq!(world.shut("web-0"), <[String; 0]>::default(), "its pool asks for nothing");
    world.answered("app=backup", Ok(vec![]));
    assert_eq!(world.shut("db-1"), <[String; 0]>::default());
    world.at(100 + OLD_SECS);
    assert_eq!(world.shut("db-1"), <[String; 0]>::default());
    world.at(101 + OLD_SECS);
    assert_eq!(world.shut("db-1"), unknown("nobody has answered since 1970-01-01T00:01:40Z"));
}

#[test]
fn a_gate_names_some_of_many_pods_and_is_shut_since_the_oldest_of_them() {
    let world = World::of(&gate("cluster"));
    world.at(60);
    let many = ["a/4", "a/3", "a/2", "a/1", "a/1"].map(|name| pod(name, "db-0"));
    world.answered("app=backup", Ok(many.to_vec()));
    let expected = "a/1 on db-0; a/2 on db-0; a/3 on db-0 and 1 more (asked every 10 s)";
    assert_eq!(world.shut("db-0"), [expected]);
    assert_eq!(world.blockers("db-0")[0].since, Moment::from_unix(5));
}

#[test]
fn an_alert_that_nobody_dates_speaks_since_it_was_first_heard_of() {
    let mut world = World::of("");
    let gate = palisade_plan::policy::AlertGate::default();
    let asked = (AlertSource::default(), Question::from(&gate));
    world.policy.pools[0].alerts = Some(gate);
    let heard = |secs: i64, count: usize| {
        world.at(secs);
        let found = Firing { count, shown: "DiskFails{}".to_owned(), since: None };
        remember(&mut world.objections.answers().alerts, &asked, secs * 1000, Ok(found));
        world.blockers("db-0").into_iter().map(|it| it.since).collect::<Vec<_>>()
    };
    let at = |secs: i64| vec![world.clock.at(secs * 1000)];
    assert_eq!(heard(10, 0), []);
    assert_eq!(heard(25, 1), at(25));
    assert_eq!(heard(40, 2), at(25));
    assert_eq!(heard(55, 0), []);
    assert_eq!(heard(70, 1), at(70));
}

/// A plan in which the nodes of one pool are so.
fn planned(pool: &str, verdict: Verdict) -> Plan {
    let place = Place {
        pool: pool.into(),
        zone: "".into(),
        role: palisade_plan::fleet::Role::Worker,
        verdict,
        blockers: Vec::new(),
        position: None,
        eta: None,
    };
    let digest = palisade_report::Digest::of(b"plan");
    Plan {
        at: Moment::from_unix(0),
        policy: digest,
        places: BTreeMap::from([("u-1".parse().unwrap(), place)]),
        order: Vec::new(),
        start: Vec::new(),
        ask: Vec::new(),
        digest,
    }
}

#[test]
fn asked_is_what_a_pool_asks_for_whose_nodes_wait_and_may_be_rebooted() {
    let world = World::of(&gate("node"));
    let draining = Verdict::InFlight(palisade_plan::request::State::Draining);
    let wanted = |pool: &str, verdict| Wanted::of(&world.policy, &planned(pool, verdict)).pods;
    for verdict in [Verdict::Waits, Verdict::Start, draining] {
        assert_eq!(wanted("db", verdict), BTreeSet::from(["app=backup".to_owned()]));
        assert_eq!(wanted("web", verdict), BTreeSet::new(), "it asks for nothing");
    }
    assert_eq!(wanted("db", Verdict::NotNeeded), BTreeSet::new());
    assert_eq!(wanted("db", Verdict::Unknown), BTreeSet::new());
    let quiet = World::of(&gate("node").replace("blockingPods", "paused: later\n    blockingPods"));
    assert_ne!(Wanted::of(&quiet.policy, &planned("db", Verdict::Waits)), Wanted::default());
    let mut shown = world.policy.clone();
    shown.pools[0].mode = Mode::Plan;
    assert_eq!(Wanted::of(&shown, &planned("db", Verdict::Waits)), Wanted::default());
    shown.pools[0].alerts = Some(palisade_plan::policy::AlertGate::default());
    shown.cluster.alert_source = Some(AlertSource::default());
    let wanted = Wanted::of(&shown, &planned("db", Verdict::NotNeeded));
    assert_eq!((wanted.pods.len(), wanted.alerts.len()), (0, 1), "alerts cost the source little");
}

#[test]
fn the_question_after_which_nobody_answered_comes_last_at_the_next_round() {
    let wanted = BTreeSet::from(["a", "b", "c"]);
    assert_eq!(round(&wanted, None), [&"a", &"b", &"c"]);
    assert_eq!(round(&wanted, Some(&"a")), [&"b", &"c", &"a"]);
    assert_eq!(round(&wanted, Some(&"c")), [&"a", &"b", &"c"]);
}

#[test]
fn answers_of_a_long_round_are_believed_for_as_much_longer_and_not_for_ever() {
    assert_eq!(believed(30, 0), 30);
    assert_eq!(believed(30, 45_999), 75);
    assert_eq!(believed(30, i64::MAX), 30 + MAX_ROUND_SECS);
    let world = World::of(&gate("node"));
    world.at(100);
    world.answered("app=backup", Ok(vec![]));
    world.objections.answers().pods_round_ms = 45_000;
    world.at(100 + 75);
    assert_eq!(world.shut("db-1"), <[String; 0]>::default());
    world.at(100 + 76);
    assert_eq!(world.shut("db-1").len(), 1);
}
