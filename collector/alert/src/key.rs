//! What an alert is about, and nothing that moves: identity is labels.
//!
//! Days left, serial numbers, versions and names of pods are in the words, never in here: an alert
//! whose labels changed would be another one, and the first would seem to be over. Severity is no part
//! of the identity either.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::bound::clean;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::kind::Kind;
use crate::severity::Severity;

/// Bytes of a label's value, after escaping.
pub const MAX_LABEL: usize = 256;

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Which alert.
    pub kind: Kind,
    /// The node, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The pool of that node, or the pool that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Arc<str>>,
    /// The namespace whose owner can mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// What within the node: a check, a file, a budget; empty: the node as a whole.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub subject: Arc<str>,
}

impl Key {
    /// An alert about the whole.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, node: None, pool: None, namespace: None, subject: "".into() }
    }

    /// An alert about a node.
    #[must_use]
    pub fn of_node(kind: Kind, node: NodeName, pool: Option<Arc<str>>) -> Self {
        Self { node: Some(node), pool, ..Self::of(kind) }
    }

    /// The same about something within it. Made safe to show, and cut to [`MAX_LABEL`].
    #[must_use]
    pub fn subject(self, subject: &str) -> Self {
        Self { subject: clean(subject.as_bytes(), MAX_LABEL).into(), ..self }
    }

    /// By what it is known to its collector. The name of the cluster is no part of it, and neither is the
    /// pool of a node: with another one the alerts of before go on.
    #[must_use]
    pub fn id(&self) -> AlertId {
        let Self { kind, node, pool, namespace, subject } = self;
        // Lengths keep apart what a joint alone would not.
        let mut text = String::new();
        let node = node.as_ref().map_or("", NodeName::as_str);
        let pool = pool.as_deref().filter(|_| self.node.is_none());
        let namespace = namespace.as_deref();
        let parts =
            [kind.as_str(), node, pool.unwrap_or_default(), namespace.unwrap_or_default(), subject];
        for part in parts {
            text.push_str(&format!("{}:{part}", part.len()));
        }
        let digest = Digest::of(text.as_bytes());
        let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        AlertId(u64::from_be_bytes(bytes))
    }

    /// The labels, of this severity. Empty ones are left out: to Prometheus they are the same.
    #[must_use]
    pub fn labels(
        &self,
        cluster: &str,
        component: &str,
        severity: Severity,
    ) -> BTreeMap<&'static str, String> {
        let Self { kind, node, pool, namespace, subject } = self;
        let safe = |text: &str| clean(text.as_bytes(), MAX_LABEL);
        [
            ("alertname", kind.alertname()),
            ("cluster", safe(cluster)),
            ("component", safe(component)),
            ("namespace", namespace.as_deref().map(safe).unwrap_or_default()),
            ("node", node.as_ref().map(|node| safe(node.as_str())).unwrap_or_default()),
            ("pool", pool.as_deref().map(safe).unwrap_or_default()),
            ("severity", severity.to_string()),
            ("subject", safe(subject)),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }
}

/// The first 64 bits of a SHA-256 over all labels but the severity and those that every alert of a
/// collector has. Shape: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub u64);

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is no identity of an alert. At fault: the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed alert id: expected 16 hexadecimal digits")]
pub struct MalformedAlertId;

impl FromStr for AlertId {
    type Err = MalformedAlertId;

    fn from_str(text: &str) -> Result<Self, MalformedAlertId> {
        let is_hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or(MalformedAlertId)
    }
}

impl Serialize for AlertId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AlertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let node = "worker-7".parse().unwrap();
        Key::of_node(Kind::CertificateExpiring, node, Some("web".into())).subject("/a.crt")
    }

    #[test]
    fn every_part_but_the_severity_makes_another_alert() {
        let id = key().id();
        let others = [
            Key { kind: Kind::CertificateExpired, ..key() },
            Key { node: None, ..key() },
            Key { node: None, pool: None, ..key() },
            Key { namespace: Some("web".into()), pool: None, ..key() },
            key().subject("/b.crt"),
        ];
        let mut ids: Vec<AlertId> = others.iter().map(Key::id).collect();
        ids.push(id);
        assert_eq!(Key { pool: None, ..key() }.id(), id, "a node may change its pool");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), others.len() + 1);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("+123456789abcdef".parse::<AlertId>(), Err(MalformedAlertId));
    }

    #[test]
    fn labels_are_safe_to_show_and_none_is_empty() {
        let labels = key().subject("a\u{202e}\nb").labels("prod", "certificates", Severity::Info);
        assert_eq!(labels["alertname"], "PalisadeCertificateExpiring");
        assert_eq!((&*labels["pool"], &*labels["severity"]), ("web", "info"));
        assert!(!labels["subject"].chars().any(|c| c.is_control() || c == '\u{202e}'));
        assert!(!labels.contains_key("namespace"), "{labels:?}");
        let long =
            key().subject(&"x".repeat(10_000)).labels("prod", "certificates", Severity::Info);
        assert!(long["subject"].len() <= MAX_LABEL);
    }

    #[test]
    fn a_name_is_found_with_and_without_its_prefix() {
        for kind in Kind::ALL {
            assert_eq!(kind.alertname().parse(), Ok(kind));
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("Palisade".parse::<Kind>().is_err());
    }
}
