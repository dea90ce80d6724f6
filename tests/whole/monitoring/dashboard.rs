//! The dashboard for Grafana: whether it is whole, and what it asks for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use serde_json::json;

use super::promtool;
use super::workspace;

fn dashboard() -> Value {
    let path = workspace().join("manifests/components/monitoring/dashboard.json");
    serde_json::from_str(&fs::read_to_string(path).expect("the dashboard")).expect("JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Every expression that it asks, with Grafana's own variable filled in.
pub(super) fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let targets = panels(&dashboard).iter().filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| target["expr"].as_str().expect("an expression"))
        .map(|expression| expression.replace("$__rate_interval", "5m"))
        .collect()
}

#[test]
fn prometheus_can_read_every_expression() {
    let rules: Vec<Value> = expressions()
        .into_iter()
        .enumerate()
        .map(|(at, expr)| json!({ "record": format!("panel:{at}"), "expr": expr }))
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    // JSON is YAML.
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    let (read, said) = promtool(workspace(), &["check", "rules", "--lint=none"], &file);
    assert!(read, "{said}");
}

#[test]
fn panels_do_not_overlap_and_every_topic_has_its_row() {
    let dashboard = dashboard();
    let (mut ids, mut cells, mut rows) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let title = panel["title"].as_str().expect("a title");
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(side("x") + side("w") <= 24, "{title} is beyond the right edge");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(cells.insert((x, y)), "{title} lies over another panel");
            }
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!panel["targets"].as_array().expect("targets").is_empty(), "{title}");
    }
    let expected = ["Fleet", "Reboots", "Certificates", "Hardening", "Notifications", "Collector"];
    assert_eq!(rows, expected);
}

#[test]
fn grafana_finds_it_by_its_label() {
    let objects = crate::manifests::with_monitoring();
    let map = &objects["ConfigMap/palisade-dashboard"];
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["palisade.json"].as_str().expect("the dashboard");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), dashboard());
}
