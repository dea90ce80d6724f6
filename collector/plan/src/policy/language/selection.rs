//! Selectors, and the pods and alerts that speak against a reboot.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::bound::clean_text;

use crate::policy::AlertGate;
use crate::policy::AlertMatcher;
use crate::policy::Comparison;
use crate::policy::Operator;
use crate::policy::PendingAlerts;
use crate::policy::PodGate;
use crate::policy::PodScope;
use crate::policy::Requirement;
use crate::policy::Selector;
use crate::policy::language::value::list;
use crate::policy::language::value::text;
use crate::policy::language::value::word;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::section::nearest;
use crate::policy::tree::Field;
use crate::policy::tree::Node;
use crate::policy::tree::Tree;

/// Conditions that one selector may have.
const MAX_CONDITIONS: usize = 32;

/// Values that one condition may name.
const MAX_VALUES: usize = 256;

/// Matchers that one gate may have.
const MAX_MATCHERS: usize = 32;

/// Letters of a matcher; Alertmanager takes it as a part of an address.
const MAX_MATCHER: usize = 1_024;

/// Fields of a selector.
const FIELDS: [&str; 2] = ["matchExpressions", "matchLabels"];

const OPERATORS: &[(&str, Operator)] = &[
    ("DoesNotExist", Operator::DoesNotExist),
    ("Exists", Operator::Exists),
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
];

const SCOPES: &[(&str, PodScope)] =
    &[("cluster", PodScope::Cluster), ("node", PodScope::Node), ("pool", PodScope::Pool)];

const PENDING: &[(&str, PendingAlerts)] =
    &[("block", PendingAlerts::Block), ("ignore", PendingAlerts::Ignore)];

/// A selector by labels.
pub(super) fn selector(tree: &Tree, problems: &mut Problems) -> Option<Selector> {
    // Whoever writes a label here means a label.
    let is_label = |field: &&Field| {
        matches!(field.value.node, Node::Text(_))
            && nearest(&field.name, FIELDS.into_iter()).is_none()
    };
    if let Node::Map(fields) = &tree.node
        && let Some(field) = fields.iter().find(is_label)
    {
        let label = clean_text(&field.name);
        problems.add(
            field.place,
            format!("write labels below `matchLabels`: `matchLabels: {{{label}: ...}}`"),
        );
        return None;
    }
    let mut section = Section::open(tree, "a selector", problems)?;
    let mut selector = Selector::default();
    section.set("matchLabels", &mut selector.match_labels, labels);
    let requirements = list(MAX_CONDITIONS, requirement);
    section.set("matchExpressions", &mut selector.match_expressions, requirements);
    section.close(&[]);
    Some(selector)
}

/// A selector that must select something less than everything.
pub(super) fn narrow_selector(tree: &Tree, problems: &mut Problems) -> Option<Selector> {
    let selector = selector(tree, problems)?;
    if selector.is_everything() {
        problems.add(tree.place, "this selects every pod: name at least one label");
        return None;
    }
    Some(selector)
}

fn labels(tree: &Tree, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let Node::Map(fields) = &tree.node else {
        return problems.expected(tree, "labels, such as `{tier: db}`");
    };
    if fields.len() > MAX_CONDITIONS {
        problems.add(tree.place, format!("at most {MAX_CONDITIONS} labels, not {}", fields.len()));
        return None;
    }
    let mut labels = BTreeMap::new();
    for field in fields {
        if !is_label_key(&field.name) {
            problems.add(field.place, malformed_key(&field.name));
        }
        if let Node::Nothing = field.value.node {
            let message = "a label needs a value: write `\"\"` for the empty one";
            problems.add(field.value.place, message);
            continue;
        }
        if let Some(value) = label_value(&field.value, problems) {
            labels.insert(field.name.clone(), value);
        }
    }
    Some(labels)
}

fn requirement(tree: &Tree, problems: &mut Problems) -> Option<Requirement> {
    let mut section = Section::open(tree, "a condition", problems)?;
    let key = section.need("key", "tier", label_key);
    let operator = section.need("operator", "In", word(OPERATORS));
    let written = section.take("values");
    let values = written.and_then(|values| list(MAX_VALUES, label_value)(values, section.problems));
    let place = written.map_or(section.place, |values| values.place);
    let values: BTreeSet<String> = values.into_iter().flatten().collect();
    match operator {
        Some(Operator::In | Operator::NotIn) if values.is_empty() => {
            let message = "`In` and `NotIn` need values: add `values: [db, web]`";
            section.problems.add(place, message);
        }
        Some(Operator::Exists | Operator::DoesNotExist) if written.is_some() => {
            let message =
                "`Exists` and `DoesNotExist` take no values: remove `values`, or write `In`";
            section.problems.add(place, message);
        }
        Some(Operator::DoesNotExist | Operator::Exists | Operator::In | Operator::NotIn) | None => {
        }
    }
    section.close(&[]);
    Some(Requirement { key: key?, operator: operator?, values })
}

/// The key of a label.
pub(super) fn label_key(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let key = text(tree, problems)?;
    if !is_label_key(key) {
        problems.add(tree.place, malformed_key(key));
        return None;
    }
    Some(key.to_owned())
}

fn malformed_key(key: &str) -> String {
    let key = clean_text(key);
    format!(
        "`{key}` is no label: expected up to 63 letters, digits, `-`, `_`, `.`, after a prefix and `/` if it has one"
    )
}

/// Source: qualified names of the Kubernetes API, `[prefix/]name`.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_prefix = |prefix: &str| (1..=253).contains(&prefix.len()) && prefix.bytes().all(is_part);
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_prefix)
}

/// Source: label values of the Kubernetes API: empty, or 1 to 63 characters with letters or digits
/// at both ends.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    value.len() <= 63
        && bytes.iter().all(is_inner)
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}

fn label_value(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let value = text(tree, problems)?;
    if !is_label_value(value) {
        let what = "the value of a label: up to 63 letters, digits, `-`, `_`, `.`";
        return problems.expected(tree, what);
    }
    Some(value.to_owned())
}

/// Pods that speak against a reboot.
pub(super) fn pod_gate(tree: &Tree, problems: &mut Problems) -> Option<PodGate> {
    let mut section = Section::open(tree, "a blocking pod", problems)?;
    let selector = section.need("selector", "{matchLabels: {app: backup}}", narrow_selector);
    let mut scope = PodScope::default();
    section.set("scope", &mut scope, word(SCOPES));
    section.close(&[]);
    Some(PodGate { selector: selector?, scope })
}

/// Alerts that speak against a reboot.
pub(super) fn alert_gate(tree: &Tree, problems: &mut Problems) -> Option<AlertGate> {
    let mut section = Section::open(tree, "the alert gate", problems)?;
    let mut gate = AlertGate::default();
    section.set("matchers", &mut gate.matchers, list(MAX_MATCHERS, matcher));
    section.set("pending", &mut gate.pending, word(PENDING));
    section.close(&[]);
    Some(gate)
}

fn matcher(tree: &Tree, problems: &mut Problems) -> Option<AlertMatcher> {
    const EXPECTED: &str =
        "a matcher such as `severity=\"critical\"` or `alertname!~\"Watchdog|Info.*\"`";
    let written = text(tree, problems)?;
    match parse_matcher(written) {
        Some(matcher) => Some(matcher),
        None => problems.expected(tree, EXPECTED),
    }
}

fn parse_matcher(text: &str) -> Option<AlertMatcher> {
    if text.len() > MAX_MATCHER || text.chars().any(char::is_control) {
        return None;
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let end = text.bytes().position(|byte| !is_letter(byte))?;
    let (name, rest) = text.split_at_checked(end)?;
    if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    // The longer word comes before the one that it begins with.
    let words =
        [Comparison::Matches, Comparison::NotMatches, Comparison::NotEqual, Comparison::Equal];
    let comparison = words.into_iter().find(|word| rest.starts_with(word.word()))?;
    let value = rest.strip_prefix(comparison.word())?.trim();
    let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"'));
    let value = match quoted {
        Some(value) => unescape(value?)?,
        None if value.contains('"') => return None,
        None => value.to_owned(),
    };
    Some(AlertMatcher { name: name.to_owned(), comparison, value })
}

/// The value within the quotes; `None` if a quote stands inside, or a backslash before nothing.
fn unescape(quoted: &str) -> Option<String> {
    let mut value = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return None,
            '\\' => match letters.next()? {
                next @ ('"' | '\\') => value.push(next),
                next => value.extend(['\\', next]),
            },
            other => value.push(other),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_alertmanager_writes_them_and_survive_their_text() {
        for (text, expected) in [
            ("severity=critical", Some("severity=\"critical\"")),
            ("severity = \"critical\"", Some("severity=\"critical\"")),
            ("alertname!~\"Watch.*|Info\"", Some("alertname!~\"Watch.*|Info\"")),
            ("a=~\"x\\\\.y\"", Some("a=~\"x\\\\.y\"")),
            ("a!=\"\"", Some("a!=\"\"")),
            ("a=\"say \\\"hi\\\"\"", Some("a=\"say \\\"hi\\\"\"")),
            ("severity", None),
            ("=critical", None),
            ("9a=b", None),
            ("a==b", Some("a=\"=b\"")),
            ("a=\"b", None),
            ("a=b\"", None),
            ("a=\"b\"c\"", None),
        ] {
            let shown = parse_matcher(text).map(|matcher| matcher.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
            if let Some(shown) = shown {
                assert_eq!(parse_matcher(&shown).map(|it| it.to_string()), Some(shown));
            }
        }
    }
}
