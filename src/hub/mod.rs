//! The Hub: web pages and a JSON API over the store and, inside the daemon, over what is played right now.
//!
//! Server-rendered pages (`assets/hub/*.html`) with little JavaScript of our own, all embedded in the binary; no page
//! needs the network. Each page is a module below [`pages`] with its own `routes()`; whatever a page shows is also JSON
//! under `/api`. [`viewer`] decides who asks, [`page`] renders, [`error`] is the one way to fail.

pub mod charts;
pub mod error;
pub mod link;
pub mod page;
pub mod pages;
pub mod viewer;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use error::HubError;
pub use link::Link;
pub use viewer::Viewer;

use crate::config::Config;
use crate::store::Store;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Parts>);

/// What a Hub works with.
#[derive(Debug)]
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// The history it shows: the daemon's own store, or the shared one.
    pub store: Store,
    /// The daemon that plays, when the Hub runs inside it.
    pub link: Option<Link>,
}

impl Hub {
    /// A Hub; nothing is served yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The history it shows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The daemon that plays; `None` in a Hub that runs by itself.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.0.link.as_ref()
    }

    /// All pages and the API.
    pub fn router(&self) -> Router {
        Router::new()
            .merge(pages::live::routes())
            .merge(pages::tuner::routes())
            .merge(pages::history::routes())
            .merge(pages::plan::routes())
            .merge(pages::chat::routes())
            .merge(page::routes())
            .merge(charts::routes())
            .fallback(page::not_found)
            .with_state(self.clone())
    }

    /// Serves until `stop`; open connections (event streams) are then cut.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let app = self.router().into_make_service_with_connect_info::<std::net::SocketAddr>();
        let cut = stop.clone();
        tokio::select! {
            served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).into_future() => served,
            // Event streams never end by themselves.
            () = async { cut.cancelled().await; tokio::time::sleep(std::time::Duration::from_millis(200)).await } => Ok(()),
        }
    }
}

impl FromRef<Hub> for Store {
    fn from_ref(hub: &Hub) -> Self {
        hub.store().clone()
    }
}
