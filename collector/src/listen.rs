//! The address that is listened on; `[::]` means every address of both families.
//!
//! ```text
//! [::]:7443 ──> IPv6 with IPV6_V6ONLY off: IPv4 peers arrive as ::ffff:a.b.c.d
//!     └ no IPv6 on this machine ──> 0.0.0.0:7443, and a line in the log
//! others ────> as they are
//! ```
//!
//! Without this the answer would hang on `net.ipv6.bindv6only`, and a machine without IPv6 could not
//! listen at all.

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;

/// Connections that wait to be accepted, as tokio has it: a fleet that comes back at once.
const BACKLOG: u32 = 1024;

/// Listens on an address.
///
/// # Errors
/// What the system says: the address is taken, not this machine's, or not allowed.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !(address.is_ipv6() && address.ip().is_unspecified()) {
        return TcpListener::bind(address).await;
    }
    on_both(address, TcpSocket::new_v6).await
}

/// Listens on both families, with an IPv6 socket of `open`, or on IPv4 if there is none.
async fn on_both(
    address: SocketAddr,
    open: impl FnOnce() -> io::Result<TcpSocket>,
) -> io::Result<TcpListener> {
    match open().and_then(|socket| for_both(socket, address)) {
        Err(error) if lacks_ipv6(&error) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::warn!(%address, %error, "this machine has no IPv6; the collector listens on IPv4 only");
            TcpListener::bind(address).await
        }
        listener => listener,
    }
}

fn for_both(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    // As tokio does it: a collector that starts again need not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the family is missing (socket(2), `ipv6.disable=1`), or has no address (bind(2)).
fn lacks_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    const BOTH: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    async fn peer_of(listener: &TcpListener, to: IpAddr) -> IpAddr {
        let port = listener.local_addr().unwrap().port();
        let (made, accepted) = tokio::join!(TcpStream::connect((to, port)), listener.accept());
        drop(made.unwrap());
        accepted.unwrap().1.ip().to_canonical()
    }

    #[tokio::test]
    async fn every_address_means_both_families() {
        let listener = listen(BOTH).await.unwrap();
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(peer_of(&listener, v4).await, v4);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        // A machine without IPv6 has proved the fallback.
        if listener.local_addr().unwrap().is_ipv6() && TcpListener::bind((v6, 0)).await.is_ok() {
            assert_eq!(peer_of(&listener, v6).await, v6);
        }
    }

    #[tokio::test]
    async fn without_ipv6_it_is_every_address_of_ipv4() {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for errno in [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL] {
            let listener = on_both(BOTH, || Err(errno.into())).await.unwrap();
            assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
            assert_eq!(peer_of(&listener, v4).await, v4);
        }
        let refused = on_both(BOTH, || Err(Errno::EMFILE.into())).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EMFILE as i32), "others are no reason");
    }
}
