//! What is seen of one node for its next step: the node from the quorum, what is left of its drain,
//! its Lease, its answers. What cannot be read is unknown, and says why.

use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Pod;
use palisade_plan::gate::Blocker;
use palisade_plan::plan;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::seen::Count;
use palisade_plan::seen::DrainSeen;
use palisade_plan::seen::GrantAnswer;
use palisade_plan::seen::Kubelet;
use palisade_plan::seen::LeaseSeen;
use palisade_plan::seen::Seen;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

use super::coordinator::Coordinator;
use crate::chain::Chain;
use crate::kube::fence::NotLeader;
use crate::kube::nodes::Upkeep;

/// What was read of a node object just now.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) node: Known<Option<Node>>,
    pub(super) upkeep: Option<Upkeep>,
}

/// What the steps of one request at one look have read, as long as nothing was done to the node.
#[derive(Debug, Default)]
pub(super) struct Read {
    object: Option<Object>,
    lease: Option<Known<LeaseSeen>>,
    pods: Option<Vec<Pod>>,
}

impl Coordinator {
    /// What is seen of the node of `request`. What an earlier step of the same look read, and nothing was
    /// done since, is not read again.
    pub(super) async fn see(
        &mut self,
        request: &Request,
        fleet: &Fleet,
        pool: &Pool,
        epoch: u64,
        read: &mut Read,
    ) -> Result<Seen, NotLeader> {
        let now = self.clock.now();
        let policy = std::sync::Arc::clone(self.policy.policy());
        let state = request.progress.state;
        let object = match read.object.take().filter(|_| state.holds_slot()) {
            Some(object) => object,
            None => self.object(request, fleet).await,
        };
        let reads_drain = matches!(state, State::Draining | State::Granted);
        let drain = if reads_drain && plan::is_single(fleet, &policy) {
            // There is nowhere to go, and an eviction would end the collector itself.
            Known::Known(DrainSeen::default())
        } else if reads_drain {
            self.what_is_left(request, pool, now, &mut read.pods).await?
        } else {
            Known::Unknown("not read in this state".to_owned())
        };
        let lease = match read.lease.take().filter(|_| state.holds_slot()) {
            Some(lease) => lease,
            None => self.lease(request, now).await,
        };
        read.lease = Some(lease.clone()).filter(|_| state.holds_slot());
        let seen = self.seen(request, fleet, pool, epoch, (&object, drain, lease));
        read.object = Some(object).filter(|_| state.holds_slot());
        Ok(seen)
    }

    /// The same out of what was read.
    pub(super) fn seen(
        &self,
        request: &Request,
        fleet: &Fleet,
        pool: &Pool,
        epoch: u64,
        (object, drain, lease): (&Object, Known<DrainSeen>, Known<LeaseSeen>),
    ) -> Seen {
        let now = self.clock.now();
        let policy = self.policy.policy();
        let Object { node, upkeep } = object;
        let ours = upkeep.as_ref().filter(|it| matches!(it.cordon, Cordon::Ours { .. }));
        Seen {
            node: node.clone(),
            drain,
            lease,
            answers: self.answers(&request.uid),
            count: self.count(request, fleet, policy),
            gates: gates(request, fleet, policy, now),
            kubelet: match upkeep {
                Some(upkeep) => Known::Known(Kubelet::Speaks(upkeep.boot.clone())),
                None => Known::Unknown("the node object was not read".to_owned()),
            },
            unschedulable_by: ours.and_then(|it| it.unschedulable_by.clone()),
            marker: upkeep.as_ref().and_then(|it| it.marker.clone()),
            marked_before: upkeep.as_ref().and_then(|it| it.before),
            shutdown_grace_secs: self.shutdown_grace_secs(request),
            usual: plan::usual(&fleet.past, &pool.name),
            fresh: self.is_fresh,
            epoch,
            leading_since: self.clock.began_at(),
            next_grant: random_id(),
        }
    }

    fn shutdown_grace_secs(&self, request: &Request) -> u32 {
        let snapshot = self.engine.snapshot();
        let node = snapshot.node(request.node.as_str());
        self.facts.shutdown_grace_secs(node.map(|node| &**node))
    }

    /// The node of a request: from the quorum while it is in flight or not among those that are
    /// watched, else as it is watched.
    async fn object(&self, request: &Request, fleet: &Fleet) -> Object {
        let watched = fleet.nodes.get(&request.uid);
        // A cordon that was taken back a moment ago is still watched: undone again, it would count twice.
        let is_clear = |node: &&Node| !matches!(node.cordon, Cordon::Ours { .. });
        let holds_slot = request.progress.state.holds_slot();
        if let Some(node) = watched.filter(|node| !holds_slot && is_clear(node)) {
            return Object { node: Known::Known(Some(node.clone())), upkeep: None };
        }
        let (upkeep, _) = match self.cordons.read(&request.node, &request.uid).await {
            Ok(Some(found)) => found,
            Ok(None) => return Object { node: Known::Known(None), upkeep: None },
            Err(error) => {
                let why = Chain(&error).to_string();
                return Object { node: Known::Unknown(why), upkeep: None };
            }
        };
        let node = match watched {
            Some(node) => {
                let mut node = node.clone();
                node.ready = upkeep.ready;
                node.cordon = upkeep.cordon.clone();
                node.hold = upkeep.hold.clone();
                node.taints = upkeep.taints.clone();
                Known::Known(Some(node))
            }
            None => Known::Unknown("the watch has not brought the node yet".to_owned()),
        };
        Object { node, upkeep: Some(upkeep) }
    }

    async fn what_is_left(
        &mut self,
        request: &Request,
        pool: &Pool,
        now: Moment,
        read: &mut Option<Vec<Pod>>,
    ) -> Result<Known<DrainSeen>, NotLeader> {
        let unknown = |why: &dyn std::error::Error| Ok(Known::Unknown(Chain(why).to_string()));
        let Some(around) = &self.around else {
            let why = "budgets and DaemonSets could not be listed";
            return Ok(Known::Unknown(why.to_owned()));
        };
        let pods = match read.take() {
            Some(pods) => pods,
            None => match self.workloads.pods_of(&request.node, around).await {
                Ok(pods) => pods,
                Err(error) => return unknown(&error),
            },
        };
        *read = Some(pods.clone());
        let budgets = self.budgets();
        let work = self.works.entry(request.uid.clone()).or_default();
        let mut seen = work.look(pods, &budgets, &pool.drain, now);
        let progress = &request.progress;
        if progress.state == State::Draining && progress.drain.began.is_none() {
            // Each pod for itself; what the budgets say of all together is a gate of the plan.
            seen.stuck.extend(work.try_all(&self.evictions, &pool.drain, now).await?);
        }
        if !progress.drain.volumes.is_empty() {
            let attached = match self.workloads.attached().await {
                Ok(attached) => attached,
                Err(error) => return unknown(&error),
            };
            let staying = work.staying_volumes(&pool.drain);
            let attached = attached.get(request.node.as_str()).into_iter().flatten();
            seen.attached = attached
                .filter(|volume| progress.drain.volumes.contains(*volume))
                .filter(|volume| !staying.contains(volume.as_str()))
                .cloned()
                .collect();
        }
        Ok(Known::Known(seen))
    }

    async fn lease(&self, request: &Request, now: Moment) -> Known<LeaseSeen> {
        let Some(leases) = &self.leases else { return Known::Known(LeaseSeen::Unused) };
        if !request.progress.state.holds_slot() {
            return Known::Unknown("not read in this state".to_owned());
        }
        match leases.look(&request.node, now).await {
            Ok(seen) => Known::Known(seen),
            Err(error) => Known::Unknown(Chain(&error).to_string()),
        }
    }

    /// What the node said of grants, by the clock of the term.
    fn answers(&self, node: &NodeUid) -> Vec<GrantAnswer> {
        let arrived = self.offers.arrived(node).into_iter();
        arrived.map(|it| GrantAnswer { at: self.clock.at(it.boot_ms), ..it.answer }).collect()
    }

    /// Counts over what the quorum listed after the claim was written.
    fn count(&self, request: &Request, fleet: &Fleet, policy: &Policy) -> Known<Count> {
        if request.progress.state != State::Claimed || !self.is_counted {
            return Known::Unknown("not counted".to_owned());
        }
        Known::Known(plan::count(fleet, policy, &request.uid))
    }
}

/// Gates that are shut for a grant, in the states in which one may be given.
pub(super) fn gates(
    request: &Request,
    fleet: &Fleet,
    policy: &Policy,
    now: Moment,
) -> Vec<Blocker> {
    match request.progress.state {
        State::Claimed | State::Cordoning | State::Draining | State::Granted => {
            plan::grant_gates(fleet, policy, &request.uid, now)
        }
        State::Needed
        | State::Blocked
        | State::Ready
        | State::Rebooting
        | State::Booted
        | State::Verifying
        | State::Uncordoning
        | State::Done
        | State::RollingBack
        | State::Backoff
        | State::NotReturned
        | State::Quarantined
        | State::NodeGone
        | State::Cancelled => Vec::new(),
    }
}

/// A random id. Without randomness there are no ids of which one is never used twice, and the id of
/// nothing is refused by every node.
pub(super) fn random_id() -> GrantId {
    let mut bytes = [0; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!("the kernel gives no randomness: grants cannot be told apart");
    }
    GrantId::from_bytes(bytes)
}
