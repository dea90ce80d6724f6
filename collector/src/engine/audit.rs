//! The audit's place in the engine: happenings wait here for a batch, get their place and their
//! link, and are durable with it.
//!
//! While the store takes no writes they go on waiting, bounded; what does not fit is counted and
//! said in the log, because nobody can be told otherwise. What somebody waits for is refused meanwhile.

use std::collections::VecDeque;

use palisade_report::Moment;

use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use crate::audit::Entry;
use crate::audit::Happening;
use crate::audit::chain;
use crate::audit::chain::Link;
use crate::chain::Chain;
use crate::snapshot::Readiness;
use crate::store::AuditRow;
use crate::store::Ends;
use crate::store::Write;

/// Happenings that wait for a store: some minutes of an attack at the rate that is kept.
const MAX_WAITING: usize = 4096;

/// Entries above what is kept before the oldest are taken away, all at once.
const TRIM_SLACK: i64 = 1000;

/// What is not in the store yet, and what it follows.
#[derive(Debug)]
pub(super) struct Audit {
    ends: Ends,
    waiting: VecDeque<(Moment, Happening)>,
    lost: u64,
}

impl Audit {
    pub(super) const fn new() -> Self {
        let ends = Ends { anchor: chain::ORIGIN, last: chain::ORIGIN };
        Self { ends, waiting: VecDeque::new(), lost: 0 }
    }

    /// Goes on behind what the store has.
    pub(super) const fn load(&mut self, ends: Ends) {
        self.ends = ends;
    }
}

impl Core {
    /// Takes a happening for the audit. It is durable with the next batch that is.
    pub(crate) fn note(&mut self, happening: Happening, now: Now) {
        if self.audit.waiting.len() < MAX_WAITING {
            self.audit.waiting.push_back((now.at, happening));
            return;
        }
        if self.audit.lost == 0 {
            tracing::error!("entries of the audit are lost while the store takes no writes");
        }
        self.audit.lost = self.audit.lost.saturating_add(1);
    }

    /// Takes a happening that somebody waits for: it is durable when they hear of it, or not kept.
    pub(super) fn told(&mut self, happening: Happening, now: Now) -> Outcome<()> {
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        self.note_done(happening, now);
        Outcome::Durable(Ok(()))
    }

    /// Notes what this batch does: it is kept if the batch is, and not otherwise.
    pub(super) fn note_done(&mut self, happening: Happening, now: Now) {
        self.batch.done.push((now.at, happening));
    }

    /// The writes that put what waits, and what this batch has `done`, behind what is kept, and
    /// both ends after them. Nothing while the store fails.
    pub(super) fn audit_writes(&self, done: Vec<(Moment, Happening)>) -> (Vec<Write>, Ends) {
        let mut ends = self.audit.ends;
        let mut writes = Vec::new();
        if self.readiness != Readiness::Ready {
            return (writes, ends);
        }
        for (at, happening) in self.audit.waiting.iter().chain(&done) {
            let id = ends.last.id.saturating_add(1);
            let entry = Entry::new(id, *at, happening.clone());
            match chain::text_of(&entry) {
                Ok(text) => {
                    let hash = chain::link(&ends.last.hash, &text);
                    ends.last = Link { id, hash };
                    writes.push(Write::Audit(Box::new(AuditRow { entry, text, hash })));
                }
                Err(error) => {
                    tracing::error!(cause = %Chain(&error), "an entry of the audit is lost");
                }
            }
        }
        let through = ends.last.id.saturating_sub(self.settings.max_audit);
        if through.saturating_sub(ends.anchor.id) > TRIM_SLACK {
            let of_each = self.settings.audit_of_each;
            writes.push(Write::TrimAudit { through, of_each });
            // The hash is known to the store alone, and asked of it at the next load only.
            ends.anchor.id = through;
        }
        (writes, ends)
    }

    /// What waited is durable.
    pub(super) fn audit_is_durable(&mut self, ends: Ends) {
        self.audit.ends = ends;
        self.audit.waiting.clear();
        if std::mem::take(&mut self.audit.lost) > 0 {
            tracing::warn!("the audit is kept again");
        }
    }
}
