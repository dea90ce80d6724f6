//! Values of fields: from the text of flags, and from configuration files, checked as the kubelet
//! checks them.
//!
//! Result: JSON as `KubeletConfiguration` writes it; durations stay in Go's notation.

use std::collections::BTreeMap;

use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::clean;
use palisade_report::bound::clean_text;
use serde_json::Value;

use super::config::Content;
use super::config::Tree;
use super::fields::Default;
use super::fields::Kind;

/// Most entries of a list or map that are kept.
const MAX_ITEMS: usize = 256;

/// The text or value is not what the field holds; the kubelet refuses it too. At fault: the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub(super) struct Unfit {
    /// What the field holds.
    pub(super) expected: &'static str,
}

impl Kind {
    const fn expected(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::Duration => "a duration such as 4h0m0s",
            Self::Gates => "switches by name",
            Self::Integer => "a whole number",
            Self::List => "a list of at most 256 texts",
            Self::Map { .. } => "at most 256 texts by name",
            Self::Path => "a path",
            Self::Text => "a text",
        }
    }
}

/// The value that the occurrences of a flag, in order, give a field of this kind; `None` if it
/// does not occur.
pub(super) fn of_flag<'a>(
    kind: Kind,
    occurrences: impl Iterator<Item = &'a str>,
) -> Result<Option<Value>, Unfit> {
    let unfit = Unfit { expected: kind.expected() };
    let all: Vec<&str> = occurrences.collect();
    let Some(last) = all.last() else { return Ok(None) };
    // A scalar that cannot be parsed stops the kubelet even if a later one wins.
    let value = match kind {
        Kind::Boolean => {
            let parsed: Option<Vec<bool>> = all.iter().map(|text| parse_bool(text)).collect();
            parsed.and_then(|values| values.last().copied()).map(Value::Bool)
        }
        Kind::Integer => {
            let parsed: Option<Vec<i64>> = all.iter().map(|text| parse_integer(text)).collect();
            parsed.and_then(|values| values.last().copied()).map(Value::from)
        }
        Kind::Duration => {
            let fits = all.iter().all(|text| parse_duration(text).is_some());
            fits.then(|| duration(last))
        }
        Kind::Path => Some(path(last)),
        Kind::Text => Some(clean_text(last).into()),
        Kind::List => {
            let items: Vec<&str> = all
                .iter()
                .filter(|text| !text.is_empty())
                .flat_map(|text| text.split(','))
                .collect();
            let fits = items.len() <= MAX_ITEMS && !items.iter().any(|item| item.contains('"'));
            fits.then(|| items.into_iter().map(clean_text).map(Value::String).collect())
        }
        Kind::Map { separator } => pairs(&all, separator)
            .map(|pairs| pairs.into_iter().map(|(key, text)| (key, Value::String(text))).collect()),
        Kind::Gates => pairs(&all, '=').and_then(|pairs| {
            let switch = |(key, text): (String, String)| Some((key, parse_bool(&text)?.into()));
            pairs
                .into_iter()
                .map(switch)
                .collect::<Option<serde_json::Map<_, _>>>()
                .map(Value::Object)
        }),
    };
    value.map(Some).ok_or(unfit)
}

/// The value of a field of this kind in a configuration file; `None` if it is null.
pub(super) fn of_tree(kind: Kind, tree: &Tree) -> Result<Option<Value>, Unfit> {
    let unfit = Unfit { expected: kind.expected() };
    let leaf = match &tree.content {
        Content::Object(parts) => {
            return match kind {
                Kind::Gates | Kind::Map { .. } => of_object(kind, parts).map(Some),
                Kind::Boolean
                | Kind::Duration
                | Kind::Integer
                | Kind::List
                | Kind::Path
                | Kind::Text => Err(unfit),
            };
        }
        Content::Leaf(Value::Null) => return Ok(None),
        Content::Leaf(leaf) => leaf,
    };
    let value = match (kind, leaf) {
        (Kind::Boolean, Value::Bool(_)) => Some(leaf.clone()),
        (Kind::Integer, Value::Number(number)) => number.as_i64().map(Value::from),
        (Kind::Duration, Value::String(text)) => parse_duration(text).map(|_| duration(text)),
        (Kind::Path, Value::String(text)) => Some(path(text)),
        (Kind::Text, Value::String(text)) => Some(clean_text(text).into()),
        (Kind::List, Value::Array(items)) if items.len() <= MAX_ITEMS => items
            .iter()
            .map(|item| item.as_str().map(clean_text).map(Value::String))
            .collect::<Option<Vec<_>>>()
            .map(Value::Array),
        (
            Kind::Boolean
            | Kind::Duration
            | Kind::Gates
            | Kind::Integer
            | Kind::List
            | Kind::Map { .. }
            | Kind::Path
            | Kind::Text,
            _,
        ) => None,
    };
    value.map(Some).ok_or(unfit)
}

fn of_object(kind: Kind, parts: &BTreeMap<String, Tree>) -> Result<Value, Unfit> {
    let unfit = Unfit { expected: kind.expected() };
    if parts.len() > MAX_ITEMS {
        return Err(unfit);
    }
    let mut values = serde_json::Map::new();
    for (key, part) in parts {
        let value = match &part.content {
            Content::Leaf(value @ Value::Bool(_)) if kind == Kind::Gates => value.clone(),
            Content::Leaf(Value::String(text)) if kind != Kind::Gates => clean_text(text).into(),
            Content::Leaf(Value::Null) => continue,
            Content::Leaf(_) | Content::Object(_) => return Err(unfit),
        };
        values.insert(clean_text(key), value);
    }
    Ok(Value::Object(values))
}

/// A built-in default as a value; `None` if there is none.
pub(super) fn of_default(default: Default) -> Option<Value> {
    match default {
        Default::Boolean(value) => Some(value.into()),
        Default::Integer(value) => Some(value.into()),
        Default::List(items) => Some(items.iter().copied().map(Value::from).collect()),
        Default::Map(pairs) => {
            Some(pairs.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect())
        }
        Default::Text(text) => Some(text.into()),
        Default::Unset => None,
    }
}

/// Whether a value is the zero of its type. An empty list or map is one that was given.
pub(super) fn is_zero(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Duration, Value::String(text)) => parse_duration(text) == Some(0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Number(number)) => number.as_i64() == Some(0),
        (_, Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_)) => false,
    }
}

fn pairs(all: &[&str], separator: char) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for part in all.iter().flat_map(|text| text.split(',')).filter(|part| !part.is_empty()) {
        let (key, text) = part.split_once(separator)?;
        pairs.insert(clean_text(key.trim()), clean_text(text.trim()));
    }
    (pairs.len() <= MAX_ITEMS).then_some(pairs)
}

/// A boolean as Go's `strconv.ParseBool` reads it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A number as Go's `strconv.ParseInt` reads it with base 0.
fn parse_integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if lower.len() > 1
        && let Some(octal) = lower.strip_prefix('0')
    {
        (8, octal)
    } else {
        (10, lower.as_str())
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok()?.checked_mul(sign)
}

/// A duration as Go's `time.ParseDuration` reads it, in nanoseconds: `1h30m`, `0`, `1.5s`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at_checked(end)?;
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                after.split_at_checked(end)?
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        // Below a nanosecond nothing counts, so neither does what follows the first digits.
        let mut part = scale;
        for digit in fraction.bytes() {
            part /= 10;
            total = total.checked_add(part.checked_mul(i64::from(digit.wrapping_sub(b'0')))?)?;
        }
        rest = after;
    }
    Some(if negative { total.checked_neg()? } else { total })
}

/// A path is used to find its file, so it is cut only beyond `PATH_MAX`.
fn path(text: &str) -> Value {
    clean(text.as_bytes(), MAX_LONG_TEXT).into()
}

fn duration(text: &str) -> Value {
    if parse_duration(text) == Some(0) { "0s".into() } else { clean_text(text).into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("4h0m0s", Some(4 * 3600 * second)),
            ("1.5m", Some(90 * second)),
            (".5s", Some(second / 2)),
            ("-5m", Some(-300 * second)),
            ("1h1", None),
            ("5", None),
            ("5 m", None),
            ("", None),
            ("-", None),
            ("1d", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn flags_of_every_kind_are_read_as_the_kubelet_reads_them() {
        let show = |kind, all: &[&str]| match of_flag(kind, all.iter().copied()) {
            Ok(Some(value)) => value.to_string(),
            Ok(None) => "none".to_owned(),
            Err(unfit) => unfit.to_string(),
        };
        let map = Kind::Map { separator: '<' };
        for (kind, all, expected) in [
            (Kind::Boolean, &["T", "0"][..], "false"),
            (Kind::Boolean, &["yes"], "expected a boolean"),
            (Kind::Boolean, &["yes", "true"], "expected a boolean"),
            (Kind::Boolean, &[], "none"),
            (Kind::Integer, &["10255", "0"], "0"),
            (Kind::Integer, &["0x10"], "16"),
            (Kind::Integer, &["010"], "8"),
            (Kind::Integer, &["-1"], "-1"),
            (Kind::Integer, &["--1"], "expected a whole number"),
            (Kind::Integer, &["1.5"], "expected a whole number"),
            (Kind::Duration, &["5m", "0"], "\"0s\""),
            (Kind::List, &["a,b", "c"], "[\"a\",\"b\",\"c\"]"),
            (Kind::List, &[""], "[]"),
            (map, &["memory.available<1Gi,x<2", "x<3"], r#"{"memory.available":"1Gi","x":"3"}"#),
            (map, &["memory"], "expected at most 256 texts by name"),
            (Kind::Gates, &["A=true", "B=f"], r#"{"A":true,"B":false}"#),
            (Kind::Gates, &["A"], "expected switches by name"),
        ] {
            assert_eq!(show(kind, all), expected, "{all:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_of_a_flag_is_read_or_refused(text in "\\PC{0,20}", number in "[-+0-9a-fx.]{0,9}") {
            for kind in [
                Kind::Boolean, Kind::Duration, Kind::Gates, Kind::Integer, Kind::List,
                Kind::Map { separator: '=' }, Kind::Path, Kind::Text,
            ] {
                drop(of_flag(kind, [text.as_str(), number.as_str()].into_iter()));
            }
        }
    }
}
