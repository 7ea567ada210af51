//! The virtual guitarist: a plucked-string model that plays over a scale with exactly known mistakes.
//!
//! It is the demo, and the ground truth of tests and benches: every note it plays is told with its onset to the sample
//! and its pitch to a fraction of a cent. The same [`Performance`] gives the same samples on every machine of the same
//! floating point. Each kind of mistake draws from a random stream of its own, so that changing one changes no other.
//! Truth times count from the first sample rendered.
mod body;
mod mistakes;
mod open;
mod phrase;
mod random;
mod string;

use crate::music::grid::{MAX_BPM, MIN_BPM};
use crate::music::note::{A4_HZ, midi_to_hz};
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;

use body::{Body, Squeak};
pub use mistakes::{Mistakes, MistakesError};
pub use open::{OpenStrings, Struck};
use phrase::{BAR, Intended, Phrases, finger};
pub use phrase::{Pattern, PatternError};
use random::Random;
use string::{Pluck, Voice};

/// Silence before the first beat, seconds.
pub const LEAD_IN_SECONDS: f64 = 0.5;
/// Silence kept after the last note of a performance of set length, seconds.
const LEAD_OUT_SECONDS: f64 = 0.5;
/// Sample rates that are rendered; others are taken to the nearer end, Hz.
const SAMPLE_RATES: (u32, u32) = (8_000, 384_000);
/// Highest peak of an accented note: -12 dBFS, as a well-set input has it.
const PEAK: f64 = 0.25;
/// Softer than that by up to this much without an accent, and by chance, dB.
const UNACCENTED_DB: f64 = 2.5;
const UNEVEN_DB: f64 = 0.8;
/// Notes follow each other at least at this distance, seconds, however uneven the timing.
const CLOSEST_SECONDS: f64 = 0.05;
/// The finger lifts this long before the next note, seconds.
const LIFT_SECONDS: f64 = 0.012;
/// With drift, the tempo stays within these shares of where it began.
const DRIFT_SHARES: (f64, f64) = (0.5, 1.8);
/// A squeak as the hand moves to the next note: how often, how long (seconds), and its end before that note.
const SQUEAKS: f64 = 0.6;
const SQUEAK_SECONDS: (f64, f64) = (0.05, 0.11);
const SQUEAK_ENDS: f64 = 0.015;
/// RMS of a squeak with `noise` 1, against [`PEAK`].
const SQUEAK_LEVEL: f64 = 0.35;
/// RMS of hum and of hiss with a mistake of 1, against [`PEAK`].
const STEADY_LEVEL: f64 = 0.15;
/// Mains frequency, Hz, and the share of each of its multiples in the hum (a single-coil pickup's: odd ones prevail).
const MAINS_HZ: f64 = 50.0;
const HUM: [(f64, f64); 6] = [(1.0, 1.0), (2.0, 0.5), (3.0, 0.6), (5.0, 0.35), (7.0, 0.2), (9.0, 0.1)];
/// A brushed string: its height against a note's, and how long it rings, seconds.
const BRUSHED: f64 = 0.3;
const RINGS_SECONDS: f64 = 1.8;
/// Names the brushed string among the voices, so that no finger stops it.
const BRUSHED_STRING: usize = usize::MAX;

/// Strings that are still, and squeaks that are over, are forgotten every so many samples.
const CLEAR_EVERY: u64 = 4096;

/// What to play.
#[derive(Clone, Debug, PartialEq)]
pub struct Performance {
    /// The scale.
    pub scale: Scale,
    /// Tempo, bpm; brought into 20..=400.
    pub bpm: f64,
    /// What is played over the scale.
    pub pattern: Pattern,
    /// What goes wrong.
    pub mistakes: Mistakes,
    /// Seed of phrases and mistakes.
    pub seed: u64,
    /// Sample rate, Hz; brought into 8000..=384000.
    pub sample_rate: u32,
    /// Length in bars of four beats; 0: without end ([`perform`] then plays 8).
    pub bars: u32,
    /// Reference pitch, Hz.
    pub a4_hz: f64,
    /// Strings of the guitar.
    pub tuning: Tuning,
}

impl Default for Performance {
    /// A minor pentatonic up and down at 100 bpm without a mistake, without end, at 48 kHz.
    fn default() -> Self {
        let root = crate::music::note::NoteName::new(5, 0);
        Self {
            scale: Scale::new(root, crate::music::scale::ScaleKind::MinorPentatonic),
            bpm: 100.0,
            pattern: Pattern::Scale,
            mistakes: Mistakes::default(),
            seed: 1,
            sample_rate: 48_000,
            bars: 0,
            a4_hz: A4_HZ,
            tuning: Tuning::default(),
        }
    }
}

/// A note as it was played. Times in seconds from the first sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TruthNote {
    /// The first sample of the note, exactly.
    pub onset: f64,
    /// When the finger lifts.
    pub offset: f64,
    /// MIDI number of the note that was played.
    pub midi: u8,
    /// Deviation of the first partial from `midi`, cents: of this note and of the whole guitar together.
    pub cents: f64,
    /// Played a semitone off, out of the scale.
    pub wrong: bool,
    /// Where the note is meant to fall at the nominal, unchanging tempo.
    pub grid: f64,
}

/// Decides what is played when, without a sound: the truth that [`Guitarist`] renders.
#[derive(Clone, Debug)]
struct Player {
    performance: Performance,
    phrases: Phrases,
    timing: Random,
    wrong: Random,
    detune: Random,
    touch: Random,
    /// Beat and time of the last note on the drifting grid.
    beat: f64,
    time: f64,
    last_onset: f64,
    next: Option<Planned>,
    position: u8,
}

/// A note about to be played.
#[derive(Clone, Copy, Debug)]
struct Planned {
    truth: TruthNote,
    /// First sample.
    start: u64,
    /// Sample at which the finger lifts.
    lift: u64,
    pluck: Pluck,
}

impl Player {
    fn new(mut performance: Performance) -> Self {
        performance.sample_rate = performance.sample_rate.clamp(SAMPLE_RATES.0, SAMPLE_RATES.1);
        performance.bpm =
            if performance.bpm.is_nan() { 100.0 } else { performance.bpm.clamp(MIN_BPM, MAX_BPM) };
        performance.mistakes = performance.mistakes.clamped();
        let stream = |n| Random::new(performance.seed, n);
        let phrases = Phrases::new(
            &performance.scale,
            &performance.tuning,
            performance.pattern,
            performance.bpm,
            stream(1),
        );
        // The hand stands where the first, lowest note of the scale lies on the lowest string.
        let lowest = performance.tuning.strings().first().copied().unwrap_or(0);
        let position = phrases.lowest().saturating_sub(lowest).min(12);
        let mut player = Self {
            timing: stream(2),
            wrong: stream(3),
            detune: stream(4),
            touch: stream(5),
            beat: 0.0,
            time: LEAD_IN_SECONDS,
            last_onset: f64::NEG_INFINITY,
            next: None,
            position,
            performance,
            phrases,
        };
        let first = player.phrases.next();
        player.next = player.plan(first);
        player
    }

    /// The note that is played next, and moves on. `None` after the last bar.
    fn advance(&mut self) -> Option<Planned> {
        let mut current = self.next.take()?;
        let intended = self.phrases.next();
        self.next = self.plan(intended);
        if let Some(next) = &self.next {
            // One line, one note at a time.
            let rate = f64::from(self.performance.sample_rate);
            let latest = next.start.saturating_sub((LIFT_SECONDS * rate) as u64).max(current.start + 1);
            current.lift = current.lift.min(latest);
            current.truth.offset = current.lift as f64 / rate;
        }
        Some(current)
    }

    fn plan(&mut self, intended: Intended) -> Option<Planned> {
        let bars = self.performance.bars;
        if bars > 0 && intended.beat >= f64::from(bars) * BAR {
            return None;
        }
        let mistakes = self.performance.mistakes;
        let rate = f64::from(self.performance.sample_rate);
        self.time = self.time_of(intended.beat);
        self.beat = intended.beat;
        let off = mistakes.timing_ms / 1000.0 * self.timing.normal();
        let onset = (self.time + off).max(self.last_onset + CLOSEST_SECONDS).max(0.0);
        let start = (onset * rate).round() as u64;
        let onset = start as f64 / rate;
        self.last_onset = onset;
        let length = intended.length * 60.0 / self.tempo_at(self.time);
        let lift = ((onset + length) * rate).round() as u64;

        let (draw, up) = (self.wrong.uniform(), self.wrong.uniform() < 0.5);
        let (first, second) =
            if up { (intended.midi + 1, intended.midi - 1) } else { (intended.midi - 1, intended.midi + 1) };
        let scale = &self.performance.scale;
        let playable =
            |midi: &u8| !scale.contains(*midi) && !self.performance.tuning.positions(*midi).is_empty();
        let off_scale = [first, second].into_iter().find(playable).filter(|_| draw < mistakes.wrong);
        let midi = off_scale.unwrap_or(intended.midi);

        let cents = mistakes.guitar_offset_cents + mistakes.detune_cents * self.detune.normal();
        let (string, fret) = finger(midi, self.position, &self.performance.tuning);
        let db = UNACCENTED_DB * (1.0 - intended.accent) + UNEVEN_DB * self.touch.uniform();
        let pluck = Pluck {
            hz: midi_to_hz(f64::from(midi) + cents / 100.0, self.performance.a4_hz),
            string,
            fret,
            peak: PEAK * 10f64.powf(-db / 20.0),
        };
        let truth = TruthNote {
            onset,
            offset: lift as f64 / rate,
            midi,
            cents,
            wrong: off_scale.is_some(),
            grid: LEAD_IN_SECONDS + intended.beat * 60.0 / self.performance.bpm,
        };
        Some(Planned { truth, start, lift, pluck })
    }

    /// Tempo at a time, bpm.
    fn tempo_at(&self, time: f64) -> f64 {
        let bpm = self.performance.bpm;
        let drifted = bpm + self.performance.mistakes.drift_bpm_per_min * (time - LEAD_IN_SECONDS) / 60.0;
        drifted.clamp(DRIFT_SHARES.0 * bpm, DRIFT_SHARES.1 * bpm)
    }

    /// When a beat comes on the drifting grid: a tempo that changes linearly, solved from the last note on (the mean of
    /// the tempos at both ends is exact for a linear change).
    fn time_of(&self, beat: f64) -> f64 {
        let start = self.tempo_at(self.time);
        let mut time = self.time + (beat - self.beat) * 60.0 / start;
        for _ in 0..8 {
            time = self.time + (beat - self.beat) * 120.0 / (start + self.tempo_at(time));
        }
        time
    }
}

/// Plays, sample by sample, without end (or until the last bar, then silence).
#[derive(Clone, Debug)]
pub struct Guitarist {
    player: Player,
    next: Option<Planned>,
    /// Notes that sound: the sample at which the finger lifts, until it has.
    lifts: Vec<(u64, usize)>,
    voices: Vec<Voice>,
    squeaks: Vec<(u64, Squeak)>,
    noise: Random,
    pick: Random,
    brush: Random,
    hiss: Random,
    body: Body,
    sample: u64,
    truth: Vec<TruthNote>,
}

impl Guitarist {
    /// Takes the guitar. Values that cannot be played are brought into range.
    #[must_use]
    pub fn new(performance: &Performance) -> Self {
        let mut player = Player::new(performance.clone());
        let rate = f64::from(player.performance.sample_rate);
        let next = player.advance();
        let seed = player.performance.seed;
        Self {
            player,
            next,
            lifts: Vec::new(),
            voices: Vec::new(),
            squeaks: Vec::new(),
            noise: Random::new(seed, 6),
            pick: Random::new(seed, 7),
            brush: Random::new(seed, 8),
            hiss: Random::new(seed, 9),
            body: Body::new(rate),
            sample: 0,
            truth: Vec::new(),
        }
    }

    /// Sample rate of what is rendered, Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.player.performance.sample_rate
    }

    /// Fills `out` with the next samples, full scale 1. Not for a real-time thread: plucking allocates.
    pub fn render(&mut self, out: &mut [f32]) {
        let mut done = 0;
        while done < out.len() {
            self.begin_and_end_notes();
            let until = self.next_event().saturating_sub(self.sample).clamp(1, (out.len() - done) as u64);
            for sample in &mut out[done..done + until as usize] {
                let strings: f64 = self.voices.iter_mut().map(Voice::next).sum();
                let mut sound = strings;
                for (start, squeak) in &mut self.squeaks {
                    if *start <= self.sample {
                        sound += squeak.next().unwrap_or(0.0);
                    }
                }
                *sample = (self.body.next(sound) + self.steady_noise()) as f32;
                self.sample += 1;
            }
            done += until as usize;
            // At fixed samples, so that what is heard does not depend on the blocks asked for.
            if self.sample.is_multiple_of(CLEAR_EVERY) {
                self.clear();
            }
        }
    }

    /// What has been played so far, in order.
    #[must_use]
    pub fn truth(&self) -> &[TruthNote] {
        &self.truth
    }

    /// True when the last bar has been played (never without a set length).
    #[must_use]
    pub fn finished(&self) -> bool {
        self.next.is_none() && self.lifts.is_empty()
    }

    /// Forgets what is heard no more.
    fn clear(&mut self) {
        self.voices.retain(|v| !v.is_still());
        let longest = (SQUEAK_SECONDS.1 * f64::from(self.sample_rate())) as u64 + 1;
        let now = self.sample;
        self.squeaks.retain(|(start, _)| start + longest >= now);
    }

    fn next_event(&self) -> u64 {
        let note = self.next.map_or(u64::MAX, |n| n.start);
        let lift = self.lifts.iter().map(|l| l.0).min().unwrap_or(u64::MAX);
        note.min(lift).min((self.sample / CLEAR_EVERY + 1) * CLEAR_EVERY)
    }

    fn begin_and_end_notes(&mut self) {
        let now = self.sample;
        let rate = f64::from(self.sample_rate());
        for (_, string) in self.lifts.extract_if(.., |l| l.0 <= now) {
            self.voices.iter_mut().filter(|v| v.string == string).for_each(Voice::damp);
        }
        while let Some(planned) = self.next.filter(|n| n.start <= now) {
            let string = planned.pluck.string;
            self.voices.iter_mut().filter(|v| v.string == string).for_each(Voice::strike_over);
            self.voices.push(Voice::new(planned.pluck, rate, &mut self.pick));
            self.lifts.push((planned.lift, string));
            self.truth.push(planned.truth);
            self.next = self.player.advance();
            self.plan_squeak(now, rate);
            self.brush(&planned, rate);
        }
    }

    /// Hum and hiss at this sample.
    fn steady_noise(&mut self) -> f64 {
        let Mistakes { hum, hiss, .. } = self.player.performance.mistakes;
        let mut sum = 0.0;
        if hum > 0.0 {
            let turns = self.sample as f64 * MAINS_HZ / f64::from(self.sample_rate());
            let wave: f64 =
                HUM.iter().map(|(k, a)| a * (std::f64::consts::TAU * (k * turns).fract() + k).sin()).sum();
            let power: f64 = HUM.iter().map(|(_, a)| 0.5 * a * a).sum();
            sum += hum * STEADY_LEVEL * PEAK * wave / power.sqrt();
        }
        if hiss > 0.0 {
            // A uniform draw from -1 to 1 has an RMS of 1/√3.
            sum += hiss * STEADY_LEVEL * PEAK * 3f64.sqrt() * self.hiss.between(-1.0, 1.0);
        }
        sum
    }

    /// The hand may brush another string, which is left to ring.
    fn brush(&mut self, planned: &Planned, rate: f64) {
        let performance = &self.player.performance;
        let strings = performance.tuning.strings();
        let (draw, from) = (self.brush.uniform(), self.brush.index(strings.len()));
        let rings = self.voices.iter().any(|v| v.string == BRUSHED_STRING && !v.is_damped());
        if draw >= performance.mistakes.ringing || rings {
            return;
        }
        let near = |midi: u8| {
            midi.abs_diff(planned.truth.midi) % 12 < 2 || midi.abs_diff(planned.truth.midi) % 12 == 11
        };
        let order = (0..strings.len()).map(|i| (from + i) % strings.len());
        let Some(string) = order.into_iter().find(|s| *s != planned.pluck.string && !near(strings[*s]))
        else {
            return;
        };
        let cents = performance.mistakes.guitar_offset_cents;
        let hz = midi_to_hz(f64::from(strings[string]) + cents / 100.0, performance.a4_hz);
        let pluck = Pluck { hz, string, fret: 0, peak: BRUSHED * planned.pluck.peak };
        let mut voice = Voice::new(pluck, rate, &mut self.brush);
        voice.string = BRUSHED_STRING;
        self.voices.push(voice);
        self.lifts.push((planned.start + (RINGS_SECONDS * rate) as u64, BRUSHED_STRING));
    }

    /// The hand moves to the next note, and may be heard.
    fn plan_squeak(&mut self, now: u64, rate: f64) {
        let Some(next) = self.next else { return };
        let (draw, length) = (self.noise.uniform(), self.noise.between(SQUEAK_SECONDS.0, SQUEAK_SECONDS.1));
        let level =
            self.player.performance.mistakes.noise * SQUEAK_LEVEL * PEAK * self.noise.between(0.7, 1.3);
        let end = next.start.saturating_sub((SQUEAK_ENDS * rate) as u64);
        let start = end.saturating_sub((length * rate) as u64);
        let squeak = Squeak::new(length, level, rate, &mut self.noise);
        if draw < SQUEAKS && level > 0.0 && start > now {
            self.squeaks.push((start, squeak));
        }
    }
}

/// Plays a whole performance: samples (full scale 1) and truth.
#[must_use]
pub fn perform(performance: &Performance) -> (Vec<f32>, Vec<TruthNote>) {
    let performance = with_length(performance);
    let truth = truth(&performance);
    let end = truth.last().map_or(0.0, |n| n.offset) + LEAD_OUT_SECONDS;
    let mut guitarist = Guitarist::new(&performance);
    let mut samples = vec![0.0; (end * f64::from(guitarist.sample_rate())) as usize];
    guitarist.render(&mut samples);
    (samples, truth)
}

/// The truth of a whole performance, without a sound.
#[must_use]
pub fn truth(performance: &Performance) -> Vec<TruthNote> {
    let mut player = Player::new(with_length(performance));
    std::iter::from_fn(|| player.advance().map(|p| p.truth)).collect()
}

fn with_length(performance: &Performance) -> Performance {
    const BARS: u32 = 8;
    let bars = if performance.bars == 0 { BARS } else { performance.bars };
    Performance { bars, ..performance.clone() }
}

#[cfg(test)]
mod tests;
