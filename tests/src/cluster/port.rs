//! Loopback ports that stay ours while the server behind them is down or not yet up.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A TCP port of 127.0.0.1, held by a socket that is bound and never listens.
///
/// Servers of the same user that set `SO_REUSEPORT` can listen on it, see socket(7); nobody else is
/// given it. While no server listens, connections are refused.
#[derive(Debug)]
pub struct Port {
    socket: TcpSocket,
}

impl Port {
    /// Any free one.
    ///
    /// # Panics
    /// If the machine has none.
    #[must_use]
    pub fn reserve() -> Self {
        Self::take(0)
    }

    /// This one; 0 is any free one.
    ///
    /// # Panics
    /// If somebody else has it.
    #[must_use]
    pub fn take(number: u16) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseport(true).expect("share a port");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, number))).expect("bind a loopback port");
        Self { socket }
    }

    /// Its address.
    ///
    /// # Panics
    /// Never on Linux: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("the address of a bound socket")
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.address().port()
    }
}
