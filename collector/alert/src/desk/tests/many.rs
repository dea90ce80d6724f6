//! Many alerts in one group, and what they cost.

use proptest::prelude::*;

use super::*;

#[test]
fn a_hundred_thousand_are_one_bounded_message() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..20_000, Severity::Warning);
    world.at(0);
    let notices = world.send(30);
    assert_eq!(told(&notices), [(Reason::First, 20_000, 0)]);
    assert_eq!((notices[0].alerts.len(), notices[0].left_out()), (200, 19_800));
    assert!(notices[0].alerts.is_sorted_by_key(|it| (it.starts_at, it.id)));
    world.end(0..20_000);
    world.at(1000);
    assert_eq!(told(&world.send(1030)), [(Reason::AllResolved, 0, 20_000)]);
}

#[test]
fn ends_that_alertmanager_never_heard_the_beginnings_of_are_few() {
    let mut world = World1::new(Style::Alertmanager);
    world.fire(0..2500, Severity::Warning);
    world.at(0);
    world.fail(2, &Outcome::Retry { after: None, why: "connection refused".to_owned() });
    world.end(0..2500);
    world.at(20);
    let notices: Vec<Notice> = (20..1000).flat_map(|at| world.send(at)).collect();
    assert!(notices.iter().all(|it| (1..=1000).contains(&it.alerts.len())), "{}", notices.len());
    assert!(world.desk.groups().is_empty(), "nothing is left to say");
}

#[test]
fn of_many_only_those_are_kept_anew_that_changed() {
    for style in [Style::Grouped, Style::Alertmanager] {
        let mut world = World1::new(style);
        world.fire(0..5000, Severity::Warning);
        world.at(0);
        world.send(60);
        drop(world.desk.take_changed());
        world.fire(5000..5001, Severity::Warning);
        world.fire(7..8, Severity::Critical);
        world.end(8..9);
        world.at(100);
        let changed: Vec<BTreeSet<AlertId>> = world.desk.take_changed().into_values().collect();
        assert_eq!(changed, [[5000, 7, 8].map(World1::id).into()], "{style:?}");
        world.send(400);
        let changed: Vec<BTreeSet<AlertId>> = world.desk.take_changed().into_values().collect();
        assert!(changed[0].len() <= 3, "{style:?}: {} were told anew", changed[0].len());
        world.at(9000);
        drop(world.desk.take_changed());
        assert_eq!(world.send(10_000).len(), 1);
        let changed = world.desk.take_changed().into_values().next().unwrap();
        assert!(changed.is_empty(), "{style:?}: a reminder changes none of {}", changed.len());
    }
}

#[derive(Clone, Debug)]
enum Act {
    Fire(std::ops::Range<u32>, Severity),
    End(std::ops::Range<u32>),
    Mute(std::ops::Range<u32>),
    Unmute,
    Send,
    Fail,
}

fn act() -> impl Strategy<Value = Act> {
    let some = || (0_u32..300, 1_u32..300).prop_map(|(from, count)| from..from + count);
    let severity = prop_oneof![Just(Severity::Warning), Just(Severity::Critical)];
    prop_oneof![
        (some(), severity).prop_map(|(some, severity)| Act::Fire(some, severity)),
        some().prop_map(Act::End),
        some().prop_map(Act::Mute),
        Just(Act::Unmute),
        Just(Act::Send),
        Just(Act::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// To look at what changed comes to the same as to look at everything, each time.
    #[test]
    fn what_did_not_change_need_not_be_looked_at(
        acts in prop::collection::vec((act(), 0_i64..400), 1..25),
        style in prop_oneof![Just(Style::Grouped), Just(Style::Alertmanager)],
    ) {
        let mut worlds = [World1::new(style), World1::new(style)];
        let mut at = 0;
        for (act, after) in acts {
            at += after;
            let said = worlds.each_mut().map(|world| {
                match &act {
                    Act::Fire(some, severity) => world.fire(some.clone(), *severity),
                    Act::End(some) => world.end(some.clone()),
                    // Whoever silences says so.
                    Act::Mute(some) => {
                        world.muted.extend(some.clone().map(|n| (World1::id(n), Mute::Reboot)));
                        world.desk.unsettle();
                    }
                    Act::Unmute => world.muted.clear(),
                    Act::Send => return world.send(at),
                    Act::Fail => {
                        let retry = Outcome::Retry { after: None, why: "503".to_owned() };
                        world.fail(at, &retry);
                    }
                }
                world.at(at);
                Vec::new()
            });
            let [one, other] = said;
            prop_assert_eq!(one, other);
            let [one, other] = &mut worlds;
            other.desk.unsettle();
            prop_assert_eq!(one.due(at), other.due(at));
        }
    }
}
