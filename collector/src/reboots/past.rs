//! What happened before, as the audit has it: it is read once in a term, and added to as things happen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_plan::fleet::Failure;
use palisade_plan::fleet::Finished;
use palisade_plan::fleet::LastReboot;
use palisade_plan::fleet::Past;
use palisade_plan::request::Request;
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
                past.fail(failure);
                if past.failures.len() > MAX_FAILURES {
                    past.failures.remove(0);
                }
            }
            Record::Released { pool, at } => {
                past.forgive(pool, at);
            }
        }
    }

    /// What `request` tells and these records do not: failures whose word was lost with the answer to
    /// the write, or with the collector that wrote.
    pub(super) fn untold(&self, request: &Request, now: Moment) -> Vec<Record> {
        self.past.untold(request, now).into_iter().map(Record::Failed).collect()
    }

    /// The word that a person let a failed node go, if that was lost: without it its pool would stay
    /// halted when the request is gone.
    pub(super) fn forgiven(&self, request: &Request, now: Moment) -> Option<Record> {
        let looked_at = request.released_at(now)?;
        let holds = |failure: &&Failure| {
            let released = self.past.released.get(&failure.pool);
            failure.is_released(request, now)
                && released.is_none_or(|released| failure.at > *released)
        };
        let failure = self.past.failures.iter().find(holds)?;
        Some(Record::Released { pool: failure.pool.clone(), at: looked_at })
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

#[cfg(test)]
mod tests {
    use palisade_plan::request::Entered;
    use palisade_plan::request::Release;
    use palisade_plan::request::State;
    use palisade_plan::step;

    use super::*;
    use crate::reboots::errand;
    use crate::reboots::tell;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn quarantined(at: Moment) -> Request {
        let wish = errand::asked(None, None, "anna", NOW);
        let (node, uid) = ("worker-1".parse().unwrap(), "u-1".parse().unwrap());
        let mut request = step::requested(node, uid, wish, 1, NOW);
        request.progress.state = State::Quarantined;
        request.progress.since = at;
        request.progress.placement.pool = "workers".to_owned();
        request
    }

    #[test]
    fn a_failure_whose_word_was_lost_is_told_by_its_request_and_only_once() {
        let request = quarantined(NOW);
        let mut history = History::default();
        let untold = history.untold(&request, NOW);
        assert_eq!(untold.len(), 1);
        untold.into_iter().for_each(|record| history.add(record));
        assert_eq!(history.untold(&request, NOW), []);
        // The usual word of the same failure, some seconds later, is the same.
        let mut history = History::default();
        history.add(tell::record(&request, NOW.plus(3)).unwrap());
        assert_eq!(history.untold(&request, NOW), []);
        let later = quarantined(NOW.plus(60));
        assert_eq!(history.untold(&later, NOW).len(), 1, "that it failed again is another one");
    }

    #[test]
    fn what_fails_after_a_release_is_not_forgiven_by_a_clock_that_is_behind() {
        let pool = || "workers".to_owned();
        let mut history = History::default();
        history.add(Record::Released { pool: pool(), at: NOW });
        let request = quarantined(NOW.plus(-3600));
        history.untold(&request, NOW).into_iter().for_each(|record| history.add(record));
        let released = history.past.released[&pool()];
        assert!(history.past.failures.iter().all(|failure| failure.at > released));
    }

    #[test]
    fn a_release_whose_word_was_lost_is_told_before_its_request_goes() {
        let mut request = quarantined(NOW);
        let mut history = History::default();
        history.untold(&request, NOW).into_iter().for_each(|record| history.add(record));
        assert_eq!(history.forgiven(&request, NOW.plus(90)), None, "nobody released it");
        let (by, reason) = ("anna".to_owned(), "seen".to_owned());
        request.wish.release = Some(Release { by, reason, at: NOW.plus(60) });
        let word = history.forgiven(&request, NOW.plus(90)).unwrap();
        let other = Failure { at: NOW.plus(70), node: "u-2".parse().unwrap(), ..failure(&history) };
        history.past.fail(other);
        history.add(word);
        assert_eq!(history.forgiven(&request, NOW.plus(90)), None, "it is told");
        let released = history.past.released["workers"];
        let left = history.past.failures.iter().filter(|failure| failure.at > released);
        assert_eq!(left.count(), 1, "what failed since counts");
    }

    #[test]
    fn a_release_from_before_the_failure_is_no_word_of_it_whatever_the_clocks_say() {
        let mut request = quarantined(NOW.plus(-3600));
        let (by, reason, at) = ("anna".to_owned(), "seen".to_owned(), NOW.plus(-60));
        request.wish.release = Some(Release { by, reason, at });
        let entered = Entered { after_release: Some(at), ..request.entered() };
        request.progress.history.push(entered);
        let mut history = History::default();
        let untold = history.untold(&request, NOW);
        assert_eq!(untold.len(), 1, "it is told");
        untold.into_iter().for_each(|record| history.add(record));
        assert_eq!(history.forgiven(&request, NOW), None, "and not forgiven when its request goes");
        request.wish.release.as_mut().unwrap().at = NOW;
        assert!(history.forgiven(&request, NOW).is_some(), "a word that came since");
    }

    fn failure(history: &History) -> Failure {
        history.past.failures[0].clone()
    }
}
