//! Processes: one walk over `/proc` per inspection, shared by every reader that needs it.

use palisade_report::Why;

/// The processes of the host, or why they cannot be seen.
#[derive(Clone, Debug)]
pub struct ProcessTable {
    /// Every visible process, by process id.
    pub processes: Result<Vec<Process>, Why>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id, as the inspected `/proc` numbers it.
    pub pid: u32,
    /// Its name, at most 15 bytes. Source: `/proc/PID/comm`.
    pub name: String,
    /// Its arguments, the program's name first; empty for kernel threads.
    /// Source: `/proc/PID/cmdline`, split at NUL.
    pub arguments: Vec<String>,
    /// Its executable as the link says, ` (deleted)` included; or why it is not known.
    /// Source: `/proc/PID/exe`.
    pub executable: Result<String, Why>,
    /// Effective user id. Source: `Uid` of `/proc/PID/status`.
    pub uid: u32,
}
