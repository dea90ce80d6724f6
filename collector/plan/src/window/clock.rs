//! Days of the week and times of day.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::Serializer;

/// Seconds of a day by the clock on the wall.
pub(crate) const DAY_SECS: u32 = 86_400;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// All of them, from Monday.
    pub const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// Days since Monday, 0 to 6.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }

    /// The day that is meant by an English name or its first letters, in any case; at least two
    /// letters.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        const NAMES: [&str; 7] =
            ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        let text = text.to_ascii_lowercase();
        if text.len() < 2 {
            return None;
        }
        let found = Self::ALL.into_iter().zip(NAMES).find(|(_, name)| name.starts_with(&text));
        found.map(|(day, _)| day)
    }
}

/// A time of day by the clock on the wall. Shape: `HH:MM` or `HH:MM:SS`, `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(u32);

impl Clock {
    /// The time so many seconds after midnight; `None` above 24:00.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Option<Self> {
        if secs > DAY_SECS { None } else { Some(Self(secs)) }
    }

    /// Seconds after midnight, 0 to 86,400.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0
    }
}

/// The text is no time of day. At fault: the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed time of day: expected `HH:MM`, `00:00` to `24:00`")]
pub struct MalformedClock;

impl FromStr for Clock {
    type Err = MalformedClock;

    fn from_str(text: &str) -> Result<Self, MalformedClock> {
        let mut secs = 0;
        let mut parts = 0;
        for part in text.split(':') {
            let limit = if parts == 0 { 24 } else { 59 };
            let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let number: u32 = part.parse().map_err(|_| MalformedClock)?;
            if !is_number || number > limit || parts == 3 {
                return Err(MalformedClock);
            }
            secs = secs * 60 + number;
            parts += 1;
        }
        match parts {
            2 => Self::from_secs(secs * 60).ok_or(MalformedClock),
            3 => Self::from_secs(secs).ok_or(MalformedClock),
            _ => Err(MalformedClock),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = (self.0 / 3_600, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{hour:02}:{minute:02}")?;
        if second == 0 { Ok(()) } else { write!(f, ":{second:02}") }
    }
}

impl Serialize for Clock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_two_digits_each_and_end_at_midnight() {
        for (text, secs) in [
            ("00:00", Some(0)),
            ("07:30", Some(27_000)),
            ("23:59:59", Some(86_399)),
            ("24:00", Some(86_400)),
            ("24:00:00", Some(86_400)),
            ("24:01", None),
            ("24:00:01", None),
            ("7:30", None),
            ("07:60", None),
            ("07", None),
            ("07:30:00:00", None),
            ("+7:30", None),
            ("", None),
            ("07:30 pm", None),
        ] {
            let clock = text.parse::<Clock>().ok();
            assert_eq!(clock.map(Clock::secs), secs, "{text}");
        }
        assert_eq!("24:00".parse::<Clock>().unwrap().to_string(), "24:00");
        assert_eq!("07:30:01".parse::<Clock>().unwrap().to_string(), "07:30:01");
    }

    #[test]
    fn days_are_told_by_their_first_letters() {
        for (text, day) in [
            ("mon", Some(Weekday::Mon)),
            ("Tuesday", Some(Weekday::Tue)),
            ("th", Some(Weekday::Thu)),
            ("t", None),
            ("", None),
            ("mondays", None),
            ("Montag", None),
        ] {
            assert_eq!(Weekday::named(text), day, "{text}");
        }
    }
}
