//! The shared database: one Postgres for several daemons and a Hub.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::{Db, Store, StoreError, schema};

/// Connections of one process: a Hub's pages ask at most that much at once, and a school's daemons together stay below
/// the hundred that Postgres allows by default.
const CONNECTIONS: u32 = 4;

/// How long a connection is waited for. A database in the same house answers in milliseconds; a page must not hang.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long one statement may take on the server, beyond any of ours.
const STATEMENT_TIMEOUT: &str = "30s";

/// How long a statement waits for another's lock.
const LOCK_TIMEOUT: &str = "10s";

/// How long a transaction may stand idle: that of a process that was suspended gives back its locks.
const IDLE_TIMEOUT: &str = "60s";

/// A connection that nobody uses is given back.
const UNUSED_AFTER: Duration = Duration::from_secs(60);

/// The store for a command that runs beside the daemon: the shared database when one is named and answers, else the
/// file in `data_dir`, with a line that says so.
///
/// # Errors
/// An address that does not read, a shared database that refuses or is not ours, or a file that cannot be opened. A
/// server that is away is no error.
pub async fn open_shared_or_local(url: &str, data_dir: &Path) -> Result<(Store, Option<String>), StoreError> {
    if url.is_empty() {
        return Ok((Store::open_in(data_dir).await?, None));
    }
    match Store::connect(url).await {
        Ok(store) => Ok((store, None)),
        Err(StoreError::Unreachable { path, .. }) => {
            let said = format!("{} cannot be reached; this is what this device knows", path.display());
            Ok((Store::open_in(data_dir).await?, Some(said)))
        }
        Err(error) => Err(error),
    }
}

impl Store {
    /// Opens the Postgres at `url` (`postgres://user:password@host:port/database`); makes its tables when missing,
    /// and brings older ones up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// Each with what to do, and none with the password: an address that does not read, a server that does not
    /// answer or refuses, a database of another program, or of a newer FretCoach.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let (place, options) = address(url)?;
        let failed = |e| StoreError::postgres(&place, e);
        let pool: PgPool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT_WITHIN)
            .idle_timeout(UNUSED_AFTER)
            .connect_lazy_with(options);
        // Asked first, so that a server that is away is told from one that refuses; the pool only says "timed out".
        let first = tokio::time::timeout(CONNECT_WITHIN, pool.connect_options().connect()).await;
        let first = first.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(failed)?;
        sqlx::Connection::close(first).await.map_err(failed)?;
        schema::migrate_postgres(&place, &pool).await?;
        let db = Db::postgres(pool, &place);
        Ok(Self::assemble(place, false, db.clone(), db))
    }
}

/// Where a URL leads, as it may be shown, and how to connect.
fn address(url: &str) -> Result<(PathBuf, PgConnectOptions), StoreError> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(StoreError::Address { message: "it must begin with postgres://".into() });
    }
    let options = PgConnectOptions::from_str(url)
        // The parser's own words name the fault ("invalid port number"), never the text.
        .map_err(|_| StoreError::Address { message: "a part of it does not read".into() })?
        .application_name("fretcoach")
        .options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
            // What was copied leaves the queue: it must outlive a crash of the server, however that is set up.
            ("synchronous_commit", "on"),
        ])
        .disable_statement_logging();
    let host = options
        .get_socket()
        .map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    let place = format!("postgres://{}@{host}:{}/{database}", options.get_username(), options.get_port());
    Ok((PathBuf::from(place), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let (place, _) = address("postgres://ada:s3cret@db.local:5433/guitar").unwrap();
        assert_eq!(place.to_str(), Some("postgres://ada@db.local:5433/guitar"));
        for wrong in ["mysql://ada:s3cret@x/y", "s3cret", "", "postgres://ada:s3cret@host:port/x"] {
            let said = address(wrong).unwrap_err().to_string();
            assert!(said.contains("DATABASE_URL") && !said.contains("s3cret"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named_without_the_password() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = Store::connect(&format!("postgres://ada:s3cret@127.0.0.1:{port}/x")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(&port.to_string()) && !said.contains("s3cret"), "{said}");
    }
}
