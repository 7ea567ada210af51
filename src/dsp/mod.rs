//! Hearing: samples in, [`event::DspEvent`]s out. Pure: no I/O, no clock, and after construction no allocation.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
pub mod event;
