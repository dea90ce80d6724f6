//! Moments inside certificates, read leniently: odd dates are still served.

use palisade_report::Moment;

use super::der::Element;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const DAY_SECS: i64 = 86_400;

/// The moment of a UTCTime or GeneralizedTime; nothing if there is no such date.
///
/// Beyond RFC 5280 4.1.2.5: missing seconds, fractions (cut off), offsets, and a missing `Z`
/// (taken as UTC). UTCTime has years 1950 to 2049; GeneralizedTime may have any.
#[must_use]
pub fn parse(time: &Element<'_>) -> Option<Moment> {
    let mut rest = time.content;
    let year = match time.tag {
        UTC_TIME => {
            let short = digits(&mut rest, 2)?;
            if short < 50 { 2000 + short } else { 1900 + short }
        }
        GENERALIZED_TIME => digits(&mut rest, 4)?,
        _ => return None,
    };
    let month = digits(&mut rest, 2)?;
    let day = digits(&mut rest, 2)?;
    let hour = digits(&mut rest, 2)?;
    let minute = optional(&mut rest)?;
    let second = optional(&mut rest)?;
    if let [b'.' | b',', after @ ..] = rest {
        let fraction = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = after.get(fraction..)?;
    }
    let offset = match rest {
        b"Z" | b"" => 0,
        [sign @ (b'+' | b'-'), after @ ..] => {
            let mut after = after;
            let (hours, minutes) = (digits(&mut after, 2)?, optional(&mut after)?);
            if !after.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let secs = hours * 3600 + minutes * 60;
            if *sign == b'+' { secs } else { -secs }
        }
        _ => return None,
    };
    let days = days_from_civil(year, month, day)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Moment::from_unix(days * DAY_SECS + hour * 3600 + minute * 60 + second - offset))
}

/// Two digits, or 0 where the text goes on with something else.
fn optional(rest: &mut &[u8]) -> Option<i64> {
    match rest.first() {
        Some(byte) if byte.is_ascii_digit() => digits(rest, 2),
        Some(_) | None => Some(0),
    }
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (text, after) = rest.split_at_checked(count)?;
    *rest = after;
    text.iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, if there is such a date.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years that start in March have the leap day at their end.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_dates_are_read_and_impossible_ones_are_not() {
        for (tag, text, shown) in [
            (UTC_TIME, "261122101500Z", Some("2026-11-22T10:15:00Z")),
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (UTC_TIME, "2611221015Z", Some("2026-11-22T10:15:00Z")),
            (UTC_TIME, "261122101500+0230", Some("2026-11-22T07:45:00Z")),
            (UTC_TIME, "261122101500-0100", Some("2026-11-22T11:15:00Z")),
            (GENERALIZED_TIME, "20261122101500Z", Some("2026-11-22T10:15:00Z")),
            (GENERALIZED_TIME, "20261122101500.123Z", Some("2026-11-22T10:15:00Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "20000229000000Z", Some("2000-02-29T00:00:00Z")),
            (GENERALIZED_TIME, "00000101000000Z", Some("0000-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "2026112210", Some("2026-11-22T10:00:00Z")),
            (UTC_TIME, "260230000000Z", None),
            (UTC_TIME, "261301000000Z", None),
            (UTC_TIME, "260229000000Z", None),
            (UTC_TIME, "261122250000Z", None),
            (UTC_TIME, "261122101500X", None),
            (UTC_TIME, "", None),
            (GENERALIZED_TIME, "21000229000000Z", None),
            (0x0c, "261122101500Z", None),
        ] {
            let time = Element { tag, content: text.as_bytes(), whole: b"" };
            assert_eq!(parse(&time).map(|at| at.to_string()).as_deref(), shown, "{text}");
        }
    }
}
