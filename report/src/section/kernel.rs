//! Kernel: what runs, what would boot, and what holds it together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::Switch;
use crate::reading::Reading;

/// Facts about the running and the installed kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The release that runs: `6.1.0-50-amd64`. Source: `/proc/sys/kernel/osrelease`.
    pub release: Reading<String>,
    /// The build that runs: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-06-01)`.
    /// Source: `/proc/sys/kernel/version`.
    pub build: Reading<String>,
    /// Every installed kernel, oldest first by version order.
    /// Source: `/lib/modules`, `/usr/lib/modules`, `/boot`.
    pub installed: Reading<Vec<InstalledKernel>>,
    /// The newest installed release of the running flavour; absent if none is installed.
    pub newest: Reading<String>,
    /// The release that the boot loader starts by default.
    /// Source: `/boot/grub/grub.cfg` with grubenv, or `/boot/loader`.
    pub boot_default: Reading<String>,
    /// Words of the running command line up to `--` (what follows is for PID 1); values that
    /// identify one machine or are secret are `*`. Source: `/proc/cmdline`.
    pub parameters: Reading<Vec<String>>,
    /// State of the modules that rules name, each with the file that says so.
    pub modules: Reading<BTreeMap<String, Reading<ModuleState>>>,
    /// Set bits of the taint mask by number. Source: `/proc/sys/kernel/tainted`.
    pub taint: Reading<BTreeSet<u8>>,
    /// The kernel's own words on each weakness of the CPU.
    /// Source: `/sys/devices/system/cpu/vulnerabilities`.
    pub vulnerabilities: Reading<BTreeMap<String, String>>,
    /// Whether threads share cores. Source: `/sys/devices/system/cpu/smt/active`.
    pub smt: Reading<Switch>,
    /// `none`, `integrity` or `confidentiality`. Source: `/sys/kernel/security/lockdown`.
    pub lockdown: Reading<String>,
    /// Active security modules in order. Source: `/sys/kernel/security/lsm`.
    pub lsm: Reading<Vec<String>>,
    /// Whether AppArmor is enabled. Source: `/sys/module/apparmor/parameters/enabled`.
    pub apparmor: Reading<Switch>,
    /// Whether SELinux enforces. Source: `/sys/fs/selinux/enforce`.
    pub selinux_enforcing: Reading<Switch>,
    /// Live patches and whether each has taken effect. Source: `/sys/kernel/livepatch`.
    pub livepatch: Reading<Vec<Livepatch>>,
    /// Whether only signed modules load. Source: `/sys/module/module/parameters/sig_enforce`.
    pub module_signatures: Reading<Switch>,
    /// UEFI Secure Boot; absent without UEFI. Source: efivar `SecureBoot-*`, 5th byte.
    pub secure_boot: Reading<Switch>,
}

/// A kernel that is installed, at least in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledKernel {
    /// Its release.
    pub release: String,
    /// What of it is there; without an image it cannot boot.
    pub parts: BTreeSet<KernelPart>,
}

/// A part of an installed kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelPart {
    /// `vmlinuz` below `/boot` or the modules directory.
    Image,
    /// An initial RAM disk below `/boot`.
    Initrd,
    /// A modules directory that holds `modules.dep`.
    Modules,
}

/// Whether a module is in the kernel, or could get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleState {
    /// Not loaded, and `install NAME /bin/false` (or true), see modprobe.d(5), or the parameter
    /// `module_blacklist` forbids it.
    Blocked,
    /// Compiled into the running kernel. Source: `modules.builtin`.
    BuiltIn,
    /// Not loaded, but the running kernel has it and nothing forbids it.
    Loadable,
    /// Loaded now. Source: `/proc/modules`.
    Loaded,
    /// The running kernel does not have it.
    Missing,
}

/// A live patch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Livepatch {
    /// Its name.
    pub name: String,
    /// Enabled at all.
    pub enabled: Switch,
    /// Still moving tasks over; in effect only once this is off.
    pub transition: Switch,
}
