//! Evenness of the playing: how far the notes lie from the grid, and whether the tempo wanders.
//!
//! Three cases. With a click whose round trip is known, a deviation is the distance from the click and nothing is taken
//! out; what all notes have in common is told apart from their spread, as being ahead of or behind the click. With a
//! click of unknown latency, or only a tempo, that constant part (the way of the sound through the computer, and the
//! player's habit) is taken out. Without either, tempo and grid are found in the notes ([`super::tempo`]).
//!
//! Which subdivision a note belongs to is decided beat by beat ([`super::placing`]), how uneven the playing is without
//! its wildest few notes ([`super::spread`]). Long playing is judged in runs: parted by pauses, after which nobody
//! without a click comes in on the old grid, and at most `RUN_SECONDS` long.

use crate::music::grid::{Places, Subdivision, Swing, Tempo};

pub use super::click::{Click, Pulse};
use super::placing::{Stretch, add_stretch, in_words, place, spread_about};
use super::spread::{Spread, interval, median, spread};
use super::tempo::{Measured, SMALLEST_SD, Search, fit, lay, lay_near, measure};
use super::types::Tendency;

/// Fewest notes of a run that say anything about timing.
pub const FEWEST_NOTES: usize = 4;
/// Fewest notes for a figure of the spread, and so for a score; fewer yield an interval. With eight the true spread
/// lies between 0.76 and 1.57 times the measured one four times in five, with four between 0.69 and 2.3.
pub const FEWEST_FOR_FIGURE: usize = 8;
/// Fewest notes for a tendency or a drift: with fewer, uneven playing looks like either.
const FEWEST_FOR_DRIFT: usize = 8;
/// Fewest swung notes for a ratio.
const FEWEST_FOR_SWING: usize = 8;
/// Longest run judged against one grid, seconds: a window of the coach and a little more. Nobody without a click
/// holds a tempo for longer to within what a grid can explain.
const RUN_SECONDS: f64 = 45.0;
/// A pause this long parts two runs, seconds; with a tempo also at least [`PAUSE_BEATS`]. A known click parts none.
const PAUSE_SECONDS: f64 = 4.0;
const PAUSE_BEATS: f64 = 8.0;
/// Notes closer than this are one stroke (a strum), seconds; sixteenths at 300 bpm are farther apart.
const STROKE_SECONDS: f64 = 0.03;
/// Times beyond this are no times, seconds (116 days).
const LATEST: f64 = 1e7;
/// A difference to the set tempo below this share of it is steady.
const STEADY_SHARE: f64 = 0.004;
/// A drift below this is steady, bpm per minute.
const STEADY_DRIFT: f64 = 1.5;
/// Constantly ahead of or behind a click by less than this is with it, ms: the round trip is measured to a few
/// milliseconds, and two sounds less than about 10 ms apart are hardly heard as two.
const WITH_THE_CLICK_MS: f64 = 12.0;
/// A tendency must stand out of its own uncertainty by this many standard errors.
const CERTAIN: f64 = 3.0;
/// A drift is reported when its standard error is below this, bpm per minute.
const DRIFT_ERROR: f64 = 4.0;
/// Standard error of a median against that of a mean.
const MEDIAN_ERROR: f64 = 1.2533;

/// What the onsets say about timing.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Per onset given, in the same order. `None` for an onset that is no number or stands alone.
    pub notes: Vec<Option<Placed>>,
    /// Standard deviation about the grid, ms: ddof 1, and one more where the tempo is inferred.
    pub sd_ms: f64,
    /// Interval that holds the true spread four times in five, ms.
    pub interval_ms: Option<(f64, f64)>,
    /// Notes that the spread stands on.
    pub counted: usize,
    /// Mean distance between neighbouring grid points, ms.
    pub gap_ms: f64,
    /// Tempo set, or inferred, bpm.
    pub bpm: f64,
    /// What was played, in order.
    pub stretches: Vec<Stretch>,
    /// First part of the beat against the second, where eighths were swung.
    pub swing: Option<f64>,
    /// Constantly behind the click by this much, ms; ahead negative. Only with a click whose round trip is known.
    pub click_offset_ms: Option<f64>,
    /// `None` with too few notes.
    pub tendency: Option<Tendency>,
    /// Change of tempo, bpm per minute; `None` with too few notes to tell.
    pub drift: Option<f64>,
}

impl Timing {
    /// True when the spread is known well enough for a figure.
    #[must_use]
    pub fn has_figure(&self) -> bool {
        self.counted >= FEWEST_FOR_FIGURE
    }

    /// Subdivisions in words: `eighths`, `quarters, then triplets`.
    #[must_use]
    pub fn subdivision(&self) -> String {
        in_words(&self.stretches)
    }
}

/// A note on its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Deviation from it, ms, early negative; see [`Timing`] for what is taken out.
    pub deviation_ms: f64,
    /// Where in the beat the place is, 0..1: 0 on the beat, 0.5 the off-beat of straight eighths.
    pub place: f64,
    /// Mean distance between neighbouring places there, ms.
    pub gap_ms: f64,
}

/// Judges onsets (seconds, in any order). A run never reaches across one of the `breaks` (seconds): input was lost
/// there, and with it the grid. `None` when no run has [`FEWEST_NOTES`] notes on a grid.
#[must_use]
pub fn analyse(onsets: &[f64], pulse: &Pulse, breaks: &[f64]) -> Option<Timing> {
    let mut order: Vec<usize> = (0..onsets.len()).filter(|&i| onsets[i].abs() <= LATEST).collect();
    order.sort_by(|&a, &b| onsets[a].total_cmp(&onsets[b]));
    let mut placed = vec![None; onsets.len()];
    let mut runs: Vec<Run> = Vec::new();
    for part in order.chunk_by(|&a, &b| joined(onsets[a], onsets[b], pulse, breaks)) {
        let start = onsets[part[0]];
        let span = onsets[part[part.len() - 1]] - start;
        let pieces = (span / RUN_SECONDS).ceil().max(1.0);
        let piece = |i: usize| ((onsets[i] - start) / span * pieces).floor().clamp(0.0, pieces - 1.0);
        for notes in part.chunk_by(|&a, &b| span <= RUN_SECONDS || piece(a) == piece(b)) {
            let strokes: Vec<&[usize]> =
                notes.chunk_by(|&a, &b| onsets[b] - onsets[a] < STROKE_SECONDS).collect();
            let times: Vec<f64> = strokes.iter().map(|s| onsets[s[0]]).collect();
            let Some((run, judged)) = Run::judge(&times, pulse) else { continue };
            for (stroke, note) in strokes.iter().zip(judged) {
                for &i in *stroke {
                    placed[i] = Some(note);
                }
            }
            runs.push(run);
        }
    }
    Timing::of(&runs, placed)
}

/// True when notes at two times (rising) belong to one run.
fn joined(a: f64, b: f64, pulse: &Pulse, breaks: &[f64]) -> bool {
    let known = pulse.click_at(a).filter(|c| c.latency_known);
    let pause = match known.map(|c| c.tempo).or(pulse.tempo) {
        Some(_) if known.is_some() => RUN_SECONDS,
        Some(tempo) => PAUSE_SECONDS.max(PAUSE_BEATS * tempo.beat_seconds()),
        None => PAUSE_SECONDS,
    };
    b - a <= pause && pulse.one_grid(a, b) && !breaks.iter().any(|at| (a..b).contains(at))
}

impl Timing {
    fn of(runs: &[Run], placed: Vec<Option<Placed>>) -> Option<Self> {
        let notes: f64 = runs.iter().map(|r| r.notes as f64).sum();
        if runs.is_empty() {
            return None;
        }
        let free: usize = runs.iter().map(|r| r.free).sum();
        let sd_ms = (runs.iter().map(|r| r.spread.squares).sum::<f64>() / free.max(1) as f64).sqrt();
        let drift = weighted(runs.iter().filter_map(|r| r.drift));
        let off = weighted(runs.iter().filter_map(|r| r.off));
        let behind = weighted(runs.iter().filter_map(|r| r.behind));
        let mut tempos: Vec<f64> = runs.iter().flat_map(|r| std::iter::repeat_n(r.bpm, r.notes)).collect();
        let mut stretches = Vec::new();
        for (subdivision, notes) in runs.iter().flat_map(|r| &r.stretches) {
            add_stretch(&mut stretches, *subdivision, *notes);
        }
        let mut swings: Vec<f64> = runs
            .iter()
            .flat_map(|r| r.swung.iter().flat_map(|(s, notes)| std::iter::repeat_n(s.ratio(), *notes)))
            .collect();
        Some(Self {
            notes: placed,
            sd_ms,
            interval_ms: interval(sd_ms, free),
            counted: runs.iter().map(|r| r.spread.notes).sum(),
            gap_ms: runs.iter().map(|r| r.gap_ms * r.notes as f64).sum::<f64>() / notes,
            bpm: median(&mut tempos),
            stretches,
            swing: (swings.len() >= FEWEST_FOR_SWING).then(|| median(&mut swings)),
            click_offset_ms: behind.map(|b| b.0),
            tendency: tendency(off, behind, drift),
            drift: drift.filter(|d| d.1 <= DRIFT_ERROR).map(|d| d.0),
        })
    }
}

/// Faster or slower than the set tempo first, then ahead of or behind the click, then getting faster or slower.
fn tendency(
    off: Option<(f64, f64)>,
    behind: Option<(f64, f64)>,
    drift: Option<(f64, f64)>,
) -> Option<Tendency> {
    let leaning = |value: Option<(f64, f64)>, least: f64| {
        let (value, error) = value?;
        (value.abs() >= least && value.abs() >= CERTAIN * error).then_some(value)
    };
    drift?;
    let ahead = leaning(behind, WITH_THE_CLICK_MS).map(|b| -b);
    Some(match leaning(off, STEADY_SHARE).or(ahead).or_else(|| leaning(drift, STEADY_DRIFT)) {
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
    /// Of the deviations, ms.
    spread: Spread,
    /// Degrees of freedom of the spread.
    free: usize,
    gap_ms: f64,
    bpm: f64,
    stretches: Vec<Stretch>,
    /// Swung notes with their ratio.
    swung: Vec<(Swing, usize)>,
    /// Change of tempo with its standard error, bpm per minute.
    drift: Option<(f64, f64)>,
    /// Difference to the set tempo with its standard error, share of it.
    off: Option<(f64, f64)>,
    /// Constantly behind the click with its standard error, ms.
    behind: Option<(f64, f64)>,
}

/// The notes of a run on their places.
struct Laid {
    points: Vec<f64>,
    subdivisions: Vec<Subdivision>,
    too_many: Vec<bool>,
    /// Seconds.
    deviations: Vec<f64>,
    bpm: f64,
}

impl Run {
    fn judge(times: &[f64], pulse: &Pulse) -> Option<(Self, Vec<Placed>)> {
        if times.len() < FEWEST_NOTES {
            return None;
        }
        let click = pulse.click_at(times[times.len() / 2]);
        let tempo = click.map(|c| c.tempo).or(pulse.tempo);
        let followed = Followed::of(times, tempo);
        let laid = match (click.filter(|c| c.latency_known), tempo) {
            (Some(click), _) => on_click(times, &click),
            (None, Some(tempo)) => on_tempo(times, tempo, followed.as_ref()),
            (None, None) => followed.as_ref()?.laid(),
        };
        let counted: Vec<f64> = laid
            .deviations
            .iter()
            .zip(&laid.too_many)
            .filter_map(|(d, too_many)| (!too_many).then_some(*d))
            .collect();
        let middle = median(&mut counted.clone());
        let mut spread = spread(&counted);
        spread.squares *= 1e6;
        let known = click.is_some_and(|c| c.latency_known);
        let taken_out = if known { 0.0 } else { middle };
        let mut stretches = Vec::new();
        laid.subdivisions.iter().for_each(|s| add_stretch(&mut stretches, *s, 1));
        let swung: Vec<(Swing, usize)> = laid
            .subdivisions
            .chunk_by(|a, b| a == b)
            .filter_map(|s| if let Subdivision::Swung(swing) = s[0] { Some((swing, s.len())) } else { None })
            .collect();
        let gap_ms = |s: Subdivision| s.gap() * 60_000.0 / laid.bpm;
        let parameters = 1 + usize::from(tempo.is_none()) + usize::from(!swung.is_empty());
        let free = spread.notes.saturating_sub(parameters).max(1);
        let error = MEDIAN_ERROR * (spread.squares / free as f64 / counted.len().max(1) as f64).sqrt();
        let enough = followed.as_ref().filter(|_| times.len() >= FEWEST_FOR_DRIFT).map(|f| &f.measured);
        let run = Self {
            notes: times.len(),
            gap_ms: laid.subdivisions.iter().map(|s| gap_ms(*s)).sum::<f64>() / times.len() as f64,
            bpm: tempo.map_or(laid.bpm, Tempo::bpm),
            stretches,
            swung,
            drift: enough.map(|m| (m.drift, m.drift_error)),
            off: enough.and_then(|m| tempo.map(|t| ((m.bpm - t.bpm()) / t.bpm(), m.bpm_error / t.bpm()))),
            behind: known.then_some((1000.0 * middle, error)),
            spread,
            free,
        };
        let placed = (0..times.len())
            .map(|i| Placed {
                deviation_ms: 1000.0 * (laid.deviations[i] - taken_out),
                place: laid.points[i] - laid.points[i].floor(),
                gap_ms: gap_ms(laid.subdivisions[i]),
            })
            .collect();
        Some((run, placed))
    }
}

/// Notes at the tempo that they were really played at.
struct Followed {
    places: Places,
    points: Vec<f64>,
    subdivisions: Vec<Subdivision>,
    too_many: Vec<bool>,
    measured: Measured,
}

impl Followed {
    /// `None` where no tempo can be found, or none near the one that was set.
    fn of(times: &[f64], tempo: Option<Tempo>) -> Option<Self> {
        let grid = fit(times, tempo.map_or(Search::Any, |t| Search::Near(t.bpm())))?;
        let beats: Vec<f64> = times.iter().map(|t| grid.beats(*t)).collect();
        let sd = spread_about(&beats, &grid.places).max(SMALLEST_SD * grid.rate());
        let placing = place(&beats, sd, if tempo.is_some() { 1 } else { grid.places.turns() });
        // A note that is too many must not pull at the tempo.
        let own: Vec<bool> = placing.too_many.iter().map(|too_many| !too_many).collect();
        let measured = measure(&placing.points, times, &own);
        Some(Self {
            places: grid.places,
            points: placing.points,
            subdivisions: placing.subdivisions,
            too_many: placing.too_many,
            measured,
        })
    }

    fn laid(&self) -> Laid {
        Laid {
            points: self.points.clone(),
            subdivisions: self.subdivisions.clone(),
            too_many: self.too_many.clone(),
            deviations: self.measured.deviations.clone(),
            bpm: self.measured.bpm,
        }
    }
}

/// Notes on the grid of a set tempo, laid so that it fits best.
fn on_tempo(times: &[f64], tempo: Tempo, followed: Option<&Followed>) -> Laid {
    let places = followed.map_or_else(|| Subdivision::Sixteenth.places(), |f| f.places);
    let grid = lay(times, tempo.bpm(), &places);
    let beats: Vec<f64> = times.iter().map(|t| grid.beats(*t)).collect();
    on_beats(&beats, spread_about(&beats, &places), places.turns(), tempo, None)
}

/// Notes on the beats of a click whose round trip is known.
fn on_click(times: &[f64], click: &Click) -> Laid {
    let grid = lay_near(times, click.tempo.bpm(), click.origin);
    let beats: Vec<f64> = times.iter().map(|t| grid.beats(*t)).collect();
    let behind = click.beats(times[0]) - beats[0];
    on_beats(&beats, spread_about(&beats, &grid.places), 1, click.tempo, Some(behind))
}

/// `behind`: how far these beats are behind those of a click, where that is known.
fn on_beats(beats: &[f64], sd: f64, turns: usize, tempo: Tempo, behind: Option<f64>) -> Laid {
    let placing = place(beats, sd.max(SMALLEST_SD / tempo.beat_seconds()), turns);
    // A click says itself where the beat is, whatever the beats were turned by.
    let shift = behind.unwrap_or(placing.turn);
    let off = |(b, p): (&f64, &f64)| (b + shift - p) * tempo.beat_seconds();
    let deviations = beats.iter().zip(&placing.points).map(off).collect();
    Laid {
        points: placing.points,
        subdivisions: placing.subdivisions,
        too_many: placing.too_many,
        deviations,
        bpm: tempo.bpm(),
    }
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
