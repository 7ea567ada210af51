//! What becomes of a session whose program was killed: its summary is made anew from what was stored.

use crate::dsp::event::DspEvent;
use crate::music::scale::Scale;
use crate::practice::score;
use crate::practice::session::Session;
use crate::practice::settings::Settings;
use crate::practice::types::{JudgedNote, Metric, Summary};
use crate::store::{SessionRow, WindowRecord};

/// The summary of a session from its stored notes and windows; `None` when nothing was played.
///
/// Noise is not kept by note: its score is the mean of the windows'.
#[must_use]
pub fn summary(row: &SessionRow, notes: &[JudgedNote], windows: &[WindowRecord]) -> Option<Summary> {
    if notes.is_empty() {
        return None;
    }
    let config: crate::config::Config = serde_json::from_str(&row.config_json).unwrap_or_default();
    let metrics = config.practice.metrics.iter().filter_map(|m| Metric::parse(m).ok()).collect::<Vec<_>>();
    let settings = Settings {
        scale: row.scale.as_deref().and_then(|s| Scale::parse(s).ok()),
        bpm: row.bpm,
        metrics: if metrics.is_empty() { Metric::ALL.to_vec() } else { metrics },
        sensitivity: config.practice.sensitivity,
        strictness: config.practice.strictness,
        whole_scale: config.practice.whole_scale,
    };
    let strictness = settings.strictness;
    let mut judge = Session::new(settings);
    for n in notes {
        judge.push(&DspEvent::Note(n.note));
    }
    let end =
        notes.iter().map(|n| n.note.offset).chain(windows.iter().map(|w| w.window.end)).fold(0.0, f64::max);
    let mut summary = judge.finish(end);
    let noise: Vec<f64> = windows.iter().filter_map(|w| w.window.scores.noise_control).collect();
    summary.scores.noise_control =
        (!noise.is_empty()).then(|| noise.iter().sum::<f64>() / noise.len() as f64);
    summary.scores.overall = score::overall(&summary.scores, strictness);
    (summary.weakest, summary.strongest) = summary.scores.extremes();
    summary.overall_by_window = windows.iter().map(|w| w.window.scores.overall).collect();
    Some(summary)
}
