//! What can go wrong with the store, told so that a player knows what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder is missing and cannot be made, or is not a folder.
    #[error(
        "the data folder for {path} cannot be used ({source}); choose another with --data-dir or FRETCOACH_DATA_DIR",
        path = path.display()
    )]
    Folder {
        /// The database's path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// File, folder or file system is read-only.
    #[error(
        "{path} cannot be written (read-only); mend its permissions or choose another folder with --data-dir",
        path = path.display()
    )]
    ReadOnly {
        /// The database's path.
        path: PathBuf,
        /// SQLite's or the system's word.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No room left.
    #[error(
        "no room left on the disk of {path}; free some space, what is recorded is kept until then",
        path = path.display()
    )]
    Full {
        /// The database's path.
        path: PathBuf,
        /// SQLite's or the system's word.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is a database, but damaged.
    #[error(
        "the database {path} is damaged ({message}); move it away to start afresh, or rescue it with `sqlite3 {path} .recover`",
        path = path.display()
    )]
    Corrupt {
        /// The database's path.
        path: PathBuf,
        /// SQLite's word.
        message: String,
    },
    /// It is no database of ours.
    #[error(
        "{path} is not a FretCoach database ({message}); it was left untouched: choose another folder with --data-dir",
        path = path.display()
    )]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        message: String,
    },
    /// It is a Postgres, but its tables are not ours.
    #[error(
        "{path} cannot be used ({message}); it was left untouched: give FretCoach a database of its own in DATABASE_URL",
        path = path.display()
    )]
    ForeignServer {
        /// The address, without the password.
        path: PathBuf,
        /// What is in the way.
        message: String,
    },
    /// A newer FretCoach has written it.
    #[error(
        "{path} was written by a newer FretCoach (schema {found}, this one knows {known}); update FretCoach or use another --data-dir",
        path = path.display()
    )]
    Newer {
        /// The database's path.
        path: PathBuf,
        /// Schema found.
        found: i64,
        /// Newest schema this program knows.
        known: i64,
    },
    /// Another program holds the database longer than we wait.
    #[error("{path} is locked by another program; close it, or wait", path = path.display())]
    Busy {
        /// The database's path.
        path: PathBuf,
    },
    /// Nothing with that name.
    #[error("{}", missing(.what, .name, .list))]
    NotFound {
        /// `session`, `trace`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The command that lists them.
        list: &'static str,
    },
    /// A prefix that several share.
    #[error("{name} may be any of {matches}; write more of the id")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Ids that begin so.
        matches: String,
    },
    /// The session is being played.
    #[error("session {name} is being played; stop it first, then delete it")]
    Running {
        /// The session.
        name: String,
    },
    /// A stored value does not read as what it should be.
    #[error("{what} in {path} does not read ({message}); run `fretcoach doctor`", path = path.display())]
    Value {
        /// The database's path.
        path: PathBuf,
        /// Which value.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// `DATABASE_URL` is not the address of a Postgres. Never holds the address: it may carry a password.
    #[error("DATABASE_URL cannot be used: {message}; write postgres://user:password@host:port/database")]
    Address {
        /// What is wrong with it.
        message: String,
    },
    /// The Postgres does not answer.
    #[error(
        "{path} cannot be reached ({source}); practice goes on without it and what waits is copied later: check that it runs",
        path = path.display()
    )]
    Unreachable {
        /// The address, without the password.
        path: PathBuf,
        /// The driver's word.
        source: sqlx::Error,
    },
    /// The Postgres does not let us in, or not to this database or table.
    #[error("{path} refuses ({message}); mend user, password or rights in DATABASE_URL", path = path.display())]
    Denied {
        /// The address, without the password.
        path: PathBuf,
        /// The server's word.
        message: String,
    },
    /// Anything else from the database.
    #[error("{path}: {source}; run `fretcoach doctor`", path = path.display())]
    Database {
        /// The database's path.
        path: PathBuf,
        /// The database's word.
        source: sqlx::Error,
    },
}

fn missing(what: &str, name: &str, list: &str) -> String {
    if name == "latest" {
        format!("there is no {what} yet; `fretcoach practice` makes one")
    } else {
        format!("there is no {what} `{name}`; `fretcoach {list}` lists them")
    }
}

// Primary result codes, https://www.sqlite.org/rescode.html
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;
/// Extended: the file that WAL mode shares between processes could not grow, which only a full disk keeps it from.
const SQLITE_IOERR_SHMSIZE: i32 = 10 | (19 << 8);

impl StoreError {
    /// Short fixed word for `error.type` and exit codes.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::ReadOnly { .. } => "read_only",
            Self::Full { .. } => "disk_full",
            Self::Corrupt { .. } => "corrupt",
            Self::Foreign { .. } => "foreign_file",
            Self::ForeignServer { .. } => "foreign_server",
            Self::Newer { .. } => "newer_schema",
            Self::Busy { .. } => "busy",
            Self::NotFound { .. } => "not_found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Running { .. } => "running",
            Self::Value { .. } => "unreadable_value",
            Self::Address { .. } => "address",
            Self::Unreachable { .. } => "unreachable",
            Self::Denied { .. } => "denied",
            Self::Database { .. } => "database",
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source: source.into() }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source: source.into() }
            }
            _ => Self::Folder { path, source },
        }
    }

    pub(super) fn sqlite(path: &Path, source: sqlx::Error) -> Self {
        let extended = code(&source);
        let code = extended.map(|code| code & 0xff);
        let path = path.to_path_buf();
        match code {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy { path },
            Some(SQLITE_READONLY) => Self::ReadOnly { path, source: source.into() },
            Some(SQLITE_FULL) => Self::Full { path, source: source.into() },
            _ if extended == Some(SQLITE_IOERR_SHMSIZE) => Self::Full { path, source: source.into() },
            Some(SQLITE_CORRUPT) => Self::Corrupt { path, message: source.to_string() },
            Some(SQLITE_NOTADB) => {
                Self::Foreign { path, message: "the file is not an SQLite database".into() }
            }
            Some(SQLITE_CANTOPEN) => Self::Folder { path, source: io::Error::other(source) },
            _ if matches!(source, sqlx::Error::PoolTimedOut) => Self::Busy { path },
            _ => Self::Database { path, source },
        }
    }
}

// SQLSTATE classes and codes, https://www.postgresql.org/docs/current/errcodes-appendix.html
const PG_CONNECTION_CLASS: &str = "08";
const PG_AUTHORIZATION_CLASS: &str = "28";
const PG_OPERATOR_CLASS: &str = "57P";
const PG_NO_DATABASE: &str = "3D000";
const PG_NO_RIGHT: &str = "42501";
const PG_TOO_MANY_CONNECTIONS: &str = "53300";
const PG_DISK_FULL: &str = "53100";
const PG_LOCK_NOT_AVAILABLE: &str = "55P03";

impl StoreError {
    /// `path`: the address without its password. The driver's own words never hold one.
    pub(super) fn postgres(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_path_buf();
        let sqlx::Error::Database(said) = &source else {
            return match source {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed => Self::Unreachable { path, source },
                _ => Self::Database { path, source },
            };
        };
        let message = said.message().to_owned();
        match said.code().as_deref().unwrap_or_default() {
            PG_NO_DATABASE | PG_NO_RIGHT => Self::Denied { path, message },
            PG_DISK_FULL => Self::Full { path, source: source.into() },
            PG_LOCK_NOT_AVAILABLE => Self::Busy { path },
            code if code.starts_with(PG_AUTHORIZATION_CLASS) => Self::Denied { path, message },
            PG_TOO_MANY_CONNECTIONS => Self::Unreachable { path, source },
            code if code.starts_with(PG_CONNECTION_CLASS) || code.starts_with(PG_OPERATOR_CLASS) => {
                Self::Unreachable { path, source }
            }
            _ => Self::Database { path, source },
        }
    }
}

/// Extended result code: its low byte is the primary one, the rest says more precisely where it happened.
fn code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(db) = error else { return None };
    db.code()?.parse().ok()
}
