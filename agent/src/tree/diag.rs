//! Listening sockets by sock_diag(7): one request to the kernel instead of a walk over its tables.
//!
//! The messages go on as they came; `palisade-inspect` reads them.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockProtocol;
use nix::sys::socket::SockType;
use nix::sys::socket::recv;
use nix::sys::socket::send;
use nix::sys::socket::setsockopt;
use nix::sys::socket::socket;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use palisade_inspect::Host;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_report::WhyKind;
use palisade_report::section::sockets::Protocol;

use super::Tree;
use super::error::failed;

/// Bytes that one answer may have: 40,000 sockets of 100 bytes are more than any node listens on.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Bytes of one receive; the kernel fills at most 32 KiB at a time, see netlink(7).
const PIECE: usize = 32 * 1024;

/// Seconds to wait for the kernel, which answers at once or never.
const ANSWER_TIMEOUT_SECS: i64 = 1;

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// States of `linux/tcp_states.h` as bits: LISTEN for TCP, CLOSE for UDP (unconnected).
const LISTEN: u32 = 1 << 10;
const CLOSE: u32 = 1 << 7;

/// What is named in the place of a path.
const WHAT: &str = "sock_diag";

/// Length of `struct nlmsghdr` with `struct inet_diag_req_v2`.
const REQUEST: u32 = 16 + 56;

/// Asks for both address families, one after the other.
pub(super) fn dump(tree: &Tree, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
    if tree.nature() == Nature::Captured {
        let detail = "a captured tree has no kernel to ask";
        return Err(ReadError::failed(WHAT, WhyKind::Unsupported, detail));
    }
    if let (Ok(own), Ok(host)) =
        (nix::fcntl::readlink("/proc/self/ns/net"), tree.read_link("/proc/1/ns/net"))
        && own.to_str() != Some(host.as_str())
    {
        let detail = format!("the agent is not in the network namespace of process 1 ({host})");
        return Err(ReadError::failed(WHAT, WhyKind::WrongNamespace, detail));
    }
    let mut answer = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(family, protocol, &mut answer).map_err(refused)?;
        tree.in_time(WHAT)?;
    }
    Ok(answer)
}

/// What the kernel's refusal of a dump means.
fn refused(errno: Errno) -> ReadError {
    if errno == Errno::EMSGSIZE {
        let detail = format!("the answer has more than {MAX_ANSWER} bytes");
        return ReadError::failed(WHAT, WhyKind::TooLarge, detail);
    }
    if matches!(errno, Errno::ENOENT | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) {
        let detail = "the kernel has no sock_diag for this protocol";
        return ReadError::failed(WHAT, WhyKind::Unsupported, detail);
    }
    failed(WHAT, "ask", errno)
}

fn ask(family: i32, protocol: Protocol, answer: &mut Vec<u8>) -> Result<(), Errno> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&fd, ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_SECS, 0))?;
    let request = request(family, protocol);
    if send(fd.as_raw_fd(), &request, MsgFlags::empty())? != request.len() {
        return Err(Errno::EIO);
    }
    let mut piece = vec![0; PIECE];
    loop {
        let count = receive(&fd, &mut piece)?;
        let piece = piece.get(..count).unwrap_or_default();
        let end = outcome(piece)?;
        answer.extend_from_slice(piece);
        if answer.len() > MAX_ANSWER {
            return Err(Errno::EMSGSIZE);
        }
        if end || count == 0 {
            return Ok(());
        }
    }
}

fn receive(fd: &OwnedFd, piece: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(fd.as_raw_fd(), piece, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            received => return received,
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` in the machine's byte order.
fn request(family: i32, protocol: Protocol) -> Vec<u8> {
    let (protocol, states) = match protocol {
        Protocol::Tcp => (libc::IPPROTO_TCP, LISTEN),
        Protocol::Udp => (libc::IPPROTO_UDP, CLOSE),
    };
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
    let byte = |number: i32| u8::try_from(number).unwrap_or_default();
    let mut out = Vec::with_capacity(REQUEST as usize);
    out.extend(REQUEST.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]); // sequence number and port id
    out.extend([byte(family), byte(protocol), 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend([0; 48]); // any local and remote address
    out
}

/// Whether these messages hold the end of the dump.
fn outcome(mut messages: &[u8]) -> Result<bool, Errno> {
    while let Some((header, _)) = messages.split_first_chunk::<16>() {
        let [l0, l1, l2, l3, k0, k1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let kind = i32::from(u16::from_ne_bytes([k0, k1]));
        if kind == libc::NLMSG_DONE {
            return Ok(true);
        }
        if kind == libc::NLMSG_ERROR {
            let code = messages.get(16..20).and_then(|code| code.first_chunk::<4>());
            let code = code.map_or(libc::EIO, |code| i32::from_ne_bytes(*code).saturating_neg());
            return if code == 0 { Ok(true) } else { Err(Errno::from_raw(code)) };
        }
        let next = length.next_multiple_of(4).max(16);
        messages = messages.get(next..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_message_ends_the_dump_with_its_code() {
        let mut message = Vec::new();
        message.extend(20_u32.to_ne_bytes());
        message.extend(2_u16.to_ne_bytes());
        message.extend([0; 10]);
        message.extend((-libc::ENOENT).to_ne_bytes());
        assert_eq!(outcome(&message), Err(Errno::ENOENT));
        assert_eq!(outcome(message.get(..17).unwrap()), Err(Errno::EIO));
        assert_eq!(outcome(&[]), Ok(false));
    }

    #[test]
    fn a_request_has_the_length_that_it_states() {
        assert_eq!(request(libc::AF_INET6, Protocol::Udp).len(), REQUEST as usize);
    }
}
