//! The command line and what it prints.
pub mod args;
pub mod display;
pub mod exit;
pub mod screen;
