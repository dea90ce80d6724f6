//! Windows: when a reboot may start, by the clocks of the people concerned.
//!
//! ```text
//! instant ──offset of the zone──> wall time ──inside {days, start, end}?──> open
//! ```
//!
//! An instant is inside exactly if its wall time is inside. So a window is longer, or open twice, on
//! the night on which clocks go back, and shorter, or missing, on the night on which they go forward;
//! what is missing can be asked for beforehand ([`Windows::skipped`]).
//!
//! Between two changes of a zone's offset wall time runs evenly, so everything is whole numbers on
//! weeks of wall time; from the zone database come offsets and their changes alone.

use palisade_report::Moment;
use serde::Serialize;
use serde::Serializer;

pub use self::clock::Clock;
pub use self::clock::MalformedClock;
pub use self::clock::Weekday;
pub use self::freeze::Freeze;
pub use self::freeze::WallTime;
pub use self::zone::UnknownZone;
pub use self::zone::Zone;

use self::week::Week;

mod clock;
mod freeze;
mod week;
mod zone;

/// How far ahead is looked: what stays open for longer has no end, what stays shut for longer does
/// not open. Windows are weekly, so five weeks see everything that recurs, with the change of an
/// offset in between.
pub const LOOK_AHEAD_SECS: i64 = 35 * 86_400;

/// One window: from `start` to `end` on each of `days`, by the clocks of `zone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Days on which it begins, in order, each once.
    pub days: Vec<Weekday>,
    /// When it begins; this second is inside.
    pub start: Clock,
    /// When it ends; this second is outside. At or before `start`: on the day after, and the
    /// window still belongs to the day on which it began.
    pub end: Clock,
    /// Whose clocks.
    pub zone: Zone,
}

/// All windows of a pool: open when one of them is. None at all: always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    windows: Vec<Window>,
    /// What `windows` says, merged for each zone.
    weeks: Vec<(Zone, Week)>,
}

/// Whether something may start at a moment; one answer serves all nodes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Opening {
    /// It may not.
    Shut {
        /// When it next may; `None` if that is further than [`LOOK_AHEAD_SECS`] ahead.
        opens_at: Option<Moment>,
    },
    /// It may.
    Open {
        /// Until when without a break; `None` if that is further than [`LOOK_AHEAD_SECS`] ahead.
        until: Option<Moment>,
    },
}

/// A window that does not open on one day, because clocks skip it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Which, counted from 0.
    pub window: usize,
    /// The moment at which clocks skip it.
    pub at: Moment,
}

impl Windows {
    /// These windows. A window without days never opens.
    #[must_use]
    pub fn new(windows: Vec<Window>) -> Self {
        let mut weeks: Vec<(Zone, Week)> = Vec::new();
        for window in &windows {
            match weeks.iter_mut().find(|(zone, _)| *zone == window.zone) {
                Some((_, week)) => week.add(window),
                None => {
                    let mut week = Week::default();
                    week.add(window);
                    weeks.push((window.zone.clone(), week));
                }
            }
        }
        Self { windows, weeks }
    }

    /// The windows as they were given.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Whether one of them is open at this moment.
    #[must_use]
    pub fn is_open(&self, at: Moment) -> bool {
        self.windows.is_empty() || self.weeks.iter().any(|(zone, week)| week.is_open(zone, at))
    }

    /// Elapsed seconds until none of them is open any more, across those that overlap or touch: 0
    /// if none is open now, `None` if that is further than [`LOOK_AHEAD_SECS`] ahead.
    #[must_use]
    pub fn remaining_secs(&self, at: Moment) -> Option<i64> {
        match self.opening(at) {
            Opening::Shut { .. } => Some(0),
            Opening::Open { until } => until.map(|until| until.since(at)),
        }
    }

    /// The first moment from now on at which one is open: `at` itself if one is, `None` if none
    /// opens within [`LOOK_AHEAD_SECS`].
    #[must_use]
    pub fn next_open(&self, at: Moment) -> Option<Moment> {
        match self.opening(at) {
            Opening::Shut { opens_at } => opens_at,
            Opening::Open { .. } => Some(at),
        }
    }

    /// Everything that a planner asks, at once.
    #[must_use]
    pub fn opening(&self, at: Moment) -> Opening {
        if self.windows.is_empty() {
            return Opening::Open { until: None };
        }
        let horizon = at.plus(LOOK_AHEAD_SECS);
        if !self.is_open(at) {
            let opens = self.weeks.iter().filter_map(|(zone, week)| week.opens(zone, at, horizon));
            return Opening::Shut { opens_at: opens.min() };
        }
        // What touches or overlaps goes on where the other ends.
        let mut until = at;
        loop {
            let ends =
                self.weeks.iter().filter_map(|(zone, week)| week.shuts(zone, until, horizon));
            match ends.max() {
                Some(end) if end >= horizon => return Opening::Open { until: None },
                Some(end) if end > until => until = end,
                Some(_) | None => return Opening::Open { until: Some(until) },
            }
        }
    }

    /// The longest stretch for which the windows of one zone are open without a break, on a day on
    /// which clocks are left alone; `None` if they never shut, or if there are none.
    #[must_use]
    pub fn longest_secs(&self) -> Option<i64> {
        let longest: Option<Vec<i64>> =
            self.weeks.iter().map(|(_, week)| week.longest_secs()).collect();
        longest?.into_iter().max()
    }

    /// Windows that clocks skip altogether between `from` and `until`, oldest first.
    #[must_use]
    pub fn skipped(&self, from: Moment, until: Moment) -> Vec<Skipped> {
        let mut skipped = Vec::new();
        for (index, window) in self.windows.iter().enumerate() {
            let mut week = Week::default();
            week.add(window);
            for gap in window.zone.gaps(from, until) {
                if week.is_swallowed_by(&gap) {
                    skipped.push(Skipped { window: index, at: gap.at });
                }
            }
        }
        skipped.sort_by_key(|skipped| (skipped.at, skipped.window));
        skipped
    }
}

/// As it is written: the list.
impl Serialize for Windows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.windows.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
