//! The one way to make a span: `tracing` underneath, typed names above.
//!
//! A [`Thread`] says whose story a span belongs to; [`Thread::root`] starts an operation and [`Thread::child`]
//! continues one. Parents are always named, never taken from an ambient "current span", so no `.await` can
//! mix two stories up and no span can lack its parent. Attributes are set with [`SpanExt`], at any time until
//! the span is dropped. Nothing here does I/O: spans are collected by `telemetry`.

use std::error::Error;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Key, KeyValue, StringValue, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::names::attr;

/// `tracing` target of every product span; the log never prints it, telemetry collects nothing else.
pub const TARGET: &str = "fretcoach::trace";

/// OpenInference's span kinds, as far as we use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A workflow or a step of one.
    Chain,
    /// A model call (text or speech).
    Llm,
    /// A tool or a piece of our own work.
    Tool,
    /// An agent's turn.
    Agent,
    /// Rows found for a question.
    Retriever,
}

impl Kind {
    const fn openinference(self) -> &'static str {
        match self {
            Kind::Chain => "CHAIN",
            Kind::Llm => "LLM",
            Kind::Tool => "TOOL",
            Kind::Agent => "AGENT",
            Kind::Retriever => "RETRIEVER",
        }
    }
}

/// Whose story a span belongs to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Thread(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    user: String,
    tags: Vec<String>,
    /// With layout `session`: the span under which operations hang instead of starting their own trace.
    session_root: Option<Span>,
}

impl Thread {
    /// A thread with its id (the same in every backend), player and the tags that all its operations bear.
    #[must_use]
    pub fn new(id: impl Into<String>, user: impl Into<String>, tags: Vec<String>) -> Self {
        Self(Arc::new(Inner { id: id.into(), user: user.into(), tags, session_root: None }))
    }

    /// The same thread, but with operations as children of `session` (layout `session`).
    #[must_use]
    pub fn under(&self, session: &Span) -> Self {
        Self(Arc::new(Inner {
            id: self.0.id.clone(),
            user: self.0.user.clone(),
            tags: self.0.tags.clone(),
            session_root: Some(session.clone()),
        }))
    }

    /// The thread id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Starts an operation: a trace of its own, or a child of the session root with layout `session`.
    #[must_use]
    pub fn root(&self, name: &str, kind: Kind, tags: &[&str]) -> Span {
        let span = match &self.0.session_root {
            Some(root) => tracing::info_span!(target: TARGET, parent: root, "operation", otel.name = name),
            None => tracing::info_span!(target: TARGET, parent: None, "operation", otel.name = name),
        };
        self.mark(&span, kind);
        let all: Vec<StringValue> = self
            .0
            .tags
            .iter()
            .cloned()
            .chain(tags.iter().map(|t| (*t).to_owned()))
            .map(StringValue::from)
            .collect();
        span.put(attr::TAGS, Value::Array(all.into()));
        begin(&span);
        span
    }

    /// Continues an operation.
    #[must_use]
    pub fn child(&self, parent: &Span, name: &str, kind: Kind) -> Span {
        let span = tracing::info_span!(target: TARGET, parent: parent, "step", otel.name = name);
        self.mark(&span, kind);
        begin(&span);
        span
    }

    /// As [`Thread::child`], for a call that leaves the process (OpenTelemetry kind CLIENT).
    #[must_use]
    pub fn client(&self, parent: &Span, name: &str, kind: Kind) -> Span {
        let span = tracing::info_span!(target: TARGET, parent: parent, "call", otel.name = name, otel.kind = "client");
        self.mark(&span, kind);
        begin(&span);
        span
    }

    fn mark(&self, span: &Span, kind: Kind) {
        span.put(attr::SESSION_ID, self.0.id.clone());
        span.put(attr::CONVERSATION_ID, self.0.id.clone());
        span.put(attr::USER_ID, self.0.user.clone());
        span.put(attr::KIND, kind.openinference());
    }
}

/// Has the span begin now, with its marks on it: the layer would wait for the first child, and a killed process would
/// leave no trace of it.
fn begin(span: &Span) {
    let _ = span.ids();
}

/// What can be said of a span while it lasts.
pub trait SpanExt {
    /// Sets one attribute (the last value wins).
    fn put(&self, key: impl Into<Key>, value: impl Into<Value>);
    /// Sets `input.value` as plain text.
    fn input_text(&self, text: &str);
    /// Sets `input.value` as JSON.
    fn input_json(&self, value: &serde_json::Value);
    /// Sets `output.value` as plain text.
    fn output_text(&self, text: &str);
    /// Sets `output.value` as JSON.
    fn output_json(&self, value: &serde_json::Value);
    /// Marks the span as failed: status ERROR, `error.type`, and an `exception` event with the cause chain.
    fn fail(&self, kind: &str, error: &(dyn Error + 'static));
    /// Links another span, as an OpenTelemetry link and as attributes (some backends drop links).
    fn link_to(&self, other: &SpanContext);
    /// Adds an event.
    fn event(&self, name: &'static str, attributes: Vec<KeyValue>);
    /// Trace and span id, once a collector is installed (else an invalid context).
    fn ids(&self) -> SpanContext;
}

/// Longest text kept in an attribute, bytes: backends take more, pages do not show it.
pub const MAX_TEXT: usize = 32 * 1024;

fn capped(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}

impl SpanExt for Span {
    fn put(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.set_attribute(key, value);
    }

    fn input_text(&self, text: &str) {
        self.put(attr::INPUT, capped(text));
        self.put(attr::INPUT_MIME, "text/plain");
    }

    fn input_json(&self, value: &serde_json::Value) {
        self.put(attr::INPUT, capped(&value.to_string()));
        self.put(attr::INPUT_MIME, "application/json");
    }

    fn output_text(&self, text: &str) {
        self.put(attr::OUTPUT, capped(text));
        self.put(attr::OUTPUT_MIME, "text/plain");
    }

    fn output_json(&self, value: &serde_json::Value) {
        self.put(attr::OUTPUT, capped(&value.to_string()));
        self.put(attr::OUTPUT_MIME, "application/json");
    }

    fn fail(&self, kind: &str, error: &(dyn Error + 'static)) {
        let message = chain(error);
        self.put(attr::ERROR_TYPE, kind.to_owned());
        self.event(
            "exception",
            vec![
                KeyValue::new("exception.type", kind.to_owned()),
                KeyValue::new("exception.message", message.clone()),
            ],
        );
        self.set_status(Status::error(message));
    }

    fn link_to(&self, other: &SpanContext) {
        self.add_link(other.clone());
        self.put(attr::LINKED_TRACE, other.trace_id().to_string());
        self.put(attr::LINKED_SPAN, other.span_id().to_string());
    }

    fn event(&self, name: &'static str, attributes: Vec<KeyValue>) {
        self.add_event(name, attributes);
    }

    fn ids(&self) -> SpanContext {
        self.context().span().span_context().clone()
    }
}

/// An error with all its causes, `outer: inner: innermost`, each said once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
