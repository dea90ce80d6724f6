//! A Pushgateway, which keeps the last figures of each node as the collector keeps its facts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::blast::Source;
use super::peer;

/// Series of one push: one for each of about as many findings.
const SERIES: usize = 120;

/// How long it may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running Pushgateway, in memory, without the check that costs it most.
#[derive(Debug)]
pub(super) struct Pushgateway {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Pushgateway {
    /// Starts it, or says why it cannot be.
    pub(super) fn start() -> Result<Self, String> {
        let binary = peer::pushgateway().ok_or("not unpacked: run tests/tools/peers")?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new(binary)
            .arg(format!("--web.listen-address={address}"))
            .args(["--push.disable-consistency-check", "--log.level=error"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("does not start: {error}"))?;
        let gateway = Self { child, address };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= deadline {
                return Err("does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(gateway)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Pushgateway {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the Pushgateway cannot be ended: {error}");
        }
    }
}

/// Pushes of some nodes, one each.
pub(super) struct Lane {
    requests: std::vec::IntoIter<Vec<u8>>,
    current: Vec<u8>,
}

/// One push of each of `nodes` nodes over `connections` connections.
pub(super) fn lanes(nodes: usize, connections: usize) -> Vec<Lane> {
    let mut body = "# TYPE palisade_finding gauge\n".to_owned();
    for index in 0..SERIES {
        let labels =
            format!("rule=\"area.subject-number-{index}\",severity=\"medium\",verdict=\"fail\"");
        writeln!(body, "palisade_finding{{{labels}}} 1").expect("a string takes everything");
    }
    let push = |node: usize| {
        let length = body.len();
        format!(
            "PUT /metrics/job/palisade/instance/node-{node} HTTP/1.1\r\nhost: palisade\r\n\
             content-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    (0..connections)
        .map(|lane| Lane {
            requests: (lane..nodes).step_by(connections).map(push).collect::<Vec<_>>().into_iter(),
            current: Vec::new(),
        })
        .collect()
}

impl Source for Lane {
    fn next(&mut self) -> Option<&[u8]> {
        self.current = self.requests.next()?;
        Some(&self.current)
    }

    fn take(&mut self, _answer: &[u8]) {}
}
