//! Opening, refusing to open, and reading beside the writer.

use super::*;
use crate::audit::Entry;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::audit::chain;
use crate::audit::chain::Broken;
use crate::audit::chain::Link;
use crate::store::write::Write;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("palisade-store-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("palisade.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn only_one_collector_opens_a_store() {
    let scratch = Scratch::new("lock");
    let first = Store::open(&scratch.file()).unwrap();
    let second = Store::open(&scratch.file());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(first);
    Store::open(&scratch.file()).unwrap();
}

#[test]
fn a_newer_a_foreign_and_a_damaged_file_are_refused_each_by_name() {
    let scratch = Scratch::new("refused");
    let store = Store::open(&scratch.file()).unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let newer = Store::open(&scratch.file());
    assert!(matches!(newer, Err(OpenError::Newer { found: 99, .. })), "{newer:?}");

    let foreign = scratch.0.join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let opened = Store::open(&foreign);
    assert!(matches!(opened, Err(OpenError::Foreign { .. })), "{opened:?}");

    let garbage = scratch.0.join("garbage.db");
    fs::write(&garbage, [0x5a; 8192]).unwrap();
    let opened = Store::open(&garbage);
    assert!(matches!(opened, Err(OpenError::Open { .. })), "{opened:?}");

    // Pages in the middle are overwritten: the check finds it, nothing is served from it.
    let damaged = scratch.0.join("damaged.db");
    let mut store = Store::open(&damaged).unwrap();
    let writes: Vec<Write> = (0..200_u32)
        .map(|number| Write::Section {
            name: SectionName::Kernel,
            digest: Digest::of(&number.to_be_bytes()),
            bytes: Digest::of(&number.to_le_bytes()).to_string().repeat(20).into_bytes(),
        })
        .collect();
    store.commit(&writes).unwrap();
    store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(store);
    let mut bytes = fs::read(&damaged).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0x5a);
    fs::write(&damaged, bytes).unwrap();
    let opened = Store::open(&damaged);
    assert!(
        matches!(opened, Err(OpenError::Damaged { .. } | OpenError::Open { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let missing = PathBuf::from("/nonexistent/palisade.db");
    let opened = Store::open(&missing);
    assert!(
        matches!(&opened, Err(OpenError::Make { path, .. }) if path.starts_with("/nonexistent"))
    );
}

#[test]
fn sections_come_back_byte_for_byte_and_history_in_pages() {
    let scratch = Scratch::new("pages");
    let mut store = Store::open(&scratch.file()).unwrap();
    let reader = store.reader().unwrap();
    let bytes = br#"{"state":"unknown","why":{"detail":"x","kind":"other"}}"#.to_vec();
    let digest = Digest::of(&bytes);
    let node: NodeName = "a".parse().unwrap();
    let mut writes = vec![
        Write::Section { name: SectionName::Kernel, digest, bytes: bytes.clone() },
        // Equal bytes may be another section, too.
        Write::Section { name: SectionName::Files, digest, bytes: bytes.clone() },
    ];
    writes.extend((1..=25).map(|id| Write::Event {
        id,
        at: Moment::from_unix(id),
        node: node.clone(),
        event: crate::engine::NodeEvent::Enrolled,
    }));
    store.commit(&writes).unwrap();
    assert_eq!(wait(reader.section(digest)).unwrap(), Some(bytes));
    assert_eq!(wait(reader.section(Digest::of(b""))).unwrap(), None);
    let mut cursor = None;
    let mut ids = Vec::new();
    loop {
        let page = wait(reader.history(Some(node.clone()), cursor, 10)).unwrap();
        ids.extend(page.rows.iter().map(|entry| entry.id));
        cursor = page.next.map(|next| next.parse().unwrap());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(ids, (1..=25).rev().collect::<Vec<_>>());
    let after = wait(reader.history_after(20, 3)).unwrap();
    assert_eq!(after.iter().map(|entry| entry.id).collect::<Vec<_>>(), [21, 22, 23]);
    let bad = wait(reader.certificates(CertificateFilter::default(), Some("x".to_owned()), 1));
    assert!(matches!(bad, Err(ReadError::Cursor)));
}

#[test]
fn certificates_are_listed_by_their_end_and_replaced_as_a_whole() {
    let scratch = Scratch::new("certificates");
    let mut store = Store::open(&scratch.file()).unwrap();
    let reader = store.reader().unwrap();
    let put = |node: &str, ends: &[Option<i64>]| Write::Certificates {
        node: node.parse().unwrap(),
        section: Some(Arc::new(certificates(ends))),
    };
    let listed = |filter: CertificateFilter, limit: usize| {
        let mut cursor = None;
        let mut all = Vec::new();
        loop {
            let page = wait(reader.certificates(filter.clone(), cursor, limit)).unwrap();
            all.extend(
                page.rows
                    .into_iter()
                    .map(|row| (row.node.to_string(), row.not_after.map(Moment::unix))),
            );
            cursor = page.next;
            if cursor.is_none() {
                return all;
            }
        }
    };
    let row = |node: &str, end: Option<i64>| (node.to_owned(), end);
    store.commit(&[put("a", &[Some(30), None, Some(-5)]), put("b", &[Some(20)])]).unwrap();
    let all = [row("a", Some(-5)), row("b", Some(20)), row("a", Some(30)), row("a", None)];
    for limit in 1..6 {
        assert_eq!(listed(CertificateFilter::default(), limit), all);
    }
    let soon = CertificateFilter { ends_before: Some(Moment::from_unix(30)), node: None };
    assert_eq!(listed(soon, 10), all[..2]);
    let of_a = CertificateFilter { node: Some("a".parse().unwrap()), ends_before: None };
    assert_eq!(listed(of_a.clone(), 10).len(), 3);
    for (limit, ends) in
        [(2, vec![Some(-5), Some(20)]), (9, vec![Some(-5), Some(20), Some(30), None])]
    {
        let (first, count) = wait(reader.first_certificates(limit)).unwrap();
        let found: Vec<_> = first.iter().map(|row| row.not_after.map(Moment::unix)).collect();
        assert_eq!((found, count), (ends, 4));
    }
    store.commit(&[put("a", &[Some(40)])]).unwrap();
    assert_eq!(listed(of_a.clone(), 10), [row("a", Some(40))]);
    let none = Write::Certificates { node: "a".parse().unwrap(), section: None };
    store.commit(&[none]).unwrap();
    assert_eq!(listed(of_a, 10), []);
}

fn certificates(ends: &[Option<i64>]) -> serde_json::Value {
    use palisade_report::section::certificates::*;
    use palisade_report::*;
    let origin = || Origin::words("test");
    let list = ends.iter().map(|end| Certificate {
        fingerprint: Digest::of(b""),
        index: 0,
        entry: String::new(),
        subject: "CN=a".to_owned(),
        issuer: "CN=b".to_owned(),
        serial: "1".to_owned(),
        names: Vec::new(),
        key: Key { kind: "ec".to_owned(), bits: 256 },
        signature: "x".to_owned(),
        not_before: Reading::known(Moment::from_unix(0), origin()),
        not_after: match end {
            Some(end) => Reading::known(Moment::from_unix(*end), origin()),
            None => Reading::unknown(Why::new(WhyKind::Malformed, "x"), origin()),
        },
        class: Class::Leaf,
        usages: Vec::new(),
        key_match: Reading::absent(origin()),
        chain: Reading::absent(origin()),
    });
    let file = CertificateFile {
        watched: ["setting".to_owned()].into(),
        expected: Expectation::Required,
        resolved: Reading::absent(origin()),
        certificates: Reading::known(list.collect(), origin()),
        malformed: Vec::new(),
    };
    let files = [("/etc/x.crt".to_owned(), file)].into();
    serde_json::to_value(Section::Known(Certificates { files, left_out: Vec::new() })).unwrap()
}

#[test]
fn the_file_is_its_owners_alone_and_a_link_to_it_is_the_same_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("modes");
    let store = Store::open(&scratch.file()).unwrap();
    for name in ["palisade.db", "palisade.db-wal", "palisade.db-shm"] {
        let mode = fs::metadata(scratch.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let link = scratch.0.join("link.db");
    std::os::unix::fs::symlink(scratch.file(), &link).unwrap();
    let second = Store::open(&link);
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(store);
}

#[test]
fn the_audit_is_a_chain_that_outlives_trimming_and_shows_what_was_changed() {
    let scratch = Scratch::new("audit");
    let mut store = Store::open(&scratch.file()).unwrap();
    let reader = store.reader().unwrap();
    let mut last = chain::ORIGIN;
    for id in 1..=10 {
        let node: NodeName = format!("worker-{}", id % 2).parse().unwrap();
        let happening = Happening::own(Kind::NodeRetired, format!("{id}"), "a test").about(node);
        let entry = Entry::new(id, Moment::from_unix(id), happening);
        let text = chain::text_of(&entry).unwrap();
        last = Link { id, hash: chain::link(&last.hash, &text) };
        let row = AuditRow { entry, text, hash: last.hash };
        store.commit(&[Write::Audit(Box::new(row))]).unwrap();
    }
    assert_eq!(verify_audit(&scratch.file()).unwrap().last, last);
    store.commit(&[Write::TrimAudit { through: 4, of_each: 0 }]).unwrap();
    assert_eq!(verify_audit(&scratch.file()).unwrap().last, last);
    let ends = store.load().unwrap().audit;
    assert_eq!((ends.anchor.id, ends.last), (4, last));
    let filter = AuditFilter { node: Some("worker-1".parse().unwrap()), ..AuditFilter::default() };
    let page = wait(reader.audit(filter, None, 2)).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.entry.id).collect::<Vec<_>>(), [9, 7]);
    assert_eq!(page.next.as_deref(), Some("7"));
    store
        .connection
        .execute("UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'a test', 'a lie') AS BLOB) WHERE id = 6", ())
        .unwrap();
    let broken = verify_audit(&scratch.file());
    assert!(matches!(broken, Err(VerifyError::Broken(Broken::Hash { id: 6 }))), "{broken:?}");
    store.connection.execute("DELETE FROM audit WHERE id = 6", ()).unwrap();
    let broken = verify_audit(&scratch.file());
    assert!(
        matches!(broken, Err(VerifyError::Broken(Broken::Gap { after: 5, id: 7 }))),
        "{broken:?}"
    );
}

/// A store whose audit has entries of these kinds, numbered from 1, and the hash of each.
fn audited(scratch: &Scratch, kinds: &[Kind]) -> (Store, Vec<Digest>) {
    let mut store = Store::open(&scratch.file()).unwrap();
    let (mut hashes, mut writes) = (Vec::<Digest>::new(), Vec::new());
    for (id, kind) in (1..).zip(kinds) {
        let happening = Happening::own(*kind, format!("{id}"), "a test");
        let entry = Entry::new(id, Moment::from_unix(id), happening);
        let text = chain::text_of(&entry).unwrap();
        let before = hashes.last().copied().unwrap_or(chain::ORIGIN.hash);
        let hash = chain::link(&before, &text);
        hashes.push(hash);
        writes.push(Write::Audit(Box::new(AuditRow { entry, text, hash })));
    }
    store.commit(&writes).unwrap();
    (store, hashes)
}

#[test]
fn a_flood_of_one_kind_takes_no_other_kind_out_of_the_audit() {
    let mut kinds = vec![Kind::TokenRefused; 1000];
    for at in [0, 1, 40, 500] {
        kinds[at] = Kind::Leadership;
    }
    let scratch = Scratch::new("flood");
    let (mut store, hashes) = audited(&scratch, &kinds);
    for (through, hash) in [(300, hashes[299]), (600, hashes[599]), (900, hashes[899])] {
        store.commit(&[Write::TrimAudit { through, of_each: 3 }]).unwrap();
        let verified = verify_audit(&scratch.file()).unwrap();
        assert_eq!(verified.anchor, Link { id: through, hash });
        assert_eq!(verified.last, Link { id: 1000, hash: hashes[999] });
    }
    assert_eq!(verify_audit(&scratch.file()).unwrap().singly, 3);
    assert_eq!(store.load().unwrap().audit.last, Link { id: 1000, hash: hashes[999] });
    let reader = store.reader().unwrap();
    let filter = AuditFilter { kind: Some(Kind::Leadership), ..AuditFilter::default() };
    let page = wait(reader.audit(filter, None, 10)).unwrap();
    let kept: Vec<_> = page.rows.iter().map(|row| (row.entry.id, row.follows)).collect();
    assert_eq!(kept, [(501, Some(hashes[499])), (41, Some(hashes[39])), (2, Some(hashes[0]))]);
    let everything = wait(reader.audit(AuditFilter::default(), None, 1000)).unwrap().rows;
    assert_eq!(everything.len(), 103, "a hundred of the chain and three that are older");
    assert!(everything[..100].iter().all(|row| row.follows.is_none()));
}

#[test]
fn what_is_kept_singly_cannot_be_changed_moved_or_put_in_unseen() {
    let kinds = [Kind::Leadership, Kind::Leadership, Kind::TokenRefused, Kind::TokenRefused];
    for (sql, wanted) in [
        (
            "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'a test', 'a lie') AS BLOB) WHERE id = 1",
            "1 does not",
        ),
        (
            "UPDATE audit SET follows = zeroblob(32) WHERE id = 2",
            "2 does not follow the one before",
        ),
        (
            "DELETE FROM audit WHERE id = 1; UPDATE audit SET id = 1 WHERE id = 2",
            "1 does not follow",
        ),
        ("UPDATE audit SET follows = NULL WHERE id = 2", "after 1 comes 2"),
        ("DELETE FROM audit WHERE id = 4", ""),
        ("UPDATE audit_anchor SET hash = zeroblob(32)", "3 does not follow"),
    ] {
        let scratch = Scratch::new("singly");
        let (mut store, _) = audited(&scratch, &kinds);
        store.commit(&[Write::TrimAudit { through: 3, of_each: 2 }]).unwrap();
        assert_eq!(verify_audit(&scratch.file()).unwrap().singly, 3);
        store.connection.execute_batch(sql).unwrap();
        match verify_audit(&scratch.file()) {
            Ok(verified) => assert_eq!((wanted, verified.last.id), ("", 3), "{sql}"),
            Err(VerifyError::Broken(broken)) => {
                assert!(!wanted.is_empty(), "{sql}: {broken}");
                assert!(broken.to_string().contains(wanted), "{sql}: {broken}");
            }
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

#[test]
fn everything_may_be_trimmed_and_the_audit_goes_on() {
    let scratch = Scratch::new("empty");
    let (mut store, hashes) = audited(&scratch, &[Kind::Leadership, Kind::TokenRefused]);
    store.commit(&[Write::TrimAudit { through: 2, of_each: 1 }]).unwrap();
    let end = Link { id: 2, hash: hashes[1] };
    assert_eq!(store.load().unwrap().audit, Ends { anchor: end, last: end });
    store.commit(&[Write::TrimAudit { through: 2, of_each: 0 }]).unwrap();
    assert_eq!(store.load().unwrap().audit, Ends { anchor: end, last: end });
    assert_eq!(verify_audit(&scratch.file()).unwrap().last, end);
}
