//! `because`: a list of reasons that a failure names, so that who reads it need not look them up.
//!
//! A reason is a text, or a map with `subject` and perhaps `target` and `source`, as
//! [`Reason`](palisade_report::section::reboot::Reason) is.

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Value;

/// Reasons that are named; of the rest there is a number.
const MAX_NAMED: usize = 3;

/// Bytes of one name: with all of them, the words around and the number it stays below [`MAX_TEXT`].
const MAX_NAME: usize = 72;

/// Source of the reasons that come and go with processes. They are named only where there is no
/// other, so that the words stay while the reasons for a new kernel or package do.
const FLEETING: &str = "deleted-files";

/// The reasons in `list`: `6.1.0-31 -> 6.1.0-32, libc6`; empty if there is none.
pub(crate) fn named(list: &Value) -> String {
    let reasons = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_fleeting = |reason: &&Value| text(reason, "source") == FLEETING;
    let mut lasting: Vec<&Value> = reasons.iter().filter(|it| !is_fleeting(it)).collect();
    if lasting.is_empty() {
        lasting = reasons.iter().collect();
    }
    // What is known to come first: kernels before the packages that brought them.
    lasting.sort_by_key(|reason| text(reason, "target").is_empty());
    let mut names: Vec<String> = lasting.into_iter().map(name).collect();
    names.retain(|name| !name.is_empty());
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    clean(format!("{}{more}", names.join(", ")).as_bytes(), MAX_TEXT)
}

fn name(reason: &Value) -> String {
    let subject = reason.as_str().unwrap_or_else(|| text(reason, "subject"));
    let half = |text: &str, most| clean(text.as_bytes(), most);
    match text(reason, "target") {
        "" => half(subject, MAX_NAME),
        target => format!("{} -> {}", half(subject, MAX_NAME / 2), half(target, MAX_NAME / 2)),
    }
}

fn text<'a>(reason: &'a Value, key: &str) -> &'a str {
    reason.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kernels_and_packages_are_named_and_a_few_of_them() {
        let kernel = json!({ "source": "kernel", "subject": "6.1.0-31", "target": "6.1.0-32" });
        let package = |name: &str| json!({ "source": "debian-flag", "subject": name });
        let shell = json!({ "source": "deleted-files", "subject": "/usr/bin/dash" });
        for (reasons, wanted) in [
            (json!([]), ""),
            (json!([kernel]), "6.1.0-31 -> 6.1.0-32"),
            (json!([package("libc6"), shell, kernel]), "6.1.0-31 -> 6.1.0-32, libc6"),
            (json!([shell]), "/usr/bin/dash"),
            (json!(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c and 4 more"),
            (json!("no list"), ""),
            (json!([7, {}]), ""),
        ] {
            assert_eq!(named(&reasons), wanted);
        }
    }

    #[test]
    fn hostile_reasons_stay_short_and_clean() {
        let hostile = format!("\u{1b}[31m\u{202e}{}", "x".repeat(10_000));
        let reasons: Vec<_> =
            (0..100).map(|_| json!({ "subject": hostile, "target": hostile })).collect();
        let named = named(&json!(reasons));
        assert!(named.len() <= MAX_TEXT && named.ends_with("and 97 more"), "{named}");
        assert!(!named.chars().any(char::is_control), "{named}");
    }
}
