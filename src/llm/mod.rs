//! Language models: one trait, the OpenAI-compatible client behind it, a scripted fake, and the chain that falls back.

mod chain;
mod fake;
mod openai;
mod price;
mod tools;

pub use chain::{Answer, Call, Chain, ChainError, Flow, Sink};
pub use fake::{FakeModel, Script};
pub use openai::{OPENAI, OpenAiModel};
pub use price::{Price, Prices};
pub use tools::{Calls, Tool, ToolCall, ToolCallDelta, in_text, in_words};

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// What is asked.
    User,
    /// What the model said.
    Assistant,
    /// What a tool yielded.
    Tool,
}

impl Role {
    /// As the protocol writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// Plain text.
    pub content: String,
    /// Tools that an assistant's message calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's message: the call it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    fn plain(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    /// Standing instructions.
    pub fn system(content: impl Into<String>) -> Self {
        Self::plain(Role::System, content)
    }

    /// What is asked.
    pub fn user(content: impl Into<String>) -> Self {
        Self::plain(Role::User, content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::plain(Role::Assistant, content)
    }

    /// What the model said when it called tools.
    pub fn calling(content: impl Into<String>, calls: Vec<ToolCall>) -> Self {
        Self { tool_calls: calls, ..Self::plain(Role::Assistant, content) }
    }

    /// What a call yielded.
    pub fn result(call_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self { tool_call_id: Some(call_id.into()), ..Self::plain(Role::Tool, content) }
    }
}

/// The shape that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    /// Letters, digits, underscores and dashes.
    pub name: String,
    /// JSON schema of the answer, an object. Servers hold to it strictly if every object in it lists all its properties
    /// as required and allows no others. Servers that know no schemas are asked for JSON, with the schema in words: the
    /// answer must be validated in any case.
    pub schema: serde_json::Value,
}

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// In order, system first.
    pub messages: Vec<Message>,
    /// `None`: left to the server.
    pub temperature: Option<f32>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// False: it must answer now, though the tools are still described (the messages may hold calls to them).
    pub may_call: bool,
    /// The shape of the answer; `None`: text.
    pub format: Option<Format>,
}

impl ChatRequest {
    /// A question that is answered in text, without tools.
    #[must_use]
    pub fn new(messages: Vec<Message>, temperature: Option<f32>, max_tokens: u32) -> Self {
        Self { messages, temperature, max_tokens, tools: Vec::new(), may_call: true, format: None }
    }
}

/// Tokens of one answer; totals include cached and reasoning ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens.
    pub input: u64,
    /// Answer tokens.
    pub output: u64,
    /// Of `input`, read from the provider's cache.
    pub cached: u64,
    /// Of `output`, spent on reasoning.
    pub reasoning: u64,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatDelta {
    /// Some text.
    Text(String),
    /// A piece of a call to a tool.
    Call(ToolCallDelta),
    /// Which answer this is; may come more than once.
    Head {
        /// The server's id of the answer.
        id: String,
        /// The model that answers, if the server says so.
        model: String,
    },
    /// Why the model stopped (`stop`, `length`, …).
    Finish(String),
    /// What it cost in tokens; absent on servers that do not count.
    Usage(Usage),
}

/// Why a model gave no (whole) answer.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// 429, or the provider's quota is used up.
    #[error("{model} is rate-limited ({message}); wait, or add a fallback model")]
    RateLimited {
        /// Model asked.
        model: String,
        /// What the server said, shortened.
        message: String,
    },
    /// 401 or 403.
    #[error("{model}: the key was refused ({message}); check OPENAI_API_KEY and the base URL")]
    Unauthorized {
        /// Model asked.
        model: String,
        /// What the server said, shortened, without the key.
        message: String,
    },
    /// No first token, or no end, in time.
    #[error("{model} gave no {what} within {after:?}; check the server or raise the time-out")]
    Timeout {
        /// Model asked.
        model: String,
        /// `first token` or `complete answer`.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The server could not be reached, or the connection broke.
    #[error("{model}: no connection to {url} ({message}); check the base URL and the network")]
    Connection {
        /// Model asked.
        model: String,
        /// Base URL.
        url: String,
        /// What the network said.
        message: String,
    },
    /// The server answered with another error.
    #[error("{model}: the server answered {status} ({message})")]
    Server {
        /// Model asked.
        model: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
    },
    /// The stream held something else than chat chunks, or nothing.
    #[error("{model}: the answer was not understood ({message}); is this an OpenAI-compatible server?")]
    Garbage {
        /// Model asked.
        model: String,
        /// What was wrong.
        message: String,
    },
}

impl LlmError {
    /// Short fixed word for `error.type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Timeout { .. } => "timeout",
            Self::Connection { .. } => "connection",
            Self::Server { .. } => "server_error",
            Self::Garbage { .. } => "bad_response",
        }
    }
}

/// A streamed answer.
pub type ChatStream = BoxStream<'static, Result<ChatDelta, LlmError>>;

/// A chat model that streams.
pub trait ChatModel: Send + Sync {
    /// Name as asked for (`gpt-4o-mini`).
    fn model(&self) -> &str;
    /// Provider for `gen_ai.provider.name` (`openai`, `gcp.gemini`, `openrouter`, `ollama`, …), guessed from the host.
    fn provider(&self) -> &str;
    /// Host and port of the server.
    fn server(&self) -> (String, u16);
    /// Asks. The future ends when the server has accepted the request; the stream yields text as it comes.
    fn stream(&self, request: &ChatRequest) -> BoxFuture<'_, Result<ChatStream, LlmError>>;
}
