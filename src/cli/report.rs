//! `analyze --report FILE.html`: one page about a take that needs nothing else: no network, no script, no font.
//!
//! ```text
//! samples ─▶ spectrogram ─┐
//! events  ─▶ pitch, noise ├─▶ take (bounded) ─▶ chart, figure (SVG) ─▶ page (template) ─▶ FILE.html
//! windows ─▶ notes        ─┘
//! ```
//! The same take gives the same bytes. The page stays below [`LARGEST`] however long the take is.

pub mod chart;
pub mod figure;
pub mod spectrogram;
pub mod take;

use std::io::Write;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Value, json};

use super::exit::{Exit, Stop};
use super::text;
use crate::coach::offline::{Around, Offline};
use crate::config::Config;
use crate::dsp::event::DspEvent;
use crate::dsp::{ANALYSIS_RATE, HOP};
use crate::music::note::{NoteName, OCTAVE};
use crate::music::scale::Scale;
use crate::practice::metric::Rating;
use crate::practice::score;
use crate::practice::types::{JudgedNote, Metric, Scores, Summary, Window};
use figure::Look;
use take::{Detail, Row, Take};

/// A page is never larger, bytes (a test plays long takes; a 20-minute take in detail measured 2.7 MB).
pub const LARGEST: usize = 6_000_000;
/// So few windows are all unfolded; of more, the one with the most to learn from.
const UNFOLDED: usize = 2;
/// A tuning offset below this is not worth a word, cents.
const OFFSET_WORTH: f64 = 5.0;
/// The offline coach chooses its words by a seed; any will do, as long as it is always the same.
const SEED: u64 = 1;

const PAGE: &str = include_str!("../../assets/report/page.html");

/// Where the page goes. Checked before the analysis starts.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    folder: PathBuf,
}

impl Target {
    /// Checks that a page can be written to `path`, without touching what is there.
    ///
    /// # Errors
    /// A folder that is missing or cannot be written, a target that is no plain file, or is the recording itself.
    pub fn check(path: &Path, recording: &Path) -> Result<Self, Stop> {
        let stop = |why: String| {
            Stop::new(
                Exit::Failed,
                format!("the report cannot be written to {}: {why}; choose another file", path.display()),
            )
        };
        if let Ok(there) = path.metadata() {
            if there.is_dir() {
                return Err(stop("it is a folder".into()));
            }
            if !there.is_file() {
                return Err(stop("it is no plain file".into()));
            }
            if path.canonicalize().ok() == recording.canonicalize().ok() {
                return Err(stop("it is the recording itself".into()));
            }
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if path.file_name().is_none() {
            return Err(stop("it names no file".into()));
        }
        let target = Self { path: path.to_owned(), folder };
        // Made and removed at once: an interrupted analysis leaves nothing behind.
        target.draft().map_err(|e| stop(e.to_string()))?;
        Ok(target)
    }

    fn draft(&self) -> std::io::Result<tempfile::NamedTempFile> {
        use std::os::unix::fs::PermissionsExt;
        tempfile::Builder::new()
            .prefix(".fretcoach-report")
            // As any file that a program makes: the user's umask takes away what is not wanted.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(&self.folder)
    }

    /// Puts the page there, whole or not at all.
    ///
    /// # Errors
    /// A full disk and the like; what was there before is then still there.
    pub fn write(&self, page: &str) -> Result<(), Stop> {
        let write = || -> std::io::Result<()> {
            let mut draft = self.draft()?;
            draft.write_all(page.as_bytes())?;
            draft.as_file().sync_all()?;
            draft.persist(&self.path)?;
            Ok(())
        };
        write().map_err(|e| {
            let path = self.path.display();
            Stop::new(Exit::Failed, format!("the report could not be written to {path}: {e}"))
        })
    }
}

/// Collects a take and makes the page.
pub struct Report {
    config: Config,
    scale: Option<Scale>,
    name: String,
    take: Take,
}

impl Report {
    /// A report on the recording called `name`.
    #[must_use]
    pub fn new(config: &Config, scale: Option<Scale>, name: &str) -> Self {
        let a4 = config.practice.a4;
        Self { config: config.clone(), scale, name: name.to_owned(), take: Take::new(a4) }
    }

    /// Samples at [`ANALYSIS_RATE`], before the events that they cause.
    pub fn samples(&mut self, samples: &[f32]) {
        self.take.samples(samples);
    }

    /// What was heard.
    pub fn event(&mut self, event: &DspEvent) {
        self.take.event(event);
    }

    /// A window was closed, with the final verdicts on its notes.
    pub fn window(&mut self, window: &Window, notes: &[JudgedNote]) {
        self.take.window(window, notes);
    }

    /// The page.
    ///
    /// # Errors
    /// A template that does not fit: a mistake of the program.
    pub fn page(mut self, summary: &Summary) -> Result<String, Stop> {
        self.take.finish();
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        let context = self.context(summary);
        // The name of the template turns on the escaping of everything that is not marked as made here.
        env.render_named_str("page.html", PAGE, minijinja::value::Serde(&context)).map_err(|e| {
            Stop::new(Exit::Failed, format!("the report could not be made: {}", crate::span::chain(&e)))
        })
    }

    fn context(&self, summary: &Summary) -> Value {
        let take = &self.take;
        let strictness = self.config.practice.strictness;
        let tolerance_ms = score::right_ms(strictness, 0.0);
        let tolerance_cents = score::right_cents(strictness);
        let pitch = self.enabled(Metric::PitchAccuracy);
        let look = Look { scale: self.scale.as_ref(), tolerance_ms, pitch };
        let columns = self.columns();
        let in_detail = |index: u32| take.details.iter().any(|d| d.window.index == index);
        let seconds = summary.duration.max(0.001);
        let facts = &summary.facts;
        let hop = HOP as f64 / f64::from(ANALYSIS_RATE);
        let open = self.unfolded();
        json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "notes": facts.note_count,
            "chords": take.chords,
            "right": take.right,
            "wrong": take.wrong,
            "length": text::clock(summary.duration),
            "exercise": self.exercise(),
            "bpm": facts.bpm.map(chart::num),
            "bpm_set": self.config.practice.bpm > 0.0,
            "offset": facts.tuning_offset_cents.filter(|o| o.abs() >= OFFSET_WORTH).map(signed),
            "overall": summary.scores.overall.map(rated),
            "scores": Metric::ALL.iter().filter_map(|m| {
                let mut tile = rated(summary.scores.get(*m)?);
                tile["name"] = m.label().into();
                tile["ground"] = text::ground(*m, facts).into();
                Some(tile)
            }).collect::<Vec<_>>(),
            "advice": self.advice(summary),
            "tolerance_ms": chart::num(tolerance_ms),
            "tolerance_cents": chart::num(tolerance_cents),
            "pitch_scored": pitch,
            "timing_scored": self.enabled(Metric::TimingStability),
            "noise_scored": self.enabled(Metric::NoiseControl),
            "columns": columns.iter().map(|m| json!({"class": m.name(), "name": text::short(*m)})).collect::<Vec<_>>(),
            "score_chart": chart::scores(&take.rows, seconds, &in_detail),
            "rows": take.rows.iter().map(|r| row(r, &columns, in_detail(r.index))).collect::<Vec<_>>(),
            "windows_a_row": take.windows_a_row,
            "timed": take.timing.count,
            "onset_chart": chart::onsets(&take.onsets, seconds, tolerance_ms),
            "onset_every": take.onsets.every,
            "timing_chart": chart::spread(&take.timing, "ms", "onset deviations", tolerance_ms),
            "timing": spread(&take.timing),
            "pitch_chart": chart::spread(&take.pitch, "cents", "intonation", tolerance_cents),
            "pitch": spread(&take.pitch),
            "classes": self.classes(),
            "noise_chart": chart::noise(&take.noise, seconds, hop),
            "noise": text::ground(Metric::NoiseControl, facts),
            "details": take.details.iter().map(|d| detail(d, &look, open == Some(d.window.index) || take.details.len() <= UNFOLDED)).collect::<Vec<_>>(),
            "dropped": take.dropped,
            "settings": self.settings(),
        })
    }

    /// What is not scored is not spoken of.
    fn enabled(&self, metric: Metric) -> bool {
        self.config.practice.metrics.iter().any(|m| Metric::parse(m) == Ok(metric))
    }

    /// The metrics that have a score.
    fn columns(&self) -> Vec<Metric> {
        let scored = |m: &Metric| self.enabled(*m) && (*m != Metric::ScaleConformity || self.scale.is_some());
        Metric::ALL.into_iter().filter(scored).collect()
    }

    fn exercise(&self) -> String {
        self.scale.as_ref().map_or_else(|| "no scale set".to_owned(), Scale::name)
    }

    /// The window that stands open: the one with the lowest score.
    fn unfolded(&self) -> Option<u32> {
        let scored =
            self.take.details.iter().filter_map(|d| Some((d.window.index, d.window.scores.overall?)));
        scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
    }

    fn advice(&self, summary: &Summary) -> Option<String> {
        let around = Around {
            scale_name: self.scale.as_ref().map(Scale::name),
            scale_notes: self.scale.as_ref().map(Scale::pitch_classes).unwrap_or_default(),
            bpm: Some(self.config.practice.bpm).filter(|b| *b > 0.0),
            previous: None,
        };
        Offline::new(SEED).summarise(summary, &around).map(|said| said.text)
    }

    fn classes(&self) -> Vec<Value> {
        let name = |pc: u8| {
            self.scale.map_or_else(|| NoteName::of_pitch_class(pc, true), |s| s.spell(pc)).to_string()
        };
        (0..OCTAVE)
            .map(|pc| (pc, self.take.classes[usize::from(pc)]))
            .filter(|(_, c)| c.times > 0)
            .map(|(pc, c)| {
                let mean = c.cents / c.times as f64;
                json!({
                    "name": name(pc),
                    "in_scale": self.scale.map(|s| s.contains(pc)),
                    "times": c.times,
                    "wrong": c.wrong,
                    "cents": signed(mean),
                    "off": chart::num(c.off / c.times as f64),
                    // Left edge of a bar of a hundred, half of it per 50 cents to either side.
                    "from": chart::num(50.0 + mean.clamp(-50.0, 0.0)),
                    "width": chart::num(mean.abs().clamp(0.5, 50.0)),
                })
            })
            .collect()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let p = &self.config.practice;
        let tempo =
            if p.bpm > 0.0 { format!("{} bpm", chart::num(p.bpm)) } else { "taken from the playing".into() };
        vec![
            ("Scale", self.exercise()),
            ("Tempo", tempo),
            ("Reference pitch", format!("A4 = {} Hz", chart::num(p.a4))),
            ("Strictness", chart::num(p.strictness)),
            ("Sensitivity", chart::num(p.sensitivity)),
            ("Scored", p.metrics.join(", ")),
            ("Window", text::clock(p.coach_every.as_secs_f64())),
            ("Pitch detector", self.config.audio.detector.clone()),
        ]
    }
}

/// `+3.2` or `−3.2`.
fn signed(x: f64) -> String {
    let text = chart::num(x.abs());
    match (text.as_str(), x > 0.0) {
        ("0", _) => text,
        (_, true) => format!("+{text}"),
        (_, false) => format!("−{text}"),
    }
}

/// A score with its word and colour.
fn rated(score: f64) -> Value {
    let rating = Rating::of(score);
    let colour = format!("{:?}", rating.colour()).to_lowercase();
    json!({"score": format!("{score:.0}"), "word": rating.label(), "colour": colour, "share": chart::num(score)})
}

fn spread(s: &take::Spread) -> Value {
    json!({"count": s.count, "mean": s.mean().map(signed), "sd": s.sd().map(chart::num)})
}

fn cells(scores: &Scores, columns: &[Metric]) -> Vec<Value> {
    let cell = |score: Option<f64>| score.map_or(Value::Null, rated);
    columns.iter().map(|m| cell(scores.get(*m))).chain([cell(scores.overall)]).collect()
}

fn row(row: &Row, columns: &[Metric], linked: bool) -> Value {
    json!({
        "index": row.index,
        "from": text::clock(row.start),
        "to": text::clock(row.end),
        "notes": row.notes,
        "wrong": row.wrong,
        "scores": cells(&row.scores, columns),
        "linked": linked,
    })
}

fn detail(d: &Detail, look: &Look<'_>, open: bool) -> Value {
    let panel = figure::panel(d, look);
    let w = &d.window;
    let measured = Metric::ALL.iter().filter(|m| w.scores.get(**m).is_some());
    json!({
        "index": w.index,
        "from": text::clock(w.start),
        "to": text::clock(w.end),
        "open": open,
        "overall": w.scores.overall.map(rated),
        "notes": w.facts.note_count,
        "wrong": d.notes.iter().filter(|n| !n.judged.right && !n.judged.note.gated).count(),
        "ground": measured.map(|m| json!({
            "name": text::short(*m),
            "score": w.scores.get(*m).map(|s| format!("{s:.0}")),
            "words": text::ground(*m, &w.facts),
        })).collect::<Vec<_>>(),
        "axis": panel.axis,
        "plot": panel.plot,
        "table": d.notes.iter().map(|n| {
            let note = &n.judged.note;
            json!([
                format!("{:.2}", note.onset),
                look.name(note.midi),
                signed(n.cents),
                n.judged.deviation_ms.map_or_else(|| "–".to_owned(), |ms| signed(ms.round())),
                format!("{:.2}", note.offset - note.onset),
                format!("{:.0}", note.level_db).replace('-', "−"),
                look.verdict(n),
            ])
        }).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::types::Reason;

    #[test]
    fn numbers_are_signed_for_people() {
        assert_eq!([signed(0.01), signed(-2.0), signed(2.25)], ["0", "−2", "+2.3"]);
    }

    #[test]
    fn names_are_escaped() {
        let report = Report::new(&Config::default(), None, "<script>alert(1)</script>&\".wav");
        let mut judge = crate::practice::Session::new(crate::practice::Settings::default());
        let page = report.page(&judge.finish(1.0)).unwrap();
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }

    #[test]
    fn what_is_not_scored_is_not_shown() {
        let shown = |metrics: &[&str]| {
            let mut config = Config::default();
            config.practice.metrics = metrics.iter().map(|m| (*m).to_owned()).collect();
            let settings = crate::app::setup::judge(&config).unwrap().0;
            let mut judge = crate::practice::Session::new(settings);
            for i in 0..8u8 {
                let onset = 0.5 * f64::from(i);
                let note = note(onset, 45 + i, if i == 3 { 40.0 } else { 0.0 });
                judge.push(&DspEvent::Note(note));
            }
            let mut report = Report::new(&config, None, "take.wav");
            report.window(&judge.close_window(5.0), &judge.closed_notes());
            report.page(&judge.finish(5.0)).unwrap()
        };
        let all = shown(&["pitch", "timing", "noise"]);
        let parts =
            [">Intonation<", ">Timing: early and late<", ">Clean sound<", ">cents<", ">ms<", "sharp</td>"];
        for part in parts {
            assert!(all.contains(part), "{part}");
        }
        let timing = shown(&["timing"]);
        for (part, there) in parts.iter().zip([false, true, false, false, true, false]) {
            assert_eq!(timing.contains(part), there, "{part}");
        }
    }

    fn note(onset: f64, midi: u8, cents: f32) -> crate::dsp::event::NoteEvent {
        crate::dsp::event::NoteEvent {
            onset,
            offset: onset + 0.3,
            t: onset + 0.02,
            settled: onset + 0.02,
            midi,
            f0: 200.0,
            cents,
            level_db: -20.0,
            confidence: 1.0,
            inharmonicity: None,
            technique: crate::dsp::event::Technique::default(),
            gated: false,
        }
    }

    #[test]
    fn chords_are_shown_as_such() {
        use crate::dsp::event::{ChordEvent, PitchClasses};
        let mut report = Report::new(&Config::default(), None, "take.wav");
        let mut classes = PitchClasses::default();
        [4, 11].into_iter().for_each(|class| classes.add(class));
        let chord = ChordEvent {
            onset: 1.0,
            offset: 1.5,
            t: 1.1,
            classes,
            bass: None,
            level_db: -20.0,
            confidence: 1.0,
            gated: false,
        };
        report.event(&DspEvent::Chord(chord));
        let mut judge = crate::practice::Session::new(crate::practice::Settings::default());
        report.window(&judge.close_window(2.0), &[]);
        let page = report.page(&judge.finish(2.0)).unwrap();
        for part in ["0 notes and 1 chord in 0:02", "chord of E, B at 1.00 s", "chord (not judged)"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn the_largest_page_is_bounded() {
        use crate::dsp::event::{FrameReport, NoisePowers, NoteEvent, Technique};
        use crate::practice::types::Facts;
        let mut report = Report::new(&Config::default(), Scale::parse("C major").ok(), "long.wav");
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed >> 8) / f64::from(1u32 << 24)
        };
        // Noise is what compresses worst. Six notes a second, each of another length and pitch.
        let noise: Vec<f32> = (0..48_000).map(|_| random() as f32 - 0.5).collect();
        for index in 0..50u32 {
            let start = f64::from(index) * 30.0;
            for second in 0..30 {
                report.samples(&noise);
                for hop in 0..188 {
                    let f0 = Some((200.0 + random() * 3.0) as f32);
                    let t = start + f64::from(second) + f64::from(hop) / 187.5;
                    let (wanted, unwanted) = (random() as f32, random() as f32 * 1e-3);
                    let frame = FrameReport {
                        t,
                        w: 0.02,
                        f0,
                        confidence: 1.0,
                        provisional: false,
                        level_db: -10.0,
                        wanted,
                        unwanted,
                        causes: NoisePowers::default(),
                    };
                    report.event(&DspEvent::Frame(frame));
                }
            }
            let notes: Vec<JudgedNote> = (0..180)
                .map(|i| {
                    let onset = start + f64::from(i) / 6.0;
                    let note = NoteEvent {
                        onset,
                        offset: onset + 0.1 + 0.05 * random(),
                        t: onset,
                        settled: onset,
                        midi: 40 + (random() * 36.0) as u8,
                        f0: 200.0,
                        cents: (random() * 80.0 - 40.0) as f32,
                        level_db: -20.0,
                        confidence: 1.0,
                        inharmonicity: None,
                        technique: Technique::default(),
                        gated: false,
                    };
                    JudgedNote {
                        note,
                        in_scale: Some(false),
                        deviation_ms: Some(random() * 150.0 - 75.0),
                        place: None,
                        right: false,
                        reason: Some(Reason::NotInScale(60)),
                    }
                })
                .collect();
            let window = Window {
                index,
                start,
                end: start + 30.0,
                scores: Scores { overall: Some(random() * 100.0), ..Scores::default() },
                facts: Facts { note_count: 180, ..Facts::default() },
                weakest: None,
                strongest: None,
            };
            report.window(&window, &notes);
        }
        let mut judge = crate::practice::Session::new(crate::practice::Settings::default());
        let page = report.page(&judge.finish(1500.0)).unwrap();
        assert!((LARGEST / 4..LARGEST).contains(&page.len()), "{} bytes", page.len());
    }
}
