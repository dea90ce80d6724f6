//! Nodes that were looked at before a claim and may not go: with what was found they wait for a while,
//! so that the next ones are asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::policy::DrainPolicy;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::fleet::shut;
use super::objections::NOT_ASKED;

/// Seconds for which a node that could not be drained is not tried again: it costs a request for each
/// pod, and others are to have their turn meanwhile.
const REFUSED_SECS: i64 = 60;

/// Seconds after the first time that the pods of a node could not be read; each further time in a row
/// doubles them, up to [`REFUSED_SECS`].
const UNREAD_SECS: i64 = 5;

/// Doublings after which the wait is the longest.
const MAX_DOUBLINGS: u32 = 4;

/// Nodes that were refused, and nodes whose pods could not be read when that was tried last.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: BTreeMap<NodeUid, Refusal>,
    unread: BTreeMap<NodeUid, Unread>,
}

#[derive(Debug)]
struct Refusal {
    until: Moment,
    blockers: Vec<Blocker>,
    drain: Option<Arc<DrainPolicy>>,
}

/// A node that may not go, as far as was asked.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) uid: NodeUid,
    blockers: Vec<Blocker>,
    /// How its drain was tried; `None` where nothing was tried.
    drain: Option<Arc<DrainPolicy>>,
}

impl Refused {
    /// The gates that this shuts for a node that is to be drained so.
    pub(super) fn under(&self, drain: &DrainPolicy, now: Moment) -> Vec<Blocker> {
        match &self.drain {
            Some(tried) if **tried != *drain => {
                let value = format!("a dry run was refused under another policy: {NOT_ASKED}");
                vec![shut(Gate::Drain, value, now)]
            }
            Some(_) | None => self.blockers.clone(),
        }
    }
}

#[derive(Debug)]
struct Unread {
    times: u32,
    since: Moment,
    cause: String,
}

impl Refusals {
    /// Who may not go now.
    pub(super) fn recall(&mut self, now: Moment) -> Vec<Refused> {
        self.waiting.retain(|_, refusal| now < refusal.until);
        let refused = self.waiting.iter().map(|(uid, refusal)| Refused {
            uid: uid.clone(),
            blockers: refusal.blockers.clone(),
            drain: refusal.drain.clone(),
        });
        refused.collect()
    }

    /// A node could not be drained so.
    pub(super) fn refuse(
        &mut self,
        uid: NodeUid,
        blockers: Vec<Blocker>,
        drain: &DrainPolicy,
        now: Moment,
    ) {
        let (until, drain) = (now.plus(REFUSED_SECS), Some(Arc::new(drain.clone())));
        self.waiting.insert(uid, Refusal { until, blockers, drain });
    }

    /// Another policy is in force: what was tried under the one before is tried anew.
    pub(super) fn policy_changed(&mut self) {
        self.waiting.retain(|_, refusal| refusal.drain.is_none());
    }

    /// The pods of a node could not be read: the gate that is shut by it, and whether the cause is
    /// another one than the last time.
    pub(super) fn not_read(&mut self, uid: NodeUid, cause: String, now: Moment) -> (Blocker, bool) {
        let before = self.unread.get(&uid);
        let is_news = before.is_none_or(|before| before.cause != cause);
        let (times, since) = before.map_or((0, now), |it| (it.times.saturating_add(1), it.since));
        let secs = UNREAD_SECS.saturating_mul(1_i64 << times.min(MAX_DOUBLINGS)).min(REFUSED_SECS);
        let until = now.plus(secs);
        let blocker = Blocker {
            next_check: Some(until),
            ..shut(Gate::Drain, format!("its pods cannot be told: {cause}"), since)
        };
        let blockers = vec![blocker.clone()];
        self.waiting.insert(uid.clone(), Refusal { until, blockers, drain: None });
        self.unread.insert(uid, Unread { times, since, cause });
        (blocker, is_news)
    }

    /// The pods of a node were read.
    pub(super) fn read(&mut self, uid: &NodeUid) {
        self.unread.remove(uid);
    }

    /// Forgets nodes that are gone.
    pub(super) fn keep(&mut self, exists: impl Fn(&NodeUid) -> bool) {
        self.waiting.retain(|uid, _| exists(uid));
        self.unread.retain(|uid, _| exists(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn waits(refusals: &mut Refusals, secs: i64) -> usize {
        refusals.recall(NOW.plus(secs)).len()
    }

    #[test]
    fn a_node_that_cannot_be_drained_waits_a_minute_and_is_then_tried_again() {
        let mut refusals = Refusals::default();
        let uid: NodeUid = "u-1".parse().unwrap();
        let why = shut(Gate::Drain, "default/web: dry run: budget web allows 0".to_owned(), NOW);
        let drain = DrainPolicy::default();
        refusals.refuse(uid.clone(), vec![why.clone()], &drain, NOW);
        let found = refusals.recall(NOW.plus(59));
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].uid, found[0].under(&drain, NOW)), (&uid, vec![why]));
        assert_eq!(waits(&mut refusals, 60), 0);
    }

    #[test]
    fn a_drain_that_was_tried_otherwise_is_no_answer_and_not_asked_for_again_under_a_new_policy() {
        let mut refusals = Refusals::default();
        let [tried, unread]: [NodeUid; 2] = ["u-1", "u-2"].map(|uid| uid.parse().unwrap());
        let why = shut(Gate::Drain, "default/web: dry run: no".to_owned(), NOW);
        refusals.refuse(tried, vec![why], &DrainPolicy::default(), NOW);
        refusals.not_read(unread.clone(), "503".to_owned(), NOW);
        let other = DrainPolicy { parallel: 77, ..DrainPolicy::default() };
        let values: Vec<String> = refusals
            .recall(NOW)
            .iter()
            .flat_map(|it| it.under(&other, NOW))
            .map(|it| it.value)
            .collect();
        let expected =
            "a dry run was refused under another policy: not asked under this policy yet";
        assert_eq!(values, [expected, "its pods cannot be told: 503"]);
        refusals.policy_changed();
        let left = refusals.recall(NOW);
        assert_eq!(left.iter().map(|it| &it.uid).collect::<Vec<_>>(), [&unread]);
    }

    #[test]
    fn pods_that_cannot_be_read_keep_their_node_longer_each_time_until_they_are_read() {
        let mut refusals = Refusals::default();
        let uid: NodeUid = "u-1".parse().unwrap();
        let mut at = 0;
        for (secs, is_news) in [(5, true), (10, false), (20, false), (40, false), (60, false)] {
            let told = refusals.not_read(uid.clone(), "503".to_owned(), NOW.plus(at));
            assert_eq!(told.0.value, "its pods cannot be told: 503");
            assert_eq!((told.0.gate, told.0.since, told.1), (Gate::Drain, NOW, is_news));
            assert_eq!(told.0.next_check, Some(NOW.plus(at + secs)));
            assert_eq!(waits(&mut refusals, at + secs - 1), 1, "{secs}");
            assert_eq!(waits(&mut refusals, at + secs), 0, "{secs}");
            at += secs;
        }
        assert!(refusals.not_read(uid.clone(), "403".to_owned(), NOW).1, "another cause is news");
        refusals.read(&uid);
        let (blocker, is_news) = refusals.not_read(uid.clone(), "403".to_owned(), NOW);
        assert_eq!((blocker.next_check, is_news), (Some(NOW.plus(5)), true));
        refusals.keep(|_| false);
        assert_eq!(waits(&mut refusals, 0), 0);
    }
}
