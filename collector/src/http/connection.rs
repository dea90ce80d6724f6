//! One connection's deadlines: the first byte, a request's head, and a peer that takes nothing.
//!
//! hyper's own header timeout starts as soon as it waits for the next request, so it can only be
//! the bound on idle time; a head that arrives one byte at a time is bounded here.
//!
//! ```text
//! accepted ─> Waiting(first byte: head_timeout; later: idle, by hyper)
//!                 │ bytes
//!                 ▼
//!               Head(head_timeout) ─ request called ─> Busy ─ answer's body dropped ─> Waiting
//! ```

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::limits::Limits;

/// Whether a request of the connection is being answered.
#[derive(Debug, Default)]
pub struct Activity {
    busy: AtomicBool,
    requests: AtomicUsize,
}

/// Marks a connection as busy until dropped; travels with the answer's body.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Activity {
    /// A request was read and is being answered.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when a deadline passes.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    activity: Arc<Activity>,
    head_timeout: Duration,
    write_timeout: Duration,
    requests_seen: usize,
    head: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards `stream`; the first byte is due from now on.
    #[must_use]
    pub fn new(stream: S, activity: Arc<Activity>, limits: &Limits) -> Self {
        let head_timeout = limits.head_timeout;
        Self {
            stream,
            activity,
            head_timeout,
            write_timeout: limits.write_timeout,
            requests_seen: 0,
            head: Some(Box::pin(tokio::time::sleep(head_timeout))),
            stalled: None,
        }
    }

    fn track<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let within = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        if stalled.as_mut().poll(cx).is_ready() { timed_out() } else { Poll::Pending }
    }
}

fn timed_out<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let requests = this.activity.requests.load(Ordering::Relaxed);
        if this.requests_seen != requests {
            this.requests_seen = requests;
            this.head = None;
        }
        if this.activity.busy.load(Ordering::Relaxed) {
            // Body bytes and the next request's head share the stream: the body has its own
            // deadline, and the head gets its time once this request is answered.
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        if let Some(head) = &mut this.head
            && head.as_mut().poll(cx).is_ready()
        {
            return timed_out();
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        if outcome.is_ready() && buf.filled().len() > before && this.head.is_none() {
            this.head = Some(Box::pin(tokio::time::sleep(this.head_timeout)));
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.track(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.track(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.track(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.track(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
