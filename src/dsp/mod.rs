//! Hearing: samples in, [`event::DspEvent`]s out. Pure: no I/O, no clock, and after construction no allocation.
pub mod event;
