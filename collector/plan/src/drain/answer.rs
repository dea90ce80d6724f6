//! What the answer to an eviction means.
//!
//! Sources: the eviction subresource of the API server (`pkg/registry/core/pod/storage/eviction.go`),
//! `Status` and its causes in `meta/v1`, RFC 9110 for `Retry-After`.

use serde::Deserialize;
use serde::Serialize;

/// What came back, if anything did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answered(Status),
    /// Nothing: the time was over, or the connection broke after the call was sent.
    Silence,
}

/// An answer of the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Status code of HTTP.
    pub code: u16,
    /// `Status.reason`: one word.
    pub reason: String,
    /// `Status.message`: for people.
    pub message: String,
    /// `Status.details.causes`, each its reason and its message.
    pub causes: Vec<(String, String)>,
    /// `Retry-After` or `Status.details.retryAfterSeconds`, in seconds.
    pub retry_after: Option<u32>,
}

/// What that means for the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The pod is going; wait until its UID is gone.
    Accepted,
    /// That pod does not exist any more.
    Gone,
    /// A disruption budget lets it not go now.
    Budget {
        /// Its name, where the answer tells; without namespace, which is that of the pod.
        name: Option<String>,
        /// Ask again then.
        retry_secs: u32,
    },
    /// The API server has too much to do.
    Throttled {
        /// Ask again then.
        retry_secs: u32,
    },
    /// The namespace is being deleted and takes the pod with it.
    Wait,
    /// Two budgets select it: a person must change that.
    TwoBudgets,
    /// It did not work this time.
    Failed {
        /// What it said.
        message: String,
        /// Ask again then.
        retry_secs: u32,
    },
    /// It may have been evicted or not: read the pod by its UID.
    UnknownOutcome,
    /// It will not work, whatever the time: a person must look.
    Refused {
        /// What it said.
        message: String,
    },
}

/// Wait where the answer names none. Jitter is added by whoever has chance at hand.
const RETRY_SECS: u32 = 5;

/// Longest wait that is believed: an hour is the end of a drain.
const MAX_RETRY_SECS: u32 = 600;

/// Bytes of a message that are kept.
const MAX_MESSAGE: usize = 256;

/// What `reply` to an eviction means. Calls must not have been repeated below: a client that retries
/// by itself hides what is to be told apart here.
#[must_use]
pub fn interpret(reply: &Reply) -> Answer {
    let status = match reply {
        Reply::Answered(status) => status,
        Reply::Silence => return Answer::UnknownOutcome,
    };
    let retry_secs = status.retry_after.unwrap_or(RETRY_SECS).clamp(1, MAX_RETRY_SECS);
    let message = || bounded(&status.message);
    match status.code {
        200..=299 => Answer::Accepted,
        404 | 410 => Answer::Gone,
        409 if speaks_of_uid(&status.message) => Answer::Gone,
        409 => Answer::Failed { message: message(), retry_secs },
        429 => status.causes.iter().find(|(reason, _)| reason == "DisruptionBudget").map_or(
            Answer::Throttled { retry_secs },
            |(_, cause)| Answer::Budget { name: budget_name(cause), retry_secs },
        ),
        403 if status.causes.iter().any(|(reason, _)| reason == "NamespaceTerminating") => {
            Answer::Wait
        }
        500 if status.message.contains("more than one PodDisruptionBudget") => Answer::TwoBudgets,
        408 | 504 => Answer::UnknownOutcome,
        400..=499 => Answer::Refused { message: message() },
        // Redirects are not followed and an upgrade was not asked for: neither ends well by itself.
        100..=199 | 300..=399 => Answer::Refused { message: message() },
        _ => Answer::Failed { message: message(), retry_secs },
    }
}

/// Whether a conflict is about the UID that was the precondition. The storage says "Precondition failed:
/// UID in precondition: ..., UID in object meta: ...", and the registry before it "the UID in the
/// precondition (...) does not match the UID in record (...)".
fn speaks_of_uid(message: &str) -> bool {
    message.contains("UID in precondition") || message.contains("UID in the precondition")
}

/// The name in "The disruption budget web needs 2 healthy pods and has 2 currently".
fn budget_name(cause: &str) -> Option<String> {
    let (_, rest) = cause.split_once("disruption budget ")?;
    let name = rest.split_whitespace().next()?;
    // RFC 1123 subdomains have at most 253 bytes; anything longer is not a name.
    (name.len() <= 253).then(|| name.to_owned())
}

fn bounded(message: &str) -> String {
    let mut kept = String::new();
    for character in message.chars() {
        if kept.len().saturating_add(character.len_utf8()) > MAX_MESSAGE {
            break;
        }
        kept.push(if character.is_control() { ' ' } else { character });
    }
    kept
}
