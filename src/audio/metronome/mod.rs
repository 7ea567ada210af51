//! The metronome: what is clicked when, in frames of the output, and where in the input it is heard.
//!
//! ```text
//! app ─start─▶ player ─▶ source: mixes each click at its very frame ─▶ loudspeaker ⇢ room ⇢ microphone
//!                          └▶ Board: origin, tempo, frames so far ─▶ Ear, in the loop: takes the clicks out of the
//!                             (latest value)                          input, and tells when beat 0 was heard ─▶ app
//! ```
//! The click is independent of what the coach says: it goes on beneath the voice, and a stop of the voice does not stop it.
//! The times of clicks come from whole numbers of beats, so no error adds up.
//!
//! The first four or five clicks are in the input until the way is known; they usually fall into the count-in, which is not
//! judged. Without a count-in what is played on them is judged all the same: a click alone is no note, but the onset of a
//! note under one may be off by some milliseconds (3 to 5 ms of spread at -6 dB). Nothing is withheld, for whether a note
//! lies on a click is not known before the way is.

pub mod board;
pub mod ear;
pub mod measure;

use crate::dsp::click::sign;

/// Tempi of a metronome, beats a minute.
pub const TEMPI: std::ops::RangeInclusive<f64> = 20.0..=400.0;
/// Most clicks a beat.
pub const MOST_PARTS: u32 = 6;
/// Most beats a bar.
pub const MOST_BEATS: u32 = 16;
/// Where the second half of a pair may fall: straight to dotted.
pub const SWINGS: std::ops::RangeInclusive<f64> = 0.5..=0.75;
/// Levels of the first beat of a bar, of the others, and of what lies between them. An accent differs by level alone: two
/// ticks in quick succession would be plainer, but have a pitch, which is heard as a note where they are not taken out.
const ACCENT: f32 = 1.0;
const BEAT: f32 = 0.5;
const PART: f32 = 0.25;

/// What a metronome plays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metronome {
    /// Beats a minute, one of [`TEMPI`].
    pub bpm: f64,
    /// Beats a bar, the first of them accented; 0: no accents.
    pub accent: u32,
    /// Clicks a beat, 1..=[`MOST_PARTS`].
    pub parts: u32,
    /// Where the second click of each pair falls, as share of the pair, one of [`SWINGS`]: 0.5 straight, 0.667 as
    /// triplets. Only with an even number of parts.
    pub swing: f64,
    /// It gets faster by itself.
    pub climb: Option<Climb>,
}

/// A tempo that rises by itself, always with the first beat of a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Climb {
    /// Beats before it begins (the count-in).
    pub after: u32,
    /// Beats at each tempo, at least 1.
    pub every: u32,
    /// Beats a minute by which it rises, above 0.
    pub step: f64,
    /// Beats a minute at which it ends, one of [`TEMPI`].
    pub end: f64,
}

/// Beats of one tempo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Its first beat, from the start.
    pub beat: f64,
    /// When that is due, seconds from the start.
    pub seconds: f64,
    /// Beats a minute.
    pub bpm: f64,
}

impl Stretch {
    /// Length of a beat, seconds.
    #[must_use]
    pub fn beat_seconds(&self) -> f64 {
        60.0 / self.bpm
    }
}

/// A metronome that cannot be played.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetronomeError {
    /// No tempo, or one out of range.
    #[error("the metronome needs a tempo of 20 to 400 beats a minute, not {0}: set it with --bpm")]
    Tempo(f64),
    /// See [`Metronome::accent`].
    #[error("click_accent is {0}: a bar has 1 to 16 beats, and 0 is no accent")]
    Accent(u32),
    /// See [`Metronome::parts`].
    #[error("click_subdivision is {0}: a beat has 1 to 6 clicks")]
    Parts(u32),
    /// See [`Metronome::swing`].
    #[error("click_swing is {0}: it goes from 0.5 (straight) by 0.667 (as triplets) to 0.75 (dotted)")]
    Swing(f64),
    /// There are no pairs.
    #[error("click_swing needs pairs: choose --click-subdivision 2, 4 or 6, not {0}, or no swing (0.5)")]
    Pairs(u32),
}

/// One click of the pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Beats from the start.
    pub beats: f64,
    /// Level with sign (see [`sign`]), before the volume.
    pub level: f32,
    /// It begins a bar.
    pub accent: bool,
}

impl Metronome {
    /// Checks and takes the settings. See the fields.
    ///
    /// # Errors
    /// What is out of range, with the range.
    pub fn new(bpm: f64, accent: u32, parts: u32, swing: f64) -> Result<Self, MetronomeError> {
        if !TEMPI.contains(&bpm) {
            return Err(MetronomeError::Tempo(bpm));
        }
        if accent > MOST_BEATS {
            return Err(MetronomeError::Accent(accent));
        }
        if !(1..=MOST_PARTS).contains(&parts) {
            return Err(MetronomeError::Parts(parts));
        }
        if !SWINGS.contains(&swing) {
            return Err(MetronomeError::Swing(swing));
        }
        if swing > 0.5 && parts % 2 == 1 {
            return Err(MetronomeError::Pairs(parts));
        }
        Ok(Self { bpm, accent, parts, swing, climb: None })
    }

    /// The same, getting faster by itself. A climb that leads nowhere is none.
    #[must_use]
    pub fn climbing(self, climb: Climb) -> Self {
        let rises = climb.step > 0.0 && climb.every > 0 && TEMPI.contains(&climb.end) && climb.end > self.bpm;
        Self { climb: rises.then_some(climb), ..self }
    }

    /// Beats a bar, for counting in; 4 where there are no accents.
    #[must_use]
    pub fn bar(&self) -> u32 {
        if self.accent == 0 { 4 } else { self.accent }
    }

    /// The stretch in which a time lies, seconds from the start.
    #[must_use]
    pub fn at_seconds(&self, seconds: f64) -> Stretch {
        self.last_stretch(|s| s.seconds <= seconds)
    }

    /// The stretch in which a beat lies, from the start.
    #[must_use]
    pub fn at_beat(&self, beat: f64) -> Stretch {
        self.last_stretch(|s| s.beat <= beat)
    }

    /// Beats at a time, seconds from the start.
    #[must_use]
    pub fn beats(&self, seconds: f64) -> f64 {
        let stretch = self.at_seconds(seconds);
        stretch.beat + (seconds - stretch.seconds) / stretch.beat_seconds()
    }

    /// When a beat is due, seconds from the start.
    #[must_use]
    pub fn seconds(&self, beat: f64) -> f64 {
        let stretch = self.at_beat(beat);
        stretch.seconds + (beat - stretch.beat) * stretch.beat_seconds()
    }

    /// The last stretch that has `begun`. At most one for each step of the climb: a few hundred, of a few operations.
    fn last_stretch(&self, begun: impl Fn(&Stretch) -> bool) -> Stretch {
        let mut stretch = Stretch { beat: 0.0, seconds: 0.0, bpm: self.bpm };
        let Some(climb) = self.climb else { return stretch };
        let mut beats = f64::from(climb.after) + f64::from(climb.every);
        while stretch.bpm < climb.end {
            let next = Stretch {
                beat: stretch.beat + beats,
                seconds: stretch.seconds + beats * stretch.beat_seconds(),
                bpm: (stretch.bpm + climb.step).min(climb.end),
            };
            if !begun(&next) {
                break;
            }
            (stretch, beats) = (next, f64::from(climb.every));
        }
        stretch
    }

    /// Click number `n` from the start.
    #[must_use]
    pub fn tick(&self, n: u64) -> Tick {
        let parts = u64::from(self.parts.max(1));
        let (beat, part) = (n / parts, n % parts);
        let accent = part == 0 && self.accent > 0 && beat.is_multiple_of(u64::from(self.accent));
        let level = match part {
            0 if accent => ACCENT,
            0 => BEAT,
            _ => PART,
        };
        // Of each pair, the second is late by the swing.
        let late = if part % 2 == 1 && self.parts.is_multiple_of(2) { 2.0 * self.swing - 1.0 } else { 0.0 };
        let beats = beat as f64 + (part as f64 + late) / parts as f64;
        Tick { beats, level: level * sign(n), accent }
    }

    /// Frames from the start to click `n` at a rate in Hz: of the exact time, so no error adds up.
    #[must_use]
    pub fn frame(&self, n: u64, rate: u32) -> u64 {
        (self.seconds(self.tick(n).beats) * f64::from(rate)).round() as u64
    }

    /// The first click whose time is `frames` after the start or later.
    #[must_use]
    pub fn first_from(&self, frames: u64, rate: u32) -> u64 {
        let beats = self.beats(frames as f64 / f64::from(rate.max(1)));
        let mut n = (beats.floor() as u64).saturating_mul(u64::from(self.parts));
        while self.frame(n, rate) < frames {
            n += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accents_subdivisions_and_swing_fall_where_they_should() {
        let m = Metronome::new(120.0, 3, 2, 0.75).unwrap();
        let beats: Vec<f64> = (0..7).map(|n| m.tick(n).beats).collect();
        assert_eq!(beats, [0.0, 0.75, 1.0, 1.75, 2.0, 2.75, 3.0]);
        let accents: Vec<u64> = (0..14).filter(|n| m.tick(*n).accent).collect();
        assert_eq!(accents, [0, 6, 12]);
        assert!(
            m.tick(0).level.abs() > m.tick(2).level.abs() && m.tick(2).level.abs() > m.tick(1).level.abs()
        );
        assert_eq!(m.frame(2, 48_000), 24_000);
        let triplets = Metronome::new(60.0, 0, 3, 0.5).unwrap();
        assert_eq!((triplets.frame(1, 48_000), triplets.frame(2, 48_000)), (16_000, 32_000));
        assert!((0..40).all(|n| !triplets.tick(n).accent));
        let sixteenths = Metronome::new(60.0, 4, 4, 2.0 / 3.0).unwrap();
        let beats: Vec<f64> = (0..5).map(|n| sixteenths.tick(n).beats).collect();
        for (is, should) in beats.iter().zip([0.0, 1.0 / 3.0, 0.5, 5.0 / 6.0, 1.0]) {
            assert!((is - should).abs() < 1e-12, "{beats:?}");
        }
    }

    #[test]
    fn what_cannot_be_played_is_said() {
        let said = |m: Result<Metronome, MetronomeError>| m.unwrap_err().to_string();
        assert!(said(Metronome::new(0.0, 4, 1, 0.5)).contains("--bpm"));
        assert!(said(Metronome::new(f64::NAN, 4, 1, 0.5)).contains("NaN"));
        assert!(said(Metronome::new(90.0, 40, 1, 0.5)).contains("40"));
        assert!(said(Metronome::new(90.0, 4, 0, 0.5)).contains("1 to 6"));
        assert!(said(Metronome::new(90.0, 4, 2, 0.9)).contains("0.9"));
        assert!(said(Metronome::new(90.0, 4, 3, 0.6)).contains("pairs"));
    }

    #[test]
    fn a_climb_gets_faster_with_the_first_beat_of_a_bar_and_stays_at_its_end() {
        // Two bars of three at each tempo, after a bar that is counted in.
        let m = Metronome::new(60.0, 3, 1, 0.5).unwrap();
        let m = m.climbing(Climb { after: 3, every: 6, step: 25.0, end: 120.0 });
        let bpm = |beat: f64| m.at_beat(beat).bpm;
        assert_eq!(
            [0.0, 8.9, 9.0, 14.9, 15.0, 20.9, 21.0, 900.0].map(bpm),
            [60.0, 60.0, 85.0, 85.0, 110.0, 110.0, 120.0, 120.0]
        );
        assert_eq!(m.seconds(9.0), 9.0);
        assert!((m.seconds(10.0) - (9.0 + 60.0 / 85.0)).abs() < 1e-12);
        assert!(m.tick(9).accent && m.tick(15).accent && m.tick(21).accent, "changes fall on a bar");
        for beat in [0.0, 3.3, 9.0, 9.1, 17.5, 21.0, 400.25] {
            assert!((m.beats(m.seconds(beat)) - beat).abs() < 1e-9, "{beat}");
        }
        let level = Climb { after: 0, every: 4, step: 5.0, end: 50.0 };
        assert_eq!(m.climbing(level).climb, None, "down is no climb");
    }

    proptest! {
        /// An hour in, a click is still where its beat is, to half a frame.
        #[test]
        fn no_error_adds_up(bpm in 20.0..400.0f64, parts in 1..=6u32, rate in prop::sample::select(vec![44_100u32, 48_000, 96_000]), beat in 0..20_000u64) {
            let m = Metronome::new(bpm, 4, parts, 0.5).unwrap();
            let frame = m.frame(beat * u64::from(parts), rate);
            let exact = beat as f64 * 60.0 / bpm * f64::from(rate);
            prop_assert!((frame as f64 - exact).abs() <= 0.5 + exact * 1e-15);
        }

        #[test]
        fn clicks_come_in_order_and_are_found_by_their_time(bpm in 20.0..400.0f64, half in 1..=3u32, swing in 0.5..=0.75f64, n in 0..5000u64, step in 0.0..40.0f64, every in 1..64u32) {
            let m = Metronome::new(bpm, 4, 2 * half, swing).unwrap();
            let m = m.climbing(Climb { after: 4, every, step, end: 400.0 });
            prop_assert!(m.frame(n, 48_000) < m.frame(n + 1, 48_000));
            prop_assert_eq!(m.first_from(m.frame(n, 48_000), 48_000), n);
            prop_assert_eq!(m.first_from(m.frame(n, 48_000) + 1, 48_000), n + 1);
        }
    }
}
