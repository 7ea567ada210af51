//! The whole program with model, voice and collector behind real HTTP, on a sound card in memory: in which order it
//! falls back, what is heard, what is kept, what the collector gets, and what never leaves.

#[path = "common/collector.rs"]
mod collector;
mod common;
#[path = "common/openai_server.rs"]
mod openai_server;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use collector::{Collector, Delivered, failed, number, text};
use common::process::{Finished, Program};
use common::rig::Rig;
use common::wav::{one_voice_at_a_time, resample};
use fretcoach::names::{attr, op, span};
use openai_server::{RATE, Reply, Server, Step};
use serde_json::Value;

/// Three keys, each of which belongs to one server alone.
const MODEL_KEY: &str = "sk-model-5c1f0e77";
const SPEECH_KEY: &str = "sk-speech-93ab2d40";
const COLLECTOR_KEY: &str = "otlp-d81b77a6";
/// Rate of the rig's speakers, Hz.
const SPEAKERS: u32 = 48_000;
/// Around a change from one sentence to the next, seconds.
const FADE: f64 = 0.06;

/// The program with everything it needs from servers of the test's own; the guitar is the virtual one, and not heard.
fn program(server: &Server) -> Program {
    Program::fretcoach()
        .env("OPENAI_BASE_URL", server.base_url())
        .env("OPENAI_API_KEY", MODEL_KEY)
        .env("FRETCOACH_MODEL", "first")
        .env("FRETCOACH_PRICES", "first=1/10,second=1/10,third=1/10")
        .env("FRETCOACH_SPEECH", "openai")
        .env("FRETCOACH_SPEECH_BASE_URL", server.base_url())
        .env("FRETCOACH_SPEECH_API_KEY", SPEECH_KEY)
        .env("FRETCOACH_MONITOR", "0")
        .env("FRETCOACH_WAIT_FOR_PAUSE", "100ms")
}

fn traced(program: Program, collector: &Collector) -> Program {
    program
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={COLLECTOR_KEY}"))
}

/// A session with a piece of advice at 5 s and, if it lasts that long, at 10 s, and the summary.
fn practise(program: &Program, minutes: &str) -> Finished {
    program.run(&["practice", "--input", "demo", "--coach-every", "5s", "--minutes", minutes, "--plain"]).ok()
}

/// The session as `fretcoach history` tells it.
fn kept(program: &Program) -> Value {
    let out = program.run(&["history", "latest", "--format", "json"]).ok().stdout;
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// Of each piece of advice, in order: one field.
fn advice(kept: &Value, field: &str) -> Vec<Value> {
    kept["advice"].as_array().expect("a list").iter().map(|a| a[field].clone()).collect()
}

fn log(program: &Program) -> String {
    std::fs::read_to_string(program.data_dir().join("fretcoach.log")).unwrap_or_default()
}

/// No key stands in any file of the data folder, in what was printed, or in what the collector got.
fn assert_no_key(program: &Program, printed: &Finished, delivered: &[Delivered]) {
    let mut places = vec![
        ("its output".to_owned(), printed.stdout.clone().into_bytes()),
        ("its complaints".to_owned(), printed.stderr.clone().into_bytes()),
    ];
    read_all(&program.data_dir(), &mut places);
    assert!(places.iter().any(|(name, _)| name.ends_with("fretcoach.log")), "the folder was looked through");
    places.extend(delivered.iter().map(|d| ("the collector".to_owned(), d.bytes.clone())));
    for (name, bytes) in &places {
        for key in [MODEL_KEY, SPEECH_KEY, COLLECTOR_KEY] {
            assert!(!bytes.windows(key.len()).any(|w| w == key.as_bytes()), "{key} stands in {name}");
        }
    }
}

fn read_all(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).expect("it can be read")));
        }
    }
}

/// Every request is one whole trace: one id, each parent among its spans, children first, the root last; and every
/// span tells whose it is.
fn assert_whole(delivered: &[Delivered]) {
    let mut traces = HashSet::new();
    let mut threads = HashSet::new();
    for request in delivered {
        let root = request.root();
        assert!(root.parent_span_id.is_empty(), "{} was sent last and is no root", root.name);
        assert!(traces.insert(root.trace_id.clone()), "{} came twice", root.name);
        for (i, s) in request.spans.iter().enumerate() {
            assert_eq!(s.trace_id, root.trace_id, "{}", s.name);
            let parent = request.spans.iter().position(|p| p.span_id == s.parent_span_id);
            assert!(
                s.span_id == root.span_id || parent.is_some_and(|p| p > i),
                "{} lacks its parent",
                s.name
            );
            assert!(s.end_time_unix_nano >= s.start_time_unix_nano, "{}", s.name);
            threads.insert(text(s, attr::SESSION_ID));
            assert_eq!(text(s, attr::USER_ID), "default", "{}", s.name);
        }
    }
    assert_eq!(threads.len(), 1, "{threads:?}");
    assert!(threads.iter().all(|t| t.ends_with("-live-aicoach-feedback")), "{threads:?}");
}

/// The voice is a trace of its own which points at the operation that wrote the text.
fn assert_linked(voice: &Delivered, writer: &Delivered) {
    let (voice, writer) = (voice.root(), writer.root());
    assert_ne!(voice.trace_id, writer.trace_id);
    assert_eq!(voice.links.len(), 1);
    assert_eq!((&voice.links[0].trace_id, &voice.links[0].span_id), (&writer.trace_id, &writer.span_id));
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(text(voice, attr::LINKED_TRACE), hex(&writer.trace_id));
    assert_eq!(text(voice, attr::LINKED_SPAN), hex(&writer.span_id));
    assert_eq!(number(voice, attr::ADVICE_ID), number(writer, attr::ADVICE_ID));
}

fn errors(spans: &[&opentelemetry_proto::tonic::trace::v1::Span]) -> Vec<String> {
    spans.iter().map(|s| text(s, attr::ERROR_TYPE)).collect()
}

/// A sound unlike the others: its pitch rises from `hz` by 400 Hz.
fn rising(hz: f64, seconds: f64) -> Vec<f32> {
    let n = (seconds * f64::from(RATE)) as usize;
    (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            let cycles = hz * t + 200.0 * t * t / seconds;
            (0.3 * (std::f64::consts::TAU * cycles).cos()) as f32
        })
        .collect()
}

/// As a server sends it: pieces of a fifth of a second, ten times as fast as they sound.
fn streamed(voice: &[f32]) -> Reply {
    let bytes: Vec<u8> = voice.iter().flat_map(|x| ((x * 32767.0) as i16).to_le_bytes()).collect();
    Reply::pcm(&bytes, 9600, Duration::from_millis(20))
}

fn says(text: &str) -> Reply {
    Reply::says(text, Duration::from_millis(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_fall_back_in_order_and_every_voice_is_heard_and_traced() {
    let (rig, server, collector) = (Rig::start(), Server::start().await, Collector::start().await);
    // First advice: limited, hangs, answers. What a server says of the key is no one's business.
    server.on_chat(Reply::status(429, &format!("slow down, {MODEL_KEY}")));
    server.on_chat(Reply::hang());
    server.on_chat(says("Your timing is tight."));
    // Second: two sentences, each of which is spoken by itself. Then the summary.
    server.on_chat(says("Your notes ring well. Now relax your hand."));
    server.on_chat(says("That was a good session."));
    let voices = [300.0, 800.0, 1300.0, 1800.0].map(|hz| rising(hz, 0.9));
    for voice in &voices {
        server.on_speech(streamed(voice));
    }
    let program = traced(program(&server), &collector)
        .on(&rig)
        .env("FRETCOACH_FALLBACKS", "second,third")
        .env("FRETCOACH_FIRST_TOKEN_TIMEOUT", "1s");
    let recording = rig.record_speakers(&rig.dir().join("heard.wav"));
    let printed = practise(&program, "0.22");
    let heard = recording.stop().to_mono();

    // Asked in this order, with the right key each.
    assert_eq!(server.models(), ["first", "second", "third", "first", "first"]);
    let sentences = [
        "Your timing is tight.",
        "Your notes ring well.",
        "Now relax your hand.",
        "That was a good session.",
    ];
    assert_eq!(server.spoken(), sentences);
    for asked in server.asked() {
        let key = if asked.path.ends_with("/speech") { SPEECH_KEY } else { MODEL_KEY };
        assert_eq!(asked.authorization.as_deref(), Some(format!("Bearer {key}").as_str()));
    }

    // Heard: all of it, in order, one at a time.
    let voices = voices.map(|v| resample(&v, RATE, SPEAKERS));
    let voices: Vec<&[f32]> = voices.iter().map(Vec::as_slice).collect();
    let places = one_voice_at_a_time(&heard, SPEAKERS, &voices, FADE).unwrap();
    assert!(places.windows(2).all(|p| p[0].0 < p[1].0), "{places:?}");

    // Shown and kept.
    let texts =
        ["Your timing is tight.", "Your notes ring well. Now relax your hand.", "That was a good session."];
    for (text, source) in texts.iter().zip(["third", "first", "first"]) {
        assert!(printed.stdout.contains(&format!("coach ({source}): {text}")), "{}", printed.stdout);
    }
    let kept = kept(&program);
    assert_eq!(advice(&kept, "text"), texts);
    assert_eq!(advice(&kept, "kind"), ["live", "live", "summary"]);
    assert_eq!(advice(&kept, "source"), ["third", "first", "first"]);
    assert_eq!(advice(&kept, "spoken"), [true, true, true]);
    assert_eq!(advice(&kept, "prompt_version"), ["1", "1", "1"]);

    // Delivered: whole traces, each operation its own.
    let all = collector.got();
    assert_whole(&all);
    assert!(all.iter().all(|d| d.headers["x-api-key"] == COLLECTOR_KEY));
    let feedback = collector.traces(op::LIVE_FEEDBACK);
    let voice = collector.traces(op::LIVE_COACH_TTS);
    let summary = collector.traces(op::SESSION_SUMMARY);
    assert_eq!((feedback.len(), voice.len(), summary.len(), all.len()), (2, 3, 1, 7));
    assert_eq!(all.last().unwrap().root().name, op::SESSION, "it ends last");
    assert!(all.iter().all(|d| !failed(d.root())));
    assert_linked(&voice[0], &feedback[0]);
    assert_linked(&voice[1], &feedback[1]);
    assert_linked(&voice[2], &summary[0]);

    let chats = feedback[0].chats();
    let names: Vec<&str> = chats.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["chat first", "chat second", "chat third"]);
    assert_eq!(errors(&chats), ["rate_limited", "timeout", ""]);
    assert_eq!(chats.iter().map(|s| failed(s)).collect::<Vec<_>>(), [true, true, false]);
    for answer in [chats[2], feedback[1].chats()[0], summary[0].chats()[0]] {
        assert_eq!(number(answer, attr::INPUT_TOKENS), Some(200.0));
        assert_eq!(number(answer, attr::OUTPUT_TOKENS), Some(20.0));
        assert_eq!(number(answer, attr::LLM_COST_TOTAL), Some(0.0004));
        assert!(number(answer, attr::TTFT_MS).is_some_and(|ms| ms > 0.0));
    }
    for (trace, requests) in voice.iter().zip([1, 2, 1]) {
        let asked = trace.named(span::TTS_REQUEST);
        assert_eq!(asked.len(), requests);
        assert!(
            asked.iter().all(|s| number(s, attr::TTFB_MS).is_some() && number(s, attr::TTS_CHARS).is_some())
        );
        let [playback] = trace.named(span::TTS_PLAYBACK)[..] else { panic!("one playback") };
        assert!(number(playback, attr::FIRST_SAMPLE_MS).is_some_and(|ms| ms > 0.0));
    }
    for trace in &feedback {
        assert_eq!(trace.named(span::METRICS_SNAPSHOT).len(), 1);
        assert_eq!(trace.named(span::PROMPT_RENDER).len(), 1);
    }
    assert_no_key(&program, &printed, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_speech_fails_everywhere_the_text_is_kept() {
    let (rig, server, collector) = (Rig::start(), Server::start().await, Collector::start().await);
    let said = |t: &str| Step::Text(t.into());
    // Cut off after a whole sentence: that one stands. Garbage, and cut off within the first: the next model.
    server.on_chat(Reply::chat(vec![said("Nice pulse. But your"), Step::Cut], false));
    server.on_chat(Reply::body("text/event-stream", vec![Step::Raw(b"data: {nonsense\n\n".to_vec())]));
    server.on_chat(says("Good tone today."));
    server.on_chat(Reply::chat(vec![said("That was"), Step::Cut], false));
    server.on_chat(says("Well played."));
    // The voice hangs, sends a page, is limited; the engine after it fails each time.
    server.on_speech(Reply::hang());
    server.on_speech(Reply::page(200, "<html>Login</html>"));
    server.on_speech(Reply::status(429, &format!("slow down, {SPEECH_KEY}")));
    let program = traced(program(&server), &collector)
        .on(&rig)
        .env("FRETCOACH_FALLBACKS", "second")
        .env("FRETCOACH_SPEECH", "openai,command")
        .env("FRETCOACH_SPEECH_COMMAND", "false")
        .env("FRETCOACH_SPEECH_TIMEOUT", "1s");
    let printed = practise(&program, "0.22");

    let texts = ["Nice pulse.", "Good tone today.", "Well played."];
    assert_eq!(server.spoken(), texts);
    for (text, source) in texts.iter().zip(["first", "second", "second"]) {
        assert!(printed.stdout.contains(&format!("coach ({source}): {text}")), "{}", printed.stdout);
    }
    assert!(printed.stdout.contains("not spoken: "), "{}", printed.stdout);
    let kept = kept(&program);
    assert_eq!(advice(&kept, "text"), texts);
    assert_eq!(advice(&kept, "spoken"), [false, false, false]);

    let all = collector.got();
    assert_whole(&all);
    let mut writers = collector.traces(op::LIVE_FEEDBACK);
    writers.extend(collector.traces(op::SESSION_SUMMARY));
    let voices = collector.traces(op::LIVE_COACH_TTS);
    assert_eq!((writers.len(), voices.len()), (3, 3));
    for (i, (writer, voice)) in writers.iter().zip(&voices).enumerate() {
        assert_linked(voice, writer);
        assert!(!failed(writer.root()), "the text of {i} was there");
        assert!(failed(voice.root()), "nobody heard {i}");
        assert_eq!(text(writer.root(), attr::OUTPUT), texts[i]);
        assert_eq!(text(voice.root(), attr::INPUT), texts[i]);
        assert_eq!(voice.named(span::TTS_PLAYBACK).len(), 0);
        let requests = voice.named(span::TTS_REQUEST);
        assert_eq!(
            errors(&requests),
            [["timeout", "engine_failed"], ["engine_failed"; 2]][usize::from(i > 0)]
        );
    }
    assert_eq!(errors(&writers[0].chats()).len(), 1);
    assert_eq!(writers[1].chats().iter().map(|s| failed(s)).collect::<Vec<_>>(), [true, false]);
    assert_eq!(writers[2].chats().iter().map(|s| failed(s)).collect::<Vec<_>>(), [true, false]);
    assert_no_key(&program, &printed, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_key_the_offline_coach_goes_on() {
    let server = Server::start().await;
    server.usually_chat(Reply::status(401, &format!("Incorrect API key provided: {MODEL_KEY}")));
    let program = program(&server).env("FRETCOACH_OUTPUT", "none");
    let printed = practise(&program, "0.12");

    let said: Vec<&str> = printed.stdout.lines().filter(|l| l.contains("the offline coach spoke")).collect();
    assert_eq!(said.len(), 1, "said once:\n{}", printed.stdout);
    assert!(said[0].contains("the key was refused") && said[0].contains("OPENAI_API_KEY"), "{}", said[0]);
    let kept = kept(&program);
    assert_eq!(advice(&kept, "source"), ["offline", "offline"]);
    assert!(advice(&kept, "text").iter().all(|t| t.as_str().is_some_and(|t| !t.is_empty())));
    assert_eq!(advice(&kept, "prompt_version"), [Value::Null, Value::Null]);
    assert_eq!(server.spoken(), [""; 0], "without an output nobody is asked to speak");
    assert_eq!(printed.stdout.matches("no voice: sound output is switched off").count(), 1);
    assert!(!log(&program).contains("async_openai"), "in our own words only:\n{}", log(&program));
    assert_no_key(&program, &printed, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_output_device_no_speech_is_asked_for_and_that_is_said_once() {
    let (server, collector) = (Server::start().await, Collector::start().await);
    let program = traced(program(&server), &collector).env("FRETCOACH_OUTPUT", "no such device");
    let printed = practise(&program, "0.12");

    assert_eq!(printed.stdout.matches("not spoken: ").count(), 1, "{}", printed.stdout);
    assert_eq!(server.spoken(), [""; 0]);
    assert_eq!(advice(&kept(&program), "spoken"), [false, false]);
    let voices = collector.traces(op::LIVE_COACH_TTS);
    assert_eq!(voices.iter().map(|v| failed(v.root())).collect::<Vec<_>>(), [true, false], "known by then");
    assert!(voices.iter().all(|v| v.spans.len() == 1));
    assert_whole(&collector.got());
    assert_no_key(&program, &printed, &collector.got());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_collector_changes_nothing_but_one_line_in_the_log() {
    let server = Server::start().await;
    // Nobody listens on a port that was free a moment ago.
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let quiet = |p: Program| p.env("FRETCOACH_OUTPUT", "none");
    let with = quiet(program(&server)).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{nobody}"));
    let without = quiet(program(&server));
    let arguments = ["practice", "--input", "demo", "--coach-every", "5s", "--minutes", "0.12", "--plain"];
    let (running, other) = (with.spawn(&arguments), without.spawn(&arguments));
    let (printed, plain) = (running.wait().ok(), other.wait().ok());

    // Scores may differ by the hop at which a window was closed; what is said does not.
    let kinds = |f: &Finished| -> Vec<String> {
        f.stdout.lines().map(|l| l.chars().take_while(|c| !c.is_ascii_digit()).collect()).collect()
    };
    assert_eq!(kinds(&printed), kinds(&plain), "{}\n{}", printed.stdout, plain.stdout);
    assert_eq!((printed.stderr.as_str(), plain.stderr.as_str()), ("", ""));
    for field in ["text", "source", "kind", "spoken"] {
        assert_eq!(advice(&kept(&with), field), advice(&kept(&without), field));
    }
    let (log, other) = (log(&with), log(&without));
    let told: Vec<&str> = log.lines().filter(|l| l.contains(&nobody.to_string())).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("kept and delivered later"), "{}", told[0]);
    assert_eq!(log.lines().count(), other.lines().count() + 1, "{log}\n{other}");
    assert_no_key(&with, &printed, &[]);
}
