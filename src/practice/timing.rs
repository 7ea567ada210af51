//! Evenness of the playing: how far the notes lie from the grid, and whether the tempo wanders.
//!
//! With a tempo the grid is given but for its constant latency (the way of the sound through the computer, and
//! the player's habit), which is taken out; without one it is inferred. Long playing is judged in runs: parted by
//! pauses, after which nobody without a click comes in on the old grid, and at most `RUN_SECONDS` long.

use crate::music::grid::{Subdivision, Tempo};

pub use super::click::{Click, Pulse};
use super::tempo::{Grid, Search, fit};
use super::types::Tendency;

/// Fewest notes of a run that say anything about timing.
pub const FEWEST_NOTES: usize = 4;
/// Fewest notes for a tendency or a drift: with fewer, uneven playing looks like either.
const FEWEST_FOR_DRIFT: usize = 8;
/// Longest run judged against one grid, seconds: a window of the coach and a little more. Nobody without a click
/// holds a tempo for longer to within what a grid can explain.
const RUN_SECONDS: f64 = 45.0;
/// A pause this long parts two runs, seconds; with a tempo also at least [`PAUSE_BEATS`].
const PAUSE_SECONDS: f64 = 4.0;
const PAUSE_BEATS: f64 = 8.0;
/// Notes closer than this are one stroke (a strum), seconds; sixteenths at 300 bpm are farther apart.
const STROKE_SECONDS: f64 = 0.03;
/// A deviation counts up to this many robust spreads, and always up to [`CLIP_MS`]: a false onset in the middle of
/// nowhere is no statement about the player.
const CLIP_SPREADS: f64 = 4.0;
const CLIP_MS: f64 = 40.0;
/// Times beyond this are no times, seconds (116 days).
const LATEST: f64 = 1e7;
/// A difference to the set tempo below this share of it is steady.
const STEADY_SHARE: f64 = 0.004;
/// A drift below this is steady, bpm per minute.
const STEADY_DRIFT: f64 = 1.5;
/// A tendency must stand out of its own uncertainty by this many standard errors.
const CERTAIN: f64 = 3.0;
/// A drift is reported when its standard error is below this, bpm per minute.
const DRIFT_ERROR: f64 = 4.0;

/// What the onsets say about timing.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Per onset given, in the same order: deviation from the grid in ms, early negative, constant latency taken
    /// out. `None` for an onset that is no number or stands alone.
    pub deviations_ms: Vec<Option<f64>>,
    /// Standard deviation about the grid (ddof 1), ms.
    pub sd_ms: f64,
    /// Distance between neighbouring grid points, ms.
    pub gap_ms: f64,
    /// Tempo set, or inferred, bpm.
    pub bpm: f64,
    /// Subdivision of the longest run.
    pub subdivision: Subdivision,
    /// `None` with too few notes.
    pub tendency: Option<Tendency>,
    /// Change of tempo, bpm per minute; `None` with too few notes to tell.
    pub drift: Option<f64>,
}

/// Judges onsets (seconds, in any order). A run never reaches across one of the `breaks` (seconds): input was lost
/// there, and with it the grid. `None` when no run has [`FEWEST_NOTES`] notes on a grid.
#[must_use]
pub fn analyse(onsets: &[f64], pulse: &Pulse, breaks: &[f64]) -> Option<Timing> {
    let tempo = pulse.tempo;
    let mut order: Vec<usize> = (0..onsets.len()).filter(|&i| onsets[i].abs() <= LATEST).collect();
    order.sort_by(|&a, &b| onsets[a].total_cmp(&onsets[b]));
    let pause = tempo.map_or(PAUSE_SECONDS, |t| PAUSE_SECONDS.max(PAUSE_BEATS * t.beat_seconds()));
    let mut deviations_ms = vec![None; onsets.len()];
    let mut runs: Vec<Run> = Vec::new();
    let joined = |a: f64, b: f64| {
        b - a <= pause && pulse.one_grid(a, b) && !breaks.iter().any(|at| (a..b).contains(at))
    };
    for part in order.chunk_by(|&a, &b| joined(onsets[a], onsets[b])) {
        let start = onsets[part[0]];
        let span = onsets[part[part.len() - 1]] - start;
        let pieces = (span / RUN_SECONDS).ceil().max(1.0);
        let piece = |i: usize| ((onsets[i] - start) / span * pieces).floor().clamp(0.0, pieces - 1.0);
        for notes in part.chunk_by(|&a, &b| span <= RUN_SECONDS || piece(a) == piece(b)) {
            let strokes: Vec<&[usize]> =
                notes.chunk_by(|&a, &b| onsets[b] - onsets[a] < STROKE_SECONDS).collect();
            let times: Vec<f64> = strokes.iter().map(|s| onsets[s[0]]).collect();
            let Some((run, deviations)) = Run::judge(&times, pulse) else { continue };
            for (stroke, deviation) in strokes.iter().zip(deviations) {
                for &i in *stroke {
                    deviations_ms[i] = Some(deviation);
                }
            }
            runs.push(run);
        }
    }
    let longest = runs.iter().max_by_key(|r| r.notes)?;
    let notes: f64 = runs.iter().map(|r| r.notes as f64).sum();
    let free: f64 = runs.iter().map(|r| (r.notes - 1) as f64).sum();
    let drift = weighted(runs.iter().filter_map(|r| r.drift));
    let off = weighted(runs.iter().filter_map(|r| r.off));
    let mut tempos: Vec<f64> = runs.iter().flat_map(|r| std::iter::repeat_n(r.bpm, r.notes)).collect();
    Some(Timing {
        deviations_ms,
        sd_ms: (runs.iter().map(|r| r.squares).sum::<f64>() / free).sqrt(),
        gap_ms: runs.iter().map(|r| r.gap_ms * r.notes as f64).sum::<f64>() / notes,
        bpm: tempo.map_or_else(|| median(&mut tempos), Tempo::bpm),
        subdivision: longest.subdivision,
        tendency: tendency(off, drift),
        drift: drift.filter(|d| d.1 <= DRIFT_ERROR).map(|d| d.0),
    })
}

/// Faster or slower than the set tempo first, then getting faster or slower.
fn tendency(off: Option<(f64, f64)>, drift: Option<(f64, f64)>) -> Option<Tendency> {
    let leaning = |value: Option<(f64, f64)>, least: f64| {
        let (value, error) = value?;
        (value.abs() >= least && value.abs() >= CERTAIN * error).then_some(value)
    };
    drift?;
    Some(match leaning(off, STEADY_SHARE).or_else(|| leaning(drift, STEADY_DRIFT)) {
        Some(value) if value > 0.0 => Tendency::Rushing,
        Some(_) => Tendency::Dragging,
        None => Tendency::Steady,
    })
}

/// Mean weighted by certainty, and its standard error.
fn weighted(values: impl Iterator<Item = (f64, f64)>) -> Option<(f64, f64)> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (value, error) in values {
        let weight = 1.0 / (error * error).max(1e-12);
        if value.is_finite() && weight > 0.0 {
            sum += weight * value;
            weights += weight;
        }
    }
    (weights > 0.0).then(|| (sum / weights, weights.sqrt().recip()))
}

/// One run of notes against one grid.
#[derive(Debug)]
struct Run {
    notes: usize,
    /// Sum of squared deviations about their mean, ms².
    squares: f64,
    gap_ms: f64,
    bpm: f64,
    subdivision: Subdivision,
    /// Change of tempo with its standard error, bpm per minute.
    drift: Option<(f64, f64)>,
    /// Difference to the set tempo with its standard error, share of it.
    off: Option<(f64, f64)>,
}

impl Run {
    fn judge(times: &[f64], pulse: &Pulse) -> Option<(Self, Vec<f64>)> {
        if times.len() < FEWEST_NOTES {
            return None;
        }
        let click = pulse.click_at(times[times.len() / 2]);
        let tempo = click.map(|c| c.tempo).or(pulse.tempo);
        let grid = fit(times, tempo.map_or(Search::Any, |t| Search::Near(t.bpm())));
        let (subdivision, deviations) = match (tempo, &grid) {
            (Some(tempo), _) => {
                let subdivision = grid.as_ref().map_or(Subdivision::Sixteenth, |g| g.subdivision);
                (subdivision, against(times, tempo, subdivision))
            }
            (None, Some(grid)) => (grid.subdivision, grid.deviations.clone()),
            (None, None) => return None,
        };
        let mut deviations: Vec<f64> = deviations.into_iter().map(|d| 1000.0 * d).collect();
        let middle = median(&mut deviations.clone());
        deviations.iter_mut().for_each(|d| *d -= middle);
        let spread = 1.4826 * median(&mut deviations.iter().map(|d| d.abs()).collect::<Vec<_>>());
        let clip = (CLIP_SPREADS * spread).max(CLIP_MS);
        let enough = grid.as_ref().filter(|_| times.len() >= FEWEST_FOR_DRIFT);
        let bpm = tempo.map_or_else(|| grid.as_ref().map_or(0.0, |g| g.bpm), Tempo::bpm);
        let run = Self {
            notes: times.len(),
            squares: squares_about_mean(deviations.iter().map(|d| d.clamp(-clip, clip))),
            gap_ms: subdivision.gap() * 60_000.0 / bpm,
            bpm,
            subdivision,
            drift: enough.map(|g: &Grid| (g.drift, g.drift_error)),
            off: enough.and_then(|g| tempo.map(|t| ((g.bpm - t.bpm()) / t.bpm(), g.bpm_error / t.bpm()))),
        };
        // With the round trip known, the constant part is the player's own and stays.
        if let Some(click) = click.filter(|c| c.latency_known) {
            let beat_ms = 1000.0 * click.tempo.beat_seconds();
            let from_click = times.iter().zip(&deviations).map(|(t, d)| {
                let apart = click.beats(t - d / 1000.0);
                (apart - subdivision.nearest(apart).0) * beat_ms
            });
            let offset = median(&mut from_click.collect::<Vec<_>>());
            deviations.iter_mut().for_each(|d| *d += offset);
        }
        Some((run, deviations))
    }
}

/// Seconds from the nearest point of the grid of a set tempo, laid so that it fits best (the constant latency).
fn against(times: &[f64], tempo: Tempo, subdivision: Subdivision) -> Vec<f64> {
    let start = times[0];
    let beats: Vec<f64> = times.iter().map(|t| (t - start) / tempo.beat_seconds()).collect();
    let residuals = |offset: f64| -> Vec<f64> {
        beats.iter().map(|b| b - offset - subdivision.nearest(b - offset).0).collect()
    };
    // Every note is a first guess at where the grid lies, moved to the median; at most 64 of them are tried.
    let mut best: Option<(f64, Vec<f64>)> = None;
    for guess in beats.iter().step_by(beats.len().div_ceil(64)) {
        let mut offset = *guess;
        for _ in 0..3 {
            offset += median(&mut residuals(offset));
        }
        let found = residuals(offset);
        let cost: f64 = found.iter().map(|r| r.abs()).sum();
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, found));
        }
    }
    best.map_or_else(Vec::new, |(_, found)| found.iter().map(|r| r * tempo.beat_seconds()).collect())
}

fn squares_about_mean(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let mean = values.clone().sum::<f64>() / values.len().max(1) as f64;
    values.map(|v| (v - mean).powi(2)).sum()
}

/// Median; reorders its input. 0 for none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let (below, upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    let upper = *upper;
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    0.5 * (lower + upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal deviates from a fixed seed (sum of twelve uniforms of an LCG).
    struct Normal(u64);
    impl Normal {
        fn next(&mut self) -> f64 {
            (0..12)
                .map(|_| {
                    self.0 = self
                        .0
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (self.0 >> 11) as f64 / (1u64 << 53) as f64
                })
                .sum::<f64>()
                - 6.0
        }
    }

    /// Onsets of `count` notes whose lengths in beats repeat `pattern`, with normal jitter.
    fn line(bpm: f64, pattern: &[f64], count: usize, jitter_ms: f64, seed: u64) -> Vec<f64> {
        let mut normal = Normal(seed);
        let mut beat = 0.0;
        (0..count)
            .map(|i| {
                let t = 0.5 + beat * 60.0 / bpm + normal.next() * jitter_ms / 1000.0;
                beat += pattern[i % pattern.len()];
                t
            })
            .collect()
    }

    fn set(bpm: f64) -> Option<Tempo> {
        Tempo::new(bpm).ok()
    }

    #[test]
    fn tempo_and_subdivision_are_inferred() {
        for (bpm, pattern, subdivision) in [
            (100.0, &[0.5][..], Subdivision::Eighth),
            (160.0, &[0.5], Subdivision::Eighth),
            (120.0, &[1.0], Subdivision::Quarter),
            (60.0, &[1.0], Subdivision::Quarter),
            (180.0, &[0.25], Subdivision::Sixteenth),
            (90.0, &[1.0, 0.5, 0.5], Subdivision::Eighth),
            (100.0, &[1.0, 1.0, 1.0, 0.5, 0.5, 2.0, 1.0], Subdivision::Eighth),
            (80.0, &[2.0 / 3.0, 1.0 / 3.0, 1.0], Subdivision::Triplet),
            (110.0, &[0.75, 0.25, 0.5, 0.5], Subdivision::Sixteenth),
        ] {
            for seed in 0..5 {
                let timing = analyse(&line(bpm, pattern, 40, 5.0, seed), &None.into(), &[]).unwrap();
                assert!((timing.bpm / bpm - 1.0).abs() < 0.005, "{bpm} {pattern:?}: {}", timing.bpm);
                assert_eq!(timing.subdivision, subdivision, "{bpm} {pattern:?}");
                assert!((2.5..8.0).contains(&timing.sd_ms), "{bpm} {pattern:?}: {}", timing.sd_ms);
                assert_eq!(timing.tendency, Some(Tendency::Steady), "{bpm} {pattern:?} {timing:?}");
            }
        }
    }

    #[test]
    fn spread_is_measured_with_and_without_a_tempo() {
        for (jitter, bpm) in [(10.0, 100.0), (20.0, 100.0), (40.0, 100.0), (20.0, 140.0)] {
            let (mut known, mut inferred) = (0.0, 0.0);
            for seed in 0..20 {
                let onsets = line(bpm, &[0.5], 21, jitter, seed);
                known += analyse(&onsets, &set(bpm).into(), &[]).unwrap().sd_ms / 20.0;
                inferred += analyse(&onsets, &None.into(), &[]).unwrap().sd_ms / 20.0;
            }
            assert!((known / jitter - 1.0).abs() < 0.1, "{jitter} at {bpm}: {known}");
            assert!((0.8..1.1).contains(&(inferred / jitter)), "{jitter} at {bpm}: {inferred}");
        }
    }

    #[test]
    fn latency_is_taken_out_and_rests_cost_nothing() {
        let onsets = line(96.0, &[0.5, 0.5, 1.0, 3.0, 0.5, 0.5, 6.0], 50, 0.0, 1);
        let plain = analyse(&onsets, &set(96.0).into(), &[]).unwrap();
        assert!(plain.sd_ms < 1e-6);
        for latency in [-0.2, 0.013, 0.111, 7.77] {
            let late: Vec<f64> = onsets.iter().map(|t| t + latency).collect();
            let timing = analyse(&late, &set(96.0).into(), &[]).unwrap();
            assert!(timing.sd_ms < 1e-6, "{latency}: {}", timing.sd_ms);
            assert!(timing.deviations_ms.iter().all(|d| d.unwrap().abs() < 1e-6));
        }
        assert!(analyse(&onsets, &None.into(), &[]).unwrap().sd_ms < 0.5);
    }

    #[test]
    fn one_lost_note_and_one_false_onset_do_not_bend_the_grid() {
        let mut onsets = line(100.0, &[0.5], 30, 4.0, 3);
        onsets.remove(11);
        onsets.push(onsets[20] + 0.09);
        for tempo in [None, set(100.0)] {
            let timing = analyse(&onsets, &tempo.into(), &[]).unwrap();
            assert!((timing.bpm - 100.0).abs() < 0.5, "{timing:?}");
            assert!(timing.sd_ms < 12.0, "{}", timing.sd_ms);
            assert!(timing.deviations_ms[29].unwrap().abs() > 60.0);
        }
    }

    #[test]
    fn speeding_up_is_found_and_named() {
        // 100 to 110 bpm over 12 s of eighths.
        let (mut t, mut onsets) = (0.5, Vec::new());
        for _ in 0..41 {
            onsets.push(t);
            t += 30.0 / (100.0 + 10.0 * (t - 0.5) / 11.5);
        }
        let timing = analyse(&onsets, &None.into(), &[]).unwrap();
        assert!((timing.bpm - 104.8).abs() < 0.5, "{}", timing.bpm);
        assert!((timing.sd_ms - 43.8).abs() < 3.0, "{}", timing.sd_ms);
        assert!((timing.drift.unwrap() - 52.0).abs() < 4.0, "{:?}", timing.drift);
        assert_eq!(timing.tendency, Some(Tendency::Rushing));
        let slow: Vec<f64> = onsets.iter().map(|t| 20.0 - t).collect();
        assert_eq!(analyse(&slow, &None.into(), &[]).unwrap().tendency, Some(Tendency::Dragging));
        let off = analyse(&line(98.0, &[0.5], 40, 3.0, 1), &set(100.0).into(), &[]).unwrap();
        assert_eq!(off.tendency, Some(Tendency::Dragging));
        assert!(off.sd_ms > 20.0);
    }

    #[test]
    fn lost_input_parts_the_grid() {
        let mut onsets = line(100.0, &[0.5], 20, 0.0, 1);
        onsets.extend(line(100.0, &[0.5], 20, 0.0, 1).iter().map(|t| t + 7.123));
        assert!(analyse(&onsets, &set(100.0).into(), &[]).unwrap().sd_ms > 30.0);
        assert!(analyse(&onsets, &set(100.0).into(), &[7.0]).unwrap().sd_ms < 1e-6);
    }

    #[test]
    fn few_or_hostile_notes_are_answered_honestly() {
        let four = line(100.0, &[1.0], 4, 5.0, 1);
        for tempo in [None, set(100.0)] {
            assert_eq!(analyse(&[], &tempo.into(), &[]), None);
            assert_eq!(analyse(&four[..3], &tempo.into(), &[]), None);
            assert_eq!(analyse(&[1.0; 9], &tempo.into(), &[]), None);
            assert_eq!(analyse(&[f64::NAN, f64::INFINITY, 1e300, -1e300], &tempo.into(), &[]), None);
            let timing = analyse(&four, &tempo.into(), &[]).unwrap();
            assert!(timing.tendency.is_none() && timing.drift.is_none());
            let mut mixed = vec![f64::NAN, 1e300];
            mixed.extend(four.iter().rev());
            let timing = analyse(&mixed, &tempo.into(), &[]).unwrap();
            assert!(timing.deviations_ms[0].is_none() && timing.deviations_ms[1].is_none());
            assert!(timing.deviations_ms[2..].iter().all(Option::is_some));
        }
    }

    #[test]
    fn hours_of_playing_with_pauses_are_judged_in_runs() {
        let mut onsets = Vec::new();
        for part in 0..60 {
            // Each time on a grid of its own, at a tempo of its own.
            let start = f64::from(part) * 61.3;
            onsets.extend(
                line(90.0 + f64::from(part % 7), &[0.5, 0.5, 1.0], 60, 8.0, part as u64)
                    .iter()
                    .map(|t| t + start),
            );
        }
        let timing = analyse(&onsets, &None.into(), &[]).unwrap();
        assert!((timing.sd_ms - 8.0).abs() < 1.0, "{}", timing.sd_ms);
        assert!((90.0..=96.0).contains(&timing.bpm), "{} {}", timing.bpm, timing.subdivision);
    }
}
