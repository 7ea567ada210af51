//! From the store to a backend: complete traces in the order in which they ended, one request each, children before
//! their root. Where a backend stands is in the store, so an outage, a crash or a restart loses nothing and reorders
//! nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use opentelemetry_otlp::{Compression, Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use reqwest::Url;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::TelemetryError;
use super::collect::Counters;
use super::http::{OtlpClient, Outcome};
use super::record::{self, RecordError, Scrub};
use crate::store::{SpanRow, Store, StoreError, StoredTrace, lock};

/// Name of the one backend there is by now.
pub const OTLP: &str = "otlp";

/// How patient delivery is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time of one request.
    pub request: Duration,
    /// Wait after the first failure; doubled after each further one.
    pub first_retry: Duration,
    /// Longest wait.
    pub longest_retry: Duration,
    /// Time between two looks at the store for what other processes have put there.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(60),
            poll: Duration::from_secs(5),
        }
    }
}

/// A server may ask for more patience than ours, up to this.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Times that a trace answered with 500 (or a 5xx that does not mean "later") is tried: then it is the trace, not the
/// server, and the others must not wait for it.
const SERVER_FAULTS: u32 = 8;

/// Longest part of an answer that is kept.
const ANSWER_KEPT: usize = 2000;

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    /// The same trace again, not before this (if the server said so).
    Later {
        why: String,
        wait: Option<Duration>,
    },
    Park {
        status: u16,
        answer: String,
    },
}

/// `faults`: how often this trace has already been answered with 5xx.
fn verdict(outcome: Outcome, faults: u32) -> Verdict {
    match outcome {
        Outcome::Unreachable(why) => Verdict::Later { why, wait: None },
        Outcome::Answered { status: 200..=299, .. } => Verdict::Delivered,
        Outcome::Answered { status: status @ (408 | 429 | 502 | 503 | 504), body, retry_after, .. } => {
            Verdict::Later { why: said(status, &body), wait: retry_after.map(|d| d.min(LONGEST_ASKED)) }
        }
        Outcome::Answered { status: status @ 500..=599, body, .. } if faults + 1 < SERVER_FAULTS => {
            Verdict::Later { why: said(status, &body), wait: None }
        }
        Outcome::Answered { status, body, .. } => Verdict::Park { status, answer: shortened(&body) },
    }
}

fn said(status: u16, body: &str) -> String {
    if body.is_empty() { format!("status {status}") } else { format!("status {status}: {}", shortened(body)) }
}

fn shortened(text: &str) -> String {
    if text.len() <= ANSWER_KEPT {
        return text.to_owned();
    }
    let mut end = ANSWER_KEPT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// How delivery goes, for whoever waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Requests made.
    pub attempts: u64,
    /// The last one could not be answered or has to wait.
    pub down: bool,
}

/// Delivers to one backend.
pub(super) struct Delivery {
    store: Store,
    backend: &'static str,
    url: Url,
    client: Arc<OtlpClient>,
    exporter: opentelemetry_otlp::SpanExporter,
    patience: Patience,
    scrub: Scrub,
    counters: Arc<Counters>,
    completed: Arc<Notify>,
    nudge: Arc<Notify>,
    progress: watch::Sender<Progress>,
    /// Status of the last refusal, so that a row of equal ones is told once.
    refused: Option<u16>,
    /// How often the trace whose turn it is was answered with a fault of the server.
    faults: u32,
}

/// What delivery shares with the rest of telemetry.
pub(super) struct Shared {
    pub store: Store,
    pub scrub: Scrub,
    pub counters: Arc<Counters>,
    pub completed: Arc<Notify>,
    pub nudge: Arc<Notify>,
    pub progress: watch::Sender<Progress>,
}

impl Delivery {
    pub(super) fn new(
        url: Url,
        headers: HeaderMap,
        patience: Patience,
        shared: Shared,
    ) -> Result<Self, TelemetryError> {
        let client = Arc::new(OtlpClient::new(url.clone(), headers, patience.request)?);
        // Every setting is named, since the exporter takes from the environment whatever is not.
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(patience.request)
            .with_compression(Compression::Gzip)
            .with_retry_policy(RetryPolicy::disabled())
            .with_shared_http_client(Arc::clone(&client) as Arc<dyn opentelemetry_http::HttpClient>)
            .build()
            .map_err(|e| TelemetryError::Client(Box::new(e)))?;
        let Shared { store, scrub, counters, completed, nudge, progress } = shared;
        Ok(Self {
            store,
            backend: OTLP,
            url,
            client,
            exporter,
            patience,
            scrub,
            counters,
            completed,
            nudge,
            progress,
            refused: None,
            faults: 0,
        })
    }

    /// Delivers until stopped. Of several processes on one store, one delivers at a time.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.deliver() => {}
        }
    }

    async fn deliver(&mut self) {
        let folder = self.store.folder().map(Path::to_path_buf);
        let role = format!("delivery-{}", self.backend);
        let mut _role = None;
        if let Some(folder) = folder {
            loop {
                match lock::RoleLock::acquire(&folder, &role, false) {
                    Ok(Some(held)) => {
                        _role = Some(held);
                        break;
                    }
                    Ok(None) => tokio::time::sleep(self.patience.poll).await,
                    Err(error) => {
                        tracing::warn!("delivery to {} goes on without a lock: {error}", self.url);
                        break;
                    }
                }
            }
        }
        let mut failures = 0_u32;
        loop {
            let wait = match self.step().await {
                Ok(Step::Next) => {
                    failures = 0;
                    continue;
                }
                Ok(Step::Idle) => {
                    failures = 0;
                    self.patience.poll
                }
                Ok(Step::Wait(asked)) => {
                    failures = failures.saturating_add(1);
                    asked.unwrap_or_default().max(back_off(&self.patience, failures))
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!("traces wait: {error}");
                    }
                    back_off(&self.patience, failures)
                }
            };
            if failures == 0 {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.completed.notified() => {}
                    () = self.nudge.notified() => {}
                }
            } else {
                // New traces do not shorten the wait for a server that is down; a flush does.
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.nudge.notified() => {}
                }
            }
        }
    }

    /// One trace, if any waits.
    async fn step(&mut self) -> Result<Step, StoreError> {
        self.counters.pending.store(self.store.pending_for(self.backend).await?, Ordering::Relaxed);
        let Some(next) = self.store.next_for(self.backend).await? else { return Ok(Step::Idle) };
        let trace = &next.trace.trace;
        let verdict = match self.attempt(&next.trace).await {
            Ok(Some(outcome)) => {
                if let Outcome::Answered { partial: Some((spans, why)), .. } = &outcome {
                    let why = self.scrub.text(why);
                    tracing::warn!(
                        "{} did not take {spans} spans of trace {}: {why}",
                        self.url,
                        trace.trace_id
                    );
                }
                let faults = self.faults;
                self.faults += u32::from(matches!(outcome, Outcome::Answered { status: 500..=599, .. }));
                verdict(outcome, faults)
            }
            // No request was made: the trace is larger than a request may be.
            Ok(None) => Verdict::Park { status: 0, answer: "the trace is too large for one request".into() },
            Err(error) => Verdict::Park { status: 0, answer: error.to_string() },
        };
        let step = match verdict {
            Verdict::Delivered => {
                self.store.mark_delivered(self.backend, trace).await?;
                self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                if self.progress.borrow().down {
                    tracing::info!("{} answers again; traces are delivered", self.url);
                }
                self.refused = None;
                Step::Next
            }
            Verdict::Park { status, answer } => {
                let answer = self.scrub.text(&answer).into_owned();
                self.store.park(self.backend, trace, status, &answer).await?;
                self.counters.parked.fetch_add(1, Ordering::Relaxed);
                if self.refused != Some(status) {
                    tracing::warn!(
                        "{} refused trace {} ({}); it is kept: `fretcoach traces` shows it, \
                         `fretcoach traces retry` sends it once more",
                        self.url,
                        trace.trace_id,
                        said(status, &answer)
                    );
                }
                self.refused = Some(status);
                Step::Next
            }
            Verdict::Later { why, wait } => {
                if !self.progress.borrow().down {
                    let why = self.scrub.text(&why);
                    tracing::warn!("{} takes no traces ({why}); they are kept and delivered later", self.url);
                }
                Step::Wait(wait)
            }
        };
        if step == Step::Next {
            self.faults = 0;
            self.counters.pending.store(self.store.pending_for(self.backend).await?, Ordering::Relaxed);
        }
        self.progress.send_modify(|p| {
            p.attempts += 1;
            p.down = matches!(step, Step::Wait(_));
        });
        Ok(step)
    }

    async fn attempt(&mut self, trace: &StoredTrace) -> Result<Option<Outcome>, RecordError> {
        let spans = children_first(&trace.spans)
            .into_iter()
            .map(record::span_data)
            .collect::<Result<Vec<SpanData>, _>>()?;
        self.exporter.set_resource(&record::resource(&trace.trace.resource_json)?);
        // The result says less than the outcome that our client has seen.
        let _ = self.exporter.export(spans).await;
        Ok(self.client.take_outcome())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Next,
    Idle,
    Wait(Option<Duration>),
}

/// Deepest spans first, the root last; equally deep ones in order of their end.
fn children_first(spans: &[SpanRow]) -> Vec<&SpanRow> {
    let parents: std::collections::HashMap<&str, Option<&str>> =
        spans.iter().map(|s| (s.span_id.as_str(), s.parent_id.as_deref())).collect();
    let depth = |span: &SpanRow| {
        let mut depth = 0;
        let mut parent = span.parent_id.as_deref();
        // No deeper than there are spans, even if the stored parents went in a circle.
        while let (Some(id), true) = (parent, depth <= spans.len()) {
            depth += 1;
            parent = parents.get(id).copied().flatten();
        }
        depth
    };
    let mut ordered: Vec<(usize, &SpanRow)> = spans.iter().map(|s| (depth(s), s)).collect();
    ordered.sort_by_key(|(depth, span)| (std::cmp::Reverse(*depth), span.ended_at));
    ordered.into_iter().map(|(_, span)| span).collect()
}

/// Doubling from the first to the longest wait, give or take a fifth so that many daemons do not come back at once.
fn back_off(patience: &Patience, failures: u32) -> Duration {
    let doubled = patience.first_retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(patience.longest_retry);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    wait.mul_f64(0.8 + 0.4 * f64::from(nanos % 1000) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SpanStatus;
    use jiff::Timestamp;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            body: "said".into(),
            retry_after: Some(Duration::from_secs(9)),
            partial: None,
        }
    }

    #[test]
    fn what_may_pass_is_retried_and_what_is_refused_is_parked() {
        assert_eq!(verdict(answered(200), 0), Verdict::Delivered);
        for status in [408, 429, 502, 503, 504] {
            let later =
                Verdict::Later { why: format!("status {status}: said"), wait: Some(Duration::from_secs(9)) };
            assert_eq!(verdict(answered(status), 1000), later, "for as long as it takes");
        }
        for status in [301, 400, 401, 403, 404, 413, 415, 422] {
            assert_eq!(verdict(answered(status), 0), Verdict::Park { status, answer: "said".into() });
        }
        assert!(matches!(verdict(answered(500), 0), Verdict::Later { .. }));
        assert!(matches!(verdict(answered(500), SERVER_FAULTS - 1), Verdict::Park { status: 500, .. }));
        assert!(matches!(verdict(Outcome::Unreachable("x".into()), 1000), Verdict::Later { .. }));
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let patience = Patience::default();
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (1000, 60.0)] {
            let wait = back_off(&patience, failures).as_secs_f64();
            assert!((0.8..=1.2).contains(&(wait / seconds)), "{failures}: {wait}");
        }
    }

    #[test]
    fn children_go_before_their_parents_and_the_root_last() {
        let span = |id: &str, parent: Option<&str>, end: i64| SpanRow {
            trace_id: "t".into(),
            span_id: id.into(),
            parent_id: parent.map(Into::into),
            lost_parent_id: None,
            name: id.into(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::from_microsecond(end).ok(),
            status: SpanStatus::Unset,
            detail_json: "{}".into(),
            thread: None,
        };
        let spans = [
            span("root", None, 9),
            span("b", Some("root"), 5),
            span("a", Some("root"), 3),
            span("a1", Some("a"), 8),
        ];
        let order: Vec<&str> = children_first(&spans).iter().map(|s| s.name.as_str()).collect();
        assert_eq!(order, ["a1", "a", "b", "root"]);
    }
}
