//! Players: what they have set up, the tokens that open the Hub for them, and deleting for good.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{SessionId, Store, StoreError, Tx, UserId, micros, sql};

/// Longest name of a player, characters: it stands in tables and on buttons.
const LONGEST_NAME: usize = 64;

/// Random bytes of a token: 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// The last use of a token is noted this exactly, microseconds: a write per request would be waste.
const USE_NOTED_EVERY: i64 = 10 * 60 * 1_000_000;

/// Folder of recordings within the data folder.
pub const RECORDINGS: &str = "recordings";

/// Checks the name of a player that somebody has typed; `Err` says what is wrong with it.
///
/// # Errors
/// A name that is empty, longer than 64 characters, begins or ends with a blank, or holds a control character.
pub fn check_user_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.trim() != name {
        return Err("the name of a player is not empty and has no blanks around it".into());
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("the name of a player has at most {LONGEST_NAME} characters"));
    }
    if name.chars().any(char::is_control) {
        return Err("the name of a player has no control characters".into());
    }
    Ok(())
}

impl Store {
    /// Adds a player; false when there already is one of that name.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn add_user(&self, name: &str) -> Result<bool, StoreError> {
        let added =
            sql("INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
                .bind(UserId::new().to_string())
                .bind(name)
                .bind(micros(Timestamp::now()))
                .execute(self.writer())
                .await?;
        Ok(added > 0)
    }

    async fn known_user(&self, name: &str) -> Result<String, StoreError> {
        let id =
            sql("SELECT id FROM users WHERE name = $1").bind(name).optional_scalar(self.reader()).await?;
        id.ok_or_else(|| StoreError::NotFound { what: "player", name: name.to_owned(), list: "user list" })
    }

    /// What a player has set up, as JSON; `None` when nothing was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn settings(&self, user: &str) -> Result<Option<String>, StoreError> {
        sql("SELECT setup_json FROM user_settings JOIN users ON users.id = user_id WHERE name = $1")
            .bind(user)
            .optional_scalar(self.reader())
            .await
    }

    /// Keeps what a player has set up; the player is added when new.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_settings(&self, user: &str, setup_json: &str) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let mut tx = self.begin().await?;
        let id = self.user_id(&mut tx, user, now).await?;
        sql("INSERT INTO user_settings (user_id, setup_json, updated_at) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id) DO UPDATE SET setup_json = excluded.setup_json, \
             updated_at = excluded.updated_at")
        .bind(id)
        .bind(setup_json)
        .bind(micros(now))
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Makes the token with which a player opens the Hub from elsewhere, in place of an older one. It is returned
    /// once; only its SHA-256 is kept.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a player, or when the store cannot be written.
    pub async fn new_token(&self, user: &str) -> Result<String, StoreError> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|e| self.unreadable("the system's random numbers", e))?;
        let token = hex(&bytes);
        self.put_token(user, &token).await?;
        Ok(token)
    }

    /// Keeps a token that [`Store::new_token`] of another store has made, in place of an older one.
    ///
    /// # Errors
    /// As [`Store::new_token`].
    pub async fn put_token(&self, user: &str, token: &str) -> Result<(), StoreError> {
        let id = self.known_user(user).await?;
        let mut tx = self.begin().await?;
        sql("DELETE FROM tokens WHERE user_id = $1").bind(&id).execute(&mut tx).await?;
        sql("INSERT INTO tokens (hash, user_id, created_at) VALUES ($1, $2, $3)")
            .bind(hash(token))
            .bind(&id)
            .bind(micros(Timestamp::now()))
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Takes a player's token away; false when there was none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a player, or when the store cannot be written.
    pub async fn revoke_token(&self, user: &str) -> Result<bool, StoreError> {
        let id = self.known_user(user).await?;
        Ok(sql("DELETE FROM tokens WHERE user_id = $1").bind(id).execute(self.writer()).await? > 0)
    }

    /// Whose token this is. The look-up is by the token's hash, so its time says nothing about other tokens.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn user_of_token(&self, token: &str) -> Result<Option<String>, StoreError> {
        let hash = hash(token);
        let row =
            sql("SELECT name, last_used_at FROM tokens JOIN users ON users.id = user_id WHERE hash = $1")
                .bind(&hash)
                .optional(self.reader())
                .await?;
        let Some(row) = row else { return Ok(None) };
        let (now, used) = (micros(Timestamp::now()), self.get::<Option<i64>>(&row, "last_used_at")?);
        if used.is_none_or(|used| now - used > USE_NOTED_EVERY) {
            // A note for the list of players; a store that cannot be written must not lock them out.
            let _ = sql("UPDATE tokens SET last_used_at = $2 WHERE hash = $1")
                .bind(hash)
                .bind(now)
                .execute(self.writer())
                .await;
        }
        self.get(&row, "name").map(Some)
    }

    /// Players with the number of their sessions, when they last practised and whether they have a token, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn players(&self) -> Result<Vec<PlayerRow>, StoreError> {
        let rows = sql("SELECT u.name, \
             (SELECT COUNT(*) FROM sessions s WHERE s.user_id = u.id) AS sessions, \
             (SELECT MAX(s.started_at) FROM sessions s WHERE s.user_id = u.id) AS last, \
             (SELECT COUNT(*) FROM tokens t WHERE t.user_id = u.id) AS tokens FROM users u ORDER BY u.name")
        .all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(PlayerRow {
                    name: self.get(row, "name")?,
                    sessions: self.count(row, "sessions")?,
                    last_session: self.get::<Option<i64>>(row, "last")?.map(super::moment),
                    has_token: self.count(row, "tokens")? > 0,
                })
            })
            .collect()
    }

    /// Deletes a session for good: with its notes, its advice, its recording and its traces; a shared database and the
    /// other daemons delete theirs.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Running`] while it is being played; a recording that cannot be deleted;
    /// a store that cannot be written. Nothing but, at worst, the recording is gone then.
    pub async fn delete_session(&self, session: &SessionId) -> Result<(), StoreError> {
        let row = self.session(&session.to_string()).await?;
        if row.running && !self.is_shared() {
            return Err(StoreError::Running { name: session.short() });
        }
        self.scrubbing(true).await?;
        let mut tx = self.begin().await?;
        self.bury(&mut tx, "sessions", &session.to_string(), micros(Timestamp::now())).await?;
        self.remove_session(&mut tx, &session.to_string()).await?;
        tx.commit().await?;
        self.scrubbing(false).await
    }

    /// Deletes a player for good, with everything that is theirs. Returns the number of sessions deleted.
    ///
    /// # Errors
    /// As [`Store::delete_session`].
    pub async fn delete_user(&self, name: &str) -> Result<u64, StoreError> {
        let id = self.known_user(name).await?;
        if !self.is_shared() {
            self.refuse_running(&id).await?;
        }
        let now = micros(Timestamp::now());
        self.scrubbing(true).await?;
        let mut tx = self.begin().await?;
        self.bury(&mut tx, "users", name, now).await?;
        let gone = self.remove_user(&mut tx, name, now).await?;
        tx.commit().await?;
        self.scrubbing(false).await?;
        Ok(gone)
    }

    async fn refuse_running(&self, user_id: &str) -> Result<(), StoreError> {
        let open = sql("SELECT id, owner FROM sessions WHERE user_id = $1 AND ended_at IS NULL")
            .bind(user_id)
            .all(self.reader())
            .await?;
        for row in &open {
            if self.is_alive(&self.get::<String>(row, "owner")?) {
                let id: String = self.get(row, "id")?;
                return Err(StoreError::Running { name: id });
            }
        }
        Ok(())
    }

    /// SQLite overwrites what it deletes while this is on; switched off, the log that may still hold it is emptied.
    pub(super) async fn scrubbing(&self, on: bool) -> Result<(), StoreError> {
        if self.is_shared() {
            return Ok(());
        }
        sql(if on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = OFF" })
            .all(self.writer())
            .await?;
        if !on {
            // A reader may be in the way; the next checkpoint does it then.
            let _ = sql("PRAGMA wal_checkpoint(TRUNCATE)").all(self.writer()).await;
        }
        Ok(())
    }

    /// Sets a tombstone in a shared database. (In a file, triggers queue the deletion.) The lock keeps daemons from
    /// copying what is being deleted, and makes tombstones visible in their order.
    pub(super) async fn bury(&self, tx: &mut Tx, table: &str, id: &str, at: i64) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        sql("LOCK TABLE tombstones IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
        sql("INSERT INTO tombstones (kind, id, deleted_at) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO UPDATE SET \
             deleted_at = excluded.deleted_at, seq = excluded.seq \
             WHERE excluded.kind = 'users' AND excluded.deleted_at > tombstones.deleted_at")
        .bind(table)
        .bind(id)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        Ok(())
    }

    /// Removes the rows, the traces and the recording of a session. True when there was one.
    pub(super) async fn remove_session(&self, tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
        if !self.is_shared() {
            let file: Option<String> = sql("SELECT file FROM recordings WHERE session_id = $1")
                .bind(id)
                .optional_scalar(&mut *tx)
                .await?;
            // One that a killed program left is not in the table yet.
            let file = file.unwrap_or_else(|| format!("{id}.flac"));
            if let Some(path) = self.recording_path(&file) {
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StoreError::io(&path, e));
                    }
                    _ => {}
                }
            }
            sql("DELETE FROM traces WHERE substr(thread, 1, 36) = $1").bind(id).execute(&mut *tx).await?;
        }
        Ok(sql("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut *tx).await? > 0)
    }

    /// Removes what a player did until a moment, and the player when nothing newer is left.
    pub(super) async fn remove_user(&self, tx: &mut Tx, name: &str, until: i64) -> Result<u64, StoreError> {
        let user: Option<String> =
            sql("SELECT id FROM users WHERE name = $1").bind(name).optional_scalar(&mut *tx).await?;
        let Some(user) = user else { return Ok(0) };
        let sessions: Vec<String> = sql("SELECT id FROM sessions WHERE user_id = $1 AND started_at <= $2")
            .bind(&user)
            .bind(until)
            .scalars(&mut *tx)
            .await?;
        for session in &sessions {
            self.remove_session(&mut *tx, session).await?;
        }
        for (table, since, query) in [
            ("plans", "created_at", "SELECT id FROM plans WHERE user_id = $1 AND created_at <= $2"),
            ("chats", "created_at", "SELECT id FROM chats WHERE user_id = $1 AND created_at <= $2"),
        ] {
            let ids: Vec<String> = sql(query).bind(&user).bind(until).scalars(&mut *tx).await?;
            for id in ids {
                if !self.is_shared() {
                    // Threads of plans and chats end with their id.
                    sql("DELETE FROM traces WHERE thread LIKE '%-' || $1")
                        .bind(&id)
                        .execute(&mut *tx)
                        .await?;
                }
                let delete = format!("DELETE FROM {table} WHERE id = $1 AND {since} <= $2");
                super::db::sql_owned(delete).bind(&id).bind(until).execute(&mut *tx).await?;
            }
        }
        sql("DELETE FROM user_settings WHERE user_id = $1 AND updated_at <= $2")
            .bind(&user)
            .bind(until)
            .execute(&mut *tx)
            .await?;
        sql("DELETE FROM users WHERE id = $1 AND created_at <= $2 \
             AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM plans WHERE user_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM chats WHERE user_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM user_settings WHERE user_id = $1)")
        .bind(&user)
        .bind(until)
        .execute(&mut *tx)
        .await?;
        Ok(sessions.len() as u64)
    }

    /// Where a recording lies; `None` in memory, and for a name that would lead out of the folder.
    fn recording_path(&self, file: &str) -> Option<PathBuf> {
        let name = Path::new(file).file_name().filter(|name| *name == file)?;
        Some(self.folder()?.join(RECORDINGS).join(name))
    }
}

/// A player, for the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayerRow {
    /// Name.
    pub name: String,
    /// Number of sessions.
    pub sessions: u64,
    /// Begin of the latest.
    pub last_session: Option<Timestamp>,
    /// May open the Hub from elsewhere.
    pub has_token: bool,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for fine in ["ada", "Ada Lovelace", "Jürgen", "吉他手"] {
            check_user_name(fine).unwrap();
        }
        for wrong in ["", " ", "ada ", "a\nb", &"x".repeat(65)] {
            assert!(check_user_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
