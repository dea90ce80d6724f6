//! What an area read, so that it need not be read again while all of it is unchanged.
//!
//! A [`Trace`] holds every question that a reader asked and a fingerprint of the answer: of files on
//! disk their identity (device, inode, ctime, size, resolved path), of files of the kernel a hash of
//! their bytes. Questions about single processes are kept as the processes themselves.
//!
//! [`Local`] keeps one trace for each area, in the process that reads the host.
//!
//! ```text
//! reader ─> Recorder ─> Tree          next cycle: does every answer still have its fingerprint?
//!               └─> Trace                         yes: keep the section    no: read the area again
//! ```

mod local;
mod processes;
mod recorder;
mod steady;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hash::RandomState;

use palisade_inspect::Host;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_report::section::sockets::Protocol;

use crate::Tree;
use crate::tree::Identity;
pub(crate) use local::Local;
use processes::ProcessCache;
use recorder::Recorder;

/// A file whose ctime is younger than this when it is looked at may change again within the same
/// tick of the file system's clock, so its identity proves nothing yet.
const SETTLED_NS: i128 = 2_000_000_000;

/// A question to a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    Link(String),
    LinkMetadata(String),
    List(String, usize),
    Locked(String),
    Metadata(String),
    Read(String, usize),
    RootOf(Option<u32>),
    Sockets(Protocol),
}

/// What an answer looked like; `None` when that cannot be relied on.
type Print = Option<u64>;

/// Everything that one area asked, and the answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    asks: BTreeMap<Ask, Print>,
    /// Processes on whose details the area rests.
    processes: BTreeSet<u32>,
    /// Inode numbers of the listening sockets that were seen.
    listening: BTreeSet<u64>,
}

/// How answers are compared, and what time it is.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    hashes: RandomState,
    now_ns: Cell<i128>,
}

impl Compare {
    pub(crate) fn new() -> Self {
        Self { hashes: RandomState::new(), now_ns: Cell::new(0) }
    }

    /// Sets the wall clock's time, in ns of Unix time.
    pub(crate) fn set_now(&self, now_ns: i128) {
        self.now_ns.set(now_ns);
    }

    /// The fingerprint of the answer to `ask` now.
    fn print(&self, tree: &Tree, ask: &Ask) -> Print {
        let of_kernel = |path: &str| is_of_kernel(tree, path);
        match ask {
            Ask::Read(path, _) | Ask::Metadata(path) | Ask::List(path, _) if !of_kernel(path) => {
                self.of_identity(tree.identity(path))
            }
            Ask::LinkMetadata(path) | Ask::Link(path) if !of_kernel(path) => {
                self.of_identity(tree.link_identity(path))
            }
            Ask::Read(path, limit) => {
                self.of(tree.read(path, *limit).map(|it| steady::part(path, it.bytes)))
            }
            Ask::Metadata(path) => self.of(tree.metadata(path).map(|it| format!("{it:?}"))),
            Ask::LinkMetadata(path) => {
                self.of(tree.link_metadata(path).map(|it| format!("{it:?}")))
            }
            Ask::Link(path) => self.of(tree.read_link(path)),
            Ask::List(path, limit) => self.of(tree.list(path, *limit).map(|it| format!("{it:?}"))),
            Ask::Locked(path) => self.of(tree.write_locked(path)),
            Ask::RootOf(pid) => self.of(tree.is_root_of(*pid)),
            Ask::Sockets(protocol) => {
                self.of(tree.socket_diag(*protocol).map(|it| steady::sockets(&it)))
            }
        }
    }

    /// Of an answer that is compared as a whole, its failure included.
    fn of<T: std::hash::Hash>(&self, answer: Result<T, ReadError>) -> Print {
        Some(match answer {
            Ok(answer) => self.hashes.hash_one((0, answer)),
            Err(error) => self.of_failure(&error),
        })
    }

    fn of_identity(&self, identity: Result<Identity, ReadError>) -> Print {
        match identity {
            Ok(identity) if self.now_ns.get() - identity.changed_at_ns < SETTLED_NS => None,
            Ok(identity) => Some(self.hashes.hash_one(identity)),
            Err(error) => Some(self.of_failure(&error)),
        }
    }

    fn of_failure(&self, error: &ReadError) -> u64 {
        self.hashes.hash_one((1, error.to_string()))
    }
}

impl Trace {
    /// Whether every answer is still what it was, and every process that mattered still runs.
    pub(crate) fn holds(&self, tree: &Tree, compare: &Compare, alive: &ProcessCache) -> bool {
        self.processes.iter().all(|pid| alive.knows(*pid))
            && self
                .asks
                .iter()
                .all(|(ask, print)| print.is_some() && compare.print(tree, ask) == *print)
    }
}

/// Whether a path is answered by the running kernel rather than by a file system with a ctime.
fn is_of_kernel(tree: &Tree, path: &str) -> bool {
    tree.nature() == Nature::Live
        && ["/proc", "/sys"].into_iter().any(|top| {
            path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// The number of the process whose directory in `/proc` holds `path`, and what is below.
fn process_of(path: &str) -> Option<(u32, &str)> {
    let (number, rest) = path.strip_prefix("/proc/")?.split_once('/')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests;
