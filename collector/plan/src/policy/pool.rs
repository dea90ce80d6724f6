//! A pool: nodes that are treated alike, and what bounds their reboots.

use std::collections::BTreeSet;

use palisade_report::Moment;
use serde::Serialize;

use crate::fleet::Agent;
use crate::gate::Gate;
use crate::policy::AlertGate;
use crate::policy::Amount;
use crate::policy::DrainPolicy;
use crate::policy::PodGate;
use crate::policy::Selector;
use crate::policy::UNMATCHED;
use crate::window::Freeze;
use crate::window::Windows;

/// What holds for the nodes of one pool. All durations are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name, in answers, metrics and requests.
    pub name: String,
    /// The nodes that belong to it, unless an earlier pool has them.
    pub selector: Selector,
    /// How far palisade goes by itself.
    pub mode: Mode,
    /// Why nothing starts here; not paused without it.
    pub paused: Option<String>,
    /// Nodes of the pool that may be away at once, whoever took them away.
    pub max_unavailable: Amount,
    /// The same for the nodes of the pool in one zone; no such bound without it.
    pub per_zone: Option<Amount>,
    /// Zones in which nodes of the pool may be away at once; 0 for any number.
    pub zones_at_once: u32,
    /// The same for other labels that say what fails together: racks, hypervisors.
    pub topology: Vec<TopologyCap>,
    /// When something may start.
    pub windows: Windows,
    /// When nothing may, whatever the windows say.
    pub freezes: Vec<Freeze>,
    /// First few, then more; all at once, as far as the caps allow, without it.
    pub waves: Option<Waves>,
    /// Failures that halt the pool until a person releases it.
    pub failure_budget: FailureBudget,
    /// For how long the reasons must have stayed the same, with the package manager idle.
    pub stable_secs: i64,
    /// Least time between two reboots of one node.
    pub minimum_interval_secs: i64,
    /// Time from the first sight of the reasons to when the reboot is overdue.
    pub must_by_secs: i64,
    /// Gates that open for overdue nodes. Soft ones only.
    pub past_must_by: BTreeSet<Gate>,
    /// What becomes of a node that a person has cordoned.
    pub foreign_cordon: ForeignCordon,
    /// Whether a grant may be given after the window has closed.
    pub allow_overrun: bool,
    /// For how long a node must stay sound before it takes pods again.
    pub soak_secs: i64,
    /// How long the phases take as long as nothing was learned.
    pub assumed: Assumed,
    /// How nodes are emptied.
    pub drain: DrainPolicy,
    /// When states should have been left.
    pub deadlines: Deadlines,
    /// How long a node is left alone after its drain was rolled back.
    pub backoff: Backoff,
    /// Pods that speak against a reboot while they run.
    pub blocking_pods: Vec<PodGate>,
    /// Alerts that speak against one while they fire.
    pub alerts: Option<AlertGate>,
    /// By which means nodes reboot.
    pub reboot_method: RebootMethod,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: UNMATCHED.to_owned(),
            selector: Selector::default(),
            mode: Mode::Report,
            paused: None,
            max_unavailable: Amount::Count(1),
            per_zone: None,
            zones_at_once: 1,
            topology: Vec::new(),
            windows: Windows::default(),
            freezes: Vec::new(),
            waves: None,
            failure_budget: FailureBudget::default(),
            stable_secs: 600,
            minimum_interval_secs: 86_400,
            must_by_secs: 30 * 86_400,
            past_must_by: BTreeSet::new(),
            foreign_cordon: ForeignCordon::Skip,
            allow_overrun: false,
            soak_secs: 120,
            assumed: Assumed::default(),
            drain: DrainPolicy::default(),
            deadlines: Deadlines::default(),
            backoff: Backoff::default(),
            blocking_pods: Vec::new(),
            alerts: None,
            reboot_method: RebootMethod::Auto,
        }
    }
}

impl Pool {
    /// By when a node must have gone whose reasons are there since then: by the policy, and before what
    /// its agent tells of would keep it from coming back.
    #[must_use]
    pub fn must_by(&self, since: Moment, agent: &Agent) -> Moment {
        let by = since.plus(self.must_by_secs);
        agent.due_by.map_or(by, |due| due.min(by))
    }
}

/// How far palisade goes by itself; each goes further than the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It says which nodes need a reboot.
    #[default]
    Report,
    /// It also says in which order and when they would be rebooted.
    Plan,
    /// It reboots what a person approved.
    Approve,
    /// It reboots.
    Auto,
}

/// Nodes with the same value of a label fail together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyCap {
    /// The label.
    pub key: String,
    /// Nodes of the pool with one value of it that may be away at once.
    pub max_unavailable: Amount,
}

/// First few nodes, then more: a later wave begins when the earlier one went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waves {
    /// The first wave.
    pub canary: Canary,
    /// The waves after it, each as the share of the pool that has been rebooted at its end; the
    /// rest is the last wave. Rising, 1 to 99.
    pub percents: Vec<u8>,
    /// Wait after each node.
    pub bake_node_secs: i64,
    /// Wait after each wave.
    pub bake_wave_secs: i64,
}

impl Default for Waves {
    fn default() -> Self {
        Self {
            canary: Canary::Count(1),
            percents: vec![1, 10, 50],
            bake_node_secs: 0,
            bake_wave_secs: 1_800,
        }
    }
}

/// The nodes of the first wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Canary {
    /// So many, the first in order.
    Count(u32),
    /// Those with these labels.
    Selector(Selector),
}

/// Failures that halt a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureBudget {
    /// From so many on.
    pub failures: u32,
    /// Within this time.
    pub within_secs: i64,
}

impl Default for FailureBudget {
    fn default() -> Self {
        Self { failures: 1, within_secs: 86_400 }
    }
}

/// What becomes of a node that a person has cordoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignCordon {
    /// It is rebooted like the others, and stays cordoned.
    Include,
    /// It is left alone.
    #[default]
    Skip,
}

/// How long the phases take as long as nothing was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assumed {
    /// From the first eviction to the empty node.
    pub drain_secs: i64,
    /// From the grant to the first word of the new boot.
    pub reboot_secs: i64,
}

impl Default for Assumed {
    fn default() -> Self {
        Self { drain_secs: 900, reboot_secs: 600 }
    }
}

/// When each state should have been left. Late is an alert and never frees a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadlines {
    /// From the claim to its count.
    pub claim_secs: i64,
    /// From there to the cordoned node.
    pub cordon_secs: i64,
    /// From the grant to the node that consumed it.
    pub grant_secs: i64,
    /// From there to the new boot, as long as nothing was learned.
    pub reboot_without_history_secs: i64,
    /// The least that is granted to a reboot, whatever was learned.
    pub reboot_least_secs: i64,
    /// From the new boot to the ready node.
    pub ready_secs: i64,
    /// From there to the last proof.
    pub verify_secs: i64,
    /// From there to the uncordoned node.
    pub uncordon_secs: i64,
    /// For undoing what was begun.
    pub roll_back_secs: i64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            claim_secs: 120,
            cordon_secs: 300,
            grant_secs: 300,
            reboot_without_history_secs: 1_800,
            reboot_least_secs: 600,
            ready_secs: 600,
            verify_secs: 900,
            uncordon_secs: 300,
            roll_back_secs: 300,
        }
    }
}

/// How long a node is left alone after its drain was rolled back: doubled each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// After the first time.
    pub first_secs: i64,
    /// At most.
    pub longest_secs: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_secs: 300, longest_secs: 86_400 }
    }
}

/// By which means a node of the pool may reboot. Which one it has is told by its agent, and chosen
/// where that is deployed (`--mode`): a node with another one waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebootMethod {
    /// Whichever it has.
    #[default]
    Auto,
    /// logind over D-Bus.
    Logind,
    /// A signal to process 1.
    Signal,
}

impl RebootMethod {
    /// The word by which agents tell that it is theirs; `None` if any will do.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::Logind => Some("logind"),
            Self::Signal => Some("signal"),
        }
    }
}
