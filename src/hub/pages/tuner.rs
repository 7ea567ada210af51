//! Tuner.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page};

/// `/tuner` and its API.
pub fn routes() -> Router<Hub> {
    Router::new().route("/tuner", get(show))
}

async fn show(viewer: Viewer) -> Result<Response, HubError> {
    page::render(&viewer, "tuner", "message.html", context! { title => "Tuner", said => "" })
}
