//! A real HTTP server that speaks OpenAI's chat and speech protocols, by script: it streams with set delays, and
//! can rate-limit, refuse, hang, cut off and send garbage. It remembers what it was asked.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use axum::routing::post;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Rate of the speech it sends, Hz.
pub const RATE: u32 = 24_000;

/// One thing that happens while an answer is sent.
#[derive(Clone, Debug)]
pub enum Step {
    /// A piece of text (chat only).
    Text(String),
    /// Raw bytes as they are.
    Raw(Vec<u8>),
    /// Nothing for a while.
    Wait(Duration),
    /// Nothing until the server has been asked for speech this many times.
    UntilSpeech(usize),
    /// The connection breaks.
    Cut,
    /// Nothing, for ever.
    Hang,
}

/// How one request is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    content_type: &'static str,
    steps: Vec<Step>,
    /// Chat: finish with a reason, token counts and `[DONE]`.
    finish: bool,
}

impl Reply {
    /// A chat answer, word by word, with `delay` before each.
    pub fn says(text: &str, delay: Duration) -> Self {
        let words = text.split_inclusive(' ').flat_map(|w| [Step::Wait(delay), Step::Text(w.to_owned())]);
        Self::chat(words.collect(), true)
    }

    /// A chat answer that calls one tool, its arguments in two pieces.
    pub fn calls(name: &str, arguments: &Value) -> Self {
        let arguments = arguments.to_string();
        let half = (0..=arguments.len() / 2).rev().find(|i| arguments.is_char_boundary(*i)).unwrap_or(0);
        let piece = |call: Value| {
            Step::Raw(event(&json!({ "id": "c-1", "model": "server-model",
                "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] })))
        };
        let first = json!({ "index": 0, "id": "call-1", "type": "function",
            "function": { "name": name, "arguments": arguments[..half] } });
        let second = json!({ "index": 0, "function": { "arguments": arguments[half..] } });
        Self::chat(vec![piece(first), piece(second)], true)
    }

    /// A chat answer step by step; with `finish`, it ends as it should.
    pub fn chat(steps: Vec<Step>, finish: bool) -> Self {
        Self { status: 200, content_type: "text/event-stream", steps, finish }
    }

    /// Speech: these bytes in pieces of `piece` bytes, with `delay` before each.
    pub fn pcm(bytes: &[u8], piece: usize, delay: Duration) -> Self {
        let steps = bytes.chunks(piece.max(1)).flat_map(|b| [Step::Wait(delay), Step::Raw(b.to_vec())]);
        Self::body("audio/pcm", steps.collect())
    }

    /// Any body, step by step.
    pub fn body(content_type: &'static str, steps: Vec<Step>) -> Self {
        Self { status: 200, content_type, steps, finish: false }
    }

    /// An error with this status and message.
    pub fn status(status: u16, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "test", "code": null } }).to_string();
        let steps = vec![Step::Raw(body.into_bytes())];
        Self { status, content_type: "application/json", steps, finish: false }
    }

    /// A page instead of an answer.
    pub fn page(status: u16, html: &str) -> Self {
        Self { status, content_type: "text/html", steps: vec![Step::Raw(html.into())], finish: false }
    }

    /// Nothing at all: not even a status.
    pub fn hang() -> Self {
        Self { status: 0, content_type: "", steps: vec![], finish: false }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

struct Shared {
    chat: Mutex<VecDeque<Reply>>,
    speech: Mutex<VecDeque<Reply>>,
    usual_chat: Mutex<Reply>,
    usual_speech: Mutex<Reply>,
    asked: Mutex<Vec<Asked>>,
    speeches: watch::Sender<usize>,
}

/// A running server; it ends when dropped.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts on a free port of this machine. Without a script it says one sentence and speaks a tone.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            chat: Mutex::default(),
            speech: Mutex::default(),
            usual_chat: Mutex::new(Reply::says("Your timing is tight. Now relax your hand.", Duration::ZERO)),
            usual_speech: Mutex::new(Reply::pcm(&tone(0.2), 4801, Duration::ZERO)),
            asked: Mutex::default(),
            speeches: watch::Sender::new(0),
        });
        let app = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/audio/speech", post(speech))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { port, shared, task }
    }

    /// Base URL, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The next chat request is answered so.
    pub fn on_chat(&self, reply: Reply) {
        self.shared.chat.lock().unwrap().push_back(reply);
    }

    /// The next speech request is answered so.
    pub fn on_speech(&self, reply: Reply) {
        self.shared.speech.lock().unwrap().push_back(reply);
    }

    /// Chat requests beyond the script are answered so.
    pub fn usually_chat(&self, reply: Reply) {
        *self.shared.usual_chat.lock().unwrap() = reply;
    }

    /// Speech requests beyond the script are answered so.
    pub fn usually_speech(&self, reply: Reply) {
        *self.shared.usual_speech.lock().unwrap() = reply;
    }

    /// All requests so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Chat requests so far: their models.
    pub fn models(&self) -> Vec<String> {
        let chats = self.asked().into_iter().filter(|a| a.path.ends_with("/chat/completions"));
        chats.map(|a| a.body["model"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Speech requests so far: their texts.
    pub fn spoken(&self) -> Vec<String> {
        let speech = self.asked().into_iter().filter(|a| a.path.ends_with("/audio/speech"));
        speech.map(|a| a.body["input"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// A tone as signed 16-bit little-endian mono at [`RATE`].
pub fn tone(seconds: f64) -> Vec<u8> {
    let n = (seconds * f64::from(RATE)) as usize;
    (0..n)
        .flat_map(|i| {
            let phase = std::f64::consts::TAU * 330.0 * i as f64 / f64::from(RATE);
            ((phase.cos() * 9000.0) as i16).to_le_bytes()
        })
        .collect()
}

async fn chat(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, &uri, &headers, &body);
    let scripted = shared.chat.lock().unwrap().pop_front();
    let reply = scripted.unwrap_or_else(|| shared.usual_chat.lock().unwrap().clone());
    answer(shared, reply).await
}

async fn speech(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, &uri, &headers, &body);
    shared.speeches.send_modify(|n| *n += 1);
    let scripted = shared.speech.lock().unwrap().pop_front();
    let reply = scripted.unwrap_or_else(|| shared.usual_speech.lock().unwrap().clone());
    answer(shared, reply).await
}

fn note(shared: &Shared, uri: &Uri, headers: &HeaderMap, body: &Bytes) {
    shared.asked.lock().unwrap().push(Asked {
        path: uri.path().to_owned(),
        authorization: headers.get(header::AUTHORIZATION).map(|v| v.to_str().unwrap_or("?").to_owned()),
        body: serde_json::from_slice(body).unwrap_or_default(),
    });
}

async fn answer(shared: Arc<Shared>, reply: Reply) -> Response {
    if reply.status == 0 {
        return std::future::pending().await;
    }
    let mut steps = reply.steps;
    if reply.finish {
        let usage = json!({ "prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220,
            "prompt_tokens_details": { "cached_tokens": 100 } });
        let end = [
            event(
                &json!({ "id": "c-1", "model": "server-model", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
            ),
            event(&json!({ "id": "c-1", "model": "server-model", "choices": [], "usage": usage })),
            b"data: [DONE]\n\n".to_vec(),
        ];
        steps.extend(end.map(Step::Raw));
    }
    let steps =
        stream::iter(steps).then(move |step| perform(shared.clone(), step)).filter_map(|r| async { r });
    Response::builder()
        .status(reply.status)
        .header(header::CONTENT_TYPE, reply.content_type)
        .body(Body::from_stream(steps))
        .expect("a valid answer")
}

async fn perform(shared: Arc<Shared>, step: Step) -> Option<io::Result<Vec<u8>>> {
    match step {
        Step::Text(text) => Some(Ok(event(&json!({
            "id": "c-1", "model": "server-model", "choices": [{ "index": 0, "delta": { "content": text } }]
        })))),
        Step::Raw(bytes) => Some(Ok(bytes)),
        Step::Wait(delay) => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            None
        }
        Step::UntilSpeech(n) => {
            shared.speeches.subscribe().wait_for(|s| *s >= n).await.expect("the server lives");
            None
        }
        Step::Cut => {
            // Let what was sent so far reach the other side before the connection breaks.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some(Err(io::Error::other("cut off by script")))
        }
        Step::Hang => std::future::pending().await,
    }
}

fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}
