//! The command line and what it prints.
pub mod args;
pub mod display;
pub mod exit;
pub mod history;
pub mod screen;
pub mod table;
pub mod traces;
