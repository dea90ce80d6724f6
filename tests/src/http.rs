//! A small HTTP/1.1 client over one kept connection. It does what a test says, also what no decent
//! client would.

use std::net::SocketAddr;
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
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long any answer may take; a hang fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
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
        Self { address, token: None, sender: None }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// `GET path`, which must succeed.
    pub async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::GET, path, &[], Bytes::new()).await.expect("an answer");
        assert!(answer.status.is_success(), "GET {path}: {} {}", answer.status, answer.text());
        answer
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
        let mut sender = match self.reusable().await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
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

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, hyper::Error> {
        let stream = TcpStream::connect(self.address)
            .await
            .unwrap_or_else(|error| panic!("connect to {}: {error}", self.address));
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
