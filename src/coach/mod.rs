//! (see the map in `lib.rs`)
pub mod offline;
pub mod words;
