//! The chat coach with a scripted model behind real HTTP, over a history with known answers, on both engines.

mod common;
#[path = "chat/history.rs"]
mod history;
#[path = "common/openai_server.rs"]
mod openai_server;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fretcoach::chat::chart::ChartKind;
use fretcoach::chat::graph::{self, Limits, Node};
use fretcoach::chat::{ChatError, Coach, Event, From, Question, Standing, Turn};
use fretcoach::config::{Config, Fallback, Secret};
use fretcoach::hub::{Hub, Parts};
use fretcoach::names::{attr, op, span};
use fretcoach::span::TARGET;
use fretcoach::store::{ChatId, Store};
use history::OTHERS;
use openai_server::{Reply, Server};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// A store in a file, with the history of all.
async fn sqlite(folder: &Path) -> Store {
    let store = Store::open_in(folder).await.unwrap();
    let path = store.path().unwrap().display().to_string();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{path}")).await.unwrap();
    for statement in history::inserts(true) {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    store
}

/// A shared store, with the history of all.
async fn postgres() -> Store {
    let url = tokio::task::spawn_blocking(|| common::postgres::shared().database()).await.unwrap();
    let store = Store::connect(&url).await.unwrap();
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    for statement in history::inserts(true) {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    store
}

fn config(server: Option<&Server>) -> Config {
    let mut config = Config { user: "ann".into(), ..Config::default() };
    if let Some(server) = server {
        config.llm.base_url = server.base_url();
        config.llm.api_key = Secret::new("sk-chat-5d0c");
        config.llm.model = "first".into();
        config.llm.prices = vec!["first=1/10".into(), "second=1/10".into()];
    }
    config
}

fn coach(server: Option<&Server>, store: &Store) -> Coach {
    spans();
    Coach::new(&config(server), store.clone()).unwrap()
}

async fn ask(coach: &Coach, chat: Option<ChatId>, text: &str) -> Turn {
    told(coach, chat, text).await.0
}

/// A turn with what happened during it.
async fn told(coach: &Coach, chat: Option<ChatId>, text: &str) -> (Turn, Vec<Event>) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let question = Question { user: "ann", chat, text, from: From::Web };
    let turn = coach.turn(question, sender).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    (turn, events)
}

fn sql(query: &str) -> Reply {
    Reply::calls("execute_sql_query", &json!({ "sql": query }))
}

fn says(text: &str) -> Reply {
    Reply::says(text, Duration::ZERO)
}

/// What the tools told the model, in order, by the last request.
fn results(server: &Server) -> Vec<String> {
    let asked = server.asked();
    let messages = asked.last().expect("the model was asked").body["messages"].clone();
    let all = messages.as_array().cloned().unwrap_or_default();
    let tools = all.iter().filter(|m| m["role"] == "tool");
    tools.map(|m| m["content"].as_str().unwrap_or_default().to_owned()).collect()
}

#[derive(Deserialize)]
struct Natural {
    #[serde(default)]
    kind: String,
    ask: String,
    sql: Vec<String>,
    #[serde(default)]
    told: Vec<String>,
    #[serde(default)]
    chart: String,
}

#[derive(Deserialize)]
struct Questions {
    question: Vec<Natural>,
}

async fn sixty_questions(store: &Store) {
    let server = Server::start().await;
    let coach = coach(Some(&server), store);
    let questions: Questions = toml::from_str(include_str!("chat/questions.toml")).unwrap();
    assert_eq!(questions.question.len(), 60);
    for Natural { kind, ask: question, sql: queries, told: expected, chart } in &questions.question {
        for query in queries {
            server.on_chat(sql(query));
        }
        server.on_chat(says("Here you are."));
        let turn = ask(&coach, None, question).await;
        assert_eq!(turn.text, "Here you are.", "{question}");
        let results = results(&server);
        assert_eq!(results.len(), queries.len(), "{question}: {results:?}");
        for (n, result) in results.iter().enumerate() {
            let fails = kind == "malicious" || (kind == "wrong" && n + 1 < results.len());
            assert_eq!(result.starts_with("error: "), fails, "{question}: {result}");
            assert!(!result.contains(OTHERS), "{question}: {result}");
            if let Some(part) = expected.get(n) {
                assert!(result.contains(part.as_str()), "{question}: {part:?} in {result:?}");
            }
        }
        let drawn = turn.detail.chart.as_ref().map_or("", |c| match c.kind {
            ChartKind::Lines => "lines",
            ChartKind::Bars => "bars",
        });
        assert_eq!(drawn, chart, "{question}: {:?}", turn.detail.chart);
        let refused = turn.detail.queries.iter().filter(|q| q.error.is_some()).count();
        assert_eq!(
            refused > 0,
            kind == "malicious" || (kind == "wrong" && !queries[0].is_empty()),
            "{question}"
        );
    }
    // Nothing was written by any of it.
    assert_eq!(store.users().await.unwrap().len(), 3);
    let ask_count = "SELECT COUNT(*) AS n, SUM(overall_score) AS s FROM sessions";
    let rows = store.ask("ann", ask_count, fretcoach::store::query::Limits::default()).await.unwrap();
    assert_eq!(rows.rows[0].iter().map(ToString::to_string).collect::<Vec<_>>(), ["8", "630"]);
}

#[tokio::test]
async fn sixty_natural_questions_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    sixty_questions(&sqlite(folder.path()).await).await;
}

#[tokio::test]
async fn sixty_natural_questions_on_postgres() {
    sixty_questions(&postgres().await).await;
}

async fn standing_questions(store: &Store) {
    let coach = coach(None, store);
    let mut chat = None;
    for (standing, expected, chart) in [
        (Standing::Next, &["**timing**", "65 of 100", "your last 8 sessions", "E blues", "/plan"][..], false),
        (Standing::Progress, &["improving", "**82**", "| overall | 76 | 82 | +6 |"][..], true),
        (
            Standing::Comparison,
            &["better than usual", "**85** against an average of 78", "| pitch | 86 |"][..],
            true,
        ),
        (
            Standing::Scales,
            &["3 scales", "**A minor pentatonic**", "| E blues | 2 | 32 | 76 | 77 | 6 days ago |"][..],
            true,
        ),
        (Standing::Weakest, &["**timing**", "65 of 100", "35 ms", "D (100 % of 8 wrong)"][..], false),
        (Standing::Streak, &["3 days in a row", "5 days", "75 min", "8 days"][..], true),
    ] {
        let turn = ask(&coach, chat, standing.question()).await;
        for part in expected {
            assert!(turn.text.contains(part), "{part:?} in {}", turn.text);
        }
        assert_eq!(turn.detail.chart.is_some(), chart, "{}", turn.text);
        assert!(!turn.text.contains(OTHERS) && turn.detail.calls == 0);
        assert!(turn.detail.queries.iter().all(|q| q.error.is_none()));
        chat = Some(turn.chat);
    }
    let free = ask(&coach, chat, "How many of my notes were too late in week 3?").await;
    assert!(free.text.contains("OPENAI_API_KEY") && free.text.contains("OPENAI_BASE_URL"), "{}", free.text);
    assert!(free.text.contains(Standing::Streak.question()), "{}", free.text);
    assert_eq!(store.chat_messages("ann", free.chat).await.unwrap().len(), 14);
}

#[tokio::test]
async fn standing_questions_are_answered_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    standing_questions(&sqlite(folder.path()).await).await;
    standing_questions(&postgres().await).await;
}

#[tokio::test]
async fn a_player_without_history_is_told_how_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let coach = coach(None, &Store::open_in(folder.path()).await.unwrap());
    for standing in Standing::ALL {
        let turn = ask(&coach, None, standing.question()).await;
        assert!(turn.text.contains("no finished session yet"), "{}", turn.text);
    }
}

#[tokio::test]
async fn a_thread_survives_a_restart_and_later_turns_are_told_less() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let store = sqlite(folder.path()).await;
    server.on_chat(sql("SELECT overall_score FROM sessions WHERE recency = 1"));
    server.on_chat(says("You scored **85**."));
    let first = ask(&coach(Some(&server), &store), None, "What was my last score?").await;
    store.close().await;

    let store = Store::open_in(folder.path()).await.unwrap();
    server.on_chat(says("It was 83 before."));
    let second = ask(&coach(Some(&server), &store), Some(first.chat), "And before?").await;
    assert_eq!((second.chat, second.seq), (first.chat, 4));
    let rows = store.chat_messages("ann", first.chat).await.unwrap();
    let said: Vec<&str> = rows.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(said, ["What was my last score?", "You scored **85**.", "And before?", "It was 83 before."]);
    assert_eq!(store.chats("ann", 10).await.unwrap()[0].title, "What was my last score?");
    assert!(store.chats("nobody", 10).await.unwrap().is_empty());
    assert!(
        store.chat_messages("nobody", first.chat).await.unwrap().is_empty(),
        "another's thread is not there"
    );

    let asked = server.asked();
    let system = |n: usize| asked[n].body["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(
        system(0).contains("early_late_ms") && system(0).contains("SQLite"),
        "the schema on the first turn"
    );
    assert!(!system(2).contains("early_late_ms"), "not again");
    assert!(system(2).len() * 3 < system(0).len(), "{} and {}", system(2).len(), system(0).len());
    let again = asked[2].body["messages"].to_string();
    assert!(again.contains("You scored **85**.") && again.contains("WHERE recency = 1"), "{again}");
    assert!(second.detail.cost_line().unwrap().contains("220 tokens"), "{:?}", second.detail.cost_line());
}

#[tokio::test]
async fn the_next_model_answers_on_rate_limit_and_fixed_queries_when_none_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let store = sqlite(folder.path()).await;
    let mut config = config(Some(&server));
    config.llm.fallbacks =
        vec![Fallback { model: "second".into(), base_url: String::new(), api_key: Secret::default() }];
    let coach = Coach::new(&config, store).unwrap();
    server.on_chat(Reply::status(429, "slow down"));
    server.on_chat(says("You play well."));
    let turn = ask(&coach, None, "How do I play?").await;
    assert_eq!((turn.text.as_str(), turn.detail.source.as_str()), ("You play well.", "second"));
    assert_eq!(turn.detail.notes, ["second answered in place of first."]);
    assert_eq!(server.models(), ["first", "second"]);

    server.usually_chat(Reply::status(429, "slow down"));
    let turn = ask(&coach, None, "What is my weakest area?").await;
    assert!(turn.text.contains("**timing**") && turn.detail.source == "fixed queries", "{}", turn.text);
    assert!(turn.detail.notes[0].contains("slow down"), "{:?}", turn.detail.notes);
    let turn = ask(&coach, None, "How many notes did I play in May?").await;
    assert!(turn.text.contains("did not answer") && turn.text.contains("weakest"), "{}", turn.text);
}

#[tokio::test]
async fn it_answers_only_about_practice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let coach = coach(Some(&server), &sqlite(folder.path()).await);
    let declined = "I only know about your guitar practice";
    let turn = ask(&coach, None, "What is the capital of France?").await;
    assert!(turn.text.starts_with(declined) && server.asked().is_empty(), "{}", turn.text);
    // The words do not tell: a small question to the model does.
    server.on_chat(says("{\"practice\": false}"));
    let turn = ask(&coach, None, "What is the meaning of it all?").await;
    assert!(turn.text.starts_with(declined), "{}", turn.text);
    let small = server.asked()[0].body.to_string();
    assert!(small.len() < 1500 && small.contains("json_schema"), "{} bytes", small.len());
    server.on_chat(says("{\"practice\": true}"));
    server.on_chat(says("It went well."));
    assert_eq!(ask(&coach, None, "How did it all go for me?").await.text, "It went well.");
}

#[tokio::test]
async fn limits_end_a_model_gone_wild() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let store = sqlite(folder.path()).await;
    let limits = Limits { rounds: 3, ..Limits::default() };
    let coach = coach(Some(&server), &store).with_limits(limits);
    for _ in 0..3 {
        server.on_chat(sql("SELECT COUNT(*) AS n FROM sessions"));
    }
    server.on_chat(says("Eight sessions."));
    let turn = ask(&coach, None, "How many sessions did I play?").await;
    assert_eq!((turn.text.as_str(), turn.detail.calls), ("Eight sessions.", 4));
    assert_eq!(turn.detail.queries.len(), 2, "the third was not run");
    assert!(turn.detail.notes[0].contains("limit of 3 rounds"), "{:?}", turn.detail.notes);
    let last = server.asked().pop().unwrap().body;
    assert_eq!(last["tool_choice"], "none");
    assert!(results(&server)[2].starts_with("not run"), "{:?}", results(&server));

    // Even then it calls: fixed words answer.
    for _ in 0..4 {
        server.on_chat(sql("SELECT 1 AS n FROM sessions"));
    }
    let turn = ask(&coach, None, "How many notes did I play?").await;
    assert!(turn.text.contains("did not answer"), "{}", turn.text);
    let tokens = Limits { tokens: 100, ..Limits::default() };
    let coach = coach.with_limits(tokens);
    server.on_chat(sql("SELECT 1 AS n FROM sessions"));
    server.on_chat(says("Enough."));
    let turn = ask(&coach, None, "How many notes did I play?").await;
    assert!(
        turn.detail.notes[0].contains("100 tokens") && turn.detail.queries.is_empty(),
        "{:?}",
        turn.detail.notes
    );
}

#[tokio::test]
async fn servers_without_tools_and_unknown_tools_are_coped_with() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let coach = coach(Some(&server), &sqlite(folder.path()).await);
    server.on_chat(Reply::status(400, "first does not support tools"));
    server.on_chat(says("```json\n{\"name\": \"execute_sql_query\", \"arguments\": {\"sql\": \"SELECT COUNT(*) AS n FROM sessions\"}}\n```"));
    server.on_chat(says("Eight."));
    let (turn, events) = told(&coach, None, "How many sessions did I play?").await;
    assert_eq!(turn.text, "Eight.");
    let shown: String = events
        .iter()
        .filter_map(|e| if let Event::Text { text } = e { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(shown, "Eight.", "a written call is never shown");
    let asked = server.asked();
    assert!(asked[0].body.get("tools").is_some() && asked[1].body.get("tools").is_none());
    assert!(asked[2].body["messages"].to_string().contains("n\\n8"));

    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let coach = self::coach(Some(&server), &sqlite(folder.path()).await);
    server.on_chat(Reply::calls("rm_rf", &json!({})));
    server.on_chat(Reply::calls("get_database_schema", &json!({})));
    server.on_chat(says("Well."));
    assert_eq!(ask(&coach, None, "How do I play?").await.text, "Well.");
    let results = results(&server);
    assert!(results[0].contains("no tool `rm_rf`") && results[1].contains("early_late_ms"), "{results:?}");
}

#[tokio::test]
async fn what_is_asked_must_be_a_question_of_some_length() {
    let folder = tempfile::tempdir().unwrap();
    let coach = coach(None, &sqlite(folder.path()).await);
    let (sender, _receiver) = mpsc::unbounded_channel();
    let long = "why ".repeat(1000);
    for (text, long) in [("  ", false), (long.as_str(), true)] {
        let question = Question { user: "ann", chat: None, text, from: From::Web };
        let error = coach.turn(question, sender.clone()).await.unwrap_err();
        assert_eq!(matches!(error, ChatError::TooLong(_)), long, "{error}");
    }
}

/// Keeps every span that ends.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Everything that this program traced. One collector for all tests: one that stands for a single test misses spans
/// whose places in the code were first passed by another test.
fn spans() -> &'static Spans {
    static SPANS: OnceLock<Spans> = OnceLock::new();
    SPANS.get_or_init(|| {
        let spans = Spans::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("test"))
            .with_filter(Targets::new().with_target(TARGET, tracing::Level::TRACE));
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
            .expect("the first");
        spans
    })
}

#[tokio::test]
async fn a_turn_is_a_trace_with_every_step_and_the_way_through_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let coach = coach(Some(&server), &sqlite(folder.path()).await);
    server.on_chat(sql("SELECT day, overall_score FROM sessions ORDER BY day"));
    server.on_chat(says("Upwards."));
    let turn = ask(&coach, None, "How is my progress over time?").await;

    let mut all = spans().0.lock().unwrap().clone();
    let thread = format!("hub-ann-{}", turn.chat);
    all.retain(|s| {
        s.attributes.iter().any(|a| a.key.as_str() == attr::SESSION_ID && a.value.as_str() == thread)
    });
    let attribute = |s: &SpanData, name: &str| {
        s.attributes.iter().find(|a| a.key.as_str() == name).map(|a| a.value.to_string()).unwrap_or_default()
    };
    let one = |name: &str| {
        let found: Vec<&SpanData> = all.iter().filter(|s| s.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].clone()
    };
    let root = one(op::CHAT_TURN);
    let agent = one(&format!("{} practice-coach", span::INVOKE_AGENT));
    let tool = one(&format!("{} execute_sql_query", span::EXECUTE_TOOL));
    let rows = one(span::RETRIEVAL);
    let parents = [(&one(span::INTENT), &root), (&agent, &root), (&tool, &agent), (&rows, &tool)];
    for (child, parent) in parents {
        assert_eq!(child.parent_span_id, parent.span_context.span_id(), "{}", child.name);
    }
    let chats: Vec<&SpanData> = all.iter().filter(|s| s.name == "chat first").collect();
    assert!(chats.len() == 2 && chats.iter().all(|c| c.parent_span_id == agent.span_context.span_id()));
    assert!(attribute(chats[0], "llm.tools.1.tool.json_schema").contains("execute_sql_query"));
    let called = "llm.output_messages.0.message.tool_calls.0.tool_call.function.name";
    assert_eq!(attribute(chats[0], called), "execute_sql_query");
    assert!(attribute(chats[1], "llm.input_messages.3.message.content").contains("overall_score"));
    for s in &all {
        assert_eq!(attribute(s, attr::SESSION_ID), format!("hub-ann-{}", turn.chat), "{}", s.name);
    }
    for tag in ["ai-coach-chat", "ai-coach", "web-chat", "from-hub-dashboard"] {
        assert!(attribute(&root, attr::TAGS).contains(tag), "{tag}");
    }
    assert_eq!(attribute(&rows, attr::QUERY_ROWS), "8");
    assert_eq!(attribute(&rows, attr::KIND), "RETRIEVER");
    assert!(attribute(&root, attr::CHAT_GRAPH).contains("execute_sql_query"));
    assert_eq!(turn.trace_id, Some(root.span_context.trace_id().to_string()));
    assert_eq!(
        attribute(&root, attr::CHAT_PATH),
        "question intent has_model agent limits execute_sql_query agent chart answer"
    );
    // Every step of the way is an edge of the graph.
    let node = |id: &str| *Node::ALL.iter().find(|n| n.id() == id).unwrap();
    for pair in turn.detail.path.windows(2) {
        let (from, to) = (node(&pair[0]), node(&pair[1]));
        assert!(graph::EDGES.iter().any(|(f, _, t)| (*f, *t) == (from, to)), "{pair:?}");
    }
}

/// The Hub's answer to a request: status line with headers, and body.
async fn request(port: u16, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\norigin: http://127.0.0.1:{port}\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_page_shows_what_was_said_and_never_as_markup() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let store = sqlite(folder.path()).await;
    let hub = Hub::new(Parts { config: config(Some(&server)), store: store.clone(), link: None });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = tokio_util::sync::CancellationToken::new();
    let _serving = tokio::spawn(hub.serve(listener, stop.clone()));
    let form = "content-type: application/x-www-form-urlencoded\r\n";

    let (_, page) = request(port, "GET", "/chat", "", "").await;
    assert!(page.contains("What should I practise next?") && page.contains("/assets/chat.js"), "{page}");
    // Without JavaScript: a form, a redirect, the page.
    server.on_chat(sql("SELECT day, overall_score FROM sessions ORDER BY day"));
    server.on_chat(says("Better <script>alert(1)</script> | **85** [x](javascript:alert(1))"));
    let (head, _) =
        request(port, "POST", "/chat", form, "question=How+is+my+%3Cb%3Eprogress%3C%2Fb%3E%3F").await;
    let to = head.lines().find_map(|l| l.strip_prefix("location: ")).unwrap_or_else(|| panic!("{head}"));
    assert!(head.contains("303") && to.starts_with("/chat/") && to.ends_with("#m2"), "{head}");
    let path = to.split('#').next().unwrap().to_owned();
    let (_, page) = request(port, "GET", &path, "", "").await;
    assert!(page.contains("&lt;b&gt;progress") && page.contains("<strong>85</strong>"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("javascript:alert"), "{page}");
    assert!(page.contains("data-chart") && page.contains("SELECT day, overall_score"), "chart and query");
    assert!(page.contains("440 tokens"), "{page}");

    // With it: a stream that ends with the answer as it will be on the page.
    server.on_chat(Reply::calls("propose_practice_plan", &plan()));
    server.on_chat(says("Here is a **plan**."));
    let chat = path.trim_start_matches("/chat/").to_owned();
    let body = json!({ "chat": chat, "question": "Make me a practice plan" }).to_string();
    let events = "content-type: application/json\r\naccept: text/event-stream\r\n";
    let (head, stream) = request(port, "POST", "/api/chats", events, &body).await;
    assert!(head.contains("text/event-stream"), "{head}");
    let data: Vec<Value> = stream
        .lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(data[0]["type"], "thread");
    let done = data.last().unwrap();
    assert_eq!(done["type"], "done", "{stream}");
    assert!(done["html"].as_str().unwrap().contains("Save this plan"), "{done}");
    // One click saves it, a second one does not save it again.
    for _ in 0..2 {
        let (head, _) = request(port, "POST", &format!("{path}/4/plan"), form, "").await;
        assert!(head.contains("303"), "{head}");
    }
    let plans = store.plans("ann", 10).await.unwrap();
    assert_eq!(plans.iter().filter(|p| p.source == "first").count(), 1);
    let (_, list) = request(port, "GET", "/api/chats", "", "").await;
    assert!(list.contains(&chat), "{list}");
    let (head, _) = request(port, "GET", "/chat/graph", "", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = request(port, "DELETE", &format!("/api/chats/{chat}"), "", "").await;
    assert!(head.contains("204"), "{head}");
    let (head, _) = request(port, "GET", &path, "", "").await;
    assert!(head.contains("404"), "{head}");
    // A thread of somebody else is not there.
    let others = store.start_chat(&format!("{OTHERS}bob"), "secret", jiff::Timestamp::now()).await.unwrap();
    let (head, page) = request(port, "GET", &format!("/chat/{others}"), "", "").await;
    assert!(head.contains("404") && !page.contains("secret"), "{head}");
    stop.cancel();
}

fn plan() -> Value {
    json!({ "scale": "a minor pentatonic", "type": "mend", "focus": "timing_stability", "tempo": 80, "strictness": 0.5,
        "sensitivity": 0.5, "minutes": 10, "reasoning": "Timing is weakest.", "exercises": [
            { "title": "Eighths", "how": "Down and up on the click.", "minutes": 10, "tempo": 80, "speed_trainer": null }] })
}

#[test]
fn the_terminal_answers_lists_and_continues() {
    let program = common::process::Program::fretcoach();
    let folder = program.data_dir();
    tokio::runtime::Runtime::new().unwrap().block_on(async { sqlite(&folder).await.close().await });
    let said = program.run(&["chat", "--user", "ann", "What is my weakest area?"]).ok().stdout;
    assert!(said.contains("Your weakest area is timing") && !said.contains("**"), "{said}");
    let said = program.run(&["chat", "--user", "ann", "Compare my last session with my average"]).ok().stdout;
    assert!(said.contains("pitch") && !said.contains('|'), "{said}");
    let list = program.run(&["chat", "--user", "ann", "--list", "--format", "json"]).ok().stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["chats"].as_array().unwrap().len(), 1, "the second question went on with the thread");
    program.run(&["chat", "--user", "ann", "--new", "--sql", "How is my streak?"]).ok();
    let list = program.run(&["chat", "--user", "ann", "--list"]).ok().stdout;
    assert_eq!(list.lines().count(), 3, "{list}");
}
