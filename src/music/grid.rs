//! Tempo and the grid of beats and subdivisions on which notes are meant to fall.

use std::fmt;

/// Slowest tempo taken, beats per minute.
pub const MIN_BPM: f64 = 20.0;
/// Fastest tempo taken, beats per minute.
pub const MAX_BPM: f64 = 400.0;

/// A tempo inside [`MIN_BPM`]..=[`MAX_BPM`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Tempo(f64);

/// A tempo that cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a tempo of {bpm} bpm cannot be used: choose {MIN_BPM} to {MAX_BPM} beats per minute")]
pub struct TempoError {
    /// What was asked for.
    pub bpm: f64,
}

impl Tempo {
    /// Takes a tempo in beats per minute.
    ///
    /// # Errors
    /// Outside 20..=400 or not a number.
    pub fn new(bpm: f64) -> Result<Self, TempoError> {
        if (MIN_BPM..=MAX_BPM).contains(&bpm) { Ok(Self(bpm)) } else { Err(TempoError { bpm }) }
    }

    /// Beats per minute.
    #[must_use]
    pub fn bpm(self) -> f64 {
        self.0
    }

    /// Seconds from one beat to the next.
    #[must_use]
    pub fn beat_seconds(self) -> f64 {
        60.0 / self.0
    }
}

/// The places inside a beat where notes are meant to fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subdivision {
    /// On the beat.
    Quarter,
    /// Two to the beat.
    Eighth,
    /// Three to the beat (swung eighths fall on its first and last).
    Triplet,
    /// Four to the beat.
    Sixteenth,
    /// Eighths and triplets side by side.
    EighthAndTriplet,
}

impl Subdivision {
    /// All of them, coarsest first.
    pub const ALL: [Self; 5] =
        [Self::Quarter, Self::Eighth, Self::Triplet, Self::Sixteenth, Self::EighthAndTriplet];

    /// Places inside one beat, in beats, rising from 0.
    #[must_use]
    pub fn places(self) -> &'static [f64] {
        const THIRD: f64 = 1.0 / 3.0;
        match self {
            Self::Quarter => &[0.0],
            Self::Eighth => &[0.0, 0.5],
            Self::Triplet => &[0.0, THIRD, 2.0 * THIRD],
            Self::Sixteenth => &[0.0, 0.25, 0.5, 0.75],
            Self::EighthAndTriplet => &[0.0, THIRD, 0.5, 2.0 * THIRD],
        }
    }

    /// Smallest distance between two neighbouring places, in beats.
    #[must_use]
    pub fn gap(self) -> f64 {
        match self {
            Self::Quarter => 1.0,
            Self::Eighth => 0.5,
            Self::Triplet => 1.0 / 3.0,
            Self::Sixteenth => 0.25,
            Self::EighthAndTriplet => 1.0 / 6.0,
        }
    }

    /// The nearest place of the grid to a time in beats: its own time in beats, and which of
    /// [`places`](Self::places) it is. A time that is not finite yields itself and place 0.
    #[must_use]
    pub fn nearest(self, beats: f64) -> (f64, usize) {
        let whole = beats.floor();
        let phase = beats - whole;
        let places = self.places();
        let mut best = (whole + 1.0, 0, 1.0 - phase);
        for (index, &place) in places.iter().enumerate() {
            let away = (phase - place).abs();
            if away <= best.2 {
                best = (whole + place, index, away);
            }
        }
        if beats.is_finite() { (best.0, best.1) } else { (beats, 0) }
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quarter => "quarters",
            Self::Eighth => "eighths",
            Self::Triplet => "triplets",
            Self::Sixteenth => "sixteenths",
            Self::EighthAndTriplet => "eighths and triplets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempo_is_bounded_and_says_so() {
        assert!((Tempo::new(120.0).unwrap().beat_seconds() - 0.5).abs() < 1e-12);
        assert!(Tempo::new(20.0).is_ok() && Tempo::new(400.0).is_ok());
        for bad in [0.0, -5.0, 19.9, 401.0, f64::NAN, f64::INFINITY] {
            assert!(Tempo::new(bad).unwrap_err().to_string().contains("20 to 400"), "{bad}");
        }
    }

    #[test]
    fn nearest_place_of_each_subdivision() {
        assert_eq!(Subdivision::Quarter.nearest(3.4), (3.0, 0));
        assert_eq!(Subdivision::Quarter.nearest(3.6), (4.0, 0));
        assert_eq!(Subdivision::Eighth.nearest(3.4), (3.5, 1));
        assert_eq!(Subdivision::Sixteenth.nearest(-0.2), (-0.25, 3));
        assert_eq!(Subdivision::Triplet.nearest(0.9), (1.0, 0));
        assert_eq!(Subdivision::EighthAndTriplet.nearest(0.45).1, 2);
        assert!(Subdivision::Eighth.nearest(f64::NAN).0.is_nan());
        for kind in Subdivision::ALL {
            for i in -100..100 {
                let beats = f64::from(i) * 0.037;
                assert!((kind.nearest(beats).0 - beats).abs() <= 0.5, "{kind} {beats}");
            }
        }
    }
}
