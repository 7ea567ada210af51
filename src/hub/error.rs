//! The one way for a request to fail: a page for browsers, JSON under `/api`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::span::chain;
use crate::store::StoreError;

/// Why a request failed. The text says what happened and what to do; it never holds a secret.
#[derive(Debug)]
pub struct HubError {
    /// HTTP status.
    pub status: StatusCode,
    /// What happened, to what, and what to do.
    pub said: String,
}

impl HubError {
    /// A request that cannot be understood or carried out as it stands.
    pub fn bad(said: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, said: said.into() }
    }

    /// Nothing of that name, or nothing that this viewer may see.
    pub fn not_found(said: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, said: said.into() }
    }

    /// Something that works only inside the daemon that plays.
    #[must_use]
    pub fn no_daemon() -> Self {
        let said = "no guitar is heard here: this Hub runs by itself; open the Hub of `fretcoach practice`";
        Self { status: StatusCode::CONFLICT, said: said.into() }
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::NotFound { .. } | StoreError::Ambiguous { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("hub: {}", chain(&error));
        }
        Self { status, said: error.to_string() }
    }
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        // Browsers get a page instead: see `page::errors`, which has the request.
        (self.status, Json(serde_json::json!({ "error": self.said }))).into_response()
    }
}
