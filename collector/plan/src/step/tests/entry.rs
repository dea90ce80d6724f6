//! Into the machine: wishes, verdicts, claims.

use super::*;
use crate::request::Schedulability;

#[test]
fn a_wish_becomes_a_request_with_a_deadline() {
    let case = Case::new();
    assert_eq!(case.state(), State::Needed);
    assert_eq!(case.request.progress.deadline, Some(start().plus(86_400)));
    assert_eq!(case.step(), Step::Wait);
}

#[test]
fn a_verdict_is_blocked_unless_only_others_are_first() {
    let case = Case::new();
    let judge = |gates: &[Gate]| {
        let blockers = gates.iter().copied().map(blocker).collect();
        judged(&case.request, blockers, &case.pool, 1, start()).map(|it| it.progress.state)
    };
    assert_eq!(judge(&[Gate::Window]), Some(State::Blocked));
    assert_eq!(judge(&[Gate::Window, Gate::Order]), Some(State::Blocked));
    assert_eq!(judge(&[Gate::Order]), Some(State::Ready));
}

#[test]
fn the_same_verdict_is_no_news_and_other_words_wait_a_minute() {
    let case = Case::at(State::Blocked);
    let judge = |value: &str, secs: i64| {
        let blocker = Blocker { value: value.to_owned(), ..blocker(Gate::Window) };
        judged(&case.request, vec![blocker], &case.pool, 1, start().plus(secs))
    };
    assert_eq!(judge("window is shut", 3_600), None);
    assert_eq!(judge("opens in 5 min", 59), None);
    let reworded = judge("opens in 5 min", 60).unwrap();
    assert_eq!(reworded.progress.since, start(), "it is the same wait");
}

#[test]
fn a_waiting_request_alerts_after_a_day() {
    for (state, alert) in [
        (State::Needed, Alert::RebootPending),
        (State::Blocked, Alert::RebootBlocked),
        (State::Ready, Alert::RebootStarved),
    ] {
        let mut case = Case::at(state);
        case.stay(86_399);
        case.settle();
        assert!(!case.has(alert), "{state:?}");
        case.stay(1);
        case.settle();
        assert!(case.has(alert), "{state:?}");
        assert_eq!(case.state(), state);
    }
}

#[test]
fn overdue_is_told_until_the_node_booted() {
    let mut case = Case::at(State::Draining);
    case.request.wish.must_by = Some(case.now);
    case.settle();
    assert!(case.has(Alert::RebootOverdue));
    let mut case = Case::at(State::Booted);
    case.request.wish.must_by = Some(start());
    case.settle();
    assert!(!case.has(Alert::RebootOverdue));
}

#[test]
fn a_waiting_request_ends_when_nothing_asks_for_it() {
    for state in [State::Needed, State::Blocked, State::Ready, State::Backoff] {
        let mut case = Case::at(state);
        case.node().agent.need = Need::NotNeeded;
        assert_eq!(case.settled(), State::Cancelled, "{state:?}");
        let mut case = Case::at(state);
        case.request.wish.intent = Intent::Cancel;
        assert_eq!(case.settled(), State::Cancelled, "{state:?}");
        let mut case = Case::at(state);
        case.node().agent.need = Need::Unknown { why: "no database".to_owned() };
        assert_eq!(case.settled(), state);
    }
}

#[test]
fn what_a_person_asks_for_needs_no_detector() {
    let mut case = Case::new();
    case.request.wish.reasons = BTreeSet::from([Reason {
        source: REQUESTED.to_owned(),
        kind: "reboot".to_owned(),
        subject: "anna".to_owned(),
        target: String::new(),
    }]);
    case.node().agent.need = Need::NotNeeded;
    assert_eq!(case.step(), Step::Wait);
    case.claim();
    assert_eq!(case.state(), State::Claimed);
}

#[test]
fn a_claim_is_refused_with_its_reason() {
    let case = Case::new();
    let placed = |request: &Request, node: &Node, epoch: u64| {
        claim(request, node, Placement::default(), &case.pool, epoch, start()).unwrap_err()
    };
    let mut request = case.request.clone();
    request.progress.epoch = 2;
    let superseded = ClaimError::Superseded { written: 2, ours: 1 };
    assert_eq!(placed(&request, &node(), 1), superseded);
    request = case.request.clone();
    request.wish.intent = Intent::Cancel;
    assert_eq!(placed(&request, &node(), 1), ClaimError::CalledOff);
    let mut other = node();
    other.uid = ID.parse().unwrap();
    assert!(matches!(placed(&case.request, &other, 1), ClaimError::OtherNode { .. }));
    for need in [Need::NotNeeded, Need::Unknown { why: String::new() }] {
        let mut other = node();
        other.agent.need = need;
        assert_eq!(placed(&case.request, &other, 1), ClaimError::OtherReasons);
    }
    for state in State::ALL {
        if !matches!(state, State::Needed | State::Blocked | State::Ready) {
            let request = Case::at(state).request;
            let epoch = request.progress.epoch;
            assert_eq!(placed(&request, &node(), epoch), ClaimError::NotWaiting { state });
        }
    }
}

#[test]
fn a_claim_begins_with_nothing_of_the_attempt_before() {
    let mut case = Case::at(State::Backoff);
    assert!(case.request.progress.drain.began.is_some());
    case.stay(300);
    case.settle();
    assert_eq!(case.state(), State::Needed);
    case.claim();
    let progress = &case.request.progress;
    assert_eq!(progress.drain, crate::request::Drain::default());
    assert_eq!((&progress.grant, &progress.failure), (&None, &None));
    assert_eq!(progress.rollbacks, 1, "but how often it failed is kept");
    assert!(progress.alerts.is_empty());
}

#[test]
fn a_request_that_is_gone_is_rebuilt_from_its_marker_and_undone_when_that_is_safe() {
    let mut case = Case::new();
    case.node().cordon = Cordon::Ours { request: "gone".to_owned() };
    case.seen.lease = Known::Known(LeaseSeen::Ours);
    let before = Some(Schedulability::Schedulable);
    let node = case.node().clone();
    let of = |node: &Node| rebuilt(node, "gone", before, wish(), &Pool::default(), 1, start());
    case.request = of(&node).unwrap();
    case.request.id = ID.to_owned();
    let mut boots = case.clone();
    case.stay(270);
    assert_eq!(case.settled(), State::Granted, "a permission may be in use");
    case.stay(1);
    let (marker, restore) = ("gone".to_owned(), Schedulability::Schedulable);
    let uncordon = Effect::Uncordon { marker, restore };
    assert_eq!(case.settle(), [uncordon]);
    case.node().cordon = Cordon::Schedulable;
    case.seen.lease = Known::Known(LeaseSeen::Free);
    assert_eq!(case.settled(), State::Cancelled);
    boots.boot(2);
    assert_eq!(boots.settled(), State::Verifying);
    let mut silent = node;
    silent.agent.boot = None;
    assert_eq!(of(&silent), None);
}

#[test]
fn a_wish_follows_its_node_and_loses_its_approval() {
    let mut case = Case::new();
    assert_eq!(refreshed(&case.request, &node()), None);
    let digest = Digest::of(b"other reasons");
    case.node().agent.need = Need::Needed { reasons: reasons(), digest, since: start() };
    let until = start().plus(60);
    case.request.wish.approval = Some(crate::request::Approval {
        by: "anna".to_owned(),
        at: start(),
        digest: case.request.wish.digest,
        until,
    });
    let node = case.node().clone();
    let wish = refreshed(&case.request, &node).unwrap();
    assert_eq!((wish.digest, wish.approval), (digest, None));
}
