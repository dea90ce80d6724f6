//! Readers: history, certificates, section bodies and facts, on connections of their own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::Why;
use palisade_rules::FactPath;
use palisade_rules::Facts;
use palisade_rules::Found;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::OpenError;
use super::pack::unpack;
use super::pack::unpack_bytes;
use super::row::CertificateBody;
use super::row::KIND_EVENT;
use super::row::KIND_FINDINGS;
use super::row::TransitionsRow;
use super::row::UNKNOWN_END;
use crate::engine::Cause;
use crate::engine::NodeEvent;
use crate::engine::Transition;
use crate::snapshot::Snapshot;

/// Reads beside the engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// Connections, so queries at once: each keeps a page cache of up to 2 MB, and more than the
/// machine has cores gains nothing.
const CONNECTIONS: usize = 4;

/// Rows that one call returns at most, whatever it was asked for.
const MAX_ROWS: usize = 10_000;

/// Entries of the history that a search for events looks through: some ten milliseconds.
const EVENT_ROWS: i64 = 20_000;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The cursor is none that a page gave out. At fault: the user.
    #[error("malformed cursor: expected the one that the page before gave out")]
    Cursor,
    /// A stored body cannot be unpacked or parsed. At fault: the disk.
    #[error("failed to unpack the stored {what}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SQLite cannot read. At fault: the disk.
    #[error("failed to read {what}")]
    Query {
        /// What was read.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The runtime is shutting down. At fault: nobody.
    #[error("failed to run the query: the collector is shutting down")]
    Stopped,
}

/// A page of rows and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Cursor of the next page; `None` after the last one. Opaque to callers.
    pub next: Option<String>,
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its place, growing.
    pub id: i64,
    /// When.
    pub at: Moment,
    /// The node.
    pub node: NodeName,
    /// What.
    pub body: HistoryBody,
}

/// What an entry of the history says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryBody {
    /// Findings opened, changed or ended at one moment.
    Findings {
        /// What brought it about.
        cause: Cause,
        /// One for each finding.
        transitions: Vec<Transition>,
    },
    /// Something that is no finding.
    Event(NodeEvent),
}

/// Which certificates are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    /// Only those of this node.
    pub node: Option<NodeName>,
    /// Only those that end before this moment.
    pub ends_before: Option<Moment>,
}

/// A certificate on a node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateRow {
    /// The node.
    pub node: NodeName,
    /// The file.
    pub path: String,
    /// When it ends; `None`: could not be told. Those come last.
    pub not_after: Option<Moment>,
    /// The certificate as the report has it.
    pub certificate: Box<palisade_report::section::certificates::Certificate>,
    /// Why the file is watched.
    pub watched: Vec<String>,
}

/// What a section says at a path.
#[derive(Clone, Debug, PartialEq)]
pub enum FactAnswer {
    /// A value and where it was read.
    Known {
        /// The value.
        value: Value,
        /// Where it was read.
        origin: String,
    },
    /// Proven absent.
    Absent {
        /// Where it would be.
        origin: String,
    },
    /// Could not be told.
    Unknown(Why),
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let idle = (0..CONNECTIONS)
            .map(|_| super::read_only(path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Ok(Self { idle: Arc::new(Mutex::new(idle)), permits })
    }

    /// History, newest first: of one node, or of all; entries before the place `cursor`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(
        &self,
        node: Option<NodeName>,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<HistoryEntry>, ReadError> {
        let before = cursor.unwrap_or(i64::MAX);
        let limit = limit.clamp(1, MAX_ROWS);
        self.run(move |connection| {
            let rows = match &node {
                Some(node) => history_rows(
                    connection,
                    "SELECT id, at, node, kind, body FROM history
                     WHERE node = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2",
                    &[&before, &sql_limit(limit), &node.as_str()],
                )?,
                None => history_rows(
                    connection,
                    "SELECT id, at, node, kind, body FROM history
                     WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                    &[&before, &sql_limit(limit)],
                )?,
            };
            Ok(page(rows, limit, |entry| entry.id.to_string()))
        })
        .await
    }

    /// The oldest and the newest place in the history; `None` while there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history_span(&self) -> Result<Option<(i64, i64)>, ReadError> {
        self.run(|connection| {
            let span: (Option<i64>, Option<i64>) = connection
                .query_row("SELECT min(id), max(id) FROM history", [], |row| row.try_into())
                .map_err(|source| ReadError::Query { what: "history", source })?;
            Ok(span.0.zip(span.1))
        })
        .await
    }

    /// Entries after `id`, oldest first, at most `limit`: for a watcher that comes back.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history_after(
        &self,
        id: i64,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let limit = limit.clamp(1, MAX_ROWS);
        self.run(move |connection| {
            let mut rows = history_rows(
                connection,
                "SELECT id, at, node, kind, body FROM history
                 WHERE id > ?1 ORDER BY id LIMIT ?2",
                &[&id, &sql_limit(limit)],
            )?;
            rows.truncate(limit);
            Ok(rows)
        })
        .await
    }

    /// Events since `at` that are no findings, newest first, at most `limit`. Of the history only the
    /// newest 20,000 entries are looked through.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn events_since(
        &self,
        at: Moment,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let limit = limit.clamp(1, MAX_ROWS);
        self.run(move |connection| {
            let mut rows = history_rows(
                connection,
                "SELECT id, at, node, kind, body FROM history
                 WHERE id > (SELECT coalesce(max(id), 0) FROM history) - ?3
                   AND at >= ?1 AND kind = ?4
                 ORDER BY id DESC LIMIT ?2",
                &[&at.unix(), &sql_limit(limit), &EVENT_ROWS, &KIND_EVENT],
            )?;
            rows.truncate(limit);
            Ok(rows)
        })
        .await
    }

    /// Certificates in order of their end.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Cursor`] for one that no page gave out.
    pub async fn certificates(
        &self,
        filter: CertificateFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<CertificateRow>, ReadError> {
        let (end, id) = match cursor.as_deref() {
            None => (i64::MIN, 0),
            Some(cursor) => cursor
                .split_once(':')
                .and_then(|(end, id)| Some((end.parse().ok()?, id.parse().ok()?)))
                .ok_or(ReadError::Cursor)?,
        };
        let limit = limit.clamp(1, MAX_ROWS);
        let CertificateFilter { node, ends_before } = filter;
        // Below the mark of unknown ends, so that a filter by end leaves those out.
        let before = ends_before.map_or(i64::MAX, |at| at.unix().min(UNKNOWN_END - 1) - 1);
        self.run(move |connection| {
            let rows = certificate_rows(
                connection,
                "SELECT id, node, path, not_after, body FROM certificates
                 WHERE (not_after, id) > (?1, ?2) AND not_after <= ?3
                   AND (?4 IS NULL OR node = ?4)
                 ORDER BY not_after, id LIMIT ?5",
                &[&end, &id, &before, &node.as_ref().map(NodeName::as_str), &sql_limit(limit)],
            )?;
            let Page { rows, next } = page(rows, limit, |(_, end, id)| format!("{end}:{id}"));
            Ok(Page { rows: rows.into_iter().map(|(row, ..)| row).collect(), next })
        })
        .await
    }

    /// The certificates that end first, at most `limit` whatever that is, and how many there are in
    /// all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn first_certificates(
        &self,
        limit: usize,
    ) -> Result<(Vec<CertificateRow>, u64), ReadError> {
        self.run(move |connection| {
            let mut rows = certificate_rows(
                connection,
                "SELECT id, node, path, not_after, body FROM certificates
                 ORDER BY not_after, id LIMIT ?1",
                &[&sql_limit(limit)],
            )?;
            rows.truncate(limit);
            let count: i64 = connection
                .query_row("SELECT count(*) FROM certificates", [], |row| row.get(0))
                .map_err(|source| ReadError::Query { what: "certificates", source })?;
            let count = u64::try_from(count).unwrap_or_default();
            Ok((rows.into_iter().map(|(row, ..)| row).collect(), count))
        })
        .await
    }

    /// The canonical bytes of a section, `None` if no node refers to it any more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn section(&self, digest: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.run(move |connection| section(connection, digest)).await
    }

    /// What each distinct section of a snapshot says at `path`, evaluated once for each; a node's
    /// answer is the one of its [`crate::snapshot::Node::section`], and "the report has no such
    /// section" without one. Sections that went away since the snapshot are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts(
        &self,
        snapshot: Arc<Snapshot>,
        path: FactPath,
    ) -> Result<BTreeMap<Digest, FactAnswer>, ReadError> {
        self.run(move |connection| {
            let name = path.section();
            let distinct: BTreeSet<Digest> =
                snapshot.nodes.iter().filter_map(|node| node.section(name)).collect();
            let mut answers = BTreeMap::new();
            for digest in distinct {
                let Some(bytes) = section(connection, digest)? else { continue };
                let value: Value = serde_json::from_slice(&bytes).map_err(malformed("section"))?;
                let mut facts = Facts::default();
                facts.insert(name, Arc::new(value));
                let answer = match facts.at(&path) {
                    Found::Known(value, origin) => {
                        FactAnswer::Known { value: value.clone(), origin: origin.to_owned() }
                    }
                    Found::Absent(origin) => FactAnswer::Absent { origin: origin.to_owned() },
                    Found::Unknown(why) => FactAnswer::Unknown(why.why()),
                };
                answers.insert(digest, answer);
            }
            Ok(answers)
        })
        .await
    }

    /// Runs a query on an idle connection, off the threads that serve requests.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ReadError::Stopped)?;
        let idle = Arc::clone(&self.idle);
        tokio::task::spawn_blocking(move || {
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            // There are as many permits as connections; one is missing only after a panic.
            let Some(connection) = connection else { return Err(ReadError::Stopped) };
            let answer = query(&connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            answer
        })
        .await
        .map_err(|_| ReadError::Stopped)?
    }
}

fn section(connection: &Connection, digest: Digest) -> Result<Option<Vec<u8>>, ReadError> {
    const WHAT: &str = "section";
    let packed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body FROM sections WHERE digest = ?1 LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row((digest.as_bytes(),), |row| row.get(0)).optional()
        })
        .map_err(|source| ReadError::Query { what: WHAT, source })?;
    packed.map(|packed| unpack_bytes(&packed)).transpose().map_err(malformed(WHAT))
}

fn history_rows(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<HistoryEntry>, ReadError> {
    const WHAT: &str = "history";
    type Row = (i64, i64, String, String, Vec<u8>);
    let query = |source| ReadError::Query { what: WHAT, source };
    let mut statement = connection.prepare_cached(sql).map_err(query)?;
    let rows = statement
        .query_map(values, |row| Row::try_from(row))
        .map_err(query)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(query)?;
    let mut entries = Vec::with_capacity(rows.len());
    for (id, at, node, kind, body) in rows {
        let body = if kind == KIND_FINDINGS {
            let TransitionsRow { cause, transitions } = unpack(&body).map_err(malformed(WHAT))?;
            HistoryBody::Findings { cause, transitions }
        } else {
            HistoryBody::Event(unpack(&body).map_err(malformed(WHAT))?)
        };
        let node = node.parse().map_err(malformed(WHAT))?;
        entries.push(HistoryEntry { id, at: Moment::from_unix(at), node, body });
    }
    Ok(entries)
}

/// Each with the end and the id by which it is ordered.
fn certificate_rows(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<(CertificateRow, i64, i64)>, ReadError> {
    const WHAT: &str = "certificates";
    type Row = (i64, String, String, i64, Vec<u8>);
    let query = |source| ReadError::Query { what: WHAT, source };
    let mut statement = connection.prepare_cached(sql).map_err(query)?;
    let found = statement
        .query_map(values, |row| Row::try_from(row))
        .map_err(query)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(query)?;
    let mut rows = Vec::with_capacity(found.len());
    for (id, node, path, end, body) in found {
        let CertificateBody { certificate, watched } = unpack(&body).map_err(malformed(WHAT))?;
        let row = CertificateRow {
            node: node.parse().map_err(malformed(WHAT))?,
            path,
            not_after: (end != UNKNOWN_END).then(|| Moment::from_unix(end)),
            certificate: Box::new(certificate),
            watched,
        };
        rows.push((row, end, id));
    }
    Ok(rows)
}

/// One row more than asked for, by which is known whether there is a next page.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

pub(super) fn page<T>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Page { rows, next }
}

fn malformed<E>(what: &'static str) -> impl Fn(E) -> ReadError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| ReadError::Malformed { what, source: Box::new(source) }
}
