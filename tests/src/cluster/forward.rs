//! One TCP port that leads to another, in this process: gives a network namespace or a virtual
//! machine a way to something that listens on loopback only. It carries bytes and injects nothing.

use std::io;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// How long a connection to the target may take; both ends are on this machine.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A listening port and what it leads to; closed, with its connections, when dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    ended: AtomicBool,
    target: Mutex<SocketAddr>,
    open: Mutex<Vec<TcpStream>>,
}

impl Forward {
    /// Listens on `listen` (port 0 for any) and leads each connection to `target`.
    ///
    /// # Panics
    /// If the address cannot be bound.
    #[must_use]
    pub fn start(listen: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(listen)
            .unwrap_or_else(|error| panic!("listen on {listen} to lead to {target}: {error}"));
        let address = listener.local_addr().expect("the address of a listener");
        let state = Arc::new(State {
            ended: AtomicBool::new(false),
            target: Mutex::new(target),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A peer that is gone before it was accepted concerns nobody else.
                let Ok(stream) = stream else { continue };
                let connection = Arc::clone(&accepting);
                thread::spawn(move || {
                    if let Err(error) = connection.carry(&stream) {
                        eprintln!("forward on {address}: {error}");
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads later connections elsewhere and cuts those that are open.
    ///
    /// # Panics
    /// If a thread of it panicked.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().expect("the target") = target;
        self.state.cut();
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.state.cut();
        // Wakes the accepting thread, which then sees that it has ended.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_WITHIN));
    }
}

impl State {
    /// Carries bytes both ways until both directions have ended.
    fn carry(&self, near: &TcpStream) -> io::Result<()> {
        let target = *self.target.lock().expect("the target");
        let far = match TcpStream::connect_timeout(&target, CONNECT_WITHIN) {
            Ok(far) => far,
            // What listens nowhere refuses here too: the near end sees a closed connection.
            Err(_) => return near.shutdown(Shutdown::Both),
        };
        self.keep(near.try_clone()?, far.try_clone()?);
        let (mut up_from, mut up_to) = (near.try_clone()?, far.try_clone()?);
        let up = thread::spawn(move || pour(&mut up_from, &mut up_to));
        pour(&mut far.try_clone()?, &mut near.try_clone()?);
        up.join().expect("a copying thread");
        Ok(())
    }

    /// Notes both ends so that they can be cut, and forgets those that have ended.
    fn keep(&self, near: TcpStream, far: TcpStream) {
        let mut open = self.open.lock().expect("the open connections");
        open.retain(|stream| stream.peer_addr().is_ok());
        open.push(near);
        open.push(far);
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("the open connections").drain(..) {
            // It may have ended by itself in the meantime.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// Copies until the end, and passes the end on; a reset counts as an end.
fn pour(from: &mut TcpStream, to: &mut TcpStream) {
    drop(io::copy(from, to));
    drop(to.shutdown(Shutdown::Write));
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_go_through_both_ways_and_a_dropped_forward_listens_no_more() {
        let echo = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = echo.local_addr().expect("its address");
        let server = thread::spawn(move || {
            let (mut stream, _) = echo.accept().expect("a connection");
            let mut said = String::new();
            stream.read_to_string(&mut said).expect("all that was said");
            stream.write_all(said.to_uppercase().as_bytes()).expect("an answer");
        });
        let forward = Forward::start("127.0.0.1:0".parse().expect("an address"), target);
        let mut client = TcpStream::connect(forward.address()).expect("a connection");
        client.write_all(b"through").expect("say something");
        client.shutdown(Shutdown::Write).expect("end saying");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, "THROUGH");
        server.join().expect("the server");

        let address = forward.address();
        drop(forward);
        let refused = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_err()
        });
        assert!(refused, "{address} still accepts");
    }
}
