//! Who plays: the switcher on this machine, the login from elsewhere.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Json, Router};
use minijinja::context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::hub::guard::{Entrance, Standing};
use crate::hub::{Hub, HubError, Viewer, cookie, page};

/// `/users`, `/login`, `/logout` and the API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/users", get(show).post(switch))
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
    let names = choices(&hub, &viewer, standing).await?;
    let values = context! { names, local => standing == Standing::Local };
    page::render(&viewer, "users", "users.html", values)
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
    let mut headers = HeaderMap::new();
    if standing == Standing::Local {
        headers.insert(
            header::SET_COOKIE,
            cookie::set(cookie::USER, &cookie::pack(&chosen.name), entrance.secure),
        );
    }
    Ok((headers, Redirect::to("/")).into_response())
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
