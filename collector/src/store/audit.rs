//! The audit in the store: rows behind each other, and the anchor that the oldest one follows.

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
}

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
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

/// Takes entries up to a place away; the last of them becomes the anchor.
pub(super) fn trim(transaction: &Transaction<'_>, through: i64) -> Result<(), CommitError> {
    for sql in [
        "INSERT OR REPLACE INTO audit_anchor (one, id, hash)
         SELECT 1, id, hash FROM audit WHERE id = ?1",
        "DELETE FROM audit WHERE id <= ?1",
    ] {
        transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((through,)))
            .map_err(|source| CommitError::Row { table: "audit", source })?;
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
                    "SELECT body, hash FROM audit
                     WHERE id < ?1 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR node = ?4)
                       AND (?5 IS NULL OR actor = ?5)
                     ORDER BY id DESC LIMIT ?2",
                )
                .map_err(query)?;
            type Row = (Vec<u8>, [u8; 32]);
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
            for (body, hash) in rows {
                let entry = serde_json::from_slice(&body).map_err(|source| {
                    ReadError::Malformed { what: WHAT, source: Box::new(source) }
                })?;
                entries.push(AuditEntry { entry, hash: Digest::from_bytes(hash) });
            }
            Ok(page(entries, limit, |row| row.entry.id.to_string()))
        })
        .await
    }

    /// Follows the whole chain; returns its end.
    ///
    /// # Errors
    /// [`ReadError::Stopped`], or within it where the chain does not hold.
    pub async fn verify_audit(&self) -> Result<Result<Link, VerifyError>, ReadError> {
        self.run(|connection| Ok(verify(connection))).await
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
    let last = link("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?.unwrap_or(anchor);
    Ok(Ends { anchor, last })
}

fn verify(connection: &Connection) -> Result<Link, VerifyError> {
    let anchor = ends(connection).map_err(VerifyError::Read)?.anchor;
    let mut follower = Follower::behind(anchor);
    loop {
        type Row = (i64, Vec<u8>, [u8; 32]);
        let mut statement = connection
            .prepare_cached("SELECT id, body, hash FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2")
            .map_err(VerifyError::Read)?;
        let rows: Vec<Row> = statement
            .query_map((follower.last().id, CHECK_ROWS), |row| Row::try_from(row))
            .and_then(Iterator::collect)
            .map_err(VerifyError::Read)?;
        if rows.is_empty() {
            return Ok(follower.last());
        }
        for (id, text, hash) in rows {
            let at = Link { id, hash: Digest::from_bytes(hash) };
            follower.step(at, &text).map_err(VerifyError::Broken)?;
        }
    }
}
