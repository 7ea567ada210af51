//! Any OpenAI-compatible chat server, streamed through async-openai.
//!
//! Two of async-openai's habits are replaced by our own transport: it would retry 429 and 5xx on its own for
//! many seconds (the chain must fall back at once), and it loses the status of error pages that are not JSON.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{OpenAIError, StreamError};
use async_openai::middleware::HttpRequestFactory;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    ChatDelta, ChatModel, ChatRequest, ChatStream, LlmError, Message, Role, Tool, ToolCallDelta, Usage,
    in_words,
};
use crate::config::Secret;
use crate::http::{self, Origin};

/// OpenAI's own server.
pub const OPENAI: &str = "https://api.openai.com/v1";
/// How often a request is asked again because the server refused a parameter: `max_tokens` under its two names, a
/// schema in its two forms, and temperature, stream options, tools and the choice of tools once each.
const MAX_ADAPTATIONS: usize = 8;
/// Read at most of an answer that is no stream, bytes: an error page, or a whole answer of a few hundred tokens.
const MAX_PAGE: usize = 1024 * 1024;

/// One model on one server.
pub struct OpenAiModel {
    model: String,
    provider: String,
    origin: Origin,
    /// As it may be shown in errors.
    shown: String,
    key: Secret,
    client: Client<OpenAIConfig>,
    first_token: Duration,
    total: Duration,
    dialect: Dialect,
}

/// Which parameters this model takes; learnt from its refusals, so that each costs one request only once.
#[derive(Default)]
struct Dialect {
    /// 0: `max_tokens`, 1: `max_completion_tokens`, 2: neither.
    limit: AtomicU8,
    no_temperature: AtomicBool,
    no_stream_options: AtomicBool,
    /// Tools are described in words.
    no_tools: AtomicBool,
    no_tool_choice: AtomicBool,
    /// 0: `json_schema`, 1: `json_object`, 2: neither; with the latter two the schema stands in words.
    format: AtomicU8,
}

impl Dialect {
    /// OpenAI's reasoning models are known to refuse `max_tokens` and `temperature`.
    fn guess(host: &str, model: &str) -> Self {
        let new = Self::default();
        let reasoning = ["o1", "o3", "o4", "gpt-5"].iter().any(|p| model.starts_with(p));
        if host == "api.openai.com" && reasoning {
            new.limit.store(1, Relaxed);
            new.no_temperature.store(true, Relaxed);
        }
        new
    }

    fn body(&self, model: &str, request: &ChatRequest) -> Value {
        let mut body = json!({ "model": model, "messages": self.messages(request), "stream": true });
        if !request.tools.is_empty() && !self.no_tools.load(Relaxed) {
            body["tools"] = request.tools.iter().map(Tool::json).collect();
            if !(request.may_call || self.no_tool_choice.load(Relaxed)) {
                body["tool_choice"] = "none".into();
            }
        }
        match (&request.format, self.format.load(Relaxed)) {
            (Some(f), 0) => {
                body["response_format"] = json!({ "type": "json_schema",
                    "json_schema": { "name": f.name, "strict": true, "schema": f.schema } });
            }
            (Some(_), 1) => body["response_format"] = json!({ "type": "json_object" }),
            _ => {}
        }
        match self.limit.load(Relaxed) {
            0 => body["max_tokens"] = request.max_tokens.into(),
            1 => body["max_completion_tokens"] = request.max_tokens.into(),
            _ => {}
        }
        if let Some(t) = request.temperature.filter(|_| !self.no_temperature.load(Relaxed)) {
            // Through text: 0.7_f32 as f64 would be sent as 0.699999988079071.
            body["temperature"] = t.to_string().parse::<f64>().unwrap_or(f64::from(t)).into();
        }
        if !self.no_stream_options.load(Relaxed) {
            body["stream_options"] = json!({ "include_usage": true });
        }
        body
    }

    /// The messages, with tools and schema in words where the server does not take them otherwise.
    fn messages(&self, request: &ChatRequest) -> Vec<Message> {
        let mut messages = if !request.tools.is_empty() && self.no_tools.load(Relaxed) {
            let tools = if request.may_call { request.tools.as_slice() } else { &[] };
            in_words(&request.messages, tools)
        } else {
            request.messages.clone()
        };
        if let Some(format) = request.format.as_ref().filter(|_| self.format.load(Relaxed) > 0) {
            let schema = format!(
                "Answer with nothing but one JSON object that is valid by this JSON schema:\n{}",
                format.schema
            );
            match messages.first_mut() {
                Some(first) if first.role == Role::System => {
                    first.content.push_str("\n\n");
                    first.content.push_str(&schema);
                }
                _ => messages.insert(0, Message::system(schema)),
            }
        }
        messages
    }

    /// Leaves out what the server's refusal of `request` names. False when it names nothing that could be left out.
    fn adapt(&self, request: &ChatRequest, refusal: &str) -> bool {
        let limit = self.limit.load(Relaxed);
        let format = self.format.load(Relaxed);
        let names = |words: &[&str]| words.iter().any(|w| refusal.contains(w));
        if request.format.is_some()
            && format < 2
            && names(&["response_format", "json_schema", "json_object", "tructured output", "schema"])
        {
            self.format.store(format + 1, Relaxed);
            return true;
        }
        if !request.tools.is_empty() {
            if !request.may_call && names(&["tool_choice"]) && !self.no_tool_choice.swap(true, Relaxed) {
                return true;
            }
            // Ollama: "… does not support tools"; llama.cpp: "tools param requires --jinja flag"; vLLM: "\"auto\" tool
            // choice requires …"; routers: "no endpoints found that support tool use".
            if names(&["tool"])
                && names(&[
                    "support",
                    "require",
                    "nknown",
                    "nrecogni",
                    "not allowed",
                    "not permitted",
                    "xtra",
                ])
            {
                return !self.no_tools.swap(true, Relaxed);
            }
        }
        if refusal.contains("stream_options") || refusal.contains("include_usage") {
            return !self.no_stream_options.swap(true, Relaxed);
        }
        if refusal.contains("temperature") {
            return !self.no_temperature.swap(true, Relaxed);
        }
        if (limit == 0 && refusal.contains("max_tokens"))
            || (limit == 1 && refusal.contains("max_completion_tokens"))
        {
            self.limit.store(limit + 1, Relaxed);
            return true;
        }
        false
    }
}

impl OpenAiModel {
    /// A model by its name on the server at `base_url`. `first_token` and `total` limit each answer, counted
    /// from the moment it is asked for.
    ///
    /// # Errors
    /// A base URL that is none, a key that no header can carry, or no TLS.
    pub fn new(
        base_url: &str,
        key: &Secret,
        model: &str,
        first_token: Duration,
        total: Duration,
    ) -> Result<Self, String> {
        let origin = Origin::of(base_url)?;
        let key = Secret::new(key.reveal().trim());
        if HeaderValue::from_str(key.reveal()).is_err() {
            return Err(format!(
                "the key for {} holds characters that cannot be sent; copy it again",
                origin.host
            ));
        }
        let transport = Transport { client: http::client(&origin)?, anonymous: key.is_empty() };
        // `OpenAIConfig::new` reads the environment; everything it may find there is overridden, so that
        // no organisation or key goes to a server it was not meant for.
        let config = OpenAIConfig::new()
            .with_org_id("")
            .with_project_id("")
            .with_api_base(http::base(base_url))
            .with_api_key(key.reveal());
        Ok(Self {
            model: model.to_owned(),
            provider: provider(&origin),
            dialect: Dialect::guess(&origin.host, model),
            shown: http::shown(base_url),
            client: Client::build(transport.client.clone(), config).with_http_service(transport),
            origin,
            key,
            first_token,
            total,
        })
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatStream, LlmError> {
        let asked = Instant::now();
        let first = asked + self.first_token.min(self.total);
        for _ in 0..=MAX_ADAPTATIONS {
            let body = self.dialect.body(&self.model, request);
            let sent: Result<BoxedValues, OpenAIError> =
                match timeout_at(first, self.client.chat().create_stream_byot(body)).await {
                    Ok(sent) => sent,
                    Err(_) => return Err(self.too_late("first token", self.first_token)),
                };
            match sent {
                Ok(chunks) => {
                    return Ok(Reading {
                        chunks,
                        errors: self.errors(),
                        first,
                        last: asked + self.total,
                        limits: (self.first_token, self.total),
                        queue: VecDeque::new(),
                        text: false,
                        head: false,
                        finished: false,
                        ended: false,
                    }
                    .into_stream());
                }
                Err(error) => {
                    let adapted = refusal(&error)
                        .filter(|r| {
                            // Refused parameters are 400 or 422; of tools, routers say 404 and llama.cpp 500.
                            matches!(r.status, 400 | 422)
                                || (!request.tools.is_empty() && matches!(r.status, 404 | 500 | 501))
                        })
                        .is_some_and(|r| self.dialect.adapt(request, &String::from_utf8_lossy(&r.body)));
                    if !adapted {
                        return Err(self.errors().of_openai(error));
                    }
                }
            }
        }
        Err(LlmError::Server {
            model: self.model.clone(),
            status: 400,
            message: "it refuses every form of the request".into(),
        })
    }

    fn errors(&self) -> Errors {
        Errors { model: self.model.clone(), url: self.shown.clone(), key: self.key.clone() }
    }

    fn too_late(&self, what: &'static str, after: Duration) -> LlmError {
        LlmError::Timeout { model: self.model.clone(), what, after }
    }
}

type BoxedValues = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Value, OpenAIError>> + Send>>;

impl ChatModel for OpenAiModel {
    fn model(&self) -> &str {
        &self.model
    }

    fn provider(&self) -> &str {
        &self.provider
    }

    fn server(&self) -> (String, u16) {
        (self.origin.host.clone(), self.origin.port)
    }

    fn stream(&self, request: &ChatRequest) -> BoxFuture<'_, Result<ChatStream, LlmError>> {
        let request = request.clone();
        Box::pin(async move { self.ask(&request).await })
    }
}

/// The provider's name in OpenTelemetry's vocabulary where it has one; for local servers by their usual port,
/// else the host itself.
fn provider(origin: &Origin) -> String {
    const HOSTS: [(&str, &str); 12] = [
        ("api.openai.com", "openai"),
        ("openai.azure.com", "azure.ai.openai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("openrouter.ai", "openrouter"),
        ("api.anthropic.com", "anthropic"),
        ("api.mistral.ai", "mistral_ai"),
        ("api.groq.com", "groq"),
        ("api.deepseek.com", "deepseek"),
        ("api.x.ai", "x_ai"),
        ("api.perplexity.ai", "perplexity"),
        ("api.cohere.ai", "cohere"),
    ];
    let host = origin.host.as_str();
    if let Some((_, name)) = HOSTS.iter().find(|(h, _)| host == *h || host.ends_with(&format!(".{h}"))) {
        return (*name).to_owned();
    }
    match origin.port {
        11_434 => "ollama".to_owned(),
        1234 => "lm_studio".to_owned(),
        8080 if origin.is_loopback() => "llama_cpp".to_owned(),
        _ => host.to_owned(),
    }
}

/// Makes our errors out of everything that can go wrong.
struct Errors {
    model: String,
    url: String,
    key: Secret,
}

impl Errors {
    fn of_status(&self, status: u16, body: &[u8]) -> LlmError {
        let model = self.model.clone();
        let message = http::message(body, &self.key);
        match status {
            401 | 403 => LlmError::Unauthorized { model, message },
            402 | 429 => LlmError::RateLimited { model, message },
            408 | 504 => LlmError::Server { model, status, message: format!("{message}; it timed out") },
            404 => LlmError::Server {
                model,
                status,
                message: format!("{message}; check the model's name and the base URL {}", self.url),
            },
            300..=399 => LlmError::Server {
                model,
                status,
                message: format!("it redirects; put the final address into the base URL {}", self.url),
            },
            _ => LlmError::Server { model, status, message },
        }
    }

    fn of_openai(&self, error: OpenAIError) -> LlmError {
        match error {
            OpenAIError::Boxed(boxed) => match boxed.downcast::<Refused>() {
                Ok(r) if r.status == 200 => {
                    self.garbage(&format!("it sent a page: {}", http::message(&r.body, &self.key)))
                }
                Ok(r) => self.of_status(r.status, &r.body),
                Err(other) => self.connection(&other.to_string()),
            },
            OpenAIError::ApiError(e) => {
                self.of_status(e.status_code.as_u16(), e.api_error.to_string().as_bytes())
            }
            OpenAIError::Reqwest(e) => self.connection(&http::network(e)),
            OpenAIError::StreamError(e) => match *e {
                StreamError::EventStream(said) if said.contains("Transport") => {
                    self.connection("the stream was cut off midway")
                }
                other => self.garbage(&other.to_string()),
            },
            OpenAIError::JSONDeserialize(_, text) => {
                self.garbage(&format!("no JSON: {}", http::message(text.as_bytes(), &self.key)))
            }
            other => self.garbage(&other.to_string()),
        }
    }

    /// A chunk that carries an error instead of text: routers report a provider's failure like this.
    fn of_chunk(&self, error: &Value) -> LlmError {
        let status = ["/code", "/status"]
            .iter()
            .find_map(|p| error.pointer(p).and_then(Value::as_u64))
            .and_then(|c| u16::try_from(c).ok())
            .unwrap_or(500);
        let said = error.get("message").and_then(Value::as_str).or(error.as_str());
        self.of_status(status, said.unwrap_or_default().as_bytes())
    }

    fn connection(&self, message: &str) -> LlmError {
        LlmError::Connection {
            model: self.model.clone(),
            url: self.url.clone(),
            message: http::redact(message, &self.key),
        }
    }

    fn garbage(&self, message: &str) -> LlmError {
        let message = http::message(message.as_bytes(), &self.key);
        LlmError::Garbage { model: self.model.clone(), message }
    }
}

/// An answer being read.
struct Reading {
    chunks: BoxedValues,
    errors: Errors,
    first: Instant,
    last: Instant,
    limits: (Duration, Duration),
    queue: VecDeque<ChatDelta>,
    text: bool,
    head: bool,
    finished: bool,
    ended: bool,
}

impl Reading {
    fn into_stream(self) -> BoxStream<'static, Result<ChatDelta, LlmError>> {
        stream::unfold(self, |mut r| async move { r.next().await.map(|item| (item, r)) }).boxed()
    }

    async fn next(&mut self) -> Option<Result<ChatDelta, LlmError>> {
        loop {
            if let Some(delta) = self.queue.pop_front() {
                return Some(Ok(delta));
            }
            if self.ended {
                return None;
            }
            let deadline = if self.text { self.last } else { self.first };
            match timeout_at(deadline, self.chunks.next()).await {
                Err(_) => {
                    let (what, after) = if self.text {
                        ("complete answer", self.limits.1)
                    } else {
                        ("first token", self.limits.0)
                    };
                    return self.end(LlmError::Timeout { model: self.errors.model.clone(), what, after });
                }
                Ok(None) if self.finished => return None,
                Ok(None) if self.head => {
                    return self.end(self.errors.connection("the stream was cut off midway"));
                }
                Ok(None) => return self.end(self.errors.garbage("the stream held no chat chunks")),
                Ok(Some(Err(e))) => return self.end(self.errors.of_openai(e)),
                Ok(Some(Ok(chunk))) => {
                    if let Err(e) = self.take(&chunk) {
                        return self.end(e);
                    }
                }
            }
        }
    }

    fn end(&mut self, error: LlmError) -> Option<Result<ChatDelta, LlmError>> {
        self.ended = true;
        Some(Err(error))
    }

    fn take(&mut self, chunk: &Value) -> Result<(), LlmError> {
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            return Err(self.errors.of_chunk(error));
        }
        let usage = chunk.get("usage").filter(|u| u.is_object());
        if chunk.get("choices").is_none() && usage.is_none() {
            return Err(self.errors.garbage(&format!("unknown chunk: {chunk}")));
        }
        if !self.head {
            self.head = true;
            let word = |name: &str| chunk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (id, model) = (word("id"), word("model"));
            if !(id.is_empty() && model.is_empty()) {
                self.queue.push_back(ChatDelta::Head { id, model });
            }
        }
        if let Some(choice) = chunk.pointer("/choices/0") {
            // A server that cannot stream answers with the whole message at once.
            let content = choice.pointer("/delta/content").or_else(|| choice.pointer("/message/content"));
            let text = content.map(plain).unwrap_or_default();
            if !text.is_empty() {
                self.text = true;
                self.queue.push_back(ChatDelta::Text(text));
            }
            let calls = choice.pointer("/delta/tool_calls").or_else(|| choice.pointer("/message/tool_calls"));
            for call in calls.and_then(Value::as_array).into_iter().flatten() {
                self.text = true;
                self.queue.push_back(ChatDelta::Call(piece_of_call(call)));
            }
            if let Some(reason) =
                choice.get("finish_reason").and_then(Value::as_str).filter(|r| !r.is_empty())
            {
                self.finished = true;
                self.queue.push_back(ChatDelta::Finish(reason.to_owned()));
            }
        }
        if let Some(usage) = usage {
            self.queue.push_back(ChatDelta::Usage(tokens(usage)));
        }
        Ok(())
    }
}

fn piece_of_call(call: &Value) -> ToolCallDelta {
    let word = |path: &str| call.pointer(path).and_then(Value::as_str).map(str::to_owned);
    ToolCallDelta {
        index: call.get("index").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()),
        id: word("/id"),
        name: word("/function/name"),
        // Text by the protocol; some servers send the object itself.
        arguments: match call.pointer("/function/arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        },
    }
}

/// Text, or the text parts of a list of parts.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect::<String>()
        }
        _ => String::new(),
    }
}

fn tokens(usage: &Value) -> Usage {
    let n = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let input = n("/prompt_tokens");
    // Gemini counts its thinking in the total only.
    let output = n("/completion_tokens").max(n("/total_tokens").saturating_sub(input));
    let reasoning = n("/completion_tokens_details/reasoning_tokens");
    Usage { input, output, cached: n("/prompt_tokens_details/cached_tokens"), reasoning }
}

/// An answer that is no stream: its status and what it said.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}")]
struct Refused {
    status: u16,
    body: Vec<u8>,
}

fn refusal(error: &OpenAIError) -> Option<&Refused> {
    match error {
        OpenAIError::Boxed(boxed) => boxed.downcast_ref(),
        _ => None,
    }
}

/// Sends once, and turns everything that is no event stream into [`Refused`].
#[derive(Clone)]
struct Transport {
    client: reqwest::Client,
    anonymous: bool,
}

impl Transport {
    async fn send(self, request: HttpRequestFactory) -> Result<reqwest::Response, OpenAIError> {
        let mut request = request.build().await?;
        if self.anonymous {
            request.headers_mut().remove(AUTHORIZATION);
        } else if let Some(value) = request.headers_mut().get_mut(AUTHORIZATION) {
            value.set_sensitive(true);
        }
        let response = self.client.execute(request).await.map_err(OpenAIError::Reqwest)?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let page = kind.starts_with("text/html");
        let json = kind.starts_with("application/json");
        if status.is_success() && !page && !json {
            return Ok(response);
        }
        let body = http::begin_of(response, MAX_PAGE).await.map_err(OpenAIError::Reqwest)?;
        if status.is_success()
            && json
            && let Ok(whole) = serde_json::from_slice::<Value>(&body)
        {
            let event = format!("data: {whole}\n\ndata: [DONE]\n\n");
            return Ok(::http::Response::new(event).into());
        }
        let status = if status.is_success() { 200 } else { status.as_u16() };
        Err(OpenAIError::Boxed(Box::new(Refused { status, body })))
    }
}

impl tower_service::Service<HttpRequestFactory> for Transport {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<reqwest::Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Format;

    fn request() -> ChatRequest {
        ChatRequest::new(vec![Message::user("hi")], Some(0.7), 300)
    }

    fn with_tools() -> ChatRequest {
        let parameters = json!({ "type": "object", "properties": {} });
        let tool = Tool { name: "look".into(), description: "Looks.".into(), parameters };
        ChatRequest { tools: vec![tool], ..request() }
    }

    #[test]
    fn providers_are_guessed_from_the_host() {
        let of = |url: &str| provider(&Origin::of(url).unwrap());
        assert_eq!(of("https://api.openai.com/v1"), "openai");
        assert_eq!(of("https://generativelanguage.googleapis.com/v1beta/openai"), "gcp.gemini");
        assert_eq!(of("https://openrouter.ai/api/v1"), "openrouter");
        assert_eq!(of("https://me.openai.azure.com/x"), "azure.ai.openai");
        assert_eq!(of("http://localhost:11434/v1"), "ollama");
        assert_eq!(of("http://192.168.1.7:1234/v1"), "lm_studio");
        assert_eq!(of("https://llm.school.example/v1"), "llm.school.example");
        assert_eq!(of("https://evilapi.openai.com.example/v1"), "evilapi.openai.com.example");
    }

    #[test]
    fn refused_parameters_are_left_out_each_once() {
        let d = Dialect::default();
        let body = d.body("m", &request());
        assert_eq!(body["max_tokens"], 300);
        assert_eq!(body["temperature"], 0.7);
        assert_eq!(body["stream_options"]["include_usage"], true);

        assert!(
            d.adapt(&request(), "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        );
        let body = d.body("m", &request());
        assert!(body.get("max_tokens").is_none());
        assert_eq!(body["max_completion_tokens"], 300);
        assert!(d.adapt(&request(), "'temperature' does not support 0.7 with this model"));
        assert!(!d.adapt(&request(), "'temperature' does not support 0.7 with this model"), "not for ever");
        assert!(d.adapt(&request(), "extra field stream_options"));
        assert!(d.adapt(&request(), "unknown parameter max_completion_tokens"));
        assert!(!d.adapt(&request(), "unknown parameter max_completion_tokens"));
        let body = d.body("m", &request());
        assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
        assert!(!d.adapt(&request(), "the model does not exist"));

        let known = Dialect::guess("api.openai.com", "gpt-5-mini").body("gpt-5-mini", &request());
        assert!(known.get("temperature").is_none() && known.get("max_completion_tokens").is_some());
    }

    #[test]
    fn tools_are_sent_as_the_protocol_has_them_or_in_words() {
        let d = Dialect::default();
        let asked = with_tools();
        let body = d.body("m", &asked);
        assert_eq!(body["tools"][0]["function"]["name"], "look");
        assert!(body.get("tool_choice").is_none());
        let last = ChatRequest { may_call: false, ..asked.clone() };
        assert_eq!(d.body("m", &last)["tool_choice"], "none");
        assert!(d.adapt(&last, "unsupported parameter: tool_choice"));
        assert!(d.body("m", &last).get("tool_choice").is_none());

        assert!(!d.adapt(&request(), "m does not support tools"), "none were sent");
        for (n, said) in ["m does not support tools", "tools param requires --jinja flag"].iter().enumerate()
        {
            let d = if n == 0 { &d } else { &Dialect::default() };
            assert!(d.adapt(&asked, said), "{said}");
            let body = d.body("m", &asked);
            assert!(body.get("tools").is_none());
            assert!(body["messages"][0]["content"].as_str().unwrap().contains("- look: Looks."), "{body}");
            assert!(!d.adapt(&asked, said), "not for ever");
            assert!(!d.body("m", &last)["messages"].to_string().contains("look"), "nothing left to call");
        }
    }

    #[test]
    fn a_schema_becomes_words_where_the_server_knows_none() {
        let d = Dialect::default();
        let schema = json!({ "type": "object", "properties": { "bpm": { "type": "integer" } } });
        let asked = ChatRequest { format: Some(Format { name: "plan".into(), schema }), ..request() };
        let body = d.body("m", &asked);
        assert_eq!(body["response_format"]["json_schema"]["schema"]["properties"]["bpm"]["type"], "integer");
        assert_eq!(body["messages"].as_array().unwrap().len(), 1);
        assert!(d.adapt(&asked, "'response_format' of type 'json_schema' is not supported with this model"));
        let body = d.body("m", &asked);
        assert_eq!(body["response_format"]["type"], "json_object");
        assert!(body["messages"][0]["content"].as_str().unwrap().contains("\"bpm\""));
        assert!(d.adapt(&asked, "response_format: extra fields not permitted"));
        assert!(d.body("m", &asked).get("response_format").is_none());
        assert!(!d.adapt(&asked, "response_format: extra fields not permitted"));
        assert!(d.body("m", &request()).get("response_format").is_none());
    }

    #[tokio::test]
    async fn a_page_without_end_is_read_up_to_a_limit() {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1000]));
        let response = ::http::Response::new(reqwest::Body::wrap_stream(endless));
        assert_eq!(http::begin_of(response.into(), MAX_PAGE).await.unwrap().len(), MAX_PAGE);
    }

    #[test]
    fn tokens_are_totals() {
        let gemini = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45});
        assert_eq!(tokens(&gemini), Usage { input: 10, output: 35, cached: 0, reasoning: 0 });
        let openai = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}});
        assert_eq!(tokens(&openai), Usage { input: 10, output: 5, cached: 4, reasoning: 3 });
    }

    #[test]
    fn keys_that_no_header_can_carry_are_refused_at_once() {
        let second = Duration::from_secs(1);
        let error =
            OpenAiModel::new("http://localhost/v1", &Secret::new("a\nb"), "m", second, second).err().unwrap();
        assert!(error.contains("copy it again") && !error.contains("a\nb"), "{error}");
        assert!(OpenAiModel::new("http://localhost/v1", &Secret::new(" k \n"), "m", second, second).is_ok());
    }
}
