//! What Alertmanager's webhooks carry, version 4, and an alert of it in one line.

use std::collections::BTreeMap;
use std::fmt;

use palisade_report::bound::clean;
use serde::Deserialize;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// `4`.
    pub version: String,
    /// By what receivers tell which belong together.
    pub group_key: String,
    /// Alerts that were left out.
    #[serde(default)]
    pub truncated_alerts: u64,
    /// `firing` or `resolved`.
    pub status: String,
    /// Whom it is for.
    pub receiver: String,
    /// Labels by which its alerts are grouped.
    pub group_labels: BTreeMap<String, String>,
    /// Labels that all its alerts share.
    pub common_labels: BTreeMap<String, String>,
    /// Annotations that all its alerts share.
    pub common_annotations: BTreeMap<String, String>,
    /// Who sends it.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// What it is about.
    pub alerts: Vec<Alert>,
}

/// An alert of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// What it is.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: String,
    /// Until when; year 1 while it fires.
    pub ends_at: String,
    /// Where it is explained.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
}

impl Webhook {
    /// Its alert of this name.
    #[must_use]
    pub fn alert(&self, name: &str) -> Option<&Alert> {
        self.alerts.iter().find(|it| it.label("alertname") == name)
    }
}

impl Alert {
    /// Whether it fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }

    /// A label; empty if it has none of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// An annotation; empty if it has none of this name.
    #[must_use]
    pub fn annotation(&self, name: &str) -> &str {
        self.annotations.get(name).map_or("", String::as_str)
    }
}

/// Bytes that a line shows of each text.
const SHOWN: usize = 300;

/// `FIRING   critical PalisadeRebootOverdue worker-7: worker-7 should have rebooted ..`. One line, safe
/// for a terminal, whatever the alert holds.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let safe = |text: &str| clean(text.as_bytes(), SHOWN);
        let status = safe(&self.status).to_uppercase();
        let (severity, name) = (safe(self.label("severity")), safe(self.label("alertname")));
        write!(f, "{status:<8} {severity:<8} {name}")?;
        if let Some(node) = self.labels.get("node") {
            write!(f, " {}", safe(node))?;
        }
        match self.annotation("summary") {
            "" => Ok(()),
            summary => write!(f, ": {}", safe(summary)),
        }
    }
}
