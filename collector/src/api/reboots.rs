//! Requests for reboots: those that exist, and what people want of them.

use std::collections::BTreeSet;

use palisade_plan::gate::Blocker;
use palisade_plan::request::Progress;
use palisade_plan::request::Reason;
use palisade_plan::request::Request;
use palisade_plan::request::Wish;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Refused;
use super::plan::ShutGate;
use crate::audit::Happening;
use crate::engine::Engine;
use crate::http::call::Errand;
use crate::planned::Declined;
use crate::planned::NodeErrand;
use crate::planned::Planned;
use crate::planned::PoolErrand;
use crate::planned::Wanted;

/// How long an approval holds if nothing is said: a person who approves in the morning means this day.
const APPROVED_FOR_SECS: i64 = 24 * 60 * 60;

#[derive(Serialize)]
struct Line<'a> {
    node: &'a NodeName,
    uid: &'a NodeUid,
    state: String,
    since: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Moment>,
    epoch: u64,
    pool: &'a str,
    zone: &'a str,
    digest: Digest,
    reasons: Vec<&'a Reason>,
    requested_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    must_by: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<&'a str>,
    rollbacks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    alerts: Vec<String>,
    waits_for: Vec<ShutGate<'a>>,
}

/// Every request, in order of the nodes' names.
///
/// # Errors
/// [`Refused`] while nobody coordinates.
pub fn list(planned: &Planned) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        reboots: Vec<Line<'a>>,
    }
    let view = super::plan::view(planned)?;
    let mut reboots: Vec<Line<'_>> = view.fleet.requests.values().map(line).collect();
    reboots.sort_by_key(|line| (line.node, line.uid));
    Ok(Answer::json(&Body { reboots }))
}

fn line(request: &Request) -> Line<'_> {
    let Request { node, uid, id: _, version: _, wish, progress } = request;
    let Wish { reasons, digest, requested_by, must_by, approval, .. } = wish;
    let Progress { state, since, deadline, epoch, placement, blockers, rollbacks, .. } = progress;
    let Progress { failure, alerts, .. } = progress;
    Line {
        node,
        uid,
        state: format!("{state:?}"),
        since: *since,
        deadline: *deadline,
        epoch: *epoch,
        pool: &placement.pool,
        zone: &placement.zone,
        digest: *digest,
        reasons: reasons.iter().collect(),
        requested_by,
        must_by: *must_by,
        approved_by: approval.as_ref().map(|it| it.by.as_str()),
        rollbacks: *rollbacks,
        failure: failure.as_ref().map(|it| it.message.as_str()),
        alerts: alerts.iter().map(|alert| format!("{alert:?}")).collect(),
        waits_for: blockers.iter().map(|blocker: &Blocker| blocker.into()).collect(),
    }
}

/// Has the coordinator do what somebody wants, and tells the state afterwards, or where to look for it.
/// What is wanted is in the audit before anybody acts upon it, and what came of it afterwards.
///
/// # Errors
/// [`Refused`] with the reason of the coordinator, or because the audit does not take it.
pub async fn ask(
    engine: &Engine,
    planned: &Planned,
    node: NodeName,
    errand: Errand,
    by: String,
    wish: Happening,
    now: Moment,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        node: &'a NodeName,
        state: String,
    }
    #[derive(Serialize)]
    struct Later<'a> {
        node: &'a NodeName,
        message: String,
    }
    let wanted = match errand {
        Errand::Approve { digest, until } => {
            let until = until.unwrap_or_else(|| now.plus(APPROVED_FOR_SECS));
            Wanted::Approve { digest, until }
        }
        Errand::Cancel => Wanted::Cancel,
        Errand::Reboot { note, must_by } => Wanted::Reboot { note, must_by },
        Errand::Release => Wanted::Release,
    };
    engine.audit_durably(wish.clone()).await?;
    let outcome = planned.ask(node.clone(), wanted, by, wish.clone()).await;
    match &outcome {
        Ok(state) => Ok(Answer::json(&Body { node: &node, state: format!("{state:?}") })),
        Err(Declined::Late) => {
            let told = format!("GET /v1/reboots and /v1/audit?kind=reboot&node={node}");
            Ok(Answer::accepted(&Later { node: &node, message: later(&told) }))
        }
        Err(declined @ (Declined::Busy | Declined::NotCoordinating)) => {
            came_to_nobody(engine, NodeErrand::told(&wish, &outcome));
            Err(super::plan::declined(declined))
        }
        Err(
            declined @ (Declined::Failed(_)
            | Declined::NoNode
            | Declined::NoPool(_)
            | Declined::NoRequest
            | Declined::NotNow
            | Declined::OtherReasons
            | Declined::WrongState(_)),
        ) => Err(super::plan::declined(declined)),
    }
}

/// Has the coordinator forgive the failures of a pool, and tells of which nodes they were, or where to
/// look for it. The wish is in the audit before, and what came of it afterwards.
///
/// # Errors
/// [`Refused`] with the reason of the coordinator, or because the audit does not take it.
pub async fn release_pool(
    engine: &Engine,
    planned: &Planned,
    pool: String,
    wish: Happening,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        pool: &'a str,
        released: &'a BTreeSet<String>,
    }
    #[derive(Serialize)]
    struct Later<'a> {
        pool: &'a str,
        message: String,
    }
    engine.audit_durably(wish.clone()).await?;
    let outcome = planned.release_pool(pool.clone(), wish.clone()).await;
    if matches!(outcome, Err(Declined::Busy | Declined::NotCoordinating)) {
        came_to_nobody(engine, PoolErrand::told(&wish, &outcome));
    }
    if matches!(outcome, Err(Declined::Late)) {
        let message = later("GET /v1/plan and /v1/audit?kind=reboot");
        return Ok(Answer::accepted(&Later { pool: &pool, message }));
    }
    let released = outcome.map_err(|it| super::plan::declined(&it))?;
    Ok(Answer::json(&Body { pool: &pool, released: &released }))
}

/// What whoever asked is told of a wish that is durable, and may be done yet.
fn later(told: &str) -> String {
    format!("{}: {told} tell what came of it", Declined::Late)
}

/// Says what came of a wish that came to nobody who would.
fn came_to_nobody(engine: &Engine, told: Happening) {
    if let Err(refusal) = engine.audit(told) {
        tracing::warn!(cause = %refusal, "the outcome of a wish is not in the audit");
    }
}
