//! The reference detector: McLeod's method of the `pitch-detection` crate.
//!
//! It allocates about 15 times a call and is the stated exception to the rule of this module. Its length stays at
//! an even 2048, its input is finite by construction and always of that length, so the crate's panics (odd or
//! mismatched lengths) cannot be reached.
use std::cell::RefCell;

use pitch_detection::detector::PitchDetector as _;
use pitch_detection::detector::mcleod::McLeodDetector;

use super::filter::LowHistory;
use super::pitch::{Estimate, PitchDetector};
use super::{ANALYSIS_RATE, HOP};

/// Samples a call.
const SIZE: usize = 2048;
/// Sum of squares below which a window is silent: -60 dBFS.
const POWER: f32 = 1e-6 * SIZE as f32;
/// The crate's clarity is an autocorrelation with a taper (1 - τ/N), not a normalised one: a perfect E2 reads
/// 0.71 and B1 0.61, so its README's 0.7 would lose the lowest string.
const CLARITY: f32 = 0.55;
/// The window must hold the new note for the larger part.
const FRESH: u64 = (SIZE - HOP) as u64;

/// See the module.
pub(crate) struct Mcleod {
    line: Vec<f32>,
}

thread_local! {
    /// The crate's detector holds nothing but working space, in `Rc`s: each thread has its own, so that the analyser may
    /// move between threads.
    static DETECTOR: RefCell<McLeodDetector<f32>> = RefCell::new(McLeodDetector::new(SIZE, SIZE / 2));
}

impl Mcleod {
    pub(crate) fn new() -> Self {
        Self { line: vec![0.0; SIZE] }
    }
}

impl PitchDetector for Mcleod {
    fn push(&mut self, hop: &[f32; HOP], _: &LowHistory) {
        self.line.copy_within(HOP.., 0);
        self.line[SIZE - HOP..].copy_from_slice(hop);
    }

    fn estimate(&mut self, _: &LowHistory, fresh: u64) -> Option<Estimate> {
        if fresh < FRESH {
            return None;
        }
        let pitch = DETECTOR.with(|d| {
            d.try_borrow_mut().ok()?.get_pitch(&self.line, ANALYSIS_RATE as usize, POWER, CLARITY)
        })?;
        let f0 = pitch.frequency;
        if !(f0.is_finite() && (55.0..1500.0).contains(&f0)) {
            return None;
        }
        let periods = SIZE as f32 * f0 / ANALYSIS_RATE as f32;
        Some(Estimate {
            f0,
            clarity: pitch.clarity.clamp(0.0, 1.0),
            confidence: pitch.clarity.clamp(0.0, 1.0),
            window: SIZE as f32 / ANALYSIS_RATE as f32,
            settled: periods >= 3.0 && fresh >= SIZE as u64,
            inharmonicity: None,
        })
    }

    fn reset(&mut self) {
        self.line.fill(0.0);
    }
}
