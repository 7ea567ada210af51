//! Judging: events in, scores out. Pure functions and one state machine; time is an argument.
pub mod types;
