//! Updates: the package manager, and who else may change or reboot this machine.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::Switch;
use crate::reading::Reading;

/// Facts about packages and automatic updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updates {
    /// Which package database this host has; absent on image-based systems.
    pub manager: Reading<Manager>,
    /// Versions of the installed packages that node rules and people ask about (kernel, libc,
    /// systemd, openssl, kubelet, container runtime, ssh).
    pub packages: Reading<BTreeMap<String, String>>,
    /// Whether updates install themselves.
    /// Source: `APT::Periodic::Unattended-Upgrade`, dnf-automatic's timer and configuration.
    pub automatic: Reading<Switch>,
    /// Whether the update service reboots on its own: a second reboot master.
    /// Source: `Unattended-Upgrade::Automatic-Reboot`, `reboot` of dnf-automatic's configuration.
    pub automatic_reboot: Reading<Switch>,
    /// Repositories without signature checks, by file; empty is good.
    /// Source: sources.list(5) `trusted=yes`, yum.conf(5) `gpgcheck=0`.
    pub unsigned_repositories: Reading<Vec<String>>,
}

/// A package database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Alpine's.
    Apk,
    /// Debian's.
    Dpkg,
    /// Red Hat's and SUSE's.
    Rpm,
    /// One named by a newer agent.
    #[serde(other)]
    Other,
}
