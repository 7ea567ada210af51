//! Traces and the log: collects the spans that `span` makes, keeps them in the store, delivers them to a backend.
//!
//! ```text
//! span ends ─▶ Collector (never waits) ─▶ bounded queue ─▶ Keeper ─▶ store ─▶ Delivery ─▶ OTLP endpoint
//!              counts what it drops                 hides secrets        one trace, one request, in order
//! ```
//! `begin` and `end` of a span are both stored, so that open traces can be looked at and those of a killed process can
//! be closed at the next start. The log is separate: it never prints product spans, and spans never hold log lines.

mod collect;
mod delivery;
mod http;
mod log;
pub mod record;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanLimits};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Dispatch, Level};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use delivery::{OTLP, Patience};
pub use log::{LOG_FILE, Log, rotate as rotate_log};

use crate::config;
use crate::names;
use crate::span;
use crate::store::{InstanceId, Owner, Store, StoreError};
use collect::{Collector, Counters, Keeper, Message};
use delivery::{Delivery, Progress};
use log::LogWriter;
use record::Scrub;

/// What the log prints unless `FRETCOACH_LOG` or `RUST_LOG` says otherwise.
///
/// `async_openai` is off: it warns of each rate limit in words of its own, without saying which model, and the coach
/// says the same better.
const LOG_DEFAULT: &str = "warn,fretcoach=info,async_openai=off";

/// The session's root bears a hundred attributes and an event per window: the SDK's 128 of each would not do.
const LIMITS: SpanLimits = SpanLimits {
    max_attributes_per_span: 1024,
    max_events_per_span: 16_384,
    max_links_per_span: 1024,
    max_attributes_per_event: 128,
    max_attributes_per_link: 128,
};

/// Time between two looks at what is still to be delivered.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The endpoint is no address.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT: `{endpoint}` is no address ({message}); write for example http://localhost:4318"
    )]
    Endpoint {
        /// As set.
        endpoint: String,
        /// What is wrong.
        message: String,
    },
    /// The headers are no headers.
    #[error("OTEL_EXPORTER_OTLP_HEADERS: header {place} is wrong: {message}; write key=value,key=value")]
    Headers {
        /// Counted from 1.
        place: usize,
        /// What is wrong (without the value).
        message: &'static str,
    },
    /// The log filter does not parse.
    #[error("{variable}: `{value}` is no log filter ({source}); write for example info or fretcoach=debug")]
    Filter {
        /// `FRETCOACH_LOG` or `RUST_LOG`.
        variable: &'static str,
        /// As set.
        value: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The HTTP client could not be made.
    #[error("the client for OTEL_EXPORTER_OTLP_ENDPOINT could not be made ({0}); check the endpoint")]
    Client(Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else has already set up tracing in this process.
    #[error("telemetry was already set up in this process")]
    Twice,
}

/// What the rest of the program tells telemetry.
#[derive(Clone, Debug)]
pub struct About {
    /// `production` or `development`.
    pub env: String,
    /// `fretcoach-studio`, `fretcoach-portable`, …
    pub deployment: String,
    /// Where log lines go.
    pub log: Log,
    /// Keys and passwords that must appear nowhere (empty ones are skipped).
    pub secrets: Vec<config::Secret>,
    /// How patient delivery is.
    pub patience: Patience,
}

/// Telemetry at work. Dropped without [`Telemetry::shutdown`], what is queued goes on to the store while the
/// runtime lasts.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    store: Store,
    counters: Arc<Counters>,
    queue: UnboundedSender<Message>,
    nudge: Arc<Notify>,
    progress: Option<watch::Receiver<Progress>>,
    keeper: JoinHandle<()>,
    delivery: Option<JoinHandle<()>>,
    stop_keeper: CancellationToken,
    stop_delivery: CancellationToken,
}

/// Counts since the start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Begins and ends of spans that wait for the store.
    pub queued: u64,
    /// Ended spans dropped because the queue was full (or the store could not be written until the end).
    pub dropped: u64,
    /// Ended spans stored.
    pub stored: u64,
    /// Traces completed.
    pub traces: u64,
    /// Traces delivered.
    pub delivered: u64,
    /// Traces refused.
    pub parked: u64,
    /// Complete traces that the backend has not had yet, as of the last look.
    pub pending: u64,
}

/// What a flush achieved in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Every span that had ended is in the store.
    pub stored: bool,
    /// Every complete trace was delivered or refused (true without a backend).
    pub delivered: bool,
}

/// Sets up telemetry for the whole process: log and spans. Needs a tokio runtime.
///
/// # Errors
/// A wrong endpoint, header or log filter; a store that cannot be written; a second call.
pub async fn init(
    config: &config::Telemetry,
    about: &About,
    store: Store,
) -> Result<Telemetry, TelemetryError> {
    let (telemetry, subscriber) = start(config, about, store).await?;
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(telemetry)
}

/// As [`init`], but leaves it to the caller to install the subscriber: tests that share a process use
/// `tracing::dispatcher::set_default`.
///
/// # Errors
/// As [`init`].
pub async fn start(
    config: &config::Telemetry,
    about: &About,
    store: Store,
) -> Result<(Telemetry, Dispatch), TelemetryError> {
    let headers = http::parse_headers(config.otlp_headers.reveal())?;
    let secrets = about
        .secrets
        .iter()
        .map(|s| s.reveal().to_owned())
        .chain(std::iter::once(config.otlp_headers.reveal().to_owned()))
        .chain(http::secrets_of(&headers));
    let scrub = Scrub::new(secrets, config.capture_content);
    let log_filter = log_filter()?;

    let resource = resource(about, store.instance());
    let counters = Arc::new(Counters::default());
    let completed = Arc::new(Notify::new());
    let nudge = Arc::new(Notify::new());
    let stop_keeper = CancellationToken::new();
    let stop_delivery = CancellationToken::new();

    let mut delivery = None;
    let mut progress = None;
    if !config.otlp_endpoint.is_empty() {
        let url = http::traces_url(&config.otlp_endpoint)?;
        let (sender, receiver) = watch::channel(Progress::default());
        progress = Some(receiver);
        let shared = delivery::Shared {
            store: store.clone(),
            scrub: scrub.clone(),
            counters: Arc::clone(&counters),
            completed: Arc::clone(&completed),
            nudge: Arc::clone(&nudge),
            progress: sender,
        };
        delivery = Some(Delivery::new(url, headers, about.patience, shared)?);
        // Before the traces of a killed process are closed: those too are for this backend.
        store.register_backend(OTLP).await?;
    }
    store.close_open_traces(Owner::Dead).await?;

    let (collector, queue, receiver) = Collector::new(config.queue, Arc::clone(&counters));
    let provider = SdkTracerProvider::builder()
        // Said, since the SDK would else read sampler and limits from the environment.
        .with_sampler(Sampler::AlwaysOn)
        .with_span_limits(LIMITS)
        .with_resource(resource.clone())
        .with_span_processor(collector)
        .build();
    let keeper = Keeper {
        store: store.clone(),
        resource_json: record::resource_json(&resource, &scrub),
        scrub: scrub.clone(),
        counters: Arc::clone(&counters),
        completed,
    };

    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(names::SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(|meta| meta.target() == span::TARGET).with_max_level_hint(Level::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(LogWriter::new(&about.log, scrub))
        .with_ansi(false)
        .with_filter(log_filter.and(filter_fn(|meta| meta.target() != span::TARGET)));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(spans).with(lines));

    // The tasks log to this telemetry's own log, also where the subscriber is not the global one.
    let keeper = in_dispatch(&dispatch, keeper.run(receiver, stop_keeper.clone()));
    let delivery = delivery.map(|d| in_dispatch(&dispatch, d.run(stop_delivery.clone())));
    let telemetry = Telemetry {
        provider,
        store,
        counters,
        queue,
        nudge,
        progress,
        keeper,
        delivery,
        stop_keeper,
        stop_delivery,
    };
    Ok((telemetry, dispatch))
}

fn in_dispatch(dispatch: &Dispatch, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    use tracing::instrument::WithSubscriber;
    tokio::spawn(task.with_subscriber(dispatch.clone()))
}

fn log_filter() -> Result<EnvFilter, TelemetryError> {
    for variable in ["FRETCOACH_LOG", "RUST_LOG"] {
        if let Some(value) = std::env::var(variable).ok().filter(|v| !v.trim().is_empty()) {
            return EnvFilter::try_new(&value).map_err(|source| TelemetryError::Filter {
                variable,
                value,
                source,
            });
        }
    }
    Ok(EnvFilter::new(LOG_DEFAULT))
}

/// Who speaks. `OTEL_RESOURCE_ATTRIBUTES` may add to it.
fn resource(about: &About, instance: InstanceId) -> Resource {
    Resource::builder()
        .with_service_name(names::SERVICE)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_string()),
            KeyValue::new("deployment.environment.name", about.env.clone()),
            KeyValue::new("openinference.project.name", names::SERVICE),
            KeyValue::new(names::attr::DEPLOYMENT, about.deployment.clone()),
        ])
        .build()
}

impl Telemetry {
    /// Counts since the start of this process.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let c = &self.counters;
        Stats {
            queued: c.queued.load(Ordering::Relaxed) as u64,
            dropped: c.dropped.load(Ordering::Relaxed),
            stored: c.stored.load(Ordering::Relaxed),
            traces: c.traces.load(Ordering::Relaxed),
            delivered: c.delivered.load(Ordering::Relaxed),
            parked: c.parked.load(Ordering::Relaxed),
            pending: c.pending.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything that has ended is stored and delivered, at most `timeout`. Gives up early on a backend
    /// that does not answer: what is stored is delivered at the next start.
    pub async fn flush(&self, timeout: Duration) -> Flushed {
        let mut flushed = Flushed { stored: false, delivered: self.progress.is_none() };
        // What was reached when time runs out counts.
        let _ = tokio::time::timeout(timeout, async {
            let (answer, stored) = oneshot::channel();
            if self.queue.send(Message::Flush(answer)).is_ok() {
                flushed.stored = stored.await.unwrap_or(false);
            }
            if let Some(progress) = &self.progress {
                flushed.delivered = self.drained(progress.clone()).await;
            }
        })
        .await;
        flushed
    }

    async fn drained(&self, mut progress: watch::Receiver<Progress>) -> bool {
        let before = progress.borrow_and_update().attempts;
        self.nudge.notify_one();
        loop {
            match self.store.pending_for(OTLP).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
            let now = *progress.borrow();
            if now.down && now.attempts > before {
                return false;
            }
            // With a limit: another process may be the one that delivers.
            if let Ok(Err(_ended)) = tokio::time::timeout(LOOK_AGAIN, progress.changed()).await {
                return false;
            }
        }
    }

    /// Flushes, closes what is still open, and ends. Afterwards spans are no longer collected.
    pub async fn shutdown(self, timeout: Duration) -> Flushed {
        let started = tokio::time::Instant::now();
        // First, so that nothing ends any more behind the flush. It does not block, and twice is no harm.
        let _ = self.provider.shutdown();
        let (answer, stored) = oneshot::channel();
        if self.queue.send(Message::Flush(answer)).is_ok() {
            // A store that cannot be written must not hold up the end for longer than allowed.
            let _ = tokio::time::timeout(timeout, stored).await;
        }
        if let Err(error) = self.store.close_open_traces(Owner::Me).await {
            tracing::warn!("open traces are closed at the next start: {error}");
        }
        let flushed = self.flush(timeout.saturating_sub(started.elapsed())).await;
        self.stop_delivery.cancel();
        self.stop_keeper.cancel();
        if let Some(delivery) = self.delivery {
            // It panics only where the runtime is being torn down.
            let _ = delivery.await;
        }
        let _ = self.keeper.await;
        flushed
    }
}
