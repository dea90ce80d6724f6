//! The audit in the store: rows behind each other, and the anchor that the oldest one follows.

use std::path::Path;
use std::path::PathBuf;

use palisade_report::Digest;
use palisade_report::NodeName;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Transaction;
use rusqlite::params;
use serde::Serialize;

use super::LoadError;
use super::Page;
use super::ReadError;
use super::Reader;
use super::Store;
use super::reader::page;
use super::reader::sql_limit;
use super::write::CommitError;
use crate::audit::Entry;
use crate::audit::Kind;
use crate::audit::chain::Broken;
use crate::audit::chain::Follower;
use crate::audit::chain::Link;
use crate::audit::chain::ORIGIN;
use crate::audit::chain::Verified;

/// Rows that are checked at a time, so that a check never holds many in memory.
const CHECK_ROWS: i64 = 1000;

/// An entry and its text, ready to be kept.
#[derive(Clone, Debug)]
pub(crate) struct AuditRow {
    pub(crate) entry: Entry,
    pub(crate) text: Vec<u8>,
    pub(crate) hash: Digest,
}

/// Both ends of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// What the oldest entry follows.
    pub(crate) anchor: Link,
    /// The newest entry; the anchor if there is none.
    pub(crate) last: Link,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only about this node.
    pub node: Option<NodeName>,
    /// Only of this actor: `collector`, `node:NAME`, `person:USER`, `unknown`.
    pub actor: Option<String>,
}

/// An entry and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// What is hashed.
    pub entry: Entry,
    /// Its hash.
    pub hash: Digest,
    /// The hash that it follows, where it is older than the whole chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<Digest>,
}

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file is not there, or no store that this version reads. At fault: whoever named it.
    #[error("failed to open the store at {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The chain does not hold. At fault: whoever changed the store.
    #[error("failed to verify the audit")]
    Broken(#[source] Broken),
    /// The rows cannot be read. At fault: the disk.
    #[error("failed to read the audit")]
    Read(#[source] rusqlite::Error),
}

pub(super) fn put(transaction: &Transaction<'_>, row: &AuditRow) -> Result<(), CommitError> {
    let AuditRow { entry, text, hash } = row;
    transaction
        .prepare_cached(
            "INSERT INTO audit (id, at, kind, node, actor, body, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                entry.id,
                entry.at.unix(),
                entry.kind.as_str(),
                entry.node.as_ref().map(NodeName::as_str),
                entry.actor.to_string(),
                text,
                hash.as_bytes(),
            ])
        })
        .map(drop)
        .map_err(|source| CommitError::Row { table: "audit", source })
}

/// Takes entries up to a place away, the last of which becomes the anchor. Those that are among the
/// newest `of_each` of their kind stay, with the hash that they follow.
pub(super) fn trim(
    transaction: &Transaction<'_>,
    through: i64,
    of_each: i64,
) -> Result<(), CommitError> {
    let failed = |source| CommitError::Row { table: "audit", source };
    for sql in [
        "UPDATE audit SET follows = coalesce(
             (SELECT before.hash FROM audit AS before WHERE before.id = audit.id - 1),
             (SELECT hash FROM audit_anchor WHERE audit_anchor.id = audit.id - 1),
             iif(audit.id = 1, zeroblob(32), NULL))
         WHERE id <= ?1 AND follows IS NULL
           AND id > coalesce((SELECT id FROM audit_anchor), 0)",
        "INSERT OR REPLACE INTO audit_anchor (one, id, hash)
         SELECT 1, id, hash FROM audit WHERE id = ?1",
    ] {
        let statement = transaction.prepare_cached(sql);
        statement.and_then(|mut it| it.execute((through,))).map_err(failed)?;
    }
    for kind in Kind::ALL {
        transaction
            .prepare_cached(
                "DELETE FROM audit WHERE kind = ?1 AND id <= ?2 AND id <=
                     (SELECT id FROM audit WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            )
            .and_then(|mut it| it.execute((kind.as_str(), through, of_each)))
            .map_err(failed)?;
    }
    Ok(())
}

impl Store {
    /// Both ends of the audit.
    pub(super) fn audit_ends(&self) -> Result<Ends, LoadError> {
        ends(&self.connection).map_err(|source| LoadError::Query { table: "audit", source })
    }
}

impl Reader {
    /// Entries that fit, newest first, before the place `before`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn audit(
        &self,
        filter: AuditFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, ReadError> {
        const WHAT: &str = "audit";
        let before = before.unwrap_or(i64::MAX);
        let AuditFilter { kind, node, actor } = filter;
        self.run(move |connection| {
            let query = |source| ReadError::Query { what: WHAT, source };
            let mut statement = connection
                .prepare_cached(
                    "SELECT body, hash, iif(id <= coalesce((SELECT id FROM audit_anchor), 0),
                         follows, NULL)
                     FROM audit
                     WHERE id < ?1 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR node = ?4)
                       AND (?5 IS NULL OR actor = ?5)
                     ORDER BY id DESC LIMIT ?2",
                )
                .map_err(query)?;
            type Row = (Vec<u8>, [u8; 32], Option<[u8; 32]>);
            let rows: Vec<Row> = statement
                .query_map(
                    params![
                        before,
                        sql_limit(limit),
                        kind.map(Kind::as_str),
                        node.as_ref().map(NodeName::as_str),
                        actor,
                    ],
                    |row| Row::try_from(row),
                )
                .map_err(query)?
                .collect::<Result<_, _>>()
                .map_err(query)?;
            let mut entries = Vec::with_capacity(rows.len());
            for (body, hash, follows) in rows {
                let entry = serde_json::from_slice(&body).map_err(|source| {
                    ReadError::Malformed { what: WHAT, source: Box::new(source) }
                })?;
                let hash = Digest::from_bytes(hash);
                let follows = follows.map(Digest::from_bytes);
                entries.push(AuditEntry { entry, hash, follows });
            }
            Ok(page(entries, limit, |row| row.entry.id.to_string()))
        })
        .await
    }
}

fn ends(connection: &Connection) -> Result<Ends, rusqlite::Error> {
    let link = |sql: &str| {
        connection
            .query_row(sql, [], |row| {
                let (id, hash): (i64, [u8; 32]) = row.try_into()?;
                Ok(Link { id, hash: Digest::from_bytes(hash) })
            })
            .optional()
    };
    let anchor = link("SELECT id, hash FROM audit_anchor")?.unwrap_or(ORIGIN);
    let last = link("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?;
    Ok(Ends { anchor, last: last.filter(|last| last.id > anchor.id).unwrap_or(anchor) })
}

/// Follows the audit in the store at `path` from its oldest entry to its end. The collector whose
/// store it is may run meanwhile.
///
/// # Errors
/// [`VerifyError`]: where it does not hold first.
pub fn verify_audit(path: &Path) -> Result<Verified, VerifyError> {
    let open = |source| VerifyError::Open { path: path.to_owned(), source };
    let mut connection = super::read_only(path).map_err(open)?;
    // One picture of it all, whatever is trimmed meanwhile.
    let transaction = connection.transaction().map_err(open)?;
    let known = transaction.query_row("SELECT follows FROM audit LIMIT 1", [], |_| Ok(()));
    known.optional().map_err(open)?;
    verify(&transaction)
}

fn verify(connection: &Connection) -> Result<Verified, VerifyError> {
    type Row = (i64, Vec<u8>, [u8; 32], Option<[u8; 32]>);
    let anchor = ends(connection).map_err(VerifyError::Read)?.anchor;
    let mut follower = Follower::behind(anchor);
    let (mut after, mut singly) = (0, 0_u64);
    loop {
        let mut statement = connection
            .prepare_cached(
                "SELECT id, body, hash, follows FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2",
            )
            .map_err(VerifyError::Read)?;
        let rows: Vec<Row> = statement
            .query_map((after, CHECK_ROWS), |row| Row::try_from(row))
            .and_then(Iterator::collect)
            .map_err(VerifyError::Read)?;
        if rows.is_empty() {
            return Ok(Verified { anchor, last: follower.last(), singly });
        }
        for (id, text, hash, follows) in rows {
            let at = Link { id, hash: Digest::from_bytes(hash) };
            follower
                .take(at, &text, follows.map(Digest::from_bytes))
                .map_err(VerifyError::Broken)?;
            after = id;
            singly = singly.saturating_add(u64::from(id <= anchor.id));
        }
    }
}
