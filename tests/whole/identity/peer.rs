//! A peer that says exactly what a test wants said, from an address of its own, over TLS.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_tests::cluster::pki::Pair;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Far more than any answer takes; a hang fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The way to one collector.
#[derive(Clone)]
pub struct Way {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The status; 0 if the connection ended without an answer.
    pub status: u16,
    /// Head and body as they came.
    pub text: String,
}

impl Heard {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// The word of a refusal.
    pub fn kind(&self) -> String {
        self.json()["kind"].as_str().unwrap_or_default().to_owned()
    }

    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let head = self.text.split_once("\r\n\r\n").map_or(&*self.text, |(head, _)| head);
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Way {
    /// To `address`, whose certificate is of this authority.
    pub fn new(address: SocketAddr, authority: &Pair) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.certificate.as_bytes());
        roots.add(certificate.expect("an authority")).expect("trust an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, tls: Arc::new(tls) }
    }

    /// Sends a request with these fields from `source` and reads until the connection ends.
    pub async fn say(
        &self,
        source: Ipv4Addr,
        method: &str,
        target: &str,
        fields: &[String],
        body: &str,
    ) -> Heard {
        tokio::time::timeout(DEADLINE, self.exchange(source, method, target, fields, body))
            .await
            .unwrap_or_else(|_| panic!("{method} {target}: no answer within {DEADLINE:?}"))
    }

    async fn exchange(
        &self,
        source: Ipv4Addr,
        method: &str,
        target: &str,
        fields: &[String],
        body: &str,
    ) -> Heard {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).unwrap_or_else(|error| panic!("bind {source}: {error}"));
        let stream = socket
            .connect(self.address)
            .await
            .unwrap_or_else(|error| panic!("connect to {}: {error}", self.address));
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let mut stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .unwrap_or_else(|error| panic!("TLS with {}: {error}", self.address));
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: palisade\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
        );
        // A refusal may come, and the connection end, before everything is sent.
        drop(stream.write_all(request.as_bytes()).await);
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Heard { status, text }
    }
}

/// The field that carries a token.
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}
