//! One player's rows on Postgres: a connection of its own for each question, by a role that may read nothing but views.
//!
//! The views show the rows of the player whom a setting names. A setting can be changed from inside a query (by
//! `set_config`, which the guard refuses), so it is sealed: it bears a hash over the player and a secret that the role
//! cannot read, and a setting with a wrong seal names nobody. The views are security barriers: no condition of a query
//! is tried on a row of somebody else. The transaction is read-only, its time limited by the server.

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, Executor, Row, SqlSafeStr, Statement, TypeInfo,
};

use super::views::{VIEWS, Words};
use super::{Cell, Dialect, Limits, QueryError, Rows};

/// Schema of the views, and begin of the name of the role that may read them (roles belong to a whole server).
const NAME: &str = "fretcoach_chat";
/// Names the lock under which the views are made ("frchat" as a number).
const LOCK: i64 = 0x6672_6368_6174;
/// Roles of a server are shared by its databases, and two that change them at once fail: once more, then.
const TRIES: u32 = 5;
/// Before the second try; longer before each further one.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Runs a checked query for the player with this id.
pub(super) async fn run(pool: &PgPool, user: &str, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
    let broken = |e: sqlx::Error| QueryError::Unavailable(format!("the shared store cannot be asked: {e}"));
    let mut owner = pool.connect_options().connect().await.map_err(broken)?;
    let access = prepare(&mut owner).await?;
    let options = pool.connect_options().as_ref().clone();
    let options = options.username(&access.role).password(&hash(&format!("{}:login", access.secret)));
    // Logged in as the role, nothing can lead back to the owner's rights.
    let reader = tokio::time::timeout(limits.time, options.connect()).await;
    let _ = tokio::time::timeout(limits.time, owner.close()).await;
    let mut connection = match reader {
        Ok(Ok(reader)) => reader,
        Ok(Err(e)) => return Err(no_login(&access.role, &e.to_string())),
        Err(_) => return Err(no_login(&access.role, "no answer in time")),
    };
    narrow(&mut connection, user, &access, limits).await.map_err(broken)?;
    let began = std::time::Instant::now();
    let answer = read(&mut connection, sql, limits).await;
    let elapsed = began.elapsed();
    // The transaction held nothing; a server that does not say goodbye in time is no matter of the answer.
    let _ = tokio::time::timeout(limits.time, connection.close()).await;
    answer.map(|rows| Rows { elapsed, ..rows }).map_err(|e| explained(&e, limits))
}

/// The role cannot log in: nothing is asked by any other.
fn no_login(role: &str, why: &str) -> QueryError {
    QueryError::Unavailable(format!(
        "the shared store lets the database role {role} not in ({why}); questions are asked by it alone, since it may \
         read nothing but one player's rows. Ask the administrator of the database to let it in by password \
         (a line for it in pg_hba.conf: scram-sha-256)"
    ))
}

/// How the views are read.
struct Access {
    /// The role that may read them; one for each database of a server.
    role: String,
    /// Seals the setting that names the player.
    secret: String,
}

/// Makes role, views and secret where they are missing or of another version.
async fn prepare(connection: &mut PgConnection) -> Result<Access, QueryError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_prepare(connection).await {
            Ok(access) => return Ok(access),
            Err(error) if tries >= TRIES => {
                return Err(QueryError::Unavailable(format!(
                    "free questions of the shared store need a database role that may read nothing but one player's \
                     rows, and it could not be made ({error}). Ask the administrator of the database to let the user \
                     in DATABASE_URL make roles (ALTER ROLE … CREATEROLE) and schemas (GRANT CREATE ON DATABASE …)"
                )));
            }
            Err(_) => tokio::time::sleep(PAUSE * tries).await,
        }
    }
}

async fn try_prepare(connection: &mut PgConnection) -> Result<Access, sqlx::Error> {
    let role: String = sqlx::query_scalar(
        "SELECT $1 || '_' || CAST(oid AS text) FROM pg_database WHERE datname = current_database()",
    )
    .bind(NAME)
    .fetch_one(&mut *connection)
    .await?;
    let statements = statements();
    let version = hash(&statements.join("\n"));
    if let Some(secret) = known(connection, &version).await? {
        return Ok(Access { role, secret });
    }
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    if let Some(secret) = known(&mut tx, &version).await? {
        return Ok(Access { role, secret });
    }
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| sqlx::Error::Protocol(format!("no random numbers: {e}")))?;
    let secret: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)")
        .bind(&role)
        .fetch_one(&mut *tx)
        .await?;
    let verb = if there { "ALTER" } else { "CREATE" };
    let password = hash(&format!("{secret}:login"));
    let base: String = sqlx::query_scalar("SELECT quote_ident(current_schema())").fetch_one(&mut *tx).await?;
    let member = format!(
        "DO $$ BEGIN IF NOT pg_has_role(current_user, '{role}', 'member') THEN GRANT {role} TO CURRENT_USER; END IF; END $$"
    );
    let first = [format!("{verb} ROLE {role} LOGIN NOINHERIT PASSWORD '{password}'"), member];
    for statement in first.iter().chain(&statements) {
        let statement = statement.replace("{base}", &base).replace("{role}", &role);
        tx.execute(AssertSqlSafe(statement).into_sql_str()).await?;
    }
    sqlx::query(AssertSqlSafe(format!("INSERT INTO {NAME}.seal (secret, version) VALUES ($1, $2)")))
        .bind(&secret)
        .bind(&version)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Access { role, secret })
}

/// The secret, where views of this version stand.
async fn known(connection: &mut PgConnection, version: &str) -> Result<Option<String>, sqlx::Error> {
    let there: Option<String> = sqlx::query_scalar("SELECT CAST(to_regclass($1) AS text)")
        .bind(format!("{NAME}.seal"))
        .fetch_one(&mut *connection)
        .await?;
    if there.is_none() {
        return Ok(None);
    }
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT secret FROM {NAME}.seal WHERE version = $1")))
        .bind(version)
        .fetch_optional(connection)
        .await
}

/// What makes the views; `{base}` stands for the schema of the tables, `{role}` for the role that reads them.
fn statements() -> Vec<String> {
    let asker = format!("(SELECT {NAME}.asker())");
    let inner = format!("{NAME}.");
    let words = Words { dialect: Dialect::Postgres, base: "{base}", asker: &asker, inner: &inner };
    let mut all = vec![
        format!("DROP SCHEMA IF EXISTS {NAME} CASCADE"),
        format!("CREATE SCHEMA {NAME}"),
        format!("REVOKE ALL ON SCHEMA {NAME} FROM PUBLIC"),
        format!("GRANT USAGE ON SCHEMA {NAME} TO {{role}}"),
        format!("CREATE TABLE {NAME}.seal (secret TEXT NOT NULL, version TEXT NOT NULL)"),
        format!(
            "CREATE FUNCTION {NAME}.asker() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp AS $$ \
             SELECT split_part(v, ':', 1) FROM (SELECT current_setting('fretcoach.asker', true) AS v) a, {NAME}.seal s \
             WHERE split_part(v, ':', 2) = encode(sha256(convert_to(s.secret || ':' || split_part(v, ':', 1), 'UTF8')), 'hex') \
             $$"
        ),
        format!("REVOKE ALL ON FUNCTION {NAME}.asker() FROM PUBLIC"),
        format!("GRANT EXECUTE ON FUNCTION {NAME}.asker() TO {{role}}"),
        // Postgres rounds only NUMERIC to places; so queries read the same on both engines.
        format!(
            "CREATE FUNCTION {NAME}.round(double precision, integer) RETURNS double precision LANGUAGE sql IMMUTABLE \
             AS $$ SELECT CAST(pg_catalog.round(CAST($1 AS numeric), $2) AS double precision) $$"
        ),
    ];
    for view in VIEWS {
        let columns: Vec<&str> = view.columns.iter().map(|c| c.name).collect();
        let (name, columns, body) = (view.name, columns.join(", "), words.body(view.name));
        all.push(format!("CREATE VIEW {NAME}.{name} ({columns}) WITH (security_barrier = true) AS {body}"));
        all.push(format!("GRANT SELECT ON {NAME}.{name} TO {{role}}"));
    }
    all
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Begins a transaction that reads only the views, as the role, for this player.
async fn narrow(
    connection: &mut PgConnection,
    user: &str,
    access: &Access,
    limits: Limits,
) -> Result<(), sqlx::Error> {
    let zone = jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned();
    connection.execute("BEGIN READ ONLY").await?;
    let sealed = format!("{user}:{}", hash(&format!("{}:{user}", access.secret)));
    let millis = limits.time.as_millis().to_string();
    for (setting, value) in [
        ("fretcoach.asker", sealed.as_str()),
        ("search_path", "pg_catalog, fretcoach_chat, pg_temp"),
        ("statement_timeout", &millis),
        ("work_mem", "8MB"),
        ("standard_conforming_strings", "on"),
        ("max_parallel_workers_per_gather", "0"),
        ("jit", "off"),
        ("TimeZone", &zone),
    ] {
        sqlx::query("SELECT set_config($1, $2, true)")
            .bind(setting)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    connection.execute(AssertSqlSafe(format!("SET LOCAL ROLE {}", access.role)).into_sql_str()).await?;
    Ok(())
}

async fn read(connection: &mut PgConnection, sql: &str, limits: Limits) -> Result<Rows, sqlx::Error> {
    let statement = connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await?;
    let columns: Vec<(String, String)> =
        statement.columns().iter().map(|c| (c.name().to_owned(), c.type_info().name().to_owned())).collect();
    drop(statement);
    // All values as text, cut by the server: so that no type is too strange and no text too long to be read.
    let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    let texts: Vec<String> =
        names.iter().map(|n| format!("left(CAST({n} AS text), {})", limits.cell + 1)).collect();
    let wrapped = format!("SELECT {} FROM ({sql}) AS q ({})", texts.join(", "), names.join(", "));
    let found = sqlx::query(AssertSqlSafe(wrapped)).fetch_all(connection).await?;
    let mut rows = Rows::default();
    if !found.is_empty() {
        rows.columns = columns.iter().map(|(name, _)| name.clone()).collect();
    }
    for row in found {
        let cells = columns
            .iter()
            .enumerate()
            .map(|(i, (_, kind))| Ok(cell(row.try_get::<Option<String>, _>(i)?, kind)))
            .collect::<Result<Vec<_>, sqlx::Error>>()?;
        if !rows.push(cells, limits) {
            break;
        }
    }
    Ok(rows)
}

fn cell(text: Option<String>, kind: &str) -> Cell {
    let Some(text) = text else { return Cell::Null };
    match kind {
        "INT2" | "INT4" | "INT8" => text.parse().map_or(Cell::Text(text), Cell::Whole),
        "FLOAT4" | "FLOAT8" | "NUMERIC" => text.parse().map_or(Cell::Text(text), Cell::Real),
        // As SQLite has it.
        "BOOL" => Cell::Whole(i64::from(text == "true")),
        _ => Cell::Text(text),
    }
}

fn explained(error: &sqlx::Error, limits: Limits) -> QueryError {
    match error.as_database_error() {
        // query_canceled
        Some(said) if said.code().is_some_and(|c| c == "57014") => QueryError::TooSlow(limits.time),
        Some(said) => QueryError::Failed(said.message().replace("fretcoach_chat.", "")),
        None => QueryError::Failed(error.to_string()),
    }
}
