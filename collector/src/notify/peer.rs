//! For tests: a receiver on a loopback port that does what a test says, also what no decent one would.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::dial::Dialer;
use super::dial::Times;
use super::egress::Egress;
use super::trust::Trust;
use crate::testing::PATIENCE;

/// Times of a test in which nothing hangs.
pub(super) const PATIENT: Times = Times { connect: PATIENCE, total: PATIENCE };

/// Times of a test in which something hangs after it was reached.
pub(super) const HASTY: Times = Times { connect: PATIENCE, total: Duration::from_millis(300) };

/// A way to this host, trusting the authorities in `ca_file`.
pub(super) fn dialer(ca_file: Option<PathBuf>, times: Times) -> Dialer {
    let allowed = ["127.0.0.0/8", "::1"].map(|it| it.parse().unwrap()).to_vec();
    let trust = Trust::with_bundles(vec![], ca_file);
    Dialer { egress: Egress::new(allowed, vec![]), trust, times }
}

/// A receiver. Ends with this.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Peer {
    /// Serves each connection by `script`, which is told its number from 0.
    pub(super) async fn start<F, S>(script: F) -> Self
    where
        F: Fn(usize, TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.spawn(script(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, accepted, _accepting: accepting }
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Its address with this path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// The next request; `None` if the connection ends before one.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Got> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let mut got = Got { head: String::from_utf8(bytes).unwrap(), body: Vec::new() };
    let len = got.field("content-length").map_or(0, |it| it.parse().unwrap());
    got.body = vec![0; len];
    stream.read_exact(&mut got.body).await.ok()?;
    Some(got)
}

/// A server that shows a new certificate for these names, and the certificate as PEM.
pub(super) fn acceptor(names: &[&str]) -> (TlsAcceptor, String) {
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config).into(), cert.pem())
}
