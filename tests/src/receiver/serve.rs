//! One connection: requests read by hand, because no decent server breaks off in the right places.

use std::io;
use std::time::Duration;
use std::time::SystemTime;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::Answered;
use super::Conduct;
use super::House;
use super::Request;

/// Bytes of a request line with its headers. Nobody who is tested sends more.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes of a body: more than any sender here may send.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Pieces in which a slow reader reads.
const PIECES: u32 = 20;

/// What a receiver says that takes something.
const TAKEN: &str = "{\"status\":\"success\"}";

/// Between pieces of an answer that never ends: quick, without keeping a core busy.
const PAUSE: Duration = Duration::from_millis(1);

/// What of a connection was read and not yet used.
struct Reading<S> {
    stream: S,
    rest: Vec<u8>,
}

/// The head of a request.
struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Serves until either side ends it.
pub(super) async fn connection<S>(stream: S, house: &House) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reading = Reading { stream, rest: Vec::new() };
    while reading.more().await? {
        if !request(&mut reading, house).await? {
            // Says that there is no more, also over TLS, so that the other side reads what was said.
            return reading.stream.shutdown().await;
        }
    }
    Ok(())
}

/// Whether the connection goes on.
async fn request<S>(reading: &mut Reading<S>, house: &House) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let conduct = house.conduct();
    let mut record = Request {
        at: SystemTime::now(),
        method: String::new(),
        path: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
        conduct: conduct.clone(),
        answered: Answered::Nothing,
    };
    if conduct == Conduct::DropUnread {
        house.record(record);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let head = reading.head().await?;
    let is_early = matches!(conduct, Conduct::EarlyStatus(_));
    if !is_early {
        let slow = if let Conduct::SlowRead(over) = &conduct { Some(*over) } else { None };
        record.body = reading.body(&head, slow).await?;
    }
    record.at = SystemTime::now();
    Head { method: record.method, path: record.path, headers: record.headers } = head;
    let answer = Answer::of(&conduct);
    record.answered = answer.seen;
    let number = house.record(record);
    let written = reading.answer(&answer).await;
    if written.is_err() && matches!(answer.seen, Answered::Whole(_)) {
        house.unanswered(number);
    }
    written?;
    if conduct == Conduct::Hang {
        // Until the other side has had enough.
        let mut ignored = [0; 1024];
        while reading.stream.read(&mut ignored).await? > 0 {}
    }
    Ok(answer.goes_on)
}

/// An answer in bytes.
struct Answer {
    bytes: String,
    /// Said again and again after the bytes.
    endless: Option<&'static str>,
    seen: Answered,
    goes_on: bool,
}

impl Answer {
    fn of(conduct: &Conduct) -> Self {
        match conduct {
            Conduct::CutBody => {
                let half = &TAKEN[..TAKEN.len() / 2];
                let length = TAKEN.len();
                Self::broken(
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{half}"),
                    Answered::Part(200),
                )
            }
            Conduct::CutHead => Self::broken("HTTP/1.1 20".to_owned(), Answered::Nothing),
            Conduct::DropRead | Conduct::DropUnread | Conduct::Hang => {
                Self::broken(String::new(), Answered::Nothing)
            }
            Conduct::EarlyStatus(status) => {
                Self { goes_on: false, ..Self::whole(*status, "connection: close\r\n", "{}") }
            }
            Conduct::EndlessBody => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
                Self { endless: Some(ENDLESS_CHUNK), ..Self::broken(head, Answered::Part(200)) }
            }
            Conduct::EndlessHead => {
                let head = "HTTP/1.1 200 OK\r\n".to_owned();
                Self { endless: Some(ENDLESS_HEADER), ..Self::broken(head, Answered::Part(200)) }
            }
            Conduct::Garbage => {
                Self::broken("\u{1}\u{2} no HTTP\r\n\r\n".to_owned(), Answered::Nothing)
            }
            Conduct::Redirect(to) => Self::whole(307, &format!("location: {to}\r\n"), "{}"),
            Conduct::SlowRead(_) | Conduct::Take => Self::whole(200, "", TAKEN),
            Conduct::Status(status) => Self::whole(*status, "", "{}"),
            Conduct::TooMany(after) => Self::whole(429, &format!("retry-after: {after}\r\n"), "{}"),
        }
    }

    fn whole(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let bytes = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        Self { bytes, endless: None, seen: Answered::Whole(status), goes_on: true }
    }

    const fn broken(bytes: String, seen: Answered) -> Self {
        Self { bytes, endless: None, seen, goes_on: false }
    }
}

/// Sixteen bytes and their length, RFC 9112 section 7.1.
const ENDLESS_CHUNK: &str = "10\r\nand so on and on\r\n";

const ENDLESS_HEADER: &str = "x-more: and so on and on\r\n";

impl<S: AsyncRead + AsyncWrite + Unpin> Reading<S> {
    /// Whether there is anything to read.
    async fn more(&mut self) -> io::Result<bool> {
        Ok(!self.rest.is_empty() || self.fill().await? > 0)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut some = [0; 16 * 1024];
        let count = self.stream.read(&mut some).await?;
        self.rest.extend_from_slice(&some[..count]);
        Ok(count)
    }

    /// Up to and with this mark.
    async fn through(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.rest.windows(mark.len()).position(|it| it == mark);
            if let Some(at) = found {
                return Ok(self.rest.drain(..at + mark.len()).collect());
            }
            if self.rest.len() > MAX_HEAD || self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        while self.rest.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.rest.drain(..length).collect())
    }

    async fn head(&mut self) -> io::Result<Head> {
        let bytes = self.through(b"\r\n\r\n").await?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Head { method, path, headers })
    }

    async fn body(&mut self, head: &Head, slow: Option<Duration>) -> io::Result<Vec<u8>> {
        if head.header("transfer-encoding").is_some_and(|it| it.contains("chunked")) {
            return self.chunks().await;
        }
        let length = head.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let Some(over) = slow else { return self.exactly(length).await };
        let mut body = Vec::new();
        let piece = length.div_ceil(PIECES as usize).max(1);
        while body.len() < length {
            tokio::time::sleep(over / PIECES).await;
            body.append(&mut self.exactly(piece.min(length - body.len())).await?);
        }
        Ok(body)
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.through(b"\r\n").await?;
            let line = String::from_utf8_lossy(&line);
            let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
            let length = usize::from_str_radix(&digits, 16).map_err(io::Error::other)?;
            body.append(&mut self.exactly(length).await?);
            self.exactly(2).await?;
            if length == 0 || body.len() > MAX_BODY {
                return Ok(body);
            }
        }
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.stream.write_all(answer.bytes.as_bytes()).await?;
        self.stream.flush().await?;
        while let Some(again) = answer.endless {
            self.stream.write_all(again.repeat(64).as_bytes()).await?;
            self.stream.flush().await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
