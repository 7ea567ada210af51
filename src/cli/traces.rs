//! `fretcoach traces`: what was done, how long it took, what it cost, and whether the backend has it.
//!
//! `--format json` is stable: fields are added, never renamed or removed. Times are RFC 3339 in UTC.
//!
//! - list: `{"traces": [TRACE, …]}`, newest first
//! - one: `{"trace": TRACE, "spans": [SPAN, …]}`, spans by their begin
//! - TRACE: `trace_id name thread started_at ended_at duration_ms spans errors resource delivery`; `delivery` is a list
//!   of `{"backend", "state": "pending|delivered|parked|before", "status", "answer", "at", "again"}`
//! - SPAN: `span_id parent_id name kind started_at ended_at duration_ms status message attributes events links`

use std::collections::HashMap;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::history::{Format, local, pretty};
use super::table::{self, Column};
use crate::names::attr;
use crate::store::{
    DeliveryRow, DeliveryState, SpanFilter, SpanRow, SpanStatus, Store, StoreError, StoredTrace, TraceRow,
};
use crate::telemetry::record::{self, Attributes, Detail};

/// Which traces to show.
#[derive(Clone, Debug, clap::Args)]
pub struct TracesArgs {
    /// trace to show as a tree: its id, the start of the id, or latest; list or nothing: the list; retry: send refused ones once more
    pub trace: Option<String>,
    /// of this session alone: its id, the start of the id, or latest
    #[arg(long)]
    pub session: Option<String>,
    /// at most so many traces
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// how to print: text, or json for programs
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// A trace with what became of it at each backend.
pub type Delivered = (TraceRow, Vec<DeliveryRow>);

/// What `fretcoach traces` prints, with times as this machine's clock shows them.
///
/// # Errors
/// As [`run_in`].
pub async fn run(store: &Store, args: &TracesArgs) -> Result<String, StoreError> {
    run_in(store, args, &TimeZone::system()).await
}

/// What `fretcoach traces` prints, with times in `zone`.
///
/// # Errors
/// An unknown or ambiguous trace or session; a store that cannot be read.
pub async fn run_in(store: &Store, args: &TracesArgs, zone: &TimeZone) -> Result<String, StoreError> {
    match args.trace.as_deref() {
        None | Some("list") => {
            let thread = match &args.session {
                Some(name) => Some(store.session(name).await?.id.to_string()),
                None => None,
            };
            let mut traces = Vec::new();
            for trace in store.traces(&SpanFilter { thread, limit: args.limit }).await? {
                let delivery = store.deliveries(&trace).await?;
                traces.push((trace, delivery));
            }
            Ok(match args.format {
                Format::Text => list_text(&traces, zone),
                Format::Json => {
                    let traces: Vec<Value> = traces.iter().map(|(t, d)| trace_json(t, d)).collect();
                    pretty(&json!({ "traces": traces }))
                }
            })
        }
        Some("retry") => {
            let n = store.retry_parked().await?;
            Ok(match args.format {
                Format::Json => pretty(&json!({ "retried": n })),
                Format::Text if n == 0 => "No trace was refused; there is nothing to send again.\n".into(),
                Format::Text => format!(
                    "{n} refused {} will be sent once more, while `fretcoach practice` runs or at its next start.\n",
                    if n == 1 { "trace" } else { "traces" }
                ),
            })
        }
        Some(name) => {
            let stored = store.trace(name).await?;
            let delivery = store.deliveries(&stored.trace).await?;
            Ok(match args.format {
                Format::Text => tree_text(&stored, &delivery, zone),
                Format::Json => {
                    let spans: Vec<Value> = stored.spans.iter().map(span_json).collect();
                    pretty(&json!({ "trace": trace_json(&stored.trace, &delivery), "spans": spans }))
                }
            })
        }
    }
}

/// The list for people.
#[must_use]
pub fn list_text(traces: &[Delivered], zone: &TimeZone) -> String {
    if traces.is_empty() {
        return "No traces yet. `fretcoach practice` makes one of each piece of advice.\n".into();
    }
    let columns = [
        Column::left("trace"),
        Column::left("begun"),
        Column::left("operation"),
        Column::right("took"),
        Column::right("spans"),
        Column::right("failed"),
        Column::left("session"),
        Column::left("delivery"),
    ];
    let rows: Vec<Vec<String>> = traces
        .iter()
        .map(|(t, delivery)| {
            vec![
                t.trace_id.chars().take(SHORT_TRACE).collect(),
                local(t.started_at, zone, "%Y-%m-%d %H:%M:%S"),
                t.name.clone(),
                took(t.started_at, t.ended_at),
                t.spans.to_string(),
                t.errors.to_string(),
                t.thread.as_ref().map_or_else(|| "–".into(), |id| id.chars().take(SHORT_SESSION).collect()),
                if delivery.is_empty() { "kept here".into() } else { delivery_words(delivery) },
            ]
        })
        .collect();
    let mut text = table::render(&columns, &rows);
    text.push_str("\n`fretcoach traces TRACE` shows one as a tree, `fretcoach traces latest` the newest.\n");
    text
}

/// Characters of a trace id in the list: random ones, so few collide.
const SHORT_TRACE: usize = 8;
/// Characters of a thread id in the list: as many as `fretcoach history` shows of the session that it begins with.
const SHORT_SESSION: usize = 13;

/// Longest text of an attribute in the tree, characters: a line should stay one.
const SHOWN: usize = 160;

/// One trace for people: a tree with durations, key attributes and status.
#[must_use]
pub fn tree_text(stored: &StoredTrace, delivery: &[DeliveryRow], zone: &TimeZone) -> String {
    let t = &stored.trace;
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "Trace     {}", t.trace_id);
    let _ = writeln!(out, "Begun     {}", local(t.started_at, zone, "%A %Y-%m-%d %H:%M:%S%.3f"));
    if let Some(thread) = &t.thread {
        let _ = writeln!(out, "Thread    {thread}");
    }
    let _ = writeln!(out, "Delivery  {}", delivery_words(delivery));
    for row in delivery {
        if let DeliveryState::Parked { answer, at, .. } = &row.state {
            let _ = writeln!(
                out,
                "          {} said at {}: {}",
                row.backend,
                local(*at, zone, "%H:%M:%S"),
                if answer.is_empty() { "nothing" } else { answer.as_str() }
            );
        }
    }
    out.push('\n');
    let mut children: HashMap<Option<&str>, Vec<&SpanRow>> = HashMap::new();
    for span in &stored.spans {
        children.entry(span.parent_id.as_deref()).or_default().push(span);
    }
    for root in children.get(&None).into_iter().flatten() {
        branch(&mut out, root, &children, "", "", t.started_at);
    }
    out
}

fn branch(
    out: &mut String,
    span: &SpanRow,
    children: &HashMap<Option<&str>, Vec<&SpanRow>>,
    first: &str,
    rest: &str,
    origin: Timestamp,
) {
    let offset = span.started_at.duration_since(origin).as_secs_f64();
    let status = match &span.status {
        SpanStatus::Error(message) => format!("  FAILED: {}", cut(message)),
        SpanStatus::Ok | SpanStatus::Unset => String::new(),
    };
    let _ = writeln!(
        out,
        "{first}{}  {}  (at {:.3} s){status}",
        span.name,
        took(span.started_at, span.ended_at),
        offset
    );
    let below = children.get(&Some(span.span_id.as_str())).map_or(&[][..], Vec::as_slice);
    let bar = if below.is_empty() { "    " } else { "│   " };
    let detail = record::detail(span).unwrap_or_default();
    for line in key_lines(&detail) {
        let _ = writeln!(out, "{rest}{bar}{line}");
    }
    for (i, child) in below.iter().enumerate() {
        let last = i + 1 == below.len();
        let (head, tail) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        branch(out, child, children, &format!("{rest}{head}"), &format!("{rest}{tail}"), origin);
    }
}

/// What most want to know of a span, one topic a line.
fn key_lines(detail: &Detail) -> Vec<String> {
    let a = &detail.attributes;
    let number = |name: &str| a.get(name).and_then(Value::as_f64);
    let mut lines = Vec::new();
    let mut topic = |parts: Vec<Option<String>>| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            lines.push(parts.join(", "));
        }
    };
    topic(vec![
        text(a, attr::LLM_MODEL).or_else(|| text(a, attr::REQUEST_MODEL)).map(|m| format!("model {m}")),
        text(a, attr::PROVIDER).map(|p| format!("at {p}")),
        number(attr::ATTEMPT).map(|n| format!("attempt {n}")),
        text(a, attr::FALLBACK_REASON).map(|r| format!("after {r}")),
    ]);
    topic(vec![
        number(attr::INPUT_TOKENS).map(|n| format!("{n} tokens in")),
        number(attr::OUTPUT_TOKENS).map(|n| format!("{n} out")),
        number(attr::LLM_COST_TOTAL).map(|usd| format!("${usd:.6}")),
        number(attr::TTFT_MS).map(|ms| format!("first token after {ms:.0} ms")),
        number(attr::TTFS_MS).map(|ms| format!("first sentence after {ms:.0} ms")),
    ]);
    topic(vec![
        text(a, attr::TTS_ENGINE).map(|e| format!("engine {e}")),
        text(a, attr::TTS_VOICE).map(|v| format!("voice {v}")),
        number(attr::TTS_CHARS).map(|n| format!("{n} characters")),
        number(attr::TTFB_MS).map(|ms| format!("first byte after {ms:.0} ms")),
        number(attr::FIRST_SAMPLE_MS).map(|ms| format!("heard after {ms:.0} ms")),
        number(attr::TTS_SECONDS).map(|s| format!("{s:.1} s of sound")),
        a.get(attr::TTS_INTERRUPTED).filter(|v| **v == Value::Bool(true)).map(|_| "interrupted".into()),
    ]);
    topic(vec![
        number(attr::WINDOW_INDEX).map(|n| format!("window {}", n + 1.0)),
        number(attr::WINDOW_NOTES).map(|n| format!("{n} notes")),
        number(&format!("{}.overall", attr::SCORE)).map(|n| format!("overall {n:.0}")),
        text(a, attr::WEAKEST).map(|m| format!("weakest {m}")),
    ]);
    topic(vec![
        text(a, attr::PROMPT_NAME).map(|p| format!("prompt {p}")),
        text(a, attr::PROMPT_VERSION).map(|v| format!("version {v}")),
    ]);
    topic(vec![
        text(a, attr::AUDIO_HOST).map(|h| format!("host {h}")),
        text(a, attr::AUDIO_INPUT).map(|i| format!("input {i}")),
        number(attr::AUDIO_RATE).map(|n| format!("{n} Hz")),
        number(attr::AUDIO_PERIOD).map(|n| format!("period {n}")),
        number(attr::HOP_P95_NS).map(|n| format!("hop p95 {:.0} µs", n / 1000.0)),
        number(attr::DROPPED_SAMPLES).filter(|n| *n > 0.0).map(|n| format!("{n} samples dropped")),
    ]);
    topic(vec![text(a, attr::ERROR_TYPE).map(|e| format!("error {e}"))]);
    topic(vec![text(a, attr::OUTPUT).map(|o| format!("→ {o}"))]);
    for link in &detail.links {
        lines.push(format!("linked to span {} of trace {}", link.span_id, link.trace_id));
    }
    lines
}

/// A text attribute on one line.
fn text(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(cut)
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn took(from: Timestamp, to: Option<Timestamp>) -> String {
    let Some(to) = to else { return "running".into() };
    let ms = to.duration_since(from).as_secs_f64() * 1000.0;
    match ms {
        _ if ms < 10.0 => format!("{ms:.2} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1000.0),
    }
}

fn delivery_words(rows: &[DeliveryRow]) -> String {
    if rows.is_empty() {
        return "kept here (no backend is set)".into();
    }
    let word = |row: &DeliveryRow| {
        let state = match &row.state {
            DeliveryState::Pending => "pending".into(),
            DeliveryState::Delivered => "delivered".into(),
            DeliveryState::Before => "older than the backend".into(),
            DeliveryState::Parked { again: true, .. } => "refused, will be sent once more".into(),
            DeliveryState::Parked { status: 0, .. } => "not sent".into(),
            DeliveryState::Parked { status, .. } => format!("refused with {status}"),
        };
        format!("{}: {state}", row.backend)
    };
    rows.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn trace_json(t: &TraceRow, delivery: &[DeliveryRow]) -> Value {
    let delivery: Vec<Value> = delivery
        .iter()
        .map(|row| match &row.state {
            DeliveryState::Pending => json!({ "backend": row.backend, "state": "pending" }),
            DeliveryState::Delivered => json!({ "backend": row.backend, "state": "delivered" }),
            DeliveryState::Before => json!({ "backend": row.backend, "state": "before" }),
            DeliveryState::Parked { status, answer, at, again } => json!({
                "backend": row.backend,
                "state": "parked",
                "status": status,
                "answer": answer,
                "at": at.to_string(),
                "again": again,
            }),
        })
        .collect();
    json!({
        "trace_id": t.trace_id,
        "name": t.name,
        "thread": t.thread,
        "started_at": t.started_at.to_string(),
        "ended_at": t.ended_at.map(|at| at.to_string()),
        "duration_ms": duration_ms(t.started_at, t.ended_at),
        "spans": t.spans,
        "errors": t.errors,
        "resource": serde_json::from_str::<Value>(&t.resource_json).unwrap_or_default(),
        "delivery": delivery,
    })
}

fn span_json(s: &SpanRow) -> Value {
    let detail = record::detail(s).unwrap_or_default();
    let (status, message) = match &s.status {
        SpanStatus::Unset => ("unset", None),
        SpanStatus::Ok => ("ok", None),
        SpanStatus::Error(message) => ("error", Some(message)),
    };
    json!({
        "span_id": s.span_id,
        "parent_id": s.parent_id,
        "name": s.name,
        "kind": detail.kind,
        "started_at": s.started_at.to_string(),
        "ended_at": s.ended_at.map(|at| at.to_string()),
        "duration_ms": duration_ms(s.started_at, s.ended_at),
        "status": status,
        "message": message,
        "attributes": detail.attributes,
        "events": detail.events,
        "links": detail.links,
    })
}

fn duration_ms(from: Timestamp, to: Option<Timestamp>) -> Option<f64> {
    to.map(|to| to.duration_since(from).as_secs_f64() * 1000.0)
}
