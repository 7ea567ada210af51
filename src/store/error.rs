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
    /// Anything else from SQLite.
    #[error("{path}: {source}; run `fretcoach doctor`", path = path.display())]
    Database {
        /// The database's path.
        path: PathBuf,
        /// SQLite's word.
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
            Self::Newer { .. } => "newer_schema",
            Self::Busy { .. } => "busy",
            Self::NotFound { .. } => "not_found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Value { .. } => "unreadable_value",
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

/// Extended result code: its low byte is the primary one, the rest says more precisely where it happened.
fn code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(db) = error else { return None };
    db.code()?.parse().ok()
}
