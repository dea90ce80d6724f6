//! Laws on ends, proofs and words to people: 8, 10, 14, 16, 17, 24.

use palisade_report::Moment;

use super::LAG_SECS;
use super::Ledger;
use super::Record;
use super::Ruling;
use super::budget::changed;
use super::record::What;
use crate::fleet::Cordon;
use crate::fleet::Need;
use crate::request::MAX_HISTORY;
use crate::request::Proof;
use crate::request::Request;
use crate::request::State;

/// How late a state may be before its alert must have been raised, in seconds: a collector may be
/// dead for some minutes, and an API server too.
const LATE_SECS: i64 = 1800;

/// Law 8: what leads to the uncordoning after a boot was proved, all of it.
pub(super) fn eight(ledger: &Ledger, record: &Record) -> Ruling {
    let Some((Some(before), after)) = changed(ledger, record) else { return Ruling::Mute };
    let ends = (before.progress.state == State::Verifying
        && after.progress.state == State::Uncordoning)
        || after.progress.state == State::Done;
    if !ends || after.wish.release.is_some() {
        return Ruling::Mute;
    }
    let missing = Proof::ALL.iter().find(|proof| !after.progress.proofs.contains_key(proof));
    Ruling::unless(missing.is_some(), || format!("{} ended without {missing:?}", after.node))
}

/// Law 10: our cordon ends with its request, and where it stays, a person was told.
pub(super) fn ten(ledger: &Ledger, record: &Record) -> Ruling {
    if let Some((_, after)) = changed(ledger, record) {
        let stays = matches!(after.progress.state, State::Quarantined | State::NotReturned);
        if !stays {
            return Ruling::Mute;
        }
        return Ruling::unless(after.progress.alerts.is_empty(), || {
            format!("{} stays cordoned and nobody is told", after.node)
        });
    }
    let What::Ended { .. } = &record.what else { return Ruling::Mute };
    let orphan = ledger.nodes.iter().find(|(uid, entry)| match &entry.cordon.0 {
        Cordon::Ours { .. } => ledger.state(uid).is_none_or(|state| !state.holds_slot()),
        Cordon::Foreign { .. } | Cordon::Schedulable => false,
    });
    match orphan {
        None => Ruling::Kept,
        Some((_, entry)) => {
            Ruling::Broken(format!("{} keeps our cordon for nothing", entry.node.name))
        }
    }
}

/// Law 14: whether a reboot is needed must be known to start one, and known again to end it.
pub(super) fn fourteen(ledger: &Ledger, record: &Record) -> Ruling {
    let Some((before, after)) = changed(ledger, record) else { return Ruling::Mute };
    let asked = after.wish.reasons.iter().any(|reason| reason.source == "request");
    let Some(entry) = ledger.node(&after.uid) else { return Ruling::Mute };
    if asked || record.at.since(entry.need.1) <= LAG_SECS {
        return Ruling::Mute;
    }
    let was = before.map(|before| before.progress.state);
    let (fits, what) = match (was, after.progress.state) {
        (Some(State::Claimed), State::Cordoning) => {
            (matches!(entry.need.0, Need::Needed { .. }), "went")
        }
        (Some(State::Verifying), State::Uncordoning) => {
            let gone = match &entry.need.0 {
                Need::NotNeeded => true,
                Need::Needed { digest, .. } => *digest != after.wish.digest,
                Need::Unknown { .. } => false,
            };
            (gone, "was found well")
        }
        _ => return Ruling::Mute,
    };
    Ruling::unless(!fits, || {
        format!("{} {what} while its agent says {:?}", after.node, entry.need.0)
    })
}

/// Whether a state must be left by some time.
fn moves(state: State) -> bool {
    match state {
        State::Claimed
        | State::Cordoning
        | State::Draining
        | State::Granted
        | State::Rebooting
        | State::Booted
        | State::Verifying
        | State::Uncordoning
        | State::RollingBack
        | State::Backoff => true,
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Done
        | State::NotReturned
        | State::Quarantined
        | State::NodeGone
        | State::Cancelled => false,
    }
}

/// Law 16: every state that moves has a deadline, and past it somebody is told.
pub(super) fn sixteen(ledger: &Ledger, record: &Record) -> Ruling {
    if let Some((_, after)) = changed(ledger, record) {
        let progress = &after.progress;
        if !moves(progress.state) {
            return Ruling::Mute;
        }
        return Ruling::unless(progress.deadline.is_none(), || {
            format!("{} has no deadline in {:?}", after.node, progress.state)
        });
    }
    let What::Ended { .. } = &record.what else { return Ruling::Mute };
    let late = ledger.requests.values().find(|request| {
        let progress = &request.progress;
        moves(progress.state)
            && progress.state != State::Backoff
            && progress.deadline.is_some_and(|by| record.at.since(by) > LATE_SECS)
            && progress.alerts.is_empty()
    });
    match late {
        None => Ruling::Kept,
        Some(request) => Ruling::Broken(format!(
            "{} is late in {:?} and nobody is told",
            request.node, request.progress.state
        )),
    }
}

/// Law 17: when faults have ended for long, every request has ended or says what it waits for.
pub(super) fn seventeen(ledger: &Ledger, record: &Record) -> Ruling {
    let What::Ended { unexplained, cut } = &record.what else { return Ruling::Mute };
    if let Some((uid, says)) = unexplained.iter().next() {
        let name = ledger.node(uid).map(|entry| entry.node.name.to_string()).unwrap_or_default();
        return Ruling::Broken(format!("{name} waits, and the plan only says: {says}"));
    }
    match ledger.requests.values().find(|request| is_unended(request, *cut)) {
        None => Ruling::Kept,
        Some(request) => Ruling::Broken(format!(
            "{} is {:?} since {} and never ends",
            request.node, request.progress.state, request.progress.since
        )),
    }
}

/// Whether a request is on its way, and was already at `cut`. What has come to an end or to a wait since,
/// and was begun anew, was not.
pub(crate) fn is_unended(request: &Request, cut: Moment) -> bool {
    let progress = &request.progress;
    if !progress.state.is_under_way() {
        return false;
    }
    let way = progress.history.iter().rev().take_while(|entered| entered.state.is_under_way());
    match way.clone().last() {
        // Its beginning is forgotten: it goes from state to state and comes to no end.
        Some(_) if way.count() >= MAX_HISTORY => true,
        Some(began) => began.at <= cut,
        None => true,
    }
}

/// Law 24: an alert is told once from when it is raised until it is withdrawn, whoever restarts in
/// between.
pub(super) fn twenty_four(ledger: &Ledger, record: &Record) -> Ruling {
    let What::Notified { node, alert, .. } = &record.what else { return Ruling::Mute };
    let again = ledger.told.contains(&(node.clone(), *alert));
    Ruling::unless(again, || format!("{node}: {alert:?} was told again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Entered;
    use crate::simulate::START;
    use crate::simulate::invent;
    use crate::step::requested;

    fn request(history: impl IntoIterator<Item = (i64, State)>) -> Request {
        let (fleet, _) = invent(1, 1);
        let node = fleet.nodes.values().next().unwrap();
        let wish = crate::request::Wish {
            reasons: std::collections::BTreeSet::new(),
            digest: palisade_report::Digest::of(b""),
            since: START,
            requested_by: "planner".to_owned(),
            must_by: None,
            approval: None,
            overriding: None,
            intent: crate::request::Intent::Reboot,
            release: None,
        };
        let mut request = requested(node.name.clone(), node.uid.clone(), wish, 1, START);
        let entered = |(secs, state)| Entered { state, at: START.plus(secs), after_release: None };
        request.progress.history = history.into_iter().map(entered).collect();
        request.progress.state = request.progress.history.last().unwrap().state;
        request
    }

    #[test]
    fn what_began_after_the_cut_has_its_time_and_nothing_else_has() {
        use State::Blocked;
        use State::Claimed;
        use State::Draining;
        use State::Granted;
        use State::Quarantined;
        use State::Rebooting;
        use State::RollingBack;
        for (history, expected) in [
            (vec![(-60, Claimed)], true),
            (vec![(-60, Claimed), (3600, Draining)], true),
            (vec![(-60, Claimed), (3600, Draining), (7200, RollingBack)], true),
            (vec![(-60, Claimed), (60, RollingBack), (90, Blocked)], false),
            (vec![(-60, Claimed), (60, Blocked), (120, Claimed)], false),
            (vec![(-60, Blocked), (60, Claimed)], false),
            (vec![(-60, Claimed), (60, Quarantined)], false),
            (vec![(-60, Quarantined), (-30, RollingBack)], true),
        ] {
            assert_eq!(is_unended(&request(history.clone()), START), expected, "{history:?}");
        }
        let endless = (1..=40).map(|turn| (turn, if turn % 2 == 0 { Granted } else { Rebooting }));
        let recent: Vec<_> = endless.collect();
        assert!(!is_unended(&request(recent.iter().copied().take(10)), START));
        let kept = recent.iter().copied().skip(40 - MAX_HISTORY);
        assert!(is_unended(&request(kept), START), "who knows when it began");
    }
}
