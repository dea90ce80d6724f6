//! Selectors by label, as Kubernetes has them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// Selects what has these labels; everything that is given must hold. Empty: everything.
///
/// Source: `LabelSelector` of the Kubernetes API (`meta/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must have exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: Operator,
    /// The values that it speaks of; none for `Exists` and `DoesNotExist`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<String>,
}

/// How a label is compared; the words are those of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Operator {
    /// The label is not there.
    DoesNotExist,
    /// The label is there.
    Exists,
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is not there.
    NotIn,
}

impl Selector {
    /// Selects what has this label with this value.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        let match_labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Self { match_labels, match_expressions: Vec::new() }
    }

    /// Whether it selects something with these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let Self { match_labels, match_expressions } = self;
        match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && match_expressions.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether it speaks of this label.
    #[must_use]
    pub fn speaks_of(&self, label: &str) -> bool {
        let Self { match_labels, match_expressions } = self;
        match_labels.contains_key(label) || match_expressions.iter().any(|it| it.key == label)
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// As the API server takes it in `labelSelector`: conditions joined by commas.
///
/// Source: "Labels and Selectors" of the Kubernetes docs.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { match_labels, match_expressions } = self;
        let labels = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let conditions = labels.chain(match_expressions.iter().map(Requirement::to_string));
        f.write_str(&conditions.collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        match operator {
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Exists => f.write_str(key),
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
        }
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::DoesNotExist => value.is_none(),
            Operator::Exists => value.is_some(),
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_kubernetes_matches() {
        let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
        let requirement = |key: &str, operator, values: &[&str]| Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        for (requirement, expected) in [
            (requirement("tier", Operator::In, &["db", "web"]), true),
            (requirement("tier", Operator::In, &["web"]), false),
            (requirement("zone", Operator::In, &["a"]), false),
            (requirement("tier", Operator::NotIn, &["web"]), true),
            (requirement("tier", Operator::NotIn, &["db"]), false),
            (requirement("zone", Operator::NotIn, &["a"]), true),
            (requirement("tier", Operator::Exists, &[]), true),
            (requirement("zone", Operator::Exists, &[]), false),
            (requirement("tier", Operator::DoesNotExist, &[]), false),
            (requirement("zone", Operator::DoesNotExist, &[]), true),
        ] {
            let shown = format!("{requirement:?}");
            let selector = Selector { match_expressions: vec![requirement], ..Selector::default() };
            assert_eq!(selector.matches(&labels), expected, "{shown}");
        }
        assert!(Selector::default().matches(&labels));
        assert!(Selector::label("tier", "db").matches(&labels));
        assert!(!Selector::label("tier", "d").matches(&labels));
        assert!(!Selector::label("zone", "").matches(&labels));
    }

    #[test]
    fn selectors_are_written_as_the_api_server_reads_them() {
        let requirement = |key: &str, operator, values: &[&str]| Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let selector = Selector {
            match_expressions: vec![
                requirement("tier", Operator::In, &["web", "db"]),
                requirement("zone", Operator::NotIn, &["a", ""]),
                requirement("example.com/x", Operator::Exists, &[]),
                requirement("y", Operator::DoesNotExist, &[]),
            ],
            ..Selector::label("app", "backup")
        };
        let written = "app=backup,tier in (db,web),zone notin (,a),example.com/x,!y";
        assert_eq!(selector.to_string(), written);
        assert_eq!(Selector::label("app", "").to_string(), "app=");
        assert_eq!(Selector::default().to_string(), "");
    }
}
