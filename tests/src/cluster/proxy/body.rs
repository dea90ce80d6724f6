//! An answer that may end early: after so many lines, or when the test says so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;

/// What follows the last line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Cut,
    Expired,
    Proper,
}

/// The event that a watch gets whose resource version is too old.
const EXPIRED: &[u8] =
    b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\
    \"metadata\":{},\"status\":\"Failure\",\"message\":\"too old resource version: 1 (2)\",\
    \"reason\":\"Expired\",\"code\":410}}\n";

pub(super) struct Answer {
    inner: Option<Incoming>,
    /// How many lines are left, and what comes then.
    limit: Option<(usize, End)>,
    /// Ready when all watches are to end.
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Answer {
    pub(super) fn new(
        inner: Incoming,
        limit: Option<(usize, End)>,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { inner: Some(inner), limit, ended: Box::pin(ended) }
    }

    /// Passes on what lies before the limit; the rest is never seen.
    fn shorten(&mut self, data: Bytes) -> Bytes {
        let Some((left, _)) = &mut self.limit else { return data };
        for (at, byte) in data.iter().enumerate() {
            if *left == 0 {
                return data.slice(..at);
            }
            if *byte == b'\n' {
                *left -= 1;
            }
        }
        data
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some((0, end)) = self.limit {
            // With it goes the connection to the API server, which sees the watch closed.
            self.inner = None;
            self.limit = None;
            return Poll::Ready(match end {
                End::Cut => Some(Err(io::ErrorKind::ConnectionReset.into())),
                End::Expired => Some(Ok(Frame::data(Bytes::from_static(EXPIRED)))),
                End::Proper => None,
            });
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let frame = match frame.into_data() {
                    Ok(data) => Frame::data(self.shorten(data)),
                    Err(other) => other,
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if self.ended.as_mut().poll(context).is_ready() {
                    self.inner = None;
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    }
}
