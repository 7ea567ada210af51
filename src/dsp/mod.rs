//! Hearing: samples in, [`event::DspEvent`]s out. Pure: no I/O, no clock, and after construction no allocation,
//! no lock and no panic for any input and any block size.
//!
//! The way of a sample, once per hop of [`HOP`] samples:
//! ```text
//! samples ─▶ filter (DC out) ─┬─▶ onset   (spectral flux + 1 ms band envelopes)      ─┐
//!                             └─▶ filter (÷4) ─┬─▶ pitch  (correlation → partial fit) ─┼─▶ tracker ─▶ strum ─▶ notes, chords
//!                                              ├─▶ chord  (new lines, once per stroke) ───────────────┘
//!                                              └─▶ residual (what lies between partials) ─▶ noise ─▶ wanted/unwanted
//! ```
//! Between an onset and its note, `stroke` decides what it was, on what `ringing` leaves when the strings that sounded
//! before are taken out.
//! [`Analyzer`] is the front door.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod analyzer;
mod articulation;
#[doc(hidden)]
pub mod bench;
mod blockwise;
mod chord;
pub mod click;
pub mod event;
mod filter;
mod fine;
mod fit;
mod hum;
mod level;
mod mcleod;
mod noise;
mod note;
mod nsdf;
mod onset;
mod pitch;
mod residual;
mod ringing;
mod rings_on;
mod scrape;
mod stroke;
mod strum;
mod tracker;
mod transform;
mod wide;

#[cfg(test)]
mod promises;
#[cfg(test)]
mod testsig;

pub use analyzer::{Analyzer, AnalyzerConfig};
pub use filter::{LOW_LEN, LowHistory};
pub use pitch::{DetectorKind, Estimate, PitchDetector, UnknownDetector};

/// The one sample rate of the analysis, Hz. Input at another rate is resampled before it comes here.
pub const ANALYSIS_RATE: u32 = 48_000;
/// Samples per analysis step (5.33 ms).
pub const HOP: usize = 256;
/// The pitch and noise parts work at [`ANALYSIS_RATE`] over this: guitar pitch needs nothing above 5 kHz.
pub(crate) const DECIMATION: usize = 4;
/// Rate of the decimated signal, Hz.
pub(crate) const LOW_RATE: f32 = ANALYSIS_RATE as f32 / DECIMATION as f32;
/// Decimated samples per hop.
pub(crate) const LOW_HOP: usize = HOP / DECIMATION;

/// Interval between two frequencies in cents; 0 when either is not positive.
pub(crate) fn cents_between(f: f32, reference: f32) -> f32 {
    if f > 0.0 && reference > 0.0 { 1200.0 * (f / reference).log2() } else { 0.0 }
}

/// Power as decibels, at least -120.
pub(crate) fn db(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}
