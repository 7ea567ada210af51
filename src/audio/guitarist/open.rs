//! The virtual guitarist tunes: each open string in turn is struck out of tune, nearer, and in tune.

use super::PEAK;
use super::body::Body;
use super::random::Random;
use super::string::{Pluck, Voice};
use crate::audio::SampleSource;
use crate::music::note::midi_to_hz;
use crate::music::tuning::Tuning;

/// Time between two strokes, seconds: long enough to read the tuner and turn the peg.
const STROKE_SECONDS: f64 = 2.4;
/// A string is out of tune by this much at first, cents.
const OFF_CENTS: (f64, f64) = (8.0, 32.0);
/// What is left of it at each stroke.
const LEFT: [f64; 3] = [1.0, 0.3, 0.0];

/// A stroke as it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Struck {
    /// Seconds from the first sample.
    pub onset: f64,
    /// MIDI number of the string.
    pub midi: u8,
    /// Deviation of its first partial, cents.
    pub cents: f64,
}

/// Strikes the open strings of a tuning, from the lowest up, without end.
#[derive(Clone, Debug)]
pub struct OpenStrings {
    strings: Vec<u8>,
    a4_hz: f64,
    sample_rate: f64,
    random: Random,
    voices: Vec<Voice>,
    body: Body,
    sample: u64,
    next: u64,
    strokes: usize,
    off: f64,
    struck: Vec<Struck>,
}

impl OpenStrings {
    /// A guitar in this tuning (capo counted in), all its strings a little off. `a4_hz` in Hz.
    #[must_use]
    pub fn new(tuning: &Tuning, a4_hz: f64, seed: u64, sample_rate: u32) -> Self {
        Self {
            strings: tuning.strings(),
            a4_hz,
            sample_rate: f64::from(sample_rate),
            random: Random::new(seed, 8),
            voices: Vec::new(),
            body: Body::new(f64::from(sample_rate)),
            sample: 0,
            next: (0.3 * f64::from(sample_rate)) as u64,
            strokes: 0,
            off: 0.0,
            struck: Vec::new(),
        }
    }

    /// The strokes made so far, in order.
    #[must_use]
    pub fn struck(&self) -> &[Struck] {
        &self.struck
    }

    fn strike(&mut self) {
        let string = self.strokes / LEFT.len() % self.strings.len();
        let step = self.strokes % LEFT.len();
        if step == 0 {
            let way = if self.random.uniform() < 0.5 { -1.0 } else { 1.0 };
            self.off = way * self.random.between(OFF_CENTS.0, OFF_CENTS.1);
        }
        let (midi, cents) = (self.strings[string], LEFT[step] * self.off);
        let hz = midi_to_hz(f64::from(midi) + cents / 100.0, self.a4_hz);
        self.voices.iter_mut().for_each(Voice::strike_over);
        self.voices.retain(|v| !v.is_still());
        self.voices.push(Voice::new(
            Pluck { hz, string, fret: 0, peak: PEAK },
            self.sample_rate,
            &mut self.random,
        ));
        self.struck.push(Struck { onset: self.sample as f64 / self.sample_rate, midi, cents });
        self.strokes += 1;
        self.next += (STROKE_SECONDS * self.sample_rate) as u64;
    }
}

impl SampleSource for OpenStrings {
    fn read(&mut self, out: &mut [f32]) -> usize {
        for sample in &mut *out {
            if self.sample >= self.next {
                self.strike();
            }
            let strings: f64 = self.voices.iter_mut().map(Voice::next).sum();
            *sample = self.body.next(strings) as f32;
            self.sample += 1;
        }
        out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_comes_into_tune() {
        let mut open = OpenStrings::new(&Tuning::default(), 440.0, 1, 8000);
        let mut block = [0.0; 997];
        while open.struck().len() < 19 {
            assert_eq!(open.read(&mut block), 997);
            assert!(block.iter().all(|x| x.abs() < 1.0));
        }
        for (i, string) in open.struck()[..18].chunks(3).enumerate() {
            assert!(string.iter().all(|s| s.midi == Tuning::default().strings()[i]));
            let [far, near, there] = string else { panic!() };
            assert!(far.cents.abs() >= 8.0 && near.cents.abs() < far.cents.abs() && there.cents == 0.0);
        }
        assert_eq!(open.struck()[18].midi, 40, "and again from the lowest");
    }
}
