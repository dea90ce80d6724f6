//! Time zones of the IANA database that is compiled in: offsets, and when they change.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::tz::TimeZoneDatabase;
use palisade_report::Moment;
use serde::Serialize;
use serde::Serializer;

/// A time zone of the IANA database. Shape: a name such as `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// No zone of the database has this name. At fault: the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone has this name")]
pub struct UnknownZone;

/// Wall time that does not exist, because clocks were put forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// When.
    pub(super) at: Moment,
    /// The first wall time that is skipped, in seconds as if it were UTC.
    pub(super) from: i64,
    /// The first that is not.
    pub(super) until: i64,
}

impl Zone {
    /// The zone of this name, in the spelling of the database.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        // Only what is compiled in: another copy on the host could disagree with other collectors.
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| UnknownZone)?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Ok(Self { name, rules })
    }

    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every name of the database, in order.
    #[must_use]
    pub fn names() -> Vec<String> {
        let database = TimeZoneDatabase::bundled();
        let mut names: Vec<String> =
            database.available().map(|name| name.as_str().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Seconds that wall time is ahead of UTC; `None` beyond the years that the database covers.
    pub(super) fn offset(&self, at: Moment) -> Option<i64> {
        let at = Timestamp::from_second(at.unix()).ok()?;
        Some(i64::from(self.rules.to_offset(at).seconds()))
    }

    /// When the offset, or the name of the time, changes next after `at`.
    pub(super) fn next_change(&self, at: Moment) -> Option<Moment> {
        let at = Timestamp::from_second(at.unix()).ok()?;
        let change = self.rules.following(at).next()?;
        Some(Moment::from_unix(change.timestamp().as_second()))
    }

    /// Wall time that is skipped between two moments.
    pub(super) fn gaps(&self, from: Moment, until: Moment) -> Vec<Gap> {
        let Ok(start) = Timestamp::from_second(from.unix()) else { return Vec::new() };
        let Some(mut before) = self.offset(from) else { return Vec::new() };
        let mut gaps = Vec::new();
        for change in self.rules.following(start) {
            let at = Moment::from_unix(change.timestamp().as_second());
            if at >= until {
                break;
            }
            let after = i64::from(change.offset().seconds());
            if after > before {
                let (from, until) = (at.plus(before).unix(), at.plus(after).unix());
                gaps.push(Gap { at, from, until });
            }
            before = after;
        }
        gaps
    }

    /// The first moment at which clocks show this; just after the gap if they never do.
    pub(super) fn first(&self, shown: DateTime) -> Option<Moment> {
        let moment = self.rules.to_ambiguous_timestamp(shown).earlier().ok()?;
        Some(Moment::from_unix(moment.as_second()))
    }

    /// The last moment at which clocks show this; just after the gap if they never do.
    pub(super) fn last(&self, shown: DateTime) -> Option<Moment> {
        let moment = self.rules.to_ambiguous_timestamp(shown).later().ok()?;
        Some(Moment::from_unix(moment.as_second()))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}
