//! The tables, and the steps from each version of them to the next.

use std::path::Path;

use rusqlite::Connection;

use super::OpenError;

/// Marks the file as ours: "pali" in ASCII. See <https://www.sqlite.org/pragma.html>.
const APPLICATION_ID: i32 = 0x7061_6c69;

/// Steps from version N to N + 1, in order; never changed once released.
///
/// `sections` has the name in its key because equal bytes may stand for different sections ("the
/// reader crashed"), and because a section of one node must never be had by naming its digest as
/// another, shared section. A node's `body` is one packed value: it is always read and written as
/// a whole, while the other columns change without it.
const STEPS: &[&str] = &[
    "
    CREATE TABLE sections (
        digest BLOB NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (digest, name)
    );
    CREATE TABLE nodes (
        name TEXT PRIMARY KEY NOT NULL,
        state TEXT NOT NULL,
        state_since INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        skew_secs INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE judgements (
        key BLOB PRIMARY KEY NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX history_of_node ON history (node, id);
    CREATE TABLE certificates (
        id INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        path TEXT NOT NULL,
        not_after INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX certificates_by_end ON certificates (not_after, id);
    CREATE INDEX certificates_of_node ON certificates (node, not_after, id);
    CREATE TABLE probe (filler BLOB NOT NULL);
",
    "
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        node TEXT,
        actor TEXT NOT NULL,
        body BLOB NOT NULL,
        hash BLOB NOT NULL
    );
    CREATE INDEX audit_of_kind ON audit (kind, id);
    CREATE INDEX audit_of_node ON audit (node, id);
    CREATE INDEX audit_of_actor ON audit (actor, id);
    CREATE TABLE audit_anchor (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id INTEGER NOT NULL,
        hash BLOB NOT NULL
    );
",
    "
    CREATE TABLE archive (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        name TEXT NOT NULL,
        uid TEXT,
        body BLOB NOT NULL
    );
    CREATE INDEX archive_of_name ON archive (name, id);
    CREATE TABLE marks (
        name TEXT PRIMARY KEY NOT NULL,
        value INTEGER NOT NULL
    );
",
    // The hash that an entry follows whose neighbour was taken away.
    "
    ALTER TABLE audit ADD COLUMN follows BLOB;
",
    // Requests for reboots of a collector without a cluster.
    "
    CREATE TABLE reboots (
        uid TEXT PRIMARY KEY NOT NULL,
        body BLOB NOT NULL
    );
",
];

/// Brings the tables to the newest version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let open = |source| OpenError::Open { path: path.to_owned(), source };
    let id: i32 = connection.query_row("PRAGMA application_id", [], |r| r.get(0)).map_err(open)?;
    let found: u32 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(open)?;
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .map_err(open)?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    for (to, step) in (1..).zip(STEPS) {
        if to <= found {
            continue;
        }
        let migrate = |source| OpenError::Migrate { path: path.to_owned(), to, source };
        let transaction = connection.transaction().map_err(migrate)?;
        transaction
            .execute_batch(step)
            .and_then(|()| transaction.pragma_update(None, "application_id", APPLICATION_ID))
            .and_then(|()| transaction.pragma_update(None, "user_version", to))
            .map_err(migrate)?;
        transaction.commit().map_err(migrate)?;
    }
    Ok(())
}
