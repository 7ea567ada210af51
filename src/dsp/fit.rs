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
pub(crate) const TOP_HZ: f32 = 4600.0;
/// Most partials in the fit: the lowest may be weak on low strings, whose inharmonicity is largest too.
const PARTIALS: usize = 6;
/// A partial further than this from its place belongs to something else, cents.
const STRAY_CENTS: f32 = 45.0;
/// Prior on the inharmonicity B: mean, standard deviation; most (measured guitar strings).
pub(crate) const B_PRIOR: (f32, f32) = (5e-5, 1e-4);
pub(crate) const B_MAX: f32 = 6e-4;
/// Relative standard deviation of (f_k/k)² that the prior is weighed against.
const SPREAD: f32 = 2e-4;
/// What a further fit adds to what is known of B: windows overlap, so it is no news for the most part.
const OVERLAP: f32 = 0.25;
/// B is never known more surely than by some hundred fits (1.6 s), so that a wrong beginning is forgotten.
const SUREST: f32 = 2000.0;
/// B is told once so much more is known of it than at first, so that it is drawn to the prior by a tenth at most.
const KNOWN: f32 = 10.0;
/// A partial that was not looked for.
const NOTHING: Partial = Partial { energy: 0.0, hz: 0.0 };

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

/// Second halves of Hann windows and of their derivatives, planned once.
pub(crate) struct Partials {
    windows: [Vec<f32>; LENGTHS.len()],
    slopes: [Vec<f32>; LENGTHS.len()],
}

/// Longest half of a window.
const HALF: usize = LENGTHS[LENGTHS.len() - 1] / 2;

/// A stretch of sound under a window, folded at its middle: the window is even and its slope odd, so the sums and the
/// differences of what lies before and after the middle are all that any frequency needs.
pub(crate) struct Folded {
    half: usize,
    /// Window times sums, window times differences, slope times differences, slope times sums.
    parts: [[f32; HALF]; 4],
}

wide! {
    fn fold(x: &[f32], window: &[f32], slope: &[f32], parts: &mut [[f32; HALF]; 4]) {
        let (before, after) = x.split_at(x.len() / 2);
        let [a, b, p, q] = parts;
        let sides = before.iter().rev().zip(after).zip(window).zip(slope);
        let parts = a.iter_mut().zip(b).zip(p).zip(q);
        for ((((before, after), h), d), (((a, b), p), q)) in sides.zip(parts) {
            let (sum, difference) = (after + before, after - before);
            *a = h * sum;
            *b = h * difference;
            *p = d * difference;
            *q = d * sum;
        }
    }
}

/// What is known of a string's inharmonicity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Law {
    /// B of `f_k = k F √(1 + B k²)`.
    pub(crate) b: f32,
    /// How surely: the spread of k² behind it, in squares.
    pub(crate) sure: f32,
}

impl Law {
    /// Before anything of the string was heard.
    pub(crate) const UNKNOWN: Law = Law { b: B_PRIOR.0, sure: (SPREAD / B_PRIOR.1) * (SPREAD / B_PRIOR.1) };
}

/// What the fit found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    /// Frequency of the first partial, Hz.
    pub(crate) f1: f32,
    /// Partials used.
    pub(crate) used: usize,
    /// What is known of the string now.
    pub(crate) law: Law,
}

/// Samples that are turned side by side, and frequencies.
const LANES: usize = 8;
const PAIR: usize = 2;

wide! {
    /// For each of two frequencies, `omega` per sample: sums of the folded sound under the window and under its slope,
    /// times e^(-iωt) from the middle on, both complex.
    fn turn(parts: &[[f32; HALF]; 4], half: usize, omega: [f32; PAIR]) -> [[f32; 4]; PAIR] {
        let (mut c, mut s) = ([[0.0f32; LANES]; PAIR], [[0.0f32; LANES]; PAIR]);
        let (mut cr, mut sr) = ([0.0f32; PAIR], [0.0f32; PAIR]);
        for f in 0..PAIR {
            let (s1, c1) = omega[f].sin_cos();
            (s[f][0], c[f][0]) = (0.5 * omega[f]).sin_cos();
            for k in 1..LANES {
                c[f][k] = c[f][k - 1] * c1 - s[f][k - 1] * s1;
                s[f][k] = s[f][k - 1] * c1 + c[f][k - 1] * s1;
            }
            (sr[f], cr[f]) = (omega[f] * LANES as f32).sin_cos();
        }
        let mut sums = [[[0.0f32; LANES]; 4]; PAIR];
        let [a, b, p, q] = parts.each_ref().map(|part| part[..half.min(HALF)].as_chunks::<LANES>().0);
        for (((a, b), p), q) in a.iter().zip(b).zip(p).zip(q) {
            for f in 0..PAIR {
                for k in 0..LANES {
                    sums[f][0][k] += a[k] * c[f][k];
                    sums[f][1][k] -= b[k] * s[f][k];
                    sums[f][2][k] += p[k] * c[f][k];
                    sums[f][3][k] -= q[k] * s[f][k];
                    let next = c[f][k] * cr[f] - s[f][k] * sr[f];
                    s[f][k] = s[f][k] * cr[f] + c[f][k] * sr[f];
                    c[f][k] = next;
                }
            }
        }
        sums.map(|of| of.map(|lane| lane.iter().sum::<f32>()))
    }
}

impl Folded {
    pub(crate) fn new() -> Self {
        Self { half: 0, parts: [[0.0; HALF]; 4] }
    }

    /// The partials near each of `hz`.
    pub(crate) fn measure<const N: usize>(&self, hz: [f32; N]) -> [Partial; N] {
        let mut out = [NOTHING; N];
        self.measure_into(&hz, &mut out);
        out
    }

    /// The same for any number of them.
    fn measure_into(&self, hz: &[f32], out: &mut [Partial]) {
        for (out, hz) in out.chunks_mut(PAIR).zip(hz.chunks(PAIR)) {
            let two = [hz[0], hz[hz.len() - 1]];
            for (out, (sums, hz)) in out.iter_mut().zip(self.turn(two).into_iter().zip(two)) {
                let [re, im, dre, dim] = sums;
                let energy = re * re + im * im;
                // Im(X_h' / X_h); a partial without energy stays at its expected place.
                let shift = if energy > 1e-18 { (dim * re - dre * im) / energy } else { 0.0 };
                *out = Partial { energy, hz: hz - shift * LOW_RATE / std::f32::consts::TAU };
            }
        }
    }

    fn turn(&self, hz: [f32; PAIR]) -> [[f32; 4]; PAIR] {
        turn(&self.parts, self.half, hz.map(|hz| std::f32::consts::TAU * hz / LOW_RATE))
    }

    /// The sound under the window and under its slope times e^(-iωt) from the start of the window on: both complex. The
    /// first is amplitude and phase of a partial of exactly `hz`.
    pub(crate) fn correlate(&self, hz: f32) -> [f32; 4] {
        let [[re, im, dre, dim], _] = self.turn([hz; PAIR]);
        let turns = f64::from(hz) * (self.half as f64 - 0.5) / f64::from(LOW_RATE);
        let (s, c) = (std::f64::consts::TAU * turns.fract()).sin_cos();
        let (s, c) = (s as f32, c as f32);
        [re * c + im * s, im * c - re * s, dre * c + dim * s, dim * c - dre * s]
    }
}

impl Partials {
    pub(crate) fn new() -> Self {
        let tau = std::f64::consts::TAU;
        // Normalised to a sum of 2, so that a partial of amplitude A reads |X| = A.
        let make = |n: usize, slope: bool| {
            (n / 2..n)
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

    /// Puts the newest samples of `x` under window `w` of [`LENGTHS`].
    pub(crate) fn fold(&self, x: &[f32], w: usize, folded: &mut Folded) {
        let n = LENGTHS[w];
        folded.half = n / 2;
        let Some(from) = x.len().checked_sub(n) else {
            folded.half = 0;
            return;
        };
        fold(&x[from..], &self.windows[w], &self.slopes[w], &mut folded.parts);
    }
}

impl Law {
    /// B, once the partials have told enough of it.
    pub(crate) fn known(&self) -> Option<f32> {
        (self.sure > KNOWN * Self::UNKNOWN.sure).then_some(self.b)
    }

    /// Frequency of partial `k` of a string whose first partial is `f1`.
    pub(crate) fn place(&self, f1: f32, k: f32) -> f32 {
        k * f1 * ((1.0 + self.b * k * k) / (1.0 + self.b)).sqrt()
    }
}

/// Fits a stiff string with partials near those of `f1` and what is known of its inharmonicity. `None` when too few of
/// them are in their place.
pub(crate) fn fit(sound: &Folded, f1: f32, known: &Law) -> Option<Fit> {
    let places: [f32; PARTIALS] = std::array::from_fn(|i| known.place(f1, (i + 1) as f32));
    let count = places.iter().take_while(|&&place| place <= TOP_HZ).count();
    let mut measured = [NOTHING; PARTIALS];
    sound.measure_into(&places[..count], &mut measured);
    let mut at = [(0.0f64, 0.0f64, 0.0f64); PARTIALS];
    let (mut used, mut total) = (0, 0.0f64);
    for (i, (p, &place)) in measured.iter().zip(&places).enumerate().take(count) {
        if let Some(hz) = p.near(place) {
            let k2 = ((i + 1) * (i + 1)) as f64;
            // Between what noise asks for (k² times energy) and what the string's departures from the law do (amplitude).
            let weight = k2.sqrt() * f64::from(p.energy);
            at[used] = (k2, (f64::from(hz) / f64::from(f1)).powi(2) / k2, weight);
            total += weight;
            used += 1;
        }
    }
    if used == 0 || total <= 0.0 {
        return None;
    }
    // Weighted least squares of y = (f_k/k)² / f1² = a + b k², b pulled towards what is known.
    let (mut sx, mut sy, mut sxx, mut sxy) = (0.0f64, 0.0, 0.0, 0.0);
    for &(x, y, weight) in &at[..used] {
        let w = weight / total;
        sx += w * x;
        sy += w * y;
        sxx += w * x * x;
        sxy += w * x * y;
    }
    // What these partials alone say of b, and how surely.
    let sure = (sxx - sx * sx).max(0.0);
    let known_sure = f64::from(known.sure);
    let b = ((sxy - sx * sy + known_sure * f64::from(known.b)) / (sure + known_sure))
        .clamp(0.0, f64::from(B_MAX));
    let a = sy - b * sx;
    let hz = (f64::from(f1) * (a + b).max(0.0).sqrt()) as f32;
    let law = Law { b: b as f32, sure: (known.sure + OVERLAP * sure as f32).min(SUREST) };
    (hz.is_finite() && a > 0.0).then_some(Fit { f1: hz, used, law })
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

    fn folded(x: &[f32], w: usize) -> Folded {
        let mut folded = Folded::new();
        Partials::new().fold(x, w, &mut folded);
        folded
    }

    #[test]
    fn a_lone_partial_is_found_to_a_hundredth_of_a_cent() {
        let x = string(441.3, 0.0, &[0.5]);
        let [p] = folded(&x, 2).measure([437.0]);
        assert!(cents_between(p.hz, 441.3).abs() < 0.02, "{p:?}");
        assert!((p.energy.sqrt() - 0.5).abs() < 0.02, "{p:?}");
    }

    #[test]
    fn a_phase_is_that_at_the_start_of_the_window() {
        for (w, length) in LENGTHS.iter().enumerate() {
            let at = 1024 - length;
            let x: Vec<f32> = (0..1024)
                .map(|n| {
                    0.3 * (std::f32::consts::TAU * 440.0 * (n as f32 - at as f32) / LOW_RATE + 0.7).cos()
                })
                .collect();
            let [re, im, ..] = folded(&x, w).correlate(440.0);
            assert!(
                (re - 0.3 * 0.7f32.cos()).abs() < 1e-3 && (im - 0.3 * 0.7f32.sin()).abs() < 1e-3,
                "{re} {im}"
            );
        }
    }

    #[test]
    fn the_first_partial_of_a_stiff_string_is_found_though_its_period_reads_sharp() {
        for (f1, b) in [(61.74, 2.5e-4), (82.41, 1.0e-4), (110.0, 5e-5), (196.0, 2e-4), (659.3, 1e-4)] {
            let x = string(f1, b, &[0.3, 0.5, 0.4, 0.2, 0.2, 0.1]);
            let sound = folded(&x, LENGTHS.len() - 1);
            // Started 6 cents sharp, as a correlation would, and the first fit tells the next one of the law.
            let first = fit(&sound, f1 * 1.0035, &Law::UNKNOWN).unwrap();
            assert!(
                cents_between(first.f1, f1).abs() < 1.0,
                "{f1}: {:.2} cents",
                cents_between(first.f1, f1)
            );
            let next = (0..8).fold(first, |f, _| fit(&sound, f.f1, &f.law).unwrap());
            // Five periods of B1 are all that the longest window holds: its partials still overlap a little.
            let most = if f1 < 80.0 { 0.5 } else { 0.2 };
            let off = cents_between(next.f1, f1);
            assert!(off.abs() < most, "{f1}: {off:.3} cents");
            // In one window alone the side lobes of the neighbours add their share, 0.4 cents at the sixth partial.
            if (80.0..250.0).contains(&f1) {
                assert!((next.law.b - b).abs() < 0.15 * b + 1.5e-5, "{f1}: B {} instead of {b}", next.law.b);
            }
        }
    }

    #[test]
    fn silence_has_no_partials() {
        assert_eq!(fit(&folded(&[0.0; 1024], 2), 220.0, &Law::UNKNOWN), None);
    }

    #[test]
    fn low_notes_get_long_windows_and_none_when_too_little_is_there() {
        assert_eq!(Partials::choose(61.7, 5.0, 1024), Some(4));
        assert_eq!(Partials::choose(61.7, 5.0, 600), None);
        assert_eq!(Partials::choose(440.0, 5.0, 1024), Some(0));
    }
}
