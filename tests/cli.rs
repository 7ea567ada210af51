//! The command line that other programs rely on: fields of the machine formats, exit codes, help. Fields may be
//! added; a test here fails when one is renamed, removed or changes its kind.

mod common;

use std::fs;

use common::process::Program;
use common::wav::Wav;
use fretcoach::cli::exit::{CODES, Exit};
use serde_json::Value;

/// Kind of each field of an object: `t: number`, `f0: number|null` where both were seen.
fn kinds<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let mut fields: std::collections::BTreeMap<String, std::collections::BTreeSet<&str>> = Default::default();
    for object in objects {
        for (name, value) in object.as_object().expect("an object") {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "list",
                Value::Object(_) => "object",
            };
            fields.entry(name.clone()).or_default().insert(kind);
        }
    }
    let line = |(name, kinds): (String, std::collections::BTreeSet<&str>)| {
        format!("{name}: {}\n", kinds.into_iter().collect::<Vec<_>>().join("|"))
    };
    fields.into_iter().map(line).collect()
}

/// A program with a take of an A minor pentatonic in quarters at 120 bpm, then a C#, in its folder.
fn with_take() -> Program {
    let program = Program::fretcoach();
    let samples = common::wav::plucked(&[57, 60, 62, 64, 67, 69, 67, 64, 62, 61], 0.5, 44_100);
    Wav::mono(44_100, samples).write(&program.home().join("take.wav"));
    program
}

fn lines(program: &Program, args: &[&str]) -> Vec<Value> {
    let args = [&["analyze", "take.wav", "--format", "jsonl"], args].concat();
    let out = program.run(&args).ok();
    assert_eq!(out.stderr, "");
    out.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|l| l["type"] == kind).collect()
}

#[test]
fn analyze_prints_frames_notes_a_summary_and_last_the_stats() {
    let program = with_take();
    let lines = lines(&program, &["--scale", "A minor pentatonic", "--bpm", "120"]);
    let (frames, notes) = (of_type(&lines, "frame"), of_type(&lines, "note"));
    assert_eq!(
        kinds(frames.clone()),
        "confidence: number\nf0: null|number\nprovisional: bool\nt: number\ntype: string\nw: number\n"
    );
    assert_eq!(
        // The first notes come before there is a grid.
        kinds(notes.clone())
            .replace("deviation_ms: null|", "deviation_ms: ")
            .replace("place: null|", "place: "),
        "attack: string\ncents: number\nconfidence: number\ndeviation_ms: number\nf0: number\nin_scale: bool\n\
         inharmonicity: number\nlevel_db: number\nmidi: number\nmotion: string\nmotion_cents: number\n\
         offset: number\nonset: number\nplace: number\nreason: null|object\nsettled: number\nt: number\n\
         type: string\n"
    );
    let [.., summary, stats] = &lines[..] else { panic!("too few lines") };
    assert_eq!((&summary["type"], &stats["type"]), (&"summary".into(), &"stats".into()));
    for field in [
        "pitch_accuracy",
        "scale_conformity",
        "timing_stability",
        "noise_control",
        "overall",
        "note_count",
        "in_scale_ratio",
        "coverage",
        "mean_abs_cents",
        "mean_signed_cents",
        "tuning_offset_cents",
        "timing_sd_ms",
        "bpm",
    ] {
        assert!(summary[field].is_number(), "{field} in {summary}");
    }
    assert!(["rushing", "dragging", "steady"].contains(&summary["tendency"].as_str().unwrap()));
    assert_eq!(
        kinds([&stats["stats"]]),
        "allocs_per_call: number\naudio_s: number\ncalls: number\ncpu_s: number\nns_per_call: number\n"
    );

    // What it says is true: ten notes, one of them outside the scale, all on the beat and in tune.
    let midi: Vec<u64> = notes.iter().map(|n| n["midi"].as_u64().unwrap()).collect();
    assert_eq!(midi, [57, 60, 62, 64, 67, 69, 67, 64, 62, 61]);
    assert_eq!(notes.iter().filter(|n| n["in_scale"] == false).count(), 1);
    // The C# is wrong; C and D are the nearest notes of the scale.
    let reason = &notes[9]["reason"];
    assert_eq!(reason["code"], "not_in_scale");
    assert!([60, 62].contains(&reason["value"].as_u64().unwrap()), "{reason}");
    assert_eq!(summary["note_count"], 10);
    assert_eq!(summary["in_scale_ratio"], 0.9);
    for (i, note) in notes.iter().enumerate() {
        let (onset, offset, t) =
            (note["onset"].as_f64().unwrap(), note["offset"].as_f64().unwrap(), note["t"].as_f64().unwrap());
        assert!((onset - i as f64 * 0.5).abs() < 0.02, "note {i} at {onset} s");
        assert!(onset < offset && onset < t, "{note}");
        assert!(note["cents"].as_f64().unwrap().abs() < 15.0, "{note}");
    }
    assert_eq!(stats["stats"]["calls"].as_u64().unwrap() as usize, frames.len());
    assert_eq!(stats["stats"]["audio_s"].as_f64(), Some(5.0));
}

#[test]
fn frames_come_in_order_and_end_with_the_input() {
    let lines = lines(&with_take(), &[]);
    let times: Vec<f64> = of_type(&lines, "frame").iter().map(|f| f["t"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "frames out of order");
    assert!((times.last().unwrap() - 5.0).abs() < 0.05, "the last frame is at {:?}", times.last());
}

#[test]
fn our_detector_never_allocates_and_the_reference_does() {
    let program = with_take();
    let allocs =
        |args: &[&str]| lines(&program, args).last().unwrap()["stats"]["allocs_per_call"].as_f64().unwrap();
    assert_eq!(allocs(&[]), 0.0);
    assert!(allocs(&["--detector", "mcleod"]) > 0.0, "the counter counts");
}

#[test]
fn without_a_scale_there_is_no_scale_score() {
    let lines = lines(&with_take(), &[]);
    assert!(of_type(&lines, "note").iter().all(|n| n["in_scale"].is_null()));
    let summary = of_type(&lines, "summary")[0];
    assert!(summary["scale_conformity"].is_null() && summary["in_scale_ratio"].is_null(), "{summary}");
}

#[test]
fn a_metric_that_is_off_is_nowhere() {
    let lines = lines(&with_take(), &["--metrics", "pitch,timing", "--scale", "A minor pentatonic"]);
    let summary = of_type(&lines, "summary")[0];
    assert!(summary["scale_conformity"].is_null() && summary["noise_control"].is_null(), "{summary}");
    assert!(summary["pitch_accuracy"].is_number() && summary["overall"].is_number(), "{summary}");
}

#[test]
fn json_holds_what_the_lines_hold() {
    let program = with_take();
    let lines = lines(&program, &["--bpm", "120"]);
    let out = program.run(&["analyze", "take.wav", "--format", "json", "--bpm", "120"]).ok();
    let document: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(
        kinds([&document]),
        "chords: list\nfile: string\nnotes: list\nstats: object\nsummary: object\n"
    );
    let midi = |notes: Vec<&Value>| notes.iter().map(|n| n["midi"].clone()).collect::<Vec<_>>();
    assert_eq!(midi(document["notes"].as_array().unwrap().iter().collect()), midi(of_type(&lines, "note")));
    assert_eq!(&document["summary"], of_type(&lines, "summary")[0]);
}

#[test]
fn history_and_traces_of_a_session() {
    let program = with_take();
    let args = [
        "practice",
        "--input",
        "take.wav",
        "--fast",
        "--no-speech",
        "--scale",
        "a minor pent",
        "--bpm",
        "120",
    ];
    let said = program.run(&args).ok();
    assert_eq!(said.stderr, "");
    for part in ["practising A minor pentatonic · 120 bpm", "coach (offline): ", "Session: 10 notes in 0:05"]
    {
        assert!(said.stdout.contains(part), "{part:?} missing in\n{}", said.stdout);
    }

    let list = program.run(&["history", "--format", "json"]).ok();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let session = &list["sessions"][0];
    assert_eq!(
        kinds([session]),
        "bpm: number\ndeployment: string\nend: string\nended_at: string\nid: string\ninput: string\n\
         length_s: number\nmode: string\nnote_count: number\nrunning: bool\nscale: string\nscores: object\n\
         started_at: string\ntrace_id: string\nuser: string\n"
    );
    assert_eq!(
        kinds([&session["scores"]]),
        "noise_control: number\noverall: number\npitch_accuracy: number\nscale_conformity: number\n\
         timing_stability: number\n"
    );
    assert_eq!((&session["note_count"], &session["end"]), (&10.into(), &"finished".into()));

    let id = session["id"].as_str().unwrap();
    for name in [id, &id[..13], "latest"] {
        let one = program.run(&["history", name, "--format", "json"]).ok();
        let one: Value = serde_json::from_str(&one.stdout).unwrap();
        assert_eq!(
            kinds([&one]),
            "advice: list\nchords: list\ngaps: list\nnotes: list\nsession: object\nsummary: object\nwindows: list\n"
        );
        assert_eq!(&one["session"], session);
        assert_eq!(one["notes"].as_array().unwrap().len(), 10);
        let advice = one["advice"][0].as_object().unwrap();
        assert_eq!(
            advice.keys().map(String::as_str).collect::<Vec<_>>(),
            [
                "id",
                "kind",
                "at",
                "at_s",
                "window",
                "text",
                "source",
                "prompt_version",
                "spoken",
                "trace_id",
                "span_id"
            ]
        );
        assert_eq!((&advice["kind"], &advice["source"]), (&"summary".into(), &"offline".into()));
    }
    // Another player has none of it.
    let other = program.run(&["--user", "ada", "history", "latest"]);
    assert_eq!(other.code(), Some(Exit::NotFound as i32));
    let other = program.run(&["history", "--user", "ada"]).ok();
    assert!(other.stdout.contains("No sessions of ada yet"), "{}", other.stdout);

    let traces = program.run(&["traces", "--session", "latest", "--format", "json"]).ok();
    let traces: Value = serde_json::from_str(&traces.stdout).unwrap();
    let traces = traces["traces"].as_array().unwrap();
    let names: std::collections::BTreeSet<_> = traces.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.is_superset(&["practice session", "session-summary"].into()), "{names:?}");
    assert!(traces.iter().all(|t| t["thread"] == format!("{id}-live-aicoach-feedback")), "{traces:?}");
    assert!(traces.iter().any(|t| t["trace_id"] == session["trace_id"]));
}

#[test]
fn tables_fit_the_terminal() {
    let program = with_take();
    for _ in 0..2 {
        program
            .run(&[
                "practice",
                "--input",
                "take.wav",
                "--fast",
                "--no-speech",
                "--scale",
                "Bb major pentatonic",
            ])
            .ok();
    }
    for command in ["history", "traces"] {
        let out = program.run(&[command]).ok();
        for line in out.stdout.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn devices_and_doctor_speak_json() {
    let program = Program::fretcoach();
    let out = program.run(&["devices", "--format", "json"]).ok();
    let devices: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(kinds([&devices]), "devices: list\n");
    let out = program.run(&["doctor", "--quiet", "--input", "demo", "--format", "json"]);
    let report: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(kinds([&report]), "checks: list\nhealthy: bool\n");
    assert_eq!(kinds(report["checks"].as_array().unwrap()), "message: string\npart: string\nstate: string\n");
    let code = if report["healthy"] == true { Exit::Ok } else { Exit::Unhealthy };
    assert_eq!(out.code(), Some(code as i32));
    let states: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert!(states.iter().all(|s| ["ok", "off", "fail"].contains(s)), "{states:?}");
}

#[test]
fn exit_codes_are_what_they_were_and_stand_in_help_and_readme() {
    let codes: Vec<(u8, &str)> = CODES.iter().map(|(code, name, _)| (*code as u8, *name)).collect();
    assert_eq!(
        codes,
        [
            (0, "ok"),
            (1, "failed"),
            (2, "usage"),
            (3, "config"),
            (4, "input"),
            (5, "data"),
            (6, "busy"),
            (7, "unhealthy"),
            (8, "not-found"),
            (130, "aborted"),
        ]
    );
    let help = Program::fretcoach().run(&["--help"]).ok().stdout;
    for (code, name) in &codes {
        assert!(help.contains(&format!("{code:>3} {name}: ")), "{name} missing in\n{help}");
    }
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for (code, name) in &codes {
        let shown = format!("{code} {}", name.replace('-', " "));
        assert!(readme.contains(&shown), "the README does not say `{shown}`");
    }
}

#[test]
fn the_help_of_each_command_says_what_it_does() {
    let program = Program::fretcoach();
    let all = program.run(&["--help"]).ok().stdout;
    for command in ["practice", "analyze", "tune", "devices", "history", "traces", "doctor"] {
        let help = program.run(&[command, "--help"]).ok();
        assert_eq!(help.stderr, "");
        let about = help.stdout.lines().next().unwrap();
        assert!(all.contains(about), "{about:?} is not in the list of commands:\n{all}");
    }
    let practice = program.run(&["practice", "--help"]).ok().stdout;
    let heads: Vec<&str> = practice.lines().filter(|l| l.ends_with(':') && !l.starts_with(' ')).collect();
    assert_eq!(heads, ["Options:", "Practice:", "Coach:", "Sound:", "Virtual guitarist:", "Program:"]);
    // Global flags may stand before and after the command.
    for args in [&["--user", "ada", "history"], &["history", "--user", "ada"]] {
        program.run(args).ok();
    }
    // Alone with its folder it explains itself, and a script sees that nothing was done.
    assert_eq!(program.run::<&str>(&[]).code(), Some(Exit::Usage as i32));
}
