//! Who plays: the switcher on this machine, the login from elsewhere.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Json, Router};
use minijinja::context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::hub::guard::{Entrance, Standing};
use crate::hub::{Hub, HubError, Viewer, cookie, page};
use crate::store::check_user_name;

/// `/users`, `/login`, `/logout` and the API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/users", get(show).post(switch))
        .route("/users/add", post(add))
        .route("/users/token", post(token))
        .route("/login", get(ask).post(login))
        .route("/logout", post(logout))
        .route("/api/users", get(list))
}

/// Players whom the viewer may be: on this machine all of them, from elsewhere oneself.
async fn choices(hub: &Hub, viewer: &Viewer, standing: Standing) -> Result<Vec<String>, HubError> {
    if standing == Standing::Remote {
        return Ok(vec![viewer.user.clone()]);
    }
    let mut names = hub.store().users().await?;
    for own in [&hub.config().user, &viewer.user] {
        if !names.contains(own) {
            names.push(own.clone());
        }
    }
    names.sort();
    Ok(names)
}

async fn show(
    State(hub): State<Hub>,
    Extension(standing): Extension<Standing>,
    viewer: Viewer,
) -> Result<Response, HubError> {
    players(&hub, &viewer, standing, None).await
}

/// The page, with a token that was just made.
async fn players(
    hub: &Hub,
    viewer: &Viewer,
    standing: Standing,
    token: Option<String>,
) -> Result<Response, HubError> {
    let names = choices(hub, viewer, standing).await?;
    let reach = (!hub.config().hub.bind.is_loopback() || hub.config().hub.proxy).then_some(true);
    let values = context! { names, token, reach, local => standing == Standing::Local };
    page::render(viewer, "users", "users.html", values)
}

/// Players are added, and tokens made, on this machine alone: whoever sits at it could do so anyhow.
fn only_here(standing: Standing) -> Result<(), HubError> {
    if standing == Standing::Local {
        return Ok(());
    }
    Err(HubError {
        status: StatusCode::FORBIDDEN,
        said: "that is done on the machine that runs FretCoach: `fretcoach user add`".into(),
    })
}

async fn add(
    State(hub): State<Hub>,
    Extension(standing): Extension<Standing>,
    Extension(entrance): Extension<Entrance>,
    _viewer: Viewer,
    Form(chosen): Form<Chosen>,
) -> Result<Response, HubError> {
    only_here(standing)?;
    let name = chosen.name.trim();
    check_user_name(name).map_err(HubError::bad)?;
    if !hub.store().add_user(name).await? {
        return Err(HubError::bad(format!("there is a player `{name}` already: choose it in the list")));
    }
    Ok(become_player(name, &entrance))
}

async fn token(
    State(hub): State<Hub>,
    Extension(standing): Extension<Standing>,
    viewer: Viewer,
) -> Result<Response, HubError> {
    only_here(standing)?;
    // The daemon's own player may not have played yet.
    hub.store().add_user(&viewer.user).await?;
    let token = hub.store().new_token(&viewer.user).await?;
    players(&hub, &viewer, standing, Some(token)).await
}

/// The browser is this player's from now on.
fn become_player(name: &str, entrance: &Entrance) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, cookie::set(cookie::USER, &cookie::pack(name), entrance.secure));
    (headers, Redirect::to("/")).into_response()
}

async fn list(
    State(hub): State<Hub>,
    Extension(standing): Extension<Standing>,
    viewer: Viewer,
) -> Result<Json<Value>, HubError> {
    let names = choices(&hub, &viewer, standing).await?;
    Ok(Json(json!({ "current": viewer.user, "users": names })))
}

#[derive(Deserialize)]
struct Chosen {
    name: String,
}

async fn switch(
    State(hub): State<Hub>,
    Extension(standing): Extension<Standing>,
    Extension(entrance): Extension<Entrance>,
    viewer: Viewer,
    Form(chosen): Form<Chosen>,
) -> Result<Response, HubError> {
    if !choices(&hub, &viewer, standing).await?.contains(&chosen.name) {
        return Err(HubError::not_found(format!(
            "there is no player `{}` here: `fretcoach user add` makes one",
            chosen.name
        )));
    }
    match standing {
        Standing::Local => Ok(become_player(&chosen.name, &entrance)),
        Standing::Remote => Ok(Redirect::to("/").into_response()),
    }
}

async fn ask(viewer: Option<Extension<Viewer>>) -> Result<Response, HubError> {
    page::render_for(viewer.as_deref(), "users", "login.html", context! {})
}

#[derive(Deserialize)]
struct Given {
    token: String,
}

async fn login(
    State(hub): State<Hub>,
    Extension(entrance): Extension<Entrance>,
    Form(given): Form<Given>,
) -> Result<Response, HubError> {
    let token = given.token.trim();
    entrance.patience.user_of(hub.store(), entrance.peer, token).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, cookie::set(cookie::TOKEN, token, entrance.secure));
    Ok((headers, Redirect::to("/")).into_response())
}

async fn logout(Extension(entrance): Extension<Entrance>) -> Response {
    let mut headers = HeaderMap::new();
    headers.append(header::SET_COOKIE, cookie::set(cookie::TOKEN, "", entrance.secure));
    headers.append(header::SET_COOKIE, cookie::set(cookie::USER, "", entrance.secure));
    (headers, Redirect::to("/")).into_response()
}
