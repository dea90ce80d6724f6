//! An edit and what it would do to a fleet of six.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::fleet::Agent;
use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Past;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::request::Reason;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// A node that needs a reboot and that nothing speaks against.
fn node(number: usize, tier: &str) -> Node {
    let since = NOW.plus(-90_000);
    let reason = Reason {
        source: "kernel".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux".to_owned(),
        target: "6.1".to_owned(),
    };
    Node {
        name: format!("n-{number}").parse().unwrap(),
        uid: format!("uid-{number}").parse().unwrap(),
        labels: Arc::new(BTreeMap::from([("tier".to_owned(), tier.to_owned())])),
        role: Role::Worker,
        ready: Ready::Since(since),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW.plus(-10)),
            boot: Some("00000000-0000-4000-8000-000000000001".parse().unwrap()),
            kernel: Some("6.0".to_owned()),
            next_kernel: Some("6.1".to_owned()),
            need: Need::Needed {
                reasons: BTreeSet::from([reason]),
                digest: Digest::of(b"reasons"),
                since,
            },
            stable_since: Some(since),
            package_manager: Known::Known(None),
            reboot_method: Known::Known("logind".to_owned()),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: Some(Digest::of(b"report")),
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

/// Four web nodes and two databases.
fn fleet() -> Fleet {
    let nodes = (0..6).map(|number| node(number, if number < 4 { "web" } else { "db" }));
    Fleet {
        nodes: nodes.map(|node| (node.uid.clone(), node)).collect(),
        requests: BTreeMap::new(),
        pods: Known::Known(BTreeMap::new()),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past: Past::default(),
        own_node: None,
        frozen_at: None,
    }
}

fn policy(body: &str) -> Policy {
    let head = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";
    Policy::parse(&format!("{head}{body}")).unwrap_or_else(|error| panic!("{error}"))
}

/// What would be different if nothing speaks for or against a node by a policy.
fn told(fleet: &Fleet, old: &Policy, new: &Policy, now: Moment) -> BlastRadius {
    compare(Judged { fleet, policy: old }, Judged { fleet, policy: new }, now)
}

const OLD: &str = "cluster: {maxUnavailable: 3}\npools:\n  \
                   - {name: web, selector: {matchLabels: {tier: web}}, mode: plan, zonesAtOnce: 0}\n";

#[test]
fn the_same_policy_changes_nothing() {
    let old = policy(OLD);
    let radius = told(&fleet(), &old, &policy(&format!("# again\n{OLD}")), NOW);
    assert_eq!(radius.from, radius.to);
    assert_eq!((radius.fields.len(), radius.moved.count, radius.armed.count), (0, 0, 0));
    assert_eq!((radius.starting.count, radius.held_back.count), (0, 0));
    let nodes: Vec<(&str, usize)> =
        radius.pools.iter().map(|(name, pool)| (name.as_str(), pool.nodes.to)).collect();
    assert_eq!(nodes, [("default", 2), ("web", 4)]);
}

#[test]
fn an_edit_shows_whom_it_arms_and_who_would_start_at_once() {
    let new = OLD.replace("mode: plan", "mode: auto, maxUnavailable: 50%");
    let radius = told(&fleet(), &policy(OLD), &policy(&new), NOW);
    let fields: Vec<&str> = radius.fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(fields, ["pools.web.maxUnavailable", "pools.web.mode"]);
    assert_eq!(radius.armed.count, 4);
    assert_eq!(radius.starting.first.len(), 2, "{radius:?}");
    let web = &radius.pools["web"];
    assert_eq!(web.mode, Change { from: Some(Mode::Plan), to: Some(Mode::Auto) });
    assert_eq!(web.cap, Change { from: 1, to: 2 });

    let back = told(&fleet(), &policy(&new), &policy(OLD), NOW);
    assert_eq!((back.disarmed.count, back.held_back.count), (4, 2));
    assert_eq!((back.armed.count, back.starting.count), (0, 0));
}

#[test]
fn a_new_pool_shows_who_moves_there() {
    let new =
        format!("{OLD}  - {{name: db, selector: {{matchLabels: {{tier: db}}}}, mode: approve}}\n");
    let radius = told(&fleet(), &policy(OLD), &policy(&new), NOW);
    let moved: Vec<(&str, &str)> = radius
        .moved
        .first
        .iter()
        .map(|(name, moved)| (name.as_str(), moved.pool.to.as_str()))
        .collect();
    assert_eq!(moved, [("n-4", "db"), ("n-5", "db")]);
    assert_eq!(radius.armed.count, 2);
    assert_eq!(radius.starting.count, 0, "nobody has approved");
    let db = &radius.pools["db"];
    assert_eq!(db.nodes, Change { from: 0, to: 2 });
    assert_eq!(db.cap, Change { from: 0, to: 1 });
    assert_eq!(db.mode, Change { from: None, to: Some(Mode::Approve) });
    let added = radius.fields.iter().find(|field| field.path == "pools.db").unwrap();
    assert_eq!((added.from.is_none(), added.to.is_some()), (true, true));
}

#[test]
fn the_cluster_cap_is_told_in_nodes_and_long_lists_are_cut_but_counted() {
    let mut fleet = fleet();
    for number in 6..300 {
        let node = node(number, "db");
        fleet.nodes.insert(node.uid.clone(), node);
    }
    let new =
        OLD.replace("maxUnavailable: 3", "maxUnavailable: 10%").replace("tier: web", "tier: db");
    let radius = told(&fleet, &policy(OLD), &policy(&new), NOW);
    assert_eq!(radius.cluster_cap, Change { from: 3, to: 30 });
    assert_eq!((radius.moved.count, radius.moved.first.len()), (300, MAX_NODES));
    assert_eq!(radius.moved.first.keys().next().unwrap().as_str(), "n-0");
}

#[test]
fn each_policy_is_judged_by_its_own_labels_and_its_own_objections() {
    let by_name = |operator: &str| {
        format!(
            "pools:\n  - {{name: a, selector: {{matchExpressions: [{{key: kubernetes.io/hostname, \
             operator: {operator}, values: [n-1]}}]}}, mode: auto, zonesAtOnce: 0}}\n"
        )
    };
    let was = fleet();
    let mut would_be = fleet();
    for node in would_be.nodes.values_mut() {
        let name = node.name.to_string();
        Arc::make_mut(&mut node.labels).insert("kubernetes.io/hostname".to_owned(), name);
    }
    let named = |radius: &BlastRadius| radius.armed.first.keys().map(ToString::to_string).collect();
    let (old, new) = (policy(OLD), policy(&by_name("In")));
    let both = |fleet: &Fleet, new: &Policy| {
        compare(Judged { fleet: &was, policy: &old }, Judged { fleet, policy: new }, NOW)
    };
    let radius = both(&would_be, &new);
    let armed: Vec<String> = named(&radius);
    assert_eq!((armed, radius.starting.count), (vec!["n-1".to_owned()], 1));
    let radius = both(&would_be, &policy(&by_name("NotIn")));
    let armed: Vec<String> = named(&radius);
    assert_eq!(armed, ["n-0", "n-2", "n-3", "n-4", "n-5"]);

    let objection = crate::gate::Blocker {
        gate: crate::gate::Gate::Alert,
        value: "not asked under this policy yet".to_owned(),
        since: NOW,
        next_check: None,
    };
    would_be.nodes.values_mut().for_each(|node| node.objections.push(objection.clone()));
    let radius = both(&would_be, &new);
    assert_eq!((radius.armed.count, radius.starting.count), (1, 0));
}
