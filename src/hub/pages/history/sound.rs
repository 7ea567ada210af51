//! The sound of a session, where the player chose to keep it: read from the disk in pieces, whatever its length.

use std::path::{Component, Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Name, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::services::ServeFile;

use super::found_one;
use crate::hub::{Hub, HubError, Viewer};
use crate::store::{RECORDINGS, RecordingRow};

pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/api/sessions/{id}/recording", get(play))
}

/// Where the file of a recording lies on this machine; `None` for a name that leads elsewhere.
pub(super) fn file(hub: &Hub, recording: &RecordingRow) -> Option<PathBuf> {
    let mut parts = Path::new(&recording.file).components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else { return None };
    let folder = hub.store().folder().unwrap_or(&hub.config().data_dir);
    Some(folder.join(RECORDINGS).join(name))
}

async fn play(
    viewer: Viewer,
    State(hub): State<Hub>,
    Name(id): Name<String>,
    request: Request,
) -> Result<Response, HubError> {
    let session = found_one(&hub, &viewer, &id).await?;
    let id = session.id.parse().map_err(|_| HubError::not_found("there is no such session"))?;
    let recording = hub
        .store()
        .recording(&id)
        .await?
        .ok_or_else(|| HubError::not_found("the sound of this session was not kept"))?;
    let away = || HubError::not_found("the recording lies on the device that made it, not here");
    let path = file(&hub, &recording).ok_or_else(away)?;
    let answer = ServeFile::new(&path).try_call(request).await.map_err(|e| HubError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        said: format!("the recording {} could not be read ({e})", path.display()),
    })?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Err(away());
    }
    let mut answer = answer.map(Body::new).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("audio/flac"));
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    Ok(answer)
}
