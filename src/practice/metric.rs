//! Names, words and colours of the four metrics and their scores.

use std::fmt;

use super::types::{Metric, Scores};

/// A word that names no metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no metric: choose from pitch, scale, timing, noise")]
pub struct MetricError {
    /// What was asked for.
    pub text: String,
}

impl Metric {
    /// All four, in the order in which they are shown.
    pub const ALL: [Self; 4] =
        [Self::PitchAccuracy, Self::ScaleConformity, Self::TimingStability, Self::NoiseControl];

    /// Name in data: field names, attributes, columns.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PitchAccuracy => "pitch_accuracy",
            Self::ScaleConformity => "scale_conformity",
            Self::TimingStability => "timing_stability",
            Self::NoiseControl => "noise_control",
        }
    }

    /// Words for a player.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PitchAccuracy => "pitch accuracy",
            Self::ScaleConformity => "scale conformity",
            Self::TimingStability => "timing stability",
            Self::NoiseControl => "noise control",
        }
    }

    /// Reads the short form (`pitch`, `scale`, `timing`, `noise`), the name or the label, in any case.
    ///
    /// # Errors
    /// Names the four.
    pub fn parse(text: &str) -> Result<Self, MetricError> {
        let asked = text.trim().to_lowercase().replace([' ', '-'], "_");
        Self::ALL
            .into_iter()
            .find(|m| m.name() == asked || m.name().split('_').next() == Some(asked.as_str()))
            .ok_or_else(|| MetricError { text: text.trim().into() })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::str::FromStr for Metric {
    type Err = MetricError;
    fn from_str(text: &str) -> Result<Self, MetricError> {
        Self::parse(text)
    }
}

impl Scores {
    /// The score of one metric.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::PitchAccuracy => self.pitch_accuracy,
            Metric::ScaleConformity => self.scale_conformity,
            Metric::TimingStability => self.timing_stability,
            Metric::NoiseControl => self.noise_control,
        }
    }

    /// Weakest and strongest measured metric. Without any, neither; with one alone it is the weakest, and there
    /// is no strongest. Between equals the one shown first is the strongest, the one shown last the weakest.
    #[must_use]
    pub fn extremes(&self) -> (Option<Metric>, Option<Metric>) {
        let measured: Vec<(Metric, f64)> =
            Metric::ALL.iter().filter_map(|m| Some((*m, self.get(*m)?))).collect();
        let weakest = measured.iter().rev().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(m, _)| *m);
        let strongest = measured.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(m, _)| *m);
        (weakest, strongest.filter(|_| measured.len() > 1))
    }
}

/// What a score means in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rating {
    /// Below 30.
    NeedsWork,
    /// From 30.
    Fair,
    /// From 50.
    Average,
    /// From 70.
    Good,
    /// From 90.
    Excellent,
}

/// Colour of a rating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Good and excellent.
    Green,
    /// Average.
    Yellow,
    /// Fair.
    Orange,
    /// Needs work.
    Red,
}

impl Rating {
    /// The rating of a score 0..=100.
    #[must_use]
    pub fn of(score: f64) -> Self {
        match score {
            s if s >= 90.0 => Self::Excellent,
            s if s >= 70.0 => Self::Good,
            s if s >= 50.0 => Self::Average,
            s if s >= 30.0 => Self::Fair,
            _ => Self::NeedsWork,
        }
    }

    /// Words for a player.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Excellent => "excellent",
            Self::Good => "good",
            Self::Average => "average",
            Self::Fair => "fair",
            Self::NeedsWork => "needs work",
        }
    }

    /// Its colour.
    #[must_use]
    pub fn colour(self) -> Colour {
        match self {
            Self::Excellent | Self::Good => Colour::Green,
            Self::Average => Colour::Yellow,
            Self::Fair => Colour::Orange,
            Self::NeedsWork => Colour::Red,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_read_by_every_name() {
        for metric in Metric::ALL {
            for text in [
                metric.name(),
                metric.label(),
                &metric.name().to_uppercase(),
                metric.label().split(' ').next().unwrap(),
            ] {
                assert_eq!(Metric::parse(text), Ok(metric), "{text}");
            }
        }
        assert_eq!(Metric::parse(" Timing "), Ok(Metric::TimingStability));
        for text in ["", "rhythm", "pitch_"] {
            assert!(Metric::parse(text).unwrap_err().to_string().contains("pitch, scale, timing, noise"));
        }
    }

    #[test]
    fn ratings_follow_the_bands() {
        for (score, label, colour) in [
            (100.0, "excellent", Colour::Green),
            (90.0, "excellent", Colour::Green),
            (89.9, "good", Colour::Green),
            (70.0, "good", Colour::Green),
            (50.0, "average", Colour::Yellow),
            (30.0, "fair", Colour::Orange),
            (29.9, "needs work", Colour::Red),
            (0.0, "needs work", Colour::Red),
        ] {
            let rating = Rating::of(score);
            assert_eq!((rating.label(), rating.colour()), (label, colour), "{score}");
        }
    }

    #[test]
    fn extremes_need_something_measured() {
        assert_eq!(Scores::default().extremes(), (None, None));
        let mut scores = Scores { timing_stability: Some(80.0), ..Scores::default() };
        assert_eq!(scores.extremes(), (Some(Metric::TimingStability), None));
        scores.pitch_accuracy = Some(90.0);
        scores.noise_control = Some(90.0);
        assert_eq!(scores.extremes(), (Some(Metric::TimingStability), Some(Metric::PitchAccuracy)));
        let level = Scores { pitch_accuracy: Some(100.0), noise_control: Some(100.0), ..Scores::default() };
        assert_eq!(level.extremes(), (Some(Metric::NoiseControl), Some(Metric::PitchAccuracy)));
    }
}
