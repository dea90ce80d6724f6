//! The one place where replies are made: status codes, header fields, bodies.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use hyper::HeaderMap;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::SizeHint;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use palisade_report::Digest;
use palisade_report::wire::Problem;
use palisade_report::wire::UploadReply;
use tokio::sync::mpsc;

use super::classic;
use super::connection::Busy;
use crate::api::answer::Answer;
use crate::api::answer::Document;
use crate::api::answer::Kind;
use crate::api::answer::Media;
use crate::api::answer::Refused;

/// A reply to one request.
pub type Reply = Response<ReplyBody>;

/// The body of a reply; it keeps its connection busy until it is sent.
#[derive(Debug)]
pub struct ReplyBody {
    inner: Inner,
    busy: Option<Busy>,
}

#[derive(Debug)]
enum Inner {
    Events(mpsc::Receiver<Bytes>),
    Whole(Option<Bytes>),
}

impl ReplyBody {
    fn whole(text: impl Into<Bytes>) -> Self {
        Self { inner: Inner::Whole(Some(text.into())), busy: None }
    }

    /// The same body, keeping its connection busy.
    #[must_use]
    pub fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.inner {
            Inner::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Inner::Events(events) => {
                events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Whole(text) => text.as_ref().is_none_or(Bytes::is_empty),
            Inner::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Whole(text) => {
                let len = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
            }
            Inner::Events(_) => SizeHint::default(),
        }
    }
}

/// What a page may load: nothing but its own inline nothing. Styles and scripts have no place here.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How a reply to a question can be told to be the one that the asker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// By its own bytes: what it says also depends on the clock.
    OfBody,
    /// By the picture that it is made of, known before it is made.
    Known(String),
    /// Not at all.
    None,
}

/// The reply to an answer.
#[must_use]
pub fn reply(answer: Answer, tag: Tag, headers: &HeaderMap) -> Reply {
    match answer {
        Answer::Accepted(document) => {
            let mut reply = document_reply(document, Tag::None, headers);
            *reply.status_mut() = StatusCode::ACCEPTED;
            reply
        }
        Answer::Document(document) => document_reply(document, tag, headers),
        Answer::Done => made(StatusCode::NO_CONTENT, None, ReplyBody::whole(Bytes::new())),
        Answer::Events(events) => {
            let body = ReplyBody { inner: Inner::Events(events), busy: None };
            made(StatusCode::OK, Some("text/event-stream"), body)
        }
        Answer::Refused(refused) => refusal(refused),
        Answer::RefusedUpload(upload) => refused_upload(&upload),
    }
}

/// The reply for someone who has the newest answer already; `None` if they have not.
#[must_use]
pub fn unchanged(tag: &str, headers: &HeaderMap) -> Option<Reply> {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes()
        })
    });
    known.then(|| {
        let mut reply = made(StatusCode::NOT_MODIFIED, None, ReplyBody::whole(Bytes::new()));
        tagged(&mut reply, tag);
        reply
    })
}

fn document_reply(document: Document, tag: Tag, headers: &HeaderMap) -> Reply {
    let Document { media, text } = document;
    let tag = match tag {
        Tag::Known(tag) => Some(tag),
        Tag::OfBody => Some(format!("\"{}\"", Digest::of(&text).short())),
        Tag::None => None,
    };
    if let Some(tag) = &tag
        && let Some(unchanged) = unchanged(tag, headers)
    {
        return unchanged;
    }
    let (media_type, text) = match media {
        Media::Csv => ("text/csv; charset=utf-8", text),
        Media::Html => ("text/html; charset=utf-8", text),
        Media::Json => ("application/json", text),
        Media::OpenMetrics => figures(text, headers),
        Media::Text => ("text/plain; charset=utf-8", text),
    };
    let mut reply = made(StatusCode::OK, Some(media_type), ReplyBody::whole(text));
    if let Some(tag) = tag {
        tagged(&mut reply, &tag);
    }
    reply
}

/// Figures in the form that is asked for: the newer one by its name only.
fn figures(text: Bytes, headers: &HeaderMap) -> (&'static str, Bytes) {
    let mut wanted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    if wanted.any(|it| it.contains(classic::OPENMETRICS)) {
        return ("application/openmetrics-text; version=1.0.0; charset=utf-8", text);
    }
    // Written by us, so UTF-8.
    let older = classic::classic(&String::from_utf8_lossy(&text));
    ("text/plain; version=0.0.4; charset=utf-8", older.into())
}

fn tagged(reply: &mut Reply, tag: &str) {
    set(reply, header::CACHE_CONTROL, "private, no-cache");
    set(reply, header::ETAG, tag);
}

/// The reply that says no.
#[must_use]
pub fn refusal(refused: Refused) -> Reply {
    let Refused { kind, message, retry_after_secs } = refused;
    let problem = Problem { kind: kind.as_str().to_owned(), message };
    let mut reply = problem_reply(status(kind), &problem);
    if let Some(secs) = retry_after_secs {
        set(&mut reply, header::RETRY_AFTER, &secs.to_string());
    }
    if kind == Kind::Standby {
        // The next connection goes where the Service leads to by then.
        set(&mut reply, header::CONNECTION, "close");
    }
    if kind == Kind::Unauthenticated {
        set(&mut reply, header::WWW_AUTHENTICATE, "Bearer realm=\"palisade\"");
    }
    reply
}

/// The reply to a method that an address does not take.
#[must_use]
pub fn not_allowed(allowed: &str, message: String) -> Reply {
    let mut reply = refusal(Refused::new(Kind::MethodNotAllowed, message));
    set(&mut reply, header::ALLOW, allowed);
    reply
}

const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Busy | Kind::NotReady | Kind::Standby | Kind::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Forbidden | Kind::IdentityMismatch => StatusCode::FORBIDDEN,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::MalformedBody | Kind::MalformedRequest => StatusCode::BAD_REQUEST,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::ReceiverFailed => StatusCode::BAD_GATEWAY,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::UnsupportedBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::UriTooLong => StatusCode::URI_TOO_LONG,
        Kind::WrongHost => StatusCode::MISDIRECTED_REQUEST,
    }
}

/// Nothing was stored: a problem that also says, for each section, what was wrong with it.
fn refused_upload(upload: &UploadReply) -> Reply {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        kind: &'static str,
        message: &'static str,
        refused: &'a BTreeMap<String, Problem>,
    }
    let UploadReply { stored: _, refused } = upload;
    let message = "no section was stored; `refused` says why for each";
    let body = Body { kind: "sections-refused", message, refused };
    json_reply(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

fn problem_reply(status: StatusCode, problem: &Problem) -> Reply {
    json_reply(status, problem)
}

fn json_reply<T: serde::Serialize>(status: StatusCode, body: &T) -> Reply {
    // Plain structs of text always have a JSON form; an empty body would still carry its status.
    let text = serde_json::to_vec(body).unwrap_or_default();
    made(status, Some("application/json"), ReplyBody::whole(text))
}

fn made(status: StatusCode, media_type: Option<&'static str>, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    if let Some(media_type) = media_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// Sets a field whose value we made ourselves of visible ASCII.
fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
