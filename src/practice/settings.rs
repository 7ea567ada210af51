//! What is practised and how strictly it is judged.

use crate::music::grid::{Tempo, TempoError};
use crate::music::scale::Scale;

use super::types::Metric;

/// What is practised and how strictly it is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The scale; without one, scale conformity is not measured.
    pub scale: Option<Scale>,
    /// Tempo in beats per minute; `None`: inferred from the playing.
    pub bpm: Option<f64>,
    /// Enabled metrics. The others are neither computed nor reported.
    pub metrics: Vec<Metric>,
    /// 0..=1: how soft a note still counts.
    pub sensitivity: f64,
    /// 0..=1: how hard an error weighs.
    pub strictness: f64,
    /// The exercise asks for the whole scale: coverage then counts in the session's scale score.
    pub whole_scale: bool,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The tempo.
    #[error(transparent)]
    Tempo(#[from] TempoError),
    /// `sensitivity` or `strictness`.
    #[error("{name} is {value}: it goes from 0 to 1")]
    Share {
        /// Name of the setting.
        name: &'static str,
        /// What was asked for.
        value: f64,
    },
    /// Every metric is switched off.
    #[error("no metric is enabled: choose at least one of pitch, scale, timing, noise")]
    NoMetric,
}

impl Default for Settings {
    /// All metrics, no scale, no tempo, middle sensitivity and strictness.
    fn default() -> Self {
        Self {
            scale: None,
            bpm: None,
            metrics: Metric::ALL.to_vec(),
            sensitivity: 0.5,
            strictness: 0.5,
            whole_scale: false,
        }
    }
}

impl Settings {
    /// Checks and takes the settings. See the fields.
    ///
    /// # Errors
    /// A tempo outside 20..=400 bpm, a share outside 0..=1, or no metric at all.
    pub fn new(
        scale: Option<Scale>,
        bpm: Option<f64>,
        metrics: Vec<Metric>,
        sensitivity: f64,
        strictness: f64,
        whole_scale: bool,
    ) -> Result<Self, SettingsError> {
        if let Some(bpm) = bpm {
            Tempo::new(bpm)?;
        }
        for (name, value) in [("sensitivity", sensitivity), ("strictness", strictness)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(SettingsError::Share { name, value });
            }
        }
        if metrics.is_empty() {
            return Err(SettingsError::NoMetric);
        }
        Ok(Self { scale, bpm, metrics, sensitivity, strictness, whole_scale })
    }

    /// True when a metric is enabled.
    #[must_use]
    pub fn enabled(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// The tempo, if one is set that can be played.
    pub(crate) fn tempo(&self) -> Option<Tempo> {
        self.bpm.and_then(|bpm| Tempo::new(bpm).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let all = || Metric::ALL.to_vec();
        assert!(Settings::new(None, None, all(), 0.0, 1.0, false).is_ok());
        let text = |r: Result<Settings, SettingsError>| r.unwrap_err().to_string();
        assert!(text(Settings::new(None, Some(5.0), all(), 0.5, 0.5, false)).contains("5 bpm"));
        assert!(text(Settings::new(None, None, all(), 1.5, 0.5, false)).contains("sensitivity is 1.5"));
        assert!(text(Settings::new(None, None, all(), 0.5, f64::NAN, false)).contains("strictness is NaN"));
        assert!(text(Settings::new(None, None, vec![], 0.5, 0.5, false)).contains("no metric"));
    }
}
