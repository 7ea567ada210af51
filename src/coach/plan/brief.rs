//! What a model is told of a player, and what its plan must keep to beyond its schema. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Ask;
use super::history::{History, RECENT};
use super::offline::Set;
use super::wish::Wish;
use crate::practice::plan::{Fault, Invalid, MINUTES, Plan};
use crate::practice::types::{Metric, Scores};
use crate::prompt::facts;

/// How far a model's strictness may be from that of the level.
const STRICTNESS_NEAR: f64 = 0.2;
/// How far its tempo may be from what was held, as factors, unless a wish says otherwise.
const TEMPO_NEAR: (f64, f64) = (0.6, 1.25);
/// Scales told of: beyond them lies what was tried once.
const SCALES: usize = 8;

/// Variables of the prompt `practice-plan`.
#[must_use]
pub fn variables(history: &History, ask: &Ask, set: &Set, language: &str, now: Timestamp) -> Value {
    let metrics = |scores: &Scores, told: &dyn Fn(Metric) -> Vec<String>| -> Vec<Value> {
        Metric::ALL
            .into_iter()
            .filter(|m| history.enabled(*m))
            .filter_map(|m| {
                Some(json!({ "label": m.label(), "score": whole(scores.get(m)?), "facts": told(m) }))
            })
            .collect()
    };
    let sessions: Vec<Value> = history
        .sessions
        .iter()
        .map(|s| {
            json!({
                "when": ago(s.at, now),
                "minutes": whole(s.summary.duration / 60.0),
                "scale": s.scale,
                "bpm": s.bpm.map(whole),
                "notes": s.summary.facts.strokes(),
                "overall": s.summary.scores.overall.map(whole),
                "metrics": metrics(&s.summary.scores, &|m| facts::told(m, &s.summary.facts, true)),
            })
        })
        .collect();
    let scales: Vec<Value> = history
        .practised
        .iter()
        .filter(|p| p.scale.is_some())
        .take(SCALES)
        .map(|p| {
            json!({
                "scale": p.scale, "sessions": p.sessions, "minutes": whole(p.minutes),
                "overall": p.overall.map(whole),
            })
        })
        .collect();
    let plans: Vec<Value> = history
        .plans
        .iter()
        .take(RECENT)
        .map(|p| {
            json!({
                "when": ago(p.created_at, now),
                "status": p.status.word(),
                "focus": p.plan.focus.label(),
                "scale": p.plan.scale,
                "tempo": whole(p.plan.tempo),
                "titles": p.plan.exercises.iter().map(|e| e.title.as_str()).collect::<Vec<_>>(),
                "outcome": p.outcome.as_ref().map(|o| o.said.as_str()),
            })
        })
        .collect();
    let wish = ask.wish();
    let read = wish.map(Wish::read).unwrap_or_default();
    let usual = if set.minutes >= 1.0 { set.minutes.round() as u32 } else { history.minutes() };
    let level = history.level();
    let pace = history.pace(history.weakest());
    json!({
        "language": language,
        "level": level.label(),
        "totals": {
            "sessions": history.practised.iter().map(|p| p.sessions).sum::<u64>(),
            "minutes": whole(history.practised.iter().map(|p| p.minutes).sum()),
        },
        "sessions": sessions,
        "means": if history.is_empty() { Vec::new() } else { metrics(&history.means(), &|_| Vec::new()) },
        "weakest": history.weakest().map(Metric::label),
        "scales": scales,
        "plans": plans,
        "suggested": {
            "type": history.kind().name(),
            "tempo": whole(read.tempo.unwrap_or(pace.tempo * read.pace.unwrap_or(1.0))),
            "strictness": level.strictness(),
            "sensitivity": history.sensitivity().unwrap_or(set.sensitivity),
            "minutes": read.minutes.unwrap_or(usual).clamp(*MINUTES.start(), *MINUTES.end()),
        },
        "another": matches!(ask, Ask::Another) && !history.plans.is_empty(),
        "wish": wish,
    })
}

/// Whether a plan suits the player: none of the recent ones again, on the weakest area, as hard as the level says; with a
/// wish, as long and in the scale that it names.
///
/// # Errors
/// [`Invalid`], naming the fields.
pub fn suits(plan: &Plan, history: &History, ask: &Ask) -> Result<(), Invalid> {
    let mut faults = Vec::new();
    if let Some(same) = history.plans.iter().find(|p| p.plan.repeats(plan)) {
        let said = format!(
            "are those of a recent plan ({} in {}): change the scale, the focus or the exercises",
            same.plan.focus, same.plan.scale
        );
        faults.push(Fault::new("exercises", said));
    }
    let level = history.level();
    if (plan.strictness - level.strictness()).abs() > STRICTNESS_NEAR + 1e-9 {
        let said = format!("is {}: at this level keep close to {}", plan.strictness, level.strictness());
        faults.push(Fault::new("strictness", said));
    }
    match ask.wish() {
        None => {
            let weakest = history.weakest();
            if let Some(weakest) = weakest.filter(|m| *m != plan.focus.metric()) {
                let said = format!(
                    "is {}, which shows in {}; the weakest area is {weakest}",
                    plan.focus.name(),
                    plan.focus.metric()
                );
                faults.push(Fault::new("focus", said));
            }
            let suggested = history.pace(weakest).tempo;
            let (low, high) = (suggested * TEMPO_NEAR.0, suggested * TEMPO_NEAR.1);
            if !(low..=high).contains(&plan.tempo) {
                let said = format!("is {}: what they can play now lies near {suggested:.0}", plan.tempo);
                faults.push(Fault::new("tempo", said));
            }
        }
        Some(wish) => {
            let wish = Wish::read(wish);
            if let Some(minutes) = wish.minutes.filter(|m| *m != plan.minutes) {
                faults.push(Fault::new("minutes", format!("is {}: they want {minutes}", plan.minutes)));
            }
            if let Some(scale) = wish.scale.filter(|s| s.name() != plan.scale) {
                faults.push(Fault::new("scale", format!("is {}: they want {scale}", plan.scale)));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Invalid { faults }) }
}

/// How long ago in a few words.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    match now.duration_since(at).as_secs().max(0) {
        s if s < HOUR => "just now".into(),
        s if s < 2 * HOUR => "an hour ago".into(),
        s if s < DAY => format!("{} hours ago", s / HOUR),
        s if s < 2 * DAY => "yesterday".into(),
        s => format!("{} days ago", s / DAY),
    }
}

fn whole(x: f64) -> Value {
    json!(x.round() as i64)
}
