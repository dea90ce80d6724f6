//! Nodes: the list with its filters, and one node with everything that is known of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_report::wire::RebooterState;
use palisade_rules::Profile;
use palisade_rules::Verdict;
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Refused;
use super::findings::Line;
use super::findings::lines_of;
use crate::chain::Chain;
use crate::http::call::FindingFilter;
use crate::http::call::NodesQuery;
use crate::snapshot::ClusterNode;
use crate::snapshot::Node;
use crate::snapshot::Scheduling;
use crate::snapshot::Snapshot;
use crate::snapshot::VerdictCounts;
use crate::store::Reader;

/// Findings by verdict.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    fail: u64,
    unknown: u64,
    waived: u64,
    pass: u64,
    not_applicable: u64,
}

impl From<VerdictCounts> for Counts {
    fn from(counts: VerdictCounts) -> Self {
        let VerdictCounts { fail, unknown, waived, pass, not_applicable } = counts;
        Self { fail, unknown, waived, pass, not_applicable }
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a NodeName,
    uid: Option<&'a NodeUid>,
    state: &'static str,
    state_since: Moment,
    first_seen_at: Moment,
    last_seen_at: Option<Moment>,
    clock_ahead_secs: i64,
    agent: &'a str,
    boot_id: Option<&'a BootId>,
    report: Option<Digest>,
    reported_at: Option<Moment>,
    pending: Option<Digest>,
    /// Whether it could be rebooted, as its agent says.
    rebooter: Option<RebooterState>,
    findings: Counts,
    cluster: Option<Member<'a>>,
}

/// What the cluster says.
#[derive(Serialize)]
struct Member<'a> {
    ready: &'static str,
    cordoned: bool,
    boot_id: Option<&'a str>,
    kernel: Option<&'a str>,
    kubelet: Option<&'a str>,
    taints: &'a [String],
    labels: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a ClusterNode> for Member<'a> {
    fn from(node: &'a ClusterNode) -> Self {
        let ClusterNode {
            uid: _,
            labels,
            hostname: _,
            ready,
            scheduling,
            boot_id,
            kernel,
            kubelet,
            taints,
        } = node;
        Self {
            ready: ready.as_str(),
            cordoned: *scheduling == Scheduling::Cordoned,
            boot_id: boot_id.as_deref(),
            kernel: kernel.as_deref(),
            kubelet: kubelet.as_deref(),
            taints,
            labels,
        }
    }
}

impl<'a> From<&'a Node> for Entry<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            name: &node.name,
            uid: node.uid.as_ref(),
            state: node.state.as_str(),
            state_since: node.state_since,
            first_seen_at: node.first_seen_at,
            last_seen_at: node.boot_id.is_some().then(|| node.seen.at()),
            clock_ahead_secs: node.seen.skew_secs(),
            agent: &node.agent,
            boot_id: node.boot_id.as_ref(),
            report: node.report,
            reported_at: node.reported_at,
            pending: node.pending,
            rebooter: node.seen.rebooter(),
            findings: node.counts.into(),
            cluster: node.cluster.as_deref().map(Member::from),
        }
    }
}

/// The nodes that fit, in order of their names.
#[must_use]
pub fn list(snapshot: &Snapshot, query: &NodesQuery) -> Answer {
    #[derive(Serialize)]
    struct Page<'a> {
        nodes: Vec<Entry<'a>>,
        next: Option<&'a NodeName>,
    }
    let NodesQuery { state, finding, name, after, limit } = query;
    let finding = wanted(finding);
    let mut fitting = snapshot
        .nodes
        .after(after.as_deref().unwrap_or_default())
        .filter(|node| state.is_none_or(|state| node.state == state))
        .filter(|node| name.as_ref().is_none_or(|name| name.matches(node.name.as_str())))
        .filter(|node| finding.as_ref().is_none_or(|wanted| has(node, wanted)));
    let page: Vec<&Arc<Node>> = fitting.by_ref().take(*limit).collect();
    let next = fitting.next().and_then(|_| page.last()).map(|last| &last.name);
    let nodes = page.iter().map(|node| Entry::from(&***node)).collect();
    Answer::json(&Page { nodes, next })
}

/// Asking for nodes by rule or severity without a verdict asks for those that fail.
fn wanted(filter: &FindingFilter) -> Option<FindingFilter> {
    (!filter.is_empty()).then(|| FindingFilter {
        verdict: filter.verdict.or(Some(Verdict::Fail)),
        ..filter.clone()
    })
}

fn has(node: &Node, wanted: &FindingFilter) -> bool {
    node.findings().any(|it| wanted.fits(&it.rule, it.verdict, it.severity))
}

/// One node, with the facts of the sections in `facts`.
///
/// # Errors
/// [`Refused`] if there is no such node, or its facts cannot be read.
pub async fn one(
    snapshot: &Snapshot,
    reader: &Reader,
    profile: &Profile,
    name: &NodeName,
    facts: &[SectionName],
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Whole<'a> {
        node: Entry<'a>,
        sections: BTreeMap<&'static str, Section>,
        findings: Vec<Line<'a>>,
    }
    #[derive(Serialize)]
    struct Section {
        digest: Digest,
        #[serde(skip_serializing_if = "Option::is_none")]
        facts: Option<Box<RawValue>>,
    }
    let node = snapshot
        .node(name.as_str())
        .ok_or_else(|| Refused::new(Kind::NotFound, "no node of that name is known"))?;
    let mut sections = BTreeMap::new();
    for (section, digest) in node.sections.iter() {
        let facts = if facts.contains(section) { read_facts(reader, *digest).await? } else { None };
        sections.insert(section.as_str(), Section { digest: *digest, facts });
    }
    let mut findings: Vec<_> = lines_of(node, profile).collect();
    findings.sort_by(|a, b| a.order().cmp(&b.order()));
    Ok(Answer::json(&Whole { node: Entry::from(&**node), sections, findings }))
}

async fn read_facts(reader: &Reader, digest: Digest) -> Result<Option<Box<RawValue>>, Refused> {
    let bytes = reader.section(digest).await.map_err(|error| super::read_failed(&error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        tracing::error!(%digest, cause = %Chain(&error), "a stored section is no JSON");
        Refused::new(Kind::Internal, "a stored section cannot be read")
    })
}
