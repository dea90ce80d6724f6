//! Hours of a week, in the time of a place.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::tz::TimeZoneDatabase;
use palisade_report::Moment;
use serde::Deserialize;

/// Hours as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHours {
    /// Days on which they begin; none: every day.
    #[serde(default)]
    days: Vec<Day>,
    /// `08:00`
    from: String,
    /// `18:00`, not included; earlier than `from`: on the next day.
    to: String,
    /// A name of the IANA database [default: UTC]
    #[serde(default)]
    zone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Not hours of a week. At fault: the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHours {
    /// Not a time of day.
    #[error("expected times of day such as 08:00")]
    Time,
    /// Not a zone.
    #[error("no time zone has this name; expected one such as Europe/Berlin")]
    Zone,
}

/// Hours of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    days: BTreeSet<i8>,
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl Hours {
    /// Checks what was written.
    ///
    /// # Errors
    /// [`MalformedHours`].
    pub fn check(raw: RawHours) -> Result<Self, MalformedHours> {
        let RawHours { days, from, to, zone } = raw;
        let zone = match zone {
            // Only what is compiled in: another copy on the host could disagree.
            Some(name) => {
                TimeZoneDatabase::bundled().get(&name).map_err(|_| MalformedHours::Zone)?
            }
            None => TimeZone::UTC,
        };
        let time = |text: &str| text.parse::<Time>().map_err(|_| MalformedHours::Time);
        let day = |day: Day| match day {
            Day::Mon => Weekday::Monday,
            Day::Tue => Weekday::Tuesday,
            Day::Wed => Weekday::Wednesday,
            Day::Thu => Weekday::Thursday,
            Day::Fri => Weekday::Friday,
            Day::Sat => Weekday::Saturday,
            Day::Sun => Weekday::Sunday,
        };
        let days = days.into_iter().map(|it| day(it).to_monday_zero_offset()).collect();
        Ok(Self { days, from: time(&from)?, to: time(&to)?, zone })
    }

    /// Whether a moment is among them.
    #[must_use]
    pub fn is_open(&self, at: Moment) -> bool {
        let Ok(at) = Timestamp::from_second(at.unix()) else { return false };
        let local = self.zone.to_datetime(at);
        let today = local.weekday().to_monday_zero_offset();
        let begins = |day: i8| self.days.is_empty() || self.days.contains(&day);
        let time = local.time();
        if self.from < self.to {
            return begins(today) && time >= self.from && time < self.to;
        }
        let yesterday = (today + 6) % 7;
        (begins(today) && time >= self.from) || (begins(yesterday) && time < self.to)
    }
}
