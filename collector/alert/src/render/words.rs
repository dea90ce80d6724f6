//! What a message for people says, escaped for its target: a title, parts of lines, and what is left
//! out.
//!
//! Up to ten alerts are told one by one; more are a summary: how many, on how many nodes, the first
//! ten names, one example, and where the others are.

mod alert;
mod summary;
mod template;
mod title;

use super::address;
use super::fit::Level;
use super::fit::MAX_SHOWN;
use super::line::Line;
use super::markup::Markup;
use super::time::count;
use crate::kind::Kind;
use crate::notice::Notice;
use crate::notice::Noticed;
use crate::template::Templates;

/// The words of a message.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// In one line, and plain: titles have no markup where targets have titles. Escaped all the same.
    pub(super) title: String,
    /// Each about one alert, or the summary. The first line says what it is about.
    pub(super) parts: Vec<Vec<String>>,
    /// `and 4,988 more: LINK`; `None` if nothing is left out.
    pub(super) rest: Option<String>,
    /// Where the whole is explained.
    pub(super) link: String,
}

impl Words {
    pub(super) fn of(notice: &Notice, templates: &Templates, markup: Markup, level: Level) -> Self {
        let total = notice.firing.saturating_add(notice.resolved).max(notice.alerts.len());
        let of_parts = |parts: Vec<Vec<String>>| {
            let left = total.saturating_sub(parts.len());
            (parts, left)
        };
        let head = match &notice.alerts[..] {
            [only] if total == 1 && templates.title.is_none() && !only.words.summary.is_empty() => {
                alert::Head::InTitle
            }
            _ => alert::Head::Own,
        };
        let shown = || notice.alerts.iter().take(level.alerts.min(MAX_SHOWN));
        let (parts, left) = if let Some(template) = &templates.message {
            of_parts(
                shown().map(|it| template::lines(template, notice, it, markup, level)).collect(),
            )
        } else if total > MAX_SHOWN && level.alerts > 0 {
            summary::lines(notice, total, markup, level)
        } else {
            of_parts(shown().map(|it| alert::lines(notice, it, head, markup, level)).collect())
        };
        let link = link(notice, total);
        let rest = (left > 0).then(|| rest(left, parts.is_empty(), &link, markup));
        Self { title: title::title(notice, templates, total, markup, level), parts, rest, link }
    }

    /// Parts and rest as one text, an empty line between them.
    pub(super) fn text(&self) -> String {
        let parts = self.parts.iter().map(|lines| lines.join("\n"));
        parts.chain(self.rest.clone()).collect::<Vec<_>>().join("\n\n")
    }

    /// Title, parts and rest as one text.
    pub(super) fn titled_text(&self, bold: &str) -> String {
        let title = format!("{bold}{}{bold}", self.title);
        [title, self.text()]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
            .join("\n\n")
    }
}

/// Where the message as a whole is explained: its one alert, or the list.
fn link(notice: &Notice, total: usize) -> String {
    match &notice.alerts[..] {
        [only] if total == 1 => address::address(&notice.external_url, &only.words.link),
        _ => address::list(&notice.external_url, kind(notice).map(Kind::as_str)),
    }
}

/// `and 4,988 more: LINK`, or `5,000 alerts: LINK` if none was told.
fn rest(left: usize, is_all: bool, link: &str, markup: Markup) -> String {
    /// Any number and the longest address.
    const MAX_REST: usize = 480;
    let line = Line::new(markup, MAX_REST);
    let words = if is_all {
        count(left, "alert")
    } else {
        format!("and {} more", super::time::thousands(left))
    };
    line.raw(&words).raw(": ").address(link).end()
}

/// Which alert all of the message are, as far as it can be told.
fn kind(notice: &Notice) -> Option<Kind> {
    if let Some(name) = notice.group_labels.get("alertname") {
        return name.parse().ok();
    }
    let first = notice.alerts.first()?.kind;
    let is_only = notice.left_out() == 0 && notice.alerts.iter().all(|it| it.kind == first);
    is_only.then_some(first)
}

/// What all alerts of the message have at `label`, as far as it can be told.
fn common<'a>(notice: &'a Notice, label: &str) -> Option<&'a str> {
    if let Some(value) = notice.group_labels.get(label) {
        return Some(value);
    }
    let first = notice.alerts.first()?.labels.get(label)?;
    let same = |it: &Noticed| it.labels.get(label) == Some(first);
    (notice.left_out() == 0 && notice.alerts.iter().all(same)).then_some(first)
}

/// `cluster prod, pool web, node worker-7`: where, as far as `find` knows it.
fn place<'a>(
    line: Line,
    notice: &'a Notice,
    find: impl Fn(&str) -> Option<&'a str>,
    max: usize,
) -> Line {
    let mut line = line.raw("cluster ").value(&notice.cluster, max);
    for label in ["pool", "namespace", "node", "subject"] {
        if let Some(value) = find(label).filter(|it| !it.is_empty()) {
            line = line.raw(", ").raw(label).raw(" ").value(value, max);
        }
    }
    line
}

/// By what people call an alert in a list: its node, else what it is about, else its name.
fn name(alert: &Noticed) -> &str {
    let label = |name: &str| alert.labels.get(name).filter(|it| !it.is_empty());
    let found = label("node").or_else(|| label("subject")).or_else(|| label("pool"));
    found.or_else(|| label("namespace")).map_or(alert.kind.as_str(), String::as_str)
}
