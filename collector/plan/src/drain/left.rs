//! What is left of a drain, and pods that come back to a cordoned node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;

use super::Awaiting;
use super::Class;
use super::budget::Need;
use super::budget::is_impossible;
use super::budget::need;
use super::class::classify;
use super::class::is_given_up;
use crate::fleet::DisruptionBudget;
use crate::fleet::Known;
use crate::fleet::Pod;
use crate::policy::DrainPolicy;
use crate::seen::DrainSeen;

/// Past its deletion time by so much, a pod does not go by itself: the time already contains its
/// grace period, and kubelet needs seconds.
const STUCK_AFTER_SECS: i64 = 60;

/// Times that a workload may come back to a cordoned node before that is what holds the drain.
const MAX_RETURNS: usize = 2;

/// Workloads that are remembered of one drain: kubelet runs 110 pods by default, and at most a few
/// hundred.
const MAX_WORKLOADS: usize = 1_024;

/// What is left on a node with these pods. [`DrainSeen::attached`] stays empty: volumes are seen by
/// whoever reads the attachments.
#[must_use]
pub fn left(
    pods: &[Pod],
    budgets: &Known<BTreeMap<String, DisruptionBudget>>,
    returns: &Returns,
    policy: &DrainPolicy,
    now: Moment,
) -> DrainSeen {
    let mut seen = DrainSeen::default();
    let mut volumes = BTreeSet::new();
    for pod in pods {
        let name = &pod.name;
        let line = match classify(pod, policy) {
            Class::Left(_) => continue,
            Class::Awaited(Awaiting::Terminating) if is_given_up(pod, policy, now) => continue,
            Class::Awaited(Awaiting::Terminating) => {
                let line = format!("{name}: {}", going(pod, now));
                if is_stuck(pod, now) {
                    seen.stuck.push(line.clone());
                }
                line
            }
            Class::Awaited(why @ (Awaiting::Protected | Awaiting::Wish)) => {
                format!("{name}: {why}")
            }
            Class::Blocked(why) => {
                let line = format!("{name}: {why}");
                seen.stuck.push(line.clone());
                line
            }
            Class::Evicted if returns.is_stuck(pod) => {
                let line = format!("{name}: returns-to-cordoned-node");
                seen.stuck.push(line.clone());
                line
            }
            Class::Evicted => match budget_line(pod, budgets) {
                BudgetLine::Free => format!("{name}: being evicted"),
                BudgetLine::Waits(why) => format!("{name}: {why}"),
                BudgetLine::Stuck(why) => {
                    let line = format!("{name}: {why}");
                    seen.stuck.push(line.clone());
                    line
                }
            },
        };
        volumes.extend(pod.volumes.iter().cloned());
        seen.left.push(line);
    }
    seen.volumes = volumes.into_iter().collect();
    seen
}

/// Whether a pod that is being deleted does not go.
pub(super) fn is_stuck(pod: &Pod, now: Moment) -> bool {
    pod.deleting.as_ref().is_some_and(|deleting| now.since(deleting.at) > STUCK_AFTER_SECS)
}

pub(super) fn going(pod: &Pod, now: Moment) -> String {
    let Some(deleting) = pod.deleting.as_ref().filter(|_| is_stuck(pod, now)) else {
        return "terminating".to_owned();
    };
    let at = deleting.at;
    if deleting.finalizers.is_empty() {
        return format!("should have ended at {at}, its kubelet has not stopped it");
    }
    let finalizers: Vec<_> = deleting.finalizers.iter().map(String::as_str).collect();
    format!("should have ended at {at}, kept by finalizers {}", finalizers.join(", "))
}

/// What the budget of a pod that must go says.
enum BudgetLine {
    Free,
    Waits(String),
    Stuck(String),
}

fn budget_line(pod: &Pod, budgets: &Known<BTreeMap<String, DisruptionBudget>>) -> BudgetLine {
    let budgets = match budgets {
        Known::Known(budgets) => budgets,
        Known::Unknown(why) => return BudgetLine::Waits(format!("disruption budgets: {why}")),
    };
    match need(pod, budgets) {
        Need::Nothing => BudgetLine::Free,
        Need::One(name) => match budgets.get(name) {
            Some(budget) if is_impossible(budget) && budget.allowed == 0 => {
                BudgetLine::Stuck(format!("budget {name} never lets a pod go"))
            }
            Some(budget) if budget.allowed == 0 => {
                BudgetLine::Waits(format!("budget {name} allows 0"))
            }
            Some(_) | None => BudgetLine::Free,
        },
        Need::TwoBudgets => BudgetLine::Stuck(format!(
            "{} budgets select it, and evictions take one at most",
            pod.budgets.len()
        )),
        Need::Unknown(why) => BudgetLine::Waits(why),
    }
}

/// A workload: `namespace/kind/name` of a controller.
type Workload = String;

/// Pods that were seen on a node since its cordon, by workload. A workload that tolerates the cordon
/// is put back by its controller for ever; after two times that is said instead of evicting again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    seen: BTreeMap<Workload, BTreeSet<String>>,
    first: BTreeMap<Workload, usize>,
}

impl Returns {
    /// Remembers the pods of the node, as they are now. Whatever it sees first was there at the
    /// cordon.
    pub fn note(&mut self, pods: &[Pod]) {
        let begins = self.seen.is_empty();
        for pod in pods {
            let Some(workload) = workload(pod) else { continue };
            if self.seen.len() >= MAX_WORKLOADS && !self.seen.contains_key(&workload) {
                continue;
            }
            let uids = self.seen.entry(workload.clone()).or_default();
            if uids.len() < MAX_WORKLOADS {
                uids.insert(pod.uid.clone());
            }
            if begins {
                self.first.insert(workload, uids.len());
            }
        }
    }

    /// Whether the workload of `pod` came back too often.
    #[must_use]
    pub fn is_stuck(&self, pod: &Pod) -> bool {
        if !pod.tolerates_cordon {
            return false;
        }
        let Some(workload) = workload(pod) else { return false };
        let first = self.first.get(&workload).copied().unwrap_or_default();
        let seen = self.seen.get(&workload).map_or(0, BTreeSet::len);
        seen.saturating_sub(first) >= MAX_RETURNS
    }
}

fn workload(pod: &Pod) -> Option<Workload> {
    let owner = pod.owner.as_ref()?;
    let namespace = pod.name.split('/').next().unwrap_or_default();
    Some(format!("{namespace}/{}/{}", owner.kind, owner.name))
}
