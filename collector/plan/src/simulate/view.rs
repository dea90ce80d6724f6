//! What a collector knows: its copy of the cluster, as old as its watches, and what agents told it.

use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::machine::Machine;
use super::store::Change;
use super::world::World;
use crate::fleet::Agent;
use crate::fleet::Etcd;
use crate::fleet::Fleet;
use crate::fleet::Known;
use crate::fleet::Member;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Past;
use crate::fleet::Ready;
use crate::law;

/// A collector's copy of the cluster.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The copy.
    pub(super) fleet: Fleet,
    /// When it was brought up to date last.
    pub(super) synced_at: Option<Moment>,
    /// How much of the journal it has seen.
    cursor: usize,
    past_version: Option<u64>,
    said: usize,
}

impl View {
    /// A copy of nothing.
    pub(super) fn new() -> Self {
        Self {
            fleet: Fleet {
                nodes: std::collections::BTreeMap::new(),
                requests: std::collections::BTreeMap::new(),
                pods: Known::Known(std::collections::BTreeMap::new()),
                budgets: Known::Known(std::collections::BTreeMap::new()),
                blockers: Vec::new(),
                etcd: None,
                past: Past::default(),
                own_node: None,
                frozen_at: None,
            },
            synced_at: None,
            cursor: 0,
            past_version: None,
            said: 0,
        }
    }

    /// Brings the copy up to date, as far as the watches say something. Whether anything changed that a
    /// plan is made of.
    pub(super) fn sync(&mut self, world: &mut World, blind: bool, offset: i64) -> bool {
        let mut changed = self.synced_at.is_none();
        if !blind {
            changed |= self.watch(world, offset);
            self.synced_at = Some(world.now);
        }
        let (said, heard) = (&world.kept.journal, &mut self.said);
        let told: Vec<NodeUid> = said.get(*heard..).unwrap_or_default().to_vec();
        *heard = said.len();
        changed |= !told.is_empty();
        for uid in told {
            if let Some(node) = self.fleet.nodes.get_mut(&uid) {
                node.agent = agent(world, &uid, offset);
            }
        }
        for (uid, node) in &mut self.fleet.nodes {
            let heard =
                world.machines.get(uid).and_then(|machine| machine.last_heartbeat(world.now));
            if let Some(heard) = heard.filter(|_| world.kept.said.contains_key(uid)) {
                node.agent.heard_at = Some(heard.plus(offset));
            }
        }
        if self.past_version != Some(world.kept.past_version) {
            self.past_version = Some(world.kept.past_version);
            self.fleet.past = world.kept.past.clone();
            changed = true;
        }
        changed
    }

    fn watch(&mut self, world: &mut World, offset: i64) -> bool {
        let journal = &world.store.journal;
        let news: Vec<Change> = if self.synced_at.is_none() {
            // A list instead of a watch.
            let nodes = world.store.nodes.keys().cloned().map(Change::Node);
            nodes.chain(world.store.requests.keys().cloned().map(Change::Request)).collect()
        } else {
            journal.get(self.cursor..).unwrap_or_default().to_vec()
        };
        self.cursor = world.store.journal.len();
        let changed = !news.is_empty();
        for change in news {
            match change {
                Change::Node(uid) => match node(world, &uid, offset) {
                    Some(node) => {
                        self.fleet.nodes.insert(uid, node);
                    }
                    None => {
                        self.fleet.nodes.remove(&uid);
                        if let Known::Known(pods) = &mut self.fleet.pods {
                            pods.remove(&uid);
                        }
                    }
                },
                Change::Request(uid) => match world.store.requests.get(&uid) {
                    Some(request) => {
                        self.fleet.requests.insert(uid, request.clone());
                    }
                    None => {
                        self.fleet.requests.remove(&uid);
                    }
                },
                Change::Pods(uid) => {
                    if let Known::Known(pods) = &mut self.fleet.pods
                        && let Some(known) = pods.get_mut(&uid)
                    {
                        *known = world.work.list(&uid);
                    }
                }
            }
        }
        if changed {
            self.fleet.budgets = Known::Known(world.work.budgets());
            self.fleet.etcd = etcd(world);
        }
        changed
    }

    /// Reads the pods of these nodes, so that the copy has them from now on.
    pub(super) fn read_pods(&mut self, world: &mut World, uids: &[NodeUid]) {
        let Known::Known(pods) = &mut self.fleet.pods else { return };
        for uid in uids {
            pods.insert(uid.clone(), world.work.list(uid));
        }
    }

    /// Forgets pods of nodes that nobody asks about any more.
    pub(super) fn keep_pods_of(&mut self, keep: impl Fn(&NodeUid) -> bool) {
        if let Known::Known(pods) = &mut self.fleet.pods {
            pods.retain(|uid, _| keep(uid));
        }
    }
}

/// The node of this UID as a read gives it, with what its agent said last.
pub(super) fn node(world: &World, uid: &NodeUid, offset: i64) -> Option<Node> {
    let object = world.store.nodes.get(uid)?;
    Some(Node {
        name: object.name.clone(),
        uid: uid.clone(),
        labels: Arc::clone(&object.labels),
        role: object.role,
        // Stamped by the cluster, whatever the clock of the collector says.
        ready: object.ready,
        cordon: object.cordon.clone(),
        taints: object.taints.clone(),
        hold: object.hold.clone(),
        agent: agent(world, uid, offset),
        blockers: Vec::new(),
        objections: Vec::new(),
    })
}

fn agent(world: &World, uid: &NodeUid, offset: i64) -> Agent {
    let Some(said) = world.kept.said.get(uid) else {
        return Agent {
            heard_at: None,
            boot: None,
            kernel: None,
            next_kernel: None,
            need: Need::Unknown { why: String::from("its agent was not heard yet") },
            stable_since: None,
            package_manager: Known::Known(None),
            reboot_method: Known::Known(String::from("logind")),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: None,
        };
    };
    let heard =
        world.machines.get(uid).and_then(|machine| Machine::last_heartbeat(machine, world.now));
    Agent {
        heard_at: Some(heard.unwrap_or(said.heard_at).plus(offset)),
        boot: Some(said.boot.clone()),
        kernel: Some(said.kernel.clone()),
        next_kernel: Some(said.next_kernel.clone()),
        need: said.need.clone(),
        stable_since: Some(said.since.plus(offset)),
        package_manager: Known::Known(None),
        reboot_method: Known::Known(String::from("logind")),
        hold_file: Known::Known(said.hold_file.clone()),
        unsafe_to_reboot: Vec::new(),
        due_by: None,
        report: Some(Digest::of(format!("{} {:?}", said.boot, said.need).as_bytes())),
    }
}

fn etcd(world: &World) -> Option<Known<Etcd>> {
    let members = world.store.nodes.iter().filter(|(_, object)| object.etcd == law::Etcd::Member);
    let members: std::collections::BTreeMap<NodeUid, Member> = members
        .map(|(uid, object)| {
            let member = match object.ready {
                Ready::Since(_) => Member::Healthy,
                Ready::NotSince(_) | Ready::Unknown => Member::Unhealthy,
            };
            (uid.clone(), member)
        })
        .collect();
    (!members.is_empty()).then_some(Known::Known(Etcd { members }))
}
