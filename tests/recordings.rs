//! From recordings to scores: performances that were built from real notes, with exactly known truth, must come out as
//! a perfect analyser would report them, within the bounds stated here; noise and dead strings give no notes.
//!
//! The recordings are no part of this repository. They are looked for beside it (`../shared/guitar`), or where
//! `FRETCOACH_RECORDINGS` points; without them the tests say so and pass.

use std::path::{Path, PathBuf};

use fretcoach::audio::SampleSource;
use fretcoach::audio::file::FileSource;
use fretcoach::audio::resample::Resampler;
use fretcoach::dsp::event::{DspEvent, NoteEvent};
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};
use fretcoach::music::scale::Scale;
use fretcoach::practice::session::Session;
use fretcoach::practice::settings::Settings;
use fretcoach::practice::types::{Facts, JudgedNote, Reason};
use serde_json::Value;

/// A note is found when one of the right pitch begins within this of it, seconds.
const SAME_ONSET: f64 = 0.05;
/// …and its pitch this near, cents: notes detuned by half a semitone have no name.
const SAME_PITCH: f64 = 60.0;
/// F measure of the notes found, for single lines; strummed chords are not counted here.
const FOUND: f64 = 0.92;
/// The share of notes in the scale must be right to less than one note of twenty-one.
const IN_SCALE: f64 = 0.03;
/// The true pitch of these notes is that of their period, known to 3 cents; ours is the first partial's, which for
/// stiff strings lies below the period's by some cents more.
const MEAN_CENTS: f64 = 5.0;
const MEAN_ABSOLUTE_CENTS: f64 = 3.0;
/// Timing spread, ms: to what the unevenness of the playing must be measured, and how uneven even playing may seem.
const SPREAD_MS: f64 = 0.3;
const EVEN_MS: f64 = 1.5;
/// Deviation of single notes, ms: 95 of 100 are measured to this.
const NOTE_MS: f64 = 3.0;
const NOTE_SHARE: f64 = 0.05;
/// Tempo found without being told, share of it, twice and half of it taken for the same.
const TEMPO: f64 = 0.001;

/// What is out of bounds and known to be: recording, what about it, cause. Anything else fails.
const KNOWN: [(&str, &str, &str); 5] = [
    (
        "f_pent_1",
        "notes found",
        "sixteenths at 150 and 180 bpm: one in ten is heard an octave low, or not, under the note before",
    ),
    ("f_pent_180bpm", "spread", "two such notes are timed 5 ms early"),
    ("f_pent_180bpm", "astray", "the same"),
    ("spanish_nylon", "spread", "soft attacks are timed 6 to 8 ms too early or late, one in ten"),
    ("spanish_nylon", "astray", "the same"),
];

fn recordings() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/guitar");
    let folder = std::env::var_os("FRETCOACH_RECORDINGS").map_or(beside, PathBuf::from);
    let there = folder.join("performances").is_dir();
    if !there {
        println!("skipped: there are no recordings in {}", folder.display());
    }
    there.then_some(folder)
}

/// Truth files of a folder whose name begins with one of these.
fn truths(folder: &Path, kinds: &[&str]) -> Vec<(PathBuf, Value)> {
    let mut found: Vec<(PathBuf, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let truth = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path.with_extension("flac"), truth)
        })
        .filter(|(path, truth): &(PathBuf, Value)| {
            path.is_file() && truth["kind"].as_str().is_some_and(|k| kinds.contains(&k))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

struct Heard {
    notes: Vec<NoteEvent>,
    judged: Vec<JudgedNote>,
    facts: Facts,
}

fn hear(path: &Path, scale: Option<&str>, bpm: Option<f64>) -> Heard {
    let mut source = FileSource::open(path, 0).unwrap();
    let mut samples = Vec::new();
    let mut block = [0.0f32; 4096];
    loop {
        let n = source.read(&mut block);
        samples.extend_from_slice(&block[..n]);
        if n == 0 {
            break;
        }
    }
    let seconds = samples.len() as f64 / f64::from(source.sample_rate());
    let scale = scale.map(|s| Scale::parse(s).unwrap());
    let mut session = Session::new(Settings { scale, bpm, ..Settings::default() });
    let mut notes = Vec::new();
    let mut take = |event: DspEvent| {
        session.push(&event);
        if let DspEvent::Note(n) = event {
            notes.push(n);
        }
    };
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    if source.sample_rate() == ANALYSIS_RATE {
        analyzer.process(&samples, &mut take);
    } else {
        let mut resampler = Resampler::new(source.sample_rate(), ANALYSIS_RATE).unwrap();
        resampler.push(&samples, &mut |s| analyzer.process(s, &mut take));
        resampler.finish(&mut |s| analyzer.process(s, &mut take));
    }
    analyzer.finish(&mut take);
    let facts = session.finish(seconds).facts;
    Heard { notes, judged: session.closed_notes(), facts }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Pairs of a true note and the judged one that was heard for it.
fn pairs<'a>(truth: &'a [Value], judged: &'a [JudgedNote]) -> Vec<(&'a Value, &'a JudgedNote)> {
    let same = |t: &Value, n: &JudgedNote| {
        let cents = 1200.0 * (f64::from(n.note.f0) / number(&t["f0_hz"])).log2();
        (n.note.onset - number(&t["onset_s"])).abs() < SAME_ONSET && cents.abs() < SAME_PITCH
    };
    truth.iter().filter_map(|t| judged.iter().find(|n| same(t, n)).map(|n| (t, n))).collect()
}

/// What lies outside its bounds, gathered over all recordings: one run names every miss.
#[derive(Default)]
struct Misses(Vec<String>);

impl Misses {
    fn check(&mut self, what: &str, measured: f64, expected: f64, bound: f64) {
        let off = (measured - expected).abs();
        if off.is_nan() || off > bound {
            self.0.push(format!("{what}: {measured:.3} instead of {expected:.3} ±{bound:.3}"));
        }
    }

    fn end(self) {
        let known =
            |miss: &String| KNOWN.iter().any(|(of, what, _)| miss.contains(of) && miss.contains(what));
        let (known, new): (Vec<String>, Vec<String>) = self.0.into_iter().partition(known);
        for miss in &known {
            println!("known to be out of bounds: {miss}");
        }
        assert!(new.is_empty(), "{} out of bounds:\n{}", new.len(), new.join("\n"));
    }
}

#[test]
fn performances_come_out_as_they_were_played() {
    let Some(folder) = recordings() else { return };
    let mut misses = Misses::default();
    for (path, truth) in truths(&folder.join("performances"), &["line"]) {
        let (name, expected) = (path.file_stem().unwrap().to_string_lossy(), &truth["expected"]);
        if expected["bpm"].is_null() {
            continue;
        }
        let scale = expected["scale"].as_str().filter(|s| *s != "chromatic");
        let told = hear(&path, scale, expected["bpm"].as_f64());
        let found = hear(&path, scale, None);
        let notes = truth["notes"].as_array().unwrap();
        let pairs = pairs(notes, &told.judged);
        println!(
            "{name}: {} of {} notes ({} heard), in scale {:?}, {:.2} c ({:.2} signed), told {:.2} ms of {}, found {:.2} ms of {}, \
             {:.3} bpm of {} ({})",
            pairs.len(),
            notes.len(),
            told.notes.len(),
            told.facts.in_scale_ratio,
            told.facts.mean_abs_cents.unwrap_or(f64::NAN),
            told.facts.mean_signed_cents.unwrap_or(f64::NAN),
            told.facts.timing_sd_ms.unwrap_or(f64::NAN),
            expected["timing_sd_ms"],
            found.facts.timing_sd_ms.unwrap_or(f64::NAN),
            expected["timing_sd_vs_linear_fit_ms"],
            found.facts.bpm.unwrap_or(f64::NAN),
            expected["fit_bpm"],
            found.facts.subdivision.as_deref().unwrap_or("-"),
        );
        let f = 2.0 * pairs.len() as f64 / (notes.len() + told.notes.len()) as f64;
        misses.check(&format!("{name}: notes found"), f, 1.0, 1.0 - FOUND);
        if scale.is_some() && expected["pitch_ambiguous_at_50_cents"] == false {
            let ratio = told.facts.in_scale_ratio.unwrap_or(f64::NAN);
            misses.check(
                &format!("{name}: share in the scale"),
                ratio,
                number(&expected["in_scale_ratio"]),
                IN_SCALE,
            );
        }
        let signed = told.facts.mean_signed_cents.unwrap_or(f64::NAN);
        if expected["pitch_ambiguous_at_50_cents"] == false {
            misses.check(
                &format!("{name}: mean cents"),
                signed,
                number(&expected["mean_signed_cents"]),
                MEAN_CENTS,
            );
        }
        let uniform =
            number(&expected["mean_abs_cents_vs_nearest"]) == number(&expected["mean_signed_cents"]).abs();
        if uniform {
            // What is common to all notes is the guitar's tuning, and taken out.
            let absolute = told.facts.mean_abs_cents.unwrap_or(f64::NAN);
            misses.check(&format!("{name}: mean absolute cents"), absolute, 0.0, MEAN_ABSOLUTE_CENTS);
        }
        let spread = |facts: &Facts| facts.timing_sd_ms.unwrap_or(f64::NAN);
        let within = |sd: f64| if sd > 0.0 { SPREAD_MS } else { EVEN_MS };
        let sd = number(&expected["timing_sd_ms"]);
        if truth["expected"]["drift"] != true {
            misses.check(&format!("{name}: spread at the tempo told"), spread(&told.facts), sd, within(sd));
        }
        let sd = number(&expected["timing_sd_vs_linear_fit_ms"]);
        misses.check(&format!("{name}: spread at the tempo found"), spread(&found.facts), sd, within(sd));
        let octaves = (found.facts.bpm.unwrap_or(f64::NAN) / number(&expected["fit_bpm"])).log2();
        let folded = (octaves - octaves.round()).exp2();
        misses.check(&format!("{name}: tempo (ratio)"), folded, 1.0, TEMPO);
    }
    misses.end();
}

#[test]
fn the_mistakes_of_a_performance_come_back_note_by_note() {
    let Some(folder) = recordings() else { return };
    let mut misses = Misses::default();
    for (path, truth) in truths(&folder.join("performances"), &["line"]) {
        let (name, expected) = (path.file_stem().unwrap().to_string_lossy(), &truth["expected"]);
        let Some(scale) = expected["scale"].as_str().filter(|s| *s != "chromatic") else { continue };
        if expected["drift"] == true || expected["pitch_ambiguous_at_50_cents"] == true {
            continue;
        }
        let heard = hear(&path, Some(scale), expected["bpm"].as_f64());
        let notes = truth["notes"].as_array().unwrap();
        let pairs = pairs(notes, &heard.judged);
        // What is constant is no mistake of a single note.
        let middle = |values: &mut Vec<f64>| -> f64 {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let off = middle(&mut pairs.iter().map(|(t, _)| number(&t["timing_ms"])).collect());
        let apart: Vec<f64> = pairs
            .iter()
            .filter_map(|(t, n)| Some(n.deviation_ms? - (number(&t["timing_ms"]) - off)))
            .collect();
        let constant = middle(&mut apart.clone());
        let mut astray = 0;
        for (t, n) in &pairs {
            let (at, ms) = (number(&t["onset_s"]), number(&t["timing_ms"]) - off);
            let what = format!("{name} at {at:.2} s");
            if t["in_scale"] == false {
                if !matches!(n.reason, Some(Reason::NotInScale(_))) {
                    misses.0.push(format!("{what}: {:?} instead of out of the scale", n.reason));
                }
            } else if matches!(n.reason, Some(Reason::NotInScale(_))) {
                misses.0.push(format!("{what}: {:?}, but it is in the scale", n.reason));
            }
            let off = (n.deviation_ms.unwrap_or(f64::NAN) - constant - ms).abs();
            astray += usize::from(off.is_nan() || off > NOTE_MS);
        }
        let share = astray as f64 / pairs.len().max(1) as f64;
        misses.check(
            &format!("{name}: deviations more than {NOTE_MS} ms astray, share"),
            share,
            0.0,
            NOTE_SHARE,
        );
    }
    misses.end();
}

#[test]
fn noise_and_dead_strings_give_no_notes() {
    let Some(folder) = recordings() else { return };
    let mut misses = Misses::default();
    for part in ["performances", "real"] {
        for (path, _) in truths(&folder.join(part), &["noise"]) {
            let heard = hear(&path, None, None);
            println!("{}: {} notes", path.display(), heard.notes.len());
            misses.check(&format!("{}: notes", path.display()), heard.notes.len() as f64, 0.0, 0.0);
        }
    }
    misses.end();
}
