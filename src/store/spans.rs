//! Spans, the traces they form, and how far each backend has got.
//!
//! A trace is complete when its root has ended; it then gets the next place in the queue (`seq`). A backend's
//! *position* is the last place that it is done with, delivered or parked.

use jiff::Timestamp;

use super::{Row, Store, StoreError, Tx, micros, moment, sql};

/// Outcome of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Not said, which means: well.
    #[default]
    Unset,
    /// Said to be well.
    Ok,
    /// Failed, and how.
    Error(String),
}

impl SpanStatus {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Unset => ("unset", ""),
            Self::Ok => ("ok", ""),
            Self::Error(message) => ("error", message),
        }
    }

    fn read(word: &str, message: String) -> Self {
        match word {
            "ok" => Self::Ok,
            "error" => Self::Error(message),
            _ => Self::Unset,
        }
    }
}

/// A span, begun or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRow {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// `None` for the root.
    pub parent_id: Option<String>,
    /// The parent as it was, where that one was lost and the root stands in for it.
    pub lost_parent_id: Option<String>,
    /// What was done.
    pub name: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it lasts.
    pub ended_at: Option<Timestamp>,
    /// How it went.
    pub status: SpanStatus,
    /// Kind, attributes, events and links as JSON (`telemetry::record`).
    pub detail_json: String,
    /// The thread id, as far as known from this span.
    pub thread: Option<String>,
}

/// A trace, without its spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRow {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Name of the root.
    pub name: String,
    /// Thread id.
    pub thread: Option<String>,
    /// When the root began.
    pub started_at: Timestamp,
    /// When the root ended; `None` while it lasts.
    pub ended_at: Option<Timestamp>,
    /// Place in the queue; `None` while it lasts.
    pub seq: Option<i64>,
    /// Number of spans stored.
    pub spans: u64,
    /// Of these, failed ones.
    pub errors: u64,
    /// Resource attributes as JSON (`telemetry::record`).
    pub resource_json: String,
}

/// A trace with its spans, in order of their begin.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTrace {
    /// The trace.
    pub trace: TraceRow,
    /// Its spans.
    pub spans: Vec<SpanRow>,
}

/// Which traces to list, newest first.
#[derive(Clone, Debug)]
pub struct SpanFilter {
    /// Whose thread id begins so (a session's id).
    pub thread: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// Which traces [`Store::close_open_traces`] closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Those of processes that no longer run.
    Dead,
    /// This process's own, at its end.
    Me,
}

/// What became of a trace at a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for its turn (or for its end).
    Pending,
    /// The backend has taken it.
    Delivered,
    /// The backend has refused it.
    Parked {
        /// HTTP status; 0 when it never became a request.
        status: u16,
        /// What the backend said, shortened.
        answer: String,
        /// When.
        at: Timestamp,
        /// It will be tried once more.
        again: bool,
    },
    /// It is older than the backend's place in the settings.
    Before,
}

/// What became of a trace at one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Name of the backend (`otlp`).
    pub backend: String,
    /// What became of it.
    pub state: DeliveryState,
}

/// A complete trace whose turn it is.
#[derive(Clone, Debug)]
pub struct Resend {
    /// The trace.
    pub trace: StoredTrace,
    /// It was parked before and is tried once more, out of turn.
    pub parked_before: bool,
}

/// Said of spans whose process was gone before they ended.
const PROCESS_ENDED: &str = "process ended";
/// Said of spans whose end found no room in the queue.
const END_LOST: &str = "its end was lost: the span queue was full";
/// Name of a root that stands in for one that was lost.
const LOST_ROOT: &str = "(lost)";
/// Id of a root that stands in for one that was lost and that no span names as its parent.
const STAND_IN_ID: &str = "00000000000f12e7";

impl Store {
    /// Stores spans as they begin and end, in the order given, in one transaction. A root that has ended completes
    /// its trace. Returns the number of traces completed.
    ///
    /// # Errors
    /// When the store cannot be written; nothing of the batch is stored then.
    pub async fn put_spans(&self, spans: &[SpanRow], resource_json: &str) -> Result<u64, StoreError> {
        self.claim();
        let mut completed = 0;
        let mut tx = self.begin().await?;
        for span in spans {
            self.put_span(&mut tx, span, resource_json).await?;
            if let (None, Some(ended_at)) = (&span.parent_id, span.ended_at) {
                self.complete(&mut tx, &span.trace_id, micros(ended_at), END_LOST).await?;
                completed += 1;
            }
        }
        tx.commit().await?;
        Ok(completed)
    }

    async fn put_span(&self, tx: &mut Tx, span: &SpanRow, resource_json: &str) -> Result<(), StoreError> {
        let root = span.parent_id.is_none();
        // A child that comes first (its root's begin was lost) makes the trace too; the root then mends the names.
        sql("INSERT INTO traces (trace_id, root_span_id, name, thread, started_at, resource_json, owner) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (trace_id) DO UPDATE SET \
             root_span_id = COALESCE(excluded.root_span_id, traces.root_span_id), \
             name = CASE WHEN excluded.root_span_id IS NULL THEN traces.name ELSE excluded.name END, \
             thread = COALESCE(CASE WHEN excluded.root_span_id IS NULL THEN NULL ELSE excluded.thread END, \
             traces.thread), \
             started_at = CASE WHEN excluded.root_span_id IS NULL THEN traces.started_at \
             ELSE excluded.started_at END")
        .bind(&span.trace_id)
        .bind(root.then_some(&span.span_id))
        .bind(if root { &span.name } else { LOST_ROOT })
        .bind(&span.thread)
        .bind(micros(span.started_at))
        .bind(resource_json)
        .bind(self.instance().to_string())
        .execute(&mut *tx)
        .await?;
        let (status, message) = span.status.columns();
        sql(
            "INSERT INTO spans (trace_id, span_id, parent_id, name, started_at, ended_at, status, status_message, \
             detail_json) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (trace_id, span_id) DO UPDATE SET name = excluded.name, ended_at = excluded.ended_at, \
             status = excluded.status, status_message = excluded.status_message, \
             detail_json = excluded.detail_json",
        )
        .bind(&span.trace_id)
        .bind(&span.span_id)
        .bind(&span.parent_id)
        .bind(&span.name)
        .bind(micros(span.started_at))
        .bind(span.ended_at.map(micros))
        .bind(status)
        .bind(message)
        .bind(&span.detail_json)
        .execute(&mut *tx).await?;
        Ok(())
    }

    /// Makes a trace whole and gives it its place in the queue: it has exactly one root, every parent is there, and
    /// every span has an end.
    async fn complete(
        &self,
        tx: &mut Tx,
        trace: &str,
        ended_at: i64,
        why_open: &str,
    ) -> Result<(), StoreError> {
        let root: Option<String> =
            sql("SELECT span_id FROM spans WHERE trace_id = $1 AND parent_id IS NULL LIMIT 1")
                .bind(trace)
                .optional_scalar(&mut *tx)
                .await?;
        let root = match root {
            Some(id) => id,
            None => self.stand_in_root(tx, trace, ended_at).await?,
        };
        sql("UPDATE spans SET ended_at = CASE WHEN started_at > $2 THEN started_at ELSE $2 END, \
             status = 'error', status_message = $3 WHERE trace_id = $1 AND ended_at IS NULL")
        .bind(trace)
        .bind(ended_at)
        .bind(why_open)
        .execute(&mut *tx)
        .await?;
        sql("UPDATE spans SET lost_parent_id = parent_id, parent_id = $2 WHERE trace_id = $1 \
             AND parent_id IS NOT NULL \
             AND parent_id NOT IN (SELECT p.span_id FROM spans p WHERE p.trace_id = $1)")
        .bind(trace)
        .bind(&root)
        .execute(&mut *tx)
        .await?;
        // A trace has one place, once, and the queue never reuses one, even when all in it was delivered and pruned.
        sql(
            "UPDATE traces SET root_span_id = $2, ended_at = $3, seq = COALESCE(seq, 1 + (SELECT MAX(n) FROM ( \
             SELECT COALESCE(MAX(seq), 0) AS n FROM traces UNION ALL \
             SELECT COALESCE(MAX(position), 0) AS n FROM outbox) AS places)), \
             bytes = (SELECT COALESCE(SUM(LENGTH(detail_json)), 0) FROM spans WHERE spans.trace_id = $1) \
             WHERE trace_id = $1",
        )
        .bind(trace)
        .bind(&root)
        .bind(ended_at)
        .execute(&mut *tx).await?;
        Ok(())
    }

    /// A root for a trace that lost its own: under the id that its spans name as their parent.
    async fn stand_in_root(&self, tx: &mut Tx, trace: &str, ended_at: i64) -> Result<String, StoreError> {
        let id: Option<String> = sql("SELECT parent_id FROM spans WHERE trace_id = $1 \
             AND parent_id NOT IN (SELECT p.span_id FROM spans p WHERE p.trace_id = $1) \
             ORDER BY started_at LIMIT 1")
        .bind(trace)
        .optional_scalar(&mut *tx)
        .await?;
        let id = id.unwrap_or_else(|| STAND_IN_ID.to_owned());
        sql(
            "INSERT INTO spans (trace_id, span_id, name, started_at, ended_at, status, status_message, detail_json) \
             SELECT trace_id, $2, $3, started_at, $4, 'error', $5, '{}' FROM traces WHERE trace_id = $1",
        )
        .bind(trace)
        .bind(&id)
        .bind(LOST_ROOT)
        .bind(ended_at)
        .bind(END_LOST)
        .execute(&mut *tx).await?;
        Ok(id)
    }

    /// Closes traces whose process is gone (or, at its end, this process's own) with what is known of them: open
    /// spans end with the last thing that was stored, with status ERROR `process ended`.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn close_open_traces(&self, whose: Owner) -> Result<u64, StoreError> {
        let rows = sql(
            "SELECT t.trace_id, t.owner, (SELECT MAX(COALESCE(s.ended_at, s.started_at)) FROM spans s \
             WHERE s.trace_id = t.trace_id) AS last FROM traces t WHERE t.ended_at IS NULL ORDER BY t.started_at",
        )
        .all(self.reader()).await?;
        let mut closed = 0;
        for row in rows {
            let owner: String = self.get(&row, "owner")?;
            let theirs = match whose {
                Owner::Me => owner == self.instance().to_string(),
                Owner::Dead => !self.is_alive(&owner),
            };
            let last: Option<i64> = self.get(&row, "last")?;
            let (true, Some(last)) = (theirs, last) else { continue };
            let trace: String = self.get(&row, "trace_id")?;
            let mut tx = self.begin().await?;
            self.complete(&mut tx, &trace, last, PROCESS_ENDED).await?;
            tx.commit().await?;
            closed += 1;
        }
        Ok(closed)
    }

    /// Deletes the oldest complete traces beyond `keep` of them or beyond `bytes` of content; the newest stays.
    /// Returns how many went, and how many of these some backend had not got yet.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune_traces(&self, keep: u32, bytes: u64) -> Result<(u64, u64), StoreError> {
        let mut tx = self.begin().await?;
        let rows =
            sql("SELECT seq, bytes FROM traces WHERE seq IS NOT NULL ORDER BY seq DESC").all(&mut tx).await?;
        let mut total = 0_u64;
        let mut oldest_kept = None;
        for (n, row) in rows.iter().enumerate() {
            total = total.saturating_add(self.count(row, "bytes")?);
            if n > 0 && (n >= keep as usize || total > bytes) {
                break;
            }
            oldest_kept = Some(self.get::<i64>(row, "seq")?);
        }
        let Some(oldest_kept) = oldest_kept else { return Ok((0, 0)) };
        let unsent: i64 = sql("SELECT COUNT(*) AS n FROM traces t WHERE t.seq < $1 AND EXISTS ( \
             SELECT 1 FROM outbox o WHERE o.position < t.seq)")
        .bind(oldest_kept)
        .scalar(&mut tx)
        .await?;
        let gone = sql("DELETE FROM traces WHERE seq < $1").bind(oldest_kept).execute(&mut tx).await?;
        tx.commit().await?;
        Ok((gone, unsent.unsigned_abs()))
    }

    /// Traces, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn traces(&self, filter: &SpanFilter) -> Result<Vec<TraceRow>, StoreError> {
        let rows = sql("SELECT t.*, (SELECT COUNT(*) FROM spans s WHERE s.trace_id = t.trace_id) AS spans, \
             (SELECT COUNT(*) FROM spans s WHERE s.trace_id = t.trace_id AND s.status = 'error') AS errors \
             FROM traces t WHERE ($1 IS NULL OR substr(t.thread, 1, length($1)) = $1) \
             ORDER BY t.started_at DESC, t.trace_id LIMIT $2")
        .bind(&filter.thread)
        .bind(i64::from(filter.limit))
        .all(self.reader())
        .await?;
        rows.iter().map(|row| self.trace_row(row)).collect()
    }

    /// One trace with its spans: by its id, by a prefix of it that no other shares, or `latest`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], or when the store cannot be read.
    pub async fn trace(&self, name: &str) -> Result<StoredTrace, StoreError> {
        let prefix = if name == "latest" { String::new() } else { name.to_ascii_lowercase() };
        let rows = sql(
            "SELECT t.*, 0 AS spans, \
             (SELECT COUNT(*) FROM spans s WHERE s.trace_id = t.trace_id AND s.status = 'error') AS errors \
             FROM traces t WHERE substr(t.trace_id, 1, length($1)) = $1 ORDER BY t.started_at DESC, t.trace_id LIMIT 5",
        )
        .bind(&prefix)
        .all(self.reader()).await?;
        let row = match rows.as_slice() {
            [] => return Err(StoreError::NotFound { what: "trace", name: name.to_owned(), list: "traces" }),
            [row] => row,
            [row, ..] if prefix.is_empty() => row,
            several => {
                let ids: Result<Vec<String>, StoreError> =
                    several.iter().map(|r| self.get(r, "trace_id")).collect();
                let matches = ids?.join(", ");
                return Err(StoreError::Ambiguous { name: name.to_owned(), matches });
            }
        };
        let mut trace = self.trace_row(row)?;
        let spans = self.spans(&trace).await?;
        trace.spans = spans.len() as u64;
        Ok(StoredTrace { trace, spans })
    }

    async fn spans(&self, trace: &TraceRow) -> Result<Vec<SpanRow>, StoreError> {
        let rows = sql("SELECT * FROM spans WHERE trace_id = $1 ORDER BY started_at, span_id")
            .bind(&trace.trace_id)
            .all(self.reader())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SpanRow {
                    trace_id: self.get(row, "trace_id")?,
                    span_id: self.get(row, "span_id")?,
                    parent_id: self.get(row, "parent_id")?,
                    lost_parent_id: self.get(row, "lost_parent_id")?,
                    name: self.get(row, "name")?,
                    started_at: moment(self.get(row, "started_at")?),
                    ended_at: self.get::<Option<i64>>(row, "ended_at")?.map(moment),
                    status: SpanStatus::read(
                        &self.get::<String>(row, "status")?,
                        self.get(row, "status_message")?,
                    ),
                    detail_json: self.get(row, "detail_json")?,
                    thread: trace.thread.clone(),
                })
            })
            .collect()
    }

    fn trace_row(&self, row: &Row) -> Result<TraceRow, StoreError> {
        Ok(TraceRow {
            trace_id: self.get(row, "trace_id")?,
            name: self.get(row, "name")?,
            thread: self.get(row, "thread")?,
            started_at: moment(self.get(row, "started_at")?),
            ended_at: self.get::<Option<i64>>(row, "ended_at")?.map(moment),
            seq: self.get(row, "seq")?,
            spans: self.count(row, "spans")?,
            errors: self.count(row, "errors")?,
            resource_json: self.get(row, "resource_json")?,
        })
    }

    /// Makes a backend known. A new one begins with the traces that are completed from now on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn register_backend(&self, backend: &str) -> Result<(), StoreError> {
        sql("INSERT INTO outbox (backend, since_seq, position, updated_at) \
             SELECT $1, COALESCE(MAX(seq), 0), COALESCE(MAX(seq), 0), $2 FROM traces WHERE TRUE \
             ON CONFLICT (backend) DO NOTHING")
        .bind(backend)
        .bind(micros(Timestamp::now()))
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// The trace whose turn it is at a backend: one parked before that is to be tried again, else the oldest that
    /// it has not had yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next_for(&self, backend: &str) -> Result<Option<Resend>, StoreError> {
        let row = sql(
            "SELECT t.*, 0 AS spans, 0 AS errors, 1 AS parked_before FROM traces t \
             JOIN parked p ON p.trace_id = t.trace_id AND p.backend = $1 AND p.again = 1 ORDER BY t.seq LIMIT 1",
        )
        .bind(backend)
        .optional(self.reader()).await?;
        let row = match row {
            Some(row) => Some(row),
            None => {
                sql("SELECT t.*, 0 AS spans, 0 AS errors, 0 AS parked_before FROM traces t \
                 WHERE t.seq > (SELECT position FROM outbox WHERE backend = $1) ORDER BY t.seq LIMIT 1")
                .bind(backend)
                .optional(self.reader())
                .await?
            }
        };
        let Some(row) = row else { return Ok(None) };
        let mut trace = self.trace_row(&row)?;
        let parked_before = self.get::<i64>(&row, "parked_before")? != 0;
        let spans = self.spans(&trace).await?;
        trace.spans = spans.len() as u64;
        Ok(Some(Resend { trace: StoredTrace { trace, spans }, parked_before }))
    }

    /// Complete traces that a backend has not had yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn pending_for(&self, backend: &str) -> Result<u64, StoreError> {
        let n: i64 = sql(
            "SELECT (SELECT COUNT(*) FROM traces WHERE seq > (SELECT position FROM outbox WHERE backend = $1)) \
             + (SELECT COUNT(*) FROM parked WHERE backend = $1 AND again = 1) AS n",
        )
        .bind(backend)
        .scalar(self.reader()).await?;
        Ok(n.unsigned_abs())
    }

    /// The backend has taken the trace: its position moves on.
    ///
    /// # Errors
    /// When the store cannot be written; the trace will then be delivered twice rather than never.
    pub async fn mark_delivered(&self, backend: &str, trace: &TraceRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sql("DELETE FROM parked WHERE backend = $1 AND trace_id = $2")
            .bind(backend)
            .bind(&trace.trace_id)
            .execute(&mut tx)
            .await?;
        self.advance(&mut tx, backend, trace).await?;
        tx.commit().await
    }

    /// The backend has refused the trace: it is put aside with the answer, and the position moves on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn park(
        &self,
        backend: &str,
        trace: &TraceRow,
        status: u16,
        answer: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // A trace pruned meanwhile has nothing left to park.
        sql(
            "INSERT INTO parked (backend, trace_id, status, answer, parked_at) \
             SELECT $1, trace_id, $3, $4, $5 FROM traces WHERE trace_id = $2 \
             ON CONFLICT (backend, trace_id) DO UPDATE SET status = excluded.status, answer = excluded.answer, \
             parked_at = excluded.parked_at, again = 0",
        )
        .bind(backend)
        .bind(&trace.trace_id)
        .bind(i64::from(status))
        .bind(answer)
        .bind(micros(Timestamp::now()))
        .execute(&mut tx).await?;
        self.advance(&mut tx, backend, trace).await?;
        tx.commit().await
    }

    async fn advance(&self, tx: &mut Tx, backend: &str, trace: &TraceRow) -> Result<(), StoreError> {
        sql("UPDATE outbox SET position = $2, updated_at = $3 WHERE backend = $1 AND position < $2")
            .bind(backend)
            .bind(trace.seq)
            .bind(micros(Timestamp::now()))
            .execute(&mut *tx)
            .await?;
        Ok(())
    }

    /// Has every parked trace tried once more; returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retry_parked(&self) -> Result<u64, StoreError> {
        sql("UPDATE parked SET again = 1").execute(self.writer()).await
    }

    /// What became of a trace at each backend.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn deliveries(&self, trace: &TraceRow) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sql(
            "SELECT o.backend, o.since_seq, o.position, p.status, p.answer, p.parked_at, p.again FROM outbox o \
             LEFT JOIN parked p ON p.backend = o.backend AND p.trace_id = $1 ORDER BY o.backend",
        )
        .bind(&trace.trace_id)
        .all(self.reader()).await?;
        rows.iter()
            .map(|row| {
                let since: i64 = self.get(row, "since_seq")?;
                let position: i64 = self.get(row, "position")?;
                let parked: Option<i64> = self.get(row, "status")?;
                let state = match (parked, trace.seq) {
                    (Some(status), _) => DeliveryState::Parked {
                        status: u16::try_from(status).unwrap_or_default(),
                        answer: self.get(row, "answer")?,
                        at: moment(self.get(row, "parked_at")?),
                        again: self.get::<i64>(row, "again")? != 0,
                    },
                    (None, Some(seq)) if seq <= since => DeliveryState::Before,
                    (None, Some(seq)) if seq <= position => DeliveryState::Delivered,
                    (None, _) => DeliveryState::Pending,
                };
                Ok(DeliveryRow { backend: self.get(row, "backend")?, state })
            })
            .collect()
    }
}
