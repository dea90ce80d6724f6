//! Fleets and policies drawn from a seed, for runs without a snapshot: zones, pools, a control plane or
//! none, applications with disruption budgets, nodes that need a reboot and nodes that do not.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::build::START;
use super::chance::Chance;
use super::machine::digest;
use crate::fleet::Agent;
use crate::fleet::Asks;
use crate::fleet::Cordon;
use crate::fleet::DisruptionBudget;
use crate::fleet::Etcd;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Member;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Owner;
use crate::fleet::Past;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::policy::Amount;
use crate::policy::ClusterPolicy;
use crate::policy::FailureBudget;
use crate::policy::ForeignCordon;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::policy::Waves;
use crate::window::Clock;
use crate::window::Weekday;
use crate::window::Window;
use crate::window::Windows;
use crate::window::Zone;

/// Label by which invented pools select.
const POOL: &str = "pool";

/// A fleet of so many nodes and a policy for it; the same for the same seed.
#[must_use]
pub fn invent(seed: u64, nodes: usize) -> (Fleet, Policy) {
    let mut chance = Chance::new(seed ^ 0x696e_7665_6e74);
    let mut maker = Maker { chance: chance.split(), start: START };
    let fleet = maker.fleet(nodes);
    let policy = maker.policy();
    (fleet, policy)
}

/// Pods by node, as a fleet has them.
type Pods = BTreeMap<NodeUid, Arc<[Pod]>>;

struct Maker {
    chance: Chance,
    start: Moment,
}

impl Maker {
    fn fleet(&mut self, count: usize) -> Fleet {
        let control_plane = if self.chance.in_thousand(500) { 3 } else { 0 };
        let zones = self.chance.secs(1, 4);
        let mut nodes = BTreeMap::new();
        let mut members = BTreeMap::new();
        for number in 0..count {
            let role = if number < control_plane { Role::ControlPlane } else { Role::Worker };
            let Some(node) = self.node(number, role, zones) else { continue };
            if role == Role::ControlPlane {
                members.insert(node.uid.clone(), Member::Healthy);
            }
            nodes.insert(node.uid.clone(), node);
        }
        let (pods, budgets) = self.pods(&nodes);
        Fleet {
            etcd: (!members.is_empty()).then_some(Known::Known(Etcd { members })),
            own_node: nodes.keys().nth(count / 2).cloned(),
            frozen_at: None,
            nodes,
            requests: BTreeMap::new(),
            pods: Known::Known(pods),
            budgets: Known::Known(budgets),
            blockers: Vec::new(),
            past: Past::default(),
        }
    }

    fn node(&mut self, number: usize, role: Role, zones: i64) -> Option<Node> {
        let name: NodeName = format!("node-{number:05}").parse().ok()?;
        let uid: NodeUid = format!("uid-{:016x}-{number}", self.chance.next()).parse().ok()?;
        let pool = match self.chance.below(20) {
            0 => "batch",
            1..=6 => "db",
            _ => "web",
        };
        let pool = if role == Role::ControlPlane { "control" } else { pool };
        let zone = self.chance.secs(1, zones);
        let mut labels = BTreeMap::from([
            (POOL.to_owned(), pool.to_owned()),
            (String::from("topology.kubernetes.io/zone"), format!("zone-{zone}")),
        ]);
        if role == Role::ControlPlane {
            labels.insert(String::from("node-role.kubernetes.io/control-plane"), String::new());
        }
        let need = match self.chance.below(100) {
            0..=39 => self.needed(),
            40 => Need::Unknown { why: String::from("the package database is locked") },
            _ => Need::NotNeeded,
        };
        let cordon = if self.chance.in_thousand(5) {
            Cordon::Foreign { by: Some(String::from("kubectl-cordon")) }
        } else {
            Cordon::Schedulable
        };
        let ready = if self.chance.in_thousand(3) {
            Ready::NotSince(self.start.plus(-3600))
        } else {
            Ready::Since(self.start.plus(-86_400))
        };
        Some(Node {
            name,
            uid,
            labels: Arc::new(labels),
            role,
            ready,
            cordon,
            taints: BTreeSet::new(),
            hold: None,
            agent: Agent {
                heard_at: Some(self.start),
                boot: Some(BootId::from_bytes(&self.chance.bytes())),
                kernel: Some(String::from("6.1.0-41")),
                next_kernel: Some(String::from("6.1.0-42")),
                need,
                stable_since: Some(self.start.plus(-7200)),
                package_manager: Known::Known(None),
                reboot_method: Known::Known(String::from("logind")),
                hold_file: Known::Known(None),
                unsafe_to_reboot: Vec::new(),
                due_by: None,
                report: None,
            },
            blockers: Vec::new(),
            objections: Vec::new(),
        })
    }

    fn needed(&mut self) -> Need {
        let reasons = BTreeSet::from([crate::request::Reason {
            source: String::from("kernel"),
            kind: String::from("kernel"),
            subject: String::from("linux-image-amd64"),
            target: String::from("6.1.0-42"),
        }]);
        let since = self.start.plus(-self.chance.secs(3600, 40 * 86_400));
        Need::Needed { digest: digest(&reasons), reasons, since }
    }

    /// About three pods for each node: most of applications with a disruption budget.
    fn pods(
        &mut self,
        nodes: &BTreeMap<NodeUid, Node>,
    ) -> (Pods, BTreeMap<String, DisruptionBudget>) {
        let uids: Vec<&NodeUid> = nodes.keys().collect();
        let mut pods: BTreeMap<NodeUid, Vec<Pod>> = BTreeMap::new();
        let mut budgets = BTreeMap::new();
        let mut made: u64 = 0;
        for uid in &uids {
            made = made.saturating_add(1);
            pods.entry(NodeUid::clone(uid)).or_default().push(pod("system/log", made, "DaemonSet"));
        }
        let apps = uids.len() / 5 + 1;
        for app in 0..apps {
            let name = format!("apps/app-{app}");
            let kind = if self.chance.in_thousand(200) { "StatefulSet" } else { "ReplicaSet" };
            let replicas = u32::try_from(self.chance.secs(2, 18)).unwrap_or(2);
            let guarded = self.chance.in_thousand(700);
            for _ in 0..replicas {
                made = made.saturating_add(1);
                let mut pod = pod(&name, made, kind);
                if guarded {
                    pod.budgets.insert(name.clone());
                }
                if kind == "StatefulSet" {
                    pod.volumes.insert(format!("pv-{made}"));
                }
                if let Some(uid) = self.chance.pick(&uids) {
                    pods.entry(NodeUid::clone(uid)).or_default().push(pod);
                }
            }
            if guarded {
                // One in fifty never lets a pod go, as in every real cluster.
                let most =
                    if self.chance.in_thousand(20) { 0 } else { i64::from(replicas) / 4 + 1 };
                let least = most.min(1);
                let may_miss = u32::try_from(self.chance.secs(least, most)).unwrap_or(1);
                budgets.insert(
                    name,
                    DisruptionBudget {
                        allowed: may_miss,
                        current_healthy: replicas,
                        desired_healthy: replicas.saturating_sub(may_miss),
                        expected: replicas,
                        is_current: true,
                        always_allow_unhealthy: true,
                    },
                );
            }
        }
        for uid in uids.iter().filter(|_| self.chance.in_thousand(5)) {
            made = made.saturating_add(1);
            let mut alone = pod("people/debug", made, "");
            alone.owner = None;
            pods.entry(NodeUid::clone(uid)).or_default().push(alone);
        }
        (pods.into_iter().map(|(uid, pods)| (uid, pods.into())).collect(), budgets)
    }

    fn policy(&mut self) -> Policy {
        let count = |number: i64| Amount::Count(u32::try_from(number).unwrap_or(1));
        let cluster = ClusterPolicy {
            max_unavailable: match self.chance.below(3) {
                0 => count(self.chance.secs(1, 30)),
                1 => Amount::Percent(20),
                _ => Amount::Percent(10),
            },
            node_lease: self.chance.in_thousand(300).then(|| String::from("node-leases")),
            ..ClusterPolicy::default()
        };
        let pools = ["control", "db", "web"].map(|name| self.pool(name));
        Policy::of(cluster, pools.into())
    }

    fn pool(&mut self, name: &str) -> Pool {
        let most = self.chance.secs(1, 12);
        let amount = match self.chance.below(2) {
            0 => Amount::Count(u32::try_from(most).unwrap_or(1)),
            _ => Amount::Percent(u8::try_from(most).unwrap_or(10)),
        };
        Pool {
            name: name.to_owned(),
            selector: Selector::label(POOL, name),
            mode: match self.chance.below(12) {
                0 => Mode::Plan,
                1 => Mode::Approve,
                _ => Mode::Auto,
            },
            max_unavailable: amount,
            per_zone: self.chance.in_thousand(300).then_some(Amount::Percent(25)),
            zones_at_once: u32::from(self.chance.in_thousand(500)),
            windows: self.windows(),
            waves: self
                .chance
                .in_thousand(200)
                .then(|| Waves { bake_wave_secs: 600, ..Waves::default() }),
            failure_budget: FailureBudget {
                failures: u32::try_from(self.chance.secs(1, 4)).unwrap_or(1),
                within_secs: 86_400,
            },
            foreign_cordon: if self.chance.in_thousand(200) {
                ForeignCordon::Include
            } else {
                ForeignCordon::Skip
            },
            ..Pool::default()
        }
    }

    fn windows(&mut self) -> Windows {
        if self.chance.in_thousand(700) {
            return Windows::default();
        }
        let hour = |hour: i64| u32::try_from(hour * 3600).ok().and_then(Clock::from_secs);
        let (Some(start), Some(end)) =
            (hour(self.chance.secs(10, 13)), hour(self.chance.secs(15, 24)))
        else {
            return Windows::default();
        };
        let window = Window { days: Weekday::ALL.to_vec(), start, end, zone: Zone::utc() };
        Windows::new(vec![window])
    }
}

fn pod(app: &str, number: u64, kind: &str) -> Pod {
    let short = app.split_once('/').map_or(app, |(_, name)| name);
    Pod {
        name: format!("{app}~{number}"),
        uid: format!("first-{number}"),
        labels: BTreeMap::from([(String::from("app"), short.to_owned())]),
        phase: Phase::Running,
        ready: true,
        owner: Some(Owner {
            kind: kind.to_owned(),
            name: short.to_owned(),
            exists: Known::Known(true),
        }),
        is_mirror: false,
        has_empty_dir: false,
        deleting: None,
        wish: None,
        tolerates_cordon: kind == "DaemonSet",
        budgets: BTreeSet::new(),
        volumes: BTreeSet::new(),
        asks: Asks::default(),
    }
}
