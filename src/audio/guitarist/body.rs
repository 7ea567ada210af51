//! What lies between the strings and the ear: body and pickup as a few fixed resonances, and the noise of hands.

use std::f64::consts::TAU;

use super::random::Random;

/// Resonances of body and pickup: Hz, dB, Q. Two modes of the body, and the bump of the pickup.
const PEAKS: [(f64, f64, f64); 3] = [(105.0, 2.5, 1.5), (215.0, 2.0, 2.0), (2600.0, 3.0, 1.2)];
/// Corner of the pickup's low-pass, Hz.
const CORNER_HZ: f64 = 4800.0;

/// Second-order filter, transposed direct form II; coefficients after Bristow-Johnson, "Cookbook formulae for audio EQ
/// biquad filter coefficients".
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    s: [f64; 2],
}

impl Biquad {
    fn peak(hz: f64, db: f64, q: f64, sample_rate: f64) -> Self {
        let (sin, cos) = (TAU * hz / sample_rate).sin_cos();
        let (gain, alpha) = (10f64.powf(db / 40.0), sin / (2.0 * q));
        let a0 = 1.0 + alpha / gain;
        Self {
            b: [(1.0 + alpha * gain) / a0, -2.0 * cos / a0, (1.0 - alpha * gain) / a0],
            a: [-2.0 * cos / a0, (1.0 - alpha / gain) / a0],
            s: [0.0; 2],
        }
    }

    fn low_pass(hz: f64, q: f64, sample_rate: f64) -> Self {
        let (sin, cos) = (TAU * hz / sample_rate).sin_cos();
        let alpha = sin / (2.0 * q);
        let a0 = 1.0 + alpha;
        let b1 = (1.0 - cos) / a0;
        Self { b: [0.5 * b1, b1, 0.5 * b1], a: [-2.0 * cos / a0, (1.0 - alpha) / a0], s: [0.0; 2] }
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.s[0];
        self.s[0] = self.b[1] * x - self.a[0] * y + self.s[1];
        self.s[1] = self.b[2] * x - self.a[1] * y;
        y
    }
}

/// Body and pickup. Linear and without delay: pitch and onset stay what they are.
#[derive(Clone, Debug)]
pub(super) struct Body(Vec<Biquad>);

impl Body {
    pub(super) fn new(sample_rate: f64) -> Self {
        let reach = 0.45 * sample_rate;
        let mut filters: Vec<Biquad> = PEAKS
            .iter()
            .filter(|(hz, ..)| *hz < reach)
            .map(|(hz, db, q)| Biquad::peak(*hz, *db, *q, sample_rate))
            .collect();
        if CORNER_HZ < reach {
            filters.push(Biquad::low_pass(CORNER_HZ, 0.8, sample_rate));
        }
        Self(filters)
    }

    pub(super) fn next(&mut self, x: f64) -> f64 {
        self.0.iter_mut().fold(x, |x, filter| filter.next(x))
    }
}

/// A squeak: noise through a resonance that glides as the finger runs along a wound string, over a dull scrape.
#[derive(Clone, Debug)]
pub(super) struct Squeak {
    age: usize,
    length: usize,
    height: f64,
    from_hz: f64,
    to_hz: f64,
    sample_rate: f64,
    band: f64,
    low: f64,
    random: Random,
}

impl Squeak {
    /// A squeak of `seconds` with about this RMS (full scale 1).
    pub(super) fn new(seconds: f64, rms: f64, sample_rate: f64, random: &mut Random) -> Self {
        let (from_hz, to_hz) = (random.between(900.0, 2500.0), random.between(1200.0, 3200.0));
        Self {
            age: 0,
            length: (seconds * sample_rate) as usize,
            height: rms,
            from_hz,
            to_hz,
            sample_rate,
            band: 0.0,
            low: 0.0,
            random: random.fork(),
        }
    }

    /// The next sample, or `None` at its end.
    pub(super) fn next(&mut self) -> Option<f64> {
        /// Damping of the resonance: wide enough to have no pitch.
        const DAMPING: f64 = 0.5;
        /// Brings the noise out of the resonance to an RMS of about 1.
        const MAKE_UP: f64 = 2.4;
        if self.age >= self.length {
            return None;
        }
        let x = self.age as f64 / self.length as f64;
        self.age += 1;
        let hz = self.from_hz + (self.to_hz - self.from_hz) * x;
        // State-variable filter (Chamberlin), stable up to a sixth of the sample rate.
        let f = 2.0 * (0.5 * TAU * (hz / self.sample_rate).min(0.15)).sin();
        let noise = self.random.between(-1.0, 1.0);
        self.low += f * self.band;
        let high = noise - self.low - DAMPING * self.band;
        self.band += f * high;
        let hull = (std::f64::consts::PI * x).sin();
        Some(MAKE_UP * self.height * hull * hull * (self.band + 0.3 * self.low))
    }
}
