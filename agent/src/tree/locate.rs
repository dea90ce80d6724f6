//! From a path to a descriptor, with the root as the whole world: by `openat2`, or by a walk.
//!
//! Both ways give the same answers; the same test cases run against both. The walk is for kernels
//! before 5.6 and for seccomp profiles that do not know the call and answer EPERM or ENOSYS.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::OpenHow;
use nix::fcntl::ResolveFlag;
use nix::fcntl::openat2;
use nix::sys::stat::Mode;
use nix::sys::stat::fstat;
use nix::sys::statfs::PROC_SUPER_MAGIC;
use nix::sys::statfs::fstatfs;
use palisade_inspect::FileKind;

use super::identity;

/// How files are opened for reading: never waiting, never becoming a controlling terminal.
pub(super) const READ_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// Tries when a rename raced with `..` in the path: openat2(2) asks the caller to try again.
const MAX_RACES: u32 = 8;

/// Links that one path may lead over, as the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Components that one walk may take, links included: a path has at most 4096 bytes, so 2048; a
/// few links of that length on top are more than any host has.
const MAX_STEPS: usize = 8192;

/// Inode number of the top directory of a procfs (`PROC_ROOT_INO`).
const PROC_ROOT_INODE: u64 = 1;

/// How paths are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the kernel, openat2(2).
    Openat2,
    /// Component by component.
    Walk,
}

/// Whether `openat2` works here: tried once, on the root itself.
pub(super) fn probe(root: BorrowedFd<'_>) -> Way {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root, ".", how) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::E2BIG | Errno::EINVAL) => Way::Walk,
        Ok(_) | Err(_) => Way::Openat2,
    }
}

/// Opens `path` below `root` with `flags`, which hold `O_PATH` or `O_DIRECTORY`, so that nothing
/// but a directory is ever opened for reading here.
pub(super) fn locate(
    root: BorrowedFd<'_>,
    way: Way,
    path: &str,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    match way {
        Way::Openat2 => by_openat2(root, path, flags),
        Way::Walk => Walk { root, at: Vec::new(), links: 0 }.open(path, flags),
    }
}

fn by_openat2(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = match path.trim_start_matches('/') {
        "" => ".",
        below => below,
    };
    let scoped = ResolveFlag::RESOLVE_IN_ROOT;
    let how = |resolve| OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    for _ in 0..MAX_RACES {
        match openat2(root, path, how(scoped | ResolveFlag::RESOLVE_NO_MAGICLINKS)) {
            Err(Errno::EAGAIN) => {}
            // A magic link gives ELOOP as a loop does; without the flag it gives EXDEV instead.
            Err(Errno::ELOOP) => {
                return Err(openat2(root, path, how(scoped)).err().unwrap_or(Errno::ELOOP));
            }
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}

/// A walk: the directories between the root and where it stands, so that `..` needs no kernel.
struct Walk<'root> {
    root: BorrowedFd<'root>,
    at: Vec<OwnedFd>,
    links: usize,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.at.last().map_or(self.root, AsFd::as_fd)
    }

    fn open(mut self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let mut todo = split(path);
        let must_be_directory = path.ends_with('/') || path.ends_with("/.");
        for _ in 0..MAX_STEPS {
            let Some(part) = todo.pop() else { return self.finish(flags) };
            if part == ".." {
                self.at.pop();
                continue;
            }
            let step = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let next = nix::fcntl::openat(self.here(), part.as_str(), step, Mode::empty())?;
            let stat = fstat(&next)?;
            let last = todo.is_empty();
            match identity::kind(&stat) {
                FileKind::Link
                    if last && !must_be_directory && flags.contains(OFlag::O_NOFOLLOW) =>
                {
                    return Ok(next);
                }
                FileKind::Link => self.follow(&next, &mut todo)?,
                FileKind::Directory => self.at.push(next),
                FileKind::Regular | FileKind::Special if last && !must_be_directory => {
                    if flags.contains(OFlag::O_DIRECTORY) {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(next);
                }
                FileKind::Regular | FileKind::Special => return Err(Errno::ENOTDIR),
            }
        }
        Err(Errno::ELOOP)
    }

    /// Puts the components of a link before what remains to be walked.
    fn follow(&mut self, link: &OwnedFd, todo: &mut Vec<String>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        // Links of a procfs below its top directory lead to wherever a process has something open.
        if fstatfs(self.here())?.filesystem_type() == PROC_SUPER_MAGIC
            && fstat(self.here())?.st_ino != PROC_ROOT_INODE
        {
            return Err(Errno::EXDEV);
        }
        let target = nix::fcntl::readlinkat(link, "")?;
        let target = target.to_str().ok_or(Errno::EILSEQ)?;
        if target.starts_with('/') {
            self.at.clear();
        }
        todo.extend(split(target));
        Ok(())
    }

    /// Opens where the walk stands, a directory, with the wanted flags.
    fn finish(self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags.difference(OFlag::O_NOFOLLOW) | OFlag::O_CLOEXEC;
        nix::fcntl::openat(self.here(), ".", flags, Mode::empty())
    }
}

/// The components of a path, last first, so that `pop` takes them in order.
fn split(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
}
