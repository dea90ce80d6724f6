//! Nodes that were looked at before a claim and may not go: with what was found they wait for a while,
//! so that the next ones are asked.

use std::collections::BTreeMap;

use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::fleet::shut;

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
}

#[derive(Debug)]
struct Unread {
    times: u32,
    since: Moment,
    cause: String,
}

impl Refusals {
    /// Gates that are shut now, by node.
    pub(super) fn recall(&mut self, now: Moment) -> impl Iterator<Item = (&NodeUid, &[Blocker])> {
        self.waiting.retain(|_, refusal| now < refusal.until);
        self.waiting.iter().map(|(uid, refusal)| (uid, refusal.blockers.as_slice()))
    }

    /// A node could not be drained.
    pub(super) fn refuse(&mut self, uid: NodeUid, blockers: Vec<Blocker>, now: Moment) {
        self.waiting.insert(uid, Refusal { until: now.plus(REFUSED_SECS), blockers });
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
        self.waiting.insert(uid.clone(), Refusal { until, blockers });
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
        refusals.recall(NOW.plus(secs)).count()
    }

    #[test]
    fn a_node_that_cannot_be_drained_waits_a_minute_and_is_then_tried_again() {
        let mut refusals = Refusals::default();
        let uid: NodeUid = "u-1".parse().unwrap();
        let why = shut(Gate::Drain, "default/web: dry run: budget web allows 0".to_owned(), NOW);
        refusals.refuse(uid.clone(), vec![why.clone()], NOW);
        let found: Vec<_> = refusals.recall(NOW.plus(59)).collect();
        assert_eq!(found, [(&uid, &[why][..])]);
        assert_eq!(waits(&mut refusals, 60), 0);
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
