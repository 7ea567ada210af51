//! What a wish in free words asks for, as far as that can be told without a model: minutes, tempo, scale, technique. Pure.

use crate::music::scale::{Scale, ScaleError, ScaleKind};
use crate::practice::plan::{Focus, MINUTES, TEMPO};

/// Longest wish that is read, characters.
pub const LONGEST: usize = 300;

/// What was understood of a wish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// A technique or a metric.
    pub focus: Option<Focus>,
    /// Minutes.
    pub minutes: Option<u32>,
    /// Beats per minute.
    pub tempo: Option<f64>,
    /// A scale.
    pub scale: Option<Scale>,
    /// A kind of scale without a root.
    pub kind: Option<ScaleKind>,
    /// Slower or faster than the rules say, as a factor.
    pub pace: Option<f64>,
}

/// Begins of words that name a focus; the first that occurs in the wish wins.
const WORDS: [(&str, Focus); 33] = [
    ("bend", Focus::Bends),
    ("vibrato", Focus::Vibrato),
    ("slide", Focus::Slides),
    ("sliding", Focus::Slides),
    ("hammer", Focus::Legato),
    ("pull-off", Focus::Legato),
    ("pulloff", Focus::Legato),
    ("legato", Focus::Legato),
    ("pick", Focus::Picking),
    ("tremolo", Focus::Picking),
    ("chord", Focus::Chords),
    ("strum", Focus::Chords),
    ("rhythm guitar", Focus::Chords),
    ("mute", Focus::Muting),
    ("muting", Focus::Muting),
    ("damp", Focus::Muting),
    ("improvis", Focus::Improvisation),
    ("solo", Focus::Improvisation),
    ("jam", Focus::Improvisation),
    ("melod", Focus::Improvisation),
    ("phras", Focus::Improvisation),
    ("timing", Focus::TimingStability),
    ("rhythm", Focus::TimingStability),
    ("tempo", Focus::TimingStability),
    ("metronome", Focus::TimingStability),
    ("speed", Focus::TimingStability),
    ("groove", Focus::TimingStability),
    ("intonation", Focus::PitchAccuracy),
    ("pitch", Focus::PitchAccuracy),
    ("in tune", Focus::PitchAccuracy),
    ("clean", Focus::NoiseControl),
    ("nois", Focus::NoiseControl),
    ("wrong note", Focus::ScaleConformity),
];

impl Wish {
    /// Reads a wish: `more bends, 20 minutes`, `E dorian at 90 bpm`, `something slower`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.to_lowercase();
        let at = |word: &str| {
            text.match_indices(word)
                .map(|(i, _)| i)
                .find(|i| !text[..*i].ends_with(|c: char| c.is_alphanumeric()))
        };
        let focus = WORDS.iter().filter_map(|(word, focus)| Some((at(word)?, *focus))).min_by_key(|f| f.0);
        let scale = scale_in(&text);
        let number = |units: &[&str]| number_before(&text, units);
        let slower = ["slow", "easy", "easier", "gentle", "calm"].iter().any(|w| at(w).is_some());
        let faster = ["fast", "hard", "quick", "challeng"].iter().any(|w| at(w).is_some());
        Self {
            focus: focus.map(|f| f.1),
            minutes: number(&["min", "minute", "minutes", "mins", "m"])
                .or(number(&["hour", "hours", "h"]).map(|h| h * 60.0))
                .filter(|m| *m > 0.0)
                .map(|m| (m.round().min(1e4) as u32).clamp(*MINUTES.start(), *MINUTES.end())),
            tempo: number(&["bpm", "beats"]).map(|b| b.clamp(*TEMPO.start(), *TEMPO.end()).round()),
            scale,
            kind: if scale.is_none() { kind_in(&text) } else { None },
            pace: match (slower, faster) {
                (true, false) => Some(0.85),
                (false, true) => Some(1.1),
                _ => None,
            },
        }
    }

    /// True when nothing was understood.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The first number that stands before one of these words, with or without a blank or a dash: `20 minutes`, `20min`.
fn number_before(text: &str, units: &[&str]) -> Option<f64> {
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[begin..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let word: String =
            after.trim_start_matches([' ', '-']).chars().take_while(|c| c.is_alphabetic()).collect();
        if units.contains(&word.as_str())
            && let Ok(number) = number.parse()
        {
            return Some(number);
        }
        rest = after;
    }
    None
}

/// The longest run of two to four words that names a scale with its kind. A letter alone is no scale: `a` is an article.
fn scale_in(text: &str) -> Option<Scale> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '.' | '!' | '?')).collect();
    (2..=4).rev().find_map(|n| {
        words.windows(n).find_map(|run| {
            let begins = run[0].chars().next().is_some_and(|c| ('a'..='h').contains(&c));
            let short = run[0].chars().count() <= 3 && run[1..].iter().all(|w| w.chars().count() >= 3);
            (begins && short).then(|| Scale::parse(&run.join(" ")).ok()).flatten()
        })
    })
}

/// Begins of words that name a kind of scale. `harmonic` and `melodic` mean it only before `minor`.
const KINDS: [&str; 12] = [
    "blues",
    "major",
    "minor",
    "pentatonic",
    "dorian",
    "phrygian",
    "lydian",
    "mixolyd",
    "aeolian",
    "locrian",
    "ionian",
    "chromatic",
];

/// The longest run of up to two words that names a kind of scale.
fn kind_in(text: &str) -> Option<ScaleKind> {
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    (1..=2).rev().find_map(|n| {
        words.windows(n).find_map(|run| {
            let last = run.last()?;
            let before = |w: &&str| KINDS.iter().chain(&["harmonic", "melodic"]).any(|k| w.starts_with(k));
            let named = KINDS.iter().any(|k| last.starts_with(k)) && run.iter().all(before);
            let run = run.join(" ");
            match Scale::parse(&run) {
                Err(ScaleError::NoRoot { .. }) if named => {
                    Scale::parse(&format!("A {run}")).ok().map(|s| s.kind())
                }
                _ => None,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_far_as_they_go() {
        let w = Wish::read("More bends, 20 minutes please");
        assert_eq!((w.focus, w.minutes, w.tempo, w.scale), (Some(Focus::Bends), Some(20), None, None));
        let w = Wish::read("E dorian at 90 bpm, half an hour? no: 1 hour");
        assert_eq!((w.tempo, w.minutes), (Some(90.0), Some(60)));
        assert_eq!(w.scale.unwrap().name(), "E dorian");
        assert_eq!(Wish::read("f# minor pentatonic 15min").scale.unwrap().name(), "F# minor pentatonic");
        let w = Wish::read("something easier, I want a bit of strumming");
        assert_eq!((w.focus, w.pace, w.scale), (Some(Focus::Chords), Some(0.85), None));
        assert_eq!(Wish::read("something bluesy, 20 minutes").kind, Some(ScaleKind::Blues));
        assert_eq!(Wish::read("harmonic minor please").kind, Some(ScaleKind::HarmonicMinor));
        assert_eq!(Wish::read("melodic phrases").kind, None);
        assert_eq!(Wish::read("cleaner muting").focus, Some(Focus::NoiseControl));
        assert_eq!(Wish::read("500 minutes").minutes, Some(*MINUTES.end()));
        assert_eq!(Wish::read("alternate picking 300000 bpm").tempo, Some(300.0));
        for nothing in ["", "surprise me", "a", "be nice to me", "0 minutes", "99.9.9 minutes"] {
            assert!(Wish::read(nothing).is_empty(), "{nothing}: {:?}", Wish::read(nothing));
        }
    }
}
