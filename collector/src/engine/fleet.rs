//! Nodes between memory and store: loading everything, and the row of one node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Manifest;
use palisade_report::NodeName;
use palisade_report::SectionName;

use super::ask::Asks;
use super::ask::SectionId;
use super::core::Core;
use super::core::Now;
use super::core::Stored;
use super::message::Cause;
use super::shelf;
use super::shelf::Matter;
use super::shelf::Shelf;
use crate::grants::boot_clock::BootClock;
use crate::snapshot::Counters;
use crate::snapshot::Episode;
use crate::snapshot::FindingKey;
use crate::snapshot::GroupCount;
use crate::snapshot::Node;
use crate::snapshot::Seen;
use crate::snapshot::VerdictCounts;
use crate::store::EpisodeRow;
use crate::store::LoadError;
use crate::store::NodeBody;
use crate::store::NodeRow;
use crate::store::PendingRow;

/// What the engine knows of a node beside its public record.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The highest sequence number of this boot.
    pub(super) sequence: u64,
    /// The report that came with it.
    pub(super) announced: Digest,
    /// When it was heard, by the monotonic hand; before the start: negative.
    pub(super) seen_ms: i64,
    /// The sequence number that the store has.
    pub(super) flushed: u64,
    /// Its entry in the index of quiet nodes.
    pub(super) quiet_at_ms: i64,
    /// The boot that it has left, and until when messages of it are taken for late ones.
    pub(super) former: Option<(BootId, i64)>,
    /// A report of which something is still missing.
    pub(super) pending: Option<Pending>,
    /// Sections of it that cannot be taken. Kept in the store: its agent does not send them again.
    pub(super) left_out: BTreeSet<SectionId>,
    /// Since when, and how many, sections never seen before it has brought.
    pub(super) brought: (i64, u32),
    /// Before then no further conflict of it is noted.
    pub(super) conflict_after_ms: i64,
    /// Its boot clock, as its heartbeats show it.
    pub(super) boot_clock: Option<BootClock>,
    /// Since when, and how many, answers to grants it has given.
    pub(super) answered: (i64, u32),
}

impl Known {
    pub(super) const fn new(sequence: u64, announced: Digest, seen_ms: i64) -> Self {
        Self {
            sequence,
            announced,
            seen_ms,
            flushed: 0,
            quiet_at_ms: i64::MIN,
            former: None,
            pending: None,
            left_out: BTreeSet::new(),
            brought: (i64::MIN, 0),
            conflict_after_ms: i64::MIN,
            boot_clock: None,
            answered: (i64::MIN, 0),
        }
    }
}

/// A report on its way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) report: Digest,
    pub(super) boot_id: BootId,
    pub(super) manifest: Manifest,
    /// Sections that this node sent for it; each counts as a reference.
    pub(super) received: BTreeSet<SectionId>,
}

impl Pending {
    /// The sections that this version knows. Those of another schema cannot be judged, so they are
    /// not asked for.
    pub(super) fn sections(&self) -> impl Iterator<Item = SectionId> {
        SectionName::ALL.into_iter().filter_map(|name| {
            let entry = self.manifest.get(name)?;
            (entry.schema == name.schema()).then_some((name, entry.digest))
        })
    }
}

impl Core {
    /// Builds the memory from the store. What was heard meanwhile stays heard; what the store does
    /// not have is gone. Judgements that the store lacks are made, into the batch.
    pub(super) fn load(&mut self, now: Now) -> Result<(), LoadError> {
        let loaded = self.store.load()?;
        let heard = std::mem::take(&mut self.known);
        let old = std::mem::take(&mut self.nodes);
        self.quiet.clear();
        self.asks = Asks::default();
        self.values.clear();
        self.batch = super::core::Batch::default();
        self.last_history = loaded.last_history;
        self.audit.load(loaded.audit);
        self.sections = BTreeMap::new();
        self.reset_counters();
        for (name, digest, size) in loaded.sections {
            self.sections.insert((name, digest), Stored { size, refs: 0 });
            let counters = self.counters();
            counters.sections = counters.sections.saturating_add(1);
            counters.section_bytes = counters.section_bytes.saturating_add(size);
        }
        self.shelf = Shelf::default();
        for (key, row) in loaded.judgements {
            let matter = Matter { group: row.group, inputs: row.inputs, node: row.node };
            let judgement = palisade_rules::Judgement {
                findings: row.findings,
                next_change_at: row.next_change_at,
            };
            self.shelf.put(matter, &shelf::judged(key, row.group, judgement));
        }
        for row in loaded.nodes {
            let seen = old.get(row.name.as_str()).map(|node| Arc::clone(&node.seen));
            let heard = heard.get(&row.name);
            self.load_node(row, seen, heard, now);
        }
        let members: Vec<NodeName> = self.members.keys().cloned().collect();
        members.iter().for_each(|name| self.join(name, now));
        self.batch.unjudged.extend(self.shelf.unheld());
        let unreferenced = self.sections.iter().filter(|(_, it)| it.refs == 0);
        self.batch.released.extend(unreferenced.map(|(id, _)| *id));
        match self.batch.trouble.take() {
            Some(trouble) => Err(trouble),
            None => Ok(()),
        }
    }

    fn load_node(
        &mut self,
        row: NodeRow,
        seen: Option<Arc<Seen>>,
        heard: Option<&Known>,
        now: Now,
    ) {
        let NodeRow { name, state, state_since, seen_at, skew_secs, sequence, body } = row;
        let NodeBody {
            uid,
            first_seen_at,
            boot_id,
            agent,
            announced,
            report,
            reported_at,
            sections,
            pending,
            left_out,
            episodes,
        } = body;
        let ago_ms = now.at.since(seen_at).max(0).saturating_mul(1000);
        let mut known = Known::new(sequence, announced, now.ms.saturating_sub(ago_ms));
        known.flushed = sequence;
        known.left_out = left_out.into_iter().collect();
        known.pending = pending.map(|row| {
            let PendingRow { report, boot_id, manifest, received } = row;
            // A newer report may have replaced this one in memory only, and taken away what came
            // for it: what is no longer here has to come again.
            let is_here = |id: &SectionId| self.sections.contains_key(id);
            let received = received.into_iter().filter(is_here).collect();
            Pending { report, boot_id, manifest, received }
        });
        if let Some(heard) = heard {
            known.seen_ms = heard.seen_ms;
            known.brought = heard.brought;
            known.former.clone_from(&heard.former);
        }
        if let Some(pending) = &known.pending {
            let ids: Vec<SectionId> = pending.received.iter().copied().collect();
            ids.into_iter().for_each(|id| self.refer(id));
            self.counters().enrolling += 1;
        }
        let pending = known.pending.as_ref().map(|pending| pending.report);
        let bare = Node {
            name: name.clone(),
            uid,
            cluster: None,
            state,
            state_since,
            first_seen_at,
            boot_id: Some(boot_id),
            agent: agent.into(),
            report,
            pending,
            reported_at,
            sections: sections.into(),
            judgements: Arc::default(),
            episodes: episodes.into_iter().map(episode).collect(),
            counts: VerdictCounts::default(),
            seen: seen.unwrap_or_else(|| Arc::new(Seen::new(seen_at, skew_secs))),
        };
        self.known.insert(name.clone(), known);
        self.counters().count_node(state, crate::snapshot::Counted::Came);
        bare.sections.iter().for_each(|id| self.refer(*id));
        let report = bare.report;
        self.nodes.insert(Arc::new(bare));
        if report.is_some() {
            self.judge_node(&name, Cause::Rules, now);
        }
        self.watch(&name, now);
    }

    fn reset_counters(&mut self) {
        let groups = self.groups.iter().enumerate().map(|(at, sections)| GroupCount {
            sections: sections.clone(),
            judgements: self.counters.groups.get(at).map_or(0, |group| group.judgements),
        });
        let mut fresh = Counters::default();
        fresh.groups = groups.collect();
        fresh.failed_commits = self.counters.failed_commits;
        fresh.sequence_conflicts = self.counters.sequence_conflicts;
        self.counters = Arc::new(fresh);
    }

    /// The row of a node as it is now.
    pub(super) fn row(&self, name: &NodeName) -> Option<NodeRow> {
        let node = self.nodes.get(name.as_str())?;
        let known = self.known.get(name)?;
        let episodes = node.episodes.iter().map(|episode| EpisodeRow {
            rule: episode.key.rule.clone(),
            subject: episode.key.subject.to_string(),
            verdict: episode.verdict,
            severity: episode.severity,
            first_seen_at: episode.first_seen_at,
            opened: episode.opened,
            edited: episode.edited.clone(),
            changed_at: episode.changed_at,
        });
        let pending = known.pending.as_ref().map(|pending| PendingRow {
            report: pending.report,
            boot_id: pending.boot_id.clone(),
            manifest: pending.manifest.clone(),
            received: pending.received.iter().copied().collect(),
        });
        Some(NodeRow {
            name: name.clone(),
            state: node.state,
            state_since: node.state_since,
            seen_at: node.seen.at(),
            skew_secs: node.seen.skew_secs(),
            sequence: known.sequence,
            body: NodeBody {
                uid: node.uid.clone(),
                first_seen_at: node.first_seen_at,
                boot_id: node.boot_id.clone()?,
                agent: node.agent.to_string(),
                announced: known.announced,
                report: node.report,
                reported_at: node.reported_at,
                sections: node.sections.to_vec(),
                pending,
                left_out: known.left_out.iter().copied().collect(),
                episodes: episodes.collect(),
            },
        })
    }

    /// A node that is not gone.
    pub(super) fn live(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(name.as_str()).filter(|node| node.state.is_live())
    }

    /// One reference more to a section.
    pub(super) fn refer(&mut self, id: SectionId) {
        if let Some(stored) = self.sections.get_mut(&id) {
            stored.refs = stored.refs.saturating_add(1);
        }
    }

    /// One reference less; the sweep before the commit removes what has none left.
    pub(super) fn release(&mut self, id: SectionId) {
        if let Some(stored) = self.sections.get_mut(&id) {
            stored.refs = stored.refs.saturating_sub(1);
            self.batch.released.insert(id);
        }
    }
}

fn episode(row: EpisodeRow) -> Episode {
    let EpisodeRow { rule, subject, verdict, severity, first_seen_at, opened, edited, changed_at } =
        row;
    let key = Arc::new(FindingKey { rule, subject: subject.into() });
    Episode { key, verdict, severity, first_seen_at, opened, edited, changed_at }
}
