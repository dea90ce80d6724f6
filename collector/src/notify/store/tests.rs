//! What the store keeps, and when it is on the disk.

use std::collections::BTreeMap;

use palisade_alert::book::State;
use palisade_alert::desk::Style;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Scope;
use palisade_report::Moment;

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("palisade-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn record() -> Record {
    let at = Moment::from_unix(1_800_000_000);
    Record {
        key: Key::of_node(Kind::AgentSilent, "a".parse().unwrap(), None),
        scope: Scope::Fleet,
        severity: Severity::Warning,
        milder: None,
        reached: BTreeMap::from([(Severity::Warning, None), (Severity::Critical, Some(at))]),
        state: State::Firing { fired_at: at },
        holds_from: at,
        gone_since: None,
        stale: None,
        values: std::sync::Arc::default(),
        ended: None,
    }
}

fn group() -> Group {
    let id = GroupId { receiver: "chat".into(), key: "{}".into() };
    let mut group = Group::new(id, Style::Grouped, BTreeMap::new(), [1, 2, 3]);
    group.lines = [3, u64::MAX].map(|id| (AlertId(id), Line::default())).into();
    group
}

#[test]
fn what_is_written_is_there_after_it_was_opened_again() {
    let path = directory("alert-store").join("alerts.db");
    let (record, group) = (record(), group());
    let id = AlertId(u64::MAX - 7);
    let mut store = AlertStore::open(&path).unwrap();
    assert!(matches!(AlertStore::open(&path), Err(OpenAlertsError::InUse { .. })));
    let lines = group.lines.keys().copied().collect();
    let changes =
        [Change::Alert(id, Some(&record)), Change::Group(&group.id, &lines, Some(&group))];
    store.commit(&changes).unwrap();
    drop(store);
    let mut store = AlertStore::open(&path).unwrap();
    let kept = store.load().unwrap();
    assert_eq!((&*kept.records, &*kept.groups), (&[record][..], std::slice::from_ref(&group)));
    let none = BTreeSet::new();
    store.commit(&[Change::Alert(id, None), Change::Group(&group.id, &none, None)]).unwrap();
    let kept = store.load().unwrap();
    assert!(kept.records.is_empty() && kept.groups.is_empty() && kept.unread == 0);
    store.commit(&[Change::Group(&group.id, &none, Some(&group))]).unwrap();
    let kept = store.load().unwrap();
    assert!(kept.groups.iter().all(|it| it.lines.is_empty()), "its lines went with it");
}

#[test]
fn of_a_group_only_lines_are_written_that_changed() {
    let mut store = AlertStore::fleeting().unwrap();
    let mut group = group();
    let all = group.lines.keys().copied().collect();
    store.commit(&[Change::Group(&group.id, &all, Some(&group))]).unwrap();
    let (gone, new, other) = (AlertId(3), AlertId(4), AlertId(u64::MAX));
    group.lines.remove(&gone);
    let routed: Line = serde_json::from_str(r#"{"is_routed":true}"#).unwrap();
    group.lines.insert(new, routed);
    let written = group.clone();
    group.lines.insert(other, routed);
    let changed = BTreeSet::from([gone, new]);
    store.commit(&[Change::Group(&group.id, &changed, Some(&group))]).unwrap();
    assert_eq!(store.load().unwrap().groups, [written]);
}

#[test]
fn outcomes_wait_for_the_disk_together_and_news_is_on_it_at_once() {
    let path = directory("alert-sync").join("alerts.db");
    let mut store = AlertStore::open(&path).unwrap();
    let (record, group) = (record(), group());
    let none = BTreeSet::new();
    let outcome = || Change::Group(&group.id, &none, Some(&group));
    let mut syncs = |change: Change<'_>, synced_at: Option<Instant>| {
        store.synced_at = synced_at;
        store.commit(&[change]).unwrap();
        let level = store.connection.query_row("PRAGMA synchronous", [], |row| row.get(0));
        level == Ok(2_i64)
    };
    // Later than any clock of this test: however slow the machine is, it was just now.
    let just_now = Instant::now() + Duration::from_secs(3600);
    assert!(syncs(outcome(), None), "the first");
    assert!(!syncs(outcome(), Some(just_now)));
    assert!(syncs(Change::Alert(AlertId(1), Some(&record)), Some(just_now)));
    assert!(syncs(outcome(), Instant::now().checked_sub(SYNC_EVERY)));
}

#[test]
fn a_message_that_takes_back_what_was_told_is_on_the_disk_before_it_goes() {
    let path = directory("alert-back").join("alerts.db");
    let mut store = AlertStore::open(&path).unwrap();
    let mut group = group();
    let id = AlertId(3);
    let mut syncs = |line: &str, lines: &[AlertId]| {
        group.lines.insert(id, serde_json::from_str(line).unwrap());
        store.synced_at = Some(Instant::now() + Duration::from_secs(3600));
        store.is_synced = true;
        let lines = lines.iter().copied().collect();
        store.commit(&[Change::Group(&group.id, &lines, Some(&group))]).unwrap();
        store.is_synced
    };
    let back = r#"{"told":"warning","is_on_its_way":true}"#;
    assert!(syncs(back, &[id]));
    assert!(!syncs(back, &[]), "it was there before");
    assert!(!syncs(r#"{"is_given":true}"#, &[id]), "it would be told again");
    assert!(!syncs(r#"{"told":"warning"}"#, &[id]));
}

#[test]
fn outcomes_that_nothing_follows_reach_the_disk_too() {
    let path = directory("alert-late").join("alerts.db");
    let mut store = AlertStore::open(&path).unwrap();
    let group = group();
    store.synced_at = Some(Instant::now() + Duration::from_secs(3600));
    store.commit(&[Change::Group(&group.id, &BTreeSet::new(), Some(&group))]).unwrap();
    store.commit(&[]).unwrap();
    assert!(!store.is_synced, "not yet");
    store.synced_at = Instant::now().checked_sub(SYNC_EVERY);
    let frames = |store: &AlertStore| {
        let row = store.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        row.unwrap()
    };
    store.commit(&[]).unwrap();
    let (written, moved) = frames(&store);
    assert!(store.is_synced && written == moved, "{moved} of {written} frames");
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let path = directory("alert-version").join("alerts.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(STEPS[0]).unwrap();
    old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let group = group();
    let mut body = serde_json::to_value(&group).unwrap();
    body["lines"] = serde_json::to_value(&group.lines).unwrap();
    let sql = "INSERT INTO outbox VALUES ('chat', '{}', ?1), ('chat', 'cut', '{')";
    old.execute(sql, [body.to_string()]).unwrap();
    drop(old);
    let kept = AlertStore::open(&path).unwrap().load().unwrap();
    assert_eq!((kept.groups, kept.unread), (vec![group], 0));
}

#[test]
fn a_row_that_cannot_be_understood_costs_itself_only() {
    let path = directory("alert-rows").join("alerts.db");
    let mut store = AlertStore::open(&path).unwrap();
    let record = record();
    store.commit(&[Change::Alert(AlertId(1), Some(&record))]).unwrap();
    store.connection.execute("INSERT INTO alerts VALUES (2, '{')", []).unwrap();
    let kept = store.load().unwrap();
    assert_eq!((kept.records.len(), kept.unread), (1, 1));
}

#[test]
fn files_of_others_are_left_alone() {
    let path = directory("alert-foreign").join("alerts.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    assert!(matches!(AlertStore::open(&path), Err(OpenAlertsError::Foreign { .. })));
}
