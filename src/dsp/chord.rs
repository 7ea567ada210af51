//! Was one string struck, or several together?
//!
//! Once per stroke, some 190 ms after it (or when the next one comes): the spectrum of what has sounded since is
//! laid beside that of what sounded before, so that only what is *new* counts. One string is one stiff harmonic series
//! `f_k = k F √((1 + B k²) / (1 + B))` (Fletcher 1964) without holes. Where no such series accounts for the new
//! peaks, the strings are taken out one after the other (iterative cancellation, after Klapuri 2006), each with a first
//! partial of its own; two or more are a chord.
//!
//! A series is held to a few cents. The wider net of a chroma would take the thirds and fifths of a chord for partials 3, 5
//! and 6 of a string an octave or two below; a tempered third lies 14 cents from there.
use super::fit::{B_MAX, B_PRIOR};
use super::transform::Transform;
use super::{LOW_HOP, LOW_RATE, cents_between};

/// Transform length, decimated samples (171 ms): two neighbouring strings a whole tone apart at E2 are 10 Hz apart.
const SIZE: usize = 2048;
/// Decimated samples that are kept (683 ms, a power of two): the look, the delay until it, and the look before it.
const KEPT: usize = 8192;
/// Left out before the onset: the filter's delay and the onset's uncertainty (3 ms).
const GUARD: usize = 36;
/// Less than this has too few periods of a low string to tell two apart (50 ms).
const LEAST: usize = 1000;
const BIN: f32 = LOW_RATE / SIZE as f32;
/// Bins that are looked at: from below B1 to where partials of different strings stand too close.
const BINS: (usize, usize) = (9, 444);
/// Peaks that are kept, the highest.
const PEAKS: usize = 48;
/// A peak lies no further than this under the highest new one (36 dB), and this far over the noise before.
const UNDER: f32 = 0.016;
const OVER_NOISE: f32 = 3.5;
/// Bins over which that noise is taken: their median, which no line shifts.
const NOISE_BINS: usize = 29;
/// Smallest share of the sound's power that is new lines, not noise nor old strings.
const TONAL: f32 = 0.3;
/// One string accounts for a stroke from this score on (measured: 95 % of single notes score above it, and what lies below
/// must show a second string besides).
pub(super) const SINGLE: f32 = 0.83;
/// What was heard before is taken off with this factor on its power: beats make old strings swell.
const OLD: f32 = 1.5;
/// Peaks count less from here on: the partials of a stiff, doubled or distorted string spread there.
const HIGH_HZ: f32 = 1000.0;
/// Lowest and highest pitch of a string, Hz.
const PITCH: (f32, f32) = (58.0, 1400.0);
/// A partial lies within this of its place, cents, plus a share of the resolution …
const NEAR_CENTS: f32 = 8.0;
const NEAR_RES: f32 = 0.12;
/// … while the series is not fitted yet within this.
const ROUGH_CENTS: f32 = 22.0;
const ROUGH_RES: f32 = 0.3;
/// How hard B is drawn to its prior.
const B_PULL: f32 = 36.0;
/// What a hole takes off the score of a series, by the number of the partial. The first is weak in small bodies and
/// microphones; the fifth and seventh are what strings a fifth, a fourth or an octave apart do not have in common.
const HOLES: [f32; 9] = [0.0, 0.10, 0.05, 0.05, 0.05, 0.10, 0.05, 0.10, 0.05];
/// Share of that where several strings are looked for.
const OWN_HOLES: f32 = 0.25;
/// A string this near, cents, to partial 3 or higher of a lower one may be only that.
const PARTIAL_CENTS: f32 = 12.0;
/// The same for partials of a string whose first was not heard: a tempered third lies 14 cents from partial 5.
const HIDDEN_CENTS: f32 = 8.0;
/// Strings whose distance is a number of octaves within this have one pitch class, cents.
const SAME_CLASS: f32 = 60.0;
/// Smallest share of the highest new peak that fills a hole, and that of a first partial.
const FILLS: f32 = 0.012;
const FIRST: f32 = 0.02;
/// Pitches that are tried; nearer than this to one tried already is the same.
const TRIED: usize = 64;
const SAME_PITCH: f32 = 0.005;
/// Smallest share, holes taken off, with which a string is believed.
const LEAST_SHARE: f32 = 0.05;
/// A string further than this from the semitones of the others (24 cents, as an angle) is none.
const STRAY: f32 = 0.24 * std::f32::consts::TAU;
/// Strings on a guitar that are looked for.
const STRINGS: usize = 6;

/// A line of the spectrum: where, its amplitude, and how much of that was not there before.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    hz: f32,
    all: f32,
    new: f32,
}

/// A harmonic series through some peaks.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    /// First partial, Hz.
    f1: f32,
    /// Share of the new amplitude that it accounts for, and that less its holes.
    share: f32,
    score: f32,
    /// Its peaks.
    members: u64,
}

/// What a stroke was found to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Look {
    /// How well one string accounts for it, at most 1.
    pub(crate) single: f32,
    /// First partials of the strings found, Hz, strongest first.
    pub(crate) strings: [f32; STRINGS],
    /// How many.
    pub(crate) count: usize,
    /// Share of what is new that the second of them alone accounts for, if it is no partial of another.
    pub(crate) second: f32,
    /// Share of what is new that all strings together account for.
    pub(crate) explained: f32,
    /// Share of the sound's power, 0 to about 1, that lies in new lines.
    pub(crate) tonal: f32,
}

/// What a stroke sounds like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Heard {
    /// It sounded too short for an answer.
    TooLittle,
    /// What sounds sounded before.
    NothingNew,
    /// One string accounts for it.
    OneString,
    /// One does not: these may.
    Several(Look),
}

impl Look {
    /// Leaves out what is no fretted string: frets put all of them on one grid of semitones, wherever that lies.
    fn drop_strays(&mut self, shares: &mut [f32; STRINGS]) {
        let turn = |f: f32| std::f32::consts::TAU * (12.0 * f.log2()).fract();
        let (mut re, mut im) = (0.0, 0.0);
        for (f, share) in self.strings[..self.count].iter().zip(shares.iter()) {
            re += share * turn(*f).cos();
            im += share * turn(*f).sin();
        }
        let grid = im.atan2(re);
        let mut kept = 0;
        for i in 0..self.count {
            let away = (turn(self.strings[i]) - grid).rem_euclid(std::f32::consts::TAU);
            if away.min(std::f32::consts::TAU - away) <= STRAY {
                self.strings[kept] = self.strings[i];
                shares[kept] = shares[i];
                kept += 1;
            }
        }
        self.count = kept;
    }
}

/// See the module.
pub(crate) struct ChordFinder {
    transform: Transform,
    window: Vec<f32>,
    ring: Vec<f32>,
    written: usize,
    before: Vec<f32>,
    after: Vec<f32>,
    peaks: [Peak; PEAKS],
    count: usize,
    /// Share of the sound's power, 0 to about 1, that lies in new lines.
    tonal: f32,
}

impl ChordFinder {
    pub(crate) fn new() -> Self {
        Self {
            window: (0..SIZE)
                .map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / SIZE as f32).cos())
                .collect(),
            ring: vec![0.0; KEPT],
            written: 0,
            before: vec![0.0; SIZE / 2 + 1],
            after: vec![0.0; SIZE / 2 + 1],
            peaks: [Peak::default(); PEAKS],
            count: 0,
            tonal: 0.0,
            transform: Transform::new(SIZE),
        }
    }

    /// Takes in the decimated samples of a hop.
    pub(crate) fn push(&mut self, low: &[f32; LOW_HOP]) {
        // The ring is a whole number of hops long.
        let at = self.written % KEPT;
        if let Some(place) = self.ring.get_mut(at..at + LOW_HOP) {
            place.copy_from_slice(low);
        }
        self.written = (self.written + LOW_HOP) % KEPT;
    }

    /// Forgets everything: input was lost.
    pub(crate) fn reset(&mut self) {
        self.ring.fill(0.0);
    }

    /// Looks at a stroke that began `back` decimated samples ago, with what sounded from `from` to `until` decimated
    /// samples ago.
    pub(crate) fn look(&mut self, back: usize, from: usize, until: usize) -> Heard {
        let n = from.saturating_sub(until).min(SIZE);
        if n < LEAST || back + GUARD + n > KEPT {
            return Heard::TooLittle;
        }
        self.magnitudes(until, n, true);
        self.magnitudes(back + GUARD, n, false);
        self.find_peaks();
        if self.count == 0 || self.tonal < TONAL {
            return Heard::NothingNew;
        }
        let res = LOW_RATE / n as f32;
        let mut left = [0.0f32; PEAKS];
        let mut whole = [0.0f32; PEAKS];
        for (i, p) in self.peaks[..self.count].iter().enumerate() {
            left[i] = p.new;
            whole[i] = p.all;
        }
        let total: f32 = left.iter().sum();
        let mut single = self.best(&left, total, res, false).score;
        if single < SINGLE {
            // A string struck again while it rings leaves only fragments that are new; as a whole it is one series.
            single = single.max(self.best(&whole, whole.iter().sum(), res, false).score);
        }
        if single >= SINGLE {
            return Heard::OneString;
        }
        let mut look = Look {
            single,
            strings: [0.0; STRINGS],
            count: 0,
            second: 0.0,
            explained: 0.0,
            tonal: self.tonal,
        };
        let mut shares = [0.0f32; STRINGS];
        while look.count < STRINGS {
            let s = self.best(&left, total, res, true);
            if s.score < LEAST_SHARE || s.f1 <= 0.0 {
                break;
            }
            look.strings[look.count] = s.f1;
            look.count += 1;
            look.explained += s.share;
            shares[look.count - 1] = s.share;
            for (i, l) in left.iter_mut().enumerate() {
                if s.members & (1 << i) != 0 {
                    *l = 0.0;
                }
            }
        }
        if !hidden(&look.strings[..look.count]) {
            look.drop_strays(&mut shares);
            look.second = second(&look.strings[..look.count], &shares);
        }
        Heard::Several(look)
    }

    /// Magnitudes under a Hann window of `n` samples that end `back` samples ago, padded to [`SIZE`].
    fn magnitudes(&mut self, back: usize, n: usize, after: bool) {
        let start = self.written + 2 * KEPT - back - n;
        let scale = 4.0 / n as f32;
        let windowed = (0..n).map(|i| self.ring[(start + i) % KEPT] * self.window[i * SIZE / n]);
        let out = if after { &mut self.after } else { &mut self.before };
        for (m, c) in out.iter_mut().zip(self.transform.of(windowed)) {
            *m = scale * c.norm_sqr().sqrt();
        }
    }

    /// The highest peaks of `after`, rising, with what `before` does not account for.
    fn find_peaks(&mut self) {
        let mut found = [Peak::default(); PEAKS];
        let mut count = 0;
        let mut noise = 0.0;
        let (mut tonal, mut sum) = (0.0f32, 0.0f32);
        for k in BINS.0..BINS.1 {
            if (k - BINS.0).is_multiple_of(NOISE_BINS) {
                let mut bins = [0.0f32; NOISE_BINS];
                bins.copy_from_slice(&self.before[k..k + NOISE_BINS]);
                bins.sort_unstable_by(f32::total_cmp);
                noise = OVER_NOISE * bins[NOISE_BINS / 2];
            }
            let weight = 1.0 / (1.0 + (k as f32 * BIN / HIGH_HZ).powi(2));
            sum += (weight * self.after[k]).powi(2);
            let (a, b, c) = (self.after[k - 1], self.after[k], self.after[k + 1]);
            if b <= a || b < c || b < noise || b < 1e-7 {
                continue;
            }
            // The top of a parabola through the logarithms.
            let (la, lb, lc) = (a.max(1e-12).ln(), b.ln(), c.max(1e-12).ln());
            let shift = (0.5 * (la - lc) / (la - 2.0 * lb + lc).min(-1e-6)).clamp(-0.5, 0.5);
            let all = (lb - 0.25 * (la - lc) * shift).exp();
            let old = self.before[k - 1].max(self.before[k]).max(self.before[k + 1]);
            let new = (all * all - OLD * old * old).max(0.0).sqrt();
            let hz = (k as f32 + shift) * BIN;
            let weight = 1.0 / (1.0 + (hz / HIGH_HZ).powi(2));
            let peak = Peak { hz, all: weight * all, new: weight * new };
            tonal += peak.new * peak.new;
            if count < PEAKS {
                found[count] = peak;
                count += 1;
            } else if let Some(least) = (0..PEAKS).min_by(|&i, &j| found[i].all.total_cmp(&found[j].all))
                && found[least].all < all
            {
                found.copy_within(least + 1.., least);
                found[PEAKS - 1] = peak;
            }
        }
        let top = found[..count].iter().fold(0.0f32, |m, p| m.max(p.new));
        self.count = 0;
        // A line of a Hann window spreads its power over one and a half bins.
        self.tonal = if sum > 0.0 { 1.5 * tonal / sum } else { 0.0 };
        if top <= 0.0 {
            return;
        }
        for p in &found[..count] {
            if p.all > UNDER * top {
                let new = if p.new > UNDER * top { p.new } else { 0.0 };
                self.peaks[self.count] = Peak { new, ..*p };
                self.count += 1;
            }
        }
    }

    /// The series that accounts best for the amplitudes `left` at the peaks. `own`: its first partial must be among them.
    fn best(&self, left: &[f32; PEAKS], total: f32, res: f32, own: bool) -> Series {
        let peaks = &self.peaks[..self.count];
        let top = left.iter().fold(0.0f32, |m, &l| m.max(l));
        let mut best = Series { score: -9.0, ..Series::default() };
        if top <= 0.0 || total <= 0.0 {
            return best;
        }
        let mut tried = [0.0f32; TRIED];
        let mut count = 0;
        for (p, _) in peaks.iter().zip(left).filter(|(_, l)| **l > 0.1 * top) {
            // A string with a first partial of its own has it among the peaks.
            for h in 1..=if own { 1 } else { 8u8 } {
                let f = p.hz / f32::from(h);
                if !(PITCH.0..PITCH.1).contains(&f) || count == TRIED {
                    continue;
                }
                if tried[..count].iter().any(|t| (t - f).abs() < SAME_PITCH * f) {
                    continue;
                }
                tried[count] = f;
                count += 1;
                let s = self.series(f, left, [top, total, res, best.score], own);
                if s.score > best.score {
                    best = s;
                }
            }
        }
        best
    }

    /// The series whose first partial lies near `f`. Gives up as soon as it cannot score higher than `beat`.
    fn series(&self, f: f32, left: &[f32; PEAKS], [top, total, res, beat]: [f32; 4], own: bool) -> Series {
        let peaks = &self.peaks[..self.count];
        let (mut f1, mut b) = (f, B_PRIOR.0);
        for rough in [true, false] {
            let mut share = 0.0;
            let (mut sw, mut sx, mut sy, mut sxx, mut sxy) = (0.0f32, 0.0, 0.0, 0.0, 0.0);
            for (p, l) in peaks.iter().zip(left) {
                let k = order(p.hz, f1, b);
                let away = (p.hz - place(k, f1, b)).abs();
                let reach = if rough {
                    p.hz * ROUGH_CENTS * 5.78e-4 + ROUGH_RES * res + p.hz * 2.5e-5 * k * k
                } else {
                    p.hz * NEAR_CENTS * 5.78e-4 + NEAR_RES * res
                };
                if away > reach {
                    continue;
                }
                share += l;
                let (x, y, w) = (k * k, (p.hz / k / f).powi(2), l * k.min(8.0));
                sw += w;
                sx += w * x;
                sy += w * y;
                sxx += w * x * x;
                sxy += w * x * y;
            }
            if rough && share <= beat * total {
                return Series { score: -9.0, ..Series::default() };
            }
            sxx += B_PULL * sw;
            sxy += B_PULL * sw * B_PRIOR.0;
            let det = sw * sxx - sx * sx;
            if det <= 0.0 {
                break;
            }
            let slope = ((sw * sxy - sx * sy) / det).clamp(0.0, B_MAX);
            let a = (sy - slope * sx) / sw;
            if a <= 0.0 {
                break;
            }
            b = slope / a;
            f1 = f * (a + slope).sqrt();
            if cents_between(f1, f).abs() > 40.0 {
                f1 = f;
            }
        }
        let mut members = 0u64;
        let mut share = 0.0;
        let mut heights = [0.0f32; 9];
        let mut highest = 0usize;
        let mut first = 0.0f32;
        for (i, (p, l)) in peaks.iter().zip(left).enumerate() {
            let k = order(p.hz, f1, b);
            let away = (p.hz - place(k, f1, b)).abs();
            if away > p.hz * NEAR_CENTS * 5.78e-4 + NEAR_RES * res {
                continue;
            }
            members |= 1 << i;
            share += l;
            let k = k as usize;
            if k <= 8 {
                heights[k] = heights[k].max(p.all);
            }
            if *l > 0.0 {
                highest = highest.max(k.min(8));
            }
            if k == 1 {
                first = first.max(*l);
            }
        }
        share /= total;
        let hole = |k: usize| heights[k] <= if k == 1 { FIRST } else { FILLS } * top;
        let holes = (1..=highest.max(1)).filter(|&k| hole(k)).map(|k| HOLES[k]).sum::<f32>();
        // The first partial of its own says enough; a high partial of another string may have been taken for its own.
        let mut score = share - if own { OWN_HOLES * holes } else { holes };
        if own && first <= 0.05 * top {
            score = -1.0;
        }
        Series { f1, share, score, members }
    }
}

/// The partial of `g` that `f` is, within so many cents.
fn partial_of(f: f32, g: f32, cents: f32) -> Option<u32> {
    let k = (f / g).round();
    (cents_between(f, g * k).abs() < cents).then_some(k as u32)
}

/// All of them are partials of one string whose first was not heard.
fn hidden(strings: &[f32]) -> bool {
    let lowest = strings.iter().fold(f32::MAX, |m, &f| m.min(f));
    (2..=4u8).any(|m| {
        let of = |f: f32| partial_of(f, lowest / f32::from(m), HIDDEN_CENTS);
        lowest / f32::from(m) > PITCH.0
            && strings.iter().all(|&f| of(f).is_some())
            && strings.iter().any(|&f| of(f).is_some_and(|k| k % 5 == 0 || k % 7 == 0))
    })
}

/// The greatest share of a string that is no partial of another and no octave of the strongest.
fn second(strings: &[f32], shares: &[f32; STRINGS]) -> f32 {
    let strongest = (0..strings.len()).max_by(|&i, &j| shares[i].total_cmp(&shares[j])).unwrap_or(0);
    let partial = |f: f32| strings.iter().any(|&g| partial_of(f, g, PARTIAL_CENTS).is_some_and(|k| k >= 3));
    let octave = |f: f32| {
        let cents = cents_between(f, strings[strongest]).rem_euclid(1200.0);
        cents.min(1200.0 - cents) < SAME_CLASS
    };
    (0..strings.len())
        .filter(|&i| i != strongest && !partial(strings[i]) && !octave(strings[i]))
        .fold(0.0, |m, i| m.max(shares[i]))
}

/// Number of the partial nearest to `hz`, at least 1.
fn order(hz: f32, f1: f32, b: f32) -> f32 {
    let k = hz / f1;
    (k / ((1.0 + b * k * k) / (1.0 + b)).sqrt()).round().max(1.0)
}

/// Where partial `k` lies, Hz.
fn place(k: f32, f1: f32, b: f32) -> f32 {
    f1 * k * ((1.0 + b * k * k) / (1.0 + b)).sqrt()
}
