//! One turn: visits node after node of the graph until the answer is there, and keeps it.

use std::collections::VecDeque;
use std::time::Instant;

use jiff::{Timestamp, Zoned};
use opentelemetry::KeyValue;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tracing::Span;

use super::graph::{self, Node, Outcome};
use super::intent::{self, Topic};
use super::{
    Asked, ChatError, Coach, Detail, Event, From, MAX_QUESTION, Proposal, Question, Standing, Turn, chart,
    tools,
};
use crate::llm::{Answer, Call, ChatRequest, Flow, Format, Message, Sink, ToolCall};
use crate::names::{attr, op, span, tag};
use crate::practice::plan::Plan;
use crate::prompt::Rendered;
use crate::prompt::facts::ChatTurn;
use crate::span::{Kind, SpanExt, Thread};
use crate::store::query::{Limits, QueryError, Rows};
use crate::store::{ChatId, NewMessage};

/// Longest title of a thread, characters: one line of a phone.
const TITLE: usize = 60;
/// Messages of the thread that the model is told again, and characters of each: enough for "and last week?".
const MESSAGES_TOLD: usize = 6;
const MESSAGE_TOLD: usize = 700;
/// Name of the agent in traces.
const AGENT: &str = "practice-coach";
/// Tokens for a word of JSON, with room for a model that thinks first.
const INTENT_TOKENS: u32 = 500;

/// See [`Coach::turn`].
pub(super) async fn take(
    coach: &Coach,
    question: Question<'_>,
    events: UnboundedSender<Event>,
) -> Result<Turn, ChatError> {
    let text = question.text.trim();
    if text.is_empty() {
        return Err(ChatError::Empty);
    }
    let length = text.chars().count();
    if length > MAX_QUESTION {
        return Err(ChatError::TooLong(length));
    }
    let now = Timestamp::now();
    let (chat, before) = match question.chat {
        Some(chat) => (chat, coach.store.chat_messages(question.user, chat).await?),
        None => (coach.store.start_chat(question.user, &title(text), now).await?, Vec::new()),
    };
    let own = NewMessage { role: "user", content: text, detail_json: None, trace_id: None };
    coach.store.add_chat_message(question.user, chat, own, now).await?;
    let _ = events.send(Event::Thread { chat });

    let (thread, root) = open(coach, &question, chat);
    let history: Vec<Message> = before.iter().rev().take(MESSAGES_TOLD).rev().map(again).collect();
    root.put(attr::CHAT_TURNS, i64::try_from(before.len() / 2).unwrap_or(i64::MAX));
    root.input_text(text);
    let mut visit = Visit {
        coach,
        user: question.user,
        question: text,
        thread,
        root,
        agent: None,
        events,
        history,
        messages: Vec::new(),
        prompt: Vec::new(),
        pending: VecDeque::new(),
        rounds: 0,
        tool_calls: 0,
        began: Instant::now(),
        failure: None,
        drawable: None,
        charted: intent::wants_chart(text),
        said: String::new(),
        detail: Detail::default(),
    };
    let mut node = Node::Question;
    loop {
        visit.detail.path.push(node.id().to_owned());
        let outcome = visit.at(node).await;
        match graph::next(node, outcome) {
            Some(next) => node = next,
            None => break,
        }
    }
    let (text, detail, root) = visit.finish();
    let ids = root.ids();
    let trace_id = ids.is_valid().then(|| ids.trace_id().to_string());
    let detail_json = serde_json::to_string(&detail).ok();
    let answer = NewMessage { role: "assistant", content: &text, detail_json, trace_id: trace_id.clone() };
    let seq = coach.store.add_chat_message(question.user, chat, answer, Timestamp::now()).await.inspect_err(
        |e| {
            root.fail(e.kind(), e);
        },
    )?;
    Ok(Turn { chat, seq, text, detail, trace_id })
}

/// A thread's title: its first question.
fn title(question: &str) -> String {
    let line = question.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TITLE { line } else { line.chars().take(TITLE - 1).chain(['…']).collect() }
}

/// A message of before as the model is told it again: shortened, an answer with the last query it rests on.
fn again(row: &crate::store::ChatMessageRow) -> Message {
    let mut text: String = row.content.chars().take(MESSAGE_TOLD).collect();
    if row.role == "user" {
        return Message::user(text);
    }
    let detail = Detail::read(row.detail_json.as_deref());
    if let Some(query) = detail.queries.iter().rfind(|q| q.error.is_none()) {
        text.push_str(&format!("\n(from: {})", query.sql));
    }
    Message::assistant(text)
}

fn open(coach: &Coach, question: &Question<'_>, chat: ChatId) -> (Thread, Span) {
    let tags = [tag::HUB, coach.deployment.as_str(), coach.model_tag.as_str()];
    let thread = Thread::new(
        format!("hub-{}-{chat}", question.user),
        question.user,
        tags.iter().map(|t| (*t).to_owned()).collect(),
    );
    let own: &[&str] = match question.from {
        From::Web => &[tag::AI_COACH_CHAT, tag::AI_COACH, tag::WEB_CHAT, tag::FROM_HUB],
        From::Terminal => &[tag::AI_COACH_CHAT, tag::AI_COACH, tag::TERMINAL_CHAT],
    };
    let mut own = own.to_vec();
    if question.text.to_lowercase().contains("plan") {
        own.push(tag::PRACTICE_PLAN);
    }
    let root = thread.root(op::CHAT_TURN, Kind::Chain, &own);
    root.put(attr::OPERATION, "invoke_workflow");
    root.put(attr::WORKFLOW, op::CHAT_TURN);
    root.put(attr::DEPLOYMENT, coach.deployment.clone());
    root.put(attr::CHAT_GRAPH, graph::json(&coach.limits).to_string());
    (thread, root)
}

struct Visit<'a> {
    coach: &'a Coach,
    user: &'a str,
    question: &'a str,
    thread: Thread,
    root: Span,
    /// The agent's span, once it was asked.
    agent: Option<Span>,
    events: UnboundedSender<Event>,
    /// Of the thread, before this turn.
    history: Vec<Message>,
    /// What the agent is told, growing.
    messages: Vec<Message>,
    /// Attributes of its prompt.
    prompt: Vec<KeyValue>,
    /// Calls not carried out yet.
    pending: VecDeque<ToolCall>,
    rounds: usize,
    tool_calls: usize,
    began: Instant,
    /// Why no model answered.
    failure: Option<String>,
    /// Rows of the last query that had any.
    drawable: Option<Rows>,
    charted: bool,
    said: String,
    detail: Detail,
}

impl Visit<'_> {
    async fn at(&mut self, node: Node) -> Outcome {
        match node {
            Node::Question | Node::Answer => Outcome::Done,
            Node::Intent => self.intent().await,
            Node::Decline => self.decline(),
            Node::HasModel => {
                if self.coach.has_model() {
                    Outcome::Yes
                } else {
                    Outcome::No
                }
            }
            Node::Standing => self.standing().await,
            Node::Agent => self.ask_agent(true).await,
            Node::LastWord => self.ask_agent(false).await,
            Node::Limits => self.limits(),
            Node::Schema => {
                let schema = self.coach.store.ask_schema();
                self.tool(node, |_| Ok(schema))
            }
            Node::Query => self.query().await,
            Node::Plan => self.plan(),
            Node::Chart => self.chart(),
        }
    }

    fn step(&self, text: &str) {
        let _ = self.events.send(Event::Step { text: text.to_owned() });
    }

    fn say(&mut self, text: impl Into<String>) {
        self.said = text.into();
        let _ = self.events.send(Event::Text { text: self.said.clone() });
    }

    /// By the words; where they do not tell, a model is asked a small question. Without an answer it counts as practice:
    /// the coach's own instructions decline the rest.
    async fn intent(&mut self) -> Outcome {
        let s = self.child(span::INTENT, Kind::Chain, Node::Intent);
        s.input_text(self.question);
        let mut topic = intent::topic(self.question, !self.history.is_empty());
        if topic == Topic::Unclear
            && let Some(other) = self.ask_topic(&s).await
        {
            topic = if other { Topic::Other } else { Topic::Practice };
        }
        let word = match topic {
            Topic::Practice => "practice",
            Topic::Other => "other",
            Topic::Unclear => "unclear",
        };
        s.put(attr::CHAT_TOPIC, word);
        self.root.put(attr::CHAT_TOPIC, word);
        s.output_text(word);
        if topic == Topic::Other { Outcome::Other } else { Outcome::Practice }
    }

    /// True: about something else.
    async fn ask_topic(&mut self, parent: &Span) -> Option<bool> {
        let chain = self.coach.chain.as_ref()?;
        let rendered = self.coach.prompts.chat_intent(self.question).ok()?;
        let messages = vec![Message::system(&rendered.system), Message::user(&rendered.user)];
        let schema = json!({ "type": "object", "properties": { "practice": { "type": "boolean" } },
            "required": ["practice"], "additionalProperties": false });
        let format = Some(Format { name: "topic".into(), schema });
        let request =
            ChatRequest { format, ..ChatRequest::new(messages, self.coach.temperature, INTENT_TOKENS) };
        let attributes = of_prompt(&rendered, &self.coach.language);
        let call = Call { thread: &self.thread, parent, request: &request, attributes: &attributes };
        let answer = chain.answer(&call, &mut Silent).await.ok()?;
        self.count(&answer);
        let text = &answer.text;
        let json = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to))?;
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        Some(value.get("practice")? == &json!(false))
    }

    fn decline(&mut self) -> Outcome {
        self.say(
            "I only know about your guitar practice: your sessions, scores, timing, notes, scales and plans. Ask me \
             about those, for example *\"What should I practise next?\"* or *\"How was my timing this week?\"*",
        );
        Outcome::Done
    }

    async fn standing(&mut self) -> Outcome {
        let s = self.child(span::STANDING, Kind::Tool, Node::Standing);
        s.input_text(self.question);
        if let Some(why) = self.failure.take() {
            let note = format!("No language model answered ({why}).");
            self.detail.notes.push(note);
        }
        let Some(standing) = Standing::of(self.question) else {
            self.detail.source = "fixed answers".into();
            self.say(self.no_model());
            s.output_text(&self.said);
            return Outcome::Done;
        };
        self.detail.source = "fixed queries".into();
        match standing.answer(&self.coach.store, self.user).await {
            Ok((text, asked)) => {
                for query in &asked {
                    self.retrieved(&s, &query.sql, Ok(&query.rows), query.ms);
                }
                self.charted = standing.is_charted();
                self.drawable = asked.last().map(|a| a.rows.clone()).filter(|r| !r.rows.is_empty());
                self.detail.queries.extend(asked);
                self.say(text);
            }
            Err(error) => {
                s.fail(error.kind(), &error);
                self.charted = false;
                self.say(format!("Your history could not be read: {error}."));
            }
        }
        s.output_text(&self.said);
        Outcome::Done
    }

    /// What is said of a free question that no model answers.
    fn no_model(&self) -> String {
        let list = Standing::ALL.map(|q| format!("- {}", q.question())).join("\n");
        if self.coach.has_model() {
            format!(
                "The language model did not answer; please try again in a moment. These I can answer at any time:\n\n{list}"
            )
        } else {
            format!(
                "Free questions need a language model, and none is set up. Set `OPENAI_API_KEY`, or \
                 `OPENAI_BASE_URL=http://localhost:11434/v1` for one on your own machine (Ollama, llama.cpp, LM Studio), and \
                 start again. Without a model I can answer these, from your own figures:\n\n{list}"
            )
        }
    }

    /// One round of the agent: it answers, or calls tools (`may_call`).
    async fn ask_agent(&mut self, may_call: bool) -> Outcome {
        let Some(chain) = self.coach.chain.clone() else { return Outcome::Failed };
        if self.agent.is_none() {
            if let Err(why) = self.brief() {
                self.failure = Some(why);
                return Outcome::Failed;
            }
            self.step("thinking");
        }
        let agent = self.agent.clone().unwrap_or_else(Span::none);
        agent.put(attr::GRAPH_NODE_ID, Node::Agent.id());
        self.rounds += 1;
        let request = ChatRequest {
            tools: tools::all(self.coach.store.dialect()),
            may_call,
            ..ChatRequest::new(self.messages.clone(), self.coach.temperature, super::MAX_TOKENS)
        };
        let call = Call { thread: &self.thread, parent: &agent, request: &request, attributes: &self.prompt };
        let mut stream = Stream { events: self.events.clone(), held: String::new(), out: false };
        let left = self
            .coach
            .limits
            .time
            .saturating_sub(self.began.elapsed())
            .max(std::time::Duration::from_secs(10));
        let answer = tokio::time::timeout(left, chain.answer(&call, &mut stream)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                stream.discard();
                agent.fail(error.kind(), &error);
                self.failure = Some(error.to_string());
                return Outcome::Failed;
            }
            Err(_) => {
                stream.discard();
                agent.put(attr::ERROR_TYPE, "timeout");
                self.failure =
                    Some(format!("it took longer than {:.0} s", self.coach.limits.time.as_secs_f64()));
                return Outcome::Failed;
            }
        };
        self.count(&answer);
        if answer.attempts > 1 {
            let note = format!("{} answered in place of {}.", answer.model, chain.models()[0].model());
            if !self.detail.notes.contains(&note) {
                self.detail.notes.push(note);
            }
        }
        self.detail.source.clone_from(&answer.model);
        if may_call && !answer.calls.is_empty() {
            stream.discard();
            self.messages.push(Message::calling(spoken(&answer), answer.calls.clone()));
            self.pending = answer.calls.into();
            return Outcome::Calls;
        }
        if answer.text.trim().is_empty() {
            self.failure = Some(format!("{} called tools when it should have answered", answer.model));
            return Outcome::Failed;
        }
        stream.release();
        self.said = answer.text;
        if answer.finish.as_deref() == Some("length") {
            self.detail.notes.push("The answer was cut off at the model's limit.".into());
        }
        Outcome::Answered
    }

    /// What the agent is told at first.
    fn brief(&mut self) -> Result<(), String> {
        let first = self.history.is_empty();
        let schema = self.coach.store.ask_schema();
        let today = Zoned::now().strftime("%A, %Y-%m-%d").to_string();
        let turn = ChatTurn {
            language: &self.coach.language,
            today: &today,
            dialect: self.coach.store.dialect().name(),
            first,
            schema: &schema,
            question: self.question,
        };
        let shipped = crate::prompt::Prompts::default();
        let rendered = self.coach.prompts.chat(&turn).or_else(|e| {
            tracing::warn!("{e}; the shipped prompt is used");
            shipped.chat(&turn)
        });
        let rendered = rendered.map_err(|e| e.to_string())?;
        self.prompt = of_prompt(&rendered, &self.coach.language);
        self.messages = vec![Message::system(&rendered.system)];
        self.messages.append(&mut self.history);
        self.messages.push(Message::user(&rendered.user));
        let agent = self.child(&format!("{} {AGENT}", span::INVOKE_AGENT), Kind::Agent, Node::Agent);
        agent.put(attr::OPERATION, "invoke_agent");
        agent.put(attr::AGENT_NAME, AGENT);
        agent.put(attr::OI_AGENT_NAME, AGENT);
        agent.input_text(self.question);
        self.agent = Some(agent);
        Ok(())
    }

    /// Counts, and says which tool is next.
    fn limits(&mut self) -> Outcome {
        let limits = self.coach.limits;
        let tokens = self.detail.input_tokens + self.detail.output_tokens;
        let reached = if self.began.elapsed() >= limits.time {
            Some(format!("{} s", limits.time.as_secs()))
        } else if tokens >= limits.tokens {
            Some(format!("{} tokens", limits.tokens))
        } else if self.tool_calls >= limits.calls {
            Some(format!("{} queries", limits.calls))
        } else if self.rounds >= limits.rounds {
            Some(format!("{} rounds", limits.rounds))
        } else {
            None
        };
        if let Some(what) = reached {
            // Every call needs its result, or servers refuse the conversation.
            let said = format!(
                "not run: the limit of {what} for one question is reached. Answer with what you have."
            );
            for call in self.pending.drain(..) {
                self.messages.push(Message::result(call.id, said.clone()));
            }
            self.detail.notes.push(format!("The limit of {what} for one question was reached."));
            return Outcome::Reached;
        }
        while let Some(call) = self.pending.front() {
            let outcome = tools::outcome(&call.name);
            if outcome != Outcome::Unknown {
                return outcome;
            }
            let names: Vec<String> =
                tools::all(self.coach.store.dialect()).into_iter().map(|t| t.name).collect();
            let said = format!("error: there is no tool `{}`; there are {}", call.name, names.join(", "));
            self.messages.push(Message::result(call.id.clone(), said));
            self.tool_calls += 1;
            self.pending.pop_front();
        }
        Outcome::Unknown
    }

    /// Carries out the next call: what `work` makes of its arguments is told to the model.
    fn tool(&mut self, node: Node, work: impl FnOnce(&str) -> Result<String, String>) -> Outcome {
        let Some((call, s)) = self.begin_tool(node) else { return Outcome::Done };
        let result = work(&call.arguments);
        self.end_tool(call, &s, result)
    }

    fn begin_tool(&mut self, node: Node) -> Option<(ToolCall, Span)> {
        let call = self.pending.pop_front()?;
        self.tool_calls += 1;
        let parent = self.agent.as_ref().unwrap_or(&self.root);
        let s = self.thread.child(parent, &format!("{} {}", span::EXECUTE_TOOL, call.name), Kind::Tool);
        s.put(attr::OPERATION, "execute_tool");
        s.put(attr::TOOL_NAME, call.name.clone());
        s.put(attr::OI_TOOL_NAME, call.name.clone());
        s.put(attr::TOOL_TYPE, "function");
        s.put(attr::TOOL_CALL_ID, call.id.clone());
        s.put(attr::OI_TOOL_ID, call.id.clone());
        s.put(attr::TOOL_DESCRIPTION, node.about());
        s.put(attr::GRAPH_NODE_ID, node.id());
        s.put(attr::GRAPH_NODE_NAME, node.label());
        let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
        s.input_json(&arguments);
        Some((call, s))
    }

    fn end_tool(&mut self, call: ToolCall, s: &Span, result: Result<String, String>) -> Outcome {
        let said = match result {
            Ok(text) => text,
            Err(why) => {
                s.put(attr::ERROR_TYPE, "tool_error");
                format!("error: {why}")
            }
        };
        s.output_text(&said);
        self.messages.push(Message::result(call.id, said));
        if self.pending.is_empty() { Outcome::Done } else { Outcome::MoreCalls }
    }

    async fn query(&mut self) -> Outcome {
        let Some((call, s)) = self.begin_tool(Node::Query) else { return Outcome::Done };
        self.step("looking it up");
        let result = match tools::query_of(&call.arguments) {
            Err(why) => Err(why),
            Ok(sql) => {
                let answer = self.coach.store.ask(self.user, &sql, Limits::default()).await;
                let ms = answer.as_ref().map_or(0.0, |r| r.elapsed.as_secs_f64() * 1e3);
                self.retrieved(&s, &sql, answer.as_ref(), ms);
                match answer {
                    Ok(rows) => {
                        self.detail.queries.push(Asked::answered(&sql, &rows));
                        let text = tools::told(&rows);
                        if !rows.rows.is_empty() {
                            self.drawable = Some(rows);
                        }
                        Ok(text)
                    }
                    Err(error) => {
                        let said = error.to_string();
                        self.detail.queries.push(Asked::refused(&sql, &error));
                        Err(format!("{said}{}", tools::hint(&sql, &said)))
                    }
                }
            }
        };
        self.end_tool(call, &s, result)
    }

    /// The span of a query: what was asked, how much came back, how long it took.
    fn retrieved(&self, parent: &Span, sql: &str, answer: Result<&Rows, &QueryError>, ms: f64) {
        let s = self.thread.child(parent, span::RETRIEVAL, Kind::Retriever);
        s.put(attr::OPERATION, "retrieval");
        s.put(attr::DATA_SOURCE, "practice-history");
        s.put(attr::QUERY_TEXT, sql.to_owned());
        s.input_text(sql);
        match answer {
            Ok(rows) => {
                let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
                s.put(attr::QUERY_ROWS, count(rows.rows.len()));
                s.put(attr::QUERY_BYTES, count(rows.bytes));
                s.put(attr::QUERY_MS, ms);
                let text = tools::told(rows);
                s.put(format!("{}.0.document.content", attr::RETRIEVAL_DOCUMENTS), text.clone());
                s.output_json(&json!([{ "page_content": text, "id": "rows",
                    "metadata": { "rows": rows.rows.len(), "bytes": rows.bytes, "more": rows.more } }]));
            }
            Err(error) => s.fail(error.kind(), error),
        }
    }

    fn plan(&mut self) -> Outcome {
        self.step("making a plan");
        let mut proposed = None;
        let outcome = self.tool(Node::Plan, |arguments| match Plan::read(arguments) {
            Ok(plan) => {
                let said = format!(
                    "shown to the player with a button that saves it: {}, {} min",
                    plan.scale, plan.minutes
                );
                proposed = Some(plan);
                Ok(said)
            }
            Err(invalid) => Err(invalid.to_string()),
        });
        if let Some(plan) = proposed {
            self.detail.proposal = Some(Proposal { plan, saved: None });
        }
        outcome
    }

    fn chart(&mut self) -> Outcome {
        if self.charted {
            self.detail.chart = self.drawable.as_ref().and_then(chart::of);
        }
        Outcome::Done
    }

    fn child(&self, name: &str, kind: Kind, node: Node) -> Span {
        let s = self.thread.child(&self.root, name, kind);
        s.put(attr::GRAPH_NODE_ID, node.id());
        s.put(attr::GRAPH_NODE_NAME, node.label());
        s
    }

    fn count(&mut self, answer: &Answer) {
        self.detail.calls += 1;
        if let Some(usage) = answer.usage {
            self.detail.input_tokens += usage.input;
            self.detail.output_tokens += usage.output;
            self.detail.cached_tokens += usage.cached;
        }
        if let Some(cost) = answer.cost {
            *self.detail.cost_usd.get_or_insert(0.0) += cost;
        }
    }

    fn finish(mut self) -> (String, Detail, Span) {
        self.detail.seconds = self.began.elapsed().as_secs_f64();
        if let Some(agent) = &self.agent {
            agent.output_text(&self.said);
        }
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.root.put(attr::CHAT_PATH, self.detail.path.join(" "));
        self.root.put(attr::CHAT_CALLS, count(self.detail.calls as u64));
        self.root.put(attr::CHAT_TOKENS, count(self.detail.input_tokens + self.detail.output_tokens));
        self.root.output_text(&self.said);
        (self.said, self.detail, self.root)
    }
}

/// What a model said beside its calls; calls that it wrote as text are no words.
fn spoken(answer: &Answer) -> String {
    let written = answer.text.contains("\"name\"") || answer.text.contains("<tool_call>");
    if written { String::new() } else { answer.text.clone() }
}

fn of_prompt(rendered: &Rendered, language: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new(attr::PROMPT_NAME, rendered.prompt.name.clone()),
        KeyValue::new(attr::PROMPT_VERSION, rendered.prompt.version.clone()),
        KeyValue::new(attr::PROMPT_HASH, rendered.prompt.sha256.clone()),
        KeyValue::new(attr::PROMPT_LANGUAGE, language.to_owned()),
    ]
}

/// Streams an answer to whoever listens. Nothing that is out cannot be taken back: a screen is not a loudspeaker.
struct Stream {
    events: UnboundedSender<Event>,
    /// What may yet turn out to be a written call of a tool.
    held: String,
    out: bool,
}

impl Stream {
    fn send(&mut self, text: String) {
        self.out = true;
        // Nobody may be listening any more; the answer is kept all the same.
        let _ = self.events.send(Event::Text { text });
    }

    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.send(held);
        }
    }
}

impl Sink for Stream {
    fn text(&mut self, piece: &str) -> Flow {
        if !self.out {
            self.held.push_str(piece);
            // An answer begins with a word; a call with one of these.
            if self.held.trim_start().is_empty() || self.held.trim_start().starts_with(['{', '[', '<', '`']) {
                return Flow::More;
            }
            self.release();
        } else {
            self.send(piece.to_owned());
        }
        Flow::More
    }

    fn end(&mut self) {}

    fn committed(&self) -> bool {
        false
    }

    fn discard(&mut self) {
        self.held.clear();
        if std::mem::take(&mut self.out) {
            let _ = self.events.send(Event::Reset);
        }
    }
}

/// For an answer that nobody reads as it comes.
struct Silent;

impl Sink for Silent {
    fn text(&mut self, _piece: &str) -> Flow {
        Flow::More
    }
    fn end(&mut self) {}
    fn committed(&self) -> bool {
        false
    }
    fn discard(&mut self) {}
}
