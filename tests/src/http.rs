//! A small HTTP/1.1 client over one kept connection, in clear text or TLS. It does what a test says,
//! also what no decent client would.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long any answer may take; a hang fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
    trust: Option<Trust>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// Whom a client believes over TLS: authorities, and the name that the server must have.
#[derive(Clone, Debug)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// Trusts the authorities in `pem` and nobody else, for a server called `name`.
    ///
    /// # Panics
    /// If there is no certificate in `pem`, or `name` is neither a name nor an address.
    #[must_use]
    pub fn new(pem: &str, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.expect("a certificate in PEM")).expect("an authority");
        }
        assert!(!roots.is_empty(), "no certificate in {pem:?}");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("the name of a server");
        Self { config: Arc::new(config), name }
    }

    /// The client's side of a session that somebody else carries.
    ///
    /// # Panics
    /// Never: the settings are whole.
    #[must_use]
    pub fn session(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).expect("a session")
    }

    async fn meet(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        self.parse()
    }

    /// The body as `T`.
    #[must_use]
    pub fn parse<T: for<'de> Deserialize<'de>>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The problem's kind, for answers that are not a success.
    #[must_use]
    pub fn problem(&self) -> String {
        self.parse::<palisade_report::wire::Problem>().kind
    }
}

impl Client {
    /// A client without a token.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, token: None, trust: None, sender: None }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The same over TLS.
    #[must_use]
    pub fn with_trust(mut self, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    /// `GET path`, which must succeed.
    pub async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::GET, path, &[], Bytes::new()).await.expect("an answer");
        assert!(answer.status.is_success(), "GET {path}: {} {}", answer.status, answer.text());
        answer
    }

    /// As [`Client::send`], for servers that may not be there.
    ///
    /// # Errors
    /// When the server cannot be reached or is not whom it should be, and as [`Client::send`].
    pub async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<Answer> {
        let sender = match self.reusable().await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        self.exchange(sender, method, path, headers, body).await.map_err(io::Error::other)
    }

    /// Sends a request on the kept connection, or on a new one if there is none or it was closed.
    ///
    /// # Errors
    /// When the server closes the connection without an answer, or cannot be reached.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, hyper::Error> {
        let address = self.address;
        let cannot = |error| panic!("connect to {address}: {error}");
        let sender = match self.reusable().await {
            Some(kept) => kept,
            None => self.connect().await.unwrap_or_else(cannot),
        };
        self.exchange(sender, method, path, headers, body).await
    }

    async fn exchange(
        &mut self,
        mut sender: SendRequest<Full<Bytes>>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, hyper::Error> {
        let mut request =
            Request::builder().method(method).uri(path).header("host", self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let answer = tokio::time::timeout(DEADLINE, sender.send_request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer to {path} within {DEADLINE:?}"))?;
        let (parts, body) = answer.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect())
            .await
            .unwrap_or_else(|_| panic!("no whole answer to {path} within {DEADLINE:?}"))?
            .to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn reusable(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.sender.take()?;
        kept.ready().await.ok()?;
        Some(kept)
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let met = match &self.trust {
            None => Self::greet(TcpStream::connect(self.address).await?).await,
            Some(trust) => Self::greet(trust.meet(self.address).await?).await,
        };
        met.map_err(io::Error::other)
    }

    async fn greet(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, hyper::Error> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
