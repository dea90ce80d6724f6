//! Reboot: whether this machine needs one, by whose word, and what speaks against doing it now.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::reading::Reading;
use crate::reading::Why;

/// Facts about a pending reboot. Holds no times, counts of processes or process ids: those move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// The answer: any signal that says needed wins, else any mandatory unknown, else not needed.
    pub need: Need,
    /// The cheapest action that ends every reason.
    pub action: Action,
    /// Every reason, sorted and without duplicates.
    pub reasons: BTreeSet<Reason>,
    /// SHA-256 over the reasons' canonical bytes; absent without a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_digest: Option<Digest>,
    /// What each source said.
    pub signals: BTreeMap<Source, Signal>,
    /// Whether the package manager works right now or was interrupted.
    pub package_manager: Reading<PackageManager>,
}

/// The combined answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Need {
    /// At least one source gives a reason.
    Needed,
    /// Every mandatory source was read and none gives a reason.
    NotNeeded,
    /// No source gives a reason, and one that must be read was not.
    Unknown {
        /// Of the first source that could not be read.
        why: Why,
    },
}

/// What would end a reason, cheapest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing to do.
    #[default]
    None,
    /// Restart the services that still run old code.
    RestartServices,
    /// Restart user space, keep the kernel.
    SoftReboot,
    /// Boot another kernel without the firmware.
    Kexec,
    /// A reboot.
    Reboot,
}

/// A source of reboot signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `/run/reboot-required` with `.pkgs` (Debian, Ubuntu).
    DebianFlag,
    /// Executables or libraries of running processes were replaced.
    DeletedFiles,
    /// The running kernel against the installed ones.
    Kernel,
    /// Core packages installed after boot (RHEL family).
    RpmCore,
    /// `/run/reboot-needed` (SUSE).
    SuseFlag,
    /// A source named by a newer agent.
    #[serde(other)]
    Other,
}

/// What a source said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "kebab-case")]
pub enum Signal {
    /// A reason exists.
    Needed {
        /// Where it was seen.
        evidence: String,
    },
    /// Read, and no reason.
    NotNeeded {
        /// Where that was seen.
        evidence: String,
    },
    /// A flag older than this boot: left over, no reason.
    Stale {
        /// The flag and both moments' order.
        evidence: String,
    },
    /// Could not be told.
    Unknown {
        /// Why.
        why: Why,
    },
    /// This distribution does not have this source.
    Unused {
        /// How that is known.
        evidence: String,
    },
}

/// One reason for a reboot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// Who says so.
    pub source: Source,
    /// What changed: a package, a kernel, an executable.
    pub subject: String,
    /// The version that a reboot would bring, when it is known; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// What the package manager is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "doing", rename_all = "kebab-case")]
pub enum PackageManager {
    /// Holds its lock now.
    Active {
        /// Which lock.
        evidence: String,
    },
    /// Was interrupted: packages are unpacked but not configured.
    HalfDone {
        /// Their names, at most 32.
        packages: BTreeSet<String>,
    },
    /// Neither.
    Idle,
}
