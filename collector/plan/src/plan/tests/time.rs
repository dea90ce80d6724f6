//! Learned durations, what fits a window, and when it may be whose turn.

use super::*;
use crate::fleet::Past;
use crate::plan::sample::at;
use crate::plan::sample::blocker;
use crate::plan::sample::finished;
use crate::plan::sample::guard;
use crate::plan::sample::needed;
use crate::plan::sample::node;
use crate::plan::sample::pod;
use crate::plan::sample::policy;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::run;
use crate::plan::sample::workers;
use crate::plan::tests::gates::window;
use crate::policy::Amount;
use crate::request::State;
use crate::seen::Usual;

/// What an unknown pool takes: 900 s of drain, 600 s of reboot, 120 s of soak.
const ASSUMED_SECS: i64 = 1_620;

#[test]
fn percentiles_are_those_of_the_newest_reboots() {
    let learn = |times: &[u32]| {
        let mut past = Past::default();
        let done = times.iter().map(|secs| finished("x", 0, *secs)).collect();
        past.done.insert("web".to_owned(), done);
        usual(&past, "web")
    };
    assert_eq!(learn(&[1, 2, 3, 4]), Usual::default(), "too few");
    let five = learn(&[5, 1, 4, 2, 3]);
    assert_eq!((five.drain_p95, five.reboot_p95, five.reboot_p99), (Some(60), Some(5), Some(5)));
    let hundred: Vec<u32> = (1..=100).collect();
    assert_eq!(learn(&hundred).reboot_p95, Some(95));
    assert_eq!(learn(&hundred).reboot_p99, Some(99));
    let old_and_new: Vec<u32> = [9_999; 300].into_iter().chain([7; 200]).collect();
    assert_eq!(learn(&old_and_new).reboot_p99, Some(7), "the old ones are forgotten");
}

#[test]
fn what_was_learned_decides_what_fits() {
    let mut nodes = workers(1);
    nodes.nodes.extend([("x", node("x", "other", "a"))].map(|(name, node)| (uid(name), node)));
    let mut web = pool("web", Amount::Count(1));
    web.windows = window("07:00", "08:10");
    assert_eq!(shut_gates(&nodes, &policy([web.clone()]), "w-000"), [Gate::Fit]);
    let done = (0..5).map(|_| finished("y", 90_000, 300)).collect();
    nodes.past.done.insert("web".to_owned(), done);
    assert_eq!(started(&nodes, &policy([web])), ["w-000"], "60 + 300 + 120 s");
}

#[test]
fn times_follow_rounds_of_as_many_nodes_as_may_go_at_once() {
    let nodes = workers(5);
    let two = policy([pool("web", Amount::Count(2))]);
    let etas: Vec<_> =
        (0..5).map(|index| eta(&nodes, &two, &format!("w-{index:03}")).unwrap()).collect();
    let round = |number: i64| NOW.plus(number * ASSUMED_SECS);
    assert_eq!(etas, [round(0), round(0), round(1), round(1), round(2)]);
    let mut flying = workers(5);
    put(&mut flying, "w-004", State::Draining);
    assert_eq!(eta(&flying, &two, "w-001"), Some(round(1)), "a place is taken");
}

#[test]
fn times_lie_in_windows_and_behind_what_opens_by_itself() {
    let nodes = workers(3);
    let mut web = pool("web", Amount::Count(1));
    web.windows = window("09:00", "10:00");
    // 08:00 now; two reboots of 27 minutes fit an hour, the third waits for tomorrow.
    let policy = policy([web]);
    let nine = NOW.plus(3_600);
    assert_eq!(eta(&nodes, &policy, "w-000"), Some(nine));
    assert_eq!(eta(&nodes, &policy, "w-001"), Some(nine.plus(ASSUMED_SECS)));
    assert_eq!(eta(&nodes, &policy, "w-002"), Some(nine.plus(86_400)));
    let mut held = workers(3);
    at(&mut held, "w-000")
        .blockers
        .push(Blocker { next_check: Some(NOW.plus(7_200)), ..blocker(Gate::Certificate) });
    at(&mut held, "w-001").blockers.push(blocker(Gate::Certificate));
    assert_eq!(eta(&held, &policy, "w-001"), None, "nobody knows when");
    assert_eq!(eta(&held, &policy, "w-000"), Some(nine.plus(86_400)), "10:00 is too late today");
}

#[test]
fn a_window_that_is_always_too_short_gives_no_time() {
    let mut web = pool("web", Amount::Count(1));
    web.windows = window("09:00", "09:20");
    assert_eq!(eta(&workers(1), &policy([web]), "w-000"), None);
}

/// The digest stands for order, reasons and starts, not for the moment.
#[test]
fn the_same_plan_later_has_the_same_digest_and_another_plan_has_another() {
    let nodes = workers(3);
    let policy = policy([pool("web", Amount::Count(1))]);
    let first = plan(&nodes, &policy, NOW);
    assert_eq!(first.digest, plan(&nodes, &policy, NOW.plus(1)).digest);
    let mut held = nodes.clone();
    at(&mut held, "w-000").blockers.push(blocker(Gate::Certificate));
    assert_ne!(first.digest, plan(&held, &policy, NOW).digest);
    let mut other = nodes;
    at(&mut other, "w-002").agent.need = needed(NOW.plus(-9_999));
    assert_ne!(first.digest, plan(&other, &policy, NOW).digest);
}

#[test]
fn a_drain_in_rounds_takes_longer_and_a_plan_says_so_before_it_begins() {
    let mut nodes = workers(3);
    guard(&mut nodes, &[("shop/web", 1)]);
    run(&mut nodes, "w-000", vec![pod("a", &["shop/web"]), pod("b", &["shop/web"])]);
    run(&mut nodes, "w-001", vec![pod("c", &["shop/web"])]);
    at(&mut nodes, "w-000").agent.need = needed(NOW.plus(-7_200));
    let met = |policy: &Policy, name: &str| outlooks(&nodes, policy, NOW)[&uid(name)].clone();
    let together = policy([pool("web", Amount::Count(3))]);
    assert_eq!(met(&together, "w-000"), Outlook::Serial { rounds: 2, shared: Vec::new() });
    let shared = vec!["shop/web".to_owned()];
    assert_eq!(met(&together, "w-001"), Outlook::Serial { rounds: 3, shared }, "beside the first");
    assert_eq!(met(&together, "w-002"), Outlook::Clear);
    assert_eq!(started(&nodes, &together), ["w-000", "w-002"]);
    let singly = policy([pool("web", Amount::Count(1))]);
    assert_eq!(eta(&nodes, &singly, "w-000"), Some(NOW));
    let after = NOW.plus(ASSUMED_SECS + 900);
    assert_eq!(eta(&nodes, &singly, "w-002"), Some(after), "one more round of the drain");
}
