//! Which file a descriptor is: its metadata, its place below the root, and what shows a change.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::sys::stat::SFlag;
use palisade_inspect::FileKind;
use palisade_inspect::Metadata;
use palisade_report::Moment;

/// What tells one state of a file from the next without reading it.
///
/// A change of content, mode or owner moves the ctime, which no one can set back; a replaced file
/// has another inode; a link that points elsewhere resolves elsewhere. mtime is left out: it can be
/// set at will.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Last change of content or inode, in ns of Unix time.
    pub changed_at_ns: i128,
    /// Size in bytes.
    pub size: u64,
    /// The path below the root after every link.
    pub resolved: String,
}

impl Identity {
    pub(super) fn of(stat: &FileStat, resolved: &str) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed_at_ns: i128::from(stat.st_ctime) * 1_000_000_000
                + i128::from(stat.st_ctime_nsec),
            size: size(stat),
            resolved: resolved.to_owned(),
        }
    }
}

/// Whether two looks at one descriptor saw the same state.
pub(super) fn unchanged(before: &FileStat, after: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        (stat.st_size, stat.st_ctime, stat.st_ctime_nsec, stat.st_mtime, stat.st_mtime_nsec)
    };
    key(before) == key(after)
}

/// The file type bits.
pub(super) fn kind(stat: &FileStat) -> FileKind {
    let bits = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if bits == SFlag::S_IFREG {
        FileKind::Regular
    } else if bits == SFlag::S_IFDIR {
        FileKind::Directory
    } else if bits == SFlag::S_IFLNK {
        FileKind::Link
    } else {
        FileKind::Special
    }
}

/// The size; the kernel never reports a negative one.
pub(super) fn size(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

/// The facts about a file at `resolved`.
pub(super) fn metadata(stat: &FileStat, resolved: String) -> Metadata {
    Metadata {
        kind: kind(stat),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: size(stat),
        modified_at: Moment::from_unix(stat.st_mtime),
        resolved,
    }
}

/// The path of a descriptor as the kernel writes it, in the agent's own view.
pub(super) fn text_of(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let link = nix::fcntl::readlink(own(fd).as_str())?;
    Ok(link.to_string_lossy().into_owned())
}

/// The agent's own name for a descriptor; opening it opens the same file again.
pub(super) fn own(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
