//! Sessions and what belongs to them.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{
    AdviceKind, AdviceRow, Batch, EndReason, GapRow, NewSession, SessionFilter, SessionRow, WindowRecord,
};
use super::{Row, SessionId, Store, StoreError, Tx, UserId, micros, moment, sql};
use crate::practice::types::{JudgedNote, Metric, Scores, Summary, Window};

/// Columns of a session with its player's name and number of notes; every query of sessions begins with it.
macro_rules! select_sessions {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, u.name AS user_name, s.deployment, s.mode, s.scale, s.bpm, s.input, s.config_json, ",
            "s.started_at, s.ended_at, s.end_reason, s.summary_json, s.trace_id, s.owner, ",
            "(SELECT d.seen_at FROM daemons d WHERE d.owner = s.owner) AS seen_at, ",
            "COALESCE(s.note_count, (SELECT COUNT(*) FROM notes n WHERE n.session_id = s.id)) AS note_count ",
            "FROM sessions s JOIN users u ON u.id = s.user_id ",
            $rest
        )
    };
}

/// Ids listed when a prefix fits several.
const MATCHES_SHOWN: i64 = 5;

impl Store {
    /// Stores the begin of a session, and its player when new.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is stored then.
    pub async fn start_session(&self, session: &NewSession) -> Result<SessionId, StoreError> {
        self.claim();
        let mut tx = self.begin().await?;
        let user = self.user_id(&mut tx, &session.user, session.started_at).await?;
        sql(
            "INSERT INTO sessions (id, user_id, deployment, mode, scale, bpm, input, config_json, started_at, \
             trace_id, owner) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(session.id.to_string())
        .bind(user)
        .bind(&session.deployment)
        .bind(&session.mode)
        .bind(&session.scale)
        .bind(session.bpm)
        .bind(&session.input)
        .bind(&session.config_json)
        .bind(micros(session.started_at))
        .bind(&session.trace_id)
        .bind(self.instance().to_string())
        .execute(&mut tx).await?;
        tx.commit().await?;
        Ok(session.id)
    }

    pub(super) async fn user_id(
        &self,
        tx: &mut Tx,
        name: &str,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        sql("INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
            .bind(UserId::new().to_string())
            .bind(name)
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
        sql("SELECT id FROM users WHERE name = $1").bind(name).scalar(&mut *tx).await
    }

    /// Names of all players, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn users(&self) -> Result<Vec<String>, StoreError> {
        sql("SELECT name FROM users ORDER BY name").scalars(self.reader()).await
    }

    /// Stores what has happened, in one transaction: all of it or nothing.
    ///
    /// # Errors
    /// When the store cannot be written; the same batch may be tried again.
    pub async fn append(&self, session: &SessionId, batch: &Batch<'_>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let id = session.to_string();
        let mut tx = self.begin().await?;
        // What was counted before is no longer so; nothing was while the session runs.
        sql("UPDATE sessions SET note_count = NULL WHERE id = $1 AND note_count IS NOT NULL")
            .bind(&id)
            .execute(&mut tx)
            .await?;
        for note in batch.notes {
            self.insert_note(&mut tx, &id, note).await?;
        }
        for chord in batch.chords {
            self.insert_chord(&mut tx, &id, chord).await?;
        }
        for window in batch.windows {
            self.insert_window(&mut tx, &id, window).await?;
        }
        for advice in batch.advice {
            self.insert_advice(&mut tx, &id, advice).await?;
        }
        if !batch.gaps.is_empty() {
            let mut seq =
                self.next_seq(&mut tx, "SELECT MAX(seq) FROM gaps WHERE session_id = $1", &id).await?;
            for gap in batch.gaps {
                sql("INSERT INTO gaps (session_id, seq, from_s, to_s, cause) VALUES ($1, $2, $3, $4, $5)")
                    .bind(&id)
                    .bind(seq)
                    .bind(gap.from)
                    .bind(gap.to)
                    .bind(&gap.cause)
                    .execute(&mut tx)
                    .await?;
                seq += 1;
            }
        }
        tx.commit().await
    }

    async fn next_seq(&self, tx: &mut Tx, newest: &'static str, session: &str) -> Result<i64, StoreError> {
        let newest: Option<i64> = sql(newest).bind(session).scalar(&mut *tx).await?;
        Ok(newest.map_or(0, |n| n + 1))
    }

    async fn insert_window(
        &self,
        tx: &mut Tx,
        session: &str,
        record: &WindowRecord,
    ) -> Result<(), StoreError> {
        let (window, scores) = (&record.window, &record.window.scores);
        sql(
            "INSERT INTO windows (session_id, idx, start_s, end_s, closed_at, pitch_accuracy, scale_conformity, \
             timing_stability, noise_control, overall, weakest, strongest, facts_json, dsp_json) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (session_id, idx) DO UPDATE SET start_s = excluded.start_s, end_s = excluded.end_s, \
             closed_at = excluded.closed_at, pitch_accuracy = excluded.pitch_accuracy, \
             scale_conformity = excluded.scale_conformity, timing_stability = excluded.timing_stability, \
             noise_control = excluded.noise_control, overall = excluded.overall, weakest = excluded.weakest, \
             strongest = excluded.strongest, facts_json = excluded.facts_json, dsp_json = excluded.dsp_json",
        )
        .bind(session)
        .bind(i64::from(window.index))
        .bind(window.start)
        .bind(window.end)
        .bind(micros(record.closed_at))
        .bind(scores.pitch_accuracy)
        .bind(scores.scale_conformity)
        .bind(scores.timing_stability)
        .bind(scores.noise_control)
        .bind(scores.overall)
        .bind(window.weakest.map(metric_word))
        .bind(window.strongest.map(metric_word))
        .bind(self.json("facts", &window.facts)?)
        .bind(record.cost.map(|cost| self.json("cost of the loop", &cost)).transpose()?)
        .execute(&mut *tx).await?;
        Ok(())
    }

    async fn insert_advice(&self, tx: &mut Tx, session: &str, advice: &AdviceRow) -> Result<(), StoreError> {
        sql(
            "INSERT INTO advice (id, session_id, kind, given_at, at_s, window_idx, body, source, prompt_version, \
             spoken, trace_id, span_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (id) DO UPDATE SET body = excluded.body, source = excluded.source, \
             prompt_version = excluded.prompt_version, spoken = excluded.spoken, trace_id = excluded.trace_id, \
             span_id = excluded.span_id",
        )
        .bind(advice.id.to_string())
        .bind(session)
        .bind(advice.kind.word())
        .bind(micros(advice.at))
        .bind(advice.at_s)
        .bind(advice.window_index.map(i64::from))
        .bind(&advice.text)
        .bind(&advice.source)
        .bind(&advice.prompt_version)
        .bind(advice.spoken.map(i64::from))
        .bind(&advice.trace_id)
        .bind(&advice.span_id)
        .execute(&mut *tx).await?;
        Ok(())
    }

    /// Stores the end of a session with what came of it.
    ///
    /// # Errors
    /// When the store cannot be written; the session stays open and is closed at the next start.
    pub async fn finish_session(
        &self,
        session: &SessionId,
        summary: &Summary,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.end_session(session, Some(summary), at, EndReason::Finished).await
    }

    async fn end_session(
        &self,
        session: &SessionId,
        summary: Option<&Summary>,
        at: Timestamp,
        reason: EndReason,
    ) -> Result<(), StoreError> {
        let scores = summary.map(|s| s.scores).unwrap_or_default();
        let json = summary.map(|s| self.json("summary", s)).transpose()?;
        sql("UPDATE sessions SET ended_at = $2, end_reason = $3, summary_json = $4, pitch_accuracy = $5, \
             scale_conformity = $6, timing_stability = $7, noise_control = $8, overall = $9 WHERE id = $1")
        .bind(session.to_string())
        .bind(micros(at))
        .bind(reason.word())
        .bind(json)
        .bind(scores.pitch_accuracy)
        .bind(scores.scale_conformity)
        .bind(scores.timing_stability)
        .bind(scores.noise_control)
        .bind(scores.overall)
        .execute(self.writer())
        .await?;
        self.tally(session).await
    }

    /// Closes sessions that a dead process left open: their end is the last thing that was stored of them, their
    /// summary what `summarise` makes of the notes and windows. Sessions of processes that still run stay open.
    ///
    /// # Errors
    /// When the store cannot be read or written; those closed before that stay closed.
    pub async fn close_abandoned(
        &self,
        summarise: impl Fn(&SessionRow, &[JudgedNote], &[WindowRecord]) -> Option<Summary>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let rows = sql(select_sessions!("WHERE s.ended_at IS NULL ORDER BY s.started_at"))
            .all(self.reader())
            .await?;
        let mut closed = Vec::new();
        for row in rows {
            let session = self.session_row(&row)?;
            if session.running {
                continue;
            }
            let notes = self.notes(&session.id).await?;
            let windows = self.windows(&session.id).await?;
            let gaps = self.gaps(&session.id).await?;
            let advice = self.advice(&session.id).await?;
            let last = notes
                .iter()
                .map(|n| n.note.offset)
                .chain(windows.iter().map(|w| w.window.end))
                .chain(gaps.iter().map(|g| g.to))
                .fold(0.0_f64, f64::max);
            let at = session
                .started_at
                .checked_add(SignedDuration::from_micros((last * 1e6).round() as i64))
                .unwrap_or(session.started_at);
            let at = advice.iter().map(|a| a.at).fold(at, Timestamp::max);
            let summary = summarise(&session, &notes, &windows);
            self.end_session(&session.id, summary.as_ref(), at, EndReason::Interrupted).await?;
            closed.push(session.id);
        }
        Ok(closed)
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sql(select_sessions!(
            "WHERE ($1 IS NULL OR u.name = $1) AND ($2 IS NULL OR s.started_at < $2) \
             ORDER BY s.started_at DESC, s.id DESC LIMIT $3"
        ))
        .bind(&filter.user)
        .bind(filter.before.map(micros))
        .bind(i64::from(filter.limit))
        .all(self.reader())
        .await?;
        rows.iter().map(|row| self.session_row(row)).collect()
    }

    /// One session: by its id, by a prefix of it that no other shares, or `latest`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], or when the store cannot be read.
    pub async fn session(&self, name: &str) -> Result<SessionRow, StoreError> {
        let not_found = || StoreError::NotFound { what: "session", name: name.to_owned(), list: "history" };
        let rows = if name == "latest" {
            sql(select_sessions!("ORDER BY s.started_at DESC, s.id DESC LIMIT 1")).all(self.reader()).await?
        } else {
            let prefix = prefix(name).ok_or_else(not_found)?;
            sql(select_sessions!("WHERE substr(s.id, 1, length($1)) = $1 ORDER BY s.id LIMIT $2"))
                .bind(&prefix)
                .bind(MATCHES_SHOWN)
                .all(self.reader())
                .await?
        };
        match rows.as_slice() {
            [] => Err(not_found()),
            [row] => self.session_row(row),
            several => {
                let ids: Result<Vec<String>, StoreError> =
                    several.iter().map(|r| self.get(r, "id")).collect();
                let matches = ids?.join(", ");
                Err(StoreError::Ambiguous { name: name.to_owned(), matches })
            }
        }
    }

    fn session_row(&self, row: &Row) -> Result<SessionRow, StoreError> {
        let id: String = self.get(row, "id")?;
        let end: Option<String> = self.get(row, "end_reason")?;
        let summary: Option<String> = self.get(row, "summary_json")?;
        let owner: String = self.get(row, "owner")?;
        Ok(SessionRow {
            running: end.is_none() && self.runs(row, &owner)?,
            id: id.parse().map_err(|e| self.unreadable(format!("the session id {id}"), e))?,
            user: self.get(row, "user_name")?,
            deployment: self.get(row, "deployment")?,
            mode: self.get(row, "mode")?,
            scale: self.get(row, "scale")?,
            bpm: self.get(row, "bpm")?,
            started_at: moment(self.get(row, "started_at")?),
            ended_at: self.get::<Option<i64>>(row, "ended_at")?.map(moment),
            end: end.map(|word| self.word("the end of a session", &word)).transpose()?,
            input: self.get(row, "input")?,
            config_json: self.get(row, "config_json")?,
            summary: summary.map(|text| self.parse("the summary of a session", &text)).transpose()?,
            trace_id: self.get(row, "trace_id")?,
            note_count: self.count(row, "note_count")?,
            owner,
        })
    }

    /// The windows of a session, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn windows(&self, session: &SessionId) -> Result<Vec<WindowRecord>, StoreError> {
        let rows = self
            .rows_of(
                session,
                "SELECT idx, start_s, end_s, closed_at, pitch_accuracy, scale_conformity, timing_stability, \
             noise_control, overall, weakest, strongest, facts_json, dsp_json \
             FROM windows WHERE session_id = $1 ORDER BY idx",
            )
            .await?;
        rows.iter()
            .map(|row| {
                let index: i64 = self.get(row, "idx")?;
                let metric = |column| {
                    self.get::<Option<String>>(row, column)?
                        .map(|word| self.word::<Metric>("a metric", &word))
                        .transpose()
                };
                let cost: Option<String> = self.get(row, "dsp_json")?;
                Ok(WindowRecord {
                    window: Window {
                        index: u32::try_from(index).map_err(|e| self.unreadable("a window", e))?,
                        start: self.get(row, "start_s")?,
                        end: self.get(row, "end_s")?,
                        scores: Scores {
                            pitch_accuracy: self.get(row, "pitch_accuracy")?,
                            scale_conformity: self.get(row, "scale_conformity")?,
                            timing_stability: self.get(row, "timing_stability")?,
                            noise_control: self.get(row, "noise_control")?,
                            overall: self.get(row, "overall")?,
                        },
                        facts: self
                            .parse("the facts of a window", &self.get::<String>(row, "facts_json")?)?,
                        weakest: metric("weakest")?,
                        strongest: metric("strongest")?,
                    },
                    closed_at: moment(self.get(row, "closed_at")?),
                    cost: cost.map(|text| self.parse("the cost of the loop", &text)).transpose()?,
                })
            })
            .collect()
    }

    /// What the coach said in a session, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn advice(&self, session: &SessionId) -> Result<Vec<AdviceRow>, StoreError> {
        let rows = self.rows_of(session, "SELECT id, kind, given_at, at_s, window_idx, body, source, prompt_version, spoken, trace_id, span_id \
             FROM advice WHERE session_id = $1 ORDER BY given_at, id").await?;
        rows.iter()
            .map(|row| {
                let id: String = self.get(row, "id")?;
                let window: Option<i64> = self.get(row, "window_idx")?;
                Ok(AdviceRow {
                    id: id.parse().map_err(|e| self.unreadable(format!("the advice id {id}"), e))?,
                    kind: self.word::<AdviceKind>("a kind of advice", &self.get::<String>(row, "kind")?)?,
                    at: moment(self.get(row, "given_at")?),
                    at_s: self.get(row, "at_s")?,
                    window_index: window
                        .map(|n| u32::try_from(n).map_err(|e| self.unreadable("advice", e)))
                        .transpose()?,
                    text: self.get(row, "body")?,
                    source: self.get(row, "source")?,
                    prompt_version: self.get(row, "prompt_version")?,
                    spoken: self.get::<Option<i64>>(row, "spoken")?.map(|n| n != 0),
                    trace_id: self.get(row, "trace_id")?,
                    span_id: self.get(row, "span_id")?,
                })
            })
            .collect()
    }

    /// Stretches of a session without input, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn gaps(&self, session: &SessionId) -> Result<Vec<GapRow>, StoreError> {
        let rows = self
            .rows_of(session, "SELECT from_s, to_s, cause FROM gaps WHERE session_id = $1 ORDER BY seq")
            .await?;
        rows.iter()
            .map(|row| {
                Ok(GapRow {
                    from: self.get(row, "from_s")?,
                    to: self.get(row, "to_s")?,
                    cause: self.get(row, "cause")?,
                })
            })
            .collect()
    }

    /// Whether the process that writes a session still does; the row has the `seen_at` of its daemon.
    pub(super) fn runs(&self, row: &Row, owner: &str) -> Result<bool, StoreError> {
        let seen: Option<i64> = self.get(row, "seen_at")?;
        Ok(if self.is_shared() { seen_lately(seen) } else { self.is_alive(owner) })
    }

    /// Rows of a query whose one parameter is the session.
    pub(super) async fn rows_of(
        &self,
        session: &SessionId,
        query: &'static str,
    ) -> Result<Vec<Row>, StoreError> {
        sql(query).bind(session.to_string()).all(self.reader()).await
    }

    pub(super) fn json<T: Serialize>(&self, what: &str, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|e| self.unreadable(what, e))
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|e| self.unreadable(what, e))
    }
}

/// In a shared database the daemons say every few seconds that they run.
fn seen_lately(seen_at: Option<i64>) -> bool {
    seen_at.is_some_and(|seen| micros(Timestamp::now()) - seen < super::copy::SILENT_AFTER_US)
}

fn metric_word(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "pitch_accuracy",
        Metric::ScaleConformity => "scale_conformity",
        Metric::TimingStability => "timing_stability",
        Metric::NoiseControl => "noise_control",
    }
}

/// What a player types of an id, in the form in which ids are stored; `None` when no id begins like that.
pub(super) fn prefix(typed: &str) -> Option<String> {
    let mut text = String::with_capacity(36);
    for c in typed.chars().filter(|c| *c != '-') {
        if !c.is_ascii_hexdigit() || text.len() >= 36 {
            return None;
        }
        if matches!(text.len(), 8 | 13 | 18 | 23) {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_prefix_may_lack_hyphens_but_nothing_else() {
        assert_eq!(prefix("0193A1B2c3d4").as_deref(), Some("0193a1b2-c3d4"));
        assert_eq!(prefix("0193a1b2-c").as_deref(), Some("0193a1b2-c"));
        let id = SessionId::new().to_string();
        assert_eq!(prefix(&id).as_deref(), Some(id.as_str()));
        for none in ["", "-", "%", "latest", "0193a1b2-c3d4-7000-8000-0000000000000"] {
            assert_eq!(prefix(none), None, "{none}");
        }
    }

    #[test]
    fn metric_words_are_those_of_the_json_form() {
        for metric in
            [Metric::PitchAccuracy, Metric::ScaleConformity, Metric::TimingStability, Metric::NoiseControl]
        {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric_word(metric));
        }
    }
}
