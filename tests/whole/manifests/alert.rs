//! The alerts that Prometheus evaluates by itself, as they are rendered. Whether they are about figures
//! that there are, and fire when they should, is held in `monitoring`.

use std::collections::BTreeSet;

use palisade_alert::severity::Severity;
use palisade_collector::auth::Reason;
use serde_json::Value;

use super::render::combined;
use super::render::list;
use super::render::string;

fn rules() -> Vec<Value> {
    let objects = combined("kubeadm", &["monitoring"]);
    let groups = objects["PrometheusRule/palisade"]["spec"]["groups"].clone();
    list(&groups).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
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
        let known = Severity::ALL.map(Severity::as_str);
        assert!(known.contains(&severity.as_str()), "{name}: {severity}");
        let subject = rule["labels"]["subject"].as_str().unwrap_or_default().to_owned();
        for (key, least) in [("summary", 20), ("description", 80)] {
            let text = string(&rule["annotations"][key]);
            assert!(text.len() >= least && !text.contains('\n'), "{name}: {key} {text:?}");
        }
        assert!(seen.insert((name.clone(), severity, subject)), "{name} is there twice");
    }
}
