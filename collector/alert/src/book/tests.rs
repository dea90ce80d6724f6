use proptest::prelude::*;

use super::*;
use crate::kind::Kind;
use crate::span::Span;

const T: Moment = Moment::from_unix(1_800_000_000);

/// RebootOverdue holds for 60 s before it fires and is gone for 300 s before it ends.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::built_in().unwrap();
    let (hold, keep) = (Some(Span::secs(60)), Some(Span::secs(300)));
    catalogue.retime(Kind::RebootOverdue, hold, keep);
    catalogue
}

fn scope() -> Scope {
    Scope::Node("worker-1".parse().unwrap())
}

fn sighting(severity: Severity) -> Sighting {
    let key = Key::of_node(Kind::RebootOverdue, "worker-1".parse().unwrap(), None);
    Sighting { key, severity, since: None, values: Arc::default() }
}

struct World {
    book: Book,
    catalogue: Catalogue,
    turns: Vec<(i64, Turn)>,
    is_owed: bool,
}

impl World {
    fn new() -> Self {
        let catalogue = catalogue();
        let book = Book::restore([], &catalogue);
        Self { book, catalogue, turns: Vec::new(), is_owed: false }
    }

    fn look(&mut self, at: i64, look: Look) {
        let around = Around {
            catalogue: &self.catalogue,
            ending: &|_, _| "it was mended".to_owned(),
            owed: &|_| self.is_owed,
        };
        self.book.look(&scope(), look, &around, T.plus(at));
        self.turns.extend(self.book.take_turns().into_iter().map(|(_, turn)| (at, turn)));
    }

    fn holds(&mut self, at: i64) {
        self.look(at, Look::Seen(vec![sighting(Severity::Warning)]));
    }

    fn gone(&mut self, at: i64) {
        self.look(at, Look::Seen(Vec::new()));
    }

    fn stale(&mut self, at: i64) {
        self.look(at, Look::Stale { since: T.plus(at), why: "silent".into() });
    }

    fn phase(&self) -> &'static str {
        self.book.records().values().next().map_or("none", Record::phase)
    }

    fn record(&self) -> &Record {
        self.book.records().values().next().unwrap()
    }
}

#[test]
fn an_alert_fires_after_its_time_and_ends_with_what_ended_it() {
    let mut world = World::new();
    world.holds(0);
    world.holds(59);
    assert_eq!((world.phase(), world.turns.len()), ("pending", 0));
    world.holds(60);
    assert_eq!((world.phase(), &*world.turns), ("firing", &[(60, Turn::Fired)][..]));
    world.gone(100);
    world.gone(399);
    assert_eq!(world.phase(), "resolving");
    world.gone(400);
    assert_eq!(world.phase(), "resolved");
    let State::Resolved(End { at, why, fired_at, .. }) = &world.record().state else { panic!() };
    assert_eq!((*at, &**why, *fired_at), (T.plus(100), "it was mended", T.plus(60)));
    world.gone(400 + KEEP_RESOLVED_SECS);
    assert_eq!(world.phase(), "none");
    assert!(world.book.due.is_empty() && world.book.scopes.is_empty());
}

#[test]
fn what_flaps_fires_once_and_ends_once() {
    let mut world = World::new();
    for flip in 0..100 {
        if flip % 2 == 0 { world.holds(flip * 6) } else { world.gone(flip * 6) }
    }
    for later in 600..2000 {
        world.gone(later);
    }
    let turns: Vec<Turn> = world.turns.iter().map(|(_, turn)| *turn).collect();
    assert_eq!(turns, [Turn::Fired, Turn::Resolved], "{:?}", world.turns);
}

#[test]
fn unknown_is_not_resolved_and_does_not_fire_either() {
    let mut world = World::new();
    world.holds(0);
    world.stale(30);
    world.stale(100_000);
    assert_eq!(world.phase(), "pending");
    world.holds(100_000);
    assert_eq!(world.phase(), "firing", "it has held all the time, as far as anybody knows");
    world.stale(100_100);
    world.stale(200_000);
    assert_eq!(world.phase(), "firing");
    assert_eq!(world.record().stale.as_ref().unwrap().since, T.plus(100_100), "the first time");
    world.gone(200_001);
    assert_eq!((world.phase(), &world.record().stale), ("resolving", &None));
    world.stale(200_002);
    world.stale(300_000);
    assert_eq!(world.phase(), "resolving", "the last word was that it is gone; nothing since");
    world.gone(300_001);
    assert_eq!(world.phase(), "resolved");
}

#[test]
fn severity_changes_keep_the_alert_and_what_was_reached() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    let id = *world.book.records().keys().next().unwrap();
    world.look(70, Look::Seen(vec![sighting(Severity::Critical)]));
    assert_eq!(world.book.records().keys().copied().collect::<Vec<_>>(), [id]);
    assert_eq!(world.turns.last(), Some(&(70, Turn::Severity)));
    let both = BTreeMap::from([(Severity::Warning, None), (Severity::Critical, None)]);
    assert_eq!(world.record().reached, both);
    // Milder only after as long as an end takes.
    world.holds(80);
    assert_eq!((&world.record().reached, world.record().severity), (&both, Severity::Critical));
    world.holds(379);
    assert_eq!(world.record().severity, Severity::Critical);
    world.holds(380);
    assert_eq!(world.turns.last(), Some(&(380, Turn::Severity)));
    let left = BTreeMap::from([(Severity::Warning, None), (Severity::Critical, Some(T.plus(380)))]);
    assert_eq!((&world.record().reached, world.record().holds_from), (&left, T));
    assert_eq!(world.record().severity, Severity::Warning);
}

#[test]
fn a_severity_that_changes_to_and_fro_is_told_once() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    for minute in 2..100 {
        let severity = if minute % 2 == 0 { Severity::Critical } else { Severity::Warning };
        world.look(minute * 60, Look::Seen(vec![sighting(severity)]));
    }
    let turns: Vec<Turn> = world.turns.iter().map(|(_, turn)| *turn).collect();
    assert_eq!(turns, [Turn::Fired, Turn::Severity]);
    assert_eq!(world.record().severity, Severity::Critical);
}

#[test]
fn a_node_that_changes_its_pool_keeps_its_alert() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    let moved = Key { pool: Some("web".into()), ..sighting(Severity::Warning).key };
    let seen = Sighting { key: moved.clone(), ..sighting(Severity::Warning) };
    world.look(70, Look::Seen(vec![seen.clone()]));
    world.look(80, Look::Seen(vec![seen]));
    assert_eq!((world.book.records().len(), &world.record().key), (1, &moved));
    let turns: Vec<Turn> = world.turns.iter().map(|(_, turn)| *turn).collect();
    assert_eq!(turns, [Turn::Fired, Turn::Moved]);
}

#[test]
fn a_scope_that_is_no_more_ends_at_once_with_its_reason() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    world.stale(70);
    world.book.close(&scope(), "its node was deleted", &world.catalogue, T.plus(80));
    let State::Resolved(End { why, .. }) = &world.record().state else { panic!() };
    assert_eq!(&**why, "its node was deleted");
    assert_eq!(world.book.take_turns().len(), 1);
    let mut world = World::new();
    world.holds(0);
    world.book.close(&scope(), "its node was deleted", &world.catalogue, T.plus(1));
    assert_eq!(world.phase(), "none");
}

#[test]
fn it_comes_back_with_a_new_life_and_its_old_name() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    world.gone(100);
    world.gone(400);
    world.holds(500);
    assert_eq!((world.phase(), world.record().holds_from), ("pending", T.plus(500)));
    assert_eq!(world.book.records().len(), 1);
    world.holds(560);
    assert_eq!(world.phase(), "firing");
}

#[test]
fn what_somebody_still_has_to_hear_of_is_not_forgotten() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    world.gone(100);
    world.gone(400);
    world.is_owed = true;
    world.gone(400 + KEEP_RESOLVED_SECS);
    assert_eq!(world.phase(), "resolved");
    world.is_owed = false;
    world.gone(400 + 2 * KEEP_RESOLVED_SECS);
    assert_eq!(world.phase(), "none");
}

#[test]
fn an_end_that_somebody_may_have_to_hear_of_outlives_a_new_life_that_comes_to_nothing() {
    let mut world = World::new();
    world.holds(0);
    world.holds(60);
    world.gone(100);
    world.gone(400);
    world.holds(420);
    assert_eq!(world.phase(), "pending");
    let end = world.record().end().cloned().unwrap();
    assert_eq!((end.at, &*end.why), (T.plus(100), "it was mended"));
    world.gone(430);
    world.gone(800);
    assert_eq!((world.phase(), world.record().end()), ("resolved", Some(&end)));
    world.holds(900);
    world.holds(960);
    assert_eq!((world.phase(), world.record().end()), ("firing", None));
}

#[test]
fn what_was_put_off_for_an_end_does_not_hurry_a_new_life() {
    let mut world = World::new();
    world.catalogue.retime(Kind::RebootOverdue, Some(Span::secs(86_400)), None);
    world.holds(0);
    world.holds(86_400);
    world.gone(86_500);
    world.gone(86_800);
    world.is_owed = true;
    world.gone(86_800 + KEEP_RESOLVED_SECS);
    world.holds(91_000);
    for at in (91_000..177_000).step_by(60) {
        world.holds(at);
        assert_eq!(world.phase(), "pending", "at {at}");
    }
    world.holds(91_000 + 86_400);
    assert_eq!(world.phase(), "firing");
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_up() {
    let mut world = World::new();
    world.holds(86_400);
    world.book.set_back(&world.catalogue, T);
    world.holds(60);
    assert_eq!((world.phase(), world.record().holds_from), ("firing", T));
    world.gone(86_400);
    world.book.set_back(&world.catalogue, T.plus(100));
    world.gone(399);
    assert_eq!(world.phase(), "resolving");
    world.gone(400);
    assert_eq!(world.phase(), "resolved");
}

#[test]
fn there_is_room_for_so_many_and_the_others_are_counted() {
    let catalogue = catalogue();
    let mut book = Book::restore([], &catalogue);
    let around = Around { catalogue: &catalogue, ending: &|_, _| String::new(), owed: &|_| false };
    let many = |from: usize, to: usize| {
        let one = |n: usize| {
            let sighting = sighting(Severity::Info);
            Sighting { key: sighting.key.clone().subject(&n.to_string()), ..sighting }
        };
        (from..to).map(one).collect::<Vec<_>>()
    };
    book.look(&scope(), Look::Seen(many(0, MAX_RECORDS + 7)), &around, T);
    assert_eq!((book.records().len(), book.left_out()), (MAX_RECORDS, 7));
    book.look(&Scope::Notifier, Look::Seen(many(MAX_RECORDS + 7, MAX_RECORDS + 8)), &around, T);
    assert_eq!((book.records().len(), book.left_out()), (MAX_RECORDS + 1, 7), "it tells of them");
    let rest = || Look::Seen(many(9, MAX_RECORDS + 7));
    book.look(&scope(), rest(), &around, T.plus(1));
    assert!(!book.has_room_again(T.plus(299)), "it is full");
    book.look(&scope(), rest(), &around, T.plus(299));
    book.advance(&around, T.plus(301));
    assert!(!book.is_full());
    assert!(!book.has_room_again(T.plus(358)), "not each time that one leaves");
    assert!(book.has_room_again(T.plus(359)));
    assert!(!book.has_room_again(T.plus(500)), "once");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Holds,
    Gone,
    Stale,
    Restart,
    Loud,
}

proptest! {
    /// Whatever happens and whenever it is asked: fired and resolved alternate, nothing ends while it is
    /// stale, a restart from what was kept changes nothing, and no moment is listed for nothing.
    #[test]
    fn lives_are_told_once(acts in prop::collection::vec(
        (prop_oneof![
            Just(Act::Holds), Just(Act::Gone), Just(Act::Stale), Just(Act::Restart), Just(Act::Loud)
        ], 0_i64..400), 1..60))
    {
        let mut world = World::new();
        let mut at = 0;
        let mut fires = false;
        for (act, wait) in acts {
            at += wait;
            let was_stale = world.book.records().values().any(|it| it.stale.is_some());
            let before = world.turns.len();
            match act {
                Act::Holds => world.holds(at),
                Act::Gone => world.gone(at),
                Act::Stale => world.stale(at),
                Act::Loud => world.look(at, Look::Seen(vec![sighting(Severity::Critical)])),
                Act::Restart => {
                    let kept = world.book.records().values().cloned().collect::<Vec<_>>();
                    let kept = serde_json::to_string(&kept).unwrap();
                    let kept: Vec<Record> = serde_json::from_str(&kept).unwrap();
                    let due = world.book.due.clone();
                    world.book = Book::restore(kept, &world.catalogue);
                    prop_assert_eq!(&world.book.due, &due);
                }
            }
            for (_, turn) in &world.turns[before..] {
                match turn {
                    Turn::Fired => { prop_assert!(!fires); fires = true; }
                    Turn::Resolved => {
                        prop_assert!(fires);
                        prop_assert!(!(was_stale && matches!(act, Act::Stale)));
                        fires = false;
                    }
                    Turn::Moved | Turn::Severity => prop_assert!(fires),
                }
            }
            prop_assert_eq!(fires, world.book.records().values().any(Record::is_firing));
            for (_, id) in &world.book.due {
                prop_assert!(world.book.record(*id).is_some());
            }
        }
    }
}
