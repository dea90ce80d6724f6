//! One request over HTTP/1.1 to a receiver, and what it answers: bounded in time and size, without
//! redirects, without proxies. What an answer means is in `palisade_alert::answer`.
//!
//! ```text
//! HttpRequest ─> kept connection, if it is alive and young ─> Answer
//!                  │ nothing of the request was sent
//!                  └─> a new one: guard, connect, TLS ─────> Answer
//! ```
//!
//! A request of which anything may have been sent is not sent again here: the outbox decides that. No
//! error shows anything of the address but the host.

use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use palisade_alert::outgoing::HttpRequest;
use palisade_alert::outgoing::Outcome;
use palisade_report::Moment;
use palisade_report::bound::clean;
use ring::hmac;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout_at;

use super::dial::DialError;
use super::dial::Dialer;
use super::egress::Endpoint;
use super::egress::Host;
use super::egress::RefusedUrl;
use super::egress::Transport;
use crate::chain::Chain;
use crate::kube::client::PRODUCT;

/// Bytes that are read of an answer's body; the rest is left unread, and the connection with it.
pub const MAX_BODY: usize = 64 * 1024;

/// Bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes of a `Retry-After`; a date has 29.
const MAX_RETRY_AFTER: usize = 64;

/// How old a connection may become: by then its name is resolved and judged anew, and its peer must
/// show its certificate again.
const MAX_AGE: Duration = Duration::from_secs(30);

/// How long to leave a receiver alone that only a person can mend.
pub(super) const PATIENCE_FOR_PEOPLE: Duration = Duration::from_secs(300);

/// Headers of a request that are not for its author to set.
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a receiver answered, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status; one that leads elsewhere is not followed.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// The body as far as it came in time, at most [`MAX_BODY`].
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Not an address to send to. At fault: configuration.
    #[error("failed to read the receiver's address")]
    Address(#[source] RefusedUrl),
    /// No connection.
    #[error("failed to reach the receiver")]
    Dial(#[source] DialError),
    /// What came back is no HTTP, or ends early. The request may have arrived.
    #[error("failed to exchange a request for an answer with {host}")]
    Exchange {
        /// The receiver's host.
        host: Host,
        /// What went wrong.
        source: hyper::Error,
    },
    /// A header that cannot be sent. At fault: configuration.
    #[error(
        "failed to use the header {name:?}: it cannot be sent, or is not for its author to set"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// A method that cannot be sent. At fault: us.
    #[error("failed to use the method of the request")]
    Method,
    /// Not in time. The request may have arrived.
    #[error("failed to get an answer from {host} within {within:?}")]
    TimedOut {
        /// The receiver's host.
        host: Host,
        /// The time it had.
        within: Duration,
    },
}

impl PostError {
    /// What it means for the message: nothing here is the message's own fault, so it stays, and is
    /// tried rarely where only a person can help.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let why = Chain(self).to_string();
        let is_for_people = match self {
            Self::Address(_) | Self::Header { .. } | Self::Method => true,
            Self::Dial(error) => error.is_for_people(),
            Self::Exchange { .. } | Self::TimedOut { .. } => {
                return Outcome::Lost { after: None, why };
            }
        };
        Outcome::Retry { after: is_for_people.then_some(PATIENCE_FOR_PEOPLE), why }
    }

    /// A word for metrics, of a closed set.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::Header { .. } | Self::Method => "settings",
            Self::Dial(error) => error.class(),
            Self::Exchange { .. } => "exchange",
            Self::TimedOut { .. } => "timeout",
        }
    }
}

/// Sends requests to one receiver, or to one member of it, one after the other.
#[derive(Debug)]
pub struct Poster {
    dialer: Dialer,
    kept: Option<Kept>,
}

/// A connection that may be used again.
#[derive(Debug)]
struct Kept {
    endpoint: (Transport, Host, u16),
    since: Instant,
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with this.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Poster {
    /// Sends by this way.
    #[must_use]
    pub const fn new(dialer: Dialer) -> Self {
        Self { dialer, kept: None }
    }

    /// The answer to `request`, which is signed as of `now`.
    ///
    /// # Errors
    /// [`PostError`].
    pub async fn post(&mut self, request: &HttpRequest, now: Moment) -> Result<Answer, PostError> {
        let endpoint = Endpoint::parse(request.url.reveal()).map_err(PostError::Address)?;
        let message = message(request, &endpoint, now)?;
        let within = self.dialer.times.total;
        let deadline = Instant::now() + within;
        let Ok(answered) = timeout_at(deadline, self.exchange(&endpoint, message)).await else {
            return Err(PostError::TimedOut { host: endpoint.host, within });
        };
        let (kept, response) = answered?;
        let (answer, rest) = read(response, deadline).await;
        match rest {
            Rest::Nothing => self.kept = Some(kept),
            Rest::Unread => {}
        }
        Ok(answer)
    }

    async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        mut message: Request<Full<Bytes>>,
    ) -> Result<(Kept, Response<Incoming>), PostError> {
        let broken = |source| PostError::Exchange { host: endpoint.host.clone(), source };
        if let Some(mut kept) = self.kept.take().filter(|it| it.is_for(endpoint))
            && kept.sender.ready().await.is_ok()
        {
            match kept.sender.try_send_request(message).await {
                Ok(response) => return Ok((kept, response)),
                Err(mut unsent) => match unsent.take_message() {
                    Some(whole) => message = whole,
                    None => return Err(broken(unsent.into_error())),
                },
            }
        }
        let mut kept = self.open(endpoint).await?;
        let response = kept.sender.send_request(message).await.map_err(broken)?;
        Ok((kept, response))
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Kept, PostError> {
        let Endpoint { transport, host, port, target: _ } = endpoint;
        let stream = self.dialer.connect(host, *port, *transport).await.map_err(PostError::Dial)?;
        match transport {
            Transport::Clear => Kept::over(stream, endpoint).await,
            Transport::Tls => {
                let stream = self.dialer.encrypt(stream, host).await.map_err(PostError::Dial)?;
                Kept::over(stream, endpoint).await
            }
        }
    }
}

impl Kept {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        endpoint: &Endpoint,
    ) -> Result<Self, PostError> {
        let Endpoint { transport, host, port, target: _ } = endpoint;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| PostError::Exchange { host: host.clone(), source })?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let endpoint = (*transport, host.clone(), *port);
        Ok(Self { endpoint, since: Instant::now(), sender, _driver: driver })
    }

    fn is_for(&self, endpoint: &Endpoint) -> bool {
        let Endpoint { transport, host, port, target: _ } = endpoint;
        let (kept_transport, kept_host, kept_port) = &self.endpoint;
        (kept_transport, kept_host, kept_port) == (transport, host, port)
            && self.since.elapsed() < MAX_AGE
    }
}

/// Whether something of an answer is still to come.
enum Rest {
    Nothing,
    Unread,
}

/// Reads what comes of the body until `deadline`. The status counts from then on when it came: a body
/// that does not end takes nothing back.
async fn read(response: Response<Incoming>, deadline: Instant) -> (Answer, Rest) {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.map(|it| clean(it.as_bytes(), MAX_RETRY_AFTER));
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    let rest = loop {
        match timeout_at(deadline, incoming.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                let room = MAX_BODY.saturating_sub(body.len());
                body.extend(data.iter().take(room));
                if data.len() > room {
                    break Rest::Unread;
                }
            }
            Ok(None) => break Rest::Nothing,
            Ok(Some(Err(_))) | Err(_) => break Rest::Unread,
        }
    };
    (Answer { status, retry_after, body }, rest)
}

fn message(
    request: &HttpRequest,
    endpoint: &Endpoint,
    now: Moment,
) -> Result<Request<Full<Bytes>>, PostError> {
    let HttpRequest { method, url: _, headers, content_type, body, sign_with } = request;
    let method = method.parse().map_err(|_| PostError::Method)?;
    if method == Method::CONNECT {
        return Err(PostError::Method);
    }
    let refused = |name: &str| PostError::Header { name: clean(name.as_bytes(), 64) };
    let mut message = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *message.method_mut() = method;
    *message.uri_mut() =
        endpoint.target.reveal().parse().map_err(|_| PostError::Address(RefusedUrl::Target))?;
    let fields = message.headers_mut();
    fields.insert(header::USER_AGENT, HeaderValue::from_static(PRODUCT));
    for (name, value) in headers {
        let key = name.parse().ok().filter(|it| !FRAMING.contains(it));
        let key: HeaderName = key.ok_or_else(|| refused(name))?;
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| refused(name))?;
        value.set_sensitive(true);
        fields.insert(key, value);
    }
    let mut set = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| refused(name.as_str()))?;
        fields.insert(name, value);
        Ok(())
    };
    set(header::HOST, &endpoint.authority())?;
    set(header::CONTENT_TYPE, content_type)?;
    if let Some(key) = sign_with {
        let (seconds, signature) = sign(key.reveal().as_bytes(), body, now);
        set(HeaderName::from_static("x-palisade-timestamp"), &seconds)?;
        set(HeaderName::from_static("x-palisade-signature"), &signature)?;
    }
    Ok(message)
}

/// The moment in Unix seconds, and the HMAC-SHA-256 over moment, dot and body.
fn sign(key: &[u8], body: &[u8], now: Moment) -> (String, String) {
    let seconds = now.unix().to_string();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(seconds.as_bytes());
    context.update(b".");
    context.update(body);
    let tag = context.sign();
    let mut signature = "sha256=".to_owned();
    for byte in tag.as_ref() {
        signature.push_str(&format!("{byte:02x}"));
    }
    (seconds, signature)
}

#[cfg(test)]
mod tests;
