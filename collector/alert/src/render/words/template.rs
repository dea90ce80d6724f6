//! A user's template, filled.

use super::super::address;
use super::super::fit::Level;
use super::super::line::Line;
use super::super::markup::Markup;
use super::super::time::clock;
use super::super::time::thousands;
use super::common;
use super::kind;
use super::link;
use crate::notice::Notice;
use crate::notice::Noticed;
use crate::template::MAX_TEMPLATE;
use crate::template::Piece;
use crate::template::Placeholder;
use crate::template::Template;

/// The message about one alert, by lines.
pub(super) fn lines(
    template: &Template,
    notice: &Notice,
    alert: &Noticed,
    markup: Markup,
    level: Level,
) -> Vec<String> {
    // Room for a few values and what the user wrote; less of it where there is little room.
    let max = level.field.saturating_mul(8).min(2 * MAX_TEMPLATE);
    let line = fill(template, Line::new(markup, max), level, |it| of_alert(it, notice, alert));
    line.end().lines().map(str::to_owned).collect()
}

/// The title, of what all alerts share.
pub(super) fn title(template: &Template, notice: &Notice, line: Line, level: Level) -> String {
    fill(template, line, level, |it| of_notice(it, notice)).end()
}

fn fill(
    template: &Template,
    line: Line,
    level: Level,
    value: impl Fn(Placeholder) -> String,
) -> Line {
    template.pieces().iter().fold(line, |line, piece| match piece {
        Piece::Text(text) => line.raw(text),
        Piece::Value(Placeholder::Link) => line.address(&value(Placeholder::Link)),
        Piece::Value(placeholder) => line.value(&value(*placeholder), level.field),
    })
}

fn of_alert(placeholder: Placeholder, notice: &Notice, alert: &Noticed) -> String {
    let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
    let words = &alert.words;
    match placeholder {
        Placeholder::Action => words.action.clone(),
        Placeholder::Alert => alert.kind.to_string(),
        Placeholder::Description => match &alert.ended {
            // What a message about the end has to say instead.
            Some(ended) if !ended.why.is_empty() => ended.why.clone(),
            Some(_) | None => words.description.clone(),
        },
        Placeholder::Link => address::address(&notice.external_url, &words.link),
        Placeholder::Namespace => label("namespace"),
        Placeholder::Node => label("node"),
        Placeholder::Pool => label("pool"),
        Placeholder::Severity => alert.severity.to_string(),
        Placeholder::Since => clock(alert.starts_at),
        Placeholder::Status => status(alert.is_firing()),
        Placeholder::Subject => label("subject"),
        Placeholder::Summary => words.summary.clone(),
        Placeholder::Cluster | Placeholder::Count | Placeholder::Nodes => {
            of_notice(placeholder, notice)
        }
    }
}

fn of_notice(placeholder: Placeholder, notice: &Notice) -> String {
    let only = match &notice.alerts[..] {
        [only] if notice.left_out() == 0 => Some(only),
        _ => None,
    };
    let label = |name: &str| {
        let shared = common(notice, name).map(str::to_owned);
        let has_some = || notice.alerts.iter().any(|it| it.labels.contains_key(name));
        shared.unwrap_or_else(|| if has_some() { "several".into() } else { String::new() })
    };
    let single = |of: fn(Placeholder, &Notice, &Noticed) -> String| match only {
        Some(alert) => of(placeholder, notice, alert),
        None => "several".into(),
    };
    match placeholder {
        Placeholder::Action | Placeholder::Description | Placeholder::Summary => single(of_alert),
        Placeholder::Alert => kind(notice).map_or_else(|| "several".into(), |it| it.to_string()),
        Placeholder::Cluster => notice.cluster.clone(),
        Placeholder::Count if notice.is_firing() => thousands(notice.firing),
        Placeholder::Count => thousands(notice.resolved),
        Placeholder::Link => link(notice, notice.firing.saturating_add(notice.resolved)),
        Placeholder::Namespace => label("namespace"),
        Placeholder::Node => label("node"),
        Placeholder::Nodes => thousands(notice.nodes),
        Placeholder::Pool => label("pool"),
        Placeholder::Severity => notice.severity().to_string(),
        Placeholder::Since => {
            notice.alerts.iter().map(|it| it.starts_at).min().map(clock).unwrap_or_default()
        }
        Placeholder::Status => status(notice.is_firing()),
        Placeholder::Subject => label("subject"),
    }
}

fn status(is_firing: bool) -> String {
    if is_firing { "firing".into() } else { "resolved".into() }
}
