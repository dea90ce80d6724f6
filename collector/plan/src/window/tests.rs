//! Windows by name: the nights that are different, and the edges.

use super::*;

fn at(text: &str) -> Moment {
    Moment::from_unix(text.parse::<jiff::Timestamp>().unwrap().as_second())
}

fn window(days: &[Weekday], start: &str, end: &str, zone: &str) -> Window {
    Window {
        days: days.to_vec(),
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
        zone: Zone::named(zone).unwrap(),
    }
}

fn windows(list: &[(&[Weekday], &str, &str, &str)]) -> Windows {
    Windows::new(
        list.iter().map(|&(days, start, end, zone)| window(days, start, end, zone)).collect(),
    )
}

#[test]
fn without_windows_it_is_always_open() {
    let windows = Windows::default();
    let now = at("2026-01-01T00:00:00Z");
    assert!(windows.is_open(now));
    assert_eq!(windows.remaining_secs(now), None);
    assert_eq!(windows.next_open(now), Some(now));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
    let windows = windows(&[(&[Weekday::Fri], "22:00", "04:00", "UTC")]);
    // 2026-01-02 is a Friday.
    for (moment, remaining) in [
        ("2026-01-02T03:59:59Z", 0),
        ("2026-01-02T21:59:59Z", 0),
        ("2026-01-02T22:00:00Z", 6 * 3600),
        ("2026-01-03T00:00:00Z", 4 * 3600),
        ("2026-01-03T03:59:59Z", 1),
        ("2026-01-03T04:00:00Z", 0),
        ("2026-01-03T22:00:00Z", 0),
    ] {
        assert_eq!(windows.remaining_secs(at(moment)), Some(remaining), "{moment}");
        assert_eq!(windows.is_open(at(moment)), remaining > 0, "{moment}");
    }
    let opens = windows.next_open(at("2026-01-03T04:00:00Z"));
    assert_eq!(opens, Some(at("2026-01-09T22:00:00Z")));
}
