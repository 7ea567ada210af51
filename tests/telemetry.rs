//! From span to collector: nothing is lost, nothing is reordered, nothing is told to whom it does not concern.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fretcoach::cli::history::Format;
use fretcoach::cli::traces::{self, TracesArgs};
use fretcoach::config::{self, Secret};
use fretcoach::names::{attr, op, span as step};
use fretcoach::span::{Kind, SpanExt, Thread};
use fretcoach::store::{SpanFilter, SpanStatus, Store, StoredTrace};
use fretcoach::telemetry::{self, About, Log, Patience, Telemetry};
use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tracing::dispatcher::DefaultGuard;

/// Set in the environment of a copy of this test program that does the other half of a test.
const CHILD: &str = "FRETCOACH_TEST_TELEMETRY_CHILD";

/// Far longer than anything here takes: only a failing test waits for it.
const LONG: Duration = Duration::from_secs(20);

/// One request as the collector got it.
#[derive(Clone, Debug)]
struct Received {
    headers: HeaderMap,
    resource: HashMap<String, Value>,
    spans: Vec<Span>,
}

/// A real collector: HTTP, gzip, protobuf. Answers as told, then with 200.
#[derive(Clone, Default)]
struct Collector {
    got: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    requests: Arc<Mutex<usize>>,
}

impl Collector {
    async fn start(&self, address: Option<SocketAddr>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router =
            axum::Router::new().route("/v1/traces", axum::routing::post(receive)).with_state(self.clone());
        (address, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
    }

    fn answer(&self, answers: impl IntoIterator<Item = (u16, &'static str)>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn got(&self) -> Vec<Received> {
        self.got.lock().unwrap().clone()
    }

    /// Name of the root of each trace taken, in order.
    fn roots(&self) -> Vec<String> {
        self.got().iter().map(|r| r.spans.last().unwrap().name.clone()).collect()
    }
}

async fn receive(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    *collector.requests.lock().unwrap() += 1;
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut plain).unwrap();
    let request = ExportTraceServiceRequest::decode(plain.as_slice()).unwrap();
    let answer = collector.answers.lock().unwrap().pop_front();
    let status = StatusCode::from_u16(answer.map_or(200, |a| a.0)).unwrap();
    if status.is_success() {
        let [resource] = request.resource_spans.as_slice() else { panic!("one resource a request") };
        collector.got.lock().unwrap().push(Received {
            headers,
            resource: attributes(&resource.resource.as_ref().unwrap().attributes),
            spans: resource.scope_spans.iter().flat_map(|s| s.spans.clone()).collect(),
        });
    }
    (status, answer.map_or("", |a| a.1).into())
}

fn attributes(list: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> HashMap<String, Value> {
    list.iter().filter_map(|kv| Some((kv.key.clone(), kv.value.clone()?.value?))).collect()
}

fn about(log: Log) -> About {
    About {
        env: "development".into(),
        deployment: "fretcoach-studio".into(),
        log,
        secrets: vec![Secret::new("sk-very-secret-key"), Secret::default()],
        patience: Patience {
            request: Duration::from_secs(5),
            first_retry: Duration::from_millis(5),
            longest_retry: Duration::from_millis(20),
            poll: Duration::from_millis(50),
        },
    }
}

fn to(address: SocketAddr) -> config::Telemetry {
    config::Telemetry { otlp_endpoint: format!("http://{address}"), ..config::Telemetry::default() }
}

/// Telemetry for this thread alone.
async fn begin(config: &config::Telemetry, about: &About, store: &Store) -> (Telemetry, DefaultGuard) {
    let (telemetry, dispatch) = telemetry::start(config, about, store.clone()).await.unwrap();
    (telemetry, tracing::dispatcher::set_default(&dispatch))
}

fn thread() -> Thread {
    Thread::new("01a0-live-aicoach-feedback", "ada", vec!["fretcoach-core".into()])
}

/// An operation as the coach makes one: a root, two steps, a model call inside the second.
fn advise(thread: &Thread, name: &str) {
    let root = thread.root(name, Kind::Chain, &["live-feedback"]);
    root.input_text("window 3");
    drop(thread.child(&root, step::METRICS_SNAPSHOT, Kind::Tool));
    let prompt = thread.child(&root, step::PROMPT_RENDER, Kind::Tool);
    let call = thread.client(&prompt, "chat gpt-4o-mini", Kind::Llm);
    call.put(attr::LLM_MODEL, "gpt-4o-mini");
    call.put(attr::INPUT_TOKENS, 120_i64);
    call.put(attr::OUTPUT_TOKENS, 24_i64);
    call.put(attr::LLM_COST_TOTAL, 0.000_032_4);
    call.put(attr::TTFT_MS, 210.0);
    call.put("llm.input_messages.0.message.content", "You are a coach");
    drop(call);
    drop(prompt);
    root.output_text("Slow down.");
}

async fn stored(store: &Store) -> Vec<StoredTrace> {
    let mut traces = Vec::new();
    for row in store.traces(&SpanFilter { thread: None, limit: 1000 }).await.unwrap() {
        traces.push(store.trace(&row.trace_id).await.unwrap());
    }
    traces
}

/// In every trace: one root, and every parent is there.
fn assert_whole(traces: &[StoredTrace]) {
    for StoredTrace { trace, spans } in traces {
        let ids: HashSet<&str> = spans.iter().map(|s| s.span_id.as_str()).collect();
        assert_eq!(ids.len(), spans.len());
        assert_eq!(spans.iter().filter(|s| s.parent_id.is_none()).count(), 1, "{trace:?}");
        for span in spans {
            assert!(span.parent_id.as_deref().is_none_or(|p| ids.contains(p)), "{span:?} lacks its parent");
        }
    }
}

#[tokio::test]
async fn no_span_lacks_its_parent_not_even_while_it_lasts() {
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&config::Telemetry::default(), &about(Log::Off), &store).await;
    let thread = thread();
    let session = thread.root(op::SESSION, Kind::Chain, &[]);
    advise(&thread, op::LIVE_FEEDBACK);
    advise(&thread.under(&session), op::LIVE_FEEDBACK);
    assert!(telemetry.flush(LONG).await.stored);
    let open = stored(&store).await;
    assert_whole(&open);
    assert_eq!(open.iter().filter(|t| t.trace.ended_at.is_none()).count(), 1, "the session's");

    drop(session);
    assert!(telemetry.shutdown(LONG).await.stored);
    let done = stored(&store).await;
    assert_whole(&done);
    let mut sizes: Vec<(&str, usize)> = done.iter().map(|t| (t.trace.name.as_str(), t.spans.len())).collect();
    sizes.sort_unstable();
    // Layout `operation` and layout `session`: a trace of its own, and a part of the session's.
    assert_eq!(sizes, [(op::LIVE_FEEDBACK, 4), (op::SESSION, 5)]);
    assert!(done.iter().all(|t| t.trace.thread.as_deref() == Some(thread.id())));
    assert!(
        done.iter().flat_map(|t| &t.spans).all(|s| s.status == SpanStatus::Unset && s.ended_at.is_some())
    );
}

#[tokio::test]
async fn a_collector_gets_whole_traces_children_first() {
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    for name in ["one", "two", "three"] {
        advise(&thread(), name);
    }
    let flushed = telemetry.shutdown(LONG).await;
    assert!(flushed.stored && flushed.delivered);
    assert_eq!(collector.roots(), ["one", "two", "three"]);
    for Received { spans, resource, .. } in collector.got() {
        assert_eq!(spans.len(), 4);
        assert!(spans[3].parent_span_id.is_empty(), "the root is last");
        for (n, span) in spans.iter().enumerate() {
            assert!(
                span.trace_id == spans[3].trace_id && span.end_time_unix_nano >= span.start_time_unix_nano
            );
            let parent = spans.iter().position(|p| p.span_id == span.parent_span_id);
            assert!(parent.is_some_and(|p| p > n) || n == 3, "{} comes before its parent", span.name);
            let has = attributes(&span.attributes);
            assert_eq!(has[attr::USER_ID], Value::StringValue("ada".into()));
            assert_eq!(has[attr::SESSION_ID], has[attr::CONVERSATION_ID]);
        }
        let call = spans.iter().find(|s| s.name == "chat gpt-4o-mini").unwrap();
        assert_eq!(call.kind, 3, "CLIENT");
        assert_eq!(attributes(&call.attributes)[attr::INPUT_TOKENS], Value::IntValue(120));
        for key in ["service.version", "service.instance.id", "telemetry.sdk.language"] {
            assert!(resource.contains_key(key), "{key}");
        }
        assert_eq!(resource["service.name"], Value::StringValue("fretcoach".into()));
        assert_eq!(resource["openinference.project.name"], Value::StringValue("fretcoach".into()));
        assert_eq!(resource["deployment.environment.name"], Value::StringValue("development".into()));
    }
}

#[tokio::test]
async fn an_outage_loses_nothing_reorders_nothing_and_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("fretcoach.log");
    let store = Store::open_in(dir.path()).await.unwrap();
    // An address where nobody listens: bound once, so that nobody else gets it meanwhile.
    let address = {
        let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        held.local_addr().unwrap()
    };
    let collector = Collector::default();
    let (telemetry, _here) = begin(&to(address), &about(Log::File(log.clone())), &store).await;
    let names: Vec<String> = (0..8).map(|n| format!("advice {n}")).collect();
    for name in &names[..3] {
        advise(&thread(), name);
    }
    for _ in 0..4 {
        let flushed = telemetry.flush(LONG).await;
        assert!(flushed.stored && !flushed.delivered);
    }
    assert_eq!(telemetry.stats().pending, 3);
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("they are kept"), "{said}");

    // It is back, at first too busy: then everything comes, in order.
    collector.answer([(503, "starting"), (429, "slow down"), (200, ""), (502, ""), (500, "oops")]);
    collector.start(Some(address)).await;
    for name in &names[3..] {
        advise(&thread(), name);
    }
    while telemetry.stats().delivered < names.len() as u64 {
        telemetry.flush(LONG).await;
    }
    assert_eq!(collector.roots(), names);
    assert_eq!(telemetry.stats().parked, 0);
    let said = std::fs::read_to_string(&log).unwrap();
    // One outage ended with the first 200, a second one began with the 502.
    assert_eq!(said.matches("takes no traces").count(), 2, "{said}");
    assert_eq!(said.matches("answers again").count(), 2, "{said}");
    telemetry.shutdown(LONG).await;
}

#[tokio::test]
async fn a_refused_trace_is_put_aside_with_the_answer_and_can_be_sent_again() {
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    collector.answer([(200, ""), (422, "span 2 has no name; key sk-very-secret-key")]);
    for name in ["first", "refused", "third"] {
        advise(&thread(), name);
    }
    assert!(telemetry.flush(LONG).await.delivered, "the others do not wait for it");
    assert_eq!(collector.roots(), ["first", "third"]);
    let stats = telemetry.stats();
    assert_eq!((stats.delivered, stats.parked, stats.pending, stats.dropped), (2, 1, 0, 0));

    let show = |trace: Option<&str>, format| {
        let args = TracesArgs { trace: trace.map(Into::into), session: None, limit: 20, format };
        let store = store.clone();
        async move { traces::run_in(&store, &args, &TimeZone::UTC).await.unwrap() }
    };
    let list = show(None, Format::Text).await;
    assert!(list.contains("refused with 422") && list.matches("otlp: delivered").count() == 2, "{list}");
    let json: serde_json::Value = serde_json::from_str(&show(None, Format::Json).await).unwrap();
    let refused = json["traces"].as_array().unwrap().iter().find(|t| t["name"] == "refused").unwrap();
    assert_eq!(refused["delivery"][0]["state"], "parked");
    assert_eq!(refused["delivery"][0]["answer"], "span 2 has no name; key [redacted]");
    let tree = show(refused["trace_id"].as_str(), Format::Text).await;
    assert!(tree.contains("span 2 has no name"), "{tree}");

    assert!(show(Some("retry"), Format::Text).await.contains("1 refused trace"));
    assert!(telemetry.flush(LONG).await.delivered);
    assert_eq!(collector.roots(), ["first", "third", "refused"]);
    assert!(!show(None, Format::Text).await.contains("refused with"));
    telemetry.shutdown(LONG).await;
}

#[tokio::test]
async fn a_trace_on_which_the_server_always_fails_does_not_hold_up_the_others() {
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    collector.answer((0..8).map(|_| (500, "it hurts")));
    for name in ["bad", "good"] {
        advise(&thread(), name);
    }
    while telemetry.stats().delivered < 1 {
        telemetry.flush(LONG).await;
    }
    assert_eq!(collector.roots(), ["good"]);
    assert_eq!(telemetry.stats().parked, 1);
    telemetry.shutdown(LONG).await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    {
        let store = Store::open_in(dir.path()).await.unwrap();
        let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
        advise(&thread(), "one");
        assert!(telemetry.flush(LONG).await.delivered);
        // More than any number of retries within this test.
        collector.answer(std::iter::repeat_n((503, "closed"), 10_000));
        advise(&thread(), "two");
        advise(&thread(), "three");
        assert!(!telemetry.shutdown(LONG).await.delivered);
    }
    collector.answers.lock().unwrap().clear();
    let store = Store::open_in(dir.path()).await.unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    advise(&thread(), "four");
    assert!(telemetry.shutdown(LONG).await.delivered);
    assert_eq!(collector.roots(), ["one", "two", "three", "four"], "in order, none twice");
    let instances: HashSet<String> =
        collector.got().iter().map(|r| format!("{:?}", r.resource["service.instance.id"])).collect();
    assert_eq!(instances.len(), 2, "each trace bears the process that made it");
}

#[tokio::test]
async fn a_backend_set_later_gets_what_comes_later() {
    let store = Store::memory().await.unwrap();
    let (telemetry, here) = begin(&config::Telemetry::default(), &about(Log::Off), &store).await;
    advise(&thread(), "before");
    assert!(telemetry.shutdown(LONG).await.delivered);
    drop(here);
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    advise(&thread(), "after");
    telemetry.shutdown(LONG).await;
    assert_eq!(collector.roots(), ["after"]);
}

#[tokio::test]
async fn secrets_and_content_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("fretcoach.log");
    let store = Store::memory().await.unwrap();
    let config = config::Telemetry {
        capture_content: false,
        otlp_headers: Secret::new("authorization=Bearer%20header-secret,x-project=fretcoach"),
        ..config::Telemetry::default()
    };
    let (telemetry, _here) = begin(&config, &about(Log::File(log.clone())), &store).await;
    let error = std::io::Error::other("401 for Bearer sk-very-secret-key and header-secret");
    let root = thread().root(op::LIVE_FEEDBACK, Kind::Chain, &[]);
    root.fail("unauthorized", &error);
    root.put(attr::FALLBACK_REASON, "sk-very-secret-key was refused");
    drop(root);
    advise(&thread(), "advice");
    tracing::warn!("the key sk-very-secret-key was refused");
    assert!(telemetry.shutdown(LONG).await.stored);
    let traces = stored(&store).await;
    let all = format!("{traces:?}");
    assert!(!all.contains("sk-very-secret-key") && !all.contains("header-secret"), "{all}");
    assert!(all.contains("401 for Bearer [redacted] and [redacted]"), "{all}");
    for gone in ["Slow down", "You are a coach", "window 3"] {
        assert!(!all.contains(gone), "{gone}");
    }
    for kept in [attr::LLM_MODEL, attr::INPUT_TOKENS, attr::OUTPUT_MIME, "fretcoach"] {
        assert!(all.contains(kept), "{kept}");
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("the key [redacted] was refused") && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn a_full_queue_drops_counts_and_leaves_whole_traces() {
    let store = Store::memory().await.unwrap();
    let config = config::Telemetry { queue: 16, ..config::Telemetry::default() };
    let (telemetry, _here) = begin(&config, &about(Log::Off), &store).await;
    // Nothing is awaited meanwhile, so nothing leaves the queue.
    let mut made = 0;
    for n in 0..5 {
        let thread = thread();
        let root = thread.root(&format!("op {n}"), Kind::Chain, &[]);
        let mut chain = vec![root];
        for _ in 0..20 {
            chain.push(thread.child(chain.last().unwrap(), "deeper", Kind::Tool));
        }
        made += chain.len() as u64;
    }
    assert!(telemetry.flush(LONG).await.stored);
    let stats = telemetry.stats();
    assert!(stats.dropped > 0, "{stats:?}");
    assert_eq!(stats.stored + stats.dropped, made, "{stats:?}");
    let traces = stored(&store).await;
    assert_whole(&traces);
    assert_eq!(traces.iter().filter(|t| t.trace.ended_at.is_some()).count(), 5, "roots find room");
    assert!(traces.iter().flat_map(|t| &t.spans).any(|s| s.lost_parent_id.is_some()), "the loss is marked");
    telemetry.shutdown(LONG).await;
}

/// Makes a trace and is killed in the middle of it. Does nothing in an ordinary run.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(settings) = std::env::var(CHILD).ok() else { return };
    let (folder, address) = settings.split_once('|').unwrap();
    let store = Store::open_in(Path::new(folder)).await.unwrap();
    let (telemetry, _here) = begin(&to(address.parse().unwrap()), &about(Log::Off), &store).await;
    let thread = thread();
    let root = thread.root(op::LIVE_FEEDBACK, Kind::Chain, &["live-feedback"]);
    drop(thread.child(&root, step::METRICS_SNAPSHOT, Kind::Tool));
    let _call = thread.client(&root, "chat gpt-4o-mini", Kind::Llm);
    assert!(telemetry.flush(LONG).await.stored);
    println!("stored");
    std::future::pending().await
}

#[tokio::test]
async fn a_killed_process_trace_is_closed_and_delivered_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env(CHILD, format!("{}|{address}", dir.path().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let told = tokio::task::spawn_blocking(|| {
        std::io::BufRead::lines(out).map_while(Result::ok).any(|line| line.contains("stored"))
    });
    assert!(told.await.unwrap());

    let store = Store::open_in(dir.path()).await.unwrap();
    {
        let (telemetry, _here) = begin(&config::Telemetry::default(), &about(Log::Off), &store).await;
        assert!(stored(&store).await[0].trace.ended_at.is_none(), "the process still runs");
        telemetry.shutdown(LONG).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    assert!(telemetry.shutdown(LONG).await.delivered);
    let traces = stored(&store).await;
    assert_whole(&traces);
    let [received] = &collector.got()[..] else { panic!("one trace") };
    assert_eq!(received.spans.len(), 3);
    let root = received.spans.last().unwrap();
    assert_eq!(attributes(&root.attributes)[attr::USER_ID], Value::StringValue("ada".into()));
    for span in &received.spans {
        let status = span.status.clone().unwrap_or_default();
        if span.name == step::METRICS_SNAPSHOT {
            assert_eq!(status.code, 0, "it had ended well");
        } else {
            assert_eq!((status.code, status.message.as_str()), (2, "process ended"));
        }
    }
}

/// Runs with `OTEL_*` variables that must not be obeyed. Does nothing in an ordinary run.
#[tokio::test]
async fn child_with_an_environment() {
    let Some(address) = std::env::var(CHILD).ok() else { return };
    let store = Store::memory().await.unwrap();
    let config = config::Telemetry {
        otlp_headers: Secret::new("authorization=Bearer%20mine,x-project-name=fretcoach"),
        ..to(address.parse().unwrap())
    };
    let (telemetry, _here) = begin(&config, &about(Log::Off), &store).await;
    advise(&thread(), "advice");
    assert!(telemetry.shutdown(LONG).await.delivered);
}

#[tokio::test]
async fn headers_are_our_own_and_go_to_our_endpoint_alone() {
    let collector = Collector::default();
    let (address, _) = collector.start(None).await;
    let other = Collector::default();
    let (other_address, _) = other.start(None).await;
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "child_with_an_environment"])
        .env(CHILD, address.to_string())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20theirs,x-leak=1")
        .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-leak-too=1")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{other_address}/v1/traces"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .env("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1");
    let output = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(*other.requests.lock().unwrap(), 0);
    let [received] = &collector.got()[..] else { panic!("one trace") };
    assert_eq!(received.headers["authorization"], "Bearer mine");
    assert_eq!(received.headers["x-project-name"], "fretcoach");
    assert!(!received.headers.keys().any(|name| name.as_str().contains("leak")), "{:?}", received.headers);
    assert_eq!(received.spans.len(), 4);
}

#[tokio::test]
async fn a_redirect_carries_nothing_to_another_host() {
    let other = Collector::default();
    let (other_address, _) = other.start(None).await;
    let router = axum::Router::new().route(
        "/v1/traces",
        axum::routing::post(move || async move {
            axum::response::Redirect::temporary(&format!("http://{other_address}/v1/traces"))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&to(address), &about(Log::Off), &store).await;
    advise(&thread(), "advice");
    telemetry.shutdown(LONG).await;
    assert_eq!(*other.requests.lock().unwrap(), 0);
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let store = Store::memory().await.unwrap();
    for (endpoint, headers, says) in [
        ("collector", "", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("http://localhost:4318", "secret-without-name", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let config = config::Telemetry {
            otlp_endpoint: endpoint.into(),
            otlp_headers: Secret::new(headers),
            ..config::Telemetry::default()
        };
        let error = telemetry::start(&config, &about(Log::Off), store.clone()).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(headers.is_empty() || !error.to_string().contains(headers));
    }
}

#[tokio::test]
async fn traces_print_as_a_tree() {
    let store = Store::memory().await.unwrap();
    let (telemetry, _here) = begin(&config::Telemetry::default(), &about(Log::Off), &store).await;
    let empty = traces::run(&store, &args(None)).await.unwrap();
    assert!(empty.contains("fretcoach practice"), "{empty}");
    let thread = thread();
    let root = thread.root(op::LIVE_FEEDBACK, Kind::Chain, &[]);
    advise(&thread.under(&root), "inner");
    let failed = thread.client(&root, "chat slow-model", Kind::Llm);
    failed.fail("timeout", &std::io::Error::other("no first token within 6s"));
    drop(failed);
    drop(root);
    telemetry.shutdown(LONG).await;
    let tree = traces::run_in(&store, &args(Some("latest")), &TimeZone::UTC).await.unwrap();
    insta::assert_snapshot!("trace_tree", masked(&tree));
}

/// Without what differs from run to run: ids, times, durations. Numbers become `#`.
fn masked(tree: &str) -> String {
    let lines = tree.lines().filter(|l| !l.starts_with("Begun") && !l.starts_with("Trace"));
    let mut text = String::new();
    for c in lines.flat_map(|l| l.chars().chain(['\n'])) {
        let number = c.is_ascii_digit() || (c == '.' && text.ends_with('#'));
        if !number {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}

fn args(trace: Option<&str>) -> TracesArgs {
    TracesArgs { trace: trace.map(Into::into), session: None, limit: 20, format: Format::Text }
}
