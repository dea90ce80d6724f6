//! Groups: rules that read the same sections, judged together and stored once for those sections.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::SectionName;

use crate::rule::Rule;

/// Rules that read the same set of sections, in order of their ids.
#[derive(Clone, Debug)]
pub struct Group {
    sections: BTreeSet<SectionName>,
    rules: Vec<Arc<Rule>>,
}

impl Group {
    /// The sections that its rules read: its verdicts depend on nothing else but waivers and time.
    #[must_use]
    pub const fn sections(&self) -> &BTreeSet<SectionName> {
        &self.sections
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

/// Sorts rules into groups, the groups in order of their sections.
pub(crate) fn groups(rules: &[Arc<Rule>]) -> Vec<Group> {
    let mut by_sections: BTreeMap<&BTreeSet<SectionName>, Vec<Arc<Rule>>> = BTreeMap::new();
    for rule in rules {
        by_sections.entry(rule.sections()).or_default().push(Arc::clone(rule));
    }
    by_sections
        .into_iter()
        .map(|(sections, rules)| Group { sections: sections.clone(), rules })
        .collect()
}
