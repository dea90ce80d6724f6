//! One question over HTTP/1.1, in clear text or TLS: bounded in time and size, on a connection of its
//! own.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::Request;
use hyper::StatusCode;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use palisade_report::bound::clean;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::kube::client::PRODUCT;
use crate::policy_file::PolicyFileError;
use crate::policy_file::read_regular;
use crate::tls::client::NoAuthorities;
use crate::tls::client::add_authorities;
use crate::tls::client::client;

/// How long an answer may take, from the name of the host to the last byte.
const WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a body: 10,000 alerts, of which one would do.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes that are kept of a refusal.
const MAX_SHOWN: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Not an address after all. At fault: the policy.
    #[error("failed to read the address")]
    Address,
    /// The file of the authorities cannot be read. At fault: the policy, or the file.
    #[error("failed to read the authorities")]
    ReadAuthorities(#[source] PolicyFileError),
    /// There is no certificate in it that could be trusted. At fault: the file.
    #[error("failed to use the authorities in {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
    },
    /// The library has no version of TLS. At fault: us.
    #[error("failed to set up TLS")]
    Versions(#[source] rustls::Error),
    /// Nobody is there.
    #[error("failed to connect")]
    Connect(#[source] io::Error),
    /// Whoever is there is not whom it should be.
    #[error("failed to agree on TLS")]
    Handshake(#[source] io::Error),
    /// What came back is no HTTP, or ends early.
    #[error("failed to exchange a request for an answer")]
    Exchange(#[source] hyper::Error),
    /// Another status than 200.
    #[error("failed with status {status}")]
    Status {
        /// The status; one that leads elsewhere is not followed.
        status: StatusCode,
        /// The beginning of the body, for the log: whoever may look at a plan need not be one who may
        /// read whatever answers at that address.
        said: String,
    },
    /// More than anybody needs.
    #[error("failed to read an answer of more than {MAX_BODY} bytes")]
    TooLarge,
    /// The body ends early.
    #[error("failed to read the answer: {said}")]
    Body {
        /// What happened.
        said: String,
    },
    /// Not in time.
    #[error("failed to get an answer within {WITHIN:?}")]
    TimedOut,
}

impl ExchangeError {
    /// Whether whoever answers has no page of this name: Prometheus' own word for that, and that of
    /// VictoriaMetrics.
    pub(super) fn is_no_page(&self) -> bool {
        let none = [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST];
        matches!(self, Self::Status { status, .. } if none.contains(status))
    }

    /// Whether another question to the same address would fail in the same way: nobody is there, or
    /// somebody else. What an answer is like belongs to its question.
    pub(super) const fn is_of_source(&self) -> bool {
        match self {
            Self::Address
            | Self::ReadAuthorities(_)
            | Self::Authorities { .. }
            | Self::Versions(_)
            | Self::Connect(_)
            | Self::Handshake(_)
            | Self::TimedOut => true,
            Self::Exchange(_) | Self::Status { .. } | Self::TooLarge | Self::Body { .. } => false,
        }
    }
}

/// The body of the answer to `GET address + path`, if its status is 200.
pub(super) async fn get(
    address: &str,
    path: &str,
    ca: Option<&Path>,
) -> Result<Bytes, ExchangeError> {
    match tokio::time::timeout(WITHIN, exchange(address, path, ca)).await {
        Ok(answer) => answer,
        Err(_) => Err(ExchangeError::TimedOut),
    }
}

async fn exchange(address: &str, path: &str, ca: Option<&Path>) -> Result<Bytes, ExchangeError> {
    let uri: Uri = format!("{address}{path}").parse().map_err(|_| ExchangeError::Address)?;
    let (Some(authority), Some(target)) = (uri.authority(), uri.path_and_query()) else {
        return Err(ExchangeError::Address);
    };
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(ExchangeError::Address),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let request = Request::get(target.as_str())
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, PRODUCT)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| ExchangeError::Address)?;
    let connect = TcpStream::connect((host, port));
    if !is_tls {
        return converse(connect.await.map_err(ExchangeError::Connect)?, request).await;
    }
    let config = config(ca).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ExchangeError::Address)?;
    let stream = connect.await.map_err(ExchangeError::Connect)?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    converse(stream.map_err(ExchangeError::Handshake)?, request).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Bytes, ExchangeError> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(ExchangeError::Exchange)?;
    // Ends with this function, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(ExchangeError::Exchange)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return ExchangeError::TooLarge;
        }
        ExchangeError::Body { said: clean(error.to_string().as_bytes(), MAX_SHOWN) }
    })?;
    let body = body.to_bytes();
    if status != StatusCode::OK {
        return Err(ExchangeError::Status { status, said: clean(body.trim_ascii(), MAX_SHOWN) });
    }
    Ok(body)
}

/// Trusts these authorities and nobody else, read each time: the file may have been replaced.
async fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, ExchangeError> {
    // The parser lets no such policy through.
    let path = ca.ok_or(ExchangeError::Address)?.to_owned();
    let file = path.clone();
    let pem = tokio::task::spawn_blocking(move || read_regular(&file)).await;
    let pem = match pem {
        Ok(pem) => pem.map_err(ExchangeError::ReadAuthorities)?,
        // The process is ending.
        Err(_) => return Err(ExchangeError::TimedOut),
    };
    let mut roots = RootCertStore::empty();
    add_authorities(&mut roots, pem.as_bytes())
        .map_err(|NoAuthorities| ExchangeError::Authorities { path })?;
    client(roots).map_err(ExchangeError::Versions)
}
