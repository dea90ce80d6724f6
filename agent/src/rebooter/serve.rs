//! Takes grants from the socket, one at a time, and carries out what [`check()`] lets pass.
//!
//! There is one thread and it blocks: a peer that says nothing costs it seconds, in which at worst its
//! own node is not rebooted. After each refusal and each status it pauses, so that a peer gone mad fills
//! neither the log nor a core.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::Backlog;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::UnixAddr;
use palisade_report::BootId;
use palisade_report::NodeUid;
use palisade_report::grant::LENGTH;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Answer;
use super::Floor;
use super::Hold;
use super::Keys;
use super::Local;
use super::Means;
use super::Order;
use super::Record;
use super::Refusal;
use super::Refused;
use super::Status;
use super::answer::QUESTION;
use super::answer::TOLD;
use super::check;
use super::keys::MAX_FILE;
use crate::clock;
use crate::send::read_bounded;
use crate::verb::Chain;

/// The peer is on this machine and has the grant at hand.
const GRANT_WITHIN: Duration = Duration::from_secs(5);

/// How long the parser has to pass on that the node goes down. It is told once more by the boot that
/// follows, so it is not waited for longer than an answer of the collector usually takes.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Connections that wait: there is one peer.
const BACKLOG: i32 = 4;

/// The owner and the parser's group, which the socket gets from its directory.
const SOCKET_MODE: u32 = 0o660;

/// Where the boot tells its id, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the rebooter works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where grants are taken.
    pub socket: PathBuf,
    /// The file of public keys, read again for each grant.
    pub keys: PathBuf,
    /// The directory of the record.
    pub state: PathBuf,
    /// The operator's hold file.
    pub hold: PathBuf,
    /// The node's UID; pinned by the first grant that is carried out if not given.
    pub node: Option<NodeUid>,
    /// What is demanded of every reboot.
    pub floor: Floor,
    /// How the node is rebooted.
    pub means: Means,
    /// Between a refusal and the next grant: no honest peer has one earlier than after a second.
    pub pause: Duration,
}

/// Grants cannot be taken. At fault: the directory of the socket.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel refused.
    #[error("failed to listen at {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A process that can reboot its node.
#[derive(Debug)]
pub struct Rebooter {
    pub(super) settings: Settings,
    listener: UnixListener,
}

impl Rebooter {
    /// Opens the socket, in place of one that a former process left, and says what is missing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let path = &settings.socket;
        let listener =
            listen(path).map_err(|source| StartError::Listen { path: path.to_owned(), source })?;
        Ok(Self { settings, listener })
    }

    /// Says what is there and what is missing. Whatever is missing is looked for again with each
    /// grant, so that nothing needs a restart.
    pub fn introduce(&self) {
        let Settings { socket, keys, state, hold, node: _, floor, means, pause: _ } =
            &self.settings;
        match load_keys(keys) {
            Ok(keys) => {
                let ids: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
                info!(keys = ids.join(" "), ?means, ?floor, socket = %socket.display(),
                    version = env!("CARGO_PKG_VERSION"), "takes grants");
                if ids.is_empty() {
                    warn!(file = %keys_file(&self.settings), "no key: refuses every grant until there is one");
                }
            }
            Err(why) => warn!(why, "no key: refuses every grant until there is one"),
        }
        match Record::load(state) {
            Ok(Record { epoch, node, last, used: _ }) => {
                let node = node.map(|node| node.to_string());
                let last = last.map(|last| format!("{} by {}", last.at, last.grant));
                info!(epoch, node, last, "remembers");
            }
            Err(why) => warn!(why = %Chain::of(&why), "no record: refuses every grant"),
        }
        match look_for_hold(hold) {
            Hold::Absent => {}
            Hold::Present => warn!(file = %hold.display(), "held: refuses every grant"),
            Hold::Unknown(why) => warn!(why, "cannot tell a hold: refuses every grant"),
        }
        match means.test() {
            Ok(()) => {
                let Status { state, words } = self.status();
                info!(%state, words, "could reboot this node");
            }
            Err(why) => {
                warn!(why = %Chain::of(&why), "cannot reboot this node: refuses every grant")
            }
        }
    }

    /// Takes grants until the process is ended. SIGTERM may end it at any point: what was written down
    /// is used, and what was not has had no effect.
    pub fn serve(&self) -> ! {
        loop {
            let done = match self.listener.accept() {
                Ok((stream, _)) => self.take(stream),
                Err(why) => {
                    warn!(%why, "failed to accept a connection");
                    false
                }
            };
            if !done {
                std::thread::sleep(self.settings.pause);
            }
        }
    }

    /// One grant. Whether it was carried out.
    fn take(&self, mut stream: UnixStream) -> bool {
        let bytes = match receive(&mut stream) {
            Ok(bytes) => bytes,
            Err(why) => {
                warn!(%why, "a peer said nothing");
                return false;
            }
        };
        if bytes == QUESTION {
            answer_with(&mut stream, &self.status().encode());
            return false;
        }
        let (order, local, lock) = match self.decide(&bytes) {
            Ok(passed) => passed,
            Err(refused) => {
                self.refuse(&mut stream, &refused);
                return false;
            }
        };
        let Order { grant } = order;
        say(&mut stream, &Answer::Accepted);
        let record = local.record.after(&grant, local.since_boot, local.now);
        if let Err(why) = record.store(&self.settings.state) {
            let why = Refusal::Unable(Chain::of(&why).to_string());
            self.refuse(&mut stream, &Refused { why, grant: Some(Box::new(grant)) });
            return false;
        }
        drop(lock);
        info!(grant = %grant.id, request = %grant.request, report = %grant.report.short(),
            epoch = grant.epoch, "reboots this node");
        say(&mut stream, &Answer::Executing);
        await_told(&mut stream);
        match self.settings.means.reboot() {
            Ok(()) => true,
            Err(why) => {
                let words = Chain::of(&why).to_string();
                error!(grant = %grant.id, request = %grant.request, why = words,
                    "the node did not take the order");
                say(&mut stream, &Answer::Failed { words });
                false
            }
        }
    }

    /// The order in `bytes`, what it was checked against, and the record's lock.
    fn decide(&self, bytes: &[u8]) -> Result<(Order, Local, Flock<File>), Refused> {
        let Settings { socket: _, keys, state, hold, node, floor, means, pause: _ } =
            &self.settings;
        let unable = |why: String| Refused::from(Refusal::Unable(why));
        let keys = load_keys(keys).map_err(unable)?;
        let boot = boot_id().map_err(|why| unable(format!("{BOOT_ID}: {why}")))?;
        // Two rebooters, as while a pod is replaced by force, never use one grant twice.
        let lock = lock(state).map_err(|why| unable(format!("{}: {why}", state.display())))?;
        let record = Record::load(state).map_err(|why| unable(Chain::of(&why).to_string()))?;
        let local = Local {
            boot,
            node: node.clone(),
            since_boot: clock::since_boot(),
            now: clock::now(),
            record,
            hold: look_for_hold(hold),
            floor: *floor,
        };
        let order = check(bytes, &keys, &local)
            .inspect_err(|refused| self.remember_epoch(refused, &local.record))?;
        // Last, because only this asks anybody else.
        if let Err(why) = means.test() {
            let why = Refusal::Means(Chain::of(&why).to_string());
            return Err(Refused { why, grant: Some(Box::new(order.grant)) });
        }
        Ok((order, local, lock))
    }

    /// An epoch is seen also with a true grant that is refused.
    fn remember_epoch(&self, refused: &Refused, record: &Record) {
        let Some(grant) = refused.grant.as_ref().filter(|grant| grant.epoch > record.epoch) else {
            return;
        };
        let record = Record { epoch: grant.epoch, ..record.clone() };
        if let Err(why) = record.store(&self.settings.state) {
            warn!(why = %Chain::of(&why), "failed to remember an epoch");
        }
    }

    fn refuse(&self, stream: &mut UnixStream, refused: &Refused) {
        let Refused { why, grant } = refused;
        let (grant, request) = match grant {
            Some(grant) => (Some(grant.id.to_string()), Some(grant.request.to_string())),
            None => (None, None),
        };
        warn!(grant, request, code = why.code(), %why, "refuses a grant");
        say(stream, &Answer::from(why));
    }
}

fn keys_file(settings: &Settings) -> std::path::Display<'_> {
    settings.keys.display()
}

/// The keys in a file; none if there is no such file.
pub(super) fn load_keys(path: &Path) -> Result<Keys, String> {
    let bytes = match read_bounded(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Keys::default()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let keys = Keys::parse(&String::from_utf8_lossy(&bytes));
    keys.map_err(|error| format!("{}: {error}", path.display()))
}

fn boot_id() -> Result<BootId, String> {
    let bytes = read_bounded(BOOT_ID.as_ref(), 64).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end().parse().map_err(|error: palisade_report::id::MalformedBootId| error.to_string())
}

/// Whether there is a hold file. Where its directory is missing it cannot be told: the operator may
/// have made one in the host's, which is not mounted here.
pub(super) fn look_for_hold(path: &Path) -> Hold {
    let unknown =
        |path: &Path, error: io::Error| Hold::Unknown(format!("{}: {error}", path.display()));
    match path.symlink_metadata() {
        Ok(_) => Hold::Present,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or_else(|| Path::new("/"));
            match directory.metadata() {
                Ok(_) => Hold::Absent,
                Err(error) => unknown(directory, error),
            }
        }
        Err(error) => unknown(path, error),
    }
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::open(directory)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK {
            return io::Error::other("another rebooter is at work");
        }
        errno.into()
    })
}

/// A listening socket of packets at `path`.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) | Err(_) => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

/// One packet; of a longer one the first byte too many, by which it is refused.
fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(GRANT_WITHIN))?;
    stream.set_write_timeout(Some(GRANT_WITHIN))?;
    let mut bytes = vec![0; LENGTH + 1];
    let length = stream.read(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The peer's ear decides nothing: a grant that it handed over is carried out without it too.
fn say(stream: &mut UnixStream, answer: &Answer) {
    answer_with(stream, &answer.encode());
}

fn answer_with(stream: &mut UnixStream, packet: &[u8]) {
    if let Err(why) = stream.write_all(packet) {
        warn!(%why, "failed to answer a peer");
    }
}

/// Waits until the peer has passed on what was said last, or is gone, or has had its time. None of
/// that changes what happens next.
fn await_told(stream: &mut UnixStream) {
    let heard =
        stream.set_read_timeout(Some(TOLD_WITHIN)).and_then(|()| stream.read(&mut [0; TOLD.len()]));
    if let Err(why) = heard {
        warn!(%why, "nobody passed on that the node goes down");
    }
}

#[cfg(test)]
mod tests;
