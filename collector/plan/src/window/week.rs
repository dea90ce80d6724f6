//! A week of wall time, and which parts of it are inside.
//!
//! While the offset of a zone stays the same, wall time is the instant plus a number, so an edge of
//! the week is an instant that can be computed. At a change of the offset everything is asked anew.

use palisade_report::Moment;

use crate::window::Window;
use crate::window::Zone;
use crate::window::clock::DAY_SECS;
use crate::window::zone::Gap;

/// Seconds of a week of wall time.
const WEEK_SECS: i64 = 7 * DAY_SECS as i64;

/// Seconds from the Monday before 1970-01-01, a Thursday, to that day.
const FIRST_MONDAY_SECS: i64 = 3 * DAY_SECS as i64;

/// Parts of a week, in seconds since Monday 00:00: in order, apart from each other, `start < end <=`
/// [`WEEK_SECS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Week(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    start: i64,
    end: i64,
}

/// Where in the week a wall time lies.
const fn second_of_week(wall: i64) -> i64 {
    wall.saturating_add(FIRST_MONDAY_SECS).rem_euclid(WEEK_SECS)
}

impl Week {
    /// Adds what a window says.
    pub(super) fn add(&mut self, window: &Window) {
        let start = i64::from(window.start.secs());
        let end = i64::from(window.end.secs());
        let length = if end <= start { i64::from(DAY_SECS) - start + end } else { end - start };
        for day in &window.days {
            let start = i64::from(day.number()) * i64::from(DAY_SECS) + start;
            let end = start + length;
            // What reaches beyond Sunday goes on at the beginning of the week.
            self.0.push(Part { start: start.min(WEEK_SECS), end: end.min(WEEK_SECS) });
            self.0.push(Part { start: (start - WEEK_SECS).max(0), end: (end - WEEK_SECS).max(0) });
        }
        self.0.retain(|part| part.start < part.end);
        self.0.sort_unstable();
        let mut merged: Vec<Part> = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            match merged.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                Some(_) | None => merged.push(*part),
            }
        }
        self.0 = merged;
    }

    /// The part that a second of the week lies in.
    fn around(&self, second: i64) -> Option<&Part> {
        let at = self.0.partition_point(|part| part.end <= second);
        self.0.get(at).filter(|part| part.start <= second)
    }

    /// Seconds from a second outside to the next part; `None` if there is none at all.
    fn until_next(&self, second: i64) -> Option<i64> {
        let at = self.0.partition_point(|part| part.start < second);
        match (self.0.get(at), self.0.first()) {
            (Some(part), _) => Some(part.start - second),
            (None, Some(first)) => Some(WEEK_SECS - second + first.start),
            (None, None) => None,
        }
    }

    /// The longest part, over the end of the week too; `None` if that is all of it.
    pub(super) fn longest_secs(&self) -> Option<i64> {
        let length = |part: &Part| part.end - part.start;
        let longest = self.0.iter().map(length).max().unwrap_or_default();
        let around = match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) if first.start == 0 && last.end == WEEK_SECS => {
                length(first) + length(last)
            }
            (Some(_) | None, Some(_) | None) => 0,
        };
        (longest < WEEK_SECS).then_some(longest.max(around))
    }

    /// Whether wall time is inside at this moment.
    pub(super) fn is_open(&self, zone: &Zone, at: Moment) -> bool {
        let Some(offset) = zone.offset(at) else { return false };
        self.around(second_of_week(at.plus(offset).unix())).is_some()
    }

    /// When wall time, inside at `at`, is next outside; `None` if it is outside at `at`. Not before
    /// `horizon`: some moment from there on.
    pub(super) fn shuts(&self, zone: &Zone, at: Moment, horizon: Moment) -> Option<Moment> {
        let mut now = at;
        let mut change = None;
        while now < horizon {
            let offset = zone.offset(now)?;
            let second = second_of_week(now.plus(offset).unix());
            let Some(part) = self.around(second) else {
                return (now > at).then_some(now);
            };
            let end = now.plus(part.end - second);
            if change.is_none_or(|change| change <= now) {
                change = Some(zone.next_change(now).unwrap_or(horizon));
            }
            now = change.map_or(end, |change| end.min(change));
        }
        Some(now)
    }

    /// When wall time, outside at `at`, is next inside, if that is before `horizon`.
    pub(super) fn opens(&self, zone: &Zone, at: Moment, horizon: Moment) -> Option<Moment> {
        let mut now = at;
        let mut change = None;
        while now < horizon {
            let offset = zone.offset(now)?;
            let second = second_of_week(now.plus(offset).unix());
            if self.around(second).is_some() {
                return Some(now);
            }
            let start = now.plus(self.until_next(second)?);
            if change.is_none_or(|change| change <= now) {
                change = Some(zone.next_change(now).unwrap_or(horizon));
            }
            now = change.map_or(start, |change| start.min(change));
        }
        None
    }

    /// Whether clocks skip a part of it as a whole.
    pub(super) fn is_swallowed_by(&self, gap: &Gap) -> bool {
        let from = second_of_week(gap.from);
        let length = gap.until.saturating_sub(gap.from);
        self.0.iter().any(|part| {
            // How long after the gap's beginning the part begins, around the week.
            let begins = (part.start - from).rem_euclid(WEEK_SECS);
            begins + (part.end - part.start) <= length
        })
    }
}
