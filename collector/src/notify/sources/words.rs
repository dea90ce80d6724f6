//! What fills the words of alerts: bounded, safe to show, and shared where it is equal.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_alert::sighting::Values;
use palisade_report::bound::clean;

/// Bytes of a value: a paragraph of a rule fits.
pub(super) const MAX_VALUE: usize = 1024;

/// Sets of values that are kept to be shared: what a fleet shares are kernels and rules, some hundreds.
const MAX_SHARED: usize = 4096;

/// Sets of values that several alerts have.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeSet<Values>);

impl Shared {
    /// These values; equal ones are the same in memory.
    pub(super) fn of<const N: usize>(&mut self, values: [(&str, &str); N]) -> Values {
        let safe = |(name, text): (&str, &str)| {
            // Paragraphs of rules have line breaks, which are no attack.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            (name.to_owned(), clean(text.as_bytes(), MAX_VALUE))
        };
        self.keep(values.into_iter().map(safe).collect())
    }

    /// These values, and short ones of our own beside them.
    pub(super) fn with<const N: usize>(
        &mut self,
        values: &Values,
        more: [(&str, &str); N],
    ) -> Values {
        let mut values = BTreeMap::clone(values);
        values.extend(more.map(|(name, text)| (name.to_owned(), text.to_owned())));
        self.keep(values)
    }

    fn keep(&mut self, values: BTreeMap<String, String>) -> Values {
        let values = Arc::new(values);
        if let Some(known) = self.0.get(&values) {
            return Arc::clone(known);
        }
        if self.0.len() >= MAX_SHARED {
            self.0.clear();
        }
        self.0.insert(Arc::clone(&values));
        values
    }
}

/// The first of these, and how many there are beside them.
pub(super) fn some(names: impl IntoIterator<Item = String>, max: usize) -> String {
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(max).collect::<Vec<_>>().join(", ");
    let more = names.count();
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
