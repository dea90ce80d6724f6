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
fn scenario_40_a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
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

/// Berlin, 2026: from 02:00 to 03:00 on 29 March, back from 03:00 to 02:00 on 25 October.
#[test]
fn scenario_40_berlin_windows_shrink_in_spring_and_grow_in_autumn() {
    let night = windows(&[(&[Weekday::Sat], "22:00", "06:00", "Europe/Berlin")]);
    for (from, hours) in
        [("2026-03-21T21:00:00Z", 8), ("2026-03-28T21:00:00Z", 7), ("2026-10-24T20:00:00Z", 9)]
    {
        assert_eq!(night.remaining_secs(at(from)), Some(hours * 3600), "{from}");
        assert!(!night.is_open(at(from).plus(-1)), "{from}");
    }
}

#[test]
fn scenario_40_a_window_in_the_hour_that_comes_twice_is_open_twice() {
    let window = windows(&[(&[Weekday::Sun], "02:30", "03:00", "Europe/Berlin")]);
    // 02:30 in summer time, shut by the clocks that go back to 02:00, and 02:30 again.
    let first = at("2026-10-25T00:30:00Z");
    assert_eq!(window.next_open(at("2026-10-24T00:00:00Z")), Some(first));
    assert_eq!(window.remaining_secs(first), Some(1800));
    let second = at("2026-10-25T01:30:00Z");
    assert_eq!(window.next_open(at("2026-10-25T01:00:00Z")), Some(second));
    assert_eq!(window.remaining_secs(second), Some(1800));
    // One that covers both hours stays open through.
    let whole = windows(&[(&[Weekday::Sun], "02:00", "03:00", "Europe/Berlin")]);
    assert_eq!(whole.remaining_secs(at("2026-10-25T00:00:00Z")), Some(7200));
}

#[test]
fn scenario_40_a_window_in_the_hour_that_is_missing_does_not_open_and_is_found_beforehand() {
    let days = [Weekday::Sun];
    let berlin = windows(&[
        (&days, "01:00", "02:00", "Europe/Berlin"),
        (&days, "02:00", "03:00", "Europe/Berlin"),
        (&days, "02:15", "02:45", "Europe/Berlin"),
        (&days, "02:30", "03:30", "Europe/Berlin"),
    ]);
    let year = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let missing = at("2026-03-29T01:00:00Z");
    let skipped = [1, 2].map(|window| Skipped { window, at: missing });
    assert_eq!(berlin.skipped(year.0, year.1), skipped);
    let only = windows(&[(&days, "02:00", "03:00", "Europe/Berlin")]);
    let opens = only.next_open(at("2026-03-23T00:00:00Z"));
    assert_eq!(opens, Some(at("2026-04-05T00:00:00Z")), "a week later");
}

/// New York, 2026: from 02:00 to 03:00 on 8 March, back from 02:00 to 01:00 on 1 November.
#[test]
fn scenario_40_new_york_changes_at_other_weeks_than_berlin() {
    let night = windows(&[(&[Weekday::Sat], "23:00", "03:00", "America/New_York")]);
    for (from, hours) in
        [("2026-03-01T04:00:00Z", 4), ("2026-03-08T04:00:00Z", 3), ("2026-11-01T03:00:00Z", 5)]
    {
        assert_eq!(night.remaining_secs(at(from)), Some(hours * 3600), "{from}");
    }
}

/// Lord Howe, 2026: back from 02:00 to 01:30 on 5 April, from 02:00 to 02:30 on 4 October.
#[test]
fn scenario_40_lord_howe_changes_by_half_an_hour() {
    let days = [Weekday::Sun];
    let window = windows(&[(&days, "01:45", "02:15", "Australia/Lord_Howe")]);
    // +11:00 until 15:00Z, then +10:30: a quarter of an hour, shut for one, half an hour.
    let first = at("2026-04-04T14:45:00Z");
    assert_eq!(window.next_open(at("2026-04-01T00:00:00Z")), Some(first));
    assert_eq!(window.remaining_secs(first), Some(900));
    assert_eq!(window.next_open(at("2026-04-04T15:00:00Z")), Some(at("2026-04-04T15:15:00Z")));
    assert_eq!(window.remaining_secs(at("2026-04-04T15:15:00Z")), Some(1800));
    // In spring 02:00 to 02:30 is missing.
    assert_eq!(window.remaining_secs(at("2026-10-03T15:15:00Z")), Some(900));
    let missing = windows(&[(&days, "02:00", "02:30", "Australia/Lord_Howe")]);
    let skipped = missing.skipped(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    assert_eq!(skipped, [Skipped { window: 0, at: at("2026-10-03T15:30:00Z") }]);
}

#[test]
fn scenario_40_a_zone_that_leaves_its_clocks_alone_has_the_same_window_all_year() {
    let window = windows(&[(&Weekday::ALL, "22:00", "04:00", "Asia/Kolkata")]);
    for day in 0..365 {
        let opens = at("2026-01-01T16:30:00Z").plus(day * 86_400);
        assert_eq!(window.remaining_secs(opens), Some(6 * 3600));
        assert_eq!(window.next_open(opens.plus(-60)), Some(opens));
    }
    assert_eq!(window.skipped(at("2026-01-01T00:00:00Z"), at("2036-01-01T00:00:00Z")), []);
}

#[test]
fn scenario_40_windows_go_over_the_end_of_the_week_and_of_the_year() {
    // 2028-12-31 is a Sunday.
    let window = windows(&[(&[Weekday::Sun], "20:00", "08:00", "UTC")]);
    assert_eq!(window.remaining_secs(at("2028-12-31T20:00:00Z")), Some(12 * 3600));
    assert_eq!(window.remaining_secs(at("2029-01-01T07:59:59Z")), Some(1));
    assert!(!window.is_open(at("2029-01-01T08:00:00Z")));
}

#[test]
fn scenario_40_windows_that_touch_or_overlap_are_one_also_across_zones() {
    let touching = windows(&[
        (&[Weekday::Fri], "20:00", "24:00", "UTC"),
        (&[Weekday::Sat], "00:00", "02:00", "UTC"),
        (&[Weekday::Sat], "01:30", "03:00", "UTC"),
        // 04:00 to 06:00 in Berlin's winter.
        (&[Weekday::Sat], "04:00", "06:00", "Europe/Berlin"),
        (&[Weekday::Sat], "05:00", "05:01", "UTC"),
    ]);
    let opens = at("2026-01-02T20:00:00Z");
    assert_eq!(touching.remaining_secs(opens), Some(9 * 3600 + 60));
    assert_eq!(touching.longest_secs(), Some(7 * 3600));
}

#[test]
fn what_is_open_all_week_has_no_end_and_a_whole_day_is_a_day() {
    let now = at("2026-01-02T20:00:00Z");
    let always = windows(&[(&Weekday::ALL, "00:00", "24:00", "Europe/Berlin")]);
    assert_eq!((always.remaining_secs(now), always.longest_secs()), (None, None));
    let same = windows(&[(&Weekday::ALL, "06:00", "06:00", "Europe/Berlin")]);
    assert_eq!(same.remaining_secs(now), None, "from six to six is the whole day");
    let never = windows(&[(&[], "00:00", "24:00", "UTC")]);
    assert_eq!((never.is_open(now), never.next_open(now)), (false, None));
}

#[test]
fn moments_beyond_the_calendar_are_outside_every_window() {
    let always = windows(&[(&Weekday::ALL, "00:00", "24:00", "UTC")]);
    for unix in [i64::MIN, i64::MAX, -400_000_000_000, 300_000_000_000] {
        let moment = Moment::from_unix(unix);
        assert!(!always.is_open(moment));
        assert_eq!(always.next_open(moment), None);
        assert_eq!(always.remaining_secs(moment), Some(0));
    }
}

#[test]
fn a_freeze_covers_whole_days_and_errs_on_the_wide_side() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let freeze = |from: &str, to: &str| Freeze {
        from: WallTime::parse(from).unwrap().begins(&berlin).unwrap(),
        to: WallTime::parse(to).unwrap().ends(&berlin).unwrap(),
        reason: String::new(),
    };
    let days = freeze("2026-12-24", "2026-12-26");
    assert!(!days.covers(at("2026-12-23T22:59:59Z")));
    assert!(days.covers(at("2026-12-23T23:00:00Z")));
    assert!(days.covers(at("2026-12-26T22:59:59Z")));
    assert!(!days.covers(at("2026-12-26T23:00:00Z")));
    // 02:30 comes twice: a freeze begins with the first and ends with the second.
    let autumn = freeze("2026-10-25T02:30", "2026-10-25T02:30");
    assert_eq!(autumn.to.since(autumn.from), 3600);
    for bad in ["", "2026", "2026-13-01", "2026-12-24T", "2026-12-24T10", "2026-12-24T10:00Z"] {
        assert_eq!(WallTime::parse(bad), None, "{bad}");
    }
}

mod agreement;
mod oracle;
