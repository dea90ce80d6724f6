//! Whoever was told of an alert hears its end, whatever comes in between.

use proptest::prelude::*;

use super::*;

/// A world and what its receiver knows.
struct Heard {
    world: World1,
    /// What fires as far as the receiver knows.
    knows: BTreeSet<AlertId>,
    /// A message that is on its way.
    away: Option<(GroupId, Sent)>,
    at: i64,
}

impl Heard {
    fn new(style: Style) -> Self {
        Self { world: World1::new(style), knows: BTreeSet::new(), away: None, at: 0 }
    }

    /// Hands out what is due, as the thread of alerts does; `does_arrive`, whatever is answered.
    fn hand_out(&mut self, does_arrive: bool) {
        if self.away.is_some() {
            return;
        }
        let Some((place, notice, sent)) = self.world.due(self.at).into_iter().next() else {
            return;
        };
        self.world.desk.given(&place, &sent);
        self.away = Some((place, sent));
        if !does_arrive {
            return;
        }
        for alert in &notice.alerts {
            if alert.is_firing() {
                self.knows.insert(alert.id);
            } else {
                self.knows.remove(&alert.id);
            }
        }
        if notice.firing == 0 {
            self.knows.clear();
        }
    }

    fn answer(&mut self, outcome: &Outcome) {
        let Some((place, sent)) = self.away.take() else { return };
        let pause = std::time::Duration::from_secs(9);
        self.world.desk.failed(&place, &sent, outcome, pause, T.plus(self.at));
    }

    /// Routes an alert to nobody.
    fn route_away(&mut self, n: u32) {
        let id = World1::id(n);
        if let Some(record) = self.world.book.record(id) {
            self.world.desk.route(id, record, &[], &BTreeMap::new());
        }
    }
}

fn unanswered() -> Outcome {
    Outcome::Retry { after: None, why: "no answer in time".to_owned() }
}

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

#[test]
fn what_is_routed_elsewhere_while_its_message_is_on_its_way_is_told_its_end() {
    for outcome in [Outcome::Delivered, unanswered()] {
        let mut heard = Heard::new(Style::Grouped);
        heard.world.fire(0..1, Severity::Warning);
        heard.world.at(0);
        heard.at = 30;
        heard.hand_out(true);
        heard.route_away(0);
        heard.world.at(31);
        heard.answer(&outcome);
        heard.world.at(40);
        heard.world.end(0..1);
        heard.world.at(5000);
        assert_eq!(told(&heard.world.send(5030)), [(Reason::AllResolved, 0, 1)], "{outcome:?}");
    }
}

#[test]
fn what_joins_a_message_late_and_is_over_at_once_is_told_its_end() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.fire(1..2, Severity::Warning);
    world.at(29);
    let (place, notice, sent) = world.due(30).remove(0);
    assert_eq!(notice.firing, 2);
    world.end(0..2);
    world.at(35);
    world.desk.delivered(&place, &sent, T.plus(36));
    world.at(37);
    assert_eq!(told(&world.send(400)), [(Reason::AllResolved, 0, 2)]);
}

/// A message that said that alert 0 is over was refused at 430.
fn refused_end() -> World1 {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.send(30);
    world.end(0..1);
    world.at(400);
    world.fail(430, &refused());
    assert_eq!(told(&world.send(5000)), [], "the same would be refused again");
    world
}

#[test]
fn an_end_that_was_refused_is_told_again_when_asked() {
    let mut world = refused_end();
    world.at(6000);
    assert_eq!(world.desk.replay("chat"), 1);
    world.at(6001);
    assert_eq!(told(&world.send(6040)), [(Reason::AllResolved, 0, 1)]);
    world.at(6041);
    assert_eq!(world.desk.replay("chat"), 0, "once");
    assert!(world.desk.groups().is_empty());
}

#[test]
fn an_end_that_was_refused_is_kept_as_long_as_its_letter() {
    let mut world = refused_end();
    world.at(430 + LETTER_KEPT_SECS - 1);
    assert_eq!((world.desk.groups().len(), world.desk.post("chat").unwrap().dead.len()), (1, 1));
    world.at(430 + LETTER_KEPT_SECS);
    assert!(world.desk.groups().is_empty());
    assert!(world.desk.post("chat").unwrap().dead.is_empty());
}

#[test]
fn what_fires_again_is_news_although_its_end_was_refused() {
    let mut world = refused_end();
    world.fire(0..1, Severity::Warning);
    world.at(6000);
    assert_eq!(told(&world.send(6030)), [(Reason::New, 1, 0)]);
    world.end(0..1);
    world.at(7000);
    assert_eq!(told(&world.send(7400)), [(Reason::AllResolved, 0, 1)]);
}

#[test]
fn a_replay_waits_for_no_pause() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    let after = Some(std::time::Duration::from_secs(900));
    world.fail(30, &Outcome::Retry { after, why: "429".to_owned() });
    world.desk.replay("chat");
    world.at(31);
    assert_eq!(told(&world.send(31)), [(Reason::First, 1, 0)]);
}

#[derive(Clone, Debug)]
enum Act {
    Fire(u32),
    FireLouder(u32),
    End(u32),
    Mute(u32),
    Unmute,
    RouteAway(u32),
    HandOut { does_arrive: bool },
    Taken,
    Refused,
    Unanswered,
}

fn act() -> impl Strategy<Value = Act> {
    let node = || 0_u32..4;
    prop_oneof![
        node().prop_map(Act::Fire),
        node().prop_map(Act::FireLouder),
        node().prop_map(Act::End),
        node().prop_map(Act::Mute),
        Just(Act::Unmute),
        node().prop_map(Act::RouteAway),
        any::<bool>().prop_map(|does_arrive| Act::HandOut { does_arrive }),
        Just(Act::Taken),
        Just(Act::Refused),
        Just(Act::Unanswered),
    ]
}

proptest! {
    #[test]
    fn whoever_was_told_hears_an_end(acts in prop::collection::vec((act(), 0_i64..60), 1..60)) {
        let mut heard = Heard::new(Style::Grouped);
        // Whether the message that is on its way arrives: only then can it be answered as taken.
        let mut arrives = false;
        for (act, after) in acts {
            heard.at += after;
            match act {
                Act::Fire(n) => heard.world.fire(n..n + 1, Severity::Warning),
                Act::FireLouder(n) => heard.world.fire(n..n + 1, Severity::Critical),
                Act::End(n) => heard.world.end(n..n + 1),
                Act::Mute(n) => {
                    heard.world.muted.insert(World1::id(n), Mute::Reboot);
                    heard.world.desk.unsettle();
                }
                Act::Unmute => heard.world.muted.clear(),
                Act::RouteAway(n) => heard.route_away(n),
                Act::HandOut { does_arrive } => {
                    if heard.away.is_none() {
                        arrives = does_arrive;
                    }
                    heard.hand_out(does_arrive);
                }
                Act::Refused if !arrives => heard.answer(&refused()),
                Act::Taken if arrives => heard.answer(&Outcome::Delivered),
                Act::Taken | Act::Refused | Act::Unanswered => heard.answer(&unanswered()),
            }
            heard.world.at(heard.at);
        }
        heard.world.end(0..4);
        heard.world.muted.clear();
        heard.answer(&unanswered());
        heard.world.desk.replay("chat");
        for _ in 0..9 {
            heard.at += 400;
            heard.hand_out(true);
            heard.answer(&Outcome::Delivered);
            heard.world.at(heard.at);
        }
        prop_assert_eq!(&heard.knows, &BTreeSet::new());
        prop_assert!(heard.world.desk.groups().is_empty(), "nothing is left to say");
    }
}
