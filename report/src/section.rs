//! The sections of a report, one file for each: what there is to know about a node.
//!
//! Facts that differ on every node (names, boot, certificates) sit in sections of their own, so
//! that the others are equal bytes across a node pool and are stored and judged once.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::reading::Why;

pub mod boot;
pub mod certificates;
pub mod files;
pub mod host;
pub mod kernel;
pub mod kubelet;
pub mod reboot;
pub mod sockets;
pub mod sysctls;
pub mod updates;

/// A section: its facts, or why the whole area could not be read.
///
/// Shape on the wire: the facts' own fields beside `"state":"known"`, or
/// `{"state":"unknown","why":{…}}`. A single unreadable fact is unknown inside a known section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Section<T> {
    /// The reader ran to its end.
    Known(T),
    /// The reader crashed, ran out of time, or may not read here at all.
    Unknown {
        /// Why nothing of this area is known.
        why: Why,
    },
}

impl<T> Section<T> {
    /// The facts, if the reader ran to its end.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::Unknown { .. } => None,
        }
    }
}

/// Whether equal bytes of a section may be expected on other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Facts of this one node. The collector says "known already" only to the node that sent it,
    /// so that no node can probe what another one has.
    PerNode,
    /// Facts that a node pool has in common; stored and judged once for all.
    Shared,
}

/// The name of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionName {
    /// This machine and this boot: names, boot id, moments, namespace proof.
    Boot,
    /// Certificates on disk and why each is watched.
    Certificates,
    /// Mode and owner of the paths that rules name.
    Files,
    /// Operating system, Kubernetes distribution, role, memory, mounts.
    Host,
    /// Running and installed kernels, parameters, modules, weaknesses of the CPU.
    Kernel,
    /// The kubelet's process and effective configuration.
    Kubelet,
    /// Whether a reboot is needed, and for which reasons.
    Reboot,
    /// Listening sockets.
    Sockets,
    /// Kernel parameters: running and after the next boot.
    Sysctls,
    /// Package manager and automatic updates.
    Updates,
}

impl SectionName {
    /// All sections, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Host,
        Self::Boot,
        Self::Kernel,
        Self::Reboot,
        Self::Sysctls,
        Self::Sockets,
        Self::Kubelet,
        Self::Certificates,
        Self::Files,
        Self::Updates,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Certificates => "certificates",
            Self::Files => "files",
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Kubelet => "kubelet",
            Self::Reboot => "reboot",
            Self::Sockets => "sockets",
            Self::Sysctls => "sysctls",
            Self::Updates => "updates",
        }
    }

    /// The version of this section's facts. It is part of the report's digest, so an agent with
    /// another schema never passes for one with the same.
    #[must_use]
    pub const fn schema(self) -> u16 {
        1
    }

    /// Whether other nodes may have the same bytes.
    #[must_use]
    pub const fn sharing(self) -> Sharing {
        match self {
            Self::Boot | Self::Certificates => Sharing::PerNode,
            Self::Files
            | Self::Host
            | Self::Kernel
            | Self::Kubelet
            | Self::Reboot
            | Self::Sockets
            | Self::Sysctls
            | Self::Updates => Sharing::Shared,
        }
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no section that this version knows. At fault: the peer or the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown section: expected one of host, boot, kernel, reboot, sysctls, sockets, kubelet, certificates, files, updates"
)]
pub struct UnknownSection;

impl FromStr for SectionName {
    type Err = UnknownSection;

    fn from_str(text: &str) -> Result<Self, UnknownSection> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(UnknownSection)
    }
}

impl Serialize for SectionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SectionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::id::parse_text(deserializer, "the name of a section")
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Off, disabled, inactive.
    Off,
    /// On, enabled, active.
    On,
}
