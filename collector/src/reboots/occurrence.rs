//! Since when the reasons of a node are there. The same reasons that went away and came back are a new
//! occurrence; the same reasons after a reboot of ours are the old one, whatever was restarted in
//! between, so that no node is rebooted twice for them.

use std::collections::BTreeMap;

use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::request::Request;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::past::History;

/// What was seen of the reasons of each node in this term.
#[derive(Debug, Default)]
pub(super) struct Occurrences {
    known: BTreeMap<NodeUid, Occurrence>,
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
    }

    /// Fills in the times of what a node needs. `episode` is since when a finding says so.
    pub(super) fn date(
        &mut self,
        node: &mut Node,
        request: Option<&Request>,
        history: &History,
        episode: Option<Moment>,
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
                    None => first_sight(&node.uid, *digest, request, history, episode, now),
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
        self.known.insert(node.uid.clone(), known);
    }
}

/// A node that this term has not seen before: it may have these reasons for long.
fn first_sight(
    uid: &NodeUid,
    digest: Digest,
    request: Option<&Request>,
    history: &History,
    episode: Option<Moment>,
    now: Moment,
) -> Moment {
    if let Some(request) = request.filter(|it| it.wish.digest == digest) {
        return request.wish.since;
    }
    let Some(last) = history.past.reboots.get(uid) else { return episode.unwrap_or(now) };
    if last.digest == digest && !history.is_ended(uid) {
        return last.occurrence;
    }
    episode.filter(|since| *since > last.at).unwrap_or(now)
}
