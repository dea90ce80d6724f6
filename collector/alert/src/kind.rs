//! The alerts that there are. Their words and times are data.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// Before each name on the wire, so that names of others stay free.
pub const PREFIX: &str = "Palisade";

/// An alert that there is. Names are API: one is never renamed, and never used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// An agent is older than the collector supports well.
    AgentOutdated,
    /// A node reports no more.
    AgentSilent,
    /// The newest settings of alerts, or a secret that they name, cannot be used.
    AlertConfigRefused,
    /// An authority comes near its end.
    CertificateAuthorityExpiring,
    /// A certificate has ended.
    CertificateExpired,
    /// A certificate comes near its end.
    CertificateExpiring,
    /// A certificate or its key is not what it should be.
    CertificateInvalid,
    /// A certificate that something names is not there or cannot be read.
    CertificateMissing,
    /// A certificate was renewed and the old one is still in use.
    CertificateNotEffective,
    /// A certificate that renews itself does not.
    CertificateRotationStuck,
    /// A node was claimed and never cordoned.
    ClaimStuck,
    /// The clock of a node is off.
    ClockSkew,
    /// The collector's own certificate or authority comes near its end.
    CollectorCertificateExpiring,
    /// No collector answers; only Prometheus can say so.
    CollectorDown,
    /// A cordon cannot be set.
    CordonFailed,
    /// Critical findings are open, somewhere; only Prometheus says it like that.
    CriticalFinding,
    /// Drains of a node were rolled back again and again.
    DrainBackoff,
    /// A drain was given up.
    DrainFailed,
    /// A drain takes long.
    DrainSlow,
    /// The collector looks at its alerts no more; only Prometheus can say so.
    EvaluationStale,
    /// A node does not use its permission to reboot.
    GrantNotConsumed,
    /// Checks of a node cannot be evaluated.
    HardeningCheckErrors,
    /// A check passed before and fails now.
    HardeningRegressed,
    /// So many nodes are silent that it is hardly the nodes.
    ManyAgentsSilent,
    /// A node did not come back from its reboot.
    NodeNotReturned,
    /// A node came back, and not as it should.
    NodeQuarantined,
    /// A node of the cluster has never reported.
    NodeUnmonitored,
    /// A receiver gets nothing.
    NotifierFailing,
    /// A node must reboot and something does not let it.
    RebootBlocked,
    /// A node would not survive a reboot: its client certificate ends too soon.
    RebootBlockedByCertificate,
    /// The call to reboot did nothing.
    RebootCommandFailed,
    /// The moment by which a node should have rebooted is over.
    RebootOverdue,
    /// Another policy of reboots brings about what no node did.
    RebootPolicyChanged,
    /// A node must reboot.
    RebootRequired,
    /// Whether a node must reboot cannot be told.
    RebootSignalUnknown,
    /// A node could reboot and it is never its turn.
    RebootStarved,
    /// The API server does not say who asks; only Prometheus is told by figures.
    ReviewsFail,
    /// What was done for a reboot cannot be undone.
    RollbackFailed,
    /// A pool goes on no more.
    RolloutHalted,
    /// Other rules or waivers bring about what no node did.
    RulesChanged,
    /// Evidence of an attack, or of a bug that looks like one.
    SecurityFinding,
    /// The collector's store takes no writes.
    StoreDegraded,
    /// The cordon of a node cannot be taken back.
    UncordonFailed,
    /// A node rebooted and nobody here asked for it.
    UnplannedReboot,
    /// Always fires, so that its silence is heard.
    Watchdog,
}

impl Kind {
    /// All, in the order of their names.
    pub const ALL: [Self; 45] = [
        Self::AgentOutdated,
        Self::AgentSilent,
        Self::AlertConfigRefused,
        Self::CertificateAuthorityExpiring,
        Self::CertificateExpired,
        Self::CertificateExpiring,
        Self::CertificateInvalid,
        Self::CertificateMissing,
        Self::CertificateNotEffective,
        Self::CertificateRotationStuck,
        Self::ClaimStuck,
        Self::ClockSkew,
        Self::CollectorCertificateExpiring,
        Self::CollectorDown,
        Self::CordonFailed,
        Self::CriticalFinding,
        Self::DrainBackoff,
        Self::DrainFailed,
        Self::DrainSlow,
        Self::EvaluationStale,
        Self::GrantNotConsumed,
        Self::HardeningCheckErrors,
        Self::HardeningRegressed,
        Self::ManyAgentsSilent,
        Self::NodeNotReturned,
        Self::NodeQuarantined,
        Self::NodeUnmonitored,
        Self::NotifierFailing,
        Self::RebootBlocked,
        Self::RebootBlockedByCertificate,
        Self::RebootCommandFailed,
        Self::RebootOverdue,
        Self::RebootPolicyChanged,
        Self::RebootRequired,
        Self::RebootSignalUnknown,
        Self::RebootStarved,
        Self::ReviewsFail,
        Self::RollbackFailed,
        Self::RolloutHalted,
        Self::RulesChanged,
        Self::SecurityFinding,
        Self::StoreDegraded,
        Self::UncordonFailed,
        Self::UnplannedReboot,
        Self::Watchdog,
    ];

    /// The name without its prefix, as settings and queries have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentOutdated => "AgentOutdated",
            Self::AgentSilent => "AgentSilent",
            Self::AlertConfigRefused => "AlertConfigRefused",
            Self::CertificateAuthorityExpiring => "CertificateAuthorityExpiring",
            Self::CertificateExpired => "CertificateExpired",
            Self::CertificateExpiring => "CertificateExpiring",
            Self::CertificateInvalid => "CertificateInvalid",
            Self::CertificateMissing => "CertificateMissing",
            Self::CertificateNotEffective => "CertificateNotEffective",
            Self::CertificateRotationStuck => "CertificateRotationStuck",
            Self::ClaimStuck => "ClaimStuck",
            Self::ClockSkew => "ClockSkew",
            Self::CollectorCertificateExpiring => "CollectorCertificateExpiring",
            Self::CollectorDown => "CollectorDown",
            Self::CordonFailed => "CordonFailed",
            Self::CriticalFinding => "CriticalFinding",
            Self::DrainBackoff => "DrainBackoff",
            Self::DrainFailed => "DrainFailed",
            Self::DrainSlow => "DrainSlow",
            Self::EvaluationStale => "EvaluationStale",
            Self::GrantNotConsumed => "GrantNotConsumed",
            Self::HardeningCheckErrors => "HardeningCheckErrors",
            Self::HardeningRegressed => "HardeningRegressed",
            Self::ManyAgentsSilent => "ManyAgentsSilent",
            Self::NodeNotReturned => "NodeNotReturned",
            Self::NodeQuarantined => "NodeQuarantined",
            Self::NodeUnmonitored => "NodeUnmonitored",
            Self::NotifierFailing => "NotifierFailing",
            Self::RebootBlocked => "RebootBlocked",
            Self::RebootBlockedByCertificate => "RebootBlockedByCertificate",
            Self::RebootCommandFailed => "RebootCommandFailed",
            Self::RebootOverdue => "RebootOverdue",
            Self::RebootPolicyChanged => "RebootPolicyChanged",
            Self::RebootRequired => "RebootRequired",
            Self::RebootSignalUnknown => "RebootSignalUnknown",
            Self::RebootStarved => "RebootStarved",
            Self::ReviewsFail => "ReviewsFail",
            Self::RollbackFailed => "RollbackFailed",
            Self::RolloutHalted => "RolloutHalted",
            Self::RulesChanged => "RulesChanged",
            Self::SecurityFinding => "SecurityFinding",
            Self::StoreDegraded => "StoreDegraded",
            Self::UncordonFailed => "UncordonFailed",
            Self::UnplannedReboot => "UnplannedReboot",
            Self::Watchdog => "Watchdog",
        }
    }

    /// The label `alertname`.
    #[must_use]
    pub fn alertname(self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no alert. At fault: the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no alert of this name; `GET /v1/alerts/catalogue` lists them")]
pub struct UnknownKind;

/// With or without [`PREFIX`].
impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        Self::ALL.into_iter().find(|it| it.as_str() == bare).ok_or(UnknownKind)
    }
}
