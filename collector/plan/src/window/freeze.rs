//! Freezes: stretches of time in which nothing starts.

use jiff::civil::Date;
use jiff::civil::DateTime;
use palisade_report::Moment;
use serde::Serialize;

use crate::window::Zone;

/// A stretch of time in which nothing starts, whatever the windows say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// From this moment on.
    pub from: Moment,
    /// Until just before this one.
    pub to: Moment,
    /// Why.
    pub reason: String,
}

impl Freeze {
    /// Whether it covers this moment.
    #[must_use]
    pub fn covers(&self, at: Moment) -> bool {
        self.from <= at && at < self.to
    }
}

/// What clocks show. Shape: `2026-12-24`, or with a time of day, `2026-12-24T18:00`, a blank instead
/// of the `T` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallTime {
    /// A day alone: the whole day is meant.
    Day(Date),
    /// A time of a day.
    Time(DateTime),
}

impl WallTime {
    /// What the text says; `None` if it is neither. An offset is refused: the zone says that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_digit() || b"-: T".contains(&byte);
        if !text.bytes().all(is_plain) {
            return None;
        }
        if text.len() == 10 {
            return text.parse().ok().map(Self::Day);
        }
        (text.len() >= 16).then(|| text.parse().ok().map(Self::Time))?
    }

    /// The moment at which a freeze from here on begins: the earlier one where clocks show this
    /// twice.
    #[must_use]
    pub fn begins(self, zone: &Zone) -> Option<Moment> {
        match self {
            Self::Day(date) => zone.first(date.to_datetime(jiff::civil::Time::midnight())),
            Self::Time(time) => zone.first(time),
        }
    }

    /// The moment at which a freeze up to here ends: the later one where clocks show this twice,
    /// and the end of a day that is given alone.
    #[must_use]
    pub fn ends(self, zone: &Zone) -> Option<Moment> {
        match self {
            Self::Day(date) => {
                let next = date.tomorrow().ok()?;
                zone.last(next.to_datetime(jiff::civil::Time::midnight()))
            }
            Self::Time(time) => zone.last(time),
        }
    }
}
