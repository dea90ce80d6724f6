//! The store: SQLite in WAL mode, one writer that the engine owns, and readers beside it.
//!
//! Nothing is decided here: rows in, rows out. A commit either happens wholly, and is on the disk
//! when [`Store::commit`] returns, or not at all.
//!
//! ```text
//! Core ──[Write]──> Store (one connection, synchronous = FULL) ──> palisade.db
//! HTTP ──query────> Reader (connections of their own) ──────────────^
//! ```

use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OpenFlags;

mod audit;
mod load;
mod pack;
mod reader;
mod reboots;
mod row;
mod schema;
mod write;

pub use audit::AuditEntry;
pub use audit::AuditFilter;
pub use audit::VerifyError;
pub use audit::verify_audit;
pub use load::LoadError;
pub use reader::CertificateFilter;
pub use reader::CertificateRow;
pub use reader::FactAnswer;
pub use reader::HistoryBody;
pub use reader::HistoryEntry;
pub use reader::Page;
pub use reader::ReadError;
pub use reader::Reader;
pub use reboots::RebootRow;
pub use write::CommitError;

pub(crate) use audit::AuditRow;
pub(crate) use audit::Ends;
pub(crate) use row::EpisodeRow;
pub(crate) use row::JudgedRow;
pub(crate) use row::NodeBody;
pub(crate) use row::NodeRow;
pub(crate) use row::PendingRow;
pub(crate) use write::Write;

/// How long a statement waits for another process that looks into the file (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
    /// Held as long as the store is open: two collectors on one file would overwrite each other's
    /// truth, which SQLite's own locks do not prevent.
    _lock: File,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite found damage. At fault: the disk. Restore a backup, or move the file away and start
    /// empty.
    #[error("failed to open the store at {path}: its integrity check found damage: {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding of `PRAGMA quick_check`.
        found: String,
    },
    /// Another collector has it open. At fault: configuration.
    #[error("failed to open the store at {path}: another collector has it open")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The lock file beside the store cannot be opened. At fault: configuration or the disk.
    #[error("failed to lock the store at {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file cannot be made or written. At fault: configuration or the disk.
    #[error("failed to make the store at {path}")]
    Make {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The stored rows cannot be brought to this version. At fault: the disk.
    #[error("failed to migrate the store at {path} to version {to}")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// The version on the way to which it failed.
        to: u32,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Written by a newer collector. At fault: configuration.
    #[error(
        "failed to open the store at {path}: it has version {found}, this collector knows up to {known}"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this collector knows.
        known: u32,
    },
    /// A database of some other program. At fault: configuration.
    #[error("failed to open the store at {path}: it is a database of another program")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// SQLite cannot open or set up the file. At fault: configuration or the disk.
    #[error("failed to open the store at {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl Store {
    /// Opens the store at `path`, makes it if it is not there, checks it and brings it to this
    /// version.
    ///
    /// # Errors
    /// [`OpenError`], naming the step and the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        make_private(path)?;
        // Two directories may lead to one file by a link: the lock belongs to the file itself.
        let path = &std::fs::canonicalize(path)
            .map_err(|source| OpenError::Make { path: path.to_owned(), source })?;
        let lock = lock(path)?;
        let open = |source| OpenError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        // FULL: a commit is on the disk when it returns, in WAL mode too; NORMAL would lose the
        // last ones in a power cut although they were acknowledged.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA journal_size_limit = 67108864;",
            )
            .map_err(open)?;
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(open)?;
        if found != "ok" {
            let found = palisade_report::bound::clean_text(&found);
            return Err(OpenError::Damaged { path: path.to_owned(), found });
        }
        schema::migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection, _lock: lock })
    }

    /// Readers on the same file, on connections of their own.
    ///
    /// # Errors
    /// [`OpenError`] if a connection cannot be opened.
    pub fn reader(&self) -> Result<Reader, OpenError> {
        Reader::open(&self.path)
    }

    /// Makes the state unreadable by taking a table's name away, or gives it back.
    #[cfg(test)]
    pub(crate) fn hide_history(&self, hide: bool) {
        let (from, to) = if hide { ("history", "hidden") } else { ("hidden", "history") };
        let pages: u32 =
            self.connection.query_row("PRAGMA max_page_count", [], |row| row.get(0)).unwrap();
        let lift = u32::MAX - 1;
        self.connection
            .query_row(&format!("PRAGMA max_page_count = {lift}"), [], |_| Ok(()))
            .unwrap();
        self.connection.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
        self.connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .unwrap();
    }

    /// Bounds the file to so many pages, which makes the disk full for SQLite; `None` lifts it.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: Option<u32>) {
        let used: u32 =
            self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit = pages.map_or(u32::MAX - 1, |more| used + more);
        self.connection
            .query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(()))
            .unwrap();
    }
}

/// Makes the file, readable by its owner only whatever the mask says: SQLite gives its journal and
/// index the mode of the file. One that is there keeps its mode.
fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| OpenError::Make { path: path.to_owned(), source })
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let at = PathBuf::from(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&at)
        .map_err(|source| OpenError::Lock { path: at.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path: at, source }),
    }
}

/// A connection that cannot write.
fn read_only(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
