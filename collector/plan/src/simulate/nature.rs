//! What happens without any collector: machines go down and come up, kubelets and controllers do
//! their work, agents speak.

use palisade_report::BootId;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use super::machine::Fate;
use super::machine::Life;
use super::machine::Power;
use super::tally::Fault;
use super::workload::comes_back;
use super::world::Event;
use super::world::Said;
use super::world::World;
use crate::fleet::Cordon;
use crate::fleet::Pod;
use crate::fleet::Ready;
use crate::law::Author;
use crate::law::Handed;
use crate::law::Readiness;
use crate::law::What;
use crate::request::Answer;
use crate::seen::GrantAnswer;

/// Seconds until the cluster finds a silent kubelet not ready.
const GRACE_SECS: i64 = 40;

/// A machine that is away for longer is expected no more.
const LATE_SECS: i64 = 1800;

/// Seconds that a machine takes from its answer to silence, at most.
const SHUTDOWN_SECS: i64 = 90;

impl World {
    /// An agent speaks, and is answered by whoever leads, or believes to.
    pub(super) fn heartbeat(&mut self, uid: &NodeUid) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(uid) else { return };
        if machine.power == Power::Down || machine.agent == Life::Stopped {
            return;
        }
        if self.faults.loses_heartbeat(&mut self.chance) {
            let next = machine.next_heartbeat(now);
            self.at(next, Event::Heartbeat(uid.clone()));
            return;
        }
        machine.speaks_since.get_or_insert(now);
        let word = machine.word(now);
        let answers = std::mem::take(&mut machine.answers);
        let (kernel, next_kernel) = (machine.kernel.clone(), machine.next_kernel.clone());
        let hold_file = machine.hold_file.clone();
        let changed = machine.said.as_ref() != Some(&word);
        machine.said = Some(word.clone());
        let next = machine.next_heartbeat(now);
        let (boot, need) = word;
        let old = self.kept.said.get(uid);
        let held = old.is_some_and(|old| old.hold_file == hold_file);
        let since = old.filter(|old| old.need == need && old.boot == boot).map(|old| old.since);
        self.kept.said.insert(
            uid.clone(),
            Said {
                boot: boot.clone(),
                kernel,
                next_kernel,
                need: need.clone(),
                since: since.unwrap_or(now),
                heard_at: now,
                hold_file,
            },
        );
        if changed || !held {
            self.kept.journal.push(uid.clone());
        }
        if changed {
            self.wake();
            self.record(Author::Node, What::Said { node: uid.clone(), boot, need });
        }
        for (id, answer) in answers {
            self.answer(uid, id, answer);
        }
        if self.reply(uid) {
            self.at(next, Event::Heartbeat(uid.clone()));
        }
    }

    /// What a node says of a grant arrives.
    pub(super) fn answer(&mut self, uid: &NodeUid, id: GrantId, answer: Answer) {
        let answers = self.kept.answers.entry(uid.clone()).or_default();
        answers.push(GrantAnswer { id, answer: answer.clone(), at: self.now });
        self.record(Author::Node, What::Answered(uid.clone(), id, answer));
        self.wake();
    }

    /// The reply to a heartbeat: the grant that a collector offers, if one does. Whether it is still
    /// offered.
    fn reply(&mut self, uid: &NodeUid) -> bool {
        let mut offered = false;
        for id in 0..self.collectors.len() {
            let now = self.now;
            let Some(collector) = self.collectors.get(id).and_then(Option::as_ref) else {
                continue;
            };
            let Some(grant) = collector.offer(uid, now) else { continue };
            offered = true;
            let author = collector.author(now);
            for late in self.faults.grants(&mut self.chance) {
                if late == 0 {
                    self.hand(author, uid, &grant);
                } else {
                    self.after(late, Event::Deliver(uid.clone(), Box::new(grant.clone())));
                }
            }
        }
        offered
    }

    fn hand(&mut self, by: Author, uid: &NodeUid, grant: &Handed) {
        self.record(by, What::Handed { to: uid.clone(), grant: grant.clone() });
        self.deliver(uid, grant);
    }

    /// A grant reaches a node, which makes of it what its rebooter makes of it.
    pub(super) fn deliver(&mut self, uid: &NodeUid, grant: &Handed) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(uid) else { return };
        if machine.power == Power::Down || machine.agent == Life::Stopped {
            return;
        }
        let answer = machine.consider(grant, now);
        let (boot, fate) = (machine.boot.clone(), machine.fate);
        match &answer {
            Answer::Executing => {
                let accepted =
                    What::Accepted { node: uid.clone(), boot, grant: grant.id, epoch: grant.epoch };
                self.record(Author::Node, accepted);
                let mut answer = answer;
                match fate {
                    Fate::CallFails => self.faults.tally.count(Fault::CallFails),
                    Fate::CallSaysSo => {
                        self.faults.tally.count(Fault::CallSaysSo);
                        answer = Answer::Failed(String::from("no such call"));
                    }
                    Fate::Back(_)
                    | Fate::Never
                    | Fate::SameKernel(_)
                    | Fate::ReasonStays(_)
                    | Fate::NoKubelet(_)
                    | Fate::Flaps(_) => {
                        let secs = self.chance.secs(2, SHUTDOWN_SECS);
                        self.after(secs, Event::Down(uid.clone(), Some(grant.id)));
                    }
                }
                self.send(uid, grant.id, &answer);
            }
            Answer::Refused(_) | Answer::Failed(_) => self.send(uid, grant.id, &answer),
        }
    }

    /// A node says something of a grant, which may be lost or late on its way, or arrive twice.
    fn send(&mut self, uid: &NodeUid, id: GrantId, answer: &Answer) {
        for late in self.faults.answers(&mut self.chance) {
            if late == 0 {
                self.answer(uid, id, answer.clone());
            } else {
                self.after(late, Event::Answer(uid.clone(), id, answer.clone()));
            }
        }
    }

    /// A machine goes down, by a grant or by itself, and comes up as its fate wants.
    pub(super) fn go_down(&mut self, uid: &NodeUid, grant: Option<GrantId>) {
        let Some(machine) = self.machines.get_mut(uid) else { return };
        if machine.power == Power::Down {
            return;
        }
        let last = machine.stops_speaking(self.now);
        machine.power = Power::Down;
        let back = match machine.fate {
            Fate::Back(secs)
            | Fate::SameKernel(secs)
            | Fate::ReasonStays(secs)
            | Fate::NoKubelet(secs)
            | Fate::Flaps(secs) => Some(secs),
            Fate::Never if grant.is_some() => None,
            Fate::Never | Fate::CallFails | Fate::CallSaysSo => Some(120),
        };
        let fault = match machine.fate {
            Fate::Never if grant.is_some() => Some(Fault::NeverReturns),
            Fate::Back(secs) if secs > LATE_SECS => Some(Fault::ReturnsLate),
            Fate::SameKernel(_) => Some(Fault::SameKernel),
            Fate::ReasonStays(_) => Some(Fault::ReasonStays),
            Fate::NoKubelet(_) => Some(Fault::NoKubelet),
            Fate::Flaps(_) => Some(Fault::Flaps),
            Fate::Back(_) | Fate::Never | Fate::CallFails | Fate::CallSaysSo => None,
        };
        fault.into_iter().for_each(|fault| self.faults.tally.count(fault));
        self.kept.spoke_last(uid, last);
        self.timeline.say(self.now, &format!("{uid} goes down"));
        self.after(GRACE_SECS, Event::Notice(uid.clone(), Readiness::NotReady));
        match back {
            Some(secs) => self.after(secs, Event::Up(uid.clone(), grant)),
            None => self.record(Author::Node, What::Silent(uid.clone())),
        }
    }

    /// A machine comes up under a new boot id.
    pub(super) fn come_up(&mut self, uid: &NodeUid, grant: Option<GrantId>) {
        let now = self.now;
        let to = BootId::from_bytes(&self.chance.bytes());
        let secs = self.chance.secs(5, 60);
        let Some(machine) = self.machines.get_mut(uid) else { return };
        let from = std::mem::replace(&mut machine.boot, to.clone());
        machine.power = Power::Up;
        machine.booted_at = now;
        machine.kubelet = Life::Running;
        let mut flaps = 0;
        match machine.fate {
            Fate::SameKernel(_) | Fate::ReasonStays(_) => {}
            Fate::NoKubelet(_) => {
                machine.kubelet = Life::Stopped;
                machine.kernel = machine.next_kernel.clone();
                machine.reasons.clear();
            }
            Fate::Flaps(_) => {
                flaps = 6;
                machine.kernel = machine.next_kernel.clone();
                machine.reasons.clear();
            }
            Fate::Back(_) | Fate::Never | Fate::CallFails | Fate::CallSaysSo => {
                machine.kernel = machine.next_kernel.clone();
                machine.reasons.clear();
            }
        }
        if machine.fate == Fate::ReasonStays(0) {
            machine.kernel = machine.next_kernel.clone();
        }
        let (running, next) = (machine.kubelet == Life::Running, machine.next_heartbeat(now));
        self.record(Author::Node, What::Booted { node: uid.clone(), from, to, grant });
        self.at(next, Event::Heartbeat(uid.clone()));
        if running {
            self.after(secs, Event::Notice(uid.clone(), Readiness::Ready));
        }
        for flap in 0..flaps {
            let readiness = if flap % 2 == 0 { Readiness::NotReady } else { Readiness::Ready };
            self.after(secs + 90 * (flap + 1), Event::Notice(uid.clone(), readiness));
        }
    }

    /// The cluster finds a node ready, or not; its pods follow.
    pub(super) fn notice(&mut self, uid: &NodeUid, readiness: Readiness) {
        let Some(machine) = self.machines.get(uid) else { return };
        let runs = machine.power == Power::Up && machine.kubelet == Life::Running;
        if readiness == Readiness::Ready && !runs {
            return;
        }
        let (now, boot) = (self.now, machine.boot.clone());
        let is = self.store.nodes.get(uid).is_some_and(|object| match object.ready {
            Ready::Since(_) => readiness == Readiness::Ready,
            Ready::NotSince(_) | Ready::Unknown => readiness == Readiness::NotReady,
        });
        self.store.touch(uid, |object| {
            if !is {
                object.ready = match readiness {
                    Readiness::Ready => Ready::Since(now),
                    Readiness::NotReady => Ready::NotSince(now),
                };
            }
            if readiness == Readiness::Ready {
                object.boot = boot;
            }
        });
        if is {
            return;
        }
        self.record(Author::Cluster, What::Readiness(uid.clone(), readiness));
        for pod in self.work.turn(uid, readiness == Readiness::Ready) {
            self.record(Author::Cluster, What::PodCame(uid.clone(), Box::new(pod)));
        }
        self.pods_changed(uid);
        self.wake();
    }

    /// A pod turns ready.
    pub(super) fn pod_ready(&mut self, uid: &NodeUid, pod: &str) {
        let up = self.machines.get(uid).is_some_and(|machine| machine.power == Power::Up);
        if !up {
            return;
        }
        if let Some(pod) = self.work.ready(uid, pod) {
            self.record(Author::Cluster, What::PodCame(uid.clone(), Box::new(pod)));
            self.pods_changed(uid);
        }
    }

    /// A pod is gone, if its kubelet runs to say so; its controller makes another.
    pub(super) fn pod_gone(&mut self, uid: &NodeUid, pod: &str) {
        let Some(machine) = self.machines.get(uid) else { return };
        if machine.power == Power::Down || machine.kubelet == Life::Stopped {
            self.after(60, Event::PodGone(uid.clone(), String::from(pod)));
            return;
        }
        if let Some((app, gone)) = self.work.remove(uid, pod) {
            self.record(Author::Cluster, What::PodWent(uid.clone(), gone.uid.clone()));
            self.lost(uid, app, gone);
            self.pods_changed(uid);
        }
    }

    /// What follows a pod that is gone: its volumes are detached, its controller makes another.
    pub(super) fn lost(&mut self, uid: &NodeUid, app: Option<usize>, gone: Pod) {
        for volume in &gone.volumes {
            if !self.faults.keeps_volume(&mut self.chance) {
                let secs = self.chance.secs(5, 60);
                self.after(secs, Event::Detach(uid.clone(), volume.clone()));
            }
        }
        if comes_back(&gone) {
            let secs = self.chance.secs(1, 10);
            self.after(secs, Event::Replace(app, Box::new(gone)));
        }
    }

    /// A controller makes a pod anew on a node that takes pods; later, if there is none.
    pub(super) fn replace(&mut self, app: Option<usize>, gone: Pod) {
        let open: Vec<&NodeUid> = self
            .store
            .nodes
            .iter()
            .filter(|(_, object)| {
                object.cordon == Cordon::Schedulable && matches!(object.ready, Ready::Since(_))
            })
            .map(|(uid, _)| uid)
            .collect();
        let Some(uid) = self.chance.pick(&open).map(|uid| NodeUid::clone(uid)) else {
            self.after(30, Event::Replace(app, Box::new(gone)));
            return;
        };
        let pod = self.work.replace(app, &uid, &gone);
        let secs = self.chance.secs(5, 30);
        self.after(secs, Event::PodReady(uid.clone(), pod.uid.clone()));
        self.record(Author::Cluster, What::PodCame(uid.clone(), Box::new(pod)));
        self.pods_changed(&uid);
    }

    /// Watchers and judges learn of pods of a node that changed.
    pub(super) fn pods_changed(&mut self, uid: &NodeUid) {
        self.store.journal.push(super::store::Change::Pods(uid.clone()));
        let changed: Vec<(String, u32)> = self.work.changed_budgets();
        for (name, allowed) in changed {
            self.record(Author::Cluster, What::Budget(name, allowed));
        }
    }

    /// A node is deleted: by its name it is gone, and its machine with it.
    pub(super) fn delete_node(&mut self, uid: &NodeUid) {
        self.store.remove(uid);
        self.machines.remove(uid);
        self.kept.said.remove(uid);
        self.record(Author::Person, What::Left(uid.clone()));
        for (app, gone) in self.work.remove_all(uid) {
            self.lost(uid, app, gone);
        }
        self.pods_changed(uid);
        self.wake();
    }

    /// Leaders that sleep between two turns look again soon.
    pub(super) fn wake(&mut self) {
        let soon = self.now.plus(1);
        for id in 0..self.collectors.len() {
            if let Some(Some(collector)) = self.collectors.get_mut(id)
                && collector.sleeps()
            {
                collector.rouse(soon);
                self.at(soon, Event::Turn(id));
            }
        }
    }
}
