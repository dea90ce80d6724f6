//! Reading what a path leads to: bytes of regular files, texts of links, entries, locks.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::fcntl::FcntlArg;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::FileStat;
use nix::sys::stat::Mode;
use nix::sys::stat::fstat;
use palisade_inspect::FileKind;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_inspect::host::EntryKind;
use palisade_report::WhyKind;

use super::Tree;
use super::error::failed;
use super::identity;
use super::locate;

/// Bytes asked of the kernel in one read. Files up to this size are handed on only after they are
/// proven unchanged; larger ones in pieces.
const PIECE: usize = 64 * 1024;

/// Tries of a file that changed while it was read.
const MAX_TRIES: u32 = 2;

/// What came of one attempt at reading a file.
enum Attempt {
    Changed,
    Read(FileStat),
}

impl Tree {
    /// A reference to what is at `path`, and what it is.
    pub(super) fn located(
        &self,
        path: &str,
        extra: OFlag,
    ) -> Result<(OwnedFd, FileStat), ReadError> {
        let fd = locate::locate(self.root.as_fd(), self.way, path, OFlag::O_PATH | extra)
            .map_err(|errno| failed(path, "open", errno))?;
        let stat = fstat(&fd).map_err(|errno| failed(path, "look at", errno))?;
        Ok((fd, stat))
    }

    /// The path of a descriptor below the root.
    pub(super) fn resolved(&self, path: &str, fd: BorrowedFd<'_>) -> Result<String, ReadError> {
        let text = |fd| identity::text_of(fd).map_err(|errno| failed(path, "resolve", errno));
        let (at, root) = (text(fd)?, text(self.root.as_fd())?);
        let below = match root.as_str() {
            "/" => Some(at.as_str()),
            root => at.strip_prefix(root),
        };
        match below {
            Some("") => Ok("/".to_owned()),
            Some(below) if below.starts_with('/') => Ok(below.to_owned()),
            Some(_) | None => {
                let detail = format!("{path} was moved out of the root while it was read");
                Err(ReadError::failed(path, WhyKind::OutsideRoot, detail))
            }
        }
    }

    pub(super) fn read_file(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        if let Some(opened) = self.kernel_fs.open(path) {
            let fd = opened.map_err(|errno| failed(path, "open", errno))?;
            let stat = fstat(&fd).map_err(|errno| failed(path, "look at", errno))?;
            self.regular(path, &stat)?;
            self.pour(path, &fd, limit, sink, || Ok(true))?;
            return Ok(identity::metadata(&stat, path.to_owned()));
        }
        for _ in 0..MAX_TRIES {
            let (fd, stat) = self.located(path, OFlag::empty())?;
            self.regular(path, &stat)?;
            if identity::size(&stat) > limit as u64 {
                return Err(too_large(path, limit));
            }
            let resolved = self.resolved(path, fd.as_fd())?;
            match self.attempt(path, &fd, limit, sink)? {
                Attempt::Read(stat) => return Ok(identity::metadata(&stat, resolved)),
                Attempt::Changed => {}
            }
        }
        Err(unstable(path))
    }

    /// Reads a located regular file once.
    fn attempt(
        &self,
        path: &str,
        located: &OwnedFd,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Attempt, ReadError> {
        let own = identity::own(located.as_fd());
        let fd = nix::fcntl::open(own.as_str(), locate::READ_FLAGS, Mode::empty())
            .map_err(|errno| failed(path, "read", errno))?;
        let look = || fstat(&fd).map_err(|errno| failed(path, "look at", errno));
        let before = look()?;
        let same = || Ok(identity::unchanged(&before, &look()?));
        Ok(match self.pour(path, &fd, limit, sink, same)? {
            true => Attempt::Read(before),
            false => Attempt::Changed,
        })
    }

    /// Hands all bytes of `fd` to `sink`; whether they are of one state, which `same` tells at the
    /// end. `false` only if nothing was handed on, so that the caller may try again.
    fn pour(
        &self,
        path: &str,
        fd: &OwnedFd,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
        same: impl Fn() -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        let mut buffer = self.buffer.take();
        buffer.resize(PIECE, 0);
        let outcome = self.pour_through(&mut buffer, path, fd, limit, sink, same);
        // A reader that reads inside its own sink works with a buffer of its own meanwhile.
        self.buffer.replace(buffer);
        outcome
    }

    fn pour_through(
        &self,
        buffer: &mut [u8],
        path: &str,
        fd: &OwnedFd,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
        same: impl Fn() -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        let mut total = 0_usize;
        let mut filled = 0_usize;
        let mut handed_on = false;
        loop {
            if filled == buffer.len() {
                self.in_time(path)?;
                sink(buffer);
                handed_on = true;
                filled = 0;
            }
            let room = buffer.get_mut(filled..).unwrap_or_default();
            let count = match nix::unistd::read(fd, room) {
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed(path, "read", errno)),
                Ok(count) => count,
            };
            if count == 0 {
                break;
            }
            filled = filled.saturating_add(count);
            total = total.saturating_add(count);
            if total > limit {
                return Err(too_large(path, limit));
            }
        }
        if !same()? {
            return if handed_on { Err(unstable(path)) } else { Ok(false) };
        }
        sink(buffer.get(..filled).unwrap_or_default());
        Ok(true)
    }

    fn regular(&self, path: &str, stat: &FileStat) -> Result<(), ReadError> {
        let what = match identity::kind(stat) {
            FileKind::Regular => return Ok(()),
            FileKind::Directory => "a directory",
            FileKind::Link => "a symbolic link",
            FileKind::Special => "a device, socket or FIFO",
        };
        Err(ReadError::failed(path, WhyKind::NotRegular, format!("{path} is {what}, not a file")))
    }

    pub(super) fn link_text(&self, path: &str) -> Result<String, ReadError> {
        let text = match self.kernel_fs.process_link(path) {
            Some(text) => text,
            None => {
                let (fd, stat) = self.located(path, OFlag::O_NOFOLLOW)?;
                if identity::kind(&stat) != FileKind::Link {
                    let detail = format!("{path} is not a symbolic link");
                    return Err(ReadError::failed(path, WhyKind::NotRegular, detail));
                }
                nix::fcntl::readlinkat(&fd, "")
            }
        };
        let text = text.map_err(|errno| failed(path, "read the link", errno))?;
        text.into_string().map_err(|_| {
            ReadError::failed(path, WhyKind::NotRegular, format!("the link {path} is not UTF-8"))
        })
    }

    pub(super) fn entries(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let flags = locate::READ_FLAGS | OFlag::O_DIRECTORY;
        let fd = match locate::locate(self.root.as_fd(), self.way, path, flags) {
            Ok(fd) => fd,
            Err(Errno::ENOTDIR) => {
                // Nothing there, or something that is no directory.
                self.located(path, OFlag::empty())?;
                let detail = format!("{path} is not a directory");
                return Err(ReadError::failed(path, WhyKind::NotRegular, detail));
            }
            Err(errno) => return Err(failed(path, "list", errno)),
        };
        let mut dir = Dir::from_fd(fd).map_err(|errno| failed(path, "list", errno))?;
        let mut found = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| failed(path, "list", errno))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            if found.len() == limit {
                let detail = format!("{path} has more than {limit} entries");
                return Err(ReadError::failed(path, WhyKind::TooLarge, detail));
            }
            found.push((name.to_owned(), entry.file_type()));
        }
        let mut entries = Vec::with_capacity(found.len());
        for (name, kind) in found {
            let kind = match kind {
                Some(Type::Directory) => EntryKind::Directory,
                Some(Type::File) => EntryKind::Regular,
                Some(Type::Symlink) => EntryKind::Link,
                Some(Type::BlockDevice | Type::CharacterDevice | Type::Fifo | Type::Socket) => {
                    EntryKind::Special
                }
                // Some file systems leave it to a second look; gone by then means gone.
                None => match entry_kind(&dir, &name) {
                    Ok(kind) => kind,
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(failed(path, "look into", errno)),
                },
            };
            entries.push(Entry { name, kind });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    pub(super) fn lock_held(&self, path: &str) -> Result<bool, ReadError> {
        let (fd, stat) = self.located(path, OFlag::empty())?;
        if self.nature == Nature::Captured {
            let detail = "a captured tree has no locks";
            return Err(ReadError::failed(path, WhyKind::Unsupported, detail));
        }
        self.regular(path, &stat)?;
        let own = identity::own(fd.as_fd());
        let fd = nix::fcntl::open(own.as_str(), locate::READ_FLAGS, Mode::empty())
            .map_err(|errno| failed(path, "read", errno))?;
        let whole_file = 0;
        let mut lock = libc::flock {
            l_type: i16::try_from(libc::F_RDLCK).unwrap_or_default(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
            l_start: 0,
            l_len: whole_file,
            l_pid: 0,
        };
        nix::fcntl::fcntl(&fd, FcntlArg::F_GETLK(&mut lock))
            .map_err(|errno| failed(path, "ask for the lock on", errno))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }

    pub(super) fn root_is_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        let path = pid.map_or_else(|| "/".to_owned(), |pid| format!("/proc/{pid}/root"));
        if self.nature == Nature::Captured {
            let detail = "a captured tree has no running processes";
            return Err(ReadError::failed(&path, WhyKind::Unsupported, detail));
        }
        let stat = match pid {
            Some(pid) => self.kernel_fs.root_of(pid),
            None => nix::sys::stat::stat("/"),
        };
        let stat = stat.map_err(|errno| failed(&path, "follow", errno))?;
        let own = fstat(&self.root).map_err(|errno| failed("/", "look at", errno))?;
        Ok((stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
    }
}

/// What an entry is, by fstatat(2).
fn entry_kind(dir: &Dir, name: &str) -> Result<EntryKind, Errno> {
    let stat = nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(match identity::kind(&stat) {
        FileKind::Directory => EntryKind::Directory,
        FileKind::Link => EntryKind::Link,
        FileKind::Regular => EntryKind::Regular,
        FileKind::Special => EntryKind::Special,
    })
}

fn too_large(path: &str, limit: usize) -> ReadError {
    let detail = format!("{path} has more than {limit} bytes, the bound for this kind of file");
    ReadError::failed(path, WhyKind::TooLarge, detail)
}

fn unstable(path: &str) -> ReadError {
    ReadError::failed(path, WhyKind::Unstable, format!("{path} changed while it was read, twice"))
}
