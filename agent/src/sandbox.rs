//! What each of the agent's processes may do, and how it gives up the rest.
//!
//! | process | user | capabilities | system calls | else |
//! |---|---|---|---|---|
//! | keeper | 61101 | DAC_READ_SEARCH, SYS_PTRACE | those of the reader, and to start one | reads 0600 parameters first, as uid 0 |
//! | reader | 61101 | the same two | open, read, ask for sockets; never write, signal, trace, connect | started by the keeper |
//! | rebooter | 0 | none | its socket, record and bus; two signals to process 1 | a container of its own |
//! | parser | 61102 | none | network, own files | Landlock: token, authorities, resolver; no bind |
//!
//! Why a reader must not be uid 0: with SYS_PTRACE the files below `/proc/1/root` and
//! `/proc/1/mem` open for writing, whatever is mounted read-only, and no filter sees the flags of
//! `openat2`. Everything here is checked from within by `tests/whole/sandbox.rs`.
//!
//! No unsafe code: the crates `caps`, `seccompiler` and `landlock` make the calls.

pub mod capability;
pub mod landlock;
pub mod seccomp;
mod split;
mod syscall;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use palisade_inspect::Host;
use palisade_inspect::Nature;
use palisade_report::section::boot::Confinement;
use palisade_report::section::boot::ConfinementMode;

pub use capability::RightsError;
pub use landlock::Granted;
pub use seccomp::Role;
pub use split::Confine;
pub use split::SplitError;
pub use split::inspector;

use crate::Tree;
use crate::tree::Way;

/// The reader's and the keeper's user and group. Nobody else's on a node: with SYS_PTRACE a process
/// may write the memory of every other process of its user through `/proc/PID/mem`, in whatever pod,
/// and images that are not root's like to take 65532. Systemd's list of user ids leaves 60706 to
/// 61183 free, beyond those of people and before those that it hands out to services; Kubernetes
/// gives user namespaces ids from 65536 on.
///
/// Reader and keeper share one, as a keeper that could change its user could become root again. Its
/// memory stays shut to the reader: it may not be dumped, so that its files in `/proc` are root's.
pub const READER_ID: u32 = 61101;

/// The parser's user and group, for the same reason nobody else's. `fsGroup` of
/// `manifests/base/agent.yaml` gives the token to this group.
pub const PARSER_ID: u32 = 61102;

/// A process could not be confined. At fault: the container's rights, or the kernel.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The file system and network could not be shut off.
    #[error("failed to apply Landlock")]
    Landlock(#[source] landlock::RestrictError),
    /// Its user or capabilities could not be changed.
    #[error("failed to change to user {id}")]
    Rights {
        /// The user.
        id: u32,
        /// Which step failed.
        source: RightsError,
    },
    /// What it holds could not be read.
    #[error("failed to read the own rights")]
    Own(#[source] io::Error),
    /// System calls could not be filtered.
    #[error("failed to filter system calls")]
    Seccomp(#[source] seccomp::InstallError),
}

/// Gives up everything but what a keeper needs.
///
/// # Errors
/// [`ConfineError`] with the step that failed; the process must end then.
pub fn confine_keeper() -> Result<(), ConfineError> {
    let id = READER_ID;
    capability::become_reader(id).map_err(|source| ConfineError::Rights { id, source })?;
    seccomp::install(Role::Keeper).map_err(ConfineError::Seccomp)
}

/// Gives up everything but what a reader needs, in a process that a keeper has started.
///
/// # Errors
/// As [`confine_keeper`].
pub fn confine_reader() -> Result<(), ConfineError> {
    seccomp::install(Role::Reader).map_err(ConfineError::Seccomp)
}

/// Gives up the system calls that a rebooter does not need; its container gives it nothing else.
///
/// # Errors
/// As [`confine_keeper`].
pub fn confine_rebooter() -> Result<(), ConfineError> {
    seccomp::install(Role::Rebooter).map_err(ConfineError::Seccomp)
}

/// Gives up everything but what a parser needs: it may read `granted` and talk to `port`.
///
/// Hands back the version of Landlock that is enforced, 0 if the kernel has none.
///
/// # Errors
/// As [`confine_keeper`].
pub fn confine_parser(granted: &Granted<'_>) -> Result<u32, ConfineError> {
    let id = PARSER_ID;
    capability::become_nobody(id).map_err(|source| ConfineError::Rights { id, source })?;
    let version = landlock::restrict(granted).map_err(ConfineError::Landlock)?;
    seccomp::install(Role::Parser).map_err(ConfineError::Seccomp)?;
    Ok(version)
}

/// What is reported of an agent that reads and parses in one process.
#[must_use]
pub fn alone(tree: &Tree, mut shortfalls: Vec<String>) -> Option<Confinement> {
    if tree.nature() == Nature::Captured {
        return None;
    }
    let mut processes = BTreeMap::new();
    match capability::rights() {
        Ok(rights) => {
            shortfalls.extend(capability::costs(&rights));
            processes.insert("agent".to_owned(), rights);
        }
        Err(error) => shortfalls.push(format!("the own rights could not be read: {error}")),
    }
    Some(Confinement {
        mode: ConfinementMode::Single,
        shortfalls,
        processes,
        landlock: 0,
        resolver: resolver(tree).to_owned(),
        refused: 0,
        read_once: BTreeMap::new(),
    })
}

/// How a tree resolves paths, by the name that is reported.
#[must_use]
pub const fn resolver(tree: &Tree) -> &'static str {
    match tree.way() {
        Way::Openat2 => "openat2",
        Way::Walk => "walk",
    }
}

/// Why reading and parsing cannot be split here; `None` if they can.
///
/// # Errors
/// The own rights cannot be read.
pub fn unable_to_split() -> Result<Option<String>, io::Error> {
    let rights = capability::rights()?;
    let missing: Vec<&str> = capability::TO_SPLIT
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !rights.capabilities.contains(*name))
        .collect();
    if rights.uid != 0 {
        return Ok(Some(format!("the agent runs as user {}, not as 0", rights.uid)));
    }
    if missing.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("the agent lacks {}", missing.join(", "))))
}

/// Whether `root` is a running machine other than the agent's own root, as in a container.
#[must_use]
pub fn is_mounted_host(root: &Path) -> bool {
    Tree::open(root).is_ok_and(|tree| {
        tree.nature() == Nature::Live && tree.is_root_of(None).is_ok_and(|is_own| !is_own)
    })
}
