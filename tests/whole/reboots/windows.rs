//! Windows that open, shut and are written wrongly while the collector runs. Where windows are by the
//! calendar is the matter of `palisade_plan`; here is what follows from it.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use palisade_tests::wait;
use serde_json::Value;

use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Conduct;

const HOUR: i64 = 3600;

/// Heartbeats that must have brought no grant before that is believed.
const ENOUGH: usize = 12;

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("not so far ahead")
}

/// Hours that a zone must be ahead of UTC so that midnight has just struck there, less than an hour ago.
fn of_midnight() -> i64 {
    let ahead = (24 - now() / HOUR % 24) % 24;
    if ahead > 12 { ahead - 24 } else { ahead }
}

/// The zone that is so many hours ahead of UTC. Its name has the sign of POSIX, which is the other one.
fn zone(ahead: i64) -> String {
    match ahead {
        0 => "Etc/GMT".to_owned(),
        1.. => format!("Etc/GMT-{ahead}"),
        _ => format!("Etc/GMT+{}", -ahead),
    }
}

/// The day of the week so many days from now, in a zone so many hours ahead of UTC.
fn day(ahead: i64, from_now: i64) -> &'static str {
    let days = (now() + ahead * HOUR).div_euclid(24 * HOUR) + from_now;
    // The epoch began on a Thursday.
    let index = usize::try_from((days + 3).rem_euclid(7)).expect("a day of the week");
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][index]
}

/// The time of day so many seconds from now, in UTC.
fn clock(from_now: i64) -> String {
    let secs = (now() + from_now).rem_euclid(24 * HOUR);
    format!("{:02}:{:02}:{:02}", secs / HOUR, secs / 60 % 60, secs % 60)
}

/// A window that is as long from `start` to `end`, on these days.
fn window(days: &str, start: &str, end: &str, zone: &str) -> String {
    format!("{{days: [{days}], start: \"{start}\", end: \"{end}\", zone: {zone}}}")
}

/// Open every day, but not now: from six hours from now on, for two.
fn later() -> String {
    window("daily", &clock(6 * HOUR), &clock(8 * HOUR), "UTC")
}

fn with(policy: &str, windows: &[String]) -> String {
    format!("{policy}  windows: [{}]\n", windows.join(", "))
}

#[test]
fn scenario_40_windows_open_and_stay_shut_by_live_edits_as_their_zones_and_days_say() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", &with(&patient(1), &[later()]));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    viewer.until_shut("node-0", "window", "");
    let explained = viewer.sees("/v1/nodes/node-0/explain");
    let gates = explained["gates"].as_array().expect("gates").iter();
    let next = gates.filter(|it| it["gate"] == "window").find_map(|it| it["next_check"].as_i64());
    assert!(next.is_some_and(|at| at > now()), "when it opens is said: {explained:#}");

    // One that is written wrongly is refused with its line, and the one before stays in force.
    let before = viewer.sees("/v1/plan")["policy"].clone();
    let good = window("daily", "00:00", "24:00", "Europe/Berlin");
    for (right, wrong, words) in [
        ("Europe/Berlin", "Europe/Berln", "Europe/Berln"),
        ("daily", "dayly", "dayly"),
        ("24:00", "24:30", "24:30"),
        ("days: [daily], ", "", "lacks `days`"),
        ("[daily]", "[]", "never opens"),
    ] {
        let text = with(&patient(1), &[good.replace(right, wrong)]);
        let line = format!("line {}", text.lines().count());
        bench.say_policy(&text);
        let plan = wait::until(&format!("it is refused: {words}"), WITHIN, || {
            let plan = viewer.sees("/v1/plan");
            let refused = plan["policy_refused"].as_str().unwrap_or_default();
            if refused.contains(&line) && refused.contains(words) { Ok(plan) } else { Err(plan) }
        });
        println!("{}", plan["policy_refused"]);
        assert_eq!(plan["policy"], before, "{plan}");
        viewer.until_shut("node-0", "window", "");
    }

    // Over midnight: it belongs to the day on which it began, in its own zone.
    let ahead = of_midnight();
    let (here, elsewhere) = (zone(ahead), zone(if ahead > 0 { ahead - 6 } else { ahead + 6 }));
    let over_midnight = |days: &str, zone: &str| window(days, "22:00", "03:00", zone);
    let tonight = over_midnight(day(ahead, 0), &here);
    let away = over_midnight("daily", &elsewhere);
    for shut in [&tonight, &away] {
        viewer.edits(&bench, &with(&patient(1), std::slice::from_ref(shut)));
        viewer.until_shut("node-0", "window", "");
    }
    // Open, and not for long enough.
    let short = window("daily", &clock(-2 * HOUR), &clock(20 * 60), "UTC");
    let slow = format!("{}  assumed: {{drain: 20m, reboot: 20m}}\n", patient(1));
    viewer.edits(&bench, &with(&slow, &[short]));
    viewer.until_shut("node-0", "fit", "");
    assert!(!viewer.shut("node-0").contains_key("window"));
    assert_eq!(bench.touched(), <[String; 0]>::default(), "nothing is touched");

    // Of several one is enough.
    let yesterdays = over_midnight(day(ahead, -1), &here);
    println!("{yesterdays}");
    viewer.edits(&bench, &with(&patient(1), &[later(), tonight, away, yesterdays]));
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);
}

#[test]
fn scenario_41_when_a_window_shuts_only_who_reboots_already_goes_on() {
    let bench = Bench::start(4);
    let policy = patient(3);
    let collector = bench.collector("one", &policy);
    let viewer = bench.person("viewer", &collector);
    bench.web(1);
    bench.pin("web");
    let draining = bench.nodes_of("web").pop().expect("a node with a pod");
    let [away, granted, waiting] = {
        let others: Vec<_> = bench.nodes.iter().filter(|it| **it != draining).cloned().collect();
        <[String; 3]>::try_from(others).expect("three others")
    };
    let agents = bench.live(&collector);
    agents.conduct(&away, Conduct::Vanishes);
    agents.conduct(&granted, Conduct::Ignores);
    for node in [&away, &granted, &draining] {
        agents.need_reboot(node);
    }
    bench.until_state(&collector, &away, "Rebooting");
    bench.until_state(&collector, &draining, "Draining");
    wait::until("another has its permission in hand", WITHIN, || {
        let has_one = agents.handed().iter().any(|(node, _)| *node == granted);
        if has_one { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    agents.need_reboot(&waiting);
    viewer.until_shut(&waiting, "pool-budget", "");

    viewer.edits(&bench, &with(&policy, &[later()]));
    viewer.until_shut(&waiting, "window", "");
    // What was not empty yet is undone.
    bench.until_state(&collector, &draining, "Backoff");
    assert!(!bench.is_unschedulable(&draining));
    let status = bench.request(&draining).expect("its request")["status"].clone();
    let why = status["message"].as_str().unwrap_or_default();
    assert!(why.contains("the window ended before the drain did"), "{status:#}");
    // What has its permission and has not used it gets none any more.
    wait::until("its permission is taken back", WITHIN, || {
        let status = bench.request(&granted).expect("its request")["status"].clone();
        let blockers = status["blockers"].as_array().cloned().unwrap_or_default();
        let is_held =
            status["state"] == "Granted" && blockers.iter().any(|it| it["gate"] == "window");
        if is_held { Ok(()) } else { Err(format!("{status:#}")) }
    });
    let handed = agents.handed().len();
    agents.conduct(&granted, Conduct::Reboots);
    let heard = agents.all_heard();
    wait::until("it is heard again and again", WITHIN, || {
        let more = agents.all_heard() - heard;
        if more >= ENOUGH { Ok(()) } else { Err(more) }
    });
    assert_eq!(agents.handed().len(), handed, "a grant after the window");
    // What was on its way down comes back and is finished.
    assert_eq!(bench.state(&away).as_deref(), Some("Rebooting"));
    agents.conduct(&away, Conduct::Reboots);
    wait::until("it is verified and takes pods", WITHIN, || {
        let is_done = bench.state(&away).is_none() && !bench.is_unschedulable(&away);
        if is_done { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    // Its place is free, and nobody takes it.
    viewer.until_looked();
    let shut = viewer.shut(&waiting);
    assert!(shut.contains_key("window") && !shut.contains_key("pool-budget"), "{shut:?}");
    let ledger = bench.ledger();
    assert!(!ledger.turns.iter().any(|it| it.node == waiting), "{:#?}", ledger.turns);
    assert_eq!(ledger.entered("Done").keys().copied().collect::<Vec<_>>(), [&*away]);
    assert_eq!(agents.reboots(), [away]);
    assert_eq!(bench.request(&waiting), None::<Value>);
}
