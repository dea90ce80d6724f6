//! Boots that nobody here asked for: a node in another boot than at the look before, without a grant
//! for the boot that ended. What became of a request then is decided by its own step.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_plan::fleet::Fleet;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_plan::request::Alert;
use palisade_plan::request::Progress;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

/// Seconds for which an alert about such a boot stands: Alertmanager has it long before.
const STANDS_SECS: i64 = 3600;

/// Seconds after which a node that used its permission at the last moment has shut down and is heard of
/// again, unless the request says that it is under way.
const RETURNS_SECS: i64 = 600;

/// A permission to end a boot, and until when the end of that boot is one by permission.
#[derive(Debug)]
struct Permission {
    boot: BootId,
    until: Moment,
}

/// The boots of all nodes. What happened before this collector led is not among them.
#[derive(Debug, Default)]
pub(super) struct Boots {
    known: BTreeMap<NodeUid, BootId>,
    /// Kept after the request is gone: a node does not learn that somebody deleted it.
    permitted: BTreeMap<NodeUid, Permission>,
    unplanned: BTreeMap<NodeUid, Moment>,
}

/// A boot that nobody here asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unplanned {
    pub(super) node: NodeName,
    pub(super) uid: NodeUid,
    pub(super) from: BootId,
    pub(super) to: BootId,
}

impl Boots {
    /// Follows the boots of a fleet, and returns those that nobody here asked for.
    pub(super) fn follow(&mut self, fleet: &Fleet, now: Moment) -> Vec<Unplanned> {
        self.known.retain(|uid, _| fleet.nodes.contains_key(uid));
        self.unplanned
            .retain(|uid, at| fleet.nodes.contains_key(uid) && now.since(*at) < STANDS_SECS);
        self.permitted.retain(|uid, it| fleet.nodes.contains_key(uid) && now <= it.until);
        self.permitted.extend(
            fleet.requests.iter().filter_map(|(uid, it)| Some((uid.clone(), permission(it, now)?))),
        );
        let mut found = Vec::new();
        for (uid, node) in &fleet.nodes {
            let Some(to) = &node.agent.boot else { continue };
            let Some(from) = self.known.insert(uid.clone(), to.clone()) else { continue };
            let is_permitted = self.permitted.get(uid).is_some_and(|it| it.boot == from);
            if from == *to || is_permitted {
                continue;
            }
            self.unplanned.insert(uid.clone(), now);
            let (node, uid) = (node.name.clone(), uid.clone());
            found.push(Unplanned { node, uid, from, to: to.clone() });
        }
        found
    }

    /// All alerts about nodes: of their requests, of nodes that wait without one, of their boots.
    pub(super) fn alerts(
        &self,
        fleet: &Fleet,
        policy: &Policy,
        plan: &Plan,
    ) -> BTreeMap<NodeUid, BTreeSet<Alert>> {
        let mut alerts: BTreeMap<NodeUid, BTreeSet<Alert>> = BTreeMap::new();
        for (uid, alert) in plan::alerts(fleet, policy, plan) {
            alerts.entry(uid).or_default().insert(alert);
        }
        for uid in self.unplanned() {
            alerts.entry(uid.clone()).or_default().insert(Alert::UnplannedReboot);
        }
        let raised = fleet.requests.iter().filter(|(_, it)| !it.progress.alerts.is_empty());
        for (uid, request) in raised {
            alerts.entry(uid.clone()).or_default().extend(&request.progress.alerts);
        }
        alerts
    }

    /// Nodes that booted unasked not long ago.
    fn unplanned(&self) -> impl Iterator<Item = &NodeUid> {
        self.unplanned.keys()
    }
}

/// What a request permits now. A permission that was void before anybody used it stays in the record,
/// and permits nothing.
fn permission(request: &Request, now: Moment) -> Option<Permission> {
    let Progress { state, grant, .. } = &request.progress;
    let grant = grant.as_ref()?;
    let used_until = match state {
        State::Granted
        | State::Rebooting
        | State::Booted
        | State::Verifying
        | State::Uncordoning
        | State::Done
        | State::NotReturned
        | State::Quarantined => grant.void_after.max(now),
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Claimed
        | State::Cordoning
        | State::Draining
        | State::RollingBack
        | State::Backoff
        | State::NodeGone
        | State::Cancelled => grant.void_after,
    };
    let until = used_until.plus(RETURNS_SECS);
    (now <= until).then(|| Permission { boot: grant.boot.clone(), until })
}

#[cfg(test)]
mod tests {
    use palisade_plan::fleet::Agent;
    use palisade_plan::fleet::Known;
    use palisade_plan::fleet::Need;
    use palisade_plan::fleet::Node;
    use palisade_plan::fleet::Past;
    use palisade_plan::fleet::Ready;
    use palisade_plan::fleet::Role;
    use palisade_plan::request::GrantRecord;
    use palisade_plan::step;
    use palisade_report::Digest;
    use palisade_report::grant::GrantId;

    use super::*;
    use crate::reboots::errand;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn boot(number: u8) -> BootId {
        format!("00000000-0000-4000-8000-0000000000{number:02}").parse().unwrap()
    }

    /// A node in this boot, and a request with a grant for another one, if any.
    fn fleet(now: Option<u8>, granted: Option<u8>) -> Fleet {
        let uid: NodeUid = "u-1".parse().unwrap();
        let unknown = || Known::Unknown("not asked".to_owned());
        let agent = Agent {
            heard_at: Some(NOW),
            boot: now.map(boot),
            kernel: None,
            next_kernel: None,
            need: Need::NotNeeded,
            stable_since: None,
            package_manager: unknown(),
            reboot_method: Known::Unknown("not asked".to_owned()),
            hold_file: unknown(),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: None,
        };
        let node = Node {
            name: "worker-1".parse().unwrap(),
            uid: uid.clone(),
            labels: std::sync::Arc::default(),
            role: Role::Worker,
            ready: Ready::Unknown,
            cordon: palisade_plan::fleet::Cordon::Schedulable,
            taints: BTreeSet::new(),
            hold: None,
            agent,
            blockers: Vec::new(),
            objections: Vec::new(),
        };
        let request = granted.map(|number| {
            let wish = errand::asked(None, None, "anna", NOW);
            let mut request = step::requested(node.name.clone(), uid.clone(), wish, 1, NOW);
            request.progress.grant = Some(GrantRecord {
                id: GrantId::from_bytes([1; 16]),
                boot: boot(number),
                report: Digest::of(b"report"),
                expected_kernel: None,
                at: NOW,
                void_after: NOW,
                answered_at: None,
                answer: None,
            });
            (uid.clone(), request)
        });
        Fleet {
            nodes: BTreeMap::from([(uid, node)]),
            requests: request.into_iter().collect(),
            pods: Known::Known(BTreeMap::new()),
            budgets: Known::Known(BTreeMap::new()),
            blockers: Vec::new(),
            etcd: None,
            past: Past::default(),
            own_node: None,
            frozen_at: None,
        }
    }

    #[test]
    fn only_a_boot_without_a_grant_for_the_one_before_is_unplanned() {
        let mut boots = Boots::default();
        assert_eq!(boots.follow(&fleet(Some(1), None), NOW), [], "who was there before is unknown");
        assert_eq!(boots.follow(&fleet(None, None), NOW), [], "silence is no boot");
        assert_eq!(boots.follow(&fleet(Some(2), Some(1)), NOW), [], "it was let go");
        let found = boots.follow(&fleet(Some(3), Some(1)), NOW);
        assert_eq!(found.len(), 1, "the grant was for an earlier boot");
        assert_eq!((&found[0].from, &found[0].to), (&boot(2), &boot(3)));
        assert_eq!(boots.follow(&fleet(Some(3), None), NOW), [], "told once");
        assert_eq!(boots.unplanned().count(), 1);
        assert_eq!(boots.follow(&fleet(Some(3), None), NOW.plus(STANDS_SECS)), []);
        assert_eq!(boots.unplanned().count(), 0);
    }

    #[test]
    fn a_permission_that_is_void_permits_no_boot_unless_it_was_used() {
        let late = NOW.plus(RETURNS_SECS + 1);
        let granted = |state| {
            let mut fleet = fleet(Some(1), Some(1));
            fleet.requests.values_mut().for_each(|it| it.progress.state = state);
            fleet
        };
        let unplanned = |state, at| {
            let mut boots = Boots::default();
            boots.follow(&granted(state), NOW);
            let mut after = granted(state);
            after.nodes.values_mut().for_each(|node| node.agent.boot = Some(boot(2)));
            boots.follow(&after, at).len()
        };
        for state in [State::Backoff, State::Needed, State::Blocked] {
            assert_eq!(unplanned(state, late), 1, "{state:?}: somebody else rebooted it");
            assert_eq!(unplanned(state, NOW.plus(RETURNS_SECS)), 0, "{state:?}: it was let go");
        }
        for state in [State::Granted, State::Rebooting, State::NotReturned, State::Quarantined] {
            assert_eq!(unplanned(state, late), 0, "{state:?}: it is on its way");
        }
    }

    #[test]
    fn a_node_that_goes_down_while_its_request_is_deleted_was_let_go() {
        let mut boots = Boots::default();
        boots.follow(&fleet(Some(1), Some(1)), NOW);
        assert_eq!(boots.follow(&fleet(None, None), NOW.plus(5)), []);
        assert_eq!(boots.follow(&fleet(Some(2), None), NOW.plus(RETURNS_SECS)), []);
        assert_eq!(boots.follow(&fleet(Some(3), None), NOW.plus(RETURNS_SECS)).len(), 1);
    }
}
