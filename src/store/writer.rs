//! A session written as it happens: what is said to the writer is stored within half a second, and when the disk is
//! full or locked it waits in memory, in order, until it can be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex as TaskMutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::types::{AdviceRow, Batch, GapRow, NewSession, WindowRecord};
use super::{SessionId, Store, StoreError};
use crate::practice::types::{JudgedChord, JudgedNote, Summary};

/// Time between two appends: what a killed process loses is at most this and one transaction.
const EVERY: Duration = Duration::from_millis(500);

/// Time between two tries while the store cannot be written.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Notes that wait at most: five hours of ten notes a second would need 180 000, 20 MB; half of that is kept.
const MAX_NOTES: usize = 90_000;

/// Windows, advice and gaps that wait at most, each (a window every second for almost three hours).
const MAX_OTHERS: usize = 10_000;

/// How the writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterState {
    /// Why nothing can be stored at present; `None` when all is well. Ends with what to do.
    pub trouble: Option<String>,
    /// Notes, windows, advice and gaps that wait in memory.
    pub waiting: u64,
    /// Those that found no room to wait and are lost.
    pub lost: u64,
    /// Those stored.
    pub written: u64,
}

/// Writes one session. Cheap to clone; when the last one is dropped, what waits is tried once more.
#[derive(Clone, Debug)]
pub struct SessionWriter {
    shared: Arc<Shared>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    stop: CancellationToken,
    _stop_on_drop: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    id: SessionId,
    pending: Mutex<Pending>,
    /// One flush at a time, so that order is kept.
    flushing: TaskMutex<()>,
    state: watch::Sender<WriterState>,
    written: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    begin: Option<NewSession>,
    notes: Vec<JudgedNote>,
    chords: Vec<JudgedChord>,
    windows: Vec<WindowRecord>,
    advice: Vec<AdviceRow>,
    gaps: Vec<GapRow>,
}

impl Pending {
    fn len(&self) -> usize {
        self.notes.len() + self.chords.len() + self.windows.len() + self.advice.len() + self.gaps.len()
    }

    fn is_empty(&self) -> bool {
        self.begin.is_none() && self.len() == 0
    }

    /// Puts back, before what has come since, what could not be stored.
    fn put_back(&mut self, mut earlier: Pending) {
        earlier.notes.append(&mut self.notes);
        earlier.chords.append(&mut self.chords);
        earlier.windows.append(&mut self.windows);
        earlier.advice.append(&mut self.advice);
        earlier.gaps.append(&mut self.gaps);
        *self = earlier;
    }
}

impl SessionWriter {
    /// Begins a session and stores it as it happens. The begin itself waits too when the store cannot be written.
    /// Needs a tokio runtime.
    #[must_use]
    pub fn begin(store: Store, session: NewSession) -> Self {
        let shared = Arc::new(Shared {
            store,
            id: session.id,
            pending: Mutex::new(Pending { begin: Some(session), ..Pending::default() }),
            flushing: TaskMutex::new(()),
            state: watch::Sender::default(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(write_as_it_happens(Arc::clone(&shared), stop.clone()));
        Self {
            shared,
            task: Arc::new(Mutex::new(Some(task))),
            _stop_on_drop: Arc::new(stop.clone().drop_guard()),
            stop,
        }
    }

    /// The session that is written.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// A note. Never waits.
    pub fn note(&self, note: JudgedNote) {
        self.push(|p| (p.notes.len() < MAX_NOTES).then(|| p.notes.push(note)));
    }

    /// A chord. Never waits.
    pub fn chord(&self, chord: JudgedChord) {
        self.push(|p| (p.chords.len() < MAX_NOTES).then(|| p.chords.push(chord)));
    }

    /// A closed window. Never waits.
    pub fn window(&self, window: WindowRecord) {
        self.push(|p| (p.windows.len() < MAX_OTHERS).then(|| p.windows.push(window)));
    }

    /// A piece of advice, or more about one that was given before (same id). Never waits.
    pub fn advice(&self, advice: AdviceRow) {
        self.push(|p| (p.advice.len() < MAX_OTHERS).then(|| p.advice.push(advice)));
    }

    /// A stretch without input. Never waits.
    pub fn gap(&self, gap: GapRow) {
        self.push(|p| (p.gaps.len() < MAX_OTHERS).then(|| p.gaps.push(gap)));
    }

    fn push(&self, add: impl FnOnce(&mut Pending) -> Option<()>) {
        if add(&mut self.shared.pending()).is_none() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the writing goes, now and whenever it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<WriterState> {
        self.shared.state.subscribe()
    }

    /// Stores now what waits.
    ///
    /// # Errors
    /// When the store cannot be written; everything keeps waiting.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush().await
    }

    /// Stores what waits and the end of the session, trying again for `patience` when the store cannot be written.
    ///
    /// # Errors
    /// When it still could not: what was stored before stays, and the session is closed at the next start.
    pub async fn finish(
        self,
        summary: &Summary,
        at: Timestamp,
        patience: Duration,
    ) -> Result<(), StoreError> {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It panics only where the runtime is being torn down; the flush below stores what it left.
            let _ = task.await;
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let ended = match self.flush().await {
                Ok(()) => self.shared.store.finish_session(&self.shared.id, summary, at).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_EVERY.min(patience)).await,
            }
        }
    }
}

async fn write_as_it_happens(shared: Arc<Shared>, stop: CancellationToken) {
    let mut pause = EVERY;
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(pause) => false,
        };
        pause = if shared.flush().await.is_ok() { EVERY } else { RETRY_EVERY };
        if last {
            return;
        }
    }
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        // Nothing panics while it is held; were it so, the lists would still be whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        let mut taken = Taken { shared: self, batch: std::mem::take(&mut *self.pending()) };
        let result = self.store_batch(&mut taken.batch).await;
        if result.is_ok() {
            self.written.fetch_add(taken.batch.len() as u64, Ordering::Relaxed);
            taken.batch = Pending::default();
        }
        drop(taken);
        self.report(result.as_ref().err());
        result
    }

    async fn store_batch(&self, batch: &mut Pending) -> Result<(), StoreError> {
        if let Some(session) = &batch.begin {
            self.store.start_session(session).await?;
            batch.begin = None;
        }
        let rows = Batch {
            notes: &batch.notes,
            chords: &batch.chords,
            windows: &batch.windows,
            advice: &batch.advice,
            gaps: &batch.gaps,
        };
        self.store.append(&self.id, &rows).await
    }

    /// Says once that the store cannot be written, and once that it can again.
    fn report(&self, error: Option<&StoreError>) {
        let state = WriterState {
            trouble: error.map(ToString::to_string),
            waiting: self.pending().len() as u64,
            lost: self.lost.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        };
        let before = self.state.borrow().trouble.is_some();
        match (before, &state.trouble) {
            (false, Some(why)) => {
                tracing::warn!(waiting = state.waiting, "the session waits in memory: {why}");
            }
            (true, None) => tracing::info!(lost = state.lost, "the session is stored again"),
            _ => {}
        }
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }
}

/// What a flush has taken out; put back when it fails or is cancelled midway.
struct Taken<'a> {
    shared: &'a Shared,
    batch: Pending,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.shared.pending().put_back(std::mem::take(&mut self.batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::{NoteEvent, Technique};
    use crate::store::sql;

    fn note(onset: f64) -> JudgedNote {
        let note = NoteEvent {
            onset,
            offset: onset + 0.4,
            t: onset + 0.05,
            midi: 57,
            f0: 220.0,
            cents: -3.5,
            level_db: -18.0,
            confidence: 0.9,
            settled: onset + 0.05,
            inharmonicity: None,
            technique: Technique::default(),
            gated: false,
        };
        JudgedNote {
            note,
            in_scale: Some(true),
            deviation_ms: Some(4.0),
            place: Some(0.5),
            right: true,
            reason: None,
        }
    }

    fn session() -> NewSession {
        NewSession {
            id: SessionId::new(),
            user: "ada".into(),
            deployment: "fretcoach-studio".into(),
            mode: "manual".into(),
            scale: None,
            bpm: None,
            started_at: Timestamp::now(),
            input: "demo".into(),
            config_json: "{}".into(),
            trace_id: None,
        }
    }

    #[tokio::test]
    async fn a_full_disk_keeps_everything_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let empty = Store::open(&path).await.unwrap();
        let pages: i64 = sql("PRAGMA page_count").scalar(empty.writer()).await.unwrap();
        empty.close().await;
        // SQLite's own limit stands for the disk's: the same error, at a place of our choosing.
        let limit = u32::try_from(pages).unwrap() + 4;
        let store = Store::open_with(&path, Duration::from_secs(1), Some(limit)).await.unwrap();
        let writer = SessionWriter::begin(store.clone(), session());
        writer.flush().await.unwrap();
        for i in 0..2000 {
            writer.note(note(f64::from(i)));
        }
        let error = writer.flush().await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        writer.note(note(2000.0));
        assert!(writer.flush().await.is_err());
        let state = writer.state().borrow().clone();
        assert_eq!((state.waiting, state.lost, state.written), (2001, 0, 0));
        let trouble = state.trouble.unwrap();
        assert!(trouble.contains("no room left"), "{trouble}");

        sql("PRAGMA max_page_count = 100000").execute(store.writer()).await.unwrap();
        let id = writer.id();
        let state = writer.state();
        writer.finish(&summary(), Timestamp::now(), Duration::ZERO).await.unwrap();
        assert_eq!(state.borrow().clone(), WriterState { written: 2001, ..WriterState::default() });
        let onsets: Vec<f64> = store.notes(&id).await.unwrap().iter().map(|n| n.note.onset).collect();
        assert_eq!(onsets, (0..2001).map(f64::from).collect::<Vec<_>>(), "in order, none twice");
    }

    #[tokio::test]
    async fn a_lock_held_by_another_program_only_delays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let store = Store::open_with(&path, Duration::from_millis(20), None).await.unwrap();
        let other = Store::open(&path).await.unwrap();
        let held = other.begin().await.unwrap();
        let writer = SessionWriter::begin(store.clone(), session());
        writer.note(note(1.0));
        let error = writer.flush().await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        held.rollback().await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(store.notes(&writer.id()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_finds_no_room_to_wait_is_counted() {
        let writer = SessionWriter::begin(Store::memory().await.unwrap(), session());
        for i in 0..MAX_NOTES + 7 {
            writer.note(note(i as f64));
        }
        assert_eq!(writer.shared.lost.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn dropping_the_writer_stores_what_waits() {
        let store = Store::memory().await.unwrap();
        let writer = SessionWriter::begin(store.clone(), session());
        let (id, task) = (writer.id(), writer.task.lock().unwrap().take().unwrap());
        writer.note(note(1.0));
        drop(writer);
        task.await.unwrap();
        assert_eq!(store.notes(&id).await.unwrap().len(), 1);
    }

    fn summary() -> Summary {
        Summary {
            duration: 1.0,
            scores: Default::default(),
            facts: Default::default(),
            weakest: None,
            strongest: None,
            overall_by_window: vec![None],
        }
    }
}
