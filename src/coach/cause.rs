//! Why a metric is weak: the one cause that explains its facts best. Pure.

use crate::practice::types::{Facts, Metric, NoiseCause, Tendency};
use crate::prompt::facts::signed_cents;

/// A note further out than this can be the cause by itself, cents…
const NOTE_CENTS: f64 = 8.0;
/// …if it is this many times worse than the average note.
const NOTE_RATIO: f64 = 1.5;
/// A common direction of all notes: at least so many cents…
const DIRECTION_CENTS: f64 = 4.0;
/// …and at least this share of their mean absolute deviation (1: all to the same side).
const DIRECTION_SHARE: f64 = 0.6;
/// Drift that is heard as getting faster or slower, bpm per minute.
const DRIFT_BPM: f64 = 4.0;
/// A second wrong note shares the blame from this share of the first one's count.
const SECOND_NOTE: f64 = 0.5;

/// Why the weakest metric is weak: one cause, the likeliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Fretted notes are sharp in general.
    PitchSharp,
    /// Notes are flat in general.
    PitchFlat,
    /// One pitch class is sharp.
    NoteSharp,
    /// One pitch class is flat.
    NoteFlat,
    /// Notes are off to both sides.
    PitchUneven,
    /// Pitch is weak, facts are missing.
    PitchUnknown,
    /// The whole guitar is out of tune.
    Tuning,
    /// One note outside the scale.
    WrongNote,
    /// Several notes outside the scale.
    WrongNotes,
    /// Notes outside the scale that are not known.
    ScaleUnknown,
    /// Ahead of the beat.
    Rushing,
    /// Behind the beat.
    Dragging,
    /// To both sides of the beat.
    Uneven,
    /// Getting faster.
    Speeding,
    /// Getting slower.
    Slowing,
    /// Timing is weak, facts are missing.
    TimingUnknown,
    /// Strings ring on.
    Ringing,
    /// Fingers squeak.
    Squeaks,
    /// Strings buzz.
    Buzz,
    /// Hum of the mains.
    Hum,
    /// A steady hiss.
    Hiss,
    /// String noise between notes.
    StringNoise,
    /// A cause of noise in other words.
    OtherNoise,
    /// Noise without a known cause.
    NoiseUnknown,
    /// Nothing is weak.
    Excellent,
}

impl Cause {
    /// Name of its phrases, and in traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PitchSharp => "pitch_sharp",
            Self::PitchFlat => "pitch_flat",
            Self::NoteSharp => "note_sharp",
            Self::NoteFlat => "note_flat",
            Self::PitchUneven => "pitch_uneven",
            Self::PitchUnknown => "pitch_unknown",
            Self::Tuning => "tuning",
            Self::WrongNote => "wrong_note",
            Self::WrongNotes => "wrong_notes",
            Self::ScaleUnknown => "scale_unknown",
            Self::Rushing => "rushing",
            Self::Dragging => "dragging",
            Self::Uneven => "uneven",
            Self::Speeding => "speeding",
            Self::Slowing => "slowing",
            Self::TimingUnknown => "timing_unknown",
            Self::Ringing => "ringing",
            Self::Squeaks => "squeaks",
            Self::Buzz => "buzz",
            Self::Hum => "hum",
            Self::Hiss => "hiss",
            Self::StringNoise => "string_noise",
            Self::OtherNoise => "other_noise",
            Self::NoiseUnknown => "noise_unknown",
            Self::Excellent => "excellent",
        }
    }
}

/// The likeliest cause of a weak metric.
#[must_use]
pub fn cause(metric: Metric, facts: &Facts) -> Cause {
    match metric {
        Metric::PitchAccuracy => pitch_cause(facts),
        Metric::ScaleConformity => match facts.wrong_notes.as_slice() {
            [] => Cause::ScaleUnknown,
            #[expect(clippy::cast_precision_loss, reason = "counts of notes")]
            [first, second, ..] if second.1 as f64 >= first.1 as f64 * SECOND_NOTE => Cause::WrongNotes,
            _ => Cause::WrongNote,
        },
        Metric::TimingStability => match (facts.drift_bpm_per_min, facts.tendency) {
            (Some(d), _) if d >= DRIFT_BPM => Cause::Speeding,
            (Some(d), _) if d <= -DRIFT_BPM => Cause::Slowing,
            (_, Some(Tendency::Rushing)) => Cause::Rushing,
            (_, Some(Tendency::Dragging)) => Cause::Dragging,
            _ if facts.timing_sd_ms.is_some() => Cause::Uneven,
            _ => Cause::TimingUnknown,
        },
        Metric::NoiseControl => noise_cause(facts.noise_cause),
    }
}

fn pitch_cause(facts: &Facts) -> Cause {
    let mean = facts.mean_abs_cents;
    let worst = facts.worst_note.as_ref().map(|(_, c)| *c);
    let stands_out =
        |ratio: f64| worst.filter(|w| w.abs() >= NOTE_CENTS && mean.is_none_or(|m| w.abs() >= m * ratio));
    let one = |c: f64| if c > 0.0 { Cause::NoteSharp } else { Cause::NoteFlat };
    let direction = signed_cents(facts)
        .filter(|s| s.abs() >= DIRECTION_CENTS && mean.is_none_or(|m| s.abs() >= m * DIRECTION_SHARE));
    // When all notes lean to one side, a single note must be far worse than the rest to be the cause.
    match (direction, stands_out(NOTE_RATIO), stands_out(2.0 * NOTE_RATIO)) {
        (_, _, Some(c)) | (None, Some(c), None) => one(c),
        (Some(s), _, None) if s > 0.0 => Cause::PitchSharp,
        (Some(_), _, None) => Cause::PitchFlat,
        (None, None, None) if mean.is_some() => Cause::PitchUneven,
        (None, None, None) => Cause::PitchUnknown,
    }
}

const fn noise_cause(heard: Option<NoiseCause>) -> Cause {
    match heard {
        Some(NoiseCause::Ringing) => Cause::Ringing,
        Some(NoiseCause::Squeaks) => Cause::Squeaks,
        Some(NoiseCause::Buzz) => Cause::Buzz,
        Some(NoiseCause::Hum) => Cause::Hum,
        Some(NoiseCause::Hiss) => Cause::Hiss,
        Some(NoiseCause::BetweenNotes) => Cause::StringNoise,
        Some(NoiseCause::UnderNotes) => Cause::OtherNoise,
        None => Cause::NoiseUnknown,
    }
}
