//! What the virtual guitarist plays: runs, thirds, sequences and riffs over a scale, in beats.

use std::fmt;
use std::str::FromStr;

use crate::music::scale::Scale;
use crate::music::tuning::Tuning;

use super::random::Random;

/// Beats in a bar.
pub(super) const BAR: f64 = 4.0;
/// Sequences of four are played in sixteenths up to this tempo, in eighths above, bpm.
const SIXTEENTHS_UP_TO: f64 = 100.0;

/// What is played over the scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// Two octaves up and down in eighths.
    #[default]
    Scale,
    /// In thirds, up and down, in eighths.
    Thirds,
    /// Sequences of four (1234 2345 …), in sixteenths at slow tempos.
    Fours,
    /// Phrases of quarters, eighths and rests.
    Riff,
    /// All of them in turn.
    Mixed,
}

/// A word that names no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no pattern: choose from scale, thirds, fours, riff, mixed")]
pub struct PatternError {
    /// What was asked for.
    pub text: String,
}

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        match text.trim().to_lowercase().as_str() {
            "scale" => Ok(Self::Scale),
            "thirds" => Ok(Self::Thirds),
            "fours" => Ok(Self::Fours),
            "riff" => Ok(Self::Riff),
            "mixed" => Ok(Self::Mixed),
            _ => Err(PatternError { text: text.trim().into() }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scale => "scale",
            Self::Thirds => "thirds",
            Self::Fours => "fours",
            Self::Riff => "riff",
            Self::Mixed => "mixed",
        })
    }
}

/// A note as it is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Intended {
    /// Beats from the start.
    pub(super) beat: f64,
    /// Beats.
    pub(super) length: f64,
    pub(super) midi: u8,
    /// Louder on the beat: 0..=1.
    pub(super) accent: f64,
}

/// Phrases without end, varying.
#[derive(Clone, Debug)]
pub(super) struct Phrases {
    pattern: Pattern,
    /// Notes of the scale over two octaves, rising.
    notes: Vec<u8>,
    bpm: f64,
    turn: usize,
    beat: f64,
    random: Random,
    waiting: std::collections::VecDeque<Intended>,
}

impl Phrases {
    pub(super) fn new(scale: &Scale, tuning: &Tuning, pattern: Pattern, bpm: f64, random: Random) -> Self {
        Self {
            pattern,
            notes: two_octaves(scale, tuning),
            bpm,
            turn: 0,
            beat: 0.0,
            random,
            waiting: std::collections::VecDeque::new(),
        }
    }

    /// Lowest note that is played.
    pub(super) fn lowest(&self) -> u8 {
        self.notes[0]
    }

    pub(super) fn next(&mut self) -> Intended {
        loop {
            if let Some(note) = self.waiting.pop_front() {
                return note;
            }
            self.add_phrase();
        }
    }

    fn add_phrase(&mut self) {
        const TURNS: [Pattern; 5] =
            [Pattern::Scale, Pattern::Riff, Pattern::Thirds, Pattern::Riff, Pattern::Fours];
        let pattern =
            if self.pattern == Pattern::Mixed { TURNS[self.turn % TURNS.len()] } else { self.pattern };
        self.turn += 1;
        let top = self.notes.len() - 1;
        let fours = if self.bpm <= SIXTEENTHS_UP_TO { 0.25 } else { 0.5 };
        let end = match pattern {
            Pattern::Scale | Pattern::Mixed => self.run((0..=top).chain((0..top).rev()), 0.5),
            Pattern::Thirds => {
                let up = (0..top.saturating_sub(1)).flat_map(|i| [i, i + 2]);
                let down = (2..=top).rev().flat_map(|i| [i, i - 2]);
                self.run(up.chain(down).chain([0]), 0.5)
            }
            Pattern::Fours => {
                let up = (0..top.saturating_sub(2)).flat_map(|i| [i, i + 1, i + 2, i + 3]);
                let down = (3..=top).rev().flat_map(|i| [i, i - 1, i - 2, i - 3]);
                self.run(up.chain(down).chain([0]), fours)
            }
            Pattern::Riff => self.riff(),
        };
        // A breath, and on with the next bar.
        self.beat = ((end + 0.5) / BAR).ceil() * BAR;
    }

    fn add(&mut self, beat: f64, length: f64, index: usize) {
        let accent = if (beat - beat.round()).abs() > 0.01 {
            0.0
        } else if (beat / 2.0 - (beat / 2.0).round()).abs() > 0.01 {
            0.5
        } else {
            1.0
        };
        let midi = self.notes[index.min(self.notes.len() - 1)];
        self.waiting.push_back(Intended { beat, length, midi, accent });
    }

    /// Even notes, the last held for a beat. Returns the beat at its end.
    fn run(&mut self, indices: impl Iterator<Item = usize>, step: f64) -> f64 {
        let indices: Vec<usize> = indices.collect();
        let mut beat = self.beat;
        for (i, index) in indices.iter().enumerate() {
            let last = i + 1 == indices.len();
            self.add(beat, if last { 1.0 } else { step }, *index);
            beat += if last { 1.0 } else { step };
        }
        beat
    }

    /// A bar of quarters, eighths and rests over steps of the scale, played twice, then a last long note.
    fn riff(&mut self) -> f64 {
        /// What a beat can hold: (beats from its start, length).
        const CELLS: [&[(f64, f64)]; 5] =
            [&[(0.0, 1.0)], &[(0.0, 0.5), (0.5, 0.5)], &[(0.0, 0.5)], &[(0.5, 0.5)], &[]];
        /// How often each of them comes, in tenths, summed up.
        const COMES: [f64; 5] = [0.3, 0.75, 0.85, 0.95, 1.0];
        let mut motif: Vec<(f64, f64, usize)> = Vec::new();
        let mut index = self.random.index(self.notes.len());
        for beat in 0..4 {
            let draw = if beat == 0 { 0.5 * self.random.uniform() } else { self.random.uniform() };
            let cell = CELLS[COMES.iter().position(|c| draw < *c).unwrap_or(0)];
            for (at, length) in cell {
                motif.push((f64::from(beat) + at, *length, index));
                let step = [1, 1, 2, 3][self.random.index(4)];
                index = if self.random.uniform() < 0.5 {
                    index.saturating_sub(step)
                } else {
                    (index + step).min(self.notes.len() - 1)
                };
            }
        }
        let start = self.beat;
        for repeat in 0..2 {
            for (at, length, index) in &motif {
                self.add(start + f64::from(repeat) * BAR + at, *length, *index);
            }
        }
        self.add(start + 2.0 * BAR, 2.0, 0);
        start + 2.0 * BAR + 2.0
    }
}

/// Notes of the scale from the lowest root that leaves room for two octaves; as many as the neck has, if it has less.
fn two_octaves(scale: &Scale, tuning: &Tuning) -> Vec<u8> {
    let (low, high) = (tuning.lowest(), tuning.highest());
    let root = (low..=high).find(|m| m % 12 == scale.root().pitch_class()).unwrap_or(low);
    let notes: Vec<u8> = (root..=high.min(root.saturating_add(24))).filter(|m| scale.contains(*m)).collect();
    if notes.is_empty() { vec![low] } else { notes }
}

/// Where a note is played in a position: (string from the lowest = 0, fret), as near to `position` as the neck allows.
pub(super) fn finger(midi: u8, position: u8, tuning: &Tuning) -> (usize, u8) {
    let strings = tuning.strings().len();
    tuning
        .positions(midi)
        .into_iter()
        .min_by_key(|(_, fret)| {
            // The middle of a hand of four frets.
            (2 * i16::from(*fret) - (2 * i16::from(position) + 3)).abs()
        })
        .map_or((0, 0), |(string, fret)| (strings - usize::from(string), fret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(pattern: Pattern, scale: &str) -> Phrases {
        let scale = Scale::parse(scale).unwrap();
        Phrases::new(&scale, &Tuning::default(), pattern, 100.0, Random::new(7, 0))
    }

    #[test]
    fn a_scale_goes_two_octaves_up_and_down() {
        let mut p = phrases(Pattern::Scale, "A minor pentatonic");
        let played: Vec<u8> = (0..21).map(|_| p.next().midi).collect();
        assert_eq!(played[..11], [45, 48, 50, 52, 55, 57, 60, 62, 64, 67, 69]);
        assert_eq!(played[11..], [67, 64, 62, 60, 57, 55, 52, 50, 48, 45]);
        let again = p.next();
        assert_eq!((again.midi, again.beat), (45, 12.0));
    }

    #[test]
    fn every_pattern_stays_in_the_scale_and_in_order() {
        for pattern in [Pattern::Scale, Pattern::Thirds, Pattern::Fours, Pattern::Riff, Pattern::Mixed] {
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
            for name in ["E blues", "Eb major", "D# locrian", "C chromatic"] {
                let scale = Scale::parse(name).unwrap();
                let mut p = phrases(pattern, name);
                let mut end = 0.0;
                for _ in 0..500 {
                    let note = p.next();
                    assert!(note.beat >= end - 1e-9, "{pattern} {name}: {note:?} before {end}");
                    assert!(scale.contains(note.midi) && (40..=88).contains(&note.midi));
                    assert!((note.beat * 4.0).fract().abs() < 1e-9);
                    end = note.beat + note.length;
                }
            }
        }
        assert!("polka".parse::<Pattern>().unwrap_err().to_string().contains("thirds"));
    }

    #[test]
    fn riffs_have_quarters_eighths_and_rests_and_vary() {
        let mut p = phrases(Pattern::Riff, "A minor");
        let notes: Vec<Intended> = (0..200).map(|_| p.next()).collect();
        for length in [0.5, 1.0, 2.0] {
            assert!(notes.iter().any(|n| n.length == length));
        }
        assert!(notes.windows(2).any(|w| w[1].beat - w[0].beat - w[0].length > 0.4));
        let bars: std::collections::HashSet<String> =
            notes.chunks(8).map(|c| format!("{:?}", c.iter().map(|n| n.midi).collect::<Vec<_>>())).collect();
        assert!(bars.len() > 10);
    }

    #[test]
    fn fingers_stay_in_position() {
        let guitar = Tuning::default();
        for midi in [45, 48, 50, 52, 55, 57, 60, 62, 64, 67, 69] {
            let (string, fret) = finger(midi, 5, &guitar);
            assert!((5..=8).contains(&fret), "{midi}: {fret}");
            assert_eq!(guitar.strings()[string] + fret, midi);
        }
    }
}
