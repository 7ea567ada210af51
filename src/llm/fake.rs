//! A scripted model for tests: it says what it was told to say, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;

use super::{ChatDelta, ChatModel, ChatRequest, ChatStream, LlmError, ToolCallDelta};

/// One scripted answer: refused outright, or deltas of which the last may be an error.
pub type Script = Result<Vec<Result<ChatDelta, LlmError>>, LlmError>;

/// A model that follows a script.
pub struct FakeModel {
    name: String,
    script: Mutex<VecDeque<Script>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl FakeModel {
    /// A model with its answers, in order; asked once more than that, it answers as a server that is gone.
    #[must_use]
    pub fn new(name: &str, script: impl IntoIterator<Item = Script>) -> Self {
        Self {
            name: name.to_owned(),
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
        }
    }

    /// A script that says `text` word by word and stops.
    pub fn says(text: &str) -> Script {
        let mut deltas: Vec<_> =
            text.split_inclusive(' ').map(|word| Ok(ChatDelta::Text(word.to_owned()))).collect();
        deltas.push(Ok(ChatDelta::Finish("stop".into())));
        Ok(deltas)
    }

    /// A script that calls tools (name and JSON arguments), the arguments in two pieces, and stops.
    pub fn calls(calls: &[(&str, &str)]) -> Script {
        let mut deltas = Vec::new();
        for (n, (name, arguments)) in calls.iter().enumerate() {
            let half = (0..=arguments.len() / 2).rev().find(|i| arguments.is_char_boundary(*i)).unwrap_or(0);
            let (begin, rest) = arguments.split_at(half);
            let (id, name) = (Some(format!("call-{n}")), Some((*name).to_owned()));
            let first = ToolCallDelta { index: Some(n), id, name, arguments: begin.to_owned() };
            let second =
                ToolCallDelta { index: Some(n), arguments: rest.to_owned(), ..ToolCallDelta::default() };
            deltas.extend([Ok(ChatDelta::Call(first)), Ok(ChatDelta::Call(second))]);
        }
        deltas.push(Ok(ChatDelta::Finish("tool_calls".into())));
        Ok(deltas)
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ChatModel for FakeModel {
    fn model(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> &str {
        "fake"
    }

    fn server(&self) -> (String, u16) {
        ("fake.invalid".into(), 0)
    }

    fn stream(&self, request: &ChatRequest) -> BoxFuture<'_, Result<ChatStream, LlmError>> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(request.clone());
        let next = self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        Box::pin(async move {
            let gone = LlmError::Connection {
                model: self.name.clone(),
                url: "http://fake.invalid".into(),
                message: "the script is over".into(),
            };
            next.unwrap_or(Err(gone)).map(|deltas| stream::iter(deltas).boxed())
        })
    }
}
