//! Plan.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page};

/// `/plan` and its API.
pub fn routes() -> Router<Hub> {
    Router::new().route("/plan", get(show))
}

async fn show(viewer: Viewer) -> Result<Response, HubError> {
    page::render(&viewer, "plan", "message.html", context! { title => "Plan", said => "" })
}
