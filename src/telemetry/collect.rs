//! From a span's end to the store: nothing here ever makes a player wait.
//!
//! [`Collector`] sits in the OpenTelemetry SDK. It hands spans to a queue and returns; a task writes them to the store.
//! When the queue is full spans are dropped and counted. Begins go first (an end says it all again), roots last, since
//! a trace without its root would never be complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::record::{self, Scrub};
use crate::store::{SpanRow, Store};

/// Roots find room even when the queue is full: there is one per operation, a few a minute.
const ROOT_RESERVE: usize = 1024;

/// Most spans of one transaction.
const BATCH: usize = 256;

/// Time between two tries while the store cannot be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Traces kept: some weeks of daily practice at about 250 an hour.
const KEEP_TRACES: u32 = 20_000;

/// Content kept, bytes: what a data folder may grow by for traces.
const KEEP_BYTES: u64 = 256 * 1024 * 1024;

/// Completed traces between two looks at what is to be deleted.
const PRUNE_EVERY: u64 = 100;

/// Counts of this process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub queued: AtomicUsize,
    pub dropped: AtomicU64,
    pub stored: AtomicU64,
    pub traces: AtomicU64,
    pub delivered: AtomicU64,
    pub parked: AtomicU64,
    pub pending: AtomicU64,
}

pub(super) enum Message {
    Begin(SpanData),
    End(SpanData),
    /// Answered when everything before it is stored (true) or could not be (false).
    Flush(oneshot::Sender<bool>),
}

/// The SDK's span processor.
#[derive(Debug)]
pub(super) struct Collector {
    queue: UnboundedSender<Message>,
    limit: usize,
    counters: Arc<Counters>,
}

impl Collector {
    /// A collector whose queue holds `limit` spans, and the queue's other end.
    pub(super) fn new(
        limit: usize,
        counters: Arc<Counters>,
    ) -> (Self, UnboundedSender<Message>, UnboundedReceiver<Message>) {
        let (queue, receiver) = mpsc::unbounded_channel();
        (Self { queue: queue.clone(), limit: limit.max(2), counters }, queue, receiver)
    }

    /// True when it found room below `limit`.
    fn offer(&self, message: Message, limit: usize) -> bool {
        if self.counters.queued.fetch_add(1, Ordering::Relaxed) < limit && self.queue.send(message).is_ok() {
            return true;
        }
        self.counters.queued.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

impl SpanProcessor for Collector {
    fn on_start(&self, span: &mut Span, _: &Context) {
        if let Some(data) = span.exported_data() {
            let root = data.parent_span_id == SpanId::INVALID;
            let limit = if root { self.limit + ROOT_RESERVE / 2 } else { self.limit / 2 };
            // Not counted as dropped: the span's end will say everything.
            let _ = self.offer(Message::Begin(data), limit);
        }
    }

    fn on_end(&self, span: SpanData) {
        let root = span.parent_span_id == SpanId::INVALID;
        let limit = if root { self.limit + ROOT_RESERVE } else { self.limit };
        if !self.offer(Message::End(span), limit) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // Waiting here could block a player; `Telemetry::flush` is the way.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Takes spans from the queue and writes them to the store.
pub(super) struct Keeper {
    pub store: Store,
    pub scrub: Scrub,
    pub resource_json: String,
    pub counters: Arc<Counters>,
    /// Told when a trace is complete.
    pub completed: Arc<Notify>,
}

impl Keeper {
    /// Runs until stopped and the queue is empty, or the queue's other end is gone.
    pub(super) async fn run(self, mut queue: UnboundedReceiver<Message>, stop: CancellationToken) {
        let mut messages = Vec::with_capacity(BATCH);
        let mut rows: Vec<SpanRow> = Vec::with_capacity(BATCH);
        let mut dropped_said = 0;
        let mut since_pruned = 0;
        self.prune().await;
        loop {
            let taken = tokio::select! {
                biased;
                n = queue.recv_many(&mut messages, BATCH) => n,
                () = stop.cancelled() => 0,
            };
            if taken == 0 {
                return;
            }
            let mut flushes = Vec::new();
            let mut ends = 0;
            for message in messages.drain(..) {
                match message {
                    Message::Begin(data) => rows.push(record::row(&data, false, &self.scrub)),
                    Message::End(data) => {
                        ends += 1;
                        rows.push(record::row(&data, true, &self.scrub));
                    }
                    Message::Flush(answer) => flushes.push(answer),
                }
            }
            let stored = rows.is_empty() || self.store_rows(&rows, ends, &mut flushes, &stop).await;
            self.counters.queued.fetch_sub(rows.len(), Ordering::Relaxed);
            if let Some(completed) = stored.then(|| rows.iter().filter(|r| completes(r)).count() as u64)
                && completed > 0
            {
                self.completed.notify_one();
                since_pruned += completed;
                if since_pruned >= PRUNE_EVERY {
                    self.prune().await;
                    since_pruned = 0;
                }
            }
            rows.clear();
            for answer in flushes {
                // Whoever asked may have given up waiting.
                let _ = answer.send(stored);
            }
            let dropped = self.counters.dropped.load(Ordering::Relaxed);
            if dropped > 0 && dropped_said == 0 {
                tracing::warn!(
                    dropped,
                    "the span queue was full; raise the setting telemetry.queue if it happens often"
                );
            }
            dropped_said = dropped;
        }
    }

    /// True when stored; false when given up because the program ends.
    async fn store_rows(
        &self,
        rows: &[SpanRow],
        ends: u64,
        flushes: &mut Vec<oneshot::Sender<bool>>,
        stop: &CancellationToken,
    ) -> bool {
        let mut said = false;
        loop {
            match self.store.put_spans(rows, &self.resource_json).await {
                Ok(traces) => {
                    if said {
                        tracing::info!("spans are stored again");
                    }
                    self.counters.stored.fetch_add(ends, Ordering::Relaxed);
                    self.counters.traces.fetch_add(traces, Ordering::Relaxed);
                    return true;
                }
                Err(error) => {
                    if !said {
                        tracing::warn!("spans wait in memory: {error}");
                        said = true;
                    }
                    // Those that wait for a flush learn that it failed; the spans themselves wait on.
                    for answer in flushes.drain(..) {
                        let _ = answer.send(false);
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_EVERY) => {}
                        () = stop.cancelled() => {
                            self.counters.dropped.fetch_add(ends, Ordering::Relaxed);
                            return false;
                        }
                    }
                }
            }
        }
    }

    async fn prune(&self) {
        match self.store.prune_traces(KEEP_TRACES, KEEP_BYTES).await {
            Ok((_, 0)) => {}
            Ok((gone, unsent)) => {
                tracing::warn!(
                    gone,
                    unsent,
                    "old traces made room for new ones before every backend had them"
                );
            }
            Err(error) => tracing::warn!("old traces could not be deleted: {error}"),
        }
    }
}

fn completes(row: &SpanRow) -> bool {
    row.parent_id.is_none() && row.ended_at.is_some()
}
