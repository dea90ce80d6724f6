//! The catalogue as rules for Prometheus: a file of rules, and the same as an object for its operator.
//!
//! ```text
//! catalogue.yaml ─┬─> Catalogue ─┬─> groups()           rule_files of a plain Prometheus
//! prometheus.yaml ┘              └─> prometheus_rule()  PrometheusRule of the Prometheus operator
//! ```
//!
//! A rule asks about figures of the whole fleet and names no node; which one it is, the API says. What
//! the collector sees of a single node, it tells by itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::catalogue::Catalogue;
use crate::catalogue::Entry;
use crate::kind::Kind;
use crate::severity::Severity;
use crate::span::Span;

/// The rules, in order of their alerts.
pub const TEXT: &str = include_str!("../data/prometheus.yaml");

/// Said at the top of what must not be edited.
const GENERATED: &str =
    "# Written by `make golden` from collector/alert/data/prometheus.yaml; edit that.\n";

/// Seconds of a minute, an hour and a day, with the letters that Prometheus has for them.
const UNITS: [(i64, char); 3] = [(86_400, 'd'), (3600, 'h'), (60, 'm')];

/// The rules of one alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    /// Which.
    pub(crate) alert: Kind,
    /// At least one.
    pub(crate) rules: Vec<Rule>,
}

/// A rule for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// PromQL that has a value while there is something to tell.
    pub expr: String,
    /// How long it must have one.
    #[serde(rename = "for", default)]
    pub hold: Span,
    /// How long it goes on once it has none: figures are away while a collector is replaced, and what
    /// they told of is not mended by that. Prometheus knows it since 2.42.
    #[serde(rename = "keep_firing_for", default = "keep")]
    pub keep: Span,
    /// The label `severity`.
    pub severity: Severity,
    /// The label `subject`, which tells rules of one name apart.
    #[serde(default)]
    pub subject: String,
    /// Annotation in one line; a template of Prometheus.
    pub summary: String,
    /// Annotation: why it matters and what to do; a template of Prometheus.
    pub description: String,
}

/// As long as most alerts of the catalogue are kept.
const fn keep() -> Span {
    Span::secs(15 * 60)
}

/// A file of rules, as `rule_files` of Prometheus names it.
#[must_use]
pub fn groups(catalogue: &Catalogue) -> String {
    let mut out = String::from(GENERATED);
    put_groups(&mut out, catalogue, "");
    out
}

/// An object of kind `PrometheusRule`, in the namespace of palisade.
#[must_use]
pub fn prometheus_rule(catalogue: &Catalogue) -> String {
    let mut out = String::from(GENERATED);
    out.push_str(
        "apiVersion: monitoring.coreos.com/v1\n\
         kind: PrometheusRule\n\
         metadata:\n  \
           name: palisade\n  \
           namespace: palisade-system\n  \
           labels:\n    \
             app.kubernetes.io/part-of: palisade\n\
         spec:\n",
    );
    put_groups(&mut out, catalogue, "  ");
    out
}

/// One group for each component, in order of their names.
fn put_groups(out: &mut String, catalogue: &Catalogue, indent: &str) {
    let mut groups: BTreeMap<&str, Vec<(&Entry, &Rule)>> = BTreeMap::new();
    for entry in catalogue.entries() {
        for rule in &entry.prometheus {
            groups.entry(&entry.component).or_default().push((entry, rule));
        }
    }
    let mut line = |depth: usize, text: &str| {
        out.push_str(indent);
        out.push_str(&" ".repeat(depth));
        out.push_str(text);
        out.push('\n');
    };
    line(0, "groups:");
    for (component, rules) in groups {
        line(2, &format!("- name: palisade-{component}"));
        line(4, "rules:");
        for (entry, rule) in rules {
            let Rule { expr, hold, keep, severity, subject, summary, description } = rule;
            line(6, &format!("- alert: {}", entry.alert.alertname()));
            line(8, &format!("expr: {}", quoted(expr)));
            if hold.as_secs() > 0 {
                line(8, &format!("for: {}", duration(*hold)));
            }
            if keep.as_secs() > 0 {
                line(8, &format!("keep_firing_for: {}", duration(*keep)));
            }
            line(8, "labels:");
            line(10, &format!("severity: {severity}"));
            line(10, &format!("component: {component}"));
            if !subject.is_empty() {
                line(10, &format!("subject: {}", quoted(subject)));
            }
            line(8, "annotations:");
            line(10, &format!("summary: {}", quoted(summary)));
            line(10, &format!("description: {}", quoted(description)));
        }
    }
}

/// A scalar that YAML reads as text whatever it holds: a string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// In the largest unit that is whole.
fn duration(span: Span) -> String {
    let secs = span.as_secs();
    let whole = UNITS.iter().find(|(unit, _)| secs % unit == 0);
    whole.map_or_else(|| format!("{secs}s"), |(unit, letter)| format!("{}{letter}", secs / unit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::catalogue::placeholders;
    use crate::yaml::parse;

    fn catalogue() -> Catalogue {
        Catalogue::built_in().unwrap()
    }

    fn rules(file: &Value) -> Vec<Value> {
        let groups = file["groups"].as_array().unwrap();
        groups.iter().flat_map(|it| it["rules"].as_array().unwrap().clone()).collect()
    }

    #[test]
    fn both_files_hold_every_rule_as_the_catalogue_has_it() {
        let catalogue = catalogue();
        let plain: Value = parse(&groups(&catalogue)).unwrap();
        let object: Value = parse(&prometheus_rule(&catalogue)).unwrap();
        assert_eq!(plain["groups"], object["spec"]["groups"]);
        let written = rules(&plain);
        let wanted: Vec<(&Entry, &Rule)> = catalogue
            .entries()
            .flat_map(|entry| entry.prometheus.iter().map(move |rule| (entry, rule)))
            .collect();
        assert_eq!(written.len(), wanted.len());
        for (entry, rule) in wanted {
            let found = written.iter().any(|it| {
                it["alert"] == entry.alert.alertname()
                    && it["expr"] == rule.expr.as_str()
                    && it["labels"]["severity"] == rule.severity.as_str()
                    && it["annotations"]["description"] == rule.description.as_str()
            });
            assert!(found, "{}: {rule:?}", entry.alert);
        }
    }

    #[test]
    fn every_alert_is_listed_once_and_in_order() {
        let listed: Vec<Rules> = parse(TEXT).unwrap();
        let mut sorted: Vec<Kind> = listed.iter().map(|it| it.alert).collect();
        sorted.sort();
        sorted.dedup();
        assert_eq!(listed.iter().map(|it| it.alert).collect::<Vec<_>>(), sorted);
        assert!(listed.iter().all(|it| !it.rules.is_empty()));
    }

    #[test]
    fn rules_of_one_name_differ_in_a_label_and_every_one_says_what_to_do() {
        let mut seen = BTreeSet::new();
        for entry in catalogue().entries() {
            for rule in &entry.prometheus {
                let identity = (entry.alert, rule.severity, rule.subject.clone());
                assert!(seen.insert(identity), "{}: twice the same labels", entry.alert);
                assert!((20..200).contains(&rule.summary.len()), "{}", entry.alert);
                assert!(rule.description.len() >= 80, "{}", entry.alert);
                for text in [&rule.expr, &rule.summary, &rule.description, &rule.subject] {
                    assert!(!text.contains('\n'), "{}: {text:?}", entry.alert);
                }
            }
        }
    }

    #[test]
    fn every_alert_on_our_figures_outlives_a_collector_that_is_replaced() {
        for entry in catalogue().entries() {
            for rule in &entry.prometheus {
                let is_ours = rule.expr.contains("palisade_");
                assert_eq!(rule.keep.as_secs() > 0, is_ours, "{}: {}", entry.alert, rule.expr);
            }
        }
        let kept = groups(&catalogue()).matches("keep_firing_for: 15m").count();
        let all: usize = catalogue().entries().map(|it| it.prometheus.len()).sum();
        assert_eq!(kept, all - 2, "all but CollectorDown and Watchdog");
    }

    #[test]
    fn what_only_prometheus_can_say_has_a_rule_and_asks_for_no_values() {
        for entry in catalogue().entries().filter(|it| it.only_prometheus) {
            assert!(!entry.prometheus.is_empty(), "{}", entry.alert);
            for text in [&entry.summary, &entry.meaning, &entry.action] {
                let asked: Vec<_> = placeholders(text);
                assert!(asked.is_empty(), "{}: {asked:?}", entry.alert);
            }
        }
    }

    #[test]
    fn lengths_are_written_as_prometheus_reads_them() {
        for (secs, text) in
            [(30, "30s"), (60, "1m"), (90, "90s"), (5400, "90m"), (86_400, "1d"), (90_000, "25h")]
        {
            assert_eq!(duration(Span::secs(secs)), text);
        }
    }

    #[test]
    fn no_text_ends_its_line_or_its_quotes() {
        assert_eq!(quoted("a\"b\\c\n{{ $value }}: #"), r##""a\"b\\c\n{{ $value }}: #""##);
    }
}
