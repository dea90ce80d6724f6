//! Who is told of an alert, and why: the first route that matches, and those after it that it lets in.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use crate::key::Key;
use crate::kind::Kind;
use crate::kind::UnknownKind;
use crate::severity::Severity;
use crate::span::Span;

mod hours;
#[cfg(test)]
mod tests;

pub use hours::Hours;
pub use hours::MalformedHours;
pub use hours::RawHours;

/// Labels by which alerts can be grouped. The severity is none of them: an alert that becomes louder
/// stays in its group.
pub const GROUP_LABELS: [&str; 7] =
    ["alertname", "cluster", "component", "namespace", "node", "pool", "subject"];

/// Patterns that one list of a matcher may have, and bytes of each.
const MAX_PATTERNS: usize = 256;
/// See [`MAX_PATTERNS`].
const MAX_PATTERN: usize = 256;

/// One rule of who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which alerts.
    pub matcher: Matcher,
    /// To whom.
    pub receivers: Vec<String>,
    /// Whether the routes after it are looked at, too.
    pub goes_on: bool,
    /// How they come together.
    pub grouping: Grouping,
}

/// How alerts come together in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Labels that the alerts of a group share.
    pub by: BTreeSet<&'static str>,
    /// How long the first message waits for others.
    pub wait: Span,
    /// How long a message about news waits after the one before.
    pub interval: Span,
    /// After how long people are reminded of what still fires.
    pub repeat: Span,
}

/// By cluster, alert and pool: never by the alert alone, or a fleet is one message.
impl Default for Grouping {
    fn default() -> Self {
        Self {
            by: BTreeSet::from(["alertname", "cluster", "pool"]),
            wait: Span::secs(30),
            interval: Span::secs(300),
            repeat: Span::secs(4 * 3600),
        }
    }
}

/// A label that does not exist, or by which nothing is grouped. At fault: the author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alerts are grouped by {}", GROUP_LABELS.join(", "))]
pub struct UnknownLabel;

impl Grouping {
    /// Labels by their names.
    ///
    /// # Errors
    /// [`UnknownLabel`].
    pub fn labels(names: &[String]) -> Result<BTreeSet<&'static str>, UnknownLabel> {
        let known = |name: &String| GROUP_LABELS.into_iter().find(|it| *it == name.as_str());
        names.iter().map(|name| known(name).ok_or(UnknownLabel)).collect()
    }

    /// The labels of the group in which an alert with these labels is.
    #[must_use]
    pub fn of(&self, labels: &BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
        let own = |name: &&'static str| Some((*name, labels.get(*name)?.clone()));
        self.by.iter().filter_map(own).collect()
    }
}

/// A matcher as it is written. Each list that is given must have the alert's value; patterns may have
/// `*` for any text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMatcher {
    #[serde(default)]
    alerts: Vec<String>,
    #[serde(default)]
    severities: Vec<Severity>,
    #[serde(default)]
    pools: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    hours: Option<RawHours>,
}

/// Which alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    alerts: BTreeSet<Kind>,
    severities: BTreeSet<Severity>,
    labels: BTreeMap<&'static str, Vec<String>>,
    hours: Option<Hours>,
}

/// A matcher that makes no sense. At fault: the author.
#[derive(Debug, thiserror::Error)]
pub enum MalformedMatcher {
    /// No such alert.
    #[error("`{name}`: {source}")]
    Alert {
        /// The name.
        name: String,
        /// Why not.
        #[source]
        source: UnknownKind,
    },
    /// Not hours of a week.
    #[error("hours: {0}")]
    Hours(MalformedHours),
    /// Too many patterns, or one that is empty or too long.
    #[error("a list has at most {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN} bytes")]
    Patterns,
}

/// Why a route does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Mismatch {
    /// It is for other alerts.
    Alert,
    /// It is for other hours.
    Hours,
    /// It is for other values of this label.
    Label {
        /// The label.
        label: &'static str,
    },
    /// It is for other severities.
    Severity,
    /// The dead man's switch only goes where a route names it.
    Unnamed,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alert => f.write_str("it is for other alerts"),
            Self::Hours => f.write_str("it is for other hours"),
            Self::Label { label } => write!(f, "it is for another {label}"),
            Self::Severity => f.write_str("it is for other severities"),
            Self::Unnamed => f.write_str("an alert that always fires goes where a route names it"),
        }
    }
}

impl Matcher {
    /// Checks what was written.
    ///
    /// # Errors
    /// [`MalformedMatcher`].
    pub fn check(raw: RawMatcher) -> Result<Self, MalformedMatcher> {
        let RawMatcher {
            alerts,
            severities,
            pools,
            namespaces,
            nodes,
            components,
            subjects,
            hours,
        } = raw;
        let kind = |name: String| {
            let source = |source| MalformedMatcher::Alert {
                name: palisade_report::bound::clean_text(&name),
                source,
            };
            name.parse().map_err(source)
        };
        let alerts = alerts.into_iter().map(kind).collect::<Result<_, _>>()?;
        let labels = [
            ("component", components),
            ("namespace", namespaces),
            ("node", nodes),
            ("pool", pools),
            ("subject", subjects),
        ];
        let fits = |list: &Vec<String>| {
            let each = list.iter().all(|it| !it.is_empty() && it.len() <= MAX_PATTERN);
            list.len() <= MAX_PATTERNS && each
        };
        if !labels.iter().all(|(_, list)| fits(list)) {
            return Err(MalformedMatcher::Patterns);
        }
        let labels = labels.into_iter().filter(|(_, list)| !list.is_empty()).collect();
        let hours = hours.map(Hours::check).transpose().map_err(MalformedMatcher::Hours)?;
        Ok(Self { alerts, severities: severities.into_iter().collect(), labels, hours })
    }

    /// Whether what it says of an alert changes with time alone.
    #[must_use]
    pub const fn has_hours(&self) -> bool {
        self.hours.is_some()
    }

    /// Why it does not match; `None`: it does.
    #[must_use]
    pub fn mismatch(
        &self,
        kind: Kind,
        severity: Severity,
        labels: &BTreeMap<&'static str, String>,
        now: Moment,
    ) -> Option<Mismatch> {
        let Self { alerts, severities, labels: wanted, hours } = self;
        if severity == Severity::None && !alerts.contains(&kind) {
            return Some(Mismatch::Unnamed);
        }
        if !alerts.is_empty() && !alerts.contains(&kind) {
            return Some(Mismatch::Alert);
        }
        if !severities.is_empty() && !severities.contains(&severity) {
            return Some(Mismatch::Severity);
        }
        for (label, patterns) in wanted {
            let value = labels.get(label).map_or("", String::as_str);
            if !patterns.iter().any(|pattern| matches(pattern, value)) {
                return Some(Mismatch::Label { label });
            }
        }
        let is_open = hours.as_ref().is_none_or(|hours| hours.is_open(now));
        (!is_open).then_some(Mismatch::Hours)
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for any text. In linear time.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed<'c> {
    /// Who.
    pub receiver: &'c str,
    /// How.
    pub grouping: &'c Grouping,
}

/// What one route says of an alert, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Which route, counted from 0 as in the file; `None`: the fallback.
    pub route: Option<usize>,
    /// Why it does not match; `None`: it does.
    pub mismatch: Option<Mismatch>,
    /// Who is told by it.
    pub receivers: Vec<String>,
    /// Whether it was the last that was looked at.
    pub is_last: bool,
}

impl Route {
    /// The one for what no other matches.
    #[must_use]
    pub fn fallback(receivers: Vec<String>, grouping: Grouping) -> Self {
        Self { matcher: Matcher::default(), receivers, goes_on: false, grouping }
    }
}

/// Who is told, each once, by the first route that names them.
///
/// An alert about a receiver does not go through that receiver.
#[must_use]
pub fn receivers<'c>(
    routes: &'c [Route],
    fallback: &'c Route,
    key: &Key,
    severity: Severity,
    labels: &BTreeMap<&'static str, String>,
    now: Moment,
) -> Vec<Routed<'c>> {
    let mut told: Vec<Routed<'c>> = Vec::new();
    let is_itself =
        |receiver: &String| key.kind == Kind::NotifierFailing && *receiver == *key.subject;
    let tell = |route: &'c Route, told: &mut Vec<Routed<'c>>| {
        for receiver in route.receivers.iter().filter(|it| !is_itself(it)) {
            if !told.iter().any(|it| it.receiver == receiver) {
                told.push(Routed { receiver, grouping: &route.grouping });
            }
        }
    };
    for (route, verdict) in walk(routes, fallback, key.kind, severity, labels, now) {
        if verdict.mismatch.is_none() {
            tell(route, &mut told);
        }
    }
    if told.is_empty() && key.kind == Kind::NotifierFailing {
        // Whoever should hear of it is who does not: anybody else will do.
        tell(fallback, &mut told);
        routes.iter().filter(|_| fallback.receivers.is_empty()).for_each(|it| tell(it, &mut told));
    }
    told
}

/// What each route says of an alert, in order, up to the one that ends the search.
#[must_use]
pub fn explain(
    routes: &[Route],
    fallback: &Route,
    key: &Key,
    severity: Severity,
    labels: &BTreeMap<&'static str, String>,
    now: Moment,
) -> Vec<Told> {
    let all = walk(routes, fallback, key.kind, severity, labels, now);
    all.into_iter().map(|(_, told)| told).collect()
}

fn walk<'c>(
    routes: &'c [Route],
    fallback: &'c Route,
    kind: Kind,
    severity: Severity,
    labels: &BTreeMap<&'static str, String>,
    now: Moment,
) -> Vec<(&'c Route, Told)> {
    let mut walked = Vec::new();
    let mut matched = false;
    for (at, route) in routes.iter().enumerate() {
        let mismatch = route.matcher.mismatch(kind, severity, labels, now);
        let is_last = mismatch.is_none() && !route.goes_on;
        matched |= mismatch.is_none();
        let receivers = route.receivers.clone();
        walked.push((route, Told { route: Some(at), mismatch, receivers, is_last }));
        if is_last {
            return walked;
        }
    }
    if !matched {
        let mismatch = fallback.matcher.mismatch(kind, severity, labels, now);
        let receivers = fallback.receivers.clone();
        walked.push((fallback, Told { route: None, mismatch, receivers, is_last: true }));
    }
    walked
}
