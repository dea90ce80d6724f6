//! What happened before, as the audit has it: it is read once in a term, and added to as things happen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_plan::fleet::Failure;
use palisade_plan::fleet::Finished;
use palisade_plan::fleet::LastReboot;
use palisade_plan::fleet::Past;
use palisade_report::Moment;
use palisade_report::NodeUid;
use serde::Deserialize;
use serde::Serialize;

use crate::audit::Kind;
use crate::store::AuditFilter;
use crate::store::ReadError;
use crate::store::Reader;

/// Records that are read: the newest, two for each reboot. With the bounds of a policy that is a fleet
/// of 5,000 nodes that reboots each month for a year.
const MAX_RECORDS: usize = 120_000;

/// Records of one page.
const PAGE: usize = 5_000;

/// Ends of one pool that are kept: percentiles take 200, waves those of one roll-out.
const MAX_DONE: usize = 10_000;

/// Failures that are kept; failure budgets reach back a day.
const MAX_FAILURES: usize = 1_000;

/// One thing that bounds what happens next. Its form is that of the audit: fields are only added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    /// A boot of ours was seen.
    Booted {
        /// Which node.
        node: NodeUid,
        /// What it was to end.
        last: LastReboot,
    },
    /// A reboot went well: its reasons were gone.
    Done {
        /// In which pool.
        pool: String,
        /// What.
        finished: Finished,
    },
    /// A reboot failed.
    Failed(Failure),
    /// A person forgave the failures of a pool.
    Released {
        /// Which pool.
        pool: String,
        /// When.
        at: Moment,
    },
}

/// What happened before.
#[derive(Debug, Default)]
pub(super) struct History {
    /// As the planner takes it.
    pub(super) past: Past,
    /// Nodes whose last reboot ended its reasons.
    ended: BTreeSet<NodeUid>,
}

impl History {
    /// Reads the audit.
    ///
    /// # Errors
    /// [`ReadError`]; without its history nothing may be started.
    pub(super) async fn read(reader: &Reader) -> Result<Self, ReadError> {
        let mut records = Vec::new();
        let mut before = None;
        while records.len() < MAX_RECORDS {
            let filter = AuditFilter { kind: Some(Kind::RebootRecord), ..AuditFilter::default() };
            let page = reader.audit(filter, before, PAGE).await?;
            before = page.rows.last().map(|row| row.entry.id);
            let texts = page.rows.into_iter().filter_map(|row| row.entry.after);
            // One of a newer version says nothing that this one could go by.
            records.extend(texts.filter_map(|text| serde_json::from_str::<Record>(&text).ok()));
            if page.next.is_none() {
                break;
            }
        }
        let mut history = Self::default();
        for record in records.into_iter().rev() {
            history.add(record);
        }
        Ok(history)
    }

    /// Adds what has happened.
    pub(super) fn add(&mut self, record: Record) {
        let past = &mut self.past;
        match record {
            Record::Booted { node, last } => {
                self.ended.remove(&node);
                past.reboots.insert(node, last);
            }
            Record::Done { pool, finished } => {
                self.ended.insert(finished.node.clone());
                let done: &mut Vec<Finished> = past.done.entry(pool).or_default();
                done.push(finished);
                if done.len() > MAX_DONE {
                    done.remove(0);
                }
            }
            Record::Failed(failure) => {
                past.failures.push(failure);
                if past.failures.len() > MAX_FAILURES {
                    past.failures.remove(0);
                }
            }
            Record::Released { pool, at } => {
                past.released.insert(pool, at);
            }
        }
    }

    /// Whether the reasons of the last reboot of a node were gone after it.
    pub(super) fn is_ended(&self, node: &NodeUid) -> bool {
        self.ended.contains(node)
    }

    /// Pools and how many ends each has, for logs.
    pub(super) fn sizes(&self) -> BTreeMap<&str, usize> {
        self.past.done.iter().map(|(pool, done)| (pool.as_str(), done.len())).collect()
    }
}
