//! The report of `analyze`: true, whole, and harmless.

mod common;

use std::fs;
use std::path::Path;

use common::process::Program;
use common::wav::Wav;
use fretcoach::audio::guitarist::{Performance, perform};
use fretcoach::cli::exit::Exit;
use fretcoach::cli::report::LARGEST;
use serde_json::Value;

/// The virtual guitarist with mistakes, as a file in the program's folder.
fn with_take(bars: u32, mistakes: &str) -> Program {
    let program = Program::fretcoach();
    let performance =
        Performance { bars, mistakes: mistakes.parse().expect("mistakes read"), ..Performance::default() };
    let (samples, _) = perform(&performance);
    Wav::mono(48_000, samples).write(&program.home().join("take.wav"));
    program
}

const ARGS: [&str; 8] =
    ["analyze", "take.wav", "--scale", "A minor pentatonic", "--bpm", "100", "--report", "page.html"];

fn page(program: &Program) -> String {
    let text = fs::read_to_string(program.home().join("page.html")).expect("the page was written");
    keep_a_copy(&text);
    text
}

/// Where a page can be looked at after a test.
fn keep_a_copy(text: &str) {
    let name = std::thread::current().name().unwrap_or("page").replace("::", "-");
    let _ = fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html")), text);
}

#[test]
fn the_page_says_what_analyze_says() {
    let program = with_take(24, "timing=25,wrong=0.1,detune=14,noise=0.4");
    let args = [&ARGS[..], &["--format", "json"]].concat();
    let out = program.run(&args).ok();
    let said: Value = serde_json::from_str(&out.stdout).expect("one document");
    let page = page(&program);
    let notes = said["notes"].as_array().unwrap();
    assert!(notes.len() > 100, "{}", notes.len());
    assert_eq!(notes.len() as u64, said["summary"]["note_count"].as_u64().unwrap());
    // Each note is a bar and a line of a table; each deviation is drawn.
    let count = |part: &str| page.matches(part).count();
    let bars: usize = ["r", "t", "w"].iter().map(|c| count(&format!("<rect class=\"n {c}\" "))).sum();
    assert_eq!(bars, notes.len() + 3, "three stand in the legend");
    let outside = notes.iter().filter(|n| n["in_scale"] == false).count();
    assert!(outside > 3);
    assert!(count("not in the scale</title>") + count("not in the scale, ") >= outside);
    for note in notes {
        let onset = note["onset"].as_f64().unwrap();
        assert!(page.contains(&format!("<td>{onset:.2}<td>")), "{onset}");
    }
    for (name, label) in [
        ("pitch_accuracy", "pitch accuracy"),
        ("scale_conformity", "scale conformity"),
        ("timing_stability", "timing stability"),
        ("noise_control", "noise control"),
        ("overall", "Overall"),
    ] {
        let score = said["summary"][name].as_f64().unwrap();
        assert!(page.contains(&format!("<p class=\"label\">{label}</p><b>{score:.0}</b>")), "{name} {score}");
    }
    // Windows as in a session: 24 bars at 100 bpm are 58 s.
    assert_eq!(count("<details id=\"w"), 2);
    for part in
        ["What to work on", "<svg class=\"chart\"", "data:image/png;base64,", "right in time", "0:30 – 0:"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn analyze_keeps_what_a_session_keeps() {
    let program = with_take(16, "timing=25,wrong=0.1,detune=14,noise=0.4");
    let exercise = ["--scale", "A minor pentatonic", "--bpm", "100", "--coach-every", "10s"];
    let session = ["practice", "--input", "take.wav", "--fast", "--no-speech"];
    program.run(&[&session[..], &exercise[..]].concat()).ok();
    let kept = program.run(&["history", "latest", "--format", "json"]).ok().stdout;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let out =
        program.run(&[&["analyze", "take.wav", "--format", "jsonl"], &exercise[..]].concat()).ok().stdout;
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let notes: Vec<&Value> = lines.iter().filter(|l| l["type"] == "note").collect();
    let stored = kept["notes"].as_array().unwrap();
    assert!(notes.len() > 60 && notes.len() == stored.len(), "{} and {}", notes.len(), stored.len());
    for (note, stored) in notes.iter().zip(stored) {
        for field in ["onset", "offset", "t", "f0", "cents", "level_db", "deviation_ms"] {
            let (a, b) = (note[field].as_f64(), stored[field].as_f64());
            assert!(a.is_some() && (a.unwrap() - b.unwrap()).abs() < 1e-6, "{field}: {note} and {stored}");
        }
        assert_eq!((&note["midi"], &note["in_scale"]), (&stored["midi"], &stored["in_scale"]));
    }
    let windows: Vec<&Value> = lines.iter().filter(|l| l["type"] == "window").collect();
    let stored = kept["windows"].as_array().unwrap();
    assert_eq!((windows.len(), stored.len()), (4, 4));
}

#[test]
fn the_page_needs_nothing_and_is_always_the_same() {
    let program = with_take(8, "timing=14,wrong=0.06");
    program.run(&ARGS).ok();
    let first = page(&program);
    for foreign in ["<script", "http:", "https:", "@import", "url(", "<link", "<iframe", " onload"] {
        assert!(!first.contains(foreign), "{foreign}");
    }
    assert!(first.len() < 400_000, "{} bytes for 20 s", first.len());
    for a11y in
        ["<html lang=\"en\">", "<h1>", "role=\"img\" aria-label=", "<th scope=\"col\">", "name=\"viewport\""]
    {
        assert!(first.contains(a11y), "{a11y}");
    }
    assert!(first.contains("prefers-color-scheme:dark") && first.contains("@media print"));
    // Over an old page, and nothing else is left behind.
    fs::write(program.home().join("page.html"), "old").unwrap();
    program.run(&ARGS).ok();
    assert_eq!(first, page(&program));
    let files =
        fs::read_dir(program.home()).unwrap().filter(|f| f.as_ref().unwrap().path().is_file()).count();
    assert_eq!(files, 2, "the take and the page");
}

#[test]
fn every_tag_is_closed() {
    let program = with_take(8, "timing=30,wrong=0.2,detune=20");
    program.run(&ARGS).ok();
    let text = page(&program);
    // Elements without content, and those whose end may be left out.
    const ALONE: [&str; 7] = ["meta", "path", "rect", "circle", "image", "td", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    for part in text.split('<').skip(1) {
        let name = part.split([' ', '>', '\n', '/']).next().unwrap_or("");
        if let Some(closed) = part.strip_prefix('/') {
            let closed = closed.split('>').next().unwrap();
            if closed != "td" {
                assert_eq!(open.pop(), Some(closed), "in {part:.80}");
            }
        } else if !ALONE.contains(&name) || (name == "rect" || name == "circle") && !part.contains("/>") {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn nothing_played_gives_a_page_that_says_so() {
    let program = Program::fretcoach();
    let mut seed = 1u32;
    let hiss = (0..48_000 * 4).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / (1u32 << 24) as f32 - 0.5) * 0.02
    });
    Wav::mono(48_000, hiss.collect()).write(&program.home().join("take.wav"));
    program.run(&ARGS).ok();
    let text = page(&program);
    assert!(text.contains("Nothing to score") && text.contains("Clean sound"));
    assert!(!text.contains("NaN") && !text.contains("inf "));
    // Shorter than a window of the analysis.
    Wav::mono(48_000, vec![0.0; 10]).write(&program.home().join("take.wav"));
    program.run(&ARGS).ok();
    assert!(page(&program).contains("Nothing to score"));
}

#[test]
fn names_are_shown_and_do_no_harm() {
    let program = with_take(2, "none");
    let name = "a <b>&\"riff\"'.wav";
    fs::rename(program.home().join("take.wav"), program.home().join(name)).unwrap();
    program.run(&["analyze", name, "--report", "page.html"]).ok();
    let text = page(&program);
    assert!(text.contains("a &lt;b&gt;&amp;&quot;riff&quot;"), "{:.300}", text);
    assert!(!text.contains("<b>&"));
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_work() {
    let program = with_take(2, "none");
    fs::create_dir(program.home().join("folder")).unwrap();
    let take = fs::read(program.home().join("take.wav")).unwrap();
    for (to, why) in [
        ("missing/page.html", "No such file"),
        ("folder", "it is a folder"),
        ("/dev/null", "it is no plain file"),
        ("take.wav", "it is the recording itself"),
        ("./take.wav", "it is the recording itself"),
    ] {
        let out = program.run(&["analyze", "take.wav", "--report", to, "--format", "json"]);
        assert_eq!(out.code(), Some(Exit::Failed as i32), "{to}");
        assert_eq!(out.stdout, "", "{to}: nothing was analysed");
        assert!(out.stderr.contains(to) && out.stderr.contains(why), "{to}: {}", out.stderr);
        assert!(out.stderr.contains("choose another file"), "{}", out.stderr);
    }
    assert_eq!(fs::read(program.home().join("take.wav")).unwrap(), take);
    // A recording that cannot be read leaves no page and no trace of one.
    fs::write(program.home().join("take.wav"), "nothing").unwrap();
    let out = program.run(&ARGS);
    assert_eq!(out.code(), Some(Exit::Input as i32));
    assert!(!program.home().join("page.html").exists());
}

#[test]
fn a_long_take_is_shown_in_a_bounded_page() {
    // Short windows, so that a short take has many.
    let program = with_take(80, "timing=20,wrong=0.08");
    program.run(&[&ARGS[..], &["--coach-every", "5s"]].concat()).ok();
    let text = page(&program);
    assert!(text.matches("<details id=\"w").count() >= 38, "{}", text.matches("<details id=\"w").count());
    assert!(text.len() < LARGEST);
}
