//! A plan put into the settings of a session. Pure.

use crate::config;
use crate::practice::plan::Plan;
use crate::practice::types::Metric;

impl Plan {
    /// Sets what the plan says and leaves the rest: scale, tempo, strictness, sensitivity, minutes, AI mode; the metric
    /// that shows its effect is scored; the metronome clicks where an exercise has a tempo, and begins at the first
    /// one's.
    pub fn apply(&self, practice: &mut config::Practice) {
        let begins = self.exercises.iter().find_map(crate::practice::plan::Exercise::starts_at);
        practice.scale.clone_from(&self.scale);
        practice.bpm = begins.unwrap_or(self.tempo);
        practice.metronome = begins.is_some();
        practice.strictness = self.strictness;
        practice.sensitivity = self.sensitivity;
        practice.minutes = f64::from(self.minutes);
        practice.mode = "ai".into();
        let metric = self.focus.metric();
        if !practice.metrics.iter().any(|m| Metric::parse(m) == Ok(metric)) {
            practice.metrics.push(metric.name().into());
        }
    }
}
