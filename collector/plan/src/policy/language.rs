//! The language of policies: text in, a policy with every default filled in, or what to mend.
//!
//! ```text
//! YAML ──tree──> places and values ──sections──> ClusterPolicy, Pools ──check──> Policy
//!                                        └── Problems: each with line, column and what to write
//! ```
//!
//! Strict on purpose: an unknown field, a slip of a unit or a pool that no node can reach would
//! quietly mean something else than its author thinks, on every node of the fleet.

use std::fmt;

use crate::policy::ClusterPolicy;
use crate::policy::ControlPlanePolicy;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::policy::section::Problem;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::tree;
use crate::policy::tree::Node;
use crate::policy::tree::Place;
use crate::policy::tree::Tree;

use self::pool::pool;
use self::selection::selector;
use self::source::alert_source;
use self::time::freeze;
use self::value::Nothing;
use self::value::amount;
use self::value::duration;
use self::value::flag;
use self::value::list;
use self::value::name;
use self::value::percent;
use self::value::reason;
use self::value::text;

mod check;
mod drain;
mod pool;
mod selection;
pub(crate) mod source;
mod time;
mod value;

/// `apiVersion` of policies.
pub const API_VERSION: &str = "palisade.dev/v1alpha1";

/// `kind` of policies.
pub const KIND: &str = "RebootPolicy";

/// Pools that a policy may have: every node is held against each until one selects it.
pub(super) const MAX_POOLS: usize = 100;

/// Freezes of the cluster or of a pool.
pub(super) const MAX_FREEZES: usize = 100;

/// Not a policy. At fault: its author; the policy in force stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// The line of the first problem, from 1.
    pub line: u64,
    /// Its column, from 1.
    pub column: u64,
    /// What is wrong there, and what to write instead.
    pub message: String,
    /// Further problems in the order of the text.
    pub others: Vec<Problem>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, others } = self;
        write!(f, "line {line}, column {column}: {message}")?;
        for Problem { line, column, message } in others {
            write!(f, "\nline {line}, column {column}: {message}")?;
        }
        Ok(())
    }
}

impl Policy {
    /// The policy that this text says.
    ///
    /// # Errors
    /// [`PolicyError`]: every problem with its place and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut problems = Problems::default();
        let policy = match tree::parse(text) {
            Ok(tree) => policy(&tree, &mut problems),
            Err(error) => {
                problems.add(error.place, error.message);
                None
            }
        };
        let mut found = problems.into_sorted().into_iter();
        match (found.next(), policy) {
            (None, Some(policy)) => Ok(policy),
            (Some(Problem { line, column, message }), _) => {
                Err(PolicyError { line, column, message, others: found.collect() })
            }
            // A part that could not be read has always said why.
            (None, None) => Err(PolicyError {
                line: 1,
                column: 1,
                message: "this is no policy".to_owned(),
                others: Vec::new(),
            }),
        }
    }
}

fn policy(tree: &Tree, problems: &mut Problems) -> Option<Policy> {
    if let Node::Nothing = tree.node {
        let message = format!("the policy is empty: begin with `apiVersion: {API_VERSION}`");
        problems.add(Place { line: 1, column: 1 }, message);
        return None;
    }
    let mut section = Section::open(tree, "a policy", problems)?;
    section.need("apiVersion", API_VERSION, exactly(API_VERSION));
    section.need("kind", KIND, exactly(KIND));
    let mut cluster = ClusterPolicy::default();
    section.set("cluster", &mut cluster, read_cluster);
    let mut pools: Vec<(Place, Pool)> = Vec::new();
    let read =
        |tree: &Tree, problems: &mut Problems| pool(tree, problems).map(|pool| (tree.place, pool));
    section.set("pools", &mut pools, list(MAX_POOLS, read));
    section.refuse("metadata", "a policy has no `metadata`: remove it, it is named by its file");
    section.refuse("spec", "write the fields of `spec` without it, at the left margin");
    check::pools(&pools, section.problems);
    check::alerts(&pools, cluster.alert_source.as_ref(), section.problems);
    section.close(&["metadata", "spec"]);
    Some(Policy::of(cluster, pools.into_iter().map(|(_, pool)| pool).collect()))
}

/// These words and no others.
fn exactly(expected: &'static str) -> impl FnOnce(&Tree, &mut Problems) -> Option<()> {
    move |tree, problems| {
        if text(tree, problems)? == expected {
            return Some(());
        }
        problems.expected(tree, &format!("`{expected}`"))
    }
}

fn read_cluster(tree: &Tree, problems: &mut Problems) -> Option<ClusterPolicy> {
    let mut section = Section::open(tree, "the cluster", problems)?;
    let mut cluster = ClusterPolicy::default();
    let ClusterPolicy {
        max_unavailable,
        paused,
        freezes,
        control_plane,
        dead_man_percent,
        calm_secs,
        single_node,
        node_lease,
        alert_source: source,
    } = &mut cluster;
    section.set("maxUnavailable", max_unavailable, amount);
    section.set_some("paused", paused, reason);
    section.set("freezes", freezes, list(MAX_FREEZES, freeze));
    section.set("controlPlane", control_plane, read_control_plane);
    section.set("deadManPercent", dead_man_percent, percent(1, 100));
    section.set("calm", calm_secs, duration(Nothing::Allowed));
    section.set("singleNode", single_node, flag);
    section.set_some("nodeLease", node_lease, name);
    section.set_some("alertSource", source, alert_source);
    section.close(&[]);
    Some(cluster)
}

fn read_control_plane(tree: &Tree, problems: &mut Problems) -> Option<ControlPlanePolicy> {
    let mut section = Section::open(tree, "the control plane", problems)?;
    let mut control_plane = ControlPlanePolicy::default();
    let ControlPlanePolicy { selector: chosen, allow_small_etcd } = &mut control_plane;
    section.set_some("selector", chosen, selector);
    section.set("allowSmallEtcd", allow_small_etcd, flag);
    if chosen.as_ref().is_some_and(crate::policy::Selector::is_everything) {
        let message = "this selects every node: name a label of the control plane";
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(control_plane)
}

/// Fields by section, as far as this text leads the parser to ask for them.
#[cfg(test)]
pub(super) fn known(
    text: &str,
) -> std::collections::BTreeMap<&'static str, std::collections::BTreeSet<&'static str>> {
    let mut problems = Problems::default();
    policy(&tree::parse(text).unwrap(), &mut problems);
    problems.known
}

#[cfg(test)]
mod tests;
