//! Claimed, Cordoning, Draining, and what is undone from there.

use super::*;
use crate::policy::DrainFailure;
use crate::policy::ForeignCordon;
use crate::policy::StuckVolumes;
use crate::request::Schedulability;

#[test]
fn a_claim_that_is_not_confirmed_in_time_is_given_back_and_told() {
    for spoil in [
        (|case| case.seen.count = unknown()) as fn(&mut Case),
        |case| case.seen.lease = unknown(),
        |case| case.seen.lease = Known::Known(LeaseSeen::Free),
    ] {
        let mut case = Case::at(State::Claimed);
        spoil(&mut case);
        case.stay(119);
        assert_eq!(case.settled(), State::Claimed);
        case.stay(1);
        case.persist();
        assert_eq!(
            (case.state(), case.failure()),
            (State::RollingBack, Some(FaultKind::Withdrawn))
        );
        assert!(case.has(Alert::ClaimStuck));
    }
}

#[test]
fn a_claim_above_a_cap_is_withdrawn_and_says_which() {
    let mut case = Case::at(State::Claimed);
    case.seen.count = Known::Known(Count::Above(blocker(Gate::PoolBudget)));
    assert_eq!(case.settled(), State::Needed);
    assert_eq!(case.gates(), [Gate::PoolBudget]);
    assert_eq!(case.failure(), Some(FaultKind::Withdrawn));
    assert_eq!(case.request.progress.rollbacks, 0);
}

#[test]
fn a_leader_that_has_just_begun_keeps_the_claims_of_nodes_that_it_has_not_heard() {
    for state in [State::Claimed, State::Cordoning] {
        let unheard = |gate: Gate| {
            let mut case = Case::at(state);
            case.seen.leading_since = case.now;
            case.node().agent.heard_at = None;
            case.seen.gates = vec![blocker(gate)];
            case
        };
        let mut case = unheard(Gate::AgentSilent);
        assert_eq!(case.settled(), state);
        // It speaks, and too many others do not yet.
        case.seen.gates = vec![blocker(Gate::DeadMan)];
        case.node().agent.heard_at = Some(case.now);
        assert_eq!(case.settled(), state);
        // It has spoken, and something else is in the way.
        case.seen.gates = vec![blocker(Gate::DeadMan), blocker(Gate::Hold)];
        assert_ne!(case.settled(), state);
        // It has had its time.
        let mut case = unheard(Gate::AgentSilent);
        case.seen.leading_since = case.now.plus(-121);
        assert_ne!(case.settled(), state);
    }
}

#[test]
fn a_claim_that_is_late_under_another_leader_names_what_is_shut() {
    let mut case = Case::at(State::Claimed);
    case.seen.leading_since = case.now;
    case.node().agent.heard_at = None;
    case.seen.gates = vec![blocker(Gate::DeadMan), blocker(Gate::Window)];
    case.request.progress.deadline = Some(case.now);
    assert_eq!(case.settled(), State::Needed);
    assert_eq!(case.gates(), [Gate::DeadMan, Gate::Window]);
    assert_eq!(case.request.progress.rollbacks, 0, "nothing failed");
}

#[test]
fn a_claim_takes_the_lease_and_gives_way_to_another_holder() {
    let mut case = Case::at(State::Claimed);
    assert_eq!(case.settle(), [Effect::TakeLease]);
    case.seen.lease = unknown();
    assert_eq!(case.step(), Step::Wait);
    case.seen.lease = Known::Known(LeaseSeen::Other { holder: "nhc".to_owned() });
    assert_eq!(case.settled(), State::Needed);
    assert_eq!(case.gates(), [Gate::NodeLease]);
}

#[test]
fn the_lease_goes_back_before_the_place() {
    let mut case = Case::at(State::Claimed);
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    case.seen.gates = vec![blocker(Gate::Alert)];
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    assert_eq!(case.state(), State::RollingBack);
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Needed);
    assert_eq!(case.gates(), [Gate::Alert]);
}

#[test]
fn nothing_is_marked_without_an_id() {
    let mut case = Case::at(State::Claimed);
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    case.request.id = String::new();
    assert_eq!(case.step(), Step::Wait);
}

#[test]
fn what_the_node_was_is_recorded_before_the_cordon() {
    let mut case = Case::at(State::Cordoning);
    assert_eq!(case.request.progress.before, Some(Schedulability::Schedulable));
    let cordon = Effect::Cordon { before: Schedulability::Schedulable };
    assert_eq!(case.settle(), [Effect::TakeLease, cordon]);
}

#[test]
fn a_foreign_cordon_is_left_alone_or_kept() {
    let mut case = Case::at(State::Claimed);
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    case.node().cordon = foreign();
    let mut include = case.clone();
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    assert_eq!(case.gates(), [Gate::ForeignCordon]);
    include.pool.foreign_cordon = ForeignCordon::Include;
    let cordon = Effect::Cordon { before: Schedulability::Unschedulable };
    assert_eq!(include.settle(), [Effect::TakeLease, cordon]);
}

#[test]
fn a_person_who_acts_during_the_cordon_is_seen() {
    let mut case = Case::at(State::Cordoning);
    case.pool.foreign_cordon = ForeignCordon::Include;
    case.node().cordon = foreign();
    let cordon = Effect::Cordon { before: Schedulability::Unschedulable };
    assert_eq!(case.settle(), [Effect::TakeLease, cordon]);
    case.node().cordon = Cordon::Schedulable;
    let cordon = Effect::Cordon { before: Schedulability::Schedulable };
    assert_eq!(case.settle(), [Effect::TakeLease, cordon]);
}

#[test]
fn a_cordon_that_cannot_be_set_is_undone_late() {
    let mut case = Case::at(State::Cordoning);
    case.stay(299);
    case.settle();
    assert_eq!(case.state(), State::Cordoning);
    case.stay(1);
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    assert!(case.has(Alert::CordonFailed));
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Backoff);
}

#[test]
fn volumes_are_recorded_before_the_first_eviction() {
    let mut case = Case::at(State::Draining);
    let volumes = vec!["pv-1".to_owned()];
    let drain = DrainSeen { volumes, ..left("default/db-0: running") };
    case.seen.drain = Known::Known(drain.clone());
    case.persist();
    assert_eq!(case.request.progress.drain.began, Some(case.now));
    assert!(case.request.progress.drain.volumes.contains("pv-1"));
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
    assert_eq!(case.gates(), [Gate::Drain]);
    // A pod that landed later brings another one.
    let volumes = vec!["pv-1".to_owned(), "pv-2".to_owned()];
    case.seen.drain = Known::Known(DrainSeen { volumes, ..drain });
    case.persist();
    assert!(case.request.progress.drain.volumes.contains("pv-2"));
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
}

#[test]
fn one_pod_that_cannot_go_keeps_all_of_them() {
    let mut case = Case::at(State::Draining);
    let stuck = vec!["default/web-1: budget default/web allows 0".to_owned()];
    case.seen.drain = Known::Known(DrainSeen { stuck, ..left("default/db-0: running") });
    assert_eq!(case.settle(), [Effect::TakeLease]);
    assert_eq!(case.request.progress.drain.began, None);
    assert!(case.request.progress.blockers[0].value.contains("default/web allows 0"));
    case.stay(600);
    assert_eq!(case.settle(), [Effect::TakeLease]);
    assert!(case.has(Alert::DrainSlow));
    case.stay(3_000);
    case.settle();
    assert_eq!((case.state(), case.failure()), (State::RollingBack, Some(FaultKind::DrainFailed)));
    assert!(case.has(Alert::DrainFailed));
    let message = case.request.progress.failure.clone().unwrap().message;
    assert!(message.contains("default/web allows 0"), "{message}");
}

#[test]
fn a_drain_that_failed_for_certain_is_rolled_back_before_its_deadline() {
    let mut case = Case::at(State::Draining);
    // That is for drains that take too long.
    case.pool.drain.on_failure = DrainFailure::Reboot;
    let failed = Some("hook before: exit code 1".to_owned());
    case.seen.drain = Known::Known(DrainSeen { failed, ..left("hook before: exit code 1") });
    case.settle();
    assert_eq!((case.state(), case.failure()), (State::RollingBack, Some(FaultKind::DrainFailed)));
    assert_eq!(case.request.progress.failure.clone().unwrap().message, "hook before: exit code 1");
}

#[test]
fn a_shut_gate_stops_evictions_and_the_window_ends_the_drain() {
    for gate in [Gate::Hold, Gate::Paused, Gate::Freeze, Gate::DeadMan, Gate::Alert] {
        let mut case = Case::at(State::Draining);
        case.seen.drain = Known::Known(left("default/web-1: running"));
        case.settle();
        case.seen.gates = vec![blocker(gate)];
        assert_eq!(case.settle(), [Effect::TakeLease], "{gate}");
        assert_eq!(case.state(), State::Draining);
        assert!(case.gates().contains(&gate));
    }
    let mut case = Case::at(State::Draining);
    case.seen.gates = vec![blocker(Gate::Window)];
    let mut overruns = case.clone();
    case.settle();
    assert_eq!((case.state(), case.failure()), (State::RollingBack, Some(FaultKind::Overrun)));
    overruns.pool.allow_overrun = true;
    assert_eq!(overruns.settled(), State::Granted);
}

#[test]
fn what_is_not_known_holds_the_drain() {
    let mut case = Case::at(State::Draining);
    case.seen.drain = unknown();
    assert_eq!(case.settle(), [Effect::TakeLease]);
    assert_eq!(case.gates(), [Gate::Drain]);
    case.stay(3_600);
    case.settle();
    assert_eq!(case.state(), State::RollingBack);
}

#[test]
fn load_balancers_get_their_time() {
    let mut case = Case::at(State::Draining);
    case.pool.drain.load_balancer_secs = Some(30);
    case.seen.drain = Known::Known(left("default/web-1: running"));
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::LeaveLoadBalancers]);
    case.stay(30);
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::LeaveLoadBalancers, Effect::Drain]);
}

#[test]
fn volumes_that_stay_attached_are_waited_for_and_then_decided_by_policy() {
    let mut case = Case::at(State::Draining);
    let attached = vec!["pv-1".to_owned()];
    case.seen.drain = Known::Known(DrainSeen { attached, ..DrainSeen::default() });
    assert_eq!(case.settle(), [Effect::TakeLease]);
    case.stay(359);
    case.settle();
    assert_eq!(case.state(), State::Draining);
    let mut strict = case.clone();
    case.stay(1);
    assert_eq!(case.settled(), State::Granted);
    strict.pool.drain.on_volumes = StuckVolumes::RollBack;
    strict.stay(1);
    assert_eq!(strict.settled(), State::RollingBack);
}

#[test]
fn a_drain_says_soon_what_it_waits_for_when_that_is_something_else() {
    let mut case = Case::at(State::Draining);
    let says = |case: &Case| case.request.progress.blockers[0].value.clone();
    for (pod, after, said) in [
        ("default/web-1: being evicted", 0, "default/web-1: being evicted"),
        ("default/web-1: terminating", 4, "default/web-1: being evicted"),
        ("default/web-1: terminating", 1, "default/web-1: terminating"),
    ] {
        case.stay(after);
        case.seen.drain = Known::Known(left(pod));
        case.settle();
        assert_eq!(says(&case), said);
    }
    // What is still true of some of it is enough for a minute.
    let more = ["default/web-1: terminating", "default/web-2: terminating"].map(str::to_owned);
    case.seen.drain = Known::Known(DrainSeen { left: more.into(), ..DrainSeen::default() });
    case.stay(59);
    case.settle();
    assert_eq!(case.request.progress.blockers.len(), 1);
    case.stay(1);
    case.settle();
    assert_eq!(case.request.progress.blockers.len(), 2);
}

#[test]
fn uncordoned_by_others_is_cordoned_again_three_times() {
    let mut case = Case::at(State::Draining);
    case.seen.drain = Known::Known(left("default/web-1: running"));
    case.settle();
    let deadline = case.request.progress.deadline;
    for time in 1..=3 {
        case.node().cordon = Cordon::Schedulable;
        let cordon = Effect::Cordon { before: Schedulability::Schedulable };
        assert_eq!(case.settle(), [Effect::TakeLease, cordon]);
        assert_eq!(case.request.progress.drain.recordons, time);
        case.stay(60);
        case.node().cordon = ours();
        assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
        assert_eq!(case.request.progress.deadline, deadline, "the time is not begun anew");
    }
    case.node().cordon = Cordon::Schedulable;
    assert_eq!(case.settled(), State::Quarantined);
    assert_eq!(case.failure(), Some(FaultKind::Uncordoned));
    assert!(case.request.progress.failure.clone().unwrap().message.contains("audit log"));
}

#[test]
fn a_person_who_takes_the_cordon_over_keeps_it() {
    let mut case = Case::at(State::Draining);
    case.node().cordon = foreign();
    assert_eq!(case.settle(), [Effect::ReleaseLease], "and no uncordon");
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Needed);
    // Cordoned by a person while ours is there: theirs stays at the end.
    let mut case = Case::at(State::Draining);
    case.seen.unschedulable_by = Some("kubectl".to_owned());
    case.persist();
    assert_eq!(case.request.progress.before, Some(Schedulability::Unschedulable));
}

#[test]
fn a_drain_that_fails_never_reboots_the_control_plane() {
    let mut case = Case::at(State::Draining);
    case.pool.drain.on_failure = DrainFailure::Reboot;
    case.seen.drain = Known::Known(left("default/web-1: running"));
    case.settle();
    case.stay(3_600);
    let mut control_plane = case.clone();
    let mut unread = case.clone();
    let mut gated = case.clone();
    case.settle();
    assert_eq!((case.state(), case.failure()), (State::Granted, Some(FaultKind::DrainFailed)));
    assert!(matches!(case.settle().as_slice(), [Effect::TakeLease, Effect::Offer { .. }]));
    control_plane.node().role = Role::ControlPlane;
    assert_eq!(control_plane.settled(), State::RollingBack);
    unread.seen.drain = unknown();
    assert_eq!(unread.settled(), State::RollingBack);
    gated.seen.gates = vec![blocker(Gate::Hold)];
    assert_eq!(gated.settled(), State::RollingBack);
}

#[test]
fn a_boot_before_the_grant_is_not_ours() {
    for state in [State::Claimed, State::Cordoning, State::Draining] {
        let mut case = Case::at(state);
        case.boot(2);
        case.persist();
        assert_eq!(case.state(), State::RollingBack, "{state:?}");
        assert!(case.has(Alert::UnplannedReboot));
        case.node().cordon = Cordon::Schedulable;
        case.seen.lease = Known::Known(LeaseSeen::Free);
        assert_eq!(case.settled(), State::Needed);
        assert!(case.has(Alert::UnplannedReboot), "until it is claimed again");
        assert_eq!(case.request.progress.boot, None);
        case.claim();
        assert!(!case.has(Alert::UnplannedReboot));
    }
}

#[test]
fn other_reasons_and_none_end_the_attempt() {
    let digest = Digest::of(b"other");
    for state in [State::Claimed, State::Cordoning, State::Draining] {
        let mut case = Case::at(state);
        case.node().agent.need = Need::Needed { reasons: reasons(), digest, since: start() };
        case.persist();
        assert_eq!(case.failure(), Some(FaultKind::Changed));
        case.node().cordon = Cordon::Schedulable;
        case.seen.lease = Known::Known(LeaseSeen::Free);
        assert_eq!(case.settled(), State::Needed, "{state:?}");
        let mut case = Case::at(state);
        case.node().agent.need = Need::NotNeeded;
        case.persist();
        case.node().cordon = Cordon::Schedulable;
        case.seen.lease = Known::Known(LeaseSeen::Free);
        assert_eq!(case.settled(), State::Cancelled, "{state:?}");
    }
}

#[test]
fn a_cancellation_restores_the_node_and_frees_the_place_last() {
    let mut case = Case::at(State::Draining);
    case.request.wish.intent = Intent::Cancel;
    let (marker, restore) = (ID.to_owned(), Schedulability::Schedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    assert_eq!(case.state(), State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    assert_eq!(case.state(), State::RollingBack);
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settle(), [Effect::Delete]);
    assert_eq!(case.state(), State::Cancelled);
}

#[test]
fn a_back_off_doubles_and_the_third_is_told() {
    let mut case = Case::at(State::Backoff);
    for (rollbacks, secs, told) in [
        (1, 300, false),
        (2, 600, false),
        (3, 1_200, true),
        (9, 76_800, true),
        (10, 86_400, true),
        (4_000, 86_400, true),
    ] {
        case.request.progress.state = State::RollingBack;
        case.request.progress.rollbacks = rollbacks - 1;
        case.settle();
        assert_eq!(case.state(), State::Backoff);
        assert_eq!(case.request.progress.deadline, Some(case.now.plus(secs)), "{rollbacks}");
        assert_eq!(case.has(Alert::DrainBackoff), told, "{rollbacks}");
    }
    let mut released = case.clone();
    case.stay(86_399);
    assert_eq!(case.settled(), State::Backoff);
    case.stay(1);
    assert_eq!(case.settled(), State::Needed);
    assert_eq!(case.request.progress.rollbacks, 4_000);
    released.release();
    assert_eq!(released.settled(), State::Needed);
    assert_eq!(released.request.progress.rollbacks, 0);
}

#[test]
fn a_cordon_that_comes_late_is_taken_back_and_counts_as_no_further_failure() {
    let mut case = Case::at(State::Backoff);
    let rollbacks = case.request.progress.rollbacks;
    assert_eq!(rollbacks, 1);
    case.node().cordon = ours();
    assert_eq!(case.settled(), State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    assert_eq!(case.settled(), State::Backoff);
    assert_eq!(case.request.progress.rollbacks, rollbacks);
}

#[test]
fn what_cannot_be_undone_keeps_the_place() {
    let mut case = Case::at(State::RollingBack);
    case.stay(1_000_000);
    let (marker, restore) = (ID.to_owned(), Schedulability::Schedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    assert_eq!(case.state(), State::RollingBack);
    assert!(case.has(Alert::RollbackFailed));
}

#[test]
fn a_marker_that_somebody_left_behind_is_taken_away() {
    let mut case = Case::at(State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    case.seen.marker = Some(ID.to_owned());
    let (marker, restore) = (ID.to_owned(), Schedulability::Schedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker: marker.clone(), restore }]);
    // Beside a cordon that is somebody's by now, which stays.
    case.node().cordon = foreign();
    let restore = Schedulability::Unschedulable;
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    case.seen.marker = Some("another".to_owned());
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
}

#[test]
fn a_cordon_that_arrives_late_is_undone() {
    for state in [State::Needed, State::Blocked, State::Ready] {
        let mut case = Case::at(state);
        case.node().cordon = ours();
        case.settle();
        assert_eq!(case.state(), State::RollingBack, "{state:?}");
    }
    let mut case = Case::at(State::Cancelled);
    case.node().cordon = ours();
    let (marker, restore) = (ID.to_owned(), Schedulability::Unschedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
}
