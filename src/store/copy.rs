//! The copy to a shared Postgres: a queue in the daemon's own file, and a worker that empties it.
//!
//! Triggers (`migrations/0007_copy.sql`) queue every row that is stored, so playing never waits for the network. The
//! worker reads the rows as they are by then, stores them in the shared database in one transaction, and only then
//! takes them from the queue: after a crash in between they are copied again, which changes nothing, since every row is
//! stored under its own key (UUIDv7). So nothing is lost and nothing is there twice; what is visible there is always a
//! state that was once true here, in order. An outage only makes the queue longer, on disk.
//!
//! A database that is new to the daemon gets all of its history. What was deleted for good leaves a tombstone there: it
//! is not copied again, and every daemon deletes its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::db::{Tx, Value, sql_owned};
use super::tables::{self, Table};
use super::{Store, StoreError, UserId, lock, micros, sql};

/// A look into the queue this often: what is played is there about a second later.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A look for deletions made elsewhere, and a sign of life, this often.
const MEET_EVERY: Duration = Duration::from_secs(5);

/// A daemon that was not heard of for so long no longer runs: several signs of life were missed.
pub(super) const SILENT_AFTER_US: i64 = 30 * 1_000_000;

/// First pause after a failure; doubled each time up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A minute after the server is back the copy goes on, at the latest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Another process on the same folder copies already: looked at again this often.
const TURN_EVERY: Duration = Duration::from_secs(5);

/// Queue entries taken at once. Bounds the memory: a row has at most some kilobytes.
const BATCH: i64 = 500;

/// Rows of a session read at once.
const PAGE: i64 = 1000;

/// How the copy goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyState {
    /// Why nothing can be copied at present; `None` when all is well.
    pub trouble: Option<String>,
    /// Rows that wait.
    pub waiting: u64,
    /// Entries of the queue that were copied since the start.
    pub copied: u64,
    /// The shared database was reached, and nothing waits.
    pub caught_up: bool,
}

/// The worker. When dropped it ends after what it is doing; [`Handle::stop`] gives it time to finish.
#[derive(Debug)]
pub struct Handle {
    stop: CancellationToken,
    task: JoinHandle<()>,
    state: watch::Receiver<CopyState>,
}

impl Handle {
    /// How the copy goes, now and whenever it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<CopyState> {
        self.state.clone()
    }

    /// Copies what waits, for at most `within`; the rest waits for the next start.
    pub async fn stop(mut self, within: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            // Cut off anywhere: what was not committed there is still in the queue.
            self.task.abort();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts copying a daemon's file to the Postgres at `url`. Needs a tokio runtime. Of several processes on one file
/// one copies at a time.
#[must_use]
pub fn start(store: &Store, url: &str) -> Handle {
    let (told, state) = watch::channel(CopyState::default());
    let stop = CancellationToken::new();
    let worker = Worker { local: store.clone(), url: url.to_owned(), stop: stop.clone(), told };
    Handle { stop, task: tokio::spawn(worker.run()), state }
}

struct Worker {
    local: Store,
    url: String,
    stop: CancellationToken,
    told: watch::Sender<CopyState>,
}

impl Worker {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.told.borrow().copied;
            let Err(error) = self.try_run().await else { return };
            if self.told.borrow().trouble.is_none() {
                tracing::warn!(
                    "what is stored is not copied at present, it waits: {}",
                    crate::span::chain(&error)
                );
            }
            self.told.send_modify(|s| {
                s.trouble = Some(error.to_string());
                s.caught_up = false;
            });
            if self.told.borrow().copied > before {
                pause = FIRST_PAUSE;
            }
            if self.pause(pause).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// True when it is time to end.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = tokio::time::sleep(time) => false,
        }
    }

    /// Copies until it is told to end, or cannot go on.
    async fn try_run(&self) -> Result<(), StoreError> {
        // From here on everything that is stored is queued, whether the server answers or not.
        sql("INSERT INTO copy_target (one) VALUES (1) ON CONFLICT (one) DO NOTHING")
            .execute(self.local.writer())
            .await?;
        let _turn = loop {
            let Some(folder) = self.local.folder() else { break None };
            match lock::RoleLock::acquire(folder, "copy", false) {
                Ok(Some(turn)) => break Some(turn),
                Ok(None) => {}
                Err(e) => return Err(StoreError::io(folder, e)),
            }
            if self.pause(TURN_EVERY).await {
                return Ok(());
            }
        };
        let shared = Store::connect(&self.url).await?;
        let copy = Copy::new(&self.local, &shared);
        let result = self.copy_all(&copy).await;
        shared.close().await;
        result
    }

    async fn copy_all(&self, copy: &Copy<'_>) -> Result<(), StoreError> {
        copy.begin().await?;
        if self.told.borrow().trouble.is_some() {
            tracing::info!("what is stored is copied again");
        }
        self.told.send_modify(|s| s.trouble = None);
        let mut met: Option<Instant> = None;
        loop {
            if met.is_none_or(|at| at.elapsed() >= MEET_EVERY) {
                copy.meet().await?;
                met = Some(Instant::now());
            }
            // Asked before the look into the queue: what was stored until then is copied still.
            let ending = self.stop.is_cancelled();
            let copied = copy.step().await?;
            let waiting = self.local.copy_waiting().await?;
            self.told.send_if_modified(|s| {
                let before = s.clone();
                s.waiting = waiting;
                s.copied += copied;
                s.caught_up = waiting == 0;
                *s != before
            });
            if copied == 0 {
                if ending {
                    return Ok(());
                }
                self.pause(LOOK_EVERY).await;
            }
        }
    }
}

impl Store {
    /// Rows that wait to be copied to a shared database.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn copy_waiting(&self) -> Result<u64, StoreError> {
        if self.is_shared() {
            return Ok(0);
        }
        let waiting: i64 = sql("SELECT COUNT(*) FROM copy_queue").scalar(self.reader()).await?;
        Ok(waiting.unsigned_abs())
    }
}

/// An entry of the queue.
struct Entry {
    seq: i64,
    kind: String,
    id: String,
    part: Option<f64>,
    name: Option<String>,
    at: Option<i64>,
}

/// One connection of a file to a shared database.
struct Copy<'a> {
    local: &'a Store,
    shared: &'a Store,
}

/// Sessions and chats of a batch: whether their rows may be copied.
#[derive(Default)]
struct Parents(HashMap<(&'static str, String), bool>);

impl<'a> Copy<'a> {
    fn new(local: &'a Store, shared: &'a Store) -> Self {
        Self { local, shared }
    }

    /// Queues all of the history for a database that is new to this file.
    async fn begin(&self) -> Result<(), StoreError> {
        let server: String = sql("SELECT id FROM server").scalar(self.shared.reader()).await?;
        let known: String = sql("SELECT server_id FROM copy_target").scalar(self.local.reader()).await?;
        if server == known {
            return Ok(());
        }
        let mut tx = self.local.begin().await?;
        for statement in [
            // All of it is queued anew; deletions stay, but for those of players: a name may mean somebody else there.
            "DELETE FROM copy_queue WHERE kind NOT LIKE 'delete %' OR kind = 'delete users'",
            "INSERT INTO copy_queue (kind, id) SELECT 'users', id FROM users ORDER BY created_at",
            "INSERT INTO copy_queue (kind, id) SELECT 'user_settings', user_id FROM user_settings",
            "INSERT INTO copy_queue (kind, id) SELECT 'plans', id FROM plans ORDER BY id",
            "INSERT INTO copy_queue (kind, id) SELECT 'whole', id FROM sessions ORDER BY started_at",
            "INSERT INTO copy_queue (kind, id) SELECT 'chats', id FROM chats ORDER BY id",
            "INSERT INTO copy_queue (kind, id, part) SELECT 'chat_messages', chat_id, seq FROM chat_messages \
             ORDER BY chat_id, seq",
        ] {
            sql(statement).execute(&mut tx).await?;
        }
        // A player deleted there before this file came to it was somebody else of that name.
        let newest: i64 = sql("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM tombstones")
            .scalar(self.shared.reader())
            .await?;
        sql("UPDATE copy_target SET server_id = $1, tombstone = 0, players_from = $2")
            .bind(server)
            .bind(newest)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Says that this daemon runs, and deletes here what was deleted for good elsewhere.
    async fn meet(&self) -> Result<(), StoreError> {
        sql("INSERT INTO daemons (owner, seen_at) VALUES ($1, $2) \
             ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at")
        .bind(self.local.instance().to_string())
        .bind(micros(Timestamp::now()))
        .execute(self.shared.writer())
        .await?;
        let known: i64 = sql("SELECT tombstone FROM copy_target").scalar(self.local.reader()).await?;
        let rows =
            sql("SELECT seq, kind, id, deleted_at FROM tombstones WHERE seq > $1 ORDER BY seq LIMIT $2")
                .bind(known)
                .bind(BATCH)
                .all(self.shared.reader())
                .await?;
        let joined: i64 = sql("SELECT players_from FROM copy_target").scalar(self.local.reader()).await?;
        for row in &rows {
            let (seq, at): (i64, i64) = (self.shared.get(row, "seq")?, self.shared.get(row, "deleted_at")?);
            let (kind, id): (String, String) = (self.shared.get(row, "kind")?, self.shared.get(row, "id")?);
            let somebody_else = kind == "users" && seq <= joined;
            if !somebody_else && self.is_being_played(&kind, &id, at).await? {
                // Its writer would find its session gone; it goes when it has ended.
                break;
            }
            self.local.scrubbing(true).await?;
            let mut tx = self.local.begin().await?;
            sql("UPDATE copy_target SET quiet = 1").execute(&mut tx).await?;
            match kind.as_str() {
                _ if somebody_else => {}
                "users" => {
                    self.local.remove_user(&mut tx, &id, at).await?;
                }
                "sessions" => {
                    self.local.remove_session(&mut tx, &id).await?;
                }
                "plans" => {
                    sql("DELETE FROM plans WHERE id = $1").bind(&id).execute(&mut tx).await?;
                }
                "chats" => {
                    sql("DELETE FROM chats WHERE id = $1").bind(&id).execute(&mut tx).await?;
                }
                other => tracing::debug!("a newer FretCoach deleted something of kind {other}"),
            }
            sql("UPDATE copy_target SET quiet = 0, tombstone = $1").bind(seq).execute(&mut tx).await?;
            tx.commit().await?;
            self.local.scrubbing(false).await?;
        }
        Ok(())
    }

    async fn is_being_played(&self, kind: &str, id: &str, at: i64) -> Result<bool, StoreError> {
        let query = match kind {
            "sessions" => sql("SELECT owner FROM sessions WHERE id = $1 AND ended_at IS NULL").bind(id),
            "users" => sql("SELECT owner FROM sessions WHERE ended_at IS NULL AND started_at <= $2 \
                 AND user_id = (SELECT id FROM users WHERE name = $1)")
            .bind(id)
            .bind(at),
            _ => return Ok(false),
        };
        let owners: Vec<String> = query.scalars(self.local.reader()).await?;
        Ok(owners.iter().any(|owner| self.local.is_alive(owner)))
    }

    /// Copies the next entries of the queue; returns how many.
    async fn step(&self) -> Result<u64, StoreError> {
        let rows = sql("SELECT seq, kind, id, part, name, at FROM copy_queue ORDER BY seq LIMIT $1")
            .bind(BATCH)
            .all(self.local.reader())
            .await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let kind: String = self.local.get(row, "kind")?;
            // Whole sessions and deletions go alone.
            let alone = tables::by_name(&kind).is_none();
            if alone && !entries.is_empty() {
                break;
            }
            entries.push(Entry {
                seq: self.local.get(row, "seq")?,
                kind,
                id: self.local.get(row, "id")?,
                part: self.local.get(row, "part")?,
                name: self.local.get(row, "name")?,
                at: self.local.get(row, "at")?,
            });
            if alone {
                break;
            }
        }
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(0) };
        let first = &entries[0];
        match first.kind.as_str() {
            "whole" => self.copy_whole(&first.id).await?,
            kind => match kind.strip_prefix("delete ") {
                Some(table) => self.copy_deletion(table, first).await?,
                None => self.copy_rows(&entries).await?,
            },
        }
        sql("DELETE FROM copy_queue WHERE seq <= $1").bind(last).execute(self.local.writer()).await?;
        Ok(entries.len() as u64)
    }

    /// A transaction there, while nobody deletes.
    async fn there(&self) -> Result<Tx, StoreError> {
        let mut tx = self.shared.begin().await?;
        sql("LOCK TABLE tombstones IN SHARE MODE").execute(&mut tx).await?;
        Ok(tx)
    }

    async fn copy_deletion(&self, table: &str, entry: &Entry) -> Result<(), StoreError> {
        let at = entry.at.unwrap_or_default();
        let mut tx = self.shared.begin().await?;
        match (table, &entry.name) {
            ("users", Some(name)) => {
                self.shared.bury(&mut tx, "users", name, at).await?;
                self.shared.remove_user(&mut tx, name, at).await?;
            }
            ("sessions" | "plans" | "chats", _) => {
                self.shared.bury(&mut tx, table, &entry.id, at).await?;
                let delete = format!("DELETE FROM {table} WHERE id = $1");
                sql_owned(delete).bind(&entry.id).execute(&mut tx).await?;
            }
            _ => {}
        }
        tx.commit().await
    }

    /// A session with all that belongs to it.
    async fn copy_whole(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.there().await?;
        if self.copy_owned(&mut tx, &tables::SESSIONS, id).await? {
            for table in tables::OF_SESSION {
                let mut after = None;
                loop {
                    let rows = table.page(self.local, id, after.as_ref(), PAGE).await?;
                    let Some(last) = rows.last() else { break };
                    after = Some(table.last_key(last).clone());
                    table.upsert(&mut tx, rows).await?;
                }
            }
        }
        tx.commit().await
    }

    /// Rows that were stored one by one, in their order.
    async fn copy_rows(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut tx = self.there().await?;
        let mut parents = Parents::default();
        let mut pending: Vec<(&'static Table, Vec<Vec<Value>>)> = Vec::new();
        let mut seen = HashSet::new();
        for entry in entries {
            let key =
                (entry.kind.as_str(), entry.id.as_str(), entry.part.map(f64::to_bits), entry.name.as_deref());
            if !seen.insert(key) {
                continue;
            }
            let Some(table) = tables::by_name(&entry.kind) else { continue };
            let owner = match (table.name, table.parent) {
                ("users", _) => {
                    self.copy_user(&mut tx, &entry.id).await?;
                    continue;
                }
                ("chat_messages", _) => &tables::CHATS,
                (_, Some(_)) => &tables::SESSIONS,
                (_, None) => table,
            };
            let known = parents.0.get(&(owner.name, entry.id.clone())).copied();
            let alive = match known {
                Some(alive) => alive,
                None => {
                    let alive = self.copy_owned(&mut tx, owner, &entry.id).await?;
                    parents.0.insert((owner.name, entry.id.clone()), alive);
                    alive
                }
            };
            if alive && table.parent.is_some() {
                let row = self.part(table, entry).await?;
                match pending.last_mut() {
                    Some((last, rows)) if last.name == table.name => rows.extend(row),
                    _ => pending.push((table, row.into_iter().collect())),
                }
            }
        }
        for (table, rows) in pending {
            table.upsert(&mut tx, rows).await?;
        }
        tx.commit().await
    }

    /// The row that an entry names, as it is now; `None` when it is gone.
    async fn part(&self, table: &'static Table, entry: &Entry) -> Result<Option<Vec<Value>>, StoreError> {
        let key = table.key[table.key.len() - 1];
        let parent = table.parent.expect("parts belong to something");
        let query = sql_owned(table.select(&format!("WHERE {parent} = $1 AND {key} = $2"))).bind(&entry.id);
        let query = match &entry.name {
            Some(name) => query.bind(name),
            None => query.bind(entry.part),
        };
        let row = query.optional(self.local.reader()).await?;
        row.map(|row| table.read(self.local, &row)).transpose()
    }

    /// Copies a row that belongs to a player. False when it is gone here or was deleted there.
    async fn copy_owned(&self, tx: &mut Tx, table: &'static Table, id: &str) -> Result<bool, StoreError> {
        let key = table.key[0];
        let row = sql_owned(table.select(&format!("WHERE {key} = $1")))
            .bind(id)
            .optional(self.local.reader())
            .await?;
        let Some(row) = row else { return Ok(false) };
        let mut row = table.read(self.local, &row)?;
        if sql("SELECT 1 AS n FROM tombstones WHERE kind = $1 AND id = $2")
            .bind(table.name)
            .bind(id)
            .optional(&mut *tx)
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let since = match table.name {
            "sessions" => "started_at",
            "user_settings" => "updated_at",
            _ => "created_at",
        };
        let (user_at, since_at) = (table.place("user_id"), table.place(since));
        let (Value::Text(Some(user)), Value::Int(Some(since))) = (&row[user_at], &row[since_at]) else {
            return Ok(false);
        };
        let Some(user) = self.user_there(tx, user, *since).await? else { return Ok(false) };
        row[user_at] = Value::Text(Some(user));
        table.upsert(tx, vec![row]).await?;
        Ok(true)
    }

    async fn copy_user(&self, tx: &mut Tx, id: &str) -> Result<(), StoreError> {
        let created: Option<i64> = sql("SELECT created_at FROM users WHERE id = $1")
            .bind(id)
            .optional_scalar(self.local.reader())
            .await?;
        if let Some(created) = created {
            self.user_there(tx, id, created).await?;
        }
        Ok(())
    }

    /// The id there of the player with an id here: players are joined by name. `None` when what they did at `at` was
    /// deleted for good.
    async fn user_there(&self, tx: &mut Tx, id: &str, at: i64) -> Result<Option<String>, StoreError> {
        let row = sql("SELECT name, created_at FROM users WHERE id = $1")
            .bind(id)
            .optional(self.local.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (name, created): (String, i64) =
            (self.local.get(&row, "name")?, self.local.get(&row, "created_at")?);
        let deleted: Option<i64> = sql("SELECT deleted_at FROM tombstones WHERE kind = 'users' AND id = $1")
            .bind(&name)
            .optional_scalar(&mut *tx)
            .await?;
        if deleted.is_some_and(|deleted| at <= deleted) {
            return Ok(None);
        }
        sql("INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
            .bind(UserId::new().to_string())
            .bind(&name)
            .bind(created.max(deleted.unwrap_or(created)))
            .execute(&mut *tx)
            .await?;
        sql("SELECT id FROM users WHERE name = $1").bind(&name).scalar(&mut *tx).await.map(Some)
    }
}
