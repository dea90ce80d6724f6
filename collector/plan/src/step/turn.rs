//! One turn of the machine: how a record is changed, whichever state it is in.
//!
//! What becomes of a request is decided in the files of the states; here it is only written down, so
//! that none of them can forget the deadline, the history, the epoch or the alerts.

use std::collections::BTreeSet;

use palisade_report::Moment;

use crate::fleet::Cordon;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Pool;
use crate::request::AfterRollback;
use crate::request::Alert;
use crate::request::Entered;
use crate::request::Fault;
use crate::request::FaultKind;
use crate::request::Intent;
use crate::request::MAX_HISTORY;
use crate::request::Progress;
use crate::request::Request;
use crate::request::State;
use crate::request::Wish;
use crate::seen::LeaseSeen;
use crate::seen::Seen;
use crate::step::Effect;
use crate::step::Step;
use crate::step::deadline;
use crate::step::grant;

/// Source of the one reason that no detector gives: a person asked.
pub const REQUESTED: &str = "request";

/// Blockers that a record holds; more is for `explain`.
const MAX_BLOCKERS: usize = 20;

/// Bytes of a text in a record, as the schema of `RebootRequest` has it.
const MAX_TEXT: usize = 1024;

/// Seconds between two writes that change nothing but the words of the same blockers.
const REWORD_SECS: i64 = 60;

/// The same in a drain of which none of the words is true any more: what was being evicted is to end and
/// does not, or has gone and left its volume. Other gates tell the time, which changes always.
const OUTDATED_SECS: i64 = 5;

/// What a step is made of.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) request: &'a Request,
    pub(super) seen: &'a Seen,
    pub(super) pool: &'a Pool,
    pub(super) now: Moment,
}

impl<'a> Turn<'a> {
    pub(super) const fn progress(&self) -> &'a Progress {
        &self.request.progress
    }

    /// The record in another state, or in the same one begun anew.
    pub(super) fn enter(&self, state: State, change: impl FnOnce(&mut Progress)) -> Step {
        let mut next = self.request.clone();
        next.progress.blockers.clear();
        next.progress.blockers_at = None;
        change(&mut next.progress);
        begin(&mut next.progress, state, self.now);
        let release = self.request.wish.release.as_ref().map(|release| release.at);
        if let Some(entered) = next.progress.history.last_mut() {
            entered.after_release = release;
        }
        next.progress.deadline = deadline::of(&next.progress, self.pool, self.seen.usual, self.now);
        self.write(next)
    }

    /// The record in the same state, with something more written down.
    pub(super) fn record(&self, change: impl FnOnce(&mut Progress)) -> Step {
        let mut next = self.request.clone();
        change(&mut next.progress);
        self.write(next)
    }

    fn write(&self, mut next: Request) -> Step {
        next.progress.epoch = self.seen.epoch;
        next.progress.alerts = deadline::alerts(&next, self.pool, self.now);
        bound(&mut next.progress);
        Step::Persist(Box::new(next))
    }

    /// `otherwise`, unless what the request waits for has to be written down first.
    pub(super) fn waiting_for(&self, blockers: Vec<Blocker>, otherwise: Step) -> Step {
        let merged = merge(&self.progress().blockers, blockers);
        if is_news(self.progress(), &merged, self.now) {
            return self.record(|progress| {
                progress.blockers = merged;
                progress.blockers_at = Some(self.now);
            });
        }
        otherwise
    }

    /// Undoes everything; `then` says where that leads.
    pub(super) fn roll_back(&self, then: AfterRollback, kind: FaultKind, message: String) -> Step {
        self.enter(State::RollingBack, |progress| {
            progress.then = then;
            progress.failure = Some(Fault { kind, message });
        })
    }

    /// Gives the claim back, because this speaks against it.
    pub(super) fn withdraw(&self, blockers: Vec<Blocker>) -> Step {
        let message =
            blockers.first().map(|it| format!("{}: {}", it.gate, it.value)).unwrap_or_default();
        self.enter(State::RollingBack, |progress| {
            progress.then = AfterRollback::Reconsider;
            progress.failure = Some(Fault { kind: FaultKind::Withdrawn, message });
            progress.blockers = merge(&[], blockers);
            progress.blockers_at = Some(self.now);
        })
    }

    /// Leaves it to a person.
    pub(super) fn quarantine(&self, kind: FaultKind, message: String) -> Step {
        self.enter(State::Quarantined, |progress| {
            progress.failure = Some(Fault { kind, message });
        })
    }

    /// A gate that is shut, found by the machine itself.
    pub(super) fn blocker(&self, gate: Gate, value: impl Into<String>) -> Blocker {
        Blocker { gate, value: value.into(), since: self.now, next_check: None }
    }

    /// Before a permission was given: whether the request still stands on what it was claimed for.
    pub(super) fn called_off(&self, node: &Node) -> Option<Step> {
        let wish = &self.request.wish;
        if wish.intent == Intent::Cancel {
            return Some(self.enter(State::RollingBack, |progress| {
                progress.then = AfterRollback::Cancelled;
            }));
        }
        if let (Some(was), Some(is)) = (&self.progress().boot_at_claim, &node.agent.boot)
            && was != is
        {
            return Some(
                self.unplanned(format!("boot {is} instead of {was}, without a permission")),
            );
        }
        if is_manual(wish) {
            return None;
        }
        match &node.agent.need {
            Need::NotNeeded => Some(self.roll_back(
                AfterRollback::Cancelled,
                FaultKind::ReasonGone,
                "the node needs no reboot any more".to_owned(),
            )),
            Need::Needed { digest, .. } if *digest != wish.digest => Some(self.roll_back(
                AfterRollback::Reconsider,
                FaultKind::Changed,
                format!("the reasons are now {digest}"),
            )),
            Need::Needed { .. } | Need::Unknown { .. } => None,
        }
    }

    /// Whether what speaks against the claim is only that a leader which has just begun has not heard of
    /// this node yet, or not of enough others: nodes speak once a minute, and what whoever led before
    /// claimed by what they said is not given back for their silence meanwhile.
    pub(super) fn is_early(&self, node: &Node) -> bool {
        let began_at = self.seen.leading_since;
        let is_unheard = node.agent.heard_at.is_none_or(|at| at < began_at);
        let of_others = self.seen.gates.iter().all(|it| it.gate == Gate::DeadMan);
        self.now.since(began_at) <= grant::SILENT_SECS && (is_unheard || of_others)
    }

    /// The node booted and no permission of ours can have been the cause.
    pub(super) fn unplanned(&self, message: String) -> Step {
        self.enter(State::RollingBack, |progress| {
            progress.then = AfterRollback::Reconsider;
            progress.failure = Some(Fault { kind: FaultKind::Changed, message });
            progress.alerts.insert(Alert::UnplannedReboot);
        })
    }

    /// Whether this cordon is ours to keep and to take back.
    pub(super) fn marker<'c>(&self, cordon: &'c Cordon) -> Option<&'c str> {
        match cordon {
            Cordon::Ours { request } => self.is_own(request).then_some(request.as_str()),
            Cordon::Schedulable | Cordon::Foreign { .. } => None,
        }
    }

    /// A marker of ours without a cordon of ours: somebody else uncordoned the node, or made the cordon
    /// theirs and left something of ours beside it.
    pub(super) fn leftover(&self, cordon: &Cordon) -> Option<&'a str> {
        let marker = self.seen.marker.as_deref().filter(|marker| self.is_own(marker));
        marker.filter(|_| match cordon {
            Cordon::Schedulable | Cordon::Foreign { .. } => true,
            Cordon::Ours { .. } => false,
        })
    }

    fn is_own(&self, marker: &str) -> bool {
        let is_named = !marker.is_empty() && marker == self.request.id;
        is_named || self.progress().adopts.as_deref() == Some(marker)
    }

    /// A person released this very state. A word that bears a later time does not count before then: it
    /// would release whatever comes until then.
    pub(super) fn is_released(&self) -> bool {
        self.request.has_released(&self.request.entered(), self.now)
    }

    pub(super) fn is_late(&self) -> bool {
        self.progress().deadline.is_some_and(|deadline| self.now >= deadline)
    }

    /// Late even if the state had been entered in our term: for what only a person undoes.
    pub(super) fn is_late_for_us(&self) -> bool {
        let Progress { since, deadline, .. } = self.progress();
        deadline.is_some_and(|deadline| {
            self.now.since(self.by_our_clock(*since)) >= deadline.since(*since)
        })
    }

    /// A moment of the record from which on time is counted. The leader before us may have stamped it by
    /// a clock that is hours away from ours, so that what was not in our term counts from its
    /// beginning: that another one took over delays a verdict, and never hastens it.
    pub(super) fn by_our_clock(&self, at: Moment) -> Moment {
        let began = self.seen.leading_since;
        if at > self.now { began } else { at.max(began) }
    }

    /// These effects, and the Lease with them where one is used. What takes back comes first: it must
    /// not wait for an API that does not answer.
    pub(super) fn hold(&self, effects: impl IntoIterator<Item = Effect>) -> Step {
        let lease = match self.seen.lease.known() {
            Some(LeaseSeen::Free | LeaseSeen::Ours) => Some(Effect::TakeLease),
            Some(LeaseSeen::Other { .. } | LeaseSeen::Unused) | None => None,
        };
        let takes_back = |effect: &Effect| matches!(effect, Effect::Forget(_));
        let (first, then): (Vec<_>, Vec<_>) = effects.into_iter().partition(takes_back);
        act(first.into_iter().chain(lease).chain(then))
    }
}

/// These effects, or nothing.
pub(super) fn act(effects: impl IntoIterator<Item = Effect>) -> Step {
    let effects: Vec<Effect> = effects.into_iter().collect();
    if effects.is_empty() { Step::Wait } else { Step::Do(effects) }
}

/// Whether a person asked, so that no detector has to agree.
pub(super) fn is_manual(wish: &Wish) -> bool {
    wish.reasons.iter().any(|reason| reason.source == REQUESTED)
}

/// Enters `state`, without what depends on the policy.
pub(super) fn begin(progress: &mut Progress, state: State, now: Moment) {
    progress.state = state;
    progress.since = now;
    progress.history.push(Entered { state, at: now, after_release: None });
    let excess = progress.history.len().saturating_sub(MAX_HISTORY);
    progress.history.drain(..excess);
}

/// New blockers, where the same one is shut since it was first found.
pub(super) fn merge(old: &[Blocker], new: Vec<Blocker>) -> Vec<Blocker> {
    let mut merged = new;
    merged.truncate(MAX_BLOCKERS);
    for blocker in &mut merged {
        cut(&mut blocker.value);
        let same = old.iter().find(|it| it.gate == blocker.gate && it.value == blocker.value);
        // Each pod is a wait of its own; any other gate is one, however its words change.
        let same = same.or_else(|| {
            old.iter().find(|it| it.gate == blocker.gate && blocker.gate != Gate::Drain)
        });
        if let Some(same) = same {
            blocker.since = blocker.since.min(same.since);
        }
    }
    merged
}

/// Whether these blockers are worth a write: other gates at once, other words once a minute, or soon
/// in a drain where all of them are others.
pub(super) fn is_news(progress: &Progress, merged: &[Blocker], now: Moment) -> bool {
    let gates = |blockers: &[Blocker]| blockers.iter().map(|it| it.gate).collect::<BTreeSet<_>>();
    let is_true =
        |old: &Blocker| merged.iter().any(|new| new.gate == old.gate && new.value == old.value);
    let is_outdated = progress.state == State::Draining && !progress.blockers.iter().any(is_true);
    let patience = if is_outdated { OUTDATED_SECS } else { REWORD_SECS };
    let is_due = progress.blockers_at.is_none_or(|at| now.since(at) >= patience);
    gates(merged) != gates(&progress.blockers) || (is_due && *merged != *progress.blockers)
}

fn bound(progress: &mut Progress) {
    if let Some(failure) = &mut progress.failure {
        cut(&mut failure.message);
    }
    progress.proofs.values_mut().for_each(cut);
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
}
