//! The store of alerts: a SQLite file of its own, beside that of the engine.
//!
//! Of its own, because two writers of one file wait for each other: a storm of alerts would hold up
//! heartbeats, and a large report an alert. Alerts follow from what the engine's store holds, so
//! nothing is lost between the two: what was not written here is seen again.
//!
//! One transaction holds a change of alerts and what receivers are owed because of it. It is on the disk
//! before anything is sent. What became of a message is written before the next one goes to the same
//! receiver, so that the end of the process, whatever its cause, repeats one message for each; it is on
//! the disk at once only if [`SYNC_EVERY`] has passed. After a failure of power more may be repeated,
//! those of so long, and none is lost: that a message is on its way which takes back what was told is on
//! the disk before it goes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use palisade_alert::book::Record;
use palisade_alert::desk::Group;
use palisade_alert::desk::GroupId;
use palisade_alert::desk::Line;
use palisade_alert::desk::Post;
use palisade_alert::key::AlertId;
use palisade_alert::silence::Silence;
use rusqlite::Connection;
use rusqlite::ToSql;
use rusqlite::Transaction;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chain::Chain;

/// Marks the file: "pala" in ASCII. See <https://www.sqlite.org/pragma.html>.
const APPLICATION_ID: i32 = 0x7061_6c61;

/// Steps from version N to N + 1, in order; never changed once released.
const STEPS: &[&str] = &["
    CREATE TABLE alerts (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE outbox (
        receiver TEXT NOT NULL,
        grouped TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (receiver, grouped)
    );
    CREATE TABLE posts (receiver TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL);
    CREATE TABLE silences (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
", "
    -- The lines of a group are rows of their own: of a hundred thousand few change at a time.
    CREATE TABLE groups (
        id INTEGER PRIMARY KEY,
        receiver TEXT NOT NULL,
        grouped TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (receiver, grouped)
    );
    CREATE TABLE lines (
        place INTEGER NOT NULL,
        alert TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (place, alert)
    ) WITHOUT ROWID;
    INSERT INTO groups (receiver, grouped, body)
        SELECT receiver, grouped, json_remove(body, '$.lines') FROM outbox WHERE json_valid(body);
    INSERT INTO lines (place, alert, body)
        SELECT groups.id, line.key, line.value
        FROM groups JOIN outbox USING (receiver, grouped),
        json_each(CASE WHEN json_valid(outbox.body) THEN outbox.body ELSE '{}' END, '$.lines') AS line;
    DROP TABLE outbox;
    ALTER TABLE groups RENAME TO outbox;
"];

/// A disk takes milliseconds to say that something is on it, many times as long as a receiver that takes
/// a message. So outcomes wait for each other for so long.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How long a statement waits for another process that looks into the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the store of alerts cannot be opened. At fault: configuration or the disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenAlertsError {
    /// Another collector has it open.
    #[error("failed to open the alerts at {}: another collector has them open", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The lock file beside it cannot be opened.
    #[error("failed to lock the alerts at {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Written by a newer collector, or by another program.
    #[error("failed to open the alerts at {}: another program or a newer collector wrote them", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// SQLite cannot open or set up the file.
    #[error("failed to open the alerts at {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// A row cannot be read. At fault: the disk, or us.
#[derive(Debug, thiserror::Error)]
pub enum LoadAlertsError {
    /// SQLite cannot read.
    #[error("failed to read {table} of the alerts")]
    Read {
        /// The table.
        table: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// A change could not be written. At fault: the disk.
#[derive(Debug, thiserror::Error)]
pub enum CommitAlertsError {
    /// SQLite cannot write.
    #[error("failed to write the alerts")]
    Write(#[source] rusqlite::Error),
    /// A row has no text. At fault: us.
    #[error("failed to encode a row of the alerts")]
    Encode(#[source] serde_json::Error),
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Alerts.
    pub records: Vec<Record>,
    /// What receivers are owed and were told.
    pub groups: Vec<Group>,
    /// Ways to receivers.
    pub posts: Vec<Post>,
    /// Silences.
    pub silences: Vec<Silence>,
    /// Rows that could not be understood, and were left.
    pub unread: usize,
}

/// One change; `None` takes the row away.
#[derive(Debug)]
pub enum Change<'c> {
    /// Of an alert.
    Alert(AlertId, Option<&'c Record>),
    /// Of what a receiver is owed, and of these lines of it.
    Group(&'c GroupId, &'c BTreeSet<AlertId>, Option<&'c Group>),
    /// Of the way to a receiver.
    Post(&'c Post),
    /// Of a silence.
    Silence(u64, Option<&'c Silence>),
}

impl Change<'_> {
    /// Whether it is more than what became of a message.
    fn is_news(&self) -> bool {
        match self {
            Self::Alert(..) | Self::Silence(..) => true,
            // What was told would seem to hold if its alert turned back.
            Self::Group(_, lines, Some(group)) => {
                let mut lines = lines.iter().filter_map(|id| group.lines.get(id));
                lines.any(|line| line.is_on_its_way)
            }
            Self::Group(_, _, None) | Self::Post(_) => false,
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct AlertStore {
    connection: Connection,
    /// When all that was written was on the disk last.
    synced_at: Option<Instant>,
    /// Whether it is.
    is_synced: bool,
    /// Held as long as the store is open; `None`: it is in memory.
    _lock: Option<File>,
}

impl AlertStore {
    /// Opens the file at `path`, makes it if it is not there, and brings it to this version.
    ///
    /// # Errors
    /// [`OpenAlertsError`].
    pub fn open(path: &Path) -> Result<Self, OpenAlertsError> {
        let lock_path = path.with_extension("lock");
        let failed = |source| OpenAlertsError::Lock { path: lock_path.clone(), source };
        let mut options = File::options();
        let lock = options.create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenAlertsError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let open = |source| OpenAlertsError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(open)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection, synced_at: None, is_synced: true, _lock: Some(lock) })
    }

    /// One that forgets everything with the process, for when no file can be used.
    ///
    /// # Errors
    /// [`OpenAlertsError::Open`].
    pub fn fleeting() -> Result<Self, OpenAlertsError> {
        let path = Path::new(":memory:");
        let open = |source| OpenAlertsError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open_in_memory().map_err(open)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection, synced_at: None, is_synced: true, _lock: None })
    }

    /// Everything that is kept. A row that cannot be understood costs itself only.
    ///
    /// # Errors
    /// [`LoadAlertsError`].
    pub fn load(&self) -> Result<Kept, LoadAlertsError> {
        let mut kept = Kept::default();
        kept.records = self.rows("alerts", &mut kept.unread)?;
        kept.groups = self.groups(&mut kept.unread)?;
        kept.posts = self.rows("posts", &mut kept.unread)?;
        let silences: Vec<Silence> = self.rows("silences", &mut kept.unread)?;
        for silence in silences {
            match silence.restored() {
                Ok(silence) => kept.silences.push(silence),
                Err(_) => kept.unread = kept.unread.saturating_add(1),
            }
        }
        Ok(kept)
    }

    fn rows<T: DeserializeOwned>(
        &self,
        table: &'static str,
        unread: &mut usize,
    ) -> Result<Vec<T>, LoadAlertsError> {
        let read = |source| LoadAlertsError::Read { table, source };
        let mut statement =
            self.connection.prepare(&format!("SELECT body FROM {table}")).map_err(read)?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0)).map_err(read)?;
        let mut rows = Vec::new();
        for text in texts {
            rows.extend(understand(table, &text.map_err(read)?, unread));
        }
        Ok(rows)
    }

    fn groups(&self, unread: &mut usize) -> Result<Vec<Group>, LoadAlertsError> {
        let table = "outbox";
        let read = |source| LoadAlertsError::Read { table, source };
        let sql = "SELECT id, body FROM outbox";
        let mut statement = self.connection.prepare(sql).map_err(read)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let mut groups = Vec::new();
        for row in rows.map_err(read)? {
            let (place, text): (i64, String) = row.map_err(read)?;
            let Some(mut group) = understand::<Group>(table, &text, unread) else { continue };
            group.lines = self.lines(place, unread)?;
            groups.push(group);
        }
        Ok(groups)
    }

    fn lines(
        &self,
        place: i64,
        unread: &mut usize,
    ) -> Result<BTreeMap<AlertId, Line>, LoadAlertsError> {
        let table = "lines";
        let read = |source| LoadAlertsError::Read { table, source };
        let sql = "SELECT alert, body FROM lines WHERE place = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(read)?;
        let rows = statement.query_map([place], |row| Ok((row.get(0)?, row.get(1)?)));
        let mut lines = BTreeMap::new();
        for row in rows.map_err(read)? {
            let (id, text): (String, String) = row.map_err(read)?;
            let line = understand::<Line>(table, &text, unread);
            match id.parse::<AlertId>() {
                Ok(id) => lines.extend(line.map(|line| (id, line))),
                Err(error) => not_understood(table, &error, unread),
            }
        }
        Ok(lines)
    }

    /// Writes all changes, or none. They are on the disk afterwards, unless they only tell what became of
    /// messages and others were put there just before; a later call puts them there, if only one without
    /// changes.
    ///
    /// # Errors
    /// [`CommitAlertsError`].
    pub fn commit(&mut self, changes: &[Change<'_>]) -> Result<(), CommitAlertsError> {
        let is_late = self.synced_at.is_none_or(|at| at.elapsed() >= SYNC_EVERY);
        if changes.is_empty() {
            return if is_late && !self.is_synced { self.sync() } else { Ok(()) };
        }
        let syncs = is_late || changes.iter().any(Change::is_news);
        self.connection
            .pragma_update(None, "synchronous", if syncs { "FULL" } else { "NORMAL" })
            .map_err(CommitAlertsError::Write)?;
        let transaction = self.connection.transaction().map_err(CommitAlertsError::Write)?;
        for change in changes {
            write(&transaction, change)?;
        }
        transaction.commit().map_err(CommitAlertsError::Write)?;
        self.is_synced = syncs;
        if syncs {
            self.synced_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Puts on the disk what was written. A checkpoint begins with that, see
    /// <https://www.sqlite.org/wal.html>.
    fn sync(&mut self) -> Result<(), CommitAlertsError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(CommitAlertsError::Write)?;
        (self.is_synced, self.synced_at) = (true, Some(Instant::now()));
        Ok(())
    }
}

/// What a row holds, if it can be understood.
fn understand<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
    unread: &mut usize,
) -> Option<T> {
    serde_json::from_str(text).map_err(|error| not_understood(table, &error, unread)).ok()
}

fn not_understood(table: &'static str, error: &dyn std::error::Error, unread: &mut usize) {
    tracing::error!(table, cause = %Chain(error), "a row of the alerts cannot be understood");
    *unread = unread.saturating_add(1);
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[&dyn ToSql],
) -> Result<(), CommitAlertsError> {
    let mut statement = transaction.prepare_cached(sql).map_err(CommitAlertsError::Write)?;
    statement.execute(values).map(drop).map_err(CommitAlertsError::Write)
}

/// Writes these lines of a group and what it is besides; without the group all of it goes.
fn write_group(
    transaction: &Transaction<'_>,
    id: &GroupId,
    lines: &BTreeSet<AlertId>,
    group: Option<&Group>,
) -> Result<(), CommitAlertsError> {
    let place: [&dyn ToSql; 2] = [&&*id.receiver, &&*id.key];
    let Some(group) = group else {
        let sql = "DELETE FROM lines WHERE place IN
            (SELECT id FROM outbox WHERE receiver = ?1 AND grouped = ?2)";
        execute(transaction, sql, &place)?;
        let sql = "DELETE FROM outbox WHERE receiver = ?1 AND grouped = ?2";
        return execute(transaction, sql, &place);
    };
    let [receiver, key] = place;
    let sql = "INSERT INTO outbox (receiver, grouped, body) VALUES (?1, ?2, ?3)
        ON CONFLICT (receiver, grouped) DO UPDATE SET body = excluded.body RETURNING id";
    let mut statement = transaction.prepare_cached(sql).map_err(CommitAlertsError::Write)?;
    let values: [&dyn ToSql; 3] = [receiver, key, &text(group)?];
    let place: i64 =
        statement.query_row(values, |row| row.get(0)).map_err(CommitAlertsError::Write)?;
    for id in lines {
        let alert = id.to_string();
        match group.lines.get(id) {
            Some(line) => {
                let sql = "INSERT OR REPLACE INTO lines (place, alert, body) VALUES (?1, ?2, ?3)";
                execute(transaction, sql, &[&place, &alert, &text(line)?])?;
            }
            None => {
                let sql = "DELETE FROM lines WHERE place = ?1 AND alert = ?2";
                execute(transaction, sql, &[&place, &alert])?;
            }
        }
    }
    Ok(())
}

fn write(transaction: &Transaction<'_>, change: &Change<'_>) -> Result<(), CommitAlertsError> {
    let run = |sql: &str, values: &[&dyn ToSql]| execute(transaction, sql, values);
    match change {
        Change::Alert(id, Some(record)) => {
            let sql = "INSERT OR REPLACE INTO alerts (id, body) VALUES (?1, ?2)";
            run(sql, &[&id.0.cast_signed(), &text(record)?])
        }
        Change::Alert(id, None) => run("DELETE FROM alerts WHERE id = ?1", &[&id.0.cast_signed()]),
        Change::Group(id, lines, group) => write_group(transaction, id, lines, *group),
        Change::Post(post) => {
            let sql = "INSERT OR REPLACE INTO posts (receiver, body) VALUES (?1, ?2)";
            run(sql, &[&&*post.receiver, &text(post)?])
        }
        Change::Silence(id, Some(silence)) => {
            let sql = "INSERT OR REPLACE INTO silences (id, body) VALUES (?1, ?2)";
            run(sql, &[&id.cast_signed(), &text(silence)?])
        }
        Change::Silence(id, None) => {
            run("DELETE FROM silences WHERE id = ?1", &[&id.cast_signed()])
        }
    }
}

fn text(row: &impl Serialize) -> Result<String, CommitAlertsError> {
    serde_json::to_string(row).map_err(CommitAlertsError::Encode)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenAlertsError> {
    let open = |source| OpenAlertsError::Open { path: path.to_owned(), source };
    let one = |connection: &Connection, sql: &str| {
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(open)
    };
    let id = one(connection, "PRAGMA application_id")?;
    let found = one(connection, "PRAGMA user_version")?;
    let tables = one(connection, "SELECT count(*) FROM sqlite_schema")?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let is_foreign = id != i64::from(APPLICATION_ID) && (id != 0 || tables != 0);
    if is_foreign || found > known {
        return Err(OpenAlertsError::Foreign { path: path.to_owned() });
    }
    for (to, step) in (1_i64..).zip(STEPS).filter(|(to, _)| *to > found) {
        let transaction = connection.transaction().map_err(open)?;
        transaction
            .execute_batch(step)
            .and_then(|()| transaction.pragma_update(None, "application_id", APPLICATION_ID))
            .and_then(|()| transaction.pragma_update(None, "user_version", to))
            .map_err(open)?;
        transaction.commit().map_err(open)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
