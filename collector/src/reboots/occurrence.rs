//! Since when the reasons of a node are there. The same reasons that went away and came back are a new
//! occurrence; the same reasons after a reboot of ours are the old one, whatever was restarted in
//! between, so that no node is rebooted twice for them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::request::Request;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::past::History;
use crate::kube::nodes::LastReboot;
use crate::kube::nodes::last_reboot::Outcome;

/// What was seen of the reasons of each node in this term.
#[derive(Debug, Default)]
pub(super) struct Occurrences {
    known: BTreeMap<NodeUid, Occurrence>,
    /// Nodes without reasons whose object says still that they outlived a reboot.
    denied: BTreeSet<NodeUid>,
}

/// What is known of a node from before this term.
pub(super) struct Before<'b> {
    pub(super) history: &'b History,
    /// What its object says of its last reboot; absent as long as that cannot be told.
    pub(super) last: Option<Option<&'b LastReboot>>,
    /// Since when a finding says that it needs a reboot.
    pub(super) episode: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Occurrence {
    /// Absent while there are none.
    digest: Option<Digest>,
    since: Moment,
    stable_since: Option<Moment>,
}

impl Occurrences {
    /// Forgets nodes that do not exist.
    pub(super) fn keep(&mut self, exists: impl Fn(&NodeUid) -> bool) {
        self.known.retain(|uid, _| exists(uid));
        self.denied.retain(|uid| exists(uid));
    }

    /// Whether a node was seen without reasons, and has none since.
    pub(super) fn are_gone(&self, uid: &NodeUid) -> bool {
        self.known.get(uid).is_some_and(|it| it.digest.is_none())
    }

    /// Nodes without reasons whose object says still that those of before outlived a reboot: a collector
    /// that leads next would take the same ones for these when they come back.
    pub(super) fn denied(&self) -> impl Iterator<Item = &NodeUid> {
        self.denied.iter()
    }

    /// Fills in the times of what a node needs.
    pub(super) fn date(
        &mut self,
        node: &mut Node,
        request: Option<&Request>,
        from_before: &Before<'_>,
        now: Moment,
    ) {
        let before = self.known.get(&node.uid).copied();
        let is_idle = matches!(node.agent.package_manager, Known::Known(None));
        let digest = match &mut node.agent.need {
            Need::Unknown { .. } => {
                // Nothing is known, so nothing is known to have gone.
                if let Some(known) = self.known.get_mut(&node.uid) {
                    known.stable_since = None;
                }
                return;
            }
            Need::NotNeeded => None,
            Need::Needed { digest, since, .. } => {
                *since = match before {
                    Some(Occurrence { digest: Some(was), since, .. }) if was == *digest => since,
                    Some(_) => now,
                    None => first_sight(&node.uid, *digest, request, from_before, now),
                };
                Some((*digest, *since))
            }
        };
        let was_stable = before.filter(|it| it.digest == digest.map(|it| it.0));
        let was_stable = was_stable.and_then(|it| it.stable_since);
        let stable_since = is_idle.then(|| was_stable.unwrap_or(now));
        node.agent.stable_since = stable_since;
        let since = digest.map_or(now, |it| it.1);
        let known = Occurrence { digest: digest.map(|it| it.0), since, stable_since };
        // What its object says of its last reboot would come too late.
        let Some(last) = from_before.last else { return };
        if known.digest.is_none() && last.is_some_and(|it| it.outcome != Outcome::Done) {
            self.denied.insert(node.uid.clone());
        } else {
            self.denied.remove(&node.uid);
        }
        self.known.insert(node.uid.clone(), known);
    }
}

/// A node that this term has not seen before: it may have these reasons for long.
fn first_sight(
    uid: &NodeUid,
    digest: Digest,
    request: Option<&Request>,
    before: &Before<'_>,
    now: Moment,
) -> Moment {
    let Before { history, last, episode } = before;
    if let Some(request) = request.filter(|it| it.wish.digest == digest) {
        return request.wish.since;
    }
    let known = match history.past.reboots.get(uid) {
        None => episode.unwrap_or(now),
        Some(known) if known.digest == digest && !history.is_ended(uid) => known.occurrence,
        Some(known) => episode.filter(|since| *since > known.at).unwrap_or(now),
    };
    // Another collector may have seen these reasons outlive a reboot.
    let outlived = last.flatten().filter(|it| it.digest == digest && it.outcome != Outcome::Done);
    outlived.map_or(known, |last| known.min(last.occurrence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reboots::past::Record;
    use crate::reboots::sample::fleet_of;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn last(outcome: Outcome) -> LastReboot {
        LastReboot {
            at: NOW.plus(-100),
            digest: Digest::of(b"reasons"),
            occurrence: NOW.plus(-500),
            outcome,
            failed_at: None,
            boot: None,
            grant: None,
            request: "r-1".to_owned(),
        }
    }

    #[test]
    fn reasons_that_outlived_a_reboot_elsewhere_are_no_new_ones() {
        let uid: NodeUid = "u-1".parse().unwrap();
        let since = |history: &History, last: Option<&LastReboot>, digest: &[u8]| {
            let before = Before { history, last: Some(last), episode: Some(NOW.plus(-50)) };
            first_sight(&uid, Digest::of(digest), None, &before, NOW)
        };
        let nothing = History::default();
        let (released, done) = (last(Outcome::Released), last(Outcome::Done));
        assert_eq!(since(&nothing, None, b"reasons"), NOW.plus(-50));
        assert_eq!(since(&nothing, Some(&released), b"reasons"), NOW.plus(-500));
        assert_eq!(since(&nothing, Some(&done), b"reasons"), NOW.plus(-50), "they had gone");
        assert_eq!(since(&nothing, Some(&released), b"others"), NOW.plus(-50));
        // What the store knows is not undone by a node object that says otherwise.
        let mut history = History::default();
        let known =
            palisade_plan::fleet::LastReboot { occurrence: NOW.plus(-700), ..released.for_plans() };
        history.add(Record::Booted { node: uid.clone(), last: known });
        for last in [None, Some(&done), Some(&released)] {
            assert_eq!(since(&history, last, b"reasons"), NOW.plus(-700));
        }
    }

    #[test]
    fn reasons_that_are_gone_outlive_nothing_any_more() {
        let fleet = fleet_of(&["worker-1"], NOW);
        let (uid, node) = fleet.nodes.iter().next().unwrap();
        let (history, released, done) =
            (History::default(), last(Outcome::Released), last(Outcome::Done));
        let mut seen = Occurrences::default();
        let mut sees = |need: Need, last| {
            let mut node = node.clone();
            node.agent.need = need;
            seen.date(&mut node, None, &Before { history: &history, last, episode: None }, NOW);
            (seen.are_gone(uid), seen.denied().count())
        };
        let needed = || Need::Needed { reasons: [].into(), digest: Digest::of(b"x"), since: NOW };
        let unknown = || Need::Unknown { why: "no database".to_owned() };
        assert_eq!(sees(Need::NotNeeded, None), (false, 0), "its object is not known");
        assert_eq!(sees(needed(), Some(Some(&released))), (false, 0));
        assert_eq!(sees(Need::NotNeeded, Some(Some(&released))), (true, 1));
        assert_eq!(sees(unknown(), Some(Some(&released))), (true, 1), "nothing new is known");
        assert_eq!(sees(Need::NotNeeded, Some(Some(&done))), (true, 0), "it says so");
        assert_eq!(sees(Need::NotNeeded, Some(Some(&released))), (true, 1));
        assert_eq!(sees(needed(), Some(Some(&released))), (false, 0), "they are back");
        assert_eq!(sees(Need::NotNeeded, Some(None)), (true, 0), "nothing of ours");
    }
}
