//! Finds the delay of a train of clicks: peaks of a matched filter that agree.

use super::{ANALYSIS_RATE, CLICK, DELAYS, Expected, HALF, MEMORY, STRIKES, shape};

/// Peaks remembered.
const PEAKS: usize = 256;
/// Two peaks are further apart than this, samples (1 ms).
const APART: u64 = 48;
/// A peak is one from this correlation on: white noise stays below 0.3 but for a few in a minute, a click in a room has
/// 0.5 and more.
const LEAST: f32 = 0.4;
/// And from this amplitude on (-90 dBFS).
const FAINTEST: f32 = 3e-5;
/// Fewest clicks that must agree.
const AGREE: usize = 4;
/// The same in the midst of a train: any stretch of five is like some other (an m-sequence of length 31), of six none.
const AGREE_AMIDST: usize = 6;
/// After the first delay that fits, a louder one is waited for so long, samples (20 ms): a reflection may agree as well as
/// the direct sound.
const SECOND_LOOK: u64 = 960;
/// And this share of those that should have been heard by then.
const SHARE: f64 = 0.75;
/// Clicks that are looked at, the latest: about 10 s.
const LOOK_BACK: u64 = 24;
/// How much clocks differ at most: consumer sound cards stay within 100 parts in a million; and how far the peak of a
/// click may jump within its own oscillation, samples.
const CLOCKS: f64 = 250e-6;
const JUMP: f64 = 12.0;

#[derive(Clone, Copy, Default)]
struct Peak {
    /// Where the click begins, samples.
    at: f64,
    /// Amplitude of the click there, with sign.
    value: f32,
}

/// What was found.
pub(super) struct Found {
    /// Strikes and their delays, samples.
    pub pairs: [(f64, f64); LOOK_BACK as usize],
    pub many: usize,
    /// Amplitude of a received click of level 1, with sign.
    pub amplitude: f32,
}

pub(super) struct Finder {
    click: [f32; CLICK],
    energy: f32,
    /// Next position at which a click may begin, and the first one since all was forgotten.
    next: u64,
    from: u64,
    peaks: [Peak; PEAKS],
    count: u64,
    /// The highest value of late, until it is known to be a peak: position, value, its neighbours.
    best: Option<(u64, f32, f32)>,
    last: [f32; 3],
    /// A delay that fits, its score, and until when a better one is waited for.
    candidate: Option<(u64, f64, Found)>,
}

impl Finder {
    pub(super) fn new() -> Self {
        let mut click = [0.0; CLICK];
        for (i, x) in click.iter_mut().enumerate() {
            *x = shape(i as f64 / f64::from(ANALYSIS_RATE)) as f32;
        }
        let energy = click.iter().map(|x| x * x).sum();
        Self {
            click,
            energy,
            next: 0,
            from: 0,
            peaks: [Peak::default(); PEAKS],
            count: 0,
            best: None,
            last: [0.0; 3],
            candidate: None,
        }
    }

    pub(super) fn forget(&mut self, position: u64) {
        self.next = position + HALF as u64;
        self.from = self.next;
        self.count = 0;
        self.best = None;
        self.last = [0.0; 3];
        self.candidate = None;
    }

    /// Filters up to `to` (not included). The delay, once it is clear.
    pub(super) fn seek(
        &mut self,
        band: &[f32],
        to: u64,
        strikes: &[Expected; STRIKES],
        count: u64,
    ) -> Option<Found> {
        while self.next + (CLICK as u64) < to {
            let at = self.next;
            self.next += 1;
            let (mut product, mut energy) = ([0.0f32; 8], [0.0f32; 8]);
            let start = at as usize & (MEMORY - 1);
            let mut add = |x: &[f32], click: &[f32]| {
                for (x, c) in x.chunks_exact(8).zip(click.chunks_exact(8)) {
                    for k in 0..8 {
                        product[k] += x[k] * c[k];
                        energy[k] += x[k] * x[k];
                    }
                }
            };
            match band.get(start..start + CLICK) {
                Some(x) => add(x, &self.click),
                // Across the end of the memory, for 5 ms every 5 s: copied.
                None => {
                    let mut x = [0.0; CLICK];
                    for (i, x) in x.iter_mut().enumerate() {
                        *x = band[(start + i) & (MEMORY - 1)];
                    }
                    add(&x, &self.click);
                }
            }
            let product: f32 = product.iter().sum();
            let energy: f32 = energy.iter().sum();
            self.last = [self.last[1], self.last[2], product / self.energy];
            // The value in the middle, one sample ago.
            let [before, middle, after] = self.last;
            let high = middle.abs() > before.abs() && middle.abs() >= after.abs();
            let alike = product * product / (energy * self.energy).max(1e-20) > LEAST * LEAST;
            if high && alike && middle.abs() > FAINTEST {
                let bend = before - 2.0 * middle + after;
                let off = if bend == 0.0 { 0.0 } else { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) };
                if self.best.is_none_or(|(_, value, _)| middle.abs() > value.abs()) {
                    self.best = Some((at - 1, middle, off));
                }
            }
            if let Some((place, value, off)) = self.best
                && at > place + APART
            {
                self.best = None;
                let peak = Peak { at: place as f64 + f64::from(off), value };
                self.peaks[(self.count % PEAKS as u64) as usize] = peak;
                self.count += 1;
                if let Some((score, found)) = self.agree(peak, at as f64, strikes, count) {
                    let until = self.candidate.as_ref().map_or(at + SECOND_LOOK, |c| c.0);
                    if self.candidate.as_ref().is_none_or(|c| score > c.1) {
                        self.candidate = Some((until, score, found));
                    }
                }
            }
        }
        if self.candidate.as_ref().is_some_and(|c| self.next > c.0) {
            return self.candidate.take().map(|c| c.2);
        }
        None
    }

    /// The delay that the latest peak and the peaks before it agree on.
    fn agree(&self, peak: Peak, now: f64, strikes: &[Expected; STRIKES], count: u64) -> Option<(f64, Found)> {
        let mut best: Option<(f64, Found)> = None;
        for n in count.saturating_sub(LOOK_BACK)..count {
            let strike = strikes[(n % STRIKES as u64) as usize].strike;
            let delay = peak.at - strike.at;
            if !(DELAYS.0..=DELAYS.1).contains(&delay) {
                continue;
            }
            let sign = peak.value.signum() * strike.level.signum();
            let mut found = Found { pairs: [(0.0, 0.0); LOOK_BACK as usize], many: 0, amplitude: 0.0 };
            let (mut due, mut amplitude) = (0, 0.0);
            let mut agree = AGREE;
            for m in count.saturating_sub(LOOK_BACK)..count {
                let other = strikes[(m % STRIKES as u64) as usize].strike;
                if other.at + delay + JUMP > now {
                    continue;
                }
                // Heard before all was forgotten.
                if other.at + delay < self.from as f64 {
                    agree = AGREE_AMIDST;
                    continue;
                }
                due += 1;
                let reach = CLOCKS * (other.at - strike.at).abs() + JUMP;
                let near = self
                    .remembered()
                    .filter(|p| (p.at - other.at - delay).abs() <= reach)
                    .filter(|p| p.value.signum() * other.level.signum() == sign)
                    .max_by(|a, b| a.value.abs().total_cmp(&b.value.abs()));
                if let Some(p) = near {
                    found.pairs[found.many] = (other.at, p.at - other.at);
                    found.many += 1;
                    amplitude += p.value / other.level;
                }
            }
            let enough = found.many >= agree && found.many as f64 >= SHARE * f64::from(due);
            if !enough {
                continue;
            }
            found.amplitude = amplitude / found.many as f32;
            // Of two delays that fit (an echo), the louder; more clicks outweigh loudness.
            let score = f64::from(found.amplitude.abs()) * found.many as f64;
            if best.as_ref().is_none_or(|(s, _)| score > *s) {
                best = Some((score, found));
            }
        }
        best
    }

    fn remembered(&self) -> impl Iterator<Item = &Peak> {
        self.peaks.iter().take(usize::try_from(self.count).unwrap_or(PEAKS).min(PEAKS))
    }
}
