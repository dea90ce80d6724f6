//! A message as it goes out, and what the answer to it means.

use std::time::Duration;

use crate::secret::Secret;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A mail.
    Email(Email),
    /// An Event about a node.
    Event(Event),
    /// A request over HTTP.
    Http(HttpRequest),
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `POST` for nearly everybody.
    pub method: &'static str,
    /// The address, whole; its path is a secret more often than not.
    pub url: Secret,
    /// Headers beside `Content-Type`, `Content-Length`, `Host` and `User-Agent`.
    pub headers: Vec<(String, Secret)>,
    /// Media type of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// The key to sign it with; the sender does, at each attempt, because the moment is signed too.
    ///
    /// `X-Palisade-Timestamp: SECONDS` (Unix time of the attempt) and
    /// `X-Palisade-Signature: sha256=HEX`, the HMAC-SHA-256 over `SECONDS.BODY`. Whoever receives it
    /// computes the same, compares in constant time, and refuses what is more than five minutes off
    /// its own clock: what somebody recorded and plays back later is noticed by that.
    pub sign_with: Option<Secret>,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// Whom it is for.
    pub to: Vec<String>,
    /// Whom it is from.
    pub from: String,
    /// The subject, in one line.
    pub subject: String,
    /// What mails of one group refer to, without brackets; the sender makes each mail's own from it.
    pub thread: String,
    /// The text, plain.
    pub text: String,
}

/// A Kubernetes Event, within the API's own limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The node.
    pub node: String,
    /// UpperCamelCase, at most 128 bytes.
    pub reason: String,
    /// At most 1,024 bytes.
    pub note: String,
    /// `Warning` or `Normal`.
    pub type_: &'static str,
    /// Its name follows from this, so that telling it twice is refused.
    pub turn: String,
}

/// What an answer means for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is taken.
    Delivered,
    /// It is refused and will be again: it is put aside, for people to see.
    Dead {
        /// Why, in words that hold no secret.
        why: String,
    },
    /// Some of it is taken, and some refused for good. Of the answer to a batch for an Alertmanager: some
    /// may be taken, and which is not said; halves of it tell.
    Partial {
        /// Why, in words that hold no secret.
        why: String,
    },
    /// Nobody knows whether it is taken: it was on its way, and no answer came.
    Lost {
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
        /// Why, in words that hold no secret.
        why: String,
    },
    /// Not now.
    Retry {
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
        /// Why, in words that hold no secret.
        why: String,
    },
    /// It is too large; a smaller one may be taken.
    TooLarge,
}
