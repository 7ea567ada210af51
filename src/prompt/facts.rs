//! The facts of a window or a session as a teacher would put them, metric by metric.
//!
//! Everything is gathered under the metric it belongs to, and a metric without a score is left out with all its
//! facts: what is disabled or was not measured can then not be spoken of.

use serde_json::{Value, json};

use crate::practice::types::{Facts, Metric, NoiseCause, Scores, Summary, Tendency, Window};

/// Smaller changes between two windows are chance, points.
const TREND: f64 = 3.0;
/// Smaller mean deviations are no direction, cents.
const SIGNED_CENTS: f64 = 3.0;
/// Smaller tuning offsets are not worth a word, cents.
const OFFSET_CENTS: f64 = 5.0;
/// Smaller constant distances to the click are none, ms: the round trip is not measured better.
const CLICK_MS: f64 = 5.0;
/// Smaller drifts are no drift, bpm per minute.
const DRIFT: f64 = 1.5;

/// What the prompt needs to know beside the window itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Name of the scale, if one was chosen.
    pub scale_name: Option<String>,
    /// Its pitch classes, spelled (`A`, `C`, `D`, …).
    pub scale_notes: Vec<String>,
    /// Tempo that was set, bpm.
    pub bpm: Option<f64>,
    /// Language of the answer.
    pub language: String,
    /// What was said last, newest last.
    pub previous_advice: Vec<String>,
    /// Scores of the window before.
    pub previous: Option<Scores>,
}

/// A score in a word.
#[must_use]
pub fn word(score: f64) -> &'static str {
    match score {
        s if s >= 90.0 => "excellent",
        s if s >= 70.0 => "good",
        s if s >= 50.0 => "average",
        s if s >= 30.0 => "below average",
        _ => "needs work",
    }
}

/// Mean deviation of the fretted notes in cents, the guitar's own tuning taken out.
#[must_use]
pub fn signed_cents(facts: &Facts) -> Option<f64> {
    facts.mean_signed_cents.map(|s| s - facts.tuning_offset_cents.unwrap_or(0.0))
}

/// Variables of `live-feedback`.
#[must_use]
pub fn of_window(window: &Window, context: &Context) -> Value {
    let mut v = common(&window.scores, &window.facts, window.weakest, window.strongest, context, false);
    v["seconds"] = whole((window.end - window.start).max(0.0));
    v
}

/// Variables of `session-summary`.
#[must_use]
pub fn of_summary(summary: &Summary, context: &Context) -> Value {
    let context = Context { previous: None, ..context.clone() };
    let mut v = common(&summary.scores, &summary.facts, summary.weakest, summary.strongest, &context, true);
    let minutes = summary.duration / 60.0;
    v["minutes"] = if minutes < 2.0 { json!((minutes * 10.0).round() / 10.0) } else { whole(minutes) };
    v["course"] = summary.overall_by_window.iter().flatten().map(|o| whole(*o)).collect();
    v
}

fn common(
    scores: &Scores,
    facts: &Facts,
    weakest: Option<Metric>,
    strongest: Option<Metric>,
    context: &Context,
    session: bool,
) -> Value {
    let measured = |m: Metric| scores.get(m).is_some();
    let metrics: Vec<Value> = Metric::ALL
        .iter()
        .filter_map(|m| {
            let s = scores.get(*m)?;
            let before = context.previous.as_ref().and_then(|p| p.get(*m));
            Some(json!({
                "label": m.label(), "score": whole(s), "word": word(s), "trend": before.map(|b| trend(s - b)),
                "facts": told(*m, facts, session),
            }))
        })
        .collect();
    let notes: &[String] = if measured(Metric::ScaleConformity) { &context.scale_notes } else { &[] };
    // A tempo is a fact of the timing: without timing it is not spoken of.
    let bpm = context.bpm.or(facts.bpm).filter(|_| measured(Metric::TimingStability));
    json!({
        "language": context.language,
        "scale": context.scale_name,
        "scale_notes": notes,
        "bpm": bpm.map(whole),
        "notes": facts.note_count,
        "overall": scores.overall.map(whole),
        "overall_word": scores.overall.map(word),
        "metrics": metrics,
        "weakest": weakest.filter(|m| measured(*m)).map_or("none", Metric::label),
        "strongest": strongest.filter(|m| measured(*m)).map(Metric::label),
        "previous_advice": context.previous_advice,
    })
}

/// What a metric's score rests on, each fact in a few words; `session`: of a whole session rather than a window.
#[must_use]
pub fn told(metric: Metric, facts: &Facts, session: bool) -> Vec<String> {
    let mut out = Vec::new();
    match metric {
        Metric::PitchAccuracy => {
            if let Some(c) = facts.mean_abs_cents {
                out.push(format!("notes {c:.0} cents off on average"));
            }
            if let Some(c) = signed_cents(facts).filter(|c| c.abs() >= SIGNED_CENTS) {
                out.push(format!("{} on average", cents(c)));
            }
            if let Some((note, c)) = &facts.worst_note {
                out.push(format!("worst note {note}, {}", cents(*c)));
            }
            if let Some(c) = facts.tuning_offset_cents.filter(|c| c.abs() >= OFFSET_CENTS) {
                out.push(format!("whole guitar {} (already taken out)", cents(c)));
            }
        }
        Metric::ScaleConformity => {
            if let Some(share) = facts.in_scale_ratio.filter(|r| *r < 1.0) {
                out.push(format!("{:.0} % of the notes outside the scale", (1.0 - share) * 100.0));
            }
            out.extend(facts.wrong_notes.iter().take(3).map(|(note, n)| format!("{note} {}", times(*n))));
            if let Some(share) = facts.coverage.filter(|_| session) {
                out.push(format!("{:.0} % of the scale played", share * 100.0));
            }
        }
        Metric::TimingStability => {
            if let Some(ms) = facts.timing_sd_ms {
                let sure = facts.timing_sd_interval_ms.map_or_else(String::new, |(low, high)| {
                    format!(" (80 % interval {low:.0} to {high:.0}, {} notes)", facts.timing_notes)
                });
                out.push(format!("spread {ms:.0} ms{sure}"));
            }
            if let Some(ms) = facts.click_offset_ms.filter(|ms| ms.abs() >= CLICK_MS) {
                let way = if ms < 0.0 { "ahead of" } else { "behind" };
                out.push(format!("on average {:.0} ms {way} the click", ms.abs()));
            }
            if let Some(t) = facts.tendency {
                let t = match t {
                    Tendency::Rushing => "rushing",
                    Tendency::Dragging => "dragging",
                    Tendency::Steady => "steady",
                };
                out.push(t.into());
            }
            if let Some(d) = facts.drift_bpm_per_min.filter(|d| d.abs() >= DRIFT) {
                let way = if d > 0.0 { "faster" } else { "slower" };
                out.push(format!("getting {way} by {:.0} bpm a minute", d.abs()));
            }
            if let Some(played) = facts.subdivision.as_ref().filter(|s| !s.is_empty()) {
                out.push(match facts.swing_ratio {
                    Some(ratio) => format!("{played}, swing {ratio:.1} to 1 (no mistake)"),
                    None => played.clone(),
                });
            }
        }
        Metric::NoiseControl => {
            if let Some(db) = facts.noise_db {
                let way = if db <= 0.0 { "below" } else { "above" };
                out.push(format!("noise {:.0} dB {way} the notes", db.abs()));
            }
            let mut causes = facts.noise_words().into_iter();
            out.extend(causes.next().map(|cause| format!("mainly {cause}")));
            out.extend(causes.next().map(|cause| format!("also {cause}")));
        }
    }
    out
}

/// `22 cents sharp`
#[must_use]
pub fn cents(c: f64) -> String {
    let n = c.abs().round();
    format!("{n:.0} cent{} {}", if n == 1.0 { "" } else { "s" }, if c >= 0.0 { "sharp" } else { "flat" })
}

/// `once`, `twice`, `5 times`
#[must_use]
pub fn times(n: usize) -> String {
    match n {
        1 => "once".into(),
        2 => "twice".into(),
        n => format!("{n} times"),
    }
}

fn trend(change: f64) -> String {
    let n = change.abs().round();
    match change {
        c if c >= TREND => format!("up {n:.0} since the window before"),
        c if c <= -TREND => format!("down {n:.0} since the window before"),
        _ => "unchanged".into(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "scores, seconds and tempos are small")]
fn whole(x: f64) -> Value {
    json!(x.round() as i64)
}

/// What a turn of a chat is told.
#[derive(Clone, Copy, Debug)]
pub struct ChatTurn<'a> {
    /// Language of the answer.
    pub language: &'a str,
    /// `Friday, 2026-11-20`.
    pub today: &'a str,
    /// The SQL to be written.
    pub dialect: &'a str,
    /// First turn of a thread: the schema is told.
    pub first: bool,
    /// Tables and columns.
    pub schema: &'a str,
    /// What is asked.
    pub question: &'a str,
}

impl ChatTurn<'_> {
    pub(super) fn variables(&self) -> Value {
        json!({ "language": self.language, "today": self.today, "dialect": self.dialect, "first": self.first,
            "schema": if self.first { self.schema } else { "" }, "question": self.question })
    }
}

/// Values on which a player's own template is tried out: everything measured, and as little as can be.
pub(super) fn samples(prompt: &str) -> Vec<Value> {
    if prompt == super::PRACTICE_PLAN {
        return plan_samples();
    }
    if prompt == super::CHAT {
        let turn =
            ChatTurn { language: "en", today: "", dialect: "SQLite", first: true, schema: "", question: "?" };
        return [true, false].map(|first| ChatTurn { first, ..turn }.variables()).to_vec();
    }
    if prompt == super::CHAT_INTENT {
        return vec![json!({ "question": "?" })];
    }
    let cases = judged_samples();
    cases
        .into_iter()
        .map(|(scores, facts, weakest, strongest, context)| {
            if prompt == super::SESSION_SUMMARY {
                let overall_by_window = vec![Some(70.0), None];
                let s = Summary { duration: 700.0, scores, facts, weakest, strongest, overall_by_window };
                of_summary(&s, &context)
            } else {
                let w = Window { index: 0, start: 0.0, end: 30.0, scores, facts, weakest, strongest };
                of_window(&w, &context)
            }
        })
        .collect()
}

/// Variables of `practice-plan`: of a player with a history and a wish, and of one without either.
#[must_use]
pub fn plan_samples() -> Vec<Value> {
    let suggested =
        json!({ "type": "mend", "tempo": 76, "strictness": 0.5, "sensitivity": 0.5, "minutes": 15 });
    let metric = json!({ "label": "timing stability", "score": 64, "facts": ["spread 24 ms", "rushing"] });
    vec![
        json!({
            "language": "en", "level": "developing", "totals": { "sessions": 12, "minutes": 180 },
            "sessions": [{
                "when": "yesterday", "minutes": 15, "scale": "A minor pentatonic", "bpm": 84, "notes": 512,
                "overall": 74, "metrics": [metric],
            }],
            "means": [metric], "weakest": "timing stability",
            "scales": [{ "scale": "A minor pentatonic", "sessions": 9, "minutes": 140, "overall": 74 }],
            "plans": [{
                "when": "2 days ago", "status": "done", "focus": "timing stability", "scale": "A minor pentatonic",
                "tempo": 72, "titles": ["Eighths on the click"], "outcome": "About the same.",
            }],
            "suggested": suggested, "another": true, "wish": "more bends",
        }),
        json!({
            "language": "en", "level": "starting out", "totals": { "sessions": 0, "minutes": 0 }, "sessions": [],
            "means": [], "weakest": null, "scales": [], "plans": [], "suggested": suggested, "another": false,
            "wish": null,
        }),
    ]
}

type Judged = (Scores, Facts, Option<Metric>, Option<Metric>, Context);

fn judged_samples() -> [Judged; 2] {
    let full = Facts {
        note_count: 58,
        in_scale_ratio: Some(0.88),
        coverage: Some(1.0),
        wrong_notes: vec![("F#".into(), 5)],
        worst_note: Some(("G".into(), 22.0)),
        mean_abs_cents: Some(14.0),
        mean_signed_cents: Some(9.0),
        tuning_offset_cents: Some(-18.0),
        timing_sd_ms: Some(12.0),
        timing_sd_interval_ms: Some((10.5, 14.2)),
        timing_notes: 58,
        click_offset_ms: Some(14.0),
        subdivision: Some("swung eighths".into()),
        swing_ratio: Some(2.0),
        tendency: Some(Tendency::Steady),
        drift_bpm_per_min: Some(2.0),
        bpm: Some(90.0),
        noise_db: Some(-24.0),
        noise_cause: Some(NoiseCause::BetweenNotes),
        ..Facts::default()
    };
    let all = Scores {
        pitch_accuracy: Some(61.0),
        scale_conformity: Some(88.0),
        timing_stability: Some(94.0),
        noise_control: Some(83.0),
        overall: Some(78.0),
    };
    let one = Scores { noise_control: Some(83.0), overall: Some(83.0), ..Scores::default() };
    let rich = Context {
        scale_name: Some("A minor pentatonic".into()),
        scale_notes: ["A", "C", "D", "E", "G"].map(String::from).to_vec(),
        bpm: Some(90.0),
        language: "en".into(),
        previous_advice: vec!["Ease your grip.".into()],
        previous: Some(all),
    };
    let pitch = Some(Metric::PitchAccuracy);
    let noise = Some(Metric::NoiseControl);
    [
        (all, full, pitch, Some(Metric::TimingStability), rich),
        (one, Facts::default(), noise, None, Context::default()),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn window() -> Window {
        Window {
            index: 3,
            start: 90.0,
            end: 120.0,
            scores: Scores {
                pitch_accuracy: Some(61.2),
                scale_conformity: Some(88.0),
                timing_stability: Some(94.4),
                noise_control: Some(83.0),
                overall: Some(78.0),
            },
            facts: Facts {
                note_count: 58,
                in_scale_ratio: Some(0.88),
                coverage: Some(1.0),
                wrong_notes: vec![("F#".into(), 5), ("B".into(), 1)],
                worst_note: Some(("G".into(), 22.0)),
                mean_abs_cents: Some(14.0),
                mean_signed_cents: Some(-9.0),
                tuning_offset_cents: Some(-18.0),
                timing_sd_ms: Some(12.0),
                tendency: Some(Tendency::Steady),
                drift_bpm_per_min: Some(0.3),
                bpm: Some(90.0),
                noise_db: Some(-24.0),
                noise_cause: Some(NoiseCause::BetweenNotes),
                ..Facts::default()
            },
            weakest: Some(Metric::PitchAccuracy),
            strongest: Some(Metric::TimingStability),
        }
    }

    pub(crate) fn summary() -> Summary {
        let w = window();
        Summary {
            duration: 725.0,
            scores: w.scores,
            facts: w.facts,
            weakest: w.weakest,
            strongest: w.strongest,
            overall_by_window: vec![Some(70.0), None, Some(78.0), Some(82.0)],
        }
    }

    pub(crate) fn context() -> Context {
        Context {
            scale_name: Some("A minor pentatonic".into()),
            scale_notes: ["A", "C", "D", "E", "G"].map(String::from).to_vec(),
            bpm: Some(90.0),
            language: "en".into(),
            previous_advice: vec!["Ease your grip.".into()],
            previous: Some(Scores {
                pitch_accuracy: Some(67.0),
                scale_conformity: Some(84.0),
                timing_stability: Some(94.0),
                ..Scores::default()
            }),
        }
    }

    #[test]
    fn numbers_are_put_in_words() {
        assert_eq!(cents(-1.2), "1 cent flat");
        assert_eq!(cents(22.4), "22 cents sharp");
        assert_eq!([1, 2, 5].map(times), ["once", "twice", "5 times"]);
        assert_eq!((word(90.0), word(69.9), word(12.0)), ("excellent", "average", "needs work"));
        assert_eq!(signed_cents(&window().facts), Some(9.0));
    }
}
