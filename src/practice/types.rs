//! The values that scoring yields: scores, notes with their verdict, windows, summaries.

use serde::{Deserialize, Serialize};

pub use crate::dsp::event::NoiseCause;
use crate::dsp::event::{ChordEvent, NoteEvent};

/// One of the four things that are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Intonation.
    PitchAccuracy,
    /// Share of the notes in the scale.
    ScaleConformity,
    /// Evenness against the beat.
    TimingStability,
    /// Unwanted sound against wanted.
    NoiseControl,
}

/// Scores 0..100; `None` where a metric is disabled or was not measured (never 0 for lack of notes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Intonation.
    pub pitch_accuracy: Option<f64>,
    /// Share of the notes in the scale.
    pub scale_conformity: Option<f64>,
    /// Evenness against the beat.
    pub timing_stability: Option<f64>,
    /// Unwanted sound against wanted.
    pub noise_control: Option<f64>,
    /// Weighted mean of the measured ones.
    pub overall: Option<f64>,
}

/// A tendency of the timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tendency {
    /// Ahead of the beat, or getting faster.
    Rushing,
    /// Behind the beat, or getting slower.
    Dragging,
    /// Neither.
    Steady,
}

impl NoiseCause {
    /// In a musician's words, to follow "suffers from".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ringing => "strings ringing on",
            Self::Squeaks => "finger squeaks",
            Self::Buzz => "fret buzz",
            Self::Hum => "hum from the mains",
            Self::Hiss => "a steady hiss",
            Self::BetweenNotes => "string noise between notes",
            Self::UnderNotes => "string noise under the notes",
        }
    }
}

/// What the scores rest on, in a musician's units. `None` where not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Notes judged (gated ones are not).
    pub note_count: usize,
    /// Chords judged: in time, and as a whole against the scale; never for pitch.
    #[serde(default)]
    pub chord_count: usize,
    /// Share of the judged chords of which every note is in the scale, 0..1.
    #[serde(default)]
    pub chords_in_scale: Option<f64>,
    /// Notes heard while the coach spoke or input was lost: not judged.
    pub gated_count: usize,
    /// Share of the judged notes in the scale, 0..1.
    pub in_scale_ratio: Option<f64>,
    /// Share of the scale's pitch classes that were played, 0..1.
    pub coverage: Option<f64>,
    /// Notes outside the scale with how often, most frequent first, spelled (`C#`).
    pub wrong_notes: Vec<(String, usize)>,
    /// Pitch class (`G`, spelled by the scale) with the largest mean absolute deviation, and its mean signed cents.
    pub worst_note: Option<(String, f64)>,
    /// Mean absolute deviation, cents, tuning offset taken out.
    pub mean_abs_cents: Option<f64>,
    /// Mean signed deviation, cents, before the tuning offset is taken out.
    pub mean_signed_cents: Option<f64>,
    /// Constant offset of the whole guitar, cents.
    pub tuning_offset_cents: Option<f64>,
    /// Standard deviation about the grid, ms, constant offset taken out: ddof 1, and one more where the tempo is
    /// inferred. `None` with too few notes: then there is only `timing_sd_interval_ms`.
    pub timing_sd_ms: Option<f64>,
    /// Interval that holds the true spread four times in five, ms.
    #[serde(default)]
    pub timing_sd_interval_ms: Option<(f64, f64)>,
    /// Notes that the spread stands on: those on a grid, the wildest few left out.
    #[serde(default)]
    pub timing_notes: usize,
    /// Constantly behind the click by this much, ms; ahead negative. Only with a click whose round trip is known.
    #[serde(default)]
    pub click_offset_ms: Option<f64>,
    /// What was played, in order: `eighths`, `quarters, then triplets`.
    #[serde(default)]
    pub subdivision: Option<String>,
    /// First part of the beat against the second (1 to 3), where eighths were swung.
    #[serde(default)]
    pub swing_ratio: Option<f64>,
    /// Rushing, dragging or steady.
    pub tendency: Option<Tendency>,
    /// Change of tempo over time, bpm per minute.
    pub drift_bpm_per_min: Option<f64>,
    /// Tempo set, or inferred from the notes.
    pub bpm: Option<f64>,
    /// Unwanted against wanted power, dB.
    pub noise_db: Option<f64>,
    /// The cause of the noise that matters most, when one can be heard.
    pub noise_cause: Option<NoiseCause>,
    /// Every cause that can be heard, the one that matters most first, with its power against the wanted power, dB.
    #[serde(default)]
    pub noise_causes: Vec<(NoiseCause, f64)>,
    /// Frequency of the mains that hum, Hz (50 or 60), when they do.
    #[serde(default)]
    pub mains_hz: Option<u8>,
}

impl Facts {
    /// Notes and chords judged: strokes that count.
    #[must_use]
    pub const fn strokes(&self) -> usize {
        self.note_count + self.chord_count
    }

    /// The causes of the noise in a musician's words, the one that matters most first; hum with its mains frequency.
    #[must_use]
    pub fn noise_words(&self) -> Vec<String> {
        let others = self.noise_causes.iter().map(|c| c.0).filter(|c| Some(*c) != self.noise_cause);
        let words = |cause: NoiseCause| match (cause, self.mains_hz) {
            (NoiseCause::Hum, Some(hz)) => format!("{} at {hz} Hz", cause.words()),
            _ => cause.words().to_owned(),
        };
        self.noise_cause.into_iter().chain(others).map(words).collect()
    }
}

/// A chord with what is said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedChord {
    /// What was heard.
    #[serde(flatten)]
    pub chord: ChordEvent,
    /// Every note of it is in the scale; `None` without a scale or when the metric is disabled.
    pub in_scale: Option<bool>,
    /// As [`JudgedNote::deviation_ms`].
    pub deviation_ms: Option<f64>,
}

/// A note with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedNote {
    /// What was heard.
    #[serde(flatten)]
    pub note: NoteEvent,
    /// In the scale; `None` without a scale or when the metric is disabled.
    pub in_scale: Option<bool>,
    /// Deviation from the grid, ms, early negative; `None` without a grid. The constant offset is taken out, unless the
    /// grid is a click whose round trip is known.
    pub deviation_ms: Option<f64>,
    /// Where in the beat it was meant to fall, 0..1: 0 on the beat, 0.5 the off-beat of straight eighths.
    #[serde(default)]
    pub place: Option<f64>,
    /// Right by every enabled metric.
    pub right: bool,
    /// Why it is wrong: out of the scale first, else what lies farthest beyond its limit. `None` when right or not judged.
    #[serde(default)]
    pub reason: Option<Reason>,
}

/// Why a note is marked wrong. As JSON `{"code": "late", "value": 52.3}`. The limits stand in
/// [`score::right_cents`](super::score::right_cents) and [`score::right_ms`](super::score::right_ms).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", content = "value", rename_all = "snake_case")]
pub enum Reason {
    /// Not in the scale: MIDI number of the nearest note that is.
    NotInScale(u8),
    /// Too high, cents; the offset of the whole guitar taken out.
    Sharp(f64),
    /// Too low, cents (positive).
    Flat(f64),
    /// Before its place, ms (positive).
    Early(f64),
    /// After its place, ms.
    Late(f64),
}

impl Reason {
    /// Name of the kind, as in JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotInScale(_) => "not_in_scale",
            Self::Sharp(_) => "sharp",
            Self::Flat(_) => "flat",
            Self::Early(_) => "early",
            Self::Late(_) => "late",
        }
    }

    /// MIDI number, cents or ms.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::NotInScale(midi) => f64::from(midi),
            Self::Sharp(v) | Self::Flat(v) | Self::Early(v) | Self::Late(v) => v,
        }
    }

    /// From [`code`](Self::code) and [`value`](Self::value); `None` for what is neither.
    #[must_use]
    pub fn of(code: &str, value: f64) -> Option<Self> {
        Some(match code {
            "not_in_scale" if (0.0..128.0).contains(&value) => Self::NotInScale(value as u8),
            "sharp" => Self::Sharp(value),
            "flat" => Self::Flat(value),
            "early" => Self::Early(value),
            "late" => Self::Late(value),
            _ => return None,
        })
    }

    /// In a few words: `24 cents sharp`, `52 ms late`, `not in the scale, C4 is`; `spell` names a MIDI number.
    #[must_use]
    pub fn words(self, spell: impl Fn(u8) -> String) -> String {
        match self {
            Self::NotInScale(nearest) => format!("not in the scale, {} is", spell(nearest)),
            Self::Sharp(cents) => format!("{cents:.0} cents sharp"),
            Self::Flat(cents) => format!("{cents:.0} cents flat"),
            Self::Early(ms) => format!("{ms:.0} ms early"),
            Self::Late(ms) => format!("{ms:.0} ms late"),
        }
    }
}

/// A closed window of playing: what a piece of advice is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// 0, 1, 2, …
    pub index: u32,
    /// Seconds on the capture clock.
    pub start: f64,
    /// Seconds on the capture clock.
    pub end: f64,
    /// Scores of this window alone.
    pub scores: Scores,
    /// What they rest on.
    pub facts: Facts,
    /// Weakest and strongest measured metric (`None` with none, or strongest `None` with only one).
    pub weakest: Option<Metric>,
    /// See `weakest`.
    pub strongest: Option<Metric>,
}

/// The whole session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Seconds from the first to the last sample.
    pub duration: f64,
    /// Scores over all notes.
    pub scores: Scores,
    /// What they rest on.
    pub facts: Facts,
    /// See [`Window::weakest`].
    pub weakest: Option<Metric>,
    /// See [`Window::strongest`].
    pub strongest: Option<Metric>,
    /// Overall of each window in order (trend).
    pub overall_by_window: Vec<Option<f64>>,
}
