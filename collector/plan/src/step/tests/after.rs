//! Granted and everything after it.

use super::*;
use crate::request::Proof;
use crate::request::Schedulability;

type Spoil = fn(&mut Case);

/// Seconds from the grant to the moment after which it can start nothing.
const VOID_SECS: i64 = OFFER_SECS + 60 + MARGIN_SECS;

/// Seconds from the grant to the last word of a node that uses it.
const OVER_SECS: i64 = VOID_SECS + 90;

fn offers(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::Offer { .. }))
}

#[test]
fn a_grant_names_all_that_it_is_for_before_it_is_offered() {
    let mut case = Case::at(State::Granted);
    let grant = case.request.progress.grant.clone().unwrap();
    assert_eq!((grant.id, &grant.boot), (grant_id(1), &boot(1)));
    assert_eq!(grant.report, Digest::of(b"report 1"));
    assert_eq!(grant.expected_kernel.as_deref(), Some(NEW_KERNEL));
    assert_eq!(grant.void_after, case.now.plus(VOID_SECS));
    let until = case.now.plus(OFFER_SECS);
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Offer { grant, until }]);
}

/// Each thing that must be true for a grant, made untrue: no grant is given, and none that was given is
/// handed out.
#[test]
fn no_grant_without_all_that_it_takes() {
    let spoil: &[(&str, Spoil)] = &[
        ("a gate", |case| case.seen.gates = vec![blocker(Gate::Alert)]),
        ("etcd", |case| case.seen.gates = vec![blocker(Gate::Etcd)]),
        ("the window", |case| case.seen.gates = vec![blocker(Gate::Fit)]),
        ("pods", |case| case.seen.drain = Known::Known(left("default/web-1: running"))),
        ("pods unknown", |case| case.seen.drain = unknown()),
        ("lease lost", |case| case.seen.lease = Known::Known(LeaseSeen::Free)),
        ("lease unknown", |case| case.seen.lease = unknown()),
        ("need unknown", |case| {
            case.node().agent.need = Need::Unknown { why: "timeout".to_owned() };
        }),
        ("silent", |case| case.pass(121)),
        ("not heard by this leader", |case| {
            case.pass(121);
            case.seen.leading_since = case.now;
        }),
        ("hold", |case| {
            let reason = "anna works on it".to_owned();
            case.node().hold = Some(crate::fleet::Hold { reason, until: None });
        }),
        ("hold file", |case| {
            case.node().agent.hold_file = Known::Known(Some("not now".to_owned()));
        }),
        ("hold file unknown", |case| case.node().agent.hold_file = unknown()),
        ("no means", |case| case.node().agent.reboot_method = unknown()),
        ("no report", |case| case.node().agent.report = None),
        ("no boot", |case| case.node().agent.boot = None),
        ("not fresh", |case| case.seen.fresh = false),
        ("node unknown", |case| case.seen.node = unknown()),
        ("another leader", |case| case.request.progress.epoch = 2),
        ("uncordoned", |case| case.node().cordon = Cordon::Schedulable),
        ("taken over", |case| case.node().cordon = foreign()),
        ("cancelled", |case| case.request.wish.intent = Intent::Cancel),
    ];
    for (what, spoil) in spoil {
        let mut case = Case::at(State::Draining);
        case.persist();
        case.persist();
        assert!(case.request.progress.drain.ended.is_some());
        spoil(&mut case);
        case.settle();
        assert_ne!(case.state(), State::Granted, "{what}");
        let mut case = Case::at(State::Granted);
        assert!(offers(&case.settle()));
        spoil(&mut case);
        assert!(!offers(&case.settle()), "{what}");
    }
}

#[test]
fn a_hold_that_is_over_holds_nothing() {
    let mut case = Case::at(State::Granted);
    let until = Some(case.now);
    case.node().hold = Some(crate::fleet::Hold { reason: "lunch".to_owned(), until });
    assert!(offers(&case.settle()));
}

#[test]
fn who_leads_no_more_takes_its_offer_back() {
    let mut case = Case::at(State::Granted);
    case.seen.fresh = false;
    assert_eq!(case.step(), Step::Do(vec![Effect::Forget(grant_id(1))]));
    let mut case = Case::at(State::Granted);
    case.request.progress.epoch = 2;
    assert_eq!(case.step(), Step::Do(vec![Effect::Forget(grant_id(1))]));
}

#[test]
fn a_new_leader_writes_its_epoch_before_it_acts() {
    for state in State::ALL.into_iter().filter(|state| state.holds_slot()) {
        let mut case = Case::at(state);
        case.seen.epoch = 7;
        case.persist();
        assert_eq!((case.state(), case.request.progress.epoch), (state, 7));
    }
}

#[test]
fn silence_and_a_node_that_goes_down_are_taken_for_a_reboot() {
    let mut case = Case::at(State::Granted);
    case.pass(120);
    assert_eq!(case.settled(), State::Granted);
    case.pass(1);
    assert_eq!(case.settled(), State::Rebooting);
    let mut case = Case::at(State::Granted);
    case.stay(10);
    case.node().ready = Ready::NotSince(case.now);
    assert_eq!(case.settled(), State::Rebooting);
    // It was not ready all along: that is no sign.
    let mut case = Case::at(State::Granted);
    case.node().ready = Ready::NotSince(case.now.plus(-100));
    assert_eq!(case.settled(), State::Granted);
}

#[test]
fn a_leader_that_has_just_begun_misses_nobody() {
    let mut case = Case::at(State::Granted);
    case.pass(3_600);
    case.seen.leading_since = case.now;
    assert_eq!(case.settled(), State::Granted);
    let mut case = Case::at(State::Rebooting);
    case.pass(3_600);
    case.seen.leading_since = case.now;
    assert_eq!(case.settled(), State::Rebooting);
    assert!(case.has(Alert::NodeNotReturned));
    case.pass(121);
    assert_eq!(case.settled(), State::NotReturned);
}

#[test]
fn a_grant_is_offered_for_a_time_and_over_when_the_node_is_heard_after_it() {
    let mut case = Case::at(State::Granted);
    case.stay(OFFER_SECS);
    assert_eq!(case.settle(), [Effect::TakeLease]);
    case.seen.next_grant = grant_id(2);
    case.stay(OVER_SECS - OFFER_SECS);
    case.settle();
    assert_eq!(case.request.progress.grant.as_ref().unwrap().id, grant_id(1));
    // Void, but not heard since.
    case.pass(1);
    case.settle();
    assert_eq!(case.request.progress.grant.as_ref().unwrap().id, grant_id(1));
    case.stay(0);
    assert!(offers(&case.settle()));
    assert_eq!(case.request.progress.grant.as_ref().unwrap().id, grant_id(2));
    assert_eq!(case.request.progress.deadline, Some(start().plus(300)), "the time is not anew");
}

/// The clock that stamps heartbeats was set forward, the one that grants are void by was not.
#[test]
fn a_word_from_the_future_ends_no_grant_and_begins_none() {
    let mut case = Case::at(State::Granted);
    case.seen.next_grant = grant_id(2);
    case.request.wish.intent = Intent::Cancel;
    case.node().agent.heard_at = Some(case.now.plus(3_600));
    assert_eq!(case.settle(), [Effect::Forget(grant_id(1)), Effect::TakeLease]);
    assert_eq!(case.state(), State::Granted);
    // It may be void by now, but nobody knows when the node was heard.
    case.pass(OVER_SECS + 1);
    case.settle();
    assert_eq!(case.state(), State::Granted);
    case.stay(0);
    assert_eq!(case.settled(), State::RollingBack);
    let mut case = Case::at(State::Draining);
    case.node().agent.heard_at = Some(case.now.plus(3_600));
    case.settle();
    assert_eq!((case.state(), case.gates()), (State::Draining, vec![Gate::AgentSilent]));
}

#[test]
fn a_roll_back_takes_the_offer_back_and_undoes_nothing_before_the_grant_is_void() {
    let mut case = Case::at(State::Granted);
    case.request.progress.state = State::RollingBack;
    assert_eq!(case.settle(), [Effect::Forget(grant_id(1)), Effect::TakeLease]);
    case.stay(VOID_SECS);
    assert_eq!(case.settle(), [Effect::Forget(grant_id(1)), Effect::TakeLease]);
    case.stay(1);
    let undoes =
        |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Uncordon { .. }));
    assert!(undoes(&case.settle()));
}

#[test]
fn an_id_is_never_used_twice() {
    let mut case = Case::at(State::Granted);
    case.stay(OVER_SECS + 1);
    assert_eq!(case.settle(), [Effect::TakeLease]);
    assert_eq!(case.request.progress.grant.as_ref().unwrap().at, start());
}

#[test]
fn a_refusal_stops_the_offer_and_proves_nothing() {
    let mut case = Case::at(State::Granted);
    case.answer(Answer::Refused("hold file".to_owned()));
    assert_eq!(case.settle(), [Effect::Forget(grant_id(1)), Effect::TakeLease]);
    case.stay(300);
    case.answer(Answer::Executing);
    assert_eq!(case.settled(), State::Rebooting);
    // Another process, which only heard of the repetition.
    case.seen.answers.clear();
    case.answer(Answer::Refused("used".to_owned()));
    assert_eq!(case.settled(), State::Rebooting);
    assert_eq!(case.request.progress.grant.clone().unwrap().answer, Some(Answer::Executing));
}

#[test]
fn a_grant_that_is_not_used_is_undone_only_when_it_is_certain() {
    let mut case = Case::at(State::Granted);
    case.stay(OVER_SECS + 1);
    case.seen.next_grant = grant_id(2);
    case.settle();
    // The second one, given at 271, is used until 541, if at all.
    case.stay(300 - OVER_SECS - 1);
    case.settle();
    assert_eq!(case.state(), State::Granted);
    assert!(case.has(Alert::GrantNotConsumed));
    case.stay(241);
    assert_eq!(case.settled(), State::Granted);
    case.stay(1);
    case.settle();
    assert_eq!(
        (case.state(), case.failure()),
        (State::RollingBack, Some(FaultKind::GrantNotConsumed))
    );
}

#[test]
fn what_a_leader_before_us_handed_out_is_waited_for() {
    let mut case = Case::at(State::Granted);
    case.request.progress.deadline = Some(start().plus(3_600));
    case.stay(OVER_SECS + 1);
    case.seen.leading_since = case.now;
    case.stay(0);
    case.seen.next_grant = grant_id(2);
    let grant = |case: &Case| case.request.progress.grant.as_ref().unwrap().id;
    case.settle();
    assert_eq!(grant(&case), grant_id(1));
    case.stay(60 + MARGIN_SECS + 90 + 1);
    case.settle();
    assert_eq!(grant(&case), grant_id(2));
}

#[test]
fn a_slow_shutdown_is_not_taken_for_a_grant_that_was_not_used() {
    let mut case = Case::at(State::Granted);
    case.seen.shutdown_grace_secs = 100;
    case.seen.next_grant = grant_id(2);
    case.stay(VOID_SECS + 100);
    case.settle();
    assert_eq!(case.request.progress.grant.as_ref().unwrap().id, grant_id(1));
    case.stay(1);
    case.settle();
    assert_eq!(case.request.progress.grant.as_ref().unwrap().id, grant_id(2));
}

#[test]
fn pods_that_came_back_are_drained_before_another_grant() {
    let mut case = Case::at(State::Granted);
    case.stay(OVER_SECS + 1);
    case.seen.next_grant = grant_id(2);
    case.seen.drain = Known::Known(left("default/late-1: running"));
    assert_eq!(case.settle(), [Effect::TakeLease, Effect::Drain]);
    assert_eq!(case.state(), State::Draining);
}

#[test]
fn it_is_too_late_to_cancel_unless_the_grant_comes_to_nothing() {
    let mut case = Case::at(State::Granted);
    case.request.wish.intent = Intent::Cancel;
    assert_eq!(case.settle(), [Effect::Forget(grant_id(1)), Effect::TakeLease]);
    assert_eq!((case.state(), case.failure()), (State::Granted, Some(FaultKind::TooLateToCancel)));
    let mut used = case.clone();
    case.stay(OVER_SECS + 1);
    assert_eq!(case.settled(), State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Cancelled);
    used.answer(Answer::Executing);
    assert_eq!(used.settled(), State::Rebooting);
    for state in [State::Booted, State::Verifying, State::Uncordoning, State::NotReturned] {
        let mut case = Case::at(state);
        case.request.wish.intent = Intent::Cancel;
        case.settle();
        assert_eq!((case.state(), case.failure()), (state, Some(FaultKind::TooLateToCancel)));
    }
}

#[test]
fn only_another_boot_id_is_a_boot() {
    for state in [State::Granted, State::Rebooting, State::NotReturned] {
        let mut case = Case::at(state);
        case.stay(1);
        case.node().agent.kernel = Some(NEW_KERNEL.to_owned());
        case.node().agent.need = Need::NotNeeded;
        case.seen.kubelet = Known::Known(Kubelet::Speaks(Some(boot(2))));
        case.settle();
        assert_ne!(case.state(), State::Booted, "{state:?}");
        case.boot(2);
        case.persist();
        assert_eq!(case.state(), State::Booted, "{state:?}");
        let record = case.request.progress.boot.clone().unwrap();
        assert_eq!((record.boot, record.seen_at), (boot(2), case.now));
    }
}

#[test]
fn a_boot_after_nothing_but_a_refusal_is_verified_and_told() {
    let mut case = Case::at(State::Granted);
    case.answer(Answer::Refused("hold file".to_owned()));
    case.settle();
    case.boot(2);
    case.persist();
    assert_eq!(case.state(), State::Booted);
    assert!(case.has(Alert::UnplannedReboot));
}

#[test]
fn a_reboot_call_that_failed_is_not_tried_again() {
    let mut case = Case::at(State::Rebooting);
    case.answer(Answer::Failed("inhibited".to_owned()));
    case.settle();
    assert_eq!(
        (case.state(), case.failure()),
        (State::Quarantined, Some(FaultKind::RebootCommandFailed))
    );
    assert!(case.has(Alert::RebootCommandFailed) && case.has(Alert::NodeQuarantined));
    // It says nothing more, and keeps running.
    let mut case = Case::at(State::Rebooting);
    case.seen.shutdown_grace_secs = 30;
    case.stay(329);
    assert_eq!(case.settled(), State::Rebooting);
    case.stay(1);
    assert_eq!(case.settled(), State::Quarantined);
    assert_eq!(case.failure(), Some(FaultKind::RebootCommandFailed));
}

#[test]
fn a_reboot_gets_the_time_that_it_usually_takes() {
    for (p99, secs) in [(None, 1_800), (Some(100), 600), (Some(700), 1_400)] {
        let mut case = Case::at(State::Granted);
        case.seen.usual.reboot_p99 = p99;
        case.answer(Answer::Executing);
        case.persist();
        assert_eq!(case.request.progress.deadline, Some(case.now.plus(secs)));
    }
}

#[test]
fn a_node_that_does_not_return_keeps_its_place_until_a_person_speaks() {
    let mut case = Case::at(State::NotReturned);
    assert!(case.has(Alert::NodeNotReturned));
    case.pass(10_000_000);
    case.settle();
    assert_eq!(case.state(), State::NotReturned);
    // A release from before does not count.
    let mut early = case.clone();
    early.now = early.request.progress.since.plus(-1);
    early.release();
    assert_eq!(early.settled(), State::NotReturned);
    case.release();
    case.settle();
    assert_eq!(case.state(), State::RollingBack);
    case.node().cordon = Cordon::Schedulable;
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Cancelled);
}

#[test]
fn a_boot_is_followed_by_a_ready_node_with_a_report_of_it() {
    let ready: Spoil = |case| case.node().ready = Ready::Since(case.now);
    let reported: Spoil = |case| case.node().agent.report = Some(Digest::of(b"report 2"));
    for only in [ready, reported] {
        let mut case = Case::at(State::Booted);
        only(&mut case);
        case.settle();
        assert_eq!(case.state(), State::Booted);
        case.stay(600);
        case.settle();
        assert_eq!(
            (case.state(), case.failure()),
            (State::Quarantined, Some(FaultKind::NotReadyAfterBoot))
        );
    }
    let mut case = Case::at(State::Booted);
    ready(&mut case);
    reported(&mut case);
    case.settle();
    assert_eq!(case.state(), State::Verifying);
}

#[test]
fn all_proofs_for_the_soak_time_and_then_the_cordon_goes() {
    let mut case = Case::at(State::Verifying);
    case.prove();
    case.settle();
    assert_eq!(case.request.progress.sound_since, Some(case.now));
    case.stay(119);
    assert_eq!(case.settled(), State::Verifying);
    case.stay(1);
    case.persist();
    assert_eq!(case.state(), State::Uncordoning);
    let proofs: Vec<_> = case.request.progress.proofs.keys().copied().collect();
    assert_eq!(proofs, Proof::ALL);
    assert_eq!(case.request.progress.proofs[&Proof::Kernel], NEW_KERNEL);
    let (marker, restore) = (ID.to_owned(), Schedulability::Schedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    case.stay(300);
    case.settle();
    assert!(case.has(Alert::UncordonFailed));
    assert_eq!(case.state(), State::Uncordoning);
    case.node().cordon = Cordon::Schedulable;
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settle(), [Effect::Delete]);
    assert_eq!(case.state(), State::Done);
    assert_eq!(case.request.progress.proofs.len(), Proof::ALL.len());
}

/// Each proof, spoiled: it is not Done, and the quarantine says what it was.
#[test]
fn no_end_without_each_proof() {
    let spoil: &[(Spoil, FaultKind)] = &[
        (|case| case.node().agent.need = needed(), FaultKind::ReasonPersists),
        (
            |case| case.node().agent.need = Need::Unknown { why: "no database".to_owned() },
            FaultKind::Unproven,
        ),
        (|case| case.node().agent.kernel = Some(OLD_KERNEL.to_owned()), FaultKind::KernelOlder),
        (|case| case.node().agent.kernel = None, FaultKind::Unproven),
        (|case| case.node().agent.report = None, FaultKind::Unproven),
        (|case| case.node().ready = Ready::Unknown, FaultKind::Unproven),
        (|case| case.node().ready = Ready::NotSince(case.now), FaultKind::NotReadyAfterBoot),
        (|case| case.seen.kubelet = unknown(), FaultKind::Unproven),
        (
            |case| case.seen.kubelet = Known::Known(Kubelet::Speaks(Some(boot(1)))),
            FaultKind::NotReadyAfterBoot,
        ),
        (|case| case.seen.kubelet = Known::Known(Kubelet::Speaks(None)), FaultKind::Unproven),
    ];
    for (index, (spoil, kind)) in spoil.iter().enumerate() {
        let mut case = Case::at(State::Verifying);
        case.prove();
        spoil(&mut case);
        case.stay(899);
        assert_eq!(case.settled(), State::Verifying, "{index}");
        assert!(case.request.progress.proofs.len() < Proof::ALL.len(), "{index}");
        case.stay(1);
        case.settle();
        assert_eq!((case.state(), case.failure()), (State::Quarantined, Some(*kind)), "{index}");
        assert!(case.has(Alert::NodeQuarantined), "{index}");
    }
}

#[test]
fn proofs_that_come_and_go_begin_the_soak_anew_and_are_told() {
    let mut case = Case::at(State::Verifying);
    case.prove();
    case.settle();
    case.stay(100);
    case.node().ready = Ready::NotSince(case.now);
    case.settle();
    assert_eq!(case.request.progress.sound_since, None);
    case.stay(30);
    case.prove();
    case.settle();
    assert_eq!(case.request.progress.sound_since, Some(case.now));
    assert_eq!(case.request.progress.relapses, 1);
    case.node().ready = Ready::NotSince(case.now);
    case.stay(900);
    case.settle();
    assert_eq!((case.state(), case.failure()), (State::Quarantined, Some(FaultKind::Flapping)));
}

#[test]
fn a_soak_that_began_in_time_may_end_late() {
    let mut case = Case::at(State::Verifying);
    case.stay(899);
    case.prove();
    case.settle();
    case.stay(119);
    assert_eq!(case.settled(), State::Verifying);
    assert!(!case.has(Alert::NodeQuarantined));
    case.stay(1);
    assert_eq!(case.settled(), State::Uncordoning);
}

#[test]
fn a_second_boot_proves_anew_and_is_told() {
    let mut case = Case::at(State::Verifying);
    case.prove();
    case.settle();
    case.boot(3);
    case.persist();
    assert_eq!(case.request.progress.boot.clone().unwrap().boot, boot(3));
    assert!(case.request.progress.proofs.is_empty());
    assert!(case.has(Alert::UnplannedReboot));
    // A word of the boot before the grant that arrives late is no boot.
    let mut case = Case::at(State::Verifying);
    case.boot(1);
    case.settle();
    assert_eq!(case.request.progress.boot.clone().unwrap().boot, boot(2));
}

#[test]
fn a_quarantine_ends_by_a_person_and_restores_the_node() {
    let mut case = Case::at(State::Quarantined);
    case.prove();
    case.stay(10_000_000);
    assert_eq!(case.settle(), [Effect::TakeLease]);
    assert_eq!(case.state(), State::Quarantined);
    case.release();
    let (marker, restore) = (ID.to_owned(), Schedulability::Schedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    case.node().cordon = Cordon::Schedulable;
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Cancelled);
}

#[test]
fn a_person_who_cordoned_meanwhile_finds_it_cordoned() {
    let mut case = Case::at(State::Uncordoning);
    case.seen.unschedulable_by = Some("kubectl".to_owned());
    let (marker, restore) = (ID.to_owned(), Schedulability::Unschedulable);
    assert_eq!(case.settle(), [Effect::Uncordon { marker, restore }]);
    case.node().cordon = foreign();
    assert_eq!(case.settle(), [Effect::ReleaseLease]);
}

#[test]
fn a_record_without_its_grant_is_a_matter_for_a_person() {
    for state in [State::Granted, State::Rebooting, State::NotReturned, State::Booted] {
        let mut case = Case::at(state);
        case.request.progress.grant = None;
        assert_eq!(case.settled(), State::Quarantined, "{state:?}");
    }
}

#[test]
fn a_record_of_a_boot_is_what_was_heard() {
    let case = Case::at(State::Booted);
    let record = case.request.progress.boot.unwrap();
    let expected =
        BootRecord { boot: boot(2), kernel: Some(OLD_KERNEL.to_owned()), seen_at: case.now };
    assert_eq!(record, expected);
}
