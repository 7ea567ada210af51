//! Our own detector: a normalised square difference (McLeod and Wyvill 2005) chooses the period, the energies of the
//! partials its octave, and a stiff-string fit says to the tenth of a cent what the first partial is.
//!
//! Right after an onset only samples of the new note are used, and all of them.
use super::filter::{LOW_LEN, LowHistory};
use super::fit::{self, Folded, LENGTHS, Law, MIN_PERIODS, Partials, TOP_HZ};
use super::nsdf::{LAGS, MIN_LAG, Nsdf, Peak};
use super::pitch::{Estimate, PitchDetector};
use super::{DECIMATION, HOP, LOW_HOP, LOW_RATE, cents_between};

/// Windows in blocks, longest first.
const WINDOWS: [usize; 6] = [10, 6, 4, 3, 2, 1];
/// Clarity that the longest must reach.
const LEAST: f32 = 0.65;
/// A longer window and its clarity, for sound that is less clear than this in the others: in noise.
const LONG: usize = 16;
const LONG_LEAST: f32 = 0.5;
const LONG_BELOW: f32 = 0.8;
/// McLeod's k: the first peak at least this high, relative to the highest.
const PEAK_SHARE: f32 = 0.9;
/// A sound is young until the longest window and the longest lag lie within it, decimated samples (72 ms).
const YOUNG: usize = WINDOWS[0] * LOW_HOP + LAGS;
/// k while the sound is young: the thump of body and pick lifts the multiples of a period (with 0.9, twice as many
/// wrong frames in the attack) …
const YOUNG_SHARE: f32 = 0.8;
/// … a period is thought of from this many of it on (ideal strings need 1.7 to 2) …
const REACH: f32 = 1.7;
/// … and of several windows the clearest is taken, after this much off for each period that the window falls short of
/// many.
const BREVITY: f32 = 0.1;
/// Chance that a period is within 50 cents of the truth, as the logarithm of the odds: a constant, and what each of the
/// distance of the clarity from 1 (in e-folds), having been heard in the hop before as well (within so many cents), and
/// the share of the windows that say the same add to it. A logistic regression over the 5900 young hops in which a
/// period was seen: 277 recorded notes, some with 20 and 10 dB of noise or by phone, and the pauses between them …
const YOUNG_CHANCE: [f32; 4] = [-6.16, 2.53, 1.19, 2.75];
const AGAIN_CENTS: f32 = 50.0;
/// … and over all later ones, with the octave already decided.
const OLD: [f32; 4] = [0.8, 2.0, 0.0, 0.0];
/// A period less likely than this is not claimed.
const LIKELY: f32 = 0.5;
/// Nor one in the first moment, decimated samples (5 ms): in the pick's noise and the string's tension as many are
/// wrong as right then.
const MOMENT: usize = 64;
/// Samples right after an onset that are not used: the decimation filter still mixes them with what was before.
const SLACK: usize = 16;
/// A hop with more than this many times the energy of each of so many before is the start of a sound, whether or not an
/// onset was found yet.
const SWELL: f64 = 8.0;
const SWELL_HOPS: usize = 4;
/// Mean square below which nothing is voiced (-72 dBFS: lower than the softest note that may count).
const SILENCE: f64 = 6e-8;
/// Up an octave when the odd partials hold less than this of the even ones' energy.
const EVEN_ONLY: f32 = 0.002;
/// In an unclear attack other strings still rattle: below this clarity the odd partials may hold this much more, if the
/// lowest one is all but missing and half the lag correlates nearly as well.
const UNCLEAR: f32 = 0.9;
const EVEN_MOSTLY: f32 = 0.3;
const HALF_LAG_SHARE: f32 = 0.55;
const LOWEST_MISSING: f32 = 0.006;
/// Down an octave when the half-odd multiples hold more than this of all energy …
const HALF_ODD: f32 = 0.015;
/// … or this, where that octave was heard just before …
const HALF_ODD_AGAIN: f32 = 0.003;
/// … and their lines stand out of what lies beside them by this factor, in a window of this many periods.
const CLEAR_LINE: f32 = 5.0;
const HALF_PERIODS: f32 = 6.0;
/// The partial fit may move the pitch by this much, cents.
const FIT_CENTS: f32 = 40.0;
/// So many decimated samples after an onset, and while the period stands still to within so many cents, an estimate holds
/// for so many hops more: a pitch that moves is followed 11 ms later at the most, and the work is a third.
const STEADY: usize = 1024;
const STEADY_CENTS: f32 = 3.0;
const HOLD_HOPS: u8 = 2;
/// Windows of the fit, decimated samples: 85 ms while the pitch stands still (instead of 43: 0.41 instead of 0.58 cents on
/// recorded notes, 0.75 instead of 0.96 in 20 dB of noise), 43 ms while it moves.
const STEADY_WINDOW: f32 = 1024.0;
const MOVING_WINDOW: f32 = 512.0;
/// An octave decision holds for this many estimates of unmoved pitch before it is made anew.
const RECHECK: u32 = 8;

/// Pitches that are remembered since the onset, and what is left of their weight after an estimate: 0.17 s of hearing
/// one octave is overruled by as much of another (at 10 dB of noise 0.8 instead of 3.1 % octave errors).
const VOTES: usize = 4;
const VOTES_LAST: f32 = 0.97;
/// Within this a pitch is the same, cents; and the leaps no unstruck string makes.
const SAME_CENTS: f32 = 60.0;
const OCTAVES: [f32; 6] = [2.0, 0.5, 3.0, 1.0 / 3.0, 4.0, 0.25];

/// See the module.
pub(crate) struct Blockwise {
    nsdf: Nsdf,
    partials: Partials,
    sound: Folded,
    /// Last octave decision: the period's frequency, the factor, its age in estimates.
    octave: Option<(f32, f32, u32)>,
    /// Last pitch since the last onset, Hz, and the samples it could rest on.
    latest: Option<f32>,
    fresh: u64,
    /// Decimated samples since the sound last swelled.
    swelled: usize,
    /// Pitches heard since the last onset.
    votes: Votes,
    /// Clearest period of the hop before in an attack, Hz, whether or not it was believed.
    hunch: Option<f32>,
    /// What is known of the string since the last onset.
    law: Law,
    /// The estimate of the hop before.
    last: Option<Last>,
}

/// A period of the newest samples.
#[derive(Clone, Copy)]
struct Period {
    peak: Peak,
    /// Length of the window it was found in.
    blocks: usize,
    /// That it is right, 0..1.
    chance: f32,
}

/// The chance that a period of this clarity is right: see [`YOUNG_CHANCE`].
fn chance(odds: &[f32; 4], clarity: f32, again: f32, consent: f32) -> f32 {
    let clear = -(1.001 - clarity.clamp(0.0, 1.0)).ln();
    let log_odds = odds[0] + odds[1] * clear + odds[2] * again + odds[3] * consent;
    1.0 / (1.0 + (-log_odds).exp())
}

/// An estimate and the frequency of the period it came from.
#[derive(Clone, Copy)]
struct Last {
    rough: f32,
    estimate: Estimate,
    /// So many hops more it holds, since it is so much like the one before.
    holds: u8,
}

/// What was heard since the last onset, with how much weight: strings do not leap by octaves unstruck, so where the
/// newest period says so, the octave for which more was heard is right.
#[derive(Clone, Copy, Default)]
struct Votes([(f32, f32); VOTES]);

impl Votes {
    /// The pitch heard now in the octave that has the most weight.
    fn settle(&mut self, hz: f32, weight: f32) -> f32 {
        let mut own = 0;
        for (i, v) in self.0.iter_mut().enumerate() {
            v.1 *= VOTES_LAST;
            if v.0 > 0.0 && cents_between(hz, v.0).abs() < SAME_CENTS {
                own = i;
            }
        }
        if self.0[own].0 <= 0.0 || cents_between(hz, self.0[own].0).abs() >= SAME_CENTS {
            own = (0..VOTES).min_by(|&a, &b| self.0[a].1.total_cmp(&self.0[b].1)).unwrap_or(0);
            self.0[own].1 = 0.0;
        }
        self.0[own] = (hz, self.0[own].1 + weight);
        let mut best = (1.0, self.0[own].1);
        for v in self.0.iter().filter(|v| v.0 > 0.0) {
            for ratio in OCTAVES {
                if v.1 > best.1 && cents_between(hz * ratio, v.0).abs() < SAME_CENTS {
                    best = (ratio, v.1);
                }
            }
        }
        hz * best.0
    }
}

impl Blockwise {
    pub(crate) fn new() -> Self {
        Self {
            nsdf: Nsdf::new(),
            partials: Partials::new(),
            sound: Folded::new(),
            octave: None,
            latest: None,
            fresh: 0,
            swelled: LOW_LEN,
            votes: Votes::default(),
            hunch: None,
            law: Law::UNKNOWN,
            last: None,
        }
    }

    /// The clearest period of the sound that began `since` samples ago.
    fn period(&mut self, since: usize) -> Option<Period> {
        let before = self.hunch.take();
        if since < YOUNG {
            return self.young_period(since, before);
        }
        let mut found = self.period_in(WINDOWS[0], LAGS, PEAK_SHARE).filter(|p| p.peak.height >= LEAST);
        if found.is_none_or(|f| f.peak.height < LONG_BELOW) && since >= LONG * LOW_HOP + LAGS {
            found = self.period_in(LONG, LAGS, PEAK_SHARE).filter(|p| p.peak.height >= LONG_LEAST);
        }
        let found = found?;
        let hz = LOW_RATE / found.peak.lag;
        self.hunch = Some(hz);
        // Where a new sound sets in under an old one, an unclear period is neither's: it must have been heard before.
        let near = |b: f32| cents_between(hz, b).abs() < AGAIN_CENTS;
        (found.peak.height >= LONG_BELOW || before.is_some_and(near) || self.latest.is_some_and(near))
            .then(|| Period { chance: chance(&OLD, found.peak.height, 0.0, 0.0), ..found })
    }

    fn period_in(&mut self, blocks: usize, lags: usize, share: f32) -> Option<Period> {
        self.nsdf.fill(blocks, lags);
        self.nsdf.pick(share).map(|peak| Period { peak, blocks, chance: 0.0 })
    }

    /// While the attack is within reach of the longest window, each window is tried: the long ones hold more periods,
    /// the short ones less of the pick. The clearest counts if it is likely to be right: see [`YOUNG_CHANCE`]. `before`:
    /// what the hop before would have said, Hz.
    fn young_period(&mut self, since: usize, before: Option<f32>) -> Option<Period> {
        let lags = ((since as f32 / REACH) as usize).min(LAGS);
        let mut heard = [None; WINDOWS.len()];
        let mut best: Option<(f32, Period)> = None;
        let mut count = 0;
        for &blocks in WINDOWS.iter().filter(|&&w| w <= since.div_ceil(LOW_HOP)) {
            let Some(period) = self.period_in(blocks, lags, YOUNG_SHARE) else { continue };
            heard[count] = Some(period.peak.lag);
            count += 1;
            let products = ((blocks * LOW_HOP) as f32).min(since as f32 - period.peak.lag);
            let score = period.peak.height - BREVITY * period.peak.lag / products;
            if best.is_none_or(|b| score > b.0) {
                best = Some((score, period));
            }
        }
        let (_, best) = best?;
        let lag = best.peak.lag;
        let same = |other: f32| cents_between(other, lag).abs() < AGAIN_CENTS;
        let consent = heard.iter().flatten().filter(|&&l| same(l)).count() as f32 / count as f32;
        let again = if before.is_some_and(|b| same(LOW_RATE / b)) { 1.0 } else { 0.0 };
        self.hunch = Some(LOW_RATE / lag);
        let chance = chance(&YOUNG_CHANCE, best.peak.height, again, consent);
        (chance >= LIKELY && since >= MOMENT).then_some(Period { chance, ..best })
    }

    /// Factor on the frequency of the period: 2 or 3 when only those partials are there, 1/2 when there are
    /// partials halfway between.
    fn octave_factor(&mut self, x: &[f32], f: f32, clarity: f32, available: usize) -> f32 {
        let Some(w) = Partials::choose(f, MIN_PERIODS, available) else { return 1.0 };
        self.partials.fold(x, w, &mut self.sound);
        let places = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(|k| k * f);
        let found = self.sound.measure(places);
        let mut e = [0.0f32; 7];
        for (e, (partial, hz)) in e[1..].iter_mut().zip(found.iter().zip(places)) {
            *e = if hz < TOP_HZ { partial.energy } else { 0.0 };
        }
        let (odd, even) = (e[1] + e[3] + e[5], e[2] + e[4] + e[6]);
        let half_lag = self.nsdf.near(2.0 * f);
        let unclear =
            clarity < UNCLEAR && e[1] < LOWEST_MISSING * even && half_lag > HALF_LAG_SHARE * clarity;
        let share = if unclear { EVEN_MOSTLY } else { EVEN_ONLY };
        if odd < share * even && 2.0 * f < LOW_RATE / MIN_LAG as f32 {
            return 2.0;
        }
        if e[1] + e[2] + e[4] + e[5] < EVEN_ONLY * e[3] && 3.0 * f < LOW_RATE / MIN_LAG as f32 {
            return 3.0;
        }
        if f > 110.0 && self.has_half_odd(x, f, odd + even, available) {
            return 0.5;
        }
        1.0
    }

    /// Whether there are partials halfway between the multiples of `f`, beside `energy` at these: lines in their place,
    /// well above the noise around them.
    fn has_half_odd(&mut self, x: &[f32], f: f32, energy: f32, available: usize) -> bool {
        let periods = |w: usize| LENGTHS[w] as f32 * f / LOW_RATE;
        // The longest, for the sake of noise.
        let Some(w) = LENGTHS.iter().rposition(|&n| n <= available).filter(|&w| periods(w) >= HALF_PERIODS)
        else {
            return false;
        };
        let lower = self.latest.is_some_and(|l| cents_between(l, 0.5 * f).abs() < SAME_CENTS);
        let share = if lower { HALF_ODD_AGAIN } else { HALF_ODD };
        self.partials.fold(x, w, &mut self.sound);
        let (mut half, mut between, mut placed) = (0.0, 0.0, 0);
        for k in [0.5f32, 1.5, 2.5, 3.5] {
            let [p, below, above] = self.sound.measure([k * f, (k - 0.25) * f, (k + 0.25) * f]);
            if k * f < TOP_HZ
                && p.energy > 0.1 * share * energy
                && cents_between(p.hz, k * f).abs() < FIT_CENTS
            {
                let beside = 0.5 * (below.energy + above.energy);
                half += p.energy;
                between += beside;
                placed += u32::from(p.energy > CLEAR_LINE * beside);
            }
        }
        placed >= 2 && half > share * energy && half > CLEAR_LINE * between
    }
}

impl PitchDetector for Blockwise {
    fn push(&mut self, _: &[f32; HOP], low: &LowHistory) {
        self.nsdf.push(low);
        let now = self.nsdf.energy(0, LOW_HOP);
        let before = (1..=SWELL_HOPS).map(|h| self.nsdf.energy(h * LOW_HOP, LOW_HOP)).fold(0.0, f64::max);
        let swells = now > SWELL * before && now > SILENCE * LOW_HOP as f64;
        self.swelled = if swells { LOW_HOP } else { (self.swelled + LOW_HOP).min(LOW_LEN) };
    }

    fn estimate(&mut self, low: &LowHistory, fresh: u64) -> Option<Estimate> {
        let x = low.all();
        if fresh < self.fresh {
            self.latest = None;
            self.last = None;
            self.law = Law::UNKNOWN;
            self.votes = Votes::default();
        }
        self.fresh = fresh;
        let since =
            ((fresh / DECIMATION as u64) as usize).min(LOW_LEN).saturating_sub(SLACK).min(self.swelled);
        self.nsdf.began(low, since);
        if self.nsdf.energy(0, 4 * LOW_HOP) < SILENCE * (4 * LOW_HOP) as f64 {
            self.octave = None;
            self.last = None;
            self.hunch = None;
            return None;
        }
        let last = self.last.take();
        if let Some(last) = last.filter(|l| l.holds > 0 && since >= STEADY) {
            self.last = Some(Last { holds: last.holds - 1, ..last });
            return Some(last.estimate);
        }
        let Some(Period { peak: Peak { lag, height: clarity }, blocks: window, chance }) = self.period(since)
        else {
            self.octave = None;
            return None;
        };
        let period = LOW_RATE / lag;
        let factor = match self.octave {
            Some((f, factor, age)) if age < RECHECK && cents_between(period, f).abs() < SAME_CENTS => {
                self.octave = Some((period, factor, age + 1));
                factor
            }
            _ => {
                let factor = self.octave_factor(x, period, clarity, since);
                // A short stretch proves little: ask again soon.
                let age = if since < 768 { RECHECK - 1 } else { 0 };
                self.octave = Some((period, factor, age));
                factor
            }
        };
        // A period seen but a few times, or in the attack, weighs little.
        let products = ((window * LOW_HOP) as f32).min(since as f32 - lag);
        let age = (since as f32 / YOUNG as f32).min(1.0);
        let rough =
            self.votes.settle(period * factor, clarity * (0.25 * products / lag).min(1.0) * age.powi(4));
        let mut seconds = (window * LOW_HOP + lag as usize) as f32 / LOW_RATE;
        let mut f0 = rough;
        let mut settled = since as f32 * rough >= 4.0 * LOW_RATE;
        let unmoved = last.is_some_and(|l| cents_between(rough, l.rough).abs() < STEADY_CENTS);
        // For the sake of noise as much as the pitch allows; 5 periods for the sake of the neighbours.
        let samples = if unmoved && since >= STEADY { STEADY_WINDOW } else { MOVING_WINDOW };
        let periods = (samples * rough / LOW_RATE).max(5.0);
        // A period reads sharp of the first partial: by about as much as it did before.
        let place = last.map_or(rough, |l| rough * (l.estimate.f0 / l.rough));
        let place = if cents_between(place, rough).abs() < FIT_CENTS { place } else { rough };
        if let Some(w) = Partials::choose(rough, periods, since) {
            self.partials.fold(x, w, &mut self.sound);
            if let Some(fit) = fit::fit(&self.sound, place, &self.law)
                && cents_between(fit.f1, rough).abs() < FIT_CENTS
            {
                f0 = fit.f1;
                seconds = seconds.max(LENGTHS[w] as f32 / LOW_RATE);
                self.law = fit.law;
            } else {
                settled = false;
            }
        } else {
            settled = false;
        }
        self.latest = Some(f0);
        let inharmonicity = settled.then(|| self.law.known()).flatten();
        let estimate = Estimate { f0, clarity, confidence: chance, window: seconds, settled, inharmonicity };
        self.last = Some(Last { rough, estimate, holds: if settled && unmoved { HOLD_HOPS } else { 0 } });
        Some(estimate)
    }

    fn reset(&mut self) {
        self.nsdf.reset();
        self.octave = None;
        self.latest = None;
        self.last = None;
        self.hunch = None;
        self.votes = Votes::default();
        self.swelled = LOW_LEN;
        self.law = Law::UNKNOWN;
    }
}
