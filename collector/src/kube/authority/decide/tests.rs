//! The decision in a world of its own: a Secret and a ConfigMap with versions, two writers that
//! crash and race, agents that follow late, and a clock that only tests move.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START: Moment = Moment::from_unix(1_800_000_000);
const DAY: i64 = 86_400;

/// Longest time after which an agent has what is published.
const LAG_SECS: i64 = 120;

/// What is stored, with a version that changes with each write.
#[derive(Clone, Debug, Default)]
struct Stored<T> {
    version: u64,
    value: T,
}

impl<T> Stored<T> {
    /// A write that holds only if nobody wrote meanwhile.
    fn write(&mut self, version: u64, value: T) -> bool {
        let fits = self.version == version;
        if fits {
            self.version += 1;
            self.value = value;
        }
        fits
    }
}

/// Where a writer is: each arm is a moment at which it may crash or lose a race.
#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Idle,
    ReadPublished(Stored<Published>),
    Decided(Stored<Published>, Box<Stored<Held>>, Action),
}

#[derive(Clone, Debug, Default)]
struct Agent {
    trusts: BTreeSet<AuthorityId>,
    said: BTreeSet<AuthorityId>,
}

struct World {
    now: Moment,
    policy: Policy,
    held: Stored<Held>,
    published: Stored<Published>,
    published_changed_at: Moment,
    made: BTreeMap<AuthorityId, Authority>,
    agents: Vec<Agent>,
    writers: [Stage; 2],
    switches: Vec<Vec<NodeName>>,
}

impl World {
    fn new(agents: usize) -> Self {
        Self {
            now: START,
            policy: Policy::default(),
            held: Stored::default(),
            published: Stored::default(),
            published_changed_at: START,
            made: BTreeMap::new(),
            agents: vec![Agent::default(); agents],
            writers: [Stage::Idle, Stage::Idle],
            switches: Vec::new(),
        }
    }

    /// A world in which everything has found its place.
    fn settled(agents: usize) -> Self {
        let mut world = Self::new(agents);
        world.run_until_waiting();
        world.sync_all();
        world
    }

    fn authority(&mut self) -> Authority {
        let id = Digest::of(&self.made.len().to_be_bytes());
        let not_before = self.now.plus(-BACKDATE_SECS);
        let not_after = self.now.plus(self.policy.authority_life_secs);
        let made = Authority { id, not_before, not_after };
        self.made.insert(id, made.clone());
        made
    }

    fn leaf(&self, issuer: &Authority) -> Leaf {
        let end = self.now.plus(self.policy.leaf_life_secs).min(issuer.not_after);
        let not_before = self.now.plus(-BACKDATE_SECS);
        Leaf { issuer: Some(issuer.id), not_before, not_after: end, names: Names::AsWanted }
    }

    fn behind(&self) -> Vec<NodeName> {
        let ids: BTreeSet<_> = self.published.value.authorities.iter().map(|it| it.id).collect();
        let late = self.agents.iter().enumerate().filter(|(_, agent)| agent.said != ids);
        late.map(|(at, _)| format!("node-{at}").parse().unwrap()).collect()
    }

    /// One step of a writer: it reads the ConfigMap, then the Secret and decides, then writes.
    fn step(&mut self, writer: usize) {
        let stage = std::mem::take(&mut self.writers[writer]);
        self.writers[writer] = match stage {
            Stage::Idle => Stage::ReadPublished(self.published.clone()),
            Stage::ReadPublished(published) => {
                let state = State {
                    held: Ok(self.held.value.clone()),
                    published: published.value.clone(),
                    behind: self.behind(),
                };
                let action = next(&state, &self.policy, self.now);
                Stage::Decided(published, Box::new(self.held.clone()), action)
            }
            Stage::Decided(published, held, action) => {
                self.write(published, *held, action);
                Stage::Idle
            }
        };
    }

    fn write(&mut self, published: Stored<Published>, held: Stored<Held>, action: Action) {
        let mut next = held.value.clone();
        match action {
            Action::Forget(gone) => next.old.retain(|it| !gone.contains(&it.id)),
            Action::IssueLeaf => {
                let issuer = next.signing.clone().expect("an authority that signs");
                next.leaf = Some(self.leaf(&issuer));
            }
            Action::MakeNext { adopt } => {
                next.next = Some(self.authority());
                next.rotation = Rotation::NotAsked;
                if !adopt.is_empty() {
                    next.old_since = Some(self.now);
                }
                next.old.extend(adopt.iter().map(|id| self.made[id].clone()));
            }
            Action::Publish => {
                let bundle = held.value.bundle(self.now);
                let authorities = bundle.iter().map(|id| self.made[id].clone()).collect();
                let value = Published { authorities, at: Some(self.now) };
                if self.published.write(published.version, value) {
                    self.published_changed_at = self.now;
                }
                return;
            }
            Action::Refuse(_) | Action::Wait { .. } => return,
            Action::Switch { stragglers } => {
                let signing = next.next.take().expect("an authority that follows");
                next.leaf = Some(self.leaf(&signing));
                if let Some(old) = next.signing.replace(signing) {
                    next.old.insert(0, old);
                    next.old.truncate(MAX_OLD);
                    next.old_since = Some(self.now);
                }
                if self.held.write(held.version, next) {
                    self.switches.push(stragglers);
                }
                return;
            }
        }
        self.held.write(held.version, next);
    }

    fn sync(&mut self, agent: usize) {
        let ids = self.published.value.authorities.iter().map(|it| it.id).collect();
        self.agents[agent].trusts = ids;
    }

    fn sync_all(&mut self) {
        for agent in 0..self.agents.len() {
            self.sync(agent);
            self.agents[agent].said = self.agents[agent].trusts.clone();
        }
    }

    /// Time goes on, and nobody is later than agents are.
    fn pass(&mut self, secs: i64) {
        self.now = self.now.plus(secs);
        if self.now.since(self.published_changed_at) >= LAG_SECS {
            for agent in 0..self.agents.len() {
                self.sync(agent);
            }
        }
    }

    fn asked(&mut self) {
        let held = Held { rotation: Rotation::Asked, ..self.held.value.clone() };
        assert!(self.held.write(self.held.version, held));
    }

    /// Lets one writer act until it has nothing to do; gives what it waits for.
    fn run_until_waiting(&mut self) -> WaitingOn {
        for _ in 0..100 {
            self.writers[0] = Stage::Idle;
            self.step(0);
            self.step(0);
            if let Stage::Decided(_, _, Action::Wait { on, until }) = &self.writers[0] {
                assert!(*until > self.now, "a wait for the past would spin");
                return on.clone();
            }
            self.step(0);
            self.check();
        }
        panic!("it never comes to rest: {:?} {:?}", self.held, self.published);
    }

    /// What must hold at every moment, for everybody who follows in time.
    fn check(&self) {
        let Some(leaf) = &self.held.value.leaf else { return };
        let issuer = leaf.issuer.unwrap();
        let published = self.published.value.authorities.iter().any(|it| it.id == issuer);
        assert!(published, "in use and not published: {:?} {:?}", self.held, self.published);
        for agent in self.agents.iter().filter(|agent| !agent.trusts.is_empty()) {
            assert!(agent.trusts.contains(&issuer), "an agent is cut off: {:?}", self.held);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Two writers in any order, crashes between any two steps, people who ask for a rotation,
    /// agents that follow within their lag, and time that passes in small and large steps.
    #[test]
    fn nothing_unpublished_is_used_and_nobody_who_follows_is_cut_off(
        steps in prop::collection::vec((0_u8..20, 0_usize..3), 0..300),
    ) {
        let mut world = World::settled(3);
        for (what, who) in steps {
            match what {
                0..=9 => world.step(usize::from(what % 2)),
                10 => world.writers[who % 2] = Stage::Idle,
                11 => world.asked(),
                12 => world.sync(who),
                13 | 14 => world.agents[who].said = world.agents[who].trusts.clone(),
                15 => world.pass(1),
                16 => world.pass(60),
                17 => world.pass(3_600),
                18 => world.pass(DAY),
                _ => world.pass(30 * DAY),
            }
            world.check();
        }
        // Whatever was left behind, one writer alone brings it to rest.
        for _ in 0..40 {
            world.run_until_waiting();
            world.pass(DAY);
            world.sync_all();
        }
        prop_assert_eq!(world.run_until_waiting(), WaitingOn::Renewal);
        prop_assert_eq!(world.published.value.authorities.len(), 1);
        let leaf = world.held.value.leaf.as_ref().unwrap();
        prop_assert!(leaf.not_after > world.now);
    }
}

#[test]
fn a_new_authority_is_published_before_it_signs_the_first_certificate() {
    let mut world = World::new(0);
    let mut actions = Vec::new();
    loop {
        world.step(0);
        world.step(0);
        let Stage::Decided(_, _, action) = &world.writers[0] else { panic!("not decided") };
        if matches!(action, Action::Wait { .. }) {
            break;
        }
        actions.push(action.clone());
        world.step(0);
    }
    let nothing = BTreeSet::new();
    let first = Action::MakeNext { adopt: nothing };
    assert_eq!(actions, [first, Action::Publish, Action::Switch { stragglers: vec![] }]);
}

#[test]
fn a_serving_certificate_is_renewed_at_two_thirds_for_twenty_years() {
    let mut world = World::settled(2);
    let (mut leaves, mut authorities) = (0, 0);
    for _ in 0..20 * 365 {
        let before = world.held.value.clone();
        world.pass(DAY);
        world.sync_all();
        world.run_until_waiting();
        let leaf = world.held.value.leaf.clone().unwrap();
        assert!(leaf.not_after.since(world.now) >= 29 * DAY, "at least a third is left");
        leaves += usize::from(before.leaf != world.held.value.leaf);
        authorities += usize::from(before.signing != world.held.value.signing);
    }
    assert_eq!(authorities, 2, "ten years, renewed after six years and eight months");
    assert!((119..=125).contains(&leaves), "every 60 days: {leaves}");
}

#[test]
fn a_rotation_waits_for_the_last_agent_and_names_those_it_gives_up() {
    let mut world = World::settled(3);
    world.asked();
    assert_eq!(world.run_until_waiting(), WaitingOn::Settling);
    // Two follow and say so, the third one never does.
    for agent in 0..2 {
        world.sync(agent);
        world.agents[agent].said = world.agents[agent].trusts.clone();
    }
    world.now = world.now.plus(world.policy.settle_secs);
    let late: Vec<NodeName> = vec!["node-2".parse().unwrap()];
    assert_eq!(world.run_until_waiting(), WaitingOn::Agents(late.clone()));
    let first = world.held.value.signing.clone();
    world.now = world.now.plus(world.policy.patience_secs - world.policy.settle_secs - 1);
    assert_eq!(world.run_until_waiting(), WaitingOn::Agents(late.clone()));
    assert_eq!(world.held.value.signing, first);
    world.now = world.now.plus(1);
    // The one that did not follow is cut off now, which `check` would complain about.
    world.agents.truncate(2);
    world.agents.push(Agent::default());
    assert_eq!(world.run_until_waiting(), WaitingOn::OldKept);
    assert_ne!(world.held.value.signing, first);
    assert_eq!(world.switches.last(), Some(&late));
    assert_eq!(world.published.value.authorities.len(), 2);
    world.pass(world.policy.keep_old_secs);
    world.sync_all();
    assert_eq!(world.run_until_waiting(), WaitingOn::Renewal);
    assert_eq!(world.published.value.authorities.len(), 1);
}

#[test]
fn a_leaf_is_renewed_while_a_rotation_waits() {
    let mut world = World::settled(1);
    world.policy.patience_secs = 400 * DAY;
    world.asked();
    world.run_until_waiting();
    let first = world.held.value.leaf.clone().unwrap();
    world.now = renewal_at(first.not_before, first.not_after);
    world.run_until_waiting();
    let second = world.held.value.leaf.clone().unwrap();
    assert_eq!(second.issuer, first.issuer);
    assert!(second.not_after > first.not_after);
}

#[test]
fn a_lost_secret_brings_a_new_authority_and_keeps_the_old_one_trusted() {
    let mut world = World::settled(2);
    let lost = world.held.value.signing.clone().unwrap().id;
    assert!(world.held.write(world.held.version, Held::default()));
    assert_eq!(world.run_until_waiting_after_a_loss(), WaitingOn::OldKept);
    let trusted: Vec<_> = world.published.value.authorities.iter().map(|it| it.id).collect();
    assert_eq!(trusted.len(), 2);
    assert!(trusted.contains(&lost));
    assert_ne!(world.held.value.leaf.as_ref().unwrap().issuer, Some(lost));
}

#[test]
fn somebody_elses_bundle_is_replaced_and_lost_names_are_reissued() {
    let mut world = World::settled(1);
    let bundle = world.published.value.clone();
    assert!(world.published.write(world.published.version, Published::default()));
    world.agents[0].trusts.clear();
    world.writers[0] = Stage::Idle;
    (0..3).for_each(|_| world.step(0));
    assert_eq!(world.published.value.authorities, bundle.authorities);
    let mut held = world.held.value.clone();
    held.leaf.as_mut().unwrap().names = Names::Other;
    assert!(world.held.write(world.held.version, held));
    world.run_until_waiting();
    assert_eq!(world.held.value.leaf.as_ref().unwrap().names, Names::AsWanted);
}

#[test]
fn what_is_corrupt_is_never_overwritten() {
    let unusable = Unusable::Corrupt { key: "ca.key", what: "no private key" };
    let state =
        State { held: Err(unusable.clone()), published: Published::default(), behind: Vec::new() };
    let action = next(&state, &Policy::default(), START);
    assert!(unusable.to_string().contains("ca.key is no private key"), "{unusable}");
    assert_eq!(action, Action::Refuse(unusable));
}

#[test]
fn a_clock_that_was_ahead_does_not_stop_a_rotation_for_ever() {
    let mut world = World::settled(1);
    world.asked();
    world.now = world.now.plus(3650 * DAY / 2);
    world.run_until_waiting();
    // Back to the truth: what was stamped in the future is stamped again.
    world.now = START.plus(DAY);
    world.run_until_waiting();
    assert_eq!(world.published.value.at, Some(world.now));
    world.pass(world.policy.settle_secs);
    world.sync_all();
    world.run_until_waiting();
    let signing = world.held.value.signing.clone().unwrap();
    assert!(world.held.value.leaf.as_ref().unwrap().not_before <= world.now);
    assert!(world.published.value.authorities.contains(&signing));
}

impl World {
    /// After a loss there is nothing left to serve with, so agents lose the collector until they
    /// have followed; what is published must hold all the same.
    fn run_until_waiting_after_a_loss(&mut self) -> WaitingOn {
        let agents = std::mem::take(&mut self.agents);
        let on = self.run_until_waiting();
        self.agents = agents;
        on
    }
}
