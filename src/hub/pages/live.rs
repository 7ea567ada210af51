//! Live.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page};

/// `/` and its API.
pub fn routes() -> Router<Hub> {
    Router::new().route("/", get(show))
}

async fn show(viewer: Viewer) -> Result<Response, HubError> {
    page::render(&viewer, "live", "message.html", context! { title => "Live", said => "" })
}
