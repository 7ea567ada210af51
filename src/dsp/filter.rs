//! Fixed filters: DC blocker, decimator by four, band-pass bank.
use super::wide::wide;
use super::{ANALYSIS_RATE, DECIMATION, HOP, LOW_HOP, LOW_RATE};

/// Loudest value that is let in: 12 dB over full scale. Bounds every energy below, so nothing overflows.
const CLAMP: f32 = 4.0;
/// States below this are set to zero, so that no denormal slows the loop in digital silence.
const TINY: f32 = 1e-18;

wide! {
    /// Copies `x` made harmless: not-a-number and infinities become 0, the rest is clamped.
    pub(crate) fn sanitize(x: &[f32], out: &mut [f32]) {
        for (y, &x) in out.iter_mut().zip(x) {
            // Not-a-number fails every comparison.
            let finite = if x.abs() <= f32::MAX { x } else { 0.0 };
            *y = finite.clamp(-CLAMP, CLAMP);
        }
    }
}

/// One-pole high-pass at about 10 Hz.
pub(crate) struct DcBlock(Recursive);

impl DcBlock {
    /// Pole: 1 - 2π·10/48000.
    const POLE: f64 = 0.998_7;

    pub(crate) fn new() -> Self {
        Self(Recursive::new([1.0, -1.0, 0.0], [-Self::POLE, 0.0]))
    }

    pub(crate) fn run(&mut self, hop: &mut [f32; HOP]) {
        self.0.run(hop);
    }
}

/// Taps of the decimation filter (Blackman-windowed sinc).
const TAPS: usize = 64;
/// Of them, those that meet one in four input samples.
const PHASE_TAPS: usize = TAPS / DECIMATION;
/// Cut-off as a share of the new sampling rate.
const CUT: f64 = 0.42;
/// Corner of the second-order high-pass behind the decimator, Hz: below the lowest note, above rumble.
const RUMBLE_HZ: f64 = 29.0;

/// Low-pass and keep every fourth sample, then a high-pass at 29 Hz. Delay: 31.5 input samples (0.7 ms).
pub(crate) struct Decimator {
    /// By phase: tap `4 j + p` of the filter is `taps[p][j]`.
    taps: [[f32; PHASE_TAPS]; DECIMATION],
    /// The newest samples, by phase too.
    lines: [[f32; PHASE_TAPS + LOW_HOP]; DECIMATION],
    high_pass: Recursive,
}

wide! {
    /// The sum of what each phase's taps make of its line: output `i` ends with the newest of input four `i`.
    fn thin_out(
        lines: &[[f32; PHASE_TAPS + LOW_HOP]; DECIMATION],
        taps: &[[f32; PHASE_TAPS]; DECIMATION],
        out: &mut [f32; LOW_HOP],
    ) {
        let mut acc = [0.0f32; LOW_HOP];
        for (line, taps) in lines.iter().zip(taps) {
            for (j, t) in taps.iter().enumerate() {
                let Some(x) = line[j + 1..].first_chunk::<LOW_HOP>() else { break };
                for k in 0..LOW_HOP {
                    acc[k] += t * x[k];
                }
            }
        }
        *out = acc;
    }
}

impl Decimator {
    pub(crate) fn new() -> Self {
        let cut = CUT / DECIMATION as f64;
        let mut sum = 0.0f64;
        let mut exact = [0.0f64; TAPS];
        for (i, t) in exact.iter_mut().enumerate() {
            let x = i as f64 - (TAPS as f64 - 1.0) / 2.0;
            let sinc = (std::f64::consts::TAU * cut * x).sin() / (std::f64::consts::PI * x);
            let p = std::f64::consts::TAU * (i as f64 + 0.5) / TAPS as f64;
            *t = sinc * (0.42 - 0.5 * p.cos() + 0.08 * (2.0 * p).cos());
            sum += *t;
        }
        Self {
            taps: std::array::from_fn(|p| std::array::from_fn(|j| (exact[DECIMATION * j + p] / sum) as f32)),
            lines: [[0.0; PHASE_TAPS + LOW_HOP]; DECIMATION],
            high_pass: Recursive::high_pass(RUMBLE_HZ, f64::from(LOW_RATE)),
        }
    }

    pub(crate) fn run(&mut self, hop: &[f32; HOP], out: &mut [f32; LOW_HOP]) {
        let [a, b, c, d] = &mut self.lines;
        for line in [&mut *a, &mut *b, &mut *c, &mut *d] {
            line.copy_within(LOW_HOP.., 0);
        }
        for (i, x) in hop.as_chunks::<DECIMATION>().0.iter().enumerate() {
            [a[PHASE_TAPS + i], b[PHASE_TAPS + i], c[PHASE_TAPS + i], d[PHASE_TAPS + i]] = *x;
        }
        thin_out(&self.lines, &self.taps, out);
        self.high_pass.run(out);
    }
}

/// Samples that a recursive filter takes at once.
const AT_ONCE: usize = 8;

/// A filter of second order at most (transposed direct form II) that takes eight samples at once: what each of them and
/// the state before them contribute to the eight that come out, and to the state after them.
pub(crate) struct Recursive {
    from_input: [[f32; AT_ONCE]; AT_ONCE],
    from_state: [[f32; AT_ONCE]; 2],
    /// Of the state that follows: from each sample, and from the state before.
    input_to_state: [[f32; AT_ONCE]; 2],
    state_to_state: [[f32; 2]; 2],
    state: [f32; 2],
}

impl Recursive {
    /// From `y = b₀ x + b₁ x' + b₂ x'' - a₁ y' - a₂ y''`.
    fn new(b: [f64; 3], a: [f64; 2]) -> Self {
        let run = |mut z: [f64; 2], at: usize| {
            let y: [f32; AT_ONCE] = std::array::from_fn(|n| {
                let x = if n == at { 1.0 } else { 0.0 };
                let y = b[0] * x + z[0];
                z = [b[1] * x - a[0] * y + z[1], b[2] * x - a[1] * y];
                y as f32
            });
            (y, z.map(|z| z as f32))
        };
        let inputs: [_; AT_ONCE] = std::array::from_fn(|at| run([0.0; 2], at));
        let states = [run([1.0, 0.0], AT_ONCE), run([0.0, 1.0], AT_ONCE)];
        Self {
            from_input: inputs.map(|i| i.0),
            from_state: states.map(|s| s.0),
            input_to_state: [inputs.map(|i| i.1[0]), inputs.map(|i| i.1[1])],
            state_to_state: states.map(|s| s.1),
            state: [0.0; 2],
        }
    }

    /// High-pass with the corner at `hz` (RBJ cookbook coefficients, Butterworth).
    fn high_pass(hz: f64, rate: f64) -> Self {
        let (s, c) = (std::f64::consts::TAU * hz / rate).sin_cos();
        let alpha = s / std::f64::consts::SQRT_2;
        let a0 = 1.0 + alpha;
        let b = (1.0 + c) / 2.0 / a0;
        Self::new([b, -2.0 * b, b], [-2.0 * c / a0, (1.0 - alpha) / a0])
    }

    /// Filters `samples`, whole eights of them, in place.
    fn run(&mut self, samples: &mut [f32]) {
        run_recursive(self, samples);
        for z in &mut self.state {
            if z.abs() < TINY {
                *z = 0.0;
            }
        }
    }
}

wide! {
    fn run_recursive(filter: &mut Recursive, samples: &mut [f32]) {
        let mut z = filter.state;
        for eight in samples.as_chunks_mut::<AT_ONCE>().0 {
            let mut y = [0.0f32; AT_ONCE];
            for (x, column) in eight.iter().zip(&filter.from_input) {
                for k in 0..AT_ONCE {
                    y[k] += x * column[k];
                }
            }
            let new = filter.input_to_state.each_ref().map(|row| {
                let mut parts = [0.0f32; AT_ONCE];
                for k in 0..AT_ONCE {
                    parts[k] = row[k] * eight[k];
                }
                parts.iter().sum::<f32>()
            });
            let [g0, g1] = &filter.from_state;
            for k in 0..AT_ONCE {
                eight[k] = y[k] + (z[0] * g0[k] + z[1] * g1[k]);
            }
            let [s0, s1] = filter.state_to_state;
            z = [z[0] * s0[0] + z[1] * s1[0] + new[0], z[0] * s0[1] + z[1] * s1[1] + new[1]];
        }
        filter.state = z;
    }
}

/// Bands of [`BandBank`].
pub(crate) const BANDS: usize = 8;
/// Lowest and highest centre frequency of the bank, Hz, and the quality of its sections (0.85 octaves each).
const BAND_HZ: (f32, f32, f32) = (180.0, 11_000.0, 1.7);

/// Eight band-pass filters side by side, spread evenly in octaves.
pub(crate) struct BandBank {
    gain: [f32; BANDS],
    a1: [f32; BANDS],
    a2: [f32; BANDS],
    z1: [f32; BANDS],
    z2: [f32; BANDS],
}

impl BandBank {
    pub(crate) fn new() -> Self {
        let mut bank = Self {
            gain: [0.0; BANDS],
            a1: [0.0; BANDS],
            a2: [0.0; BANDS],
            z1: [0.0; BANDS],
            z2: [0.0; BANDS],
        };
        for k in 0..BANDS {
            let hz = BAND_HZ.0 * (BAND_HZ.1 / BAND_HZ.0).powf(k as f32 / (BANDS - 1) as f32);
            let (s, c) = (std::f32::consts::TAU * hz / ANALYSIS_RATE as f32).sin_cos();
            let alpha = s / (2.0 * BAND_HZ.2);
            bank.gain[k] = alpha / (1.0 + alpha);
            bank.a1[k] = -2.0 * c / (1.0 + alpha);
            bank.a2[k] = (1.0 - alpha) / (1.0 + alpha);
        }
        bank
    }

    /// Adds the energy of `samples` in each band to `energy`.
    pub(crate) fn run(&mut self, samples: &[f32], energy: &mut [f32; BANDS]) {
        run_bank(self, samples, energy);
    }
}

wide! {
    fn run_bank(bank: &mut BandBank, samples: &[f32], energy: &mut [f32; BANDS]) {
        // Copies, so that the state lives in registers.
        let (mut z1, mut z2, mut sum) = (bank.z1, bank.z2, *energy);
        let (gain, a1, a2) = (bank.gain, bank.a1, bank.a2);
        for &x in samples {
            for k in 0..BANDS {
                let gx = gain[k] * x;
                let y = gx + z1[k];
                z1[k] = z2[k] - a1[k] * y;
                z2[k] = -gx - a2[k] * y;
                sum[k] += y * y;
            }
        }
        for k in 0..BANDS {
            bank.z1[k] = if z1[k].abs() < TINY { 0.0 } else { z1[k] };
            bank.z2[k] = if z2[k].abs() < TINY { 0.0 } else { z2[k] };
        }
        *energy = sum;
    }
}

/// Decimated samples that are kept: the longest analysis window (1024) and the longest lag beside it.
pub const LOW_LEN: usize = 1280;

/// The newest samples at a quarter of the analysis rate, oldest first: what pitch and noise are measured on.
pub struct LowHistory {
    /// Those in use end at `end`; they slide, and are moved back once in twenty hops.
    x: [f32; 2 * LOW_LEN],
    end: usize,
}

impl LowHistory {
    pub(crate) fn new() -> Self {
        Self { x: [0.0; 2 * LOW_LEN], end: LOW_LEN }
    }

    pub(crate) fn push(&mut self, low: &[f32; LOW_HOP]) {
        if self.end + LOW_HOP > self.x.len() {
            self.x.copy_within(self.end - LOW_LEN..self.end, 0);
            self.end = LOW_LEN;
        }
        self.x[self.end..self.end + LOW_HOP].copy_from_slice(low);
        self.end += LOW_HOP;
    }

    /// All of it, the newest sample last.
    #[must_use]
    pub fn all(&self) -> &[f32; LOW_LEN] {
        // `end` never leaves LOW_LEN..=2 LOW_LEN, so there is always such a chunk.
        self.x[..self.end].last_chunk().unwrap_or(&[0.0; LOW_LEN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, start: usize) -> [f32; HOP] {
        std::array::from_fn(|i| {
            (std::f32::consts::TAU * hz * (start + i) as f32 / ANALYSIS_RATE as f32).sin()
        })
    }

    /// Power of the decimated tone, after the filters have settled.
    fn decimated_power(hz: f32) -> f32 {
        let (mut d, mut out, mut power) = (Decimator::new(), [0.0; LOW_HOP], 0.0);
        for h in 0..100 {
            d.run(&tone(hz, h * HOP), &mut out);
            if h >= 50 {
                power += out.iter().map(|x| x * x).sum::<f32>() / (50 * LOW_HOP) as f32;
            }
        }
        power
    }

    #[test]
    fn the_decimator_keeps_guitar_pitches_and_stops_what_would_fold_onto_them() {
        for hz in [62.0, 440.0, 2000.0] {
            assert!((decimated_power(hz) - 0.5).abs() < 0.03, "{hz} Hz: {}", decimated_power(hz));
        }
        for hz in [8_500.0, 12_100.0, 20_000.0] {
            assert!(decimated_power(hz) < 5e-6, "{hz} Hz leaks: {}", decimated_power(hz));
        }
    }

    #[test]
    fn the_dc_blocker_forgets_a_constant_and_keeps_a_low_note() {
        let mut d = DcBlock::new();
        let mut hop = [1.0; HOP];
        for _ in 0..100 {
            hop = [1.0; HOP];
            d.run(&mut hop);
        }
        assert!(hop[HOP - 1].abs() < 1e-3);
        let mut power = 0.0;
        for h in 0..100 {
            let mut hop = tone(62.0, h * HOP);
            d.run(&mut hop);
            power += hop.iter().map(|x| x * x).sum::<f32>() / (100 * HOP) as f32;
        }
        assert!((power - 0.5).abs() < 0.03, "{power}");
    }

    #[test]
    fn each_band_answers_loudest_to_its_own_centre() {
        for k in 0..BANDS {
            let hz = BAND_HZ.0 * (BAND_HZ.1 / BAND_HZ.0).powf(k as f32 / (BANDS - 1) as f32);
            let (mut bank, mut energy) = (BandBank::new(), [0.0; BANDS]);
            for h in 0..40 {
                bank.run(&tone(hz, h * HOP), &mut energy);
            }
            let loudest = (0..BANDS).max_by(|&a, &b| energy[a].total_cmp(&energy[b])).expect("eight bands");
            assert_eq!(loudest, k);
        }
    }

    #[test]
    fn sanitizing_leaves_only_finite_bounded_values() {
        let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.25, 0.5];
        let mut tame = [f32::NAN; 7];
        sanitize(&wild, &mut tame);
        assert_eq!(tame, [0.0, 0.0, 0.0, CLAMP, -CLAMP, -0.25, 0.5]);
    }
}
