//! The API server: objects with resource versions, writes with preconditions, Leases, and a journal by
//! which watchers learn what changed.
//!
//! It refuses what the real one refuses. Faults of the way to it are not its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use crate::fleet::Cordon;
use crate::fleet::Hold;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::law::Etcd;
use crate::request::Request;
use crate::request::Schedulability;

/// Seconds that a leader may be silent before another takes over.
pub(super) const LEASE_SECS: i64 = 60;

/// The API server.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Nodes by UID.
    pub(super) nodes: BTreeMap<NodeUid, Object>,
    /// Requests by the UID of their node, which is their name.
    pub(super) requests: BTreeMap<NodeUid, Request>,
    /// The Lease of the leader.
    pub(super) leader: Option<Leader>,
    /// How often the leader changed.
    pub(super) transitions: u64,
    /// Leases of nodes that tools share: who holds each.
    pub(super) leases: BTreeMap<NodeUid, Holder>,
    /// What changed, oldest first: the cursor of a watcher is a place in it.
    pub(super) journal: Vec<Change>,
    revision: u64,
}

/// A node object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its name.
    pub(super) name: NodeName,
    /// Its resource version.
    pub(super) version: u64,
    /// Labels.
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// What it is for the cluster.
    pub(super) role: Role,
    /// Whether it runs a member of etcd.
    pub(super) etcd: Etcd,
    /// Whether it is ready.
    pub(super) ready: Ready,
    /// Whether it takes pods.
    pub(super) cordon: Cordon,
    /// Our marker, which stays when somebody else takes the cordon away.
    pub(super) marker: Option<String>,
    /// Who set the cordon, if it was not us (`managedFields`).
    pub(super) cordoned_by: Option<String>,
    /// What is written beside our marker.
    pub(super) before: Option<Schedulability>,
    /// Whether it is held.
    pub(super) hold: Option<Hold>,
    /// Keys of taints.
    pub(super) taints: BTreeSet<String>,
    /// `status.nodeInfo.bootID`.
    pub(super) boot: palisade_report::BootId,
}

/// The Lease of the leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    /// Which collector.
    pub(super) id: usize,
    /// Until when, unless it is renewed; on the store's clock, which stands for everybody's
    /// monotonic one.
    pub(super) until: Moment,
}

/// Who holds a shared Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Some collector; they share one name.
    Us,
    /// Another tool, until then.
    Other(Moment),
}

/// What changed.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A node.
    Node(NodeUid),
    /// A request.
    Request(NodeUid),
    /// The pods of a node.
    Pods(NodeUid),
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 404.
    NotFound,
    /// 409: another resource version, or it exists already.
    Conflict,
}

impl Store {
    const fn tick(&mut self) -> u64 {
        self.revision = self.revision.saturating_add(1);
        self.revision
    }

    /// A node is there.
    pub(super) fn add(&mut self, uid: NodeUid, mut object: Object) {
        object.version = self.tick();
        self.journal.push(Change::Node(uid.clone()));
        self.nodes.insert(uid, object);
    }

    /// A node is deleted.
    pub(super) fn remove(&mut self, uid: &NodeUid) {
        self.tick();
        self.nodes.remove(uid);
        self.leases.remove(uid);
        self.journal.push(Change::Node(uid.clone()));
    }

    /// Changes a node without a precondition, as the cluster and people do.
    pub(super) fn touch(&mut self, uid: &NodeUid, change: impl FnOnce(&mut Object)) {
        let version = self.tick();
        if let Some(object) = self.nodes.get_mut(uid) {
            change(object);
            object.version = version;
            self.journal.push(Change::Node(uid.clone()));
        }
    }

    /// Changes a node on condition of its UID and resource version.
    pub(super) fn patch(
        &mut self,
        uid: &NodeUid,
        version: u64,
        change: impl FnOnce(&mut Object),
    ) -> Result<(), Refusal> {
        let object = self.nodes.get(uid).ok_or(Refusal::NotFound)?;
        if object.version != version {
            return Err(Refusal::Conflict);
        }
        self.touch(uid, change);
        Ok(())
    }

    /// Creates a request; the stored one, with id and version.
    pub(super) fn create(&mut self, mut request: Request, id: String) -> Result<Request, Refusal> {
        if self.requests.contains_key(&request.uid) {
            return Err(Refusal::Conflict);
        }
        request.id = id;
        request.version = self.tick().to_string();
        self.journal.push(Change::Request(request.uid.clone()));
        self.requests.insert(request.uid.clone(), request.clone());
        Ok(request)
    }

    /// Writes a request over the version that it was read at.
    pub(super) fn replace(&mut self, mut request: Request) -> Result<Request, Refusal> {
        let stored = self.requests.get(&request.uid).ok_or(Refusal::NotFound)?;
        if stored.version != request.version || stored.id != request.id {
            return Err(Refusal::Conflict);
        }
        request.version = self.tick().to_string();
        self.journal.push(Change::Request(request.uid.clone()));
        self.requests.insert(request.uid.clone(), request.clone());
        Ok(request)
    }

    /// Deletes a request; whether there was one.
    pub(super) fn delete(&mut self, uid: &NodeUid) -> Result<(), Refusal> {
        self.requests.remove(uid).ok_or(Refusal::NotFound)?;
        self.tick();
        self.journal.push(Change::Request(uid.clone()));
        Ok(())
    }

    /// Takes or renews the Lease of the leader; until when it is held, and after how many changes.
    pub(super) fn lead(&mut self, id: usize, now: Moment) -> Option<(Moment, u64)> {
        let until = now.plus(LEASE_SECS);
        match &mut self.leader {
            Some(leader) if leader.id == id && now <= leader.until => leader.until = until,
            Some(leader) if now <= leader.until => return None,
            Some(_) | None => {
                self.leader = Some(Leader { id, until });
                self.transitions = self.transitions.saturating_add(1);
            }
        }
        Some((until, self.transitions))
    }
}
