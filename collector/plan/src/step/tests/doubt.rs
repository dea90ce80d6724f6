//! Words that must not be believed, and what is late, odd or left over.

use super::*;
use crate::request::Schedulability;

fn undoes(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::Uncordon { .. }))
}

#[test]
fn a_node_that_shuts_down_slowly_has_not_failed_to() {
    let mut case = Case::at(State::Rebooting);
    case.stay(10);
    case.node().ready = Ready::NotSince(case.now);
    case.stay(600);
    assert_eq!(case.settled(), State::Rebooting);
    case.stay(1_800);
    assert_eq!(case.settled(), State::NotReturned);
    // Nor is its grant unused, though its word that it acts was lost.
    let mut case = Case::at(State::Granted);
    case.stay(10);
    case.node().ready = Ready::NotSince(case.now);
    case.stay(600);
    assert_eq!(case.settled(), State::Rebooting);
}

/// A node in quarantine because its reboot call failed.
fn failed() -> Case {
    let mut case = Case::at(State::Granted);
    case.answer(Answer::Failed("inhibited".to_owned()));
    case.settle();
    assert_eq!(case.state(), State::Quarantined);
    case
}

#[test]
fn a_reboot_that_comes_after_its_failure_is_recorded_and_verified() {
    let mut case = failed();
    case.stay(60);
    case.boot(2);
    case.persist();
    assert_eq!(case.state(), State::Booted);
    assert_eq!(case.request.progress.boot.clone().unwrap().boot, boot(2));
}

#[test]
fn a_failed_reboot_is_released_only_when_nothing_comes_of_it_any_more() {
    let mut case = failed();
    case.stay(1);
    case.release();
    assert!(!undoes(&case.settle()));
    case.stay(299);
    assert!(!undoes(&case.settle()));
    assert_eq!(case.state(), State::Quarantined);
    let mut down = case.clone();
    down.node().ready = Ready::NotSince(down.now);
    down.stay(1);
    assert_eq!(down.settled(), State::Quarantined, "it may be shutting down");
    case.stay(1);
    assert!(undoes(&case.settle()));
    assert_eq!(case.state(), State::RollingBack);
}

#[test]
fn a_lease_that_cannot_be_used_keeps_neither_cordon_nor_place() {
    for lease in [Known::Known(LeaseSeen::Free), unknown()] {
        let mut case = Case::at(State::RollingBack);
        case.seen.lease = lease;
        assert!(matches!(case.settle().as_slice(), [Effect::Uncordon { .. }]));
    }
    let mut case = Case::at(State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    case.seen.lease = unknown();
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    case.stay(300);
    assert_eq!(case.settled(), State::Backoff);
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    let mut case = Case::at(State::Cancelled);
    case.seen.lease = unknown();
    assert_eq!(case.settle(), [Effect::ReleaseLease, Effect::Delete]);
    case.pass(300);
    assert_eq!(case.settle(), [Effect::Delete]);
}

#[test]
fn a_release_of_tomorrow_releases_nothing_today() {
    for state in [State::Quarantined, State::NotReturned, State::Backoff] {
        let mut case = Case::at(state);
        case.release();
        case.request.wish.release.as_mut().unwrap().at = case.now.plus(86_400);
        assert_eq!(case.settled(), state);
    }
}

#[test]
fn a_person_who_cordoned_after_the_end_finds_it_cordoned() {
    for (by, restore) in [
        (Some("kubectl".to_owned()), Schedulability::Unschedulable),
        (None, Schedulability::Schedulable),
    ] {
        let mut case = Case::at(State::Done);
        case.node().cordon = ours();
        case.seen.unschedulable_by = by;
        let marker = ID.to_owned();
        assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    }
}

#[test]
fn a_cluster_that_cannot_be_read_keeps_no_node_and_no_alert() {
    for state in [State::Uncordoning, State::RollingBack] {
        let mut case = Case::at(state);
        case.seen.fresh = false;
        assert!(undoes(&case.settle()), "{state:?}");
        case.seen.node = unknown();
        assert_eq!(case.settle(), [], "{state:?}: not without the node");
    }
    let mut case = Case::at(State::Rebooting);
    case.seen.fresh = false;
    case.pass(1_800);
    case.persist();
    assert!(case.has(Alert::NodeNotReturned));
    assert_eq!((case.state(), case.step()), (State::Rebooting, Step::Wait));
}

/// A request in `state` on a node with the marker of another one, which took pods before.
fn orphan(state: State) -> Case {
    let mut case = Case::at(State::Claimed);
    case.request.progress.state = state;
    case.node().cordon = Cordon::Ours { request: "gone".to_owned() };
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    case
}

#[test]
fn the_marker_of_a_request_that_is_gone_is_undone_when_its_grant_is_certainly_void() {
    for state in [State::Needed, State::Blocked, State::Ready, State::Claimed, State::Cordoning] {
        let mut case = orphan(state);
        assert!(!undoes(&case.settle()));
        assert_eq!(case.state(), State::Granted, "{state:?}: it may have given a permission");
        case.stay(OFFER_SECS + 60 + MARGIN_SECS + 90);
        assert!(!undoes(&case.settle()), "{state:?}");
        case.stay(1);
        case.seen.marked_before = Some(Schedulability::Schedulable);
        let (marker, restore) = ("gone".to_owned(), Schedulability::Schedulable);
        assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }], "{state:?}");
        case.node().cordon = Cordon::Schedulable;
        case.seen.lease = Known::Known(LeaseSeen::Free);
        assert_eq!(case.settled(), State::Needed, "{state:?}");
    }
}

#[test]
fn what_a_request_that_is_gone_brings_about_is_verified() {
    let mut case = orphan(State::Blocked);
    case.settle();
    case.stay(60);
    case.boot(2);
    assert_eq!(case.settled(), State::Verifying);
    // Without its boot nobody could tell.
    let mut case = orphan(State::Blocked);
    case.node().agent.boot = None;
    assert_eq!((case.step(), case.state()), (Step::Wait, State::Blocked));
}

#[test]
fn a_drain_that_has_begun_goes_on_beside_a_pod_that_hangs() {
    let mut case = Case::at(State::Draining);
    case.seen.drain = Known::Known(left("default/web-1: running"));
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
    let stuck = vec!["default/db-0: kept by finalizers".to_owned()];
    case.seen.drain = Known::Known(DrainSeen { stuck, ..left("default/web-1: running") });
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
}

#[test]
fn the_same_digest_is_the_same_reasons_whatever_their_words() {
    let mut case = Case::at(State::Verifying);
    case.prove();
    let Need::Needed { reasons, digest, since } = needed() else { panic!("not needed") };
    let longer = reasons.into_iter().map(|it| Reason { subject: "x".repeat(999), ..it }).collect();
    case.node().agent.need = Need::Needed { reasons: longer, digest, since };
    case.stay(900);
    case.settle();
    assert_eq!(
        (case.state(), case.failure()),
        (State::Quarantined, Some(FaultKind::ReasonPersists))
    );
}

#[test]
fn a_reason_about_the_kernel_is_proved_by_a_kernel() {
    for (target, runs, failure) in [
        (NEW_KERNEL, NEW_KERNEL, None),
        (NEW_KERNEL, OLD_KERNEL, Some(FaultKind::KernelOlder)),
        ("", NEW_KERNEL, Some(FaultKind::Unproven)),
    ] {
        let mut case = Case::at(State::Verifying);
        case.request.progress.grant.as_mut().unwrap().expected_kernel = None;
        let reasons = reasons().into_iter();
        case.request.wish.reasons =
            reasons.map(|it| Reason { target: target.to_owned(), ..it }).collect();
        case.prove();
        case.node().agent.kernel = Some(runs.to_owned());
        case.settle();
        assert_eq!(case.request.progress.sound_since.is_some(), failure.is_none(), "{target}");
        case.stay(900);
        case.settle();
        assert_eq!(case.failure(), failure, "{target} {runs}");
    }
}

#[test]
fn a_node_that_was_not_ready_while_nobody_looked_soaks_anew() {
    let mut case = Case::at(State::Verifying);
    case.prove();
    case.settle();
    case.stay(119);
    case.node().ready = Ready::Since(case.now);
    case.stay(1);
    assert_eq!(case.settled(), State::Verifying);
    assert_eq!(case.request.progress.relapses, 1);
    case.stay(119);
    assert_eq!(case.settled(), State::Verifying);
    case.stay(1);
    assert_eq!(case.settled(), State::Uncordoning);
}

#[test]
fn more_volumes_than_a_record_holds_do_not_stop_a_drain() {
    let mut case = Case::at(State::Draining);
    let volumes = (0..999).map(|number| format!("pv-{number}")).collect();
    case.seen.drain = Known::Known(DrainSeen { volumes, ..left("default/web-1: running") });
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
    assert_eq!(case.request.progress.drain.volumes.len(), 256);
}

/// What a single node is shown as: see [`crate::plan::is_single`].
#[test]
fn a_drain_of_nothing_evicts_nothing_on_its_way_to_the_grant() {
    let mut case = Case::at(State::Draining);
    case.seen.drain = Known::Known(DrainSeen::default());
    for _ in 0..8 {
        match case.step() {
            Step::Persist(next) => case.request = *next,
            Step::Do(effects) => assert!(!effects.contains(&Effect::Drain), "{effects:?}"),
            Step::Wait => {}
        }
    }
    assert_eq!(case.state(), State::Granted);
}
