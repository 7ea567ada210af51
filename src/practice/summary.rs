//! The summary as one JSON object, the same wherever it is written.

use serde_json::{Value, json};

use super::types::Summary;

/// `{"type":"summary", …}` as the command line promises it; what was not measured is `null`.
#[must_use]
pub fn summary_json(summary: &Summary) -> Value {
    let (scores, facts) = (&summary.scores, &summary.facts);
    json!({
        "type": "summary",
        "pitch_accuracy": scores.pitch_accuracy,
        "scale_conformity": scores.scale_conformity,
        "timing_stability": scores.timing_stability,
        "noise_control": scores.noise_control,
        "overall": scores.overall,
        "note_count": facts.note_count,
        "chord_count": facts.chord_count,
        "chords_in_scale": facts.chords_in_scale,
        "in_scale_ratio": facts.in_scale_ratio,
        "coverage": facts.coverage,
        "mean_abs_cents": facts.mean_abs_cents,
        "mean_signed_cents": facts.mean_signed_cents,
        "tuning_offset_cents": facts.tuning_offset_cents,
        "timing_sd_ms": facts.timing_sd_ms,
        "timing_sd_interval_ms": facts.timing_sd_interval_ms,
        "timing_notes": facts.timing_notes,
        "click_offset_ms": facts.click_offset_ms,
        "subdivision": facts.subdivision,
        "swing_ratio": facts.swing_ratio,
        "tendency": facts.tendency,
        "drift_bpm_per_min": facts.drift_bpm_per_min,
        "bpm": facts.bpm,
        "noise_db": facts.noise_db,
        "noise_cause": facts.noise_cause,
        "noise_causes": facts.noise_causes.iter().map(|(c, db)| json!({"cause": c, "db": db})).collect::<Vec<_>>(),
        "mains_hz": facts.mains_hz,
    })
}
