//! The Hub: web pages and a JSON API over the store and, inside the daemon, over what is played right now.
//!
//! Server-rendered pages (`assets/hub/*.html`) with little JavaScript of our own, all embedded in the binary; no page
//! needs the network. Each page is a module below [`pages`] with its own `routes()`; whatever a page shows is also JSON
//! under `/api`. [`guard`] decides who may come in, [`viewer`] is who asks, [`page`] renders, [`error`] is the one way to
//! fail.

pub mod ambient;
pub mod api;
pub mod charts;
pub mod cookie;
pub mod door;
pub mod error;
pub mod feed;
pub mod guard;
pub mod link;
pub mod page;
pub mod pages;
pub mod patience;
pub mod setup;
pub mod viewer;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use error::HubError;
pub use link::Link;
pub use viewer::Viewer;

use door::{Door, Peer};
use guard::{Guard, Served};

use crate::chat::Coach;
use crate::config::Config;
use crate::store::Store;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Parts>, Arc<OnceLock<Result<Coach, String>>>);

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
        Self(Arc::new(parts), Arc::default())
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

    /// The chat coach, made when it is first asked; else which setting of its language model is wrong.
    pub(crate) fn coach(&self) -> Result<Coach, String> {
        self.1.get_or_init(|| Coach::new(self.config(), self.store().clone())).clone()
    }

    /// All pages and the API without the guard, asked by the daemon's own player unless a request says otherwise: for
    /// requests that this program makes to itself. What is opened to a network is [`Hub::guarded`].
    pub fn router(&self) -> Router {
        let own = Viewer { user: self.config().user.clone() };
        let pages = self.pages().layer(middleware::map_request(move |mut request: Request| {
            let own = own.clone();
            async move {
                if request.extensions().get::<Viewer>().is_none() {
                    request.extensions_mut().insert(own);
                }
                request
            }
        }));
        pages.layer(middleware::from_fn(error::tell)).layer(middleware::from_fn(guard::headers))
    }

    /// All pages and the API as they are served at an address: behind the guard.
    pub fn guarded(&self, address: SocketAddr) -> Router {
        let guard = Guard::new(self.clone(), Served::new(address, &self.config().hub));
        self.pages()
            .layer(middleware::from_fn_with_state(guard, guard::guard))
            .layer(middleware::from_fn(error::tell))
            .layer(middleware::from_fn(guard::headers))
    }

    fn pages(&self) -> Router {
        Router::new()
            .merge(pages::live::routes())
            .merge(pages::tuner::routes())
            .merge(pages::history::routes())
            .merge(pages::plan::routes())
            .merge(pages::chat::routes())
            .merge(pages::users::routes())
            .merge(api::routes())
            .merge(page::routes())
            .merge(charts::routes())
            .fallback(page::not_found)
            .layer(DefaultBodyLimit::max(guard::LARGEST_BODY))
            .with_state(self.clone())
    }

    /// Serves until `stop`; open connections (event streams) are then cut.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let app = self.guarded(listener.local_addr()?).into_make_service_with_connect_info::<Peer>();
        let cut = stop.clone();
        tokio::select! {
            served = axum::serve(Door::new(listener), app).with_graceful_shutdown(stop.cancelled_owned()).into_future() => served,
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
