//! Did a plan help? What was measured in the session that carried it out, against the sessions before.
//!
//! Scores depend on the strictness in force, and a plan may change it. So the comparison is made with what was measured
//! (cents, ms, dB, share of notes), which does not; the scores stand beside it.

use serde::{Deserialize, Serialize};

use crate::practice::types::{Facts, Metric, Summary};

/// Sessions before that a claim needs: fewer tell nothing of how much the player varies anyway.
pub const MIN_SESSIONS: usize = 3;
/// Notes and chords that a session needs to count.
pub const MIN_NOTES: usize = 30;
/// Smaller changes are no change, as share of the mean before: about what a measured spread of a few dozen notes is
/// uncertain by.
const SMALLEST_CHANGE: f64 = 0.1;
/// The same for noise, which is in dB already: about the least change of loudness that is heard.
const SMALLEST_DB: f64 = 2.0;

/// What can be said of a plan's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better by more than the sessions before differ among themselves.
    Better,
    /// Within what they differ.
    Same,
    /// Worse by more than they differ.
    Worse,
    /// Too little was played to tell.
    TooLittle,
}

/// What came of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Id of the session that carried it out.
    pub session: String,
    /// What the plan worked on.
    pub metric: Metric,
    /// What can be said.
    pub verdict: Verdict,
    /// Its measure in that session, in units of [`unit()`].
    pub now: Option<f64>,
    /// Mean of its measure over the sessions before.
    pub before: Option<f64>,
    /// Standard deviation of the measure among the sessions before (ddof 1); `None` with fewer than two.
    pub varied: Option<f64>,
    /// Its score in that session, 0..100, at the strictness then in force.
    pub score: Option<f64>,
    /// Mean score over the sessions before.
    pub score_before: Option<f64>,
    /// Sessions before that the comparison stands on.
    pub sessions: usize,
    /// Notes and chords judged in that session.
    pub notes: usize,
    /// All of this in plain words.
    pub said: String,
}

/// A session as the comparison needs it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a>(pub &'a Summary);

/// What a metric rests on, whatever the strictness: mean deviation (cents), share of notes outside the scale (%), spread
/// (ms), or noise against the notes (dB). Lower is better for each.
#[must_use]
pub fn measure(metric: Metric, facts: &Facts) -> Option<f64> {
    match metric {
        Metric::PitchAccuracy => facts.mean_abs_cents,
        Metric::ScaleConformity => facts.in_scale_ratio.map(|r| (1.0 - r) * 100.0),
        Metric::TimingStability => facts.timing_sd_ms,
        Metric::NoiseControl => facts.noise_db,
    }
}

/// Unit of [`measure`].
#[must_use]
pub const fn unit(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "cents",
        Metric::ScaleConformity => "%",
        Metric::TimingStability => "ms",
        Metric::NoiseControl => "dB",
    }
}

/// A measure in words: `9 cents off`, `12 % of the notes outside the scale`, `a spread of 14 ms`, `noise at -24 dB`.
#[must_use]
pub fn measure_words(metric: Metric, value: f64) -> String {
    match metric {
        Metric::PitchAccuracy => format!("{value:.0} cents off on average"),
        Metric::ScaleConformity => format!("{value:.0} % of the notes outside the scale"),
        Metric::TimingStability => format!("a spread of {value:.0} ms"),
        Metric::NoiseControl => format!("noise at {value:.0} dB"),
    }
}

impl Outcome {
    /// What came of a plan for `metric`: the session that carried it out, and those before it.
    #[must_use]
    pub fn of(session: String, metric: Metric, done: Heard<'_>, before: &[Heard<'_>]) -> Self {
        let facts = &done.0.facts;
        let notes = facts.strokes();
        let now = measure(metric, facts);
        let counted: Vec<&Summary> =
            before.iter().map(|h| h.0).filter(|s| s.facts.strokes() >= MIN_NOTES).collect();
        let measures: Vec<f64> = counted.iter().filter_map(|s| measure(metric, &s.facts)).collect();
        let scores: Vec<f64> = counted.iter().filter_map(|s| s.scores.get(metric)).collect();
        let (mean, varied) = (mean(&measures), deviation(&measures));
        let verdict = match (now, mean, varied) {
            (Some(now), Some(mean), Some(varied)) if notes >= MIN_NOTES && measures.len() >= MIN_SESSIONS => {
                judge(metric, now - mean, mean, varied)
            }
            _ => Verdict::TooLittle,
        };
        let mut outcome = Self {
            session,
            metric,
            verdict,
            now,
            before: mean,
            varied,
            score: done.0.scores.get(metric),
            score_before: self::mean(&scores),
            sessions: measures.len(),
            notes,
            said: String::new(),
        };
        outcome.said = outcome.words();
        outcome
    }

    fn words(&self) -> String {
        let label = self.metric.label();
        let Some(now) = self.now else {
            return format!("No claim: {label} was not measured in that session ({} notes).", self.notes);
        };
        let here = format!("{} in {} notes", measure_words(self.metric, now), self.notes);
        if self.notes < MIN_NOTES {
            return format!("No claim: {here}; that is too few notes to tell ({MIN_NOTES} are needed).");
        }
        let unit = unit(self.metric);
        let Some(before) = self.before.filter(|_| self.verdict != Verdict::TooLittle) else {
            let sessions = match self.sessions {
                0 => "there is no session before it".to_owned(),
                1 => "there is one session before it".to_owned(),
                n => format!("there are {n} sessions before it"),
            };
            return format!(
                "No claim yet: {here}; {sessions} to compare with, and {MIN_SESSIONS} are needed."
            );
        };
        let against = format!(
            "{here}, against {before:.0} {unit} on average in the {} sessions before (± {:.0} {unit})",
            self.sessions,
            self.varied.unwrap_or(0.0)
        );
        match self.verdict {
            Verdict::Better => {
                format!(
                    "Better: {against}. One session is no proof, but it is more than your usual ups and downs."
                )
            }
            Verdict::Worse => {
                format!("Worse: {against}. That happens on new ground; the next session will tell.")
            }
            _ => format!("About the same: {against}; that is within your usual ups and downs."),
        }
    }
}

fn judge(metric: Metric, change: f64, mean: f64, varied: f64) -> Verdict {
    let least = if metric == Metric::NoiseControl { SMALLEST_DB } else { SMALLEST_CHANGE * mean.abs() };
    match change {
        c if c.abs() <= varied.max(least) => Verdict::Same,
        c if c < 0.0 => Verdict::Better,
        _ => Verdict::Worse,
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of sessions")]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    #[expect(clippy::cast_precision_loss, reason = "a handful of sessions")]
    let free = (values.len() - 1) as f64;
    Some((values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / free).sqrt())
}
