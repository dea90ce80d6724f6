//! What an answer over HTTP means for the message, and how long to wait before the next attempt.
//!
//! Texts of receivers are shown to people later: they are bounded and made safe to show here. No
//! redirect is followed anywhere, because what is sent holds secrets: one is a refusal.

mod backoff;
mod hide;
mod said;

use std::time::Duration;

use jiff::fmt::rfc2822;
use palisade_report::Moment;

use crate::outgoing::HttpRequest;
use crate::outgoing::Outcome;
use crate::receiver::Target;
use crate::receiver::TargetKind;

pub use backoff::BASE;
pub use backoff::CAP;
pub use backoff::GIVE_UP;
pub use backoff::delay;

/// Bytes of an answer's body that are looked at; the rest says nothing about what went wrong.
pub const MAX_BODY: usize = 4096;

/// Bytes of an answer that people are shown.
pub const MAX_WHY: usize = 300;

/// The shortest wait that a receiver is granted: `Retry-After: 0` would be a busy loop.
pub const LEAST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait that a receiver is granted: one that asks for a week would silence its alerts.
pub const MOST_RETRY: Duration = Duration::from_secs(3600);

/// What an answer with `status` means.
///
/// `retry_after` is the header of that name: seconds, or an HTTP date (RFC 9110, 10.2.3). It counts
/// for the whole receiver, not for this message alone.
#[must_use]
pub fn understand(
    target: TargetKind,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    now: Moment,
) -> Outcome {
    let body = body.get(..MAX_BODY).unwrap_or(body);
    let why = || said::why(target, status, body);
    let retry = || Outcome::Retry { after: retry_after.and_then(|it| parse(it, now)), why: why() };
    match status {
        200..300 => match said::inner_refusal(target, body) {
            None => Outcome::Delivered,
            Some(said::Refusal::Passing) => retry(),
            Some(said::Refusal::Final) => Outcome::Dead { why: why() },
        },
        // It stores what it can take of a batch and answers 400 for the rest.
        400 if target == TargetKind::Alertmanager => Outcome::Partial { why: why() },
        413 => Outcome::TooLarge,
        408 | 425 | 429 | 500..600 => retry(),
        _ => Outcome::Dead { why: why() },
    }
}

/// What the answer of `target` to `request` means: [`understand`], and where the body repeats a secret of
/// the request, nobody is shown it.
#[must_use]
pub fn understand_answer_to(
    request: &HttpRequest,
    target: &Target,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    now: Moment,
) -> Outcome {
    let body = hide::hidden(request, target, body);
    understand(target.kind(), status, retry_after, body.as_bytes(), now)
}

/// How long `Retry-After` asks for, between [`LEAST_RETRY`] and [`MOST_RETRY`]; `None` if it cannot
/// be read, which is as if it were not there.
fn parse(retry_after: &str, now: Moment) -> Option<Duration> {
    /// An HTTP date has 29 characters; nothing longer is parsed.
    const MAX_HEADER: usize = 64;
    let text = retry_after.trim();
    if text.is_empty() || text.len() > MAX_HEADER {
        return None;
    }
    let secs = if text.bytes().all(|it| it.is_ascii_digit()) {
        // All digits and not a number: larger than any number.
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        let ahead = Moment::from_unix(date.as_second()).since(now);
        u64::try_from(ahead).unwrap_or(0)
    };
    Some(Duration::from_secs(secs).clamp(LEAST_RETRY, MOST_RETRY))
}

#[cfg(test)]
mod tests;
