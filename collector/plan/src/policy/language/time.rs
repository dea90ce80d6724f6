//! Windows and freezes.

use palisade_report::bound::clean_text;

use crate::policy::language::value::reason;
use crate::policy::language::value::text;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::section::nearest;
use crate::policy::tree::Node;
use crate::policy::tree::Tree;
use crate::window::Clock;
use crate::window::Freeze;
use crate::window::WallTime;
use crate::window::Weekday;
use crate::window::Window;
use crate::window::Zone;

/// A window of a pool.
pub(super) fn window(tree: &Tree, problems: &mut Problems) -> Option<Window> {
    let mut section = Section::open(tree, "a window", problems)?;
    let days = section.need("days", "[mon-fri]", days);
    let start = section.need("start", "\"22:00\"", clock);
    let end = section.need("end", "\"04:00\"", clock);
    let zone = section.need("zone", "Europe/Berlin", zone);
    if start.is_some_and(|start| start.secs() == 86_400) {
        let message = "a window cannot start at 24:00: write `00:00` and the day after";
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(Window { days: days?, start: start?, end: end?, zone: zone? })
}

fn days(tree: &Tree, problems: &mut Problems) -> Option<Vec<Weekday>> {
    let written: Vec<&Tree> = match &tree.node {
        Node::List(items) => items.iter().collect(),
        Node::Text(_) => vec![tree],
        Node::Bool(_) | Node::Float(_) | Node::Map(_) | Node::Nothing | Node::Number(_) => {
            return problems.expected(tree, "a list of days, such as `[mon, wed, fri]`");
        }
    };
    if written.is_empty() {
        let message =
            "a window without days never opens: name days, such as `[mon-fri]`, or `[daily]`";
        problems.add(tree.place, message);
        return None;
    }
    let mut days = Vec::new();
    for item in written {
        let Some(chosen) = text(item, problems).and_then(day_range) else {
            let what = "a day such as `mon`, a range such as `mon-fri`, or `daily`";
            problems.expected::<()>(item, what);
            continue;
        };
        days.extend(chosen);
    }
    days.sort_unstable();
    days.dedup();
    (!days.is_empty()).then_some(days)
}

fn day_range(text: &str) -> Option<Vec<Weekday>> {
    if text == "daily" {
        return Some(Weekday::ALL.to_vec());
    }
    let Some((from, to)) = text.split_once('-') else {
        return Some(vec![Weekday::named(text)?]);
    };
    let (from, to) = (Weekday::named(from.trim())?, Weekday::named(to.trim())?);
    // Over the end of the week, too: `sat-mon` is three days.
    let from_on = Weekday::ALL.into_iter().cycle().skip_while(|day| *day != from).take(7);
    let mut days: Vec<Weekday> = from_on.take_while(|day| *day != to).collect();
    days.push(to);
    Some(days)
}

fn clock(tree: &Tree, problems: &mut Problems) -> Option<Clock> {
    const EXPECTED: &str =
        "a time of day with two digits each, such as `\"04:30\"`, at most `\"24:00\"`";
    let written = text(tree, problems)?;
    match written.parse() {
        Ok(clock) => Some(clock),
        Err(_) => problems.expected(tree, EXPECTED),
    }
}

fn zone(tree: &Tree, problems: &mut Problems) -> Option<Zone> {
    let written = text(tree, problems)?;
    if let Ok(zone) = Zone::named(written) {
        return Some(zone);
    }
    let names = Zone::names();
    // Whoever writes the city alone, or a blank in its name, means the zone that ends with it.
    let city = written.replace(' ', "_").to_lowercase();
    let is_city =
        |name: &&String| name.rsplit('/').next().is_some_and(|last| last.to_lowercase() == city);
    let meant = names.iter().find(is_city).map(String::as_str);
    let meant = meant.or_else(|| nearest(written, names.iter().map(String::as_str)));
    let advice = meant.map_or_else(
        || "write a name of the IANA database such as `Europe/Berlin`, or `UTC`".to_owned(),
        |meant| format!("write `{meant}`"),
    );
    let message = format!("no time zone is named `{}`: {advice}", clean_text(written));
    problems.add(tree.place, message);
    None
}

/// A freeze.
pub(super) fn freeze(tree: &Tree, problems: &mut Problems) -> Option<Freeze> {
    let mut section = Section::open(tree, "a freeze", problems)?;
    let from = section.need("from", "2026-12-20", wall_time);
    let to = section.need("to", "2027-01-03", wall_time);
    let zone = section.need("zone", "Europe/Berlin", zone);
    let reason = section.need("reason", "end of the year", reason);
    let place = section.place;
    let freeze = || -> Option<Freeze> {
        let zone = zone?;
        let (from, to) = (from?.begins(&zone)?, to?.ends(&zone)?);
        Some(Freeze { from, to, reason: reason? })
    };
    let freeze = freeze();
    if freeze.as_ref().is_some_and(|freeze| freeze.from >= freeze.to) {
        let message = "this freeze ends before it begins: exchange `from` and `to`";
        section.problems.add(place, message);
    }
    section.close(&[]);
    freeze
}

fn wall_time(tree: &Tree, problems: &mut Problems) -> Option<WallTime> {
    const EXPECTED: &str = "a day such as `2026-12-24`, or a time of the zone such as \
                            `2026-12-24T18:00`";
    let written = text(tree, problems)?;
    match WallTime::parse(written) {
        Some(time) => Some(time),
        None => problems.expected(tree, EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_days_go_over_the_end_of_the_week() {
        for (text, days) in [
            ("mon", Some("Mon")),
            ("mon-wed", Some("Mon Tue Wed")),
            ("sat-mon", Some("Sat Sun Mon")),
            ("fri - Friday", Some("Fri")),
            ("daily", Some("Mon Tue Wed Thu Fri Sat Sun")),
            ("mon-", None),
            ("-", None),
            ("weekend", None),
        ] {
            let found = day_range(text).map(|days| {
                let days: Vec<String> = days.iter().map(|day| format!("{day:?}")).collect();
                days.join(" ")
            });
            assert_eq!(found.as_deref(), days, "{text}");
        }
    }
}
