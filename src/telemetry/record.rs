//! A span as the store keeps it, and back: what is dropped or hidden is dropped or hidden here, before anything is
//! written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::names::{self, attr};
use crate::store::{SpanRow, SpanStatus};

/// Attributes by name. JSON numbers with a point are doubles, those without are integers.
pub type Attributes = BTreeMap<String, Json>;

/// What the store keeps of a span beside its columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// OpenTelemetry's span kind.
    pub kind: RecordedKind,
    /// By name; of several values set, the last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// In order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RecordedEvent>,
    /// In order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<RecordedLink>,
}

/// OpenTelemetry's span kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedKind {
    /// Work inside the process.
    #[default]
    Internal,
    /// A call that leaves the process.
    Client,
    /// A call that arrives.
    Server,
    /// A message sent.
    Producer,
    /// A message taken.
    Consumer,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// What.
    pub name: String,
    /// When, microseconds since 1970, UTC.
    pub at: i64,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
}

/// Another span that this one belongs with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
}

/// What must not be written.
#[derive(Clone, Default)]
pub struct Scrub {
    secrets: Vec<String>,
    capture_content: bool,
}

/// Stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Secrets shorter than this would blank out ordinary words (local servers are given keys such as `ollama`); no real
/// key is as short.
const MIN_SECRET: usize = 8;

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scrub({} secrets, capture_content: {})", self.secrets.len(), self.capture_content)
    }
}

impl Scrub {
    /// Hides `secrets` wherever they stand; with `capture_content` false, drops what [`names::is_personal`] marks.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>, capture_content: bool) -> Self {
        let mut secrets: Vec<String> = secrets.into_iter().filter(|s| s.len() >= MIN_SECRET).collect();
        // Longest first: one secret may contain another.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.dedup();
        Self { secrets, capture_content }
    }

    /// The text without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        text
    }

    fn attributes(&self, attributes: &[KeyValue]) -> Attributes {
        attributes
            .iter()
            .filter(|kv| self.capture_content || !names::is_personal(kv.key.as_str()))
            .map(|kv| (kv.key.as_str().to_owned(), self.value(&kv.value)))
            .collect()
    }

    fn value(&self, value: &Value) -> Json {
        match value {
            Value::Bool(b) => Json::from(*b),
            Value::I64(n) => Json::from(*n),
            Value::F64(x) => double(*x),
            Value::String(s) => Json::from(self.text(s.as_str())),
            Value::Array(Array::Bool(list)) => Json::from(list.clone()),
            Value::Array(Array::I64(list)) => Json::from(list.clone()),
            Value::Array(Array::F64(list)) => list.iter().copied().map(double).collect(),
            Value::Array(Array::String(list)) => {
                list.iter().map(|s| Json::from(self.text(s.as_str()))).collect()
            }
            // Both enums may grow; a new kind of value is kept as text.
            other => Json::from(self.text(&other.to_string())),
        }
    }
}

/// JSON knows no NaN and no infinity: they become words.
fn double(x: f64) -> Json {
    serde_json::Number::from_f64(x).map_or_else(|| Json::from(x.to_string()), Json::Number)
}

/// A span, begun (`ended` false) or ended, for the store.
#[must_use]
pub fn row(data: &SpanData, ended: bool, scrub: &Scrub) -> SpanRow {
    let attributes = scrub.attributes(&data.attributes);
    let thread = attributes.get(attr::SESSION_ID).and_then(Json::as_str).map(str::to_owned);
    let detail = Detail {
        kind: match data.span_kind {
            SpanKind::Client => RecordedKind::Client,
            SpanKind::Server => RecordedKind::Server,
            SpanKind::Producer => RecordedKind::Producer,
            SpanKind::Consumer => RecordedKind::Consumer,
            SpanKind::Internal => RecordedKind::Internal,
        },
        events: data
            .events
            .iter()
            .map(|event| RecordedEvent {
                name: scrub.text(&event.name).into_owned(),
                at: timestamp(event.timestamp).as_microsecond(),
                attributes: scrub.attributes(&event.attributes),
            })
            .collect(),
        links: data
            .links
            .iter()
            .map(|link| RecordedLink {
                trace_id: link.span_context.trace_id().to_string(),
                span_id: link.span_context.span_id().to_string(),
                attributes: scrub.attributes(&link.attributes),
            })
            .collect(),
        attributes,
    };
    SpanRow {
        trace_id: data.span_context.trace_id().to_string(),
        span_id: data.span_context.span_id().to_string(),
        parent_id: (data.parent_span_id != SpanId::INVALID).then(|| data.parent_span_id.to_string()),
        lost_parent_id: None,
        name: scrub.text(&data.name).into_owned(),
        started_at: timestamp(data.start_time),
        ended_at: ended.then(|| timestamp(data.end_time)),
        status: match &data.status {
            Status::Unset => SpanStatus::Unset,
            Status::Ok => SpanStatus::Ok,
            Status::Error { description } => SpanStatus::Error(scrub.text(description).into_owned()),
        },
        detail_json: serde_json::to_string(&detail).expect("maps with string keys always serialise"),
        thread,
    }
}

/// Why a stored span is not one.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// An id is not hexadecimal.
    #[error("the id {0} is not hexadecimal")]
    Id(String),
    /// The detail is not JSON of the right shape.
    #[error("the detail does not read ({0})")]
    Detail(#[from] serde_json::Error),
}

/// Reads the detail of a stored span.
///
/// # Errors
/// When it is not JSON of the right shape.
pub fn detail(row: &SpanRow) -> Result<Detail, RecordError> {
    Ok(serde_json::from_str(&row.detail_json)?)
}

/// A stored span as OpenTelemetry's exporters take it.
///
/// # Errors
/// When the stored values do not read.
pub fn span_data(row: &SpanRow) -> Result<SpanData, RecordError> {
    let detail = detail(row)?;
    let mut attributes = key_values(detail.attributes);
    if let Some(lost) = &row.lost_parent_id {
        attributes.push(KeyValue::new(attr::LOST_PARENT, lost.clone()));
    }
    let mut events = SpanEvents::default();
    events.events = detail
        .events
        .into_iter()
        .map(|e| Event::new(e.name, system_time_us(e.at), key_values(e.attributes), 0))
        .collect();
    let mut links = SpanLinks::default();
    links.links = detail
        .links
        .into_iter()
        .map(|l| Ok(Link::new(context(&l.trace_id, &l.span_id)?, key_values(l.attributes), 0)))
        .collect::<Result<_, RecordError>>()?;
    Ok(SpanData {
        span_context: context(&row.trace_id, &row.span_id)?,
        parent_span_id: row.parent_id.as_deref().map_or(Ok(SpanId::INVALID), span_id)?,
        parent_span_is_remote: false,
        span_kind: match detail.kind {
            RecordedKind::Internal => SpanKind::Internal,
            RecordedKind::Client => SpanKind::Client,
            RecordedKind::Server => SpanKind::Server,
            RecordedKind::Producer => SpanKind::Producer,
            RecordedKind::Consumer => SpanKind::Consumer,
        },
        name: Cow::Owned(row.name.clone()),
        start_time: system_time_us(row.started_at.as_microsecond()),
        end_time: system_time_us(row.ended_at.unwrap_or(row.started_at).as_microsecond()),
        attributes,
        dropped_attributes_count: 0,
        events,
        links,
        status: match &row.status {
            SpanStatus::Unset => Status::Unset,
            SpanStatus::Ok => Status::Ok,
            SpanStatus::Error(message) => Status::error(message.clone()),
        },
        instrumentation_scope: InstrumentationScope::builder(names::SERVICE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    })
}

/// A resource as the store keeps it.
#[must_use]
pub fn resource_json(resource: &Resource, scrub: &Scrub) -> String {
    let map: Attributes =
        resource.iter().map(|(key, value)| (key.as_str().to_owned(), scrub.value(value))).collect();
    serde_json::to_string(&map).expect("maps with string keys always serialise")
}

/// A stored resource.
///
/// # Errors
/// When it is not a JSON object.
pub fn resource(json: &str) -> Result<Resource, RecordError> {
    let map: Attributes = serde_json::from_str(json)?;
    Ok(Resource::builder_empty().with_attributes(key_values(map)).build())
}

fn key_values(attributes: Attributes) -> Vec<KeyValue> {
    attributes.into_iter().map(|(key, value)| KeyValue::new(key, otel_value(value))).collect()
}

fn otel_value(value: Json) -> Value {
    match value {
        Json::Bool(b) => b.into(),
        Json::Number(n) => n.as_i64().map_or_else(|| n.as_f64().unwrap_or_default().into(), Value::from),
        Json::String(s) => s.into(),
        Json::Array(list) => array(&list),
        other => other.to_string().into(),
    }
}

/// OpenTelemetry's arrays hold one type; an empty one says nothing of its type and counts as one of strings.
fn array(list: &[Json]) -> Value {
    let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    Value::Array(if list.is_empty() || list.iter().all(Json::is_string) {
        Array::String(list.iter().map(text).map(StringValue::from).collect())
    } else if list.iter().all(Json::is_boolean) {
        Array::Bool(list.iter().filter_map(Json::as_bool).collect())
    } else if list.iter().all(Json::is_i64) {
        Array::I64(list.iter().filter_map(Json::as_i64).collect())
    } else if list.iter().all(Json::is_number) {
        Array::F64(list.iter().filter_map(Json::as_f64).collect())
    } else {
        Array::String(list.iter().map(text).map(StringValue::from).collect())
    })
}

fn context(trace: &str, span: &str) -> Result<SpanContext, RecordError> {
    let trace = TraceId::from_hex(trace).map_err(|_| RecordError::Id(trace.to_owned()))?;
    Ok(SpanContext::new(trace, span_id(span)?, TraceFlags::SAMPLED, false, TraceState::default()))
}

fn span_id(hex: &str) -> Result<SpanId, RecordError> {
    SpanId::from_hex(hex).map_err(|_| RecordError::Id(hex.to_owned()))
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn system_time_us(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(attributes: Vec<KeyValue>) -> SpanData {
        let at = system_time_us(1_700_000_000_000_001);
        let mut events = SpanEvents::default();
        let said = KeyValue::new("exception.message", "401 for sk-secret-1");
        events.events.push(Event::new("exception", at, vec![said], 0));
        let mut links = SpanLinks::default();
        let other = context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331").unwrap();
        links.links.push(Link::with_context(other));
        SpanData {
            span_context: context("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7").unwrap(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Client,
            name: "chat gpt".into(),
            start_time: at,
            end_time: at + Duration::from_millis(12),
            attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status: Status::error("sk-secret-1 was refused"),
            instrumentation_scope: InstrumentationScope::builder(names::SERVICE)
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }

    #[test]
    fn every_type_of_value_comes_back_as_it_went() {
        let values = [
            Value::from(true),
            Value::from(3_i64),
            Value::from(3.0),
            Value::from(0.1),
            Value::from("text"),
            Value::Array(Array::Bool(vec![true, false])),
            Value::Array(Array::I64(vec![1, 2])),
            Value::Array(Array::F64(vec![1.0, 2.5])),
            Value::Array(Array::String(vec!["a".into(), "b".into()])),
        ];
        let attributes: Vec<KeyValue> =
            values.into_iter().enumerate().map(|(i, v)| KeyValue::new(format!("k{i}"), v)).collect();
        let before = span(attributes);
        let after = span_data(&row(&before, true, &Scrub::new([], true))).unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn the_last_value_wins_and_an_open_span_has_no_end() {
        let data = span(vec![KeyValue::new("a", 1_i64), KeyValue::new("a", 2_i64)]);
        let row = row(&data, false, &Scrub::new([], true));
        assert_eq!(row.ended_at, None);
        assert_eq!(detail(&row).unwrap().attributes["a"], 2);
    }

    #[test]
    fn secrets_are_hidden_everywhere() {
        let data = span(vec![
            KeyValue::new("a", "Bearer sk-secret-1"),
            KeyValue::new("b", Value::Array(Array::String(vec!["sk-secret-1".into()]))),
        ]);
        let row = row(&data, true, &Scrub::new(["sk-secret-1".to_owned(), String::new()], true));
        let all = format!("{row:?}");
        assert!(!all.contains("sk-secret-1"), "{all}");
        assert_eq!(all.matches(REDACTED).count(), 4, "{all}");
    }

    #[test]
    fn without_content_exactly_the_personal_attributes_go() {
        let names = [
            attr::INPUT,
            attr::OUTPUT,
            attr::INPUT_MIME,
            attr::LLM_MODEL,
            "llm.input_messages.0.message.content",
            "llm.output_messages.0.message.role",
            attr::PROMPT_VERSION,
            attr::PROMPT_VARIABLES,
            attr::INPUT_TOKENS,
        ];
        let data = span(names.iter().map(|n| KeyValue::new(*n, "x")).collect());
        let kept = detail(&row(&data, true, &Scrub::new([], false))).unwrap().attributes;
        let mut expected: Vec<&str> = names.into_iter().filter(|n| !names::is_personal(n)).collect();
        expected.sort_unstable();
        assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(expected.len(), 4);
    }
}
