//! When a string was struck.
//!
//! Two triggers, one clock. Trigger A is a spectral flux (FFT 1024/256, under a window that falls short, less each bin's
//! noise) on adaptively whitened (Stowell and Plumbley 2007), logarithmic magnitudes against the neighbourhood's maximum
//! of the frame before (Böck and Widmer 2013). Trigger B is a rise of eight band energies in 1 ms steps. The flux misses no stroke and is good to 2 ms (its peak is
//! interpolated); the bands see only a stroke that rises above what sounds, but to half a millisecond. So the flux says
//! about when, and the first step that reaches a share of the bands' highest rise around there, if any, exactly when.
//! A clear rise that the flux confirms is told at once; else the flux must have peaked. A touch of the pick told too soon
//! is moved to the string. Onsets are only proposed here; the tracker asks for a pitch.
use realfft::num_complex::Complex32;

use super::filter::{BANDS, BandBank};
use super::transform::Transform;
use super::wide::wide;
use super::{ANALYSIS_RATE, HOP};

/// Transform length (21 ms).
const FFT: usize = 1024;
/// Its window rises long and falls short (4 ms), so that what has just happened weighs at once.
const FALL: usize = 192;
/// First and last bin of the flux: 94 Hz to 14 kHz.
const BINS: (usize, usize) = (2, 300);
/// Decay of a bin's recent maximum per hop: half after a quarter of a second.
const WHITEN_DECAY: f32 = 0.985;
/// A bin is never whitened by less than this share (-56 dB) of the loudest recent bin, nor by less than -100 dBFS:
/// the gaps between partials, and silence, would else be blown up to full height.
const WHITEN_SHARE: f32 = 1.6e-3;
const WHITEN_FLOOR: f32 = 1e-5;
/// A bin's noise falls to its magnitude at this speed and grows by this factor a hop (3 dB a second), so that it comes to
/// a low quantile of noise and is not lifted much by a string. What lies below this multiple of it, about the highest
/// that noise reaches, counts for nothing: of 384 notes over noise 20 dB under them the flux finds 368 instead of 337,
/// and fires in plain noise a quarter as often.
const NOISE_FALL: f32 = 0.1;
const NOISE_GROWTH: f32 = 1.002;
const NOISE_REACH: f32 = 12.0;
/// Magnitude from which it can grow again.
const LEAST_NOISE: f32 = 1e-7;
/// Flux threshold: median of the recent past + mean of all of it but the highest two, which may be a stroke's own
/// beginning, + a constant.
const FLUX_OFFSET: f32 = 0.045;
const FLUX_TRIMMED: usize = 2;
/// From what happened to the end of the frame in which its flux is highest, samples: measured.
const FLUX_LAG: f32 = 6.2 * STEP as f32;
/// The rise of the bands that belongs to it lies at most so many steps from there; a trigger B waits so many hops for
/// its flux.
const NEAR_FLUX: u64 = 6;
const FLUX_WAIT: u32 = 2;
/// Of peaks of the flux that are at least so high against the highest, the first is the stroke.
const ABOUT: f32 = 0.85;
/// Frames of that past.
const FLUX_PAST: usize = 8;
/// Peaks of the flux that are kept: those of 130 ms at least.
const PEAKS: usize = 12;

/// Samples of a step of the band envelope (1 ms).
pub(crate) const STEP: usize = ANALYSIS_RATE as usize / 1000;
/// Steps that are kept.
const STEPS: usize = 128;
/// A band's rise is counted against its maximum over so many steps before: longer than the period of E2, so that
/// the beat of the string itself is no rise.
const LOOK_BACK: usize = 20;
/// When no rise reaches this much over one string of known pitch, rises are counted against its last period only: so
/// many of them, and at least so many steps.
const CLEAR_RISE: f32 = 4.0;
const PERIODS: f32 = 1.25;
const LEAST_BACK: usize = 3;
/// Most that one band may add (in factors of two of its energy).
const RISE_CLIP: f32 = 4.0;
/// A band's floor lies 20 dB under its recent peak: what happens below is masked by the string that sounds.
const BAND_FLOOR: f32 = 0.01;
/// Decay of that peak per step: 60 dB in 1.4 s, about as fast as a string.
const PEAK_DECAY: f32 = 0.995;
/// And four times over the band's noise.
const NOISE_FACTOR: f32 = 4.0;
/// Smallest band energy (mean square) that matters: -96 dBFS.
const BAND_TINY: f32 = 2.5e-10;
/// Trigger B: sum of the rises above this and above [`B_MEAN`] times their running mean.
const B_OFFSET: f32 = 4.0;
const B_MEAN: f32 = 2.0;
/// A rise lower than this dates nothing: the flux itself does.
const A_MIN_RISE: f32 = 1.0;
/// The time is the first step with this share of the highest rise …
const ONSET_SHARE: f32 = 0.2;
/// … at most so many steps before it.
const ONSET_BEFORE: usize = 10;
/// Before it is this near to the loudest so far (20 dB), in factors of two, it is the touch of the pick.
const TOUCH_LOG: f32 = 6.6;
/// Steps in which such a touch is loudest, and those in which the string follows.
const TOUCHES: u64 = 3;
const TOUCH: u64 = 25;
/// A rise this high that peaked within so many steps, and at least so many ago, is a stroke as soon as the flux says so
/// too.
const EARLY_RISE: f32 = 2.0;
const EARLY_WITHIN: usize = 12;
const EARLY_AFTER: u64 = 1;
/// Steps until the next onset.
const REFRACTORY_B: u64 = 45;
const REFRACTORY_A: u64 = 30;
/// … or sooner if its rise is so much higher.
const MUCH_STRONGER: f32 = 3.0;
/// From the truth to the middle of the step found, samples: measured on synthetic plucks.
const BIAS: i64 = 12;

/// A proposed onset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Onset {
    /// Sample at [`ANALYSIS_RATE`] on the analyser's own counter.
    pub(crate) at: u64,
    /// Sum over the bands of their rises in factors of two, 0..32.
    pub(crate) rise: f32,
    /// It takes the place of the one before, which was the touch of the pick on this string.
    pub(crate) moved: bool,
}

/// See the module.
pub(crate) struct OnsetDetector {
    transform: Transform,
    window: Vec<f32>,
    line: Vec<f32>,
    whitener: Vec<f32>,
    /// Noise of each bin.
    hiss: Vec<f32>,
    log_magnitude: Vec<f32>,
    previous: Vec<f32>,
    flux: [f32; FLUX_PAST + 2],
    /// Latest peaks of the flux: step, height above its past.
    peaks: [(u64, f32); PEAKS],
    bank: BandBank,
    energy: [f32; BANDS],
    filled: usize,
    peak: [f32; BANDS],
    noise: [f32; BANDS],
    /// Ring of log energies and of the summed rise, by step number.
    logs: Vec<[f32; BANDS]>,
    rise: [f32; STEPS],
    mean_rise: f32,
    step: u64,
    /// First sample of step 0 on the analyser's counter.
    origin: u64,
    /// Step and rise of the last onset.
    last: Option<(u64, f32)>,
    /// A trigger B that the flux may still date, and for how many hops.
    waiting: Option<(u64, u32)>,
    /// Frames since the last reset: the first ones compare with nothing.
    frames: u32,
    frozen: bool,
}

impl OnsetDetector {
    pub(crate) fn new() -> Self {
        let bins = BINS.1 - BINS.0;
        Self {
            window: (0..FFT)
                .map(|i| {
                    let (i, rise) = (i as f32 + 0.5, (FFT - FALL) as f32);
                    let part = if i < rise { i / rise } else { (FFT as f32 - i) / FALL as f32 };
                    (0.5 - 0.5 * (std::f32::consts::PI * part).cos()) * 4.0 / FFT as f32
                })
                .collect(),
            line: vec![0.0; FFT],
            whitener: vec![WHITEN_FLOOR; bins],
            hiss: vec![WHITEN_FLOOR; bins],
            log_magnitude: vec![0.0; bins],
            previous: vec![0.0; bins],
            flux: [0.0; FLUX_PAST + 2],
            peaks: [(0, 0.0); PEAKS],
            bank: BandBank::new(),
            energy: [0.0; BANDS],
            filled: 0,
            peak: [0.0; BANDS],
            noise: [0.0; BANDS],
            logs: vec![[BAND_TINY.log2(); BANDS]; STEPS],
            rise: [0.0; STEPS],
            mean_rise: 0.0,
            step: 0,
            origin: 0,
            last: None,
            waiting: None,
            frames: 0,
            frozen: false,
            transform: Transform::new(FFT),
        }
    }

    /// Starts anew: the next sample is number `position`.
    pub(crate) fn reset(&mut self, position: u64) {
        self.line.fill(0.0);
        self.previous.fill(0.0);
        self.flux.fill(0.0);
        self.peaks.fill((0, 0.0));
        self.bank = BandBank::new();
        self.energy = [0.0; BANDS];
        self.filled = 0;
        self.peak = [0.0; BANDS];
        self.logs.fill([BAND_TINY.log2(); BANDS]);
        self.rise = [0.0; STEPS];
        self.mean_rise = 0.0;
        self.step = 0;
        self.origin = position;
        self.last = None;
        self.waiting = None;
        self.frames = 0;
    }

    /// While frozen, whitening, peaks and noise keep what they learnt before: what is heard is not the guitar.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Takes in a hop. `idle`: no note sounds, so the bands' noise may be learnt; `sounding`: pitch of the string that
    /// sounds, if it is one alone, Hz. Returns an onset when one was found, 3 to 17 ms after it happened.
    pub(crate) fn push(&mut self, hop: &[f32; HOP], idle: bool, sounding: Option<f32>) -> Option<Onset> {
        let first_new = self.step;
        self.push_bands(hop, idle);
        let flux_at = self.push_flux(hop);
        if self.frames < 2 {
            self.frames += 1;
            return None;
        }
        if let Some(peak) = self.band_peak(first_new) {
            self.waiting = Some((peak, FLUX_WAIT));
        }
        let (start, rise, refractory) = match (flux_at.or_else(|| self.early()), &mut self.waiting) {
            (Some(at), _) => {
                let peak = self.highest(
                    (at + NEAR_FLUX).min(self.step.saturating_sub(1)),
                    2 * NEAR_FLUX as usize,
                    A_MIN_RISE,
                );
                let start = self.date(at, sounding).unwrap_or(at);
                (start, peak.map_or(0.0, |p| self.rise_at(p)), REFRACTORY_A)
            }
            (None, Some((_, hops))) if *hops > 0 => {
                *hops -= 1;
                return None;
            }
            (None, Some((peak, _))) => {
                let peak = *peak;
                (self.start_of(peak, 0), self.rise_at(peak), REFRACTORY_B)
            }
            (None, None) => return None,
        };
        self.waiting = None;
        let mut moved = false;
        if let Some((last, before)) = self.last.filter(|l| start < l.0 + refractory) {
            // Too soon after another, unless that was only the touch of the pick, or nothing beside this one.
            let touch = (last..last + TOUCHES).map(|s| self.loudness(s)).fold(f32::MIN, f32::max);
            moved = start > last && start < last + TOUCH && touch < self.loudest(start) - TOUCH_LOG;
            if !moved && rise < MUCH_STRONGER * before.max(1.0) {
                return None;
            }
        }
        self.last = Some((start, rise));
        let middle = self.origin + start * STEP as u64 + STEP as u64 / 2;
        Some(Onset { at: middle.saturating_add_signed(-BIAS).max(self.origin), rise, moved })
    }

    /// Strongest rise between two samples (at most the kept 128 ms back): where it was, and how high.
    pub(crate) fn strongest(&self, from: u64, to: u64) -> Option<Onset> {
        let step_of = |at: u64| at.saturating_sub(self.origin) / STEP as u64;
        let newest = self.step.checked_sub(1)?;
        let (from, to) =
            (step_of(from).max(newest.saturating_sub(STEPS as u64 - LOOK_BACK as u64)), step_of(to));
        let at = self.highest(to.min(newest), (to.min(newest).checked_sub(from)? + 1) as usize, 0.0)?;
        let start = self.start_of(at, 0);
        Some(Onset {
            at: self.origin + start * STEP as u64 + STEP as u64 / 2,
            rise: self.rise_at(at),
            moved: false,
        })
    }

    fn push_bands(&mut self, hop: &[f32; HOP], idle: bool) {
        let mut rest = &hop[..];
        while !rest.is_empty() {
            let n = (STEP - self.filled).min(rest.len());
            self.bank.run(&rest[..n], &mut self.energy);
            self.filled += n;
            rest = &rest[n..];
            if self.filled == STEP {
                self.end_step(idle);
                self.energy = [0.0; BANDS];
                self.filled = 0;
            }
        }
    }

    fn end_step(&mut self, idle: bool) {
        let at = (self.step % STEPS as u64) as usize;
        let mut logs = [0.0f32; BANDS];
        for (k, log) in logs.iter_mut().enumerate() {
            let e = self.energy[k] / STEP as f32;
            let floor = (BAND_FLOOR * self.peak[k]).max(NOISE_FACTOR * self.noise[k]).max(BAND_TINY);
            *log = log2(e + floor);
            if !self.frozen {
                self.peak[k] = e.max(self.peak[k] * PEAK_DECAY);
                if idle {
                    // Down at once, up slowly: a note that nobody found yet must not become noise.
                    let speed = if e < self.noise[k] { 0.02 } else { 0.002 };
                    self.noise[k] += speed * (e - self.noise[k]);
                }
            }
        }
        let mut highest = [f32::MIN; BANDS];
        for back in 1..=LOOK_BACK as u64 {
            // Steps before the first are the initial floor.
            let row = &self.logs[((self.step + STEPS as u64 - back) % STEPS as u64) as usize];
            for k in 0..BANDS {
                highest[k] = highest[k].max(row[k]);
            }
        }
        let rise = (0..BANDS).map(|k| (logs[k] - highest[k]).clamp(0.0, RISE_CLIP)).sum::<f32>();
        self.logs[at] = logs;
        self.rise[at] = rise;
        self.mean_rise += 0.01 * (rise - self.mean_rise);
        self.step += 1;
    }

    /// When the frame before the newest was a peak of the flux above its threshold: the step at which what made it
    /// happened.
    fn push_flux(&mut self, hop: &[f32; HOP]) -> Option<u64> {
        self.line.copy_within(HOP.., 0);
        self.line[FFT - HOP..].copy_from_slice(hop);
        let spectrum = self.transform.under(&self.line, &self.window);
        let loudest = magnitudes(&spectrum[BINS.0..BINS.1], &mut self.log_magnitude);
        let floor = WHITEN_FLOOR.max(WHITEN_SHARE * loudest);
        let decay = if self.frozen { 1.0 } else { WHITEN_DECAY };
        quieten(&mut self.log_magnitude, &mut self.hiss, self.frozen);
        whiten(&mut self.log_magnitude, &mut self.whitener, floor, decay, self.frozen);
        let n = self.log_magnitude.len();
        let flux = rise_over(&self.log_magnitude, &self.previous);
        std::mem::swap(&mut self.log_magnitude, &mut self.previous);
        self.flux.copy_within(1.., 0);
        self.flux[FLUX_PAST + 1] = flux / n as f32;

        let candidate = self.flux[FLUX_PAST];
        let (median, threshold) = threshold(&self.flux[..FLUX_PAST]);
        let (before, after) = (self.flux[FLUX_PAST - 1], self.flux[FLUX_PAST + 1]);
        let fires = candidate > after && candidate >= before && candidate > threshold;
        // The top of a parabola through the three frames.
        let shift = 0.5 * (before - after) / (before - 2.0 * candidate + after).min(-f32::EPSILON);
        let back = FLUX_LAG + (1.0 - shift.clamp(-0.5, 0.5)) * HOP as f32;
        let at = self.step.saturating_sub((back / STEP as f32).round() as u64);
        if candidate > after && candidate >= before {
            self.peaks.copy_within(1.., 0);
            self.peaks[PEAKS - 1] = (at, candidate - median);
        }
        fires.then_some(at)
    }

    /// Where the flux first peaked about as high as anywhere between two samples, whether or not it fired.
    pub(crate) fn softest(&self, from: u64, to: u64) -> Option<u64> {
        let sample = |step: u64| self.origin + step * STEP as u64 + STEP as u64 / 2;
        let near = self.peaks.iter().filter(|p| p.1 > 0.0 && (from..=to).contains(&sample(p.0)));
        let highest = near.clone().fold(0.0f32, |m, p| m.max(p.1));
        near.clone().find(|p| p.1 >= ABOUT * highest).map(|p| sample(p.0))
    }

    fn rise_at(&self, step: u64) -> f32 {
        self.rise[(step % STEPS as u64) as usize]
    }

    /// The step of a clear rise of the bands that has just peaked while the flux is above its threshold: a stroke that
    /// need not wait for the flux to peak.
    fn early(&self) -> Option<u64> {
        let past = self.flux.last_chunk::<{ FLUX_PAST + 1 }>()?;
        let (newest, past) = past.split_last()?;
        if *newest <= threshold(past).1 {
            return None;
        }
        let newest = self.step.checked_sub(1)?;
        let peak = self.highest(newest, EARLY_WITHIN, EARLY_RISE)?;
        (peak + EARLY_AFTER <= newest).then_some(peak)
    }

    /// The step at which a stroke began that the flux places at `at`: where the bands first rose by a share of their
    /// highest rise around there, and were loud enough to be the string. `None` without a rise.
    fn date(&self, at: u64, sounding: Option<f32>) -> Option<u64> {
        let newest = self.step.checked_sub(1)?;
        let from = at.saturating_sub(NEAR_FLUX);
        let count = ((at + NEAR_FLUX).min(newest) + 1).saturating_sub(from) as usize;
        let mut rises = [0.0f32; 2 * NEAR_FLUX as usize + 1];
        let rises = &mut rises[..count.min(2 * NEAR_FLUX as usize + 1)];
        for (r, step) in rises.iter_mut().zip(from..) {
            *r = self.rise_at(step);
        }
        let (mut peak, mut highest) = top(rises);
        // The stroke may not rise above the string that was damped for it.
        if let Some(hz) = sounding.filter(|_| highest < CLEAR_RISE) {
            let period = (PERIODS * 1000.0 / hz.max(1.0)).ceil() as usize;
            for (r, step) in rises.iter_mut().zip(from..) {
                *r = self.rise_over_last(step, period.clamp(LEAST_BACK, LOOK_BACK));
            }
            (peak, highest) = top(rises);
        }
        if highest <= A_MIN_RISE {
            return None;
        }
        let loudest = self.loudest(from);
        let earliest = peak.saturating_sub(ONSET_BEFORE);
        let first = (earliest..peak).find(|&k| {
            rises[k] >= ONSET_SHARE * highest && self.loudness(from + k as u64) >= loudest - TOUCH_LOG
        });
        Some(from + first.unwrap_or(peak) as u64)
    }

    /// The same at its loudest since a step.
    fn loudest(&self, from: u64) -> f32 {
        (from..self.step).map(|s| self.loudness(s)).fold(f32::MIN, f32::max)
    }

    /// Logarithm of the energy in the loudest band at a step.
    fn loudness(&self, step: u64) -> f32 {
        self.logs[(step % STEPS as u64) as usize].iter().fold(f32::MIN, |m, &l| m.max(l))
    }

    /// Sum over the bands of what they rise at a step above their maximum over the `back` steps before it.
    fn rise_over_last(&self, step: u64, back: usize) -> f32 {
        let row = |s: u64| &self.logs[(s % STEPS as u64) as usize];
        let mut highest = [f32::MIN; BANDS];
        for b in 1..=back as u64 {
            for (h, l) in highest.iter_mut().zip(row(step + STEPS as u64 - b)) {
                *h = h.max(*l);
            }
        }
        row(step).iter().zip(&highest).map(|(l, h)| (l - h).clamp(0.0, RISE_CLIP)).sum()
    }

    /// A peak of the rise above threshold B whose surroundings are known by now.
    fn band_peak(&self, first_new: u64) -> Option<u64> {
        let around = ONSET_BEFORE as u64;
        let threshold = B_OFFSET + B_MEAN * self.mean_rise;
        let from = first_new.saturating_sub(around);
        let to = self.step.saturating_sub(around);
        (from..to)
            .filter(|&s| self.rise_at(s) > threshold)
            .find(|&s| (s.saturating_sub(around)..=s + around).all(|o| self.rise_at(o) <= self.rise_at(s)))
    }

    /// The step with the highest rise above `least` among the `count` steps that end with `newest`.
    fn highest(&self, newest: u64, count: usize, least: f32) -> Option<u64> {
        let from = (newest + 1).saturating_sub(count.min(STEPS - 1) as u64);
        (from..=newest)
            .max_by(|&a, &b| self.rise_at(a).total_cmp(&self.rise_at(b)))
            .filter(|&s| self.rise_at(s) > least)
    }

    /// The step at which the rise that peaks at `peak` begins, not before `earliest`.
    fn start_of(&self, peak: u64, earliest: u64) -> u64 {
        let least = ONSET_SHARE * self.rise_at(peak);
        (peak.saturating_sub(ONSET_BEFORE as u64).max(earliest)..peak)
            .find(|&s| self.rise_at(s) >= least)
            .unwrap_or(peak)
    }
}

/// Bins that are summed side by side.
const LANES: usize = 8;

wide! {
    /// Magnitudes of `spectrum`; returns the greatest.
    fn magnitudes(spectrum: &[Complex32], out: &mut [f32]) -> f32 {
        let mut greatest = [0.0f32; LANES];
        for (m, c) in out.chunks_mut(LANES).zip(spectrum.chunks(LANES)) {
            for ((m, c), g) in m.iter_mut().zip(c).zip(&mut greatest) {
                *m = c.norm_sqr().sqrt();
                *g = g.max(*m);
            }
        }
        greatest.iter().fold(0.0, |a, b| a.max(*b))
    }
}

wide! {
    /// Takes out of each magnitude what may be noise; `noise` follows it unless `frozen`.
    fn quieten(magnitude: &mut [f32], noise: &mut [f32], frozen: bool) {
        for (m, n) in magnitude.iter_mut().zip(noise.iter_mut()) {
            let fallen = *n + NOISE_FALL * (*m - *n);
            let next = if *m < *n { fallen } else { (*n * NOISE_GROWTH).min(*m) }.max(LEAST_NOISE);
            *n = if frozen { *n } else { next };
            *m = (*m - NOISE_REACH * *n).max(0.0);
        }
    }
}

wide! {
    /// Divides each magnitude by its recent maximum, which follows it unless `frozen`, and takes the logarithm.
    fn whiten(magnitude: &mut [f32], recent: &mut [f32], floor: f32, decay: f32, frozen: bool) {
        for (m, w) in magnitude.iter_mut().zip(recent.iter_mut()) {
            let height = m.max(floor).max(*w * decay);
            *w = if frozen { *w } else { height };
            *m = log2(1.0 + 10.0 * *m / height);
        }
    }
}

wide! {
    /// Sum of what each bin lies above the highest of its neighbourhood in the frame before.
    fn rise_over(now: &[f32], before: &[f32]) -> f32 {
        let n = now.len().min(before.len());
        let (Some(now), Some(before)) = (now.get(1..n.saturating_sub(1)), before.get(..n)) else { return 0.0 };
        let rise = |x: f32, a: f32, b: f32, c: f32| (x - a.max(b).max(c)).max(0.0);
        let mut sums = [0.0f32; LANES];
        let (now8, rest) = now.as_chunks::<LANES>();
        let neighbours = before.as_chunks::<LANES>().0.iter().zip(before[1..].as_chunks::<LANES>().0);
        for ((x, (a, b)), c) in now8.iter().zip(neighbours).zip(before[2..].as_chunks::<LANES>().0) {
            for k in 0..LANES {
                sums[k] += rise(x[k], a[k], b[k], c[k]);
            }
        }
        let done = LANES * now8.len();
        let last = rest.iter().zip(before[done..].windows(3)).map(|(x, w)| rise(*x, w[0], w[1], w[2]));
        sums.iter().sum::<f32>() + last.sum::<f32>()
    }
}

/// Median of the past flux, and the threshold above it.
fn threshold(flux: &[f32]) -> (f32, f32) {
    let mut past = [0.0f32; FLUX_PAST];
    for (p, f) in past.iter_mut().zip(flux) {
        *p = *f;
    }
    past.sort_unstable_by(f32::total_cmp);
    let median = 0.5 * (past[FLUX_PAST / 2 - 1] + past[FLUX_PAST / 2]);
    let mean = past[..FLUX_PAST - FLUX_TRIMMED].iter().sum::<f32>() / (FLUX_PAST - FLUX_TRIMMED) as f32;
    (median, median + mean + FLUX_OFFSET)
}

/// Where the highest value is, and the value; 0 for none.
fn top(values: &[f32]) -> (usize, f32) {
    values.iter().enumerate().fold((0, 0.0), |best, (i, &v)| if v > best.1 { (i, v) } else { best })
}

/// Binary logarithm of a positive normal number to about 0.005: exponent, and a quadratic through the mantissa.
/// Inlines into vector code, which the library's does not.
#[inline(always)]
fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    exponent as f32 + ((-0.344_848_4 * m + 2.024_665_8) * m - 1.674_877_8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::testsig::{Pluck, Signal};

    fn onsets_of(signal: &[f32]) -> Vec<Onset> {
        let mut detector = OnsetDetector::new();
        signal
            .chunks_exact(HOP)
            .filter_map(|c| detector.push(c.try_into().expect("a hop"), false, None))
            .collect()
    }

    #[test]
    fn the_fast_logarithm_is_near_the_true_one() {
        for i in 1..2000 {
            let x = 1e-9 * 1.03f32.powi(i);
            if x.is_finite() {
                assert!((log2(x) - x.log2()).abs() < 0.011, "{x}: {} {}", log2(x), x.log2());
            }
        }
    }

    #[test]
    fn a_pluck_is_timed_to_a_millisecond() {
        for (start, hz) in [(20_011usize, 82.4), (20_100, 196.0), (20_333, 659.0)] {
            let mut s = Signal::silence(1.2);
            s.pluck(&Pluck::new(start as f64 / f64::from(ANALYSIS_RATE), hz, 0.6));
            s.noise(1e-4, 1);
            // The noise that sets in with the first sample is an onset too.
            let found: Vec<_> = onsets_of(&s.samples).into_iter().filter(|o| o.at > 100).collect();
            assert_eq!(found.len(), 1, "{hz}: {found:?}");
            let error = found[0].at as i64 - start as i64;
            assert!(error.abs() < 80, "{hz} Hz: {error} samples");
        }
    }

    #[test]
    fn steady_noise_and_silence_have_few_onsets_and_a_constant_none() {
        assert!(onsets_of(&[0.0; 48_000]).is_empty());
        assert!(onsets_of(&[0.5; 48_000]).len() <= 1);
        let mut s = Signal::silence(4.0);
        s.noise(0.02, 7);
        let found = onsets_of(&s.samples);
        assert!(found.len() <= 8, "{}", found.len());
    }
}
