//! Export and import: everything of one player or of all, as JSON Lines that come back exactly, or as CSV tables.
//!
//! JSON Lines: the first line is the header, `{"fretcoach_export":1,…}`. Every further line is one row: its `table`, then
//! its columns as they are stored (times in microseconds since 1970 UTC, JSON as text), with the player's name as `user` in
//! place of an id. What belongs to a session follows its line, likewise the messages of a chat. Rows stand in a fixed
//! order, so the same history always gives the same file. Sounds are files of their own and are not in it; neither are
//! tokens.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::db::{Row, Tx, Value, sql_owned};
use super::tables::{self, Kind, Table};
use super::{Store, StoreError, micros, sql};

/// Version of the format. Columns may be added under the same number: readers ignore what they do not know.
const VERSION: u64 = 1;

/// Rows read at once: bounds the memory.
const PAGE: i64 = 1000;

/// Rows stored at once.
const BATCH: usize = 500;

/// Longest line, bytes: far beyond any row (the longest is a session with its settings, some 10 kB).
const LONGEST_LINE: u64 = 16 << 20;

/// Faults that are told one by one; the rest is counted.
const FAULTS_TOLD: usize = 20;

/// Why an export or import ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file is no export, or one of a newer program.
    #[error("{path} is not an export that this FretCoach reads ({message}); make one with `fretcoach export`", path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// What was exported or imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Sessions.
    pub sessions: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Lines that did not read, by number, with what is wrong; at most twenty.
    pub faults: Vec<(u64, String)>,
    /// Sessions, chats and other rows left out because of faults.
    pub skipped: u64,
}

/// Where exported rows go.
trait Sink {
    fn row(&mut self, table: &'static Table, user: Option<&str>, row: &[Value]) -> Result<(), TransferError>;
}

/// Exports as JSON Lines. `user`: of this player alone. `progress` is told sessions done and sessions in all.
///
/// # Errors
/// A store that cannot be read, a file that cannot be written.
pub async fn export(
    store: &Store,
    user: Option<&str>,
    out: &mut (dyn Write + Send),
    path: &Path,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Transferred, TransferError> {
    let failed = |source| TransferError::File { path: path.to_path_buf(), source };
    writeln!(out, "{{\"fretcoach_export\":{VERSION},\"program\":\"{}\"}}", env!("CARGO_PKG_VERSION"))
        .map_err(failed)?;
    let mut sink = JsonLines { out, path };
    let done = walk(store, user, &mut sink, progress).await?;
    out.flush().map_err(failed)?;
    Ok(done)
}

/// Exports as CSV, one file per table in `folder`, which is made when missing.
///
/// # Errors
/// As [`export`].
pub async fn export_csv(
    store: &Store,
    user: Option<&str>,
    folder: &Path,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Transferred, TransferError> {
    let failed = |source| TransferError::File { path: folder.to_path_buf(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut sink = Tables::create(folder)?;
    let done = walk(store, user, &mut sink, progress).await?;
    for (_, mut writer) in sink.writers {
        writer.flush().map_err(failed)?;
    }
    Ok(done)
}

async fn walk(
    store: &Store,
    user: Option<&str>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Transferred, TransferError> {
    let mut done = Transferred::default();
    let users = sql("SELECT id, name, created_at FROM users WHERE $1 IS NULL OR name = $1 ORDER BY name")
        .bind(user)
        .all(store.reader())
        .await?;
    let total: i64 =
        sql("SELECT COUNT(*) FROM sessions JOIN users u ON u.id = user_id WHERE $1 IS NULL OR u.name = $1")
            .bind(user)
            .scalar(store.reader())
            .await?;
    let mut put = |done: &mut Transferred, table, name: Option<&str>, row: &[Value]| {
        done.rows += 1;
        sink.row(table, name, row)
    };
    for user in &users {
        let (id, name): (String, String) = (store.get(user, "id")?, store.get(user, "name")?);
        put(&mut done, &tables::USERS, None, &tables::USERS.read(store, user)?)?;
        for (table, order) in [
            (&tables::SETTINGS, "user_id"),
            (&tables::PLANS, "id"),
            (&tables::SESSIONS, "id"),
            (&tables::CHATS, "id"),
        ] {
            let mut after = String::new();
            loop {
                let page = format!("WHERE user_id = $1 AND {order} > $2 ORDER BY {order} LIMIT $3");
                let rows: Vec<Row> = sql_owned(table.select(&page))
                    .bind(&id)
                    .bind(&after)
                    .bind(PAGE)
                    .all(store.reader())
                    .await?;
                let Some(last) = rows.last() else { break };
                after = store.get(last, order)?;
                for row in &rows {
                    put(&mut done, table, Some(&name), &table.read(store, row)?)?;
                    let parts: &[&'static Table] = match table.name {
                        "sessions" => &tables::OF_SESSION,
                        "chats" => &[&tables::MESSAGES],
                        _ => &[],
                    };
                    for part in parts {
                        let mut after: Option<Value> = None;
                        loop {
                            let rows = part
                                .page(store, &store.get::<String>(row, order)?, after.as_ref(), PAGE)
                                .await?;
                            let Some(last) = rows.last() else { break };
                            after = Some(part.last_key(last).clone());
                            for row in &rows {
                                put(&mut done, part, None, row)?;
                            }
                        }
                    }
                    if table.name == "sessions" {
                        done.sessions += 1;
                        progress(done.sessions, total.unsigned_abs());
                    }
                }
            }
        }
    }
    Ok(done)
}

/// Columns as they stand outside: the player by name, and no id of players.
fn outside(table: &Table) -> impl Iterator<Item = (usize, &'static str, Kind)> {
    let hidden = if table.name == "users" { "id" } else { "" };
    table
        .columns
        .iter()
        .enumerate()
        .filter(move |(_, (name, _))| *name != hidden)
        .map(|(at, (name, kind))| (at, if *name == "user_id" { "user" } else { *name }, *kind))
}

fn text_of(value: &Value, name: &str, user: Option<&str>) -> Option<String> {
    match (name, user, value) {
        ("user", Some(user), _) => Some(user.to_owned()),
        (_, _, Value::Int(n)) => n.map(|n| n.to_string()),
        // Shortest text that reads as the same number.
        (_, _, Value::Float(x)) => x.map(|x| format!("{x:?}")),
        (_, _, Value::Text(text)) => text.clone(),
    }
}

struct JsonLines<'a> {
    out: &'a mut (dyn Write + Send),
    path: &'a Path,
}

impl Sink for JsonLines<'_> {
    fn row(&mut self, table: &'static Table, user: Option<&str>, row: &[Value]) -> Result<(), TransferError> {
        let mut line = format!("{{\"table\":\"{}\"", table.name);
        for (at, name, kind) in outside(table) {
            let value = match text_of(&row[at], name, user) {
                None => "null".to_owned(),
                Some(text) if kind == Kind::Text => serde_json::Value::from(text).to_string(),
                Some(number) => number,
            };
            line.push_str(&format!(",\"{name}\":{value}"));
        }
        line.push_str("}\n");
        let failed = |source| TransferError::File { path: self.path.to_path_buf(), source };
        self.out.write_all(line.as_bytes()).map_err(failed)
    }
}

struct Tables {
    folder: PathBuf,
    writers: HashMap<&'static str, csv::Writer<std::fs::File>>,
}

impl Tables {
    fn create(folder: &Path) -> Result<Self, TransferError> {
        let mut writers = HashMap::new();
        for table in tables::ALL {
            let path = folder.join(format!("{}.csv", table.name));
            let mut writer = csv::Writer::from_path(&path)
                .map_err(|e| TransferError::File { path: path.clone(), source: e.into() })?;
            writer
                .write_record(outside(table).map(|(_, name, _)| name))
                .map_err(|e| TransferError::File { path, source: e.into() })?;
            writers.insert(table.name, writer);
        }
        Ok(Self { folder: folder.to_path_buf(), writers })
    }
}

impl Sink for Tables {
    fn row(&mut self, table: &'static Table, user: Option<&str>, row: &[Value]) -> Result<(), TransferError> {
        let cells = outside(table).map(|(at, name, _)| text_of(&row[at], name, user).unwrap_or_default());
        let writer = self.writers.get_mut(table.name).expect("every table has a file");
        let path = || self.folder.join(format!("{}.csv", table.name));
        writer.write_record(cells).map_err(|e| TransferError::File { path: path(), source: e.into() })
    }
}

/// Imports JSON Lines. Each session comes with all that belongs to it or not at all; what is there already is replaced
/// by what comes, so that importing twice changes nothing. Lines that do not read are told and do not keep the rest
/// out. `progress` is told the bytes read.
///
/// # Errors
/// A file that cannot be read or is no export; a store that cannot be written. What was complete before stays.
pub async fn import(
    store: &Store,
    input: &mut (dyn BufRead + Send),
    path: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Transferred, TransferError> {
    let mut lines = Lines { input, path, number: 0, bytes: 0, line: Vec::new() };
    check_header(&mut lines)?;
    let mut import =
        Import { store, group: None, users: HashMap::new(), skipping: false, done: Transferred::default() };
    while let Some(line) = lines.next()? {
        let (number, parsed) = (lines.number, line.and_then(|line| parse(&line)));
        match parsed {
            Ok(Some((table, user, row))) => import.line(number, table, user, row).await?,
            Ok(None) => {}
            Err(why) => import.fault(number, why).await?,
        }
        progress(lines.bytes);
    }
    import.commit().await?;
    Ok(import.done)
}

struct Lines<'a> {
    input: &'a mut (dyn BufRead + Send),
    path: &'a Path,
    number: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl Lines<'_> {
    /// The next line; `Err` inside when it cannot be text of ours.
    fn next(&mut self) -> Result<Option<Result<String, String>>, TransferError> {
        self.line.clear();
        let failed = |source| TransferError::File { path: self.path.to_path_buf(), source };
        let mut limited = io::Read::take(&mut *self.input, LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut self.line).map_err(failed)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read;
        if read == LONGEST_LINE && self.line.last() != Some(&b'\n') {
            // The rest of it, without keeping it.
            loop {
                let piece = self.input.fill_buf().map_err(failed)?;
                let end = piece.iter().position(|b| *b == b'\n');
                let used = end.map_or(piece.len(), |at| at + 1);
                self.input.consume(used);
                self.bytes += used as u64;
                if end.is_some() || used == 0 {
                    break;
                }
            }
            return Ok(Some(Err("it is too long to be a row".into())));
        }
        Ok(Some(String::from_utf8(self.line.clone()).map_err(|_| "it is not UTF-8".into())))
    }
}

fn check_header(lines: &mut Lines<'_>) -> Result<(), TransferError> {
    let path = lines.path.to_path_buf();
    let wrong = |message: &str| TransferError::Format { path: path.clone(), message: message.into() };
    let Some(Ok(line)) = lines.next()? else { return Err(wrong("its first line does not read")) };
    let header: serde_json::Value =
        serde_json::from_str(&line).map_err(|_| wrong("its first line is not a header"))?;
    match header.get("fretcoach_export").and_then(serde_json::Value::as_u64) {
        Some(VERSION) => Ok(()),
        Some(newer) => {
            Err(wrong(&format!("it has version {newer}, this program reads {VERSION}: update FretCoach")))
        }
        None => Err(wrong("its first line is not a header")),
    }
}

/// A row of a known table with its player's name; `None` for an empty line and for tables of a newer program.
type Parsed = Option<(&'static Table, Option<String>, Vec<Value>)>;

fn parse(line: &str) -> Result<Parsed, String> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    // Numbers are read from their text: what serde_json makes of them may differ in the last bit.
    let mut fields: HashMap<String, &RawValue> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let mut text = |name: &str| -> Result<Option<String>, String> {
        let raw = fields.remove(name).map(RawValue::get);
        raw.map_or(Ok(None), |raw| serde_json::from_str(raw).map_err(|_| format!("`{name}` is not a text")))
    };
    let table = text("table")?.ok_or("it names no table")?;
    let user = text("user")?;
    let Some(table) = tables::by_name(&table) else { return Ok(None) };
    let mut row = Vec::with_capacity(table.columns.len());
    for (name, kind) in table.columns {
        let raw = fields.get(*name).map(|raw| raw.get()).filter(|raw| *raw != "null");
        row.push(match kind {
            Kind::Text => {
                let text = raw.map(serde_json::from_str::<String>).transpose();
                Value::Text(text.map_err(|_| format!("`{name}` is not a text"))?)
            }
            Kind::Int => {
                let number = raw.map(str::parse::<i64>).transpose();
                Value::Int(number.map_err(|_| format!("`{name}` is not a whole number"))?)
            }
            Kind::Float => {
                let number =
                    raw.map(str::parse::<f64>).transpose().ok().filter(|x| x.is_none_or(f64::is_finite));
                Value::Float(number.ok_or_else(|| format!("`{name}` is not a number"))?)
            }
        });
    }
    for key in table.key.iter().filter(|key| !matches!((table.name, **key), ("users", _) | (_, "user_id"))) {
        if matches!(row[table.place(key)], Value::Text(None) | Value::Int(None) | Value::Float(None)) {
            return Err(format!("it lacks `{key}`"));
        }
    }
    Ok(Some((table, user, row)))
}

/// What is being stored: a session or chat with its parts, or a single row.
struct Group {
    tx: Tx,
    head: &'static Table,
    id: String,
    first: u64,
    waiting: Vec<(&'static Table, Vec<Vec<Value>>)>,
    waiting_rows: usize,
    rows: u64,
}

struct Import<'a> {
    store: &'a Store,
    group: Option<Group>,
    /// Ids of players by name.
    users: HashMap<String, String>,
    /// Parts of a group that was left out are passed over.
    skipping: bool,
    done: Transferred,
}

impl Import<'_> {
    async fn line(
        &mut self,
        number: u64,
        table: &'static Table,
        user: Option<String>,
        mut row: Vec<Value>,
    ) -> Result<(), TransferError> {
        if let Some(parent) = table.parent {
            if self.skipping {
                return Ok(());
            }
            let named = &row[table.place(parent)];
            let fits = self.group.as_ref().is_some_and(|group| {
                let head = if table.name == "chat_messages" { "chats" } else { "sessions" };
                group.head.name == head && *named == Value::Text(Some(group.id.clone()))
            });
            if !fits {
                return self
                    .fault(number, format!("a row of {} that does not follow what it belongs to", table.name))
                    .await;
            }
            let group = self.group.as_mut().expect("it fits");
            match group.waiting.last_mut() {
                Some((last, rows)) if last.name == table.name => rows.push(row),
                _ => group.waiting.push((table, vec![row])),
            }
            group.waiting_rows += 1;
            if group.waiting_rows >= BATCH {
                let (first, stored) = (group.first, group.store().await);
                self.judge(first, stored).await?;
            }
            return Ok(());
        }
        self.commit().await?;
        self.skipping = false;
        if table.name == "users" {
            let (Value::Text(Some(name)), Value::Int(created)) =
                (&row[table.place("name")], &row[table.place("created_at")])
            else {
                return self.fault(number, "it lacks `name`".into()).await;
            };
            if let Err(why) = super::check_user_name(name) {
                return self.fault(number, why).await;
            }
            let created = created.unwrap_or_else(|| micros(Timestamp::now()));
            let at = Timestamp::from_microsecond(created).unwrap_or_else(|_| Timestamp::now());
            let mut tx = self.store.begin().await?;
            let id = self.store.user_id(&mut tx, name, at).await?;
            tx.commit().await?;
            self.users.insert(name.clone(), id);
            self.done.rows += 1;
            return Ok(());
        }
        let Some(user) = user else { return self.fault(number, "it lacks `user`".into()).await };
        if let Err(why) = super::check_user_name(&user) {
            return self.fault(number, why).await;
        }
        let mut tx = self.store.begin().await?;
        let user_id = match self.users.get(&user) {
            Some(id) => id.clone(),
            None => self.store.user_id(&mut tx, &user, Timestamp::now()).await?,
        };
        row[table.place("user_id")] = Value::Text(Some(user_id));
        let id = match &row[table.place(table.key[0])] {
            Value::Text(Some(id)) => id.clone(),
            _ => String::new(),
        };
        if table.name != "user_settings"
            && uuid::Uuid::parse_str(&id).map(|u| u.to_string()).ok().as_ref() != Some(&id)
        {
            return self.fault(number, "its `id` is not a UUID".into()).await;
        }
        if table.name == "sessions" && !self.store.is_shared() {
            // Its parts are not queued one by one for the shared database: the session is, whole.
            sql("UPDATE copy_target SET quiet = 1").execute(&mut tx).await?;
        }
        let mut group =
            Group { tx, head: table, id, first: number, waiting: Vec::new(), waiting_rows: 0, rows: 0 };
        group.waiting.push((table, vec![row]));
        let stored = group.store().await;
        self.group = Some(group);
        self.judge(number, stored).await
    }

    /// Drops the group when the database did not take a value of it; any other failure ends the import.
    async fn judge(&mut self, number: u64, stored: Result<(), StoreError>) -> Result<(), TransferError> {
        match stored {
            Err(StoreError::Database { source: sqlx::Error::Database(e), .. })
                if !matches!(e.kind(), sqlx::error::ErrorKind::Other) =>
            {
                self.fault(number, format!("the database does not take it: {}", e.message())).await
            }
            other => Ok(other?),
        }
    }

    /// Leaves out what a faulty line belongs to.
    async fn fault(&mut self, number: u64, why: String) -> Result<(), TransferError> {
        if self.done.faults.len() < FAULTS_TOLD {
            self.done.faults.push((number, why));
        }
        self.done.skipped += 1;
        self.skipping = true;
        match self.group.take() {
            Some(group) => Ok(group.tx.rollback().await?),
            None => Ok(()),
        }
    }

    async fn commit(&mut self) -> Result<(), TransferError> {
        let Some(group) = &mut self.group else { return Ok(()) };
        let (first, stored) = (group.first, group.store().await);
        self.judge(first, stored).await?;
        let Some(mut group) = self.group.take() else { return Ok(()) };
        let is_session = group.head.name == "sessions";
        if is_session && !self.store.is_shared() {
            sql("INSERT INTO copy_queue (kind, id) SELECT 'whole', $1 FROM copy_target")
                .bind(&group.id)
                .execute(&mut group.tx)
                .await?;
            sql("UPDATE copy_target SET quiet = 0").execute(&mut group.tx).await?;
        }
        group.tx.commit().await?;
        self.done.rows += group.rows;
        self.done.sessions += u64::from(is_session);
        Ok(())
    }
}

impl Group {
    async fn store(&mut self) -> Result<(), StoreError> {
        for (table, rows) in self.waiting.drain(..) {
            self.rows += rows.len() as u64;
            table.upsert(&mut self.tx, rows).await?;
        }
        self.waiting_rows = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        for x in [0.420_000_000_000_000_04, 0.1 + 0.2, 1e-300, -7.5, 5.0, f64::MAX, f64::MIN_POSITIVE] {
            let row =
                vec![Value::Text(Some("s".into())), Value::Int(Some(1)), x.into(), x.into(), "c".into()];
            let mut out = Vec::new();
            JsonLines { out: &mut out, path: Path::new("x") }.row(&tables::GAPS, None, &row).unwrap();
            let (table, _, back) = parse(std::str::from_utf8(&out).unwrap()).unwrap().unwrap();
            assert_eq!(table.name, "gaps");
            assert_eq!(back, row, "{x:?}");
        }
    }

    #[test]
    fn wrong_lines_are_told() {
        for (line, said) in [
            ("{", "EOF"),
            ("[]", "invalid type"),
            ("{}", "names no table"),
            (r#"{"table":"gaps","session_id":"s","seq":"one"}"#, "`seq` is not a whole number"),
            (r#"{"table":"gaps","session_id":"s","from_s":1}"#, "lacks `seq`"),
            (r#"{"table":"gaps","session_id":4,"seq":1}"#, "`session_id` is not a text"),
            (r#"{"table":"gaps","session_id":"s","seq":1,"from_s":1e999}"#, "`from_s` is not a number"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(said), "{line}: {why}");
        }
        assert!(parse("").unwrap().is_none());
        assert!(parse(r#"{"table":"a table of the future","x":1}"#).unwrap().is_none());
    }
}
