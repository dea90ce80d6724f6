mod doubt;
mod ends;
mod many;

use std::collections::BTreeMap;

use super::*;
use crate::book::Around;
use crate::key::Key;
use crate::kind::Kind;
use crate::notice::Notice;
use crate::severity::Severity;
use crate::sighting::Look;
use crate::sighting::Scope;
use crate::sighting::Sighting;
use crate::sighting::Values;
use crate::span::Span;

const T: Moment = Moment::from_unix(1_800_000_000);

/// A book and a desk with one receiver `chat`, which waits 30 s, then 300 s, and is reminded after an
/// hour; and an Alertmanager `am`. Alerts fire and end at once.
struct World1 {
    book: Book,
    desk: Desk,
    catalogue: Catalogue,
    muted: BTreeMap<AlertId, Mute>,
    style: Style,
    holding: BTreeMap<u32, Severity>,
}

impl World1 {
    fn new(style: Style) -> Self {
        let mut catalogue = Catalogue::built_in().unwrap();
        let none = Some(Span::secs(0));
        catalogue.retime(Kind::HardeningRegressed, none, none);
        let book = Book::restore([], &catalogue);
        let (muted, holding) = (BTreeMap::new(), BTreeMap::new());
        Self { book, desk: Desk::default(), catalogue, muted, style, holding }
    }

    const fn receiver(&self) -> &'static str {
        match self.style {
            Style::Alertmanager => "am",
            Style::Grouped => "chat",
        }
    }

    fn key(n: u32) -> Key {
        let node = format!("worker-{n:06}").parse().unwrap();
        Key::of_node(Kind::HardeningRegressed, node, Some("web".into())).subject("sysctl.x")
    }

    fn id(n: u32) -> AlertId {
        Self::key(n).id()
    }

    fn fire(&mut self, nodes: std::ops::Range<u32>, severity: Severity) {
        self.holding.extend(nodes.map(|n| (n, severity)));
    }

    fn end(&mut self, nodes: std::ops::Range<u32>) {
        self.holding.retain(|n, _| !nodes.contains(n));
    }

    /// Lets the time be `at`, and everything be worked out.
    fn at(&mut self, at: i64) {
        let now = T.plus(at);
        let around = Around {
            catalogue: &self.catalogue,
            ending: &|_, _| "mended".to_owned(),
            owed: &|id| self.desk.owes(id),
        };
        let one = |(n, severity): (&u32, &Severity)| Sighting {
            key: Self::key(*n),
            severity: *severity,
            since: None,
            values: Values::default(),
        };
        let seen = self.holding.iter().map(one).collect();
        self.book.look(&Scope::Fleet, Look::Seen(seen), &around, now);
        let grouping = Grouping { repeat: Span::secs(3600), ..Grouping::default() };
        let receiver = self.receiver();
        let way = Way { receiver, style: self.style, grouping: &grouping };
        for (id, _) in self.book.take_turns() {
            let Some(record) = self.book.record(id) else { continue };
            let labels = record.key.labels("prod", "hardening", record.severity);
            self.desk.route(id, record, std::slice::from_ref(&way), &labels);
        }
        let muted = self.muted.clone();
        let muted = |id: AlertId, _: &Record| muted.get(&id).cloned();
        let world = World {
            book: &self.book,
            catalogue: &self.catalogue,
            cluster: "prod",
            external_url: "",
            muted: &muted,
        };
        self.desk.recheck_muted();
        self.desk.settle(&world, now);
    }

    /// What is due at `at`, as it would be sent.
    fn due(&mut self, at: i64) -> Vec<(GroupId, Notice, Sent)> {
        self.at(at);
        let muted = self.muted.clone();
        let muted = |id: AlertId, _: &Record| muted.get(&id).cloned();
        let world = World {
            book: &self.book,
            catalogue: &self.catalogue,
            cluster: "prod",
            external_url: "",
            muted: &muted,
        };
        let places = self.desk.all_due(self.receiver(), &world, T.plus(at));
        let first = places.first().cloned();
        assert_eq!(self.desk.next(self.receiver(), &world, T.plus(at)), first);
        let notice = |place: GroupId| {
            let (notice, sent) = self.desk.notice(&place, &world, T.plus(at))?;
            Some((place, notice, sent))
        };
        let count = places.len();
        let due: Vec<_> = places.into_iter().filter_map(notice).collect();
        assert_eq!(due.len(), count, "what is due has something to say");
        due
    }

    /// Sends what is due, and it is taken.
    fn send(&mut self, at: i64) -> Vec<Notice> {
        let due = self.due(at);
        assert!(due.len() <= 1, "one group");
        for (place, _, sent) in &due {
            self.desk.given(place, sent);
            self.desk.delivered(place, sent, T.plus(at));
        }
        due.into_iter().map(|(_, notice, _)| notice).collect()
    }

    /// The process ends, and another one goes by what was kept.
    fn restart(&mut self) {
        let keep = |group: &Group| {
            let text = serde_json::to_string(group).unwrap();
            let lines = serde_json::to_string(&group.lines).unwrap();
            let mut group: Group = serde_json::from_str(&text).unwrap();
            group.lines = serde_json::from_str(&lines).unwrap();
            group
        };
        let kept: Vec<Group> = self.desk.groups().values().map(keep).collect();
        let posts: Vec<Post> = self.desk.posts.values().cloned().collect();
        self.desk = Desk::restore(kept, posts);
    }

    fn fail(&mut self, at: i64, outcome: &Outcome) {
        for (place, _, sent) in self.due(at) {
            let pause = std::time::Duration::from_secs(9);
            self.desk.failed(&place, &sent, outcome, pause, T.plus(at));
        }
    }
}

fn told(notices: &[Notice]) -> Vec<(Reason, usize, usize)> {
    notices.iter().map(|it| (it.reason, it.firing, it.resolved)).collect()
}

#[test]
fn the_first_waits_for_company_news_for_the_interval_and_people_are_reminded() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..2, Severity::Warning);
    assert_eq!(told(&world.send(0)), []);
    world.fire(2..3, Severity::Warning);
    assert_eq!(told(&world.send(29)), []);
    assert_eq!(told(&world.send(30)), [(Reason::First, 3, 0)]);
    world.fire(3..4, Severity::Warning);
    assert_eq!(told(&world.send(100)), []);
    assert_eq!(told(&world.send(329)), []);
    assert_eq!(told(&world.send(330)), [(Reason::New, 4, 0)]);
    world.end(0..1);
    assert_eq!(told(&world.send(400)), []);
    assert_eq!(told(&world.send(630)), [(Reason::SomeResolved, 3, 1)]);
    assert_eq!(told(&world.send(630 + 3599)), []);
    assert_eq!(told(&world.send(630 + 3600)), [(Reason::Repeat, 3, 0)]);
    world.end(0..9);
    assert_eq!(told(&world.send(9000)), [], "ends wait for company, too");
    assert_eq!(told(&world.send(9030)), [(Reason::AllResolved, 0, 3)]);
    assert_eq!(told(&world.send(99_999)), []);
    assert!(world.desk.groups().is_empty() && world.desk.of_alert.is_empty());
}

#[test]
fn critical_news_waits_for_company_only_and_louder_is_news() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.send(0);
    assert_eq!(told(&world.send(30)), [(Reason::First, 1, 0)]);
    world.fire(0..1, Severity::Critical);
    assert_eq!(told(&world.send(40)), []);
    let louder = world.send(70);
    assert_eq!(told(&louder), [(Reason::Severity, 1, 0)]);
    assert_eq!(louder[0].severity(), Severity::Critical);
    world.fire(0..1, Severity::Warning);
    assert_eq!(told(&world.send(1000)), [], "quieter is no news");
    world.fire(0..1, Severity::Critical);
    world.send(1001);
    assert_eq!(told(&world.send(1031)), [(Reason::Severity, 1, 0)], "louder again is");
}

#[test]
fn what_is_over_before_anybody_would_hear_of_it_is_never_told() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.end(0..1);
    world.at(10);
    assert_eq!(told(&world.send(5000)), []);
    assert!(world.desk.groups().is_empty());
}

#[test]
fn what_was_due_and_undelivered_when_it_ended_is_told_once_as_over() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    let retry = Outcome::Retry { after: None, why: "503".to_owned() };
    world.fail(30, &retry);
    world.fail(60, &retry);
    world.end(0..1);
    world.at(100);
    let notices = world.send(110);
    assert_eq!(told(&notices), [(Reason::AllResolved, 0, 1)]);
    assert_eq!(notices[0].alerts[0].ended.as_ref().unwrap().why, "mended");
    assert_eq!(told(&world.send(9999)), []);
}

#[test]
fn a_newer_state_replaces_what_was_not_delivered() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.fail(30, &Outcome::Retry { after: None, why: "503".to_owned() });
    world.fire(1..5, Severity::Warning);
    assert_eq!(told(&world.send(39)), [], "the pause holds");
    assert_eq!(told(&world.send(40)), [(Reason::First, 5, 0)]);
    assert_eq!(told(&world.send(41)), []);
}

#[test]
fn a_receiver_that_asks_for_rest_gets_it_for_all_its_groups() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    let after = Some(std::time::Duration::from_secs(600));
    world.fail(30, &Outcome::Retry { after, why: "429".to_owned() });
    assert_eq!(world.desk.waiting("chat", T.plus(31)), (1, Some(T.plus(30))));
    assert_eq!(told(&world.send(629)), []);
    assert_eq!(told(&world.send(630)), [(Reason::First, 1, 0)]);
    assert_eq!(world.desk.waiting("chat", T.plus(631)), (0, None));
}

#[test]
fn what_is_refused_is_put_aside_seen_and_sent_again_when_asked() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.fail(30, &Outcome::Dead { why: "400: no such channel".to_owned() });
    assert_eq!(told(&world.send(5)), []);
    let letters = &world.desk.post("chat").unwrap().dead;
    assert_eq!((letters.len(), letters[0].alerts), (1, 1));
    assert!(letters[0].why.contains("no such channel"));
    assert_eq!(world.desk.replay("chat"), 1);
    world.at(100);
    assert_eq!(told(&world.send(130)), [(Reason::First, 1, 0)]);
    assert!(world.desk.post("chat").unwrap().dead.is_empty());
}

#[test]
fn nothing_is_tried_for_longer_than_a_day() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    let retry = Outcome::Retry { after: None, why: "connection refused".to_owned() };
    let mut at = 30;
    while world.desk.post("chat").is_none_or(|post| post.dead.is_empty()) {
        world.fail(at, &retry);
        at += 600;
        assert!(at < 2 * GIVE_UP_SECS);
    }
    assert!(at >= GIVE_UP_SECS, "{at}");
    assert!(world.desk.post("chat").unwrap().dead[0].why.contains("connection refused"));
}

#[test]
fn what_is_muted_is_not_told_until_it_is_not_and_its_end_is_told_if_it_was() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..2, Severity::Warning);
    world.muted.insert(World1::id(1), Mute::Reboot);
    world.at(0);
    assert_eq!(told(&world.send(30)), [(Reason::First, 1, 0)]);
    world.muted.clear();
    world.at(400);
    assert_eq!(told(&world.send(430)), [(Reason::New, 2, 0)], "it still fires");
    world.muted.insert(World1::id(0), Mute::Reboot);
    world.muted.insert(World1::id(1), Mute::Reboot);
    assert_eq!(told(&world.send(430 + 3600)), [], "nobody is reminded of what is muted");
    world.end(0..9);
    world.at(5000);
    assert_eq!(told(&world.send(5030)), [(Reason::AllResolved, 0, 2)]);
}

#[test]
fn what_was_muted_while_its_group_was_said_to_be_over_is_news_afterwards() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..2, Severity::Warning);
    world.at(0);
    world.send(30);
    world.muted.insert(World1::id(0), Mute::Reboot);
    world.end(1..2);
    world.at(400);
    assert_eq!(
        told(&world.send(430)),
        [(Reason::AllResolved, 0, 1)],
        "an incident is closed by this"
    );
    world.muted.clear();
    world.at(800);
    assert_eq!(told(&world.send(830)), [(Reason::New, 1, 0)], "and opened again by this");
}

#[test]
fn a_clock_that_was_ahead_makes_nobody_wait() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..1, Severity::Warning);
    world.at(86_400);
    world.send(86_430);
    world.book.set_back(&world.catalogue, T);
    world.desk.set_back(T);
    world.fire(1..2, Severity::Warning);
    world.at(0);
    assert_eq!(told(&world.send(300)), [(Reason::New, 2, 0)]);
}

#[test]
fn a_restart_owes_exactly_what_was_owed() {
    let mut world = World1::new(Style::Grouped);
    world.fire(0..3, Severity::Warning);
    world.at(0);
    world.restart();
    assert_eq!(told(&world.send(30)), [(Reason::First, 3, 0)]);
    world.restart();
    assert_eq!(told(&world.send(1000)), [], "it was told");
    world.end(0..1);
    world.at(2000);
    world.restart();
    assert_eq!(told(&world.send(2030)), [(Reason::SomeResolved, 2, 1)]);
}

#[test]
fn alertmanager_hears_all_of_it_each_minute_and_ends_for_five() {
    let mut world = World1::new(Style::Alertmanager);
    world.fire(0..3, Severity::Warning);
    world.at(0);
    assert_eq!(told(&world.send(2)), [(Reason::First, 3, 0)]);
    assert_eq!(told(&world.send(61)), []);
    assert_eq!(told(&world.send(62)), [(Reason::Repeat, 3, 0)]);
    world.end(0..1);
    world.at(100);
    let mut ends = 0;
    for at in 101..800 {
        for notice in world.send(at) {
            let over = notice.alerts.iter().filter(|it| !it.is_firing()).count();
            assert_eq!(notice.alerts.len() - over, 2, "the others go on");
            ends += over;
        }
    }
    assert_eq!(ends, 5, "its end is told for five minutes");
}

#[test]
fn many_are_one_for_alertmanager_and_those_that_were_told_stay() {
    let mut world = World1::new(Style::Alertmanager);
    world.fire(0..150, Severity::Warning);
    world.at(0);
    assert_eq!(world.send(2)[0].alerts.len(), 150);
    world.fire(150..5000, Severity::Warning);
    world.at(10);
    let many = world.send(12).remove(0);
    assert_eq!((many.firing, many.alerts.len()), (5000, 151));
    let roll_up = many.alerts.iter().find(|it| it.labels["subject"] == "roll-up").unwrap();
    assert!(roll_up.words.summary.starts_with("4850 more of "), "{}", roll_up.words.summary);
    assert!(!roll_up.labels.contains_key("node"));
    world.end(150..4900);
    world.at(20);
    assert_eq!(world.send(72)[0].alerts.len(), 151, "250 are still many");
    world.end(4900..5000);
    world.end(0..60);
    world.at(80);
    let few = world.send(132).remove(0);
    let firing = few.alerts.iter().filter(|it| it.is_firing()).count();
    assert_eq!((few.firing, firing), (90, 90), "below half of it each is told by itself");
    assert!(!few.alerts.iter().any(|it| it.labels["subject"] == "roll-up"));
}

/// Alerts that hold for a minute before they fire, and are gone for one before they end.
fn slow(style: Style) -> World1 {
    let mut world = World1::new(style);
    let minute = Some(Span::secs(60));
    world.catalogue.retime(Kind::HardeningRegressed, minute, minute);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.at(60);
    world
}

#[test]
fn an_end_is_told_as_an_end_although_it_is_pending_again() {
    for style in [Style::Grouped, Style::Alertmanager] {
        let mut world = slow(style);
        assert_eq!(told(&world.send(90)), [(Reason::First, 1, 0)]);
        let again: Vec<Notice> = (91..500).flat_map(|at| world.send(at)).collect();
        assert!(again.iter().all(|it| (it.firing, it.resolved) == (1, 0)));
        world.end(0..1);
        world.at(500);
        world.at(560);
        world.fire(0..1, Severity::Warning);
        world.at(565);
        let ends: Vec<Notice> = (566..624).flat_map(|at| world.send(at)).collect();
        assert!(!ends.is_empty(), "{style:?}");
        for notice in &ends {
            assert_eq!((notice.firing, notice.resolved), (0, 1), "{style:?}");
            assert_eq!(notice.alerts[0].ended.as_ref().unwrap().why, "mended");
        }
        let fires = (625..2000).flat_map(|at| world.send(at)).find(|it| it.firing == 1);
        assert!(fires.is_some(), "{style:?}: it fires again in its own time");
    }
}

#[test]
fn nothing_blocks_a_receiver_that_there_are_no_words_for() {
    let mut world = slow(Style::Grouped);
    world.send(90);
    world.end(0..1);
    world.at(100);
    world.at(160);
    // Its end is owed; then the book forgets it, as after a row that cannot be read.
    world.book = Book::restore([], &world.catalogue);
    world.fire(5..6, Severity::Warning);
    world.at(200);
    world.at(260);
    let notices: Vec<Notice> = (261..1000).flat_map(|at| world.send(at)).collect();
    assert_eq!(told(&notices), [(Reason::New, 1, 0)]);
}

#[test]
fn a_reminder_that_fails_backs_off_waits_and_is_given_up() {
    let mut world = World1::new(Style::Alertmanager);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.send(2);
    let retry = Outcome::Retry { after: None, why: "connection refused".to_owned() };
    let mut tries = 0;
    for at in 3..1000 {
        let due = world.due(at).len();
        if due > 0 {
            tries += 1;
            world.fail(at, &retry);
        }
    }
    assert!((80..=120).contains(&tries), "one each ten seconds, not {tries}");
    assert_eq!(world.desk.waiting("am", T.plus(1000)), (1, Some(T.plus(62))));
    let group = world.desk.groups().values().next().unwrap();
    assert_eq!(group.attempts, tries, "each longer than the one before");
}

#[test]
fn alertmanager_goes_on_hearing_what_it_was_told_although_it_is_muted() {
    let mut world = World1::new(Style::Alertmanager);
    world.fire(0..1, Severity::Warning);
    world.at(0);
    world.send(2);
    world.muted.insert(World1::id(0), Mute::Reboot);
    world.muted.insert(World1::id(1), Mute::Reboot);
    world.fire(1..2, Severity::Warning);
    world.at(10);
    let heard: Vec<Notice> = (11..200).flat_map(|at| world.send(at)).collect();
    assert!(heard.len() >= 3, "each minute: {}", heard.len());
    assert!(heard.iter().all(|it| it.alerts.len() == 1), "what was muted from the start is not");
}
