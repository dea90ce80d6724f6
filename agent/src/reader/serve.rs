//! The reading side: answers questions about a host, as far as the list goes.
//!
//! No decision about facts lives here. What is refused and what is taken out is decided by
//! `reach` and `screen` in `palisade-inspect`.

use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use nix::unistd::alarm;
use palisade_inspect::Host;
use palisade_inspect::ReadError;
use palisade_inspect::host::MAX_PROC;
use palisade_inspect::reach::Reach;
use palisade_inspect::reach::Serve;
use palisade_inspect::screen::screen;
use palisade_report::WhyKind;
use tracing::warn;

use super::answer;
use super::answer::Hello;
use super::answer::Value;
use super::wire;
use super::wire::MAX_PACKET;
use super::wire::Question;
use super::wire::RECORD_HEADER;
use super::wire::kind;
use crate::memo::Ask;
use crate::memo::Local;
use crate::subject::Area;
use crate::subject::Subject;

/// Bytes of a file from which secrets are taken out, which needs all of it at once: bundles of
/// authorities are the largest that areas ask for.
const MAX_SCREENED: usize = 4 * 1024 * 1024;

/// Bytes of an argument list that are handed on: twice of what is kept of it.
const MAX_ARGUMENTS: usize = 64 * 1024;

/// Seconds that the questions of one packet may take before the kernel ends this process: more than
/// a whole inspection may take.
const WATCHDOG_SECS: u32 = 30;

/// Refusals that are logged; the rest is only counted.
const MAX_LOGGED: u64 = 32;

/// Why something was refused.
pub(super) const REFUSED: &str = "the reading process serves no such path";

/// Names of programs that hold a kubelet and are told its paths by arguments.
const KUBELETS: [&[u8]; 2] = [b"hyperkube", b"kubelet"];

/// The reader cannot go on. At fault: the parser, or us.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A packet that is no question.
    #[error("failed to understand a question")]
    Malformed(#[source] wire::Malformed),
    /// The socket does not work.
    #[error("failed to talk to the parsing process")]
    Socket(#[source] Errno),
}

/// Serves a host to a parser.
#[derive(Debug)]
pub(crate) struct Server {
    socket: OwnedFd,
    local: Local,
    reach: Reach,
    refused: u64,
}

impl Server {
    /// Serves `local` as far as `reach` goes, to the other end of `socket`.
    pub(crate) const fn new(socket: OwnedFd, local: Local, reach: Reach) -> Self {
        Self { socket, local, reach, refused: 0 }
    }

    /// Says what this process is, then answers until the parser is gone.
    ///
    /// # Errors
    /// [`ServeError`] when the two processes cannot understand one another.
    pub(crate) fn run(&mut self, hello: &Hello) -> Result<(), ServeError> {
        let mut packet = 0_u32.to_ne_bytes().to_vec();
        // A few texts have a JSON form.
        wire::put_record(&mut packet, kind::HELLO, &serde_json::to_vec(hello).unwrap_or_default());
        wire::send(&self.socket, &packet).map_err(ServeError::Socket)?;
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let received = wire::receive(&self.socket, &mut buffer, MsgFlags::empty());
            let Some(packet) = received.map_err(ServeError::Socket)? else { return Ok(()) };
            let (number, questions) =
                wire::read_questions(packet).map_err(ServeError::Malformed)?;
            alarm::set(WATCHDOG_SECS);
            let answered = self.answer_all(number, &questions);
            alarm::cancel();
            match answered {
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
                answered => answered.map_err(ServeError::Socket)?,
            }
        }
    }

    fn answer_all(&mut self, number: u32, questions: &[Question]) -> Result<(), Errno> {
        let Self { socket, local, reach, refused } = self;
        let mut out = Out { socket, number, packet: Vec::new(), failure: None };
        out.packet.extend(number.to_ne_bytes());
        for question in questions {
            let within = |time: Duration| local.set_deadline(Some(Instant::now() + time));
            match question {
                Question::Turn(time) => {
                    within(*time);
                    local.turn();
                }
                Question::Begin(area, time) => {
                    within(*time);
                    local.begin(*area);
                }
                Question::Holds(area, time) => {
                    within(*time);
                    out.end(Ok(Value::Flag(*area != Area::Processes && local.holds(*area))));
                }
                Question::Ask(ask) => {
                    let mut answering = Answering { local, reach, refused, out: &mut out };
                    let outcome = answering.answer(ask);
                    out.end(outcome);
                }
            }
        }
        out.flush();
        out.failure.map_or(Ok(()), Err)
    }
}

/// One question being answered.
struct Answering<'a, 'b> {
    local: &'a Local,
    reach: &'a mut Reach,
    refused: &'a mut u64,
    out: &'a mut Out<'b>,
}

impl Answering<'_, '_> {
    fn answer(&mut self, ask: &Ask) -> Result<Value, ReadError> {
        match ask {
            Ask::Read(path, limit) => self.read(path, *limit),
            Ask::Metadata(path) => {
                self.only(path, self.reach.may_look(path))?;
                self.local.metadata(path).map(Value::Metadata)
            }
            Ask::LinkMetadata(path) => {
                self.only(path, self.reach.may_look(path))?;
                self.local.link_metadata(path).map(Value::Metadata)
            }
            Ask::Link(path) => {
                self.only(path, self.reach.may_look(path))?;
                let text = self.local.read_link(path)?;
                if !path.starts_with("/proc/") {
                    self.reach.note_link(path, &text);
                }
                Ok(Value::Text(text))
            }
            Ask::List(path, limit) => {
                self.only(path, self.reach.may_list(path))?;
                let mut bytes = Vec::new();
                for entry in self.local.list(path, *limit)? {
                    answer::write_entry(&mut bytes, &entry);
                }
                self.out.data(&bytes);
                Ok(Value::Content)
            }
            Ask::Locked(path) => {
                self.only(path, self.reach.content(path).is_some())?;
                self.local.write_locked(path).map(Value::Flag)
            }
            Ask::RootOf(pid) => self.local.is_root_of(*pid).map(Value::Flag),
            Ask::Sockets(protocol) => {
                let bytes = self.local.socket_diag(*protocol)?;
                self.out.data(&bytes);
                Ok(Value::Content)
            }
        }
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Value, ReadError> {
        let serve = self.reach.content(path);
        self.only(path, serve.is_some())?;
        let of_kernel = path.starts_with("/proc/") || path.starts_with("/sys/");
        if !of_kernel {
            // Links may lead anywhere.
            let resolved = self.local.tree().metadata(path)?.resolved;
            self.only(path, !self.reach.is_never_read(&resolved))?;
        }
        let Some(serve) = serve.filter(|serve| *serve != Serve::Plain) else {
            let metadata = self.local.read_with(path, limit, &mut |piece| self.out.data(piece))?;
            return Ok(Value::Metadata(metadata));
        };
        let (limit, keep) = match serve {
            Serve::Arguments => (limit, MAX_ARGUMENTS),
            Serve::Looks | Serve::Plain | Serve::Screened | Serve::Names | Serve::Lists => {
                (limit.min(MAX_SCREENED), MAX_SCREENED)
            }
        };
        let mut bytes = Vec::new();
        let metadata = self.local.read_with(path, limit, &mut |piece| {
            let room = keep.saturating_sub(bytes.len()).min(piece.len());
            bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
        })?;
        match serve {
            Serve::Arguments if self.is_of_the_kubelet(path, &bytes) => {
                self.reach.note("/", &bytes);
            }
            Serve::Names | Serve::Lists => self.reach.note(path, &bytes),
            Serve::Arguments | Serve::Looks | Serve::Plain | Serve::Screened => {}
        }
        self.out.data(&screen(bytes));
        Ok(Value::Metadata(metadata))
    }

    /// Whether an argument list is that of a kubelet that runs on the host's own files, as uid 0. Only
    /// such a one is believed about paths: any container may call a process `kubelet`, none is in the
    /// mount namespace of process 1, and there any user may.
    fn is_of_the_kubelet(&self, path: &str, arguments: &[u8]) -> bool {
        let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let Some(process) = path.strip_suffix("/cmdline") else { return false };
        let mounts = |process: &str| self.local.tree().read_link(&format!("{process}/ns/mnt"));
        // Where the inspected root is this process's own, so is the namespace that counts.
        let init = mounts("/proc/1").or_else(|error| match self.local.tree().is_root_of(None) {
            Ok(true) => mounts("/proc/self"),
            Ok(false) | Err(_) => Err(error),
        });
        KUBELETS.contains(&name)
            && matches!((mounts(process), init), (Ok(own), Ok(init)) if own == init)
            && self.is_of_root(process)
    }

    /// Whether all user ids of a process are 0. Not by the owner of its directory, which is 0 also of
    /// those that may not be dumped, see proc_pid(5).
    fn is_of_root(&self, process: &str) -> bool {
        let mut status = Vec::new();
        let read = self.local.read_with(&format!("{process}/status"), MAX_PROC, &mut |piece| {
            status.extend_from_slice(piece);
        });
        read.is_ok() && has_only_uid_0(&status)
    }

    fn only(&mut self, path: &str, allowed: bool) -> Result<(), ReadError> {
        if allowed {
            return Ok(());
        }
        *self.refused += 1;
        if *self.refused <= MAX_LOGGED {
            let path = palisade_report::bound::clean_text(path);
            warn!(path, refused = *self.refused, "refuses what no area asks for");
        }
        Err(ReadError::failed(path, WhyKind::PermissionDenied, REFUSED))
    }
}

/// Whether the four user ids of a `/proc/PID/status` are 0, see proc_pid_status(5).
fn has_only_uid_0(status: &[u8]) -> bool {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"));
    let ids = |line: &[u8]| {
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let ids = line.split(blank).filter(|id| !id.is_empty());
        ids.map(|id| id == b"0").collect::<Vec<_>>()
    };
    line.map(ids).is_some_and(|ids| ids == [true; 4])
}

/// Packets on their way to the parser.
struct Out<'a> {
    socket: &'a OwnedFd,
    number: u32,
    packet: Vec<u8>,
    /// The first failure; nothing is sent after it.
    failure: Option<Errno>,
}

impl Out<'_> {
    fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failure.is_none() {
            let room = MAX_PACKET.saturating_sub(self.packet.len() + RECORD_HEADER);
            if room == 0 {
                self.flush();
                continue;
            }
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            wire::put_record(&mut self.packet, kind::DATA, piece);
            bytes = rest;
        }
    }

    fn end(&mut self, outcome: Result<Value, ReadError>) {
        let (kind, bytes) = answer::write_end(outcome);
        if self.packet.len() + RECORD_HEADER + bytes.len() > MAX_PACKET {
            self.flush();
        }
        wire::put_record(&mut self.packet, kind, &bytes);
    }

    fn flush(&mut self) {
        if self.failure.is_none() && self.packet.len() > size_of::<u32>() {
            self.failure = wire::send(self.socket, &self.packet).err();
        }
        self.packet.clear();
        self.packet.extend(self.number.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_roots_if_all_of_its_user_ids_are() {
        for (status, is_of_root) in [
            ("Name:\tkubelet\nUid:\t0\t0\t0\t0\nGid:\t9\t9\t9\t9\n", true),
            ("Name:\tkubelet\nUid:\t1000\t0\t0\t0\n", false),
            ("Name:\tkubelet\nUid:\t0\t0\t1000\t0\n", false),
            ("Name:\tkubelet\nUid:\t00\t0\t0\t0\n", false),
            ("Name:\tUid:\t0\t0\t0\t0\nUid:\t7\t7\t7\t7\n", false),
            ("Uid:\t0\t0\n", false),
            ("", false),
        ] {
            assert_eq!(has_only_uid_0(status.as_bytes()), is_of_root, "{status:?}");
        }
    }
}
