//! Plan: what to practise today, why, and what came of the plans before.
//!
//! - `GET /plan`: today's plan, or the button that makes one (looking changes nothing); past plans and their effect
//! - `POST /plan`: `ask` is `today`, `another` or `wish` (with `wish`); `POST /plan/{id}/{accept,dismiss,start}`
//! - `GET /api/plans[?limit=N]`: `{"plans": [PLAN, …], "waiting": id or null}`, newest first; `POST /api/plans` with
//!   `{"ask": …, "wish": …}`: `{"plan": PLAN}`; `GET /api/plans/{id}`; `POST /api/plans/{id}/{accept,dismiss,start}`.
//!   PLAN as [`words::json`] says.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use serde::Deserialize;
use serde_json::json;

use crate::coach::plan::{Ask, PlanError, Planner, ago, words};
use crate::hub::link::{Control, Phase};
use crate::hub::{Hub, HubError, Viewer, page, setup};
use crate::store::{PlanRow, PlanStatus};

/// Plans listed unless asked otherwise, and at most.
const LISTED: u32 = 20;
/// See [`LISTED`].
const MOST: u32 = 200;
/// Where plans made here say they come from.
const FROM: &str = "hub";

/// `/plan` and its API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/plan", get(show).post(make))
        .route("/plan/{id}/{step}", post(decide))
        .route("/api/plans", get(list).post(make_json))
        .route("/api/plans/{id}", get(one))
        .route("/api/plans/{id}/{step}", post(decide_json))
}

impl From<PlanError> for HubError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Store(error) => error.into(),
            PlanError::Decided { .. } | PlanError::NothingWaits => {
                Self { status: StatusCode::CONFLICT, said: error.to_string() }
            }
            PlanError::Invalid(_) | PlanError::Wish(_) => Self::bad(error.to_string()),
        }
    }
}

fn planner(hub: &Hub) -> Planner {
    Planner::new(hub.config(), hub.store().clone())
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<u32>,
}

/// What is asked for, from a form or as JSON.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    ask: String,
    #[serde(default)]
    wish: String,
}

impl Asked {
    fn read(self) -> Result<Ask, HubError> {
        match self.ask.as_str() {
            "" | "today" => Ok(Ask::Today),
            "another" => Ok(Ask::Another),
            "wish" => Ok(Ask::Wish(self.wish)),
            other => Err(HubError::bad(format!("`ask` is `{other}`: choose today, another or wish"))),
        }
    }
}

async fn show(viewer: Viewer, State(hub): State<Hub>) -> Result<Response, HubError> {
    let plans = planner(&hub).plans(&viewer.user, LISTED).await?;
    let now = Timestamp::now();
    let zone = TimeZone::system();
    let waiting = plans.iter().find(|p| p.status.is_open());
    let past: Vec<Value> = plans.iter().filter(|p| !p.status.is_open()).map(|p| past(p, &zone)).collect();
    page::render(
        &viewer,
        "plan",
        "plan.html",
        context! {
            plan => waiting.map(|p| shown(p, now)),
            past,
            live => hub.link().is_some(),
            model => planner(&hub).has_model(),
        },
    )
}

/// A plan that waits, for the page.
fn shown(row: &PlanRow, now: Timestamp) -> Value {
    let plan = &row.plan;
    let steps: Vec<Value> = plan
        .exercises
        .iter()
        .map(|e| {
            context! {
                title => e.title.clone(), how => e.how.clone(), minutes => e.minutes, tempo => words::tempo(e),
                trainer => e.speed_trainer.is_some(),
            }
        })
        .collect();
    context! {
        id => row.id.to_string(),
        accepted => row.status == PlanStatus::Accepted,
        title => words::title(plan),
        kind => plan.kind.label(),
        minutes => plan.minutes,
        tempo => format!("{:.0}", plan.tempo),
        reasoning => plan.reasoning.clone(),
        wish => plan.wish.clone(),
        note => plan.note.clone(),
        strictness => plan.strictness,
        sensitivity => plan.sensitivity,
        made => format!("{} {}", ago(row.created_at, now), words::source(row)),
        steps,
    }
}

/// A plan of the past, for the page.
fn past(row: &PlanRow, zone: &TimeZone) -> Value {
    let tone = match words::effect(row) {
        "better" => "good",
        "worse" => "poor",
        _ => "",
    };
    context! {
        title => words::title(&row.plan),
        made => row.created_at.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string(),
        minutes => row.plan.minutes,
        tempo => format!("{:.0}", row.plan.tempo),
        done => row.status == PlanStatus::Done,
        effect => words::effect(row),
        tone,
        said => row.outcome.as_ref().map(|o| o.said.clone()),
        session => row.outcome.as_ref().map(|o| o.session.clone()),
    }
}

async fn make(
    viewer: Viewer,
    State(hub): State<Hub>,
    Form(asked): Form<Asked>,
) -> Result<Redirect, HubError> {
    planner(&hub).propose(&viewer.user, asked.read()?, FROM).await?;
    Ok(Redirect::to("/plan"))
}

async fn make_json(
    viewer: Viewer,
    State(hub): State<Hub>,
    Json(asked): Json<Asked>,
) -> Result<Response, HubError> {
    let row = planner(&hub).propose(&viewer.user, asked.read()?, FROM).await?;
    Ok(Json(json!({ "plan": words::json(&row) })).into_response())
}

async fn list(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(limit): Query<Limit>,
) -> Result<Response, HubError> {
    let plans = planner(&hub).plans(&viewer.user, limit.limit.unwrap_or(LISTED).min(MOST)).await?;
    let waiting = plans.iter().find(|p| p.status.is_open()).map(|p| p.id);
    let plans: Vec<_> = plans.iter().map(words::json).collect();
    Ok(Json(json!({ "plans": plans, "waiting": waiting })).into_response())
}

async fn one(viewer: Viewer, State(hub): State<Hub>, Path(id): Path<String>) -> Result<Response, HubError> {
    let row = hub.store().plan(&viewer.user, &id).await?;
    Ok(Json(json!({ "plan": words::json(&row) })).into_response())
}

async fn decide(
    viewer: Viewer,
    State(hub): State<Hub>,
    Path((id, step)): Path<(String, String)>,
) -> Result<Redirect, HubError> {
    step_of(&hub, &viewer, &id, &step).await?;
    // Whoever has begun wants to see what is heard.
    Ok(Redirect::to(if step == "start" { "/" } else { "/plan" }))
}

async fn decide_json(
    viewer: Viewer,
    State(hub): State<Hub>,
    Path((id, step)): Path<(String, String)>,
) -> Result<Response, HubError> {
    let row = step_of(&hub, &viewer, &id, &step).await?;
    Ok(Json(json!({ "plan": words::json(&row) })).into_response())
}

async fn step_of(hub: &Hub, viewer: &Viewer, id: &str, step: &str) -> Result<PlanRow, HubError> {
    match step {
        "accept" => Ok(planner(hub).accept(&viewer.user, id).await?),
        "dismiss" => Ok(planner(hub).dismiss(&viewer.user, id).await?),
        "start" => start(hub, viewer, id).await,
        other => {
            Err(HubError::not_found(format!("a plan has no `{other}`: there are accept, dismiss and start")))
        }
    }
}

/// Accepts a plan and has the daemon begin a session that carries it out.
async fn start(hub: &Hub, viewer: &Viewer, id: &str) -> Result<PlanRow, HubError> {
    let Some(link) = hub.link() else {
        return Err(HubError {
            status: StatusCode::CONFLICT,
            said: "no guitar is heard here: start the plan with `fretcoach practice --plan latest` where the guitar is"
                .into(),
        });
    };
    if link.view.borrow().phase != Phase::Idle {
        return Err(HubError {
            status: StatusCode::CONFLICT,
            said: "a session is running: end it on the live page, then start the plan".into(),
        });
    }
    let row = planner(hub).accept(&viewer.user, id).await?;
    // With the player's own setup: the session then is this player's, whoever played before.
    let setup = Some(setup::of(hub, viewer).await?);
    let begin = Control::Start { setup, plan: Some(row.id.to_string()), user: Some(viewer.user.clone()) };
    link.control.try_send(begin).map_err(|_| HubError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        said:
            "the program that listens is busy or gone: try again, or start it anew with `fretcoach practice`"
                .into(),
    })?;
    Ok(row)
}

#[cfg(test)]
mod tests;
