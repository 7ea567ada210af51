//! Wiring: boot, one session, signals, ordered shutdown.

pub mod boot;
pub mod calibrate;
pub mod chatter;
pub mod hear;
pub mod hub;
pub mod input;
pub mod metronome;
pub mod mouth;
pub mod practice;
pub mod recover;
pub mod session;
pub mod setup;
pub mod signals;
pub mod stage;
