//! A second implementation of windows, which shares nothing with the first but the bytes of the
//! zone database: no library for dates, no weeks, no arithmetic on parts of them.
//!
//! It reads TZif files (RFC 8536) by itself, the rule in their last line included, and asks of an
//! instant what the definition says: is its wall time inside? When that changes it finds out by
//! going from one time of day at which it could change to the next.

use crate::window::LOOK_AHEAD_SECS;
use crate::window::Weekday;

const DAY: i64 = 86_400;

/// The last year whose changes are computed; what is asked ends before it.
const LAST_YEAR: i64 = 2101;

/// A zone: when which offset begins.
pub(super) struct Tz {
    /// Instants with the offset that holds from there on, up to [`LAST_YEAR`].
    changes: Vec<(i64, i64)>,
    /// The offset before the first.
    before: i64,
}

/// What holds after the last change of a file.
struct Rule {
    standard: i64,
    /// The other offset, when it begins and when it ends, by the clocks just before.
    summer: Option<(i64, Day, Day)>,
}

/// A moment of a year: which day, and how many seconds after its midnight.
struct Day {
    kind: Kind,
    secs: i64,
}

enum Kind {
    /// `Jn`: 1 to 365, the leap day never counted.
    Julian(i64),
    /// `n`: 0 to 365, the leap day counted.
    Zero(i64),
    /// `Mm.w.d`: month, week (5 is the last), day (0 is Sunday).
    Month(i64, i64, i64),
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    match bytes.len() {
        4 => i64::from(i32::from_be_bytes(bytes.try_into().unwrap())),
        _ => i64::from_be_bytes(bytes.try_into().unwrap()),
    }
}

impl Tz {
    pub(super) fn parse(file: &[u8]) -> Self {
        let counts = |at: usize| -> Vec<usize> {
            assert_eq!(&file[at..at + 4], b"TZif");
            (0..6).map(|field| number(&file[at + 20 + 4 * field..][..4])).collect()
        };
        // The first block has 32-bit times and is only there for readers of old.
        let old = counts(0);
        let [isut, isstd, leap, time, kind, chars] = old[..] else { panic!() };
        let second = 44 + time * 5 + kind * 6 + chars + leap * 8 + isstd + isut;
        let [isut, isstd, leap, time, kind, chars] = counts(second)[..] else { panic!() };
        let times = second + 44;
        let indices = times + time * 8;
        let kinds = indices + time;
        let offset = |kind: usize| signed(&file[kinds + kind * 6..][..4]);
        let mut changes: Vec<(i64, i64)> = (0..time)
            .map(|at| {
                let index = usize::from(file[indices + at]);
                (signed(&file[times + at * 8..][..8]), offset(index))
            })
            .collect();
        let footer = kinds + kind * 6 + chars + leap * 12 + isstd + isut;
        let footer = std::str::from_utf8(&file[footer..]).unwrap().trim();
        let rule = Rule::parse(footer);
        let last = changes.last().map_or(i64::MIN, |last| last.0);
        let years = year_of(last.max(0))..=LAST_YEAR;
        let ruled = years.flat_map(|year| rule.changes(year)).filter(|change| change.0 > last);
        changes.extend(ruled.collect::<Vec<_>>());
        Self { changes, before: offset(0) }
    }

    pub(super) fn offset(&self, at: i64) -> i64 {
        match self.changes.partition_point(|(from, _)| *from <= at) {
            0 => self.before,
            after => self.changes[after - 1].1,
        }
    }

    /// Instants between two others at which the offset may change.
    pub(super) fn changes(&self, from: i64, to: i64) -> Vec<i64> {
        let begin = self.changes.partition_point(|(at, _)| *at <= from);
        let inside = self.changes[begin..].iter().take_while(|(at, _)| *at < to);
        inside.map(|(at, _)| *at).collect()
    }
}

impl Rule {
    /// A TZ string of POSIX, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    fn parse(text: &str) -> Self {
        let mut rest = text;
        skip_name(&mut rest);
        if text.is_empty() {
            return Self { standard: 0, summer: None };
        }
        let standard = -time(&mut rest);
        if rest.is_empty() {
            return Self { standard, summer: None };
        }
        skip_name(&mut rest);
        let summer = if rest.starts_with(',') { standard + 3600 } else { -time(&mut rest) };
        let begins = Day::parse(&mut rest);
        let ends = Day::parse(&mut rest);
        assert_eq!(rest, "", "{text}");
        Self { standard, summer: Some((summer, begins, ends)) }
    }

    /// The changes of one year in order.
    fn changes(&self, year: i64) -> Vec<(i64, i64)> {
        let Some((summer, begins, ends)) = &self.summer else { return Vec::new() };
        let mut changes = vec![
            (begins.wall(year) - self.standard, *summer),
            (ends.wall(year) - summer, self.standard),
        ];
        changes.sort_unstable();
        changes
    }
}

fn skip_name(rest: &mut &str) {
    let end = match rest.strip_prefix('<') {
        Some(quoted) => quoted.find('>').unwrap() + 2,
        None => rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len()),
    };
    *rest = rest.split_at(end).1;
}

fn digits(rest: &mut &str) -> i64 {
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    digits.parse().unwrap()
}

/// `[+-]h[:m[:s]]` in seconds.
fn time(rest: &mut &str) -> i64 {
    let sign = if rest.starts_with('-') { -1 } else { 1 };
    *rest = rest.trim_start_matches(['-', '+']);
    let mut secs = digits(rest) * 3600;
    for unit in [60, 1] {
        if let Some(after) = rest.strip_prefix(':') {
            *rest = after;
            secs += digits(rest) * unit;
        }
    }
    sign * secs
}

impl Day {
    fn parse(rest: &mut &str) -> Self {
        *rest = rest.strip_prefix(',').unwrap();
        let kind = if let Some(after) = rest.strip_prefix('J') {
            *rest = after;
            Kind::Julian(digits(rest))
        } else if let Some(after) = rest.strip_prefix('M') {
            *rest = after;
            let month = digits(rest);
            *rest = rest.split_at(1).1;
            let week = digits(rest);
            *rest = rest.split_at(1).1;
            Kind::Month(month, week, digits(rest))
        } else {
            Kind::Zero(digits(rest))
        };
        let secs = match rest.strip_prefix('/') {
            Some(after) => {
                *rest = after;
                time(rest)
            }
            None => 7200,
        };
        Self { kind, secs }
    }

    /// What clocks show then, in seconds since 1970.
    fn wall(&self, year: i64) -> i64 {
        let january = days_before(year);
        let day = match self.kind {
            Kind::Julian(day) => january + day - 1 + i64::from(is_leap(year) && day >= 60),
            Kind::Zero(day) => january + day,
            Kind::Month(month, week, weekday) => {
                let first: i64 =
                    january + (1..month).map(|month| days_in(year, month)).sum::<i64>();
                // 1970-01-01 was a Thursday, 4 when Sunday is 0.
                let mut day = first;
                while (day + 4).rem_euclid(7) != weekday {
                    day += 1;
                }
                day += (week - 1) * 7;
                while day >= first + days_in(year, month) {
                    day -= 7;
                }
                day
            }
        };
        day * DAY + self.secs
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of a year.
fn days_before(year: i64) -> i64 {
    let length = |year: i64| 365 + i64::from(is_leap(year));
    if year >= 1970 {
        (1970..year).map(length).sum()
    } else {
        -(year..1970).map(length).sum::<i64>()
    }
}

fn year_of(at: i64) -> i64 {
    let mut year = 1970 + at.div_euclid(366 * DAY);
    while days_before(year + 1) * DAY <= at {
        year += 1;
    }
    year
}

/// A window: days counted from Sunday, start and end in seconds of the day.
pub(super) struct Span<'a> {
    pub(super) tz: &'a Tz,
    pub(super) days: Vec<i64>,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// The number of a day when Sunday is 0.
pub(super) fn from_sunday(day: Weekday) -> i64 {
    match day {
        Weekday::Sun => 0,
        Weekday::Mon => 1,
        Weekday::Tue => 2,
        Weekday::Wed => 3,
        Weekday::Thu => 4,
        Weekday::Fri => 5,
        Weekday::Sat => 6,
    }
}

impl Span<'_> {
    fn has(&self, at: i64) -> bool {
        let wall = at + self.tz.offset(at);
        let (day, clock) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        let is_day = |day: i64| self.days.contains(&(day + 4).rem_euclid(7));
        if self.start < self.end {
            is_day(day) && self.start <= clock && clock < self.end
        } else {
            is_day(day) && self.start <= clock || is_day(day - 1) && clock < self.end
        }
    }

    /// The next instant after `at` at which clocks that go on as they go now show a time at which
    /// the answer could be another one.
    fn next(&self, at: i64) -> i64 {
        let clock = (at + self.tz.offset(at)).rem_euclid(DAY);
        let until = |edge: i64| match (edge - clock).rem_euclid(DAY) {
            0 => DAY,
            secs => secs,
        };
        at + [0, self.start, self.end].map(until).into_iter().min().unwrap()
    }
}

/// Whether one of them has the instant.
pub(super) fn is_open(spans: &[Span<'_>], at: i64) -> bool {
    spans.iter().any(|span| span.has(at))
}

/// The next instant at which the answer is another one than at `at`, if it is before the horizon.
pub(super) fn turns(spans: &[Span<'_>], at: i64) -> Option<i64> {
    let horizon = at + LOOK_AHEAD_SECS;
    let open = is_open(spans, at);
    let mut changes: Vec<i64> =
        spans.iter().flat_map(|span| span.tz.changes(at, horizon)).collect();
    changes.sort_unstable();
    let mut now = at;
    while now < horizon {
        let edge = spans.iter().map(|span| span.next(now)).min().unwrap();
        let change = changes.iter().copied().find(|change| *change > now).unwrap_or(horizon);
        now = edge.min(change);
        if now < horizon && is_open(spans, now) != open {
            return Some(now);
        }
    }
    None
}
