//! Whether a node needs a reboot, for which reasons, and how urgent that is.

use palisade_report::Digest;
use palisade_report::Moment;

use super::census::Member;
use crate::fleet::Need;
use crate::gate::Gate;
use crate::policy::Pool;
use crate::request::Intent;
use crate::request::Override;
use crate::request::Request;

/// Source of a reason that a person gave. See [`crate::request::Reason::source`].
const REQUEST_SOURCE: &str = "request";

/// What a node wants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wants<'a> {
    /// Nothing.
    Nothing,
    /// That cannot be told.
    Unknown(&'a str),
    /// A reboot.
    Reboot(Wanted<'a>),
}

/// A reboot that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) digest: &'a Digest,
    pub(super) since: Moment,
    pub(super) must_by: Moment,
    /// The person who asked for it, if it was one.
    pub(super) asked_by: Option<&'a str>,
    /// Gates that a person passes for these very reasons, now.
    pub(super) overriding: Option<&'a Override>,
    pub(super) is_overdue: bool,
    /// By when it was due at the latest, if that is over: from the agent's own reasons by the policy.
    /// Who may write a request could write any moment of the past, and that hurries nobody past a gate.
    pub(super) forced_by: Option<Moment>,
}

impl<'a> Wants<'a> {
    /// What `member` wants. A person's request counts like a reason of the agent; whatever cannot be
    /// told beside it, it is needed.
    pub(super) fn of(member: &Member<'a>, pool: &Pool, now: Moment) -> Self {
        let asked = member.request.filter(|request| is_asked_for(request));
        let (digest, since) = match (asked, &member.node.agent.need) {
            (Some(request), _) => (&request.wish.digest, request.wish.since),
            (None, Need::Needed { digest, since, reasons: _ }) => (digest, *since),
            (None, Need::NotNeeded) => return Self::Nothing,
            (None, Need::Unknown { why }) => return Self::Unknown(why),
        };
        let wish = member.request.map(|request| &request.wish);
        let must_by = wish.and_then(|wish| wish.must_by);
        let must_by = must_by.unwrap_or_else(|| since.plus(pool.must_by_secs));
        // What bounds it on the node may have come after the request.
        let due_by = member.node.agent.due_by;
        let must_by = due_by.map_or(must_by, |due| due.min(must_by));
        let told_since = match &member.node.agent.need {
            Need::Needed { since, .. } => Some(*since),
            Need::NotNeeded | Need::Unknown { .. } => None,
        };
        let due = told_since.map(|since| since.plus(pool.must_by_secs).max(must_by));
        let overriding = wish.and_then(|wish| wish.overriding.as_ref());
        let overriding = overriding.filter(|pass| pass.digest == *digest && now < pass.until);
        Self::Reboot(Wanted {
            digest,
            since,
            must_by,
            asked_by: asked.map(|request| request.wish.requested_by.as_str()),
            overriding,
            is_overdue: must_by < now,
            forced_by: due.filter(|due| *due < now),
        })
    }
}

impl Wanted<'_> {
    /// Why a gate that is shut does not hold this node, if it does not. No hard gate ever.
    pub(super) fn passes(&self, gate: Gate, pool: &Pool) -> Option<String> {
        if gate.is_hard() {
            return None;
        }
        if let Some(Override { by, reason, gates, .. }) = self.overriding
            && gates.contains(&gate)
        {
            return Some(format!("passed by {by}: {reason}"));
        }
        let due = self.forced_by.filter(|_| pool.past_must_by.contains(&gate))?;
        Some(format!("passed because it was due by {due}"))
    }

    /// Whether it goes before others of its kind.
    pub(super) fn is_first(&self) -> bool {
        let expedited = |pass: &Override| pass.gates.contains(&Gate::Order);
        self.is_overdue || self.overriding.is_some_and(expedited)
    }
}

/// Whether a person asked for this reboot, and still does.
fn is_asked_for(request: &Request) -> bool {
    let from_person = |source: &str| source == REQUEST_SOURCE;
    request.wish.intent == Intent::Reboot
        && !request.progress.state.is_terminal()
        && request.wish.reasons.iter().any(|reason| from_person(&reason.source))
}
