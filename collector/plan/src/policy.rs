//! Policies: which nodes form a pool, and what bounds the reboots of each pool and of the cluster.
//!
//! ```text
//! text ── Policy::parse ──> Policy ── pool_of(labels) ──> Pool (the first whose selector matches,
//!           │                                                   else the pool of unmatched nodes)
//!           └─> PolicyError: line, column, what to write instead
//! ```
//!
//! A policy says what is allowed, never what is so: facts are in [`crate::fleet`], and whoever
//! combines the two is the planner. A pool that nobody configured is in mode report.

use std::collections::BTreeMap;

use palisade_report::Digest;
use palisade_report::canonical;
use serde::Serialize;

pub use self::advice::Advice;
pub use self::advice::AdviceKind;
pub use self::amount::Amount;
pub use self::cluster::ClusterPolicy;
pub use self::cluster::ControlPlanePolicy;
pub use self::drain::DrainFailure;
pub use self::drain::DrainPolicy;
pub use self::drain::EmptyDir;
pub use self::drain::NoRoom;
pub use self::drain::StuckVolumes;
pub use self::drain::Unmanaged;
pub use self::gates::AlertGate;
pub use self::gates::AlertMatcher;
pub use self::gates::AlertSource;
pub use self::gates::Comparison;
pub use self::gates::PendingAlerts;
pub use self::gates::PodGate;
pub use self::gates::PodScope;
pub use self::in_force::Loaded;
pub use self::in_force::PolicyInForce;
pub use self::in_force::Refused;
pub use self::in_force::Source;
pub use self::language::API_VERSION;
pub use self::language::KIND;
pub use self::language::PolicyError;
pub use self::pool::Assumed;
pub use self::pool::Backoff;
pub use self::pool::Canary;
pub use self::pool::Deadlines;
pub use self::pool::FailureBudget;
pub use self::pool::ForeignCordon;
pub use self::pool::Mode;
pub use self::pool::Pool;
pub use self::pool::RebootMethod;
pub use self::pool::TopologyCap;
pub use self::pool::Waves;
pub use self::section::Problem;
pub use self::selector::Operator;
pub use self::selector::Requirement;
pub use self::selector::Selector;
pub use self::tree::MAX_POLICY;

mod advice;
mod amount;
mod cluster;
pub mod compare;
mod drain;
mod gates;
mod in_force;
pub(crate) mod language;
mod pool;
pub mod schema;
mod section;
mod selector;
pub(crate) mod tree;

/// The name of the pool of nodes that no pool of a policy selects. No other pool may have it.
pub const UNMATCHED: &str = "default";

/// The policy that is in force without another, with every field and what it means: what people
/// copy. It reboots nothing.
pub const DEFAULT_TEXT: &str = include_str!("../data/default.yaml");

/// A policy in full: every default is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// SHA-256 over what it says: equal for two texts that differ in comments or in the order of
    /// fields only. The version of a policy in plans, requests and audit.
    pub digest: Digest,
    /// What bounds the cluster.
    pub cluster: ClusterPolicy,
    /// The pools in order; a node belongs to the first that selects it.
    pub pools: Vec<Pool>,
    /// The pool of nodes that none of them selects: [`UNMATCHED`], mode report.
    pub unmatched: Pool,
}

impl Policy {
    /// A policy of these parts, with its digest. Nothing is checked here: what people write goes
    /// through the parser.
    #[must_use]
    pub fn of(cluster: ClusterPolicy, pools: Vec<Pool>) -> Self {
        let content = Content { cluster: &cluster, pools: &pools };
        // Structs of strings, numbers and lists always have a canonical form; if one had none, it
        // would count as empty rather than stop the planner.
        let digest = Digest::of(&canonical::bytes(&content).unwrap_or_default());
        Self { digest, cluster, pools, unmatched: Pool::default() }
    }

    /// The pool of a node with these labels.
    #[must_use]
    pub fn pool_of(&self, labels: &BTreeMap<String, String>) -> &Pool {
        self.pools.iter().find(|pool| pool.selector.matches(labels)).unwrap_or(&self.unmatched)
    }

    /// Whether a selector of nodes in it speaks of this label.
    #[must_use]
    pub fn selects_by(&self, label: &str) -> bool {
        let canaries = self.pools.iter().filter_map(|pool| match &pool.waves.as_ref()?.canary {
            Canary::Selector(selector) => Some(selector),
            Canary::Count(_) => None,
        });
        let control_plane = self.cluster.control_plane.selector.iter();
        let pools = self.pools.iter().map(|pool| &pool.selector);
        pools.chain(canaries).chain(control_plane).any(|selector| selector.speaks_of(label))
    }

    /// The pool of this name, also that of unmatched nodes.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().chain([&self.unmatched]).find(|pool| pool.name == name)
    }
}

/// No pools: every node is looked at, none is touched.
impl Default for Policy {
    fn default() -> Self {
        Self::of(ClusterPolicy::default(), Vec::new())
    }
}

/// What the digest covers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    cluster: &'a ClusterPolicy,
    pools: &'a [Pool],
}

#[cfg(test)]
mod tests;
