//! A plucked string as a digital waveguide.
//!
//! One loop of delay with, in this order, a chain of allpasses (stiffness), a one-pole low-pass (losses) and a
//! fractional delay, after Jaffe and Smith, "Extensions of the Karplus-Strong plucked-string algorithm", 1983, and
//! Van Duyne and Smith, "A simplified approach to modeling dispersion caused by stiffness", 1994. The phase of every
//! filter is computed at the first partial and taken out of the delay, so that the first partial is exact.

use std::f64::consts::{PI, TAU};

use super::random::Random;

/// Allpasses of the stiffness chain.
const STIFFNESS_STAGES: usize = 4;
/// Partial at which the stretching by stiffness is met exactly (besides the first).
const STIFFNESS_PARTIAL: f64 = 8.0;
/// Inharmonicity B of the open strings, low to high on a set of 10-46 with a plain G: inside the range that Järveläinen
/// et al. measured on guitars (1e-5 to 2e-4).
const INHARMONICITY: [f64; 6] = [1.2e-4, 8.0e-5, 5.0e-5, 9.0e-5, 5.0e-5, 3.0e-5];
/// Decay of the first partial of the low E, seconds to -60 dB, and how it falls with frequency.
const DECAY_SECONDS: f64 = 7.0;
const DECAY_REFERENCE_HZ: f64 = 82.4;
const DECAY_EXPONENT: f64 = 0.5;
/// Decay at [`BRIGHT_HZ`], seconds to -60 dB.
const BRIGHT_SECONDS: f64 = 0.4;
const BRIGHT_HZ: f64 = 2000.0;
/// Decay under the lifted finger, and under the pick that strikes the same string again.
const DAMPED_SECONDS: f64 = 0.09;
const STRUCK_SECONDS: f64 = 0.025;
/// A finger comes down softly: time constant with which damping sets in, seconds. A step would click.
const TOUCH_SECONDS: f64 = 0.004;
/// Place of the pick, share of the string, with its variation.
const PICK_PLACE: f64 = 0.17;
const PICK_VARIES: f64 = 0.03;
/// Length of the pick's release, seconds: rounds the corner of the string.
const PICK_SECONDS: f64 = 0.000_35;
/// Softening of the pluck: corner of a low-pass, Hz.
const PLUCK_HZ: f64 = 1000.0;
/// The wave that comes back from the bridge has lost its edge: corner of a low-pass, Hz. So the partials that a pick at
/// that place misses are weak, not absent.
const RETURN_HZ: f64 = 2000.0;
/// Scratch of the pick: share of the pluck's height, decay in seconds.
const SCRATCH: f64 = 0.02;
const SCRATCH_SECONDS: f64 = 0.003;
/// The scratch has died away after this, seconds.
const STROKE_SECONDS: f64 = 0.03;
/// Below this power a string is still (-110 dBFS).
const STILL: f64 = 1e-11;

/// What is plucked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pluck {
    /// Frequency of the first partial, Hz.
    pub(super) hz: f64,
    /// 0 for the lowest string.
    pub(super) string: usize,
    /// Fret: a shorter string is stiffer.
    pub(super) fret: u8,
    /// Height of the highest peak, full scale 1.
    pub(super) peak: f64,
}

/// One sounding string.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// Which string it is.
    pub(super) string: usize,
    delay: Vec<f64>,
    position: usize,
    stiffness: f64,
    stages: [f64; STIFFNESS_STAGES],
    loss_gain: f64,
    loss_pole: f64,
    loss_state: f64,
    fraction: f64,
    fraction_state: f64,
    /// Factor per round, moving towards its goal: 1 while the string sounds, less while it is damped.
    damping: f64,
    damping_goal: f64,
    touch: f64,
    hz: f64,
    sample_rate: f64,
    stroke: Stroke,
    /// Smoothed power of the output.
    power: f64,
}

/// The pick's stroke: what drives the string.
#[derive(Clone, Debug)]
struct Stroke {
    age: usize,
    length: usize,
    rounding: usize,
    height: f64,
    soft: f64,
    soft_state: f64,
    scratch: f64,
    scratch_decay: f64,
    last_noise: f64,
    random: Random,
    /// The wave that runs to the bridge first and comes back upside down.
    comb: Vec<f64>,
    comb_position: usize,
    dull: f64,
    dull_state: f64,
}

impl Voice {
    /// Plucks a string.
    pub(super) fn new(pluck: Pluck, sample_rate: f64, random: &mut Random) -> Self {
        let hz = pluck.hz.clamp(20.0, 0.2 * sample_rate);
        let omega = TAU * hz / sample_rate;
        let period = sample_rate / hz;

        let decay = DECAY_SECONDS * (hz / DECAY_REFERENCE_HZ).powf(-DECAY_EXPONENT);
        let per_round = |seconds: f64| 10f64.powf(-3.0 / (hz * seconds));
        let bright = (TAU * BRIGHT_HZ.max(2.0 * hz) / sample_rate).min(0.8 * PI);
        let loss_pole =
            loss_pole(omega, bright, per_round(BRIGHT_SECONDS.min(0.8 * decay)) / per_round(decay));
        let loss_gain = (per_round(decay) / one_pole_gain(loss_pole, omega)).min(0.999_999);

        let open = INHARMONICITY[pluck.string.min(INHARMONICITY.len() - 1)];
        let inharmonicity = open * (f64::from(pluck.fret) / 6.0).exp2();
        let stiffness = stiffness(inharmonicity, omega, period, loss_pole);

        let filters =
            STIFFNESS_STAGES as f64 * allpass_delay(stiffness, omega) + one_pole_delay(loss_pole, omega);
        // The fractional delay is flattest between half a sample and one and a half.
        let whole = (period - filters - 0.5).floor().max(1.0);
        let fraction = allpass_for(period - filters - whole, omega);

        let place = PICK_PLACE + random.between(-PICK_VARIES, PICK_VARIES);
        let stroke = Stroke {
            age: 0,
            length: (STROKE_SECONDS * sample_rate) as usize,
            rounding: (PICK_SECONDS * sample_rate).ceil() as usize,
            height: 1.0,
            soft: (-TAU * PLUCK_HZ / sample_rate).exp(),
            soft_state: 0.0,
            scratch: SCRATCH * random.between(0.6, 1.4),
            scratch_decay: (-1.0 / (SCRATCH_SECONDS * sample_rate)).exp(),
            last_noise: 0.0,
            random: random.fork(),
            comb: vec![0.0; ((place * period).round() as usize).max(1)],
            comb_position: 0,
            dull: (-TAU * RETURN_HZ / sample_rate).exp(),
            dull_state: 0.0,
        };
        let mut voice = Self {
            string: pluck.string,
            delay: vec![0.0; whole as usize],
            position: 0,
            stiffness,
            stages: [0.0; STIFFNESS_STAGES],
            loss_gain,
            loss_pole,
            loss_state: 0.0,
            fraction,
            fraction_state: 0.0,
            damping: 1.0,
            damping_goal: 1.0,
            touch: 1.0 - (-1.0 / (TOUCH_SECONDS * sample_rate)).exp(),
            hz,
            sample_rate,
            stroke,
            power: 1.0,
        };
        // Everything is linear in the height, so one trial round tells how high to pluck.
        let mut trial = voice.clone();
        let rounds = (1.5 * period + STROKE_SECONDS * 0.2 * sample_rate) as usize;
        let highest = (0..rounds).map(|_| trial.next().abs()).fold(1e-9, f64::max);
        voice.stroke.height = pluck.peak / highest;
        voice
    }

    /// The next sample.
    pub(super) fn next(&mut self) -> f64 {
        let mut wave = self.delay[self.position];
        for state in &mut self.stages {
            // Transposed first-order allpass (a + z⁻¹)/(1 + a z⁻¹).
            let out = self.stiffness * wave + *state;
            *state = wave - self.stiffness * out;
            wave = out;
        }
        self.loss_state = self.loss_gain * (1.0 - self.loss_pole) * wave + self.loss_pole * self.loss_state;
        let out = self.fraction * self.loss_state + self.fraction_state;
        self.fraction_state = self.loss_state - self.fraction * out;
        self.damping += self.touch * (self.damping_goal - self.damping);
        let sound = self.damping * out + self.stroke.next();
        self.delay[self.position] = sound;
        self.position += 1;
        if self.position == self.delay.len() {
            self.position = 0;
        }
        self.power += 0.001 * (sound * sound - self.power);
        sound
    }

    /// The finger lifts: the note dies within a tenth of a second.
    pub(super) fn damp(&mut self) {
        self.damping_goal = self.damping_goal.min(10f64.powf(-3.0 / (self.hz * DAMPED_SECONDS)));
    }

    /// The pick touches the string to strike it again.
    pub(super) fn strike_over(&mut self) {
        self.damping_goal = 10f64.powf(-3.0 / (self.hz * STRUCK_SECONDS));
    }

    /// True when a finger has stopped it.
    pub(super) fn is_damped(&self) -> bool {
        self.damping_goal < 1.0
    }

    /// True when nothing is heard of it any more.
    pub(super) fn is_still(&self) -> bool {
        self.power < STILL && self.stroke.age as f64 > 0.05 * self.sample_rate
    }
}

impl Stroke {
    fn next(&mut self) -> f64 {
        self.age += 1;
        let (mut push, mut scratch) = (0.0, 0.0);
        if self.age <= self.length {
            if self.age <= self.rounding {
                let x = self.age as f64 / (self.rounding + 1) as f64;
                push = 0.5 - 0.5 * (TAU * x).cos();
            }
            let noise = 2.0 * self.random.uniform() - 1.0;
            // Differentiated, as a scratch has no low notes.
            scratch = self.scratch * (noise - self.last_noise);
            self.last_noise = noise;
            self.scratch *= self.scratch_decay;
        }
        self.soft_state = (1.0 - self.soft) * push + self.soft * self.soft_state;
        let sent = self.height * (self.soft_state + scratch);
        let back = std::mem::replace(&mut self.comb[self.comb_position], sent);
        self.comb_position += 1;
        if self.comb_position == self.comb.len() {
            self.comb_position = 0;
        }
        // As much comes back as was sent, or a thump would stay on the string.
        self.dull_state = (1.0 - self.dull) * back + self.dull * self.dull_state;
        sent - self.dull_state
    }
}

/// Phase delay of (a + z⁻¹)/(1 + a z⁻¹) at `omega`, samples.
fn allpass_delay(a: f64, omega: f64) -> f64 {
    let (s, c) = omega.sin_cos();
    // arg of the numerator minus arg of the denominator.
    let phase = (-s).atan2(a + c) - (-a * s).atan2(1.0 + a * c);
    -phase / omega
}

/// Coefficient of the allpass whose phase delay at `omega` is `delay` samples.
fn allpass_for(delay: f64, omega: f64) -> f64 {
    (0.5 * (1.0 - delay) * omega).sin() / (0.5 * (1.0 + delay) * omega).sin()
}

/// Gain of (1 - p)/(1 - p z⁻¹) at `omega`.
fn one_pole_gain(p: f64, omega: f64) -> f64 {
    (1.0 - p) / (1.0 + p * p - 2.0 * p * omega.cos()).sqrt()
}

/// Its phase delay at `omega`, samples.
fn one_pole_delay(p: f64, omega: f64) -> f64 {
    (p * omega.sin()).atan2(1.0 - p * omega.cos()) / omega
}

/// Pole whose gain at `high`, relative to that at `low`, is `ratio` (below 1).
fn loss_pole(low: f64, high: f64, ratio: f64) -> f64 {
    bisect(0.0, 0.95, |p| ratio - one_pole_gain(p, high) / one_pole_gain(p, low))
}

/// Coefficient (-0.98..=0) of the stiffness chain for a string of inharmonicity `b`: f_k = k f_1 √((1+bk²)/(1+b)).
fn stiffness(b: f64, omega: f64, period: f64, loss_pole: f64) -> f64 {
    let partial = STIFFNESS_PARTIAL.min((0.7 * PI / omega).floor());
    if partial < 2.0 {
        return 0.0;
    }
    let stretch = ((1.0 + b * partial * partial) / (1.0 + b)).sqrt();
    let high = (omega * partial * stretch).min(0.95 * PI);
    let needed =
        period * (1.0 - 1.0 / stretch) - one_pole_delay(loss_pole, omega) + one_pole_delay(loss_pole, high);
    -bisect(0.0, 0.98, |a| {
        STIFFNESS_STAGES as f64 * (allpass_delay(-a, omega) - allpass_delay(-a, high)) - needed
    })
}

/// Root of a rising function, or the nearer end.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
