//! One node that really has a boot, pods, a cordon and people around it, and a collector that sees it
//! late, dies, is replaced and is not answered. What happens is the truth; what is seen may be missing
//! but is never false. Each law is checked where it could be broken.

use super::law::Happening;
use super::law::Outcome;
use super::*;
use crate::policy::ForeignCordon;
use crate::request::Proof;
use crate::request::Schedulability;

/// Seconds that a shutdown takes at most, which the cluster knows.
const GRACE_SECS: i64 = 40;

/// A copy of a grant, in a reply on its way.
#[derive(Clone, Debug)]
struct Copy {
    grant: GrantRecord,
    dies_at: Moment,
}

pub(super) struct World {
    case: Case,
    /// The boot that runs, as a number.
    boot: u8,
    /// When the node goes down, and by its grant.
    going: Option<Moment>,
    down_until: Option<Moment>,
    is_linked: bool,
    is_broken: bool,
    cures: bool,
    need: Need,
    pods: u8,
    unschedulable: bool,
    marker: Option<(String, Schedulability)>,
    by_other: bool,
    /// Whether `managedFields` tell.
    tells: bool,
    /// Whether a person did what nobody can tell: then either end is right.
    is_hidden: bool,
    /// What people want: whether the node is cordoned when nobody reboots it.
    wanted: bool,
    lease: LeaseSeen,
    copies: Vec<Copy>,
    used: BTreeSet<GrantId>,
    offer: Option<(GrantRecord, Moment)>,
    answers: Vec<GrantAnswer>,
    unread: u8,
    fresh: bool,
    above: bool,
    grants: u8,
    exists: bool,
    /// Of the process that led before.
    old_epoch: u64,
    boots_by_grant: u8,
    /// Whether the node uses, or used, a grant of this claim.
    is_used: bool,
}

impl World {
    pub(super) fn new(include: bool, cordoned: bool, tells: bool) -> Self {
        let mut case = Case::new();
        case.seen.shutdown_grace_secs = 40;
        if include {
            case.pool.foreign_cordon = ForeignCordon::Include;
        }
        Self {
            case,
            boot: 1,
            going: None,
            down_until: None,
            is_linked: true,
            is_broken: false,
            cures: true,
            need: needed(),
            pods: 3,
            unschedulable: cordoned,
            marker: None,
            by_other: cordoned,
            tells,
            is_hidden: false,
            wanted: cordoned,
            lease: LeaseSeen::Free,
            copies: Vec::new(),
            used: BTreeSet::new(),
            offer: None,
            answers: Vec::new(),
            unread: 0,
            fresh: true,
            above: false,
            grants: 1,
            exists: true,
            old_epoch: 0,
            boots_by_grant: 0,
            is_used: false,
        }
    }

    pub(super) const fn state(&self) -> State {
        self.case.state()
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Time(secs) => self.time(i64::from(secs)),
            Happening::Turn(outcome) => self.turn(outcome),
            Happening::Take { arrives } => self.take(arrives),
            Happening::Refuse => self.say(|_| Some(Answer::Refused("hold file".to_owned()))),
            Happening::Fail => self.say(|world| {
                let copy = world.copies.first()?;
                let is_new = world.used.insert(copy.grant.id);
                is_new.then(|| Answer::Failed("inhibited".to_owned()))
            }),
            Happening::Mend => self.need = Need::NotNeeded,
            Happening::Pod => self.pods = self.pods.saturating_add(1),
            Happening::Boot => self.boots(),
            Happening::Link(is) => self.is_linked = is,
            Happening::Broken(is) => self.is_broken = is,
            Happening::Cures(does) => self.cures = does,
            Happening::Cordon => {
                // What nobody can tell nobody can keep: where our marker is, it is ours.
                let is_hidden = !self.tells && self.marker.is_some();
                self.by_other = true;
                self.unschedulable = true;
                self.wanted |= !is_hidden;
                self.is_hidden |= is_hidden;
            }
            Happening::Uncordon => {
                self.by_other = true;
                (self.unschedulable, self.wanted) = (false, false);
                // Something lands at once.
                self.pods = self.pods.saturating_add(1);
            }
            Happening::Unmark => {
                // Whoever takes our marker from a cordoned node has made the cordon theirs.
                if self.marker.take().is_some() && self.unschedulable {
                    (self.by_other, self.wanted) = (true, true);
                }
            }
            Happening::OtherHolder => {
                if self.lease == LeaseSeen::Free {
                    self.lease = LeaseSeen::Other { holder: "nhc".to_owned() };
                }
            }
            Happening::NoHolder => {
                if matches!(self.lease, LeaseSeen::Other { .. }) {
                    self.lease = LeaseSeen::Free;
                }
            }
            Happening::Shut(gate) => self.case.seen.gates.push(blocker(gate)),
            Happening::Open => self.case.seen.gates.clear(),
            Happening::Unread(what) => self.unread |= 1 << (what % 6),
            Happening::Read => self.unread = 0,
            Happening::Fresh(is) => self.fresh = is,
            Happening::Leader => {
                self.old_epoch = self.case.seen.epoch;
                self.case.seen.epoch += 1;
                self.dies();
            }
            Happening::Stale => self.stale(),
            Happening::Delete => self.exists = false,
            Happening::Cancel => self.case.request.wish.intent = Intent::Cancel,
            Happening::Release => self.case.release(),
            Happening::Claim => self.claim(),
            Happening::Above(is) => self.above = is,
        }
    }

    fn time(&mut self, secs: i64) {
        let end = self.case.now.plus(secs);
        while self.case.now < end {
            self.case.now = self.case.now.plus(20.min(end.since(self.case.now)));
            if self.going.is_some_and(|at| self.case.now >= at) {
                self.boots_by_grant += 1;
                assert_eq!(self.boots_by_grant, 1, "law 5: a second reboot for the same claim");
                self.boots();
            }
            if self.down_until.is_some_and(|at| self.case.now >= at) && !self.is_broken {
                self.down_until = None;
            }
            self.beat();
        }
    }

    /// A heartbeat, and the copy of a grant that its reply takes along.
    fn beat(&mut self) {
        if !self.is_linked || self.down_until.is_some() {
            return;
        }
        let (now, number, need) = (self.case.now, self.boot, self.need.clone());
        let node = self.case.node();
        node.agent.heard_at = Some(now);
        node.agent.boot = Some(boot(number));
        node.agent.need = need;
        node.agent.kernel = Some(if number > 1 { NEW_KERNEL } else { OLD_KERNEL }.to_owned());
        if let Some((grant, until)) = &self.offer
            && now < *until
            && grant.boot == boot(number)
        {
            self.copies.push(Copy { grant: grant.clone(), dies_at: now.plus(60) });
        }
    }

    fn boots(&mut self) {
        self.going = None;
        self.boot += 1;
        self.down_until = Some(self.case.now.plus(50));
        if self.cures {
            self.need = Need::NotNeeded;
        }
    }

    /// The node takes a copy, if it is a grant for it that still lives.
    fn take(&mut self, arrives: bool) {
        let Some(copy) = (!self.copies.is_empty()).then(|| self.copies.remove(0)) else { return };
        let lives = self.case.now < copy.dies_at && copy.grant.boot == boot(self.boot);
        if !lives || self.down_until.is_some() || !self.used.insert(copy.grant.id) {
            return;
        }
        let state = self.state();
        assert!(
            matches!(state, State::Granted | State::Rebooting | State::NodeGone),
            "law 3: a grant can be used in {state:?}"
        );
        let given = self.case.request.progress.grant.as_ref().map(|it| it.id);
        assert_eq!(given, Some(copy.grant.id), "law 5: an older grant is used beside a newer one");
        self.is_used = true;
        self.going = Some(self.case.now.plus(GRACE_SECS));
        if arrives {
            let (id, at) = (copy.grant.id, self.case.now);
            self.answers.push(GrantAnswer { id, answer: Answer::Executing, at });
        }
    }

    fn say(&mut self, answer: impl FnOnce(&mut Self) -> Option<Answer>) {
        let Some(copy) = self.copies.first() else { return };
        let (id, at) = (copy.grant.id, self.case.now);
        let lives = at < copy.dies_at && copy.grant.boot == boot(self.boot);
        if !lives || self.down_until.is_some() {
            return;
        }
        if let Some(answer) = answer(self) {
            self.copies.remove(0);
            self.answers.push(GrantAnswer { id, answer, at });
        }
    }

    /// What the process knew and did not write is gone.
    fn dies(&mut self) {
        self.offer = None;
        self.answers.clear();
        self.case.seen.leading_since = self.case.now;
    }

    fn claim(&mut self) {
        let node = node();
        let mut node = Node { cordon: self.cordon(), ..node };
        node.agent.boot = Some(boot(self.boot));
        node.agent.need = self.need.clone();
        let placement = Placement { pool: "default".to_owned(), ..Placement::default() };
        let Case { request, seen, pool, now } = &self.case;
        if self.fresh
            && self.exists
            && let Ok(next) = claim(request, &node, placement, pool, seen.epoch, *now)
        {
            self.boots_by_grant = 0;
            self.is_used = false;
            self.write(next);
        }
    }

    fn cordon(&self) -> Cordon {
        match &self.marker {
            _ if !self.unschedulable => Cordon::Schedulable,
            Some((request, _)) => Cordon::Ours { request: request.clone() },
            None => foreign(),
        }
    }

    /// The look that a turn begins with.
    fn look(&mut self) {
        let unread = |bit: u8| self.unread & (1 << bit) != 0;
        let is_up = self.down_until.is_none();
        let (cordon, number) = (self.cordon(), self.boot);
        let of_this_boot = self.case.node().agent.boot == Some(boot(number));
        let node = self.case.node();
        node.cordon = cordon;
        node.ready = if is_up && of_this_boot { Ready::Since(start()) } else { Ready::Unknown };
        let drain = match self.pods {
            0 => DrainSeen::default(),
            _ => left("default/web-1: running"),
        };
        let count =
            if self.above { Count::Above(blocker(Gate::PoolBudget)) } else { Count::Within };
        let seen = &mut self.case.seen;
        seen.drain = if unread(0) { unknown() } else { Known::Known(drain) };
        seen.lease = if unread(1) { unknown() } else { Known::Known(self.lease.clone()) };
        seen.count = if unread(2) { unknown() } else { Known::Known(count) };
        let kubelet = Kubelet::Speaks(is_up.then(|| boot(number)));
        seen.kubelet = if unread(3) { unknown() } else { Known::Known(kubelet) };
        seen.answers.clone_from(&self.answers);
        seen.marker = self.marker.as_ref().map(|(marker, _)| marker.clone());
        seen.marked_before = self.marker.as_ref().map(|(_, before)| *before);
        seen.unschedulable_by = (self.by_other && self.tells).then(|| "kubectl".to_owned());
        seen.fresh = self.fresh;
        seen.next_grant = grant_id(self.grants);
    }

    /// What a step sees: the node may be unread or gone, which the truth below never is.
    fn seen(&self) -> Seen {
        let mut seen = self.case.seen.clone();
        if !self.exists {
            seen.node = Known::Known(None);
        } else if self.unread & (1 << 4) != 0 {
            seen.node = unknown();
        } else if self.unread & (1 << 5) != 0
            && let Known::Known(Some(node)) = &mut seen.node
        {
            node.agent.need = Need::Unknown { why: "timeout".to_owned() };
        }
        seen
    }

    pub(super) fn turn(&mut self, outcome: Outcome) {
        for _ in 0..32 {
            self.look();
            let seen = self.seen();
            let Case { request, pool, now, .. } = &self.case;
            let next = step(request, &seen, pool, *now);
            assert_eq!(next, step(request, &seen, pool, *now), "law 13: the same look");
            if matches!(outcome, Outcome::Nothing) {
                return self.dies();
            }
            match next {
                Step::Wait => return self.settled(&seen),
                Step::Do(effects) => {
                    self.settled(&seen);
                    let times = if matches!(outcome, Outcome::Twice) { 2 } else { 1 };
                    let many = if matches!(outcome, Outcome::First) { 1 } else { effects.len() };
                    for _ in 0..times {
                        effects.iter().take(many).for_each(|effect| self.carry_out(effect));
                    }
                    return if matches!(outcome, Outcome::First) {
                        self.dies()
                    };
                }
                Step::Persist(next) => {
                    self.moved(&next, &seen);
                    self.write(*next);
                    if matches!(outcome, Outcome::First | Outcome::Unanswered) {
                        return self.dies();
                    }
                }
            }
        }
        panic!("it never settles: {:#?}", self.case.request.progress);
    }

    fn write(&mut self, next: Request) {
        assert!(next.progress.epoch >= self.case.request.progress.epoch, "law 18");
        if next.progress.grant.as_ref().map(|it| it.id) == Some(grant_id(self.grants)) {
            self.grants += 1;
        }
        self.case.request = next;
    }

    /// The process that led before steps with what it sees; what it writes is refused if anybody wrote
    /// since, and what it wants done is nothing but to take back.
    fn stale(&mut self) {
        self.look();
        let mut seen = self.seen();
        if self.case.request.progress.epoch <= self.old_epoch {
            return;
        }
        seen.epoch = self.old_epoch;
        match step(&self.case.request, &seen, &self.case.pool, self.case.now) {
            Step::Wait => {}
            Step::Do(effects) => {
                let only_forgets = effects.iter().all(|it| matches!(it, Effect::Forget(_)));
                assert!(only_forgets, "law 18: {effects:?}");
            }
            Step::Persist(next) => panic!("law 18: {:?}", next.progress.state),
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        let written = self.case.request.progress.epoch;
        let is_ours = written == self.case.seen.epoch || !self.state().holds_slot();
        assert!(is_ours || matches!(effect, Effect::Forget(_)), "law 18: not written by us");
        match effect {
            Effect::TakeLease => {
                if self.lease == LeaseSeen::Free {
                    self.lease = LeaseSeen::Ours;
                }
            }
            Effect::ReleaseLease => {
                let is_marked = self.marker.is_some() && self.unschedulable && self.exists;
                assert!(!is_marked, "law 12: the Lease before the cordon");
                if self.lease == LeaseSeen::Ours {
                    self.lease = LeaseSeen::Free;
                }
            }
            Effect::Cordon { before } => {
                assert_eq!(self.case.request.progress.before, Some(*before), "law 13");
                if !self.unschedulable {
                    (self.unschedulable, self.by_other) = (true, false);
                }
                self.marker = Some((self.case.request.id.clone(), *before));
            }
            Effect::Uncordon { marker, restore } => {
                if self.marker.as_ref().is_none_or(|(is, _)| is != marker) {
                    return;
                }
                let is_free = self
                    .copies
                    .iter()
                    .all(|it| self.case.now >= it.dies_at || self.used.contains(&it.grant.id));
                let has_booted = self.case.request.progress.boot.is_some();
                let is_human = self.case.request.wish.release.is_some();
                let is_safe = is_free && !self.is_used;
                assert!(is_safe || has_booted || is_human, "law 3: undone under a live grant");
                self.marker = None;
                let schedulable = *restore == Schedulability::Schedulable;
                assert!(!(schedulable && self.wanted), "law 9: a person wants it cordoned");
                self.unschedulable = !schedulable;
            }
            Effect::LeaveLoadBalancers => {}
            Effect::Drain => {
                assert!(self.unschedulable && self.marker.is_some(), "law 20");
                self.pods = self.pods.saturating_sub(1);
            }
            Effect::Offer { grant, until } => {
                assert_eq!(self.state(), State::Granted);
                assert_eq!(self.case.request.progress.grant.as_ref(), Some(grant), "law 13");
                let Known::Known(Some(node)) = &self.case.seen.node else { panic!("no node") };
                assert_eq!(Some(&grant.boot), node.agent.boot.as_ref(), "law 6");
                assert!(self.unschedulable && self.marker.is_some(), "law 3: not our cordon");
                assert_eq!(self.pods, 0, "law 3: not drained");
                assert!(self.case.seen.gates.is_empty(), "law 4");
                assert_eq!(self.lease, LeaseSeen::Ours);
                assert_eq!(self.unread & 0b11_0011, 0, "law 14: {:b}", self.unread);
                assert!(until.plus(60) < grant.void_after);
                self.offer = Some((grant.clone(), *until));
            }
            Effect::Forget(id) => {
                self.offer = self.offer.take().filter(|(grant, _)| grant.id != *id);
            }
            Effect::Delete => {
                assert!(self.state().is_terminal());
                assert!(!self.exists || self.marker.is_none() || !self.unschedulable, "law 10");
            }
        }
    }

    /// A record follows another: what may never follow.
    fn moved(&self, next: &Request, seen: &Seen) {
        let (from, to) = (self.state(), next.progress.state);
        let progress = &next.progress;
        if !to.is_terminal() {
            assert!(progress.deadline.is_some(), "law 16: {to:?}");
        }
        if from.holds_slot() && !to.holds_slot() && to != State::NodeGone {
            assert!(matches!(from, State::Uncordoning | State::RollingBack), "law 11: {from:?}");
            let is_ours = self.marker.is_some() && self.unschedulable;
            assert!(!is_ours, "law 12: {from:?} to {to:?} with our cordon");
            // One that cannot be read is given back afterwards.
            let is_kept = self.lease == LeaseSeen::Ours && seen.lease.known().is_some();
            assert!(!is_kept, "law 12: {from:?} to {to:?} with the Lease");
        }
        if to == State::Booted && from != to {
            let boot = progress.boot.as_ref().map(|it| &it.boot);
            assert!(boot.is_some() && boot != progress.grant.as_ref().map(|it| &it.boot), "law 7");
        }
        if to == State::Granted && from == State::Draining {
            let Known::Known(Some(node)) = &seen.node else { panic!("no node") };
            let bound = progress.grant.as_ref().map(|it| &it.boot);
            assert_eq!(bound, node.agent.boot.as_ref(), "law 6");
            assert_eq!(seen.gates, [], "law 4");
        }
        let (old, new) = (&self.case.request.progress.grant, &progress.grant);
        if to == State::Granted && old.as_ref().map(|it| it.id) != new.as_ref().map(|it| it.id) {
            assert!(!self.is_used, "law 5: another grant after one that is used");
        }
        if to == State::Uncordoning {
            assert_eq!(self.need, Need::NotNeeded, "law 8");
        }
        if to == State::Done {
            let proofs: Vec<_> = progress.proofs.keys().copied().collect();
            assert_eq!(proofs, Proof::ALL, "law 8");
        }
        if to == State::Cordoning && from == State::Claimed {
            assert_eq!(seen.count, Known::Known(Count::Within), "law 14");
        }
        if matches!(to, State::Quarantined | State::NotReturned) {
            assert!(!progress.alerts.is_empty(), "law 10: {to:?} without an alert");
        }
        if from != to {
            let is_node_unread = seen.node.known().is_none();
            assert!(!is_node_unread, "law 14: {from:?} to {to:?} without a look at the node");
        }
    }

    /// A turn that ends here has told what is late.
    fn settled(&self, seen: &Seen) {
        let progress = &self.case.request.progress;
        let leads = seen.fresh && progress.epoch <= seen.epoch;
        let is_late = progress.deadline.is_some_and(|at| self.case.now >= at);
        let is_soaking = progress.state == State::Verifying && progress.sound_since.is_some();
        if leads && is_late && !is_soaking && !progress.state.is_terminal() {
            let is_told = alert_of(progress.state).is_some_and(|it| progress.alerts.contains(&it));
            assert!(is_told || progress.state == State::Backoff, "law 16: {:?}", progress.state);
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) {
        self.unread = 0;
        (self.fresh, self.is_linked, self.is_broken, self.cures) = (true, true, false, true);
        self.above = false;
        self.case.seen.gates.clear();
        self.happen(Happening::NoHolder);
        for _ in 0..400 {
            self.time(20);
            self.take(true);
            self.turn(Outcome::Whole);
        }
    }

    /// Law 9 and 10 at the end: the node is as people want it, and bears nothing of ours.
    pub(super) fn is_restored(&self) {
        if !self.is_hidden {
            assert_eq!(self.unschedulable, self.wanted, "law 9, in {:?}", self.state());
        }
        assert_eq!(self.marker, None, "law 10, in {:?}", self.state());
        assert_eq!(self.lease, LeaseSeen::Free);
    }
}
