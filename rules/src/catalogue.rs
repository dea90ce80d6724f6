//! The built-in rules: one file for each area, in one explicit table.
//!
//! To add a rule, add an entry to the file of its area below `rules/data`; to add an area, add a
//! file and a line here. The table test holds every entry to its examples.

use std::sync::Arc;

use crate::finding::RuleId;
use crate::rule::LoadRulesError;
use crate::rule::Rule;
use crate::rule::parse_rules;

/// Every built-in rule file: the area and its text.
pub const FILES: [(&str, &str); 9] = [
    ("certificate", include_str!("../data/certificate.yaml")),
    ("file", include_str!("../data/file.yaml")),
    ("host", include_str!("../data/host.yaml")),
    ("kernel", include_str!("../data/kernel.yaml")),
    ("kubelet", include_str!("../data/kubelet.yaml")),
    ("reboot", include_str!("../data/reboot.yaml")),
    ("socket", include_str!("../data/socket.yaml")),
    ("sysctl", include_str!("../data/sysctl.yaml")),
    ("updates", include_str!("../data/updates.yaml")),
];

/// The built-in profile, in the form that a user would write.
pub const NODE_PROFILE: &str = include_str!("../data/profile/node.yaml");

/// A built-in file could not be loaded. At fault: us; the table test loads all of them.
#[derive(Debug, thiserror::Error)]
pub enum LoadCatalogueError {
    /// An id that two files give.
    #[error("the id {id} is given by two files")]
    Duplicate {
        /// The id.
        id: RuleId,
    },
    /// One file.
    #[error("failed to load the built-in rules of area {area}")]
    File {
        /// Its area.
        area: &'static str,
        /// What is wrong with it.
        source: LoadRulesError,
    },
}

/// All built-in rules in order of their ids.
///
/// # Errors
/// [`LoadCatalogueError`] if a built-in file is malformed, which the table test excludes.
pub fn rules() -> Result<Vec<Arc<Rule>>, LoadCatalogueError> {
    let mut all: Vec<Arc<Rule>> = Vec::new();
    for (area, text) in FILES {
        let rules =
            parse_rules(text).map_err(|source| LoadCatalogueError::File { area, source })?;
        all.extend(rules.into_iter().map(Arc::new));
    }
    all.sort_by(|one, other| one.id().cmp(other.id()));
    let mut pairs = all.iter().zip(all.iter().skip(1));
    match pairs.find(|(one, other)| one.id() == other.id()) {
        Some((rule, _)) => Err(LoadCatalogueError::Duplicate { id: rule.id().clone() }),
        None => Ok(all),
    }
}
