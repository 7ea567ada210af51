//! Who asks. From loopback: the player chosen with the switcher (a cookie), else the daemon's own; from elsewhere the
//! token alone decides. The [guard](super::guard) finds it out before anything else is done.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::{Hub, HubError};

/// The player whose data is seen. Every query of a page is narrowed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Name of the player.
    pub user: String,
}

impl FromRequestParts<Hub> for Viewer {
    type Rejection = HubError;

    /// Nobody is somebody by default: a request that did not pass the guard has no viewer.
    async fn from_request_parts(parts: &mut Parts, _hub: &Hub) -> Result<Self, HubError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| HubError {
            status: StatusCode::UNAUTHORIZED,
            said: "nobody knows who asks for this: log in at /login".into(),
        })
    }
}
