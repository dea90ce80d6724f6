//! What was on its way when the process ended.

use super::*;

/// A message goes on its way at `at`.
fn give(world: &mut World1, at: i64) -> (GroupId, Notice, Sent) {
    let (place, notice, sent) = world.due(at).remove(0);
    world.desk.given(&place, &sent);
    (place, notice, sent)
}

/// Two that fired and were told, and are over.
fn over() -> World1 {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..2, Severity::Warning);
    world.at(0);
    world.send(30);
    world.end(0..2);
    world.at(400);
    world
}

#[test]
fn what_was_on_its_way_in_a_crash_is_corrected_if_it_is_wrong_by_now() {
    let mut world = over();
    world.desk.take_changed();
    let (place, notice, _) = give(&mut world, 430);
    assert_eq!(told(&[notice]), [(Reason::AllResolved, 0, 2)]);
    assert_eq!(world.desk.take_changed()[&place].len(), 2, "written before it goes");
    world.restart();
    // Whoever took that must not believe it for ever.
    world.fire(0..2, Severity::Warning);
    world.at(440);
    assert_eq!(told(&world.send(470)), [(Reason::Repeat, 2, 0)]);
    assert_eq!(told(&world.send(2000)), [], "once");
    world.end(0..2);
    world.at(2001);
    assert_eq!(told(&world.send(2031)), [(Reason::AllResolved, 0, 2)]);
}

#[test]
fn what_may_have_been_taken_is_corrected_if_it_is_wrong_by_now() {
    let mut world = over();
    let (place, _, sent) = give(&mut world, 430);
    let lost = Outcome::Lost { after: None, why: "no answer within 15 s".to_owned() };
    world.desk.failed(&place, &sent, &lost, std::time::Duration::from_secs(9), T.plus(445));
    world.fire(0..2, Severity::Warning);
    world.at(446);
    assert_eq!(told(&world.send(480)), [(Reason::Repeat, 2, 0)]);
    assert_eq!(told(&world.send(2000)), [], "once");
}

#[test]
fn what_was_refused_is_in_no_doubt() {
    let mut world = over();
    let (place, _, sent) = give(&mut world, 430);
    let later = Outcome::Retry { after: None, why: "500".to_owned() };
    world.desk.failed(&place, &sent, &later, std::time::Duration::from_secs(9), T.plus(430));
    world.restart();
    world.fire(0..2, Severity::Warning);
    world.at(431);
    assert_eq!(told(&world.send(2000)), [], "it knows that they fire");
}
