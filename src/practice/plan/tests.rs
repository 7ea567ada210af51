use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::practice::types::{Facts, Scores, Summary};

/// A plan that passes.
pub(crate) fn plan() -> Plan {
    let exercise = |title: &str, minutes, tempo, speed_trainer| Exercise {
        title: title.into(),
        how: "Up and down, listening to each note.".into(),
        minutes,
        tempo,
        speed_trainer,
    };
    let trainer = SpeedTrainer { start: 70.0, end: 94.0, step: 4.0, every_bars: 4 };
    Plan {
        scale: "A minor pentatonic".into(),
        kind: PlanKind::Mend,
        focus: Focus::TimingStability,
        tempo: 80.0,
        strictness: 0.5,
        sensitivity: 0.5,
        minutes: 15,
        exercises: vec![
            exercise("Warm up", 3, None, None),
            exercise("Eighths on the click", 7, Some(80.0), None),
            exercise("Speed trainer", 5, None, Some(trainer)),
        ],
        reasoning: "Your timing is the weakest of the four.".into(),
        wish: None,
        note: None,
    }
}

/// Whether a value is what a schema says, in the part of the language that [`schema`] uses.
pub(crate) fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{value} is not {what}: {schema}"));
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        return if any.iter().any(|s| fits(value, s).is_ok()) { Ok(()) } else { wrong("any of these") };
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return wrong("one of these");
    }
    match schema["type"].as_str().expect("a type") {
        "string" if value.is_string() => Ok(()),
        "number" if value.is_number() => Ok(()),
        "integer" if value.is_i64() || value.is_u64() => Ok(()),
        "null" if value.is_null() => Ok(()),
        "array" if value.is_array() => {
            value.as_array().unwrap().iter().try_for_each(|v| fits(v, &schema["items"]))
        }
        "object" if value.is_object() => {
            let (object, properties) =
                (value.as_object().unwrap(), schema["properties"].as_object().unwrap());
            if let Some(strange) = object.keys().find(|k| !properties.contains_key(*k)) {
                return Err(format!("{strange} is unknown"));
            }
            for name in schema["required"].as_array().unwrap() {
                let name = name.as_str().unwrap();
                fits(object.get(name).ok_or(format!("{name} is missing"))?, &properties[name])?;
            }
            Ok(())
        }
        other => wrong(other),
    }
}

#[test]
fn a_plan_survives_json_and_fits_its_schema() {
    let json = serde_json::to_value(plan()).unwrap();
    assert_eq!(fits(&json, &schema()), Ok(()));
    assert_eq!(Plan::read(&json.to_string()), Ok(plan()));
    let chatty = format!("Here you are:\n```json\n{json:#}\n```\nEnjoy!");
    assert_eq!(Plan::read(&chatty), Ok(plan()));
}

/// What strict structured outputs demand of a schema: every object closed, every property required.
#[test]
fn the_schema_is_strict() {
    fn walk(schema: &Value) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false);
            let required: Vec<&str> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
            names.sort_unstable();
            let mut sorted = required.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, names);
            properties.values().for_each(walk);
        }
        for part in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            walk(part);
        }
        schema.get("items").into_iter().for_each(walk);
        let keywords = [
            "type",
            "properties",
            "required",
            "additionalProperties",
            "anyOf",
            "items",
            "enum",
            "description",
        ];
        for key in schema.as_object().unwrap().keys() {
            assert!(keywords.contains(&key.as_str()), "{key}");
        }
    }
    walk(&schema());
}

#[test]
fn every_fault_names_its_field() {
    let faults = |change: &dyn Fn(&mut Plan)| {
        let mut p = plan();
        change(&mut p);
        p.check().unwrap_err().said()
    };
    type Change = Box<dyn Fn(&mut Plan)>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|p| p.scale = "H hyperlydian".into()), "`scale` cannot be read"),
        (Box::new(|p| p.tempo = 1000.0), "`tempo` is 1000"),
        (Box::new(|p| p.tempo = f64::NAN), "`tempo` is NaN"),
        (Box::new(|p| p.strictness = 1.5), "`strictness` is 1.5"),
        (Box::new(|p| p.sensitivity = -0.1), "`sensitivity` is -0.1"),
        (Box::new(|p| p.minutes = 16), "`minutes` is 16, but the exercises take 15 minutes"),
        (Box::new(|p| p.reasoning = "\n \t".into()), "`reasoning` is empty"),
        (Box::new(|p| p.reasoning = "x".repeat(TEXT + 1)), "`reasoning` has 601 characters"),
        (Box::new(|p| p.exercises.clear()), "`exercises` has 0 entries"),
        (Box::new(|p| p.exercises[1].minutes = 0), "`exercises[1].minutes` is 0"),
        (Box::new(|p| p.exercises[1].title.clear()), "`exercises[1].title` is empty"),
        (Box::new(|p| p.exercises[1].tempo = Some(5.0)), "`exercises[1].tempo` is 5"),
        (
            Box::new(|p| p.exercises[2].speed_trainer.as_mut().unwrap().end = 60.0),
            "`exercises[2].speed_trainer.end` is 60: it lies above `start`, which is 70",
        ),
        (
            Box::new(|p| p.exercises[2].speed_trainer.as_mut().unwrap().every_bars = 0),
            "`exercises[2].speed_trainer.every_bars` is 0",
        ),
        (
            Box::new(|p| p.exercises[2].speed_trainer.as_mut().unwrap().step = 0.0),
            "`exercises[2].speed_trainer.step` is 0",
        ),
    ];
    for (change, expected) in cases {
        let said = faults(&*change);
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
    let read = |text: &str| Plan::read(text).unwrap_err().said();
    assert!(read("I would practise scales.").contains("holds no JSON"));
    assert!(read("}{").contains("holds no JSON"));
    assert!(read("{\"scale\": \"A minor\"}").contains("type"));
    let mut strange = serde_json::to_value(plan()).unwrap();
    strange["mood"] = json!("blue");
    assert!(read(&strange.to_string()).contains("mood"));
}

#[test]
fn names_and_texts_are_put_in_order() {
    let mut p = plan();
    p.scale = "am pent".into();
    p.reasoning = " Two\nlines,\u{7} and a  bell. ".into();
    let p = p.check().unwrap();
    assert_eq!((p.scale.as_str(), p.reasoning.as_str()), ("A minor pentatonic", "Two lines, and a bell."));
}

#[test]
fn the_same_practice_is_recognised() {
    let p = plan();
    let same = Plan { tempo: 84.0, reasoning: "Again.".into(), ..p.clone() };
    assert!(p.repeats(&same));
    assert!(!p.repeats(&Plan { focus: Focus::Picking, ..p.clone() }));
    assert!(!p.repeats(&Plan { scale: "E minor pentatonic".into(), ..p.clone() }));
    let mut other = p.clone();
    other.exercises[1].title = "Triplets".into();
    assert!(!p.repeats(&other));
}

#[test]
fn exercises_follow_each_other() {
    let p = plan();
    assert_eq!(p.exercise_at(-1.0), Some((0, 0.0)));
    assert_eq!(p.exercise_at(179.0), Some((0, 179.0)));
    assert_eq!(p.exercise_at(180.0), Some((1, 0.0)));
    assert_eq!(p.exercise_at(700.0), Some((2, 100.0)));
    assert_eq!(p.exercise_at(900.0), None);
    let tempos = [0.0, 180.0, 600.0, 600.1 + 4.0 * 4.0 * 60.0 / 70.0, 899.0, 900.0].map(|s| p.tempo_at(s, 4));
    assert_eq!(tempos, [None, Some(80.0), Some(70.0), Some(74.0), Some(94.0), None]);
}

#[test]
fn a_speed_trainer_climbs_and_stays() {
    let t = SpeedTrainer { start: 70.0, end: 94.0, step: 10.0, every_bars: 4 };
    let tempos: Vec<f64> = (0..20).map(|bar| t.tempo(bar)).collect();
    assert_eq!(tempos[..8], [70.0, 70.0, 70.0, 70.0, 80.0, 80.0, 80.0, 80.0]);
    assert_eq!(tempos[12..], [94.0; 8]);
    assert_eq!((t.bars_to_end(), t.tempo(u64::MAX)), (12, 94.0));
    let slow = SpeedTrainer { start: 60.0, end: 120.0, step: 40.0, every_bars: 1 };
    assert_eq!((slow.begins(1, 4), slow.bar_at(3.99, 4), slow.bar_at(4.0, 4)), (4.0, 0, 1));
}

fn summary(cents: f64, notes: usize) -> Summary {
    Summary {
        duration: 600.0,
        scores: Scores { pitch_accuracy: Some(100.0 - cents), ..Scores::default() },
        facts: Facts { note_count: notes, mean_abs_cents: Some(cents), ..Facts::default() },
        weakest: None,
        strongest: None,
        overall_by_window: vec![],
    }
}

#[test]
fn an_outcome_claims_only_what_it_stands_on() {
    let of = |now: f64, notes, before: &[f64]| {
        let before: Vec<Summary> = before.iter().map(|c| summary(*c, 100)).collect();
        let heard: Vec<Heard<'_>> = before.iter().map(Heard).collect();
        Outcome::of("s".into(), Metric::PitchAccuracy, Heard(&summary(now, notes)), &heard)
    };
    let better = of(8.0, 200, &[14.0, 16.0, 15.0]);
    assert_eq!((better.verdict, better.sessions, better.before), (Verdict::Better, 3, Some(15.0)));
    assert_eq!(
        better.said,
        "Better: 8 cents off on average in 200 notes, against 15 cents on average in the 3 sessions before \
         (± 1 cents). One session is no proof, but it is more than your usual ups and downs."
    );
    assert_eq!(of(14.5, 200, &[14.0, 16.0, 15.0]).verdict, Verdict::Same);
    // As good as ever, but the sessions before were all over the place.
    assert_eq!(of(8.0, 200, &[5.0, 25.0, 15.0]).verdict, Verdict::Same);
    assert_eq!(of(22.0, 200, &[14.0, 16.0, 15.0]).verdict, Verdict::Worse);
    for (outcome, why) in [
        (of(8.0, 200, &[14.0, 16.0]), "2 sessions before it to compare with, and 3 are needed"),
        (of(8.0, 200, &[]), "no session before it"),
        (of(8.0, 12, &[14.0, 16.0, 15.0]), "too few notes"),
    ] {
        assert_eq!(outcome.verdict, Verdict::TooLittle);
        assert!(outcome.said.starts_with("No claim") && outcome.said.contains(why), "{}", outcome.said);
    }
    let nothing = Summary { facts: Facts { note_count: 80, ..Facts::default() }, ..summary(1.0, 80) };
    let outcome = Outcome::of("s".into(), Metric::TimingStability, Heard(&nothing), &[]);
    assert!(outcome.said.contains("was not measured"), "{}", outcome.said);
}

proptest! {
    /// Whatever a model writes, reading it neither panics nor lets through what is out of range.
    #[test]
    fn what_is_read_is_always_a_plan(
        tempo in prop::num::f64::ANY, strictness in prop::num::f64::ANY, minutes in 0u32..200,
        parts in prop::collection::vec(0u32..60, 0..9), scale in "[A-H][#b]?( (minor|dorian|blues|x))?", text in ".{0,80}",
    ) {
        let exercises = parts.iter().map(|m| Exercise {
            title: text.clone(), how: "Play.".into(), minutes: *m, tempo: None, speed_trainer: None,
        }).collect();
        let p = Plan { tempo, strictness, minutes, exercises, scale, ..plan() };
        if let Ok(p) = p.check() {
            prop_assert!(TEMPO.contains(&p.tempo) && (0.0..=1.0).contains(&p.strictness));
            prop_assert!(EXERCISES.contains(&p.exercises.len()) && MINUTES.contains(&p.minutes));
            prop_assert_eq!(p.exercises.iter().map(|e| e.minutes).sum::<u32>(), p.minutes);
            prop_assert_eq!(fits(&serde_json::to_value(&p).unwrap(), &schema()), Ok(()));
        }
    }

    #[test]
    fn a_speed_trainer_never_leaves_its_range_and_never_slows_down(
        start in 30.0..250.0f64, more in 1.0..50.0f64, step in 1.0..40.0f64, every_bars in 1u32..65,
        beats in 1u32..8, seconds in 0.0..4000.0f64,
    ) {
        let t = SpeedTrainer { start, end: start + more, step, every_bars };
        let tempos: Vec<f64> = (0..300).map(|bar| t.tempo(bar)).collect();
        prop_assert!(tempos.windows(2).all(|w| w[0] <= w[1]));
        prop_assert!(tempos.iter().all(|b| (start..=start + more).contains(b)));
        prop_assert_eq!(t.tempo(t.bars_to_end()), t.end);
        prop_assert!(t.bars_to_end() == 0 || t.tempo(t.bars_to_end() - 1) < t.end);
        let bar = t.bar_at(seconds, beats);
        prop_assert!(t.begins(bar, beats) <= seconds + 1e-6 && seconds < t.begins(bar + 1, beats) + 1e-6);
    }
}
