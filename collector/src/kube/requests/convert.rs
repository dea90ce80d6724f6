//! A `RebootRequest` as the API server has it, and as the core knows it: there and back without loss.
//!
//! What is bounded in the schema is cut here, so that no status is refused for its length. A word
//! that this version does not know comes from a newer one; where it decides something the request
//! cannot be read, elsewhere it is left out.

use std::str::FromStr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use palisade_plan::fleet;
use palisade_plan::gate;
use palisade_plan::gate::Gate;
use palisade_plan::request;
use palisade_plan::request::Answer;
use palisade_plan::request::Request;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::bound::clean;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kube::nodes::upkeep::MAX_MARKER;
use crate::kube::reboot_request as crd;
use crate::kube::reboot_request::RebootRequest;

/// Keeps the object until its end is in the audit.
pub(super) const FINALIZER: &str = "palisade.dev/reboot";

/// Bytes of a message, see the schema.
const MAX_MESSAGE: usize = 1024;

/// Bytes of a value or a name, see the schema.
const MAX_WORD: usize = 256;

/// Reasons of a spec. The digest is over all of them, so that more are no other reasons.
const MAX_REASONS: usize = 64;

/// Blockers of a status.
const MAX_BLOCKERS: usize = 20;

/// Volumes whose detaching is waited for.
const MAX_VOLUMES: usize = 256;

/// The object cannot be read as a request. At fault: who wrote it; the schema lets only a newer
/// version of ours do that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the {part} of the request: got {got}")]
pub struct MalformedRequest {
    /// Which part.
    pub part: &'static str,
    /// What stands there, bounded.
    pub got: String,
}

fn parsed<T: FromStr>(part: &'static str, text: &str) -> Result<T, MalformedRequest> {
    text.parse().map_err(|_| MalformedRequest { part, got: clean(text.as_bytes(), MAX_WORD) })
}

/// The word that serde has for a variant without data.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        // No enum that comes here has data or can fail.
        Ok(_) | Err(_) => String::new(),
    }
}

fn of_word<T: DeserializeOwned>(part: &'static str, word: &str) -> Result<T, MalformedRequest> {
    serde_json::from_value(Value::String(word.to_owned()))
        .map_err(|_| MalformedRequest { part, got: clean(word.as_bytes(), MAX_WORD) })
}

fn time(at: Moment) -> Time {
    let beyond = if at.unix() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Time(Timestamp::from_second(at.unix()).unwrap_or(beyond))
}

fn moment(time: &Time) -> Moment {
    Moment::from_unix(time.0.as_second())
}

fn cut(text: &str, max: usize) -> String {
    clean(text.as_bytes(), max)
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(1000).min(1000)
}

/// `sha256:` and the digits, as the schema has it.
fn digest(digest: Digest) -> String {
    format!("sha256:{digest}")
}

fn undigest(text: &str) -> Result<Digest, MalformedRequest> {
    parsed("digest", text.strip_prefix("sha256:").unwrap_or(text))
}

/// The object for a request that is to be created, without a status: that is written apart.
#[must_use]
pub(super) fn object(request: &Request) -> RebootRequest {
    let mut object = RebootRequest::new(request.uid.as_str(), spec(request));
    object.metadata = ObjectMeta {
        name: Some(request.uid.to_string()),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: request.node.to_string(),
            uid: request.uid.to_string(),
            block_owner_deletion: Some(false),
            controller: None,
        }]),
        ..ObjectMeta::default()
    };
    object
}

/// The object for the next status of a request: name, version and status count, the rest is there
/// because the API server reads a whole object.
#[must_use]
pub(super) fn with_status(request: &Request) -> RebootRequest {
    let mut object = object(request);
    object.metadata.resource_version =
        (!request.version.is_empty()).then(|| request.version.clone());
    object.metadata.uid = (!request.id.is_empty()).then(|| request.id.clone());
    object.status = Some(status(&request.progress));
    object
}

fn spec(request: &Request) -> crd::RebootRequestSpec {
    let request::Wish {
        reasons,
        digest: reasons_digest,
        since,
        requested_by,
        must_by,
        approval,
        overriding,
        intent,
        release,
    } = &request.wish;
    crd::RebootRequestSpec {
        node: crd::NodeReference { name: request.node.to_string(), uid: request.uid.to_string() },
        reasons: reasons
            .iter()
            .take(MAX_REASONS)
            .map(|reason| crd::RebootReason {
                source: cut(&reason.source, 64),
                kind: cut(&reason.kind, 64),
                subject: cut(&reason.subject, MAX_WORD),
                target_version: (!reason.target.is_empty()).then(|| cut(&reason.target, MAX_WORD)),
            })
            .collect(),
        digest: digest(*reasons_digest),
        requested_by: requested_by.clone(),
        note: None,
        must_by: must_by.map(time),
        approval: approval.as_ref().map(|it| crd::Approval {
            by: it.by.clone(),
            at: time(it.at),
            digest: digest(it.digest),
            until: time(it.until),
        }),
        overriding: overriding.as_ref().map(|it| crd::Override {
            by: it.by.clone(),
            // Only who overrides writes this, and only this collector reads it without the moment.
            at: time(it.until),
            reason: it.reason.clone(),
            gates: it.gates.iter().map(|gate| gate.word().to_owned()).collect(),
            digest: digest(it.digest),
            until: time(it.until),
        }),
        intent: match intent {
            request::Intent::Reboot => crd::Intent::Reboot,
            request::Intent::Cancel => crd::Intent::Cancel,
        },
        since: Some(time(*since)),
        release: release.as_ref().map(|it| crd::Release {
            by: it.by.clone(),
            reason: it.reason.clone(),
            at: time(it.at),
        }),
    }
}

/// The status of how far a request has come.
#[must_use]
pub(super) fn status(progress: &request::Progress) -> crd::RebootRequestStatus {
    let request::Progress {
        state,
        since,
        deadline,
        epoch,
        placement,
        blockers,
        blockers_at,
        boot_at_claim,
        before,
        adopts,
        drain,
        grant,
        boot,
        proofs,
        sound_since,
        relapses,
        rollbacks,
        then,
        failure,
        alerts,
        history,
    } = progress;
    crd::RebootRequestStatus {
        state: outward(*state),
        since: Some(time(*since)),
        deadline: deadline.map(time),
        epoch: i64::try_from(*epoch).unwrap_or(i64::MAX),
        observed_generation: None,
        placement: Some(crd::Placement {
            pool: cut(&placement.pool, 63),
            zone: cut(&placement.zone, 63),
            role: match placement.role {
                fleet::Role::ControlPlane => crd::Role::ControlPlane,
                fleet::Role::Worker => crd::Role::Worker,
            },
        }),
        blockers: blockers.iter().take(MAX_BLOCKERS).map(blocker).collect(),
        blockers_at: blockers_at.map(time),
        before_cordon: before.map(|before| match before {
            request::Schedulability::Schedulable => crd::Schedulability::Schedulable,
            request::Schedulability::Unschedulable => crd::Schedulability::Unschedulable,
        }),
        boot_at_claim: boot_at_claim.as_ref().map(ToString::to_string),
        adopts: adopts.as_ref().map(|it| cut(it, MAX_MARKER)),
        drain: (*drain != request::Drain::default()).then(|| crd::Drain {
            began: drain.began.map(time),
            ended: drain.ended.map(time),
            volumes: drain.volumes.iter().take(MAX_VOLUMES).cloned().collect(),
            recordons: i32::from(drain.recordons),
        }),
        grant: grant.as_ref().map(granted),
        boot: boot.as_ref().map(|it| crd::BootRecord {
            boot_id: it.boot.to_string(),
            kernel: it.kernel.as_ref().map(|kernel| cut(kernel, MAX_WORD)),
            seen_at: time(it.seen_at),
        }),
        proofs: proofs
            .iter()
            .map(|(name, value)| crd::Proved { name: word(name), value: cut(value, MAX_WORD) })
            .collect(),
        sound_since: sound_since.map(time),
        relapses: count(*relapses),
        rollbacks: count(*rollbacks),
        after_rollback: word(then),
        fault: failure.as_ref().map(|it| word(&it.kind)),
        message: failure.as_ref().map(|it| cut(&it.message, MAX_MESSAGE)),
        alerts: alerts.iter().map(word).collect(),
        history: history
            .iter()
            .skip(history.len().saturating_sub(request::MAX_HISTORY))
            .map(|it| crd::Entered {
                state: outward(it.state),
                at: time(it.at),
                after_release: it.after_release.map(time),
            })
            .collect(),
        conditions: Vec::new(),
    }
}

fn blocker(blocker: &gate::Blocker) -> crd::Blocker {
    crd::Blocker {
        gate: blocker.gate.word().to_owned(),
        value: cut(&blocker.value, MAX_MESSAGE),
        since: time(blocker.since),
        next_check: blocker.next_check.map(time),
    }
}

fn granted(record: &request::GrantRecord) -> crd::GrantRecord {
    let answer = record.answer.as_ref().map(|answer| {
        let (outcome, message) = match answer {
            Answer::Executing => (crd::Outcome::Executing, String::new()),
            Answer::Refused(why) => (crd::Outcome::Refused, cut(why, MAX_MESSAGE)),
            Answer::Failed(how) => (crd::Outcome::Failed, cut(how, MAX_MESSAGE)),
        };
        crd::GrantAnswer { outcome, message, at: record.answered_at.map(time) }
    });
    crd::GrantRecord {
        id: record.id.to_string(),
        boot_id: record.boot.to_string(),
        expected_kernel: record.expected_kernel.as_ref().map(|kernel| cut(kernel, MAX_WORD)),
        at: time(record.at),
        void_after: time(record.void_after),
        report: record.report.to_string(),
        answer,
    }
}

/// What the core knows of an object. `created` without a status: nothing has been decided.
///
/// # Errors
/// [`MalformedRequest`].
pub(super) fn request(object: &RebootRequest) -> Result<Request, MalformedRequest> {
    let RebootRequest { metadata, spec, status } = object;
    let made_at = metadata.creation_timestamp.as_ref().map_or(Moment::from_unix(0), moment);
    let mut wish = wish(spec, made_at)?;
    if metadata.deletion_timestamp.is_some() {
        // Whoever deletes a request wants no reboot; what was done is undone before it goes.
        wish.intent = request::Intent::Cancel;
    }
    let progress = match status {
        Some(status) => progress(status, made_at)?,
        None => progress(&crd::RebootRequestStatus::default(), made_at)?,
    };
    Ok(Request {
        node: parsed("node", &spec.node.name)?,
        uid: parsed("UID of the node", &spec.node.uid)?,
        id: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        wish,
        progress,
    })
}

/// The state that an object is in, whatever else of it can be read.
pub(super) fn state(object: &RebootRequest) -> Option<request::State> {
    object.status.as_ref().map(|status| inward(status.state))
}

fn wish(spec: &crd::RebootRequestSpec, made_at: Moment) -> Result<request::Wish, MalformedRequest> {
    let crd::RebootRequestSpec {
        node: _,
        reasons,
        digest,
        requested_by,
        note: _,
        must_by,
        approval,
        overriding,
        intent,
        since,
        release,
    } = spec;
    let approval = approval.as_ref().map(|it| {
        let (by, digest) = (it.by.clone(), undigest(&it.digest)?);
        Ok(request::Approval { by, at: moment(&it.at), digest, until: moment(&it.until) })
    });
    let overriding = overriding.as_ref().map(|it| {
        // A gate that is not known here is none that this passes.
        let gates = it.gates.iter().filter_map(|word| known_gate(word)).collect();
        Ok(request::Override {
            by: it.by.clone(),
            reason: it.reason.clone(),
            gates,
            digest: undigest(&it.digest)?,
            until: moment(&it.until),
        })
    });
    Ok(request::Wish {
        reasons: reasons
            .iter()
            .map(|it| request::Reason {
                source: it.source.clone(),
                kind: it.kind.clone(),
                subject: it.subject.clone(),
                target: it.target_version.clone().unwrap_or_default(),
            })
            .collect(),
        digest: undigest(digest)?,
        since: since.as_ref().map_or(made_at, moment),
        requested_by: requested_by.clone(),
        must_by: must_by.as_ref().map(moment),
        approval: approval.transpose()?,
        overriding: overriding.transpose()?,
        intent: match intent {
            crd::Intent::Reboot => request::Intent::Reboot,
            crd::Intent::Cancel => request::Intent::Cancel,
        },
        release: release.as_ref().map(|it| request::Release {
            by: it.by.clone(),
            reason: it.reason.clone(),
            at: moment(&it.at),
        }),
    })
}

fn known_gate(word: &str) -> Option<Gate> {
    Gate::ALL.iter().copied().find(|gate| gate.word() == word)
}

fn progress(
    status: &crd::RebootRequestStatus,
    made_at: Moment,
) -> Result<request::Progress, MalformedRequest> {
    let crd::RebootRequestStatus {
        state,
        since,
        deadline,
        epoch,
        observed_generation: _,
        placement,
        blockers,
        blockers_at,
        before_cordon,
        boot_at_claim,
        adopts,
        drain,
        grant,
        boot,
        proofs,
        sound_since,
        relapses,
        rollbacks,
        after_rollback,
        fault,
        message,
        alerts,
        history,
        conditions: _,
    } = status;
    let boot = boot.as_ref().map(|it| {
        let boot = parsed("boot id", &it.boot_id)?;
        Ok(request::BootRecord { boot, kernel: it.kernel.clone(), seen_at: moment(&it.seen_at) })
    });
    let failure = fault.as_ref().map(|kind| {
        let message = message.clone().unwrap_or_default();
        Ok(request::Fault { kind: of_word("fault", kind)?, message })
    });
    let mut proved = std::collections::BTreeMap::new();
    for crd::Proved { name, value } in proofs {
        proved.insert(of_word("proof", name)?, value.clone());
    }
    Ok(request::Progress {
        state: inward(*state),
        since: since.as_ref().map_or(made_at, moment),
        deadline: deadline.as_ref().map(moment),
        epoch: u64::try_from(*epoch).unwrap_or(0),
        placement: placement.as_ref().map(place).unwrap_or_default(),
        // Looked at anew each time: an unknown gate is of no use here.
        blockers: blockers.iter().filter_map(unblock).collect(),
        blockers_at: blockers_at.as_ref().map(moment),
        boot_at_claim: boot_at_claim.as_ref().map(|it| parsed("boot id", it)).transpose()?,
        before: before_cordon.map(|it| match it {
            crd::Schedulability::Schedulable => request::Schedulability::Schedulable,
            crd::Schedulability::Unschedulable => request::Schedulability::Unschedulable,
        }),
        adopts: adopts.clone(),
        drain: drain.as_ref().map_or_else(request::Drain::default, |it| request::Drain {
            began: it.began.as_ref().map(moment),
            ended: it.ended.as_ref().map(moment),
            volumes: it.volumes.iter().cloned().collect(),
            recordons: u8::try_from(it.recordons).unwrap_or(u8::MAX),
        }),
        grant: grant.as_ref().map(ungrant).transpose()?,
        boot: boot.transpose()?,
        proofs: proved,
        sound_since: sound_since.as_ref().map(moment),
        relapses: u32::try_from(*relapses).unwrap_or(0),
        rollbacks: u32::try_from(*rollbacks).unwrap_or(0),
        then: match after_rollback.as_str() {
            "" => request::AfterRollback::default(),
            word => of_word("end of the roll-back", word)?,
        },
        failure: failure.transpose()?,
        // One of a newer version was raised there, and is withdrawn there.
        alerts: alerts.iter().filter_map(|word| of_word("alert", word).ok()).collect(),
        history: history
            .iter()
            .map(|it| request::Entered {
                state: inward(it.state),
                at: moment(&it.at),
                after_release: it.after_release.as_ref().map(moment),
            })
            .collect(),
    })
}

fn place(placement: &crd::Placement) -> request::Placement {
    request::Placement {
        pool: placement.pool.clone(),
        zone: placement.zone.clone(),
        role: match placement.role {
            crd::Role::ControlPlane => fleet::Role::ControlPlane,
            crd::Role::Worker => fleet::Role::Worker,
        },
    }
}

fn unblock(blocker: &crd::Blocker) -> Option<gate::Blocker> {
    Some(gate::Blocker {
        gate: known_gate(&blocker.gate)?,
        value: blocker.value.clone(),
        since: moment(&blocker.since),
        next_check: blocker.next_check.as_ref().map(moment),
    })
}

fn ungrant(record: &crd::GrantRecord) -> Result<request::GrantRecord, MalformedRequest> {
    let answer = record.answer.as_ref();
    Ok(request::GrantRecord {
        id: parsed("grant id", &record.id)?,
        boot: parsed("boot id", &record.boot_id)?,
        report: parsed("report of the grant", &record.report)?,
        expected_kernel: record.expected_kernel.clone(),
        at: moment(&record.at),
        void_after: moment(&record.void_after),
        answer: answer.map(|it| match it.outcome {
            crd::Outcome::Executing => Answer::Executing,
            crd::Outcome::Refused => Answer::Refused(it.message.clone()),
            crd::Outcome::Failed => Answer::Failed(it.message.clone()),
        }),
        answered_at: answer.and_then(|it| it.at.as_ref()).map(moment),
    })
}

macro_rules! states {
    ($($name:ident),* $(,)?) => {
        const fn outward(state: request::State) -> crd::State {
            match state { $(request::State::$name => crd::State::$name,)* }
        }

        const fn inward(state: crd::State) -> request::State {
            match state { $(crd::State::$name => request::State::$name,)* }
        }
    };
}

states! {
    Backoff, Blocked, Booted, Cancelled, Claimed, Cordoning, Done, Draining, Granted, Needed, NodeGone,
    NotReturned, Quarantined, Ready, Rebooting, RollingBack, Uncordoning, Verifying,
}

#[cfg(test)]
mod tests;
