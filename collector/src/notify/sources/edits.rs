//! What is there because somebody edited rules, waivers or the policy of reboots, and not because a node
//! changed.
//!
//! ```text
//! what an edit brought about ──> marked: seen, and nobody is told of it by node ──┐
//! what an edit made louder ────> told as before, and marked ──────────────────────┴─> one summary
//! ```
//!
//! A mark is among the values of a sighting, so it outlives a restart in the book of alerts. What becomes
//! louder than the edit made it was so by its node, or by time, and has no mark any more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::EDITED_AT;
use palisade_alert::sighting::Sighting;
use palisade_report::Moment;
use palisade_rules::Verdict;

use super::Memo;
use super::Seen;
use super::World;
use super::add;
use super::node::CERTIFICATE;
use super::node::REBOOT_RULE;
use super::words::Shared;
use super::words::some;
use crate::snapshot::Node;

/// The value with the moment of the edit that made a sighting louder than it is told. Shape: as
/// [`EDITED_AT`].
const RAISED_AT: &str = "raised_at";

/// The value with the severity that an edit gave a sighting which is told with another one.
const RAISED_TO: &str = "raised_to";

/// The value with what was edited: a rule, or the pool of a policy.
const EDITED_BY: &str = "edited_by";

/// All that a mark may consist of.
#[cfg(test)]
pub(super) const MARKS: [&str; 4] = [EDITED_AT, EDITED_BY, RAISED_AT, RAISED_TO];

/// The value of a summary that says how long it is told.
pub(super) const LASTS: &str = "lasts";

/// See [`TOLD_SECS`].
const FOR_AN_HOUR: &str = "for an hour";

/// Seconds for which a summary is told that asks nobody to do anything now. Others last as long as what
/// they sum up.
const TOLD_SECS: i64 = 3600;

/// Rules or pools that a summary names.
const MAX_NAMED: usize = 10;

/// What a summary calls failing checks that are no alert of their own.
const CHECKS: &str = "checks";

/// The summaries.
pub(super) const SUMMARIES: [Kind; 2] = [Kind::RebootPolicyChanged, Kind::RulesChanged];

/// An edit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit<'e> {
    /// When.
    pub(super) at: Moment,
    /// What was edited.
    pub(super) by: &'e str,
}

/// A mark.
struct Mark<'m> {
    edit: Edit<'m>,
    /// How loud the edit made it.
    severity: Severity,
    /// Whether it was there before, and less loud.
    is_raised: bool,
}

fn mark(sighting: &Sighting) -> Option<Mark<'_>> {
    let value = |name: &str| sighting.values.get(name).map(String::as_str);
    let at = |name: &str| value(name)?.parse().ok().map(Moment::from_unix);
    let by = value(EDITED_BY)?;
    if let Some(at) = at(EDITED_AT) {
        let severity = sighting.severity;
        return Some(Mark { edit: Edit { at, by }, severity, is_raised: false });
    }
    let (at, severity) = (at(RAISED_AT)?, value(RAISED_TO)?.parse().ok()?);
    Some(Mark { edit: Edit { at, by }, severity, is_raised: true })
}

/// Whether a sighting has a mark.
pub(super) fn is_marked(sighting: &Sighting) -> bool {
    sighting.values.contains_key(EDITED_BY)
}

/// Marks a sighting as brought about by an edit: nobody is told of it by itself.
pub(super) fn brought_about(sighting: &mut Sighting, edit: Edit<'_>, shared: &mut Shared) {
    let at = edit.at.unix().to_string();
    let marks = [(EDITED_AT, &*at), (EDITED_BY, edit.by)];
    sighting.values = shared.with(&sighting.values, marks);
}

/// Marks a sighting that an edit would make as loud as `to`: it is told as loud as it is without.
pub(super) fn raised(sighting: &mut Sighting, to: Severity, edit: Edit<'_>, shared: &mut Shared) {
    let (at, to) = (edit.at.unix().to_string(), to.to_string());
    let marks = [(RAISED_AT, &*at), (RAISED_TO, &*to), (EDITED_BY, edit.by)];
    sighting.values = shared.with(&sighting.values, marks);
}

/// Carries the mark of the look before over to a sighting, or marks it if it is there, or louder, since
/// `edit`.
pub(super) fn carry(
    sighting: &mut Sighting,
    before: Option<&Sighting>,
    edit: Option<Edit<'_>>,
    shared: &mut Shared,
) {
    let loud = sighting.severity;
    let Some(before) = before else {
        if let Some(edit) = edit {
            brought_about(sighting, edit, shared);
        }
        return;
    };
    let mark = mark(before);
    let is_raised = mark.as_ref().is_none_or(|it| it.is_raised);
    let made = mark.as_ref().map_or(before.severity, |it| it.severity);
    let edit = if loud > made { edit } else { mark.map(|it| it.edit) };
    let Some(edit) = edit else { return };
    if is_raised {
        sighting.severity = loud.min(before.severity);
        raised(sighting, made.max(loud), edit, shared);
    } else {
        brought_about(sighting, edit, shared);
    }
}

/// Checks that fail because of an edit, and are no alert of their own: when, and by which rule.
fn checks(node: &Node) -> impl Iterator<Item = Edit<'_>> {
    let failing = node.episodes.iter().filter(|it| it.verdict == Verdict::Fail);
    failing.filter_map(|it| {
        let rule = &it.key.rule;
        let is_other = rule.area() == CERTIFICATE || rule.as_str() == REBOOT_RULE;
        let edit = it.edit().filter(|_| !is_other)?;
        (it.severity != palisade_rules::Severity::Critical)
            .then_some(Edit { at: edit.at, by: rule.as_str() })
    })
}

/// When an edit last made checks of a node fail that are no alert of their own.
pub(super) fn last(node: &Node) -> Option<Moment> {
    checks(node).map(|it| it.at).max()
}

/// What one edit brought about: the summary, the alerts that it stands for, the moment.
type Topic<'t> = (Kind, &'t str, Moment);

#[derive(Default)]
struct Sum<'s> {
    nodes: u64,
    severity: Option<Severity>,
    /// Nodes by what was edited.
    by: BTreeMap<&'s str, u64>,
}

#[derive(Default)]
struct Sums<'s>(BTreeMap<Topic<'s>, Sum<'s>>);

impl<'s> Sums<'s> {
    /// Counts what edits brought about on one node.
    fn count(&mut self, of_node: impl IntoIterator<Item = (Topic<'s>, &'s str, Severity)>) {
        let (mut topics, mut edits) = (BTreeSet::new(), BTreeSet::new());
        for (topic, by, severity) in of_node {
            let sum = self.0.entry(topic).or_default();
            sum.severity = sum.severity.max(Some(severity));
            if topics.insert(topic) {
                sum.nodes = sum.nodes.saturating_add(1);
            }
            if edits.insert((topic, by)) {
                let nodes = sum.by.entry(by).or_default();
                *nodes = nodes.saturating_add(1);
            }
        }
    }
}

fn topic(summary: Kind, sighting: &Sighting) -> Option<(Topic<'_>, &str, Severity)> {
    let Mark { edit, severity, is_raised: _ } = mark(sighting)?;
    Some(((summary, sighting.key.kind.as_str(), edit.at), edit.by, severity))
}

/// One sighting for each edit and each alert that it would have raised.
pub(super) fn sum_up(
    world: &World<'_>,
    memos: &[Memo],
    reboots: &Seen,
    found: &mut Seen,
    shared: &mut Shared,
) {
    let is_recent = |at: Moment| world.now.since(at) < TOLD_SECS;
    let mut sums = Sums::default();
    for memo in memos.iter().filter(|memo| !memo.is_waiting) {
        if memo.is_edited {
            sums.count(memo.seen.iter().filter_map(|it| topic(Kind::RulesChanged, it)));
        }
        if memo.checks_edited_at.is_some_and(is_recent) {
            let checks = checks(&memo.node);
            sums.count(
                checks.map(|it| ((Kind::RulesChanged, CHECKS, it.at), it.by, Severity::Info)),
            );
        }
    }
    for sighting in reboots.values() {
        sums.count(topic(Kind::RebootPolicyChanged, sighting));
    }
    for ((kind, alert, at), sum) in sums.0 {
        let severity = sum.severity.unwrap_or(Severity::Info);
        let is_note = severity <= Severity::Info;
        if is_note && !is_recent(at) {
            continue;
        }
        let mut most: Vec<_> =
            sum.by.iter().map(|(by, nodes)| (std::cmp::Reverse(*nodes), *by)).collect();
        most.sort_unstable();
        let names = most.iter().map(|(nodes, by)| format!("{by} ({})", nodes.0));
        let (nodes, names) = (sum.nodes.to_string(), some(names, MAX_NAMED));
        let (at_words, count) = (at.to_string(), sum.by.len().to_string());
        let lasts = if is_note { FOR_AN_HOUR } else { "for as long as it holds" };
        let values = [
            ("nodes", &*nodes),
            ("names", &*names),
            ("alert", alert),
            ("at", &*at_words),
            ("count", &*count),
            (LASTS, lasts),
        ];
        let key = Key::of(kind).subject(&format!("{alert} {at}"));
        let values = shared.of(values);
        add(found, Sighting { key, severity, since: Some(at), values });
    }
}

/// Why a summary is over.
pub(super) fn ending(lasts: Option<&str>) -> &'static str {
    if lasts == Some(FOR_AN_HOUR) {
        "an hour has passed, or no node is as it was because of the edit"
    } else {
        "no node is as it was because of the edit any more"
    }
}
