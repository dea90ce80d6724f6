//! The language by example: what is accepted, and the table of nonsense.

use super::*;
use crate::policy::Amount;
use crate::policy::Canary;
use crate::policy::DEFAULT_TEXT;
use crate::policy::Mode;

const EXAMPLE: &str = include_str!("../../../data/example.yaml");

/// The first two lines, which every policy needs.
const HEAD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";

#[test]
fn the_shipped_default_says_what_the_defaults_are() {
    let policy = Policy::parse(DEFAULT_TEXT).unwrap_or_else(|error| panic!("{error}"));
    let all = Pool { name: "all".to_owned(), ..Pool::default() };
    assert_eq!(policy, Policy::of(ClusterPolicy::default(), vec![all]));
}

#[test]
fn what_is_commented_out_in_the_default_is_accepted_too() {
    let mut text = String::new();
    for line in DEFAULT_TEXT.lines() {
        let bare = line.trim_start();
        let word = bare.strip_prefix("# ").unwrap_or_default();
        let name = word.split(':').next().unwrap_or_default();
        let is_field = word.contains(':') && name.chars().all(char::is_alphanumeric);
        let is_prose = word.contains("say ") || word.contains("reboot ") || name.is_empty();
        if is_field && !is_prose && !name.starts_with(char::is_uppercase) {
            let value = word.replace("\"\"", "words");
            text.push_str(&format!("{}{value}\n", " ".repeat(line.len() - bare.len())));
        } else if !bare.starts_with('#') {
            text.push_str(&format!("{line}\n"));
        } else if let Some(inner) = bare.strip_prefix("#   ") {
            text.push_str(&format!("{}  {inner}\n", " ".repeat(line.len() - bare.len())));
        }
    }
    let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let pool = &policy.pools[0];
    assert_eq!(policy.cluster.paused.as_deref(), Some("words"));
    assert_eq!(pool.per_zone, Some(Amount::Count(1)));
    assert_eq!(pool.windows.windows().len(), 1);
    assert_eq!(pool.waves.as_ref(), Some(&crate::policy::Waves::default()));
    assert_eq!(pool.drain.load_balancer_secs, Some(30));
    assert_eq!(pool.alerts.as_ref().map(|alerts| alerts.matchers.len()), Some(1));
}

#[test]
fn every_field_of_the_example_arrives() {
    let policy = Policy::parse(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    let [storage, web, rest] = policy.pools.as_slice() else { panic!("{policy:?}") };
    // Every field of these three differs from its default somewhere, or is checked below.
    let default = serde_json::to_value(Pool::default()).unwrap();
    let shown = [storage, web].map(|pool| serde_json::to_value(pool).unwrap());
    for (field, value) in default.as_object().unwrap() {
        if !shown.iter().any(|pool| pool[field] != *value) {
            assert_eq!(field, "foreignCordon", "{field} is left at its default");
        }
    }
    assert_eq!(policy.cluster.max_unavailable, Amount::Percent(5));
    assert_eq!(policy.cluster.node_lease.as_deref(), Some("medik8s-leases"));
    let source = policy.cluster.alert_source.as_ref().unwrap();
    assert_eq!(source.addresses().last(), Some("https://prometheus.monitoring.svc:9090/k8s"));
    assert_eq!(source.ca.as_deref(), Some("/etc/palisade/monitoring/ca.crt"));
    assert_eq!((storage.mode, web.mode, rest.mode), (Mode::Approve, Mode::Auto, Mode::Plan));
    assert_eq!(storage.windows.windows()[0].end.secs(), 86_400);
    assert_eq!(storage.freezes[0].from.to_string(), "2026-11-27T23:00:00Z");
    assert_eq!(policy.cluster.freezes[0].from.to_string(), "2026-12-18T23:00:00Z");
    assert_eq!(policy.cluster.freezes[0].to.to_string(), "2027-01-03T23:00:00Z");
    assert_eq!(storage.drain.grace_secs, Some(300));
    assert_eq!(storage.minimum_interval_secs, 7 * 86_400);
    assert_eq!(web.zones_at_once, 0);
    assert_eq!(rest.waves.as_ref().map(|waves| &waves.canary), Some(&Canary::Count(2)));
}

#[test]
fn comments_and_order_change_no_digest_and_values_do() {
    let digest = |body: &str| Policy::parse(&format!("{HEAD}{body}")).unwrap().digest;
    let base = digest("pools:\n  - {name: a, selector: {}, mode: auto}\n");
    assert_eq!(base, digest("# why\npools:\n  - mode: auto\n    selector: {}\n    name: a\n"));
    assert_eq!(
        base,
        digest("cluster: {}\npools:\n  - {name: a, selector: {}, mode: auto, soak: 120s}\n")
    );
    assert_ne!(base, digest("pools:\n  - {name: a, selector: {}, mode: auto, soak: 121s}\n"));
    assert_ne!(base, digest("pools:\n  - {name: a, selector: {}, mode: plan}\n"));
}

#[test]
fn a_policy_without_pools_reports_only() {
    assert_eq!(Policy::parse(HEAD).unwrap(), Policy::default());
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    let text =
        format!("{HEAD}cluster: {{maxUnavailable: 300%}}\npools:\n  - name: a\n    mode: on\n");
    let error = Policy::parse(&text).unwrap_err();
    assert_eq!((error.line, error.column), (3, 27));
    let lines: Vec<u64> = error.others.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [5, 6], "{error}");
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn hostile_text_is_refused_and_never_panics() {
    let deep = format!("{HEAD}pools: {}{}", "[".repeat(500), "]".repeat(500));
    let many = format!("{HEAD}pools: [{}]", "{},".repeat(5_000));
    let long = format!("{HEAD}cluster: {{paused: {}}}", "x".repeat(300_000));
    let unknown = format!("{HEAD}{}", "a".repeat(100_000));
    for text in [deep.as_str(), &many, &long, &unknown, "\u{0}", "\u{feff}", "%", "&a *a", "!!x"] {
        assert!(Policy::parse(text).is_err());
    }
    // Every prefix of a real policy: whatever is cut off, there is an answer.
    for (end, _) in EXAMPLE.char_indices().step_by(7) {
        let (begun, _) = EXAMPLE.split_at(end);
        let _answer = Policy::parse(begun);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]

    /// Whatever is typed into a policy, there is a policy or a place within the text.
    #[test]
    fn slips_of_the_hand_have_an_answer_within_the_text(
        at in 0..EXAMPLE.len(),
        length in 0..40_usize,
        typed in "[a-z0-9:{}\\[\\]\"'%#&*!|> \n-]{0,8}",
    ) {
        let typed: String = EXAMPLE
            .chars()
            .take(at)
            .chain(typed.chars())
            .chain(EXAMPLE.chars().skip(at.saturating_add(length)))
            .collect();
        if let Err(error) = Policy::parse(&typed) {
            let lines = u64::try_from(typed.lines().count()).unwrap();
            proptest::prop_assert!((1..=lines + 1).contains(&error.line), "{error}");
            proptest::prop_assert!(error.column >= 1 && !error.message.is_empty(), "{error}");
        }
    }
}

/// A policy that is refused: its text below the head (or all of it), the line, and why.
struct Nonsense {
    text: &'static str,
    line: u64,
    message: &'static str,
}

#[test]
fn nonsense_is_refused_with_its_line_and_what_to_write_instead() {
    let table = include!("nonsense.rs");
    assert!(table.len() >= 40, "{}", table.len());
    for Nonsense { text, line, message } in &table {
        let text = if text.starts_with('!') {
            text.trim_start_matches('!').to_owned()
        } else {
            format!("{HEAD}{text}")
        };
        let error = Policy::parse(&text).expect_err(&text);
        assert_eq!((error.line, error.message.as_str()), (*line, *message), "{text}");
        assert_eq!(error.others, [], "{text}: more than one problem");
    }
}
