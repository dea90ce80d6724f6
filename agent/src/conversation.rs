//! One slot's conversation with the collector: heartbeat, manifest if it is asked for, sections if
//! they are wanted; a grant handed on if one came; and what follows from every answer.
//!
//! ```text
//! heartbeat ──> want: manifest ──> heartbeat with manifest ──> want: sections ──> uploads
//!     └──────────── want: nothing ─────────┴───────> next slot
//! ```
//!
//! Nothing here ends the agent: whatever the collector says becomes a wait.

mod grant;
mod upload;

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Manifest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::Sealed;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::Problem;
use palisade_report::wire::RebooterState;
use palisade_report::wire::WIRE_VERSION;
use palisade_report::wire::Want;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use tracing::info;
use tracing::warn;

use crate::backoff::Backoff;
use crate::body::EncodeError;
use crate::clock::Sequences;
use crate::reaction::Reaction;
use crate::send::Answer;
use crate::send::Client;
use crate::send::Encoding;
use crate::send::SendError;
use crate::verb::Chain;

/// The shortest slot that is obeyed: the collector takes one heartbeat per node in 5 s, in bursts.
const MIN_SLOT: Duration = Duration::from_secs(1);

/// The longest slot that is obeyed, so that no answer silences an agent for good.
const MAX_SLOT: Duration = Duration::from_secs(60 * 60);

/// Section digests that are remembered as refused or too large; a report has ten sections.
const MAX_REFUSED: usize = 64;

/// When a conversation takes place.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// By the wall clock.
    pub now: Moment,
    /// Since this boot.
    pub since_boot: Duration,
}

/// The agent's side of the protocol, over all its slots.
#[derive(Debug)]
pub struct Conversation {
    node: NodeName,
    client: Client,
    interval: Duration,
    backoff: Backoff,
    sequences: Sequences,
    encoding: Encoding,
    refused: BTreeSet<Digest>,
    too_large: BTreeSet<Digest>,
    has_new_mark: bool,
    random: SystemRandom,
    rebooting: grant::Rebooting,
}

/// Why a conversation ended before its end.
#[derive(Debug, thiserror::Error)]
enum Setback {
    /// The collector answered with something else than success.
    #[error("the collector answered {status}: {message}")]
    Answered { status: hyper::StatusCode, message: String, retry_after: Option<Duration> },
    /// The body cannot be written.
    #[error("failed to write the request")]
    Encode(#[source] EncodeError),
    /// The answer is not in our language.
    #[error("failed to understand the collector's answer")]
    Reply(#[source] serde_json::Error),
    /// No answer.
    #[error("failed to reach the collector")]
    Send(#[source] SendError),
}

impl Conversation {
    /// The side of `node`, through `client`; `interval` is used until a slot is assigned.
    #[must_use]
    pub fn new(node: NodeName, client: Client, interval: Duration) -> Self {
        Self {
            node,
            client,
            interval,
            backoff: Backoff::new(interval),
            sequences: Sequences::default(),
            encoding: Encoding::Gzip,
            refused: BTreeSet::new(),
            too_large: BTreeSet::new(),
            has_new_mark: false,
            random: SystemRandom::new(),
            rebooting: grant::Rebooting::default(),
        }
    }

    /// Whether the collector said that this section is too large to be taken.
    #[must_use]
    pub fn is_too_large(&self, section: Digest) -> bool {
        self.too_large.contains(&section)
    }

    /// Whether a section was found too large since this was asked the last time.
    pub const fn takes_new_mark(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_mark, false)
    }

    /// Holds one conversation; returns the wait until the next.
    pub async fn hold(
        &mut self,
        sealed: &Sealed,
        boot_id: &BootId,
        occasion: Occasion,
    ) -> Duration {
        match self.talk(sealed, boot_id, occasion).await {
            Ok(slot) => {
                if self.backoff.failures() > 0 {
                    info!(failures = self.backoff.failures(), "the collector answers again");
                }
                self.backoff.reset();
                slot
            }
            Err(setback) => self.wait_after(&setback),
        }
    }

    async fn talk(
        &mut self,
        sealed: &Sealed,
        boot_id: &BootId,
        occasion: Occasion,
    ) -> Result<Duration, Setback> {
        self.catch_up().await;
        let state = self.look_at_rebooter().await;
        let mut reply = self.heartbeat(sealed, boot_id, occasion, state, None).await?;
        if reply.want == Want::Manifest {
            let manifest = Some(sealed.manifest().clone());
            reply = self.heartbeat(sealed, boot_id, occasion, state, manifest).await?;
        }
        let HeartbeatReply { next_in_ms, want, profile: _, grant } = reply;
        // First, because it is good for a minute only.
        if let Some(grant) = &grant {
            self.carry(sealed, grant).await;
        }
        if let Want::Sections(names) = want {
            self.upload(sealed, boot_id, names).await?;
        }
        Ok(Duration::from_millis(next_in_ms).clamp(MIN_SLOT, MAX_SLOT))
    }

    async fn heartbeat(
        &mut self,
        sealed: &Sealed,
        boot_id: &BootId,
        occasion: Occasion,
        rebooter: Option<RebooterState>,
        manifest: Option<Manifest>,
    ) -> Result<HeartbeatReply, Setback> {
        let Occasion { now, since_boot } = occasion;
        let heartbeat = Heartbeat {
            wire: WIRE_VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            report: sealed.manifest().digest(),
            boot_id: boot_id.clone(),
            sequence: self.sequences.next(since_boot),
            sent_at: now,
            trust: self.client.trust(),
            boottime_ms: u64::try_from(since_boot.as_millis()).ok(),
            rebooter,
            manifest,
        };
        let body = serde_json::to_vec(&heartbeat)
            .map_err(|error| Setback::Encode(EncodeError::Json(error)))?;
        let path = format!("/v1/nodes/{}/heartbeat", self.node);
        let answer = self.ask(Method::POST, &path, body.into(), Encoding::Identity).await?;
        if Reaction::to(answer.status) != Reaction::Continue {
            return Err(answered(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(Setback::Reply)
    }

    /// Sends one request; a token that is refused is presented once more, as it is on disk then.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<Answer, Setback> {
        let answer = self.client.send(method.clone(), path, body.clone(), encoding).await;
        let answer = answer.map_err(Setback::Send)?;
        if Reaction::to(answer.status) != Reaction::Reauthenticate {
            return Ok(answer);
        }
        self.client.send(method, path, body, encoding).await.map_err(Setback::Send)
    }

    /// The wait that a setback asks for. The first of a row is logged as a warning.
    fn wait_after(&mut self, setback: &Setback) -> Duration {
        let random = self.random();
        let first = self.backoff.failures() == 0;
        let wait = match setback {
            Setback::Answered { status, message: _, retry_after } => match Reaction::to(*status) {
                Reaction::Refused => self.backoff.after_refusal(random),
                // The same body would meet the same answer; the next report may not.
                Reaction::DropBody
                | Reaction::OlderCollector
                | Reaction::Overtaken
                | Reaction::Split
                | Reaction::OtherEncoding => {
                    self.backoff.after_failure(random).max(retry_after.unwrap_or(self.interval))
                }
                Reaction::BackOff | Reaction::Continue | Reaction::Reauthenticate => {
                    match retry_after {
                        Some(told) => self.backoff.after_being_told(*told, random),
                        None => self.backoff.after_failure(random),
                    }
                }
            },
            Setback::Encode(_) | Setback::Reply(_) => {
                self.backoff.after_failure(random).max(self.interval)
            }
            Setback::Send(_) => self.backoff.after_failure(random),
        };
        if first {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            warn!(cause = %Chain::of(setback), wait_ms, "the report does not get through; trying on");
        }
        wait
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness the wait is the shortest; the next failure doubles the bound anyway.
        match self.random.fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(ring::error::Unspecified) => 0,
        }
    }
}

/// An answer that is no success, with the collector's own words if it gave some.
fn answered(answer: &Answer) -> Setback {
    let message = serde_json::from_slice::<Problem>(&answer.body)
        .map_or_else(|_| "no reason given".to_owned(), |problem| problem.message);
    let message = palisade_report::bound::clean_text(&message);
    Setback::Answered { status: answer.status, message, retry_after: answer.retry_after }
}

#[cfg(test)]
mod tests;
