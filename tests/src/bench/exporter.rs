//! node_exporter with its default collectors on the same host, scraped over a kept connection.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::measure::cpu_of;
use super::peer;

/// How long it may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running node_exporter.
#[derive(Debug)]
pub(super) struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    /// Starts it and waits until it listens.
    pub(super) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new(peer::node_exporter())
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start node_exporter");
        let exporter = Self { child, address };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "node_exporter does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        exporter
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds of one scrape, as the mean of `count`. What it spends when nobody asks is taken
    /// off.
    pub(super) fn scrape(&self, count: u32) -> f64 {
        let (before, began) = (cpu_of(self.pid()), Instant::now());
        for _ in 0..count {
            self.scrape_once();
        }
        let (spent, took) = (cpu_of(self.pid()) - before, began.elapsed());
        let before = cpu_of(self.pid());
        std::thread::sleep(took);
        let idle = cpu_of(self.pid()) - before;
        spent.saturating_sub(idle).as_secs_f64() / f64::from(count)
    }

    fn scrape_once(&self) {
        let mut stream = TcpStream::connect(self.address).expect("connect");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("ask");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).expect("an answer");
        assert!(text.starts_with(b"HTTP/1.1 200 ") && text.len() > 10_000, "no scrape");
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("node_exporter cannot be ended: {error}");
        }
    }
}
