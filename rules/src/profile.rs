//! Profiles: which rules are in force, and how strict each is.

use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::canonical;
use serde_json::Value;

use crate::catalogue;
use crate::group::Group;
use crate::group::groups;
use crate::interest::Interest;
use crate::rule::Rule;

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
        let rules = catalogue::rules().expect("built-in rules are well-formed");
        Self::of("node", rules)
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
