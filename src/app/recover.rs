//! What becomes of a session whose program was killed: its summary is made anew from what was stored, and its recording
//! gets its length.

use crate::audio::flac;
use crate::dsp::event::DspEvent;
use crate::music::scale::Scale;
use crate::practice::score;
use crate::practice::session::Session;
use crate::practice::settings::Settings;
use crate::practice::types::{JudgedNote, Metric, Summary};
use crate::span::chain;
use crate::store::{RecordingRow, SessionRow, Store, WindowRecord};

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

/// Makes recordings known that a killed program left behind, and removes those that hold nothing. One whose session is
/// not in this store stays as it is. The right to capture must be held.
pub async fn recordings(store: &Store) {
    let left = match store.recordings_without_row().await {
        Ok(left) => left,
        Err(e) => {
            tracing::warn!("recordings that were cut off were not looked for: {}", chain(&e));
            return;
        }
    };
    for (path, session) in left {
        let mend = path.clone();
        let mended = tokio::task::spawn_blocking(move || flac::mend(&mend)).await;
        let (samples, rate) = match mended {
            Ok(Ok((0, _))) => {
                tracing::info!(file = %path.display(), "a recording without sound is removed");
                // If it cannot be removed now, the next start tries again.
                let _ = std::fs::remove_file(&path);
                continue;
            }
            Ok(Ok(found)) => found,
            Ok(Err(e)) => {
                tracing::warn!(file = %path.display(), "a recording that was cut off cannot be read: {}", chain(&e));
                continue;
            }
            Err(e) => {
                tracing::error!(file = %path.display(), "a recording that was cut off was not looked at: {e}");
                continue;
            }
        };
        // Its session may be in a backup, or in a file that is yet to be imported.
        let Some(session) = session else { continue };
        let row = RecordingRow {
            session,
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sample_rate: rate,
            // It is begun with the session.
            from_s: 0.0,
            seconds: samples as f64 / f64::from(rate),
            bytes: std::fs::metadata(&path).map_or(0, |m| m.len()),
        };
        if let Err(e) = store.add_recording(&row).await {
            tracing::warn!("the recording {} waits for the next start: {}", row.file, chain(&e));
        }
    }
}
