//! Boot: this one machine and this one boot. Differs on every node by nature.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::id::BootId;
use crate::reading::Reading;
use crate::time::Moment;

/// Facts about this one machine and boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The host's name. Source: `/proc/sys/kernel/hostname`.
    pub hostname: Reading<String>,
    /// The boot id. Source: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Reading<BootId>,
    /// When the kernel started. Source: `btime` of `/proc/stat`; moves only if the clock is stepped.
    pub booted_at: Reading<Moment>,
    /// The whole kernel command line, with the identifiers that `kernel` masks.
    /// Source: `/proc/cmdline`.
    pub command_line: Reading<String>,
    /// When the reboot flag was last written; absent without a flag. Source: its mtime.
    pub reboot_flag_written_at: Reading<Moment>,
    /// Names and addresses given to the kubelet for this node: `hostname-override`, `node-ip`,
    /// `provider-id`.
    pub kubelet_identity: Reading<BTreeMap<String, String>>,
    /// For each kind of namespace, whether the agent reads in the host's.
    pub namespaces: BTreeMap<NamespaceKind, Proof>,
}

/// A kind of namespace on which readings depend, see namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceKind {
    /// Mounts: whether the inspected root is PID 1's root.
    Mount,
    /// Network: sockets and net sysctls.
    Network,
    /// Process ids: processes, `kernel.pid_max`.
    Pid,
    /// Users and capabilities: what uid 0 means.
    User,
}

/// Whether readings are made in the host's namespace of a kind, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Proof {
    /// The root is a captured tree: its files say what the host's namespaces held.
    Captured,
    /// Proven not to be the host's.
    Foreign {
        /// What was compared.
        evidence: String,
    },
    /// Proven to be the host's.
    Host {
        /// What was compared.
        evidence: String,
    },
    /// Neither could be proven.
    Unproven {
        /// What was tried and what would help.
        evidence: String,
    },
}

impl Proof {
    /// Why a reading that depends on this namespace cannot be trusted; `None` if it can.
    #[must_use]
    pub fn distrust(&self) -> Option<&str> {
        match self {
            Self::Captured | Self::Host { .. } => None,
            Self::Foreign { evidence } | Self::Unproven { evidence } => Some(evidence),
        }
    }
}
