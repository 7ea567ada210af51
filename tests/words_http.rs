//! The coach with model and voice behind real HTTP: what it asks, in which order it falls back, what it keeps,
//! what its traces say, and what they never say.

#[path = "common/openai_server.rs"]
mod openai_server;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fretcoach::coach::{
    self, AdviceRecord, CoachContext, CoachEvent, CoachHandle, FakeSpeaker, Parts, WindowSnapshot,
};
use fretcoach::config::{Config, Fallback, Secret};
use fretcoach::names::{attr, op, span};
use fretcoach::practice::types::{Facts, Metric, Scores, Summary, Tendency, Window};
use fretcoach::span::{TARGET, Thread};
use openai_server::{RATE, Reply, Server, Step, tone};
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

const KEY: &str = "sk-test-4f9a1c";
const ZERO: Duration = Duration::ZERO;
/// Limit for servers that hang by script.
const SHORT: Duration = Duration::from_millis(700);
const THREAD: &str = "s1-live-aicoach-feedback";

/// Keeps every span that ends.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Spans {
    fn named(&self, name: &str) -> Vec<SpanData> {
        self.0.lock().unwrap().iter().filter(|s| s.name == name).cloned().collect()
    }

    fn one(&self, name: &str) -> SpanData {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name}");
        found.into_iter().next().unwrap()
    }

    fn chats(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().iter().filter(|s| s.name.starts_with("chat ")).cloned().collect()
    }
}

fn value<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|a| a.key.as_str() == name).map(|a| &a.value)
}

fn text(span: &SpanData, name: &str) -> String {
    value(span, name).map(|v| v.as_str().into_owned()).unwrap_or_default()
}

fn failed(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

/// A session with a coach.
struct Session {
    coach: CoachHandle,
    events: mpsc::UnboundedReceiver<CoachEvent>,
    speaker: FakeSpeaker,
    spans: Spans,
    told: Vec<CoachEvent>,
    _pause: watch::Sender<bool>,
    _collector: tracing::subscriber::DefaultGuard,
}

fn config(server: &Server) -> Config {
    let mut config = Config::default();
    config.llm.base_url = server.base_url() + "/";
    config.llm.api_key = Secret::new(KEY);
    config.llm.model = "first".into();
    // Generous: a busy machine must not turn an answer into a time-out. Tests that hang set SHORT.
    config.llm.first_token_timeout = Duration::from_secs(20);
    config.llm.timeout = Duration::from_secs(30);
    config.llm.prices = vec!["first=1/10".into()];
    config.speech.engine = vec!["openai".into()];
    config.speech.base_url = server.base_url();
    config.speech.first_byte_timeout = Duration::from_secs(20);
    config.practice.bpm = 90.0;
    config
}

fn with_fallbacks(mut config: Config, models: &[&str]) -> Config {
    config.llm.fallbacks = models
        .iter()
        .map(|m| Fallback { model: (*m).into(), base_url: String::new(), api_key: Secret::default() })
        .collect();
    config
}

impl Session {
    fn begin(config: &Config) -> Self {
        Self::with(config, FakeSpeaker::default())
    }

    fn with(config: &Config, speaker: FakeSpeaker) -> Self {
        let spans = Spans::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("test"))
            .with_filter(Targets::new().with_target(TARGET, tracing::Level::TRACE));
        let collector = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let (events, receiver) = mpsc::unbounded_channel();
        let (pause, in_pause) = watch::channel(true);
        let context = CoachContext {
            session_id: "s1".into(),
            thread: Thread::new(THREAD, "anna", vec!["fretcoach-core".into(), "manual-mode".into()]),
            practice: config.practice.clone(),
            scale_name: Some("A minor pentatonic".into()),
            scale_notes: ["A", "C", "D", "E", "G"].map(String::from).to_vec(),
            seed: 7,
        };
        let (parts, lines) = Parts::from_config(config, context, Arc::new(speaker.clone()), in_pause, events);
        assert_eq!(lines, [""; 0]);
        let (coach, actor) = coach::channel(parts);
        tokio::spawn(actor.run());
        Self { coach, events: receiver, speaker, spans, told: vec![], _pause: pause, _collector: collector }
    }

    async fn until(&mut self, found: impl Fn(&CoachEvent) -> bool) -> CoachEvent {
        if let Some(event) = self.told.iter().find(|e| found(e)) {
            return event.clone();
        }
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
            let event = event.await.expect("the coach says something").expect("the coach lives");
            self.told.push(event.clone());
            if found(&event) {
                return event;
            }
        }
    }

    async fn advice(&mut self) -> AdviceRecord {
        match self.until(|e| matches!(e, CoachEvent::Advice(_))).await {
            CoachEvent::Advice(record) => *record,
            _ => unreachable!(),
        }
    }

    /// The voice has come to an end, good or bad, and so have all spans.
    async fn voice(&mut self) -> CoachEvent {
        let event =
            self.until(|e| matches!(e, CoachEvent::Spoken { .. } | CoachEvent::SpeechFailed { .. })).await;
        while self.spans.named(op::LIVE_COACH_TTS).is_empty() {
            tokio::task::yield_now().await;
        }
        event
    }

    /// Everything that leaves the process by traces and events, as one text.
    fn everything(&self) -> String {
        format!("{:?}\n{:?}", self.spans.0.lock().unwrap(), self.told)
    }
}

fn window(index: u32) -> WindowSnapshot {
    let window = Window {
        index,
        start: f64::from(index) * 30.0,
        end: f64::from(index + 1) * 30.0,
        scores: Scores {
            pitch_accuracy: Some(61.0),
            scale_conformity: Some(88.0),
            timing_stability: Some(94.0),
            noise_control: None,
            overall: Some(79.0),
        },
        facts: Facts {
            note_count: 42,
            mean_abs_cents: Some(14.0),
            worst_note: Some(("G".into(), 22.0)),
            timing_sd_ms: Some(11.0),
            tendency: Some(Tendency::Steady),
            ..Facts::default()
        },
        weakest: Some(Metric::PitchAccuracy),
        strongest: Some(Metric::TimingStability),
    };
    let hop_stats = vec![KeyValue::new(attr::HOP_P95_NS, 41_000_i64)];
    WindowSnapshot { window, closed_at: Instant::now(), hop_stats }
}

fn says(t: &str) -> Reply {
    Reply::says(t, ZERO)
}

fn sentence(t: &str) -> Step {
    Step::Text(t.into())
}

#[tokio::test]
async fn models_are_asked_in_order_and_every_attempt_is_a_span() {
    let server = Server::start().await;
    server.on_chat(Reply::status(429, "slow down"));
    server.on_chat(Reply::hang());
    server.on_chat(Reply::status(500, "out of memory"));
    server.on_chat(says("Timing is tight at 94. Ease your grip on G."));
    let mut config = with_fallbacks(config(&server), &["second", "third", "fourth"]);
    config.llm.first_token_timeout = SHORT;
    let mut session = Session::begin(&config);
    session.coach.window(window(3));
    let record = session.advice().await;
    session.voice().await;
    assert_eq!(server.models(), ["first", "second", "third", "fourth"]);
    assert_eq!(
        (record.source.as_str(), record.text.as_str()),
        ("fourth", "Timing is tight at 94. Ease your grip on G.")
    );

    let chats = session.spans.chats();
    let names: Vec<&str> = chats.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["chat first", "chat second", "chat third", "chat fourth"]);
    let errors: Vec<String> = chats.iter().map(|s| text(s, attr::ERROR_TYPE)).collect();
    assert_eq!(errors, ["rate_limited", "timeout", "server_error", ""]);
    let reasons: Vec<String> = chats.iter().map(|s| text(s, attr::FALLBACK_REASON)).collect();
    assert_eq!(reasons, ["", "rate_limited", "timeout", "server_error"]);
    for (i, s) in chats.iter().enumerate() {
        assert_eq!(value(s, attr::ATTEMPT), Some(&Value::I64(i as i64 + 1)));
        assert_eq!((failed(s), s.span_kind.clone()), (i < 3, SpanKind::Client));
    }
    let root = session.spans.one(op::LIVE_FEEDBACK);
    assert!(!failed(&root), "the player got advice");
    assert_eq!(record.trace_id, Some(root.span_context.trace_id().to_string()));
}

#[tokio::test]
async fn advice_and_voice_are_traces_of_their_own_with_all_that_happened() {
    let server = Server::start().await;
    server.on_chat(says("Timing is tight at 94. Ease your grip on C#."));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    let record = session.advice().await;
    let spoken = session.voice().await;
    assert!(matches!(spoken, CoachEvent::Spoken { id: 1, interrupted: false, .. }), "{spoken:?}");

    let root = session.spans.one(op::LIVE_FEEDBACK);
    let voice = session.spans.one(op::LIVE_COACH_TTS);
    assert_ne!(root.span_context.trace_id(), voice.span_context.trace_id());
    assert_eq!(text(&voice, attr::LINKED_TRACE), root.span_context.trace_id().to_string());
    assert_eq!(text(&voice, attr::LINKED_SPAN), root.span_context.span_id().to_string());
    assert_eq!(voice.links.iter().count(), 1);

    let all = session.spans.0.lock().unwrap().clone();
    let ids: HashSet<SpanId> = all.iter().map(|s| s.span_context.span_id()).collect();
    let trace: HashMap<SpanId, _> =
        all.iter().map(|s| (s.span_context.span_id(), s.span_context.trace_id())).collect();
    for s in &all {
        let is_root = [op::LIVE_FEEDBACK, op::LIVE_COACH_TTS].contains(&&*s.name);
        assert_eq!(is_root, s.parent_span_id == SpanId::INVALID, "{}", s.name);
        assert!(is_root || ids.contains(&s.parent_span_id), "{} lacks its parent", s.name);
        assert!(is_root || trace[&s.parent_span_id] == s.span_context.trace_id());
        assert_eq!(text(s, attr::SESSION_ID), THREAD, "{}", s.name);
        assert_eq!(text(s, attr::USER_ID), "anna", "{}", s.name);
        assert!(s.end_time >= s.start_time);
    }
    let tags = |s: &SpanData| value(s, attr::TAGS).map(ToString::to_string).unwrap_or_default();
    for tag in ["fretcoach-core", "manual-mode", "live-coach", "live-feedback"] {
        assert!(tags(&root).contains(tag), "{tag}");
    }
    assert!(tags(&voice).contains("tts") && !tags(&voice).contains("live-feedback"));

    assert_eq!(text(&root, attr::OUTPUT), record.text);
    assert!(text(&root, attr::INPUT).contains("\"note_count\":42"));
    assert_eq!(text(&root, attr::WEAKEST), "pitch_accuracy");
    assert!(value(&root, "fretcoach.score.noise_control").is_none(), "not measured, not told");
    let snapshot = session.spans.one(span::METRICS_SNAPSHOT);
    assert_eq!(value(&snapshot, attr::HOP_P95_NS), Some(&Value::I64(41_000)));
    let prompt = session.spans.one(span::PROMPT_RENDER);
    assert_eq!(text(&prompt, attr::PROMPT_NAME), "live-feedback");
    assert_eq!(text(&prompt, attr::PROMPT_HASH).len(), 64);

    let chat = session.spans.one("chat first");
    assert_eq!(text(&chat, attr::RESPONSE_MODEL), "server-model");
    assert_eq!(text(&chat, attr::PROMPT_VERSION), text(&prompt, attr::PROMPT_VERSION));
    assert_eq!(value(&chat, attr::INPUT_TOKENS), Some(&Value::I64(200)));
    assert_eq!(value(&chat, attr::LLM_TOKENS_TOTAL), Some(&Value::I64(220)));
    assert_eq!(value(&chat, attr::LLM_COST_TOTAL), Some(&Value::F64(0.0004)));
    assert!(value(&chat, attr::TIME_TO_FIRST_CHUNK).is_some());
    assert_eq!(text(&chat, "llm.output_messages.0.message.content"), record.text);
    assert_eq!(record.cost_usd, Some(0.0004));

    let requests = session.spans.named(span::TTS_REQUEST);
    let inputs: Vec<String> = requests.iter().map(|s| text(s, attr::INPUT)).collect();
    assert_eq!(inputs, ["Timing is tight at 94.", "Ease your grip on C sharp."], "as it is said");
    assert_eq!(server.spoken(), inputs);
    for s in &requests {
        assert_eq!(value(s, attr::TTS_BYTES), Some(&Value::I64(tone(0.2).len() as i64)));
        assert!(value(s, attr::TTFB_MS).is_some() && value(s, attr::TTS_CHARS).is_some());
    }
    let playback = session.spans.one(span::TTS_PLAYBACK);
    assert_eq!(value(&playback, attr::TTS_INTERRUPTED), Some(&Value::Bool(false)));
    assert!(
        value(&playback, attr::FIRST_SAMPLE_MS).is_some() && value(&playback, attr::OUTPUT_PERIOD).is_some()
    );
}

#[tokio::test]
async fn the_voice_speaks_while_the_model_still_writes() {
    let server = Server::start().await;
    // The model goes on only once the first sentence has reached the voice.
    let steps = vec![sentence("Nice pulse."), sentence(" "), Step::UntilSpeech(1), sentence("Ease up on G.")];
    server.on_chat(Reply::chat(steps, true));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    assert_eq!(session.advice().await.text, "Nice pulse. Ease up on G.");
    session.voice().await;
    assert_eq!(server.spoken(), ["Nice pulse.", "Ease up on G."]);
}

#[tokio::test]
async fn pcm_in_odd_pieces_arrives_sample_by_sample() {
    let server = Server::start().await;
    let bytes = tone(0.25);
    server.on_chat(says("Good."));
    server.on_speech(Reply::pcm(&bytes, 481, Duration::from_millis(1)));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    session.voice().await;
    let heard = session.speaker.heard();
    let truth: Vec<f32> =
        bytes.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect();
    assert_eq!((heard[0].rate, heard[0].samples.len()), (RATE, truth.len()));
    assert!(heard[0].samples == truth);
}

#[tokio::test]
async fn an_answer_cut_off_keeps_its_whole_sentences_or_falls_back() {
    let server = Server::start().await;
    server.on_chat(Reply::chat(vec![sentence("Nice pulse. But your"), Step::Cut], false));
    let mut session = Session::begin(&with_fallbacks(config(&server), &["second"]));
    session.coach.window(window(0));
    let record = session.advice().await;
    assert_eq!((record.text.as_str(), record.source.as_str()), ("Nice pulse.", "first"));
    assert!(record.note.unwrap().contains("cut off"));
    assert_eq!(server.models(), ["first"], "nothing is said twice");
    session.voice().await;
    assert_eq!(text(&session.spans.one("chat first"), attr::ERROR_TYPE), "connection");

    server.on_chat(Reply::chat(vec![sentence("Nice pul"), Step::Cut], false));
    server.on_chat(says("Ease up on G."));
    let mut session = Session::begin(&with_fallbacks(config(&server), &["second"]));
    session.coach.window(window(1));
    let record = session.advice().await;
    assert_eq!((record.text.as_str(), record.source.as_str()), ("Ease up on G.", "second"));
}

#[tokio::test]
async fn whatever_the_server_sends_the_player_gets_advice_and_the_span_says_why() {
    let raw = |t: &str| vec![Step::Raw(t.as_bytes().to_vec())];
    let cases = [
        (Reply::status(401, &format!("Incorrect API key provided: {KEY}")), "unauthorized"),
        (Reply::status(403, "no"), "unauthorized"),
        (Reply::status(404, "model not found"), "server_error"),
        (Reply::page(502, &format!("<h1>Bad gateway {KEY}</h1>")), "server_error"),
        (Reply::page(200, "<h1>Log in</h1>"), "bad_response"),
        (Reply::body("text/event-stream", raw("nothing of the kind")), "bad_response"),
        (Reply::body("text/event-stream", raw("data: {not json\n\n")), "bad_response"),
        (Reply::body("text/event-stream", raw("data: {\"hello\":1}\n\n")), "bad_response"),
        (Reply::chat(vec![], true), "bad_response"),
        (
            Reply::body(
                "text/event-stream",
                raw("data: {\"error\":{\"message\":\"busy\",\"code\":429}}\n\n"),
            ),
            "rate_limited",
        ),
        (Reply::chat(vec![Step::Hang], false), "timeout"),
        (Reply::hang(), "timeout"),
    ];
    let server = Server::start().await;
    let mut config = config(&server);
    config.llm.first_token_timeout = SHORT;
    config.speech.engine = vec!["none".into()];
    for (i, (reply, kind)) in cases.into_iter().enumerate() {
        server.on_chat(reply);
        let mut session = Session::begin_without_voice(&config);
        session.coach.window(window(0));
        let record = session.advice().await;
        assert_eq!(record.source, "offline", "case {i}");
        assert!(!record.text.is_empty() && record.note.is_some());
        assert_eq!(
            text(&session.spans.one("chat first"), attr::ERROR_TYPE),
            kind,
            "case {i}: {:?}",
            record.note
        );
        assert!(!session.spans.named(span::OFFLINE_COACH).is_empty());
        let all = session.everything();
        assert!(!all.contains(KEY), "case {i}: the key leaks");
    }
    let gone = server.base_url();
    drop(server);
    config.llm.base_url = gone;
    let mut session = Session::begin_without_voice(&config);
    session.coach.window(window(0));
    assert_eq!(session.advice().await.source, "offline");
    assert_eq!(text(&session.spans.one("chat first"), attr::ERROR_TYPE), "connection");
}

impl Session {
    fn begin_without_voice(config: &Config) -> Self {
        let mut config = config.clone();
        config.speech.engine = vec!["command".into()];
        config.speech.command = vec!["true".into()];
        Self::begin(&config)
    }
}

#[tokio::test]
async fn an_answer_without_end_is_limited_in_time_and_words() {
    let server = Server::start().await;
    let mut config = config(&server);
    config.llm.timeout = SHORT;
    let drip = |w: &str| vec![Step::Wait(Duration::from_millis(30)), sentence(w)];
    let endless = (0..200).flat_map(|_| drip("And")).collect();
    server.on_chat(Reply::chat(endless, true));
    server.on_chat(says("Ease up on G."));
    let mut session = Session::begin(&with_fallbacks(config.clone(), &["second"]));
    session.coach.window(window(0));
    assert_eq!(session.advice().await.source, "second");
    assert!(session.everything().contains("no complete answer within 700ms"));

    config.llm.timeout = Duration::from_secs(30);
    let words: String = (0..120).map(|i| format!("word{i} ")).collect();
    server.on_chat(says(&format!("A fine start. {words}.")));
    let mut session = Session::begin(&config);
    session.coach.window(window(0));
    assert_eq!(session.advice().await.text, "A fine start.");
    session.voice().await;
    assert_eq!(server.spoken().last().unwrap(), "A fine start.");
}

#[tokio::test]
async fn a_refused_parameter_is_left_out_and_asked_again() {
    let server = Server::start().await;
    server.on_chat(Reply::status(
        400,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
    ));
    server.on_chat(Reply::status(400, "Unsupported value: 'temperature' does not support 0.7"));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    assert_eq!(session.advice().await.source, "first");
    session.voice().await;
    assert_eq!(session.spans.chats().len(), 1, "one attempt");
    let bodies: Vec<_> =
        server.asked().into_iter().filter(|a| a.path.contains("chat")).map(|a| a.body).collect();
    let has = |i: usize, name: &str| bodies[i].get(name).is_some();
    assert!(has(0, "max_tokens") && has(0, "temperature"));
    assert!(!has(1, "max_tokens") && has(1, "max_completion_tokens") && has(1, "temperature"));
    assert!(has(2, "max_completion_tokens") && !has(2, "temperature"));
    session.coach.window(window(1));
    session.until(|e| matches!(e, CoachEvent::Advice(r) if r.id == 2)).await;
    assert_eq!(server.models().len(), 4, "learnt once, not asked wrongly again");
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_understood() {
    let server = Server::start().await;
    let whole = r#"{"id":"x","choices":[{"message":{"role":"assistant","content":"Nice pulse."},"finish_reason":"stop"}]}"#;
    server.on_chat(Reply::body("application/json", vec![Step::Raw(whole.into())]));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    let record = session.advice().await;
    assert_eq!((record.text.as_str(), record.source.as_str()), ("Nice pulse.", "first"));
}

#[tokio::test]
async fn keys_stay_with_their_server() {
    let (main, other) = (Server::start().await, Server::start().await);
    main.on_chat(Reply::status(429, "later"));
    let mut config = config(&main);
    config.llm.fallbacks =
        vec![Fallback { model: "local".into(), base_url: other.base_url(), api_key: Secret::default() }];
    config.speech.base_url = other.base_url();
    let mut session = Session::begin(&config);
    session.coach.window(window(0));
    assert_eq!(session.advice().await.source, "local");
    session.voice().await;
    assert_eq!(main.asked()[0].authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    assert!(other.asked().len() >= 2 && other.asked().iter().all(|a| a.authorization.is_none()));
}

#[tokio::test]
async fn when_speech_fails_the_text_is_kept_and_its_own_trace_fails() {
    let cases = [
        (Reply::status(500, "no voices loaded"), "engine_failed", "no voices loaded"),
        (Reply::status(401, &format!("bad key {KEY}")), "engine_failed", "check the key"),
        (
            Reply::body("application/json", vec![Step::Raw(br#"{"error":"later"}"#.to_vec())]),
            "engine_failed",
            "later",
        ),
        (Reply::page(200, "<p>Log in</p>"), "engine_failed", "Log in"),
        (Reply::body("audio/mpeg", vec![Step::Raw(b"ID3".to_vec())]), "engine_failed", "pcm"),
        (Reply::pcm(&[], 1, ZERO), "engine_failed", "no sound"),
        (Reply::hang(), "timeout", "no sound within"),
    ];
    let server = Server::start().await;
    let mut config = config(&server);
    config.speech.first_byte_timeout = SHORT;
    for (i, (reply, kind, said)) in cases.into_iter().enumerate() {
        server.on_speech(reply);
        let mut session = Session::begin(&config);
        session.coach.window(window(0));
        assert_eq!(session.advice().await.text, "Your timing is tight. Now relax your hand.");
        let CoachEvent::SpeechFailed { reason, .. } = session.voice().await else { panic!("case {i}") };
        assert!(reason.contains(said), "case {i}: {reason}");
        let voice = session.spans.one(op::LIVE_COACH_TTS);
        assert!(failed(&voice) && text(&voice, attr::ERROR_TYPE) == kind, "case {i}");
        assert!(!failed(&session.spans.one(op::LIVE_FEEDBACK)), "the text is not to blame");
        assert!(session.spans.named(span::TTS_PLAYBACK).is_empty(), "nothing to hear");
        assert!(!session.everything().contains(KEY), "case {i}: the key leaks");
    }
}

#[tokio::test]
async fn a_voice_that_breaks_is_followed_by_the_next_engine() {
    let server = Server::start().await;
    let half = tone(0.6);
    server.on_chat(says("Your timing is tight today. Ease up."));
    server.on_speech(Reply::body("audio/pcm", vec![Step::Raw(half.clone()), Step::Cut]));
    let mut config = config(&server);
    config.speech.engine = vec!["openai".into(), "command".into()];
    // Its sound is the text itself: two bytes a sample.
    config.speech.command = vec!["cat".into()];
    let mut session = Session::begin(&config);
    session.coach.window(window(0));
    let spoken = session.voice().await;
    assert!(
        matches!(&spoken, CoachEvent::Spoken { engine, interrupted: false, .. } if engine == "command"),
        "{spoken:?}"
    );
    let requests = session.spans.named(span::TTS_REQUEST);
    let engines: Vec<String> = requests.iter().map(|s| text(s, attr::TTS_ENGINE)).collect();
    assert_eq!(engines, ["openai", "command", "command"]);
    assert!(failed(&requests[0]) && text(&requests[1], attr::FALLBACK_REASON) == "engine_failed");
    let rest = text(&requests[1], attr::INPUT);
    assert!("Your timing is tight today.".ends_with(&rest) && rest.len() < 27, "the rest only: {rest}");
    assert_eq!(server.spoken().len(), 1);
    assert!(session.speaker.heard()[0].samples.len() > half.len() / 2);
    assert!(!failed(&session.spans.one(op::LIVE_COACH_TTS)), "it was spoken");
}

#[tokio::test]
async fn a_voice_that_never_stops_is_left() {
    let server = Server::start().await;
    server.on_chat(says("Good."));
    let endless = std::iter::repeat_n(Step::Raw(tone(1.0)), 60).chain([Step::Hang]);
    server.on_speech(Reply::body("audio/pcm", endless.collect()));
    let mut session = Session::begin(&config(&server));
    session.coach.window(window(0));
    let failed = session.until(|e| matches!(e, CoachEvent::SpeechFailed { .. })).await;
    assert!(
        matches!(&failed, CoachEvent::SpeechFailed { reason, .. } if reason.contains("more than 30 s")),
        "{failed:?}"
    );
    assert!(session.speaker.heard()[0].samples.len() <= 30 * RATE as usize);
}

#[tokio::test]
async fn stop_means_stop_even_while_the_server_still_speaks() {
    let server = Server::start().await;
    server.on_chat(says("Good."));
    server.on_speech(Reply::body("audio/pcm", vec![Step::Raw(tone(0.1)), Step::Hang]));
    let mut config = config(&server);
    config.speech.first_byte_timeout = Duration::from_secs(30);
    let mut session = Session::with(&config, FakeSpeaker::holding());
    session.coach.window(window(0));
    while session.speaker.heard().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    session.coach.stop_voice();
    let spoken = session.voice().await;
    assert!(matches!(spoken, CoachEvent::Spoken { interrupted: true, .. }), "{spoken:?}");
    assert_eq!(
        value(&session.spans.one(op::LIVE_COACH_TTS), attr::TTS_INTERRUPTED),
        Some(&Value::Bool(true))
    );
}

#[tokio::test]
async fn the_summary_has_its_own_prompt_and_trace() {
    let server = Server::start().await;
    server.on_chat(says("Twelve good minutes. Timing led at 94. Next time, ease your grip."));
    let mut session = Session::begin(&config(&server));
    let w = window(0).window;
    session
        .coach
        .summary(Summary {
            duration: 720.0,
            scores: w.scores,
            facts: w.facts,
            weakest: w.weakest,
            strongest: w.strongest,
            overall_by_window: vec![Some(70.0), Some(79.0)],
        })
        .await;
    assert!(session.speaker.heard()[0].over, "heard to its end");
    session.voice().await;
    let root = session.spans.one(op::SESSION_SUMMARY);
    assert_eq!(
        text(&root, attr::OUTPUT),
        "Twelve good minutes. Timing led at 94. Next time, ease your grip."
    );
    assert_eq!(text(&session.spans.one(span::PROMPT_RENDER), attr::PROMPT_NAME), "session-summary");
    assert!(session.spans.named(op::LIVE_FEEDBACK).is_empty());
}
