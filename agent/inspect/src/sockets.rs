//! Sockets: who listens on the host.
//!
//! ```text
//! own network namespace is the host's ──> sock_diag(7) ──┐ (refused)
//! process ids are the host's ───────────> /proc/1/net/* <┘──> sockets ──> owners ──> listeners
//! ```
//!
//! `/proc/net` is never read: it shows the reader's own namespace. Inode numbers and process ids
//! find the owner and stay out of the facts, which change only when a listener does. What this does
//! not do: tell whether a packet filter lets anybody reach a listener.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LIST;
use palisade_report::section::boot::Boot;
use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::sockets::Listener;
use palisade_report::section::sockets::Owner;
use palisade_report::section::sockets::Protocol;
use palisade_report::section::sockets::Sockets;

use crate::Host;
use crate::boot;
use crate::process::ProcessTable;

pub mod diag;
pub mod owner;
pub mod table;

/// Listening sockets that are looked at before those with equal address and owner are merged.
pub const MAX_SOCKETS: usize = 65_536;

/// A listening socket as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local address.
    pub address: IpAddr,
    /// The local port, not 0.
    pub port: u16,
    /// The user id that made the socket.
    pub uid: u32,
    /// The inode by which file descriptors name it; 0 for a socket that none can hold.
    pub inode: u32,
}

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, processes: &ProcessTable, boot: &Section<Boot>) -> Section<Sockets> {
    let network = boot::distrust(boot, NamespaceKind::Network);
    let pid = boot::distrust(boot, NamespaceKind::Pid);
    let (found, origin) = match find(host, network, pid.as_ref()) {
        Ok(found) => found,
        Err((why, origin)) => {
            return Section::Known(Sockets { listeners: Reading::unknown(why, origin) });
        }
    };
    let processes = match (pid, &processes.processes) {
        (None, Ok(processes)) => Ok(processes),
        (Some(why), _) => Err(why),
        (None, Err(why)) => Err(why.clone()),
    };
    let owners = processes.map(|processes| {
        let wanted = found.iter().map(|socket| socket.inode).filter(|inode| *inode != 0).collect();
        owner::find(host, processes, wanted)
    });
    let listeners = merge(found.iter().map(|socket| listener(socket, &owners)).collect());
    let listeners = if listeners.len() > MAX_LIST {
        let detail = format!("more than {MAX_LIST} sockets listen");
        Reading::unknown(Why::new(WhyKind::TooLarge, detail), origin)
    } else {
        Reading::known(listeners, origin)
    };
    Section::Known(Sockets { listeners })
}

type Refused = (Why, Origin);

/// Every listening socket, from the best source that may be trusted.
fn find(
    host: &dyn Host,
    network: Option<Why>,
    pid: Option<&Why>,
) -> Result<(BTreeSet<Found>, Origin), Refused> {
    let refused = match network {
        Some(why) => why,
        None => match by_diag(host) {
            Ok(found) => return bounded(found, Origin::words("sock_diag(7)")),
            Err(why) => why,
        },
    };
    if pid.is_some() {
        return Err((refused, Origin::words("sock_diag(7)")));
    }
    let origin = Origin::words("/proc/1/net/{tcp,tcp6,udp,udp6}");
    match table::read(host) {
        Ok(found) => bounded(found, origin),
        Err(why) => Err((why, origin)),
    }
}

fn bounded(found: BTreeSet<Found>, origin: Origin) -> Result<(BTreeSet<Found>, Origin), Refused> {
    if found.len() > MAX_SOCKETS {
        let detail = format!("more than {MAX_SOCKETS} sockets listen");
        return Err((Why::new(WhyKind::TooLarge, detail), origin));
    }
    Ok((found, origin))
}

fn by_diag(host: &dyn Host) -> Result<BTreeSet<Found>, Why> {
    let mut found = BTreeSet::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let answer = host.socket_diag(protocol).map_err(crate::ReadError::why)?;
        let sockets = diag::parse(&answer, protocol)
            .map_err(|error| Why::new(WhyKind::Malformed, error.to_string()))?;
        found.extend(sockets);
    }
    Ok(found)
}

fn listener(socket: &Found, owners: &Result<BTreeMap<u32, Reading<Owner>>, Why>) -> Listener {
    let Found { protocol, address, port, uid, inode } = *socket;
    let owner = match owners {
        Ok(owners) => owners
            .get(&inode)
            .cloned()
            .unwrap_or_else(|| Reading::absent(Origin::words("a socket of the kernel"))),
        Err(why) => Reading::unknown(why.clone(), Origin::words("/proc/PID/fd")),
    };
    Listener { protocol, address, port, uid, owner }
}

/// Sorted, and each listener once, however many sockets share its address (SO_REUSEPORT).
fn merge(mut listeners: Vec<Listener>) -> Vec<Listener> {
    listeners.sort_by(|left, right| key(left).cmp(&key(right)));
    listeners.dedup();
    listeners
}

fn key(listener: &Listener) -> (Protocol, IpAddr, u16, u32, Option<&Owner>, bool) {
    let Listener { protocol, address, port, uid, owner } = listener;
    (*protocol, *address, *port, *uid, owner.value(), matches!(owner, Reading::Absent { .. }))
}

#[cfg(test)]
mod tests;
