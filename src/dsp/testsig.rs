//! Test signals with exactly known truth: additive stiff strings, pick bursts, noise. Seeded.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
use std::f64::consts::TAU;

use super::ANALYSIS_RATE;

/// A note of the test string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pluck {
    /// Seconds.
    pub(crate) onset: f64,
    /// Frequency of the first partial, Hz.
    pub(crate) f1: f64,
    /// Until it is damped, seconds.
    pub(crate) length: f64,
    /// Peak amplitude, about.
    pub(crate) gain: f64,
    /// Inharmonicity.
    pub(crate) b: f64,
}

impl Pluck {
    pub(crate) fn new(onset: f64, f1: f64, length: f64) -> Self {
        // Low strings are stiffer for their length; see the guitar's usual 5e-5 .. 1.5e-4.
        Self { onset, f1, length, gain: 0.25, b: if f1 < 150.0 { 1e-4 } else { 5e-5 } }
    }
}

/// A small linear congruential generator (Knuth's MMIX constants).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    /// Uniform in -1..1.
    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    /// About normal, standard deviation 1.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() * 0.5
    }
}

/// A signal under construction.
pub(crate) struct Signal {
    pub(crate) samples: Vec<f32>,
}

impl Signal {
    pub(crate) fn silence(seconds: f64) -> Self {
        Self { samples: vec![0.0; (seconds * f64::from(ANALYSIS_RATE)) as usize] }
    }

    /// Adds a plucked string: partials with the comb of a pluck at 0.18 of its length, faster decay for higher ones,
    /// a pick burst of 3 ms, and 12 ms of damping at its end.
    pub(crate) fn pluck(&mut self, p: &Pluck) {
        self.glide(p, |_| 0.0);
    }

    /// The same with a deviation of the pitch in cents as a function of the seconds since the onset.
    pub(crate) fn glide(&mut self, p: &Pluck, cents: impl Fn(f64) -> f64) {
        let rate = f64::from(ANALYSIS_RATE);
        let start = (p.onset * rate).round() as usize;
        let count = (((p.length + 0.012) * rate) as usize).min(self.samples.len().saturating_sub(start));
        let base = p.f1 / (1.0 + p.b).sqrt();
        let stretch: Vec<f64> = if cents(p.length) == 0.0 && cents(p.length / 3.0) == 0.0 {
            Vec::new()
        } else {
            let mut sum = 0.0;
            (0..count)
                .map(|i| {
                    sum += 2f64.powf(cents(i as f64 / rate) / 1200.0) / rate;
                    sum
                })
                .collect()
        };
        let mut random = Random::new((p.onset * 1e4) as u64 + p.f1 as u64);
        for k in 1..=20 {
            let k = f64::from(k);
            let hz = k * base * (1.0 + p.b * k * k).sqrt();
            if hz > 12_000.0 {
                break;
            }
            let amplitude = p.gain * (k * 0.18 * std::f64::consts::PI).sin().abs().max(0.05) / k;
            let decay = 1.2 + 0.6 * k;
            let phase = f64::from(random.uniform()) * std::f64::consts::PI;
            for i in 0..count {
                let t = i as f64 / rate;
                let warped = stretch.get(i).copied().unwrap_or(t);
                let attack = (t / 0.0015).min(1.0);
                let damp =
                    if t > p.length { 0.5 + 0.5 * (TAU / 2.0 * (t - p.length) / 0.012).cos() } else { 1.0 };
                self.samples[start + i] +=
                    (amplitude * attack * damp * (-t * decay).exp() * (TAU * hz * warped + phase).sin())
                        as f32;
            }
        }
        for i in 0..count.min(144) {
            let fade = 1.0 - i as f32 / 144.0;
            self.samples[start + i] += 0.25 * p.gain as f32 * fade * random.normal();
        }
    }

    /// Adds white noise of this RMS.
    pub(crate) fn noise(&mut self, rms: f32, seed: u64) {
        let mut random = Random::new(seed);
        for x in &mut self.samples {
            *x += rms * random.normal();
        }
    }

    /// Adds a burst of noise: string noise, a squeak without pitch.
    pub(crate) fn burst(&mut self, at: f64, seconds: f64, rms: f32, seed: u64) {
        let mut random = Random::new(seed);
        let rate = f64::from(ANALYSIS_RATE);
        let (from, n) = ((at * rate) as usize, (seconds * rate) as usize);
        for i in 0..n {
            let shape = (std::f64::consts::PI * i as f64 / n as f64).sin() as f32;
            if let Some(x) = self.samples.get_mut(from + i) {
                *x += rms * shape * random.normal();
            }
        }
    }

    /// Adds a sine: hum.
    pub(crate) fn sine(&mut self, hz: f64, amplitude: f64) {
        for (i, x) in self.samples.iter_mut().enumerate() {
            *x += (amplitude * (TAU * hz * i as f64 / f64::from(ANALYSIS_RATE)).sin()) as f32;
        }
    }

    /// Mean square.
    pub(crate) fn power(&self) -> f32 {
        self.samples.iter().map(|x| x * x).sum::<f32>() / self.samples.len() as f32
    }
}

/// Frequency of a MIDI note at A4 = 440 Hz.
pub(crate) fn hz(midi: u8) -> f64 {
    440.0 * 2f64.powf((f64::from(midi) - 69.0) / 12.0)
}
