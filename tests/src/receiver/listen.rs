//! The port: connections in, each served in a task of its own, all ended together.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::House;
use super::serve;

/// Connections that wait to be accepted: as many as a burst of a test has.
const BACKLOG: u32 = 1024;

/// Listens beside the socket that reserves the port.
pub(super) fn bind(runtime: &Runtime, address: SocketAddr) -> TcpListener {
    let _inside = runtime.enter();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("share a port");
    socket.bind(address).expect("bind a port of ours");
    socket.listen(BACKLOG).expect("listen")
}

/// Serves until it is aborted; the connections end with it.
pub(super) async fn listen(listener: TcpListener, house: Arc<House>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        while connections.try_join_next().is_some() {}
        let house = Arc::clone(&house);
        connections.spawn(async move {
            let served = match house.certificate() {
                None => serve::connection(stream, &house).await,
                Some(certificate) => match house.identity.greet(stream, certificate).await {
                    Ok(stream) => serve::connection(stream, &house).await,
                    Err(error) => Err(error),
                },
            };
            // Who hangs up, and who does not trust us, is how most tests end a connection.
            served.ok();
        });
    }
}
