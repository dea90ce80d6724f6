//! Uploads: sections that were asked for, stored once, and whoever waited for them.

use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::wire::MAX_SECTIONS;
use palisade_report::wire::Problem;
use palisade_report::wire::UploadReply;

use super::ask::SectionId;
use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use super::core::Stored;
use super::message::ReceivedSection;
use super::message::Refusal;
use crate::store::Write;

/// The span over which new sections of a node are counted.
const HOUR_MS: i64 = 3_600_000;

/// Sections that refuse to be taken, remembered so that nobody else is asked for them: the same
/// bytes would be refused again. Beyond this number the oldest names are asked for once more.
const MAX_UNUSABLE: usize = 4096;

/// What an agent sent.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) report: Digest,
    pub(crate) boot_id: BootId,
    pub(crate) sections: Vec<ReceivedSection>,
    /// Those that no version of this code can take: not canonical, too large, other facts.
    pub(crate) unusable: Vec<SectionId>,
}

impl Core {
    /// Takes sections of a report that the node has announced. Those of its stored report may come
    /// again: an answer was lost.
    pub(crate) fn upload(
        &mut self,
        name: &NodeName,
        upload: Upload,
        now: Now,
    ) -> Outcome<UploadReply> {
        let Upload { report, boot_id, sections, unusable } = upload;
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        if sections.len() > MAX_SECTIONS {
            return Outcome::AtOnce(Err(Refusal::TooManySections));
        }
        let Some(node) = self.live(name).cloned() else {
            return Outcome::AtOnce(Err(Refusal::NotAnnounced));
        };
        let Some(known) = self.known.get(name) else {
            return Outcome::AtOnce(Err(Refusal::NotAnnounced));
        };
        let expected: Vec<SectionId> = match &known.pending {
            Some(pending) if pending.report == report && pending.boot_id == boot_id => {
                pending.sections().collect()
            }
            Some(_) | None if node.report == Some(report) => node.sections.to_vec(),
            Some(_) | None => return Outcome::AtOnce(Err(Refusal::NotAnnounced)),
        };
        let mut reply = UploadReply::default();
        let (fits, strange): (Vec<_>, Vec<_>) =
            sections.into_iter().partition(|it| expected.contains(&(it.name, it.digest)));
        for section in strange {
            reply.refused.insert(section.name.to_string(), not_in_manifest());
        }
        let is_new = |it: &&ReceivedSection| !self.sections.contains_key(&(it.name, it.digest));
        let count = fits.iter().filter(is_new).count();
        if let Some(refusal) = self.too_many_new(name, count, now) {
            return Outcome::AtOnce(Err(refusal));
        }
        let mut arrived = Vec::new();
        for section in fits {
            let ReceivedSection { name: section, digest, bytes, value } = section;
            reply.stored.insert(section.to_string(), digest);
            let id = (section, digest);
            self.batch.values.insert(id, Arc::clone(&value));
            self.keep_value(id, &value);
            if self.put_section(id, bytes) == Put::New {
                arrived.push(id);
            }
            let pending = self.known.get_mut(name).and_then(|known| known.pending.as_mut());
            if pending.is_some_and(|pending| pending.received.insert(id)) {
                self.refer(id);
            }
        }
        for id in unusable.into_iter().filter(|id| expected.contains(id)) {
            self.leave_out(name, id);
            arrived.push(id);
        }
        self.asks.finished(name);
        self.advance(name, now);
        for id in arrived {
            for waiter in self.asks.arrived(id) {
                if waiter != *name {
                    self.complete_if_whole(&waiter, now);
                }
            }
        }
        Outcome::Durable(Ok(reply))
    }

    /// Notes that a section cannot be taken: reports are complete without it, and what is judged by
    /// it is unknown. Waiting for it would keep everything else of the report from being judged.
    fn leave_out(&mut self, name: &NodeName, id: SectionId) {
        if self.unusable.len() >= MAX_UNUSABLE {
            self.unusable.pop_first();
        }
        self.unusable.insert(id);
        if let Some(known) = self.known.get_mut(name) {
            known.left_out.insert(id);
        }
    }

    /// Completes the report if this was the last part; else notes durably what has come.
    fn advance(&mut self, name: &NodeName, now: Now) {
        if self.known.get(name).is_some_and(|known| known.pending.is_none()) {
            return;
        }
        if self.missing(name).is_empty() {
            self.complete(name, now);
        } else {
            self.write_node(name);
        }
    }

    fn complete_if_whole(&mut self, name: &NodeName, now: Now) {
        let pending = self.known.get(name).is_some_and(|known| known.pending.is_some());
        if pending && self.missing(name).is_empty() {
            self.complete(name, now);
        }
    }

    fn put_section(&mut self, id: SectionId, bytes: Vec<u8>) -> Put {
        if self.sections.contains_key(&id) {
            return Put::Known;
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sections.insert(id, Stored { size, refs: 0 });
        let counters = self.counters();
        counters.sections = counters.sections.saturating_add(1);
        counters.section_bytes = counters.section_bytes.saturating_add(size);
        self.batch.writes.push(Write::Section { name: id.0, digest: id.1, bytes });
        // If nothing comes to refer to it, the sweep takes it away again.
        self.batch.released.insert(id);
        Put::New
    }

    /// Counts what a node brings; the refusal if it is more than it may within an hour.
    fn too_many_new(&mut self, name: &NodeName, count: usize, now: Now) -> Option<Refusal> {
        let known = self.known.get_mut(name)?;
        let (since, brought) = known.brought;
        let age = now.ms.saturating_sub(since);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (since, total) =
            if age >= HOUR_MS { (now.ms, count) } else { (since, brought.saturating_add(count)) };
        if total > self.settings.max_new_sections_per_hour {
            let left_ms = HOUR_MS.saturating_sub(age).max(1000);
            let retry_after_secs = u64::try_from(left_ms / 1000).unwrap_or(1);
            return Some(Refusal::TooManyNewSections { retry_after_secs });
        }
        known.brought = (since, total);
        None
    }
}

/// Whether a section was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    Known,
    New,
}

fn not_in_manifest() -> Problem {
    Problem {
        kind: "not-in-manifest".to_owned(),
        message: "the announced report has no section of this name and digest".to_owned(),
    }
}
