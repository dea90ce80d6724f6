//! Moments and durations as people read them.

use palisade_report::Moment;

/// `2026-11-23 02:10 UTC`.
pub(super) fn clock(moment: Moment) -> String {
    let text = moment.to_string();
    match text.split_once('T') {
        Some((date, time)) => format!("{date} {} UTC", time.get(..5).unwrap_or(time)),
        None => text,
    }
}

/// `40 s`, `5 min`, `26 h`, `3 d`: one unit, rounded down.
pub(super) fn span(secs: i64) -> String {
    match secs.max(0) {
        secs @ ..120 => format!("{secs} s"),
        secs @ ..7_200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} d", thousands(usize::try_from(secs / 86_400).unwrap_or(usize::MAX))),
    }
}

/// `4,988`.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 alert`, `4,988 alerts`: `noun` takes an s.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_as_people_write_them() {
        assert_eq!(clock(Moment::from_unix(1_795_399_800)), "2026-11-23 02:10 UTC");
        assert_eq!(
            [-5, 119, 120, 7_199, 7_200, 172_799, 172_800, 3 * 86_400].map(span),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "3 d"]
        );
        assert_eq!(
            [0, 999, 4_988, 100_000, 1_000_000].map(thousands),
            ["0", "999", "4,988", "100,000", "1,000,000"]
        );
        assert_eq!((&*count(1, "node"), &*count(2, "node")), ("1 node", "2 nodes"));
        // A moment beyond all calendars is shown somehow, and does not panic.
        assert!(!clock(Moment::from_unix(i64::MAX / 4)).is_empty());
    }
}
