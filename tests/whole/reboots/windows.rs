//! Windows that shut while reboots are under way. Where windows are by the calendar is the matter of
//! `palisade_plan`; here is what follows from it.

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
