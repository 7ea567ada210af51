//! Models asked in order: the next one answers when the one before is rate-limited, too slow or broken.
//!
//! Each attempt is a span of its own, `chat {model}`. What has already gone out to the player ([`Sink::committed`])
//! is never said twice: an attempt that breaks after that keeps what it said, and no other is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde_json::json;
use tokio::time::timeout_at;
use tracing::Span;

use super::openai::{OPENAI, OpenAiModel};
use super::{Calls, ChatDelta, ChatModel, ChatRequest, LlmError, Message, Prices, ToolCall, Usage, in_text};
use crate::config;
use crate::http::Origin;
use crate::names::{attr, span};
use crate::span::{Kind, SpanExt, Thread};

/// Once enough was said, an answer is read on for at most this long, for the sake of its token counts, which
/// come last; then the connection is closed, which also stops a local model that rambles.
const USAGE_GRACE: Duration = Duration::from_millis(1500);

/// Whether more text is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// The rest will not be used.
    Enough,
}

/// Where the text goes as it comes.
pub trait Sink: Send {
    /// Takes a piece of text.
    fn text(&mut self, piece: &str) -> Flow;
    /// The attempt came to a good end: what is still held back can go out.
    fn end(&mut self);
    /// True when something has gone out that cannot be taken back.
    fn committed(&self) -> bool;
    /// The attempt broke: forget what has not gone out.
    fn discard(&mut self);
}

/// One question: whose story it belongs to, and what is asked.
pub struct Call<'a> {
    /// Session, player and tags.
    pub thread: &'a Thread,
    /// The operation it is a step of.
    pub parent: &'a Span,
    /// Messages and parameters.
    pub request: &'a ChatRequest,
    /// Further attributes of every attempt (the prompt's name, version and hash).
    pub attributes: &'a [KeyValue],
}

/// What a model said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// All of its text, as it wrote it.
    pub text: String,
    /// The tools it calls. Where a model wrote its calls as text, `text` holds them too.
    pub calls: Vec<ToolCall>,
    /// Why it stopped, as the server says (`stop`, `length`, `tool_calls`, …).
    pub finish: Option<String>,
    /// Model asked.
    pub model: String,
    /// Provider asked.
    pub provider: String,
    /// Tokens, where the server counts them.
    pub usage: Option<Usage>,
    /// US dollars, where tokens and price are known.
    pub cost: Option<f64>,
    /// From the request to the first text.
    pub first_token: Option<Duration>,
    /// Attempts made, 1 for the first.
    pub attempts: usize,
    /// Why the answer is not whole, when it broke after it had gone out in part.
    pub broken: Option<String>,
}

/// No model answered.
#[derive(Debug, thiserror::Error)]
#[error("no model answered: {}", self.causes())]
pub struct ChainError {
    /// One for each attempt, in order.
    pub attempts: Vec<LlmError>,
}

impl ChainError {
    fn causes(&self) -> String {
        self.attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Short fixed word for the last failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.attempts.last().map_or("no_model", LlmError::kind)
    }
}

/// Models in the order in which they are asked.
#[derive(Clone)]
pub struct Chain {
    models: Vec<Arc<dyn ChatModel>>,
    prices: Arc<Prices>,
}

impl Chain {
    /// A chain of these models.
    #[must_use]
    pub fn new(models: Vec<Arc<dyn ChatModel>>, prices: Prices) -> Self {
        Self { models, prices: Arc::new(prices) }
    }

    /// The configured chain; `None` when no model is configured (neither key nor base URL) or models are
    /// switched off, which means the offline coach.
    ///
    /// # Errors
    /// Says which setting is wrong and how to write it.
    pub fn from_config(llm: &config::Llm) -> Result<Option<Self>, String> {
        let prices = Prices::with_overrides(&llm.prices)?;
        if llm.offline {
            return Ok(None);
        }
        let mut models: Vec<Arc<dyn ChatModel>> = Vec::new();
        for (base, key, model) in links(llm)? {
            let model = OpenAiModel::new(&base, &key, &model, llm.first_token_timeout, llm.timeout)?;
            models.push(Arc::new(model));
        }
        Ok((!models.is_empty()).then(|| Self::new(models, prices)))
    }

    /// The models, first asked first.
    #[must_use]
    pub fn models(&self) -> &[Arc<dyn ChatModel>] {
        &self.models
    }

    /// Asks one model after the other until one answers, text going into `sink` as it comes.
    ///
    /// # Errors
    /// When none answered; nothing has then gone out.
    pub async fn answer(&self, call: &Call<'_>, sink: &mut dyn Sink) -> Result<Answer, ChainError> {
        let mut errors: Vec<LlmError> = Vec::new();
        for (i, model) in self.models.iter().enumerate() {
            let span = open(call, model.as_ref(), i + 1);
            if let Some(before) = errors.last() {
                span.put(attr::FALLBACK_REASON, before.kind());
            }
            let mut attempt = Attempt::default();
            let result = attempt.read(model.as_ref(), call.request, sink).await;
            let cost = attempt.usage.and_then(|u| self.prices.cost(model.model(), u));
            attempt.describe(&span, cost);
            let broken = match result {
                Ok(()) => None,
                Err(error) => {
                    span.fail(error.kind(), &error);
                    if !sink.committed() {
                        sink.discard();
                        tracing::warn!("{error}");
                        errors.push(error);
                        continue;
                    }
                    sink.discard();
                    Some(error.to_string())
                }
            };
            return Ok(Answer {
                text: attempt.text,
                calls: attempt.calls,
                finish: attempt.finish,
                model: model.model().to_owned(),
                provider: model.provider().to_owned(),
                usage: attempt.usage,
                cost,
                first_token: attempt.first_token,
                attempts: i + 1,
                broken,
            });
        }
        Err(ChainError { attempts: errors })
    }
}

/// Base URL, key and name of each configured model. A key is used for the origin it was given for, and no other.
fn links(llm: &config::Llm) -> Result<Vec<(String, config::Secret, String)>, String> {
    let main = if llm.base_url.trim().is_empty() { OPENAI } else { llm.base_url.as_str() };
    let main_origin = Origin::of(main)?;
    let mut links = Vec::new();
    if !(llm.base_url.trim().is_empty() && llm.api_key.is_empty()) {
        links.push((main.to_owned(), llm.api_key.clone(), llm.model.clone()));
    }
    for fallback in &llm.fallbacks {
        let base = if fallback.base_url.trim().is_empty() { main } else { fallback.base_url.as_str() };
        let key = if !fallback.api_key.is_empty() {
            fallback.api_key.clone()
        } else if Origin::of(base)? == main_origin {
            llm.api_key.clone()
        } else {
            config::Secret::default()
        };
        // OpenAI answers nobody without a key: such a fallback is an attempt that can only fail.
        if base == OPENAI && key.is_empty() {
            continue;
        }
        links.push((base.to_owned(), key, fallback.model.clone()));
    }
    Ok(links)
}

/// What one attempt has yielded so far.
#[derive(Default)]
struct Attempt {
    text: String,
    calls: Vec<ToolCall>,
    usage: Option<Usage>,
    first_token: Option<Duration>,
    response_id: String,
    response_model: String,
    finish: Option<String>,
}

impl Attempt {
    async fn read(
        &mut self,
        model: &dyn ChatModel,
        request: &ChatRequest,
        sink: &mut dyn Sink,
    ) -> Result<(), LlmError> {
        let asked = Instant::now();
        let mut deltas = model.stream(request).await?;
        let mut enough: Option<tokio::time::Instant> = None;
        let mut calls = Calls::default();
        loop {
            let delta = match enough {
                None => deltas.next().await,
                Some(until) => match timeout_at(until, deltas.next()).await {
                    Ok(delta) => delta,
                    Err(_) => return Ok(()),
                },
            };
            match delta {
                None => break,
                // All that is wanted is there: how the rest ends does not matter.
                Some(Err(_)) if enough.is_some() => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok(ChatDelta::Text(piece))) => {
                    self.first_token.get_or_insert_with(|| asked.elapsed());
                    self.text.push_str(&piece);
                    if enough.is_none() && sink.text(&piece) == Flow::Enough {
                        enough = Some(tokio::time::Instant::now() + USAGE_GRACE);
                    }
                }
                Some(Ok(ChatDelta::Call(piece))) => {
                    self.first_token.get_or_insert_with(|| asked.elapsed());
                    calls.push(piece);
                }
                Some(Ok(ChatDelta::Head { id, model })) => {
                    self.response_id = id;
                    self.response_model = model;
                }
                Some(Ok(ChatDelta::Finish(reason))) => self.finish = Some(reason),
                Some(Ok(ChatDelta::Usage(usage))) => self.usage = Some(usage),
            }
        }
        self.calls = calls.finish();
        if self.calls.is_empty() && !request.tools.is_empty() && request.may_call {
            self.calls = in_text(&self.text, &request.tools);
        }
        if self.text.trim().is_empty() && self.calls.is_empty() {
            let message = match self.finish.as_deref() {
                Some("length") => {
                    "no text: all its tokens went into thinking; raise the token limit".to_owned()
                }
                Some(reason) => format!("no text, finish reason `{reason}`"),
                None => "no text".to_owned(),
            };
            return Err(LlmError::Garbage { model: model.model().to_owned(), message });
        }
        sink.end();
        Ok(())
    }

    fn describe(&self, span: &Span, cost: Option<f64>) {
        if !self.calls.is_empty() {
            span.output_json(&json!({ "content": self.text, "tool_calls": self.calls }));
        } else if !self.text.is_empty() {
            span.output_text(&self.text);
        }
        if !(self.text.is_empty() && self.calls.is_empty()) {
            let said = Message::calling(self.text.clone(), self.calls.clone());
            message(span, attr::LLM_OUTPUT_MESSAGES, 0, &said);
        }
        if !self.response_id.is_empty() {
            span.put(attr::RESPONSE_ID, self.response_id.clone());
        }
        if !self.response_model.is_empty() {
            span.put(attr::RESPONSE_MODEL, self.response_model.clone());
        }
        if let Some(reason) = &self.finish {
            let reasons = vec![StringValue::from(reason.clone())];
            span.put(attr::FINISH_REASONS, Value::Array(Array::String(reasons)));
        }
        if let Some(t) = self.first_token {
            span.put(attr::TIME_TO_FIRST_CHUNK, t.as_secs_f64());
            span.put(attr::TTFT_MS, t.as_secs_f64() * 1e3);
        }
        if let Some(u) = self.usage {
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            for name in [attr::INPUT_TOKENS, attr::LLM_TOKENS_PROMPT] {
                span.put(name, count(u.input));
            }
            for name in [attr::OUTPUT_TOKENS, attr::LLM_TOKENS_COMPLETION] {
                span.put(name, count(u.output));
            }
            span.put(attr::LLM_TOKENS_TOTAL, count(u.input + u.output));
            for name in [attr::CACHE_READ_TOKENS, attr::LLM_TOKENS_CACHE_READ] {
                span.put(name, count(u.cached));
            }
            for name in [attr::REASONING_TOKENS, attr::LLM_TOKENS_REASONING] {
                span.put(name, count(u.reasoning));
            }
        }
        if let Some(dollars) = cost {
            span.put(attr::LLM_COST_TOTAL, dollars);
        }
    }
}

fn open(call: &Call<'_>, model: &dyn ChatModel, attempt: usize) -> Span {
    let name = format!("{} {}", span::CHAT, model.model());
    let s = call.thread.client(call.parent, &name, Kind::Llm);
    let request = call.request;
    s.put(attr::OPERATION, "chat");
    s.put(attr::PROVIDER, model.provider().to_owned());
    s.put(attr::SYSTEM, model.provider().to_owned());
    s.put(attr::LLM_PROVIDER, model.provider().to_owned());
    s.put(attr::REQUEST_MODEL, model.model().to_owned());
    s.put(attr::LLM_MODEL, model.model().to_owned());
    s.put(attr::REQUEST_STREAM, true);
    s.put(attr::OUTPUT_TYPE, if request.format.is_some() { "json" } else { "text" });
    s.put(attr::REQUEST_MAX_TOKENS, i64::from(request.max_tokens));
    let mut parameters = json!({ "max_tokens": request.max_tokens, "stream": true });
    if !request.may_call {
        parameters["tool_choice"] = json!("none");
    }
    if let Some(format) = &request.format {
        parameters["response_format"] = json!({ "type": "json_schema", "name": format.name });
    }
    if let Some(t) = request.temperature {
        s.put(attr::REQUEST_TEMPERATURE, f64::from(t));
        parameters["temperature"] = json!(t);
    }
    s.put(attr::LLM_PARAMETERS, parameters.to_string());
    let (host, port) = model.server();
    s.put(attr::SERVER_ADDRESS, host);
    s.put(attr::SERVER_PORT, i64::from(port));
    s.put(attr::ATTEMPT, i64::try_from(attempt).unwrap_or(i64::MAX));
    s.input_json(&json!({ "messages": request.messages }));
    for (n, m) in request.messages.iter().enumerate() {
        message(&s, attr::LLM_INPUT_MESSAGES, n, m);
    }
    for (n, tool) in request.tools.iter().enumerate() {
        s.put(format!("{}.{n}.tool.json_schema", attr::LLM_TOOLS), tool.json().to_string());
    }
    for a in call.attributes {
        s.put(a.key.clone(), a.value.clone());
    }
    s
}

fn message(span: &Span, prefix: &str, n: usize, message: &Message) {
    let prefix = format!("{prefix}.{n}.message");
    span.put(format!("{prefix}.role"), message.role.name());
    span.put(format!("{prefix}.content"), message.content.clone());
    if let Some(id) = &message.tool_call_id {
        span.put(format!("{prefix}.tool_call_id"), id.clone());
    }
    for (m, call) in message.tool_calls.iter().enumerate() {
        let prefix = format!("{prefix}.tool_calls.{m}.tool_call");
        span.put(format!("{prefix}.id"), call.id.clone());
        span.put(format!("{prefix}.function.name"), call.name.clone());
        span.put(format!("{prefix}.function.arguments"), call.arguments.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fallback, Llm, Secret};
    use crate::llm::{FakeModel, Tool};

    /// Commits each sentence that ends in a full stop.
    #[derive(Default)]
    struct Sentences {
        out: String,
        held: String,
        most: usize,
    }

    impl Sink for Sentences {
        fn text(&mut self, piece: &str) -> Flow {
            self.held.push_str(piece);
            if self.held.contains('.') {
                self.out.push_str(&std::mem::take(&mut self.held));
            }
            if self.most > 0 && self.out.len() >= self.most { Flow::Enough } else { Flow::More }
        }
        fn end(&mut self) {
            self.out.push_str(&std::mem::take(&mut self.held));
        }
        fn committed(&self) -> bool {
            !self.out.is_empty()
        }
        fn discard(&mut self) {
            self.held.clear();
        }
    }

    fn limited(model: &str) -> LlmError {
        LlmError::RateLimited { model: model.into(), message: "slow down".into() }
    }

    async fn ask(models: Vec<Arc<FakeModel>>, sink: &mut Sentences) -> Result<Answer, ChainError> {
        let chain = Chain::new(
            models.into_iter().map(|m| m as Arc<dyn ChatModel>).collect(),
            Prices::with_overrides(&["b=1/2".into()]).unwrap(),
        );
        let thread = Thread::new("t", "u", vec![]);
        let parent = Span::none();
        let tool = Tool { name: "look".into(), description: "Looks.".into(), parameters: json!({}) };
        let request =
            ChatRequest { tools: vec![tool], ..ChatRequest::new(vec![Message::user("?")], None, 10) };
        chain
            .answer(&Call { thread: &thread, parent: &parent, request: &request, attributes: &[] }, sink)
            .await
    }

    fn text(t: &str) -> Result<ChatDelta, LlmError> {
        Ok(ChatDelta::Text(t.into()))
    }

    #[tokio::test]
    async fn the_next_model_answers_and_its_cost_is_counted() {
        let a = Arc::new(FakeModel::new("a", [Err(limited("a"))]));
        let usage = Usage { input: 1000, output: 1000, ..Usage::default() };
        let b = Arc::new(FakeModel::new(
            "b",
            [Ok(vec![text("Fine."), Ok(ChatDelta::Finish("stop".into())), Ok(ChatDelta::Usage(usage))])],
        ));
        let mut sink = Sentences::default();
        let answer = ask(vec![a, b], &mut sink).await.unwrap();
        assert_eq!((answer.model.as_str(), answer.attempts, sink.out.as_str()), ("b", 2, "Fine."));
        assert!((answer.cost.unwrap() - 0.003).abs() < 1e-12);
    }

    #[tokio::test]
    async fn broken_before_a_sentence_is_out_falls_back_without_a_trace_of_it() {
        let a = Arc::new(FakeModel::new("a", [Ok(vec![text("Good "), Err(limited("a"))])]));
        let b = Arc::new(FakeModel::new("b", [FakeModel::says("Nice work.")]));
        let mut sink = Sentences::default();
        ask(vec![a, b], &mut sink).await.unwrap();
        assert_eq!(sink.out, "Nice work.");
    }

    #[tokio::test]
    async fn broken_after_a_sentence_is_out_keeps_it_and_asks_nobody_else() {
        let a = Arc::new(FakeModel::new("a", [Ok(vec![text("Good."), text(" But y"), Err(limited("a"))])]));
        let b = Arc::new(FakeModel::new("b", [FakeModel::says("Nice work.")]));
        let mut sink = Sentences::default();
        let answer = ask(vec![a, b.clone()], &mut sink).await.unwrap();
        assert_eq!(sink.out, "Good.");
        assert!(answer.broken.unwrap().contains("slow down"));
        assert!(b.asked().is_empty());
    }

    #[tokio::test]
    async fn an_empty_answer_is_a_failure_and_all_failures_are_listed() {
        let length = Ok(vec![Ok(ChatDelta::Finish("length".into()))]);
        let a = Arc::new(FakeModel::new("a", [length]));
        let b = Arc::new(FakeModel::new("b", [Err(limited("b"))]));
        let error = ask(vec![a, b], &mut Sentences::default()).await.unwrap_err();
        assert_eq!(error.attempts.len(), 2);
        assert_eq!(error.kind(), "rate_limited");
        assert!(error.to_string().contains("raise the token limit"), "{error}");
    }

    #[tokio::test]
    async fn calls_are_an_answer_whether_streamed_or_written() {
        let streamed = FakeModel::calls(&[("look", r#"{"at": "notes"}"#), ("look", "{}")]);
        let written = FakeModel::says(r#"{"name": "look", "arguments": {"at": "notes"}}"#);
        for (script, count) in [(streamed, 2), (written, 1)] {
            let a = Arc::new(FakeModel::new("a", [script]));
            let answer = ask(vec![a], &mut Sentences::default()).await.unwrap();
            assert_eq!(answer.calls.len(), count);
            let arguments: serde_json::Value = serde_json::from_str(&answer.calls[0].arguments).unwrap();
            assert_eq!((answer.calls[0].name.as_str(), &arguments["at"]), ("look", &json!("notes")));
        }
    }

    #[tokio::test]
    async fn enough_ends_the_answer_whatever_comes_after() {
        let a = Arc::new(FakeModel::new("a", [Ok(vec![text("One."), text("Two."), Err(limited("a"))])]));
        let mut sink = Sentences { most: 3, ..Sentences::default() };
        let answer = ask(vec![a], &mut sink).await.unwrap();
        assert_eq!((sink.out.as_str(), answer.broken), ("One.", None));
    }

    fn llm(base: &str, key: &str, fallbacks: &[(&str, &str, &str)]) -> Llm {
        Llm {
            base_url: base.into(),
            api_key: Secret::new(key),
            fallbacks: fallbacks
                .iter()
                .map(|(model, base, key)| Fallback {
                    model: (*model).into(),
                    base_url: (*base).into(),
                    api_key: Secret::new(*key),
                })
                .collect(),
            ..Llm::default()
        }
    }

    #[test]
    fn a_key_never_goes_to_another_host() {
        let llm = llm(
            "",
            "sk-main",
            &[
                ("same", "", ""),
                ("path", "https://api.openai.com/v2", ""),
                ("plain", "http://api.openai.com/v1", ""),
                ("local", "http://localhost:11434/v1", ""),
                ("own", "https://openrouter.ai/api/v1", "sk-or"),
            ],
        );
        let keys: Vec<_> =
            links(&llm).unwrap().into_iter().map(|(_, key, m)| (m, key.reveal().to_owned())).collect();
        let expect = [
            ("gpt-4o-mini", "sk-main"),
            ("same", "sk-main"),
            ("path", "sk-main"),
            ("plain", ""),
            ("local", ""),
            ("own", "sk-or"),
        ];
        assert_eq!(keys, expect.map(|(m, k)| (m.to_owned(), k.to_owned())));
    }

    #[test]
    fn nothing_configured_means_no_chain() {
        assert!(Chain::from_config(&Llm::default()).unwrap().is_none());
        assert!(Chain::from_config(&llm("", "", &[("x", "", "")])).unwrap().is_none(), "nobody to ask");
        assert!(Chain::from_config(&Llm { offline: true, ..llm("", "k", &[]) }).unwrap().is_none());
        let local = Chain::from_config(&llm("http://localhost:11434/v1/", "", &[])).unwrap().unwrap();
        assert_eq!(local.models()[0].provider(), "ollama");
        let only =
            Chain::from_config(&llm("", "", &[("m", "http://localhost:1234/v1", "")])).unwrap().unwrap();
        assert_eq!(only.models().len(), 1, "a fallback alone is enough");
        assert!(Chain::from_config(&llm("localhost:11434", "", &[])).is_err());
    }
}
