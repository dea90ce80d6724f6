//! Answers of sock_diag(7): messages of `struct nlmsghdr` with `struct inet_diag_msg`.
//!
//! Numbers are in the machine's byte order, addresses and ports in the network's. Attributes behind
//! the fixed part are not looked at.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use palisade_report::section::sockets::Protocol;

use super::Found;
use super::MAX_SOCKETS;

/// Kinds of message: `linux/netlink.h`, and `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Set in a header when the table changed so much that the dump is not one.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// Lengths of `struct nlmsghdr` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// Address families and states of the kernel (`linux/socket.h`, `linux/tcp_states.h`).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

/// Why an answer is no list of sockets. At fault: the kernel, or what handed the bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDiagError {
    /// The kernel could not walk its table in one piece.
    #[error("failed to read sockets: the kernel's dump was interrupted")]
    Interrupted,
    /// A length does not fit, or the end is missing.
    #[error("malformed answer of sock_diag at byte {at}")]
    Malformed {
        /// Offset of the message.
        at: usize,
    },
    /// The kernel answered with an error.
    #[error("failed to read sockets: the kernel answered error {errno}")]
    Refused {
        /// As the kernel sent it, negative.
        errno: i32,
    },
}

/// Every listening socket in the answers, in the order of the answers.
///
/// Shape: at most [`MAX_SOCKETS`] and one more, by which the caller sees that there were more.
/// Several answers may follow each other; each ends in `NLMSG_DONE`.
///
/// # Errors
/// [`ParseDiagError::Malformed`] also if the last answer has no end: part of a list would read as
/// all of it.
pub fn parse(bytes: &[u8], protocol: Protocol) -> Result<Vec<Found>, ParseDiagError> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut has_ended = false;
    while at < bytes.len() {
        let malformed = ParseDiagError::Malformed { at };
        let rest = bytes.get(at..).ok_or(malformed)?;
        let length = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length >= HEADER).ok_or(malformed)?;
        let body = rest.get(HEADER..length).ok_or(malformed)?;
        let kind = u16_at(rest, 4).ok_or(malformed)?;
        let flags = u16_at(rest, 6).ok_or(malformed)?;
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(ParseDiagError::Interrupted);
        }
        has_ended = kind == NLMSG_DONE;
        match kind {
            NLMSG_DONE | NLMSG_ERROR => {
                // Old kernels end a dump without a number.
                let errno = u32_at(body, 0).map_or(0, u32::cast_signed);
                if errno != 0 {
                    return Err(ParseDiagError::Refused { errno });
                }
            }
            SOCK_DIAG_BY_FAMILY => {
                let message = body.first_chunk::<MESSAGE>().ok_or(malformed)?;
                if found.len() <= MAX_SOCKETS {
                    found.extend(parse_message(message, protocol));
                }
            }
            _ => {}
        }
        at = at.saturating_add(length.next_multiple_of(4));
    }
    if has_ended { Ok(found) } else { Err(ParseDiagError::Malformed { at: bytes.len() }) }
}

/// A listening socket out of `struct inet_diag_msg`: family, state, timer, retransmissions; ports;
/// source and destination address; interface, cookie; expiry, queues; uid, inode.
fn parse_message(message: &[u8; MESSAGE], protocol: Protocol) -> Option<Found> {
    let [family, state, _, _, high, low, ..] = *message;
    let listens = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => TCP_CLOSE,
    };
    let port = u16::from_be_bytes([high, low]);
    if state != listens || port == 0 {
        return None;
    }
    let source = message.get(8..24)?.first_chunk::<16>()?;
    let address = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(*source.first_chunk::<4>()?)),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(*source)),
        _ => return None,
    };
    Some(Found { protocol, address, port, uid: u32_at(message, 64)?, inode: u32_at(message, 68)? })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_ne_bytes(*number))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|number| u16::from_ne_bytes(*number))
}
