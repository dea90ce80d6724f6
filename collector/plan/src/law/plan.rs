//! Law 23: the same fleet gives the same plan, and what shuts a gate never lets a node in.
//!
//! It is the one law that asks the planner, because it compares plans with plans.

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::Ledger;
use super::Record;
use super::Ruling;
use crate::fleet::Fleet;
use crate::fleet::Hold;
use crate::plan::Plan;
use crate::plan::plan;
use crate::policy::Amount;
use crate::policy::Policy;

/// No record is about plans; see [`planning`].
pub(super) const fn mute(_: &Ledger, _: &Record) -> Ruling {
    Ruling::Mute
}

/// Compares `found`, the plan for this fleet, with those of the same fleet again, of a fleet in which
/// `held` is held, and of a smaller cap.
///
/// # Errors
/// What differs, for a person.
pub fn planning(
    fleet: &Fleet,
    policy: &Policy,
    now: Moment,
    found: &Plan,
    held: Option<&NodeUid>,
) -> Result<(), String> {
    if plan(fleet, policy, now) != *found {
        return Err(String::from("the same fleet gave another plan"));
    }
    if let Some(uid) = held {
        let mut fleet = fleet.clone();
        if let Some(node) = fleet.nodes.get_mut(uid) {
            node.hold = Some(Hold { reason: String::from("asked"), until: None });
        }
        if plan(&fleet, policy, now).start.contains(uid) {
            return Err(format!("{uid} starts under a hold"));
        }
    }
    let nodes = fleet.nodes.len();
    let cap = policy.cluster.max_unavailable.of(nodes);
    let Some(less) = cap.checked_sub(1).and_then(|cap| u32::try_from(cap).ok()) else {
        return Ok(());
    };
    let mut tighter = policy.clone();
    tighter.cluster.max_unavailable = Amount::Count(less);
    let fewer = plan(fleet, &tighter, now);
    match fewer.start.iter().find(|uid| !found.start.contains(uid)) {
        None => Ok(()),
        Some(uid) => Err(format!("{uid} starts under a smaller cap and not under a larger one")),
    }
}
