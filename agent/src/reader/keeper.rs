//! The keeper: starts the reader, and starts it again when it ends.
//!
//! Whoever parses has no right to start anything, so a process of its own keeps the rights that a new
//! reader needs, and does nothing else with them. While it is still uid 0 it reads the few kernel
//! parameters that nobody else may read; then it gives that up for good.
//!
//! ```text
//! uid 0: read 0600 parameters ─> uid 61101, two capabilities, filter ─┬─> start reader ─> wait ─┐
//!                                                                     └── back off, say so <────┘
//! ```

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use palisade_inspect::Host;
use palisade_inspect::Interest;
use palisade_inspect::host::MAX_PROC;
use palisade_inspect::sysctls::files::normalize;
use tracing::warn;

use super::answer;
use super::charter;
use super::wire;
use super::wire::MAX_PACKET;
use super::wire::kind;
use crate::Tree;
use crate::sandbox;
use crate::sandbox::ConfineError;
use crate::tree::OpenTreeError;

/// The own program, whatever its path in the container.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What lists of processes show.
const NAME: &str = "palisade-agent";

/// Wait before a reader that ended is started again, at first; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Longest such wait: a reader that cannot stay must not use up a node.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A reader that ran for this long had a fresh start.
const STEADY: Duration = Duration::from_secs(300);

/// The keeper could not be started. At fault: the system's limits, or the profile's size.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sockets are left.
    #[error("failed to make a socket pair")]
    Pair(#[source] Errno),
    /// The program could not be executed.
    #[error("failed to start the keeper of the reading process")]
    Spawn(#[source] io::Error),
    /// The rules ask for more than can be handed over.
    #[error("failed to hand over what the rules look at: more than {} KiB", charter::MAX_CHARTER / 1024)]
    TooLarge,
}

/// The keeper cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It could not give up its rights. At fault: the container's rights.
    #[error("failed to confine the keeper")]
    Confine(#[source] ConfineError),
    /// The root is no host. At fault: `--root`.
    #[error("failed to open the host")]
    Open(#[source] OpenTreeError),
    /// The socket does not work.
    #[error("failed to talk to the parsing process")]
    Socket(#[source] Errno),
    /// Standard input is no socket. At fault: whoever started it by hand.
    #[error("failed to use standard input: this is started by `run --confine split`")]
    Stdin(#[source] io::Error),
}

/// Starts a keeper over `root`; hands back the socket to its reader.
///
/// # Errors
/// [`StartError`]; nothing was started then.
pub(crate) fn start(root: &Path, interest: &Interest) -> Result<OwnedFd, StartError> {
    let charter = charter::write(interest);
    if charter.len() > charter::MAX_CHARTER {
        return Err(StartError::TooLarge);
    }
    let (own, other) = wire::pair().map_err(StartError::Pair)?;
    let mut command = Command::new(OWN_PROGRAM);
    command
        .arg0(NAME)
        .arg("keeper")
        .arg("--root")
        .arg(root)
        .env_clear()
        .env(charter::VARIABLE, charter);
    // It outlives no parser: the socket tells it.
    drop(command.stdin(Stdio::from(other)).spawn().map_err(StartError::Spawn)?);
    Ok(own)
}

/// The socket that the parent left as standard input.
///
/// # Errors
/// What dup(2) says.
pub(crate) fn inherited() -> Result<OwnedFd, io::Error> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// Keeps a reader until the parser is gone.
///
/// # Errors
/// [`KeepError`] when it cannot even begin.
pub(crate) fn keep(root: &Path, text: &str) -> Result<(), KeepError> {
    let socket = inherited().map_err(KeepError::Stdin)?;
    let interest = charter::parse(text);
    let tree = Tree::open(root).map_err(KeepError::Open)?;
    read_once(&tree, &interest, &socket).map_err(KeepError::Socket)?;
    drop(tree);
    sandbox::confine_keeper().map_err(KeepError::Confine)?;
    let mut wait = FIRST_WAIT;
    loop {
        let started = Instant::now();
        let reader = socket.try_clone().map_err(KeepError::Stdin)?;
        let mut command = Command::new(OWN_PROGRAM);
        command
            .arg0(NAME)
            .arg("reader")
            .arg("--root")
            .arg(root)
            .env_clear()
            .env(charter::VARIABLE, text);
        let ended = command.stdin(Stdio::from(reader)).status();
        // Nothing may hold the other end but the reader and this.
        drop(command);
        let how = match ended {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => format!("it could not be started: {error}"),
        };
        if started.elapsed() > STEADY {
            wait = FIRST_WAIT;
        }
        warn!(how, wait_ms = wait.as_millis(), "the reading process ended; it is started again");
        let words = format!("it ended ({how}) and is started again after {} s", wait.as_secs());
        let mut packet = 0_u32.to_ne_bytes().to_vec();
        wire::put_record(&mut packet, kind::DOWN, words.as_bytes());
        match wire::send(&socket, &packet) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
            sent => sent.map_err(KeepError::Socket)?,
        }
        if is_parser_gone_within(&socket, wait).map_err(KeepError::Socket)? {
            return Ok(());
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits, and takes questions off the socket that were meant for the reader that is gone.
fn is_parser_gone_within(socket: &OwnedFd, wait: Duration) -> Result<bool, Errno> {
    let end = Instant::now() + wait;
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // The reader waits for ever.
            setsockopt(socket, ReceiveTimeout, &TimeVal::new(0, 0))?;
            return Ok(false);
        }
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        // Zero would mean for ever.
        let micros = i64::from(left.subsec_micros()).max(1);
        setsockopt(socket, ReceiveTimeout, &TimeVal::new(seconds, micros))?;
        match wire::receive(socket, &mut buffer, MsgFlags::empty()) {
            Ok(None) => return Ok(true),
            Ok(Some(_)) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Hands over the parameters that only uid 0 may read, and that rules look at.
fn read_once(tree: &Tree, interest: &Interest, socket: &OwnedFd) -> Result<(), Errno> {
    const OTHERS_MAY_READ: u32 = 0o004;
    for key in &interest.sysctls {
        let path = format!("/proc/sys/{}", normalize(key));
        if tree.metadata(&path).is_ok_and(|it| it.mode & OTHERS_MAY_READ == 0)
            && let Ok(contents) = tree.read(&path, MAX_PROC)
        {
            let record = answer::write_once(&path, &contents.metadata, &contents.bytes);
            let mut packet = 0_u32.to_ne_bytes().to_vec();
            wire::put_record(&mut packet, kind::ONCE, &record);
            wire::send(socket, &packet)?;
        }
    }
    Ok(())
}
