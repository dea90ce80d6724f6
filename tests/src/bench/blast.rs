//! A client that costs little: requests written in advance, kept connections, two threads.
//!
//! Each thread writes one request on each of its connections, then reads the answers in the same
//! order. So the server always has a whole thread's worth of requests before it, and the client
//! spends one write and one read on each.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// Threads of the client: as many as the machine that the goals were set on has processors.
const THREADS: usize = 2;

/// How long an answer may take before the run is given up.
const DEADLINE: Duration = Duration::from_secs(20);

/// What one connection has to say.
pub(super) trait Source: Send {
    /// The next request, or nothing more.
    fn next(&mut self) -> Option<&[u8]>;

    /// The body of its answer, which was a success.
    fn take(&mut self, answer: &[u8]);
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Answers.
    pub(super) answers: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends what `sources` have to say, one connection for each, until they end or `time` is over.
pub(super) fn blast<S: Source>(address: SocketAddr, sources: &mut [S], time: Duration) -> Outcome {
    let share = sources.len().div_ceil(THREADS);
    let mut shares: Vec<Vec<(Connection, &mut S)>> = Vec::new();
    for sources in sources.chunks_mut(share) {
        let connect = |source| (Connection::open(address), source);
        shares.push(sources.iter_mut().map(connect).collect());
    }
    let began = Instant::now();
    let end = began + time;
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|mut lanes| scope.spawn(move || talk(&mut lanes, end)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client thread")).sum()
    });
    Outcome { answers, elapsed: began.elapsed() }
}

fn talk<S: Source>(lanes: &mut [(Connection, &mut S)], end: Instant) -> u64 {
    let mut answers = 0;
    while Instant::now() < end {
        let mut waiting = 0;
        for (connection, source) in &mut *lanes {
            connection.waits = false;
            if let Some(request) = source.next() {
                connection.stream.write_all(request).expect("send a request");
                connection.waits = true;
                waiting += 1;
            }
        }
        if waiting == 0 {
            break;
        }
        for (connection, source) in &mut *lanes {
            if connection.waits {
                source.take(connection.answer());
                answers += 1;
            }
        }
    }
    answers
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    waits: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
        Self { stream, buffer: vec![0; 32 * 1024], waits: false }
    }

    /// The body of the next answer.
    fn answer(&mut self) -> &[u8] {
        let mut length = 0;
        let (head, body) = loop {
            length += self.read_at(length);
            let Some(head) = find(&self.buffer[..length], b"\r\n\r\n") else { continue };
            break (head, head + 4);
        };
        let text = std::str::from_utf8(&self.buffer[..head]).expect("a head of text");
        assert!(text.starts_with("HTTP/1.1 20"), "{text}");
        let named = |line: &'_ str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        };
        let size = text.split("\r\n").find_map(named).expect("a length").expect("a number");
        let end = body + size;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while length < end {
            length += self.read_at(length);
        }
        assert_eq!(length, end, "one answer for one request");
        &self.buffer[body..end]
    }

    fn read_at(&mut self, at: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[at..]).expect("an answer");
        assert!(read > 0, "the server closed the connection");
        read
    }
}

/// Where `needle` begins.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
