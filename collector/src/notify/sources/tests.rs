//! Pictures of fleets made by hand, and what holds in them.

use std::collections::BTreeSet;

use palisade_alert::catalogue::Catalogue;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::EDITED_AT;
use palisade_report::Digest;
use palisade_rules::Evidence;
use palisade_rules::Finding;
use palisade_rules::Severity as RuleSeverity;
use palisade_rules::Verdict;

use super::*;
use crate::snapshot::ClusterNode;
use crate::snapshot::Counted;
use crate::snapshot::Counters;
use crate::snapshot::Edit;
use crate::snapshot::Episode;
use crate::snapshot::FindingKey;
use crate::snapshot::Judged;
use crate::snapshot::NodeTable;
use crate::snapshot::Opened;
use crate::snapshot::Readiness;
use crate::snapshot::Ready;
use crate::snapshot::Scheduling;
use crate::snapshot::Seen as Heard;
use crate::snapshot::Standing;

mod edited;
mod planned;

/// Long after the start.
const NOW: Moment = Moment::from_unix(1_800_000_000);
const STARTED: Moment = Moment::from_unix(1_799_990_000);

/// A finding as the judge would make it.
fn finding(rule: &str, subject: &str, verdict: Verdict, severity: RuleSeverity) -> Finding {
    let evidence = Evidence {
        fact: "sysctl.kernel.kptr_restrict".to_owned(),
        observed: "0".to_owned(),
        expected: "at least 1".to_owned(),
        ..Evidence::default()
    };
    let (rule, subject) = (rule.parse().unwrap(), subject.to_owned());
    Finding { rule, verdict, severity, subject, evidence, waiver: None }
}

fn failing(rule: &str, subject: &str) -> Finding {
    finding(rule, subject, Verdict::Fail, RuleSeverity::Medium)
}

fn seeing(mut finding: Finding, observed: &str) -> Finding {
    finding.evidence.observed = observed.to_owned();
    finding
}

/// What an edit ten minutes ago made of a finding that was not open before.
fn new_by_edit(finding: &Finding) -> Edit {
    let made = Standing { verdict: finding.verdict, severity: finding.severity };
    Edit { at: NOW.plus(-600), was: None, made }
}

/// A node with these findings, the open ones opened by that ten minutes ago.
fn judged(name: &str, findings: &[Finding], opened: Opened) -> Arc<Node> {
    let mut findings = findings.to_vec();
    findings.sort_by(|one, other| (&one.rule, &one.subject).cmp(&(&other.rule, &other.subject)));
    let key = |it: &Finding| {
        Arc::new(FindingKey { rule: it.rule.clone(), subject: it.subject.as_str().into() })
    };
    let open = findings.iter().filter(|it| it.verdict.is_open());
    let at = NOW.plus(-600);
    let episodes = open.map(|it| Episode {
        key: key(it),
        verdict: it.verdict,
        severity: it.severity,
        first_seen_at: at,
        opened,
        edited: (opened == Opened::Rules).then(|| Box::new(new_by_edit(it))),
        changed_at: at,
    });
    let episodes = episodes.collect();
    let keys = findings.iter().map(key).collect();
    let judged = Judged { key: Digest::of(b"key"), group: 0, findings, next_change_at: None, keys };
    let judgements: Arc<[Arc<Judged>]> = [Arc::new(judged)].into();
    let report = Some(Digest::of(b"report"));
    let node = crate::snapshot::tests::node(name);
    let seen = Arc::new(Heard::new(NOW.plus(-10), 0));
    Arc::new(Node { report, judgements, episodes, seen, ..Node::clone(&node) })
}

fn in_state(node: &Arc<Node>, state: NodeState, heard_at: Moment) -> Arc<Node> {
    let seen = Arc::new(Heard::new(heard_at, 0));
    Arc::new(Node { state, state_since: heard_at, seen, ..Node::clone(node) })
}

fn snapshot(nodes: impl IntoIterator<Item = Arc<Node>>) -> Snapshot {
    let (mut table, mut counters) = (NodeTable::default(), Counters::default());
    for node in nodes {
        counters.count_node(node.state, Counted::Came);
        table.insert(node);
    }
    Snapshot {
        version: 1,
        started_at: STARTED,
        published_at: NOW,
        profile: Digest::of(b"profile"),
        readiness: Readiness::Ready,
        nodes: table,
        counters: Arc::new(counters),
    }
}

const OWN: OwnCertificates = OwnCertificates { serving_end: None, authority_end: None, behind: 0 };

fn world<'a>(snapshot: &'a Snapshot, rules: &'a Profile) -> World<'a> {
    World {
        snapshot,
        view: None,
        coordinator: Coordinator::Expected,
        own: OWN,
        rules,
        incidents: &[],
        boots: &[],
        version: "0.1.0",
        started_at: STARTED,
        now: NOW,
    }
}

/// What holds in a scope; `None`: it was not looked at.
fn held(looks: &[(Scope, Look)], scope: &Scope) -> Option<Vec<Sighting>> {
    looks.iter().find(|(it, _)| it == scope).and_then(|(_, look)| match look {
        Look::Seen(sightings) => Some(sightings.clone()),
        Look::Stale { .. } => None,
    })
}

fn on(name: &str) -> Scope {
    Scope::Node(name.parse().unwrap())
}

/// Kind, subject and severity of what holds.
fn short(sightings: &[Sighting]) -> Vec<(Kind, &str, Severity)> {
    sightings.iter().map(|it| (it.key.kind, &*it.key.subject, it.severity)).collect()
}

fn look_once(nodes: impl IntoIterator<Item = Arc<Node>>) -> Vec<(Scope, Look)> {
    Sources::default().look(&world(&snapshot(nodes), &Profile::built_in()))
}

const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

#[test]
fn certificates_speak_by_their_rule_and_louder_by_its_critical_threshold() {
    use RuleSeverity::Critical;
    let critical = |rule, path| finding(rule, path, Verdict::Fail, Critical);
    let expired = |rule, path| seeing(critical(rule, path), "expired 2026-12-04T00:00:00Z: CN=x");
    let ends = |it| seeing(it, "expires 2027-12-04T00:00:00Z: CN=x");
    let high = |rule, path| finding(rule, path, Verdict::Fail, RuleSeverity::High);
    let findings = [
        ends(failing("certificate.leaf-expiry", "/a.crt")),
        ends(critical("certificate.leaf-expiry", "/b.crt")),
        expired("certificate.leaf-expiry", "/c.crt"),
        ends(critical("certificate.kubelet-expiry", KUBELET)),
        ends(high("certificate.authority-expiry", "/ca.crt")),
        seeing(high("certificate.key-match", "/a.crt"), "mismatch"),
        seeing(failing("certificate.key-strength", "/a.crt"), "rsa 1024"),
        seeing(failing("certificate.readable", "/gone.crt"), "no such file"),
    ];
    let looks = look_once([judged("a", &findings, Opened::FirstReport)]);
    let held = held(&looks, &on("a")).unwrap();
    use Severity::Critical as Page;
    use Severity::Warning;
    assert_eq!(
        short(&held),
        [
            (Kind::CertificateAuthorityExpiring, "/ca.crt", Warning),
            (Kind::CertificateExpired, "/c.crt", Page),
            (Kind::CertificateExpiring, "/a.crt", Warning),
            (Kind::CertificateExpiring, "/b.crt", Page),
            (Kind::CertificateExpiring, "/c.crt", Page),
            (Kind::CertificateInvalid, "/a.crt (key-match)", Page),
            (Kind::CertificateInvalid, "/a.crt (key-strength)", Warning),
            (Kind::CertificateMissing, "/gone.crt", Warning),
            (Kind::CertificateRotationStuck, KUBELET, Page),
        ]
    );
    assert_eq!(held[0].values["ends"], "2027-12-04T00:00:00Z");
}

#[test]
fn what_fails_since_a_later_report_has_regressed_and_since_the_first_one_it_has_not() {
    let file = "/etc/kubernetes/admin.conf";
    let findings = [
        failing("sysctl.kptr-restrict", ""),
        finding("sysctl.ptrace-scope", "", Verdict::Fail, RuleSeverity::High),
        finding("file.admin-kubeconfig", file, Verdict::Fail, RuleSeverity::Critical),
        failing("reboot.services", ""),
        finding("sysctl.bpf", "", Verdict::Unknown, RuleSeverity::Low),
    ];
    let of = |opened| {
        let looks = look_once([judged("a", &findings, opened)]);
        held(&looks, &on("a")).unwrap()
    };
    let regressed = [
        (Kind::HardeningCheckErrors, "", Severity::Warning),
        (Kind::HardeningRegressed, "sysctl.kptr-restrict", Severity::Warning),
        (Kind::HardeningRegressed, "sysctl.ptrace-scope", Severity::Critical),
        (Kind::SecurityFinding, "file.admin-kubeconfig", Severity::Critical),
    ];
    assert_eq!(short(&of(Opened::Report)), regressed);
    assert_eq!(short(&of(Opened::Time)), regressed);
    assert_eq!(short(&of(Opened::FirstReport)), [regressed[3]]);
    // Seen, and nobody is told of it by node.
    let by_rules = of(Opened::Rules);
    assert_eq!(short(&by_rules), [regressed[3]]);
    assert!(edits::is_marked(&by_rules[0]) && by_rules[0].values.contains_key(EDITED_AT));
}

#[test]
fn a_node_tells_its_most_severe_regressions_and_counts_the_others() {
    let mut findings: Vec<Finding> =
        (0..70).map(|at| failing("sysctl.kptr-restrict", &format!("{at:02}"))).collect();
    findings.push(finding("sysctl.ptrace-scope", "", Verdict::Fail, RuleSeverity::High));
    let looks = look_once([judged("a", &findings, Opened::Report)]);
    let held = held(&looks, &on("a")).unwrap();
    assert_eq!(held.len(), node::MAX_REGRESSED);
    assert!(held.iter().any(|it| &*it.key.subject == "sysctl.ptrace-scope"));
    let counts: Vec<_> =
        held.iter().filter(|it| it.values["observed"].contains("21 more")).collect();
    assert_eq!(counts.len(), 1, "{held:#?}");
}

#[test]
fn a_fleet_that_did_not_change_is_not_looked_at_again() {
    let failing = [failing("sysctl.kptr-restrict", "")];
    let nodes: Vec<_> =
        (0..100_000).map(|at| judged(&format!("node-{at:06}"), &failing, Opened::Report)).collect();
    let (mut snapshot, rules) = (snapshot(nodes), Profile::built_in());
    let mut sources = Sources::default();
    let looks = sources.look(&world(&snapshot, &rules));
    assert_eq!(looks.len(), 100_002);
    let values = |at: usize| match &looks[at].1 {
        Look::Seen(seen) => Arc::clone(&seen[0].values),
        Look::Stale { .. } => panic!(),
    };
    assert!(Arc::ptr_eq(&values(0), &values(99_999)), "equal values are one in memory");
    let again = sources.look(&world(&snapshot, &rules));
    let scopes: Vec<&Scope> = again.iter().map(|(scope, _)| scope).collect();
    assert_eq!(scopes, [&Scope::Fleet, &Scope::Collector]);
    snapshot.nodes.insert(judged("node-000007", &[], Opened::Report));
    let again = sources.look(&world(&snapshot, &rules));
    assert_eq!(held(&again, &on("node-000007")), Some(vec![]));
    assert_eq!(again.len(), 3);
    sources.forget();
    assert_eq!(sources.look(&world(&snapshot, &rules)).len(), 100_002, "somebody asked for it");
}

#[test]
fn a_silent_node_is_stale_and_ends_nothing() {
    let node = judged("a", &[failing("reboot.needed", "")], Opened::Report);
    let rules = Profile::built_in();
    let mut sources = Sources::default();
    let looks = sources.look(&world(&snapshot([Arc::clone(&node)]), &rules));
    assert_eq!(held(&looks, &on("a")).unwrap()[0].key.kind, Kind::RebootRequired);
    let silent = in_state(&node, NodeState::Silent, NOW.plus(-400));
    let looks = sources.look(&world(&snapshot([silent]), &rules));
    let (_, look) = looks.iter().find(|(scope, _)| *scope == on("a")).unwrap();
    assert_eq!(*look, Look::Stale { since: NOW.plus(-400), why: "no report".into() });
    let fleet = held(&looks, &Scope::Fleet).unwrap();
    assert_eq!(short(&fleet), [(Kind::AgentSilent, "", Severity::Warning)]);
    assert_eq!(fleet[0].since, Some(NOW.plus(-400)));
}

#[test]
fn a_node_without_a_judged_report_is_not_looked_at() {
    let bare = crate::snapshot::tests::node("a");
    let never = in_state(&bare, NodeState::NeverSeen, NOW);
    for node in [bare, never] {
        assert_eq!(held(&look_once([node]), &on("a")), None);
    }
}

#[test]
fn silence_of_an_hour_is_critical_unless_the_cluster_has_lost_the_node_too() {
    let silent = |secs: i64, ready| {
        let node = in_state(&judged("a", &[], Opened::Report), NodeState::Silent, NOW.plus(-secs));
        let cluster = ClusterNode {
            uid: "u".parse().unwrap(),
            labels: Arc::default(),
            hostname: None,
            ready,
            scheduling: Scheduling::Open,
            boot_id: None,
            kernel: None,
            kubelet: None,
            taints: Vec::new(),
        };
        let node = Node { cluster: Some(Arc::new(cluster)), ..Node::clone(&node) };
        held(&look_once([Arc::new(node)]), &Scope::Fleet).unwrap()[0].severity
    };
    assert_eq!(silent(3599, Ready::Ready), Severity::Warning);
    assert_eq!(silent(3600, Ready::Ready), Severity::Critical);
    assert_eq!(silent(7200, Ready::NotReady), Severity::Warning);
    assert_eq!(silent(7200, Ready::Unknown), Severity::Warning);
}

#[test]
fn more_silent_nodes_than_a_few_are_one_alert_about_all() {
    let many = |silent: usize, all: usize| {
        let nodes = (0..all).map(|at| {
            let node = judged(&format!("node-{at:03}"), &[], Opened::Report);
            if at < silent { in_state(&node, NodeState::Silent, NOW.plus(-400)) } else { node }
        });
        let fleet = held(&look_once(nodes), &Scope::Fleet).unwrap();
        fleet.iter().any(|it| it.key.kind == Kind::ManyAgentsSilent)
    };
    assert!(!many(5, 10) && many(6, 10));
    assert!(!many(10, 200) && many(11, 200), "5 % of 200");
}

#[test]
fn what_cannot_be_told_any_more_stays_as_it_was() {
    let rules = Profile::built_in();
    let ends = |it| seeing(it, "expires 2027-12-04T00:00:00Z: CN=x");
    let told = [
        failing("reboot.needed", ""),
        ends(failing("certificate.authority-expiry", "/ca.crt#1")),
        failing("sysctl.kptr-restrict", ""),
    ];
    let unknown = |rule, subject| finding(rule, subject, Verdict::Unknown, RuleSeverity::Medium);
    let untold = [
        unknown("reboot.needed", ""),
        unknown("certificate.authority-expiry", "/ca.crt"),
        unknown("sysctl.kptr-restrict", ""),
    ];
    let kinds = |looks: &[(Scope, Look)]| -> Vec<Kind> {
        held(looks, &on("a")).unwrap().iter().map(|it| it.key.kind).collect()
    };
    let before =
        [Kind::CertificateAuthorityExpiring, Kind::HardeningRegressed, Kind::RebootRequired];
    let after = [
        Kind::CertificateAuthorityExpiring,
        Kind::HardeningCheckErrors,
        Kind::HardeningRegressed,
        Kind::RebootRequired,
        Kind::RebootSignalUnknown,
    ];
    let mut sources = Sources::default();
    let looks = sources.look(&world(&snapshot([judged("a", &told, Opened::Report)]), &rules));
    assert_eq!(kinds(&looks), before);
    let seen = held(&looks, &on("a")).unwrap();
    let untold = snapshot([judged("a", &untold, Opened::Report)]);
    assert_eq!(kinds(&sources.look(&world(&untold, &rules))), after);
    // A process that was started meanwhile knows it from the book.
    let mut sources = Sources::default();
    sources.remember(seen.into_iter().map(|it| (on("a"), it)));
    assert_eq!(kinds(&sources.look(&world(&untold, &rules))), after);
    let fine = told.map(|it| Finding { verdict: Verdict::Pass, ..it });
    let fine = snapshot([judged("a", &fine, Opened::Report)]);
    assert_eq!(kinds(&sources.look(&world(&fine, &rules))), []);
}

#[test]
fn nodes_that_are_retired_replaced_or_forgotten_are_gone() {
    let rules = Profile::built_in();
    let with_uid = |name: &str, uid: &str| {
        let node = judged(name, &[], Opened::Report);
        Arc::new(Node { uid: Some(uid.parse().unwrap()), ..Node::clone(&node) })
    };
    let mut sources = Sources::default();
    let first = ["a", "b", "c"].map(|name| with_uid(name, "u-1"));
    sources.look(&world(&snapshot(first.clone()), &rules));
    assert_eq!(sources.gone(), []);
    let retired = in_state(&first[0], NodeState::Gone, NOW);
    let next = snapshot([retired, with_uid("b", "u-2")]);
    sources.look(&world(&next, &rules));
    let gone: Vec<Scope> = sources.gone().into_iter().map(|(scope, _)| scope).collect();
    assert_eq!(gone, [on("a"), on("b"), on("c")]);
    sources.look(&world(&next, &rules));
    assert_eq!(sources.gone(), [], "once");
}

#[test]
fn after_a_restart_nobody_ends_because_the_fleet_is_not_here_yet() {
    let rules = Profile::built_in();
    let absent = |kind| {
        let key = Key::of_node(kind, "z".parse().unwrap(), None);
        let (since, values) = (None, Arc::default());
        Sighting { key, severity: Severity::Warning, since, values }
    };
    let mut sources = Sources::default();
    sources.remember([
        (Scope::Fleet, absent(Kind::NodeUnmonitored)),
        (on("z"), absent(Kind::RebootRequired)),
    ]);
    let empty = snapshot([]);
    let early = World { now: STARTED.plus(800), ..world(&empty, &rules) };
    let looks = sources.look(&early);
    assert_eq!(held(&looks, &Scope::Fleet).unwrap().len(), 1);
    assert_eq!(sources.gone(), []);
    let late = World { now: STARTED.plus(900), ..early };
    let looks = sources.look(&late);
    assert_eq!(held(&looks, &Scope::Fleet), Some(vec![]));
    assert_eq!(sources.gone().len(), 1);
}

#[test]
fn an_incident_is_told_for_an_hour_and_a_flood_of_it_once() {
    let (snapshot, rules) = (snapshot([judged("a", &[], Opened::Report)]), Profile::built_in());
    let incident = |secs: i64| Incident {
        at: NOW.plus(-secs),
        node: Some("a".parse().unwrap()),
        what: IncidentKind::IdentityMismatch,
        words: format!("{secs} seconds ago"),
    };
    let incidents = [incident(10), incident(3599), incident(3600), incident(60)];
    let world = World { incidents: &incidents, ..world(&snapshot, &rules) };
    let fleet = held(&Sources::default().look(&world), &Scope::Fleet).unwrap();
    assert_eq!(short(&fleet), [(Kind::SecurityFinding, "identity-mismatch", Severity::Critical)]);
    assert_eq!(fleet[0].since, Some(NOW.plus(-3599)));
}

#[test]
fn the_collectors_own_certificates_are_watched_and_its_watchdog_always_barks() {
    let (mut snapshot, rules) = (snapshot([]), Profile::built_in());
    let day = |days: i64| Some(NOW.plus(days * 86_400 - 1));
    let own = |serving, authority| OwnCertificates {
        serving_end: day(serving),
        authority_end: day(authority),
        behind: 0,
    };
    let of = |own| {
        let looks = Sources::default().look(&World { own, ..world(&snapshot, &rules) });
        let held = held(&looks, &Scope::Collector).unwrap();
        assert_eq!(held[0].key.kind, Kind::Watchdog);
        held[1..].iter().map(|it| it.severity).collect::<Vec<_>>()
    };
    assert_eq!(of(own(15, 91)), []);
    assert_eq!(of(own(14, 90)), [Severity::Warning; 2]);
    assert_eq!(of(own(1, 14)), [Severity::Critical; 2]);
    let reason = "disk full".into();
    snapshot.readiness = Readiness::Failing { since: NOW, reason };
    let held = held(&Sources::default().look(&world(&snapshot, &rules)), &Scope::Collector);
    assert_eq!(held.unwrap()[1].key.kind, Kind::StoreDegraded);
}

#[test]
fn an_ending_says_what_is_there_now() {
    let rules = Profile::built_in();
    let pass = |rule, subject, observed: &str| {
        seeing(finding(rule, subject, Verdict::Pass, RuleSeverity::Medium), observed)
    };
    let findings = [
        pass("sysctl.kptr-restrict", "", "1"),
        pass("certificate.leaf-expiry", "/a.crt", "expires 2027-12-04T00:00:00Z: CN=x"),
        pass("reboot.needed", "", "none"),
    ];
    let snapshot = snapshot([judged("a", &findings, Opened::Report)]);
    let world = world(&snapshot, &rules);
    let says = |kind, subject: &str| {
        let key = Key::of_node(kind, "a".parse().unwrap(), None).subject(subject);
        ending(&world, &key, &Arc::default())
    };
    let renewed = "renewed: valid until 2027-12-04T00:00:00Z";
    assert_eq!(says(Kind::HardeningRegressed, "sysctl.kptr-restrict"), "kernel.kptr_restrict is 1");
    assert_eq!(says(Kind::CertificateExpiring, "/a.crt"), renewed);
    assert_eq!(says(Kind::CertificateExpired, "/a.crt"), renewed);
    assert_eq!(
        says(Kind::CertificateExpiring, "/b.crt"),
        "what it was about is not there any more"
    );
    assert_eq!(
        says(Kind::HardeningRegressed, "sysctl.no-rule"),
        "the rule is not in force any more"
    );
    assert_eq!(says(Kind::RebootRequired, ""), "no reboot is needed any more");
    let after = |boot: &str| {
        let key = Key::of_node(Kind::RebootRequired, "a".parse().unwrap(), None);
        let values = [("boot".to_owned(), boot.to_owned())];
        ending(&world, &key, &Arc::new(BTreeMap::from(values)))
    };
    let boot = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
    assert_eq!(after(boot), "no reboot is needed any more");
    assert_eq!(after("7d0c1f6e-52b1-4c3e-8a38-1f0a4c1b9f22"), "rebooted");
    assert_eq!(says(Kind::AgentSilent, ""), "it reports again");
    let gone = Key::of_node(Kind::AgentSilent, "b".parse().unwrap(), None);
    assert_eq!(ending(&world, &gone, &Arc::default()), "there is no such node any more");
}

/// All kinds that this module sees, each at least once.
fn everything() -> Vec<Sighting> {
    let critical = |rule, path| finding(rule, path, Verdict::Fail, RuleSeverity::Critical);
    let expired = "expired 2026-12-04T00:00:00Z: CN=x";
    let findings = [
        seeing(critical("certificate.leaf-expiry", "/c.crt"), expired),
        seeing(failing("certificate.kubelet-expiry", KUBELET), expired),
        seeing(failing("certificate.authority-expiry", "/ca.crt"), expired),
        failing("certificate.key-match", "/a.crt"),
        failing("certificate.readable", "/gone.crt"),
        failing("sysctl.kptr-restrict", ""),
        critical("file.admin-kubeconfig", "/etc/kubernetes/admin.conf"),
        failing("reboot.needed", ""),
        finding("sysctl.bpf", "", Verdict::Unknown, RuleSeverity::Low),
    ];
    let untold = [finding("reboot.needed", "", Verdict::Unknown, RuleSeverity::Medium)];
    let changed = [failing("sysctl.kptr-restrict", "")];
    let skewed = Arc::new(Heard::new(NOW, -75));
    let skewed = Node { seen: skewed, ..Node::clone(&judged("skewed", &untold, Opened::Report)) };
    let mut nodes = vec![
        judged("all", &findings, Opened::Report),
        judged("changed", &changed, Opened::Rules),
        Arc::new(skewed),
        in_state(&crate::snapshot::tests::node("never"), NodeState::NeverSeen, NOW),
    ];
    nodes.extend((0..6).map(|at| {
        in_state(&judged(&format!("s-{at}"), &[], Opened::Report), NodeState::Silent, NOW)
    }));
    let mut snapshot = snapshot(nodes);
    snapshot.readiness = Readiness::Failing { since: NOW, reason: "disk full".into() };
    let (rules, view) = (Profile::built_in(), planned::with_every_alert());
    let own = OwnCertificates { serving_end: Some(NOW), authority_end: Some(NOW), behind: 0 };
    let world = World { own, version: "0.9.0", view: Some(&view), ..world(&snapshot, &rules) };
    let mut sources = Sources::default();
    // Under another policy nothing of this was there.
    let other = planned::view_of(&[], "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n");
    let looks = sources.look(&World { view: Some(&other), ..world });
    looks
        .into_iter()
        .chain(sources.look(&world))
        .flat_map(|(_, look)| match look {
            Look::Seen(seen) => seen,
            Look::Stale { .. } => Vec::new(),
        })
        .collect()
}

#[test]
fn every_alert_is_seen_somewhere_and_fills_its_words() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut kinds = BTreeSet::new();
    for sighting in everything() {
        let entry = catalogue.entry(sighting.key.kind).unwrap();
        let filled = sighting.values.keys().map(String::as_str);
        let filled: Vec<&str> = filled.filter(|it| !edits::MARKS.contains(it)).collect();
        let mut wanted: Vec<&str> = entry.values.iter().map(String::as_str).collect();
        wanted.extend((entry.alert == Kind::RebootRequired).then_some(node::BOOT));
        wanted.sort_unstable();
        assert_eq!(filled, wanted, "{}", sighting.key.kind);
        for (name, text) in sighting.values.iter() {
            let is_bounded = text.len() <= words::MAX_VALUE;
            assert!(!text.is_empty() && is_bounded, "{} {name} {text}", sighting.key.kind);
        }
        let words = catalogue.words(&sighting.key, "prod", &sighting.values);
        for text in [&words.summary, &words.description, &words.action] {
            assert!(!text.contains('?') || text.contains("? "), "{}: {text}", sighting.key.kind);
        }
        kinds.insert(sighting.key.kind);
    }
    let elsewhere =
        [Kind::AlertConfigRefused, Kind::CertificateNotEffective, Kind::NotifierFailing];
    let ours: BTreeSet<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| !elsewhere.contains(kind))
        .filter(|kind| !catalogue.entry(*kind).unwrap().only_prometheus)
        .collect();
    let missing: Vec<_> = ours.difference(&kinds).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn hostile_evidence_is_safe_to_show_and_bounded() {
    let hostile = format!("\u{202e}a\n\u{1b}[31m{}", "x".repeat(100_000));
    let finding = seeing(failing("sysctl.kptr-restrict", &hostile), &hostile);
    let looks = look_once([judged("a", &[finding], Opened::Report)]);
    for sighting in held(&looks, &on("a")).unwrap() {
        let texts = sighting.values.values().map(String::as_str);
        for text in texts.chain([&*sighting.key.subject]) {
            assert!(text.len() <= words::MAX_VALUE);
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }
}
