//! Sysctls: kernel parameters now, and after the next boot.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::reading::Reading;

/// Kernel parameters by key with dots: `kernel.kptr_restrict`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctls {
    /// Those that rules name.
    pub keys: BTreeMap<String, Sysctl>,
}

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// The value now, white space between numbers folded to one space. Absent: the kernel has no
    /// such key (too old, module not loaded, feature off). Source: `/proc/sys`.
    pub running: Reading<String>,
    /// The value that a file or the command line sets at the next boot, with that file and line.
    /// Absent: none sets it, so the kernel's own default returns. A prediction: services may
    /// write again. Source: sysctl.d(5), systemd-sysctl.service(8).
    pub next_boot: Reading<String>,
}
