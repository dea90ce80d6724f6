use palisade_alert::book::MAX_RECORDS;
use palisade_alert::sighting::Sighting;
use palisade_alert::sighting::Values;

use super::*;

const T: Moment = Moment::from_unix(1_800_000_000);

const HEAD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n\
    alerts: [{ alert: RebootOverdue, for: 0s, keep: 0s }]\n\
    receivers:\n  - { name: chat, webhook: { url: http://chat } }\n  \
    - { name: am, alertmanager: { urls: [http://am] } }\n  \
    - { name: page, sendResolved: false, webhook: { url: http://page } }\n  \
    - { name: filed, webhook: { urlFile: /run/secrets/url } }\n";

fn config(rest: &str) -> Arc<Config> {
    Arc::new(Config::parse(&format!("{HEAD}{rest}")).unwrap())
}

struct World {
    core: Core,
    severity: Option<Severity>,
    /// Further nodes of which the same is to be said.
    others: BTreeSet<u32>,
}

impl World {
    fn new(rest: &str) -> Self {
        let store = AlertStore::fleeting().unwrap();
        let catalogue = Catalogue::built_in().unwrap();
        let core = Core::new(store, Kept::default(), catalogue, config(rest), T);
        Self { core, severity: Some(Severity::Warning), others: BTreeSet::new() }
    }

    fn key() -> Key {
        Key::of_node(Kind::RebootOverdue, "worker-1".parse().unwrap(), None)
    }

    fn at(&mut self, at: i64) {
        let other = |n: &u32| format!("other-{n}").parse().unwrap();
        let other = |n: &u32| Key::of_node(Kind::RebootOverdue, other(n), None);
        let keys = std::iter::once(Self::key()).chain(self.others.iter().map(other));
        let seen = self.severity.into_iter().flat_map(|severity| {
            keys.clone().map(move |key| Sighting {
                key,
                severity,
                since: None,
                values: Values::default(),
            })
        });
        let looks = vec![(Scope::Fleet, Look::Seen(seen.collect()))];
        let seen = Seen { looks, ..Seen::default() };
        self.core.turn(Some(seen), &|_, _| "mended".to_owned(), T.plus(at));
        self.core.commit().unwrap();
    }

    /// Sends what is due to `receiver`, and it is taken. The alerts that it says fire, and those over.
    fn send(&mut self, receiver: &str, at: i64) -> Option<(Vec<Severity>, Vec<Severity>)> {
        self.at(at);
        let Parcel { places, content } = self.core.next(receiver, T.plus(at))?;
        self.core.done(&places, &Outcome::Delivered, 0, T.plus(at));
        let (mut fires, mut over) = (Vec::new(), Vec::new());
        let mut say = |noticed: &Noticed, severities: &[Severity]| {
            if noticed.is_firing() { &mut fires } else { &mut over }.extend(severities);
        };
        match content {
            Content::Alerts(alerts) => alerts.iter().for_each(|(it, all)| say(it, all)),
            Content::Notice(notice) => notice.alerts.iter().for_each(|it| say(it, &[it.severity])),
        }
        Some((fires, over))
    }
}

#[test]
fn alertmanager_hears_a_louder_alert_in_both_severities_and_which_one_it_left() {
    use Severity::Critical;
    use Severity::Warning;
    let mut world = World::new("fallback: [am]\n");
    world.at(0);
    assert_eq!(world.send("am", 2), Some((vec![Warning], vec![])));
    world.severity = Some(Critical);
    world.at(10);
    assert_eq!(world.send("am", 12), Some((vec![Warning, Critical], vec![])), "none seems over");
    world.severity = Some(Warning);
    world.at(20);
    assert_eq!(world.send("am", 100), Some((vec![Warning], vec![Critical])));
    assert_eq!(world.send("am", 400), Some((vec![Warning], vec![])), "for five minutes");
}

#[test]
fn alertmanager_goes_on_hearing_what_is_routed_elsewhere_until_it_is_over() {
    use Severity::Critical;
    use Severity::Warning;
    let rest = "routes: [{ match: { severities: [critical] }, receivers: [chat] }]\n\
        defaults: { groupWait: 0s }\nfallback: [am]\n";
    let mut world = World::new(rest);
    world.at(0);
    assert_eq!(world.send("am", 2), Some((vec![Warning], vec![])));
    world.severity = Some(Critical);
    world.at(10);
    assert_eq!(world.send("chat", 11), Some((vec![Critical], vec![])));
    for minute in 1..20 {
        let heard = world.send("am", 2 + 60 * minute);
        assert_eq!(heard, Some((vec![Warning], vec![])), "it is not over, and no louder here");
    }
    world.severity = None;
    world.at(1200);
    let (fires, over) = world.send("am", 1210).unwrap();
    assert!(fires.is_empty() && over.contains(&Warning), "{over:?}");
}

#[test]
fn whoever_wants_to_hear_of_no_ends_gets_no_message_for_one() {
    let waits = "defaults: { groupWait: 0s, groupInterval: 1s, repeatInterval: 1h }\n";
    let mut world = World::new(&format!("{waits}fallback: [page]\n"));
    world.others.extend(1..5);
    world.at(0);
    assert_eq!(world.send("page", 1).unwrap().0.len(), 5);
    let refused = Outcome::Retry { after: Some(Duration::from_secs(900)), why: "429".to_owned() };
    for n in 1..4 {
        world.others.remove(&n);
        world.at(100 * i64::from(n));
        assert_eq!(world.send("page", 100 * i64::from(n) + 10), None, "nothing is new in it");
    }
    assert_eq!(world.send("page", 3600), None);
    assert_eq!(world.send("page", 3601).unwrap().0.len(), 2, "an end puts off no reminder");
    world.others.insert(9);
    world.at(4000);
    let Parcel { places, .. } = world.core.next("page", T.plus(4000)).unwrap();
    world.core.done(&places, &refused, 0, T.plus(4000));
    world.severity = None;
    world.at(4010);
    assert_eq!(world.core.next("page", T.plus(4899)).map(|it| it.places), None);
    let post = world.core.desk.post("page").unwrap();
    assert!(post.failed.is_some() && post.is_left_alone(T.plus(4899)), "nobody took a message");
    assert_eq!(world.core.next("page", T.plus(4902)).map(|it| it.places), None);
    assert!(world.core.desk.groups().is_empty(), "all of it is over");
}

#[test]
fn what_was_refused_is_sent_again_once_its_secret_is_another() {
    let mut world = World::new("fallback: [filed]\ndefaults: { groupWait: 0s }\n");
    world.at(0);
    let Parcel { places, .. } = world.core.next("filed", T.plus(1)).unwrap();
    let refused = Outcome::Dead { why: "404".to_owned() };
    world.core.done(&places, &refused, 0, T.plus(1));
    world.core.try_again(&["/run/secrets/other".into()]);
    assert_eq!(world.send("filed", 10), None, "it would be refused again");
    world.core.try_again(&["/run/secrets/url".into()]);
    assert!(world.send("filed", 20).is_some());
    world.core.try_again(&["/run/secrets/url".into()]);
    assert_eq!(world.send("filed", 30), None, "what was taken is told once");
}

#[test]
fn another_receiver_of_the_same_name_is_told_what_fires_and_its_end() {
    let rest = "fallback: [chat, am]\ndefaults: { groupWait: 0s }\n";
    let mut world = World::new(rest);
    world.at(0);
    assert!(world.send("chat", 1).is_some() && world.send("am", 3).is_some());
    let other = format!("{HEAD}{rest}").replace("http://chat", "http://other");
    world.core.configure(Arc::new(Config::parse(&other).unwrap()), T.plus(10));
    assert_eq!(world.send("am", 11), None, "it is the same one");
    assert_eq!(world.send("chat", 11), Some((vec![Severity::Warning], vec![])));
    world.severity = None;
    world.at(400);
    assert_eq!(world.send("chat", 800), Some((vec![], vec![Severity::Warning])));
}

#[test]
fn an_edit_changes_who_is_told_and_is_no_news_of_an_alert() {
    let mut world = World::new("fallback: [chat]\ndefaults: { groupWait: 0s }\n");
    world.at(0);
    assert!(world.send("chat", 1).is_some());
    let other = config("fallback: [chat, am]\ndefaults: { groupWait: 0s }\n");
    world.core.configure(other, T.plus(10));
    assert_eq!(world.send("chat", 11), None, "it knows");
    assert!(world.send("am", 13).is_some());
    let muted = HEAD.replace("keep: 0s", "keep: 0s, muted: true");
    let muted = Config::parse(&format!("{muted}fallback: [chat]\n")).unwrap();
    world.core.configure(Arc::new(muted), T.plus(20));
    world.at(20);
    assert_eq!(world.core.mute(World::key().id(), T.plus(20)), Some(Mute::Configured));
    assert_eq!(world.send("chat", 99_999), None, "nobody is reminded of it");
}

#[test]
fn a_silence_mutes_until_it_ends_and_an_acknowledgement_ends_with_its_alert() {
    let mut world = World::new("fallback: [chat]\ndefaults: { groupWait: 0s }\n");
    let wanted = |ends: i64| Wanted {
        matcher: Some(serde_json::json!({"nodes": ["worker-*"]})),
        alert: None,
        reason: "the rack moves".to_owned(),
        starts_at: None,
        ends_at: T.plus(ends),
    };
    world.core.silence(wanted(100), "anna", T).unwrap();
    world.at(0);
    assert_eq!(world.send("chat", 50), None);
    assert!(world.send("chat", 106).is_some(), "it still fires");
    assert!(world.core.silences.is_empty(), "over, it is gone");
    let id = World::key().id();
    let acknowledged = Wanted { matcher: None, alert: Some(id), ..wanted(99_999) };
    world.core.silence(acknowledged, "anna", T.plus(200)).unwrap();
    world.at(200);
    assert!(matches!(world.core.mute(id, T.plus(200)), Some(Mute::Silence { .. })));
    world.severity = None;
    world.at(300);
    world.at(301);
    assert!(world.core.silences.is_empty(), "its alert is over");
}

#[test]
fn a_book_without_room_is_an_alert() {
    let mut world = World::new("fallback: [chat]\ndefaults: { groupWait: 0s }\n");
    let mut see = |many: usize, at: i64| {
        let one = |n: usize| Sighting {
            key: World::key().subject(&n.to_string()),
            severity: Severity::Warning,
            since: None,
            values: Values::default(),
        };
        let looks = vec![(Scope::Fleet, Look::Seen((0..many).map(one).collect()))];
        let seen = Seen { looks, ..Seen::default() };
        world.core.turn(Some(seen), &|_, _| String::new(), T.plus(at));
        let full = Key::of(Kind::NotifierFailing).subject("alert-book").id();
        world.core.book.record(full).map(|it| (it.phase(), it.values["problem"].clone()))
    };
    assert_eq!(see(MAX_RECORDS, 0), None, "there was room for all");
    let (phase, problem) = see(MAX_RECORDS + 5, 10).unwrap();
    assert_eq!((phase, problem.contains("5 were not taken")), ("firing", true), "{problem}");
}

#[test]
fn a_receiver_that_gets_nothing_is_an_alert_to_the_others() {
    let rest = "fallback: [chat, am]\ndefaults: { groupWait: 0s }\n";
    let mut world = World::new(rest);
    world.at(0);
    world.core.unusable.insert("chat".to_owned(), "its secret is not there".to_owned());
    world.at(10);
    world.at(12);
    let failing = Key::of(Kind::NotifierFailing).subject("chat").id();
    let record = world.core.book.record(failing).unwrap();
    assert!(record.is_firing());
    assert_eq!(record.values["problem"], "its secret is not there");
    let told: Vec<&str> =
        world.core.desk.of_alert(failing).map(|group| &*group.id.receiver).collect();
    assert_eq!(told, ["am"]);
}

#[test]
fn settings_that_are_not_followed_are_an_alert_of_their_own_until_they_are() {
    let mut world = World::new("fallback: [chat]\n");
    world.core.refused = Some("line 3: moon".to_owned());
    world.at(10);
    let id = Key::of(Kind::AlertConfigRefused).subject("configuration").id();
    let record = world.core.book.record(id).unwrap();
    assert!(record.is_firing());
    let words = world.core.catalogue.words(&record.key, "prod", &record.values);
    let said = "the newest configuration of alerts is not followed: line 3: moon";
    assert_eq!(words.summary, said);
    world.core.refused = None;
    world.at(20);
    world.at(21);
    assert!(!world.core.book.record(id).is_some_and(Record::is_firing));
}

#[test]
fn another_name_of_the_cluster_and_a_start_without_settings_forget_nobody() {
    let rest = "fallback: [chat]\ndefaults: { groupWait: 0s, groupBy: [alertname] }\n";
    let mut world = World::new(rest);
    world.at(0);
    assert!(world.send("chat", 1).is_some());
    let id = World::key().id();
    world.core.silence(acknowledging(id), "anna", T.plus(2)).unwrap();
    world.at(2);
    // A start that could read no settings, and then those with another name.
    world.core.config = Arc::default();
    world.core = world.core.again(T.plus(10));
    world.at(10);
    world.core.configure(config(&format!("cluster: other\n{rest}")), T.plus(20));
    assert!(matches!(world.core.mute(id, T.plus(20)), Some(Mute::Silence { .. })), "as it was");
    world.core.end_silence(world.core.silences[0].id);
    assert_eq!(world.send("chat", 21), None, "it knows");
    world.core = world.core.again(T.plus(30));
    assert_eq!(world.core.book.records().len(), 1, "one row for one alert");
    world.severity = None;
    world.at(40);
    assert_eq!(world.send("chat", 400), Some((vec![], vec![Severity::Warning])), "its end");
}

fn acknowledging(id: AlertId) -> Wanted {
    Wanted {
        matcher: None,
        alert: Some(id),
        reason: "I am on it".to_owned(),
        starts_at: None,
        ends_at: T.plus(99_999),
    }
}

#[test]
fn what_is_refused_in_part_is_told_and_the_rest_is_for_people_to_see() {
    let mut world = World::new("fallback: [chat, am]\ndefaults: { groupWait: 0s }\n");
    world.at(0);
    world.at(10);
    let Parcel { places, .. } = world.core.next("am", T.plus(10)).unwrap();
    let why = "1 of 2 alerts: answered 400: no such label".to_owned();
    world.core.done(&places, &Outcome::Partial { why: why.clone() }, 0, T.plus(10));
    let post = world.core.desk.post("am").unwrap();
    assert_eq!((post.delivered_at, post.failed.clone()), (Some(T.plus(10)), None));
    let letters: Vec<_> = post.dead.iter().map(|it| (it.alerts, &*it.why)).collect();
    assert_eq!(letters, [(1, &*format!("refused in part: {why}"))]);
    assert!(world.core.next("am", T.plus(11)).is_none(), "it is told");
    world.at(12);
    let failing = Key::of(Kind::NotifierFailing).subject("am").id();
    let record = world.core.book.record(failing).unwrap();
    assert_eq!(record.values["problem"], format!("refused in part: {why}"));
}

#[test]
fn another_attempt_is_known_for_one_and_a_new_message_for_new() {
    let mut world = World::new("fallback: [chat]\ndefaults: { groupWait: 0s }\n");
    let turn = |world: &mut World, at: i64| {
        world.at(at);
        let Parcel { places, .. } = world.core.next("chat", T.plus(at)).unwrap();
        let turn = world.core.turn_of(&places).unwrap();
        let retry = Outcome::Retry { after: None, why: "503".to_owned() };
        world.core.done(&places, &retry, 0, T.plus(at));
        turn
    };
    let first = turn(&mut world, 0);
    let second = turn(&mut world, 400);
    assert_eq!((first.attempts, second.attempts), (0, 1));
    assert_eq!((&first.place, first.print), (&second.place, second.print));
    world.severity = Some(Severity::Critical);
    assert_ne!(turn(&mut world, 800).print, first.print);
}
