//! Plans in words and as JSON, the same wherever they are shown. Pure.

use serde_json::{Value, json};

use super::OFFLINE;
use crate::practice::plan::{Exercise, Plan, PlanKind, Verdict};
use crate::store::PlanRow;

/// `Timing stability in A minor pentatonic`; of a first plan `First session: A minor pentatonic`
#[must_use]
pub fn title(plan: &Plan) -> String {
    if plan.kind == PlanKind::First {
        return format!("First session: {}", plan.scale);
    }
    let label = plan.focus.label();
    let mut letters = label.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{} in {}", letters.as_str(), plan.scale)
}

/// `80 bpm`, `64 to 88 bpm, 4 faster every 4 bars`, `free time`
#[must_use]
pub fn tempo(exercise: &Exercise) -> String {
    match (exercise.speed_trainer, exercise.tempo) {
        (Some(t), _) => {
            let bars = if t.every_bars == 1 { "bar".to_owned() } else { format!("{} bars", t.every_bars) };
            format!("{:.0} to {:.0} bpm, {:.0} faster every {bars}", t.start, t.end, t.step)
        }
        (None, Some(bpm)) => format!("{bpm:.0} bpm"),
        (None, None) => "free time".into(),
    }
}

/// `by rules, without a model`, `by gpt-4o-mini`
#[must_use]
pub fn source(row: &PlanRow) -> String {
    if row.source == OFFLINE { "by rules, without a model".into() } else { format!("by {}", row.source) }
}

/// What came of a plan in a word: `better`, `same`, `worse`, `too little`; empty while nothing did.
#[must_use]
pub fn effect(row: &PlanRow) -> &'static str {
    match row.outcome.as_ref().map(|o| o.verdict) {
        Some(Verdict::Better) => "better",
        Some(Verdict::Same) => "same",
        Some(Verdict::Worse) => "worse",
        Some(Verdict::TooLittle) => "no claim",
        None => "",
    }
}

/// A stored plan as the command line and the Hub's API give it. Stable: fields are added, never renamed or removed. Times
/// are RFC 3339 in UTC.
#[must_use]
pub fn json(row: &PlanRow) -> Value {
    json!({
        "id": row.id,
        "user": row.user,
        "created_at": row.created_at.to_string(),
        "source": row.source,
        "prompt_version": row.prompt_version,
        "status": row.status,
        "decided_at": row.decided_at.to_string(),
        "title": title(&row.plan),
        "plan": row.plan,
        "outcome": row.outcome,
        "trace_id": row.trace_id,
    })
}
