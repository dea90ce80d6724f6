//! A map of words that a person wrote, taken word by word; what nobody takes is a mistake.
//!
//! The kinds of `expect` share comparators, so that their words are read here by name instead of
//! by one derived type for each kind. That also lets a profile lay its own values over a rule's
//! before they are read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use palisade_report::bound::clean_text;
use serde_json::Map;
use serde_json::Value;

use crate::facts::MalformedFactPath;

/// Entries that one list in a rule, profile or waiver may have.
pub(crate) const MAX_ITEMS: usize = 256;

/// What is wrong with a map of words. At fault: the author of the rule, profile or waiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBody {
    /// A word that must be there is not.
    #[error("`{word}` is missing")]
    Missing {
        /// The word.
        word: &'static str,
    },
    /// A path that names no fact.
    #[error("`{path}` is not the path of a fact")]
    Path {
        /// The path as written.
        path: String,
        /// What is wrong with it.
        source: MalformedFactPath,
    },
    /// A word that has no meaning here.
    #[error("`{word}` is not a word of this kind")]
    Unknown {
        /// The word as written.
        word: String,
    },
    /// A word with a value that it cannot have.
    #[error("`{word}`: expected {expected}")]
    Value {
        /// The word.
        word: &'static str,
        /// What would be right.
        expected: &'static str,
    },
}

/// The words of one map. `null` counts as not written.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    map: &'a Map<String, Value>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Body<'a> {
    pub(crate) const fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, taken: RefCell::new(BTreeSet::new()) }
    }

    pub(crate) fn take(&self, word: &'static str) -> Option<&'a Value> {
        self.taken.borrow_mut().insert(word);
        self.map.get(word).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, word: &'static str) -> Result<Option<&'a str>, MalformedBody> {
        let Some(value) = self.take(word) else { return Ok(None) };
        match value.as_str() {
            Some(text) if !text.is_empty() && text.len() <= 256 => Ok(Some(text)),
            Some(_) | None => {
                Err(MalformedBody::Value { word, expected: "1 to 256 bytes of text" })
            }
        }
    }

    pub(crate) fn required(&self, word: &'static str) -> Result<&'a str, MalformedBody> {
        self.text(word)?.ok_or(MalformedBody::Missing { word })
    }

    /// A number, zero or more.
    pub(crate) fn number(&self, word: &'static str) -> Result<Option<u32>, MalformedBody> {
        let Some(value) = self.take(word) else { return Ok(None) };
        value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or(MalformedBody::Value { word, expected: "a number, zero or more" })
    }

    /// A nested map.
    pub(crate) fn map(
        &self,
        word: &'static str,
    ) -> Result<Option<&'a Map<String, Value>>, MalformedBody> {
        let Some(value) = self.take(word) else { return Ok(None) };
        value.as_object().map(Some).ok_or(MalformedBody::Value { word, expected: "a map" })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        word: &'static str,
        choices: &[(&str, T)],
        expected: &'static str,
    ) -> Result<Option<T>, MalformedBody> {
        let Some(value) = self.take(word) else { return Ok(None) };
        let text = value.as_str().unwrap_or_default();
        choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, choice)| Some(*choice))
            .ok_or(MalformedBody::Value { word, expected })
    }

    /// A list, or one value that stands for a list of one; not empty, at most [`MAX_ITEMS`].
    pub(crate) fn list<T>(
        &self,
        word: &'static str,
        expected: &'static str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, MalformedBody> {
        let Some(value) = self.take(word) else { return Ok(None) };
        let items = match value {
            Value::Array(items) => items.as_slice(),
            Value::Bool(_)
            | Value::Null
            | Value::Number(_)
            | Value::Object(_)
            | Value::String(_) => std::slice::from_ref(value),
        };
        let parsed = items.iter().map(parse).collect::<Option<Vec<T>>>();
        match parsed {
            Some(parsed) if !parsed.is_empty() && parsed.len() <= MAX_ITEMS => Ok(Some(parsed)),
            Some(_) | None => Err(MalformedBody::Value { word, expected }),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, word: &'static str) -> Result<Vec<Box<str>>, MalformedBody> {
        let parse = |value: &Value| {
            value.as_str().filter(|text| !text.is_empty() && text.len() <= 256).map(Into::into)
        };
        Ok(self.list(word, "a list of texts", parse)?.unwrap_or_default())
    }

    /// Demands that every word was taken.
    pub(crate) fn finish(self) -> Result<(), MalformedBody> {
        let taken = self.taken.into_inner();
        match self.map.keys().find(|word| !taken.contains(word.as_str())) {
            Some(word) => Err(MalformedBody::Unknown { word: clean_text(word) }),
            None => Ok(()),
        }
    }
}

/// Parses the path of a fact, and says which one is wrong.
pub(crate) fn path(text: &str) -> Result<crate::FactPath, MalformedBody> {
    text.parse().map_err(|source| MalformedBody::Path { path: clean_text(text), source })
}
