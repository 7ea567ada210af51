//! The low end of the sound at a fine resolution: what tells a line of the mains from a string, and one string from another.
//!
//! The decimated signal is thinned out once more (to 3 kHz) and looked at 200 ms at a time (Hann), so that the bins lie
//! 5 Hz apart: every multiple of 50 and of 60 Hz falls on the middle of one.
use super::transform::Transform;
use super::wide::wide;
use super::{LOW_HOP, LOW_RATE};

/// Every so many of the decimated samples are kept.
const THIN: usize = 4;
/// Rate of what is kept, Hz.
const RATE: f32 = LOW_RATE / THIN as f32;
/// Transform length, samples at that rate (200 ms).
const SIZE: usize = 600;
/// Distance of bins, Hz.
pub(crate) const BIN_HZ: f32 = RATE / SIZE as f32;
/// Bins that are given: up to 1 kHz, where the filter begins to fall.
pub(crate) const BINS: usize = 208;
/// Hops from one spectrum to the next (85 ms): windows overlap by more than half.
const EVERY: usize = 16;
/// Samples of the window on the analyser's counter.
pub(crate) const WINDOW: u64 = (SIZE * THIN * super::DECIMATION) as u64;
/// A Hann window spreads a line over three bins; the middle one holds this share.
pub(crate) const LINE_SHARE: f32 = 2.0 / 3.0;
/// Taps of the filter before thinning out (Blackman-windowed sinc) and its cut-off as a share of the new rate: flat to
/// 1 kHz, and what lies above 2 kHz, which would fold below 1 kHz, is gone.
const TAPS: usize = 64;
const CUT: f64 = 0.5;
/// Samples that a hop leaves, and whole hops of them for a window.
const NEW: usize = LOW_HOP / THIN;
const KEPT: usize = SIZE.div_ceil(NEW) * NEW;

wide! {
    /// Every fourth sample of `line` through the filter.
    fn thin_out(line: &[f32; TAPS + LOW_HOP], taps: &[f32; TAPS], out: &mut [f32; NEW]) {
        for (i, y) in out.iter_mut().enumerate() {
            let at = (i + 1) * THIN;
            let mut acc = [0.0f32; 8];
            for (x, t) in line[at..at + TAPS].as_chunks::<8>().0.iter().zip(taps.as_chunks::<8>().0) {
                for k in 0..8 {
                    acc[k] += x[k] * t[k];
                }
            }
            *y = acc.iter().sum();
        }
    }
}

/// See the module.
pub(crate) struct FineSpectrum {
    taps: [f32; TAPS],
    line: [f32; TAPS + LOW_HOP],
    /// The window as it fills up, and how far it has.
    kept: [f32; KEPT],
    filled: usize,
    transform: Transform,
    window: Vec<f32>,
    power: [f32; BINS],
}

impl FineSpectrum {
    pub(crate) fn new() -> Self {
        let turn = std::f64::consts::TAU;
        let shape: Vec<f64> =
            (0..SIZE).map(|i| 0.5 - 0.5 * (turn * (i as f64 + 0.5) / SIZE as f64).cos()).collect();
        // So that the squared magnitudes of all bins add up to the mean square of the signal.
        let norm = (2.0 / (SIZE as f64 * shape.iter().map(|w| w * w).sum::<f64>())).sqrt();
        let cut = CUT / THIN as f64;
        let tap = |i: usize| {
            let x = i as f64 - (TAPS as f64 - 1.0) / 2.0;
            let p = turn * (i as f64 + 0.5) / TAPS as f64;
            (turn * cut * x).sin() / (std::f64::consts::PI * x)
                * (0.42 - 0.5 * p.cos() + 0.08 * (2.0 * p).cos())
        };
        let sum: f64 = (0..TAPS).map(tap).sum();
        Self {
            taps: std::array::from_fn(|i| (tap(i) / sum) as f32),
            line: [0.0; TAPS + LOW_HOP],
            kept: [0.0; KEPT],
            filled: 0,
            window: shape.iter().map(|w| (w * norm) as f32).collect(),
            power: [0.0; BINS],
            transform: Transform::new(SIZE),
        }
    }

    /// Forgets what was heard.
    pub(crate) fn reset(&mut self) {
        self.line.fill(0.0);
        self.filled = 0;
    }

    /// Takes in a hop of decimated samples. Every [`EVERY`] hops it gives the mean-square power of each bin over the
    /// last [`WINDOW`], once that has been heard.
    pub(crate) fn push(&mut self, low: &[f32]) -> Option<&[f32; BINS]> {
        let low = low.get(low.len().checked_sub(LOW_HOP)?..)?;
        self.line.copy_within(LOW_HOP.., 0);
        self.line[TAPS..].copy_from_slice(low);
        let mut new = [0.0; NEW];
        thin_out(&self.line, &self.taps, &mut new);
        self.kept[self.filled..self.filled + NEW].copy_from_slice(&new);
        self.filled += NEW;
        if self.filled < KEPT {
            return None;
        }
        let spectrum = self.transform.under(&self.kept[KEPT - SIZE..], &self.window);
        for (p, c) in self.power.iter_mut().zip(spectrum) {
            *p = c.norm_sqr();
        }
        self.kept.copy_within(EVERY * NEW.., 0);
        self.filled = KEPT - EVERY * NEW;
        Some(&self.power)
    }
}

/// How far, in bins -0.5..0.5, a line lies from the bin where it is highest: from the two bins beside it, as a Hann window
/// spreads it.
pub(crate) fn offset(power: &[f32; BINS], bin: usize) -> f32 {
    let (Some(a), Some(b), Some(c)) = (power.get(bin.wrapping_sub(1)), power.get(bin), power.get(bin + 1))
    else {
        return 0.0;
    };
    let (a, b, c) = (a.sqrt(), b.sqrt(), c.sqrt());
    if b <= 0.0 {
        return 0.0;
    }
    // |W(δ±1)| / |W(δ)| = (1±δ) / (2∓δ) for the Hann window.
    let side = |s: f32| ((2.0 * s / b - 1.0) / (s / b + 1.0)).clamp(-0.5, 0.5);
    if c > a { side(c).max(0.0) } else { -side(a).max(0.0) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The spectra of `seconds` of a signal (a function of time at the decimated rate), with the analyser's sample at the
    /// end of each.
    pub(crate) fn spectra(
        seconds: f32,
        signal: impl Fn(f32) -> f32,
        mut take: impl FnMut(&[f32; BINS], u64),
    ) {
        let mut fine = FineSpectrum::new();
        for hop in 0..(seconds * LOW_RATE) as usize / LOW_HOP {
            let low: [f32; LOW_HOP] = std::array::from_fn(|i| signal((hop * LOW_HOP + i) as f32 / LOW_RATE));
            if let Some(power) = fine.push(&low) {
                take(power, ((hop + 1) * super::super::HOP) as u64);
            }
        }
    }

    /// A sine of the given frequency and amplitude.
    pub(crate) fn sine(hz: f32, amplitude: f32, t: f32) -> f32 {
        let turns = f64::from(hz) * f64::from(t);
        amplitude * (std::f64::consts::TAU * turns.fract()).sin() as f32
    }

    #[test]
    fn a_line_is_measured_in_place_and_power() {
        for hz in [60.0, 98.0, 200.0, 201.2, 823.5] {
            let mut seen = 0;
            spectra(
                1.0,
                |t| sine(hz, 0.1, t),
                |power, _| {
                    let bin = (0..BINS).max_by(|&a, &b| power[a].total_cmp(&power[b])).expect("bins");
                    let found = (bin as f32 + offset(power, bin)) * BIN_HZ;
                    assert!((found - hz).abs() < 0.3, "{hz}: {found}");
                    let sum: f32 = power.iter().sum();
                    assert!((sum / 0.005 - 1.0).abs() < 0.03, "{hz}: {sum}");
                    seen += 1;
                },
            );
            assert!(seen >= 8);
        }
    }

    #[test]
    fn what_lies_above_does_not_fold_down() {
        for hz in [2050.0, 2500.0, 2950.0, 3200.0, 4400.0] {
            spectra(
                0.5,
                |t| sine(hz, 0.1, t),
                |power, end| {
                    // After the onset, which is broad.
                    if end > 2 * WINDOW {
                        assert!(power.iter().sum::<f32>() < 5e-9, "{hz}: {}", power.iter().sum::<f32>());
                    }
                },
            );
        }
    }
}
