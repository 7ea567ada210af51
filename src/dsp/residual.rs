//! What lies between the partials of a sounding note.
//!
//! A note's energy sits in lines at multiples of its pitch; noise fills the valleys between them too. The spectrum
//! (85 ms, three-term Blackman-Harris, side lobes below -67 dB: Harris 1978) is cut into pieces one partial spacing
//! wide, so that each holds a valley wherever the partials of a stiff string, or another string that rings on, may
//! lie; the lowest bin of each stands for the noise of the piece.
use super::LOW_RATE;
use super::transform::Transform;
use super::wide::wide;

/// Transform length, decimated samples.
pub(crate) const SIZE: usize = 1024;
/// Blackman-Harris coefficients (three terms, minimum side lobes).
const WINDOW: [f64; 3] = [0.423_23, 0.497_55, 0.079_22];
/// Band that is measured, Hz: from below hum to the edge of the decimation filter.
const BAND_HZ: (f32, f32) = (40.0, 4500.0);
/// Where its upper part begins, Hz: squeaks and buzz are strong there, the strings are not.
pub(crate) const HIGH_HZ: f32 = 1300.0;
/// And its middle one: above the fundamentals of the low strings and the strongest hum.
pub(crate) const MIDDLE_HZ: f32 = 300.0;
const BIN_HZ: f32 = LOW_RATE / SIZE as f32;
/// Width of a piece in bins where the pitch leaves the choice.
const PIECE: f32 = 10.0;
/// Mean power of a bin of white noise over the expected lowest of `n` neighbouring ones: measured, `A + B n`.
const LOWEST: (f32, f32) = (0.9, 0.62);

wide! {
    fn sum_of(x: &[f32]) -> f32 {
        let (eights, rest) = x.as_chunks::<8>();
        let mut acc = [0.0f32; 8];
        for eight in eights {
            for k in 0..8 {
                acc[k] += eight[k];
            }
        }
        acc.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

/// See the module.
pub(crate) struct Residual {
    transform: Transform,
    window: Vec<f32>,
    power: Vec<f32>,
}

impl Residual {
    pub(crate) fn new() -> Self {
        let shape: Vec<f64> = (0..SIZE)
            .map(|i| {
                let p = std::f64::consts::TAU * (i as f64 + 0.5) / SIZE as f64;
                WINDOW[0] - WINDOW[1] * p.cos() + WINDOW[2] * (2.0 * p).cos()
            })
            .collect();
        // So that the squared magnitudes of all bins add up to the mean square of the signal.
        let norm = (2.0 / (SIZE as f64 * shape.iter().map(|w| w * w).sum::<f64>())).sqrt();
        Self {
            window: shape.iter().map(|w| (w * norm) as f32).collect(),
            power: vec![0.0; SIZE / 2 + 1],
            transform: Transform::new(SIZE),
        }
    }

    /// Looks at the last [`SIZE`] decimated samples.
    pub(crate) fn look(&mut self, x: &[f32]) {
        self.power.fill(0.0);
        let Some(x) = x.len().checked_sub(SIZE).and_then(|from| x.get(from..)) else { return };
        for (p, c) in self.power.iter_mut().zip(self.transform.under(x, &self.window)) {
            *p = c.norm_sqr();
        }
    }

    /// Mean-square power of what was last looked at, below and above [`HIGH_HZ`].
    pub(crate) fn bands(&self) -> (f32, f32) {
        let bin = |hz: f32| (hz / BIN_HZ) as usize;
        let sum = |from: f32, to: f32| sum_of(&self.power[bin(from)..bin(to)]);
        (sum(BAND_HZ.0, HIGH_HZ), sum(HIGH_HZ, BAND_HZ.1))
    }

    /// Mean-square power of the noise under a note of pitch `f0` (0: under none) in what was last looked at: below
    /// [`MIDDLE_HZ`], from there to [`HIGH_HZ`], and above.
    pub(crate) fn valleys(&self, f0: f32) -> [f32; 3] {
        let spacing = if f0 > 0.0 { f0 / BIN_HZ } else { PIECE };
        let width = (spacing / (spacing / PIECE).floor().max(1.0)).clamp(3.0, 2.0 * PIECE);
        let (mut from, end) = (BAND_HZ.0 / BIN_HZ, BAND_HZ.1 / BIN_HZ);
        let mut noise = [0.0; 3];
        while from + width <= end {
            let (a, b) = (from.round() as usize, ((from + width).round() as usize).min(self.power.len()));
            let lowest = self.power[a.min(b)..b].iter().fold(f32::MAX, |m, &p| m.min(p));
            let n = b.saturating_sub(a) as f32;
            if n > 0.0 {
                let hz = from * BIN_HZ;
                let band = usize::from(hz >= MIDDLE_HZ) + usize::from(hz >= HIGH_HZ);
                noise[band] += lowest * n * (LOWEST.0 + LOWEST.1 * n);
            }
            from += width;
        }
        noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::testsig::Random;

    fn string(f0: f32, n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| {
                (1..=40).fold(0.0, |sum, k| {
                    let k = k as f32;
                    let hz = f64::from(k * f0 * (1.0 + 8e-5 * k * k).sqrt());
                    if hz > 4800.0 {
                        return sum;
                    }
                    let phase =
                        std::f64::consts::TAU * hz * i as f64 / f64::from(LOW_RATE) + f64::from(k * k);
                    sum + 0.3 / k * phase.sin() as f32 * (-(i as f32) / LOW_RATE * (1.0 + 0.5 * k)).exp()
                })
            })
            .collect()
    }

    fn measure(residual: &mut Residual, x: &[f32], f0: f32) -> f32 {
        residual.look(x);
        residual.valleys(f0).iter().sum()
    }

    /// Mean of the measure over noise of the given mean square in the whole band of the decimated signal.
    fn mean_over_noise(f0: f32, noise: f32, with_string: bool) -> f32 {
        let mut residual = Residual::new();
        let mut random = Random::new(5);
        let rounds = 60;
        (0..rounds)
            .map(|_| {
                let mut x = if with_string { string(f0, SIZE) } else { vec![0.0; SIZE] };
                for v in &mut x {
                    *v += noise.sqrt() * random.normal();
                }
                measure(&mut residual, &x, f0)
            })
            .sum::<f32>()
            / rounds as f32
    }

    #[test]
    fn noise_under_a_string_is_measured_to_two_decibels() {
        let in_band = (BAND_HZ.1 - BAND_HZ.0) / (LOW_RATE / 2.0);
        for f0 in [82.4, 110.0, 165.0, 246.9, 440.0, 880.0] {
            for with_string in [false, true] {
                let error = 10.0 * (mean_over_noise(f0, 1e-3, with_string) / (1e-3 * in_band)).log10();
                assert!(error.abs() < 2.0, "{f0} Hz, string {with_string}: {error:.2} dB");
            }
        }
    }

    #[test]
    fn a_clean_string_leaves_less_than_a_ten_thousandth() {
        for f0 in [82.4, 87.3, 98.0, 146.8, 329.6, 1318.5] {
            let x = string(f0, SIZE);
            let power = x.iter().map(|v| v * v).sum::<f32>() / SIZE as f32;
            let left = 10.0 * (measure(&mut Residual::new(), &x, f0) / power).log10();
            assert!(left < -43.0, "{f0} Hz: {left:.1} dB");
        }
    }
}
