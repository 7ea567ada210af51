//! Chat: threads, streamed answers with their charts and queries, standing questions, plans saved with one click.
//!
//! JSON: `GET /api/chats` lists threads; `POST /api/chats` with `{"question", "chat": ID or null}` answers as
//! `{"chat", "seq", "text", "html", "detail", "trace_id"}`, or, asked for `text/event-stream`, streams events
//! `{"type": "thread"|"step"|"text"|"reset"|"done"|"failed", …}` of which `done` holds the same; `GET` and `DELETE
//! /api/chats/{id}`; `POST /api/chats/{id}/{seq}/plan` saves the plan that an answer proposed; `GET /api/chats/graph`.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use futures::stream;
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::chat::chart::{ChartKind, ChartSpec};
use crate::chat::graph::{self, Node};
use crate::chat::{ChatError, Coach, Detail, From, Question, Standing, Turn, markdown};
use crate::coach::plan::Planner;
use crate::hub::charts::{Chart, Data, Series};
use crate::hub::{Hub, HubError, Viewer, page};
use crate::store::query::Limits;
use crate::store::{ChatId, ChatRow};

/// Threads beside the conversation.
const THREADS: u32 = 30;

/// `/chat` and its API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/chat", get(begin).post(ask))
        .route("/chat/graph", get(draw))
        .route("/chat/{id}", get(show))
        .route("/chat/{id}/delete", post(delete))
        .route("/chat/{id}/{seq}/plan", post(save))
        .route("/api/chats", get(list).post(answer))
        .route("/api/chats/graph", get(graph_json))
        .route("/api/chats/{id}", get(thread).delete(remove))
        .route("/api/chats/{id}/{seq}/plan", post(save_json))
}

impl std::convert::From<ChatError> for HubError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Empty | ChatError::TooLong(_) => Self::bad(error.to_string()),
            ChatError::Busy { .. } => Self { status: StatusCode::TOO_MANY_REQUESTS, said: error.to_string() },
            ChatError::Store(error) => error.into(),
        }
    }
}

/// The id of a thread as it stands in an address: whole.
fn id(text: &str) -> Result<ChatId, HubError> {
    text.parse().map_err(|_| HubError::not_found("there is no such chat; your chats are at /chat"))
}

/// The thread, if it is the viewer's.
async fn own(hub: &Hub, viewer: &Viewer, text: &str) -> Result<ChatRow, HubError> {
    let chat = id(text)?;
    Ok(hub.store().find_chat(&viewer.user, &chat.to_string()).await?)
}

async fn begin(State(hub): State<Hub>, viewer: Viewer) -> Result<Response, HubError> {
    conversation(&hub, &viewer, None).await
}

async fn show(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path(chat): Path<String>,
) -> Result<Response, HubError> {
    let chat = own(&hub, &viewer, &chat).await?;
    conversation(&hub, &viewer, Some(chat)).await
}

async fn conversation(hub: &Hub, viewer: &Viewer, chat: Option<ChatRow>) -> Result<Response, HubError> {
    let (has_model, trouble) = match hub.coach() {
        Ok(coach) => (coach.has_model(), None),
        Err(said) => (false, Some(said)),
    };
    let mut messages = Vec::new();
    if let Some(chat) = &chat {
        for row in hub.store().chat_messages(&viewer.user, chat.id).await? {
            messages.push(if row.role == "user" {
                context! { own => true, seq => row.seq, text => row.content }
            } else {
                said(row.seq, &row.content, &Detail::read(row.detail_json.as_deref()))
            });
        }
    }
    let threads: Vec<Value> = hub
        .store()
        .chats(&viewer.user, THREADS)
        .await?
        .into_iter()
        .map(|t| {
            let when = t.updated_at.to_zoned(TimeZone::system()).strftime("%-d %b %Y, %H:%M").to_string();
            context! { id => t.id.to_string(), title => t.title, when }
        })
        .collect();
    let values = context! {
        title => chat.as_ref().map(|c| c.title.clone()),
        chat => chat.map(|c| c.id.to_string()),
        standing => Standing::ALL.map(Standing::question),
        has_model, trouble, messages, threads,
    };
    page::render(viewer, "chat", "chat.html", values)
}

/// What the macro `message` of `chat_message.html` takes for an answer.
fn said(seq: i64, text: &str, detail: &Detail) -> Value {
    let queries: Vec<Value> = detail
        .queries
        .iter()
        .map(|q| {
            let rows: Vec<Vec<String>> =
                q.rows.rows.iter().map(|r| r.iter().map(ToString::to_string).collect()).collect();
            context! { sql => q.sql.clone(), error => q.error.clone(), columns => q.rows.columns.clone(),
            count => rows.len(), rows, more => q.rows.more, ms => format!("{:.1}", q.ms) }
        })
        .collect();
    let plan = detail.proposal.as_ref().map(|p| {
        let exercises: Vec<Value> = p
            .plan
            .exercises
            .iter()
            .map(|e| context! { title => e.title.clone(), how => e.how.clone(), minutes => e.minutes })
            .collect();
        context! { scale => p.plan.scale.clone(), minutes => p.plan.minutes, tempo => p.plan.tempo.round(),
        reasoning => p.plan.reasoning.clone(), exercises }
    });
    context! {
        seq,
        html => Value::from_safe_string(markdown::html(text)),
        notes => detail.notes.clone(),
        chart => detail.chart.as_ref().map(|c| chart(seq, c).value()),
        saved => detail.proposal.as_ref().is_some_and(|p| p.saved.is_some()),
        cost => detail.cost_line(),
        plan, queries,
    }
}

/// A chart as the page draws it.
fn chart(seq: i64, spec: &ChartSpec) -> Chart {
    let data = Data {
        x_title: spec.x_title.clone(),
        y_title: if spec.scores { "score".into() } else { String::new() },
        x: spec.x.clone(),
        series: spec
            .series
            .iter()
            .map(|s| Series { name: s.name.clone(), values: s.values.clone() })
            .collect(),
        range: spec.scores.then_some((0.0, 100.0)),
    };
    let id = format!("chart-{seq}");
    match spec.kind {
        ChartKind::Lines => Chart::lines(&id, &spec.title, &spec.alt, &data),
        ChartKind::Bars => Chart::bars(&id, &spec.title, &spec.alt, &data),
    }
}

#[derive(Deserialize)]
struct Wish {
    question: String,
    #[serde(default)]
    chat: Option<String>,
}

impl Wish {
    async fn chat(&self, hub: &Hub, viewer: &Viewer) -> Result<Option<ChatId>, HubError> {
        match self.chat.as_deref().filter(|c| !c.is_empty()) {
            Some(chat) => Ok(Some(own(hub, viewer, chat).await?.id)),
            None => Ok(None),
        }
    }
}

fn coach(hub: &Hub) -> Result<Coach, HubError> {
    hub.coach().map_err(|said| HubError { status: StatusCode::INTERNAL_SERVER_ERROR, said })
}

/// Without JavaScript: the answer is there when the page comes.
async fn ask(State(hub): State<Hub>, viewer: Viewer, Form(wish): Form<Wish>) -> Result<Redirect, HubError> {
    let chat = wish.chat(&hub, &viewer).await?;
    let turn = take(&coach(&hub)?, viewer.user, chat, wish.question, mpsc::unbounded_channel().0).await?;
    Ok(Redirect::to(&format!("/chat/{}#m{}", turn.chat, turn.seq)))
}

/// Turns at a time: each may cost the owner of the key money, and goes on when its asker has left.
const MOST_TURNS: usize = 4;
static TURNS: Semaphore = Semaphore::const_new(MOST_TURNS);

/// A turn of its own: whoever asked may leave before it is over.
async fn take(
    coach: &Coach,
    user: String,
    chat: Option<ChatId>,
    question: String,
    events: mpsc::UnboundedSender<crate::chat::Event>,
) -> Result<Turn, ChatError> {
    let coach = coach.clone();
    let turn = TURNS.try_acquire().map_err(|_| ChatError::Busy { turns: MOST_TURNS })?;
    let task = tokio::spawn(async move {
        let _turn = turn;
        coach.turn(Question { user: &user, chat, text: &question, from: From::Web }, events).await
    });
    match task.await {
        Ok(turn) => turn,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

async fn answer(
    State(hub): State<Hub>,
    viewer: Viewer,
    headers: HeaderMap,
    Json(wish): Json<Wish>,
) -> Result<Response, HubError> {
    let chat = wish.chat(&hub, &viewer).await?;
    let coach = coach(&hub)?;
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (sender, receiver) = mpsc::unbounded_channel();
    if !accepts.contains("text/event-stream") {
        let turn = take(&coach, viewer.user, chat, wish.question, sender).await?;
        return Ok(Json(whole(&turn)?).into_response());
    }
    let turn = async move {
        match take(&coach, viewer.user, chat, wish.question, sender).await {
            Ok(turn) => {
                let mut done = whole(&turn).unwrap_or_default();
                done["type"] = "done".into();
                done
            }
            Err(error) => json!({ "type": "failed", "error": error.to_string() }),
        }
    };
    // The turn's task ends the channel; what it came to follows.
    let turn = tokio::spawn(turn);
    let events = stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((serde_json::to_value(event).unwrap_or_default(), receiver))
    });
    let end = stream::once(async move { turn.await.unwrap_or_default() });
    let events = events.chain(end).map(|value| sse::Event::default().json_data(value));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// An answer in full.
fn whole(turn: &Turn) -> Result<serde_json::Value, HubError> {
    let values = context! { chat => turn.chat.to_string(), m => said(turn.seq, &turn.text, &turn.detail) };
    let html = page::fragment("chat_answer.html", values)?;
    Ok(json!({ "chat": turn.chat, "seq": turn.seq, "text": turn.text, "html": html, "detail": turn.detail,
        "trace_id": turn.trace_id }))
}

async fn delete(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path(chat): Path<String>,
) -> Result<Redirect, HubError> {
    hub.store().delete_chat(&viewer.user, id(&chat)?).await?;
    Ok(Redirect::to("/chat"))
}

async fn remove(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path(chat): Path<String>,
) -> Result<StatusCode, HubError> {
    hub.store().delete_chat(&viewer.user, id(&chat)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps the plan that an answer proposed; the same plan once only. Yields its id.
async fn keep(hub: &Hub, viewer: &Viewer, chat: &str, seq: i64) -> Result<String, HubError> {
    let chat = own(hub, viewer, chat).await?;
    let rows = hub.store().chat_messages(&viewer.user, chat.id).await?;
    let row = rows.iter().find(|m| m.seq == seq);
    let mut detail = Detail::read(row.and_then(|m| m.detail_json.as_deref()));
    let source = detail.source.clone();
    let Some(proposal) = &mut detail.proposal else {
        return Err(HubError::not_found("this answer holds no plan; ask for one in the chat"));
    };
    if let Some(saved) = &proposal.saved {
        return Ok(saved.clone());
    }
    let planner = Planner::new(hub.config(), hub.store().clone());
    let saved = planner.save(&viewer.user, proposal.plan.clone(), &source).await?.id.to_string();
    proposal.saved = Some(saved.clone());
    let json = serde_json::to_string(&detail).unwrap_or_default();
    hub.store().set_chat_detail(&viewer.user, chat.id, seq, &json).await?;
    Ok(saved)
}

async fn save(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path((chat, seq)): Path<(String, i64)>,
) -> Result<Redirect, HubError> {
    keep(&hub, &viewer, &chat, seq).await?;
    Ok(Redirect::to(&format!("/chat/{chat}#m{seq}")))
}

async fn save_json(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path((chat, seq)): Path<(String, i64)>,
) -> Result<Json<serde_json::Value>, HubError> {
    Ok(Json(json!({ "plan": keep(&hub, &viewer, &chat, seq).await? })))
}

fn listed(chat: &ChatRow) -> serde_json::Value {
    json!({ "id": chat.id, "title": chat.title, "created_at": chat.created_at.to_string(),
        "updated_at": chat.updated_at.to_string() })
}

async fn list(State(hub): State<Hub>, viewer: Viewer) -> Result<Json<serde_json::Value>, HubError> {
    let chats = hub.store().chats(&viewer.user, THREADS).await?;
    let model = hub.coach().is_ok_and(|c| c.has_model());
    Ok(Json(json!({ "model": model, "standing": Standing::ALL.map(Standing::question),
        "chats": chats.iter().map(listed).collect::<Vec<_>>() })))
}

async fn thread(
    State(hub): State<Hub>,
    viewer: Viewer,
    Path(chat): Path<String>,
) -> Result<Json<serde_json::Value>, HubError> {
    let chat = own(&hub, &viewer, &chat).await?;
    let rows = hub.store().chat_messages(&viewer.user, chat.id).await?;
    let messages: Vec<serde_json::Value> = rows
        .iter()
        .map(|m| {
            let detail = (m.role != "user").then(|| Detail::read(m.detail_json.as_deref()));
            json!({ "seq": m.seq, "role": m.role, "text": m.content, "detail": detail, "trace_id": m.trace_id,
                "created_at": m.created_at.to_string() })
        })
        .collect();
    let mut value = listed(&chat);
    value["messages"] = messages.into();
    Ok(Json(value))
}

async fn graph_json(State(hub): State<Hub>) -> Result<Json<serde_json::Value>, HubError> {
    Ok(Json(graph::json(coach(&hub)?.limits())))
}

/// The agent's graph, drawn and in words.
async fn draw(State(hub): State<Hub>, viewer: Viewer) -> Result<Response, HubError> {
    let limits = *coach(&hub)?.limits();
    let query = Limits::default();
    let nodes: Vec<Value> = Node::ALL
        .iter()
        .map(|n| {
            let ways: Vec<String> = graph::EDGES
                .iter()
                .filter(|(from, ..)| from == n)
                .map(|(_, outcome, to)| match outcome.label() {
                    "" => format!("→ {}", to.label()),
                    when => format!("{when} → {}", to.label()),
                })
                .collect();
            context! { label => n.label(), about => n.about(), ways => ways.join(" · ") }
        })
        .collect();
    let values = context! {
        svg => Value::from_safe_string(graph::svg()),
        nodes,
        limits => context! { rounds => limits.rounds, calls => limits.calls, tokens => limits.tokens,
            seconds => limits.time.as_secs() },
        query => context! { rows => query.rows, kilobytes => query.bytes / 1024, seconds => query.time.as_secs() },
    };
    page::render(&viewer, "chat", "chat_graph.html", values)
}
