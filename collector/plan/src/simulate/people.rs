//! What people do meanwhile: they cordon and uncordon, hold, cancel, ask and delete, change budgets,
//! and pull machines out of their racks.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::NodeUid;

use super::fault::Trouble;
use super::machine::Lie;
use super::machine::Life;
use super::machine::Power;
use super::machine::digest;
use super::store::Holder;
use super::store::Object;
use super::tally::FORGOTTEN_WITH_IT;
use super::tally::Fault;
use super::world::Event;
use super::world::World;
use crate::fleet::Cordon;
use crate::fleet::Hold;
use crate::fleet::Need;
use crate::fleet::Ready;
use crate::law::Author;
use crate::law::Readiness;
use crate::law::What;
use crate::policy::Amount;
use crate::policy::Policy;
use crate::request::Approval;
use crate::request::Intent;
use crate::request::Reason;
use crate::request::Release;
use crate::request::Request;
use crate::request::State;
use crate::request::Wish;
use crate::step::requested;

impl World {
    /// Somebody, or something, touches a node.
    pub(super) fn meddle(&mut self, trouble: Trouble) {
        let Some(uid) = self.victim() else { return };
        self.timeline.say(self.now, &format!("  on {uid}"));
        match trouble {
            Trouble::Lie(lie) => {
                if let Some(machine) = self.machines.get_mut(&uid) {
                    machine.lie = lie;
                    let fault = match lie {
                        Lie::AlwaysNeeded => Some(Fault::LieNeeded),
                        Lie::NeverNeeded => Some(Fault::LieNotNeeded),
                        Lie::Unsure => Some(Fault::LieUnsure),
                        Lie::FalseBoot => Some(Fault::LieBoot),
                        Lie::None => None,
                    };
                    fault.into_iter().for_each(|fault| self.faults.tally.count(fault));
                    let next = machine.next_heartbeat(self.now);
                    self.at(next, Event::Heartbeat(uid));
                }
            }
            Trouble::Delete => {
                self.faults.tally.count(Fault::Deleted);
                self.delete_node(&uid);
            }
            Trouble::Recreate => self.recreate(&uid),
            Trouble::Cordon => self.cordon_by_hand(&uid),
            Trouble::Uncordon => self.uncordon_by_hand(&uid),
            Trouble::Hold(secs) => {
                self.faults.tally.count(Fault::Held);
                let until = Some(self.now.plus(secs));
                self.hold(&uid, Some(Hold { reason: String::from("hands off"), until }));
            }
            Trouble::HoldFile => {
                if let Some(machine) = self.machines.get_mut(&uid) {
                    self.faults.tally.count(Fault::HoldFile);
                    machine.hold_file = match machine.hold_file {
                        Some(_) => None,
                        None => Some(String::from("debugging")),
                    };
                    let next = machine.next_heartbeat(self.now);
                    self.at(next, Event::Heartbeat(uid));
                }
            }
            Trouble::Cancel => {
                self.change_request(&uid, Fault::Cancelled, |request| {
                    request.wish.intent = Intent::Cancel;
                });
            }
            Trouble::DeleteRequest => {
                self.change_request(&uid, Fault::RequestDeleted, |request| {
                    request.wish.intent = Intent::Cancel;
                });
            }
            Trouble::ForceDelete => self.force_delete(&uid),
            Trouble::Lease(secs) => {
                let until = self.now.plus(secs);
                if let Entry::Vacant(free) = self.store.leases.entry(uid) {
                    free.insert(Holder::Other(until));
                    self.faults.tally.count(Fault::LeaseTaken);
                }
            }
            Trouble::Release => {
                let at = self.now;
                let release = Release { by: String::from("ops"), reason: String::from("seen"), at };
                self.change_request(&uid, Fault::Released, |request| {
                    request.wish.release = Some(release);
                });
                self.forgive(&uid);
            }
            Trouble::Ask => self.ask(&uid),
            Trouble::Spent(secs) => {
                self.faults.tally.count(Fault::BudgetSpent);
                let count = u64::try_from(self.work.apps.len()).unwrap_or(0);
                let at = usize::try_from(self.chance.below(count)).unwrap_or(0);
                self.work.spend(at);
                self.pods_changed(&uid);
                self.after(secs, Event::Trouble(Trouble::BudgetsBack));
            }
            Trouble::BudgetsBack => self.budgets_back(),
            Trouble::Rules => self.change_rules(),
            Trouble::NotReady(secs) => {
                if let Some(machine) = self.machines.get_mut(&uid) {
                    self.faults.tally.count(Fault::NotReady);
                    machine.kubelet = Life::Stopped;
                    self.after(40, Event::Notice(uid.clone(), Readiness::NotReady));
                    self.after(secs, Event::Kubelet(uid));
                }
            }
            Trouble::Boot => {
                self.faults.tally.count(Fault::BootsByItself);
                self.go_down(&uid, None);
            }
            Trouble::Gone(..)
            | Trouble::Outage(_)
            | Trouble::Storm(_)
            | Trouble::Gap(..)
            | Trouble::Clock(..)
            | Trouble::Restart(_)
            | Trouble::Silence(..)
            | Trouble::Heard
            | Trouble::End => {}
        }
    }

    /// A kubelet runs again.
    pub(super) fn kubelet_runs(&mut self, uid: &NodeUid) {
        if let Some(machine) = self.machines.get_mut(uid) {
            machine.kubelet = Life::Running;
            self.after(10, Event::Notice(uid.clone(), Readiness::Ready));
        }
    }

    /// A node is deleted whose request waits in this state.
    pub(super) fn delete_waiting(&mut self, state: State, number: u64) {
        let Some(uid) = self.waiting(state, number) else { return };
        self.timeline.say(self.now, &format!("  on {uid}"));
        if state == State::Needed {
            self.ask(&uid);
        }
        self.faults.tally.count(Fault::DeletedWaiting);
        self.delete_node(&uid);
    }

    /// A node whose request waits in this state, if there is one. Needed is what a person leaves behind
    /// who asks and then takes the node away, before any collector has looked: it may be any node.
    pub(super) fn waiting(&self, state: State, number: u64) -> Option<NodeUid> {
        let waits = |uid: &&NodeUid| match (self.store.requests.get(*uid), state) {
            (None, State::Needed) => true,
            (None, _) => false,
            (Some(request), _) => request.progress.state == state,
        };
        let found: Vec<&NodeUid> = self.machines.keys().filter(waits).collect();
        let at = number.checked_rem(u64::try_from(found.len()).ok()?)?;
        found.get(usize::try_from(at).ok()?).map(|uid| NodeUid::clone(uid))
    }

    fn recreate(&mut self, uid: &NodeUid) {
        let (Some(machine), Some(object)) =
            (self.machines.get(uid).cloned(), self.store.nodes.get(uid).cloned())
        else {
            return;
        };
        self.faults.tally.count(Fault::Recreated);
        self.delete_node(uid);
        let Ok(fresh) = format!("{uid}-again").parse::<NodeUid>() else { return };
        let boot = BootId::from_bytes(&self.chance.bytes());
        let mut machine = machine;
        machine.uid = fresh.clone();
        machine.boot = boot.clone();
        machine.booted_at = self.now;
        machine.power = Power::Up;
        machine.kubelet = Life::Running;
        machine.agent = Life::Running;
        machine.speaks_since = None;
        machine.consumed.clear();
        machine.answers.clear();
        machine.said = None;
        let mut object = object;
        object.boot = boot;
        object.ready = Ready::Since(self.now);
        object.cordon = Cordon::Schedulable;
        object.before = None;
        object.marker = None;
        object.cordoned_by = None;
        object.hold = None;
        self.join(machine, object);
    }

    fn cordon_by_hand(&mut self, uid: &NodeUid) {
        let by = String::from("kubectl-cordon");
        let free = |object: &Object| object.cordon == Cordon::Schedulable;
        if !self.store.nodes.get(uid).is_some_and(free) {
            return;
        }
        self.faults.tally.count(Fault::Cordoned);
        self.store.touch(uid, |object| {
            // With a marker that was left there, it looks like ours but for its author.
            object.cordon = match object.marker.clone() {
                Some(request) => Cordon::Ours { request },
                None => Cordon::Foreign { by: Some(by.clone()) },
            };
            object.cordoned_by = Some(by.clone());
        });
        let cordon = Cordon::Foreign { by: Some(by) };
        self.record(Author::Person, What::Cordoned(uid.clone(), cordon));
    }

    /// `kubectl uncordon`: it takes `spec.unschedulable` away, and leaves our marker.
    fn uncordon_by_hand(&mut self, uid: &NodeUid) {
        let set = |cordon: &Cordon| *cordon != Cordon::Schedulable;
        if self.store.nodes.get(uid).is_some_and(|object| set(&object.cordon)) {
            self.faults.tally.count(Fault::Uncordoned);
            self.store.touch(uid, |object| {
                object.cordon = Cordon::Schedulable;
                object.cordoned_by = None;
            });
            self.record(Author::Person, What::Cordoned(uid.clone(), Cordon::Schedulable));
        }
    }

    fn hold(&mut self, uid: &NodeUid, hold: Option<Hold>) {
        self.store.touch(uid, |object| object.hold.clone_from(&hold));
        self.record(Author::Person, What::Held(uid.clone(), hold));
    }

    fn change_request(&mut self, uid: &NodeUid, fault: Fault, change: impl FnOnce(&mut Request)) {
        let Some(mut request) = self.store.requests.get(uid).cloned() else { return };
        change(&mut request);
        if let Ok(stored) = self.store.replace(request) {
            self.faults.tally.count(fault);
            self.record(Author::Person, What::Wrote(Box::new(stored)));
        }
    }

    /// `kubectl delete`, and the finalizer taken away by hand: the record is gone, whatever it stood for,
    /// a grant in use too. Without the second, the finalizer keeps the record and the collector takes it
    /// for a cancellation.
    ///
    /// Two things are only in the record for a while: that its permission was used, and a failure that
    /// nobody has told yet. Who takes them away then has nobody know them: see [`FORGOTTEN_WITH_IT`].
    fn force_delete(&mut self, uid: &NodeUid) {
        let Some(request) = self.store.requests.get(uid) else { return };
        let state = request.progress.state;
        if state == FORGOTTEN_WITH_IT || !self.kept.past.untold(request, self.now).is_empty() {
            return;
        }
        if self.store.delete(uid).is_ok() {
            let tally = &mut self.faults.tally;
            tally.count(Fault::RequestForced);
            let times = tally.forced.entry(state).or_default();
            *times = times.saturating_add(1);
            self.record(Author::Person, What::Removed(uid.clone()));
        }
    }

    /// The failures of the node's pool are forgiven.
    fn forgive(&mut self, uid: &NodeUid) {
        let Some(object) = self.store.nodes.get(uid) else { return };
        let pool = self.policy.pool_of(&object.labels).name.clone();
        self.kept.past.forgive(pool.clone(), self.now);
        self.kept.past_version = self.kept.past_version.saturating_add(1);
        self.record(Author::Person, What::Released(pool));
    }

    fn ask(&mut self, uid: &NodeUid) {
        let Some(object) = self.store.nodes.get(uid) else { return };
        let name = object.name.clone();
        let need = self.kept.said.get(uid).map(|said| said.need.clone());
        let (reasons, digest_of, since) = match need {
            Some(Need::Needed { reasons, digest, since }) => (reasons, digest, since),
            Some(Need::NotNeeded | Need::Unknown { .. }) | None => {
                let reasons = BTreeSet::from([Reason {
                    source: String::from("request"),
                    kind: String::from("request"),
                    subject: String::from("maintenance"),
                    target: String::new(),
                }]);
                let digest = digest(&reasons);
                (reasons, digest, self.now)
            }
        };
        let approval = Approval {
            by: String::from("ops"),
            at: self.now,
            digest: digest_of,
            until: self.now.plus(86_400),
        };
        let wish = Wish {
            reasons,
            digest: digest_of,
            since,
            requested_by: String::from("ops"),
            must_by: None,
            approval: Some(approval),
            overriding: None,
            intent: Intent::Reboot,
            release: None,
        };
        let request = requested(name, uid.clone(), wish, 0, self.now);
        let id = self.request_id();
        if let Ok(stored) = self.store.create(request, id) {
            self.faults.tally.count(Fault::Asked);
            self.record(Author::Person, What::Wrote(Box::new(stored)));
        }
    }

    /// The id of a request that is created.
    pub(super) fn request_id(&mut self) -> String {
        BootId::from_bytes(&self.chance.bytes()).to_string()
    }

    /// Disruption budgets are as they were.
    pub(super) fn budgets_back(&mut self) {
        self.work.restore();
        let any = self.machines.keys().next().cloned();
        if let Some(uid) = any {
            self.pods_changed(&uid);
        }
    }

    fn change_rules(&mut self) {
        let mut cluster = self.policy.cluster.clone();
        cluster.max_unavailable =
            Amount::Count(u32::try_from(self.chance.secs(0, 12)).unwrap_or(1));
        let mut pools = self.policy.pools.clone();
        for pool in &mut pools {
            if self.chance.in_thousand(500) {
                pool.max_unavailable =
                    Amount::Count(u32::try_from(self.chance.secs(0, 8)).unwrap_or(1));
            }
        }
        self.faults.tally.count(Fault::PolicyChanged);
        self.policy = Arc::new(Policy::of(cluster, pools));
        self.record(Author::Person, What::Ruled(Arc::clone(&self.policy)));
    }

    /// An agent is not heard any more.
    pub(super) fn silence(&mut self, uid: &NodeUid) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(uid)
            && machine.agent == Life::Running
        {
            let last = machine.stops_speaking(now);
            machine.agent = Life::Stopped;
            self.kept.spoke_last(uid, last);
            self.record(Author::Node, What::Silent(uid.clone()));
        }
    }

    /// All agents are heard again.
    pub(super) fn hear_all(&mut self) {
        for uid in self.uids() {
            let Some(machine) = self.machines.get_mut(&uid) else { continue };
            if machine.agent == Life::Stopped {
                machine.agent = Life::Running;
                let next = machine.next_heartbeat(self.now);
                self.at(next, Event::Heartbeat(uid.clone()));
                self.record(Author::Node, What::Heard(uid));
            }
        }
    }
}
