//! The two interfaces: how a question is written, and what an answer says. Pure.
//!
//! Sources: `api/v2/openapi.yaml` of Alertmanager, "HTTP API" and "Alerting rules" of the Prometheus
//! documentation.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::bound::clean_text;
use serde::Deserialize;

use super::Alert;
use super::NAME;

/// Labels of the series `ALERTS` that are Prometheus' own.
const STATE: &str = "alertstate";
const SERIES: &str = "__name__";

/// Seconds that Prometheus may take: less than anybody waits for it.
const EVALUATION: &str = "8s";

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

/// Path and query for alerts in one of these states, a pattern.
pub(super) fn prometheus_path(matchers: &[String], states: &str) -> String {
    let mut all = vec![format!("{STATE}=~\"{states}\"")];
    all.extend_from_slice(matchers);
    let query = format!("ALERTS{{{}}}", all.join(","));
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
                let since = starts_at.parse::<jiff::Timestamp>().ok();
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
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<Data>,
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

/// What Prometheus says. With a warning, part of what fires may be missing.
pub(super) fn prometheus(body: &[u8]) -> Result<Vec<Alert>, String> {
    let Answer { status, error, warnings, data } =
        serde_json::from_slice(body).map_err(|error| said(&error))?;
    if status != "success" {
        return Err(format!("it says `{}`: {}", clean_text(&status), clean_text(&error)));
    }
    if let Some(warning) = warnings.first() {
        return Err(format!("it warns that this is not all: {}", clean_text(warning)));
    }
    let Some(Data { result_type, result }) = data else {
        return Err("there is no `data` in it".to_owned());
    };
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

fn said(error: &serde_json::Error) -> String {
    clean_text(&error.to_string())
}
