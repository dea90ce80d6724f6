//! What holds in every state: deadlines, time, deletion, other nodes, unknowns.

use super::*;

/// Rows of the table in the documentation of `deadline`, by state: deadline in seconds and alert.
fn documented() -> BTreeMap<String, (Option<i64>, Option<String>)> {
    let rows =
        include_str!("../deadline.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let states = cells.filter(|cells| State::ALL.iter().any(|it| format!("{it:?}") == cells[0]));
    states
        .map(|cells| {
            let secs = cells[4].strip_suffix(" s").map(|secs| secs.parse().unwrap());
            let alert = (cells[5] != "-").then(|| cells[5].to_owned());
            (cells[0].to_owned(), (secs, alert))
        })
        .collect()
}

#[test]
fn every_state_but_an_end_has_the_deadline_and_the_alert_of_its_row() {
    let documented = documented();
    assert_eq!(documented.len(), State::ALL.len());
    for state in State::ALL {
        let case = Case::at(state);
        let progress = &case.request.progress;
        let secs = progress.deadline.map(|deadline| deadline.since(progress.since));
        let alert = alert_of(state).map(|alert| format!("{alert:?}"));
        assert_eq!(documented[&format!("{state:?}")], (secs, alert), "{state:?}");
        assert_eq!(secs.is_none(), state.is_terminal(), "{state:?}");
        assert_eq!(alert_of(state).is_none(), state.is_terminal(), "{state:?}");
    }
}

#[test]
fn late_raises_the_alert_or_leaves_the_state() {
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let mut case = Case::at(state);
        let deadline = case.request.progress.deadline.unwrap();
        case.stay(deadline.since(case.now).max(0));
        // Nothing can be read: nothing moves, and it is told.
        case.seen.node = unknown();
        case.settle();
        assert_eq!(case.state(), state);
        let told = case.has(alert_of(state).unwrap());
        // The first back-offs end by themselves.
        assert_eq!(told, state != State::Backoff, "{state:?}");
    }
}

/// Nothing is seen but the clock: whoever has a place keeps it, for years.
#[test]
fn time_alone_frees_no_place() {
    // A claim that nobody confirms is given back: nothing of ours is seen on its node.
    let holds = |state: &State| state.holds_slot() && *state != State::Claimed;
    for state in State::ALL.into_iter().filter(holds) {
        let mut case = Case::at(state);
        for _ in 0..2_000 {
            case.pass(100_000);
            case.settle();
            // What is undone needs to be seen as undone; here it never is.
            assert!(case.state().holds_slot(), "{state:?} became {:?}", case.state());
        }
    }
}

#[test]
fn a_node_that_is_gone_ends_everything() {
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let mut case = Case::at(state);
        case.seen.node = Known::Known(None);
        case.seen.lease = Known::Known(LeaseSeen::Ours);
        assert_eq!(case.settle(), [Effect::ReleaseLease, Effect::Delete], "{state:?}");
        assert_eq!(case.state(), State::NodeGone, "{state:?}");
        assert!(case.request.progress.alerts.is_empty());
    }
}

#[test]
fn another_node_is_never_touched() {
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let mut case = Case::at(state);
        case.node().uid = ID.parse().unwrap();
        assert_eq!(case.step(), Step::Wait, "{state:?}");
    }
}

#[test]
fn a_leader_of_the_past_does_nothing() {
    for state in State::ALL {
        let mut case = Case::at(state);
        case.request.progress.epoch = case.seen.epoch + 1;
        case.pass(1_000_000);
        match case.step() {
            Step::Wait => {}
            Step::Do(effects) => {
                assert!(effects.iter().all(|it| matches!(it, Effect::Forget(_))), "{effects:?}");
            }
            Step::Persist(next) => panic!("{state:?} became {:?}", next.progress.state),
        }
    }
}

#[test]
fn the_same_look_gives_the_same_step() {
    for state in State::ALL {
        let case = Case::at(state);
        assert_eq!(case.step(), case.step());
    }
}

#[test]
fn a_record_stays_small() {
    let mut case = Case::at(State::Draining);
    let pod = "ä".repeat(2_000);
    let left = vec![pod; 100];
    case.seen.drain = Known::Known(DrainSeen { left, ..DrainSeen::default() });
    case.settle();
    assert_eq!(case.request.progress.blockers.len(), 20);
    assert!(case.request.progress.blockers.iter().all(|it| it.value.len() <= 1_024));
    case.stay(3_600);
    case.settle();
    assert_eq!(case.request.progress.failure.clone().unwrap().message.len(), 1_024);
    for _ in 0..100 {
        case.request.progress.state = State::RollingBack;
        case.node().cordon = Cordon::Schedulable;
        case.seen.lease = Known::Known(LeaseSeen::Free);
        case.settle();
    }
    assert_eq!(case.request.progress.history.len(), crate::request::MAX_HISTORY);
}

#[test]
fn a_record_survives_its_own_writing() {
    for state in State::ALL {
        let request = Case::at(state).request;
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
