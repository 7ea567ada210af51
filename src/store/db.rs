//! One way to ask either database: SQLite, or Postgres.
//!
//! ```text
//! sql("SELECT a FROM t WHERE x = $1").bind(x).all(store.reader()).await?
//! ```
//! An enumeration of the two rather than `sqlx::Any`: `Any` translates values through a third set of types, knows
//! nothing of SQLite's `BEGIN IMMEDIATE` and pragmas, and would keep its own statement cache for text that is already
//! cached. Here every match on the engine stands in this file, and each engine keeps its own driver, types and errors.
//!
//! What both understand: parameters `$1`; the types of [`Value`]; aggregates cast to them
//! (`CAST(SUM(x) AS BIGINT)`, `CAST(AVG(x) AS DOUBLE PRECISION)`: Postgres sums a BIGINT to a NUMERIC).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Transaction, Type};

use super::StoreError;

/// How long an answer of Postgres is waited for. The server gives up by itself before ([`super::postgres`]); this is
/// for a network that swallows what is sent.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// Connections to one of the two.
#[derive(Clone, Debug)]
pub(super) struct Db {
    pub(super) pool: Pool,
    /// The file, or the address without its password; for messages.
    pub(super) place: Arc<PathBuf>,
}

/// The pool behind a [`Db`].
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Db {
    pub(super) fn sqlite(pool: SqlitePool, place: &Path) -> Self {
        Self { pool: Pool::Sqlite(pool), place: Arc::new(place.to_path_buf()) }
    }

    pub(super) fn postgres(pool: PgPool, place: &Path) -> Self {
        Self { pool: Pool::Postgres(pool), place: Arc::new(place.to_path_buf()) }
    }

    /// The server behind it, for what only Postgres can do.
    pub(super) fn as_postgres(&self) -> Option<&PgPool> {
        match &self.pool {
            Pool::Sqlite(_) => None,
            Pool::Postgres(pool) => Some(pool),
        }
    }

    /// A transaction. On SQLite it takes the write lock at once: one that reads first and writes later can be refused
    /// midway.
    pub(super) async fn begin(&self) -> Result<Tx, StoreError> {
        let began = match &self.pool {
            Pool::Sqlite(pool) => pool.begin_with("BEGIN IMMEDIATE").await.map(Open::Sqlite),
            Pool::Postgres(pool) => in_time(pool.begin()).await.map(Open::Postgres),
        };
        Ok(Tx { open: began.map_err(|e| self.failed(e))?, db: self.clone() })
    }

    pub(super) async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> StoreError {
        match &self.pool {
            Pool::Sqlite(_) => StoreError::sqlite(&self.place, error),
            Pool::Postgres(_) => StoreError::postgres(&self.place, error),
        }
    }
}

/// A transaction; rolled back when dropped.
#[derive(Debug)]
pub(super) struct Tx {
    open: Open,
    db: Db,
}

#[derive(Debug)]
enum Open {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let done = match self.open {
            Open::Sqlite(tx) => tx.commit().await,
            Open::Postgres(tx) => in_time(tx.commit()).await,
        };
        done.map_err(|e| self.db.failed(e))
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        let done = match self.open {
            Open::Sqlite(tx) => tx.rollback().await,
            Open::Postgres(tx) => in_time(tx.rollback()).await,
        };
        done.map_err(|e| self.db.failed(e))
    }
}

/// Where a query runs: on a connection of a pool (`&Db`), or within a transaction (`&mut Tx`).
pub(super) enum On<'a> {
    Db(&'a Db),
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Db> for On<'a> {
    fn from(db: &'a Db) -> Self {
        Self::Db(db)
    }
}

impl<'a> From<&'a mut Tx> for On<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

impl On<'_> {
    fn db(&self) -> Db {
        match self {
            Self::Db(db) => (*db).clone(),
            Self::Tx(tx) => tx.db.clone(),
        }
    }
}

/// A value of a column or a parameter. Each kind may be NULL: Postgres wants to know of what type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// BIGINT: whole numbers, switches (0/1), times (microseconds since 1970, UTC).
    Int(Option<i64>),
    /// DOUBLE PRECISION.
    Float(Option<f64>),
    /// TEXT, JSON too.
    Text(Option<String>),
}

macro_rules! into_value {
    ($kind:ident: $($from:ty),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind(Some(value.into()))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$kind(value.map(Into::into))
            }
        }
    )*};
}
into_value!(Int: i64, i32, u32, u16, u8, bool);
into_value!(Float: f64, f32);
into_value!(Text: String, &str, &String);

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

/// A query with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    text: SqlStr,
    values: Vec<Value>,
}

/// A query, with parameters `$1`, `$2`, …
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text: SqlStr::from_static(text), values: Vec::new() }
}

/// A query whose text is composed of constants of this program (names of columns, numbers of parameters), never of
/// anything that came from outside: such values are bound.
pub(super) fn sql_owned(text: String) -> Sql {
    Sql { text: AssertSqlSafe(text).into_sql_str(), values: Vec::new() }
}

/// Runs one method of a query on whichever of the four it is to run on.
macro_rules! run {
    ($query:ident, $on:ident, $method:ident, $each:expr) => {{
        let db = $on.db();
        let result = match ($on, &db.pool) {
            (On::Tx(Tx { open: Open::Sqlite(tx), .. }), _) => {
                $query.for_sqlite().$method(&mut **tx).await.map($each)
            }
            (On::Tx(Tx { open: Open::Postgres(tx), .. }), _) => {
                in_time($query.for_postgres().$method(&mut **tx)).await.map($each)
            }
            (On::Db(_), Pool::Sqlite(pool)) => $query.for_sqlite().$method(pool).await.map($each),
            (On::Db(_), Pool::Postgres(pool)) => {
                in_time($query.for_postgres().$method(pool)).await.map($each)
            }
        };
        result.map_err(|e| db.failed(e))
    }};
}

impl Sql {
    /// The next parameter.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The next parameters.
    pub(super) fn bind_all(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        self.values.extend(values);
        self
    }

    /// All rows.
    pub(super) async fn all(self, on: impl Into<On<'_>>) -> Result<Vec<Row>, StoreError> {
        let on = on.into();
        run!(self, on, fetch_all, |rows| rows.into_iter().map(Row::from).collect())
    }

    /// The first row; an error when there is none.
    pub(super) async fn one(self, on: impl Into<On<'_>>) -> Result<Row, StoreError> {
        let on = on.into();
        run!(self, on, fetch_one, Row::from)
    }

    /// The first row.
    pub(super) async fn optional(self, on: impl Into<On<'_>>) -> Result<Option<Row>, StoreError> {
        let on = on.into();
        run!(self, on, fetch_optional, |row| row.map(Row::from))
    }

    /// Number of rows changed.
    pub(super) async fn execute(self, on: impl Into<On<'_>>) -> Result<u64, StoreError> {
        let on = on.into();
        run!(self, on, execute, |done| done.rows_affected())
    }

    /// The first column of the first row; an error when there is no row.
    pub(super) async fn scalar<T: Field>(self, on: impl Into<On<'_>>) -> Result<T, StoreError> {
        let on = on.into();
        let db = on.db();
        self.one(on).await?.at(0).map_err(|e| db.failed(e))
    }

    /// The first column of the first row.
    pub(super) async fn optional_scalar<T: Field>(
        self,
        on: impl Into<On<'_>>,
    ) -> Result<Option<T>, StoreError> {
        let on = on.into();
        let db = on.db();
        self.optional(on).await?.map(|row| row.at(0).map_err(|e| db.failed(e))).transpose()
    }

    /// The first column of all rows.
    pub(super) async fn scalars<T: Field>(self, on: impl Into<On<'_>>) -> Result<Vec<T>, StoreError> {
        let on = on.into();
        let db = on.db();
        self.all(on).await?.iter().map(|row| row.at(0).map_err(|e| db.failed(e))).collect()
    }

    fn for_sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        let mut query = sqlx::query(self.text);
        for value in self.values {
            query = match value {
                Value::Int(n) => query.bind(n),
                Value::Float(x) => query.bind(x),
                Value::Text(text) => query.bind(text),
            };
        }
        query
    }

    fn for_postgres(self) -> Query<'static, Postgres, PgArguments> {
        let mut query = sqlx::query(self.text);
        for value in self.values {
            query = match value {
                Value::Int(n) => query.bind(n),
                Value::Float(x) => query.bind(x),
                Value::Text(text) => query.bind(text.map(without_nul)),
            };
        }
        query
    }
}

/// Postgres keeps no NUL in a text; SQLite does, and such a row must not hold up all others.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// A row of an answer.
#[derive(Debug)]
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

/// What a column can be read as: `i64`, `f64`, `String`, `Vec<u8>`, and `Option` of them.
pub(super) trait Field:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}
impl<T> Field for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Row {
    /// The value of a column.
    pub(super) fn get<T: Field>(&self, column: &str) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// The value of the column at a place, counted from 0.
    pub(super) fn at<T: Field>(&self, index: usize) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
    }
}
