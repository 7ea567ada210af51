//! History.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page};

/// `/history` and its API.
pub fn routes() -> Router<Hub> {
    Router::new().route("/history", get(show))
}

async fn show(viewer: Viewer) -> Result<Response, HubError> {
    page::render(&viewer, "history", "message.html", context! { title => "History", said => "" })
}
