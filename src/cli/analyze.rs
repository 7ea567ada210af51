//! `fretcoach analyze`: what the live path would say of a recording, faster than real time and in constant memory.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::exit::{Exit, Stop, complain};
use super::text;
use crate::alloc_count;
use crate::app::setup;
use crate::audio::SampleSource;
use crate::audio::file::FileSource;
use crate::audio::resample::Resampler;
use crate::config::Config;
use crate::dsp::event::DspEvent;
use crate::dsp::{ANALYSIS_RATE, Analyzer, HOP};
use crate::practice::session::Session;
use crate::practice::summary::summary_json;
use crate::practice::types::{JudgedNote, Summary};

/// Samples read at a time.
const BLOCK: usize = 4096;
/// Progress on a terminal is shown this often, in seconds of audio.
const PROGRESS_SECONDS: f64 = 5.0;

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

/// Analyses a recording and prints what was found.
///
/// # Errors
/// An unreadable, empty, foreign or damaged file; an impossible scale or tempo; a closed output is no error.
pub fn run(config: &Config, path: &Path, format: Format) -> Result<Exit, Stop> {
    let (settings, _) = setup::judge(config)?;
    let mut source =
        FileSource::open(path, config.audio.channel).map_err(|e| Stop::because(Exit::Input, &e))?;
    let mut resampler = (source.sample_rate() != ANALYSIS_RATE)
        .then(|| Resampler::new(source.sample_rate(), ANALYSIS_RATE))
        .transpose()
        .map_err(|e| Stop::because(Exit::Input, &e))?;
    let mut analyzer = Analyzer::new(setup::analyzer(config)?);
    let mut judge = Session::new(settings);
    let mut out = Printer::new(format);
    let mut stats = Stats::default();
    let total = source.seconds();
    let progress = io::stderr().is_terminal() && format != Format::JsonLines;
    let mut next_progress = PROGRESS_SECONDS;
    let mut block = vec![0.0f32; BLOCK];
    // What one block makes is collected first, so that printing is not measured as hearing.
    let mut heard: Vec<DspEvent> = Vec::with_capacity(1024);
    let mut read = 0u64;
    loop {
        let n = source.read(&mut block);
        read += n as u64;
        let allocs = alloc_count::here();
        let cpu = thread_cpu_ns();
        match (&mut resampler, n) {
            (None, 0) => {}
            (None, _) => analyzer.process(&block[..n], &mut |e| heard.push(e)),
            (Some(r), 0) => r.finish(&mut |s| analyzer.process(s, &mut |e| heard.push(e))),
            (Some(r), _) => r.push(&block[..n], &mut |s| analyzer.process(s, &mut |e| heard.push(e))),
        }
        if n == 0 {
            analyzer.finish(&mut |e| heard.push(e));
        }
        stats.cpu_ns += thread_cpu_ns() - cpu;
        stats.allocs += alloc_count::here() - allocs;
        for event in heard.drain(..) {
            stats.hops += u64::from(matches!(event, DspEvent::Frame(_)));
            let note = judge.push(&event);
            out.event(&event, note).or_else(ended)?;
        }
        let seconds = read as f64 / f64::from(source.sample_rate());
        if progress && seconds >= next_progress {
            next_progress = seconds + PROGRESS_SECONDS;
            let of = total.map_or_else(String::new, |t| format!(" of {}", text::clock(t)));
            eprint!("\r{}{of} analysed", text::clock(seconds));
        }
        if n == 0 {
            stats.audio_s = seconds;
            break;
        }
    }
    if progress && next_progress > PROGRESS_SECONDS {
        eprintln!();
    }
    if let Some(warning) = source.warning() {
        complain(warning);
    }
    debug_assert!(stats.hops as f64 * HOP as f64 <= stats.audio_s * f64::from(ANALYSIS_RATE) + BLOCK as f64);
    let summary = judge.finish(stats.audio_s);
    out.end(path, &summary, &judge.closed_notes(), &stats).or_else(ended)?;
    Ok(Exit::Ok)
}

/// A reader that has seen enough (`| head`) is no error.
fn ended(e: io::Error) -> Result<(), Stop> {
    if e.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(Exit::Ok as i32);
    }
    Err(super::unprinted(&e))
}

struct Printer {
    format: Format,
    out: BufWriter<io::StdoutLock<'static>>,
}

impl Printer {
    fn new(format: Format) -> Self {
        Self { format, out: BufWriter::new(io::stdout().lock()) }
    }

    fn event(&mut self, event: &DspEvent, note: Option<JudgedNote>) -> io::Result<()> {
        if self.format != Format::JsonLines {
            return Ok(());
        }
        if let DspEvent::Frame(f) = event {
            let line = json!({"type": "frame", "t": f.t, "w": f.w, "f0": f.f0,
                "confidence": f.confidence, "provisional": f.provisional});
            writeln!(self.out, "{line}")?;
        }
        if let Some(note) = note {
            writeln!(self.out, "{}", note_json(&note))?;
        }
        Ok(())
    }

    fn end(&mut self, path: &Path, summary: &Summary, notes: &[JudgedNote], stats: &Stats) -> io::Result<()> {
        match self.format {
            Format::JsonLines => {
                writeln!(self.out, "{}", summary_json(summary))?;
                writeln!(self.out, "{}", stats.json())?;
            }
            Format::Json => {
                let document = json!({
                    "file": path.display().to_string(),
                    "notes": notes.iter().map(note_json).collect::<Vec<_>>(),
                    "summary": summary_json(summary),
                    "stats": stats.json()["stats"],
                });
                writeln!(self.out, "{document:#}")?;
            }
            Format::Text => {
                write!(self.out, "{}", text::summary(summary))?;
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
        "deviation_ms": n.deviation_ms, "place": n.place, "reason": n.reason,
    })
}
