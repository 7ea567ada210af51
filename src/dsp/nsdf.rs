//! The normalised square difference of the newest samples, put together from blocks.
//!
//! Each hop adds one block of correlations c(τ) = Σ x[n] x[n-τ], straight in the time domain; the function over any
//! window of whole blocks is then a sum of blocks over sums of squares. No FFT, no drift, and every window length for
//! the price of one. What lies before the start of a sound counts as silence and is not normalised by either
//! (McLeod's type II), so that a period can be heard as soon as it has come round once.
use super::filter::{LOW_LEN, LowHistory};
use super::wide::wide;
use super::{LOW_HOP, LOW_RATE};

/// Lags: down to 53.6 Hz, below B1.
pub(super) const LAGS: usize = 224;
/// Shortest lag of a note: 1500 Hz, above E6.
pub(super) const MIN_LAG: usize = 8;
/// Blocks that are kept.
pub(super) const BLOCKS: usize = 16;
/// Lags computed together: as many as fit in registers.
const LANES: usize = 56;
/// Running sums of squares that are kept: the longest window and the longest lag before it.
const SUMS: usize = BLOCKS * LOW_HOP + LAGS + 1;
/// Room for them to slide in, so that they are moved back once in eight hops.
const ROOM: usize = SUMS + 7 * LOW_HOP;

/// A peak of the function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Decimated samples, between whole ones.
    pub(super) lag: f32,
    /// 0..1.
    pub(super) height: f32,
}

/// See the module.
pub(super) struct Nsdf {
    blocks: Vec<[f32; LAGS]>,
    head: usize,
    /// Sum of squares before each sample; those in use end at `end`.
    sums: Vec<f64>,
    end: usize,
    /// Decimated samples since the start of the sound.
    since: usize,
    values: [f32; LAGS],
    /// Lags of `values` that are filled.
    filled: usize,
}

wide! {
    /// Correlations of the newest block with the samples up to [`LAGS`] before it; all but the newest `since` are
    /// taken for silence.
    fn correlate(x: &[f32], since: usize, out: &mut [f32; LAGS]) {
        // Reversed, so that rising lags lie at rising addresses.
        let mut reversed = [0.0f32; LOW_HOP + LAGS];
        for (r, v) in reversed.iter_mut().zip(x.iter().rev()).take(since) {
            *r = *v;
        }
        for (chunk, out) in out.chunks_exact_mut(LANES).enumerate() {
            let mut acc = [0.0f32; LANES];
            for i in 0..LOW_HOP {
                let at = i + chunk * LANES;
                let Some(lagged) = reversed[at..].first_chunk::<LANES>() else { break };
                let v = reversed[i];
                for k in 0..LANES {
                    acc[k] += v * lagged[k];
                }
            }
            out.copy_from_slice(&acc);
        }
    }
}

wide! {
    fn add(sum: &mut [f32; LAGS], block: &[f32; LAGS]) {
        for (s, b) in sum.iter_mut().zip(block) {
            *s += b;
        }
    }
}

wide! {
    /// The function from the correlations over `window` samples and the running sums of squares, of which the last is
    /// that after the newest sample. Both sides of lag τ are summed over the same min(window, since - τ) products.
    fn normalise(values: &mut [f32], sums: &[f64], window: usize, since: usize) {
        let last = sums.len() - 1;
        let whole = (since.saturating_sub(window) + 1).min(values.len());
        let (near, far) = values.split_at_mut(whole);
        let n = near.len();
        let (Some(ends), Some(starts)) = (sums.get(last + 1 - n..=last), sums.get((last - window + 1).saturating_sub(n)..=last - window)) else { return };
        if ends.len() != n || starts.len() != n {
            return;
        }
        let own = sums[last] - sums[last - window];
        for tau in 0..n {
            let energy = (own + (ends[n - 1 - tau] - starts[n - 1 - tau])) as f32;
            near[tau] = if energy > 0.0 { 2.0 * near[tau] / energy } else { 0.0 };
        }
        let first = sums[last - since.min(last)];
        for (tau, v) in (n..).zip(far) {
            let energy = (sums[last] - sums[last + tau - since] + (sums[last - tau] - first)) as f32;
            *v = if energy > 0.0 { 2.0 * *v / energy } else { 0.0 };
        }
    }
}

wide! {
    /// Height of the parabola through each local maximum and its neighbours, 0 elsewhere.
    fn crests(values: &[f32; LAGS], out: &mut [f32; LAGS]) {
        for i in 1..LAGS - 1 {
            let (l, c, r) = (values[i - 1], values[i], values[i + 1]);
            // Of a high note, whole lags miss the top by more than McLeod's k allows.
            let bend = (2.0 * c - l - r).max(1e-9);
            let height = (c + 0.125 * (l - r) * (l - r) / bend).min(1.0);
            out[i] = if c >= l && c > r && c > 0.0 { height } else { 0.0 };
        }
    }
}

impl Nsdf {
    pub(super) fn new() -> Self {
        Self {
            blocks: vec![[0.0; LAGS]; BLOCKS],
            head: 0,
            sums: vec![0.0; ROOM],
            end: SUMS,
            since: 0,
            values: [0.0; LAGS],
            filled: 0,
        }
    }

    /// Takes in the newest [`LOW_HOP`] samples.
    pub(super) fn push(&mut self, low: &LowHistory) {
        let x = low.all();
        self.since = (self.since + LOW_HOP).min(LOW_LEN);
        correlate(x, self.since, &mut self.blocks[self.head]);
        self.head = (self.head + 1) % BLOCKS;
        if self.end + LOW_HOP > ROOM {
            // The sums start again from nothing, so that soft samples are never lost beside them.
            let from = self.end - SUMS;
            let base = self.sums[from];
            self.sums.copy_within(from..self.end, 0);
            self.end = SUMS;
            for s in &mut self.sums[..SUMS] {
                *s -= base;
            }
        }
        let mut sum = self.sums[self.end - 1];
        for (s, v) in self.sums[self.end..self.end + LOW_HOP].iter_mut().zip(&x[LOW_LEN - LOW_HOP..]) {
            sum += f64::from(v * v);
            *s = sum;
        }
        self.end += LOW_HOP;
    }

    /// Sum of squares of the `n` samples that end `back` before the newest.
    pub(super) fn energy(&self, back: usize, n: usize) -> f64 {
        let to = (self.end - 1).saturating_sub(back);
        self.sums[to] - self.sums[to.saturating_sub(n)]
    }

    /// The sound began `since` samples ago.
    pub(super) fn began(&mut self, low: &LowHistory, since: usize) {
        if since == self.since {
            return;
        }
        let x = low.all();
        let least = since.min(self.since);
        self.since = since;
        for b in 0..BLOCKS.min(since.div_ceil(LOW_HOP)) {
            // Blocks that reach back no further than either start are as they were.
            if least >= (b + 1) * LOW_HOP + LAGS {
                continue;
            }
            let end = LOW_LEN - b * LOW_HOP;
            correlate(
                &x[..end],
                since - b * LOW_HOP,
                &mut self.blocks[(self.head + BLOCKS - 1 - b) % BLOCKS],
            );
        }
    }

    /// Evaluates the function over the newest `window` blocks for lags below `lags`.
    pub(super) fn fill(&mut self, window: usize, lags: usize) {
        let window = window.min(BLOCKS).min(self.since.div_ceil(LOW_HOP));
        self.filled = lags.min(LAGS).min(self.since);
        let mut sum = [0.0f32; LAGS];
        for b in 0..window {
            add(&mut sum, &self.blocks[(self.head + BLOCKS - 1 - b) % BLOCKS]);
        }
        normalise(
            &mut sum[..self.filled],
            &self.sums[self.end - SUMS..self.end],
            (window * LOW_HOP).min(self.since),
            self.since,
        );
        sum[self.filled..].fill(0.0);
        self.values = sum;
    }

    /// McLeod's choice among the peaks of the function that was filled last: the first one at least `share` as high as
    /// the highest.
    pub(super) fn pick(&self, share: f32) -> Option<Peak> {
        let n = &self.values[..self.filled];
        let from = n.iter().position(|&v| v <= 0.0)?.max(MIN_LAG);
        let mut heights = [0.0f32; LAGS];
        crests(&self.values, &mut heights);
        // A lobe that still rises at the last lag has its peak elsewhere.
        let heights = heights.get(from..self.filled.saturating_sub(1))?;
        let highest = highest(heights);
        if highest <= 0.0 {
            return None;
        }
        let first = heights.iter().position(|&h| h >= share * highest)?;
        // The highest of its lobe.
        let mut best = first;
        for (i, &h) in heights.iter().enumerate().skip(first + 1) {
            if n[from + i] <= 0.0 {
                break;
            }
            if h > heights[best] {
                best = i;
            }
        }
        let at = from + best;
        let (l, c, r) = (self.values[at - 1], self.values[at], self.values[at + 1]);
        let bend = l - 2.0 * c + r;
        let shift = if bend < 0.0 { (0.5 * (l - r) / bend).clamp(-0.5, 0.5) } else { 0.0 };
        Some(Peak { lag: at as f32 + shift, height: heights[best] })
    }

    /// The function near the period of `hz`.
    pub(super) fn near(&self, hz: f32) -> f32 {
        self.values[((LOW_RATE / hz.max(1.0)).round() as usize).min(LAGS - 1)]
    }

    pub(super) fn reset(&mut self) {
        for b in &mut self.blocks {
            b.fill(0.0);
        }
        self.sums.fill(0.0);
        self.since = 0;
    }
}

wide! {
    fn highest(heights: &[f32]) -> f32 {
        let mut greatest = [0.0f32; 8];
        let (chunks, rest) = heights.as_chunks::<8>();
        for c in chunks {
            for k in 0..8 {
                greatest[k] = if c[k] > greatest[k] { c[k] } else { greatest[k] };
            }
        }
        greatest.iter().chain(rest).fold(0.0f32, |a, &b| a.max(b))
    }
}

/// How much the newest samples of `x`, at most `most` of them, are like those one period of `f0` before, -1..1: the
/// function at one lag, between whole ones. 0 when less than a hop could be compared.
pub(super) fn likeness(x: &[f32], f0: f32, most: usize) -> f32 {
    let lag = LOW_RATE / f0.max(1.0);
    let (whole, part) = (lag as usize, lag.fract());
    let compared = x.len().checked_sub(whole + 1).map(|n| n.min(most)).filter(|&n| n >= LOW_HOP);
    let Some(n) = compared else { return 0.0 };
    let x = &x[x.len() - (n + whole + 1)..];
    let (mut cross, mut energy) = (0.0f32, 0.0f32);
    for (a, b) in x[whole + 1..].iter().zip(x[..=n].windows(2)) {
        let b = part * b[0] + (1.0 - part) * b[1];
        cross += a * b;
        energy += a * a + b * b;
    }
    if energy > 0.0 { 2.0 * cross / energy } else { 0.0 }
}
