//! `[FIRING:3] warning: RebootOverdue on 3 nodes of prod, pool web`.

use super::super::fit::Level;
use super::super::line::Line;
use super::super::markup::Markup;
use super::super::time::count;
use super::super::time::thousands;
use super::common;
use super::kind;
use super::template;
use crate::notice::Notice;
use crate::notice::Reason;
use crate::template::Templates;

/// The title, in one line.
pub(super) fn title(
    notice: &Notice,
    templates: &Templates,
    total: usize,
    markup: Markup,
    level: Level,
) -> String {
    let line = Line::new(markup, level.field.saturating_mul(2).saturating_add(100)).one_line();
    if let Some(template) = &templates.title {
        return template::title(template, notice, line, level);
    }
    let line = line.raw(&state(notice));
    let line =
        if notice.is_firing() { line.raw(notice.severity().as_str()).raw(": ") } else { line };
    // Its own summary names the subject and the fact.
    if let ([only], 1) = (&notice.alerts[..], total)
        && !only.words.summary.is_empty()
    {
        let line = line.value(&only.words.summary, level.field);
        return line.raw(" (").value(&notice.cluster, level.field.min(120)).raw(")").end();
    }
    let number = if notice.is_firing() { notice.firing } else { notice.resolved };
    let line = match kind(notice) {
        Some(kind) if notice.is_firing() && notice.nodes > 0 => {
            line.raw(kind.as_str()).raw(" on ").raw(&count(notice.nodes, "node")).raw(" of ")
        }
        Some(kind) => line.raw(kind.as_str()).raw(", ").raw(&count(number, "alert")).raw(" in "),
        None => line.raw(&count(number, "alert")).raw(" in "),
    };
    let line = line.value(&notice.cluster, level.field.min(120));
    let line = match common(notice, "pool").filter(|it| !it.is_empty()) {
        Some(pool) => line.raw(", pool ").value(pool, level.field.min(120)),
        None => line,
    };
    line.end()
}

/// `[FIRING:3] `, `[FIRING:3, RESOLVED:2] `, `[RESOLVED] `, `[TEST] `.
fn state(notice: &Notice) -> String {
    let test = if notice.reason == Reason::Test { "[TEST] " } else { "" };
    let (firing, resolved) = (thousands(notice.firing), thousands(notice.resolved));
    match (notice.firing, notice.resolved) {
        (0, 0 | 1) => format!("{test}[RESOLVED] "),
        (0, _) => format!("{test}[RESOLVED:{resolved}] "),
        (_, 0) => format!("{test}[FIRING:{firing}] "),
        (_, _) => format!("{test}[FIRING:{firing}, RESOLVED:{resolved}] "),
    }
}
