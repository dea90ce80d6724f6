//! What is inspected: a host that remembers, for each area, what was read of it.
//!
//! Either in this process ([`Local`](crate::memo)) or in another one that reads for this one
//! ([`Remote`](crate::reader)).

use std::fmt;
use std::time::Instant;

use palisade_inspect::Host;
use palisade_inspect::ReadError;
use palisade_report::WhyKind;

/// What an inspection reads under one deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    /// The table of processes, which is read each time and never remembered.
    Processes,
    /// The kubelet.
    Kubelet,
    /// The machine.
    Host,
    /// This boot.
    Boot,
    /// The kernel.
    Kernel,
    /// Updates of packages.
    Updates,
    /// Reasons for a reboot.
    Reboot,
    /// Kernel parameters.
    Sysctls,
    /// Listening sockets.
    Sockets,
    /// Certificates.
    Certificates,
    /// Modes and owners of files.
    Files,
}

impl Area {
    /// Every area, in the order in which they are read.
    pub(crate) const ALL: [Self; 11] = [
        Self::Processes,
        Self::Kubelet,
        Self::Host,
        Self::Boot,
        Self::Kernel,
        Self::Updates,
        Self::Reboot,
        Self::Sysctls,
        Self::Sockets,
        Self::Certificates,
        Self::Files,
    ];

    /// Its name, as in reports and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Kubelet => "kubelet",
            Self::Host => "host",
            Self::Boot => "boot",
            Self::Kernel => "kernel",
            Self::Updates => "updates",
            Self::Reboot => "reboot",
            Self::Sysctls => "sysctls",
            Self::Sockets => "sockets",
            Self::Certificates => "certificates",
            Self::Files => "files",
        }
    }
}

/// Fails once the deadline of an area has passed.
pub(crate) fn in_time(deadline: Option<Instant>, path: &str) -> Result<(), ReadError> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(ReadError::failed(
            path,
            WhyKind::OutOfTime,
            "the area's time was used up before this could be read",
        )),
        Some(_) | None => Ok(()),
    }
}

/// A host that remembers what was read of it.
pub(crate) trait Subject: Host + fmt::Debug + Send {
    /// Starts an inspection.
    fn turn(&self);

    /// From this moment on every reading fails with `out-of-time`; `None` lifts it.
    fn set_deadline(&self, deadline: Option<Instant>);

    /// What is asked from now on is for `area`; what was asked for it before is forgotten.
    fn begin(&self, area: Area);

    /// Whether every answer that was given for `area` would be the same now.
    fn holds(&self, area: Area) -> bool;
}
