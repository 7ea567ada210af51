//! The metronome's click in the microphone: found, followed, learnt, and taken out, so that the notes that fall on it
//! are heard alone.
//!
//! The click is a chirp above what a string sustains, each with a known sign and level, so that a train of clicks is like
//! no shifted copy of itself, and a guitar that plays along cannot be taken for it:
//! 1. `find`: a matched filter over the input; clicks whose peaks agree in delay and sign give the delay.
//! 2. `follow`: after each click, the time and level that fit it best (least squares against what was learnt) move a
//!    two-state Kalman filter (delay and drift of the two sound cards' clocks).
//! 3. `learn`: the click *as received* (loudspeaker, room, microphone) is the mean of the aligned clicks, each
//!    weighted by how little else sounded (block by block), so that the guitar does not get into it.
//! 4. The learnt click is subtracted at the predicted time, before the analyser: no sample is delayed.
//!
//! Pure; after construction no allocation, lock or panic for any input.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod find;
mod follow;
mod learn;
#[cfg(test)]
mod tests;

use std::f64::consts::PI;

use super::ANALYSIS_RATE;
use super::filter::sanitize;
use find::Finder;
use follow::Course;
use learn::Template;

/// Length of the click, seconds.
pub const CLICK_SECONDS: f64 = 0.005;
/// The same in samples of the analysis.
pub const CLICK: usize = 240;
/// Where the chirp begins and ends, Hz: a bright tick that small loudspeakers can play. A guitar's sustained partials lie
/// below, and so does what the pitch detector listens to.
const SWEEP: (f64, f64) = (6_500.0, 2_200.0);
/// The input is looked at for clicks above this, Hz.
const BAND_FROM: f64 = 1_300.0;
/// Taps of the high-pass that does it; its delay is half of that.
const TAPS: usize = 127;
const HALF: usize = TAPS / 2;
/// Input remembered, samples (5.5 s): clicks that were heard before the delay was known are learnt from afterwards.
const MEMORY: usize = 1 << 18;
/// Strikes remembered: 5.5 s of sixteenths at 180 bpm.
const STRIKES: usize = 64;
/// Samples handled at a time.
const CHUNK: usize = 256;
/// Taps of the interpolation between samples: exact to -60 dB at the chirp's frequencies.
const KERNEL: usize = 16;
/// Delays that are looked for, samples: up to 0.7 s, as of wireless loudspeakers; a little below zero, since the two
/// clocks are only roughly known.
pub const DELAYS: (f64, f64) = (-2_400.0, 33_600.0);
/// Blocks of the received click that are learnt per chunk, so that no hop is much longer than another.
const BLOCKS_A_CHUNK: usize = 4;

/// The click at time `t` (seconds from its start), peak 1: a falling chirp in a window that rises fast.
#[must_use]
pub fn shape(t: f64) -> f64 {
    let x = t / CLICK_SECONDS;
    if !(0.0..=1.0).contains(&x) {
        return 0.0;
    }
    let window = (PI * x.powf(0.6)).sin().powi(2);
    let phase = 2.0 * PI * t * (SWEEP.0 + (SWEEP.1 - SWEEP.0) * x / 2.0);
    window * phase.sin()
}

/// The sign of click number `n` of a train: an m-sequence of length 31 (x⁵+x²+1), which is unlike every shifted copy of
/// itself. Nobody hears the sign of a click.
#[must_use]
pub fn sign(n: u64) -> f32 {
    const SEQUENCE: [u8; 31] =
        [1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0];
    if SEQUENCE[(n % 31) as usize] == 1 { 1.0 } else { -1.0 }
}

/// A click that is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strike {
    /// Where it would be captured if the way took no time: samples on the capture clock, as told by the output's own
    /// count of frames (so free of jitter, though off by an unknown constant).
    pub at: f64,
    /// Level with sign, as handed to the output; 1 is full scale.
    pub level: f32,
}

#[derive(Clone, Copy, Default)]
struct Expected {
    strike: Strike,
    /// Position at which it is taken out, fixed when that begins.
    arrival: Option<f64>,
}

/// What is known of the way from the output to the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lock {
    /// Position on [`Strike::at`]'s scale for which `delay` holds, samples.
    pub at: f64,
    /// Delay there, samples.
    pub delay: f64,
    /// Change of the delay per sample: the difference of the two clocks.
    pub drift: f64,
    /// Standard error of the delay, samples.
    pub error: f64,
    /// Clicks that were learnt from.
    pub clicks: u32,
}

/// Takes the metronome's clicks out of the input. See the module.
pub struct Canceller {
    position: u64,
    active: bool,
    /// Nothing before this position is learnt from: something else was in the input.
    deaf_until: u64,
    /// Position of the first sample since the start or since the way was lost: nothing is remembered of before.
    from: u64,
    taps: [f32; TAPS],
    line: [f32; TAPS - 1 + CHUNK],
    /// High-passed input by position, [`HALF`] behind.
    band: Box<[f32]>,
    strikes: [Expected; STRIKES],
    /// Strikes ever expected; the last [`STRIKES`] are kept.
    count: u64,
    /// Strike that is learnt from next, and the block of it.
    next: u64,
    block: usize,
    /// Its time and level have been fitted.
    fitted: bool,
    finder: Finder,
    seeking: bool,
    course: Option<Course>,
    template: Template,
}

impl Default for Canceller {
    fn default() -> Self {
        Self::new()
    }
}

impl Canceller {
    /// Makes all buffers. The only place that allocates.
    #[must_use]
    pub fn new() -> Self {
        Self {
            position: 0,
            active: false,
            deaf_until: 0,
            from: 0,
            taps: high_pass(),
            line: [0.0; TAPS - 1 + CHUNK],
            band: vec![0.0; MEMORY].into_boxed_slice(),
            strikes: [Expected::default(); STRIKES],
            count: 0,
            next: 0,
            block: 0,
            fitted: false,
            finder: Finder::new(),
            seeking: false,
            course: None,
            template: Template::new(),
        }
    }

    /// A new train of clicks: its delay is not known. What was learnt of the sound is forgotten too.
    pub fn restart(&mut self) {
        self.active = false;
        self.lose();
        self.count = 0;
        self.next = 0;
    }

    /// The click is expected at [`Strike::at`] plus the delay that is to be found. In order, and before it arrives.
    pub fn expect(&mut self, strike: Strike) {
        if !strike.at.is_finite() || !strike.level.is_finite() || strike.level == 0.0 {
            return;
        }
        if !self.active {
            self.active = true;
            self.from = self.position;
            self.line = [0.0; TAPS - 1 + CHUNK];
            self.finder.forget(self.position);
        }
        let slot = (self.count % STRIKES as u64) as usize;
        self.strikes[slot] = Expected { strike, arrival: None };
        self.count += 1;
        if self.count - self.next > STRIKES as u64 {
            self.next = self.count - STRIKES as u64;
            self.restart_learning();
        }
    }

    /// Takes the next samples of the input and takes the clicks out of them. `alone` is false while something else of ours
    /// (the coach's voice) may be in it: nothing is learnt then.
    pub fn process(&mut self, samples: &mut [f32], alone: bool) {
        if !self.active {
            self.position = self.position.saturating_add(samples.len() as u64);
            return;
        }
        for chunk in samples.chunks_mut(CHUNK) {
            if !alone {
                self.deaf_until = self.position.saturating_add(chunk.len() as u64);
            }
            self.remember(chunk);
            let doubt = self.course.as_ref().is_none_or(Course::is_in_doubt);
            if doubt {
                if !std::mem::replace(&mut self.seeking, true) {
                    self.finder.forget(self.remembered());
                }
                self.seek();
            }
            self.seeking = doubt;
            self.subtract(chunk);
            self.position = self.position.saturating_add(chunk.len() as u64);
            self.study();
        }
    }

    /// True from the first click that was expected until [`Canceller::restart`].
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Input of this length is missing. What came before it cannot be trusted to fit what comes after.
    pub fn skip(&mut self, samples: u64) {
        self.position = self.position.saturating_add(samples);
        self.lose();
        self.line = [0.0; TAPS - 1 + CHUNK];
        self.next = self.count;
    }

    /// What is known of the delay, once it is.
    #[must_use]
    pub fn lock(&self) -> Option<Lock> {
        let course = self.course.as_ref()?;
        let (at, delay, drift, error) = course.state();
        Some(Lock { at, delay: delay + self.template.shift(), drift, error, clicks: self.template.clicks() })
    }

    fn lose(&mut self) {
        self.course = None;
        self.seeking = true;
        // What was heard until now does not lie where the clicks will be found.
        self.from = self.position;
        self.template.clear();
        self.finder.forget(self.position);
        self.restart_learning();
    }

    fn restart_learning(&mut self) {
        self.block = 0;
        self.fitted = false;
    }

    fn kept(&self) -> impl Iterator<Item = u64> + use<> {
        self.count.saturating_sub(STRIKES as u64)..self.count
    }

    fn expected(&self, n: u64) -> &Expected {
        &self.strikes[(n % STRIKES as u64) as usize]
    }

    /// Puts the high-passed input into the memory.
    fn remember(&mut self, chunk: &[f32]) {
        let n = chunk.len().min(CHUNK);
        sanitize(chunk, &mut self.line[TAPS - 1..]);
        for i in 0..n {
            let mut sum = [0.0f32; 8];
            let under = &self.line[i..i + TAPS - 1];
            for (x, tap) in under.chunks_exact(8).zip(self.taps.chunks_exact(8)) {
                for k in 0..8 {
                    sum[k] += x[k] * tap[k];
                }
            }
            let rest: f32 = ((TAPS - 1) / 8 * 8..TAPS).map(|k| self.line[i + k] * self.taps[k]).sum();
            let y = sum.iter().sum::<f32>() + rest;
            let at = (self.position + i as u64).wrapping_sub(HALF as u64);
            self.band[at as usize & (MEMORY - 1)] = y;
        }
        self.line.copy_within(n..n + TAPS - 1, 0);
    }

    /// First position that is not remembered yet.
    fn remembered(&self) -> u64 {
        self.position.saturating_sub(HALF as u64)
    }

    /// Looks for the delay in what was just remembered.
    fn seek(&mut self) {
        // The chunk has been remembered but not counted: one chunk behind, so that all positions are whole.
        let to = self.remembered();
        let Some(found) = self.finder.seek(&self.band, to, &self.strikes, self.count) else { return };
        let course = Course::new(&found);
        self.restart_learning();
        if self.course.is_some() {
            // The way has changed its length (a sound server that stumbled): the sound is known already.
            self.course = Some(course);
            self.next = self.count;
            return;
        }
        self.template.begin(found.amplitude);
        // Learn from the clicks that led here.
        let oldest = self.position.saturating_sub((MEMORY - 4 * CHUNK) as u64).max(self.from);
        self.next = self
            .kept()
            .find(|&n| course.arrival(self.expected(n).strike.at) > oldest as f64 + learn::BEFORE as f64)
            .unwrap_or(self.count);
        self.course = Some(course);
    }

    fn subtract(&mut self, chunk: &mut [f32]) {
        let Some(course) = &self.course else { return };
        let (from, to) = (self.position as f64, (self.position + chunk.len() as u64) as f64);
        for n in self.kept() {
            let expected = &mut self.strikes[(n % STRIKES as u64) as usize];
            let arrival = expected.arrival.unwrap_or_else(|| course.arrival(expected.strike.at));
            let begin = arrival - (learn::BEFORE + KERNEL) as f64;
            let end = arrival + (learn::AFTER + KERNEL) as f64;
            if end <= from || begin >= to {
                continue;
            }
            // Clicks that were under way when the delay was found are left alone: half a click is a click. What comes
            // before its start is little; by a short way it is over before the click is told.
            if expected.arrival.is_none() {
                if arrival - (KERNEL as f64) < from {
                    continue;
                }
                expected.arrival = Some(arrival);
            }
            self.template.subtract(chunk, from - arrival, expected.strike.level);
        }
    }

    /// Learns from the clicks that have arrived whole, a few blocks at a time.
    fn study(&mut self) {
        let mut budget = BLOCKS_A_CHUNK;
        while budget > 0 && self.next < self.count {
            let Some(course) = &mut self.course else { return };
            let expected = self.strikes[(self.next % STRIKES as u64) as usize];
            let level = expected.strike.level;
            let arrival = course.arrival(expected.strike.at);
            let end = arrival + (learn::AFTER + KERNEL) as f64;
            if end + 1.0 >= self.position.saturating_sub(HALF as u64) as f64 {
                return;
            }
            let begin = arrival - (learn::BEFORE + KERNEL) as f64;
            let forgotten = self.position.saturating_sub((MEMORY - 2 * CHUNK) as u64).max(self.from) as f64;
            if begin < forgotten.max(self.deaf_until as f64) {
                self.next += 1;
                self.restart_learning();
                continue;
            }
            let mut others = [(0.0, 0.0); learn::OTHERS];
            let mut many = 0;
            for n in self.count.saturating_sub(STRIKES as u64)..self.count {
                let other = &self.strikes[(n % STRIKES as u64) as usize].strike;
                let apart = course.arrival(other.at) - arrival;
                if n != self.next && apart.abs() < learn::LENGTH as f64 && many < learn::OTHERS {
                    others[many] = (apart, other.level);
                    many += 1;
                }
            }
            let heard = learn::Heard { band: &self.band, at: arrival, level, others: &others[..many] };
            if !self.fitted {
                budget -= 1;
                self.fitted = true;
                let fit = self.template.fit(&heard);
                course.update(expected.strike.at, &fit);
                self.template.scale(&fit);
                if course.is_lost() || self.template.is_gone() {
                    self.lose();
                    self.next = self.count;
                    return;
                }
                // From here on the click is seen where the new course has it.
                continue;
            }
            while budget > 0 && self.block < learn::BLOCKS {
                self.template.learn(self.block, &heard);
                self.block += 1;
                budget -= 1;
            }
            if self.block == learn::BLOCKS {
                self.template.learnt();
                self.next += 1;
                self.restart_learning();
            }
        }
    }
}

/// Linear-phase high-pass at [`BAND_FROM`]: a Blackman-windowed sinc, taken from a unit impulse.
fn high_pass() -> [f32; TAPS] {
    let cut = BAND_FROM / f64::from(ANALYSIS_RATE);
    let mut low = [0.0f64; TAPS];
    for (i, tap) in low.iter_mut().enumerate() {
        let x = i as f64 - HALF as f64;
        let w = (i as f64 + 1.0) / (TAPS as f64 + 1.0);
        let window = 0.42 - 0.5 * (2.0 * PI * w).cos() + 0.08 * (4.0 * PI * w).cos();
        let sinc = if x == 0.0 { 2.0 * cut } else { (2.0 * PI * cut * x).sin() / (PI * x) };
        *tap = sinc * window;
    }
    let sum: f64 = low.iter().sum();
    let mut taps = [0.0; TAPS];
    for (i, (tap, low)) in taps.iter_mut().zip(low).enumerate() {
        *tap = (f64::from(u8::from(i == HALF)) - low / sum) as f32;
    }
    taps
}

/// Weights that read a signal `fraction` (0..1) of a sample after index `KERNEL / 2 - 1`: a sinc in a Hann window.
fn kernel(fraction: f64) -> [f32; KERNEL] {
    let mut weights = [0.0; KERNEL];
    let sine = (PI * fraction).sin() / PI;
    for (i, weight) in weights.iter_mut().enumerate() {
        let x = fraction + (KERNEL / 2 - 1) as f64 - i as f64;
        let sinc = if x.abs() < 1e-9 {
            1.0
        } else {
            // sin(π(f + m)) = (-1)^m sin(πf)
            let odd = (KERNEL / 2 - 1 + i) % 2 == 1;
            (if odd { -sine } else { sine }) / x
        };
        let window = (PI * x / KERNEL as f64).cos().powi(2);
        *weight = (sinc * window) as f32;
    }
    weights
}

/// The whole part and the fraction of a position.
fn split(x: f64) -> (i64, f64) {
    let whole = x.floor();
    (whole as i64, x - whole)
}
