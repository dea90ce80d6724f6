//! Tables of sockets in `/proc/1/net`: the fallback where the kernel answers no sock_diag(7), and
//! the only source of captured trees.
//!
//! The kernel walks all of its sockets to write these files, so this is the dear way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean;
use palisade_report::section::sockets::Protocol;

use super::Found;
use super::MAX_SOCKETS;
use crate::Host;
use crate::ReadError;
use crate::lines;

/// A line of a table of sockets is not what the kernel writes. At fault: the kernel, or the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed line in a table of sockets: {shown}")]
pub struct MalformedLine {
    /// The start of the line, made showable.
    pub shown: String,
}

/// Every listening socket in the four tables of process 1.
///
/// # Errors
/// Why they cannot be told. A missing table of IPv6 is an empty one only where nothing else of IPv6
/// is there either.
pub fn read(host: &dyn Host) -> Result<BTreeSet<Found>, Why> {
    let mut found = BTreeSet::new();
    for (path, protocol) in [
        ("/proc/1/net/tcp", Protocol::Tcp),
        ("/proc/1/net/udp", Protocol::Udp),
        ("/proc/1/net/tcp6", Protocol::Tcp),
        ("/proc/1/net/udp6", Protocol::Udp),
    ] {
        let mut malformed = None;
        let left_out = lines::read(host, path, &mut |line| match parse_line(line, protocol) {
            Ok(Some(socket)) if found.len() <= MAX_SOCKETS => {
                found.insert(socket);
            }
            Ok(_) => {}
            Err(error) => malformed = Some(error),
        });
        match left_out {
            Ok(0) => {}
            Ok(_) => {
                return Err(Why::new(WhyKind::Malformed, format!("{path} has overlong lines")));
            }
            Err(ReadError::NotFound { .. }) if path.ends_with('6') && lacks_ipv6(host) => {}
            Err(error) => return Err(error.why()),
        }
        if let Some(error) = malformed {
            return Err(Why::new(WhyKind::Malformed, format!("{path}: {error}")));
        }
    }
    Ok(found)
}

/// Whether the kernel shows no sign of IPv6 beside its tables of sockets.
fn lacks_ipv6(host: &dyn Host) -> bool {
    ["/proc/1/net/if_inet6", "/proc/sys/net/ipv6"]
        .iter()
        .all(|path| matches!(host.metadata(path), Err(ReadError::NotFound { .. })))
}

/// A listening socket out of a line of a table; `None` for the heading and for other states.
///
/// Shape: `sl local remote state queues timer retransmissions uid timeout inode …`, addresses in
/// hexadecimal as words of the machine's byte order. Source: proc_pid_net(5).
///
/// # Errors
/// [`MalformedLine`] if a field is missing or is no number.
pub fn parse_line(line: &[u8], protocol: Protocol) -> Result<Option<Found>, MalformedLine> {
    let malformed = || MalformedLine { shown: clean(line, 64) };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut fields = text.split_ascii_whitespace();
    let number = fields.next();
    if matches!(number, None | Some("sl")) {
        return Ok(None);
    }
    let (local, _, state) = (fields.next(), fields.next(), fields.next());
    let state = state.and_then(|state| u8::from_str_radix(state, 16).ok()).ok_or_else(malformed)?;
    let listens = match protocol {
        Protocol::Tcp => 10,
        Protocol::Udp => 7,
    };
    if state != listens {
        return Ok(None);
    }
    let uid = fields.nth(3).and_then(|uid| uid.parse().ok()).ok_or_else(malformed)?;
    let inode = fields.nth(1).and_then(|inode| inode.parse().ok()).ok_or_else(malformed)?;
    let (address, port) = local.and_then(parse_address).ok_or_else(malformed)?;
    Ok((port != 0).then_some(Found { protocol, address, port, uid, inode }))
}

/// `0100007F:46A1`, or four such words before the colon.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = words.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match words.len() {
        8 => Some((IpAddr::V4(Ipv4Addr::from(word(0)?)), port)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some((IpAddr::V6(Ipv6Addr::from(bytes)), port))
        }
        _ => None,
    }
}
