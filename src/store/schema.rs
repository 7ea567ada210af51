//! The schema: which file is ours, and how an older one becomes a new one.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgPool;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Row, SqlSafeStr};

use super::StoreError;

/// Stands in the header of our files (`PRAGMA application_id`): "FrCo".
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"FrCo");

/// First bytes of every SQLite file, https://www.sqlite.org/fileformat.html
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// In order; a landed one is never edited.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "practice", include_str!("../../migrations/0001_practice.sql")),
    (2, "traces", include_str!("../../migrations/0002_traces.sql")),
    (3, "technique", include_str!("../../migrations/0003_technique.sql")),
    (4, "timing", include_str!("../../migrations/0004_timing.sql")),
    (5, "calibration", include_str!("../../migrations/0005_calibration.sql")),
    (6, "hub", include_str!("../../migrations/0006_hub.sql")),
    (7, "copy", include_str!("../../migrations/0007_copy.sql")),
    (8, "tally", include_str!("../../migrations/0008_tally.sql")),
];

/// The same for the shared database, which began later.
const POSTGRES_MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "practice", include_str!("../../migrations/postgres/0001_practice.sql")),
    (2, "tally", include_str!("../../migrations/postgres/0002_tally.sql")),
    (3, "copy", include_str!("../../migrations/postgres/0003_copy.sql")),
];

/// Where the shared database keeps which of them it has had: a name that no other program of the same database uses.
const POSTGRES_LEDGER: &str = "fretcoach_schema";

/// The newest schema of the shared database that this program knows.
pub(super) fn newest_postgres() -> i64 {
    POSTGRES_MIGRATIONS[POSTGRES_MIGRATIONS.len() - 1].0
}

/// The newest schema that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

/// Two processes that start at once both find the schema old; the one that comes second sees its migration fail and
/// finds it done when it looks again.
const ATTEMPTS: usize = 3;

/// Fails when `path` holds something that is no SQLite database. Only looks at the first bytes.
pub(super) fn reject_foreign(path: &Path) -> Result<(), StoreError> {
    let foreign = |message: &str| StoreError::Foreign { path: path.to_path_buf(), message: message.into() };
    if path.is_dir() {
        return Err(foreign("it is a folder"));
    }
    let mut head = Vec::with_capacity(MAGIC.len());
    match File::open(path) {
        Ok(file) => {
            file.take(MAGIC.len() as u64).read_to_end(&mut head).map_err(|e| StoreError::io(path, e))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(path, error)),
    };
    if head.is_empty() || head == MAGIC { Ok(()) } else { Err(foreign("the file is not an SQLite database")) }
}

/// Fails when the database was made by another program, or by a newer FretCoach. Changes nothing.
pub(super) async fn identify(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |e| StoreError::sqlite(path, e);
    // Tables first: another process of ours that is just making them has set the id before.
    let tables: i64 = sqlx::query("SELECT COUNT(*) AS n FROM sqlite_master")
        .fetch_one(&mut *connection)
        .await
        .and_then(|row| row.try_get("n"))
        .map_err(failed)?;
    let id: i32 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    if tables > 0 && id != APPLICATION_ID {
        let message = "the database belongs to another program".to_owned();
        return Err(StoreError::Foreign { path: path.to_path_buf(), message });
    }
    Ok(())
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let each = |(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
    };
    Migrator::with_migrations(migrations.iter().map(each).collect())
}

/// Brings the shared database up to date. An advisory lock lets one process at a time do so. Tables of another
/// program are left alone.
pub(super) async fn migrate_postgres(place: &Path, pool: &PgPool) -> Result<(), StoreError> {
    let failed = |e| StoreError::postgres(place, e);
    let ours: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(POSTGRES_LEDGER)
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if !ours {
        let taken: Option<String> = sqlx::query_scalar(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema() \
             AND table_name IN ('users', 'sessions', 'notes', 'windows', 'plans', 'chats') \
             AND to_regclass($1) IS NULL LIMIT 1",
        )
        .bind(POSTGRES_LEDGER)
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
        if let Some(table) = taken {
            let message = format!("it holds a table `{table}` of another program");
            return Err(StoreError::ForeignServer { path: place.to_path_buf(), message });
        }
    }
    let mut migrator = migrator(&POSTGRES_MIGRATIONS);
    migrator.dangerous_set_table_name(POSTGRES_LEDGER);
    match migrator.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) if found > newest_postgres() => {
            Err(StoreError::Newer { path: place.to_path_buf(), found, known: newest_postgres() })
        }
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => Err(failed(e)),
        Err(other) => {
            Err(StoreError::ForeignServer { path: place.to_path_buf(), message: other.to_string() })
        }
    }
}

/// Brings the schema up to date, each migration in a transaction of its own.
pub(super) async fn migrate(path: &Path, pool: &SqlitePool) -> Result<(), StoreError> {
    let migrator = migrator(&MIGRATIONS);
    // Before the first table, so that even a half-made file is known as ours. A pragma takes no parameters.
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
    let id: i32 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(pool)
        .await
        .map_err(|e| StoreError::sqlite(path, e))?;
    if id != APPLICATION_ID {
        // Safe: the only thing inserted is a constant number.
        sqlx::query(sqlx::AssertSqlSafe(mark))
            .execute(pool)
            .await
            .map_err(|e| StoreError::sqlite(path, e))?;
    }
    let mut attempt = 1;
    loop {
        match migrator.run(pool).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::VersionMissing(found)) if found > newest() => {
                return Err(StoreError::Newer { path: path.to_path_buf(), found, known: newest() });
            }
            Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => {
                let error = StoreError::sqlite(path, e);
                let raced = matches!(error, StoreError::Database { .. } | StoreError::Busy { .. });
                if !raced || attempt == ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
            }
            Err(other) => {
                return Err(StoreError::Corrupt { path: path.to_path_buf(), message: other.to_string() });
            }
        }
    }
}
