//! What the coordinator saw, and what of it is told.

use std::collections::BTreeMap;

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Failure;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node as Planned;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Ready as NodeReady;
use palisade_plan::fleet::Role;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan::plan;
use palisade_plan::policy::Policy;
use palisade_plan::request::Alert;
use palisade_plan::request::Intent;
use palisade_plan::request::Reason;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::request::Wish;
use palisade_plan::step;
use palisade_report::NodeUid;

use super::*;

const POLICY: &str = "apiVersion: palisade.dev/v1alpha1
kind: RebootPolicy
pools:
  - name: workers
    selector: {}
    mode: auto
";

fn reason() -> Reason {
    Reason {
        source: "kernel".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux-image-cloud-amd64".to_owned(),
        target: "6.1.0-56".to_owned(),
    }
}

fn node(name: &str) -> Planned {
    let need = Need::Needed {
        reasons: BTreeSet::from([reason()]),
        digest: Digest::of(b"kernel"),
        since: NOW.plus(-90_000),
    };
    Planned {
        name: name.parse().unwrap(),
        uid: name.parse().unwrap(),
        labels: Arc::default(),
        role: Role::Worker,
        ready: NodeReady::Since(NOW.plus(-90_000)),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW.plus(-10)),
            boot: None,
            kernel: Some("6.1.0-56".to_owned()),
            next_kernel: None,
            need,
            stable_since: Some(NOW.plus(-90_000)),
            package_manager: Known::Known(None),
            reboot_method: Known::Known("logind".to_owned()),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: None,
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

fn view(nodes: impl IntoIterator<Item = Planned>, policy: &str, past: Past) -> View {
    let nodes: BTreeMap<NodeUid, Planned> =
        nodes.into_iter().map(|it| (it.uid.clone(), it)).collect();
    let pods = nodes.keys().map(|uid| (uid.clone(), Arc::from([]))).collect();
    let fleet = Fleet {
        nodes,
        requests: BTreeMap::new(),
        pods: Known::Known(pods),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past,
        own_node: None,
        frozen_at: None,
    };
    let policy = Arc::new(Policy::parse(policy).unwrap());
    let plan = plan(&fleet, &policy, NOW);
    let (alerts, outlooks, answered) = (BTreeMap::new(), BTreeMap::new(), Arc::default());
    View { fleet, policy, refused_policy: None, plan, alerts, outlooks, answered }
}

/// A fleet of these nodes under this policy.
pub(super) fn view_of(names: &[&str], policy: &str) -> View {
    view(names.iter().map(|it| node(it)), policy, Past::default())
}

pub(super) fn raise(view: &mut View, name: &str, alert: Alert) {
    view.alerts.entry(name.parse().unwrap()).or_default().insert(alert);
}

fn shut(gate: Gate, value: &str) -> Blocker {
    Blocker { gate, value: value.to_owned(), since: NOW.plus(-60), next_check: None }
}

fn request(name: &str, state: State) -> Request {
    let wish = Wish {
        reasons: BTreeSet::from([reason()]),
        digest: Digest::of(b"kernel"),
        since: NOW.plus(-90_000),
        requested_by: "palisade".to_owned(),
        must_by: None,
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    };
    let (node, uid) = (name.parse().unwrap(), name.parse().unwrap());
    let mut request = step::requested(node, uid, wish, 1, NOW);
    request.progress.state = state;
    request.progress.deadline = Some(NOW.plus(600));
    request
}

fn put(view: &mut View, request: Request) {
    view.fleet.requests.insert(request.uid.clone(), request);
}

const ALERTS: [Alert; 16] = [
    Alert::ClaimStuck,
    Alert::CordonFailed,
    Alert::DrainSlow,
    Alert::DrainFailed,
    Alert::DrainBackoff,
    Alert::GrantNotConsumed,
    Alert::NodeNotReturned,
    Alert::NodeQuarantined,
    Alert::RollbackFailed,
    Alert::UncordonFailed,
    Alert::RebootCommandFailed,
    Alert::RebootOverdue,
    Alert::RebootBlocked,
    Alert::RebootStarved,
    Alert::RebootPending,
    Alert::UnplannedReboot,
];

/// One node with every alert that there is, whose pool is halted.
pub(super) fn with_every_alert() -> View {
    let mut node = node("worker-1");
    node.blockers.push(shut(Gate::Certificate, "the client certificate ends tomorrow"));
    let failure = |at: i64| Failure {
        at: NOW.plus(-at),
        pool: "workers".to_owned(),
        node: "worker-9".parse().unwrap(),
        what: "NotReturned".to_owned(),
        entered: None,
    };
    let past = Past { failures: (1..10).rev().map(failure).collect(), ..Past::default() };
    let mut view = view([node], POLICY, past);
    ALERTS.into_iter().for_each(|alert| raise(&mut view, "worker-1", alert));
    view
}

fn look(view: &View, boots: &[Boot]) -> Vec<Sighting> {
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    let world = World { view: Some(view), boots, ..world(&snapshot, &rules) };
    held(&Sources::default().look(&world), &Scope::Reboots).unwrap()
}

fn of_kind(sightings: &[Sighting], kind: Kind) -> Sighting {
    sightings.iter().find(|it| it.key.kind == kind).cloned().unwrap()
}

#[test]
fn every_alert_of_the_coordinator_has_its_name_here_and_its_pool() {
    let found = look(&with_every_alert(), &[]);
    let kinds: BTreeSet<Kind> = found.iter().map(|it| it.key.kind).collect();
    // All but the pending one, which the node's own report tells; and certificate and pool.
    assert_eq!(kinds.len(), ALERTS.len() - 1 + 2, "{kinds:?}");
    assert!(found.iter().all(|it| it.key.pool.as_deref() == Some("workers")), "{found:#?}");
    assert_eq!(of_kind(&found, Kind::RolloutHalted).severity, Severity::Critical);
    let certificate = of_kind(&found, Kind::RebootBlockedByCertificate);
    assert_eq!(certificate.severity, Severity::Critical);
}

#[test]
fn without_a_coordinator_its_alerts_are_not_looked_at() {
    let looks = look_once([]);
    assert_eq!(held(&looks, &Scope::Reboots), None);
}

#[test]
fn the_owner_of_a_blocker_is_told_and_stays_the_same() {
    let mut blocked = node("worker-1");
    blocked.objections.push(shut(Gate::Pod, "shop/db-0 runs; web/api-1 runs"));
    let mut view = view([blocked], POLICY, Past::default());
    raise(&mut view, "worker-1", Alert::RebootBlocked);
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    let mut sources = Sources::default();
    let mut namespace = |view: &View| {
        let world = World { view: Some(view), ..world(&snapshot, &rules) };
        let found = held(&sources.look(&world), &Scope::Reboots).unwrap();
        of_kind(&found, Kind::RebootBlocked).key.namespace
    };
    assert_eq!(namespace(&view).as_deref(), Some("shop"));
    let uid: NodeUid = "worker-1".parse().unwrap();
    let say = |view: &mut View, value: &str| {
        view.plan.places.get_mut(&uid).unwrap().blockers = vec![shut(Gate::Pod, value)];
    };
    say(&mut view, "cache/x-0 runs; shop/db-0 runs");
    assert_eq!(namespace(&view).as_deref(), Some("shop"), "another namespace is another alert");
    say(&mut view, "cache/x-0 runs");
    assert_eq!(namespace(&view).as_deref(), Some("cache"));
    say(&mut view, "nothing is named");
    assert_eq!(namespace(&view), None);
}

#[test]
fn an_overdue_reboot_is_critical_a_week_later() {
    let severity = |secs_over: i64| {
        let mut node = node("worker-1");
        node.agent.due_by = Some(NOW.plus(-secs_over));
        let mut view = view([node], POLICY, Past::default());
        raise(&mut view, "worker-1", Alert::RebootOverdue);
        of_kind(&look(&view, &[]), Kind::RebootOverdue).severity
    };
    assert_eq!(severity(7 * 86_400 - 1), Severity::Warning);
    assert_eq!(severity(7 * 86_400), Severity::Critical);
}

#[test]
fn the_third_unplanned_boot_within_a_day_is_a_warning() {
    let view = view([node("worker-1")], POLICY, Past::default());
    let boot = |secs: i64| Boot { at: NOW.plus(-secs), node: "worker-1".parse().unwrap() };
    let severity = |boots: &[Boot]| of_kind(&look(&view, boots), Kind::UnplannedReboot).severity;
    assert_eq!(severity(&[boot(5), boot(60)]), Severity::Info);
    assert_eq!(severity(&[boot(5), boot(60), boot(86_400)]), Severity::Info);
    assert_eq!(severity(&[boot(5), boot(60), boot(86_399)]), Severity::Warning);
}

#[test]
fn a_pool_paused_by_hand_is_told_after_a_day_and_over_a_restart() {
    let policy = format!("{POLICY}    paused: audit week\n");
    let view = view([node("worker-1")], &policy, Past::default());
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    let look = |sources: &mut Sources, secs: i64| {
        let now = NOW.plus(secs);
        let world = World { view: Some(&view), now, ..world(&snapshot, &rules) };
        let found = held(&sources.look(&world), &Scope::Reboots).unwrap();
        found.into_iter().find(|it| it.key.kind == Kind::RolloutHalted)
    };
    let mut sources = Sources::default();
    assert_eq!(look(&mut sources, 0), None);
    assert_eq!(look(&mut sources, 86_399), None);
    let told = look(&mut sources, 86_400).unwrap();
    assert_eq!(told.severity, Severity::Warning);
    let mut sources = Sources::default();
    sources.remember([(Scope::Reboots, told)]);
    assert!(look(&mut sources, 86_500).is_some());
}

#[test]
fn a_reboot_that_goes_on_as_expected_is_quiet_and_a_late_or_failed_one_is_not() {
    let quiet = |state, change: fn(&mut Request), alert: Option<Alert>| {
        let mut view = view([node("worker-1")], POLICY, Past::default());
        let mut request = request("worker-1", state);
        change(&mut request);
        put(&mut view, request);
        alert.into_iter().for_each(|it| raise(&mut view, "worker-1", it));
        !rebooting(&view).is_empty()
    };
    for state in State::ALL {
        let is_under_way = [
            State::Claimed,
            State::Cordoning,
            State::Draining,
            State::Granted,
            State::Rebooting,
            State::Booted,
            State::Verifying,
            State::Uncordoning,
        ]
        .contains(&state);
        assert_eq!(quiet(state, |_| {}, None), is_under_way, "{state:?}");
    }
    assert!(!quiet(State::Rebooting, |it| it.progress.deadline = Some(NOW), None));
    assert!(!quiet(State::Draining, |_| {}, Some(Alert::DrainSlow)));
    assert!(quiet(State::Draining, |_| {}, Some(Alert::RebootOverdue)), "it is on its way");
}

#[test]
fn the_end_of_a_reboot_names_the_kernel_or_whoever_released_it() {
    let uid = Some("worker-1".parse().unwrap());
    let node_of = Node { uid, ..Node::clone(&judged("worker-1", &[], Opened::Report)) };
    let (snapshot, rules) = (snapshot([Arc::new(node_of)]), Profile::built_in());
    let says = |view: &View, kind| {
        let world = World { view: Some(view), ..world(&snapshot, &rules) };
        let key = Key::of_node(kind, "worker-1".parse().unwrap(), Some("workers".into()));
        let values = [("reason".to_owned(), "6.1.0-50 -> 6.1.0-56, libc6".to_owned())];
        ending(&world, &key, &Arc::new(BTreeMap::from(values)))
    };
    let mut view = view([node("worker-1")], POLICY, Past::default());
    assert_eq!(says(&view, Kind::RebootRequired), "rebooted into kernel 6.1.0-56");
    put(&mut view, request("worker-1", State::Done));
    assert_eq!(says(&view, Kind::RebootOverdue), "rebooted into kernel 6.1.0-56");
    let mut released = request("worker-1", State::Uncordoning);
    let (by, reason, at) = ("anna".to_owned(), "looked at it".to_owned(), NOW);
    released.wish.release = Some(palisade_plan::request::Release { by, reason, at });
    put(&mut view, released);
    assert_eq!(says(&view, Kind::NodeQuarantined), "released by anna: looked at it");
}

#[test]
fn the_pool_of_a_node_is_known_before_it_is_spoken_of() {
    let rules = Profile::built_in();
    let fails = [failing("sysctl.kptr-restrict", "")];
    let node_of = judged("worker-1", &fails, Opened::Report);
    let uid = Some("worker-1".parse().unwrap());
    let snapshot = snapshot([Arc::new(Node { uid, ..Node::clone(&node_of) })]);
    let mut sources = Sources::default();
    let early = World { now: STARTED.plus(30), ..world(&snapshot, &rules) };
    assert_eq!(held(&sources.look(&early), &on("worker-1")), None, "its pool may come yet");
    let view = view([node("worker-1")], POLICY, Past::default());
    let looks = sources.look(&World { view: Some(&view), ..early });
    let pool = |looks: &[(Scope, Look)]| held(looks, &on("worker-1")).unwrap()[0].key.pool.clone();
    assert_eq!(pool(&looks).as_deref(), Some("workers"));
    // Who does not coordinate any more does not make other alerts of them.
    let looks = sources.look(&early);
    assert_eq!(held(&looks, &on("worker-1")), None, "nothing changed");
    let late = Sources::default().look(&World { now: STARTED.plus(60), ..early });
    assert_eq!(pool(&late), None, "nobody coordinates");
}

#[test]
fn silence_keeps_its_pool_over_a_restart_until_somebody_coordinates() {
    let rules = Profile::built_in();
    let silent =
        in_state(&judged("worker-1", &[], Opened::Report), NodeState::Silent, NOW.plus(-400));
    let uid = Some("worker-1".parse().unwrap());
    let snapshot = snapshot([Arc::new(Node { uid, ..Node::clone(&silent) })]);
    let view = view([node("worker-1")], POLICY, Past::default());
    let mut sources = Sources::default();
    let looks = sources.look(&World { view: Some(&view), ..world(&snapshot, &rules) });
    let told = held(&looks, &Scope::Fleet).unwrap();
    assert_eq!(told[0].key.pool.as_deref(), Some("workers"));
    let early = World { now: STARTED.plus(5), ..world(&snapshot, &rules) };
    let mut sources = Sources::default();
    sources.remember(told.iter().map(|it| (Scope::Fleet, it.clone())));
    let key = |looks: &[(Scope, Look)]| held(looks, &Scope::Fleet).unwrap().pop().map(|it| it.key);
    assert_eq!(key(&sources.look(&early)).as_ref(), Some(&told[0].key));
    assert_eq!(key(&Sources::default().look(&early)), None, "not spoken of yet");
}

#[test]
fn a_node_without_a_cluster_has_a_pool_too() {
    let rules = Profile::built_in();
    let fails = [failing("sysctl.kptr-restrict", "")];
    let snapshot = snapshot([judged("worker-1", &fails, Opened::Report)]);
    let uid = uid_of(&"worker-1".parse().unwrap()).unwrap();
    let view = view([Planned { uid, ..node("worker-1") }], POLICY, Past::default());
    let looks = Sources::default().look(&World { view: Some(&view), ..world(&snapshot, &rules) });
    let held = held(&looks, &on("worker-1")).unwrap();
    assert_eq!(held[0].key.pool.as_deref(), Some("workers"));
}
