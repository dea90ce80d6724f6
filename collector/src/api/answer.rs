//! What comes of a call, without a word of HTTP; `http::reply` turns it into bytes.

use hyper::body::Bytes;
use palisade_report::wire::UploadReply;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::engine;

/// What comes of a call.
#[derive(Debug)]
pub enum Answer {
    /// Not done yet; a document that says where to look.
    Accepted(Document),
    /// A document.
    Document(Document),
    /// Done, and there is nothing to say.
    Done,
    /// Events as they happen, already written as lines of an event stream.
    Events(mpsc::Receiver<Bytes>),
    /// No.
    Refused(Refused),
    /// Every section of an upload was refused.
    RefusedUpload(UploadReply),
}

/// A document.
#[derive(Debug)]
pub struct Document {
    /// What it is written in.
    pub media: Media,
    /// The text.
    pub text: Bytes,
}

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// RFC 4180.
    Csv,
    /// HTML, with a policy that lets it load nothing.
    Html,
    /// JSON.
    Json,
    /// OpenMetrics text.
    OpenMetrics,
    /// Plain text.
    Text,
}

/// A refusal, in a word for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The word.
    pub kind: Kind,
    /// The sentence: what was wrong and what to do.
    pub message: String,
    /// Seconds after which it is worth trying again.
    pub retry_after_secs: Option<u64>,
}

/// The stable words of refusals; each says who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Us: more work than we take at once.
    Busy,
    /// Peer: a well-formed message that contradicts what was said before.
    Conflict,
    /// Peer: known, and not allowed.
    Forbidden,
    /// Peer: a node that speaks for another one.
    IdentityMismatch,
    /// Us: a defect or a broken disk; the log has the causes.
    Internal,
    /// Peer: no such message.
    MalformedBody,
    /// Peer: no such name, path or parameter.
    MalformedRequest,
    /// Peer: the address takes other methods.
    MethodNotAllowed,
    /// Peer, or nobody: it is not there.
    NotFound,
    /// Us: the store is loading or takes no writes.
    NotReady,
    /// Somebody else: a receiver of alerts did not take a message.
    ReceiverFailed,
    /// Nobody: another collector leads; the Service leads there.
    Standby,
    /// Peer: too large.
    TooLarge,
    /// Peer: too often.
    TooMany,
    /// Peer: too slow.
    TooSlow,
    /// Peer: says not, or not rightly, who it is.
    Unauthenticated,
    /// Us, or the API server: who somebody is cannot be told now.
    Unavailable,
    /// Peer: an encoding or type of body that is not taken.
    UnsupportedBody,
    /// Peer: the address is too long.
    UriTooLong,
    /// Peer: asked for under a name that is not ours.
    WrongHost,
}

impl Kind {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::IdentityMismatch => "identity-mismatch",
            Self::Internal => "internal",
            Self::MalformedBody => "malformed-body",
            Self::MalformedRequest => "malformed-request",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotFound => "not-found",
            Self::NotReady => "not-ready",
            Self::ReceiverFailed => "receiver-failed",
            Self::Standby => "standby",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::TooSlow => "too-slow",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::UnsupportedBody => "unsupported-body",
            Self::UriTooLong => "uri-too-long",
            Self::WrongHost => "wrong-host",
        }
    }
}

impl Refused {
    /// A refusal in these words.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_secs: None }
    }

    /// The same, worth trying again after `secs`.
    #[must_use]
    pub const fn retry_after(mut self, secs: u64) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }
}

impl From<engine::Refusal> for Refused {
    fn from(refusal: engine::Refusal) -> Self {
        use engine::Refusal as R;
        let message = refusal.to_string();
        match refusal {
            R::Busy { retry_after_secs } => {
                Self::new(Kind::Busy, message).retry_after(retry_after_secs)
            }
            R::NotDurable { retry_after_secs } => {
                Self::new(Kind::NotReady, message).retry_after(retry_after_secs)
            }
            R::ManifestMismatch => Self::new(Kind::MalformedBody, message),
            R::NotAnnounced | R::SequenceReused => Self::new(Kind::Conflict, message),
            R::OtherNode => Self::new(Kind::Forbidden, message),
            R::Stopped => Self::new(Kind::NotReady, message).retry_after(5),
            R::TooManyNodes => Self::new(Kind::TooMany, message).retry_after(300),
            R::TooManySections => Self::new(Kind::TooLarge, message),
            R::TooManyAnswers { retry_after_secs } | R::TooManyNewSections { retry_after_secs } => {
                Self::new(Kind::TooMany, message).retry_after(retry_after_secs)
            }
            R::UnknownNode => Self::new(Kind::NotFound, message),
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Answer {
    /// `value` as JSON.
    #[must_use]
    pub fn json<T: Serialize>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => Self::Document(Document { media: Media::Json, text: text.into() }),
            Err(error) => {
                tracing::error!(%error, "an answer has no JSON form");
                Refused::new(Kind::Internal, "the answer could not be written").into()
            }
        }
    }

    /// `value` as JSON, for what is not done yet.
    #[must_use]
    pub fn accepted<T: Serialize>(value: &T) -> Self {
        match Self::json(value) {
            Self::Document(document) => Self::Accepted(document),
            other @ (Self::Accepted(_)
            | Self::Done
            | Self::Events(_)
            | Self::Refused(_)
            | Self::RefusedUpload(_)) => other,
        }
    }

    /// Text in some other form.
    #[must_use]
    pub fn text(media: Media, text: impl Into<Bytes>) -> Self {
        Self::Document(Document { media, text: text.into() })
    }
}
