//! What each alert means, how long it must hold, and its words: data, from `data/catalogue.yaml`.
//!
//! The same entries fill messages, the API, the README, and the rules for Prometheus.

use std::collections::BTreeMap;

use palisade_report::bound::clean;
use serde::Deserialize;
use serde::Serialize;

use crate::key::Key;
use crate::kind::Kind;
use crate::notice::Words;
use crate::rules_file;
use crate::rules_file::Rule;
use crate::rules_file::Rules;
use crate::sighting::Values;
use crate::span::Span;
use crate::span::in_words;
use crate::yaml::ParseYamlError;
use crate::yaml::parse;

/// The file.
pub const TEXT: &str = include_str!("../data/catalogue.yaml");

/// Placeholders that come from what an alert is about.
pub const FROM_KEY: [&str; 5] = ["cluster", "namespace", "node", "pool", "subject"];

/// Bytes of a filled line, and of a filled paragraph. A value may have more; what is cut ends in `…`.
pub const MAX_LINE: usize = 512;
/// See [`MAX_LINE`].
pub const MAX_PARAGRAPH: usize = 2048;

/// An alert as it is documented.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which.
    pub alert: Kind,
    /// The part of the world that it is about; a label.
    pub component: String,
    /// How loud it is when, in words.
    pub severity: String,
    /// How long it must hold before it fires.
    #[serde(rename = "for")]
    pub hold: Span,
    /// How long it must be gone before it is over; a shorter absence is none.
    pub keep: Span,
    /// Template of subject and fact, in a line.
    pub summary: String,
    /// Template of why it matters.
    pub meaning: String,
    /// Template of what to do.
    pub action: String,
    /// Template of the address below the collector that explains it.
    pub link: String,
    /// Placeholders that whoever sees it fills.
    #[serde(default)]
    pub values: Vec<String>,
    /// Whether it says nothing while palisade itself reboots the node.
    #[serde(default)]
    pub quiet_in_reboot: bool,
    /// Louder ones beside which it says nothing.
    #[serde(default)]
    pub inhibited_by: Vec<Inhibitor>,
    /// Whether the collector never sees it: it is about the collector, or about figures alone.
    #[serde(default)]
    pub only_prometheus: bool,
    /// Rules that say the like on figures of the whole fleet, from `data/prometheus.yaml`.
    #[serde(skip)]
    pub prometheus: Vec<Rule>,
}

/// An alert beside which another one says nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibitor {
    /// The louder one.
    pub alert: Kind,
    /// What must be the same of both.
    pub same: Vec<Same>,
}

/// A part of what an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Same {
    /// The node.
    Node,
    /// The pool.
    Pool,
    /// What within the node.
    Subject,
}

/// All entries.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<Kind, Entry>,
}

/// The catalogue cannot be used. At fault: us, since it is compiled in.
#[derive(Debug, thiserror::Error)]
pub enum LoadCatalogueError {
    /// It is not the YAML that was expected.
    #[error("failed to read the catalogue of alerts")]
    Parse(#[source] ParseYamlError),
    /// An alert has no entry.
    #[error("the catalogue has no entry for {0}")]
    Missing(Kind),
}

impl Catalogue {
    /// The one that is compiled in.
    ///
    /// # Errors
    /// [`LoadCatalogueError`]; a test shows that there is none.
    pub fn built_in() -> Result<Self, LoadCatalogueError> {
        let entries: Vec<Entry> = parse(TEXT).map_err(LoadCatalogueError::Parse)?;
        let mut entries: BTreeMap<_, _> = entries.into_iter().map(|it| (it.alert, it)).collect();
        let rules: Vec<Rules> = parse(rules_file::TEXT).map_err(LoadCatalogueError::Parse)?;
        for Rules { alert, rules } in rules {
            let entry = entries.get_mut(&alert).ok_or(LoadCatalogueError::Missing(alert))?;
            entry.prometheus.extend(rules);
        }
        match Kind::ALL.into_iter().find(|kind| !entries.contains_key(kind)) {
            Some(kind) => Err(LoadCatalogueError::Missing(kind)),
            None => Ok(Self { entries }),
        }
    }

    /// The entry of an alert. `None` for none: [`Self::built_in`] has seen to that.
    #[must_use]
    pub fn entry(&self, kind: Kind) -> Option<&Entry> {
        self.entries.get(&kind)
    }

    /// All, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Changes how long an alert must hold and be gone.
    pub fn retime(&mut self, kind: Kind, hold: Option<Span>, keep: Option<Span>) {
        if let Some(entry) = self.entries.get_mut(&kind) {
            entry.hold = hold.unwrap_or(entry.hold);
            entry.keep = keep.unwrap_or(entry.keep);
        }
    }

    /// The label `component` of an alert.
    #[must_use]
    pub fn component(&self, kind: Kind) -> &str {
        self.entry(kind).map_or("", |entry| &entry.component)
    }

    /// What an alert says.
    #[must_use]
    pub fn words(&self, key: &Key, cluster: &str, values: &Values) -> Words {
        let Some(entry) = self.entry(key.kind) else { return Words::default() };
        let value = |name: &str| match name {
            "cluster" => Some(cluster),
            "namespace" => Some(key.namespace.as_deref().unwrap_or_default()),
            "node" => Some(key.node.as_ref().map_or("", palisade_report::NodeName::as_str)),
            "pool" => Some(key.pool.as_deref().unwrap_or_default()),
            "subject" => Some(&*key.subject),
            other => values.get(other).map(String::as_str),
        };
        let fill_in = |template: &str, max| clean(fill(template, value).as_bytes(), max);
        let link = fill(&entry.link, |name| value(name).map(percent_encoded));
        Words {
            summary: fill_in(&entry.summary, MAX_LINE),
            description: fill_in(&entry.meaning, MAX_PARAGRAPH),
            action: fill_in(&entry.action, MAX_PARAGRAPH),
            link: clean(link.as_bytes(), MAX_LINE),
        }
    }
}

/// The table of all alerts for the README.
#[must_use]
pub fn markdown(catalogue: &Catalogue) -> String {
    let mut text =
        "| alert | severity | fires after | over after | says |\n|-|-|-|-|-|\n".to_owned();
    for entry in catalogue.entries() {
        let [hold, keep] = [entry.hold, entry.keep].map(|it| match it.as_secs() {
            0 => "at once".to_owned(),
            secs => in_words(secs),
        });
        let Entry { alert, severity, summary, .. } = entry;
        text.push_str(&format!("| {alert} | {severity} | {hold} | {keep} | {summary} |\n"));
    }
    text
}

/// `template` with each `{name}` replaced. What has no value is shown as `?`.
fn fill<V: AsRef<str>>(template: &str, value: impl Fn(&str) -> Option<V>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            text.push('{');
            rest = after;
            continue;
        };
        match value(name) {
            Some(value) => text.push_str(value.as_ref()),
            None => text.push('?'),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// For a path or a query: everything but the unreserved characters of RFC 3986 section 2.3, and `/`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The names of a template's placeholders.
#[must_use]
pub fn placeholders(template: &str) -> Vec<&str> {
    let after = template.split('{').skip(1);
    after.filter_map(|it| it.split_once('}').map(|(name, _)| name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::built_in().unwrap()
    }

    #[test]
    fn every_alert_has_one_entry_and_every_entry_says_everything() {
        let listed: Vec<Entry> = parse(TEXT).unwrap();
        let names: Vec<Kind> = listed.iter().map(|it| it.alert).collect();
        assert_eq!(names, Kind::ALL, "each once, in order");
        for entry in catalogue().entries() {
            for text in [
                &entry.component,
                &entry.severity,
                &entry.summary,
                &entry.meaning,
                &entry.action,
                &entry.link,
            ] {
                assert!(!text.trim().is_empty(), "{}", entry.alert);
            }
            assert!(entry.link.starts_with('/'), "{}", entry.alert);
        }
    }

    #[test]
    fn templates_use_what_is_there_and_every_value_is_used() {
        for entry in catalogue().entries() {
            let templates = [&entry.summary, &entry.meaning, &entry.action, &entry.link];
            let used: BTreeSet<&str> = templates.iter().flat_map(|it| placeholders(it)).collect();
            let values: BTreeSet<&str> = entry.values.iter().map(String::as_str).collect();
            let own: BTreeSet<&str> =
                used.iter().copied().filter(|it| !FROM_KEY.contains(it)).collect();
            assert_eq!(own, values, "{}", entry.alert);
        }
    }

    #[test]
    fn nothing_is_inhibited_by_itself_or_in_a_circle() {
        let catalogue = catalogue();
        for entry in catalogue.entries() {
            let mut above: Vec<Kind> = entry.inhibited_by.iter().map(|it| it.alert).collect();
            let mut seen = BTreeSet::new();
            while let Some(kind) = above.pop() {
                assert_ne!(kind, entry.alert);
                if seen.insert(kind) {
                    let next = catalogue.entry(kind).unwrap();
                    above.extend(next.inhibited_by.iter().map(|it| it.alert));
                }
            }
        }
    }

    #[test]
    fn words_are_filled_cleaned_and_bounded() {
        let node = "worker-7".parse().unwrap();
        let key = Key::of_node(Kind::HardeningRegressed, node, None).subject("a b&c/../?");
        let hostile = format!("\u{202e}x\n{}", "y".repeat(100_000));
        let values =
            ["title", "observed", "why", "fix"].map(|name| (name.to_owned(), hostile.clone()));
        let words = catalogue().words(&key, "prod", &Arc::new(BTreeMap::from(values)));
        assert!(words.summary.starts_with("worker-7: "), "{}", words.summary);
        assert!(words.summary.len() <= MAX_LINE && words.description.len() <= MAX_PARAGRAPH);
        for text in [&words.summary, &words.description, &words.action, &words.link] {
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text}");
        }
        assert_eq!(words.link, "/v1/findings?node=worker-7&verdict=fail");
        let failing = Key::of(Kind::NotifierFailing).subject("a b&c/../?");
        let action = catalogue().words(&failing, "prod", &Arc::default()).action;
        assert!(action.contains("a b&c/../?"), "words are no addresses: {action}");
        assert_eq!(percent_encoded("a b&c/../?"), "a%20b%26c/../%3F");
        let bare = catalogue().words(&key, "prod", &Arc::default());
        assert_eq!(bare.summary, "worker-7: ? (was fine before): ?");
    }
}
