//! Whoever was told of an alert hears its end, whatever comes in between.

use super::*;

fn refused() -> Outcome {
    Outcome::Dead { why: "403: the key was revoked".to_owned() }
}

#[test]
fn a_replay_leaves_alone_what_is_owed_anyway() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..2, Severity::Warning);
    world.at(0);
    world.send(30);
    world.fire(2..3, Severity::Warning);
    world.at(400);
    world.fail(430, &refused());
    world.end(0..1);
    world.at(500);
    assert_eq!(world.desk.replay("chat"), 1);
    world.at(501);
    assert_eq!(told(&world.send(530)), [(Reason::First, 2, 1)], "the end that is owed, too");
}

#[test]
fn ends_are_shown_however_many_fire() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1000, Severity::Warning);
    world.at(0);
    world.send(30);
    world.end(0..300);
    world.at(400);
    let shown = world.send(430).remove(0);
    assert_eq!(told(std::slice::from_ref(&shown)), [(Reason::SomeResolved, 700, 300)]);
    let over = shown.alerts.iter().filter(|it| !it.is_firing()).count();
    assert_eq!((shown.alerts.len(), over), (200, 100));
    world.end(300..301);
    world.at(800);
    let over = world.send(830)[0].alerts.iter().filter(|it| !it.is_firing()).count();
    assert_eq!(over, 1, "it takes no more room than it needs");
}
