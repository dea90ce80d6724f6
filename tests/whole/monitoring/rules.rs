//! The rules for Prometheus: written from the catalogue, taken by promtool, and tested one by one.

use std::collections::BTreeSet;
use std::fs;

use palisade_alert::catalogue::Catalogue;
use palisade_alert::catalogue::Entry;
use palisade_alert::kind::Kind;
use palisade_alert::rules_file;
use palisade_alert::rules_file::Rule;
use palisade_tests::golden;
use serde_json::Value;

use super::promtool;
use super::workspace;

/// For a Prometheus without operator.
const PLAIN: &str = "manifests/prometheus/rules.yaml";

/// The tests of rules, below the workspace.
const TESTS: &str = "tests/rules";

fn catalogue() -> Catalogue {
    Catalogue::built_in().expect("the catalogue")
}

/// Files of tests, in order of their names.
fn tests() -> Vec<String> {
    let directory = fs::read_dir(workspace().join(TESTS)).expect("tests of rules");
    let mut names: Vec<String> = directory
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// A rule as its tests call it.
fn name(entry: &Entry, rule: &Rule) -> String {
    let name = format!("{} {} {}", entry.alert.alertname(), rule.severity, rule.subject);
    name.trim_end().to_owned()
}

/// Whether the rule of this name fires only after a while.
fn must_hold(catalogue: &Catalogue, wanted: &str) -> bool {
    let rules = catalogue
        .entries()
        .flat_map(|entry| entry.prometheus.iter().map(move |rule| (name(entry, rule), rule)));
    let mut found = rules.filter(|(name, _)| name == wanted);
    found.any(|(_, rule)| rule.hold.as_secs() > 0)
}

#[test]
fn the_rules_are_those_of_the_catalogue_and_promtool_takes_them() {
    let catalogue = catalogue();
    let object = rules_file::prometheus_rule(&catalogue);
    golden::file("manifests/components/monitoring/rules.yaml", &object);
    let plain = rules_file::groups(&catalogue);
    golden::file(PLAIN, &plain);
    let arguments = ["check", "rules", "--lint=all", "--lint-fatal"];
    let (taken, said) = promtool(workspace(), &arguments, &plain);
    assert!(taken, "{said}");
    let broken = plain.replacen("max(", "max((", 1);
    let (taken, said) = promtool(workspace(), &arguments, &broken);
    assert!(!taken, "a parenthesis too many: {said}");
}

#[test]
fn every_rule_fires_when_it_should_and_not_beside_it() {
    let directory = workspace().join(TESTS);
    let files = tests();
    let mut arguments = vec!["test", "rules"];
    arguments.extend(files.iter().map(String::as_str));
    let (passed, said) = promtool(&directory, &arguments, "");
    assert!(passed, "{said}");
}

#[test]
fn no_rule_is_without_a_test_that_fires_it_and_one_that_does_not() {
    let catalogue = catalogue();
    let mut fired = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for file in tests() {
        let text = fs::read_to_string(workspace().join(TESTS).join(file)).expect("a test");
        let file: Value = serde_saphyr::from_str(&text).expect("YAML");
        for test in file["tests"].as_array().expect("tests") {
            let name = test["name"].as_str().expect("a name");
            let (rule, word) = name.split_once(": ").expect("a rule and what it does");
            let expected = test["promql_expr_test"][0]["exp_samples"].to_string();
            let mut words = rule.splitn(3, ' ');
            let (alert, severity) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let subject = words.next().map(|it| format!(r#", subject="{it}""#)).unwrap_or_default();
            let labels = format!(r#"{{alertname="{alert}", severity="{severity}"{subject}}}"#);
            let is_there = expected.replace('\\', "").contains(&labels);
            assert_eq!(is_there, word == "fires", "{name}: {expected}");
            if is_there && must_hold(&catalogue, rule) {
                let early = &test["promql_expr_test"][1];
                assert_eq!(early["exp_samples"], Value::Array(Vec::new()), "{name}: too early");
                assert!(early["expr"].to_string().contains(alert), "{name}: {early}");
            }
            let set = if is_there { &mut fired } else { &mut quiet };
            set.insert(rule.to_owned());
        }
    }
    for entry in catalogue.entries() {
        for rule in &entry.prometheus {
            let name = name(entry, rule);
            assert!(fired.remove(&name), "nothing fires {name}");
            // What always fires cannot do otherwise.
            assert!(quiet.remove(&name) || entry.alert == Kind::Watchdog, "nothing spares {name}");
        }
    }
    assert!(fired.is_empty() && quiet.is_empty(), "tests of no rule: {fired:?} {quiet:?}");
}
