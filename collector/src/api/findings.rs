//! Findings: by rule with the number of nodes, or each of each node; JSON or CSV.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Media;
use super::answer::Refused;
use super::page::csv_line;
use super::page::cursor;
use super::page::key;
use crate::http::call::FindingsQuery;
use crate::http::call::Format;
use crate::http::call::GroupBy;
use crate::http::query::DEFAULT_LIMIT;
use crate::snapshot::Judged;
use crate::snapshot::Node;
use crate::snapshot::Snapshot;

/// Lines that a CSV without `limit` may have: what a spreadsheet still opens. More is refused, not
/// cut.
const MAX_CSV_LINES: usize = 100_000;

/// Names of nodes beside a count of them.
const EXAMPLES: usize = 3;

/// One finding of one node.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a NodeName>,
    rule: &'a RuleId,
    verdict: Verdict,
    severity: Severity,
    subject: &'a str,
    title: &'a str,
    evidence: &'a palisade_rules::Evidence,
    fix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiver: Option<&'a palisade_rules::finding::AppliedWaiver>,
    first_seen_at: Option<Moment>,
    changed_at: Option<Moment>,
}

impl Line<'_> {
    /// What needs a person first, then the most severe, then by rule.
    #[must_use]
    pub fn order(&self) -> (Verdict, std::cmp::Reverse<Severity>, &RuleId, &str) {
        (self.verdict, std::cmp::Reverse(self.severity), self.rule, self.subject)
    }
}

/// The findings of a node, without its name.
pub fn lines_of<'a>(node: &'a Node, profile: &'a Profile) -> impl Iterator<Item = Line<'a>> {
    node.findings().map(move |finding| line(node, finding, profile))
}

fn line<'a>(node: &'a Node, finding: &'a Finding, profile: &'a Profile) -> Line<'a> {
    let Finding { rule, verdict, severity, subject, evidence, waiver } = finding;
    let episode = node.episode(rule, subject);
    let documentation = rule_of(profile, rule);
    Line {
        node: None,
        rule,
        verdict: *verdict,
        severity: *severity,
        subject,
        title: documentation.map_or("", |rule| rule.title()),
        evidence,
        fix: documentation.map_or("", |rule| rule.fix()),
        waiver: waiver.as_ref(),
        first_seen_at: episode.map(|episode| episode.first_seen_at),
        changed_at: episode.map(|episode| episode.changed_at),
    }
}

fn rule_of<'a>(profile: &'a Profile, id: &RuleId) -> Option<&'a palisade_rules::Rule> {
    let rules = profile.rules();
    let at = rules.binary_search_by(|rule| rule.id().cmp(id)).ok()?;
    rules.get(at).map(AsRef::as_ref)
}

/// The findings that fit.
///
/// # Errors
/// [`Refused`] for a foreign cursor, or for more lines than a CSV may have.
pub fn list(
    snapshot: &Snapshot,
    profile: &Profile,
    query: &FindingsQuery,
) -> Result<Answer, Refused> {
    let after = query.after.as_deref().map(key).transpose()?;
    let limit = match (query.format, query.limit) {
        (_, Some(limit)) => limit,
        (Format::Json, None) => DEFAULT_LIMIT,
        (Format::Csv, None) => MAX_CSV_LINES,
    };
    match query.by {
        GroupBy::Rule => by_rule(snapshot, profile, query, after.as_deref(), limit),
        GroupBy::Node => by_node(snapshot, profile, query, after.as_deref(), limit),
    }
}

#[derive(Serialize)]
struct RuleLine<'a> {
    rule: &'a RuleId,
    verdict: Verdict,
    severity: Severity,
    title: &'a str,
    fix: &'a str,
    nodes: u64,
    findings: u64,
    examples: Vec<&'a NodeName>,
}

#[derive(Default)]
struct Tally<'a> {
    nodes: u64,
    findings: u64,
    examples: Vec<&'a NodeName>,
}

/// Nodes that share a judgement, by the judgement.
struct Sharing<'a> {
    judged: &'a Arc<Judged>,
    nodes: u64,
    examples: Vec<&'a NodeName>,
}

/// Judgements are shared by all nodes with the same facts, so the nodes are counted for each
/// judgement first, and its findings are walked once.
fn by_rule(
    snapshot: &Snapshot,
    profile: &Profile,
    query: &FindingsQuery,
    after: Option<&str>,
    limit: usize,
) -> Result<Answer, Refused> {
    let mut sharing: HashMap<*const Judged, Sharing<'_>> = HashMap::new();
    for node in selected(snapshot, query) {
        for judged in node.judgements.iter() {
            let entry = sharing.entry(Arc::as_ptr(judged)).or_insert_with(|| Sharing {
                judged,
                nodes: 0,
                examples: Vec::new(),
            });
            entry.nodes += 1;
            if entry.examples.len() < EXAMPLES {
                entry.examples.push(&node.name);
            }
        }
    }
    let mut tallies = BTreeMap::new();
    let mut in_order: Vec<Sharing<'_>> = sharing.into_values().collect();
    in_order.sort_by_key(|it| (it.judged.group, it.judged.key));
    for Sharing { judged, nodes, examples } in &in_order {
        let mut here = BTreeMap::new();
        for finding in &judged.findings {
            let Finding { rule, verdict, severity, .. } = finding;
            if query.filter.fits(rule, *verdict, *severity) {
                let place = (*verdict, std::cmp::Reverse(*severity), rule);
                *here.entry(place).or_insert(0_u64) += 1;
            }
        }
        for (place, subjects) in here {
            let tally: &mut Tally<'_> = tallies.entry(place).or_default();
            tally.nodes += nodes;
            tally.findings += nodes.saturating_mul(subjects);
            let room = EXAMPLES.saturating_sub(tally.examples.len());
            tally.examples.extend(examples.iter().take(room));
        }
    }
    let mut lines = Vec::new();
    let mut next = None;
    for ((verdict, severity, rule), Tally { nodes, findings, examples }) in tallies {
        let std::cmp::Reverse(severity) = severity;
        let place = rule_place(verdict, severity, rule);
        if after.is_some_and(|after| place.as_str() <= after) {
            continue;
        }
        if lines.len() == limit {
            next = lines.last().map(|line: &RuleLine<'_>| {
                cursor(&rule_place(line.verdict, line.severity, line.rule))
            });
            break;
        }
        let rule_doc = rule_of(profile, rule);
        let title = rule_doc.map_or("", |rule| rule.title());
        let fix = rule_doc.map_or("", |rule| rule.fix());
        lines.push(RuleLine { rule, verdict, severity, title, fix, nodes, findings, examples });
    }
    match query.format {
        Format::Json => {
            #[derive(Serialize)]
            struct Page<'a> {
                findings: Vec<RuleLine<'a>>,
                next: Option<String>,
            }
            Ok(Answer::json(&Page { findings: lines, next }))
        }
        Format::Csv => {
            let mut out = String::new();
            let titles = ["rule", "verdict", "severity", "nodes", "findings", "title", "fix"];
            csv_line(&mut out, &titles);
            for line in lines {
                let RuleLine { rule, verdict, severity, title, fix, nodes, findings, .. } = line;
                let (nodes, findings) = (nodes.to_string(), findings.to_string());
                let cells = [
                    rule.as_str(),
                    verdict.as_str(),
                    severity.as_str(),
                    &nodes,
                    &findings,
                    title,
                    fix,
                ];
                csv_line(&mut out, &cells);
            }
            whole_csv(out, query, next.is_none())
        }
    }
}

/// Sorts like the lines do: verdict, then the most severe, then the rule.
fn rule_place(verdict: Verdict, severity: Severity, rule: &RuleId) -> String {
    let rank = |found: Option<usize>| found.unwrap_or_default();
    let verdict = rank(Verdict::ALL.iter().position(|it| *it == verdict));
    let severity = rank(Severity::ALL.iter().position(|it| *it == severity));
    format!("{verdict}{severity}{rule}")
}

fn by_node(
    snapshot: &Snapshot,
    profile: &Profile,
    query: &FindingsQuery,
    after: Option<&str>,
    limit: usize,
) -> Result<Answer, Refused> {
    let after: Option<(&str, &str, &str)> = match after {
        None => None,
        Some(place) => {
            let mut parts = place.splitn(3, SEPARATOR);
            let (Some(node), Some(rule), Some(subject)) =
                (parts.next(), parts.next(), parts.next())
            else {
                let message = "the parameter after belongs to another list";
                return Err(Refused::new(Kind::MalformedRequest, message));
            };
            Some((node, rule, subject))
        }
    };
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut next = None;
    'nodes: for node in selected(snapshot, query) {
        if after.is_some_and(|(last, ..)| node.name.as_str() < last) {
            continue;
        }
        let mut here: Vec<&Finding> = node
            .findings()
            .filter(|it| query.filter.fits(&it.rule, it.verdict, it.severity))
            .collect();
        here.sort_by(|a, b| (&a.rule, &a.subject).cmp(&(&b.rule, &b.subject)));
        for finding in here {
            let place = (node.name.as_str(), finding.rule.as_str(), finding.subject.as_str());
            if after.is_some_and(|after| place <= after) {
                continue;
            }
            if lines.len() == limit {
                next = lines.last().map(|it| {
                    let node = it.node.map_or("", |node| node.as_str());
                    cursor(&[node, it.rule.as_str(), it.subject].join(SEPARATOR))
                });
                break 'nodes;
            }
            lines.push(Line { node: Some(&node.name), ..line(node, finding, profile) });
        }
    }
    match query.format {
        Format::Json => {
            #[derive(Serialize)]
            struct Page<'a> {
                findings: Vec<Line<'a>>,
                next: Option<String>,
            }
            Ok(Answer::json(&Page { findings: lines, next }))
        }
        Format::Csv => {
            let mut out = String::new();
            let titles = [
                "node",
                "rule",
                "verdict",
                "severity",
                "subject",
                "observed",
                "expected",
                "origin",
                "reason",
                "first seen",
                "title",
                "fix",
            ];
            csv_line(&mut out, &titles);
            for it in lines {
                let seen = it.first_seen_at.map_or_else(String::new, |at| at.to_string());
                let cells = [
                    it.node.map_or("", |node| node.as_str()),
                    it.rule.as_str(),
                    it.verdict.as_str(),
                    it.severity.as_str(),
                    it.subject,
                    &it.evidence.observed,
                    &it.evidence.expected,
                    &it.evidence.origin,
                    &it.evidence.reason,
                    &seen,
                    it.title,
                    it.fix,
                ];
                csv_line(&mut out, &cells);
            }
            whole_csv(out, query, next.is_none())
        }
    }
}

/// Between the parts of a place; node names and rule ids cannot hold it.
const SEPARATOR: &str = "\u{1f}";

fn selected<'a>(
    snapshot: &'a Snapshot,
    query: &'a FindingsQuery,
) -> impl Iterator<Item = &'a Arc<Node>> {
    snapshot
        .nodes
        .iter()
        .filter(|node| node.state.is_live())
        .filter(|node| query.name.as_ref().is_none_or(|name| name.matches(node.name.as_str())))
}

/// A CSV has no place to say that there is more: it is whole, or as long as was asked for.
fn whole_csv(out: String, query: &FindingsQuery, is_whole: bool) -> Result<Answer, Refused> {
    if is_whole || query.limit.is_some() {
        return Ok(Answer::text(Media::Csv, out));
    }
    let message = format!("more than {MAX_CSV_LINES} lines: filter, or ask for JSON with a cursor");
    Err(Refused::new(Kind::TooLarge, message))
}
