//! The file that says who is told what: receivers, routes, and what may differ from the catalogue.
//!
//! ```text
//! text ──parse──> Raw (as written) ──check──> Config ──secrets──> Targets
//! ```
//!
//! Unknown fields, names that nobody has and times that make no sense are refused with their place; a
//! collector that follows an older version goes on with that one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::kind::Kind;
use crate::route::Grouping;
use crate::route::MalformedMatcher;
use crate::route::Matcher;
use crate::route::RawMatcher;
use crate::route::Route;
use crate::span::Span;
use crate::yaml::ParseYamlError;
use crate::yaml::parse;

mod raw;
mod receiver;
#[cfg(test)]
mod tests;

pub use raw::InvalidReceiver;
pub use receiver::Receiver;
pub use receiver::Source;
pub use receiver::Spec;
pub use receiver::Unresolved;

/// The version of the language.
pub const API_VERSION: &str = "palisade.dev/v1alpha1";
/// What the file is.
pub const KIND: &str = "AlertConfig";

/// Receivers and routes that a file may have: more is a program's output, and a slip of it.
const MAX_RECEIVERS: usize = 64;
/// See [`MAX_RECEIVERS`].
const MAX_ROUTES: usize = 256;

/// Bytes of a cluster's or a receiver's name.
const MAX_NAME: usize = 63;

/// The cluster's name in labels where the file gives none.
pub const DEFAULT_CLUSTER: &str = "default";

/// Who is told what.
#[derive(Clone, Debug)]
pub struct Config {
    /// The label `cluster`.
    pub cluster: String,
    /// Where people reach the collector, without a slash at the end; empty: not known.
    pub external_url: String,
    /// Addresses that receivers may have although they are refused by default: CIDRs and host names.
    pub allowed_egress: Vec<String>,
    /// What differs from the catalogue.
    pub changes: BTreeMap<Kind, Change>,
    /// Receivers in the order of the file.
    pub receivers: Vec<Receiver>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// Who gets what no route matches.
    pub fallback: Route,
}

/// What differs from an alert's entry in the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How long it must hold.
    pub hold: Option<Span>,
    /// How long it must be gone.
    pub keep: Option<Span>,
    /// Nobody is told of it.
    pub is_muted: bool,
}

/// The file cannot be used. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum ParseConfigError {
    /// Not the YAML, or not the words, that were expected.
    #[error("failed to parse the alert configuration")]
    Parse(#[source] ParseYamlError),
    /// Not this kind of file.
    #[error("expected apiVersion {API_VERSION} and kind {KIND}")]
    Kind,
    /// It is understood and makes no sense.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where: `receivers[2]`, `routes[0].match`.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    api_version: String,
    kind: String,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    external_url: Option<String>,
    #[serde(default)]
    egress: RawEgress,
    #[serde(default)]
    defaults: RawGrouping,
    #[serde(default)]
    alerts: Vec<RawChange>,
    #[serde(default)]
    receivers: Vec<raw::RawReceiver>,
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    fallback: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEgress {
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawGrouping {
    #[serde(default)]
    group_by: Option<Vec<String>>,
    #[serde(default)]
    group_wait: Option<Span>,
    #[serde(default)]
    group_interval: Option<Span>,
    #[serde(default)]
    repeat_interval: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawChange {
    alert: Kind,
    #[serde(default, rename = "for")]
    hold: Option<Span>,
    #[serde(default)]
    keep: Option<Span>,
    #[serde(default)]
    muted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawRoute {
    #[serde(default, rename = "match")]
    matcher: RawMatcher,
    receivers: Vec<String>,
    #[serde(default, rename = "continue")]
    goes_on: bool,
    #[serde(default)]
    group_by: Option<Vec<String>>,
    #[serde(default)]
    group_wait: Option<Span>,
    #[serde(default)]
    group_interval: Option<Span>,
    #[serde(default)]
    repeat_interval: Option<Span>,
}

impl Default for Config {
    /// Nobody is told anything; alerts are kept and shown.
    fn default() -> Self {
        Self {
            cluster: DEFAULT_CLUSTER.to_owned(),
            external_url: String::new(),
            allowed_egress: Vec::new(),
            changes: BTreeMap::new(),
            receivers: Vec::new(),
            routes: Vec::new(),
            fallback: Route::fallback(Vec::new(), Grouping::default()),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ParseConfigError`].
    pub fn parse(text: &str) -> Result<Self, ParseConfigError> {
        let raw: Raw = parse(text).map_err(ParseConfigError::Parse)?;
        if raw.api_version != API_VERSION || raw.kind != KIND {
            return Err(ParseConfigError::Kind);
        }
        let Raw {
            api_version: _,
            kind: _,
            cluster,
            external_url,
            egress,
            defaults,
            alerts,
            receivers,
            routes,
            fallback,
        } = raw;
        let cluster = cluster.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
        named("cluster", &cluster)?;
        let external_url = external_url.unwrap_or_default().trim_end_matches('/').to_owned();
        let is_address = ["https://", "http://"].iter().any(|it| external_url.starts_with(it));
        if !external_url.is_empty() && !is_address {
            return Err(invalid(
                "externalUrl",
                "expected an address such as https://palisade.example",
            ));
        }
        let mut changes = BTreeMap::new();
        for (at, RawChange { alert, hold, keep, muted }) in alerts.into_iter().enumerate() {
            let change = Change { hold, keep, is_muted: muted };
            if changes.insert(alert, change).is_some() {
                return Err(invalid(format!("alerts[{at}]"), format!("{alert} is there twice")));
            }
        }
        if receivers.len() > MAX_RECEIVERS || routes.len() > MAX_ROUTES {
            let problem = format!("at most {MAX_RECEIVERS} receivers and {MAX_ROUTES} routes");
            return Err(invalid("receivers", problem));
        }
        let mut names = BTreeSet::new();
        let mut known = Vec::new();
        for (at, raw) in receivers.into_iter().enumerate() {
            let place = format!("receivers[{at}]");
            named(&format!("{place}.name"), raw.name())?;
            let receiver = raw.check().map_err(|error| invalid(&place, error))?;
            if !names.insert(receiver.name.clone()) {
                return Err(invalid(place, format!("the name {} is there twice", receiver.name)));
            }
            known.push(receiver);
        }
        let grouping = grouping("defaults", defaults, &Grouping::default())?;
        let mut checked = Vec::new();
        for (at, raw) in routes.into_iter().enumerate() {
            checked.push(route(&format!("routes[{at}]"), raw, &grouping, &names)?);
        }
        all_known("fallback", &fallback, &names)?;
        Ok(Self {
            cluster,
            external_url,
            allowed_egress: egress.allow,
            changes,
            receivers: known,
            routes: checked,
            fallback: Route::fallback(fallback, grouping),
        })
    }

    /// A receiver by its name.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|it| it.name == name)
    }
}

fn invalid(place: impl Into<String>, problem: impl ToString) -> ParseConfigError {
    ParseConfigError::Invalid { place: place.into(), problem: problem.to_string() }
}

/// Names stand in labels, addresses and metrics.
fn named(place: &str, name: &str) -> Result<(), ParseConfigError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        let problem = format!("expected 1 to {MAX_NAME} letters, digits, '-', '_' or '.'");
        return Err(invalid(place, problem));
    }
    Ok(())
}

fn all_known(
    place: &str,
    receivers: &[String],
    names: &BTreeSet<String>,
) -> Result<(), ParseConfigError> {
    match receivers.iter().find(|name| !names.contains(*name)) {
        Some(name) => {
            let name = palisade_report::bound::clean_text(name);
            Err(invalid(place, format!("there is no receiver {name}")))
        }
        None => Ok(()),
    }
}

fn route(
    place: &str,
    raw: RawRoute,
    defaults: &Grouping,
    names: &BTreeSet<String>,
) -> Result<Route, ParseConfigError> {
    let RawRoute {
        matcher,
        receivers,
        goes_on,
        group_by,
        group_wait,
        group_interval,
        repeat_interval,
    } = raw;
    all_known(&format!("{place}.receivers"), &receivers, names)?;
    let matcher = Matcher::check(matcher)
        .map_err(|error: MalformedMatcher| invalid(format!("{place}.match"), error))?;
    let own = RawGrouping { group_by, group_wait, group_interval, repeat_interval };
    let grouping = grouping(place, own, defaults)?;
    Ok(Route { matcher, receivers, goes_on, grouping })
}

fn grouping(
    place: &str,
    raw: RawGrouping,
    defaults: &Grouping,
) -> Result<Grouping, ParseConfigError> {
    let RawGrouping { group_by, group_wait, group_interval, repeat_interval } = raw;
    let by = match group_by {
        Some(names) => {
            Grouping::labels(&names).map_err(|error| invalid(format!("{place}.groupBy"), error))?
        }
        None => defaults.by.clone(),
    };
    let grouping = Grouping {
        by,
        wait: group_wait.unwrap_or(defaults.wait),
        interval: group_interval.unwrap_or(defaults.interval),
        repeat: repeat_interval.unwrap_or(defaults.repeat),
    };
    if grouping.repeat.as_secs() < 60 || grouping.interval.as_secs() < 1 {
        let problem = "repeatInterval is at least 1m, groupInterval at least 1s";
        return Err(invalid(place, problem));
    }
    Ok(grouping)
}
