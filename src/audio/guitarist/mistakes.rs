//! What the virtual guitarist gets wrong, and by how much.

use std::fmt;
use std::str::FromStr;

/// Exactly known mistakes. All zero is flawless playing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mistakes {
    /// Standard deviation of the onsets about the grid, ms, 0..=200.
    pub timing_ms: f64,
    /// Steady change of the tempo, bpm per minute, -60..=60.
    pub drift_bpm_per_min: f64,
    /// Share of notes played a semitone off, out of the scale, 0..=1.
    pub wrong: f64,
    /// Standard deviation of each note's pitch, cents, 0..=40.
    pub detune_cents: f64,
    /// Offset of the whole guitar, cents, -50..=50.
    pub guitar_offset_cents: f64,
    /// Squeaks and string noise between notes, 0..=1. At 1 they have about a sixth of the power of the playing.
    pub noise: f64,
    /// Mains hum of 50 Hz, 0..=1. At 1 it has about half the power of the playing.
    pub hum: f64,
    /// Steady hiss, likewise.
    pub hiss: f64,
    /// Share of the notes at which another, open string is brushed and left to ring on for a while, 0..=1.
    pub ringing: f64,
}

/// A text that describes no mistakes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MistakesError {
    /// A part is not `name=value`.
    #[error(
        "`{part}` is not understood: write mistakes as `timing=12,drift=2,wrong=0.1,detune=20,offset=-15,noise=0.3,hum=0.1,hiss=0.1,ringing=0.3`, or `none`"
    )]
    Part {
        /// The part.
        part: String,
    },
    /// An unknown name.
    #[error(
        "`{name}` is no mistake known here, did you mean `{nearest}`? Known are timing, drift, wrong, detune, offset, noise, hum, hiss and ringing"
    )]
    Name {
        /// What was written.
        name: String,
        /// The nearest known name.
        nearest: &'static str,
    },
    /// A value that is no number or out of range.
    #[error("{name}={value} cannot be played: {name} goes from {low} to {high} ({unit})")]
    Value {
        /// Name of the mistake.
        name: &'static str,
        /// What was written.
        value: String,
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
        /// Unit and meaning.
        unit: &'static str,
    },
}

/// Name, least, greatest, unit, in the order of the fields.
const KINDS: [(&str, f64, f64, &str); 9] = [
    ("timing", 0.0, 200.0, "ms of spread"),
    ("drift", -60.0, 60.0, "bpm per minute"),
    ("wrong", 0.0, 1.0, "share of the notes"),
    ("detune", 0.0, 40.0, "cents of spread"),
    ("offset", -50.0, 50.0, "cents, the whole guitar"),
    ("noise", 0.0, 1.0, "from none to much"),
    ("hum", 0.0, 1.0, "from none to much"),
    ("hiss", 0.0, 1.0, "from none to much"),
    ("ringing", 0.0, 1.0, "share of the notes"),
];

impl Mistakes {
    fn fields(&mut self) -> [&mut f64; 9] {
        [
            &mut self.timing_ms,
            &mut self.drift_bpm_per_min,
            &mut self.wrong,
            &mut self.detune_cents,
            &mut self.guitar_offset_cents,
            &mut self.noise,
            &mut self.hum,
            &mut self.hiss,
            &mut self.ringing,
        ]
    }

    /// The same, every value inside its range and a number.
    pub(super) fn clamped(mut self) -> Self {
        for (field, (_, low, high, _)) in self.fields().into_iter().zip(KINDS) {
            *field = if field.is_nan() { 0.0 } else { field.clamp(low, high) };
        }
        self
    }
}

impl FromStr for Mistakes {
    type Err = MistakesError;

    /// Reads `timing=12,drift=2,wrong=0.1,detune=20,offset=-15,noise=0.3` (any of them, in any order); an empty text
    /// or `none` is flawless playing.
    fn from_str(text: &str) -> Result<Self, MistakesError> {
        let mut mistakes = Self::default();
        if matches!(text.trim().to_lowercase().as_str(), "" | "none") {
            return Ok(mistakes);
        }
        for part in text.split(',').map(str::trim) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| MistakesError::Part { part: part.into() })?;
            let (name, value) = (name.trim().to_lowercase(), value.trim());
            let Some(index) = KINDS.iter().position(|kind| kind.0 == name) else {
                let nearest = KINDS
                    .iter()
                    .min_by_key(|kind| strsim::damerau_levenshtein(kind.0, &name))
                    .map_or("timing", |kind| kind.0);
                return Err(MistakesError::Name { name, nearest });
            };
            let (name, low, high, unit) = KINDS[index];
            let number = value.parse::<f64>().ok().filter(|v| (low..=high).contains(v));
            *mistakes.fields()[index] =
                number.ok_or_else(|| MistakesError::Value { name, value: value.into(), low, high, unit })?;
        }
        Ok(mistakes)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut copy = *self;
        let parts: Vec<String> = copy
            .fields()
            .into_iter()
            .zip(KINDS)
            .filter(|(value, _)| **value != 0.0)
            .map(|(value, (name, ..))| format!("{name}={value}"))
            .collect();
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_read_and_print() {
        let text = "timing=12,drift=2,wrong=0.1,detune=20,offset=-15,noise=0.3,hum=0.1,hiss=0.2,ringing=0.4";
        let mistakes: Mistakes = text.parse().unwrap();
        assert_eq!(mistakes.to_string(), text);
        assert_eq!((mistakes.timing_ms, mistakes.guitar_offset_cents), (12.0, -15.0));
        assert_eq!(" Noise = 0.5 , timing=3".parse::<Mistakes>().unwrap().noise, 0.5);
        for none in ["", "none", " None "] {
            assert_eq!(none.parse(), Ok(Mistakes::default()));
        }
        assert_eq!(Mistakes::default().to_string(), "none");
    }

    #[test]
    fn errors_say_what_to_write() {
        let text = |t: &str| t.parse::<Mistakes>().unwrap_err().to_string();
        assert!(text("timing").contains("timing=12"));
        assert!(text("timin=3").contains("did you mean `timing`"));
        assert!(text("wrong=2").contains("0 to 1"));
        assert!(text("drift=x").contains("bpm per minute"));
        assert!(text("noise=NaN").contains("noise=NaN"));
        assert!(text("timing=3,").contains("``"));
    }

    #[test]
    fn what_cannot_be_played_is_brought_into_range() {
        let odd = Mistakes { timing_ms: 1e9, wrong: f64::NAN, noise: -1.0, ..Mistakes::default() }.clamped();
        assert_eq!((odd.timing_ms, odd.wrong, odd.noise), (200.0, 0.0, 0.0));
    }
}
