//! Counts that are kept while nodes change, so that a summary costs nothing to answer.

use std::collections::BTreeMap;

use palisade_report::SectionName;
use palisade_rules::Finding;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;

use super::NodeState;

/// Counts over all nodes that are not gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    nodes: [u64; NodeState::ALL.len()],
    /// Findings by verdict.
    pub findings: VerdictCounts,
    severities: [VerdictCounts; Severity::ALL.len()],
    /// Findings by rule and verdict; rules without findings are left out.
    pub rules: BTreeMap<RuleId, VerdictCounts>,
    /// Judging by group of rules, in the profile's order.
    pub groups: Vec<GroupCount>,
    /// Distinct sections stored.
    pub sections: u64,
    /// Their canonical bytes, before compression.
    pub section_bytes: u64,
    /// Nodes of whose newest report sections are still missing.
    pub enrolling: u64,
    /// Commits that failed since the process started.
    pub failed_commits: u64,
    /// Heartbeats that used a sequence number again for another report, since the process started.
    pub sequence_conflicts: u64,
}

/// How often a group of rules was judged since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCount {
    /// The sections that its rules read.
    pub sections: Vec<SectionName>,
    /// Judgements made; those that the store or the cache had are not counted.
    pub judgements: u64,
}

impl Counters {
    /// Nodes in a state.
    #[must_use]
    pub fn nodes(&self, state: NodeState) -> u64 {
        let at = NodeState::ALL.iter().position(|it| *it == state);
        at.and_then(|at| self.nodes.get(at)).copied().unwrap_or_default()
    }

    /// Findings of a severity, by verdict.
    #[must_use]
    pub fn severity(&self, severity: Severity) -> VerdictCounts {
        let at = Severity::ALL.iter().position(|it| *it == severity);
        at.and_then(|at| self.severities.get(at)).copied().unwrap_or_default()
    }

    pub(crate) fn count_node(&mut self, state: NodeState, change: Counted) {
        let at = NodeState::ALL.iter().position(|it| *it == state);
        if let Some(count) = at.and_then(|at| self.nodes.get_mut(at)) {
            change.apply(count);
        }
    }

    pub(crate) fn count_finding(&mut self, finding: &Finding, change: Counted) {
        self.findings.count(finding.verdict, change);
        let at = Severity::ALL.iter().position(|it| *it == finding.severity);
        if let Some(counts) = at.and_then(|at| self.severities.get_mut(at)) {
            counts.count(finding.verdict, change);
        }
        if let Some(counts) = self.rules.get_mut(&finding.rule) {
            counts.count(finding.verdict, change);
        } else {
            let mut counts = VerdictCounts::default();
            counts.count(finding.verdict, change);
            self.rules.insert(finding.rule.clone(), counts);
        }
    }
}

/// Whether something came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Came,
    Went,
}

impl Counted {
    const fn apply(self, count: &mut u64) {
        *count = match self {
            Self::Came => count.saturating_add(1),
            Self::Went => count.saturating_sub(1),
        };
    }
}

/// Findings by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// [`Verdict::Fail`].
    pub fail: u64,
    /// [`Verdict::Unknown`].
    pub unknown: u64,
    /// [`Verdict::Waived`].
    pub waived: u64,
    /// [`Verdict::Pass`].
    pub pass: u64,
    /// [`Verdict::NotApplicable`].
    pub not_applicable: u64,
}

impl VerdictCounts {
    /// The count of one verdict.
    #[must_use]
    pub const fn of(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Fail => self.fail,
            Verdict::NotApplicable => self.not_applicable,
            Verdict::Pass => self.pass,
            Verdict::Unknown => self.unknown,
            Verdict::Waived => self.waived,
        }
    }

    pub(crate) const fn count(&mut self, verdict: Verdict, change: Counted) {
        change.apply(match verdict {
            Verdict::Fail => &mut self.fail,
            Verdict::NotApplicable => &mut self.not_applicable,
            Verdict::Pass => &mut self.pass,
            Verdict::Unknown => &mut self.unknown,
            Verdict::Waived => &mut self.waived,
        });
    }
}
