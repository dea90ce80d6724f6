//! What the judge says: verdicts with their evidence.

use std::fmt;
use std::str::FromStr;

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

/// The id of a rule: `area.subject` in kebab-case, stable for ever, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RuleId(Box<str>);

/// Bytes that a rule id may have.
pub const MAX_RULE_ID: usize = 64;

/// The text is not `area.subject` in kebab-case. At fault: the author of a rule or a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed rule id: expected area.subject in lowercase letters, digits and '-'")]
pub struct MalformedRuleId;

impl RuleId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the dot.
    #[must_use]
    pub fn area(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl FromStr for RuleId {
    type Err = MalformedRuleId;

    fn from_str(text: &str) -> Result<Self, MalformedRuleId> {
        let word = |word: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && !word.ends_with('-')
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once('.') {
            Some((area, subject)) if text.len() <= MAX_RULE_ID && word(area) && word(subject) => {
                Ok(Self(text.into()))
            }
            Some(_) | None => Err(MalformedRuleId),
        }
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How much it matters, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// Defence in depth.
    Low,
    /// Weakens a barrier.
    Medium,
    /// Opens a way that an attacker or an outage takes.
    High,
    /// Open now.
    Critical,
}

impl Severity {
    /// All, most severe first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no severity. At fault: the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown severity: expected critical, high, medium, low or info")]
pub struct UnknownSeverity;

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(UnknownSeverity)
    }
}

/// What came of holding a rule against the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Evidence was read and does not hold.
    Fail,
    /// Could not be told. Never counts as a pass.
    Unknown,
    /// Would fail or be unknown, and a live waiver excuses it.
    Waived,
    /// Evidence was read and holds.
    Pass,
    /// A condition of the rule does not hold, or its subject is proven absent.
    NotApplicable,
}

impl Verdict {
    /// All, the ones that need a person first.
    pub const ALL: [Self; 5] =
        [Self::Fail, Self::Unknown, Self::Waived, Self::Pass, Self::NotApplicable];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::NotApplicable => "not-applicable",
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Waived => "waived",
        }
    }

    /// Whether it stays open until something changes: fail, unknown, waived.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Fail | Self::Unknown | Self::Waived => true,
            Self::NotApplicable | Self::Pass => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no verdict. At fault: the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown verdict: expected pass, fail, not-applicable, unknown or waived")]
pub struct UnknownVerdict;

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(text: &str) -> Result<Self, UnknownVerdict> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(UnknownVerdict)
    }
}

/// A rule held against the facts of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// The verdict.
    pub verdict: Verdict,
    /// The severity in this profile; certificates raise it as their end comes near.
    pub severity: Severity,
    /// What it is about within the node: a path, a key, a socket, a certificate; empty when the
    /// rule looks at the node as a whole. Rule and subject together identify a finding of a node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// What was looked at and compared.
    pub evidence: Evidence,
    /// Who excused it, until when, and the verdict without the waiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<AppliedWaiver>,
}

/// What a verdict rests on, as data; prose is a `Display` over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The fact: `kubelet.effective.authentication.anonymous.enabled`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fact: String,
    /// What was seen, at most 256 bytes: `true`, `0644 1000:0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub observed: String,
    /// Where it was seen: a file and line, a flag, a default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// What would pass: `at least 1`, `0600 or stricter, owned by 0:0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// Why the rule does not apply or could not be judged, or what a failure comes from:
    /// `6.1.0-31-amd64 -> 6.1.0-32-amd64, libc6`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The waiver behind a waived verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedWaiver {
    /// The verdict that it excuses.
    pub instead_of: Verdict,
    /// Who answers for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub until: Moment,
}

/// Everything that the judge said about one set of facts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// In order of rule and subject.
    pub findings: Vec<Finding>,
    /// The next moment at which the same facts would be judged differently: a certificate crosses
    /// a threshold, a waiver ends. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change_at: Option<Moment>,
}
