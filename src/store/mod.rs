//! What is kept: players, sessions, notes, windows, advice, and the spans of every operation, in one SQLite file.
//!
//! This is the only place with SQL. Columns use types that SQLite and Postgres share (see `migrations/`), parameters
//! are written `$1`, queries are checked at run time.
//!
//! **What a crash costs.** The file is in WAL mode with `synchronous=NORMAL`: a killed process (`kill -9`) loses
//! nothing that was committed, and [`SessionWriter`] commits twice a second. A power failure may take the last
//! transactions before the last checkpoint, but never damages the file.
//!
//! **Several processes.** `history`, `traces` and `chat` open the same file while `practice` writes it: readers never
//! block writers in WAL mode, writers wait for each other up to [`BUSY_TIMEOUT`]. Inside one process all writes go
//! through one connection, so they queue instead of colliding.

mod calibrations;
mod chats;
pub mod copy;
mod db;
mod error;
mod history;
mod ids;
pub mod lock;
mod notes;
mod plans;
mod players;
mod postgres;
pub mod query;
mod recordings;
mod schema;
mod sessions;
mod spans;
mod tables;
mod tally;
pub mod transfer;
mod trends;
mod types;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use db::{Db, Field, Row, Tx, sql};

pub use calibrations::{CalibrationRow, DevicePair};
pub use chats::{ChatMessageRow, ChatRow, NewMessage};
pub use error::StoreError;
pub use history::{CarriedOut, Choices, SessionBrief, SessionPage, SessionQuery, SortBy};
pub use ids::{AdviceId, ChatId, InstanceId, PlanId, SessionId, UserId};
pub use lock::{CaptureLock, LockError};
pub use plans::{PlanRow, PlanStatus, Practised};
pub use players::{PlayerRow, RECORDINGS, check_user_name};
pub use postgres::open_shared_or_local;
pub use recordings::RecordingRow;
pub use spans::{
    DeliveryRow, DeliveryState, Owner, Resend, SpanFilter, SpanRow, SpanStatus, StoredTrace, TraceRow,
};
pub use tally::{PitchTally, REST_S, Tally};
pub use trends::{
    Figure, PROGRESS_DAYS, Progress, STREAK_DAY_S, SessionFigures, Step, Streak, TrendPoint, mean,
    practice_days, progress, streak, trend,
};
pub use types::{
    AdviceKind, AdviceRow, Batch, EndReason, GapRow, Health, LoopCost, NewSession, SessionFilter, SessionRow,
    WindowRecord,
};
pub use upkeep::Prunable;
pub use writer::{SessionWriter, WriterState};

/// Name of the database in the data folder.
pub const DATABASE: &str = "fretcoach.db";

/// How long a writer waits for another process: far longer than any transaction of ours takes.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading. Each is a thread with a page cache; pages and commands never need more at once.
const READERS: u32 = 2;

/// Page cache of one connection, KiB (SQLite's default is 2 MiB; the daemon's whole budget is 60 MB).
const CACHE_KIB: i64 = 1024;

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `:memory:` for the one in memory, the address without its password for Postgres; for messages.
    path: PathBuf,
    in_memory: bool,
    write: Db,
    read: Db,
    instance: InstanceId,
    /// Held from the first thing this process begins until it ends; tells other processes that it lives.
    alive: Mutex<Option<lock::RoleLock>>,
}

impl Store {
    /// Opens the database at `path`; folder and file are made when missing, older schemas are brought up to date.
    ///
    /// # Errors
    /// Each with what to do: a folder that cannot be made or written, a full disk, a file that is damaged, foreign
    /// (left untouched) or from a newer FretCoach.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, BUSY_TIMEOUT, None).await
    }

    /// Opens [`DATABASE`] in a data folder; see [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_in(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open(&data_dir.join(DATABASE)).await
    }

    /// `max_pages`: a size at which SQLite says that the disk is full, for tests.
    async fn open_with(path: &Path, busy: Duration, max_pages: Option<u32>) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| StoreError::io(path, e))?;
        }
        schema::reject_foreign(path)?;
        // One process at a time makes or changes the file's shape: SQLite does not wait for its lock when it changes
        // to WAL mode. Released when this function returns.
        let _opening = opening(path, busy * 2).await?;
        let mut options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(busy)
            .foreign_keys(true)
            .pragma("cache_size", (-CACHE_KIB).to_string())
            .disable_statement_logging();
        if let Some(pages) = max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        let failed = |e| StoreError::sqlite(path, e);
        {
            // Looked at before WAL mode is asked for: that would already change a file that may not be ours.
            let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
            schema::identify(path, &mut connection).await?;
            connection.close().await.map_err(failed)?;
        }
        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
        let pool = |n| {
            SqlitePoolOptions::new().max_connections(n).acquire_timeout(busy * 2).before_acquire(
                |connection, _| {
                    // On a full disk SQLite rolls back by itself, sqlx still believes in the transaction and the
                    // connection would refuse every further one: it is replaced.
                    let whole = !connection.is_in_transaction();
                    Box::pin(async move { Ok(whole) })
                },
            )
        };
        let write = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        schema::migrate(path, &write).await?;
        let read: SqlitePool = pool(READERS).connect_lazy_with(options);
        let store =
            Self::assemble(path.to_path_buf(), false, Db::sqlite(write, path), Db::sqlite(read, path));
        // A read-only file opens without complaint: ask for the right to write now rather than after the first note.
        match store.begin().await {
            Ok(probe) => probe.rollback().await?,
            // Somebody else writes: so it can be written.
            Err(StoreError::Busy { .. }) => {}
            Err(error) => return Err(error),
        }
        match store.tally_missing().await {
            // Another process writes, and counts by itself when it opens the next time; pages count meanwhile.
            Ok(_) | Err(StoreError::Busy { .. }) => {}
            Err(error) => tracing::warn!("sessions of the past could not be counted: {error}"),
        }
        Ok(store)
    }

    /// A store that lasts as long as this value: for tests, and where no data folder can be written.
    ///
    /// # Errors
    /// [`StoreError::Database`] when SQLite itself fails.
    pub async fn memory() -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let options =
            SqliteConnectOptions::new().in_memory(true).foreign_keys(true).disable_statement_logging();
        // One connection that never ends: in memory every connection is a database of its own.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|e| StoreError::sqlite(&path, e))?;
        schema::migrate(&path, &pool).await?;
        let db = Db::sqlite(pool, &path);
        Ok(Self::assemble(path, true, db.clone(), db))
    }

    fn assemble(path: PathBuf, in_memory: bool, write: Db, read: Db) -> Self {
        let instance = InstanceId::new();
        Self(Arc::new(Inner { path, in_memory, write, read, instance, alive: Mutex::new(None) }))
    }

    /// The database file; `None` in memory and for Postgres.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (!self.0.in_memory && !self.is_shared()).then_some(self.0.path.as_path())
    }

    /// True for a Postgres that several daemons share, false for a file (or memory) of this machine.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.read.as_postgres().is_some()
    }

    /// Where it is, for a message: the file, `:memory:`, or the address of the Postgres without its password.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.0.path
    }

    /// The folder of the database file; `None` in memory.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.path().and_then(Path::parent)
    }

    /// This process, as the owner of what it begins.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.0.instance
    }

    /// Closes the connections; what was committed is already safe.
    pub async fn close(&self) {
        self.0.read.close().await;
        self.0.write.close().await;
    }

    /// Size, counts, and SQLite's own quick check of the file.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub async fn health(&self) -> Result<Health, StoreError> {
        let bytes = if self.is_shared() {
            let size = "SELECT pg_database_size(current_database())";
            sql(size).scalar::<i64>(self.reader()).await?.unsigned_abs()
        } else {
            let size = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
            self.path().map_or(0, |p| size(p) + size(&p.with_extension("db-wal")))
        };
        let mut faults: Vec<String> = if self.is_shared() {
            Vec::new()
        } else {
            sql("PRAGMA quick_check(10)").scalars(self.reader()).await?
        };
        faults.retain(|line| line != "ok");
        let sessions = sql("SELECT COUNT(*) FROM sessions").scalar::<i64>(self.reader()).await?;
        let traces = if self.is_shared() {
            0
        } else {
            sql("SELECT COUNT(*) FROM traces").scalar::<i64>(self.reader()).await?
        };
        Ok(Health {
            path: self.path().map(Path::to_path_buf),
            bytes,
            schema: if self.is_shared() { schema::newest_postgres() } else { schema::newest() },
            sessions: sessions.unsigned_abs(),
            traces: traces.unsigned_abs(),
            faults,
        })
    }

    /// Where queries that only read run.
    fn reader(&self) -> &Db {
        &self.0.read
    }

    /// Where a single statement that writes runs; several belong in a transaction ([`Store::begin`]).
    fn writer(&self) -> &Db {
        &self.0.write
    }

    fn failed(&self, error: sqlx::Error) -> StoreError {
        self.0.read.failed(error)
    }

    /// The value of a column.
    fn get<T: Field>(&self, row: &Row, column: &str) -> Result<T, StoreError> {
        row.get(column).map_err(|e| self.failed(e))
    }

    /// A count, which is never negative.
    fn count(&self, row: &Row, column: &str) -> Result<u64, StoreError> {
        self.get::<i64>(row, column).map(i64::unsigned_abs)
    }

    fn unreadable(&self, what: impl Into<String>, error: impl ToString) -> StoreError {
        StoreError::Value { path: self.0.path.clone(), what: what.into(), message: error.to_string() }
    }

    /// A transaction that may write; on SQLite one at a time.
    async fn begin(&self) -> Result<Tx, StoreError> {
        self.0.write.begin().await
    }

    /// Marks this process as living, before it begins something that another would otherwise close.
    fn claim(&self) {
        let Some(folder) = self.folder() else { return };
        let mut alive = self.0.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.is_none() {
            match lock::RoleLock::acquire(folder, &owner_role(&self.0.instance.to_string()), true) {
                Ok(role) => *alive = role,
                Err(error) => tracing::warn!(%error, "this process cannot mark itself as running"),
            }
        }
    }

    /// True while the process that began something still runs (or when that cannot be told).
    fn is_alive(&self, owner: &str) -> bool {
        owner == self.0.instance.to_string()
            || self.folder().is_some_and(|folder| lock::is_held(folder, &owner_role(owner)))
    }
}

/// The right to open, waited for up to `patience`.
async fn opening(path: &Path, patience: Duration) -> Result<lock::RoleLock, StoreError> {
    const LOOK_AGAIN: Duration = Duration::from_millis(5);
    let folder = path.parent().unwrap_or(Path::new(""));
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match lock::RoleLock::acquire(folder, "open", false) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if tokio::time::Instant::now() >= deadline => {
                return Err(StoreError::Busy { path: path.to_path_buf() });
            }
            Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(StoreError::io(path, error)),
        }
    }
}

fn owner_role(instance: &str) -> String {
    format!("process-{instance}")
}

/// A stored moment (microseconds since 1970, UTC).
fn micros(at: jiff::Timestamp) -> i64 {
    at.as_microsecond()
}

/// Reads a stored moment; one outside the calendar reads as 1970.
fn moment(micros: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
