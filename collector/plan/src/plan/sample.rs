//! Fleets to test with: every node well, in need of a reboot, and free to go.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use crate::fleet::Agent;
use crate::fleet::Asks;
use crate::fleet::Cordon;
use crate::fleet::DisruptionBudget;
use crate::fleet::Finished;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Owner;
use crate::fleet::Past;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::request::AfterRollback;
use crate::request::Drain;
use crate::request::Intent;
use crate::request::Placement;
use crate::request::Progress;
use crate::request::Reason;
use crate::request::Request;
use crate::request::State;
use crate::request::Wish;

/// 2027-01-15T08:00:00Z, a Friday.
pub(crate) const NOW: Moment = Moment::from_unix(1_800_000_000);

/// The UID of the node of this name.
pub(crate) fn uid(name: &str) -> NodeUid {
    format!("uid-{name}").parse().unwrap()
}

/// A reason, and the digest over it alone.
pub(crate) fn reason(subject: &str) -> (Reason, Digest) {
    let reason = Reason {
        source: "kernels".to_owned(),
        kind: "kernel".to_owned(),
        subject: subject.to_owned(),
        target: "6.1.0-40".to_owned(),
    };
    (reason, Digest::of(subject.as_bytes()))
}

/// That a reboot is needed since then.
pub(crate) fn needed(since: Moment) -> Need {
    let (reason, digest) = reason("linux-image");
    Need::Needed { reasons: BTreeSet::from([reason]), digest, since }
}

/// A worker that is well, wants a reboot since an hour, and whose gates are all open.
pub(crate) fn node(name: &str, pool: &str, zone: &str) -> Node {
    let labels = BTreeMap::from([
        ("pool".to_owned(), pool.to_owned()),
        ("topology.kubernetes.io/zone".to_owned(), zone.to_owned()),
    ]);
    Node {
        name: name.parse().unwrap(),
        uid: uid(name),
        labels: Arc::new(labels),
        role: Role::Worker,
        ready: Ready::Since(NOW.plus(-86_400)),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW.plus(-10)),
            boot: None,
            kernel: None,
            next_kernel: None,
            need: needed(NOW.plus(-3_600)),
            stable_since: Some(NOW.plus(-3_600)),
            package_manager: Known::Known(None),
            reboot_method: Known::Known("logind".to_owned()),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: None,
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

/// A node of the control plane, else as [`node`].
pub(crate) fn control_plane(name: &str) -> Node {
    Node { role: Role::ControlPlane, ..node(name, "masters", "a") }
}

/// These nodes, without pods, requests or a past.
pub(crate) fn fleet(nodes: impl IntoIterator<Item = Node>) -> Fleet {
    let nodes: BTreeMap<NodeUid, Node> =
        nodes.into_iter().map(|node| (node.uid.clone(), node)).collect();
    let pods = nodes.keys().map(|uid| (uid.clone(), Arc::from([]))).collect();
    Fleet {
        nodes,
        requests: BTreeMap::new(),
        pods: Known::Known(pods),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past: Past::default(),
        own_node: None,
        frozen_at: None,
    }
}

/// `count` workers of pool `web` in zone `a`: `w-000`, `w-001`, ...
pub(crate) fn workers(count: usize) -> Fleet {
    fleet((0..count).map(|index| node(&format!("w-{index:03}"), "web", "a")))
}

/// The node of this name, to be changed.
pub(crate) fn at<'f>(fleet: &'f mut Fleet, name: &str) -> &'f mut Node {
    fleet.nodes.get_mut(&uid(name)).unwrap()
}

/// A pool in mode auto of nodes with the label `pool`, any zone at any time.
pub(crate) fn pool(name: &str, max_unavailable: Amount) -> Pool {
    Pool {
        name: name.to_owned(),
        selector: Selector::label("pool", name),
        mode: Mode::Auto,
        max_unavailable,
        zones_at_once: 0,
        ..Pool::default()
    }
}

/// These pools in a cluster without a cap to speak of.
pub(crate) fn policy(pools: impl IntoIterator<Item = Pool>) -> Policy {
    let cluster = ClusterPolicy { max_unavailable: Amount::Percent(100), ..Default::default() };
    Policy::of(cluster, pools.into_iter().collect())
}

/// A request of a node in this state, made by the planner.
pub(crate) fn request(node: &Node, state: State) -> Request {
    let (reason, digest) = reason("linux-image");
    let labels = &node.labels;
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let placement = Placement {
        pool: label("pool"),
        zone: label("topology.kubernetes.io/zone"),
        role: node.role,
    };
    Request {
        node: node.name.clone(),
        uid: node.uid.clone(),
        id: format!("request-{}", node.name),
        version: "1".to_owned(),
        wish: Wish {
            reasons: BTreeSet::from([reason]),
            digest,
            since: NOW.plus(-3_600),
            requested_by: "palisade".to_owned(),
            must_by: None,
            approval: None,
            overriding: None,
            intent: Intent::Reboot,
            release: None,
        },
        progress: Progress {
            state,
            since: NOW.plus(-60),
            deadline: None,
            epoch: 1,
            placement,
            blockers: Vec::new(),
            blockers_at: None,
            boot_at_claim: None,
            before: None,
            adopts: None,
            drain: Drain::default(),
            grant: None,
            boot: None,
            proofs: BTreeMap::new(),
            sound_since: None,
            relapses: 0,
            rollbacks: 0,
            then: AfterRollback::default(),
            failure: None,
            alerts: BTreeSet::new(),
            history: Vec::new(),
        },
    }
}

/// Puts the node of this name into a state, as a request that exists.
pub(crate) fn put(fleet: &mut Fleet, name: &str, state: State) {
    let request = request(at(fleet, name), state);
    fleet.requests.insert(request.uid.clone(), request);
}

/// A gate that is shut, as the shell found it.
pub(crate) fn blocker(gate: Gate) -> Blocker {
    Blocker { gate, value: "found by the shell".to_owned(), since: NOW, next_check: None }
}

/// A reboot that ended so many seconds ago.
pub(crate) fn finished(name: &str, ago_secs: i64, reboot_secs: u32) -> Finished {
    Finished { node: uid(name), at: NOW.plus(-ago_secs), drain_secs: 60, reboot_secs }
}

/// A pod that runs under a ReplicaSet, guarded by these budgets.
pub(crate) fn pod(name: &str, budgets: &[&str]) -> Pod {
    Pod {
        name: format!("default/{name}"),
        uid: format!("uid-of-{name}"),
        labels: BTreeMap::new(),
        phase: Phase::Running,
        ready: true,
        owner: Some(Owner {
            kind: "ReplicaSet".to_owned(),
            name: "web".to_owned(),
            exists: Known::Known(true),
        }),
        is_mirror: false,
        has_empty_dir: false,
        deleting: None,
        wish: None,
        tolerates_cordon: false,
        budgets: budgets.iter().map(|&name| name.to_owned()).collect(),
        volumes: BTreeSet::new(),
        asks: Asks::default(),
    }
}

/// A budget that lets so many of ten pods go.
pub(crate) fn budget(allowed: u32) -> DisruptionBudget {
    DisruptionBudget {
        allowed,
        current_healthy: 10,
        desired_healthy: 10 - allowed,
        expected: 11,
        is_current: true,
        always_allow_unhealthy: false,
    }
}

/// Puts these pods on the node of this name.
pub(crate) fn run(fleet: &mut Fleet, name: &str, pods: Vec<Pod>) {
    let Known::Known(all) = &mut fleet.pods else { panic!("pods are known here") };
    all.insert(uid(name), Arc::from(pods));
}

/// Adds budgets of these names and allowances.
pub(crate) fn guard(fleet: &mut Fleet, budgets: &[(&str, u32)]) {
    let named = budgets.iter().map(|&(name, allowed)| (name.to_owned(), budget(allowed)));
    fleet.budgets = Known::Known(named.collect());
}
