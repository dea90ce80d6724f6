//! A leader whose clock is another one than that of the leader before it: its verdicts may come late,
//! and never early.

use super::*;

/// Another collector leads, by a clock that is so many seconds away from the one before.
fn taken_over(case: &mut Case, away_secs: i64) {
    case.seen.epoch += 1;
    case.pass(away_secs);
    case.seen.leading_since = case.now;
    case.stay(1);
}

#[test]
fn a_node_that_has_just_said_that_it_reboots_has_not_failed_to_for_a_leader_with_another_clock() {
    for away_secs in [1_200, -3_600] {
        let mut case = Case::at(State::Granted);
        case.answer(Answer::Executing);
        assert_eq!(case.settled(), State::Rebooting);
        taken_over(&mut case, away_secs);
        assert_eq!(case.settled(), State::Rebooting, "{away_secs} s away");
        case.stay(298);
        assert_eq!(case.settled(), State::Rebooting, "{away_secs} s away");
        case.stay(1);
        assert_eq!(case.settled(), State::Quarantined, "{away_secs} s away");
        assert_eq!(case.failure(), Some(FaultKind::RebootCommandFailed));
    }
}

#[test]
fn a_boot_has_its_time_to_become_ready_and_proved_for_a_leader_with_another_clock() {
    let mut case = Case::at(State::Booted);
    taken_over(&mut case, 3_600);
    assert_eq!(case.settled(), State::Booted);
    case.stay(599);
    assert_eq!(case.settled(), State::Quarantined);
    let mut case = Case::at(State::Verifying);
    taken_over(&mut case, 3_600);
    assert_eq!(case.settled(), State::Verifying);
    case.stay(899);
    assert_eq!(case.settled(), State::Quarantined);
}

#[test]
fn no_soak_ends_by_the_clock_of_another_leader() {
    for away_secs in [3_600, -3_600] {
        let mut case = Case::at(State::Verifying);
        case.prove();
        case.settle();
        taken_over(&mut case, away_secs);
        assert_eq!(case.settled(), State::Verifying, "{away_secs} s away");
        case.stay(118);
        assert_eq!(case.settled(), State::Verifying, "{away_secs} s away");
        case.stay(1);
        assert_eq!(case.settled(), State::Uncordoning, "{away_secs} s away");
    }
}

#[test]
fn a_failed_reboot_is_not_released_by_the_clock_of_another_leader() {
    let mut case = Case::at(State::Granted);
    case.answer(Answer::Failed("inhibited".to_owned()));
    assert_eq!(case.settled(), State::Quarantined);
    taken_over(&mut case, 3_600);
    case.release();
    assert_eq!(case.settled(), State::Quarantined);
    case.stay(300);
    case.settle();
    assert_eq!(case.state(), State::RollingBack);
}

/// Law 21: the word of a person is about what has failed, not about what fails next, and the clock of who
/// leads then may be behind that of who spoke.
#[test]
fn what_fails_after_a_release_is_not_released_by_a_leader_whose_clock_is_behind() {
    let mut case = Case::at(State::Verifying);
    case.release();
    taken_over(&mut case, -3_600);
    assert_eq!(case.settled(), State::Verifying);
    case.stay(899);
    assert_eq!(case.settled(), State::Quarantined);
    case.stay(7_200);
    assert_eq!(case.settled(), State::Quarantined, "the time of the word comes, and it is no news");
    let untold = crate::fleet::Past::default().untold(&case.request, case.now);
    assert_eq!(untold.len(), 1, "and nobody has forgiven it");
    case.release();
    assert_eq!(case.settled(), State::RollingBack);
}

/// Said to a leader whose clock is behind that of who saw it fail, or twice within a second.
#[test]
fn a_release_is_not_lost_though_the_clocks_say_that_it_came_before_the_failure() {
    let mut case = Case::at(State::Verifying);
    case.release();
    let word = case.request.wish.release.clone().unwrap();
    case.stay(900);
    assert_eq!(case.settled(), State::Quarantined);
    let failed_at = case.request.progress.since;
    for (now, said) in [
        (failed_at.plus(-3_600), failed_at.max(word.at.plus(1))),
        (word.at, failed_at.max(word.at.plus(1))),
        (failed_at.plus(60), failed_at.plus(60)),
    ] {
        let mut case = case.clone();
        assert_eq!(case.request.release_said(now), said);
        case.request.wish.release.as_mut().unwrap().at = said;
        case.now = said;
        assert_eq!(case.settled(), State::RollingBack, "{now}");
    }
}
