//! Who is away: each node counted once in everything that has a cap.
//!
//! A node is away if a request holds a place for it, if it is not ready or not heard, or if it takes no
//! pods, whoever is to blame. A request whose node is gone still counts where it was claimed.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::NodeUid;

use crate::fleet::Cordon;
use crate::fleet::Fleet;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::gate::Gate;
use crate::policy::Amount;
use crate::policy::Policy;
use crate::policy::Pool;
use crate::request::Request;
use crate::request::State;

/// Label of zones. Source: the well-known labels of Kubernetes.
pub(super) const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// A node with everything that is asked again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) uid: &'a NodeUid,
    pub(super) node: &'a Node,
    /// Index of its pool in [`Census::pools`].
    pub(super) pool: usize,
    pub(super) zone: &'a str,
    pub(super) role: Role,
    pub(super) request: Option<&'a Request>,
    /// State of its request, if that holds a place.
    pub(super) flight: Option<State>,
    /// Whether it counts against the caps as things are.
    pub(super) is_away: bool,
    /// When its agent was heard last.
    pub(super) heard_at: Option<Moment>,
}

/// How many are away, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) members: usize,
    pub(super) away: usize,
    /// Those of `away` that nobody here made go, or that did not come back well.
    pub(super) trouble: usize,
}

/// One pool and its parts.
#[derive(Clone, Debug)]
pub(super) struct PoolCount<'a> {
    pub(super) pool: &'a Pool,
    pub(super) whole: Tally,
    pub(super) zones: BTreeMap<&'a str, Tally>,
    /// For each topology cap of the pool, its domains.
    pub(super) domains: Vec<BTreeMap<&'a str, Tally>>,
    /// Nodes of the pool that are on their way through a reboot.
    pub(super) moving: usize,
}

/// The fleet, counted.
#[derive(Clone, Debug)]
pub(super) struct Census<'a> {
    pub(super) members: Vec<Member<'a>>,
    pub(super) pools: Vec<PoolCount<'a>>,
    pub(super) cluster: Tally,
    /// The amount that may be away in the cluster.
    pub(super) cap: Amount,
    /// Nodes of the control plane and workers that hold a place, gone ones included.
    pub(super) control_plane_flight: usize,
    pub(super) worker_flight: usize,
}

/// A cap that leaves no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) gate: Gate,
    pub(super) value: String,
}

/// A cap as it stands for one node.
struct Cap<'c> {
    gate: Gate,
    of: &'c str,
    label: &'c str,
    tally: Tally,
    amount: Amount,
}

impl<'a> Census<'a> {
    /// Counts the fleet, each member that `counts`.
    pub(super) fn take_of(
        fleet: &'a Fleet,
        policy: &'a Policy,
        counts: impl Fn(&Member<'a>) -> bool,
    ) -> Self {
        let pools: Vec<PoolCount<'a>> =
            policy.pools.iter().chain([&policy.unmatched]).map(PoolCount::of).collect();
        let index = PoolIndex::of(policy);
        let mut census = Self {
            members: Vec::with_capacity(fleet.nodes.len()),
            pools,
            cluster: Tally::default(),
            cap: policy.cluster.max_unavailable,
            control_plane_flight: 0,
            worker_flight: 0,
        };
        for (uid, node) in &fleet.nodes {
            let mut member = member(uid, node, fleet, policy, &index);
            member.is_away = counts(&member);
            census.enter(&member);
            census.members.push(member);
        }
        for request in fleet.requests.values() {
            if request.progress.state.holds_slot() {
                census.enter_claim(request, fleet);
            }
        }
        census
    }

    /// Counts whoever is away now.
    pub(super) fn of(fleet: &'a Fleet, policy: &'a Policy) -> Self {
        Self::take_of(fleet, policy, |member| member.is_away)
    }

    fn enter(&mut self, member: &Member<'a>) {
        let is_moving = member.flight.is_some_and(is_moving);
        let trouble = usize::from(member.is_away && !is_moving);
        let tally = Tally { members: 1, away: usize::from(member.is_away), trouble };
        self.add(member, tally);
        if let Some(pool) = self.pools.get_mut(member.pool) {
            pool.moving = pool.moving.saturating_add(usize::from(is_moving));
        }
        if member.flight.is_some() {
            self.fly(member.role);
        }
    }

    /// A claim counts where it was made too, if that is not where its node is now.
    fn enter_claim(&mut self, request: &'a Request, fleet: &Fleet) {
        let placement = &request.progress.placement;
        let claimed = self.pools.iter().position(|count| count.pool.name == placement.pool);
        // Ordered by UID, so this is a binary search.
        let found = self.members.binary_search_by(|member| member.uid.cmp(&request.uid)).ok();
        let member = found.and_then(|at| self.members.get(at)).copied();
        let tally = Tally { members: 0, away: 1, trouble: 0 };
        if !fleet.nodes.contains_key(&request.uid) {
            self.cluster.add(tally);
            self.fly(placement.role);
        }
        let Some(pool) = claimed else { return };
        let is_in_pool = member.is_some_and(|member| member.pool == pool);
        let is_in_zone = is_in_pool && member.is_some_and(|member| member.zone == placement.zone);
        let Some(count) = self.pools.get_mut(pool) else { return };
        if !is_in_pool {
            count.whole.add(tally);
        }
        if !is_in_zone {
            count.zones.entry(&placement.zone).or_default().add(tally);
        }
    }

    fn fly(&mut self, role: Role) {
        let count = match role {
            Role::ControlPlane => &mut self.control_plane_flight,
            Role::Worker => &mut self.worker_flight,
        };
        *count = count.saturating_add(1);
    }

    /// Gives a place to a node that held none.
    pub(super) fn claim(&mut self, member: &Member<'a>) {
        if !member.is_away {
            self.add(member, Tally { members: 0, away: 1, trouble: 0 });
        }
        if let Some(pool) = self.pools.get_mut(member.pool) {
            pool.moving = pool.moving.saturating_add(1);
        }
        self.fly(member.role);
    }

    fn add(&mut self, member: &Member<'a>, tally: Tally) {
        self.cluster.add(tally);
        let Some(count) = self.pools.get_mut(member.pool) else { return };
        count.whole.add(tally);
        count.zones.entry(member.zone).or_default().add(tally);
        for (cap, domains) in count.pool.topology.iter().zip(&mut count.domains) {
            domains.entry(domain(member, &cap.key)).or_default().add(tally);
        }
    }

    /// Caps that would be exceeded if this node went too; those that it exceeds already, if it is
    /// away.
    pub(super) fn full(&self, member: &Member<'a>) -> Vec<Full> {
        let adds = usize::from(!member.is_away);
        let mut full = Vec::new();
        self.each_cap(member, |cap| {
            if cap.tally.away.saturating_add(adds) > cap.amount.of(cap.tally.members) {
                full.push(Full { gate: cap.gate, value: cap.words() });
            }
        });
        full
    }

    /// Caps that are exceeded and of whose absent nodes some are in trouble.
    pub(super) fn troubled(&self, member: &Member<'a>) -> Vec<Full> {
        let mut full = Vec::new();
        self.each_cap(member, |cap| {
            if cap.tally.trouble > 0 && cap.tally.away > cap.amount.of(cap.tally.members) {
                full.push(Full { gate: cap.gate, value: cap.words() });
            }
        });
        full
    }

    /// Whether a cap of this node stops everything by itself.
    pub(super) fn is_stopped(&self, member: &Member<'a>) -> bool {
        let mut stopped = false;
        self.each_cap(member, |cap| stopped |= cap.amount.is_zero());
        stopped
    }

    /// How the caps of this gate stand, in words.
    pub(super) fn words(&self, member: &Member<'a>, gate: Gate) -> String {
        let mut words = Vec::new();
        self.each_cap(member, |cap| {
            if cap.gate == gate {
                words.push(cap.words());
            }
        });
        if words.is_empty() { "no such cap".to_owned() } else { words.join("; ") }
    }

    fn each_cap(&self, member: &Member<'a>, mut see: impl FnMut(Cap<'_>)) {
        see(Cap {
            gate: Gate::ClusterBudget,
            of: "the cluster",
            label: "",
            tally: self.cluster,
            amount: self.cap,
        });
        let Some(PoolCount { pool, whole, zones, domains, .. }) = self.pools.get(member.pool)
        else {
            return;
        };
        let label = pool.name.as_str();
        let amount = pool.max_unavailable;
        see(Cap { gate: Gate::PoolBudget, of: "pool", label, tally: *whole, amount });
        if let Some(amount) = pool.per_zone {
            let tally = zones.get(member.zone).copied().unwrap_or_default();
            see(Cap { gate: Gate::ZoneBudget, of: "zone", label: member.zone, tally, amount });
        }
        for (cap, domains) in pool.topology.iter().zip(domains) {
            let label = domain(member, &cap.key);
            let tally = domains.get(label).copied().unwrap_or_default();
            let amount = cap.max_unavailable;
            see(Cap { gate: Gate::TopologyBudget, of: &cap.key, label, tally, amount });
        }
    }
}

fn member<'a>(
    uid: &'a NodeUid,
    node: &'a Node,
    fleet: &'a Fleet,
    policy: &'a Policy,
    index: &PoolIndex<'a>,
) -> Member<'a> {
    let labels = node.labels.as_ref();
    let zone = labels.get(ZONE_LABEL).map_or("", String::as_str);
    let role = match &policy.cluster.control_plane.selector {
        Some(selector) if selector.matches(labels) => Role::ControlPlane,
        Some(_) | None => node.role,
    };
    let request = fleet.requests.get(uid);
    let flight = request.map(|request| request.progress.state).filter(|s| s.holds_slot());
    let well = match (&node.ready, &node.cordon) {
        (Ready::Since(_), Cordon::Schedulable) => true,
        (Ready::Since(_), Cordon::Ours { .. } | Cordon::Foreign { .. })
        | (Ready::NotSince(_) | Ready::Unknown, _) => false,
    };
    let pool = index.pool_of(policy, labels);
    let is_away = flight.is_some() || !well;
    let heard_at = node.agent.heard_at;
    Member { uid, node, pool, zone, role, request, flight, is_away, heard_at }
}

/// Pools by a label that they ask for, so that a node is not held against every selector.
struct PoolIndex<'a> {
    /// By label and by value, the pools that ask for it, in order.
    by_label: BTreeMap<&'a str, BTreeMap<&'a str, Vec<usize>>>,
    /// Pools that ask for no value of a label, in order.
    others: Vec<usize>,
}

impl<'a> PoolIndex<'a> {
    fn of(policy: &'a Policy) -> Self {
        let mut index = Self { by_label: BTreeMap::new(), others: Vec::new() };
        for (at, pool) in policy.pools.iter().enumerate() {
            match pool.selector.match_labels.first_key_value() {
                Some((key, value)) => {
                    let values = index.by_label.entry(key).or_default();
                    values.entry(value).or_default().push(at);
                }
                None => index.others.push(at),
            }
        }
        index
    }

    /// The first pool that selects these labels, as [`Policy::pool_of`] has it.
    fn pool_of(&self, policy: &Policy, labels: &BTreeMap<String, String>) -> usize {
        let matches =
            |at: &usize| policy.pools.get(*at).is_some_and(|pool| pool.selector.matches(labels));
        let asked = self.by_label.iter().filter_map(|(key, values)| {
            let value = labels.get(*key)?;
            values.get(value.as_str())?.iter().copied().find(matches)
        });
        let other = self.others.iter().copied().find(matches);
        asked.chain(other).min().unwrap_or(policy.pools.len())
    }
}

/// Nodes without the label are one domain: nothing says that they do not fail together.
fn domain<'a>(member: &Member<'a>, key: &str) -> &'a str {
    member.node.labels.get(key).map_or("", String::as_str)
}

/// Whether a request goes on by itself; the others wait for a person, and count as trouble.
pub(super) const fn is_moving(state: State) -> bool {
    state.holds_slot() && !matches!(state, State::Quarantined | State::NotReturned)
}

impl<'a> PoolCount<'a> {
    fn of(pool: &'a Pool) -> Self {
        let domains = pool.topology.iter().map(|_| BTreeMap::new()).collect();
        Self { pool, whole: Tally::default(), zones: BTreeMap::new(), domains, moving: 0 }
    }
}

impl Tally {
    const fn add(&mut self, other: Self) {
        self.members = self.members.saturating_add(other.members);
        self.away = self.away.saturating_add(other.away);
        self.trouble = self.trouble.saturating_add(other.trouble);
    }
}

impl Cap<'_> {
    fn words(&self) -> String {
        let Self { of, label, tally: Tally { members, away, trouble }, amount, .. } = self;
        let most = amount.of(*members);
        let name = if label.is_empty() { (*of).to_owned() } else { format!("{of} {label}") };
        format!("{away} of {members} in {name} are away ({trouble} not by us), {most} may be")
    }
}
