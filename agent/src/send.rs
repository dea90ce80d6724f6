//! One request to the collector and its answer: connection, TLS, token, limits.
//!
//! What is asked and what an answer means is decided in `conversation`; nothing here retries but
//! one case: a kept connection that the collector closed between two requests.

mod tls;

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use palisade_report::TrustId;
use tokio::net::TcpStream;

use crate::settings::Endpoint;
pub use tls::TlsError;
use tls::Trust;

/// Time for one request: connecting, sending, and the whole answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that an answer may have. The largest honest one lists ten sections.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Bytes that a token file may have; projected tokens have about 1 KiB.
const MAX_TOKEN: u64 = 16 * 1024;

/// Most that a collector may ask to wait by Retry-After; longer is taken as this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// A connection to one collector, made when it is needed and kept.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    token_file: Option<PathBuf>,
    trust: Option<Trust>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gzip, RFC 1952.
    Gzip,
    /// As it is.
    Identity,
}

/// What the collector answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Its body, at most [`MAX_ANSWER`] bytes.
    pub body: Bytes,
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The answer was cut, or longer than allowed. At fault: the collector or the network.
    #[error("failed to read the answer of at most {MAX_ANSWER} bytes")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answers there. At fault: the configuration, the network or the collector.
    #[error("failed to connect to {endpoint}")]
    Connect {
        /// The collector.
        endpoint: Endpoint,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke. At fault: the network or the collector.
    #[error("failed to send the request")]
    Exchange(#[source] hyper::Error),
    /// The token file cannot be read. At fault: the configuration.
    #[error("failed to read the token at {}", path.display())]
    ReadToken {
        /// As configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The request cannot be put in HTTP. At fault: the token's bytes.
    #[error("failed to build the request")]
    Request(#[source] hyper::http::Error),
    /// No answer in time. At fault: the network or the collector.
    #[error("failed to get an answer from {endpoint} within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout {
        /// The collector.
        endpoint: Endpoint,
    },
    /// TLS could not be agreed on.
    #[error("failed to set up TLS with {endpoint}")]
    Tls {
        /// The collector.
        endpoint: Endpoint,
        /// Which step.
        source: TlsError,
    },
}

impl Client {
    /// A client of the collector at `endpoint`. Connects when the first request is sent.
    #[must_use]
    pub fn new(endpoint: Endpoint, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Self {
        let trust = ca_file.filter(|_| endpoint.secure).map(Trust::new);
        Self { endpoint, token_file, trust, connection: None }
    }

    /// The authorities that the next connection would trust, as their file is now.
    #[must_use]
    pub fn trust(&mut self) -> Option<TrustId> {
        self.trust.as_mut().and_then(Trust::id)
    }

    /// Sends one request and waits for the whole answer.
    ///
    /// # Errors
    /// [`SendError`]; the connection is then given up and the next request makes a new one.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<Answer, SendError> {
        let attempt = self.exchange(method, path, body, encoding);
        let outcome = tokio::time::timeout(REQUEST_TIMEOUT, attempt).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(SendError::Timeout { endpoint: self.endpoint.clone() }));
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<Answer, SendError> {
        let authorization = self.authorization()?;
        let request = || {
            let mut request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(header::HOST, self.endpoint.authority())
                .header(header::CONTENT_TYPE, "application/json");
            if let Some(value) = &authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            if encoding == Encoding::Gzip {
                request = request.header(header::CONTENT_ENCODING, "gzip");
            }
            request.body(Full::new(body.clone())).map_err(SendError::Request)
        };
        let (first, second) = (request()?, request()?);
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
            && let Ok(response) = kept.send_request(first).await
        {
            let answer = read(response).await?;
            self.connection = Some(kept);
            return Ok(answer);
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(second).await.map_err(SendError::Exchange)?;
        let answer = read(response).await?;
        self.connection = Some(fresh);
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, SendError> {
        let Self { endpoint, token_file: _, trust, connection: _ } = self;
        let Some(trust) = trust else { return speak(TokioIo::new(dial(endpoint).await?)).await };
        let failed = |source| SendError::Tls { endpoint: endpoint.clone(), source };
        let connect = trust.connect(&endpoint.host).map_err(failed)?;
        let stream = match connect.over(dial(endpoint).await?).await {
            Ok(stream) => stream,
            // The collector may have a certificate of a new authority, and the file of
            // authorities may have followed since it was read.
            Err(error) => {
                let again = trust.connect(&endpoint.host).map_err(failed)?;
                if again.is_as(&connect) {
                    return Err(failed(error));
                }
                again.over(dial(endpoint).await?).await.map_err(failed)?
            }
        };
        speak(TokioIo::new(stream)).await
    }

    /// The header that presents the token; the file is read anew, because tokens are replaced.
    fn authorization(&self) -> Result<Option<HeaderValue>, SendError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let failed = |source| SendError::ReadToken { path: path.clone(), source };
        let token = read_bounded(path, MAX_TOKEN).map_err(failed)?;
        let value = [b"Bearer ", token.trim_ascii()].concat();
        let mut value =
            HeaderValue::from_bytes(&value).map_err(|error| SendError::Request(error.into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// A connection to the collector, nothing said on it yet.
async fn dial(endpoint: &Endpoint) -> Result<TcpStream, SendError> {
    let failed = |source| SendError::Connect { endpoint: endpoint.clone(), source };
    let stream =
        TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(failed)?;
    // Requests are single writes; waiting to fill a packet would only delay them.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Starts HTTP/1.1 on a stream.
async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, SendError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(SendError::Exchange)?;
    // It ends with the sender or the stream; what went wrong is told to the request on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn read(response: hyper::Response<Incoming>) -> Result<Answer, SendError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(SendError::Answer)?;
    let retry_after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok())
        .map(|secs| Duration::from_secs(secs).min(MAX_RETRY_AFTER));
    Ok(Answer { status: head.status, retry_after, body: body.to_bytes() })
}

/// The bytes of one of the agent's own files; longer than `limit` is an error.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
