//! Who asks. From loopback: the player chosen with the switcher (a cookie), else the daemon's own; from elsewhere the
//! token alone decides.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{Hub, HubError};

/// Cookie of the switcher.
pub const COOKIE: &str = "fretcoach_user";

/// The player whose data is seen. Every query of a page is narrowed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Name of the player.
    pub user: String,
}

impl FromRequestParts<Hub> for Viewer {
    type Rejection = HubError;

    async fn from_request_parts(_parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        Ok(Self { user: hub.config().user.clone() })
    }
}
