//! Our own detector: a normalised square difference (McLeod and Wyvill 2005) chooses the period, the energies of the
//! partials its octave, and a stiff-string fit says to the tenth of a cent what the first partial is.
//!
//! Right after an onset only samples of the new note are used, and all of them.
use super::filter::{LOW_LEN, LowHistory};
use super::fit::{self, Folded, LENGTHS, Law, MIN_PERIODS, Partials, TOP_HZ};
use super::nsdf::{LAGS, MIN_LAG, Nsdf, Peak};
use super::pitch::{Estimate, PitchDetector};
use super::{DECIMATION, HOP, LOW_HOP, LOW_RATE, cents_between};

/// Windows in blocks with the clarity that each must reach, longest first. Short windows agree with themselves by
/// chance more often, so they must be clearer.
const WINDOWS: [(usize, f32); 6] = [(10, 0.65), (6, 0.65), (4, 0.70), (3, 0.75), (2, 0.80), (1, 0.9)];
/// McLeod's k: the first peak at least this high, relative to the highest.
const PEAK_SHARE: f32 = 0.9;
/// A sound is young until the longest window and the longest lag lie within it, decimated samples (72 ms).
const YOUNG: usize = WINDOWS[0].0 * LOW_HOP + LAGS;
/// k while the sound is young: the thump of body and pick lifts the multiples of a period (with 0.9, twice as many
/// wrong frames in the attack) …
const YOUNG_SHARE: f32 = 0.8;
/// … a period is believed from this many of it on (ideal strings need 1.7 to 2) …
const REACH: f32 = 1.7;
/// … of several windows the clearest is taken, after this much off for each period that the window falls short of
/// many …
const BREVITY: f32 = 0.1;
/// … and one within so many cents of the hop before need not be as clear by so much.
const AGAIN_CENTS: f32 = 50.0;
const AGAIN: f32 = 0.1;
/// A longer window and its clarity, for sound that is less clear than this in the others: in noise.
const LONG: (usize, f32) = (16, 0.5);
const LONG_BELOW: f32 = 0.8;
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
/// So many samples after an onset, and while the period stands still to within so many cents, an estimate holds for two
/// hops.
const STEADY: usize = 1024;
const STEADY_CENTS: f32 = 3.0;
/// An octave decision holds for this many hops of unmoved pitch before it is made anew.
const RECHECK_HOPS: u32 = 8;

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
    /// Last octave decision: the period's frequency, the factor, its age in hops.
    octave: Option<(f32, f32, u32)>,
    /// Last pitch since the last onset, Hz, and the samples it could rest on.
    latest: Option<f32>,
    fresh: u64,
    /// Decimated samples since the sound last swelled.
    swelled: usize,
    votes: Votes,
    /// Clearest period of the hop before in an attack, Hz, whether or not it was believed.
    hunch: Option<f32>,
    /// What is known of the string since the last onset.
    law: Law,
    /// The estimate before, if it was made in the hop before.
    last: Option<Last>,
}

/// An estimate and the frequency of the period it came from.
#[derive(Clone, Copy)]
struct Last {
    rough: f32,
    estimate: Estimate,
    /// It is so much like the one before that it holds for the next hop too.
    steady: bool,
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

    /// The clearest period of the sound that began `since` samples ago, and the blocks it was found in.
    fn period(&mut self, since: usize) -> Option<(Peak, usize)> {
        let young = since < YOUNG;
        let mut found =
            if young { self.young_period(since) } else { self.period_in(WINDOWS[0], LAGS, PEAK_SHARE) };
        if found.is_none_or(|f| f.0.height < LONG_BELOW) && since >= LONG.0 * LOW_HOP + LAGS {
            found = self.period_in(LONG, LAGS, PEAK_SHARE);
        }
        if !young {
            self.hunch = None;
        }
        found
    }

    fn period_in(&mut self, window: (usize, f32), lags: usize, share: f32) -> Option<(Peak, usize)> {
        self.nsdf.fill(window.0, lags);
        self.nsdf.pick(share).filter(|p| p.height >= window.1).map(|p| (p, window.0))
    }

    /// While the attack is within reach of the longest window, each window is tried: the long ones hold more periods,
    /// the short ones less of the pick. The clearest wins, and need not be so clear if the hop before said the same.
    fn young_period(&mut self, since: usize) -> Option<(Peak, usize)> {
        let lags = ((since as f32 / REACH) as usize).min(LAGS);
        let before = self.hunch.take();
        let (mut found, mut best, mut clearest) = (None, 0.0f32, 0.0f32);
        for &(blocks, clear) in WINDOWS.iter().filter(|w| w.0 <= since.div_ceil(LOW_HOP)) {
            let Some((peak, _)) = self.period_in((blocks, 0.0), lags, YOUNG_SHARE) else { continue };
            let products = ((blocks * LOW_HOP) as f32).min(since as f32 - peak.lag);
            let score = peak.height - BREVITY * peak.lag / products;
            let hz = LOW_RATE / peak.lag;
            if score > clearest {
                clearest = score;
                self.hunch = Some(hz);
            }
            let again = before.is_some_and(|b| cents_between(hz, b).abs() < AGAIN_CENTS);
            let least = if again { clear - AGAIN } else { clear };
            if peak.height >= least && score > best {
                best = score;
                found = Some((peak, blocks));
            }
        }
        found
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
        if let Some(last) = last.filter(|l| l.steady && since >= STEADY) {
            self.last = Some(Last { steady: false, ..last });
            return Some(last.estimate);
        }
        let Some((Peak { lag, height: clarity }, window)) = self.period(since) else {
            self.octave = None;
            return None;
        };
        let period = LOW_RATE / lag;
        let factor = match self.octave {
            Some((f, factor, age)) if age < RECHECK_HOPS && cents_between(period, f).abs() < SAME_CENTS => {
                self.octave = Some((period, factor, age + 1));
                factor
            }
            _ => {
                let factor = self.octave_factor(x, period, clarity, since);
                // A short stretch proves little: ask again soon.
                let age = if since < 768 { RECHECK_HOPS - 1 } else { 0 };
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
        // At least 43 ms where there is as much, for the sake of noise; 5 periods for the sake of the neighbours.
        let periods = (512.0 * rough / LOW_RATE).max(5.0);
        let unmoved = last.filter(|l| cents_between(rough, l.rough).abs() < STEADY_CENTS);
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
        let estimate = Estimate { f0, clarity, window: seconds, settled };
        self.last = Some(Last { rough, estimate, steady: settled && unmoved.is_some() });
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
