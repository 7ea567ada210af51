//! Takes to practise with, whose every note is known, and what the program has kept of a session: its history and its
//! traces, read through its own commands.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use fretcoach::audio::guitarist::{Pattern, Performance, TruthNote, perform};
use fretcoach::music::scale::Scale;
use jiff::Timestamp;
use serde_json::Value;

use super::process::{Program, Running};
use super::rig::Rig;
use super::wav::Wav;

/// Rate of the takes and of the rig's devices, Hz.
pub const RATE: u32 = 48_000;
/// What the takes are played over, and how fast.
pub const SCALE: &str = "A minor pentatonic";
/// See [`SCALE`].
pub const BPM: f64 = 90.0;
/// Longest wait for what takes a second or two on a machine that is not overloaded.
pub const SOON: Duration = Duration::from_secs(30);
/// A note is the one that was played when their onsets are this close, seconds: far below the distance of two notes
/// (0.17 s for a sixteenth at [`BPM`]).
const SAME_ONSET: f64 = 0.06;

/// A phrase of the virtual guitarist. It begins with half a second of silence.
#[derive(Clone, Debug)]
pub struct Take {
    /// The sound.
    pub wav: Wav,
    /// The notes.
    pub truth: Vec<TruthNote>,
}

impl Take {
    /// So many bars of four beats with these mistakes, of runs, thirds, sequences and riffs.
    pub fn new(bars: u32, mistakes: &str, seed: u64) -> Self {
        Self::at(BPM, bars, mistakes, seed)
    }

    /// The same at another tempo.
    pub fn at(bpm: f64, bars: u32, mistakes: &str, seed: u64) -> Self {
        let (samples, truth) = perform(&Performance {
            scale: Scale::parse(SCALE).expect("a scale"),
            bpm,
            pattern: Pattern::Mixed,
            mistakes: mistakes.parse().expect("mistakes as the guitarist reads them"),
            seed,
            sample_rate: RATE,
            bars,
            ..Performance::default()
        });
        Self { wav: Wav::mono(RATE, samples), truth }
    }

    /// Writes it for `paplay`.
    pub fn write(&self, path: &Path) {
        self.wav.write(path);
    }

    /// Plays it into the rig's guitar, to its end.
    #[track_caller]
    pub fn play(&self, rig: &Rig) {
        let file = rig.dir().join("take.wav");
        self.write(&file);
        let status = rig.play_guitar(&file).wait().expect("paplay is a child of this process");
        assert!(status.success(), "paplay ended with {status}");
    }
}

/// Starts practising on the rig's devices and waits until the guitar is listened to.
#[track_caller]
pub fn practise(program: &Program, bpm: f64, further: &[&str]) -> Running {
    let bpm = bpm.to_string();
    let mut args = vec!["practice", "--plain", "--host", "pulseaudio", "--input", "guitar.monitor"];
    args.extend(["--output", "speakers", "--scale", SCALE, "--bpm", &bpm]);
    args.extend(further);
    let mut running = program.spawn(&args);
    running.wait_for("listening to", SOON);
    running
}

/// A note as the program stored it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    /// Seconds on the capture clock.
    pub onset: f64,
    pub midi: u8,
    pub gated: bool,
}

/// How what was heard fits what was played.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Begin of the take on the capture clock, seconds.
    pub start: f64,
    /// Notes that were heard and not played.
    pub extra: Vec<Note>,
    /// Notes that were played and not heard.
    pub missed: Vec<TruthNote>,
}

impl Fit {
    /// Lays the notes over the truth where most agree in pitch and onset.
    pub fn of(heard: &[Note], truth: &[TruthNote]) -> Self {
        let matches = |start: f64, n: &Note, t: &TruthNote| {
            n.midi == t.midi && (n.onset - start - t.onset).abs() < SAME_ONSET
        };
        let agreeing =
            |start: f64| heard.iter().filter(|n| truth.iter().any(|t| matches(start, n, t))).count();
        let starts = heard.iter().flat_map(|n| truth.iter().map(move |t| n.onset - t.onset));
        let start = starts.max_by_key(|s| agreeing(*s)).unwrap_or(0.0);
        let mut offsets: Vec<f64> = heard
            .iter()
            .filter_map(|n| truth.iter().find(|t| matches(start, n, t)).map(|t| n.onset - t.onset))
            .collect();
        offsets.sort_by(f64::total_cmp);
        let start = offsets.get(offsets.len() / 2).copied().unwrap_or(start);
        // Each note of either side counts once.
        let mut free: Vec<bool> = vec![true; truth.len()];
        let mut extra = Vec::new();
        for n in heard {
            match (0..truth.len()).find(|i| free[*i] && matches(start, n, &truth[*i])) {
                Some(i) => free[i] = false,
                None => extra.push(*n),
            }
        }
        let missed = truth.iter().zip(free).filter(|(_, free)| *free).map(|(t, _)| *t).collect();
        Self { start, extra, missed }
    }
}

/// What `program` prints as JSON for `args`.
#[track_caller]
pub fn json(program: &Program, args: &[&str]) -> Value {
    let done = program.run(args).ok();
    serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{}: {e}: {}", args.join(" "), done.stdout))
}

/// Sessions that `program` has kept, newest first.
#[track_caller]
pub fn sessions(program: &Program) -> Vec<Value> {
    array(&json(program, &["history", "--format", "json"])["sessions"])
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}")).clone()
}

/// One session as it was kept.
#[derive(Clone, Debug)]
pub struct Kept(pub Value);

impl Kept {
    /// Reads a session by its id or as `latest`.
    #[track_caller]
    pub fn read(program: &Program, session: &str) -> Self {
        Self(json(program, &["history", session, "--format", "json"]))
    }

    /// Its id.
    pub fn id(&self) -> String {
        self.0["session"]["id"].as_str().expect("a session has an id").to_owned()
    }

    /// `finished`, `interrupted`, or nothing.
    pub fn end(&self) -> Option<&str> {
        self.0["session"]["end"].as_str()
    }

    /// The notes in order.
    pub fn notes(&self) -> Vec<Note> {
        self.list("notes")
            .iter()
            .map(|n| Note {
                onset: n["onset"].as_f64().expect("an onset"),
                midi: u8::try_from(n["midi"].as_u64().expect("a MIDI number")).expect("below 128"),
                gated: n["gated"].as_bool().expect("a flag"),
            })
            .collect()
    }

    /// `windows`, `advice`, `notes` or `gaps`.
    pub fn list(&self, what: &str) -> Vec<Value> {
        array(&self.0[what])
    }

    /// Pieces of advice of a kind (`live`, `asked`, `summary`).
    pub fn advice(&self, kind: &str) -> Vec<Value> {
        self.list("advice").into_iter().filter(|a| a["kind"] == kind).collect()
    }

    /// The scores of the whole session, for [`assert_scores_agree`].
    pub fn scores(&self) -> &Value {
        &self.0["summary"]["scores"]
    }

    /// Samples and events that were dropped, over all windows.
    pub fn dropped(&self) -> u64 {
        let of = |w: &Value, what: &str| w["cost"][what].as_u64().expect("a count");
        self.list("windows").iter().map(|w| of(w, "dropped_samples") + of(w, "dropped_events")).sum()
    }
}

/// The five scores out of any JSON that holds them by name; `None` where not measured.
pub fn scores(of: &Value) -> [(&'static str, Option<f64>); 5] {
    ["pitch_accuracy", "scale_conformity", "timing_stability", "noise_control", "overall"]
        .map(|name| (name, of[name].as_f64()))
}

/// Panics unless all five scores were measured and are within `points` of each other.
#[track_caller]
pub fn assert_scores_agree(heard: &Value, reference: &Value, points: f64) {
    let (ours, theirs) = (scores(heard), scores(reference));
    for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
        let (Some(a), Some(b)) = (a, b) else { panic!("{name} was not measured: {ours:?}, {theirs:?}") };
        assert!((a - b).abs() <= points, "{name} is {a:.2} instead of {b:.2}: {ours:?}, {theirs:?}");
    }
}

/// A trace with its spans.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Name of the operation.
    pub name: String,
    /// Spans in order of time.
    pub spans: Vec<Value>,
}

impl Trace {
    /// Every trace of a session.
    #[track_caller]
    pub fn all(program: &Program, session: &str) -> Vec<Self> {
        let list =
            json(program, &["traces", "list", "--session", session, "--limit", "1000", "--format", "json"]);
        let of = |t: &Value| {
            let id = t["trace_id"].as_str().expect("an id");
            Self {
                name: t["name"].as_str().expect("a name").to_owned(),
                spans: array(&json(program, &["traces", id, "--format", "json"])["spans"]),
            }
        };
        array(&list["traces"]).iter().map(of).collect()
    }

    /// Spans of this name, in order of time.
    pub fn named(&self, name: &str) -> Vec<&Value> {
        self.spans.iter().filter(|s| s["name"] == name).collect()
    }

    /// When it began.
    #[track_caller]
    pub fn begun(&self) -> Timestamp {
        self.spans[0]["started_at"].as_str().and_then(|t| t.parse().ok()).expect("a time in RFC 3339")
    }

    /// Panics unless there is one root, of the operation's name, and every other span has its parent in the trace and
    /// came to its end.
    #[track_caller]
    pub fn assert_whole(&self) {
        let ids: HashSet<&str> = self.spans.iter().filter_map(|s| s["span_id"].as_str()).collect();
        let (roots, children): (Vec<&Value>, Vec<&Value>) =
            self.spans.iter().partition(|s| s["parent_id"].is_null());
        assert_eq!(roots.iter().map(|s| &s["name"]).collect::<Vec<_>>(), [&self.name]);
        for s in children {
            let parent = s["parent_id"].as_str().expect("an id");
            assert!(ids.contains(parent), "{} of {} lacks its parent", s["name"], self.name);
            assert!(s["attributes"]["fretcoach.lost_parent_id"].is_null(), "{s}");
        }
        assert!(self.spans.iter().all(|s| !s["ended_at"].is_null()), "{} did not end", self.name);
    }
}
