//! Judging: events in, scores out. Pure functions and one state machine; time is an argument.
//!
//! [`session::Session`] takes what hearing reports and yields notes with a verdict, windows and a summary.
//! Every formula stands in [`score`]; how the beat is found stands in [`timing`] and [`tempo`].
pub mod click;
pub mod metric;
mod noise;
pub mod placing;
pub mod score;
pub mod session;
pub mod settings;
pub mod spread;
pub mod summary;
pub mod tempo;
pub mod timing;
pub mod types;
mod window;

pub use settings::{Settings, SettingsError};

pub use session::Session;
pub use summary::summary_json;
