//! The click as it is received: learnt from the clicks themselves, subtracted from the next ones.

use super::follow::Fit;
use super::{ANALYSIS_RATE, CLICK, KERNEL, MEMORY, kernel, shape, split};

/// Samples of a block: what else sounds is estimated block by block (5 ms).
const BLOCK: usize = 240;
/// Blocks of the received click: one before its start (the high-pass rings both ways), and 150 ms of the room behind it,
/// in which a living room has decayed by 20 to 30 dB.
pub(super) const BLOCKS: usize = 31;
pub(super) const LENGTH: usize = BLOCK * BLOCKS;
pub(super) const BEFORE: usize = BLOCK;
pub(super) const AFTER: usize = LENGTH - BEFORE;
/// Clicks that may overlap with one.
pub(super) const OTHERS: usize = 10;
/// Where time and level are fitted: the click itself and its first reflections.
const DIRECT: std::ops::Range<usize> = BEFORE - 48..BEFORE + 2 * CLICK;
/// Room around the stored click, so that it can be read between samples at its ends.
const MARGIN: usize = KERNEL;
/// What changes from click to click beside its level (a player who moves in front of the microphone), as share of power. All
/// that is allowed here lets the guitar in while it plays: with 2e-4 what is left of the clicks rose by 25 dB in 3 s of
/// playing, with this by about 7. While nothing else sounds, a change is learnt at once whatever stands here.
const CHANGE: f32 = 5e-6;
/// The level may change by this from click to click, unless two in a row say more: with ten times as much the guitar under
/// the clicks moved it by about 1 %.
const LEVEL_CHANGE: f64 = 0.002;
/// The click is no longer heard below this share of its first level.
const GONE: f32 = 0.1;
/// Power below which nothing is heard (-100 dBFS).
const FLOOR: f32 = 1e-10;

/// A click that has arrived.
pub(super) struct Heard<'a> {
    /// The memory of the input.
    pub band: &'a [f32],
    /// Where it begins.
    pub at: f64,
    pub level: f32,
    /// Others that overlap with it: how much later they are, and their levels.
    pub others: &'a [(f64, f32)],
}

pub(super) struct Template {
    /// A click of level 1, [`BEFORE`] samples before its start, with margins.
    wave: Box<[f32]>,
    /// The same as it is subtracted: without what is not sure.
    sure: Box<[f32]>,
    /// Variance per sample, by block.
    doubt: [f32; BLOCKS],
    clicks: u32,
    /// Amplitude at the beginning.
    first: f32,
    shift: f64,
    /// How much louder than learnt the last click was, as share.
    louder: f64,
    click: [f32; CLICK],
}

impl Template {
    pub(super) fn new() -> Self {
        let empty = || vec![0.0; LENGTH + 2 * MARGIN].into_boxed_slice();
        let mut click = [0.0; CLICK];
        for (i, x) in click.iter_mut().enumerate() {
            *x = shape(i as f64 / f64::from(ANALYSIS_RATE)) as f32;
        }
        Self {
            wave: empty(),
            sure: empty(),
            doubt: [0.0; BLOCKS],
            clicks: 0,
            first: 0.0,
            shift: 0.0,
            louder: 0.0,
            click,
        }
    }

    pub(super) fn clear(&mut self) {
        self.wave.fill(0.0);
        self.sure.fill(0.0);
        self.doubt = [0.0; BLOCKS];
        (self.clicks, self.first, self.shift, self.louder) = (0, 0.0, 0.0, 0.0);
    }

    /// Before anything was learnt the click is taken to come as it was played, at this amplitude.
    pub(super) fn begin(&mut self, amplitude: f32) {
        self.clear();
        for (x, c) in self.wave[MARGIN + BEFORE..].iter_mut().zip(&self.click) {
            *x = amplitude * c;
        }
        let power = self.power(1).max(FLOOR);
        self.first = power.sqrt();
        for (block, doubt) in self.doubt.iter_mut().enumerate() {
            // A room gives back half of the direct sound, and decays by 60 dB in about half a second.
            *doubt = 0.5 * power * (-(block as f32) / 8.0).exp();
        }
        self.settle(0..BLOCKS);
    }

    pub(super) fn clicks(&self) -> u32 {
        self.clicks
    }

    /// Where the learnt click begins against where it was taken to begin, samples.
    pub(super) fn shift(&self) -> f64 {
        self.shift
    }

    pub(super) fn is_gone(&self) -> bool {
        self.power(1).sqrt() < GONE * self.first
    }

    fn power(&self, block: usize) -> f32 {
        let from = MARGIN + block * BLOCK;
        self.wave[from..from + BLOCK].iter().map(|x| x * x).sum::<f32>() / BLOCK as f32
    }

    /// What is subtracted of these blocks: as much as is more likely click than doubt (Wiener), smoothly between blocks.
    fn settle(&mut self, blocks: std::ops::Range<usize>) {
        let sure = |t: &Self, block: usize| {
            let power = t.power(block);
            if power <= FLOOR { 0.0 } else { (1.0 - t.doubt[block] / power).clamp(0.0, 1.0) }
        };
        for block in blocks {
            let here = sure(self, block);
            let next = if block + 1 < BLOCKS { sure(self, block + 1) } else { 0.0 };
            let before = if block == 0 { 0.0 } else { sure(self, block - 1) };
            for i in 0..BLOCK {
                let x = (i as f32 + 0.5) / BLOCK as f32 - 0.5;
                let other = if x < 0.0 { before } else { next };
                let weight = here + (other - here) * x.abs();
                // The click itself is never faded by its quiet neighbours.
                let weight = if block == 1 || block == 2 { here.max(weight) } else { weight };
                let at = MARGIN + block * BLOCK + i;
                self.sure[at] = weight * self.wave[at];
            }
        }
    }

    /// Takes a click of this level out of the samples, of which the first lies `from` samples after the click's start.
    pub(super) fn subtract(&self, samples: &mut [f32], from: f64, level: f32) {
        let (whole, fraction) = split(from + BEFORE as f64);
        let weights = kernel(fraction);
        // Index of the first weight of the first sample.
        let first = whole + MARGIN as i64 - (KERNEL / 2 - 1) as i64;
        for (i, x) in samples.iter_mut().enumerate() {
            let at = first + i as i64;
            if at < 0 {
                continue;
            }
            let Some(under) = self.sure.get(at as usize..at as usize + KERNEL) else { break };
            let y: f32 = under.iter().zip(&weights).map(|(s, w)| s * w).sum();
            let clean = *x - level * y;
            if clean.is_finite() {
                *x = clean;
            }
        }
    }

    /// The learnt click of level 1 between samples: `weights` read at index `first + i`.
    fn read(&self, first: i64, i: usize, weights: &[f32; KERNEL]) -> f32 {
        let at = first + i as i64;
        if at < 0 {
            return 0.0;
        }
        self.wave
            .get(at as usize..at as usize + KERNEL)
            .map_or(0.0, |under| under.iter().zip(weights).map(|(s, w)| s * w).sum())
    }

    /// What is left of the input under the click's samples `from..` when this click and those around it are taken out.
    fn rest(&self, heard: &Heard, from: usize, out: &mut [f32]) {
        let (whole, fraction) = split(heard.at + from as f64 - BEFORE as f64);
        let weights = kernel(fraction);
        let first = whole - (KERNEL / 2 - 1) as i64;
        for (i, x) in out.iter_mut().enumerate() {
            let at = (first + i as i64) as usize & (MEMORY - 1);
            let y: f32 = match heard.band.get(at..at + KERNEL) {
                Some(under) => under.iter().zip(&weights).map(|(s, w)| s * w).sum(),
                None => (0..KERNEL).map(|k| heard.band[(at + k) & (MEMORY - 1)] * weights[k]).sum(),
            };
            *x = y - heard.level * self.wave[MARGIN + from + i];
        }
        for (apart, level) in heard.others {
            let (whole, fraction) = split(from as f64 - apart);
            let weights = kernel(fraction);
            let first = whole + MARGIN as i64 - (KERNEL / 2 - 1) as i64;
            for (i, x) in out.iter_mut().enumerate() {
                *x -= level * self.read(first, i, &weights);
            }
        }
    }

    /// Time and level of a click against what was learnt, by least squares over its first 10 ms.
    pub(super) fn fit(&self, heard: &Heard) -> Fit {
        let mut rest = [0.0; DIRECT.end - DIRECT.start];
        self.rest(heard, DIRECT.start, &mut rest);
        let (mut ee, mut et, mut ed, mut tt, mut dd) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (i, e) in rest.iter().enumerate() {
            let at = MARGIN + DIRECT.start + i;
            let (e, t) = (f64::from(*e), f64::from(heard.level * self.wave[at]));
            let d = f64::from(0.5 * heard.level * (self.wave[at + 1] - self.wave[at - 1]));
            ee += e * e;
            et += e * t;
            ed += e * d;
            tt += t * t;
            dd += d * d;
        }
        if tt <= 0.0 || dd <= 0.0 || !ee.is_finite() {
            return Fit { late_variance: f64::INFINITY, louder_variance: f64::INFINITY, ..Fit::default() };
        }
        // A click that is late by x differs from the learnt one by -x times its slope.
        let (late, louder) = (-ed / dd, et / tt);
        let noise = ((ee - et * et / tt - ed * ed / dd) / rest.len() as f64).max(f64::from(FLOOR));
        // The residual is coloured: about a third of its samples are independent.
        let noise = 3.0 * noise;
        Fit { late, late_variance: noise / dd + 1e-4, louder, louder_variance: noise / tt }
    }

    /// Follows a change of level.
    pub(super) fn scale(&mut self, fit: &Fit) {
        let change = LEVEL_CHANGE * LEVEL_CHANGE;
        // Two clicks in a row that have left the prediction behind: somebody turned a knob. One alone is a stroke on it.
        let both = if fit.louder * self.louder > 0.0 { fit.louder.abs().min(self.louder.abs()) } else { 0.0 };
        self.louder = if fit.louder.is_finite() { fit.louder } else { 0.0 };
        let change = change + (both * both - fit.louder_variance).max(0.0);
        let gain = change / (change + fit.louder_variance);
        let factor = (1.0 + gain * fit.louder).clamp(0.0, 4.0) as f32;
        if factor.is_finite() && self.clicks > 0 {
            self.wave.iter_mut().for_each(|x| *x *= factor);
        }
    }

    /// Learns one block of a click: the better, the less else there is.
    pub(super) fn learn(&mut self, block: usize, heard: &Heard) {
        let mut rest = [0.0; BLOCK];
        self.rest(heard, block * BLOCK, &mut rest);
        let noise = rest.iter().map(|e| e * e).sum::<f32>() / BLOCK as f32 + FLOOR;
        let level = heard.level;
        // What is left is the error of what was learnt and all else that sounded: the error is no more than that.
        let doubt = (self.doubt[block] + CHANGE * self.power(block)).min(noise / (level * level));
        let gain = level * doubt / (level * level * doubt + noise);
        if !gain.is_finite() {
            return;
        }
        let from = MARGIN + block * BLOCK;
        for (x, e) in self.wave[from..from + BLOCK].iter_mut().zip(&rest) {
            *x = (*x + gain * e).clamp(-16.0, 16.0);
        }
        self.doubt[block] = ((1.0 - gain * level) * doubt).max(FLOOR);
        self.settle(block.saturating_sub(1)..(block + 2).min(BLOCKS));
    }

    /// A click has been learnt whole: where does it begin now?
    pub(super) fn learnt(&mut self) {
        /// As far as a first guess may have been off, samples.
        const REACH: usize = 32;
        self.clicks = self.clicks.saturating_add(1);
        let mut alike = [0.0f32; 2 * REACH + 1];
        let start = MARGIN + BEFORE - REACH;
        for (lag, sum) in alike.iter_mut().enumerate() {
            let under = &self.wave[start + lag..start + lag + CLICK];
            *sum = under.iter().zip(&self.click).map(|(x, c)| x * c).sum();
        }
        let best = (1..2 * REACH).max_by(|&a, &b| alike[a].abs().total_cmp(&alike[b].abs())).unwrap_or(REACH);
        let [before, middle, after] = [alike[best - 1], alike[best], alike[best + 1]];
        let bend = before - 2.0 * middle + after;
        let off = if bend == 0.0 { 0.0 } else { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) };
        self.shift = best as f64 - REACH as f64 + f64::from(off);
    }
}
