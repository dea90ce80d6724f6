//! Two looks at one node that was claimed: may the claim stay, and may the node be let go?

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::MAX_BLOCKERS;
use super::census::Census;
use super::census::Full;
use super::census::Member;
use super::census::is_moving;
use super::control_plane::ControlPlane;
use super::gates::Case;
use super::gates::Shut;
use super::gates::look;
use super::need::Wanted;
use super::need::Wants;
use super::pass::dead_man;
use super::pool::PoolView;
use super::pool::Purpose;
use super::pool::failed;
use super::pool::shut;
use crate::fleet::Fleet;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Policy;
use crate::request::State;
use crate::seen::Count;

/// Whether a claim may stay, counted over requests that were read after it was written.
///
/// Two leaders may claim at once; then both may withdraw, and never may both stay. So whoever finds a
/// cap exceeded withdraws, without asking who was first.
#[must_use]
pub fn count(fleet: &Fleet, policy: &Policy, claimed: &NodeUid) -> Count {
    let census = Census::of(fleet, policy);
    let since = fleet.requests.get(claimed).map(|request| request.progress.since);
    let since = since.unwrap_or(Moment::from_unix(0));
    let above = |gate, value: String| Count::Above(shut(gate, value, since, None));
    let Some(member) = census.members.iter().find(|member| member.uid == claimed) else {
        return above(Gate::ClusterStale, format!("node {claimed} is not known"));
    };
    if member.flight.is_none() {
        return above(Gate::ClusterStale, "its claim is not among the requests".to_owned());
    }
    if let Some(Full { gate, value }) = census.full(member).into_iter().next() {
        return above(gate, value);
    }
    if let Some(value) = beside(member, &census) {
        return above(Gate::ControlPlane, value);
    }
    match zones_above(member, &census) {
        Some(value) => above(Gate::ZoneBudget, value),
        None => Count::Within,
    }
}

/// What is under way beside a node that must not be, in words.
fn beside(member: &Member<'_>, census: &Census<'_>) -> Option<String> {
    let Census { control_plane_flight, worker_flight, .. } = census;
    let others = match member.role {
        Role::Worker => *control_plane_flight,
        Role::ControlPlane => control_plane_flight.saturating_add(*worker_flight).saturating_sub(1),
    };
    (others > 0).then(|| {
        let flights =
            format!("{control_plane_flight} of the control plane, {worker_flight} workers");
        format!("nodes of the control plane go alone, and under way are {flights}")
    })
}

fn zones_above(member: &Member<'_>, census: &Census<'_>) -> Option<String> {
    let pool = census.pools.get(member.pool)?.pool;
    let at_once = usize::try_from(pool.zones_at_once).ok().filter(|at_once| *at_once > 0)?;
    let moving =
        |other: &&Member<'_>| other.pool == member.pool && other.flight.is_some_and(is_moving);
    let zones: std::collections::BTreeSet<&str> =
        census.members.iter().filter(moving).map(|other| other.zone).collect();
    (zones.len() > at_once)
        .then(|| format!("{} zones are under way, {at_once} may be", zones.len()))
}

/// Gates that are shut for letting this node go now, most important first; for a node that was
/// claimed, cordoned and drained.
///
/// A budget that was lowered meanwhile holds nobody who is under way. A budget that is used up because
/// other nodes got into trouble does, until they are well or the drain is undone.
#[must_use]
pub fn grant_gates(fleet: &Fleet, policy: &Policy, uid: &NodeUid, now: Moment) -> Vec<Blocker> {
    let census = Census::take_of(fleet, policy, |member| {
        member.is_away && (member.uid == uid || !member.flight.is_some_and(is_still_running))
    });
    let Some(member) = census.members.iter().find(|member| member.uid == uid) else {
        return vec![shut(Gate::ClusterStale, format!("node {uid} is not known"), now, None)];
    };
    let Some(count) = census.pools.get(member.pool) else { return Vec::new() };
    let purpose = Purpose::Grant;
    let view = PoolView::of(count, fleet, &failed(fleet), policy, purpose, now);
    let wanted = match Wants::of(member, view.pool, now) {
        Wants::Reboot(wanted) => wanted,
        Wants::Nothing => return vec![need_gate("no reboot is needed any more".to_owned(), now)],
        Wants::Unknown(why) => return vec![need_gate(why.to_owned(), now)],
    };
    let case = Case { fleet, pool: view.pool, member, wanted: &wanted, purpose, now };
    let mut found = Shut::default();
    if let Some(value) = drifted(member, &wanted) {
        found.add(need_gate(value, now), &case);
    }
    let all = Census::of(fleet, policy);
    let control_plane = ControlPlane::of(&all, fleet, policy);
    let of_cluster = dead_man(&all, policy, now).into_iter().chain(view.shut.iter().cloned());
    for blocker in of_cluster.chain(control_plane.shut(member, now)) {
        found.add(blocker, &case);
    }
    if let Some(value) = beside(member, &all) {
        found.add(shut(Gate::ControlPlane, value, now, None), &case);
    }
    look(&case, &mut found);
    for Full { gate, value } in census.troubled(member) {
        found.add(shut(gate, value, now, None), &case);
    }
    found.blockers.sort_by_key(|blocker| blocker.gate);
    found.blockers.truncate(MAX_BLOCKERS);
    found.blockers
}

const fn need_gate(value: String, now: Moment) -> Blocker {
    shut(Gate::NeedUnknown, value, now, None)
}

/// A grant names the reasons that were claimed: an agent with others would refuse it.
fn drifted(member: &Member<'_>, wanted: &Wanted<'_>) -> Option<String> {
    let claimed = member.request.map(|request| request.wish.digest)?;
    (claimed != *wanted.digest).then(|| {
        format!("claimed for reasons {}, now they are {}", claimed.short(), wanted.digest.short())
    })
}

/// Whether a node that is under way has not gone down yet, or is up again.
const fn is_still_running(state: State) -> bool {
    matches!(
        state,
        State::Claimed
            | State::Cordoning
            | State::Draining
            | State::RollingBack
            | State::Uncordoning
    )
}
