//! Commits: what one batch of the engine changes, in one transaction.

use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::Section;
use palisade_report::SectionName;
use palisade_report::section::certificates::Certificates;
use rusqlite::Transaction;
use rusqlite::params;
use serde_json::Value;

use super::AuditRow;
use super::Store;
use super::audit;
use super::pack::PackError;
use super::pack::pack;
use super::pack::pack_bytes;
use super::reboots;
use super::reboots::RebootRow;
use super::row::CertificateBody;
use super::row::JudgedRow;
use super::row::KIND_EVENT;
use super::row::KIND_FINDINGS;
use super::row::MARK_EPOCH;
use super::row::NodeRow;
use super::row::TransitionsRow;
use super::row::UNKNOWN_END;
use crate::engine::Cause;
use crate::engine::NodeEvent;
use crate::engine::Transition;
use crate::snapshot::NodeState;

/// Bytes that the probe writes: more than a small commit needs, so that a probe that works means
/// that commits work.
const PROBE_BYTES: i64 = 256 * 1024;

/// Ended records that are kept, the newest ones. At some 2 KiB each they are 20 MB.
const MAX_ARCHIVED: i64 = 10_000;

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// The record of a node whose name another one has now, as it was at its end.
    Archive { at: Moment, row: Box<NodeRow> },
    /// An entry of the audit.
    Audit(Box<AuditRow>),
    /// The certificates of a node, in place of those before; `None`: it has none any more.
    Certificates { node: NodeName, section: Option<Arc<Value>> },
    /// Takes a judgement away.
    DropJudgement { key: Digest },
    /// Takes the request of a node away.
    DropReboot(NodeUid),
    /// Takes a section away.
    DropSection { name: SectionName, digest: Digest },
    /// The epoch in which this collector leads.
    Epoch(u64),
    /// An event of the history.
    Event { id: i64, at: Moment, node: NodeName, event: NodeEvent },
    /// Transitions of the history.
    Findings { id: i64, at: Moment, node: NodeName, cause: Cause, transitions: Arc<[Transition]> },
    /// Puts a judgement, in place of the one with its key.
    Judgement { key: Digest, row: JudgedRow },
    /// Puts a node, in place of the one of its name.
    Node(Box<NodeRow>),
    /// Puts the request of a node, in place of the one before.
    Reboot(RebootRow),
    /// Puts a section.
    Section { name: SectionName, digest: Digest, bytes: Vec<u8> },
    /// When a node was heard last.
    Seen { node: NodeName, at: Moment, skew_secs: i64, sequence: u64 },
    /// The state of a node.
    State { node: NodeName, state: NodeState, since: Moment },
    /// Takes the audit up to a place away, but for the newest `of_each` entries of each kind.
    TrimAudit { through: i64, of_each: i64 },
    /// Takes the history up to a place away.
    TrimHistory { through: i64 },
}

/// Why a commit failed; nothing of it is stored. At fault: the disk.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The transaction cannot begin.
    #[error("failed to begin a transaction")]
    Begin(#[source] rusqlite::Error),
    /// A value cannot be packed.
    #[error("failed to pack a row of {table}")]
    Pack {
        /// The table.
        table: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row cannot be written: no space, a read-only file system, an I/O error.
    #[error("failed to write a row of {table}")]
    Row {
        /// The table.
        table: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The transaction cannot be made durable.
    #[error("failed to commit")]
    Commit(#[source] rusqlite::Error),
}

impl Store {
    /// Makes `writes` durable, all or none.
    ///
    /// # Errors
    /// [`CommitError`]: none of them is stored.
    pub(crate) fn commit(&mut self, writes: &[Write]) -> Result<(), CommitError> {
        let transaction = self.connection.transaction().map_err(CommitError::Begin)?;
        for write in writes {
            carry_out(&transaction, write)?;
        }
        transaction.commit().map_err(CommitError::Commit)
    }

    /// Writes and removes a filler, to learn whether commits work again.
    ///
    /// # Errors
    /// [`CommitError`]: they do not.
    pub(crate) fn probe(&mut self) -> Result<(), CommitError> {
        for step in ["INSERT INTO probe (filler) VALUES (zeroblob(?1))", "DELETE FROM probe"] {
            let transaction = self.connection.transaction().map_err(CommitError::Begin)?;
            let bytes: &[&dyn rusqlite::ToSql] =
                if step.contains('?') { &[&PROBE_BYTES] } else { &[] };
            transaction
                .execute(step, bytes)
                .map_err(|source| CommitError::Row { table: "probe", source })?;
            transaction.commit().map_err(CommitError::Commit)?;
        }
        Ok(())
    }
}

fn carry_out(transaction: &Transaction<'_>, write: &Write) -> Result<(), CommitError> {
    let run = |table, sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(drop)
            .map_err(|source| CommitError::Row { table, source })
    };
    match write {
        Write::Archive { at, row } => {
            let uid = row.body.uid.as_ref().map(|uid| uid.as_str());
            run(
                "archive",
                "INSERT INTO archive (at, name, uid, body) VALUES (?1, ?2, ?3, ?4)",
                &[&at.unix(), &row.name.as_str(), &uid, &packed("archive", pack(&row.body))?],
            )?;
            run(
                "archive",
                "DELETE FROM archive WHERE id <= last_insert_rowid() - ?1",
                &[&MAX_ARCHIVED],
            )
        }
        Write::Audit(row) => audit::put(transaction, row),
        Write::Certificates { node, section } => {
            run("certificates", "DELETE FROM certificates WHERE node = ?1", &[&node.as_str()])?;
            match section {
                Some(section) => put_certificates(transaction, node, section),
                None => Ok(()),
            }
        }
        Write::DropJudgement { key } => {
            run("judgements", "DELETE FROM judgements WHERE key = ?1", &[key.as_bytes()])
        }
        Write::DropReboot(uid) => reboots::take_away(transaction, uid),
        Write::DropSection { name, digest } => run(
            "sections",
            "DELETE FROM sections WHERE digest = ?1 AND name = ?2",
            &[digest.as_bytes(), &name.as_str()],
        ),
        Write::Epoch(epoch) => run(
            "marks",
            "INSERT INTO marks (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            &[&MARK_EPOCH, &epoch.cast_signed()],
        ),
        Write::Event { id, at, node, event } => run(
            "history",
            "INSERT INTO history (id, at, node, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            &[id, &at.unix(), &node.as_str(), &KIND_EVENT, &packed("history", pack(event))?],
        ),
        Write::Findings { id, at, node, cause, transitions } => {
            let row = TransitionsRow { cause: *cause, transitions: transitions.to_vec() };
            run(
                "history",
                "INSERT INTO history (id, at, node, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                &[id, &at.unix(), &node.as_str(), &KIND_FINDINGS, &packed("history", pack(&row))?],
            )
        }
        Write::Judgement { key, row } => run(
            "judgements",
            "INSERT OR REPLACE INTO judgements (key, body) VALUES (?1, ?2)",
            &[key.as_bytes(), &packed("judgements", pack(row))?],
        ),
        Write::Node(row) => {
            let NodeRow { name, state, state_since, seen_at, skew_secs, sequence, body } = &**row;
            run(
                "nodes",
                "INSERT OR REPLACE INTO nodes
                 (name, state, state_since, seen_at, skew_secs, sequence, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                &[
                    &name.as_str(),
                    &state.as_str(),
                    &state_since.unix(),
                    &seen_at.unix(),
                    skew_secs,
                    &sequence.cast_signed(),
                    &packed("nodes", pack(body))?,
                ],
            )
        }
        Write::Reboot(row) => reboots::put(transaction, row),
        Write::Section { name, digest, bytes } => run(
            "sections",
            "INSERT OR IGNORE INTO sections (digest, name, size, body) VALUES (?1, ?2, ?3, ?4)",
            &[
                digest.as_bytes(),
                &name.as_str(),
                &i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                &packed("sections", pack_bytes(bytes))?,
            ],
        ),
        Write::Seen { node, at, skew_secs, sequence } => run(
            "nodes",
            "UPDATE nodes SET seen_at = ?2, skew_secs = ?3, sequence = ?4 WHERE name = ?1",
            &[&node.as_str(), &at.unix(), skew_secs, &sequence.cast_signed()],
        ),
        Write::State { node, state, since } => run(
            "nodes",
            "UPDATE nodes SET state = ?2, state_since = ?3 WHERE name = ?1",
            &[&node.as_str(), &state.as_str(), &since.unix()],
        ),
        Write::TrimAudit { through, of_each } => audit::trim(transaction, *through, *of_each),
        Write::TrimHistory { through } => {
            run("history", "DELETE FROM history WHERE id <= ?1", &[through])
        }
    }
}

fn packed(table: &'static str, packed: Result<Vec<u8>, PackError>) -> Result<Vec<u8>, CommitError> {
    packed.map_err(|source| CommitError::Pack { table, source: Box::new(source) })
}

fn put_certificates(
    transaction: &Transaction<'_>,
    node: &NodeName,
    section: &Value,
) -> Result<(), CommitError> {
    // The border has checked the types; a section that is unknown as a whole has no rows.
    let section: Section<Certificates> =
        serde::Deserialize::deserialize(section).map_err(|source| CommitError::Pack {
            table: "certificates",
            source: Box::new(PackError::Read(source)),
        })?;
    let Some(Certificates { files, left_out: _ }) = section.known() else { return Ok(()) };
    let mut statement = transaction
        .prepare_cached(
            "INSERT INTO certificates (node, path, not_after, body) VALUES (?1, ?2, ?3, ?4)",
        )
        .map_err(|source| CommitError::Row { table: "certificates", source })?;
    for (path, file) in files {
        for certificate in file.certificates.value().into_iter().flatten() {
            let ends = certificate.not_after.value().map_or(UNKNOWN_END, |at| at.unix());
            let body = CertificateBody {
                certificate: certificate.clone(),
                watched: file.watched.iter().cloned().collect(),
            };
            let body = packed("certificates", pack(&body))?;
            statement
                .execute(params![node.as_str(), path, ends, body])
                .map_err(|source| CommitError::Row { table: "certificates", source })?;
        }
    }
    Ok(())
}
