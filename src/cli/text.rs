//! Scores and times in words, the same wherever they are printed.

use std::fmt::Write;

use crate::practice::metric::Rating;
use crate::practice::types::{Facts, Metric, Scores, Summary, Tendency};

/// `1:23` or `1:02:03`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

/// Short name of a metric, as on the display.
#[must_use]
pub const fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "pitch",
        Metric::ScaleConformity => "scale",
        Metric::TimingStability => "timing",
        Metric::NoiseControl => "clean",
    }
}

/// `pitch 92 · scale 100 · timing 61 · overall 86`: only what was measured.
#[must_use]
pub fn scores(s: &Scores) -> String {
    let mut parts: Vec<String> =
        Metric::ALL.into_iter().filter_map(|m| Some(format!("{} {:.0}", short(m), s.get(m)?))).collect();
    parts.extend(s.overall.map(|o| format!("overall {o:.0}")));
    if parts.is_empty() { "nothing to score".into() } else { parts.join(" · ") }
}

/// What the score of a metric rests on, in a guitarist's words; empty when there is nothing to say.
#[must_use]
pub fn ground(metric: Metric, f: &Facts) -> String {
    match metric {
        Metric::PitchAccuracy => {
            let mut said =
                f.mean_abs_cents.map_or_else(String::new, |c| format!("{c:.0} cents off on average"));
            if let Some(offset) = f.tuning_offset_cents.filter(|o| o.abs() >= 5.0) {
                let way = if offset < 0.0 { "flat" } else { "sharp" };
                let _ = write!(said, "; the whole guitar is {:.0} cents {way}", offset.abs());
            }
            said
        }
        Metric::ScaleConformity => {
            let wrong: Vec<String> = f.wrong_notes.iter().take(3).map(|(n, k)| format!("{n} ×{k}")).collect();
            match f.in_scale_ratio {
                Some(r) if wrong.is_empty() => format!("{:.0} % of the notes in the scale", r * 100.0),
                Some(r) => {
                    format!("{:.0} % of the notes in the scale; outside it: {}", r * 100.0, wrong.join(", "))
                }
                None => String::new(),
            }
        }
        Metric::TimingStability => {
            let mut said = f.timing_sd_ms.map_or_else(String::new, |sd| format!("spread {sd:.0} ms"));
            match f.tendency {
                Some(Tendency::Rushing) => said.push_str(", rushing"),
                Some(Tendency::Dragging) => said.push_str(", dragging"),
                _ => {}
            }
            if let Some(bpm) = f.bpm {
                let _ = write!(said, ", at {bpm:.0} bpm");
            }
            said
        }
        Metric::NoiseControl => {
            let mut said = f.noise_db.map_or_else(String::new, |db| format!("unwanted sound at {db:.0} dB"));
            if let Some(cause) = f.noise_cause {
                let _ = write!(said, ", {}", cause.words());
            }
            said
        }
    }
}

/// A session's or recording's result as a small table.
#[must_use]
pub fn summary(s: &Summary) -> String {
    if s.facts.note_count == 0 {
        return "No notes were heard, so there is nothing to score. Is the guitar plugged in and turned up?\n\
                `fretcoach doctor` shows the level of the input.\n"
            .into();
    }
    let mut text = format!("{} notes in {}", s.facts.note_count, clock(s.duration));
    if s.facts.gated_count > 0 {
        let _ = write!(text, " ({} more while the coach spoke, not judged)", s.facts.gated_count);
    }
    text.push('\n');
    for m in Metric::ALL {
        if let Some(score) = s.scores.get(m) {
            let _ = writeln!(text, "  {:8} {score:4.0}  {}", short(m), ground(m, &s.facts));
        }
    }
    if let Some(overall) = s.scores.overall {
        let _ = writeln!(text, "  {:8} {overall:4.0}  {}", "overall", Rating::of(overall).label());
    }
    text
}
