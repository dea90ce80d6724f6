//! How loud an alert is.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// How loud, quietest first. The words are those that Prometheus rules commonly use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not for people: the dead man's switch.
    None,
    /// Worth knowing; nobody is woken.
    Info,
    /// To be looked at within a working day.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// All, quietest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Info, Self::Warning, Self::Critical];

    /// The word in labels and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Info => "info",
            Self::None => "none",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is no severity. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected critical, warning, info or none")]
pub struct UnknownSeverity;

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(UnknownSeverity)
    }
}
