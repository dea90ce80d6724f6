//! The file that describes a fleet: JSON of [`Fleet`], with the moment at which it was taken.
//!
//! ```json
//! {"at": 1796817600, "fleet": {"nodes": {"uid-1": {"name": "node-1", ...}}, "requests": {}, ...}}
//! ```
//!
//! `at` is Unix time in seconds. The collector hands such a snapshot out itself, so that a run begins
//! with what is.

use palisade_report::Moment;
use serde::Deserialize;
use serde::Serialize;

use crate::fleet::Fleet;

/// A fleet at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Moment,
    /// What was there.
    pub fleet: Fleet,
}

/// Bytes of a snapshot: one of 10,000 nodes with their pods is about 60 MiB.
const MAX_SNAPSHOT: usize = 512 << 20;

/// The text is no snapshot. At fault: whoever wrote it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not JSON, or not of a fleet.
    #[error("failed to read the snapshot at line {line}, column {column}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What was expected there.
        #[source]
        source: serde_json::Error,
    },
    /// It is longer than any fleet that this can hold.
    #[error("a snapshot of {0} bytes is too long: expected {MAX_SNAPSHOT} at most")]
    TooLong(usize),
    /// It holds no nodes.
    #[error("the snapshot holds no nodes")]
    NoNodes,
    /// A node is filed under the UID of another.
    #[error("the node filed under {filed} says that it is {says}")]
    OtherUid {
        /// The key.
        filed: String,
        /// The field.
        says: String,
    },
}

impl Snapshot {
    /// The snapshot in `text`.
    ///
    /// # Errors
    /// [`SnapshotError`] with where and what.
    pub fn parse(text: &[u8]) -> Result<Self, SnapshotError> {
        if text.len() > MAX_SNAPSHOT {
            return Err(SnapshotError::TooLong(text.len()));
        }
        let snapshot: Self = serde_json::from_slice(text).map_err(|source| {
            SnapshotError::Malformed { line: source.line(), column: source.column(), source }
        })?;
        if snapshot.fleet.nodes.is_empty() {
            return Err(SnapshotError::NoNodes);
        }
        let other = snapshot.fleet.nodes.iter().find(|(uid, node)| **uid != node.uid);
        if let Some((uid, node)) = other {
            let (filed, says) = (uid.to_string(), node.uid.to_string());
            return Err(SnapshotError::OtherUid { filed, says });
        }
        Ok(snapshot)
    }
}
