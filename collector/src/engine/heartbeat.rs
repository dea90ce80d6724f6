//! Heartbeats: is the report known, and if not, what is lacking and who is asked for it.
//!
//! ```text
//! same report as stored ──> slot, nothing written
//! unknown report ─────────> want the manifest
//! manifest, parts missing > want sections: per-node ones from itself, shared ones from one node
//! manifest, all here ─────> the report is complete: judge, commit, then answer
//! ```

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Manifest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_report::bound::clean;
use palisade_report::section::Sharing;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::MAX_SECTIONS;
use palisade_report::wire::Want;

use super::ask::Admission;
use super::ask::SectionId;
use super::core::Core;
use super::core::Memory;
use super::core::Now;
use super::core::Outcome;
use super::fleet::Known;
use super::fleet::Pending;
use super::message::NodeEvent;
use super::message::Refusal;
use super::slot;
use crate::snapshot::Counted;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Seen;
use crate::snapshot::VerdictCounts;

/// Bytes of an agent's version that are kept.
const MAX_AGENT: usize = 32;

/// Time in which messages of a boot that a node has left are taken for late ones. Afterwards the
/// node is believed to be back in it: a virtual machine can be set back.
const FORMER_BOOT_MS: i64 = 600_000;

/// Time between two notes of the same trouble with a node's identity, so that a cloned machine
/// does not fill the history.
const CONFLICT_EVERY_MS: i64 = 60_000;

/// When a node comes back that waits for a section from another one: after that one's deadline.
const WAITING_BACK_MS: i64 = 10_000;

/// When a node comes back that has to wait for its turn to upload. At 20 uploads at once, of some
/// 50 ms each, hundreds have had their turn by then.
const TURN_BACK_MS: i64 = 1_000;

/// What is lacking of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lacking {
    /// Nothing.
    Complete,
    /// Sections that this node is asked for now.
    Asked(Vec<SectionName>),
    /// Sections that another node was asked for.
    Elsewhere,
    /// Too many upload already.
    Turn,
}

impl Core {
    /// Takes a heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        received_at: Moment,
        now: Now,
    ) -> Outcome<HeartbeatReply> {
        if let Some(reply) = self.without_news(name, heartbeat, received_at, now) {
            return Outcome::AtOnce(Ok(reply));
        }
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        if let Some(outcome) = self.identity_conflict(name, heartbeat, now) {
            return outcome;
        }
        if let Some(manifest) = &heartbeat.manifest {
            if manifest.0.len() > MAX_SECTIONS {
                return Outcome::AtOnce(Err(Refusal::TooManySections));
            }
            if manifest.digest() != heartbeat.report {
                return Outcome::AtOnce(Err(Refusal::ManifestMismatch));
            }
        }
        let Some(node) = self.live(name).cloned() else {
            return match &heartbeat.manifest {
                Some(manifest) => self.enrol(name, heartbeat, manifest, received_at, now),
                None => Outcome::AtOnce(Ok(self.reply(name, heartbeat, Want::Manifest, now))),
            };
        };
        let writes = self.batch.writes.len();
        self.follow(&node, heartbeat, received_at, now);
        let outcome = if node.report == Some(heartbeat.report) {
            // Back to what is stored, from a newer report that never became complete.
            self.drop_pending(name);
            self.announce_pending(name);
            self.write_node(name);
            Ok(self.reply(name, heartbeat, Want::Nothing, now))
        } else {
            let pending = self.known.get(name).and_then(|known| known.pending.as_ref());
            match &heartbeat.manifest {
                None if pending.is_none_or(|pending| pending.report != heartbeat.report) => {
                    Ok(self.reply(name, heartbeat, Want::Manifest, now))
                }
                None => Ok(self.proceed(name, heartbeat, now)),
                Some(manifest) => {
                    self.expect_report(name, heartbeat, manifest);
                    Ok(self.proceed(name, heartbeat, now))
                }
            }
        };
        if self.batch.writes.len() == writes {
            Outcome::AtOnce(outcome)
        } else {
            Outcome::Durable(outcome)
        }
    }

    /// Answers what changes nothing durable: the stored report once more, or an older message.
    fn without_news(
        &mut self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        received_at: Moment,
        now: Now,
    ) -> Option<HeartbeatReply> {
        if self.memory == Memory::Doubtful {
            return None;
        }
        let node = self.nodes.get(name.as_str())?;
        let known = self.known.get_mut(name)?;
        if !node.state.is_live() || node.boot_id.as_ref() != Some(&heartbeat.boot_id) {
            return None;
        }
        match heartbeat.sequence.0.cmp(&known.sequence) {
            Ordering::Less => return Some(self.reply(name, heartbeat, Want::Nothing, now)),
            Ordering::Equal if heartbeat.report != known.announced => return None,
            Ordering::Equal | Ordering::Greater => {}
        }
        if node.report != Some(heartbeat.report)
            || known.pending.is_some()
            || (*node.agent != *heartbeat.agent && node.agent != agent(heartbeat))
        {
            return None;
        }
        known.sequence = heartbeat.sequence.0;
        known.announced = heartbeat.report;
        known.seen_ms = now.ms;
        let skew_secs = heartbeat.sent_at.since(received_at);
        node.seen.hear(received_at, now.boot_ms, skew_secs, heartbeat.trust);
        if node.state != NodeState::Fresh {
            self.watch(name, now);
        }
        Some(self.reply(name, heartbeat, Want::Nothing, now))
    }

    /// Whether somebody else seems to speak for this node, or an old message came late.
    fn identity_conflict(
        &mut self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        now: Now,
    ) -> Option<Outcome<HeartbeatReply>> {
        let current = self.live(name)?.boot_id.clone()?;
        let known = self.known.get_mut(name)?;
        let noted = known.conflict_after_ms > now.ms;
        if current != heartbeat.boot_id {
            let (former, until) = known.former.as_ref()?;
            if *former != heartbeat.boot_id || *until <= now.ms {
                return None;
            }
            let former = former.clone();
            if !noted {
                known.conflict_after_ms = now.ms.saturating_add(CONFLICT_EVERY_MS);
                self.event(name, NodeEvent::FormerBoot { former, current }, now);
            }
            return Some(Outcome::AtOnce(Ok(self.reply(name, heartbeat, Want::Nothing, now))));
        }
        if heartbeat.sequence.0 != known.sequence || heartbeat.report == known.announced {
            return None;
        }
        let first = known.announced;
        self.counters().sequence_conflicts += 1;
        if noted {
            return Some(Outcome::AtOnce(Err(Refusal::SequenceReused)));
        }
        if let Some(known) = self.known.get_mut(name) {
            known.conflict_after_ms = now.ms.saturating_add(CONFLICT_EVERY_MS);
        }
        let (sequence, second) = (heartbeat.sequence.0, heartbeat.report);
        self.event(name, NodeEvent::SequenceConflict { sequence, first, second }, now);
        Some(Outcome::Durable(Err(Refusal::SequenceReused)))
    }

    /// The first report of a node that is new, or that was retired and is back.
    fn enrol(
        &mut self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        manifest: &Manifest,
        received_at: Moment,
        now: Now,
    ) -> Outcome<HeartbeatReply> {
        let live: u64 = NodeState::ALL
            .iter()
            .filter(|state| state.is_live())
            .map(|state| self.counters.nodes(*state))
            .sum();
        if live >= u64::try_from(self.settings.max_nodes).unwrap_or(u64::MAX) {
            return Outcome::AtOnce(Err(Refusal::TooManyNodes));
        }
        let skew_secs = heartbeat.sent_at.since(received_at);
        let seen = Seen::new(received_at, skew_secs);
        seen.hear(received_at, now.boot_ms, skew_secs, heartbeat.trust);
        let node = Node {
            name: name.clone(),
            uid: self.speaker.clone(),
            cluster: self.members.get(name).cloned(),
            state: NodeState::Fresh,
            state_since: now.at,
            first_seen_at: now.at,
            boot_id: Some(heartbeat.boot_id.clone()),
            agent: agent(heartbeat),
            report: None,
            pending: Some(heartbeat.report),
            reported_at: None,
            sections: Arc::default(),
            judgements: Arc::default(),
            episodes: Arc::default(),
            counts: VerdictCounts::default(),
            seen: Arc::new(seen),
        };
        if let Some(before) = self.nodes.get(name.as_str()).map(|node| node.state) {
            self.counters().count_node(before, Counted::Went);
        }
        self.counters().count_node(NodeState::Fresh, Counted::Came);
        self.nodes.insert(Arc::new(node));
        self.known.insert(name.clone(), Known::new(heartbeat.sequence.0, heartbeat.report, now.ms));
        self.watch(name, now);
        self.event(name, NodeEvent::Enrolled, now);
        self.expect_report(name, heartbeat, manifest);
        let reply = self.proceed(name, heartbeat, now);
        self.write_node(name);
        Outcome::Durable(Ok(reply))
    }

    /// Follows a known node to a new sequence number, agent or boot.
    fn follow(&mut self, node: &Node, heartbeat: &Heartbeat, received_at: Moment, now: Now) {
        let name = &node.name;
        let skew_secs = heartbeat.sent_at.since(received_at);
        node.seen.hear(received_at, now.boot_ms, skew_secs, heartbeat.trust);
        if let Some(known) = self.known.get_mut(name) {
            known.sequence = heartbeat.sequence.0;
            known.announced = heartbeat.report;
            known.seen_ms = now.ms;
            if let Some(boot_id) = node.boot_id.as_ref().filter(|it| **it != heartbeat.boot_id) {
                known.former = Some((boot_id.clone(), now.ms.saturating_add(FORMER_BOOT_MS)));
            }
        }
        self.watch(name, now);
        let to = heartbeat.boot_id.clone();
        let from = node.boot_id.clone().filter(|from| *from != to);
        let version = agent(heartbeat);
        if from.is_none() && node.agent == version {
            return;
        }
        // The watch above may have changed its state.
        let latest = self.nodes.get(name.as_str()).map_or(node, |latest| latest);
        let next = Node { boot_id: Some(to.clone()), agent: version, ..latest.clone() };
        self.nodes.insert(Arc::new(next));
        if let Some(from) = from {
            self.event(name, NodeEvent::Rebooted { from, to }, now);
        }
        self.write_node(name);
    }

    /// Notes the report that a manifest announces, in place of the one that was on its way.
    fn expect_report(&mut self, name: &NodeName, heartbeat: &Heartbeat, manifest: &Manifest) {
        let mut pending = Pending {
            report: heartbeat.report,
            boot_id: heartbeat.boot_id.clone(),
            manifest: manifest.clone(),
            received: BTreeSet::new(),
        };
        if let Some(known) = self.known.get_mut(name) {
            let still: BTreeSet<SectionId> = pending.sections().collect();
            known.left_out.retain(|id| still.contains(id));
        }
        let old = self.known.get_mut(name).and_then(|known| known.pending.take());
        match old {
            Some(old) => {
                // What was sent for the older report and is part of this one need not come again.
                let still: BTreeSet<SectionId> = pending.sections().collect();
                for id in old.received {
                    if still.contains(&id) {
                        pending.received.insert(id);
                    } else {
                        self.release(id);
                    }
                }
            }
            None => self.counters().enrolling += 1,
        }
        if let Some(known) = self.known.get_mut(name) {
            known.pending = Some(pending);
        }
        self.announce_pending(name);
    }

    /// Shows in the node's record which report is on its way.
    fn announce_pending(&mut self, name: &NodeName) {
        let pending = self.known.get(name).and_then(|known| known.pending.as_ref());
        let pending = pending.map(|pending| pending.report);
        if let Some(node) = self.nodes.get(name.as_str())
            && node.pending != pending
        {
            let next = Node { pending, ..Node::clone(node) };
            self.nodes.insert(Arc::new(next));
        }
    }

    /// Completes the pending report if it can be, else asks for what is lacking.
    fn proceed(&mut self, name: &NodeName, heartbeat: &Heartbeat, now: Now) -> HeartbeatReply {
        let mut reply = self.reply(name, heartbeat, Want::Nothing, now);
        let sequence = heartbeat.sequence.0;
        match self.lacking(name, now) {
            Lacking::Complete => self.complete(name, now),
            Lacking::Asked(sections) => reply.want = Want::Sections(sections),
            Lacking::Elsewhere => {
                let back = slot::back_in_ms(name, sequence, WAITING_BACK_MS);
                reply.next_in_ms = reply.next_in_ms.min(back);
            }
            Lacking::Turn => {
                let back = slot::back_in_ms(name, sequence, TURN_BACK_MS);
                reply.next_in_ms = reply.next_in_ms.min(back);
            }
        }
        reply
    }

    /// What is lacking of a node's pending report; notes who is asked and who waits.
    fn lacking(&mut self, name: &NodeName, now: Now) -> Lacking {
        let missing = self.missing(name);
        if missing.is_empty() {
            return Lacking::Complete;
        }
        let may_ask = |id: &SectionId| match id.0.sharing() {
            Sharing::PerNode => true,
            Sharing::Shared => self.asks.is_free(*id, name, now.ms),
        };
        let (ask, wait): (Vec<_>, Vec<_>) = missing.into_iter().partition(may_ask);
        wait.iter().for_each(|id| self.asks.wait(*id, name));
        if ask.is_empty() {
            return Lacking::Elsewhere;
        }
        if self.asks.admit(name, self.settings.max_uploads, now.ms) == Admission::Later {
            let shared = ask.iter().filter(|id| id.0.sharing() == Sharing::Shared);
            shared.for_each(|id| self.asks.wait(*id, name));
            return Lacking::Turn;
        }
        for id in &ask {
            if id.0.sharing() == Sharing::Shared {
                self.asks.ask(*id, name, now.ms);
            }
        }
        Lacking::Asked(ask.into_iter().map(|id| id.0).collect())
    }

    /// The sections of a node's pending report that are not here. A section of one node counts as
    /// here only if this very node has sent it.
    pub(super) fn missing(&self, name: &NodeName) -> Vec<SectionId> {
        let Some(pending) = self.known.get(name).and_then(|known| known.pending.as_ref()) else {
            return Vec::new();
        };
        let own = self.nodes.get(name.as_str()).map(|node| &*node.sections).unwrap_or_default();
        let is_here = |id: &SectionId| match id.0.sharing() {
            Sharing::PerNode => pending.received.contains(id) || own.contains(id),
            Sharing::Shared => self.sections.contains_key(id),
        };
        pending.sections().filter(|id| !is_here(id) && !self.is_unusable(name, id)).collect()
    }

    /// Whether a section of this node cannot be taken, so that reports are complete without it.
    pub(super) fn is_unusable(&self, name: &NodeName, id: &SectionId) -> bool {
        self.unusable.contains(id)
            || self.known.get(name).is_some_and(|known| known.left_out.contains(id))
    }

    fn reply(
        &self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        want: Want,
        now: Now,
    ) -> HeartbeatReply {
        let interval_ms = i64::try_from(self.settings.interval.as_millis()).unwrap_or(i64::MAX);
        let sequence = heartbeat.sequence.0;
        HeartbeatReply {
            next_in_ms: slot::next_in_ms(name, sequence, interval_ms, now.unix_ms),
            want,
            profile: Some(self.judge.profile()),
            grant: None,
        }
    }
}

fn agent(heartbeat: &Heartbeat) -> Arc<str> {
    clean(heartbeat.agent.as_bytes(), MAX_AGENT).into()
}
