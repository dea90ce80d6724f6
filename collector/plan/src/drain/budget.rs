//! What disruption budgets say of the nodes of one batch, taken together.
//!
//! A budget that one node respects may be exceeded by two: what a node would take is remembered, and
//! the next node is looked at with that already gone.
//!
//! Source of the rules: the eviction subresource of the API server, `policy/v1` `PodDisruptionBudget`,
//! KEP-3017 for pods that are not healthy.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;
use palisade_report::NodeUid;
use serde::Deserialize;
use serde::Serialize;

use super::Awaiting;
use super::Class;
use super::class::classify;
use super::class::is_given_up;
use super::left::going;
use super::left::is_stuck;
use crate::fleet::DisruptionBudget;
use crate::fleet::Known;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::policy::DrainPolicy;

/// What draining one node would meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outlook {
    /// Every pod that must go may go at once.
    Clear,
    /// They may go one batch after another.
    Serial {
        /// How many batches.
        rounds: u32,
        /// Budgets of which other nodes of this batch already take a part.
        shared: Vec<String>,
    },
    /// Not now: pods and budgets, in words.
    Blocked(Vec<String>),
    /// Never, as long as nobody changes a budget: which, in words.
    Impossible(Vec<String>),
    /// It cannot be told, in words.
    Unknown(Vec<String>),
}

/// Lines of one outlook; a person reads no more.
const MAX_LINES: usize = 20;

/// The nodes that are drained together, and what they take of each budget.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    budgets: &'a Known<BTreeMap<String, DisruptionBudget>>,
    taken: BTreeMap<&'a str, u32>,
    now: Option<Moment>,
}

impl<'a> Batch<'a> {
    /// A batch without nodes.
    #[must_use]
    pub const fn new(budgets: &'a Known<BTreeMap<String, DisruptionBudget>>) -> Self {
        Self { budgets, taken: BTreeMap::new(), now: None }
    }

    /// The same at this moment: a pod that should have ended before it, and will not by itself, blocks
    /// its node.
    #[must_use]
    pub const fn at(mut self, now: Moment) -> Self {
        self.now = Some(now);
        self
    }

    /// What draining a node with these pods would meet beside the nodes that were added.
    #[must_use]
    pub fn look(&self, pods: &[Pod], policy: &DrainPolicy) -> Outlook {
        let budgets = match self.budgets {
            Known::Known(budgets) => budgets,
            Known::Unknown(why) => {
                return Outlook::Unknown(vec![format!("disruption budgets: {why}")]);
            }
        };
        let mut found = Found::default();
        let mut demand: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in pods {
            match classify(pod, policy) {
                Class::Awaited(Awaiting::Terminating) => {
                    let hangs = |now| is_stuck(pod, now) && !is_given_up(pod, policy, now);
                    if let Some(now) = self.now.filter(|now| hangs(*now)) {
                        found.blocked.push(format!("{}: {}", pod.name, going(pod, now)));
                    }
                    continue;
                }
                Class::Left(_) | Class::Awaited(Awaiting::Protected | Awaiting::Wish) => continue,
                Class::Blocked(why) => {
                    found.blocked.push(format!("{}: {why}", pod.name));
                    continue;
                }
                Class::Evicted => {}
            }
            match need(pod, budgets) {
                Need::Nothing => {}
                Need::One(name) => {
                    let so_far = demand.entry(name).or_default();
                    *so_far = so_far.saturating_add(1);
                }
                Need::TwoBudgets => found.blocked.push(format!(
                    "{}: {} budgets select it, and evictions take one at most",
                    pod.name,
                    pod.budgets.len()
                )),
                Need::Unknown(why) => found.unknown.push(format!("{}: {why}", pod.name)),
            }
        }
        self.weigh(&demand, budgets, found)
    }

    fn weigh(
        &self,
        demand: &BTreeMap<&str, u32>,
        budgets: &BTreeMap<String, DisruptionBudget>,
        mut found: Found,
    ) -> Outlook {
        let mut rounds = 1;
        let mut shared = Vec::new();
        for (&name, &wanted) in demand {
            let Some(budget) = budgets.get(name) else { continue };
            if budget.allowed == 0 {
                let DisruptionBudget { current_healthy, desired_healthy, expected, .. } = budget;
                if is_impossible(budget) {
                    found.impossible.push(format!(
                        "budget {name} wants {desired_healthy} of {expected} pods healthy and never lets one go"
                    ));
                } else {
                    found.blocked.push(format!(
                        "budget {name} allows 0: {current_healthy} pods are healthy, {desired_healthy} must be"
                    ));
                }
                continue;
            }
            let taken = self.taken.get(name).copied().unwrap_or_default();
            let sum = taken.saturating_add(wanted);
            if sum > budget.allowed {
                rounds = rounds.max(sum.div_ceil(budget.allowed));
                if taken > 0 {
                    shared.push(name.to_owned());
                }
            }
        }
        found.outlook(rounds, shared)
    }

    /// Adds a node with these pods.
    pub fn add(&mut self, pods: &'a [Pod], policy: &DrainPolicy) {
        let Known::Known(budgets) = self.budgets else { return };
        for pod in pods {
            if classify(pod, policy) != Class::Evicted {
                continue;
            }
            if let Need::One(name) = need(pod, budgets) {
                let taken = self.taken.entry(name).or_default();
                *taken = taken.saturating_add(1);
            }
        }
    }
}

/// What draining the nodes of one batch would meet, each node beside those before it. A node that
/// cannot be drained now takes nothing from the others.
#[must_use]
pub fn simulate<'a>(
    batch: impl IntoIterator<Item = (&'a NodeUid, &'a [Pod], &'a DrainPolicy)>,
    budgets: &'a Known<BTreeMap<String, DisruptionBudget>>,
) -> BTreeMap<NodeUid, Outlook> {
    let mut so_far = Batch::new(budgets);
    let mut outlooks = BTreeMap::new();
    for (uid, pods, policy) in batch {
        let outlook = so_far.look(pods, policy);
        match &outlook {
            Outlook::Clear | Outlook::Serial { .. } => so_far.add(pods, policy),
            Outlook::Blocked(_) | Outlook::Impossible(_) | Outlook::Unknown(_) => {}
        }
        outlooks.insert(uid.clone(), outlook);
    }
    outlooks
}

/// Whether no pod of a budget may ever go while everything is well: `maxUnavailable: 0`, or
/// `minAvailable` as large as the number of pods.
#[must_use]
pub const fn is_impossible(budget: &DisruptionBudget) -> bool {
    budget.is_current && budget.expected > 0 && budget.desired_healthy >= budget.expected
}

/// Findings about budgets for their owners, days before a drain meets them.
#[must_use]
pub fn impossible_budgets(budgets: &BTreeMap<String, DisruptionBudget>) -> BTreeSet<String> {
    budgets
        .iter()
        .filter(|(_, budget)| is_impossible(budget))
        .map(|(name, _)| name.clone())
        .collect()
}

/// What an eviction of one pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need<'a> {
    /// Nothing: no budget counts this pod now.
    Nothing,
    /// One of this budget.
    One(&'a str),
    /// The API server refuses pods that two budgets select.
    TwoBudgets,
    /// It cannot be told, in words.
    Unknown(String),
}

pub(super) fn need<'a>(pod: &'a Pod, budgets: &BTreeMap<String, DisruptionBudget>) -> Need<'a> {
    // The API server asks no budget about pods that do not run yet or that are going already.
    if pod.phase == Phase::Pending || pod.deleting.is_some() {
        return Need::Nothing;
    }
    let mut names = pod.budgets.iter();
    let (Some(name), second) = (names.next(), names.next()) else { return Need::Nothing };
    if second.is_some() {
        return Need::TwoBudgets;
    }
    let Some(budget) = budgets.get(name) else {
        return Need::Unknown(format!("budget {name} is not known"));
    };
    if !pod.ready && budget.always_allow_unhealthy {
        return Need::Nothing;
    }
    if !budget.is_current {
        return Need::Unknown(format!("the status of budget {name} is older than the budget"));
    }
    let enough_healthy =
        budget.desired_healthy > 0 && budget.current_healthy >= budget.desired_healthy;
    if !pod.ready && enough_healthy {
        return Need::Nothing;
    }
    Need::One(name)
}

/// What stands against a drain, by how bad it is.
#[derive(Debug, Default)]
struct Found {
    impossible: Vec<String>,
    blocked: Vec<String>,
    unknown: Vec<String>,
}

impl Found {
    fn outlook(mut self, rounds: u32, shared: Vec<String>) -> Outlook {
        for lines in [&mut self.impossible, &mut self.blocked, &mut self.unknown] {
            lines.truncate(MAX_LINES);
        }
        if !self.impossible.is_empty() {
            self.impossible.append(&mut self.blocked);
            return Outlook::Impossible(self.impossible);
        }
        if !self.blocked.is_empty() {
            return Outlook::Blocked(self.blocked);
        }
        if !self.unknown.is_empty() {
            return Outlook::Unknown(self.unknown);
        }
        if rounds > 1 { Outlook::Serial { rounds, shared } } else { Outlook::Clear }
    }
}
