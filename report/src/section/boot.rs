//! Boot: this one machine and this one boot. Differs on every node by nature.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

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
    /// With which rights the agent read this, and what they cost; nothing for captured trees and
    /// from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
}

/// How the agent is confined, as its processes find themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether reading and parsing are apart.
    pub mode: ConfinementMode,
    /// Why they are not, or what else is missing, and what that costs; empty if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<String>,
    /// The processes that take part: `agent` alone, or `parser` and `reader`.
    pub processes: BTreeMap<String, ProcessRights>,
    /// Version of the Landlock interface that is enforced on what parses; 0 if none is.
    pub landlock: u32,
    /// How paths are kept below the host's root: `openat2`, or `walk` where the kernel lacks it.
    pub resolver: String,
    /// Questions that the reader refused because nobody should ask them; a crash of a parser or an
    /// attack, as every reader asks only for what is on the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Kernel parameters that only uid 0 may read, with when they were read: once, at the start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read_once: BTreeMap<String, Moment>,
}

/// Whether reading and parsing are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfinementMode {
    /// One process reads and parses: who takes it over has all of its rights.
    Single,
    /// One process reads and does not parse, another parses and cannot read.
    Split,
}

/// What a process may do. Source: `/proc/self/status`, proc_pid_status(5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRights {
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities by name, `CAP_` left out, see capabilities(7).
    pub capabilities: BTreeSet<String>,
    /// What system calls are filtered by: `filter`, or `none`.
    pub seccomp: String,
    /// Whether it can gain rights by executing programs.
    pub no_new_privileges: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
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
