//! Durations as Kubernetes writes them: `4h0m0s`, `1m30s`, `500ms`.

/// Units of Go's `time.ParseDuration`, in nanoseconds; longer names come before their prefixes.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// Nanoseconds of a duration in the grammar of Go's `time.ParseDuration`; `None` if it is none, or
/// does not fit 64 bits (292 years).
///
/// Shape: an optional sign, then one or more decimal numbers, each with a unit; or `0` alone.
/// Digits below a nanosecond are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*nanos)?)?;
        let mut scale = *nanos;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(i64::from(digit - b'0').checked_mul(scale)?)?;
        }
        rest = after.strip_prefix(unit)?;
    }
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        const S: i64 = 1_000_000_000;
        for (text, nanos) in [
            ("4h0m0s", Some(4 * 3600 * S)),
            ("1m30s", Some(90 * S)),
            ("1.5h", Some(5400 * S)),
            (".5s", Some(S / 2)),
            ("500ms", Some(S / 2)),
            ("10us", Some(10_000)),
            ("-1s", Some(-S)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("h", None),
            (".h", None),
            ("1..5h", None),
            ("1d", None),
            ("1h ", None),
            ("99999999999h", None),
            ("-", None),
        ] {
            assert_eq!(parse(text), nanos, "{text}");
        }
    }
}
