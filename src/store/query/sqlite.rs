//! One player's rows on SQLite: a connection of its own for each question, opened read-only, on which nothing can be
//! reached but temporary views that were made for the asking player.
//!
//! The fence is SQLite's own: the file is opened read-only and the connection is told `query_only`; an *authorizer*,
//! asked for every table, column and function as a statement is prepared, lets the tables of the file be read only from
//! inside views whose names are drawn at random and known to nobody, and calls only functions on the list; limits bound
//! texts, and a progress handler ends what takes too long.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use futures::TryStreamExt;
use libsqlite3_sys as ffi;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions, Row, TypeInfo, ValueRef};

use super::views::{VIEWS, Words};
use super::{Cell, Dialect, Limits, QueryError, Rows, guard};

/// Longest text or row, bytes; what grows beyond it is an error. The guard keeps texts far below it.
pub(super) const MAX_TEXT: c_int = 1_000_000;
/// Instructions of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 2_000;
/// Page cache, KiB: a question may read more of the history than any page does.
const CACHE_KIB: i64 = 4096;
/// Tables of the file that the views read.
const TABLES: &[&str] = &["sessions", "windows", "notes", "advice", "plans"];
/// Functions of the views, besides those of the guard.
const INNER_FUNCTIONS: &[&str] = &["json_extract", "strftime", "date", "julianday", "row_number"];

/// Begin of the names of the inner views; drawn once per process.
fn secret() -> Result<&'static str, QueryError> {
    static SECRET: OnceLock<Option<String>> = OnceLock::new();
    let drawn = SECRET.get_or_init(|| {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(bytes.iter().fold("v".to_owned(), |name, b| format!("{name}{b:02x}")) + "_")
    });
    drawn.as_deref().ok_or_else(|| QueryError::Unavailable("the system has no random numbers to give".into()))
}

/// Runs a checked query for the player with this id.
pub(super) async fn run(path: &Path, user: &str, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
    let broken =
        |e: sqlx::Error| QueryError::Unavailable(format!("the store {} cannot be read: {e}", path.display()));
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(limits.time)
        .pragma("cache_size", (-CACHE_KIB).to_string())
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(broken)?;
    make_views(&mut connection, user).await?;
    fence(&mut connection, limits).await.map_err(broken)?;
    let began = Instant::now();
    let answer = read(&mut connection, sql, limits).await;
    let elapsed = began.elapsed();
    // Dropped, not closed: closing would wait, and there is nothing to save.
    drop(connection);
    answer.map(|rows| Rows { elapsed, ..rows }).map_err(|e| explained(&e, limits))
}

/// Makes the views, then lets nothing be made any more.
async fn make_views(connection: &mut SqliteConnection, user: &str) -> Result<(), QueryError> {
    let broken =
        |e: sqlx::Error| QueryError::Unavailable(format!("the views of a player cannot be made: {e}"));
    let secret = secret()?;
    let asker = format!("'{}'", user.replace('\'', "''"));
    let words =
        Words { dialect: Dialect::Sqlite, base: "main", asker: &asker, inner: &format!("temp.{secret}") };
    for view in VIEWS {
        let name = view.name;
        let columns: Vec<&str> = view.columns.iter().map(|c| c.name).collect();
        let columns = columns.join(", ");
        let body = words.body(name);
        for statement in [
            format!("CREATE TEMP VIEW {secret}{name} ({columns}) AS {body}"),
            format!("CREATE TEMP VIEW {name} AS SELECT {columns} FROM temp.{secret}{name}"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(broken)?;
        }
    }
    sqlx::query("PRAGMA query_only = ON").execute(&mut *connection).await.map_err(broken)?;
    Ok(())
}

/// Closes everything but the views.
async fn fence(connection: &mut SqliteConnection, limits: Limits) -> Result<(), sqlx::Error> {
    // Known since the views were made.
    let _ = secret();
    let mut locked = connection.lock_handle().await?;
    let handle = locked.as_raw_handle().as_ptr();
    // SAFETY: the handle is open, and locked for as long as `locked` lives; the authorizer is a static function that
    // takes no data.
    unsafe {
        for (limit, value) in [
            (ffi::SQLITE_LIMIT_LENGTH, MAX_TEXT),
            (ffi::SQLITE_LIMIT_SQL_LENGTH, 4 * guard::MAX_SQL as c_int),
            (ffi::SQLITE_LIMIT_EXPR_DEPTH, 200),
            (ffi::SQLITE_LIMIT_COMPOUND_SELECT, 20),
            (ffi::SQLITE_LIMIT_FUNCTION_ARG, 20),
            (ffi::SQLITE_LIMIT_ATTACHED, 0),
            (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
            (ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
            (ffi::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            ffi::sqlite3_limit(handle, limit, value);
        }
        for (switch, on) in [
            (ffi::SQLITE_DBCONFIG_DEFENSIVE, 1),
            (ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
            (ffi::SQLITE_DBCONFIG_DQS_DML, 0),
            (ffi::SQLITE_DBCONFIG_DQS_DDL, 0),
        ] {
            ffi::sqlite3_db_config(handle, switch, on as c_int, std::ptr::null_mut::<c_int>());
        }
        ffi::sqlite3_set_authorizer(handle, Some(authorize), std::ptr::null_mut());
    }
    let until = Instant::now() + limits.time;
    locked.set_progress_handler(STEPS, move || Instant::now() < until);
    Ok(())
}

/// SQLite asks for each thing that a statement wants to do, as it is prepared.
unsafe extern "C" fn authorize(
    _data: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    view: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes NUL-terminated texts that live through the call, or null.
    let text =
        |p: *const c_char| unsafe { (!p.is_null()).then(|| CStr::from_ptr(p)).and_then(|c| c.to_str().ok()) };
    let (first, second) = (text(first).unwrap_or_default(), text(second).unwrap_or_default());
    let (database, view) = (text(database).unwrap_or_default(), text(view).unwrap_or_default());
    let Ok(secret) = secret() else { return ffi::SQLITE_DENY };
    let inside = view.starts_with(secret);
    let allowed = match action {
        ffi::SQLITE_SELECT => true,
        ffi::SQLITE_READ => match database {
            "main" => inside && TABLES.contains(&first),
            "temp" => VIEWS.iter().any(|v| v.name == first.strip_prefix(secret).unwrap_or(first)),
            // A table of which no column is wanted (`COUNT(*)`), named as in the query: a temporary view hides a table of
            // its name.
            "" => {
                second.is_empty()
                    && VIEWS.iter().any(|v| v.name == first.strip_prefix(secret).unwrap_or(first))
            }
            _ => false,
        },
        ffi::SQLITE_FUNCTION => {
            let name = second.to_ascii_lowercase();
            name == "like"
                || guard::is_allowed_function(Dialect::Sqlite, &name)
                || (inside && INNER_FUNCTIONS.contains(&name.as_str()))
        }
        _ => false,
    };
    if allowed { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
}

async fn read(connection: &mut SqliteConnection, sql: &str, limits: Limits) -> Result<Rows, sqlx::Error> {
    let mut rows = Rows::default();
    let mut stream = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch(connection);
    while let Some(row) = stream.try_next().await? {
        if rows.columns.is_empty() {
            rows.columns = row.columns().iter().map(|c| c.name().to_owned()).collect();
        }
        let cells = (0..row.len()).map(|i| cell(&row, i)).collect::<Result<Vec<_>, _>>()?;
        if !rows.push(cells, limits) {
            break;
        }
    }
    Ok(rows)
}

fn cell(row: &SqliteRow, i: usize) -> Result<Cell, sqlx::Error> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Cell::Whole(row.try_get_unchecked(i)?),
        "REAL" => Cell::Real(row.try_get_unchecked(i)?),
        "BLOB" => Cell::Text("(bytes)".into()),
        _ => Cell::Text(row.try_get_unchecked(i)?),
    })
}

/// What SQLite said, without the names of the inner views.
fn explained(error: &sqlx::Error, limits: Limits) -> QueryError {
    let Some(said) = error.as_database_error() else {
        return QueryError::Failed(error.to_string());
    };
    if said.code().is_some_and(|c| c == "9") {
        return QueryError::TooSlow(limits.time);
    }
    let mut text = said.message().to_owned();
    if let Ok(secret) = secret() {
        text = text.replace(secret, "").replace("temp.", "").replace("main.", "");
    }
    QueryError::Failed(text)
}
