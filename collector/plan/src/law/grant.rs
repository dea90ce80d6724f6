//! Laws on permissions and boots: 3, 4, 5, 6, 7, 18, 19.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a law speaks of some records and is mute on all others"
)]

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Author;
use super::Entry;
use super::LAG_SECS;
use super::Ledger;
use super::Record;
use super::Ruling;
use super::budget::changed;
use super::record::What;
use crate::fleet::Cordon;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::gate::Gate;
use crate::policy::DrainFailure;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::GrantRecord;
use crate::request::Request;
use crate::request::State;

/// A grant that is written for the first time, or that reaches a node. Who finds that a grant was not
/// used enters its state again to undo what was done for it: that gives nothing, and what is handed out
/// from there reaches a node.
fn given<'a>(ledger: &'a Ledger, record: &'a Record) -> Option<&'a Request> {
    match &record.what {
        What::Handed { grant, .. } => ledger.request(&grant.node),
        What::Wrote(after) if after.progress.state == State::Granted => {
            let grant = after.progress.grant.as_ref();
            let is_known = |grant: &GrantRecord| ledger.grants.contains_key(&grant.id);
            let gives = grant.is_none_or(|grant| !grant.is_presumed() && !is_known(grant));
            gives.then_some(&**after)
        }
        _ => None,
    }
}

/// Whether a drain takes this pod, by the table of the specification.
pub(super) fn must_go(pod: &Pod, pool: &Pool, at: Moment) -> bool {
    let kind = pod.owner.as_ref().map(|owner| owner.kind.as_str());
    let daemon = kind == Some("DaemonSet")
        && !pool.drain.daemon_sets.iter().any(|selector| selector.matches(&pod.labels));
    let finished = matches!(pod.phase, Phase::Succeeded | Phase::Failed);
    let skipped = pool.drain.skip.iter().any(|selector| selector.matches(&pod.labels));
    let stuck = pod.deleting.as_ref().is_some_and(|deleting| {
        pool.drain.skip_stuck_after_secs.is_some_and(|secs| at.since(deleting.at) >= secs)
    });
    !(pod.is_mirror || finished || daemon || skipped || stuck)
}

/// Law 3: a grant only where the node bears our cordon and nothing is left to drain.
pub(super) fn three(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = given(ledger, record) else { return Ruling::Mute };
    let Some(entry) = ledger.node(&request.uid) else { return Ruling::Mute };
    let ours = match &entry.cordon.0 {
        Cordon::Ours { request: marker } => *marker == request.id,
        // A person cordoned it, too; our marker is still there.
        Cordon::Foreign { .. } => entry.marker.as_ref() == Some(&request.id),
        Cordon::Schedulable => false,
    };
    if !ours && record.at.since(entry.cordon.1) > LAG_SECS {
        return Ruling::Broken(format!("{} may reboot without our cordon", request.node));
    }
    if record.at.since(entry.pod_came) <= LAG_SECS {
        return Ruling::Mute;
    }
    for policy in ledger.policies(record.at) {
        let pool = policy.pool_of(&entry.node.labels);
        let alone = policy.cluster.single_node && ledger.nodes.len() == 1;
        let audited = pool.drain.on_failure == DrainFailure::Reboot;
        if alone || audited || !entry.pods.values().any(|pod| must_go(pod, pool, record.at)) {
            return Ruling::Kept;
        }
    }
    Ruling::Broken(format!("{} may reboot with pods on it", request.node))
}

/// Law 4: no grant outside of windows, in a freeze, under a hold, in mode report or plan, or without
/// the approval that mode approve wants.
pub(super) fn four(ledger: &Ledger, record: &Record) -> Ruling {
    let Some(request) = given(ledger, record) else { return Ruling::Mute };
    let Some(entry) = ledger.node(&request.uid) else { return Ruling::Mute };
    let Author::Collector { clock, .. } = record.by else { return Ruling::Mute };
    let mut found = None;
    for policy in ledger.policies(record.at) {
        // What opened or shut within the lag may be judged by the other side of that moment.
        let then = clock.plus(-LAG_SECS);
        let now = forbids(&policy, entry, request, clock, record.at);
        if now.is_none() || forbids(&policy, entry, request, then, record.at).is_none() {
            return Ruling::Kept;
        }
        found = now;
    }
    found.map_or(Ruling::Mute, |why| {
        Ruling::Broken(format!("{} may reboot although {why}", request.node))
    })
}

fn forbids(
    policy: &Policy,
    entry: &Entry,
    request: &Request,
    clock: Moment,
    at: Moment,
) -> Option<&'static str> {
    let pool = policy.pool_of(&entry.node.labels);
    let wish = &request.wish;
    let approved = wish
        .approval
        .as_ref()
        .is_some_and(|approval| approval.digest == wish.digest && approval.until > clock);
    match pool.mode {
        Mode::Report | Mode::Plan => return Some("its pool only reports"),
        Mode::Approve if !approved => return Some("nobody approved"),
        Mode::Approve | Mode::Auto => {}
    }
    if pool.paused.is_some() || policy.cluster.paused.is_some() {
        return Some("it is paused");
    }
    let mut freezes = policy.cluster.freezes.iter().chain(&pool.freezes);
    if freezes.any(|freeze| freeze.from <= clock && clock < freeze.to) {
        return Some("it is frozen");
    }
    let held = entry.node.hold.as_ref().is_some_and(|hold| {
        hold.until.is_none_or(|until| until > clock) && at.since(entry.held_since) > LAG_SECS
    });
    if held {
        return Some("it is held");
    }
    let overdue =
        wish.must_by.is_some_and(|by| by <= clock) && pool.past_must_by.contains(&Gate::Window);
    let passed = wish.overriding.as_ref().is_some_and(|over| {
        over.gates.contains(&Gate::Window) && over.digest == wish.digest && over.until > clock
    });
    if !pool.windows.is_open(clock) && !pool.allow_overrun && !overdue && !passed {
        return Some("no window is open");
    }
    None
}

/// Law 5: a grant leads to one reboot at most, and so does one occurrence of the same reasons.
pub(super) fn five(ledger: &Ledger, record: &Record) -> Ruling {
    match &record.what {
        What::Accepted { node, grant, .. } => {
            let used = ledger.grants.get(grant).is_some_and(|issued| issued.accepted > 0);
            Ruling::unless(used, || format!("{node} used grant {grant} again"))
        }
        What::Booted { node, grant: Some(grant), .. } => {
            let Some(issued) = ledger.grants.get(grant) else { return Ruling::Mute };
            let occurrence = (node.clone(), issued.digest, issued.occurrence);
            let again = issued.boots > 0 || ledger.rebooted.contains(&occurrence);
            Ruling::unless(again, || format!("{node} rebooted again for the same reasons"))
        }
        _ => Ruling::Mute,
    }
}

/// Law 6: what a node uses was given for this node, this boot and these reasons in this epoch.
pub(super) fn six(ledger: &Ledger, record: &Record) -> Ruling {
    let What::Accepted { node, boot, grant, epoch } = &record.what else { return Ruling::Mute };
    let Some(issued) = ledger.grants.get(grant) else {
        return Ruling::Broken(format!("{node} used a grant that nobody gave"));
    };
    let same = issued.node == *node && issued.boot == *boot && issued.epochs.contains(epoch);
    Ruling::unless(!same, || format!("{node} used a grant that is not its own"))
}

/// Law 7: a boot is a boot id that differs from the one before the grant.
pub(super) fn seven(ledger: &Ledger, record: &Record) -> Ruling {
    let Some((Some(before), after)) = changed(ledger, record) else { return Ruling::Mute };
    if after.progress.state != State::Booted || before.progress.state == State::Booted {
        return Ruling::Mute;
    }
    let (Some(boot), Some(grant)) = (&after.progress.boot, &after.progress.grant) else {
        return Ruling::Broken(format!("{} booted without a record", after.node));
    };
    Ruling::unless(boot.boot == grant.boot, || format!("{} did not boot", after.node))
}

/// Law 18: no grant of an older epoch is used, and nobody acts after its own Lease.
pub(super) fn eighteen(ledger: &Ledger, record: &Record) -> Ruling {
    if let What::Accepted { node, epoch, .. } = &record.what {
        let highest = ledger.epochs.get(node).copied().unwrap_or(0);
        return Ruling::unless(*epoch < highest, || {
            format!("{node} used a grant of epoch {epoch} after one of {highest}")
        });
    }
    let acts = matches!(
        &record.what,
        What::Wrote(_)
            | What::Removed(_)
            | What::Evicted { .. }
            | What::Cordoned(..)
            | What::Handed { .. }
            | What::LeaseTaken(_)
    );
    let Author::Collector { id, .. } = record.by else { return Ruling::Mute };
    if !acts {
        return Ruling::Mute;
    }
    let leads = ledger.leader.is_some_and(|(leader, _, until)| leader == id && record.at <= until);
    Ruling::unless(!leads, || format!("collector {id} acts without leading"))
}

/// Law 19: what a request says of its node was said by this very node.
pub(super) fn nineteen(ledger: &Ledger, record: &Record) -> Ruling {
    let What::Wrote(after) = &record.what else { return Ruling::Mute };
    let before = ledger.request(&after.uid).map(|request| &request.progress);
    let now = &after.progress;
    let mut ruling = Ruling::Mute;
    if let Some(boot) = &now.boot
        && before.and_then(|before| before.boot.as_ref()) != Some(boot)
    {
        if !ledger.published.contains(&(after.uid.clone(), boot.boot.clone())) {
            return Ruling::Broken(format!("{} never spoke of this boot", after.node));
        }
        ruling = Ruling::Kept;
    }
    if let Some(grant) = &now.grant
        && !grant.is_presumed()
        && let Some(answer) = &grant.answer
        && before.and_then(|before| before.grant.as_ref()) != Some(grant)
    {
        let said = |(node, id, word): &(NodeUid, _, _)| {
            *node == after.uid && *id == grant.id && word == answer
        };
        if !ledger.answers.iter().any(said) {
            return Ruling::Broken(format!("{} never said that of its grant", after.node));
        }
        ruling = Ruling::Kept;
    }
    ruling
}
