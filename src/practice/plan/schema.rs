//! The plan as a JSON schema, in the part of the language that structured outputs in strict mode take everywhere: every
//! field required, nothing else allowed. Ranges stand in the descriptions, since not every server takes them as keywords;
//! [`Plan::check`](super::Plan::check) holds to them.

use serde_json::{Value, json};

use super::{EXERCISES, Focus, MINUTES, PlanKind, TEMPO, TEXT, TITLE};

/// Name of the schema, as servers want one.
pub const NAME: &str = "practice_plan";

/// The schema of a plan.
#[must_use]
pub fn schema() -> Value {
    let (low, high) = (TEMPO.start(), TEMPO.end());
    let bpm = format!("{low} to {high} beats per minute");
    let share = |what: &str| json!({ "type": "number", "description": format!("0 to 1: {what}") });
    let text = |most: usize, what: &str| json!({ "type": "string", "description": format!("{what}; plain text, at most {most} characters") });
    let number = |what: String| json!({ "type": "number", "description": what });
    let trainer = closed(json!({
        "start": number(format!("first tempo, {bpm}")),
        "end": number(format!("last tempo, above `start`, {bpm}")),
        "step": number("how much faster at each step, 1 to 40 beats per minute".into()),
        "every_bars": { "type": "integer", "description": "bars at each tempo, 1 to 64" },
    }));
    let exercise = closed(json!({
        "title": text(TITLE, "a few words"),
        "how": text(TEXT, "what the hands do and what to listen for"),
        "minutes": { "type": "integer", "description": "whole minutes, at least 1" },
        "tempo": {
            "anyOf": [{ "type": "number" }, { "type": "null" }],
            "description": format!("{bpm}; null: free time, or a speed trainer sets it"),
        },
        "speed_trainer": {
            "anyOf": [trainer, { "type": "null" }],
            "description": "the metronome gets faster by itself; null: it does not",
        },
    }));
    closed(json!({
        "scale": { "type": "string", "description": "root and kind, as \"A minor pentatonic\" or \"F# dorian\"" },
        "type": {
            "type": "string",
            "enum": PlanKind::ALL.map(PlanKind::name),
            "description": "first: finds out where the player stands; mend: slow work on the weakest area; build: what \
                            goes well, faster or more strictly; explore: new material at a comfortable tempo",
        },
        "focus": {
            "type": "string",
            "enum": Focus::ALL.map(Focus::name),
            "description": "what it works on; pitch_accuracy is measured by bends, vibrato and slides too, \
                            scale_conformity by improvisation, timing_stability by legato, picking and chords, \
                            noise_control by muting",
        },
        "tempo": number(format!("tempo of the session, {bpm}")),
        "strictness": share("how hard an error weighs"),
        "sensitivity": share("how soft a note still counts"),
        "minutes": {
            "type": "integer",
            "description": format!(
                "{} to {}, the sum of the exercises' minutes", MINUTES.start(), MINUTES.end()
            ),
        },
        "exercises": {
            "type": "array",
            "items": exercise,
            "description": format!("{} to {}, in order", EXERCISES.start(), EXERCISES.end()),
        },
        "reasoning": text(TEXT, "why this, today, for this player, with their own numbers, said to the player"),
    }))
}

/// An object of exactly these properties.
fn closed(properties: Value) -> Value {
    let required: Vec<String> =
        properties.as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
