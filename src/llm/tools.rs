//! Tools that a model may call: how they are described to it, how its calls are put together from a stream, and a
//! plain form in words for models and servers that know nothing of tools.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Message, Role};

/// A tool as the model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Letters, digits and underscores, at most 64.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON schema of its arguments, an object.
    pub parameters: Value,
}

impl Tool {
    /// As OpenAI's protocol writes it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "type": "function", "function": {
            "name": self.name, "description": self.description, "parameters": self.parameters } })
    }
}

/// One call that a model makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Joins the result to the call.
    pub id: String,
    /// Which tool; not necessarily one that exists.
    pub name: String,
    /// JSON as the model wrote it; not necessarily valid.
    pub arguments: String,
}

impl Serialize for ToolCall {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({ "id": self.id, "type": "function",
            "function": { "name": self.name, "arguments": self.arguments } })
        .serialize(serializer)
    }
}

/// A piece of a call as it is streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which call of the answer; some servers leave it out, others always say 0.
    pub index: Option<usize>,
    /// Comes with the first piece, if at all.
    pub id: Option<String>,
    /// Comes with the first piece.
    pub name: Option<String>,
    /// The next characters of the arguments.
    pub arguments: String,
}

/// Calls a model can make in one answer; more are a model gone wild.
const MAX_CALLS: usize = 16;

/// Puts streamed calls together.
#[derive(Clone, Debug, Default)]
pub struct Calls(Vec<(Option<usize>, ToolCall)>);

impl Calls {
    /// Takes the next piece.
    pub fn push(&mut self, delta: ToolCallDelta) {
        let id = delta.id.filter(|id| !id.is_empty());
        let name = delta.name.filter(|name| !name.is_empty());
        // A piece belongs to the call of its index, or to the last one where there is no index; but one with another
        // id, or with a name once more after arguments, begins a call (servers that number all of them 0).
        let known = match delta.index {
            Some(index) => self.0.iter().rposition(|(i, _)| *i == Some(index)),
            None => self.0.len().checked_sub(1),
        };
        let known = known.filter(|&at| {
            let call = &self.0[at].1;
            let other_id = id.as_ref().is_some_and(|id| !call.id.is_empty() && *id != call.id);
            let named_again = name.is_some() && id.is_none() && !call.arguments.is_empty();
            !(other_id || named_again)
        });
        let at = match known {
            Some(at) => at,
            None if self.0.len() >= MAX_CALLS => return,
            None => {
                let call = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
                self.0.push((delta.index, call));
                self.0.len() - 1
            }
        };
        let call = &mut self.0[at].1;
        if let Some(id) = id {
            call.id = id;
        }
        if let Some(name) = name {
            call.name = name;
        }
        call.arguments.push_str(&delta.arguments);
    }

    /// True when no call has begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The calls, in the order in which they began; those without an id get one.
    #[must_use]
    pub fn finish(self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = self.0.into_iter().map(|(_, call)| call).collect();
        for (n, call) in calls.iter_mut().enumerate() {
            if call.id.is_empty() {
                call.id = format!("call_{n}");
            }
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".into();
            }
        }
        calls
    }
}

/// Messages for a server that knows no tools: the tools are described in the system message (unless there are none
/// left to call), calls and results are written out.
#[must_use]
pub fn in_words(messages: &[Message], tools: &[Tool]) -> Vec<Message> {
    let mut described = String::from(if tools.is_empty() {
        ""
    } else {
        "\n\nYou have tools. To use one, answer with nothing but a JSON object of this form, and wait for its result:\n\
         {\"name\": \"the tool's name\", \"arguments\": { … }}\nTools:"
    });
    for tool in tools {
        described
            .push_str(&format!("\n- {}: {} Arguments: {}", tool.name, tool.description, tool.parameters));
    }
    let mut out: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    if !tools.is_empty() && messages.first().is_none_or(|m| m.role != Role::System) {
        out.push(Message::system(described.trim_start()));
    }
    for (n, message) in messages.iter().enumerate() {
        out.push(match message.role {
            Role::System if n == 0 => Message::system(format!("{}{described}", message.content)),
            Role::Assistant if !message.tool_calls.is_empty() => {
                let calls = message.tool_calls.iter().map(|c| {
                    let arguments: Value = serde_json::from_str(&c.arguments).unwrap_or_default();
                    json!({ "name": c.name, "arguments": arguments }).to_string()
                });
                let text: Vec<String> = Some(message.content.clone()).into_iter().chain(calls).collect();
                Message::assistant(text.join("\n").trim())
            }
            Role::Tool => Message::user(format!("Result of the tool: {}", message.content)),
            _ => message.clone(),
        });
    }
    out
}

/// Calls that a model wrote into its text, in one of the forms models are trained on: a JSON object, alone, in a code
/// block, or between `<tool_call>` tags. Empty when the text is an ordinary answer.
#[must_use]
pub fn in_text(text: &str, tools: &[Tool]) -> Vec<ToolCall> {
    let mut candidates: Vec<&str> = between(text, "<tool_call>", "</tool_call>");
    if candidates.is_empty() {
        // ```json … ``` or ```tool_call … ```: what follows the first line break.
        candidates =
            between(text, "```", "```").into_iter().filter_map(|b| Some(b.split_once('\n')?.1)).collect();
        candidates.push(text);
    }
    let mut calls = Vec::new();
    for candidate in candidates {
        let Ok(value) = serde_json::from_str::<Value>(candidate.trim()) else { continue };
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in list {
            if let Some((name, arguments)) = call_of(&value, tools)
                && calls.len() < MAX_CALLS
            {
                calls.push(ToolCall { id: format!("call_{}", calls.len()), name, arguments });
            }
        }
    }
    calls
}

/// Name and arguments of a written call to a tool that exists.
fn call_of(value: &Value, tools: &[Tool]) -> Option<(String, String)> {
    let value = value.get("function").filter(|f| f.is_object()).unwrap_or(value);
    let name = ["name", "tool", "function"].iter().find_map(|k| value.get(k)?.as_str())?;
    tools.iter().find(|t| t.name == name)?;
    let arguments = ["arguments", "parameters", "input"].iter().find_map(|k| value.get(k));
    let arguments = match arguments {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "{}".to_owned(),
    };
    Some((name.to_owned(), arguments))
}

/// Every stretch between two marks; the last may lack its end (a model that ran out of tokens, or forgot it).
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(open) {
        rest = &rest[at + open.len()..];
        let end = rest.find(close).unwrap_or(rest.len());
        found.push(&rest[..end]);
        rest = rest.get(end + close.len()..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(index: impl Into<Option<usize>>, id: &str, name: &str, arguments: &str) -> ToolCallDelta {
        let some = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        ToolCallDelta { index: index.into(), id: some(id), name: some(name), arguments: arguments.into() }
    }

    fn put_together(deltas: impl IntoIterator<Item = ToolCallDelta>) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        deltas.into_iter().for_each(|d| calls.push(d));
        calls.finish().into_iter().map(|c| (c.id, c.name, c.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.into(), name.into(), arguments.into())
    }

    #[test]
    fn calls_are_put_together_however_a_server_numbers_them() {
        let two = vec![call("a", "x", "{\"n\":1}"), call("b", "y", "{}")];
        // OpenAI: index, id and name first, then pieces, possibly interleaved.
        let openai = [
            delta(0, "a", "x", ""),
            delta(0, "", "", "{\"n\""),
            delta(1, "b", "y", "{"),
            delta(0, "", "", ":1}"),
            delta(1, "", "", "}"),
        ];
        assert_eq!(put_together(openai), two);
        // Whole calls, all numbered 0, or not numbered at all.
        assert_eq!(put_together([delta(0, "a", "x", "{\"n\":1}"), delta(0, "b", "y", "{}")]), two);
        assert_eq!(put_together([delta(None, "a", "x", "{\"n\":1}"), delta(None, "b", "y", "{}")]), two);
        // No ids at all.
        let anonymous = put_together([delta(0, "", "x", "{\"n\":1}"), delta(0, "", "y", "")]);
        assert_eq!(anonymous, [call("call_0", "x", "{\"n\":1}"), call("call_1", "y", "{}")]);
        // The id repeated in every piece.
        let repeated = [delta(0, "a", "x", "{\"n\""), delta(0, "a", "x", ":1}")];
        assert_eq!(put_together(repeated), [call("a", "x", "{\"n\":1}")]);
        assert_eq!(put_together((0..99).map(|n| delta(n, "", "x", "{}"))).len(), MAX_CALLS);
    }

    fn tools() -> Vec<Tool> {
        let parameters = json!({ "type": "object", "properties": { "sql": { "type": "string" } } });
        vec![Tool { name: "run".into(), description: "Runs SQL.".into(), parameters }]
    }

    #[test]
    fn calls_written_as_text_are_found_and_answers_are_not() {
        let sql = |text: &str| in_text(text, &tools()).into_iter().map(|c| c.arguments).collect::<Vec<_>>();
        let expected = [r#"{"sql":"SELECT 1"}"#];
        for text in [
            r#"{"name": "run", "arguments": {"sql": "SELECT 1"}}"#,
            r#"{"tool": "run", "parameters": {"sql": "SELECT 1"}}"#,
            r#"[{"type":"function","function":{"name":"run","arguments":"{\"sql\":\"SELECT 1\"}"}}]"#,
            "I look.\n```json\n{\"name\": \"run\", \"arguments\": {\"sql\": \"SELECT 1\"}}\n```\n",
            "<tool_call>\n{\"name\": \"run\", \"arguments\": {\"sql\": \"SELECT 1\"}}\n</tool_call>",
            "<tool_call>{\"name\": \"run\", \"arguments\": {\"sql\": \"SELECT 1\"}}",
        ] {
            assert_eq!(sql(text), expected, "{text}");
        }
        for text in
            ["You played well.", "{\"a\": 1}", "```sql\nSELECT 1\n```", "{\"name\": \"rm\"}", "```", ""]
        {
            assert!(sql(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn in_words_nothing_of_the_tool_protocol_is_left() {
        let call = ToolCall { id: "a".into(), name: "run".into(), arguments: r#"{"sql":"SELECT 1"}"#.into() };
        let messages = [
            Message::system("Be kind."),
            Message::user("How did I do?"),
            Message::calling("", vec![call]),
            Message::result("a", "1 row"),
        ];
        let words = in_words(&messages, &tools());
        assert_eq!(words.len(), 4);
        assert!(
            words.iter().all(|m| m.tool_calls.is_empty() && m.tool_call_id.is_none() && m.role != Role::Tool)
        );
        assert!(words[0].content.starts_with("Be kind.") && words[0].content.contains("- run: Runs SQL."));
        assert_eq!(in_text(&words[2].content, &tools()).len(), 1, "the model sees its own form");
        assert!(words[3].content.contains("1 row"));
        assert_eq!(in_words(&messages[1..2], &tools())[0].role, Role::System);
    }
}
