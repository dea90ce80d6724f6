//! What the coordinator raised, and what holds its pools up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_plan::drain::Outlook;
use palisade_plan::fleet::Need;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::plan;
use palisade_plan::policy::Mode;
use palisade_plan::policy::Pool;
use palisade_plan::request::Alert;
use palisade_plan::request::State;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::Coordinator;
use super::SETTLE_SECS;
use super::Seen;
use super::World;
use super::add;
use super::edits;
use super::security::boots_of;
use super::words::Shared;
use super::words::some;
use crate::planned::View;

/// Time past its last moment after which an overdue reboot is critical.
const CRITICAL_OVERDUE_SECS: i64 = 7 * 86_400;

/// How long a pool may be paused by hand before somebody is asked whether it still should be.
const PAUSED_SECS: i64 = 86_400;

/// Boots of one node within a day, nobody having asked for them, from which on it is more than a note.
const MANY_BOOTS: usize = 3;

/// Time for which a boot that nobody asked for is told.
const BOOT_SECS: i64 = 3600;

/// Blockers and reasons that an alert names.
const MAX_NAMED: usize = 3;

/// Alerts by which a reboot does not go on as expected.
const FAILING: [Alert; 12] = [
    Alert::ClaimStuck,
    Alert::CordonFailed,
    Alert::DrainSlow,
    Alert::DrainFailed,
    Alert::DrainBackoff,
    Alert::GrantNotConsumed,
    Alert::NodeNotReturned,
    Alert::NodeQuarantined,
    Alert::RollbackFailed,
    Alert::UncordonFailed,
    Alert::RebootCommandFailed,
    Alert::UnplannedReboot,
];

/// Nodes whose reboot is under way and goes on as expected: what they cannot help saying meanwhile is
/// muted. None that is late, failed, or waits for a person.
#[must_use]
pub fn rebooting(view: &View) -> BTreeSet<NodeName> {
    let expected = view.fleet.requests.iter().filter(|(uid, request)| {
        let progress = &request.progress;
        let is_under_way = progress.state.is_under_way() && progress.state != State::RollingBack;
        let is_late = progress.deadline.is_some_and(|deadline| view.plan.at >= deadline);
        let alerts = view.alerts.get(*uid);
        let fails = FAILING.iter().any(|it| alerts.is_some_and(|alerts| alerts.contains(it)));
        is_under_way && !is_late && !fails && progress.failure.is_none()
    });
    expected.map(|(_, request)| request.node.clone()).collect()
}

/// The same as far as is known: while there is no view, as it was last; `None`: nothing is known yet, for
/// as long after the start as a first view may take.
#[must_use]
pub fn rebooting_now(
    world: &World<'_>,
    before: Option<BTreeSet<NodeName>>,
) -> Option<BTreeSet<NodeName>> {
    let may_come = world.coordinator == Coordinator::Expected && world.is_within(SETTLE_SECS);
    match (world.view, before) {
        (Some(view), _) => Some(rebooting(view)),
        (None, Some(before)) => Some(before),
        (None, None) => (!may_come).then(BTreeSet::new),
    }
}

/// What a policy may bring about on nodes that did not change.
const BY_POLICY: [Kind; 4] = [
    Kind::RebootBlocked,
    Kind::RebootBlockedByCertificate,
    Kind::RebootOverdue,
    Kind::RebootStarved,
];

/// Marks what is there because the policy was edited: what is new, or louder, with the first look under
/// it. It stays marked for as long as it goes on and becomes no louder.
pub(super) fn mark(
    found: &mut Seen,
    before: &Seen,
    edited_at: Option<Moment>,
    shared: &mut Shared,
) {
    for (key, sighting) in found.iter_mut().filter(|(key, _)| BY_POLICY.contains(&key.kind)) {
        let pool = key.pool.as_deref().unwrap_or_default();
        let edit = edited_at.map(|at| edits::Edit { at, by: pool });
        edits::carry(sighting, before.get(key), edit, shared);
    }
}

pub(super) fn look(
    world: &World<'_>,
    view: &View,
    before: &Seen,
    paused: &mut BTreeMap<String, Moment>,
    shared: &mut Shared,
) -> Seen {
    let mut found = Seen::new();
    for (uid, alerts) in &view.alerts {
        let Some(case) = Case::of(view, uid) else { continue };
        for alert in alerts {
            if let Some(sighting) = case.sighting(*alert, world, before, shared) {
                add(&mut found, sighting);
            }
        }
    }
    let recent = world.boots.iter().filter(|it| world.now.since(it.at) < BOOT_SECS);
    let booted: BTreeSet<&NodeName> = recent.map(|it| &it.node).collect();
    if !booted.is_empty() {
        // After a restart the audit alone knows of them.
        let nodes = view.fleet.nodes.values().filter(|it| booted.contains(&it.name));
        for case in nodes.filter_map(|it| Case::of(view, &it.uid)) {
            let sighting = case.sighting(Alert::UnplannedReboot, world, before, shared);
            sighting.into_iter().for_each(|it| add(&mut found, it));
        }
    }
    for (uid, place) in &view.plan.places {
        let mut blockers = place.blockers.iter();
        let Some(blocker) = blockers.find(|it| it.gate == Gate::Certificate) else { continue };
        let Some(case) = Case::of(view, uid) else { continue };
        let values = shared.of([("reason", &*blocker.value)]);
        let key = case.key(Kind::RebootBlockedByCertificate);
        let (severity, since) = (Severity::Critical, Some(blocker.since));
        add(&mut found, Sighting { key, severity, since, values });
    }
    for pool in view.policy.pools.iter().chain([&view.policy.unmatched]) {
        if let Some(sighting) = halted(pool, view, before, paused, world.now, shared) {
            add(&mut found, sighting);
        }
    }
    paused.retain(|name, _| view.policy.pool(name).is_some_and(|it| pause(it, view).is_some()));
    found
}

/// Why a pool is paused by hand.
fn pause<'v>(pool: &'v Pool, view: &'v View) -> Option<&'v str> {
    view.policy.cluster.paused.as_deref().or(pool.paused.as_deref())
}

fn halted(
    pool: &Pool,
    view: &View,
    before: &Seen,
    paused: &mut BTreeMap<String, Moment>,
    now: Moment,
    shared: &mut Shared,
) -> Option<Sighting> {
    let name: Arc<str> = pool.name.as_str().into();
    let key = Key { pool: Some(name), ..Key::of(Kind::RolloutHalted) };
    if let Some(blocker) = plan::halted(pool, &view.fleet, now) {
        let ask = format!(
            "Look at the nodes that failed and release them (`POST /v1/reboots/NODE/release`), then the \
             pool (`POST /v1/pools/{}/release`).",
            pool.name
        );
        let values = shared.of([("reason", &*blocker.value), ("ask", &*ask)]);
        let (severity, since) = (Severity::Critical, Some(blocker.since));
        return Some(Sighting { key, severity, since, values });
    }
    let why = pause(pool, view).filter(|_| matches!(pool.mode, Mode::Approve | Mode::Auto))?;
    let since = *paused.entry(pool.name.clone()).or_insert(now);
    // Since when, the policy does not say. What was told before a restart goes on.
    let was_told = before.get(&key).is_some_and(|it| it.severity == Severity::Warning);
    if now.since(since) < PAUSED_SECS && !was_told {
        return None;
    }
    let reason = format!("paused for more than a day: {why}");
    let ask = "Take `paused` out of the policy if it may go on.";
    let values = shared.of([("reason", &*reason), ("ask", ask)]);
    Some(Sighting { key, severity: Severity::Warning, since: None, values })
}

/// A node and what the coordinator knows of it.
struct Case<'v> {
    view: &'v View,
    uid: &'v NodeUid,
    name: &'v NodeName,
}

impl<'v> Case<'v> {
    fn of(view: &'v View, uid: &'v NodeUid) -> Option<Self> {
        let node = view.fleet.nodes.get(uid).map(|it| &it.name);
        let name = node.or_else(|| view.fleet.requests.get(uid).map(|it| &it.node))?;
        Some(Self { view, uid, name })
    }

    fn key(&self, kind: Kind) -> Key {
        let place = self.view.plan.places.get(self.uid).map(|it| Arc::clone(&it.pool));
        let pool = place.or_else(|| {
            let request = self.view.fleet.requests.get(self.uid)?;
            let pool = request.progress.placement.pool.as_str();
            (!pool.is_empty()).then(|| pool.into())
        });
        Key::of_node(kind, self.name.clone(), pool)
    }

    fn blockers(&self) -> &'v [Blocker] {
        let place = self.view.plan.places.get(self.uid).map(|it| it.blockers.as_slice());
        let of_place = place.filter(|it| !it.is_empty());
        let request = self.view.fleet.requests.get(self.uid);
        of_place.or_else(|| request.map(|it| it.progress.blockers.as_slice())).unwrap_or_default()
    }

    /// Why it is where it is, in words.
    fn reason(&self) -> String {
        let request = self.view.fleet.requests.get(self.uid);
        if let Some(fault) = request.and_then(|it| it.progress.failure.as_ref()) {
            return fault.message.clone();
        }
        let blockers = self.blockers();
        if blockers.is_empty() { self.wish() } else { words(blockers) }
    }

    /// Why it is to reboot.
    fn wish(&self) -> String {
        let request = self.view.fleet.requests.get(self.uid);
        let need = self.view.fleet.nodes.get(self.uid).and_then(|it| match &it.agent.need {
            Need::Needed { reasons, .. } => Some(reasons),
            Need::NotNeeded | Need::Unknown { .. } => None,
        });
        let Some(reasons) = request.map(|it| &it.wish.reasons).or(need) else {
            return "no reason is told".to_owned();
        };
        some(reasons.iter().map(|it| it.subject.clone()), MAX_NAMED)
    }

    fn must_by(&self) -> Option<Moment> {
        let node = self.view.fleet.nodes.get(self.uid);
        let request = self.view.fleet.requests.get(self.uid);
        let of_policy = node.and_then(|node| match &node.agent.need {
            Need::Needed { since, .. } => {
                Some(self.view.policy.pool_of(&node.labels).must_by(*since, &node.agent))
            }
            Need::NotNeeded | Need::Unknown { .. } => None,
        });
        of_policy.into_iter().chain(request.and_then(|it| it.wish.must_by)).min()
    }

    fn sighting(
        &self,
        alert: Alert,
        world: &World<'_>,
        before: &Seen,
        shared: &mut Shared,
    ) -> Option<Sighting> {
        let (kind, severity) = match alert {
            Alert::ClaimStuck => (Kind::ClaimStuck, Severity::Warning),
            Alert::CordonFailed => (Kind::CordonFailed, Severity::Warning),
            Alert::DrainSlow => (Kind::DrainSlow, Severity::Warning),
            Alert::DrainFailed => (Kind::DrainFailed, Severity::Warning),
            Alert::DrainBackoff => (Kind::DrainBackoff, Severity::Warning),
            Alert::GrantNotConsumed => (Kind::GrantNotConsumed, Severity::Warning),
            Alert::NodeNotReturned => (Kind::NodeNotReturned, Severity::Critical),
            Alert::NodeQuarantined => (Kind::NodeQuarantined, Severity::Critical),
            Alert::RollbackFailed => (Kind::RollbackFailed, Severity::Critical),
            Alert::UncordonFailed => (Kind::UncordonFailed, Severity::Warning),
            Alert::RebootCommandFailed => (Kind::RebootCommandFailed, Severity::Critical),
            Alert::RebootOverdue => return Some(self.overdue(world.now, shared)),
            Alert::RebootBlocked => return Some(self.blocked(before, shared)),
            Alert::RebootStarved => (Kind::RebootStarved, Severity::Warning),
            // The node's own report says so, see `node`.
            Alert::RebootPending => return None,
            Alert::UnplannedReboot => {
                let is_many = boots_of(world, self.name) >= MANY_BOOTS;
                let severity = if is_many { Severity::Warning } else { Severity::Info };
                let (key, values) = (self.key(Kind::UnplannedReboot), shared.of([]));
                return Some(Sighting { key, severity, since: None, values });
            }
        };
        let values = shared.of([("reason", &*self.reason())]);
        let mut key = self.key(kind);
        if matches!(alert, Alert::DrainBackoff | Alert::DrainFailed) {
            key.namespace = self.namespace(kind, before);
        }
        Some(Sighting { key, severity, since: None, values })
    }

    fn overdue(&self, now: Moment, shared: &mut Shared) -> Sighting {
        let must_by = self.must_by();
        let is_long = must_by.is_some_and(|it| now.since(it) >= CRITICAL_OVERDUE_SECS);
        let severity = if is_long { Severity::Critical } else { Severity::Warning };
        let (by, reason) =
            (must_by.map_or_else(|| "?".to_owned(), |it| it.to_string()), self.reason());
        let ask = ask(self.blockers(), self.name);
        let values = shared.of([("must_by", &*by), ("reason", &*reason), ("ask", &*ask)]);
        Sighting { key: self.key(Kind::RebootOverdue), severity, since: must_by, values }
    }

    fn blocked(&self, before: &Seen, shared: &mut Shared) -> Sighting {
        let (reason, ask) = (self.reason(), ask(self.blockers(), self.name));
        let values = shared.of([("reason", &*reason), ("ask", &*ask)]);
        let mut key = self.key(Kind::RebootBlocked);
        key.namespace = self.namespace(Kind::RebootBlocked, before);
        Sighting { key, severity: Severity::Warning, since: None, values }
    }

    /// The namespace of a pod or budget that blocks it, so that its owner is told. Of several it stays
    /// the one that was told, because another namespace is another alert.
    fn namespace(&self, kind: Kind, before: &Seen) -> Option<Arc<str>> {
        let of_gates =
            self.blockers().iter().filter(|it| matches!(it.gate, Gate::Drain | Gate::Pod));
        let mut lines: Vec<&str> = of_gates.map(|it| it.value.as_str()).collect();
        match self.view.outlooks.get(self.uid) {
            Some(Outlook::Blocked(more) | Outlook::Impossible(more)) if !lines.is_empty() => {
                lines.extend(more.iter().map(String::as_str));
            }
            Some(_) | None => {}
        }
        let found: BTreeSet<&str> = lines.into_iter().flat_map(namespaces).collect();
        let told = before.keys().find_map(|key| {
            let is_this = key.kind == kind && key.node.as_ref() == Some(self.name);
            key.namespace.clone().filter(|it| is_this && found.contains(&**it))
        });
        told.or_else(|| found.first().map(|it| (*it).into()))
    }
}

/// Namespaces of the pods and budgets that the words of a blocker name: `NAMESPACE/NAME`.
fn namespaces(words: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &str| {
        let may_have = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        (1..=253).contains(&text.len()) && text.bytes().all(may_have)
    };
    words.split_whitespace().filter_map(move |word| {
        let word = word.trim_end_matches([':', ',', ';', '.']);
        let (namespace, name) = word.split_once('/')?;
        (is_name(namespace) && namespace.len() <= 63 && is_name(name)).then_some(namespace)
    })
}

fn words(blockers: &[Blocker]) -> String {
    let words: Vec<String> =
        blockers.iter().take(MAX_NAMED).map(|it| format!("{}: {}", it.gate, it.value)).collect();
    words.join("; ")
}

/// What a person should do about the most important gate.
fn ask(blockers: &[Blocker], node: &NodeName) -> String {
    let Some(gate) = blockers.first().map(|it| it.gate) else {
        return "`explain` shows what it waits for.".to_owned();
    };
    if [Gate::Drain, Gate::Pod, Gate::Backoff, Gate::Capacity].contains(&gate) {
        "Its owner has to make room: more replicas, a disruption budget that lets one pod go, or the pod \
         ended by hand."
            .to_owned()
    } else if gate == Gate::Approval {
        format!("Look at the reasons, then `POST /v1/reboots/{node}/approve`.")
    } else if gate == Gate::Mode {
        "The pool's mode starts nothing: change it in the policy, or drain and reboot the node by hand."
            .to_owned()
    } else if [Gate::FailureBudget, Gate::Paused, Gate::Freeze].contains(&gate) {
        "The pool is stopped: look at why, then let it go on.".to_owned()
    } else if [Gate::Hold, Gate::ForeignCordon, Gate::NodeLease, Gate::OtherActor].contains(&gate) {
        "Somebody keeps the node on purpose: ask them, or take the hold away.".to_owned()
    } else if gate == Gate::Certificate {
        "Renew the certificate first; the reboot follows by itself.".to_owned()
    } else {
        format!("`GET /v1/nodes/{node}/explain?format=text` shows each gate and what opens it.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_blocker_is_found_in_its_words() {
        let first = |words| namespaces(words).next().map(str::to_owned);
        assert_eq!(first("budget shop/api allows 0: 1 pods are healthy"), Some("shop".into()));
        assert_eq!(first("shop/db-0: its emptyDir would be lost"), Some("shop".into()));
        for none in
            ["the next window opens at 7", "/etc/x", "a/b/c", "/x", "x/", "<b>/x", "X/y", ""]
        {
            assert_eq!(first(none), None, "{none}");
        }
    }
}
