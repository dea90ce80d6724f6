//! The bytes between parser and reader: packets of a socket pair that keeps their bounds.
//!
//! ```text
//! question packet: number u32 │ ask… (kind u8 │ fields)          up to 64 asks, a few KiB
//! answer packet:   number u32 │ record… (kind u8 │ length u32 │ bytes)     at most 68 KiB
//! ```
//!
//! Each ask is answered by any number of `DATA` records and one that ends it. Packets that belong to
//! no question carry the number 0. Both sides take the other's bytes for hostile: whatever is not of
//! this shape is an error, never a panic, and nothing is allocated by a length that was merely said.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use palisade_report::section::sockets::Protocol;

use crate::memo::Ask;
use crate::subject::Area;

/// Bytes of file content in one record.
pub(super) const PIECE: usize = 64 * 1024;

/// Bytes of a packet: a piece, and room for the records beside it.
pub(super) const MAX_PACKET: usize = PIECE + 4 * 1024;

/// Asks that one packet may hold.
pub(super) const MAX_BATCH: usize = 128;

/// Bytes of a path: `PATH_MAX` of the kernel.
const MAX_PATH: usize = 4096;

/// What a parser wants of the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Something of the host.
    Ask(Ask),
    /// What follows is for this area and has this long. Not answered.
    Begin(Area, Duration),
    /// Whether every answer of this area still stands, found out within this time.
    Holds(Area, Duration),
    /// A new inspection starts, with this long. Not answered.
    Turn(Duration),
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) bytes: &'a [u8],
}

/// Kinds of records. Those of packets with the number 0 come last.
pub(super) mod kind {
    /// Content, in pieces.
    pub(in super::super) const DATA: u8 = 1;
    /// The end of an answer: metadata.
    pub(in super::super) const METADATA: u8 = 2;
    /// The end of an answer: a text.
    pub(in super::super) const TEXT: u8 = 3;
    /// The end of an answer: yes or no.
    pub(in super::super) const FLAG: u8 = 4;
    /// The end of an answer whose content is all.
    pub(in super::super) const END: u8 = 5;
    /// The end of an answer: nothing is there.
    pub(in super::super) const MISSING: u8 = 6;
    /// The end of an answer: why it could not be given.
    pub(in super::super) const FAILED: u8 = 7;
    /// A reader is there, and this is what it may do.
    pub(in super::super) const HELLO: u8 = 16;
    /// The reader has ended, and why.
    pub(in super::super) const DOWN: u8 = 17;
    /// A kernel parameter that was read at the start: its path, then its content and metadata.
    pub(in super::super) const ONCE: u8 = 18;
}

/// The bytes are not of this protocol. At fault: the other process, which may be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet")]
pub struct Malformed;

/// Writes question packets.
#[derive(Debug, Default)]
pub(super) struct Questions {
    bytes: Vec<u8>,
}

impl Questions {
    pub(super) fn new(number: u32) -> Self {
        Self { bytes: number.to_ne_bytes().to_vec() }
    }

    pub(super) fn push(&mut self, question: &Question) {
        let out = &mut self.bytes;
        match question {
            Question::Ask(Ask::Read(path, limit)) => {
                out.push(1);
                put_path(out, path);
                out.extend((*limit as u64).to_ne_bytes());
            }
            Question::Ask(Ask::Metadata(path)) => {
                out.push(2);
                put_path(out, path);
            }
            Question::Ask(Ask::LinkMetadata(path)) => {
                out.push(3);
                put_path(out, path);
            }
            Question::Ask(Ask::Link(path)) => {
                out.push(4);
                put_path(out, path);
            }
            Question::Ask(Ask::List(path, limit)) => {
                out.push(5);
                put_path(out, path);
                out.extend((*limit as u64).to_ne_bytes());
            }
            Question::Ask(Ask::Locked(path)) => {
                out.push(6);
                put_path(out, path);
            }
            Question::Ask(Ask::RootOf(None)) => out.push(7),
            Question::Ask(Ask::RootOf(Some(pid))) => {
                out.push(8);
                out.extend(pid.to_ne_bytes());
            }
            Question::Ask(Ask::Sockets(Protocol::Tcp)) => out.push(9),
            Question::Ask(Ask::Sockets(Protocol::Udp)) => out.push(10),
            Question::Begin(area, time) => put_area(out, 16, *area, *time),
            Question::Holds(area, time) => put_area(out, 17, *area, *time),
            Question::Turn(time) => {
                out.push(18);
                put_millis(out, *time);
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn put_path(out: &mut Vec<u8>, path: &str) {
    // A longer path than any kernel takes is cut, and the reader finds nothing there.
    let bytes = path.as_bytes();
    let bytes = bytes.get(..MAX_PATH).unwrap_or(bytes);
    out.extend(u16::try_from(bytes.len()).unwrap_or_default().to_ne_bytes());
    out.extend_from_slice(bytes);
}

fn put_area(out: &mut Vec<u8>, kind: u8, area: Area, time: Duration) {
    let index = Area::ALL.iter().position(|it| *it == area).unwrap_or_default();
    out.push(kind);
    out.push(u8::try_from(index).unwrap_or_default());
    put_millis(out, time);
}

fn put_millis(out: &mut Vec<u8>, time: Duration) {
    out.extend(u32::try_from(time.as_millis()).unwrap_or(u32::MAX).to_ne_bytes());
}

/// Reads a question packet: its number and questions.
///
/// # Errors
/// [`Malformed`] if it is none, or holds more than [`MAX_BATCH`] questions.
pub(super) fn read_questions(packet: &[u8]) -> Result<(u32, Vec<Question>), Malformed> {
    let mut cursor = Cursor { rest: packet };
    let number = cursor.u32()?;
    let mut questions = Vec::new();
    while !cursor.rest.is_empty() {
        if questions.len() == MAX_BATCH {
            return Err(Malformed);
        }
        questions.push(match cursor.u8()? {
            1 => Question::Ask(Ask::Read(cursor.path()?, cursor.size()?)),
            2 => Question::Ask(Ask::Metadata(cursor.path()?)),
            3 => Question::Ask(Ask::LinkMetadata(cursor.path()?)),
            4 => Question::Ask(Ask::Link(cursor.path()?)),
            5 => Question::Ask(Ask::List(cursor.path()?, cursor.size()?)),
            6 => Question::Ask(Ask::Locked(cursor.path()?)),
            7 => Question::Ask(Ask::RootOf(None)),
            8 => Question::Ask(Ask::RootOf(Some(cursor.u32()?))),
            9 => Question::Ask(Ask::Sockets(Protocol::Tcp)),
            10 => Question::Ask(Ask::Sockets(Protocol::Udp)),
            16 => Question::Begin(cursor.area()?, cursor.time()?),
            17 => Question::Holds(cursor.area()?, cursor.time()?),
            18 => Question::Turn(cursor.time()?),
            _ => return Err(Malformed),
        });
    }
    Ok((number, questions))
}

/// Adds a record to an answer packet.
pub(super) fn put_record(packet: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    packet.push(kind);
    packet.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes());
    packet.extend_from_slice(bytes);
}

/// Bytes that a record takes beside its content.
pub(super) const RECORD_HEADER: usize = 5;

/// The number of a packet, and what follows it.
pub(super) fn split_number(packet: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let mut cursor = Cursor { rest: packet };
    let number = cursor.u32()?;
    Ok((number, cursor.rest))
}

/// Takes the next record off `rest`.
pub(super) fn next_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
    let mut cursor = Cursor { rest };
    let kind = cursor.u8()?;
    let length = usize::try_from(cursor.u32()?).map_err(|_| Malformed)?;
    let bytes = cursor.take(length)?;
    *rest = cursor.rest;
    Ok(Record { kind, bytes })
}

/// Reads fields one after the other.
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_ne_bytes)
    }

    pub(super) fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
        Ok(text.to_owned())
    }

    fn path(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.u16()?);
        if length > MAX_PATH {
            return Err(Malformed);
        }
        self.text(length)
    }

    fn size(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u64()?).map_err(|_| Malformed)
    }

    fn area(&mut self) -> Result<Area, Malformed> {
        Area::ALL.get(usize::from(self.u8()?)).copied().ok_or(Malformed)
    }

    fn time(&mut self) -> Result<Duration, Malformed> {
        self.u32().map(u64::from).map(Duration::from_millis)
    }
}

/// Two connected sockets that keep the bounds of packets, see unix(7).
///
/// # Errors
/// What the kernel says: descriptors have run out.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends a packet.
///
/// # Errors
/// What send(2) says; the other side is gone, or does not read in time.
pub(super) fn send(socket: &impl AsFd, packet: &[u8]) -> Result<(), Errno> {
    loop {
        match nix::sys::socket::send(socket.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives a packet into `buffer`; `None` when the other side is gone.
///
/// # Errors
/// What recv(2) says; EAGAIN when nothing came in time.
pub(super) fn receive<'a>(
    socket: &impl AsFd,
    buffer: &'a mut [u8],
    flags: MsgFlags,
) -> Result<Option<&'a [u8]>, Errno> {
    let count = loop {
        match nix::sys::socket::recv(socket.as_fd().as_raw_fd(), buffer, flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => break 0,
            Err(errno) => return Err(errno),
            Ok(count) => break count,
        }
    };
    Ok(buffer.get(..count).filter(|packet| !packet.is_empty()))
}
