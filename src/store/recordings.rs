//! The sound of sessions, where the player chose to keep it: a file in the data folder, and a row about it.
//!
//! The row is made when the recording is complete, so that a file without a row is one that a killed program left
//! behind: [`Store::recordings_without_row`] finds those at the next start.

use std::path::PathBuf;

use super::{RECORDINGS, SessionId, Store, StoreError, sql};

/// Ending of the files.
const ENDING: &str = "flac";

/// A recording.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingRow {
    /// Its session.
    pub session: SessionId,
    /// Name of the file in the folder of recordings.
    pub file: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// The session's clock at the first sample, seconds.
    pub from_s: f64,
    /// Length, seconds.
    pub seconds: f64,
    /// Size, bytes.
    pub bytes: u64,
}

impl Store {
    /// Where the recording of a session lies, whether or not there is one; `None`: this store has no folder.
    #[must_use]
    pub fn recording_file(&self, session: &SessionId) -> Option<PathBuf> {
        Some(self.folder()?.join(RECORDINGS).join(format!("{session}.{ENDING}")))
    }

    /// Keeps what is known of a recording.
    ///
    /// # Errors
    /// When the store cannot be written, or has no such session.
    pub async fn add_recording(&self, row: &RecordingRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sql("INSERT INTO recordings (session_id, file, sample_rate, from_s, seconds, bytes) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (session_id) DO UPDATE SET file = excluded.file, \
             sample_rate = excluded.sample_rate, from_s = excluded.from_s, seconds = excluded.seconds, \
             bytes = excluded.bytes")
        .bind(row.session.to_string())
        .bind(row.file.as_str())
        .bind(i64::from(row.sample_rate))
        .bind(row.from_s)
        .bind(row.seconds)
        .bind(i64::try_from(row.bytes).unwrap_or(i64::MAX))
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// The recording of a session, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn recording(&self, session: &SessionId) -> Result<Option<RecordingRow>, StoreError> {
        let row =
            sql("SELECT file, sample_rate, from_s, seconds, bytes FROM recordings WHERE session_id = $1")
                .bind(session.to_string())
                .optional(self.reader())
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(RecordingRow {
            session: *session,
            file: self.get(&row, "file")?,
            sample_rate: u32::try_from(self.get::<i64>(&row, "sample_rate")?).unwrap_or(0),
            from_s: self.get(&row, "from_s")?,
            seconds: self.get(&row, "seconds")?,
            bytes: self.get::<i64>(&row, "bytes")?.unsigned_abs(),
        }))
    }

    /// Files of recordings without a row, each with its session if that is in the store. No recording may be under way:
    /// who asks holds the right to capture.
    ///
    /// # Errors
    /// When the store cannot be read. A folder that cannot be read holds none.
    pub async fn recordings_without_row(&self) -> Result<Vec<(PathBuf, Option<SessionId>)>, StoreError> {
        let Some(folder) = self.folder().map(|f| f.join(RECORDINGS)) else { return Ok(Vec::new()) };
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            let id = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<SessionId>().ok());
            // What does not bear the name of a session was not made by us.
            let Some(id) = id.filter(|_| path.extension().is_some_and(|e| e == ENDING)) else { continue };
            if self.recording(&id).await?.is_some() {
                continue;
            }
            let known: Option<String> = sql("SELECT id FROM sessions WHERE id = $1")
                .bind(id.to_string())
                .optional_scalar(self.reader())
                .await?;
            found.push((path, known.map(|_| id)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewSession;

    async fn with_session(store: &Store) -> SessionId {
        let id = SessionId::new();
        let session = NewSession {
            id,
            user: "ada".into(),
            deployment: "fretcoach-studio".into(),
            mode: "manual".into(),
            scale: None,
            bpm: None,
            started_at: jiff::Timestamp::now(),
            input: "demo".into(),
            config_json: "{}".into(),
            trace_id: None,
        };
        store.start_session(&session).await.unwrap();
        id
    }

    #[tokio::test]
    async fn a_recording_is_found_with_its_session_and_files_of_the_killed_without() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_in(dir.path()).await.unwrap();
        let (kept, killed, gone) = (with_session(&store).await, with_session(&store).await, SessionId::new());
        let row = RecordingRow {
            session: kept,
            file: format!("{kept}.flac"),
            sample_rate: 48_000,
            from_s: 0.25,
            seconds: 12.5,
            bytes: 1_000_000,
        };
        store.add_recording(&row).await.unwrap();
        assert_eq!(store.recording(&kept).await.unwrap(), Some(row));
        assert_eq!(store.recording(&killed).await.unwrap(), None);
        std::fs::create_dir(dir.path().join(RECORDINGS)).unwrap();
        for id in [kept, killed, gone] {
            std::fs::write(store.recording_file(&id).unwrap(), "x").unwrap();
        }
        std::fs::write(dir.path().join(RECORDINGS).join("notes.txt"), "mine").unwrap();
        let mut left = store.recordings_without_row().await.unwrap();
        left.sort_by_key(|(_, id)| id.is_none());
        let file = |id| store.recording_file(&id).unwrap();
        assert_eq!(left, [(file(killed), Some(killed)), (file(gone), None)]);
    }
}
