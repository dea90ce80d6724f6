//! For tests: a collector on a loopback port, and a client that can misbehave.
//!
//! Does not model: TLS, peers of other machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::run::Collector;
use crate::run::RunError;
use crate::settings::Settings;

/// Longest that a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of one test, removed at its end.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("palisade-collector-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A running collector.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) scratch: Scratch,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), RunError>>,
}

impl Served {
    pub(crate) async fn start(change: impl FnOnce(&mut Settings, &Scratch)) -> Self {
        let scratch = Scratch::new();
        let any_port = "127.0.0.1:0".parse().unwrap();
        let mut settings = Settings::new(any_port, scratch.0.join("state"));
        change(&mut settings, &scratch);
        let collector = Collector::bind(settings).await.unwrap();
        let address = collector.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(collector.serve(async {
            stopped.await.unwrap();
        }));
        Self { address, scratch, stop, serving }
    }

    /// Stops it gracefully and waits.
    pub(crate) async fn stop(self) -> Scratch {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap().unwrap();
        self.scratch
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes on a connection of their own and reads until the peer closes it.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Heard {
        let mut stream = self.connect().await;
        // A refusal may come, and the connection end, before everything is sent.
        drop(stream.write_all(bytes).await);
        hear(&mut stream).await
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, method: &str, target: &str, fields: &str) -> Heard {
        self.send(&head(method, target, fields, 0)).await
    }

    /// A request with a body.
    pub(crate) async fn tell(
        &self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> Heard {
        self.send(&[&head(method, target, fields, body.len()), body].concat()).await
    }

    /// Asks until the answer fits.
    pub(crate) async fn ask_until(&self, target: &str, fits: impl Fn(&Heard) -> bool) -> Heard {
        let asking = async {
            loop {
                let heard = self.ask("GET", target, "").await;
                if fits(&heard) {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    }
}

/// The head of a request that asks to close the connection.
pub(crate) fn head(method: &str, target: &str, fields: &str, len: usize) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len}\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// Everything that came until the connection was closed.
pub(crate) async fn hear(stream: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    // A reset after a refusal leaves what came before it.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap());
    Heard(String::from_utf8(bytes).unwrap())
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Heard(pub(crate) String);

impl Heard {
    /// The status code; 0 if nothing came.
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).map_or(0, |code| code.parse().unwrap())
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let head = self.0.split_once("\r\n\r\n").map_or(&*self.0, |(head, _)| head);
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The word of a refusal, empty for anything else.
    pub(crate) fn kind_or_empty(&self) -> String {
        serde_json::from_str::<serde_json::Value>(self.body())
            .ok()
            .and_then(|body| body["kind"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// The word of a refusal.
    pub(crate) fn kind(&self) -> String {
        self.json()["kind"].as_str().unwrap().to_owned()
    }
}
