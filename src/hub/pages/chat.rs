//! Chat.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page};

/// `/chat` and its API.
pub fn routes() -> Router<Hub> {
    Router::new().route("/chat", get(show))
}

async fn show(viewer: Viewer) -> Result<Response, HubError> {
    page::render(&viewer, "chat", "message.html", context! { title => "Chat", said => "" })
}
