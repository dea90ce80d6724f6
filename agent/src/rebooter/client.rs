//! The other end of the socket: how a grant is handed to the rebooter, and how it is asked.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::UnixAddr;

use super::Answer;
use super::Status;
use super::answer::MAX_ANSWER;
use super::answer::QUESTION;
use super::answer::TOLD;

/// More answers than one grant ever gets.
const MAX_ANSWERS: usize = 8;

/// The rebooter could not be asked. At fault: its container, which is not there or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Nobody takes grants there.
    #[error("failed to reach the rebooter at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The connection broke, or nothing came in time. What became of the grant is not known.
    #[error("failed to talk to the rebooter")]
    Talk(#[source] io::Error),
    /// It ended without any answer. What became of the grant is not known.
    #[error("failed to get an answer from the rebooter")]
    Silent,
    /// It said what this version does not know.
    #[error("failed to understand the rebooter")]
    Malformed,
}

/// Hands `grant` to the rebooter behind `socket`, tells `told` each answer as it comes, and returns
/// the last one. Waits at most `within` for each. The node goes down only after `told` has returned
/// from `Executing`, or some seconds later if that takes longer.
///
/// # Errors
/// [`HandOverError`]. After `Executing` a broken connection is no error: the node goes down.
pub fn hand_over(
    socket: &Path,
    grant: &[u8],
    within: Duration,
    mut told: impl FnMut(&Answer),
) -> Result<Answer, HandOverError> {
    let mut stream = ask(socket, grant, within)?;
    let mut last = None;
    for _ in 0..MAX_ANSWERS {
        let mut packet = [0; MAX_ANSWER];
        let length = match stream.read(&mut packet) {
            Ok(0) => break,
            Ok(length) => length,
            Err(_) if last == Some(Answer::Executing) => break,
            Err(error) => return Err(HandOverError::Talk(error)),
        };
        let bytes = packet.get(..length).unwrap_or_default();
        let answer = Answer::decode(bytes).ok_or(HandOverError::Malformed)?;
        told(&answer);
        // If it is not there to hear that, it does not wait for it either.
        if answer == Answer::Executing && stream.write_all(TOLD).is_err() {
            return Ok(answer);
        }
        last = Some(answer);
    }
    last.ok_or(HandOverError::Silent)
}

/// Asks the rebooter behind `socket` how things stand. Waits at most `within`.
///
/// # Errors
/// [`HandOverError`].
pub fn status(socket: &Path, within: Duration) -> Result<Status, HandOverError> {
    let mut stream = ask(socket, QUESTION, within)?;
    let mut packet = [0; MAX_ANSWER];
    let length = stream.read(&mut packet).map_err(HandOverError::Talk)?;
    if length == 0 {
        return Err(HandOverError::Silent);
    }
    Status::decode(packet.get(..length).unwrap_or_default()).ok_or(HandOverError::Malformed)
}

/// A connection on which `packet` was sent.
fn ask(socket: &Path, packet: &[u8], within: Duration) -> Result<UnixStream, HandOverError> {
    let mut stream = connect(socket)
        .map_err(|source| HandOverError::Connect { path: socket.to_owned(), source })?;
    let send = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        stream.write_all(packet)
    };
    send(&mut stream).map_err(HandOverError::Talk)?;
    Ok(stream)
}

/// A connection of packets, so that a grant is one whole and a stream that is cut is none.
fn connect(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}
