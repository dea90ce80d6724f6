//! A rule: one entry of a rule file, with its documentation as data.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::SectionName;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::body::MalformedBody;
use crate::expect::Expect;
use crate::expect::MalformedExpect;
use crate::facts::FactPath;
use crate::finding::RuleId;
use crate::finding::Severity;
use crate::interest::Interest;
use crate::when::Condition;
use crate::when::MAX_CONDITIONS;
use crate::yaml;
use crate::yaml::ParseYamlError;

/// Rules that one file may have.
pub const MAX_RULES: usize = 1024;
/// Bytes that a title may have: one line of a table.
pub const MAX_TITLE: usize = 100;
/// Bytes that each paragraph of documentation may have.
pub const MAX_PARAGRAPH: usize = 1200;
/// References that one rule may have.
pub const MAX_REFERENCES: usize = 16;

/// Ids that were given once and are gone, with the reason. An id is never used again, because
/// waivers, histories and dashboards remember it.
pub const RETIRED: [(&str, &str); 0] = [];

/// An entry as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) id: RuleId,
    pub(crate) severity: Severity,
    pub(crate) title: String,
    pub(crate) why: String,
    pub(crate) fix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) may_break: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_covered: Option<String>,
    pub(crate) references: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) when: Vec<Map<String, Value>>,
    pub(crate) expect: Map<String, Value>,
    /// Not part of what a rule means, so never written.
    #[serde(default, skip_serializing)]
    pub(crate) examples: Examples,
}

/// Facts with which the table test holds a rule to its word: a fact's path to its value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Examples {
    #[serde(default)]
    pub(crate) pass: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) fail: BTreeMap<String, Value>,
    /// Further ones, by a name that says what is special: facts, and the verdict that they get.
    #[serde(default)]
    pub(crate) also: Vec<Example>,
}

/// A further example.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    pub(crate) verdict: crate::Verdict,
    pub(crate) facts: BTreeMap<String, Value>,
}

/// What is wrong with an entry. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum MalformedRule {
    /// What it expects.
    #[error("malformed `expect`")]
    Expect(#[source] MalformedExpect),
    /// A documentation field that is empty or too long.
    #[error("`{field}`: expected 1 to {max} bytes of text")]
    Text {
        /// The field.
        field: &'static str,
        /// Its bound.
        max: usize,
    },
    /// No reference, or more than [`MAX_REFERENCES`].
    #[error("`references`: expected 1 to {MAX_REFERENCES}")]
    References,
    /// Words for a kind that has none.
    #[error("this kind has no words to override")]
    Override,
    /// A retired id.
    #[error("the id is retired: {reason}")]
    Retired {
        /// Why it was retired.
        reason: &'static str,
    },
    /// A condition.
    #[error("malformed condition {number}")]
    When {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with its words.
        source: MalformedBody,
    },
    /// More conditions than a rule may have.
    #[error("more than {MAX_CONDITIONS} conditions")]
    Conditions,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    entry: Entry,
    conditions: Vec<Condition>,
    expect: Expect,
    sections: BTreeSet<SectionName>,
}

impl Rule {
    pub(crate) fn new(entry: Entry) -> Result<Self, MalformedRule> {
        check_text("title", &entry.title, MAX_TITLE)?;
        check_text("why", &entry.why, MAX_PARAGRAPH)?;
        check_text("fix", &entry.fix, MAX_PARAGRAPH)?;
        if let Some(text) = &entry.may_break {
            check_text("may_break", text, MAX_PARAGRAPH)?;
        }
        if let Some(text) = &entry.not_covered {
            check_text("not_covered", text, MAX_PARAGRAPH)?;
        }
        if entry.references.is_empty() || entry.references.len() > MAX_REFERENCES {
            return Err(MalformedRule::References);
        }
        for reference in &entry.references {
            check_text("references", reference, MAX_TITLE)?;
        }
        if let Some((_, reason)) = RETIRED.iter().find(|(id, _)| *id == entry.id.as_str()) {
            return Err(MalformedRule::Retired { reason });
        }
        if entry.when.len() > MAX_CONDITIONS {
            return Err(MalformedRule::Conditions);
        }
        let mut conditions = Vec::with_capacity(entry.when.len());
        for (at, map) in entry.when.iter().enumerate() {
            let number = at.saturating_add(1);
            conditions.push(
                Condition::parse(map).map_err(|source| MalformedRule::When { number, source })?,
            );
        }
        let expect = Expect::parse(&entry.expect).map_err(MalformedRule::Expect)?;
        let mut sections = expect.sections();
        sections.extend(conditions.iter().map(|condition| condition.path().section()));
        Ok(Self { entry, conditions, expect, sections })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &RuleId {
        &self.entry.id
    }

    /// How much it matters in this profile.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.entry.severity
    }

    /// What holds when it passes, in one line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.entry.title
    }

    /// Why it matters.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.entry.why
    }

    /// What to do about a failure.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.entry.fix
    }

    /// What the fix may break.
    #[must_use]
    pub fn may_break(&self) -> Option<&str> {
        self.entry.may_break.as_deref()
    }

    /// What a pass does not prove.
    #[must_use]
    pub fn not_covered(&self) -> Option<&str> {
        self.entry.not_covered.as_deref()
    }

    /// Where to read on: manual pages, ids of benchmarks.
    #[must_use]
    pub fn references(&self) -> &[String] {
        &self.entry.references
    }

    /// The sections that it reads, those of its conditions included.
    #[must_use]
    pub const fn sections(&self) -> &BTreeSet<SectionName> {
        &self.sections
    }

    /// The facts that it cannot do without, those of its conditions included.
    #[must_use]
    pub fn reads(&self) -> Vec<FactPath> {
        let mut paths = self.expect.reads();
        paths.extend(self.conditions.iter().map(|condition| condition.path().clone()));
        paths
    }

    pub(crate) const fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) const fn expect(&self) -> &Expect {
        &self.expect
    }

    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        self.expect.interest(interest);
        for condition in &self.conditions {
            condition.interest(interest);
        }
    }
}

fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), MalformedRule> {
    let fits = !text.trim().is_empty()
        && text.len() <= max
        && !text.chars().any(|c| c.is_control() && c != '\n');
    if fits { Ok(()) } else { Err(MalformedRule::Text { field, max }) }
}

/// A rule file could not be loaded. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum LoadRulesError {
    /// Two rules with the same id.
    #[error("the id {id} is given twice")]
    Duplicate {
        /// The id.
        id: RuleId,
    },
    /// An entry that has no meaning.
    #[error("malformed rule {id}")]
    Rule {
        /// Its id.
        id: RuleId,
        /// What is wrong.
        source: MalformedRule,
    },
    /// More than [`MAX_RULES`].
    #[error("more than {MAX_RULES} rules")]
    TooMany,
    /// The file is not a list of entries.
    #[error("failed to read the rule file")]
    Yaml(#[source] ParseYamlError),
}

/// Parses a rule file: a YAML list of entries.
///
/// # Errors
/// [`LoadRulesError`], naming the rule and the word.
pub fn parse_rules(text: &str) -> Result<Vec<Rule>, LoadRulesError> {
    let entries: Vec<Entry> = yaml::parse(text).map_err(LoadRulesError::Yaml)?;
    from_entries(entries)
}

pub(crate) fn from_entries(entries: Vec<Entry>) -> Result<Vec<Rule>, LoadRulesError> {
    if entries.len() > MAX_RULES {
        return Err(LoadRulesError::TooMany);
    }
    let mut ids = BTreeSet::new();
    let mut rules = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.id.clone();
        if !ids.insert(id.clone()) {
            return Err(LoadRulesError::Duplicate { id });
        }
        rules.push(Rule::new(entry).map_err(|source| LoadRulesError::Rule { id, source })?);
    }
    Ok(rules)
}
