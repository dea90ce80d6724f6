//! How much of a look goes to requests that only wait, and to whom it goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::reboots::alone::stand::Stand;
use crate::reboots::errand::asked;
use crate::reboots::sample::fleet_of;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// So many requests of people, none of which has a verdict yet; under this policy all of them wait.
fn waiting(count: usize) -> Fleet {
    let names: Vec<String> = (0..count).map(|at| format!("db-{at:03}")).collect();
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

/// The nodes whose requests one look writes.
async fn look(stand: &mut Stand, fleet: &mut Fleet) -> BTreeSet<NodeUid> {
    let version = |stand: &Stand| {
        let requests = stand.coordinator.register.requests().into_values();
        requests.map(|it| (it.uid, it.version)).collect::<BTreeSet<_>>()
    };
    let before = version(stand);
    let policy = Policy::default();
    let plan = plan::plan(fleet, &policy, NOW);
    stand.coordinator.judge(&plan, fleet, &policy).await;
    version(stand).difference(&before).map(|(uid, _)| uid.clone()).collect()
}

#[tokio::test]
async fn a_gate_that_shuts_for_hundreds_is_written_down_in_turns() {
    let mut fleet = waiting(2 * MAX_JUDGED + 10);
    let mut stand = Stand::start(NOW, Duration::ZERO).await;
    let mut reached = BTreeSet::new();
    for expected in [MAX_JUDGED, MAX_JUDGED, 10, 0] {
        let written = look(&mut stand, &mut fleet).await;
        assert_eq!(written.len(), expected);
        assert!(reached.is_disjoint(&written), "one turn each");
        reached.extend(written);
    }
}

#[tokio::test]
async fn a_slow_store_keeps_what_is_under_way_waiting_for_seconds_and_not_for_minutes() {
    let mut fleet = waiting(30);
    let mut stand = Stand::start(NOW, Duration::from_secs(1)).await;
    let first = look(&mut stand, &mut fleet).await;
    assert!((1..10).contains(&first.len()), "{first:?}");
    let second = look(&mut stand, &mut fleet).await;
    assert!(!second.is_empty() && first.is_disjoint(&second), "{first:?}, {second:?}");
}

#[tokio::test]
async fn what_is_under_way_goes_before_what_waits() {
    let mut fleet = waiting(10);
    let policy = Policy::default();
    let (uid, request) = fleet.requests.last_key_value().unwrap();
    let node = &fleet.nodes[uid];
    let placement = Placement { pool: String::new(), zone: String::new(), role: node.role };
    let pool = &policy.unmatched;
    let claimed = step::claim(request, node, placement, pool, 1, NOW).unwrap();
    fleet.requests.insert(claimed.uid.clone(), claimed.clone());
    let mut stand = Stand::start(NOW, Duration::ZERO).await;
    let plan = stand.coordinator.act(NOW, &mut fleet, &policy).await;
    assert_eq!(plan.start, []);
    let told = stand.told().await;
    assert_eq!(told.first().map(String::as_str), Some("db-009"), "{told:?}");
    assert!(told.contains(&"db-000".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_look_that_takes_long_goes_on_where_it_was_cut_short() {
    let mut fleet = waiting(30);
    let policy = Policy::default();
    let mut stand = Stand::start(NOW, Duration::from_secs(4)).await;
    stand.coordinator.drive_all(NOW, &mut fleet, &policy).await;
    let first = stand.coordinator.driven.clone();
    assert!(first.is_some() && first.as_ref() != fleet.requests.keys().last(), "{first:?}");
    let began = stand.coordinator.clock.now();
    stand.coordinator.drive_all(began, &mut fleet, &policy).await;
    assert!(stand.coordinator.driven > first, "{:?}", stand.coordinator.driven);
}
