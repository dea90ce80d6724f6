//! Requests for reboots where no cluster keeps them: a row for each node, written and read as a whole.
//!
//! What is in a row only its coordinator knows; here it is bytes.

use palisade_report::NodeUid;
use rusqlite::Transaction;
use rusqlite::params;

use super::ReadError;
use super::Reader;
use super::pack::pack_bytes;
use super::pack::unpack_bytes;
use super::write::CommitError;

/// The table, as errors name it.
const TABLE: &str = "reboots";

/// The request of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebootRow {
    /// The node.
    pub uid: NodeUid,
    /// The request, in the form of whoever wrote it.
    pub body: Vec<u8>,
}

pub(super) fn put(transaction: &Transaction<'_>, row: &RebootRow) -> Result<(), CommitError> {
    let RebootRow { uid, body } = row;
    let packed = pack_bytes(body)
        .map_err(|source| CommitError::Pack { table: TABLE, source: Box::new(source) })?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO reboots (uid, body) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![uid.as_str(), packed]))
        .map(drop)
        .map_err(|source| CommitError::Row { table: TABLE, source })
}

pub(super) fn take_away(transaction: &Transaction<'_>, uid: &NodeUid) -> Result<(), CommitError> {
    transaction
        .prepare_cached("DELETE FROM reboots WHERE uid = ?1")
        .and_then(|mut statement| statement.execute(params![uid.as_str()]))
        .map(drop)
        .map_err(|source| CommitError::Row { table: TABLE, source })
}

impl Reader {
    /// All requests for reboots, in order of their nodes.
    ///
    /// # Errors
    /// [`ReadError`]. One row that cannot be read stops it: a request that is overlooked holds no place.
    pub async fn reboots(&self) -> Result<Vec<RebootRow>, ReadError> {
        self.run(|connection| {
            let query = |source| ReadError::Query { what: TABLE, source };
            let malformed = |source| ReadError::Malformed { what: TABLE, source };
            let mut statement = connection
                .prepare_cached("SELECT uid, body FROM reboots ORDER BY uid")
                .map_err(query)?;
            let found = statement
                .query_map([], |row| <(String, Vec<u8>)>::try_from(row))
                .map_err(query)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(query)?;
            let mut rows = Vec::with_capacity(found.len());
            for (uid, packed) in found {
                let uid = uid.parse().map_err(|error| malformed(Box::new(error)))?;
                let body = unpack_bytes(&packed).map_err(|error| malformed(Box::new(error)))?;
                rows.push(RebootRow { uid, body });
            }
            Ok(rows)
        })
        .await
    }
}
