//! The laws, under whatever may happen to one node.

use proptest::prelude::*;

use super::world::World;
use super::*;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// Time passes, with a heartbeat every twenty seconds while the node can be heard.
    Time(u16),
    /// The collector looks and acts.
    Turn(Outcome),
    /// The node takes the oldest copy of a grant, and what it says of it arrives or not.
    Take { arrives: bool },
    /// It refuses it.
    Refuse,
    /// It tries, and its call fails.
    Fail,
    /// The reasons go away without a boot.
    Mend,
    /// A pod lands, whatever the cordon says.
    Pod,
    /// The node boots by itself.
    Boot,
    /// The node can be heard, or not.
    Link(bool),
    /// The node stays down after its next shutdown, or comes back.
    Broken(bool),
    /// The next boot brings what it should, or not.
    Cures(bool),
    /// A person cordons.
    Cordon,
    /// A person uncordons.
    Uncordon,
    /// The marker is taken away by hand.
    Unmark,
    /// Another tool takes the Lease, if it is free.
    OtherHolder,
    /// And gives it back.
    NoHolder,
    /// This gate is shut.
    Shut(Gate),
    /// All are open.
    Open,
    /// This cannot be read.
    Unread(u8),
    /// Everything can.
    Read,
    /// What comes from the API is too old, or not.
    Fresh(bool),
    /// Another process leads.
    Leader,
    /// The process that led before looks and acts once more.
    Stale,
    /// The node is deleted.
    Delete,
    /// A person calls the request off.
    Cancel,
    /// A person releases it.
    Release,
    /// The planner claims a waiting request.
    Claim,
    /// A count finds too many, or not.
    Above(bool),
}

/// What becomes of a turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// Everything, and every effect twice.
    Twice,
    /// Everything.
    Whole,
    /// Only the first record or the first effect, then the process dies.
    First,
    /// The process dies before anything.
    Nothing,
    /// It is written, and its answer lost.
    Unanswered,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Whole),
        1 => Just(Outcome::Twice),
        1 => Just(Outcome::First),
        1 => Just(Outcome::Nothing),
        1 => Just(Outcome::Unanswered),
    ]
}

/// What happens when nothing goes wrong, and now and then something else.
fn happening() -> impl Strategy<Value = Happening> {
    let gate = prop_oneof![
        Just(Gate::Hold),
        Just(Gate::Window),
        Just(Gate::Alert),
        Just(Gate::Fit),
        Just(Gate::Etcd),
    ];
    let usual = prop_oneof![
        3 => (1_u16..200).prop_map(Happening::Time),
        6 => outcome().prop_map(Happening::Turn),
        2 => prop::bool::weighted(0.7).prop_map(|arrives| Happening::Take { arrives }),
        1 => Just(Happening::Claim),
    ];
    let mended = prop_oneof![
        Just(Happening::Read),
        Just(Happening::Open),
        Just(Happening::Fresh(true)),
        Just(Happening::Link(true)),
        Just(Happening::NoHolder),
        Just(Happening::Above(false)),
    ];
    let unusual = prop_oneof![
        6 => (1_u16..4_000).prop_map(Happening::Time),
        4 => Just(Happening::Refuse),
        2 => Just(Happening::Fail),
        1 => Just(Happening::Boot),
        1 => Just(Happening::Mend),
        3 => Just(Happening::Pod),
        4 => Just(Happening::Link(false)),
        3 => any::<bool>().prop_map(Happening::Broken),
        3 => any::<bool>().prop_map(Happening::Cures),
        4 => Just(Happening::Cordon),
        4 => Just(Happening::Uncordon),
        2 => Just(Happening::Unmark),
        1 => Just(Happening::OtherHolder),
        4 => gate.prop_map(Happening::Shut),
        8 => any::<u8>().prop_map(Happening::Unread),
        1 => Just(Happening::Fresh(false)),
        4 => Just(Happening::Leader),
        4 => Just(Happening::Stale),
        1 => Just(Happening::Cancel),
        1 => Just(Happening::Release),
        1 => Just(Happening::Above(true)),
    ];
    prop_oneof![30 => usual, 5 => mended, 4 => unusual]
}

proptest! {
    /// Laws 3 to 14, 16 and 18 at each step, and afterwards law 17: once nothing goes wrong any more,
    /// the request ends, waits for a person or for the planner, and the node is as people want it.
    #[test]
    fn no_law_is_broken_whatever_happens(
        include in any::<bool>(),
        cordoned in prop::bool::weighted(0.2),
        tells in prop::bool::weighted(0.7),
        ahead in 0..14,
        happenings in prop::collection::vec(happening(), 1..120),
        gone in prop::bool::weighted(0.05),
    ) {
        let mut world = World::new(include, cordoned, tells);
        world.happen(Happening::Claim);
        for _ in 0..ahead {
            world.happen(Happening::Turn(Outcome::Whole));
            world.happen(Happening::Time(20));
        }
        for happening in happenings {
            world.happen(happening);
        }
        if gone {
            world.happen(Happening::Delete);
        }
        world.calm();
        let state = world.state();
        let is_for_a_person = matches!(state, State::Quarantined | State::NotReturned);
        let is_for_the_planner = matches!(state, State::Needed | State::Blocked | State::Ready);
        prop_assert!(state.is_terminal() || is_for_a_person || is_for_the_planner, "law 17: {state:?}");
        if gone {
            prop_assert!(state.is_terminal(), "law 17: {state:?}");
        } else if !is_for_a_person {
            world.is_restored();
        }
    }
}

/// Nothing happens but what should: one reboot, from the wish to the end.
#[test]
fn a_quiet_node_reboots_once_and_is_done() {
    let mut world = World::new(false, false, true);
    world.happen(Happening::Claim);
    world.calm();
    assert_eq!(world.state(), State::Done);
    world.is_restored();
}

/// A world whose node has a copy of its grant.
fn handed_out() -> World {
    let mut world = World::new(false, false, true);
    world.happen(Happening::Claim);
    while world.state() != State::Granted {
        world.happen(Happening::Time(20));
        world.happen(Happening::Turn(Outcome::Whole));
    }
    world.happen(Happening::Time(20));
    world
}

fn go_on(world: &mut World, times: u32) {
    for _ in 0..times {
        world.happen(Happening::Time(20));
        world.happen(Happening::Turn(Outcome::Whole));
    }
}

/// The word that it acts is lost, and the node does not come back: the collector does not know that the
/// grant was used, and undoes nothing.
#[test]
fn a_lost_word_and_a_node_that_stays_away_undo_nothing() {
    let mut world = handed_out();
    world.happen(Happening::Broken(true));
    world.happen(Happening::Take { arrives: false });
    go_on(&mut world, 200);
    assert_eq!(world.state(), State::NotReturned);
    // It comes back late, and is verified like any other.
    world.calm();
    assert_eq!(world.state(), State::Done);
    world.is_restored();
}

#[test]
fn reasons_that_cannot_be_told_after_the_boot_end_nothing() {
    let mut world = handed_out();
    world.happen(Happening::Cures(false));
    world.happen(Happening::Take { arrives: true });
    world.happen(Happening::Unread(5));
    go_on(&mut world, 200);
    assert_eq!(world.state(), State::Quarantined);
}

#[test]
fn a_leader_that_dies_at_every_step_loses_nothing() {
    for outcome in [Outcome::First, Outcome::Unanswered, Outcome::Twice] {
        let mut world = World::new(false, false, true);
        world.happen(Happening::Claim);
        for _ in 0..200 {
            world.happen(Happening::Time(20));
            world.happen(Happening::Turn(outcome));
            world.happen(Happening::Take { arrives: true });
            world.happen(Happening::Leader);
            world.happen(Happening::Turn(Outcome::Nothing));
        }
        world.calm();
        // Who dies each time before it offers gives a grant that nobody sees, and undoes it.
        let state = world.state();
        assert!(matches!(state, State::Done | State::Needed), "{outcome:?}: {state:?}");
        world.is_restored();
    }
}
