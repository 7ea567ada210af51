//! Our own detector: a normalised square difference (McLeod and Wyvill 2005) put together from blocks.
//!
//! Each hop adds one block of correlations c(τ) = Σ x[n] x[n-τ], straight in the time domain; the function over any
//! window of whole blocks is then a sum of blocks over sums of squares. No FFT, no drift, and every window length
//! from 11 to 53 ms for the price of one, so that right after an onset only samples of the new note are used.
use super::filter::{LOW_LEN, LowHistory};
use super::fit::{LENGTHS, MIN_PERIODS, Partials};
use super::pitch::{Estimate, PitchDetector};
use super::wide::wide;
use super::{DECIMATION, HOP, LOW_HOP, LOW_RATE, cents_between};

/// Lags: down to 53.6 Hz, below B1.
const LAGS: usize = 224;
/// Shortest lag of a note: 1500 Hz, above E6.
const MIN_LAG: usize = 8;
/// Blocks that are kept.
const BLOCKS: usize = 16;
/// Windows in blocks with the clarity that each must reach, longest first. Short windows agree with themselves by
/// chance more often, so they must be clearer.
const WINDOWS: [(usize, f32); 5] = [(10, 0.65), (6, 0.65), (4, 0.70), (3, 0.75), (2, 0.80)];
/// So many samples after an onset the shortest window is tried, though it leaves only short lags: a high note can be
/// heard then.
const SOONEST: usize = 176;
/// A longer window and its clarity, for sound that is less clear than this in the others: in noise.
const LONG: (usize, f32) = (16, 0.5);
const LONG_BELOW: f32 = 0.8;
/// McLeod's k: the first peak at least this high, relative to the highest.
const PEAK_SHARE: f32 = 0.9;
/// Lags computed together: as many as fit in registers.
const LANES: usize = 32;
/// Samples right after an onset that are not used: the decimation filter still mixes them with what was before.
const SLACK: usize = 24;
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
/// So many samples after an onset, and while the period stands still to within so many cents, a fit holds for two hops.
const STEADY: usize = 1024;
const STEADY_CENTS: f32 = 3.0;
/// An octave decision holds for this many hops of unmoved pitch before it is made anew.
const RECHECK_HOPS: u32 = 8;

/// See the module.
pub(crate) struct Blockwise {
    blocks: Vec<[f32; LAGS]>,
    head: usize,
    /// Sum of squares before each sample of the history.
    squares: Vec<f64>,
    nsdf: [f32; LAGS],
    partials: Partials,
    /// Last octave decision: the period's frequency, the factor, its age in hops.
    octave: Option<(f32, f32, u32)>,
    /// Last pitch since the last onset, Hz, and the samples it could rest on.
    latest: Option<f32>,
    fresh: u64,
    /// The fit of the hop before, if it was made then.
    fitted: Option<Fitted>,
}

/// What a fit made of the frequency of a period.
struct Fitted {
    rough: f32,
    f0: f32,
    seconds: f32,
}

wide! {
    /// Correlations of the newest block with the samples up to [`LAGS`] before it.
    fn correlate(x: &[f32; LOW_LEN], out: &mut [f32; LAGS]) {
        // Reversed, so that rising lags lie at rising addresses.
        let mut reversed = [0.0f32; LOW_HOP + LAGS];
        for (r, v) in reversed.iter_mut().zip(x.iter().rev()) {
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
    /// Normalised square difference at each lag from the correlations and the running sums of squares, of which the
    /// last is that of lag 0, before the window and at its end.
    fn normalise(correlation: &[f32; LAGS], before: &[f64], end: &[f64], out: &mut [f32; LAGS]) {
        let (Some(before), Some(end)) = (before.first_chunk::<LAGS>(), end.first_chunk::<LAGS>()) else { return };
        let own = end[LAGS - 1] - before[LAGS - 1];
        for tau in 0..LAGS {
            let energy = (own + (end[LAGS - 1 - tau] - before[LAGS - 1 - tau])) as f32;
            out[tau] = if energy > 0.0 { 2.0 * correlation[tau] / energy } else { 0.0 };
        }
    }
}

impl Blockwise {
    pub(crate) fn new() -> Self {
        Self {
            blocks: vec![[0.0; LAGS]; BLOCKS],
            head: 0,
            squares: vec![0.0; LOW_LEN + 1],
            nsdf: [0.0; LAGS],
            partials: Partials::new(),
            octave: None,
            latest: None,
            fresh: 0,
            fitted: None,
        }
    }

    /// The function over the newest `window` blocks for lags below `lags`.
    fn fill(&mut self, window: usize, lags: usize) {
        let mut sum = [0.0f32; LAGS];
        for b in 0..window.min(BLOCKS) {
            add(&mut sum, &self.blocks[(self.head + BLOCKS - 1 - b) % BLOCKS]);
        }
        let start = LOW_LEN - window * LOW_HOP;
        normalise(
            &sum,
            &self.squares[start + 1 - LAGS..=start],
            &self.squares[LOW_LEN + 1 - LAGS..],
            &mut self.nsdf,
        );
        self.nsdf[lags.min(LAGS)..].fill(0.0);
    }

    /// McLeod's choice among the peaks below `lags`: lag and height.
    fn pick(&self, lags: usize) -> Option<(f32, f32)> {
        let n = &self.nsdf[..lags.min(LAGS)];
        let mut tau = n.iter().position(|&v| v <= 0.0)?;
        let mut peaks = [(0.0f32, 0.0f32); 48];
        let (mut count, mut highest) = (0, 0.0f32);
        while tau < n.len() && count < peaks.len() {
            let Some(from) = n[tau..].iter().position(|&v| v > 0.0).map(|p| p + tau) else { break };
            let to = n[from..].iter().position(|&v| v <= 0.0).map_or(n.len(), |p| p + from);
            let mut best = from;
            for i in from..to {
                if n[i] > n[best] {
                    best = i;
                }
            }
            // A lobe that still rises at the last lag has its peak elsewhere.
            if best >= MIN_LAG && best + 1 < n.len() {
                // The height between the lags: of a high note, whole lags miss the top by more than McLeod's k allows.
                let (l, c, r) = (n[best - 1], n[best], n[best + 1]);
                let bend = l - 2.0 * c + r;
                let shift = if bend < 0.0 { (0.5 * (l - r) / bend).clamp(-0.5, 0.5) } else { 0.0 };
                peaks[count] = (best as f32 + shift, (c - 0.25 * (l - r) * shift).min(1.0));
                highest = highest.max(peaks[count].1);
                count += 1;
            }
            tau = to;
        }
        peaks[..count].iter().find(|p| p.1 >= PEAK_SHARE * highest).copied()
    }

    /// Factor on the frequency of the period: 2 or 3 when only those partials are there, 1/2 when there are
    /// partials halfway between.
    fn octave_factor(&self, x: &[f32], f: f32, clarity: f32, available: usize) -> f32 {
        let Some(w) = Partials::choose(f, MIN_PERIODS, available) else { return 1.0 };
        let mut e = [0.0f32; 7];
        for (k, e) in e.iter_mut().enumerate().skip(1) {
            let hz = k as f32 * f;
            if hz < 4600.0 {
                *e = self.partials.measure(x, w, hz).energy;
            }
        }
        let (odd, even) = (e[1] + e[3] + e[5], e[2] + e[4] + e[6]);
        let half_lag = self.nsdf[((0.5 * LOW_RATE / f).round() as usize).min(LAGS - 1)];
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
    fn has_half_odd(&self, x: &[f32], f: f32, energy: f32, available: usize) -> bool {
        let periods = |w: usize| LENGTHS[w] as f32 * f / LOW_RATE;
        // The longest, for the sake of noise.
        let Some(w) = LENGTHS.iter().rposition(|&n| n <= available).filter(|&w| periods(w) >= HALF_PERIODS)
        else {
            return false;
        };
        let lower = self.latest.is_some_and(|l| cents_between(l, 0.5 * f).abs() < 60.0);
        let share = if lower { HALF_ODD_AGAIN } else { HALF_ODD };
        let (mut half, mut between, mut placed) = (0.0, 0.0, 0);
        for k in [0.5f32, 1.5, 2.5, 3.5] {
            let p = self.partials.measure(x, w, k * f);
            if k * f < 4600.0
                && p.energy > 0.1 * share * energy
                && cents_between(p.hz, k * f).abs() < FIT_CENTS
            {
                let beside = [k - 0.25, k + 0.25]
                    .map(|k| self.partials.measure(x, w, k * f).energy)
                    .iter()
                    .sum::<f32>();
                half += p.energy;
                between += 0.5 * beside;
                placed += u32::from(p.energy > CLEAR_LINE * 0.5 * beside);
            }
        }
        placed >= 2 && half > share * energy && half > CLEAR_LINE * between
    }
}

impl PitchDetector for Blockwise {
    fn push(&mut self, _: &[f32; HOP], low: &LowHistory) {
        let x = low.all();
        correlate(x, &mut self.blocks[self.head]);
        self.head = (self.head + 1) % BLOCKS;
        self.squares.copy_within(LOW_HOP.., 0);
        let mut sum = self.squares[LOW_LEN - LOW_HOP];
        for (s, v) in self.squares[LOW_LEN - LOW_HOP + 1..].iter_mut().zip(&x[LOW_LEN - LOW_HOP..]) {
            sum += f64::from(v * v);
            *s = sum;
        }
        // The running sum starts again before it grows so far that soft samples are lost beside it.
        if sum > 1e6 {
            let base = self.squares[0];
            for s in &mut self.squares {
                *s -= base;
            }
        }
    }

    fn estimate(&mut self, low: &LowHistory, fresh: u64) -> Option<Estimate> {
        let x = low.all();
        if fresh < self.fresh {
            self.latest = None;
            self.fitted = None;
        }
        self.fresh = fresh;
        let available = ((fresh / DECIMATION as u64) as usize).min(LOW_LEN).saturating_sub(SLACK);
        let mean_square =
            (self.squares[LOW_LEN] - self.squares[LOW_LEN - 4 * LOW_HOP]) / (4 * LOW_HOP) as f64;
        if mean_square < SILENCE {
            self.octave = None;
            return None;
        }
        // Window and lag together must not reach back beyond the onset.
        let mut room = available.saturating_sub(LAGS).max(available / 2);
        if available >= SOONEST {
            room = room.max(2 * LOW_HOP);
        }
        let &(window, clear) = WINDOWS.iter().find(|(blocks, _)| blocks * LOW_HOP <= room)?;
        let lags = (available - window * LOW_HOP).min(LAGS);
        self.fill(window, lags);
        let mut picked = self.pick(lags).filter(|p| p.1 >= clear);
        let mut window = window;
        if picked.is_none_or(|p| p.1 < LONG_BELOW) && available >= LONG.0 * LOW_HOP + LAGS {
            self.fill(LONG.0, LAGS);
            window = LONG.0;
            picked = self.pick(LAGS).filter(|p| p.1 >= LONG.1);
        }
        let Some((lag, clarity)) = picked else {
            self.octave = None;
            return None;
        };
        let period = LOW_RATE / lag;
        let factor = match self.octave {
            Some((f, factor, age)) if age < RECHECK_HOPS && cents_between(period, f).abs() < 60.0 => {
                self.octave = Some((period, factor, age + 1));
                factor
            }
            _ => {
                let factor = self.octave_factor(x, period, clarity, available);
                // A short stretch proves little: ask again soon.
                let age = if available < 768 { RECHECK_HOPS - 1 } else { 0 };
                self.octave = Some((period, factor, age));
                factor
            }
        };
        let rough = period * factor;
        if let Some(last) = self.fitted.take()
            && available >= STEADY
            && cents_between(rough, last.rough).abs() < STEADY_CENTS
        {
            self.latest = Some(last.f0);
            return Some(Estimate { f0: last.f0, clarity, window: last.seconds, settled: true });
        }
        let mut seconds = (window * LOW_HOP + lag as usize) as f32 / LOW_RATE;
        let mut f0 = rough;
        let mut settled = available as f32 * rough >= 4.0 * LOW_RATE;
        // At least 43 ms where there is as much, for the sake of noise; 5 periods for the sake of the neighbours.
        let periods = (512.0 * rough / LOW_RATE).max(5.0);
        if let Some(w) = Partials::choose(rough, periods, available)
            && let Some(fit) = self.partials.fit(x, w, rough)
            && cents_between(fit.f1, rough).abs() < FIT_CENTS
        {
            f0 = fit.f1;
            seconds = seconds.max(LENGTHS[w] as f32 / LOW_RATE);
            if settled {
                self.fitted = Some(Fitted { rough, f0, seconds });
            }
        } else {
            settled = false;
        }
        self.latest = Some(f0);
        Some(Estimate { f0, clarity, window: seconds, settled })
    }

    fn reset(&mut self) {
        for b in &mut self.blocks {
            b.fill(0.0);
        }
        self.squares.fill(0.0);
        self.octave = None;
        self.latest = None;
        self.fitted = None;
    }
}
