//! Questions in SQL from outside (a model writes them): untrusted, narrowed to one player, bounded in time and size.
//!
//! Two fences stand one behind the other. The **database** narrows: on SQLite a read-only connection whose authorizer lets
//! nothing be read but temporary views made for the asking player; on Postgres a role that may read nothing but views,
//! which show the rows of the player named by a sealed setting. Before it the [`guard`] parses the query and refuses
//! everything that is not on its lists. Either alone keeps other players' rows out; together they also keep out what is
//! merely costly.

pub mod guard;
mod postgres;
mod sqlite;
pub mod standing;
#[cfg(test)]
mod tests;
pub mod views;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::db::sql;
use super::{Store, StoreError};
pub use guard::Refusal;

impl Store {
    /// The SQL that [`Store::ask`] takes.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        if self.is_shared() { Dialect::Postgres } else { Dialect::Sqlite }
    }

    /// The tables and columns that [`Store::ask`] knows, as a model is told of them.
    #[must_use]
    pub fn ask_schema(&self) -> String {
        views::schema(self.dialect())
    }

    /// Answers an untrusted query about one player's practice. A player who is not known has no rows.
    ///
    /// # Errors
    /// The query is refused, fails, or takes too long; or this store cannot be asked (one in memory; a Postgres on
    /// which the role for it cannot be made).
    pub async fn ask(&self, user: &str, query: &str, limits: Limits) -> Result<Rows, QueryError> {
        let checked = guard::check(self.dialect(), query, limits.rows + 1)?;
        self.ask_checked(user, &checked, limits).await
    }

    /// Past the guard: the database's own fence alone.
    async fn ask_checked(&self, user: &str, query: &str, limits: Limits) -> Result<Rows, QueryError> {
        let failed = |e: StoreError| QueryError::Unavailable(e.to_string());
        let id: Option<String> = sql("SELECT id FROM users WHERE name = $1")
            .bind(user)
            .optional_scalar(self.reader())
            .await
            .map_err(failed)?;
        // No id is empty.
        let id = id.unwrap_or_default();
        if let Some(pool) = self.reader().as_postgres() {
            return postgres::run(pool, &id, query, limits).await;
        }
        match self.path() {
            Some(path) => sqlite::run(path, &id, query, limits).await,
            None => Err(QueryError::Unavailable("a store in memory cannot be asked in SQL".into())),
        }
    }
}

/// The SQL that the store in use speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The daemon's own store.
    Sqlite,
    /// The shared store.
    Postgres,
}

impl Dialect {
    /// As prompts name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// How much a query may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows read.
    pub rows: usize,
    /// Characters of one text.
    pub cell: usize,
    /// Bytes of all texts and numbers together.
    pub bytes: usize,
    /// Time in the database.
    pub time: Duration,
}

impl Default for Limits {
    /// 200 rows are more than any chart or table of an answer shows; 64 KiB are a fifth of a small model's context.
    fn default() -> Self {
        Self { rows: 200, cell: 300, bytes: 64 * 1024, time: Duration::from_secs(3) }
    }
}

/// One value of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// NULL.
    Null,
    /// A whole number.
    Whole(i64),
    /// A real number.
    Real(f64),
    /// A text, cut to [`Limits::cell`].
    Text(String),
}

impl Cell {
    /// As a number, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            #[allow(clippy::cast_precision_loss, reason = "shown and drawn, not counted with")]
            Self::Whole(n) => Some(*n as f64),
            Self::Real(x) => Some(*x),
            Self::Null | Self::Text(_) => None,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("–"),
            Self::Whole(n) => write!(f, "{n}"),
            // A tenth is as fine as any of our figures is worth.
            Self::Real(x) if x.fract().abs() < 0.05 => write!(f, "{x:.0}"),
            Self::Real(x) => write!(f, "{x:.1}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What a query yielded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Names of the columns; empty when there are no rows.
    pub columns: Vec<String>,
    /// Row by row.
    pub rows: Vec<Vec<Cell>>,
    /// There were more rows than are here.
    pub more: bool,
    /// Bytes of texts and numbers, about.
    pub bytes: usize,
    /// Time in the database.
    #[serde(skip)]
    pub elapsed: Duration,
}

impl Rows {
    /// Takes a row; false when no more should be read.
    fn push(&mut self, mut cells: Vec<Cell>, limits: Limits) -> bool {
        let mut bytes = 0;
        for cell in &mut cells {
            if let Cell::Text(text) = cell {
                if let Some((cut, _)) = text.char_indices().nth(limits.cell) {
                    text.truncate(cut);
                    text.push('…');
                }
                bytes += text.len();
            } else {
                bytes += std::mem::size_of::<f64>();
            }
        }
        if self.rows.len() >= limits.rows || self.bytes + bytes > limits.bytes {
            self.more = true;
            return false;
        }
        self.bytes += bytes;
        self.rows.push(cells);
        true
    }
}

/// Why a query yielded nothing. Its text is for the model: it says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The guard refused it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The database refused it or failed.
    #[error("the database says: {0}")]
    Failed(String),
    /// It took too long.
    #[error("stopped after {0:?}: ask for less, aggregate, or filter by session or days_ago")]
    TooSlow(Duration),
    /// Questions cannot be asked of this store at all; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

impl QueryError {
    /// Short fixed word for `error.type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Failed(_) => "query_failed",
            Self::TooSlow(_) => "too_slow",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
