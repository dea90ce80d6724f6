//! The connection as the library wants it: bounded in what it takes, and with a greeting where the
//! server gave its own before TLS began.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// Bytes that a server may say about one mail; the library reads lines however long they are.
const MAX_SAID: usize = 256 * 1024;

/// What stands for the greeting that came before TLS.
const GREETING: &[u8] = b"220 encrypted\r\n";

/// A stream in clear text or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// The connection to a mail server.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    greeting: &'static [u8],
    left: usize,
    peer: SocketAddr,
}

impl Line {
    /// A server that has yet to greet.
    pub(super) fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
        peer: SocketAddr,
    ) -> Self {
        Self { stream: Box::new(stream), greeting: b"", left: MAX_SAID, peer }
    }

    /// A server that has greeted already.
    pub(super) fn greeted(
        stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
        peer: SocketAddr,
    ) -> Self {
        Self { greeting: GREETING, ..Self::new(stream, peer) }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, greeting, left, peer: _ } = self.get_mut();
        if !greeting.is_empty() {
            let (now, later) = greeting.split_at(greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            *greeting = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        match left.checked_sub(read) {
            Some(rest) => *left = rest,
            None => return Poll::Ready(Err(io::Error::other("the server says too much"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
