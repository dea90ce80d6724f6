//! One fleet, judged under policies that ask for other things than the one in force.

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Ready;
use palisade_report::NodeName;

use super::*;
use crate::snapshot::ClusterNode;
use crate::snapshot::Scheduling;

const NOW: Moment = Moment::from_unix(1_800_000_000);

fn policy(body: &str) -> Policy {
    let head = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";
    Policy::parse(&format!("{head}{body}")).unwrap_or_else(|error| panic!("{error}"))
}

/// The members of a cluster, as they are kept: without the label of their hostnames.
fn members() -> Members {
    let member = |name: &str| ClusterNode {
        uid: format!("uid-{name}").parse().unwrap(),
        labels: Arc::new(BTreeMap::from([("tier".to_owned(), "web".to_owned())])),
        hostname: Some(name.into()),
        ready: crate::snapshot::Ready::Ready,
        scheduling: Scheduling::Open,
        boot_id: None,
        kernel: None,
        kubelet: None,
        taints: Vec::new(),
    };
    let named = ["a", "b"].map(|name| (name.parse::<NodeName>().unwrap(), Arc::new(member(name))));
    Arc::new(named.into())
}

fn fleet(members: &Members) -> Fleet {
    let unknown = || Known::Unknown("not asked".to_owned());
    let node = |(name, member): (&NodeName, &Arc<ClusterNode>)| Node {
        name: name.clone(),
        uid: member.uid.clone(),
        labels: Arc::clone(&member.labels),
        role: Role::Worker,
        ready: Ready::Since(NOW),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW),
            boot: None,
            kernel: None,
            next_kernel: None,
            need: Need::NotNeeded,
            due_by: None,
            stable_since: None,
            package_manager: Known::Known(None),
            reboot_method: unknown(),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            report: None,
        },
        blockers: vec![shut(Gate::Certificate, "ends soon".to_owned(), NOW)],
        objections: vec![shut(Gate::Alert, "an objection of the policy before".to_owned(), NOW)],
    };
    Fleet {
        nodes: members.iter().map(node).map(|node| (node.uid.clone(), node)).collect(),
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

/// The objections to both nodes under this policy, and the fleet.
fn judged(answered: &Answered, policy: &Policy) -> (Vec<Vec<String>>, Fleet) {
    let mut fleet = fleet(&answered.members);
    answered.judge(&mut fleet, policy, NOW);
    assert!(fleet.nodes.values().all(|it| it.blockers.len() == 1), "its own gates stay");
    let values = |node: &Node| node.objections.iter().map(|it| it.value.clone()).collect();
    (fleet.nodes.values().map(values).collect(), fleet)
}

fn answered() -> Answered {
    Answered { members: members(), ..Answered::default() }
}

#[test]
fn a_policy_that_nobody_follows_selects_by_hostname_as_it_would_in_force() {
    let by_name = policy(
        "pools:\n  - {name: one, selector: {matchLabels: {kubernetes.io/hostname: b}}, mode: auto}\n",
    );
    for named in [None, Some(with_hostnames(&members()))] {
        let (_, fleet) = judged(&Answered { named, ..answered() }, &by_name);
        let pools = fleet.nodes.values().map(|node| by_name.pool_of(&node.labels).name.as_str());
        assert_eq!(pools.collect::<Vec<_>>(), [by_name.unmatched.name.as_str(), "one"]);
    }
    let (_, fleet) = judged(&answered(), &Policy::default());
    assert!(fleet.nodes.values().all(|it| !it.labels.contains_key(HOSTNAME)), "nobody asks");
}

#[test]
fn what_only_another_policy_asked_is_no_objection_and_what_nobody_asked_is_one() {
    let none: Vec<Vec<String>> = vec![vec![], vec![]];
    assert_eq!(judged(&answered(), &Policy::default()).0, none);
    let asks = policy(
        "cluster:\n  nodeLease: default\n  alertSource: {alertmanager: \"http://a\"}\npools:\n  \
         - name: all\n    selector: {}\n    mode: auto\n    alerts: {}\n    blockingPods: \
         [{selector: {matchLabels: {app: backup}}}]\n",
    );
    let expected = [
        "not asked under this policy yet".to_owned(),
        "pods with app=backup cannot be told: not asked under this policy yet".to_owned(),
        "what fires cannot be told: not asked under this policy yet (asked every 15 s)".to_owned(),
    ];
    assert_eq!(judged(&answered(), &asks).0, [expected.to_vec(), expected.to_vec()]);
}

#[test]
fn leases_count_only_where_they_were_looked_for() {
    let asks = policy("cluster: {nodeLease: default}\n");
    let held = BTreeMap::from([("b".to_owned(), "kubevirt".to_owned())]);
    let leased = |namespace: &str, holders| {
        let (namespace, holders) = (Some(namespace.to_owned()), Some(Arc::new(holders)));
        Answered { leased: Leased { namespace, holders }, ..answered() }
    };
    let found = judged(&leased("default", Known::Known(held.clone())), &asks).0;
    assert_eq!(found, [vec![], vec!["held by kubevirt".to_owned()]]);
    let found = judged(&leased("default", Known::Unknown("forbidden".to_owned())), &asks).0;
    assert_eq!(found, [["forbidden"], ["forbidden"]]);
    let found = judged(&leased("elsewhere", Known::Known(held.clone())), &asks).0;
    assert_eq!(found, [[NOT_ASKED], [NOT_ASKED]]);
    let found = judged(&leased("default", Known::Known(held)), &Policy::default()).0;
    assert_eq!(found, [vec![], Vec::<String>::new()], "this one takes no Lease");
}

#[test]
fn roles_are_those_of_the_policy_and_a_member_of_etcd_is_one_of_the_control_plane() {
    let roles = |answered: &Answered, policy: &Policy| {
        let (_, fleet) = judged(answered, policy);
        let roles: Vec<Role> = fleet.nodes.values().map(|node| node.role).collect();
        (roles, fleet.etcd)
    };
    let (found, etcd) = roles(&answered(), &Policy::default());
    assert_eq!((found, etcd), (vec![Role::Worker; 2], None));
    let selects = policy(
        "cluster:\n  controlPlane: {selector: {matchLabels: {kubernetes.io/hostname: a}}}\n",
    );
    let unknown = Some(Known::Unknown("no pod of etcd".to_owned()));
    let (found, etcd) = roles(&Answered { etcd: unknown, ..answered() }, &selects);
    assert_eq!(found, [Role::ControlPlane, Role::Worker]);
    assert!(matches!(etcd, Some(Known::Unknown(_))), "{etcd:?}");
    let etcd_nodes = BTreeSet::from(["uid-b".parse().unwrap()]);
    let (found, _) = roles(&Answered { etcd_nodes, ..answered() }, &Policy::default());
    assert_eq!(found, [Role::Worker, Role::ControlPlane]);
}
