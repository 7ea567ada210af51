//! Tuner: what the daemon hears, as a needle. Everything it shows comes from the live feed; see `tuner.js`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use minijinja::context;

use crate::hub::{Hub, HubError, Viewer, page, setup};
use crate::music::note::midi_name;
use crate::music::tuning::Tuning;

/// `/tuner`; its API is the live feed and `/api/tunings`.
pub fn routes() -> Router<Hub> {
    Router::new().route("/tuner", get(show))
}

async fn show(State(hub): State<Hub>, viewer: Viewer) -> Result<Response, HubError> {
    let tuning = Tuning::parse(&setup::of(&hub, &viewer).await?.tuning).unwrap_or_default();
    // One tunes the open strings; the capo comes after.
    let known = Tuning::named().any(|(name, _)| name == tuning.name());
    let custom =
        (!known).then(|| tuning.strings().iter().map(|m| midi_name(*m, true)).collect::<Vec<_>>().join(" "));
    let values = context! {
        linked => hub.link().is_some(),
        tuning => tuning.name(),
        custom,
        tunings => Tuning::named().collect::<Vec<_>>(),
        a4 => hub.config().practice.a4.to_string(),
    };
    page::render(&viewer, "tuner", "tuner.html", values)
}
