//! Alerts of nodes that wait and have no request yet: one is written only when a node is claimed.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Plan;
use super::Verdict;
use crate::fleet::Fleet;
use crate::fleet::Need;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Policy;
use crate::request::Alert;

/// From then on a person hears of a node that waits: the deadline of the states before a claim.
const WAIT_SECS: i64 = 86_400;

/// The alert of each node of `plan` that waits too long and has no request.
///
/// Past its last moment a node is overdue whatever it waits for. Before, nothing is said of what time
/// alone opens: a window, a freeze or a hold that ends.
#[must_use]
pub fn alerts(fleet: &Fleet, policy: &Policy, plan: &Plan) -> BTreeMap<NodeUid, Alert> {
    let waiting = plan.places.iter().filter(|(uid, place)| {
        place.verdict == Verdict::Waits && !fleet.requests.contains_key(*uid)
    });
    waiting
        .filter_map(|(uid, place)| {
            let node = fleet.nodes.get(uid)?;
            let Need::Needed { since, .. } = &node.agent.need else { return None };
            let must_by = policy.pool_of(&node.labels).must_by(*since, &node.agent);
            let alert = if plan.at >= must_by {
                Alert::RebootOverdue
            } else if plan.at.since(*since) >= WAIT_SECS {
                of_blockers(&place.blockers, must_by)?
            } else {
                return None;
            };
            Some((uid.clone(), alert))
        })
        .collect()
}

fn of_blockers(blockers: &[Blocker], must_by: Moment) -> Option<Alert> {
    let passes = |it: &&Blocker| it.next_check.is_none_or(|at| at >= must_by);
    let is = |gates: &[Gate]| blockers.iter().all(|it| gates.contains(&it.gate));
    if blockers.iter().any(|it| matches!(it.gate, Gate::Mode | Gate::Approval)) {
        // That is what a person has to do, and nothing is wrong.
        return Some(Alert::RebootPending);
    }
    if is(&[
        Gate::ClusterBudget,
        Gate::Order,
        Gate::PoolBudget,
        Gate::TopologyBudget,
        Gate::Wave,
        Gate::ZoneBudget,
    ]) {
        return Some(Alert::RebootStarved);
    }
    blockers.iter().find(passes).map(|_| Alert::RebootBlocked)
}
