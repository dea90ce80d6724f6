//! A small client of one API server for tests: it says exactly what a test wants said, with a client
//! certificate, a token or nothing, and is usable from plain and from async tests alike.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pki::Pair;
use crate::http::Answer;

/// How long any answer may take; a hang fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many connections [`Api::send_all`] uses.
const CONNECTIONS: usize = 4;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    body: Bytes,
}

impl Call {
    /// `GET path`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Bytes::new())
    }

    /// `GET path` as a table, the form in which kubectl prints lists: small.
    #[must_use]
    pub fn table(path: impl Into<String>) -> Self {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        Self { accept, ..Self::get(path) }
    }

    /// `DELETE path`, with the default options.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, Bytes::new())
    }

    /// `POST path` with an object.
    #[must_use]
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path, body.to_string().into())
    }

    /// `PUT path` with an object.
    #[must_use]
    pub fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::PUT, path, body.to_string().into())
    }

    /// `PATCH path` with a JSON merge patch (RFC 7386).
    #[must_use]
    pub fn merge(path: impl Into<String>, body: &Value) -> Self {
        let call = Self::new(Method::PATCH, path, body.to_string().into());
        Self { content_type: "application/merge-patch+json", ..call }
    }

    /// `PATCH path` with a strategic merge patch, which merges conditions by type.
    #[must_use]
    pub fn strategic(path: impl Into<String>, body: &Value) -> Self {
        let call = Self::new(Method::PATCH, path, body.to_string().into());
        Self { content_type: "application/strategic-merge-patch+json", ..call }
    }

    fn new(method: Method, path: impl Into<String>, body: Bytes) -> Self {
        let json = "application/json";
        Self { method, path: path.into(), content_type: json, accept: json, body }
    }
}

/// A client of one server under one name.
#[derive(Clone, Debug)]
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

impl Api {
    /// A client that trusts `authority` (PEM) and shows `certificate`, if there is one.
    ///
    /// # Panics
    /// If they are no certificates.
    #[must_use]
    pub fn new(address: SocketAddr, authority: &str, certificate: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("an authority");
        roots.add(authority).expect("trust an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots);
        let tls = match certificate {
            None => tls.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                tls.with_client_auth_cert(vec![chain.expect("a certificate")], key)
                    .expect("a client certificate")
            }
        };
        Self { address, tls: Arc::new(tls), token: None }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Sends `call` on a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached, or closes the connection before the whole answer.
    pub fn send(&self, call: Call) -> io::Result<Answer> {
        run(async {
            let mut sender = self.connect().await?;
            self.exchange(&mut sender, call).await
        })
    }

    /// Sends `call`, which must succeed, and returns the object that came back.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn must(&self, call: Call) -> Value {
        let what = format!("{} {}", call.method, call.path);
        let answer = self.send(call).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.status.is_success(), "{what}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// Sends many over a few kept connections; answers come in the order of the calls.
    ///
    /// # Panics
    /// If one gets no answer.
    #[must_use]
    pub fn send_all(&self, calls: &[Call]) -> Vec<Answer> {
        if calls.is_empty() {
            return Vec::new();
        }
        let parts: Vec<Vec<Answer>> = std::thread::scope(|scope| {
            let share = calls.len().div_ceil(CONNECTIONS);
            let workers: Vec<_> = calls
                .chunks(share)
                .map(|calls| scope.spawn(move || run(self.in_order(calls))))
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("a part of the calls")).collect()
        });
        parts.into_iter().flatten().collect()
    }

    async fn in_order(&self, calls: &[Call]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(calls.len());
        let mut sender = self.connect().await.expect("connect to the API server");
        for call in calls {
            let what = format!("{} {}", call.method, call.path);
            let answer = self.exchange(&mut sender, call.clone()).await;
            answers.push(answer.unwrap_or_else(|error| panic!("{what}: {error}")));
        }
        answers
    }

    pub(super) async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        call: Call,
    ) -> io::Result<Answer> {
        let Call { method, path, content_type, accept, body } = call;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("user-agent", "palisade-tests")
            .header("accept", accept);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        let whole = async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        match tokio::time::timeout(DEADLINE, whole).await {
            Ok(answer) => answer.map_err(|error: hyper::Error| io::Error::other(error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no whole answer")),
        }
    }
}

/// Runs `future` on a thread of its own, because the caller may be inside a runtime.
fn run<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(future)
        });
        match worker.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
