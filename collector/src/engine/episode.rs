//! Episodes: what the new findings of a node mean against the open ones. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_rules::Verdict;

use super::message::Transition;
use crate::snapshot::Edit;
use crate::snapshot::Episode;
use crate::snapshot::FindingKey;
use crate::snapshot::Judged;
use crate::snapshot::Opened;
use crate::snapshot::Standing;

/// The open findings now, and what changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) episodes: Vec<Episode>,
    pub(crate) transitions: Vec<Transition>,
}

/// Holds the findings of a node against its open episodes.
///
/// An episode opens with the first open verdict, goes on while the verdict is any open one, and
/// ends with another verdict or when the finding is no more. One that opens now was `opened` by that.
pub(crate) fn settle(
    open: &[Episode],
    judgements: &[Arc<Judged>],
    opened: Opened,
    now: Moment,
) -> Settled {
    let mut before: BTreeMap<&FindingKey, &Episode> =
        open.iter().map(|episode| (&*episode.key, episode)).collect();
    let mut met = BTreeSet::new();
    let mut episodes = BTreeMap::new();
    let mut transitions = Vec::new();
    for judged in judgements {
        for (key, finding) in judged.keys.iter().zip(&judged.findings) {
            // A rule that speaks twice about one subject is heard once.
            if !met.insert(key) {
                continue;
            }
            let old = before.remove(&**key);
            let verdict = finding.verdict;
            let same =
                old.is_some_and(|old| (old.verdict, old.severity) == (verdict, finding.severity));
            let first_seen_at = old.map_or(now, |old| old.first_seen_at);
            if verdict.is_open() {
                let changed_at = match old {
                    Some(old) if same => old.changed_at,
                    Some(_) | None => now,
                };
                let severity = finding.severity;
                let edited = edited(old, Standing { verdict, severity }, opened, now);
                let opened = old.map_or(opened, |old| old.opened);
                let episode = Episode {
                    key: Arc::clone(key),
                    verdict,
                    severity,
                    first_seen_at,
                    opened,
                    edited,
                    changed_at,
                };
                episodes.insert(Arc::clone(key), episode);
            }
            if !same && (verdict.is_open() || old.is_some()) {
                transitions.push(Transition {
                    rule: key.rule.clone(),
                    subject: key.subject.to_string(),
                    from: old.map(|old| old.verdict),
                    to: Some(verdict),
                    severity: finding.severity,
                    first_seen_at,
                });
            }
        }
    }
    transitions.extend(before.into_values().map(|old| Transition {
        rule: old.key.rule.clone(),
        subject: old.key.subject.to_string(),
        from: Some(old.verdict),
        to: None,
        severity: old.severity,
        first_seen_at: old.first_seen_at,
    }));
    Settled { episodes: episodes.into_values().collect(), transitions }
}

/// What edits have made of a finding that stands like this now, because of `by`.
///
/// An edit that is taken back, or makes it milder than its node did, leaves nothing. A report or time
/// that changes how it stands does not end what an edit made of it, for it may only pass by: see
/// [`Episode::edit`].
fn edited(old: Option<&Episode>, stands: Standing, by: Opened, now: Moment) -> Option<Box<Edit>> {
    let is_same = old.is_some_and(|old| old.standing() == stands);
    if by != Opened::Rules || is_same {
        return old.and_then(|old| old.edited.clone());
    }
    let was = old.and_then(Episode::own);
    let is_own = was.is_some_and(|was| stands.is_within(was));
    // What is waived is told to nobody.
    if is_own || stands.verdict == Verdict::Waived {
        return None;
    }
    Some(Box::new(Edit { at: now, was, made: stands }))
}
