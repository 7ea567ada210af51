//! `fretcoach analyze`: what the live path would say of a recording, faster than real time and in constant memory.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::exit::{Exit, Stop, complain};
use super::progress::{Progress, left};
use super::report::{Report, Target};
use super::text;
use crate::alloc_count;
use crate::app::setup;
use crate::audio::SampleSource;
use crate::audio::file::FileSource;
use crate::audio::resample::Resampler;
use crate::config::Config;
use crate::dsp::event::{ChordEvent, DspEvent};
use crate::dsp::{ANALYSIS_RATE, Analyzer, HOP};
use crate::music::chord::chord_name;
use crate::music::note::NoteName;
use crate::music::scale::Scale;
use crate::practice::session::Session;
use crate::practice::summary::summary_json;
use crate::practice::types::{JudgedNote, Summary, Window};

/// Samples read at a time.
const BLOCK: usize = 4096;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document: notes and summary.
    Json,
    /// One JSON object a line: frames, notes, summary, stats.
    JsonLines,
}

impl Format {
    /// From the flag's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "json" => Self::Json,
            "jsonl" => Self::JsonLines,
            _ => Self::Text,
        }
    }
}

/// Wrong notes listed in the text; the machine formats tell all.
const WRONG_NOTES: usize = 20;

/// What the loop took, measured around the analysis alone (file reading and printing left out).
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    cpu_ns: u64,
    audio_s: f64,
    hops: u64,
    allocs: u64,
}

impl Stats {
    fn json(&self) -> Value {
        let per = |total: u64| if self.hops == 0 { 0.0 } else { total as f64 / self.hops as f64 };
        json!({"type": "stats", "stats": {
            "cpu_s": self.cpu_ns as f64 / 1e9,
            "audio_s": self.audio_s,
            "calls": self.hops,
            "ns_per_call": per(self.cpu_ns),
            "allocs_per_call": per(self.allocs),
        }})
    }
}

/// CPU time of this thread, nanoseconds.
fn thread_cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid, writable timespec for the length of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) } != 0;
    if failed { 0 } else { t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64 }
}

/// Analyses a recording, prints what was found, and with `report` writes a page about it there.
///
/// The way of the live path: the same analyser, the same judge, windows closed each `coach_every`. Memory does not grow
/// with the recording but for the judge's hundred or so bytes a note.
///
/// # Errors
/// An unreadable, empty, foreign or damaged file; an impossible scale or tempo; a report that cannot be written. A
/// closed output is no error.
pub fn run(config: &Config, path: &Path, format: Format, report: Option<&Path>) -> Result<Exit, Stop> {
    let (settings, scale) = setup::judge(config)?;
    let strictness = settings.strictness;
    let mut source =
        FileSource::open(path, config.audio.channel).map_err(|e| Stop::because(Exit::Input, &e))?;
    let mut resampler = (source.sample_rate() != ANALYSIS_RATE)
        .then(|| Resampler::new(source.sample_rate(), ANALYSIS_RATE))
        .transpose()
        .map_err(|e| Stop::because(Exit::Input, &e))?;
    let mut analyzer = Analyzer::new(setup::analyzer(config)?);
    let target = report.map(|to| Target::check(to, path)).transpose()?;
    let mut report = target.as_ref().map(|_| Report::new(config, scale, &path.display().to_string()));
    let key = settings.scale;
    let mut listening = Listening {
        judge: Session::new(settings),
        every: config.practice.coach_every.as_secs_f64(),
        window_start: 0.0,
        now: 0.0,
        notes: 0,
    };
    let mut out = Printer::new(format, path, key).or_else(|e| ended(e).map(|()| unreachable!("ended")))?;
    let mut stats = Stats::default();
    // Lines that stream to the same terminal leave no room for it.
    let mut progress = Progress::new(format != Format::JsonLines || !io::stdout().is_terminal());
    let total = source.seconds();
    let mut block = vec![0.0f32; BLOCK];
    // What one block makes is collected first, so that neither printing nor drawing is measured as hearing.
    let mut heard: Vec<DspEvent> = Vec::with_capacity(1024);
    let mut resampled: Vec<f32> = Vec::with_capacity(64 * BLOCK);
    let keep = report.is_some();
    let mut read = 0u64;
    loop {
        let n = source.read(&mut block);
        read += n as u64;
        let allocs = alloc_count::here();
        let cpu = thread_cpu_ns();
        let mut hear = |samples: &[f32]| {
            if keep {
                resampled.extend_from_slice(samples);
            }
            analyzer.process(samples, &mut |e| heard.push(e));
        };
        match (&mut resampler, n) {
            (None, 0) => {}
            (None, _) => hear(&block[..n]),
            (Some(r), 0) => r.finish(&mut hear),
            (Some(r), _) => r.push(&block[..n], &mut hear),
        }
        if n == 0 {
            analyzer.finish(&mut |e| heard.push(e));
        }
        stats.cpu_ns += thread_cpu_ns() - cpu;
        stats.allocs += alloc_count::here() - allocs;
        if let Some(report) = &mut report {
            report.samples(&resampled);
            resampled.clear();
        }
        for event in heard.drain(..) {
            stats.hops += u64::from(matches!(event, DspEvent::Frame(_)));
            out.event(&event).or_else(ended)?;
            if let Some(report) = &mut report {
                report.event(&event);
            }
            if let Some((window, notes)) = listening.hear(&event) {
                out.window(&window, &notes).or_else(ended)?;
                if let Some(report) = &mut report {
                    report.window(&window, &notes);
                }
            }
        }
        let seconds = read as f64 / f64::from(source.sample_rate());
        progress.at(|elapsed| progress_line(seconds, total, elapsed));
        if n == 0 {
            stats.audio_s = seconds;
            break;
        }
    }
    progress.end();
    if let Some(warning) = source.warning() {
        complain(warning);
    }
    debug_assert!(stats.hops as f64 * HOP as f64 <= stats.audio_s * f64::from(ANALYSIS_RATE) + BLOCK as f64);
    if let Some((window, notes)) = listening.last(stats.audio_s) {
        out.window(&window, &notes).or_else(ended)?;
        if let Some(report) = &mut report {
            report.window(&window, &notes);
        }
    }
    let summary = listening.judge.finish(stats.audio_s);
    if let (Some(report), Some(target)) = (report, &target) {
        target.write(&report.page(&summary)?)?;
    }
    out.end(&summary, scale.as_ref(), strictness, &stats).or_else(ended)?;
    Ok(Exit::Ok)
}

/// The judge with its windows, as in a session.
struct Listening {
    judge: Session,
    /// Length of a window, seconds.
    every: f64,
    window_start: f64,
    now: f64,
    /// Notes of the window under way.
    notes: usize,
}

impl Listening {
    /// Takes an event; a window that is full comes back with the final verdicts on its notes.
    fn hear(&mut self, event: &DspEvent) -> Option<(Window, Vec<JudgedNote>)> {
        if let DspEvent::Frame(frame) = event {
            self.now = frame.t;
        }
        self.notes += usize::from(self.judge.push(event).is_some());
        (self.now - self.window_start >= self.every).then(|| self.close(self.now))
    }

    /// The last window, if it holds anything.
    fn last(&mut self, end: f64) -> Option<(Window, Vec<JudgedNote>)> {
        // The last note may come when the last window has just been closed.
        (self.now > self.window_start || self.notes > 0).then(|| self.close(end))
    }

    fn close(&mut self, now: f64) -> (Window, Vec<JudgedNote>) {
        self.window_start = now;
        self.notes = 0;
        (self.judge.close_window(now), self.judge.closed_notes())
    }
}

/// `37 % · 11:06 of 30:00 analysed · 0:04 left`.
fn progress_line(seconds: f64, total: Option<f64>, elapsed: f64) -> String {
    let done = text::clock(seconds);
    match total.filter(|t| *t > 0.0) {
        Some(total) => {
            let share = (seconds / total).clamp(0.0, 1.0);
            format!(
                "{:.0} % · {done} of {} analysed · {} left",
                100.0 * share,
                text::clock(total),
                left(share, elapsed)
            )
        }
        None => format!("{done} analysed"),
    }
}

/// A reader that has seen enough (`| head`) is no error.
fn ended(e: io::Error) -> Result<(), Stop> {
    if e.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(Exit::Ok as i32);
    }
    Err(super::unprinted(&e))
}

/// Prints as things become known, so that nothing is kept.
struct Printer {
    format: Format,
    out: BufWriter<io::StdoutLock<'static>>,
    /// Notes printed, for the commas between them.
    notes: usize,
    /// Chords, for the end of a document.
    chords: Vec<Value>,
    /// The first wrong notes, for the text, and how many came after them.
    wrong: Vec<JudgedNote>,
    further_wrong: usize,
    /// For the spelling of chords.
    scale: Option<Scale>,
}

impl Printer {
    fn new(format: Format, path: &Path, scale: Option<Scale>) -> Result<Self, io::Error> {
        let mut out = BufWriter::new(io::stdout().lock());
        if format == Format::Json {
            write!(out, "{{\n  \"file\": {},\n  \"notes\": [", json!(path.display().to_string()))?;
        }
        Ok(Self { format, out, notes: 0, chords: Vec::new(), wrong: Vec::new(), further_wrong: 0, scale })
    }

    fn event(&mut self, event: &DspEvent) -> io::Result<()> {
        match (self.format, event) {
            (Format::JsonLines, DspEvent::Frame(f)) => {
                let line = json!({"type": "frame", "t": f.t, "w": f.w, "f0": f.f0,
                    "confidence": f.confidence, "provisional": f.provisional});
                writeln!(self.out, "{line}")
            }
            (Format::JsonLines, DspEvent::Chord(c)) => {
                writeln!(self.out, "{}", chord_json(c, self.scale.as_ref()))
            }
            (Format::Json, DspEvent::Chord(c)) => {
                self.chords.push(chord_json(c, self.scale.as_ref()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes with their final verdict, as the history keeps them, and the window that they stand in.
    fn window(&mut self, window: &Window, notes: &[JudgedNote]) -> io::Result<()> {
        for note in notes {
            match self.format {
                Format::JsonLines => writeln!(self.out, "{}", note_json(note))?,
                Format::Json => {
                    let comma = if self.notes == 0 { "" } else { "," };
                    write!(self.out, "{comma}\n    {}", note_json(note))?;
                }
                Format::Text if note.reason.is_none() => {}
                Format::Text if self.wrong.len() < WRONG_NOTES => self.wrong.push(note.clone()),
                Format::Text => self.further_wrong += 1,
            }
            self.notes += 1;
        }
        if self.format == Format::JsonLines {
            let line = json!({"type": "window", "index": window.index, "start": window.start, "end": window.end,
                "note_count": window.facts.note_count, "scores": window.scores});
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        summary: &Summary,
        scale: Option<&Scale>,
        strictness: f64,
        stats: &Stats,
    ) -> io::Result<()> {
        match self.format {
            Format::JsonLines => {
                writeln!(self.out, "{}", summary_json(summary))?;
                writeln!(self.out, "{}", stats.json())?;
            }
            Format::Json => {
                let (summary, stats) = (summary_json(summary), &stats.json()["stats"]);
                let gap = if self.notes == 0 { "" } else { "\n  " };
                let chords = Value::from(std::mem::take(&mut self.chords));
                writeln!(
                    self.out,
                    "{gap}],\n  \"chords\": {chords},\n  \"summary\": {summary},\n  \"stats\": {stats}\n}}"
                )?;
            }
            Format::Text => {
                write!(self.out, "{}", text::summary(summary))?;
                if !self.wrong.is_empty() {
                    let wrong = text::wrong_notes(&self.wrong, scale, WRONG_NOTES, self.further_wrong);
                    write!(self.out, "\nNotes {}\n{wrong}", text::limits(strictness))?;
                }
                if stats.cpu_ns > 0 {
                    writeln!(
                        self.out,
                        "\n{} analysed, {:.0} times faster than real time",
                        text::clock(stats.audio_s),
                        stats.audio_s / (stats.cpu_ns as f64 / 1e9)
                    )?;
                }
            }
        }
        self.out.flush()
    }
}

/// A note as the command line promises it.
fn note_json(n: &JudgedNote) -> Value {
    json!({
        "type": "note", "onset": n.note.onset, "offset": n.note.offset, "t": n.note.t, "midi": n.note.midi,
        "f0": n.note.f0, "cents": n.note.cents, "level_db": n.note.level_db, "in_scale": n.in_scale,
        "deviation_ms": n.deviation_ms, "place": n.place, "reason": n.reason, "settled": n.note.settled,
        "confidence": n.note.confidence, "inharmonicity": n.note.inharmonicity, "attack": n.note.technique.attack,
        "motion": n.note.technique.motion, "motion_cents": n.note.technique.motion_cents,
    })
}

/// A chord as the command line promises it, spelled by the scale.
fn chord_json(c: &ChordEvent, scale: Option<&Scale>) -> Value {
    let spell = |class| scale.map_or_else(|| NoteName::of_pitch_class(class, true), |s| s.spell(class));
    json!({
        "type": "onset", "kind": "chord", "onset": c.onset, "offset": c.offset, "t": c.t,
        "classes": c.classes.iter().map(|class| spell(class).to_string()).collect::<Vec<_>>(),
        "name": chord_name(c.classes.0, c.bass, spell), "bass": c.bass, "level_db": c.level_db,
        "confidence": c.confidence, "gated": c.gated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_and_how_long() {
        assert_eq!(progress_line(900.0, Some(3600.0), 10.0), "25 % · 15:00 of 1:00:00 analysed · 0:30 left");
        assert_eq!(progress_line(5.0, None, 1.0), "0:05 analysed");
        assert_eq!(progress_line(5.0, Some(0.0), 1.0), "0:05 analysed");
    }
}
