//! Many alerts in a few lines.

use std::collections::BTreeMap;

use super::super::fit::Level;
use super::super::fit::MAX_SHOWN;
use super::super::line::Line;
use super::super::markup::Markup;
use super::super::time::clock;
use super::super::time::count;
use super::super::time::span;
use super::super::time::thousands;
use super::alert::labelled;
use super::common;
use super::kind;
use super::name;
use super::place;
use crate::notice::Notice;
use crate::notice::Noticed;

/// Sorts of alerts that are counted one by one.
const MAX_KINDS: usize = 5;

/// The lines of the summary, as one part, and how many alerts are not named in it.
pub(super) fn lines(
    notice: &Notice,
    total: usize,
    markup: Markup,
    level: Level,
) -> (Vec<Vec<String>>, usize) {
    let field = level.field;
    let line = || Line::new(markup, field.saturating_mul(2).saturating_add(200));
    let names = level.alerts.min(MAX_SHOWN);
    let firing: Vec<&Noticed> =
        notice.alerts.iter().filter(|it| it.is_firing()).take(names).collect();
    let ended: Vec<&Noticed> =
        notice.alerts.iter().filter(|it| !it.is_firing()).take(names - firing.len()).collect();

    let mut lines = vec![line().bold(|it| it.raw(&how_many(notice))).end()];
    let loudest = notice.severity();
    let oldest = notice.alerts.iter().filter(|it| it.is_firing()).map(|it| it.starts_at).min();
    let since = oldest.map(|oldest| {
        let age = span(notice.at.since(oldest));
        format!("loudest {loudest}, oldest since {} (for {age}); ", clock(oldest))
    });
    let since = line().raw(since.as_deref().unwrap_or_default());
    lines.push(place(since, notice, |label| common(notice, label), field.min(120)).end());
    if kind(notice).is_none() {
        lines.push(line().raw("Of these: ").raw(&kinds(notice)).end());
    }
    // All ten names share what one text may have.
    let each = (field / names.max(1)).max(20);
    if !firing.is_empty() {
        lines.push(list(line().raw("Firing: "), &firing, each).end());
    }
    if !ended.is_empty() {
        lines.push(list(line().raw("Ended: "), &ended, each).end());
    }
    if let Some(example) = firing.first() {
        let words = &example.words;
        lines.extend(labelled(line(), "For example: ", &words.summary, field));
        lines.extend(labelled(line(), "Why: ", &words.description, field));
        lines.extend(labelled(line(), "Do: ", &words.action, field));
    }
    let named = firing.len() + ended.len();
    (vec![lines], total.saturating_sub(named))
}

/// `4,988 alerts fire on 4,900 nodes, 12 ended`.
fn how_many(notice: &Notice) -> String {
    let ended = || format!("{} ended", thousands(notice.resolved));
    if !notice.is_firing() {
        return format!("{} ended", count(notice.resolved, "alert"));
    }
    let verb = if notice.firing == 1 { "fires" } else { "fire" };
    let mut text = format!("{} {verb}", count(notice.firing, "alert"));
    if notice.nodes > 0 {
        text.push_str(&format!(" on {}", count(notice.nodes, "node")));
    }
    if notice.resolved > 0 {
        text.push_str(&format!(", {}", ended()));
    }
    text
}

/// `RebootOverdue 190, AgentSilent 10`: of those that are at hand.
fn kinds(notice: &Notice) -> String {
    let mut counts = BTreeMap::new();
    for alert in &notice.alerts {
        *counts.entry(alert.kind).or_insert(0_usize) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    let sorts = counts.len();
    let told = counts.iter().take(MAX_KINDS).map(|(kind, count)| format!("{kind} {count}"));
    let mut text = told.collect::<Vec<_>>().join(", ");
    if sorts > MAX_KINDS {
        text.push_str(&format!(" and {} others", sorts - MAX_KINDS));
    }
    if notice.left_out() > 0 {
        text.push_str(&format!(" among the first {}", notice.alerts.len()));
    }
    text
}

/// Names, and of those that ended also by what.
fn list(mut line: Line, alerts: &[&Noticed], each: usize) -> Line {
    for (index, alert) in alerts.iter().enumerate() {
        line = line.raw(if index == 0 { "" } else { ", " }).value(name(alert), each);
        if let Some(ended) = alert.ended.as_ref().filter(|it| !it.why.is_empty()) {
            line = line.raw(" (").value(&ended.why, each).raw(")");
        }
    }
    line
}
