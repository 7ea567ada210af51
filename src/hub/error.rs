//! The one way for a request to fail: a page for browsers, JSON under `/api`.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use minijinja::context;

use super::{Viewer, cookie, page};
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

/// What an error says, beside its answer; see [`tell`].
#[derive(Clone, Debug)]
struct Said(String);

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        // `tell` has the request and chooses the form.
        let mut response = (self.status, Json(serde_json::json!({ "error": self.said }))).into_response();
        response.extensions_mut().insert(Said(self.said));
        response
    }
}

/// Longest text of an error that is taken from an answer, bytes.
const LONGEST: usize = 4096;

/// Gives every error its form, whoever found it: `{"error": …}` under `/api` and for programs, a page for browsers.
pub async fn tell(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let api = path == "/api" || path.starts_with("/api/");
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let page = !api && accepts.contains("text/html");
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let said = match parts.extensions.remove::<Said>() {
        Some(Said(said)) => said,
        // Found by the router or an extractor: plain words, or none.
        None => match to_bytes(body, LONGEST).await {
            Ok(bytes) if !bytes.is_empty() => String::from_utf8_lossy(&bytes).into_owned(),
            _ => plain(status).to_owned(),
        },
    };
    let viewer = parts.extensions.get::<Viewer>();
    let mut told = match page {
        true => {
            let values = context! { title => title(status), said => sentence(&said), error => true };
            page::render_for(viewer, "", "message.html", values).unwrap_or_else(IntoResponse::into_response)
        }
        false => Json(serde_json::json!({ "error": said })).into_response(),
    };
    *told.status_mut() = status;
    for name in [header::ALLOW, header::RETRY_AFTER, header::SET_COOKIE] {
        if let Some(value) = parts.headers.remove(&name) {
            told.headers_mut().insert(name, value);
        }
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            told.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        // The player of the switcher is gone: the browser forgets it.
        StatusCode::FORBIDDEN if viewer.is_none() => {
            told.headers_mut().insert(header::SET_COOKIE, cookie::set(cookie::USER, "", false));
        }
        _ => {}
    }
    told
}

/// What an answer without words means.
fn plain(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take that method; see /api",
        StatusCode::PAYLOAD_TOO_LARGE => "that is too much at once",
        _ => status.canonical_reason().unwrap_or("it did not work"),
    }
}

/// Heading of an error's page.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => "Not allowed",
        StatusCode::TOO_MANY_REQUESTS => "Too often",
        s if s.is_server_error() => "Something failed",
        _ => "That does not work",
    }
}

/// An error's text as a sentence.
fn sentence(said: &str) -> String {
    let mut chars = said.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}
