//! Where each note belongs: the subdivision of every beat, so that quarters, then eighths, then triplets are each
//! judged by their own places, and the swing that is played.
//!
//! Beat by beat the subdivision is chosen that names the notes most cheaply: each costs what it takes to tell its place
//! (`ln` of how many there are) and its distance from it, an outlier a bounded amount, and a change of subdivision
//! `CHANGE` (a Viterbi path over the beats). So a lone note off the beat stays an uneven eighth, while three notes on
//! triplet places are triplets. Swung eighths are one more subdivision, at the place where the off-beats lie; their ratio
//! costs as much as any fitted number. Consistent swing is thereby no error, and inconsistent swing is.

use std::f64::consts::TAU;

use crate::music::grid::{Places, Subdivision, Swing};

use super::spread::{median, robust_sd};
use super::tempo::OUTLIERS;

/// What a change of subdivision costs, nats: about one change in twenty beats.
const CHANGE: f64 = 3.0;
/// What it costs that eighths swing at all, nats, beside half a log of the number of notes for the ratio.
const SWING: f64 = 1.0;
/// Off-beats are sought between these places of the beat. The window reaches as far below the lightest swing as it needs
/// to keep uneven straight eighths from looking swung: their median is then a half.
const OFF_BEATS: (f64, f64) = (0.38, 0.82);
/// Lightest swing that is told from straight eighths: 1.15:1.
const LIGHTEST: f64 = 0.535;
/// Fewest off-beats that tell a swing.
const FEWEST_SWUNG: usize = 4;
/// Fewest notes off the beat that make triplets or swing of a stretch among other subdivisions. A lone one is a note
/// that is early or late: a triplet's place is only a sixth of a beat from an eighth's.
const FEWEST_RARE: usize = 2;
/// Two notes on the same place: the farther one is too many when it lies this many spreads off.
const TOO_MANY: f64 = 3.0;
/// When more than this share of the notes (and more than two) would be too many, it is the places that are too few.
const MOST_TOO_MANY: f64 = 0.12;

/// Notes on their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placing {
    /// Beats to be added to those of the notes: where the beat lies among its parts was not known.
    pub turn: f64,
    /// Where each note is meant to fall, beats (turned).
    pub points: Vec<f64>,
    /// The subdivision of the beat it lies in.
    pub subdivisions: Vec<Subdivision>,
    /// A note whose place another one holds that lies nearer: a touch of the pick, or a false onset.
    pub too_many: Vec<bool>,
}

/// Places notes at `beats` (rising, finite), which spread by about `sd` (beats, above 0). With more than one of `turns`,
/// the beat may lie at any of so many parts of it: where coarse subdivisions explain most.
#[must_use]
pub fn place(beats: &[f64], sd: f64, turns: usize) -> Placing {
    let mut best: Option<(Path, f64, Vec<f64>)> = None;
    for turn in 0..turns.max(1) {
        let turn = turn as f64 / turns.max(1) as f64;
        let turned: Vec<f64> = beats.iter().map(|b| b + turn).collect();
        let path = cheapest(&turned, sd);
        if best.as_ref().is_none_or(|b| path.cost < b.0.cost) {
            best = Some((path, turn, turned));
        }
    }
    let Some((mut path, mut turn, mut beats)) = best else { return Placing::default() };
    // Laid before the swing was known, the beat lies between the two: it is put where the notes on the beat are.
    if let Some(on_beat) = path.on_swung_beats(&beats) {
        let shifted: Vec<f64> = beats.iter().map(|b| b - on_beat).collect();
        path = cheapest(&shifted, sd);
        turn -= on_beat;
        beats = shifted;
    }
    path.mend(&beats);
    let points: Vec<f64> =
        beats.iter().zip(&path.subdivisions).map(|(b, s)| b.floor() + nearest(*s, b - b.floor())).collect();
    let too_many = too_many(&beats, &points, sd);
    Placing { turn, points, subdivisions: path.subdivisions, too_many }
}

/// The cheapest path, with swing or without.
fn cheapest(beats: &[f64], sd: f64) -> Path {
    let mut best = Path::over(beats, &Subdivision::EVEN, sd);
    let number = SWING + 0.5 * (beats.len().max(1) as f64).ln();
    let mut tried = Vec::new();
    let mut swings = swings(beats);
    while let Some(swing) = swings.pop() {
        if tried.contains(&swing) || tried.len() > 6 {
            continue;
        }
        tried.push(swing);
        let [a, b, c, d] = Subdivision::EVEN;
        let mut path = Path::over(beats, &[a, b, Subdivision::Swung(swing), c, d], sd);
        path.cost += number;
        if path.cost < best.cost {
            // Once more with the ratio of those that were taken for swung.
            swings.extend(path.swing(beats));
            best = path;
        }
    }
    best
}

/// The nearest place to a phase, the next beat among them.
fn nearest(subdivision: Subdivision, phase: f64) -> f64 {
    let closer =
        |best: f64, place: &f64| if (phase - place).abs() < (phase - best).abs() { *place } else { best };
    subdivision.places().iter().fold(1.0, closer)
}

/// Swings that are worth a try: the middle of all off-beats, and those that players name.
fn swings(beats: &[f64]) -> Vec<Swing> {
    let mut off: Vec<f64> =
        beats.iter().map(|b| b - b.floor()).filter(|p| (OFF_BEATS.0..OFF_BEATS.1).contains(p)).collect();
    if off.len() < FEWEST_SWUNG {
        return Vec::new();
    }
    let middle = median(&mut off);
    [0.6, 2.0 / 3.0, middle].into_iter().filter(|p| *p >= LIGHTEST).map(Swing::at).collect()
}

/// The subdivision of each note, and what they cost to tell.
struct Path {
    subdivisions: Vec<Subdivision>,
    cost: f64,
}

impl Path {
    fn over(beats: &[f64], kinds: &[Subdivision], sd: f64) -> Self {
        let peak = (1.0 - OUTLIERS) / (sd * TAU.sqrt());
        let cell_cost = |cell: &[f64], kind: Subdivision| {
            let count = (kind.places().len() as f64).ln();
            cell.iter()
                .map(|b| {
                    let phase = b - b.floor();
                    let z = (phase - nearest(kind, phase)) / sd;
                    count - (peak * (-0.5 * z * z).exp() + OUTLIERS).ln()
                })
                .sum::<f64>()
        };
        let cells: Vec<&[f64]> = beats.chunk_by(|a, b| a.floor() == b.floor()).collect();
        let mut costs = vec![0.0; kinds.len()];
        let mut came_from: Vec<Vec<usize>> = Vec::with_capacity(cells.len());
        for cell in &cells {
            let cheapest = index_of_least(&costs);
            let stay = costs[cheapest] + if came_from.is_empty() { 0.0 } else { CHANGE };
            let mut from = Vec::with_capacity(kinds.len());
            for (i, kind) in kinds.iter().enumerate() {
                let changed = stay < costs[i];
                from.push(if changed { cheapest } else { i });
                costs[i] = costs[i].min(stay) + cell_cost(cell, *kind);
            }
            came_from.push(from);
        }
        let mut kind = index_of_least(&costs);
        let cost = costs[kind];
        let mut subdivisions = Vec::with_capacity(beats.len());
        for (cell, from) in cells.iter().zip(&came_from).rev() {
            subdivisions.extend(std::iter::repeat_n(kinds[kind], cell.len()));
            kind = from[kind];
        }
        subdivisions.reverse();
        Self { subdivisions, cost }
    }

    /// Takes back triplets and swing that stand on a single note: that note is early or late.
    fn mend(&mut self, beats: &[f64]) {
        let mut start = 0;
        while start < beats.len() {
            let kind = self.subdivisions[start];
            let same = self.subdivisions[start..].iter().take_while(|s| **s == kind).count();
            let end = start + same;
            let between = beats[start..end].iter().filter(|b| {
                let place = nearest(kind, *b - b.floor());
                place > 0.0 && place < 1.0
            });
            let rare = matches!(kind, Subdivision::Triplet | Subdivision::Swung(_));
            if rare && between.count() < FEWEST_RARE && same < beats.len() {
                let other = if start > 0 { self.subdivisions[start - 1] } else { self.subdivisions[end] };
                self.subdivisions[start..end].fill(other);
            }
            start = end;
        }
    }

    /// How far behind the beat the notes on swung beats are, in the middle; `None` without swing.
    fn on_swung_beats(&self, beats: &[f64]) -> Option<f64> {
        self.swing(beats)?;
        let mut on: Vec<f64> = Vec::new();
        for (b, s) in beats.iter().zip(&self.subdivisions) {
            let off = b - b.round();
            if matches!(s, Subdivision::Swung(_)) && s.nearest(*b).1 == 0 {
                on.push(off);
            }
        }
        (on.len() >= FEWEST_SWUNG).then(|| median(&mut on))
    }

    /// The swing of those notes that were taken for swung off-beats.
    fn swing(&self, beats: &[f64]) -> Option<Swing> {
        let mut off: Vec<f64> = Vec::new();
        for (b, s) in beats.iter().zip(&self.subdivisions) {
            let phase = b - b.floor();
            if matches!(s, Subdivision::Swung(swing) if nearest(*s, phase) == swing.place()) {
                off.push(phase);
            }
        }
        (off.len() >= FEWEST_SWUNG).then(|| Swing::at(median(&mut off).max(LIGHTEST)))
    }
}

fn index_of_least(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |least, i| if values[i] < values[least] { i } else { least })
}

fn too_many(beats: &[f64], points: &[f64], sd: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..beats.len()).collect();
    order.sort_by(|&a, &b| points[a].total_cmp(&points[b]));
    let off = |i: usize| (beats[i] - points[i]).abs();
    let mut found = vec![false; beats.len()];
    for same in order.chunk_by(|&a, &b| (points[a] - points[b]).abs() < 1e-6) {
        let least = same.iter().map(|&i| off(i)).fold(f64::INFINITY, f64::min);
        for &i in same {
            found[i] = off(i) > least && off(i) > TOO_MANY * sd;
        }
    }
    let count = found.iter().filter(|f| **f).count();
    if count > 2 && count as f64 > MOST_TOO_MANY * beats.len() as f64 {
        found.fill(false);
    }
    found
}

/// Consecutive notes of one subdivision, with how many.
pub type Stretch = (Subdivision, usize);

/// Adds notes of a subdivision; swung eighths of any ratio are one kind.
pub(super) fn add_stretch(stretches: &mut Vec<Stretch>, subdivision: Subdivision, notes: usize) {
    match stretches.last_mut() {
        Some((last, count)) if std::mem::discriminant(last) == std::mem::discriminant(&subdivision) => {
            *count += notes;
        }
        _ => stretches.push((subdivision, notes)),
    }
}

/// Most stretches that are told one after the other.
const TOLD: usize = 3;
/// Smallest share of the notes that makes a subdivision worth a word among many stretches.
const WORTH_A_WORD: f64 = 0.1;

/// `eighths`, `quarters, then triplets`, `eighths and sixteenths`; empty for none.
#[must_use]
pub fn in_words(stretches: &[Stretch]) -> String {
    let name = |s: &Subdivision| match s {
        // The ratio is a fact of its own.
        Subdivision::Swung(_) => "swung eighths".to_owned(),
        even => even.to_string(),
    };
    if stretches.len() <= TOLD {
        return stretches.iter().map(|(s, _)| name(s)).collect::<Vec<_>>().join(", then ");
    }
    let mut kinds: Vec<Stretch> = Vec::new();
    for (subdivision, notes) in stretches {
        let same = |k: &&mut Stretch| std::mem::discriminant(&k.0) == std::mem::discriminant(subdivision);
        match kinds.iter_mut().find(same) {
            Some(kind) => kind.1 += notes,
            None => kinds.push((*subdivision, *notes)),
        }
    }
    let total: usize = kinds.iter().map(|k| k.1).sum();
    kinds.sort_by_key(|k| std::cmp::Reverse(k.1));
    let told: Vec<String> =
        kinds.iter().filter(|k| k.1 as f64 >= WORTH_A_WORD * total as f64).map(|(s, _)| name(s)).collect();
    match told.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        few => few.concat(),
    }
}

/// Spread of notes about these places, beats.
pub(super) fn spread_about(beats: &[f64], places: &Places) -> f64 {
    robust_sd(&mut beats.iter().map(|b| b - places.nearest(*b).0).collect::<Vec<_>>())
}
