//! What a policy lets speak against a reboot: pods that run, alerts that fire.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

use crate::policy::Selector;

/// Pods that speak against a reboot while they run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodGate {
    /// Which pods, in any namespace.
    pub selector: Selector,
    /// Where they must run to do so.
    pub scope: PodScope,
}

/// Where a pod must run to speak against a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodScope {
    /// Anywhere.
    Cluster,
    /// On the node itself.
    #[default]
    Node,
    /// On any node of the pool.
    Pool,
}

/// Alerts that speak against a reboot. Silenced and inhibited ones never do; a source that cannot
/// be asked always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertGate {
    /// Which alerts: those that satisfy every matcher. Empty: all.
    pub matchers: Vec<AlertMatcher>,
    /// What becomes of alerts that are about to fire; only Prometheus knows those.
    /// Those that are since a Prometheus has just started count either way: they may have fired before.
    pub pending: PendingAlerts,
}

/// Where alerts are asked for. At least one of the two is there.
///
/// Alertmanager knows which alerts are silenced or inhibited, Prometheus which are about to fire: what
/// fires is asked of the former, or of the latter if it is alone. Labels that Prometheus adds to what it
/// sends (`external_labels`) are known to the former only: there, a matcher that wants one finds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertSource {
    /// Address of an Alertmanager: `http://` or `https://`, host, and port and path if any.
    pub alertmanager: Option<String>,
    /// Address of a Prometheus, in the same shape.
    pub prometheus: Option<String>,
    /// The file of the authorities that `https://` trusts, in PEM.
    pub ca: Option<String>,
}

impl AlertSource {
    /// Both addresses, if they are there.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        [&self.alertmanager, &self.prometheus].into_iter().flatten().map(String::as_str)
    }
}

/// Whether alerts that are pending speak against a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingAlerts {
    /// They do.
    Block,
    /// They do not.
    #[default]
    Ignore,
}

/// A condition on one label of an alert. Shape: `name="value"`, with `=`, `!=`, `=~` or `!~`; the
/// patterns are those of Alertmanager, which evaluates them.
///
/// Source: matchers of Alertmanager's API v2 (`filter`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertMatcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// The value or pattern.
    pub value: String,
}

/// How a label of an alert is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `=~`
    Matches,
    /// `!=`
    NotEqual,
    /// `!~`
    NotMatches,
}

impl Comparison {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Matches => "=~",
            Self::NotEqual => "!=",
            Self::NotMatches => "!~",
        }
    }
}

/// As Alertmanager takes it: the value quoted, quotes and backslashes escaped.
impl fmt::Display for AlertMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "{}{}\"{value}\"", self.name, self.comparison.word())
    }
}

impl Serialize for AlertMatcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
