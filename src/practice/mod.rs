//! Judging: events in, scores out. Pure functions and one state machine; time is an argument.
//!
//! [`session::Session`] takes what hearing reports and yields notes with a verdict, windows and a summary.
//! Every formula stands in [`score`]. Timing: [`click`] (what the playing is to be in time with), [`tempo`] (the beat found
//! in the notes), [`placing`] (which subdivision a note belongs to), [`spread`] (how uneven), put together in [`timing`].
pub mod click;
pub mod metric;
mod noise;
pub mod placing;
pub mod plan;
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
