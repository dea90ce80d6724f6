//! How much of a look goes to requests that only wait.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::reboots::errand::asked;
use crate::reboots::sample::fleet_of;
use crate::reboots::stand::Stand;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// So many requests of people, none of which has a verdict yet; under this policy all of them wait.
fn waiting(count: usize) -> Fleet {
    let names: Vec<String> = (0..count).map(|at| format!("worker-{at:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fleet = fleet_of(&names, NOW);
    let requests = fleet.nodes.values().map(|node| {
        let wish = asked(None, None, "anna", NOW);
        let request = step::requested(node.name.clone(), node.uid.clone(), wish, 1, NOW);
        (node.uid.clone(), request)
    });
    fleet.requests = requests.collect();
    fleet
}

/// The nodes whose requests a look tries to write, and how long it takes, if each call takes so long.
async fn look(stand: &mut Stand, fleet: &mut Fleet) -> (BTreeSet<String>, i64) {
    let policy = Policy::default();
    let plan = plan::plan(fleet, &policy, NOW);
    let began = stand.coordinator.clock.now();
    stand.coordinator.judge(&plan, fleet, &policy, 1).await.unwrap();
    let took = stand.coordinator.clock.now().since(began);
    let written = stand.asked().into_keys().map(|asked| {
        let path = asked.trim_end_matches("/status");
        path.rsplit_once('/').unwrap().1.to_owned()
    });
    (written.collect(), took)
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_shuts_for_hundreds_is_written_down_in_turns() {
    let mut fleet = waiting(2 * MAX_JUDGED + 10);
    let mut stand = Stand::start(NOW, Vec::new(), Duration::ZERO);
    let mut reached = BTreeSet::new();
    for expected in [MAX_JUDGED, MAX_JUDGED] {
        let (written, _) = look(&mut stand, &mut fleet).await;
        assert_eq!(written.len(), expected);
        assert!(reached.is_disjoint(&written), "whoever had a turn is not refused a second one");
        reached.extend(written);
    }
    let (written, _) = look(&mut stand, &mut fleet).await;
    reached.extend(written);
    assert_eq!(reached.len(), fleet.requests.len(), "everybody had a turn");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_keeps_what_is_under_way_waiting_for_seconds_and_not_for_minutes() {
    let mut fleet = waiting(30);
    let mut stand = Stand::start(NOW, Vec::new(), Duration::from_secs(2));
    let (first, took) = look(&mut stand, &mut fleet).await;
    assert!((1..10).contains(&first.len()) && took <= 2 * JUDGE_SECS, "{first:?} in {took} s");
    let (second, _) = look(&mut stand, &mut fleet).await;
    assert!(first.is_disjoint(&second), "{first:?}, {second:?}");
}

#[tokio::test(start_paused = true)]
async fn what_says_already_what_it_waits_for_costs_no_turn() {
    let mut fleet = waiting(2 * MAX_JUDGED);
    let policy = Policy::default();
    let plan = plan::plan(&fleet, &policy, NOW);
    for request in fleet.requests.values_mut() {
        let place = &plan.places[&request.uid];
        let pool = policy.pool(&place.pool).unwrap_or(&policy.unmatched);
        if request.node.as_str() != "worker-100" {
            *request = step::judged(request, place.blockers.clone(), pool, 1, NOW).unwrap();
        }
    }
    let mut stand = Stand::start(NOW, Vec::new(), Duration::ZERO);
    let (written, _) = look(&mut stand, &mut fleet).await;
    assert_eq!(written, ["worker-100".to_owned()].into());
}
