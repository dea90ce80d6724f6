//! Single values: durations, amounts, words.

use palisade_report::bound::clean_text;

use crate::policy::Amount;
use crate::policy::section::Problems;
use crate::policy::section::listed;
use crate::policy::section::nearest;
use crate::policy::tree::Node;
use crate::policy::tree::Tree;

/// Letters that a reason may have; it stands in every explanation.
const MAX_REASON: usize = 256;

/// The longest duration, ten years: what is longer is a slip of the unit.
const MAX_DURATION_SECS: i64 = 3_650 * 86_400;

/// What people write for durations, with its seconds.
const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// Whether a duration of nothing makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    Allowed,
    Refused,
}

/// `true` or `false`.
pub(super) fn flag(tree: &Tree, problems: &mut Problems) -> Option<bool> {
    match &tree.node {
        Node::Bool(value) => Some(*value),
        Node::Float(_)
        | Node::List(_)
        | Node::Map(_)
        | Node::Nothing
        | Node::Number(_)
        | Node::Text(_) => problems.expected(tree, "`true` or `false`"),
    }
}

/// Text of any kind.
pub(super) fn text<'t>(tree: &'t Tree, problems: &mut Problems) -> Option<&'t str> {
    match &tree.node {
        Node::Text(value) => Some(value),
        Node::Bool(_) | Node::Float(_) | Node::Number(_) => {
            let message = format!("expected text, not {}: put it in quotes", tree.described());
            problems.add(tree.place, message);
            None
        }
        Node::List(_) | Node::Map(_) | Node::Nothing => problems.expected(tree, "text"),
    }
}

/// Why something is as it is, for people.
pub(super) fn reason(tree: &Tree, problems: &mut Problems) -> Option<String> {
    if let Node::Bool(_) = tree.node {
        let message = "expected the reason in words, such as `moving to the new rack, until Friday`; \
                       remove the line if nothing is to be stopped";
        problems.add(tree.place, message);
        return None;
    }
    let reason = text(tree, problems)?;
    let letters = reason.chars().count();
    if reason.trim().is_empty() || letters > MAX_REASON {
        let message = format!("expected a reason of 1 to {MAX_REASON} letters, not {letters}");
        problems.add(tree.place, message);
        return None;
    }
    Some(clean_text(reason.trim()))
}

/// A whole number within bounds.
pub(super) fn number(least: i64, most: i64) -> impl FnOnce(&Tree, &mut Problems) -> Option<u32> {
    move |tree, problems| match &tree.node {
        Node::Number(value) if (least..=most).contains(value) => u32::try_from(*value).ok(),
        Node::Bool(_)
        | Node::Float(_)
        | Node::List(_)
        | Node::Map(_)
        | Node::Nothing
        | Node::Number(_)
        | Node::Text(_) => {
            problems.expected(tree, &format!("a whole number from {least} to {most}"))
        }
    }
}

/// A share in whole percent, without the sign.
pub(super) fn percent(least: i64, most: i64) -> impl FnOnce(&Tree, &mut Problems) -> Option<u8> {
    move |tree, problems| {
        if let Node::Text(text) = &tree.node
            && let Some(number) = text.strip_suffix('%')
            && number.parse::<u8>().is_ok()
        {
            problems.add(tree.place, format!("write `{number}`: this field is always in percent"));
            return None;
        }
        number(least, most)(tree, problems).and_then(|value| u8::try_from(value).ok())
    }
}

/// A number of nodes or a share of them.
pub(super) fn amount(tree: &Tree, problems: &mut Problems) -> Option<Amount> {
    const EXPECTED: &str = "a number of nodes such as `2`, or a share such as `10%`";
    match &tree.node {
        Node::Number(value) => match u32::try_from(*value) {
            Ok(count) => Some(Amount::Count(count)),
            Err(_) => problems.expected(tree, EXPECTED),
        },
        Node::Text(text) => {
            let Some(number) = text.strip_suffix('%') else {
                if text.parse::<u32>().is_ok() {
                    let text = clean_text(text);
                    problems.add(tree.place, format!("write `{text}` without quotes"));
                    return None;
                }
                return problems.expected(tree, EXPECTED);
            };
            match number.parse::<u8>() {
                Ok(percent) if percent <= 100 => Some(Amount::Percent(percent)),
                Ok(_) | Err(_) => problems.expected(tree, "a share of `0%` to `100%`"),
            }
        }
        Node::Bool(_) | Node::Float(_) | Node::List(_) | Node::Map(_) | Node::Nothing => {
            problems.expected(tree, EXPECTED)
        }
    }
}

/// A duration in seconds.
pub(super) fn duration(nothing: Nothing) -> impl FnOnce(&Tree, &mut Problems) -> Option<i64> {
    move |tree, problems| {
        let secs = match &tree.node {
            Node::Number(0) => 0,
            Node::Number(value) => {
                let message = format!(
                    "`{value}` has no unit: write `{value}s`, `{value}m`, `{value}h` or `{value}d`"
                );
                problems.add(tree.place, message);
                return None;
            }
            Node::Text(text) => match parse_duration(text) {
                Some(secs) => secs,
                None => {
                    return problems
                        .expected(tree, "a duration such as `90s`, `10m`, `1h30m`, `30d`");
                }
            },
            Node::Bool(_) | Node::Float(_) | Node::List(_) | Node::Map(_) | Node::Nothing => {
                return problems.expected(tree, "a duration such as `90s`, `10m`, `1h30m`, `30d`");
            }
        };
        if secs > MAX_DURATION_SECS {
            return problems.expected(tree, "at most ten years, `3650d`");
        }
        if secs == 0 && nothing == Nothing::Refused {
            return problems.expected(tree, "more than no time at all");
        }
        Some(secs)
    }
}

/// Seconds of a duration; `None` if it is none.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut number: Option<i64> = None;
    // Units come from the largest to the smallest, each once, as people say it.
    let mut last = i64::MAX;
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            let tens = number.unwrap_or_default().checked_mul(10)?;
            number = Some(tens.checked_add(i64::from(digit))?);
            continue;
        }
        let (_, secs) = UNITS.into_iter().find(|(unit, _)| *unit == letter)?;
        if secs >= last {
            return None;
        }
        last = secs;
        total = total.checked_add(number.take()?.checked_mul(secs)?)?;
    }
    (number.is_none() && !text.is_empty()).then_some(total)
}

/// One of some words.
pub(super) fn word<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl FnOnce(&Tree, &mut Problems) -> Option<T> {
    move |tree, problems| {
        let written = match &tree.node {
            Node::Text(text) => text.as_str(),
            Node::Bool(_)
            | Node::Float(_)
            | Node::List(_)
            | Node::Map(_)
            | Node::Nothing
            | Node::Number(_) => {
                let names = choices.iter().map(|(name, _)| *name);
                return problems.expected(tree, &format!("one of {}", listed(names)));
            }
        };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == written) {
            return Some(*value);
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let advice = nearest(written, names())
            .map_or_else(|| format!("one of {}", listed(names())), |meant| format!("`{meant}`"));
        problems.expected(tree, &advice)
    }
}

/// A list, each item read by the same reader, of which there may be so many.
pub(super) fn list<T>(
    most: usize,
    mut read: impl FnMut(&Tree, &mut Problems) -> Option<T>,
) -> impl FnOnce(&Tree, &mut Problems) -> Option<Vec<T>> {
    move |tree, problems| {
        let Node::List(items) = &tree.node else {
            return problems.expected(tree, "a list: begin each item with `- `");
        };
        if items.len() > most {
            let message = format!("at most {most} items, not {}", items.len());
            problems.add(tree.place, message);
            return None;
        }
        Some(items.iter().filter_map(|item| read(item, problems)).collect())
    }
}

/// A name as Kubernetes has them (a label of RFC 1123): lowercase letters, digits and inner dashes.
pub(super) fn name(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let name = text(tree, problems)?;
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let bytes = name.as_bytes();
    let is_name = name.len() <= 63
        && bytes.iter().all(|byte| is_inner(*byte))
        && is_edge(bytes.first())
        && is_edge(bytes.last());
    if !is_name {
        let what = "1 to 63 lowercase letters, digits and inner dashes";
        return problems.expected(tree, what);
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units_from_large_to_small() {
        for (text, secs) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("1h30m", Some(5_400)),
            ("30d", Some(2_592_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("m", None),
            ("30m1h", None),
            ("1h1h", None),
            ("1.5h", None),
            ("-1h", None),
            ("1 h", None),
            ("10 minutes", None),
            ("99999999999999999999d", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), secs, "{text}");
        }
    }
}
