//! Notes, scales, tunings and the tempo grid: what the numbers mean to a musician. Pure values, no state.
pub mod chord;
pub mod grid;
pub mod note;
pub mod scale;
pub mod tuning;
