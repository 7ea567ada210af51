//! The metronome on a sound card in memory: the real binary clicks into its speakers, a loopback carries the clicks to the
//! guitar's input as a microphone in the room would, and a take is played on top. What was heard of it is compared with a
//! recording of that input, in which clicks and notes are found by other means.

mod common;

use std::time::Duration;

use common::process::{Program, Running};
use common::rig::Rig;
use common::session::{Fit, Kept, RATE, Take, Trace, json, practise};
use common::wav::{Wav, align};
use fretcoach::audio::metronome::measure;
use fretcoach::names::{attr, op, span};
use serde_json::Value;

/// Longest wait for what takes seconds on a machine that is not overloaded.
const SOON: Duration = Duration::from_secs(60);
/// From the speakers into the guitar, and how much softer.
const DELAY: Duration = Duration::from_millis(70);
const LEVEL: f64 = -6.0;

fn program(rig: &Rig) -> Program {
    Program::fretcoach().on(rig)
}

/// Practises with a metronome on the rig's devices; returns when it counts in.
#[track_caller]
fn with_metronome(program: &Program, bpm: f64, further: &[&str]) -> Running {
    practise(program, bpm, &[&["--metronome", "--no-speech", "--coach-every", "60s"], further].concat())
}

/// Where clicks and notes are in a recording of the guitar's input, seconds.
struct Recorded {
    /// A click; the others are whole clicks away.
    click: f64,
    /// Begin of the take.
    take: f64,
}

/// Finds the take by correlation, takes it out, and finds the clicks in the rest: each alone, by its own match.
#[track_caller]
fn find(recording: &Wav, take: &Take, interval: f64) -> Recorded {
    let mut sound = recording.to_mono();
    let head = &take.wav.samples[..RATE as usize * 8];
    let place = align(head, &sound).expect("the take is on the recording");
    assert!(place.correlation > 0.8, "{place:?}");
    for (x, own) in sound[place.offset..].iter_mut().zip(&take.wav.samples) {
        *x -= own;
    }
    // Beginning anywhere, each search window of 0.7 s holds several clicks: one of them is the loudest, whichever.
    let clicks: Vec<f64> = (1..60)
        .filter_map(|i| {
            measure::heard(&sound, &[f64::from(i) * 0.25]).first().map(|d| d + f64::from(i) * 0.25)
        })
        .collect();
    assert!(clicks.len() > 10, "{clicks:?}");
    let first = clicks[clicks.len() / 2];
    let mut phases: Vec<f64> = clicks
        .iter()
        .map(|c| {
            let beats = (c - first) / interval;
            (beats - beats.round()) * interval
        })
        .collect();
    phases.sort_by(f64::total_cmp);
    let phase = phases[phases.len() / 2];
    println!("phases of the clicks {:.2} to {:.2} ms", 1000.0 * phases[0], 1000.0 * phases[phases.len() - 1]);
    let steady = phases.iter().filter(|p| (*p - phase).abs() < 0.000_5).count();
    assert!(2 * steady > phases.len(), "the clicks of the recording are not regular: {phases:?}");
    Recorded { click: first + phase, take: place.offset as f64 / f64::from(RATE) }
}

/// Distance to the nearest whole interval, signed.
fn remainder(x: f64, interval: f64) -> f64 {
    x - (x / interval).round() * interval
}

/// Median of the notes' onsets less the truth's, and their standard deviation, seconds.
fn spread(kept: &Kept, take: &Take, fit: &Fit) -> (f64, f64) {
    let mut off: Vec<f64> = kept
        .notes()
        .iter()
        .filter_map(|n| {
            let apart = |t: &&fretcoach::audio::guitarist::TruthNote| (n.onset - fit.start - t.onset).abs();
            let near = take
                .truth
                .iter()
                .filter(|t| t.midi == n.midi)
                .min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
            (apart(&near) < 0.06).then_some(n.onset - near.onset)
        })
        .collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    let sd = (off.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / off.len() as f64).sqrt();
    off.sort_by(f64::total_cmp);
    (off[off.len() / 2], sd)
}

/// Beat 0 as the program told it when it knew, seconds on the capture clock.
fn origin(program: &Program, kept: &Kept, source: &str) -> f64 {
    let traces = Trace::all(program, &kept.id());
    traces.iter().for_each(Trace::assert_whole);
    let session = traces.iter().find(|t| t.name == op::SESSION).expect("a trace of the session");
    let told = session.named(span::CALIBRATION);
    let told: Vec<&&Value> =
        told.iter().filter(|s| s["attributes"][attr::ROUND_TRIP_SOURCE] == source).collect();
    let told = told.last().unwrap_or_else(|| panic!("no round trip from {source}: {:?}", session.spans));
    told["attributes"][attr::CLICK_ORIGIN].as_f64().expect("a time")
}

/// Compares clocks to a fraction of a millisecond, so not one sample may be lost on the way: for a machine with nothing else
/// to do.
#[test]
#[ignore = "fails: through the rig 2 notes of 64 are extra and the spread is 4.5 ms (9 and 10.8 ms with the clicks left in)"]
fn a_take_is_heard_under_the_clicks_that_the_microphone_hears() {
    std::thread::scope(|scope| {
        let cleaned = scope.spawn(|| under_clicks(&["--minutes", "0.75"]));
        let disturbed = scope.spawn(|| under_clicks(&["--minutes", "0.75", "--direct"]));
        let (cleaned, disturbed) = (cleaned.join().expect("passes"), disturbed.join().expect("passes"));
        println!(
            "spread about the truth: {:.2} ms; without taking the clicks out {:.2} ms",
            cleaned.sd_ms, disturbed.sd_ms
        );
        assert!(cleaned.extra == 0 && cleaned.missed == 0, "{cleaned:?}");
        assert!(cleaned.sd_ms < 1.0, "{cleaned:?}");
        assert!(disturbed.sd_ms > 1.5 * cleaned.sd_ms, "the clicks disturb nothing: {disturbed:?}");
    });
}

#[derive(Debug)]
struct Outcome {
    missed: usize,
    extra: usize,
    sd_ms: f64,
}

/// A take at 88 bpm to clicks at 90, two a beat: it slides over the clicks, so that notes fall on them at every phase.
fn under_clicks(further: &[&str]) -> Outcome {
    let rig = Rig::start();
    let program = program(&rig);
    let _loopback = rig.loopback(DELAY, LEVEL);
    let take = Take::at(88.0, 10, "timing=8", 5);
    let recording = rig.record("guitar.monitor", &rig.dir().join("heard.wav"));
    let mut args = vec!["--click-subdivision", "2"];
    args.extend(further);
    let mut running = with_metronome(&program, 90.0, &args);
    let direct = further.contains(&"--direct");
    if direct {
        std::thread::sleep(Duration::from_secs(4));
    } else {
        running.wait_for("the clicks are heard after", SOON);
        std::thread::sleep(Duration::from_secs(1));
    }
    take.play(&rig);
    running.wait().ok();
    let recorded = find(&recording.stop(), &take, 60.0 / 180.0);
    let kept = Kept::read(&program, "latest");
    let notes = kept.notes();
    let fit = Fit::of(&notes, &take.truth);
    let (start, sd) = spread(&kept, &take, &fit);
    println!("dropped {}, gaps {:?}, extra {:?}", kept.dropped(), kept.list("gaps"), fit.extra);
    println!(
        "{} notes of {}, {} extra, spread {:.2} ms",
        notes.len(),
        take.truth.len(),
        fit.extra.len(),
        1000.0 * sd
    );
    if !direct {
        // The beats in the input, against those of the recording.
        let heard = start - origin(&program, &kept, "heard");
        let truth = recorded.take - recorded.click;
        let off = remainder(heard - truth, 60.0 / 180.0);
        println!("beats are {:.2} ms from where the recording has them", 1000.0 * off);
        assert!(off.abs() < 0.001_5, "beats are {:.2} ms off", 1000.0 * off);
    }
    Outcome { missed: fit.missed.len(), extra: fit.extra.len(), sd_ms: 1000.0 * sd }
}

#[test]
fn the_latency_is_measured_kept_and_used() {
    const BPM: f64 = 90.0;
    let rig = Rig::start();
    let program = program(&rig);
    let devices = ["--host", "pulseaudio", "--input", "guitar.monitor", "--output", "speakers"];
    let calibrate = |further: &[&str]| {
        let args: Vec<&str> = ["calibrate"].iter().chain(&devices).chain(further).copied().collect();
        program.run(&args)
    };
    let deaf = calibrate(&[]);
    assert_eq!((deaf.code(), deaf.stderr.lines().count()), (Some(4), 1), "{}", deaf.stderr);
    assert!(
        deaf.stderr.contains("0 of 20 clicks were heard") && deaf.stderr.contains("--tap"),
        "{}",
        deaf.stderr
    );

    let _loopback = rig.loopback(DELAY, LEVEL);
    let measured = |further: &[&str]| -> Value {
        let done = calibrate(&[&["--format", "json"], further].concat()).ok();
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.stdout))
    };
    let first = measured(&[]);
    let again = measured(&[]);
    println!("{first}\n{again}");
    let ms = |m: &Value| m["round_trip_ms"].as_f64().expect("a time");
    for m in [&first, &again] {
        assert!(
            m["clicks"].as_u64().is_some_and(|n| n >= 16) && m["spread_ms"].as_f64().is_some_and(|s| s < 2.0)
        );
        assert_eq!((&m["method"], &m["of"]), (&"loopback".into(), &20.into()));
    }
    assert!((ms(&first) - ms(&again)).abs() < 2.0, "{first} {again}");
    assert!(ms(&first) > DELAY.as_secs_f64() * 1000.0, "{first}");
    let traces = json(&program, &["traces", "--format", "json"]);
    let named = |name: &str| {
        let all = traces["traces"].as_array().expect("a list");
        all.iter().filter(|t| t["name"] == name).count()
    };
    assert_eq!(named(op::CALIBRATION), 3, "{traces}");

    // By cable the clicks are not looked for: the latency is the one that was measured.
    let take = Take::at(BPM, 6, "timing=8", 6);
    let recording = rig.record("guitar.monitor", &rig.dir().join("heard.wav"));
    let mut running =
        with_metronome(&program, 90.0, &["--direct", "--click-accent", "0", "--minutes", "0.5"]);
    running.wait_for("as measured by `fretcoach calibrate`", SOON);
    std::thread::sleep(Duration::from_secs(4));
    take.play(&rig);
    running.wait().ok();
    let recorded = find(&recording.stop(), &take, 60.0 / BPM);
    let kept = Kept::read(&program, "latest");
    let fit = Fit::of(&kept.notes(), &take.truth);
    let (start, _) = spread(&kept, &take, &fit);
    let off = remainder(
        start - origin(&program, &kept, "calibration") - (recorded.take - recorded.click),
        60.0 / BPM,
    );
    println!("beats are {:.2} ms from where the recording has them", 1000.0 * off);
    // The rig's loop runs through the sound server, which moves its delay by some ms from one opening to the next, by up to
    // 20 on a busy machine; what was measured is some 90 ms.
    assert!(off.abs() < 0.03, "beats are {:.2} ms off", 1000.0 * off);
}
