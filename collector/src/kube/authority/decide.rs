//! What to do next with the collector's authority. Pure: what is held, what is published and what
//! agents say go in, one action comes out; [`super::keeper`] carries it out and asks again.
//!
//! ```text
//! nothing ──MakeNext──> next ──Publish──> published ──Switch──> signing, serving
//!                         ^                                        │ 2/3 of its life, or asked for
//!                         └──────────────MakeNext──────────────────┘
//! during a rotation: MakeNext ─> Publish old+next ─> wait for agents ─> Switch ─> keep ─> Forget
//! ```
//!
//! Each action is one write, and the decision rests on what is stored alone: after a crash between
//! any two of them another process goes on where this one stopped. An authority signs only while
//! the published bundle contains it.

use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;

/// Seconds by which the start of a certificate lies in the past, for nodes whose clock is behind.
pub const BACKDATE_SECS: i64 = 300;

/// Retired authorities that stay published at most. Each stands for one rotation within
/// [`Policy::keep_old_secs`]; somebody who rotates more often than that asks for less overlap.
pub const MAX_OLD: usize = 4;

/// Seconds by which the moment of publishing may lie ahead before it is taken for nonsense.
const MAX_AHEAD_SECS: i64 = 300;

/// Seconds that an authority must have left to issue anything.
const MIN_LEAF_SECS: i64 = 10;

/// How long things live and are waited for, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Life of an authority; a new one follows at two thirds.
    pub authority_life_secs: i64,
    /// Life of a serving certificate; a new one follows at two thirds.
    pub leaf_life_secs: i64,
    /// Shortest time between publishing an authority and using it. The kubelet brings a changed
    /// ConfigMap to its pods within 1 to 2 minutes, and to agents of which nothing is known too.
    pub settle_secs: i64,
    /// Longest time that agents which do not follow hold a rotation up.
    pub patience_secs: i64,
    /// Time that a retired authority stays published.
    pub keep_old_secs: i64,
}

impl Default for Policy {
    fn default() -> Self {
        const DAY: i64 = 86_400;
        Self {
            authority_life_secs: 3650 * DAY,
            leaf_life_secs: 90 * DAY,
            settle_secs: 300,
            patience_secs: DAY,
            keep_old_secs: 7 * DAY,
        }
    }
}

/// Digest of an authority's certificate (DER).
pub type AuthorityId = Digest;

/// The certificate of an authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authority {
    /// Which one.
    pub id: AuthorityId,
    /// Its start.
    pub not_before: Moment,
    /// Its end.
    pub not_after: Moment,
}

/// The serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Which of the held authorities signed it; `None`: none of them.
    pub issuer: Option<AuthorityId>,
    /// Its start.
    pub not_before: Moment,
    /// Its end.
    pub not_after: Moment,
    /// Whether it is for the names that agents use.
    pub names: Names,
}

/// Whether a certificate is for the names that agents use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Exactly for them.
    AsWanted,
    /// For others.
    Other,
}

/// Whether a person asked for a new authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// By the annotation on the Secret.
    Asked,
    /// Nobody did.
    #[default]
    NotAsked,
}

/// What the Secret holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The authority that signs, with its key.
    pub signing: Option<Authority>,
    /// The one that will sign next, with its key.
    pub next: Option<Authority>,
    /// Those that signed before, certificates only, latest first, at most [`MAX_OLD`].
    pub old: Vec<Authority>,
    /// When the last one was retired; always there when `old` has any.
    pub old_since: Option<Moment>,
    /// The serving certificate, with its key.
    pub leaf: Option<Leaf>,
    /// Whether a new authority was asked for.
    pub rotation: Rotation,
}

impl Held {
    /// The authorities that agents should trust.
    #[must_use]
    pub fn bundle(&self, now: Moment) -> BTreeSet<AuthorityId> {
        let Self { signing, next, old, old_since: _, leaf: _, rotation: _ } = self;
        let all = signing.iter().chain(next).chain(old);
        all.filter(|it| is_alive(it, now)).map(|it| it.id).collect()
    }
}

/// What the trust ConfigMap holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Its authorities.
    pub authorities: Vec<Authority>,
    /// When they were published, as noted beside them; `None`: not noted.
    pub at: Option<Moment>,
}

/// Everything that a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What the Secret holds, or why that cannot be told.
    pub held: Result<Held, Unusable>,
    /// What the ConfigMap holds; empty if it has no bundle or one that is not ours.
    pub published: Published,
    /// Agents that were heard lately and did not name the published bundle, in order.
    pub behind: Vec<NodeName>,
}

/// Why the Secret is no base to go on from. At fault: whoever changed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A value is not what it should be.
    #[error(
        "{key} is {what}: restore the Secret from a backup, or remove all its keys to let the collector make a new authority"
    )]
    Corrupt {
        /// The key within the Secret.
        key: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Take these retired authorities out of the Secret.
    Forget(BTreeSet<AuthorityId>),
    /// Issue a serving certificate from the signing authority.
    IssueLeaf,
    /// Make the authority that signs next. These published ones, whose keys are lost, are kept as
    /// retired ones, so that what still serves with them stays trusted.
    MakeNext {
        /// Published and held by nobody.
        adopt: BTreeSet<AuthorityId>,
    },
    /// Write the bundle.
    Publish,
    /// Nothing can be done before somebody else acts.
    Refuse(Unusable),
    /// Let the next authority sign, with a new serving certificate; retire the present one.
    Switch {
        /// Agents that did not follow in time and lose the collector until they do.
        stragglers: Vec<NodeName>,
    },
    /// Nothing until `until`, unless something changes.
    Wait {
        /// When to look again.
        until: Moment,
        /// What is waited for.
        on: WaitingOn,
    },
}

/// What a rotation waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// These agents do not trust the next authority yet.
    Agents(Vec<NodeName>),
    /// Retired authorities stay published for a while.
    OldKept,
    /// The next renewal.
    Renewal,
    /// What was published is on its way to the agents.
    Settling,
}

/// The next step.
pub fn next(state: &State, policy: &Policy, now: Moment) -> Action {
    let State { held, published, behind } = state;
    let held = match held {
        Ok(held) => held,
        Err(unusable) => return Action::Refuse(unusable.clone()),
    };
    let alive = |it: &&Authority| is_alive(it, now);
    let (signing, coming) = (held.signing.as_ref(), held.next.as_ref().filter(alive));
    if signing.filter(alive).is_none() && coming.is_none() {
        return Action::MakeNext { adopt: orphans(held, published, now) };
    }
    let ids: BTreeSet<AuthorityId> = published.authorities.iter().map(|it| it.id).collect();
    let published_at = match published.at {
        Some(at) if ids == held.bundle(now) && at <= now.plus(MAX_AHEAD_SECS) => at,
        Some(_) | None => return Action::Publish,
    };
    let can_issue = signing.is_some_and(|it| it.not_after.since(now) >= MIN_LEAF_SECS);
    if coming.is_some() {
        let waited = now.since(published_at);
        let serves = held.leaf.as_ref().is_some_and(|leaf| {
            leaf.issuer.is_some() && leaf.not_before <= now && now < leaf.not_after
        });
        // Without a certificate to serve there is nobody who could be cut off.
        if (!can_issue && !serves) || (waited >= policy.settle_secs && behind.is_empty()) {
            return Action::Switch { stragglers: Vec::new() };
        }
        if waited >= policy.patience_secs.max(policy.settle_secs) {
            return Action::Switch { stragglers: behind.clone() };
        }
    }
    if can_issue && leaf_is_due(held, now) {
        return Action::IssueLeaf;
    }
    if coming.is_none() && (held.rotation == Rotation::Asked || authority_is_due(signing, now)) {
        return Action::MakeNext { adopt: BTreeSet::new() };
    }
    let gone = forgettable(held, policy, now);
    if !gone.is_empty() {
        return Action::Forget(gone);
    }
    wait(held, published_at, behind, policy, now)
}

/// When a certificate should be followed by a new one: at two thirds of the time from when it was
/// made to its end.
#[must_use]
pub const fn renewal_at(not_before: Moment, not_after: Moment) -> Moment {
    let made_at = not_before.plus(BACKDATE_SECS);
    made_at.plus(not_after.since(made_at) / 3 * 2)
}

fn is_alive(authority: &Authority, now: Moment) -> bool {
    now < authority.not_after
}

fn orphans(held: &Held, published: &Published, now: Moment) -> BTreeSet<AuthorityId> {
    let known: BTreeSet<AuthorityId> =
        held.signing.iter().chain(&held.next).chain(&held.old).map(|it| it.id).collect();
    let room = MAX_OLD.saturating_sub(held.old.len());
    let lost = published.authorities.iter().filter(|it| is_alive(it, now));
    lost.map(|it| it.id).filter(|id| !known.contains(id)).take(room).collect()
}

fn leaf_is_due(held: &Held, now: Moment) -> bool {
    let Some(leaf) = &held.leaf else { return true };
    let Leaf { issuer, not_before, not_after, names } = leaf;
    *issuer != held.signing.as_ref().map(|it| it.id)
        || *names == Names::Other
        || now < *not_before
        || now >= renewal_at(*not_before, *not_after)
}

fn authority_is_due(signing: Option<&Authority>, now: Moment) -> bool {
    signing.is_none_or(|it| now < it.not_before || now >= renewal_at(it.not_before, it.not_after))
}

/// Retired authorities that have ended or were kept for long enough.
fn forgettable(held: &Held, policy: &Policy, now: Moment) -> BTreeSet<AuthorityId> {
    let in_use = held.leaf.as_ref().and_then(|leaf| leaf.issuer);
    let kept = held.old_since.is_some_and(|since| now.since(since) >= policy.keep_old_secs);
    let old = held.old.iter().filter(|it| kept || !is_alive(it, now));
    old.map(|it| it.id).filter(|id| Some(*id) != in_use).collect()
}

fn wait(
    held: &Held,
    published_at: Moment,
    behind: &[NodeName],
    policy: &Policy,
    now: Moment,
) -> Action {
    let leaf = held.leaf.as_ref().map(|it| renewal_at(it.not_before, it.not_after));
    if held.next.as_ref().is_some_and(|next| is_alive(next, now)) {
        let settled_at = published_at.plus(policy.settle_secs);
        if now < settled_at {
            let until = leaf.map_or(settled_at, |leaf| leaf.min(settled_at));
            return Action::Wait { until, on: WaitingOn::Settling };
        }
        let deadline = published_at.plus(policy.patience_secs);
        let until = leaf.map_or(deadline, |leaf| leaf.min(deadline));
        return Action::Wait { until, on: WaitingOn::Agents(behind.to_vec()) };
    }
    let authority = held.signing.as_ref().map(|it| renewal_at(it.not_before, it.not_after));
    let renewal = leaf.into_iter().chain(authority).min().unwrap_or(now);
    match held.old_since.filter(|_| !held.old.is_empty()) {
        Some(since) => {
            let until = renewal.min(since.plus(policy.keep_old_secs));
            Action::Wait { until, on: WaitingOn::OldKept }
        }
        None => Action::Wait { until: renewal, on: WaitingOn::Renewal },
    }
}

#[cfg(test)]
mod tests;
