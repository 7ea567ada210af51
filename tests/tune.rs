//! The tuner from outside: a recording of strings in, what it says out; and the live picture in a terminal.

mod common;

use std::f64::consts::TAU;
use std::time::Duration;

use common::process::{Program, Tmux};
use common::wav::Wav;
use fretcoach::audio::SampleSource;
use fretcoach::audio::guitarist::OpenStrings;
use fretcoach::cli::exit::Exit;
use fretcoach::music::tuning::Tuning;

const RATE: u32 = 44_100;

/// A steady string: eight partials of a slightly stiff string that die away, higher ones sooner. Its first partial lies
/// `cents` from the note.
fn string(midi: u8, cents: f64, seconds: f64) -> Vec<f32> {
    const STIFFNESS: f64 = 5e-5;
    let first = 440.0 * ((f64::from(midi) - 69.0 + cents / 100.0) / 12.0).exp2();
    let partial = |k: f64, t: f64| {
        let hz = first * k * ((1.0 + STIFFNESS * k * k) / (1.0 + STIFFNESS)).sqrt();
        (TAU * hz * t).sin() / k * (-t * (0.4 + 0.3 * k)).exp()
    };
    (0..(seconds * f64::from(RATE)) as usize)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            (0.2 * (t / 0.003).min(1.0) * (1..=8).map(|k| partial(f64::from(k), t)).sum::<f64>()) as f32
        })
        .collect()
}

/// What `tune` says of a recording: (string and note, Hz, cents) of each line.
fn told(program: &Program, args: &[&str]) -> Vec<(String, f64, f64)> {
    let args = [&["tune", "--plain", "--fast", "--input", "strings.wav"], args].concat();
    let out = program.run(&args).ok();
    assert_eq!(out.stderr, "");
    let line = |l: &str| {
        let (name, rest) = l.strip_prefix('[')?.split_once("] ")?.1.split_once(": ")?;
        let (hz, rest) = rest.split_once(" Hz, ")?;
        let cents = rest.split(' ').next()?;
        Some((name.to_owned(), hz.parse().ok()?, cents.parse().ok()?))
    };
    out.stdout.lines().filter_map(line).collect()
}

fn recorded(strings: &[(u8, f64)], seconds: f64) -> Program {
    let program = Program::fretcoach();
    let samples = strings.iter().flat_map(|&(midi, cents)| string(midi, cents, seconds)).collect();
    Wav::mono(RATE, samples).write(&program.home().join("strings.wav"));
    program
}

#[test]
fn each_string_is_found_and_read_to_within_a_cent() {
    let strings = [(40, -12.0), (45, 4.5), (50, 0.0), (55, 23.0), (59, -3.5), (64, 31.0)];
    let program = recorded(&strings, 2.5);
    let lines = told(&program, &[]);
    for (i, (midi, cents)) in strings.iter().enumerate() {
        let name = format!("string {}, {}", 6 - i, ["E2", "A2", "D3", "G3", "B3", "E4"][i]);
        let own: Vec<_> = lines.iter().filter(|l| l.0 == name).collect();
        assert!(!own.is_empty(), "{name} is missing in {lines:?}");
        for (_, hz, read) in own {
            assert!((read - cents).abs() <= 1.0, "{name} reads {read}, it is {cents}");
            let exact = 440.0 * ((f64::from(*midi) - 69.0 + cents / 100.0) / 12.0).exp2();
            assert!((1200.0 * (hz / exact).log2()).abs() <= 1.0, "{name} at {hz} Hz, it is {exact}");
        }
    }
    assert!(lines.iter().all(|l| l.0.starts_with("string ")), "{lines:?}");
}

#[test]
fn any_tuning_capo_and_reference() {
    let low = recorded(&[(35, -6.0), (38, 2.5)], 2.5);
    let lines = told(&low, &["--tuning", "seven string"]);
    assert!(lines[0].0 == "string 7, B1" && (lines[0].2 + 6.0).abs() <= 1.0, "{lines:?}");
    // An eighth string is too low: its harmonic at fret 12 tells.
    let harmonic = recorded(&[(42, -9.0)], 2.5);
    let lines = told(&harmonic, &["--tuning", "eight string"]);
    assert!(lines[0].0 == "string 8, F#1" && (lines[0].2 + 9.0).abs() <= 1.0, "{lines:?}");
    let lines = told(&low, &["--tuning", "D A D G B E"]);
    assert!(lines.iter().any(|l| l.0 == "string 6, D2" && (l.2 - 2.5).abs() <= 1.0), "{lines:?}");
    let high = recorded(&[(47, 0.0), (66, 0.0)], 2.0);
    let lines = told(&high, &["--capo", "2"]);
    assert!(lines[0].0 == "string 5, B2" && lines[0].2.abs() <= 1.0, "{lines:?}");
    assert!(lines.last().unwrap().0 == "string 1, F#4", "{lines:?}");
    let lines = told(&high, &["--chromatic", "--a4", "442"]);
    // 440 against 442 Hz: 7.85 cents flat.
    assert!(lines[0].0 == "B2" && (lines[0].2 + 7.85).abs() <= 1.0, "{lines:?}");
    let flats = told(&recorded(&[(39, 0.0)], 2.0), &["--tuning", "half step down"]);
    assert_eq!(flats[0].0, "string 6, Eb2");
    // A chosen string stays chosen, whatever is played.
    let lines = told(&high, &["--string", "6"]);
    assert!(lines.iter().all(|l| l.0 == "string 6, E2"), "{lines:?}");
}

#[test]
fn the_virtual_guitarist_comes_into_tune() {
    let program = Program::fretcoach();
    let mut open = OpenStrings::new(&Tuning::default(), 440.0, 3, RATE);
    let mut samples = vec![0.0; RATE as usize * 43];
    open.read(&mut samples);
    let struck: Vec<_> = open.struck().to_vec();
    Wav::mono(RATE, samples).write(&program.home().join("strings.wav"));
    let out = program.run(&["tune", "--plain", "--fast", "--input", "strings.wav"]).ok().stdout;
    for name in
        ["string 6, E2", "string 5, A2", "string 4, D3", "string 3, G3", "string 2, B3", "string 1, E4"]
    {
        let own: Vec<&str> = out.lines().filter(|l| l.contains(name)).collect();
        assert!(own.first().is_some_and(|l| l.contains("sharp") || l.contains("flat")), "{name}:\n{out}");
        assert!(own.last().is_some_and(|l| l.contains("in tune")), "{name} of {struck:?}:\n{out}");
    }
}

#[test]
fn silence_and_mistakes_are_told() {
    let program = Program::fretcoach();
    Wav::mono(RATE, vec![0.0; RATE as usize]).write(&program.home().join("silence.wav"));
    let out = program.run(&["tune", "--fast", "--input", "silence.wav"]).ok();
    assert!(out.stdout.contains("tuning to standard · A4 = 440 Hz: E2 A2 D3 G3 B3 E4"), "{}", out.stdout);
    assert!(out.stdout.contains("no string was heard"), "{}", out.stdout);
    for (args, code, word) in [
        (&["tune", "--tuning", "drop x"][..], Exit::Config, "drop D"),
        (&["tune", "--capo", "13"], Exit::Config, "0 to 12"),
        (&["tune", "--string", "7"], Exit::Config, "choose 1 (the thinnest) to 6"),
        (&["tune", "--input", "none.wav"], Exit::Input, "none.wav"),
        (&["tune", "--chromatic", "--string", "2"], Exit::Usage, "--string"),
    ] {
        let out = program.run(args);
        assert_eq!(out.code(), Some(code as i32), "{args:?}: {}", out.stderr);
        assert!(out.stderr.contains(word), "{args:?}: {}", out.stderr);
    }
    let list = program.run(&["tune", "--list"]).ok().stdout;
    for (name, strings) in Tuning::named() {
        assert!(list.lines().any(|l| l.starts_with(name) && l.ends_with(strings)), "{name} in\n{list}");
    }
    let kept = std::fs::read_dir(program.data_dir()).unwrap().count();
    assert_eq!(kept, 0, "a recording that is tuned to leaves nothing behind");
}

#[test]
fn an_interrupt_ends_the_lines() {
    let mut running = Program::fretcoach().spawn(&["tune", "--plain", "--input", "demo", "--output", "none"]);
    running.wait_for("string 6, E2", Duration::from_secs(60));
    running.interrupt();
    let out = running.wait().ok();
    assert!(out.stdout.contains("the virtual guitarist tunes"), "{}", out.stdout);
}

#[test]
fn the_picture_obeys_keys_and_leaves_the_terminal_clean() {
    let limit = Duration::from_secs(60);
    let args = ["tune", "--input", "demo", "--output", "none"];
    for (columns, rows) in [(80, 24), (40, 24), (30, 14)] {
        let terminal = Tmux::sized(Program::fretcoach(), &args, columns, rows);
        let screen = terminal.wait_for("Hz of 82.41", limit);
        assert!(screen.contains("FretCoach tuner") && screen.contains("cents"), "{screen}");
        if columns == 80 {
            assert!(screen.contains(" 6 E2 ") && screen.contains("1-6  string"), "{screen}");
            terminal.send_keys(&["c"]);
            terminal.wait_for("chromatic: any note", limit);
            terminal.send_keys(&["1"]);
            terminal.wait_for("of 329.63", limit);
            terminal.send_keys(&["t"]);
            terminal.wait_for("drop D · A4 = 440 Hz", limit);
            terminal.wait_for(" 6 D2 ", limit);
            terminal.send_keys(&["T"]);
            terminal.wait_for("standard · A4 = 440 Hz", limit);
        }
        terminal.send_keys(&[if columns == 40 { "C-c" } else { "q" }]);
        assert_eq!(terminal.wait(limit), 0);
        let (before, after) = terminal.modes();
        assert_eq!(before, after);
        assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag}"), "0 1");
    }
}
