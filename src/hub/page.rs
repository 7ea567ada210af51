//! Renders pages from their templates, and serves what they load: style sheet and scripts.

use std::sync::OnceLock;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use minijinja::{Environment, Value, context};

use super::{Hub, HubError, Viewer};

/// Templates by name; every name ends in `.html`, so that values are escaped.
const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("../../assets/hub/base.html")),
    ("message.html", include_str!("../../assets/hub/message.html")),
    ("chart.html", include_str!("../../assets/hub/chart.html")),
    ("live.html", include_str!("../../assets/hub/live.html")),
    ("setup_form.html", include_str!("../../assets/hub/setup_form.html")),
    ("tuner.html", include_str!("../../assets/hub/tuner.html")),
    ("api.html", include_str!("../../assets/hub/api.html")),
    ("login.html", include_str!("../../assets/hub/login.html")),
    ("plan.html", include_str!("../../assets/hub/plan.html")),
    ("users.html", include_str!("../../assets/hub/users.html")),
    ("chat.html", include_str!("../../assets/hub/chat.html")),
    ("chat_message.html", include_str!("../../assets/hub/chat_message.html")),
    ("chat_answer.html", include_str!("../../assets/hub/chat_answer.html")),
    ("chat_graph.html", include_str!("../../assets/hub/chat_graph.html")),
    ("fretboard.html", include_str!("../../assets/hub/fretboard.html")),
    ("history.html", include_str!("../../assets/hub/history.html")),
    ("history_delete.html", include_str!("../../assets/hub/history_delete.html")),
    ("session.html", include_str!("../../assets/hub/session.html")),
    ("trends.html", include_str!("../../assets/hub/trends.html")),
    ("compare.html", include_str!("../../assets/hub/compare.html")),
];

/// Files that pages load: path below `/assets/`, media type, text.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../../assets/hub/style.css")),
    ("live.css", "text/css; charset=utf-8", include_str!("../../assets/hub/live.css")),
    ("feed.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/feed.js")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/live.js")),
    ("fretboard.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/fretboard.js")),
    ("needle.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/needle.js")),
    ("strip.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/strip.js")),
    ("tuner.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/tuner.js")),
    ("charts.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/charts.js")),
    ("chat.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/chat.js")),
    ("session.js", "text/javascript; charset=utf-8", include_str!("../../assets/hub/session.js")),
];

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        for (name, text) in TEMPLATES {
            environment.add_template(name, text).expect("templates are tested");
        }
        environment
    })
}

/// A page: `template` with `values`, plus `user` and `nav` (the page's entry in the navigation: `live`, `history`, …).
///
/// # Errors
/// [`HubError`] (500) when the template asks for what it was not given; tests render every page.
pub fn render(viewer: &Viewer, nav: &str, template: &str, values: Value) -> Result<Response, HubError> {
    render_for(Some(viewer), nav, template, values)
}

/// As [`render`], for somebody who is not known yet: the page then has no navigation.
///
/// # Errors
/// As [`render`].
pub fn render_for(
    viewer: Option<&Viewer>,
    nav: &str,
    template: &str,
    values: Value,
) -> Result<Response, HubError> {
    let all = context! { user => viewer.map(|v| v.user.clone()), nav, ..values };
    let page = environment().get_template(template).and_then(|t| t.render(all)).map_err(|e| HubError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        said: format!("the page {template} could not be made: {e:#}"),
    })?;
    Ok(Html(page).into_response())
}

/// A part of a page, for a script to put in its place.
///
/// # Errors
/// As [`render`].
pub fn fragment(template: &str, values: Value) -> Result<String, HubError> {
    environment().get_template(template).and_then(|t| t.render(values)).map_err(|e| HubError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        said: format!("a part of the page, {template}, could not be made: {e:#}"),
    })
}

/// Style sheet and scripts.
pub fn routes() -> Router<Hub> {
    ASSETS.iter().fold(Router::new(), |router, (name, media, text)| {
        router.route(&format!("/assets/{name}"), get(|| async { ([(header::CONTENT_TYPE, *media)], *text) }))
    })
}

/// What is not there.
pub async fn not_found() -> HubError {
    HubError::not_found("there is no such page; begin at /")
}
