//! Comparators: what a value must be, "at least as strict" rather than equal where that has a
//! meaning.
//!
//! Facts keep the form in which the node has them: a kernel parameter is text, a field of the
//! kubelet a JSON value. So `1`, `"1"` and `true`, `"true"` mean the same here, and only what
//! cannot be compared at all is "could not tell".

use std::cmp::Ordering;
use std::fmt::Write as _;

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Value;

use crate::body::Body;
use crate::body::MalformedBody;
use crate::duration;
use crate::pattern::Pattern;

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool(bool),
    Number(i64),
    Text(Box<str>),
}

impl Scalar {
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(it) => Some(Self::Bool(*it)),
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) if text.len() <= MAX_TEXT => Some(Self::Text(text.as_str().into())),
            Value::Array(_) | Value::Null | Value::Object(_) | Value::String(_) => None,
        }
    }

    fn is(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_text(text),
            Value::Number(number) => match self {
                Self::Number(it) => number.as_i64() == Some(*it),
                Self::Text(it) => number.as_i64().is_some_and(|n| it.parse() == Ok(n)),
                Self::Bool(_) => false,
            },
            Value::Bool(value) => match self {
                Self::Bool(it) => it == value,
                Self::Text(it) => it.parse() == Ok(*value),
                Self::Number(_) => false,
            },
            Value::Array(_) | Value::Null | Value::Object(_) => false,
        }
    }

    fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Bool(it) => text.parse() == Ok(*it),
            Self::Number(it) => text.trim().parse() == Ok(*it),
            Self::Text(it) => **it == *text,
        }
    }

    fn show(&self, out: &mut String) {
        match self {
            Self::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
            Self::Number(it) => out.push_str(&it.to_string()),
            Self::Text(it) => out.push_str(it),
        }
    }
}

/// The end of an ordered scale.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    Duration(i64, Box<str>),
    Number(i64),
}

impl Bound {
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) => match text.parse() {
                Ok(number) => Some(Self::Number(number)),
                Err(_) => duration::parse(text).map(|it| Self::Duration(it, text.as_str().into())),
            },
            Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
        }
    }

    /// How `value` stands to the bound; `None` if it is not on this scale.
    fn order(&self, value: &Value) -> Option<Ordering> {
        match self {
            Self::Number(bound) => integer(value).map(|it| it.cmp(bound)),
            Self::Duration(bound, _) => {
                let nanos = match value {
                    Value::String(text) => duration::parse(text),
                    // Go writes a zero duration as 0 in some places; no other number has a unit.
                    Value::Number(number) => number.as_i64().filter(|it| *it == 0),
                    Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
                };
                nanos.map(|it| it.cmp(bound))
            }
        }
    }

    fn show(&self, out: &mut String) {
        match self {
            Self::Duration(_, text) => out.push_str(text),
            Self::Number(number) => out.push_str(&number.to_string()),
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    AtLeast(Bound),
    AtMost(Bound),
    Contains(Vec<Scalar>),
    Excludes(Vec<Scalar>),
    HasBits(u64),
    LacksBits(u64),
    Matches(Vec<Pattern>),
    NoneOf(Vec<Scalar>),
    OneOf(Vec<Scalar>),
    SubsetOf(Vec<Scalar>),
    VersionAtLeast(Box<str>),
}

/// What must be there at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    Empty,
    NotEmpty,
    Present,
}

/// What the absence of a fact means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbsentIs {
    Fail,
    NotApplicable,
    Pass,
}

impl AbsentIs {
    /// Takes `word` from a body.
    pub(crate) fn take(body: &Body<'_>, word: &'static str) -> Result<Option<Self>, MalformedBody> {
        let choices =
            [("fail", Self::Fail), ("not-applicable", Self::NotApplicable), ("pass", Self::Pass)];
        body.choice(word, &choices, "pass, fail or not-applicable")
    }
}

/// The answer of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Fails,
    Holds,
    /// The value is not of the kind that this comparison needs, which is this.
    Mistyped(&'static str),
}

/// Comparisons that must all hold, and what absence means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compare {
    presence: Option<Presence>,
    tests: Vec<Test>,
    absent_is: Option<AbsentIs>,
    cannot_tell: Vec<Scalar>,
    expected: Box<str>,
}

impl Compare {
    /// Takes every comparator from a body.
    ///
    /// # Errors
    /// [`MalformedBody`] if there is none, or one has a value that it cannot have.
    pub(crate) fn take(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let presences = [
            ("absent", Presence::Absent),
            ("empty", Presence::Empty),
            ("not-empty", Presence::NotEmpty),
            ("present", Presence::Present),
        ];
        let presence = body.choice("is", &presences, "present, absent, empty or not-empty")?;
        let scalars =
            |word| body.list(word, "a text, a number, a boolean or a list", Scalar::parse);
        let one = |word| match scalars(word)? {
            Some(list) if list.len() == 1 => Ok(Some(list)),
            None => Ok(None),
            Some(_) => Err(MalformedBody::Value { word, expected: "one value" }),
        };
        let bound = |word| match body.take(word) {
            None => Ok(None),
            Some(value) => Bound::parse(value)
                .map(Some)
                .ok_or(MalformedBody::Value { word, expected: "a number or a duration" }),
        };
        let bits = |word| match body.take(word) {
            None => Ok(None),
            Some(value) => mask(value)
                .map(Some)
                .ok_or(MalformedBody::Value { word, expected: "a bit mask: a number or 0x…" }),
        };
        let patterns = body.list("matches", "a pattern or a list of patterns", |value| {
            value.as_str().and_then(Pattern::new)
        })?;
        let tests = [
            one("equals")?.map(Test::OneOf),
            one("not_equals")?.map(Test::NoneOf),
            bound("at_least")?.map(Test::AtLeast),
            bound("at_most")?.map(Test::AtMost),
            scalars("one_of")?.map(Test::OneOf),
            scalars("none_of")?.map(Test::NoneOf),
            scalars("contains")?.map(Test::Contains),
            scalars("excludes")?.map(Test::Excludes),
            scalars("subset_of")?.map(Test::SubsetOf),
            bits("has_bits")?.map(Test::HasBits),
            bits("lacks_bits")?.map(Test::LacksBits),
            patterns.map(Test::Matches),
            body.text("version_at_least")?.map(|text| Test::VersionAtLeast(text.into())),
        ];
        let tests: Vec<Test> = tests.into_iter().flatten().collect();
        let absent_is = AbsentIs::take(body, "absent_is")?;
        let cannot_tell = scalars("cannot_tell")?.unwrap_or_default();
        let expected = expected(presence, &tests, absent_is).into();
        Ok(Self { presence, tests, absent_is, cannot_tell, expected })
    }

    /// As [`Compare::take`], and at least one comparator must be there.
    pub(crate) fn required(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let compare = Self::take(body)?;
        if compare.is_empty() {
            return Err(MalformedBody::Missing { word: "a comparator" });
        }
        Ok(compare)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.presence.is_none() && self.tests.is_empty()
    }

    /// What would hold, in words: `at least 1`.
    pub(crate) fn expected(&self) -> &str {
        &self.expected
    }

    /// Whether the node itself says with this value that it could not tell.
    pub(crate) fn says_cannot_tell(&self, value: &Value) -> bool {
        self.cannot_tell.iter().any(|it| it.is(value))
    }

    /// What an absent fact means: what the author says; else what the comparators imply.
    pub(crate) fn absent(&self) -> AbsentIs {
        match (self.absent_is, self.presence) {
            (Some(it), _) => it,
            (None, Some(Presence::Absent)) => AbsentIs::Pass,
            (None, Some(Presence::Present | Presence::NotEmpty)) => AbsentIs::Fail,
            (None, Some(Presence::Empty) | None) => AbsentIs::NotApplicable,
        }
    }

    /// Whether an absent fact meets a condition: what is not there is not among bad values, and is
    /// no good one either.
    pub(crate) fn met_by_absence(&self) -> bool {
        let negative = |test: &Test| match test {
            Test::Excludes(_) | Test::LacksBits(_) | Test::NoneOf(_) => true,
            Test::AtLeast(_)
            | Test::AtMost(_)
            | Test::Contains(_)
            | Test::HasBits(_)
            | Test::Matches(_)
            | Test::OneOf(_)
            | Test::SubsetOf(_)
            | Test::VersionAtLeast(_) => false,
        };
        match (self.absent_is, self.presence) {
            (Some(AbsentIs::Pass), _) => true,
            (Some(AbsentIs::Fail | AbsentIs::NotApplicable), _) => false,
            (None, Some(Presence::Absent | Presence::Empty)) => true,
            (None, Some(Presence::NotEmpty | Presence::Present)) => false,
            (None, None) => self.tests.iter().all(negative),
        }
    }

    /// Holds `value` against every comparator.
    pub(crate) fn answer(&self, value: &Value) -> Answer {
        if let Some(presence) = self.presence {
            let holds = match presence {
                Presence::Absent => is_empty(value) && !value.is_array(),
                Presence::Empty => is_empty(value),
                Presence::NotEmpty => !is_empty(value),
                Presence::Present => !is_empty(value) || value.is_array(),
            };
            if !holds {
                return Answer::Fails;
            }
        }
        let mut answer = Answer::Holds;
        for test in &self.tests {
            match test.answer(value) {
                Answer::Fails => return Answer::Fails,
                Answer::Holds => {}
                Answer::Mistyped(wanted) => answer = Answer::Mistyped(wanted),
            }
        }
        answer
    }
}

impl Test {
    fn answer(&self, value: &Value) -> Answer {
        let holds = match self {
            Self::AtLeast(bound) => match bound.order(value) {
                Some(order) => order.is_ge(),
                None => return Answer::Mistyped("a number or duration"),
            },
            Self::AtMost(bound) => match bound.order(value) {
                Some(order) => order.is_le(),
                None => return Answer::Mistyped("a number or duration"),
            },
            Self::Contains(wanted) => {
                return each(value, |items| {
                    wanted.iter().all(|it| items.iter().any(|item| it.is_text(item)))
                });
            }
            Self::Excludes(unwanted) => {
                return each(value, |items| {
                    !unwanted.iter().any(|it| items.iter().any(|item| it.is_text(item)))
                });
            }
            Self::SubsetOf(allowed) => {
                return each(value, |items| {
                    items.iter().all(|item| allowed.iter().any(|it| it.is_text(item)))
                });
            }
            Self::HasBits(bits) => match mask(value) {
                Some(have) => have & bits == *bits,
                None => return Answer::Mistyped("a bit mask"),
            },
            Self::LacksBits(bits) => match mask(value) {
                Some(have) => have & bits == 0,
                None => return Answer::Mistyped("a bit mask"),
            },
            Self::Matches(patterns) => match value {
                Value::String(text) => patterns.iter().any(|it| it.matches(text)),
                Value::Array(_)
                | Value::Bool(_)
                | Value::Null
                | Value::Number(_)
                | Value::Object(_) => return Answer::Mistyped("a text"),
            },
            Self::NoneOf(list) => match value {
                Value::Array(_) | Value::Object(_) => return Answer::Mistyped("one value"),
                Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
                    !list.iter().any(|it| it.is(value))
                }
            },
            Self::OneOf(list) => match value {
                Value::Array(_) | Value::Object(_) => return Answer::Mistyped("one value"),
                Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
                    list.iter().any(|it| it.is(value))
                }
            },
            Self::VersionAtLeast(bound) => match value {
                Value::String(text) => version_order(text, bound).is_ge(),
                Value::Array(_)
                | Value::Bool(_)
                | Value::Null
                | Value::Number(_)
                | Value::Object(_) => return Answer::Mistyped("a version"),
            },
        };
        if holds { Answer::Holds } else { Answer::Fails }
    }
}

/// Holds the members of a list, the keys of a map, or the words of a text (at commas and white
/// space) against `test`.
fn each(value: &Value, test: impl Fn(&[&str]) -> bool) -> Answer {
    let mut numbers = Vec::new();
    let items: Vec<&str> = match value {
        Value::Array(list) => {
            for item in list {
                if let Value::Bool(_) | Value::Number(_) = item {
                    numbers.push(item.to_string());
                }
            }
            let texts = list.iter().filter_map(Value::as_str);
            let items: Vec<&str> = texts.chain(numbers.iter().map(String::as_str)).collect();
            if items.len() < list.len() {
                return Answer::Mistyped("a list of texts or numbers");
            }
            items
        }
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::String(text) => {
            text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).collect()
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => return Answer::Mistyped("a list"),
    };
    if test(&items) { Answer::Holds } else { Answer::Fails }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
    }
}

fn mask(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.trim().parse().ok(),
        },
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
    }
}

/// The order of two versions by their runs of digits; a leading `v` and what is not a digit only
/// separate. Enough for Kubernetes versions and kernel releases of one flavour.
fn version_order(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let head = text.split(['-', '+', '~', ' ']).next().unwrap_or_default();
        head.split(|c: char| !c.is_ascii_digit())
            .filter(|run| !run.is_empty())
            .map(|run| run.parse().unwrap_or(u64::MAX))
            .collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    let length = one.len().max(other.len());
    let padded = |list: &[u64]| -> Vec<u64> {
        list.iter().copied().chain(std::iter::repeat(0)).take(length).collect()
    };
    padded(&one).cmp(&padded(&other))
}

fn expected(presence: Option<Presence>, tests: &[Test], absent: Option<AbsentIs>) -> String {
    let mut out = String::new();
    let mut say = |words: &str, show: &dyn Fn(&mut String)| {
        if !out.is_empty() {
            out.push_str(" and ");
        }
        out.push_str(words);
        show(&mut out);
    };
    let list = |items: &[Scalar], out: &mut String| {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            item.show(out);
        }
    };
    match presence {
        Some(Presence::Absent) => say("not set", &|_| {}),
        Some(Presence::Empty) => say("empty", &|_| {}),
        Some(Presence::NotEmpty) => say("not empty", &|_| {}),
        Some(Presence::Present) => say("set", &|_| {}),
        None => {}
    }
    for test in tests {
        match test {
            Test::AtLeast(bound) => say("at least ", &|out| bound.show(out)),
            Test::AtMost(bound) => say("at most ", &|out| bound.show(out)),
            Test::Contains(items) => say("contains ", &|out| list(items, out)),
            Test::Excludes(items) => say("without ", &|out| list(items, out)),
            Test::HasBits(bits) => say("has bits ", &|out| hex(*bits, out)),
            Test::LacksBits(bits) => say("lacks bits ", &|out| hex(*bits, out)),
            Test::Matches(patterns) => say("matches ", &|out| {
                let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
                out.push_str(&texts.join(" or "));
            }),
            Test::NoneOf(items) if items.len() == 1 => say("not ", &|out| list(items, out)),
            Test::NoneOf(items) => say("none of ", &|out| list(items, out)),
            Test::OneOf(items) if items.len() == 1 => say("", &|out| list(items, out)),
            Test::OneOf(items) => say("one of ", &|out| list(items, out)),
            Test::SubsetOf(items) => say("only ", &|out| list(items, out)),
            Test::VersionAtLeast(bound) => say("version at least ", &|out| out.push_str(bound)),
        }
    }
    if !tests.is_empty() && absent == Some(AbsentIs::Pass) {
        out.push_str(", or not set");
    }
    clean(out.as_bytes(), MAX_TEXT)
}

fn hex(bits: u64, out: &mut String) {
    // Writing to a `String` cannot fail.
    write!(out, "0x{bits:x}").unwrap_or_default();
}

/// A value as a person reads it, at most 256 bytes and safe to show.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text.as_bytes(), MAX_TEXT),
        Value::Array(items) => {
            let mut out = String::new();
            for item in items {
                if out.len() > MAX_TEXT {
                    break;
                }
                if !out.is_empty() {
                    out.push_str(", ");
                }
                match item.as_str() {
                    Some(text) => out.push_str(text),
                    None => out.push_str(&item.to_string()),
                }
            }
            if items.is_empty() { "empty".to_owned() } else { clean(out.as_bytes(), MAX_TEXT) }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => value.to_string(),
        Value::Object(_) => clean(value.to_string().as_bytes(), MAX_TEXT),
    }
}

#[cfg(test)]
mod tests;
