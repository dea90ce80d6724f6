//! Loading: everything that the engine keeps in memory, read once at the start and again after a
//! commit that failed.

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use rusqlite::OptionalExtension;

use super::Ends;
use super::Store;
use super::pack::unpack;
use super::pack::unpack_bytes;
use super::row::JudgedRow;
use super::row::MARK_EPOCH;
use super::row::NodeRow;
use crate::snapshot::NodeState;

/// Why the stored state cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A stored value cannot be unpacked or parsed. At fault: the disk, or a newer collector.
    #[error("failed to unpack a row of {table}")]
    Malformed {
        /// The table.
        table: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SQLite cannot read it. At fault: the disk.
    #[error("failed to read {table}")]
    Query {
        /// The table.
        table: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// The stored state.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Name, digest and size of each section.
    pub(crate) sections: Vec<(SectionName, Digest, u64)>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) judgements: Vec<(Digest, JudgedRow)>,
    /// The highest place in the history.
    pub(crate) last_history: i64,
    /// Both ends of the audit.
    pub(crate) audit: Ends,
}

impl Store {
    /// Reads the state.
    ///
    /// # Errors
    /// [`LoadError`]. A row that cannot be read stops it: going on without would forget what was
    /// acknowledged.
    pub(crate) fn load(&self) -> Result<Loaded, LoadError> {
        Ok(Loaded {
            sections: self.load_sections()?,
            nodes: self.load_nodes()?,
            judgements: self.load_judgements()?,
            last_history: self
                .connection
                .query_row("SELECT coalesce(max(id), 0) FROM history", [], |row| row.get(0))
                .map_err(|source| LoadError::Query { table: "history", source })?,
            audit: self.audit_ends()?,
        })
    }

    /// The canonical bytes of a section.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) fn section(
        &self,
        name: SectionName,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, LoadError> {
        let table = "sections";
        let packed: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT body FROM sections WHERE digest = ?1 AND name = ?2")
            .and_then(|mut statement| {
                statement.query_row((digest.as_bytes(), name.as_str()), |row| row.get(0)).optional()
            })
            .map_err(|source| LoadError::Query { table, source })?;
        packed.map(|packed| unpack_bytes(&packed)).transpose().map_err(malformed(table))
    }

    /// The highest epoch in which a collector with this store led; 0: none.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn epoch(&self) -> Result<u64, LoadError> {
        let query = "SELECT value FROM marks WHERE name = ?1";
        let found: Option<i64> = self
            .connection
            .query_row(query, [MARK_EPOCH], |row| row.get(0))
            .optional()
            .map_err(|source| LoadError::Query { table: "marks", source })?;
        Ok(found.map_or(0, i64::cast_unsigned))
    }

    fn load_sections(&self) -> Result<Vec<(SectionName, Digest, u64)>, LoadError> {
        let table = "sections";
        let rows: Vec<(String, [u8; 32], i64)> =
            self.rows(table, "SELECT name, digest, size FROM sections")?;
        let mut sections = Vec::with_capacity(rows.len());
        for (name, digest, size) in rows {
            let name = name.parse().map_err(malformed(table))?;
            let size = u64::try_from(size).map_err(malformed(table))?;
            sections.push((name, Digest::from_bytes(digest), size));
        }
        Ok(sections)
    }

    fn load_judgements(&self) -> Result<Vec<(Digest, JudgedRow)>, LoadError> {
        let table = "judgements";
        let rows: Vec<([u8; 32], Vec<u8>)> =
            self.rows(table, "SELECT key, body FROM judgements")?;
        let mut judgements = Vec::with_capacity(rows.len());
        for (key, body) in rows {
            judgements.push((Digest::from_bytes(key), unpack(&body).map_err(malformed(table))?));
        }
        Ok(judgements)
    }

    fn load_nodes(&self) -> Result<Vec<NodeRow>, LoadError> {
        type Row = (String, String, i64, i64, i64, i64, Vec<u8>);
        let table = "nodes";
        let rows: Vec<Row> = self.rows(
            table,
            "SELECT name, state, state_since, seen_at, skew_secs, sequence, body FROM nodes
             ORDER BY name",
        )?;
        let mut nodes = Vec::with_capacity(rows.len());
        for (name, state, state_since, seen_at, skew_secs, sequence, body) in rows {
            nodes.push(NodeRow {
                name: name.parse::<NodeName>().map_err(malformed(table))?,
                state: state.parse::<NodeState>().map_err(malformed(table))?,
                state_since: Moment::from_unix(state_since),
                seen_at: Moment::from_unix(seen_at),
                skew_secs,
                sequence: sequence.cast_unsigned(),
                body: unpack(&body).map_err(malformed(table))?,
            });
        }
        Ok(nodes)
    }

    fn rows<T>(&self, table: &'static str, sql: &str) -> Result<Vec<T>, LoadError>
    where
        T: for<'a> TryFrom<&'a rusqlite::Row<'a>, Error = rusqlite::Error>,
    {
        let query = |source| LoadError::Query { table, source };
        let mut statement = self.connection.prepare(sql).map_err(query)?;
        statement
            .query_map([], |row| T::try_from(row))
            .map_err(query)?
            .collect::<Result<Vec<T>, _>>()
            .map_err(query)
    }
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(
    table: &'static str,
) -> impl Fn(E) -> LoadError {
    move |source| LoadError::Malformed { table, source: Box::new(source) }
}
