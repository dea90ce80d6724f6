//! Sockets: who listens on this host.

use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;

use crate::reading::Reading;

/// Listening sockets of the host's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// Every TCP socket in state LISTEN and every unconnected UDP socket, sorted, duplicates
    /// (SO_REUSEPORT) merged. Source: sock_diag(7), else `/proc/1/net/{tcp,tcp6,udp,udp6}`.
    pub listeners: Reading<Vec<Listener>>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local address; the unspecified address listens on all.
    pub address: IpAddr,
    /// The local port, 1 to 65535.
    pub port: u16,
    /// The user id that made the socket.
    pub uid: u32,
    /// The process that holds it, where that may be seen; absent for sockets of the kernel.
    pub owner: Reading<Owner>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The process behind a socket. No process id: that would change with every restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Its name, at most 15 bytes, which the process can set. Source: `/proc/PID/comm`.
    pub name: String,
    /// Its executable, where it may be seen; else empty. Source: `/proc/PID/exe`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executable: String,
}
