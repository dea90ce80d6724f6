//! One request, one node, one look: what a test changes is what it is about.

mod after;
mod before;
mod clock;
mod doubt;
mod entry;
mod law;
mod limits;
mod world;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::grant::GrantId;

use super::*;
use crate::fleet::Agent;
use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::request::Alert;
use crate::request::Answer;
use crate::request::BootRecord;
use crate::request::FaultKind;
use crate::request::Intent;
use crate::request::Placement;
use crate::request::Reason;
use crate::request::Release;
use crate::request::Wish;
use crate::seen::Count;
use crate::seen::DrainSeen;
use crate::seen::GrantAnswer;
use crate::seen::Kubelet;
use crate::seen::LeaseSeen;
use crate::seen::Usual;

const UID: &str = "0b7c2a44-9d3e-4c59-8d4f-0a35b3f0d5a1";
const ID: &str = "5d6f1f3e-2c1b-4b9e-9a53-0f6f8e3a7b10";
const OLD_KERNEL: &str = "6.1.0-30-amd64";
const NEW_KERNEL: &str = "6.1.0-31-amd64";

fn start() -> Moment {
    Moment::from_unix(1_800_000_000)
}

fn boot(number: u8) -> BootId {
    format!("{number:08x}-9d3e-4c59-8d4f-0a35b3f0d5a1").parse().unwrap()
}

fn grant_id(number: u8) -> GrantId {
    GrantId::from_bytes([number; 16])
}

fn reasons() -> BTreeSet<Reason> {
    BTreeSet::from([Reason {
        source: "kernel".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux-image".to_owned(),
        target: NEW_KERNEL.to_owned(),
    }])
}

fn needed() -> Need {
    Need::Needed { reasons: reasons(), digest: Digest::of(b"reasons"), since: start() }
}

fn wish() -> Wish {
    Wish {
        reasons: reasons(),
        digest: Digest::of(b"reasons"),
        since: start(),
        requested_by: "palisade".to_owned(),
        must_by: None,
        approval: None,
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    }
}

fn node() -> Node {
    Node {
        name: "worker-7".parse().unwrap(),
        uid: UID.parse().unwrap(),
        labels: Arc::new(BTreeMap::new()),
        role: Role::Worker,
        ready: Ready::Since(start()),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(start()),
            boot: Some(boot(1)),
            kernel: Some(OLD_KERNEL.to_owned()),
            next_kernel: Some(NEW_KERNEL.to_owned()),
            need: needed(),
            stable_since: Some(start()),
            package_manager: Known::Known(None),
            reboot_method: Known::Known("logind".to_owned()),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: Some(Digest::of(b"report 1")),
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

fn ours() -> Cordon {
    Cordon::Ours { request: ID.to_owned() }
}

fn foreign() -> Cordon {
    Cordon::Foreign { by: Some("anna".to_owned()) }
}

/// What is persisted, what is seen, under which policy and when.
#[derive(Clone)]
struct Case {
    request: Request,
    seen: Seen,
    pool: Pool,
    now: Moment,
}

impl Case {
    /// A node that needs a reboot, and a request for it that nobody has decided about.
    fn new() -> Self {
        let node = node();
        let mut request = requested(node.name.clone(), node.uid.clone(), wish(), 1, start());
        request.id = ID.to_owned();
        let seen = Seen {
            node: Known::Known(Some(node)),
            drain: Known::Known(DrainSeen::default()),
            lease: Known::Known(LeaseSeen::Free),
            answers: Vec::new(),
            count: Known::Known(Count::Within),
            gates: Vec::new(),
            kubelet: Known::Known(Kubelet::Speaks(Some(boot(1)))),
            unschedulable_by: None,
            marker: None,
            marked_before: None,
            shutdown_grace_secs: 0,
            usual: Usual::default(),
            fresh: true,
            epoch: 1,
            leading_since: start().plus(-3_600),
            next_grant: grant_id(1),
        };
        Self { request, seen, pool: Pool::default(), now: start() }
    }

    /// The same at the quiet beginning of `state`, reached the way a request gets there.
    fn at(state: State) -> Self {
        let mut case = Self::new();
        match state {
            State::Needed => {}
            State::Blocked | State::Ready => {
                let gate = if state == State::Ready { Gate::Order } else { Gate::Window };
                let blockers = vec![blocker(gate)];
                case.request = judged(&case.request, blockers, &case.pool, 1, case.now).unwrap();
            }
            State::Claimed => case.claim(),
            State::Cordoning => {
                case = Self::at(State::Claimed);
                case.seen.lease = Known::Known(LeaseSeen::Ours);
                case.persist();
            }
            State::Draining => {
                case = Self::at(State::Cordoning);
                case.node().cordon = ours();
                case.persist();
            }
            State::Granted => {
                case = Self::at(State::Draining);
                case.settle();
            }
            State::Rebooting => {
                case = Self::at(State::Granted);
                case.answer(Answer::Executing);
                case.persist();
            }
            State::Booted => {
                case = Self::at(State::Rebooting);
                case.pass(90);
                case.boot(2);
                case.node().ready = Ready::NotSince(case.now);
                case.node().agent.report = None;
                case.persist();
            }
            State::Verifying => {
                case = Self::at(State::Booted);
                case.node().ready = Ready::Since(case.now);
                case.node().agent.report = Some(Digest::of(b"report 2"));
                case.persist();
            }
            State::Uncordoning => {
                case = Self::at(State::Verifying);
                case.prove();
                case.settle();
                case.pass(case.pool.soak_secs);
                case.persist();
            }
            State::Done => {
                case = Self::at(State::Uncordoning);
                case.node().cordon = Cordon::Schedulable;
                case.seen.lease = Known::Known(LeaseSeen::Free);
                case.persist();
            }
            State::RollingBack => {
                case = Self::at(State::Draining);
                case.seen.drain = Known::Known(left("default/web-1: budget default/web allows 0"));
                case.settle();
                case.stay(case.pool.drain.timeout_secs);
                case.settle();
            }
            State::Backoff => {
                case = Self::at(State::RollingBack);
                case.node().cordon = Cordon::Schedulable;
                case.seen.lease = Known::Known(LeaseSeen::Free);
                case.persist();
            }
            State::NotReturned => {
                case = Self::at(State::Rebooting);
                case.pass(case.pool.deadlines.reboot_without_history_secs);
                case.persist();
            }
            State::Quarantined => {
                case = Self::at(State::Verifying);
                case.stay(case.pool.deadlines.verify_secs);
                case.settle();
            }
            State::NodeGone => {
                case = Self::at(State::Draining);
                case.seen.node = Known::Known(None);
                case.persist();
            }
            State::Cancelled => {
                case.request.wish.intent = Intent::Cancel;
                case.persist();
            }
        }
        assert_eq!(case.state(), state, "{:#?}", case.request.progress);
        case
    }

    fn node(&mut self) -> &mut Node {
        let Known::Known(Some(node)) = &mut self.seen.node else { panic!("no node") };
        node
    }

    const fn state(&self) -> State {
        self.request.progress.state
    }

    fn claim(&mut self) {
        let Known::Known(Some(node)) = &self.seen.node else { panic!("no node") };
        let placement = Placement { pool: "default".to_owned(), ..Placement::default() };
        let epoch = self.seen.epoch;
        self.request = claim(&self.request, node, placement, &self.pool, epoch, self.now).unwrap();
    }

    /// Time passes, nobody speaks.
    fn pass(&mut self, secs: i64) {
        self.now = self.now.plus(secs);
    }

    /// Time passes, and the node is heard.
    fn stay(&mut self, secs: i64) {
        self.pass(secs);
        self.node().agent.heard_at = Some(self.now);
    }

    /// The node is heard, in this boot.
    fn boot(&mut self, number: u8) {
        let now = self.now;
        let agent = &mut self.node().agent;
        agent.heard_at = Some(now);
        agent.boot = Some(boot(number));
    }

    /// The new boot brought all that it should.
    fn prove(&mut self) {
        let now = self.now;
        self.boot(2);
        self.seen.kubelet = Known::Known(Kubelet::Speaks(Some(boot(2))));
        let node = self.node();
        node.ready = Ready::Since(now);
        node.agent.kernel = Some(NEW_KERNEL.to_owned());
        node.agent.need = Need::NotNeeded;
    }

    fn answer(&mut self, answer: Answer) {
        let id = self.request.progress.grant.as_ref().unwrap().id;
        self.seen.answers.push(GrantAnswer { id, answer, at: self.now });
    }

    fn step(&self) -> Step {
        step(&self.request, &self.seen, &self.pool, self.now)
    }

    /// Takes one step, which must be a record.
    #[track_caller]
    fn persist(&mut self) {
        match self.step() {
            Step::Persist(next) => self.request = *next,
            other @ (Step::Do(_) | Step::Wait) => panic!("{other:?} in {:?}", self.state()),
        }
    }

    /// Persists until there is nothing to persist: the effects of where that ends.
    #[track_caller]
    fn settle(&mut self) -> Vec<Effect> {
        for _ in 0..16 {
            match self.step() {
                Step::Persist(next) => self.request = *next,
                Step::Do(effects) => return effects,
                Step::Wait => return Vec::new(),
            }
        }
        panic!("it never settles: {:#?}", self.request.progress);
    }

    /// Settles and says where.
    #[track_caller]
    fn settled(&mut self) -> State {
        self.settle();
        self.state()
    }

    fn failure(&self) -> Option<FaultKind> {
        self.request.progress.failure.as_ref().map(|failure| failure.kind)
    }

    fn has(&self, alert: Alert) -> bool {
        self.request.progress.alerts.contains(&alert)
    }

    fn gates(&self) -> Vec<Gate> {
        self.request.progress.blockers.iter().map(|it| it.gate).collect()
    }

    fn release(&mut self) {
        let (by, reason) = ("anna".to_owned(), "looked at it".to_owned());
        self.request.wish.release = Some(Release { by, reason, at: self.now });
    }
}

fn blocker(gate: Gate) -> Blocker {
    Blocker { gate, value: format!("{gate} is shut"), since: start(), next_check: None }
}

fn left(pod: &str) -> DrainSeen {
    DrainSeen { left: vec![pod.to_owned()], ..DrainSeen::default() }
}

fn unknown<T>() -> Known<T> {
    Known::Unknown("failed to read it: timeout".to_owned())
}
