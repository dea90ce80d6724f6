//! Each law is broken once, on purpose, by the shortest log that breaks it; and a whole implementation
//! is broken in `simulate::tests`. A law that catches nothing proves nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use super::*;
use crate::fleet::Cordon;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Pod;
use crate::fleet::Role;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::request::Alert;
use crate::request::Answer;
use crate::request::BootRecord;
use crate::request::GrantRecord;
use crate::request::Request;
use crate::request::Schedulability;
use crate::request::State;
use crate::request::Wish;
use crate::simulate::START;
use crate::simulate::invent;
use crate::step::requested;

mod excused;

/// A log that is written by hand: ten nodes of an invented fleet, all well, one pool that may reboot.
struct Log {
    laws: Laws,
    now: Moment,
    nodes: Vec<Node>,
}

const ME: usize = 0;

impl Log {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Pool)) -> Self {
        let mut pool = Pool {
            name: String::from("all"),
            selector: Selector::default(),
            mode: Mode::Auto,
            max_unavailable: Amount::Count(2),
            ..Pool::default()
        };
        change(&mut pool);
        let policy = Policy::of(
            ClusterPolicy { max_unavailable: Amount::Count(2), ..ClusterPolicy::default() },
            vec![pool],
        );
        let mut log = Self { laws: Laws::default(), now: START, nodes: Vec::new() };
        log.say(Author::Person, What::Ruled(Arc::new(policy)));
        let (fleet, _) = invent(3, 10);
        for mut node in fleet.nodes.into_values() {
            node.ready = crate::fleet::Ready::Since(START);
            node.cordon = Cordon::Schedulable;
            node.role = Role::Worker;
            let reasons = BTreeSet::new();
            let digest = START.unix().to_be_bytes();
            let digest = palisade_report::Digest::of(&digest);
            node.agent.need = Need::Needed { reasons, digest, since: START };
            log.nodes.push(node.clone());
            log.say(Author::Cluster, What::Joined { node: Box::new(node), etcd: Etcd::None });
        }
        log.me(What::Leads { until: START.plus(1_000_000) });
        log.now = START.plus(10_000);
        log
    }

    fn say(&mut self, by: Author, what: What) {
        self.laws.enter(&Record { at: self.now, by, what });
    }

    fn me(&mut self, what: What) {
        let by = Author::Collector { id: ME, epoch: 1, clock: self.now };
        self.say(by, what);
    }

    fn uid(&self, number: usize) -> NodeUid {
        self.nodes[number].uid.clone()
    }

    fn request(&self, number: usize, state: State) -> Request {
        let node = &self.nodes[number];
        let Need::Needed { reasons, digest, since } = node.agent.need.clone() else {
            panic!("all of them need one");
        };
        let wish = Wish {
            reasons,
            digest,
            since,
            requested_by: String::from("planner"),
            must_by: None,
            approval: None,
            overriding: None,
            intent: crate::request::Intent::Reboot,
            release: None,
        };
        let mut request = requested(node.name.clone(), node.uid.clone(), wish, 1, self.now);
        request.id = format!("request-{number}");
        request.version = String::from("1");
        request.progress.state = state;
        request.progress.deadline = Some(self.now.plus(60));
        request.progress.placement.pool = String::from("all");
        request.progress.before = Some(Schedulability::Schedulable);
        request
    }

    fn write(&mut self, number: usize, state: State) {
        let request = self.request(number, state);
        self.me(What::Wrote(Box::new(request)));
    }

    fn grant(&self, number: usize) -> GrantRecord {
        let node = &self.nodes[number];
        GrantRecord {
            id: GrantId::from_bytes([7; 16]),
            boot: node.agent.boot.clone().unwrap(),
            report: palisade_report::Digest::of(b""),
            expected_kernel: None,
            at: self.now,
            void_after: self.now.plus(180),
            answer: None,
            answered_at: None,
        }
    }

    fn write_with(&mut self, number: usize, state: State, change: impl FnOnce(&mut Request)) {
        let mut request = self.request(number, state);
        change(&mut request);
        self.me(What::Wrote(Box::new(request)));
    }

    fn cordon(&mut self, number: usize) {
        let uid = self.uid(number);
        self.me(What::Cordoned(uid, Cordon::Ours { request: format!("request-{number}") }));
    }

    fn pod(&self, number: u64) -> Pod {
        let (fleet, _) = invent(3, 10);
        let pods = fleet.pods.known().unwrap().values().flat_map(|pods| pods.iter());
        let mut pod = pods
            .filter(|pod| pod.owner.as_ref().is_some_and(|owner| owner.kind == "ReplicaSet"))
            .nth(0)
            .cloned()
            .unwrap();
        pod.uid = format!("pod-{number}");
        pod
    }

    /// The node of this number is drained and has a grant that is stored.
    fn granted(&mut self, number: usize) {
        self.write(number, State::Claimed);
        self.write(number, State::Cordoning);
        self.cordon(number);
        self.write(number, State::Draining);
        self.now = self.now.plus(300);
        let grant = self.grant(number);
        self.write_with(number, State::Granted, |request| request.progress.grant = Some(grant));
    }

    fn handed(&self, number: usize) -> Handed {
        let grant = self.grant(number);
        let Need::Needed { digest, .. } = self.nodes[number].agent.need else { panic!("needed") };
        let until = self.now.plus(60);
        Handed { id: grant.id, node: self.uid(number), boot: grant.boot, digest, epoch: 1, until }
    }

    fn accept(&mut self, number: usize) {
        let Handed { id, node, boot, epoch, .. } = self.handed(number);
        self.say(Author::Node, What::Accepted { node, boot, grant: id, epoch });
    }

    /// Nothing was broken until now.
    fn fine(&self) {
        assert_eq!(self.laws.broken(), []);
    }

    /// Exactly this law was broken, and it told more than its number.
    fn broke(&self, law: u8) {
        let broken: BTreeSet<u8> = self.laws.broken().iter().map(|breach| breach.law).collect();
        assert_eq!(broken, BTreeSet::from([law]), "{:?}", self.laws.broken());
        assert!(self.laws.broken().iter().all(|breach| !breach.what.is_empty()));
    }
}

fn boot(number: u8) -> BootId {
    BootId::from_bytes(&[number; 16])
}

#[test]
fn laws_are_numbered_in_order() {
    for (law, number) in LAWS.iter().zip(1..) {
        assert_eq!(law.number, number);
        assert!(!law.title.is_empty());
    }
}

#[test]
fn law_1_catches_a_third_node_of_two() {
    let mut log = Log::new();
    for number in 0..2 {
        log.write(number, State::Claimed);
        log.write(number, State::Cordoning);
    }
    log.write(2, State::Claimed);
    log.fine();
    log.write(2, State::Cordoning);
    log.broke(1);
}

#[test]
fn law_1_counts_nodes_that_are_away_by_themselves() {
    let mut log = Log::new();
    let uid = log.uid(9);
    log.say(Author::Cluster, What::Readiness(uid, Readiness::NotReady));
    log.write(0, State::Claimed);
    log.write(0, State::Cordoning);
    log.write(1, State::Claimed);
    log.fine();
    log.now = log.now.plus(LAG_SECS + 1);
    log.write(1, State::Cordoning);
    log.broke(1);
}

#[test]
fn law_2_catches_a_control_plane_node_beside_a_worker() {
    let mut log = Log::new();
    log.write(0, State::Claimed);
    log.write(0, State::Cordoning);
    let control = |request: &mut Request| request.progress.placement.role = Role::ControlPlane;
    log.write_with(1, State::Claimed, control);
    log.fine();
    log.write_with(1, State::Cordoning, control);
    log.broke(2);
}

#[test]
fn law_3_catches_a_grant_with_a_pod_on_the_node() {
    let mut log = Log::new();
    let (uid, pod) = (log.uid(0), log.pod(1));
    log.say(Author::Cluster, What::PodCame(uid, Box::new(pod)));
    log.granted(0);
    log.broke(3);
}

#[test]
fn law_3_catches_a_grant_without_our_cordon() {
    let mut log = Log::new();
    log.write(0, State::Draining);
    let grant = log.grant(0);
    log.write_with(0, State::Granted, |request| request.progress.grant = Some(grant));
    log.broke(3);
}

#[test]
fn law_4_catches_a_grant_in_a_pool_that_only_plans() {
    let mut log = Log::with(|pool| pool.mode = Mode::Plan);
    log.granted(0);
    log.broke(4);
}

#[test]
fn law_4_catches_a_grant_under_a_hold() {
    let mut log = Log::new();
    let hold = crate::fleet::Hold { reason: String::from("no"), until: None };
    let uid = log.uid(0);
    log.say(Author::Person, What::Held(uid, Some(hold)));
    log.granted(0);
    log.broke(4);
}

/// Who finds out that a grant was not used enters its state again, which gives nothing: held and without
/// the cordon that may be, and only to hand it out again may not.
#[test]
fn laws_3_and_4_let_a_grant_be_taken_back_and_catch_who_hands_it_out_again() {
    let mut log = Log::new();
    log.granted(0);
    let (uid, grant) = (log.uid(0), log.grant(0));
    let with = |request: &mut Request| request.progress.grant = Some(grant.clone());
    log.write_with(0, State::Rebooting, with);
    let hold = crate::fleet::Hold { reason: String::from("no"), until: None };
    log.say(Author::Person, What::Held(uid.clone(), Some(hold)));
    log.say(Author::Person, What::Cordoned(uid.clone(), Cordon::Schedulable));
    log.now = log.now.plus(LAG_SECS + 1);
    log.write_with(0, State::Granted, with);
    log.fine();
    let grant = log.handed(0);
    log.me(What::Handed { to: uid, grant });
    let broken: Vec<u8> = log.laws.broken().iter().map(|breach| breach.law).collect();
    assert_eq!(broken, [3, 4]);
}

#[test]
fn law_5_catches_a_second_boot_for_the_same_reasons() {
    let mut log = Log::new();
    log.granted(0);
    log.accept(0);
    let uid = log.uid(0);
    let grant = Some(log.grant(0).id);
    let booted = |to| What::Booted { node: uid.clone(), from: boot(1), to, grant };
    log.say(Author::Node, booted(boot(2)));
    log.fine();
    log.say(Author::Node, booted(boot(3)));
    log.broke(5);
}

#[test]
fn law_6_catches_a_grant_that_nobody_stored() {
    let mut log = Log::new();
    log.accept(0);
    log.broke(6);
}

#[test]
fn law_7_catches_a_boot_that_was_none() {
    let mut log = Log::new();
    log.granted(0);
    let (grant, seen_at) = (log.grant(0), log.now);
    log.write_with(0, State::Booted, |request| {
        let boot = grant.boot.clone();
        request.progress.boot = Some(BootRecord { boot, kernel: None, seen_at });
        request.progress.grant = Some(grant);
    });
    log.broke(7);
}

#[test]
fn law_8_catches_an_end_without_proofs() {
    let mut log = Log::new();
    log.write(0, State::Verifying);
    log.fine();
    log.now = log.now.plus(1);
    let (uid, need) = (log.uid(0), Need::NotNeeded);
    log.say(Author::Node, What::Said { node: uid, boot: boot(2), need });
    log.write(0, State::Uncordoning);
    log.broke(8);
}

#[test]
fn law_9_catches_a_foreign_cordon_that_is_taken_away() {
    let mut log = Log::new();
    let uid = log.uid(0);
    log.write(0, State::RollingBack);
    log.cordon(0);
    let foreign = Cordon::Foreign { by: None };
    log.say(Author::Person, What::Cordoned(uid.clone(), foreign));
    log.laws.broken.clear();
    log.me(What::Cordoned(uid, Cordon::Schedulable));
    log.broke(9);
}

#[test]
fn law_10_catches_a_quarantine_that_nobody_hears_of() {
    let mut log = Log::new();
    log.write(0, State::Verifying);
    log.fine();
    log.write(0, State::Quarantined);
    log.broke(10);
}

#[test]
fn law_10_catches_a_cordon_that_outlives_its_request() {
    let mut log = Log::new();
    log.write(0, State::Cordoning);
    log.laws.broken.clear();
    log.cordon(0);
    let uid = log.uid(0);
    log.say(Author::Person, What::Removed(uid));
    log.say(Author::Cluster, What::Ended { unexplained: BTreeMap::new(), cut: log.now });
    log.broke(10);
}

#[test]
fn law_11_catches_a_place_that_time_freed() {
    let mut log = Log::new();
    log.write(0, State::Rebooting);
    log.fine();
    log.write(0, State::Blocked);
    log.broke(11);
}

#[test]
fn law_11_catches_a_node_that_is_declared_gone_and_is_not() {
    let mut log = Log::new();
    log.write(0, State::Rebooting);
    log.write(0, State::NodeGone);
    log.broke(11);
}

#[test]
fn law_12_catches_a_place_that_is_freed_under_our_cordon() {
    let mut log = Log::new();
    log.write(0, State::Claimed);
    log.write(0, State::Cordoning);
    log.cordon(0);
    log.write(0, State::RollingBack);
    log.fine();
    log.write(0, State::Backoff);
    log.broke(12);
}

#[test]
fn law_13_catches_an_eviction_before_the_state_is_stored() {
    let mut log = Log::new();
    log.write(0, State::Claimed);
    log.write(0, State::Cordoning);
    log.fine();
    let (node, pod) = (log.uid(0), String::from("pod-1"));
    log.me(What::Evicted { node, pod });
    log.broke(13);
}

/// What a person deleted a moment ago may still be acted for; what a collector deleted may not.
#[test]
fn law_13_catches_an_eviction_for_a_request_that_was_deleted() {
    let evicts = |by: Author, later: i64| {
        let mut log = Log::new();
        log.write(0, State::Draining);
        let (node, pod) = (log.uid(0), String::from("pod-1"));
        log.say(by, What::Removed(node.clone()));
        log.laws.broken.clear();
        log.now = log.now.plus(later);
        log.me(What::Evicted { node, pod });
        log
    };
    evicts(Author::Person, LAG_SECS).fine();
    evicts(Author::Person, LAG_SECS + 1).broke(13);
    let clock = START;
    evicts(Author::Collector { id: ME, epoch: 1, clock }, 1).broke(13);
}

#[test]
fn law_14_catches_a_start_without_knowing_why() {
    let mut log = Log::new();
    let need = Need::Unknown { why: String::from("no database") };
    let (node, from) = (log.uid(0), boot(1));
    log.say(Author::Node, What::Said { node, boot: from, need });
    log.now = log.now.plus(LAG_SECS + 1);
    log.write(0, State::Claimed);
    log.fine();
    log.write(0, State::Cordoning);
    log.broke(14);
}

#[test]
fn law_15_catches_the_cordon_of_another_request() {
    let mut log = Log::new();
    log.write(0, State::Claimed);
    log.write(0, State::Cordoning);
    let uid = log.uid(0);
    log.me(What::Cordoned(uid, Cordon::Ours { request: String::from("request-of-a-namesake") }));
    log.broke(15);
}

#[test]
fn law_16_catches_a_state_without_a_deadline() {
    let mut log = Log::new();
    log.write_with(0, State::Draining, |request| request.progress.deadline = None);
    log.broke(16);
}

#[test]
fn law_17_catches_a_request_that_never_ends_and_a_wait_without_a_reason() {
    let mut log = Log::new();
    log.write(0, State::Draining);
    log.fine();
    log.say(Author::Cluster, What::Ended { unexplained: BTreeMap::new(), cut: log.now });
    log.broke(17);
    let mut log = Log::new();
    let unexplained = BTreeMap::from([(log.uid(0), String::from("nothing"))]);
    log.say(Author::Cluster, What::Ended { unexplained, cut: log.now });
    log.broke(17);
}

#[test]
fn law_18_catches_who_acts_after_somebody_else_leads() {
    let mut log = Log::new();
    let other = Author::Collector { id: 1, epoch: 2, clock: log.now };
    log.say(other, What::Leads { until: log.now.plus(60) });
    log.fine();
    log.write(0, State::Claimed);
    log.broke(18);
}

#[test]
fn law_19_catches_an_answer_that_was_never_given() {
    let mut log = Log::new();
    log.granted(0);
    log.fine();
    let mut grant = log.grant(0);
    grant.at = log.now;
    grant.answer = Some(Answer::Executing);
    log.write_with(0, State::Rebooting, |request| request.progress.grant = Some(grant));
    log.broke(19);
}

#[test]
fn law_20_catches_an_eviction_beside_a_pod_that_cannot_go() {
    let mut log = Log::new();
    let mut alone = log.pod(1);
    alone.owner = None;
    let (uid, other) = (log.uid(0), log.pod(2));
    log.say(Author::Cluster, What::PodCame(uid.clone(), Box::new(alone)));
    log.say(Author::Cluster, What::PodCame(uid.clone(), Box::new(other)));
    log.now = log.now.plus(LAG_SECS + 1);
    log.write(0, State::Draining);
    log.fine();
    log.me(What::Evicted { node: uid, pod: String::from("pod-2") });
    log.broke(20);
}

#[test]
fn law_21_catches_a_start_after_the_failures_of_a_pool() {
    let mut log = Log::with(|pool| pool.max_unavailable = Amount::Count(9));
    log.write_with(0, State::Quarantined, |request| {
        request.progress.alerts.insert(Alert::NodeQuarantined);
    });
    log.now = log.now.plus(LAG_SECS + 1);
    log.write(1, State::Claimed);
    log.fine();
    log.write(1, State::Cordoning);
    log.broke(21);
}

#[test]
fn law_22_catches_a_start_in_silence() {
    let mut log = Log::new();
    for number in 2..6 {
        let uid = log.uid(number);
        log.say(Author::Node, What::Silent(uid));
    }
    log.now = log.now.plus(3600);
    log.write(0, State::Claimed);
    log.fine();
    log.write(0, State::Cordoning);
    log.broke(22);
}

#[test]
fn law_23_catches_a_plan_that_is_another_one_the_second_time() {
    let (fleet, policy) = invent(4, 40);
    let found = crate::plan::plan(&fleet, &policy, START);
    assert_eq!(planning(&fleet, &policy, START, &found, None), Ok(()));
    let mut other = found.clone();
    other.order.reverse();
    other.start.clear();
    other.at = START.plus(1);
    assert!(planning(&fleet, &policy, START, &other, None).is_err());
    let mut laws = Laws::default();
    laws.enter_plan(START, Err(String::from("another plan")));
    assert_eq!(laws.broken().first().map(|breach| breach.law), Some(23));
}

#[test]
fn law_24_catches_a_word_that_is_said_twice() {
    let mut log = Log::new();
    let told = What::Notified {
        node: log.uid(0),
        alert: Alert::DrainSlow,
        state: State::Draining,
        version: String::from("9"),
    };
    log.me(told.clone());
    log.fine();
    log.me(told);
    log.broke(24);
}
