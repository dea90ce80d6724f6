//! What a log says until now: the state of the world that its records add up to. No decision is made
//! here, and none of the planner's is used: laws compare the two.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use super::LAG_SECS;
use super::record::Author;
use super::record::Etcd;
use super::record::Readiness;
use super::record::Record;
use super::record::What;
use crate::fleet::Cordon;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Pod;
use crate::fleet::Ready;
use crate::policy::Policy;
use crate::request::Alert;
use crate::request::Answer;
use crate::request::Progress;
use crate::request::Request;
use crate::request::State;

/// What the records add up to.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The moment of the last record.
    pub(crate) now: Option<Moment>,
    /// Policies in the order in which they came into force, and since when; few, people edit them.
    pub(crate) rules: Vec<(Arc<Policy>, Moment)>,
    /// Nodes that exist.
    pub(crate) nodes: BTreeMap<NodeUid, Entry>,
    /// Nodes that existed, and when they left.
    pub(crate) gone: Vec<(Moment, Entry)>,
    /// Requests that exist.
    pub(crate) requests: BTreeMap<NodeUid, Request>,
    /// Requests that a person deleted, and when: who acts for one of them may not know yet.
    pub(crate) deleted: BTreeMap<NodeUid, (Moment, Request)>,
    /// Who leads: collector, epoch, until when.
    pub(crate) leader: Option<(usize, u64, Moment)>,
    /// Grants that were written, by id.
    pub(crate) grants: BTreeMap<GrantId, Issued>,
    /// The highest epoch of a grant that each node used.
    pub(crate) epochs: BTreeMap<NodeUid, u64>,
    /// Reboots that a grant led to: node, reasons, occurrence.
    pub(crate) rebooted: BTreeSet<(NodeUid, Digest, Moment)>,
    /// Boots that each node published.
    pub(crate) published: BTreeSet<(NodeUid, BootId)>,
    /// What nodes said of grants.
    pub(crate) answers: Vec<(NodeUid, GrantId, Answer)>,
    /// Failures that count: pool, node, when.
    pub(crate) failures: Vec<Failed>,
    /// When a person forgave the failures of a pool.
    pub(crate) released: BTreeMap<String, Moment>,
    /// Budgets that let nothing go, and since when.
    pub(crate) spent: BTreeMap<String, Moment>,
    /// Alerts that a person was told of and that have not been withdrawn since, by node.
    pub(crate) told: BTreeSet<(NodeUid, Alert)>,
    /// Requests whose drain began, by node: the state was entered then, and this pod was first.
    pub(crate) draining: BTreeSet<NodeUid>,
    /// Nodes whose shared Lease is taken.
    pub(crate) leases: BTreeSet<NodeUid>,
}

/// A node, as the log has it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The node as it joined.
    pub(crate) node: Box<Node>,
    /// Whether it runs a member of etcd.
    pub(crate) etcd: Etcd,
    /// Whether it is ready, and since when.
    pub(crate) ready: (Readiness, Moment),
    /// Whether it takes pods, and since when.
    pub(crate) cordon: (Cordon, Moment),
    /// Our marker, which stays when somebody else takes the cordon away.
    pub(crate) marker: Option<String>,
    /// Since when it is held or not.
    pub(crate) held_since: Moment,
    /// Its pods by UID.
    pub(crate) pods: BTreeMap<String, Pod>,
    /// When the last pod came.
    pub(crate) pod_came: Moment,
    /// Since when its agent is not heard.
    pub(crate) silent_since: Option<Moment>,
    /// What its agent says, and since when.
    pub(crate) need: (Need, Moment),
}

/// A reboot that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// In which pool.
    pub(crate) pool: String,
    /// Of which node.
    pub(crate) node: NodeUid,
    /// When.
    pub(crate) at: Moment,
    /// The same by the clock of the collector that saw it.
    pub(crate) stamp: Moment,
}

/// A grant that was written.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// For which node.
    pub(crate) node: NodeUid,
    /// For which boot.
    pub(crate) boot: BootId,
    /// For which reasons.
    pub(crate) digest: Digest,
    /// Since when they are there.
    pub(crate) occurrence: Moment,
    /// In which epochs it may be handed out: of the leader that gave it, and of those that took it over.
    pub(crate) epochs: BTreeSet<u64>,
    /// How often a node used it.
    pub(crate) accepted: u32,
    /// How many boots it led to.
    pub(crate) boots: u32,
    /// A person took its record away with the finalizer while it was Granted. Only the collector that
    /// gave it knows of it then, and may die before it has written a record anew.
    pub(crate) taken_away: bool,
}

impl Ledger {
    /// The node of this UID, if it exists.
    pub(crate) fn node(&self, uid: &NodeUid) -> Option<&Entry> {
        self.nodes.get(uid)
    }

    /// The request as it was written last, if it exists.
    pub(crate) fn request(&self, uid: &NodeUid) -> Option<&Request> {
        self.requests.get(uid)
    }

    /// The request that a collector may have acted for at this moment: the one that exists, or the one
    /// that a person deleted not long ago.
    pub(crate) fn acted_for(&self, uid: &NodeUid, at: Moment) -> Option<&Request> {
        let deleted = || self.deleted.get(uid).filter(|(since, _)| at.since(*since) <= LAG_SECS);
        self.request(uid).or_else(|| deleted().map(|(_, request)| request))
    }

    /// The state of the request of this node, if there is one.
    pub(crate) fn state(&self, uid: &NodeUid) -> Option<State> {
        self.requests.get(uid).map(|request| request.progress.state)
    }

    /// Policies that a collector may have acted by at this moment: the one in force, and those that
    /// were until not long ago.
    pub(crate) fn policies(&self, at: Moment) -> Vec<Arc<Policy>> {
        let mut policies = Vec::new();
        for (policy, since) in self.rules.iter().rev() {
            policies.push(Arc::clone(policy));
            if at.since(*since) > LAG_SECS {
                break;
            }
        }
        policies
    }

    /// Takes a record in.
    pub(crate) fn enter(&mut self, record: &Record) {
        let at = record.at;
        self.now = Some(at);
        match &record.what {
            What::Ruled(policy) => self.rules.push((Arc::clone(policy), at)),
            What::Joined { node, etcd } => self.join(node, *etcd, at),
            What::Left(uid) => {
                self.gone.extend(self.nodes.remove(uid).map(|entry| (at, entry)));
                self.leases.remove(uid);
            }
            What::Readiness(uid, readiness) => {
                self.with(uid, |entry| entry.ready = (*readiness, at))
            }
            What::Cordoned(uid, cordon) => self.cordon(uid, cordon, record),
            What::Held(uid, hold) => self.with(uid, |entry| {
                entry.node.hold.clone_from(hold);
                entry.held_since = at;
            }),
            What::PodCame(uid, pod) => self.with(uid, |entry| {
                if entry.pods.insert(pod.uid.clone(), Pod::clone(pod)).is_none() {
                    entry.pod_came = at;
                }
            }),
            What::PodWent(uid, pod) => self.with(uid, |entry| {
                entry.pods.remove(pod);
            }),
            What::Budget(name, 0) => {
                self.spent.entry(name.clone()).or_insert(at);
            }
            What::Budget(name, _) => {
                self.spent.remove(name);
            }
            What::Leads { until } => {
                if let Author::Collector { id, epoch, .. } = record.by {
                    self.leader = Some((id, epoch, *until));
                }
            }
            What::Wrote(request) => self.write(request, at),
            What::Removed(uid) => {
                let gone = self.requests.remove(uid);
                match gone.filter(|_| record.by == Author::Person) {
                    Some(gone) => {
                        self.take_away(&gone);
                        self.deleted.insert(uid.clone(), (at, gone))
                    }
                    None => self.deleted.remove(uid),
                };
                self.draining.remove(uid);
                self.told.retain(|(node, _)| node != uid);
            }
            What::Evicted { node, .. } => {
                self.draining.insert(node.clone());
            }
            What::LeaseTaken(uid) => {
                self.leases.insert(uid.clone());
            }
            What::LeaseReleased(uid) => {
                self.leases.remove(uid);
            }
            What::Handed { .. } | What::FaultsEnded | What::Ended { .. } => {}
            What::Accepted { node, grant, epoch, .. } => {
                let highest = self.epochs.entry(node.clone()).or_default();
                *highest = (*highest).max(*epoch);
                if let Some(issued) = self.grants.get_mut(grant) {
                    issued.accepted = issued.accepted.saturating_add(1);
                }
            }
            What::Booted { grant, .. } => self.boot(grant.as_ref()),
            What::Said { node, boot, need } => {
                self.published.insert((node.clone(), boot.clone()));
                self.with(node, |entry| entry.need = (need.clone(), at));
            }
            What::Answered(node, grant, answer) => {
                self.answers.push((node.clone(), *grant, answer.clone()));
            }
            What::Silent(uid) => self.with(uid, |entry| entry.silent_since = Some(at)),
            What::Heard(uid) => self.with(uid, |entry| entry.silent_since = None),
            What::Notified { node, alert, .. } => {
                self.told.insert((node.clone(), *alert));
            }
            What::Released(pool) => {
                self.released.insert(pool.clone(), at);
            }
        }
    }

    fn cordon(&mut self, uid: &NodeUid, cordon: &Cordon, record: &Record) {
        self.with(uid, |entry| {
            entry.cordon = (cordon.clone(), record.at);
            match (record.by, cordon) {
                (_, Cordon::Ours { request }) => entry.marker = Some(request.clone()),
                (Author::Collector { .. }, Cordon::Foreign { .. } | Cordon::Schedulable) => {
                    entry.marker = None;
                }
                (_, Cordon::Foreign { .. } | Cordon::Schedulable) => {}
            }
        });
    }

    fn with(&mut self, uid: &NodeUid, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.nodes.get_mut(uid) {
            change(entry);
        }
    }

    fn join(&mut self, node: &Node, etcd: Etcd, at: Moment) {
        let readiness = match node.ready {
            Ready::Since(_) => Readiness::Ready,
            Ready::NotSince(_) | Ready::Unknown => Readiness::NotReady,
        };
        let entry = Entry {
            etcd,
            ready: (readiness, at),
            cordon: (node.cordon.clone(), at),
            marker: None,
            held_since: at,
            pods: BTreeMap::new(),
            pod_came: at,
            silent_since: None,
            need: (node.agent.need.clone(), at),
            node: Box::new(node.clone()),
        };
        if let Some(boot) = &node.agent.boot {
            self.published.insert((node.uid.clone(), boot.clone()));
        }
        self.nodes.insert(node.uid.clone(), entry);
    }

    fn take_away(&mut self, request: &Request) {
        let Progress { state, grant, .. } = &request.progress;
        let given = grant.as_ref().filter(|_| *state == State::Granted);
        if let Some(issued) = given.and_then(|grant| self.grants.get_mut(&grant.id)) {
            issued.taken_away = true;
        }
    }

    fn boot(&mut self, grant: Option<&GrantId>) {
        let Some(issued) = grant.and_then(|id| self.grants.get_mut(id)) else { return };
        issued.boots = issued.boots.saturating_add(1);
        if !issued.taken_away {
            self.rebooted.insert((issued.node.clone(), issued.digest, issued.occurrence));
        }
    }

    fn write(&mut self, request: &Request, at: Moment) {
        let raised = &request.progress.alerts;
        self.told.retain(|(node, alert)| *node != request.uid || raised.contains(alert));
        let before = self.state(&request.uid);
        let state = request.progress.state;
        if before != Some(state) {
            if matches!(state, State::Quarantined | State::NotReturned) {
                let pool = request.progress.placement.pool.clone();
                let (node, stamp) = (request.uid.clone(), request.progress.since);
                self.failures.push(Failed { pool, node, at, stamp });
            }
            if state != State::Draining {
                self.draining.remove(&request.uid);
            }
        }
        let given = request.progress.grant.as_ref().filter(|grant| !grant.is_presumed());
        if let Some(grant) = given {
            let issued = self.grants.entry(grant.id).or_insert_with(|| Issued {
                node: request.uid.clone(),
                boot: grant.boot.clone(),
                digest: request.wish.digest,
                occurrence: request.wish.since,
                epochs: BTreeSet::new(),
                accepted: 0,
                boots: 0,
                taken_away: false,
            });
            issued.epochs.insert(request.progress.epoch);
        }
        self.requests.insert(request.uid.clone(), request.clone());
    }
}
