//! Alertmanager's webhook, version 4, so that whatever reads those reads ours.
//!
//! Source: the type `Message` of Alertmanager 0.34 and its documentation of `webhook_config`.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::bound::clean;
use serde::Serialize;

use super::Size;
use super::address::address;
use super::annotation::annotations;
use super::annotation::labels;
use super::fit::limit;
use super::json;
use crate::key::AlertId;
use crate::notice::Notice;
use crate::notice::Noticed;
use crate::outgoing::HttpRequest;
use crate::secret::Secret;

/// Bytes of a body. Few servers take less without being asked to, and 200 alerts are about half.
const MAX_BODY: usize = 256 * 1024;

/// Bytes of a group's key; beyond it is cut, which only groups of absurd labels reach.
const MAX_GROUP_KEY: usize = 4096;

/// The end of what has not ended: Go's zero time.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

type Texts = BTreeMap<&'static str, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: String,
    group_labels: Texts,
    common_labels: Texts,
    common_annotations: Texts,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    #[serde(rename = "notification_reason")]
    notification_reason: &'static str,
    alerts: &'a [Alert],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: Texts,
    annotations: Texts,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: AlertId,
}

pub(super) fn request(url: &Secret, notice: &Notice, size: Size) -> Option<HttpRequest> {
    let max = limit(size, MAX_BODY);
    let all: Vec<Alert> = notice.alerts.iter().map(|it| alert(notice, it)).collect();
    let mut keep = all.len();
    loop {
        let kept = all.get(..keep).unwrap_or(&all);
        let body = serde_json::to_vec(&message(notice, kept, all.len())).ok()?;
        if body.len() <= max {
            return json::post(url, &message(notice, kept, all.len()), max);
        }
        // By what is too much, and by one at least: it comes to an end within a few turns.
        let share = keep.saturating_mul(max) / body.len();
        keep = share.min(keep.checked_sub(1)?);
    }
}

fn alert(notice: &Notice, alert: &Noticed) -> Alert {
    let ended = alert.ended.as_ref().map(|it| it.at.max(alert.starts_at));
    Alert {
        status: if alert.is_firing() { "firing" } else { "resolved" },
        labels: labels(alert),
        annotations: annotations(&notice.external_url, alert),
        starts_at: alert.starts_at.to_string(),
        ends_at: ended.as_ref().map_or_else(|| NOT_ENDED.into(), Moment::to_string),
        generator_url: address(&notice.external_url, &alert.words.link),
        fingerprint: alert.id,
    }
}

fn message<'a>(notice: &'a Notice, alerts: &'a [Alert], all: usize) -> Message<'a> {
    let safe = |text: &str, max| clean(text.as_bytes(), max);
    let group = notice.group_labels.iter();
    Message {
        version: "4",
        group_key: safe(&notice.group_key, MAX_GROUP_KEY),
        truncated_alerts: notice.left_out().saturating_add(all.saturating_sub(alerts.len())),
        status: if notice.is_firing() { "firing" } else { "resolved" },
        receiver: safe(&notice.receiver, crate::key::MAX_LABEL),
        group_labels: group.map(|(k, v)| (*k, safe(v, crate::key::MAX_LABEL))).collect(),
        common_labels: common(alerts, |it| &it.labels),
        common_annotations: common(alerts, |it| &it.annotations),
        external_url: &notice.external_url,
        notification_reason: notice.reason.as_str(),
        alerts,
    }
}

/// What is the same in all.
fn common(alerts: &[Alert], of: impl Fn(&Alert) -> &Texts) -> Texts {
    let Some((first, others)) = alerts.split_first() else { return Texts::new() };
    let shared = |(name, value): &(&&str, &String)| {
        others.iter().all(|it| of(it).get(**name) == Some(*value))
    };
    of(first).iter().filter(shared).map(|(name, value)| (*name, value.clone())).collect()
}
