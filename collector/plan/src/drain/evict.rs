//! Which evictions come next on one node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;

use super::Awaiting;
use super::Class;
use super::Eviction;
use super::Returns;
use super::budget::Batch;
use super::budget::Need;
use super::budget::Outlook;
use super::budget::need;
use super::class::classify;
use super::class::is_collector;
use super::left::is_stuck;
use crate::fleet::DisruptionBudget;
use crate::fleet::Known;
use crate::fleet::Pod;
use crate::policy::DrainPolicy;

/// How far the drain of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Nothing was evicted: if one pod cannot go, none goes.
    First,
    /// Evictions were accepted. What has begun goes on with the pods that may go.
    Later,
}

/// What is known of a drain that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Draining<'a> {
    /// All pods with `spec.nodeName` of the node.
    pub pods: &'a [Pod],
    /// All disruption budgets.
    pub budgets: &'a Known<BTreeMap<String, DisruptionBudget>>,
    /// UIDs of pods whose eviction was asked for and has not been answered, or was accepted and does
    /// not show yet.
    pub in_flight: &'a BTreeSet<String>,
    /// Pods that came back after the cordon.
    pub returns: &'a Returns,
    /// How far it is.
    pub round: Round,
}

/// The evictions to ask for now: at most [`DrainPolicy::parallel`] of a node at once, one for each
/// budget at once, a collector before everything else. Those that are in flight, and pods that are
/// going, take their place.
#[must_use]
pub fn next_evictions(drain: &Draining<'_>, policy: &DrainPolicy, now: Moment) -> Vec<Eviction> {
    let Draining { pods, budgets, in_flight, returns, round } = *drain;
    let Known::Known(known) = budgets else { return Vec::new() };
    if round == Round::First && !may_begin(&Batch::new(budgets).look(pods, policy)) {
        return Vec::new();
    }
    let mut room = usize::try_from(policy.parallel).unwrap_or(usize::MAX);
    let mut busy: BTreeSet<&str> = BTreeSet::new();
    let mut waiting = Vec::new();
    for pod in pods {
        let class = classify(pod, policy);
        let going = class == Class::Awaited(Awaiting::Terminating) && !is_stuck(pod, now);
        if going || in_flight.contains(&pod.uid) {
            room = room.saturating_sub(1);
            busy.extend(pod.budgets.iter().map(String::as_str));
        } else if class == Class::Evicted && !returns.is_stuck(pod) {
            waiting.push(pod);
        }
    }
    waiting.sort_by_key(|pod| (!is_collector(pod), &pod.name, &pod.uid));
    let mut next = Vec::new();
    for pod in waiting {
        if room == 0 {
            break;
        }
        match need(pod, known) {
            Need::Nothing => {}
            Need::One(name) => {
                let allowed = known.get(name).map_or(0, |budget| budget.allowed);
                if allowed == 0 || !busy.insert(name) {
                    continue;
                }
            }
            Need::TwoBudgets | Need::Unknown(_) => continue,
        }
        room = room.saturating_sub(1);
        let Pod { name, uid, .. } = pod;
        next.push(Eviction { pod: name.clone(), uid: uid.clone(), grace_secs: policy.grace_secs });
    }
    next
}

/// Whether a first eviction may be asked for.
const fn may_begin(outlook: &Outlook) -> bool {
    match outlook {
        Outlook::Clear | Outlook::Serial { .. } => true,
        Outlook::Blocked(_) | Outlook::Impossible(_) | Outlook::Unknown(_) => false,
    }
}
