//! The alerts that Prometheus evaluates by itself: about figures that the collector really has.

use std::collections::BTreeSet;
use std::fs;

use palisade_collector::auth::Reason;
use serde_json::Value;

use super::render;
use super::render::combined;
use super::render::list;
use super::render::string;

/// Figures of others.
const FOREIGN: &[&str] = &["up"];

fn rules() -> Vec<Value> {
    let objects = combined("kubeadm", &["monitoring"]);
    let groups = objects["PrometheusRule/palisade"]["spec"]["groups"].clone();
    list(&groups).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

/// Words that may be the name of a figure.
fn words(expression: &str) -> BTreeSet<&str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

#[test]
fn every_alert_is_about_a_figure_that_the_collector_has() {
    let source = render::workspace().join("collector/src/api/metrics.rs");
    let source = fs::read_to_string(source).expect("the collector's figures");
    let mut asked = 0;
    for rule in rules() {
        let expression = string(&rule["expr"]);
        for figure in words(expression).into_iter().filter_map(|it| it.strip_prefix("palisade_")) {
            // Counters and units are named by the exposition format.
            let name = figure.trim_end_matches("_total").trim_end_matches("_seconds");
            assert!(source.contains(&format!("\"{name}\"")), "{}: {figure}", rule["alert"]);
            asked += 1;
        }
        let known = words(expression).iter().any(|it| it.starts_with("palisade_"))
            || FOREIGN.iter().any(|it| words(expression).contains(it));
        assert!(known, "{expression} asks about nothing");
    }
    assert!(asked > 10, "{asked}");
}

#[test]
fn an_alert_about_refused_tokens_names_reasons_that_there_are() {
    let reasons: BTreeSet<_> = Reason::ALL.into_iter().map(Reason::as_str).collect();
    let mut named = 0;
    for rule in rules() {
        let expression = string(&rule["expr"]);
        let Some((_, rest)) = expression.split_once("{reason=") else { continue };
        let text = rest.trim_start_matches('~').trim_start_matches('"');
        let (text, _) = text.split_once('"').expect("a closing quote");
        for reason in text.split('|') {
            assert!(reasons.contains(reason), "{}: {reason} of {reasons:?}", rule["alert"]);
            named += 1;
        }
    }
    assert!(named > 3, "{named}");
}

#[test]
fn every_alert_says_what_and_what_to_do() {
    let mut seen = BTreeSet::new();
    for rule in rules() {
        let name = string(&rule["alert"]).to_owned();
        assert!(name.starts_with("Palisade"), "{name}");
        let severity = string(&rule["labels"]["severity"]).to_owned();
        assert!(["critical", "warning"].contains(&severity.as_str()), "{name}: {severity}");
        for (key, least) in [("summary", 20), ("description", 80)] {
            let text = string(&rule["annotations"][key]);
            assert!(text.len() >= least && !text.contains('\n'), "{name}: {key} {text:?}");
        }
        assert!(seen.insert((name.clone(), severity)), "{name} is there twice");
    }
}
