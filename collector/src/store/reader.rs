//! Readers: history, certificates, section bodies and facts, on connections of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::Why;
use palisade_rules::FactPath;
use serde::Serialize;
use serde_json::Value;

use super::OpenError;
use crate::engine::Cause;
use crate::engine::NodeEvent;
use crate::engine::Transition;
use crate::snapshot::Snapshot;

/// Reads beside the engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A stored body cannot be unpacked or parsed. At fault: the disk.
    #[error("failed to unpack the stored {what}")]
    Malformed {
        /// What was read.
        what: &'static str,
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
    pub(super) fn open(_path: &Path) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// History, newest first: of one node, or of all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(
        &self,
        _node: Option<NodeName>,
        _cursor: Option<i64>,
        _limit: usize,
    ) -> Result<Page<HistoryEntry>, ReadError> {
        Err(ReadError::Stopped)
    }

    /// Entries after `id`, oldest first, at most `limit`: for a watcher that comes back.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history_after(
        &self,
        _id: i64,
        _limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        Err(ReadError::Stopped)
    }

    /// Certificates in order of their end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn certificates(
        &self,
        _filter: CertificateFilter,
        _cursor: Option<String>,
        _limit: usize,
    ) -> Result<Page<CertificateRow>, ReadError> {
        Err(ReadError::Stopped)
    }

    /// The canonical bytes of a section, `None` if no node refers to it any more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn section(&self, _digest: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        Err(ReadError::Stopped)
    }

    /// What each distinct section of a snapshot says at `path`, evaluated once for each; a node's
    /// answer is the one of its [`crate::snapshot::Node::section`], and "the report has no such
    /// section" without one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts(
        &self,
        _snapshot: Arc<Snapshot>,
        _path: FactPath,
    ) -> Result<BTreeMap<Digest, FactAnswer>, ReadError> {
        Err(ReadError::Stopped)
    }
}
