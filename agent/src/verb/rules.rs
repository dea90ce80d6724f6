//! `rules`: what is expected of a node, with its documentation.

use std::path::PathBuf;

use clap::Args;
use palisade_report::SectionName;
use palisade_rules::Profile;
use palisade_rules::Rule;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::page::Colours;
use palisade_rules::page::Page;
use palisade_rules::page::Paint;
use palisade_rules::page::short;
use serde::Serialize;

use super::LoadProfileError;
use super::Output;
use super::scan::Format;

/// Column at which titles begin: severity, then an id of the usual length.
const TITLES: usize = 44;

/// Lists the rules in force, with documentation and references
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent rules
  palisade-agent rules --format json | jq '.rules[] | select(.severity == \"high\") | .id'")]
pub(super) struct RulesArgs {
    /// Profile to list; the built-in one if not given
    #[arg(long, value_name = "FILE", env = "PALISADE_PROFILE")]
    profile: Option<PathBuf>,
    /// How to print; JSON holds the whole documentation
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The rules could not be listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RulesError {
    /// The profile cannot be loaded. At fault: `--profile`.
    #[error("failed to get the rules")]
    Profile(#[source] LoadProfileError),
    /// The rules have no JSON form. At fault: us.
    #[error("failed to write the rules as JSON")]
    Write(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Printed<'a> {
    profile: &'a str,
    rules: Vec<PrintedRule<'a>>,
}

#[derive(Serialize)]
struct PrintedRule<'a> {
    id: &'a RuleId,
    severity: Severity,
    title: &'a str,
    why: &'a str,
    fix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_break: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_covered: Option<&'a str>,
    references: &'a [String],
    sections: Vec<SectionName>,
}

pub(super) fn run(args: RulesArgs) -> Result<Output, RulesError> {
    let RulesArgs { profile, format } = args;
    let profile = super::profile(profile.as_deref()).map_err(RulesError::Profile)?;
    let text = match format {
        Format::Json => json(&profile)?,
        Format::Table => table(&profile),
    };
    Ok(Output { text, code: 0 })
}

fn json(profile: &Profile) -> Result<String, RulesError> {
    let rules = profile.rules().iter().map(|rule| printed(rule)).collect();
    let printed = Printed { profile: profile.name(), rules };
    let mut text = serde_json::to_string_pretty(&printed).map_err(RulesError::Write)?;
    text.push('\n');
    Ok(text)
}

fn printed(rule: &Rule) -> PrintedRule<'_> {
    PrintedRule {
        id: rule.id(),
        severity: rule.severity(),
        title: rule.title(),
        why: rule.why(),
        fix: rule.fix(),
        may_break: rule.may_break(),
        not_covered: rule.not_covered(),
        references: rule.references(),
        sections: rule.sections().iter().copied().collect(),
    }
}

fn table(profile: &Profile) -> String {
    let mut page = Page::new(Colours::None);
    for rule in profile.rules() {
        let (severity, _) = short(rule.severity());
        let label = format!("{severity:<5} {}", rule.id());
        page.line(0, &label, Paint::Plain, TITLES, rule.title());
    }
    let count = profile.rules().len();
    page.gap();
    let words = format!(
        "{count} rules of profile {}. Everything about one: palisade-agent explain RULE",
        profile.name()
    );
    page.line(0, "", Paint::Plain, 0, &words);
    page.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_with_its_documentation() {
        let profile = Profile::built_in();
        let listed: serde_json::Value = serde_json::from_str(&json(&profile).unwrap()).unwrap();
        let rules = listed["rules"].as_array().unwrap();
        assert_eq!(rules.len(), profile.rules().len());
        for rule in rules {
            for field in ["id", "severity", "title", "why", "fix"] {
                assert!(!rule[field].as_str().unwrap().is_empty(), "{field} of {rule}");
            }
            assert!(!rule["references"].as_array().unwrap().is_empty(), "{rule}");
        }
        let table = table(&profile);
        assert!(profile.rules().iter().all(|rule| table.contains(rule.id().as_str())));
    }
}
