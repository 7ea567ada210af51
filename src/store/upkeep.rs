//! Looking after the file: what is in it, is it whole, a copy of it, and making room.

use std::path::Path;

use jiff::Timestamp;

use super::db::sql_owned;
use super::{Store, StoreError, micros, sql, tables};

/// What [`Store::prune`] takes, or would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prunable {
    /// Traces.
    pub traces: u64,
    /// Sessions.
    pub sessions: u64,
    /// Old enough, but kept: traces that a backend has not had yet, sessions that wait to be copied.
    pub waiting: u64,
}

/// Complete traces from before, that every backend has had.
const OLD_TRACES: &str = "ended_at < $1 AND seq IS NOT NULL \
     AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.position < traces.seq)";
/// Ended sessions from before, of which nothing waits to be copied.
const OLD_SESSIONS: &str =
    "ended_at < $1 AND NOT EXISTS (SELECT 1 FROM copy_queue q WHERE q.id = sessions.id)";

impl Store {
    /// Number of rows of each table, in the order in which tables refer to each other.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rows_by_table(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut names: Vec<&'static str> = tables::ALL.iter().map(|table| table.name).collect();
        names.extend(["tokens", "recordings"]);
        if !self.is_shared() {
            names.extend(["traces", "spans", "calibrations", "copy_queue"]);
        }
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let rows: i64 = sql_owned(format!("SELECT COUNT(*) FROM {name}")).scalar(self.reader()).await?;
            found.push((name, rows.unsigned_abs()));
        }
        Ok(found)
    }

    /// SQLite's full check of a file, references between tables included: what is wrong; empty when all is well (and
    /// for Postgres, which looks after itself).
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        if self.is_shared() {
            return Ok(Vec::new());
        }
        let mut faults: Vec<String> = sql("PRAGMA integrity_check(20)").scalars(self.reader()).await?;
        faults.retain(|line| line != "ok");
        let orphans = sql(
            "SELECT \"table\" AS child, parent, COUNT(*) AS n FROM pragma_foreign_key_check GROUP BY 1, 2",
        )
        .all(self.reader())
        .await?;
        for row in &orphans {
            let (child, parent): (String, String) = (self.get(row, "child")?, self.get(row, "parent")?);
            faults.push(format!("{} rows of {child} belong to no row of {parent}", self.count(row, "n")?));
        }
        Ok(faults)
    }

    /// Writes a compact copy of the file to `to`, as of one moment, while others may read and write.
    ///
    /// # Errors
    /// A file that exists already, a folder that cannot be written, a full disk; nothing is left at `to` then.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |e| StoreError::io(to, e);
        let folder = to.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // In a folder of its own until it is whole: SQLite wants to make the file itself.
        let half = tempfile::tempdir_in(folder).map_err(failed)?;
        let made = half.path().join("backup.db");
        sql("VACUUM INTO $1").bind(made.display().to_string()).execute(self.reader()).await?;
        // Fails when there is one already, even if it came a moment ago.
        std::fs::hard_link(&made, to).map_err(failed)
    }

    /// What [`Store::prune`] would take.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn prunable(&self, before: Timestamp, sessions: bool) -> Result<Prunable, StoreError> {
        let count = async |table: &str, which: &str| {
            let text = format!("SELECT COUNT(*) FROM {table} WHERE {which}");
            let rows: i64 = sql_owned(text).bind(micros(before)).scalar(self.reader()).await?;
            Ok::<u64, StoreError>(rows.unsigned_abs())
        };
        let mut found = Prunable { traces: count("traces", OLD_TRACES).await?, ..Prunable::default() };
        found.waiting = count("traces", "ended_at < $1 AND seq IS NOT NULL").await? - found.traces;
        if sessions {
            found.sessions = count("sessions", OLD_SESSIONS).await?;
            found.waiting += count("sessions", "ended_at < $1").await? - found.sessions;
        }
        Ok(found)
    }

    /// Makes room in the file: removes traces that ended before a moment, and sessions too if `sessions`. Copies in a
    /// shared database stay.
    ///
    /// # Errors
    /// When the store cannot be written; what went before is gone.
    pub async fn prune(&self, before: Timestamp, sessions: bool) -> Result<Prunable, StoreError> {
        let mut gone = self.prunable(before, sessions).await?;
        let text = format!("DELETE FROM traces WHERE {OLD_TRACES}");
        gone.traces = sql_owned(text).bind(micros(before)).execute(self.writer()).await?;
        if sessions {
            let text = format!("SELECT id FROM sessions WHERE {OLD_SESSIONS}");
            let ids: Vec<String> = sql_owned(text).bind(micros(before)).scalars(self.reader()).await?;
            gone.sessions = 0;
            for id in ids {
                let mut tx = self.begin().await?;
                sql("UPDATE copy_target SET quiet = 1").execute(&mut tx).await?;
                gone.sessions += u64::from(self.remove_session(&mut tx, &id).await?);
                sql("UPDATE copy_target SET quiet = 0").execute(&mut tx).await?;
                tx.commit().await?;
            }
        }
        // Gives the room back to the disk.
        sql("VACUUM").execute(self.writer()).await?;
        Ok(gone)
    }
}
