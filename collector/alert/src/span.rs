//! Lengths of time as people write them in settings: `30s`, `5m`, `1d12h`.

use serde::Deserialize;
use serde::Deserializer;

/// Seconds, not negative, at most [`MAX_SECS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

/// A year: whatever is longer was mistyped.
pub const MAX_SECS: i64 = 366 * 86_400;

/// The text is no length of time. At fault: the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a length of time of at most a year, such as 30s, 5m, 4h or 1d12h")]
pub struct MalformedSpan;

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u32) -> Self {
        Self(secs as i64)
    }

    /// The seconds.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0
    }
}

impl std::str::FromStr for Span {
    type Err = MalformedSpan;

    fn from_str(text: &str) -> Result<Self, MalformedSpan> {
        let mut total: i64 = 0;
        let mut rest = text;
        // Each unit once, the longest first: another order is a slip more often than not.
        for (unit, secs) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let Some((number, after)) = rest.split_at_checked(end) else { continue };
            let Some(after) = after.strip_prefix(unit) else { continue };
            let number: i64 = number.parse().map_err(|_| MalformedSpan)?;
            let part = number.checked_mul(secs).ok_or(MalformedSpan)?;
            total = total.checked_add(part).ok_or(MalformedSpan)?;
            rest = after;
        }
        if text.is_empty() || !rest.is_empty() || total > MAX_SECS {
            return Err(MalformedSpan);
        }
        Ok(Self(total))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time for people: the two largest units.
#[must_use]
pub fn in_words(secs: i64) -> String {
    let secs = secs.max(0);
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| secs >= *size) else {
        return "0 s".to_owned();
    };
    let mut left = secs;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        let number = left / size;
        left %= size;
        if number > 0 {
            parts.push(format!("{number} {unit}"));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_slips_are_refused() {
        for (text, secs) in
            [("0s", 0), ("90s", 90), ("5m", 300), ("1d12h", 129_600), ("1h1m1s", 3661)]
        {
            assert_eq!(text.parse::<Span>().map(Span::as_secs), Ok(secs), "{text}");
        }
        for text in
            ["", "5", "s", "5x", "m5", "5s5m", "-1s", "1.5h", "99999999999999999999s", "400d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn words_have_two_units_at_most() {
        for (secs, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 m"),
            (3_900, "1 h 5 m"),
            (259_200, "3 d"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(in_words(secs), words);
        }
    }
}
