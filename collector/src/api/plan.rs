//! The plan: who reboots now, who comes next, and what each of the others waits for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::drain::Outlook;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan::Place;
use palisade_plan::plan::Plan;
use palisade_plan::plan::Verdict;
use palisade_plan::plan::outlooks;
use palisade_plan::plan::plan;
use palisade_plan::policy::Advice;
use palisade_plan::policy::Policy;
use palisade_plan::policy::compare::BlastRadius;
use palisade_plan::policy::compare::Judged;
use palisade_plan::policy::compare::compare;
use palisade_plan::request::Alert;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Refused;
use crate::http::call::PlanQuery;
use crate::planned::Declined;
use crate::planned::Planned;
use crate::planned::View;

/// Names of the order that are listed; who wants to know about one node asks for that node.
const MAX_ORDER: usize = 100;

/// The last pass of the coordinator.
///
/// # Errors
/// [`Refused`] while none runs.
pub(super) fn view(planned: &Planned) -> Result<Arc<View>, Refused> {
    planned.view().ok_or_else(|| declined(&Declined::NotCoordinating))
}

/// A refusal of the coordinator as one of the API.
pub(super) fn declined(declined: &Declined) -> Refused {
    let message = declined.to_string();
    match declined {
        Declined::Busy => Refused::new(Kind::Busy, message).retry_after(1),
        Declined::Failed(_) | Declined::Late | Declined::NotNow => {
            Refused::new(Kind::Unavailable, message).retry_after(5)
        }
        Declined::NoNode
        | Declined::NoPool(_)
        | Declined::NoRequest
        | Declined::NotCoordinating => Refused::new(Kind::NotFound, message),
        Declined::OtherReasons | Declined::WrongState(_) => Refused::new(Kind::Conflict, message),
    }
}

/// The word of a verdict, and the state of a request that is under way.
pub(super) fn words(verdict: Verdict) -> (&'static str, Option<String>) {
    match verdict {
        Verdict::InFlight(state) => ("in-flight", Some(format!("{state:?}"))),
        Verdict::NotNeeded => ("not-needed", None),
        Verdict::Start => ("start", None),
        Verdict::Unknown => ("unknown", None),
        Verdict::Waits => ("waits", None),
    }
}

/// A gate that is shut.
#[derive(Debug, Serialize)]
pub(super) struct ShutGate<'a> {
    gate: Gate,
    value: &'a str,
    since: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check: Option<Moment>,
}

impl<'a> From<&'a Blocker> for ShutGate<'a> {
    fn from(blocker: &'a Blocker) -> Self {
        let Blocker { gate, value, since, next_check } = blocker;
        Self { gate: *gate, value, since: *since, next_check: *next_check }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a NodeName,
    uid: &'a NodeUid,
    pool: &'a str,
    zone: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<&'a BTreeSet<Alert>>,
    waits_for: Vec<ShutGate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Drain<'a>>,
}

/// What draining a node would meet.
#[derive(Serialize)]
struct Drain<'a> {
    outlook: &'static str,
    /// How many batches the pods need to go in.
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<u32>,
    /// Budgets that other nodes use up, or what stands against it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    because: &'a [String],
}

impl<'a> From<&'a Outlook> for Drain<'a> {
    fn from(outlook: &'a Outlook) -> Self {
        let (outlook, rounds, because): (_, _, &[String]) = match outlook {
            Outlook::Clear => ("clear", None, &[]),
            Outlook::Serial { rounds, shared } => ("serial", Some(*rounds), shared),
            Outlook::Blocked(lines) => ("blocked", None, lines),
            Outlook::Impossible(lines) => ("impossible", None, lines),
            Outlook::Unknown(lines) => ("unknown", None, lines),
        };
        Self { outlook, rounds, because }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    at: Moment,
    digest: Digest,
    policy: Digest,
    policy_refused: Option<&'a str>,
    /// What is worth knowing of the policy: windows that clocks will skip, among others.
    #[serde(skip_serializing_if = "<[Advice]>::is_empty")]
    advice: &'a [Advice],
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<BlastRadius>,
    counts: BTreeMap<&'static str, usize>,
    start: Vec<&'a NodeName>,
    order: Vec<&'a NodeName>,
    nodes: Vec<Line<'a>>,
    next: Option<&'a NodeName>,
}

/// The plan as it is.
///
/// # Errors
/// [`Refused`] while nobody coordinates.
pub fn list(planned: &Planned, query: &PlanQuery) -> Result<Answer, Refused> {
    let view = view(planned)?;
    let refused = view.refused_policy.as_deref();
    let advice = view.policy.advice(view.plan.at);
    Ok(answer(&view, (&view.plan, &advice), &view.outlooks, refused, None, query))
}

/// The plan as it would be under another policy, and what that changes. Nothing is done, and nothing is
/// asked: gates of questions that the policy in force does not ask are shut.
///
/// # Errors
/// [`Refused`] for a policy that is none, with line and column; or while nobody coordinates.
pub fn what_if(
    planned: &Planned,
    policy: &str,
    query: &PlanQuery,
    now: Moment,
) -> Result<Answer, Refused> {
    let view = view(planned)?;
    let policy = Policy::parse(policy)
        .map_err(|error| Refused::new(Kind::MalformedBody, error.to_string()))?;
    let fleet = view.under(&policy);
    let (plan, outlooks) = (plan(&fleet, &policy, now), outlooks(&fleet, &policy, now));
    let old = Judged { fleet: &view.fleet, policy: &view.policy };
    let changes = compare(old, Judged { fleet: &fleet, policy: &policy }, now);
    let advice = policy.advice(now);
    Ok(answer(&view, (&plan, &advice), &outlooks, None, Some(changes), query))
}

fn answer(
    view: &View,
    (plan, advice): (&Plan, &[Advice]),
    outlooks: &BTreeMap<NodeUid, Outlook>,
    refused: Option<&str>,
    changes: Option<BlastRadius>,
    query: &PlanQuery,
) -> Answer {
    let mut counts = BTreeMap::new();
    let mut named = Vec::new();
    for (uid, place) in &plan.places {
        let (verdict, state) = words(place.verdict);
        *counts.entry(verdict).or_insert(0) += 1;
        let Some(node) = view.fleet.nodes.get(uid) else { continue };
        let fits = query.pool.as_deref().is_none_or(|pool| pool == &*place.pool)
            && match query.verdict.as_deref() {
                None => place.verdict != Verdict::NotNeeded,
                Some(wanted) => wanted == verdict,
            }
            && query.after.as_deref().is_none_or(|after| node.name.as_str() > after);
        if fits {
            named.push((&node.name, uid, place, verdict, state));
        }
    }
    named.sort_by_key(|(name, ..)| *name);
    let is_cut = named.len() > query.limit;
    named.truncate(query.limit);
    let next = named.last().filter(|_| is_cut).map(|(name, ..)| *name);
    let nodes = named
        .into_iter()
        .map(|(name, uid, place, verdict, state)| {
            let Place { pool, zone, role: _, verdict: _, blockers, position, eta } = place;
            let waits_for = blockers.iter().map(ShutGate::from).collect();
            let (position, eta) = (*position, *eta);
            let alerts = view.alerts.get(uid);
            let drain = outlooks.get(uid).map(Drain::from);
            Line { name, uid, pool, zone, verdict, state, position, eta, alerts, waits_for, drain }
        })
        .collect();
    let names = |uids: &[NodeUid], at_most| {
        let names = uids.iter().filter_map(|uid| view.fleet.nodes.get(uid).map(|node| &node.name));
        names.take(at_most).collect()
    };
    Answer::json(&Body {
        at: plan.at,
        digest: plan.digest,
        policy: plan.policy,
        policy_refused: refused,
        advice,
        changes,
        counts,
        start: names(&plan.start, usize::MAX),
        order: names(&plan.order, MAX_ORDER),
        nodes,
        next,
    })
}
