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

/// How unevenly a beat is parted in two: length of its first part against that of its second, 1 (straight) to 3.
/// Kept to a hundredth, finer than anybody plays or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Swing(u16);

impl Swing {
    /// As even as straight eighths.
    pub const STRAIGHT: Self = Self(100);
    /// First and last of a triplet.
    pub const TRIPLET: Self = Self(200);
    /// Dotted eighth and sixteenth.
    pub const DOTTED: Self = Self(300);

    /// Takes a ratio; `None` outside 1..=3 or for what is no number.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        (1.0..=3.0).contains(&ratio).then(|| Self((100.0 * ratio).round() as u16))
    }

    /// The swing that puts the second note at this place of the beat (0..1), brought into 1:1 to 3:1.
    #[must_use]
    pub fn at(place: f64) -> Self {
        let ratio = (place / (1.0 - place)).clamp(1.0, 3.0);
        Self::new(ratio).unwrap_or(Self::STRAIGHT)
    }

    /// First part against the second, 1..=3.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Where in the beat the second note falls: 0.5 (straight) to 0.75.
    #[must_use]
    pub fn place(self) -> f64 {
        self.ratio() / (1.0 + self.ratio())
    }
}

impl fmt::Display for Swing {
    /// `2:1`, `1.5:1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:1", (10.0 * self.ratio()).round() / 10.0)
    }
}

/// The places inside a beat where notes are meant to fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subdivision {
    /// On the beat.
    Quarter,
    /// Two to the beat.
    Eighth,
    /// Two to the beat, the second late.
    Swung(Swing),
    /// Three to the beat.
    Triplet,
    /// Four to the beat.
    Sixteenth,
}

impl Subdivision {
    /// Those that part the beat evenly, coarsest first.
    pub const EVEN: [Self; 4] = [Self::Quarter, Self::Eighth, Self::Triplet, Self::Sixteenth];

    /// Places inside one beat.
    #[must_use]
    pub fn places(self) -> Places {
        const THIRD: f64 = 1.0 / 3.0;
        match self {
            Self::Quarter => Places::new(&[0.0]),
            Self::Eighth => Places::new(&[0.0, 0.5]),
            Self::Swung(swing) => Places::new(&[0.0, swing.place()]),
            Self::Triplet => Places::new(&[0.0, THIRD, 2.0 * THIRD]),
            Self::Sixteenth => Places::new(&[0.0, 0.25, 0.5, 0.75]),
        }
    }

    /// Mean distance between two neighbouring places, in beats.
    #[must_use]
    pub fn gap(self) -> f64 {
        1.0 / self.places().len() as f64
    }

    /// The nearest place of the grid to a time in beats: its own time in beats, and which of
    /// [`places`](Self::places) it is. A time that is not finite yields itself and place 0.
    #[must_use]
    pub fn nearest(self, beats: f64) -> (f64, usize) {
        self.places().nearest(beats)
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarter => f.write_str("quarters"),
            Self::Eighth => f.write_str("eighths"),
            Self::Swung(swing) => write!(f, "swung eighths ({swing})"),
            Self::Triplet => f.write_str("triplets"),
            Self::Sixteenth => f.write_str("sixteenths"),
        }
    }
}

/// Most places inside one beat.
pub const MOST_PLACES: usize = 4;

/// Places inside one beat, in beats, rising from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Places {
    at: [f64; MOST_PLACES],
    len: usize,
}

impl Places {
    /// The first [`MOST_PLACES`] of these, which must rise from 0 and stay below 1.
    #[must_use]
    pub const fn new(places: &[f64]) -> Self {
        let mut at = [0.0; MOST_PLACES];
        let len = if places.len() < MOST_PLACES { places.len() } else { MOST_PLACES };
        let mut i = 0;
        while i < len {
            at[i] = places[i];
            i += 1;
        }
        Self { at, len }
    }

    /// How many turns by a part of the beat leave these places alone: as many as there are where they part the beat
    /// evenly, else 1.
    #[must_use]
    pub fn turns(&self) -> usize {
        let part = 1.0 / self.len as f64;
        let even = self.iter().enumerate().all(|(i, place)| (place - i as f64 * part).abs() < 1e-9);
        if even { self.len } else { 1 }
    }

    /// The nearest place of the grid to a time in beats: its own time in beats, and which one it is. A time that is
    /// not finite yields itself and place 0.
    #[must_use]
    pub fn nearest(&self, beats: f64) -> (f64, usize) {
        let whole = beats.floor();
        let phase = beats - whole;
        let mut best = (whole + 1.0, 0, 1.0 - phase);
        for (index, &place) in self.iter().enumerate() {
            let away = (phase - place).abs();
            if away <= best.2 {
                best = (whole + place, index, away);
            }
        }
        if beats.is_finite() { (best.0, best.1) } else { (beats, 0) }
    }
}

impl std::ops::Deref for Places {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.at[..self.len]
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
        assert_eq!(Subdivision::Swung(Swing::DOTTED).nearest(2.8), (2.75, 1));
        assert!(Subdivision::Eighth.nearest(f64::NAN).0.is_nan());
        let swung = [Subdivision::Swung(Swing::TRIPLET), Subdivision::Swung(Swing::STRAIGHT)];
        for kind in Subdivision::EVEN.into_iter().chain(swung) {
            for i in -100..100 {
                let beats = f64::from(i) * 0.037;
                assert!((kind.nearest(beats).0 - beats).abs() <= 0.5, "{kind} {beats}");
            }
        }
    }

    #[test]
    fn swing_goes_from_straight_to_dotted() {
        assert_eq!(Swing::at(2.0 / 3.0), Swing::TRIPLET);
        assert_eq!(
            (Swing::at(0.2), Swing::at(0.9), Swing::at(1.0)),
            (Swing::STRAIGHT, Swing::DOTTED, Swing::DOTTED)
        );
        assert!(
            (Swing::STRAIGHT.place() - 0.5).abs() < 1e-12 && (Swing::DOTTED.place() - 0.75).abs() < 1e-12
        );
        for bad in [0.99, 3.01, f64::NAN] {
            assert_eq!(Swing::new(bad), None);
        }
        assert_eq!(Swing::at(f64::NAN), Swing::STRAIGHT);
        assert_eq!(Subdivision::Swung(Swing::new(1.52).unwrap()).to_string(), "swung eighths (1.5:1)");
        assert_eq!(Subdivision::Swung(Swing::TRIPLET).to_string(), "swung eighths (2:1)");
    }
}
