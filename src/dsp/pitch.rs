//! What a pitch detector is, and which there are.
use std::fmt;
use std::str::FromStr;

use super::HOP;
use super::filter::LowHistory;

/// A pitch heard in the newest samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Frequency of the first partial (of the period, where no partial fit was possible), Hz.
    pub f0: f32,
    /// Height of the correlation peak, 0..1: how periodic the sound is.
    pub clarity: f32,
    /// Chance that `f0` is within 50 cents of the truth, 0..1, as measured over recorded notes in noise of all levels.
    pub confidence: f32,
    /// Length of the stretch that was looked at, seconds.
    pub window: f32,
    /// Rests on at least four periods; otherwise a first guess.
    pub settled: bool,
    /// Inharmonicity B of the string, `f_k = k F √(1 + B k²)`, as far as it is known since the onset.
    pub inharmonicity: Option<f32>,
}

/// A detector of the pitch of one string.
pub trait PitchDetector: Send {
    /// Takes in one hop: the full-rate samples, and the decimated history that already ends with them.
    fn push(&mut self, hop: &[f32; HOP], low: &LowHistory);

    /// The pitch now. Only the newest `fresh` samples (at [`super::ANALYSIS_RATE`]) may be used: what is older
    /// belongs to the note before. `None` where unvoiced or unsure.
    fn estimate(&mut self, low: &LowHistory, fresh: u64) -> Option<Estimate>;

    /// Forgets everything: input was lost.
    fn reset(&mut self);
}

/// The selectable detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetectorKind {
    /// Our own: blockwise normalised square difference and partial fit; allocates nothing.
    #[default]
    Fretcoach,
    /// McLeod's method as in the `pitch-detection` crate: the reference. It allocates on every call.
    Mcleod,
}

impl fmt::Display for DetectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DetectorKind::Fretcoach => "fretcoach",
            DetectorKind::Mcleod => "mcleod",
        })
    }
}

/// A detector was asked for by a name that none has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDetector(String);

impl fmt::Display for UnknownDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no pitch detector is called `{}`: choose fretcoach or mcleod", self.0)
    }
}

impl std::error::Error for UnknownDetector {}

impl FromStr for DetectorKind {
    type Err = UnknownDetector;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.trim().to_ascii_lowercase().as_str() {
            "fretcoach" => Ok(Self::Fretcoach),
            "mcleod" => Ok(Self::Mcleod),
            _ => Err(UnknownDetector(s.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_unknown_ones_say_what_to_do() {
        for kind in [DetectorKind::Fretcoach, DetectorKind::Mcleod] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "yin".parse::<DetectorKind>().unwrap_err().to_string();
        assert!(error.contains("yin") && error.contains("mcleod"), "{error}");
    }
}
