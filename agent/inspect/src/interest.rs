//! What the rules in force want to know: the lists that decide how far readers look.

use std::collections::BTreeSet;

/// What to look at beyond what every inspection covers.
///
/// Filled by the agent from its rules and settings; readers never look at a path, key or module
/// that no rule, setting or component of the host names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Kernel parameters by key with dots.
    pub sysctls: BTreeSet<String>,
    /// Paths whose mode and owner matter. `*` and `?` match inside one component;
    /// `${kubelet.flags.NAME}` and `${kubelet.effective.FIELD}` stand for paths that the kubelet
    /// of this host names.
    pub files: BTreeSet<String>,
    /// Kernel modules whose state matters.
    pub modules: BTreeSet<String>,
    /// Mount points whose options matter.
    pub mounts: BTreeSet<String>,
    /// Further files with certificates, by pattern as in `files`.
    pub certificates: BTreeSet<String>,
}
