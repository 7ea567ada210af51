//! Wiring: boot, sessions one after another, signals, ordered shutdown.

pub mod autostart;
pub mod begin;
pub mod boot;
pub mod calibrate;
pub mod chatter;
pub mod course;
pub mod hear;
pub mod hub;
pub mod input;
pub mod listening;
pub mod metronome;
pub mod mouth;
pub mod practice;
pub mod recover;
pub mod session;
pub mod setup;
pub mod signals;
pub mod stage;
pub mod steps;
pub mod studio;
