//! Live: the session as it is played, its controls, and what is set up for it.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use minijinja::context;
use minijinja::value::Serde;
use serde_json::{Value, json};

use crate::audio::device::{self, Direction};
use crate::hub::link::{Control, Link, LiveView, Phase, Setup};
use crate::hub::{Hub, HubError, Viewer, feed, page, setup};
use crate::music::scale::{Scale, ScaleKind};
use crate::music::tuning::{MAX_CAPO, Tuning};

/// Roots as they are written; the ones with two names stand twice.
const ROOTS: [&str; 17] =
    ["C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B"];
/// A sign of life on a silent stream: often enough that a browser soon knows when the daemon is gone.
const ALIVE: Duration = Duration::from_secs(10);

/// `/` and its API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/", get(show))
        .route("/api/live", get(view))
        .route("/api/live/events", get(events))
        .route("/api/control", post(control))
        .route("/api/settings", get(settings).put(set))
        .route("/api/devices", get(devices))
        .route("/api/scales", get(scales))
        .route("/api/tunings", get(tunings))
}

fn link(hub: &Hub) -> Result<&Link, HubError> {
    hub.link().ok_or_else(HubError::no_daemon)
}

async fn show(State(hub): State<Hub>, viewer: Viewer) -> Result<Response, HubError> {
    let setup = setup::of(&hub, &viewer).await?;
    let scale = Scale::parse(&setup.scale).ok();
    let values = context! {
        linked => hub.link().is_some(),
        setup => Serde(&setup),
        // Whole numbers without a point.
        bpm => setup.bpm.to_string(),
        minutes => setup.minutes.to_string(),
        root => scale.as_ref().map(|s| s.root().to_string()),
        kind => scale.as_ref().map(|s| s.kind().name()),
        roots => ROOTS,
        kinds => ScaleKind::ALL.map(ScaleKind::name),
        tunings => Tuning::named().map(|(name, _)| name).collect::<Vec<_>>(),
        max_capo => MAX_CAPO,
        metrics => [("pitch", "Pitch"), ("scale", "Scale"), ("timing", "Timing"), ("noise", "Noise")],
    };
    page::render(&viewer, "live", "live.html", values)
}

async fn view(State(hub): State<Hub>, viewer: Viewer) -> Result<Json<LiveView>, HubError> {
    Ok(Json(feed::narrowed(&link(&hub)?.view.borrow(), &viewer)))
}

async fn events(State(hub): State<Hub>, viewer: Viewer) -> Result<Response, HubError> {
    let stream = feed::listen(link(&hub)?, viewer);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

async fn control(
    State(hub): State<Hub>,
    viewer: Viewer,
    Json(wish): Json<Control>,
) -> Result<Response, HubError> {
    let link = link(&hub)?;
    setup::may_steer(&link.view.borrow(), &viewer)?;
    let user = Some(viewer.user.clone());
    let wish = match wish {
        Control::Start { setup: Some(given), plan, .. } => {
            let given = setup::given(&hub, given)?;
            setup::keep(hub.store(), &viewer, &given).await?;
            Control::Start { setup: Some(given), plan, user }
        }
        // Without a setup of its own a session is played with the player's own.
        Control::Start { setup: None, plan, .. } => {
            Control::Start { setup: Some(setup::of(&hub, &viewer).await?), plan, user }
        }
        Control::Set { setup: given, .. } => {
            let given = setup::given(&hub, given)?;
            setup::keep(hub.store(), &viewer, &given).await?;
            Control::Set { setup: given, user }
        }
        other => other,
    };
    send(link, wish)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn send(link: &Link, wish: Control) -> Result<(), HubError> {
    link.control.try_send(wish).map_err(|_| HubError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        said: "the daemon does not keep up, or is ending: try again in a moment".into(),
    })
}

async fn settings(State(hub): State<Hub>, viewer: Viewer) -> Result<Json<Setup>, HubError> {
    Ok(Json(setup::of(&hub, &viewer).await?))
}

/// Keeps the setup; the daemon takes it at once while idle, else for the next session.
async fn set(
    State(hub): State<Hub>,
    viewer: Viewer,
    Json(given): Json<Setup>,
) -> Result<Json<Setup>, HubError> {
    let given = setup::given(&hub, given)?;
    setup::keep(hub.store(), &viewer, &given).await?;
    if let Some(link) = hub.link() {
        let (phase, user) = {
            let view = link.view.borrow();
            (view.phase, view.user.clone())
        };
        // While another plays, it is kept and nothing else.
        if phase == Phase::Idle || user == viewer.user {
            send(link, Control::Set { setup: given.clone(), user: Some(viewer.user) })?;
        }
    }
    Ok(Json(given))
}

async fn devices(State(hub): State<Hub>, _viewer: Viewer) -> Result<Json<Value>, HubError> {
    let host = hub.config().audio.host.clone();
    let listed = tokio::task::spawn_blocking(move || device::list(&host)).await;
    let (inputs, trouble) = match listed {
        Ok(Ok(all)) => (all, None),
        Ok(Err(e)) => (Vec::new(), Some(e.to_string())),
        Err(_) => (Vec::new(), Some("the sound devices could not be listed".to_owned())),
    };
    let inputs: Vec<Value> = inputs
        .into_iter()
        .filter(|d| d.direction == Direction::Input)
        .map(|d| json!({ "id": d.id, "name": d.name, "default": d.default, "channels": d.channels }))
        .collect();
    Ok(Json(json!({ "inputs": inputs, "trouble": trouble })))
}

async fn scales(_viewer: Viewer) -> Json<Value> {
    Json(json!({ "roots": ROOTS, "kinds": ScaleKind::ALL.map(ScaleKind::name) }))
}

async fn tunings(_viewer: Viewer) -> Json<Value> {
    let all: Vec<Value> =
        Tuning::named().map(|(name, strings)| json!({ "name": name, "strings": strings })).collect();
    Json(json!({ "tunings": all, "max_capo": MAX_CAPO }))
}
