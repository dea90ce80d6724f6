//! From settings to an inspector: one process, or a reader and a parser.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use clap::ValueEnum;
use palisade_inspect::Interest;

use super::ConfineError;
use super::Granted;
use crate::Inspector;
use crate::Tree;
use crate::clock;
use crate::memo::Local;
use crate::reader::ConnectError;
use crate::reader::Own;
use crate::reader::Remote;
use crate::reader::StartError;
use crate::reader::keeper;
use crate::tree::OpenTreeError;

/// Whether reading and parsing are split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Confine {
    /// Split where a host is mounted, as in a pod, and the rights for it are there
    #[default]
    Auto,
    /// One process, with the rights that it has
    Single,
    /// Split, or fail
    Split,
}

/// The host cannot be inspected as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Rights could not be given up.
    #[error("failed to confine the agent")]
    Confine(#[source] ConfineError),
    /// No reader came.
    #[error("failed to split reading from parsing")]
    Connect(#[source] ConnectError),
    /// The root is no host. At fault: `--root`.
    #[error("failed to open the host")]
    Open(#[source] OpenTreeError),
    /// The own rights cannot be told. At fault: the container, which hides `/proc`.
    #[error("failed to read the own rights")]
    Rights(#[source] io::Error),
    /// No keeper came.
    #[error("failed to split reading from parsing")]
    Start(#[source] StartError),
    /// Splitting was asked for and cannot be done. At fault: the container's rights.
    #[error("failed to split reading from parsing: {0}; give --confine single to go without")]
    Unable(String),
}

/// An inspector of the host below `root`. In a process that is to parse only, this gives up its
/// rights for good, so files that are needed later must be in `granted`. Call it before there is a
/// second thread.
///
/// # Errors
/// [`SplitError`]; the process must end then.
pub fn inspector(
    root: &Path,
    interest: Interest,
    confine: Confine,
    granted: &Granted<'_>,
) -> Result<Inspector, SplitError> {
    let unable = super::unable_to_split().map_err(SplitError::Rights)?;
    let is_wanted = match confine {
        Confine::Auto => super::is_mounted_host(root),
        Confine::Single => false,
        Confine::Split => true,
    };
    let shortfalls = match (is_wanted, unable) {
        (true, None) => {
            let reader = keeper::start(root, &interest).map_err(SplitError::Start)?;
            return parser(reader, interest, granted);
        }
        (true, Some(why)) if confine == Confine::Split => return Err(SplitError::Unable(why)),
        (true, Some(why)) => {
            tracing::warn!(why, "reads and parses in one process");
            vec![format!("reading and parsing are not split: {why}")]
        }
        (false, _) => Vec::new(),
    };
    let tree = Tree::open(root).map_err(SplitError::Open)?;
    let confinement = super::alone(&tree, shortfalls);
    Ok(Inspector::over(Box::new(Local::new(tree, confinement)), interest))
}

fn parser(
    reader: OwnedFd,
    interest: Interest,
    granted: &Granted<'_>,
) -> Result<Inspector, SplitError> {
    let landlock = super::confine_parser(granted).map_err(SplitError::Confine)?;
    let rights = super::capability::rights().map_err(SplitError::Rights)?;
    let shortfalls = super::landlock::shortfall(landlock).into_iter().collect();
    let own = Own { rights, landlock, shortfalls };
    let remote = Remote::connect(reader, own, clock::now()).map_err(SplitError::Connect)?;
    Ok(Inspector::over(Box::new(remote), interest))
}
