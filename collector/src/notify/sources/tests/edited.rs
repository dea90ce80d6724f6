//! What is there because somebody edited something, told from what nodes and time did.

use palisade_plan::request::Alert;

use super::planned::raise;
use super::planned::view_of;
use super::*;
use crate::planned::View;

const CERTIFICATE: &str = "/etc/kubernetes/pki/apiserver.crt";

/// When it was edited.
const EDITED: Moment = NOW.plus(-7200);

fn standing(severity: RuleSeverity) -> Standing {
    Standing { verdict: Verdict::Fail, severity }
}

/// A node with one failing finding, of which an edit made that, its node having made this.
fn edited(
    name: &str,
    finding: Finding,
    was: Option<RuleSeverity>,
    made: RuleSeverity,
) -> Arc<Node> {
    let node = judged(name, &[finding], Opened::Report);
    let edit = Edit { at: EDITED, was: was.map(standing), made: standing(made) };
    let episodes = node.episodes.iter().map(|it| Episode {
        edited: Some(Box::new(edit)),
        opened: if was.is_some() { Opened::Report } else { Opened::Rules },
        ..it.clone()
    });
    Arc::new(Node { episodes: episodes.collect(), ..Node::clone(&node) })
}

fn expiring(severity: RuleSeverity, observed: &str) -> Finding {
    seeing(finding("certificate.leaf-expiry", CERTIFICATE, Verdict::Fail, severity), observed)
}

/// Kind and severity of what is told of a node, of what is marked there, and of the summaries.
type Short = Vec<(Kind, Severity)>;

fn told(node: Arc<Node>) -> (Short, Short, Short) {
    let looks = look_once([node]);
    let short = |it: &Sighting| (it.key.kind, it.severity);
    let of_node = held(&looks, &on("a")).unwrap();
    let is_told = |it: &&Sighting| !it.values.contains_key(EDITED_AT);
    (
        of_node.iter().filter(is_told).map(short).collect(),
        of_node.iter().filter(|it| !is_told(it)).map(short).collect(),
        held(&looks, &Scope::Fleet).unwrap().iter().map(short).collect(),
    )
}

#[test]
fn rules_that_make_5000_nodes_fail_are_told_once() {
    let findings = [failing("sysctl.kptr-restrict", ""), failing("sysctl.ptrace-scope", "")];
    let fleet = |opened| (0..5000).map(move |at| (format!("node-{at:04}"), opened));
    let nodes = fleet(Opened::Rules).map(|(name, opened)| judged(&name, &findings, opened));
    let (snapshot, rules) = (snapshot(nodes), Profile::built_in());
    let mut sources = Sources::default();
    let looks = sources.look(&world(&snapshot, &rules));
    let all: Vec<&Sighting> = looks
        .iter()
        .filter(|(scope, _)| *scope != Scope::Collector)
        .flat_map(|(_, look)| match look {
            Look::Seen(seen) => seen.as_slice(),
            Look::Stale { .. } => &[],
        })
        .collect();
    let [one] = all.as_slice() else { panic!("{}", all.len()) };
    let subject = format!("checks {}", NOW.plus(-600));
    assert_eq!(one.key, Key::of(Kind::RulesChanged).subject(&subject));
    assert_eq!((&*one.values["nodes"], &*one.values["count"]), ("5000", "2"));
    assert!(one.values["names"].contains("sysctl.kptr-restrict (5000)"));
    let later = World { now: NOW.plus(3600), ..world(&snapshot, &rules) };
    assert_eq!(held(&sources.look(&later), &Scope::Fleet), Some(vec![]), "an hour later");
}

#[test]
fn a_threshold_that_was_edited_is_summed_up_as_loud_as_what_it_stands_for() {
    let ends = "expires 2027-12-04T00:00:00Z: CN=x";
    let (medium, critical) = (RuleSeverity::Medium, RuleSeverity::Critical);
    let warning = (Kind::CertificateExpiring, Severity::Warning);
    let loud = (Kind::CertificateExpiring, Severity::Critical);
    let summary = |severity| vec![(Kind::RulesChanged, severity)];
    let new = told(edited("a", expiring(medium, ends), None, medium));
    assert_eq!(new, (vec![], vec![warning], summary(Severity::Warning)));
    let raised = told(edited("a", expiring(critical, ends), Some(medium), critical));
    assert_eq!(raised, (vec![warning], vec![], summary(Severity::Critical)), "told as before");
    let by_time = told(edited("a", expiring(critical, ends), None, medium));
    assert_eq!(by_time, (vec![loud], vec![], vec![]), "time made it louder than the edit");
}

#[test]
fn a_certificate_that_ends_after_the_edit_is_told_by_node_and_one_that_had_is_not() {
    let critical = RuleSeverity::Critical;
    let expired = (Kind::CertificateExpired, Severity::Critical);
    let expires = (Kind::CertificateExpiring, Severity::Critical);
    let of = |end: Moment| {
        let finding = expiring(critical, &format!("expired {end}: CN=x"));
        let (told, marked, _) = told(edited("a", finding, None, critical));
        (told, marked)
    };
    assert_eq!(of(EDITED.plus(-1)), (vec![], vec![expired, expires]));
    assert_eq!(of(EDITED.plus(1)), (vec![expired], vec![expires]));
}

#[test]
fn a_rule_that_was_raised_to_critical_is_one_critical_summary_of_all_nodes() {
    let critical = RuleSeverity::Critical;
    let nodes = (0..5000).map(|at| {
        let finding = finding("file.passwd", "/etc/passwd", Verdict::Fail, critical);
        edited(&format!("node-{at:04}"), finding, Some(RuleSeverity::Medium), critical)
    });
    let looks = look_once(nodes);
    let regressed = held(&looks, &on("node-0007")).unwrap();
    assert_eq!(
        short(&regressed),
        [
            (Kind::HardeningRegressed, "file.passwd /etc/passwd", Severity::Warning),
            (Kind::SecurityFinding, "file.passwd", Severity::Critical)
        ],
        "the node's own part goes on"
    );
    assert!(!edits::is_marked(&regressed[0]) && edits::is_marked(&regressed[1]));
    let fleet = held(&looks, &Scope::Fleet).unwrap();
    let [one] = fleet.as_slice() else { panic!("{fleet:#?}") };
    assert_eq!(one.key.subject, format!("SecurityFinding {EDITED}").into());
    assert_eq!((one.severity, one.since), (Severity::Critical, Some(EDITED)));
    assert_eq!((&*one.values["nodes"], &*one.values["names"]), ("5000", "file.passwd (5000)"));
}

const POLICY: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
    pools:\n- name: workers\n  selector: {}\n  mode: auto\n  mustBy: ";

/// A fleet under this policy, with these nodes overdue.
fn overdue(policy: &str, nodes: &[&str]) -> View {
    let mut view = view_of(&["a", "b", "c"], &format!("{POLICY}{policy}\n"));
    nodes.iter().for_each(|node| raise(&mut view, node, Alert::RebootOverdue));
    view
}

fn look(sources: &mut Sources, view: &View) -> Vec<(Scope, Look)> {
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    sources.look(&World { view: Some(view), ..world(&snapshot, &rules) })
}

/// The nodes that are overdue and told of, and what the summary counts.
fn told_of(looks: &[(Scope, Look)]) -> (Vec<String>, Option<String>) {
    let reboots = held(looks, &Scope::Reboots).unwrap();
    let told = reboots.iter().filter(|it| !it.values.contains_key(EDITED_AT));
    let told = told.filter_map(|it| it.key.node.as_ref()).map(ToString::to_string).collect();
    let fleet = held(looks, &Scope::Fleet).unwrap();
    let summary = fleet.iter().find(|it| it.key.kind == Kind::RebootPolicyChanged);
    (told, summary.map(|it| it.values["nodes"].clone()))
}

/// What the next process takes over.
fn restarted(looks: &[(Scope, Look)]) -> Sources {
    let mut sources = Sources::default();
    for (scope, look) in looks {
        let Look::Seen(seen) = look else { continue };
        sources.remember(seen.iter().map(|it| (scope.clone(), it.clone())));
    }
    sources
}

#[test]
fn what_an_edited_policy_makes_overdue_is_told_once_and_what_time_does_by_node() {
    let mut sources = Sources::default();
    let before = look(&mut sources, &overdue("30d", &["a"]));
    assert_eq!(told_of(&before), (vec!["a".to_owned()], None), "the first policy is no edit");
    let edited = look(&mut sources, &overdue("1d", &["a", "b", "c"]));
    let summed_up = (vec!["a".to_owned()], Some("2".to_owned()));
    assert_eq!(told_of(&edited), summed_up);
    // Neither the next look nor another process tells of them after all.
    let edited = look(&mut sources, &overdue("1d", &["a", "b", "c"]));
    assert_eq!(told_of(&edited), summed_up);
    let mut sources = restarted(&edited);
    assert_eq!(told_of(&look(&mut sources, &overdue("1d", &["a", "b", "c"]))), summed_up);
    // An end, and a new beginning that no edit brought about.
    look(&mut sources, &overdue("1d", &["a", "b"]));
    let again = look(&mut sources, &overdue("1d", &["a", "b", "c"]));
    assert_eq!(told_of(&again), (vec!["a".to_owned(), "c".to_owned()], Some("1".to_owned())));
    let back = look(&mut sources, &overdue("30d", &["a"]));
    assert_eq!(told_of(&back), (vec!["a".to_owned()], None), "the edit is taken back");
}

#[test]
fn a_policy_that_was_edited_while_no_collector_ran_is_an_edit_and_a_restart_is_none() {
    let before = look(&mut Sources::default(), &overdue("30d", &[]));
    let mut sources = restarted(&before);
    let same = look(&mut sources, &overdue("30d", &["b"]));
    assert_eq!(told_of(&same), (vec!["b".to_owned()], None));
    let mut sources = restarted(&before);
    let edited = look(&mut sources, &overdue("1d", &["b", "c"]));
    assert_eq!(told_of(&edited), (vec![], Some("2".to_owned())));
}

#[test]
fn an_alert_that_becomes_louder_than_the_edit_made_it_is_told_by_node() {
    let mut shared = Shared::default();
    let key = Key::of(Kind::RebootOverdue);
    let sight = |severity| {
        let values = Shared::default().of([("reason", "kernel")]);
        Sighting { key: key.clone(), severity, since: None, values }
    };
    let mut carried = |before: &Sighting, severity, at: Option<Moment>| {
        let mut next = sight(severity);
        let edit = at.map(|at| edits::Edit { at, by: "workers" });
        edits::carry(&mut next, Some(before), edit, &mut shared);
        next
    };
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    let is_quiet = |it: &Sighting| it.values.contains_key(EDITED_AT);
    // Told before, and made louder by an edit: told as it was, until time makes it as loud.
    let before = sight(warning);
    let raised = carried(&before, critical, Some(NOW));
    assert!(edits::is_marked(&raised) && !is_quiet(&raised));
    assert_eq!(raised.severity, warning);
    let goes_on = carried(&raised, critical, None);
    assert_eq!((goes_on.severity, goes_on.values), (warning, Arc::clone(&raised.values)));
    // Brought about by an edit, then louder by time.
    let mut quiet = sight(warning);
    let edit = edits::Edit { at: NOW, by: "workers" };
    edits::brought_about(&mut quiet, edit, &mut Shared::default());
    assert!(is_quiet(&carried(&quiet, warning, None)));
    let louder = carried(&quiet, critical, None);
    assert!(!edits::is_marked(&louder) && louder.severity == critical);
}

#[test]
fn without_a_view_reboots_are_stale_and_without_a_policy_they_are_over() {
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    let blind = |coordinator| World { coordinator, ..world(&snapshot, &rules) };
    let mut sources = Sources::default();
    look(&mut sources, &overdue("30d", &["a"]));
    let looks = sources.look(&blind(Coordinator::Expected));
    let stale = looks.iter().find(|(scope, _)| *scope == Scope::Reboots).map(|(_, look)| look);
    assert!(matches!(stale, Some(Look::Stale { since, .. }) if *since == NOW), "{stale:?}");
    assert_eq!(sources.gone(), []);
    let looks = sources.look(&blind(Coordinator::None));
    assert!(looks.iter().all(|(scope, _)| *scope != Scope::Reboots));
    let gone: Vec<Scope> = sources.gone().into_iter().map(|(scope, _)| scope).collect();
    assert_eq!(gone, [Scope::Reboots]);
    sources.look(&blind(Coordinator::None));
    assert_eq!(sources.gone(), [], "once");
}

#[test]
fn who_reboots_as_planned_is_as_it_was_last_and_unknown_until_a_first_view() {
    let (snapshot, rules) = (snapshot([]), Profile::built_in());
    let at = |coordinator, secs| World {
        coordinator,
        now: STARTED.plus(secs),
        ..world(&snapshot, &rules)
    };
    let known = BTreeSet::from(["a".parse().unwrap()]);
    assert_eq!(rebooting_now(&at(Coordinator::Expected, 59), None), None);
    assert_eq!(rebooting_now(&at(Coordinator::Expected, 60), None), Some(BTreeSet::new()));
    assert_eq!(rebooting_now(&at(Coordinator::None, 1), None), Some(BTreeSet::new()));
    let kept = rebooting_now(&at(Coordinator::Expected, 1), Some(known.clone()));
    assert_eq!(kept, Some(known));
    let view = overdue("30d", &[]);
    let seen = World { view: Some(&view), ..at(Coordinator::Expected, 1) };
    assert_eq!(rebooting_now(&seen, None), Some(BTreeSet::new()));
}
