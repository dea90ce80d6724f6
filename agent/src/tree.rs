//! The host as a directory: `Host` over a root that may be `/`, a mount of the host, or a capture.
//!
//! Every path is resolved by the kernel with the root as its whole world (`openat2`), or component
//! by component where that call is missing. What is found is first opened as a mere reference
//! (`O_PATH`, which acts on nothing), looked at, and only a regular file is opened for reading, from
//! that same reference. What the bytes mean is decided in `palisade-inspect`, not here.
//!
//! ```text
//! path ─> locate (openat2 | walk) ─> O_PATH descriptor ─> fstat ─> regular? ─> reopen ─> bytes
//! ```

mod diag;
mod error;
mod identity;
mod kernel_fs;
mod locate;
mod read;

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_report::section::sockets::Protocol;

pub use identity::Identity;
use kernel_fs::KernelFs;
pub use locate::Way;

use crate::subject;

/// A host below one directory.
///
/// Holds a descriptor of the root, so a root that is renamed or replaced later changes nothing.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    way: Way,
    nature: Nature,
    kernel_fs: KernelFs,
    deadline: Cell<Option<Instant>>,
    buffer: RefCell<Vec<u8>>,
}

/// The root cannot serve as a host. At fault: the `--root` setting, or the container.
#[derive(Debug, thiserror::Error)]
pub enum OpenTreeError {
    /// The directory cannot be opened.
    #[error("failed to open the root directory {}", path.display())]
    Root {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The agent's own `/proc` is not mounted; descriptors cannot be named without it.
    #[error("failed to use /proc/self/fd: the agent needs a /proc of its own")]
    OwnProc(#[source] io::Error),
}

impl Tree {
    /// The host below `root`, by `openat2` where the kernel has it.
    ///
    /// # Errors
    /// [`OpenTreeError`] when `root` is no directory that can be opened.
    pub fn open(root: &Path) -> Result<Self, OpenTreeError> {
        Self::with_way(root, None)
    }

    /// As [`Tree::open`], with the way of resolving paths given; `None` tries and decides.
    ///
    /// # Errors
    /// As [`Tree::open`].
    pub fn with_way(root: &Path, way: Option<Way>) -> Result<Self, OpenTreeError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(root, flags, Mode::empty())
            .map_err(|errno| OpenTreeError::Root { path: root.to_owned(), source: errno.into() })?;
        identity::text_of(fd.as_fd()).map_err(|errno| OpenTreeError::OwnProc(errno.into()))?;
        let way = way.unwrap_or_else(|| locate::probe(fd.as_fd()));
        let kernel_fs = KernelFs::below(fd.as_fd(), way);
        let nature = if kernel_fs.has_proc() { Nature::Live } else { Nature::Captured };
        Ok(Self {
            root: fd,
            way,
            nature,
            kernel_fs,
            deadline: Cell::new(None),
            buffer: RefCell::new(Vec::new()),
        })
    }

    /// How paths are resolved here.
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// From this moment on every reading fails with `out-of-time`; `None` lifts it.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// What `path` leads to, without reading it: enough to tell whether it must be read again.
    ///
    /// # Errors
    /// As [`Host::metadata`].
    pub fn identity(&self, path: &str) -> Result<Identity, ReadError> {
        self.identified(path, OFlag::empty())
    }

    /// As [`Tree::identity`], of what is at `path` itself: a link in the last component stays one.
    ///
    /// # Errors
    /// As [`Host::link_metadata`].
    pub fn link_identity(&self, path: &str) -> Result<Identity, ReadError> {
        self.identified(path, OFlag::O_NOFOLLOW)
    }

    fn identified(&self, path: &str, extra: OFlag) -> Result<Identity, ReadError> {
        self.in_time(path)?;
        let (fd, stat) = self.located(path, extra)?;
        Ok(Identity::of(&stat, &self.resolved(path, fd.as_fd())?))
    }

    /// Fails once the deadline has passed.
    fn in_time(&self, path: &str) -> Result<(), ReadError> {
        subject::in_time(self.deadline.get(), path)
    }
}

impl Host for Tree {
    fn nature(&self) -> Nature {
        self.nature
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        self.read_file(path, limit, sink)
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        let (fd, stat) = self.located(path, OFlag::empty())?;
        Ok(identity::metadata(&stat, self.resolved(path, fd.as_fd())?))
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.in_time(path)?;
        let (fd, stat) = self.located(path, OFlag::O_NOFOLLOW)?;
        Ok(identity::metadata(&stat, self.resolved(path, fd.as_fd())?))
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        self.in_time(path)?;
        self.link_text(path)
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.in_time(path)?;
        self.entries(path, limit)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        self.in_time("sock_diag")?;
        diag::dump(self, protocol)
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        self.in_time(path)?;
        self.lock_held(path)
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        self.in_time("/proc")?;
        self.root_is_of(pid)
    }
}

#[cfg(test)]
mod tests;
