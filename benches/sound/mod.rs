//! Sounds that the benches listen to, and how they are timed. Nothing is recorded: all of it is made from a formula.
#![allow(dead_code, reason = "each bench uses a part")]

use std::f32::consts::TAU;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use fretcoach::audio::clock::{now_ns, thread_cpu_ns};
use fretcoach::dsp::ANALYSIS_RATE;

/// Processor time of this thread, ns; the wall's where the system does not tell.
pub fn cpu_ns() -> u64 {
    thread_cpu_ns().unwrap_or_else(now_ns)
}

/// What criterion measures here: other programs on the machine do not count.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        cpu_ns()
    }

    fn end(&self, began: u64) -> u64 {
        cpu_ns() - began
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, ns: &u64) -> f64 {
        *ns as f64
    }

    /// Of nanoseconds.
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Xorshift: -1..1.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Eighths at 120 bpm over three octaves, 20 dB above white noise: detectors return early in silence.
pub fn noisy_notes() -> Vec<f32> {
    let rate = ANALYSIS_RATE as usize;
    let mut noise = Noise(88_172_645_463_325_252);
    (0..8 * rate)
        .map(|i| {
            let (note, t) = (i / (rate / 4), (i % (rate / 4)) as f32 / rate as f32);
            let hz = 82.407 * 2f32.powf((note * 5 % 36) as f32 / 12.0);
            let string = (1..12).fold(0.0, |sum, k| {
                let k = k as f32;
                sum + (-t * (1.5 + 0.7 * k)).exp() / k * (TAU * k * hz * t).sin()
            });
            0.2 * string + 0.017 * noise.next()
        })
        .collect()
}

/// A note whose first partial is known exactly.
pub struct Known {
    pub onset: f64,
    pub end: f64,
    pub f1: f64,
}

/// Every note from B1 to E6, each detuned by up to 40 cents, as a plucked stiff string (partials at k F √(1 + B k²), Fletcher
/// 1964) of 0.7 s, 0.2 s apart, over white noise `snr_db` below the RMS of its first quarter second.
pub fn stiff_strings(snr_db: f32) -> (Vec<f32>, Vec<Known>) {
    let rate = f64::from(ANALYSIS_RATE);
    let mut random = Noise(0x9e37_79b9_7f4a_7c15);
    let (mut samples, mut notes) = (vec![0.0f32; ANALYSIS_RATE as usize / 2], Vec::new());
    for midi in 35..=88 {
        let cents = 40.0 * f64::from(random.next());
        let f1 = 440.0 * 2f64.powf((f64::from(midi) - 69.0 + cents / 100.0) / 12.0);
        let b: f64 = if midi < 50 { 1.2e-4 } else { 6e-5 };
        let pluck = 0.22 + 0.1 * f64::from(random.next());
        let base = f1 / (1.0 + b).sqrt();
        let mut note = vec![0.0f64; (0.7 * rate) as usize];
        for k in (1..60).map(f64::from) {
            let hz = k * base * (1.0 + b * k * k).sqrt();
            if hz > 12_000.0 {
                break;
            }
            let gain = (std::f64::consts::PI * k * pluck).sin() / k;
            let phase = 0.3 * f64::from(random.next());
            let decay = 1.2 + 0.25 * k * base / 110.0;
            for (i, x) in note.iter_mut().enumerate() {
                let t = i as f64 / rate;
                *x += gain * (-decay * t).exp() * (std::f64::consts::TAU * hz * t + phase).sin();
            }
        }
        let n = note.len();
        for (i, x) in note.iter_mut().enumerate() {
            *x *= 0.2 * (i as f64 / rate / 0.001).min(1.0) * ((n - i) as f64 / rate / 0.01).min(1.0);
        }
        let quarter = &note[..ANALYSIS_RATE as usize / 4];
        let rms = (quarter.iter().map(|x| x * x).sum::<f64>() / quarter.len() as f64).sqrt() as f32;
        // Uniform noise has an RMS of 1/√3.
        let level = rms * 10f32.powf(-snr_db / 20.0) * 3f32.sqrt();
        let onset = samples.len() as f64 / rate;
        notes.push(Known { onset, end: onset + 0.69, f1 });
        note.resize(n + ANALYSIS_RATE as usize / 5, 0.0);
        samples.extend(note.iter().map(|&x| x as f32 + level * random.next()));
    }
    (samples, notes)
}

/// The middle one.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
