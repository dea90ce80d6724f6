//! The host as readers see it: a tree of files below one root, and two questions to the kernel.
//!
//! Paths are absolute and name places below the host's root: `/etc/os-release`, `/proc/1/comm`.
//! The shell implements this with `openat2`; tests with [`MemoryHost`](crate::MemoryHost).

use palisade_report::Moment;
use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Confinement;
use palisade_report::section::sockets::Protocol;

/// Largest configuration file that is read, in bytes.
pub const MAX_CONFIG: usize = 1024 * 1024;

/// Largest file of `/proc` or `/sys` that is read, in bytes, unless a reader says otherwise.
pub const MAX_PROC: usize = 256 * 1024;

/// Most entries of a directory that are listed.
pub const MAX_ENTRIES: usize = 10_000;

/// A host that can be read.
///
/// Every path is resolved inside the root: absolute links and `..` never leave it, magic links are
/// not followed. Nothing here blocks on a FIFO, opens a device, or reads past its limit.
pub trait Host {
    /// Whether this is a running machine or a captured tree.
    fn nature(&self) -> Nature;

    /// Hands the bytes of a regular file to `sink`, piece by piece, links followed.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when nothing is there; [`ReadError::Failed`] when it is not a
    /// regular file, has more than `limit` bytes (`too-large`, also for files of `/proc` that
    /// claim size 0), may not be read, changed while being read, or the area's time is used up.
    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError>;

    /// The bytes of a regular file, links followed.
    ///
    /// # Errors
    /// As [`Host::read_with`].
    fn read(&self, path: &str, limit: usize) -> Result<Contents, ReadError> {
        let mut bytes = Vec::new();
        let metadata = self.read_with(path, limit, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(Contents { bytes, metadata })
    }

    /// What is at `path`, links followed.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], also for a dangling link; [`ReadError::Failed`] otherwise.
    fn metadata(&self, path: &str) -> Result<Metadata, ReadError>;

    /// What is at `path` itself, the last component not followed: a link is [`FileKind::Link`].
    ///
    /// # Errors
    /// As [`Host::metadata`].
    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError>;

    /// The text of the link at `path`, as it stands. Also for links of `/proc` (`exe`, `ns/net`).
    ///
    /// # Errors
    /// [`ReadError::Failed`] with `not-regular` when it is no link or not UTF-8.
    fn read_link(&self, path: &str) -> Result<String, ReadError>;

    /// The entries of a directory in ascending order of names, without `.` and `..`. Names that
    /// are not UTF-8 are left out.
    ///
    /// # Errors
    /// [`ReadError::Failed`] with `too-large` above `limit` entries.
    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError>;

    /// The answer of sock_diag(7) to a dump of listening sockets (TCP in LISTEN, UDP in CLOSE) in
    /// the host's network namespace, IPv4 and IPv6: concatenated `nlmsghdr` messages as received.
    ///
    /// # Errors
    /// [`ReadError::Failed`] with `unsupported` for captured trees, `wrong-namespace` when the
    /// caller is not in the host's network namespace; readers then use `/proc/1/net`.
    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError>;

    /// Whether somebody holds a write lock (`F_GETLK`, fcntl(2)) on the file at `path`.
    ///
    /// # Errors
    /// As [`Host::metadata`]; `unsupported` for captured trees.
    fn write_locked(&self, path: &str) -> Result<bool, ReadError>;

    /// Whether the root of process `pid` (the magic link `/proc/PID/root`, proc_pid_root(5)) is
    /// the inspected root: same device and inode. `None` asks about the calling process.
    ///
    /// # Errors
    /// [`ReadError::Failed`] with `permission-denied` without the right to follow that link (it
    /// needs CAP_SYS_PTRACE), `unsupported` for captured trees and hosts that cannot tell.
    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let path = format!("/proc/{pid}/root");
        Err(ReadError::failed(&path, WhyKind::Unsupported, "this host does not compare roots"))
    }

    /// With which rights this host is read; nothing for captured trees.
    fn confinement(&self) -> Option<Confinement> {
        None
    }
}

/// Whether a host is a running machine or a captured tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A directory that was filled from a machine; its `/proc` holds plain files.
    Captured,
    /// A running machine, read by a process on it.
    Live,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits: `st_mode & 0o7777`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Size in bytes; 0 for most files of `/proc`.
    pub size: u64,
    /// When its content was last written.
    pub modified_at: Moment,
    /// The path below the root after every link, `..` and doubled slash is resolved.
    pub resolved: String,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link, not followed.
    Link,
    /// A regular file.
    Regular,
    /// A device, socket or FIFO.
    Special,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// What it was when it was read.
    pub metadata: Metadata,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, without a slash.
    pub name: String,
    /// What it is; links are not followed.
    pub kind: EntryKind,
}

/// What a directory entry is, as getdents64(2) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A regular file, or one whose kind the file system does not tell.
    Regular,
    /// A device, socket or FIFO.
    Special,
}

/// Why a path could not be read. At fault: the node, or the right that the agent lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing is there, and the directory above could be searched.
    #[error("{path} does not exist")]
    NotFound {
        /// The path below the host's root.
        path: String,
    },
    /// It could not be told what is there.
    #[error("failed to read {path}: {why}")]
    Failed {
        /// The path below the host's root.
        path: String,
        /// Why.
        why: Why,
    },
}

impl ReadError {
    /// A failure of this kind on `path`, in these words.
    #[must_use]
    pub fn failed(path: &str, kind: WhyKind, detail: impl AsRef<str>) -> Self {
        Self::Failed { path: path.to_owned(), why: Why::new(kind, detail) }
    }

    /// The reading that this error stands for: absent if nothing is there, else unknown.
    #[must_use]
    pub fn reading<T>(self) -> Reading<T> {
        match self {
            Self::NotFound { path } => Reading::absent(Origin::path(&path)),
            Self::Failed { path, why } => Reading::unknown(why, Origin::path(&path)),
        }
    }

    /// The same as a reason, for facts in which absence is not an answer.
    #[must_use]
    pub fn why(self) -> Why {
        match self {
            Self::NotFound { path } => {
                Why::new(WhyKind::MissingSource, format!("{path} does not exist"))
            }
            Self::Failed { why, .. } => why,
        }
    }

    /// Whether the area has used up its time, so that a reader with a loop should stop.
    #[must_use]
    pub fn is_out_of_time(&self) -> bool {
        matches!(self, Self::Failed { why, .. } if why.kind == WhyKind::OutOfTime)
    }
}
