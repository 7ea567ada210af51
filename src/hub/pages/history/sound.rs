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
use crate::store::Recorded;

/// Folder of the recordings in the data folder.
const FOLDER: &str = "recordings";

pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/api/sessions/{id}/recording", get(play))
}

/// Where the file of a recording lies on this machine; `None` for a name that leads elsewhere.
pub(super) fn file(hub: &Hub, recording: &Recorded) -> Option<PathBuf> {
    let name = Path::new(&recording.file);
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    let folder = hub.store().folder().map_or_else(|| hub.config().data_dir.clone(), Path::to_path_buf);
    // Written with or without its folder.
    let name = name.strip_prefix(FOLDER).unwrap_or(name);
    (plain && !name.as_os_str().is_empty()).then(|| folder.join(FOLDER).join(name))
}

async fn play(
    viewer: Viewer,
    State(hub): State<Hub>,
    Name(id): Name<String>,
    request: Request,
) -> Result<Response, HubError> {
    let session = found_one(&hub, &viewer, &id).await?;
    let recording = hub.store().recording_of(&viewer.user, &session.id).await?;
    let recording = recording.ok_or_else(|| HubError::not_found("the sound of this session was not kept"))?;
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

/// Removes the file of a deleted session. One that is not here is no fault: it lies on another device.
pub(super) async fn forget(hub: &Hub, recording: &Recorded) {
    let Some(path) = file(hub, recording) else { return };
    match tokio::fs::remove_file(&path).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("the recording {} could not be removed: {error}", path.display()),
    }
}
