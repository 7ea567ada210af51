//! A real OTLP collector: HTTP, gzip, protobuf. It takes everything and remembers it, bytes included.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use tokio::task::JoinHandle;

/// One request: what the program thinks is a whole trace.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Headers of the request.
    pub headers: HeaderMap,
    /// The body, unpacked.
    pub bytes: Vec<u8>,
    /// Its spans, in the order in which they were sent.
    pub spans: Vec<Span>,
}

impl Delivered {
    /// The span that was sent last, which has to be the root.
    #[track_caller]
    pub fn root(&self) -> &Span {
        self.spans.last().expect("a trace has spans")
    }

    /// The spans of this name, in the order in which they began.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        let mut found: Vec<&Span> = self.spans.iter().filter(|s| s.name == name).collect();
        found.sort_by_key(|s| s.start_time_unix_nano);
        found
    }

    /// The attempts to get an answer from a model, in the order in which they began.
    pub fn chats(&self) -> Vec<&Span> {
        let mut found: Vec<&Span> = self.spans.iter().filter(|s| s.name.starts_with("chat ")).collect();
        found.sort_by_key(|s| s.start_time_unix_nano);
        found
    }
}

/// A text attribute, or an empty text.
pub fn text(span: &Span, name: &str) -> String {
    match value(span, name) {
        Some(Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

/// An attribute that is a number.
pub fn number(span: &Span, name: &str) -> Option<f64> {
    match value(span, name) {
        Some(Value::IntValue(n)) => Some(n as f64),
        Some(Value::DoubleValue(x)) => Some(x),
        _ => None,
    }
}

fn value(span: &Span, name: &str) -> Option<Value> {
    attributes(&span.attributes).remove(name)
}

fn attributes(list: &[KeyValue]) -> HashMap<String, Value> {
    let pair = |kv: &KeyValue| match &kv.value {
        Some(AnyValue { value: Some(value) }) => Some((kv.key.clone(), value.clone())),
        _ => None,
    };
    list.iter().filter_map(pair).collect()
}

/// True when its status says so.
pub fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|s| s.code() == StatusCode::Error)
}

/// A running collector; it ends when dropped.
pub struct Collector {
    port: u16,
    got: Arc<Mutex<Vec<Delivered>>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Starts on a free port of this machine.
    pub async fn start() -> Self {
        let got = Arc::default();
        let app = Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&got));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { port, got, task }
    }

    /// What to set as endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything so far, in order.
    pub fn got(&self) -> Vec<Delivered> {
        self.got.lock().expect("no handler panics with it").clone()
    }

    /// The traces whose root has this name, in the order in which they began.
    pub fn traces(&self, root: &str) -> Vec<Delivered> {
        let mut found: Vec<Delivered> = self.got().into_iter().filter(|d| d.root().name == root).collect();
        found.sort_by_key(|d| d.root().start_time_unix_nano);
        found
    }
}

async fn receive(State(got): State<Arc<Mutex<Vec<Delivered>>>>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["content-encoding"], "gzip");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut bytes).expect("gzip");
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("a request of OTLP");
    let spans =
        request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect();
    got.lock().expect("no handler panics with it").push(Delivered { headers, bytes, spans });
}
