//! What Alertmanager is told: alerts in batches, each again and again until it has ended.
//!
//! Source: `POST /api/v2/alerts`. Every member of a cluster gets every batch. A batch that is answered
//! 400 is taken in part; halving it until single alerts remain finds those that are refused.

use std::collections::BTreeMap;

use palisade_report::Moment;
use serde::Serialize;

use super::address::address;
use super::annotation::annotations;
use super::annotation::labels;
use super::json::JSON;
use crate::key::AlertId;
use crate::notice::Noticed;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;
use crate::severity::Severity;

/// Alerts in a batch.
pub const MAX_ALERTS: usize = 1_000;

/// Bytes of a batch, encoded.
pub const MAX_BYTES: usize = 1 << 20;

/// How long an alert is said to go on from now: outlasts an upgrade of the collector and fourteen
/// lost messages, one a minute; then Alertmanager takes it for resolved.
pub const HOLDS_SECS: i64 = 15 * 60;

/// Alerts to send in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(Vec<Encoded>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Encoded {
    id: AlertId,
    severity: Severity,
    json: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
}

/// The batches that tell all of `alerts` at `now`, none of them empty.
///
/// Each alert comes with the severities in which it is told: one that was told as warning and is
/// critical by now is told in both, so that the quieter one does not seem to have ended.
#[must_use]
pub fn batches<'a, S: AsRef<[Severity]>>(
    alerts: impl IntoIterator<Item = (&'a Noticed, S)>,
    external_url: &str,
    now: Moment,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = BRACKETS;
    for (alert, severities) in alerts {
        for &severity in severities.as_ref() {
            let Ok(json) = serde_json::to_vec(&told(alert, severity, external_url, now)) else {
                continue;
            };
            let more = json.len() + 1;
            if batch.len() >= MAX_ALERTS || bytes + more > MAX_BYTES {
                batches.push(Batch(std::mem::take(&mut batch)));
                bytes = BRACKETS;
            }
            bytes += more;
            batch.push(Encoded { id: alert.id, severity, json });
        }
    }
    if !batch.is_empty() {
        batches.push(Batch(batch));
    }
    batches
}

/// Bytes of `[]`.
const BRACKETS: usize = 2;

impl Batch {
    /// The request to the member at `url` (`http://am-0:9093`).
    #[must_use]
    pub fn request(&self, url: &Secret, token: Option<&Secret>) -> HttpRequest {
        let bearer = token.map(|it| Secret::new(format!("Bearer {}", it.reveal())));
        HttpRequest {
            method: "POST",
            url: Secret::new(format!("{}/api/v2/alerts", url.reveal().trim_end_matches('/'))),
            headers: bearer.map(|it| ("Authorization".to_owned(), it)).into_iter().collect(),
            content_type: JSON.into(),
            body: self.body(),
            sign_with: None,
        }
    }

    /// A JSON array.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let alerts: Vec<&[u8]> = self.0.iter().map(|it| it.json.as_slice()).collect();
        [b"[".as_slice(), &alerts.join(&b','), b"]"].concat()
    }

    /// Two batches of half as many; `None` of a single alert, which is the one that is refused.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        let (left, right) = self.0.split_at_checked(self.0.len() / 2)?;
        let is_split = !left.is_empty() && !right.is_empty();
        is_split.then(|| (Self(left.to_vec()), Self(right.to_vec())))
    }

    /// Which alerts are in it, and in which severity.
    pub fn alerts(&self) -> impl Iterator<Item = (AlertId, Severity)> {
        self.0.iter().map(|it| (it.id, it.severity))
    }
}

fn told(alert: &Noticed, severity: Severity, external_url: &str, now: Moment) -> Alert {
    // A clock that was ahead would start the alert after its end, which is refused.
    let starts_at = alert.starts_at.min(now);
    let ends_at = match &alert.ended {
        None => now.plus(HOLDS_SECS),
        // An end that is ahead of now would go on firing.
        Some(ended) => ended.at.min(now).max(starts_at),
    };
    let mut labels = labels(alert);
    labels.insert("severity", severity.to_string());
    labels.retain(|name, value| is_label_name(name) && !value.is_empty());
    let generator_url = address(external_url, &alert.words.link);
    Alert {
        labels,
        annotations: annotations(external_url, alert),
        starts_at: starts_at.to_string(),
        ends_at: ends_at.to_string(),
        // It is checked to be an address; a bare path would be refused.
        generator_url: if super::address::opens(&generator_url) {
            generator_url
        } else {
            String::new()
        },
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: anything else makes Alertmanager refuse the alert.
fn is_label_name(name: &str) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.as_bytes().first().is_some_and(is_start)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
