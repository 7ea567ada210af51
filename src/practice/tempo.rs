//! Finding the beat: the grid of beats that best explains a run of note onsets.
//!
//! A grid is a tempo (which may change steadily), a place of the first beat and places inside the beat. Candidates come
//! from the peaks of `|Σ exp(2πi (f t + c t²/2))|` over the onsets `t`; among them the one with the shortest
//! description wins (Rissanen's minimum description length): each onset costs what it takes to name its place
//! inside the beat and its distance from it, beside a few nats for what the grid itself needs. So quarters are
//! preferred to eighths as long as they explain the notes, a few eighths among quarters suffice to prefer
//! eighths, and rests cost nothing. An onset that fits nowhere has a bounded cost, so outliers do not bend the grid.
//! Which subdivision each note belongs to is decided afterwards, beat by beat ([`super::placing`]).

use std::f64::consts::TAU;

use crate::music::grid::{MOST_PLACES, Places};

use super::spread::{median, robust_sd};

/// Share of onsets expected to belong to no grid (touches of the pick, false onsets).
pub(super) const OUTLIERS: f64 = 0.02;
/// Smallest spread assumed, seconds: onsets are not measured better than this, and without a floor the
/// description of an exact grid would cost nothing at any tempo.
pub(super) const SMALLEST_SD: f64 = 0.002;
/// What is played inside a beat, as far as the search for the tempo needs to know, with what it costs to be less usual,
/// nats: quarters, eighths, sixteenths, triplets, swung eighths of any ratio, eighths beside triplets.
/// The cost grows slowly with the number of notes ([`UNUSUAL_NOTES`]): even notes without end are sixteenths at 100 bpm
/// rather than triplets at 133, though that tempo is the likelier one.
const PATTERNS: [(Places, f64); 6] = [
    (Places::new(&[0.0]), 0.0),
    (Places::new(&[0.0, 0.5]), 0.0),
    (Places::new(&[0.0, 0.25, 0.5, 0.75]), 0.5),
    (Places::new(&[0.0, 1.0 / 3.0, 2.0 / 3.0]), 3.0),
    (Places::new(&SWUNG), 3.0),
    (Places::new(&[0.0, 1.0 / 3.0, 0.5, 2.0 / 3.0]), 3.0),
];
/// Swung eighths before their ratio is known, and between what the second of them may lie.
const SWUNG: [f64; 2] = [0.0, 0.62];
const SWUNG_RANGE: (f64, f64) = (0.53, 0.76);
/// Notes that cost as much again.
const UNUSUAL_NOTES: f64 = 100.0;
/// Slowest and fastest rate of grid points searched for, per second (40 quarters a minute, sixteenths at 200 bpm).
const RATES: (f64, f64) = (0.66, 13.5);
/// Tempos inferred, bpm. Slower and faster ones are heard as twice or half of themselves.
const INFERRED_BPM: (f64, f64) = (38.0, 250.0);
/// How far from a set tempo the notes are followed (share of it).
pub const FOLLOWED: f64 = 0.08;
/// How far ahead of or behind a click players are, about, seconds: tapping leads it by 20 to 80 ms, playing music by less
/// (Repp, "Sensorimotor synchronization: a review of the tapping literature", 2005).
const CONSTANTLY_OFF: f64 = 0.04;
/// Largest change of tempo followed within one run of notes (share of it).
const LARGEST_CHANGE: f64 = 0.16;
/// Tempo that listeners prefer, bpm, and how strongly (McKinney and Moelants, "Ambiguity in tempo perception",
/// 2006, find the resonance near 120 bpm and about an octave wide): decides between tempos that explain the notes
/// about equally well. Nats per note, so that it holds against rhythms that repeat every two beats however long
/// they go on.
const PREFERRED_BPM: f64 = 120.0;
const PREFERENCE_OCTAVES: f64 = 0.9;
const PREFERENCE_NATS: f64 = 0.4;
/// A grid explains the notes when they spread by less than this share of the distance between its points.
const EXPLAINED: f64 = 0.06;
/// Peaks of the spectrum that are looked at.
const PEAKS: usize = 6;

/// The grid that explains a run of notes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    line: Line,
    /// Seconds at which the line has its origin.
    middle: f64,
    /// Where inside the beat the notes fall, roughly.
    pub places: Places,
}

impl Grid {
    /// Beats at a time in seconds; which beat is 0 means nothing.
    #[must_use]
    pub fn beats(&self, t: f64) -> f64 {
        self.line.beats(t - self.middle)
    }

    /// Tempo at the middle of the notes, beats per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.line.beat
    }
}

/// The grid of exactly this tempo (bpm), with these places, laid where it fits the onsets best.
#[must_use]
pub fn lay(times: &[f64], bpm: f64, places: &Places) -> Grid {
    let middle = times[times.len() / 2];
    let beats: Vec<f64> = times.iter().map(|t| (t - middle) * bpm / 60.0).collect();
    // Every note is a first guess at where the grid lies, moved to the median; at most 64 of them are tried.
    let mut best = (f64::INFINITY, 0.0);
    for guess in beats.iter().step_by(beats.len().div_ceil(64)) {
        let (offset, cost) = settled(&beats, *guess, places);
        if cost < best.0 {
            best = (cost, offset);
        }
    }
    Grid { line: Line { beat: bpm / 60.0, slope: 0.0, phase: -best.1 }, middle, places: *places }
}

/// The grid of exactly this tempo (bpm) whose beat 0 is near `origin` (seconds): moved by as much as the player is
/// constantly off, and with the places that explain the onsets best. Its beats count from the beat at `origin`.
#[must_use]
pub fn lay_near(times: &[f64], bpm: f64, origin: f64) -> Grid {
    let beats: Vec<f64> = times.iter().map(|t| (t - origin) * bpm / 60.0).collect();
    let log_notes = (times.len().max(1) as f64).ln();
    let mut best: Option<(f64, Grid)> = None;
    for (places, unusual) in &PATTERNS {
        let (offset, _) = settled(&beats, 0.0, places);
        let line = Line { beat: bpm / 60.0, slope: 0.0, phase: -offset };
        let from_origin: Vec<f64> = times.iter().map(|t| t - origin).collect();
        let far = offset * 60.0 / bpm / CONSTANTLY_OFF;
        let shares = 0.5 * (places.len() - 1) as f64 * log_notes;
        let cost = line.cost(&from_origin, places).0 + unusual + shares + 0.5 * far * far;
        if best.is_none_or(|b| cost < b.0) {
            best = Some((cost, Grid { line, middle: origin, places: *places }));
        }
    }
    // There is always a first pattern, and its cost a number.
    best.map_or_else(|| lay(times, bpm, &PATTERNS[0].0), |b| b.1)
}

/// An offset near `guess` that has half of the notes before and half after their places, and the mean distance from
/// them, beats.
fn settled(beats: &[f64], guess: f64, places: &Places) -> (f64, f64) {
    let off = |offset: f64| beats.iter().map(move |b| b - offset - places.nearest(b - offset).0);
    let mut offset = guess;
    for _ in 0..3 {
        offset += median(&mut off(offset).collect::<Vec<_>>());
    }
    (offset, off(offset).map(f64::abs).sum())
}

/// Notes on their places against a constant tempo.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Tempo: the slope of a straight line through the notes, beats per minute.
    pub bpm: f64,
    /// Standard error of `bpm`.
    pub bpm_error: f64,
    /// Change of the tempo, bpm per minute.
    pub drift: f64,
    /// Standard error of `drift`.
    pub drift_error: f64,
    /// Each onset's distance from its place at a constant tempo, seconds, early negative.
    pub deviations: Vec<f64>,
}

/// Where to look for the tempo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// Anywhere.
    Any,
    /// Within [`FOLLOWED`] of this tempo in bpm.
    Near(f64),
}

/// Fits a grid to onsets in seconds, which must be finite and rising.
/// `None` with fewer than four onsets, or when they span no time.
#[must_use]
pub fn fit(onsets: &[f64], search: Search) -> Option<Grid> {
    let (first, last) = (*onsets.first()?, *onsets.last()?);
    let span = last - first;
    if onsets.len() < 4 || span.is_nan() || span < 4.0 / RATES.1 {
        return None;
    }
    let mid = 0.5 * (first + last);
    let times: Vec<f64> = onsets.iter().map(|t| t - mid).collect();
    let steady = best(&times, span, search, &[0.0]);
    // Most playing is steady; a change of tempo is only looked for where a steady one explains too little.
    let found = match steady {
        Some(found) if found.explains => Some(found),
        _ => {
            let changing = best(&times, span, search, &slopes(times.len(), span, search));
            changing.filter(|c| steady.is_none_or(|s| c.cost < s.cost)).or(steady)
        }
    }?;
    Some(Grid { line: found.line, middle: mid, places: found.places })
}

/// Tempo and drift from onsets (`times`, seconds) that are meant to fall on `points` (beats), with the deviations of
/// these at a constant tempo. Where `own` is false, the onset says nothing about the tempo.
#[must_use]
pub fn measure(points: &[f64], times: &[f64], own: &[bool]) -> Measured {
    let of_own = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(own).filter_map(|(v, own)| own.then_some(*v)).collect()
    };
    let (their_points, their_times) = (of_own(points), of_own(times));
    let line = TimeLine::through(&their_points, &their_times, 1);
    let curve = TimeLine::through(&their_points, &their_times, 2);
    let beat_seconds = line.coefficients[1];
    let bpm = 60.0 / beat_seconds;
    // d(60/T)/dt with T = dt/db: -60 T'/T³ per second, T' = 2 × the quadratic coefficient.
    let to_drift = -7200.0 / curve.coefficients[1].powi(3);
    Measured {
        bpm,
        bpm_error: line.errors[1] * bpm / beat_seconds,
        drift: curve.coefficients[2] * to_drift,
        drift_error: (curve.errors[2] * to_drift).abs(),
        deviations: points.iter().zip(times).map(|(p, t)| t - line.at(*p)).collect(),
    }
}

/// A grid and what it costs to describe the notes by it, nats.
#[derive(Clone, Copy, Debug)]
struct Found {
    cost: f64,
    line: Line,
    places: Places,
    /// The notes lie so close to it that no other needs to be looked for.
    explains: bool,
}

/// The cheapest grid with one of these changes of tempo.
fn best(times: &[f64], span: f64, search: Search, slopes: &[f64]) -> Option<Found> {
    let mut best: Option<Found> = None;
    for start in candidates(times, span, search, slopes) {
        let bpm = 60.0 * start.beat;
        let allowed = match search {
            Search::Any => (INFERRED_BPM.0..=INFERRED_BPM.1).contains(&bpm),
            Search::Near(set) => (bpm / set - 1.0).abs() <= FOLLOWED,
        };
        if !allowed {
            continue;
        }
        for (places, unusual) in &PATTERNS {
            let swung = **places == SWUNG;
            let (mut places, mut line) = (*places, start.refined(times, places));
            if swung {
                for _ in 0..2 {
                    places = line.swung(times, &places);
                    line = line.refined(times, &places);
                }
            }
            let places = &places;
            let (cost, sd) = line.cost(times, places);
            let unusual = unusual * (1.0 + times.len() as f64 / UNUSUAL_NOTES);
            let ratio = if swung { 0.5 * (times.len() as f64).ln() } else { 0.0 };
            let cost = cost + unusual + ratio + prior(&line, places, span, times.len(), search);
            if best.is_none_or(|least| cost < least.cost) {
                let explains = sd * line.beat < EXPLAINED / places.len() as f64;
                best = Some(Found { cost, line, places: *places, explains });
            }
        }
    }
    best
}

/// What the grid itself costs beside its pattern, nats.
fn prior(line: &Line, places: &Places, span: f64, notes: usize, search: Search) -> f64 {
    let log_notes = (notes as f64).ln();
    let change = if line.slope == 0.0 { 0.0 } else { log_notes };
    let tempo = match search {
        // The finer the grid, the more of them were tried: chance finds one among many.
        Search::Any => {
            let octaves = (60.0 * line.beat / PREFERRED_BPM).log2() / PREFERENCE_OCTAVES;
            let preference = 0.5 * PREFERENCE_NATS * notes as f64 * octaves * octaves;
            (line.beat * places.len() as f64 * span).max(1.0).ln() + preference
        }
        Search::Near(_) => 0.0,
    };
    // Half a log for each free share of the places (Krichevsky and Trofimov).
    let shares = 0.5 * (places.len() - 1) as f64 * log_notes;
    change + tempo + shares
}

/// Time to beats: `beats = beat·t + slope·t²/2 + phase`, t in seconds from the middle of the notes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    /// Beats per second at t = 0.
    beat: f64,
    /// Beats per second per second.
    slope: f64,
    /// Beats at t = 0.
    phase: f64,
}

impl Line {
    fn beats(&self, t: f64) -> f64 {
        (0.5 * self.slope * t + self.beat) * t + self.phase
    }

    /// Seconds from the nearest grid point, that point in beats, and its place.
    fn residual(&self, t: f64, places: &Places) -> (f64, f64, usize) {
        let beats = self.beats(t);
        let (point, place) = places.nearest(beats);
        ((beats - point) / (self.beat + self.slope * t).max(1e-3), point, place)
    }

    /// The line through the grid points that the notes are nearest to, twice over.
    fn refined(mut self, times: &[f64], places: &Places) -> Self {
        for _ in 0..2 {
            let mut residuals: Vec<f64> = times.iter().map(|t| self.residual(*t, places).0).collect();
            let spread = robust_sd(&mut residuals.clone()).max(SMALLEST_SD);
            let mut fit = Polynomial::default();
            for (t, residual) in times.iter().zip(&mut residuals) {
                fit.add(*t, self.residual(*t, places).1, outlier_weight(*residual, spread));
            }
            let degree = if self.slope == 0.0 { 1 } else { 2 };
            let Some([phase, beat, half_slope]) = fit.solve(degree) else { return self };
            let next = Self { beat, slope: 2.0 * half_slope, phase };
            // A fit that runs away has nothing to do with the candidate any more.
            if (next.beat / self.beat - 1.0).abs() > 0.1 {
                return self;
            }
            self = next;
        }
        self
    }

    /// Swung eighths as they are played.
    fn swung(&self, times: &[f64], places: &Places) -> Places {
        let off = |at: usize| {
            let phases = times.iter().filter_map(|t| {
                let (_, point, place) = self.residual(*t, places);
                (place == at).then(|| self.beats(*t) - point)
            });
            median(&mut phases.collect::<Vec<_>>())
        };
        Places::new(&[0.0, (places[1] + off(1) - off(0)).clamp(SWUNG_RANGE.0, SWUNG_RANGE.1)])
    }

    /// Nats that it takes to name every onset, relative to naming only its beat; and the spread, seconds.
    fn cost(&self, times: &[f64], places: &Places) -> (f64, f64) {
        let mut counts = [0.0f64; MOST_PLACES];
        let mut squares = 0.0;
        let found: Vec<(f64, usize)> = times
            .iter()
            .map(|t| {
                let (residual, _, place) = self.residual(*t, places);
                (residual, place)
            })
            .collect();
        let spread = robust_sd(&mut found.iter().map(|f| f.0).collect::<Vec<_>>()).max(SMALLEST_SD);
        let mut inliers = 0.0;
        for (residual, place) in &found {
            counts[*place] += 1.0;
            if residual.abs() <= 4.0 * spread {
                squares += residual * residual;
                inliers += 1.0;
            }
        }
        let sd = (squares / f64::max(inliers, 1.0)).sqrt().max(SMALLEST_SD);
        let beat_seconds = 1.0 / self.beat;
        let total = times.len() as f64;
        let density = |residual: f64, place: usize| {
            let share = (counts[place] + 0.5) / (total + 0.5 * places.len() as f64);
            let z = residual / sd;
            share * (-0.5 * z * z).exp() / (sd * TAU.sqrt())
        };
        let nats =
            found.iter().map(|(r, p)| ((1.0 - OUTLIERS) * density(*r, *p) * beat_seconds + OUTLIERS).ln());
        (-nats.sum::<f64>(), sd)
    }
}

/// Where beats might be.
fn candidates(times: &[f64], span: f64, search: Search, slopes: &[f64]) -> Vec<Line> {
    let mut found = Vec::new();
    let mut from_peaks = |peaks: Vec<Peak>, counts: &[u32]| {
        for peak in peaks {
            for &count in counts {
                let m = f64::from(count);
                for turn in 0..count {
                    // Only sets with unequal gaps care at which of the points the beat lies.
                    if turn > 0 && (count == 4 || times.len() < 8) {
                        break;
                    }
                    let phase = (peak.phase + f64::from(turn)) / m;
                    found.push(Line { beat: peak.rate / m, slope: peak.slope / m, phase });
                }
            }
        }
    };
    match search {
        Search::Any => {
            from_peaks(peaks(times, span, RATES, slopes, PEAKS), &[1, 2, 3, 4]);
        }
        Search::Near(bpm) => {
            for count in [1u32, 2, 3, 4] {
                let rate = f64::from(count) * bpm / 60.0;
                let range = (rate * (1.0 - FOLLOWED), rate * (1.0 + FOLLOWED));
                let mut tops = peaks(times, span, range, slopes, 2);
                tops.push(Peak::at(times, rate, 0.0));
                from_peaks(tops, &[count]);
            }
        }
    }
    found
}

/// Changes of rate to look for, relative to the rate, per second.
fn slopes(notes: usize, span: f64, search: Search) -> Vec<f64> {
    // A change of tempo cannot be told from uneven playing with few notes.
    if notes < 12 {
        return vec![0.0];
    }
    let largest = match search {
        Search::Any => LARGEST_CHANGE,
        Search::Near(_) => 2.0 * FOLLOWED,
    };
    // One cycle of difference at the ends of the span at the commonest rates (4 a second) takes 8/(4 span²).
    let step = 3.0 / (4.0 * span * span);
    let count = ((largest / span) / step).floor().min(8.0) as i32;
    (-count..=count).map(|i| f64::from(i) * step).collect()
}

/// A peak of the spectrum of the onsets.
#[derive(Clone, Copy, Debug)]
struct Peak {
    height: f64,
    rate: f64,
    slope: f64,
    /// Cycles at t = 0.
    phase: f64,
}

impl Peak {
    fn at(times: &[f64], rate: f64, slope: f64) -> Self {
        let (mut re, mut im) = (0.0, 0.0);
        for t in times {
            let (s, c) = (TAU * (rate + 0.5 * slope * t) * t).sin_cos();
            re += c;
            im += s;
        }
        // The onsets' cycles are at angle/2π; grid points are where rate·t + … + phase is whole.
        Self { height: re.hypot(im), rate, slope, phase: -im.atan2(re) / TAU }
    }
}

/// The highest peaks over rate and change of rate, highest first, no two of the same rate.
fn peaks(times: &[f64], span: f64, range: (f64, f64), slopes: &[f64], count: usize) -> Vec<Peak> {
    // A third of the width of a peak.
    let step = 0.33 / span;
    let steps = (((range.1 - range.0) / step).ceil() as usize).clamp(2, 4000);
    let mut tops: Vec<Peak> = Vec::new();
    for &relative in slopes {
        // The change is relative to the rate, so that it does not favour fine grids; in turns of e^{iθ} per step.
        let mut turns: Vec<(f64, f64, f64, f64)> = times
            .iter()
            .map(|t| {
                let warped = t + 0.5 * relative * t * t;
                let (s, c) = (TAU * range.0 * warped).sin_cos();
                let (ds, dc) = (TAU * step * warped).sin_cos();
                (c, s, dc, ds)
            })
            .collect();
        let mut heights = Vec::with_capacity(steps + 1);
        for _ in 0..=steps {
            let (mut re, mut im) = (0.0, 0.0);
            for (c, s, dc, ds) in &mut turns {
                re += *c;
                im += *s;
                (*c, *s) = (*c * *dc - *s * *ds, *c * *ds + *s * *dc);
            }
            heights.push(re * re + im * im);
        }
        for i in 0..heights.len() {
            let left = if i == 0 { 0.0 } else { heights[i - 1] };
            let right = heights.get(i + 1).copied().unwrap_or(0.0);
            if heights[i] >= left && heights[i] > right {
                let rate = range.0 + i as f64 * step;
                tops.push(Peak { height: heights[i], rate, slope: relative * rate, phase: 0.0 });
            }
        }
    }
    tops.sort_by(|a, b| b.height.total_cmp(&a.height));
    let mut kept: Vec<Peak> = Vec::new();
    for top in tops {
        if kept.iter().all(|k| (k.rate - top.rate).abs() > 1.0 / span) {
            kept.push(Peak::at(times, top.rate, top.slope));
            if kept.len() == count {
                break;
            }
        }
    }
    kept
}

/// 1 inside three spreads, falling as 1/|r| outside (Huber).
fn outlier_weight(residual: f64, spread: f64) -> f64 {
    (3.0 * spread / residual.abs().max(1e-12)).min(1.0)
}

/// Times as a polynomial of the beats.
struct TimeLine {
    middle: f64,
    coefficients: [f64; 3],
    errors: [f64; 3],
}

impl TimeLine {
    fn through(points: &[f64], times: &[f64], degree: usize) -> Self {
        let middle = points.iter().sum::<f64>() / points.len().max(1) as f64;
        let mut line = Self { middle, coefficients: [0.0, 1.0, 0.0], errors: [f64::INFINITY; 3] };
        let mut weights = vec![1.0; points.len()];
        for _ in 0..3 {
            let mut sums = Polynomial::default();
            for ((p, t), w) in points.iter().zip(times).zip(&weights) {
                sums.add(p - middle, *t, *w);
            }
            let Some(coefficients) = sums.solve(degree) else { return line };
            line.coefficients = coefficients;
            let residuals: Vec<f64> = points.iter().zip(times).map(|(p, t)| t - line.at(*p)).collect();
            let spread = robust_sd(&mut residuals.clone()).max(SMALLEST_SD);
            weights = residuals.iter().map(|r| outlier_weight(*r, spread)).collect();
            let free = points.len().saturating_sub(degree + 1).max(1) as f64;
            let variance = residuals.iter().zip(&weights).map(|(r, w)| w * r * r).sum::<f64>() / free;
            line.errors = sums.errors(degree, variance.max(SMALLEST_SD * SMALLEST_SD));
        }
        line
    }

    fn at(&self, point: f64) -> f64 {
        let p = point - self.middle;
        let [a, b, c] = self.coefficients;
        (c * p + b) * p + a
    }
}

/// Weighted sums for a least-squares polynomial of degree 1 or 2.
#[derive(Clone, Copy, Debug, Default)]
struct Polynomial {
    x: [f64; 5],
    y: [f64; 3],
}

impl Polynomial {
    fn add(&mut self, x: f64, y: f64, weight: f64) {
        let mut power = weight;
        for k in 0..5 {
            self.x[k] += power;
            if k < 3 {
                self.y[k] += power * y;
            }
            power *= x;
        }
    }

    /// Constant, linear and quadratic coefficient; `None` when the points do not determine them.
    fn solve(&self, degree: usize) -> Option<[f64; 3]> {
        let inverse = self.inverse(degree)?;
        Some(std::array::from_fn(|i| (0..3).map(|j| inverse[i][j] * self.y[j]).sum()))
    }

    fn errors(&self, degree: usize, variance: f64) -> [f64; 3] {
        self.inverse(degree)
            .map_or([f64::INFINITY; 3], |inv| std::array::from_fn(|i| (inv[i][i].max(0.0) * variance).sqrt()))
    }

    fn inverse(&self, degree: usize) -> Option<[[f64; 3]; 3]> {
        let [s0, s1, s2, s3, s4] = self.x;
        let inverse = if degree < 2 {
            let d = s0 * s2 - s1 * s1;
            [[s2 / d, -s1 / d, 0.0], [-s1 / d, s0 / d, 0.0], [0.0; 3]]
        } else {
            let (a, b, c) = (s2 * s4 - s3 * s3, s2 * s3 - s1 * s4, s1 * s3 - s2 * s2);
            let (e, f, i) = (s0 * s4 - s2 * s2, s1 * s2 - s0 * s3, s0 * s2 - s1 * s1);
            let d = s0 * a + s1 * b + s2 * c;
            [[a / d, b / d, c / d], [b / d, e / d, f / d], [c / d, f / d, i / d]]
        };
        inverse.iter().flatten().all(|v| v.is_finite()).then_some(inverse)
    }
}
