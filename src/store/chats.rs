//! Chats with the coach: threads of messages that survive a restart.

use jiff::Timestamp;

use super::db::{Row, sql};
use super::{ChatId, Store, StoreError, micros, moment};

/// The command that lists threads, for messages.
const LIST: &str = "fretcoach chat --list";

/// A thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRow {
    /// Names it.
    pub id: ChatId,
    /// Its first question, shortened.
    pub title: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When something was last said in it.
    pub updated_at: Timestamp,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessageRow {
    /// Its place in the thread, from 1.
    pub seq: i64,
    /// `user` or `assistant`.
    pub role: String,
    /// Its text; an assistant's is Markdown.
    pub content: String,
    /// JSON: queries, charts, tokens, …
    pub detail_json: Option<String>,
    /// Hexadecimal trace id of the turn.
    pub trace_id: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// Something to be added to a thread.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// `user` or `assistant`.
    pub role: &'a str,
    /// See [`ChatMessageRow::content`].
    pub content: &'a str,
    /// See [`ChatMessageRow::detail_json`].
    pub detail_json: Option<String>,
    /// See [`ChatMessageRow::trace_id`].
    pub trace_id: Option<String>,
}

impl Store {
    /// Begins a thread of this player.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn start_chat(&self, user: &str, title: &str, now: Timestamp) -> Result<ChatId, StoreError> {
        let id = ChatId::new();
        let mut tx = self.begin().await?;
        let user = self.user_id(&mut tx, user, now).await?;
        sql("INSERT INTO chats (id, user_id, title, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)")
            .bind(id.to_string())
            .bind(user)
            .bind(title)
            .bind(micros(now))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// A player's threads, latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn chats(&self, user: &str, limit: u32) -> Result<Vec<ChatRow>, StoreError> {
        let rows = sql(
            "SELECT c.id, c.title, c.created_at, c.updated_at FROM chats c JOIN users u ON u.id = c.user_id \
             WHERE u.name = $1 ORDER BY c.updated_at DESC, c.id DESC LIMIT $2",
        )
        .bind(user)
        .bind(limit)
        .all(self.reader())
        .await?;
        rows.iter().map(|row| self.chat_row(row)).collect()
    }

    /// The player's thread whose id begins like this; `latest` is the one last spoken in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Ambiguous`] when several begin so.
    pub async fn find_chat(&self, user: &str, prefix: &str) -> Result<ChatRow, StoreError> {
        let none = || StoreError::NotFound { what: "chat", name: prefix.to_owned(), list: LIST };
        if prefix == "latest" {
            return self.chats(user, 1).await?.into_iter().next().ok_or_else(none);
        }
        let prefix = prefix.to_ascii_lowercase();
        let rows = sql(
            "SELECT c.id, c.title, c.created_at, c.updated_at FROM chats c JOIN users u ON u.id = c.user_id \
             WHERE u.name = $1 AND substr(c.id, 1, $2) = $3 ORDER BY c.id DESC LIMIT 2",
        )
        .bind(user)
        .bind(i64::try_from(prefix.len()).unwrap_or(i64::MAX))
        .bind(&prefix)
        .all(self.reader())
        .await?;
        match rows.as_slice() {
            [row] if !prefix.is_empty() => self.chat_row(row),
            [] => Err(none()),
            several => {
                let matches: Vec<String> =
                    several.iter().map(|r| self.get(r, "id")).collect::<Result<_, _>>()?;
                Err(StoreError::Ambiguous { name: prefix.clone(), matches: matches.join(", ") })
            }
        }
    }

    /// What was said in a player's thread, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn chat_messages(&self, user: &str, chat: ChatId) -> Result<Vec<ChatMessageRow>, StoreError> {
        let rows = sql(
            "SELECT m.seq, m.role, m.content, m.detail_json, m.trace_id, m.created_at FROM chat_messages m \
             JOIN chats c ON c.id = m.chat_id JOIN users u ON u.id = c.user_id \
             WHERE u.name = $1 AND c.id = $2 ORDER BY m.seq",
        )
        .bind(user)
        .bind(chat.to_string())
        .all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ChatMessageRow {
                    seq: self.get(row, "seq")?,
                    role: self.get(row, "role")?,
                    content: self.get(row, "content")?,
                    detail_json: self.get(row, "detail_json")?,
                    trace_id: self.get(row, "trace_id")?,
                    created_at: moment(self.get(row, "created_at")?),
                })
            })
            .collect()
    }

    /// Adds to a player's thread; yields the place of what was added.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the thread is not there or not this player's.
    pub async fn add_chat_message(
        &self,
        user: &str,
        chat: ChatId,
        message: NewMessage<'_>,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let mut tx = self.begin().await?;
        // First of all, so that on Postgres two that add at once stand in line.
        let touched = sql("UPDATE chats SET updated_at = $1 WHERE id = $2 AND user_id = (SELECT id FROM users WHERE name = $3)")
            .bind(micros(now))
            .bind(chat.to_string())
            .bind(user)
            .execute(&mut tx)
            .await?;
        if touched == 0 {
            return Err(StoreError::NotFound { what: "chat", name: chat.to_string(), list: LIST });
        }
        let seq: i64 =
            sql("SELECT CAST(COALESCE(MAX(seq), 0) + 1 AS BIGINT) FROM chat_messages WHERE chat_id = $1")
                .bind(chat.to_string())
                .scalar(&mut tx)
                .await?;
        sql("INSERT INTO chat_messages (chat_id, seq, role, content, detail_json, trace_id, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(chat.to_string())
        .bind(seq)
        .bind(message.role)
        .bind(message.content)
        .bind(message.detail_json)
        .bind(message.trace_id)
        .bind(micros(now))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(seq)
    }

    /// Replaces the detail of a message (a plan of it was saved).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such message of this player.
    pub async fn set_chat_detail(
        &self,
        user: &str,
        chat: ChatId,
        seq: i64,
        detail_json: &str,
    ) -> Result<(), StoreError> {
        let changed = sql("UPDATE chat_messages SET detail_json = $1 WHERE seq = $2 AND chat_id = (SELECT c.id FROM chats c \
             JOIN users u ON u.id = c.user_id WHERE c.id = $3 AND u.name = $4)")
            .bind(detail_json)
            .bind(seq)
            .bind(chat.to_string())
            .bind(user)
            .execute(self.writer())
            .await?;
        if changed == 0 {
            return Err(StoreError::NotFound { what: "message", name: format!("{chat}/{seq}"), list: LIST });
        }
        Ok(())
    }

    /// Deletes a player's thread for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the thread is not there or not this player's.
    pub async fn delete_chat(&self, user: &str, chat: ChatId) -> Result<(), StoreError> {
        let id = chat.to_string();
        let mut tx = self.begin().await?;
        let theirs = sql(
            "SELECT 1 AS n FROM chats WHERE id = $1 AND user_id = (SELECT id FROM users WHERE name = $2)",
        )
        .bind(&id)
        .bind(user)
        .optional(&mut tx)
        .await?;
        if theirs.is_none() {
            return Err(StoreError::NotFound { what: "chat", name: id, list: LIST });
        }
        self.bury(&mut tx, "chats", &id, micros(Timestamp::now())).await?;
        sql("DELETE FROM chats WHERE id = $1").bind(&id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    fn chat_row(&self, row: &Row) -> Result<ChatRow, StoreError> {
        let id: String = self.get(row, "id")?;
        Ok(ChatRow {
            id: id.parse().map_err(|e: uuid::Error| self.unreadable(format!("chat {id}"), e))?,
            title: self.get(row, "title")?,
            created_at: moment(self.get(row, "created_at")?),
            updated_at: moment(self.get(row, "updated_at")?),
        })
    }
}
