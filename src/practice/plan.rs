//! A practice plan: what to practise today, how fast, how strictly judged, in which steps, and why.
//!
//! Plans come from a model, from rules or from a chat; all of them pass [`Plan::check`], which knows no leniency: a plan
//! that passed can be shown, carried out and compared. [`schema`] describes the same to a model.

mod outcome;
mod schema;
mod trainer;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::types::Metric;
use crate::music::grid::{MAX_BPM, MIN_BPM};
use crate::music::scale::Scale;

pub use outcome::{Heard, MIN_NOTES, MIN_SESSIONS, Outcome, Verdict, measure, measure_words, unit};
pub use schema::{NAME as SCHEMA_NAME, schema};
pub use trainer::SpeedTrainer;

/// Tempos of plans, beats per minute: inside what the metronome takes, and where practice with a beat makes sense.
pub const TEMPO: std::ops::RangeInclusive<f64> = 30.0..=300.0;
const _: () = assert!(*TEMPO.start() >= MIN_BPM && *TEMPO.end() <= MAX_BPM);
/// Length of a plan, minutes: shorter is no practice, and nobody stays attentive for longer without a break.
pub const MINUTES: std::ops::RangeInclusive<u32> = 5..=90;
/// Exercises of a plan: more are not remembered with a guitar in hand.
pub const EXERCISES: std::ops::RangeInclusive<usize> = 1..=6;
/// Longest title, characters: it fits beside its minutes on a terminal of 80 columns.
pub const TITLE: usize = 60;
/// Longest instruction of an exercise, and longest reasoning, characters: read in a few seconds before playing.
pub const TEXT: usize = 600;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// The first one: finds out where the player stands.
    First,
    /// Slow work on the weakest area.
    Mend,
    /// What goes well, faster or more strictly judged.
    Build,
    /// New material at a comfortable tempo.
    Explore,
}

impl PlanKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::First, Self::Mend, Self::Build, Self::Explore];

    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Mend => "mend",
            Self::Build => "build",
            Self::Explore => "explore",
        }
    }

    /// For a player.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::First => "to find out where you stand",
            Self::Mend => "slow work on a weak spot",
            Self::Build => "building on what works",
            Self::Explore => "new ground",
        }
    }
}

/// What a plan works on: one of the four metrics as a whole, or a technique that one of them measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Focus {
    /// Intonation.
    PitchAccuracy,
    /// Knowing the scale.
    ScaleConformity,
    /// Evenness against the beat.
    TimingStability,
    /// A clean sound.
    NoiseControl,
    /// Bends that reach their note.
    Bends,
    /// Vibrato.
    Vibrato,
    /// Slides.
    Slides,
    /// Hammer-ons and pull-offs.
    Legato,
    /// Alternate picking.
    Picking,
    /// Chords and their changes, in time.
    Chords,
    /// Muting strings that should be silent.
    Muting,
    /// Making melodies of the scale.
    Improvisation,
}

impl Focus {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::PitchAccuracy,
        Self::ScaleConformity,
        Self::TimingStability,
        Self::NoiseControl,
        Self::Bends,
        Self::Vibrato,
        Self::Slides,
        Self::Legato,
        Self::Picking,
        Self::Chords,
        Self::Muting,
        Self::Improvisation,
    ];

    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PitchAccuracy => "pitch_accuracy",
            Self::ScaleConformity => "scale_conformity",
            Self::TimingStability => "timing_stability",
            Self::NoiseControl => "noise_control",
            Self::Bends => "bends",
            Self::Vibrato => "vibrato",
            Self::Slides => "slides",
            Self::Legato => "legato",
            Self::Picking => "picking",
            Self::Chords => "chords",
            Self::Muting => "muting",
            Self::Improvisation => "improvisation",
        }
    }

    /// For a player.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PitchAccuracy => Metric::PitchAccuracy.label(),
            Self::ScaleConformity => Metric::ScaleConformity.label(),
            Self::TimingStability => Metric::TimingStability.label(),
            Self::NoiseControl => Metric::NoiseControl.label(),
            Self::Legato => "hammer-ons and pull-offs",
            Self::Picking => "alternate picking",
            other => other.name(),
        }
    }

    /// The metric that shows whether it got better.
    #[must_use]
    pub const fn metric(self) -> Metric {
        match self {
            Self::PitchAccuracy | Self::Bends | Self::Vibrato | Self::Slides => Metric::PitchAccuracy,
            Self::ScaleConformity | Self::Improvisation => Metric::ScaleConformity,
            Self::TimingStability | Self::Legato | Self::Picking | Self::Chords => Metric::TimingStability,
            Self::NoiseControl | Self::Muting => Metric::NoiseControl,
        }
    }

    /// The focus that is the metric itself.
    #[must_use]
    pub const fn of(metric: Metric) -> Self {
        match metric {
            Metric::PitchAccuracy => Self::PitchAccuracy,
            Metric::ScaleConformity => Self::ScaleConformity,
            Metric::TimingStability => Self::TimingStability,
            Metric::NoiseControl => Self::NoiseControl,
        }
    }

    /// Reads the name in JSON.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}

impl fmt::Display for Focus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exercise {
    /// A few words; at most [`TITLE`] characters.
    pub title: String,
    /// What the hands do and what the ear listens for; at most [`TEXT`] characters.
    pub how: String,
    /// Minutes.
    pub minutes: u32,
    /// Beats per minute; `None`: free time, or the speed trainer's.
    pub tempo: Option<f64>,
    /// The tempo rises by itself.
    pub speed_trainer: Option<SpeedTrainer>,
}

impl Exercise {
    /// The tempo at which it begins; `None`: free time.
    #[must_use]
    pub fn starts_at(&self) -> Option<f64> {
        self.speed_trainer.map(|t| t.start).or(self.tempo)
    }
}

/// A plan for one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Scale, as `music` spells it: `A minor pentatonic`.
    pub scale: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: PlanKind,
    /// What it works on.
    pub focus: Focus,
    /// Tempo of the session, beats per minute; exercises have their own.
    pub tempo: f64,
    /// 0..=1: how hard an error weighs.
    pub strictness: f64,
    /// 0..=1: how soft a note still counts.
    pub sensitivity: f64,
    /// Minutes of all exercises together.
    pub minutes: u32,
    /// In order.
    pub exercises: Vec<Exercise>,
    /// Why this, today, for this player.
    pub reasoning: String,
    /// What the player asked for, where they did. Not part of the schema: the program fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<String>,
    /// What the player should know of how it was made: why no model made it, what of the wish was not understood. Not
    /// part of the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which field: `exercises[1].minutes`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Fault {
    /// Of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A plan that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan cannot be used: {}", self.said())]
pub struct Invalid {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl Invalid {
    /// The faults as one line.
    #[must_use]
    pub fn said(&self) -> String {
        self.faults.iter().map(|f| format!("`{}` {}", f.field, f.message)).collect::<Vec<_>>().join("; ")
    }
}

impl Plan {
    /// Reads a plan from the text of a model: JSON, also between other words or in a code block. Names and texts are
    /// put in order (a scale is spelled as `music` spells it), and everything is checked.
    ///
    /// # Errors
    /// [`Invalid`], naming each field that is missing, unknown or out of range.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let one = |message: String| Invalid { faults: vec![Fault::new("the answer", message)] };
        let json = text
            .find('{')
            .zip(text.rfind('}'))
            .filter(|(from, to)| from < to)
            .map(|(from, to)| &text[from..=to])
            .ok_or_else(|| one("holds no JSON object".into()))?;
        let plan: Self = serde_json::from_str(json).map_err(|e| one(format!("is no plan: {e}")))?;
        plan.check()
    }

    /// Puts names and texts in order and checks every field.
    ///
    /// # Errors
    /// [`Invalid`] with every fault at once.
    pub fn check(mut self) -> Result<Self, Invalid> {
        let mut faults = Vec::new();
        match Scale::parse(&self.scale) {
            Ok(scale) => self.scale = scale.name(),
            Err(e) => faults.push(Fault::new("scale", format!("cannot be read: {e}"))),
        }
        tempo("tempo", self.tempo, &mut faults);
        for (field, value) in [("strictness", self.strictness), ("sensitivity", self.sensitivity)] {
            if !(0.0..=1.0).contains(&value) {
                faults.push(Fault::new(field, format!("is {value}: it goes from 0 to 1")));
            }
        }
        if !MINUTES.contains(&self.minutes) {
            let (low, high) = (MINUTES.start(), MINUTES.end());
            faults.push(Fault::new("minutes", format!("is {}: it goes from {low} to {high}", self.minutes)));
        }
        text("reasoning", &mut self.reasoning, TEXT, &mut faults);
        if !EXERCISES.contains(&self.exercises.len()) {
            let (low, high) = (EXERCISES.start(), EXERCISES.end());
            faults.push(Fault::new(
                "exercises",
                format!("has {} entries: {low} to {high} are possible", self.exercises.len()),
            ));
        }
        for (i, exercise) in self.exercises.iter_mut().enumerate() {
            exercise.check(&format!("exercises[{i}]"), &mut faults);
        }
        let sum: u64 = self.exercises.iter().map(|e| u64::from(e.minutes)).sum();
        if sum != u64::from(self.minutes) {
            faults.push(Fault::new(
                "minutes",
                format!("is {}, but the exercises take {sum} minutes together", self.minutes),
            ));
        }
        if faults.is_empty() { Ok(self) } else { Err(Invalid { faults }) }
    }

    /// True when it would be the same practice again: scale, focus and exercises agree.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let titles = |p: &Self| {
            let mut titles: Vec<String> = p.exercises.iter().map(|e| e.title.trim().to_lowercase()).collect();
            titles.sort();
            titles
        };
        self.focus == other.focus && self.scale == other.scale && titles(self) == titles(other)
    }

    /// The exercise that is due `seconds` after the begin: its place in the list, and the seconds since it began.
    /// `None` when the plan is over.
    #[must_use]
    pub fn exercise_at(&self, seconds: f64) -> Option<(usize, f64)> {
        let mut begin = 0.0;
        for (i, exercise) in self.exercises.iter().enumerate() {
            let length = f64::from(exercise.minutes) * 60.0;
            if seconds < begin + length {
                return Some((i, (seconds - begin).max(0.0)));
            }
            begin += length;
        }
        None
    }

    /// The tempo that is due `seconds` after the begin, with `beats` beats a bar: that of the exercise, or of its speed
    /// trainer at that bar. `None`: the exercise is in free time, or the plan is over.
    #[must_use]
    pub fn tempo_at(&self, seconds: f64, beats: u32) -> Option<f64> {
        let (i, since) = self.exercise_at(seconds)?;
        let exercise = &self.exercises[i];
        exercise.speed_trainer.map(|t| t.tempo(t.bar_at(since, beats))).or(exercise.tempo)
    }

    /// The scale, read; a plan that passed [`Plan::check`] has one.
    #[must_use]
    pub fn read_scale(&self) -> Option<Scale> {
        Scale::parse(&self.scale).ok()
    }
}

impl Exercise {
    fn check(&mut self, at: &str, faults: &mut Vec<Fault>) {
        text(&format!("{at}.title"), &mut self.title, TITLE, faults);
        text(&format!("{at}.how"), &mut self.how, TEXT, faults);
        if !(1..=*MINUTES.end()).contains(&self.minutes) {
            faults.push(Fault::new(format!("{at}.minutes"), format!("is {}: at least 1", self.minutes)));
        }
        if let Some(bpm) = self.tempo {
            tempo(&format!("{at}.tempo"), bpm, faults);
        }
        if let Some(trainer) = &self.speed_trainer {
            trainer.check(&format!("{at}.speed_trainer"), faults);
        }
    }
}

fn tempo(field: &str, bpm: f64, faults: &mut Vec<Fault>) {
    if !TEMPO.contains(&bpm) {
        let (low, high) = (TEMPO.start(), TEMPO.end());
        faults.push(Fault::new(field, format!("is {bpm}: it goes from {low} to {high} beats per minute")));
    }
}

/// Takes line breaks and doubled blanks out of a text, and checks that there is one and that it is not too long.
fn text(field: &str, said: &mut String, most: usize, faults: &mut Vec<Fault>) {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    *said = said.chars().map(plain).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    let length = said.chars().count();
    if length == 0 {
        faults.push(Fault::new(field, "is empty"));
    } else if length > most {
        faults.push(Fault::new(field, format!("has {length} characters: at most {most}")));
    }
}

#[cfg(test)]
pub(crate) mod tests;
