//! Values of kured's flags, in the forms that Go and Kubernetes give them.

use std::collections::BTreeSet;

use crate::policy::Operator;
use crate::policy::Requirement;
use crate::window::Clock;
use crate::window::Weekday;

/// Seconds of a Go duration such as `1h30m` or `500ms`, rounded up; `None` if it is none.
pub(super) fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 6] = [
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
    ];
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut nanos: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let (unit, length) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(*length)?)?;
        let mut scale = *length;
        for digit in fraction.chars() {
            scale /= 10;
            nanos = nanos.checked_add(i64::from(digit.to_digit(10)?).checked_mul(scale)?)?;
        }
        rest = after.strip_prefix(unit)?;
    }
    let secs = nanos / 1_000_000_000;
    (!text.is_empty()).then(|| if nanos % 1_000_000_000 == 0 { secs } else { secs + 1 })
}

/// A time of day in any of kured's forms: `22:00`, `22:00:30`, `10:00pm`, `22`, `10pm`.
pub(super) fn clock(text: &str) -> Option<Clock> {
    let lower = text.to_ascii_lowercase();
    let (bare, noon) = match (lower.strip_suffix("pm"), lower.strip_suffix("am")) {
        (Some(bare), _) => (bare, Some(12)),
        (None, Some(bare)) => (bare, Some(0)),
        (None, None) => (lower.as_str(), None),
    };
    let mut parts = Vec::new();
    for part in bare.split(':') {
        if part.is_empty() || part.len() > 2 {
            return None;
        }
        parts.push(part.parse::<u32>().ok()?);
    }
    let (hour, minute, second) = match *parts.as_slice() {
        [hour] => (hour, 0, 0),
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let hour = match noon {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(noon) => hour % 12 + noon,
        None => hour,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Clock::from_secs(hour * 3_600 + minute * 60 + second)
}

/// A day: a number from 0, Sunday, to 6, or an English name or its first two or three letters.
pub(super) fn day(text: &str) -> Option<Weekday> {
    match text.trim() {
        "0" => Some(Weekday::Sun),
        "1" => Some(Weekday::Mon),
        "2" => Some(Weekday::Tue),
        "3" => Some(Weekday::Wed),
        "4" => Some(Weekday::Thu),
        "5" => Some(Weekday::Fri),
        "6" => Some(Weekday::Sat),
        name => Weekday::named(name),
    }
}

/// The conditions of a selector in text: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.
///
/// Source: label selectors as the Kubernetes API takes them in queries.
pub(super) fn selector(text: &str) -> Option<Vec<Requirement>> {
    let mut requirements = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        // A comma within brackets belongs to the list of values.
        let mut depth: u32 = 0;
        let end = rest.find(|letter| {
            match letter {
                '(' => depth = depth.saturating_add(1),
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && depth == 0
        });
        let (one, after) = match end {
            Some(end) => (rest.get(..end)?, rest.get(end.checked_add(1)?..)?),
            None => (rest, ""),
        };
        requirements.push(requirement(one.trim())?);
        rest = after.trim();
    }
    (!requirements.is_empty()).then_some(requirements)
}

fn requirement(text: &str) -> Option<Requirement> {
    let of = |key: &str, operator, values: BTreeSet<String>| {
        let key = key.trim();
        let is_key = !key.is_empty() && !key.contains([' ', '(', ')', '=', '!', '<', '>']);
        is_key.then(|| Requirement { key: key.to_owned(), operator, values })
    };
    if let Some(inner) = text.strip_suffix(')') {
        let (head, values) = inner.split_once('(')?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let head = head.trim();
        return match head.strip_suffix(" notin") {
            Some(key) => of(key, Operator::NotIn, values),
            None => of(head.strip_suffix(" in")?, Operator::In, values),
        };
    }
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    if let Some((key, value)) = text.split_once("!=") {
        return of(key, Operator::NotIn, one(value));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, Operator::In, one(value));
    }
    match text.strip_prefix('!') {
        Some(key) => of(key, Operator::DoesNotExist, BTreeSet::new()),
        None => of(text, Operator::Exists, BTreeSet::new()),
    }
}

/// What holds exactly where the condition does not.
pub(super) fn negated(requirement: &Requirement) -> Requirement {
    let operator = match requirement.operator {
        Operator::DoesNotExist => Operator::Exists,
        Operator::Exists => Operator::DoesNotExist,
        Operator::In => Operator::NotIn,
        Operator::NotIn => Operator::In,
    };
    Requirement { key: requirement.key.clone(), operator, values: requirement.values.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_kured_reads_them() {
        for (text, secs) in [
            ("1h30m0s", Some(5_400)),
            ("90s", Some(90)),
            ("500ms", Some(1)),
            ("1.5h", Some(5_400)),
            ("0", Some(0)),
            ("", None),
            ("10", None),
            ("10d", None),
        ] {
            assert_eq!(duration(text), secs, "{text}");
        }
        for (text, shown) in [
            ("0:00", Some("00:00")),
            ("22:30", Some("22:30")),
            ("23:59:59", Some("23:59:59")),
            ("9pm", Some("21:00")),
            ("12:15am", Some("00:15")),
            ("12pm", Some("12:00")),
            ("7", Some("07:00")),
            ("24:00", None),
            ("13pm", None),
            ("noon", None),
        ] {
            assert_eq!(clock(text).map(|it| it.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn selectors_in_text_are_read_and_negated() {
        let shown = |text: &str| {
            selector(text).map(|all| {
                let words = |it: &Requirement| {
                    let values: Vec<&str> = it.values.iter().map(String::as_str).collect();
                    format!("{} {:?} {}", it.key, it.operator, values.join("|"))
                };
                all.iter().map(words).collect::<Vec<_>>().join("; ")
            })
        };
        for (text, expected) in [
            ("app=db", Some("app In db")),
            ("app == db, tier!=web", Some("app In db; tier NotIn web")),
            (
                "e in (x, y),f notin (z),g,!h",
                Some("e In x|y; f NotIn z; g Exists ; h DoesNotExist "),
            ),
            ("", None),
            ("a b", None),
            ("a in x", None),
            ("=b", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
        let requirement = selector("a in (x)").unwrap().remove(0);
        assert_eq!(negated(&requirement).operator, Operator::NotIn);
        assert_eq!(negated(&negated(&requirement)), requirement);
    }
}
