//! The two interfaces: how a question is written, and what an answer says. Pure.
//!
//! Sources: `api/v2/openapi.yaml` of Alertmanager, "HTTP API" and "Alerting rules" of the Prometheus
//! documentation.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::Timestamp;
use palisade_report::Moment;
use palisade_report::bound::clean_text;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Alert;
use super::NAME;

/// Labels of the series `ALERTS` that are Prometheus' own.
const STATE: &str = "alertstate";
const SERIES: &str = "__name__";

/// Seconds that Prometheus may take: less than anybody waits for it.
const EVALUATION: &str = "8s";

/// When a Prometheus began to evaluate its rules, and when it last did.
pub(super) const BEGAN: &str = "/api/v1/status/runtimeinfo";
pub(super) const RULES: &str = "/api/v1/rules?type=alert&exclude_alerts=true";

/// Intervals of a group of rules after which all that fires is in `ALERTS` again. The first evaluation
/// begins within one; only after the second is looked up what fired before the start, and the third is
/// the first to write anything. Two more for evaluations that are slow.
const SETTLED_INTERVALS: f64 = 5.0;

/// Seconds that a group may take for it. What is evaluated less often than every five minutes is not in
/// `ALERTS` between, see `query.lookback-delta`, and waiting longer for it would tell no more.
const MAX_SETTLING_SECS: f64 = 1800.0;

/// Path and query for what fires and is neither silenced nor inhibited.
pub(super) fn alertmanager_path(matchers: &[String]) -> String {
    let mut path =
        "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false".to_owned();
    for matcher in matchers {
        path.push_str("&filter=");
        path.push_str(&encoded(matcher));
    }
    path
}

/// Path and query for alerts in one of these states, a pattern. `anew`: also for those that have been
/// pending since before this second since 1970.
pub(super) fn prometheus_path(matchers: &[String], states: &str, anew: Option<i64>) -> String {
    let all = |first: String| [&[first], matchers].concat().join(",");
    let mut query = format!("ALERTS{{{}}}", all(format!("{STATE}=~\"{states}\"")));
    if let Some(before) = anew {
        let (pending, since) = (all(format!("{STATE}=\"pending\"")), matchers.join(","));
        query.push_str(&format!(
            " or (ALERTS{{{pending}}} and ignoring({STATE}) ALERTS_FOR_STATE{{{since}}} < {before})"
        ));
    }
    format!("/api/v1/query?timeout={EVALUATION}&query={}", encoded(&query))
}

/// Source: RFC 3986, section 2.1; all but its unreserved characters are encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gettable {
    labels: BTreeMap<String, String>,
    starts_at: String,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: String,
    silenced_by: Vec<String>,
    inhibited_by: Vec<String>,
}

/// What Alertmanager says. One that pays no heed to a filter is not believed in what it leaves out, but
/// in what it says of each alert.
pub(super) fn alertmanager(body: &[u8]) -> Result<Vec<Alert>, String> {
    let told: Vec<Gettable> = serde_json::from_slice(body).map_err(|error| said(&error))?;
    let mut alerts = Vec::new();
    for Gettable { labels, starts_at, status } in told {
        let Status { state, silenced_by, inhibited_by } = status;
        let is_quiet = !silenced_by.is_empty() || !inhibited_by.is_empty();
        match state.as_str() {
            "active" | "suppressed" | "unprocessed" if is_quiet => {}
            "active" | "suppressed" | "unprocessed" => {
                let since = starts_at.parse::<Timestamp>().ok();
                let since = since.map(|at| Moment::from_unix(at.as_second()));
                alerts.push(Alert { labels, is_pending: false, since });
            }
            other => {
                let name = labels.get(NAME).map_or("", String::as_str);
                let (name, other) = (clean_text(name), clean_text(other));
                return Err(format!("the alert `{name}` is in the state `{other}`"));
            }
        }
    }
    Ok(alerts)
}

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
}

/// What is in an answer of Prometheus. With a warning, part of it may be missing.
fn data<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let Answer { status, error, warnings, data } =
        serde_json::from_slice(body).map_err(|error| said(&error))?;
    if status != "success" {
        return Err(format!("it says `{}`: {}", clean_text(&status), clean_text(&error)));
    }
    if let Some(warning) = warnings.first() {
        return Err(format!("it warns that this is not all: {}", clean_text(warning)));
    }
    data.ok_or_else(|| "there is no `data` in it".to_owned())
}

/// Which alerts Prometheus names.
pub(super) fn prometheus(body: &[u8]) -> Result<Vec<Alert>, String> {
    let Data { result_type, result } = data(body)?;
    if result_type != "vector" {
        return Err(format!("the result is a `{}`, no vector", clean_text(&result_type)));
    }
    let alert = |Sample { mut metric }: Sample| {
        metric.remove(SERIES);
        let is_pending = match metric.remove(STATE).as_deref() {
            Some("firing") => false,
            Some("pending") => true,
            Some(_) | None => return Err("an alert neither fires nor is pending".to_owned()),
        };
        Ok(Alert { labels: metric, is_pending, since: None })
    };
    result.into_iter().map(alert).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    last_config_time: Timestamp,
}

/// When Prometheus last read its rules: at its start, or later at somebody's word.
pub(super) fn began(body: &[u8]) -> Result<Timestamp, String> {
    let Runtime { last_config_time } = data(body)?;
    Ok(last_config_time)
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

/// Rules that are evaluated together.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    /// Seconds between two evaluations.
    interval: f64,
    last_evaluation: Timestamp,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    state: String,
    /// Its `for`, in seconds.
    #[serde(default)]
    duration: f64,
}

/// What can be known of what fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All.
    All,
    /// Something is pending. If it has been so since before this second since 1970, it may have fired
    /// before the start: its `for` runs anew.
    Anew(i64),
    /// Nothing yet: this group has not been evaluated often enough.
    TooEarly(String),
}

/// What can be known, by the rules' own record.
pub(super) fn known(body: &[u8], began: Timestamp) -> Result<Known, String> {
    let Groups { groups } = data(body)?;
    let mut known = Known::All;
    for Group { name, interval, last_evaluation, rules } in groups {
        if rules.is_empty() {
            continue;
        }
        let least = (SETTLED_INTERVALS * interval).min(MAX_SETTLING_SECS);
        let past = last_evaluation.duration_since(began).as_secs_f64();
        if past < least {
            return Ok(Known::TooEarly(clean_text(&name)));
        }
        if rules.iter().any(|it| it.state == "pending" && past < least + it.duration) {
            let least = SignedDuration::try_from_secs_f64(least).map_err(|_| "no interval")?;
            let before = began.saturating_add(least).map_err(|_| "no interval")?.as_second();
            known = match known {
                Known::Anew(other) => Known::Anew(before.max(other)),
                Known::All | Known::TooEarly(_) => Known::Anew(before),
            };
        }
    }
    Ok(known)
}

fn said(error: &serde_json::Error) -> String {
    clean_text(&error.to_string())
}
