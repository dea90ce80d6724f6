//! Fields of a policy, taken one by one; what is left over is unknown.
//!
//! Reading goes on after a problem, so that one look at the answer is enough to mend them all.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::policy::tree::Field;
use crate::policy::tree::Node;
use crate::policy::tree::Place;
use crate::policy::tree::Tree;

/// Problems that are told at once; a text that is no policy at all would else be listed in full.
const MAX_PROBLEMS: usize = 20;

/// Letters by which a mistyped word may differ from the one that was meant.
const MAX_SLIPS: usize = 2;

/// Something wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// What is wrong so far, and which fields there are.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    /// Fields by the name of their section: what a schema must know.
    pub(super) known: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Problems {
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        let Place { line, column } = place;
        self.found.push(Problem { line, column, message: message.into() });
    }

    /// That something else was expected; nothing can be read from it.
    pub(super) fn expected<T>(&mut self, tree: &Tree, what: &str) -> Option<T> {
        self.add(tree.place, format!("expected {what}, not {}", tree.described()));
        None
    }

    /// All of them in the order of the text.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found;
        found.sort();
        found.dedup();
        found.truncate(MAX_PROBLEMS);
        found
    }
}

/// The fields of one part of a policy.
#[derive(Debug)]
pub(super) struct Section<'t, 'p> {
    name: &'static str,
    pub(super) place: Place,
    fields: &'t [Field],
    asked: BTreeSet<&'static str>,
    pub(super) problems: &'p mut Problems,
}

impl<'t, 'p> Section<'t, 'p> {
    /// The fields of `tree`; `name` is what the part is called in problems.
    pub(super) fn open(
        tree: &'t Tree,
        name: &'static str,
        problems: &'p mut Problems,
    ) -> Option<Self> {
        let Node::Map(fields) = &tree.node else {
            return problems.expected(tree, &format!("the fields of {name}"));
        };
        let (asked, place) = (BTreeSet::new(), tree.place);
        Some(Self { name, place, fields, asked, problems })
    }

    /// The value of a field, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'t Tree> {
        self.asked.insert(name);
        let value = self.fields.iter().find(|field| field.name == name).map(|field| &field.value);
        value.filter(|value| {
            let is_empty = matches!(value.node, Node::Nothing);
            if is_empty {
                let message = format!("`{name}` has no value: give it one, or remove the line");
                self.problems.add(value.place, message);
            }
            !is_empty
        })
    }

    /// Whether a field is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// Reads a field that need not be there into `into`.
    pub(super) fn set<T>(
        &mut self,
        name: &'static str,
        into: &mut T,
        read: impl FnOnce(&Tree, &mut Problems) -> Option<T>,
    ) {
        if let Some(value) = self.take(name)
            && let Some(value) = read(value, self.problems)
        {
            *into = value;
        }
    }

    /// The same where absence means something of its own.
    pub(super) fn set_some<T>(
        &mut self,
        name: &'static str,
        into: &mut Option<T>,
        read: impl FnOnce(&Tree, &mut Problems) -> Option<T>,
    ) {
        if let Some(value) = self.take(name)
            && let Some(value) = read(value, self.problems)
        {
            *into = Some(value);
        }
    }

    /// Reads a field that must be there; `example` is how it may look.
    pub(super) fn need<T>(
        &mut self,
        name: &'static str,
        example: &str,
        read: impl FnOnce(&Tree, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.asked.insert(name);
            let message = format!("{} lacks `{name}`: add `{name}: {example}`", self.name);
            self.problems.add(self.place, message);
            return None;
        }
        let value = self.take(name)?;
        read(value, self.problems)
    }

    /// Notes that a field without meaning is written here on purpose, with what to do about it.
    pub(super) fn refuse(&mut self, name: &'static str, why: &str) {
        if let Some(field) = self.fields.iter().find(|field| field.name == name) {
            self.problems.add(field.place, why);
        }
    }

    /// Every field must have been asked for by now, except those that were refused.
    pub(super) fn close(self, refused: &[&str]) {
        let Self { name, place: _, fields, asked, problems } = self;
        for field in fields {
            if asked.contains(field.name.as_str()) || refused.contains(&field.name.as_str()) {
                continue;
            }
            let written = palisade_report::bound::clean_text(&field.name);
            let advice = nearest(&field.name, asked.iter().copied()).map_or_else(
                || format!("expected one of {}", listed(asked.iter().copied())),
                |meant| format!("write `{meant}`"),
            );
            let message = format!("{name} has no field `{written}`: {advice}");
            problems.add(field.place, message);
        }
        problems.known.entry(name).or_default().extend(asked);
    }
}

/// Words as a person reads them: `a`, `b`.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The word that was meant, if one is near enough: other case, other joints, or a slip.
pub(super) fn nearest<'a>(written: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |word: &str| -> String {
        word.chars()
            .filter(|letter| letter.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .take(64)
            .collect()
    };
    let written = bare(written);
    let slips = |word: &'a str| (distance(&written, &bare(word)), word);
    let (slips, word) = words.map(slips).min()?;
    // A short word is near to every other short word.
    (slips <= MAX_SLIPS && slips.saturating_mul(2) < word.len()).then_some(word)
}

/// Letters to insert, remove or replace, or neighbours to swap, that make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (line, letter) in from.chars().enumerate() {
        let mut next = vec![line.saturating_add(1)];
        for (column, other) in to.iter().enumerate() {
            let value = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX);
            let replaced = value(&row, column).saturating_add(usize::from(letter != *other));
            let removed = value(&row, column.saturating_add(1)).saturating_add(1);
            let inserted = value(&next, column).saturating_add(1);
            let before = column.checked_sub(1);
            let is_swapped = previous == Some(*other)
                && before.and_then(|before| to.get(before)) == Some(&letter);
            let swapped = before
                .filter(|_| is_swapped)
                .map_or(usize::MAX, |before| value(&above, before).saturating_add(1));
            next.push(replaced.min(removed).min(inserted).min(swapped));
        }
        previous = Some(letter);
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let words = ["maxUnavailable", "mode", "drain", "window", "mustBy"];
        for (written, meant) in [
            ("max_unavailable", Some("maxUnavailable")),
            ("max-unavailible", Some("maxUnavailable")),
            ("maxUnavialable", Some("maxUnavailable")),
            ("Mode", Some("mode")),
            ("mdoe", Some("mode")),
            ("windows", Some("window")),
            ("must_by", Some("mustBy")),
            ("x", None),
            ("deadline", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words.into_iter()), meant, "{written}");
        }
    }
}
