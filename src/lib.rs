//! FretCoach (the map of the house is written in the last step of this issue)
pub mod alloc_count;
pub mod app;
pub mod audio;
pub mod cli;
pub mod coach;
pub mod config;
pub mod dsp;
pub mod http;
pub mod llm;
pub mod music;
pub mod names;
pub mod practice;
pub mod prompt;
pub mod span;
pub mod speech;
pub mod store;
pub mod telemetry;
