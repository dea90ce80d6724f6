//! `parameter`: words of the running kernel's command line, see kernel-parameters of the kernel.
//!
//! `-` and `_` are equal in names, the last occurrence of a name wins, and what follows `--` is
//! for init.

use std::collections::BTreeMap;

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Map;
use serde_json::Value;

use super::Looked;
use super::Outcome;
use super::Scene;
use super::Source;
use crate::body::Body;
use crate::body::MAX_ITEMS;
use crate::body::MalformedBody;
use crate::facts::FactPath;

/// Words that must or must not be on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    source: Source,
    absent: Vec<Box<str>>,
    absent_values: BTreeMap<Box<str>, Vec<Box<str>>>,
    present: Vec<Box<str>>,
    present_values: BTreeMap<Box<str>, Vec<Box<str>>>,
    expected: Box<str>,
}

impl Parameter {
    /// Words: `absent` and `present` (lists of names, or of `name=value`), `absent_values` and
    /// `present_values` (from a name to the values that it must not, or must, have).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let absent = body.texts("absent")?;
        let present = body.texts("present")?;
        let absent_values = values("absent_values", body.map("absent_values")?)?;
        let present_values = values("present_values", body.map("present_values")?)?;
        let mut expected = Vec::new();
        if !absent.is_empty() {
            expected.push(format!("without {}", absent.join(", ")));
        }
        if !absent_values.is_empty() {
            expected.push(format!("without {}", pairs(&absent_values)));
        }
        if !present.is_empty() {
            expected.push(format!("with {}", present.join(", ")));
        }
        if !present_values.is_empty() {
            expected.push(format!("with {}", pairs(&present_values)));
        }
        if expected.is_empty() {
            return Err(MalformedBody::Missing { word: "absent" });
        }
        Ok(Self {
            source: Source::parse("kernel.parameters")?,
            absent,
            absent_values,
            present,
            present_values,
            expected: clean(expected.join(", ").as_bytes(), MAX_TEXT).into(),
        })
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        vec![self.source.path().clone()]
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        let fact = self.source.shown();
        let outcome = match self.source.look(scene.facts) {
            Looked::Known(Value::Array(words), origin) => {
                let offences = self.offences(words);
                let observed = if offences.is_empty() {
                    "none of the unwanted words, all of the wanted ones".to_owned()
                } else {
                    clean(offences.join(", ").as_bytes(), MAX_TEXT)
                };
                Outcome::seen(offences.is_empty(), fact, observed, origin, &self.expected)
            }
            Looked::Known(..) => Outcome::unknown(fact, "expected a list of words", &self.expected),
            Looked::Absent(origin) | Looked::NoKubelet(origin) => {
                Outcome::not_applicable(fact, "this kernel has no command line", origin)
            }
            Looked::Unknown(why) => Outcome::unknown_because(fact, why, &self.expected),
        };
        out.push(outcome);
    }

    /// What is on the command line and must not be, or the other way round.
    fn offences(&self, words: &[Value]) -> Vec<String> {
        let words: Vec<&str> =
            words.iter().filter_map(Value::as_str).take_while(|word| *word != "--").collect();
        let mut offences = Vec::new();
        for unwanted in &self.absent {
            offences.extend(last(&words, unwanted).map(str::to_owned));
        }
        for (name, unwanted) in &self.absent_values {
            let Some(word) = last(&words, name) else { continue };
            if unwanted.iter().any(|value| has_value(word, value)) {
                offences.push(word.to_owned());
            }
        }
        for wanted in &self.present {
            if last(&words, wanted).is_none() {
                offences.push(format!("no {wanted}"));
            }
        }
        for (name, wanted) in &self.present_values {
            match last(&words, name) {
                Some(word) if wanted.iter().any(|value| has_value(word, value)) => {}
                Some(word) => offences.push(word.to_owned()),
                None => offences.push(format!("no {name}")),
            }
        }
        offences
    }
}

/// The last word with this name; a wanted `name=value` must also be that word's value.
fn last<'a>(words: &[&'a str], wanted: &str) -> Option<&'a str> {
    let (name, value) = match wanted.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (wanted, None),
    };
    let is_name = |word: &&&str| same_name(word.split('=').next().unwrap_or_default(), name);
    let word = words.iter().rev().find(is_name)?;
    value.is_none_or(|value| has_value(word, value)).then_some(word)
}

/// Whether the word's value, or one of its parts between commas, is this.
fn has_value(word: &str, value: &str) -> bool {
    let Some((_, have)) = word.split_once('=') else { return false };
    have == value || have.split(',').any(|part| part == value)
}

fn same_name(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(a, b)| {
            let fold = |byte| if byte == b'-' { b'_' } else { byte };
            fold(a) == fold(b)
        })
}

fn values(
    word: &'static str,
    map: Option<&Map<String, Value>>,
) -> Result<BTreeMap<Box<str>, Vec<Box<str>>>, MalformedBody> {
    let malformed = MalformedBody::Value { word, expected: "a map from names to lists of values" };
    let Some(map) = map else { return Ok(BTreeMap::new()) };
    if map.len() > MAX_ITEMS {
        return Err(malformed);
    }
    let mut all = BTreeMap::new();
    for (name, list) in map {
        let Some(items) = list.as_array() else { return Err(malformed) };
        let parsed: Option<Vec<Box<str>>> = items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some(text.as_str().into()),
                Value::Number(number) => Some(number.to_string().into()),
                Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
            })
            .collect();
        match parsed {
            Some(parsed) if !parsed.is_empty() && parsed.len() <= MAX_ITEMS => {
                all.insert(name.as_str().into(), parsed);
            }
            Some(_) | None => return Err(malformed),
        }
    }
    Ok(all)
}

fn pairs(values: &BTreeMap<Box<str>, Vec<Box<str>>>) -> String {
    let mut all = Vec::new();
    for (name, values) in values {
        all.push(format!("{name}={}", values.join("|")));
    }
    all.join(", ")
}
