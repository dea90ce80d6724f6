//! What a complete report brings about: judgements, episodes, counts, history.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_report::section::Sharing;
use palisade_rules::Facts;
use serde_json::Value;

use super::ask::SectionId;
use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use super::episode::Settled;
use super::episode::settle;
use super::judging::Judge;
use super::message::Cause;
use super::message::Change;
use super::message::NodeEvent;
use super::message::Refusal;
use super::message::What;
use super::shelf;
use super::shelf::Matter;
use crate::audit::Happening;
use crate::snapshot::Counted;
use crate::snapshot::Judged;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Opened;
use crate::snapshot::VerdictCounts;
use crate::store::LoadError;
use crate::store::Write;

/// Parsed shared sections that are kept: a few for each configuration of a fleet. One parsed
/// section is some 100 KB.
const MAX_VALUES: usize = 128;

/// Judgements that one turn makes because time passed, so that a day on which a whole fleet's
/// certificates cross a threshold does not hold up the heartbeats.
const MAX_DUE: usize = 1000;

/// Seconds after which a judgement that claims to change in the past is made again; a rule that
/// says so must not keep the engine busy.
const DUE_AGAIN_SECS: i64 = 60;

impl Core {
    /// The pending report of a node has all its sections: it is the node's report from now on.
    pub(super) fn complete(&mut self, name: &NodeName, now: Now) {
        let Some(pending) = self.known.get_mut(name).and_then(|known| known.pending.take()) else {
            return;
        };
        self.asks.finished(name);
        let counters = self.counters();
        counters.enrolling = counters.enrolling.saturating_sub(1);
        let Some(node) = self.nodes.get(name.as_str()).cloned() else { return };
        let (left_out, sections): (Vec<_>, Vec<_>) =
            pending.sections().partition(|id| self.is_unusable(name, id));
        let sections: Arc<[SectionId]> = sections.into();
        if let Some(known) = self.known.get_mut(name) {
            // Only what this report has: those of older ones are not asked for any more.
            known.left_out = left_out.into_iter().collect();
        }
        sections.iter().for_each(|id| self.refer(*id));
        node.sections.iter().for_each(|id| self.release(*id));
        pending.received.iter().for_each(|id| self.release(*id));
        let changed = node.section(SectionName::Certificates)
            != sections.iter().find(|id| id.0 == SectionName::Certificates).map(|id| id.1);
        let certificates = sections.iter().find(|id| id.0 == SectionName::Certificates).copied();
        let next = Node {
            report: Some(pending.report),
            pending: None,
            reported_at: Some(now.at),
            sections,
            ..Node::clone(&node)
        };
        self.nodes.insert(Arc::new(next));
        if changed {
            let section = certificates.and_then(|id| self.value(id));
            self.batch.writes.push(Write::Certificates { node: name.clone(), section });
        }
        self.judge_node(name, Cause::Report, now);
        self.write_node(name);
    }

    /// Holds a node's sections against all groups of rules and settles what changed.
    pub(super) fn judge_node(&mut self, name: &NodeName, cause: Cause, now: Now) {
        let Some(node) = self.nodes.get(name.as_str()).cloned() else { return };
        let apart = self.judge.is_apart(name).then(|| name.clone());
        let mut judgements = Vec::with_capacity(self.groups.len());
        for group in 0..self.groups.len() {
            let names = self.groups.get(group).map(Vec::as_slice).unwrap_or_default();
            let inputs =
                names.iter().filter_map(|name| Some((*name, node.section(*name)?))).collect();
            let matter = Matter { group, inputs, node: apart.clone() };
            let key = matter.key(self.basis);
            let judged = match self.shelf.find(key) {
                Some(judged) => Arc::clone(judged),
                None => self.judge(key, matter, now),
            };
            judgements.push(judged);
        }
        self.settle_node(&node, judgements.into(), cause, now);
    }

    /// Judges, and puts the judgement on the shelf and into the batch.
    fn judge(&mut self, key: Digest, matter: Matter, now: Now) -> Arc<Judged> {
        let mut facts = Facts::default();
        for id in &matter.inputs {
            if let Some(value) = self.value(*id) {
                facts.insert(id.0, value);
            }
        }
        let judge: &dyn Judge = &*self.judge;
        let say = |facts: &Facts| judge.judge(matter.group, facts, matter.node.as_ref(), now.at);
        // One node's facts must not end the engine for all: a rule that panics over them is held
        // against no facts at all, which makes its verdicts unknown.
        let judged = catch_unwind(AssertUnwindSafe(|| say(&facts)));
        let mut judgement = judged.unwrap_or_else(|_| {
            tracing::error!(group = matter.group, "a rule panicked; its group is judged unknown");
            say(&Facts::default())
        });
        let soonest = now.at.plus(DUE_AGAIN_SECS);
        judgement.next_change_at =
            judgement.next_change_at.map(|at| if at <= now.at { soonest } else { at });
        if let Some(count) = self.counters().groups.get_mut(matter.group) {
            count.judgements = count.judgements.saturating_add(1);
        }
        let judged = shelf::judged(key, matter.group, judgement);
        self.batch.writes.push(Write::Judgement { key, row: shelf::row(&matter, &judged) });
        self.shelf.put(matter, &judged);
        judged
    }

    /// Gives a node its judgements, and counts, keeps and announces what that changes.
    fn settle_node(&mut self, node: &Node, judgements: Arc<[Arc<Judged>]>, cause: Cause, now: Now) {
        judgements.iter().for_each(|judged| self.shelf.hold(judged.key));
        for judged in node.judgements.iter() {
            self.shelf.release(judged.key);
            self.batch.unjudged.insert(judged.key);
        }
        let mut counts = VerdictCounts::default();
        let counters = self.counters();
        for finding in node.judgements.iter().flat_map(|judged| &judged.findings) {
            counters.count_finding(finding, Counted::Went);
        }
        for finding in judgements.iter().flat_map(|judged| &judged.findings) {
            counters.count_finding(finding, Counted::Came);
            counts.count(finding.verdict, Counted::Came);
        }
        let Settled { episodes, transitions } =
            settle(&node.episodes, &judgements, opened(node, cause), now.at);
        let next = Node { judgements, episodes: episodes.into(), counts, ..node.clone() };
        self.nodes.insert(Arc::new(next));
        if transitions.is_empty() {
            return;
        }
        let transitions: Arc<[_]> = transitions.into();
        let (id, at) = (self.next_history(), now.at);
        self.batch.writes.push(Write::Findings {
            id,
            at,
            node: node.name.clone(),
            cause,
            transitions: Arc::clone(&transitions),
        });
        let what = What::Findings { cause, transitions };
        self.batch.changes.push(Change { id: Some(id), at, node: node.name.clone(), what });
        // While it is loaded, the node's own row may lag behind by these episodes.
        if matches!(cause, Cause::Rules | Cause::Time) {
            self.write_node(&node.name);
        }
    }

    /// Judges again what time has changed.
    pub(super) fn judge_due(&mut self, now: Now) {
        let mut anew = BTreeMap::new();
        for key in self.shelf.due(now.at, MAX_DUE) {
            let Some(matter) = self.shelf.matter(key).cloned() else { continue };
            anew.insert(key, self.judge(key, matter, now));
        }
        if anew.is_empty() {
            return;
        }
        let affected: Vec<Arc<Node>> = self
            .nodes
            .iter()
            .filter(|node| node.judgements.iter().any(|old| anew.contains_key(&old.key)))
            .cloned()
            .collect();
        for node in affected {
            let judgements = node
                .judgements
                .iter()
                .map(|old| Arc::clone(anew.get(&old.key).unwrap_or(old)))
                .collect();
            self.settle_node(&node, judgements, Cause::Time, now);
        }
    }

    /// Judges everything by other rules from now on.
    pub(crate) fn judge_by(&mut self, judge: Arc<dyn Judge>, now: Now) {
        self.basis = super::core::basis(&*judge);
        self.groups = judge.groups();
        self.judge = judge;
        let groups = self.groups.iter().map(|sections| crate::snapshot::GroupCount {
            sections: sections.clone(),
            judgements: 0,
        });
        self.counters().groups = groups.collect();
        if !self.is_durable(now) {
            // The reload after the store has recovered judges by the new rules.
            return;
        }
        let reported = self.nodes.iter().filter(|node| node.report.is_some());
        let names: Vec<NodeName> = reported.map(|node| node.name.clone()).collect();
        names.iter().for_each(|name| self.judge_node(name, Cause::Rules, now));
    }

    /// Retires a node.
    pub(crate) fn retire(&mut self, name: &NodeName, by: Happening, now: Now) -> Outcome<()> {
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        let Some(node) = self.live(name).cloned() else {
            return Outcome::AtOnce(Err(Refusal::UnknownNode));
        };
        self.note_done(by.changing(node.state.as_str(), NodeState::Gone.as_str()), now);
        self.event(name, NodeEvent::Retired, now);
        self.close(&node, Cause::Retired, now);
        Outcome::Durable(Ok(()))
    }

    /// Ends a node's record: its findings end, its sections are released, its history stays.
    pub(super) fn close(&mut self, node: &Node, cause: Cause, now: Now) {
        let name = &node.name;
        self.drop_pending(name);
        self.asks.finished(name);
        self.settle_node(node, Arc::default(), cause, now);
        node.sections.iter().for_each(|id| self.release(*id));
        if let Some(settled) = self.nodes.get(name.as_str()) {
            let bare = Node {
                report: None,
                pending: None,
                sections: Arc::default(),
                ..Node::clone(settled)
            };
            self.nodes.insert(Arc::new(bare));
        }
        self.batch.writes.push(Write::Certificates { node: name.clone(), section: None });
        self.enter(name, NodeState::Gone, now);
        self.write_node(name);
    }

    /// Forgets the report that is on its way.
    pub(super) fn drop_pending(&mut self, name: &NodeName) {
        let pending = self.known.get_mut(name).and_then(|known| known.pending.take());
        if let Some(pending) = pending {
            pending.received.iter().for_each(|id| self.release(*id));
            let counters = self.counters();
            counters.enrolling = counters.enrolling.saturating_sub(1);
        }
    }

    /// Notes an event of a node, and announces it after the commit.
    pub(super) fn event(&mut self, name: &NodeName, event: NodeEvent, now: Now) {
        let (id, at) = (self.next_history(), now.at);
        let node = name.clone();
        self.batch.changes.push(Change {
            id: Some(id),
            at,
            node: node.clone(),
            what: What::Event(event.clone()),
        });
        self.batch.writes.push(Write::Event { id, at, node, event });
    }

    /// Puts the node's row into the batch.
    pub(super) fn write_node(&mut self, name: &NodeName) {
        if let Some(row) = self.row(name) {
            if let Some(known) = self.known.get_mut(name) {
                known.flushed = row.sequence;
            }
            self.batch.writes.push(Write::Node(Box::new(row)));
        }
    }

    const fn next_history(&mut self) -> i64 {
        self.last_history = self.last_history.saturating_add(1);
        self.last_history
    }

    /// A section, parsed: from this batch, from the cache, or from the store.
    fn value(&mut self, id: SectionId) -> Option<Arc<Value>> {
        if let Some(value) = self.batch.values.get(&id).or_else(|| self.values.get(&id)) {
            return Some(Arc::clone(value));
        }
        match self.store.section(id.0, id.1) {
            Ok(Some(bytes)) => match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => {
                    let value = Arc::new(value);
                    self.keep_value(id, &value);
                    Some(value)
                }
                Err(source) => {
                    let source = Box::new(source);
                    self.batch.trouble = Some(LoadError::Malformed { table: "sections", source });
                    None
                }
            },
            // Referred to and not there: the judge says that the section is missing.
            Ok(None) => None,
            Err(error) => {
                self.batch.trouble = Some(error);
                None
            }
        }
    }

    /// Keeps a parsed section that other nodes will need, too.
    pub(super) fn keep_value(&mut self, id: SectionId, value: &Arc<Value>) {
        if id.0.sharing() == Sharing::PerNode {
            return;
        }
        if self.values.len() >= MAX_VALUES {
            self.values.pop_first();
        }
        self.values.insert(id, Arc::clone(value));
    }
}

/// What opens the findings of a node that open now.
fn opened(node: &Node, cause: Cause) -> Opened {
    match cause {
        Cause::Report if node.judgements.is_empty() => Opened::FirstReport,
        Cause::Report => Opened::Report,
        Cause::Rules => Opened::Rules,
        Cause::Time => Opened::Time,
        // Findings only end then.
        Cause::Replaced | Cause::Retired => Opened::FirstReport,
    }
}
