//! A world from a snapshot: each node becomes a machine, each pod one of an application.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::fault::Profile;
use super::machine::Fate;
use super::machine::Lie;
use super::machine::Life;
use super::machine::Machine;
use super::machine::Power;
use super::store::Object;
use super::world::Event;
use super::world::World;
use crate::fleet::Cordon;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::law::Author;
use crate::law::Etcd;
use crate::law::What;

/// Seconds that every machine of a snapshot is up already.
const UPTIME_SECS: i64 = 30 * 86_400;

impl World {
    /// Fills an empty world with what a snapshot says.
    pub(super) fn fill(&mut self, fleet: &Fleet, profile: Profile) {
        let members = match &fleet.etcd {
            Some(Known::Known(etcd)) => etcd.members.keys().cloned().collect(),
            Some(Known::Unknown(_)) | None => BTreeSet::new(),
        };
        for node in fleet.nodes.values() {
            let etcd = if members.contains(&node.uid) { Etcd::Member } else { Etcd::None };
            let (machine, object) = self.machine(node, etcd, profile);
            self.join(machine, object);
        }
        self.kept.past = fleet.past.clone();
        for (uid, request) in &fleet.requests {
            let id = if request.id.is_empty() { self.request_id() } else { request.id.clone() };
            if let Ok(stored) = self.store.create(request.clone(), id) {
                self.record(Author::Person, What::Wrote(Box::new(stored)));
            }
            self.timeline.say(self.now, &format!("{uid} has a request already"));
        }
        self.fill_pods(fleet);
    }

    fn machine(&mut self, node: &Node, etcd: Etcd, profile: Profile) -> (Machine, Object) {
        let (reasons, since, lie) = match &node.agent.need {
            Need::Needed { reasons, since, .. } => (reasons.clone(), *since, Lie::None),
            Need::NotNeeded => (BTreeSet::new(), self.now, Lie::None),
            Need::Unknown { .. } => (BTreeSet::new(), self.now, Lie::Unsure),
        };
        let boot = match &node.agent.boot {
            Some(boot) => boot.clone(),
            None => BootId::from_bytes(&self.chance.bytes()),
        };
        let kernel = node.agent.kernel.clone().unwrap_or_else(|| String::from("6.1.0"));
        let next_kernel = node.agent.next_kernel.clone().unwrap_or_else(|| kernel.clone());
        let hold_file = node.agent.hold_file.known().cloned().flatten();
        let silent = node.agent.heard_at.is_none();
        let machine = Machine {
            uid: node.uid.clone(),
            boot: boot.clone(),
            booted_at: self.now.plus(-UPTIME_SECS),
            power: Power::Up,
            kubelet: if matches!(node.ready, Ready::Since(_)) {
                Life::Running
            } else {
                Life::Stopped
            },
            agent: if silent { Life::Stopped } else { Life::Running },
            speaks_since: None,
            phase: self.chance.secs(0, super::machine::HEARTBEAT_SECS - 1),
            kernel,
            next_kernel,
            reasons,
            since,
            lie,
            fate: self.fate(profile),
            epoch: 0,
            consumed: BTreeSet::new(),
            answers: Vec::new(),
            hold_file,
            said: None,
        };
        let object = Object {
            name: node.name.clone(),
            version: 0,
            labels: std::sync::Arc::clone(&node.labels),
            role: node.role,
            etcd,
            ready: node.ready,
            cordon: node.cordon.clone(),
            marker: match &node.cordon {
                Cordon::Ours { request } => Some(request.clone()),
                Cordon::Foreign { .. } | Cordon::Schedulable => None,
            },
            cordoned_by: None,
            before: None,
            hold: node.hold.clone(),
            taints: node.taints.clone(),
            boot,
        };
        (machine, object)
    }

    fn fate(&mut self, profile: Profile) -> Fate {
        let secs = self.chance.secs(40, 240);
        let bad = match profile {
            Profile::None => 0,
            Profile::Usual => 15,
            Profile::All => 80,
        };
        let late = self.chance.secs(1900, 7200);
        if !self.chance.in_thousand(bad) {
            return Fate::Back(secs);
        }
        let fates = [
            Fate::Never,
            Fate::Back(late),
            Fate::SameKernel(secs),
            Fate::ReasonStays(secs),
            Fate::NoKubelet(secs),
            Fate::Flaps(secs),
            Fate::CallFails,
            Fate::CallSaysSo,
        ];
        self.chance.pick(&fates).copied().unwrap_or(Fate::Never)
    }

    /// A node joins the cluster, its machine with it.
    pub(super) fn join(&mut self, machine: Machine, object: Object) {
        let uid = machine.uid.clone();
        let etcd = object.etcd;
        self.store.add(uid.clone(), object);
        let next = machine.next_heartbeat(self.now);
        let silent = machine.agent == Life::Stopped;
        self.machines.insert(uid.clone(), machine);
        self.heartbeat(&uid);
        self.at(next, Event::Heartbeat(uid.clone()));
        if let Some(node) = super::view::node(self, &uid, 0) {
            self.record(Author::Cluster, What::Joined { node: Box::new(node), etcd });
        }
        if silent {
            self.record(Author::Node, What::Silent(uid));
        }
    }

    fn fill_pods(&mut self, fleet: &Fleet) {
        let Known::Known(pods) = &fleet.pods else { return };
        let mut apps: BTreeMap<String, usize> = BTreeMap::new();
        if let Known::Known(budgets) = &fleet.budgets {
            for (name, budget) in budgets {
                let may_miss = budget.expected.saturating_sub(budget.desired_healthy);
                let app = self.work.add_app(name.clone(), budget.expected, Some(may_miss));
                apps.insert(name.clone(), app);
            }
        }
        let start: Vec<(&NodeUid, &crate::fleet::Pod)> =
            pods.iter().flat_map(|(uid, pods)| pods.iter().map(move |pod| (uid, pod))).collect();
        for (uid, pod) in start {
            let app = pod.budgets.first().and_then(|name| apps.get(name)).copied();
            self.work.adopt(uid, pod.clone(), app);
            let came = What::PodCame(uid.clone(), Box::new(pod.clone()));
            self.record(Author::Cluster, came);
        }
        if let Some(uid) = fleet.nodes.keys().next() {
            self.pods_changed(uid);
        }
    }
}

/// The moment at which invented worlds begin: a Wednesday noon.
pub const START: Moment = Moment::from_unix(1_796_817_600);
