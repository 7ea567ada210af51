//! What is new in a sound over strings that ring on.
//!
//! Before a stroke the sounding strings are a sum of slowly decaying sinusoids, whatever their number and pitch. Each of
//! them foretells itself past the stroke: as much of it as is still found there (all, when the string rings on; none,
//! when it was damped) is subtracted. What is left belongs to the stroke alone, so its pitch can be told although the
//! mixture has another one: that of the louder old string, or of a period common to both.
use realfft::num_complex::Complex32;

use super::blockwise::Blockwise;
use super::filter::{LOW_LEN, LowHistory};
use super::fit::{Folded, LENGTHS, Partials};
use super::nsdf::likeness;
use super::pitch::{Estimate, PitchDetector};
use super::transform::Transform;
use super::wide::wide;
use super::{DECIMATION, HOP, LOW_HOP, LOW_RATE};

/// Sinusoids that are followed.
const LINES: usize = 20;
/// Longest stretch after the stroke that is looked at, decimated samples (64 ms): further on, small errors of the
/// frequencies have turned the phases too far.
pub(crate) const REACH: usize = 768;
/// Transform length.
const SIZE: usize = 1024;
/// Bins in which lines are looked for: 58 Hz to 4.6 kHz.
const BINS: (usize, usize) = (5, 394);
/// Softest line beside the loudest (-50 dB), and in mean square.
const LEAST_SHARE: f32 = 1e-5;
const LEAST: f32 = 1e-9;
/// Decimated samples before the stroke that are left out: the filter's delay and the uncertainty of the stroke.
const GUARD: usize = 24;
/// And after it, where the filter still mixes the two.
const SLACK: usize = 12;
/// Bounds of a line's decay, per second; a line that grows is the beat of two.
const DECAY: (f32, f32) = (-10.0, 60.0);
/// Rounds over the lines in which their shares are found.
const ROUNDS: usize = 2;

#[derive(Clone, Copy, Default)]
struct Line {
    hz: f32,
    /// Complex amplitude at the start of the window.
    re: f32,
    im: f32,
    /// Per decimated sample.
    decay: f32,
}

/// What is left after the old strings have been taken out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// Energy of what was taken out, and of what is left, as shares of the whole.
    pub(crate) old: f32,
    /// See `old`.
    pub(crate) new: f32,
    /// How much what is left is like itself one period of the given pitch before, -1..1.
    pub(crate) likeness: f32,
    /// Pitch of what is left.
    pub(crate) estimate: Option<Estimate>,
}

/// See the module.
pub(crate) struct Ringing {
    transform: Transform,
    windows: [Vec<f32>; LENGTHS.len()],
    power: Vec<f32>,
    partials: Partials,
    sound: Folded,
    lines: [Line; LINES],
    count: usize,
    /// From the start of the window to the stroke, decimated samples.
    lead: usize,
    /// The lines after the stroke, one row each.
    rows: Vec<f32>,
    rest: LowHistory,
    detector: Blockwise,
}

wide! {
    /// A decaying sinusoid: the real part of `a` (turned and shrunk by `step` from sample to sample) in each sample.
    fn draw(a: Complex32, step: Complex32, row: &mut [f32]) {
        const LANES: usize = 8;
        let mut z = [a; LANES];
        for k in 1..LANES {
            z[k] = z[k - 1] * step;
        }
        let mut leap = step;
        for _ in 0..3 {
            leap = leap * leap;
        }
        for part in row.chunks_mut(LANES) {
            for (y, z) in part.iter_mut().zip(&mut z) {
                *y = z.re;
                *z *= leap;
            }
        }
    }
}

wide! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; 8];
        let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        for (a, b) in a8.0.iter().zip(b8.0) {
            for k in 0..8 {
                sums[k] += a[k] * b[k];
            }
        }
        sums.iter().sum::<f32>() + a8.1.iter().zip(b8.1).map(|(a, b)| a * b).sum::<f32>()
    }
}

wide! {
    fn take(from: &mut [f32], share: f32, row: &[f32]) {
        for (x, y) in from.iter_mut().zip(row) {
            *x -= share * y;
        }
    }
}

impl Ringing {
    pub(crate) fn new() -> Self {
        let hann = |n: usize| {
            (0..n)
                .map(|i| {
                    let p = std::f32::consts::TAU * (i as f32 + 0.5) / n as f32;
                    (0.5 - 0.5 * p.cos()) * 4.0 / n as f32
                })
                .collect()
        };
        Self {
            windows: LENGTHS.map(hann),
            power: vec![0.0; SIZE / 2 + 1],
            partials: Partials::new(),
            sound: Folded::new(),
            lines: [Line::default(); LINES],
            count: 0,
            lead: 0,
            rows: vec![0.0; LINES * REACH],
            rest: LowHistory::new(),
            detector: Blockwise::new(),
            transform: Transform::new(SIZE),
        }
    }

    /// Measures what sounds before a stroke `back` decimated samples ago, `age` of them after the one before. Tells
    /// whether anything does.
    pub(crate) fn measure(&mut self, low: &LowHistory, back: usize, age: usize) -> bool {
        self.count = 0;
        let Some(end) = LOW_LEN.checked_sub(back + GUARD) else { return false };
        let room = end.min(age.saturating_sub(GUARD + SLACK));
        let Some(w) = (2..LENGTHS.len()).rev().find(|&w| LENGTHS[w] <= room) else { return false };
        let n = LENGTHS[w];
        let x = &low.all()[end - n..end];
        for (p, c) in self.power.iter_mut().zip(self.transform.under(x, &self.windows[w])) {
            *p = c.norm_sqr();
        }
        let loudest = self.power[BINS.0..BINS.1].iter().fold(0.0f32, |m, &p| m.max(p));
        let least = LEAST.max(LEAST_SHARE * loudest);
        // The loudest peaks, loudest first.
        let (mut peaks, mut count) = ([(0.0f32, 0usize); LINES], 0);
        for bin in BINS.0..BINS.1 {
            let p = self.power[bin];
            if p < least || p < self.power[bin - 1] || p <= self.power[bin + 1] {
                continue;
            }
            let mut at = count.min(LINES);
            while at > 0 && peaks[at - 1].0 < p {
                at -= 1;
            }
            if at < LINES {
                peaks.copy_within(at..LINES - 1, at + 1);
                peaks[at] = (p, bin);
                count = (count + 1).min(LINES);
            }
        }
        let bin = LOW_RATE / SIZE as f32;
        self.partials.fold(x, w, &mut self.sound);
        for &(_, at) in &peaks[..count] {
            // The top of a parabola through the logarithms comes near enough for one exact look.
            let [l, c, r] = [at - 1, at, at + 1].map(|k| self.power[k].max(f32::MIN_POSITIVE).ln());
            let bend = (l - 2.0 * c + r).min(-f32::EPSILON);
            let rough = (at as f32 + (0.5 * (l - r) / bend).clamp(-0.5, 0.5)) * bin;
            let [re, im, dre, dim] = self.sound.correlate(rough);
            let energy = re * re + im * im;
            if energy < LEAST {
                continue;
            }
            let hz = rough - (dim * re - dre * im) / energy * LOW_RATE / std::f32::consts::TAU;
            let decay = ((dre * re + dim * im) / energy).clamp(DECAY.0 / LOW_RATE, DECAY.1 / LOW_RATE);
            // The sums give amplitude and phase in the middle of the window.
            let half = 0.5 * n as f32;
            let turn = std::f32::consts::TAU * (rough - hz) / LOW_RATE * half;
            let start = Complex32::new(re, im) * Complex32::from_polar((decay * half).exp(), turn);
            self.lines[self.count] = Line { hz, re: start.re, im: start.im, decay };
            self.count += 1;
        }
        self.lead = n + GUARD;
        self.count > 0
    }

    /// What is new since the stroke, `back` decimated samples ago. `None` before there is enough of it, or when nothing
    /// was heard before. Its likeness is measured for the pitch `f0`.
    pub(crate) fn rest(&mut self, low: &LowHistory, back: usize, f0: Option<f32>) -> Option<Rest> {
        if self.count == 0 || !(3 * LOW_HOP..=REACH).contains(&back) {
            return None;
        }
        let from = LOW_LEN - back + SLACK;
        let n = LOW_LEN - from;
        let mut rest = [0.0f32; LOW_LEN];
        rest[from..].copy_from_slice(&low.all()[from..]);
        let x = &mut rest[from..];
        let whole = dot(x, x);
        if whole <= 0.0 {
            return None;
        }
        let first = (self.lead + SLACK) as f32;
        let (mut shares, mut energies) = ([0.0f32; LINES], [0.0f32; LINES]);
        let lines = self.lines[..self.count].iter().zip(self.rows.chunks_exact_mut(REACH));
        for ((line, row), energy) in lines.zip(&mut energies) {
            let row = &mut row[..n];
            let omega = std::f32::consts::TAU * line.hz / LOW_RATE;
            let turned = std::f32::consts::TAU * (line.hz * first / LOW_RATE).fract();
            let start =
                Complex32::new(line.re, line.im) * Complex32::from_polar((-line.decay * first).exp(), turned);
            draw(start, Complex32::from_polar((-line.decay).exp(), omega), row);
            *energy = dot(row, row);
        }
        for _ in 0..ROUNDS {
            for k in 0..self.count {
                if energies[k] <= 0.0 {
                    continue;
                }
                let row = &self.rows[k * REACH..k * REACH + n];
                let share = (shares[k] + dot(x, row) / energies[k]).clamp(0.0, 1.0);
                take(x, share - shares[k], row);
                shares[k] = share;
            }
        }
        let new = dot(x, x) / whole;
        let likeness = f0.map_or(0.0, |f0| likeness(x, f0, n));
        let mut old = 0.0;
        for (v, y) in low.all()[from..].iter().zip(x.iter()) {
            old += (v - y) * (v - y);
        }
        self.detector.reset();
        for hop in rest[(from / LOW_HOP) * LOW_HOP..].as_chunks::<LOW_HOP>().0 {
            self.rest.push(hop);
            self.detector.push(&[0.0; HOP], &self.rest);
        }
        let estimate = self.detector.estimate(&self.rest, (back * DECIMATION) as u64);
        Some(Rest { old: old / whole, new, likeness, estimate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::cents_between;
    use crate::dsp::testsig::Random;

    /// Decimated samples since the stroke.
    const BACK: usize = 10 * LOW_HOP;

    /// Strings of these pitches, struck so many decimated samples before the end, with noise (rms) since the last stroke;
    /// what is left of them over what sounded before it.
    fn rest(strings: &[(f32, usize)], noise: f32, f0: f32) -> Rest {
        let (mut ringing, mut low, mut random) = (Ringing::new(), LowHistory::new(), Random::new(3));
        let x: Vec<f32> = (0..2 * LOW_LEN)
            .map(|i| {
                let left = 2 * LOW_LEN - i;
                let sound: f32 = strings.iter().map(|&(hz, since)| string(hz, since, left)).sum();
                sound + if left <= BACK { noise * random.normal() } else { 1e-4 * random.normal() }
            })
            .collect();
        let hops = x.as_chunks::<LOW_HOP>().0;
        for (i, hop) in hops.iter().enumerate() {
            low.push(hop);
            // A stroke is found two hops after it.
            if i + 1 == hops.len() - BACK / LOW_HOP + 2 {
                assert!(ringing.measure(&low, 2 * LOW_HOP, 4000), "something sounds before");
            }
        }
        ringing.rest(&low, BACK, Some(f0)).expect("enough was heard since")
    }

    /// One sample of a decaying string, `left` decimated samples before the end.
    fn string(hz: f32, since: usize, left: usize) -> f32 {
        let Some(age) = since.checked_sub(left) else { return 0.0 };
        let t = age as f32 / LOW_RATE;
        (1..8)
            .map(|k| {
                let k = k as f32;
                let turn = (k * hz * t).fract() + 0.3 * k;
                0.2 / k * (-t * (1.0 + k)).exp() * (std::f32::consts::TAU * turn).sin()
            })
            .sum()
    }

    #[test]
    fn a_string_that_rings_on_leaves_next_to_nothing() {
        for hz in [82.4, 110.0, 196.0, 440.0] {
            let r = rest(&[(hz, 3000)], 0.0, hz);
            assert!(r.new < 0.02 && r.old > 0.9, "{hz}: {r:?}");
        }
    }

    #[test]
    fn a_new_string_is_heard_under_those_that_ring() {
        // A fifth and an octave over the old one share its partials; a fourth below makes a common period.
        for (old, new) in [(82.4, 123.5), (110.0, 220.0), (246.9, 185.0), (164.8, 196.0)] {
            let r = rest(&[(old, 3000), (1.335 * old, 2500), (new, BACK)], 0.0, new);
            let heard = r.estimate.expect("a pitch").f0;
            assert!(r.new > 0.3, "{old} and {new}: {r:?}");
            assert!(cents_between(heard, new).abs() < 25.0, "{new} over {old}: {r:?}");
        }
    }

    #[test]
    fn the_same_string_struck_again_is_new_and_noise_has_no_pitch() {
        for hz in [110.0, 196.0, 440.0] {
            let again = rest(&[(hz, 3017), (hz, BACK)], 0.0, hz);
            assert!(again.new > 0.3 && again.likeness > 0.5, "{hz}: {again:?}");
            let squeak = rest(&[(hz, 3000)], 0.15, hz);
            assert!(squeak.new > 0.3, "{hz}: {squeak:?}");
            assert!(squeak.likeness < 0.5 && squeak.estimate.is_none_or(|e| !e.settled), "{hz}: {squeak:?}");
        }
    }

    #[test]
    fn too_little_sound_tells_nothing() {
        let (mut ringing, low) = (Ringing::new(), LowHistory::new());
        assert!(!ringing.measure(&low, BACK, 4000), "silence");
        assert!(!ringing.measure(&low, BACK, 300), "too young");
        assert!(!ringing.measure(&low, LOW_LEN + 5, 4000), "too long ago");
        assert!(ringing.rest(&low, BACK, None).is_none());
    }
}
