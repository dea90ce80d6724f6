//! The fleet as the planner takes it, out of what snapshot, watches, sections and requests say.
//! Nothing is asked for here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::DisruptionBudget;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Pod;
use palisade_plan::fleet::Ready;
use palisade_plan::fleet::Role;
use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::policy::Policy;
use palisade_plan::request::Request;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::clock::TermClock;
use super::facts::Facts;
use super::occurrence::Before;
use super::occurrence::Occurrences;
use super::past::History;
use super::returns;
use super::tell;
use crate::kube::nodes::Upkeep;
use crate::kube::nodes::last_reboot::LAST_REBOOT;
use crate::snapshot::ClusterNode;
use crate::snapshot::Snapshot;

/// Labels of the control plane, see "Well-Known Labels" of the Kubernetes docs; the second one is that
/// of releases before 1.24, and some distributions still set it.
const CONTROL_PLANE: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Taints by which others say that they take the node away or work on it, and who they are.
const OTHERS: [(&str, &str); 6] = [
    ("ToBeDeletedByClusterAutoscaler", "cluster-autoscaler removes the node"),
    ("karpenter.sh/disrupted", "Karpenter removes the node"),
    ("karpenter.sh/disruption", "Karpenter removes the node"),
    ("node.kubernetes.io/out-of-service", "somebody took the node out of service"),
    ("medik8s.io/remediation", "a medik8s operator works on the node"),
    ("kubevirt.io/drain", "KubeVirt empties the node"),
];

/// The rule whose episode says since when a reboot is needed.
const RULE: &str = "reboot.needed";

/// What a fleet is made of.
pub(super) struct Materials<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) members: &'a BTreeMap<palisade_report::NodeName, Arc<ClusterNode>>,
    pub(super) upkeep: &'a BTreeMap<palisade_report::NodeName, Arc<Upkeep>>,
    pub(super) facts: &'a Facts,
    pub(super) clock: &'a TermClock,
    pub(super) history: &'a History,
    pub(super) requests: BTreeMap<NodeUid, Request>,
    pub(super) pods: Known<BTreeMap<NodeUid, Arc<[Pod]>>>,
    pub(super) budgets: Known<BTreeMap<String, DisruptionBudget>>,
    pub(super) blockers: Vec<Blocker>,
    pub(super) own_node: Option<NodeUid>,
    /// Whether a grant could be signed now.
    pub(super) can_grant: bool,
}

/// What is known of the certificates of kubelets, where it matters.
pub(super) type Certificates = BTreeMap<NodeUid, Known<returns::Client>>;

/// The fleet at this moment and its certificates, not judged under any policy yet.
pub(super) fn build(
    materials: Materials<'_>,
    occurrences: &mut Occurrences,
    now: Moment,
) -> (Fleet, Certificates) {
    let Materials {
        snapshot,
        members,
        upkeep,
        facts,
        clock,
        history,
        requests,
        pods,
        budgets,
        blockers,
        own_node,
        can_grant,
    } = materials;
    let rule = RULE.parse().ok();
    let (mut nodes, mut annotated) = (BTreeMap::new(), BTreeMap::new());
    let mut certificates = Certificates::new();
    for (name, member) in members {
        let request = requests.get(&member.uid);
        let is_in_flight = request.is_some_and(|it| it.progress.state.holds_slot());
        let heard = snapshot.node(name.as_str());
        let heard = heard.filter(|it| it.uid.as_ref() == Some(&member.uid));
        let agent = heard.map_or_else(nothing_heard, |it| facts.agent(it, is_in_flight, clock));
        let kept = upkeep.get(name).filter(|it| it.uid == member.uid);
        let mut node = Node {
            name: name.clone(),
            uid: member.uid.clone(),
            labels: Arc::clone(&member.labels),
            role: Role::default(),
            ready: kept.map_or(Ready::Unknown, |it| it.ready),
            cordon: kept.map_or(Cordon::Schedulable, |it| it.cordon.clone()),
            taints: kept.map(|it| it.taints.clone()).unwrap_or_default(),
            hold: kept.and_then(|it| it.hold.clone()),
            agent,
            blockers: Vec::new(),
            objections: Vec::new(),
        };
        node.blockers = others(&node.taints, now);
        if !is_in_flight && !can_grant {
            // Known some minutes after the first start: nothing is to lie drained and wait for it.
            let value =
                "no key signs grants yet: every node gets its public half before".to_owned();
            node.blockers.push(shut(Gate::RebootMethod, value, now));
        }
        if let Some(client) = heard.and_then(|it| facts.certificate(it, request.is_some())) {
            certificates.insert(member.uid.clone(), client);
        }
        if kept.is_none() {
            let value = "whether it is cordoned or held is not known yet".to_owned();
            node.blockers.push(shut(Gate::ClusterStale, value, now));
        }
        let last_reboot = kept.map(|it| &it.last_reboot);
        match last_reboot {
            Some(Known::Known(Some(last))) => {
                annotated.insert(member.uid.clone(), last.for_plans());
            }
            Some(Known::Unknown(why)) => {
                let value = format!(
                    "whether it has rebooted for these reasons cannot be told: its annotation \
                     {LAST_REBOOT} cannot be read ({why}); look at the node, then take it away"
                );
                node.blockers.push(shut(Gate::AlreadyRebooted, value, now));
            }
            Some(Known::Known(None)) | None => {}
        }
        let episode = heard.zip(rule.as_ref()).and_then(|(it, rule)| it.episode(rule, ""));
        let episode = episode.map(|it| it.first_seen_at);
        let last = last_reboot.and_then(Known::known).map(Option::as_ref);
        occurrences.date(&mut node, request, &Before { history, last, episode }, now);
        nodes.insert(member.uid.clone(), node);
    }
    occurrences.keep(|uid| nodes.contains_key(uid));
    let past = Past { annotated, ..past(history, &requests) };
    let fleet = Fleet {
        nodes,
        requests,
        pods,
        budgets,
        blockers,
        etcd: None,
        past,
        own_node,
        frozen_at: None,
    };
    (fleet, certificates)
}

/// A gate that is shut.
pub(super) const fn shut(gate: Gate, value: String, since: Moment) -> Blocker {
    Blocker { gate, value, since, next_check: None }
}

fn nothing_heard() -> Agent {
    let why = "nothing was heard of its agent";
    Agent {
        heard_at: None,
        boot: None,
        kernel: None,
        next_kernel: None,
        need: Need::Unknown { why: why.to_owned() },
        stable_since: None,
        package_manager: Known::Unknown(why.to_owned()),
        reboot_method: Known::Unknown(why.to_owned()),
        hold_file: Known::Unknown(why.to_owned()),
        unsafe_to_reboot: Vec::new(),
        due_by: None,
        report: None,
    }
}

/// What a node with these labels is for its cluster, as far as labels tell.
pub(super) fn role(labels: &BTreeMap<String, String>, policy: &Policy) -> Role {
    let selector = policy.cluster.control_plane.selector.as_ref();
    if CONTROL_PLANE.iter().any(|label| labels.contains_key(*label))
        || selector.is_some_and(|selector| selector.matches(labels))
    {
        Role::ControlPlane
    } else {
        Role::Worker
    }
}

fn others(taints: &BTreeSet<String>, now: Moment) -> Vec<Blocker> {
    let found = OTHERS.iter().filter(|(taint, _)| taints.contains(*taint));
    found
        .map(|(taint, who)| shut(Gate::OtherActor, format!("{who} (taint {taint})"), now))
        .collect()
}

/// What the audit has, and what of it the requests know before the audit does.
fn past(history: &History, requests: &BTreeMap<NodeUid, Request>) -> Past {
    let mut past = history.past.clone();
    for (uid, request) in requests {
        let Some(reboot) = tell::rebooted(request) else { continue };
        if past.reboots.get(uid).is_none_or(|last| last.at < reboot.at) {
            past.reboots.insert(uid.clone(), reboot);
        }
    }
    past
}
