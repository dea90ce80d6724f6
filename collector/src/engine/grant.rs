//! Grants: into the reply of the right heartbeat, and what comes back.
//!
//! ```text
//! heartbeat: newest of this node, of this boot, boot clock believed ─┐
//! offer: of this node (UID), of this boot, open, by who leads ───────┴─> signed, audited, sent
//! ```
//!
//! A grant leaves after the audit has it, like everything that says that something is durable.

use std::sync::Arc;

use palisade_plan::request::Answer;
use palisade_plan::seen::GrantAnswer;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean;
use palisade_report::grant::GrantId;
use palisade_report::wire::GrantReport;
use palisade_report::wire::GrantWord;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::MAX_CODE;
use palisade_report::wire::MAX_WORDS;

use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use super::message::Refusal;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::grants::OfferBook;
use crate::grants::boot_clock;
use crate::grants::boot_clock::Accord;
use crate::grants::issue::issue;
use crate::grants::uid_of;

/// Answers to grants that one node may give within an hour: a grant has three, and a node gets one
/// every five minutes at most.
const MAX_ANSWERS_PER_HOUR: u32 = 60;

/// An hour.
const HOUR_MS: i64 = 3_600_000;

/// What a node said of a grant, and who that was.
pub(super) struct Answered {
    pub(super) id: GrantId,
    pub(super) report: GrantReport,
    pub(super) by: Happening,
}

impl Core {
    /// Hands out what this book has from now on.
    pub(super) fn grant_from(&mut self, offers: Arc<OfferBook>) {
        self.offers = Some(offers);
    }

    /// The outcome of a heartbeat with the grant that is offered to this node, if there is one.
    pub(super) fn with_grant(
        &mut self,
        name: &NodeName,
        heartbeat: &Heartbeat,
        outcome: Outcome<HeartbeatReply>,
        now: Now,
    ) -> Outcome<HeartbeatReply> {
        let (Outcome::AtOnce(Ok(reply)) | Outcome::Durable(Ok(reply))) = &outcome else {
            return outcome;
        };
        // Late messages, and those of a boot that was left, say nothing about now.
        let Some(node) = self.live(name).cloned() else { return outcome };
        let Some(known) = self.known.get_mut(name) else { return outcome };
        if known.sequence != heartbeat.sequence.0
            || node.boot_id.as_ref() != Some(&heartbeat.boot_id)
        {
            return outcome;
        }
        node.seen.hear_of_rebooter(heartbeat.rebooter);
        let Some(boottime_ms) = heartbeat.boottime_ms else { return outcome };
        let accord =
            boot_clock::note(&mut known.boot_clock, &heartbeat.boot_id, boottime_ms, now.ms);
        let Some(offers) = self.offers.clone() else { return outcome };
        let Some(uid) = self.identity(name) else { return outcome };
        let Some(offer) = offers.offer(&uid, &heartbeat.boot_id) else { return outcome };
        if accord != Accord::Agrees {
            tracing::warn!(node = %name, grant = %offer.id, ?accord,
                "a grant is withheld: the boot clock of the node is not believed yet");
            return outcome;
        }
        let Some(key) = offers.key() else {
            tracing::warn!(node = %name, grant = %offer.id, "a grant is withheld: no key signs yet");
            return outcome;
        };
        if !self.is_durable(now) {
            return outcome;
        }
        // Asked for once more: signing takes its time, and leadership may have ended meanwhile.
        let grant = issue(&offer, &uid, boottime_ms, &key)
            .filter(|_| offers.offer(&uid, &heartbeat.boot_id).as_ref() == Some(&offer));
        let Some(grant) = grant else { return outcome };
        let object = format!("grant {} of node {name}", offer.id);
        let reason = format!(
            "it may reboot within a minute: request {}, boot {}, epoch {}",
            offer.request, offer.boot, offer.epoch
        );
        let happening = Happening::own(Kind::GrantIssued, object, reason).about(name.clone());
        self.note_done(happening, now);
        tracing::info!(node = %name, uid = %uid, grant = %offer.id, request = %offer.request,
            epoch = offer.epoch, "a grant is handed out");
        Outcome::Durable(Ok(HeartbeatReply { grant: Some(grant), ..reply.clone() }))
    }

    /// Takes what a node said of a grant.
    pub(super) fn grant_answered(
        &mut self,
        name: &NodeName,
        answered: Answered,
        now: Now,
    ) -> Outcome<()> {
        let Answered { id, report, by } = answered;
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        if self.live(name).is_none() {
            return Outcome::AtOnce(Err(Refusal::UnknownNode));
        }
        let (Some(uid), Some(known)) = (self.identity(name), self.known.get_mut(name)) else {
            return Outcome::AtOnce(Err(Refusal::UnknownNode));
        };
        let (since_ms, count) = &mut known.answered;
        if now.ms.saturating_sub(*since_ms) >= HOUR_MS {
            (*since_ms, *count) = (now.ms, 0);
        }
        if *count >= MAX_ANSWERS_PER_HOUR {
            let left_ms = HOUR_MS.saturating_sub(now.ms.saturating_sub(*since_ms));
            let retry_after_secs = u64::try_from(left_ms / 1000).unwrap_or_default() + 1;
            return Outcome::AtOnce(Err(Refusal::TooManyAnswers { retry_after_secs }));
        }
        *count += 1;
        let GrantReport { answer: word, code, words } = report;
        let (code, words) = (clean(code.as_bytes(), MAX_CODE), clean(words.as_bytes(), MAX_WORDS));
        let why = [code, words].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>();
        let why = why.join(": ");
        tracing::info!(node = %name, grant = %id, answer = word.as_str(), why, "a grant was answered");
        let answer = match word {
            GrantWord::Accepted => None,
            GrantWord::Executing => Some(Answer::Executing),
            GrantWord::Failed => Some(Answer::Failed(why.clone())),
            GrantWord::Refused => Some(Answer::Refused(why.clone())),
        };
        let reason = if why.is_empty() {
            word.as_str().to_owned()
        } else {
            format!("{}: {why}", word.as_str())
        };
        self.note_done(Happening { reason, ..by }, now);
        if let (Some(answer), Some(offers)) = (answer, &self.offers) {
            offers.answer(uid, GrantAnswer { id, answer, at: now.at });
        }
        Outcome::Durable(Ok(()))
    }

    /// What the speaker is: what its token says, or without a cluster what follows from its name.
    fn identity(&self, name: &NodeName) -> Option<NodeUid> {
        self.speaker.clone().or_else(|| uid_of(name))
    }
}
