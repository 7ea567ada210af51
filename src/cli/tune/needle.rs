//! What a tuner makes of the pitch: which string is meant, how far it is off, calm and quick. Pure; time comes with the
//! frames.

use std::collections::VecDeque;

use crate::dsp::event::FrameReport;
use crate::music::note::{OCTAVE, hz_to_midi, midi_to_hz};

/// Estimates that the middle value is taken over (250 ms): a quarter of a second is what the eye takes for at once.
const MEDIAN: usize = 47;
/// Fewest of them for a reading (32 ms).
const FEWEST: usize = 6;
/// What the middle value still moves by is smoothed with this time constant, seconds.
const SMOOTH_SECONDS: f64 = 0.12;
/// An estimate further from the middle value is another note, or a mistake of the detector, cents …
const JUMP_CENTS: f64 = 60.0;
/// … another note when so many come in a row (32 ms).
const JUMP_FRAMES: u32 = 6;
/// Another string must be nearer by this much, cents, for so many estimates (64 ms): between two strings the tuner
/// stays with the one it has.
const SWITCH_CENTS: f64 = 40.0;
const SWITCH_FRAMES: u32 = 12;
/// A reading is settled when the note is this old, seconds, …
const SETTLE_SECONDS: f64 = 0.4;
/// … and has not moved by more than so many cents for so many seconds.
const STILL_CENTS: f64 = 1.0;
const STILL_SECONDS: f64 = 0.3;
/// In tune within this, cents, and until it is out by a little more: half of what a trained ear tells apart (5 to 6
/// cents, Loeffler 2006), and twice what the reading moves on a steady string.
pub const IN_TUNE_CENTS: f64 = 2.0;
const OUT_OF_TUNE_CENTS: f64 = 3.0;
/// A reading stays on the screen this long after the string has died away, seconds.
const HOLD_SECONDS: f64 = 2.0;
/// Frames further apart than this are not connected, seconds.
const LOST_SECONDS: f64 = 0.1;

/// The detector hears nothing below, Hz (its longest lag). A lower string is tuned by its harmonic at fret 12, an octave up.
const LOWEST_HZ: f64 = 54.0;

/// What is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The string that is nearest.
    Auto,
    /// One string, by its index from the lowest.
    String(usize),
    /// Any note.
    Chromatic,
}

/// One look at the tuner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Note that is aimed at (of a string that is too low, its octave).
    pub midi: u8,
    /// String, by its index from the lowest; `None` in chromatic mode.
    pub string: Option<usize>,
    /// Measured, Hz.
    pub hz: f64,
    /// Aimed at, Hz.
    pub target_hz: f64,
    /// Measured against aimed at, cents.
    pub cents: f64,
    /// The reading stands still.
    pub settled: bool,
    /// Within a hair's breadth.
    pub in_tune: bool,
    /// The string still sounds; else this is the last that was known.
    pub sounding: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Tuner {
    strings: Vec<u8>,
    /// What each string is heard at: itself, or its octave where it is too low.
    aims: Vec<u8>,
    a4: f64,
    mode: Mode,
    /// Latest estimates, cents on the scale of MIDI numbers times 100.
    recent: VecDeque<f64>,
    strays: u32,
    smooth: Option<f64>,
    /// Where the reading has stood, cents, and since when.
    still: (f64, f64),
    target: Option<(u8, Option<usize>)>,
    other: u32,
    /// When the note began.
    since: f64,
    now: f64,
    heard: f64,
    level_db: f32,
    in_tune: bool,
    phase: f64,
    /// Strings whose last settled reading was in tune.
    tuned: Vec<bool>,
}

impl Tuner {
    /// A tuner for these strings (MIDI numbers from the lowest). `a4` in Hz.
    #[must_use]
    pub fn new(strings: Vec<u8>, a4: f64, mode: Mode) -> Self {
        let tuned = vec![false; strings.len()];
        let too_low = |m: u8| midi_to_hz(f64::from(m), a4) < LOWEST_HZ;
        let aims = strings.iter().map(|&m| if too_low(m) { m + OCTAVE } else { m }).collect();
        Self {
            strings,
            aims,
            a4,
            mode,
            recent: VecDeque::with_capacity(MEDIAN + 1),
            strays: 0,
            smooth: None,
            still: (0.0, 0.0),
            target: None,
            other: 0,
            since: 0.0,
            now: 0.0,
            heard: f64::NEG_INFINITY,
            level_db: f32::NEG_INFINITY,
            in_tune: false,
            phase: 0.0,
            tuned,
        }
    }

    /// The strings, MIDI numbers from the lowest.
    #[must_use]
    pub fn strings(&self) -> &[u8] {
        &self.strings
    }

    /// Strings that are tuned by their harmonic at fret 12, by index from the lowest.
    pub fn by_harmonic(&self) -> impl Iterator<Item = usize> {
        (0..self.strings.len()).filter(move |&i| self.aims[i] != self.strings[i])
    }

    /// What is tuned.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Tunes something else. A string that does not exist changes nothing.
    pub fn set_mode(&mut self, mode: Mode) {
        if !matches!(mode, Mode::String(i) if i >= self.strings.len()) {
            self.mode = mode;
            self.target = None;
            self.in_tune = false;
        }
    }

    /// Whether a string was in tune when it was last heard.
    #[must_use]
    pub fn is_tuned(&self, string: usize) -> bool {
        self.tuned.get(string).copied().unwrap_or(false)
    }

    /// Level of the input, dBFS.
    #[must_use]
    pub fn level_db(&self) -> f32 {
        self.level_db
    }

    /// How far the string has run ahead of its target, periods of the target (0..1): the picture of a strobe.
    #[must_use]
    pub fn phase(&self) -> f64 {
        self.phase.rem_euclid(1.0)
    }

    /// Periods a second by which the string runs ahead (negative: behind).
    #[must_use]
    pub fn drift(&self) -> f64 {
        self.reading().filter(|r| r.sounding).map_or(0.0, |r| r.hz - r.target_hz)
    }

    /// Input was lost: what comes is not connected with what was.
    pub fn gap(&mut self) {
        self.forget();
    }

    /// Takes a frame.
    pub fn frame(&mut self, frame: &FrameReport) {
        let passed = frame.t - self.now;
        self.now = frame.t;
        self.level_db = frame.level_db;
        if self.now - self.heard > LOST_SECONDS && !self.recent.is_empty() {
            self.recent.clear();
            self.strays = 0;
        }
        let pitch =
            frame.f0.filter(|_| !frame.provisional).map(|hz| 100.0 * hz_to_midi(f64::from(hz), self.a4));
        let Some(pitch) = pitch.filter(|p| p.is_finite()) else { return };
        if !self.take(pitch) {
            return;
        }
        self.heard = self.now;
        if self.recent.len() < FEWEST {
            return;
        }
        let middle = self.middle();
        let share = 1.0 - (-passed.clamp(0.0, 1.0) / SMOOTH_SECONDS).exp();
        let smooth = self.smooth.map_or(middle, |s| s + share * (middle - s));
        if self.smooth.is_none() || (smooth - self.still.0).abs() > STILL_CENTS {
            self.still = (smooth, self.now);
        }
        self.smooth = Some(smooth);
        self.aim(smooth);
        let Some(reading) = self.reading() else { return };
        self.phase =
            (self.phase + (reading.hz - reading.target_hz) * passed.clamp(0.0, LOST_SECONDS)).fract();
        let limit = if self.in_tune { OUT_OF_TUNE_CENTS } else { IN_TUNE_CENTS };
        self.in_tune = reading.cents.abs() <= limit;
        if let (Some(string), true) = (reading.string, reading.settled) {
            self.tuned[string] = self.in_tune;
        }
    }

    /// What there is to be shown.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        let (smooth, (midi, string)) = (self.smooth?, self.target?);
        if self.now - self.heard > HOLD_SECONDS {
            return None;
        }
        let sounding = self.now - self.heard <= LOST_SECONDS;
        let settled =
            sounding && self.now - self.since >= SETTLE_SECONDS && self.now - self.still.1 >= STILL_SECONDS;
        Some(Reading {
            midi,
            string,
            hz: midi_to_hz(smooth / 100.0, self.a4),
            target_hz: midi_to_hz(f64::from(midi), self.a4),
            cents: smooth - 100.0 * f64::from(midi),
            settled,
            in_tune: self.in_tune,
            sounding,
        })
    }

    /// Adds an estimate; false for one that does not belong.
    fn take(&mut self, pitch: f64) -> bool {
        if !self.recent.is_empty() && (pitch - self.middle()).abs() > JUMP_CENTS {
            self.strays += 1;
            if self.strays < JUMP_FRAMES {
                return false;
            }
            self.forget();
        }
        if self.recent.is_empty() {
            let far = self.smooth.is_none_or(|s| (s - pitch).abs() > JUMP_CENTS);
            if far {
                self.forget();
            }
            self.since = self.now;
        }
        self.strays = 0;
        if self.recent.len() == MEDIAN {
            self.recent.pop_front();
        }
        self.recent.push_back(pitch);
        true
    }

    fn forget(&mut self) {
        self.recent.clear();
        self.strays = 0;
        self.smooth = None;
        self.in_tune = false;
        // Auto mode chooses anew; a note far away is another string.
        self.target = None;
        self.other = 0;
    }

    fn middle(&self) -> f64 {
        let mut values: Vec<f64> = self.recent.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        (values[(n - 1) / 2] + values[n / 2]) / 2.0
    }

    /// Decides which note is meant.
    fn aim(&mut self, pitch: f64) {
        let away = |midi: u8| (pitch - 100.0 * f64::from(midi)).abs();
        let nearest = match self.mode {
            Mode::String(i) => {
                self.target = Some((self.aims[i], Some(i)));
                return;
            }
            Mode::Auto => {
                (0..self.strings.len()).min_by(|&a, &b| away(self.aims[a]).total_cmp(&away(self.aims[b])))
            }
            Mode::Chromatic => None,
        };
        let nearest = match nearest {
            Some(i) => (self.aims[i], Some(i)),
            None => ((pitch / 100.0).round().clamp(0.0, 127.0) as u8, None),
        };
        match self.target {
            Some(now) if now == nearest => self.other = 0,
            Some(now) if away(now.0) - away(nearest.0) < SWITCH_CENTS => self.other = 0,
            Some(_) if self.other + 1 < SWITCH_FRAMES => self.other += 1,
            _ => {
                self.target = Some(nearest);
                self.other = 0;
                self.in_tune = false;
            }
        }
    }
}

/// What to do, in a few words.
#[must_use]
pub fn words(r: &Reading) -> String {
    let (cents, way) = (r.cents, if r.cents > 0.0 { "sharp" } else { "flat" });
    if r.in_tune {
        format!("{cents:+.1} cents, in tune")
    } else if cents.abs() >= 100.0 {
        format!("{:.1} semitones too {}", cents.abs() / 100.0, if cents > 0.0 { "high" } else { "low" })
    } else {
        format!("{cents:+.1} cents, {way}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::NoisePowers;

    const HOP: f64 = 256.0 / 48_000.0;
    const STANDARD: [u8; 6] = [40, 45, 50, 55, 59, 64];

    struct Guitar {
        tuner: Tuner,
        t: f64,
        noise: u32,
    }

    impl Guitar {
        fn new(mode: Mode) -> Self {
            Self { tuner: Tuner::new(STANDARD.to_vec(), 440.0, mode), t: 0.0, noise: 1 }
        }

        /// Plays a pitch (MIDI number) with estimates that scatter, and looks at the reading after each.
        fn play(&mut self, midi: f64, seconds: f64, scatter: f64) -> Vec<Option<Reading>> {
            let mut seen = Vec::new();
            for _ in 0..(seconds / HOP) as usize {
                self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let off = (f64::from(self.noise >> 8) / f64::from(1u32 << 24) - 0.5) * 2.0 * scatter;
                self.step(Some(midi_to_hz(midi + off / 100.0, 440.0) as f32));
                seen.push(self.tuner.reading());
            }
            seen
        }

        fn step(&mut self, f0: Option<f32>) {
            self.t += HOP;
            self.tuner.frame(&FrameReport {
                t: self.t,
                w: 0.02,
                f0,
                confidence: 0.9,
                provisional: false,
                level_db: -20.0,
                wanted: 0.0,
                unwanted: 0.0,
                causes: NoisePowers::default(),
            });
        }

        fn rest(&mut self, seconds: f64) {
            (0..(seconds / HOP) as usize).for_each(|_| self.step(None));
        }
    }

    #[test]
    fn a_steady_string_reads_steady_within_a_cent() {
        for (string, cents) in [(0usize, 4.6), (3, -17.0), (5, 0.4)] {
            let mut g = Guitar::new(Mode::Auto);
            let seen = g.play(f64::from(STANDARD[string]) + cents / 100.0, 3.0, 3.0);
            let settled: Vec<Reading> = seen.into_iter().flatten().filter(|r| r.settled).collect();
            assert!(settled.len() > 300, "{}", settled.len());
            for r in settled {
                assert_eq!((r.string, r.midi), (Some(string), STANDARD[string]));
                assert!((r.cents - cents).abs() < 1.0, "{} for {cents}", r.cents);
                assert_eq!(r.in_tune, cents.abs() < 2.0);
            }
        }
    }

    #[test]
    fn a_turn_of_the_peg_is_followed_quickly() {
        let mut g = Guitar::new(Mode::Auto);
        g.play(40.3, 2.0, 1.0);
        let after = g.play(40.0, 0.6, 1.0);
        assert!(after.last().unwrap().unwrap().cents.abs() < 1.5, "{:?}", after.last());
        assert!(g.tuner.reading().unwrap().in_tune);
    }

    #[test]
    fn single_mistakes_of_the_detector_change_nothing() {
        let mut g = Guitar::new(Mode::Auto);
        g.play(45.05, 1.0, 0.5);
        for _ in 0..20 {
            g.play(57.05, 3.0 * HOP + 1e-9, 0.0);
            let r = g.play(45.05, 0.2, 0.5).pop().unwrap().unwrap();
            assert!((r.cents - 5.0).abs() < 1.0 && r.string == Some(1), "{r:?}");
        }
    }

    #[test]
    fn between_two_strings_the_tuner_stays_with_the_one_it_has() {
        let mut g = Guitar::new(Mode::Auto);
        g.play(42.0, 1.0, 1.0);
        assert_eq!(g.tuner.reading().unwrap().string, Some(0));
        // Up past the middle (42.5), in small steps as a peg is turned.
        for step in 0..60 {
            g.play(42.0 + 0.01 * f64::from(step), 0.05, 1.0);
        }
        assert_eq!(g.tuner.reading().unwrap().string, Some(0), "42.6 is not far enough past the middle");
        for step in 60..110 {
            g.play(42.0 + 0.01 * f64::from(step), 0.05, 1.0);
        }
        assert_eq!(g.tuner.reading().unwrap().string, Some(1));
        // Another string struck is known at once.
        g.rest(0.3);
        g.play(64.02, 0.2, 1.0);
        assert_eq!(g.tuner.reading().unwrap().string, Some(5));
    }

    #[test]
    fn a_chosen_string_and_any_note() {
        let mut g = Guitar::new(Mode::String(2));
        let r = g.play(52.0, 0.5, 0.5).pop().unwrap().unwrap();
        assert_eq!((r.string, r.midi, words(&r).as_str()), (Some(2), 50, "2.0 semitones too high"));
        g.tuner.set_mode(Mode::String(9));
        assert_eq!(g.tuner.mode(), Mode::String(2), "there is no tenth string");
        g.tuner.set_mode(Mode::Chromatic);
        let r = g.play(52.03, 0.5, 0.2).pop().unwrap().unwrap();
        assert_eq!((r.string, r.midi), (None, 52));
    }

    #[test]
    fn a_string_too_low_is_tuned_by_its_octave() {
        let mut g = Guitar::new(Mode::Auto);
        g.tuner = Tuner::new(vec![30, 35, 40], 440.0, Mode::Auto);
        assert_eq!(g.tuner.by_harmonic().collect::<Vec<_>>(), [0]);
        let r = g.play(42.05, 1.0, 0.5).pop().unwrap().unwrap();
        assert!(r.string == Some(0) && (r.cents - 5.0).abs() < 0.5, "{r:?}");
    }

    #[test]
    fn a_reading_stays_a_moment_and_then_goes() {
        let mut g = Guitar::new(Mode::Auto);
        g.play(40.0, 1.0, 0.5);
        assert!(g.tuner.reading().unwrap().sounding && g.tuner.is_tuned(0));
        g.rest(1.0);
        assert!(!g.tuner.reading().unwrap().sounding);
        g.rest(1.5);
        assert_eq!(g.tuner.reading(), None);
        assert!(g.tuner.is_tuned(0), "the string is still in tune");
    }

    #[test]
    fn the_strobe_stands_still_in_tune_and_runs_with_the_difference() {
        let drift = |cents: f64| {
            let mut g = Guitar::new(Mode::Auto);
            g.play(45.0 + cents / 100.0, 1.0, 0.0);
            let before = g.tuner.phase();
            g.play(45.0 + cents / 100.0, 1.0, 0.0);
            (g.tuner.phase() - before + 0.5).rem_euclid(1.0) - 0.5
        };
        assert!(drift(0.0).abs() < 1e-3);
        // A2 is 110 Hz: 6 cents are 0.382 Hz.
        assert!((drift(6.0) - 0.382).abs() < 0.01, "{}", drift(6.0));
        assert!((drift(-6.0) + 0.381).abs() < 0.01, "{}", drift(-6.0));
    }
}
