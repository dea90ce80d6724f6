//! Judgements on the shelf: each made once for a group of rules and a set of sections, shared by
//! all nodes that have these, and looked at again only when time changes it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_rules::Judgement;

use super::ask::SectionId;
use crate::snapshot::FindingKey;
use crate::snapshot::Judged;
use crate::store::JudgedRow;

/// What a judgement is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matter {
    /// Index of the group.
    pub(crate) group: usize,
    /// The sections that the group reads and that are there, in order of names.
    pub(crate) inputs: Vec<SectionId>,
    /// The node, if a waiver names it.
    pub(crate) node: Option<NodeName>,
}

impl Matter {
    /// The key of the judgement: equal for equal rules, waivers and facts.
    pub(crate) fn key(&self, basis: Digest) -> Digest {
        let Self { group, inputs, node } = self;
        let mut text = format!("{basis} {group}\n");
        for (name, digest) in inputs {
            text.push_str(&format!("{name} {digest}\n"));
        }
        if let Some(node) = node {
            text.push_str(&format!("node {node}\n"));
        }
        Digest::of(text.as_bytes())
    }
}

#[derive(Debug)]
struct Shelved {
    judged: Arc<Judged>,
    matter: Matter,
    /// Nodes that have it.
    nodes: usize,
}

/// The shelf.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    shelved: BTreeMap<Digest, Shelved>,
    due: BTreeSet<(Moment, Digest)>,
}

impl Shelf {
    /// A judgement by its key.
    pub(crate) fn find(&self, key: Digest) -> Option<&Arc<Judged>> {
        self.shelved.get(&key).map(|shelved| &shelved.judged)
    }

    /// What a judgement was made from.
    pub(crate) fn matter(&self, key: Digest) -> Option<&Matter> {
        self.shelved.get(&key).map(|shelved| &shelved.matter)
    }

    /// Puts a judgement, in place of the one with its key; its nodes stay.
    pub(crate) fn put(&mut self, matter: Matter, judged: &Arc<Judged>) {
        let key = judged.key;
        let nodes = match self.shelved.remove(&key) {
            Some(old) => {
                if let Some(at) = old.judged.next_change_at {
                    self.due.remove(&(at, key));
                }
                old.nodes
            }
            None => 0,
        };
        if let Some(at) = judged.next_change_at {
            self.due.insert((at, key));
        }
        self.shelved.insert(key, Shelved { judged: Arc::clone(judged), matter, nodes });
    }

    /// One node more has it.
    pub(crate) fn hold(&mut self, key: Digest) {
        if let Some(shelved) = self.shelved.get_mut(&key) {
            shelved.nodes = shelved.nodes.saturating_add(1);
        }
    }

    /// One node less has it.
    pub(crate) fn release(&mut self, key: Digest) {
        if let Some(shelved) = self.shelved.get_mut(&key) {
            shelved.nodes = shelved.nodes.saturating_sub(1);
        }
    }

    /// Takes a judgement away if no node has it.
    pub(crate) fn drop_unheld(&mut self, key: Digest) -> Kept {
        match self.shelved.get(&key) {
            Some(shelved) if shelved.nodes == 0 => {
                if let Some(at) = shelved.judged.next_change_at {
                    self.due.remove(&(at, key));
                }
                self.shelved.remove(&key);
                Kept::Dropped
            }
            Some(_) | None => Kept::Held,
        }
    }

    /// Keys of judgements that no node has.
    pub(crate) fn unheld(&self) -> Vec<Digest> {
        self.shelved.iter().filter(|(_, it)| it.nodes == 0).map(|(key, _)| *key).collect()
    }

    /// Keys of judgements that time has changed by `now`, at most `limit`, the most overdue first.
    pub(crate) fn due(&self, now: Moment, limit: usize) -> Vec<Digest> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.take(limit).map(|(_, key)| *key).collect()
    }
}

/// Whether something stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Dropped,
    Held,
}

/// A judgement as nodes share it.
pub(crate) fn judged(key: Digest, group: usize, judgement: Judgement) -> Arc<Judged> {
    let Judgement { findings, next_change_at } = judgement;
    let keys = findings
        .iter()
        .map(|finding| {
            let rule = finding.rule.clone();
            Arc::new(FindingKey { rule, subject: finding.subject.as_str().into() })
        })
        .collect();
    Arc::new(Judged { key, group, findings, next_change_at, keys })
}

/// A judgement as the store keeps it.
pub(crate) fn row(matter: &Matter, judged: &Judged) -> JudgedRow {
    let Matter { group, inputs, node } = matter.clone();
    let findings = judged.findings.clone();
    JudgedRow { group, inputs, node, findings, next_change_at: judged.next_change_at }
}
