//! Profiles: which rules are in force, and how strict each is.
//!
//! ```text
//! inherited rules + include (from the catalogue and its own rules) - exclude ──overrides──> rules
//! ```
//!
//! A profile is a file. The built-in one is written as a user would write it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::canonical;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::catalogue;
use crate::catalogue::LoadCatalogueError;
use crate::finding::RuleId;
use crate::finding::Severity;
use crate::group::Group;
use crate::group::groups;
use crate::interest::Interest;
use crate::pattern::Pattern;
use crate::rule::Entry;
use crate::rule::LoadRulesError;
use crate::rule::MAX_RULES;
use crate::rule::MalformedRule;
use crate::rule::Rule;
use crate::rule::from_entries;
use crate::yaml;
use crate::yaml::ParseYamlError;

/// Bytes that the name of a profile may have.
const MAX_NAME: usize = 64;

/// A profile as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    #[serde(default)]
    inherits: Option<String>,
    #[serde(default)]
    include: Vec<Selector>,
    #[serde(default)]
    exclude: Vec<Selector>,
    #[serde(default)]
    overrides: Vec<Override>,
    #[serde(default)]
    rules: Vec<Entry>,
}

/// Rules by what they are; everything that is given must fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    /// Patterns of ids.
    #[serde(default)]
    rules: Vec<String>,
    /// Areas: the part of the id before the dot.
    #[serde(default)]
    areas: Vec<String>,
    /// Severities as the rule has them before overrides.
    #[serde(default)]
    severities: Vec<Severity>,
}

impl Selector {
    fn is_valid(&self) -> bool {
        let Self { rules, areas, severities } = self;
        !(rules.is_empty() && areas.is_empty() && severities.is_empty())
            && rules.iter().all(|pattern| Pattern::new(pattern).is_some())
    }

    fn selects(&self, rule: &Rule) -> bool {
        let Self { rules, areas, severities } = self;
        let is_named = |pattern: &String| {
            Pattern::new(pattern).is_some_and(|pattern| pattern.matches(rule.id().as_str()))
        };
        (rules.is_empty() || rules.iter().any(is_named))
            && (areas.is_empty() || areas.iter().any(|area| area == rule.id().area()))
            && (severities.is_empty() || severities.contains(&rule.severity()))
    }
}

/// Other values for one rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    rule: RuleId,
    #[serde(default)]
    severity: Option<Severity>,
    /// Words laid over those of the rule's kind; `null` takes a word away.
    #[serde(default)]
    expect: Option<Map<String, Value>>,
}

/// A profile could not be loaded. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum LoadProfileError {
    /// The built-in rules.
    #[error("failed to load the built-in rules")]
    Catalogue(#[source] LoadCatalogueError),
    /// A rule of its own has the id of a built-in or inherited one.
    #[error("the id {id} is taken")]
    Duplicate {
        /// The id.
        id: RuleId,
    },
    /// It inherits a profile that is not at hand.
    #[error("no profile is named `{name}`")]
    Inherits {
        /// The name, made safe to show.
        name: String,
    },
    /// Its name.
    #[error("`name`: expected 1 to {MAX_NAME} lowercase letters, digits, '-' and '/'")]
    Name,
    /// More rules than a profile may have.
    #[error("more than {MAX_RULES} rules")]
    TooMany,
    /// A selector that is empty, or selects nothing.
    #[error("{list} {number} selects no rule")]
    Nothing {
        /// `include` or `exclude`.
        list: &'static str,
        /// Its place, from 1.
        number: usize,
    },
    /// An override of a rule that is not in force.
    #[error("the override of {id} changes no rule of this profile")]
    NoRule {
        /// The id.
        id: RuleId,
    },
    /// An override that makes no sense for its rule.
    #[error("malformed override of {id}")]
    Override {
        /// The id.
        id: RuleId,
        /// What is wrong.
        source: MalformedRule,
    },
    /// Rules of its own.
    #[error("malformed rules of its own")]
    Rules(#[source] LoadRulesError),
    /// The file is no profile.
    #[error("failed to read the profile")]
    Yaml(#[source] ParseYamlError),
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Profile {
    name: String,
    rules: Vec<Arc<Rule>>,
    groups: Vec<Group>,
    interest: Interest,
    digest: Digest,
}

impl Profile {
    /// The built-in profile `node`.
    ///
    /// # Panics
    /// Never: the table test loads what is compiled in.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the table test loads what is compiled in")]
    pub fn built_in() -> Self {
        let catalogue = catalogue::rules().expect("built-in rules are well-formed");
        Self::assemble(catalogue::NODE_PROFILE, &catalogue, &[])
            .expect("the built-in profile is well-formed")
    }

    /// Parses a profile that may inherit a built-in one.
    ///
    /// # Errors
    /// [`LoadProfileError`], naming what is wrong.
    pub fn parse(text: &str) -> Result<Self, LoadProfileError> {
        Self::load(text, &[])
    }

    /// Parses a profile that may inherit a built-in one or one of `parents`.
    ///
    /// # Errors
    /// [`LoadProfileError`], naming what is wrong.
    pub fn load(text: &str, parents: &[Self]) -> Result<Self, LoadProfileError> {
        let catalogue = catalogue::rules().map_err(LoadProfileError::Catalogue)?;
        let node = Self::assemble(catalogue::NODE_PROFILE, &catalogue, &[])?;
        let mut all = parents.to_vec();
        all.push(node);
        Self::assemble(text, &catalogue, &all)
    }

    fn assemble(
        text: &str,
        catalogue: &[Arc<Rule>],
        parents: &[Self],
    ) -> Result<Self, LoadProfileError> {
        let file: ProfileFile = yaml::parse(text).map_err(LoadProfileError::Yaml)?;
        let ProfileFile { name, inherits, include, exclude, overrides, rules } = file;
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-/".contains(&b);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(letter) {
            return Err(LoadProfileError::Name);
        }
        let mut chosen: BTreeMap<RuleId, Arc<Rule>> = BTreeMap::new();
        if let Some(parent) = inherits {
            let parent = parents.iter().find(|it| it.name == parent).ok_or_else(|| {
                let name = palisade_report::bound::clean_text(&parent);
                LoadProfileError::Inherits { name }
            })?;
            chosen.extend(parent.rules.iter().map(|rule| (rule.id().clone(), Arc::clone(rule))));
        }
        let own = from_entries(rules).map_err(LoadProfileError::Rules)?;
        let taken: BTreeSet<&RuleId> =
            catalogue.iter().map(|rule| rule.id()).chain(chosen.keys()).collect();
        if let Some(rule) = own.iter().find(|rule| taken.contains(rule.id())) {
            return Err(LoadProfileError::Duplicate { id: rule.id().clone() });
        }
        // A profile's own rules are in force because they are written there.
        chosen.extend(own.into_iter().map(|rule| (rule.id().clone(), Arc::new(rule))));
        for (at, selector) in include.iter().enumerate() {
            let selected: Vec<&Arc<Rule>> =
                catalogue.iter().filter(|rule| selector.selects(rule)).collect();
            if !selector.is_valid() || selected.is_empty() {
                let number = at.saturating_add(1);
                return Err(LoadProfileError::Nothing { list: "include", number });
            }
            for rule in selected {
                chosen.entry(rule.id().clone()).or_insert_with(|| Arc::clone(rule));
            }
        }
        for (at, selector) in exclude.iter().enumerate() {
            let before = chosen.len();
            chosen.retain(|_, rule| !selector.selects(rule));
            if !selector.is_valid() || chosen.len() == before {
                let number = at.saturating_add(1);
                return Err(LoadProfileError::Nothing { list: "exclude", number });
            }
        }
        for change in overrides {
            let id = change.rule.clone();
            let Some(rule) = chosen.get_mut(&id) else {
                return Err(LoadProfileError::NoRule { id });
            };
            let changed = overridden(rule, change);
            *rule = Arc::new(changed.map_err(|source| LoadProfileError::Override { id, source })?);
        }
        if chosen.len() > MAX_RULES {
            return Err(LoadProfileError::TooMany);
        }
        Ok(Self::of(&name, chosen.into_values().collect()))
    }

    /// A profile of these rules, which are in order of their ids.
    fn of(name: &str, rules: Vec<Arc<Rule>>) -> Self {
        let mut interest = Interest::default();
        for rule in &rules {
            rule.interest(&mut interest);
        }
        let digest = digest(name, &rules);
        Self { name: name.to_owned(), groups: groups(&rules), rules, interest, digest }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules in order of their ids.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Its rules, grouped by the sections that they read.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What inspections must look at for it.
    #[must_use]
    pub const fn interest(&self) -> &Interest {
        &self.interest
    }

    /// SHA-256 over its name and everything that its rules say, overrides applied.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// The rule with other values. Its examples belong to the old ones and are not held against it.
fn overridden(rule: &Rule, change: Override) -> Result<Rule, MalformedRule> {
    let Override { rule: _, severity, expect } = change;
    let mut entry = rule.entry().clone();
    entry.severity = severity.unwrap_or(entry.severity);
    for (word, value) in expect.into_iter().flatten() {
        for body in entry.expect.values_mut() {
            // A kind whose value is no map (an expression) has no words to change.
            let Value::Object(words) = body else {
                return Err(MalformedRule::Override);
            };
            match value {
                Value::Null => words.remove(&word),
                Value::Array(_)
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Object(_)
                | Value::String(_) => words.insert(word.clone(), value.clone()),
            };
        }
    }
    Rule::new(entry)
}

/// Entries are strings, lists and maps with string keys, so they always have a canonical form; if
/// one had none, it would count as `null` rather than stop the judge.
fn digest(name: &str, rules: &[Arc<Rule>]) -> Digest {
    let entries: Vec<Value> = rules
        .iter()
        .map(|rule| serde_json::to_value(rule.entry()).unwrap_or(Value::Null))
        .collect();
    let content = serde_json::json!({ "name": name, "rules": entries });
    Digest::of(&canonical::bytes(&content).unwrap_or_default())
}

#[cfg(test)]
mod tests;
