//! The short way to files of `/proc` and `/sys`: thousands of small reads in each inspection.
//!
//! Neither file system holds devices or FIFOs, so below a descriptor that is proven to be procfs or
//! sysfs a path without links and mounts may be opened at once. Whatever meets a link or a mount
//! takes the long way. Files there have no stable size or times, so they are not compared.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::OpenHow;
use nix::fcntl::ResolveFlag;
use nix::fcntl::openat2;
use nix::sys::stat::FileStat;
use nix::sys::stat::Mode;
use nix::sys::stat::fstat;
use nix::sys::statfs::FsType;
use nix::sys::statfs::PROC_SUPER_MAGIC;
use nix::sys::statfs::SYSFS_MAGIC;
use nix::sys::statfs::fstatfs;

use super::locate;
use super::locate::Way;

/// Descriptors of the root's `/proc` and `/sys`, where they are what their names say.
#[derive(Debug)]
pub(super) struct KernelFs {
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    short_way: bool,
}

impl KernelFs {
    /// Looks below `root`.
    pub(super) fn below(root: BorrowedFd<'_>, way: Way) -> Self {
        let open = |name: &str, magic: FsType| {
            let fd = locate::locate(root, way, name, OFlag::O_PATH | OFlag::O_DIRECTORY).ok()?;
            let found = fstatfs(fd.as_fd()).ok()?;
            (found.filesystem_type() == magic).then_some(fd)
        };
        Self {
            proc: open("/proc", PROC_SUPER_MAGIC),
            sys: open("/sys", SYSFS_MAGIC),
            short_way: way == Way::Openat2,
        }
    }

    /// Whether the root's `/proc` is a procfs, that is, whether the machine is running.
    pub(super) const fn has_proc(&self) -> bool {
        self.proc.is_some()
    }

    /// What the root of a process is, by following the magic link `/proc/PID/root`. Nothing is ever
    /// read through it.
    pub(super) fn root_of(&self, pid: u32) -> Result<FileStat, Errno> {
        let proc = self.proc.as_ref().ok_or(Errno::ENOENT)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        fstat(nix::fcntl::openat(proc, format!("{pid}/root").as_str(), flags, Mode::empty())?)
    }

    /// Opens a file for reading by the short way; `None` when the long way must decide.
    pub(super) fn open(&self, path: &str) -> Option<Result<OwnedFd, Errno>> {
        if !self.short_way || !is_plain(path) {
            return None;
        }
        let (top, rest) = match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
            (Some(rest), _) => (self.proc.as_ref()?, rest),
            (None, Some(rest)) => (self.sys.as_ref()?, rest),
            (None, None) => return None,
        };
        let how = OpenHow::new().flags(locate::READ_FLAGS).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
        match openat2(top, rest, how) {
            Err(Errno::ELOOP | Errno::EXDEV | Errno::EAGAIN) => None,
            opened => Some(opened),
        }
    }

    /// The text of a link of one process (`/proc/7/exe`, `/proc/7/ns/net`, `/proc/7/fd/3`) in one
    /// call; `None` for any other path. Between the numbered directory and these links there are
    /// only directories.
    pub(super) fn process_link(&self, path: &str) -> Option<Result<std::ffi::OsString, Errno>> {
        let rest = path.strip_prefix("/proc/")?;
        let mut parts = rest.split('/');
        let (pid, first, second) = (parts.next()?, parts.next()?, parts.next());
        let numbered = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let fits = numbered(pid)
            && match (first, second) {
                ("exe" | "root" | "cwd", None) => true,
                ("fd", Some(number)) => numbered(number),
                ("ns", Some(name)) => name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                (_, _) => false,
            }
            && parts.next().is_none();
        if !fits {
            return None;
        }
        Some(nix::fcntl::readlinkat(self.proc.as_ref()?, rest))
    }
}

/// Whether a path has no empty, `.` or `..` component, so that it is its own resolved form.
fn is_plain(path: &str) -> bool {
    path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
}
