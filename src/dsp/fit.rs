//! Frequencies of single partials, and the stiff-string fit through them.
//!
//! A partial's frequency comes from a reassigned DFT at its expected place (Auger and Flandrin 1995): for a window
//! `h` with derivative `h'`, `ω = ω₀ - Im(X_h' / X_h)`, exact for a lone stationary partial. The string's law is
//! `f_k = k F √(1 + B k²)` (Fletcher 1964); `f1 = F √(1 + B)` is what this program calls f0.
use super::wide::wide;
use super::{LOW_RATE, cents_between};

/// Window lengths, decimated samples (21, 32, 43, 64, 85 ms).
pub(crate) const LENGTHS: [usize; 5] = [256, 384, 512, 768, 1024];
/// A Hann window tells two partials apart from about this many periods of their spacing on.
pub(crate) const MIN_PERIODS: f32 = 3.4;
/// Highest partial that is used: above lies the edge of the decimation filter.
const TOP_HZ: f32 = 4600.0;
/// Most partials in the fit: the lowest may be weak on low strings, whose inharmonicity is largest too.
const PARTIALS: usize = 6;
/// Above this pitch four tell as much.
const FEWER_HZ: f32 = 250.0;
/// A partial further than this from its place belongs to something else, cents.
const STRAY_CENTS: f32 = 45.0;
/// Prior on the inharmonicity B: mean, standard deviation, limits (measured guitar strings).
const B_PRIOR: (f32, f32, f32) = (5e-5, 1e-4, 6e-4);
/// Relative standard deviation of (f_k/k)² that the prior is weighed against.
const SPREAD: f32 = 6e-4;

/// One partial: energy and where it really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partial {
    /// Squared magnitude, in units of squared amplitude.
    pub(crate) energy: f32,
    /// Reassigned frequency, Hz.
    pub(crate) hz: f32,
}

impl Partial {
    /// Its frequency, if it has energy and lies near its place.
    pub(crate) fn near(&self, place: f32) -> Option<f32> {
        (self.energy > 1e-14 && cents_between(self.hz, place).abs() < STRAY_CENTS).then_some(self.hz)
    }
}

/// Hann windows and their derivatives, planned once.
pub(crate) struct Partials {
    windows: [Vec<f32>; LENGTHS.len()],
    slopes: [Vec<f32>; LENGTHS.len()],
}

/// What the fit found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    /// Frequency of the first partial, Hz.
    pub(crate) f1: f32,
    /// Partials used.
    pub(crate) used: usize,
}

/// Samples that are turned side by side.
const LANES: usize = 8;

wide! {
    /// Sums of `x` under `window` and under `slope`, times e^(-iωt), for `omega` per sample: both complex.
    fn turn(x: &[f32], window: &[f32], slope: &[f32], omega: f32) -> [f32; 4] {
        let (s1, c1) = omega.sin_cos();
        let (mut c, mut s) = ([1.0f32; LANES], [0.0f32; LANES]);
        for k in 1..LANES {
            c[k] = c[k - 1] * c1 - s[k - 1] * s1;
            s[k] = s[k - 1] * c1 + c[k - 1] * s1;
        }
        let (sr, cr) = (omega * LANES as f32).sin_cos();
        let mut sums = [[0.0f32; LANES]; 4];
        let parts = x.as_chunks::<LANES>().0.iter().zip(window.as_chunks::<LANES>().0);
        for ((x, h), d) in parts.zip(slope.as_chunks::<LANES>().0) {
            for k in 0..LANES {
                let (xh, xd) = (x[k] * h[k], x[k] * d[k]);
                sums[0][k] += xh * c[k];
                sums[1][k] -= xh * s[k];
                sums[2][k] += xd * c[k];
                sums[3][k] -= xd * s[k];
                let next = c[k] * cr - s[k] * sr;
                s[k] = s[k] * cr + c[k] * sr;
                c[k] = next;
            }
        }
        sums.map(|lane| lane.iter().sum::<f32>())
    }
}

impl Partials {
    pub(crate) fn new() -> Self {
        let tau = std::f64::consts::TAU;
        // Normalised to a sum of 2, so that a partial of amplitude A reads |X| = A.
        let make = |n: usize, slope: bool| {
            (0..n)
                .map(|i| {
                    let p = tau * (i as f64 + 0.5) / n as f64;
                    let v = if slope { 0.5 * tau / n as f64 * p.sin() } else { 0.5 - 0.5 * p.cos() };
                    (v * 4.0 / n as f64) as f32
                })
                .collect()
        };
        Self { windows: LENGTHS.map(|n| make(n, false)), slopes: LENGTHS.map(|n| make(n, true)) }
    }

    /// Index of the shortest window that holds `periods` of `hz` within `available` decimated samples, else of the
    /// longest one that holds [`MIN_PERIODS`].
    pub(crate) fn choose(hz: f32, periods: f32, available: usize) -> Option<usize> {
        let holds = |n: usize, p: f32| n <= available && n as f32 * hz >= p * LOW_RATE;
        LENGTHS
            .iter()
            .position(|&n| holds(n, periods))
            .or_else(|| LENGTHS.iter().rposition(|&n| holds(n, MIN_PERIODS)))
    }

    /// The partial near `hz` in the newest samples of `x`, with window `w` of [`LENGTHS`].
    pub(crate) fn measure(&self, x: &[f32], w: usize, hz: f32) -> Partial {
        let [re, im, dre, dim] = self.correlate(x, w, hz);
        let energy = re * re + im * im;
        // Im(X_h' / X_h); a partial without energy stays at its expected place.
        let shift = if energy > 1e-18 { (dim * re - dre * im) / energy } else { 0.0 };
        Partial { energy, hz: hz - shift * LOW_RATE / std::f32::consts::TAU }
    }

    /// Amplitude and phase, at the start of the window, of a partial of exactly `hz`, as a complex number.
    pub(crate) fn phasor(&self, x: &[f32], w: usize, hz: f32) -> (f32, f32) {
        let [re, im, ..] = self.correlate(x, w, hz);
        (re, im)
    }

    /// The newest samples of `x` under window `w` and under its slope, times e^(-iωt): both complex.
    pub(crate) fn correlate(&self, x: &[f32], w: usize, hz: f32) -> [f32; 4] {
        let n = LENGTHS[w].min(x.len());
        turn(&x[x.len() - n..], &self.windows[w], &self.slopes[w], std::f32::consts::TAU * hz / LOW_RATE)
    }

    /// Fits a stiff string to the partials around `f0`. `None` when too few of them are in their place.
    pub(crate) fn fit(&self, x: &[f32], w: usize, f0: f32) -> Option<Fit> {
        let mut at = [(0.0f32, 0.0f32, 0.0f32); PARTIALS];
        let (mut used, mut total) = (0, 0.0f32);
        for k in 1..=if f0 > FEWER_HZ { 4 } else { PARTIALS } {
            let k = k as f32;
            let place = k * f0;
            if place > TOP_HZ {
                break;
            }
            let p = self.measure(x, w, place);
            if let Some(hz) = p.near(place) {
                at[used] = (k * k, hz / k, k * k * p.energy);
                total += k * k * p.energy;
                used += 1;
            }
        }
        if used == 0 || total <= 0.0 {
            return None;
        }
        // Weighted least squares of y = (f_k/k)² / f0² = a + b k², b pulled towards its prior.
        let (mut sw, mut sx, mut sy, mut sxx, mut sxy) = (0.0f64, 0.0, 0.0, 0.0, 0.0);
        for &(x, f, weight) in &at[..used] {
            let (w, x) = (f64::from(weight / total), f64::from(x));
            let y = f64::from(f / f0).powi(2);
            sw += w;
            sx += w * x;
            sy += w * y;
            sxx += w * x * x;
            sxy += w * x * y;
        }
        let prior = f64::from(SPREAD / B_PRIOR.1).powi(2);
        sxx += prior;
        sxy += prior * f64::from(B_PRIOR.0);
        let det = sw * sxx - sx * sx;
        if det <= 0.0 {
            return None;
        }
        let b = ((sw * sxy - sx * sy) / det).clamp(0.0, f64::from(B_PRIOR.2));
        let a = (sy - b * sx) / sw;
        let f1 = (f64::from(f0) * (a + b).max(0.0).sqrt()) as f32;
        f1.is_finite().then_some(Fit { f1, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(f1: f32, b: f32, amplitudes: &[f32]) -> Vec<f32> {
        let f = f1 / (1.0 + b).sqrt();
        (0..1024)
            .map(|n| {
                amplitudes.iter().enumerate().fold(0.0, |sum, (i, a)| {
                    let k = (i + 1) as f32;
                    let hz = f64::from(k * f * (1.0 + b * k * k).sqrt());
                    let phase = std::f64::consts::TAU * hz * n as f64 / f64::from(LOW_RATE) + f64::from(k);
                    sum + a * phase.sin() as f32
                })
            })
            .collect()
    }

    #[test]
    fn a_lone_partial_is_found_to_a_hundredth_of_a_cent() {
        let partials = Partials::new();
        let x = string(441.3, 0.0, &[0.5]);
        let p = partials.measure(&x, 2, 437.0);
        assert!(cents_between(p.hz, 441.3).abs() < 0.02, "{p:?}");
        assert!((p.energy.sqrt() - 0.5).abs() < 0.02, "{p:?}");
    }

    #[test]
    fn the_first_partial_of_a_stiff_string_is_found_though_its_period_reads_sharp() {
        let partials = Partials::new();
        for (f1, b) in [(82.41, 1.0e-4), (110.0, 5e-5), (196.0, 2e-4), (659.3, 1e-4)] {
            let x = string(f1, b, &[0.3, 0.5, 0.4, 0.2, 0.2, 0.1]);
            let w = Partials::choose(f1, 5.0, 1024).unwrap();
            // Started 6 cents sharp, as a correlation would.
            let fit = partials.fit(&x, w, f1 * 1.0035).unwrap();
            assert!(cents_between(fit.f1, f1).abs() < 0.5, "{f1}: {:.2} cents", cents_between(fit.f1, f1));
        }
    }

    #[test]
    fn silence_has_no_partials() {
        assert_eq!(Partials::new().fit(&[0.0; 1024], 2, 220.0), None);
    }

    #[test]
    fn low_notes_get_long_windows_and_none_when_too_little_is_there() {
        assert_eq!(Partials::choose(61.7, 5.0, 1024), Some(4));
        assert_eq!(Partials::choose(61.7, 5.0, 600), None);
        assert_eq!(Partials::choose(440.0, 5.0, 1024), Some(0));
    }
}
