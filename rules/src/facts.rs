//! Facts by path: how rules, queries and expressions look into a report.
//!
//! A path is `section.field.…`. Readings are looked through: `kernel.release` is the value of that
//! reading, or its absence, or why it is unknown. Keys that hold dots themselves
//! (`sysctls.keys.kernel.kptr_restrict.running`) are found by the longest key that fits. So a fact
//! that a reader adds can be asked for at once, in rules and in the API, without code here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use palisade_report::SectionName;
use palisade_report::Why;
use palisade_report::WhyKind;
use serde_json::Map;
use serde_json::Value;

/// Bytes that a path may have.
pub const MAX_PATH: usize = 256;

/// The path of a fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactPath {
    section: SectionName,
    rest: Box<str>,
}

/// The text is not the path of a fact. At fault: the author of a rule or a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedFactPath {
    /// The part before the first dot names no section.
    #[error("malformed fact path")]
    Section(#[source] palisade_report::section::UnknownSection),
    /// Longer than [`MAX_PATH`].
    #[error("malformed fact path: longer than {MAX_PATH} bytes")]
    TooLong,
}

impl FactPath {
    /// The section that it looks into.
    #[must_use]
    pub const fn section(&self) -> SectionName {
        self.section
    }
}

impl FromStr for FactPath {
    type Err = MalformedFactPath;

    fn from_str(text: &str) -> Result<Self, MalformedFactPath> {
        if text.len() > MAX_PATH {
            return Err(MalformedFactPath::TooLong);
        }
        let (section, rest) = text.split_once('.').unwrap_or((text, ""));
        let section = section.parse().map_err(MalformedFactPath::Section)?;
        Ok(Self { section, rest: rest.into() })
    }
}

impl fmt::Display for FactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section.as_str())?;
        if self.rest.is_empty() { Ok(()) } else { write!(f, ".{}", self.rest) }
    }
}

/// The facts of one report, or of as many sections as a rule needs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    sections: BTreeMap<SectionName, Arc<Value>>,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    /// A value; where it was read, if it is a reading (else empty).
    Known(&'a Value, &'a str),
    /// Proven absent; where it would be.
    Absent(&'a str),
    /// Could not be told, and why.
    Unknown(FoundWhy<'a>),
}

/// Why a fact is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FoundWhy<'a> {
    /// The node says why: a [`Why`] in JSON.
    Said(&'a Value),
    /// The report has no such section.
    NoSection(SectionName),
    /// The section has no such fact: an older agent, or one without this interest.
    NoFact,
}

impl FoundWhy<'_> {
    /// The reason in the report's own type.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Self::Said(value) => serde_json::from_value((*value).clone())
                .unwrap_or_else(|_| Why::new(WhyKind::Other, value.to_string())),
            Self::NoSection(name) => {
                Why::new(WhyKind::MissingSource, format!("the report has no section {name}"))
            }
            Self::NoFact => Why::new(WhyKind::MissingSource, "the report does not hold this fact"),
        }
    }
}

impl Facts {
    /// Adds a section's parsed canonical bytes.
    pub fn insert(&mut self, name: SectionName, section: Arc<Value>) {
        self.sections.insert(name, section);
    }

    /// The raw JSON of a section.
    #[must_use]
    pub fn section(&self, name: SectionName) -> Option<&Value> {
        self.sections.get(&name).map(AsRef::as_ref)
    }

    /// What is at `path`.
    #[must_use]
    pub fn at(&self, path: &FactPath) -> Found<'_> {
        let Some(section) = self.sections.get(&path.section) else {
            return Found::Unknown(FoundWhy::NoSection(path.section));
        };
        walk(section, &path.rest, "")
    }
}

/// What a value that may be a reading says.
pub(crate) fn look_through(value: &Value) -> Found<'_> {
    walk(value, "", "")
}

fn walk<'a>(value: &'a Value, rest: &str, origin: &'a str) -> Found<'a> {
    if let Value::Object(map) = value
        && let Some(Value::String(state)) = map.get("state")
    {
        let here = map.get("origin").and_then(Value::as_str).unwrap_or(origin);
        match state.as_str() {
            "unknown" => {
                return Found::Unknown(map.get("why").map_or(FoundWhy::NoFact, FoundWhy::Said));
            }
            "absent" => return Found::Absent(here),
            // A reading: look through it. A section has its facts beside its state.
            "known" if map.contains_key("value") => {
                return map
                    .get("value")
                    .map_or(Found::Unknown(FoundWhy::NoFact), |value| walk(value, rest, here));
            }
            _ => {}
        }
    }
    if rest.is_empty() {
        return Found::Known(value, origin);
    }
    match value {
        Value::Object(map) => match longest_key(map, rest) {
            Some((next, rest)) => walk(next, rest, origin),
            None => Found::Unknown(FoundWhy::NoFact),
        },
        Value::Array(items) => {
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            match index.parse::<usize>().ok().and_then(|index| items.get(index)) {
                Some(next) => walk(next, rest, origin),
                None => Found::Unknown(FoundWhy::NoFact),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Found::Unknown(FoundWhy::NoFact)
        }
    }
}

/// The value of the longest key that is a prefix of `rest` up to a dot or its end, and what
/// remains after it.
fn longest_key<'a, 'r>(map: &'a Map<String, Value>, rest: &'r str) -> Option<(&'a Value, &'r str)> {
    let mut end = rest.len();
    loop {
        let (key, after) = rest.split_at_checked(end)?;
        if let Some(value) = map.get(key) {
            return Some((value, after.strip_prefix('.').unwrap_or(after)));
        }
        end = key.rfind('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> Facts {
        let mut facts = Facts::default();
        facts.insert(
            SectionName::Sysctls,
            Arc::new(json!({"state":"known","keys":{
                "kernel.kptr_restrict":{
                    "running":{"state":"known","value":"1","origin":"/proc/sys/kernel/kptr_restrict"},
                    "next_boot":{"state":"absent","origin":"no file sets it"}},
                "kernel.x":{"running":{"state":"unknown","why":{"kind":"io","detail":"EIO"},"origin":"/p"}}}})),
        );
        facts.insert(
            SectionName::Files,
            Arc::new(json!({"state":"unknown","why":{"kind":"crashed","detail":"panicked"}})),
        );
        facts
    }

    #[test]
    fn readings_are_looked_through_and_keys_may_hold_dots() {
        let facts = facts();
        let at = |path: &str| match facts.at(&path.parse().unwrap()) {
            Found::Known(value, origin) => format!("{value} from {origin}"),
            Found::Absent(origin) => format!("absent: {origin}"),
            Found::Unknown(why) => format!("unknown: {}", why.why()),
        };
        assert_eq!(
            at("sysctls.keys.kernel.kptr_restrict.running"),
            "\"1\" from /proc/sys/kernel/kptr_restrict"
        );
        assert_eq!(at("sysctls.keys.kernel.kptr_restrict.next_boot"), "absent: no file sets it");
        assert_eq!(at("sysctls.keys.kernel.x.running"), "unknown: EIO");
        assert_eq!(at("files.paths./etc/passwd.mode"), "unknown: panicked");
        assert_eq!(at("kernel.release"), "unknown: the report has no section kernel");
        assert_eq!(at("sysctls.keys.no.such"), "unknown: the report does not hold this fact");
    }
}
